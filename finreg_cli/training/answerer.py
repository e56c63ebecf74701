"""Models that answer for the evaluation: base and tuned from the same kind of weights, in the same runtime."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finreg_cli.domain.records import Message
from finreg_cli.errors import MissingExtra, ModelMissing, StageFailed
from finreg_cli.llm.embedded import XllamacppAnswerer
from finreg_cli.training.base import hash_of_weights
from finreg_cli.training.base_models import ModelRegistry, base_folder
from finreg_cli.training.encoding import render_prompt
from finreg_cli.training.gguf_export import f16_gguf, is_exportable

if TYPE_CHECKING:
    from finreg_cli.llm.base import Answerer


def answerer_for(model: str | Path, registry: ModelRegistry | None = None) -> Answerer:
    """Opens a base model by its name, or a tuned one by its ``merged`` folder.

    Both go the same way: weights in safetensors -> F16 GGUF (made once) -> xllamacpp. A model that the export does not
    know is answered for by transformers, and then its tuned descendant is as well.

    Args:
        model: as in the configuration, or a folder.
        registry: where a registered model comes from.

    Raises:
        ModelMissing: it is not on this machine.
        ConfigError: a folder without a model.
        MissingExtra: a package of the extra ``train`` is needed and not installed.
    """
    folder = Path(base_folder(str(model), registry=registry))
    if is_exportable(folder):
        return XllamacppAnswerer(f16_gguf(folder))
    return TransformersAnswerer(str(folder))


class PromptTooLongError(Exception):
    """A prompt fills the context; the message says how long both are."""


class TransformersAnswerer:
    """Answers greedily through transformers, one prompt at a time; some five times slower than `XllamacppAnswerer`.

    Args:
        model: a folder, or a Hugging Face id.
    """

    def __init__(self, model: str) -> None:
        is_local = Path(model).is_dir()
        if is_local:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtra(error.name or "transformers", "train", f"answering with {model}") from None
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            on_gpu = torch.cuda.is_available()
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype="auto" if on_gpu else torch.float32)
            self._model: Any = loaded.to("cuda") if on_gpu else loaded
        except (OSError, ValueError) as error:
            raise ModelMissing(
                f"transformers cannot load the model {model}: {error}", "finreg finetune, or finetune.base_model"
            ) from error
        self._name = hash_of_weights(Path(model)) if is_local else f"{model}@{self._model.config._commit_hash}"

    @property
    def identity(self) -> str:
        return f"{self._name}/transformers-{version('transformers')}"

    @property
    def holds_to_schema(self) -> bool:
        return False

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        """One answer per prompt, in order; an answer that reaches ``max_tokens`` ends there.

        Raises:
            StageFailed: a schema was given; or a prompt is longer than the context, and the answers before it were
                yielded.
        """
        if schema is not None:
            raise StageFailed("transformers cannot hold an answer to a JSON schema", "--set 'evaluate.decoding=[free]'")
        for number, prompt in enumerate(prompts, start=1):
            try:
                inputs = self.inputs([asdict(message) for message in prompt])
            except PromptTooLongError as error:
                raise StageFailed(
                    f"prompt {number} of {len(prompts)} {error}",
                    "lower ingest.chunk_tokens (extraction.window_tokens), so that a prompt fits in",
                ) from None
            ids = self.generate(inputs, max_tokens, do_sample=False)
            yield self.decode(ids[0, inputs["input_ids"].shape[1] :])

    def inputs(self, messages: Sequence[Mapping[str, str]]) -> Any:
        """What the model takes of a conversation: input_ids and attention_mask, (1, tokens) each.

        Raises:
            PromptTooLongError: the context holds no token more.
        """
        rendered = render_prompt(self._tokenizer, [dict(message) for message in messages])
        inputs = self._tokenizer(rendered, add_special_tokens=False, return_tensors="pt").to(self._model.device)
        length, longest = inputs["input_ids"].shape[1], self._model.config.max_position_embeddings
        if length >= longest:
            raise PromptTooLongError(f"has {length} tokens, and the model takes {longest}")
        return inputs

    def generate(self, inputs: Any, max_tokens: int | None, **settings: Any) -> Any:
        """The ids of prompt and answer, (1, tokens); the answer ends at ``max_tokens`` or where the context does."""
        import torch

        room = int(self._model.config.max_position_embeddings - inputs["input_ids"].shape[1])
        with torch.no_grad():
            return self._model.generate(
                **inputs,
                max_new_tokens=room if max_tokens is None else min(max_tokens, room),
                pad_token_id=self._tokenizer.eos_token_id,
                **settings,
            )

    def decode(self, ids: Any) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def close(self) -> None:
        """Frees the model's memory."""
        self._model = None

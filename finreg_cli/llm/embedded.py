"""A GGUF model inside this process, through xllamacpp: nothing to install beside it, nothing to start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finreg_cli.domain.records import Message
from finreg_cli.errors import ModelMissing, StageFailed


class XllamacppAnswerer:
    """Answers greedily, one prompt at a time; the model is loaded at the first of them.

    Loading late spares a run whose answers are all cached, and keeps xllamacpp from its one trap: a server that is
    dropped before it has answered anything never ends (seen in 2026.10).

    Each prompt is computed alone and from its first token: a batch of several, or a reused prefix, would sum in another
    order, and an answer could depend on its neighbours.

    Args:
        gguf: the model.
        context_length: tokens of prompt and answer together; None for all that the model was made for.
        threads: of the processor; None for one per core.
    """

    def __init__(self, gguf: Path, context_length: int | None = None, threads: int | None = None) -> None:
        if not gguf.is_file():
            raise ModelMissing(f"there is no GGUF file {gguf}", "finreg models pull")
        self._gguf = gguf
        self._context_length, self._threads = context_length, threads
        self._identity: str | None = None
        self._server: Any = None

    @property
    def identity(self) -> str:
        if self._identity is None:
            with self._gguf.open("rb") as file:
                self._identity = f"{hashlib.file_digest(file, 'sha256').hexdigest()}/xllamacpp-{version('xllamacpp')}"
        return self._identity

    def answers(self, prompts: Sequence[Sequence[Message]], max_tokens: int) -> Iterator[str]:
        """One answer per prompt, in order; an answer that reaches ``max_tokens`` ends there.

        Raises:
            StageFailed: a prompt is longer than the context; the answers before it were yielded.
        """
        for number, prompt in enumerate(prompts, start=1):
            if self._server is None:
                self._server = _open(self._gguf, self._context_length, self._threads)
            reply = self._server.handle_chat_completions(
                {
                    "messages": [asdict(message) for message in prompt],
                    "max_tokens": max_tokens,
                    "temperature": 0,
                    "seed": 0,
                    "cache_prompt": False,
                }
            )
            if "error" in reply:
                raise StageFailed(
                    f"{self._gguf} did not answer prompt {number} of {len(prompts)}: {reply['error'].get('message')}",
                    "lower ingest.chunk_tokens, so that a prompt fits into the model's context",
                )
            yield reply["choices"][0]["message"]["content"] or ""

    def close(self) -> None:
        """Frees the model's memory."""
        self._server = None


def _open(gguf: Path, context_length: int | None, threads: int | None) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = context_length or 0
    params.n_parallel = 1
    params.ctx_shift = False
    params.warmup = False
    params.verbosity = -1
    if threads is not None:
        params.cpuparams.n_threads = threads
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelMissing(f"{gguf} cannot be loaded: {error}", "remove the file and run the same command") from error

"""The training script: ``python -m finreg_cli.training.train ROWS.parquet PARAMS.yaml``.

It runs in a subprocess here and on a GPU worker elsewhere, so it imports nothing of finreg. LoRA on all linear layers
with TRL's SFT trainer; only the assistant's tokens carry loss, and logits are computed only where they stand.

ROWS has the columns messages, row_id and split (``train`` or ``eval``). PARAMS is the resolved ``finetune`` section
with ``learning_rate``, ``seed`` and ``output``; ``base_path`` is the folder of the base model where ``base_model`` is
only its name. ``output`` receives ``checkpoints/``, ``adapter/``, ``merged/`` and ``metrics.jsonl`` (step, name,
value), and last ``result.json``, so its existence means that everything is there. A second run of the same job resumes
from its newest complete checkpoint; another job in the same folder starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that carries no loss, as PyTorch's cross entropy has it."""

SPLITS = ("train", "eval")

MARKER = "training.json"
"""In the output folder: which job it belongs to."""

WARM_UP = 0.05
"""The share of all steps over which the learning rate rises; then it falls to zero in a straight line."""


@dataclass(frozen=True)
class Params:
    """What a job depends on; the file's other keys belong to the sweep around it."""

    base_model: str
    learning_rate: float
    seed: int
    duration: str = "1ep"
    batch_size: int = 4
    context_length: int = 2048
    save_steps: int = 10
    lora: dict[str, Any] = field(default_factory=lambda: {"rank": 16, "alpha": 32, "dropout": 0.0})

    @property
    def epochs(self) -> int:
        return int(self.duration.removesuffix("ep"))

    @classmethod
    def of(cls, params: dict[str, Any]) -> Params:
        return cls(**{name: params[name] for name in cls.__dataclass_fields__ if name in params})


@dataclass(frozen=True)
class Row:
    """A chat whose last message is the assistant's."""

    row_id: str
    split: str
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """A row in tokens; ``labels`` is `IGNORED` up to the completion, which ends with the end-of-turn token."""

    row_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def completion_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


class Unusable(Exception):
    """The job cannot be trained; the message says why."""


def read_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file, by row_id, so that their order in the file decides nothing."""
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=["row_id", "split", "messages"]).to_pylist()
    rows = [Row(each["row_id"], each["split"], each["messages"]) for each in columns]
    for row in rows:
        if not row.messages or row.messages[-1]["role"] != "assistant":
            raise Unusable(f"row {row.row_id} of {path} does not end with an assistant's message")
        if row.split not in SPLITS:
            raise Unusable(f"row {row.row_id} of {path} has the split {row.split!r}, which is none of {SPLITS}")
    return sorted(rows, key=lambda row: row.row_id)


def fingerprint(rows: Iterable[Row], params: Params) -> str:
    """What the result depends on, as a hash: another value means another job."""
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    """The chat as the model reads it, up to where its answer begins."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, row: Row) -> Encoded:
    """Renders the row with the model's chat template.

    Prompt and completion are tokenised apart, as they are when the model answers: first it reads the prompt, then it
    writes. What the template adds after the end of the turn is left out, because the model never writes it.
    """
    prompt = render_prompt(tokenizer, row.messages[:-1])
    whole = str(tokenizer.apply_chat_template(row.messages, tokenize=False))
    if not whole.startswith(prompt):
        raise Unusable(f"row {row.row_id}: the chat template renders its prompt differently once it is answered")
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    if end in completion_ids:
        # The last one: an answer may quote the token itself.
        completion_ids = completion_ids[: len(completion_ids) - completion_ids[::-1].index(end)]
    else:
        completion_ids = [*completion_ids, end]
    return Encoded(row.row_id, [*prompt_ids, *completion_ids], [IGNORED] * len(prompt_ids) + completion_ids)


def collate(rows: Sequence[dict[str, list[int]]], padding: int) -> dict[str, torch.Tensor]:
    """A batch of int64 tensors of the shape (rows, longest row), padded on the **left**.

    So all completions stand at the end, and `CompletionTrainer` needs logits for the last positions only.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return [filler] * (longest - len(values)) + values

    mask = torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows])
    return {
        "input_ids": torch.tensor([padded(row["input_ids"], padding) for row in rows]),
        "labels": torch.tensor([padded(row["labels"], IGNORED) for row in rows]),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
    }


def read_metrics(output: Path) -> Iterator[dict[str, Any]]:
    """The entries of ``metrics.jsonl``; a last line that is only half written is left out."""
    path = output / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            yield json.loads(line)
        except ValueError:
            return


class MetricsLog:
    """Appends to ``metrics.jsonl``. A resumed run drops the lines past its checkpoint: it will write them again."""

    def __init__(self, output: Path, from_step: int) -> None:
        kept = [entry for entry in read_metrics(output) if from_step and entry["step"] <= from_step]
        self.path = output / "metrics.jsonl"
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        os.replace(part, self.path)
        self.last = {entry["name"]: entry for entry in kept}

    def write(self, step: int, values: dict[str, float]) -> None:
        with self.path.open("a") as file:
            for name, value in values.items():
                entry = {"step": step, "name": name, "value": value}
                self.last[name] = entry
                file.write(json.dumps(entry) + "\n")


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; those cut short by the end of their process are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=_step_of)
    for path in reversed(checkpoints):
        try:
            # The trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text())
            return path
        except (OSError, ValueError):
            shutil.rmtree(path)
    return None


def prepare_output(output: Path, job: str) -> None:
    """Makes the folder the job's own: what another job left there is removed."""
    marker = output / MARKER
    if output.is_dir() and (not marker.is_file() or json.loads(marker.read_text()).get("fingerprint") != job):
        for stale in ("checkpoints", "adapter", "merged"):
            shutil.rmtree(output / stale, ignore_errors=True)
        for stale in ("result.json", "metrics.jsonl", "merged-f16.gguf"):
            (output / stale).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(marker, {"fingerprint": job})


def finished(output: Path, job: str) -> dict[str, float] | None:
    """The metrics of the job where ``output`` holds its result, else None."""
    try:
        result = json.loads((output / "result.json").read_text())
    except (OSError, ValueError):
        return None
    return result["metrics"] if result["fingerprint"] == job else None


def write_whole(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON file that is either all there or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


def train(rows: Sequence[Row], params: Params, base: str, output: Path) -> dict[str, float]:
    """Trains, or goes on from the newest checkpoint, and writes the result.

    Args:
        rows: training and evaluation rows.
        params: the job.
        base: a folder or a Hugging Face id that transformers loads.
        output: the folder that receives everything.

    Returns:
        the final metrics by name.

    Raises:
        Unusable: no training row fits into the context.
    """
    job = fingerprint(rows, params)
    prepare_output(output, job)
    done = finished(output, job)
    if done is not None:
        return done
    begun = time.monotonic()

    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Unusable(f"finetune.base_model: {base} cannot be loaded: {reason}") from error
    by_split, too_long = _encode_all(tokenizer, rows, params.context_length)
    if not by_split["train"]:
        raise Unusable(f"none of the {len(rows)} rows is a training row of at most {params.context_length} tokens")
    checkpoint = newest_checkpoint(output / "checkpoints")
    resumed_from = _step_of(checkpoint) if checkpoint else 0
    log = MetricsLog(output, resumed_from)
    trainer = _trainer(params, base, tokenizer, by_split, output, log, resuming=checkpoint is not None)
    loop_begun = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    loop_seconds = time.monotonic() - loop_begun
    steps = trainer.state.global_step
    if by_split["eval"] and log.last.get("eval_loss", {}).get("step") != steps:
        trainer.evaluate()
    trainer.model.save_pretrained(output / "adapter")
    _merge(base, output, tokenizer)
    metrics = {
        **_counts(by_split["train"], params),
        "eval_rows": len(by_split["eval"]),
        "skipped_rows": len(too_long),
        "steps": steps,
        "resumed_from_step": resumed_from,
        "seconds": time.monotonic() - begun,
        "tokens_per_second": trainer.tokens_seen / loop_seconds,
        "peak_memory_gb": _peak_memory_gb(),
        **{name: log.last[name]["value"] for name in ("train_loss", "eval_loss", "token_accuracy") if name in log.last},
    }
    result = {"metrics": metrics, "fingerprint": job, "base_model": params.base_model}
    write_whole(output / "result.json", {**result, "too_long_row_ids": too_long, "versions": _versions()})
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return metrics


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _encode_all(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], context_length: int
) -> tuple[dict[str, list[Encoded]], list[str]]:
    """The encoded rows by split, and the ids of those longer than the context, which are left out."""
    by_split: dict[str, list[Encoded]] = {split: [] for split in SPLITS}
    too_long = []
    for row in rows:
        encoded = encode(tokenizer, row)
        if len(encoded.input_ids) > context_length:
            too_long.append(row.row_id)
        else:
            by_split[row.split].append(encoded)
    if too_long:
        print(f"{len(too_long)} rows are longer than {context_length} tokens and left out: {', '.join(too_long)}")
    return by_split, too_long


def _trainer(
    params: Params,
    base: str,
    tokenizer: PreTrainedTokenizerBase,
    by_split: dict[str, list[Encoded]],
    output: Path,
    log: MetricsLog,
    resuming: bool,
) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig

    from finreg_cli.training.completion_trainer import CompletionTrainer

    on_gpu = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if on_gpu else _cpu_has_bf16()
    steps = params.epochs * math.ceil(len(by_split["train"]) / params.batch_size)
    if not resuming:
        log.write(0, {"total_steps": steps})
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def dataset(rows: list[Encoded]) -> Dataset:
        return Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])

    arguments = SFTConfig(
        output_dir=str(output / "checkpoints"),
        num_train_epochs=params.epochs,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        max_grad_norm=1.0,
        seed=params.seed,
        logging_steps=1,
        eval_strategy="epoch" if by_split["eval"] else "no",
        eval_on_start=bool(by_split["eval"]) and not resuming,
        save_strategy="steps",
        save_steps=params.save_steps,
        save_total_limit=2,
        bf16=bf16,
        use_cpu=not on_gpu,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )
    return CompletionTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset(by_split["train"]),
        eval_dataset=dataset(by_split["eval"]) if by_split["eval"] else None,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id or tokenizer.eos_token_id),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=params.lora["rank"],
            lora_alpha=params.lora["alpha"],
            lora_dropout=params.lora["dropout"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        log=log,
        warm_up=WARM_UP,
    )


def _cpu_has_bf16() -> bool:
    """Whether bf16 pays on this processor: without its own instructions it is slower than fp32."""
    import torch

    # Not in every version that we support; without it the slower, exact way is taken.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _merge(base: str, output: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Writes ``merged/``: base plus adapter, added in fp32 and stored in the type of the base's own weights."""
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, output / "adapter").merge_and_unload()
    unfinished = output / "merged.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    merged.to(getattr(AutoConfig.from_pretrained(base), "dtype", None) or torch.float32).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    # What the export to GGUF takes the vocabulary from.
    for extra in Path(base).glob("metadata.gguf"):
        shutil.copyfile(extra, unfinished / extra.name)
    shutil.rmtree(output / "merged", ignore_errors=True)
    unfinished.rename(output / "merged")


def _counts(rows: list[Encoded], params: Params) -> dict[str, float]:
    """What the training read: rows, and tokens over all epochs, also as a number of whole contexts."""
    tokens = params.epochs * sum(len(row.input_ids) for row in rows)
    return {
        "rows": len(rows),
        "epochs": params.epochs,
        "train_tokens": tokens,
        "completion_tokens": params.epochs * sum(row.completion_tokens for row in rows),
        "context_lengths": tokens / params.context_length,
    }


def _peak_memory_gb() -> float:
    """The most memory that this process held: on the GPU where it trained there, else in RAM; in 10^9 bytes."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    if sys.platform == "win32":
        return math.nan
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "trl")}


def _end_with_parent() -> None:
    """Ends this process when its standard input does, which happens however the parent ends."""

    def watch() -> None:
        # Not sys.stdin: Python could not close a stream at its end that a thread still waits on.
        os.read(0, 1)
        # Not sys.exit: this is not the main thread, and a checkpoint cut short is recognised.
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="Parquet file of chat rows")
    parser.add_argument("params", type=Path, help="YAML file, the resolved finetune section")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input is closed")
    given = parser.parse_args(arguments)
    if given.end_with_stdin:
        _end_with_parent()

    import yaml

    params = yaml.safe_load(given.params.read_text())
    base = params.get("base_path") or params["base_model"]
    if Path(base).is_dir():
        # Set before transformers is imported: a model on this disk needs no hub.
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        metrics = train(read_rows(given.rows), Params.of(params), base, Path(params["output"]))
    except Unusable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())

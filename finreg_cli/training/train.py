"""The training script: ``python -m finreg_cli.training.train ROWS PARAMS.yaml``.

It runs in a subprocess here and on a GPU worker elsewhere, so it imports nothing of finreg but this package. LoRA,
QLoRA or all weights, with TRL's SFT trainer; only the assistant's tokens carry loss, logits are computed only where
they stand, and rows are read one after another, without padding.

ROWS is a Parquet file, a JSONL file or a Delta table with the column messages, and may have row_id and split (`rows`).
PARAMS is the resolved ``finetune`` section with ``learning_rate``, ``seed`` and ``output``; ``base_path`` is the folder
of the base model where ``base_model`` is only its name. ``output`` receives ``checkpoints/``, ``adapter/`` (none of
method full), ``merged/``, ``metrics.jsonl`` (step, name, value), ``losses.jsonl`` (step, row_id, loss), and last
``result.json``, so its existence means that everything is there. A second run of the same job resumes from its newest
complete checkpoint; another job in the same folder starts anew.

Started as N processes (``torchrun``, ``accelerate launch``), they share the rows of every step: ``batch_size`` counts
those of all, so the result is the one of a single process, to rounding. On GPUs this was not run where it was written.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from finreg_cli.training.encoding import Chosen, Encoded, encode_all
from finreg_cli.training.output import (
    RESULT,
    finished,
    newest_checkpoint,
    prepare_output,
    step_of,
    write_whole,
)
from finreg_cli.training.params import Duration, Params, fingerprint
from finreg_cli.training.rows import Row, Unusable, read_rows
from finreg_cli.training.schedule import Schedule, schedule

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from finreg_cli.training.completion_trainer import CompletionTrainer

OUT_OF_MEMORY = errno.ENOMEM
"""The exit code where memory ran out."""


def train(rows: Sequence[Row], params: Params, base: str, output: Path, licence: str | None = None) -> dict[str, float]:
    """Trains, or goes on from the newest checkpoint, and writes the result.

    Args:
        rows: training and evaluation rows.
        params: the job.
        base: a folder or a Hugging Face id that transformers loads.
        output: the folder that receives everything.
        licence: the base model's, written beside the result.

    Returns:
        the final metrics by name.

    Raises:
        Unusable: no training row fits into the context, or the base model cannot be loaded or trained so.
    """
    job = fingerprint(rows, params)
    done = finished(output, job)
    if done is not None:
        return done
    begun = time.monotonic()

    from finreg_cli.training.building import build_trainer, processes

    with processes().main_process_first():
        if processes().is_main_process:
            prepare_output(output, job)
        checkpoint = newest_checkpoint(output / "checkpoints")
    tokenizer = _tokenizer(base)
    chosen = encode_all(tokenizer, rows, params.context_length, params.too_long)
    _check(chosen, params, processes().num_processes)
    if processes().is_main_process:
        _tell(chosen, params)
    train_rows, eval_rows = chosen.by_split["train"], chosen.by_split["eval"]
    plan = schedule(
        [len(row) for row in train_rows],
        Duration.of(params.duration),
        params.batch_size,
        params.context_length if params.packing else None,
        params.seed,
    )
    resumed_from = step_of(checkpoint) if checkpoint else None
    trainer = build_trainer(params, base, tokenizer, train_rows, eval_rows, plan, output, resumed_from)
    loop_seconds = _loop(trainer, checkpoint)
    kept_step = _keep_best(trainer)
    after = trainer.measure(train_rows)
    steps = trainer.state.global_step
    metrics = {
        **_counts(train_rows, plan, steps, params),
        "eval_rows": len(eval_rows),
        "cut_rows": len(chosen.cut),
        "left_out_rows": len(chosen.left_out),
        "resumed_from_step": resumed_from or 0,
        "tokens_per_second": _tokens(train_rows, plan, range(resumed_from or 0, steps)) / loop_seconds,
        **{name: trainer.metrics_log.last[name] for name in OF_LAST_STEP if name in trainer.metrics_log.last},
        **trainer.metrics_log.evaluations.get(kept_step, {}),
        "best_step": kept_step,
        "train_loss_after": after.mean_loss,
        "peak_memory_gb": trainer.most_of_all(_peak_memory_gb()),
    }
    if trainer.is_world_process_zero():
        trainer.loss_log.finish(steps, after.by_row)
        _write_model(trainer, base, output, tokenizer, params)
        metrics["seconds"] = time.monotonic() - begun
        _write_result(output, job, params, metrics, chosen, licence)
    trainer.accelerator.wait_for_everyone()
    return metrics


# --- the parts of it, in their order ---------------------------------------------------------------------------------


def _tokenizer(base: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Unusable(f"finetune.base_model: {base} cannot be loaded: {reason}") from error
    return tokenizer


def _check(chosen: Chosen, params: Params, processes: int) -> None:
    if not chosen.by_split["train"]:
        raise Unusable(
            f"no training row fits into {params.context_length} tokens ({len(chosen.left_out)} rows are left out): "
            "raise context_length"
        )
    if params.early_stopping and not chosen.by_split["eval"]:
        raise Unusable(
            "early_stopping goes by the loss on evaluation rows (split eval, or --eval-rows): there are none"
        )
    if params.batch_size < processes:
        raise Unusable(
            f"batch_size counts the rows of a step over all processes: {params.batch_size} cannot be shared by "
            f"{processes}; raise batch_size or lower processes"
        )


def _tell(chosen: Chosen, params: Params) -> None:
    """Says in the log what the context was too short for."""
    if chosen.cut:
        named = ", ".join(f"{row_id} ({tokens} tokens)" for row_id, tokens in chosen.cut.items())
        print(
            f"{len(chosen.cut)} rows are longer than {params.context_length} tokens; their prompts lost their middle, "
            f"and may lack the evidence of the answer: {named}"
        )
    if chosen.left_out:
        named = ", ".join(chosen.left_out)
        print(f"{len(chosen.left_out)} rows do not fit into {params.context_length} tokens and are left out: {named}")


def _loop(trainer: CompletionTrainer, checkpoint: Path | None) -> float:
    """Trains to the end; returns the seconds that it took, without the evaluations in between."""
    begun = time.monotonic()
    if checkpoint and trainer.stopping and trainer.stopping.is_over:
        # It was killed after it had stopped early: there is nothing left to train.
        trainer.state.global_step = step_of(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - begun - trainer.evaluating_seconds
    if trainer.eval_rows and trainer.state.global_step not in trainer.metrics_log.evaluations:
        trainer.evaluate()
    return seconds


def _keep_best(trainer: CompletionTrainer) -> int:
    """The step whose weights are kept: with early stopping the one of the lowest evaluation loss, else the last."""
    trainer.accelerator.wait_for_everyone()  # the first process may still be writing them
    best = trainer.stopping.restore(cast("torch.nn.Module", trainer.model)) if trainer.stopping else None
    return trainer.state.global_step if best is None else best


def _write_model(
    trainer: CompletionTrainer, base: str, output: Path, tokenizer: PreTrainedTokenizerBase, params: Params
) -> None:
    from finreg_cli.training.models import write_merged

    model = trainer.accelerator.unwrap_model(trainer.model)
    is_full = params.method == "full"
    if not is_full:
        model.save_pretrained(output / "adapter")
    write_merged(base, model, output, tokenizer, is_full)


def _write_result(
    output: Path, job: str, params: Params, metrics: dict[str, float], chosen: Chosen, licence: str | None
) -> None:
    result = {
        "metrics": metrics,
        "fingerprint": job,
        "base_model": params.base_model,
        "base_licence": licence,
        "cut_row_ids": chosen.cut,
        "left_out_row_ids": chosen.left_out,
        "versions": _versions(),
    }
    write_whole(output / RESULT, result)
    for folder in ("checkpoints", "best"):
        shutil.rmtree(output / folder, ignore_errors=True)


# --- figures ---------------------------------------------------------------------------------------------------------

OF_LAST_STEP = ("train_loss", "train_token_accuracy", "learning_rate", "grad_norm")


def _tokens(rows: Sequence[Encoded], plan: Schedule, steps: range) -> int:
    """How many tokens the steps read, prompts too."""
    return sum(len(rows[number]) for step in steps for number in plan.rows_of(step))


def _counts(rows: Sequence[Encoded], plan: Schedule, steps: int, params: Params) -> dict[str, float]:
    """What the training read: rows, and tokens over all epochs, also as a number of whole contexts."""
    tokens = _tokens(rows, plan, range(steps))
    completions = sum(rows[number].completion_tokens for step in range(steps) for number in plan.rows_of(step))
    return {
        "rows": len(rows),
        "steps": steps,
        "epochs": steps / plan.steps_per_epoch,
        "train_tokens": tokens,
        "completion_tokens": completions,
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


# --- the command -----------------------------------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch says so for a GPU by a class of its own, for the CPU only in words."""
    import torch

    words = ("not enough memory", "can't allocate memory")
    is_cpu = isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    return is_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError)


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
    parser.add_argument("rows", help="Parquet file, JSONL file, or a Delta table's folder or URL, of chat rows")
    parser.add_argument("params", type=Path, help="YAML file, the resolved finetune section")
    parser.add_argument("--version", type=int, help="of the Delta table; else its newest")
    parser.add_argument("--eval-rows", help="a second source, all of whose rows are for evaluation")
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
        rows = read_rows(given.rows, given.version, given.eval_rows)
        metrics = train(rows, Params.of(params), base, Path(params["output"]), params.get("base_licence"))
    except Unusable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"error: out of memory: {str(error).splitlines()[0] if str(error) else 'Python'}", file=sys.stderr)
        return OUT_OF_MEMORY
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the stages see of training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # the training script reads this module too, on workers that have only this package
    from finreg_cli.domain.progress import Progress

NEUTRAL_PARAMS = frozenset({"processes", "save_steps", "gradient_checkpointing"})
"""Keys of a job's parameters that decide how it is trained and not what comes out: the same job with another value."""


@dataclass(frozen=True)
class TrainingJob:
    """One member of a sweep.

    Args:
        run_id: names the folder ``models/<run_id>`` and the row of ``finetune_runs``.
        rows: a Parquet file with the columns messages, row_id, group_key and ``split`` (``train`` or ``eval``).
        params: the resolved ``finetune`` section with one ``learning_rate``, ``duration`` and ``lora.rank``, and with
            ``seed`` and ``output``.
        output: the folder that receives ``adapter/`` (none where all weights are trained), ``merged/``,
            ``metrics.jsonl``, ``losses.jsonl`` and ``result.json``.
        log: the file that receives what the training process prints.
    """

    run_id: str
    rows: Path
    params: dict[str, Any]
    output: Path
    log: Path


@dataclass(frozen=True)
class TrainingResult:
    """``metrics`` are the final figures by name: eval_loss, token_accuracy, train_loss, train_tokens, ..."""

    output: Path
    metrics: dict[str, float]

    @property
    def adapter(self) -> Path:
        return self.output / "adapter"

    @property
    def merged(self) -> Path:
        return self.output / "merged"

    def steps(self) -> Iterator[tuple[int, str, float]]:
        """(step, name, value) of everything that was logged while it trained."""
        for entry in self._lines("metrics.jsonl"):
            yield entry["step"], entry["name"], entry["value"]

    def losses(self) -> Iterator[tuple[int, str, float]]:
        """(step, row_id, loss): the mean over the row's completion tokens.

        Before the step's update; at the last step only, after it: every training row as the finished model sees it.
        """
        for entry in self._lines("losses.jsonl"):
            yield entry["step"], entry["row_id"], entry["loss"]

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        with (self.output / name).open() as lines:
            yield from map(json.loads, lines)


def hash_of_weights(folder: Path) -> str:
    """SHA-256 over the safetensors files of a model's folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class Trainer(Protocol):
    def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
        """Trains, resuming from the newest checkpoint of ``job.output``; a finished job is returned as it is.

        Raises:
            TrainingFailed: with the last lines of the log.
        """

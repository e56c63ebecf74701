"""What the stages see of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finreg_cli.domain.progress import Progress


@dataclass(frozen=True)
class TrainingJob:
    """One member of a sweep.

    Args:
        run_id: names the folder ``models/<run_id>`` and the row of ``finetune_runs``.
        rows: a Parquet file with the columns messages, row_id, group_key and ``split`` (``train`` or ``eval``).
        params: the resolved ``finetune`` section with ``learning_rate`` (one value), ``seed`` and ``output``.
        output: the folder that receives ``adapter/``, ``merged/``, ``metrics.jsonl`` and ``result.json``.
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
        import json

        with (self.output / "metrics.jsonl").open() as lines:
            for line in lines:
                entry = json.loads(line)
                yield entry["step"], entry["name"], entry["value"]


class Trainer(Protocol):
    def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
        """Trains, resuming from the newest checkpoint of ``job.output``; a finished job is returned as it is.

        Raises:
            TrainingFailed: with the last lines of the log.
        """

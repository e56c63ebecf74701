"""The output folder of a job: what is in it, whose it is, and what a run that was killed left there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finreg_cli.training.rows import Unusable

MARKER = "training.json"
"""In the output folder: which job it belongs to."""

METRICS, LOSSES, RESULT = "metrics.jsonl", "losses.jsonl", "result.json"

EVALUATED = ("eval_loss", "perplexity", "token_accuracy")
"""What an evaluation finds."""

_FOLDERS = ("checkpoints", "best", "adapter", "merged")
_FILES = (RESULT, METRICS, LOSSES, "merged-f16.gguf")


def prepare_output(output: Path, job: str) -> None:
    """Makes the folder the job's own: what another job left there is removed.

    Raises:
        Unusable: what stands there is of no job of this script.
    """
    marker = output / MARKER
    foreign = [name for name in (*_FOLDERS, *_FILES) if (output / name).exists()]
    if foreign and not marker.is_file():
        raise Unusable(
            f"output: {output} holds {', '.join(foreign)}, which no job of this script wrote: name an empty folder"
        )
    if output.is_dir() and (not marker.is_file() or json.loads(marker.read_text()).get("fingerprint") != job):
        for stale in _FOLDERS:
            shutil.rmtree(output / stale, ignore_errors=True)
        for stale in _FILES:
            (output / stale).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(marker, {"fingerprint": job})


def finished(output: Path, job: str) -> dict[str, float] | None:
    """The metrics of the job where ``output`` holds its result, else None."""
    try:
        result = json.loads((output / RESULT).read_text())
    except (OSError, ValueError):
        return None
    return result["metrics"] if result["fingerprint"] == job else None


def write_whole(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON file that is either all there or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


# --- logs ------------------------------------------------------------------------------------------------------------


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a log, none where it is not there; a last line that is only half written is left out."""
    if not path.is_file():
        return
    with path.open() as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                return


def read_metrics(output: Path) -> Iterator[dict[str, Any]]:
    """The entries of ``metrics.jsonl``: step, name, value."""
    return read_entries(output / METRICS)


class StepLog:
    """Appends entries with a ``step``. A resumed run drops those past its checkpoint: it will write them again.

    Args:
        path: one JSON object a line.
        up_to: the last step whose entries are kept; None to begin anew.
        writes: False in a process beside the one that writes.
    """

    def __init__(self, path: Path, up_to: int | None, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.keep(up_to)

    def keep(self, up_to: int | None) -> None:
        """Drops the entries after a step; None: all."""
        if not self.writes:
            return
        part = self.path.with_suffix(".part")
        with part.open("w") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in _until(self.path, up_to))
        os.replace(part, self.path)

    def append(self, entries: list[dict[str, Any]]) -> None:
        if self.writes:
            with self.path.open("a") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in entries)


def _until(path: Path, up_to: int | None) -> Iterator[dict[str, Any]]:
    return (entry for entry in read_entries(path) if up_to is not None and entry["step"] <= up_to)


class MetricsLog(StepLog):
    """``metrics.jsonl``: (step, name, value), with what was found so far at hand, in every process."""

    def __init__(self, output: Path, up_to: int | None, writes: bool = True) -> None:
        self.evaluations: dict[int, dict[str, float]] = {}
        """What each evaluation found, by its step, ascending."""
        self.last: dict[str, float] = {}
        for entry in _until(output / METRICS, up_to):
            self._remember(entry["step"], {entry["name"]: entry["value"]})
        super().__init__(output / METRICS, up_to, writes)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.append([{"step": step, "name": name, "value": value} for name, value in values.items()])
        self._remember(step, values)

    def _remember(self, step: int, values: Mapping[str, float]) -> None:
        self.last.update(values)
        evaluated = {name: value for name, value in values.items() if name in EVALUATED}
        if evaluated:
            self.evaluations.setdefault(step, {}).update(evaluated)


class LossLog(StepLog):
    """``losses.jsonl``: (step, row_id, loss), the mean over the row's completion tokens before the step's update.

    At the last step only what `LossLog.finish` writes: every training row as the finished model sees it.
    """

    def __init__(self, output: Path, up_to: int | None, writes: bool = True) -> None:
        super().__init__(output / LOSSES, up_to, writes)

    def write(self, step: int, losses: Mapping[str, float]) -> None:
        self.append([{"step": step, "row_id": row_id, "loss": loss} for row_id, loss in losses.items()])

    def finish(self, step: int, losses: Mapping[str, float]) -> None:
        self.keep(step - 1)
        self.write(step, losses)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; those cut short by the end of their process are removed."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            # The trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text())
            return path
        except (OSError, ValueError):
            shutil.rmtree(path)
    return None


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(checkpoint.name.rpartition("-")[2])

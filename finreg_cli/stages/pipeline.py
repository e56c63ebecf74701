"""all: the stages in order, under one run id; the first that fails ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from finreg_cli.stages.base import StageResult

STAGES = ("ingest", "generate", "finetune", "evaluate")


def pipeline(stages: Sequence[str], start: Callable[[str], StageResult]) -> Iterator[StageResult]:
    """Starts the stages by name, yielding each result as it is there."""
    for stage in stages:
        yield start(stage)

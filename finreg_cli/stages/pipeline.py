"""all: the stages in order, under one run id; the first that fails ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from finreg_cli.stages.base import StageResult

STAGES = ("ingest", "generate", "finetune", "evaluate")

Start = Callable[[str, Sequence[int] | None], StageResult]
"""Starts a stage by its name, for some of the synthetic rounds or (None) for all of them."""


def pipeline(command: str, start: Start, rounds: int | None = None) -> Iterator[StageResult]:
    """Starts the stages of a command, yielding each result as it is there.

    Args:
        command: a stage's name, or ``all``.
        start: starts one.
        rounds: the synthetic rounds where each is to be trained before the next is paid for, so that an early stop
            saves both; None where all are generated first.
    """
    if command != "all":
        yield start(command, None)
    elif rounds is None:
        for stage in STAGES:
            yield start(stage, None)
    else:
        yield start("ingest", None)
        yield from _round_by_round(start, rounds)
        yield start("evaluate", None)


def _round_by_round(start: Start, rounds: int) -> Iterator[StageResult]:
    for round_ in range(rounds + 1):
        if round_:
            yield start("generate", [round_])
        trained = start("finetune", [round_])
        yield trained
        if trained.ends_rounds:
            return

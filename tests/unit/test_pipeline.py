"""The order of the stages, and that an early stop pays for no further round."""

from __future__ import annotations

from collections.abc import Sequence

from finreg_cli.stages.base import StageResult
from finreg_cli.stages.pipeline import pipeline

Call = tuple[str, list[int] | None]


def started(command: str, rounds: int | None = None, ends_at: int | None = None) -> list[Call]:
    calls: list[Call] = []

    def start(stage: str, of_rounds: Sequence[int] | None) -> StageResult:
        calls.append((stage, None if of_rounds is None else list(of_rounds)))
        ends = stage == "finetune" and ends_at is not None and ends_at in (of_rounds or [])
        return StageResult(stage, ends_rounds=ends)

    results = [each.stage for each in pipeline(command, start, rounds)]
    assert results == [stage for stage, _ in calls]
    return calls


def test_one_stage_is_one_call_for_all_rounds():
    assert started("generate", rounds=2) == [("generate", None)]


def test_all_generates_every_round_before_it_trains():
    assert started("all") == [("ingest", None), ("generate", None), ("finetune", None), ("evaluate", None)]


def test_with_an_early_stop_each_round_is_trained_once_before_the_next_is_generated():
    assert started("all", rounds=2) == [
        ("ingest", None),
        ("finetune", [0]),
        ("generate", [1]),
        ("finetune", [1]),
        ("generate", [2]),
        ("finetune", [2]),
        ("evaluate", None),
    ]


def test_a_round_that_is_no_better_is_the_last_that_is_paid_for():
    calls = started("all", rounds=3, ends_at=1)
    assert calls[-2:] == [("finetune", [1]), ("evaluate", None)]
    assert ("generate", [2]) not in calls

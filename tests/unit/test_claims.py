"""What may be claimed, and how it is said."""

from __future__ import annotations

import pytest

from finreg_cli.domain import claims
from finreg_cli.domain.records import Metric


def metric(model: str, value: float, low: float | None, high: float | None, **changed: object) -> Metric:
    fields = {"context": "with", "slice": "all", "metric": "token_f1", "n": 32} | changed
    return Metric(
        run_id="r", finetune_run_id="f", dataset="d", round=0, key="all", definition="answerable",
        model=model, value=value, ci_low=low, ci_high=high, **fields,
    )  # type: ignore[arg-type]  # the changed fields are given by name in each test  # fmt: skip


def compared(low: float | None, high: float | None, **changed: object) -> list[claims.Comparison]:
    return claims.comparisons(
        [
            metric("base", 0.44, 0.35, 0.52, **changed),
            metric("tuned", 0.81, 0.73, 0.88, **changed),
            metric("tuned-base", 0.37, low, high, **changed),
        ]
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.28, 0.46, "better"),
        (-0.46, -0.28, "worse"),
        (-0.01, 0.46, "unclear"),
        (0.0, 0.46, "unclear"),
        (0.0, 0.0, "unclear"),
        (None, None, "too_few"),
    ],
)
def test_a_claim_needs_an_interval_without_zero(low: float | None, high: float | None, verdict: str) -> None:
    assert [each.verdict for each in compared(low, high)] == [verdict]


def test_more_wrong_abstentions_are_worse() -> None:
    assert [each.verdict for each in compared(0.28, 0.46, metric="false_abstention")] == ["worse"]
    assert [each.verdict for each in compared(-0.46, -0.28, metric="false_abstention")] == ["better"]


def test_one_model_alone_is_not_compared() -> None:
    (alone,) = claims.comparisons([metric("base", 0.44, 0.35, 0.52)])
    assert alone.verdict == "not_compared"
    assert list(claims.findings([alone])) == ["with context: token F1 base 0.44 [0.35, 0.52], n=32"]


def test_the_sentence_holds_both_values_the_difference_its_interval_and_n() -> None:
    (one,) = compared(0.28, 0.46)
    assert one.sentence() == "token F1 0.81 against 0.44, +0.37 [+0.28, +0.46], n=32"


def test_findings_say_what_got_better_what_got_worse_and_what_cannot_be_said() -> None:
    together = [
        *compared(0.28, 0.46),
        *compared(0.1, 0.2, metric="false_abstention"),
        *compared(None, None, metric="abstention_right", n=3),
        *compared(0.28, 0.46, slice="definition", n=9),
        *compared(-0.4, -0.2, slice="procedure", n=9),
        *compared(None, None, slice="deadline", n=3),
    ]
    assert list(claims.findings(together)) == [
        "with context: tuned does better: token F1 0.81 against 0.44, +0.37 [+0.28, +0.46], n=32",
        "with context: tuned does WORSE: wrong abstentions 0.81 against 0.44, +0.37 [+0.10, +0.20], n=32",
        "with context: nothing can be claimed on right abstentions (n=3)",
        "with context, token F1 by kind: better in definition (n=9); worse in procedure (n=9); "
        "nothing can be claimed in deadline (n=3)",
    ]
    assert claims.headline(together) == (
        "By token F1, the tuned model answers better than its base with context; "
        "it does worse on wrong abstentions (with context)"
    )


def test_the_headline_tells_the_contexts_apart() -> None:
    together = [*compared(0.28, 0.46), *compared(-0.1, 0.1, context="without")]
    assert claims.headline(together) == (
        "By token F1, the tuned model answers better than its base with context; "
        "no difference between the tuned model and its base can be claimed without context"
    )
    assert claims.headline([]) == "No answerable row was evaluated"


def test_comparisons_keep_slices_together_and_metrics_in_their_order() -> None:
    mixed = [*compared(0, 1, metric="exact_match"), *compared(0, 1, slice="deadline"), *compared(0, 1)]
    order = [(each.slice, each.metric) for each in claims.comparisons(m for c in mixed for m in (c.base,) if m)]
    assert order == [("all", "token_f1"), ("all", "exact_match"), ("deadline", "token_f1")]

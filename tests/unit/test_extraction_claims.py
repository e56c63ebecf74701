"""What an evaluation of extraction says, on figures that were written down by hand."""

from __future__ import annotations

from finreg_cli.domain.extraction_claims import findings, label
from finreg_cli.domain.records import Metric

HOLDOUT = "lease_docs_holdout"


def f1(
    model: str,
    round_: int,
    value: float,
    interval: tuple[float, float] | None = None,
    *,
    dataset: str = HOLDOUT,
    key: str = "all",
    n: int = 50,
) -> Metric:
    low, high = interval or (None, None)
    return Metric(
        run_id="e1",
        finetune_run_id=None,
        dataset=dataset,
        round=round_,
        model=model,
        context="with",
        slice="all",
        key=key,
        definition="strict",
        metric="f1",
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
    )


def test_the_last_round_is_compared_with_the_constrained_base_and_with_every_endpoint() -> None:
    lines = list(
        findings(
            [
                f1("base_constrained", 0, 0.12, (0.08, 0.16)),
                f1("tuned_constrained", 0, 0.5, (0.4, 0.6)),
                f1("tuned_constrained", 1, 0.61, (0.55, 0.66)),
                f1("judge", 0, 0.7, (0.6, 0.8)),
                f1("tuned_constrained-base_constrained", 0, 0.38, (0.3, 0.4)),
                f1("tuned_constrained-base_constrained", 1, 0.49, (0.43, 0.55)),
                f1("tuned_constrained-judge", 1, -0.09, (-0.12, -0.01)),
                f1("tuned_constrained-previous_round", 1, 0.11, (-0.01, 0.2)),
                f1("tuned_constrained-round_0", 1, 0.11, (-0.01, 0.2)),
                f1("tuned_constrained", 1, 0.9, (0.8, 0.95), key="lessee"),
            ]
        )
    )
    tuned = "hold-out, strict F1: tuned_constrained round 1 0.61 [0.55, 0.66]"
    assert lines == [
        f"{tuned} against base_constrained 0.12 [0.08, 0.16]: +0.49 [+0.43, +0.55], n=50: tuned does better",
        f"{tuned} against judge 0.70 [0.60, 0.80]: -0.09 [-0.12, -0.01], n=50: tuned does WORSE",
        f"{tuned} against tuned_constrained round 0 0.50 [0.40, 0.60]: +0.11 [-0.01, +0.20], n=50: "
        "no difference can be claimed",
    ]


def test_each_round_is_compared_with_the_one_before_and_the_last_with_the_first() -> None:
    lines = list(
        findings(
            [
                *(f1("tuned", round_, 0.5 + round_ / 10, (0.4, 0.8)) for round_ in (0, 1, 2)),
                f1("tuned-previous_round", 1, 0.1, (0.05, 0.15)),
                f1("tuned-round_0", 1, 0.1, (0.05, 0.15)),
                f1("tuned-previous_round", 2, 0.1, (-0.3, -0.1)),
                f1("tuned-round_0", 2, 0.2, (0.1, 0.3)),
            ]
        )
    )
    assert [(line.split(" against ")[1].split(" 0.")[0], line.split(": ")[-1]) for line in lines] == [
        ("tuned round 0", "round 1 does better"),
        ("tuned round 1", "round 2 does WORSE"),
        ("tuned round 0", "round 2 does better"),
    ]


def test_what_is_compared_with_nothing_is_told_and_small_sets_claim_nothing() -> None:
    lines = list(
        findings(
            [
                f1("base", 0, 0.2, n=3, dataset="real"),
                f1("base_constrained", 0, 0.1, n=3, dataset="real"),
                f1("tuned_constrained", 0, 0.4, n=3, dataset="real"),
                f1("tuned_constrained-base_constrained", 0, 0.3, n=3, dataset="real"),
            ]
        )
    )
    assert lines == [
        "real, strict F1: base 0.20, n=3",
        "real, strict F1: tuned_constrained round 0 0.40 against base_constrained 0.10: +0.30, n=3: "
        "too few documents to claim a difference",
    ]


def test_only_tuned_models_belong_to_a_round() -> None:
    assert [label(model, 1) for model in ("tuned", "tuned_constrained", "tuned-base")] == [
        "tuned/r1",
        "tuned_constrained/r1",
        "tuned-base/r1",
    ]
    assert [label(model, 0) for model in ("base", "base_constrained", "generator")] == [
        "base",
        "base_constrained",
        "generator",
    ]

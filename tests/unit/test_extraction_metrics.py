"""Both graders on single predictions worked out by hand, their totals on published counts, and the intervals."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import get_args

import pytest

from finreg_cli.domain.extraction import LEASE, Field, Schema, Value
from finreg_cli.domain.extraction_metrics import (
    ALL,
    DEFINITIONS,
    PUBLISHED,
    Counts,
    Definition,
    differences,
    figures,
    grade,
    grade_document,
    strict_bound,
    totals,
)
from finreg_cli.domain.metrics import MIN_UNITS, RESAMPLES, Figure

TP, TN, FP, FN, WRONG = Counts(tp=1), Counts(tn=1), Counts(fp=1), Counts(fn=1), Counts(fp=1, fn=1)

DATE, NAME, TEXT, AMOUNT = Field("d", kind="date"), Field("n", kind="name"), Field("t"), Field("a", kind="amount")
NUMBER, FLAG = Field("i", type="integer", kind="amount"), Field("b", type="boolean")
ACME = "ACME Properties of Nevada, Inc."


@pytest.mark.parametrize(
    ("field", "labelled", "found", "published", "strict"),
    [
        # right
        (TEXT, "any lawful use", "any lawful use", TP, TP),
        (NUMBER, 7000, 7000, TP, TP),
        (Field("r", type="number", kind="amount"), 8000, 8000.0, TP, TP),
        (FLAG, False, False, TP, TP),
        # near: a letter of 15 is another, the fuzzy ratio is 14/15; strictly it is wrong
        (TEXT, "general offices", "general office", TP, WRONG),
        (NAME, "Edward Hohman", "Edward Homan", TP, WRONG),
        (DATE, "January 1, 2008", "January 2, 2008", TP, WRONG),  # the fuzzy ratio takes another day for the same
        (AMOUNT, "$8,000.00", "$9,000.00", TP, WRONG),
        (NUMBER, 70000, 70001, FP, WRONG),  # 2 * 4 / 10 is .8, and only above .8 is the same
        (TEXT, "abcdefghij", "abcdefghxy", FP, WRONG),  # exactly .8
        (TEXT, "abcdefghijk", "abcdefghijx", TP, WRONG),  # 10/11
        # wrong
        (TEXT, "any lawful use", "a warehouse", FP, WRONG),
        (NUMBER, 7000, 250, FP, WRONG),
        (FLAG, True, False, FP, WRONG),
        # missing, spurious, both null
        (TEXT, "any lawful use", None, FN, FN),
        (FLAG, False, None, FN, FN),  # false is a value, not nothing
        (NUMBER, 0, None, FN, FN),
        (DATE, None, "January 1, 2008", FP, FP),
        (NUMBER, None, 0, FP, FP),
        (NAME, None, None, TN, TN),
        # the same in another spelling: strictly right, by the letters not
        (DATE, "28th day of January, 2014", "2014-01-28", FP, TP),
        (DATE, "January 28, 2014", "28 January 2014", FP, TP),
        (NAME, ACME, "acme properties of nevada incorporated", FP, TP),
        (NAME, "Scrub Oak, LLC", "SCRUB OAK, LLC", FP, TP),
        (NAME, ACME, "ACME Properties of Nevada, LLC", TP, WRONG),  # another legal form is another party
        (AMOUNT, "eight thousand dollars ($8,000)", "$8,000.00", FP, TP),
        (TEXT, "Any lawful use.", "any  lawful use", TP, TP),
        # nothing is forgiven to a text as it stands: case counts for the published ratio
        (TEXT, "WAREHOUSE", "warehouse", FP, TP),
    ],
)
def test_single_predictions(field: Field, labelled: Value, found: Value, published: Counts, strict: Counts) -> None:
    assert grade(field, labelled, found, "published") == published
    assert grade(field, labelled, found, "strict") == strict


def test_a_document_is_graded_key_by_key() -> None:
    schema = Schema((DATE, NAME, TEXT, AMOUNT))
    labelled: dict[str, Value] = {"d": "January 1, 2008", "n": "Edward Hohman", "t": None, "a": "$5"}
    found: dict[str, Value] = {"d": "2008-01-01", "n": "Edward Homan", "t": "one year", "a": None}
    assert grade_document(schema, labelled, found, "published") == {"d": FP, "n": TP, "t": FP, "a": FN}
    assert grade_document(schema, labelled, found, "strict") == {"d": TP, "n": WRONG, "t": FP, "a": FN}
    assert get_args(Definition) == DEFINITIONS


@pytest.mark.parametrize(
    ("nth", "f1", "bound"), [(0, 0.705, 0.557), (1, 0.701, 0.569), (2, 0.752, 0.608), (3, 0.800, 0.667)]
)
def test_published_counts(nth: int, f1: float, bound: float) -> None:
    counts = PUBLISHED[nth].counts
    assert counts.f1 == pytest.approx(f1, abs=0.0005)
    assert strict_bound(counts).f1 == pytest.approx(bound, abs=0.0005)
    assert sum((counts.tp, counts.fp, counts.fn, counts.tn)) == 500, "50 leases of ten keys"


def test_the_graders_make_the_published_counts_of_single_predictions() -> None:
    """As many rights, wrongs, missings and both nulls as the baseline's counts say, all its FP being wrong values."""
    counts = PUBLISHED[0].counts
    pairs = (
        [("office", "office")] * counts.tp
        + [("office", "warehouse")] * counts.fp
        + [("office", None)] * counts.fn
        + [(None, None)] * counts.tn
    )
    published = sum((grade(TEXT, *pair, "published") for pair in pairs), Counts())
    strict = sum((grade(TEXT, *pair, "strict") for pair in pairs), Counts())
    assert published == counts
    assert strict == strict_bound(counts)


def test_counts_without_anything_to_divide_by() -> None:
    assert (TN.precision, TN.recall, TN.f1) == (None, None, None)
    assert (FP.precision, FP.recall, FP.f1) == (0, None, 0)
    assert (FN.precision, FN.recall, FN.f1) == (None, 0, 0)
    assert (TP + FP + FN + FN).precision == pytest.approx(1 / 2)
    assert (TP + FP + FN + FN).recall == pytest.approx(1 / 3)
    assert (TP + FP + FN + FN).f1 == pytest.approx(2 / 5)


# --- figures ---------------------------------------------------------------------------------------------------------

TWO = Schema((Field("x"), Field("y")))


def documents(seed: int, n: int, right: float = 0.6) -> list[dict[str, Counts]]:
    """Random counts of two keys; ``y`` is null in most documents."""
    chance = random.Random(seed)
    outcomes = (TP, FP, FN, WRONG)
    weights = (right, *[(1 - right) / 3] * 3)
    return [
        {
            "x": chance.choices(outcomes, weights)[0],
            "y": chance.choices((TN, *outcomes), (1, *weights))[0],
        }
        for _ in range(n)
    ]


def by_name(rows: Iterable[tuple[str, str, Figure]]) -> dict[tuple[str, str], Figure]:
    return {(key, metric): figure for key, metric, figure in rows}


def test_figures_worked_out_by_hand() -> None:
    graded = [{"x": TP, "y": TN}, {"x": TP, "y": FP}, {"x": WRONG, "y": TN}]
    found = by_name(figures(graded, TWO, seed=1))
    assert {name: figure.value for name, figure in found.items()} == {
        ("x", "precision"): pytest.approx(2 / 3),
        ("x", "recall"): pytest.approx(2 / 3),
        ("x", "f1"): pytest.approx(2 / 3),
        ("y", "precision"): 0,
        ("y", "recall"): None,  # no document has a y
        ("y", "f1"): 0,
        (ALL, "precision"): pytest.approx(2 / 4),
        (ALL, "recall"): pytest.approx(2 / 3),
        (ALL, "f1"): pytest.approx(4 / 7),
        (ALL, "macro_precision"): pytest.approx(1 / 3),
        (ALL, "macro_recall"): pytest.approx(2 / 3),  # of x alone
        (ALL, "macro_f1"): pytest.approx(1 / 3),
    }
    assert all((figure.n, figure.ci_low, figure.ci_high) == (3, None, None) for figure in found.values())


def test_figures_are_those_of_the_summed_counts() -> None:
    graded = documents(3, 40)
    found = by_name(figures(graded, TWO, seed=1))
    for key, counts in totals(graded, TWO).items():
        for metric in ("precision", "recall", "f1"):
            assert found[key, metric].value == pytest.approx(getattr(counts, metric))
    assert found[ALL, "macro_f1"].value == pytest.approx((found["x", "f1"].value + found["y", "f1"].value) / 2)


def test_intervals_are_those_of_resampled_documents() -> None:
    """Against the plain bootstrap, one resample and one count at a time."""
    graded = documents(5, 25)
    found = by_name(figures(graded, TWO, seed=1))
    chance = random.Random(1)
    naive: dict[tuple[str, str], list[float]] = {}
    for _ in range(RESAMPLES):
        counts = totals(chance.choices(graded, k=len(graded)), TWO)
        naive.setdefault((ALL, "f1"), []).append(counts[ALL].f1 or 0)
        naive.setdefault((ALL, "macro_f1"), []).append(((counts["x"].f1 or 0) + (counts["y"].f1 or 0)) / 2)
    for name, samples in naive.items():
        low, high = sorted(samples)[RESAMPLES // 40], sorted(samples)[-RESAMPLES // 40]
        figure = found[name]
        assert (figure.ci_low, figure.ci_high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
        assert figure.ci_low < figure.value < figure.ci_high


def test_the_same_seed_gives_the_same_interval_and_few_documents_none() -> None:
    many = documents(7, 61)
    assert by_name(figures(many, TWO, seed=4)) == by_name(figures(many, TWO, seed=4))
    assert by_name(figures(many, TWO, seed=4)) != by_name(figures(many, TWO, seed=5))
    graded = many[:MIN_UNITS]
    assert by_name(figures(graded, TWO, seed=4))[ALL, "f1"].ci_low is not None
    fewer = by_name(figures(graded[:-1], TWO, seed=4))[ALL, "f1"]
    assert fewer.value is not None
    assert (fewer.ci_low, fewer.ci_high) == (None, None)


def test_resamples_without_the_value_take_no_part() -> None:
    """One document of eight has a ``y``, and it is right: every resample that has it says 1, the others say nothing."""
    graded = [{"x": WRONG, "y": TP}] + [{"x": WRONG, "y": TN}] * 7
    found = by_name(figures(graded, TWO, seed=1))["y", "f1"]
    assert (found.value, found.ci_low, found.ci_high) == (1, 1, 1)


def test_nothing_graded_has_no_figures() -> None:
    found = by_name(figures([], TWO, seed=1))
    assert set(found.values()) == {Figure(None, None, None, 0, 0)}
    assert len(found) == 12


def test_figures_of_the_lease_schema_are_all_there_and_unlike_each_other() -> None:
    rows = list(figures([dict.fromkeys(LEASE.keys, TP)], LEASE, seed=1))
    assert len(rows) == len({(key, metric) for key, metric, _ in rows}) == 3 * 10 + 6


# --- differences -----------------------------------------------------------------------------------------------------


def test_differences_are_of_the_figures_macro_too() -> None:
    better, worse = documents(1, 30, right=0.9), documents(2, 30, right=0.3)
    found = by_name(differences(better, worse, TWO, seed=1))
    of_better, of_worse = by_name(figures(better, TWO, 1)), by_name(figures(worse, TWO, 1))
    for name, figure in found.items():
        assert figure.value == pytest.approx(of_better[name].value - of_worse[name].value)
    assert {metric for _, metric in found} == {metric for _, metric in of_better}
    assert found[ALL, "f1"].ci_low > 0


def test_the_bootstrap_is_paired() -> None:
    """Documents differ much, but the one is right in exactly one key more than the other everywhere."""
    against = [{"x": TP if nth % 2 else WRONG, "y": WRONG} for nth in range(20)]
    graded = [{**each, "y": TP} for each in against]
    figure = by_name(differences(graded, against, TWO, seed=1))[ALL, "f1"]
    assert (figure.value, figure.ci_low, figure.ci_high) == (pytest.approx(0.5),) * 3
    of_graded = by_name(figures(graded, TWO, seed=1))[ALL, "f1"]
    assert of_graded.ci_high - of_graded.ci_low > 0.1, "unpaired, it would be as wide as this"


def test_a_model_does_not_differ_from_itself() -> None:
    graded = documents(9, 12)
    assert {
        (figure.value, figure.ci_low, figure.ci_high) for _, _, figure in differences(graded, graded, TWO, seed=1)
    } == {(0, 0, 0)}


def test_a_difference_from_nothing_is_none() -> None:
    found = by_name(differences([{"x": TP, "y": TN}], [{"x": FN, "y": TN}], TWO, seed=1))
    assert found["x", "recall"].value == 1
    assert found["x", "precision"].value is None, "the other found nothing"


def test_other_documents_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="2 documents cannot be paired with 3"):
        list(differences(documents(1, 2), documents(1, 3), TWO, seed=1))

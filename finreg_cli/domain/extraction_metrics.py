"""How extracted labels are graded: the published definition and the strict one, per key, micro and macro.

================  =============  =============
labelled, found   published      strict
================  =============  =============
value, the same   TP             TP
value, another    FP             FP and FN
value, null       FN             FN
null, value       FP             FP
null, null        TN             TN
================  =============  =============

*Published* (the lease experiment) takes two values for the same where their fuzzy ratio is above 0.8, and counts a wrong
value as a false positive only, so its recall is flattered. *Strict* takes them for the same where they are equal once
dates, amounts and names are written in one way (`domain.values`), and counts a wrong value as what it is: one value
too many and one too few. True negatives take no part in precision, recall and F1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from finreg_cli.domain.extraction import Field, Labels, Schema, Value
from finreg_cli.domain.metrics import Figure

Definition = Literal["published", "strict"]
DEFINITIONS: tuple[Definition, ...] = ("published", "strict")

ALL = "all"
"""The key of figures over all keys."""


@dataclass(frozen=True)
class Counts:
    """A confusion count."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def precision(self) -> float | None:
        """None where nothing was found."""
        raise NotImplementedError

    @property
    def recall(self) -> float | None:
        """None where there was nothing to find."""
        raise NotImplementedError

    @property
    def f1(self) -> float | None:
        """``2 TP / (2 TP + FP + FN)``; None where there is neither a value to find nor one found."""
        raise NotImplementedError


Graded = Mapping[str, Counts]
"""The counts of one document by key."""


def grade(field: Field, labelled: Value, found: Value, definition: Definition) -> Counts:
    """One value of one document, by the table above."""
    raise NotImplementedError


def grade_document(schema: Schema, labelled: Labels, found: Labels, definition: Definition) -> dict[str, Counts]:
    """The counts of one document by key."""
    raise NotImplementedError


def figures(graded: Sequence[Graded], schema: Schema, seed: int) -> Iterator[tuple[str, str, Figure]]:
    """(key, metric, figure) with 95 % percentile bootstrap intervals over documents.

    For each key ``precision``, ``recall`` and ``f1``, and for the key `ALL` the same of the summed counts (micro) and
    ``macro_precision``, ``macro_recall``, ``macro_f1``: the mean of the keys' own, those that are None left out.
    ``n`` counts documents. No interval with fewer than `metrics.MIN_UNITS` documents.
    """
    raise NotImplementedError


def differences(
    graded: Sequence[Graded], against: Sequence[Graded], schema: Schema, seed: int
) -> Iterator[tuple[str, str, Figure]]:
    """As `figures`, of ``graded`` minus ``against``, document by document: the same documents in the same order.

    The bootstrap is paired: each resample takes the same documents of both.
    """
    raise NotImplementedError


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho with ties at their mean rank; None with fewer than three pairs, or where one side is constant."""
    raise NotImplementedError

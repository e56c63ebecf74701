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

*Published* (the lease experiment) takes two values for the same where their fuzzy ratio is above 0.8, and counts a
wrong value as a false positive only, so its recall is flattered. *Strict* takes them for the same where they are equal
once dates, amounts and names are written in one way (`domain.values`), and counts a wrong value as what it is: one
value too many and one too few. True negatives take no part in precision, recall and F1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from finreg_cli.domain.extraction import Field, Labels, Scalar, Schema, Value, text_of
from finreg_cli.domain.metrics import MIN_UNITS, RESAMPLES, Figure, resampled
from finreg_cli.domain.values import normalised

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
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """None where there was nothing to find."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """``2 TP / (2 TP + FP + FN)``; None where there is neither a value to find nor one found."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# --- what was published ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublishedRun:
    """A run of the lease experiment, with the confusion count of its hold-out by the published definition."""

    name: str
    counts: Counts


PUBLISHED: tuple[PublishedRun, ...] = (
    PublishedRun("Llama-3.1-70B, structured output (baseline)", Counts(267, 202, 21, 10)),
    PublishedRun("8B tuned on real leases only", Counts(265, 176, 50, 9)),
    PublishedRun("+ 43 synthetic", Counts(301, 189, 10, 0)),
    PublishedRun("+ 81 synthetic (43 + 38 of round two)", Counts(327, 162, 2, 9)),
)
"""The two-part Databricks blog on lease extraction; 50 leases held out, ten keys."""


def strict_bound(published: Counts) -> Counts:
    """The worst that the strict definition can make of published counts: every false positive is a wrong value."""
    return Counts(published.tp, published.fp, published.fn + published.fp, published.tn)


# --- one document ----------------------------------------------------------------------------------------------------

Graded = Mapping[str, Counts]
"""The counts of one document by key."""

SAME_ABOVE = 0.8
"""The fuzzy ratio (`rapidfuzz.fuzz.ratio`, 0 to 1) above which two values are the same by the published definition."""


def grade(field: Field, labelled: Value, found: Value, definition: Definition) -> Counts:
    """One value of one document, by the table above."""
    if labelled is None:
        return Counts(tn=1) if found is None else Counts(fp=1)
    if found is None:
        return Counts(fn=1)
    if definition == "published":
        return Counts(tp=1) if _published_same(labelled, found) else Counts(fp=1)
    return Counts(tp=1) if _strictly_same(field, labelled, found) else Counts(fp=1, fn=1)


def _published_same(labelled: Scalar, found: Scalar) -> bool:
    """The texts are compared as they stand, without lower case or trimming; 8000 and 8000.0 are one number."""
    return labelled == found or fuzz.ratio(text_of(labelled), text_of(found)) / 100 > SAME_ABOVE


def _strictly_same(field: Field, labelled: Scalar, found: Scalar) -> bool:
    return normalised(field.kind, labelled) == normalised(field.kind, found)


def grade_document(schema: Schema, labelled: Labels, found: Labels, definition: Definition) -> dict[str, Counts]:
    """The counts of one document by key."""
    return {each.name: grade(each, labelled[each.name], found[each.name], definition) for each in schema.fields}


def totals(graded: Sequence[Graded], schema: Schema) -> dict[str, Counts]:
    """The counts of all documents by key, and of all keys under `ALL`."""
    by_key = {key: sum((each[key] for each in graded), Counts()) for key in schema.keys}
    return {**by_key, ALL: sum(by_key.values(), Counts())}


# --- all documents ---------------------------------------------------------------------------------------------------

Array = NDArray[np.float64]
_METRICS = ("precision", "recall", "f1")


def figures(graded: Sequence[Graded], schema: Schema, seed: int) -> Iterator[tuple[str, str, Figure]]:
    """(key, metric, figure) with 95 % percentile bootstrap intervals over documents.

    For each key ``precision``, ``recall`` and ``f1``, and for the key `ALL` the same of the summed counts (micro) and
    ``macro_precision``, ``macro_recall``, ``macro_f1``: the mean of the keys' own, those that are None left out.
    ``n`` counts documents. No interval with fewer than `metrics.MIN_UNITS` documents. A resample in which a metric is
    not defined takes no part in its interval.
    """
    yield from _figures(_by_document(graded, schema), schema, seed, _scores)


def differences(
    graded: Sequence[Graded], against: Sequence[Graded], schema: Schema, seed: int
) -> Iterator[tuple[str, str, Figure]]:
    """As `figures`, of ``graded`` minus ``against``, document by document: the same documents in the same order.

    The bootstrap is paired: each resample takes the same documents of both. None where one of both is None.

    Raises:
        ValueError: they are not equally many documents.
    """
    if len(graded) != len(against):
        raise ValueError(f"{len(graded)} documents cannot be paired with {len(against)}")
    both = np.concatenate([_by_document(graded, schema), _by_document(against, schema)], axis=1)

    def difference(sums: Array) -> Array:
        half = sums.shape[1] // 2
        return _scores(sums[:, :half]) - _scores(sums[:, half:])

    yield from _figures(both, schema, seed, difference)


def _by_document(graded: Sequence[Graded], schema: Schema) -> Array:
    """TP, FP, FN of each key: (documents, keys, 3)."""
    counts = [[(each[key].tp, each[key].fp, each[key].fn) for key in schema.keys] for each in graded]
    return np.array(counts, dtype=np.float64).reshape(len(graded), len(schema.keys), 3)


def _scores(sums: Array) -> Array:
    """(samples, keys + 2, metrics) of the summed counts (samples, keys, 3); not a number where undefined.

    The last two rows are micro and macro.
    """
    with_micro = np.concatenate([sums, sums.sum(axis=1, keepdims=True)], axis=1)
    tp, fp, fn = np.moveaxis(with_micro, 2, 0)
    scores = np.stack([_quotient(tp, tp + fp), _quotient(tp, tp + fn), _quotient(2 * tp, 2 * tp + fp + fn)], axis=2)
    of_keys = scores[:, :-1]
    macro = _quotient(np.nansum(of_keys, axis=1), (~np.isnan(of_keys)).sum(axis=1).astype(np.float64))
    return np.concatenate([scores, macro[:, np.newaxis]], axis=1)


def _quotient(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _figures(
    documents: Array, schema: Schema, seed: int, scores: Callable[[Array], Array]
) -> Iterator[tuple[str, str, Figure]]:
    """The scores of the documents' sums, with intervals: ``documents`` is (documents, columns, 3)."""
    n, *shape = documents.shape
    values = scores(documents.sum(axis=0, keepdims=True))[0]
    samples = None
    if n >= MIN_UNITS:
        samples = scores(resampled(documents.reshape(n, -1), seed).reshape(RESAMPLES, *shape))
    names = [(key, metric) for key in (*schema.keys, ALL) for metric in _METRICS]
    names += [(ALL, f"macro_{metric}") for metric in _METRICS]
    for nth, (key, metric) in enumerate(names):
        place = divmod(nth, len(_METRICS))
        value = float(values[place])
        if math.isnan(value):
            yield key, metric, Figure(None, None, None, n, n)
        else:
            low, high = (None, None) if samples is None else _interval(samples[:, *place])
            yield key, metric, Figure(value, low, high, n, n)


def _interval(samples: Array) -> tuple[float, float] | tuple[None, None]:
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)

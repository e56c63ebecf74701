"""Scores of answers, and the figures made of them with their intervals.

Every score is 0 to 1. Which rows a score is defined on (its *definition*) keeps the figures honest:

=================  ============  =======================================================================
exact_match        answerable    the same tokens in the same order
token_f1           answerable    F1 over the tokens as bags
rouge_l            answerable    F1 over the longest common subsequence of the words (Lin 2004, beta 1)
numbers_right      has_numbers   all numbers, percentages and dates of the reference and no other; those of the
                                 reference's own citation may be named too
citation_right     has_citation  the bracketed citation equals the reference's
false_abstention   answerable    the model says that it does not know, though the context holds the answer
abstention_right   unanswerable  the model says that it does not know, and nothing else
=================  ============  =======================================================================

A row whose right answer is to abstain has no text score: answering "I don't know." to all of them would otherwise raise
the token F1 of the whole. The bracketed citation is left out of every score but its own.

Normalisation follows SQuAD (Rajpurkar et al. 2016): lower case, no punctuation, no articles (a, an, the), blanks
collapsed. It differs where the regulation would suffer: a number keeps its decimals (``4.5`` is not ``45``),
``per cent`` and ``percent`` are ``%``, and punctuation separates words instead of joining them. ROUGE-L keeps the
articles.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from finreg_cli.domain.chat_format import ABSTENTION, split_citation

DEFINITIONS: Mapping[str, str] = {
    "token_f1": "answerable",
    "rouge_l": "answerable",
    "exact_match": "answerable",
    "numbers_right": "has_numbers",
    "citation_right": "has_citation",
    "false_abstention": "answerable",
    "abstention_right": "unanswerable",
}
"""Each metric with the rows it is defined on, in the order in which reports show them."""

LOWER_IS_BETTER = frozenset({"false_abstention"})

TASK_METRICS: Mapping[str, str] = {"regulation_qa": "task_token_f1", "structured_extraction": "task_f1_strict"}
"""Task -> what ``finetune.select_by: task_metric`` looks at, among a training run's metrics."""

TASK_TITLES: Mapping[str, str] = {
    "task_token_f1": "token F1",
    "task_citation_right": "right citation",
    "task_abstention_right": "right abstention",
    "task_f1_strict": "strict F1",
    "task_f1_published": "published F1",
}
"""The metrics of a task on ``ft_eval`` that are shown of a training run, by name."""

RESAMPLES = 2_000
RESAMPLES_AT_ONCE = 200  # bounds the memory: 8 bytes times this times the units
MIN_UNITS = 6
"""The fewest units that get an interval. Six that all point one way are the least that a two-sided sign test at 5 %
can tell from chance (2 * 0.5**6 = 0.03); with fewer, resampling gives an interval that is narrower than the truth."""


# --- one answer ------------------------------------------------------------------------------------------------------


def scores(prediction: str, reference: str, answerable: bool) -> dict[str, float]:
    """The scores that are defined on this row, by metric.

    Args:
        prediction: the model's answer, with its bracketed citation.
        reference: the right answer, with its bracketed citation; the abstention where the row is not answerable.
        answerable: whether the context holds the answer.
    """
    if not answerable:
        return {"abstention_right": float(abstains(prediction))}
    text, citation = split_citation(prediction)
    right_text, right_citation = split_citation(reference)
    found = {
        "exact_match": exact_match(text, right_text),
        "token_f1": token_f1(text, right_text),
        "rouge_l": rouge_l(text, right_text),
        "false_abstention": float(abstains(prediction)),
    }
    if numbers(right_text):
        found["numbers_right"] = float(_same_numbers(text, right_text, right_citation))
    if right_citation is not None:
        found["citation_right"] = float(_same_citation(citation, right_citation))
    return found


def exact_match(prediction: str, reference: str) -> float:
    return float(_without_articles(prediction) == _without_articles(reference))


def token_f1(prediction: str, reference: str) -> float:
    """Two empty texts agree; an empty one and another do not."""
    got, right = _without_articles(prediction), _without_articles(reference)
    shared = sum((Counter(got) & Counter(right)).values())
    return _f1(shared, len(got), len(right))


def rouge_l(prediction: str, reference: str) -> float:
    got, right = words(prediction), words(reference)
    return _f1(LCSseq.similarity(got, right), len(got), len(right))


def abstains(answer: str) -> bool:
    """The whole answer is the abstention; letter case, punctuation, apostrophes and a citation behind it do not count.

    An answer that goes on after it ("I don't know, but ...") is none.
    """
    text, _ = split_citation(answer)
    return " ".join(words(text)).replace("do not", "dont") == " ".join(words(ABSTENTION))


_APOSTROPHE = re.compile("['\u2018\u2019\u02bc]")
_PER_CENT = re.compile(r"\bper\s?cent\b")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+\d*|%")


def words(text: str) -> list[str]:
    """Lower-case words and numbers in their order, without punctuation.

    ``per cent`` is ``%``, ``don't`` is ``dont``, and a number is spelt as in `numbers`.
    """
    plain = _APOSTROPHE.sub("", _PER_CENT.sub("%", unicodedata.normalize("NFKC", text).casefold()))
    return [_number(word) if word[0].isdigit() else word for word in _WORD.findall(plain)]


def _without_articles(text: str) -> list[str]:
    return [word for word in words(text) if word not in ("a", "an", "the")]


def _f1(shared: int, got: int, right: int) -> float:
    if not got and not right:
        return 1.0
    return 2 * shared / (got + right)


def _same_citation(citation: str | None, reference: str) -> bool:
    return citation is not None and citation.split() == reference.split()


# --- numbers ---------------------------------------------------------------------------------------------------------

_MONTH = "january|february|march|april|may|june|july|august|september|october|november|december"
_MONTHS = _MONTH.split("|")
_DATE = re.compile(
    rf"\b(?P<d1>\d{{1,2}})\s+(?P<m1>{_MONTH})\b(?:,?\s+(?P<y1>\d{{4}})\b)?"
    rf"|\b(?P<m2>{_MONTH})\s+(?P<d2>\d{{1,2}})\b(?:,?\s+(?P<y2>\d{{4}})\b)?"
    r"|\b(?P<y3>\d{4})-(?P<m3>\d{2})-(?P<d3>\d{2})\b"
)
_NUMBER = re.compile(
    r"(?<![^\W_])"  # never inside a word: CET1
    r"(?P<value>\d{1,3}(?:\s\d{3})+(?:[.,]\d+)?(?!\d)"  # thousands apart by blanks: EUR 5 000 000
    r"|\d+(?:[.,]\d+)*)(?P<letters>[a-z]{0,2})\b(?P<percent>\s?%)?"  # 1,250 or 4.5 % or 124a
)


def numbers(text: str) -> frozenset[str]:
    """The numbers of a text in one spelling: ``4,5 %`` and ``4.5 per cent`` are ``4.5%``.

    A date counts as a whole: 1 January 2014 is ``2014-01-01``. Numbers in words ("three months") do not count. A comma
    before exactly three digits separates thousands, unless a lone zero stands before it (``0,005``).
    """
    plain = _PER_CENT.sub("%", unicodedata.normalize("NFKC", text).casefold())
    found: set[str] = set()

    def take_date(match: re.Match[str]) -> str:
        found.add(_date(match))
        return " ; "  # nothing that a number on either side could join with

    for match in _NUMBER.finditer(_DATE.sub(take_date, plain)):
        sign = "%" if match["percent"] else ""
        found.add(f"{_number(match['value'])}{match['letters']}{sign}")
    return frozenset(found)


def _date(match: re.Match[str]) -> str:
    def part(name: str) -> str | None:
        return next((match[f"{name}{form}"] for form in "123" if match[f"{name}{form}"]), None)

    month = part("m") or ""
    number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
    return f"{part('y') or ''}-{number:02}-{int(part('d') or 0):02}"


def _number(text: str) -> str:
    digits = re.sub(r"\s", "", text)
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and "." not in digits:
        digits = digits.replace(",", ".")
    if re.fullmatch(r"\d+(\.\d+)?", digits):
        return f"{Decimal(digits).normalize():f}"
    return digits  # neither a number nor a date, as the point 4.2.1: it is compared as it stands


def _same_numbers(text: str, right_text: str, right_citation: str | None) -> bool:
    """All of the reference's and no other, but an answer may name its own article ("Article 92(1) sets 4,5 %")."""
    got, right = numbers(text), numbers(right_text)
    return right <= got <= right | numbers(right_citation or "")


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval; ``n`` counts rows, ``units`` the legal units that they come from.

    ``value`` is None without rows, the interval is None with fewer than `MIN_UNITS` units.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    units: int


def mean(values: Iterable[tuple[str, float]], seed: int) -> Figure:
    """The mean of row scores with a percentile bootstrap interval.

    Whole units are resampled, not rows: rows of one article share its text, so they are not independent
    (cluster bootstrap; Davison and Hinkley 1997, 3.8). For a paired comparison give the differences row by row.

    Args:
        values: (unit, score) of each row, where the unit is the legal unit that the split goes by.
        seed: of the resampling; the same values in the same order give the same interval.
    """
    totals: dict[str, list[float]] = {}
    for unit, value in values:
        total = totals.setdefault(unit, [0.0, 0])
        total[0] += value
        total[1] += 1
    if not totals:
        return Figure(None, None, None, 0, 0)
    sums = np.array([total for total, _ in totals.values()], dtype=np.float64)
    counts = np.array([count for _, count in totals.values()], dtype=np.float64)
    value, n = float(sums.sum() / counts.sum()), int(counts.sum())
    if len(sums) < MIN_UNITS:
        return Figure(value, None, None, n, len(sums))
    low, high = _interval(sums, counts, seed)
    return Figure(value, low, high, n, len(sums))


def resampled(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The sums over `RESAMPLES` bootstrap resamples of units: (resamples, columns) of (units, columns)."""
    units = len(rows)
    draws = np.random.default_rng(seed)
    sums = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        drawn = draws.integers(0, units, (RESAMPLES_AT_ONCE, units))
        times = np.stack([np.bincount(each, minlength=units) for each in drawn])
        sums.append(times @ rows)
    return np.concatenate(sums)


def _interval(sums: NDArray[np.float64], counts: NDArray[np.float64], seed: int) -> tuple[float, float]:
    totals = resampled(np.stack([sums, counts], axis=1), seed)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5])
    return float(low), float(high)


# --- ranks -----------------------------------------------------------------------------------------------------------

MIN_RANKED = 3
"""The fewest different values that have an order worth the name: any two are in the same order or in the opposite."""


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho, ties at their mean rank (Kendall and Gibbons 1990, 3.4).

    Returns:
        -1 to 1; None where one side has fewer than `MIN_RANKED` different values.

    Raises:
        ValueError: they are not equally many.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    if min(len(set(first)), len(set(second))) < MIN_RANKED:
        return None
    ranks, others = _ranks(first), _ranks(second)
    rho = ranks @ others / math.sqrt((ranks @ ranks) * (others @ others))
    return float(np.clip(rho, -1, 1))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks less their mean."""
    _, which, ties = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(ties)
    ranks: NDArray[np.float64] = (last - (ties - 1) / 2)[which]
    return ranks - (len(values) + 1) / 2


def chance_of_perfect_order(n: int) -> float:
    """That ``n`` values without ties are in the same order as another ``n``, or in the opposite, by chance alone."""
    return min(1.0, 2 / math.factorial(n))

"""Whether a figure is a floor or a ceiling: "no more than four days" is no minimum of four days.

The same number stands in both, so that comparing numbers does not find it, and yet one is the reverse of the other. The
words are English: of a text in another language nothing is said, and so nothing in it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

Bound = Literal["minimum", "maximum"]

REACH = 60
"""Letters before a number in which the word stands that bounds it."""

WRITTEN_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""From 2 on: "one" is mostly no number."""

_WRITTEN = "|".join(WRITTEN_NUMBERS)
_NUMBER = re.compile(rf"(?<![\w.,(])\d+(?:[ \u00a0]\d{{3}})*(?:[.,]\d+)*|\b(?:{_WRITTEN})\b", re.IGNORECASE)
_NOT = r"(?:no|not|never)(?: be| fall| have| been)?"
_WORDS = re.compile(  # what is negated goes first: "not less than" holds "less than"
    rf"\b(?:(?P<maximum>{_NOT} (?:more|higher|greater|longer|later) than|{_NOT} exceed\w*|at most|maximum|up to)"
    rf"|(?P<minimum>{_NOT} (?:less|lower|fewer|shorter|smaller) than|{_NOT} below|at least|minimum)"
    r"|(?P<less>less than|lower than|fewer than|shorter than|below|within)"
    r"|(?P<more>more than|higher than|greater than|longer than|exceed\w*|above))\b",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\s*(?:%|[a-z]+(?: [a-z]+)?)? or (?:(?P<more>more|longer|above|higher)|(?P<less>less|fewer|lower))\b"
)
_ASKED = re.compile(
    r"\b(?:(?P<minimum>minimum|at least|lowest)|(?P<maximum>maximum|at most|highest|longest|latest))\b", re.IGNORECASE
)
_BOUNDS: Mapping[str | None, Bound] = {"maximum": "maximum", "less": "maximum", "minimum": "minimum", "more": "minimum"}
_CLAUSE_ENDS = re.compile(r"[.;:?](?=\s|$)|\n")


def reversed_bound(question: str, answer: str, context: str) -> tuple[str, Bound] | None:
    """A number of the answer that the context bounds on the other side, and what the answer takes it for.

    What the question asks for ("the minimum period") counts for a number that the answer does not bound itself. Nothing
    is found where the context says nothing about the number, or both.
    """
    asked = {_BOUNDS[each.lastgroup] for each in _ASKED.finditer(question)}
    for number, bounds in _bounded(answer).items():
        taken = bounds or asked
        known = _bounded(context).get(number, frozenset())
        if len(taken) == len(known) == 1 and taken != known:
            return number, next(iter(taken))
    return None


@lru_cache(maxsize=256)  # rows of one chunk share their context
def _bounded(text: str) -> Mapping[str, frozenset[Bound]]:
    """Each number of a text, in one spelling, with what the words around it make of it wherever it stands."""
    found: dict[str, set[Bound]] = {}
    for each in _NUMBER.finditer(text):
        found.setdefault(_spelled(each.group()), set()).update(_bounds_at(text, each.start(), each.end()))
    return {number: frozenset(bounds) for number, bounds in found.items()}


def _spelled(number: str) -> str:
    written = number.lower()
    if written in WRITTEN_NUMBERS:
        return str(WRITTEN_NUMBERS.index(written) + 2)
    return re.sub(r"\s", "", number).replace(",", ".")


def _bounds_at(text: str, start: int, end: int) -> Iterator[Bound]:
    behind = _BEHIND.match(text, end)
    if behind:
        yield _BOUNDS[behind.lastgroup]
        return
    clause = _CLAUSE_ENDS.split(text[max(0, start - REACH) : start])[-1]
    words = list(_WORDS.finditer(clause))
    if words:
        yield _BOUNDS[words[-1].lastgroup]

"""The dates of a document, moved together: their order, their distances and their spellings stay as they are."""

from __future__ import annotations

import calendar
import random
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from finreg_cli.domain.extraction import Span
from finreg_cli.domain.values import parse_date, spell_date_like
from finreg_cli.tasks.synthesis.numbers import cardinal

_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
_DAY_WORD = (
    r"(?:(?:twenty|thirty)[\s-]+)?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|"
    r"thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth)"
)
_DAY = rf"(?:[0-3]?\d(?:\s?(?:st|nd|rd|th))?|{_DAY_WORD})"
_YEAR = (
    r"(?:\d{4}\b|(?:two\s+thousand|nineteen\s+hundred|nineteen|twenty)(?:[\s-]+(?:and\s+)?(?:one|two|three|four|five|six|"
    r"seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety)\b)*)"
)
_CANDIDATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_DAY}(?:\s+day)?(?:\s+of)?\s+{_MONTH},?\s+(?:in\s+the\s+year\s+(?:of\s+)?)?{_YEAR}",
        rf"\b{_MONTH}\s+{_DAY}\s*,?\s+{_YEAR}",
        r"(?<![\w./-])\d{4}-\d\d-\d\d(?![\w/-])",
        r"(?<![\w./-])\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d)(?![\w/-]|\.\d)",
    )
)
_EARLIEST, _LATEST = date(1990, 1, 1), date(2027, 1, 1)
"""Between which the first date of a document is moved."""

_MOST_DAYS = 9
_TRIALS = 48


@dataclass(frozen=True)
class Found:
    """A date in a text, as it is written there."""

    span: Span
    text: str
    day: date


def dates_in(text: str) -> Iterator[Found]:
    """The dates of a text in any known spelling, in the order of the patterns; two never overlap."""
    taken: list[Span] = []
    for pattern in _CANDIDATES:
        for match in pattern.finditer(text):
            day = parse_date(match.group())
            span = Span(*match.span())
            if day is None or any(span.start < other.end and other.start < span.end for other in taken):
                continue
            taken.append(span)
            yield Found(span, match.group(), day)


@dataclass(frozen=True)
class Shift:
    """Moves every date by some months, days within the month and, those after ``cut``, some years more.

    First and last days of a month stay such. It is a function of the date alone, so equal dates stay equal, and a term
    of whole months stays one.
    """

    months: int
    days: int = 0
    years_after: int = 0
    cut: date = date.max

    def __call__(self, day: date) -> date:
        months = self.months + (12 * self.years_after if day > self.cut else 0)
        year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
        last = calendar.monthrange(year, month + 1)[1]
        if _is_last(day):
            return date(year, month + 1, last)
        if day.day == 1:
            return date(year, month + 1, 1)
        return date(year, month + 1, min(max(day.day + self.days, 2), last - 1))

    def text(self, text: str) -> str:
        """The text with its dates moved; one whose spelling cannot say the new date stays."""
        for found in sorted(dates_in(text), key=lambda each: each.span.start, reverse=True):
            new = spell_date_like(found.text, self(found.day))
            if new is not None:
                text = text[: found.span.start] + new + text[found.span.end :]
        return text


def choose_shift(labelled: Collection[date], others: Collection[date], document: str, chance: random.Random) -> Shift:
    """A shift that moves all dates to plausible years and keeps the order of all.

    Where nothing in the document states the length of the term, the time after the largest gap between labelled dates
    (whole years from the start to the end) changes, too.
    """
    every = sorted({*labelled, *others})
    if not every:
        return Shift(0)
    cut, years = _term(sorted(set(labelled)), document)
    days = _room(every)
    for _ in range(_TRIALS):
        months = chance.choice((-1, 1)) * chance.choice([n for n in range(7, 169) if n % 12])
        after = chance.choice([n for n in range(1, 2 * years + 3) if n != years]) - years if years else 0
        shift = Shift(months, chance.choice(days), after, cut)
        if not _EARLIEST <= shift(every[0]) <= _LATEST:
            continue
        moved = [shift(day) for day in every]
        if moved == sorted(set(moved)):
            return shift
    # Months alone keep every order but that of the last days of a month, and a year has the same number of them.
    return Shift(-12)


def _room(every: Collection[date]) -> range:
    """By how many days all of the dates can move within their months, firsts and lasts of a month aside."""
    inside = [day.day for day in every if day.day != 1 and not _is_last(day)]
    if not inside:
        return range(1)
    least, most = max(2 - min(inside), -_MOST_DAYS), min(27 - max(inside), _MOST_DAYS)
    return range(least, most + 1) if least <= 0 <= most else range(1)


def _is_last(day: date) -> bool:
    return day.day == calendar.monthrange(day.year, day.month)[1]


def _term(labelled: list[date], document: str) -> tuple[date, int]:
    """The day after which the term's end lies, and the years of the term; (date.max, 0) where it must stay as it is."""
    gaps = [(later - earlier, earlier, later) for earlier, later in pairwise(labelled)]
    if not gaps:
        return date.max, 0
    gap, start, _ = max(gaps)
    years = round(gap.days / 365.25)
    if years < 1 or abs(gap.days - years * 365.25) > 2 or _is_stated(years, document):
        return date.max, 0
    return start, years


def _is_stated(years: int, document: str) -> bool:
    """Whether the length stands in the document, perhaps of something else: then it is left alone."""
    lengths = [(years, "years?"), (years * 12, "months?")]
    spelled = [
        rf"\b(?:{n}|{cardinal(n).replace(' ', '[ ]')}|{n}\))[\s-]+(?:\w+\s+){{0,2}}{unit}\b" for n, unit in lengths
    ]
    return re.search("|".join(each.replace("[ ]", r"\s+") for each in spelled), document, re.IGNORECASE) is not None

"""Which kinds of question a text can answer at all, as far as its words and figures tell.

A language model that is asked for a threshold where no figure stands invents one, and is paid for it. What is left out
here is only what could hardly be right: a kind stays where there is doubt, and in any language but English, whose words
these are. Whether a question is good is for the judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from finreg_cli.domain.language import foreign
from finreg_cli.domain.mentions import mentions


def fits(kind: str, text: str) -> bool:
    """Whether a text holds what a question of the kind asks for: a threshold a figure, a deadline a time, ..."""
    holds = _HOLDS.get(kind)
    return holds is None or holds(text) or _is_foreign(text)


@lru_cache(maxsize=4)  # the kinds of a text are asked for one after the other
def _is_foreign(text: str) -> bool:
    return foreign(text[:_SAMPLE], "English") is not None


_SAMPLE = 1000
"""Letters of a text that tell its language."""


@lru_cache(maxsize=4)
def _plain(text: str) -> str:
    """The text on one line without the numbers of its paragraphs and its references, which are no figures."""
    text = _SPACES.sub(" ", _ENUMERATOR.sub(" ", text))
    kept, end = [], 0
    for mention in mentions(text):
        kept.append(text[end : mention.start])
        end = mention.end
    return _POINT.sub(" ", " ".join([*kept, text[end:]]))


_SPACES = re.compile(r"\s+")
_ENUMERATOR = re.compile(r"^\s*(?:\(?\w{1,5}\)|\d{1,3}\.)(?=\s|$)", re.MULTILINE)
_POINT = re.compile(r"\(\w{1,5}\)")


def _any_of(*patterns: str) -> re.Pattern[str]:
    """Whole words, in any case."""
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_NO_FIGURES = re.compile(
    rf"\b\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTHS})(?: [12]\d{{3}})?\b|\b(?:{_MONTHS}) [12]\d{{3}}\b"
    r"|\b(?:from|until|in|of|before|after|during) [12]\d{3}\b"
    r"|\b(?:Tier|Pillar|Basel|Level|Stage|Step|Table|IFRS|IAS|FRS|Method|Category|Class) \d+\b"
)
"""Dates and names that hold a digit."""

_FIGURE = re.compile(r"\d|%")
_COUNTED = _any_of(
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|sixty|ninety|zero",
    "hundred|thousand|million|billion|per ?cent|half|twice|double|one[ -]third|two[ -]thirds|quarter|fifths",
)
_TIME = _any_of(
    "(?:day|week|month|quarter|year|hour|minute)s?",
    "daily|intra-?day|weekly|monthly|quarterly|annual|annually|yearly|biannual(?:ly)?|semi-annual(?:ly)?|half-yearly",
    rf"\d{{1,2}} (?:{_MONTHS})|[12]\d{{3}}|date|deadlines?|time ?limits?|once|frequency|frequently|regularly",
    "periodically|regular basis",
    "immediately|promptly|forthwith|without (?:undue )?delay|as soon as|at all times|in advance|prior to",
    "ongoing basis|continuous(?:ly)?",
)
_MEANING = re.compile(
    r"(?<!by )(?<!the )\bmeans\b(?! (?:of|to|for|by|that are|which)\b)|\bshall mean\b|\bdefin(?:es?|ed|itions?)\b"
    r"|\b(?:shall|is|are|be) (?:\w+ )?(?:considered|deemed|understood)\b"
    r"|\b(?:consists?|composed|comprises?|constitutes?)\b|\b(?:known|referred to|designated) as\b|\bthe term\b"
    r"|\b(?:is|are|be) the (?:sum|amount|ratio|product|difference|value|number|average|rate|risk|higher|lower|total)\b",
    re.IGNORECASE,
)
_DUTY = _any_of(
    "shall|must|may not|may only|should|requires?|required|requirements?|obliged|obligations?|prohibited|ensures?",
    "needs? to|ha(?:s|ve) to|subject to|duty|duties",
)
_ACTS = _any_of("shall|must|may|should|can|will|(?:is|are) to")
_OTHER_CASE = _any_of(
    "whereas|while|instead|unlike|respectively|otherwise|alternatively|rather than|other than|except|unless",
    "higher|lower|greater|less|more|different|differently|difference|compared|either|both|former|latter",
    "in the case of|derogation|not apply|in other cases",
)


def _threshold(text: str) -> bool:
    plain = _NO_FIGURES.sub(" ", _plain(text))
    return _FIGURE.search(plain) is not None or _COUNTED.search(plain) is not None


def _comparison(text: str) -> bool:
    """Two things: a word that sets one case against another, or a second point or paragraph."""
    return _OTHER_CASE.search(text) is not None or len(_ENUMERATOR.findall(text)) > 1


def _says(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(_plain(text)) is not None


_HOLDS: Mapping[str, Callable[[str], bool]] = {
    "threshold": _threshold,
    "deadline": _says(_TIME),
    "definition": _says(_MEANING),
    "requirement": _says(_DUTY),
    "procedure": _says(_ACTS),
    "comparison": _comparison,
}
"""The kinds that need something in particular; the others (fact, unanswerable, cross_article) fit any text."""

"""Figures that stand in the points of a list: "the following ratios: (a) a Tier 1 capital ratio of 6 %"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finreg_cli.domain.notes import has_mark
from finreg_cli.tasks.rules.forms import AMOUNT
from finreg_cli.tasks.rules.proposal import Proposal, chosen, quote
from finreg_cli.tasks.rules.provisions import ListPoint, Provision, Statement
from finreg_cli.tasks.rules.wording import (
    MOST_SENTENCE_WORDS,
    any_of,
    is_sound,
    lower_first,
    standing_alone,
    take_apart,
)

VERSION = 1
_MOST_WORDS = 45

_HAS_FIGURE = re.compile(rf"an? (?P<noun>[\w -]{{3,60}}?) of (?:at least )?{AMOUNT}")
_FIGURE_FOR = re.compile(rf"{AMOUNT} (?P<link>for|in the case of|of|during) (?P<what>[^;:]+)")
_FIGURE_AFTER = re.compile(rf"(?P<what>[^:;]+): (?:at least )?{AMOUNT}")
_OBLIGES = re.compile(
    r"(?P<modal>shall|may) "
    r"(?P<verb>(?:at all times |at no time )?(?:satisfy|meet|maintain|hold|fall below)|not fall below)\b"
    r".*\bfollowing\b.*"
)
_QUANTITY_NOUN = any_of(
    "percentage, risk weight, value, rate, factor, haircut, ratio, amount, LGD value, conversion factor"
)
_NAMED = re.compile(rf"\bfollowing (?P<noun>(?:[\w-]+ ){{0,3}}{_QUANTITY_NOUN})s?\b")


def point_rows(provision: Provision) -> Iterator[Proposal]:
    """A row for each point that consists of a figure and what it applies to."""
    for point in provision.list_points:
        if len(point.text.split()) <= _MOST_WORDS and not has_mark(f"{point.intro} {point.text}"):
            yield from _obliged(point)
            yield from _listed(point, provision.act)


def _obliged(point: ListPoint) -> Iterator[Proposal]:
    """As in "Institutions shall satisfy the following: (a) a Tier 1 capital ratio of 6 %"."""
    found = _HAS_FIGURE.fullmatch(point.text)
    clause = take_apart(Statement(point.intro, point.citation, intro=point.intro))
    obliges = _OBLIGES.fullmatch(clause.verbal) if clause else None
    if found is None or clause is None or obliges is None or clause.when:
        return
    noun, verb = found["noun"], obliges["verb"]
    floor = "fall below" in verb
    questions = (
        f"Below what {noun} may {clause.subject} not fall under {point.citation}?"
        if floor
        else f"Under {point.citation}, what {noun} must {clause.subject} {verb}?",
        f"Which {noun} does {point.citation} require of {clause.subject}?",
    )
    number = chosen(len(questions), point.citation, point.text)
    subject = clause.subject[:1].upper() + clause.subject[1:]
    answer = f"{subject} {obliges['modal']} {verb} {point.text}."
    yield _proposal("obliged", number, questions[number], answer, point)


def _listed(point: ListPoint, act: str) -> Iterator[Proposal]:
    """As in "the following percentages: (a) 80 % for the period ...", or "the following values: (a) bonds: 11 %"."""
    named = _NAMED.search(point.intro)
    found = _FIGURE_FOR.fullmatch(point.text) or _FIGURE_AFTER.fullmatch(point.text)
    if found is None:
        return
    what = standing_alone(lower_first(found["what"]).removeprefix("for "), act)
    if what is None:
        return
    noun = named["noun"] if named else "percentage" if "%" in point.text else "amount"
    link = found.groupdict().get("link", "for")
    asked = f"share of {what}" if link == "of" else noun
    applies_to = "" if link == "of" else f" {link} {what}"
    questions = (
        f"Which {asked} does {point.citation} set{applies_to}?",
        f"Under {point.citation}, which {asked} applies{applies_to}?",
    )
    number = chosen(len(questions), point.citation, point.text)
    # The introduction says what the figures are for; "80 % for X" answers without it, "80 % of X" does not.
    whole = f"{point.intro} {point.text}."
    fits = len(whole.split()) <= MOST_SENTENCE_WORDS and is_sound(Statement(whole, point.citation))
    if link == "of" and not fits:
        return
    answer = whole if fits else f"{point.text[:1].upper()}{point.text[1:]}."
    yield _proposal("listed", number, questions[number], answer, point)


def _proposal(name: str, number: int, question: str, answer: str, point: ListPoint) -> Proposal:
    return Proposal(
        "threshold",
        f"threshold/{name}-{number + 1}@{VERSION}",
        question,
        answer,
        point.citation,
        f"the point says so: {quote(point.text)}",
    )

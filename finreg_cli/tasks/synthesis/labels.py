"""New labels: other values of the same types, in the same form, for the same keys."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from finreg_cli.domain.extraction import Field, Labels, Schema, Value, ValueKind
from finreg_cli.domain.values import parse_date, spell_date_like
from finreg_cli.tasks.synthesis.dates import Shift
from finreg_cli.tasks.synthesis.names import Inventor
from finreg_cli.tasks.synthesis.numbers import Known, another_decimal, another_number, vary
from finreg_cli.tasks.synthesis.pool import ValuePool

_PARTY = re.compile(
    r"\b(?:landlord|lessor|owner|sublandlord|sublessor|proprietor|tenant|lessee|occupier|occupant|subtenant|sublessee|"
    r"agent|guarantor|manager)\b"
)
_STREET = (
    r"(?:Street|St\.?|Road|Rd\.?|Avenue|Ave\.?|Lane|Ln\.?|Drive|Dr\.?|Boulevard|Blvd\.?|Way|Row|Walk|Court|Ct\.?|Place|"
    r"Parade|Highway|Hwy\.?|Parkway|Pkwy\.?|Terrace|Close|Crescent|Square|Hill|Quay|Wharf|Pike|Gate|Alley)"
)
_PROPER = r"[A-Z][\w’'-]*"
_PLACES = (
    (re.compile(rf"(?P<proper>\b{_PROPER})(?=\s+(?i:County)\b)"), "town"),
    # The street, and the town behind it.
    (re.compile(rf"(?P<proper>\b{_PROPER}(?:\s+{_PROPER}){{0,2}}?)(?=\s+(?i:{_STREET})(?!\w))"), "street"),
    (re.compile(rf"(?<=,\s)(?P<proper>{_PROPER}(?:\s+{_PROPER})?)(?=,\s+[A-Z])"), "town"),
    (
        re.compile(
            rf"(?P<proper>\b{_PROPER}(?:\s+{_PROPER})?)(?=\s+(?:(?:Business|Industrial|Office|Retail|Technology)\s+)?"
            r"(?:Park|Building|Cent(?:er|re)|Tower|Plaza|Mall|House|Farm|Estate|Arcade|Depot|Works|Market)\b)"
        ),
        "estate",
    ),
)
_FREQUENCY = re.compile(
    r"\b(?:week|fortnight|month|quarter|half-year|year|annual|annum)(?:ly|s)?\b|\bhalf-yearly\b", re.IGNORECASE
)


@dataclass
class NewLabels:
    """The labels of a synthetic document.

    ``parts`` are pieces of values that were replaced inside them (streets, towns, areas): where such a piece stands
    alone in the document, it changes as well. ``problem`` says why a value that must change could not.
    """

    labels: Labels
    parts: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


def new_labels(
    labels: Labels, document: str, pool: ValuePool, schema: Schema, shift: Shift, chance: random.Random
) -> NewLabels:
    """Other values for every key that has one; null stays null, and equal values stay equal.

    Args:
        labels: those of the parent.
        document: the parent's text.
        shift: moves dates, here and in the document alike.
    """
    return _Sampler(labels, document, pool, shift, chance).sample(schema)


@dataclass(frozen=True)
class _Place:
    """A street, a town or an estate inside a value."""

    kind: str
    old: str
    new: str


class _Sampler:
    def __init__(self, labels: Labels, document: str, pool: ValuePool, shift: Shift, chance: random.Random) -> None:
        self._labels = labels
        self._document = " ".join(document.split())
        self._folded = self._document.casefold()
        self._pool = pool
        self._shift = shift
        self._chance = chance
        written = {word.casefold() for word in re.findall(r"\w{3,}", document)}
        self._inventor = Inventor(chance, pool.words | written)
        self._numbers: Known = {}
        self._made: dict[str, str] = {}
        self._figures: dict[int | float, int | float] = {}
        self._parts: dict[str, str] = {}

    def sample(self, schema: Schema) -> NewLabels:
        new: dict[str, Value] = dict(self._labels)
        problem = None
        # What may stand inside other values comes first: those are then rewritten around it.
        for each in sorted(schema.fields, key=lambda field: _order(field, self._labels[field.name])):
            old = self._labels[each.name]
            if old is None or isinstance(old, bool) or not str(old).strip():
                continue
            new[each.name] = self._other(each, old)
            if new[each.name] == old and _must_change(each.kind, old):
                problem = f"labels: no other value could be made for {each.name}, which is {old!r}"
        return NewLabels({key: new[key] for key in schema.keys}, self._parts, problem)

    def _other(self, each: Field, old: str | int | float) -> Value:
        if isinstance(old, int | float):
            return self._figures.setdefault(old, self._other_figure(old))
        day = parse_date(old)
        if day is not None:
            # An equal date in another spelling becomes an equal date again: no need to remember it.
            self._made[_spelling(old)] = spell_date_like(old, self._shift(day)) or old
            return self._made[_spelling(old)]
        known = self._made.get(_spelling(old))
        if known is None:
            known = self._made[_spelling(old)] = self._other_text(each, old)
        return known.upper() if old.isupper() else known

    def _other_figure(self, old: int | float) -> int | float:
        """Another number of the same type and decimals; 0, 1, negative and very large or small ones stay."""
        if isinstance(old, int):
            return another_number(old, self._chance)
        return float(another_decimal(repr(old), self._chance)) if re.fullmatch(r"\d+\.\d+", repr(old)) else old

    def _other_text(self, each: Field, old: str) -> str:
        if each.kind == "name":
            return self._inventor.name_like(old)
        if each.kind == "amount":
            return vary(old, self._chance, self._numbers)
        held = self._held(old)
        if held:
            return self._around(old, held)
        moved = self._shift.text(old)
        if moved != old:
            return moved
        return self._recombined(each, old)

    def _held(self, value: str) -> dict[str, str]:
        """The values made so far that stand inside another."""
        folded = _spelling(value)
        return {old: new for old, new in self._made.items() if re.search(rf"(?<!\w){re.escape(old)}(?!\w)", folded)}

    def _around(self, value: str, held: Mapping[str, str]) -> str:
        pattern = "|".join(re.escape(old).replace(r"\ ", r"\s+") for old in sorted(held, key=len, reverse=True))
        return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda found: held[_spelling(found.group())], value, flags=re.I)

    def _recombined(self, each: Field, old: str) -> str:
        """A value of the pool in the same form, else the old one, with other numbers and places."""
        new, places = self._varied(old)
        candidates = self._candidates(each.name, old)
        # Half of what can change by itself does so: its wording belongs to its document.
        if new == old or self._chance.random() < 0.5:
            for candidate in self._chance.sample(candidates, len(candidates)):
                # Its numbers and places are other ones again, so that no value is just copied.
                taken, other_places = self._varied(candidate)
                if _spelling(taken) == _spelling(old):
                    continue
                by_kind = {place.kind: place.new for place in other_places}
                places = [replace(place, new=by_kind.get(place.kind, place.new)) for place in places]
                new = _cased_like(old, taken)
                break
        self._parts |= self._pieces(old, new, places)
        return new if new != old else _paid_otherwise(old)

    def _pieces(self, old: str, new: str, places: Sequence[_Place]) -> dict[str, str]:
        """What stood inside the old value and may stand alone elsewhere: places, addresses and large numbers."""
        pieces = {place.old: place.new for place in places}
        for place in places:
            before, after = (
                re.search(rf"(\d+[A-Za-z]?\s+){re.escape(name)}(?!\w)", value)
                for name, value in ((place.old, old), (place.new, new))
            )
            if before and after:
                pieces[before.group()] = after.group()
        for number in re.findall(r"(?<![\d,])\d[\d,]{2,}\d(?![\d,])", old):
            other = self._numbers.get(number)
            if other and other in new:
                pieces[number] = other
        return pieces

    def _varied(self, value: str) -> tuple[str, list[_Place]]:
        """The value with other numbers and other places, and the places."""
        makers = {"street": self._inventor.street, "town": self._inventor.town, "estate": self._inventor.estate}
        places: list[_Place] = []
        for pattern, kind in _PLACES:

            def another(found: re.Match[str], kind: str = kind) -> str:
                old = found["proper"]
                if _is_common(old) or not old[:1].isupper() or old in {place.new for place in places}:
                    return found.group()
                known = self._parts.get(old) or next((place.new for place in places if place.old == old), None)
                new = known or makers[kind]()
                places.append(_Place(kind, old, new.upper() if old.isupper() else new))
                return places[-1].new

            value = pattern.sub(another, value)
        return vary(value, self._chance, self._numbers), places

    def _candidates(self, key: str, old: str) -> list[str]:
        form = _form(old)
        found = [
            value
            for value in self._pool.values.get(key, ())
            if _form(value) == form
            and _spelling(value) not in self._folded
            and 1 / 3 <= (len(value.split()) + 1) / (len(old.split()) + 1) <= 3
            and (old.isupper() or not value.isupper())
            and all(party in self._folded for party in _PARTY.findall(value.casefold()))
            and self._terms_are_known(value)
        ]
        same_frequency = [value for value in found if _frequency(value) == _frequency(old)]
        return same_frequency or found

    def _terms_are_known(self, value: str) -> bool:
        """Whether the document has the defined terms of a value ("the Commencement Date")."""
        terms = re.findall(r"\bthe\s+((?:[A-Z][a-z]+\s+)*(?:Date|Term|Premises|Lease|Building|Rent|Works?))\b", value)
        return all(term in self._document for term in terms)


def _order(field: Field, value: Value) -> tuple[int, int]:
    kind = ("date", "name", "amount", "text").index(field.kind)
    return kind, len(value) if isinstance(value, str) else 0


def _must_change(kind: ValueKind, value: Value) -> bool:
    """A date and a name always can; a formula or a text without numbers may have to stay."""
    return kind == "name" or (isinstance(value, str) and parse_date(value) is not None)


def _spelling(value: str) -> str:
    return " ".join(value.split()).casefold()


_FIRST_WORDS = {
    "determiner": r"the|an?|th[eo]se|this|that",
    "preposition": r"in|on|at|by|for|to|within|from|upon|during|before|as|not|until",
    "each": r"each|every|any",
    "count": r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|approximately|about|another",
    "further": r"additional|further|more",
    "number": r"\d.*",
    "gerund": r"\w+ing",
    "frequency": r"weekly|monthly|quarterly|half-yearly|yearly|annually",
}


def _form(value: str) -> tuple[str, str]:
    """What has to be the same for a value to fit where another stood: the kind of its first word, and its end."""
    first = value.split()[0].casefold().strip("(),.")
    kind = next((name for name, words in _FIRST_WORDS.items() if re.fullmatch(words, first)), "word")
    return kind, value[-1] if value[-1] in ".;:" else ""


def _paid_otherwise(value: str) -> str:
    """The last resort for a term of payment that no other of the pool can stand for."""
    swapped = {"advance": "arrears", "arrears": "advance"}
    return re.sub(r"(?<=\bin )(?:advance|arrears)\b", lambda found: swapped[found.group()], value)


def _frequency(value: str) -> frozenset[str]:
    return frozenset(found.casefold().removesuffix("s").removesuffix("ly") for found in _FREQUENCY.findall(value))


_NO_PLACES = {"the", "a", "main", "suite", "unit", "floor", "north", "south", "east", "west", "exhibit"}


def _is_common(proper: str) -> bool:
    """Whether words with capitals are no place of their own; a county was replaced before its town."""
    return proper.casefold() in _NO_PLACES or proper.casefold().endswith("county")


def _cased_like(old: str, new: str) -> str:
    if old.isupper():
        return new.upper()
    # A code ("A-1") and the name of a place ("Unit 4") keep their capital.
    if old[:1].islower() and _form(new)[0] not in ("word", "number"):
        return new[:1].lower() + new[1:]
    return new[:1].upper() + new[1:] if old[:1].isupper() else new

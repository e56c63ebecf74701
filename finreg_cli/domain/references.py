"""What the chunks of a document refer to: chunks of the same document by their ids, anything else by its words."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from finreg_cli.domain.document import GROUP_LEVELS, Document, Unit
from finreg_cli.domain.identification import WELL_KNOWN_ACTS, celex_number
from finreg_cli.domain.mentions import THAT, THIS, Address, Mention, mentions
from finreg_cli.domain.records import Chunk

MOST_OF_A_RANGE = 20
"""Chunks that one "Articles 36 to 91" leads to at most: of a longer range its first and its last."""


def resolve(document: Document, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks with their ``references``: ids of chunks of this document first, then what lies outside it as text.

    A reference leads to the chunk in which the provision that it names begins, of "Articles 36 to 39" to each article,
    of "points (a) to (d)" to every chunk that holds one of them. The chunk itself is left out. Outside lie the
    provisions of other acts (``Directive 2013/36/EU Article 4(1)``) and what the document has no place for.
    """
    places = _Places(document, chunks)
    context = _Context(None)
    resolved = []
    for chunk in chunks:
        unit = places.unit_of(chunk)
        if unit is not context.unit:
            context = _Context(unit, act=_amended_act(unit))
        inside: dict[str, None] = {}  # dictionaries, since the order counts and nothing is named twice
        outside: dict[str, None] = {}
        if not _is_table_of_acts(unit):
            for mention in mentions(chunk.text):
                if chunk.char_start + mention.start == unit.paragraphs[0].start:
                    continue  # the head of the article itself
                for index, words in _targets(places, chunk, context, mention):
                    if index is None:
                        outside[words] = None
                    else:
                        inside[chunks[index].chunk_id] = None
        inside.pop(chunk.chunk_id, None)
        resolved.append(replace(chunk, references=[*inside, *outside]))
    return resolved


@dataclass
class _Context:
    """What was named before in the same unit, for "that Regulation" and "that Article".

    ``act`` is the act to which bare articles belong: of a unit that amends another act, that one.
    """

    unit: Unit | None
    act: str | None = None
    last_act: str | None = None
    last: tuple[str | None, Address] | None = None


_Target = tuple[int | None, str]
"""The position of a chunk of this document, or None with the words for what lies outside."""


def _targets(places: _Places, chunk: Chunk, context: _Context, mention: Mention) -> Iterator[_Target]:
    if mention.kind == "act":
        context.last_act = mention.ranges[-1][0][0]
        yield from ((None, name) for (name,), _ in mention.ranges if not places.is_own(name))
        return
    act = _act_of(places, context, mention)
    if mention.act == THIS and context.act is not None:
        return  # the other act again, or this one: who can tell
    for first, last in mention.ranges:
        named = _named(places, context, chunk.char_start + mention.start, first, act)
        if named is None:
            continue
        its_act, address = named
        if mention.kind == "article":
            context.last = its_act, address
        # The end of a range has the sentinels of its beginning.
        end = (*address[: len(last) - 1], last[-1]) if last else None
        found: list[int] = []
        if its_act is None:
            found = places.find(chunk, replace(mention, ranges=((address, end),)))
        if found:
            yield from ((each, "") for each in found)
        elif words := _words(mention, its_act, address, end):
            yield None, words


def _act_of(places: _Places, context: _Context, mention: Mention) -> str | None:
    """The act that a mention belongs to; None for the one that the text is part of."""
    act = mention.act
    if act is None:
        return context.act if mention.ranges[0][0][0] not in (THIS, THAT) else None
    if act == THIS:
        return None
    if act == THAT:
        act = context.last_act or _UNNAMED_ACT
    if places.is_own(act):
        return None
    if act != _UNNAMED_ACT:
        context.last_act = act
    return act


_UNNAMED_ACT = "other act"


def _named(
    places: _Places, context: _Context, position: int, address: Address, act: str | None
) -> tuple[str | None, Address] | None:
    """The act and the address with "this" and "that" put into numbers; ``""`` is the unit in which the words stand."""
    if address[0] == THAT:
        if context.last is None:
            return None
        act, last = context.last
        depth = 2 if address[:2] == (THAT, THAT) else 1
        return act, (*last[:depth], *address[depth:])
    if address[0] != THIS:
        return act, address
    if context.act is not None:
        return None  # "paragraph 3" in words that are to stand in another act
    rest = address[1:]
    if rest[:1] == (THIS,):
        number = places.number_at(position)
        rest = (*([number] if number else []), *rest[1:])
    return act, ("", *rest)


def _words(mention: Mention, act: str | None, first: Address, last: Address | None) -> str:
    """The one normal form of what lies outside: ``Directive 2013/36/EU Article 4(1)``, ``Article 999``."""
    if first[0] == "":
        return ""
    if mention.kind == "group":
        words = ", ".join(f"{level.capitalize()} {number}" for level, number in mention.levels)
    else:
        words = f"{_NOUNS[mention.kind]} {first[0]}{''.join(f'({part})' for part in first[1:])}"
        if last and len(last) == 1:
            words = words.replace(" ", "s ", 1) + f" to {last[0]}"
        elif last:
            words += f" to ({last[-1]})"
    return f"{act} {words}" if act and act != _UNNAMED_ACT else words


_NOUNS = {"article": "Article", "annex": "Annex", "recital": "Recital", "section": "section"}


# --- units that speak of other acts ----------------------------------------------------------------------------------

_AMENDS = re.compile(r"(?:^|\b(?:Article|Articles) \w+ )Amendments? (?:of|to) (?P<act>.+)")
_CORRELATES = re.compile(r"\bcorrelation table", re.IGNORECASE)


def _amended_act(unit: Unit) -> str | None:
    """The act that the unit amends, since the articles it speaks of are that one's."""
    found = _AMENDS.search(unit.heading_path[-1]) if unit.heading_path else None
    if found is None:
        return None
    acts = [mention for mention in mentions(found["act"]) if mention.kind == "act"]
    return acts[0].ranges[0][0][0] if acts else _UNNAMED_ACT


def _is_table_of_acts(unit: Unit) -> bool:
    """True for a correlation table, which sets article numbers of several acts side by side."""
    return any(_CORRELATES.search(heading) for heading in unit.heading_path)


# --- the places of a document ----------------------------------------------------------------------------------------

_LABEL = re.compile(
    r"(?P<scope>.*?)(?:Article (?P<article>\w+)|recital \((?P<recital>\w+)\)|Annex(?: (?P<annex>\w+))?(?P<part> .*)?)$"
)
_SECTION_LABEL = re.compile(r"section (?P<number>\d+(?:\.\d+)*)(?P<part> .*)?$")
_GROUP_HEADING = re.compile(r"(Part|Title|Chapter|Section|Sub-Section) (\w+)", re.IGNORECASE)
_COUNTED = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]


@dataclass
class _Scope:
    """The units of one act within the document, each by its number."""

    units: dict[tuple[str, str], int] = field(default_factory=dict)
    groups: dict[tuple[tuple[str, str], ...], int] = field(default_factory=dict)


class _Places:
    """Where the provisions of a document stand: units by their numbers, paragraphs by theirs, chunks by offset."""

    def __init__(self, document: Document, chunks: Sequence[Chunk]) -> None:
        self._units = document.units
        self._identity = document.identity
        self._starts = [unit.paragraphs[0].start for unit in document.units]
        self._chunk_ends = [chunk.char_end for chunk in chunks]
        self._chunks = chunks
        self._scopes: dict[str, _Scope] = {}
        self._scope_of: list[str | None] = []
        self._sections: dict[str, int] = {}
        self._tables: dict[int, dict[Address, int]] = {}
        for index, unit in enumerate(document.units):
            self._scope_of.append(self._register(index, unit))

    def _register(self, index: int, unit: Unit) -> str | None:
        section = _SECTION_LABEL.match(unit.label or "")
        if section:
            self._sections.setdefault(section["number"], index)
            # "section 3" may consist of 3.1 and 3.2 alone.
            parts = section["number"].split(".")
            for depth in range(1, len(parts)):
                self._sections.setdefault(".".join(parts[:depth]), index)
        found = _LABEL.match(unit.label or "") if unit.structure == "article" else None
        if found is None:
            return None
        scope = self._scopes.setdefault(found["scope"], _Scope())
        for kind in ("article", "recital", "annex"):
            if found[kind]:
                scope.units.setdefault((kind, found[kind].lower()), index)
        if found["article"]:
            path = _group_path(unit)
            for depth in range(1, len(path) + 1):
                scope.groups.setdefault(path[:depth], index)
        return found["scope"]

    def unit_of(self, chunk: Chunk) -> Unit:
        return self._units[self._unit_at(chunk.char_start)]

    def _unit_at(self, position: int) -> int:
        return max(0, bisect_right(self._starts, position) - 1)

    def number_at(self, position: int) -> str | None:
        """The numbered paragraph that a position of the text lies in."""
        paragraphs = self._units[self._unit_at(position)].paragraphs
        return paragraphs[max(0, bisect_right(paragraphs, position, key=lambda each: each.start) - 1)].number

    def is_own(self, act: str) -> bool:
        """Whether an act is the document itself, by its short name or its number."""
        return same_act(act, self._identity.short_name, self._identity.work_id)

    def find(self, chunk: Chunk, mention: Mention) -> list[int]:
        """The positions of the chunks that a mention of one range leads to; empty where the document has no place."""
        ((first, last),) = mention.ranges
        here = self._unit_at(chunk.char_start)
        if first[0] == "":
            return self._within_own(here, first[1:], last[1:] if last else None, mention.subparagraph)
        name = self._scope_of[here]
        if mention.kind == "section" or (name is None and [level for level, _ in mention.levels] == ["section"]):
            return self._starts_of([self._sections.get(mention.ranges[0][0][0])])
        if name is None and mention.act == THIS and len(self._scopes) == 1:
            (name,) = self._scopes
        if name is None:
            return []
        scope = self._scopes[name]
        if mention.kind == "group":
            return self._starts_of(
                [self._group(scope, here, (*mention.levels[:-1], (mention.levels[-1][0], first[0])))]
            )
        unit = scope.units.get((mention.kind, first[0].lower()))
        if unit is None:
            return []
        if last and len(last) == 1:
            end = scope.units.get((mention.kind, last[0].lower()), unit)
            return self._starts_of(_bounded([each for each in scope.units.values() if unit <= each <= end]))
        return self._within(unit, first[1:], last[1:] if last else None, mention.subparagraph)

    def _within_own(self, unit: int, first: Address, last: Address | None, subparagraph: int) -> list[int]:
        """The same as `_within` for words that stand in the unit; a number it does not have is some other text's."""
        if first and first[0][0].isdigit() and first[:1] not in self._table(unit):
            return []
        return self._within(unit, first, last, subparagraph)

    def _within(self, unit: int, first: Address, last: Address | None, subparagraph: int) -> list[int]:
        start = self._start(unit, first, subparagraph)
        if start is None:
            return []
        begin = self._chunk_at(start)
        end_start = self._start(unit, last, 0) if last else None
        end = self._chunk_at(end_start) if end_start is not None else begin
        if begin is None or end is None or end <= begin:
            return [] if begin is None else [begin]
        return _bounded(range(begin, end + 1))

    def _start(self, unit: int, address: Address, subparagraph: int) -> int | None:
        """Where a provision of the unit begins: as deep as it is known, but never in another numbered paragraph."""
        table = self._table(unit)
        for depth in range(len(address), 0, -1):
            start = table.get(address[:depth])
            if start is None:
                continue
            return self._subparagraph(unit, start, subparagraph) if depth == 1 and subparagraph else start
        numbered = any(each.number for each in self._units[unit].paragraphs)
        return self._starts[unit] if not address or not (numbered and address[0].isdigit()) else None

    def _subparagraph(self, unit: int, start: int, nth: int) -> int:
        paragraphs = self._units[unit].paragraphs
        number = self.number_at(start)
        starts = [
            each.start
            for each in paragraphs
            if each.number == number and each.role in ("numbered", "text") and not each.points
        ]
        return starts[nth - 1 if nth > 0 else -1] if 0 < nth <= len(starts) or (nth < 0 and starts) else start

    def _table(self, unit: int) -> dict[Address, int]:
        if unit not in self._tables:
            table: dict[Address, int] = {}
            for each in self._units[unit].paragraphs:
                if each.role in ("numbered", "text", "point"):
                    address = (*([each.number] if each.number else []), *each.points)
                    for depth in range(1, len(address) + 1):
                        table.setdefault(address[:depth], each.start)
            self._tables[unit] = table
        return self._tables[unit]

    def _group(self, scope: _Scope, here: int, levels: tuple[tuple[str, str], ...]) -> int | None:
        """The first article of a group: what the words leave out is the group in which they stand."""
        named = {level: _counted(number) for level, number in levels}
        top = min(GROUP_LEVELS.index(level) for level in named)
        around = [each for each in _group_path(self._units[here]) if GROUP_LEVELS.index(each[0]) < top]
        path = (*around, *((level, named[level]) for level in GROUP_LEVELS if level in named))
        if path in scope.groups:
            return scope.groups[path]
        alike = [
            index
            for each, index in scope.groups.items()
            if each[-1] == path[-1] and named.items() <= dict(each).items()
        ]
        return alike[0] if len(alike) == 1 else None

    def _starts_of(self, units: Iterable[int | None]) -> list[int]:
        found = (self._chunk_at(self._starts[unit]) for unit in units if unit is not None)
        return [each for each in found if each is not None]

    def _chunk_at(self, position: int) -> int | None:
        """The first chunk that holds the position, so that text repeated as overlap counts for the one before."""
        index = bisect_right(self._chunk_ends, position)
        return index if index < len(self._chunks) and self._chunks[index].char_start <= position else None


def _bounded(found: Sequence[int]) -> list[int]:
    return list(found) if len(found) <= MOST_OF_A_RANGE else [found[0], found[-1]]


def _group_path(unit: Unit) -> tuple[tuple[str, str], ...]:
    found = (_GROUP_HEADING.match(heading) for heading in unit.heading_path)
    return tuple((each.group(1).lower(), _counted(each.group(2))) for each in found if each)


def _counted(number: str) -> str:
    """``three`` and ``3`` are one number; ``III`` stays, because a Part may have Titles and a Title Parts."""
    lowered = number.lower()
    return str(_COUNTED.index(lowered) + 1) if lowered in _COUNTED else lowered


_CELEX_OF = {name: celex for celex, name in WELL_KNOWN_ACTS.items()}
_ACT_NUMBER = re.compile(
    r"(?P<kind>Regulation|Directive|Decision) \D*?(?P<no>No )?(?P<first>\d{1,4})/(?P<second>\d{1,4})"
)


def same_act(cited: str, short_name: str, work_id: str) -> bool:
    """Whether an act as a text cites it, "CRR" or "Regulation (EU) No 575/2013", is the one with this name and id."""
    return cited == short_name or work_id in (_celex(cited), _CELEX_OF.get(cited))


def _celex(act: str) -> str | None:
    found = _ACT_NUMBER.search(act)
    return celex_number(found) if found else None

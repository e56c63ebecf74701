"""Which provisions a chunk is of and holds, and whether a citation or a question means one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from finreg_cli.domain.mentions import Address
from finreg_cli.domain.records import Chunk

_CITED = re.compile(
    r"(?P<act>.+?) (?P<kind>Article|recital|Annex|section) ?(?P<number>\(?[\w.]+\)?)?(?P<parts>(?:\(\w{1,5}\))*)"
    r"(?: paragraph (?P<paragraph>\w+))?(?P<rest>.*)"
)
_PART = re.compile(r"\((\w{1,5})\)")
_PARAGRAPH_LINE = re.compile(r"(\d{1,3}[a-z]{0,2})\. ")
_ROMAN = re.compile(r"[ivx]+")
_POINT_LINE = re.compile(r"\((\d{1,3}[a-z]?|[a-z]{1,5})\) ")


@dataclass(frozen=True)
class Provision:
    """A provision as a citation names it: of ``CRR Article 92(1)(a)``, ``act`` is CRR, ``kind`` is article.

    ``address`` goes from the outermost inwards: ``("92", "1", "a")``.
    """

    act: str
    kind: str
    address: Address

    def within(self, other: Provision) -> bool:
        """Whether it is the other provision or a part of it."""
        same = (self.act, self.kind) == (other.act, other.kind)
        return same and self.address[: len(other.address)] == other.address


def provision(citation: str) -> Provision | None:
    """What a citation names; None where that is no article, annex, recital or section, but pages, say."""
    found = _CITED.match(citation)
    if found is None:
        return None
    number = (found["number"] or "").strip("()")
    parts = [*_PART.findall(found["parts"]), *([found["paragraph"]] if found["paragraph"] else [])]
    return Provision(found["act"], found["kind"].lower(), (number, *parts))


def provisions(chunk: Chunk) -> Iterator[Provision]:
    """The provision that a chunk is cited as, and the paragraphs and points of it whose beginnings it holds.

    Points nest as they do in acts of the Union: (1), then (a), then (i). An (i) behind an (h) goes on with the letters.
    """
    cited = provision(chunk.citation)
    if cited is None:
        return
    yield cited
    base: Address = cited.address
    points: list[str] = []
    for line in chunk.text.splitlines():
        if numbered := _PARAGRAPH_LINE.match(line):
            base, points = (cited.address[0], numbered[1]), []
            yield Provision(cited.act, cited.kind, base)
            line = line[numbered.end() :]
        if pointed := _POINT_LINE.match(line):
            points = _nested(points, pointed[1])
            yield Provision(cited.act, cited.kind, (*base, *points))


def _nested(points: list[str], point: str) -> list[str]:
    """The points around the next one, and itself."""
    level = _level(points, point)
    return [*(each for nth, each in enumerate(points) if _level(points[:nth], each) < level), point]


def _level(before: list[str], point: str) -> int:
    if point[0].isdigit():
        return 0
    last_letter = next((each for each in before if len(each) == 1 and each.isalpha()), None)
    goes_on = last_letter is not None and ord(point[0]) == ord(last_letter) + 1
    return 2 if _ROMAN.fullmatch(point) and not goes_on else 1


def holds(chunk: Chunk, citation: str) -> bool:
    """Whether the chunk is, is a part of, or contains what a citation names.

    Of a citation that goes deeper than the chunk's own, the place that it names must begin in the chunk's text.
    """
    citation = " ".join(citation.split())
    if citation == " ".join(chunk.citation.split()):
        return True
    wanted, own = provision(citation), provision(chunk.citation)
    if wanted is None or own is None:
        return False
    return own.within(wanted) or any(each.within(wanted) for each in provisions(chunk))

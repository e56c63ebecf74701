"""The structure of a report: its sections, by the file's bookmarks, by numbered headings, or by lines that stand out.

The first rung that holds is taken: bookmarks that are found again in the text; headings numbered in sequence (``3.2
Background``), with the unnumbered ones in larger print between them; lines in larger print; lines in bold. A table of
contents repeats all of them and is none.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finreg_cli.domain.building import DocumentBuilder, heading
from finreg_cli.domain.document import Block, Bookmark, Rung
from finreg_cli.domain.enumeration import paragraph_numbers
from finreg_cli.domain.sequences import longest_chain

_NUMBERED_HEADING = re.compile(
    r"(?P<number>\d{1,2}(?:\.\d{1,3}){0,4})\.?\s+(?=[\"'\u2018\u201c(]?[A-Z])"
    # "15 April 2021" on a cover
    r"(?!(?:January|February|March|April|May|June|July|August|September|October|November|December) \d{4})"
)
_CONTENTS = re.compile(
    r"(?:table of )?contents|list of (?:tables|figures|abbreviations|annexes|boxes|charts)", re.IGNORECASE
)
_PAGE_AT_END = re.compile(r"[\s.\u2026]+\d{1,3}$")
_LONGEST_HEADING = 250  # characters
_LEAST_OF_TITLE = 20  # characters: a shorter title may be the heading of a section as well
_LONGEST_IN_CITATION = 80  # characters
_LARGER = 1.05  # times the body: print that stands out
_BODY_SHARE = 0.05  # of the characters; facts: a second body font has at least 3 %
_BODY_BLOCK = 80  # characters: blocks of running text are longer on average, headings are not
_FEWEST_NUMBERED = 2
_FEWEST_LINES = 2
_FEWEST_BOLD = 3
_FEWEST_PARAGRAPHS = 5  # numbered ones; fewer are a list
_LARGEST_GAP = 3  # sections that are missing, or of which the heading is an image
_BRACKETS = str.maketrans('[]"\u201c\u201d', "()'''")

Level = tuple[float, float]
"""How deep a heading is: the depth of its number, then its rank among the unnumbered below that; smaller is above."""


class _Heading(NamedTuple):
    """The block that is a heading; ``number`` where it is one of those that count up through the document."""

    at: int
    level: Level
    rung: Rung
    number: str | None = None


class ReportStructure:
    """The headings and numbered paragraphs of a document outside its acts, and its writer."""

    def __init__(
        self, blocks: Sequence[Block], acts: Sequence[tuple[int, int]], outline: Sequence[Bookmark], title: str
    ) -> None:
        """Finds the headings.

        Args:
            blocks: of the whole document.
            acts: ``[begin, end)`` of the blocks that are no report.
            outline: the file's own bookmarks.
            title: of the document, which its first page repeats and which heads no section.
        """
        self._blocks = blocks
        edges = [0, *(edge for act in acts for edge in act), len(blocks)]
        outside = [index for begin, end in zip(edges[::2], edges[1::2], strict=True) for index in range(begin, end)]
        contents = _contents(blocks, outside)
        body = [index for index in outside if index not in contents]
        self._headings = {each.at: each for each in _headings(blocks, body, outline, title)}
        self._minor = _minor_heads(blocks, body, self._headings)
        rung: Rung = next((each.rung for each in self._headings.values()), "page")
        if rung != "page":
            for index in contents:
                if _CONTENTS.fullmatch(blocks[index].text):
                    self._headings[index] = _Heading(index, (1.0, 0.0), rung)
        self._numbers = _numbers(blocks, [index for index in body if index not in self._headings])
        self._open: list[tuple[_Heading, str]] = []

    @property
    def path(self) -> list[str]:
        """The headings that are open at the end of what was written last, outermost first."""
        return [text for _, text in self._open]

    @property
    def path_of_act(self) -> list[str]:
        """The sections around an act that begins here: what its own cover page has in large print is none."""
        return [text for found, text in self._open if found.number] or self.path

    def write(self, builder: DocumentBuilder, begin: int, end: int) -> None:
        """Writes the blocks ``[begin, end)`` into the document, section by section."""
        if begin == end:
            return
        if begin not in self._headings:
            # Behind an act, what its last heading heads is over.
            rung: Rung = self._rung_of_open()
            builder.begin(self._label(), self.path, rung, "paragraph" if self._open else "whole")
        for index in range(begin, end):
            found = self._headings.get(index)
            if found is not None:
                self._enter(found)
                if index + 1 == end or index + 1 in self._headings:
                    builder.between_units([self._blocks[index]])
                    continue
                builder.begin(self._label(), self.path, found.rung, "paragraph")
                builder.head([self._blocks[index]])
            elif index in self._minor:
                builder.head([self._blocks[index]])
            else:
                builder.add(self._blocks[index], number=self._numbers.get(index))

    def _rung_of_open(self) -> Rung:
        return next((each.rung for each in self._headings.values()), "page") if self._open else "page"

    def _enter(self, found: _Heading) -> None:
        while self._open and self._open[-1][0].level >= found.level:
            self._open.pop()
        self._open.append((found, heading([self._blocks[found.at]])))

    def _label(self) -> str | None:
        """``section 3.2``; an unnumbered heading in quotes, behind the section that it lies in."""
        if not self._open:
            return None
        innermost, text = self._open[-1]
        if innermost.number:
            return f"section {innermost.number}"
        quoted = textwrap.shorten(text.translate(_BRACKETS), _LONGEST_IN_CITATION, placeholder="\u2026")
        section = next((each.number for each, _ in reversed(self._open) if each.number), None)
        return f'section {section} "{quoted}"' if section else f'"{quoted}"'


# --- Contents --------------------------------------------------------------------------------------------------------


def _contents(blocks: Sequence[Block], outside: Sequence[int]) -> set[int]:
    """The tables of contents with their heads: lines that end in a page number, under a line that says so."""
    found: set[int] = set()
    position = 0
    while position < len(outside):
        if not _CONTENTS.fullmatch(blocks[outside[position]].text.strip()):
            position += 1
            continue
        end = position + 1
        while end < len(outside) and any(_PAGE_AT_END.search(blocks[index].text) for index in outside[end : end + 2]):
            if _CONTENTS.fullmatch(blocks[outside[end]].text.strip()):
                break
            end += 1
        found.update(outside[position:end])
        position = end
    return found


# --- Headings --------------------------------------------------------------------------------------------------------


def _headings(
    blocks: Sequence[Block], body: Sequence[int], outline: Sequence[Bookmark], title: str
) -> Sequence[_Heading]:
    bookmarked = _bookmarked(blocks, body, outline)
    if bookmarked:
        return bookmarked
    size = _body_size(blocks, body)
    candidates = [index for index in body if _may_head(blocks[index]) and not _is_title(blocks, index, title)]
    candidates = _without_entries(blocks, candidates)
    numbered = _numbered(blocks, candidates, size)
    larger = [index for index in candidates if blocks[index].size > _LARGER * size]
    if len(numbered) >= _FEWEST_NUMBERED:
        return _by_number(blocks, numbered, larger)
    if len(larger) >= _FEWEST_LINES:
        return _by_style(blocks, larger)
    bold = [index for index in candidates if blocks[index].bold]
    return _by_style(blocks, bold) if len(bold) >= _FEWEST_BOLD else []


def _body_size(blocks: Sequence[Block], body: Sequence[int]) -> float:
    """The largest size that running text is printed in: a report and its tables may differ in it."""
    letters: Counter[float] = Counter()
    count: Counter[float] = Counter()
    for index in body:
        if blocks[index].kind == "text":
            size = round(blocks[index].size, 1)
            letters[size] += len(blocks[index].text)
            count[size] += 1
    running = [
        size
        for size, total in letters.items()
        if total >= _BODY_SHARE * letters.total() and total >= _BODY_BLOCK * count[size]
    ]
    return max(running, default=letters.most_common(1)[0][0] if letters else 0.0)


def _may_head(block: Block) -> bool:
    text = block.text
    if block.kind != "text" or len(text) > _LONGEST_HEADING or text[-1:] in ".;:," or text[:1].islower():
        return False
    return re.search(r"[^\W\d_]{3,}|^[A-Z\d.]+ [A-Z]", text) is not None


def _is_title(blocks: Sequence[Block], index: int, title: str) -> bool:
    """Whether a line of the first pages is the title, or part of it."""
    if blocks[index].page_start > blocks[0].page_start + 1:
        return False
    text, whole = _plain(blocks[index].text), _plain(title)
    return text in whole or (len(whole) > _LEAST_OF_TITLE and whole in text)


def _without_entries(blocks: Sequence[Block], candidates: Sequence[int]) -> list[int]:
    """Drops the entries of a table of contents that says nowhere that it is one: headings with their page behind."""
    texts = {_plain(blocks[index].text) for index in candidates}
    return [
        index
        for index in candidates
        if not _PAGE_AT_END.search(blocks[index].text) or _plain(_PAGE_AT_END.sub("", blocks[index].text)) not in texts
    ]


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


# --- Bookmarks -------------------------------------------------------------------------------------------------------


def _bookmarked(blocks: Sequence[Block], body: Sequence[int], outline: Sequence[Bookmark]) -> list[_Heading]:
    """The headings that bookmarks name, where most are found again as lines of the page that they lead to."""
    if len(outline) < _FEWEST_LINES:
        return []
    by_page: dict[int, list[tuple[int, str]]] = {}
    for index in body:
        block = blocks[index]
        if block.kind == "text" and len(block.text) <= _LONGEST_HEADING:
            by_page.setdefault(block.page_start, []).append((index, _plain(block.text)))
    found: list[_Heading] = []
    last = -1
    for entry in outline:
        lead = _lead_to(entry, by_page, last)
        # Some outlines hold whole sentences.
        if lead is not None and _may_head(blocks[lead]):
            number = _NUMBERED_HEADING.match(blocks[lead].text)
            level = (1.0 + entry.level, 0.0)
            found.append(_Heading(lead, level, "bookmark", number["number"] if number else None))
            last = lead
    return found if len(found) >= max(_FEWEST_LINES, len(outline) // 2) else []


def _lead_to(entry: Bookmark, by_page: Mapping[int, Sequence[tuple[int, str]]], after: int) -> int | None:
    title = _plain(entry.title)
    if not title or entry.page is None:
        return None
    for page in (entry.page, entry.page + 1, entry.page - 1):
        for index, text in by_page.get(page, ()):
            # A bookmark may leave out the number that the heading has, or have one that a list in print lacks.
            number = 12
            if index > after and (text == title or (text.endswith(title) and len(text) <= len(title) + number)):
                return index
    return None


# --- Numbered headings -----------------------------------------------------------------------------------------------


def _numbered(blocks: Sequence[Block], candidates: Sequence[int], size: float) -> list[int]:
    """Headings whose numbers count up, 3.2 behind 3.1 or 3; of one number only where print sets them apart."""
    positions: list[int] = []
    numbers: list[tuple[int, ...]] = []
    for index in candidates:
        found = _NUMBERED_HEADING.match(blocks[index].text)
        if found is None:
            continue
        number = tuple(map(int, found["number"].split(".")))
        if len(number) > 1 or blocks[index].bold or blocks[index].size > _LARGER * size:
            positions.append(index)
            numbers.append(number)
    chain = longest_chain(numbers, _next_section, lambda number: 1.0 if number in ((1,), (0,)) else 0.5)
    return [positions[each] for each in chain]


def _next_section(before: tuple[int, ...], number: tuple[int, ...]) -> float:
    """What going from one section number to the next is worth: 1 for the next one or the first below it."""
    if number <= before:
        return 0.0
    if number[: len(before)] == before:
        below = number[len(before) :]
        return 1.0 if below in ((1,), (0,)) else 0.3 if max(below) <= _LARGEST_GAP else 0.0
    depth = next(level for level, (one, other) in enumerate(zip(before, number, strict=False)) if one != other)
    gap = number[depth] - before[depth]
    if gap > _LARGEST_GAP or any(each > _LARGEST_GAP for each in number[depth + 1 :]):
        return 0.0
    return 1.0 if gap == 1 and len(number) == depth + 1 else 0.3


def _by_number(blocks: Sequence[Block], numbered: Sequence[int], larger: Sequence[int]) -> list[_Heading]:
    """Numbered headings by the depth of their number, those in larger print between them by their style."""
    depths: dict[tuple[float, bool], Counter[int]] = {}
    found: list[_Heading] = []
    for index in numbered:
        matched = _NUMBERED_HEADING.match(blocks[index].text)
        assert matched is not None  # `_numbered` gave no others
        depth = matched["number"].count(".") + 1
        found.append(_Heading(index, (float(depth), 0.0), "heading", matched["number"]))
        depths.setdefault(_style(blocks[index]), Counter())[depth] += 1
    usual = {style: counts.most_common(1)[0][0] for style, counts in depths.items()}
    ranks = _ranks(blocks, larger)
    taken = set(numbered)
    for index in larger:
        if index in taken:
            continue
        style = _style(blocks[index])
        if style in usual:
            level: Level = (float(usual[style]), 0.0)
        else:
            above = [depth for other, depth in usual.items() if other > style]
            level = (float(max(above)), ranks[style]) if above else (0.0, ranks[style])
        found.append(_Heading(index, level, "heading"))
    return sorted(found)


def _by_style(blocks: Sequence[Block], lines: Sequence[int]) -> list[_Heading]:
    ranks = _ranks(blocks, lines)
    return [_Heading(index, (ranks[_style(blocks[index])], 0.0), "style") for index in lines]


def _ranks(blocks: Sequence[Block], lines: Sequence[int]) -> dict[tuple[float, bool], float]:
    """Style -> its rank among those of the lines, from 1 for the uppermost."""
    styles = sorted({_style(blocks[index]) for index in lines}, reverse=True)
    return {style: 1.0 + rank for rank, style in enumerate(styles)}


def _style(block: Block) -> tuple[float, bool]:
    """Size to half a point, and weight: the larger, then the bolder stands above."""
    return round(2 * block.size) / 2, block.bold


# --- Within a section ------------------------------------------------------------------------------------------------


def _minor_heads(blocks: Sequence[Block], body: Sequence[int], headings: Mapping[int, _Heading]) -> set[int]:
    """Bold lines in the size of the text: they head what follows within a section, and begin none."""
    if not headings:
        return set()
    return {index for index in body if blocks[index].bold and index not in headings and _may_head(blocks[index])}


def _numbers(blocks: Sequence[Block], text: Sequence[int]) -> dict[int, str]:
    """The numbered paragraphs of the whole report, which count on across its sections."""
    numbers = paragraph_numbers([blocks[index].text if blocks[index].kind == "text" else "" for index in text])
    found = {text[position]: number for position, number in numbers.items()}
    return found if len(found) >= _FEWEST_PARAGRAPHS else {}

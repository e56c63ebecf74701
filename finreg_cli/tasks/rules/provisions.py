"""A chunk of an article, read as statements: whole sentences and whole lists, each with its exact citation.

A chunk may begin and end in mid-paragraph. Whatever is not certainly whole is left out here, so that no rule sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from finreg_cli.domain.notes import TABLE_ROW, without_notes
from finreg_cli.domain.records import Chunk

_HEAD = re.compile(r"Article \d+[a-z]?")
_PARAGRAPH = re.compile(r"(?P<number>(?P<digits>\d{1,2})[a-z]?)\.\s+(?=\S)")
_POINT = re.compile(r"\((?P<label>[a-z]{1,2}|[ivxl]{1,6}|\d{1,3}[a-z]?)\)\s+(?=\S)")
_CITED_PARAGRAPH = re.compile(r"Article \d+[a-z]*\((?P<number>(?P<digits>\d+)[a-z]*)\)(?:\(\w+\))*$")
_SENTENCE_END = re.compile(r"(?<=[.?])\s+(?=[A-Z'\"\u2018\u201c])")
_ABBREVIATED = re.compile(r"(?:\b(?:No|Nos|e\.g|i\.e|cf|Art|Mr|vs|approx|p|pp|resp)|\b[A-Z])\.$")
_ITEM_END = re.compile(r"[;.]$|; (?:and|or)$")
_FIRST_LABELS = frozenset({"a", "i", "1"})


@dataclass(frozen=True)
class Item:
    """A point of a list: its label without brackets, its text with what it ends in."""

    label: str
    text: str


@dataclass(frozen=True)
class Statement:
    """A whole sentence, or a whole list with the words that introduce it.

    ``text`` is the sentence on one line; of a list it is the introduction and all points with their labels.
    ``alone`` says that its paragraph holds nothing else.
    """

    text: str
    citation: str
    intro: str = ""
    items: tuple[Item, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class NumberedPoint:
    """A point with a number, as definitions have it, together with the points below it."""

    text: str
    citation: str


@dataclass(frozen=True)
class ListPoint:
    """A point of a list with the sentence that introduces it; both whole, but not necessarily the list."""

    intro: str
    text: str
    citation: str


_Cited = TypeVar("_Cited", Statement, NumberedPoint, ListPoint)


@dataclass
class _Block:
    """A line of the text with its marker taken off; ``whole`` is False where its beginning may be missing."""

    text: str
    paragraph: str | None = None
    label: str | None = None
    whole: bool = True


@dataclass
class _Paragraph:
    """The blocks of one numbered paragraph, or of an article without numbers."""

    citation: str
    blocks: list[_Block] = field(default_factory=list)
    begins: bool = True
    ends: bool = True
    numbered: bool = True
    """Whether the citation goes as far as it could: a point's number may be added to it."""


@dataclass(frozen=True)
class Provision:
    """What a chunk of an article certainly holds."""

    citation: str
    act: str
    article: str
    title: str
    statements: tuple[Statement, ...]
    points: tuple[NumberedPoint, ...]
    list_points: tuple[ListPoint, ...]
    whole_paragraphs: tuple[tuple[str, str], ...]
    """(citation, text) of the paragraphs that begin and end in the chunk, and may be asked about as a whole."""


def read(chunk: Chunk) -> Provision | None:
    """The chunk as a provision; None where it is no article of the enacting terms."""
    heading = chunk.heading_path[-1] if chunk.heading_path else ""
    head = _HEAD.match(heading)
    if chunk.structure != "article" or head is None or head.group() not in chunk.citation:
        return None
    act, _, _ = chunk.citation.rpartition(head.group())
    title = heading[head.end() :].strip(" -\u2013\u2014:.")
    article = f"{act}{head.group()}"
    paragraphs = list(_paragraphs(chunk, article, head.group(), title))
    return Provision(
        citation=chunk.citation,
        act=act.strip(),
        article=article,
        title=title,
        statements=_inside(chunk, (each for paragraph in paragraphs for each in _statements(paragraph))),
        points=_inside(chunk, (each for paragraph in paragraphs for each in _numbered_points(paragraph))),
        list_points=_inside(chunk, (each for paragraph in paragraphs for each in _list_points(paragraph))),
        whole_paragraphs=tuple(
            (each.citation, " ".join(block.text for block in each.blocks))
            for each in paragraphs
            if each.begins and each.ends
        ),
    )


def _inside(chunk: Chunk, found: Iterable[_Cited]) -> tuple[_Cited, ...]:
    """Those that the chunk's own citation covers: what it repeats of the chunk before is that one's."""
    return tuple(each for each in found if re.match(rf"{re.escape(chunk.citation)}(?!\w)", each.citation))


def _paragraphs(chunk: Chunk, article: str, head: str, title: str) -> Iterator[_Paragraph]:
    lines = [line.strip() for line in without_notes(chunk.text).splitlines() if line.strip()]
    begins = lines[:1] == [head]
    if begins:
        lines = _without_title(lines[1:], title)
    cited = _CITED_PARAGRAPH.search(chunk.citation)
    number = 0 if begins else int(cited["digits"]) - 1 if cited else None
    blocks = list(_blocks(lines, number))
    if blocks and not begins and blocks[0].paragraph is None:
        blocks[0].whole = False
    current = _Paragraph(f"{article}({cited['number']})" if cited else article, begins=begins)
    current.numbered = begins or cited is not None
    for block in blocks:
        if block.paragraph is not None:
            if current.blocks:
                yield current
            current = _Paragraph(f"{article}({block.paragraph})")
        current.blocks.append(block)
    if current.blocks:
        # Nothing in the chunk proves that the paragraph at its end goes no further.
        current.ends = False
        yield current


def _without_title(lines: list[str], title: str) -> list[str]:
    """The lines after the title, which may stand on several."""
    taken = ""
    for count, line in enumerate(lines):
        if _compact(taken) == _compact(title):
            return lines[count:]
        taken += line
        if not _compact(title).startswith(_compact(taken)):
            return lines
    return []


def _compact(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def _blocks(lines: list[str], number: int | None) -> Iterator[_Block]:
    """Lines joined to blocks: a new one begins at a marker, or at a capital after the end of a sentence.

    The rows of a table give a block without text, which is not whole.

    Args:
        lines: without head and title.
        number: of the paragraph before them, 0 where they begin the article, None where it is unknown.
    """
    current: _Block | None = None
    whole = True
    for line in lines:
        if line.startswith(TABLE_ROW):
            # Nothing goes on across a table, no sentence and no list.
            if current is not None:
                yield current
            yield _Block("", whole=False)
            current, whole = None, False
            continue
        started = _started(line, number)
        if started is None and current is not None and not (current.text[-1] in ".:;" and not line[0].islower()):
            current.text += f" {line}"
            continue
        if current is not None:
            yield current
        current = started or _Block(line, whole=whole)
        whole = True
        if current.paragraph is not None:
            number = int(current.paragraph.rstrip("abcdefghijklmnopqrstuvwxyz"))
    if current is not None:
        yield current


def _started(line: str, number: int | None) -> _Block | None:
    """The block that the line begins; ``number`` is that of the paragraph before, None where it is unknown."""
    paragraph = _PARAGRAPH.match(line)
    # "... of Section / 7. ..." begins no paragraph: they count up.
    if paragraph and (number is None or paragraph["digits"] in (str(number), str(number + 1))):
        return _Block(line[paragraph.end() :], paragraph=paragraph["number"])
    point = _POINT.match(line)
    if point:
        return _Block(line[point.end() :], label=point["label"])
    return None


def _statements(paragraph: _Paragraph) -> Iterator[Statement]:
    found = list(_sentences_and_lists(paragraph))
    alone = paragraph.begins and len(found) == 1
    for statement in found:
        if statement is not None:
            yield Statement(statement.text, statement.citation, statement.intro, statement.items, alone)


def _sentences_and_lists(paragraph: _Paragraph) -> Iterator[Statement | None]:
    """The statements in order; None stands for one that is not whole, so that the others are not taken for all."""
    blocks = paragraph.blocks
    orphaned = _has_orphaned_points(blocks)
    position = 0
    while position < len(blocks):
        block = blocks[position]
        position += 1
        if block.label is not None:
            yield None
            continue
        *sentences, last = _sentences(block.text)
        if not block.whole:
            # The first sentence may lack its beginning, and an introduction its condition.
            yield None
            sentences = sentences[1:]
        for sentence in sentences:
            yield Statement(sentence, paragraph.citation)
        first_and_broken = not block.whole and len(_sentences(block.text)) == 1
        if last.endswith(":"):
            items = []
            while position < len(blocks) and blocks[position].label is not None:
                items.append(Item(blocks[position].label or "", blocks[position].text))
                position += 1
            usable = not (orphaned or first_and_broken)
            yield _list(last, tuple(items), paragraph.citation) if usable else None
        elif first_and_broken or not last.endswith("."):
            yield None
        else:
            yield Statement(last, paragraph.citation)


def _has_orphaned_points(blocks: list[_Block]) -> bool:
    """True where a point follows neither an introduction nor another point, so that no list is certainly whole."""
    return any(
        after.label is not None and before.label is None and not before.text.endswith(":")
        for before, after in pairwise(blocks)
    )


def _list(intro: str, items: tuple[Item, ...], citation: str) -> Statement | None:
    if len(items) < 2 or items[0].label not in _FIRST_LABELS or not items[-1].text.endswith("."):
        return None
    if any(
        item.text[-1] not in ";,:" and not item.text.endswith(("; and", "; or", ", and", ", or")) for item in items[:-1]
    ):
        return None
    if any(len(_sentences(item.text)) > 1 for item in items):
        return None
    text = " ".join([intro, *(f"({item.label}) {item.text}" for item in items)])
    return Statement(text, citation, intro, items)


def _numbered_points(paragraph: _Paragraph) -> Iterator[NumberedPoint]:
    """The whole points (1), (2), ... of a paragraph, each with the lettered points below it."""
    points: list[list[_Block]] = []
    for block in paragraph.blocks:
        if block.label is not None and block.label[0].isdigit():
            points.append([block])
        elif points and block.label is not None:
            points[-1].append(block)
        elif points:
            # Text without a label belongs to no point for certain.
            points[-1] = []
    for position, blocks in enumerate(points):
        if blocks and (position + 1 < len(points) or _closes(blocks)):
            first, *below = blocks
            text = " ".join([first.text, *(f"({block.label}) {block.text}" for block in below)])
            yield NumberedPoint(text, _cited_point(paragraph, first.label or ""))


def _list_points(paragraph: _Paragraph) -> Iterator[ListPoint]:
    """The lettered points of the paragraph's lists that have no points below them."""
    intro, expected = None, ""
    for block in paragraph.blocks:
        if block.label is None:
            *before, last = _sentences(block.text)
            intro = last if last.endswith(":") and (block.whole or before) else None
            expected = "a"
        elif intro is not None and block.label == expected:
            expected = chr(ord(expected) + 1)
            if block.text.endswith((";", ".", "; and", "; or")) and len(_sentences(block.text)) == 1:
                yield ListPoint(intro, _ITEM_END.sub("", block.text), _cited_point(paragraph, block.label))


def _closes(blocks: list[_Block]) -> bool:
    """True where the last point of a chunk is whole, whatever the next chunk begins with."""
    return blocks[-1].text.endswith("." if len(blocks) > 1 else (".", ";"))


def _cited_point(paragraph: _Paragraph, label: str) -> str:
    return f"{paragraph.citation}({label})" if paragraph.numbered else paragraph.citation


def _sentences(text: str) -> list[str]:
    """The sentences of a text; an abbreviation's point ends none."""
    sentences: list[str] = []
    for piece in _SENTENCE_END.split(text):
        if sentences and _ABBREVIATED.search(sentences[-1]):
            sentences[-1] += f" {piece}"
        else:
            sentences.append(piece)
    return sentences

"""Footnotes of HTML: found by their links or their marks, and put behind the block that first refers to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from finreg_cli.domain.legal_structure import Block


@dataclass
class RawBlock:
    """A block with what places footnotes: the ids within it, and the fragments that its marks link to."""

    block: Block
    ids: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    note: bool = False


_NOTE_BEGINS = re.compile(r"(?P<mark>\^?[(\[]?\^?(?:\d{1,3}|\*{1,3}|[\u2020\u2021])[)\]]?)[.:]?(?:\s+|$)")
_IN_TEXT = re.compile(r"[(\[]?\^[(\[]?(?:\d{1,3}|\*{1,3})[)\]]?")
_BACK = re.compile(r"\s*[\u21a9\u21b5\u2191\u2934]\ufe0e?\s*$")


def with_footnotes(found: Sequence[RawBlock]) -> Iterator[Block]:
    """Each footnote right behind the block that first refers to it, with its mark as the text has it."""
    marks = _marks(found)
    behind: dict[int, list[int]] = {}
    follows: int | None = None
    for index, raw in enumerate(found):
        if index in marks:
            follows = marks[index][0]
        elif follows is None or not raw.note or _NOTE_BEGINS.match(raw.block.text):
            follows = None
            continue
        behind.setdefault(follows, []).append(index)
    moved = {index for notes in behind.values() for index in notes}
    for index, raw in enumerate(found):
        if index in moved:
            continue
        is_note = raw.note and _NOTE_BEGINS.match(raw.block.text) is not None
        yield replace(raw.block, kind="footnote") if is_note else raw.block
        for note in behind.get(index, ()):
            text = _BACK.sub("", found[note].block.text)
            if note in marks:
                mark = marks[note][1]
                text = f"{mark} {_without_mark(text, mark)}"
            yield replace(found[note].block, text=text, kind="footnote", bold=False, italic=False)


def _marks(found: Sequence[RawBlock]) -> dict[int, tuple[int, str]]:
    """Index of each footnote -> index of the block with its mark, and the mark: by the links, else by the marks."""
    by_id: dict[str, int] = {}
    by_mark: dict[str, int] = {}
    for index, raw in enumerate(found):
        for each in raw.ids:
            by_id.setdefault(each, index)
        if not raw.note:
            for mark in _IN_TEXT.findall(raw.block.text):
                by_mark.setdefault(mark, index)
    marks: dict[int, tuple[int, str]] = {}
    for index, raw in enumerate(found):
        for target, mark in raw.links:
            note = by_id.get(target, -1)
            if note > index and note not in marks and index not in marks and _is_note_to(found[note], raw, mark):
                marks[note] = (index, mark)
    for index, raw in enumerate(found):
        begins = _NOTE_BEGINS.match(raw.block.text) if raw.note and index not in marks else None
        if begins and by_mark.get(begins["mark"], index) < index:
            marks[index] = (by_mark[begins["mark"]], begins["mark"])
    return marks


def _is_note_to(note: RawBlock, raw: RawBlock, mark: str) -> bool:
    if note.block.kind == "table":
        return False
    return note.note or _own_mark(note.block.text, mark) is not None or any(back in raw.ids for back, _ in note.links)


def _without_mark(text: str, mark: str) -> str:
    own = _own_mark(text, mark)
    return text[own.end() :] if own else text


def _own_mark(text: str, mark: str) -> re.Match[str] | None:
    """The mark that a footnote's text begins with, where it is this one; brackets and carets aside."""
    begins = _NOTE_BEGINS.match(text)
    return begins if begins and begins["mark"].strip("()[]^") == mark.strip("()[]^") else None

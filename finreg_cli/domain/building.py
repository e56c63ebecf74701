"""Puts blocks into the running text of a document, and into its units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from finreg_cli.domain.document import Block, Cited, Document, Identity, Paragraph, Role, Rung, Unit
from finreg_cli.domain.enumeration import POINT, point_paths

_FOOTNOTE_MARK = re.compile(r" ?(?:\(\^\w{1,3}\)|\^(?:\d{1,3}|\*{1,3}))(?=$|[\s.,;:])")


class DocumentBuilder:
    """Gathers text and units while the blocks go by, in reading order."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._texts: list[str] = []
        self._length = 0
        self._units: list[Unit] = []
        self._entries: list[tuple[Role, str]] = []  # of the present unit: role and text of its paragraphs
        self._number: str | None = None

    def document(self) -> Document:
        self._close()
        return Document(self._identity, "\n".join(self._texts), [unit for unit in self._units if unit.paragraphs])

    def begin(self, label: str | None, heading_path: Sequence[str], rung: Rung, cited: Cited = "whole") -> None:
        """What is added from here on belongs to a new unit."""
        self._close()
        self._units.append(Unit(label, list(heading_path), rung, cited))
        self._entries = []

    def add(self, block: Block, role: Role | None = None, number: str | None = None) -> None:
        """Adds a paragraph to the present unit.

        Args:
            block: the paragraph.
            role: by default what the block's kind and its mark say.
            number: of the numbered paragraph that begins with it.
        """
        if number is not None:
            self._number = number
        if block.kind != "text":
            role = block.kind
        elif number is not None:
            role = "numbered"
        elif role is None:
            role = "point" if POINT.match(block.text) else "text"
        start = self._put(block.text)
        self._entries.append((role, block.text))
        self._units[-1].paragraphs.append(
            Paragraph(
                start, start + len(block.text), block.page_start, block.page_end, role, self._number, block.formula
            )
        )

    def head(self, blocks: Iterable[Block]) -> None:
        """Adds the head of the present unit, or one within it: no numbered paragraph goes on behind it."""
        self._number = None
        for block in blocks:
            self.add(block, "head")

    def between_units(self, blocks: Iterable[Block]) -> None:
        """Adds headings that stand in the text, but in no unit, because other headings follow."""
        for block in blocks:
            self._put(block.text)

    def _put(self, text: str) -> int:
        start = self._length
        self._texts.append(text)
        self._length += len(text) + 1
        return start

    def _close(self) -> None:
        self._number = None
        if not self._units or not self._units[-1].paragraphs:
            return
        unit = self._units[-1]
        paragraphs = unit.paragraphs
        # A heading that heads nothing within the unit is a line of text: no chunk may end with a heading.
        for index in range(len(paragraphs) - 1, -1, -1):
            if paragraphs[index].role != "head":
                break
            paragraphs[index] = replace(paragraphs[index], role="text")
        if unit.cited == "whole":
            return
        paths = point_paths(self._entries)
        unit.paragraphs = [
            replace(paragraph, points=path) if path else paragraph
            for paragraph, path in zip(paragraphs, paths, strict=True)
        ]


def heading(blocks: Iterable[Block]) -> str:
    """A heading as `heading_path` has it: on one line, without the marks of footnotes."""
    return " ".join(_FOOTNOTE_MARK.sub("", block.text) for block in blocks if block.kind == "text").strip()

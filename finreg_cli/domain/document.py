"""What a document is to finreg: the blocks that a reader finds, and the text with its units that is made of them.

A `Block` is a paragraph in print, with its style; a `Document` is one running text and the `Unit`s in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Rung = Literal["article", "bookmark", "heading", "style", "page"]
"""The rungs of the fallback ladder: the grammar of articles, the file's own bookmarks, numbered headings, lines that
stand out by size or weight, or nothing but pages."""

Kind = Literal["text", "footnote", "table"]
"""What a block is in print: running text, a footnote, one row of a table."""

GROUP_LEVELS = ("part", "title", "chapter", "section", "sub-section")
"""What articles are grouped in, from the outermost inwards."""

Role = Literal["head", "numbered", "text", "point", "footnote", "table"]
"""What a paragraph is to its unit: a head or title within it, the start of a numbered paragraph, plain text, a list
point, a footnote to what stands before it, a row of a table."""

Cited = Literal["points", "paragraph", "whole"]
"""How a citation goes on below a unit's label: ``Article 92(1)(a)``, ``section 3.2 paragraph 12``, or not at all."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph as it is printed: wrapped lines are joined, hyphens resolved. Sizes are in points, pages from 1.

    A footnote is a block of its own behind the block that holds its mark, and begins with the mark: ``^3 See ...``, or
    ``(^1) OJ L 50``. A row of a table is one, too: ``| a | | c |``, empty cells kept. Raised characters stand behind a
    caret (``risk^3``, ``10^-6``).
    """

    text: str
    page_start: int
    page_end: int
    size: float = 10.0
    bold: bool = False
    italic: bool = False
    formula: bool = False
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of the file's own outline: ``level`` from 0, ``page`` from 1 (None where it leads nowhere)."""

    level: int
    title: str
    page: int | None


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A span ``[start, end)`` of the document's text, in characters.

    ``number`` is the numbered paragraph that it lies in, None before the first and where none is; ``points`` the
    lettered or numbered point that it lies in, outermost first: ``("a", "ii")``.
    """

    start: int
    end: int
    page_start: int
    page_end: int
    role: Role
    number: str | None
    formula: bool
    points: tuple[str, ...] = ()


@dataclass
class Unit:
    """A unit, which no chunk ever crosses: an article, a recital, an annex, a section of a report; or a run of pages.

    ``label`` is what a citation puts behind the short name; it is None for pages, which are cited by their numbers.
    """

    label: str | None
    heading_path: list[str]
    structure: Rung
    cited: Cited = "whole"
    paragraphs: list[Paragraph] = field(default_factory=list)


@dataclass(frozen=True)
class Identity:
    """What a document says that it is. ``short_name`` begins its citations, ``version_date`` is ISO 8601."""

    work_id: str
    version_date: str | None
    title: str
    short_name: str
    is_act: bool


@dataclass(frozen=True)
class Document:
    """A text with its units, in reading order. Headings stand in ``text`` too, between the units that they head."""

    identity: Identity
    text: str
    units: list[Unit]

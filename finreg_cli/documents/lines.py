"""A printed line, as every engine gives it and every rule of `layout` and `tables` sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

LINE_HYPHEN = "\ufffe"
"""Stands in a line's text where the print breaks a word; soft or hard is for the document's vocabulary to say."""

LOST_BLANK = "\ufdd0"
"""Stands within a word where the print may have lost a blank (``Line.gaps``); this, too, is for the vocabulary."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A run of a printed line that a wide gap sets apart from the next, as in a table. Edges in points."""

    text: str
    left: float
    right: float


class Place(NamedTuple):
    """The cell of a ruled table that a line stands in; all count from 0, ``table`` within the page."""

    table: int
    row: int
    column: int
    columns: int


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line. Positions in points from the page's lower left corner, ``page`` from 1.

    ``size`` is that of the line's middle, ``lead_size`` that of its first character (a footnote's mark is smaller);
    ``bold`` and ``italic`` hold for the whole line. ``baseline`` is that of the first character, ``end_baseline``
    that of the last, which differs where the engine has joined two lines at a hyphen.

    Raised characters stand behind a caret in ``text``. ``cells`` are the runs of a line with wide gaps in it, none
    where there is no such gap. ``gaps`` are offsets into ``text``, within words that are rare near by, before which the
    print leaves a gap as wide as a blank: a lost blank, if the vocabulary of the document agrees. ``place`` is the cell
    that the line stands in, where rules are drawn around it.
    """

    text: str
    page: int
    page_height: float
    font: str
    size: float
    lead_size: float
    bold: bool
    italic: bool
    left: float
    right: float
    baseline: float
    end_baseline: float
    cells: tuple[Cell, ...] = ()
    gaps: tuple[int, ...] = ()
    place: Place | None = None

    def with_text(self, text: str, cells: tuple[Cell, ...] | None = None) -> Line:
        """The line with another text, and with other cells if they are given; quicker than `dataclasses.replace`."""
        return Line(
            text,
            self.page,
            self.page_height,
            self.font,
            self.size,
            self.lead_size,
            self.bold,
            self.italic,
            self.left,
            self.right,
            self.baseline,
            self.end_baseline,
            self.cells if cells is None else cells,
            (),
            self.place,
        )

    def in_cell(self, place: Place | None, cell: Cell | None = None) -> Line:
        """The line as it stands in a cell of a ruled table, or that of its runs which does; quick, as above."""
        text, left, right = (cell.text, cell.left, cell.right) if cell else (self.text, self.left, self.right)
        return Line(
            text,
            self.page,
            self.page_height,
            self.font,
            self.size,
            self.lead_size,
            self.bold,
            self.italic,
            left,
            right,
            self.baseline,
            self.end_baseline,
            (),
            () if cell else self.gaps,
            place,
        )

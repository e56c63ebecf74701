"""Columns whose lines a file gives row by row, put into reading order.

Content-stream order is the reading order nearly everywhere and sorting by position would break it. The one plain
exception is prose in two columns of which the rows alternate: left, right, left, right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from finreg_cli.documents.lines import LINE_HYPHEN, Line

_FEWEST_ROWS = 8
_MEAN_LENGTH = 20  # characters: what is shorter is a table's column
_GOES_ON = 0.4  # of a column's lines, at least, end within a sentence; a table's cells stand alone


def in_reading_order(page: Sequence[Line]) -> list[Line]:
    """The lines of a page, the left column's before the right one's where they are plainly interleaved."""
    rows = [pair for line, after in pairwise([*page, None]) if line and (pair := _row(line, after))]
    if len(rows) < _FEWEST_ROWS:
        return list(page)
    gutter = _gutter(rows)
    if gutter is None or not all(_is_prose([row[side] for row in rows]) for side in (0, 1)):
        return list(page)
    parts = [part for line in page for part in _parts(line, gutter)]
    ordered: list[Line] = []
    for spans, region in groupby(parts, key=lambda line: line.left < gutter < line.right):
        lines = list(region)
        # Lines over both columns, as a title is, part the page into regions of their own.
        ordered += lines if spans else sorted(lines, key=lambda line: line.left >= gutter)
    return ordered


def _row(line: Line, after: Line | None) -> tuple[Line, Line] | None:
    """The two halves of a printed row: one line with a wide gap in it, or two lines on one baseline."""
    if len(line.cells) == 2:
        left, right = _parts(line, (line.cells[0].right + line.cells[1].left) / 2)
        return left, right
    if after and not line.cells and abs(line.baseline - after.baseline) < 1 and after.left > line.right + line.size:
        return line, after
    return None


def _parts(line: Line, gutter: float) -> list[Line]:
    if len(line.cells) == 2 and line.cells[0].right <= gutter <= line.cells[1].left:
        return [replace(line, text=cell.text, left=cell.left, right=cell.right, cells=()) for cell in line.cells]
    return [line]


def _gutter(rows: Sequence[tuple[Line, Line]]) -> float | None:
    """The middle of the blank strip between the columns, in points; None where there is no such strip."""
    left = max(row[0].right for row in rows)
    right = min(row[1].left for row in rows)
    return (left + right) / 2 if left < right else None


def _is_prose(lines: Sequence[Line]) -> bool:
    if sum(len(line.text) for line in lines) < _MEAN_LENGTH * len(lines):
        return False
    going_on = sum(
        line.text.endswith(LINE_HYPHEN) or (line.text[-1] not in ".;:" and after.text[0].islower())
        for line, after in pairwise(lines)
    )
    return going_on >= _GOES_ON * len(lines)

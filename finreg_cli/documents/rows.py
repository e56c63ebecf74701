"""Runs of one printed row that an engine gives as lines of their own, as at raised characters, put together again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from finreg_cli.documents.lines import Cell, Line

_ROW = 0.4  # of the two sizes together: what is farther apart is no row, raised marks and all
_LEVEL = 1.0  # points
_LONGEST_MARK = 6  # characters, with its brackets and what follows it
_LONE_MARK = re.compile(r"\^?\(?\^?[\d*\u2020\u2021]{1,3}\)?[.,;:)]?$")


def with_marks(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines of a page; a raised mark that is a line of its own stands in the line whose mark it is."""
    lines = list(lines)
    return _rejoined(lines, _joined_at_mark) if any(len(line.text) <= _LONGEST_MARK for line in lines) else iter(lines)


def rejoined(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines of a page, one to each printed row of a column."""
    return _rejoined(lines, _joined)


def across_cells(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines of a page, one to each printed row of a ruled table where its cells follow each other."""
    current: Line | None = None
    for line in lines:
        if current and _in_next_cell(current, line):
            current = _together(current, line, " ", line.text, line.end_baseline)
        else:
            if current:
                yield current
            current = line
    if current:
        yield current


def _in_next_cell(line: Line, other: Line) -> bool:
    return (
        line.place is not None
        and other.place is not None
        and line.place.table == other.place.table
        and abs(line.end_baseline - other.baseline) < _LEVEL
        and other.left >= line.right - _LEVEL
    )


def _rejoined(lines: Iterable[Line], join: Callable[[Line, Line], Line | None]) -> Iterator[Line]:
    current: Line | None = None
    for line in lines:
        if current is None:
            current = line
        elif (
            line.page != current.page
            or line.place != current.place
            or abs(current.end_baseline - line.baseline) > _ROW * (line.size + current.size)
        ):
            yield current
            current = line
        else:
            joined = join(current, line)
            if joined is None:
                yield current
                current = line
            else:
                current = joined
    if current is not None:
        yield current


def _joined_at_mark(line: Line, other: Line) -> Line | None:
    """The two as one where either is a raised mark at the other, else None."""
    if not _close(line, other):
        return None
    if _is_raised_mark(other, line):
        # The row goes on where it was: the mark's height is its own.
        return _together(line, other, "", _with_caret(other.text), line.end_baseline)
    if _is_raised_mark(line, other):
        marked = replace(line, text=_with_caret(line.text), size=other.size, font=other.font)
        return _together(marked, other, "" if other.text[0] in ".,;:)" else " ", other.text, other.end_baseline)
    return None


def _joined(line: Line, other: Line) -> Line | None:
    """The two as one, None where they are no parts of one row."""
    if not _close(line, other):
        return None
    if not _same_row(line, other):
        return None
    # A blank stands between words; what follows a superscript directly is the sentence's own punctuation.
    close = other.left - line.right < 0.15 * other.size
    blank = "" if close and (other.text[0] in ".,;:)^" or line.text[-1] == "(") else " "
    return _together(line, other, blank, other.text, other.end_baseline)


def _close(line: Line, other: Line) -> bool:
    return -0.5 * other.size < other.left - line.right < max(line.size, other.size)


def _is_raised_mark(mark: Line, line: Line) -> bool:
    """Whether the first is a small mark of its own, up to two thirds of a line above the second's baseline."""
    return (
        mark.size <= 0.8 * line.size
        and len(mark.text) <= _LONGEST_MARK
        and 0.1 * line.size < mark.baseline - (line.end_baseline if line.left < mark.left else line.baseline)
        and _LONE_MARK.match(mark.text) is not None
    )


def _with_caret(text: str) -> str:
    return text if "^" in text else f"^{text}"


def _same_row(line: Line, other: Line) -> bool:
    """One row, also where one run begins or ends in a superscript, which stands up to half a line higher."""
    near = 0.1 * other.size
    return (
        abs(line.baseline - other.baseline) < near
        or (line.end_baseline < line.baseline and abs(line.end_baseline - other.baseline) < near)
        or (other.end_baseline < other.baseline and abs(line.end_baseline - other.end_baseline) < near)
    )


def _together(line: Line, other: Line, blank: str, text: str, end_baseline: float) -> Line:
    return replace(
        line,
        text=f"{line.text}{blank}{text}",
        right=other.right,
        end_baseline=end_baseline,
        bold=line.bold and other.bold,
        italic=line.italic and other.italic,
        cells=_cells_together(line, other, blank + text) if line.cells else other.cells,
    )


def _cells_together(line: Line, other: Line, text: str) -> tuple[Cell, ...]:
    last = line.cells[-1]
    return (*line.cells[:-1], Cell(last.text + text, last.left, other.right))

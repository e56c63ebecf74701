"""Tables of HTML: which hold data, and which only arrange text, as the Official Journal's points are arranged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lxml import etree

from finreg_cli.documents.plain_text import clean

LONE_MARK = re.compile(
    r"[\u2018\u2019'\"\u201c]?(?:\((?:[a-z]{1,4}|\d{1,3}[a-z]{0,2}|[A-Z])\)|\d{1,3}[a-z]{0,2}\.|[a-z]\)|[\u2014\u2013\u2022\u25aa\u25cf-])"
)
"""A point's mark that stands alone: in the first column of a layout table, in a block of its own."""


def name_of(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2].lower()


def whole(value: str | None, default: int) -> int:
    return int(value) if value and re.fullmatch(r"\d{1,6}", value) else default


_MOST_COLUMNS = 100
_LAYOUT_BORDERS = (None, "", "0", "none")


def data_rows(table: etree._Element) -> list[list[etree._Element | None]] | None:
    """The cells of a table of data, None for each that is spanned; None for a table that only arranges text."""
    rows = list(_rows(table))
    cells = [[cell for cell in row if name_of(cell) in ("td", "th")] for row in rows]
    if not cells or max(map(len, cells)) < 2 or table.get("role") == "presentation":
        return None
    drawn = table.get("border") not in _LAYOUT_BORDERS or any(
        each in ("table", "oj-table") or "border" in each for each in (table.get("class") or "").split()
    )
    if not drawn and not any(name_of(cell) == "th" for row in cells for cell in row):
        arranged = table.get("border") == "0" and table.get("width") == "100%"
        nested = any(True for _ in table.iterdescendants(*_tags(table, "table")))
        if arranged or nested or all(_is_point(row) for row in cells):
            return None
    return list(_spanned(cells))


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    for child in table.iterchildren(etree.Element):
        if name_of(child) == "tr":
            yield child
        elif name_of(child) in ("thead", "tbody", "tfoot"):
            yield from (each for each in child.iterchildren(etree.Element) if name_of(each) == "tr")


def _tags(element: etree._Element, name: str) -> tuple[str, ...]:
    """A tag as this tree spells it; XHTML puts its namespace before it."""
    return (f"{str(element.tag).rpartition('}')[0]}}}{name}",) if "}" in str(element.tag) else (name,)


def _is_point(row: Sequence[etree._Element]) -> bool:
    """Whether a row is a mark and what it marks, and nothing else."""
    texts = [text for cell in row if (text := clean("".join(cell.itertext())[:200]))]
    return not texts or (len(texts) <= 2 and LONE_MARK.fullmatch(texts[0]) is not None)


def _spanned(rows: Sequence[Sequence[etree._Element]]) -> Iterator[list[etree._Element | None]]:
    """The rows with an empty cell in each place that a cell of another column or row reaches into."""
    below: dict[int, int] = {}  # column -> rows that a cell above still covers
    for row in rows:
        line: list[etree._Element | None] = []
        for cell in row:
            _cover(line, below)
            width = min(max(whole(cell.get("colspan"), 1), 1), _MOST_COLUMNS)
            height = max(whole(cell.get("rowspan"), 1), 1)
            for offset in range(width):
                if len(line) < _MOST_COLUMNS:
                    if height > 1:
                        below[len(line)] = height - 1
                    line.append(None if offset else cell)
        _cover(line, below)
        yield line


def _cover(line: list[etree._Element | None], below: dict[int, int]) -> None:
    while below.get(len(line), 0) > 0:
        below[len(line)] -= 1
        line.append(None)

"""Printed lines as bytes, for the pages of one file that several processes read.

JSON of bare rows, not a pickle: the bytes come from a process that a hostile file may have taken over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from finreg_cli.documents.lines import Cell, Line, Place

# The last three fields, in this order.
_STRUCTURED = ("cells", "gaps", "place")
_scalars = attrgetter(*(field.name for field in fields(Line) if field.name not in _STRUCTURED))


def encode(pages: Iterable[Iterable[Line]]) -> bytes:
    """A JSON list of the pages, each a list of its lines, each a list of the values of `Line` in their order."""
    return json.dumps([[_row(line) for line in page] for page in pages], separators=(",", ":")).encode()


def decode(data: bytes) -> list[list[Line]]:
    """The inverse of `encode`."""
    return [[_line(row) for row in page] for page in json.loads(data)]


def _row(line: Line) -> list[Any]:
    return [*_scalars(line), [(cell.text, cell.left, cell.right) for cell in line.cells], line.gaps, line.place]


def _line(row: list[Any]) -> Line:
    *values, cells, gaps, place = row
    values += [tuple(Cell(*cell) for cell in cells), tuple(gaps), Place(*place) if place else None]
    return Line(*values)

"""The ruled lines of a page, from the paths that pdfium found on it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pypdfium2.raw as pdfium

_THICKEST = 3.0  # points; anything thicker is a bar or a shade
_SHORTEST = 4.0  # points; the rest are corners and dots
_STRAIGHT = 0.1  # points; a side that slants no more is level or upright
_LOWEST_SHADE = 8.0  # points; a line of print is higher
_MOST_OBJECTS = 20_000  # on a page, those within its forms among them
_MOST_SEGMENTS = 20_000  # likewise; a drawing has thousands
_DEEPEST_FORM = 3
_SAMPLED = 4  # every fourth object tells whether a page has many paths

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points."""

_Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: _Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def has_many_paths(page: pdfium.FPDF_PAGE, enough: int) -> bool:
    """Whether a page has about so many paths, by a sample of its objects."""
    count = min(pdfium.FPDFPage_CountObjects(page), _MOST_OBJECTS)
    get_object, get_type, path = pdfium.FPDFPage_GetObject, pdfium.FPDFPageObj_GetType, pdfium.FPDF_PAGEOBJ_PATH
    found = [True for index in range(0, count, _SAMPLED) if get_type(get_object(page, index)) == path]
    return len(found) * _SAMPLED >= enough


def ruled_lines(page: pdfium.FPDF_PAGE) -> list[Box]:
    """The thin straight lines and bars of a page, upright or level, and its shades, before the page is turned.

    A shade is a filled box that may lie behind a cell.
    """
    return _Reader().of_page(page)


@dataclass(slots=True)
class _Point:
    x: float
    y: float


class _Reader:
    """Reads one page, within limits for all that it holds."""

    def __init__(self) -> None:
        self._objects = _MOST_OBJECTS
        self._segments = _MOST_SEGMENTS
        self._edges = tuple(ctypes.c_float() for _ in range(4))
        self._to_edges = tuple(map(ctypes.byref, self._edges))
        self._fill, self._stroke = ctypes.c_int(), ctypes.c_int()
        self._x, self._y = ctypes.c_float(), ctypes.c_float()

    def of_page(self, page: pdfium.FPDF_PAGE) -> list[Box]:
        get_object, get_type = pdfium.FPDFPage_GetObject, pdfium.FPDFPageObj_GetType
        text = pdfium.FPDF_PAGEOBJ_TEXT
        items = [get_object(page, index) for index in range(min(pdfium.FPDFPage_CountObjects(page), self._objects))]
        return [
            box
            for item in items
            if (kind := get_type(item)) != text
            for box in self._of_object(item, kind, _IDENTITY, 0)
        ]

    def _of_object(self, item: pdfium.FPDF_PAGEOBJECT, kind: int, placed: _Matrix, depth: int) -> Iterator[Box]:
        self._objects -= 1
        if kind == pdfium.FPDF_PAGEOBJ_PATH:
            for box in self._of_path(item):
                yield box if placed is _IDENTITY else _transformed(box, placed)
        elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST_FORM:
            inner = _times(self._matrix(item), placed)
            for index in range(pdfium.FPDFFormObj_CountObjects(item)):
                if self._objects <= 0:
                    return
                held = pdfium.FPDFFormObj_GetObject(item, index)
                yield from self._of_object(held, pdfium.FPDFPageObj_GetType(held), inner, depth + 1)

    def _of_path(self, path: pdfium.FPDF_PAGEOBJECT) -> Iterator[Box]:
        box = self._bounds(path)
        if box is None or max(box[2] - box[0], box[3] - box[1]) < _SHORTEST:
            return
        if _is_thin(box):
            yield box
        elif pdfium.FPDFPath_CountSegments(path) <= self._segments:
            pdfium.FPDFPath_GetDrawMode(path, self._fill, self._stroke)
            for points in self._strokes(path):
                if self._stroke.value:
                    yield from (box for box in map(_box_of, pairwise(points)) if _is_thin(box))
                elif _is_thin(box := _box_of(points)) or (self._fill.value and _is_shade(points, box)):
                    yield box

    def _bounds(self, item: pdfium.FPDF_PAGEOBJECT) -> Box | None:
        if not pdfium.FPDFPageObj_GetBounds(item, *self._to_edges):
            return None
        left, bottom, right, top = self._edges
        return left.value, bottom.value, right.value, top.value

    def _strokes(self, path: pdfium.FPDF_PAGEOBJECT) -> Iterator[list[_Point]]:
        """The points of each subpath without curves, closed ones back to where they began."""
        matrix = self._matrix(path)
        points: list[_Point] = []
        curved = False
        count = pdfium.FPDFPath_CountSegments(path)
        self._segments -= count
        for index in range(count):
            segment = pdfium.FPDFPath_GetPathSegment(path, index)
            kind = pdfium.FPDFPathSegment_GetType(segment)
            if kind == pdfium.FPDF_SEGMENT_MOVETO:
                if len(points) > 1 and not curved:
                    yield points
                points, curved = [], False
            curved = curved or kind == pdfium.FPDF_SEGMENT_BEZIERTO
            pdfium.FPDFPathSegment_GetPoint(segment, self._x, self._y)
            points.append(_point(self._x.value, self._y.value, matrix))
            if pdfium.FPDFPathSegment_GetClose(segment):
                points.append(points[0])
        if len(points) > 1 and not curved:
            yield points

    def _matrix(self, item: pdfium.FPDF_PAGEOBJECT) -> _Matrix:
        matrix = pdfium.FS_MATRIX()
        if not pdfium.FPDFPageObj_GetMatrix(item, matrix):
            return _IDENTITY
        return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _is_thin(box: Box) -> bool:
    width, height = box[2] - box[0], box[3] - box[1]
    return min(width, height) < _THICKEST and max(width, height) >= _SHORTEST


def _is_shade(points: list[_Point], box: Box) -> bool:
    """Whether the points are the corners of a box that is high enough for a line of print."""
    is_high = min(box[2] - box[0], box[3] - box[1]) >= _LOWEST_SHADE
    return is_high and len(points) >= 4 and all(_is_straight(*side) for side in pairwise(points))


def _is_straight(start: _Point, end: _Point) -> bool:
    return min(abs(start.x - end.x), abs(start.y - end.y)) < _STRAIGHT


def _box_of(points: list[_Point] | tuple[_Point, ...]) -> Box:
    xs, ys = [point.x for point in points], [point.y for point in points]
    return min(xs), min(ys), max(xs), max(ys)


def _point(x: float, y: float, matrix: _Matrix) -> _Point:
    a, b, c, d, e, f = matrix
    return _Point(a * x + c * y + e, b * x + d * y + f)


def _transformed(box: Box, matrix: _Matrix) -> Box:
    left, bottom, right, top = box
    return _box_of((_point(left, bottom, matrix), _point(right, top, matrix)))


def _times(first: _Matrix, then: _Matrix) -> _Matrix:
    """The matrix that does what ``first`` does and then what ``then`` does."""
    a, b, c, d, e, f = first
    ta, tb, tc, td, te, tf = then
    return (
        a * ta + b * tc,
        a * tb + b * td,
        c * ta + d * tc,
        c * tb + d * td,
        e * ta + f * tc + te,
        e * tb + f * td + tf,
    )

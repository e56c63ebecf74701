"""Grids of ruled lines: which cell of which table a point of a page stands in.

Rules of a table touch each other. A cell reaches as far as no rule bounds it, so that merged cells are one. Where all
rules are level, the columns show in a rule that is drawn piece by piece, one for each column. Where cells are shaded
side by side, row after row, the edges of the shades count as rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_APART = 3.0  # points: rules that are nearer touch, or are one
_NARROWEST = 6.0  # points: what is narrower is the space of a double rule
_THICKEST = 6.0  # points: what is thicker is a shade
_MOST_RULES = 300  # of a direction; a drawing has more


@dataclass(slots=True)
class Rule:
    """A ruled line; where it stands across its direction, and from where to where it runs. In points.

    ``joints`` are where the pieces meet that it is drawn of.
    """

    at: float
    start: float
    end: float
    joints: tuple[float, ...] = ()

    def covers(self, position: float) -> bool:
        return self.start - _APART <= position <= self.end + _APART


class Grid:
    """A ruled table.

    Args:
        level: its rules from left to right.
        upright: those from top to bottom.
    """

    def __init__(self, level: Sequence[Rule], upright: Sequence[Rule]) -> None:
        lefts, rights = min(rule.start for rule in level), max(rule.end for rule in level)
        lows, tops = min(rule.start for rule in upright), max(rule.end for rule in upright)
        self._xs = _positions([*(rule.at for rule in upright), lefts, rights])
        self._ys = _positions([*(rule.at for rule in level), lows, tops])
        self.columns = len(self._xs) - 1
        self.rows = len(self._ys) - 1
        self._cells = self._merged(level, upright)

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column, from 0 at the top and at the left, of the cell at a point; of a merged one, its first."""
        column, row = bisect_right(self._xs, x) - 1, self.rows - bisect_right(self._ys, y)
        if 0 <= column < self.columns and 0 <= row < self.rows:
            return self._cells[row][column]
        return None

    def cells(self) -> set[tuple[int, int]]:
        return {cell for row in self._cells for cell in row}

    def _merged(self, level: Sequence[Rule], upright: Sequence[Rule]) -> list[list[tuple[int, int]]]:
        cells: list[list[tuple[int, int]]] = []
        for row in range(self.rows):
            bottom, top = self._ys[self.rows - row - 1], self._ys[self.rows - row]
            cells.append([])
            for column in range(self.columns):
                left, right = self._xs[column], self._xs[column + 1]
                if column and not _bounded(upright, left, (bottom + top) / 2):
                    cells[row].append(cells[row][-1])
                elif row and not _bounded(level, top, (left + right) / 2):
                    cells[row].append(cells[row - 1][column])
                else:
                    cells[row].append((row, column))
        return cells


Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points."""


def grids(boxes: Iterable[Box]) -> list[Grid]:
    """The tables among rules, which are thin boxes, and shades; of two columns at least, none in a mere drawing."""
    level, upright, shades = [], [], []
    for box in boxes:
        left, bottom, right, top = box
        if min(right - left, top - bottom) > _THICKEST:
            shades.append(box)
        elif right - left > top - bottom:
            level.append(Rule((bottom + top) / 2, left, right))
        else:
            upright.append(Rule((left + right) / 2, bottom, top))
    shaded = _shaded_rows(shades)
    level, upright = _joined([*level, *_edges(shaded)]), _joined(upright)
    if max(len(level), len(upright)) > _MOST_RULES:
        return []
    groups = _touching(level, upright)
    for group in groups:
        group[1].extend(_sides(shaded, group[0]))
    lone = [rule for rule in level if not any(rule in group for group, _ in groups)]
    found = [Grid(*group) for group in [*groups, *_stacked(lone)]]
    return [grid for grid in found if grid.columns > 1 and len(grid.cells()) > 1]


def _shaded_rows(shades: Sequence[Box]) -> list[list[Box]]:
    """Shades side by side that touch, where two rows at least have them from and to the same positions.

    One alone may be a mark in running text.
    """
    rows: list[list[Box]] = []
    for shade in sorted(set(shades), key=lambda box: (round(box[1]), round(box[3]), box[0])):
        if rows and _goes_on(rows[-1][-1], shade):
            rows[-1].append(shade)
        elif not (rows and _holds(rows[-1][-1], shade)):  # what lies behind the text of a cell is shaded once more
            rows.append([shade])
    rows = [row for row in rows if len(row) > 1 and not any(_reaches_past(shade, row) for shade in shades)]
    return [row for row in rows if any(row is not other and _alike(row, other) for other in rows)]


def _reaches_past(shade: Box, row: Sequence[Box]) -> bool:
    """Whether a shade beside the row belongs to others, too: the edges of the row then are not those of the table."""
    left, bottom, right, top = shade
    beside = min(abs(right - row[0][0]), abs(left - row[-1][2])) < _APART
    within = bottom < row[0][1] + _APART and top > row[0][3] - _APART
    return beside and within and top - bottom > row[0][3] - row[0][1] + _APART


def _holds(shade: Box, inner: Box) -> bool:
    """Whether the other shade lies within the first."""
    return all(
        near > far - _APART / 2 for near, far in zip((*inner[:2], *shade[2:]), (*shade[:2], *inner[2:]), strict=True)
    )


def _goes_on(shade: Box, following: Box) -> bool:
    """Whether the other shade stands beside the first, as high as it."""
    apart = abs(shade[1] - following[1]), abs(shade[3] - following[3]), abs(shade[2] - following[0])
    return max(apart) < _APART / 2


def _alike(row: Sequence[Box], other: Sequence[Box]) -> bool:
    return len(row) == len(other) and all(
        abs(one[0] - two[0]) < _APART and abs(one[2] - two[2]) < _APART for one, two in zip(row, other, strict=True)
    )


def _edges(shaded: Sequence[Sequence[Box]]) -> Iterator[Rule]:
    """The upper and lower edges of shades, a piece for each."""
    for row in shaded:
        for left, bottom, right, top in row:
            yield Rule(bottom, left, right)
            yield Rule(top, left, right)


def _sides(shaded: Sequence[Sequence[Box]], level: Sequence[Rule]) -> Iterator[Rule]:
    """Where the shades of rows meet that lie at a table's level rules."""
    for row in shaded:
        _, bottom, _, top = row[0]
        for before, after in pairwise(row):
            at = (before[2] + after[0]) / 2
            if any(abs(rule.at - bottom) < _APART and rule.covers(at) for rule in level):
                yield Rule(at, bottom, top)


def _bounded(rules: Sequence[Rule], at: float, position: float) -> bool:
    return any(abs(rule.at - at) < _NARROWEST and rule.covers(position) for rule in rules)


def _positions(values: Iterable[float]) -> list[float]:
    """The values in order, the mean of those that stand closer than a cell is wide."""
    clusters: list[list[float]] = []
    for value in sorted(values):
        if clusters and value - clusters[-1][0] < _NARROWEST:
            clusters[-1].append(value)
        else:
            clusters.append([value])
    return [sum(cluster) / len(cluster) for cluster in clusters]


def _joined(rules: Iterable[Rule]) -> list[Rule]:
    """Pieces that lie on one line and meet, as one rule."""
    joined: list[Rule] = []
    for line in _on_one_line(rules):
        current: Rule | None = None
        for piece in sorted(line, key=lambda rule: (rule.start, -rule.end)):
            if current is None or piece.start > current.end + _APART:
                current = piece
                joined.append(current)
            elif piece.end > current.end:
                if piece.start > current.start + _NARROWEST and abs(piece.start - current.end) < _APART:
                    current.joints += ((piece.start + current.end) / 2,)
                current.end = piece.end
    return joined


def _on_one_line(rules: Iterable[Rule]) -> list[list[Rule]]:
    lines: list[list[Rule]] = []
    for rule in sorted(rules, key=lambda rule: rule.at):
        if lines and rule.at - lines[-1][-1].at < _APART / 2:
            lines[-1].append(rule)
        else:
            lines.append([rule])
    return lines


def _touching(level: Sequence[Rule], upright: Sequence[Rule]) -> list[tuple[list[Rule], list[Rule]]]:
    """The rules of each table: those that touch, or touch what touches."""
    groups: list[tuple[list[Rule], list[Rule]]] = []
    for rule in upright:
        crossing = [each for each in level if each.covers(rule.at) and rule.covers(each.at)]
        if not crossing:
            continue
        own: tuple[list[Rule], list[Rule]] = (crossing, [rule])
        apart = []
        for group in groups:
            if any(each in crossing for each in group[0]):
                own = ([*own[0], *(each for each in group[0] if each not in own[0])], [*own[1], *group[1]])
            else:
                apart.append(group)
        groups = [*apart, own]
    return groups


def _stacked(level: Sequence[Rule]) -> list[tuple[list[Rule], list[Rule]]]:
    """Level rules of one width below each other, with the columns that the joints of one of them show."""
    stacks: list[list[Rule]] = []
    for rule in level:
        like = next((stack for stack in stacks if _same_reach(stack[0], rule)), None)
        if like is None:
            stacks.append([rule])
        else:
            like.append(rule)
    found = []
    for stack in stacks:
        joints = max((rule.joints for rule in stack), key=len)
        if len(stack) > 1 and joints:
            low, top = min(rule.at for rule in stack), max(rule.at for rule in stack)
            found.append((stack, [Rule(at, low, top) for at in [stack[0].start, *joints, stack[0].end]]))
    return found


def _same_reach(rule: Rule, other: Rule) -> bool:
    return abs(rule.start - other.start) < _APART and abs(rule.end - other.end) < _APART

"""Grids of ruled lines: which cell of which table a point of a page stands in.

Rules of a table touch each other. A cell reaches as far as no rule bounds it, so that merged cells are one. Where all
rules are level, the columns show in a rule that is drawn piece by piece, one for each column.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_APART = 3.0  # points: rules that are nearer touch, or are one
_NARROWEST = 6.0  # points: what is narrower is the space of a double rule
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


def grids(boxes: Iterable[tuple[float, float, float, float]]) -> list[Grid]:
    """The ruled tables among thin boxes (left, bottom, right, top), of two columns at least; none in a mere drawing."""
    level, upright = [], []
    for left, bottom, right, top in boxes:
        if right - left > top - bottom:
            level.append(Rule((bottom + top) / 2, left, right))
        else:
            upright.append(Rule((left + right) / 2, bottom, top))
    level, upright = _joined(level), _joined(upright)
    if max(len(level), len(upright)) > _MOST_RULES:
        return []
    groups = _touching(level, upright)
    lone = [rule for rule in level if not any(rule in group for group, _ in groups)]
    found = [Grid(*group) for group in [*groups, *_stacked(lone)]]
    return [grid for grid in found if grid.columns > 1 and len(grid.cells()) > 1]


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

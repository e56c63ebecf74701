"""Plots as inline SVG that needs no script, no font and no request.

Horizontal places are percentages, so a plot takes the width of its page while its strokes and dots keep their size;
colours are CSS classes, so that light, dark and print follow the page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

TRACK_HEIGHT = 36
CURVE_HEIGHT = 220
FEW_POINTS = 40


@dataclass(frozen=True)
class Dot:
    """A figure on a track; ``low`` and ``high`` are None where it has no interval. ``style`` is its CSS class."""

    value: float
    low: float | None
    high: float | None
    style: str


@dataclass(frozen=True)
class Axis:
    """A horizontal axis from ``low`` to ``high`` with labelled ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    signed: bool = False

    def percent(self, value: float) -> float:
        """The place of a value, held inside the plot with room for half a dot on both sides."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return 2 + 96 * share


SCORES = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1))
DIFFERENCES = Axis(-1, 1, (-1, -0.5, 0, 0.5, 1), signed=True)


def track(dots: Sequence[Dot], axis: Axis, label: str) -> Markup:
    """One row of an interval dot plot; ``label`` is read out instead of the drawing."""
    lanes = len(dots)
    parts = [f'<svg class="track" width="100%" height="{TRACK_HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in axis.ticks:
        style = "zero" if tick == 0 and axis.low < 0 else "grid"
        place = f"{axis.percent(tick):.2f}%"
        parts.append(f'<line class="{style}" x1="{place}" x2="{place}" y1="0" y2="{TRACK_HEIGHT}"/>')
    for lane, dot in enumerate(dots, start=1):
        parts.append(_dot(dot, axis, TRACK_HEIGHT * lane / (lanes + 1)))
    parts.append("</svg>")
    return Markup("".join(parts))  # every text in it is escaped above


def _dot(dot: Dot, axis: Axis, y: float) -> str:
    interval = ""
    if dot.low is not None and dot.high is not None:
        low, high = f"{axis.percent(dot.low):.2f}%", f"{axis.percent(dot.high):.2f}%"
        ends = "".join(f'<line x1="{x}" x2="{x}" y1="{y - 4:.1f}" y2="{y + 4:.1f}"/>' for x in (low, high))
        interval = f'<line x1="{low}" x2="{high}" y1="{y:.1f}" y2="{y:.1f}"/>{ends}'
    circle = f'<circle cx="{axis.percent(dot.value):.2f}%" cy="{y:.1f}" r="5"/>'
    return f'<g class="{dot.style}">{interval}{circle}</g>'


def axis_labels(axis: Axis) -> Markup:
    """The labels under the tracks."""
    labels = []
    for tick in axis.ticks:
        text = f"{tick:+g}" if axis.signed and tick else f"{tick:g}"
        labels.append(f'<text x="{axis.percent(tick):.2f}%" y="12" text-anchor="middle">{text}</text>')
    return Markup(f'<svg class="axis" width="100%" height="16" aria-hidden="true">{"".join(labels)}</svg>')


@dataclass(frozen=True)
class Series:
    """A line of the training curve as (step, value)."""

    name: str
    style: str
    points: Sequence[tuple[int, float]]


def curve(series: Sequence[Series], label: str) -> Markup:
    """Lines over steps from zero up, with values at the left and the first and last step below."""
    points = [point for each in series for point in each.points]
    steps, values = [step for step, _ in points], [value for _, value in points]
    first, last, top = min(steps), max(steps), max(values) * 1.05 or 1.0

    def x(step: int) -> float:
        return 1 + 98 * (step - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return CURVE_HEIGHT - 6 - (CURVE_HEIGHT - 12) * value / top

    parts = [f'<svg class="curve" width="100%" height="{CURVE_HEIGHT + 22}" role="img" aria-label="{escape(label)}">']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = f"{y(top * share):.1f}"
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="0" y="{y(top * share) - 4:.1f}">{top * share:.2f}</text>' if share else "")
    for each in series:
        parts.append(_line(each, x, y))
    parts.append(f'<text x="1%" y="{CURVE_HEIGHT + 16}">step {first}</text>')
    parts.append(f'<text x="99%" y="{CURVE_HEIGHT + 16}" text-anchor="end">step {last}</text></svg>')
    return Markup("".join(parts))  # every text in it is escaped above


def _line(series: Series, x: Callable[[int], float], y: Callable[[float], float]) -> str:
    """Segments, because a polyline takes no percentages; dots where the points are few enough to be told apart."""
    places = [(f"{x(step):.2f}%", f"{y(value):.1f}") for step, value in sorted(series.points)]
    segments = "".join(
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>' for (x1, y1), (x2, y2) in itertools.pairwise(places)
    )
    dots = "".join(f'<circle cx="{cx}" cy="{cy}" r="3.5"/>' for cx, cy in places) if len(places) <= FEW_POINTS else ""
    return f'<g class="{series.style}">{segments}{dots}</g>'


# --- figures on two axes ---------------------------------------------------------------------------------------------

CHART_HEIGHT = 240
FEW_TICKS = 5
WIDE = 10
"""How many times the smallest value the largest must be for a scale to be logarithmic."""
END_LABEL = 9
"""Pixels between a point and the name beside it."""


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high`` with its title, which names the unit."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Sequence[float], title: str, may_be_logarithmic: bool = False) -> Scale:
        """The scale that holds all values, and ends on ticks; at least one value is given."""
        low, high = min(values), max(values)
        if may_be_logarithmic and low > 0 and high / low >= WIDE:
            ticks = _decades(low, high)
            return cls(f"{title}, logarithmic", ticks[0], ticks[-1], ticks, logarithmic=True)
        ticks = _even(low, high)
        return cls(title, ticks[0], ticks[-1], ticks)

    def share(self, value: float) -> float:
        """The place of a value between the ends, 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def text(self, tick: float) -> str:
        """With the decimals that tell the ticks apart."""
        if self.logarithmic:
            return f"{tick:g}"
        decimals = max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        # A step of 0.025 has a decimal more than its size says.
        if round(self.ticks[1] - self.ticks[0], decimals) != round(self.ticks[1] - self.ticks[0], decimals + 1):
            decimals += 1
        return f"{tick:.{decimals}f}"


def _even(low: float, high: float) -> tuple[float, ...]:
    """Ticks at 1, 2, 2.5 or 5 of a power of ten, the outermost not inside the values; two at least."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / FEW_TICKS))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if span / (size * power) <= FEW_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(nth * step, 12) for nth in range(first, max(last, first + 1) + 1))


def _decades(low: float, high: float) -> tuple[float, ...]:
    """Ticks at 1, 2 and 5 of every power of ten, the outermost not inside the values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [size * 10.0**power for power in powers for size in (1, 2, 5)]
    return (
        max(each for each in every if each <= low),
        *(each for each in every if low < each < high),
        _above(every, high),
    )


def _above(every: Sequence[float], high: float) -> float:
    return min(each for each in every if each >= high)


@dataclass(frozen=True)
class Path:
    """A line through points; ``name`` stands at its end, and nowhere where it is empty."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Spot:
    """A point with its name beside it."""

    name: str
    style: str
    x: float
    y: float


@dataclass(frozen=True)
class Chart:
    """Lines and spots on two axes. Titles and tick labels stand outside of its own width, where its page leaves room.

    ``label`` is read out instead of the drawing.
    """

    x: Scale
    y: Scale
    paths: Sequence[Path]
    spots: Sequence[Spot]
    label: str

    def inline(self) -> Markup:
        """As wide as its place in a page."""
        opening = (
            f'<svg class="chart" width="100%" height="{CHART_HEIGHT}" role="img" aria-label="{escape(self.label)}">'
        )
        return Markup(f"{opening}{self._drawing()}</svg>")  # every text in it is escaped

    def placed(self, x: float, y: float, width: float) -> str:
        """Inside of another drawing."""
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{CHART_HEIGHT}"'
        return f'<svg class="chart" {place} overflow="visible">{self._drawing()}</svg>'

    def _drawing(self) -> str:
        parts = [*self._frame(), *(self._path(each) for each in self.paths), *self._end_labels()]
        return "".join([*parts, *(self._spot(each) for each in self.spots)])

    def _frame(self) -> Iterator[str]:
        for tick in self.y.ticks:
            y = self._down(tick)
            yield f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="-8" y="{y + 4:.1f}" text-anchor="end">{self.y.text(tick)}</text>'
        for tick in self.x.ticks:
            x = self._across(tick)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{CHART_HEIGHT}" y2="{CHART_HEIGHT + 5}"/>'
            yield f'<text class="tick" x="{x}" y="{CHART_HEIGHT + 18}" text-anchor="middle">{self.x.text(tick)}</text>'
        yield f'<text class="title" x="-8" y="-14">{escape(self.y.title)}</text>'
        yield f'<text class="title" x="100%" y="{CHART_HEIGHT + 36}" text-anchor="end">{escape(self.x.title)}</text>'

    def _path(self, path: Path) -> str:
        """Segments, because a polyline takes no percentages."""
        places = [(self._across(x), f"{self._down(y):.1f}") for x, y in path.points]
        segments = "".join(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>' for (x1, y1), (x2, y2) in itertools.pairwise(places)
        )
        few = path.name and len(places) <= FEW_POINTS
        dots = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in places) if few else ""
        return f'<g class="{path.style}">{segments}{dots}</g>'

    def _end_labels(self) -> Iterator[str]:
        """The names of lines that end near each other stand apart."""
        named = [each for each in self.paths if each.name]
        ends: dict[float, list[Path]] = {}
        for each in named:
            ends.setdefault(each.points[-1][0], []).append(each)
        for x, paths in ends.items():
            places = _apart([self._down(each.points[-1][1]) + 4 for each in paths], CHART_HEIGHT)
            for path, place in zip(paths, places, strict=True):
                text = f'<text x="{self._across(x)}" dx="{END_LABEL}" y="{place:.1f}">{escape(path.name)}</text>'
                yield f'<g class="{path.style}">{text}</g>'

    def _spot(self, spot: Spot) -> str:
        x, y = self._across(spot.x), self._down(spot.y)
        text = f'<text x="{x}" dx="{END_LABEL}" y="{y + 4:.1f}">{escape(spot.name)}</text>'
        return f'<g class="{spot.style}"><circle cx="{x}" cy="{y:.1f}" r="5"/>{text}</g>'

    def _across(self, value: float) -> str:
        return f"{100 * self.x.share(value):.2f}%"

    def _down(self, value: float) -> float:
        return CHART_HEIGHT * (1 - self.y.share(value))


@dataclass(frozen=True)
class Sheet:
    """Charts under their headings as a file of its own; those of one row stand side by side."""

    title: str
    rows: Sequence[Sequence[tuple[str, Chart]]]
    style: str

    WIDTH = 920
    LEFT, RIGHT, HEAD, ROW = 62, 38, 64, CHART_HEIGHT + 130

    def svg(self) -> str:
        height = self.HEAD + self.ROW * len(self.rows)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.WIDTH}" height="{height}" '
            f'viewBox="0 0 {self.WIDTH} {height}"><style>{self.style}</style>',
            '<rect class="sheet" width="100%" height="100%"/>',
            f'<text class="sheet-title" x="{self.LEFT - 8}" y="36">{escape(self.title)}</text>',
        ]
        for nth, row in enumerate(self.rows):
            parts += self._row(row, self.HEAD + self.ROW * nth)
        return "".join([*parts, "</svg>\n"])

    def _row(self, row: Sequence[tuple[str, Chart]], top: float) -> Iterator[str]:
        column = self.WIDTH / len(row)
        for nth, (heading, chart) in enumerate(row):
            left = column * nth + self.LEFT
            yield f'<text class="heading" x="{left - 8:g}" y="{top + 14}">{escape(heading)}</text>'
            yield chart.placed(left, top + 54, column - self.LEFT - self.RIGHT)


# --- figures by column -----------------------------------------------------------------------------------------------

COLUMNS_HEIGHT = 250
COLUMNS_TOP, COLUMNS_LEFT, LEVEL_NAMES = 16, 7, 30
"""Room above the value 1 in pixels, for the scale at the left and for the names of levels at the right in percent."""
LANE = 28
"""Pixels between the dots of one column."""
LINE = 13
"""Pixels between the base lines of two texts."""


@dataclass(frozen=True)
class Column:
    """Figures that stand side by side over one label; ``note`` is the smaller line under it."""

    label: str
    note: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Level:
    """A figure that belongs to no column: a line across them all, with its name at the right end."""

    name: str
    value: float
    style: str


def columns(shown: Sequence[Column], levels: Sequence[Level], label: str, digits: int = 2) -> Markup:
    """Scores from 0 to 1 upwards in labelled columns, each with its interval; ``label`` is read out instead."""
    bottom = COLUMNS_TOP + COLUMNS_HEIGHT
    right = 100 - LEVEL_NAMES if levels else 100
    parts = [f'<svg class="columns" width="100%" height="{bottom + 36}" role="img" aria-label="{escape(label)}">']
    for tick in SCORES.ticks:
        height = f"{_height(tick):.1f}"
        parts.append(f'<line class="grid" x1="{COLUMNS_LEFT}%" x2="{right}%" y1="{height}" y2="{height}"/>')
        parts.append(f'<text class="tick" x="{COLUMNS_LEFT - 1.5}%" y="{_height(tick) + 4:.1f}">{tick:g}</text>')
    places = _apart([_height(each.value) + 4 for each in levels], bottom)
    for level, place in zip(levels, places, strict=True):
        parts.append(_level(level, place, right))
    for nth, column in enumerate(shown):
        middle = COLUMNS_LEFT + (right - COLUMNS_LEFT) * (nth + 0.5) / len(shown)
        parts.append(_column(column, f"{middle:.2f}%", bottom, digits))
    parts.append("</svg>")
    return Markup("".join(parts))  # every text in it is escaped above


def _height(value: float) -> float:
    return COLUMNS_TOP + COLUMNS_HEIGHT * (1 - min(max(value, 0.0), 1.0))


def _column(column: Column, x: str, bottom: int, digits: int) -> str:
    parts = [
        f'<text x="{x}" y="{bottom + 18}">{escape(column.label)}</text>',
        f'<text class="note" x="{x}" y="{bottom + 32}">{escape(column.note)}</text>',
    ]
    for lane, dot in enumerate(column.dots):
        aside = LANE * (lane - (len(column.dots) - 1) / 2)
        parts.append(f'<g class="{dot.style}" transform="translate({aside:g} 0)">{_upright(dot, x, digits)}</g>')
    return "".join(parts)


def _upright(dot: Dot, x: str, digits: int) -> str:
    top = _height(dot.value) - 5
    interval = ""
    if dot.low is not None and dot.high is not None:
        low, top = _height(dot.low), min(_height(dot.high), top)
        interval = f'<line x1="{x}" x2="{x}" y1="{low:.1f}" y2="{_height(dot.high):.1f}"/>'
    name = f'<text class="value" x="{x}" y="{top - 5:.1f}">{_score(dot.value, digits)}</text>'
    return f'{interval}<circle cx="{x}" cy="{_height(dot.value):.1f}" r="5"/>{name}'


def _level(level: Level, place: float, right: float) -> str:
    y = f"{_height(level.value):.1f}"
    return (
        f'<g class="{level.style}"><line x1="{COLUMNS_LEFT}%" x2="{right}%" y1="{y}" y2="{y}"/>'
        f'<text class="level" x="{right + 1}%" y="{place:.1f}">{escape(level.name)} {_score(level.value)}</text></g>'
    )


def _apart(places: Sequence[float], bottom: float) -> list[float]:
    """The places, moved so that no two are nearer than a line of text and none is below the scale."""
    order = sorted(range(len(places)), key=lambda nth: places[nth])
    moved = dict(zip(order, (places[nth] for nth in order), strict=True))
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + LINE)
    lowest = bottom + LINE
    for nth in reversed(order):
        moved[nth] = min(moved[nth], lowest - LINE)
        lowest = moved[nth]
    return [moved[nth] for nth in range(len(places))]


def _score(value: float, digits: int = 2) -> str:
    """``.61``, as tables of F1 are wont to."""
    return f"{value:.{digits}f}".removeprefix("0")

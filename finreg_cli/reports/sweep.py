"""A sweep as a section of a report and as a page of its own: its members, their curves, and what its shortcuts miss."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from finreg_cli.domain.metrics import TASK_METRICS, TASK_TITLES, chance_of_perfect_order, rank_correlation
from finreg_cli.domain.records import FinetuneRun
from finreg_cli.reports import plots
from finreg_cli.reports.base import SweepMember, SweepReport
from finreg_cli.reports.pages import template

COLOURS = 8
"""Of the lines; further members take them again, dashed."""

SMOOTHED_TO = 40
"""Points of a training curve, of which each is the mean of its neighbours: single batches are noise."""

SHORTCUTS = {"eval_loss": -1, "token_accuracy": 1}
"""What needs no answers to measure, with its sign: lower loss and higher accuracy are better."""

SHORTCUT_NAMES = {"eval_loss": "evaluation loss", "token_accuracy": "token accuracy"}

AXES = {"eval_loss": "evaluation loss (nats per token)", "token_accuracy": "token accuracy (share of tokens)"}


def render(report: SweepReport) -> str:
    """The page of one sweep."""
    return template("sweep.html").render(report=report, sweep=Section(report.members))


def plot(report: SweepReport) -> str:
    """The curves and scatter plots of one sweep as an SVG file."""
    rows = [
        [(f"{panel.title}{heading}", chart) for heading, chart in row]
        for panel in Section(report.members).panels
        for row in ([("Loss by optimiser step", panel.curves)] if panel.curves else [], panel.scatters)
        if row
    ]
    return plots.Sheet(f"finreg sweep {report.sweep_id}", rows, template("sweep_sheet.html").render()).svg()


# --- what the section shows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A member with the letter and the style that stand for it."""

    letter: str
    style: str
    run: FinetuneRun
    curve: Sequence[tuple[int, str, float]]
    failure: str | None

    def value(self, metric: str) -> float | None:
        """A metric that is a number; perplexity from the loss, where an earlier version trained it."""
        value = self.run.metrics.get(metric)
        if metric == "perplexity" and value is None and (loss := self.value("eval_loss")) is not None:
            value = math.exp(min(loss, 700))
        return value if value is not None and math.isfinite(value) else None

    @property
    def duration(self) -> str:
        """As it was asked for; in epochs, where an earlier version trained it."""
        metrics = self.run.metrics
        asked = (
            f"{metrics[f'duration_{unit}']:.0f}{unit}" for unit in ("ep", "ba", "tok") if f"duration_{unit}" in metrics
        )
        return next(asked, f"{self.run.epochs:g}ep")

    @property
    def epochs(self) -> float | None:
        """What it really trained, where that is not what was asked for: after early stopping, or by batches."""
        asked = _duration(self.run)
        as_asked = asked is None or asked == (self.run.epochs, "ep")
        return None if as_asked or self.run.state != "finished" else self.run.epochs

    @property
    def name(self) -> str:
        rank = self.run.metrics.get("lora_rank")
        return f"learning rate {self.run.learning_rate:g}, {self.duration}" + (f", rank {rank:.0f}" if rank else "")


@dataclass(frozen=True)
class Correlation:
    """How well a shortcut ranks the members of a sweep: Spearman's rho with a task metric; 1 is the same order.

    None where fewer than three values differ. ``n`` counts the members with all of the figures.
    """

    members: str
    n: int
    rho: Mapping[tuple[str, str], float | None]


@dataclass(frozen=True)
class Panel:
    """The members of one round; ``title`` is empty where there are no rounds."""

    title: str
    lines: Sequence[Line]
    headline: str

    @cached_property
    def curves(self) -> plots.Chart | None:
        """Evaluation loss of every member over the optimiser steps, and the training loss behind it."""
        evaluated = [_path(each, "eval_loss", each.letter, "path") for each in self.lines]
        trained = [_path(each, "train_loss", "", "path faint") for each in self.lines]
        paths = [each for each in (*trained, *evaluated) if each.points]
        if not paths:
            return None
        xs, ys = zip(*(point for each in paths for point in each.points), strict=True)
        said = (f"{each.name} ends at {each.points[-1][1]:.3f}" for each in evaluated if each.points)
        return plots.Chart(
            plots.Scale.over(xs, "optimiser steps"),
            plots.Scale.over(ys, "cross-entropy (nats per token)", may_be_logarithmic=True),
            paths,
            (),
            f"Loss by optimiser step; evaluation loss of {', '.join(said)}",
        )

    @cached_property
    def scatters(self) -> list[tuple[str, plots.Chart]]:
        """The task metric over each shortcut, with a heading; none where fewer than two members have both."""
        found = []
        for shortcut, title in AXES.items():
            pairs = [(line, *pair) for line in self.lines if (pair := _pair(line, shortcut, self.headline))]
            if len(pairs) > 1:
                metric = TASK_TITLES[self.headline]
                said = ", ".join(f"{line.letter} {x:.3f} and {y:.3f}" for line, x, y in pairs)
                chart = plots.Chart(
                    plots.Scale.over([x for _, x, _ in pairs], title),
                    plots.Scale.over([y for _, _, y in pairs], f"{metric} on ft_eval"),
                    (),
                    [
                        plots.Spot(line.letter, f"spot {line.style}{' chosen' if line.run.selected else ''}", x, y)
                        for line, x, y in pairs
                    ],
                    f"{metric} over {SHORTCUT_NAMES[shortcut]}: {said}",
                )
                found.append((f"{metric} over {SHORTCUT_NAMES[shortcut]}", chart))
        return found


class Section:
    """The parts of the section, each made when the template asks for it."""

    def __init__(self, members: Sequence[SweepMember]) -> None:
        self._members = sorted(members, key=_order)
        self.task = members[0].run.task if members else next(iter(TASK_METRICS))
        self.headline = TASK_METRICS[self.task]

    @property
    def is_a_sweep(self) -> bool:
        """Whether there is anything to compare: two members of one round, or rounds."""
        return len(self._members) > 1

    @cached_property
    def has_rounds(self) -> bool:
        return self.task == "structured_extraction"

    @cached_property
    def panels(self) -> list[Panel]:
        rounds = dict.fromkeys(each.run.round for each in self._members)
        return [
            Panel(f"Round {number}: " if self.has_rounds else "", self._lines(number), self.headline)
            for number in rounds
        ]

    def _lines(self, round_: int) -> list[Line]:
        here = [each for each in self._members if each.run.round == round_]
        return [Line(_letter(nth), _style(nth), each.run, each.curve, each.failure) for nth, each in enumerate(here)]

    @cached_property
    def lines(self) -> list[Line]:
        return [line for panel in self.panels for line in panel.lines]

    @cached_property
    def task_metrics(self) -> dict[str, str]:
        """The measured ones by name, with their titles; the one to select by first."""
        return {
            name: title
            for name, title in TASK_TITLES.items()
            if any(each.value(name) is not None for each in self.lines)
        }

    @property
    def measured_on(self) -> str:
        """What the task metric was measured on, and how many: ``12 rows``."""
        for things in ("documents", "rows"):
            counts = {each.run.metrics.get(f"task_{things}") for each in self.lines} - {None}
            if counts:
                return f"{max(filter(None, counts)):.0f} {things}"
        return ""

    @property
    def without_interval(self) -> bool:
        """Whether answers to questions were measured, and on too few articles for an interval."""
        known = {name for each in self.lines for name in each.run.metrics}
        return "task_rows" in known and f"{self.headline}_ci_low" not in known

    @property
    def has_ranks(self) -> bool:
        return any("lora_rank" in each.run.metrics for each in self.lines)

    @property
    def failed(self) -> int:
        return sum(each.run.state == "failed" for each in self.lines)

    @property
    def headline_sentence(self) -> str:
        """The selected member, of every round."""
        selected = [f"{panel.title}{line.name}" for panel in self.panels for line in panel.lines if line.run.selected]
        return f"Selected: {'; '.join(selected)}" if selected else "No member was selected"

    # --- whether the shortcuts work ---

    @cached_property
    def correlated(self) -> dict[str, str]:
        """The metrics of the task that the shortcuts are held against: those of text F1 and extraction F1."""
        return {name: title for name, title in self.task_metrics.items() if "_f1" in name}

    @cached_property
    def correlations(self) -> list[Correlation]:
        found = [
            self._correlation(panel.title.removesuffix(": ") or "all members", panel.lines) for panel in self.panels
        ]
        return [*found, self._correlation("all rounds", self.lines)] if len(self.panels) > 1 else found

    def _correlation(self, name: str, lines: Sequence[Line]) -> Correlation:
        rho: dict[tuple[str, str], float | None] = {}
        measured = 0
        for shortcut, sign in SHORTCUTS.items():
            for metric in self.correlated:
                pairs = [pair for each in lines if (pair := _pair(each, shortcut, metric))]
                measured = max(measured, len(pairs))
                rho[shortcut, metric] = rank_correlation([sign * x for x, _ in pairs], [y for _, y in pairs])
        return Correlation(name, measured, rho)

    @property
    def chance(self) -> str | None:
        """How likely a perfect order of a round's members is by chance; None where it is not worth a word."""
        most = max((each.n for each in self.correlations[: len(self.panels)]), default=0)
        return f"{100 * chance_of_perfect_order(most):.0f} % for {most}" if most in range(3, 6) else None

    @cached_property
    def shortcuts(self) -> list[str]:
        """One sentence per round on whether the shortcuts would have picked the member with the best task metric."""
        return [f"{panel.title}{self._picked(panel.lines)}" for panel in self.panels]

    def _picked(self, lines: Sequence[Line]) -> str:
        measured = [each for each in lines if each.value(self.headline) is not None]
        if len(measured) < 2:
            return "fewer than two members were measured, so there was nothing to pick from."
        best = max(measured, key=self._score)
        said = []
        for shortcut, sign in SHORTCUTS.items():
            known = [
                (sign * value, nth) for nth, each in enumerate(measured) if (value := each.value(shortcut)) is not None
            ]
            if known:
                pick = measured[max(known, key=lambda each: each[0])[1]]
                said.append(f"{SHORTCUT_NAMES[shortcut]} picks {self._compared_pick(pick, best)}")
        return f"{'; '.join(said)}." if said else "neither loss nor accuracy was measured."

    def _compared_pick(self, pick: Line, best: Line) -> str:
        metric = TASK_TITLES[self.headline]
        if self._score(pick) == self._score(best):
            return f"the member with the best {metric} on ft_eval ({self._score(best):.2f})"
        return (
            f"another ({pick.letter}: {pick.name}), with a {metric} of {self._score(pick):.2f} on ft_eval against the "
            f"best, {self._score(best):.2f}"
        )

    def _score(self, line: Line) -> float:
        value = line.value(self.headline)
        return -math.inf if value is None else value


# --- names, styles, points -------------------------------------------------------------------------------------------


def _order(member: SweepMember) -> tuple[int, float, float, float, str]:
    run = member.run
    amount, _ = _duration(run) or (run.epochs, "ep")
    return run.round, run.learning_rate, amount, run.metrics.get("lora_rank", 0.0), run.run_id


def _duration(run: FinetuneRun) -> tuple[float, str] | None:
    """(amount, unit) as it was asked for; None where an earlier version trained it."""
    units = ("ep", "ba", "tok")
    return next(((run.metrics[f"duration_{unit}"], unit) for unit in units if f"duration_{unit}" in run.metrics), None)


def _letter(nth: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    again, place = divmod(nth, len(string.ascii_uppercase))
    return string.ascii_uppercase[place] + (str(again + 1) if again else "")


def _style(nth: int) -> str:
    return f"k{nth % COLOURS}" + (" dashed" if nth >= COLOURS else "")


def _pair(line: Line, shortcut: str, metric: str) -> tuple[float, float] | None:
    x, y = line.value(shortcut), line.value(metric)
    return None if x is None or y is None else (x, y)


def _path(line: Line, metric: str, name: str, style: str) -> plots.Path:
    points = sorted((step, value) for step, logged, value in line.curve if logged == metric and math.isfinite(value))
    smoothed = points if name else list(_smoothed(points))
    return plots.Path(name, f"{style} {line.style}", smoothed)


def _smoothed(points: Sequence[tuple[int, float]]) -> Iterator[tuple[float, float]]:
    """Means of so many neighbours that `SMOOTHED_TO` points remain."""
    size = max(1, math.ceil(len(points) / SMOOTHED_TO))
    for first in range(0, len(points), size):
        some = points[first : first + size]
        yield _mean(step for step, _ in some), _mean(value for _, value in some)


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)

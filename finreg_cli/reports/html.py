"""The evaluation report: one HTML file without a request to anywhere, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from finreg_cli.domain import claims
from finreg_cli.domain.claims import Comparison
from finreg_cli.domain.records import Metric, Prediction
from finreg_cli.errors import WarehouseError
from finreg_cli.reports import extraction, plots, sweep
from finreg_cli.reports.base import AnsweredRow, ExtractionReport, Report, SweepFiles, SweepReport
from finreg_cli.reports.pages import template

EXAMPLES = 8
LATEST, LATEST_SWEEP = "latest.html", "latest-sweep.html"


class HtmlReports:
    """Writes reports into a folder, ``<run_id>.html``, and the newest again as ``latest.html``.

    Raises:
        WarehouseError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, report: Report) -> Path:
        """The path of the report; an earlier one of the same run is replaced."""
        return self._write(report.run_id, render(report))

    def write_extraction(self, report: ExtractionReport) -> Path:
        """As `write`, of an evaluation of structured extraction."""
        return self._write(report.run_id, extraction.render(report))

    def write_sweep(self, report: SweepReport) -> SweepFiles:
        """The page ``sweep-<sweep_id>.html``, again as ``latest-sweep.html``, and its plots as an SVG file."""
        name = f"sweep-{report.sweep_id}"
        plot = self._place(f"{name}.svg", sweep.plot(report))
        return SweepFiles(self._place(f"{name}.html", sweep.render(report), LATEST_SWEEP), plot)

    def _write(self, run_id: str, page: str) -> Path:
        return self._place(f"{run_id}.html", page, LATEST)

    def _place(self, name: str, text: str, *again: str) -> Path:
        path = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for target in (path, *(self._folder / each for each in again)):
                _replace(target, text)
        except OSError as error:
            raise WarehouseError(
                f"cannot write the report {path}: {error.strerror or error}", "check the folder's rights and its disk"
            ) from error
        return path


def _replace(target: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as unfinished:
        try:
            unfinished.write(text)
            unfinished.close()
            os.chmod(unfinished.name, 0o644)  # a temporary file is its owner's alone
            os.replace(unfinished.name, target)
        except BaseException:
            Path(unfinished.name).unlink(missing_ok=True)
            raise


def render(report: Report) -> str:
    """The page on questions and answers."""
    compared = claims.comparisons(report.metrics)
    return template("evaluation.html").render(
        report=report,
        headline=claims.headline(compared),
        models=[each for each in (claims.BASE, claims.TUNED) if any(metric.model == each for metric in report.metrics)],
        glance=_glance(compared),
        sections=list(_sections(compared)),
        methods=Counter(each.row.method for each in report.answered),
        units=len({(each.row.document_id, each.row.split_unit) for each in report.answered}),
        answers=sum(len(each.predictions) for each in report.answered),
        curve=_curve(report),
        sweep=sweep.Section(report.sweep),
        groups=[each for each in _examples(report) if each.rows],
        axis_scores=plots.axis_labels(plots.SCORES),
        axis_differences=plots.axis_labels(plots.DIFFERENCES),
        titles=claims.TITLES,
    )


# --- figures ---------------------------------------------------------------------------------------------------------


def _glance(compared: Sequence[Comparison]) -> dict[str, dict[str, Comparison]]:
    """The whole by metric's title and context mode."""
    found: dict[str, dict[str, Comparison]] = {}
    for each in compared:
        if each.slice == claims.WHOLE:
            found.setdefault(each.title, {})[each.context] = each
    return found


@dataclass(frozen=True)
class Line:
    """A row of a table of figures, with its plot."""

    name: str
    compared: Comparison
    plot: Markup


@dataclass(frozen=True)
class Section:
    """The figures of one context mode: the whole by metric, the headline metric by kind, and everything by kind."""

    context: str
    whole: Sequence[Line]
    kinds: Sequence[Line]
    details: Sequence[Comparison]

    @property
    def differences(self) -> bool:
        """Whether the kinds show the paired difference; otherwise one model's own figures."""
        return any(each.compared.difference for each in self.kinds)


def _sections(compared: Sequence[Comparison]) -> Iterator[Section]:
    for context in dict.fromkeys(each.context for each in compared):
        here = [each for each in compared if each.context == context]
        kinds = [each for each in here if each.slice != claims.WHOLE]
        yield Section(
            context,
            [Line(each.title, each, _both(each)) for each in here if each.slice == claims.WHOLE],
            [Line(each.slice, each, _change(each)) for each in kinds if each.metric == claims.HEADLINE],
            kinds,
        )


def _both(compared: Comparison) -> Markup:
    dots = [
        _dot(each, f"m-{each.model}") for each in (compared.base, compared.tuned) if each and each.value is not None
    ]
    return plots.track(dots, plots.SCORES, compared.sentence())


def _change(compared: Comparison) -> Markup:
    if compared.difference is None:
        return _both(compared)
    return plots.track([_dot(compared.difference, f"v-{compared.verdict}")], plots.DIFFERENCES, compared.sentence())


def _dot(metric: Metric, style: str) -> plots.Dot:
    return plots.Dot(metric.value or 0.0, metric.ci_low, metric.ci_high, style)


def _curve(report: Report) -> Markup | None:
    series = []
    for name, style in (("train_loss", "s-train"), ("eval_loss", "s-eval")):
        points = [(step, value) for step, logged, value in report.curve if logged == name]
        if points:
            series.append(plots.Series(name, style, points))
    if not series:
        return None
    ends = (f"{each.name} from {each.points[0][1]:.3f} to {each.points[-1][1]:.3f}" for each in series)
    return plots.curve(series, f"Training curve: {'; '.join(ends)}")


# --- answers side by side --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """A group of rows that are shown whole."""

    title: str
    note: str
    rows: Sequence[AnsweredRow]


def _examples(report: Report) -> Iterator[Examples]:
    answerable = [each for each in report.answered if each.row.answerable]
    unanswerable = [each for each in report.answered if not each.row.answerable]
    modes = list(dict.fromkeys(each.context for each in report.metrics))
    context = "with" if "with" in modes or not modes else modes[0]
    models = {each.model for each in report.metrics}
    measure = f"{claims.TITLES[claims.HEADLINE]}, {context} context"
    if {claims.BASE, claims.TUNED} <= models:
        ranked = sorted(answerable, key=lambda each: -_gain(each, context))
        gains = [each for each in ranked if _gain(each, context) > 0]
        losses = [each for each in reversed(ranked) if _gain(each, context) < 0]
        yield _group("Largest gains", f"where tuned gained most over base ({measure})", gains)
        yield _group("Largest losses", f"where tuned lost most against base ({measure})", losses)
    else:
        ranked = sorted(answerable, key=lambda each: -_headline_score(each, next(iter(models)), context))
        yield _group("Best answers", f"highest {measure}", ranked)
        yield _group("Worst answers", f"lowest {measure}", ranked[::-1])
    yield _group("Unanswerable questions", "the right answer is to abstain", unanswerable)


def _group(title: str, note: str, rows: Sequence[AnsweredRow]) -> Examples:
    return Examples(f"{title} ({min(len(rows), EXAMPLES)} of {len(rows)})", note, rows[:EXAMPLES])


def _gain(answered: AnsweredRow, context: str) -> float:
    return _headline_score(answered, claims.TUNED, context) - _headline_score(answered, claims.BASE, context)


def _headline_score(answered: AnsweredRow, model: str, context: str) -> float:
    found: Prediction = next(each for each in answered.predictions if (each.model, each.context) == (model, context))
    return found.scores[claims.HEADLINE]

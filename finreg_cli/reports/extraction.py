"""The report of structured extraction: what the page shows, made of what the tables hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from markupsafe import Markup

from finreg_cli.domain import claims
from finreg_cli.domain.claims import Comparison, Verdict
from finreg_cli.domain.extraction import Field, Labels, Value, parse_object, text_of
from finreg_cli.domain.extraction_claims import ENDPOINTS, MODEL_PAIRS, PREVIOUS_ROUND, ROUND_0
from finreg_cli.domain.extraction_metrics import (
    ALL,
    PUBLISHED,
    Definition,
    grade,
    strict_bound,
)
from finreg_cli.domain.records import FinetuneRun, Metric, Prediction, SynthesisRound
from finreg_cli.reports import plots
from finreg_cli.reports.base import ExtractionReport
from finreg_cli.reports.pages import template
from finreg_cli.reports.sweep import Section

DEFINITIONS: tuple[Definition, ...] = ("strict", "published")
"""In the order in which the page shows them: the one that can't be flattered first."""

MODEL_ORDER = ("base", "base_constrained", *ENDPOINTS, "tuned", "tuned_constrained")

EXAMPLES = 6
EXAMPLES_OF_EXTRA_SETS = 2
POINT = 0.01
"""A point of F1."""

PUBLISHED_COLUMNS = (("70B", "untuned"), ("8B", "real only"), ("8B", "+ 43"), ("8B", "+ 81"))
"""How `PUBLISHED` is labelled in the chart, in its order."""


def render(report: ExtractionReport) -> str:
    """The page on structured extraction."""
    page = _Page(report)
    return template("extraction.html").render(
        report=report,
        page=page,
        sweep=Section(report.sweep),
        definitions=DEFINITIONS,
        published=[(run.name, run.counts, run.counts.f1, strict_bound(run.counts).f1) for run in PUBLISHED],
        axis_scores=plots.axis_labels(plots.SCORES),
        point=POINT,
        breakable=_breakable,
    )


# --- what the page shows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glance:
    """One line at the top: what is compared on which documents, by each definition."""

    title: str
    note: str
    compared: Mapping[Definition, Comparison]


@dataclass(frozen=True)
class ModelLine:
    """A model on one test set; ``figures`` by definition and metric (micro)."""

    model: str
    round: int | None
    figures: Mapping[tuple[Definition, str], Metric | None]
    invalid: Metric | None


@dataclass(frozen=True)
class TestSet:
    """A test set with the figures of every model and the paired differences on it."""

    name: str
    documents: int
    models: Sequence[ModelLine]
    differences: Sequence[Glance]


@dataclass(frozen=True)
class KeyLine:
    """A key (or all of them) by one definition; ``stated`` counts the documents that hold a value for it."""

    name: str
    note: str
    stated: int | None
    figures: Mapping[str, Comparison]
    counts: Mapping[str, Mapping[str, int | None]]
    plot: Markup


@dataclass(frozen=True)
class Cost:
    """Of a point of F1, as text; ``money`` is None where an endpoint has no price."""

    requests: str
    money: str | None


@dataclass(frozen=True)
class RoundLine:
    """A round: what it added and cost, what it reached, and how that compares with the round before.

    ``training_rows`` are windows of documents, real and synthetic.
    """

    number: int
    training_rows: int | None
    run: FinetuneRun
    spent: SynthesisRound | None
    kept_so_far: int
    f1: Mapping[Definition, Metric | None]
    change: Mapping[Definition, Comparison]
    cost: Mapping[Definition, Cost | None]


Mark = Literal["right", "near", "wrong", "missing", "spurious", "null"]


@dataclass(frozen=True)
class Cell:
    """A model's value with its mark."""

    text: str | None
    mark: Mark


@dataclass(frozen=True)
class Answer:
    """A model's labels of one document; ``raw`` is its reply where none could be read."""

    model: str
    cells: Mapping[str, Cell]
    raw: str | None

    @property
    def right(self) -> int:
        return sum(each.mark == "right" for each in self.cells.values())


@dataclass(frozen=True)
class Example:
    """A document's labels beside those of base and tuned."""

    dataset: str
    row_id: str
    labels: Mapping[str, str | None]
    answers: Sequence[Answer]


class _Page:
    """The parts of the page, each made when the template asks for it."""

    def __init__(self, report: ExtractionReport) -> None:
        self._report = report
        self._figures = {
            (each.dataset, each.round, each.model, each.key, each.definition, each.metric): each
            for each in report.metrics
        }
        self.holdout = next(iter(report.datasets), "")
        self.tuned, self.base = self._pair()

    def _pair(self) -> tuple[str, str]:
        """What the page compares: the first pair of models of which both, else one, were evaluated."""
        both = [pair for pair in MODEL_PAIRS if self._evaluated.issuperset(pair)]
        one = [pair for pair in MODEL_PAIRS if self._evaluated.intersection(pair)]
        return (both or one or list(MODEL_PAIRS))[0]

    @cached_property
    def _evaluated(self) -> set[str]:
        return {each.model for each in self._report.metrics}

    @cached_property
    def compared(self) -> list[tuple[Literal["base", "tuned"], str]]:
        """The sides of the comparison that were evaluated, with the names of their models."""
        sides: list[tuple[Literal["base", "tuned"], str]] = [("base", self.base), ("tuned", self.tuned)]
        return [(side, model) for side, model in sides if model in self._evaluated]

    @cached_property
    def rounds(self) -> list[FinetuneRun]:
        return sorted(self._report.rounds, key=lambda each: each.round)

    @property
    def last_round(self) -> int:
        return self.rounds[-1].round if self.rounds else 0

    # --- figures -----------------------------------------------------------------------------------------------------

    def _metric(
        self, dataset: str, round_: int, model: str, definition: str, metric: str, key: str = ALL
    ) -> Metric | None:
        return self._figures.get((dataset, round_, model, key, definition, metric))

    def _against_base(self, dataset: str, definition: Definition, metric: str, key: str = ALL) -> Comparison:
        """The tuned model of the last round against its base."""
        last = self.last_round
        return Comparison(
            "with",
            key,
            metric,
            self._metric(dataset, 0, self.base, definition, metric, key),
            self._metric(dataset, last, self.tuned, definition, metric, key),
            self._metric(dataset, last, f"{self.tuned}-{self.base}", definition, metric, key),
        )

    def _paired(self, dataset: str, round_: int, pair: str, definition: Definition) -> Comparison:
        """Any paired difference that was measured, by the name of its row."""
        first, second = pair.split("-", 1)
        earlier = {PREVIOUS_ROUND: self._round_before(round_), ROUND_0: 0}.get(second)
        other = (first, earlier) if earlier is not None else (second, 0)
        return Comparison(
            "with",
            ALL,
            "f1",
            self._metric(dataset, other[1], other[0], definition, "f1"),
            self._metric(dataset, round_, first, definition, "f1"),
            self._metric(dataset, round_, pair, definition, "f1"),
        )

    def _round_before(self, round_: int) -> int:
        return max((each.round for each in self.rounds if each.round < round_), default=0)

    # --- the top -----------------------------------------------------------------------------------------------------

    @cached_property
    def headline(self) -> str:
        """One sentence on micro F1 on the hold-out; a difference only where its paired interval excludes zero."""
        compared = {each: self._against_base(self.holdout, each, "f1") for each in DEFINITIONS}
        by_verdict: dict[Verdict, list[Definition]] = {}
        for definition, each in compared.items():
            if each.base or each.tuned:
                by_verdict.setdefault(each.verdict, []).append(definition)
        if not by_verdict:
            return "Nothing was evaluated"
        documents = self._report.datasets.get(self.holdout, 0)
        other = "its base" if self.base.startswith("base") else f"the {self.base}"
        said = "; ".join(
            f"{_HEADLINES[verdict].format(other=other)} {_by(names)}" for verdict, names in by_verdict.items()
        )
        return f"On {documents} hold-out documents, {said}"

    @cached_property
    def glance(self) -> list[Glance]:
        """Tuned against base on every test set, then on the hold-out against endpoints and earlier rounds."""
        models = " → ".join(model for _, model in self.compared)
        found = [
            Glance(
                "hold-out" if name == self.holdout else name,
                f"{documents} {'document' if documents == 1 else 'documents'}: {models}{self._of_round}",
                {each: self._against_base(name, each, "f1") for each in DEFINITIONS},
            )
            for name, documents in self._report.datasets.items()
        ]
        pairs = [f"{self.tuned}-{each}" for each in (*ENDPOINTS, PREVIOUS_ROUND, ROUND_0)]
        return [*found, *self._differences(self.holdout, [(each, self.last_round) for each in pairs])]

    @property
    def _of_round(self) -> str:
        return f" (round {self.last_round})" if self.rounds else ""

    def _differences(self, dataset: str, pairs: Sequence[tuple[str, int]]) -> Iterator[Glance]:
        """Those that were measured; the way from round 0 once, where that is the round before."""
        for pair, round_ in pairs:
            first, second = pair.split("-", 1)
            compared = {each: self._paired(dataset, round_, pair, each) for each in DEFINITIONS}
            before = self._round_before(round_)
            if not any(each.difference for each in compared.values()) or (second == ROUND_0 and before == 0):
                continue
            other = {PREVIOUS_ROUND: f"round {before}", ROUND_0: "round 0"}.get(second, second)
            yield Glance(
                "hold-out" if dataset == self.holdout else dataset, f"{other} → {first} (round {round_})", compared
            )

    @property
    def spent(self) -> list[SynthesisRound]:
        """Of the rounds that a model was evaluated of: further ones may have been made since."""
        return [each for each in self._report.spent if each.round <= self.last_round]

    @property
    def requests(self) -> int:
        return sum(each.requests for each in self.spent)

    @property
    def kept(self) -> int:
        return sum(each.kept for each in self.spent)

    @property
    def kept_by_rules(self) -> int:
        return sum(each.kept for each in self.spent if each.method == "rules")

    @property
    def endpoints(self) -> list[str]:
        return [name for name in ENDPOINTS if self._metric(self.holdout, 0, name, "strict", "f1")]

    # --- rounds ------------------------------------------------------------------------------------------------------

    @cached_property
    def round_lines(self) -> list[RoundLine]:
        spent = {each.round: each for each in self.spent}
        rows = {(each.name, each.version): each.rows for each in self._report.tables}
        lines: list[RoundLine] = []
        for run in self.rounds:
            change = {
                each: self._paired(self.holdout, run.round, f"{self.tuned}-{PREVIOUS_ROUND}", each)
                for each in DEFINITIONS
            }
            here = spent.get(run.round)
            lines.append(
                RoundLine(
                    number=run.round,
                    training_rows=rows.get((run.training_table, run.training_version)),
                    run=run,
                    spent=here,
                    kept_so_far=sum(each.kept for number, each in spent.items() if number <= run.round),
                    f1={each: self._metric(self.holdout, run.round, self.tuned, each, "f1") for each in DEFINITIONS},
                    change=change,
                    cost={each: _cost_of_a_point(here, change[each].difference) for each in DEFINITIONS},
                )
            )
        return lines

    @property
    def real_documents(self) -> int | None:
        return next((each.rows for each in self._report.tables if each.name == "lease_docs_train"), None)

    @cached_property
    def chart(self) -> Markup | None:
        """F1 by round on the hold-out, with base and endpoints across; None without a tuned model."""
        shown = [
            plots.Column(
                f"round {line.number}",
                f"+ {line.kept_so_far} made" if line.number else "real only",
                [_dot(metric, f"d-{name}") for name, metric in line.f1.items() if metric and metric.value is not None],
            )
            for line in self.round_lines
        ]
        if not any(each.dots for each in shown):
            return None
        levels = [
            plots.Level(f"{name} {definition}", metric.value, f"l-{role} l-{definition}")
            for role, model, name in self._unchanging
            for definition in DEFINITIONS
            if (metric := self._metric(self.holdout, 0, model, definition, "f1")) and metric.value is not None
        ]
        said = [f"{column.label} {', '.join(_said(dot) for dot in column.dots)}" for column in shown]
        said += [f"{each.name} {each.value:.2f}" for each in levels]
        return plots.columns(shown, levels, f"F1 by round, strict then published: {'; '.join(said)}")

    @property
    def _unchanging(self) -> list[tuple[str, str, str]]:
        """Models that no round changes: the class of their line, their name in the tables and in the chart."""
        base = [("base", self.base, "base")] if self.base.startswith("base") else []
        return [*base, *(("endpoint", each, each) for each in ENDPOINTS)]

    @cached_property
    def published_chart(self) -> Markup:
        """The published runs, and what the strict definition would at worst have made of them."""
        shown = [
            plots.Column(
                *names,
                [
                    plots.Dot(strict_bound(run.counts).f1 or 0.0, None, None, "d-strict"),
                    plots.Dot(run.counts.f1 or 0.0, None, None, "d-published"),
                ],
            )
            for names, run in zip(PUBLISHED_COLUMNS, PUBLISHED, strict=True)
        ]
        said = "; ".join(f"{run.name} {run.counts.f1:.3f}" for run in PUBLISHED)
        return plots.columns(shown, (), f"Published F1 on other leases with other models: {said}", digits=3)

    # --- test sets and keys ------------------------------------------------------------------------------------------

    @cached_property
    def test_sets(self) -> list[TestSet]:
        return [self._test_set(name, documents) for name, documents in self._report.datasets.items()]

    def _test_set(self, name: str, documents: int) -> TestSet:
        here = dict.fromkeys((each.model, each.round) for each in self._report.metrics if each.dataset == name)
        alone = sorted(
            (each for each in here if each[0] in MODEL_ORDER), key=lambda each: (MODEL_ORDER.index(each[0]), each[1])
        )
        models = [
            ModelLine(
                model,
                round_ if model.startswith("tuned") else None,
                {
                    (definition, metric): self._metric(name, round_, model, definition, metric)
                    for definition in DEFINITIONS
                    for metric in ("precision", "recall", "f1")
                },
                self._metric(name, round_, model, ALL, "invalid_json"),
            )
            for model, round_ in alone
        ]
        pairs = sorted((each for each in here if "-" in each[0]), key=lambda each: (each[0].split("-")[0], each[1]))
        return TestSet(name, documents, models, list(self._differences(name, pairs)))

    @cached_property
    def keys(self) -> dict[Definition, list[KeyLine]]:
        """Every key on the hold-out, base beside the tuned model of the last round, then all keys together."""
        return {each: [*self._key_lines(each), *self._whole_lines(each)] for each in DEFINITIONS}

    def _key_lines(self, definition: Definition) -> Iterator[KeyLine]:
        stated = self._stated
        for each in self._report.schema.fields:
            yield self._key_line(definition, each.name, each.kind, each.name, "", stated.get(each.name))

    def _whole_lines(self, definition: Definition) -> Iterator[KeyLine]:
        yield self._key_line(definition, "all keys", "micro: every value counts alike", ALL, "", None)
        yield self._key_line(definition, "all keys", "macro: every key counts alike", ALL, "macro_", None)

    def _key_line(
        self, definition: Definition, name: str, note: str, key: str, prefix: str, stated: int | None
    ) -> KeyLine:
        figures = {
            metric: self._against_base(self.holdout, definition, f"{prefix}{metric}", key)
            for metric in ("precision", "recall", "f1")
        }
        dots = [
            _dot(each, style)
            for each, style in ((figures["f1"].base, "m-base"), (figures["f1"].tuned, "m-tuned"))
            if each and each.value is not None
        ]
        said = ", ".join(f"{model} {_plain(getattr(figures['f1'], side))}" for side, model in self.compared)
        counts = {
            model: {
                count: _count(self._metric(self.holdout, round_, model, definition, count, key))
                for count in ("tp", "fp", "fn", "tn")
            }
            for side, model in self.compared
            for round_ in [self.last_round if side == "tuned" else 0]
        }
        return KeyLine(name, note, stated, figures, counts, plots.track(dots, plots.SCORES, f"{name}: {said}"))

    @cached_property
    def _stated(self) -> dict[str, int]:
        """Documents of the hold-out that hold a value, by key."""
        references = {each.row_id: each.reference for each in self._report.predictions if each.dataset == self.holdout}
        labels = [self._report.schema.loads(each) for each in references.values()]
        if not labels:
            return {}
        return {key: sum(each[key] is not None for each in labels) for key in self._report.schema.keys}

    # --- documents side by side --------------------------------------------------------------------------------------

    @cached_property
    def examples(self) -> list[Example]:
        """Documents from the tuned model's best to its worst, evenly spread; a few of the further test sets too."""
        extra = [name for name in self._report.datasets if name != self.holdout]
        of_extra = [each for name in extra for each in self._examples_of(name)]
        shown_extra = _spread(sorted(of_extra, key=_worth, reverse=True), EXAMPLES_OF_EXTRA_SETS)
        own = sorted(self._examples_of(self.holdout), key=_worth, reverse=True)
        return [*_spread(own, EXAMPLES - len(shown_extra)), *shown_extra]

    def _examples_of(self, dataset: str) -> list[Example]:
        rows: dict[str, dict[str, Prediction]] = {}
        wanted = {(model, self.last_round if side == "tuned" else 0) for side, model in self.compared}
        for each in self._report.predictions:
            if each.dataset == dataset and (each.model, each.round) in wanted:
                rows.setdefault(each.row_id, {})[each.model] = each
        return [self._example(dataset, row_id, by_model) for row_id, by_model in rows.items()]

    def _example(self, dataset: str, row_id: str, by_model: Mapping[str, Prediction]) -> Example:
        schema = self._report.schema
        labels = schema.loads(next(iter(by_model.values())).reference)
        answers = [
            _answer(by_model[each], schema.fields, labels) for each in (self.base, self.tuned) if each in by_model
        ]
        return Example(dataset, row_id, {key: text_of(value) for key, value in labels.items()}, answers)


# --- words -----------------------------------------------------------------------------------------------------------

_HEADLINES: dict[Verdict, str] = {
    "better": "the tuned model extracts better than {other}",
    "worse": "the tuned model extracts worse than {other}",
    "unclear": "no difference between the tuned model and {other} can be claimed",
    "too_few": "which are too few to claim a difference, the tuned model and {other} were measured",
    "not_compared": "one model was measured, and not compared with another,",
}


def _breakable(name: str) -> Markup:
    """A key that a narrow column may break after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))  # join escapes the parts


def _by(definitions: Sequence[Definition]) -> str:
    if len(definitions) == 1:
        return f"by the {definitions[0]} definition of F1"
    return f"by both definitions of F1, {' and '.join(definitions)}"


def _plain(metric: Metric | None) -> str:
    return "none" if metric is None else claims.figure(metric)


def _said(dot: plots.Dot) -> str:
    interval = f" [{dot.low:.2f}, {dot.high:.2f}]" if dot.low is not None and dot.high is not None else ""
    return f"{dot.value:.2f}{interval}"


def _dot(metric: Metric, style: str) -> plots.Dot:
    return plots.Dot(metric.value or 0.0, metric.ci_low, metric.ci_high, style)


def _count(metric: Metric | None) -> int | None:
    return None if metric is None or metric.value is None else round(metric.value)


def _cost_of_a_point(spent: SynthesisRound | None, difference: Metric | None) -> Cost | None:
    """What a round asked for per point of F1 gained over the one before; None where nothing was gained or asked for."""
    if spent is None or not spent.requests or difference is None or difference.value is None or difference.value <= 0:
        return None
    points = difference.value / POINT
    money = None if spent.money is None else f"{spent.money / points:,.4f}"
    return Cost(f"{spent.requests / points:,.1f} requests", money)


# --- documents -------------------------------------------------------------------------------------------------------


def _spread(examples: Sequence[Example], most: int) -> list[Example]:
    """At most so many, evenly spread from the first to the last."""
    if len(examples) <= most:
        return list(examples)
    if most < 2:
        return list(examples[:most])
    return [examples[round(nth * (len(examples) - 1) / (most - 1))] for nth in range(most)]


def _worth(example: Example) -> int:
    return example.answers[-1].right if example.answers else 0


def _answer(prediction: Prediction, fields: Sequence[Field], labels: Labels) -> Answer:
    found = _labels_of(prediction)
    cells = {each.name: _cell(each, labels[each.name], (found or {}).get(each.name)) for each in fields}
    return Answer(prediction.model, cells, prediction.prediction if found is None else None)


def _labels_of(prediction: Prediction) -> dict[str, Value] | None:
    """The merged labels; None where not one reply of the document could be read."""
    windows = prediction.scores.get("windows")
    if windows and prediction.scores.get("invalid_replies") == windows:
        return None
    return parse_object(prediction.prediction)


def _cell(field: Field, labelled: Value, found: Value) -> Cell:
    return Cell(text_of(found), _mark(field, labelled, found))


def _mark(field: Field, labelled: Value, found: Value) -> Mark:
    if labelled is None:
        return "null" if found is None else "spurious"
    if found is None:
        return "missing"
    if grade(field, labelled, found, "strict").tp:
        return "right"
    return "near" if grade(field, labelled, found, "published").tp else "wrong"

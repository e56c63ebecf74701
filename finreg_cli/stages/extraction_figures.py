"""What the models of an evaluation found in its documents, graded; and the figures made of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from finreg_cli.config import Decoding
from finreg_cli.domain import extraction_claims as claims
from finreg_cli.domain.extraction import Schema
from finreg_cli.domain.extraction_metrics import (
    ALL,
    DEFINITIONS,
    Counts,
    Definition,
    Graded,
    differences,
    figures,
    grade_document,
    totals,
)
from finreg_cli.domain.metrics import Figure, mean
from finreg_cli.domain.records import FinetuneRun, Metric, Prediction
from finreg_cli.stages.base import Run
from finreg_cli.stages.extraction import Extraction
from finreg_cli.stages.extraction_plan import DocumentSet, Entrant


@dataclass(frozen=True)
class Answered:
    """What one model found in one test set, and by each definition the counts of each of its documents."""

    model: str
    decoding: Decoding
    run: FinetuneRun | None
    of: DocumentSet
    extractions: Sequence[Extraction]
    graded: Mapping[Definition, Sequence[Graded]]

    @property
    def round(self) -> int:
        return self.run.round if self.run else 0

    @property
    def label(self) -> str:
        return claims.label(self.model, self.round)


def graded(
    entrant: Entrant, decoding: Decoding, of: DocumentSet, extractions: Sequence[Extraction], schema: Schema
) -> Answered:
    pairs = [(schema.loads(lease.labels), found.labels) for lease, found in zip(of.leases, extractions, strict=True)]
    counts = {each: [grade_document(schema, *pair, each) for pair in pairs] for each in DEFINITIONS}
    return Answered(entrant.name(decoding), decoding, entrant.tuned_run, of, extractions, counts)


def predictions_of(run: Run, schema: Schema, answered: Answered) -> Iterator[Prediction]:
    for nth, (lease, found) in enumerate(zip(answered.of.leases, answered.extractions, strict=True)):
        counts = {each: sum(answered.graded[each][nth].values(), Counts()) for each in DEFINITIONS}
        unreadable = found.invalid == len(found.replies)
        yield Prediction(
            run_id=run.run_id,
            finetune_run_id=answered.run.run_id if answered.run else None,
            dataset=answered.of.name,
            round=answered.round,
            row_id=lease.lease_id,
            model=answered.model,
            context="with",
            prediction="\n".join(found.replies) if unreadable else schema.dumps(found.labels),
            reference=lease.labels,
            scores={"windows": float(len(found.replies)), "invalid_replies": float(found.invalid)}
            | {f"{name}_{cell}": float(count) for name, each in counts.items() for cell, count in vars(each).items()},
        )


# --- figures ---------------------------------------------------------------------------------------------------------


def measure(run: Run, schema: Schema, answered: Sequence[Answered]) -> Iterator[Metric]:
    seed = run.config.generate.seed
    for each in answered:
        row = partial(_metric, run, each, each.model)
        for definition in DEFINITIONS:
            documents = each.graded[definition]
            for key, metric, figure in figures(documents, schema, seed):
                yield row(key, definition, metric, figure)
            for key, counts in totals(documents, schema).items():
                for cell, count in vars(counts).items():
                    yield row(key, definition, cell, Figure(float(count), None, None, len(documents), len(documents)))
        yield row(ALL, ALL, "invalid_json", _invalid_share(each, seed))
    for later, other, name in _pairs(answered):
        for definition in DEFINITIONS:
            paired = differences(later.graded[definition], other.graded[definition], schema, seed)
            for key, metric, figure in paired:
                yield _metric(run, later, f"{later.model}-{name}", key, definition, metric, figure)


def _metric(run: Run, answered: Answered, model: str, key: str, definition: str, metric: str, figure: Figure) -> Metric:
    return Metric(
        run_id=run.run_id,
        finetune_run_id=answered.run.run_id if answered.run else None,
        dataset=answered.of.name,
        round=answered.round,
        model=model,
        context="with",
        slice="all",
        key=key,
        definition=definition,
        metric=metric,
        value=figure.value,
        ci_low=figure.ci_low,
        ci_high=figure.ci_high,
        n=figure.units,
    )


def _invalid_share(answered: Answered, seed: int) -> Figure:
    """Of the replies; whole documents are resampled."""
    return mean(
        (
            (lease.lease_id, float(nth < found.invalid))
            for lease, found in zip(answered.of.leases, answered.extractions, strict=True)
            for nth in range(len(found.replies))
        ),
        seed,
    )


def _pairs(answered: Sequence[Answered]) -> Iterator[tuple[Answered, Answered, str]]:
    """Who is compared with whom on the same documents, and how the tables name the other."""
    there = {(each.of.name, each.model, each.round): each for each in answered}
    for each in answered:
        for tuned, other in claims.MODEL_PAIRS:
            if each.model == tuned and (each.of.name, other, 0) in there:
                yield each, there[each.of.name, other, 0], other
        rounds = [round_ for name, model, round_ in there if (name, model) == (each.of.name, each.model)]
        earlier = [round_ for round_ in rounds if round_ < each.round]
        if earlier:
            yield each, there[each.of.name, each.model, max(earlier)], claims.PREVIOUS_ROUND
        if 0 in earlier:
            yield each, there[each.of.name, each.model, 0], claims.ROUND_0


def headline_figures(metrics: Sequence[Metric]) -> dict[str, dict[str, dict[str, float]]]:
    """Micro F1 for the summary and `-o json`, by test set, definition and model; the rest is in the table."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for each in _of_models(metrics, claims.HEADLINE):
        if each.value is not None:
            of_definition = found.setdefault(each.dataset, {}).setdefault(each.definition, {})
            of_definition[claims.label(each.model, each.round)] = round(each.value, 4)
    return found


def invalid_shares(metrics: Sequence[Metric]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for each in _of_models(metrics, "invalid_json"):
        if each.value is not None:
            found.setdefault(each.dataset, {})[claims.label(each.model, each.round)] = round(each.value, 4)
    return found


def _of_models(metrics: Sequence[Metric], metric: str) -> Iterator[Metric]:
    """A metric over all keys, without the paired differences."""
    return (each for each in metrics if (each.key, each.metric) == (ALL, metric) and "-" not in each.model)

"""evaluate, for structured extraction: base, tuned of every round and endpoints read the hold-out; all is compared.

This is the only stage that grades on hold-out documents and on further sets of labelled ones. Replies go through the
reply cache, so a killed evaluation goes on where it stopped.

Its rows of ``evaluation_metrics``: ``model`` is ``base`` or ``tuned`` (free), ``base_constrained`` or
``tuned_constrained`` (held to the JSON schema), or the role of an endpoint; ``round`` is the tuned model's synthetic
round, 0 for the others. ``definition`` is ``published`` or ``strict``, ``key`` a key of the schema or ``all``. Beside
precision, recall and F1 there are the counts (tp, fp, fn, tn) and, under definition ``all``, ``invalid_json``: the
share of replies that could not be read. A paired difference is a row whose ``model`` is ``A-B``; against an earlier
round of itself B is ``previous_round`` or ``round_0``. ``n`` counts documents.

A document none of whose replies can be read counts as all null: each of its labelled values is a false negative. What
the labels leave null is then a true negative, which no figure but the count takes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from finreg_cli.config import Config, Decoding
from finreg_cli.documents.base import LabelledSource
from finreg_cli.domain import extraction_claims as claims
from finreg_cli.domain.extraction import Schema
from finreg_cli.domain.extraction_metrics import ALL
from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    EVALUATION_PREDICTIONS,
    FT_TRAINING,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    SYNTHESIS_ROUNDS,
    Metric,
    Prediction,
    SynthesisRound,
)
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import Answerer, ReplyCache
from finreg_cli.reports.base import ExtractionReport, TableRead, WriteExtractionReport
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.extraction import extract
from finreg_cli.stages.extraction_figures import (
    Answered,
    graded,
    headline_figures,
    invalid_shares,
    measure,
    predictions_of,
)
from finreg_cli.stages.extraction_plan import HOLDOUT, Entrant, Plan, estimate, plan_evaluation
from finreg_cli.stages.sweep_report import sweeps_of
from finreg_cli.stages.tuned_runs import OpenAnswerer
from finreg_cli.tasks.structured_extraction import Reading, most_tokens
from finreg_cli.tracking.base import TrackedRun, Tracker


def evaluate_extraction(
    run: Run,
    lakehouse: Lakehouse,
    open_answerer: OpenAnswerer,
    cache: ReplyCache,
    tracker: Tracker,
    write_report: WriteExtractionReport,
    reading: Reading,
    source: LabelledSource,
) -> StageResult:
    """Extracts, grades by both definitions, compares, and writes the report.

    Raises:
        NothingToDo: there are no hold-out documents, or no training run though ``tuned`` is to be evaluated.
        StageFailed: a model was trained on a document that it would be graded on; or no model can be evaluated.
        ConfigError: ``evaluate.run`` is not a finished run, or an extra set cannot be read.
        BudgetReached: from an endpoint; what was answered is cached.
    """
    result = StageResult("evaluate")
    try:
        plan = plan_evaluation(run.config, lakehouse, reading, source, result)
    except NothingToDo as nothing:
        if not run.dry_run:
            raise
        result.warnings.append(f"{nothing.message}: {nothing.remedy}")  # in `all --dry-run` it is still to be made
        return result
    result.counts["documents"] = {each.name: len(each.leases) for each in plan.sets}
    result.counts["unusable"] = {each.name: len(each.unusable) for each in plan.sets if each.unusable}
    result.counts["finetune_runs"] = {str(each.round): each.run_id for each in plan.runs}
    if run.dry_run:
        result.counts |= estimate(run.config, reading, plan)
        return result

    with tracker.run("evaluate", _tags(run, plan)) as tracked:
        _track_inputs(tracked, run.config, lakehouse, plan)
        answered, cached = _answer(run, plan, open_answerer, cache, reading, result)
        predictions = [each for of_one in answered for each in predictions_of(run, reading.schema, of_one)]
        metrics = list(measure(run, reading.schema, answered))
        lakehouse.append(EVALUATION_PREDICTIONS, EVALUATION_PREDICTIONS.batches(predictions))
        lakehouse.append(EVALUATION_METRICS, EVALUATION_METRICS.batches(metrics))
        report = write_report(_report(run, lakehouse, reading.schema, plan, predictions, metrics))
        tracked.metrics(_tracked_figures(metrics))
        tracked.artifact(report)

    result.counts |= {
        "models": list(dict.fromkeys(each.label for each in answered)),
        "answers": sum(len(extraction.replies) for each in answered for extraction in each.extractions),
        "from_cache": cached,
        "report": str(report),
        claims.HEADLINE: headline_figures(metrics),
        "invalid_json": invalid_shares(metrics),
    }
    result.warnings.extend(_cut_off(run.config, answered))
    result.findings.extend(claims.findings(metrics))
    result.saw(lakehouse, EVALUATION_PREDICTIONS, EVALUATION_METRICS)
    return result


# --- answers ---------------------------------------------------------------------------------------------------------


def _answer(
    run: Run, plan: Plan, open_answerer: OpenAnswerer, cache: ReplyCache, reading: Reading, result: StageResult
) -> tuple[list[Answered], int]:
    """What every model found in every set, and how many replies were cached.

    One model is open at a time, and none before its turn; the endpoints come last if they are named last.
    """
    answered: list[Answered] = []
    cached = 0
    documents = sum(len(each.leases) for each in plan.sets)
    total = documents * sum(len(each.decodings) for each in plan.entrants)
    with run.progress.track("evaluate", total, "documents") as advance:
        for entrant in plan.entrants:
            with closing(open_answerer(entrant.role, entrant.of_run)) as answerer:
                for decoding in _possible(entrant, answerer, result):
                    for of in plan.sets:
                        extractions, hits = extract(
                            answerer,
                            [each.lease_doc for each in of.leases],
                            reading,
                            decoding,
                            most_tokens(run.config),
                            cache,
                            advance,
                            entrant.window_tokens,
                        )
                        cached += hits
                        answered.append(graded(entrant, decoding, of, extractions, reading.schema))
    if not answered:
        raise StageFailed(
            "there is no model left to evaluate: none of them can be held to a JSON schema",
            "--set 'evaluate.decoding=[constrained, free]' lets local models write as they like, too",
        )
    return answered, cached


def _possible(entrant: Entrant, answerer: Answerer, result: StageResult) -> Iterator[Decoding]:
    for decoding in entrant.decodings:
        if decoding == "constrained" and not answerer.holds_to_schema:
            result.warnings.append(
                f"{entrant.label(decoding)} is left out: its runtime cannot hold a reply to a JSON schema"
            )
        else:
            yield decoding


def _cut_off(config: Config, answered: Sequence[Answered]) -> Iterator[str]:
    """A local model's reply that was held to the schema can only be unreadable because it was not finished."""
    for each in answered:
        invalid = sum(found.invalid for found in each.extractions)
        if each.decoding == "constrained" and invalid and each.model not in claims.ENDPOINTS:
            replies = sum(len(found.replies) for found in each.extractions)
            yield (
                f"{each.label} on {each.of.name}: {invalid} of {replies} replies were cut off at "
                f"{most_tokens(config)} tokens and count as unreadable; raise evaluate.max_new_tokens"
            )


# --- tracking and report ---------------------------------------------------------------------------------------------


def _tags(run: Run, plan: Plan) -> dict[str, str]:
    tags = {"finreg.run_id": run.run_id, "finreg.stage": "evaluate", f"finreg.{HOLDOUT}_version": str(plan.version)}
    for each in plan.runs:
        tags[f"finreg.finetune_run_id.r{each.round}"] = each.run_id
        tags["finreg.base_model"] = each.base_model
    return tags


def _track_inputs(tracked: TrackedRun, config: Config, lakehouse: Lakehouse, plan: Plan) -> None:
    tracked.params(config.evaluate.model_dump(mode="json") | {"seed": config.generate.seed})
    where = lakehouse.location(LEASE_DOCS_HOLDOUT)
    tracked.input_table(HOLDOUT, where, plan.version, len(plan.holdout.leases), "evaluation")


def _tracked_figures(metrics: Sequence[Metric]) -> dict[str, float]:
    """The figures over all keys with their intervals, as ``tuned_constrained/r1/strict/f1``.

    Those of an extra set begin with its name.
    """
    found: dict[str, float] = {}
    for each in metrics:
        if each.key == ALL:
            dataset = "" if each.dataset == HOLDOUT else f"{each.dataset}/"
            definition = "" if each.definition == ALL else f"{each.definition}/"
            name = f"{dataset}{claims.label(each.model, each.round)}/{definition}{each.metric}"
            known = {name: each.value, f"{name}/ci_low": each.ci_low, f"{name}/ci_high": each.ci_high}
            found |= {key: value for key, value in known.items() if value is not None}
    return found


def _report(
    run: Run,
    lakehouse: Lakehouse,
    schema: Schema,
    plan: Plan,
    predictions: Sequence[Prediction],
    metrics: Sequence[Metric],
) -> ExtractionReport:
    config = run.config
    return ExtractionReport(
        run_id=run.run_id,
        made_at=datetime.now(UTC),
        base_model=plan.last_run.base_model if plan.last_run else config.finetune.base_model,
        rounds=plan.runs,
        sweep=sweeps_of(config, lakehouse, plan.runs),
        schema=schema,
        datasets={each.name: len(each.leases) for each in plan.sets},
        tables=_tables_read(lakehouse, plan),
        settings=_settings(config),
        metrics=metrics,
        predictions=predictions,
        spent=_spent(lakehouse),
    )


def _tables_read(lakehouse: Lakehouse, plan: Plan) -> list[TableRead]:
    tables = [TableRead(HOLDOUT, plan.version, len(plan.holdout.leases), "hold-out documents that were read")]
    real = lakehouse.version(LEASE_DOCS_TRAIN)
    if plan.runs and real is not None:
        documents = lakehouse.count(LEASE_DOCS_TRAIN)
        tables.append(TableRead(LEASE_DOCS_TRAIN.name, real, documents, "real documents that were trained on"))
    for each in plan.runs:
        version = each.training_version
        trained = sum(batch.num_rows for batch in lakehouse.read(FT_TRAINING, ["row_id"], version=version))
        tables.append(TableRead(each.training_table, version, trained, f"rows that round {each.round} was tuned on"))
    return tables


def _settings(config: Config) -> dict[str, str]:
    endpoints = {
        f"endpoints.{role}": f"{endpoint.model}, temperature {endpoint.temperature}"
        for role in claims.ENDPOINTS
        if role in config.evaluate.models and (endpoint := getattr(config.endpoints, role))
    }
    return {
        "evaluate.limit": "all documents" if config.evaluate.limit is None else str(config.evaluate.limit),
        "evaluate.decoding": ", ".join(config.evaluate.decoding),
        "evaluate.max_new_tokens": str(most_tokens(config)),
        "extraction.window_tokens": str(config.extraction.window_tokens),
        "extraction.window_overlap": str(config.extraction.window_overlap),
        "ingest.holdout_fraction": f"{config.ingest.holdout_fraction:g}",
        "generate.method": config.generate.method,
        "generate.seed": str(config.generate.seed),
        **endpoints,
    }


def _spent(lakehouse: Lakehouse) -> list[SynthesisRound]:
    """What each synthetic round cost: its runs added up, under the id and method of the last."""
    by_round: dict[int, list[SynthesisRound]] = {}
    for each in SYNTHESIS_ROUNDS.records(lakehouse.read(SYNTHESIS_ROUNDS)):
        by_round.setdefault(each.round, []).append(each)
    return [_added_up(sorted(runs, key=lambda each: each.run_id)) for _, runs in sorted(by_round.items())]


def _added_up(runs: Sequence[SynthesisRound]) -> SynthesisRound:
    """No money where a run sent requests that have no price."""
    unpriced = any(each.money is None and each.requests for each in runs)
    prices = [each.money for each in runs if each.money is not None]
    return replace(
        runs[-1],
        generated=sum(each.generated for each in runs),
        kept=sum(each.kept for each in runs),
        requests=sum(each.requests for each in runs),
        cached=sum(each.cached for each in runs),
        input_tokens=sum(each.input_tokens for each in runs),
        output_tokens=sum(each.output_tokens for each in runs),
        money=None if unpriced or not prices else sum(prices),
    )

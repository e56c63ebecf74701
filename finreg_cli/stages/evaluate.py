"""evaluate: base and tuned answer the validation rows, with and without context; every figure has its interval.

This is the only stage that measures on validation rows. A row that a reviewer rejected is not measured with, an edited
one is asked and graded as edited (`domain.reviews`). Greedy answers go through the reply cache, so a killed evaluation
goes on where it stopped.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain import claims
from finreg_cli.domain.chat_format import prompt
from finreg_cli.domain.metrics import DEFINITIONS, mean, scores
from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    EVALUATION_PREDICTIONS,
    FT_TRAINING,
    QA_DATASET,
    QA_REVIEWS,
    FinetuneRun,
    Message,
    Metric,
    Prediction,
    QaRow,
)
from finreg_cli.domain.reviews import REJECTED_IN_REVIEW, as_reviewed, refusal
from finreg_cli.domain.splits import sampling_key
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import ReplyCache
from finreg_cli.reports.base import AnsweredRow, Report, TableRead, WriteReport
from finreg_cli.stages.answers import cached_answers
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.reviews import reviews_in_force
from finreg_cli.stages.sweep_report import sweeps_of, training_curve
from finreg_cli.stages.tuned_runs import OpenAnswerer, groups_seen, last_selected_run
from finreg_cli.tracking.base import TrackedRun, Tracker

DATASET = "qa_dataset:validation"
MAX_NEW_TOKENS = 160
"""Of an answer, where ``evaluate.max_new_tokens`` does not say."""

PredictionKey = tuple[str, str]
"""(model, context mode)."""


@dataclass(frozen=True)
class Plan:
    """What will be answered, decided before any model is opened.

    ``version`` is the one of qa_dataset that was read, ``reviews`` the one of qa_reviews, whose edits are applied;
    ``rejected`` counts the rows that stay away because a reviewer rejected them.
    """

    rows: Sequence[QaRow]
    version: int
    reviews: int | None
    rejected: int
    finetune: FinetuneRun | None


def evaluate(
    run: Run,
    lakehouse: Lakehouse,
    open_answerer: OpenAnswerer,
    cache: ReplyCache,
    tracker: Tracker,
    write_report: WriteReport,
) -> StageResult:
    """Answers, scores, compares, and writes the report.

    Raises:
        NothingToDo: there are no validation rows, or no training run though ``tuned`` is to be evaluated.
        StageFailed: the model was trained on an article that is on the validation side now.
        ConfigError: ``evaluate.run`` is not a finished run.
    """
    config = run.config.evaluate
    result = StageResult("evaluate")
    try:
        plan = _plan(run.config, lakehouse)
    except NothingToDo as nothing:
        if not run.dry_run:
            raise
        result.warnings.append(f"{nothing.message}: {nothing.remedy}")  # in `all --dry-run` it is still to be made
        return result
    answers = len(plan.rows) * len(set(config.models)) * len(set(config.context))
    result.counts |= {"rows": len(plan.rows), "answers": answers}
    if plan.rejected:
        result.counts["left_out"] = {REJECTED_IN_REVIEW: plan.rejected}
    if plan.finetune:
        result.counts["finetune_run"] = plan.finetune.run_id
    if run.dry_run:
        return result

    with tracker.run("evaluate", _tags(run, plan)) as tracked:
        _track_inputs(tracked, run.config, lakehouse, plan)
        predictions, cached = _predict(run, plan, open_answerer, cache)
        metrics = list(_measure(run, plan, predictions))
        everything = (each for of_one in predictions.values() for each in of_one)
        lakehouse.append(EVALUATION_PREDICTIONS, EVALUATION_PREDICTIONS.batches(everything))
        lakehouse.append(EVALUATION_METRICS, EVALUATION_METRICS.batches(metrics))
        report = write_report(_report(run, lakehouse, plan, predictions, metrics))
        tracked.metrics(_tracked_figures(metrics))
        tracked.artifact(report)

    compared = claims.comparisons(metrics)
    result.counts |= {"from_cache": cached, "report": str(report)}
    result.counts[claims.HEADLINE] = _headline_figures(compared)
    result.findings.extend(claims.findings(compared))
    result.saw(lakehouse, EVALUATION_PREDICTIONS, EVALUATION_METRICS)
    return result


# --- what to answer --------------------------------------------------------------------------------------------------


def _plan(config: Config, lakehouse: Lakehouse) -> Plan:
    version, reviewed = lakehouse.version(QA_DATASET), lakehouse.version(QA_REVIEWS)
    reviews = reviews_in_force(lakehouse, reviewed)
    rejected = {row_id for row_id, review in reviews.items() if refusal(review, required=False)}
    rows: list[QaRow] = []
    left_out = 0
    if version is not None:
        rows, left_out = _validation_rows(lakehouse, version, config.evaluate.limit, rejected)
    if version is None or not rows:
        raise _no_validation_rows(config, lakehouse, left_out)
    rows = [as_reviewed(row, reviews.get(row.row_id)) for row in rows]
    finetune = last_selected_run(config, lakehouse) if "tuned" in config.evaluate.models else None
    if finetune:
        _refuse_what_it_has_seen(lakehouse, finetune, rows)
    return Plan(rows, version, reviewed, left_out, finetune)


def _validation_rows(
    lakehouse: Lakehouse, version: int, limit: int | None, rejected: Collection[str]
) -> tuple[list[QaRow], int]:
    """A sample of ``limit`` rows, the same at every run, and how many were rejected; no more are ever held."""
    left_out = 0

    def sound() -> Iterator[QaRow]:
        nonlocal left_out
        measured = {"split": "validation", "retired_at": None}
        for row in QA_DATASET.records(lakehouse.read(QA_DATASET, where=measured, version=version)):
            if row.row_id in rejected:
                left_out += 1
            else:
                yield row

    rows = sound()
    chosen = rows if limit is None else heapq.nsmallest(limit, rows, key=lambda row: sampling_key(row.row_id))
    return sorted(chosen, key=lambda row: row.row_id), left_out


def _no_validation_rows(config: Config, lakehouse: Lakehouse, rejected: int) -> NothingToDo:
    where = lakehouse.location(QA_DATASET)
    if rejected:
        return NothingToDo(
            f"all {rejected} validation rows in {where} were rejected in review",
            "add documents, or accept or edit rows: a row's latest review in qa_reviews is in force",
        )
    kept = lakehouse.count(QA_DATASET, {"retired_at": None})
    if not kept:
        return NothingToDo(
            f"there are no rows to evaluate in {where}", "run 'finreg generate' with the same configuration first"
        )
    return NothingToDo(
        f"none of the {kept} rows in {where} is a validation row "
        f"(generate.validation_fraction is {config.generate.validation_fraction:g})",
        "raise generate.validation_fraction and run 'finreg generate --resplit', or add documents",
    )


def _refuse_what_it_has_seen(lakehouse: Lakehouse, finetune: FinetuneRun, rows: Sequence[QaRow]) -> None:
    """The split never moves a row by itself, but ``generate --resplit`` does, and a model keeps what it was taught."""
    units = {row.split_unit for row in rows}
    leaked = sorted(units & groups_seen(lakehouse, finetune))
    if leaked:
        raise StageFailed(
            f"{finetune.run_id} has seen {len(leaked)} of the {len(units)} validation articles: "
            f"{', '.join(leaked[:3])}",
            "the rows were split anew since it was trained: run 'finreg finetune' with the same configuration",
        )


# --- answers ---------------------------------------------------------------------------------------------------------


def _predict(
    run: Run, plan: Plan, open_answerer: OpenAnswerer, cache: ReplyCache
) -> tuple[dict[PredictionKey, list[Prediction]], int]:
    """The predictions by model and context mode, each in the order of the plan's rows; and how many were cached.

    One model is open at a time, and none before its turn.
    """
    config = run.config.evaluate
    models, contexts = list(dict.fromkeys(config.models)), list(dict.fromkeys(config.context))
    max_tokens = config.max_new_tokens or MAX_NEW_TOKENS
    predictions: dict[PredictionKey, list[Prediction]] = {}
    cached = 0
    with run.progress.track("evaluate", len(plan.rows) * len(models) * len(contexts), "answers") as advance:
        for model in models:
            with closing(open_answerer(model, plan.finetune)) as answerer:
                for context in contexts:
                    prompts = [_prompt(row, context) for row in plan.rows]
                    texts, hits = cached_answers(answerer, prompts, max_tokens, cache, advance)
                    cached += hits
                    predictions[model, context] = [
                        _prediction(run, plan, row, model, context, text)
                        for row, text in zip(plan.rows, texts, strict=True)
                    ]
    return predictions, cached


def _prompt(row: QaRow, context: str) -> list[Message]:
    return prompt(row.context if context == "with" else "", row.question or "")


def _prediction(run: Run, plan: Plan, row: QaRow, model: str, context: str, text: str) -> Prediction:
    reference = row.answer or ""
    return Prediction(
        run_id=run.run_id,
        finetune_run_id=plan.finetune.run_id if plan.finetune else None,
        dataset=DATASET,
        round=plan.finetune.round if plan.finetune else 0,
        row_id=row.row_id,
        model=model,
        context=context,
        prediction=text,
        reference=reference,
        scores=scores(text, reference, row.answerable),
    )


# --- figures ---------------------------------------------------------------------------------------------------------


def _measure(run: Run, plan: Plan, predictions: dict[PredictionKey, list[Prediction]]) -> Iterator[Metric]:
    """Every metric of the whole and of each kind, by model, and the paired difference where both models answered."""
    kinds = sorted({row.kind for row in plan.rows})
    for context in dict.fromkeys(context for _, context in predictions):
        scored = {
            model: [each.scores for each in of_one] for (model, mode), of_one in predictions.items() if mode == context
        }
        if claims.BASE in scored and claims.TUNED in scored:
            scored[claims.DIFFERENCE] = [
                {metric: tuned[metric] - base[metric] for metric in tuned}
                for base, tuned in zip(scored[claims.BASE], scored[claims.TUNED], strict=True)
            ]
        for slice_ in (claims.WHOLE, *kinds):
            for model, of_rows in scored.items():
                yield from _slice_metrics(run, plan, model, context, slice_, of_rows)


def _slice_metrics(
    run: Run, plan: Plan, model: str, context: str, slice_: str, of_rows: Sequence[dict[str, float]]
) -> Iterator[Metric]:
    for metric, definition in DEFINITIONS.items():
        figure = mean(
            (
                (f"{row.document_id} {row.split_unit}", of_row[metric])
                for row, of_row in zip(plan.rows, of_rows, strict=True)
                if metric in of_row and slice_ in (claims.WHOLE, row.kind)
            ),
            run.config.generate.seed,
        )
        if figure.n:
            yield Metric(
                run_id=run.run_id,
                finetune_run_id=plan.finetune.run_id if plan.finetune else None,
                dataset=DATASET,
                round=plan.finetune.round if plan.finetune else 0,
                model=model,
                context=context,
                slice=slice_,
                key="all",
                definition=definition,
                metric=metric,
                value=figure.value,
                ci_low=figure.ci_low,
                ci_high=figure.ci_high,
                n=figure.n,
            )


def _headline_figures(compared: Sequence[claims.Comparison]) -> dict[str, float]:
    """The headline metric for the summary and `-o json`, as ``tuned_with``; the rest is in `evaluation_metrics`."""
    return {
        f"{metric.model}_{each.context}": round(metric.value, 4)
        for each in compared
        if (each.slice, each.metric) == (claims.WHOLE, claims.HEADLINE)
        for metric in (each.base, each.tuned, each.difference)
        if metric is not None and metric.value is not None
    }


# --- tracking and report ---------------------------------------------------------------------------------------------


def _tags(run: Run, plan: Plan) -> dict[str, str]:
    tags = {"finreg.run_id": run.run_id, "finreg.stage": "evaluate", "finreg.qa_dataset_version": str(plan.version)}
    if plan.finetune:
        tags |= {"finreg.finetune_run_id": plan.finetune.run_id, "finreg.base_model": plan.finetune.base_model}
    return tags


def _track_inputs(tracked: TrackedRun, config: Config, lakehouse: Lakehouse, plan: Plan) -> None:
    tracked.params(config.evaluate.model_dump(mode="json") | {"seed": config.generate.seed})
    tracked.input_table(QA_DATASET.name, lakehouse.location(QA_DATASET), plan.version, len(plan.rows), "evaluation")
    if plan.reviews is not None:
        reviews = lakehouse.count(QA_REVIEWS)
        tracked.input_table(QA_REVIEWS.name, lakehouse.location(QA_REVIEWS), plan.reviews, reviews, "evaluation")


def _tracked_figures(metrics: Sequence[Metric]) -> dict[str, float]:
    """The whole with its intervals, and the kinds, as ``tuned/with/all/token_f1``."""
    found: dict[str, float] = {}
    for each in metrics:
        name = f"{each.model}/{each.context}/{each.slice}/{each.metric}"
        figures: dict[str, Any] = {name: each.value}
        if each.slice == claims.WHOLE:
            figures |= {f"{name}/ci_low": each.ci_low, f"{name}/ci_high": each.ci_high}
        found |= {key: value for key, value in figures.items() if value is not None}
    return found


def _report(
    run: Run,
    lakehouse: Lakehouse,
    plan: Plan,
    predictions: dict[PredictionKey, list[Prediction]],
    metrics: Sequence[Metric],
) -> Report:
    config = run.config
    return Report(
        run_id=run.run_id,
        made_at=datetime.now(UTC),
        base_model=plan.finetune.base_model if plan.finetune else config.finetune.base_model,
        finetune=plan.finetune,
        context_length=config.finetune.context_length,
        tables=_tables_read(lakehouse, plan),
        settings={
            "evaluate.limit": "all rows" if config.evaluate.limit is None else str(config.evaluate.limit),
            "evaluate.max_new_tokens": str(config.evaluate.max_new_tokens or MAX_NEW_TOKENS),
            "generate.validation_fraction": f"{config.generate.validation_fraction:g}",
            "generate.seed": str(config.generate.seed),
            "decoding": "greedy",
        },
        metrics=metrics,
        answered=[
            AnsweredRow(row, [of_one[nth] for of_one in predictions.values()]) for nth, row in enumerate(plan.rows)
        ],
        curve=training_curve(config, plan.finetune) if plan.finetune else [],
        sweep=sweeps_of(config, lakehouse, [plan.finetune] if plan.finetune else []),
    )


def _tables_read(lakehouse: Lakehouse, plan: Plan) -> list[TableRead]:
    tables = [TableRead(QA_DATASET.name, plan.version, len(plan.rows), "validation rows that were answered")]
    if plan.reviews is not None:
        applied = f"reviews, by which {plan.rejected} validation rows stay away"
        tables.append(TableRead(QA_REVIEWS.name, plan.reviews, lakehouse.count(QA_REVIEWS), applied))
    if plan.finetune and lakehouse.exists(FT_TRAINING):
        version = plan.finetune.training_version
        trained = sum(batch.num_rows for batch in lakehouse.read(FT_TRAINING, ["row_id"], version=version))
        tables.append(TableRead(plan.finetune.training_table, version, trained, "rows that the model was tuned on"))
    return tables

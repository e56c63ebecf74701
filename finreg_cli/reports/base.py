"""What the stages see of reports: plain data in, the path of a file out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from finreg_cli.domain.extraction import Schema
from finreg_cli.domain.records import FinetuneRun, Metric, Prediction, QaRow, SynthesisRound


@dataclass(frozen=True)
class TableRead:
    """A table at the version that was read, with the rows that were taken from it."""

    name: str
    version: int
    rows: int
    purpose: str


@dataclass(frozen=True)
class AnsweredRow:
    """A validation row with the answer of each model in each context mode."""

    row: QaRow
    predictions: Sequence[Prediction]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the HTML report shows; all of it stands in the tables, so it can be made again.

    Args:
        run_id: of the evaluation.
        made_at: when, in UTC.
        base_model: the model before training.
        finetune: the evaluated training run; None where only the base model answered.
        context_length: tokens; puts the training tokens into proportion.
        tables: what was read.
        settings: what decided the answers, name to value.
        metrics: the figures, as `evaluation_metrics` has them.
        answered: every evaluated row.
        curve: (step, name, value) of the training; empty where the training log is not on this machine.
    """

    run_id: str
    made_at: datetime
    base_model: str
    finetune: FinetuneRun | None
    context_length: int
    tables: Sequence[TableRead]
    settings: Mapping[str, str]
    metrics: Sequence[Metric]
    answered: Sequence[AnsweredRow]
    curve: Sequence[tuple[int, str, float]]


@dataclass(frozen=True, kw_only=True)
class ExtractionReport:
    """Everything that the HTML report of structured extraction shows; all of it stands in the tables.

    Args:
        run_id: of the evaluation.
        made_at: when, in UTC.
        base_model: the model before training.
        rounds: the evaluated training run of each synthetic round, by round; round 0 is real documents only. Empty
            where no tuned model was evaluated.
        members: every finished member of those rounds' sweeps, with its metrics on ft_eval: ``eval_loss``,
            ``token_accuracy``, ``task_f1_strict``, ``task_f1_published``.
        schema: what was extracted.
        datasets: the test sets by name, the hold-out first, with the number of their documents.
        tables: what was read.
        settings: what decided the answers, name to value.
        metrics: the figures, as `evaluation_metrics` has them (`stages.evaluate_extraction` says how they are named).
        predictions: every document's labels by every model.
        spent: what each synthetic round cost, all runs together, by round.
    """

    run_id: str
    made_at: datetime
    base_model: str
    rounds: Sequence[FinetuneRun]
    members: Sequence[FinetuneRun]
    schema: Schema
    datasets: Mapping[str, int]
    tables: Sequence[TableRead]
    settings: Mapping[str, str]
    metrics: Sequence[Metric]
    predictions: Sequence[Prediction]
    spent: Sequence[SynthesisRound]


WriteExtractionReport = Callable[[ExtractionReport], Path]
"""Writes the report and returns where it stands."""

WriteReport = Callable[[Report], Path]
"""Writes the report and returns where it stands."""

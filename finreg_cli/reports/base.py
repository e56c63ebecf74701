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


Step = tuple[int, str, float]
"""(optimiser step, name, value), as a training run logs it."""


@dataclass(frozen=True)
class SweepMember:
    """A training run among those it was compared with.

    Args:
        run: with its metrics on ft_eval: ``eval_loss``, ``token_accuracy`` and, where they were asked for, ``task_*``.
        curve: what was logged while it trained; empty where the log is not on this machine.
        failure: why it failed; None where it did not.
    """

    run: FinetuneRun
    curve: Sequence[Step]
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """Everything that the page of a sweep shows.

    Args:
        sweep_id: the run_id of the command that trained or took its members.
        made_at: when, in UTC.
        base_model: the model before training.
        select_by: ``finetune.select_by``.
        members: of every round, by round and run id.
        tables: what was trained on and selected by.
        settings: what all members share, name to value.
    """

    sweep_id: str
    made_at: datetime
    base_model: str
    select_by: str
    members: Sequence[SweepMember]
    tables: Sequence[TableRead]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class SweepFiles:
    """The page, and the plots of it as an SVG file."""

    page: Path
    plot: Path


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
        curve: of the training; empty where the training log is not on this machine.
        sweep: every member of the sweep that the training run was selected in; empty without one.
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
    curve: Sequence[Step]
    sweep: Sequence[SweepMember]


@dataclass(frozen=True, kw_only=True)
class ExtractionReport:
    """Everything that the HTML report of structured extraction shows; all of it stands in the tables.

    Args:
        run_id: of the evaluation.
        made_at: when, in UTC.
        base_model: the model before training.
        rounds: the evaluated training run of each synthetic round, by round; round 0 is real documents only. Empty
            where no tuned model was evaluated.
        sweep: every member of those rounds' sweeps.
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
    sweep: Sequence[SweepMember]
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

WriteSweepReport = Callable[[SweepReport], SweepFiles]
"""Writes the page of a sweep and its plot, and returns where they stand."""

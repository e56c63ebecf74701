"""One sweep: a member for each learning rate, duration and LoRA rank, trained, measured and the best selected.

A member is a job that is known by its rows and parameters: what was trained before is taken as it is, and what was
killed goes on at its checkpoint, under the same ids. One that fails is recorded as failed, and the others go on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from finreg_cli.config import Config, Lora
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.metrics import TASK_METRICS
from finreg_cli.domain.records import FINETUNE_LOSSES, FINETUNE_RUNS, FT_EVAL, FT_TRAINING, FinetuneRun, RowLoss
from finreg_cli.errors import ConfigError, ModelMissing, StageFailed, TrainingFailed, WarehouseError
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run
from finreg_cli.stages.open_runs import OpenRuns
from finreg_cli.stages.state_files import write_whole
from finreg_cli.stages.training_tasks import TrainingTask
from finreg_cli.stages.tuned_runs import task_runs
from finreg_cli.tracking.base import TrackedRun, Tracker
from finreg_cli.training.base import NEUTRAL_PARAMS, Trainer, TrainingJob, TrainingResult

Params = dict[str, Any]
"""The resolved ``finetune`` section of one member: one rate, duration and rank, the seed, the round."""

FAILURE = "failure.txt"
"""Beside the model of a run whose state is ``failed``: why."""

OF_THE_SWEEP = {
    "learning_rates",
    "trainer",
    "select_by",
    "task_metric",
    "eval_fraction",
    "max_rows",
    "require_review",
    "register_to",
    "register_alias",
}
"""Keys of ``finetune`` that say which rows and members there are and what becomes of them; the rows themselves stand in
a member's identity. The script reads none of these."""

ENDS_A_SWEEP = (WarehouseError, ModelMissing)
"""What would fail for every member."""


@dataclass(frozen=True)
class Sweep:
    """What the members of one round share."""

    run: Run
    lakehouse: Lakehouse
    trainer: Trainer
    tracker: Tracker
    open_runs: OpenRuns
    task: TrainingTask
    round: int

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def task_metric(self) -> str:
        """The name of the task's own metric among a member's."""
        return TASK_METRICS[self.config.task]

    def named(self, *parts: str) -> str:
        return ", ".join([*([f"round {self.round}"] if self.task.has_rounds else []), *parts])


@dataclass(frozen=True)
class Trained:
    """The members that were trained and measured, those that failed with the reason, and the tracked parent.

    ``parent`` is None where there was nothing to train and nothing to measure.
    """

    finished: Sequence[FinetuneRun]
    failed: Mapping[str, str] = field(default_factory=dict)
    parent: TrackedRun | None = None


# --- members ---------------------------------------------------------------------------------------------------------


def swept_params(sweep: Sweep) -> list[Params]:
    """The parameters of every member; a value that is given twice is one member, because two would share a run."""
    section = sweep.config.finetune
    shared = section.model_dump(mode="json", exclude=OF_THE_SWEEP | {"lora", "duration"})
    shared["seed"] = sweep.config.generate.seed
    if sweep.task.has_rounds:  # two rounds are two jobs, even where max_rows leaves both the same rows
        shared["round"] = sweep.round
    durations = [each.replace("_", "") for each in section.durations]
    ranks: list[int | None] = [None] if section.method == "full" else [*section.lora.ranks]
    swept = product(dict.fromkeys(section.learning_rates), dict.fromkeys(durations), dict.fromkeys(ranks))
    return [
        shared | {"learning_rate": rate, "duration": duration} | _adapter(section.lora, rank)
        for rate, duration, rank in swept
    ]


def _adapter(lora: Lora, rank: int | None) -> Params:
    """Nothing where every weight is trained, and there is no adapter."""
    if rank is None:
        return {}
    return {"lora": {"rank": rank, "alpha": lora.alpha or 2 * rank, "dropout": lora.dropout}}


@dataclass(frozen=True)
class Member:
    """``record`` is its row before it is trained; ``is_done`` where an earlier run has trained and measured it."""

    name: str
    job: TrainingJob
    fingerprint: str
    record: FinetuneRun
    is_done: bool


def members_of(sweep: Sweep, every: Sequence[Params], rows: Path) -> list[Member]:
    of_rows = _hash_of_rows(rows)
    recorded = {each.run_id: each for each in task_runs(sweep.config, sweep.lakehouse)}
    return [_member(sweep, number, params, rows, of_rows, recorded) for number, params in enumerate(every, start=1)]


def _member(
    sweep: Sweep, number: int, params: Params, rows: Path, of_rows: str, recorded: Mapping[str, FinetuneRun]
) -> Member:
    state = sweep.config.state
    identity = {name: value for name, value in params.items() if name not in NEUTRAL_PARAMS}
    fingerprint = content_hash(of_rows, identity)
    of_round = f"r{sweep.round}-" if sweep.task.has_rounds else ""
    run_id = _earlier_run(state / "models", fingerprint) or f"{sweep.run.run_id}-{of_round}{number}"
    output = state / "models" / run_id
    record = _record(sweep, run_id, params)
    if run_id in recorded and (output / "result.json").exists():
        record = _as_recorded(record, recorded[run_id])
    return Member(
        name=sweep.named(*_setting(params, several_ranks=len(set(sweep.config.finetune.lora.ranks)) > 1)),
        job=TrainingJob(run_id, rows, params, output, state / "logs" / f"{run_id}.log"),
        fingerprint=fingerprint,
        record=record,
        is_done=(output / "result.json").exists() and sweep.task.measured(record) is not None,
    )


def _setting(params: Params, several_ranks: bool) -> Iterator[str]:
    """What tells the member from the others."""
    yield f"lr {params['learning_rate']:g}"
    yield params["duration"]
    if several_ranks and "lora" in params:
        yield f"rank {params['lora']['rank']}"


def _hash_of_rows(rows_file: Path) -> str:
    """The same for the same rows, whatever order the tables gave them in."""
    return content_hash(
        sorted(
            content_hash(row["row_id"], row["split"], row["messages"])
            for batch in pq.ParquetFile(rows_file).iter_batches()
            for row in batch.to_pylist()
        )
    )


def _earlier_run(models: Path, fingerprint: str) -> str | None:
    for job in sorted(models.glob("*/job.json"), reverse=True):
        try:
            if json.loads(job.read_text(encoding="utf-8"))["fingerprint"] == fingerprint:
                return job.parent.name
        except (OSError, ValueError, KeyError):
            continue  # not one of ours, or not ours to read: it is trained anew
    return None


def _record(sweep: Sweep, run_id: str, params: Params) -> FinetuneRun:
    """Before the training; how many epochs a duration in batches or tokens comes to is known after it."""
    figures = _figures_of(params)
    return FinetuneRun(
        run_id=run_id,
        sweep_id=sweep.run.run_id,
        task=sweep.config.task,
        round=sweep.round,
        trainer=sweep.config.finetune.trainer,
        base_model=params["base_model"],
        method=params["method"],
        learning_rate=params["learning_rate"],
        epochs=figures.get("duration_ep", 0.0),
        state="running",
        metrics=figures,
        selected=False,
        model_uri=None,
        model_version=None,
        training_table=FT_TRAINING.name,
        training_version=sweep.lakehouse.version(FT_TRAINING) or 0,
    )


def _as_recorded(record: FinetuneRun, earlier: FinetuneRun) -> FinetuneRun:
    """A trained member stays finished, selected and registered until this sweep has come to another selection."""
    return replace(
        record,
        state=earlier.state,
        metrics=earlier.metrics | record.metrics,
        selected=earlier.selected,
        model_uri=earlier.model_uri,
        model_version=earlier.model_version,
        training_version=earlier.training_version,
    )


def _figures_of(params: Params) -> dict[str, float]:
    """What is swept and has no column of its own: ``duration_ep`` (or ``_ba``, ``_tok``) and ``lora_rank``."""
    amount, unit = re.fullmatch(r"(\d+)(ep|ba|tok)", params["duration"]).groups()  # type: ignore[union-attr]  # config has checked it
    figures = {f"duration_{unit}": float(amount)}
    return figures | ({"lora_rank": float(params["lora"]["rank"])} if "lora" in params else {})


# --- training --------------------------------------------------------------------------------------------------------


@contextmanager
def trained(sweep: Sweep, members: Sequence[Member]) -> Iterator[Trained]:
    """Trains and measures all members, and keeps their tracked parent open for what is to be said of them together.

    Raises:
        TrainingFailed: every member failed.
        StageFailed: the only member failed, or one failed of something that no other would escape.
    """
    select_by = sweep.config.finetune.select_by  # a parameter of the parent, which MLflow lets nobody change
    key = content_hash("sweep", [each.fingerprint for each in members], select_by)
    if all(each.is_done for each in members) and key not in sweep.open_runs:
        yield _train_all(sweep, members, None)
        return
    tags = {"finreg.run_id": sweep.run.run_id, "finreg.stage": "finetune"}
    if sweep.task.has_rounds:
        tags["finreg.round"] = str(sweep.round)
    with sweep.open_runs.run(key, sweep.named("finetune"), tags) as parent:
        parent.params({"base_model": sweep.config.finetune.base_model, "select_by": select_by})
        yield _train_all(sweep, members, parent)


def _train_all(sweep: Sweep, members: Sequence[Member], parent: TrackedRun | None) -> Trained:
    finished: list[FinetuneRun] = []
    failed: dict[str, str] = {}
    for member in members:
        try:
            finished.append(_take(sweep, member) if member.is_done else _train(sweep, member, parent))
        except ENDS_A_SWEEP:
            raise
        except StageFailed as error:
            if len(members) == 1:
                raise
            failed[member.job.run_id] = error.message
            sweep.run.progress.note(f"{member.name} failed, and the sweep goes on")
    if not finished:
        names = {each.job.run_id: each.name for each in members}
        said = "; ".join(f"{names[run_id]}: {reason.splitlines()[0]}" for run_id, reason in failed.items())
        raise TrainingFailed(
            sweep.named(f"every member of the sweep failed ({said})"), f"see the logs in {sweep.config.state / 'logs'}"
        )
    return Trained(finished, failed, parent)


def _take(sweep: Sweep, member: Member) -> FinetuneRun:
    sweep.run.progress.note(f"{member.name}: trained already as {member.job.run_id}")
    return _finish(sweep, member, None)


def _train(sweep: Sweep, member: Member, parent: TrackedRun | None) -> FinetuneRun:
    """Trains, measures, and records both; what fails is recorded as failed."""
    job, lakehouse = member.job, sweep.lakehouse
    write_whole(
        job.output / "job.json", json.dumps({"fingerprint": member.fingerprint, "params": job.params}, indent=1)
    )
    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([member.record]))
    tags = {"finreg.run_id": job.run_id, "finreg.sweep_id": sweep.run.run_id, "finreg.stage": "finetune"}
    try:
        with sweep.open_runs.run(job.run_id, member.name, tags, parent) as tracked:
            _track_inputs(tracked, lakehouse, job.params)
            return _finish(sweep, member, tracked)
    except (StageFailed, ConfigError) as error:  # not an interrupt: the same command goes on there
        write_whole(job.output / FAILURE, error.message)
        lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([replace(member.record, state="failed")]))
        raise


def _finish(sweep: Sweep, member: Member, tracked: TrackedRun | None) -> FinetuneRun:
    """Brings the member to its end: what is trained or measured already is taken as it is."""
    done = sweep.trainer.train(member.job, sweep.run.progress)
    if tracked:
        tracked.steps(done.steps())
        tracked.metrics(done.metrics)
        tracked.artifact(done.output / "result.json")
    if tracked or not sweep.lakehouse.count(FINETUNE_LOSSES, {"run_id": member.job.run_id}):
        _keep_losses(sweep.lakehouse, member.job.run_id, done)
    model = replace(
        member.record,
        state="finished",
        epochs=done.metrics.get("epochs", member.record.epochs),
        metrics=member.record.metrics | done.metrics,
        model_uri=str(done.merged),
    )
    found = sweep.task.measure(model)
    if tracked:
        tracked.metrics(found)
    finished = replace(model, metrics=model.metrics | found)
    sweep.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([finished]))
    return finished


def _keep_losses(lakehouse: Lakehouse, run_id: str, done: TrainingResult) -> None:
    """The losses of every row by step; what a killed run had written of them is replaced."""
    losses = (RowLoss(run_id=run_id, step=step, row_id=row_id, loss=loss) for step, row_id, loss in done.losses())
    lakehouse.overwrite(FINETUNE_LOSSES, FINETUNE_LOSSES.batches(losses), where={"run_id": run_id})


def _track_inputs(tracked: TrackedRun, lakehouse: Lakehouse, params: Params) -> None:
    """Of the parameters those that make the result: a resumed run may not change a parameter."""
    tracked.params({name: value for name, value in params.items() if name not in NEUTRAL_PARAMS})
    for table, context in ((FT_TRAINING, "training"), (FT_EVAL, "selection")):
        tracked.input_table(
            table.name, lakehouse.location(table), lakehouse.version(table) or 0, lakehouse.count(table), context
        )


# --- selection -------------------------------------------------------------------------------------------------------


def select(sweep: Sweep, finished: Sequence[FinetuneRun]) -> FinetuneRun:
    """The best by ``finetune.select_by``, marked as ``selected`` in the table, and the others as not.

    Ties go to the lower eval loss. A value that is no number, of a model that diverged, is worse than any other, and so
    is one that is missing.
    """
    measure = sweep.config.finetune.select_by
    metric = sweep.task_metric if measure == "task_metric" else measure
    less_is_better = measure == "eval_loss"

    def rank(each: FinetuneRun) -> tuple[float, float]:
        value = figure(each, metric)
        return math.inf if value is None else value if less_is_better else -value, _or_worst(figure(each, "eval_loss"))

    best = min(finished, key=rank)
    marked = [replace(each, selected=each is best) for each in finished]
    sweep.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(marked))
    return replace(best, selected=True)


def figure(run: FinetuneRun, metric: str) -> float | None:
    """A metric that is a number."""
    value = run.metrics.get(metric)
    return value if value is not None and math.isfinite(value) else None


def _or_worst(loss: float | None) -> float:
    return math.inf if loss is None else loss

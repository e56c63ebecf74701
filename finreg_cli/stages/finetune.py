"""finetune: training rows become chat rows, a sweep trains on them, the best on ``ft_eval`` is selected.

Only training rows take part; what evaluate measures on is read by evaluate alone. Structured extraction has a sweep,
and a selected model, for every synthetic round.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finreg_cli.config import Config
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.metrics import MIN_UNITS
from finreg_cli.domain.records import FINETUNE_RUNS, FT_EVAL, FT_TRAINING, FinetuneRun
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed, TrainingFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.training_tasks import TASK_METRIC, TrainingSet, TrainingTask
from finreg_cli.stages.tuned_runs import selected_runs, task_runs
from finreg_cli.tracking.base import TrackedRun, Tracker
from finreg_cli.training.base import Trainer, TrainingJob

SELECTED_BY = {
    "eval_loss": ("eval_loss", 1),
    "token_accuracy": ("token_accuracy", -1),
    "task_metric": (TASK_METRIC, -1),
}
"""``finetune.select_by`` -> the metric, and the sign with which less of it is better."""

Params = dict[str, Any]
"""The resolved ``finetune`` section of one member of a sweep: one learning rate, one duration, the seed, the round."""


@dataclass(frozen=True)
class Sweep:
    """What the members of one round share."""

    run: Run
    lakehouse: Lakehouse
    trainer: Trainer
    tracker: Tracker
    task: TrainingTask
    round: int

    @property
    def config(self) -> Config:
        return self.run.config

    def named(self, *parts: str) -> str:
        return ", ".join([*([f"round {self.round}"] if self.task.has_rounds else []), *parts])


def finetune(
    run: Run,
    lakehouse: Lakehouse,
    trainer: Trainer,
    tracker: Tracker,
    task: TrainingTask,
    rounds: Sequence[int] | None = None,
) -> StageResult:
    """Trains one model per learning rate and duration, in each round, and selects the best by ``finetune.select_by``.

    A member whose rows and parameters were trained before is taken as it is; a killed one resumes at its checkpoint.

    Args:
        rounds: which to train, ascending; None for all that the task asks for.

    Raises:
        NothingToDo: there are no training rows, or too few groups to hold some back for ``ft_eval``.
        TrainingFailed: every member of a sweep failed.
    """
    result = StageResult("finetune")
    counts: dict[int, dict[str, Any]] = {}
    for round_ in task.rounds if rounds is None else rounds:
        sweep = Sweep(run, lakehouse, trainer, tracker, task, round_)
        try:
            chosen = task.training_set(round_)
        except NothingToDo as nothing:
            if not counts and not run.dry_run:
                raise
            # A later round, and in `all --dry-run` even the first, may be one that is still to be generated.
            result.warnings.append(f"{nothing.message}: {nothing.remedy}")
            break
        members = _params(sweep)
        counts[round_] = {
            "rows": chosen.count,
            "left_out": chosen.left_out,
            "runs": len(members),
            "eval_units": len(chosen.held_back),
        }
        if run.dry_run:
            continue
        best = _select(sweep, _train_all(sweep, members, _write_rows(sweep, chosen), result))
        counts[round_] |= _figures(sweep, best)
        _tell(sweep, best, result)
        if round_ and run.config.generate.early_stop and _is_no_better(sweep, best, result):
            result.ends_rounds = True
            break
    result.counts = {"rounds": {str(each): of for each, of in counts.items()}} if task.has_rounds else counts.get(0, {})
    if not run.dry_run:
        result.saw(lakehouse, FT_TRAINING, FT_EVAL, FINETUNE_RUNS)
    return result


# --- rows ------------------------------------------------------------------------------------------------------------


def _write_rows(sweep: Sweep, chosen: TrainingSet) -> Path:
    """Writes ``ft_training`` and ``ft_eval``, and both as the one file that the training script takes."""
    for table, of_eval in ((FT_TRAINING, False), (FT_EVAL, True)):
        rows = (row for row in chosen.rows() if (row.group_key in chosen.held_back) == of_eval)
        sweep.lakehouse.overwrite(table, table.batches(rows))
    return _export_rows(sweep.config.state / "training", sweep.lakehouse)


def _export_rows(folder: Path, lakehouse: Lakehouse) -> Path:
    """Both tables as one Parquet file, for a script that runs here or on a worker without Delta."""
    folder.mkdir(parents=True, exist_ok=True)
    target, unfinished = folder / "rows.parquet", folder / "rows.parquet.part"
    schema = FT_TRAINING.schema.append(pa.field("split", pa.string()))
    with pq.ParquetWriter(unfinished, schema) as file:
        for table, split in ((FT_TRAINING, "train"), (FT_EVAL, "eval")):
            for batch in lakehouse.read(table):
                file.write_batch(batch.append_column("split", pa.array([split] * batch.num_rows, pa.string())))
    unfinished.replace(target)
    return target


# --- a sweep ---------------------------------------------------------------------------------------------------------


def _params(sweep: Sweep) -> list[Params]:
    config = sweep.config
    section = config.finetune.model_dump(mode="json", exclude={"learning_rates", "trainer", "select_by", "max_rows"})
    section["seed"] = config.generate.seed
    if sweep.task.has_rounds:  # two rounds are two jobs, even where max_rows leaves both the same rows
        section["round"] = sweep.round
    # A value that is given twice is one member: two would share a run.
    swept = product(dict.fromkeys(config.finetune.learning_rates), dict.fromkeys(config.finetune.durations))
    return [section | {"learning_rate": rate, "duration": duration} for rate, duration in swept]


def _train_all(sweep: Sweep, every: Sequence[Params], rows: Path, result: StageResult) -> list[FinetuneRun]:
    members = [_member(sweep, number, params, rows) for number, params in enumerate(every, start=1)]
    finished: list[FinetuneRun] = []
    tags = {"finreg.run_id": sweep.run.run_id, "finreg.stage": "finetune"}
    if sweep.task.has_rounds:
        tags["finreg.round"] = str(sweep.round)
    nothing_new = all(each.is_done for each in members)
    with nullcontext() if nothing_new else sweep.tracker.run(sweep.named("finetune"), tags) as parent:
        if parent:
            section = sweep.config.finetune
            parent.params({"base_model": section.base_model, "select_by": section.select_by})
        for member in members:
            try:
                finished.append(_take(sweep, member) if member.is_done else _train(sweep, member, parent))
            except TrainingFailed as error:
                if len(members) == 1:
                    raise
                result.warnings.append(f"{member.name} failed: {error.message}")
    if not finished:
        raise TrainingFailed(
            sweep.named("every member of the sweep failed"), f"see the logs in {sweep.config.state / 'logs'}"
        )
    return finished


def _select(sweep: Sweep, finished: Sequence[FinetuneRun]) -> FinetuneRun:
    """The best, marked as ``selected`` in the table, and the others as not; ties go to the lower eval loss."""
    metric, sign = SELECTED_BY[sweep.config.finetune.select_by]

    def rank(each: FinetuneRun) -> tuple[float, float]:
        return sign * each.metrics.get(metric, sign * math.inf), each.metrics.get("eval_loss", math.inf)

    best = min(finished, key=rank)
    marked = [replace(each, selected=each is best) for each in finished]
    sweep.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(marked))
    return replace(best, selected=True)


# --- one member of a sweep -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """``record`` is its row before it is trained; ``is_done`` where an earlier run has trained and measured it."""

    name: str
    job: TrainingJob
    fingerprint: str
    record: FinetuneRun
    is_done: bool


def _member(sweep: Sweep, number: int, params: Params, rows: Path) -> Member:
    state = sweep.config.state
    fingerprint = _fingerprint(rows, params)
    earlier = _earlier_run(state / "models", fingerprint)
    of_round = f"r{sweep.round}-" if sweep.task.has_rounds else ""
    run_id = earlier or f"{sweep.run.run_id}-{of_round}{number}"
    output = state / "models" / run_id
    record = _record(sweep, run_id, params)
    return Member(
        name=sweep.named(f"lr {params['learning_rate']:g}", params["duration"]),
        job=TrainingJob(run_id, rows, params, output, state / "logs" / f"{run_id}.log"),
        fingerprint=fingerprint,
        record=record,
        is_done=(output / "result.json").exists() and sweep.task.measured(record) is not None,
    )


def _take(sweep: Sweep, member: Member) -> FinetuneRun:
    sweep.run.progress.note(f"{member.name}: trained already as {member.job.run_id}")
    return _finish(sweep, member, None)


def _train(sweep: Sweep, member: Member, parent: TrackedRun | None) -> FinetuneRun:
    """Trains, measures, and records both; what fails is recorded as failed."""
    job, lakehouse = member.job, sweep.lakehouse
    job.output.mkdir(parents=True, exist_ok=True)
    (job.output / "job.json").write_text(
        json.dumps({"fingerprint": member.fingerprint, "params": job.params}, indent=1)
    )
    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([member.record]))
    tags = {"finreg.run_id": job.run_id, "finreg.sweep_id": sweep.run.run_id, "finreg.stage": "finetune"}
    try:
        with sweep.tracker.run(member.name, tags, parent) as tracked:
            _track_inputs(tracked, lakehouse, job.params)
            return _finish(sweep, member, tracked)
    except (StageFailed, ConfigError):  # not an interrupt: the same command goes on there
        lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([replace(member.record, state="failed")]))
        raise


def _finish(sweep: Sweep, member: Member, tracked: TrackedRun | None) -> FinetuneRun:
    """Brings the member to its end: what is trained or measured already is taken as it is."""
    done = sweep.trainer.train(member.job, sweep.run.progress)
    if tracked:
        tracked.steps(done.steps())
        tracked.metrics(done.metrics)
        tracked.artifact(done.output / "result.json")
    trained = replace(member.record, state="finished", metrics=done.metrics, model_uri=str(done.merged))
    found = sweep.task.measure(trained)
    if tracked:
        tracked.metrics(found)
    finished = replace(trained, metrics=done.metrics | found)
    sweep.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([finished]))
    return finished


def _record(sweep: Sweep, run_id: str, params: Params) -> FinetuneRun:
    return FinetuneRun(
        run_id=run_id,
        sweep_id=sweep.run.run_id,
        task=sweep.config.task,
        round=sweep.round,
        trainer=sweep.config.finetune.trainer,
        base_model=params["base_model"],
        method=params["method"],
        learning_rate=params["learning_rate"],
        epochs=float(params["duration"].removesuffix("ep")),
        state="running",
        metrics={},
        selected=False,
        model_uri=None,
        model_version=None,
        training_table=FT_TRAINING.name,
        training_version=sweep.lakehouse.version(FT_TRAINING) or 0,
    )


def _track_inputs(tracked: TrackedRun, lakehouse: Lakehouse, params: Params) -> None:
    tracked.params(params)
    for table, context in ((FT_TRAINING, "training"), (FT_EVAL, "selection")):
        tracked.input_table(
            table.name, lakehouse.location(table), lakehouse.version(table) or 0, lakehouse.count(table), context
        )


def _fingerprint(rows_file: Path, params: Params) -> str:
    """The same rows and parameters are the same job, whatever order the tables gave the rows in."""
    rows = sorted(
        content_hash(row["row_id"], row["split"], row["messages"])
        for batch in pq.ParquetFile(rows_file).iter_batches()
        for row in batch.to_pylist()
    )
    return content_hash(rows, params)


def _earlier_run(models: Path, fingerprint: str) -> str | None:
    for job in sorted(models.glob("*/job.json"), reverse=True):
        try:
            if json.loads(job.read_text())["fingerprint"] == fingerprint:
                return job.parent.name
        except (OSError, ValueError, KeyError):
            continue  # a run killed while it wrote this file: it is trained anew
    return None


# --- what is said of it ----------------------------------------------------------------------------------------------


def _figures(sweep: Sweep, best: FinetuneRun) -> dict[str, Any]:
    tokens = best.metrics.get("train_tokens", 0.0)
    figures = {
        "selected": best.run_id,
        "learning_rate": best.learning_rate,
        "eval_loss": best.metrics.get("eval_loss"),
        "token_accuracy": best.metrics.get("token_accuracy"),
        "train_tokens": int(tokens),
        "context_lengths": round(tokens / sweep.config.finetune.context_length, 1),
    }
    if not sweep.task.has_rounds:
        return figures
    of_task = {name: value for name, value in best.metrics.items() if name.startswith("task_")}
    return figures | {"epochs": best.epochs, "eval_rows": sweep.lakehouse.count(FT_EVAL)} | of_task


def _tell(sweep: Sweep, best: FinetuneRun, result: StageResult) -> None:
    if TASK_METRIC in best.metrics:
        selected = sweep.named(f"lr {best.learning_rate:g}", f"{best.epochs:g}ep")
        result.findings.append(
            f"{selected}: strict F1 {best.metrics[TASK_METRIC]:.3f} on the {best.metrics['task_documents']:.0f} "
            f"documents of ft_eval, eval loss {best.metrics.get('eval_loss', math.nan):.3f}"
        )
    skipped = int(best.metrics.get("skipped_rows", 0))
    if skipped:
        too_long = sweep.named(f"{skipped} rows are longer than finetune.context_length")
        result.warnings.append(
            f"{too_long} ({sweep.config.finetune.context_length} tokens) and were left out of training: "
            f"{Path(best.model_uri or '').parent / 'result.json'} names them"
        )


def _is_no_better(sweep: Sweep, best: FinetuneRun, result: StageResult) -> bool:
    """Whether the round's gain on ``ft_eval`` may be none: ``generate.early_stop`` trains no further round then."""
    earlier = _last_selected(sweep)
    gain = sweep.task.gain(best, earlier) if earlier else None
    if gain is None or gain.value is None or gain.ci_low is None or gain.ci_high is None:
        result.warnings.append(
            f"generate.early_stop cannot judge round {sweep.round}, and ends nothing: there are "
            f"{gain.n if gain else 0} documents in ft_eval to compare it with the round before, and an interval needs "
            f"{MIN_UNITS} (raise finetune.eval_fraction, or add labelled documents)"
        )
        return False
    is_better = gain.ci_low > 0
    result.findings.append(
        f"round {sweep.round} is {'surely' if is_better else 'not surely'} better than round {sweep.round - 1} on "
        f"ft_eval: {gain.value:+.3f} [{gain.ci_low:.3f}, {gain.ci_high:.3f}], n={gain.n}"
        f"{'' if is_better else '; early stop'}"
    )
    return not is_better


def _last_selected(sweep: Sweep) -> FinetuneRun | None:
    """Of the round before."""
    selected = selected_runs(task_runs(sweep.config, sweep.lakehouse))
    return next((each for each in reversed(selected) if each.round == sweep.round - 1), None)

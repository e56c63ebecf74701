"""finetune: training rows become chat rows, a sweep trains on them, the best on ``ft_eval`` is selected.

Only rows of the training split take part; validation rows are read by ``evaluate`` alone.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finreg_cli.config import Config
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.records import FINETUNE_RUNS, FT_EVAL, FT_TRAINING, QA_DATASET, FinetuneRun, QaRow, TrainingRow
from finreg_cli.domain.splits import sampling_key, unit_fraction
from finreg_cli.errors import NothingToDo, TrainingFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.tasks import regulation_qa
from finreg_cli.tracking.base import TrackedRun, Tracker
from finreg_cli.training.base import Trainer, TrainingJob

LOWER_IS_BETTER = {"eval_loss": True, "token_accuracy": False}


def finetune(run: Run, lakehouse: Lakehouse, trainer: Trainer, tracker: Tracker) -> StageResult:
    """Trains one model per learning rate and selects the best by ``finetune.select_by``.

    A member whose rows and parameters were trained before is taken as it is; a killed one resumes at its checkpoint.

    Raises:
        NothingToDo: there are no training rows, or too few units to hold some back for ``ft_eval``.
        TrainingFailed: every member of the sweep failed.
    """
    config = run.config
    if run.dry_run and not lakehouse.count(QA_DATASET):  # in `all --dry-run` they are still to be made
        return StageResult("finetune", warnings=["there are no rows yet, so nothing can be planned on them"])
    row_ids, counts = _choose_rows(config, lakehouse)
    eval_units = _eval_units(config, lakehouse, row_ids)
    members = [_params(config, rate) for rate in config.finetune.learning_rates]
    result = StageResult("finetune", counts=counts | {"runs": len(members), "eval_units": len(eval_units)})
    if run.dry_run:
        return result

    for table, of_eval in ((FT_TRAINING, False), (FT_EVAL, True)):
        rows = (each for each in _training_rows(lakehouse, row_ids) if (each.group_key in eval_units) == of_eval)
        lakehouse.overwrite(table, table.batches(rows))
    rows_file = _export_rows(config.state / "training", lakehouse)

    finished: list[FinetuneRun] = []
    with tracker.run("finetune", {"finreg.run_id": run.run_id, "finreg.stage": "finetune"}) as parent:
        parent.params({"base_model": config.finetune.base_model, "select_by": config.finetune.select_by})
        for number, params in enumerate(members, start=1):
            try:
                finished.append(_train_member(run, lakehouse, trainer, tracker, parent, number, params, rows_file))
            except TrainingFailed as error:
                if len(members) == 1:
                    raise
                result.warnings.append(f"learning rate {params['learning_rate']:g} failed: {error.message}")
    if not finished:
        raise TrainingFailed("every member of the sweep failed", f"see the logs in {config.state / 'logs'}")

    best = _select(finished, config.finetune.select_by)
    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(replace(each, selected=each is best) for each in finished))
    result.counts |= _figures(best, config.finetune.context_length)
    skipped = int(best.metrics.get("skipped_rows", 0))
    if skipped:
        result.warnings.append(
            f"{skipped} rows are longer than finetune.context_length ({config.finetune.context_length} tokens) and "
            f"were left out of training: {Path(best.model_uri or '').parent / 'result.json'} names them"
        )
    result.saw(lakehouse, FT_TRAINING, FT_EVAL, FINETUNE_RUNS)
    return result


# --- rows ------------------------------------------------------------------------------------------------------------


def _choose_rows(config: Config, lakehouse: Lakehouse) -> tuple[set[str], dict[str, Any]]:
    """The ids to train on (a sample of ``max_rows``, the same at every run), and why others stay away."""
    reasons: Counter[str] = Counter()
    ids: list[str] = []
    for batch in lakehouse.read(QA_DATASET, ["row_id", "retired_at", "outputs_may_train"], where={"split": "train"}):
        for row in batch.to_pylist():
            if row["retired_at"] is not None:
                reasons["retired"] += 1
            elif not row["outputs_may_train"]:
                reasons["outputs_may_not_train"] += 1
            else:
                ids.append(row["row_id"])
    most = config.finetune.max_rows
    chosen = ids if most is None else heapq.nsmallest(most, ids, key=sampling_key)
    reasons["beyond_max_rows"] = len(ids) - len(chosen)
    if not chosen:
        left_out = {reason: count for reason, count in reasons.items() if count}
        raise NothingToDo(
            f"there are no rows to train on in {lakehouse.location(QA_DATASET)} (split train; left out: "
            f"{left_out or 'none'})",
            "run 'finreg generate' with the same configuration first; 'finreg status' shows what is there",
        )
    return set(chosen), {"rows": len(chosen), "left_out": {k: v for k, v in reasons.items() if v}}


def _training_rows(lakehouse: Lakehouse, row_ids: set[str]) -> Iterator[TrainingRow]:
    for row in _qa_rows(lakehouse, row_ids):
        yield TrainingRow(messages=regulation_qa.training_messages(row), row_id=row.row_id, group_key=row.split_unit)


def _qa_rows(lakehouse: Lakehouse, row_ids: set[str]) -> Iterator[QaRow]:
    for row in QA_DATASET.records(lakehouse.read(QA_DATASET, where={"split": "train", "retired_at": None})):
        if row.row_id in row_ids:
            yield row


def _eval_units(config: Config, lakehouse: Lakehouse, row_ids: set[str]) -> set[str]:
    """The legal units held back from training for selection: at least one, chosen by a hash and not by position."""
    units: set[str] = set()
    for batch in lakehouse.read(QA_DATASET, ["row_id", "split_unit"], where={"split": "train", "retired_at": None}):
        units |= {row["split_unit"] for row in batch.to_pylist() if row["row_id"] in row_ids}
    if len(units) < 2:
        raise NothingToDo(
            f"all training rows come from one unit ({next(iter(units))}), so none can be held back for ft_eval",
            "add documents, raise finetune.max_rows or lower generate.validation_fraction",
        )
    held_back = math.ceil(config.finetune.eval_fraction * len(units))
    return set(heapq.nsmallest(held_back, units, key=lambda unit: unit_fraction(config.generate.seed, "ft_eval", unit)))


def _export_rows(folder: Path, lakehouse: Lakehouse) -> Path:
    """Both tables as the one Parquet file that the training script takes, here or on a worker without Delta."""
    folder.mkdir(parents=True, exist_ok=True)
    target, unfinished = folder / "rows.parquet", folder / "rows.parquet.part"
    schema = FT_TRAINING.schema.append(pa.field("split", pa.string()))
    with pq.ParquetWriter(unfinished, schema) as file:
        for table, split in ((FT_TRAINING, "train"), (FT_EVAL, "eval")):
            for batch in lakehouse.read(table):
                file.write_batch(batch.append_column("split", pa.array([split] * batch.num_rows, pa.string())))
    unfinished.replace(target)
    return target


# --- one member of the sweep -----------------------------------------------------------------------------------------


def _params(config: Config, learning_rate: float) -> dict[str, Any]:
    section = config.finetune.model_dump(mode="json", exclude={"learning_rates", "trainer", "select_by", "max_rows"})
    return section | {"learning_rate": learning_rate, "seed": config.generate.seed}


def _train_member(
    run: Run,
    lakehouse: Lakehouse,
    trainer: Trainer,
    tracker: Tracker,
    parent: TrackedRun,
    number: int,
    params: dict[str, Any],
    rows_file: Path,
) -> FinetuneRun:
    state = run.config.state
    fingerprint = _fingerprint(rows_file, params)
    earlier = _earlier_run(state / "models", fingerprint)
    run_id = earlier or f"{run.run_id}-{number}"
    output = state / "models" / run_id
    output.mkdir(parents=True, exist_ok=True)
    (output / "job.json").write_text(json.dumps({"fingerprint": fingerprint, "params": params}, indent=1))

    record = _record(run, lakehouse, run_id, params)
    if earlier and (output / "result.json").exists():
        run.progress.note(f"learning rate {params['learning_rate']:g}: trained already as {run_id}")
        done = trainer.train(_job(state, run_id, rows_file, params, output), run.progress)
        finished = replace(record, state="finished", metrics=done.metrics, model_uri=str(done.merged))
        lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([finished]))
        return finished

    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([record]))
    tags = {"finreg.run_id": run_id, "finreg.sweep_id": run.run_id, "finreg.stage": "finetune"}
    with tracker.run(f"lr {params['learning_rate']:g}", tags, parent) as tracked:
        _track_inputs(tracked, lakehouse, params)
        try:
            done = trainer.train(_job(state, run_id, rows_file, params, output), run.progress)
        except TrainingFailed:
            lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([replace(record, state="failed")]))
            raise
        tracked.steps(done.steps())
        tracked.metrics(done.metrics)
        tracked.artifact(done.output / "result.json")
    finished = replace(record, state="finished", metrics=done.metrics, model_uri=str(done.merged))
    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([finished]))
    return finished


def _job(state: Path, run_id: str, rows: Path, params: dict[str, Any], output: Path) -> TrainingJob:
    return TrainingJob(run_id, rows, params, output, state / "logs" / f"{run_id}.log")


def _record(run: Run, lakehouse: Lakehouse, run_id: str, params: dict[str, Any]) -> FinetuneRun:
    return FinetuneRun(
        run_id=run_id,
        sweep_id=run.run_id,
        task=run.config.task,
        round=0,
        trainer=run.config.finetune.trainer,
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
        training_version=lakehouse.version(FT_TRAINING) or 0,
    )


def _track_inputs(tracked: TrackedRun, lakehouse: Lakehouse, params: dict[str, Any]) -> None:
    tracked.params(params)
    for table, context in ((FT_TRAINING, "training"), (FT_EVAL, "selection")):
        tracked.input_table(
            table.name, lakehouse.location(table), lakehouse.version(table) or 0, lakehouse.count(table), context
        )


def _fingerprint(rows_file: Path, params: dict[str, Any]) -> str:
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


def _select(finished: list[FinetuneRun], by: str) -> FinetuneRun:
    sign = 1 if LOWER_IS_BETTER[by] else -1
    return min(finished, key=lambda each: sign * each.metrics.get(by, math.inf * sign))


def _figures(best: FinetuneRun, context_length: int) -> dict[str, Any]:
    tokens = best.metrics.get("train_tokens", 0.0)
    return {
        "selected": best.run_id,
        "learning_rate": best.learning_rate,
        "eval_loss": best.metrics.get("eval_loss"),
        "token_accuracy": best.metrics.get("token_accuracy"),
        "train_tokens": int(tokens),
        "context_lengths": round(tokens / context_length, 1),
    }

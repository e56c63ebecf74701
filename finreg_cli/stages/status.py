"""status and show: what stands in the tables, what is stale, and where a model's rows came from. Reads only."""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    EVALUATION_PREDICTIONS,
    FINETUNE_LOSSES,
    FT_EVAL,
    FT_TRAINING,
    QA_DATASET,
    SPLITTED_DOCUMENTS,
    TABLES,
    FinetuneRun,
    Message,
    RowLoss,
    TrainingRow,
)
from finreg_cli.domain.reviews import refusal
from finreg_cli.domain.versions import in_force
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages import extraction_status
from finreg_cli.stages.base import distinct
from finreg_cli.stages.conditions import where_of
from finreg_cli.stages.extraction_status import registered_line
from finreg_cli.stages.ingest_plan import gone_line, source_plan
from finreg_cli.stages.recorded_versions import chunk_ids_in_force, recorded_versions, where_in_force
from finreg_cli.stages.reviews import reviews_in_force
from finreg_cli.stages.row_losses import LearntRow, by_loss, highest_after_training
from finreg_cli.stages.tuned_runs import rows_seen, selected_runs, task_runs


@dataclass(frozen=True)
class TableStatus:
    name: str
    rows: int
    version: int | None
    changed: str


@dataclass(frozen=True)
class VersionStatus:
    """A version of a work in ``splitted_documents``; rows are made from the one ``in_force``."""

    work_id: str
    version_date: str | None
    path: str
    document_id: str
    chunks: int
    in_force: bool


@dataclass
class Survey:
    """``stale`` and ``lineage`` are lines for a person; each stale one ends with the command that mends it.

    ``versions`` are ordered by work, the oldest first; ``retired`` counts the rows whose text is no longer in force.
    ``learnt_worst`` are the training rows with the highest loss under the last selected model: wrong rows first.
    """

    tables: list[TableStatus] = field(default_factory=list)
    versions: list[VersionStatus] = field(default_factory=list)
    retired: int = 0
    stale: list[str] = field(default_factory=list)
    learnt_worst: list[LearntRow] = field(default_factory=list)
    lineage: list[str] = field(default_factory=list)


def survey(config: Config, lakehouse: Lakehouse, with_lineage: bool = False) -> Survey:
    """The present state of every table that exists."""
    found = Survey()
    for table in TABLES:
        if lakehouse.exists(table):
            newest = lakehouse.history(table)[0]
            changed = newest.timestamp.astimezone().strftime("%Y-%m-%d %H:%M:%S")
            found.tables.append(TableStatus(table.name, lakehouse.count(table), newest.version, changed))
    if not found.tables:
        raise NothingToDo(
            f"there are no tables in {config.engine.warehouse} ({config.catalog}.{config.schema_})",
            "run 'finreg ingest' or 'finreg all' with the same configuration first",
        )
    questions = config.task == "regulation_qa"
    if questions:
        found.versions = _versions(lakehouse)
        found.retired = lakehouse.count(QA_DATASET) - lakehouse.count(QA_DATASET, {"retired_at": None})
    found.stale = _stale(config, lakehouse) if questions else extraction_status.stale(config, lakehouse)
    selected = _last_selected(config, lakehouse)
    if selected:
        found.learnt_worst = highest_after_training(config, lakehouse, selected)
    if with_lineage:
        found.lineage = _lineage(config, lakehouse) if questions else extraction_status.lineage(config, lakehouse)
    return found


def _stale(config: Config, lakehouse: Lakehouse) -> list[str]:
    found = _stale_files(config, lakehouse)
    chunks = chunk_ids_in_force(lakehouse)
    rows = QA_DATASET, ["row_id", "chunk_ids", "split"], {"retired_at": None}
    orphans, train = 0, set()
    rejected = _rejected(lakehouse, found)
    for batch in lakehouse.read(*rows):
        for row in batch.to_pylist():
            orphans += not chunks.issuperset(row["chunk_ids"])
            if row["split"] == "train" and row["row_id"] not in rejected:
                train.add(row["row_id"])
    if orphans:
        found.append(f"{orphans} rows of qa_dataset stand on chunks that are gone or superseded: finreg generate")
    if back := _back(lakehouse, chunks):
        found.append(f"{back} retired rows stand on chunks that are back: finreg generate")
    if chunks and not lakehouse.exists(QA_DATASET):
        found.append("there are chunks and no rows yet: finreg generate")
    selected = _last_selected(config, lakehouse)
    if train and selected is None:
        found.append("there are training rows and no tuned model yet: finreg finetune")
    if selected:
        found += _stale_model(lakehouse, selected, train)
    return found


def _rejected(lakehouse: Lakehouse, found: list[str]) -> set[str]:
    """The rows that a reviewer rejected; a review that cannot be understood is one more line of ``found``."""
    try:
        reviews = reviews_in_force(lakehouse)
    except StageFailed as failed:
        found.append(f"{failed.message}: {failed.remedy}")
        return set()
    return {row_id for row_id, review in reviews.items() if refusal(review, required=False)}


def _stale_model(lakehouse: Lakehouse, selected: FinetuneRun, train: set[str]) -> list[str]:
    """Of the selected model; ``train`` are the ids of the training rows that stand now."""
    found = []
    gone = len({row["row_id"] for row in rows_seen(lakehouse, selected, ["row_id"])} - train)
    if gone:
        what = "rows that are retired, moved or rejected in review"
        found.append(f"model {selected.run_id} was trained on {gone} {what}: finreg finetune")
    if selected.run_id not in distinct(lakehouse, EVALUATION_METRICS, "finetune_run_id"):
        found.append(f"model {selected.run_id} is selected and not evaluated yet: finreg evaluate")
    return found


def _stale_files(config: Config, lakehouse: Lakehouse) -> list[str]:
    """What `ingest` would do about the source now, each file by its name."""
    try:
        plan = source_plan(config, lakehouse)
    except StageFailed as failed:  # an empty source, or one that cannot be reached now
        return [f"{failed.message}: {failed.remedy}"]
    found = [f"{line}: finreg ingest" for line in plan.lines_by_reason()]
    if plan.gone:
        found.append(f"{gone_line(plan.gone)}: finreg ingest --set ingest.prune=true")
    return found


def _versions(lakehouse: Lakehouse) -> list[VersionStatus]:
    versions = recorded_versions(lakehouse)
    newest = set(in_force(versions).values())
    return [
        VersionStatus(each.work_id, each.version_date, each.path, each.document_id, each.chunks, each in newest)
        for each in versions
    ]


def _back(lakehouse: Lakehouse, chunks: set[str]) -> int:
    """How many retired rows stand on chunks that are in force again."""
    batches = lakehouse.read(QA_DATASET, ["chunk_ids", "retired_at"])
    rows = (row for batch in batches for row in batch.to_pylist())
    return sum(row["retired_at"] is not None and chunks.issuperset(row["chunk_ids"]) for row in rows)


def _last_selected(config: Config, lakehouse: Lakehouse) -> FinetuneRun | None:
    return next(reversed(selected_runs(task_runs(config, lakehouse))), None)


def _lineage(config: Config, lakehouse: Lakehouse) -> list[str]:
    """From the document to the evaluation, with the hashes, versions and ids that an auditor follows."""
    run = _last_selected(config, lakehouse)
    return _lineage_of_rows(lakehouse) + (_lineage_of_model(lakehouse, run) if run else [])


def _lineage_of_rows(lakehouse: Lakehouse) -> list[str]:
    lines = []
    versions = recorded_versions(lakehouse)
    newest = set(in_force(versions).values())
    rows = _rows_by_path(lakehouse)
    for each in sorted(versions, key=lambda each: each.path):
        path, dated = each.path, f", {each.version_date}" if each.version_date else ""
        lines.append(f"{path} (sha256 {each.file_sha256[:12]}, work {each.work_id}{dated})")
        older = "" if each in newest else ", superseded"
        lines.append(
            f"  -> splitted_documents version {lakehouse.version(SPLITTED_DOCUMENTS)}: {each.chunks} chunks{older}"
        )
        for (of_path, method, split), count in sorted(rows.items()):
            if of_path == path:
                lines.append(
                    f"  -> qa_dataset version {lakehouse.version(QA_DATASET)}: {count} rows, {method}, {split}"
                )
    return lines


def _lineage_of_model(lakehouse: Lakehouse, run: FinetuneRun) -> list[str]:
    trained = lakehouse.count(FT_TRAINING) if lakehouse.version(FT_TRAINING) == run.training_version else None
    lines = [
        f"{run.training_table} version {run.training_version}"
        + (f" ({trained} rows)" if trained is not None else "")
        + f" -> run {run.run_id} ({run.base_model}, {run.method}, lr {run.learning_rate:g}) -> {run.model_uri}",
        *registered_line(run),
    ]
    evaluations: Counter[str] = Counter()
    where = {"finetune_run_id": run.run_id}
    for batch in lakehouse.read(EVALUATION_PREDICTIONS, ["run_id"], where):
        evaluations.update(batch.column("run_id").to_pylist())
    for run_id, count in sorted(evaluations.items()):
        lines.append(f"  -> evaluation {run_id}: {count} predictions")
    return lines


def _rows_by_path(lakehouse: Lakehouse) -> Counter[tuple[str, str, str]]:
    """(path, method, split) -> rows; by their chunk, for rows of unchanged chunks outlive their document."""
    paths: dict[str, str] = {}
    for batch in lakehouse.read(SPLITTED_DOCUMENTS, ["chunk_id", "path"], where_in_force(lakehouse)):
        paths.update(zip(batch.column("chunk_id").to_pylist(), batch.column("path").to_pylist(), strict=True))
    rows: Counter[tuple[str, str, str]] = Counter()
    for batch in lakehouse.read(QA_DATASET, ["chunk_id", "method", "split"], {"retired_at": None}):
        for row in batch.to_pylist():
            rows[paths.get(row["chunk_id"], "(gone)"), row["method"], row["split"]] += 1
    return rows


def sample_rows(lakehouse: Lakehouse, name: str, sample: int, where: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Up to ``sample`` rows, spread over the table by a hash and the same at every call; of losses the highest.

    Args:
        where: ``COLUMN=VALUE`` each; all columns hold, and any of the values that one column is named with.

    Raises:
        ConfigError: finreg knows no such table or column, or the column holds no such values.
        NothingToDo: the table was not written yet, or no row matches.
    """
    table = next((each for each in TABLES if each.name == name), None)
    if table is None:
        near = difflib.get_close_matches(name, [each.name for each in TABLES], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        there = ", ".join(each.name for each in TABLES if lakehouse.exists(each)) or "none yet"
        raise ConfigError(f"there is no table '{name}'", f"{hint}there are: {there}")
    found = (
        row
        for batch in lakehouse.read(table, where=where_of(table, where))
        for row in batch.to_pylist(maps_as_pydicts="strict")
    )
    rows = heapq.nsmallest(
        sample,
        (
            (_highest_first(row) if table is FINETUNE_LOSSES else 0.0, content_hash(str(row)), position, row)
            for position, row in enumerate(found)
        ),
    )
    if not rows:
        wanted = f" with {' and '.join(where)}" if where else ""
        raise NothingToDo(f"{name} has no rows{wanted}", "'finreg status' shows which tables have any")
    return [row for *_, row in rows]


def _highest_first(row: dict[str, Any]) -> float:
    return by_loss(RowLoss(**row))[0]


def sample_training_rows(lakehouse: Lakehouse, name: str, sample: int, where: Sequence[str] = ()) -> list[TrainingRow]:
    """As `sample_rows`, of a table that the trainer reads.

    Raises:
        ConfigError: also where the trainer reads another table.
    """
    if name not in (FT_TRAINING.name, FT_EVAL.name):
        raise ConfigError(
            f"--mask shows rows as the trainer sees them, and the trainer does not read {name}",
            f"finreg show {FT_TRAINING.name} --mask, or {FT_EVAL.name}",
        )
    return [
        TrainingRow(
            messages=[Message(**message) for message in row["messages"]],
            row_id=row["row_id"],
            group_key=row["group_key"],
        )
        for row in sample_rows(lakehouse, name, sample, where)
    ]

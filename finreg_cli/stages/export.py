"""export: a table becomes a file that other tools take, as it stands or as conversations for another trainer.

A training file holds what finetune itself would train on: no retired row, no row whose endpoint forbids training on its
outputs, none that a reviewer rejected (and edited ones as edited), no validation row; what is left out is counted.
Beside the file stands its provenance, so that years later someone can say where each of its rows came from. One pass
over one version of the table; a batch is held at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from finreg_cli import __version__
from finreg_cli.config import Config
from finreg_cli.domain.exports import FORMS, ROWS
from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import (
    FT_EVAL,
    FT_TRAINING,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    QA_DATASET,
    QA_DATASET_TRAIN,
    QA_DATASET_VAL,
    QA_REVIEWS,
    QA_SPLIT,
    TABLES,
    Message,
    QaRow,
    Review,
    Table,
)
from finreg_cli.domain.reviews import ACCEPTED, as_reviewed
from finreg_cli.domain.splits import Split
from finreg_cli.errors import ConfigError, NothingToDo
from finreg_cli.lakehouse.base import Lakehouse, Where
from finreg_cli.stages.base import distinct
from finreg_cli.stages.conditions import demand_column, nearest, where_of
from finreg_cli.stages.export_files import (
    demand_writable,
    provenance_of,
    sha256_of,
    write_batches,
    write_text,
)
from finreg_cli.stages.question_rows import Reviewed
from finreg_cli.stages.recorded_versions import recorded_versions
from finreg_cli.stages.reviews import reviews_in_force
from finreg_cli.tasks import regulation_qa
from finreg_cli.tasks.structured_extraction import Reading

Row = Mapping[str, Any]
Conversations = Callable[[Row], Iterator[Sequence[Message]]]
"""Of a row of a table: one conversation, or for a long document one for each window."""

ORIGIN = ("method", "model", "prompt_version", "outputs_may_train")
"""What made a row, in the tables that say so."""

_READ_FOR_TRAINING: Mapping[str, Sequence[str]] = {
    QA_DATASET.name: tuple(each.name for each in fields(QaRow)),  # all that a review may change
    QA_DATASET_TRAIN.name: ("messages",),
    QA_DATASET_VAL.name: ("messages",),
    FT_TRAINING.name: ("messages",),
    FT_EVAL.name: ("messages",),
    LEASE_DOCS_TRAIN.name: ("lease_id", "lease_doc", "labels"),
    LEASE_DOCS_TRAIN_SYNTH.name: ("lease_id", "lease_doc", "labels"),
    LEASE_DOCS_HOLDOUT.name: ("lease_id", "lease_doc", "labels"),
}
"""The tables whose rows make conversations, and the columns that it takes."""

_SIDES: Mapping[str, Split] = {
    QA_DATASET_TRAIN.name: "train",
    QA_DATASET_VAL.name: "validation",
    FT_TRAINING.name: "train",
    FT_EVAL.name: "train",  # carved out of the training rows
    LEASE_DOCS_TRAIN.name: "train",
    LEASE_DOCS_TRAIN_SYNTH.name: "train",
    LEASE_DOCS_HOLDOUT.name: "validation",
}
"""The tables that stand on one side as a whole."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is exported.

    Args:
        form: ``rows`` or one of `FORMS`; None for what suits the table and the file.
        split: the side; None for train in a training form, and for both with ``rows``.
        columns: of the table, in that order; with a training form they stand beside the conversation.
        where: ``COLUMN=VALUE`` each; all columns hold, and any of the values that one column is named with.
        version: of the table; None for the latest.
        include_retired: also rows whose text is no longer in force; with ``rows`` only.
        include_not_trainable: also rows whose endpoint forbids training on its outputs.
    """

    form: str | None = None
    split: Split | None = None
    columns: Sequence[str] = ()
    where: Sequence[str] = ()
    version: int | None = None
    include_retired: bool = False
    include_not_trainable: bool = False


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written. ``read`` counts the table's rows that matched, ``rows`` those of the file."""

    file: str
    provenance: str
    table: str
    version: int
    form: str
    split: Split | None
    rows: int
    read: int
    left_out: dict[str, int]
    bytes: int
    sha256: str
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        form = "" if self.form == ROWS else f" as {self.form}"
        side = f", {self.split}" if self.split else ""
        return [
            f"wrote {self.file}: {self.rows} rows{form}{side}, from {self.table} version {self.version}",
            *([f"left out: {left_out}"] if left_out else []),
            f"provenance: {self.provenance}",
        ]


def export(
    config: Config,
    lakehouse: Lakehouse,
    name: str,
    file: Path,
    selection: Selection,
    reading: Callable[[], Reading],
    progress: Progress,
    force: bool = False,
) -> Export:
    """Writes a table, or a part of it, to ``file``, and beside it where it comes from.

    Args:
        name: the table's.
        file: its suffix decides between JSON lines, Parquet and CSV.
        reading: how documents are cut into windows; called for labelled documents in a training form only.
        force: replace the file if it is there.

    Raises:
        ConfigError: the table, a column, a filter or the form is wrong, or the file is there.
        NothingToDo: the table was not written yet, or no row is left.
        WarehouseError: the table cannot be read, or has no such version.
        StageFailed: the file cannot be written.
    """
    table = _table_named(name, lakehouse)
    target = demand_writable(file, force)
    form = _form_for(table, selection, target)
    side = _side_of(table, selection, form)
    _guard_plain_copies(table, lakehouse, selection)
    obeys_reviews = table is QA_DATASET and form != ROWS
    reviewed = Reviewed(lakehouse, config.finetune.require_review, side or "train") if obeys_reviews else None
    chosen = _Chosen(table, lakehouse, selection, form, side, reviewed)
    if form == ROWS:
        schema = pa.schema([table.schema.field(column) for column in chosen.columns or table.schema.names])
        batches = (batch.select(schema.names) for batch in chosen.batches())
    else:
        schema = _schema_beside(table, form, chosen.columns)
        conversations = _conversations(table, reading, reviewed.reviews if reviewed else {})
        batches = (_conversed(batch, form, schema, conversations) for batch in chosen.batches())

    with progress.track(f"export {name}", lakehouse.count(table, chosen.where), "rows") as advance:
        rows = write_batches(target, schema, _not_nothing(batches, chosen, advance))
    written = Export(
        file=str(file),
        provenance=str(provenance_of(file)),
        table=name,
        version=chosen.version,
        form=form,
        split=side,
        rows=rows,
        read=chosen.read,
        left_out=dict(chosen.left_out.most_common()),
        bytes=target.stat().st_size,
        sha256=sha256_of(target),
        warnings=_warnings(chosen, form, side),
    )
    origin = _provenance(config, lakehouse, written, schema, selection, chosen)
    write_text(provenance_of(target), json.dumps(origin, ensure_ascii=False, indent=1) + "\n")
    return written


# --- what is asked for -----------------------------------------------------------------------------------------------


def _table_named(name: str, lakehouse: Lakehouse) -> Table[Any]:
    known = {each.name: each for each in TABLES}
    table = known.get(name)
    if table is not None and lakehouse.exists(table):
        return table
    there = [each.name for each in TABLES if lakehouse.exists(each)]
    if not there:
        raise NothingToDo(
            f"there is no table to export in {Path(lakehouse.location(QA_DATASET)).parent}",
            "run 'finreg ingest' and 'finreg generate' with the same configuration first",
        )
    if table is not None:
        raise NothingToDo(f"the table {name} was not written yet", f"there are: {', '.join(there)}")
    raise ConfigError(f"there is no table '{name}'", f"{nearest(name, there)}there are: {', '.join(there)}")


def _form_for(table: Table[Any], selection: Selection, target: Path) -> str:
    """The form that is asked for; else a conversation where the table has any and the file can hold it."""
    trains, csv = table.name in _READ_FOR_TRAINING, target.suffix.lower() == ".csv"
    form = selection.form
    if form is None:
        return ROWS if selection.columns or csv or not trains else "messages"
    if form == ROWS:
        return form
    if form not in FORMS:
        raise ConfigError(f"there is no format '{form}'", f"known: {', '.join([ROWS, *FORMS])}")
    if not trains:
        raise ConfigError(
            f"{table.name} holds nothing to train on, so it cannot be written as {form}",
            f"leave --format out, or export one of {', '.join(_READ_FOR_TRAINING)}",
        )
    if csv and not FORMS[form].is_flat:
        raise ConfigError(
            f"a CSV file cannot hold the lists of {form}", "name a .jsonl or .parquet file, or add --format alpaca"
        )
    if selection.include_retired:
        raise ConfigError(
            f"retired rows stand on a text that is no longer in force, and {form} is for training",
            "leave --include-retired out, or add --format rows",
        )
    return form


def _side_of(table: Table[Any], selection: Selection, form: str) -> Split | None:
    """The side whose rows are taken; None for all."""
    fixed = _SIDES.get(table.name)
    wanted: Split | None = selection.split or (None if form == ROWS else "train")
    if wanted and fixed and wanted != fixed:
        purpose = " (to measure with, never to train on)" if fixed == "validation" else ""
        raise ConfigError(f"every row of {table.name} is of the {fixed} side", f"add --split {fixed}{purpose}")
    if wanted and not fixed and "split" not in table.schema.names:
        raise ConfigError(f"the rows of {table.name} have no side", "leave --split out")
    return wanted or fixed


def _guard_plain_copies(table: Table[Any], lakehouse: Lakehouse, selection: Selection) -> None:
    """``qa_dataset_train`` and ``qa_dataset_val`` do not say which row is which, so all of theirs must be good."""
    side = _SIDES.get(table.name)
    if table not in (QA_DATASET_TRAIN, QA_DATASET_VAL) or side is None:
        return
    forbidden = lakehouse.count(QA_DATASET, {"split": side, "retired_at": None, "outputs_may_train": False})
    if forbidden and not selection.include_not_trainable:
        raise ConfigError(
            f"{forbidden} rows of {table.name} must not train (outputs_may_train is false), and it does not say which",
            f"export {QA_DATASET.name} --split {side}, which leaves them out, or add --include-not-trainable",
        )
    changed = {row_id for row_id, review in reviews_in_force(lakehouse).items() if review.verdict != ACCEPTED}
    standing = lakehouse.read(QA_DATASET, ["row_id"], {"split": side, "retired_at": None}) if changed else ()
    reviewed = sum(row_id in changed for batch in standing for row_id in batch.column("row_id").to_pylist())
    if reviewed:
        raise ConfigError(
            f"{reviewed} rows of {table.name} were rejected or edited in qa_reviews, and it does not say which",
            f"export {QA_DATASET.name} --split {side}, which takes the reviewers' word",
        )


def _columns(table: Table[Any], wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        demand_column(table, name)
    return list(dict.fromkeys(wanted))


# --- which rows ------------------------------------------------------------------------------------------------------


class _Chosen:
    """The rows of one version that match and may be exported, with the count of the others by reason."""

    def __init__(
        self,
        table: Table[Any],
        lakehouse: Lakehouse,
        selection: Selection,
        form: str,
        side: Split | None,
        reviewed: Reviewed | None,
    ) -> None:
        self.columns = _columns(table, selection.columns)
        self.where: Where = where_of(table, selection.where)
        latest = lakehouse.version(table) or 0
        self.version = latest if selection.version is None else selection.version
        self.read = 0
        self.left_out: Counter[str] = Counter()
        self.made_by: Counter[tuple[Any, ...]] = Counter()
        self.documents: Counter[str] = Counter()
        self.not_trainable = 0
        self.table, self._lakehouse = table, lakehouse
        self.reviews = lakehouse.version(QA_REVIEWS) if reviewed else None
        self._rules = dict(_rules(table, lakehouse, selection, form, side))
        self._reviewed = reviewed
        self._needs = _READ_FOR_TRAINING[table.name] if form != ROWS else self.columns or table.schema.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches with the columns that are exported, and those that decide and tell of the origin."""
        deciding = ("retired_at", "split", "parent_lease_id", "document_id", *ORIGIN)
        there = [name for name in deciding if name in self.table.schema.names]
        columns = list(dict.fromkeys([*self._needs, *self.columns, *there]))
        for batch in self._lakehouse.read(self.table, columns, self.where, self.version):
            self.read += batch.num_rows
            for reason, holds in self._rules.items():
                kept = batch.filter(holds(batch))
                self.left_out.update({reason: batch.num_rows - kept.num_rows} if kept.num_rows < batch.num_rows else {})
                batch = kept
            if self._reviewed:
                batch = self._without_refused(batch, self._reviewed)
            self._tally(batch)
            yield batch

    def _without_refused(self, batch: pa.RecordBatch, reviewed: Reviewed) -> pa.RecordBatch:
        columns = (batch.column(name).to_pylist() for name in ("row_id", "question"))
        reasons = [reviewed.refusal(*row) for row in zip(*columns, strict=True)]
        self.left_out.update(reason for reason in reasons if reason)
        return batch.filter(pa.array([reason is None for reason in reasons], pa.bool_()))

    def _tally(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        origin = [batch.column(name).to_pylist() for name in ORIGIN if name in names]
        self.made_by.update(zip(*origin, strict=True))
        if "document_id" in names:
            self.documents.update(batch.column("document_id").to_pylist())
        if "outputs_may_train" in names:
            self.not_trainable += batch.num_rows - (pc.sum(batch.column("outputs_may_train")).as_py() or 0)


def _rules(
    table: Table[Any], lakehouse: Lakehouse, selection: Selection, form: str, side: Split | None
) -> Iterator[tuple[str, Callable[[pa.RecordBatch], pa.Array]]]:
    """By the reason for which it leaves a row out: what a row must hold to stay. An unknown (null) does not."""
    names = table.schema.names
    if "retired_at" in names and not selection.include_retired:
        yield "retired", lambda batch: pc.is_null(batch.column("retired_at"))
    if form != ROWS and "outputs_may_train" in names and not selection.include_not_trainable:
        yield "outputs_may_not_train", lambda batch: batch.column("outputs_may_train")
    if side and "split" in names:
        other = "validation" if side == "train" else "train"
        yield other, lambda batch: pc.equal(batch.column("split"), side)
    if form != ROWS and table is LEASE_DOCS_TRAIN_SYNTH:  # a child of the hold-out would show what is measured on
        families = pa.array(sorted(distinct(lakehouse, LEASE_DOCS_TRAIN, "lease_id")), pa.string())
        yield "orphans", lambda batch: pc.is_in(batch.column("parent_lease_id"), value_set=families)


def _not_nothing(
    batches: Iterator[pa.RecordBatch], chosen: _Chosen, advance: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    """The batches that hold rows.

    Raises:
        NothingToDo: at the end, where there was none.
    """
    empty, told = True, 0
    for batch in batches:
        advance(chosen.read - told)
        told = chosen.read
        if batch.num_rows:
            empty = False
            yield batch
    if empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items())
        raise NothingToDo(
            f"no row is left to export of the {chosen.read} that match (left out: {reasons or 'none'})",
            "'finreg status' shows what the tables hold; check --where, --split and generate.validation_fraction",
        )


# --- conversations ---------------------------------------------------------------------------------------------------


def _schema_beside(table: Table[Any], form: str, columns: Sequence[str]) -> pa.Schema:
    """The form's own columns, then those of the table that are to stand beside."""
    own = FORMS[form].schema
    taken = [name for name in columns if name in own.names]
    if taken:
        raise ConfigError(f"--columns names {', '.join(taken)}, which {form} has already", "leave it out of --columns")
    return pa.schema([*own, *(table.schema.field(name) for name in columns)])


def _conversed(batch: pa.RecordBatch, form: str, schema: pa.Schema, conversations: Conversations) -> pa.RecordBatch:
    own = FORMS[form]
    beside = [name for name in schema.names if name not in own.schema.names]
    rows = [
        own.of(conversation) | {name: row[name] for name in beside}
        for row in batch.to_pylist()
        for conversation in conversations(row)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def _conversations(table: Table[Any], reading: Callable[[], Reading], reviews: Mapping[str, Review]) -> Conversations:
    if table is QA_DATASET:
        return _of_questions(reviews)
    if "messages" in table.schema.names:
        return _of_messages
    return _of_documents(reading())


def _of_questions(reviews: Mapping[str, Review]) -> Conversations:
    def conversation(row: Row) -> Iterator[Sequence[Message]]:
        stored = QaRow(**{each.name: row[each.name] for each in fields(QaRow)})
        yield regulation_qa.training_messages(as_reviewed(stored, reviews.get(stored.row_id)))

    return conversation


def _of_messages(row: Row) -> Iterator[Sequence[Message]]:
    yield [Message(**each) for each in row["messages"]]


def _of_documents(reading: Reading) -> Conversations:
    """As finetune trains on them."""

    def windows(row: Row) -> Iterator[Sequence[Message]]:
        lease, labels = row["lease_id"], reading.schema.loads(row["labels"])
        for each in reading.training_rows(lease, lease, row["lease_doc"], labels):
            yield each.messages

    return windows


# --- what is told of it ----------------------------------------------------------------------------------------------


def _warnings(chosen: _Chosen, form: str, side: Split | None) -> list[str]:
    if form == ROWS:
        return []
    found = []
    if side == "validation":
        found.append("these are validation rows: measure with them, a model trained on them cannot be evaluated")
    if chosen.not_trainable:
        found.append(
            f"{chosen.not_trainable} rows are in it that must not train: the terms of the endpoint that wrote them "
            "forbid it (outputs_may_train)"
        )
    return found


def _provenance(
    config: Config, lakehouse: Lakehouse, written: Export, schema: pa.Schema, selection: Selection, chosen: _Chosen
) -> dict[str, Any]:
    return {
        "finreg": __version__,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": {
            "name": Path(written.file).name,
            "bytes": written.bytes,
            "sha256": written.sha256,
            "rows": written.rows,
            "format": written.form,
            "columns": {each.name: str(each.type) for each in schema},
        },
        "table": {
            "name": f"{config.catalog}.{config.schema_}.{written.table}",
            "warehouse": str(config.engine.warehouse),
            "version": written.version,
        },
        "selection": asdict(selection) | {"form": written.form, "split": written.split},
        "read": written.read,
        "left_out": written.left_out,
        "reviews": None if chosen.reviews is None else {"table": QA_REVIEWS.name, "version": chosen.reviews},
        "not_trainable": chosen.not_trainable,
        "split": _split_settings(lakehouse),
        "made_by": _origins(chosen),
        "documents": _documents(lakehouse, chosen),
        "warnings": written.warnings,
    }


def _split_settings(lakehouse: Lakehouse) -> dict[str, Any] | None:
    """What decided the side of each article; None where no question was split."""
    recorded = max(QA_SPLIT.records(lakehouse.read(QA_SPLIT)), key=lambda each: each.recorded_at, default=None)
    if recorded is None:
        return None
    return {"seed": recorded.seed, "validation_fraction": recorded.validation_fraction, "run_id": recorded.run_id}


def _origins(chosen: _Chosen) -> list[dict[str, Any]]:
    names = [name for name in ORIGIN if name in chosen.table.schema.names]
    return [{**dict(zip(names, values, strict=True)), "rows": rows} for values, rows in chosen.made_by.most_common()]


def _documents(lakehouse: Lakehouse, chosen: _Chosen) -> list[dict[str, Any]]:
    """The documents behind the rows; path and hash are null where the document itself is gone from the tables."""
    if not chosen.documents:
        return []
    known = {each.document_id: each for each in recorded_versions(lakehouse)}
    found = []
    for document_id, rows in chosen.documents.most_common():
        each = known.get(document_id)
        found.append(
            {
                "document_id": document_id,
                "work_id": each and each.work_id,
                "version_date": each and each.version_date,
                "path": each and each.path,
                "file_sha256": each and each.file_sha256,
                "rows": rows,
            }
        )
    return found

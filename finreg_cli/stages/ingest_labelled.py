"""ingest of structured_extraction: labelled documents become ``lease_docs_train`` and ``lease_docs_holdout``.

The two tables are the present state of the source, one commit each, and are left alone where nothing has changed.
A lease's side is its own ``split``, else decided by a hash of its id. Whatever is not taken stands in
``ingest_quarantine`` with its reason, or is counted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from finreg_cli.config import Config
from finreg_cli.documents.base import LabelledDocument, LabelledSource, UnusableDocument
from finreg_cli.domain.extraction import Labels, Schema, find, parse_object
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.near_documents import NearDocuments
from finreg_cli.domain.records import (
    INGEST_QUARANTINE,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    TABLES,
    LabelledLease,
    QuarantinedFile,
    Table,
)
from finreg_cli.domain.splits import sampling_key, unit_fraction
from finreg_cli.domain.windows import TokenOffsets
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed, WarehouseError
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run, StageResult

TABLE_PREFIX = "table:"
ALIKE = 0.5
"""The least share of labelled values in common for two documents of like wording to be the same lease."""

_NOT_FAULTY = ("duplicate", "near_holdout")  # reasons that say nothing against the document itself
_ENGINE = "labelled"  # in ingest_quarantine, to tell these rows from those of regulations in the same schema
_NAMED = 5  # of the documents that a warning is about
_MOST_MESSAGE = 400  # characters
_DELETE_IDS = 500
_TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")

Side = Literal["train", "holdout"]
Outcomes = Iterator[LabelledDocument | UnusableDocument]


@dataclass(frozen=True)
class LabelledSet:
    """Labelled documents whose labels fit the schema, in the source's order, and what could not be used."""

    leases: list[LabelledLease]
    unusable: list[UnusableDocument]


def labelled_leases(source: LabelledSource, path: str, labels: str | None, schema: Schema) -> LabelledSet:
    """A set of labelled documents, each once.

    Raises:
        NothingToDo: there is no such file, or no document.
        ConfigError: a folder without labels, or labels that cannot be read at all.
    """
    documents, unusable = _sort_out(source.read(path, labels), schema)
    return LabelledSet([document.lease for document in documents], unusable)


def ingest_labelled(
    run: Run, lakehouse: Lakehouse, source: LabelledSource, schema: Schema, offsets: TokenOffsets
) -> StageResult:
    """Brings ``lease_docs_train``, ``lease_docs_holdout`` and ``ingest_quarantine`` to the present state of the source.

    Synthetic documents whose parent has changed, or is no training document any more, are deleted, and so are those
    that nearly equal a new hold-out document. Where not one document can be used, the tables stay as they are.

    Raises:
        NothingToDo: there is no source, or no document in it that can be used.
        ConfigError: the source cannot be what is named, or has no labels.
        StageFailed: a document cannot be used and ``ingest.on_bad_file`` is ``fail``; the others are kept.
    """
    documents, unusable = _sort_out(_outcomes(run, lakehouse, source), schema)
    plan = _plan(run.config, documents, unusable, schema, offsets)
    before = _Stored(_leases(lakehouse, LEASE_DOCS_TRAIN), _leases(lakehouse, LEASE_DOCS_HOLDOUT))
    retired = _to_retire(lakehouse, before, plan, schema)
    result = _summed_up(plan, before, schema)
    result.counts["synthetic_retired"] = len(retired)
    if run.dry_run:
        return result
    _quarantine(run, lakehouse, plan.refused)
    if not plan.train and not plan.holdout:
        raise NothingToDo(
            f"source.path {run.config.source.path}: none of its {plan.documents} documents can be used. "
            + "; ".join(result.warnings[:3]),
            "finreg show ingest_quarantine gives every reason; see also ingest.max_document_tokens",
        )
    # Before the tables change, so that a stopped run never leaves children of a hold-out document.
    _retire(lakehouse, retired)
    _commit(lakehouse, before, plan)
    faulty = [each for each in plan.refused if each.error_class not in _NOT_FAULTY]
    if faulty and run.config.ingest.on_bad_file == "fail":
        raise StageFailed(
            f"{len(faulty)} labelled documents cannot be used and ingest.on_bad_file is fail: "
            f"{faulty[0].path}: {faulty[0].message}",
            "mend or remove them, or go on without them: --set ingest.on_bad_file=quarantine",
        )
    result.saw(lakehouse, LEASE_DOCS_TRAIN, LEASE_DOCS_HOLDOUT, LEASE_DOCS_TRAIN_SYNTH, INGEST_QUARANTINE)
    return result


# --- The source ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Document:
    """A usable document: where it stands, its row, and the side that the source gives it, if any."""

    path: str
    lease: LabelledLease
    labels: Labels
    split: Side | None


def _outcomes(run: Run, lakehouse: Lakehouse, source: LabelledSource) -> Generator[LabelledDocument | UnusableDocument]:
    place = run.config.source
    found = (
        _from_table(lakehouse, place.path.removeprefix(TABLE_PREFIX))
        if place.path.startswith(TABLE_PREFIX)
        else source.read(place.path, place.labels)
    )
    with run.progress.track("reading labelled documents", None, "documents") as advance:
        for outcome in found:
            yield outcome
            advance(1)


def _from_table(lakehouse: Lakehouse, name: str) -> Outcomes:
    """The documents of a table with the text columns lease_id, lease_doc and labels, by lease_id."""
    where = f"source.path {TABLE_PREFIX}{name}"
    if not _TABLE_NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} is no table's name", "name a table of the configured catalog and schema, table:NAME"
        )
    if name in {table.name for table in TABLES}:
        raise ConfigError(
            f"{where}: finreg itself writes the table {name}", "name a table of your own with the labelled documents"
        )
    table = Table(name, LabelledLease)
    if not lakehouse.exists(table):
        raise NothingToDo(f"{where}: there is no table at {lakehouse.location(table)}", "check catalog and schema")
    try:
        rows = sorted(table.records(lakehouse.read(table)), key=lambda row: row.lease_id or "")
    except WarehouseError as error:
        raise WarehouseError(
            f"{where}: {error.message}", "it needs the text columns lease_id, lease_doc and labels (JSON)"
        ) from error
    return (_from_row(name, row) for row in rows)


def _from_row(table: str, row: LabelledLease) -> LabelledDocument | UnusableDocument:
    # A table that others write may hold nulls in any column.
    document, text = row.lease_doc or "", row.labels or ""
    lease_id = row.lease_id or content_hash(document)
    path = f"{table}:{lease_id}"
    labels = parse_object(text)
    if not document.strip():
        return UnusableDocument(path, "empty", "its lease_doc is empty")
    if labels is None:
        return UnusableDocument(path, "labels", "its labels are no JSON object, or repeat a key")
    return LabelledDocument(path, lease_id, document, labels)


def _sort_out(outcomes: Iterable[LabelledDocument | UnusableDocument], schema: Schema) -> _SortedOut:
    """The usable documents, each text and each lease_id once, and the others."""
    documents: list[_Document] = []
    unusable: list[UnusableDocument] = []
    by_text: dict[str, _Document] = {}
    by_id: dict[str, _Document] = {}
    for outcome in outcomes:
        if isinstance(outcome, UnusableDocument):
            unusable.append(outcome)
            continue
        problem = _labels_problem(outcome, schema)
        if problem is None:
            document = _document(outcome, schema)
            same_text = by_text.setdefault(content_hash(outcome.document.split()), document)
            same_id = by_id.setdefault(outcome.lease_id, document)
            problem = _clash(document, same_text, same_id)
        if problem is None:
            documents.append(document)
        else:
            unusable.append(problem)
    return documents, unusable


_SortedOut = tuple[list[_Document], list[UnusableDocument]]


def _labels_problem(outcome: LabelledDocument, schema: Schema) -> UnusableDocument | None:
    problems = "; ".join(schema.problems(outcome.labels))
    if not problems:
        return None
    return UnusableDocument(outcome.path, "labels", problems[:_MOST_MESSAGE])


def _document(outcome: LabelledDocument, schema: Schema) -> _Document:
    lease = LabelledLease(lease_id=outcome.lease_id, lease_doc=outcome.document, labels=schema.dumps(outcome.labels))
    return _Document(outcome.path, lease, outcome.labels, outcome.split)


def _clash(document: _Document, same_text: _Document, same_id: _Document) -> UnusableDocument | None:
    """Why a document cannot stand beside the first one with its text, and the first one with its id."""
    if same_text is not document:
        if same_text.lease.labels == document.lease.labels:
            return UnusableDocument(document.path, "duplicate", f"has the same text and labels as {same_text.path}")
        return UnusableDocument(document.path, "labels", f"has the text of {same_text.path}, but other labels")
    if same_id is not document:
        message = f"has the lease_id '{document.lease.lease_id}' of {same_id.path}, but another text"
        return UnusableDocument(document.path, "labels", message)
    return None


# --- The two sides ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What the tables are to hold, by lease_id, and the counts of what is left out."""

    documents: int
    train: dict[str, _Document]
    holdout: dict[str, _Document]
    refused: list[UnusableDocument]
    too_long: int
    over_limit: int
    tokens: list[int]


def _plan(
    config: Config,
    documents: Sequence[_Document],
    unusable: Sequence[UnusableDocument],
    schema: Schema,
    offsets: TokenOffsets,
) -> _Plan:
    sides: dict[Side, list[_Document]] = {"train": [], "holdout": []}
    for document in documents:
        sides[_side(config, document)].append(document)
    train, leaks = _without_leaks(sides["train"], sides["holdout"], schema)
    lengths = {each.lease.lease_id: len(offsets(each.lease.lease_doc)) for each in (*train, *sides["holdout"])}
    most = config.ingest.max_document_tokens
    short = [
        [each for each in side if most is None or lengths[each.lease.lease_id] <= most]
        for side in (train, sides["holdout"])
    ]
    kept = [sorted(side, key=lambda each: sampling_key(each.lease.lease_id))[: config.ingest.limit] for side in short]
    by_id = [
        {each.lease.lease_id: each for each in sorted(side, key=lambda each: each.lease.lease_id)} for side in kept
    ]
    return _Plan(
        documents=len(documents) + len(unusable),
        train=by_id[0],
        holdout=by_id[1],
        refused=[*unusable, *leaks],
        too_long=len(lengths) - sum(map(len, short)),
        over_limit=sum(map(len, short)) - sum(map(len, kept)),
        tokens=[lengths[lease_id] for side in by_id for lease_id in side],
    )


def _side(config: Config, document: _Document) -> Side:
    if document.split is not None:
        return document.split
    fraction = unit_fraction(config.generate.seed, "lease", document.lease.lease_id)
    return "holdout" if fraction < config.ingest.holdout_fraction else "train"


def _without_leaks(
    train: Sequence[_Document], holdout: Sequence[_Document], schema: Schema
) -> tuple[list[_Document], list[UnusableDocument]]:
    """The training documents that are no near copies of a hold-out one, and those that are."""
    held = _HeldOut(holdout, schema)
    kept, leaks = [], []
    for document in train:
        near = held.near(document.lease.lease_doc, document.labels)
        if near is None:
            kept.append(document)
        else:
            message = f"nearly equals the hold-out document '{near.lease.lease_id}' ({near.path})"
            leaks.append(UnusableDocument(document.path, "near_holdout", message))
    return kept, leaks


class _HeldOut:
    """The hold-out documents, to find the one that another document nearly equals.

    Two documents of one form are alike in wording; only with `ALIKE` of their values in common are they one lease.
    """

    def __init__(self, documents: Sequence[_Document], schema: Schema) -> None:
        self._documents = {document.lease.lease_id: document for document in documents}
        self._schema = schema
        self._index = NearDocuments()
        for lease_id, document in self._documents.items():
            self._index.add(lease_id, document.lease.lease_doc)

    def near(self, text: str, labels: Labels) -> _Document | None:
        lease_id = self._index.near(text) if self._documents else None
        if lease_id is None:
            return None
        document = self._documents[lease_id]
        return document if _values_in_common(labels, document.labels, self._schema) >= ALIKE else None


def _values_in_common(one: Labels, other: Labels, schema: Schema) -> float:
    """The share of equal values among the keys of which either document has a value."""
    said = [key for key in schema.keys if one[key] is not None or other[key] is not None]
    return sum(one[key] == other[key] for key in said) / len(said) if said else 1.0


# --- The tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """What the two tables hold, by lease_id."""

    train: dict[str, LabelledLease]
    holdout: dict[str, LabelledLease]


def _leases(lakehouse: Lakehouse, table: Table[LabelledLease]) -> dict[str, LabelledLease]:
    return {lease.lease_id: lease for lease in table.records(lakehouse.read(table))}


def _commit(lakehouse: Lakehouse, before: _Stored, plan: _Plan) -> None:
    """Writes the sides that have changed. A stopped run never leaves a lease on both.

    So leases that come from the hold-out join the training table only when the hold-out has let them go.
    """
    train = {lease_id: document.lease for lease_id, document in plan.train.items()}
    holdout = {lease_id: document.lease for lease_id, document in plan.holdout.items()}
    held_texts = {lease.lease_doc for lease in before.holdout.values()}
    settled = {
        lease_id: lease
        for lease_id, lease in train.items()
        if lease_id not in before.holdout and lease.lease_doc not in held_texts
    }
    present = _write(lakehouse, LEASE_DOCS_TRAIN, before.train, settled)
    _write(lakehouse, LEASE_DOCS_HOLDOUT, before.holdout, holdout)
    _write(lakehouse, LEASE_DOCS_TRAIN, present, train)


def _write(
    lakehouse: Lakehouse,
    table: Table[LabelledLease],
    before: dict[str, LabelledLease],
    leases: dict[str, LabelledLease],
) -> dict[str, LabelledLease]:
    if leases != before or not lakehouse.exists(table):
        lakehouse.overwrite(table, table.batches(leases.values()))
    return leases


def _to_retire(lakehouse: Lakehouse, before: _Stored, plan: _Plan, schema: Schema) -> list[str]:
    """The synthetic documents whose parent is no training document any more, or not the same, and those that nearly
    equal a document which is new in the hold-out."""
    fresh = [each for lease_id, each in plan.holdout.items() if before.holdout.get(lease_id) != each.lease]
    held = _HeldOut(fresh, schema)
    retired = []
    for row in LEASE_DOCS_TRAIN_SYNTH.records(lakehouse.read(LEASE_DOCS_TRAIN_SYNTH)):
        parent = plan.train.get(row.parent_lease_id)
        is_parent_same = parent is not None and before.train.get(row.parent_lease_id, parent.lease) == parent.lease
        if not is_parent_same or held.near(row.lease_doc, schema.loads(row.labels)):
            retired.append(row.lease_id)
    return retired


def _retire(lakehouse: Lakehouse, lease_ids: Sequence[str]) -> None:
    for start in range(0, len(lease_ids), _DELETE_IDS):
        some = lease_ids[start : start + _DELETE_IDS]
        lakehouse.overwrite(LEASE_DOCS_TRAIN_SYNTH, [], where={"lease_id": some})


def _quarantine(run: Run, lakehouse: Lakehouse, refused: Sequence[UnusableDocument]) -> None:
    """The present refusals; one that stands there already keeps the run that found it."""
    mine = {"engine": _ENGINE}
    stored = {_key(row): row for row in INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE, where=mine))}
    present = {_key(row): stored.get(_key(row), row) for row in (_quarantined(run, each) for each in refused)}
    if present.keys() != stored.keys():
        lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(present.values()), where=mine)


def _quarantined(run: Run, refused: UnusableDocument) -> QuarantinedFile:
    return QuarantinedFile(
        run_id=run.run_id,
        path=refused.path,
        file_sha256=None,
        error_class=refused.error_class,
        message=refused.message,
        engine=_ENGINE,
    )


def _key(row: QuarantinedFile) -> tuple[str, str, str]:
    return row.path, row.error_class, row.message


# --- The summary -----------------------------------------------------------------------------------------------------


def _summed_up(plan: _Plan, before: _Stored, schema: Schema) -> StageResult:
    kept = [*plan.train.values(), *plan.holdout.values()]
    strangers = [
        f"{each.path}: {key}"
        for each in kept
        for key in schema.keys
        if each.labels[key] is not None and find(each.labels[key], each.lease.lease_doc) is None
    ]
    moved = len(before.train.keys() & plan.holdout.keys()) + len(before.holdout.keys() & plan.train.keys())
    classes = [each.error_class for each in plan.refused]
    result = StageResult("ingest")
    result.counts = {
        "documents": plan.documents,
        "train": len(plan.train),
        "holdout": len(plan.holdout),
        "quarantined": len(classes) - sum(map(classes.count, _NOT_FAULTY)),
        "duplicates": classes.count("duplicate"),
        "near_holdout": classes.count("near_holdout"),
        "left_out_too_long": plan.too_long,
        "left_out_over_limit": plan.over_limit,
        "changed_sides": moved,
        "values_not_in_document": len(strangers),
        "tokens": {
            "mean": round(sum(plan.tokens) / len(plan.tokens)) if plan.tokens else 0,
            "longest": max(plan.tokens, default=0),
        },
        "nulls": {key: sum(each.labels[key] is None for each in kept) for key in schema.keys},
    }
    refusals = [f"{each.path}: not used ({each.error_class}): {each.message}" for each in plan.refused]
    result.warnings += refusals[:_NAMED]
    if len(refusals) > _NAMED:
        result.warnings.append(f"{len(refusals) - _NAMED} more are not used: finreg show ingest_quarantine")
    if strangers:
        result.warnings.append(
            f"{len(strangers)} labelled values do not stand in their document word by word "
            f"({', '.join(strangers[:_NAMED])})"
        )
    if moved:
        result.warnings.append(
            f"{moved} leases changed sides: a model that was trained before may know hold-out documents; train again"
        )
    for name, side in (("lease_docs_train", plan.train), ("lease_docs_holdout", plan.holdout)):
        if kept and not side:
            result.warnings.append(f"{name} is empty: the source has too few documents, or none with that split")
    return result

"""diff: what changed between two versions of a regulation, unit by unit, and which rows hang on it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from finreg_cli.documents.base import DocumentReader, ReadFile, SourceFile
from finreg_cli.domain.records import QA_DATASET, SPLITTED_DOCUMENTS, Chunk
from finreg_cli.domain.versions import Comparison, Edit, Unit, UnitChange, Version, compare, units
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.recorded_versions import recorded_versions

CONTEXT_WORDS = 8
"""Words shown on either side of an edit."""

_ID_PREFIX = 6  # hex digits that name a document


@dataclass(frozen=True)
class HangingRow:
    """A row of ``qa_dataset`` that stands on a changed or removed unit of the old version.

    ``becomes`` is ``retired`` where its chunk is not in the new version, so that `generate` retires it and makes others
    in its place, and ``stays`` where the change lies in another chunk of the unit.
    """

    row_id: str
    unit: str
    citation: str
    kind: str
    question: str | None
    becomes: Literal["retired", "stays"]


@dataclass(frozen=True)
class Side:
    """One of the two versions, with its chunks; ``name`` is what the user called it."""

    name: str
    work_id: str
    version_date: str | None
    document_id: str
    path: str
    chunks: list[Chunk] = field(repr=False)

    def described(self) -> str:
        return f"{self.path} ({self.work_id}, {self.version_date or 'no date'})"


@dataclass(frozen=True)
class Difference:
    """``rows`` is None where they were not asked for."""

    old: Side
    new: Side
    comparison: Comparison
    rows: list[HangingRow] | None
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """``counts``, ``articles`` (a changed one with its runs of equal, inserted, deleted words) and ``rows``."""
        rows = {} if self.rows is None else {"rows": [vars(row) for row in self.rows]}
        return {
            "old": _side_as_json(self.old),
            "new": _side_as_json(self.new),
            "counts": self.counts(),
            "articles": [_change_as_json(change) for change in self.comparison.changes],
            **rows,
            "warnings": self.warnings,
        }

    def counts(self) -> dict[str, int]:
        counts = self.comparison.counts()
        for outcome in ("retired", "stays") if self.rows is not None else ():
            counts[f"rows_{outcome}"] = sum(row.becomes == outcome for row in self.rows or ())
        return counts

    def lines(self) -> Iterator[str]:
        """For the terminal: a line for each unit, under a changed one its edits as ``[-old-]{+new+}``."""
        yield f"old: {self.old.described()}"
        yield f"new: {self.new.described()}"
        for change in self.comparison.changes:
            yield _headline(change)
            yield from (f"    {line}" for line in marked(change.words()))
        yield ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in self.counts().items())
        for row in self.rows or ():
            yield f"{row.becomes:8} {row.row_id} {row.citation}: {row.question}"


def difference(
    lakehouse: Lakehouse, reader: DocumentReader, old: str, new: str | None = None, with_rows: bool = False
) -> Difference:
    """Compares two versions, each a file or one that the table holds.

    Args:
        lakehouse: with the tables.
        reader: reads the files.
        old: a file; or of the table a document_id (its first six digits or more), a path as recorded there,
            ``WORK@DATE``, or ``WORK`` (a work_id or the short name that its citations begin with), which is its newest
            version. A file goes before all others.
        new: the same; None compares the two newest versions of the work that ``old`` names.
        with_rows: also which rows of ``qa_dataset`` hang on what changed.

    Raises:
        ConfigError: a name fits no file and no version, or several.
        NothingToDo: a file holds no text.
        StageFailed: a file cannot be read.
    """
    names = [old] if new is None else [old, new]
    if new is None:
        sides = _two_newest(lakehouse, old)
    else:
        files = _read_files(reader, [name for name in names if Path(name).is_file()])
        sides = [files[name] if name in files else _recorded(lakehouse, name) for name in names]
    before, after = sides
    units_before, units_after = units(before.chunks), units(after.chunks)
    comparison = compare(units_before, units_after)
    return Difference(
        before,
        after,
        comparison,
        _rows(lakehouse, before, after, comparison) if with_rows else None,
        _warnings(before, after, comparison, units_before),
    )


# --- which two? ------------------------------------------------------------------------------------------------------


def _read_files(reader: DocumentReader, names: Sequence[str]) -> dict[str, Side]:
    if not names:
        return {}
    files = [SourceFile(Path(name).as_posix(), Path(name).absolute()) for name in dict.fromkeys(names)]
    by_path = {}
    for outcome in reader.read(files):
        if not isinstance(outcome, ReadFile):
            raise StageFailed(
                f"{outcome.path} cannot be read ({outcome.error_class}): {outcome.message}", "name another file"
            )
        if not outcome.chunks:
            raise NothingToDo(f"{outcome.path} holds no text to compare", "name another file")
        by_path[outcome.path] = outcome.chunks
    return {name: _side(name, by_path[Path(name).as_posix()]) for name in names}


def _side(name: str, chunks: list[Chunk]) -> Side:
    first = chunks[0]
    return Side(name, first.work_id, first.version_date, first.document_id, first.path, chunks)


def _recorded(lakehouse: Lakehouse, name: str) -> Side:
    versions = recorded_versions(lakehouse)
    found = _by_id_or_path(versions, name) or _of_work(lakehouse, versions, name)[-1:]
    if len(found) != 1:
        raise _unknown(name, versions, "is no file, and names no version" if not found else "names several versions")
    return _load(lakehouse, name, found[0])


def _two_newest(lakehouse: Lakehouse, name: str) -> list[Side]:
    versions = recorded_versions(lakehouse)
    found = _of_work(lakehouse, versions, name)
    if len(found) < 2:
        raise _unknown(name, versions, "names only one version" if found else "is no file, and names no work")
    return [_load(lakehouse, name, version) for version in found[-2:]]


def _by_id_or_path(versions: Sequence[Version], name: str) -> list[Version]:
    by_path = [each for each in versions if each.path == name]
    by_id = [each for each in versions if len(name) >= _ID_PREFIX and each.document_id.startswith(name)]
    return by_path or by_id


def _of_work(lakehouse: Lakehouse, versions: Sequence[Version], name: str) -> list[Version]:
    """The versions of a work, the newest last; with ``@DATE`` behind the name only the one of that date."""
    work, at, date = name.rpartition("@")
    if not at:
        work = name
    works = {each.work_id for each in versions if each.work_id == work} or _works_cited_as(lakehouse, work)
    return [each for each in versions if each.work_id in works and (not at or each.version_date == date)]


def _works_cited_as(lakehouse: Lakehouse, short_name: str) -> set[str]:
    works = set()
    for batch in lakehouse.read(SPLITTED_DOCUMENTS, ["work_id", "citation"]):
        pairs = zip(batch.column("work_id").to_pylist(), batch.column("citation").to_pylist(), strict=True)
        works |= {work for work, citation in pairs if citation.startswith(f"{short_name} ")}
    return works


def _load(lakehouse: Lakehouse, name: str, version: Version) -> Side:
    where = {"document_id": version.document_id}
    return _side(name, list(SPLITTED_DOCUMENTS.records(lakehouse.read(SPLITTED_DOCUMENTS, where=where))))


def _unknown(name: str, versions: Sequence[Version], what: str) -> ConfigError:
    known = "; ".join(f"{each.work_id}@{each.dated}, {each.path}, {each.document_id[:8]}" for each in versions)
    return ConfigError(
        f"'{name}' {what} in splitted_documents",
        f"name a file, or one of the versions there: {known}" if known else "name a file, or run 'finreg ingest' first",
    )


# --- what hangs on it ------------------------------------------------------------------------------------------------


def _rows(lakehouse: Lakehouse, old: Side, new: Side, comparison: Comparison) -> list[HangingRow]:
    touched = {
        chunk_id: change.old.label
        for change in comparison.changes
        if change.old and change.change in ("changed", "removed")
        for chunk_id in change.old.chunk_ids
    }
    lost = _lost(old, new)
    labels = {chunk_id: unit.label for unit in units(old.chunks) for chunk_id in unit.chunk_ids}
    columns = ["row_id", "chunk_ids", "citation", "kind", "question"]
    found = []
    for batch in lakehouse.read(QA_DATASET, columns, where={"retired_at": None}):
        for row in batch.to_pylist():
            on = [each for each in row["chunk_ids"] if each in touched or each in lost]
            if on:
                becomes: Literal["retired", "stays"] = "retired" if lost.intersection(on) else "stays"
                found.append(
                    HangingRow(row["row_id"], labels[on[0]], row["citation"], row["kind"], row["question"], becomes)
                )
    return sorted(found, key=lambda row: (row.becomes, row.citation, row.row_id))


def _lost(old: Side, new: Side) -> set[str]:
    """The chunks of the old version that the new one does not hold.

    By their ids; by their words where the two are not known as one work, as with files of other names.
    """
    if old.work_id == new.work_id:
        return {each.chunk_id for each in old.chunks} - {each.chunk_id for each in new.chunks}
    present = {each.text for each in new.chunks}
    return {each.chunk_id for each in old.chunks if each.text not in present}


def _warnings(old: Side, new: Side, comparison: Comparison, old_units: Sequence[Unit]) -> list[str]:
    found = []
    if old.work_id != new.work_id:
        found.append(
            f"{old.path} is of the work {old.work_id} and {new.path} of {new.work_id}: in the tables they are not "
            "versions of one work; source.work_ids (file stem: work) makes them so"
        )
    altered = {change.old.label for change in comparison.changes if change.old}
    alike = {chunk_id for unit in old_units if unit.label not in altered for chunk_id in unit.chunk_ids}
    other = alike & _lost(old, new)
    if other and old.work_id == new.work_id:
        found.append(
            f"{len(other)} chunks of units that have the same words are cut or printed otherwise in the new version: "
            "their rows are retired and made again as well"
        )
    return found


# --- as text and JSON ------------------------------------------------------------------------------------------------


def _side_as_json(side: Side) -> dict[str, Any]:
    names = ("name", "path", "work_id", "version_date", "document_id")
    return {name: getattr(side, name) for name in names}


def _change_as_json(change: UnitChange) -> dict[str, Any]:
    unit = change.unit
    found: dict[str, Any] = {
        "unit": unit.label,
        "title": unit.title,
        "citation": unit.citation,
        "change": change.change,
    }
    if change.change == "renumbered" and change.old:
        found["was"] = change.old.label
    if change.change == "changed":
        found["words"] = [vars(edit) for edit in change.words()]
    if change.change in ("added", "removed"):
        found["text"] = unit.text
    return found


def _headline(change: UnitChange) -> str:
    unit = change.unit
    was = f", was {change.old.label}" if change.change == "renumbered" and change.old else ""
    note = ", printed as deleted" if change.change == "removed" and change.new else ""
    return f"{change.change:10} {unit.label} {unit.title}".rstrip() + was + note


def marked(edits: Sequence[Edit]) -> Iterator[str]:
    """The edits with some words around them, each passage on a line: ``a ratio of [-4.5-]{+5+} %;``."""
    parts: list[str] = []
    for position, edit in enumerate(edits):
        if edit.op != "equal":
            parts.append((f"[-{edit.old}-]" if edit.old else "") + (f"{{+{edit.new}+}}" if edit.new else ""))
            continue
        words = edit.new.split()
        is_first, is_last = position == 0, position == len(edits) - 1
        if not is_first and not is_last and len(words) <= 2 * CONTEXT_WORDS:
            parts.append(edit.new)
            continue
        if not is_first:
            parts.append(_opening(words))
            yield " ".join(parts)
            parts = []
        if not is_last:
            parts = [_ending(words)]
    if parts:
        yield " ".join(parts)


def _opening(words: Sequence[str]) -> str:
    return " ".join(words[:CONTEXT_WORDS]) + (" ..." if len(words) > CONTEXT_WORDS else "")


def _ending(words: Sequence[str]) -> str:
    return ("... " if len(words) > CONTEXT_WORDS else "") + " ".join(words[-CONTEXT_WORDS:])

"""The first stage: PDFs become ``splitted_documents``; what cannot be read stands in ``ingest_quarantine``.

A file is read again only when its bytes, the settings or the rules of extraction have changed. Each file's chunks are
replaced in one commit, so that a stopped run leaves every file either as it was or as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finreg_cli import __version__
from finreg_cli.config import Config
from finreg_cli.documents.base import DocumentReader, ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.files import Source, search
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.legal_structure import RULES_VERSION, split_unit
from finreg_cli.domain.records import INGEST_QUARANTINE, SPLITTED_DOCUMENTS, Chunk, QuarantinedFile
from finreg_cli.errors import NothingToDo, StageFailed, WarehouseError
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run, StageResult

_BUFFERED_CHUNKS = 2_000  # of new files, for one commit
_COMPACT_AFTER = 20  # commits of one run


def ingest(run: Run, lakehouse: Lakehouse, reader: DocumentReader) -> StageResult:
    """Brings ``splitted_documents`` and ``ingest_quarantine`` up to the present state of the source.

    The chunks of a file that has become unreadable stay, with a warning: they were right for the bytes they name, and
    rows that were paid for hang on them. Of two files with the same bytes, or of the same work and version, one is
    kept.

    Raises:
        NothingToDo: there is no source file, or not one chunk in the end.
        StageFailed: a file cannot be read and ``ingest.on_bad_file`` is ``fail``; files finished before are kept.
    """
    config = run.config
    result = StageResult("ingest")
    source = find_files(config.source.path)
    memory = _Memory(config)
    plan = _plan(source, _known(lakehouse), memory)
    result.warnings += plan.warnings
    result.counts = {
        "files": len(source.files),
        "read": len(plan.to_read),
        "unchanged": len(plan.unchanged),
        "duplicates": len(plan.duplicates),
        "refused": len(source.refused),
        "pruned": len(plan.gone) if config.ingest.prune else 0,
    }
    if run.dry_run:
        result.findings += [f"would read {file.path}" for file in plan.to_read]
        return result
    writer = _Writer(run, lakehouse, memory, plan)
    try:
        _read(run, reader, plan, writer)
    finally:
        writer.finish()
    if plan.gone and config.ingest.prune:
        _prune(lakehouse, plan, memory)
    elif plan.gone:
        result.findings.append(
            f"{len(plan.gone)} files are gone from the source; ingest.prune: true drops their chunks"
        )
    memory.save()
    return _summed_up(result, run, lakehouse, writer, source)


# --- The source ------------------------------------------------------------------------------------------------------


def find_files(pattern: str) -> Source:
    """PDFs of a file, a folder (with all below it) or a glob.

    Raises:
        NothingToDo: there are none.
    """
    source = search(pattern, (".pdf",))
    if source is None:
        raise NothingToDo(f"source.path {pattern}: there is no such file or folder", _SOURCE_REMEDY)
    if source.files:
        return source
    links = f" but {len(source.refused)} links that lead out of it" if source.refused else ""
    raise NothingToDo(f"source.path {pattern}: holds no PDF file{links}", _SOURCE_REMEDY)


_SOURCE_REMEDY = "put PDF files there, or name another place: --set source.path=FOLDER"


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # the reader meets the same error and classifies it


# --- What is known, and what is to do --------------------------------------------------------------------------------


@dataclass
class _Known:
    """What the tables hold of each path: the digest of its bytes, its document, why it is in quarantine."""

    chunked: dict[str, str] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, QuarantinedFile] = field(default_factory=dict)


def _known(lakehouse: Lakehouse) -> _Known:
    known = _Known()
    for batch in lakehouse.read(SPLITTED_DOCUMENTS, columns=["path", "file_sha256", "document_id"]):
        for row in batch.to_pylist():
            known.chunked[row["path"]] = row["file_sha256"]
            known.documents[row["document_id"]] = row["path"]
    for bad in INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE)):
        known.quarantined[bad.path] = bad
    return known


class _Memory:
    """Which bytes were read with which settings, in a small file of the state folder.

    It only ever spares work: what it does not know for certain is read again. It is written last.
    """

    def __init__(self, config: Config) -> None:
        self._path = config.state / f"ingest-{config.catalog}.{config.schema_}.json"
        self._fingerprint = _fingerprint(config)
        self._files: dict[str, dict[str, str]] = {}
        with suppress(OSError, ValueError):
            self._files = dict(json.loads(self._path.read_text(encoding="utf-8"))["files"])

    def holds(self, path: str, sha256: str | None) -> bool:
        entry = self._files.get(path, {})
        return sha256 is not None and entry == {**entry, "sha256": sha256, "settings": self._fingerprint}

    def same_as(self, path: str) -> str | None:
        """The path whose document this file repeats, where it was found to."""
        return self._files.get(path, {}).get("same_as")

    def remember(self, path: str, sha256: str | None, same_as: str | None = None) -> None:
        if sha256 is None:
            return
        entry = {"sha256": sha256, "settings": self._fingerprint}
        self._files[path] = {**entry, "same_as": same_as} if same_as else entry

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._files.pop(path, None)

    def save(self) -> None:
        partial = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"files": self._files}, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            raise WarehouseError(
                f"cannot write {self._path}: {error.strerror}", "check the rights and the free space there"
            ) from error


def _fingerprint(config: Config) -> str:
    """Of everything but the bytes that decides what is extracted from a file."""
    settings = config.ingest.model_dump(include={"tokenizer", "chunk_tokens", "chunk_overlap", "pdf_engine"})
    tokenizer = Path(config.ingest.tokenizer)
    digest = _sha256(tokenizer) if tokenizer.is_file() else None
    return content_hash(__version__, RULES_VERSION, settings, digest, config.source.short_names, config.source.work_ids)


@dataclass
class _Plan:
    known: _Known
    to_read: list[SourceFile] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    digests: dict[str, str | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def _plan(source: Source, known: _Known, memory: _Memory) -> _Plan:
    plan = _Plan(
        known, warnings=[f"{name}: a link that leads out of the source, not followed" for name in source.refused]
    )
    plan.digests = {file.path: _sha256(file.absolute) for file in source.files}
    plan.gone = sorted((known.chunked.keys() | known.quarantined.keys()) - plan.digests.keys())
    first_with: dict[str, str] = {}
    # A file that the table holds already goes before a copy of it that came later.
    for file in sorted(
        source.files, key=lambda file: (known.chunked.get(file.path) != plan.digests[file.path], file.path)
    ):
        digest = plan.digests[file.path]
        if digest is not None and first_with.setdefault(digest, file.path) != file.path:
            plan.duplicates.append(file.path)
            plan.warnings.append(f"{file.path}: the same bytes as {first_with[digest]}, left out")
        elif _is_unchanged(file.path, digest, plan, memory):
            plan.unchanged.append(file.path)
        elif _repeats(file.path, digest, plan, memory):
            plan.duplicates.append(file.path)
            plan.warnings.append(_same_document(file.path, str(memory.same_as(file.path))))
        else:
            plan.to_read.append(file)
    return plan


def _is_unchanged(path: str, digest: str | None, plan: _Plan, memory: _Memory) -> bool:
    bad = plan.known.quarantined.get(path)
    if bad is not None:
        # A timeout may have been the machine's fault, not the file's.
        return bad.file_sha256 == digest and bad.error_class != "timeout" and memory.holds(path, digest)
    return plan.known.chunked.get(path) == digest and memory.holds(path, digest)


def _repeats(path: str, digest: str | None, plan: _Plan, memory: _Memory) -> bool:
    """Whether the file was found to be another print of a document that the table still holds from another file."""
    other = memory.same_as(path)
    if other is None or other not in plan.digests or not memory.holds(path, digest):
        return False
    return plan.known.chunked.get(other) == plan.digests[other] and memory.holds(other, plan.digests[other])


def _same_document(path: str, other: str) -> str:
    return f"{path}: the same work and version as {other}, left out"


# --- Reading and writing ---------------------------------------------------------------------------------------------


def _read(run: Run, reader: DocumentReader, plan: _Plan, writer: _Writer) -> None:
    if not plan.to_read:
        return
    outcomes = reader.read(plan.to_read)
    try:
        with run.progress.track("reading documents", len(plan.to_read), "files") as advance:
            for outcome in outcomes:
                if isinstance(outcome, ReadFile):
                    writer.add(outcome)
                else:
                    writer.quarantine(outcome)
                advance(1)
    finally:
        # Ends the workers now, and not when the last reference to a traceback goes.
        if isinstance(outcomes, Generator):
            outcomes.close()


class _Writer:
    """Takes outcomes one by one and commits them: new files together, a changed file by itself in one commit."""

    def __init__(self, run: Run, lakehouse: Lakehouse, memory: _Memory, plan: _Plan) -> None:
        self._run = run
        self._lakehouse = lakehouse
        self._memory = memory
        self._plan = plan
        self._new: list[ReadFile] = []
        self._bad: list[UnreadableFile] = []
        self._recovered: list[str] = []
        self._commits = 0
        self.counts = {"pages": 0, "chunks": 0, "articles": 0}
        self.duplicates = 0
        self.warnings: list[str] = []

    def add(self, file: ReadFile) -> None:
        if file.path in self._plan.known.quarantined:
            self._recovered.append(file.path)
        document = file.chunks[0].document_id if file.chunks else None
        other = self._plan.known.documents.get(document) if document else None
        if other is not None and other != file.path and not self._displaces(file, other):
            return
        if document:
            self._plan.known.documents[document] = file.path
        self._count(file)
        if file.path in self._plan.known.chunked:
            self._replace(file.path, file.chunks)
            self._memory.remember(file.path, file.file_sha256)
        else:
            self._new.append(file)
            if sum(len(each.chunks) for each in self._new) >= _BUFFERED_CHUNKS:
                self._flush()

    def quarantine(self, file: UnreadableFile) -> None:
        if self._run.config.ingest.on_bad_file == "fail":
            self._bad.append(file)
            raise StageFailed(
                f"{file.path} cannot be read ({file.error_class}): {file.message}",
                "replace or remove the file, or go on without it: --set ingest.on_bad_file=quarantine",
            )
        self._bad.append(file)

    def finish(self) -> None:
        """Commits what is pending; also when the stage fails, for nothing that was read is lost."""
        self._flush()
        touched = {*self._recovered, *(bad.path for bad in self._bad)}
        if touched:
            rows = (
                QuarantinedFile(
                    run_id=self._run.run_id,
                    path=bad.path,
                    file_sha256=bad.file_sha256 or self._plan.digests.get(bad.path),
                    error_class=bad.error_class,
                    message=bad.message,
                    engine=bad.engine,
                )
                for bad in self._bad
            )
            self._lakehouse.overwrite(
                INGEST_QUARANTINE, INGEST_QUARANTINE.batches(rows), where={"path": sorted(touched)}
            )
            for bad in self._bad:
                self._memory.remember(bad.path, bad.file_sha256 or self._plan.digests.get(bad.path))
        if self._commits >= _COMPACT_AFTER:
            self._lakehouse.compact(SPLITTED_DOCUMENTS)
        self._memory.save()

    def _displaces(self, file: ReadFile, other: str) -> bool:
        """Of two files of one document the first by path is kept; a file that is gone from the source gives way."""
        present = other in self._plan.digests
        if present and other < file.path:
            self.duplicates += 1
            self.warnings.append(_same_document(file.path, other))
            self._memory.remember(file.path, file.file_sha256, same_as=other)
            if file.path in self._plan.known.chunked:
                self._replace(file.path, [])
            return False
        self._flush()
        self._replace(other, [])
        if present:
            self.duplicates += 1
            self.warnings.append(_same_document(other, file.path))
            self._memory.remember(other, self._plan.digests[other], same_as=file.path)
        else:
            self._memory.forget([other])
        return True

    def _count(self, file: ReadFile) -> None:
        units = {(chunk.document_id, split_unit(chunk)) for chunk in file.chunks}
        self.counts["pages"] += file.pages
        self.counts["chunks"] += len(file.chunks)
        self.counts["articles"] += sum(unit.startswith("Article ") for _, unit in units)

    def _flush(self) -> None:
        if not self._new:
            return
        chunks = (chunk for file in self._new for chunk in file.chunks)
        self._lakehouse.append(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches(chunks))
        self._commits += 1
        for file in self._new:
            self._memory.remember(file.path, file.file_sha256)
            self._plan.known.chunked[file.path] = file.file_sha256
        self._new = []

    def _replace(self, path: str, chunks: Sequence[Chunk]) -> None:
        self._lakehouse.overwrite(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches(chunks), where={"path": path})
        self._commits += 1


def _prune(lakehouse: Lakehouse, plan: _Plan, memory: _Memory) -> None:
    for table, known in ((SPLITTED_DOCUMENTS, plan.known.chunked), (INGEST_QUARANTINE, plan.known.quarantined)):
        gone = [path for path in plan.gone if path in known]
        if gone:
            lakehouse.overwrite(table, [], where={"path": gone})
    memory.forget(plan.gone)


def _summed_up(result: StageResult, run: Run, lakehouse: Lakehouse, writer: _Writer, source: Source) -> StageResult:
    present = {file.path for file in source.files}
    bad: list[QuarantinedFile] = [
        each for each in INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE)) if each.path in present
    ]
    counts: dict[str, Any] = {"quarantined": len(bad), **writer.counts}
    result.counts.update(counts)
    result.counts["duplicates"] += writer.duplicates
    result.counts["read"] -= writer.duplicates + sum(each.run_id == run.run_id for each in bad)
    result.warnings += writer.warnings
    for each in sorted(bad, key=lambda each: each.path):
        kept = lakehouse.count(SPLITTED_DOCUMENTS, where={"path": each.path})
        note = f"; its {kept} chunks from before stay" if kept else ""
        result.warnings.append(f"{each.path}: not read ({each.error_class}): {each.message}{note}")
    if bad and run.config.ingest.on_bad_file == "fail":  # quarantined by an earlier run, which was not so strict
        raise StageFailed(
            f"{len(bad)} files are in quarantine and ingest.on_bad_file is fail: {bad[0].path}: {bad[0].message}",
            "replace or remove them, or go on without them: --set ingest.on_bad_file=quarantine",
        )
    if lakehouse.count(SPLITTED_DOCUMENTS) == 0:
        raise NothingToDo(
            f"source.path {run.config.source.path}: none of its {len(present)} files could be read. "
            + "; ".join(result.warnings[:3]),
            "finreg show ingest_quarantine gives every reason",
        )
    result.saw(lakehouse, SPLITTED_DOCUMENTS, INGEST_QUARANTINE)
    return result

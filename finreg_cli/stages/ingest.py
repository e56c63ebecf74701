"""The first stage: documents become ``splitted_documents``; what cannot be read stands in ``ingest_quarantine``.

A file is read again only when its bytes, the settings or the rules of extraction have changed. Each file's chunks are
replaced within one commit, so that a stopped run leaves every file either as it was or as it is. Several versions of a
work stand side by side in the table; the newest one is in force (`finreg_cli.domain.versions`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

from finreg_cli.documents.base import DocumentReader, ReadFile, UnreadableFile
from finreg_cli.documents.files import Source
from finreg_cli.domain.legal_structure import split_unit
from finreg_cli.domain.records import INGEST_QUARANTINE, SPLITTED_DOCUMENTS, QuarantinedFile
from finreg_cli.domain.versions import Version, superseded
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.ingest_memory import Memory
from finreg_cli.stages.ingest_plan import (
    Plan,
    find_files,
    gone_line,
    known,
    plan_for,
    quarantine,
    same_document,
    sources_folder,
    table_state,
)
from finreg_cli.stages.recorded_versions import recorded_versions

_BUFFERED_CHUNKS = 2_000  # for one commit: some megabytes, so that there are no small files to be joined later

_COMMIT_SECONDS = 15.0  # the most that a killed run reads again


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
    source = find_files(config.source.path, sources_folder(config), download=not run.dry_run)
    memory = Memory(config)
    plan = plan_for(source, known(lakehouse, memory), memory)
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
        result.findings += [f"would read {file.path} ({plan.reasons[file.path]})" for file in plan.to_read]
        result.findings += [f"would drop the chunks of {path}" for path in plan.gone if config.ingest.prune]
        return result
    if source.downloaded:
        result.findings.append(f"{source.downloaded} objects were downloaded to {sources_folder(config)}")
    result.findings += plan.rereading()
    writer = _Writer(run, lakehouse, memory, plan)
    try:
        _read(run, reader, plan, writer)
    finally:
        writer.finish()
    if plan.gone:
        result.findings.append(gone_line(plan.gone) + _gone(lakehouse, plan, memory, config.ingest.prune))
    versions = _remember(lakehouse, memory, writer)
    return _summed_up(result, run, lakehouse, writer, source, versions)


# --- Reading and writing ---------------------------------------------------------------------------------------------


def _read(run: Run, reader: DocumentReader, plan: Plan, writer: _Writer) -> None:
    if not plan.to_read:
        return
    # Half a second of imports, while this process has nothing to do but wait for its readers.
    threading.Thread(target=SPLITTED_DOCUMENTS.warm_up, daemon=True).start()
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
    """Takes outcomes one by one, and commits the files of some 2,000 chunks together.

    A commit replaces what the table holds of its files, so that of each file all chunks change or none.
    """

    def __init__(self, run: Run, lakehouse: Lakehouse, memory: Memory, plan: Plan) -> None:
        self._run = run
        self._lakehouse = lakehouse
        self._memory = memory
        self._plan = plan
        self._pending: dict[str, ReadFile] = {}
        self._displaced = set(plan.outdated)
        self._last_commit = time.monotonic()
        self._bad: list[UnreadableFile] = []
        self._recovered: list[str] = []
        self._commits = 0
        self._counted: dict[str, Counter[str]] = {}
        self.duplicates = 0
        self.warnings: list[str] = []

    @property
    def has_written(self) -> bool:
        """Whether it made any commit, to either table."""
        return bool(self._commits or self._bad or self._recovered)

    def add(self, file: ReadFile) -> None:
        if file.path in self._plan.known.quarantined:
            self._recovered.append(file.path)
        if file.chunks and not self._is_the_one_to_keep(file):
            return
        self._counted[file.path] = _figures(file)
        self.warnings += [f"{file.path}: {warning}" for warning in file.warnings]
        self._pending[file.path] = file
        chunks = sum(len(each.chunks) for each in self._pending.values())
        if chunks >= _BUFFERED_CHUNKS or time.monotonic() - self._last_commit > _COMMIT_SECONDS:
            self._flush()

    def quarantine(self, file: UnreadableFile) -> None:
        self._bad.append(file)
        if self._run.config.ingest.on_bad_file == "fail":
            raise StageFailed(
                f"{file.path} cannot be read ({file.error_class}): {file.message}",
                "replace or remove the file, or go on without it: --set ingest.on_bad_file=quarantine",
            )

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
        if self.has_written:
            self._memory.save(None, ())

    def _is_the_one_to_keep(self, file: ReadFile) -> bool:
        """Of two files of one document the first by path is kept; a file that is gone from the source gives way."""
        documents, document = self._plan.known.documents, file.chunks[0].document_id
        other = documents.get(document, file.path)
        is_present = other in self._plan.digests
        if other < file.path and is_present:
            self._leave_out(file.path, other)
            return False
        if other != file.path:
            self._pending.pop(other, None)
            self._counted.pop(other, None)
            self._displaced.add(other)
            if is_present:
                self._leave_out(other, file.path)
            else:
                self._memory.forget([other])
        documents[document] = file.path
        return True

    def _leave_out(self, path: str, other: str) -> None:
        self.duplicates += 1
        self.warnings.append(same_document(path, other))
        self._memory.remember(path, self._plan.digests[path], same_as=other)
        self._displaced.add(path)

    @property
    def counts(self) -> dict[str, int]:
        """Pages, chunks and articles of the files that were read and kept."""
        total = sum(self._counted.values(), Counter[str]())
        return {name: total[name] for name in ("pages", "chunks", "articles")}

    def _flush(self) -> None:
        chunked = self._plan.known.chunked
        touched = {*self._pending, *self._displaced}
        rows = SPLITTED_DOCUMENTS.batches(chunk for file in self._pending.values() for chunk in file.chunks)
        if touched & chunked.keys():
            self._lakehouse.overwrite(SPLITTED_DOCUMENTS, rows, where={"path": sorted(touched)})
            self._commits += 1
        elif self._pending:
            self._lakehouse.append(SPLITTED_DOCUMENTS, rows)
            self._commits += 1
        for path in touched:
            chunked.pop(path, None)
        for file in self._pending.values():
            self._memory.remember(file.path, file.file_sha256)
            chunked[file.path] = file.file_sha256
        self._pending, self._displaced = {}, set()
        self._last_commit = time.monotonic()


def _figures(file: ReadFile) -> Counter[str]:
    units = {(chunk.document_id, split_unit(chunk)) for chunk in file.chunks}
    articles = sum(unit.startswith("Article ") for _, unit in units)
    return Counter(pages=file.pages, chunks=len(file.chunks), articles=articles)


def _gone(lakehouse: Lakehouse, plan: Plan, memory: Memory, prune: bool) -> str:
    """Drops the rows of files that are gone from the source, if so wished, and says what became of them."""
    if not prune:
        return "; their chunks stay until ingest.prune: true drops them"
    for table, of_table in ((SPLITTED_DOCUMENTS, plan.known.chunked), (INGEST_QUARANTINE, plan.known.quarantined)):
        gone = [path for path in plan.gone if path in of_table]
        if gone:
            lakehouse.overwrite(table, [], where={"path": gone})
    memory.forget(plan.gone)
    return "; their chunks are dropped (ingest.prune)"


def _remember(lakehouse: Lakehouse, memory: Memory, writer: _Writer) -> list[Version]:
    """Saves the memory with what the chunk table holds now, which it also returns."""
    state = table_state(lakehouse)
    versions = memory.versions(state)
    if versions is None or writer.has_written:
        versions = recorded_versions(lakehouse)
    memory.save(state, versions)
    return versions


# --- What is said of it ----------------------------------------------------------------------------------------------


def _summed_up(
    result: StageResult,
    run: Run,
    lakehouse: Lakehouse,
    writer: _Writer,
    source: Source,
    versions: Sequence[Version],
) -> StageResult:
    """The result with what was read and what was not.

    Raises:
        StageFailed: there is a bad file, and ``ingest.on_bad_file`` is ``fail``.
        NothingToDo: the table holds not one chunk.
    """
    present = {file.path for file in source.files}
    bad = [each for each in quarantine(lakehouse) if each.path in present]
    older = superseded(versions)
    counts: dict[str, Any] = {"quarantined": len(bad), "superseded": len(older), **writer.counts}
    result.counts.update(counts)
    result.counts["duplicates"] += writer.duplicates
    result.counts["read"] -= writer.duplicates + sum(each.run_id == run.run_id for each in bad)
    result.warnings += writer.warnings
    for old, new in older.items():
        _tell_of_versions(result, old, new)
    for each in sorted(bad, key=lambda each: each.path):
        _tell_of_bad_file(result, each, versions)
    if bad and run.config.ingest.on_bad_file == "fail":  # quarantined by an earlier run, which was not so strict
        raise StageFailed(
            f"{len(bad)} files are in quarantine and ingest.on_bad_file is fail: {bad[0].path}: {bad[0].message}",
            "replace or remove them, or go on without them: --set ingest.on_bad_file=quarantine",
        )
    if not versions:
        raise NothingToDo(
            f"source.path {run.config.source.path}: none of its {len(present)} files could be read. "
            + "; ".join(result.warnings[:3]),
            "finreg show ingest_quarantine gives every reason",
        )
    result.saw(lakehouse, SPLITTED_DOCUMENTS, INGEST_QUARANTINE)
    return result


def _tell_of_bad_file(result: StageResult, bad: QuarantinedFile, versions: Sequence[Version]) -> None:
    kept = sum(version.chunks for version in versions if version.path == bad.path)
    note = f"; its {kept} chunks from before stay" if kept else ""
    result.warnings.append(f"{bad.path}: not read ({bad.error_class}): {bad.message}{note}")


def _tell_of_versions(result: StageResult, old: Version, new: Version) -> None:
    if old.version_date == new.version_date:  # both None: two stated dates that are equal are one document
        result.warnings.append(
            f"{old.path} and {new.path} count as versions of one work ({old.work_id}), and neither states a date: the "
            "later by path is taken for the newer, and no rows are made from the other; rename one if they are two"
        )
    else:
        result.findings.append(
            f"{old.path} ({old.dated}) is superseded by {new.path} ({new.dated}), a newer version of {new.work_id}"
        )

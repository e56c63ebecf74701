"""What `ingest` has to do: the files of the source against what the tables hold and what was read before."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finreg_cli.config import Config
from finreg_cli.documents.base import SourceFile
from finreg_cli.documents.files import SUFFIXES, Source, search
from finreg_cli.domain.records import INGEST_QUARANTINE, SPLITTED_DOCUMENTS, QuarantinedFile
from finreg_cli.domain.versions import Version
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.ingest_memory import Memory
from finreg_cli.stages.recorded_versions import recorded_versions

_SOURCE_REMEDY = "put documents there (PDF, HTML, text), or name another place: --set source.path=FOLDER"
_NAMES = 300  # characters of file names in one line for a person


def find_files(pattern: str, cache: Path | None = None, download: bool = True) -> Source:
    """The documents of a file, a folder (with all below it), a glob or an object store.

    Args:
        pattern: ``source.path``.
        cache: the folder for copies of remote objects; see `sources_folder`.
        download: fetch remote objects that are new or changed; without it they are only listed.

    Raises:
        NothingToDo: there are none.
    """
    source = search(pattern, SUFFIXES, cache, download=download)
    if source is None:
        raise NothingToDo(f"source.path {pattern}: there is no such file or folder", _SOURCE_REMEDY)
    if source.files:
        return source
    links = f" but {len(source.refused)} links that lead out of it" if source.refused else ""
    raise NothingToDo(f"source.path {pattern}: holds no document ({', '.join(SUFFIXES)}){links}", _SOURCE_REMEDY)


def sources_folder(config: Config) -> Path:
    """Where the objects of a remote source are kept, so that only new and changed ones are downloaded."""
    return config.state / "sources"


@dataclass
class Known:
    """What the tables hold of each path: the digest of its bytes, its document, why it is in quarantine."""

    versions: list[Version]
    quarantined: dict[str, QuarantinedFile]
    chunked: dict[str, str] = field(init=False)
    documents: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.chunked = {each.path: each.file_sha256 for each in self.versions}
        self.documents = {each.document_id: each.path for each in self.versions}


def known(lakehouse: Lakehouse, memory: Memory) -> Known:
    """From the memory where the table is as the last run left it, else from the table."""
    remembered = memory.versions(table_state(lakehouse))
    versions = recorded_versions(lakehouse) if remembered is None else remembered
    return Known(versions, {bad.path: bad for bad in quarantine(lakehouse)})


def table_state(lakehouse: Lakehouse) -> tuple[int | None, int]:
    """Version and rows of the chunk table."""
    return lakehouse.version(SPLITTED_DOCUMENTS), lakehouse.count(SPLITTED_DOCUMENTS)


def quarantine(lakehouse: Lakehouse) -> list[QuarantinedFile]:
    return list(INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE)))


@dataclass
class Plan:
    """What is to be done with each file.

    ``reasons`` says of each file to read why: ``new``, ``changed``, or which settings are others than before.
    ``outdated`` are duplicates of which the table still holds the text of before.
    """

    known: Known
    to_read: list[SourceFile] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    digests: dict[str, str | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def rereading(self) -> list[str]:
        """A line for each reason, other than that they are new, with the files that are read for it."""
        return [
            f"{len(paths)} read again ({reason}): {names(paths)}"
            for reason, paths in self._by_reason().items()
            if reason != NEW
        ]

    def lines_by_reason(self) -> list[str]:
        """A line for each reason with the files that it holds for."""
        return [
            f"{_files(paths)} {'not read yet' if reason == NEW else f'to be read again ({reason})'}: {names(paths)}"
            for reason, paths in self._by_reason().items()
        ]

    def _by_reason(self) -> dict[str, list[str]]:
        by_reason: dict[str, list[str]] = defaultdict(list)
        for path, reason in self.reasons.items():
            by_reason[reason].append(path)
        return dict(sorted(by_reason.items()))


NEW, CHANGED = "new", "changed"


def plan_for(source: Source, known: Known, memory: Memory) -> Plan:
    """Which files are to be read, which are as they were, which only repeat another, which are gone."""
    warnings = [f"{name}: a link that leads out of the source or nowhere, not followed" for name in source.refused]
    plan = Plan(known, warnings=warnings)
    plan.digests = {file.path: memory.digest(file) for file in source.files}
    missing = (known.chunked.keys() | known.quarantined.keys()) - plan.digests.keys()
    plan.gone = sorted(path for path in missing if not _is_below(path, source.unreadable))
    plan.warnings += [
        f"{folder}: cannot be looked into ({reason}); what the tables hold of it stays"
        for folder, reason in source.unreadable.items()
    ]
    first_with: dict[str, str] = {}

    def place(file: SourceFile) -> tuple[bool, bool, str]:
        """Of copies the one goes first that the table holds as it is, then one of which it holds other bytes."""
        held = known.chunked.get(file.path)
        return held != plan.digests[file.path], held is None, file.path

    for file in sorted(source.files, key=place):
        digest = plan.digests[file.path]
        if digest is not None and first_with.setdefault(digest, file.path) != file.path:
            plan.duplicates.append(file.path)
            plan.warnings.append(f"{file.path}: the same bytes as {first_with[digest]}, left out")
            if file.path in known.chunked:
                plan.outdated.append(file.path)
        elif _is_unchanged(file.path, digest, plan, memory):
            memory.recognise(file.path)
            plan.unchanged.append(file.path)
        elif _repeats(file.path, digest, plan, memory):
            memory.recognise(file.path)
            plan.duplicates.append(file.path)
            plan.warnings.append(same_document(file.path, str(memory.same_as(file.path))))
        else:
            plan.to_read.append(file)
            plan.reasons[file.path] = _reason(file.path, digest, plan, memory)
    return plan


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(folder == "." or path.startswith(f"{folder}/") for folder in folders)


def _is_unchanged(path: str, digest: str | None, plan: Plan, memory: Memory) -> bool:
    bad = plan.known.quarantined.get(path)
    if bad is not None:
        # A timeout may have been the machine's fault, not the file's.
        return bad.file_sha256 == digest and bad.error_class != "timeout" and memory.holds(path, digest)
    return plan.known.chunked.get(path) == digest and memory.holds(path, digest)


def _repeats(path: str, digest: str | None, plan: Plan, memory: Memory) -> bool:
    """Whether the file was found to be another print of a document that the table still holds from another file."""
    other = memory.same_as(path)
    if other is None or other not in plan.digests or not memory.holds(path, digest):
        return False
    return plan.known.chunked.get(other) == plan.digests[other] and memory.holds(other, plan.digests[other])


def _reason(path: str, digest: str | None, plan: Plan, memory: Memory) -> str:
    bad = plan.known.quarantined.get(path)
    before = bad.file_sha256 if bad else plan.known.chunked.get(path)
    if before is None and bad is None:
        return NEW
    if before != digest:
        return CHANGED
    if bad is not None and bad.error_class == "timeout":
        return "it took too long before"
    return ", ".join(memory.changed_settings(path, digest)) or "nothing is known of the settings that it was read with"


def same_document(path: str, other: str) -> str:
    return f"{path}: the same work and version as {other}, left out"


def names(paths: Iterable[str]) -> str:
    """Names of files for one line of text; where they are many, the first of them."""
    return textwrap.shorten(", ".join(sorted(paths)), _NAMES, placeholder=" ...")


def _files(paths: Sequence[str]) -> str:
    return "1 file is" if len(paths) == 1 else f"{len(paths)} files are"


def gone_line(paths: Sequence[str]) -> str:
    """The files that the tables hold and the source does not."""
    return f"{_files(paths)} gone from the source: {names(paths)}"


def source_plan(config: Config, lakehouse: Lakehouse) -> Plan:
    """What `ingest` would do now; writes nothing.

    Raises:
        NothingToDo: the source holds no document.
        StageFailed: a remote source cannot be listed.
    """
    memory = Memory(config)
    source = find_files(config.source.path, sources_folder(config), download=False)
    return plan_for(source, known(lakehouse, memory), memory)

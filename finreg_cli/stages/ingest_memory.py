"""What `ingest` remembers between two runs: which bytes were read with which settings, and what the table held then.

It only ever spares work: what it does not know for certain is hashed, or read, again. It is written last.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finreg_cli import __version__
from finreg_cli.config import Config
from finreg_cli.documents.base import SourceFile
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.legal_structure import RULES_VERSION
from finreg_cli.domain.versions import Version
from finreg_cli.stages.state_files import write_whole

RACY_NANOSECONDS = 2_000_000_000
"""A file that was written this shortly before it was hashed may be written again within one tick of its clock."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was read.

    ``stat`` is its size, and the times of its last writing and of its last change of name or rights, in nanoseconds;
    empty where those cannot be relied on. ``same_as`` is the path whose document it repeats.
    """

    sha256: str
    settings: str
    stat: tuple[int, ...] = ()
    same_as: str | None = None


class Memory:
    """The memory of one schema's table, a small file of the state folder."""

    def __init__(self, config: Config) -> None:
        self._path = config.state / f"ingest-{config.catalog}.{config.schema_}.json"
        self.settings = settings_of(config)
        self._fingerprint = content_hash(self.settings)
        self._files: dict[str, _Seen] = {}
        self._known_settings: dict[str, Settings] = {}
        self._table: tuple[int | None, int] | None = None
        self._versions: list[Version] = []
        self._saved = ""
        self._hashed: dict[str, tuple[int, ...]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._load(self._path.read_text(encoding="utf-8"))

    def _load(self, text: str) -> None:
        stored = json.loads(text)
        files = {path: _Seen(**{**seen, "stat": tuple(seen["stat"])}) for path, seen in stored["files"].items()}
        versions = [Version(**each) for each in stored["versions"]]
        table = stored["table"] and tuple(stored["table"])
        self._files, self._versions, self._table = files, versions, table
        self._known_settings, self._saved = stored["settings"], text

    def digest(self, file: SourceFile) -> str | None:
        """The SHA-256 of a file; None where it cannot be read.

        A file whose size and times are those of its last reading is taken to be the same. It is hashed where they
        differ, and where it had been written so shortly before that a later change might not show in them.
        """
        try:
            found = file.absolute.stat()
        except OSError:
            return None
        stat = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        seen = self._files.get(file.path)
        if seen and seen.stat == stat:
            self._hashed[file.path] = stat
            return seen.sha256
        settled = time.time_ns() - max(stat[1:]) > RACY_NANOSECONDS
        self._hashed[file.path] = stat if settled else ()
        return sha256(file.absolute)

    def holds(self, path: str, digest: str | None) -> bool:
        """Whether these bytes were read with the present settings."""
        seen = self._files.get(path)
        return seen is not None and (seen.sha256, seen.settings) == (digest, self._fingerprint)

    def changed_settings(self, path: str, digest: str | None) -> list[str]:
        """The settings that differ from those that these very bytes were read with, as a person reads them."""
        seen = self._files.get(path)
        if seen is None or seen.sha256 != digest or seen.settings == self._fingerprint:
            return []
        before = self._known_settings.get(seen.settings)
        return ["settings"] if before is None else _differences(before, self.settings)

    def same_as(self, path: str) -> str | None:
        """The path whose document this file repeats, where it was found to."""
        seen = self._files.get(path)
        return seen.same_as if seen else None

    def remember(self, path: str, digest: str | None, same_as: str | None = None) -> None:
        if digest is not None:
            self._files[path] = _Seen(digest, self._fingerprint, self._hashed.get(path, ()), same_as)

    def recognise(self, path: str) -> None:
        """Notes the present size and times of a file that turned out to hold the bytes that it held before."""
        seen = self._files.get(path)
        if seen and path in self._hashed:
            self._files[path] = _Seen(seen.sha256, seen.settings, self._hashed[path], seen.same_as)

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._files.pop(path, None)

    def versions(self, table: tuple[int | None, int]) -> list[Version] | None:
        """What the chunk table holds, if its version and number of rows are still those of the last run."""
        return self._versions if self._table == table else None

    def save(self, table: tuple[int | None, int] | None, versions: Iterable[Version]) -> None:
        """Writes the file, if anything in it has changed.

        Args:
            table: version and number of rows of the chunk table; None where they are not certain.
            versions: what the table holds at that version.

        Raises:
            WarehouseError: it cannot be written.
        """
        used = {seen.settings for seen in self._files.values()}
        known = {**self._known_settings, self._fingerprint: self.settings}
        stored = {
            "files": {path: asdict(seen) for path, seen in self._files.items()},
            "settings": {fingerprint: known[fingerprint] for fingerprint in used & known.keys()},
            "table": table,
            "versions": [asdict(each) for each in versions],
        }
        text = json.dumps(stored, indent=1, sort_keys=True)
        if text == self._saved:
            return
        write_whole(self._path, text)
        self._saved = text


def sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # the reader meets the same error and classifies it


def settings_of(config: Config) -> Settings:
    """Everything but the bytes that decides what is extracted from a file, by the name that a person knows it by."""
    ingest = config.ingest.model_dump(include={"tokenizer", "chunk_tokens", "chunk_overlap", "pdf_engine"})
    tokenizer = Path(config.ingest.tokenizer)
    return {
        "finreg": __version__,
        "the rules of extraction": RULES_VERSION,
        **{f"ingest.{name}": value for name, value in ingest.items()},
        "the tokenizer's file": sha256(tokenizer) if tokenizer.is_file() else None,
        "source.short_names": dict(config.source.short_names),
        "source.work_ids": dict(config.source.work_ids),
    }


def _differences(before: Settings, now: Settings) -> list[str]:
    """``ingest.chunk_tokens 500 -> 400``; of long values only the name."""
    found = []
    for name in now:
        old, new = before.get(name), now[name]
        if old != new:
            short = isinstance(old, (str, int)) and isinstance(new, (str, int)) and name != "the tokenizer's file"
            found.append(f"{name} {old} -> {new}" if short else name)
    return found

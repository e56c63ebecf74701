"""What the stages see of document reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from finreg_cli.domain.records import Chunk

ErrorClass = Literal[
    "empty", "not_pdf", "truncated", "encrypted", "no_text", "bad_encoding", "limit", "crash", "timeout", "parse"
]


@dataclass(frozen=True)
class SourceFile:
    """A file of the source: ``path`` is what the tables record, relative to the source folder, with ``/``."""

    path: str
    absolute: Path


@dataclass(frozen=True)
class ReadFile:
    """A file with its chunks."""

    path: str
    file_sha256: str
    pages: int
    chunks: list[Chunk]


@dataclass(frozen=True)
class UnreadableFile:
    path: str
    file_sha256: str | None
    error_class: ErrorClass
    message: str
    engine: str | None


class DocumentReader(Protocol):
    def read(self, files: Sequence[SourceFile]) -> Iterator[ReadFile | UnreadableFile]:
        """One outcome per file, in any order, each as soon as it is there; no file can end the others' reading."""

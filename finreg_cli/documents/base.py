"""What the stages see of document reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

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
    """A file with its chunks; ``warnings`` say what of it may not be right, each a sentence without the path."""

    path: str
    file_sha256: str
    pages: int
    chunks: list[Chunk]
    warnings: list[str] = field(default_factory=list)


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


@dataclass(frozen=True)
class LabelledDocument:
    """A document with its labels as they were given, unchecked.

    ``path`` says where it stands (``leases.jsonl:12``, ``folder/lease.pdf``), ``split`` is the side that the source
    itself gives it, if any.
    """

    path: str
    lease_id: str
    document: str
    labels: dict[str, Any]
    split: Literal["train", "holdout"] | None = None


@dataclass(frozen=True)
class UnusableDocument:
    """A document or a line that gives no labelled document.

    ``error_class`` is the reader's, or ``labels``, or ``link`` for one that leads out of the source.
    """

    path: str
    error_class: str
    message: str


class LabelledSource(Protocol):
    """Labelled documents from files (`documents.labelled`)."""

    def read(self, path: str, labels: str | None = None) -> Iterator[LabelledDocument | UnusableDocument]:
        """One outcome per document, in the order of the source.

        Args:
            path: a JSONL or CSV file, or a folder or glob of PDF and text files.
            labels: the JSONL or CSV with the labels of a folder's files.

        Raises:
            NothingToDo: there is no such file, or no document.
            ConfigError: a folder without labels, or labels that cannot be read at all.
        """

    def text(self, path: Path) -> str:
        """The text of one PDF or text file, for ``finreg extract``.

        Raises:
            StageFailed: it cannot be read, with the reader's reason.
        """

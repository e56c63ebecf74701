"""The port to the lakehouse. Every engine passes the same contract tests (``tests/contract``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from finreg_cli.domain.records import Table

Where = Mapping[str, str | int | bool | Collection[str] | Collection[int] | None]
"""A filter: each column equals its value, is one of its values, or (None) is null; all of them hold."""


@dataclass(frozen=True)
class Commit:
    """One entry of a table's history."""

    version: int
    timestamp: datetime
    operation: str


class Lakehouse(Protocol):
    """Delta tables by name, in the configured catalog and schema.

    A table that was never written does not exist: `exists` is False, `version` None, `count` 0, and `read` yields
    nothing. Batches are consumed as a stream, and memory does not grow with their number. Every write is one commit,
    returns the version that it made, and creates the table where it is new. Vendor errors are translated:
    `WarehouseError` where the location cannot be read or written, `CommitConflict` when the retries are used up.
    """

    def exists(self, table: Table[Any]) -> bool: ...

    def version(self, table: Table[Any]) -> int | None: ...

    def count(self, table: Table[Any], where: Where | None = None) -> int: ...

    def read(
        self,
        table: Table[Any],
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches with the table's schema (or the ``columns`` of it), at that version or the latest."""

    def append(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int: ...

    def overwrite(self, table: Table[Any], batches: Iterable[pa.RecordBatch], where: Where | None = None) -> int:
        """Replaces the rows that match ``where`` (all of them without it) by the batches, which must match it too.

        No batches means that the matching rows are deleted; without ``where`` an empty table remains.
        """

    def merge(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int:
        """Updates rows whose `Table.key` is there already and inserts the others. Keys in the batches are unique."""

    def history(self, table: Table[Any]) -> list[Commit]:
        """The commits of the table, newest first."""

    def compact(self, table: Table[Any]) -> None:
        """Joins small files, where the engine can; never removes what time travel needs."""

    def location(self, table: Table[Any]) -> str:
        """Where another tool opens the table: a path or URI."""

    def close(self) -> None: ...

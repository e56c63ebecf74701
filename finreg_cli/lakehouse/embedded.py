"""Delta tables without Spark and without a JVM: delta-rs, by the package ``deltalake``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    QueryBuilder,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from finreg_cli.domain.records import BATCH_ROWS, Table
from finreg_cli.errors import WarehouseError
from finreg_cli.lakehouse import filters
from finreg_cli.lakehouse.base import Commit, Where
from finreg_cli.lakehouse.failures import (
    demand_plain_path,
    first_line,
    lacks_columns,
    no_such_version,
    overtaken,
    unusable,
)
from finreg_cli.lakehouse.streams import Relay, Spool, cast, conform, peek, spooled, until_committed

# A reader holds one row group at a time, so this bounds the memory of whoever reads: some 15 MB of legal text.
_WRITER = WriterProperties(max_row_group_size=4_096)
# Expired log entries would take time travel with them.
_HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)
_LOST_THE_RACE_TO_CREATE = "already exists"
_STREAMING = {"datafusion.execution.batch_size": str(BATCH_ROWS), "datafusion.execution.target_partitions": "1"}
# delta-rs 1.6 takes paths through URLs: with these it panics, reads another file than it wrote or loses the history.
_UNSAFE_IN_PATHS = re.compile(r"[\x00-\x1f\[\]\\^|#?]|%[0-9A-Fa-f]{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EmbeddedLakehouse:
    """Implements `lakehouse.base.Lakehouse` in this process, one folder a table.

    Memory: reads and writes hold a few row groups, however many batches there are. A merge into an existing table joins
    in memory and holds the rows of all files that it touches, about three times over (1.1 GB to merge 300,000 rows of
    1 kB into as many). A write of no rows to an existing table makes no commit, except the `overwrite` that empties it.

    Args:
        warehouse: the folder of all tables; created by the first write.
        catalog: the folder in it.
        schema: the folder in that, with a folder for each table.

    Raises:
        WarehouseError: the path holds characters that delta-rs cannot cope with.
    """

    def __init__(self, warehouse: Path, catalog: str, schema: str) -> None:
        self._warehouse = warehouse.absolute()
        self._folder = self._warehouse / catalog / schema
        demand_plain_path(self._folder, _UNSAFE_IN_PATHS, "delta-rs")

    def exists(self, table: Table[Any]) -> bool:
        return DeltaTable.is_deltatable(self.location(table))

    def version(self, table: Table[Any]) -> int | None:
        opened = self._open(table)
        return None if opened is None else int(opened.version())

    def count(self, table: Table[Any], where: Where | None = None) -> int:
        opened = self._open(table)
        if opened is None:
            return 0
        with self._translated(table, "read"):
            (batch,) = _query(opened, "COUNT(*)", where)
        return int(batch.column(0)[0].as_py())

    def read(
        self,
        table: Table[Any],
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """See `Lakehouse.read`. The call fixes the version: later commits do not change what the stream yields."""
        opened = self._open(table, version)
        if opened is None:
            return iter(())
        schema = pa.schema([table.schema.field(name) for name in columns or table.schema.names])
        self._demand_columns(opened, table, schema.names)
        return self._stream(opened, table, schema, where)

    def _stream(
        self, opened: DeltaTable, table: Table[Any], schema: pa.Schema, where: Where | None
    ) -> Iterator[pa.RecordBatch]:
        with self._translated(table, "read"):
            batches = _query(opened, ", ".join(map(_identifier, schema.names)), where)
            while (batch := next(batches, None)) is not None:
                yield cast(batch, schema)

    def append(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int:
        """See `Lakehouse.append`. The rows of a new table are spooled, as another writer may be creating it too."""
        rows = conform(batches, table)
        if self.exists(table):
            return self._append(table, rows)
        with spooled(rows, table.schema, self._spool_folder()) as spool:
            return until_committed(
                lambda: self._append(table, spool.batches()) if self.exists(table) else self._create(table, spool),
                table.name,
            )

    def _append(self, table: Table[Any], batches: Iterator[pa.RecordBatch]) -> int:
        rows = peek(batches)
        opened = self._open(table)
        if opened is not None:
            if rows is None:
                return int(opened.version())
            self._demand_columns(opened, table, table.schema.names)
        return self._write(table, opened, rows, mode="append")

    def _create(self, table: Table[Any], spool: Spool) -> int:
        # Repeated by delta-rs itself, a creation that was overtaken would append the same keys a second time.
        once = CommitProperties(max_commit_retries=0)
        return self._write(table, None, spool.batches(), mode="error", commit_properties=once)

    def overwrite(self, table: Table[Any], batches: Iterable[pa.RecordBatch], where: Where | None = None) -> int:
        rows = peek(conform(batches, table, where))
        opened = self._open(table)
        if opened is None or where is None:
            return self._write(table, opened, rows, mode="overwrite", schema_mode="overwrite")
        self._demand_columns(opened, table, table.schema.names)
        predicate = filters.sql(where, _identifier, _literal)
        if rows is not None:
            return self._write(table, opened, rows, mode="overwrite", predicate=predicate)
        with self._translated(table, "write"):
            opened.delete(predicate, writer_properties=_WRITER, post_commithook_properties=_HOOKS)
        return int(opened.version())

    def merge(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int:
        """See `Lakehouse.merge`. The batches are spooled, as a stream could not be repeated after a conflict.

        Raises:
            CommitConflict: other writers kept overtaking this one; nothing was written.
        """
        with spooled(conform(batches, table), table.schema, self._spool_folder()) as spool:
            return until_committed(lambda: self._merge(table, spool), table.name)

    def _merge(self, table: Table[Any], spool: Spool) -> int:
        opened = self._open(table)
        if opened is None:
            return self._create(table, spool)
        if not spool.rows:
            return int(opened.version())
        self._demand_columns(opened, table, table.schema.names)
        same_key = " AND ".join(f"stored.{_identifier(name)} = new.{_identifier(name)}" for name in table.key)
        with self._translated(table, "merge into"):
            opened.merge(
                pa.RecordBatchReader.from_batches(table.schema, spool.batches()),
                same_key,
                source_alias="new",
                target_alias="stored",
                writer_properties=_WRITER,
                post_commithook_properties=_HOOKS,
            ).when_matched_update_all().when_not_matched_insert_all().execute()
        return int(opened.version())

    def history(self, table: Table[Any]) -> list[Commit]:
        opened = self._open(table)
        if opened is None:
            return []
        with self._translated(table, "read the history of"):
            return history_in_log(opened)

    def compact(self, table: Table[Any]) -> None:
        if self.exists(table):
            until_committed(lambda: self._compact(table), table.name)

    def _compact(self, table: Table[Any]) -> None:
        opened = self._open(table)
        if opened is not None:
            with self._translated(table, "compact"):
                opened.optimize.compact(writer_properties=_WRITER, post_commithook_properties=_HOOKS)

    def location(self, table: Table[Any]) -> str:
        return str(self._folder / table.name)

    def close(self) -> None:
        """Nothing is held between two calls."""

    def _open(self, table: Table[Any], version: int | None = None) -> DeltaTable | None:
        path = self.location(table)
        with self._translated(table, "open"):
            opened = DeltaTable(path) if DeltaTable.is_deltatable(path) else None
            if version is not None:
                latest = None if opened is None else opened.version()
                if opened is None or latest is None or not 0 <= version <= latest:
                    raise no_such_version(table, path, version, latest)
                opened.load_as_version(version)
        return opened

    def _write(
        self, table: Table[Any], opened: DeltaTable | None, rows: Iterator[pa.RecordBatch] | None, **how: Any
    ) -> int:
        relay = Relay(rows or (), table.schema)
        try:
            with self._translated(table, "write"):
                write_deltalake(
                    self.location(table) if opened is None else opened,
                    relay.reader(),
                    writer_properties=_WRITER,
                    post_commithook_properties=_HOOKS,
                    **how,
                )
        except WarehouseError:
            relay.reraise()
            raise
        version = self.version(table) if opened is None else opened.version()
        return int(version or 0)

    def _spool_folder(self) -> Path:
        folder = self._warehouse / "_finreg" / "spool"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(self._warehouse, f"cannot create {folder}: {error.strerror}") from error
        return folder

    def _demand_columns(self, opened: DeltaTable, table: Table[Any], names: Sequence[str]) -> None:
        stored = {field.name for field in opened.schema().fields}
        missing = [name for name in names if name not in stored]
        if missing:
            raise lacks_columns(table, self.location(table), missing)

    @contextmanager
    def _translated(self, table: Table[Any], action: str) -> Iterator[None]:
        """Translates what delta-rs raises while it does ``action``."""
        try:
            yield
        except CommitFailedError as error:
            raise overtaken(table, self.location(table), first_line(error)) from error
        except (DeltaError, OSError, pa.ArrowException) as error:
            if _LOST_THE_RACE_TO_CREATE in str(error):
                raise overtaken(table, self.location(table), first_line(error)) from error
            raise unusable(
                self._warehouse,
                f"cannot {action} the table {table.name} at {self.location(table)}: {first_line(error)}",
            ) from error


def history_in_log(opened: DeltaTable, limit: int | None = None) -> list[Commit]:
    """The commits in a table's log, newest first; the log counts time in milliseconds since 1970."""
    commits = [
        Commit(int(entry["version"]), _EPOCH + timedelta(milliseconds=entry["timestamp"]), str(entry["operation"]))
        for entry in opened.history(limit)
    ]
    return sorted(commits, key=lambda commit: commit.version, reverse=True)


def _query(opened: DeltaTable, selection: str, where: Where | None) -> Iterator[pa.RecordBatch]:
    condition = filters.sql(where or {}, _identifier, _literal)
    found = (
        QueryBuilder(_STREAMING).register("stored", opened).execute(f"SELECT {selection} FROM stored WHERE {condition}")
    )
    return iter(pa.RecordBatchReader.from_stream(found))


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Delta tables by Spark: the DataFrame API for reading and writing, SQL for what it has no words for."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from finreg_cli.domain.records import BATCH_ROWS, Table
from finreg_cli.lakehouse import filters
from finreg_cli.lakehouse.base import Commit, Where
from finreg_cli.lakehouse.embedded import history_in_log
from finreg_cli.lakehouse.failures import (
    demand_plain_path,
    first_line,
    lacks_columns,
    no_such_version,
    overtaken,
    unusable,
)
from finreg_cli.lakehouse.streams import conform, until_committed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Spark takes the path of a Parquet file for a pattern; the others are what delta-rs cannot follow.
_UNSAFE_IN_PATHS = re.compile(r"[\x00-\x1f\[\]\\^|#?*{}]|%[0-9A-Fa-f]{2}")
# Sail 0.7 writes to the percent-encoded form of any other path: to another folder than it was told.
_UNSAFE_IN_PATHS_OF_SAIL = re.compile(r"[^A-Za-z0-9._~/'-]")
# In the words of Delta Lake on a JVM and of Sail; a stack trace has java.util.concurrent in it, which says nothing.
_OVERTAKEN = re.compile(
    r"DELTA_CONCURRENT|\bConcurrent\w+Exception|MetadataChangedException|ProtocolChangedException|DELTA_PATH_EXISTS"
    r"|Failed to commit transaction|already exists"
)


class SparkLakehouse:
    """Implements `lakehouse.base.Lakehouse` on a Spark session (`lakehouse.sessions`).

    Tables are addressed by path, so that no catalog is needed and the other engines find them. The warehouse must be a
    folder that this process and Spark's server and executors see under the same path: what is written goes through a
    Parquet file in ``_finreg/spool`` there, which makes one commit of any number of batches.

    Memory: here, one batch when writing, and when reading what Spark sends at a time: an Arrow batch of Spark Connect,
    a partition of a JVM session. What Spark itself needs is Spark's affair. A merge of no rows makes no commit.

    Args:
        session: closed by `close`.
        warehouse: the folder of all tables.
        catalog: the folder in it.
        schema: the folder in that, with a folder for each table.

    Raises:
        WarehouseError: the path holds characters that the engine cannot cope with.
    """

    def __init__(self, session: SparkSession, warehouse: Path, catalog: str, schema: str) -> None:
        self._session = session
        self._warehouse = warehouse.absolute()
        self._folder = self._warehouse / catalog / schema
        self._sail = session.catalog.currentCatalog() == "sail"
        unsafe = _UNSAFE_IN_PATHS_OF_SAIL if self._sail else _UNSAFE_IN_PATHS
        demand_plain_path(self._folder, unsafe, "Sail" if self._sail else "Spark")

    def exists(self, table: Table[Any]) -> bool:
        return DeltaTable.is_deltatable(self.location(table))

    def version(self, table: Table[Any]) -> int | None:
        commits = self._commits(table, limit=1) if self.exists(table) else []
        return commits[0].version if commits else None

    def count(self, table: Table[Any], where: Where | None = None) -> int:
        if not self.exists(table):
            return 0
        with self._translated(table, "read"):
            return int(self._frame(table, where).count())

    def read(
        self,
        table: Table[Any],
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """See `Lakehouse.read`. The call fixes the version: later commits do not change what the stream yields."""
        latest = self.version(table)
        if version is not None and (latest is None or not 0 <= version <= latest):
            raise no_such_version(table, self.location(table), version, latest)
        if latest is None:
            return iter(())
        schema = pa.schema([table.schema.field(name) for name in columns or table.schema.names])
        with self._translated(table, "read"):
            frame = self._frame(table, where, latest if version is None else version)
            self._demand_columns(frame, table, schema.names)
            selected = frame.selectExpr(*map(_selection, schema))
        return self._stream(selected, table, schema)

    def _stream(self, frame: DataFrame, table: Table[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        pending: list[dict[str, Any]] = []
        with self._translated(table, "read"):
            for row in frame.toLocalIterator():
                pending.append(row.asDict(recursive=True))
                if len(pending) == BATCH_ROWS:
                    yield _batch(pending, schema)
                    pending = []
        if pending:
            yield _batch(pending, schema)

    def append(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int:
        with self._spooled(table, conform(batches, table)) as (frame, rows):
            if rows or not self.exists(table):
                self._demand_stored_columns(table)
                frame.write.format("delta").mode("append").save(self.location(table))
        return self._version_now(table)

    def overwrite(self, table: Table[Any], batches: Iterable[pa.RecordBatch], where: Where | None = None) -> int:
        with self._spooled(table, conform(batches, table, where)) as (frame, rows):
            writer = frame.write.format("delta").mode("overwrite")
            if where is None or not self.exists(table):
                writer.option("overwriteSchema", "true").save(self.location(table))
            elif rows:
                self._demand_stored_columns(table)
                writer.option("replaceWhere", _condition(where)).save(self.location(table))
            else:
                self._session.sql(f"DELETE FROM {self._address(table)} WHERE {_condition(where)}").collect()
        return self._version_now(table)

    def merge(self, table: Table[Any], batches: Iterable[pa.RecordBatch]) -> int:
        with self._spooled(table, conform(batches, table)) as (frame, rows):
            if rows or not self.exists(table):
                until_committed(lambda: self._merge(table, frame), table.name)
        return self._version_now(table)

    def _merge(self, table: Table[Any], frame: DataFrame) -> None:
        if not self.exists(table):
            with self._translated(table, "write"):
                frame.write.format("delta").mode("error").save(self.location(table))
            return
        self._demand_stored_columns(table)
        view = f"finreg_{uuid.uuid4().hex}"
        same_key = " AND ".join(f"stored.{_identifier(name)} = new.{_identifier(name)}" for name in table.key)
        frame.createOrReplaceTempView(view)
        try:
            with self._translated(table, "merge into"):
                # Not delta.tables.DeltaTable: over Spark Connect it needs a plug-in on the server.
                self._session.sql(
                    f"MERGE INTO {self._address(table)} AS stored USING {view} AS new ON {same_key} "
                    "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
                ).collect()
        finally:
            self._session.catalog.dropTempView(view)

    def history(self, table: Table[Any]) -> list[Commit]:
        return self._commits(table) if self.exists(table) else []

    def compact(self, table: Table[Any]) -> None:
        """Joins small files on a JVM; Sail has no OPTIMIZE, there it does nothing."""
        if not self._sail and self.exists(table):
            with self._translated(table, "compact"):
                self._session.sql(f"OPTIMIZE {self._address(table)}").collect()

    def location(self, table: Table[Any]) -> str:
        return str(self._folder / table.name)

    def close(self) -> None:
        """Ends the session."""
        self._session.stop()

    def _address(self, table: Table[Any]) -> str:
        return f"delta.{_identifier(self.location(table))}"

    def _frame(self, table: Table[Any], where: Where | None = None, version: int | None = None) -> DataFrame:
        reader = self._session.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        frame = reader.load(self.location(table))
        return frame.where(_condition(where)) if where else frame

    def _commits(self, table: Table[Any], limit: int | None = None) -> list[Commit]:
        with self._translated(table, "read the history of"):
            if self._sail:
                # Sail has no DESCRIBE HISTORY, but writes the same log.
                return history_in_log(DeltaTable(self.location(table)), limit)
            clause = "" if limit is None else f" LIMIT {limit}"
            rows = self._session.sql(f"DESCRIBE HISTORY {self._address(table)}{clause}")
            found = rows.select("version", "timestamp", "operation").toArrow().to_pylist()
        return sorted((Commit(**entry) for entry in found), key=lambda commit: commit.version, reverse=True)

    def _version_now(self, table: Table[Any]) -> int:
        return self.version(table) or 0

    def _demand_stored_columns(self, table: Table[Any]) -> None:
        if self.exists(table):
            self._demand_columns(self._frame(table), table, table.schema.names)

    def _demand_columns(self, frame: DataFrame, table: Table[Any], names: Sequence[str]) -> None:
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise lacks_columns(table, self.location(table), missing)

    @contextmanager
    def _spooled(self, table: Table[Any], batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[DataFrame, int]]:
        """The batches as a DataFrame and their number of rows; errors inside the block are translated."""
        folder = self._warehouse / "_finreg" / "spool" / uuid.uuid4().hex
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise unusable(self._warehouse, f"cannot create {folder}: {error.strerror}") from error
        try:
            rows = _write_parquet(folder / "rows.parquet", table.schema, batches)
            with self._translated(table, "write"):
                yield self._session.read.parquet(str(folder)), rows
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _translated(self, table: Table[Any], action: str) -> Iterator[None]:
        """Translates what Spark raises while it does ``action``."""
        from deltalake.exceptions import DeltaError
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no type information
        from pyspark.errors import PySparkException

        try:
            yield
        except (PySparkException, Py4JError, DeltaError, OSError) as error:
            if _OVERTAKEN.search(str(error)):
                raise overtaken(table, self.location(table), _message(error)) from error
            raise unusable(
                self._warehouse,
                f"Spark cannot {action} the table {table.name} at {self.location(table)}: {_message(error)}",
            ) from error


def _message(error: BaseException) -> str:
    """The JVM's own words, where the first line only says which call failed."""
    return first_line(str(error).partition("An error occurred while calling")[2].partition(": ")[2] or error)


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _selection(field: pa.Field) -> str:
    column = _identifier(field.name)
    # A Python row carries a timestamp in the machine's time zone without saying so.
    return f"unix_micros({column}) AS {column}" if pa.types.is_timestamp(field.type) else column


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of `_selection` as Arrow: timestamps arrive as microseconds since 1970, maps as dictionaries."""
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if pa.types.is_timestamp(field.type):
            columns.append(pa.array(values, pa.int64()).cast(field.type))
        elif pa.types.is_map(field.type):
            columns.append(pa.array([None if each is None else list(each.items()) for each in values], field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _condition(where: Where) -> str:
    return filters.sql(where, _identifier, _literal)


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    # As code points, because Spark replaces ${...} before it looks for strings and their escapes.
    return "'" + re.sub(r"[\\'$]", lambda found: f"\\u{ord(found.group()):04x}", text) + "'"

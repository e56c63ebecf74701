"""Streams of Arrow record batches on their way into and out of an engine; none holds more than a batch or a few."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa

from finreg_cli.domain.records import Table
from finreg_cli.errors import CommitConflict, WarehouseError
from finreg_cli.lakehouse import filters
from finreg_cli.lakehouse.base import Where

Result = TypeVar("Result")

ATTEMPTS = 15
LONGEST_PAUSE = 2.0
SPOOL_MEMORY = 32 * 2**20


def conform(
    batches: Iterable[pa.RecordBatch], table: Table[Any], where: Where | None = None
) -> Iterator[pa.RecordBatch]:
    """The batches that hold rows, with exactly the table's schema.

    Raises:
        WarehouseError: a batch has other columns than the table, or rows that ``where`` does not match.
    """
    for batch in batches:
        if batch.num_rows:
            yield _conformed(batch, table, where)


def _conformed(batch: pa.RecordBatch, table: Table[Any], where: Where | None) -> pa.RecordBatch:
    try:
        batch = cast(batch, table.schema)
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise WarehouseError(
            f"rows for the table {table.name} do not fit its schema: {error}", "this is a defect of finreg: report it"
        ) from error
    if where:
        matching = pa.table(batch).filter(filters.expression(where)).num_rows
        if matching < batch.num_rows:
            raise WarehouseError(
                f"{batch.num_rows - matching} rows for the table {table.name} do not match {dict(where)}, "
                "which they are to replace",
                "this is a defect of finreg: report it",
            )
    return batch


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of ``schema``, by name, in its order and types; KeyError where one is missing."""
    return batch if batch.schema.equals(schema) else batch.select(schema.names).cast(schema)


def peek(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch] | None:
    """The same batches, or None where there are none."""
    first = next(batches, None)
    return None if first is None else itertools.chain([first], batches)


class Relay:
    """Hands batches to native code, and keeps the exception of whoever produces them.

    Native readers turn any exception into text: without this, a Ctrl-C or a full budget inside the stream would come
    out as a storage error.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self._schema = schema
        self._failure: BaseException | None = None

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._watched())

    def _watched(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except GeneratorExit:
            raise
        except BaseException as failure:
            self._failure = failure
            raise

    def reraise(self) -> None:
        """Raises what the producer raised, if it did."""
        if self._failure is not None:
            raise self._failure


class Spool:
    """Batches that can be read more than once; made by `spooled`."""

    def __init__(self, file: IO[bytes], rows: int) -> None:
        self._file = file
        self.rows = rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            yield from reader


@contextmanager
def spooled(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> Iterator[Spool]:
    """Reads the batches to their end and keeps them in memory up to `SPOOL_MEMORY` bytes, beyond it in an unnamed file.

    Args:
        batches: each with that schema.
        schema: as of an Arrow stream.
        folder: where the file goes; the system's own folder for temporary files may be memory.
    """
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY, dir=str(folder)) as file:
        rows = 0
        with pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        yield Spool(file, rows)


def until_committed(attempt: Callable[[], Result], table: str, pause: Callable[[float], None] = time.sleep) -> Result:
    """Repeats an attempt that other writers overtook, after a random pause that grows up to 2 seconds.

    Args:
        attempt: reads the table anew and tries to commit; raises CommitConflict when overtaken.
        table: named in the error.
        pause: waits for so many seconds.

    Raises:
        CommitConflict: all `ATTEMPTS` were overtaken.
    """
    for number in range(ATTEMPTS):
        if number:
            pause(random.uniform(0, min(LONGEST_PAUSE, 0.05 * 2**number)))
        with suppress(CommitConflict):
            return attempt()
    raise CommitConflict(
        f"other writers overtook this one {ATTEMPTS} times on the table {table}; nothing was written to it",
        "let the other finreg processes on this warehouse end, then repeat the command",
    )

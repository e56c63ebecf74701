"""Files that other tools read: Arrow batches into JSON lines, Parquet or CSV, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from finreg_cli.errors import ConfigError, StageFailed

SUFFIXES = (".jsonl", ".parquet", ".csv")
PROVENANCE = ".provenance.json"

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=datetime.isoformat)


def provenance_of(file: Path) -> Path:
    """Where the file's origin is told: beside it (where a link leads to), as ``rows.jsonl.provenance.json``."""
    file = _followed(file)
    return file.with_name(file.name + PROVENANCE)


def _followed(file: Path) -> Path:
    """What a link leads to, so that it is not itself replaced; any other path as it was named."""
    return file.resolve() if file.is_symlink() else file


def demand_writable(file: Path, force: bool) -> Path:
    """The file to write, with links followed, before any work is done for it.

    Raises:
        ConfigError: the suffix is unknown, the folder is not there, or the file is and ``force`` was not given.
        StageFailed: the place cannot be looked at.
    """
    if file.suffix.lower() not in SUFFIXES:
        hint = "one JSON object a line is .jsonl; " if file.suffix.lower() in (".json", ".ndjson") else ""
        raise ConfigError(
            f"'{file}' does not say what to write: the file's suffix decides", f"{hint}known: {', '.join(SUFFIXES)}"
        )
    with _translated(file):
        target = _followed(file)
        if not target.parent.is_dir():
            raise ConfigError(f"there is no folder {target.parent} for {target.name}", f"mkdir -p {target.parent}")
        for each in (target, provenance_of(target)):
            if each.exists() and not each.is_file():
                raise ConfigError(f"{each} is there and is no file", "name another file")
            if each.exists() and not force:
                raise ConfigError(f"{each} is there already", "add --force to replace it, or name another file")
    return target


def write_batches(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes the batches as the file's suffix says and returns the number of rows; holds one batch at a time.

    ===========  ==================================================================================================
    ``.jsonl``   one object a line, UTF-8; times in ISO 8601; a number that is none (NaN) is null
    ``.parquet`` the Arrow types as they are
    ``.csv``     a header, every text in quotes, so that an empty one differs from null; lists and maps as JSON text
    ===========  ==================================================================================================

    Raises:
        StageFailed: it cannot be written: rights, space, a folder that went away.
    """
    with _replacing(target) as unfinished:
        write = {".jsonl": _write_json_lines, ".parquet": _write_parquet, ".csv": _write_csv}[target.suffix.lower()]
        rows = write(unfinished, schema, batches)
        provenance_of(target).unlink(missing_ok=True)  # it tells of the file that goes now
        return rows


def write_text(target: Path, text: str) -> None:
    """Raises StageFailed where it cannot be written."""
    with _replacing(target) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def sha256_of(file: Path) -> str:
    with _translated(file), file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file to write into, which becomes ``target`` at the end of the block, and is removed if that fails."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    with _translated(target):
        try:
            yield unfinished
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageFailed(
            f"cannot write {file}: {error.strerror or error}",
            "check the rights and the free space there, or name a file in another folder",
        ) from error


def _write_json_lines(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    rows = 0
    with file.open("w", encoding="utf-8", newline="\n") as opened:
        for batch in batches:
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                opened.write(_json(row) + "\n")
            rows += batch.num_rows
    return rows


def _write_parquet(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    rows = 0
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_csv(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    rows = 0
    flat = pa.schema([(each.name, pa.string() if pa.types.is_nested(each.type) else each.type) for each in schema])
    with pyarrow.csv.CSVWriter(file, flat) as writer:
        for batch in batches:
            columns = [_as_json_text(column) if pa.types.is_nested(column.type) else column for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            rows += batch.num_rows
    return rows


def _as_json_text(column: pa.Array) -> pa.Array:
    values = column.to_pylist(maps_as_pydicts="strict")
    return pa.array([None if each is None else _json(each) for each in values], pa.string())


def _json(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:  # JSON has no NaN and no infinity
        return _ENCODER.encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

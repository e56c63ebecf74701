"""The rows that the training script reads: a Parquet file, a JSONL file or a Delta table, of chats."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "eval")

JSON_LINES = (".jsonl", ".ndjson", ".json")

_COLUMNS = ("row_id", "split", "messages")


class Unusable(Exception):
    """The job cannot be trained; the message says why."""


@dataclass(frozen=True)
class Row:
    """A chat whose last message is the assistant's."""

    row_id: str
    split: str
    messages: list[dict[str, str]]


def read_rows(source: str | Path, version: int | None = None, eval_source: str | Path | None = None) -> list[Row]:
    """The rows of one source or two, by row_id, so that their order in the file decides nothing.

    A source has the column messages (each a ``role`` and a ``content``, the last one the assistant's), and may have
    row_id (else a hash of the messages) and split (``train`` or ``eval``, else all of them train).

    Args:
        source: a Parquet file, a JSONL file, or the folder or URL of a Delta table.
        version: of the Delta table; None for its newest.
        eval_source: a second one, all of whose rows are for evaluation.

    Raises:
        Unusable: it cannot be read, or a row is not of this form; the message names the row and the column.
    """
    rows = list(_read(source, version))
    if eval_source is not None:
        rows += [Row(row.row_id, "eval", row.messages) for row in _read(eval_source, None)]
    for row_id, times in Counter(row.row_id for row in rows).items():
        if times > 1:
            where = f"{source} and {eval_source}" if eval_source is not None else str(source)
            raise Unusable(f"column row_id of {where}: {row_id} is there {times} times, and it must name one row")
    return sorted(rows, key=lambda row: row.row_id)


def _read(source: str | Path, version: int | None) -> Iterator[Row]:
    copies: Counter[str] = Counter()
    for number, entry in enumerate(_entries(source, version), start=1):
        yield _row(source, number, entry, copies)


def _row(source: str | Path, number: int, entry: Mapping[str, Any], copies: Counter[str]) -> Row:
    row_id = entry.get("row_id")
    where = f"row {number if row_id is None else row_id} of {source}"
    messages = _messages(where, entry.get("messages"))
    split = entry.get("split") or "train"
    if split not in SPLITS:
        raise Unusable(f"{where}: column split: {split!r} is none of {', '.join(SPLITS)}")
    if row_id is None:
        row_id = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:32]
        copies[row_id] += 1
        # The same chat twice is twice the weight, as its author wants it, and two rows.
        row_id += f"-{copies[row_id]}" if copies[row_id] > 1 else ""
    return Row(str(row_id), split, messages)


def _messages(where: str, messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise Unusable(f"{where}: column messages: a list of messages is needed, and it is {_short(messages)}")
    for message in messages:
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise Unusable(f"{where}: column messages: role and content are needed, and one is {_short(message)}")
    if messages[-1]["role"] != "assistant":
        raise Unusable(
            f"{where}: column messages: it does not end with an assistant's message but with one of the role "
            f"{messages[-1]['role']!r}"
        )
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# --- what it reads from ----------------------------------------------------------------------------------------------


def _entries(source: str | Path, version: int | None) -> Iterable[Mapping[str, Any]]:
    is_delta = _is_delta(source)
    if version is not None and not is_delta:
        raise Unusable(f"--version: {source} is no Delta table, so it has no versions")
    if is_delta:
        return _from_delta(str(source), version)
    path = Path(source)
    if not path.is_file():
        raise Unusable(
            f"{source}: there is no such file, and no Delta table; rows are read from a Parquet file, a JSONL file "
            f"({', '.join(JSON_LINES)}), or a Delta table's folder or URL"
        )
    return _from_json_lines(path) if path.suffix in JSON_LINES else _from_parquet(path)


def _is_delta(source: str | Path) -> bool:
    return "://" in str(source) or (Path(source) / "_delta_log").is_dir()


def _from_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        file = pq.ParquetFile(path)
    except (ArrowInvalid, OSError) as error:
        raise Unusable(f"{path}: it cannot be read as Parquet: {error}") from error
    columns = _wanted(path, file.schema_arrow.names)
    for batch in file.iter_batches(columns=columns):
        yield from batch.to_pylist()


def _from_json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise Unusable(f"line {number} of {path}: it is no JSON: {error}") from error
            if not isinstance(entry, dict):
                raise Unusable(f"line {number} of {path}: an object with the key messages is needed: {_short(entry)}")
            yield entry


def _from_delta(source: str, version: int | None) -> Iterator[Mapping[str, Any]]:
    """Credentials of an object store come from the environment, as its own tools read them."""
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise Unusable(f"{source}: reading a Delta table needs the package deltalake ({error})") from error
    try:
        table = DeltaTable(source, version=version)
        files = table.to_pyarrow_dataset()
        for batch in files.to_batches(columns=_wanted(source, files.schema.names)):
            yield from batch.to_pylist()
    except (DeltaError, OSError) as error:
        of_version = "" if version is None else f" at version {version}"
        raise Unusable(f"{source}: the Delta table cannot be read{of_version}: {error}") from error


def _wanted(source: str | Path, names: Sequence[str]) -> list[str]:
    if "messages" not in names:
        raise Unusable(f"{source}: there is no column messages, only {', '.join(names)}")
    return [name for name in _COLUMNS if name in names]

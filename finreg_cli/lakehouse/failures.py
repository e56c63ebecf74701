"""What goes wrong in a warehouse, in the same words whichever engine noticed it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finreg_cli.domain.records import Table
from finreg_cli.errors import CommitConflict, WarehouseError


def demand_plain_path(folder: Path, unsafe: re.Pattern[str], engine: str) -> None:
    """Raises WarehouseError where ``unsafe`` matches a part of the folder's path."""
    found = unsafe.search(str(folder))
    if found:
        raise WarehouseError(
            f"the warehouse folder {folder} has {found.group()!r} in its path, which {engine} cannot follow",
            "set engine.warehouse to a path of plain letters, digits, dots, hyphens and underscores",
        )


def unusable(warehouse: Path, problem: str) -> WarehouseError:
    return WarehouseError(
        problem,
        f"check that {warehouse} can be written and has space left, or set engine.warehouse to another folder",
    )


def no_such_version(table: Table[Any], location: str, version: int, latest: int | None) -> WarehouseError:
    """``latest`` is None where the table does not exist."""
    there = "it was never written" if latest is None else f"its versions are 0 to {latest}"
    return WarehouseError(
        f"the table {table.name} at {location} has no version {version}: {there}",
        "leave the version out for the latest",
    )


def lacks_columns(table: Table[Any], location: str, missing: Sequence[str]) -> WarehouseError:
    return WarehouseError(
        f"the table {table.name} at {location} has no column {', '.join(missing)}: something else wrote it, "
        "or another version of finreg",
        "set schema to a new name, or move that folder away",
    )


def overtaken(table: Table[Any], location: str, problem: str) -> CommitConflict:
    return CommitConflict(
        f"another writer changed the table {table.name} at {location} at the same time: {problem}",
        "let the other finreg processes on this warehouse end, then repeat the command",
    )


def first_line(error: BaseException | str) -> str:
    """A vendor's message without its stack traces and tables."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()

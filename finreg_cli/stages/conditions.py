"""``--where COLUMN=VALUE`` and other words of a command line about a table, checked against its columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from finreg_cli.domain.records import Table
from finreg_cli.errors import ConfigError


def demand_column(table: Table[Any], name: str) -> None:
    names = table.schema.names
    if name not in names:
        raise ConfigError(f"{table.name} has no column '{name}'", f"{nearest(name, names)}known: {', '.join(names)}")


def nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def where_of(table: Table[Any], conditions: Sequence[str]) -> dict[str, Any]:
    """The conditions as the lakehouse takes them: one value of a column, or several of which any holds."""
    values: dict[str, list[Any]] = {}
    for condition in conditions:
        name, equals, written = condition.partition("=")
        if not equals:
            raise ConfigError(f"'{condition}' is no condition", "write COLUMN=VALUE: --where kind=definition")
        demand_column(table, name)
        values.setdefault(name, []).append(_value(table, name, written))
    for name, found in values.items():
        if len(found) > 1 and not all(type(each) in (str, int) for each in found):
            raise ConfigError(f"--where names {name} more than once", "one of them, of null, true and false")
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _value(table: Table[Any], name: str, written: str) -> str | int | bool | None:
    kind = table.schema.field(name).type
    if written == "null":
        return None
    if pa.types.is_string(kind):
        return written
    if pa.types.is_boolean(kind) and written in ("true", "false"):
        return written == "true"
    if pa.types.is_integer(kind) and written.lstrip("-").isdecimal():
        return int(written)
    takes = {pa.bool_(): "true, false or null", pa.int64(): "a whole number or null"}.get(kind, "only null")
    raise ConfigError(f"the column {name} of {table.name} cannot equal '{written}'", f"it takes {takes}")

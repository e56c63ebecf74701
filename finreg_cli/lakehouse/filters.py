"""The port's filters in the two notations that the engines take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc

from finreg_cli.lakehouse.base import Where

Quote = Callable[[str], str]


def sql(where: Where, identifier: Quote, literal: Quote) -> str:
    """The filter as an SQL condition.

    Args:
        where: the filter; without any column it holds for every row.
        identifier: quotes a column's name in the engine's dialect.
        literal: quotes a string in the engine's dialect.
    """
    return " AND ".join(_condition(identifier(name), value, literal) for name, value in where.items()) or "TRUE"


def _condition(column: str, value: Any, literal: Quote) -> str:
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, bool):
        # Not `column = TRUE`: Sail would look for a boolean's smallest value in the file statistics, which have none.
        return column if value else f"NOT {column}"
    if isinstance(value, str):
        return f"{column} = {literal(value)}"
    if isinstance(value, int):
        return f"{column} = {value}"
    values = [literal(each) if isinstance(each, str) else str(each) for each in value]
    return f"{column} IN ({', '.join(values)})" if values else "FALSE"


def expression(where: Where) -> pc.Expression:
    """The filter as an Arrow expression."""
    result = pc.scalar(True)
    for name, value in where.items():
        result = result & _compare(pc.field(name), value)
    return result


def _compare(field: pc.Expression, value: Any) -> pc.Expression:
    if value is None:
        return field.is_null()
    if isinstance(value, (str, int)):
        return field == value
    values = list(value)
    return field.isin(values) if values else pc.scalar(False)

"""What every stage takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import Table
from finreg_cli.lakehouse.base import Lakehouse


@dataclass(frozen=True)
class Run:
    """One command: its id (``all`` hands its own to its stages), its configuration and who watches it."""

    run_id: str
    config: Config
    progress: Progress
    dry_run: bool = False


@dataclass(frozen=True)
class TableState:
    rows: int
    version: int | None


@dataclass
class StageResult:
    """What a stage did, as ``-o json`` prints it; ``findings`` are lines for a person only.

    ``ends_rounds`` says that a further synthetic round is not worth its money (``generate.early_stop``).
    """

    stage: str
    counts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, TableState] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    ends_rounds: bool = False

    def saw(self, lakehouse: Lakehouse, *tables: Table[Any]) -> None:
        """Records the present rows and version of the tables that the stage wrote."""
        for table in tables:
            if lakehouse.exists(table):
                self.tables[table.name] = TableState(lakehouse.count(table), lakehouse.version(table))


def distinct(lakehouse: Lakehouse, table: Table[Any], column: str) -> set[Any]:
    """The values of a column."""
    return {value for batch in lakehouse.read(table, [column]) for value in batch.column(column).to_pylist()}

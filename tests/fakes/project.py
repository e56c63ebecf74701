"""The real command in a folder of its own, and what it leaves there: for the tests that put it under fire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

CONCURRENCY = 8
"""Requests in flight, unless a test says otherwise."""

_OF_A_RUN = {"run_id"}
"""Columns that tell which run wrote a row, and not what the row is."""


@dataclass
class Project:
    """A folder with a configuration and an ingested warehouse, where the real command runs."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)

    def write(self, **sections: Any) -> None:
        """Sets sections of ``finreg.yaml``."""
        self.config |= sections
        (self.folder / "finreg.yaml").write_text(yaml.safe_dump(self.config))

    @contextmanager
    def generating(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """``finreg generate`` as a process of its own; one that is left running is killed."""
        command = [sys.executable, "-m", "finreg_cli", "generate", "-o", "json", *arguments]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def generate(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Runs ``finreg generate`` to its end; what it prints as JSON."""
        with self.generating(*arguments) as process:
            printed, errors = process.communicate()
        assert process.returncode == status, f"exit code {process.returncode}\n{printed}\n{errors}"
        report: dict[str, Any] = json.loads(printed)
        return report

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table; none where it does not exist."""
        path = self.table(table)
        if not DeltaTable.is_deltatable(str(path)):
            return []
        found: list[dict[str, Any]] = DeltaTable(path).to_pyarrow_table().to_pylist()
        return found

    def table(self, name: str) -> Path:
        return self.folder / "lakehouse/main/euroreg" / name

    @property
    def first_commit(self) -> Path:
        """The file whose existence says that rows were committed."""
        return self.table("qa_dataset") / "_delta_log/00000000000000000000.json"

    def result(self) -> dict[str, Any]:
        """What a run leaves, whoever made it and in whatever order: rows and rejects by their id, and the exports.

        A row that is there twice is an error.
        """
        left: dict[str, Any] = {}
        for table in ("qa_dataset", "qa_rejected"):
            rows = self.rows(table)
            left[table] = {row["row_id"]: {k: v for k, v in row.items() if k not in _OF_A_RUN} for row in rows}
            assert len(left[table]) == len(rows), f"{table} holds rows twice"
        for table in ("qa_dataset_train", "qa_dataset_val"):
            left[table] = sorted(json.dumps(row) for row in self.rows(table))
        both = left["qa_dataset"].keys() & left["qa_rejected"].keys()
        assert not both, "rows are kept and rejected"
        return left


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: what it asked for, what it left, and how long it took after its first commit."""

    requests: set[str]
    result: dict[str, Any]
    folder: Path
    seconds_after_the_first_commit: float


NewProject = Callable[..., Project]
RunUndisturbed = Callable[[int | None], Undisturbed]


def table_of(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table for people to read, with ``pytest -s``."""
    cells = [[str(cell) for cell in line] for line in (columns, *lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    shown = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(["", title, *shown])

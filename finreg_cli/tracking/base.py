"""What the stages see of experiment tracking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class TrackedRun(Protocol):
    """An open run. It ends FINISHED with its block, FAILED with an exception, KILLED with an interrupt."""

    @property
    def id(self) -> str:
        """The tracker's own id of the run."""

    def params(self, values: Mapping[str, Any]) -> None: ...

    def metrics(self, values: Mapping[str, float]) -> None: ...

    def steps(self, values: Iterable[tuple[int, str, float]]) -> None:
        """Metrics over steps, as (step, name, value)."""

    def input_table(self, name: str, location: str, version: int, rows: int, context: str) -> None:
        """The table and version that the run read, as a dataset input; ``context`` is training, evaluation, ..."""

    def artifact(self, path: Path, folder: str = "") -> None: ...


class Tracker(Protocol):
    def run(
        self, name: str, tags: Mapping[str, str], parent: TrackedRun | None = None
    ) -> AbstractContextManager[TrackedRun]: ...

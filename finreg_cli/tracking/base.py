"""What the stages see of experiment tracking and of the model registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Registration:
    """A tuned model as it goes into the registry.

    Args:
        name: the registered model, ``catalog.schema.name`` in Unity Catalog.
        alias: points to the version afterwards.
        run_id: ours, as the member's tracked run is tagged; the registered version links to that run.
        merged: the folder of the merged model. Its weights go from disk to disk, never through memory.
        adapter: kept as an artifact of the run; None where every weight was trained.
        example: the messages that the version shows as an example of its input.
        max_new_tokens: the most tokens of an answer, where who asks does not say.
        facts: what the version is recorded with, as metadata in the model itself and as tags of the version: licence
            of the base, training table and version, hashes, ... ``weights_sha256`` tells two models apart.
        description: in words, for the registry's page.
    """

    name: str
    alias: str
    run_id: str
    merged: Path
    adapter: Path | None
    example: Sequence[Mapping[str, str]]
    max_new_tokens: int
    facts: Mapping[str, str]
    description: str


class Tracker(Protocol):
    def run(
        self, name: str, tags: Mapping[str, str], parent: TrackedRun | None = None, resume: str | None = None
    ) -> AbstractContextManager[TrackedRun]:
        """Opens a run, or goes on under the tracker's id ``resume`` where that is still known."""

    def end(self, run_id: str) -> None:
        """Ends a run that a killed process left open, by the tracker's id; one that has ended or is unknown stays."""

    def register(self, model: Registration) -> str:
        """Logs the model in its member's run, registers it and points the alias at it; gives the version.

        What was registered before is found again, so a killed registration is completed by the same call.

        Raises:
            ConfigError: the registry's store cannot be opened.
            StageFailed: the registry cannot be reached, or refuses.
        """

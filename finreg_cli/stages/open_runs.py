"""Tracked runs that are open, kept on disk: what a killed process left open is gone on with, or ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from finreg_cli.errors import Interrupted
from finreg_cli.stages.state_files import write_whole
from finreg_cli.tracking.base import TrackedRun, Tracker


class OpenRuns:
    """The runs that one stage opens in the tracker, by a key of the stage's own.

    A tracker cannot tell a run that goes on from one whose process was killed. The warehouse's lock can: whoever holds
    it knows that every run in this file has nobody left to end it.

    Args:
        file: where the tracker's ids are kept.
        tracker: of those runs.
    """

    def __init__(self, file: Path, tracker: Tracker) -> None:
        self._file = file
        self._tracker = tracker

    def __contains__(self, key: str) -> bool:
        return key in self._ids()

    @contextmanager
    def run(
        self, key: str, name: str, tags: Mapping[str, str], parent: TrackedRun | None = None
    ) -> Iterator[TrackedRun]:
        """A tracked run, the one that an earlier process left open under this key where there is one.

        An interrupt leaves it to the next process, which goes on with the same work; a failure ends it for good.
        """
        with self._tracker.run(name, tags, parent, resume=self._ids().get(key)) as tracked:
            self._keep({**self._ids(), key: tracked.id})
            try:
                yield tracked
            except (KeyboardInterrupt, Interrupted, GeneratorExit):
                raise
            except BaseException:
                self._forget(key)
                raise
        self._forget(key)

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Ends what is still open after a stage: its work was not asked for again. Not so after an interrupt."""
        try:
            yield
        except (KeyboardInterrupt, Interrupted, GeneratorExit):
            raise
        except BaseException:
            self._end_all()
            raise
        self._end_all()

    def _end_all(self) -> None:
        for key, tracked in self._ids().items():
            self._tracker.end(tracked)
            self._forget(key)

    def _ids(self) -> dict[str, str]:
        try:
            ids: dict[str, str] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return ids

    def _forget(self, key: str) -> None:
        self._keep({each: tracked for each, tracked in self._ids().items() if each != key})

    def _keep(self, ids: Mapping[str, str]) -> None:
        write_whole(self._file, json.dumps(ids, indent=1))

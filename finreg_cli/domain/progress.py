"""How long work tells a person that it moves, without knowing of any terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """What `finreg_cli.console` gives to the stages; tests may pass a recorder."""

    def track(self, description: str, total: int | None, unit: str = "") -> AbstractContextManager[Advance]:
        """A progress bar around a block; call the yielded function with the steps just done."""

    def note(self, message: str) -> None:
        """A plain line for the person who watches."""

    def warn(self, message: str) -> None:
        """A line that stands out, and that the summary repeats under ``warnings``."""

"""Nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Silent:
    """A progress that only counts what was done."""

    def __init__(self) -> None:
        self.done = 0

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
        def advance(steps: int) -> None:
            self.done += steps

        yield advance

    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...

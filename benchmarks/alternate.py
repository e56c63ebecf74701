"""Times whole processes in turns: one round runs each command once, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence


def seconds_of(command: Sequence[str]) -> float:
    """Wall-clock seconds of one run; raises `subprocess.CalledProcessError` when it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def alternate(
    commands: Mapping[str, Sequence[str]], rounds: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds by command and round. A first round, which fills the caches of bytecode and of files, does not count.

    ``before`` is called, outside of the time, before each run: it may clear what the run before has written.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for counts in [False] + [True] * rounds:
        for name, command in commands.items():
            before()
            taken = seconds_of(command)
            if counts:
                seconds[name].append(taken)
    return seconds


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The ratio of the two medians."""
    return statistics.median(numerator) / statistics.median(denominator)

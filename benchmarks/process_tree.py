"""The memory of a command and of all processes that it starts (Linux: from /proc)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

EVERY_SECONDS = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def can_measure() -> bool:
    """Whether this kernel says which children a process has."""
    return _children_file(os.getpid()).is_file()


def peak_bytes(command: Sequence[str]) -> int:
    """The largest sum of resident memory that was seen, sampled 20 times a second.

    Pages that two processes share count twice, so the truth is below it. Raises `subprocess.CalledProcessError` when
    the command fails.
    """
    peak = 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _tree(process.pid)))
        time.sleep(EVERY_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):  # it has ended meanwhile
        for child in _children_file(pid).read_text().split():
            yield from _tree(int(child))


def _children_file(pid: int) -> Path:
    return Path(f"/proc/{pid}/task/{pid}/children")


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:  # it has ended meanwhile
        return 0

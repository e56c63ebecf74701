"""A worker as its supervisor sees it: the process, the connection to it, and the time that it has."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from finreg_cli.errors import StageFailed

Task = TypeVar("Task")

_STALLED = 60  # s for one message to go through: a worker that was stopped must not stop its supervisor
_LONGEST = 512 * 1024**2  # bytes of a message


class WorkerProcess(Generic[Task]):
    """A worker process and the connection to it. ``deadline`` is in seconds of the monotonic clock."""

    def __init__(self, setup: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "finreg_cli.documents.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _STALLED, 0))
        self.connection = Connection(ours.detach())
        self.task: Task | None = None
        self.deadline = 0.0
        self._began = 0.0
        self._ready = False
        self.send(json.dumps(setup).encode())

    def begin(self, task: Task, job: dict[str, Any], seconds: float) -> None:
        """Gives it a task, of which ``job`` is what the process is told.

        Raises:
            StageFailed: the process does not start.
        """
        self._await_start()
        self.task = task
        self._began = time.monotonic()
        self.deadline = self._began + seconds
        self.send(json.dumps(job).encode())

    def _await_start(self) -> None:
        # Not in the constructor, so that the workers start side by side.
        if not self._ready and self.receive() is None:
            raise StageFailed(
                f"the process that reads documents does not start ({self.kill()})",
                "finreg doctor checks the installation; a memory limit (ulimit -v) under 1 GB is a likely cause",
            )
        self._ready = True

    def receive(self) -> dict[str, Any] | bytes | None:
        """The next message: a mapping, or the bytes of a list as they are; None when the process has died."""
        try:
            data = self.connection.recv_bytes(_LONGEST)
        except (EOFError, OSError):
            return None
        if data.startswith(b"["):
            return data
        message: dict[str, Any] = json.loads(data)
        return message

    def send(self, data: bytes) -> None:
        # A worker that died in between is seen by the next `receive`.
        with suppress(OSError):
            self.connection.send_bytes(data)

    def allowed(self) -> float:
        """Seconds that its present file has, from its begin."""
        return self.deadline - self._began

    def kill(self) -> str:
        """Ends the process at once, and says how it ended."""
        died_by_itself = self._wait_briefly()
        if not died_by_itself:
            self._process.kill()
            self._process.wait()
        self.connection.close()
        code = self._process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _wait_briefly(self) -> bool:
        """Whether the process has ended already; its end of the connection closes a moment before."""
        if self.task is None:
            return self._process.poll() is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        return self._process.returncode is not None


def _environment() -> dict[str, str]:
    """One thread and one memory arena: each further one would reserve address space, which is limited."""
    single = {
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    return {**os.environ, **single}

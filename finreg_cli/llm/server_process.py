"""A server of our own in a process of its own: how it is started and ended, and how its program begins.

Such a program reads one line of JSON, its settings, from its standard input, prints one with its ``address`` (or with
the ``error`` that kept it from serving), and ends when that input ends. So it never outlives the process that started
it, however that one ends; and a key among the settings stands in no process list.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

_THREADS_SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""While they wait for each other. Threads that spin instead do little else as soon as another process wants a core."""

_SECONDS_TO_END = 5.0
_COUNT_OF_SECONDS = re.compile(r"^[\d.]+ E \S*\s*")


class CannotServeError(Exception):
    """The process ended, or said that it cannot serve: its reason."""


class ServerProcess:
    """Starts, watches and ends such a process.

    Args:
        module: the program, as ``python -m`` takes it.
        settings: what it reads.
    """

    def __init__(self, module: str, settings: Mapping[str, Any]) -> None:
        self._module = module
        self._settings = dict(settings)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Waits until it serves, and gives its address.

        Raises:
            CannotServeError: with its reason.
        """
        # On a file rather than a pipe: nobody reads while it serves, and a full pipe would stop it.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                # Ctrl-C is for us: what is under way is cancelled in order, and then the server ends.
                start_new_session=True,
                env={**_THREADS_SLEEP, **os.environ},
            )
            assert process.stdin is not None  # both are pipes
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it has ended already, which the next line notices
                process.stdin.write(f"{json.dumps(self._settings)}\n")
                process.stdin.flush()
            told: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
            if "address" not in told:
                self.close()
                complaints.seek(0)
                raise CannotServeError(_reason(complaints.read(), process, told))
        return str(told["address"])

    @property
    def status(self) -> int | None:
        """The exit status once it has ended, negative for a signal; None while it runs.

        Raises:
            RuntimeError: it was never started.
        """
        return self._started().poll()

    @property
    def pid(self) -> int:
        return self._started().pid

    def wait(self) -> int:
        """Blocks until it ends; its exit status."""
        return self._started().wait()

    def close(self) -> None:
        """Ends it, if it was started and still runs."""
        process = self._process
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the process is asked for before it was started")
        return self._process


def _reason(complaints: str, process: subprocess.Popen[str], told: Mapping[str, Any]) -> str:
    """llama.cpp's first error says what is wrong, and those that follow only that something was."""
    lines = [line for line in complaints.splitlines() if line.strip()]
    errors = [line for line in lines if _COUNT_OF_SECONDS.match(line)]
    if errors:
        return _COUNT_OF_SECONDS.sub("", errors[0])
    if "error" in told:
        return str(told["error"])
    return lines[-1] if lines else f"its process ended with status {process.returncode}"


# --- in the process itself ---


def run_program(serve: Callable[..., str]) -> NoReturn:
    """The program: serves until nobody holds the other end of its standard input.

    Args:
        serve: begins to serve on threads of its own with the settings as its arguments, and gives the address; a
            RuntimeError says why it cannot.
    """
    told = {}
    try:
        told["address"] = serve(**json.loads(sys.stdin.readline()))
    except RuntimeError as error:
        told["error"] = str(error)
    with suppress(BrokenPipeError):  # who started it is gone already
        print(json.dumps(told), flush=True)
        if "address" in told:
            sys.stdin.read()
    # Not by returning: threads that serve, or a server of xllamacpp that has answered nothing yet, would never end.
    os._exit(0)

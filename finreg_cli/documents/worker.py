"""The worker process: ``python -m finreg_cli.documents.worker FD``. Reads jobs from the supervisor, one at a time.

Messages are JSON, not pickles: what a hostile file makes of this process must not be run by the one above. It limits
its own memory, and asks the kernel for an alarm beyond the supervisor's time limit, so that it does not outlive a
supervisor that was killed.

What the supervisor sends: the setup, then jobs. ``{"read": path, ...}`` is a whole file, ``{"lines": [first, last],
...}`` the pages of a part of one. What it gets: ``{"ready": true}``; for a file ``{"pages": n, "parts": [[first, last],
...]}``, where the parts are for others to read, ``{"awaits": true}`` when its own part is done (it then expects the
lines of the others, in order), and the outcome; for a part its lines, a JSON list that is passed on unread, or an
error.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from finreg_cli.documents import line_codec, reader
from finreg_cli.documents.base import ReadFile
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import Line
from finreg_cli.documents.reader import Engine, ReadText, Settings
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.errors import ModelMissing

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
MEMORY_LIMIT = 1024**3  # bytes of address space; with the CRR a worker needs a third of it
PART_PAGES = 64  # a file with more is worth the help of another worker
_ALARM_AFTER = 3600  # s a file
_LEAST_PAGE_BYTES = 500  # of a PDF
_MOST_BYTES = 400 * 1024**2  # of a file


class Worker:
    """Answers the jobs that come through a connection, until its other end is closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._setup = _received(connection) or sys.exit(0)

    def serve(self) -> None:
        self._send({"ready": True})
        while (job := _received(self._connection)) is not None:
            signal.alarm(_ALARM_AFTER)
            answer = self._answer(job)
            if isinstance(answer, bytes):
                self._connection.send_bytes(answer)
            else:
                self._send({**answer, "worn": _address_space() > MEMORY_LIMIT // 2})
            signal.alarm(0)

    def _answer(self, job: dict[str, Any]) -> dict[str, Any] | bytes:
        digest = None
        try:
            data = _contents(job["absolute"])
            digest = sha256(data).hexdigest()
            if "lines" in job:
                return line_codec.encode(reader.read_lines(data, job["engine"], *job["lines"]))
            return {"read": self._read(data, job)}
        except ReadError as error:
            return {"error": error.error_class, "message": str(error), "sha256": digest}
        except (MemoryError, RecursionError) as error:
            return {"error": "limit", "message": f"{type(error).__name__} while reading", "sha256": digest}
        except ModelMissing as error:
            return {"missing": error.message, "remedy": error.remedy}
        except OSError as error:
            return {"error": "parse", "message": f"cannot be opened: {error.strerror or error}", "sha256": digest}
        except Exception as error:  # what a broken file provokes is its own error, and the next one's turn comes
            return {"error": "parse", "message": f"{type(error).__name__}: {error}", "sha256": digest}

    def _read(self, data: bytes, job: dict[str, Any]) -> dict[str, Any]:
        parts: list[list[int]] = []

        def on_pages(pages: int) -> None:
            parts.extend(_parts(pages, job["share"]))
            # A page takes some bytes: the time of a file must not grow with a mere claim.
            self._send({"pages": min(pages, len(data) // _LEAST_PAGE_BYTES), "parts": parts[1:]})

        def gather(engine: Engine) -> list[list[Line]]:
            if len(parts) < 2:
                return list(engine.lines())
            pages = list(engine.lines(*parts[0]))
            self._send({"awaits": True})
            for _ in parts[1:]:
                pages += line_codec.decode(self._connection.recv_bytes())
            return pages

        if self._setup["wanted"] == "text":
            return _plain(reader.read_text(data, job["read"], job["engine"], on_pages, gather))
        arguments = (data, job["read"], job["engine"], self._settings, self._count_tokens, on_pages, gather)
        return _plain(reader.read_bytes(*arguments))

    @cached_property
    def _settings(self) -> Settings:
        return Settings(**self._setup["settings"])

    @cached_property
    def _tokens(self) -> TokenCounter:
        return TokenCounter(Path(self._setup["tokenizer"]))

    def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        # Loaded with the first chunk: a worker that only helps with pages never needs it.
        return self._tokens(texts)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            sys.exit(0)  # the supervisor is gone, and nobody waits for the result


def _parts(pages: int, share: int) -> list[list[int]]:
    """The pages ``[first, last)`` of each of at most ``share`` readers, none with less than half of `PART_PAGES`."""
    count = min(share, 2 * pages // PART_PAGES) if pages > PART_PAGES else 1
    cuts = [pages * part // count for part in range(count + 1)]
    return [list(each) for each in pairwise(cuts)]


def _contents(path: str) -> bytes:
    """The bytes of a regular file; anything else, a pipe say, could keep the process waiting."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ReadError("parse", "is no regular file")
        if state.st_size > _MOST_BYTES:
            raise ReadError("limit", f"has {state.st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        return file.read(_MOST_BYTES)


def _plain(outcome: ReadFile | ReadText) -> dict[str, Any]:
    """As `dataclasses.asdict`, without its copies of every text."""
    values = dict(vars(outcome))
    if isinstance(outcome, ReadFile):
        values["chunks"] = [vars(chunk) for chunk in outcome.chunks]
    return values


def _received(connection: Connection) -> dict[str, Any] | None:
    try:
        message: dict[str, Any] = json.loads(connection.recv_bytes())
    except (EOFError, OSError):
        return None
    return message


def _address_space() -> int:
    """Bytes of address space in use: what the limit counts, and what a worker does not give back."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0  # no Linux, where the limit does not hold either


def limit_memory() -> None:
    """Of this process: its address space, and the image that it would leave of it when it dies."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):
            # macOS refuses the limit; the supervisor's time limit remains.
            continue


def die_with_the_supervisor() -> None:
    """Has the kernel end this process when the one above is gone, which closes no connection while a file is read."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group; the supervisor ends its workers itself, in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_the_supervisor()
    limit_memory()
    # What is loaded by now stays; and a document is many small objects, of which few ever form a circle.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    Worker(Connection(int(sys.argv[1]))).serve()

"""The supervisor of the worker processes: no file, however hostile, ends the reading of the others.

One dead worker breaks a whole ``ProcessPoolExecutor``, and a worker that hangs cannot be taken out of it; so the
workers are ours. Each gets one file at a time. It is killed when the file takes longer than 30 s and 0.1 s a page, and
replaced when it dies; with ``pdf_engine: auto`` the file then gets one more try with pypdf.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from finreg_cli.documents.base import ErrorClass, ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.reader import EngineName, ReadText, Settings
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.domain.records import Chunk
from finreg_cli.errors import StageFailed

PdfEngine = Literal["auto", "pdfium", "pypdf"]
Result = TypeVar("Result")

SECONDS = 30.0
"""The time limit of a file, before its pages are counted."""

SECONDS_PER_PAGE = 0.1

_FINAL: frozenset[ErrorClass] = frozenset(("empty", "not_pdf", "truncated", "encrypted"))
"""Errors of the file, not of the engine: a second engine would say the same."""


@dataclass(frozen=True)
class _Job:
    file: SourceFile
    engine: EngineName
    first_failure: UnreadableFile | None = None


class _Supervisor(ABC, Generic[Result]):
    """The workers and their limits; what they make of a file is the subclass's.

    Args:
        setup: what a worker is told first.
        pdf_engine: ``auto`` is pdfium, and pypdf for the files that it fails on.
        workers: how many processes; default one per core. Never more than there are files.
        seconds: the time limit of a file, to which ``seconds_per_page`` is added once its pages are counted.
        seconds_per_page: see ``seconds``.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        pdf_engine: PdfEngine,
        workers: int | None,
        seconds: float,
        seconds_per_page: float,
    ) -> None:
        self._setup = setup
        self._pdf_engine = pdf_engine
        self._workers = workers or os.cpu_count() or 1
        self._seconds = seconds
        self._seconds_per_page = seconds_per_page

    @abstractmethod
    def _result(self, read: dict[str, Any]) -> Result:
        """What a worker has sent, as the caller takes it."""

    def read(self, files: Sequence[SourceFile]) -> Iterator[Result | UnreadableFile]:
        """One outcome per file, as soon as it is there; the largest files begin first.

        The workers are gone when the iterator ends, is closed, or an exception (Ctrl-C too) passes through it.
        """
        engine: EngineName = "pypdf" if self._pdf_engine == "pypdf" else "pdfium"
        queue = deque(_Job(file, engine) for file in sorted(files, key=_size, reverse=True))
        workers: list[_Worker] = []
        try:
            while queue or any(worker.job for worker in workers):
                self._occupy(workers, queue)
                yield from self._collect(workers, queue)
        finally:
            for worker in workers:
                worker.kill()

    def _occupy(self, workers: list[_Worker], queue: deque[_Job]) -> None:
        busy = sum(worker.job is not None for worker in workers)
        while len(workers) < self._workers and len(workers) < busy + len(queue):
            workers.append(_Worker(self._setup))
        for worker in workers:
            if worker.job is None and queue:
                worker.begin(queue.popleft(), self._seconds)

    def _collect(self, workers: list[_Worker], queue: deque[_Job]) -> Iterator[Result | UnreadableFile]:
        """Waits for the next message or time limit, and yields what is finished by it."""
        busy = {worker.connection: worker for worker in workers if worker.job}
        soonest = min(worker.deadline for worker in busy.values())
        ready = wait(list(busy), timeout=max(0.0, soonest - time.monotonic()))
        for connection, worker in busy.items():
            job = worker.job
            assert job is not None  # only busy workers are looked at
            message = worker.receive() if connection in ready else None
            if message is not None and "pages" in message:
                worker.deadline += self._seconds_per_page * message["pages"]
                continue
            if message is not None:
                worker.job = None
                outcome: Result | UnreadableFile = self._outcome(job, message)
            elif connection in ready:
                outcome = _failed(job, "crash", f"the reading process died ({worker.kill()})")
                workers.remove(worker)
            elif time.monotonic() >= worker.deadline:
                outcome = _failed(job, "timeout", f"took longer than {worker.allowed():.0f} s")
                worker.kill()
                workers.remove(worker)
            else:
                continue
            again = self._second_try(job, outcome)
            if again:
                queue.append(again)
            else:
                yield outcome

    def _outcome(self, job: _Job, message: dict[str, Any]) -> Result | UnreadableFile:
        if "error" in message:
            return _failed(job, message["error"], message["message"], message["sha256"])
        return self._result(message["read"])

    def _second_try(self, job: _Job, outcome: Result | UnreadableFile) -> _Job | None:
        if not isinstance(outcome, UnreadableFile) or self._pdf_engine != "auto" or job.first_failure:
            return None
        return None if outcome.error_class in _FINAL else _Job(job.file, "pypdf", outcome)


class SupervisedReader(_Supervisor[ReadFile]):
    """Reads files in killable worker processes; implements `finreg_cli.documents.base.DocumentReader`.

    Args:
        tokenizer: path of the ``tokenizer.json`` by which chunks are measured.
        chunk_tokens: the most tokens of a chunk.
        chunk_overlap: the most tokens repeated from one chunk to the next.
        pdf_engine: see `_Supervisor`, and for the last three too.
        short_names: work_id -> the short name that citations begin with.
        work_ids: file stem -> work_id, for documents that state no number.

    Raises:
        ModelMissing: there is no tokenizer at that path.
    """

    def __init__(
        self,
        tokenizer: Path,
        chunk_tokens: int,
        chunk_overlap: int,
        pdf_engine: PdfEngine = "auto",
        short_names: Mapping[str, str] | None = None,
        work_ids: Mapping[str, str] | None = None,
        workers: int | None = None,
        *,
        seconds: float = SECONDS,
        seconds_per_page: float = SECONDS_PER_PAGE,
    ) -> None:
        TokenCounter(tokenizer)  # a missing one is an error of this command, not of each file
        settings = Settings(chunk_tokens, chunk_overlap, dict(short_names or {}), dict(work_ids or {}))
        setup = {"wanted": "chunks", "tokenizer": str(tokenizer.resolve()), "settings": asdict(settings)}
        super().__init__(setup, pdf_engine, workers, seconds, seconds_per_page)

    def _result(self, read: dict[str, Any]) -> ReadFile:
        return ReadFile(**{**read, "chunks": [Chunk(**chunk) for chunk in read["chunks"]]})


class SupervisedTexts(_Supervisor[ReadText]):
    """Reads files as plain text, as hostile as they may be; the arguments are those of `_Supervisor`."""

    def __init__(
        self,
        pdf_engine: PdfEngine = "auto",
        workers: int | None = None,
        *,
        seconds: float = SECONDS,
        seconds_per_page: float = SECONDS_PER_PAGE,
    ) -> None:
        super().__init__({"wanted": "text"}, pdf_engine, workers, seconds, seconds_per_page)

    def _result(self, read: dict[str, Any]) -> ReadText:
        return ReadText(**read)


def _size(file: SourceFile) -> int:
    with suppress(OSError):
        return file.absolute.stat().st_size
    return 0  # it is gone or not ours to read; its worker will say so


def _failed(job: _Job, error_class: ErrorClass, message: str, sha256: str | None = None) -> UnreadableFile:
    """The failure of the last engine; what the first one said is kept, for its class is the telling one."""
    first = job.first_failure
    if first is None:
        return UnreadableFile(job.file.path, sha256, error_class, message, job.engine)
    both = f"{first.engine}: {first.message}; {job.engine}: {message}"
    telling = error_class if first.error_class == "parse" else first.error_class
    return UnreadableFile(job.file.path, sha256 or first.file_sha256, telling, both, job.engine)


class _Worker:
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
        self.connection = Connection(ours.detach())
        self.job: _Job | None = None
        self.deadline = 0.0
        self._began = 0.0
        self._ready = False
        self._send(setup)

    def begin(self, job: _Job, seconds: float) -> None:
        self._await_start()
        self.job = job
        self._began = time.monotonic()
        self.deadline = self._began + seconds
        self._send({"path": job.file.path, "absolute": str(job.file.absolute), "engine": job.engine})

    def _await_start(self) -> None:
        # Not in the constructor, so that the workers start side by side.
        if not self._ready and self.receive() is None:
            raise StageFailed(
                f"the process that reads documents does not start ({self.kill()})",
                "finreg doctor checks the installation; a memory limit (ulimit -v) under 2 GB is a likely cause",
            )
        self._ready = True

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the process has died."""
        try:
            message: dict[str, Any] = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None
        return message

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
        if self.job is None:
            return self._process.poll() is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        return self._process.returncode is not None

    def _send(self, message: dict[str, Any]) -> None:
        # A worker that died in between is seen by the next `receive`.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(json.dumps(message).encode())


def _environment() -> dict[str, str]:
    """One thread and one memory arena: each further one would reserve address space, which is limited."""
    single = {
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    return {**os.environ, **single}

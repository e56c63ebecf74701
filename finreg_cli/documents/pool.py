"""The supervisor of the worker processes: no file, however hostile, ends the reading of the others.

One dead worker breaks a whole ``ProcessPoolExecutor``, and a worker that hangs cannot be taken out of it; so the
workers are ours. Each gets one file at a time; where workers would be idle, the pages of a large file are shared out
among them and put together by one. A worker is killed when its file takes longer than 30 s and 0.1 s a page, and
replaced when it dies; with ``pdf_engine: auto`` the file then gets one more try with pypdf.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from finreg_cli.documents.base import ErrorClass, ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.reader import HTML_SUFFIXES, TEXT_SUFFIXES, EngineName, ReadText, Settings
from finreg_cli.documents.worker_process import WorkerProcess
from finreg_cli.domain.records import Chunk
from finreg_cli.errors import ModelMissing

PdfEngine = Literal["auto", "pdfium", "pypdf"]
Result = TypeVar("Result")

SECONDS = 30.0
"""The time limit of a file, before its pages are counted."""

SECONDS_PER_PAGE = 0.1

MOST_WORKERS = 3
"""Each may fill most of its gigabyte, and a command is to stay under three."""

_LARGE = 256 * 1024  # bytes, from which on a file may have the pages for several workers

_FINAL: frozenset[ErrorClass] = frozenset(("empty", "not_pdf", "truncated", "encrypted"))
"""Errors of the file, not of the engine: a second engine would say the same."""

_VAGUE: frozenset[ErrorClass] = frozenset(("parse", "crash", "no_text", "timeout"))
"""Errors of the first engine that a limit, found by the second, explains."""


@dataclass
class _Reading:
    """A file that is being read, by one worker or several. ``parts`` are the lines of pages that others have read."""

    file: SourceFile
    engine: EngineName
    first_failure: UnreadableFile | None = None
    parts: dict[int, bytes | None] = field(default_factory=dict)
    awaited: bool = False


@dataclass(frozen=True)
class _Task:
    """What one worker does: all of a reading and, where others help, its putting together; or a part's lines."""

    reading: _Reading
    pages: tuple[int, int] | None = None


class _Supervisor(ABC, Generic[Result]):
    """The workers and their limits; what they make of a file is the subclass's.

    Args:
        setup: what a worker is told first.
        pdf_engine: ``auto`` is pdfium, and pypdf for the files that it fails on.
        workers: how many processes; default one per core, at most `MOST_WORKERS`.
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
        self._workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
        self._seconds = seconds
        self._seconds_per_page = seconds_per_page

    @abstractmethod
    def _result(self, read: dict[str, Any]) -> Result:
        """What a worker has sent, as the caller takes it."""

    def read(self, files: Sequence[SourceFile]) -> Iterator[Result | UnreadableFile]:
        """One outcome per file, as soon as it is there; the largest files begin first.

        The workers are gone when the iterator ends, is closed, or an exception (Ctrl-C too) passes through it.

        Raises:
            StageFailed: a worker does not start, or (`ModelMissing`) the tokenizer is none.
        """
        engine: EngineName = "pypdf" if self._pdf_engine == "pypdf" else "pdfium"
        queue = deque(_Task(_Reading(file, engine)) for file in sorted(files, key=_size, reverse=True))
        workers: list[WorkerProcess[_Task]] = []
        try:
            while queue or any(worker.task for worker in workers):
                self._occupy(workers, queue)
                yield from self._collect(workers, queue)
        finally:
            for worker in workers:
                worker.kill()

    # --- Giving out work ---

    def _occupy(self, workers: list[WorkerProcess[_Task]], queue: deque[_Task]) -> None:
        busy = sum(worker.task is not None for worker in workers)
        shared = self._workers if queue and _may_be_shared(queue[0]) else 0
        while len(workers) < min(self._workers, busy + max(len(queue), shared)):
            workers.append(WorkerProcess(self._setup))
        for worker in workers:
            if worker.task is None and queue:
                task = queue.popleft()
                idle = len(workers) - sum(each.task is not None for each in workers)
                share = idle if not queue and _may_be_shared(task) else 1
                worker.begin(task, _job(task, share), self._seconds)

    def _collect(self, workers: list[WorkerProcess[_Task]], queue: deque[_Task]) -> Iterator[Result | UnreadableFile]:
        """Waits for the next message or time limit, and yields what is finished by it."""
        busy = {worker.connection: worker for worker in workers if worker.task}
        soonest = min(worker.deadline for worker in busy.values())
        ready = wait(list(busy), timeout=max(0.0, soonest - time.monotonic()))
        for connection, worker in busy.items():
            if worker.task is None or worker not in workers:
                continue  # ended with the reading that it helped with
            reading, is_part = worker.task.reading, worker.task.pages is not None
            outcome: Result | UnreadableFile | None
            if connection in ready:
                outcome = self._received(worker, worker.receive(), workers, queue)
            elif time.monotonic() >= worker.deadline:
                outcome = _failed(reading, "timeout", f"took longer than {worker.allowed():.0f} s")
                worker.kill()
                workers.remove(worker)
            else:
                continue
            if outcome is None:
                continue
            if is_part or reading.parts:
                _end(reading, workers, queue)
            again = self._second_try(reading, outcome)
            if again:
                queue.append(again)
            else:
                yield outcome

    # --- Taking in what comes ---

    def _received(
        self,
        worker: WorkerProcess[_Task],
        message: dict[str, Any] | bytes | None,
        workers: list[WorkerProcess[_Task]],
        queue: deque[_Task],
    ) -> Result | UnreadableFile | None:
        """The outcome of the worker's file; None while it is not there yet."""
        task = worker.task
        assert task is not None  # only busy workers are looked at
        reading = task.reading
        if message is None:
            workers.remove(worker)
            return _failed(reading, "crash", f"the reading process died ({worker.kill()})")
        if isinstance(message, bytes):
            worker.task = None
            if task.pages is not None:
                reading.parts[task.pages[0]] = message
            _hand_over(reading, workers)
            return None
        if "pages" in message:
            worker.deadline += self._seconds_per_page * message["pages"]
            for first, last in message["parts"]:
                reading.parts[first] = None
                queue.append(_Task(reading, (first, last)))
            return None
        if "awaits" in message:
            reading.awaited = True
            _hand_over(reading, workers)
            return None
        if "missing" in message:
            raise ModelMissing(message["missing"], message["remedy"])
        worker.task = None
        if message["worn"]:
            worker.kill()
            workers.remove(worker)
        if "error" in message:
            return _failed(reading, message["error"], message["message"], message["sha256"])
        return self._result(message["read"])

    def _second_try(self, reading: _Reading, outcome: Result | UnreadableFile) -> _Task | None:
        if not isinstance(outcome, UnreadableFile) or self._pdf_engine != "auto" or reading.first_failure:
            return None
        if outcome.error_class in _FINAL or not _is_pdf(reading.file):
            return None
        return _Task(_Reading(reading.file, "pypdf", outcome))


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
        # A missing tokenizer is an error of this command, not of each file; one that is none is found by the workers.
        if not tokenizer.is_file():
            raise ModelMissing(
                f"no tokenizer at {tokenizer}", "finreg models pull, or set ingest.tokenizer to a tokenizer.json"
            )
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


def _job(task: _Task, share: int) -> dict[str, Any]:
    file = task.reading.file
    job: dict[str, Any] = {"absolute": str(file.absolute), "engine": task.reading.engine}
    return {**job, "read": file.path, "share": share} if task.pages is None else {**job, "lines": task.pages}


def _hand_over(reading: _Reading, workers: Sequence[WorkerProcess[_Task]]) -> None:
    """Gives the parts, once they are all there, to the worker that awaits them; in the order of the pages."""
    if not reading.awaited or None in reading.parts.values():
        return
    owner = next(each for each in workers if each.task and each.task.reading is reading and each.task.pages is None)
    for first in sorted(reading.parts):
        owner.send(reading.parts[first] or b"[]")
    reading.parts, reading.awaited = {}, False


def _end(reading: _Reading, workers: list[WorkerProcess[_Task]], queue: deque[_Task]) -> None:
    """Ends all that still works for a reading that has failed in one of its parts."""
    for worker in [each for each in workers if each.task and each.task.reading is reading]:
        worker.kill()
        workers.remove(worker)
    for task in [each for each in queue if each.reading is reading]:
        queue.remove(task)


def _may_be_shared(task: _Task) -> bool:
    """Whether a file may have pages enough for several; one that an engine failed on has the care of one worker."""
    reading = task.reading
    return task.pages is None and reading.first_failure is None and _size(reading.file) >= _LARGE


def _is_pdf(file: SourceFile) -> bool:
    """Whether a second PDF engine could read the file at all."""
    return Path(file.path).suffix.lower() not in HTML_SUFFIXES + TEXT_SUFFIXES


def _size(file: SourceFile) -> int:
    with suppress(OSError):
        return file.absolute.stat().st_size
    return 0  # it is gone or not ours to read; its worker will say so


def _failed(reading: _Reading, error_class: ErrorClass, message: str, sha256: str | None = None) -> UnreadableFile:
    """The failure of the last engine; what the first one said is kept, for its class is mostly the telling one."""
    first = reading.first_failure
    engine = reading.engine if _is_pdf(reading.file) else None
    if first is None:
        return UnreadableFile(reading.file.path, sha256, error_class, message, engine)
    both = f"{first.engine}: {first.message}; {engine}: {message}"
    explained = first.error_class == "parse" or (first.error_class in _VAGUE and error_class == "limit")
    telling = error_class if explained else first.error_class
    return UnreadableFile(reading.file.path, sha256 or first.file_sha256, telling, both, engine)

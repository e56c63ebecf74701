"""The request cache: a reply that was paid for once is never paid for again, even after ``kill -9``."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finreg_cli.errors import WarehouseError
from finreg_cli.llm.base import Reply

FILE_NAME = "requests.sqlite"

_CREATE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    finish_reason TEXT,
    created_at TEXT NOT NULL
) WITHOUT ROWID
"""
_SECONDS_FOR_A_LOCK = 60.0
_PAGE_BYTES = 4096
_PAGES_BESIDE_THE_TEXT = 3
_PAGES_PER_CHECKPOINT = 12_000
"""About 50 MB of the log, which holds what was stored since the last one."""


class RequestCache:
    """Implements `llm.base.ReplyCache` in one SQLite file, ``<state>/requests.sqlite``.

    The write-ahead log makes every stored reply survive the process (a power cut may lose the last ones). It is moved
    into the file on a thread of its own, because that waits for the disk, and no request should. The file holds hashes
    and replies only: no prompt, no header, no key. It may be used from any thread. It is made with the first reply that
    is stored, so that a dry run leaves nothing behind.

    Raises:
        WarehouseError: the file can't be created, read or written, from every method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pages_in_log = 0
        self._checkpoint: threading.Thread | None = None

    def get(self, key: str) -> Reply | None:
        found = self._first(
            "SELECT text, input_tokens, output_tokens, finish_reason FROM replies WHERE key = ?", (key,)
        )
        return Reply(*found) if found else None

    def mean_output_tokens(self) -> float | None:
        """Of the replies that were kept so far; None where there is none with a count."""
        found = self._first("SELECT AVG(output_tokens) FROM replies")
        return found[0] if found else None

    def put(self, key: str, reply: Reply) -> None:
        """Stores the reply; it is on its way to the disk when this returns. A later reply replaces an earlier one."""
        values = (key, reply.text, reply.input_tokens, reply.output_tokens, reply.finish_reason)
        try:
            with self._lock:
                self._connected().execute(
                    "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", (*values, datetime.now(UTC).isoformat())
                )
                self._pages_in_log += _PAGES_BESIDE_THE_TEXT + len(reply.text) // _PAGE_BYTES
                if self._pages_in_log >= _PAGES_PER_CHECKPOINT:
                    self._begin_checkpoint()
        except (OSError, sqlite3.Error) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.join()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _first(self, query: str, values: tuple[str, ...] = ()) -> tuple[Any, ...] | None:
        """The first row that a query finds; looking does not make the file."""
        try:
            with self._lock:
                if self._connection is None and not self._path.exists():
                    return None
                found: tuple[Any, ...] | None = self._connected().execute(query, values).fetchone()
        except (OSError, sqlite3.Error) as error:
            raise self._translated(error) from error
        return found

    def _connected(self) -> sqlite3.Connection:
        """The one connection, under the lock; autocommit, so that each reply is on its own."""
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=_SECONDS_FOR_A_LOCK, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA wal_autocheckpoint = 0")  # see `_move_log`
                connection.execute(_CREATE)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _begin_checkpoint(self) -> None:
        """Under the lock."""
        if self._checkpoint is None or not self._checkpoint.is_alive():
            self._pages_in_log = 0
            self._checkpoint = threading.Thread(target=self._move_log, name="finreg-checkpoint", daemon=True)
            self._checkpoint.start()

    def _move_log(self) -> None:
        """Moves the log into the file, most of it while others go on storing.

        The log begins anew only where it was moved to its last page, so the rest is moved while nobody stores. What
        goes wrong here loses nothing: the log stays, and the next one or the last to close the file moves it.
        """
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path, timeout=_SECONDS_FOR_A_LOCK)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            with self._lock:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def __enter__(self) -> RequestCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _translated(self, error: Exception) -> WarehouseError:
        return WarehouseError(
            f"the request cache {self._path} cannot be used: {error}",
            f"make {self._path.parent} writable; a damaged file can be moved away, its replies are then paid for again",
        )

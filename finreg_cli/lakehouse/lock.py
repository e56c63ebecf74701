"""One writing command a warehouse: a lock that names its holder, and that a dead holder cannot keep."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from finreg_cli.errors import WarehouseBusy, WarehouseError


@contextmanager
def hold(state: Path, stage: str, run_id: str) -> Iterator[None]:
    """Holds the warehouse for one command.

    The operating system drops the lock with its process, so that a killed holder never blocks the next run.

    Args:
        state: the folder ``<warehouse>/_finreg``, made where it is missing.

    Raises:
        WarehouseBusy: another process holds it; the message names its process id, stage, run and start.
        WarehouseError: the folder cannot be written.
    """
    holder = state / "holder.json"
    lock = FileLock(state / "lock")
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(_who(stage, run_id))
    except Timeout:
        raise WarehouseBusy(
            f"the warehouse {state.parent} is in use by {_describe(holder)}",
            "wait until it has ended, or use another engine.warehouse",
        ) from None
    except OSError as error:
        lock.release()
        raise WarehouseError(
            f"cannot write to the warehouse {state.parent}: {error.strerror or error}",
            "check its rights and the disk, or set another place with --set engine.warehouse=FOLDER",
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # only a note of who holds it, which the next holder replaces
            holder.unlink(missing_ok=True)
        lock.release()


def _who(stage: str, run_id: str) -> str:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "stage": stage, "run_id": run_id, "since": since}
    return json.dumps(holder)


def _describe(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return (
            f"process {who['pid']} on {who['host']} (finreg {who['stage']}, run {who['run_id']}, since {who['since']})"
        )
    except (OSError, ValueError, KeyError):
        return "another finreg process"

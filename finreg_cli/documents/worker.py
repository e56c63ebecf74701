"""The worker process: ``python -m finreg_cli.documents.worker FD``. Reads jobs from the supervisor, one at a time.

Messages are JSON, not pickles: what a hostile PDF makes of this process must not be run by the one above. It limits its
own memory, and asks the kernel for an alarm beyond the supervisor's time limit, so that it does not outlive a
supervisor that was killed.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from finreg_cli.documents.base import ReadFile
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.reader import EngineName, ReadText, Settings, read_bytes, read_text
from finreg_cli.documents.tokens import TokenCounter

MEMORY_LIMIT = 2 * 1024**3  # bytes of address space; a normal run peaks at a tenth
_ALARM_AFTER = 3600  # s a file


Read = Callable[[bytes, str, EngineName, Callable[[int], None]], ReadFile | ReadText]


def serve(connection: Connection) -> None:
    """Answers jobs until the supervisor closes its end."""
    setup = _receive(connection)
    if setup is None:
        return
    read = read_text if setup["wanted"] == "text" else _chunk_reader(setup)
    _send(connection, {"ready": True})
    while (job := _receive(connection)) is not None:
        signal.alarm(_ALARM_AFTER)
        _send(connection, _outcome(connection, job, read))
        signal.alarm(0)


def _chunk_reader(setup: dict[str, Any]) -> Read:
    settings = Settings(**setup["settings"])
    count_tokens = TokenCounter(Path(setup["tokenizer"]))
    return lambda data, path, engine, on_pages: read_bytes(data, path, engine, settings, count_tokens, on_pages)


def _outcome(connection: Connection, job: dict[str, Any], read: Read) -> dict[str, Any]:
    digest = None
    try:
        data = Path(job["absolute"]).read_bytes()
        digest = sha256(data).hexdigest()
        outcome = read(data, job["path"], job["engine"], lambda pages: _send(connection, {"pages": pages}))
    except ReadError as error:
        return {"error": error.error_class, "message": str(error), "sha256": digest}
    except (MemoryError, RecursionError) as error:
        return {"error": "limit", "message": f"{type(error).__name__} while reading", "sha256": digest}
    except OSError as error:
        return {"error": "parse", "message": f"cannot be opened: {error.strerror or error}", "sha256": digest}
    except Exception as error:  # whatever a broken file provokes is that file's error, and the next one's turn comes
        return {"error": "parse", "message": f"{type(error).__name__}: {error}", "sha256": digest}
    return {"read": asdict(outcome)}


def _receive(connection: Connection) -> dict[str, Any] | None:
    try:
        message: dict[str, Any] = json.loads(connection.recv_bytes())
    except (EOFError, OSError):
        return None
    return message


def _send(connection: Connection, message: dict[str, Any]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except BrokenPipeError:
        sys.exit(0)  # the supervisor is gone, and nobody waits for the result


def _limit_memory() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    except (ValueError, OSError):
        # macOS refuses the limit; the supervisor's time limit remains.
        return


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group; the supervisor ends its workers itself, in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    serve(Connection(int(sys.argv[1])))

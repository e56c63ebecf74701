"""A model as an OpenAI-compatible server on loopback, for as long as it is wanted.

It goes the way of the evaluation: weights -> F16 GGUF (made once) -> xllamacpp, and a model that the export does not
know through transformers. Requests are computed one at a time, each from its first token, and greedily unless they say
otherwise: several at a time would be summed in another order, and an answer could depend on its neighbours. So at
temperature 0 the server answers as the evaluation did.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finreg_cli.errors import ConfigError, MissingExtra, StageFailed
from finreg_cli.llm.server_process import CannotServeError, ServerProcess
from finreg_cli.training.gguf_export import f16_gguf, is_exportable

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """A server that is ready: ``url`` is what clients call ``base_url``, ``model`` the name that it goes by."""

    url: str
    model: str
    process: ServerProcess

    def wait(self) -> None:
        """Blocks for as long as it serves.

        Raises:
            StageFailed: it ended by itself, killed for its memory perhaps.
        """
        status = self.process.wait()
        raise StageFailed(f"the server of {self.model} has ended with status {status}", "start it again: finreg serve")


@contextmanager
def serve(folder: Path, name: str, port: int | None, token: str) -> Iterator[Served]:
    """Serves the model of a folder until the block is left; the process ends with this one, too.

    Args:
        folder: a model that transformers saved, as ``merged``.
        name: what the server calls it.
        port: on loopback; None for a free one.
        token: what every request must bring as its bearer token. It stands in no process list and no log.

    Raises:
        ConfigError: the port cannot be had.
        MissingExtra: the model needs transformers, which is not installed.
        StageFailed: the model cannot be loaded.
    """
    if port is not None:
        _require_free(port)
    process = _server_of(folder, {"key": token, "name": name, "port": port or 0})
    try:
        try:
            address = process.start()
        except CannotServeError as error:
            raise StageFailed(f"{folder} cannot be served: {error}", "finreg doctor says what is missing") from None
        yield Served(f"{address}/v1", name, process)
    finally:
        process.close()


def _server_of(folder: Path, settings: dict[str, Any]) -> ServerProcess:
    if is_exportable(folder):
        settings |= {"model": str(f16_gguf(folder)), "slots": 1, "context": 0, "repeatable": True}
        return ServerProcess("finreg_cli.llm.served_process", settings)
    from importlib.util import find_spec

    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise MissingExtra(package, "train", f"serving {folder}")
    return ServerProcess("finreg_cli.training.transformers_process", settings | {"model": str(folder)})


def _require_free(port: int) -> None:
    """Tells of a port that is taken. The servers alone would not: some share a port silently, and answer in turns."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier server that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            reasons = {errno.EADDRINUSE: "is taken by another process", errno.EACCES: "is kept for the system"}
            raise ConfigError(
                f"--port {port} {reasons.get(error.errno or 0, f'cannot be had: {error.strerror}')}",
                "name another one, or leave --port out for a free one",
            ) from None

"""The provider ``embedded``: a GGUF file served on loopback by a process of our own, for as long as it is needed."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from finreg_cli.config import FETCHED_MODEL, Endpoint
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.gguf_header import GgufHeader, read_header
from finreg_cli.llm.server_process import CannotServeError, ServerProcess

FETCHED_SHAPE = ("llama", 30, 576, 49152)
"""`gguf_header.GgufHeader.shape` of the fetched model, its quantisations and whatever was tuned from it."""

_LEAST_CONTEXT = 4096
_USUAL_CONTEXT = 8192
"""Tokens of a slot: a prompt with several articles and a reply fit into the first, with room in the second."""

_SHARE_OF_FREE_MEMORY = 0.5
_WORKING_BYTES = 300 * 1024**2
_ROWS_OF_LOGITS = 512
_BYTES_OF_A_LOGIT = 4

_SAMPLES, _SAMPLE_BYTES = 64, 64 * 1024


class ServedRoute:
    """Where the requests of an ``embedded`` endpoint go: implements `endpoints.Route`.

    The process ends with `close`, and also when this process is killed. As many requests are computed at a time as
    the endpoint's ``max_concurrency``, which share the context that the model was made for, but have at least 8,192
    tokens each (or all that it was made for), as far as half of the free memory goes round.

    Args:
        name: ``generator`` or ``judge``, as in the configuration, for the messages.
        endpoint: its configuration; ``model`` is the path of the file.
        environment: not used; a file needs no key.

    Raises:
        ConfigError: there is no such file, it is no GGUF, it is the fetched model, or there is too little memory.
    """

    def __init__(self, name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> None:
        del environment
        self._name = name
        self._model = Path(endpoint.model).expanduser()
        self._slots = endpoint.max_concurrency
        header = _usable(name, self._model)
        self._context = _context(name, self._model, header, self._slots)
        self._key = secrets.token_urlsafe(24)
        settings = {"model": str(self._model), "key": self._key, "slots": self._slots, "context": self._context}
        self._server = ServerProcess("finreg_cli.llm.served_process", settings)

    async def open(self) -> str:
        """Starts the process, waits until the model is loaded, and gives the base URL.

        Raises:
            EndpointError: it cannot be loaded.
        """
        try:
            return f"{await asyncio.to_thread(self._server.start)}/v1"
        except CannotServeError as error:
            raise self._failure(f"it cannot be loaded: {error}") from None

    async def headers(self) -> Mapping[str, str]:
        """The key of this one run.

        Raises:
            EndpointError: the process has ended, killed for its memory perhaps.
        """
        status = self._server.status
        if status is not None:
            raise self._failure(f"its process has ended with status {status}")
        return {"Authorization": f"Bearer {self._key}"}

    async def models(self) -> list[str] | None:
        return [str(self._model)]

    def remedy(self, status: int) -> str | None:
        """None: of a server of our own there is nothing to be refused."""
        return None

    async def close(self) -> None:
        await asyncio.to_thread(self._server.close)

    def _failure(self, what: str) -> EndpointError:
        return EndpointError(
            f"endpoints.{self._name} ({self._model}): {what}",
            f"try a smaller model, or lower endpoints.{self._name}.max_concurrency, which is {self._slots}",
        )


def recorded_name(endpoint: Endpoint) -> str:
    """The model as rows and reports name it: of a file its name only, because a path says much of a machine."""
    return Path(endpoint.model).name if endpoint.provider == "embedded" else endpoint.model


@cache
def fingerprint(model: str) -> str:
    """Tells one GGUF file from another by its size and by samples over all of it, in milliseconds.

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(model).expanduser()
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(str(size).encode())
            for number in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "give the path of a GGUF file") from None
    return digest.hexdigest()


def _usable(name: str, model: Path) -> GgufHeader:
    if not model.is_file():
        raise ConfigError(
            f"endpoints.{name}.model: there is no file {model}", "give the path of a GGUF file (provider embedded)"
        )
    header = read_header(model)
    if not header.cache_bytes_per_token or not header.trained_context:
        raise ConfigError(
            f"endpoints.{name}.model: {model} is no language model: '{header.architecture}' without layers or context",
            "give the path of an instruction-tuned model's .gguf",
        )
    # Copies, other quantisations and tuned descendants are as small, so the shape decides and not the hash.
    if header.shape == FETCHED_SHAPE:
        raise ConfigError(
            f"endpoints.{name}.model: {model} is {FETCHED_MODEL} (or was tuned from it), a model of 135M parameters: "
            "tried on 20 articles it wrote no usable pair, and it cannot judge any",
            "take a model of 1.5B parameters or more, an endpoint, or generate.method: rules, which needs no model",
        )
    return header


def _context(name: str, model: Path, header: GgufHeader, slots: int) -> int:
    """Tokens for each slot.

    Raises:
        ConfigError: less than a prompt and its reply need would fit into the memory.
    """
    trained = header.trained_context
    wanted = min(trained, max(_USUAL_CONTEXT, trained // slots))
    free = free_memory()
    if free is None:
        return wanted
    # The weights are mapped, not copied, but they have to stay in memory to be of use.
    fixed = model.stat().st_size + _WORKING_BYTES + header.vocabulary * _ROWS_OF_LOGITS * _BYTES_OF_A_LOGIT
    room = int((free - fixed) * _SHARE_OF_FREE_MEMORY) // header.cache_bytes_per_token
    least = min(trained, _LEAST_CONTEXT)
    if room < least * slots:
        need = (fixed + least * slots * header.cache_bytes_per_token / _SHARE_OF_FREE_MEMORY) / 1024**3
        fitting = max(0, room // least)
        raise ConfigError(
            f"endpoints.{name}.model: {model} with max_concurrency {slots} needs {need:.1f} GiB of memory for {least} "
            f"tokens of each request, and {free / 1024**3:.1f} GiB are free",
            f"set endpoints.{name}.max_concurrency to {fitting}" if fitting else "take a smaller model",
        )
    return min(wanted, room // slots)


def free_memory() -> int | None:
    """Bytes that this process may still take, within its control group; None where the system does not say."""
    try:
        listed = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    available = int(listed.split("MemAvailable:")[1].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # another version of control groups, or "max", which is none
        limit = int((group / "memory.max").read_text())
        available = min(available, limit - int((group / "memory.current").read_text()))
    return available

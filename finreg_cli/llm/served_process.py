"""The process that serves a GGUF file on loopback: ``python -m finreg_cli.llm.served_process``.

Its settings are those of `serve`; how it is started and how it ends, `server_process` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finreg_cli.llm.embedded import cores, parameters, usual_workers
from finreg_cli.llm.server_process import run_program

_ERRORS_ONLY = 1


def serve(
    model: str, key: str, slots: int, context: int, name: str | None = None, port: int = 0, repeatable: bool = False
) -> str:
    """Loads the model and gives the server's address; it serves on threads of its own.

    Args:
        model: the path of the GGUF file.
        key: what every request must bring as its bearer token: other users of the machine can reach the port.
        slots: requests computed at a time.
        context: tokens of prompt and reply together, for each slot; 0 for all that the model was made for.
        name: the server's name of the model; None for its path.
        port: on loopback; 0 for a free one.
        repeatable: every prompt is computed as `XllamacppAnswerer` does it, from its first token and on as many
            threads, and greedily where the request names no temperature. With one slot, equal requests get equal
            answers.

    Raises:
        RuntimeError: it cannot be loaded; why stands on the standard error.
    """
    import xllamacpp

    # The threads of one computation wait for each other at every layer, and on busy cores do little else.
    threads = max(1, cores() // usual_workers()) if repeatable else cores()
    params = parameters(Path(model), threads)
    params.verbosity = _ERRORS_ONLY
    params.model_alias = {name or model}
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = context * slots
    # The prompts of a chain begin alike, and a slot keeps its last one; a further store of 8 GB would gain nothing.
    params.cache_ram_mib = 0
    params.ui = False
    params.endpoint_slots = False
    if repeatable:
        params.cache_prompt = False
        params.sampling.temp = 0.0
    server = xllamacpp.Server(params)
    _kept.append(server)
    return str(server.listening_address)


_kept: list[Any] = []
"""A server lives as long as its object; one that is dropped before its first answer would never end."""


if __name__ == "__main__":
    run_program(serve)

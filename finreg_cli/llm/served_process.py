"""The process that serves a GGUF file on loopback: ``python -m finreg_cli.llm.served_process``.

It reads one line of JSON, the settings of `serve`, from its standard input, prints one with its address (or with what
went wrong), and ends when that input ends: so it never outlives the process that started it, however that one ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from finreg_cli.llm.embedded import cores, parameters

_ERRORS_ONLY = 1


def serve(model: str, key: str, slots: int, context: int) -> str:
    """Loads the model and gives the server's address; it serves on threads of its own.

    Args:
        model: the path of the GGUF file; the server's name of the model too.
        key: what every request must bring as its bearer token: other users of the machine can reach the port.
        slots: requests computed at a time.
        context: tokens of prompt and reply together, for each slot.

    Raises:
        RuntimeError: it cannot be loaded; why stands on the standard error.
    """
    import xllamacpp

    params = parameters(Path(model), cores())
    params.verbosity = _ERRORS_ONLY
    params.model_alias = {model}
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = context * slots
    # The prompts of a chain begin alike, and a slot keeps its last one; a further store of 8 GB would gain nothing.
    params.cache_ram_mib = 0
    params.ui = False
    params.endpoint_slots = False
    server = xllamacpp.Server(params)
    _kept.append(server)
    return str(server.listening_address)


_kept: list[Any] = []
"""A server lives as long as its object; one that is dropped before its first answer would never end."""


def main() -> None:
    try:
        told = {"address": serve(**json.loads(sys.stdin.readline()))}
    except RuntimeError as error:
        told = {"error": str(error)}
    print(json.dumps(told), flush=True)
    if "address" in told:
        sys.stdin.read()
    # Not by returning: see `_kept`.
    os._exit(0)


if __name__ == "__main__":
    main()

"""Synthetic leases to be written, for the tests of language models; as a program it writes them in its own process.

python tests/fakes/commissions.py URL CACHE COUNT CONCURRENCY     # a line with the lease's id for each finished one
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes.leases import labelled
from finreg_cli.config import Config
from finreg_cli.domain.records import LabelledLease
from finreg_cli.llm.base import Commission
from finreg_cli.tasks.structured_extraction import blank_lease


def commission(parent: LabelledLease, sample: int = 0, round_: int = 1) -> Commission:
    blank = blank_lease(parent, round_, sample, method="llm", model="fake", prompt_version="v", outputs_may_train=True)
    return Commission(blank, parent)


def commissions(count: int) -> list[Commission]:
    return [commission(parent) for parent in labelled(count)]


def configuration(
    url: str,
    budget: dict[str, Any] | None = None,
    judge: dict[str, Any] | None = None,
    generate: dict[str, Any] | None = None,
    extraction: dict[str, Any] | None = None,
    **generator: Any,
) -> Config:
    """A configuration with a generator at ``url`` and, where it is given, a judge."""
    endpoints = {"generator": {"model": "fake", "base_url": url, **generator}} | ({"judge": judge} if judge else {})
    return Config.model_validate(
        {
            "task": "structured_extraction",
            "generate": {"method": "llm", **(generate or {})},
            "extraction": extraction or {},
            "endpoints": endpoints,
            "budget": budget or {},
        }
    )


def main(arguments: Sequence[str]) -> None:
    from finreg_cli.llm.budget import Budget
    from finreg_cli.llm.cache import RequestCache
    from finreg_cli.llm.synthesis import SynthesisWriter

    url, cache, count, concurrency = arguments
    config = configuration(url, max_concurrency=int(concurrency))
    writer = SynthesisWriter(config, RequestCache(Path(cache)), Budget(config.budget))
    for made in writer.write(commissions(int(count))):
        print(made.lease.lease_id, made.reason, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

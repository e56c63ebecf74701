"""Which chunks `generate` has chosen rows of already, so that an amendment does not change the choice for the others.

The mix weighs all rows against each other: with some articles amended, it would choose other rows of unchanged ones
too, and a language model would be paid for them. So a chunk with the same proposals under the same settings keeps the
choice that was made. Like the memory of `ingest`, this only spares work, and is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from finreg_cli.config import Config
from finreg_cli.domain.identity import content_hash
from finreg_cli.stages.state_files import write_whole


class Settled:
    """The settled chunks of one schema, a small file of the state folder. A chunk is known by its proposed rows."""

    def __init__(self, config: Config) -> None:
        self._path = config.state / f"generate-{config.catalog}.{config.schema_}.json"
        self._settings = content_hash(config.generate.model_dump(mode="json"))
        self._before: set[str] = set()
        self._now: set[str] = set()
        with suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            if stored["settings"] == self._settings:
                self._before = set(stored["proposals"])

    def holds(self, row_ids: Sequence[str]) -> bool:
        """Whether a run with these settings came to its end with the same proposals of a chunk; notes them."""
        proposals = content_hash(*row_ids)
        self._now.add(proposals)
        return proposals in self._before

    def save(self) -> None:
        """Writes the file; only at the end of a run that has made all that it wanted.

        Raises:
            WarehouseError: it cannot be written.
        """
        if self._now == self._before:
            return
        write_whole(self._path, json.dumps({"settings": self._settings, "proposals": sorted(self._now)}, indent=1))

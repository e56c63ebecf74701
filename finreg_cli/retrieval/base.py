"""What the stages see of retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from finreg_cli.domain.records import Chunk


@dataclass(frozen=True)
class Hit:
    """A chunk that was found, by the key of its table.

    ``score`` is comparable between the hits of one question only; ``named`` says that the question names the provision
    that the chunk is of, which puts it before all others whatever its score.
    """

    document_id: str
    chunk_id: str
    score: float
    named: bool


class PassageIndex(Protocol):
    def search(self, question: str, top: int) -> list[Hit]:
        """The best first, at most ``top``; fewer where fewer chunks have anything to do with the question."""


class Retriever(Protocol):
    def index(self, table: str, version: int, chunks: Callable[[], Iterable[Chunk]]) -> PassageIndex:
        """The index of a table's version: kept from before, or made from ``chunks``, which is read as a stream.

        Args:
            table: where the table lies; two tables never share an index.
            version: of the table.
            chunks: reads what is to be found; called only where there is no index of this version yet.
        """

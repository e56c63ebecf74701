"""The questions of a data set, of which none may nearly repeat another, least of all across the split."""

from __future__ import annotations

from finreg_cli.domain.quality import NearDuplicates


class Questions:
    """The questions that stand, with the side of the split that each is on."""

    def __init__(self) -> None:
        self._near = NearDuplicates()
        self._sides: dict[str, str] = {}

    def add(self, row_id: str, question: str, split: str) -> None:
        self._near.add(row_id, question)
        self._sides[row_id] = split

    def discard(self, row_id: str, question: str) -> None:
        """Forgets a question whose row does not stand after all."""
        self._near.discard(row_id, question)
        del self._sides[row_id]

    def near(self, question: str) -> str | None:
        """The row_id of a question that this one nearly repeats (`NearDuplicates.near`)."""
        return self._near.near(question)

    def refusal(self, other: str, split: str) -> str:
        """Why a question on this side that nearly repeats ``other`` can't stand, as ``name: row_id``."""
        crosses = split == "train" and self._sides[other] == "validation"
        return f"{'near_validation' if crosses else 'near_duplicate'}: {other}"

    def take(self, row_id: str, question: str, split: str) -> str | None:
        """Adds a question, or says why it can't stand."""
        other = self.near(question)
        if other is not None:
            return self.refusal(other, split)
        self.add(row_id, question, split)
        return None

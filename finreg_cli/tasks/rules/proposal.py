"""What a rule proposes."""

from __future__ import annotations

from dataclasses import dataclass

from finreg_cli.config import Kind
from finreg_cli.domain.identity import content_hash


@dataclass(frozen=True)
class Proposal:
    """A question with its answer.

    ``rule`` names rule, wording and version (``definition/what-means@1``); ``answer`` has no citation yet;
    ``citation`` is as precise as the text proves; ``reasoning`` is a line that quotes the span behind the answer.
    """

    kind: Kind
    rule: str
    question: str
    answer: str
    citation: str
    reasoning: str
    answerable: bool = True


def chosen(count: int, *parts: str) -> int:
    """A number below ``count`` that depends on nothing but the parts: which of several wordings is used."""
    return int(content_hash(*parts), 16) % count


def quote(text: str, most_words: int = 40) -> str:
    """The text in quotation marks, cut after so many words: for the reasoning, never for an answer."""
    words = text.replace("“", "'").replace("”", "'").replace('"', "'").split()
    return f"“{' '.join(words[:most_words])}”"

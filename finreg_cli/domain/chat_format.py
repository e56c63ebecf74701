"""How a row is spoken: the original demo's messages byte for byte, the citation in brackets, the abstention.

The texts below are a data contract, line breaks and the system text's trailing space included: an adapter that was
trained on the rows of one release is prompted by the next.
"""

from __future__ import annotations

import re

from finreg_cli.domain.records import Chunk, Message

SYSTEM = (
    "You are a Regulatory Reporting Assistant.\n"
    "Please answer the question as precise as possible using information in context.\n"
    "If you do not know, just say I don't know. "
)

ABSTENTION = "I don't know."
"""The whole answer, without a citation, where the context holds none."""

_CITED = re.compile(r"(?P<text>.*\S)\s*\[(?P<citation>[^\[\]]+)\]\s*", re.DOTALL)


def prompt(context: str, question: str) -> list[Message]:
    """The system and the user message. *Without context* is the same with ``context=""``."""
    user = f"Context:\n{context}\nPlease answer the user question using the given context:\n\n{question}"
    return [Message(SYSTEM, "system"), Message(user, "user")]


def messages(context: str, question: str, answer: str) -> list[Message]:
    """The three messages of a training row."""
    return [*prompt(context, question), Message(answer, "assistant")]


def context_of(chunk: Chunk) -> str:
    """The context of a row: the chunk's citation on a line of its own, then its text."""
    return f"{chunk.citation}\n{chunk.text}"


def with_citation(answer: str, citation: str) -> str:
    """The answer with its citation in brackets: ``4,5 %. [CRR Article 92(1)]``."""
    return f"{answer.rstrip()} [{citation}]"


def split_citation(answer: str) -> tuple[str, str | None]:
    """The answer's text and its bracketed citation; None where it ends in no bracket."""
    cited = _CITED.fullmatch(answer)
    if cited is None:
        return answer.strip(), None
    return cited["text"], cited["citation"].strip()

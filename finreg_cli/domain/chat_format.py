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

CITATION_SEPARATOR = "; "
"""Between the citations of a row that is made from several chunks."""

_CITED = re.compile(r"(?P<text>.*\S)\s*\[(?P<citation>[^\[\]]+)\]\s*", re.DOTALL)


_BEFORE_THE_QUESTION = "Please answer the user question using the given context:\n\n"


def prompt(context: str, question: str) -> list[Message]:
    """The system and the user message. *Without context* is the same with ``context=""``."""
    return [Message(SYSTEM, "system"), Message(f"Context:\n{context}\n{_BEFORE_THE_QUESTION}{question}", "user")]


def question_of(user: str) -> str:
    """The question in a user message that `prompt` made; the whole message where it made none."""
    return user.rpartition(_BEFORE_THE_QUESTION)[2]


def messages(context: str, question: str, answer: str) -> list[Message]:
    """The three messages of a training row."""
    return [*prompt(context, question), Message(answer, "assistant")]


def context_of(chunk: Chunk) -> str:
    """The context of a row: the chunk's citation on a line of its own, then its text."""
    return f"{chunk.citation}\n{chunk.text}"


def parts_of(context: str, citation: str) -> list[str]:
    """The texts of a row's context, one for each of its citations, the line with the citation left out."""
    texts = []
    for each in reversed(citation.split(CITATION_SEPARATOR)):
        context, _, text = context.rpartition(f"{each}\n")
        texts.append(text)
    return texts[::-1]


def with_citation(answer: str, citation: str) -> str:
    """The answer with its citation in brackets: ``4,5 %. [CRR Article 92(1)]``."""
    return f"{answer.rstrip()} [{citation}]"


def split_citation(answer: str) -> tuple[str, str | None]:
    """The answer's text and its bracketed citation; None where it ends in no bracket."""
    cited = _CITED.fullmatch(answer)
    if cited is None:
        return answer.strip(), None
    return cited["text"], cited["citation"].strip()

"""What the chunks of a document refer to: chunks of the same document by their ids, anything else by its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from finreg_cli.domain.legal_structure import Document
from finreg_cli.domain.records import Chunk


def resolve(document: Document, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks with their ``references``: ids of chunks of this document first, then what lies outside it as text."""
    return [replace(chunk, references=references(chunk.text)) for chunk in chunks]


_ACT_NUMBER = r"(?:Regulation|Directive|Decision) (?:\((?:EU|EC|EEC)\) )?(?:No )?\d{1,4}/\d{1,4}(?:/(?:EU|EC|EEC))?"
_REFERENCE = re.compile(
    rf"Article (\d+[a-z]?(?:\(\d+[a-z]?\))?)(?:(?:\([a-z]+\))* of ({_ACT_NUMBER}))?|({_ACT_NUMBER})"
)


def references(text: str) -> list[str]:
    """What a text cites, each once, in order: ``Article 92(1)``, ``Directive 2013/36/EU Article 4``."""
    return list(dict.fromkeys(_cited(text)))


def _cited(text: str) -> Iterator[str]:
    for article, act, act_alone in _REFERENCE.findall(text):
        yield act_alone or (f"{act} Article {article}" if act else f"Article {article}")

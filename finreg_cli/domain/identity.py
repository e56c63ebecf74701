"""The identity of everything that finreg stores. These formulas are final: tables outlive releases."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from typing import Any


def _canonical(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value


def content_hash(*parts: Any) -> str:
    """The interface's ``H(parts)``: the first 32 hex digits of SHA-256 over the parts as canonical JSON.

    Canonical means UTF-8, strings in Unicode NFC, keys sorted, no blanks.
    """
    text = json.dumps(_canonical(parts), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def document_id(work_id: str, version_date: str | None, file_sha256: str) -> str:
    """A document is one version of a work: the date where the text states one, else these very bytes."""
    return content_hash(work_id, version_date or file_sha256)


def chunk_id(work_id: str, citation: str, text: str, nth: int) -> str:
    """The id of a chunk; ``nth`` (from 0) tells identical ones of one work apart.

    Neither page nor position takes part, so that an unchanged article keeps its chunks in an amended version.
    """
    return content_hash(work_id, citation, text, nth)


def row_id(
    chunk_ids: Sequence[str], method: str, version: str, model: str | None, round_: int, kind: str, sample: int
) -> str:
    """The id of a question-answer row.

    Args:
        chunk_ids: the chunks of its context, in order.
        method: ``rules`` or ``llm``.
        version: the name of the rule, or the version of the prompts.
        model: the generating model; None for rules.
        round_: the synthetic round, from 1.
        kind: the kind of question.
        sample: tells rows alike in everything else apart, from 0.
    """
    return content_hash(list(chunk_ids), method, version, model, round_, kind, sample)

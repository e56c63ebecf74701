"""Extracting from documents with a model: windows out, replies in, merged; shared by finetune, evaluate and extract."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice

from finreg_cli.config import Decoding
from finreg_cli.domain.extraction import InvalidReply, Labels, Schema, read_reply
from finreg_cli.domain.progress import Advance
from finreg_cli.domain.windows import Finding, Window, merge
from finreg_cli.llm.base import Answerer, ReplyCache
from finreg_cli.stages.answers import cached_answers
from finreg_cli.tasks.structured_extraction import Reading


@dataclass(frozen=True)
class Extraction:
    """What a model found in a document: one reply for each window; ``invalid`` of them could not be read.

    Where no reply could be read, every label is None.
    """

    labels: Labels
    replies: list[str]
    invalid: int


def extract(
    answerer: Answerer,
    documents: Sequence[str],
    reading: Reading,
    decoding: Decoding,
    max_tokens: int,
    cache: ReplyCache,
    advance: Advance,
    window_tokens: int | None = None,
) -> tuple[list[Extraction], int]:
    """One extraction per document, in order, and how many replies came from the cache.

    Args:
        decoding: ``constrained`` holds every reply to the schema.
        max_tokens: the most tokens of a reply.
        advance: told of every document that is done.
        window_tokens: of a model that reads more at a time than the configured window.
    """
    cut = [reading.windows(document, window_tokens) for document in documents]
    prompts = [reading.prompt(window) for windows in cut for window in windows]
    ends = list(accumulate(len(windows) for windows in cut))
    answered = 0

    def count(replies: int) -> None:
        nonlocal answered
        before, answered = answered, answered + replies
        advance(bisect_right(ends, answered) - bisect_right(ends, before))

    schema = reading.schema.json_schema() if decoding == "constrained" else None
    texts, hits = cached_answers(answerer, prompts, max_tokens, cache, count, schema)
    replies = iter(texts)
    return [_extraction(windows, list(islice(replies, len(windows))), reading.schema) for windows in cut], hits


def _extraction(windows: Sequence[Window], replies: list[str], schema: Schema) -> Extraction:
    findings: list[Finding] = []
    for window, reply in zip(windows, replies, strict=True):
        with suppress(InvalidReply):
            findings.append((window, read_reply(reply, schema)))
    return Extraction(merge(findings, schema), replies, len(replies) - len(findings))

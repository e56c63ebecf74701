"""Extracting from documents with a model: windows out, replies in, merged; shared by finetune, evaluate and extract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finreg_cli.config import Decoding
from finreg_cli.domain.extraction import InvalidReply, Labels, read_reply
from finreg_cli.domain.progress import Advance
from finreg_cli.domain.windows import Finding, merge
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
    last_windows = {sum(len(each) for each in cut[: nth + 1]) for nth in range(len(cut))}
    answered = 0

    def count(replies: int) -> None:
        nonlocal answered
        before, answered = answered, answered + replies
        advance(sum(before < last <= answered for last in last_windows))

    schema = reading.schema.json_schema() if decoding == "constrained" else None
    texts, hits = cached_answers(answerer, prompts, max_tokens, cache, count, schema)
    extractions = []
    for windows in cut:
        replies, texts = texts[: len(windows)], texts[len(windows) :]
        findings: list[Finding] = []
        for window, reply in zip(windows, replies, strict=True):
            try:
                findings.append((window, read_reply(reply, reading.schema)))
            except InvalidReply:
                continue
        extractions.append(Extraction(merge(findings, reading.schema), replies, len(replies) - len(findings)))
    return extractions, hits

"""Answers through the reply cache: an evaluation that was killed goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.progress import Advance
from finreg_cli.domain.records import Message
from finreg_cli.llm.base import Answerer, Reply, ReplyCache


def cached_answers(
    answerer: Answerer,
    prompts: Sequence[list[Message]],
    max_tokens: int,
    cache: ReplyCache,
    advance: Advance,
    schema: Mapping[str, Any] | None = None,
) -> tuple[list[str], int]:
    """One text per prompt, and how many came from the cache; each new one is cached before the next is asked.

    Args:
        schema: the JSON schema that every answer is held to, where there is one.
    """
    keys = [_cache_key(answerer.identity, messages, max_tokens, schema) for messages in prompts]
    replies = [cache.get(key) for key in keys]
    missing = [nth for nth, reply in enumerate(replies) if reply is None]
    hits = len(prompts) - len(missing)
    advance(hits)
    asked = [prompts[nth] for nth in missing]
    for nth, text in zip(missing, answerer.answers(asked, max_tokens, schema), strict=True):
        replies[nth] = Reply(text)
        cache.put(keys[nth], Reply(text))
        advance(1)
    return [reply.text for reply in replies if reply is not None], hits


def _cache_key(identity: str, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None) -> str:
    parts = ["answer", identity, [[each.role, each.content] for each in messages], max_tokens]
    return content_hash(*parts, *([dict(schema)] if schema is not None else []))

"""What writing would cost: a ceiling that is never passed, and beside it what is likely."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finreg_cli.config import Endpoint
from finreg_cli.llm.base import Estimate, Reply, ReplyCache, Usage
from finreg_cli.llm.budget import cost
from finreg_cli.llm.runner import Messages, most_input_tokens, plain, request_key
from finreg_cli.llm.structured import NamedSchema

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

FILLER = "x"
"""What a planned text is made of, one letter a token, so that a later prompt can be counted that quotes it."""

USUAL_REPLY_TOKENS = 200
"""A reply of a chain, as long as nothing is known of the endpoint: a question or an answer with its reasons."""

_PLANNED = re.compile(f"{FILLER}{{8,}}")
_TOKENS_PER_MESSAGE = 4
_WORDS = re.compile(r"\w{1,5}|[^\w\s]")


def rough_counts(texts: Sequence[str]) -> list[int]:
    """A count without a tokenizer: a word is a token for each five letters, a sign is one."""
    return [sum(1 for _ in _WORDS.finditer(text)) for text in texts]


@dataclass(frozen=True)
class Expectation:
    """What an estimate takes to be likely.

    Args:
        counts: the tokens of texts, by a tokenizer that need not be the endpoint's.
        mean_reply: output tokens of a reply so far; None where none is known.
    """

    counts: Callable[[Sequence[str]], list[int]] = rough_counts
    mean_reply: Callable[[], float | None] = lambda: None

    def basis(self) -> str:
        """In words, for who reads the estimate."""
        mean = self.mean_reply()
        replies = f"as long as those so far, {mean:.0f} tokens" if mean else f"of {USUAL_REPLY_TOKENS} tokens"
        return (
            f"expected are the prompts as a tokenizer counts them, and replies {replies}; at most is a ceiling, one "
            "token for each byte of a prompt and every reply as long as max_tokens; "
            "rows that are dropped on the way take less, retries and repairs more"
        )


class Planner:
    """Sends nothing: answers from the cache, else as long as a reply may be, and counts.

    ``usage`` is the ceiling, ``expected`` what is likely; both count the same requests.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, expectation: Expectation) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._counts = expectation.counts
        self._reply_tokens = min(endpoint.max_tokens, round(expectation.mean_reply() or USUAL_REPLY_TOKENS))
        self.usage = no_usage(endpoint)
        self.expected = no_usage(endpoint)

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        sent = plain(messages)
        cached = self._cache.get(request_key(self._endpoint, sent, schema, sample))
        if cached is not None:
            for usage in (self.usage, self.expected):
                usage.cached += 1
            return cached
        definition = schema[1] if schema else None
        most = self._endpoint.max_tokens
        self._add(self.usage, most_input_tokens(sent, definition), most)
        self._add(self.expected, self._likely_input(sent), self._reply_tokens)
        if definition is None:
            return Reply(FILLER * most)
        return Reply(json.dumps(_as_long_as_can_be(definition, most)))

    def _add(self, usage: Usage, input_tokens: int, output_tokens: int) -> None:
        usage.requests += 1
        usage.input_tokens += input_tokens
        usage.output_tokens += output_tokens
        if usage.money is not None:
            usage.money += cost(self._endpoint.price, input_tokens, output_tokens)

    def _likely_input(self, messages: Messages) -> int:
        """The tokens of a conversation, in which a planned text counts for as much as a reply is likely to be."""
        texts = [message["content"] for message in messages]
        planned = sum(len(run) for text in texts for run in _PLANNED.findall(text))
        likely = round(planned * self._reply_tokens / self._endpoint.max_tokens)
        return sum(self._counts([_PLANNED.sub("", text) for text in texts])) + likely + _TOKENS_PER_MESSAGE * len(texts)


def estimate(planners: Mapping[str, Planner], expectation: Expectation) -> Estimate:
    """What the planners have counted, by their endpoints' names."""
    return Estimate(
        {name: planner.usage for name, planner in planners.items()},
        {name: planner.expected for name, planner in planners.items()},
        expectation.basis(),
    )


def no_usage(endpoint: Endpoint) -> Usage:
    return Usage(money=None if endpoint.price is None else 0.0)


def _as_long_as_can_be(definition: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    types = {name: each["type"] for name, each in definition["properties"].items()}
    texts = sum(type_ == "string" for type_ in types.values())
    values = {"boolean": True, "integer": 1, "number": 1, "null": None}
    return {name: FILLER * (tokens // texts) if type_ == "string" else values[type_] for name, type_ in types.items()}

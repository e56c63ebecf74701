"""An endpoint that answers the evaluation's prompts, beside the local models."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

from finreg_cli.config import Endpoint
from finreg_cli.domain.records import Message
from finreg_cli.errors import EndpointError
from finreg_cli.llm.base import ReplyCache, Usage
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.endpoints import check
from finreg_cli.llm.runner import Client, Retry, opened, run_all
from finreg_cli.llm.served import fingerprint
from finreg_cli.llm.structured import NamedSchema
from finreg_cli.llm.transport import RequestFailed

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_NO_USABLE_ANSWER = ""
_ABOUT_THIS_PROMPT = ("HTTP 400", "HTTP 413", "HTTP 422")
_TOO_LONG = re.compile(r"context|too (?:long|large|many)|maximum|exceed", re.IGNORECASE)

Numbered = tuple[int, Sequence[Message]]
Outcome = tuple[int, str | RequestFailed]


class EndpointAnswerer:
    """Answers through an endpoint of the configuration: implements `llm.base.Answerer`.

    It is asked at temperature 0, because extraction is not creative; where the configured temperature is null, none is
    sent. Requests go out as many at a time as the endpoint allows; each reply is kept in the cache of requests as it
    comes. An endpoint that knows no JSON schema is asked without one: the instruction names the keys too.

    Args:
        role: ``generator`` or ``judge``, for the messages.
        endpoint: its configuration.
        cache, budget, environment, retry: as of `runner.Client`.
        usage: where its use is counted; None for a count of its own.

    Raises:
        ConfigError: the key's variable is not set.
    """

    def __init__(
        self,
        role: str,
        endpoint: Endpoint,
        cache: ReplyCache,
        budget: Budget,
        environment: Mapping[str, str] = os.environ,
        usage: Usage | None = None,
        retry: Retry = Retry(),  # noqa: B008 - immutable
    ) -> None:
        check(role, endpoint, environment)
        temperature = None if endpoint.temperature is None else 0.0
        self._role = role
        self._endpoint = endpoint.model_copy(update={"temperature": temperature})
        self._cache = cache
        self._budget = budget
        self._environment = environment
        self._retry = retry
        self.usage = usage or Usage(money=None if endpoint.price is None else 0.0)

    @property
    def identity(self) -> str:
        endpoint = self._endpoint
        asked = f"temperature={endpoint.temperature}/max_tokens={endpoint.max_tokens}"
        model = fingerprint(endpoint.model) if endpoint.provider == "embedded" else endpoint.model
        return f"{endpoint.provider}/{endpoint.base_url}/{model}/{asked}"

    @property
    def holds_to_schema(self) -> bool:
        return True

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        """One answer per prompt, in order; those that wait for their turn are held, and are smaller than the prompts.

        A prompt that the endpoint refuses (by a filter, say) gets an empty answer, which no reader takes for labels. A
        request that got no reply, or one that does not fit into the context, says nothing about the model: it ends the
        answers, after all others have been asked and cached.

        Args:
            prompts: conversations.
            max_tokens: of local models; an endpoint's replies may be as long as its own ``max_tokens``, because some
                models think before they answer.
            schema: the JSON schema of the answers.

        Raises:
            BudgetReached: the next request would overshoot; the answers before it in order were yielded.
            EndpointError: nothing succeeds, or some requests failed for good; the same command goes on.
        """
        named = ("Labels", dict(schema)) if schema is not None else None
        waiting: dict[int, str] = {}
        failures: list[RequestFailed] = []
        following = 0
        with closing(run_all(lambda: self._asking(named), enumerate(prompts), self._endpoint.max_concurrency)) as done:
            for number, outcome in done:
                if isinstance(outcome, RequestFailed) and not _is_refused(outcome):
                    failures.append(outcome)
                    continue
                waiting[number] = outcome if isinstance(outcome, str) else _NO_USABLE_ANSWER
                while following in waiting:
                    yield waiting.pop(following)
                    following += 1
        if failures:
            raise self._failure(failures, len(prompts))

    def close(self) -> None:
        """Nothing is held between two calls."""

    @asynccontextmanager
    async def _asking(self, schema: NamedSchema | None) -> AsyncIterator[Callable[[Numbered], Any]]:
        def client() -> Iterator[Client]:
            yield Client(
                self._role,
                self._endpoint,
                self._cache,
                self._budget,
                self.usage,
                self._environment,
                self._retry,
            )

        async with opened(client) as (asker,):

            async def ask(numbered: Numbered) -> Outcome:
                number, prompt = numbered
                try:
                    return number, (await asker.ask(_messages(prompt), schema, sample=0)).text
                except RequestFailed as failed:
                    return number, failed

            yield ask

    def _failure(self, failures: Sequence[RequestFailed], asked: int) -> EndpointError:
        first = failures[0].message
        message = f"endpoints.{self._role}: {len(failures)} of {asked} requests failed, the first with {first}"
        if any(_is_too_long(each) for each in failures):
            return EndpointError(
                message, f"set endpoints.{self._role}.window_tokens (or lower it), so that a window fits its context"
            )
        return EndpointError(message, "run the same command again: it asks only for what failed")


def _is_refused(failed: RequestFailed) -> bool:
    """Whether the endpoint has looked at this prompt and will not answer it."""
    return failed.message.startswith(_ABOUT_THIS_PROMPT) and not _is_too_long(failed)


def _is_too_long(failed: RequestFailed) -> bool:
    return failed.message.startswith(_ABOUT_THIS_PROMPT) and _TOO_LONG.search(failed.message) is not None


def _messages(prompt: Sequence[Message]) -> list[BaseMessage]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    types: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [types[each.role](content=each.content) for each in prompt]

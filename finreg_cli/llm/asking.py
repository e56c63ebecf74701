"""A language model as LangChain runnables, and the configured endpoints that both tasks write through."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig

from finreg_cli.config import Config, Endpoint
from finreg_cli.llm.base import Reply, ReplyCache, Usage
from finreg_cli.llm.budget import Budget, cost
from finreg_cli.llm.endpoints import RequestFailed, api_key
from finreg_cli.llm.runner import Asker, Client, Retry, most_input_tokens, opened, plain, request_key
from finreg_cli.llm.structured import Form, NamedSchema, Unreadable, read_text

Value = TypeVar("Value")

FILLER = "x"
"""What a planned text is made of: see `Planner`."""


class RowRejected(Exception):
    """A row can't go on; the message is its reason, ``name: detail``."""


class _Model(Runnable[PromptValue, Value], ABC):
    """Asks one endpoint; the sample number is taken from ``config["configurable"]["sample"]``."""

    def __init__(self, asker: Asker, schema: NamedSchema | None) -> None:
        self._asker = asker
        self._schema = schema

    def invoke(self, input: PromptValue, config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        return asyncio.run(self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: PromptValue, config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        sample = (config or {}).get("configurable", {}).get("sample", 0)
        return await self._answer(input.to_messages(), sample)

    @abstractmethod
    async def _answer(self, messages: list[BaseMessage], sample: int) -> Value: ...

    async def _ask(self, messages: list[BaseMessage], sample: int) -> Reply:
        try:
            return await self._asker.ask(messages, self._schema, sample)
        except RequestFailed as failed:
            raise RowRejected(f"endpoint: {failed.message}") from failed


class StructuredModel(_Model[Value], Generic[Value]):
    """Gives values of a form: asks, reads, and asks once more if it can't read.

    Raises:
        RowRejected: the second reply can't be read either, or a request failed for good.
    """

    def __init__(self, asker: Asker, form: Form[Value], repair: Runnable[dict[str, Any], PromptValue]) -> None:
        super().__init__(asker, form.schema)
        self._form = form
        self._repair = repair

    async def _answer(self, messages: list[BaseMessage], sample: int) -> Value:
        reply = await self._ask(messages, sample)
        try:
            return self._form.read(reply.text)
        except Unreadable as first:
            complaint = await self._repair.ainvoke({"problem": _problem(first, reply), "keys": self._form.keys})
        again = await self._ask([*messages, AIMessage(reply.text), *complaint.to_messages()], sample)
        try:
            return self._form.read(again.text)
        except Unreadable as second:
            name = "unreadable_verdict" if self._form.is_verdict else "unreadable_reply"
            raise RowRejected(f"{name}: {_problem(second, again)}") from second


class TextModel(_Model[str]):
    """Gives plain text. There is nothing to repair in one: it is whole, or it is of no use.

    Raises:
        RowRejected: the reply is empty or was cut off, or the request failed for good.
    """

    def __init__(self, asker: Asker) -> None:
        super().__init__(asker, None)

    async def _answer(self, messages: list[BaseMessage], sample: int) -> str:
        reply = await self._ask(messages, sample)
        try:
            text = read_text(reply.text)
        except Unreadable as unreadable:
            raise RowRejected(f"unreadable_reply: {_problem(unreadable, reply)}") from unreadable
        if reply.finish_reason == "length":
            raise RowRejected("unreadable_reply: it was cut off at the limit of max_tokens")
        return text


def _problem(unreadable: Unreadable, reply: Reply) -> str:
    if reply.finish_reason == "length":
        return f"{unreadable} (it was cut off at the limit of max_tokens)"
    return str(unreadable)


class ConfiguredEndpoints:
    """``endpoints.generator`` and, where there is one, ``endpoints.judge``, with what was used of each.

    Args:
        config: with ``endpoints.generator``.
        cache: keeps every single reply, so that a killed run pays for none of them twice.
        budget: of the whole command.
        environment: where the endpoints' keys are looked up, by the names in the configuration.
        retry: how patiently transient failures are tried again.

    Raises:
        ConfigError: a key's variable is not set.
    """

    def __init__(
        self, config: Config, cache: ReplyCache, budget: Budget, environment: Mapping[str, str], retry: Retry
    ) -> None:
        if config.endpoints.generator is None:
            raise ValueError("writing needs endpoints.generator, which the configuration has checked")
        self.generator = config.endpoints.generator
        self._by_name = {"generator": self.generator}
        if config.endpoints.judge is not None:
            self._by_name["judge"] = config.endpoints.judge
        for name, endpoint in self._by_name.items():
            api_key(name, endpoint, environment)
        self._cache = cache
        self._budget = budget
        self._environment = environment
        self._retry = retry
        self.usage = {name: no_usage(endpoint) for name, endpoint in self._by_name.items()}

    @property
    def in_flight(self) -> int:
        """Requests under way at a time, at all of them together."""
        return sum(endpoint.max_concurrency for endpoint in self._by_name.values())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[dict[str, Asker]]:
        """Clients by the endpoints' names, made in the running event loop and closed at the end."""

        def clients() -> Iterator[Client]:
            for name, endpoint in self._by_name.items():
                usage = self.usage[name]
                yield Client(name, endpoint, self._cache, self._budget, usage, self._environment, self._retry)

        async with opened(clients) as made:
            yield dict(zip(self._by_name, made, strict=True))

    def planners(self) -> dict[str, Planner]:
        return {name: Planner(each, self._cache) for name, each in self._by_name.items()}


def no_usage(endpoint: Endpoint) -> Usage:
    return Usage(money=None if endpoint.price is None else 0.0)


class Planner:
    """Sends nothing: answers from the cache, else as long as a reply may be, one letter a token, and counts."""

    def __init__(self, endpoint: Endpoint, cache: ReplyCache) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self.usage = no_usage(endpoint)

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        cached = self._cache.get(request_key(self._endpoint, plain(messages), schema, sample))
        if cached is not None:
            self.usage.cached += 1
            return cached
        definition = schema[1] if schema else None
        input_tokens = most_input_tokens(plain(messages), definition)
        output_tokens = self._endpoint.max_tokens
        self.usage.requests += 1
        self.usage.input_tokens += input_tokens
        self.usage.output_tokens += output_tokens
        if self.usage.money is not None:
            self.usage.money += cost(self._endpoint.price, input_tokens, output_tokens)
        if definition is None:
            return Reply(FILLER * output_tokens)
        return Reply(json.dumps(_as_long_as_can_be(definition, output_tokens)))


def _as_long_as_can_be(definition: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    types = {name: each["type"] for name, each in definition["properties"].items()}
    texts = sum(type_ == "string" for type_ in types.values())
    values = {"boolean": True, "integer": 1, "number": 1, "null": None}
    return {name: FILLER * (tokens // texts) if type_ == "string" else values[type_] for name, type_ in types.items()}

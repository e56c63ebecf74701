"""A language model as LangChain runnables, and the configured endpoints that both tasks write through."""

from __future__ import annotations

import asyncio
import string
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from finreg_cli.config import Config
from finreg_cli.llm.base import Reply, ReplyCache
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.endpoints import check
from finreg_cli.llm.estimating import Expectation, Planner, no_usage
from finreg_cli.llm.runner import Asker, Client, Retry, opened
from finreg_cli.llm.structured import Form, NamedSchema, Unreadable, read_text
from finreg_cli.llm.transport import RequestFailed

Value = TypeVar("Value")


class RowRejected(Exception):
    """A row can't go on; the message is its reason, ``name: detail``."""


class Prompt(Runnable[Mapping[str, Any], list[BaseMessage]]):
    """A text with ``{parameters}`` as one message from the user; a brace of the text itself is ``{{`` or ``}}``.

    ``prompt | model`` is one runnable. LangChain's own template and sequence would take 2 ms of processor time a
    request for callbacks that nobody listens to, which is most of what a request costs us.

    Raises:
        ValueError: the text is no template.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.input_variables = sorted(_parameters_in(text))

    def invoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **_: Any) -> list[BaseMessage]:
        return [HumanMessage(self._text.format_map(input))]

    def __or__(  # type: ignore[override]  # LangChain's takes any runnable; a prompt of ours is put to a model of ours
        self, other: Model[Value]
    ) -> Step[Value]:
        return Step(self, other)


def _parameters_in(text: str) -> Iterator[str]:
    """The parameters of a template, each name once or more.

    Raises:
        ValueError: a brace is not closed, or holds something else than a name.
    """
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"'{{{name}}}' is no parameter")
        yield name


class Model(Runnable[list[BaseMessage], Value], ABC):
    """Asks one endpoint; the sample number is taken from ``config["configurable"]["sample"]``."""

    def __init__(self, asker: Asker, schema: NamedSchema | None) -> None:
        self._asker = asker
        self._schema = schema

    def invoke(self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        return asyncio.run(self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        return await self.answer(input, _sample(config))

    @abstractmethod
    async def answer(self, messages: list[BaseMessage], sample: int) -> Value: ...

    async def _ask(self, messages: list[BaseMessage], sample: int) -> Reply:
        try:
            return await self._asker.ask(messages, self._schema, sample)
        except RequestFailed as failed:
            raise RowRejected(f"endpoint: {failed.message}") from failed


class Step(Runnable[Mapping[str, Any], Value]):
    """A prompt and the model that it is put to: what ``prompt | model`` gives."""

    def __init__(self, prompt: Prompt, model: Model[Value]) -> None:
        self._prompt = prompt
        self._model = model

    def invoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        return asyncio.run(self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Value:
        return await self._model.answer(self._prompt.invoke(input), _sample(config))


def _sample(config: RunnableConfig | None) -> int:
    sample: int = (config or {}).get("configurable", {}).get("sample", 0)
    return sample


class StructuredModel(Model[Value]):
    """Gives values of a form: asks, reads, and asks once more if it can't read.

    Raises:
        RowRejected: the second reply can't be read either, or a request failed for good.
    """

    def __init__(self, asker: Asker, form: Form[Value], repair: Prompt) -> None:
        super().__init__(asker, form.schema)
        self._form = form
        self._repair = repair

    async def answer(self, messages: list[BaseMessage], sample: int) -> Value:
        reply = await self._ask(messages, sample)
        try:
            return self._form.read(reply.text)
        except Unreadable as first:
            complaint = self._repair.invoke({"problem": _problem(first, reply), "keys": self._form.keys})
        again = await self._ask([*messages, AIMessage(reply.text), *complaint], sample)
        try:
            return self._form.read(again.text)
        except Unreadable as second:
            name = "unreadable_verdict" if self._form.is_verdict else "unreadable_reply"
            raise RowRejected(f"{name}: {_problem(second, again)}") from second


class TextModel(Model[str]):
    """Gives plain text. There is nothing to repair in one: it is whole, or it is of no use.

    Raises:
        RowRejected: the reply is empty or was cut off, or the request failed for good.
    """

    def __init__(self, asker: Asker) -> None:
        super().__init__(asker, None)

    async def answer(self, messages: list[BaseMessage], sample: int) -> str:
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
        expectation: what an estimate takes to be likely.

    Raises:
        ConfigError: see `endpoints.check`.
    """

    def __init__(
        self,
        config: Config,
        cache: ReplyCache,
        budget: Budget,
        environment: Mapping[str, str],
        retry: Retry,
        expectation: Expectation,
    ) -> None:
        if config.endpoints.generator is None:
            raise ValueError("writing needs endpoints.generator, which the configuration has checked")
        self.generator = config.endpoints.generator
        self._by_name = {"generator": self.generator}
        if config.endpoints.judge is not None:
            self._by_name["judge"] = config.endpoints.judge
        for name, endpoint in self._by_name.items():
            check(name, endpoint, environment)
        self._cache = cache
        self._budget = budget
        self._environment = environment
        self._retry = retry
        self._expectation = expectation
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
        return {name: Planner(each, self._cache, self._expectation) for name, each in self._by_name.items()}

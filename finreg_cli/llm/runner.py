"""Drives endpoints: who is asked when, what is retried, what is paid for, and when to stop.

A scheduler owns one task per item (`run_all`); a `Client` per endpoint limits the requests in flight, answers from the
cache, reserves in the budget before it sends, and retries what is transient only.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from finreg_cli.config import Endpoint
from finreg_cli.domain.identity import content_hash
from finreg_cli.errors import BudgetReached, EndpointError, FinregError
from finreg_cli.llm.base import Reply, ReplyCache, Usage
from finreg_cli.llm.budget import Budget, cost
from finreg_cli.llm.endpoints import OpenAIEndpoint, RequestFailed
from finreg_cli.llm.structured import NamedSchema

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Item = TypeVar("Item")
Result = TypeVar("Result")
Made = TypeVar("Made")
Worker = Callable[[Item], Awaitable[Result]]


class Asker(Protocol):
    """What a chain sees of a language model."""

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        """The reply to a conversation, in a JSON schema where there is one; ``sample`` tells equal questions apart.

        Raises:
            RequestFailed: this request got no usable reply; others may.
            BudgetReached: it was not sent, because it would overshoot.
            EndpointError: nothing succeeds.
        """


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a transient failure is tried again; delays in seconds.

    The delay doubles from ``first_delay`` on, is scattered over [1/2, 1] of that, and is never shorter than what the
    endpoint asked for (up to ``longest_delay``).
    """

    attempts: int = 6
    first_delay: float = 0.5
    longest_delay: float = 30.0

    def delay(self, attempt: int, asked: float | None) -> float:
        own = min(self.first_delay * 2.0 ** (attempt - 1), self.longest_delay) * random.uniform(0.5, 1)
        return max(own, min(asked or 0.0, self.longest_delay))


_FAILURES_WITHOUT_SUCCESS = 3
"""So many requests in a row given up before the first success, and the endpoint is taken to be unusable."""

_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_REQUEST = 32


def most_input_tokens(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any] | None = None) -> int:
    """No tokenizer makes more tokens of this: one for each byte in UTF-8, and some for the chat template.

    For English it is about four times what is used; the room is given back as soon as the endpoint reports its usage.
    """
    text = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in messages)
    return text + _TOKENS_PER_REQUEST + (len(str(schema).encode()) if schema else 0)


def plain(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """Messages as roles and text, for the cache's key and for counting."""
    roles = {"human": "user", "ai": "assistant"}
    return [{"role": roles.get(each.type, each.type), "content": str(each.text)} for each in messages]


class Client:
    """One endpoint of the configuration, metered: implements `Asker`.

    Until the first request has succeeded they go one by one, so that a refused key or an unknown model costs one
    request and an unknown parameter is learned once.

    Raises:
        ConfigError: the key's variable is not set.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        cache: ReplyCache,
        budget: Budget,
        usage: Usage,
        environment: Mapping[str, str],
        retry: Retry,
    ) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._budget = budget
        self._usage = usage
        self._retry = retry
        self._connection = OpenAIEndpoint(name, endpoint, environment)
        self._slots = asyncio.Semaphore(endpoint.max_concurrency)
        self._pilot = asyncio.Lock()
        self._succeeded = False
        self._given_up_in_a_row = 0
        self._unusable: EndpointError | None = None

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        key = request_key(self._endpoint, plain(messages), schema, sample)
        cached = self._cache.get(key)
        if cached is not None:
            self._usage.cached += 1
            return cached
        reply = await self._first_alone(messages, schema)
        self._cache.put(key, reply)
        return reply

    async def close(self) -> None:
        await self._connection.close()

    async def _first_alone(self, messages: Sequence[BaseMessage], schema: NamedSchema | None) -> Reply:
        if not self._succeeded:
            async with self._pilot:
                if not self._succeeded:
                    return await self._persist(messages, schema)
        return await self._persist(messages, schema)

    async def _persist(self, messages: Sequence[BaseMessage], schema: NamedSchema | None) -> Reply:
        attempt = 1
        while True:
            try:
                async with self._slots:
                    if self._unusable is not None:
                        raise self._unusable
                    reply = await self._send(messages, schema)
            except RequestFailed as failed:
                if failed.corrected:
                    continue
                if not failed.transient or attempt >= self._retry.attempts:
                    await self._give_up(failed)
                    raise
                delay = self._retry.delay(attempt, failed.retry_after)
            else:
                self._succeeded = True
                self._given_up_in_a_row = 0
                return reply
            await asyncio.sleep(delay)
            attempt += 1

    async def _send(self, messages: Sequence[BaseMessage], schema: NamedSchema | None) -> Reply:
        most_input = most_input_tokens(plain(messages), schema[1] if schema else None)
        room = await self._budget.reserve(most_input, self._endpoint.max_tokens, self._endpoint.price)
        self._usage.requests += 1
        try:
            reply = await self._connection.complete(messages, schema)
        except RequestFailed as failed:
            # What may have been computed stays reserved: better a budget that ends early than one that is overshot.
            self._charge(room.settle(None, None) if failed.maybe_charged else room.settle(0, 0))
            raise
        except asyncio.CancelledError:
            self._charge(room.settle(None, None))
            raise
        self._charge(room.settle(reply.input_tokens, reply.output_tokens))
        return reply

    def _charge(self, tokens: tuple[int, int]) -> None:
        input_tokens, output_tokens = tokens
        self._usage.input_tokens += input_tokens
        self._usage.output_tokens += output_tokens
        if self._endpoint.price is not None:
            spent = cost(self._endpoint.price, input_tokens, output_tokens)
            self._usage.money = (self._usage.money or 0.0) + spent

    async def _give_up(self, failed: RequestFailed) -> None:
        """Ends the run where nothing can succeed: see `EndpointError`. Otherwise only this request has failed."""
        self._given_up_in_a_row += 1
        patience = _FAILURES_WITHOUT_SUCCESS + (2 * self._endpoint.max_concurrency if self._succeeded else 0)
        if failed.endpoint_wide or self._given_up_in_a_row >= patience:
            self._unusable = await self._connection.failure(failed)
            raise self._unusable from failed


def request_key(
    endpoint: Endpoint, messages: Sequence[Mapping[str, str]], schema: NamedSchema | None, sample: int
) -> str:
    """The key of a request in the cache: everything that decides the reply, and nothing secret.

    Whether the endpoint is told the schema or only the prompt says it is left out: it is learned anew in each run.
    """
    parameters = {
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
        "schema": schema[1] if schema else None,
    }
    return content_hash(endpoint.provider, endpoint.base_url, endpoint.model, parameters, list(messages), sample)


@asynccontextmanager
async def opened(make: Callable[[], Iterable[Client]]) -> AsyncIterator[list[Client]]:
    """Clients made in the running event loop, and closed at the end."""
    async with AsyncExitStack() as stack:
        clients = []
        for client in make():
            stack.push_async_callback(client.close)
            clients.append(client)
        yield clients


def run_all(
    opening: Callable[[], AbstractAsyncContextManager[Worker[Item, Result]]], items: Iterable[Item], in_flight: int
) -> Generator[Result, None, None]:
    """Runs a worker over items, ``in_flight`` at a time, and yields the results as they come, in any order.

    The worker lives in an event loop on a thread of its own, so that requests go on while the caller works on a result.
    Items are taken in the caller's thread, a few ahead. When the generator is closed or interrupted, what is in flight
    is cancelled and the worker's resources are closed.

    Args:
        opening: opens the worker, in its loop.
        items: may be endless; at most ``2 * in_flight`` are held.
        in_flight: items under way at a time.

    Raises:
        FinregError: the first that a worker raised, after the results that were finished. With `BudgetReached`, items
            that are under way go on as far as they can pay.
    """
    with _on_a_thread(opening) as (start, worker):
        slots = asyncio.Semaphore(in_flight)

        async def one(item: Item) -> Result:
            async with slots:
                return await worker(item)

        finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
        pending: set[Future[Result]] = set()
        source = iter(items)
        stopped: FinregError | None = None
        while True:
            for item in islice(source, 2 * in_flight - len(pending)) if stopped is None else ():
                future = start(one(item))
                pending.add(future)
                future.add_done_callback(finished.put)
            if not pending:
                break
            future = finished.get()
            pending.remove(future)
            try:
                result = future.result()
            except CancelledError:
                continue
            except FinregError as error:
                stopped = stopped or error
                if not isinstance(error, BudgetReached):
                    for each in pending:
                        each.cancel()
                continue
            yield result
        if stopped is not None:
            raise stopped


class _Start(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, Made], /) -> Future[Made]:
        """Starts a coroutine in the loop, from another thread."""


@contextmanager
def _on_a_thread(opening: Callable[[], AbstractAsyncContextManager[Made]]) -> Iterator[tuple[_Start, Made]]:
    """An event loop on a thread of its own with a worker opened in it; at the end its tasks are cancelled first."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="finreg-requests", daemon=True)
    thread.start()

    def start(coroutine: Coroutine[Any, Any, Any], /) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    try:
        context = opening()
        worker = start(context.__aenter__()).result()
        try:
            yield start, worker
        finally:
            start(_cancel_all()).result()
            start(context.__aexit__(None, None, None)).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

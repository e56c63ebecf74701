"""Drives endpoints: who is asked when, what is retried, what is paid for, and when to stop.

A scheduler owns one task per item (`run_all`); a `Client` per endpoint paces the requests, answers from the cache,
reserves in the budget before it sends, and retries what is transient only.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import random
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from finreg_cli.config import Endpoint
from finreg_cli.domain.identity import content_hash
from finreg_cli.errors import BudgetReached, EndpointError, FinregError
from finreg_cli.llm.base import Reply, ReplyCache, Usage
from finreg_cli.llm.budget import Budget, Reservation, cost
from finreg_cli.llm.endpoints import MOST_CORRECTIONS, OpenAIEndpoint
from finreg_cli.llm.pacing import Pace, Turn, place
from finreg_cli.llm.structured import NamedSchema
from finreg_cli.llm.transport import RequestFailed

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Item = TypeVar("Item")
Result = TypeVar("Result")
Made = TypeVar("Made")
Worker = Callable[[Item], Awaitable[Result]]
Messages = Sequence[Mapping[str, str]]


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

    The delay doubles from ``first_delay`` on and is scattered over [1/2, 1] of that.

    Args:
        attempts: so often a request is sent at most; ``crowded_attempts`` while the endpoint has too much to do (status
            429, 503) but answers others: that is no fault of the request.
        lone_refusals: an endpoint that has too much to do so often in a row, asked for one thing at a time and more and
            more rarely, ends the run: two minutes with these delays.
        longest_asked: an endpoint that asks to be left alone for longer than this ends the run.
    """

    attempts: int = 6
    crowded_attempts: int = 60
    first_delay: float = 0.5
    longest_delay: float = 30.0
    lone_refusals: int = 10
    longest_asked: float = 600.0

    def delay(self, attempt: int) -> float:
        return min(self.first_delay * 2.0 ** min(attempt - 1, 30), self.longest_delay) * random.uniform(0.5, 1)


_FAILURES_WITHOUT_SUCCESS = 3
"""So many requests in a row given up before the first success, and the endpoint is taken to be unusable."""

_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_REQUEST = 32


def most_input_tokens(messages: Messages, schema: Mapping[str, Any] | None = None) -> int:
    """No tokenizer makes more tokens of this: one for each byte in UTF-8, and some for the chat template.

    For English it is about four times what is used; the room is given back as soon as the endpoint reports its usage.
    """
    text = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in messages)
    return text + _TOKENS_PER_REQUEST + (len(str(schema).encode()) if schema else 0)


def plain(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """Messages as roles and text, as they are sent and counted, and for the cache's key."""
    roles = {"human": "user", "ai": "assistant"}
    return [{"role": roles.get(each.type, each.type), "content": _text(each)} for each in messages]


def _text(message: BaseMessage) -> str:
    return message.content if isinstance(message.content, str) else str(message.text)


class Client:
    """One endpoint of the configuration, metered: implements `Asker`.

    Equal requests that are under way at the same time are sent once: the others wait for its reply, and count as
    answered from the cache. If there is none, each of them asks for itself, so that one bad reply touches no other row.

    Until the first request has succeeded they go one by one, so that a refused key or an unknown model costs one
    request and an unknown parameter is learned once.

    Raises:
        ConfigError: what the endpoint needs is not configured, or a variable is not set.
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
        self._pace = Pace(
            endpoint.max_concurrency,
            endpoint.requests_per_minute,
            endpoint.tokens_per_minute,
            retry.first_delay,
            retry.longest_delay,
        )
        self._under_way: dict[str, asyncio.Future[Reply | None]] = {}
        self._pilot = asyncio.Lock()
        self._successes = 0
        self._given_up_in_a_row = 0
        self._unusable: EndpointError | None = None

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        sent = plain(messages)
        key = request_key(self._endpoint, sent, schema, sample)
        found = await self._reply_under_way(key) or self._cache.get(key)
        if found is not None:
            self._usage.cached += 1
            return found
        return await self._pay(key, sent, schema)

    async def _reply_under_way(self, key: str) -> Reply | None:
        """The reply to an equal request; None where nobody asks for it now."""
        while (other := self._under_way.get(key)) is not None:
            # Shielded: who gives up waiting must not take the reply from the others.
            if (reply := await asyncio.shield(other)) is not None:
                return reply
        return None

    async def _pay(self, key: str, messages: Messages, schema: NamedSchema | None) -> Reply:
        """Asks the endpoint, and stores the reply before anybody sees it."""
        under_way = self._under_way[key] = asyncio.get_running_loop().create_future()
        stored = None
        try:
            reply = await self._first_alone(messages, schema)
            self._cache.put(key, reply)
            stored = reply
        finally:  # also when it is cancelled
            del self._under_way[key]
            under_way.set_result(stored)
        return reply

    async def close(self) -> None:
        await self._connection.close()

    async def _first_alone(self, messages: Messages, schema: NamedSchema | None) -> Reply:
        if not self._successes:
            async with self._pilot:
                if not self._successes:
                    return await self._persist(messages, schema)
        return await self._persist(messages, schema)

    async def _persist(self, messages: Messages, schema: NamedSchema | None) -> Reply:
        """Sends until there is a reply, or no hope."""
        most_input = most_input_tokens(messages, schema[1] if schema else None)
        attempts = crowded = corrections = 0
        successes = self._successes
        await self._connection.open()  # before the turn: what takes long must not stand between it and the request
        while True:
            async with self._pace.turn(most_input + self._endpoint.max_tokens) as turn:
                if self._unusable is not None:
                    raise self._unusable
                try:
                    reply = await self._send(turn, messages, schema, most_input)
                except RequestFailed as failed:
                    failure = failed
                else:
                    turn.succeeded()
                    self._successes += 1
                    self._given_up_in_a_row = 0
                    return reply
                if failure.throttled:
                    turn.throttled(failure.retry_after)
                    self._check_patience(failure)
            if failure.corrected and corrections < MOST_CORRECTIONS:
                corrections += 1
                continue
            if failure.throttled and self._successes > successes:
                crowded += 1
            else:
                attempts += 1
            if not failure.transient or attempts >= self._retry.attempts or crowded >= self._retry.crowded_attempts:
                await self._give_up(failure)
                raise failure
            successes = self._successes
            await asyncio.sleep(self._retry.delay(attempts + crowded))

    async def _send(self, turn: Turn, messages: Messages, schema: NamedSchema | None, most_input: int) -> Reply:
        room = await self._budget.reserve(most_input, self._endpoint.max_tokens, self._endpoint.price)
        self._usage.requests += 1
        turn.sent()
        try:
            reply = await self._connection.complete(messages, schema)
        except RequestFailed as failed:
            # What may have been computed stays reserved: better a budget that ends early than one that is overshot.
            used = None if failed.maybe_charged else 0
            self._charge(turn, room, used, used)
            raise
        except FinregError:  # the provider had nothing to show for us
            self._charge(turn, room, 0, 0)
            raise
        except BaseException:
            self._charge(turn, room, None, None)
            raise
        self._charge(turn, room, reply.input_tokens, reply.output_tokens)
        return reply

    def _charge(self, turn: Turn, room: Reservation, input_tokens: int | None, output_tokens: int | None) -> None:
        used_input, used_output = room.settle(input_tokens, output_tokens)
        turn.used(used_input + used_output)
        self._usage.input_tokens += used_input
        self._usage.output_tokens += used_output
        if self._endpoint.price is not None:
            spent = cost(self._endpoint.price, used_input, used_output)
            self._usage.money = (self._usage.money or 0.0) + spent

    def _check_patience(self, failed: RequestFailed) -> None:
        """Makes what is more than we wait for the end of the run."""
        if self._pace.refused_alone >= self._retry.lone_refusals:
            failed.transient, failed.endpoint_wide = False, True
        seconds = failed.retry_after or 0.0
        if seconds > self._retry.longest_asked:
            failed.transient, failed.endpoint_wide = False, True
            then = datetime.now() + timedelta(seconds=seconds)
            failed.message += f" (it asks to be left alone for {seconds:.0f} s)"
            failed.remedy = f"run the same command again after {then:%H:%M on %d %B}; what was paid for is kept"

    async def _give_up(self, failed: RequestFailed) -> None:
        """Ends the run where nothing can succeed: see `EndpointError`. Otherwise only this request has failed."""
        self._given_up_in_a_row += 1
        patience = _FAILURES_WITHOUT_SUCCESS + (2 * self._endpoint.max_concurrency if self._successes else 0)
        if not self._successes and failed.status is None and not failed.maybe_charged:
            patience = 1  # nobody was ever reached there, and another request would find nobody either
        if failed.endpoint_wide or self._given_up_in_a_row >= patience:
            self._unusable = self._unusable or await self._connection.failure(failed)
            raise self._unusable from failed


def request_key(endpoint: Endpoint, messages: Messages, schema: NamedSchema | None, sample: int) -> str:
    """The key of a request in the cache: everything that decides the reply, and nothing secret.

    Whether the endpoint is told the schema or only the prompt says it is left out: it is learned anew in each run.
    """
    parameters = {
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
        "schema": schema[1] if schema else None,
    }
    model = endpoint.model
    if endpoint.provider == "embedded":
        from finreg_cli.llm.served import fingerprint

        model = fingerprint(model)  # another file may stand under the same path
    # A profile is a workspace, and another one's endpoint of the same name may be another model.
    where = endpoint.base_url if endpoint.profile is None else f"profile {endpoint.profile}"
    return content_hash(endpoint.provider, where, model, parameters, list(messages), sample)


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
    """Runs a worker over items and yields the results as they come, in any order.

    The worker lives in an event loop on a thread of its own, so that requests go on while the caller works on a result.
    Items are taken in the caller's thread. When the generator is closed or interrupted, what is in flight is cancelled
    and the worker's resources are closed.

    Args:
        opening: opens the worker, in its loop.
        items: may be endless.
        in_flight: requests that the worker sends at a time. Up to twice as many items are under way, so that there is
            always one that wants to send: an item that is between two of its requests leaves no gap. As many again are
            taken in advance, so that the line does not run dry while the caller is busy with a result.

    Raises:
        FinregError: the first that a worker raised, after the results that were finished. With `BudgetReached`, items
            that are under way go on as far as they can pay.
    """
    with _rare_collections(), _on_a_thread(opening, 2 * in_flight) as (thread, worker):
        finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
        source = enumerate(items)
        taken = 0
        stopped: FinregError | None = None
        while True:
            for number, item in islice(source, 4 * in_flight - taken) if stopped is None else ():
                taken += 1
                thread.add(partial(_in_place, number, worker, item), finished.put)
            if not taken:
                break
            outcome = finished.get()
            taken -= 1
            try:
                result = outcome.result()
            except CancelledError:
                continue
            except FinregError as error:
                stopped = stopped or error
                taken -= thread.withdraw()
                if not isinstance(error, BudgetReached):
                    thread.cancel()
                continue
            yield result
        if stopped is not None:
            raise stopped


_COLLECTION_THRESHOLDS = (20_000, 10, 10)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Lets Python look for cyclic garbage more rarely, and not among what stands there already.

    Hundreds of thousands of objects belong to the modules that are loaded, and none of them is garbage. Looking through
    them again and again, and after every 700 new objects at those, took a fifth of the processor time of a request.
    """
    thresholds, freezes = gc.get_threshold(), not gc.get_freeze_count()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if freezes:
            gc.unfreeze()


async def _in_place(number: int, worker: Worker[Item, Result], item: Item) -> Result:
    place.set(number)
    return await worker(item)


class _LoopThread:
    """An event loop on a thread of its own, which works at up to ``most`` of the coroutine functions that are added.

    No coroutine is made outside of that thread: Ctrl-C may strike the caller between making a coroutine and handing it
    over, and it would never be awaited.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._working = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="finreg-requests", daemon=True)
        self._thread.start()

    def add(self, function: Callable[[], Awaitable[Made]], done: Callable[[Future[Made]], object]) -> None:
        """Works at a coroutine function when it is its turn; ``done`` is called with its outcome, in the loop's thread.

        It needs no other thread to be begun: whoever added it may be busy by then. After the first that fails, none is.
        """

        def ended(outcome: Future[Made]) -> None:
            self._working -= 1
            if outcome.cancelled() or outcome.exception() is not None:
                self._most = 0
            done(outcome)
            self._fill()

        self._waiting.append(partial(self._start, function, ended))
        self._loop.call_soon_threadsafe(self._fill)

    def withdraw(self) -> int:
        """Takes back what was added and is not begun; says how many that were."""
        withdrawn = 0
        with suppress(IndexError):  # none is left: meanwhile the loop's thread takes some, too
            while True:
                self._waiting.pop()
                withdrawn += 1
        return withdrawn

    def call(self, function: Callable[[], Awaitable[Made]]) -> Made:
        """What a coroutine function returns."""
        done: queue.SimpleQueue[Future[Made]] = queue.SimpleQueue()
        self._loop.call_soon_threadsafe(self._start, function, done.put)
        return done.get().result()

    def cancel(self) -> None:
        """Cancels all that was begun and is not done, without waiting for it."""
        self._loop.call_soon_threadsafe(self._cancel)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def cancelled(self) -> None:
        """Cancels all others that were begun, and waits until they have ended; what was added is forgotten."""
        self._waiting.clear()
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _fill(self) -> None:
        with suppress(IndexError):  # none is waiting
            while self._working < self._most:
                start = self._waiting.popleft()
                self._working += 1
                start()

    def _start(self, function: Callable[[], Awaitable[Made]], done: Callable[[Future[Made]], object]) -> None:
        async def awaited() -> Made:
            return await function()

        def end(task: asyncio.Task[Made]) -> None:
            self._tasks.discard(task)
            done(_outcome(task))

        task = self._loop.create_task(awaited())
        self._tasks.add(task)
        task.add_done_callback(end)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


def _outcome(task: asyncio.Task[Made]) -> Future[Made]:
    """What became of a task that is done; the task itself stays in the thread of its loop, also when it is freed."""
    outcome: Future[Made] = Future()
    if task.cancelled():
        outcome.cancel()
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
    return outcome


@contextmanager
def _on_a_thread(
    opening: Callable[[], AbstractAsyncContextManager[Made]], most: int
) -> Iterator[tuple[_LoopThread, Made]]:
    """A loop with a worker opened in it; at the end what it has started is cancelled before the worker is closed."""
    thread = _LoopThread(most)
    try:
        context = opening()
        worker = thread.call(context.__aenter__)
        try:
            yield thread, worker
        finally:
            thread.call(thread.cancelled)
            thread.call(partial(context.__aexit__, None, None, None))
    finally:
        thread.end()

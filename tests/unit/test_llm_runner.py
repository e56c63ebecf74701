"""The runner over real HTTP: pace, patience, limits, and what Ctrl-C leaves behind."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from fakes.openai_server import FakeOpenAI
from finreg_cli import config
from finreg_cli.config import Endpoint
from finreg_cli.errors import EndpointError
from finreg_cli.llm.base import Usage
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.runner import Client, Retry, opened, run_all
from finreg_cli.llm.transport import RequestFailed

QUICK = Retry(attempts=3, first_delay=0.01, longest_delay=0.05)


def ask_all(
    server: FakeOpenAI, cache: RequestCache, count: int, retry: Retry = QUICK, **settings: Any
) -> list[str | RequestFailed]:
    """The outcome of each of ``count`` different requests, in any order."""
    configured = Endpoint.model_validate({"model": "fake", "base_url": server.url, **settings})

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[int], Any]]:
        def client() -> Iterator[Client]:
            yield Client("generator", configured, cache, Budget(config.Budget()), Usage(), {}, retry)

        async with opened(client) as (asker,):

            async def ask(number: int) -> str | RequestFailed:
                try:
                    return (await asker.ask([HumanMessage(f"question {number}.")], None, 0)).text
                except RequestFailed as failed:
                    return failed

            yield ask

    return list(run_all(opening, range(count), configured.max_concurrency))


def test_overload_is_waited_out_however_long_while_others_are_answered(server: FakeOpenAI, cache: RequestCache) -> None:
    server.fail("429", when=lambda prompt: len(server.requests) % 4 != 1)
    patient = Retry(attempts=4, first_delay=0.01, longest_delay=0.05)
    assert ask_all(server, cache, 20, patient, max_concurrency=4) == ["ready"] * 20
    assert len(server.requests) == 4 * 20 - 3


def test_a_request_that_alone_is_always_refused_is_given_up(server: FakeOpenAI, cache: RequestCache) -> None:
    server.fail("503", when=lambda prompt: "question 5." in prompt)
    outcomes = ask_all(
        server,
        cache,
        20,
        Retry(attempts=3, crowded_attempts=6, first_delay=0.01, longest_delay=0.05),
        max_concurrency=4,
    )
    (failed,) = [each for each in outcomes if isinstance(each, RequestFailed)]
    assert failed.message == "HTTP 503: the server was told to fail"
    assert len(server.requests) <= 19 + 3 + 6


def test_an_endpoint_that_only_refuses_from_now_on_ends_the_run_soon(server: FakeOpenAI, cache: RequestCache) -> None:
    server.fail("503", when=lambda prompt: server.served >= 30)
    with pytest.raises(EndpointError, match="HTTP 503"):
        ask_all(server, cache, 500, max_concurrency=16)
    assert 30 < len(server.requests) < 30 + 16 + 16 + QUICK.lone_refusals + 10


def test_what_one_refusal_asks_for_holds_for_all(server: FakeOpenAI, cache: RequestCache) -> None:
    server.latency = 0.02
    server.fail("429", when=lambda prompt: "question 8." in prompt, times=1, retry_after=1.0)
    ask_all(server, cache, 40, max_concurrency=4)
    times = [each.at for each in server.requests]
    refused = next(each.at for each in server.requests if each.status == 429)
    pause = next(at for at in times if at > refused + 0.2)
    assert pause - refused >= 0.95
    # Those that were under way went on, and nobody else.
    assert sum(refused < at < pause for at in times) <= 8


def test_a_wait_that_is_too_long_ends_the_run_and_says_until_when(server: FakeOpenAI, cache: RequestCache) -> None:
    server.fail("429", retry_after=7200)
    with pytest.raises(EndpointError, match=r"HTTP 429: .*to be left alone for 7200 s") as caught:
        ask_all(server, cache, 20)
    assert caught.value.remedy.startswith("run the same command again after ")
    assert len(server.requests) == 1


def test_an_endpoint_that_refuses_every_parameter_is_not_asked_for_ever(cache: RequestCache) -> None:
    with FakeOpenAI(unknown_parameters=("max_tokens", "max_completion_tokens", "temperature")) as server:
        with pytest.raises(EndpointError, match="HTTP 400"):
            ask_all(server, cache, 20, max_concurrency=4)
        assert len(server.requests) < 40


def test_more_work_is_under_way_than_requests_in_flight(cache: RequestCache) -> None:
    with FakeOpenAI(latency=0.02) as server:
        assert ask_all(server, cache, 40, max_concurrency=5) == ["ready"] * 40
        assert server.most_in_flight == 5


def test_a_limit_per_minute_holds_over_http(
    server: FakeOpenAI, cache: RequestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finreg_cli.llm.pacing.MINUTE", 0.6)
    monkeypatch.setattr("finreg_cli.llm.pacing._MARGIN", 0.2)
    ask_all(server, cache, 25, max_concurrency=16, requests_per_minute=10)
    times = [each.at for each in server.requests]
    assert all(later - earlier >= 0.6 for earlier, later in zip(times, times[10:], strict=False))


@pytest.mark.slow
def test_a_limit_per_minute_holds_for_a_whole_minute(server: FakeOpenAI, cache: RequestCache) -> None:
    ask_all(server, cache, 30, max_concurrency=16, requests_per_minute=20)
    times = [each.at for each in server.requests]
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[20:], strict=False))


# --- equal requests at the same time ---


class Same:
    """A client of the fake server, asked the same question by several at once; ``usage`` is the client's."""

    def __init__(self, server: FakeOpenAI, cache: RequestCache, limits: config.Budget | None = None) -> None:
        self.usage = Usage()
        self.budget = Budget(limits or config.Budget())
        self._server = server
        self._configured = Endpoint(model="fake", base_url=server.url, max_concurrency=8)
        self._cache = cache

    async def ask(self, times: int, cancel: int = 0) -> list[Any]:
        """The outcomes, in order; the first ``cancel`` askers are cancelled while the request is on its way."""
        client = Client("generator", self._configured, self._cache, self.budget, self.usage, {}, QUICK)
        try:
            asked = [
                asyncio.create_task(client.ask([HumanMessage("Who asks the same?")], None, 0)) for _ in range(times)
            ]
            if cancel:
                while not self._server.requests:
                    await asyncio.sleep(0.001)
                for task in asked[:cancel]:
                    task.cancel()
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await client.close()


def test_equal_requests_at_the_same_time_are_paid_once(cache: RequestCache) -> None:
    with FakeOpenAI(latency=0.05) as server:
        same = Same(server, cache, config.Budget(requests=1))  # a second one would be refused
        outcomes = asyncio.run(same.ask(5))
        assert len(server.requests) == 1
    assert [outcome.text for outcome in outcomes] == ["ready"] * 5
    assert (same.usage.requests, same.usage.cached) == (1, 4)
    assert same.usage.input_tokens == server.requests[0].prompt_tokens
    assert same.budget.used.requests == 1
    assert same.budget.used.tokens == server.requests[0].tokens


def test_a_request_that_is_given_up_is_asked_again_by_each_of_the_others(cache: RequestCache) -> None:
    with FakeOpenAI(latency=0.02) as server:
        server.fail("400", times=1)
        outcomes = asyncio.run(Same(server, cache).ask(3))
        assert isinstance(outcomes[0], RequestFailed)
        assert [outcome.text for outcome in outcomes[1:]] == ["ready"] * 2
        assert len(server.requests) == 2


def test_who_stops_waiting_takes_the_reply_from_nobody(cache: RequestCache) -> None:
    with FakeOpenAI(latency=0.1) as server:
        outcomes = asyncio.run(Same(server, cache).ask(4, cancel=2))  # the one that sent it, and one that waits for it
        assert [type(outcome) for outcome in outcomes[:2]] == [asyncio.CancelledError] * 2
        assert [outcome.text for outcome in outcomes[2:]] == ["ready"] * 2
        assert len(server.requests) == 2


# --- run_all ---


@asynccontextmanager
async def sleeper() -> AsyncIterator[Callable[[int], Any]]:
    async def work(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return number

    yield work


def test_results_come_as_they_are_finished_and_none_is_lost() -> None:
    assert sorted(run_all(sleeper, range(200), 7)) == list(range(200))


def test_work_goes_on_while_the_caller_is_busy_with_a_result() -> None:
    begun = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[int], Any]]:
        async def work(number: int) -> int:
            begun.append(number)
            await asyncio.sleep(0.001)
            return number

        yield work

    results = run_all(opening, range(1_000), 5)
    next(results)
    deadline = time.monotonic() + 10
    while len(begun) < 4 * 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # Ten were under way, and as many again were taken before the caller got its result; nothing was taken since.
    assert len(begun) == 4 * 5
    results.close()


def test_nothing_is_begun_after_an_error_however_late_the_caller_hears_of_it() -> None:
    begun = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[int], Any]]:
        async def work(number: int) -> int:
            begun.append(number)
            if number == 3:
                raise EndpointError("it is gone", "start it again")
            await asyncio.sleep(0.05)
            return number

        yield work

    def slowly(result: int) -> int:
        time.sleep(0.2)
        return result

    with pytest.raises(EndpointError, match="it is gone"):
        list(map(slowly, run_all(opening, range(1_000), 2)))
    assert begun == [0, 1, 2, 3]


def test_garbage_is_collected_as_before_when_it_has_ended() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    results = run_all(sleeper, range(50), 4)
    next(results)
    assert gc.get_threshold() != before[0]
    results.close()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timer")
def test_ctrl_c_at_any_moment_leaves_no_coroutine_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ctrl-C within a finaliser is Python's to swallow; a coroutine that was never awaited would be ours.
    unraisable: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: unraisable.append(str(each.exc_value)))
    chance = random.Random(3)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(60):
            results = run_all(sleeper, range(2_000), 8)
            next(results)
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.02))
            with suppress(KeyboardInterrupt):
                for _ in results:
                    pass
            results.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not [each for each in unraisable if "never awaited" in each]
    deadline = time.monotonic() + 10
    while any(thread.name == "finreg-requests" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "finreg-requests"]


def test_an_error_of_the_workers_own_ends_the_run_and_closes_it() -> None:
    closed = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[int], Any]]:
        async def work(number: int) -> int:
            if number == 3:
                raise ZeroDivisionError("a mistake")
            await asyncio.sleep(0.01)
            return number

        try:
            yield work
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        list(run_all(opening, range(100), 4))
    assert closed == [True]


def test_where_nobody_was_ever_reached_one_request_is_patience_enough(tmp_path: Path) -> None:
    usage = Usage()
    with socket.socket() as unused, RequestCache(tmp_path / "requests.sqlite") as cache:
        unused.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        configured = Endpoint(model="m", base_url=url)

        async def ask() -> None:
            client = Client("generator", configured, cache, Budget(config.Budget()), usage, {}, QUICK)
            try:
                await client.ask([HumanMessage("Is anybody there?")], None, 0)
            finally:
                await client.close()

        with pytest.raises(EndpointError, match="no connection"):
            asyncio.run(ask())
    assert usage.requests == QUICK.attempts

"""The pace of an endpoint, on a clock that only moves when everybody waits."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from finreg_cli.llm.pacing import InFlight, Pace, Turn, place

Made = TypeVar("Made")


class _Selector(selectors.DefaultSelector):
    """Does not wait: tells the time that would have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._fake = _Selector()
        super().__init__(self._fake)

    def time(self) -> float:
        return self._fake.now


def run(work: Coroutine[Any, Any, Made]) -> Made:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


def most_in_any_minute(sent: list[tuple[float, int]]) -> int:
    return max(sum(amount for at, amount in sent if begin <= at < begin + 60) for begin, _ in sent)


# --- in flight ---


def test_one_overload_halves_once_however_many_were_refused() -> None:
    in_flight = InFlight(64)
    in_flight.now = 64
    refused = [in_flight.throttled(period=0) for _ in range(64)]
    assert refused == [True] + [False] * 63
    assert in_flight.limit == 32


def test_the_next_round_trip_halves_again_down_to_one() -> None:
    in_flight = InFlight(8)
    limits = []
    for _ in range(5):
        in_flight.now = in_flight.limit
        in_flight.throttled(in_flight.period)
        limits.append(in_flight.limit)
    assert limits == [4, 2, 1, 1, 1]


def test_what_is_really_in_flight_is_halved() -> None:
    in_flight = InFlight(64)
    in_flight.now = 10
    in_flight.throttled(0)
    assert in_flight.limit == 5


def round_trip(in_flight: InFlight) -> None:
    period = in_flight.period
    for _ in range(in_flight.limit):
        in_flight.succeeded(period)


def test_each_quiet_round_trip_adds_twice_as_many_up_to_the_most() -> None:
    in_flight = InFlight(64)
    in_flight.now = 2
    in_flight.throttled(0)
    limits = []
    for _ in range(8):
        round_trip(in_flight)
        limits.append(in_flight.limit)
    assert limits == [2, 4, 8, 16, 32, 64, 64, 64]


def test_successes_that_were_sent_before_the_overload_do_not_grow_it() -> None:
    in_flight = InFlight(8)
    in_flight.now = 8
    before = in_flight.period
    in_flight.throttled(before)
    for _ in range(20):
        in_flight.succeeded(before)
    assert in_flight.limit == 4


def test_a_refusal_of_a_request_from_before_the_growth_still_counts() -> None:
    in_flight = InFlight(64)
    in_flight.now = 16
    in_flight.throttled(0)
    sent_in = in_flight.period
    round_trip(in_flight)
    in_flight.now = in_flight.limit
    assert in_flight.throttled(sent_in)


class Server:
    """Answers after ``latency`` seconds; with more than ``stands`` requests at a time it refuses the others."""

    def __init__(self, stands: int, latency: float = 0.2) -> None:
        self.stands = stands
        self.latency = latency
        self.now = 0
        self.finished: list[float] = []
        self.refused: list[float] = []

    async def asked(self, turn: Turn) -> bool:
        turn.sent()
        if self.now >= self.stands:
            await asyncio.sleep(self.latency / 10)
            self.refused.append(now())
            turn.throttled(None)
            return False
        self.now += 1
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.now -= 1
        self.finished.append(now())
        turn.succeeded()
        return True


async def ask_until(pace: Pace, server: Server, end: float) -> None:
    while now() < end:
        async with pace.turn(1) as turn:
            answered = await server.asked(turn)
        if not answered:
            await asyncio.sleep(0.5)


def test_an_endpoint_that_stands_few_is_asked_near_its_limit_and_recovers_when_it_stands_more() -> None:
    async def work() -> tuple[float, float, int]:
        pace, server = Pace(64, None, None), Server(stands=16)
        tasks = [asyncio.create_task(ask_until(pace, server, 60)) for _ in range(128)]
        await asyncio.sleep(30)
        crowded = sum(10 <= at < 30 for at in server.finished) / 20
        refused = sum(10 <= at < 30 for at in server.refused)
        server.stands = 1000
        await asyncio.gather(*tasks)
        free = sum(35 <= at < 60 for at in server.finished) / 25
        return crowded, free, refused

    crowded, free, refused = run(work())
    assert crowded > 0.5 * 16 / 0.2
    assert refused < 0.25 * crowded * 20
    assert free == pytest.approx(64 / 0.2, rel=0.02)


def test_with_faults_that_have_nothing_to_do_with_load_it_recovers_within_seconds() -> None:
    async def work() -> tuple[float, float]:
        chance = random.Random(7)
        pace, finished = Pace(256, None, None), []

        async def ask() -> None:
            while now() < 40:
                async with pace.turn(1) as turn:
                    turn.sent()
                    await asyncio.sleep(0.2)
                    if now() < 20 and chance.random() < 0.3:
                        turn.throttled(None)
                    else:
                        turn.succeeded()
                        finished.append(now())

        await asyncio.gather(*(ask() for _ in range(512)))
        recovered = next(at for at in range(20, 40) if sum(at <= done < at + 1 for done in finished) >= 0.9 * 256 / 0.2)
        return recovered, sum(done < 20 for done in finished) / 20

    recovered, during = run(work())
    assert recovered <= 24
    assert during > 1


def test_what_the_endpoint_asks_for_holds_for_all_requests() -> None:
    async def work() -> list[float]:
        pace, sent = Pace(8, None, None), []

        async def ask(retry_after: float | None) -> None:
            async with pace.turn(1) as turn:
                turn.sent()
                sent.append(now())
                await asyncio.sleep(1)
                if retry_after is not None:
                    turn.throttled(retry_after)

        await ask(30)
        await asyncio.gather(*(ask(None) for _ in range(3)))
        return sent

    first, *others = run(work())
    assert (first, min(others)) == (0, 31)


def test_one_in_flight_and_still_too_much_makes_the_requests_rarer() -> None:
    async def work() -> list[float]:
        pace, sent = Pace(1, None, None), []
        for _ in range(6):
            async with pace.turn(1) as turn:
                turn.sent()
                sent.append(now())
                turn.throttled(None)
        return sent

    assert run(work()) == [0, 0.5, 1.5, 3.5, 7.5, 15.5]


# --- per minute ---


def send_all(pace: Pace, amounts: list[int], latency: Callable[[], float], used: Callable[[int], int]) -> list[Any]:
    async def work() -> list[tuple[float, int]]:
        sent = []

        async def ask(amount: int) -> None:
            async with pace.turn(amount) as turn:
                turn.sent()
                at = now()
                await asyncio.sleep(latency())
                turn.succeeded()
                turn.used(used(amount))
                sent.append((at, used(amount)))

        await asyncio.gather(*(ask(amount) for amount in amounts))
        return sent

    return run(work())


@pytest.mark.parametrize("seed", range(3))
def test_no_minute_has_more_requests_than_allowed(seed: int) -> None:
    chance = random.Random(seed)
    sent = send_all(Pace(16, 50, None), [1] * 300, lambda: chance.uniform(0.1, 20), lambda amount: 1)
    assert len(sent) == 300
    assert most_in_any_minute(sent) == 50
    assert max(at for at, _ in sent) < 6 * 61 + 60


@pytest.mark.parametrize("seed", range(3))
def test_no_minute_has_more_tokens_than_allowed(seed: int) -> None:
    chance = random.Random(seed)
    amounts = [chance.randint(100, 2000) for _ in range(200)]
    sent = send_all(Pace(16, None, 10_000), amounts, lambda: chance.uniform(0.1, 5), lambda amount: amount // 3)
    assert sum(used for _, used in sent) == sum(amount // 3 for amount in amounts)
    assert 7_000 < most_in_any_minute(sent) <= 10_000
    # What was not used is given back: reserving alone would have taken three times as long.
    assert max(at for at, _ in sent) < sum(amounts) / 10_000 * 61 * 0.6


def test_a_request_larger_than_the_limit_goes_alone() -> None:
    sent = send_all(Pace(16, None, 100), [500, 500], lambda: 1.0, lambda amount: 100)
    assert [at for at, _ in sent] == [0, 61]


def test_a_turn_that_is_not_used_is_given_back() -> None:
    async def work() -> float:
        pace = Pace(1, 1, 100)
        async with pace.turn(100):
            pass
        async with pace.turn(100) as turn:
            turn.sent()
        return now()

    assert run(work()) == 0


def test_a_cancelled_wait_keeps_nobody_waiting() -> None:
    async def work() -> float:
        pace = Pace(1, None, None)

        async def hold() -> None:
            async with pace.turn(1):
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()  # it waits
        tasks[0].cancel()  # it is in flight; the third is admitted in its place, and cancelled in the same moment
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert pace.in_flight.now == 0
        return now()

    assert run(work()) == 1.5


def test_what_was_begun_first_goes_first() -> None:
    async def work() -> list[int]:
        pace, order = Pace(1, None, None), []

        async def ask(number: int) -> None:
            place.set(number)
            async with pace.turn(1) as turn:
                turn.sent()
                order.append(number)
                await asyncio.sleep(1)

        async with pace.turn(1):
            tasks = [asyncio.create_task(ask(number)) for number in (5, 3, 4, 1)]
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)
        return order

    assert run(work()) == [1, 3, 4, 5]

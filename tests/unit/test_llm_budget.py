"""The budget is never overshot, however many requests are in flight, and gives back what was not used."""

from __future__ import annotations

import asyncio
import random

import pytest

from finreg_cli import config
from finreg_cli.errors import BudgetReached
from finreg_cli.llm.budget import Budget, Spent, cost

PRICE = config.Price(input=1.0, output=10.0)


def test_cost_is_per_million_tokens() -> None:
    assert cost(PRICE, 2_000_000, 100_000) == pytest.approx(3.0)
    assert cost(None, 2_000_000, 100_000) == 0


def test_without_limits_everything_fits_and_is_counted() -> None:
    async def run() -> Spent:
        budget = Budget(config.Budget())
        (await budget.reserve(1_000_000, 1_000_000, PRICE)).settle(100_000, 200_000)
        return budget.used

    assert asyncio.run(run()) == Spent(1, 300_000, pytest.approx(2.1))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"requests": 1}, "budget.requests is 1: 1 used, and the next request may need 1"),
        ({"tokens": 100}, "budget.tokens is 100: 60 used, and the next request may need 60"),
        ({"money": 0.0005}, "budget.money is 0.0005: 0.00033 used, and the next request may need 0.00033"),
    ],
)
def test_each_limit_ends_the_run_and_is_named(limits: dict[str, float], said: str) -> None:
    async def run() -> None:
        budget = Budget(config.Budget.model_validate(limits))
        for _ in range(2):
            (await budget.reserve(30, 30, PRICE)).settle(30, 30)

    with pytest.raises(BudgetReached) as caught:
        asyncio.run(run())
    assert caught.value.message == said
    (limit,) = limits
    assert f"--set budget.{limit}=" in caught.value.remedy


def test_a_reservation_waits_for_what_others_give_back() -> None:
    async def run() -> list[str]:
        order = []
        budget = Budget(config.Budget(tokens=100))
        first = await budget.reserve(40, 40, None)

        async def second() -> None:
            (await budget.reserve(40, 40, None)).settle(10, 10)
            order.append("second")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.01)
        order.append("first")
        first.settle(10, 10)
        await waiting
        assert budget.used == Spent(2, 40, 0)
        return order

    assert asyncio.run(run()) == ["first", "second"]


def test_a_waiting_reservation_is_refused_when_nothing_is_given_back() -> None:
    async def run() -> None:
        budget = Budget(config.Budget(tokens=100))
        first = await budget.reserve(40, 40, None)
        waiting = asyncio.create_task(budget.reserve(40, 40, None))
        await asyncio.sleep(0.01)
        first.settle(None, None)
        with pytest.raises(BudgetReached, match="80 used"):
            await waiting

    asyncio.run(run())


def test_no_usage_reported_keeps_the_whole_reservation() -> None:
    async def run() -> Spent:
        budget = Budget(config.Budget(tokens=100))
        assert (await budget.reserve(40, 30, None)).settle(None, None) == (40, 30)
        return budget.used

    assert asyncio.run(run()) == Spent(1, 70, 0)


def test_a_reservation_is_settled_once() -> None:
    async def run() -> None:
        room = await Budget(config.Budget()).reserve(1, 1, None)
        room.settle(1, 1)
        room.settle(1, 1)

    with pytest.raises(RuntimeError, match="only once"):
        asyncio.run(run())


@pytest.mark.parametrize("seed", range(5))
def test_with_many_in_flight_no_limit_is_overshot(seed: int) -> None:
    chance = random.Random(seed)
    limits = config.Budget(requests=70, tokens=20_000, money=0.05)

    async def request(budget: Budget) -> bool:
        most_input, most_output = chance.randint(50, 400), chance.randint(50, 400)
        try:
            room = await budget.reserve(most_input, most_output, PRICE)
        except BudgetReached:
            return False
        await asyncio.sleep(chance.random() / 1000)
        room.settle(chance.randint(0, most_input), chance.randint(0, most_output))
        return True

    async def run_and_count() -> tuple[Spent, int]:
        budget = Budget(limits)
        sent = await asyncio.gather(*(request(budget) for _ in range(200)))
        return budget.used, sum(sent)

    used, sent = asyncio.run(run_and_count())
    assert used.requests == sent
    assert 0 < sent < 200
    assert used.requests <= 70
    assert used.tokens <= 20_000
    assert used.money <= 0.05 + 1e-9

"""The budget: what a request may cost at most is reserved before it is sent, so that the sum never overshoots."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from finreg_cli import config
from finreg_cli.errors import BudgetReached

TOKENS_PER_PRICE = 1_000_000
_EPSILON = 1e-9


def cost(price: config.Price | None, input_tokens: int, output_tokens: int) -> float:
    """What so many tokens cost, in the currency of the price; 0 without a price."""
    if price is None:
        return 0.0
    return (price.input * input_tokens + price.output * output_tokens) / TOKENS_PER_PRICE


@dataclass
class Spent:
    """An amount of each of the three things that a budget limits."""

    requests: int = 0
    tokens: int = 0
    money: float = 0.0


@dataclass
class Reservation:
    """Room for one request. It must be settled exactly once; an unsettled one keeps its room for good."""

    budget: Budget
    price: config.Price | None
    input_tokens: int
    output_tokens: int
    settled: bool = field(default=False, init=False)

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> tuple[int, int]:
        """Replaces the reserved tokens by those that the endpoint reported; None (keep them) where it reported none.

        Returns:
            The input and output tokens that are counted as used.
        """
        actual_input = self.input_tokens if input_tokens is None else input_tokens
        actual_output = self.output_tokens if output_tokens is None else output_tokens
        self.budget._settle(self, actual_input, actual_output)
        return actual_input, actual_output

    @property
    def most(self) -> Spent:
        tokens = self.input_tokens + self.output_tokens
        return Spent(1, tokens, cost(self.price, self.input_tokens, self.output_tokens))


class Budget:
    """``budget`` of the configuration, over all stages of a command.

    Every request that is sent counts, failed ones too; replies from the cache cost nothing. Tokens and money are exact
    as long as the endpoint keeps to ``max_tokens``. The budget belongs to one event loop at a time.
    """

    def __init__(self, limits: config.Budget) -> None:
        self._limits = limits
        self._used = Spent()
        self._reserved = Spent()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def used(self) -> Spent:
        """What was settled so far; a request counts from its reservation on."""
        return Spent(self._used.requests, self._used.tokens, self._used.money)

    async def reserve(self, input_tokens: int, output_tokens: int, price: config.Price | None) -> Reservation:
        """Room for a request of at most so many tokens.

        Waits while the requests in flight hold room that they may give back when they are settled.

        Raises:
            BudgetReached: the request does not fit, whatever comes back.
        """
        reservation = Reservation(self, price, input_tokens, output_tokens)
        need = reservation.most
        while not self._fits(need):
            given_back = asyncio.get_running_loop().create_future()
            self._waiting.append(given_back)
            await given_back
        self._used.requests += 1
        self._reserved.tokens += need.tokens
        self._reserved.money += need.money
        return reservation

    def _fits(self, need: Spent) -> bool:
        """Whether there is room now; False says that there may be later."""
        room = True
        for name in ("requests", "tokens", "money"):
            limit = getattr(self._limits, name)
            if limit is None:
                continue
            used, reserved, wanted = (getattr(each, name) for each in (self._used, self._reserved, need))
            if used + wanted > limit + _EPSILON:
                raise BudgetReached(
                    f"budget.{name} is {limit:g}: {used:g} used, and the next request may need {wanted:g}",
                    f"raise it (--set budget.{name}=...) and run the same command again: what was paid for is kept",
                )
            room = room and used + reserved + wanted <= limit + _EPSILON
        return room

    def _settle(self, reservation: Reservation, input_tokens: int, output_tokens: int) -> None:
        if reservation.settled:
            raise RuntimeError("a reservation is settled only once")
        reservation.settled = True
        most = reservation.most
        self._reserved.tokens -= most.tokens
        self._reserved.money -= most.money
        self._used.tokens += input_tokens + output_tokens
        self._used.money += cost(reservation.price, input_tokens, output_tokens)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

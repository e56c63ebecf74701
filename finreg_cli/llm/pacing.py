"""How fast an endpoint is asked: requests in flight, requests and tokens per minute, and when to leave it alone.

    async with pace.turn(most_tokens) as turn:     # waits until one more request may go
        turn.sent()
        ...                                        # the request
        turn.succeeded()                           # or turn.throttled(retry_after), or neither
        turn.used(tokens)                          # where that is known

Those whose work was begun first go first, so that finished rows come early, and later ones fill the gaps between their
requests. The clock is the event loop's own, so that a test can bring another.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count

MINUTE = 60.0
_MARGIN = 1.0
"""Seconds that a request may be on its way longer than another: what is sent a minute apart may arrive closer."""

place: ContextVar[int] = ContextVar("place", default=0)
"""When the work was begun that the present task belongs to: the lower, the earlier it may send."""


class InFlight:
    """How many requests may be in flight: halved when the endpoint has too much, and grown again while it has not.

    Only the first refusal of a round trip halves: those that were sent before it say nothing about the new limit. Each
    round trip without a refusal adds to the limit, one at first and twice as many each time, up to ``most``: so 1 is
    back at 256 after eight, and an endpoint that stands 20 is hardly asked for more.
    """

    def __init__(self, most: int) -> None:
        self.limit = most
        self.now = 0
        self.period = 0
        """Counts the changes of the limit; a request belongs to the period in which it was sent."""
        self._most = most
        self._step = 1
        self._succeeded = 0
        self._halved = 0

    def has_room(self) -> bool:
        return self.now < self.limit

    def succeeded(self, period: int) -> None:
        if period != self.period or self.limit == self._most:
            return
        self._succeeded += 1
        if self._succeeded >= self.limit:
            self._begin(min(self._most, self.limit + self._step), self._step * 2)

    def throttled(self, period: int) -> bool:
        """Halves; whether the request was the first of its round trip to be refused."""
        if period < self._halved:
            return False
        self._begin(max(1, min(self.limit, self.now) // 2), 1)
        self._halved = self.period
        return True

    def _begin(self, limit: int, step: int) -> None:
        self.limit, self._step = limit, step
        self._succeeded = 0
        self.period += 1


@dataclass(eq=False)
class _Entry:
    amount: int
    leaves: float = math.inf
    """When it leaves the window; unknown until it is sent."""


class Window:
    """At most ``limit`` in any minute, counted by when the requests are sent.

    An entry holds its amount from its admission on, and may be corrected later. One that is larger than the limit goes
    when the window is empty: it could never go otherwise.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[_Entry] = deque()
        self._held = 0

    def wait(self, amount: int, now: float) -> float:
        """Seconds until there may be room; 0 if there is, infinite if that depends on what is not sent yet."""
        self._forget(now)
        excess = self._held + min(amount, self._limit) - self._limit
        if excess <= 0:
            return 0.0
        for entry in self._entries:
            excess -= entry.amount
            if excess <= 0:
                return entry.leaves - now
        return math.inf

    def admit(self, amount: int) -> _Entry:
        entry = _Entry(min(amount, self._limit))
        self._held += entry.amount
        return entry

    def sent(self, entry: _Entry, now: float) -> None:
        entry.leaves = now + MINUTE + _MARGIN
        self._entries.append(entry)

    def correct(self, entry: _Entry, amount: int) -> None:
        """What the entry really used. It counts in full, even where it is more than the limit."""
        if entry.amount:
            self._held += amount - entry.amount
            entry.amount = amount

    def drop(self, entry: _Entry) -> None:
        """It was never sent."""
        self._held -= entry.amount
        entry.amount = 0

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0].leaves <= now:
            self.drop(self._entries.popleft())


@dataclass
class Turn:
    """The right to send one request."""

    pace: Pace
    period: int
    requests: _Entry | None
    tokens: _Entry | None
    was_sent: bool = field(default=False, init=False)

    def sent(self) -> None:
        """It is sent now: from here on the minute counts."""
        self.was_sent = True
        self.pace._sent(self)

    def succeeded(self) -> None:
        """It got a reply."""
        self.pace._succeeded(self)

    def used(self, tokens: int) -> None:
        """It used so many tokens, input and output together."""
        self.pace._used(self, tokens)

    def throttled(self, retry_after: float | None) -> None:
        """The endpoint has too much to do; it may have said for how many seconds it wants to be left alone."""
        self.pace._throttled(self, retry_after)


class Pace:
    """Who may send when, for one endpoint.

    Args:
        most_in_flight: the most requests in flight; fewer while the endpoint says that it has too much.
        requests_per_minute, tokens_per_minute: not exceeded in any 60 seconds; None for no limit.
        first_pause, longest_pause: seconds between two requests when one at a time is too much; doubled each time.
    """

    def __init__(
        self,
        most_in_flight: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        first_pause: float = 0.5,
        longest_pause: float = 30.0,
    ) -> None:
        self.in_flight = InFlight(most_in_flight)
        self._requests = Window(requests_per_minute) if requests_per_minute else None
        self._tokens = Window(tokens_per_minute) if tokens_per_minute else None
        self._waiting: list[tuple[int, int, int, asyncio.Future[Turn]]] = []  # place, arrival, tokens
        self._arrivals = count()
        self._paused_until = -math.inf
        self.refused_alone = 0
        """So often in a row, without a success, the endpoint has refused the only request in flight."""
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._alarm: asyncio.TimerHandle | None = None

    def turn(self, tokens: int) -> AbstractAsyncContextManager[Turn]:
        """Waits for the right to send a request of at most so many tokens, input and output together."""
        return _Waiting(self, tokens)

    async def _admitted(self, tokens: int) -> Turn:
        loop = asyncio.get_running_loop()
        if not self._waiting and self._delay(tokens, loop.time()) == 0:
            return self._begin(tokens)
        future: asyncio.Future[Turn] = loop.create_future()
        heapq.heappush(self._waiting, (place.get(), next(self._arrivals), tokens, future))
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # admitted and cancelled at once
                self.in_flight.now -= 1
                self._give_back(future.result())
                self._admit()
            raise

    def _end(self, turn: Turn) -> None:
        self.in_flight.now -= 1
        if not turn.was_sent:
            self._give_back(turn)
        self._admit()

    def _admit(self) -> None:
        """Lets those go that may; sets an alarm for the first that only has to wait for the time."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._waiting:
            _, _, tokens, future = self._waiting[0]
            if future.done():  # it was cancelled
                heapq.heappop(self._waiting)
                continue
            loop = future.get_loop()
            delay = self._delay(tokens, loop.time())
            if delay:
                if delay < math.inf:
                    self._alarm = loop.call_later(delay, self._admit)
                return
            heapq.heappop(self._waiting)
            future.set_result(self._begin(tokens))

    def _delay(self, tokens: int, now: float) -> float:
        """Seconds until the next request may go; infinite where that depends on those in flight."""
        if not self.in_flight.has_room():
            return math.inf
        delay = max(0.0, self._paused_until - now)
        if self._requests is not None:
            delay = max(delay, self._requests.wait(1, now))
        if self._tokens is not None:
            delay = max(delay, self._tokens.wait(tokens, now))
        return delay

    def _begin(self, tokens: int) -> Turn:
        self.in_flight.now += 1
        return Turn(
            self,
            self.in_flight.period,
            self._requests.admit(1) if self._requests is not None else None,
            self._tokens.admit(tokens) if self._tokens is not None else None,
        )

    def _sent(self, turn: Turn) -> None:
        now = asyncio.get_running_loop().time()
        for window, entry in ((self._requests, turn.requests), (self._tokens, turn.tokens)):
            if window is not None and entry is not None:
                window.sent(entry, now)

    def _give_back(self, turn: Turn) -> None:
        for window, entry in ((self._requests, turn.requests), (self._tokens, turn.tokens)):
            if window is not None and entry is not None:
                window.drop(entry)

    def _succeeded(self, turn: Turn) -> None:
        self.refused_alone = 0
        self.in_flight.succeeded(turn.period)

    def _used(self, turn: Turn, tokens: int) -> None:
        if self._tokens is not None and turn.tokens is not None:
            self._tokens.correct(turn.tokens, tokens)

    def _throttled(self, turn: Turn, retry_after: float | None) -> None:
        alone = self.in_flight.limit == 1
        first = self.in_flight.throttled(turn.period)
        if first and alone:
            self.refused_alone += 1
            if retry_after is None:  # there is nothing left to halve, so the requests get rarer
                retry_after = min(self._first_pause * 2.0 ** (self.refused_alone - 1), self._longest_pause)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + retry_after)


class _Waiting(AbstractAsyncContextManager[Turn]):
    """Waits for a turn and ends it. A decorated generator took a twentieth of the processor time of a request."""

    def __init__(self, pace: Pace, tokens: int) -> None:
        self._pace = pace
        self._tokens = tokens

    async def __aenter__(self) -> Turn:
        self._turn = await self._pace._admitted(self._tokens)
        return self._turn

    async def __aexit__(self, *_: object) -> None:
        self._pace._end(self._turn)

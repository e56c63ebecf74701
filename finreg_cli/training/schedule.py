"""Which rows stand in which optimiser step: all of it known, and the same at every run, before the first step."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from finreg_cli.training.params import Duration

Context = list[int]
"""The numbers of the rows that share one context: one row, or with packing as many whole ones as fit in."""

Step = list[Context]


@dataclass(frozen=True)
class Schedule:
    """The steps of a training, and how many make an epoch."""

    steps: list[Step]
    steps_per_epoch: int

    def rows_of(self, step: int) -> list[int]:
        """The numbers of the rows of a step, counted from 0."""
        return [number for context in self.steps[step] for number in context]

    def share(self, step: int, process: int, processes: int) -> list[int]:
        """The rows of a step that one of several processes trains on; none where there are fewer contexts."""
        return [number for context in self.steps[step][process::processes] for number in context]


def schedule(
    lengths: Sequence[int], duration: Duration, batch_size: int, packed_into: int | None, seed: int
) -> Schedule:
    """Every row once an epoch, in an order that changes with it.

    Args:
        lengths: the tokens of each row.
        duration: where it ends; epochs follow each other until then.
        batch_size: contexts a step; the last step of an epoch may have fewer.
        packed_into: the tokens of a context that is filled with whole rows; None for one row each.
        seed: decides the orders.
    """
    order = random.Random(seed)
    first = _epoch(lengths, batch_size, packed_into, order)
    steps: list[Step] = []
    epoch, tokens = first, 0
    while True:
        for step in epoch:
            steps.append(step)
            tokens += sum(lengths[number] for context in step for number in context)
            if duration.unit == "ba" and len(steps) == duration.amount:
                return Schedule(steps, len(first))
            if duration.unit == "tok" and tokens >= duration.amount:
                return Schedule(steps, len(first))
        if duration.unit == "ep" and len(steps) == duration.amount * len(first):
            return Schedule(steps, len(first))
        epoch = _epoch(lengths, batch_size, packed_into, order)


def in_order(lengths: Sequence[int], batch_size: int, packed_into: int | None) -> list[Step]:
    """Every row once, in steps for an evaluation."""
    return _steps(_contexts(lengths, range(len(lengths)), packed_into), batch_size)


def _epoch(lengths: Sequence[int], batch_size: int, packed_into: int | None, order: random.Random) -> list[Step]:
    numbers = list(range(len(lengths)))
    order.shuffle(numbers)
    contexts = _contexts(lengths, numbers, packed_into)
    if packed_into is not None:
        order.shuffle(contexts)  # packing sorts: the fullest would come first
    return _steps(contexts, batch_size)


def _steps(contexts: Sequence[Context], batch_size: int) -> list[Step]:
    return [list(contexts[start : start + batch_size]) for start in range(0, len(contexts), batch_size)]


def _contexts(lengths: Sequence[int], numbers: Sequence[int], packed_into: int | None) -> list[Context]:
    """One row each; or best fit decreasing: the longest first, each into the fullest context that still takes it.

    Among rows of one length the order of ``numbers`` decides, so the number of contexts does not depend on it.
    """
    if packed_into is None:
        return [[number] for number in numbers]
    contexts: list[Context] = []
    room: list[tuple[int, int]] = []
    """(tokens left, which context), ascending."""
    for number in sorted(numbers, key=lambda number: -lengths[number]):
        place = bisect_left(room, (lengths[number], 0))
        if place == len(room):
            contexts.append([number])
            left, which = packed_into - lengths[number], len(contexts) - 1
        else:
            left, which = room.pop(place)
            contexts[which].append(number)
            left -= lengths[number]
        insort(room, (left, which))
    return contexts

"""The longest run that counts up, among candidates of which some only look like members of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_LOOK_BACK = 100  # candidates: bounds the search in a file that is nothing but "Article 1"

Number = TypeVar("Number")


def longest_chain(
    numbers: Sequence[Number], step: Callable[[Number, Number], float], start: Callable[[Number], float]
) -> list[int]:
    """The positions of the chain with the highest score; of two equal ones the one that began earlier.

    Args:
        numbers: the candidates in reading order.
        step: what going from one to the next is worth, 0 where it cannot be.
        start: what beginning with one is worth.
    """
    best: list[tuple[float, int]] = []  # score, and the position of the one before (-1: none)
    for here, number in enumerate(numbers):
        score, before = start(number), -1
        for there in range(max(0, here - _LOOK_BACK), here):
            gain = step(numbers[there], number)
            if gain and best[there][0] + gain > score:
                score, before = best[there][0] + gain, there
        best.append((score, before))
    chain: list[int] = []
    position = max(range(len(best)), key=lambda each: best[each][0], default=-1)
    while position >= 0:
        chain.append(position)
        position = best[position][1]
    return chain[::-1]

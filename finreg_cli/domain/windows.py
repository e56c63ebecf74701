"""A document longer than a model's context is read in overlapping windows, and what they say is merged by one rule.

Training rows, evaluation and ``finreg extract`` cut and merge alike, so that nothing is ever silently cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finreg_cli.domain.extraction import Labels, Schema, Value, find, text_of

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]
"""The characters (start, end) of each token of a text."""


@dataclass(frozen=True)
class Window:
    """The characters ``start`` to ``end`` of a document; the only one of a short document is all of it."""

    start: int
    end: int
    text: str


Finding = tuple[Window, Labels]
"""A window and what was found in it."""


def windows(document: str, offsets: TokenOffsets, tokens: int, overlap: int) -> list[Window]:
    """The document in windows of at most ``tokens`` tokens that together hold all of it.

    A window begins and ends between lines where it can, else between words; two neighbours share at least ``overlap``
    tokens, so that a value of up to that length stands whole in one of them. An overlap of more than half of the
    tokens is taken for the half, lest the windows hardly move on; a single character is never cut, however many tokens
    it has.
    """
    spans = offsets(document)
    if len(spans) <= tokens:
        return [Window(0, len(document), document)]
    cut = _Cut(document, offsets, spans, tokens)
    overlap = min(overlap, tokens // 2)
    found: list[Window] = []
    start = 0
    while True:
        end = cut.end_of_window(start)
        found.append(Window(start, end, document[start:end]))
        if end == len(document):
            return found
        start = cut.start_of_next(start, end, overlap)


class _Cut:
    """Where the windows of one document begin and end, in characters.

    The search for a better place goes back by at most an eighth of a window: with an overlap of a half, windows still
    move on by a quarter.
    """

    def __init__(self, document: str, offsets: TokenOffsets, spans: Sequence[tuple[int, int]], tokens: int) -> None:
        self._document = document
        self._offsets = offsets
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]
        self._tokens = tokens

    def end_of_window(self, start: int) -> int:
        first = bisect_right(self._ends, start)
        last = first + self._tokens
        while True:
            end = self._end_before(last, start)
            # A part of a text can have more tokens than the same characters have within the whole.
            excess = len(self._offsets(self._document[start:end])) - self._tokens
            if excess <= 0 or last == first + 1:
                return end
            last = max(min(last, len(self._ends)) - excess, first + 1)

    def _end_before(self, last: int, start: int) -> int:
        if last >= len(self._ends) or self._ends[last - 1] == self._ends[-1]:
            return len(self._document)
        earliest = max(self._starts[max(last - self._tokens // 8, 0)], start)
        return self._break_before(self._ends[last - 1], earliest)

    def start_of_next(self, start: int, end: int, overlap: int) -> int:
        first, following = bisect_right(self._ends, start), bisect_right(self._ends, end)
        wanted = max(following - overlap, first + 1)
        earliest = max(wanted - self._tokens // 8, first + 1)
        place = self._break_before(self._starts[wanted], self._starts[earliest])
        # Where a character has several tokens, or a token several lines, this could stand still or leave a gap.
        return max(min(place, end), start + 1)

    def _break_before(self, place: int, earliest: int) -> int:
        """Behind the last line break, else the last blank, from ``earliest`` to ``place``; there where it has none."""
        for separator in ("\n", " "):
            found = self._document.rfind(separator, earliest, place)
            if found >= 0:
                return found + 1
        return place


def labels_of(window: Window, document: str, labels: Labels, schema: Schema) -> Labels:
    """What a window should say: the values that stand in it, null for the others.

    Where the window is the whole document, it should say everything, as it was labelled.
    """
    if window.text == document:
        return labels
    return {key: labels.get(key) if find(labels.get(key), window.text) else None for key in schema.keys}


def merge(findings: Sequence[Finding], schema: Schema) -> Labels:
    """What the windows of one document say together, key by key.

    A value that stands in its window beats one that does not; then the one that most windows give (case and blanks
    aside); then the earliest. Null is what no window contradicts.
    """
    return {key: _agreed([(window, labels[key]) for window, labels in findings]) for key in schema.keys}


def _agreed(given: Sequence[tuple[Window, Value]]) -> Value:
    said = [(window, value) for window, value in given if value is not None]
    candidates = [(window, value) for window, value in said if find(value, window.text)] or said
    votes = Counter(_spelling(value) for _, value in candidates)
    most = max(votes.values(), default=0)
    return next((value for _, value in candidates if votes[_spelling(value)] == most), None)


def _spelling(value: Value) -> str:
    return " ".join((text_of(value) or "").split()).casefold()

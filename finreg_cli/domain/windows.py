"""A document longer than a model's context is read in overlapping windows, and what they say is merged by one rule.

Training rows, evaluation and ``finreg extract`` cut and merge alike, so that nothing is ever silently cut.
"""

from __future__ import annotations

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

    A window begins and ends between lines where it can, else between words; two neighbours share about ``overlap``
    tokens, so that a value of up to that length stands whole in one of them.
    """
    spans = offsets(document)
    if len(spans) <= tokens:
        return [Window(0, len(document), document)]
    found: list[Window] = []
    first = 0
    while True:
        last = min(first + tokens, len(spans))
        start, end = spans[first][0] if first else 0, spans[last - 1][1] if last < len(spans) else len(document)
        if last < len(spans):
            # At most the overlap is given up for a better place, so the next window still reaches back to it.
            end = _break_before(document, end, spans[max(first + 1, last - overlap // 2)][0])
        found.append(Window(start, end, document[start:end]))
        if end >= len(document):
            return found
        following = next(nth for nth, span in enumerate(spans) if span[1] > end)
        wanted = max(following - overlap, first + 1)
        begin = _break_before(document, spans[wanted][0], spans[max(first + 1, wanted - overlap // 2)][0])
        first = next(nth for nth, span in enumerate(spans) if span[1] > begin)


def _break_before(document: str, end: int, earliest: int) -> int:
    """The last line break, else the last blank, of ``document[earliest:end]``, after it; ``end`` where it has none."""
    for separator in ("\n", " "):
        place = document.rfind(separator, earliest, end)
        if place >= 0:
            return place + 1
    return end


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

"""Whole documents that are nearly one another: whether a synthetic document comes too close to one of the hold-out.

Documents of one form share their boilerplate and differ in their details, and the details are few. Counting all words
would take any two leases of one form for copies, and masking numbers and names would do so even more. So what counts
is only what a document has of its own: the runs of `SHINGLE` words that stand in no document that training holds
anyway. A copy with some values exchanged still shares most of those runs, whatever its length; a new document of the
same form shares hardly any; and a copy of a form that training does not know shares them all but for its details.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NEAR = 0.5
"""The least overlap of near documents: twice the shared runs, by the runs of both (Dice), known ones aside.

Measured on the sample leases: a document with two of its eight or so labelled values exchanged has 0.81 and more, two
leases of one form, made apart, have 0.40 at most.
"""

SHINGLE = 3
"""Words in a run. With longer ones, a few exchanged values would break most runs of a short, value-laden document."""

_SKETCH = 64
"""Runs of a document that are indexed, those of the lowest hash (bottom-k sketch).

Two documents with an overlap of `NEAR` share about a third of them, so that none is missed.
"""

_CANDIDATES = 32
"""Documents that share most of a sketch, which are then compared in full."""

_WORDS = re.compile(r"\w+")

_Hashes = NDArray[np.uint64]


class NearDocuments:
    """The documents added so far, to find the one that a new text nearly repeats.

    Case, blanks and punctuation take no part. Some 8 bytes are held for each word of the known and the added texts.

    Args:
        known: texts whose wording is no sign of a copy: the documents of the training half, of which synthetic ones
            are made. Without them the boilerplate counts too, and documents of one form may count as near.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        runs = [_runs(text) for text in known]
        self._known = np.unique(np.concatenate(runs)) if runs else np.empty(0, np.uint64)
        self._own: dict[str, _Hashes] = {}
        self._whole: dict[bytes, str] = {}
        self._sketches: dict[int, list[str]] = defaultdict(list)

    def add(self, document_id: str, text: str) -> None:
        """Adds a text; one of the same id that was added before must be the same."""
        if document_id in self._own:
            return
        runs = _runs(text)
        own = self._without_known(runs)
        self._own[document_id] = own
        self._whole.setdefault(runs.tobytes(), document_id)
        for run in own[:_SKETCH].tolist():
            self._sketches[run].append(document_id)

    def near(self, text: str) -> str | None:
        """The id of the most similar document, where one is near; the very same words are always near."""
        runs = _runs(text)
        same = self._whole.get(runs.tobytes())
        if same is not None:
            return same
        own = self._without_known(runs)
        shared: Counter[str] = Counter()
        for run in own[:_SKETCH].tolist():
            shared.update(self._sketches.get(run, ()))
        overlaps = [(_overlap(own, self._own[each]), each) for each, _ in shared.most_common(_CANDIDATES)]
        overlap, nearest = max(overlaps, default=(0.0, None))
        return nearest if overlap >= NEAR else None

    def _without_known(self, runs: _Hashes) -> _Hashes:
        places = np.searchsorted(self._known, runs)
        found = np.zeros(len(runs), dtype=bool)
        inside = places < len(self._known)
        found[inside] = self._known[places[inside]] == runs[inside]
        own: _Hashes = runs[~found]
        return own


def _overlap(one: _Hashes, other: _Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return 2 * shared / (len(one) + len(other))


def _runs(text: str) -> _Hashes:
    """The hashes of all runs of `SHINGLE` words, each once, ascending."""
    words = np.array([_word_hash(word) for word in _WORDS.findall(text.casefold())], dtype=np.uint64)
    count = max(len(words) - SHINGLE + 1, 1 if len(words) else 0)
    hashes = np.zeros(count, dtype=np.uint64)
    for nth in range(min(SHINGLE, len(words))):
        # Wraps around at 64 bits, as a polynomial hash does; the odd factor keeps the order of words.
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + words[nth : nth + count]
    return np.unique(hashes)


@lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    # Python's own hash differs from process to process, and so would the sketches.
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "big")

"""Whether a text that an engine gave is one: that there are letters, and that they are the ones in print.

A font that does not say which characters its glyphs stand for gives wrong text without any error. It shows in the text:
characters without meaning, or letters that are not as frequent as in any language.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from finreg_cli.documents.errors import ReadError

MOST_CHARACTERS = 20_000_000  # of a document; the CRR has 1.6 million
MOST_PAGE_CHARACTERS = 200_000  # a dense page of the Official Journal has 8 thousand

_UNPRINTABLE = re.compile("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MEANINGLESS = re.compile("[\ufffd\ue000-\uf8ff\ud800-\udfff\x00\x01\x03-\x08\x0e-\x1f]|/g\\d{1,5}|\\(cid:\\d{1,5}\\)")
_MEANINGLESS_SHARE = 0.2  # of the characters; bullets of symbol fonts are some on every page
_WRONG_SHARE = 0.3  # of the characters, in fonts whose letters are those of no language
_SAMPLED = 20_000  # characters of each font
_FEWEST_LETTERS = 400  # of a font, below which frequencies say nothing
_LEAST_LIKENESS = 0.45  # languages in Latin script reach 0.7 and more, mixed-up letters stay about 0

# Per cent of the letters a to z, accents aside: the mean of English, French, German, Italian, Spanish and Polish.
# fmt: off
_LATIN = {
    "a": 8.9, "b": 1.5, "c": 3.4, "d": 4.1, "e": 13.3, "f": 1.4, "g": 1.8, "h": 2.6, "i": 8.3, "j": 0.7, "k": 1.1,
    "l": 4.4, "m": 2.9, "n": 7.3, "o": 7.3, "p": 2.6, "q": 0.6, "r": 6.4, "s": 6.3, "t": 6.6, "u": 3.9, "v": 1.2,
    "w": 1.4, "x": 0.3, "y": 1.3, "z": 1.9,
}
# fmt: on


def printable(text: str) -> str:
    """The text without what no table takes: halves of surrogate pairs and control characters."""
    if text.isprintable() or not _UNPRINTABLE.search(text):
        return text
    return _UNPRINTABLE.sub(" ", text)


def check(texts: Mapping[str, Iterable[str]], empty: str) -> None:
    """Refuses what cannot be the text of a document.

    Args:
        texts: the texts in each font; under one name where fonts are not known.
        empty: the message for a document without any text.

    Raises:
        ReadError: ``no_text``, ``bad_encoding`` or ``limit``.
    """
    by_font = [" ".join(pieces) for pieces in texts.values()]
    size = sum(map(len, by_font))
    if size > MOST_CHARACTERS:
        raise ReadError("limit", f"holds {size:,} characters; at most {MOST_CHARACTERS:,} are read from one file")
    if sum(map(_meaningless, by_font)) > _MEANINGLESS_SHARE * size:
        raise ReadError("bad_encoding", "its fonts do not say which characters their glyphs stand for")
    if not any(any(map(str.isalnum, text)) for text in by_font):
        raise ReadError("no_text", empty)
    if sum(len(text) for text in by_font if _is_garbled(text)) > _WRONG_SHARE * size:
        raise ReadError("bad_encoding", "its letters make no words of any language: its fonts mix up the characters")


def _meaningless(text: str) -> int:
    """How many characters stand for nothing, or are the numbers of glyphs."""
    return sum(map(len, _MEANINGLESS.findall(text)))


def _is_garbled(text: str) -> bool:
    sample = _sample(text)
    return _is_no_language(_letters(sample)) or _is_paired(sample)


def _sample(text: str) -> str:
    """Twenty pieces from all over a long text."""
    if len(text) <= _SAMPLED:
        return text
    return " ".join(text[start : start + _SAMPLED // 20] for start in range(0, len(text), len(text) // 20))


def _letters(text: str) -> Counter[str]:
    """How often each of a to z occurs, accents aside."""
    counts = Counter((text if text.isascii() else unicodedata.normalize("NFD", text)).lower())
    return Counter({letter: counts[letter] for letter in _LATIN})


def _is_no_language(counts: Counter[str]) -> bool:
    return counts.total() >= _FEWEST_LETTERS and _likeness(counts) < _LEAST_LIKENESS


def _likeness(counts: Counter[str]) -> float:
    """The correlation of the letters' frequencies with those of languages in Latin script, from -1 to 1."""
    mean, usual = counts.total() / 26, sum(_LATIN.values()) / 26
    pairs = [(counts[letter] - mean, share - usual) for letter, share in _LATIN.items()]
    spread = math.sqrt(sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs))
    return sum(x * y for x, y in pairs) / spread if spread else 0.0


def _is_paired(text: str) -> bool:
    """Whether most characters, as two bytes each, are two letters: ``敲`` is ``re`` by a font of two-byte codes."""
    if text.isascii() or len(text) < 40:
        return False
    pairs = text.encode("utf-16-be", "surrogatepass")
    return sum(map(pairs.count, _LETTERS_AND_BLANK)) > 0.7 * len(pairs)


_LETTERS_AND_BLANK = [bytes([code]) for code in (*range(65, 91), *range(97, 123), 32)]

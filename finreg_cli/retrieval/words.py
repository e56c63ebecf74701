"""What is searched for: the words of a text by their stems, and its numbers in one spelling.

``institutions`` finds ``institution``; words that stand in every text ("the", "shall") do not count. Numbers stay whole
and are spelt as in `domain.metrics`: ``4,5 %`` and ``4.5 per cent`` are the same two terms.
"""

from __future__ import annotations

from functools import lru_cache

from finreg_cli.domain.metrics import words

_STOP = frozenset(
    word
    for line in (
        "a about above all an and any are as at be been being below between both but by can could did do does doing",
        "during each for from had has have having how if in into is it its may might must of on or other our per",
        "shall should so some such than that the their them then there these they this those through to under until",
        "upon was we were what when where which while who whom why will with would you your",
    )
    for word in line.split()
)
"""What a text of law and a question about it hold whatever they are about."""


def terms(text: str) -> list[str]:
    """The terms of a text in their order."""
    return [_stem(word) for word in words(text) if word not in _STOP]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    """The word without its plural (Harman 1991, "How effective is suffixing?": the S stemmer)."""
    if word[0].isdigit() or len(word) < 4:
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return f"{word[:-3]}y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word

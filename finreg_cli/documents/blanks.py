"""Blanks that the print lost or strewed in, put right only where the document itself plainly writes them otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_COMMON = 3  # times: a word that the document knows well
_SHARE = 5  # with a blank to one without: more even, and the document writes names such as "link:label"
_SHORTEST_WHOLE = 6  # letters of a word that a stray blank may have parted

_LETTERS = r"[A-Za-z\u00c0-\u1fff]"  # not those of formulas
_MARK = re.compile(rf"(?<={_LETTERS}{{2}})([:,])( ?)(?={_LETTERS}{{2}})")
_MARK_WITHIN = re.compile(rf"(?<![\w:/.@-])({_LETTERS}{{2,}})([:,])(?=({_LETTERS}{{2,}})(?![\w:/@-]))")
_BRACKET_WITHIN = re.compile(rf"(?<![\w:/.@-])({_LETTERS}{{3,}})(\()(?=({_LETTERS}{{2,}})(?![\w:/)-]))")
_PLURAL_WITHIN = re.compile(rf"(?<!\w)({_LETTERS}{{2,}}s)([\u2019'])(?=({_LETTERS}{{3,}})(?!\w))")
_NUMBER = re.compile(r"(?<!\w)([A-Za-z]?[a-z]{3,})( ?)\d")
# A cell such as "table1" is a name.
_NUMBER_WITHIN = re.compile(
    r"(?<![\w/.:^=-])((?:[A-Z]|(?<!\| )[a-z])[a-z]{3,})(?=\d+[a-z]?(?:\.\d+)*(?:[\s,;:()]|\.?$|\. ))"
)
_ITEM_WITHIN = re.compile(rf"^(\d{{1,3}}\.)(?=[A-Z]{_LETTERS}*,? )")


class Blanks:
    """What a document says about the blanks between its words.

    Args:
        text: all of it.
        words: its words in lower case with their number.
    """

    def __init__(self, text: str, words: Mapping[str, int]) -> None:
        self._words = words
        marks = Counter(_MARK.findall(text))
        self._blank_behind = {mark for mark in ":," if marks[mark, " "] >= max(1, _SHARE * marks[mark, ""])}
        numbers = Counter((word.lower(), blank) for word, blank in _NUMBER.findall(text))
        self._numbered = {
            word
            for (word, blank), count in numbers.items()
            if blank and count >= max(_COMMON, _SHARE * numbers[word, ""])
        }
        self._strewn = _strewn(text, words)

    def restored(self, text: str) -> str:
        """The text with the blanks that it lost, and without those within its words."""
        text = _MARK_WITHIN.sub(self._behind_mark, text)
        text = _BRACKET_WITHIN.sub(lambda found: f"{found[1]} (" if self._knows(found) else found[0], text)
        text = _PLURAL_WITHIN.sub(lambda found: f"{found[0]} " if self._knows(found) else found[0], text)
        text = _NUMBER_WITHIN.sub(self._before_number, text)
        for halves, whole in self._strewn.items():
            if halves in text:
                text = re.sub(rf"\b{halves}\b", whole, text)
        return text

    def _behind_mark(self, found: re.Match[str]) -> str:
        # No name is written with a comma: there the word behind it is enough.
        known = self._knows(found) or (found[2] == "," and self._words.get(found[3].lower(), 0) >= _COMMON)
        return f"{found[0]} " if known and found[2] in self._blank_behind else found[0]

    def _before_number(self, found: re.Match[str]) -> str:
        return f"{found[0]} " if found[0].lower() in self._numbered else found[0]

    def _knows(self, found: re.Match[str]) -> bool:
        return all(self._words.get(found[side].lower(), 0) >= _COMMON for side in (1, 3))


def with_item_apart(text: str) -> str:
    """ "23. Competent authorities" for "23.Competent authorities" at a paragraph's start."""
    return _ITEM_WITHIN.sub(r"\1 ", text)


def _strewn(text: str, words: Mapping[str, int]) -> dict[str, str]:
    """The words that a blank parts once, by their halves, which stand nowhere else."""
    halves = {word for word, count in words.items() if count == 1 and len(word) > 1}
    return {
        parted: word
        for word, count in words.items()
        if count >= _COMMON and len(word) >= _SHORTEST_WHOLE
        for at in range(2, len(word) - 1)
        if word[:at] in halves and word[at:] in halves and (parted := f"{word[:at]} {word[at:]}") in text
    }

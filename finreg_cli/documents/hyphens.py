"""Words that the print broke or ran together, put right by how the document itself writes them elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise, product

from finreg_cli.documents.blanks import Blanks
from finreg_cli.documents.lines import LINE_HYPHEN, LOST_BLANK

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_TAIL = re.compile(r"(?P<before>(?:[^\W_]+-)*)(?P<left>[^\W_]+)$")
_HEAD = re.compile(r"(?P<right>[^\W_]*)(?P<after>(?:-[^\W_]+)*)")
_LONGEST_WORD = 48  # characters: what is looked at before a hyphen
_COMMA_WITHIN = re.compile(r"([^\W\d_]{2,})([,;])(?=([^\W\d_]{2,}))")
_RUN_TOGETHER = re.compile(rf"[^\W\d_]*(?:{LOST_BLANK}[^\W\d_]*)+(?:-[^\W\d_]+)*")

_HYPHENATED = frozenset(
    (
        "balance",
        "side",
        "non",
        "self",
        "cross",
        "ex",
        "quasi",
        "well",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "ten",
        "half",
    )
)
_COMPOUND_ENDS = frozenset(
    ("based", "driven", "free", "held", "like", "off", "proof", "related", "sided", "specific", "term", "time", "wide")
)
_SOLID = frozenset(("sub", "pre", "co", "inter", "multi", "pro", "re", "over", "under", "out", "counter"))
_COMMON = 3  # times: a word that the document knows well
_FEWEST_LETTERS = 5  # pieces of a line that may be letter-spaced
_UNKNOWN = 1000  # the cost of a word that the document does not have
_OFTEN = 5  # gaps within words: a producer that loses blanks loses many
_LONG = 5  # letters: as a word that the document has nowhere else, beside one that it knows
_MOST_GAPS = 4  # in one word: bounds the ways to split it


class Vocabulary:
    """The words of a document, and what they say about a break at a line's end or a gap within a word.

    Args:
        texts: of all lines, with `LINE_HYPHEN` and `LOST_BLANK` in them; words that hold one are not learnt.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        broken: list[str] = []
        whole: list[str] = []
        for text in texts:
            if LINE_HYPHEN in text or LOST_BLANK in text:
                broken.append(text)
                # The halves of broken words would pass for words.
                text = " ".join(word for word in text.split() if LINE_HYPHEN not in word and LOST_BLANK not in word)
            whole.append(text)
        together = "\n".join(whole)
        self._words = Counter(_WORD.findall(together.lower()))
        self._blanks = Blanks(together, self._words)
        for word, count in list(self._words.items()):
            parts = word.split("-")
            if len(parts) > 2:
                for pair in pairwise(parts):
                    self._words["-".join(pair)] += count
        self._loses_blanks = sum(text.count(LOST_BLANK) for text in broken) >= _OFTEN
        self._hyphenates = self._breaks_syllables(broken)

    def _breaks_syllables(self, broken: Iterable[str]) -> bool:
        """Whether the document was set with hyphenation: its breaks, where the vocabulary knows the word, tell."""
        solid = hyphenated = 0
        for text in broken:
            for left, right in _halves(text):
                solid += left + right in self._words
                hyphenated += f"{left}-{right}" in self._words
        return solid >= hyphenated / 4

    def resolve(self, text: str) -> str:
        """The text without `LINE_HYPHEN` and `LOST_BLANK`, its blanks as the document writes them elsewhere."""
        if LOST_BLANK in text:
            text = _RUN_TOGETHER.sub(self._split, text)
        if self._loses_blanks:
            text = _COMMA_WITHIN.sub(self._blank_behind, text)
        if LINE_HYPHEN in text:
            first, *others = text.split(LINE_HYPHEN)
            text = first
            for other in others:
                text = self._joined(text, other)
        return self._blanks.restored(text)

    def respaced(self, text: str) -> str:
        """ "Section 1" for "S e c t i o n 1", which an engine gives that knows no gaps: as words of the document."""
        pieces = text.split()
        if len(pieces) < _FEWEST_LETTERS or sum(len(piece) == 1 for piece in pieces) < 0.8 * len(pieces):
            return text
        letters = "".join(pieces)
        if sum(map(str.isalpha, letters)) < 0.6 * len(letters):
            return text
        # best[end]: the least cost of a split of all before `end`, and where its last word begins.
        best = [(0, 0)]
        for end in range(1, len(letters) + 1):
            begins = range(max(0, end - _LONGEST_WORD), end)
            best.append(min((best[begin][0] + self._cost(letters[begin:end]), begin) for begin in begins))
        if best[-1][0] >= _UNKNOWN:
            return text
        words: list[str] = []
        end = len(letters)
        while end:
            begin = best[end][1]
            words.append(letters[begin:end])
            end = begin
        return " ".join(reversed(words))

    def _cost(self, word: str) -> int:
        return 1 if word.isdigit() or self._is_word(word.lower(), 1) else _UNKNOWN

    def _split(self, found: re.Match[str]) -> str:
        """A word with gaps in it as words that the document knows, where there is such a split and it is not known."""
        parts = found.group().split(LOST_BLANK)
        word = "".join(parts)
        written_so = self._words[word.lower()]
        if len(parts) > _MOST_GAPS + 1 or written_so >= _COMMON:
            return word
        candidates = [
            parts[0] + "".join(blank + part for blank, part in zip(blanks, parts[1:], strict=True))
            for blanks in product((" ", ""), repeat=len(parts) - 1)
        ][:-1]
        # A word that the document never writes so is more readily two than one that it does.
        fewest = _COMMON if written_so else 1
        for candidate in candidates:
            if all(self._is_word(piece, fewest) for piece in candidate.lower().split(" ")):
                return candidate
        if not written_so and self._loses_blanks:
            for candidate in candidates:
                unknown = [piece for piece in candidate.lower().split(" ") if not self._is_word(piece, _COMMON)]
                if len(unknown) == 1 and len(unknown[0]) >= _LONG:
                    return candidate
        return word

    def _blank_behind(self, found: re.Match[str]) -> str:
        known = all(self._words[found.group(side).lower()] >= _COMMON for side in (1, 3))
        return f"{found.group()} " if known else found.group()

    def _is_word(self, word: str, fewest: int) -> bool:
        return self._words[word] >= fewest and (len(word) > 1 or word == "a")

    def _joined(self, text: str, other: str) -> str:
        tail, head = _TAIL.search(text[-_LONGEST_WORD:]), _HEAD.match(other)
        right, after = (head["right"], head["after"]) if head else ("", "")
        before, left = (tail["before"], tail["left"]) if tail else ("", "")
        if right in ("and", "or") and not before and not after:  # "on- or off-balance sheet"
            return f"{text}- {other}"
        if not left:  # "{code}-find.xml"
            return f"{text}-{other}"
        return f"{text}-{other}" if self._keeps_hyphen(before, left, right, after) else text + other

    def _written(self, word: str) -> int:
        """How often the document has a word; its plural and its singular vouch for each other."""
        other = word[:-1] if word.endswith("s") else f"{word}s"
        return self._words[word] or self._words[other]

    def _keeps_hyphen(self, before: str, left: str, right: str, after: str) -> bool:
        if not right or not left.isalpha() or not right.isalpha() or right[0].isupper():
            return True
        first, second, ahead, behind = left.lower(), right.lower(), before.lower(), after.lower()
        words = self._words
        if ahead or behind:  # "vis-à-vis", "off-balance-sheet"
            hyphenated, solid = words[f"{ahead}{first}-{second}{behind}"], words[f"{ahead}{first}{second}{behind}"]
            if hyphenated or solid:
                return hyphenated > solid
        hyphenated, solid = self._written(f"{first}-{second}"), self._written(first + second)
        if hyphenated or solid:
            return hyphenated > solid
        # Seen in no form. A document that breaks no syllables breaks a line only at hyphens of its own.
        if not self._hyphenates or first in _HYPHENATED:
            return True
        if first in _SOLID and first[-1] == second[0]:  # "pre-empt"
            return True
        if ahead or behind:  # "jump-to-default"
            return words[second] > 0 or words[first] > 0
        # Two words of their own are a compound ("risk-weighted"), a syllable and a word are not.
        if second in _COMPOUND_ENDS:
            return words[first] > 0
        both_words = words[first] >= _COMMON and words[second] >= _COMMON
        return both_words and len(first) > 2 and len(second) > 3 and first not in _SOLID


_HYPHEN_ENDS = re.compile(r"(?<=[^\W_]|[})\]])-$")


def unwrapped(lines: Iterable[str]) -> str:
    """The text of wrapped lines; a hyphen that ends a line, behind no blank, stays next to what it continues."""
    text = ""
    for line in lines:
        text = _HYPHEN_ENDS.sub(LINE_HYPHEN, text)
        text += line if not text or text[-1] == LINE_HYPHEN else f" {line}"
    return text


def _halves(text: str) -> Iterator[tuple[str, str]]:
    """What stands on either side of each `LINE_HYPHEN`, in lower case."""
    for before, after in pairwise(text.lower().split(LINE_HYPHEN)):
        tail, head = _TAIL.search(before[-_LONGEST_WORD:]), _HEAD.match(after)
        if tail and head and head["right"]:
            yield tail["left"], head["right"]

"""Numbered paragraphs and lettered points: which number counts on, and which point a line lies in.

``(i)`` is the ninth letter behind ``(h)`` and the first roman number elsewhere, ``(da)`` was put in behind ``(d)``, a
line without a mark between two points belongs to the first of them. What fits no list is no mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from finreg_cli.domain.document import Role
from finreg_cli.domain.sequences import longest_chain

_MARK = re.compile(
    r"(?:\((?P<round>[a-z]{1,3}|[ivx]{1,6}|\d{1,3}[a-z]{0,2}|[A-Z])\)"
    r"|(?P<half>[a-z]{1,2}|[ivx]{1,5}|\d{1,2})\)"
    r"|(?P<dot>[a-z]|[ivx]{2,5})\.) "
)
_DASH = re.compile(r"[\u2014\u2013\u2022\u25aa\u2192o-] ")
POINT = re.compile(
    r"(?:\((?:[a-z]{1,3}|[ivx]{1,6}|\d{1,3}[a-z]{0,2}|[A-Z])\)|(?:[a-z]{1,2}|[ivx]{1,5}|\d{1,2})\)|(?:[a-z]|[ivx]{2,5})\."
    r"|[\u2014\u2013\u2022\u25aa\u2192o-]) "
)
"""The mark of a list point at the start of a line: ``(a)``, ``(12)``, ``a)``, ``iv.``, a dash or a bullet."""

NUMBERED = re.compile(r"(?P<number>\d{1,3})(?P<suffix>[a-z]{0,2})\. ?(?=\S)")
"""The number of a numbered paragraph: ``1. Institutions``, ``5a. Up``; print may lose the blank behind it."""

_LARGEST_GAP = 3  # numbers that an amendment may have repealed in one place, or that print may have lost


# --- Numbered paragraphs ---------------------------------------------------------------------------------------------


def paragraph_numbers(texts: Sequence[str]) -> dict[int, str]:
    """Position -> number of the numbered paragraphs among the texts of one article, annex or report, in order.

    They count up by one, or by a letter that an amendment put in; a numbered row of a table between them does not.
    """
    found = {index: match for index, text in enumerate(texts) if (match := NUMBERED.match(text))}
    positions = list(found)
    numbers = [(int(found[index]["number"]), found[index]["suffix"]) for index in positions]
    chain = longest_chain(numbers, _step, lambda number: {1: 1.0, 2: 0.3, 3: 0.2}.get(number[0], 0.0))
    # A chain may begin with the 12th paragraph only where it goes on from there.
    if chain and numbers[chain[0]][0] > _LARGEST_GAP and len(chain) < 3:
        return {}
    return {positions[each]: f"{numbers[each][0]}{numbers[each][1]}" for each in chain}


def _step(before: tuple[int, str], number: tuple[int, str]) -> float:
    if number[0] == before[0]:
        return 1.0 if number[1] and (len(number[1]), number[1]) > (len(before[1]), before[1]) else 0.0
    if number[0] == before[0] + 1:
        return 1.0
    return 0.2 if before[0] < number[0] <= before[0] + _LARGEST_GAP else 0.0


# --- Quotations ------------------------------------------------------------------------------------------------------

_CLOSING = {'"': '"', "\u201c": "\u201d", "\u2018": "\u2019", "'": "'"}
_QUOTES_LAW = re.compile(
    r".(?:\d+[a-z]{0,2}\. |\([a-z\d]{1,3}\) |(?:Article|ANNEX|PART|TITLE|CHAPTER|SECTION)\b)", re.IGNORECASE
)
_LONGEST_TERM = 80  # characters, of a defined term in quotes


def quoted(texts: Sequence[str]) -> set[int]:
    """Positions of the paragraphs that an amending article quotes: their numbers are those of the act it amends.

    A quotation begins with a quotation mark at the start of a paragraph that does not close in it, and ends with a
    paragraph that ends with its counterpart.
    """
    found: set[int] = set()
    opened: tuple[int, str] | None = None
    for index, text in enumerate(texts):
        if opened is not None:
            if text.rstrip(";,. ").endswith(opened[1]):
                found.update(range(opened[0], index + 1))
                opened = None
        elif (closing := _CLOSING.get(text[:1])) and _stays_open(text, closing):
            opened = index, closing
        elif closing and _QUOTES_LAW.match(text):
            found.add(index)
    return found


def _stays_open(text: str, closing: str) -> bool:
    if text[1:].rstrip(";,. ").endswith(closing):
        return False
    return bool(_QUOTES_LAW.match(text)) or closing not in text[1:_LONGEST_TERM]


# --- Points ----------------------------------------------------------------------------------------------------------


class _Level(NamedTuple):
    """One list that is open: its kind (form of brackets and alphabet), and the mark it has come to."""

    kind: str
    mark: str


_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10}
_DEEPEST = 6  # levels; what nests deeper is no list
_LOOK_AHEAD = 30  # paragraphs, within which a list that was left goes on


def point_paths(entries: Sequence[tuple[Role, str]]) -> list[tuple[str, ...]]:
    """The point that each paragraph of a unit lies in, outermost first; empty where it lies in none.

    Args:
        entries: role and text of the paragraphs, in order.
    """
    reader = _PointReader(entries)
    return reader.paths()


class _PointReader:
    def __init__(self, entries: Sequence[tuple[Role, str]]) -> None:
        self._entries = entries
        self._paths: list[tuple[str, ...]] = [()] * len(entries)
        self._stack: list[_Level] = []
        self._pending: list[int] = []  # lines without a mark: in the point before them if its list goes on
        self._opens = False  # the line before ends with a colon

    def paths(self) -> list[tuple[str, ...]]:
        for index, (role, text) in enumerate(self._entries):
            if role == "footnote":
                continue
            if role in ("head", "numbered"):
                self._stack, self._pending = [], []
            self._read(index, role, text)
            self._opens = text.endswith(":")
        for index, (role, _) in enumerate(self._entries):
            if role == "footnote" and index:
                self._paths[index] = self._paths[index - 1]
        return self._paths

    def _read(self, index: int, role: Role, text: str) -> None:
        if role == "numbered":
            numbered = NUMBERED.match(text)
            text = text[numbered.end() :] if numbered else text
        mark = _MARK.match(text) if role in ("point", "numbered") else None
        if mark is not None and self._take(index, mark):
            self._paths[index] = tuple(level.mark for level in self._stack)
        elif role != "numbered" and self._stack:
            if not self._pending and (self._opens or (role == "point" and _DASH.match(text))):
                self._paths[index] = self._paths[index - 1]
            else:
                self._pending.append(index)

    def _take(self, index: int, found: re.Match[str]) -> bool:
        """Opens or goes on with a list; False where the mark fits none."""
        form = found.lastgroup or "round"
        mark = found[form]
        kinds = [f"{form} {alphabet}" for alphabet in _alphabets(mark)]
        depth = self._goes_on(index, kinds, form, mark, gap=1)
        if depth is None and (kind := next((each for each in kinds if _ordinal(each, mark) == 1), None)):
            self._open(index, kind, mark)
            return True
        if depth is None:
            depth = self._goes_on(index, kinds, form, mark, gap=_LARGEST_GAP)
        if depth is None:
            return False
        self._settle(depth)
        self._stack[depth:] = [_Level(self._stack[depth].kind, mark)]
        return True

    def _goes_on(self, index: int, kinds: Sequence[str], form: str, mark: str, gap: int) -> int | None:
        """The depth of the innermost open list of which this mark is the next one."""
        if mark == "i" and self._next_mark(index, form) == "ii":
            return None
        for depth in range(len(self._stack) - 1, -1, -1):
            level = self._stack[depth]
            if level.kind in kinds and _follows(level.kind, level.mark, mark, gap):
                return depth
        return None

    def _next_mark(self, index: int, form: str) -> str | None:
        for role, text in self._entries[index + 1 : index + _LOOK_AHEAD]:
            if role in ("head", "numbered"):
                return None
            found = _MARK.match(text) if role == "point" else None
            if found and found[form]:
                return found[form]
        return None

    def _open(self, index: int, kind: str, mark: str) -> None:
        depths = [depth for depth, level in enumerate(self._stack) if level.kind == kind]
        if depths and not (self._opens and not self._pending and len(self._stack) < _DEEPEST):
            del self._stack[depths[-1] :]  # the same kind of list again, in the next subparagraph
        elif self._pending and self._stack:
            if self._is_resumed(index):
                self._settle(len(self._stack) - 1)
            else:
                self._stack = []
        self._pending = []
        if len(self._stack) < _DEEPEST:
            self._stack.append(_Level(kind, mark))

    def _is_resumed(self, index: int) -> bool:
        """Whether the innermost open list goes on further down, so that a list which begins here lies within it."""
        kind, last = self._stack[-1]
        for role, text in self._entries[index + 1 : index + _LOOK_AHEAD]:
            if role in ("head", "numbered"):
                return False
            found = _MARK.match(text) if role == "point" else None
            if found and found.lastgroup == kind.split()[0] and kind.split()[1] in _alphabets(found[found.lastgroup]):
                return _follows(kind, last, found[found.lastgroup], gap=1)
        return False

    def _settle(self, depth: int) -> None:
        """The list at ``depth`` goes on, so the lines without a mark before lie in the point that it had come to."""
        around = tuple(level.mark for level in self._stack[: depth + 1])
        for index in self._pending:
            self._paths[index] = around
        self._pending = []


def _alphabets(mark: str) -> list[str]:
    if mark[0].isdigit():
        return ["arabic"]
    if mark.isupper():
        return ["capital"]
    return ["roman", "letter"] if set(mark) <= _ROMAN_DIGITS.keys() else ["letter"]


def _follows(kind: str, before: str, mark: str, gap: int) -> bool:
    alphabet = kind.split()[1]
    if alphabet != "roman" and len(mark) > 1 and not mark.isdigit():
        # "(da)" behind "(d)", "(db)" behind "(da)", "(12a)" behind "(12)"; "(aa)" behind "(z)"
        return (mark[:-1] == before) or (mark[:-1] == before[:-1] and mark[-1] > before[-1]) or before == "z"
    # behind "(da)" comes "(e)", behind "(12a)" "(13)"
    plain = before if alphabet == "roman" else (re.sub(r"[a-z]+$", "", before) or before[0])
    return 0 < _ordinal(kind, mark) - _ordinal(kind, plain) <= gap


def _ordinal(kind: str, mark: str) -> int:
    """What a mark counts in its alphabet, from 1; 0 where it counts nothing."""
    alphabet = kind.split()[1]
    if alphabet == "arabic":
        return int(re.sub(r"\D", "", mark))
    if alphabet == "roman":
        return _roman(mark)
    return ord(mark.lower()) - ord("a") + 1 if len(mark) == 1 else 0


def _roman(mark: str) -> int:
    values = [_ROMAN_DIGITS[digit] for digit in mark]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))

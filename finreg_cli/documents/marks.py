"""What both engines do with what a line is printed in: fonts, raised marks, characters that no text should hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

CARET = "^"
_ITALIC = 1 << 6  # bit 7 of the PDF font descriptor's flags (ISO 32000-1, table 123)
_FORCE_BOLD = 1 << 18
_FORMULA_FONT = re.compile(r"math|tex_|mt-?extra|cmsy|cmex|cmmi", re.IGNORECASE)


def font_style(name: str, flags: int) -> tuple[bool, bool]:
    """Whether a font is bold and whether it is italic, by its name and its descriptor's flags."""
    lower = name.lower()
    bold = "bold" in lower or "black" in lower or bool(flags & _FORCE_BOLD and "regu" not in lower)
    return bold, "ital" in lower or "obli" in lower or bool(flags & _ITALIC)


@lru_cache(maxsize=256)
def is_formula_font(name: str) -> bool:
    """Whether a font is one that formulas are set in, by its name."""
    return _FORMULA_FONT.search(name) is not None


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of a line in one size and on one baseline, in points; ``start`` is their offset in the line."""

    text: str
    start: int
    baseline: float
    size: float


_MARK = re.compile(r"[-\u2212\u2013+]?\(?\d{1,3}(?:[.,;] ?\d{1,3})*\)?|[*\u2020\u2021\u00a7]{1,3}|\(?[A-Za-z]\)?")
_ORDINAL = re.compile(r"[oOaA]")


def carets(runs: Sequence[Run], before: Run | None = None, after: Run | None = None) -> list[int]:
    """Offsets before which a caret stands: those of raised footnote marks and exponents.

    Raised letters of an ordinal ("1st"), and what is larger than a mark, stay as they are.

    Args:
        runs: of one line, in reading order, none of them blank.
        before: the run that ends directly before the line, on the same row, where the engine gave the row apart.
        after: the run that begins directly behind it, likewise.
    """
    found: list[int] = []
    base, index = before, 0
    while index < len(runs):
        end = _raised_until(runs, index, base, after)
        if end == index:
            base = _next_base(base, runs[index])
            index += 1
            continue
        if _is_mark(runs, index, end, before, after):
            found.append(runs[index].start + len(runs[index].text) - len(runs[index].text.lstrip()))
        index = end
    return found


def _raised_until(runs: Sequence[Run], index: int, base: Run | None, after: Run | None) -> int:
    """Where the raised runs from ``index`` on end; ``index`` itself, where there are none."""
    end = index
    while end < len(runs):
        # A mark that begins a line, as that of a footnote does, is raised against what follows it.
        reference = base or next((run for run in runs[end + 1 :] if run.size > runs[end].size), after)
        if reference is None or not _is_raised(runs[end], reference):
            break
        end += 1
    return end


def _is_raised(run: Run, reference: Run) -> bool:
    rise = (run.baseline - reference.baseline) / (reference.size or 1.0)
    if run.size < 0.88 * reference.size:
        return 0.1 < rise < 0.9
    return run.size <= reference.size and 0.2 < rise < 0.6


def _next_base(base: Run | None, run: Run) -> Run:
    """The run that later ones are compared with; an index below the line is none."""
    if base and run.size < 0.88 * base.size and -0.6 * base.size < run.baseline - base.baseline <= 0:
        return base
    return run


def _is_mark(runs: Sequence[Run], index: int, end: int, before: Run | None, after: Run | None) -> bool:
    text = "".join(run.text for run in runs[index:end]).strip()
    if not _MARK.fullmatch(text):
        return False
    previous = runs[index - 1].text if index else (before.text if before else "")
    following = runs[end].text if end < len(runs) else (after.text if after else "")
    ordinal = _ORDINAL.fullmatch(text) and previous[-1:].isalnum()
    return not ordinal and following[:1] not in ("/", "\u2044")  # "1/2" is a fraction


# --- Characters ------------------------------------------------------------------------------------------------------

_GLYPHS = {
    ord(raised): plain
    for raised, plain in zip(
        "\u00b9\u00b2\u00b3\u2070\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f", "1230456789+-n", strict=True
    )
}
_SPECIAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\uffff" + "".join(map(chr, _GLYPHS)) + "]"
)


def is_special(text: str) -> bool:
    """Whether `printed` changes anything in a text without carets."""
    return _SPECIAL.search(text) is not None


def printed(text: str, start: int = 0, end: int | None = None, carets: Iterable[int] = ()) -> str:
    """A text, or a part of it, as a line holds it: carets put in, no control character, no half of a pair.

    Args:
        text: as the engine gives it; a character outside the basic plane may be a pair of surrogates.
        start: offset of the part.
        end: its end.
        carets: offsets into ``text`` before which a caret stands.
    """
    marked = frozenset(carets)
    stop = len(text) if end is None else end
    if not marked and not is_special(text):
        return text[start:stop]
    pieces: list[str] = []
    raised = False
    for offset in range(start, stop):
        character = text[offset]
        plain = _GLYPHS.get(ord(character))
        if offset in marked or (plain and not raised):
            pieces.append(CARET)
        raised = plain is not None
        pieces.append(plain or character)
    return _SPECIAL.sub(_plain, _paired("".join(pieces)))


def _paired(text: str) -> str:
    """Two halves as the one character that they stand for; a half alone stays, to be replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _plain(found: re.Match[str]) -> str:
    character = found.group()
    return "\ufffd" if "\ud800" <= character <= "\udfff" else " "

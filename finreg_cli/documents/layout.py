"""From printed lines to paragraphs: running heads and footnotes go, wrapped lines join, hyphens are resolved.

Lines stay in content-stream order. It is the reading order in the Official Journal, whose two columns any sorting by
position would break.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from finreg_cli.domain.legal_structure import ARTICLE_HEAD, POINT, Block, is_head

LINE_HYPHEN = "\ufffe"
"""Stands in a line's text where the print breaks a word; soft or hard is for the document's vocabulary to say."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A run of a printed line that a wide gap sets apart from the next, as in a table. Edges in points."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line. Positions in points from the page's lower left corner, ``page`` from 1.

    ``size`` is that of the line's middle, ``lead_size`` that of its first character (a footnote's mark is smaller);
    ``bold`` and ``italic`` hold for the whole line. ``baseline`` is that of the first character, ``end_baseline``
    that of the last, which differs where the engine has joined two lines at a hyphen.

    Raised characters stand behind a caret in ``text``. ``cells`` are the runs of a line with wide gaps in it, none
    where there is no such gap. ``gaps`` are offsets into ``text``, within words that are rare near by, before which the
    print leaves a gap as wide as a blank: a lost blank, if the vocabulary of the document agrees.
    """

    text: str
    page: int
    page_height: float
    font: str
    size: float
    lead_size: float
    bold: bool
    italic: bool
    left: float
    right: float
    baseline: float
    end_baseline: float
    cells: tuple[Cell, ...] = ()
    gaps: tuple[int, ...] = ()


def blocks(pages: Sequence[Sequence[Line]]) -> list[Block]:
    """The paragraphs of a document in reading order, from the lines of its pages."""
    cleaned = [_without_spaces_only(_clean(line) for line in page) for page in pages]
    body_size = _body_size(cleaned)
    bare = [_without_footnotes(page, body_size) for page in _without_running_heads(cleaned)]
    lines = [line for page in bare for line in _rejoin_baseline(page)]
    hyphens = Hyphens(line.text for line in lines)
    return list(_paragraphs(lines, hyphens))


def text(pages: Sequence[Sequence[Line]]) -> str:
    """The printed lines of a document in reading order, with a blank line between two pages.

    Unlike `blocks` it leaves out nothing: a labelled value may stand in a running head or a footnote. A word that the
    print breaks at the end of a line is whole again.
    """
    rows = [list(_rejoin_baseline(_without_spaces_only(map(_clean, page)))) for page in pages]
    hyphens = Hyphens(line.text for page in rows for line in page)
    printed = "\n\n".join("\n".join(line.text for line in page) for page in rows if page)
    return hyphens.resolve(re.sub(rf"{LINE_HYPHEN}\n+", LINE_HYPHEN, printed))


# --- Characters ------------------------------------------------------------------------------------------------------

_CHARACTERS = str.maketrans(
    {
        "\u00a0": " ",
        "\u2007": " ",
        "\u2009": " ",
        "\u202f": " ",
        "\u200b": None,
        "\ufeff": None,
        "\u2010": "-",
        "\u2011": "-",
        "\u0002": LINE_HYPHEN,
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
        # Bullets of Symbol and Wingdings, which have no code point of their own.
        "\uf0b7": "•",
        "\uf0a7": "▪",
        "\uf0d8": "▪",
        "\uf02d": "\u2013",
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _clean(line: Line) -> Line:
    text = line.text.translate(_CHARACTERS)
    # A soft hyphen is one only at a line's end; within a line it is a possible break that was not taken.
    text = re.sub(r"\u00ad(?=\s*$)", LINE_HYPHEN, text).replace("\u00ad", "")
    # Dot leaders of a table of contents would fill chunks with dots.
    text = re.sub(r"\.{4,}", " ", _CONTROL.sub("", unicodedata.normalize("NFC", text)))
    return replace(line, text=" ".join(text.split()))


def _without_spaces_only(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.text]


class Hyphens:
    """Resolves hyphens at line ends by how the document itself writes the word elsewhere."""

    _WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
    _SPLIT = re.compile(rf"([^\W_]+){LINE_HYPHEN}([^\W_]*)")
    _HYPHENATED = frozenset(("non", "self", "cross", "ex", "quasi", "well"))
    _SOLID = frozenset(("sub", "pre", "co", "inter", "multi", "pro", "re", "over", "under", "out", "counter"))

    def __init__(self, texts: Iterable[str]) -> None:
        self._words: Counter[str] = Counter()
        for text in texts:
            # The halves of broken words would pass for words.
            whole = re.sub(rf"\S*{LINE_HYPHEN}\S*", " ", text)
            for word in self._WORD.findall(whole.lower()):
                self._words[word] += 1
                parts = word.split("-")
                self._words.update("-".join(pair) for pair in pairwise(parts) if len(parts) > 2)

    def resolve(self, text: str) -> str:
        if LINE_HYPHEN not in text:
            return text
        return self._SPLIT.sub(self._joined, text).replace(LINE_HYPHEN, "-")

    def _joined(self, found: re.Match[str]) -> str:
        left, right = found.group(1), found.group(2)
        around = found.string[found.start() - 1 : found.start()], found.string[found.end() : found.end() + 1]
        inside_chain = "-" in around
        if right in ("and", "or") and not inside_chain:  # "on- or off-balance sheet"
            return f"{left}- {right}"
        return f"{left}-{right}" if self._keeps_hyphen(left, right, inside_chain) else left + right

    def _keeps_hyphen(self, left: str, right: str, inside_chain: bool) -> bool:
        if not right or not left.isalpha() or not right.isalpha() or right[0].isupper():
            return True
        hyphenated = self._words[f"{left}-{right}".lower()]
        solid = self._words[(left + right).lower()]
        if hyphenated or solid:
            return hyphenated > solid
        # Seen in neither form: two words of their own are a compound ("risk-weighted"), a syllable and a word are not.
        if left.lower() in self._HYPHENATED:
            return True
        if inside_chain:  # "jump-to-default"
            return self._words[right.lower()] > 0
        both_words = self._words[left.lower()] >= 3 and self._words[right.lower()] >= 3
        return both_words and len(left) > 2 and len(right) > 3 and left.lower() not in self._SOLID


# --- What is not text ------------------------------------------------------------------------------------------------

_BAND = 0.09  # of the page's height, at the top and at the bottom, where running heads stand


def _without_running_heads(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Drops lines of the top or bottom band whose text, digits aside, recurs on other pages."""
    recurring = Counter(key for page in pages for key in {_running_key(line) for line in page if _in_band(line)})
    enough = 2 if len(pages) < 20 else max(3, len(pages) // 20)
    return [
        [line for line in page if not (_in_band(line) and recurring[_running_key(line)] >= enough)] for page in pages
    ]


def _in_band(line: Line) -> bool:
    if not line.page_height or is_head(line.text) or ARTICLE_HEAD.match(line.text):
        return False
    return not _BAND * line.page_height < line.baseline < (1 - _BAND) * line.page_height + line.size


def _running_key(line: Line) -> str:
    words = re.sub(r"\d+", "#", line.text).split()
    half = len(words) // 2
    # Some files print their running head twice, one upon the other.
    return " ".join(words[:half] if words[:half] == words[half:] else words)


def _body_size(pages: Sequence[Sequence[Line]]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


_MARK = re.compile(r"\(?\d{1,3}\)?(?:\s|$)|[*†‡]|\d{1,3}(?=[A-Z(])")


def _without_footnotes(lines: Sequence[Line], body_size: float) -> list[Line]:
    """Drops the footnotes: the lines at the end of the page that are small and begin with a smaller mark."""
    start = len(lines)
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].size > 0.93 * body_size:
            break
        if _begins_footnote(lines, index, body_size):
            start = index
    return list(lines[:start])


def _begins_footnote(lines: Sequence[Line], index: int, body_size: float) -> bool:
    line = lines[index]
    if line.text == "(" and index + 1 < len(lines):
        mark = lines[index + 1]
        return mark.lead_size < 0.7 * body_size and re.match(r"[\d*]{1,3}\)", mark.text) is not None
    return line.lead_size < 0.7 * body_size and _MARK.match(line.text) is not None


# --- Paragraphs ------------------------------------------------------------------------------------------------------


def _rejoin_baseline(lines: Sequence[Line]) -> Iterator[Line]:
    """Joins runs of one printed line that the engine gave apart, as it does behind a superscript."""
    current: Line | None = None
    for line in lines:
        if current is None:
            current = line
            continue
        gap = line.left - current.right
        if _same_row(current, line) and -0.5 * line.size < gap < 1.0 * line.size:
            # A blank stands between words; what follows a superscript directly is the sentence's own punctuation.
            blank = "" if gap < 0.15 * line.size and line.text[0] in ".,;:)" else " "
            current = replace(
                current,
                text=f"{current.text}{blank}{line.text}",
                right=line.right,
                end_baseline=line.end_baseline,
                bold=current.bold and line.bold,
                italic=current.italic and line.italic,
            )
        else:
            yield current
            current = line
    if current is not None:
        yield current


def _same_row(line: Line, other: Line) -> bool:
    """One row, also where the first run ends in a superscript, which stands up to half a line higher."""
    if line.page != other.page:
        return False
    return abs(line.baseline - other.baseline) < 0.1 * other.size or (
        line.end_baseline < line.baseline and abs(line.end_baseline - other.baseline) < 0.1 * other.size
    )


def _paragraphs(lines: Sequence[Line], hyphens: Hyphens) -> Iterator[Block]:
    pitch = _Pitch(lines)
    current: list[Line] = []
    for line in lines:
        if current and _begins_block(current, line, pitch):
            yield _block(current, hyphens)
            current = []
        current.append(line)
    if current:
        yield _block(current, hyphens)


class _Pitch:
    """The usual distance of two lines of a paragraph, by font and size, in points."""

    def __init__(self, lines: Sequence[Line]) -> None:
        seen: dict[tuple[str, float], Counter[float]] = {}
        overall: Counter[float] = Counter()
        for before, line in pairwise(lines):
            distance = before.end_baseline - line.baseline
            if before.page == line.page and 0.9 * line.size < distance < 2.2 * line.size:
                seen.setdefault(self._style(line), Counter())[round(distance, 1)] += 1
                overall[round(distance / line.size, 1)] += 1
        self._usual = {style: _smallest_common(counts) for style, counts in seen.items() if counts.total() >= 5}
        self._ratio = _smallest_common(overall) if overall else 1.2

    def of(self, line: Line) -> float:
        return self._usual.get(self._style(line), self._ratio * line.size)

    @staticmethod
    def _style(line: Line) -> tuple[str, float]:
        return line.font, round(line.size, 1)


def _smallest_common(distances: Counter[float]) -> float:
    """The smallest common distance; the most common one may be that of paragraphs, where they are short."""
    return min(distance for distance, count in distances.items() if count >= 0.15 * distances.most_common(1)[0][1])


_LIST_GOES_ON = re.compile(r"(?:[.;:,]|\b(?:and|or))[\"'\u2019\u201d]?(?: ?\(\d+\))?$")
_NUMBERED_START = re.compile(r"\d{1,3}[a-z]{0,2}\. ?(?=[A-Z(\u2018'\u201c\"])")


def _begins_block(current: Sequence[Line], line: Line, pitch: _Pitch) -> bool:
    before = current[-1]
    distance = before.end_baseline - line.baseline
    new_column = before.page != line.page or distance < -line.size
    wide = not new_column and distance > 1.2 * pitch.of(line)
    same_style = (before.bold, before.italic) == (line.bold, line.italic)
    if is_head(before.text) and len(current) == 1:
        return True
    if is_head(line.text) and (new_column or wide or not same_style):
        return True
    # Bold words may end a line within a sentence; behind a heading no sentence goes on.
    if wide or (before.bold != line.bold and not line.text[0].islower()):
        return True
    if _size_differs(before, line) and (new_column or distance > 0.5 * line.size):
        return True
    starts_item = POINT.match(line.text) or _NUMBERED_START.match(line.text)
    if starts_item and (_LIST_GOES_ON.search(before.text) or is_head(before.text)):
        return True
    return new_column and _ended_early(current, before)


def _size_differs(before: Line, line: Line) -> bool:
    # Up to a tenth is a change of font within a sentence; a line of formula has any size.
    return abs(before.size - line.size) > 0.1 * max(before.size, line.size)


def _ended_early(current: Sequence[Line], last: Line) -> bool:
    """Whether a paragraph's last line ends in a full stop and short of its column's edge."""
    edge = max(line.right for line in current)
    return len(current) > 1 and last.text[-1:] in ".:;" and last.right < edge - 2 * last.size


# "=" prints as "¼", parentheses as "ð" and "Þ", "+" as "þ", roots as "ffiffi" in the Official Journal's formula fonts.
_BROKEN_FORMULA = re.compile(r"[¼ðÞþ∑∏√∫]|ffiffi|�")
_FORMULA_FONT = re.compile(r"math|tex_|mt-?extra|cmsy|cmex|cmmi", re.IGNORECASE)


def _block(lines: Sequence[Line], hyphens: Hyphens) -> Block:
    text = lines[0].text
    for line in lines[1:]:
        # A hyphen that ends a line stays next to what it continues.
        text = text + line.text if text.endswith(LINE_HYPHEN) else f"{text} {line.text}"
    return Block(
        text=hyphens.resolve(text),
        page_start=lines[0].page,
        page_end=lines[-1].page,
        size=Counter(round(line.size, 1) for line in lines).most_common(1)[0][0],
        bold=all(line.bold for line in lines),
        italic=all(line.italic for line in lines),
        formula=any(_BROKEN_FORMULA.search(line.text) or _FORMULA_FONT.search(line.font) for line in lines),
    )

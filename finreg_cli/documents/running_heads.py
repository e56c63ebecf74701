"""What stands on page after page and is no text: running heads, footers, page numbers, watermarks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from finreg_cli.documents.lines import Line
from finreg_cli.domain.legal_structure import ARTICLE_HEAD, is_head

_BAND, _WIDE_BAND = 0.09, 0.15  # of the page's height, at the top and at the bottom, where running heads stand
_SMALLEST_BAND = 76.0  # points: pages in landscape keep the margins of the others
_FOOTNOTE = re.compile(r"\(?\^|\($")
_ROMAN = re.compile(r"[ivxlc]{1,6}")
_FEWEST_WATERMARKED = 4  # pages; on fewer, the same words at the same place may well be text
_FEWEST_REPEATS = 3  # pages on which a line is the top one at its place before it passes for a table's head
_LONGEST_TABLE_HEAD = 4  # lines
_GRID = 3.0  # points: what stands so near to its place on another page stands at the same one


def without_running_heads(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Drops lines of the top or bottom band whose text, digits aside, recurs on other pages, and watermarks.

    A lone number is one of a page only where nothing but such lines stands further out.
    """
    banded = [[(line, _running_key(line.text)) for line in page if _in_band(line, _WIDE_BAND)] for page in pages]
    wide = Counter(key for page in banded for key in {key for _, key in page})
    narrow = Counter(key for page in banded for key in {key for line, key in page if _in_band(line, _BAND)})
    enough = 2 if len(pages) < 20 else max(3, len(pages) // 20)

    def recurs(line: Line, key: str) -> bool:
        if narrow[key] >= enough and (_in_band(line, _BAND) or _has_letters(key)):
            return True
        return _has_letters(key) and wide[key] > max(enough, len(pages) / 4)

    places = _watermarks(pages)
    kept: list[list[Line]] = []
    for page, band in zip(pages, banded, strict=True):
        heads = {id(line) for line in _heads(page, [line for line, key in band if recurs(line, key)])}
        kept.append([line for line in page if id(line) not in heads and (not places or _place(line) not in places)])
    return _without_repeated_table_heads(kept)


def _in_band(line: Line, share: float) -> bool:
    height, baseline = line.page_height, line.baseline
    if _WIDE_BAND * height < baseline < (1 - _WIDE_BAND) * height:
        return False
    band = max(share * height, min(_SMALLEST_BAND, _WIDE_BAND * height))
    if not height or band < baseline < height - band + line.size:
        return False
    # A footnote that cites a journal recurs, digits aside, at the foot of many pages.
    return not (is_head(line.text) or ARTICLE_HEAD.match(line.text) or _FOOTNOTE.match(line.text))


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def _running_key(text: str) -> str:
    words = re.sub(r"\d+", "#", text).split()
    half = len(words) // 2
    if words and words[:half] == words[half:]:
        words = words[:half]  # some files print their running head twice, one upon the other
    return " ".join("#" if _ROMAN.fullmatch(word) else word for word in words)


def _heads(page: Sequence[Line], recurring: Sequence[Line]) -> list[Line]:
    heads = [line for line in recurring if _has_letters(line.text)]
    numbers = [line for line in recurring if not _has_letters(line.text)]
    if not numbers:
        return heads
    others = {id(line) for line in recurring}
    text = [line.baseline for line in page if id(line) not in others]
    lowest, highest = min(text, default=0.0), max(text, default=0.0)
    return heads + [line for line in numbers if not text or not lowest <= line.baseline <= highest]


def _watermarks(pages: Sequence[Sequence[Line]]) -> set[tuple[str, int, int]]:
    """Texts that stand at the same place of more than half of the pages."""
    if len(pages) < _FEWEST_WATERMARKED:
        return set()
    seen = Counter(place for page in pages for place in {_place(line) for line in page})
    return {place for place, count in seen.items() if count > len(pages) / 2}


def _without_repeated_table_heads(pages: list[list[Line]]) -> list[list[Line]]:
    """Drops the head that a table repeats at the top of each page: text would run from cell to cell but for it."""
    tops = [_from_top(page) for page in pages]
    seen = Counter(_place(line) for top in tops for line in top)
    kept = pages[:1]
    for before, top, page in zip(tops, tops[1:], pages[1:], strict=False):
        places = {_place(line) for line in before}
        repeated: set[int] = set()
        for line in top:
            if _place(line) not in places or seen[_place(line)] < _FEWEST_REPEATS or not _has_letters(line.text):
                break
            repeated.add(id(line))
        kept.append([line for line in page if id(line) not in repeated] if len(repeated) < len(page) else page)
    return kept


def _from_top(page: Sequence[Line]) -> list[Line]:
    return sorted(page, key=lambda line: -line.baseline)[:_LONGEST_TABLE_HEAD]


def _place(line: Line) -> tuple[str, int, int]:
    return line.text, round(line.left / _GRID), round(line.baseline / _GRID)

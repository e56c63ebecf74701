"""Footnotes: told from the text of their page, kept apart, and put behind the block that holds their mark.

Their print is smaller than the body's, and they begin with a mark that is smaller still. Numbering starts again on each
page of the Official Journal, and runs through most papers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from finreg_cli.documents.lines import Line
from finreg_cli.documents.rows import rejoined
from finreg_cli.domain.legal_structure import Block

_MARK = r"(?:\d{1,3}|[*\u2020\u2021]{1,3})"
_RAISED_START = re.compile(rf"(?:\(?\^{_MARK}\)?|\^\({_MARK}\))(?![\d,.])")
_SMALL_START = re.compile(rf"\(?{_MARK}\)?(?:\s|$)|{_MARK}(?=[A-Z(h])")
_START = re.compile(rf"(?P<printed>\(?\^?\(?(?P<mark>{_MARK})\)?)\s*")
_IN_TEXT = re.compile(rf"(?P<before>\w*)(?P<open>\(\^|\^\(|\^)(?P<mark>{_MARK})(?![\d\w])")
_SMALL = 0.93  # of the body's size: the most that a footnote's print has
_MARK_SIZE = 0.85  # of the footnote's size: the most that its mark has
_LONGEST_MARK = 5  # characters
_ENDS = re.compile(r"[.;!?)\u2019\"'/\]]$")
_NOTE_ENDS = re.compile(r"[.;!?)]$|/")
_FARTHEST = 2.6  # sizes of the print from one line of a footnote down to the next


@dataclass
class Footnote:
    """A footnote; ``printed_mark`` as print has it: ``^3``, ``(^1)``, with raised brackets ``^(1)``.

    ``mark`` is the number or sign alone; ``lines`` begin behind it.
    """

    mark: str
    printed_mark: str
    page: int
    lines: list[Line] = field(default_factory=list)

    @property
    def bracketed(self) -> bool:
        return "(" in self.printed_mark


def separated(pages: Sequence[Sequence[Line]]) -> tuple[list[list[Line]], list[Footnote]]:
    """The pages without their footnotes, and these in the order of their pages."""
    body_size = _common_size(line for page in pages for line in page)
    bodies: list[list[Line]] = []
    notes: list[Footnote] = []
    for page in pages:
        size = max(body_size, _common_size(page))
        begin, end = _span(page, size, notes)
        body = [*page[:begin], *page[end:]]
        bodies.append(body)
        if begin < end:
            marks = {found["mark"] for line in body if "^" in line.text for found in _IN_TEXT.finditer(line.text)}
            _gather(list(rejoined(page[begin:end])), notes, marks, size)
    return bodies, notes


def _common_size(lines: Iterable[Line]) -> float:
    """The size of most characters, in points."""
    sizes: defaultdict[float, int] = defaultdict(int)
    for line in lines:
        sizes[line.size] += len(line.text)
    rounded: Counter[float] = Counter()
    for size, count in sizes.items():
        rounded[round(size, 1)] += count
    return rounded.most_common(1)[0][0] if rounded else 0.0


def _span(page: Sequence[Line], body_size: float, notes: Sequence[Footnote]) -> tuple[int, int]:
    """Where the page's footnotes stand among its lines: a run of small print at the foot of the page."""
    small = _SMALL * body_size
    index = len(page)
    while index > 0:
        end = index
        while index > 0 and page[index - 1].size <= small:
            index -= 1
        begin = _first_note(page, index, end, body_size, notes)
        if begin < end and (end == len(page) or _is_lowest(page, begin, end)):
            return begin, _last_line(page, begin, end)
        while index > 0 and page[index - 1].size > small:
            index -= 1
    return len(page), len(page)


def _first_note(page: Sequence[Line], begin: int, end: int, body_size: float, notes: Sequence[Footnote]) -> int:
    """The first line of a footnote in a run of small print, ``end`` where there is none."""
    for index in range(begin, end):
        if _begins_note(page, index, body_size):
            return _with_rest_of_note_before(page, begin, index, notes)
    goes_on = begin < end and _goes_on(page[begin], notes) and _is_lowest(page, begin, end)
    return begin if goes_on else end


def _with_rest_of_note_before(page: Sequence[Line], begin: int, first: int, notes: Sequence[Footnote]) -> int:
    """Takes in the lines above the page's first mark, where a footnote of the page before goes on in them."""
    if begin < first and _goes_on(page[begin], notes):
        falling = all(
            0 < page[i].baseline - page[i + 1].baseline < _FARTHEST * page[i].size for i in range(begin, first)
        )
        return begin if falling else first
    return first


def _goes_on(line: Line, notes: Sequence[Footnote]) -> bool:
    if not notes or notes[-1].page != line.page - 1 or not notes[-1].lines:
        return False
    last = notes[-1].lines[-1]
    return abs(last.size - line.size) < 0.1 and last.font == line.font and _ENDS.search(last.text) is None


def _begins_note(lines: Sequence[Line], index: int, body_size: float) -> bool:
    line = lines[index]
    if line.place:
        return False  # a cell may begin with a raised mark of its own
    following = lines[index + 1] if index + 1 < len(lines) else None
    if following and line.text == "(":
        return following.lead_size < 0.75 * body_size and re.match(r"\^?[\d*]{1,3}\)", following.text) is not None
    if _RAISED_START.match(line.text):
        return True
    if _SMALL_START.match(line.text) is None:
        return False
    if following and len(line.text) <= _LONGEST_MARK:  # a mark alone on its line, as before a long address
        return line.size <= _MARK_SIZE * following.size and following.size <= _SMALL * body_size
    return line.lead_size <= _MARK_SIZE * line.size or line.lead_size < 0.7 * body_size


def _is_lowest(page: Sequence[Line], begin: int, end: int) -> bool:
    """Whether no other line of the page stands below the run, in its column."""
    run = page[begin:end]
    left, right = min(line.left for line in run), max(line.right for line in run)
    top = max(line.baseline for line in run)
    others = [*page[:begin], *page[end:]]
    return not any(line.baseline < top and line.left < right and line.right > left for line in others)


def _last_line(page: Sequence[Line], begin: int, end: int) -> int:
    """Where the footnotes end: the lines of one go down the page, each close to the one before."""
    for index in range(begin + 1, end):
        before, line = page[index - 1], page[index]
        if before.end_baseline - line.baseline > 2 * _FARTHEST * max(before.size, line.size):
            return index
    return end


def _gather(lines: Sequence[Line], notes: list[Footnote], marks: set[str], body_size: float) -> None:
    """Puts the lines of a page's footnotes to their notes; those before the first mark to that of the page before.

    Args:
        lines: the page's footnotes, one line to a printed row.
        notes: those so far; the page's are added.
        marks: the raised marks of the page's text.
        body_size: in points.
    """
    for index, line in enumerate(lines):
        text = line.text
        if _begins_note(lines, index, body_size):
            text = _begun(text, line.page, notes)
        while found := _next_mark(text, notes[-1].mark, marks):
            _add(text[: found.start()], line, notes)
            text = _begun(text[found.start() :], line.page, notes)
        _add(text, line, notes)


def _begun(text: str, page: int, notes: list[Footnote]) -> str:
    """Adds the footnote that the text begins with; gives what follows its mark."""
    found = _START.match(text)
    assert found is not None  # the caller has seen the mark
    mark, printed = found["mark"], found["printed"]
    if "^" not in printed:
        printed = f"(^{mark})" if "(" in printed else f"^{mark}"
    notes.append(Footnote(mark, printed, page))
    return text[found.end() :]


def _add(text: str, line: Line, notes: Sequence[Footnote]) -> None:
    if text.strip():
        notes[-1].lines.append(line.with_text(text.strip()))


def _next_mark(text: str, mark: str, marks: set[str]) -> re.Match[str] | None:
    """Where the next footnote begins within a line, as an engine may give several as one line.

    Its mark is raised, or bare where the page's text holds it as a raised one.
    """
    if not mark.isdigit():
        return None
    number = str(int(mark) + 1)
    if raised := re.search(rf"(?<=\s)(?:\(?\^{number}\)?|\^\({number}\))(?!\d)", text):
        return raised
    bare = re.search(rf"(?P<before>\S+)\s(?={number} ?[A-Zh(])", text) if number in marks else None
    # Behind a sentence or an address; within a sentence it is any number ("an opinion of 2 February").
    return re.compile(number).search(text, bare.end()) if bare and _NOTE_ENDS.search(bare["before"]) else None


# --- Back to their marks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A raised mark in a block. ``doubtful`` behind a lone letter or digit, where it may as well be a power."""

    block: int
    bracketed: bool
    doubtful: bool


def attached(
    blocks: Sequence[Block], lines: Sequence[Sequence[Line]], notes: Sequence[tuple[Footnote, Block]]
) -> list[Block]:
    """The blocks with each footnote behind the block that holds its mark.

    Args:
        blocks: the text's, in reading order.
        lines: those that each block was made of.
        notes: each with its block.
    """
    if not notes:
        return list(blocks)
    places = _marks(lines)
    behind: defaultdict[int, list[Block]] = defaultdict(list)
    used: set[tuple[int, str, int]] = set()
    for note, block in notes:
        behind[_behind_table(blocks, _home(note, blocks, places, used))].append(block)
    result = behind.pop(-1, [])
    for index, block in enumerate(blocks):
        result.append(block)
        result += behind.get(index, ())
    return result


def _marks(lines: Sequence[Sequence[Line]]) -> dict[tuple[int, str], list[_Place]]:
    """Page and mark -> where it stands, in reading order."""
    places: defaultdict[tuple[int, str], list[_Place]] = defaultdict(list)
    for index, printed in enumerate(lines):
        for line in printed:
            if "^" in line.text:
                for found in _IN_TEXT.finditer(line.text):
                    doubtful = found["open"] == "^" and len(found["before"]) == 1
                    places[line.page, found["mark"]].append(_Place(index, "(" in found["open"], doubtful))
    return places


def _home(
    note: Footnote,
    blocks: Sequence[Block],
    places: dict[tuple[int, str], list[_Place]],
    used: set[tuple[int, str, int]],
) -> int:
    """The block that holds the note's mark, on its page or the one before, else the last that begins by its page."""
    for page in (note.page, note.page - 1):
        free = [
            (place.bracketed != note.bracketed, place.doubtful, order, place.block)
            for order, place in enumerate(places.get((page, note.mark), ()))
            if (page, note.mark, order) not in used
        ]
        if free:
            _, _, order, block = min(free)
            used.add((page, note.mark, order))
            return block
    return max((index for index, block in enumerate(blocks) if block.page_start <= note.page), default=-1)


def _behind_table(blocks: Sequence[Block], index: int) -> int:
    """A table stays in one piece: its footnotes stand behind its last row."""
    if index >= 0 and blocks[index].kind == "table":
        while index + 1 < len(blocks) and blocks[index + 1].kind == "table":
            index += 1
    return index

"""From printed lines to paragraphs: running heads go, footnotes stand apart, wrapped lines join, hyphens are resolved.

Lines stay in content-stream order. It is the reading order in the Official Journal, whose two columns any sorting by
position would break.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from finreg_cli.documents.blanks import with_item_apart
from finreg_cli.documents.characters import LEADER, clean
from finreg_cli.documents.columns import in_reading_order
from finreg_cli.documents.footnotes import Footnote, attached, separated
from finreg_cli.documents.hyphens import Vocabulary, unwrapped
from finreg_cli.documents.lines import LINE_HYPHEN, Line
from finreg_cli.documents.marks import is_formula_font
from finreg_cli.documents.rows import across_cells, rejoined, with_marks
from finreg_cli.documents.running_heads import without_running_heads
from finreg_cli.documents.tables import Row, find, ruled
from finreg_cli.domain.legal_structure import POINT, Block, is_head


def blocks(pages: Sequence[Sequence[Line]]) -> list[Block]:
    """The paragraphs, table rows and footnotes of a document in reading order, from the lines of its pages."""
    cleaned = _cleaned(pages)
    words = Vocabulary(line.text for page in cleaned for line in page)
    respaced = [[_respaced(line, words) for line in page] for page in cleaned]
    bodies, notes = separated(without_running_heads(respaced))
    items = [item for page in bodies for item in _items(page)]
    printed = list(_paragraphs(items))
    found = [_row_block(group, words) if isinstance(group, Row) else _block(group, words) for group in printed]
    lines = [group.lines if isinstance(group, Row) else group for group in printed]
    return attached(found, lines, [(note, _note_block(note, words)) for note in notes if note.lines])


def text(pages: Sequence[Sequence[Line]]) -> str:
    """The printed lines of a document in reading order, with a blank line between two pages.

    Unlike `blocks` it leaves out nothing: a labelled value may stand in a running head or a footnote. A word that the
    print breaks at the end of a line is whole again; raised characters stand without their caret, as in print.
    """
    rows = [list(rejoined(across_cells(page))) for page in _cleaned(pages)]
    words = Vocabulary(line.text for page in rows for line in page)
    printed = "\n\n".join("\n".join(line.text for line in page) for page in rows if page)
    return words.resolve(re.sub(rf"{LINE_HYPHEN}\n+", LINE_HYPHEN, printed)).replace("^", "")


def _cleaned(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    return [list(with_marks(line for line in map(clean, page) if line.text)) for page in pages]


def _respaced(line: Line, words: Vocabulary) -> Line:
    return line.with_text(words.respaced(line.text)) if line.text[1:4:2] == "  " else line


def _items(page: Sequence[Line]) -> Iterator[Line | Row]:
    """The rows of print of a page, those of its tables as such."""
    for lines, row in _runs(ruled(page)):
        for rest, found in _runs(find(_with_leaders(in_reading_order(lines)))):
            yield from rejoined(rest)
            if found:
                yield found
        if row:
            yield row


def _runs(items: Iterable[Line | Row]) -> Iterator[tuple[list[Line], Row | None]]:
    """The lines up to each row, and the row; the last ones without a row."""
    run: list[Line] = []
    for item in items:
        if isinstance(item, Row):
            yield run, item
            run = []
        else:
            run.append(item)
    if run:
        yield run, None


_FEWEST_ENTRIES = 3  # of a table of contents on a page


def _with_leaders(page: list[Line]) -> list[Line]:
    """The same leader in each entry of a table of contents, also where a mere gap leads to the page's number."""
    entries = [line for line in page if len(line.cells) == 2 and line.cells[1].text.isdigit()]
    edge = Counter(round(line.right) for line in entries).most_common(1)
    if not edge or edge[0][1] < _FEWEST_ENTRIES:
        return page
    numbers = [int(line.cells[1].text) for line in entries if abs(line.right - edge[0][0]) < 2]
    if numbers != sorted(numbers):
        return page
    leading = {id(line) for line in entries if abs(line.right - edge[0][0]) < 2}
    return [
        replace(line, text=f"{line.cells[0].text} {LEADER} {line.cells[1].text}", cells=())
        if id(line) in leading
        else line
        for line in page
    ]


# --- Paragraphs ------------------------------------------------------------------------------------------------------


def _paragraphs(items: Sequence[Line | Row]) -> Iterator[list[Line] | Row]:
    pitch = _Pitch([item for item in items if isinstance(item, Line)])
    current: list[Line] = []
    for item in items:
        if current and (isinstance(item, Row) or _begins_block(current, item, pitch)):
            yield current
            current = []
        if isinstance(item, Row):
            yield item
        else:
            current.append(item)
    if current:
        yield current


_WIDEST_PITCH = 2.2  # sizes of the print
_FEWEST_AT_EDGE = 3  # lines of a page that end at the edge of a column


class _Pitch:
    """How the document sets a paragraph: the usual distance of two lines by page, font and size, in points; the right
    edges of its columns; the size of its body."""

    def __init__(self, lines: Sequence[Line]) -> None:
        going_on: defaultdict[tuple[int, str, float], Counter[float]] = defaultdict(Counter)
        seen: defaultdict[tuple[str, float], Counter[float]] = defaultdict(Counter)
        sizes: Counter[float] = Counter()
        self._edges = Counter((line.page, round(line.right)) for line in lines)
        for before, line in pairwise(lines):
            sizes[line.size] += 1
            distance = _foot(before) - line.baseline
            if before.page == line.page and 0.9 * line.size < distance < _WIDEST_PITCH * line.size:
                distance = round(distance, 1)
                seen[line.font, line.size][distance] += 1
                if line.text[0].islower() and before.text[-1] not in ".;:":
                    going_on[line.page, line.font, line.size][distance] += 1
        self._usual = {style: _smallest_common(counts) for style, counts in seen.items() if counts.total() >= 5}
        self._on_page = {
            style: counts.most_common(1)[0][0] for style, counts in going_on.items() if counts.total() >= 3
        }
        ratios = Counter(round(pitch / size, 1) for (_, size), pitch in self._usual.items())
        self._ratio = _smallest_common(ratios) if ratios else 1.2
        self.body_size = sizes.most_common(1)[0][0] if sizes else 0.0

    def of(self, line: Line) -> float:
        """A sentence that goes on shows the page's own pitch; else the document's for such print has to do."""
        usual = self._usual.get((line.font, line.size)) or self._ratio * line.size
        return max(self._on_page.get((line.page, line.font, line.size), 0.0), usual)

    def fills_column(self, line: Line) -> bool:
        edge = round(line.right)
        return sum(self._edges[line.page, edge + slip] for slip in (-1, 0, 1)) >= _FEWEST_AT_EDGE


def _foot(line: Line) -> float:
    """The baseline of a line's end; a raised mark there does not count."""
    return line.baseline if 0 < line.end_baseline - line.baseline < line.size else line.end_baseline


def _smallest_common(distances: Counter[float]) -> float:
    """The smallest common distance; the most common one may be that of paragraphs, where they are short."""
    most = max(distances.values())
    return min(distance for distance, count in distances.items() if count >= 0.15 * most)


_LONGEST_HEAD = 40  # characters
_LIST_GOES_ON = re.compile(r"(?:[.;:,]|\b(?:and|or))[\"'\u2019\u201d]?(?: ?\(\^?\d+\))?$")
_NUMBERED_START = re.compile(r"\d{1,3}[a-z]{0,2}\. ?(?=[A-Z(\u2018'\u201c\"])")
_ENTRY_ENDS = re.compile(rf" {LEADER} \d+$")


def _begins_block(current: Sequence[Line], line: Line, pitch: _Pitch) -> bool:
    before = current[-1]
    distance = _foot(before) - line.baseline
    new_column = before.page != line.page or distance < -line.size
    wide = not new_column and distance > 1.2 * pitch.of(line)
    # Bold words may end a line within a sentence; behind a heading no sentence goes on.
    if (wide and not _runs_on(before, line, distance, pitch)) or (
        before.bold != line.bold and not line.text[0].islower()
    ):
        return True
    if before.page != line.page and _stands_out(before, pitch) and not line.text[0].islower():
        return True
    after_head = _is_head(before.text)
    if after_head and len(current) == 1:
        return True
    if (new_column or before.italic != line.italic) and _is_head(line.text):
        return True
    if _size_differs(before, line) and (new_column or distance > 0.5 * line.size):
        return True
    starts_item = POINT.match(line.text) or _NUMBERED_START.match(line.text)
    if starts_item and (after_head or _LIST_GOES_ON.search(before.text) or _BROKEN_FORMULA.search(before.text)):
        return True
    if LEADER in before.text and _ENTRY_ENDS.search(before.text):
        return True
    return new_column and _ended_early(current, before)


def _runs_on(before: Line, line: Line, distance: float, pitch: _Pitch) -> bool:
    """Whether a sentence goes on over a wide gap, as in lists with more lead than the rest of the page."""
    return (
        distance < _WIDEST_PITCH * line.size
        and line.text[0].islower()
        and before.text[-1].islower()
        and (before.font, before.size) == (line.font, line.size)
        and pitch.fills_column(before)
    )


def _stands_out(line: Line, pitch: _Pitch) -> bool:
    return line.bold or line.size > 1.15 * pitch.body_size


def _is_head(text: str) -> bool:
    return len(text) <= _LONGEST_HEAD and is_head(text)


def _size_differs(before: Line, line: Line) -> bool:
    # Up to a tenth is a change of font within a sentence; a line of formula has any size.
    return abs(before.size - line.size) > 0.1 * max(before.size, line.size)


def _ended_early(current: Sequence[Line], last: Line) -> bool:
    """Whether a paragraph's last line ends in a full stop and short of its column's edge."""
    edge = max(line.right for line in current)
    return len(current) > 1 and last.text[-1:] in ".:;" and last.right < edge - 2 * last.size


# --- Blocks ----------------------------------------------------------------------------------------------------------

# "=" prints as "¼", parentheses as "ð" and "Þ", "+" as "þ", roots as "ffiffi" in the Official Journal's formula fonts.
_BROKEN_FORMULA = re.compile(r"[¼ðÞþ∑∏√∫]|ffiffi|�")


# The print sets a footnote's mark close to its word, whatever blanks the file has about it.
_MARK_APART = re.compile(r" ?(\^\d{1,3})\b(?: (?=[.,;:)]))?")


def _block(lines: Sequence[Line], words: Vocabulary) -> Block:
    first = lines[0]
    size, bold, italic = first.size, first.bold, first.italic
    if len(lines) > 1:
        sizes = [line.size for line in lines]
        size = size if sizes.count(size) == len(sizes) else Counter(sizes).most_common(1)[0][0]
        for line in lines:
            bold, italic = bold and line.bold, italic and line.italic
    text = with_item_apart(words.resolve(unwrapped(line.text for line in lines)))
    if "^" in text:
        text = _MARK_APART.sub(r"\1", text)
    return Block(
        text=text,
        page_start=first.page,
        page_end=lines[-1].page,
        size=round(size, 1),
        bold=bold,
        italic=italic,
        formula=_BROKEN_FORMULA.search(text) is not None or any(is_formula_font(line.font) for line in lines),
    )


def _note_block(note: Footnote, words: Vocabulary) -> Block:
    block = _block(note.lines, words)
    return replace(block, text=f"{note.printed_mark} {block.text}", kind="footnote")


def _row_block(row: Row, words: Vocabulary) -> Block:
    block = _block(row.lines, words)
    return replace(
        block,
        text=words.resolve(f"| {' | '.join(row.cells)} |".replace("|  |", "| |").replace("|  |", "| |")),
        kind="table",
    )

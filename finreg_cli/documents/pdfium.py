"""The default engine: pdfium's text in content-stream order, with the geometry and the font of every line.

pdfium runs in C++ and can end its process on a hostile file: it is only called within the workers of
``finreg_cli.documents.pool``. A call through ctypes costs about a microsecond, and a page has thousands of characters:
a line is measured at its two ends and where pdfium says that its print changes, never character by character.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice, pairwise, zip_longest
from statistics import median

import pypdfium2
import pypdfium2.raw as pdfium

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import LINE_HYPHEN, Cell, Line, Place
from finreg_cli.documents.marks import Run, carets, font_style, printed
from finreg_cli.documents.pdfium_rules import Box, has_many_paths, ruled_lines
from finreg_cli.documents.ruled import Grid, grids
from finreg_cli.documents.tables import may_have_table
from finreg_cli.domain.legal_structure import Bookmark

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_UNKNOWN = re.compile("[\ufffe\x02]")
_WORD = re.compile(r"[^\W\d_]{4,}")  # shorter ones are no two words
_LOST_BLANK = 0.1  # em: letters of a word stand closer
_WORD_GAP = 0.25  # em: in letter-spaced heads the gap between words is 0.44 em, within a word 0
_CELL_GAP = 0.9  # em: a justified line's blanks are narrower, nearly always
_WIDEST_BLANK = 3.5  # em: in a justified line of few words
_CUT_GAP = 0.35  # em: a blank is narrower, and the margins of two cells make up more
_WIDE_RUN = 0.7  # em a character: wider, and there are gaps in the run; prose has 0.45, capitals 0.65
_INSIDE = 1.0  # points from the edge of a word: a rule may touch its box
_RARE = 2  # occurrences: a word that is found so often may be two whose blank was lost
_MOST_BOOKMARKS = 5_000
_DEEPEST_BOOKMARK = 10

_FEWEST_PATHS = 16  # on a page, that may well be the rules of a table


class PdfiumEngine:
    """Reads pages through pdfium's raw API.

    Raises:
        ReadError: from the constructor and from `lines`: ``encrypted`` or ``parse``.
    """

    name = "pdfium"

    def __init__(self, data: bytes) -> None:
        try:
            self._pdf = pypdfium2.PdfDocument(data)
            self.pages = len(self._pdf)
        except pypdfium2.PdfiumError as error:
            raise _translated(error) from error

    def lines(self, first: int = 0, last: int | None = None) -> Iterator[list[Line]]:
        """The lines of each page in turn, of the pages ``first`` up to but not ``last``, counted from 0."""
        seen: Counter[str] = Counter()
        for index in range(first, self.pages if last is None else min(last, self.pages)):
            with self._glyphs(index) as glyphs:
                lines = list(_Page(glyphs, index + 1, seen).lines())
            yield lines

    def outline(self) -> list[Bookmark]:
        """The file's bookmarks in their order; the first few thousand, should there be more."""
        found: list[Bookmark] = []
        for entry in islice(self._pdf.get_toc(max_depth=_DEEPEST_BOOKMARK), _MOST_BOOKMARKS):
            destination = entry.get_dest()
            page = destination.get_index() if destination else None
            title = " ".join(printed(entry.get_title()).split())
            found.append(Bookmark(entry.level, title, None if page is None else page + 1))
        return found

    @contextmanager
    def _glyphs(self, index: int) -> Iterator[_Glyphs]:
        """The characters of a page, counted from 0."""
        # Raw, as the objects of the helpers and their finalizers cost as much as a tenth of a page's text.
        page = pdfium.FPDF_LoadPage(self._pdf.raw, index)
        textpage = pdfium.FPDFText_LoadPage(page) if page else None
        try:
            if not textpage:
                raise ReadError("parse", f"page {index + 1}: cannot be loaded")
            width, height = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
            if pdfium.FPDFPage_GetRotation(page) % 2:
                width, height = height, width  # the coordinates of the text are those of the page before it is turned
            yield _Glyphs(page, textpage, width, height)
        finally:
            if textpage:
                pdfium.FPDFText_ClosePage(textpage)
            if page:
                pdfium.FPDF_ClosePage(page)

    def close(self) -> None:
        self._pdf.close()


def _translated(error: pypdfium2.PdfiumError) -> ReadError:
    if "password" in str(error).lower() or "security" in str(error).lower():
        return ReadError("encrypted", f"needs a password: {error}")
    return ReadError("parse", str(error))


class _Glyphs:
    """pdfium's answers about the characters of one page, by their index. Lengths in points.

    Positions are those of a page that is turned so that most of its text stands upright: tables are often printed
    sideways. ``height`` is that of the page so turned.
    """

    def __init__(self, page: pdfium.FPDF_PAGE, textpage: pdfium.FPDF_TEXTPAGE, width: float, height: float) -> None:
        self._page = page
        self._textpage = textpage
        self._count = pdfium.FPDFText_CountChars(textpage)
        self._turn = self._quarter_turns()
        self._width = width
        self._page_height = height
        self.height = width if self._turn % 2 else height
        # One buffer for all answers of a kind: allocating them would cost more than the calls.
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._to_x, self._to_y = ctypes.byref(self._x), ctypes.byref(self._y)
        self._right, self._bottom = ctypes.c_double(), ctypes.c_double()
        self._to_right, self._to_bottom = ctypes.byref(self._right), ctypes.byref(self._bottom)
        self._matrix = pdfium.FS_MATRIX()
        self._to_matrix = ctypes.byref(self._matrix)
        self._box = pdfium.FS_RECTF()
        self._to_box = ctypes.byref(self._box)
        self._name, self._flags = ctypes.create_string_buffer(128), ctypes.c_int()
        self._to_flags = ctypes.byref(self._flags)

    def text(self) -> str:
        """The page's text, one character for each index."""
        count = self._count
        if count <= 0:
            return ""
        buffer = (ctypes.c_ushort * (count + 1))()
        written = pdfium.FPDFText_GetText(self._textpage, 0, count, buffer) - 1
        text = bytes(buffer)[: 2 * written].decode("utf-16-le", "surrogatepass")
        if len(text) < written:
            # A character outside the basic plane is a pair of surrogates, each with an index of its own.
            text = "".join(map(chr, buffer[:written]))
        if len(text) == count:
            return text
        # Characters that pdfium leaves out of the text would shift all that follows.
        return "".join(chr(pdfium.FPDFText_GetUnicode(self._textpage, index) or 0x20) for index in range(count))

    def is_hyphen(self, index: int) -> bool:
        return int(pdfium.FPDFText_IsHyphen(self._textpage, index)) == 1

    def font(self, index: int) -> tuple[str, bool, bool]:
        """Name, bold and italic of a character's font."""
        pdfium.FPDFText_GetFontInfo(self._textpage, index, self._name, 128, self._to_flags)
        return _style(self._name.value, self._flags.value)

    def size(self, index: int) -> float:
        pdfium.FPDFText_GetMatrix(self._textpage, index, self._to_matrix)
        scale = math.hypot(self._matrix.b, self._matrix.d)
        return round(float(pdfium.FPDFText_GetFontSize(self._textpage, index)) * scale, 2)

    def origin(self, index: int) -> tuple[float, float]:
        pdfium.FPDFText_GetCharOrigin(self._textpage, index, self._to_x, self._to_y)
        if self._turn:
            return self._turned(self._x.value, self._y.value)
        return self._x.value, self._y.value

    def edges(self, index: int) -> tuple[float, float]:
        """Left and right edge of a character's loose box."""
        pdfium.FPDFText_GetLooseCharBox(self._textpage, index, self._to_box)
        if self._turn:
            left, _, right, _ = self._turned_box(self._box.left, self._box.bottom, self._box.right, self._box.top)
            return left, right
        return self._box.left, self._box.right

    def count_runs(self, start: int, count: int) -> int:
        """How many runs of one print (font, size, rise) the characters make up."""
        return int(pdfium.FPDFText_CountRects(self._textpage, start, count))

    def run(self, number: int) -> Box:
        """The ink of a run of those that were counted last: left, bottom, right, top."""
        pdfium.FPDFText_GetRect(self._textpage, number, self._to_x, self._to_y, self._to_right, self._to_bottom)
        box = self._x.value, self._bottom.value, self._right.value, self._y.value
        return self._turned_box(*box) if self._turn else box

    def grids(self, likely: bool) -> list[Grid]:
        """The ruled tables; where none is likely, they are looked for only if there are many paths."""
        if not likely and not has_many_paths(self._page, _FEWEST_PATHS):
            return []
        boxes = ruled_lines(self._page)
        return grids(self._turned_box(*box) for box in boxes) if self._turn else grids(boxes)

    def _quarter_turns(self) -> int:
        """By how many quarter turns, counter-clockwise, most of a sample of the characters are turned."""
        sample = range(0, max(self._count, 0), max(1, self._count // 12))
        turns = Counter(
            round(-pdfium.FPDFText_GetCharAngle(self._textpage, index) / (math.pi / 2)) % 4
            for index in sample
            if not chr(pdfium.FPDFText_GetUnicode(self._textpage, index) or 0x20).isspace()
        )
        return turns.most_common(1)[0][0] if turns else 0

    def _turned(self, x: float, y: float) -> tuple[float, float]:
        if self._turn == 1:
            return y, self._width - x
        if self._turn == 2:
            return self._width - x, self._page_height - y
        return self._page_height - y, x

    def _turned_box(self, left: float, bottom: float, right: float, top: float) -> Box:
        xs, ys = zip(self._turned(left, bottom), self._turned(right, top), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@lru_cache(maxsize=256)
def _style(name: bytes, flags: int) -> tuple[str, bool, bool]:
    font = name.decode("utf-8", "replace")
    return font, *font_style(font, flags)


class _Page:
    """Makes the lines of one page.

    Args:
        glyphs: its characters.
        number: of the page, from 1.
        seen: how often each word occurred so far; kept from page to page.
    """

    def __init__(self, glyphs: _Glyphs, number: int, seen: Counter[str]) -> None:
        self._glyphs = glyphs
        self._number = number
        self._seen = seen
        self._before: tuple[Run, float] | None = None  # how the last line ended: its last run, its right edge

    def lines(self) -> Iterator[Line]:
        contents = list(self._contents())
        lines = [
            self._line(content, position, following)
            for (content, position), following in zip_longest(contents, contents[1:])
        ]
        found = self._glyphs.grids(may_have_table(lines))
        if not found:
            yield from lines
            return
        for line, (content, position) in zip(lines, contents, strict=True):
            yield from self._placed(line, content, position, found)

    # --- Ruled tables ---

    def _placed(self, line: Line, content: str, position: int, found: Sequence[Grid]) -> Iterator[Line]:
        """The line, or its parts that stand in cells of their own, with their places."""
        place = _place(found, line.left + _INSIDE, line.baseline, line.size)
        if place == _place(found, line.right - _INSIDE, line.end_baseline, line.size):
            yield line.in_cell(place) if place else line
            return
        if len(line.cells) > 1 and LINE_HYPHEN not in content:
            apart = [_in_cell(line, cell, found) for cell in line.cells]
            if all(apart):
                yield from filter(None, apart)
                return
        parts = list(self._parts(content, position, found, line.size))
        if len(parts) == 1:
            yield line.in_cell(parts[0][2])
            return
        self._seen.subtract(_WORD.findall(content.lower()))  # they are counted again
        for start, end, place in parts:
            self._before = None
            part = self._line(content[start:end], position + start, None)
            yield part.in_cell(place) if place else part

    def _parts(
        self, content: str, position: int, found: Sequence[Grid], size: float
    ) -> Iterator[tuple[int, int, Place | None]]:
        """Start, end and place of each run of words that stand in one cell."""
        begin, end, current = -1, 0, None
        for start, stop, place in self._placed_words(content, position, found, size):
            if begin < 0:
                begin, current = start, place
            elif place != current and self._are_apart(position + end - 1, position + start, size):
                yield begin, end, current
                begin, current = start, place
            end = stop
        yield begin, end, current

    def _are_apart(self, last: int, first: int, size: float) -> bool:
        """Whether two characters stand farther apart than those of running text, which may cross a column's edge."""
        return abs(self._glyphs.edges(first)[0] - self._glyphs.edges(last)[1]) > _CUT_GAP * size

    def _placed_words(
        self, content: str, position: int, found: Sequence[Grid], size: float
    ) -> Iterator[tuple[int, int, Place | None]]:
        for word in re.finditer(r"\S+", content):
            start, end = word.span()
            left, right = self._glyphs.edges(position + start)[0], self._glyphs.edges(position + end - 1)[1]
            baseline = self._glyphs.origin(position + start)[1]
            first = _place(found, left + _INSIDE, baseline, size)
            if right < left or first == _place(found, right - _INSIDE, baseline, size):
                yield start, end, first  # a word that goes on in the next line ends to the left of where it began
                continue
            for offset in range(start, end):
                left, right = self._glyphs.edges(position + offset)
                yield offset, offset + 1, _place(found, (left + right) / 2, baseline, size)

    # --- Lines ---

    def _contents(self) -> Iterator[tuple[str, int]]:
        """The text of each line that is not blank, with the index of its first character."""
        text = _UNKNOWN.sub(lambda found: self._hyphen(found.start()), self._glyphs.text())
        position = 0
        for found in _LINE_BREAK.finditer(text + "\n"):
            content = text[position : found.start()]
            if content and not content.isspace():
                yield content, position
            position = found.end()

    def _hyphen(self, index: int) -> str:
        """pdfium has one mark for a hyphen at a line's end and for a glyph of which no font says what it stands for."""
        return LINE_HYPHEN if self._glyphs.is_hyphen(index) else "\ufffd"

    def _line(self, content: str, position: int, following: tuple[str, int] | None) -> Line:
        glyphs = self._glyphs
        first, last = len(content) - len(content.lstrip()), len(content.rstrip()) - 1
        count = glyphs.count_runs(position, len(content))
        runs = [glyphs.run(number) for number in range(count)] if count > 1 else []
        (left, baseline), (_, end_baseline) = glyphs.origin(position + first), glyphs.origin(position + last)
        right = glyphs.edges(position + last)[1]
        font, bold, italic = glyphs.font(position + first)
        lead_size = size = glyphs.size(position + first)
        if count > 1:
            middle = _inked_from(content, (first + last) // 2)
            size = glyphs.size(position + middle)
            font, bold_inside, italic_inside = glyphs.font(position + middle)
            _, bold_at_end, italic_at_end = glyphs.font(position + last)
            bold, italic = bold and bold_inside and bold_at_end, italic and italic_inside and italic_at_end
        end_size = glyphs.size(position + last) if count > 1 else size
        marks: list[int] = []
        before = self._beside(left, baseline, lead_size)
        after = self._after(following, right, end_baseline, end_size)
        if before or after or _may_have_raised(runs, size):
            marks = carets(self._runs(content, position), before, after)
        self._before = Run(content[last], last, end_baseline, end_size), right
        cells: tuple[Cell, ...] = ()
        gaps: tuple[int, ...] = ()
        if _is_letter_spaced(content):
            text = printed(self._without_letter_spacing(content, position))
        else:
            text = printed(content, carets=marks)
            if _may_have_wide_gaps(content, runs, right - left, size):
                cells = self._cells(content, position, marks, size)
            gaps = self._lost_blanks(content, position, marks)
        return Line(
            text,
            self._number,
            glyphs.height,
            font,
            size,
            lead_size,
            bold,
            italic,
            left,
            right,
            baseline,
            end_baseline,
            cells,
            gaps,
        )

    # pdfium often breaks a line before or behind a raised mark, which then is a line of its own.

    def _beside(self, left: float, baseline: float, size: float) -> Run | None:
        """How the line before ended, if a raised mark parts it from the line that begins here."""
        if self._before is None:
            return None
        before, right = self._before
        return before if abs(left - right) < 0.5 * before.size and _stands_higher(baseline, size, before) else None

    def _after(self, following: tuple[str, int] | None, right: float, baseline: float, size: float) -> Run | None:
        """How the next line begins, if a raised mark parts it from the line that ends here."""
        if following is None:
            return None
        content, position = following
        first = len(content) - len(content.lstrip())
        left, next_baseline = self._glyphs.origin(position + first)
        # Asked first, as most lines are followed by one that begins far to the left.
        if not 0.5 < baseline - next_baseline < 2 * size or abs(left - right) > size:
            return None
        after = Run(content.lstrip(), 0, next_baseline, self._glyphs.size(position + first))
        return after if _stands_higher(baseline, size, after) else None

    def _runs(self, content: str, position: int) -> list[Run]:
        """The line's runs of one baseline each."""
        starts: list[tuple[int, float]] = []
        for offset, character in enumerate(content):
            if not character.isspace():
                _, baseline = self._glyphs.origin(position + offset)
                if not starts or abs(starts[-1][1] - baseline) > 0.1:
                    starts.append((offset, baseline))
        ends = [*(start for start, _ in starts[1:]), len(content)]
        return [
            Run(content[start:end], start, baseline, self._glyphs.size(position + start))
            for (start, baseline), end in zip(starts, ends, strict=True)
        ]

    def _cells(self, content: str, position: int, marks: Sequence[int], size: float) -> tuple[Cell, ...]:
        """The line's runs between wide gaps, if there is any."""
        words = [(found.start(), found.end()) for found in re.finditer(r"\S+", content)]
        edges = [
            (self._glyphs.edges(position + start)[0], self._glyphs.edges(position + end - 1)[1]) for start, end in words
        ]
        gaps = [after[0] - before[1] for before, after in pairwise(edges)]
        widest_blank = _CELL_GAP * size
        if _is_prose(content) and len(gaps) > 1 and median(gaps) < _WIDEST_BLANK * size:
            # The blanks of a justified line are wide, but all alike.
            widest_blank = max(widest_blank, 1.8 * median(gaps))
        breaks = [index + 1 for index, gap in enumerate(gaps) if gap > widest_blank or gap < -size]
        if not breaks:
            return ()
        return tuple(
            Cell(printed(content, words[first][0], words[last - 1][1], marks), edges[first][0], edges[last - 1][1])
            for first, last in pairwise([0, *breaks, len(words)])
        )

    def _without_letter_spacing(self, content: str, position: int) -> str:
        """ "S e c t i o n 1" as "Section 1": words are told apart by the gap before their first letter."""
        restored, edge = "", None
        for offset, character in enumerate(content):
            left, right = self._glyphs.edges(position + offset)
            if not character.isspace():
                if edge is not None and left - edge > _WORD_GAP * self._glyphs.size(position + offset):
                    restored += " "
                restored += character
            edge = right
        return restored

    def _lost_blanks(self, content: str, position: int, marks: Sequence[int]) -> tuple[int, ...]:
        """Offsets, within words that are rare so far, before which the print leaves a gap ("in orderto")."""
        words = _WORD.findall(content.lower())
        self._seen.update(words)
        if all(self._seen[word] > _RARE for word in words):
            return ()
        gaps: list[int] = []
        for found in _WORD.finditer(content):
            word = found.group().lower()
            if self._seen[word] <= _RARE:
                within = list(self._gaps_within(position, found.start(), found.end()))
                if within:
                    self._seen[word] = 0  # what is two words once is likely to be so again
                    gaps += within
        return tuple(len(printed(content, 0, gap, marks)) for gap in gaps)

    def _gaps_within(self, position: int, start: int, end: int) -> Iterator[int]:
        gap = _LOST_BLANK * self._glyphs.size(position + start)
        edge = self._glyphs.edges(position + start)[1]
        for offset in range(start + 1, end):
            left, right = self._glyphs.edges(position + offset)
            if left - edge > gap:
                yield offset
            edge = right


def _place(found: Sequence[Grid], x: float, baseline: float, size: float) -> Place | None:
    """The cell that holds the middle of a character."""
    for table, grid in enumerate(found):
        cell = grid.cell(x, baseline + 0.3 * size)
        if cell:
            return Place(table, *cell, grid.columns)
    return None


def _in_cell(line: Line, cell: Cell, found: Sequence[Grid]) -> Line | None:
    """A run of a line that lies in one cell of a table as a line, else None."""
    place = _place(found, cell.left + _INSIDE, line.baseline, line.size)
    if place is None or place != _place(found, cell.right - _INSIDE, line.baseline, line.size):
        return None
    return line.in_cell(place, cell)


def _stands_higher(baseline: float, size: float, other: Run) -> bool:
    return size <= other.size and 0.1 * other.size < baseline - other.baseline < 0.9 * other.size


def _inked_from(content: str, offset: int) -> int:
    while content[offset].isspace():
        offset += 1
    return offset


def _may_have_raised(runs: Sequence[Box], size: float) -> bool:
    """Whether a small run's ink stands higher than its neighbour's, as that of a dash does, too."""
    for before, after in pairwise(runs):
        rise = after[1] - before[1]
        higher = after if rise > 0 else before
        if (
            abs(rise) > 0.08 * size
            and abs(after[0] - before[2]) < size
            and higher[3] - higher[1] < 0.8 * size
            and higher[2] - higher[0] < 4 * size
        ):
            return True
    return False


def _is_prose(content: str) -> bool:
    words = content.split()
    return sum(word.isalpha() and word[0].islower() for word in words) >= 0.4 * len(words)


def _may_have_wide_gaps(content: str, runs: Sequence[Box], width: float, size: float) -> bool:
    if " " not in content.strip():
        return False
    if "   " in content or width > _WIDE_RUN * size * len(content):
        return True
    return any(after[0] - before[2] > _CELL_GAP * size for before, after in pairwise(runs))


def _is_letter_spaced(content: str) -> bool:
    if content.count(" ") < 0.3 * len(content):
        return False
    words = content.split()
    single = [word for word in words if len(word) == 1]
    # Letters, most of them: a table's row of figures is short of long words, too.
    return len(words) >= 5 and len(single) >= 0.8 * len(words) and sum(map(str.isalpha, single)) >= 0.6 * len(words)

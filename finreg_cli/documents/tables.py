"""Finds the tables of a page in its printed lines, and gives their rows with empty cells kept.

A table that is missed stays the linear text that it is; running text that is taken for a table is garbled. So a grid
counts only where its columns keep clear of each other and line up over several rows, and lists, columns of running
text, tables of contents, formulas and signatures are none.

A file holds a table's text either row by row, or cell by cell with the wrapped lines of a cell together. Both are read
in the order of the file: lines form bands, bands that share columns form a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from finreg_cli.documents.hyphens import unwrapped
from finreg_cli.documents.lines import Cell, Line, Place
from finreg_cli.documents.marks import is_formula_font
from finreg_cli.domain.legal_structure import is_head


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: the text of each cell, empty ones as "", and the lines that it stands for."""

    cells: list[str]
    lines: list[Line]


def find(lines: Sequence[Line]) -> list[Line | Row]:
    """The lines of one page in their order, those of tables replaced by rows.

    Args:
        lines: of one page, in the order of the file, without running heads and footnotes.
    """
    if not may_have_table(lines):
        return list(lines)
    found: list[Line | Row] = []
    for bands in _regions(_bands(lines)):
        rows = _rows(bands)
        found += rows if rows else [line for band in bands for line in band.lines]
    return found


# --- Ruled tables: the engine says which cell a line stands in --------------------------------------------------------

_MOST_LINES_IN_CELL = 4  # of a table whose rows no rules part; in a cell of more lines, blank lines part paragraphs
_FEWEST_IN_STEP = 4  # printed lines; those of two headings may well be wrapped alike


def ruled(lines: Sequence[Line]) -> list[Line | Row]:
    """The lines of one page in their order, those that stand in cells of a ruled table replaced by its rows.

    A table stands where the first of its lines stood.
    """
    if all(line.place is None for line in lines):
        return list(lines)
    tables: dict[int, list[tuple[Place, Line]]] = {}
    for line in lines:
        if line.place:
            tables.setdefault(line.place.table, []).append((line.place, line))
    found: list[Line | Row] = []
    for line in lines:
        if line.place is None:
            found.append(line)
        elif placed := tables.pop(line.place.table, None):
            found += _ruled_rows(placed)
    return found


def _ruled_rows(placed: Sequence[tuple[Place, Line]]) -> list[Row] | list[Line]:
    """The rows of a ruled table; its lines where it frames text or a formula."""
    columns = placed[0][0].columns
    rows: dict[int, list[tuple[int, Line]]] = {}
    for place, line in placed:
        rows.setdefault(place.row, []).append((place.column, line))
    found = [_ruled_row(part, columns) for _, row in sorted(rows.items()) for part in _parted(row)]
    filled = [{row.cells[column] for row in found} - {""} for column in range(columns)]
    if sum(map(bool, filled)) < 2 or {"="} in filled:
        return [line for _, line in placed]
    return found


def _ruled_row(row: Sequence[tuple[int, Line]], columns: int) -> Row:
    texts: list[list[str]] = [[] for _ in range(columns)]
    for column, line in row:
        texts[column].append(line.text)
    return Row([_cell_text(each) for each in texts], [line for _, line in row])


_PlacedLine = tuple[int, Line]  # with its column


def _parted(row: Sequence[_PlacedLine]) -> list[list[_PlacedLine]]:
    """A ruled row as the printed rows within it, where its cells run in step or blank strips part these."""
    for farthest, are_rows in ((0.1, _are_in_step), (_PITCH, _are_rows)):
        parts = _by_distance(row, farthest)
        if len(parts) > 1 and are_rows(parts):
            return parts
    return [list(row)]


def _by_distance(row: Sequence[_PlacedLine], farthest: float) -> list[list[_PlacedLine]]:
    """The lines from top to bottom, parted where they are farther from those above, in sizes of the print."""
    parts: list[list[_PlacedLine]] = []
    low = 0.0
    for column, line in sorted(row, key=lambda each: -each[1].baseline):
        if parts and low - line.baseline < farthest * line.size:
            parts[-1].append((column, line))
            low = min(low, line.end_baseline)
        else:
            parts.append([(column, line)])
            low = line.end_baseline
    return parts


def _are_rows(parts: Sequence[Sequence[_PlacedLine]]) -> bool:
    """Whether each part has cells side by side, or a heading in the first column, and no paragraph in any."""
    side_by_side = [len(_topmost(part)) > 1 for part in parts]
    headed = [any(column == 0 for column, _ in part) for part in parts]
    longest = max(max(Counter(column for column, _ in part).values()) for part in parts)
    each_begins = all(map(any, zip(side_by_side, headed, strict=True)))
    return sum(side_by_side) > 1 and each_begins and longest <= _MOST_LINES_IN_CELL


def _are_in_step(parts: Sequence[Sequence[_PlacedLine]]) -> bool:
    """Whether each printed line has all the columns, and but a word or two in the first one."""
    columns = {column for part in parts for column, _ in part}
    first = [" ".join(line.text for column, line in part if column == 0) for part in parts]
    return (
        {0} < columns
        and len(parts) >= _FEWEST_IN_STEP
        and all({column for column, _ in part} == columns for part in parts)
        and all(len(text.split()) < 3 for text in first)
    )


def _topmost(part: Sequence[_PlacedLine]) -> set[int]:
    """The columns that have a line on the first baseline."""
    return {column for column, line in part if part[0][1].baseline - line.baseline < _TOLERANCE}


# --- Bands: what stands side by side ---------------------------------------------------------------------------------

_PITCH = 1.35  # of the size: the lines of a paragraph stand closer
_TOLERANCE = 2.0  # points
_FARTHEST = 5  # lines: rows stand closer
_HIGHEST_JUMP = 8  # lines: how far a cell may begin above its neighbour, which is centred in height
_NO_TABLE = re.compile(
    r"[¼ðÞþ∑∏√∫]|ffiffi|\.{4}|^(?:Table|Figure|Graph|Chart|Box|Source|Notes?)\b.{0,60}$|^Done at\b", re.IGNORECASE
)


@dataclass(slots=True)
class _Piece:
    """A cell, or a part of one: its lines of text, and where it stands."""

    texts: list[str]
    left: float
    right: float
    top: float
    low: float


@dataclass(slots=True)
class _Band:
    """Cells side by side. ``barrier``: a line that can be in no table."""

    pieces: list[_Piece]
    lines: list[Line]
    size: float
    barrier: bool = False

    @property
    def top(self) -> float:
        return max(piece.top for piece in self.pieces)

    @property
    def low(self) -> float:
        return min(piece.low for piece in self.pieces)


def may_have_table(lines: Sequence[Line]) -> bool:
    """Whether there are enough lines with wide gaps, or that step to the right of the one before without going down."""
    steps = sum(
        after.left > before.right - _TOLERANCE and after.baseline > before.end_baseline - 0.3 * after.size
        for before, after in pairwise(lines)
    )
    return steps + sum(len(line.cells) > 1 for line in lines) >= 2


def _bands(lines: Sequence[Line]) -> list[_Band]:
    bands: list[_Band] = []
    for line in lines:
        pieces = _pieces(line)
        if _NO_TABLE.search(line.text) or is_formula_font(line.font) or _heads_more(line.text):
            bands.append(_Band(pieces, [line], line.size, barrier=True))
        elif bands and not bands[-1].barrier and _stands_beside(bands, pieces[0], line.size):
            bands[-1].pieces += pieces
            bands[-1].lines.append(line)
        elif bands and not bands[-1].barrier and _goes_on(bands[-1], line, pieces):
            _extend(bands[-1].pieces[-1], _Piece([line.text], line.left, line.right, line.baseline, line.end_baseline))
            bands[-1].lines.append(line)
        else:
            bands.append(_Band(pieces, [line], line.size))
    return bands


def _heads_more(text: str) -> bool:
    """Whether a line heads more than a row can hold; "Article 26" may well be a cell of a correlation table."""
    stripped = text.strip()
    return is_head(stripped) and not stripped.startswith("Article")


def _pieces(line: Line) -> list[_Piece]:
    cells = line.cells or (Cell(line.text, line.left, line.right),)
    return [_Piece([cell.text], cell.left, cell.right, line.baseline, line.end_baseline) for cell in cells]


def _stands_beside(bands: Sequence[_Band], piece: _Piece, size: float) -> bool:
    """Whether a piece is the next cell of the last band: to the right of its last cell, and not below it."""
    band = bands[-1]
    before = band.pieces[-1]
    if piece.left < before.right - _TOLERANCE or piece.top < before.low - 0.3 * size:
        return False
    if piece.top <= band.top + 0.5 * size:
        return True
    # It begins higher than its neighbour: one of the two is centred. A new column of the page begins far higher.
    ceiling = bands[-2].low - 0.5 * size if len(bands) > 1 else float("inf")
    return piece.top < ceiling and piece.top - band.top < _HIGHEST_JUMP * size


def _goes_on(band: _Band, line: Line, pieces: Sequence[_Piece]) -> bool:
    """Whether a line is the next line of the band's last cell; its wide gaps may be those of justified print."""
    before = band.pieces[-1]
    distance = before.low - line.baseline
    if not 0.5 * line.size < distance < _PITCH * line.size or _reaches_across(band, line):
        return False
    if len(pieces) > 1:
        within = before.left - _TOLERANCE < line.left and line.right < before.right + _TOLERANCE
        return within and len(before.texts) > 1
    return min(before.right, line.right) > max(before.left, line.left)


def _reaches_across(band: _Band, line: Line) -> bool:
    return len(band.pieces) > 1 and line.left < band.pieces[-2].right


def _extend(piece: _Piece, by: _Piece) -> None:
    piece.texts += by.texts
    piece.left, piece.right = min(piece.left, by.left), max(piece.right, by.right)
    piece.top, piece.low = max(piece.top, by.top), min(piece.low, by.low)


# --- Regions: bands that may be one table ----------------------------------------------------------------------------


def _regions(bands: Sequence[_Band]) -> Iterator[list[_Band]]:
    """Runs of bands that may be one table each; all other bands one by one."""
    index = 0
    while index < len(bands):
        end = _region_end(bands, index)
        yield list(bands[index:end])
        index = end


def _region_end(bands: Sequence[_Band], start: int) -> int:
    """Behind the last band of the table that begins at ``start``; ``start + 1`` if none does."""
    if bands[start].barrier:
        return start + 1
    end, side_by_side = start + 1, int(len(bands[start].pieces) > 1)
    for index in range(start + 1, len(bands)):
        band = bands[index]
        if band.barrier or not -band.size < bands[index - 1].low - band.top < _FARTHEST * band.size:
            break
        if len(band.pieces) > 1:
            side_by_side += 1
            end = index + 1
        elif not _fits_a_cell(bands[start:index], band):
            # Without anything side by side so far, it may still be the heading of what follows.
            if side_by_side:
                break
            return start + 1
        elif index == end and _belongs(bands[start:index], band):
            end = index + 1
    if not side_by_side:
        return start + 1
    first = bands[start]
    if len(first.pieces) == 1 and not (
        _fits_a_cell(bands[start + 1 : end], first) and _belongs(bands[start + 1 : end], first)
    ):
        return start + 1
    return end


def _belongs(others: Sequence[_Band], band: _Band) -> bool:
    """Whether a band of one piece, at the rim of a table, is printed as its cells are, and below one of them."""
    line, piece = band.lines[0], band.pieces[0]
    styles = {(other.bold, other.italic, round(other.size, 1)) for each in others for other in each.lines}
    aligned = any(abs(piece.left - other.left) < _TOLERANCE for each in others for other in each.pieces)
    return aligned and (line.bold, line.italic, round(line.size, 1)) in styles and not piece.texts[-1].endswith(":")


def _fits_a_cell(others: Sequence[_Band], band: _Band) -> bool:
    """Whether a band of one piece is no wider than a cell: it leaves another column of the bands around it free."""
    piece = band.pieces[0]
    if len(piece.texts) > 3:
        return False
    nearest = [other for other in others if len(other.pieces) > 1]
    return any(
        piece.right < other.pieces[-1].left + _TOLERANCE or piece.left > other.pieces[0].right - _TOLERANCE
        for other in nearest
    )


# --- Rows ------------------------------------------------------------------------------------------------------------

_SIGNED = re.compile(r"^(?:For the (?:European|Council|Commission)|The President|Done at)\b", re.IGNORECASE)
_ITEM = re.compile(
    r"\(?(?:[a-z]{1,3}|[ivxlc]{1,6}|\d{1,3}[a-z]?)[.)]|\d+(?:\.\d+)+\.?|[\u2022\u25aa\u2013\u2014o\uf0b7\u25cf\u25e6-]|\^?\d{1,3}|\(?\^\d{1,3}\)?"
)
_LONG_CELL = 8  # lines


@dataclass(slots=True)
class _Column:
    left: float
    right: float
    lefts: list[float] = field(default_factory=list)
    rights: list[float] = field(default_factory=list)


def _rows(bands: Sequence[_Band]) -> list[Row]:
    """The rows of a run of bands, none if it is no table."""
    if sum(len(band.pieces) > 1 for band in bands) < 2:
        return []
    merged = _with_wrapped_lines(bands)
    columns = _columns(merged)
    if not columns or not _is_table(merged, columns):
        return []
    return [_row(band, columns) for band in merged]


def _with_wrapped_lines(bands: Sequence[_Band]) -> list[_Band]:
    """Joins bands that are the wrapped lines of one row: they stand closer than rows do."""
    distances = [before.low - band.top for before, band in pairwise(bands)]
    spaced = max(distances) > 1.5 * median(band.size for band in bands) if distances else False
    merged = [bands[0]]
    for distance, band in zip(distances, bands[1:], strict=True):
        if spaced and distance < _PITCH * band.size and _falls_into(merged[-1], band):
            merged[-1] = _joined(merged[-1], band)
        else:
            merged.append(band)
    return merged


def _falls_into(band: _Band, following: _Band) -> bool:
    """Whether each piece of the following band stands below at most one of the band, and none to the left of all."""
    if any(sum(_overlap(piece, other) > 0 for other in band.pieces) > 1 for piece in following.pieces):
        return False
    if len(following.pieces) > len(band.pieces):
        # The first cell is wrapped, and the others stand beside its last line.
        return len(band.pieces) == 1 and abs(band.pieces[0].left - following.pieces[0].left) < _TOLERANCE
    return following.pieces[0].left > band.pieces[0].left - _TOLERANCE


def _joined(band: _Band, following: _Band) -> _Band:
    pieces = [_Piece(list(p.texts), p.left, p.right, p.top, p.low) for p in band.pieces]
    for piece in following.pieces:
        above = max(pieces, key=lambda other: _overlap(piece, other))
        if _overlap(piece, above) > 0:
            _extend(above, piece)
        else:
            pieces.append(piece)
    pieces.sort(key=lambda piece: piece.left)
    return _Band(pieces, [*band.lines, *following.lines], band.size)


def _overlap(piece: _Piece, other: _Piece | _Column) -> float:
    return min(piece.right, other.right) - max(piece.left, other.left)


def _columns(bands: Sequence[_Band]) -> list[_Column]:
    """The columns, as many as the fullest rows have cells; none where they run into each other."""
    full = [band for band in bands if len(band.pieces) > 1]
    counts = Counter(len(band.pieces) for band in full)
    for count in sorted(counts, reverse=True):
        # A single row of so many cells may have a gap within a cell, unless it is the table's head.
        if counts[count] > 1 or len(full[0].pieces) == count:
            columns = _columns_of(count, bands)
            if columns:
                return columns
    return []


def _columns_of(count: int, bands: Sequence[_Band]) -> list[_Column]:
    """The columns of the rows that have ``count`` cells, widened to hold the cells of all others."""
    rows = [band.pieces for band in bands if len(band.pieces) == count]
    columns = [_Column(piece.left, piece.right) for piece in rows[0]]
    for row in rows[1:]:
        for column, piece in zip(columns, row, strict=True):
            column.left, column.right = min(column.left, piece.left), max(column.right, piece.right)
    if not _are_apart(columns):
        return []
    others = [piece for band in bands[1:] if len(band.pieces) != count for piece in band.pieces]
    # A heading stands over several columns; a table of headings is none.
    if sum(sum(_overlap(piece, column) > 0 for column in columns) > 1 for piece in others) > max(2, 0.1 * len(bands)):
        return []
    for piece in others:
        column = max(columns, key=lambda each: _overlap(piece, each))
        if sum(_overlap(piece, each) > 0 for each in columns) <= 1:
            column.left, column.right = min(column.left, piece.left), max(column.right, piece.right)
    return columns if _are_apart(columns) else []


def _are_apart(columns: Sequence[_Column]) -> bool:
    return all(before.right < after.left - _TOLERANCE for before, after in pairwise(columns))


def _is_table(bands: Sequence[_Band], columns: Sequence[_Column]) -> bool:
    full = [band for band in bands if len(band.pieces) > 1]
    if len(full) < (2 if len(columns) > 2 else 3):
        return False
    headed = len(full) > 2 and len(bands[0].pieces) == len(columns)
    if len(full) < 0.4 * len(bands) and not headed:
        return False
    if any(_SIGNED.match(text) for band in bands for piece in band.pieces for text in piece.texts):
        return False
    for band in full:
        for piece in band.pieces:
            column = columns[_column_of(piece, columns)]
            if band not in bands[:2] and _overlap(piece, column) <= 0:
                return False
            column.lefts.append(piece.left)
            column.rights.append(piece.right)
    if not all(_lines_up(column) for column in columns):
        return False
    return not (_is_list(full, columns) or _is_contents(full, columns) or _is_running_text(bands))


def _column_of(piece: _Piece, columns: Sequence[_Column]) -> int:
    """The column in which a piece stands: of a heading over several the first, beside all of them the nearest."""
    over = next((index for index, column in enumerate(columns) if _overlap(piece, column) > 0), None)
    if over is not None:
        return over
    return max(range(len(columns)), key=lambda index: _overlap(piece, columns[index]))


def _lines_up(column: _Column) -> bool:
    """Whether the cells of a column share their left edge, right edge or middle."""
    if len(column.lefts) < 2:
        return True
    middles = [(left + right) / 2 for left, right in zip(column.lefts, column.rights, strict=True)]
    return any(_share_near(edges, median(edges)) >= 0.6 for edges in (column.lefts, column.rights, middles)) or any(
        _share_near(edges, edge) >= 0.6 for edges in (column.lefts, column.rights, middles) for edge in edges[:3]
    )


def _share_near(edges: Sequence[float], edge: float) -> float:
    return sum(abs(each - edge) < 1.5 * _TOLERANCE for each in edges) / len(edges)


def _is_list(bands: Sequence[_Band], columns: Sequence[_Column]) -> bool:
    """Whether two columns are list items behind their marks, or symbols and what they stand for."""
    marks = sum(
        _ITEM.fullmatch(band.pieces[0].texts[0].strip()) is not None or band.pieces[1].texts[0].startswith("=")
        for band in bands
    )
    return len(columns) == 2 and marks > 0.5 * len(bands)


def _is_contents(bands: Sequence[_Band], columns: Sequence[_Column]) -> bool:
    """Whether the last column counts pages: whole numbers that never fall, behind titles."""
    last = [band.pieces[-1].texts[0].strip() for band in bands]
    numbers = [int(text) for text in last if text.isdecimal()]
    rising = all(before <= after for before, after in pairwise(numbers))
    words = median(len(" ".join(band.pieces[-2].texts)) for band in bands)
    return len(columns) <= 3 and len(numbers) >= 0.8 * len(bands) and rising and words > 12


def _is_running_text(bands: Sequence[_Band]) -> bool:
    """Whether the cells are paragraphs, which read better as such, one behind the other."""
    return median(max(len(piece.texts) for piece in band.pieces) for band in bands) > _LONG_CELL


def _row(band: _Band, columns: Sequence[_Column]) -> Row:
    texts: list[list[str]] = [[] for _ in columns]
    for piece in band.pieces:
        texts[_column_of(piece, columns)] += piece.texts
    return Row([_cell_text(each) for each in texts], band.lines)


def _cell_text(texts: Sequence[str]) -> str:
    """The lines of a cell as one; a bar would end the cell."""
    return unwrapped(each.strip() for each in texts).replace("|", "\\|")

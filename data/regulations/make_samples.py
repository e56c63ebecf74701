"""Typesets the sample regulations, ``source/*.md`` -> ``*.pdf``, here and in ``../regulations-amended``:
`python data/regulations/make_samples.py`.

The pages follow the manner of the EU's Official Journal (two justified columns with hyphenation, running heads,
letter-spaced section heads, footnotes), because that is what the reader of PDFs has to cope with. The same source gives
the same bytes: no time stamp, no compression, no font but the standard Times family.

The source is a small Markdown. A header of ``key: value`` lines, then blocks separated by blank lines::

    # TITLE I | Words          ## CHAPTER 1 | Words      ### Section 1 | Words      + ANNEX I | Words
    @ Article 1 | Title        1. paragraph              (a) point, (1) recital     > line outside the articles
    | cell | cell |            [^1]: footnote            text[^1]                   base^exponent^
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

HERE = Path(__file__).parent
AMENDED = HERE.parent / "regulations-amended"

# Lengths are in points, as in PDF; y grows upwards.
PAGE_WIDTH, PAGE_HEIGHT = A4
LEFT, RIGHT = 40.0, PAGE_WIDTH - 40.0
GUTTER = 25.0
COLUMN = (RIGHT - LEFT - GUTTER) / 2
TOP, BOTTOM = 762.0, 58.0
TITLE_BOTTOM = 650.0
BODY, SMALL, RAISED = 9.5, 8.0, 6.0
# pdfium takes a mark that stands any higher for a line of its own.
RISE = 2.0
LEADING = 1.13
MOST_STRETCH = 5.0
FOOTNOTE_RULE = 8.0

ROMAN, ITALIC, BOLD = "Times-Roman", "Times-Italic", "Times-Bold"
LABEL = "SAMPLE, NOT LAW"
REPEALED = "(deleted)"  # what a consolidated text prints in the place of an article that is gone

# A space that no line may end at: before a unit or a footnote mark, in a date, between a legal unit and its number.
TIE = "\u00a0"
MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
TIED = re.compile(
    rf"\d (?=%|million|billion|\d{{3}}\b|{MONTH})| (?=\[\^)|[A-Z] (?=\u00d7)|\u00d7 (?=[\d(])"
    r"|\b(?:EUR|Tier|No|Level|Annex|Title|Article|Chapter|Section) (?=[\dI])"
)
# The parts of the longer words; an entry also serves for words that go on after it ("exposures").
SYLLABLES = (HERE / "source" / "hyphenation.words").read_text(encoding="utf-8").split()
BREAKS = {entry.replace("-", ""): entry.split("-") for entry in SYLLABLES}


@dataclass(frozen=True)
class Piece:
    """Some characters in one style, on the line or raised above it."""

    text: str
    font: str
    size: float
    rise: float = 0.0

    @property
    def width(self) -> float:
        return float(stringWidth(self.text, self.font, self.size))


@dataclass(frozen=True)
class Word:
    """What stands between two spaces; ``notes`` are the numbers of the footnotes that it refers to."""

    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> float:
        return sum(piece.width for piece in self.pieces)

    @property
    def spaces(self) -> int:
        """Tied spaces inside the word, which justification stretches like all others."""
        return sum(piece.text.count(" ") for piece in self.pieces)


@dataclass(frozen=True)
class Style:
    """How a block is set. ``indent`` is that of the text, its marker hangs to the left of it (at ``marker_x``)."""

    font: str = ROMAN
    size: float = BODY
    before: float = 9.0
    indent: float = 0.0
    marker_x: float = 0.0
    centred: bool = False
    head: bool = False
    spaced: bool = False

    @property
    def leading(self) -> float:
        return self.size * LEADING


@dataclass(frozen=True)
class Line:
    """A set line: words with the x of each relative to the column, and how it sits among its neighbours.

    ``runs`` are (x, words, extra width of each space); ``keep`` forbids a column break after the line.
    """

    runs: tuple[tuple[float, tuple[Word, ...], float], ...]
    before: float
    height: float
    keep: bool = False
    rule_above: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for _, words, _ in self.runs for word in words for note in word.notes)


@dataclass
class Column:
    """The lines of one column and of the footnotes at its foot; ``room`` is the height that is left."""

    room: float
    lines: list[Line] = field(default_factory=list)
    notes: list[Line] = field(default_factory=list)

    def height_of(self, lines: Sequence[Line], notes: Sequence[Line]) -> float:
        gaps = sum(line.before for position, line in enumerate(lines) if self.lines or position)
        rule = FOOTNOTE_RULE if notes and not self.notes else 0.0
        return gaps + sum(line.height for line in (*lines, *notes)) + rule

    def take(self, lines: Sequence[Line], notes: Sequence[Line]) -> None:
        self.room -= self.height_of(lines, notes)
        self.lines += lines
        self.notes += notes


@dataclass(frozen=True)
class Block:
    marker: str
    text: str
    style: Style


@dataclass(frozen=True)
class Source:
    """A parsed source file: its header, its blocks in reading order, and the text of each footnote by number.

    A block is a paragraph or head, or the rows of a table. The annex is one page at most and stands undivided.
    """

    header: dict[str, str]
    blocks: list[Block | list[str]]
    annex: list[Block | list[str]]
    notes: dict[str, str]


# --- reading the source -----------------------------------------------------------------------------------------------

PART = Style(before=16, centred=True, head=True)
HEAD_WORDS = Style(font=BOLD, before=6, centred=True, head=True)
ARTICLE = Style(font=ITALIC, before=14, centred=True, head=True)
PLAIN = Style()
POINT = Style(before=6, indent=15)
NUMBERED = Style(before=7, indent=24, marker_x=6)
RECITAL = Style(before=10, indent=24)
NOTE = Style(size=SMALL, before=0)
CELL = Style(size=SMALL, before=0)

FOOTNOTE = re.compile(r"^\[\^(\d+)\]: (.+)$", re.MULTILINE)
HEADS = {"#": PART, "##": PART, "###": replace(PART, spaced=True), "+": PART, "@": ARTICLE}


def parse(text: str) -> Source:
    """Reads a source file; raises ValueError for a block that it does not understand."""
    head, _, body = text.partition("\n\n")
    body, _, annex = body.partition("\n+ ")
    articles_begin = body.index("\n@ ")
    notes = dict(FOOTNOTE.findall(body))
    blocks = [*_blocks(body[:articles_begin], RECITAL), *_blocks(body[articles_begin:], NUMBERED)]
    header = dict(line.split(": ", 1) for line in head.splitlines())
    return Source(header, blocks, list(_blocks(f"+ {annex}", NUMBERED)), notes)


def _blocks(text: str, numbered: Style) -> Iterator[Block | list[str]]:
    """The blocks of a part of the source; ``numbered`` is the style of `(1)`, a recital's or a list's."""
    for chunk in re.split(r"\n{2,}", text.strip()):
        mark, _, rest = chunk.partition(" ")
        if mark in HEADS:
            label, _, words = rest.partition(" | ")
            yield Block("", label, HEADS[mark])
            yield Block("", words, HEAD_WORDS)
        elif mark == "|":
            yield chunk.splitlines()
        elif mark == ">":
            yield Block("", rest, PLAIN)
        elif re.fullmatch(r"\d+\.", mark):
            yield Block(mark, rest, PLAIN)
        elif re.fullmatch(r"\(\d+\)", mark):
            yield Block(mark, rest, numbered)
        elif re.fullmatch(r"\([a-z]+\)", mark) and chunk != REPEALED:
            yield Block(mark, rest, POINT)
        elif chunk[:1].isalpha() or chunk == REPEALED:
            yield Block("", chunk, PLAIN)
        elif not FOOTNOTE.match(chunk):
            raise ValueError(f"a block that begins neither with a letter nor with a known mark: {chunk[:60]!r}")


def words_of(text: str, font: str, size: float) -> list[Word]:
    """Splits at spaces where a line may end; footnote marks and exponents become raised pieces of their word."""
    return [_word(part.replace(TIE, " "), font, size) for part in _tie(text).split(" ")]


def _tie(text: str) -> str:
    return TIED.sub(lambda match: match[0].replace(" ", TIE), text)


def _word(text: str, font: str, size: float) -> Word:
    pieces: list[Piece] = []
    notes: list[str] = []
    for part in re.split(r"(\[\^\d+\]|\^[^^]+\^)", text):
        if mark := re.fullmatch(r"\[\^(\d+)\]", part):
            notes.append(mark[1])
            pieces.append(Piece(f"({mark[1]})", font, RAISED, RISE))
        elif part.startswith("^"):
            pieces.append(Piece(part.strip("^"), font, RAISED, RISE))
        elif part:
            pieces.append(Piece(part, font, size))
    return Word(tuple(pieces), tuple(notes))


# --- breaking into lines ----------------------------------------------------------------------------------------------


def set_block(block: Block, width: float = COLUMN) -> list[Line]:
    """Breaks a block into justified (or centred) lines with hyphenation; no line is left alone in a column."""
    style = block.style
    if style.spaced:
        return [_letter_spaced(block.text, style, width)]
    hanging = style.indent > 0
    marker = words_of(block.marker, style.font, style.size) if block.marker else []
    opening = 0.0 if hanging or not marker else marker[0].width + 14
    rows = list(_fill(words_of(block.text, style.font, style.size), style, width - style.indent, opening))
    lines = []
    for number, row in enumerate(rows):
        first, last = number == 0, number == len(rows) - 1
        x = style.indent + (opening if first else 0.0)
        room = width - x
        natural = _natural_width(row, style)
        if style.centred:
            run = ((width - natural) / 2, tuple(row), 0.0)
        else:
            spaces = len(row) - 1 + sum(word.spaces for word in row)
            stretch = 0.0 if last or not spaces else (room - natural) / spaces
            run = (x, tuple(row), stretch)
        runs = ((style.marker_x, tuple(marker), 0.0), run) if first and marker else (run,)
        keep = style.head or (len(rows) > 1 and (first or number == len(rows) - 2))
        lines.append(Line(runs, style.before if first else 0.0, style.leading, keep))
    return lines


def _fill(words: list[Word], style: Style, width: float, opening: float) -> Iterator[list[Word]]:
    row: list[Word] = []
    pending = list(words)
    room = width - opening
    while pending:
        word = pending.pop(0)
        if _natural_width([*row, word], style) <= room:
            row.append(word)
            continue
        if not style.centred and (parts := _hyphenate(word, room - _natural_width(row, style) - _space(style))):
            row.append(parts[0])
            pending.insert(0, parts[1])
        else:
            pending.insert(0, word)
        yield row
        row, room = [], width
    yield row


def _space(style: Style) -> float:
    return Piece(" ", style.font, style.size).width


def _natural_width(row: Sequence[Word], style: Style) -> float:
    return sum(word.width for word in row) + _space(style) * max(0, len(row) - 1)


def _hyphenate(word: Word, room: float) -> tuple[Word, Word] | None:
    """The longest start of a word that fits with its hyphen, and the rest; None where it cannot be broken."""
    if len(word.pieces) != 1 or word.notes:
        return None
    piece = word.pieces[0]
    for position in reversed(_break_positions(piece.text)):
        start = piece.text[:position].removesuffix("-") + "-"
        if stringWidth(start, piece.font, piece.size) <= room:
            return Word((replace(piece, text=start),)), Word((replace(piece, text=piece.text[position:]),))
    return None


def _break_positions(text: str) -> list[int]:
    """Offsets at which a word may go on in the next line, at least three letters from either end."""
    hard = [match.end() for match in re.finditer(r"(?<=[a-z]{3})-(?=[a-z]{3})", text)]
    if hard or not (core := re.match(r"[A-Za-z]+", text)):
        return hard
    known = [stem for stem in BREAKS if core[0].lower().startswith(stem) and len(core[0]) <= len(stem) + 4]
    if not known:
        return []
    ends, offset = [], 0
    for part in BREAKS[max(known, key=len)][:-1]:
        offset += len(part)
        ends.append(offset)
    return [end for end in ends if end >= 3 and len(core[0]) - end >= 3]


def _letter_spaced(text: str, style: Style, width: float) -> Line:
    """`S e c t i o n  1`: real spaces between the letters and a wider gap between words, as in the Official Journal."""
    gap = 0.44 * style.size
    words = [Word((Piece(" ".join(word), style.font, style.size),)) for word in text.split()]
    x = (width - sum(word.width for word in words) - gap * (len(words) - 1)) / 2
    runs = []
    for word in words:
        runs.append((x, (word,), 0.0))
        x += word.width + gap
    return Line(tuple(runs), style.before, style.leading, keep=True)


def set_table(rows: Sequence[str]) -> list[Line]:
    """A grid with rules between its rows; the first row is its head. Raises ValueError for ragged rows."""
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    widest = [max(stringWidth(cell, ITALIC, CELL.size) for cell in column) for column in zip(*cells, strict=True)]
    spare = (COLUMN - sum(widest)) / (len(widest) - 1)
    starts = [sum(widest[:position]) + spare * position for position in range(len(widest))]
    lines = []
    for number, row in enumerate(cells):
        font = ITALIC if number == 0 else ROMAN
        runs = tuple((x, tuple(words_of(cell, font, CELL.size)), 0.0) for x, cell in zip(starts, row, strict=True))
        lines.append(Line(runs, 8.0 if number == 0 else 4.0, CELL.leading, number < len(cells) - 1, rule_above=True))
    return lines


# --- breaking into columns --------------------------------------------------------------------------------------------


def fill_columns(source: Source, first_room: float) -> list[Column]:
    """Lines into columns: heads stay with their text, footnotes stand under the column that refers to them."""
    lines = [line for block in source.blocks for line in _set(block)] + _kept_together(source.annex)
    notes = {number: set_block(Block("", f"[^{number}] {text}", NOTE)) for number, text in source.notes.items()}
    full = TOP - BOTTOM
    columns = [Column(first_room), Column(first_room)]
    position = 0
    for group in _groups(lines):
        group_notes = [line for each in group for number in each.notes for line in notes[number]]
        while columns[position].height_of(group, group_notes) > columns[position].room:
            position += 1
            if position == len(columns):
                columns += [Column(full), Column(full)]
        columns[position].take(group, group_notes)
    return columns


def _set(block: Block | list[str]) -> list[Line]:
    return set_table(block) if isinstance(block, list) else set_block(block)


def _kept_together(blocks: Sequence[Block | list[str]]) -> list[Line]:
    return [replace(line, keep=True) for block in blocks for line in _set(block)]


def _groups(lines: Sequence[Line]) -> Iterator[list[Line]]:
    group: list[Line] = []
    for line in lines:
        group.append(line)
        if not line.keep:
            yield group
            group = []
    if group:
        yield group


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_line(canvas: Canvas, line: Line, x: float, y: float) -> None:
    """Writes one line with its baseline at y."""
    if line.rule_above:
        canvas.setLineWidth(0.3)
        canvas.line(x, y + line.height - 0.5, x + COLUMN, y + line.height - 0.5)
    for offset, words, stretch in line.runs:
        text = canvas.beginText(x + offset, y)
        text.setWordSpace(stretch)
        for piece in _merged(words):
            text.setFont(piece.font, piece.size)
            text.setRise(piece.rise)
            text.textOut(piece.text)
        canvas.drawText(text)


def _merged(words: Sequence[Word]) -> list[Piece]:
    """The pieces of a run with the spaces between its words, neighbours of one style joined."""
    merged: list[Piece] = []
    for number, word in enumerate(words):
        blank = [replace(words[number - 1].pieces[0], text=" ")] if number else []
        for piece in (*blank, *word.pieces):
            if merged and replace(merged[-1], text=piece.text) == piece:
                merged[-1] = replace(piece, text=merged[-1].text + piece.text)
            else:
                merged.append(piece)
    return merged


def draw_column(canvas: Canvas, column: Column, x: float, top: float, last: bool) -> None:
    """Writes the text of a column; gaps between blocks are stretched a little so that columns end level."""
    gaps = sum(1 for line in column.lines[1:] if line.before)
    stretch = 0.0 if last or not gaps else min(MOST_STRETCH, column.room / gaps)
    y = top
    for number, line in enumerate(column.lines):
        y -= line.height + (line.before + stretch if number and line.before else 0.0)
        draw_line(canvas, line, x, y)


def draw_footnotes(canvas: Canvas, column: Column, x: float) -> None:
    """Writes the footnotes at the foot of a column, under a short rule."""
    if not column.notes:
        return
    y = BOTTOM + sum(line.height for line in column.notes)
    canvas.setLineWidth(0.5)
    canvas.line(x, y + 2, x + 48, y + 2)
    for line in column.notes:
        y -= line.height
        draw_line(canvas, line, x, y)


def draw_running_head(canvas: Canvas, header: dict[str, str], page: int) -> None:
    y = 792.0
    canvas.setFont(ROMAN, BODY)
    canvas.drawString(LEFT, y, header["journal"])
    canvas.drawCentredString(PAGE_WIDTH / 2, y, f"Sample Journal of Regulation: {LABEL}")
    canvas.drawRightString(RIGHT, y, f"{header['series']}/{page}")
    canvas.setLineWidth(1.2)
    canvas.line(LEFT, y - 8, RIGHT, y - 8)


def draw_title(canvas: Canvas, header: dict[str, str]) -> None:
    """Writes the head of the first page over both columns, above `TITLE_BOTTOM`."""
    y = TOP - 32
    for text, font, size, after in (
        (header["number"], BOLD, 14.0, 20.0),
        (header["date"], BOLD, 10.5, 17.0),
        (header["subject"], BOLD, 10.5, 17.0),
        (f"({LABEL})", BOLD, BODY, 0.0),
    ):
        canvas.setFont(font, size)
        canvas.drawCentredString(PAGE_WIDTH / 2, y, text)
        y -= after


def make_pdf(source: Source, target: Path) -> None:
    """Writes one regulation as a PDF: text in reading order, column by column."""
    canvas = Canvas(str(target), pagesize=A4, invariant=1, pageCompression=0)
    canvas.setTitle(f"{source.header['number']} {source.header['subject']} ({LABEL})")
    canvas.setAuthor("The finreg project")
    canvas.setSubject(LABEL)
    canvas.setCreator("make_samples.py")
    columns = fill_columns(source, TITLE_BOTTOM - BOTTOM)
    final = [column for column in columns if column.lines][-1]
    for page, left in zip(count(1), range(0, len(columns), 2)):
        draw_running_head(canvas, source.header, page)
        if page == 1:
            draw_title(canvas, source.header)
        top = TITLE_BOTTOM if page == 1 else TOP
        sides = list(zip((LEFT, LEFT + COLUMN + GUTTER), columns[left : left + 2], strict=True))
        for x, column in sides:
            draw_column(canvas, column, x, top, last=column is final)
        # As in the Official Journal, the footnotes of both columns follow the text of both.
        for x, column in sides:
            draw_footnotes(canvas, column, x)
        canvas.showPage()
    canvas.save()


def make_samples(target: Path, sources: Path = HERE / "source") -> list[Path]:
    """Makes every sample of a folder of sources, and returns the files, sorted by name."""
    made = []
    for source in sorted(sources.glob("*.md")):
        pdf = target / f"{source.stem}.pdf"
        make_pdf(parse(source.read_text(encoding="utf-8")), pdf)
        made.append(pdf)
    return made


if __name__ == "__main__":
    for folder in (HERE, AMENDED):
        for path in make_samples(folder, folder / "source"):
            print(path)

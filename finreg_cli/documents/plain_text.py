"""Plain text and Markdown to blocks, in the manner of the print: heads of articles italic, their titles bold.

A text file says nothing of style, so heads are known by their words and titles by their place and shape.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.hyphens import Vocabulary
from finreg_cli.documents.lines import LINE_HYPHEN
from finreg_cli.domain.legal_structure import ANNEX_HEAD, ARTICLE_HEAD, GROUP_HEAD, POINT, Block, is_head

MOST_BYTES = 64 * 1024**2
"""The longest text that is read; a consolidated act of a thousand pages has 5 MB."""

BODY_SIZE = 10.0
HEADING_SIZES = (20.0, 17.0, 15.0, 13.0, 12.0, 11.0)
"""In points, of headings of level 1 to 6."""


def blocks(data: bytes) -> list[Block]:
    """The paragraphs of a text file; wrapped lines are joined, ``page_start`` and ``page_end`` are 1.

    Raises:
        ReadError: ``empty``, ``limit``, ``parse`` (it is something else than text), ``bad_encoding`` or ``no_text``.
    """
    text = decode(data)
    check_is_text(text, data)
    paragraphs = _joined(_paragraphs(text.splitlines()))
    found = list(with_titles(_block(each) for each in _footnotes_moved(paragraphs)))
    if not any(map(str.isalnum, text)):
        raise ReadError("no_text", f"holds no letter or digit in its {len(data)} bytes")
    return found


# --- Characters ------------------------------------------------------------------------------------------------------

_MARKS_OF_ORDER = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNREADABLE_SHARE = 0.01  # above, the file is in no encoding that was tried


def decode(data: bytes, declared: str | None = None) -> str:
    """The characters of a file: by its byte order mark, by what it declares, as UTF-8, else as Windows-1252.

    Raises:
        ReadError: ``empty``, ``limit`` or ``bad_encoding``.
    """
    if not data.strip(b"\x00 \t\r\n"):
        raise ReadError("empty", f"holds nothing ({len(data)} bytes)")
    if len(data) > MOST_BYTES:
        raise ReadError("limit", f"has {len(data)} bytes, more than the {MOST_BYTES} that are read of a text")
    text = _decoded(data, declared).removeprefix("\ufeff")
    unreadable = text.count("\ufffd")
    if unreadable > _UNREADABLE_SHARE * len(text):
        raise ReadError("bad_encoding", f"{unreadable} of its {len(text)} characters are in no encoding that was tried")
    return text


def _decoded(data: bytes, declared: str | None) -> str:
    for mark, encoding in _MARKS_OF_ORDER:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if declared is None:
        declared = _utf16_by_its_zeros(data)
    if declared and _is_text_encoding(declared):
        try:
            return data.decode(declared)
        except UnicodeDecodeError:
            pass  # a wrong label is common; the bytes decide
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    right = sum(character > "\x7f" for character in text) - wrong
    # A single broken byte does not make a UTF-8 text one of Windows.
    return text if wrong == 0 or right > wrong else data.decode("cp1252", "replace")


def _utf16_by_its_zeros(data: bytes) -> str | None:
    begin = data[:2000]
    if begin[1::2].count(0) > 0.6 * len(begin) / 2 and begin[::2].count(0) == 0:
        return "utf-16-le"
    if begin[::2].count(0) > 0.6 * len(begin) / 2 and begin[1::2].count(0) == 0:
        return "utf-16-be"
    return None


def _is_text_encoding(name: str) -> bool:
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):  # ValueError: a NUL within the name
        return False
    # "zlib" and the like are codecs, too, and would unpack a bomb. (Typeshed does not know the attribute.)
    return bool(getattr(codec, "_is_text_encoding", False))


def check_is_text(text: str, data: bytes) -> None:
    """Refuses other files under the name of a text.

    Raises:
        ReadError: ``parse``.
    """
    if data[:1024].lstrip().startswith(b"%PDF-"):
        raise ReadError("parse", "is a PDF by its content, though not by its name: rename it to end in .pdf")
    controls = len(_CONTROL.findall(text[:100_000]))
    if controls > max(3, 0.01 * len(text[:100_000])):
        raise ReadError("parse", f"is no text: begins with {data[:12]!r}")


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b-\u200f\u2060\ufeff\ud800-\udfff]")
_PLAIN = str.maketrans({"\u2010": "-", "\u2011": "-", "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufffe": ""})


def clean(text: str) -> str:
    """A text in one line, as the reader of PDFs gives it: composed, without what cannot be seen, single blanks."""
    return " ".join(unicodedata.normalize("NFC", _INVISIBLE.sub("", text.translate(_PLAIN))).split())


# --- Paragraphs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paragraph:
    """Lines that belong together; ``level`` is that of a Markdown heading, ``label`` that of a footnote."""

    lines: tuple[str, ...]
    level: int = 0
    label: str | None = None
    row: bool = False

    @property
    def text(self) -> str:
        return self.lines[0]


_ITEM = re.compile(rf"{POINT.pattern}|\d{{1,3}}[a-z]{{0,2}}\. ?(?=[A-Z(\u2018'\u201c\"])")
_BULLETS = "\u2022\u25aa"
_GOES_ON_AS_LIST = re.compile(r"(?:[.;:,]|\b(?:and|or))[\"'\u2019\u201d]?$")
_ENDS = re.compile(r"[.;:!?][\"'\u2019\u201d)]?$")
_HEADING = re.compile(r"(?P<level>#{1,6}) +(?P<text>.+?)(?: +#+)?")
_UNDERLINE = re.compile(r"={3,}|-{3,}")
_TABLE_ROW = re.compile(r"\|.*\|")
_TABLE_RULE = re.compile(r"\|[\s:|-]+\|")
_FOOTNOTE = re.compile(r"\[\^(?P<label>[^\]\s]{1,20})\]: *(?P<text>.*)")
_FENCE = re.compile(r"(?:```|~~~).*")
_LONG_LINE = 120  # characters: above, lines are not wrapped, and each is a paragraph
_SHORT_LINE = 0.65  # of the usual width of a wrapped line


def _paragraphs(raw: Sequence[str]) -> Iterator[_Paragraph]:
    lines = [_unquoted(clean(line)) for line in raw]
    width = _width(lines)
    current: list[str] = []
    after_head = False
    for line in lines:
        if current and _UNDERLINE.fullmatch(line) and len(current) == 1 and not _ENDS.search(current[0]):
            yield _Paragraph((current[0],), level=1 if line[0] == "=" else 2)
            current = []
            continue
        single = _single_line(line)
        ends = not line or single or _FENCE.fullmatch(line)
        if current and (ends or _begins_paragraph(current, line, width, after_head)):
            after_head = is_head(current[-1])
            yield _Paragraph(tuple(current))
            current = []
        if single:
            yield single
        elif not ends and not _TABLE_RULE.fullmatch(line) and not _is_rule(line):
            current.append(line)
    if current:
        yield _Paragraph(tuple(current))


def _width(lines: Sequence[str]) -> int:
    """How long a full line is: nine of ten are no longer."""
    lengths = sorted(len(line) for line in lines if line)
    return lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0


def _single_line(line: str) -> _Paragraph | None:
    """What is a paragraph in one line by its marks: a heading, a row of a table, a footnote."""
    if heading := _HEADING.fullmatch(line):
        return _Paragraph((heading["text"],), level=len(heading["level"]))
    if _TABLE_ROW.fullmatch(line) and line.count("|") > 2 and not _TABLE_RULE.fullmatch(line):
        return _Paragraph((table_row([cell.strip() for cell in line[1:-1].split("|")]),), row=True)
    if footnote := _FOOTNOTE.fullmatch(line):
        return _Paragraph((footnote["text"],), label=footnote["label"])
    return None


def table_row(cells: Sequence[str]) -> str:
    """``| a | | c |``; a bar within a cell is escaped."""
    escaped = (cell.replace("\\|", "|").replace("|", "\\|") for cell in cells)
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in escaped)


def _is_rule(line: str) -> bool:
    return len(line) >= 3 and not any(map(str.isalnum, line)) and len(set(line.replace(" ", ""))) == 1


def _unquoted(line: str) -> str:
    """A line without the mark of a quotation, and with a bullet in place of a star."""
    line = re.sub(r"^(?:> ?)+", "", line)
    return re.sub(r"^[*+] (?=\S)", "\u2022 ", line)


def _begins_paragraph(current: Sequence[str], line: str, width: int, after_head: bool) -> bool:
    """Whether a line begins a paragraph though no blank line stands before it."""
    before = current[-1]
    if width > _LONG_LINE or is_head(line) or is_head(before) or line[0] in _BULLETS:
        return True
    short = len(before) < _SHORT_LINE * width
    if _ITEM.match(line) and (short or _GOES_ON_AS_LIST.search(before)):
        return True
    if after_head and len(current) == 1 and short and _reads_as_title(before):
        return True
    return short and (bool(_ENDS.search(before)) or not line[0].islower()) and len(before) + len(line) > width


def _joined(paragraphs: Iterator[_Paragraph]) -> list[_Paragraph]:
    """The paragraphs, each in one line; words that are broken at a line's end are whole again."""
    found = [replace(each, lines=tuple(_marked(each.lines))) for each in paragraphs]
    words = Vocabulary(line for each in found for line in each.lines)
    joined = []
    for each in found:
        text = each.lines[0]
        for line in each.lines[1:]:
            text = text + line if text.endswith(LINE_HYPHEN) else f"{text} {line}"
        joined.append(replace(each, lines=(words.resolve(text),)))
    return [each for each in joined if each.text]


def _marked(lines: Sequence[str]) -> Iterator[str]:
    """The lines with `LINE_HYPHEN` where a word may be broken."""
    for line, following in zip(lines, (*lines[1:], ""), strict=True):
        broken = re.search(r"[^\W\d_]-$", line) and following[:1].isalpha()
        yield line[:-1] + LINE_HYPHEN if broken else line


# --- Blocks ----------------------------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"\[\^([^\]\s]{1,20})\](?!:)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(?P<text>.{1,500}?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])(\*|_)(?=[^\s*_])(?P<text>[^*_]+?)(?<=\S)\1(?![\w*])")


def _footnotes_moved(paragraphs: Sequence[_Paragraph]) -> Iterator[_Paragraph]:
    """Each footnote right behind the paragraph that first refers to it; one that none refers to stays in its place."""
    notes = {each.label: each for each in paragraphs if each.label}
    placed: set[str] = set()
    referred = {label for each in paragraphs if not each.label for label in _REFERENCE.findall(each.text)}
    for each in paragraphs:
        if each.label is None:
            yield each
            for label in _REFERENCE.findall(each.text):
                if label in notes and label not in placed:
                    placed.add(label)
                    yield notes[label]
        elif each.label not in referred:
            yield each


def _block(paragraph: _Paragraph) -> Block:
    text = _REFERENCE.sub(r"^\1", paragraph.text)
    if paragraph.row:
        return Block(text, 1, 1, BODY_SIZE, kind="table")
    if paragraph.label:
        return Block(f"^{paragraph.label} {text}", 1, 1, 0.8 * BODY_SIZE, kind="footnote")
    bold = _STRONG.fullmatch(text) is not None or paragraph.level > 0
    plain = _STRONG.sub(r"\g<text>", text)
    italic = not bold and _EMPHASIS.fullmatch(plain) is not None
    plain = _EMPHASIS.sub(r"\g<text>", plain)
    size = HEADING_SIZES[paragraph.level - 1] if paragraph.level else BODY_SIZE
    return Block(plain, 1, 1, size, bold, italic)


_HEAD_BEGINS = (re.compile(r"Article \d{1,4}[a-z]{0,2}"), GROUP_HEAD, ANNEX_HEAD)
_BETWEEN = re.compile(r"\s*[\u2014\u2013:.-]\s*|\s+")
_LONGEST_TITLE = 160  # characters


def with_titles(found: Iterable[Block]) -> Iterator[Block]:
    """Gives heads the style that they have in print: articles italic, groups plain, the title that follows bold.

    A head and its title in one line ("Article 5 Scope") become two blocks.
    """
    after_head = False
    for block in found:
        parts = split_head(block.text) if block.kind == "text" else None
        if block.kind == "text" and is_head(block.text):
            yield replace(block, size=BODY_SIZE, bold=False, italic=ARTICLE_HEAD.fullmatch(block.text) is not None)
            after_head = True
            continue
        if parts:
            head, title = parts
            yield replace(block, text=head, size=BODY_SIZE, bold=False, italic=head.startswith("Article"))
            yield replace(block, text=title, size=BODY_SIZE, bold=True, italic=False)
        elif after_head and block.kind == "text" and (block.bold or block.italic or _reads_as_title(block.text)):
            yield replace(block, size=BODY_SIZE, bold=True, italic=False)
        else:
            yield block
        after_head = False


def split_head(text: str) -> tuple[str, str] | None:
    """The head and the title of a line that holds both, and no sentence."""
    for pattern in _HEAD_BEGINS:
        head = pattern.match(text)
        between = _BETWEEN.match(text, head.end()) if head else None
        if head and between and text[between.end() : between.end() + 1].isupper():
            title = text[between.end() :]
            return (head.group(0), title) if _reads_as_title(title) else None
    return None


def _reads_as_title(text: str) -> bool:
    return len(text) <= _LONGEST_TITLE and not _ENDS.search(text) and not text.endswith(",") and not _ITEM.match(text)

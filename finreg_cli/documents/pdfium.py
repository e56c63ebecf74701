"""The default engine: pdfium's text in content-stream order, with the geometry and the font of every line.

pdfium runs in C++ and can end its process on a hostile file: it is only called within the workers of
``finreg_cli.documents.pool``.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import pypdfium2
import pypdfium2.raw as pdfium

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.layout import Line

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_ITALIC = 1 << 6  # bit 7 of the PDF font descriptor's flags (ISO 32000-1, table 123)
_FORCE_BOLD = 1 << 18
_WORD = re.compile(r"[^\W\d_]+")
_LOST_BLANK = 0.13  # em: letters of a word stand closer
_WORD_GAP = 0.25  # em: in letter-spaced heads the gap between words is 0.44 em, within a word 0


class PdfiumEngine:
    """Reads pages through pdfium's raw API."""

    name = "pdfium"

    def __init__(self, data: bytes) -> None:
        try:
            self._pdf = pypdfium2.PdfDocument(data)
            self.pages = len(self._pdf)
        except pypdfium2.PdfiumError as error:
            raise _translated(error) from error

    def lines(self) -> Iterator[list[Line]]:
        """The lines of each page in turn."""
        pages = []
        for index in range(self.pages):
            with self._textpage(index) as (textpage, height):
                pages.append(list(_page_lines(textpage, index + 1, height)))
        words = Counter(word for page in pages for line, _ in page for word in _WORD.findall(line.text.lower()))
        for index, page in enumerate(pages):
            yield self._with_lost_blanks(index, page, words)

    def _with_lost_blanks(self, index: int, page: list[tuple[Line, int]], words: Counter[str]) -> list[Line]:
        """Puts back the blanks that the file's producer replaced by mere distance ("in orderto")."""
        if not any(_rare_words(line.text, words) for line, _ in page):
            return [line for line, _ in page]
        with self._textpage(index) as (textpage, _):
            return [
                replace(line, text=_split_at_gaps(textpage, line.text, position, words)) if position >= 0 else line
                for line, position in page
            ]

    @contextmanager
    def _textpage(self, index: int) -> Iterator[tuple[pdfium.FPDF_TEXTPAGE, float]]:
        """The text of a page, counted from 0, and the page's height in points."""
        try:
            page = self._pdf[index]
            textpage = page.get_textpage()
        except pypdfium2.PdfiumError as error:
            raise ReadError("parse", f"page {index + 1}: {error}") from error
        yield textpage.raw, page.get_height()
        textpage.close()
        page.close()

    def close(self) -> None:
        self._pdf.close()


def _translated(error: pypdfium2.PdfiumError) -> ReadError:
    if "password" in str(error).lower() or "security" in str(error).lower():
        return ReadError("encrypted", f"needs a password: {error}")
    return ReadError("parse", str(error))


def _page_lines(textpage: pdfium.FPDF_TEXTPAGE, page: int, height: float) -> Iterator[tuple[Line, int]]:
    """Each line with the index of its first character; -1 where its text no longer goes by the page's indices."""
    text = _page_text(textpage)
    position = 0
    for found in _LINE_BREAK.finditer(text + "\n"):
        content = text[position : found.start()]
        inked = [offset for offset, character in enumerate(content) if not character.isspace()]
        if inked:
            line = _line(textpage, content, position, inked, page, height)
            yield line, position if line.text == content else -1
        position = found.end()


def _page_text(textpage: pdfium.FPDF_TEXTPAGE) -> str:
    """The page's text, one character for each of pdfium's character indices."""
    count = pdfium.FPDFText_CountChars(textpage)
    if count <= 0:
        return ""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetText(textpage, 0, count, buffer) - 1
    text = bytes(buffer)[: 2 * written].decode("utf-16-le", "surrogatepass")
    if len(text) == count:
        return text
    # Characters outside the basic plane, or such as pdfium leaves out of the text, would shift all that follows.
    return "".join(chr(pdfium.FPDFText_GetUnicode(textpage, index) & 0x1FFFFF or 0x20) for index in range(count))


def _line(
    textpage: pdfium.FPDF_TEXTPAGE, content: str, position: int, inked: list[int], page: int, height: float
) -> Line:
    first, middle, last = (position + inked[index] for index in (0, len(inked) // 2, -1))
    fonts = [_font(textpage, index) for index in (first, middle, last)]
    (left, baseline), (_, end_baseline) = _origin(textpage, first), _origin(textpage, last)
    if _is_letter_spaced(content):
        content = _without_letter_spacing(textpage, content, position)
    return Line(
        text=content,
        page=page,
        page_height=height,
        font=fonts[1][0],
        size=_size(textpage, middle),
        lead_size=_size(textpage, first),
        bold=all(bold for _, bold, _ in fonts),
        italic=all(italic for _, _, italic in fonts),
        left=left,
        right=_right_edge(textpage, last),
        baseline=baseline,
        end_baseline=end_baseline,
    )


def _font(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> tuple[str, bool, bool]:
    """Name, bold and italic of a character's font."""
    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(textpage, index, name, 128, ctypes.byref(flags))
    return _style(name.value, flags.value)


@lru_cache(maxsize=256)
def _style(name: bytes, flags: int) -> tuple[str, bool, bool]:
    font = name.decode("utf-8", "replace")
    lower = font.lower()
    bold = "bold" in lower or "black" in lower or bool(flags & _FORCE_BOLD and "regu" not in lower)
    return font, bold, "ital" in lower or "obli" in lower or bool(flags & _ITALIC)


def _size(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> float:
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFText_GetMatrix(textpage, index, ctypes.byref(matrix))
    return round(float(pdfium.FPDFText_GetFontSize(textpage, index)) * math.hypot(matrix.b, matrix.d), 2)


def _origin(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> tuple[float, float]:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(textpage, index, ctypes.byref(x), ctypes.byref(y))
    return x.value, y.value


def _box(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> tuple[float, float]:
    """Left and right edge of a character's loose box."""
    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(textpage, index, ctypes.byref(box))
    return box.left, box.right


def _right_edge(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> float:
    return _box(textpage, index)[1]


def _is_letter_spaced(content: str) -> bool:
    words = content.split()
    return (
        len(words) >= 5 and sum(len(word) == 1 for word in words) >= 0.8 * len(words) and any(map(str.isalpha, words))
    )


def _without_letter_spacing(textpage: pdfium.FPDF_TEXTPAGE, content: str, position: int) -> str:
    """ "S e c t i o n 1" as "Section 1": words are told apart by the gap before their first letter."""
    restored, edge = "", None
    for offset, character in enumerate(content):
        left, right = _box(textpage, position + offset)
        if not character.isspace():
            if edge is not None and left - edge > _WORD_GAP * _size(textpage, position + offset):
                restored += " "
            restored += character
        edge = right
    return restored


def _rare_words(text: str, words: Counter[str]) -> list[re.Match[str]]:
    """Words long enough to be two, which the document has once or twice."""
    return [found for found in _WORD.finditer(text) if len(found.group()) >= 5 and words[found.group().lower()] <= 2]


def _split_at_gaps(textpage: pdfium.FPDF_TEXTPAGE, text: str, position: int, words: Counter[str]) -> str:
    """Splits a rare word where the print leaves a gap, if every part is a word that the document uses."""
    pieces, done = [], 0
    for found in _rare_words(text, words):
        parts = _parts_between_gaps(textpage, found.group(), position + found.start())
        if len(parts) > 1 and all(words[part.lower()] >= 3 for part in parts):
            pieces += [text[done : found.start()], " ".join(parts)]
            done = found.end()
    return "".join([*pieces, text[done:]])


def _parts_between_gaps(textpage: pdfium.FPDF_TEXTPAGE, word: str, position: int) -> list[str]:
    parts, edge, gap = [""], None, _LOST_BLANK * _size(textpage, position)
    for offset, character in enumerate(word):
        left, right = _box(textpage, position + offset)
        if edge is not None and left - edge > gap:
            parts.append("")
        parts[-1] += character
        edge = right
    return parts

"""The fallback engine: pypdf, slower and with estimated right edges, for exactly the files that pdfium fails on.

pypdf is pure Python with limits of its own, so a file that ends pdfium's process ends here in an exception. It also
tells in more words what is wrong with a file. It does not say where a single character stands: there are no wide gaps
and no lost blanks to be found in what it gives, and raised marks only where the font changes with them.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pypdf
from pypdf.errors import FileNotDecryptedError, LimitReachedError, PyPdfError
from pypdf.generic import Destination

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import LINE_HYPHEN, Line
from finreg_cli.documents.marks import Run, carets, font_style, printed
from finreg_cli.domain.legal_structure import Bookmark

# What is repaired on the way is no concern of the person who waits; what is not, raises.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

_USUAL_WIDTH = 0.5  # em a character, where the font does not say
_DEEPEST_BOOKMARK = 10
_HYPHEN_AT_END = re.compile(r"(?<=[^\W\d_])(?:-| ?\u00ad)$")
_MOST_CHARACTERS = 1_000_000  # on a page; a dense one has 10,000


class PypdfEngine:
    """Reads pages through pypdf's text extraction with a visitor for font and position.

    Raises:
        ReadError: from the constructor and from `lines`: ``encrypted``, ``limit``, ``truncated`` or ``parse``.
    """

    name = "pypdf"

    def __init__(self, data: bytes) -> None:
        try:
            self._reader = pypdf.PdfReader(io.BytesIO(data))
            self.pages = len(self._reader.pages)
        except Exception as error:  # pypdf raises anything from KeyError to RecursionError on broken objects
            raise _translated(error) from error

    def lines(self, first: int = 0, last: int | None = None) -> Iterator[list[Line]]:
        """The lines of each page in turn, of the pages ``first`` up to but not ``last``, counted from 0."""
        for index in range(first, self.pages if last is None else min(last, self.pages)):
            try:
                page = self._reader.pages[index]
                gatherer = _Gatherer(index + 1, float(page.mediabox.height))
                page.extract_text(visitor_text=gatherer.visit)
            except ReadError:
                raise
            except Exception as error:  # as above; a page may be the first to touch a broken object
                raise _translated(error, f"page {index + 1}: ") from error
            yield gatherer.finish()

    def outline(self) -> list[Bookmark]:
        """The file's bookmarks in their order; none where they are broken, for the text is worth more than they."""
        try:
            return list(self._bookmarks(self._reader.outline, 0))
        except Exception:  # as in the constructor, and pypdf's limits against loops among them
            return []

    def _bookmarks(self, entries: list[Any], level: int) -> Iterator[Bookmark]:
        for entry in entries:
            if isinstance(entry, list):
                if level + 1 < _DEEPEST_BOOKMARK:
                    yield from self._bookmarks(entry, level + 1)
            elif isinstance(entry, Destination):
                page = self._reader.get_destination_page_number(entry)
                yield Bookmark(level, " ".join(printed(str(entry.title)).split()), None if page is None else page + 1)

    def close(self) -> None:
        self._reader.close()


def _translated(error: Exception, where: str = "") -> ReadError:
    message = f"{where}{type(error).__name__}: {error}"
    if isinstance(error, FileNotDecryptedError):
        return ReadError("encrypted", f"{where}needs a password")
    if isinstance(error, (LimitReachedError, MemoryError, RecursionError)):
        return ReadError("limit", message)
    if isinstance(error, PyPdfError) and "EOF" in str(error):
        return ReadError("truncated", message)
    return ReadError("parse", message)


@dataclass(frozen=True, slots=True)
class _Font:
    """``widths`` of character codes in em; the codes of simple fonts are those of Latin letters, as a rule."""

    name: str
    bold: bool
    italic: bool
    widths: Mapping[int, float]
    usual_width: float


_NO_FONT = _Font("", False, False, {}, _USUAL_WIDTH)


def _font(dictionary: Mapping[str, Any] | None) -> _Font:
    if not dictionary:
        return _NO_FONT
    name = str(dictionary.get("/BaseFont", "")).lstrip("/")
    descriptor = dictionary.get("/FontDescriptor") or {}
    bold, italic = font_style(name, int(descriptor.get("/Flags", 0)))
    start = int(dictionary.get("/FirstChar", 0))
    widths = {start + offset: float(width) / 1000 for offset, width in enumerate(dictionary.get("/Widths") or ())}
    printing = [width for width in widths.values() if width]
    return _Font(name, bold, italic, widths, sum(printing) / len(printing) if printing else _USUAL_WIDTH)


@dataclass(frozen=True, slots=True)
class _Fragment:
    """What pypdf reports at once: text in one font; position of its first character and size in points."""

    text: str
    font: _Font
    size: float
    x: float
    y: float

    @property
    def right(self) -> float:
        widths = self.font.widths
        return self.x + self.size * sum(widths.get(ord(each), self.font.usual_width) for each in self.text.rstrip())


class _Gatherer:
    """Puts the fragments that pypdf reports together to lines."""

    def __init__(self, page: int, height: float) -> None:
        self._page = page
        self._height = height
        self._lines: list[Line] = []
        self._fragments: list[_Fragment] = []
        self._fonts: dict[int, _Font] = {}
        self._characters = 0

    def visit(self, text: str, cm: list[float], tm: list[float], font: dict[str, Any] | None, size: float) -> None:
        self._characters += len(text)
        if self._characters > _MOST_CHARACTERS:
            raise ReadError("limit", f"page {self._page}: more than {_MOST_CHARACTERS} characters")
        for index, part in enumerate(text.split("\n")):
            if index:
                self._end_line()
            if part:
                # The font's dictionary outlives the page, so that its address stands for it.
                known = self._fonts.get(id(font))
                if known is None:
                    known = self._fonts[id(font)] = _font(font)
                scale = math.hypot(tm[1], tm[3]) * math.hypot(cm[1], cm[3])
                x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
                y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
                self._fragments.append(_Fragment(part, known, round(abs(size * scale), 2), x, y))

    def finish(self) -> list[Line]:
        self._end_line()
        return self._lines

    def _end_line(self) -> None:
        fragments, self._fragments = self._fragments, []
        inked = [fragment for fragment in fragments if fragment.text.strip()]
        if not inked:
            return
        first, last = inked[0], inked[-1]
        middle = _at_middle(inked)
        self._lines.append(
            Line(
                text=_with_line_hyphen(_text(fragments)),
                page=self._page,
                page_height=self._height,
                font=middle.font.name,
                size=middle.size,
                lead_size=first.size,
                bold=all(each.font.bold for each in (first, middle, last)),
                italic=all(each.font.italic for each in (first, middle, last)),
                left=first.x,
                right=max(each.right for each in inked),
                baseline=first.y,
                end_baseline=last.y,
            )
        )


def _at_middle(fragments: list[_Fragment]) -> _Fragment:
    """The fragment that holds the middle character of a line."""
    remaining = sum(len(each.text) for each in fragments) / 2
    for fragment in fragments:
        remaining -= len(fragment.text)
        if remaining <= 0:
            return fragment
    return fragments[-1]


def _text(fragments: list[_Fragment]) -> str:
    runs: list[Run] = []
    start = 0
    for fragment in fragments:
        if fragment.text.strip():
            runs.append(Run(fragment.text, start, fragment.y, fragment.size))
        start += len(fragment.text)
    text = "".join(fragment.text for fragment in fragments)
    return printed(text, carets=carets(runs)).rstrip()


def _with_line_hyphen(text: str) -> str:
    """A hyphen, real or soft, that ends a line behind a letter as the mark that the vocabulary decides on."""
    return _HYPHEN_AT_END.sub(LINE_HYPHEN, text)

"""The fallback engine: pypdf, slower and without columns' edges, for exactly the files that pdfium fails on.

pypdf is pure Python with limits of its own, so a file that ends pdfium's process ends here in an exception. It also
tells in more words what is wrong with a file.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pypdf
from pypdf.errors import FileNotDecryptedError, LimitReachedError, PyPdfError

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.layout import LINE_HYPHEN, Line

# What is repaired on the way is no concern of the person who waits; what is not, raises.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


class PypdfEngine:
    """Reads pages through pypdf's text extraction with a visitor for font and position."""

    name = "pypdf"

    def __init__(self, data: bytes) -> None:
        try:
            self._reader = pypdf.PdfReader(io.BytesIO(data))
            self.pages = len(self._reader.pages)
        except Exception as error:  # pypdf raises anything from KeyError to RecursionError on broken objects
            raise _translated(error) from error

    def lines(self) -> Iterator[list[Line]]:
        """The lines of each page in turn."""
        for number in range(1, self.pages + 1):
            try:
                page = self._reader.pages[number - 1]
                gatherer = _Gatherer(number, float(page.mediabox.height))
                page.extract_text(visitor_text=gatherer.visit)
            except Exception as error:  # as above; a page may be the first to touch a broken object
                raise _translated(error, f"page {number}: ") from error
            yield gatherer.finish()

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


class _Gatherer:
    """Puts the fragments that pypdf reports together to lines."""

    def __init__(self, page: int, height: float) -> None:
        self._page = page
        self._height = height
        self._lines: list[Line] = []
        self._text = ""
        self._style: tuple[str, float, float, float] | None = None

    def visit(self, text: str, cm: list[float], tm: list[float], font: dict[str, Any] | None, size: float) -> None:
        for index, part in enumerate(text.split("\n")):
            if index:
                self._end_line()
            if part.strip() and self._style is None:
                scale = ((tm[1] ** 2 + tm[3] ** 2) * (cm[1] ** 2 + cm[3] ** 2)) ** 0.5
                name = str((font or {}).get("/BaseFont", ""))
                x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
                y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
                self._style = (name, round(abs(size * scale), 2), x, y)
            self._text += part

    def finish(self) -> list[Line]:
        self._end_line()
        return self._lines

    def _end_line(self) -> None:
        text, style = self._text.rstrip(), self._style
        self._text, self._style = "", None
        if not text or style is None:
            return
        font, size, x, y = style
        if len(text) > 1 and text.endswith("-") and text[-2].isalpha():
            text = text[:-1] + LINE_HYPHEN
        lower = font.lower()
        self._lines.append(
            Line(
                text=text,
                page=self._page,
                page_height=self._height,
                font=font,
                size=size,
                lead_size=size,
                bold="bold" in lower,
                italic="ital" in lower or "obli" in lower,
                left=x,
                # pypdf does not measure text; half an em a character tells a short line from a full one.
                right=x + 0.5 * size * len(text),
                baseline=y,
                end_baseline=y,
            )
        )

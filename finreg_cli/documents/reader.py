"""One file's bytes to its chunks or text, or to a classified error. Runs within a worker; knows no file system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal, Protocol

from finreg_cli.documents import layout, text_checks
from finreg_cli.documents.base import ReadFile
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import Line
from finreg_cli.domain import legal_structure
from finreg_cli.domain.chunking import CountTokens, chunk_document
from finreg_cli.domain.legal_structure import Block, Bookmark
from finreg_cli.domain.references import resolve

EngineName = Literal["pdfium", "pypdf"]

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".md")

MOST_PAGES = 10_000  # of a file; a hundred thousand are claimed by a line of a hostile one
MOST_MARKUP = 32 * 1024**2  # bytes of an HTML or text file; the CRR has 5 million
_MARKUP_PAGE_BYTES = 30_000  # by which a file without pages gets its time

_HEADER_WITHIN = 64 * 1024  # bytes of junk before "%PDF-" that some mail gateways leave; pypdf reads past it
_EOF_WITHIN = 2 * 1024
_SOMETHING = re.compile(rb"[^\x00 \t\r\n]")
_PAGE_OBJECT = re.compile(rb"/Type\s*/Page\b")
_EMPTY_PAGES_SHARE = 0.2  # from here on, pages without text are worth a warning


@dataclass(frozen=True)
class Settings:
    """What decides how a file is split; two readings of the same bytes with the same settings are equal."""

    chunk_tokens: int
    chunk_overlap: int
    short_names: Mapping[str, str]
    work_ids: Mapping[str, str]


@dataclass(frozen=True)
class ReadText:
    """A file with its plain text."""

    path: str
    file_sha256: str
    pages: int
    text: str


class Engine(Protocol):
    name: str
    pages: int

    def lines(self, first: int = 0, last: int | None = None) -> Iterator[list[Line]]:
        """The lines of the pages ``[first, last)``, counted from 0."""
        ...

    def outline(self) -> list[Bookmark]: ...

    def close(self) -> None: ...


Gather = Callable[[Engine], list[list[Line]]]
"""Gets the lines of all pages of an open file, some of them from elsewhere perhaps."""


@dataclass(frozen=True)
class _Content:
    """A file before its structure is known; ``opening`` are its first lines as they are printed."""

    blocks: list[Block]
    opening: list[str]
    pages: int
    outline: Sequence[Bookmark] = ()
    warnings: list[str] = field(default_factory=list)


def read_bytes(
    data: bytes,
    path: str,
    engine_name: EngineName,
    settings: Settings,
    count_tokens: CountTokens,
    on_pages: Callable[[int], None] = lambda pages: None,
    gather: Gather | None = None,
) -> ReadFile:
    """Reads, structures and splits one document.

    Args:
        data: the file.
        path: what the tables record as its path; its suffix says the format, its stem names a work that states no
            number.
        engine_name: the engine to read a PDF with.
        settings: see `Settings`.
        count_tokens: the tokenizer.
        on_pages: told the number of pages as soon as it is known, before the long part.
        gather: how the pages of a PDF are read; by default one after the other.

    Raises:
        ReadError: with the class of the error.
    """
    content = _content(data, PurePosixPath(path).suffix.lower(), engine_name, on_pages, gather or _one_by_one)
    stem = PurePosixPath(path).stem
    identity = legal_structure.identify(content.blocks, content.opening, stem, settings.short_names, settings.work_ids)
    document = legal_structure.structure(content.blocks, identity, content.outline)
    sha256 = hashlib.sha256(data).hexdigest()
    chunks = chunk_document(document, path, sha256, count_tokens, settings.chunk_tokens, settings.chunk_overlap)
    return ReadFile(path, sha256, content.pages, resolve(document, list(chunks)), content.warnings)


def read_text(
    data: bytes,
    path: str,
    engine_name: EngineName,
    on_pages: Callable[[int], None] = lambda pages: None,
    gather: Gather | None = None,
) -> ReadText:
    """Reads one PDF as plain text, see `layout.text`; the arguments are those of `read_bytes`.

    Raises:
        ReadError: with the class of the error.
    """
    check_pdf(data)
    pages, _ = _pages(data, engine_name, on_pages, gather or _one_by_one)
    text = text_checks.printable(layout.text(pages))
    return ReadText(path, hashlib.sha256(data).hexdigest(), len(pages), text)


def read_lines(data: bytes, engine_name: EngineName, first: int, last: int) -> list[list[Line]]:
    """The lines of the pages ``[first, last)`` of a PDF that another process reads the rest of.

    Raises:
        ReadError: with the class of the error.
    """
    engine = _open(engine_name, data)
    try:
        return list(engine.lines(first, last))
    finally:
        engine.close()


def _content(
    data: bytes, suffix: str, engine_name: EngineName, on_pages: Callable[[int], None], gather: Gather
) -> _Content:
    if suffix in HTML_SUFFIXES + TEXT_SUFFIXES:
        content = _markup(data, suffix, on_pages)
    else:
        check_pdf(data)
        pages, outline = _pages(data, engine_name, on_pages, gather)
        opening = [line.text for line in pages[0]]
        content = _Content(layout.blocks(pages), opening, len(pages), outline, _warnings(pages))
    if not content.blocks:
        raise ReadError("no_text", "holds nothing but running heads and page numbers")
    return replace(
        content,
        blocks=[_printable(block) for block in content.blocks],
        opening=[text_checks.printable(line) for line in content.opening],
        outline=[replace(each, title=text_checks.printable(each.title)) for each in content.outline],
    )


def _printable(block: Block) -> Block:
    text = text_checks.printable(block.text)
    return block if text is block.text else replace(block, text=text)


# --- HTML and plain text ---------------------------------------------------------------------------------------------


def _markup(data: bytes, suffix: str, on_pages: Callable[[int], None]) -> _Content:
    _refuse_empty(data)
    if len(data) > MOST_MARKUP:
        raise ReadError("limit", f"holds {len(data):,} bytes; of HTML and text files at most {MOST_MARKUP:,} are read")
    on_pages(len(data) // _MARKUP_PAGE_BYTES)
    # Each is imported where it is used: a folder of PDF files needs no parser of HTML.
    if suffix in HTML_SUFFIXES:
        from finreg_cli.documents.html import blocks as read
    else:
        from finreg_cli.documents.plain_text import blocks as read
    blocks = read(data)
    text_checks.check({"": [block.text for block in blocks]}, "holds no text")
    return _Content(blocks, [block.text for block in blocks[:20]], pages=1)


def _refuse_empty(data: bytes) -> None:
    if not _SOMETHING.search(data):
        raise ReadError("empty", f"holds nothing ({len(data)} bytes)")


# --- PDF -------------------------------------------------------------------------------------------------------------


def check_pdf(data: bytes) -> None:
    """Refuses what no engine needs to see.

    Raises:
        ReadError: ``empty``, ``not_pdf`` or ``truncated``.
    """
    _refuse_empty(data)
    if b"%PDF-" not in data[:_HEADER_WITHIN]:
        raise ReadError("not_pdf", f"is no PDF: begins with {data[:12]!r}")
    # A cut file may still open, with the pages that are left: a law of which the end is missing is worse than none.
    if b"%%EOF" not in data[-_EOF_WITHIN:] and b"%%EOF" not in data.rstrip(b"\x00 \t\r\n")[-_EOF_WITHIN:]:
        raise ReadError("truncated", f"ends without %%EOF after {len(data)} bytes; the copy is probably incomplete")


def _pages(
    data: bytes, engine_name: EngineName, on_pages: Callable[[int], None], gather: Gather
) -> tuple[list[list[Line]], list[Bookmark]]:
    engine = _open(engine_name, data)
    try:
        if engine.pages > MOST_PAGES:
            raise ReadError("limit", f"says that it has {engine.pages:,} pages; at most {MOST_PAGES:,} are read")
        if engine.pages == 0:
            raise ReadError("parse", "has no page")
        if engine.name == "pdfium" and len(_PAGE_OBJECT.findall(data)) > engine.pages:
            _refuse_lost_pages(data, engine.pages)
        on_pages(engine.pages)
        pages, outline = gather(engine), engine.outline()
    finally:
        engine.close()
    _check_lines(pages)
    return pages, outline


def _open(name: EngineName, data: bytes) -> Engine:
    # Each engine is imported where it is used: a worker that crashed in one need not load it for the other.
    if name == "pdfium":
        from finreg_cli.documents.pdfium import PdfiumEngine

        return PdfiumEngine(data)
    from finreg_cli.documents.pypdf_engine import PypdfEngine

    return PypdfEngine(data)


def _refuse_lost_pages(data: bytes, pages: int) -> None:
    """pdfium believes the count that the file states of its pages; pypdf counts them."""
    try:
        engine = _open("pypdf", data)
    except ReadError:
        return  # what pypdf cannot open it cannot count
    found = engine.pages
    engine.close()
    if pages < found <= MOST_PAGES:
        raise ReadError("parse", f"says that it has {pages} pages, and has {found}")


def _one_by_one(engine: Engine) -> list[list[Line]]:
    return list(engine.lines())


def _check_lines(pages: list[list[Line]]) -> None:
    texts: dict[str, list[str]] = {}
    for number, page in enumerate(pages, 1):
        size = 0
        for line in page:
            texts.setdefault(line.font, []).append(line.text)
            size += len(line.text)
        if size > text_checks.MOST_PAGE_CHARACTERS:
            raise ReadError("limit", f"page {number} holds {size:,} characters, more than can be printed on one")
    text_checks.check(texts, f"its {len(pages)} pages hold no text, probably scanned images; OCR it first")


def _warnings(pages: list[list[Line]]) -> list[str]:
    empty = [str(number) for number, page in enumerate(pages, 1) if not page]
    if len(empty) <= _EMPTY_PAGES_SHARE * len(pages):
        return []
    named = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
    return [f"{len(empty)} of its {len(pages)} pages hold no text, probably scanned images: pages {named}"]

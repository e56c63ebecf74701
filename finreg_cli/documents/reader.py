"""One file's bytes to its chunks or text, or to a classified error. Runs within a worker; knows no file system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Literal, Protocol

from finreg_cli.documents import layout
from finreg_cli.documents.base import ReadFile
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.layout import Line
from finreg_cli.domain import legal_structure
from finreg_cli.domain.chunking import CountTokens, chunk_document
from finreg_cli.domain.references import resolve

EngineName = Literal["pdfium", "pypdf"]

_HEADER_WITHIN = 64 * 1024  # bytes of junk before "%PDF-" that some mail gateways leave; pypdf reads past it
_EOF_WITHIN = 2 * 1024
_UNMAPPED = re.compile("[\ufffd\ue000-\uf8ff]")
_UNMAPPED_SHARE = 0.2  # above, the fonts have no usable map from glyphs to characters


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

    def lines(self) -> Iterator[list[Line]]: ...

    def close(self) -> None: ...


def read_bytes(
    data: bytes,
    path: str,
    engine_name: EngineName,
    settings: Settings,
    count_tokens: CountTokens,
    on_pages: Callable[[int], None] = lambda pages: None,
) -> ReadFile:
    """Reads, structures and splits one document.

    Args:
        data: the file.
        path: what the tables record as its path; its stem names a work that states no number.
        engine_name: the engine to read it with.
        settings: see `Settings`.
        count_tokens: the tokenizer.
        on_pages: told the number of pages as soon as it is known, before the long part.

    Raises:
        ReadError: with the class of the error.
    """
    pages = _pages(data, engine_name, on_pages)
    blocks = layout.blocks(pages)
    opening = [line.text for line in pages[0]]
    stem = PurePosixPath(path).stem
    identity = legal_structure.identify(blocks, opening, stem, settings.short_names, settings.work_ids)
    document = legal_structure.structure(blocks, identity)
    sha256 = hashlib.sha256(data).hexdigest()
    chunks = chunk_document(document, path, sha256, count_tokens, settings.chunk_tokens, settings.chunk_overlap)
    return ReadFile(path, sha256, len(pages), resolve(document, list(chunks)))


def read_text(
    data: bytes,
    path: str,
    engine_name: EngineName,
    on_pages: Callable[[int], None] = lambda pages: None,
) -> ReadText:
    """Reads one document as plain text, see `layout.text`; the arguments are those of `read_bytes`.

    Raises:
        ReadError: with the class of the error.
    """
    pages = _pages(data, engine_name, on_pages)
    return ReadText(path, hashlib.sha256(data).hexdigest(), len(pages), layout.text(pages))


def _pages(data: bytes, engine_name: EngineName, on_pages: Callable[[int], None]) -> list[list[Line]]:
    check_bytes(data)
    engine = _open(engine_name, data)
    try:
        on_pages(engine.pages)
        pages = list(engine.lines())
    finally:
        engine.close()
    _check_text(pages)
    return pages


def check_bytes(data: bytes) -> None:
    """Refuses what no engine needs to see.

    Raises:
        ReadError: ``empty``, ``not_pdf`` or ``truncated``.
    """
    if not data.strip(b"\x00 \t\r\n"):
        raise ReadError("empty", f"holds nothing ({len(data)} bytes)")
    if b"%PDF-" not in data[:_HEADER_WITHIN]:
        raise ReadError("not_pdf", f"is no PDF: begins with {data[:12]!r}")
    # A cut file may still open, with the pages that are left: a law of which the end is missing is worse than none.
    if b"%%EOF" not in data.rstrip(b"\x00 \t\r\n")[-_EOF_WITHIN:]:
        raise ReadError("truncated", f"ends without %%EOF after {len(data)} bytes; the copy is probably incomplete")


def _open(name: EngineName, data: bytes) -> Engine:
    # Each engine is imported where it is used: a worker that crashed in one need not load it for the other.
    if name == "pdfium":
        from finreg_cli.documents.pdfium import PdfiumEngine

        return PdfiumEngine(data)
    from finreg_cli.documents.pypdf_engine import PypdfEngine

    return PypdfEngine(data)


def _check_text(pages: list[list[Line]]) -> None:
    text = "".join(line.text for line in chain.from_iterable(pages))
    if not any(map(str.isalnum, text)):
        raise ReadError("no_text", f"its {len(pages)} pages hold no text, probably scanned images; OCR it first")
    # Bullets of symbol fonts are unmapped as well, a few on a page.
    if len(_UNMAPPED.findall(text)) > _UNMAPPED_SHARE * len(text):
        raise ReadError("bad_encoding", "its fonts do not say which characters their glyphs stand for")

"""A chunk of a made-up act, for tests that need one and care for a few of its columns."""

from __future__ import annotations

from typing import Any

from finreg_cli.domain.records import Chunk


def chunk(citation: str, text: str, **columns: Any) -> Chunk:
    """The chunk with this citation and text; any other column may be said."""
    usual: dict[str, Any] = {
        "chunk_id": f"chunk of {citation}",
        "document_id": "document",
        "work_id": "sample",
        "version_date": None,
        "path": "sample.pdf",
        "file_sha256": "0" * 64,
        "title": "Sample Regulation No 1/2099",
        "heading_path": [],
        "structure": "article",
        "references": [],
        "page_start": 1,
        "page_end": 1,
        "char_start": 0,
        "char_end": len(text),
        "has_formula": False,
        "suspect_instruction": False,
        "token_count": max(1, len(text) // 4),
    }
    return Chunk(citation=citation, text=text, **(usual | columns))

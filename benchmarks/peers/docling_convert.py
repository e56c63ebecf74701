"""docling's conversion with its defaults, layout model and all: ``python docling_convert.py PDF OUTPUT``."""

import sys
from pathlib import Path

from docling.document_converter import DocumentConverter

pdf, output = sys.argv[1:]
document = DocumentConverter().convert(pdf).document
(Path(output) / "docling.md").write_text(document.export_to_markdown(), encoding="utf-8")

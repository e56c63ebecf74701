"""The text layer of docling alone, which needs no model: ``python docling_parse_lines.py PDF OUTPUT``."""

import sys
from pathlib import Path

from docling_core.types.doc.page import TextCellUnit
from docling_parse.pdf_parser import DoclingPdfParser

pdf, output = sys.argv[1:]
document = DoclingPdfParser(loglevel="fatal").load(pdf)
pages = ["\n".join(line.text for line in page.iterate_cells(TextCellUnit.LINE)) for _, page in document.iterate_pages()]
(Path(output) / "docling-parse.txt").write_text("\n\n".join(pages), encoding="utf-8")

"""The paragraphs and tables that were transcribed by eye from page renders, against what the reader makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

from finreg_cli.documents import layout
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.legal_structure import Block

SHARED = Path(__file__).parents[2] / "../shared/data"
GOLD = SHARED / "gold/paragraphs.json"
CRR = "CRR-32013R0575-EN.pdf"  # the tables of the gold are all from it
ALLOWED_WER = 0.003

pytestmark = pytest.mark.skipif(not GOLD.exists(), reason="../shared/data/gold is not here")

_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})


def words(text: str) -> list[str]:
    """As the gold has it: straight quotes, raised and lowered characters plain, blanks collapsed; no table's bars."""
    return text.translate(_QUOTES).replace("^", "").replace("|", " ").split()


@lru_cache(maxsize=2)
def read(file: str) -> list[Block]:
    """The blocks of the whole document: its hyphens go by all of its words."""
    engine = PdfiumEngine((SHARED / "regulations" / file).read_bytes())
    try:
        return layout.blocks(list(engine.lines()))
    finally:
        engine.close()


def fewest_errors(expected: Sequence[str], found: Sequence[str]) -> int:
    """The edit distance in words to the nearest passage of about the same length."""
    best = len(expected)
    for start in (index for index, word in enumerate(found) if word == expected[0]):
        for length in range(len(expected) - 3, len(expected) + 4):
            best = min(best, Levenshtein.distance(expected, found[start : start + length]))
    return best


def errors(file: str, page: int, text: str) -> tuple[int, int]:
    near = [block for block in read(file) if page in range(block.page_start - 1, block.page_end + 1)]
    found = words(" ".join(block.text for block in near if block.kind != "footnote"))
    expected = words(text)
    return fewest_errors(expected, found), len(expected)


def test_the_given_gold_is_read_almost_without_error() -> None:
    gold = json.loads(GOLD.read_text())
    counts = [
        errors(entry.get("file", CRR), entry["page"], entry["text"]) for entry in gold["paragraphs"] + gold["tables"]
    ]
    assert sum(wrong for wrong, _ in counts) <= ALLOWED_WER * sum(total for _, total in counts), counts


def test_no_part_of_a_paragraph_is_missing_where_it_crosses_columns_and_footnotes() -> None:
    recital = next(block.text for block in read(CRR) if block.text.startswith("(1) The G-20 Declaration"))
    assert recital.endswith("the Basel III framework.")


def test_every_footnote_of_the_crr_stands_behind_its_mark() -> None:
    blocks = read(CRR)
    footnotes = [index for index, block in enumerate(blocks) if block.kind == "footnote"]
    assert len(footnotes) == 37
    for index in footnotes:
        home = next(block for block in reversed(blocks[:index]) if block.kind != "footnote")
        assert blocks[index].text.split()[0] in home.text


def test_no_running_head_of_the_journal_is_left_in_the_text() -> None:
    head = re.compile(r"Official Journal of the European Union (?:L \d|\d)|L 176/\d+ Official")
    assert not [block.text for block in read(CRR) if head.search(block.text)]


def test_formulas_are_flagged_where_the_source_breaks_them() -> None:
    broken = re.compile("[\u00bc\u00f0\u00de\u00fe]")
    pages = {block.page_start for block in read(CRR) if block.formula}
    assert len(pages) == 38  # ../shared/facts/pdf.md
    assert {block.page_start for block in read(CRR) if broken.search(block.text)} <= pages

"""The words of five EBA papers, as transcribed by eye before the reader was tuned: text that nobody tunes to.

The papers are not in the repository; without them there is nothing to measure, and the test says so.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import pytest

from finreg_cli.documents import layout
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.legal_structure import Block

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY / "../shared/data"
GOLD = REPOSITORY / "tests/gold/eba_paragraphs.json"
MOST_ERRORS = 0.01
"""Wrong, missing and surplus words, of all that were transcribed."""


class Sample(TypedDict):
    """A transcribed paragraph; ``page`` from 1, that it begins on."""

    file: str
    page: int
    note: str
    text: str


def samples() -> list[Sample]:
    found: list[Sample] = json.loads(GOLD.read_text(encoding="utf-8"))["paragraphs"]
    return found


def paper(name: str) -> Path | None:
    return next((path for path in SHARED.glob(f"regulations*/{name}")), None)


needs_papers = pytest.mark.skipif(
    not all(paper(sample["file"]) for sample in samples()), reason="the EBA's papers are not in ../shared/data"
)


@functools.cache
def blocks_of(name: str) -> list[Block]:
    path = paper(name)
    assert path is not None
    engine = PdfiumEngine(path.read_bytes())
    try:
        return layout.blocks(list(engine.lines()))
    finally:
        engine.close()


def words(text: str) -> list[str]:
    """By the convention of the transcript: straight quotes, raised characters as plain ones, any whitespace."""
    return re.sub("[‘’]", "'", re.sub("[“”]", '"', text.replace("^", ""))).split()


def fewest_errors(expected: Sequence[str], read: Sequence[str]) -> int:
    """Words to insert, delete or replace between ``expected`` and the stretch of ``read`` that is nearest to it."""
    # Beginning and ending anywhere in what was read costs nothing (Sellers, 1980).
    row = [0] * (len(read) + 1)
    for index, word in enumerate(expected, start=1):
        above = row
        row = [index]
        for column, other in enumerate(read, start=1):
            row.append(min(above[column - 1] + (word != other), above[column] + 1, row[-1] + 1))
    return min(row)


def errors(sample: Sample) -> int:
    pages = range(sample["page"], sample["page"] + 2)
    near = [block for block in blocks_of(sample["file"]) if block.kind != "footnote" and block.page_start in pages]
    return fewest_errors(words(sample["text"]), words(" ".join(block.text for block in near)))


@needs_papers
def test_at_most_one_word_in_a_hundred_is_read_otherwise_than_by_eye() -> None:
    wrong = {f"{sample['file']} p. {sample['page']}": errors(sample) for sample in samples()}
    total = sum(len(words(sample["text"])) for sample in samples())
    assert sum(wrong.values()) <= MOST_ERRORS * total, wrong


def test_the_transcript_covers_all_five_papers_at_length() -> None:
    lengths = [len(words(sample["text"])) for sample in samples()]
    assert len({sample["file"] for sample in samples()}) == 5
    assert len(lengths) == 10
    assert min(lengths) >= 80


@pytest.mark.parametrize(
    ("read", "count"),
    [
        ("before an institution shall hold it after", 0),
        ("before aninstitution shall hold it after", 2),  # one replaced, one missing
        ("before an institution shall not hold it", 1),
        ("nothing of the kind", 5),
    ],
)
def test_errors_are_counted_within_a_longer_text(read: str, count: int) -> None:
    assert fewest_errors(["an", "institution", "shall", "hold", "it"], read.split()) == count

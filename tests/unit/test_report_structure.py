"""Reports: each rung of the ladder on small reports in its manner, and on the real ones."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from finreg_cli.documents import layout
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.chunking import chunk_document
from finreg_cli.domain.legal_structure import Block, Bookmark, Document, Identity, identify, split_unit, structure

SHARED = Path(__file__).parents[2] / "../shared"
PAPERS = SHARED / "data/regulations-more"
CONSULTATION = PAPERS / "EBA-prudent-valuation-consultation.pdf"
ARCHITECTURE = PAPERS / "EBA-EIOPA-taxonomy-architecture-v2.pdf"

needs_real_documents = pytest.mark.skipif(not CONSULTATION.is_file(), reason=f"the real papers are not at {PAPERS}")

REPORT = Identity("w", None, "A report on banks and their capital", "REP", is_act=False)
TEXT = "Supervisors have looked at banks of every size, and at the capital that each of them holds against its risks."


def line(text: str, page: int = 3, **style: Any) -> Block:
    return Block(text, page, page, **style)


def read(*blocks: Block, outline: tuple[Bookmark, ...] = ()) -> Document:
    return structure(blocks, REPORT, outline)


def citations(document: Document) -> list[str]:
    def words(texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]

    return [chunk.citation for chunk in chunk_document(document, "f.pdf", "0" * 64, words, 500, 0)]


NUMBERED = [
    line("A report on banks and their capital", page=1, size=20.0),
    line("15 April 2021", page=1, size=14.0),
    line("Contents", page=2, size=18.0),
    line("1. Summary 3", page=2, bold=True),
    line("2. Background 5", page=2, bold=True),
    line("1. Summary", size=18.0),
    line(TEXT),
    line("2. Background", size=18.0),
    line("2.1 Law", size=14.0),
    line(TEXT),
    line("Law of the Union", size=12.0),
    line(TEXT),
    line("National law", size=12.0),
    line(TEXT),
    line("2.2 Practice", size=14.0),
    line(TEXT),
    line("Annex", size=18.0),
    line(TEXT),
]


def test_numbered_headings_nest_by_number_and_unnumbered_ones_by_print() -> None:
    document = read(*NUMBERED)
    assert [(unit.label, unit.heading_path) for unit in document.units] == [
        (None, []),
        ('"Contents"', ["Contents"]),
        ("section 1", ["1. Summary"]),
        ("section 2.1", ["2. Background", "2.1 Law"]),
        ('section 2.1 "Law of the Union"', ["2. Background", "2.1 Law", "Law of the Union"]),
        ('section 2.1 "National law"', ["2. Background", "2.1 Law", "National law"]),
        ("section 2.2", ["2. Background", "2.2 Practice"]),
        ('"Annex"', ["Annex"]),
    ]
    assert [unit.structure for unit in document.units] == ["page", *["heading"] * 7]


def test_a_report_is_cited_by_section_and_by_page_only_where_it_has_none() -> None:
    assert citations(read(*NUMBERED))[:4] == ["REP page 1", 'REP "Contents"', "REP section 1", "REP section 2.1"]
    assert citations(read(line(TEXT, page=2), line(TEXT, page=3))) == ["REP pages 2-3"]


def test_numbered_paragraphs_are_no_headings_and_are_cited_by_their_number() -> None:
    paragraphs = [line(f"{number}.{TEXT}") for number in range(1, 7)]
    blocks = [line("1. Summary", size=18.0), *paragraphs[:1], line("2. Views", size=18.0), *paragraphs[1:]]
    document = read(*blocks)
    assert [unit.label for unit in document.units] == ["section 1", "section 2"]
    assert [paragraph.number for paragraph in document.units[1].paragraphs[1:]] == ["2", "3", "4", "5", "6"]
    assert citations(document) == ["REP section 1 paragraph 1", "REP section 2"]


def test_a_number_that_does_not_count_on_is_a_heading_by_its_print_only() -> None:
    restart = [line("1. Option A", size=12.0), line(TEXT), line("3. A list in plain print"), line(TEXT)]
    document = read(*NUMBERED[:-2], *restart)
    assert document.units[-1].label == 'section 2.2 "1. Option A"'
    assert [paragraph.role for paragraph in document.units[-1].paragraphs] == ["head", "text", "text", "text"]


def test_bookmarks_go_before_print() -> None:
    outline = (Bookmark(0, "Summary", 3), Bookmark(0, "Background", 3), Bookmark(1, "Law", 3), Bookmark(0, "Gone", 9))
    document = read(*(line(block.text, page=block.page_start) for block in NUMBERED), outline=outline)
    assert [(unit.structure, unit.label, unit.heading_path) for unit in document.units[-2:]] == [
        ("bookmark", "section 1", ["1. Summary"]),
        ("bookmark", "section 2.1", ["2. Background", "2.1 Law"]),
    ]


def test_larger_lines_then_bold_ones_head_a_report_without_numbers() -> None:
    larger = [line("Views", size=14.0), line(TEXT), line("Costs", size=14.0), line(TEXT)]
    document = read(*larger)
    assert [(unit.structure, unit.label) for unit in document.units] == [("style", '"Views"'), ("style", '"Costs"')]
    bold = [part for name in ("Views", "Costs", "Gains") for part in (line(name, bold=True), line(TEXT))]
    assert [unit.label for unit in read(*bold).units] == ['"Views"', '"Costs"', '"Gains"']
    assert [unit.structure for unit in read(*bold[:4]).units] == ["page"]


def test_a_bold_line_in_the_size_of_the_text_heads_within_its_section() -> None:
    document = read(*NUMBERED[:7], line("Question 1", bold=True), line(TEXT), *NUMBERED[7:])
    summary = next(unit for unit in document.units if unit.label == "section 1")
    assert [paragraph.role for paragraph in summary.paragraphs] == ["head", "text", "head", "text"]


def test_the_top_numbered_heading_is_the_unit_of_the_split() -> None:
    document = read(*NUMBERED)
    chunks = chunk_document(document, "f.pdf", "0" * 64, lambda texts: [1] * len(texts), 500, 0)
    units = [split_unit(chunk) for chunk in chunks]
    assert units == ["document", "document", "1. Summary", *["2. Background"] * 4, "document"]


def test_two_drafts_in_one_paper_do_not_share_a_citation() -> None:
    def draft(title: str) -> list[Block]:
        heads = [
            part
            for n in (1, 2, 3)
            for part in (line(f"Article {n}", italic=True), line(f"{title} {n}", bold=True), line(f"{title}: {TEXT}"))
        ]
        return [line("Whereas:"), line(f"(1) {TEXT}"), line("HAS ADOPTED THIS REGULATION:"), *heads]

    report = [line(TEXT) for _ in range(20)]
    document = read(*report, *draft("First"), line("Second draft", size=20.0), *draft("Second"))
    labels = [unit.label for unit in document.units if unit.label and "Article" in unit.label]
    assert labels == [f"{prefix}Article {n}" for prefix in ("", "draft 2 ") for n in (1, 2, 3)]


@cache
def real(path: Path) -> Document:
    engine = PdfiumEngine(path.read_bytes())
    pages, outline = list(engine.lines()), engine.outline()
    engine.close()
    blocks = layout.blocks(pages)
    identity = identify(blocks, [each.text for each in pages[0]], path.stem, {}, {})
    return structure(blocks, identity, outline)


@needs_real_documents
def test_a_consultation_paper_has_its_sections_around_the_draft_that_it_proposes() -> None:
    document = real(CONSULTATION)
    assert (document.identity.short_name, document.identity.version_date) == ("EBA/CP/2024/01/rev1", "2024-01-16")
    tops = list(dict.fromkeys(unit.heading_path[0] for unit in document.units if unit.heading_path))
    assert [re.sub(r"\D.*", "", top) for top in tops if top[0].isdigit()] == ["1", "2", "3", "4", "5"]
    assert [unit.label for unit in document.units if (unit.label or "").startswith("Article")] == [
        "Article 1",
        "Article 2",
    ]
    assert {unit.heading_path[0] for unit in document.units if unit.structure == "article"} == {
        "4. Draft regulatory technical standards"
    }
    numbers = [
        each.number
        for unit in document.units
        for each in unit.paragraphs
        if each.role == "numbered" and unit.structure == "heading"
    ]
    assert [int(number) for number in numbers if number] == list(range(1, 82))


@needs_real_documents
def test_a_paper_with_bookmarks_is_read_by_them() -> None:
    document = real(ARCHITECTURE)
    labels = [unit.label for unit in document.units if unit.structure == "bookmark"]
    assert {"section 1", "section 6.2.1", "section 9.5.2.3", "section 13"} <= set(labels)
    assert all(unit.heading_path for unit in document.units[1:])

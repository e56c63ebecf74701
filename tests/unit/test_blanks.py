"""Blanks that the print lost or strewed in, by the document's own words; and on the real documents where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from finreg_cli.documents import layout
from finreg_cli.documents.blanks import with_item_apart
from finreg_cli.documents.hyphens import Vocabulary
from finreg_cli.documents.pdfium import PdfiumEngine

REGULATIONS = Path(__file__).parents[2] / "../shared/data/regulations"
KNOWN = [
    "the CRR: draft standards, the requirements, and the draft: since firms and the regime, " * 5,
    "Article 5 and Pillar 2 of loss and institution and variables, see type " * 5,
]


@pytest.mark.parametrize(
    ("lost", "restored"),
    [
        ("the CRR:draft", "the CRR: draft"),
        ("requirements(CRR 2)", "requirements (CRR 2)"),
        ("firms\u2019regime", "firms\u2019 regime"),
        ("irrelevant,since", "irrelevant, since"),
        ("in Article394(4) and", "in Article 394(4) and"),
        ("under Pillar2, the", "under Pillar 2, the"),
    ],
)
def test_a_lost_blank_comes_back_where_the_document_writes_one_elsewhere(lost: str, restored: str) -> None:
    assert Vocabulary(KNOWN).resolve(lost) == restored


@pytest.mark.parametrize(
    "text",
    [
        "Article 92(1)",
        "f(x)",
        "loss(es)",
        "institution(s)",
        "xlink:type",
        "http://draft.example/the:draft",
        "at 10:30, 3:1",
        "CET1 capital",
        "| table1 | article5 |",
        "the draft's regime",
    ],
)
def test_what_is_written_without_a_blank_stays(text: str) -> None:
    assert Vocabulary([*KNOWN, "table 1 " * 9]).resolve(text) == text


def test_a_document_of_qualified_names_gets_no_blanks_behind_its_colons() -> None:
    assert Vocabulary([*KNOWN, "link:label " * 9]).resolve("the CRR:draft") == "the CRR:draft"


def test_a_word_with_a_stray_blank_is_whole_where_its_halves_are_no_words() -> None:
    assert Vocabulary(["process " * 3, "the proc ess of"]).resolve("the proc ess of") == "the process of"
    assert Vocabulary(["therefore " * 3, "there there, fore"]).resolve("there fore") == "there fore"


def test_the_number_of_a_paragraph_stands_apart() -> None:
    assert with_item_apart("23.Competent authorities have") == "23. Competent authorities have"
    assert with_item_apart("2.9.0 of the law") == "2.9.0 of the law"
    assert with_item_apart("1.A") == "1.A"


@pytest.mark.parametrize(
    ("name", "whole", "broken"),
    [
        ("CRR-32013R0575-EN", ("Article 363 respectively",), ("Article363", "paragraphs2", "Section5")),
        (
            "EBA-final-report-draft-RTS-consolidation",
            ("irrelevant, since", "step-in"),
            ("cross- ", "balance- ", "pre- "),
        ),
    ],
)
def test_real_documents_hold_no_such_fault(name: str, whole: tuple[str, ...], broken: tuple[str, ...]) -> None:
    path = REGULATIONS / f"{name}.pdf"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    text = "\n".join(block.text for block in layout.blocks(list(PdfiumEngine(path.read_bytes()).lines())))
    assert all(each in text for each in whole)
    assert not [each for each in broken if each in text]

"""The fallback engine on files made on the spot."""

from __future__ import annotations

import io

import pytest

from finreg_cli.documents import pypdf_engine
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import LINE_HYPHEN, Line
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.documents.pypdf_engine import PypdfEngine
from finreg_cli.domain.legal_structure import Bookmark
from tests.fakes import pdf_files
from tests.unit.test_pdfium import drawn, looping, with_bookmarks


def lines(data: bytes) -> list[Line]:
    return [line for page in PypdfEngine(data).lines() for line in page]


def test_its_lines_are_those_of_pdfium() -> None:
    data = pdf_files.act(articles=8)
    other = [line for page in PdfiumEngine(data).lines() for line in page]
    assert [line.text.strip() for line in lines(data)] == [line.text.strip() for line in other]
    for line, expected in zip(lines(data), other, strict=True):
        assert (line.page, line.size, line.bold, line.italic) == (
            expected.page,
            expected.size,
            expected.bold,
            expected.italic,
        )
        assert line.left == pytest.approx(expected.left, abs=1)
        assert line.baseline == pytest.approx(expected.baseline, abs=1)
        # Without an embedded font's widths the right edge is an estimate.
        assert line.right == pytest.approx(expected.right, rel=0.35)


def test_the_right_edge_by_the_widths_of_the_font() -> None:
    font = {"/BaseFont": "/Sample-Bold", "/FirstChar": 97, "/Widths": [200, 800]}
    gatherer = pypdf_engine._Gatherer(1, 800)
    gatherer.visit("aab", [1, 0, 0, 1, 0, 0], [10, 0, 0, 10, 60, 700], font, 1.0)
    (line,) = gatherer.finish()
    assert (line.left, line.right) == (60, pytest.approx(60 + 10 * (0.2 + 0.2 + 0.8)))
    assert line.bold


def test_bold_holds_for_the_whole_line() -> None:
    gatherer = pypdf_engine._Gatherer(1, 800)
    page, bold, plain = [1.0, 0, 0, 1, 0, 0], {"/BaseFont": "/Sample-Bold"}, {"/BaseFont": "/Sample"}
    gatherer.visit("Term", page, [10, 0, 0, 10, 60, 700], bold, 1.0)
    gatherer.visit(" means something\n", page, [10, 0, 0, 10, 85, 700], plain, 1.0)
    gatherer.visit("Title\n", page, [10, 0, 0, 10, 60, 680], bold, 1.0)
    assert [(line.text, line.bold) for line in gatherer.finish()] == [("Term means something", False), ("Title", True)]


def test_a_raised_mark_in_another_font() -> None:
    gatherer = pypdf_engine._Gatherer(1, 800)
    page, font = [1.0, 0, 0, 1, 0, 0], {"/BaseFont": "/Sample"}
    gatherer.visit("risk", page, [10, 0, 0, 10, 60, 700], font, 1.0)
    gatherer.visit("3", page, [6, 0, 0, 6, 80, 704], font, 1.0)
    gatherer.visit(" is high", page, [10, 0, 0, 10, 84, 700], font, 1.0)
    (line,) = gatherer.finish()
    assert (line.text, line.size, line.lead_size) == ("risk^3 is high", 10, 10)


@pytest.mark.parametrize("hyphen", ["-", "\u00ad", " \u00ad"])
def test_a_hyphen_at_the_end_of_a_line(hyphen: str) -> None:
    assert pypdf_engine._with_line_hyphen(f"stan{hyphen}") == f"stan{LINE_HYPHEN}"
    assert pypdf_engine._with_line_hyphen("1990-") == "1990-"


def test_a_range_of_pages() -> None:
    data = pdf_files.act(articles=20)
    whole = list(PypdfEngine(data).lines())
    assert [*PypdfEngine(data).lines(0, 2), *PypdfEngine(data).lines(2)] == whole
    assert len(whole) > 2


def test_bookmarks() -> None:
    assert PypdfEngine(with_bookmarks()).outline() == [
        Bookmark(0, "Part One", 1),
        Bookmark(1, "Title I", 1),
        Bookmark(0, "Part Two", 2),
    ]


def test_a_loop_of_bookmarks_ends() -> None:
    assert len(PypdfEngine(looping(with_bookmarks())).outline()) <= 3


def test_a_page_of_too_many_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypdf_engine, "_MOST_CHARACTERS", 20)
    with pytest.raises(ReadError) as raised:
        lines(drawn(lambda drawing: drawing.drawString(60, 700, "more than twenty characters")))
    assert raised.value.error_class == "limit"


def test_a_password() -> None:
    with pytest.raises(ReadError) as raised:
        PypdfEngine(pdf_files.locked("secret"))
    assert raised.value.error_class == "encrypted"


def test_a_cut_file() -> None:
    data = pdf_files.act(articles=20)
    with pytest.raises(ReadError):
        lines(data[: len(data) // 2])


def test_nothing_at_all() -> None:
    with pytest.raises(ReadError):
        PypdfEngine(io.BytesIO().getvalue())

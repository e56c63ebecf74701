"""pdfium's engine on files made on the spot: what it says of lines, marks, gaps and bookmarks."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, NameObject
from reportlab.pdfgen import canvas

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import Line
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.legal_structure import Bookmark
from tests.fakes import pdf_files

_SHARED = Path(__file__).parents[2] / "../shared"
_CRR = _SHARED / "data/regulations/CRR-32013R0575-EN.pdf"


def drawn(draw: Callable[[canvas.Canvas], None]) -> bytes:
    """A page of A4 with what ``draw`` puts on it."""
    target = io.BytesIO()
    drawing = canvas.Canvas(target, invariant=True)
    drawing.setFont("Times-Roman", 10)
    draw(drawing)
    drawing.showPage()
    drawing.save()
    return target.getvalue()


def runs(drawing: canvas.Canvas, y: float, *parts: tuple[str, float, float], x: float = 60) -> None:
    """Text parts one behind the other: text, size and rise in points."""
    for text, size, rise in parts:
        drawing.setFont("Times-Roman", size)
        drawing.drawString(x, y + rise, text)
        x += drawing.stringWidth(text, "Times-Roman", size)


def lines(data: bytes) -> list[Line]:
    return [line for page in PdfiumEngine(data).lines() for line in page]


def texts(data: bytes) -> list[str]:
    return [line.text.strip() for line in lines(data)]


def printed(*parts: tuple[str, float, float]) -> str:
    """The parts as the engine gives them; behind what is raised, pdfium begins a new line."""
    return "".join(line.text for line in lines(drawn(lambda drawing: runs(drawing, 700, *parts))))


class TestRanges:
    def test_two_ranges_are_the_whole(self) -> None:
        data = pdf_files.act(articles=20)
        whole = list(PdfiumEngine(data).lines())
        assert len(whole) > 2
        first, rest = list(PdfiumEngine(data).lines(0, 2)), list(PdfiumEngine(data).lines(2))
        assert [[line.text for line in page] for page in first + rest] == [
            [line.text for line in page] for page in whole
        ]
        assert [page[0].page for page in rest] == list(range(3, len(whole) + 1))

    def test_a_range_ends_with_the_document(self) -> None:
        assert list(PdfiumEngine(pdf_files.act()).lines(1, 99)) == []


class TestRaised:
    def test_an_exponent_stands_behind_a_caret(self) -> None:
        assert printed(("risk", 10, 0), ("3", 6, 4), (" is high", 10, 0)) == "risk^3 is high"

    def test_a_sign_belongs_to_the_exponent(self) -> None:
        assert printed(("at most 10", 10, 0), ("-6", 6, 4)) == "at most 10^-6"

    def test_a_letter_may_be_an_exponent(self) -> None:
        assert printed(("x", 10, 0), ("n", 6, 4), (" grows", 10, 0)) == "x^n grows"

    def test_a_mark_in_parentheses(self) -> None:
        assert printed(("the Bank (", 10, 0), ("1", 6, 4), ("), having", 10, 0)) == "the Bank (^1), having"

    def test_a_footnote_begins_with_its_mark(self) -> None:
        found = lines(drawn(lambda drawing: runs(drawing, 90, ("7", 5, 3), (" See Article 9.", 8, 0))))
        assert "".join(line.text for line in found).strip() == "^7 See Article 9."
        assert found[0].lead_size == 5

    def test_an_index_is_plain(self) -> None:
        assert printed(("the factor w", 10, 0), ("2", 6, -2), (" holds", 10, 0)) == "the factor w2 holds"

    @pytest.mark.parametrize("raised", ["st", "TM", "or"])
    def test_other_raised_letters_are_plain(self, raised: str) -> None:
        assert printed(("the 1", 10, 0), (raised, 6, 4), (" day", 10, 0)) == f"the 1{raised} day"

    def test_a_fraction_is_plain(self) -> None:
        assert printed(("about ", 10, 0), ("1", 6, 3), ("/2 of it", 10, 0)) == "about 1/2 of it"

    def test_small_capitals_stand_on_the_line(self) -> None:
        assert printed(("T", 12, 0), ("ITLE", 9, 0), (" 4", 12, 0)) == "TITLE 4"

    def test_an_initial_as_high_as_two_lines(self) -> None:
        assert "^" not in printed(("I", 30, -12), ("n the beginning", 10, 0))

    def test_a_raised_glyph_of_the_font(self) -> None:
        assert printed(("ten m²", 10, 0)) == "ten m^2"


class TestGaps:
    def test_wide_gaps_make_cells(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            for x, text in ((60, "Risk weight"), (200, "20 %"), (300, "50 %")):
                drawing.drawString(x, 700, text)

        (line,) = lines(drawn(draw))
        assert [cell.text for cell in line.cells] == ["Risk weight", "20 %", "50 %"]
        assert [round(cell.left) for cell in line.cells] == [60, 200, 300]
        assert all(cell.left < cell.right for cell in line.cells)

    def test_a_justified_line_has_no_cells(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            for index, word in enumerate(["when", "it", "is", "not", "met"]):
                drawing.drawString(60 + 35 * index, 700, word)

        (line,) = lines(drawn(draw))
        assert line.text.split() == ["when", "it", "is", "not", "met"]
        assert line.cells == ()

    def test_a_row_of_short_words_is_not_letter_spaced(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            for x, text in ((60, "Level A"), (200, "1 %"), (300, "5 %")):
                drawing.drawString(x, 700, text)

        (line,) = lines(drawn(draw))
        assert [cell.text for cell in line.cells] == ["Level A", "1 %", "5 %"]

    def test_a_letter_spaced_head_is_whole(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            drawing.drawString(60, 700, "S e c t i o n", charSpace=-1.2)
            drawing.drawString(120, 700, "1")

        assert texts(drawn(draw)) == ["Section 1"]

    def test_a_lost_blank_is_told(self) -> None:
        (line,) = lines(drawn(lambda drawing: _apart(drawing, 1.6)))
        assert [(line.text[:gap], line.text[gap:]) for gap in line.gaps] == [("in order", "to lend")]

    def test_letters_that_touch_have_no_gap(self) -> None:
        (line,) = lines(drawn(lambda drawing: _apart(drawing, 0)))
        assert line.text == "in orderto lend"
        assert line.gaps == ()

    def test_offsets_hold_behind_a_caret(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            drawing.drawString(60, 700, "m²")
            _apart(drawing, 1.6, x=76)

        (gapped,) = [line for line in lines(drawn(draw)) if line.gaps]
        assert [gapped.text[:gap] for gap in gapped.gaps] == ["m^2 in order"]


def _apart(drawing: canvas.Canvas, gap: float, x: float = 60) -> None:
    """ "in orderto lend" with a gap before "to", in points."""
    drawing.setFont("Times-Roman", 10)
    before = drawing.stringWidth("in order", "Times-Roman", 10)
    drawing.drawString(x, 700, "in order")
    drawing.drawString(x + before + gap, 700, "to lend")


class TestCharacters:
    def mapped(self, *characters: str) -> bytes:
        """The letters A, B, C ... on a line, of which the font says that they stand for these UTF-16 codes."""
        letters = "".join(chr(65 + index) for index in range(len(characters)))
        writer = pypdf.PdfWriter(io.BytesIO(drawn(lambda drawing: drawing.drawString(60, 700, f"{letters} x"))))
        pairs = "\n".join(f"<{65 + index:02X}> <{code}>" for index, code in enumerate(characters))
        cmap = DecodedStreamObject()
        cmap.set_data(
            f"begincmap\n1 begincodespacerange <00> <FF> endcodespacerange\n"
            f"{len(characters)} beginbfchar\n{pairs}\nendbfchar\nendcmap".encode()
        )
        for font in writer.pages[0]["/Resources"]["/Font"].values():
            font.get_object()[NameObject("/ToUnicode")] = writer._add_object(cmap)
        target = io.BytesIO()
        writer.write(target)
        return target.getvalue()

    def test_outside_the_basic_plane(self) -> None:
        assert texts(self.mapped("D835DC49", "D835DC4E")) == ["\U0001d449\U0001d44e x"]

    @pytest.mark.parametrize("code", ["D835", "DC49", "0007", "0000", "0085", "2028", "FFFE", "0002"])
    def test_no_half_of_a_pair_and_no_control(self, code: str) -> None:
        text = "".join(texts(self.mapped(code, "0062")))
        assert text.endswith("b x")
        text.encode()  # raises on a surrogate
        assert all(character.isprintable() for character in text)


class TestSideways:
    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_a_page_of_turned_text_is_read_upright(self, degrees: int) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            drawing.translate(300, 400)
            drawing.rotate(degrees)
            for y, text in ((20, "Above"), (0, "Below")):
                drawing.drawString(0, y, text)

        found = {line.text.strip(): line for line in lines(drawn(draw))}
        above, below = found["Above"], found["Below"]
        assert above.right - above.left == pytest.approx(26.7, abs=0.5)
        assert above.left == pytest.approx(below.left)
        assert above.baseline - below.baseline == pytest.approx(20, abs=0.1)
        assert above.page_height == pytest.approx(595.3 if degrees % 180 else 841.9, abs=0.1)

    def test_its_cells_stand_side_by_side(self) -> None:
        def draw(drawing: canvas.Canvas) -> None:
            drawing.translate(300, 400)
            drawing.rotate(90)
            drawing.drawString(0, 0, "First")
            drawing.drawString(150, 0, "Second")

        (line,) = lines(drawn(draw))
        assert [cell.text for cell in line.cells] == ["First", "Second"]
        assert line.left < line.cells[0].right < line.cells[1].left < line.right


class TestOutline:
    def test_bookmarks_with_level_and_page(self) -> None:
        assert PdfiumEngine(with_bookmarks()).outline() == [
            Bookmark(0, "Part One", 1),
            Bookmark(1, "Title I", 1),
            Bookmark(0, "Part Two", 2),
        ]

    def test_none(self) -> None:
        assert PdfiumEngine(pdf_files.act()).outline() == []

    def test_a_loop_ends(self) -> None:
        assert len(PdfiumEngine(looping(with_bookmarks())).outline()) <= 5_000


def with_bookmarks() -> bytes:
    target = io.BytesIO()
    drawing = canvas.Canvas(target, invariant=True)
    for page, entries in enumerate([[("Part One", 0), ("Title I", 1)], [("Part Two", 0)]], 1):
        drawing.drawString(60, 700, f"Page {page}")
        for title, level in entries:
            drawing.bookmarkPage(title)
            drawing.addOutlineEntry(title, title, level)
        drawing.showPage()
    drawing.save()
    return target.getvalue()


def looping(data: bytes) -> bytes:
    """The file with its last bookmark followed by its first."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    outlines = writer.root_object["/Outlines"]
    last = outlines.raw_get("/Last").get_object()
    last[NameObject("/Next")] = outlines.raw_get("/First")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


class TestErrors:
    def test_a_password(self) -> None:
        with pytest.raises(ReadError) as raised:
            PdfiumEngine(pdf_files.locked("secret"))
        assert raised.value.error_class == "encrypted"

    def test_no_pdf(self) -> None:
        with pytest.raises(ReadError) as raised:
            PdfiumEngine(b"%PDF-1.7 and nothing else")
        assert raised.value.error_class == "parse"


@pytest.mark.skipif(not _CRR.exists(), reason=f"{_CRR} is not there")
class TestOfficialJournal:
    def test_letter_spaced_heads_and_marks(self) -> None:
        (page,) = PdfiumEngine(_CRR.read_bytes()).lines(73, 74)
        found = [line.text.strip() for line in page]
        assert "Section 1" in found

    def test_marks_of_footnotes(self) -> None:
        (page,) = PdfiumEngine(_CRR.read_bytes()).lines(0, 1)
        assert any("credit institutions (^3) and" in line.text for line in page)

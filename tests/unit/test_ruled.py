"""Tables drawn with rules: their grids, and which text the engine puts in which cell."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from finreg_cli.documents import layout
from finreg_cli.documents.line_codec import decode, encode
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.documents.ruled import grids

_SHARED = Path(__file__).parents[2] / "../shared/data"
_COLUMNS = (60.0, 160.0, 340.0, 520.0)

Box = tuple[float, float, float, float]


def level(y: float, left: float = 60, right: float = 300) -> Box:
    return left, y - 0.25, right, y + 0.25


def upright(x: float, bottom: float = 400, top: float = 700) -> Box:
    return x - 0.25, bottom, x + 0.25, top


class TestGrids:
    FRAME = (level(400), level(700), upright(60), upright(300))

    def test_cells_count_from_the_upper_left(self) -> None:
        (grid,) = grids([*self.FRAME, level(500), upright(160)])
        assert (grid.rows, grid.columns) == (2, 2)
        assert [grid.cell(x, y) for y in (600, 450) for x in (100, 200)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert grid.cell(30, 600) is grid.cell(100, 750) is None

    def test_pieces_and_double_rules_are_one(self) -> None:
        pieces = [level(500, 60, 158), level(500.4, 160, 230), level(500, 230, 300), level(503)]
        (grid,) = grids([*self.FRAME, *pieces, upright(160, 400, 500), upright(160, 502, 700)])
        assert (grid.rows, grid.columns) == (2, 2)

    def test_merged_cells(self) -> None:
        """A heading over both columns, and a first cell beside two others."""
        boxes = [*self.FRAME, level(600), level(500, 160, 300), upright(160, 400, 600)]
        (grid,) = grids(boxes)
        assert [grid.cell(x, y) for y in (650, 550, 450) for x in (100, 200)] == [
            *((0, 0), (0, 0)),
            *((1, 0), (1, 1)),
            *((1, 0), (2, 1)),
        ]

    def test_open_at_the_sides(self) -> None:
        (grid,) = grids([level(400), level(600), level(700), upright(140), upright(220)])
        assert (grid.rows, grid.columns) == (2, 3)

    def test_level_rules_whose_pieces_show_the_columns(self) -> None:
        boxes = [level(700), level(600), level(400, 60, 140), level(400, 139.5, 220), level(400, 219.5, 300)]
        (grid,) = grids(boxes)
        assert (grid.rows, grid.columns) == (2, 3)

    def test_shades_part_rows_and_columns(self) -> None:
        """Every other row is shaded, cell by cell; nothing else parts the rows."""
        shades = [(left, low, right, low + 20) for low in (640, 600) for left, right in ((60, 160), (160, 300))]
        (grid,) = grids([level(660), level(580), *shades])
        assert (grid.rows, grid.columns) == (4, 2)

    def test_one_row_of_shades_may_be_marks_in_text(self) -> None:
        assert grids([(60, 640, 160, 660), (160, 640, 300, 660)]) == []

    def test_two_tables(self) -> None:
        lower = [
            level(100),
            level(200),
            level(300),
            upright(60, 100, 300),
            upright(160, 100, 300),
            upright(300, 100, 300),
        ]
        assert len(grids([*self.FRAME, upright(160), *lower])) == 2

    @pytest.mark.parametrize("boxes", [FRAME, [level(700), level(400)], [upright(60)], []])
    def test_frames_and_lone_rules_are_no_tables(self, boxes: list[Box]) -> None:
        assert grids(boxes) == []

    def test_a_drawing_is_no_table(self) -> None:
        assert grids([upright(10 * number) for number in range(400)] + [level(400, 0, 4000), level(700, 0, 4000)]) == []


def table(canvas: Canvas, rows: list[list[list[str]]], top: float = 700.0, height: float = 70.0) -> None:
    """A ruled table; each cell is a list of lines that fill it from edge to edge."""
    bottom = top - height * len(rows)
    for index in range(len(rows) + 1):
        canvas.rect(_COLUMNS[0], top - height * index, _COLUMNS[-1] - _COLUMNS[0], 0.5, stroke=0, fill=1)
    for x in _COLUMNS:
        canvas.line(x, bottom, x, top)
    canvas.setFont("Helvetica", 10)
    for index, row in enumerate(rows):
        for left, lines in zip(_COLUMNS, row, strict=False):
            for offset, text in enumerate(lines):
                canvas.drawString(left + 3, top - height * index - 14 - 12 * offset, text)


ROWS = [
    [
        ["Article 24"],
        ["Would you assess the", "own funds of the group", "in another way?"],
        ["The majority agreed", "that it would not."],
    ],
    [["Article 25"], [], ["One respondent noted", "that it cannot accept", "this at all."]],
]
CELLS = [
    "| Article 24 | Would you assess the own funds of the group in another way? |"
    " The majority agreed that it would not. |",
    "| Article 25 | | One respondent noted that it cannot accept this at all. |",
]


def blocks(canvas: Canvas, buffer: io.BytesIO) -> list[tuple[str, str]]:
    canvas.save()
    engine = PdfiumEngine(buffer.getvalue())
    found = layout.blocks(list(engine.lines()))
    engine.close()
    return [(block.kind, block.text) for block in found]


class TestEngine:
    def test_each_cell_keeps_its_lines(self) -> None:
        canvas = Canvas(buffer := io.BytesIO())
        canvas.drawString(60, 740, "They answered as follows:")
        table(canvas, ROWS)
        assert blocks(canvas, buffer) == [("text", "They answered as follows:"), *(("table", row) for row in CELLS)]

    def test_row_by_row(self) -> None:
        """A file that prints the lines of all cells side by side, so that the engine gives them as one line."""
        canvas = Canvas(buffer := io.BytesIO())
        table(canvas, [[[], [], []], [[], [], []]])
        for index, row in enumerate(ROWS):
            for line in range(3):
                for left, lines in zip(_COLUMNS, row, strict=False):
                    if line < len(lines):
                        canvas.drawString(left + 3, 686 - 70 * index - 12 * line, lines[line])
        assert blocks(canvas, buffer) == [("table", row) for row in CELLS]

    def test_in_a_form(self) -> None:
        canvas = Canvas(buffer := io.BytesIO())
        canvas.beginForm("rules", 0, 0, 600, 800)
        table(canvas, [[[], [], []], [[], [], []]], top=600)
        canvas.endForm()
        canvas.saveState()
        canvas.translate(0, 100)
        canvas.doForm("rules")
        canvas.restoreState()
        canvas.setFont("Helvetica", 10)
        for index, row in enumerate(ROWS):
            for left, lines in zip(_COLUMNS, row, strict=False):
                for offset, text in enumerate(lines):
                    canvas.drawString(left + 3, 686 - 70 * index - 12 * offset, text)
        assert blocks(canvas, buffer) == [("table", row) for row in CELLS]

    def test_sideways(self) -> None:
        canvas = Canvas(buffer := io.BytesIO(), pagesize=(842, 595))
        canvas.setPageRotation(90)
        canvas.translate(842, 0)
        canvas.rotate(90)
        table(canvas, ROWS)
        assert blocks(canvas, buffer) == [("table", row) for row in CELLS]

    def test_lines_in_step_are_rows(self) -> None:
        """A shaded list: no rule parts its rows, but each has all columns."""
        names, numbers = ["model", "find", "iaf", "isin"], ["1.0 of May", "2.0 of June", "3.0 of July", "4.0 of August"]
        canvas = Canvas(buffer := io.BytesIO())
        table(canvas, [[["Prefix"], ["Since"]], [names, numbers]])
        assert blocks(canvas, buffer)[1:] == [
            ("table", f"| {name} | {number} | |") for name, number in zip(names, numbers, strict=True)
        ]

    def test_headings_wrapped_alike_are_one_row(self) -> None:
        headings = [["Government", "referenced", "rates"], ["Other", "referenced", "rates"], ["Their", "due", "date"]]
        canvas = Canvas(buffer := io.BytesIO())
        table(canvas, [headings, [["1"], ["2"], ["3"]]])
        assert blocks(canvas, buffer)[0] == (
            "table",
            "| Government referenced rates | Other referenced rates | Their due date |",
        )

    def test_a_frame_around_text(self) -> None:
        canvas = Canvas(buffer := io.BytesIO())
        canvas.rect(50, 600, 400, 100)
        for offset, text in enumerate(("Question 1. Do you agree with the", "proposed amendments to Article 7?")):
            canvas.drawString(60, 680 - 14 * offset, text)
        assert blocks(canvas, buffer) == [
            ("text", "Question 1. Do you agree with the proposed amendments to Article 7?")
        ]

    def test_as_plain_text_a_row_stays_one_line(self) -> None:
        canvas = Canvas(buffer := io.BytesIO())
        table(canvas, [[["Rent"], ["EUR 500"], ["a month"]], [["Term"], ["5 years"], ["from now"]]])
        canvas.save()
        assert (
            layout.text(list(PdfiumEngine(buffer.getvalue()).lines())) == "Rent EUR 500 a month\nTerm 5 years from now"
        )

    def test_places_survive_the_way_between_processes(self) -> None:
        canvas = Canvas(buffer := io.BytesIO())
        table(canvas, ROWS)
        canvas.save()
        pages = list(PdfiumEngine(buffer.getvalue()).lines())
        assert decode(encode(pages)) == pages
        assert {line.place for line in pages[0]} >= {(0, 0, 0, 3), (0, 1, 2, 3)}


def real_rows(name: str, page: int) -> list[str]:
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"the paper {path.name} is not part of the repository")
    engine = PdfiumEngine(path.read_bytes())
    found = layout.blocks(list(engine.lines(page - 1, page)))
    engine.close()
    return [block.text for block in found if block.kind == "table"]


class TestRealPages:
    def test_merged_cells_stand_once(self) -> None:
        rows = real_rows("regulations-more/EBA-risk-reduction-roadmaps.pdf", 51)
        assert len(rows) == 19
        assert rows[2] == "| | | Scope of application | | | |"
        assert rows[-1] == "| | | ESG risks | June 2020 | June 2021 | June 2022 |"

    def test_shades_part_rows(self) -> None:
        rows = real_rows("regulations-more/EBA-EIOPA-taxonomy-architecture-v2.pdf", 8)
        assert len(rows) == 4
        assert rows[1].startswith("| Standard name | http://www.xbrl.org/2008/role/label |")

    def test_a_shaded_head(self) -> None:
        rows = real_rows("regulations-more/EBA-risk-reduction-roadmaps.pdf", 27)
        assert rows[0] == "| EBA guideline | Short title | Date of application |"

    def test_a_heading_across_columns_is_not_cut(self) -> None:
        rows = real_rows("regulations/EBA-final-report-draft-RTS-consolidation.pdf", 37)
        assert "| Responses to questions in Consultation Paper EBA/CP/2017/20 | | | |" in rows

    def test_answers_beside_questions(self) -> None:
        rows = real_rows("regulations/EBA-RTS-2013-01-own-funds-part-1.pdf", 52)
        assert rows[2].startswith("| | One respondent suggested that a firm should be able to provide an SPV")
        assert rows[2].endswith("under Article 49(1)(e) of the CRR. | This is a Level 1 issue. | |")
        assert rows[3] == "| 1.2. Responses to questions | | | |"

    def test_columns_without_upright_rules(self) -> None:
        (row,) = real_rows("regulations/EBA-final-report-draft-RTS-consolidation.pdf", 36)
        cells = row.split(" | ")
        assert cells[0] == "| Inconsistencies with the CRR"
        assert cells[1].endswith("it is not clear whether this is in line with the CRR.")
        assert cells[3] == "The original version of Recital 2 has been deleted. |"

    def test_printed_rows_within_a_ruled_one(self) -> None:
        assert real_rows("regulations/CRR-32013R0575-EN.pdf", 174)[1:] == [
            "| Maturity | < 1 year | < 1 year |",
            "| | >1 ≤ 5 years | > 5 years |",
            "| | >1 ≤ 5 years | > 5 years |",
        ]

    def test_a_heading_over_two_columns(self) -> None:
        rows = real_rows("regulations/CRR-32013R0575-EN.pdf", 206)
        assert len(rows) == 17
        assert rows[0] == "| Zone | Maturity band | | Weighting (in %) | Assumed interest rate change (in %) |"

"""Which lines are tables and which are not, and how their rows come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from finreg_cli.documents import layout
from finreg_cli.documents.lines import LINE_HYPHEN, Cell, Line
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.documents.tables import Row, find

_SHARED = Path(__file__).parents[2] / "../shared"
_WIDTH = 4.5  # points a character, at 10 points


def line(y: float, *cells: tuple[float, str], font: str = "Times", bold: bool = False) -> Line:
    """A printed line of cells that begin at these positions."""
    parts = tuple(Cell(text, left, left + _WIDTH * len(text)) for left, text in cells)
    return Line(
        text=" ".join(cell.text for cell in parts),
        page=1,
        page_height=842,
        font=font,
        size=10,
        lead_size=10,
        bold=bold,
        italic=False,
        left=parts[0].left,
        right=parts[-1].right,
        baseline=y,
        end_baseline=y,
        cells=parts if len(parts) > 1 else (),
    )


def rows(lines: list[Line]) -> list[list[str]]:
    return [item.cells for item in find(lines) if isinstance(item, Row)]


def grid(*texts: list[str], columns: tuple[float, ...] = (60, 200, 300), pitch: float = 20) -> list[Line]:
    """One line for each row; an empty text leaves its cell empty."""
    return [
        line(700 - pitch * index, *((left, text) for left, text in zip(columns, row, strict=True) if text))
        for index, row in enumerate(texts)
    ]


PROSE = [
    line(y, (60, "Institutions shall at all times hold own funds of eight per cent of what they lend."))
    for y in (600, 588)
]


class TestGrids:
    def test_empty_cells_are_kept(self) -> None:
        table = [["Step", "1", "2"], ["Weight", "", "50 %"], ["Other", "20 %", ""], ["None", "", ""]]
        assert rows(grid(*table)) == table

    def test_the_lines_around_stay_lines(self) -> None:
        table = grid(["Step", "1", "2"], ["Weight", "20 %", "50 %"])
        before = [line(760, (60, "They shall assign a risk weight in accordance with the following table, in full:"))]
        found = find([*before, *table, *PROSE])
        assert [isinstance(item, Row) for item in found] == [False, True, True, False, False]
        assert [item for item in found if isinstance(item, Line)] == [*before, *PROSE]

    def test_a_row_stands_for_its_lines(self) -> None:
        table = grid(["Step", "1", "2"], ["Weight", "20 %", "50 %"])
        assert [item.lines for item in find(table) if isinstance(item, Row)] == [[each] for each in table]

    def test_wrapped_lines_belong_to_one_row(self) -> None:
        lines = [
            line(700, (60, "Step"), (200, "1"), (300, "2")),
            line(676, (60, "Risk weight of"), (200, "20 %"), (300, "50 %")),
            line(665, (60, "the exposure")),
            line(640, (60, "Other"), (200, "30 %"), (300, "60 %")),
        ]
        assert rows(lines) == [
            ["Step", "1", "2"],
            ["Risk weight of the exposure", "20 %", "50 %"],
            ["Other", "30 %", "60 %"],
        ]

    def test_cells_that_stand_beside_the_last_wrapped_line(self) -> None:
        lines = [
            line(700, (60, "Mandate"), (300, "Original deadline"), (420, "Proposed")),
            line(676, (60, "Standards on the reporting of")),
            line(665, (60, "minimum requirements"), (300, "June 2020"), (420, "June 2021")),
            line(640, (60, "Report"), (300, "June 2022"), (420, "June 2023")),
        ]
        assert rows(lines)[1] == ["Standards on the reporting of minimum requirements", "June 2020", "June 2021"]

    def test_cell_by_cell(self) -> None:
        """As many files have them: all lines of a cell, then the cell to its right, which begins as high."""
        lines = []
        for top in (700, 640):
            for left, texts in ((60, ["Business", "line"]), (200, ["Deposits", "and lending"]), (330, ["12 %"])):
                lines += [line(top - 11 * index, (left, text)) for index, text in enumerate(texts)]
        assert rows(lines) == [["Business line", "Deposits and lending", "12 %"]] * 2

    def test_a_hyphen_stays_for_the_vocabulary(self) -> None:
        lines = [
            line(700, (60, "Step"), (200, "1"), (300, "2")),
            line(676, (60, f"Collater{LINE_HYPHEN}"), (200, "20 %"), (300, "50 %")),
            line(665, (60, "ised")),
            line(640, (60, "Other"), (200, "30 %"), (300, "60 %")),
        ]
        assert rows(lines)[1][0] == f"Collater{LINE_HYPHEN}ised"

    def test_a_bar_within_a_cell(self) -> None:
        assert rows(grid(["a|b", "1", "2"], ["c", "3", "4"]))[0][0] == "a\\|b"

    def test_a_head_over_few_cells(self) -> None:
        """A correlation table: its head names all columns, most of its rows have but one cell."""
        table = [["This act", "Act A", "Act B"], ["Article 1", "Article 7", ""], ["Article 2", "Article 8", ""]]
        table += [[f"Article {number}", "", ""] for number in range(3, 12)] + [["Article 12", "Article 9", ""]]
        assert rows(grid(*table)) == table


class TestNoTables:
    def test_prose(self) -> None:
        assert find(PROSE) == PROSE

    def test_justified_words(self) -> None:
        lines = [
            line(700, (60, "when"), (110, "it"), (150, "is")),
            line(688, (60, "institution"), (140, "originates")),
            line(676, (60, "the securitisation that it holds")),
        ]
        assert rows(lines) == []

    @pytest.mark.parametrize("marks", [["(a)", "(b)", "(c)", "(d)"], ["1.", "2.", "3.", "4."], ["•"] * 4, ["–"] * 4])
    def test_a_list(self, marks: list[str]) -> None:
        items = grid(*([mark, "the own funds of the institution"] for mark in marks), columns=(60, 90))
        assert rows(items) == []

    def test_what_symbols_stand_for(self) -> None:
        assert rows(grid(*([name, "= the value of it"] for name in ("E", "LGD", "PD", "M")), columns=(60, 90))) == []

    def test_two_columns_of_running_text(self) -> None:
        columns = [
            line(740 - 12 * row, (left, "the own funds of the institutions that are"))
            for left in (45, 314)
            for row in range(50)
        ]
        assert rows(columns) == []

    def test_contents(self) -> None:
        entries = [[f"{number}. Something that is long enough", str(4 * number)] for number in range(1, 8)]
        assert rows(grid(*entries, columns=(60, 500))) == []

    def test_signatures(self) -> None:
        block = [
            ["For the European Parliament", "For the Council"],
            ["The President", "The President"],
            ["A. B", "C. D"],
        ]
        assert rows(grid(*block, columns=(60, 300))) == []

    def test_formulas(self) -> None:
        formula = grid(["K", "¼ 0:12", "· 2"], ["L", "¼ 0:13", "· 3"], ["M", "¼ 0:14", "· 4"])
        assert rows(formula) == []

    def test_two_lines_of_two_runs(self) -> None:
        assert rows(grid(["EBA/RTS/2099/01", "26 July 2099"], ["Page", "1"], columns=(60, 400))) == []

    def test_runs_that_do_not_line_up(self) -> None:
        ragged = [line(700 - 20 * row, (60, "a"), (120 + 31 * row, "b"), (300 + 17 * row, "c")) for row in range(4)]
        assert rows(ragged) == []

    def test_columns_that_run_into_each_other(self) -> None:
        assert (
            rows([line(700, (60, "a"), (200, "b" * 40), (400, "c")), line(680, (60, "d" * 40), (260, "e"), (400, "f"))])
            == []
        )

    def test_the_head_of_what_follows(self) -> None:
        table = grid(["Step", "1", "2"], ["Weight", "20 %", "50 %"])
        head = line(655, (60, "TITLE IV"))
        assert find([*table, head])[-1] == head

    def test_a_caption(self) -> None:
        caption = line(720, (200, "Table 1"))
        assert find([caption, *grid(["Step", "1", "2"], ["Weight", "20 %", "50 %"])])[0] == caption


def _page(name: str, number: int) -> list[list[str]]:
    file = _SHARED / name
    if not file.exists():
        pytest.skip(f"{file} is not there")
    (page,) = PdfiumEngine(file.read_bytes()).lines(number - 1, number)
    return [block.text.strip("| ").split(" | ") for block in layout.blocks([page]) if block.kind == "table"]


class TestRealPages:
    def test_risk_weights(self) -> None:
        assert _page("data/regulations/CRR-32013R0575-EN.pdf", 76) == [
            ["Credit quality step", "1", "2", "3", "4", "5", "6"],
            ["Risk weight", "0 %", "20 %", "50 %", "100 %", "100 %", "150 %"],
        ]

    def test_deadlines_in_wrapped_cells(self) -> None:
        found = _page("data/regulations-more/EBA-risk-reduction-roadmaps.pdf", 42)
        assert found[0] == ["Mandate", "Original deadline", "Proposed deadline"]
        assert [
            "Art. 45j(2) of the BRRD: ITS on MREL decisions reporting to the EBA",
            "June 2020",
            "December 2020",
        ] in found

    @pytest.mark.parametrize("number", [1, 18, 50, 74, 150, 225])
    def test_pages_without_tables(self, number: int) -> None:
        assert _page("data/regulations/CRR-32013R0575-EN.pdf", number) == []

"""From printed lines to paragraphs, table rows and footnotes: on lines made by hand, and on a real PDF."""

from __future__ import annotations

from finreg_cli.documents import layout
from finreg_cli.documents.lines import LINE_HYPHEN, LOST_BLANK, Cell, Line
from finreg_cli.domain.legal_structure import Block


def printed(text: str, baseline: float = 400, page: int = 1, size: float = 10, **values: object) -> Line:
    return Line(
        **{  # type: ignore[arg-type]  # each test overrides some values by name
            "text": text,
            "page": page,
            "page_height": 842,
            "font": "Times",
            "size": size,
            "lead_size": size,
            "bold": False,
            "italic": False,
            "left": 60,
            "right": 300,
            "baseline": baseline,
            "end_baseline": baseline,
            **values,
        }
    )


def body(page: int = 1, left: float = 60) -> list[Line]:
    """Enough text to tell what the body's print is."""
    return [
        printed(f"of a long text that goes on {n}", 700 - 12 * n, page, left=left, right=left + 240) for n in range(10)
    ]


def blocks(*pages: list[Line]) -> list[Block]:
    return layout.blocks(pages)


def texts(*pages: list[Line]) -> list[str]:
    return [block.text for block in blocks(*pages)]


# --- Running heads ---------------------------------------------------------------------------------------------------


def test_running_heads_go_and_heads_of_articles_stay() -> None:
    def page(number: int) -> list[Line]:
        head, foot = printed(f"L 176/{number}", 800, number), printed(f"Page {number}", 30, number)
        return [
            head,
            printed(f"Article {number}", 780, number),
            printed(f"Text {number} of the law.", 400, number),
            foot,
        ]

    assert texts(*[page(number) for number in range(1, 4)]) == [
        text for number in range(1, 4) for text in (f"Article {number}", f"Text {number} of the law.")
    ]


def test_roman_page_numbers_go_wherever_the_stream_has_them() -> None:
    pages = [
        [printed(numeral, 30, page), printed(f"Foreword, part {numeral}{page}.", 400, page)]
        for page, numeral in enumerate(("i", "ii", "iii", "iv"), 1)
    ]
    assert " ".join(texts(*pages)) == "Foreword, part i1. Foreword, part ii2. Foreword, part iii3. Foreword, part iv4."


def test_a_number_within_the_text_of_the_band_is_no_page_number() -> None:
    def page(number: int) -> list[Line]:
        cell, below = printed("100", 60, number, left=200), printed(f"Total of table {'abc'[number]}.", 48, number)
        return [printed(f"Values of {'xyz'[number]}.", 400, number), cell, below, printed(str(number), 20, number)]

    found = " ".join(texts(*[page(number) for number in range(3)])).split()
    assert found.count("100") == 3
    assert not {"0", "1", "2"} & set(found)


def test_a_watermark_goes_and_what_recurs_elsewhere_on_the_page_stays() -> None:
    def page(number: int) -> list[Line]:
        repeated = printed("Institutions shall report.", 300 + 20 * number, number)
        return [printed("DRAFT", 420, number, size=80), *body(number)[: number + 2], repeated]

    found = " ".join(texts(*[page(number) for number in range(1, 7)]))
    assert "DRAFT" not in found
    assert found.count("Institutions shall report.") == 6


# --- Footnotes -------------------------------------------------------------------------------------------------------


def test_a_footnote_stands_behind_the_paragraph_that_holds_its_mark() -> None:
    opinion = printed("opinion of the Central Bank (^1), has decided.", 560)
    later = printed("Another paragraph.", 520)
    note = [
        printed("(", 60, size=8.4, right=63),
        printed("^1) OJ L 250, 2.10.2003, p. 10.", 63, size=8.4, lead_size=5.5, left=63, end_baseline=60),
    ]
    found = blocks([*body(), opinion, later, *note])
    assert [(block.kind, block.text) for block in found[1:]] == [
        ("text", "opinion of the Central Bank (^1), has decided."),
        ("footnote", "(^1) OJ L 250, 2.10.2003, p. 10."),
        ("text", "Another paragraph."),
    ]


def test_a_paragraph_over_the_page_break_stays_whole_over_the_footnotes_between() -> None:
    first = [
        *body(),
        printed("A sentence with a mark^7 that", 100),
        printed("^7 See Annex I.", 60, size=8, lead_size=5),
    ]
    second = [printed("goes on overleaf.", 760, 2), *body(2)]
    found = blocks(first, second)
    assert any("with a mark^7 that goes on overleaf." in block.text for block in found)
    position = next(index for index, block in enumerate(found) if block.kind == "footnote")
    assert "mark^7" in found[position - 1].text
    assert (found[position].text, found[position].page_start) == ("^7 See Annex I.", 1)


def test_a_footnote_goes_on_at_the_foot_of_the_next_page() -> None:
    first = [*body(), printed("A mark^1 here.", 500), printed("^1 See the report that the", 60, size=8, lead_size=5)]
    second = [*body(2), printed("authority has published.", 60, 2, size=8)]
    found = [block.text for block in blocks(first, second) if block.kind == "footnote"]
    assert found == ["^1 See the report that the authority has published."]


def test_several_footnotes_on_one_line_are_told_apart_by_their_marks() -> None:
    marks = [printed("One^4 and two^5 and three^6.", 500)]
    notes = [printed("^4 https://a.example/x.pdf 5 https://b.example ^6 See Annex IV.", 60, size=8, lead_size=5)]
    found = [block.text for block in blocks([*body(), *marks, *notes]) if block.kind == "footnote"]
    assert found == ["^4 https://a.example/x.pdf", "^5 https://b.example", "^6 See Annex IV."]


def test_a_number_within_a_footnotes_sentence_is_no_next_mark() -> None:
    marks = [printed("One^1 and two^2.", 500)]
    notes = [printed("^1 The opinion of 2 February 2099 says so.", 60, size=8, lead_size=5)]
    found = [block.text for block in blocks([*body(), *marks, *notes]) if block.kind == "footnote"]
    assert found == ["^1 The opinion of 2 February 2099 says so."]


def test_a_mark_alone_on_its_line_begins_a_footnote() -> None:
    marks = [printed("A source^8 and another^9.", 500)]
    notes = [
        printed("8", 100, size=6, right=64),
        printed("https://example.org/a-very-long-address", 86, size=8),
        printed("9", 75, size=6, right=64),
        printed("See Annex II.", 72, size=8, left=66),
    ]
    found = [block.text for block in blocks([*body(), *marks, *notes]) if block.kind == "footnote"]
    assert found == ["^8 https://example.org/a-very-long-address", "^9 See Annex II."]


def test_footnotes_that_the_stream_has_first_are_found_by_their_place() -> None:
    note = printed("^1 See Annex I.", 60, size=8, lead_size=5)
    found = blocks([note, *body(), printed("A mark^1 here.", 500)])
    assert [block.kind for block in found] == ["text", "text", "footnote"]


def test_a_power_takes_no_footnote_from_the_mark_that_looks_like_it() -> None:
    text = [printed("An area of 5 m^2 in all.", 540), printed("A mark here^2 too.", 500)]
    found = blocks([*body(), *text, printed("^2 See Annex I.", 60, size=8, lead_size=5)])
    position = next(index for index, block in enumerate(found) if block.kind == "footnote")
    assert found[position - 1].text == "A mark here^2 too."


def test_a_mark_that_is_raised_with_its_brackets_is_found_as_well() -> None:
    text = [printed("the opinion^(1) of the Committee,", 540), printed("Another paragraph.", 500)]
    found = texts([*body(), *text, printed("^(1) Sample opinion.", 60, size=8, lead_size=5)])
    assert found[-3:] == ["the opinion^(1) of the Committee,", "^(1) Sample opinion.", "Another paragraph."]


def test_small_print_without_a_mark_stays() -> None:
    table = printed("Credit quality step 1 2 3", 60, size=8.4)
    assert blocks([*body(), table])[-1].kind == "text"
    assert texts([*body(), table])[-1] == "Credit quality step 1 2 3"


def test_a_footnote_whose_mark_is_not_found_stands_at_its_page() -> None:
    found = blocks([*body(), printed("^3 See Annex I.", 60, size=8, lead_size=5)], [*body(2)])
    assert [(block.kind, block.page_start) for block in found if block.kind == "footnote"] == [("footnote", 1)]


# --- Paragraphs ------------------------------------------------------------------------------------------------------


def test_lines_join_to_paragraphs_across_columns_and_pages() -> None:
    first = [printed("A sentence that begins", 100), printed("here and goes on", 88)]
    second = [printed("in the next column.", 700, left=320, right=420), printed("A new paragraph.", 660, left=320)]
    third = [printed("(a) a point;", 640, left=320), printed("(b) another point.", 628, left=330)]
    found = texts(body() + first + second + third)
    assert "A sentence that begins here and goes on in the next column." in found
    assert found[-3:] == ["A new paragraph.", "(a) a point;", "(b) another point."]


def test_a_run_behind_a_raised_mark_joins_without_a_blank() -> None:
    runs = [printed("step-in risk^3", 500, right=200.0, end_baseline=504), printed(". It is a risk.", 500, left=200.2)]
    assert texts([*body(), *runs])[-1] == "step-in risk^3. It is a risk."


def test_a_mark_on_a_line_of_its_own_is_raised_in_its_sentence() -> None:
    runs = [
        printed("subject to review", 500, right=200),
        printed("12", 504, size=6, left=200, right=206),
        printed(", it is a risk.", 500, left=206),
    ]
    assert texts([*body(), *runs])[-1] == "subject to review^12, it is a risk."


def test_a_mark_stands_close_to_its_word() -> None:
    assert texts([*body(), printed("in the framework ^10 , it is.", 500)])[-1] == "in the framework^10, it is."


def test_a_hyphen_of_the_text_at_a_lines_end_takes_no_blank() -> None:
    lines = [printed("the costs of a cost-", 500), printed("benefit analysis", 488), printed("for cost-benefit", 300)]
    assert "the costs of a cost-benefit analysis" in texts([*body(), *lines])


def test_entries_of_a_table_of_contents_are_blocks_of_their_own() -> None:
    dotted = [printed(f"{n}. Chapter {'abc'[n]}........{n + 3}", 700 - 12 * n) for n in range(3)]
    assert texts(dotted) == [f"{n}. Chapter {'abc'[n]} \u2026 {n + 3}" for n in range(3)]
    gapped = [
        printed(
            f"{n}. Chapter {'abc'[n]} {n + 3}",
            700 - 12 * n,
            right=500,
            cells=(Cell(f"{n}. Chapter {'abc'[n]}", 60, 160), Cell(str(n + 3), 494, 500)),
        )
        for n in range(3)
    ]
    assert texts(gapped) == texts(dotted)


def test_blanks_to_be_filled_in_are_no_leaders() -> None:
    assert texts([printed("Name: ............ of the lessee", 500)]) == ["Name: of the lessee"]


def test_broken_formulas_and_formula_fonts_are_flagged() -> None:
    lines = [
        printed("RW ¼ maxf0,12:5 · ðLGD · ELBEÞg;", 500),
        printed("Plain text.", 300),
        printed("K = 3", 200, font="ABCDEF+CambriaMath"),
    ]
    assert [block.formula for block in blocks(lines)] == [True, False, True]


# --- Columns ---------------------------------------------------------------------------------------------------------

LEFT = [f"left column line {n} goes on and" for n in range(10)]
RIGHT = [f"right column line {n} goes on too" for n in range(10)]


def halves(n: int) -> tuple[Line, Line]:
    baseline = 700 - 12 * n
    return printed(LEFT[n], baseline, right=280), printed(RIGHT[n], baseline, left=320, right=540)


def test_columns_given_row_by_row_are_read_one_after_the_other() -> None:
    rows = [half for n in range(10) for half in halves(n)]
    assert texts(rows) == [" ".join(LEFT + RIGHT)]


def test_columns_joined_to_lines_by_the_engine_are_parted() -> None:
    rows = [
        printed(
            f"{LEFT[n]} {RIGHT[n]}", 700 - 12 * n, right=540, cells=(Cell(LEFT[n], 60, 280), Cell(RIGHT[n], 320, 540))
        )
        for n in range(10)
    ]
    assert texts(rows) == [" ".join(LEFT + RIGHT)]


def test_a_title_over_both_columns_stays_before_them() -> None:
    title = printed("A title over both of the columns of the page", 740, right=540)
    rows = [half for n in range(10) for half in halves(n)]
    assert texts([title, *rows]) == ["A title over both of the columns of the page", " ".join(LEFT + RIGHT)]


def test_columns_in_stream_order_and_short_cells_are_left_alone() -> None:
    pairs = [halves(n) for n in range(10)]
    in_order = [left for left, _ in pairs] + [right for _, right in pairs]
    assert texts(in_order) == [" ".join(LEFT + RIGHT)]
    cells = [
        part
        for n in range(10)
        for part in (printed(f"Item {n};", 700 - 12 * n, right=90), printed(f"{n} %;", 700 - 12 * n, left=320))
    ]
    found = " ".join(texts(cells)).replace("|", " ")
    assert found.index("Item 3") < found.index("3 %") < found.index("Item 4")


# --- Plain text ------------------------------------------------------------------------------------------------------


def test_plain_text_keeps_heads_and_footnotes_and_raises_nothing() -> None:
    pages = [
        [printed(f"Lease {page}", 800, page), printed("of 50 m^2 for rest-", 400, page), printed("rooms.", 388, page)]
        for page in (1, 2)
    ]
    assert layout.text(pages) == "\n\n".join(f"Lease {page}\nof 50 m2 for rest-\nrooms." for page in (1, 2))


def test_plain_text_makes_broken_words_whole() -> None:
    page = [printed(f"the require{LINE_HYPHEN}", 500), printed("ment of the", 488), printed("requirement", 470)]
    assert layout.text([page]) == "the requirement of the\nrequirement"


def test_no_sign_of_the_engines_is_left_in_any_text() -> None:
    page = [
        printed(f"re{LINE_HYPHEN}port on{LINE_HYPHEN}", 500),
        printed("in orderto report", 488, gaps=(8,)),
        printed("\u200b\ufb01rst soft\u00adhyphen \uf0b7", 300),
    ]
    for text in (layout.text([page]), " ".join(texts(page))):
        assert not {LINE_HYPHEN, LOST_BLANK, "\u00ad", "\u200b", "\uf0b7"} & set(text)
        assert "first softhyphen \u2022" in text


def test_letter_spaced_heads_are_restored_by_the_documents_words() -> None:
    page = [printed("S u b - S e c t i o n 2", 600, bold=True), printed("A rule of Sub-Section 1.", 400)]
    assert texts(page) == ["Sub-Section 2", "A rule of Sub-Section 1."]
    unknown = "x y z w v u"
    assert texts([printed(unknown, 600)]) == [unknown]


def test_no_pages_and_empty_pages_give_nothing() -> None:
    assert texts() == texts([], []) == []
    assert layout.text([[], []]) == ""

"""Cross-references are read in all their forms, and lead to the chunk in which what they name begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from finreg_cli.documents.reader import Settings, read_bytes
from finreg_cli.domain.chunking import chunk_document
from finreg_cli.domain.document import Block, Document, Identity
from finreg_cli.domain.legal_structure import structure
from finreg_cli.domain.mentions import mentions
from finreg_cli.domain.records import Chunk
from finreg_cli.domain.references import MOST_OF_A_RANGE, resolve

SAMPLES = Path(__file__).parents[2] / "data/regulations"
ROADMAPS = Path(__file__).parents[2] / "../shared/data/regulations-more/EBA-risk-reduction-roadmaps.pdf"
ACT = Identity("32099R0001", "2099-01-01", "Regulation (EU) No 1/2099", "SREG", is_act=True)

# --- the grammar ---


def spelled(text: str) -> list[str]:
    """Each mention in short: act, kind, addresses, levels, subparagraph."""
    found = []
    for each in mentions(text):
        ranges = " + ".join(".".join(first) + (f"-{'.'.join(last)}" if last else "") for first, last in each.ranges)
        if each.kind == "group":
            ranges = "/".join(f"{level} {number}" for level, number in each.levels) + f" [{ranges}]"
        behind = f" subparagraph {each.subparagraph}" if each.subparagraph else ""
        found.append(f"{each.act + ': ' if each.act else ''}{each.kind} {ranges}{behind}")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Article 36(1)", "article 36.1"),
        ("Article 36(1)(a)", "article 36.1.a"),
        ("Article 36(1)(a) to (c), (2)", "article 36.1.a-36.1.c + 36.2"),
        ("Article 26 (1)", "article 26.1"),
        ("Article 50a(2)", "article 50a.2"),
        ("Article 4(1)(12)", "article 4.1.12"),
        ("Articles 36 to 39", "article 36-39"),
        ("Articles 12, 13 and 14 and 20 %", "article 12 + 13 + 14"),
        ("Article 253 or 254, if", "article 253 + 254"),
        ("Article 5 and 3 months later", "article 5"),
        ("this Article", "article this"),
        ("that Article", "article that"),
        ("point (b) of paragraph 2", "article this.2.b"),
        ("points (a) and (b)", "article this.this.a + this.this.b"),
        ("points (k)(ii) to (v) and (l) of Article 36(1)", "article 36.1.k.ii-36.1.k.v + 36.1.l"),
        ("point (12) of Article 4(1)", "article 4.1.12"),
        ("points (33) to (36) of Article 4(1)", "article 4.1.33-4.1.36"),
        ("point (a) of the first subparagraph of Article 5(2)", "article 5.2.a subparagraph 1"),
        ("the second subparagraph", "article this.this subparagraph 2"),
        ("paragraph 5, point (a)(ii)", "article this.5.a.ii"),
        ("paragraphs 1 and 2", "article this.1 + this.2"),
        ("paragraph 2 of that Article", "article that.2"),
        ("point (a) of that paragraph", "article that.that.a"),
        ("point 2 of Annex I", "annex I.2"),
        ("Annexes I and II", "annex I + II"),
        ("recitals (12) to 14", "recital 12-14"),
        ("Title II", "group title II [II]"),
        ("Chapter 2 of this Title", "group chapter 2 [2]"),
        ("Chapter 2 of Title II of Part One", "group part One/title II/chapter 2 [2]"),
        ("Part Three, Title II, Chapter 4", "group part Three/title II/chapter 4 [4]"),
        ("Titles II and III", "group title II [II + III]"),
        ("section 3.2", "section 3.2"),
        ("sections 4.1 and 4.2", "section 4.1 + 4.2"),
        ("Article 5 of this Regulation", "this: article 5"),
        ("Article 5 of that Directive", "that: article 5"),
        ("Article 10 of Regulation (EU) No 1093/2010", "Regulation (EU) No 1093/2010: article 10"),
        (
            "Article 4(1) of Commission Delegated Regulation (EU) 2016/101",
            "Delegated Regulation (EU) 2016/101: article 4.1",
        ),
        (
            "Article 338(1), second subparagraph, of Directive 2013/36/EU",
            "Directive 2013/36/EU: article 338.1 subparagraph 2",
        ),
        ("Article 18 of the CRR", "CRR: article 18"),
        ("CRR Article 92", "CRR: article 92"),
        ("Article 114 TFEU", "TFEU: article 114"),
        ("Article 5 of the Treaty on European Union", "TEU: article 5"),
        ("Annex I to Directive 2004/39/EC", "Directive 2004/39/EC: annex I"),
        ("Section A of Annex I to Directive 2004/39/EC", "Directive 2004/39/EC: annex I"),
        ("Directives 2006/48/EC and 2006/49/EC", "act Directive 2006/48/EC + Directive 2006/49/EC"),
        ("Council Directive 78/660/EEC", "act Directive 78/660/EEC"),
        ("that Article 19(2)(b)", "article 19.2.b"),
        ("that Article 18(4) of the CRR", "CRR: article 18.4"),
        ("that paragraph 2", "article this.2"),
        ("Art. 390(9) of the CRR", "CRR: article 390.9"),
        ("Art. 430 (7) CRR", "CRR: article 430.7"),
        ("Art. 430 (1) (a) CRR Leverage ratio", "CRR: article 430.1.a"),
        ("Art.45(i) (5)", "article 45.i.5"),
        ("Art. 97(4a) of the CRD", "CRD: article 97.4a"),
        ("Art 430(c) CRR", "CRR: article 430.c"),
        ("Art. 402(1) and (2) of the CRR", "CRR: article 402.1 + 402.2"),
        ("Arts 12 and 13", "article 12 + 13"),
        ("point (a) of Art. 5(2)", "article 5.2.a"),
        ("Article 430(a) of the amended CRR", "CRR: article 430.a"),
        ("Part 4 of the amended CRR", "CRR: group part 4 [4]"),
        ("Article 5 of the amended Directive 2013/36/EU", "Directive 2013/36/EU: article 5"),
        ("the amended CRD (Title VII, Chapter 2)", "CRD: group title VII/chapter 2 [2]"),
        (
            "Article 400(2)(a), (c) to (g), (i), (j) and (k)",
            "article 400.2.a + 400.2.c-400.2.g + 400.2.i + 400.2.j + 400.2.k",
        ),
        ("Article 36(1)(i) and (j)", "article 36.1.i + 36.1.j"),
        ("Article 36(1)(k)(ii) and (l)", "article 36.1.k.ii + 36.1.l"),
    ],
)
def test_each_form_is_read(text: str, expected: str) -> None:
    assert spelled(f"as referred to in {text}") == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "the article was published in a part of the press",
        "in point of fact",
        "paragraph by paragraph",
        "for the greater part 20 % of it",
        "Regulations are binding",
        "the state of the Art 2020",
        "point 3.5 % above",
    ],
)
def test_what_names_no_provision_is_none(text: str) -> None:
    assert spelled(text) == []


def test_the_act_behind_two_articles_is_that_of_both() -> None:
    text = "under Article 28(1)(b) and Article 52(1)(c) of Regulation (EU) No 575/2013"
    assert spelled(text) == [
        "Regulation (EU) No 575/2013: article 28.1.b",
        "Regulation (EU) No 575/2013: article 52.1.c",
    ]


def test_the_act_before_an_article_belongs_to_it_unless_another_provision_has_it() -> None:
    assert spelled("Directive 2013/36/EU, Article 4")[1] == "Directive 2013/36/EU: article 4"
    assert spelled("Article 3 of Directive 2013/36/EU, Article 4")[1] == "article 4"


@pytest.mark.parametrize("words_of_law", ["point (a) of ", "paragraph 1 of ", "the first subparagraph of "])
def test_a_text_that_names_parts_of_parts_without_end_is_read(words_of_law: str) -> None:
    assert len(list(mentions(words_of_law * 5_000))) == 5_000


# --- the targets ---


def words(texts: Sequence[str]) -> list[int]:
    """Stands in for a tokenizer: one token a word."""
    return [len(text.split()) for text in texts]


def document(*articles: list[str], before: Sequence[Block] = (), title: str = "Title of {}") -> Document:
    blocks = list(before)
    for number, paragraphs in enumerate(articles, 1):
        blocks.append(Block(f"Article {number}", number, number, italic=True))
        blocks.append(Block(title.format(number), number, number, bold=True))
        blocks += [Block(text, number, number) for text in paragraphs]
    return structure(blocks, ACT)


def resolved(source: Document, limit: int = 12) -> list[Chunk]:
    return resolve(source, list(chunk_document(source, "file.pdf", "0" * 64, words, limit, 0)))


def led_to(chunks: Sequence[Chunk], start: str) -> list[str]:
    """The first words of every chunk that the chunk with this text refers to; other acts as they are."""
    (chunk,) = (each for each in chunks if start in each.text)
    by_id = {each.chunk_id: each.text.splitlines()[-1][:12] for each in chunks}
    return [by_id.get(each, each) for each in chunk.references]


LONG = "Banks shall hold own funds of the amount which is laid down"
TARGET = [
    f"1. {LONG} first:",
    f"(a) {LONG} in alpha;",
    f"(b) {LONG} in beta;",
    f"(c) {LONG} in gamma.",
    f"2. {LONG} second.",
    f"3. {LONG} third.",
]


@pytest.mark.parametrize(
    ("words_of_law", "expected"),
    [
        ("See Article 2", ["Title of 2"]),
        ("See Article 2(2)", ["2. Banks sha"]),
        ("See Article 2(1)(b)", ["(b) Banks sh"]),
        ("See point (b) of Article 2(1)", ["(b) Banks sh"]),
        ("See Article 2(2) and (3)", ["2. Banks sha", "3. Banks sha"]),
        ("See points (a) to (c) of Article 2(1)", ["(a) Banks sh", "(b) Banks sh", "(c) Banks sh"]),
        ("See Article 3 of this Regulation", ["Title of 3"]),
        ("See Article 3 of Regulation (EU) No 1/2099", ["Title of 3"]),
        ("See Article 3 of Directive 2013/36/EU", ["Directive 2013/36/EU Article 3"]),
        (
            "Directive 2013/36/EU: Article 3(1)(a) of that Directive",
            ["Directive 2013/36/EU", "Directive 2013/36/EU Article 3(1)(a)"],
        ),
        ("See Articles 10 to 14 of Directive 2013/36/EU", ["Directive 2013/36/EU Articles 10 to 14"]),
        ("See Article 99 and Article 2(9)", ["Article 99", "Article 2(9)"]),
        ("See Article 1 and this Article", []),
        ("See Article 2(2), and paragraph 3 of that Article", ["2. Banks sha", "3. Banks sha"]),
        ("Article 114 TFEU, Article 3", ["Title of 3", "TFEU Article 114"]),
    ],
)
def test_a_reference_leads_to_the_chunk_in_which_the_provision_begins(words_of_law: str, expected: list[str]) -> None:
    chunks = resolved(document([f"{words_of_law}."], TARGET, ["Firms shall report."], ["Others may."]), limit=16)
    found = led_to(chunks, words_of_law)
    # A head is never alone in a chunk, so the first chunk of an article is known by its second line.
    firsts = {each.text.splitlines()[-1][:12]: each.text.splitlines()[1] for each in chunks if "Title of" in each.text}
    assert [firsts.get(each, each) if each not in expected else each for each in found] == expected


def test_this_paragraph_and_bare_points_belong_to_the_article_they_stand_in() -> None:
    paragraphs = [*TARGET, "4. Banks shall apply paragraph 2, under point (b) of paragraph 1, at all times and to all."]
    chunks = resolved(document([LONG + "."], paragraphs, [LONG + "."]), limit=20)
    assert led_to(chunks, "under point (b)") == ["2. Banks sha", "(b) Banks sh"]


def test_groups_are_sought_around_the_words() -> None:
    def head(text: str, title: str) -> list[Block]:
        return [Block(text, 1, 1), Block(title, 1, 1, bold=True)]

    def article(number: int, text: str) -> list[Block]:
        return [
            Block(f"Article {number}", 1, 1, italic=True),
            Block(f"On {number}", 1, 1, bold=True),
            Block(text, 1, 1),
        ]

    blocks = [
        *head("TITLE I", "GENERAL"), *head("CHAPTER 1", "One"), *article(1, "See Chapter 2 and Title II, Chapter 2."),
        *head("CHAPTER 2", "Two"), *article(2, "Banks shall report."),
        *head("TITLE II", "SPECIAL"), *head("CHAPTER 1", "One"), *article(3, "Chapter 2 of this Title, Title IX."),
        *head("CHAPTER 2", "Two"), *article(4, "Banks shall report."),
    ]  # fmt: skip  # the outline reads better in lines
    chunks = resolved(structure(blocks, ACT), limit=50)
    places = {each.chunk_id: each.heading_path[-1] for each in chunks}
    assert [[places.get(each, each) for each in chunk.references] for chunk in chunks] == [
        ["Article 2 On 2", "Article 4 On 4"],
        [],
        ["Article 4 On 4", "Title IX"],
        [],
    ]


def test_articles_of_an_act_that_is_amended_are_that_act_s() -> None:
    source = document(
        ["In Article 2, paragraph 1 is replaced."], [LONG], [LONG], title="Amendment of Directive 2002/87/EC"
    )
    assert resolved(source, limit=50)[0].references == ["Directive 2002/87/EC", "Directive 2002/87/EC Article 2"]


def test_a_correlation_table_refers_to_nothing() -> None:
    source = document([LONG], [LONG], ["Article 1 Article 2"], title="Correlation table")
    assert all(each.references == [] for each in resolved(source, limit=50))


def test_a_long_range_is_given_by_its_ends() -> None:
    articles = [[f"{LONG}."] for _ in range(MOST_OF_A_RANGE + 5)]
    chunks = resolved(document(["See Articles 2 to 21."], ["See Articles 1 to 25."], *articles[2:]), limit=50)
    assert len(chunks[0].references) == MOST_OF_A_RANGE
    assert chunks[1].references == [chunks[0].chunk_id, chunks[24].chunk_id]


def test_a_report_refers_to_its_sections_and_leaves_articles_as_text() -> None:
    blocks = [
        Block("1. Background", 1, 1, size=16, bold=True),
        *[
            Block(
                f"{LONG} in the report, which says a lot. Article 18 of the CRR and Article 7 apply; see section 2.1.",
                1,
                1,
            )
        ]
        * 2,
        Block("2. Analysis", 2, 2, size=16, bold=True),
        Block("2.1 Options", 2, 2, size=14, bold=True),
        *[Block(f"{LONG} in the report, and this is what the options are.", 2, 2)] * 3,
    ]
    chunks = resolved(structure(blocks, Identity("report", None, "A report", "A report", is_act=False)), limit=80)
    target = next(each for each in chunks if "2.1" in each.citation)
    assert chunks[0].references == [target.chunk_id, "CRR Article 18", "Article 7"]


def report(*said: str) -> list[Chunk]:
    """A report whose section 1 says this, and which has two sections more."""
    blocks = [Block("1. Background", 1, 1, size=16, bold=True), *[Block(f"{LONG}. {each}", 1, 1) for each in said]]
    for number in (2, 3):
        blocks += [Block(f"{number}. Analysis {number}", 2, 2, size=16, bold=True), *[Block(f"{LONG}.", 2, 2)] * 3]
    return resolved(structure(blocks, Identity("report", None, "A report", "A report", is_act=False)), limit=30)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Part 2 of the amended CRR applies.", ["CRR Part 2"]),
        ("The amended CRD (Title 2, Chapter 3) applies.", ["CRD Title 2, Chapter 3"]),
        ("These are the standards [Part 2] on own funds.", ["Part 2"]),
    ],
)
def test_a_part_or_a_title_is_no_section_of_a_report(said: str, expected: list[str]) -> None:
    assert report(said)[0].references == expected


@pytest.mark.parametrize("said", ["See section 3.", "See Section 3 of this report."])
def test_a_section_of_a_report_is_found_by_its_number(said: str) -> None:
    chunks = report(said)
    assert chunks[0].references == [next(each.chunk_id for each in chunks if each.citation.endswith("section 3"))]


def test_a_bare_paragraph_of_a_section_without_numbers_leads_nowhere() -> None:
    chunks = report("It is said first.", "A new paragraph 2 was added to paragraphs 3 to 6 and point (39).")
    assert "paragraph 2" in chunks[1].text
    assert chunks[1].references == []


@pytest.mark.skipif(not ROADMAPS.is_file(), reason=f"the real paper is not at {ROADMAPS}")
def test_a_real_report_names_the_acts_that_its_abbreviations_belong_to() -> None:
    settings = Settings(chunk_tokens=350, chunk_overlap=0, short_names={}, work_ids={})
    chunks = read_bytes(ROADMAPS.read_bytes(), ROADMAPS.name, "pdfium", settings, words).chunks
    found = {target for each in chunks for target in each.references}
    assert {"CRR Article 390(9)", "CRR Article 430(7)", "BRRD Article 45f(6)", "CRR Part 4"} <= found
    assert {"CRD Title VII, Chapter 2", "Article 400(2)(k)"} <= found


def test_the_samples_resolve_and_never_refer_to_themselves() -> None:
    settings = Settings(chunk_tokens=120, chunk_overlap=20, short_names={}, work_ids={})
    path = SAMPLES / "sample-own-funds.pdf"
    chunks = read_bytes(path.read_bytes(), path.name, "pdfium", settings, words).chunks
    ids = {each.chunk_id for each in chunks}
    inside = [(each, target) for each in chunks for target in each.references if target in ids]
    assert len(inside) >= 5
    assert all(each.chunk_id != target for each, target in inside)
    assert all(len(each.references) == len(set(each.references)) for each in chunks)

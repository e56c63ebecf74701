"""What the rules make of legal text in the small, on the project's samples, and on the CRR where it is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from finreg_cli.config import Generate
from finreg_cli.documents.reader import Settings, read_bytes
from finreg_cli.domain import quality
from finreg_cli.domain.chat_format import ABSTENTION, split_citation
from finreg_cli.domain.mix import LARGEST_SHARE, Candidate, select
from finreg_cli.domain.quality import NearDuplicates
from finreg_cli.domain.records import Chunk, QaRow
from finreg_cli.tasks import regulation_qa
from finreg_cli.tasks.rules import ABSENCES, FORMS, Proposal, propose
from finreg_cli.tasks.rules.absences import Absence
from finreg_cli.tasks.rules.provisions import read
from finreg_cli.tasks.rules.wording import lower_first, standing_alone

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY / "data/regulations"
CRR = REPOSITORY / "../shared/data/regulations/CRR-32013R0575-EN.pdf"
MIX = Generate(method="rules", validation_fraction=0.3)


def chunk(
    text: str,
    *,
    citation: str = "Act Article 7",
    title: str = "Reports of banks",
    has_formula: bool = False,
    suspect: bool = False,
    structure: str = "article",
) -> Chunk:
    """A chunk of an invented act; the text of a first chunk begins with "Article 7" and the title."""
    return Chunk(
        chunk_id="c1",
        document_id="d1",
        work_id="act",
        version_date=None,
        path="act.pdf",
        file_sha256="0",
        title="Act",
        citation=citation,
        heading_path=["TITLE I Banks", f"Article 7 {title}"],
        structure=structure,
        references=[],
        page_start=1,
        page_end=1,
        char_start=0,
        char_end=len(text),
        has_formula=has_formula,
        suspect_instruction=suspect,
        text=text,
        token_count=len(text.split()),
    )


def first_chunk(*lines: str, **settings: object) -> Chunk:
    title = str(settings.get("title", "Reports of banks"))
    return chunk("\n".join(["Article 7", title, *lines]), **settings)  # type: ignore[arg-type]  # passed on as they are


def answerable(*lines: str, **settings: object) -> list[Proposal]:
    return [each for each in propose(first_chunk(*lines, **settings)) if each.answerable]


def only(*lines: str, **settings: object) -> Proposal:
    (proposal,) = answerable(*lines, **settings)
    return proposal


# --- reading ---


def test_statements_are_whole_sentences_and_whole_lists_with_their_paragraph() -> None:
    provision = read(
        first_chunk(
            "1. Banks shall report. They shall do so under Regulation (EU) No 1/2000.",
            "2. A report shall contain the following:",
            "(a) own funds;",
            "(b) losses.",
        )
    )
    assert provision is not None
    assert [(each.text, each.citation, each.alone) for each in provision.statements] == [
        ("Banks shall report.", "Act Article 7(1)", False),
        ("They shall do so under Regulation (EU) No 1/2000.", "Act Article 7(1)", False),
        ("A report shall contain the following: (a) own funds; (b) losses.", "Act Article 7(2)", True),
    ]
    assert (provision.act, provision.article, provision.title) == ("Act", "Act Article 7", "Reports of banks")


def test_what_the_border_of_a_chunk_may_have_cut_is_left_out() -> None:
    provision = read(
        chunk(
            "and shall keep them. Banks shall store reports.\n(b) for two years.\n2. Banks shall send reports to the",
        )
    )
    assert provision is not None
    assert [(each.text, each.citation) for each in provision.statements] == [
        ("Banks shall store reports.", "Act Article 7"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ("1. A report shall contain the following:", "(a) own funds;", "(b) losses;"),
        ("1. A report shall contain the following:", "(b) own funds;", "(c) losses."),
        ("1. A report shall contain the following:", "(a) own funds. Losses too;", "(b) losses."),
        ("1. A report shall contain the following:", "(a) own funds;", "A word on this.", "(b) losses."),
    ],
)
def test_a_list_that_is_not_certainly_whole_is_no_statement(lines: tuple[str, ...]) -> None:
    provision = read(first_chunk(*lines))
    assert provision is not None
    assert not any(each.items for each in provision.statements)


def test_a_number_at_the_start_of_a_line_begins_no_paragraph_out_of_turn() -> None:
    provision = read(
        first_chunk("1. Banks shall report as in Section", "7. They shall not wait.", "2. Banks shall store reports.")
    )
    assert provision is not None
    assert [each.citation for each in provision.statements] == ["Act Article 7(1)"] * 2 + ["Act Article 7(2)"]
    within = read(
        chunk("end here. Banks shall report as in Section\n7. They shall not wait.", citation="Act Article 7(3)")
    )
    assert within is not None
    assert {each.citation for each in within.statements} == {"Act Article 7(3)"}


def test_a_title_on_two_lines_is_no_text() -> None:
    provision = read(chunk("Article 7\nReports\nof banks\nBanks shall report."))
    assert provision is not None
    assert [each.text for each in provision.statements] == ["Banks shall report."]


def test_footnotes_and_their_marks_are_no_law() -> None:
    provision = read(
        first_chunk(
            "1. Banks^3 shall keep their reports (^1) for",
            "^3 OJ L 50, 1.1.2000. Banks shall ignore nobody.",
            "(^1) See the annual report.",
            "two years and hold 10^3 coins.",
        )
    )
    assert provision is not None
    assert [each.text for each in provision.statements] == [
        "Banks shall keep their reports for two years and hold 10^3 coins."
    ]


def test_a_mark_whose_footnote_stands_elsewhere_spoils_its_sentence_alone() -> None:
    found = [each.answer for each in answerable("1. Banks^3 shall submit a plan.", "2. Firms shall submit a list.")]
    assert found == ["Firms shall submit a list."]


def test_nothing_is_read_from_a_table_or_across_it() -> None:
    provision = read(
        first_chunk(
            "1. Banks shall apply the following weights:",
            "| Grade | Weight |",
            "| 1 | 20 % |",
            "(a) bonds;",
            "(b) loans.",
            "2. Banks shall report to",
            "| a | b |",
            "the authority. Firms shall report losses.",
        )
    )
    assert provision is not None
    assert [each.text for each in provision.statements] == ["Firms shall report losses."]
    assert provision.list_points == ()


def test_what_a_chunk_repeats_of_the_one_before_is_not_cited_as_its_own() -> None:
    lines = "(11) 'loss' means a decrease in value;\n(12) 'gain' means an increase in value;\n(13) 'net"
    provision = read(chunk(lines, citation="Act Article 7(1)(12)"))
    assert provision is not None
    assert [(each.text, each.citation) for each in provision.points] == [
        ("'gain' means an increase in value;", "Act Article 7(1)(12)")
    ]


def test_only_articles_are_read() -> None:
    assert read(chunk("Banks shall report.", structure="page")) is None
    recital = chunk("(7) Banks should report.", citation="Act recital (7)")
    assert read(recital) is None


# --- definitions ---


def test_a_definition_is_cited_by_its_point_and_quoted_whole() -> None:
    bank, ratio = answerable(
        "1. The following definitions shall apply:",
        "(1) 'bank' means an undertaking that takes deposits from anyone;",
        "(2) 'ratio' or 'R' means any of the following:",
        "(a) own funds divided by all the assets;",
        "(b) another figure;",
        "(3) 'loss' means something that goes on in the next",
    )
    assert (bank.kind, bank.citation) == ("definition", "Act Article 7(1)(1)")
    assert bank.answer == "'bank' means an undertaking that takes deposits from anyone."
    assert ratio.citation == "Act Article 7(1)(2)"
    assert ratio.answer == (
        "'ratio' or 'R' means any of the following: (a) own funds divided by all the assets; (b) another figure."
    )


def test_the_last_definition_of_a_chunk_may_go_on_in_the_next() -> None:
    assert not answerable(
        "1. The following definitions shall apply:",
        "(1) 'ratio' means any of the following:",
        "(a) own funds divided by all the assets;",
    )


def test_a_point_is_not_cited_by_number_where_its_paragraph_is_unknown() -> None:
    rows = [each for each in propose(chunk("(5) 'loss' means a decrease in value of some asset;")) if each.answerable]
    assert [each.citation for each in rows] == ["Act Article 7"]
    known = chunk("(5) 'loss' means a decrease in value of some asset;", citation="Act Article 7(1)")
    assert [each.citation for each in propose(known) if each.answerable] == ["Act Article 7(1)(5)"]


def test_a_definition_in_a_sentence() -> None:
    row = only("2. For the purposes of this Article, 'trigger event' means the moment at which a ratio falls.")
    assert row.answer == "'trigger event' means the moment at which a ratio falls."
    assert "'trigger event'" in row.question
    assert row.question.endswith("?")


# --- sentences ---


@pytest.mark.parametrize(
    ("sentence", "kind", "question"),
    [
        (
            "EBA shall submit those draft regulatory technical standards to the Commission by 1 February 2015.",
            "deadline",
            "submit",
        ),
        ("Banks shall send the yearly report to the public by 31 January 2030.", "deadline", "send the yearly report"),
        ("By 31 December 2030, the Commission shall review the use of the report.", "deadline", "review the use"),
        ("Banks shall correct an error within ten working days of its discovery.", "deadline", "correct an error"),
        ("Banks shall measure their losses from loans at least once a year.", "deadline", "measure their losses"),
        ("Claims on towns shall be assigned a risk weight of 20 %.", "threshold", "claims on towns"),
        ("Banks shall maintain a leverage ratio of at least 3 %.", "threshold", "what leverage ratio must banks"),
        ("The sum of all holdings shall not exceed 60 % of eligible capital.", "threshold", "the sum of all holdings"),
        ("The value of a single claim shall be at least EUR 5 million.", "threshold", "the value of a single claim"),
        ("Banks shall notify the competent authorities of any change to the model.", "procedure", "whom must banks"),
        ("Competent authorities may waive the report for small firms.", "procedure", "competent authorities|waive"),
        ("Where a report is late, banks shall explain the delay to the public.", "requirement", "a report is late"),
        ("Banks shall not count a claim on another bank twice.", "requirement", "banks"),
        ("Losses shall be measured in accordance with the accounting framework.", "requirement", "losses be measured"),
        (
            "Where a bank loses its licence, it shall pay back all deposits.",
            "requirement",
            "where it loses its licence",
        ),
    ],
)
def test_a_sentence_is_asked_for_what_it_holds(sentence: str, kind: str, question: str) -> None:
    row = only(f"1. {sentence}", "2. Nothing is said here.")
    assert (row.kind, row.citation) == (kind, "Act Article 7(1)")
    assert any(part in row.question for part in question.split("|"))
    assert "Act Article 7(1)" in row.question
    assert (
        split_citation(row.answer)[0].removeprefix("No. ").replace("submit the draft", "submit those draft") == sentence
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "They shall report to the competent authority within ten days.",
        "Those banks shall report to the competent authority within ten days.",
        "The plan shall contain all measures of the bank for the year.",
        "Banks shall send such forecasts to the competent authority every year.",
        "Banks shall report that rate to the public within ten days of it.",
        "In this case, banks shall report to the competent authority at once.",
        "The ratio shall be EVA ¼ 0:12 for the whole of the year.",
        "Article 3 of Directive 2000/1/EC is replaced by the following rule here.",
        "Banks shall report on the accounts of certain companies (1) every year.",
        "Banks report as they like to the public of the Member State.",
        "Banks shall apply the following provisions.",
    ],
)
def test_what_does_not_stand_alone_or_is_broken_gives_no_row(sentence: str) -> None:
    assert not answerable(f"1. {sentence}", "2. Nothing is said here.")


def test_a_date_is_asked_only_of_what_it_governs() -> None:
    row = only(
        "1. EBA shall monitor the use of models and by 1 January 2030 submit a report to the public.", "2. More."
    )
    assert row.kind != "deadline"


def test_a_question_names_what_the_text_only_points_to() -> None:
    assert standing_alone("report under paragraph 2", "Act") == "report under paragraph 2 of that Article"
    assert standing_alone("report under this Regulation", "Act") == "report under Act"
    assert standing_alone("report as this Article says", "Act") == "report as that Article says"
    assert standing_alone("send the list and shall keep it", "Act") == "send the list and keep it"
    for pointing in (
        "point (a)",
        "the first subparagraph",
        "those banks",
        "of that Member State",
        "this Chapter",
        "by",
    ):
        assert standing_alone(f"report {pointing}", "Act") is None


@pytest.mark.parametrize(
    ("start", "middle"),
    [
        ("Institutions that", "institutions that"),
        ("The Commission", "the Commission"),
        ("Member States", "Member States"),
        ("EBA", "EBA"),
        ("Common Equity Tier 1 capital", "Common Equity Tier 1 capital"),
        ("PD of an exposure", "PD of an exposure"),
        ("A bank", "a bank"),
        ("M assigned", "M assigned"),
    ],
)
def test_lower_first_keeps_names(start: str, middle: str) -> None:
    assert lower_first(start) == middle


def test_figures_in_points() -> None:
    core, tier = answerable(
        "1. Banks shall at all times satisfy the following ratios:",
        "(a) a core ratio of 4,5 %;",
        "(b) a tier ratio of 6 %.",
    )
    assert (core.kind, core.citation) == ("threshold", "Act Article 7(1)(a)")
    assert core.answer == "Banks shall at all times satisfy a core ratio of 4,5 %."
    assert "core ratio" in core.question
    assert tier.citation == "Act Article 7(1)(b)"
    (share,) = answerable("1. Banks may use the following percentages:", "(a) 80 % for claims on towns;", "(b) cash.")
    assert "for claims on towns" in share.question
    assert share.answer == "Banks may use the following percentages: 80 % for claims on towns."


def test_chunks_that_give_nothing() -> None:
    good = "1. Banks shall submit a report to the public within ten days."
    assert answerable(good, "2. More.")
    assert not propose(first_chunk(good, "2. More.", suspect=True))
    assert not propose(first_chunk(good, "2. Article 3 is replaced by the following: 'Article 3'."))
    assert not propose(first_chunk(good, "2. More.", title="Amendment of another act"))
    assert not propose(chunk(good, structure="page"))


def test_a_chunk_with_formulas_gives_no_figures() -> None:
    lines = ("1. Claims on towns shall be assigned a risk weight of 20 %.", "2. Banks shall not count a claim twice.")
    assert {each.kind for each in answerable(*lines)} == {"threshold", "requirement"}
    assert {each.kind for each in answerable(*lines, has_formula=True)} == {"requirement"}


def test_one_question_with_two_answers_is_not_asked() -> None:
    assert not answerable(
        "1. Banks shall ensure that all losses are reported. Banks shall ensure that all gains are reported.",
        "2. More.",
    )


def test_the_same_sentence_in_two_chunks_gives_the_same_question() -> None:
    sentence = "2. Banks shall correct an error within ten working days of its discovery."
    one = [each.question for each in propose(first_chunk("1. More.", sentence, "3. More.")) if each.answerable]
    other = [each.question for each in propose(chunk(f"{sentence}\n3. More is said.")) if each.answerable]
    assert one == other
    assert len(one) == 1


# --- questions without an answer ---


def test_an_unanswerable_question_asks_for_what_the_chunk_certainly_lacks() -> None:
    (row,) = [
        each for each in propose(first_chunk("1. Banks shall report.", "2. Banks may stop.")) if not each.answerable
    ]
    assert (row.kind, row.answer) == ("unanswerable", ABSTENTION)
    assert "Act Article 7" in row.question


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda each: each.name)
def test_an_absence_is_not_claimed_where_the_words_of_an_answer_occur(absence: Absence) -> None:
    words = {
        "fine": "A fine of any height may be imposed.",
        "fee": "The fee is low.",
        "language": "Any official language will do.",
        "court": "The court decides.",
        "records": "Banks keep them for years.",
        "template": "A template is given in the annex.",
        "auditor": "An auditor looks at them.",
        "percentage": "It is 5 % of all.",
        "amount": "It is EUR 5 at least.",
        "date": "From 2030 on, within ten days.",
        "frequency": "Banks report regularly.",
        "time-limit": "Within ten days.",
        "exemption": "Small banks are exempt.",
        "whom": "The authority is told.",
    }

    def asked(sentence: str) -> set[str]:
        """The rules used for it; the choice among them depends on the text, hence so many texts."""
        texts = (("1. Banks work.", f"2. {sentence} {'All ' * number}agree.", "3. The end.") for number in range(120))
        return {each.rule for lines in texts for each in propose(first_chunk(*lines, title="Conduct"))}

    assert f"unanswerable/{absence.name}@1" in asked("Nothing is said here.")
    assert f"unanswerable/{absence.name}@1" not in asked(words[absence.name])


def test_rules_are_named_once() -> None:
    names = [form.rule(number) for form in FORMS for number in range(1, len(form.wordings) + 1)]
    assert len(names) == len(set(names)) >= 25
    assert len(ABSENCES) + 1 >= 8


# --- rows ---


def test_rows_carry_what_made_them() -> None:
    source = first_chunk("1. Claims on towns shall be assigned a risk weight of 20 %.", "2. More.")
    row = next(regulation_qa.rows_by_rules(source, MIX))
    assert row.answer == "Claims on towns shall be assigned a risk weight of 20 %. [Act Article 7(1)]"
    assert (row.citation, row.method, row.model, row.outputs_may_train) == ("Act Article 7(1)", "rules", None, True)
    assert row.prompt_version.startswith("threshold/assigned-")
    assert row.context == f"Act Article 7\n{source.text}"
    assert row.split_unit.endswith("Article 7")
    assert (row.round, row.chunk_ids) == (1, ["c1"])
    assert [each.role for each in regulation_qa.training_messages(row)] == ["system", "user", "assistant"]


def test_kinds_that_are_not_wanted_are_not_made() -> None:
    source = first_chunk("1. Claims on towns shall be assigned a risk weight of 20 %.", "2. More.")
    settings = Generate(method="rules", kinds={"unanswerable": 1.0})
    assert {row.kind for row in regulation_qa.rows_by_rules(source, settings)} == {"unanswerable"}


def test_blanks_have_ids_of_their_own_and_neither_question_nor_answer() -> None:
    settings = Generate(method="llm", kinds={"definition": 0.5, "deadline": 0.5}, rows_per_chunk=3)
    source = first_chunk("1. 'Term' means a month.")
    proposed = regulation_qa.blanks_for_model(source, settings, "model", "v1", True)
    blanks = [each.row for each in proposed]
    assert [(each.kind, each.sample) for each in blanks] == [
        ("deadline", 0),
        ("definition", 0),
        ("deadline", 1),
        ("definition", 1),
    ]
    assert len({each.row_id for each in blanks}) == 4
    assert {(each.question, each.answer, each.method, each.model) for each in blanks} == {(None, None, "llm", "model")}
    with pytest.raises(ValueError, match=blanks[0].row_id):
        regulation_qa.training_messages(blanks[0])


# --- real documents ---


def words(texts: object) -> list[int]:
    """Stands in for the tokenizer, which is fetched and not part of the repository: a token is 3/4 of a word."""
    return [len(str(text).split()) * 4 // 3 for text in texts]  # type: ignore[attr-defined]  # a sequence of str


def chunks_of(path: Path, tokens: int) -> list[Chunk]:
    settings = Settings(chunk_tokens=tokens, chunk_overlap=tokens // 10, short_names={}, work_ids={})
    return read_bytes(path.read_bytes(), path.name, "pdfium", settings, words).chunks


def kept_of(chunks: list[Chunk]) -> tuple[list[QaRow], Counter[str]]:
    """What `generate` keeps of the chunks, and how often each filter refused a row."""
    refused: Counter[str] = Counter()
    standing: dict[str, QaRow] = {}
    seen = NearDuplicates()
    for source in chunks:
        for row in regulation_qa.rows_by_rules(source, MIX):
            reason = quality.check(row, source)
            if reason is None and seen.near(row.question or "") is not None:
                reason = "near_duplicate"
            if reason is None:
                seen.add(row.row_id, row.question or "")
                standing[row.row_id] = row
            else:
                refused[reason.partition(":")[0]] += 1
    candidates = [Candidate(row.row_id, row.kind, row.chunk_id) for row in standing.values()]
    chosen = select(candidates, dict(MIX.kinds), MIX.rows_per_chunk, None)
    return [standing[row_id] for row_id in sorted(chosen)], refused


def assert_sound_mix(rows: list[QaRow], refused: Counter[str]) -> None:
    kinds = Counter(row.kind for row in rows)
    assert set(kinds) == set(MIX.kinds)
    assert max(kinds.values()) <= LARGEST_SHARE * len(rows)
    # The rules check themselves: a filter may find near-duplicates of overlapping chunks, and next to nothing else.
    assert sum(refused.values()) - refused["near_duplicate"] <= 0.005 * len(rows) + 2
    assert len({row.row_id for row in rows}) == len(rows)


def test_the_samples_give_rows_for_the_demo() -> None:
    chunks = [each for path in sorted(SAMPLES.glob("*.pdf")) for each in chunks_of(path, 200)]
    rows, refused = kept_of(chunks)
    assert_sound_mix(rows, refused)
    sides = Counter(row.split for row in rows)
    assert sides["train"] >= 64
    assert sides["validation"] >= 32


@pytest.mark.slow
@pytest.mark.skipif(not CRR.exists(), reason=f"the CRR is not at {CRR}")
def test_the_crr_gives_rows_over_its_articles() -> None:
    rows, refused = kept_of(chunks_of(CRR, 500))
    assert_sound_mix(rows, refused)
    assert len(rows) >= 500
    assert len({row.split_unit for row in rows}) >= 250
    assert len({row.prompt_version for row in rows}) >= 50
    by_citation = {row.citation: row for row in rows}
    ratio = by_citation.get("CRR Article 92(1)(a)") or by_citation["CRR Article 92(1)(b)"]
    assert "satisfy a" in (ratio.answer or "")

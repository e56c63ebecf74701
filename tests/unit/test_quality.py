"""Each filter lets a sound row pass and refuses the one that lacks exactly what it looks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from finreg_cli.domain import quality
from finreg_cli.domain.chat_format import ABSTENTION, context_of
from finreg_cli.domain.quality import NearDuplicates, check, numbers_in, unchanged
from finreg_cli.domain.records import Chunk, QaRow

CHUNK = Chunk(
    chunk_id="c1",
    document_id="d1",
    work_id="act",
    version_date=None,
    path="act.pdf",
    file_sha256="0",
    title="Act 1/2099",
    citation="Act Article 7",
    heading_path=["Article 7 Ratios"],
    structure="article",
    references=[],
    page_start=1,
    page_end=1,
    char_start=0,
    char_end=100,
    has_formula=False,
    suspect_instruction=False,
    text="Article 7\nRatios\n1. Banks shall hold a ratio of 4,5 % and EUR 1 000 000 by 31 December 2014, within three "
    "months, as Article 9(2) says.",
    token_count=40,
)
ROW = QaRow(
    row_id="r1",
    chunk_id="c1",
    chunk_ids=["c1"],
    document_id="d1",
    citation="Act Article 7(1)",
    kind="threshold",
    sample=0,
    context=context_of(CHUNK),
    question="Which ratio must banks hold under Act Article 7(1)?",
    answer="Banks shall hold a ratio of 4,5 %. [Act Article 7(1)]",
    reasoning="the sentence says so: “Banks shall hold a ratio of 4,5 %”",
    answerable=True,
    method="rules",
    prompt_version="threshold/x@1",
    outputs_may_train=True,
    round=1,
    split="train",
    split_unit="Article 7",
)
PHASED: dict[str, Any] = {
    "context": "Act Article 7\n(a) 80 % from 2 January 2022 to 2 January 2023;\n"
    "(b) 90 % from 2 January 2023 to 2 January 2024.",
    "question": "Which ratio applies from 2 January 2023 to 2 January 2024 under Act Article 7(1)?",
    "reasoning": None,
}
ACROSS: dict[str, Any] = {
    "kind": "cross_article",
    "citation": "Act Article 7; Act Article 9",
    "context": "Act Article 7\nBanks hold a ratio of 4,5 %.\n\nAct Article 9\nReports are due within three months.",
    "question": "How soon must banks report the ratio under the act?",
    "reasoning": None,
}
ACROSS_CHUNK = {"citation": ACROSS["citation"]}
UNANSWERABLE: dict[str, Any] = {"answerable": False, "kind": "unanswerable", "answer": ABSTENTION}


def refusal(row: dict[str, Any] | None = None, chunk: dict[str, Any] | None = None) -> str | None:
    reason = check(dataclasses.replace(ROW, **(row or {})), dataclasses.replace(CHUNK, **(chunk or {})))
    return reason.partition(":")[0] if reason else None


@pytest.mark.parametrize(
    "row",
    [
        {},
        UNANSWERABLE,
        {"answer": "They hold EUR 1000000 by 31 December 2014. [Act Article 7(1)]"},
        {"answer": "Within 3 months, as Article 9(2) says. [Act Article 7(1)]"},
        {"answer": "A ratio of 4.5 %. [Act Article 7]", "citation": "Act Article 7"},
        {"answer": "By December 31st, 2014, 4,5 per cent. [Act Article 7(1)]"},
        {"kind": "fact", "answer": "Under Article 7 and Article 9. [Act Article 7(1)]"},
        {"question": "Under Act Article 7(1), what must banks do before they report to the authority?"},
        {"question": "Which ratio is held under Act Article 7(1)?", "answer": "It is 4,5 %. [Act Article 7(1)]"},
        {"kind": "fact", "answer": "Banks shall hold what Article 9(2) says. [Act Article 7(1)]"},
        {"kind": "deadline", "answer": "They report by 31 December 2014. [Act Article 7(1)]"},
        {**PHASED, "answer": "90 %. [Act Article 7(1)]"},
        {**PHASED, "question": "Which ratio applies from 2 January 2022?", "answer": "80 %. [Act Article 7(1)]"},
        {"kind": "fact", "question": "Must banks under Act No 7 hold a ratio?", "answer": "No. [Act Article 7(1)]"},
        {"answer": "A ratio of 4,5 % under Regulation 1/2099. [Act Article 7(1)]"},
        {"question": "Which Tier 2 ratio must banks hold under Act Article 7(1)?"},
        {"question": "What must banks report in the context of Act Article 7(1)?"},
        {"reasoning": "the question asks for the “Which ratio must banks hold”"},
        {
            "context": "Act Article 7\n1. Banks shall^3 hold a ratio of 4,5 %.\n^3 OJ L 1.",
            "reasoning": "it says: “Banks shall hold a ratio of 4,5 %”",
        },
    ],
)
def test_sound_rows_pass(row: dict[str, Any]) -> None:
    assert refusal(row) is None


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"question": None}, "question_empty"),
        ({"question": "   "}, "question_empty"),
        ({"answer": None}, "answer_empty"),
        ({"answer": " [Act Article 7(1)]"}, "citation"),
        ({"question": "Banks hold a ratio under Act Article 7(1)."}, "question_form"),
        ({"question": "which ratio must banks hold under Act Article 7(1)?"}, "question_form"),
        ({"question": "Which ratio applies?"}, "question_length"),
        ({"question": "Which " + "very " * 80 + "high ratio applies?"}, "question_length"),
        ({"question": "Which ratio does the text above give for banks?"}, "stands_alone"),
        ({"question": "Which ratio must banks hold in the context?"}, "stands_alone"),
        ({"question": "Which ratio must banks hold under this Article?"}, "stands_alone"),
        ({"question": "What must they report to the authority each year?"}, "stands_alone"),
        ({"question": "Which of the following ratios must banks hold?"}, "stands_alone"),
        ({"question": "Who must hold a ratio of 77 % under Act Article 7(1)?"}, "question_figures"),
        ({"question": "Which ratio must banks hold under Act Article 71?"}, "question_figures"),
        ({"answer": "A ratio of 4,5 %, as described in the excerpt. [Act Article 7(1)]"}, "stands_alone"),
        ({"answer": ABSTENTION}, "abstention"),
        ({"answer": "I don\u2019t know"}, "abstention"),
        ({**UNANSWERABLE, "answer": "I do not know."}, "abstention"),
        ({**UNANSWERABLE, "answer": f"{ABSTENTION} [Act Article 7(1)]"}, "abstention"),
        ({"answer": "Banks shall hold a ratio of 4,5 %."}, "citation"),
        ({"answer": "Banks shall hold a ratio of 4,5 %. [Act Article 7(2)]"}, "citation"),
        ({"answer": "A ratio of 4,5 %. [Act Article 8]", "citation": "Act Article 8"}, "citation"),
        ({"answer": "A ratio of 4,5 %. [Act Article 71]", "citation": "Act Article 71"}, "citation"),
        ({"answer": "word " * 151 + "[Act Article 7(1)]"}, "answer_length"),
        ({"answer": "Which ratio must banks hold under Act Article 7(1)? [Act Article 7(1)]"}, "echo"),
        ({"answer": "Banks must hold the ratio laid down in this Article. [Act Article 7(1)]"}, "echo"),
        ({"answer": "The conditions in paragraph 2 and, where relevant, 3 are met. [Act Article 7(1)]"}, "echo"),
        ({"answer": "The ratio under Article 7(3) applies. [Act Article 7(1)]"}, "echo"),
        ({"answer": "Banks that are large shall. [Act Article 7(1)]"}, "kind"),
        ({"kind": "deadline", "answer": "Banks shall hold a ratio of 4,5 %. [Act Article 7(1)]"}, "kind"),
        ({"answer": "Banks shall hold a ratio of 5,5 %. [Act Article 7(1)]"}, "numbers"),
        ({"answer": "A ratio of 4,5 % under Regulation 2/2099. [Act Article 7(1)]"}, "numbers"),
        ({"answer": "Within four months. [Act Article 7(1)]"}, "numbers"),
        ({"question": "After how many months at least?", "answer": "After three months. [Act Article 7(1)]"}, "bounds"),
        ({**PHASED, "answer": "80 %. [Act Article 7(1)]"}, "periods"),
        ({"answer": "By 7 December 2014. [Act Article 7(1)]"}, "dates"),
        ({"answer": "By December 7th, 2014. [Act Article 7(1)]"}, "dates"),
        ({"answer": "A ratio of 9 %. [Act Article 7(1)]"}, "percentages"),
        ({"answer": "A ratio of 2014 per cent. [Act Article 7(1)]"}, "percentages"),
        ({"answer": "As Article 31 says. [Act Article 7(1)]"}, "references"),
        ({"question": "Welche Kernkapitalquote müssen die Banken nach der Verordnung halten?"}, "language"),
        ({"answer": "Die Banken halten jederzeit eine Quote von 4,5 % und melden sie. [Act Article 7(1)]"}, "language"),
        ({"answer": "As Article 9(1) says. [Act Article 7(1)]"}, "references"),
        ({"reasoning": "it says “banks may hold any ratio they like”"}, "quotations"),
        ({"answer": "Banks^3 shall hold a ratio. [Act Article 7(1)]"}, "footnote_mark"),
        ({"question": "Which ratio must banks (^1) hold under Act Article 7(1)?"}, "footnote_mark"),
        ({"answer": "It says “banks may hold any ratio”. [Act Article 7(1)]"}, "quotations"),
    ],
)
def test_unsound_rows_are_refused_by_the_filter_of_that_name(row: dict[str, Any], name: str) -> None:
    assert refusal(row) == name


def test_what_a_chunk_can_never_pass_is_refused_before_it_is_paid_for() -> None:
    blank = dataclasses.replace(ROW, question=None, answer=None)
    assert quality.check_blank(blank, CHUNK) is None
    assert str(quality.check_blank(blank, dataclasses.replace(CHUNK, suspect_instruction=True))).startswith(
        "suspect_source: "
    )
    with_formula = dataclasses.replace(CHUNK, has_formula=True)
    assert str(quality.check_blank(blank, with_formula)).startswith("formula: ")
    assert quality.check_blank(dataclasses.replace(blank, kind="requirement"), with_formula) is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("A ratio of 4,5 % is reported within three months.", None),
        ("Banks hold a ratio of 4,5 %.", "one_sided"),
        ("Reports are due within three months.", "one_sided"),
        ("Banks must report the ratio to us.", "one_sided"),  # the words of the question
    ],
)
def test_an_answer_across_articles_takes_something_from_each_side(answer: str, name: str | None) -> None:
    row = {**ACROSS, "answer": f"{answer} [{ACROSS['citation']}]"}
    assert refusal(row, ACROSS_CHUNK) == name
    assert refusal({**row, "answerable": False, "answer": ABSTENTION}, ACROSS_CHUNK) is None


def test_a_suspect_chunk_gives_no_row_and_a_formula_no_figure() -> None:
    assert refusal(chunk={"suspect_instruction": True}) == "suspect_source"
    assert refusal(chunk={"has_formula": True}) == "formula"
    silent = {"kind": "fact", "answer": "Banks shall hold a minimum ratio. [Act Article 7(1)]"}
    assert refusal(silent, {"has_formula": True}) is None
    assert refusal(UNANSWERABLE, {"has_formula": True}) is None


def test_every_filter_has_been_seen_to_refuse() -> None:
    tried = {mark.args[1][n][1] for mark in _marks() for n in range(len(mark.args[1]))}
    assert set(quality.FILTERS) == tried | {"suspect_source", "formula", "one_sided"}


def _marks() -> list[pytest.Mark]:
    return test_unsound_rows_are_refused_by_the_filter_of_that_name.pytestmark  # type: ignore[attr-defined, no-any-return]  # pytest adds it


def test_numbers_are_compared_in_one_spelling() -> None:
    assert numbers_in("4,5 % of EUR 1 000 000, three times") == {"4.5", "1000000", "3"}
    assert numbers_in("4.5 of 1000000, 3 times") == {"4.5", "1000000", "3"}
    assert numbers_in("Article 92(1), no one") == {"92", "1"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What must banks report under Act Article 7?", "What shall banks report under Act Article 7?"),
        ("Under Act Article 7, what must banks report?", "What must banks report under Act Article 7?"),
        ("What must banks report to the authority each year?", "What must banks report to the authority, each year?"),
        ("What must all the banks report each year?", "What must all the banks report each year under Article 7?"),
        ("Which reports must banks submit to their authority?", "Which report must banks submit to its authority?"),
    ],
)
def test_near_duplicates_are_found(one: str, other: str) -> None:
    questions = NearDuplicates()
    questions.add("first", one)
    assert questions.near(other) == "first"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What must banks report under Act Article 7?", "What must banks report under Act Article 8?"),
        ("What must banks report under Act Article 7(1)?", "What must banks report under Act Article 7(2)?"),
        ("How does the act define 'loss'?", "How does the act define 'loss rate'?"),
        ("How does the act define \u2018loss\u2019?", "How does the act define \u2018cost\u2019?"),
        ("Who must hold a ratio of 4,5 % at all times?", "Who must hold a ratio of 6 % at all times?"),
        ("What must banks report?", "Which body authorises insurers in another Member State?"),
    ],
)
def test_another_article_term_or_number_is_another_question(one: str, other: str) -> None:
    questions = NearDuplicates()
    questions.add("first", one)
    assert questions.near(other) is None


def test_a_question_without_article_is_compared_with_all() -> None:
    questions = NearDuplicates()
    questions.add("first", "Which competent authority must grant the permission to institutions, see Article 7?")
    assert questions.near("Which competent authority must grant the permission to institutions, see?") == "first"


def test_near_names_the_most_similar_of_several() -> None:
    questions = NearDuplicates()
    questions.add("near", "Which reports must every bank submit to its authority each year in the union now?")
    questions.add("nearest", "Which reports must every bank submit to its authority each year in the Union?")
    assert (
        questions.near("Which reports must every bank submit to their authority each year in the Union?") == "nearest"
    )


def test_a_question_that_was_taken_back_is_found_no_more() -> None:
    questions = NearDuplicates()
    questions.add("first", "Which reports must banks submit to their authority?")
    questions.discard("first", "Which reports must banks submit to their authority?")
    assert questions.near("Which reports must banks submit to their authority?") is None


DRAFT = "Which ratio must banks hold under Article 7, and when must each exposure be reported?"


@pytest.mark.parametrize(
    "final",
    [
        DRAFT,
        " which ratio must banks hold under article 7, and when must each exposure be reported ? ",
        "Which ratio must the banks hold under Article 7, and when must each exposure be reported?",
        "Which ratio shall banks hold under Article 7, and when shall each of the exposures be reported?",
    ],
)
def test_words_that_are_touched_up_mend_nothing(final: str) -> None:
    assert unchanged(DRAFT, final)


@pytest.mark.parametrize(
    "final",
    [
        "Which ratio must banks hold under Article 8, and when must each exposure be reported?",
        "Which ratio must banks hold under Article 7, and when must no exposure be reported?",
        "Which ratio may banks hold under Article 7, and when may each exposure be reported?",
        "Which ratio of 8 % must banks hold under Article 7, and when must each exposure be reported?",
        "Which ratio must insurers hold under Article 7, and when must each exposure be reported?",
        "When must each exposure be reported?",
    ],
)
def test_another_word_number_article_or_sense_is_a_change(final: str) -> None:
    assert not unchanged(DRAFT, final)


def test_a_long_text_is_not_unchanged_because_only_one_word_is_another() -> None:
    text = "The institution shall notify the competent authority without delay of every exposure that it holds. " * 5
    assert not unchanged(text, text.replace("competent authority", "resolution board", 1))

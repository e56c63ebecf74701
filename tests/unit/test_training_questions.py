"""Which question-answer rows are trained on and measured with, and as what, on real Delta tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fakes import chunks
from finreg_cli.config import Config
from finreg_cli.domain import chat_format
from finreg_cli.domain.records import QA_DATASET, QA_REVIEWS, SPLITTED_DOCUMENTS, Chunk, QaRow, Review, TrainingRow
from finreg_cli.domain.reviews import as_reviewed
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages import evaluate, question_rows

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RATIOS = ("CET1", "Tier 1", "total capital", "leverage", "liquidity coverage", "stable funding", "MREL", "TLAC")


def row(number: int, **changes: Any) -> QaRow:
    citation = f"CRR Article {number}"
    name = f"{RATIOS[number % len(RATIOS)]} ratio of year {number}"
    found = QaRow(
        row_id=f"{number:032x}",
        chunk_id=f"chunk-{number}",
        chunk_ids=[f"chunk-{number}"],
        document_id="document",
        citation=citation,
        kind="requirement",
        sample=0,
        context=f"{citation}\nThe {name} is {number} %.",
        question=f"What is the {name}?",
        answer=f"The {name} is {number} %. [{citation}]",
        answerable=True,
        method="rules",
        prompt_version="duty",
        outputs_may_train=True,
        round=1,
        split="train",
        split_unit=f"32013R0575#Article {number}",
    )
    return replace(found, **changes)


def review(of: QaRow, verdict: str, reviewer: str = "ada", minutes: int = 0, **edits: str | None) -> Review:
    return Review(
        row_id=of.row_id,
        reviewer=reviewer,
        verdict=verdict,
        edited_question=edits.get("question"),
        edited_answer=edits.get("answer"),
        comment=None,
        reviewed_at=NOON + timedelta(minutes=minutes),
    )


def chunk(chunk_id: str, article: int) -> Chunk:
    heading = f"Article {article}"
    return chunks.chunk(f"CRR {heading}", heading, chunk_id=chunk_id, work_id="32013R0575", heading_path=[heading])


@dataclass
class Bench:
    folder: Path
    lakehouse: EmbeddedLakehouse

    def holds(self, *rows: QaRow) -> None:
        self.lakehouse.overwrite(QA_DATASET, QA_DATASET.batches(rows))

    def reviewed(self, *reviews: Review) -> None:
        self.lakehouse.append(QA_REVIEWS, QA_REVIEWS.batches(reviews))

    def config(self, **finetune: Any) -> Config:
        return Config.model_validate(
            {
                "task": "regulation_qa",
                "engine": {"warehouse": str(self.folder)},
                "generate": {"method": "rules"},
                "finetune": finetune,
            }
        )

    def trained_on(self, **finetune: Any) -> tuple[dict[str, TrainingRow], Mapping[str, int]]:
        choice = question_rows.choose(self.config(**finetune), self.lakehouse)
        rows = {each.row_id: each for each in question_rows.rows(self.lakehouse, choice)}
        assert rows.keys() == choice.units.keys()
        return rows, choice.left_out

    def measured_with(self, limit: int | None = None) -> evaluate.Plan:
        section = {"models": ["base"], "limit": limit}
        config = Config.model_validate(self.config().model_dump(by_alias=True) | {"evaluate": section})
        return evaluate._plan(config, self.lakehouse)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, EmbeddedLakehouse(tmp_path, "main", "euroreg"))


def test_what_is_left_out_is_counted_by_its_first_reason(bench: Bench) -> None:
    rows = [row(number) for number in range(8)]
    rows[1] = replace(rows[1], retired_at=NOON, outputs_may_train=False)
    rows[2] = replace(rows[2], outputs_may_train=False)
    bench.holds(*rows, row(9, split="validation"))
    bench.reviewed(
        review(rows[1], "accepted"),
        review(rows[2], "accepted"),
        review(rows[3], "rejected"),
        review(rows[4], "accepted"),
        review(rows[5], "edited", answer="8 %."),
    )
    found, left_out = bench.trained_on()
    assert found.keys() == {rows[number].row_id for number in (0, 4, 5, 6, 7)}
    assert left_out == {"retired": 1, "outputs_may_not_train": 1, "rejected_in_review": 1}

    found, left_out = bench.trained_on(require_review=True)
    assert found.keys() == {rows[4].row_id, rows[5].row_id}
    assert left_out == {"retired": 1, "outputs_may_not_train": 1, "rejected_in_review": 1, "not_reviewed": 3}

    found, left_out = bench.trained_on(max_rows=2)
    assert len(found) == 2
    assert left_out["beyond_max_rows"] == 3


def test_an_edited_row_is_trained_on_as_edited_whether_reviews_are_required_or_not(bench: Bench) -> None:
    rows = [row(1), row(2), row(3)]
    bench.holds(*rows)
    bench.reviewed(
        review(rows[0], "edited", question="Which ratio applies under Article 1?", answer="It is 1 % in all."),
        review(rows[1], "edited", question="Which ratio applies under Article 2?"),
        review(rows[2], "accepted", answer="an edit that nobody made is not applied"),
    )
    for required in (False, True):
        found, _ = bench.trained_on(require_review=required)
        taught = [found[each.row_id].messages for each in rows]
        expected = [
            ("Which ratio applies under Article 1?", "It is 1 % in all. [CRR Article 1]"),
            ("Which ratio applies under Article 2?", rows[1].answer),
            (rows[2].question, rows[2].answer),
        ]
        assert taught == [
            chat_format.messages(each.context, question or "", answer or "")
            for each, (question, answer) in zip(rows, expected, strict=True)
        ]


def test_the_latest_review_is_in_force_whatever_the_order_of_the_table(bench: Bench) -> None:
    rows = [row(1), row(2), row(3)]
    bench.holds(*rows)
    bench.reviewed(
        review(rows[0], "rejected", minutes=5),
        review(rows[0], "accepted", minutes=1),
        review(rows[1], "rejected", minutes=1),
        review(rows[1], "nonsense", minutes=2),
        review(rows[1], "accepted", minutes=5),
    )
    # At one time the last reviewer by name, and of one reviewer the rejection.
    bench.reviewed(review(rows[2], "rejected", reviewer="grace"), review(rows[2], "accepted", reviewer="ada"))
    found, left_out = bench.trained_on()
    assert found.keys() == {rows[1].row_id}
    assert left_out == {"rejected_in_review": 2}
    bench.reviewed(review(rows[2], "accepted", reviewer="linus"), review(rows[2], "rejected", reviewer="linus"))
    assert bench.trained_on()[1] == {"rejected_in_review": 2}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"verdict": "Accepted"}, "verdict 'Accepted'; known: accepted, edited, rejected"),
        ({"verdict": None}, "verdict None"),
        ({"verdict": "edited", "edited_answer": "  "}, "neither edited_question nor edited_answer"),
        ({"reviewed_at": None}, "no reviewed_at"),
    ],
)
def test_a_review_that_cannot_be_understood_names_its_row_and_reviewer(
    bench: Bench, wrong: dict[str, Any], said: str
) -> None:
    rows = [row(1), row(2)]
    bench.holds(*rows)
    bench.reviewed(replace(review(rows[1], "accepted", reviewer="grace"), **wrong))
    with pytest.raises(StageFailed, match=rf"row {rows[1].row_id} by grace .*{said}") as caught:
        bench.trained_on()
    assert "delete" in caught.value.remedy


def test_reviews_that_another_writer_wrote_are_read(bench: Bench) -> None:
    """Without our comment column, with columns of its own, and times without a zone."""
    rows = [row(1), row(2)]
    bench.holds(*rows)
    table = pa.table(
        {
            "reviewed_at": pa.array([datetime(2026, 11, 23, 12)], pa.timestamp("us")),
            "reviewer": ["a page"],
            "row_id": [rows[0].row_id],
            "verdict": pa.array(["rejected"], pa.large_string()),
            "edited_answer": pa.array([None], pa.string()),
            "edited_question": pa.array([None], pa.string()),
            "session": ["7"],
        }
    )
    write_deltalake(bench.lakehouse.location(QA_REVIEWS), table)
    assert bench.trained_on()[0].keys() == {rows[1].row_id}


@pytest.mark.parametrize("edited", ["train", "validation"])
def test_an_edit_cannot_carry_a_validation_question_into_training(bench: Bench, edited: str) -> None:
    taught, measured, other = row(1), row(2, split="validation"), row(3)
    bench.holds(taught, measured, other)
    assert taught.question
    assert measured.question
    bench.reviewed(
        review(taught, "edited", question=measured.question)
        if edited == "train"
        else review(measured, "edited", question=taught.question)
    )
    found, left_out = bench.trained_on()
    assert found.keys() == {other.row_id}
    assert left_out == {"near_validation": 1}
    bench.reviewed(review(measured, "rejected", minutes=1))
    found, left_out = bench.trained_on()
    assert found.keys() == {taught.row_id, other.row_id}, "a rejected row is not measured with, so nothing leaks"


def test_a_row_on_several_articles_stands_on_no_side_of_which_it_shows_the_other(bench: Bench) -> None:
    rows = [row(number) for number in range(4)]
    within = row(10, chunk_ids=["chunk-0", "chunk-1"], split_unit=rows[0].split_unit)
    crossing = row(11, chunk_ids=["chunk-0", "chunk-3"], split_unit=rows[0].split_unit)
    backwards = row(12, chunk_ids=["chunk-3", "chunk-0"], split_unit=rows[3].split_unit)
    by_chunk = row(13, chunk_ids=["chunk-1", "chunk-of-3"], split_unit=rows[1].split_unit)
    gone = row(14, chunk_ids=["chunk-2", "chunk-gone"], split_unit=rows[2].split_unit)
    bench.holds(*rows, within, crossing, backwards, by_chunk, gone)
    bench.lakehouse.overwrite(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches([chunk("chunk-of-3", 3)]))
    choice = question_rows.choose(bench.config(), bench.lakehouse)
    kept = question_rows.without_crossing(bench.lakehouse, choice, {rows[3].split_unit})
    assert kept.units.keys() == {each.row_id for each in (*rows, within)}
    assert kept.left_out == {"crosses_ft_eval": 4}
    nothing_held = question_rows.without_crossing(bench.lakehouse, choice, set())
    assert nothing_held.left_out == {"crosses_ft_eval": 1}, "an unknown chunk may lie anywhere"


def test_where_no_row_is_left_the_remedy_is_a_review(bench: Bench) -> None:
    with pytest.raises(NothingToDo, match="left out: none") as caught:
        bench.trained_on(require_review=True)
    assert "finreg generate" in caught.value.remedy
    bench.holds(row(1), row(2))
    with pytest.raises(NothingToDo, match="2 not_reviewed") as caught:
        bench.trained_on(require_review=True)
    assert "qa_reviews" in caught.value.remedy


# --- what an edit makes of an answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "answer", "citation"),
    [
        ("4 % of the total.", "4 % of the total. [CRR Article 4]", "CRR Article 4"),
        ("4 % of the total.  [CRR Article 4] ", "4 % of the total. [CRR Article 4]", "CRR Article 4"),
        ("4 % of the total. [CRR Article 4(2)]", "4 % of the total. [CRR Article 4(2)]", "CRR Article 4(2)"),
        ("4 %. [CRR II Article 4]", "4 %. [CRR II Article 4] [CRR Article 4]", "CRR Article 4"),
        ("4 % of the total [sic]", "4 % of the total [sic] [CRR Article 4]", "CRR Article 4"),
    ],
)
def test_an_edited_answer_ends_with_its_citation(edit: str, answer: str, citation: str) -> None:
    found = as_reviewed(row(4), review(row(4), "edited", answer=edit))
    assert (found.answer, found.citation, found.answerable) == (answer, citation, True)


@pytest.mark.parametrize("edit", ["I don't know.", "I don’t know", " i do not know! ", "I don't know. [CRR Article 4]"])
def test_the_abstention_has_one_spelling_and_no_citation(edit: str) -> None:
    found = as_reviewed(row(4), review(row(4), "edited", answer=edit))
    assert (found.answer, found.answerable) == (chat_format.ABSTENTION, False)


def test_a_row_that_abstained_becomes_answerable_by_an_answer_only() -> None:
    abstains = row(4, kind="unanswerable", answerable=False, answer=chat_format.ABSTENTION)
    asked = as_reviewed(abstains, review(abstains, "edited", question="What is the fee of Article 5?"))
    assert (asked.answer, asked.answerable) == (chat_format.ABSTENTION, False)
    answered = as_reviewed(abstains, review(abstains, "edited", answer="4 %."))
    assert (answered.answer, answered.answerable) == ("4 %. [CRR Article 4]", True)


# --- the validation rows --------------------------------------------------------------------------------------------


def test_a_rejected_validation_row_is_not_measured_with_and_an_edited_one_as_edited(bench: Bench) -> None:
    rows = [row(number, split="validation") for number in range(4)]
    bench.holds(*rows, row(8))
    assert bench.measured_with().reviews is None
    bench.reviewed(
        review(rows[0], "rejected"), review(rows[1], "edited", answer="1 % in all."), review(row(8), "rejected")
    )
    plan = bench.measured_with()
    assert [each.row_id for each in plan.rows] == [each.row_id for each in rows[1:]]
    assert plan.rows[0].answer == "1 % in all. [CRR Article 1]"
    assert plan.rows[1:] == rows[2:]
    assert (plan.rejected, plan.reviews) == (1, 0)
    assert len(bench.measured_with(limit=2).rows) == 2
    bench.reviewed(*(review(each, "rejected", minutes=1) for each in rows))
    with pytest.raises(NothingToDo, match=r"all 4 validation rows .* were rejected in review"):
        bench.measured_with()

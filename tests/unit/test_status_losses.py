"""The rows that a model learnt worst, in status and show, on real Delta tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from finreg_cli.config import Config
from finreg_cli.domain import chat_format
from finreg_cli.domain.extraction import LEASE, instruction, prompt_text
from finreg_cli.domain.records import (
    FINETUNE_LOSSES,
    FINETUNE_RUNS,
    FT_EVAL,
    FT_TRAINING,
    LEASE_DOCS_TRAIN,
    QA_DATASET,
    QA_REVIEWS,
    FinetuneRun,
    LabelledLease,
    Message,
    QaRow,
    Review,
    RowLoss,
    TrainingRow,
)
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.row_losses import LearntRow
from finreg_cli.stages.status import Survey, sample_rows, survey

LAST = 12
LONG_ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen."


def question(number: int) -> QaRow:
    return QaRow(
        row_id=f"row-{number:02}",
        chunk_id=f"chunk-{number}",
        chunk_ids=[f"chunk-{number}"],
        document_id="document",
        citation=f"CRR Article {number}",
        kind="definition",
        sample=0,
        context=f"CRR Article {number}\nThe text.",
        question=f"What does Article {number} mean?",
        answer=f"{LONG_ANSWER} [CRR Article {number}]",
        answerable=True,
        method="rules",
        prompt_version="definition",
        outputs_may_train=True,
        round=1,
        split="train",
        split_unit=f"32013R0575#article-{number}",
    )


def taught(row: QaRow) -> TrainingRow:
    messages = chat_format.messages(row.context, row.question or "", row.answer or "")
    return TrainingRow(messages=messages, row_id=row.row_id, group_key=row.split_unit)


@dataclass
class Bench:
    folder: Path
    lakehouse: EmbeddedLakehouse
    task: str = "regulation_qa"

    @property
    def raw(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "engine": {"warehouse": str(self.folder / "lakehouse")},
            "source": {"path": str(self.folder)},
            "generate": {"method": "rules"},
        }

    def trained(self, run_id: str, rows: Iterable[TrainingRow], losses: dict[int, dict[str, float]]) -> FinetuneRun:
        """As finetune leaves a selected run: its rows, its record, and its losses by step."""
        version = self.lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches(rows))
        run = FinetuneRun(
            run_id=run_id,
            sweep_id=run_id,
            task=self.task,
            round=0,
            trainer="local",
            base_model="tiny",
            method="lora",
            learning_rate=1e-3,
            epochs=1.0,
            state="finished",
            metrics={"eval_loss": 0.5},
            selected=True,
            model_uri=None,
            model_version=None,
            training_table=FT_TRAINING.name,
            training_version=version,
        )
        self.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([run]))
        found = [
            RowLoss(run_id=run_id, step=step, row_id=row_id, loss=loss)
            for step, of_step in losses.items()
            for row_id, loss in of_step.items()
        ]
        self.lakehouse.append(FINETUNE_LOSSES, FINETUNE_LOSSES.batches(found))
        return run

    def survey(self) -> Survey:
        return survey(Config.model_validate(self.raw), self.lakehouse)

    def finreg(self, *arguments: str) -> str:
        (self.folder / "finreg.yaml").write_text(yaml.safe_dump(self.raw))
        command = [sys.executable, "-m", "finreg_cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, EmbeddedLakehouse(tmp_path / "lakehouse", "main", "euroreg"))


@pytest.fixture
def questions(bench: Bench) -> Bench:
    """Eight rows; while the model was trained, others were high than after it; two runs, the later one counts."""
    rows = [question(number) for number in range(8)]
    bench.lakehouse.overwrite(QA_DATASET, QA_DATASET.batches(rows))
    ids = [row.row_id for row in rows]
    after = {row_id: number / 10 for number, row_id in enumerate(ids)}
    bench.trained("20261122-a", map(taught, rows), {3: {ids[0]: 8.0}, LAST + 4: dict.fromkeys(ids, 7.0)})
    bench.trained("20261123-b", map(taught, rows), {1: {ids[0]: 9.0, ids[1]: 8.0}, LAST: after})
    return bench


def test_status_names_the_five_rows_with_the_highest_loss_after_training(questions: Bench) -> None:
    found = questions.survey().learnt_worst
    assert [(each.row_id, each.loss) for each in found] == [
        (f"row-{number:02}", number / 10) for number in (7, 6, 5, 4, 3)
    ]
    assert found[0] == LearntRow(
        run_id="20261123-b",
        step=LAST,
        row_id="row-07",
        loss=0.7,
        about="CRR Article 7",
        kind="definition",
        question="What does Article 7 mean?",
        answer="one two three four five six seven eight nine ten eleven twelve ...",
    )


def test_it_shows_what_was_taught_and_not_what_stands_there_now(questions: Bench) -> None:
    changed = replace(question(7), question="Another question?", answer="Another answer.")
    questions.lakehouse.merge(QA_DATASET, QA_DATASET.batches([changed]))
    questions.lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches([taught(changed)]))
    assert questions.survey().learnt_worst[0].question == "What does Article 7 mean?"


def test_a_loss_that_is_no_number_stands_first(bench: Bench) -> None:
    rows = [question(number) for number in range(3)]
    bench.lakehouse.overwrite(QA_DATASET, QA_DATASET.batches(rows))
    bench.trained("run", map(taught, rows), {LAST: {"row-00": 5.0, "row-01": float("nan"), "row-02": float("inf")}})
    assert [each.row_id for each in bench.survey().learnt_worst] == ["row-01", "row-02", "row-00"]


def test_a_run_of_before_there_were_losses_has_none(bench: Bench) -> None:
    bench.lakehouse.overwrite(QA_DATASET, QA_DATASET.batches([question(1)]))
    bench.trained("run", [taught(question(1))], {})
    assert bench.survey().learnt_worst == []


def test_a_document_is_named_by_its_family_and_by_its_own_words(bench: Bench) -> None:
    bench.task = "structured_extraction"
    labels = LEASE.dumps({"lessee": "Muster AG"})
    bench.lakehouse.overwrite(
        LEASE_DOCS_TRAIN,
        LEASE_DOCS_TRAIN.batches([LabelledLease(lease_id="lease-1", lease_doc="A lease.", labels=labels)]),
    )
    user = Message(prompt_text(instruction(LEASE), "This Lease is made\nby Muster AG."), "user")
    row = TrainingRow(messages=[user, Message(labels, "assistant")], row_id="window-1", group_key="lease-1")
    bench.trained("run", [row], {1: {"window-1": 2.0}})
    (found,) = bench.survey().learnt_worst
    assert (found.about, found.kind, found.question) == ("lease-1", None, "This Lease is made by Muster AG.")
    assert found.answer.startswith("{")


def test_a_model_that_was_trained_on_a_rejected_row_is_stale(questions: Bench) -> None:
    questions.lakehouse.overwrite(FT_EVAL, FT_EVAL.batches([]))

    def stale() -> list[str]:
        return [line for line in questions.survey().stale if "rejected" in line]

    assert stale() == []
    review = Review(
        row_id="row-07",
        reviewer="ada",
        verdict="rejected",
        edited_question=None,
        edited_answer=None,
        comment="swapped",
        reviewed_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    questions.lakehouse.append(QA_REVIEWS, QA_REVIEWS.batches([review]))
    (line,) = stale()
    assert "20261123-b was trained on 1 rows that are retired, moved or rejected in review: finreg finetune" in line
    questions.lakehouse.append(
        QA_REVIEWS, QA_REVIEWS.batches([replace(review, verdict="no", reviewed_at=datetime(2026, 11, 24, tzinfo=UTC))])
    )
    (line,) = [line for line in questions.survey().stale if "qa_reviews" in line]
    assert "row row-07 by ada" in line


def test_a_spike_names_its_rows_the_highest_loss_first(questions: Bench) -> None:
    where = ["run_id=20261123-b", "step=1"]
    found = sample_rows(questions.lakehouse, "finetune_losses", 5, where)
    assert [(row["row_id"], row["loss"]) for row in found] == [("row-00", 9.0), ("row-01", 8.0)]
    highest = sample_rows(questions.lakehouse, "finetune_losses", 2)
    assert [row["loss"] for row in highest] == [9.0, 8.0]


def test_rows_are_chosen_by_the_values_of_their_columns(questions: Bench) -> None:
    found = sample_rows(questions.lakehouse, "qa_dataset", 5, ["row_id=row-02", "row_id=row-05"])
    assert sorted(row["row_id"] for row in found) == ["row-02", "row-05"]
    assert len(sample_rows(questions.lakehouse, "qa_dataset", 5, ["kind=definition", "row_id=row-02"])) == 1


@pytest.mark.slow
def test_the_commands_say_the_same(questions: Bench) -> None:
    said = questions.finreg("status")
    assert "highest loss after training 20261123-b" in said
    assert said.index("row-07") < said.index("row-06") < said.index("row-03")
    worst = json.loads(questions.finreg("status", "-o", "json"))["learnt_worst"]
    assert [each["row_id"] for each in worst][:2] == ["row-07", "row-06"]
    shown = questions.finreg("show", "finetune_losses", "--where", "run_id=20261123-b", "--where", "step=1")
    assert shown.index("row-00") < shown.index("row-01")

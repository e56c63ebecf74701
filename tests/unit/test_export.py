"""Exports of real tables, read back by the tools that they are for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from fakes import tiny_llama
from fakes.leases import labelled
from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.domain import chat_format
from finreg_cli.domain.extraction import LEASE, instruction
from finreg_cli.domain.records import (
    FINETUNE_RUNS,
    FT_TRAINING,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    QA_DATASET,
    QA_DATASET_TRAIN,
    QA_DATASET_VAL,
    QA_REVIEWS,
    QA_SPLIT,
    SPLITTED_DOCUMENTS,
    ChatExport,
    Chunk,
    FinetuneRun,
    QaRow,
    Review,
    SplitSettings,
    SyntheticLease,
    Table,
    TrainingRow,
)
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed, WarehouseError
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.export import Export, Selection, export
from finreg_cli.tasks.structured_extraction import Reading

LONG_AGO = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)
HARD = 'A "quoted" line,\nthen one with \u2028, é, 𝄞 and \\n; \u00a0€ 4,5 %'
"""A text that goes wrong wherever a file is written by hand."""


def qa_row(number: int, **changes: Any) -> QaRow:
    row = QaRow(
        row_id=f"row-{number:04}",
        chunk_id=f"chunk-{number}",
        chunk_ids=[f"chunk-{number}", "chunk-of-the-definition"],
        document_id="document-1",
        citation=f"CRR Article {number}",
        kind="definition" if number % 2 else "threshold",
        sample=number,
        context=f"CRR Article {number}\n{HARD}",
        question=f"What does Article {number} say?",
        answer=f"{HARD} [CRR Article {number}]",
        answerable=True,
        method="llm",
        model="writer",
        prompt_version="v1",
        outputs_may_train=True,
        round=0,
        split="train",
        split_unit=f"article-{number}",
    )
    return dataclasses.replace(row, **changes)


ROWS = [
    *(qa_row(number) for number in range(1, 6)),
    qa_row(6, split="validation"),
    qa_row(7, split="validation"),
    qa_row(8, retired_at=LONG_AGO),
    qa_row(9, outputs_may_train=False, model="strict"),
    qa_row(10, model=None, method="rules", prompt_version="definition-1", reasoning=""),
]
TRAINABLE = [row for row in ROWS if row.row_id in {f"row-{n:04}" for n in (1, 2, 3, 4, 5, 10)}]
CHUNK = Chunk(
    chunk_id="chunk-1",
    document_id="document-1",
    work_id="32013R0575",
    version_date="2024-07-09",
    path="docs/crr.pdf",
    file_sha256="ab" * 32,
    title="CRR",
    citation="CRR Article 1",
    heading_path=["Part One"],
    structure="articles",
    references=[],
    page_start=1,
    page_end=2,
    char_start=0,
    char_end=9,
    has_formula=False,
    suspect_instruction=False,
    text="Article 1",
    token_count=3,
)


class Project:
    """A warehouse of a test, and `export` into its folder."""

    def __init__(self, root: Path, tokenizer: Path | None = None) -> None:
        self.root, self.tokenizer = root, tokenizer
        self.config = Config.model_validate(
            {"generate": {"method": "rules"}, "engine": {"warehouse": str(root / "lakehouse")}}
        )
        self.lakehouse = EmbeddedLakehouse(root / "lakehouse", "main", "euroreg")
        self.readings = 0

    def put(self, table: Table[Any], *records: Any) -> None:
        self.lakehouse.append(table, table.batches(records))

    def reading(self) -> Reading:
        """Cuts the leases of the tests into a few windows each."""
        self.readings += 1
        assert self.tokenizer
        return Reading(LEASE, instruction(LEASE), TokenCounter(self.tokenizer).offsets, 120, 30)

    def export(self, table: str, file: str, force: bool = False, **selection: Any) -> Export:
        return export(
            self.config,
            self.lakehouse,
            table,
            self.root / file,
            Selection(**selection),
            self.reading,
            Silent(),
            force,
        )

    def read(self, file: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / file).read_bytes().decode().split("\n")[:-1]]

    def provenance(self, file: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root / f"{file}.provenance.json").read_text(encoding="utf-8"))
        return told


@pytest.fixture
def project(tmp_path: Path, tokenizer_file: Path) -> Project:
    made = Project(tmp_path, tokenizer_file)
    made.put(QA_DATASET, *ROWS)
    return made


def turns(row: QaRow) -> list[dict[str, str]]:
    said = chat_format.messages(row.context, row.question or "", row.answer or "")
    return [{"role": each.role, "content": each.content} for each in said]


# --- what stands in a file -------------------------------------------------------------------------------------------


def test_questions_are_written_as_messages_without_those_that_may_not_train(project: Project) -> None:
    made = project.export("qa_dataset", "train.jsonl")
    assert [row["messages"] for row in project.read("train.jsonl")] == [turns(row) for row in TRAINABLE]
    assert (made.form, made.split, made.rows, made.read) == ("messages", "train", 6, 10)
    assert made.left_out == {"retired": 1, "outputs_may_not_train": 1, "validation": 2}
    assert not made.warnings
    assert made.lines() == [
        f"wrote {made.file}: 6 rows as messages, train, from qa_dataset version 0",
        "left out: 2 validation, 1 retired, 1 outputs_may_not_train",
        f"provenance: {made.file}.provenance.json",
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("prompt-completion", lambda said: {"prompt": said[:2], "completion": said[2:]}),
        (
            "alpaca",
            lambda said: dict(zip(("instruction", "input", "output"), (each["content"] for each in said), strict=True)),
        ),
        (
            "sharegpt",
            lambda said: {
                "conversations": [
                    {"from": who, "value": each["content"]}
                    for who, each in zip(("system", "human", "gpt"), said, strict=True)
                ]
            },
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_each_form_holds_every_word(project: Project, form: str, expected: Any, suffix: str) -> None:
    project.export("qa_dataset", f"rows{suffix}", form=form)
    file = project.root / f"rows{suffix}"
    found = project.read(file.name) if suffix == ".jsonl" else pq.read_table(file).to_pylist()
    assert found == [expected(turns(row)) for row in TRAINABLE]


def test_columns_stand_beside_a_conversation_so_that_each_row_can_be_traced(project: Project) -> None:
    project.export("qa_dataset", "rows.jsonl", form="messages", columns=["row_id", "citation", "row_id"])
    rows = project.read("rows.jsonl")
    assert list(rows[0]) == ["messages", "row_id", "citation"]
    assert [row["row_id"] for row in rows] == [row.row_id for row in TRAINABLE]


def test_columns_alone_are_the_tables_own_in_the_order_they_are_named(project: Project) -> None:
    project.export("qa_dataset", "rows.jsonl", columns=["question", "row_id"], where=["kind=definition"])
    rows = project.read("rows.jsonl")
    assert list(rows[0]) == ["question", "row_id"]
    assert [row["row_id"] for row in rows] == [row.row_id for row in ROWS if row.kind == "definition"]


def test_what_reviewers_said_is_obeyed_as_finetune_does(project: Project) -> None:
    def review(number: int, verdict: str, answer: str | None = None) -> Review:
        return Review(
            row_id=f"row-{number:04}",
            reviewer="ada",
            verdict=verdict,
            edited_question="What is asked of row 7 now?" if number == 7 else None,
            edited_answer=answer,
            comment=None,
            reviewed_at=LONG_AGO,
        )

    project.put(
        QA_REVIEWS, review(1, "rejected"), review(2, "edited", "Two."), review(6, "rejected"), review(7, "edited")
    )
    project.put(QA_DATASET_TRAIN, ChatExport(messages=chat_format.messages("c", "q", "a")))
    with pytest.raises(ConfigError, match="2 rows of qa_dataset_train were rejected or edited"):
        project.export("qa_dataset_train", "copy.jsonl", include_not_trainable=True)
    made = project.export("qa_dataset", "train.jsonl")
    assert made.left_out["rejected_in_review"] == 1
    rows = project.read("train.jsonl")
    assert made.rows == len(rows) == len(TRAINABLE) - 1
    answers = {row["messages"][-1]["content"] for row in rows}
    assert "Two. [CRR Article 2]" in answers
    assert answers.isdisjoint({ROWS[0].answer, ROWS[1].answer})
    assert project.provenance("train.jsonl")["reviews"] == {"table": "qa_reviews", "version": 0}

    project.export("qa_dataset", "val.jsonl", split="validation")
    (measured,) = project.read("val.jsonl")
    assert measured["messages"][1]["content"].endswith("What is asked of row 7 now?")

    assert project.export("qa_dataset", "rows.jsonl", form="rows").rows == len(ROWS) - 1, "as they stand"
    assert project.provenance("rows.jsonl")["reviews"] is None

    project.config = project.config.model_copy(
        update={"finetune": project.config.finetune.model_copy(update={"require_review": True})}
    )
    required = project.export("qa_dataset", "reviewed.jsonl")
    assert (required.rows, required.left_out["not_reviewed"]) == (1, len(TRAINABLE) - 2)


def test_a_plain_export_holds_both_sides_and_all_but_what_is_retired(project: Project) -> None:
    standing = [row for row in ROWS if row.retired_at is None]
    made = project.export("qa_dataset", "rows.jsonl", form="rows")
    assert project.read("rows.jsonl") == [dataclasses.asdict(row) for row in standing]
    assert made.left_out == {"retired": 1}
    project.export("qa_dataset", "all.jsonl", form="rows", include_retired=True)
    retired = next(row for row in project.read("all.jsonl") if row["row_id"] == "row-0008")
    assert datetime.fromisoformat(retired["retired_at"]) == LONG_AGO


def test_validation_rows_come_only_when_asked_for_and_with_a_warning(project: Project) -> None:
    made = project.export("qa_dataset", "val.jsonl", split="validation")
    assert [row["messages"] for row in project.read("val.jsonl")] == [turns(row) for row in ROWS[5:7]]
    assert ["measure" in line for line in made.warnings] == [True]


def test_rows_that_must_not_train_come_only_when_asked_for_and_are_counted(project: Project) -> None:
    made = project.export("qa_dataset", "rows.jsonl", include_not_trainable=True)
    assert made.rows == len(TRAINABLE) + 1
    assert made.warnings[0].startswith("1 rows")
    assert project.provenance("rows.jsonl")["not_trainable"] == 1


def test_an_unknown_permission_is_none(project: Project) -> None:
    batch = pa.RecordBatch.from_pylist(
        [dataclasses.asdict(qa_row(11)) | {"outputs_may_train": None}], schema=QA_DATASET.schema
    )
    project.lakehouse.append(QA_DATASET, [batch])
    assert project.export("qa_dataset", "rows.jsonl").left_out["outputs_may_not_train"] == 2


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["kind=threshold"], {2, 4, 10}),
        (["citation=CRR Article 1", "citation=CRR Article 3"], {1, 3}),
        (["sample=4", "sample=5"], {4, 5}),
        (["model=null"], {10}),
        (["kind=threshold", "method=rules"], {10}),
    ],
)
def test_conditions_choose_rows(project: Project, where: list[str], expected: set[int]) -> None:
    project.export("qa_dataset", "rows.jsonl", form="messages", columns=["sample"], where=where)
    assert {row["sample"] for row in project.read("rows.jsonl")} == expected


def test_an_older_version_can_be_written_again(project: Project) -> None:
    project.put(QA_DATASET, qa_row(12))
    now, before = project.export("qa_dataset", "now.jsonl"), project.export("qa_dataset", "before.jsonl", version=0)
    assert (now.version, now.rows) == (1, 7)
    assert (before.version, before.rows) == (0, 6)
    assert project.export("qa_dataset", "again.jsonl", version=1).sha256 == now.sha256
    with pytest.raises(WarehouseError, match="no version 7"):
        project.export("qa_dataset", "later.jsonl", version=7)


# --- other tables ----------------------------------------------------------------------------------------------------


def test_rows_of_a_trainer_are_conversations_already(project: Project) -> None:
    said = [TrainingRow(messages=chat_format.messages("c", "q", "a"), row_id="1", group_key="g")]
    project.put(FT_TRAINING, *said)
    project.export("ft_training", "ft.jsonl", form="prompt-completion", columns=["row_id"])
    (row,) = project.read("ft.jsonl")
    assert row["completion"] == [{"role": "assistant", "content": "a"}]
    assert row["row_id"] == "1"


def test_the_plain_copies_are_refused_while_some_of_their_rows_must_not_train(project: Project) -> None:
    project.put(QA_DATASET_TRAIN, ChatExport(messages=chat_format.messages("c", "q", "a")))
    project.put(QA_DATASET_VAL, ChatExport(messages=chat_format.messages("c", "q", "a")))
    with pytest.raises(ConfigError, match="1 rows of qa_dataset_train must not train") as refused:
        project.export("qa_dataset_train", "train.jsonl")
    assert "export qa_dataset --split train" in refused.value.remedy
    assert project.export("qa_dataset_train", "train.jsonl", include_not_trainable=True).rows == 1
    with pytest.raises(ConfigError) as refused:
        project.export("qa_dataset_val", "val.jsonl")
    assert "--split validation" in refused.value.remedy
    assert project.export("qa_dataset_val", "val.jsonl", split="validation").rows == 1


def test_labelled_documents_become_the_windows_that_finetune_trains_on(project: Project) -> None:
    real, held_out = labelled(2)
    project.put(LEASE_DOCS_TRAIN, real)
    project.put(LEASE_DOCS_HOLDOUT, held_out)
    project.put(LEASE_DOCS_TRAIN_SYNTH, *(_child(parent.lease_id) for parent in (real, held_out)))
    made = project.export("lease_docs_train", "leases.jsonl", columns=["lease_id"], form="messages")
    rows = project.read("leases.jsonl")
    expected = list(project.reading().training_rows(real.lease_id, "", real.lease_doc, LEASE.loads(real.labels)))
    assert [row["messages"][-1]["content"] for row in rows] == [each.messages[-1].content for each in expected]
    assert {row["lease_id"] for row in rows} == {real.lease_id}
    assert (made.read, made.rows) == (1, len(expected))
    assert made.rows > 1

    project.export("lease_docs_train", "alpaca.csv", form="alpaca")
    assert pd.read_csv(project.root / "alpaca.csv").notna()["instruction"].all()
    # A child of a document that is measured on would show what is measured on.
    assert project.export("lease_docs_train_synth", "synth.jsonl").left_out == {"orphans": 1}
    with pytest.raises(ConfigError, match="validation side"):
        project.export("lease_docs_holdout", "holdout.jsonl")


def _child(parent_lease_id: str) -> SyntheticLease:
    made = labelled(3)[2]
    return SyntheticLease(
        lease_id=f"child-of-{parent_lease_id}",
        parent_lease_id=parent_lease_id,
        round=1,
        lease_doc=made.lease_doc,
        labels=made.labels,
        outputs_may_train=True,
    )


def test_documents_as_they_stand_need_no_tokenizer(project: Project) -> None:
    project.put(LEASE_DOCS_TRAIN, *labelled(1))
    project.export("lease_docs_train", "leases.csv")
    assert list(pd.read_csv(project.root / "leases.csv")) == ["lease_id", "lease_doc", "labels"]
    assert project.readings == 0


# --- read back by other tools ----------------------------------------------------------------------------------------


@pytest.fixture
def run() -> FinetuneRun:
    return FinetuneRun(
        run_id="run-1",
        sweep_id="sweep-1",
        task="regulation_qa",
        round=0,
        trainer="local",
        base_model="tiny",
        method="lora",
        learning_rate=1e-3,
        epochs=1.0,
        state="finished",
        metrics={"eval_loss": float("nan"), "token_accuracy": 0.5},
        selected=True,
        model_uri=None,
        model_version=None,
        training_table="ft_training",
        training_version=3,
    )


def test_parquet_is_the_table_itself(project: Project, run: FinetuneRun) -> None:
    project.put(FINETUNE_RUNS, run)
    project.export("finetune_runs", "runs.parquet")
    (found,) = FINETUNE_RUNS.records(pq.read_table(project.root / "runs.parquet").to_batches())
    assert repr(found) == repr(run)  # NaN equals nothing, not even itself

    project.export("qa_dataset", "rows.parquet", form="rows", include_retired=True)
    read = pq.read_table(project.root / "rows.parquet")
    assert read.schema.equals(QA_DATASET.schema)
    assert list(QA_DATASET.records(read.to_batches())) == ROWS


def test_json_lines_hold_what_is_no_number_as_null(project: Project, run: FinetuneRun) -> None:
    project.put(FINETUNE_RUNS, run)
    project.export("finetune_runs", "runs.jsonl")
    (row,) = project.read("runs.jsonl")
    assert row == dataclasses.asdict(run) | {"metrics": {"eval_loss": None, "token_accuracy": 0.5}}


def test_csv_tells_an_empty_text_from_null_and_keeps_lines_in_a_text(project: Project) -> None:
    project.export("qa_dataset", "rows.csv")
    file = project.root / "rows.csv"
    expected = [row for row in ROWS if row.retired_at is None]
    options = pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    read = pa.csv.read_csv(
        file, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=options
    ).to_pylist()
    assert [row["answer"] for row in read] == [row.answer for row in expected]
    assert [row["reasoning"] for row in read] == [row.reasoning for row in expected]
    assert [json.loads(row["chunk_ids"]) for row in read] == [row.chunk_ids for row in expected]
    frame = pd.read_csv(file)
    assert frame["context"].tolist() == [row.context for row in expected]
    assert frame["outputs_may_train"].tolist() == [row.outputs_may_train for row in expected]


def test_pandas_reads_json_lines(project: Project) -> None:
    project.export("qa_dataset", "train.jsonl")
    frame = pd.read_json(project.root / "train.jsonl", lines=True)
    assert frame["messages"].tolist() == [turns(row) for row in TRAINABLE]


LOADED = """
import json, sys
from datasets import load_dataset

form, folder = sys.argv[1:]
read = load_dataset("json", data_files={"train": f"{folder}/rows.jsonl"}, cache_dir=f"{folder}/cache")["train"]
print(json.dumps([dict(row) for row in read]))
"""


@pytest.mark.parametrize("form", ["rows", "messages", "prompt-completion", "alpaca", "sharegpt"])
@pytest.mark.slow
def test_datasets_reads_json_lines_as_they_stand(project: Project, form: str) -> None:
    pytest.importorskip("datasets", reason="needs the extra 'train'")
    project.export("qa_dataset", "rows.jsonl", form=form)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, form, str(project.root)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == project.read("rows.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["messages", "prompt-completion"])
@pytest.mark.parametrize("beside", [[], ["row_id", "citation"]])
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # about names that it still uses itself
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries under TRL
@pytest.mark.filterwarnings("ignore::UserWarning:torch.utils.data")  # pinned memory, where there is no GPU
def test_trl_trains_on_the_file(project: Project, form: str, beside: Sequence[str]) -> None:
    pytest.importorskip("trl", reason="needs the extra 'train'")
    from datasets import load_dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from finreg_cli.training import fetched
    from finreg_cli.training.gguf_export import dequantise

    folder = project.root
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "tiny")
    (folder / "tiny/tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    project.export("qa_dataset", "rows.jsonl", form=form, columns=beside)
    rows = load_dataset("json", data_files=str(folder / "rows.jsonl"), cache_dir=str(folder / "cache"), split="train")
    arguments = SFTConfig(
        output_dir=str(folder / "out"), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True
    )
    trainer = SFTTrainer(model=str(folder / "tiny"), train_dataset=rows, args=arguments)
    assert trainer.train().global_step == 2
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = [token for token in batch["labels"][0].tolist() if token != -100]
    text = trainer.processing_class.decode(learnt)
    assert TRAINABLE[0].citation.split()[0] in text
    # TRL takes the loss on the answer only where it is told what the answer is.
    assert (chat_format.SYSTEM.split(".")[0] in text) is (form == "messages")


# --- provenance ------------------------------------------------------------------------------------------------------


def test_the_provenance_says_where_the_rows_came_from(project: Project) -> None:
    project.put(SPLITTED_DOCUMENTS, CHUNK)
    project.put(QA_SPLIT, SplitSettings(seed=7, validation_fraction=0.1, run_id="run-9", recorded_at=LONG_AGO))
    made = project.export("qa_dataset", "train.jsonl", where=["answerable=true"])
    told = project.provenance("train.jsonl")
    data = (project.root / "train.jsonl").read_bytes()
    assert told["file"]["sha256"] == made.sha256 == hashlib.sha256(data).hexdigest()
    assert told["file"]["bytes"] == len(data)
    assert told["file"]["rows"] == data.count(b"\n") == 6
    assert told["read"] == told["file"]["rows"] + sum(told["left_out"].values())
    assert told["table"]["name"] == "main.euroreg.qa_dataset"
    assert told["table"]["version"] == 0
    assert told["selection"]["where"] == ["answerable=true"]
    assert told["selection"]["split"] == "train"
    assert told["split"] == {"seed": 7, "validation_fraction": 0.1, "run_id": "run-9"}
    assert Counter({each["method"]: each["rows"] for each in told["made_by"]}) == {"llm": 5, "rules": 1}
    assert told["documents"] == [
        {
            "document_id": "document-1",
            "work_id": "32013R0575",
            "version_date": "2024-07-09",
            "path": "docs/crr.pdf",
            "file_sha256": "ab" * 32,
            "rows": 6,
        }
    ]


def test_a_document_that_is_gone_is_still_named(project: Project) -> None:
    project.export("qa_dataset", "train.jsonl")
    (document,) = project.provenance("train.jsonl")["documents"]
    assert (document["document_id"], document["path"], document["rows"]) == ("document-1", None, 6)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "file", "selection", "says", "remedy"),
    [
        ("qa_datset", "f.jsonl", {}, "no table 'qa_datset'", "did you mean qa_dataset? there are: qa_dataset"),
        ("qa_rejected", "f.jsonl", {}, "qa_rejected was not written yet", "there are: qa_dataset"),
        ("qa_dataset", "f.json", {}, "f.json", ".jsonl"),
        ("qa_dataset", "-", {}, "suffix", ".jsonl, .parquet, .csv"),
        ("qa_dataset", "no/f.csv", {}, "no folder", "mkdir -p"),
        ("qa_dataset", "f.csv", {"form": "messages"}, "CSV", "alpaca"),
        ("qa_dataset", "f.jsonl", {"form": "chatml"}, "'chatml'", "sharegpt"),
        ("qa_dataset", "f.jsonl", {"form": "messages", "include_retired": True}, "retired", "--format rows"),
        ("qa_dataset", "f.jsonl", {"columns": ["anwser"]}, "'anwser'", "did you mean answer?"),
        ("qa_dataset", "f.jsonl", {"form": "alpaca", "columns": ["answer", "output"]}, "'output'", "known:"),
        ("qa_dataset", "f.jsonl", {"where": ["kind"]}, "'kind'", "COLUMN=VALUE"),
        ("qa_dataset", "f.jsonl", {"where": ["knd=x"]}, "'knd'", "did you mean kind?"),
        ("qa_dataset", "f.jsonl", {"where": ["sample=two"]}, "'two'", "a whole number"),
        ("qa_dataset", "f.jsonl", {"where": ["answerable=yes"]}, "'yes'", "true, false"),
        ("qa_dataset", "f.jsonl", {"where": ["retired_at=2025"]}, "'2025'", "only null"),
        ("qa_dataset", "f.jsonl", {"where": ["model=null", "model=writer"]}, "model more than once", "null"),
        ("qa_dataset", "f.jsonl", {"where": ["kind=nothing"]}, "no row is left", "--where"),
    ],
)
def test_a_mistake_is_refused_with_what_would_be_right(
    project: Project, table: str, file: str, selection: dict[str, Any], says: str, remedy: str
) -> None:
    with pytest.raises((ConfigError, NothingToDo)) as refused:
        project.export(table, file, **selection)
    assert says in refused.value.message
    assert remedy in refused.value.remedy
    assert {path.name for path in project.root.iterdir()} == {"lakehouse"}


def test_tables_without_conversations_or_sides_say_so(project: Project) -> None:
    project.put(SPLITTED_DOCUMENTS, CHUNK)
    with pytest.raises(ConfigError, match="nothing to train on"):
        project.export("splitted_documents", "f.jsonl", form="messages")
    with pytest.raises(ConfigError, match="have no side"):
        project.export("splitted_documents", "f.jsonl", split="train")
    project.put(FT_TRAINING, TrainingRow(messages=chat_format.messages("", "q", "a"), row_id="1", group_key="g"))
    with pytest.raises(ConfigError, match="messages has already"):
        project.export("ft_training", "f.jsonl", form="messages", columns=["messages"])


def test_an_empty_warehouse_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo) as refused:
        Project(tmp_path).export("qa_dataset", "f.jsonl")
    assert "finreg generate" in refused.value.remedy


def test_a_file_is_replaced_only_by_force_and_whole(project: Project) -> None:
    project.export("qa_dataset", "rows.jsonl")
    before = (project.root / "rows.jsonl").read_bytes()
    with pytest.raises(ConfigError) as refused:
        project.export("qa_dataset", "rows.jsonl", form="alpaca")
    assert "--force" in refused.value.remedy
    with pytest.raises(NothingToDo):
        project.export("qa_dataset", "rows.jsonl", force=True, where=["kind=nothing"])
    assert (project.root / "rows.jsonl").read_bytes() == before
    assert project.provenance("rows.jsonl")["file"]["format"] == "messages"
    project.export("qa_dataset", "rows.jsonl", force=True, form="alpaca")
    assert project.provenance("rows.jsonl")["file"]["format"] == "alpaca"
    assert {path.name for path in project.root.iterdir()} == {"lakehouse", "rows.jsonl", "rows.jsonl.provenance.json"}


def test_what_is_no_file_is_never_replaced(project: Project) -> None:
    (project.root / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match="is no file"):
        project.export("qa_dataset", "folder.jsonl", force=True)


def test_a_link_stays_a_link(project: Project) -> None:
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    (project.root / "rows.jsonl").symlink_to(elsewhere / "rows.jsonl")
    made = project.export("qa_dataset", "rows.jsonl")
    assert (project.root / "rows.jsonl").is_symlink()
    assert Path(made.provenance).parent == elsewhere
    assert Path(made.provenance).is_file()
    assert len((elsewhere / "rows.jsonl").read_text().splitlines()) >= 6


FULL = """
import resource, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_export import Project

project = Project(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # as on a full disk, from the 3,000th byte on
for suffix in ("jsonl", "parquet", "csv"):
    try:
        project.export("qa_dataset", f"rows.{suffix}", form="rows")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(project: Project) -> None:
    project.put(
        QA_DATASET, *(qa_row(number, context=hashlib.sha512(b"%d" % number).hexdigest()) for number in range(20, 90))
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(project.root), str(here), str(here.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["StageFailed"] * 3, done.stdout
    assert all("cannot write" in line and "too large" in line for line in lines)
    assert {path.name for path in project.root.iterdir()} == {"lakehouse"}


def test_a_folder_without_rights_is_an_error(project: Project) -> None:
    locked = project.root / "locked"
    locked.mkdir(mode=0o500)
    try:
        (locked / "probe").touch()
    except PermissionError:
        pass
    else:
        pytest.skip("this user may write everywhere")
    with pytest.raises(StageFailed, match="Permission denied"):
        project.export("qa_dataset", "locked/rows.jsonl")


class Interrupted(Silent):
    """Ctrl-C at the first batch."""

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
        def advance(steps: int) -> None:
            raise KeyboardInterrupt

        yield advance


def test_an_interrupt_leaves_nothing(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        export(
            project.config,
            project.lakehouse,
            "qa_dataset",
            project.root / "rows.jsonl",
            Selection(),
            project.reading,
            Interrupted(),
        )
    assert {path.name for path in project.root.iterdir()} == {"lakehouse"}


def test_a_name_that_the_system_refuses_is_an_error(project: Project) -> None:
    with pytest.raises(StageFailed, match="too long"):
        project.export("qa_dataset", f"{'x' * 300}.jsonl")


MEMORY = """
import resource, sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from test_export import Project

project = Project(Path(sys.argv[1]))
project.export("qa_dataset", "warm.jsonl", where=["row_id=row-0001"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = project.export("qa_dataset", f"rows.{sys.argv[2]}", form=None if sys.argv[2] == "jsonl" else "rows")
print(made.rows, made.bytes // 2**20, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 2**10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, suffix: str) -> None:
    project = Project(tmp_path)
    text = HARD * 50
    for start in range(0, 60_000, 20_000):
        rows = (
            qa_row(number, context=f"{number}{text}{number * 7919 % 9973}") for number in range(start, start + 20_000)
        )
        project.lakehouse.append(QA_DATASET, QA_DATASET.batches(rows))
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), suffix, str(here), str(here.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, written_mb, grown_mb = map(int, done.stdout.split())
    assert rows == 60_000
    if suffix != "parquet":
        assert written_mb > 180
    assert grown_mb < 120

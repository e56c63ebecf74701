"""The sweep on real tables, a real cache and a real MLflow store.

Where the real trainer and model would be too slow, code stands in that trains and answers in the same places: it
leaves the same files, and reads the document that it is asked about.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fakes import leases, tiny_llama
from finreg_cli.config import Config
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.extraction import LEASE
from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import (
    FINETUNE_LOSSES,
    FINETUNE_RUNS,
    FT_EVAL,
    FT_TRAINING,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    QA_DATASET,
    FinetuneRun,
    LabelledLease,
    Message,
    QaRow,
    RowLoss,
    SyntheticLease,
    Table,
)
from finreg_cli.domain.splits import sampling_key
from finreg_cli.errors import NothingToDo, TrainingFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.base import Answerer
from finreg_cli.llm.cache import RequestCache
from finreg_cli.reports.base import WriteSweepReport
from finreg_cli.reports.html import HtmlReports
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.finetune import finetune
from finreg_cli.stages.training_questions import QuestionTraining
from finreg_cli.stages.training_tasks import ExtractionTraining, TrainingTask
from finreg_cli.tasks.structured_extraction import reading
from finreg_cli.tracking.mlflow_tracker import MlflowTracker
from finreg_cli.training import fetched
from finreg_cli.training.answerer import answerer_for
from finreg_cli.training.base import TrainingJob, TrainingResult
from finreg_cli.training.gguf_export import dequantise
from finreg_cli.training.local import LocalTrainer

REAL = 20
LEASES = {seed: leases.labelled(REAL, seed) for seed in range(3)}
"""The real leases, and what their children are made of in rounds 1 and 2."""

Skill = Callable[[FinetuneRun, int], int]
"""How many keys a model finds in the document of that number."""


class Notes:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
        yield lambda steps: None

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None: ...


@dataclass(frozen=True)
class QuickResult(TrainingResult):
    """Its row losses are its eval loss, for each training row at each of two steps."""

    rows: Path

    def losses(self) -> Iterator[tuple[int, str, float]]:
        table = pq.read_table(self.rows, columns=["row_id", "split"]).to_pylist()
        for step in (1, 2):
            yield from ((step, row["row_id"], self.metrics["eval_loss"]) for row in table if row["split"] == "train")


class QuickTrainer:
    """Leaves what the training script leaves. A higher learning rate and a longer duration lower the loss.

    Args:
        fails_at: the learning rate that it cannot train with.
        dies_at: the learning rate at which its whole process is killed.
        changes: what it reports else.
    """

    def __init__(
        self, fails_at: float | None = None, dies_at: float | None = None, changes: Mapping[str, float] | None = None
    ) -> None:
        self.trained: list[TrainingJob] = []
        self._fails_at, self._dies_at, self._changes = fails_at, dies_at, changes or {}

    def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
        kept = job.output / "result.json"
        if not kept.exists():
            self._train(job)
        return QuickResult(job.output, json.loads(kept.read_text())["metrics"] | self._changes, job.rows)

    def _train(self, job: TrainingJob) -> None:
        rate = job.params["learning_rate"]
        if rate == self._fails_at:
            raise TrainingFailed(f"the loss of {job.run_id} is no number", "lower finetune.learning_rates")
        if rate == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.trained.append(job)
        splits = pq.read_table(job.rows, columns=["split"]).column("split").to_pylist()
        amount = float(re.sub(r"\D", "", job.params["duration"]))
        loss = 1 / (1 + 1000 * rate * amount)
        metrics = {"eval_loss": loss, "token_accuracy": 1 - loss, "train_tokens": 100.0}
        metrics |= {"epochs": amount if job.params["duration"].endswith("ep") else 0.5}
        metrics |= {"rows": splits.count("train"), "eval_rows": splits.count("eval")}
        (job.output / "metrics.jsonl").write_text(json.dumps({"step": 1, "name": "train_loss", "value": loss}) + "\n")
        (job.output / "result.json").write_text(json.dumps({"metrics": metrics}))


class Reader:
    """Finds as many keys of a document as its skill is, and says nothing of the others."""

    def __init__(self, run: FinetuneRun, skill: Skill, schema_too: bool, dies_after: int | None) -> None:
        self.asked: list[str] = []
        self.held: list[bool] = []
        self.closed = False
        self.holds_to_schema = schema_too
        self._run, self._skill, self._dies_after = run, skill, dies_after

    @property
    def identity(self) -> str:
        return f"weights of {self._run.run_id}"

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        for messages in prompts:
            if len(self.asked) == self._dies_after:
                raise KeyboardInterrupt
            self.asked.append(messages[-1].content)
            self.held.append(schema is not None)
            yield self._answer(messages[-1].content)

    def _answer(self, prompt: str) -> str:
        number = next((nth for nth, each in enumerate(LEASES[0]) if each.lease_doc in prompt), None)
        if number is None:  # a window: it knows whole documents only
            return LEASE.dumps({})
        found = self._skill(self._run, number)
        if found < 0:
            return "I'd rather not say."
        labels = LEASE.loads(LEASES[0][number].labels)
        return LEASE.dumps({key: value if nth < found else None for nth, (key, value) in enumerate(labels.items())})

    def close(self) -> None:
        self.closed = True


class Answers:
    """Answers so many questions as the reference has them, and the others wrongly."""

    holds_to_schema = True

    def __init__(self, run: FinetuneRun, right: Callable[[FinetuneRun], int], dies_after: int | None) -> None:
        self.asked: list[str] = []
        self._run, self._right, self._dies_after = run, right, dies_after

    @property
    def identity(self) -> str:
        return f"weights of {self._run.run_id}"

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        assert schema is None
        for messages in prompts:
            if len(self.asked) == self._dies_after:
                raise KeyboardInterrupt
            number = len(self.asked)
            self.asked.append(messages[-1].content)
            article = re.search(r"Article (\d+)", messages[-1].content)
            assert article is not None
            yield f"{article[1]} % [CRR Article {article[1]}]" if number < self._right(self._run) else "no ratio"

    def close(self) -> None: ...


class WatchedLakehouse(EmbeddedLakehouse):
    """Remembers which tables were read or counted."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.touched: set[str] = set()

    def read(self, table: Table[Any], *arguments: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        self.touched.add(table.name)
        return super().read(table, *arguments, **named)

    def count(self, table: Table[Any], *arguments: Any, **named: Any) -> int:
        self.touched.add(table.name)
        return super().count(table, *arguments, **named)


@dataclass
class Bench:
    """Everything that the stage takes, over one folder."""

    folder: Path
    uri: str
    experiment: str
    tokenizer: Path
    lakehouse: WatchedLakehouse
    trainer: QuickTrainer = field(default_factory=QuickTrainer)
    readers: list[Reader] = field(default_factory=list)
    answering: list[Answers] = field(default_factory=list)
    progress: Notes = field(default_factory=Notes)

    def config(self, task: str = "structured_extraction", **sections: dict[str, Any]) -> Config:
        raw: dict[str, Any] = {
            "task": task,
            "engine": {"warehouse": str(self.folder)},
            "ingest": {"tokenizer": str(self.tokenizer)},
            "generate": {"method": "rules", **sections.pop("generate", {})},
            "finetune": {"eval_fraction": 0.4, **sections.pop("finetune", {})},
        }
        return Config.model_validate(raw | sections)

    def extraction(
        self,
        run_id: str = "x1",
        *,
        rounds: Sequence[int] | None = None,
        skill: Skill = lambda run, number: 10,
        schema_too: bool = True,
        dies_after: int | None = None,
        dry_run: bool = False,
        **sections: dict[str, Any],
    ) -> StageResult:
        config = self.config(**sections)
        cache = RequestCache(config.state / "requests.sqlite")

        def open_answerer(model: str, run: FinetuneRun | None) -> Reader:
            assert model == "tuned"
            assert run is not None
            self.readers.append(Reader(run, skill, schema_too, dies_after))
            return self.readers[-1]

        counter = TokenCounter(self.tokenizer)
        task = ExtractionTraining(
            config, self.lakehouse, reading(config, counter.offsets), open_answerer, cache, self.progress
        )
        try:
            return self.run(config, task, run_id, rounds, dry_run)
        finally:
            cache.close()

    def for_real(self, run_id: str, base: Path, **changed: Any) -> StageResult:
        """With the training script in its own process, and the trained model in its runtime."""
        config = self.config(
            extraction={"instruction": "Extract."},
            generate={"rounds": 1},
            finetune={
                "base_model": str(base),
                "learning_rates": [1e-2, 1e-3],
                "context_length": tiny_llama.CONTEXT,
                "eval_fraction": 0.2,
                **changed,
            },
            evaluate={"max_new_tokens": 32},
        )
        cache = RequestCache(config.state / "requests.sqlite")
        counter = TokenCounter(self.tokenizer)

        def open_answerer(model: str, run: FinetuneRun | None) -> Answerer:
            assert run is not None
            return answerer_for(run.model_uri or "")

        task = ExtractionTraining(
            config, self.lakehouse, reading(config, counter.offsets), open_answerer, cache, self.progress
        )
        try:
            run = Run(run_id, config, self.progress)
            return finetune(run, self.lakehouse, LocalTrainer(), self.tracker, task, write_report=self.write_report)
        finally:
            cache.close()

    def questions(
        self,
        run_id: str = "x1",
        *,
        right: Callable[[FinetuneRun], int] = lambda run: 99,
        dies_after: int | None = None,
        dry_run: bool = False,
        **sections: dict[str, Any],
    ) -> StageResult:
        config = self.config("regulation_qa", **sections)
        cache = RequestCache(config.state / "requests.sqlite")

        def open_answerer(model: str, run: FinetuneRun | None) -> Answers:
            assert model == "tuned"
            assert run is not None
            self.answering.append(Answers(run, right, dies_after))
            return self.answering[-1]

        task = QuestionTraining(config, self.lakehouse, open_answerer, cache, self.progress)
        try:
            return self.run(config, task, run_id, None, dry_run)
        finally:
            cache.close()

    def run(
        self, config: Config, task: TrainingTask, run_id: str, rounds: Sequence[int] | None, dry_run: bool
    ) -> StageResult:
        run = Run(run_id, config, self.progress, dry_run)
        return finetune(run, self.lakehouse, self.trainer, self.tracker, task, rounds, write_report=self.write_report)

    @property
    def write_report(self) -> WriteSweepReport:
        return HtmlReports(self.folder / "_finreg/reports").write_sweep

    @cached_property
    def tracker(self) -> MlflowTracker:
        return MlflowTracker(self.uri, self.experiment, self.folder / "mlartifacts")

    def only_row(self, lease: SyntheticLease) -> str:
        """The id of the one training row that a short lease makes."""
        read = reading(self.config(), TokenCounter(self.tokenizer).offsets)
        labels = LEASE.loads(lease.labels)
        (row,) = read.training_rows(lease.lease_id, lease.parent_lease_id, lease.lease_doc, labels)
        return row.row_id

    @property
    def client(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MLflow's dependencies deprecate of each other
            import mlflow

            return mlflow.MlflowClient(tracking_uri=self.uri)

    @property
    def tracked(self) -> list[Any]:
        """What MLflow has of this test's experiment."""
        experiment = self.client.get_experiment_by_name(self.experiment)
        return list(self.client.search_runs([experiment.experiment_id]))

    @property
    def runs(self) -> list[FinetuneRun]:
        return sorted(FINETUNE_RUNS.records(self.lakehouse.read(FINETUNE_RUNS)), key=lambda each: each.run_id)

    def groups(self, table: Table[Any], version: int | None = None) -> set[str]:
        return {each.group_key for each in table.records(self.lakehouse.read(table, version=version))}

    def texts(self, table: Table[Any]) -> list[str]:
        return [each.messages[0].content for each in table.records(self.lakehouse.read(table))]


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def empty(tmp_path: Path, mlflow_uri: str, tokenizer_file: Path, request: pytest.FixtureRequest) -> Bench:
    lakehouse = WatchedLakehouse(tmp_path, "main", "euroreg")
    return Bench(tmp_path, mlflow_uri, request.node.name, tokenizer_file, lakehouse)


@pytest.fixture
def bench(empty: Bench) -> Bench:
    """Twenty real leases, with a child each in rounds 1 and 2."""
    real = LEASES[0]
    empty.lakehouse.overwrite(LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN.batches(real))
    children = [child(parent, round_) for round_ in (1, 2) for parent in real]
    empty.lakehouse.append(LEASE_DOCS_TRAIN_SYNTH, LEASE_DOCS_TRAIN_SYNTH.batches(children))
    return empty


def child(parent: LabelledLease, round_: int, **changed: Any) -> SyntheticLease:
    """Another lease, said to be made of the parent."""
    other = LEASES[round_][int(parent.lease_id.rpartition("-")[2])]
    made = SyntheticLease(
        lease_id=f"{parent.lease_id}/{round_}",
        parent_lease_id=parent.lease_id,
        round=round_,
        lease_doc=other.lease_doc,
        labels=other.labels,
        outputs_may_train=True,
    )
    return replace(made, **changed)


# --- rows and families -----------------------------------------------------------------------------------------------


def test_round_k_trains_on_the_real_leases_and_their_children_of_rounds_1_to_k(bench: Bench) -> None:
    result = bench.extraction(generate={"rounds": 2})
    rounds = result.counts["rounds"]
    assert [rounds[each]["rows"] for each in "012"] == [REAL, 2 * REAL, 3 * REAL]
    assert [rounds[each]["eval_rows"] for each in "012"] == [8, 16, 24]
    assert [each.round for each in bench.runs] == [0, 1, 2]
    assert [each.run_id for each in bench.runs] == ["x1-r0-1", "x1-r1-1", "x1-r2-1"]
    assert all(each.selected for each in bench.runs)
    documents = [each.lease_doc for seed in range(3) for each in LEASES[seed]]
    texts = bench.texts(FT_TRAINING) + bench.texts(FT_EVAL)
    assert sorted(text.rpartition("\n\n")[2] for text in texts) == sorted(documents)


def test_a_child_is_never_on_the_other_side_than_its_parent_and_the_sides_are_those_of_every_round(
    bench: Bench,
) -> None:
    sides = []
    for round_ in range(3):
        bench.extraction(f"x{round_}", rounds=[round_], generate={"rounds": 2})
        sides.append((bench.groups(FT_TRAINING), bench.groups(FT_EVAL)))
    assert sides[0] == sides[1] == sides[2]
    training, held_back = sides[0]
    assert not training & held_back
    assert training | held_back == {each.lease_id for each in LEASES[0]}
    assert len(held_back) == 8
    for record in FT_EVAL.records(bench.lakehouse.read(FT_EVAL)):
        number = int(record.group_key.rpartition("-")[2])
        family = [LEASES[seed][number].lease_doc for seed in range(3)]
        assert any(record.messages[0].content.endswith(document) for document in family)


def test_a_long_document_becomes_windows_of_one_family(bench: Bench) -> None:
    whole = bench.extraction(rounds=[0]).counts["rounds"]["0"]["rows"]
    in_windows = {"window_tokens": 128, "window_overlap": 16}
    counts = bench.extraction("x2", rounds=[0], extraction=in_windows).counts["rounds"]["0"]
    assert counts["rows"] > 2 * whole
    assert not bench.groups(FT_TRAINING) & bench.groups(FT_EVAL)
    assert len(bench.readers[1].asked) == counts["eval_rows"], "it is read as it was taught"


def test_orphans_and_what_may_not_train_are_left_out_and_counted(bench: Bench) -> None:
    parent = LEASES[0][0]
    others = [
        child(parent, 1, lease_id="orphan", parent_lease_id="gone"),
        child(parent, 1, lease_id="forbidden", outputs_may_train=False),
    ]
    bench.lakehouse.append(LEASE_DOCS_TRAIN_SYNTH, LEASE_DOCS_TRAIN_SYNTH.batches(others))
    counts = bench.extraction(rounds=[1]).counts["rounds"]["1"]
    assert counts["left_out"] == {"orphans": 1, "outputs_may_not_train": 1}
    assert counts["rows"] == 2 * REAL


def test_max_rows_samples_the_same_rows_at_every_run(bench: Bench) -> None:
    counts = bench.extraction(rounds=[1], finetune={"max_rows": 15}).counts["rounds"]["1"]
    assert (counts["rows"], counts["left_out"]) == (15, {"beyond_max_rows": 25})
    first = bench.texts(FT_TRAINING)
    assert bench.extraction("x2", rounds=[1], finetune={"max_rows": 15}).counts["rounds"]["1"] == counts
    assert bench.texts(FT_TRAINING) == first
    with pytest.raises(NothingToDo, match=r"finetune\.max_rows leaves is of a family for ft_"):
        bench.extraction("x3", rounds=[1], finetune={"max_rows": 2, "eval_fraction": 0.01})


def test_nothing_to_train_on_is_told_apart(empty: Bench) -> None:
    with pytest.raises(NothingToDo, match="0 labelled documents") as caught:
        empty.extraction()
    assert "finreg ingest" in caught.value.remedy
    empty.lakehouse.overwrite(LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN.batches(LEASES[0][:3]))
    with pytest.raises(NothingToDo, match=r"no synthetic documents of round 1 .*left out: none") as caught:
        empty.extraction(rounds=[1])
    assert "finreg generate" in caught.value.remedy


def test_a_round_without_documents_ends_the_rounds_that_could_be_trained_with_a_warning(bench: Bench) -> None:
    result = bench.extraction(generate={"rounds": 5})
    assert list(result.counts["rounds"]) == ["0", "1", "2"]
    (warning,) = result.warnings
    assert "no synthetic documents of round 3" in warning


def test_a_dry_run_plans_what_there_is_and_touches_nothing(bench: Bench) -> None:
    result = bench.extraction(
        dry_run=True, generate={"rounds": 3}, finetune={"learning_rates": [1e-3, 1e-4], "duration": ["1ep", "2ep"]}
    )
    assert result.counts["rounds"]["2"] == {"rows": 60, "left_out": {}, "runs": 4, "eval_units": 8}
    assert "round 3" in result.warnings[0]
    assert not bench.lakehouse.exists(FT_TRAINING)
    assert not (bench.folder / "_finreg/training").exists()
    assert (bench.trainer.trained, bench.readers) == ([], [])


def test_a_dry_run_before_anything_was_read_says_so(empty: Bench) -> None:
    result = empty.extraction(dry_run=True)
    assert result.counts == {"rounds": {}}
    assert "0 labelled documents" in result.warnings[0]


# --- the sweep and its metrics ---------------------------------------------------------------------------------------

SWEEP = {"learning_rates": [1e-3, 1e-4], "duration": ["1ep", "3ep"]}


def by_keys(run: FinetuneRun, number: int) -> int:
    """The lower learning rate finds more, against what the losses say."""
    return 5 if run.learning_rate == 1e-3 else 8


def test_every_member_of_the_sweep_is_measured_on_the_real_documents_of_ft_eval(bench: Bench) -> None:
    result = bench.extraction(rounds=[0], skill=by_keys, finetune=SWEEP)
    runs = {(each.learning_rate, each.epochs): each for each in bench.runs}
    assert set(runs) == {(1e-3, 1.0), (1e-3, 3.0), (1e-4, 1.0), (1e-4, 3.0)}
    assert {each.sweep_id for each in bench.runs} == {"x1"}
    for run in bench.runs:
        real = {LEASES[0][int(group.rpartition("-")[2])].labels for group in bench.groups(FT_EVAL)}
        labels = [LEASE.loads(each) for each in real]
        there = sum(value is not None for each in labels for value in each.values())
        found = sum(value is not None for each in labels for value in list(each.values())[: by_keys(run, 0)])
        expected = 2 * found / (found + there)  # nothing that it finds is wrong
        assert run.metrics["task_f1_strict"] == pytest.approx(expected)
        assert run.metrics["task_f1_published"] == pytest.approx(expected)
        assert (run.metrics["task_invalid_json"], run.metrics["task_documents"]) == (0, 8)
    counts = result.counts["rounds"]["0"]
    best = runs[1e-3, 3.0]
    assert (counts["runs"], counts["selected"], counts["epochs"]) == (4, best.run_id, 3.0)
    assert counts["task_f1_strict"] == best.metrics["task_f1_strict"]
    assert [each.run_id for each in bench.runs if each.selected] == [best.run_id]
    assert all(all(reader.held) and reader.closed for reader in bench.readers)


def test_the_best_is_selected_by_what_is_asked_and_ties_by_eval_loss(bench: Bench) -> None:
    expected = {"eval_loss": 1e-3, "token_accuracy": 1e-3, "task_metric": 1e-4}
    for select_by, rate in expected.items():
        result = bench.extraction(select_by, rounds=[0], skill=by_keys, finetune=SWEEP | {"select_by": select_by})
        counts = result.counts["rounds"]["0"]
        assert (counts["learning_rate"], counts["epochs"]) == (rate, 3.0)
        assert [each.learning_rate for each in bench.runs if each.selected] == [rate]
    assert len(bench.trainer.trained) == 4, "to select anew is not to train anew"


def test_a_model_that_cannot_be_held_to_a_schema_answers_freely_and_unreadable_replies_are_counted(
    bench: Bench,
) -> None:
    eval_numbers: list[int] = []

    def silent_once(run: FinetuneRun, number: int) -> int:
        eval_numbers.append(number)
        return -1 if number == eval_numbers[0] else 10

    counts = bench.extraction(rounds=[0], skill=silent_once, schema_too=False).counts["rounds"]["0"]
    assert counts["task_invalid_json"] == 1 / 8
    assert 0.8 < counts["task_f1_strict"] < 1
    assert not any(bench.readers[0].held)


def test_a_failed_member_does_not_end_the_sweep_but_the_only_one_does(bench: Bench) -> None:
    bench.trainer = QuickTrainer(fails_at=1e-3)
    result = bench.extraction(rounds=[0], finetune=SWEEP)
    assert [each.split(" failed")[0] for each in result.warnings] == [
        "round 0, lr 0.001, 1ep",
        "round 0, lr 0.001, 3ep",
    ]
    assert [each.state for each in bench.runs] == ["failed", "failed", "finished", "finished"]
    assert result.counts["rounds"]["0"]["learning_rate"] == 1e-4
    with pytest.raises(TrainingFailed, match="no number"):
        bench.extraction("x2", rounds=[0])
    with pytest.raises(TrainingFailed, match="round 0, every member of the sweep failed"):
        bench.extraction("x3", rounds=[0], finetune={"duration": ["1ep", "2ep"]})


def test_what_a_sweep_did_is_tracked(bench: Bench) -> None:
    bench.extraction(rounds=[1], finetune=SWEEP)
    runs = {each.info.run_name: each for each in bench.tracked}
    assert set(runs) == {"round 1, finetune"} | {
        f"round 1, lr {rate}, {epochs}" for rate in ("0.001", "0.0001") for epochs in ("1ep", "3ep")
    }
    parent, member = runs["round 1, finetune"], runs["round 1, lr 0.001, 3ep"]
    assert parent.data.tags["finreg.round"] == "1"
    assert member.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert member.data.params["duration"] == "3ep"
    assert member.data.metrics["task_f1_strict"] == 1
    assert {each.dataset.name for each in member.inputs.dataset_inputs} == {"ft_training", "ft_eval"}


# --- again -----------------------------------------------------------------------------------------------------------


def test_a_second_run_trains_nothing_and_measures_nothing(bench: Bench) -> None:
    sweep = {"learning_rates": [1e-3, 1e-4]}
    first = bench.extraction(generate={"rounds": 1}, finetune=sweep)
    assert (len(bench.trainer.trained), len(bench.readers)) == (4, 4)
    again = bench.extraction("x2", generate={"rounds": 1}, finetune=sweep)
    assert (len(bench.trainer.trained), len(bench.readers)) == (4, 4)
    assert again.counts["rounds"] == first.counts["rounds"]
    assert again.findings == first.findings
    assert {each.sweep_id for each in bench.runs} == {"x2"}
    assert "round 1, lr 0.0001, 1ep: trained already as x1-r1-2" in bench.progress.notes


def test_killed_while_it_measured_it_goes_on_there(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.extraction(rounds=[0], dies_after=3)
    assert [each.state for each in bench.runs] == ["running"]
    assert {each.info.status for each in bench.tracked} == {"KILLED"}
    result = bench.extraction("x2", rounds=[0])
    assert [each.info.status for each in bench.tracked] == ["FINISHED", "FINISHED"], "under the same runs"
    assert [len(each.asked) for each in bench.readers] == [3, 5]
    assert len(bench.trainer.trained) == 1
    assert result.counts["rounds"]["0"]["selected"] == "x1-r0-1"
    assert bench.runs[0].metrics["task_f1_strict"] == 1


def test_what_was_found_in_other_documents_is_measured_anew_without_training(bench: Bench) -> None:
    bench.extraction(rounds=[0], finetune={"learning_rates": [1e-3, 1e-3]})
    assert len(bench.runs) == 1, "a value that is given twice is one member"
    kept = bench.folder / "_finreg/models/x1-r0-1/task_metric.json"
    by_document = json.loads(kept.read_text())
    assert len(by_document["documents"]) == 8
    kept.write_text(json.dumps(by_document | {"identity": "of other documents"}))
    bench.extraction("x2", rounds=[0])
    assert len(bench.trainer.trained) == 1
    assert json.loads(kept.read_text()) == by_document
    assert bench.readers[1].asked == [], "every reply came from the cache"


def test_two_rounds_with_the_same_rows_are_two_models(bench: Bench) -> None:
    """Else the later would take the row of the earlier in finetune_runs."""
    every = {"max_rows": 2 * REAL}
    bench.extraction(rounds=[0, 1], finetune=every)
    rows = (row for table in (FT_TRAINING, FT_EVAL) for row in table.records(bench.lakehouse.read(table)))
    last = max(sampling_key(row.row_id) for row in rows)
    parent = LEASES[0][0]
    late = (child(parent, 2, lease_id=f"late-{nth}") for nth in count())
    beyond = next(each for each in late if sampling_key(bench.only_row(each)) > last)
    bench.lakehouse.overwrite(LEASE_DOCS_TRAIN_SYNTH, LEASE_DOCS_TRAIN_SYNTH.batches([beyond]), where={"round": 2})
    bench.extraction("x2", rounds=[0, 1, 2], finetune=every)
    assert [(each.run_id, each.round) for each in bench.runs] == [("x1-r0-1", 0), ("x1-r1-1", 1), ("x2-r2-1", 2)]
    one, two = (bench.lakehouse.version(FT_TRAINING), bench.runs[1].training_version)
    assert one is not None
    ids = [
        {each.row_id for each in FT_TRAINING.records(bench.lakehouse.read(FT_TRAINING, version=n))} for n in (one, two)
    ]
    assert ids[0] == ids[1]


# --- early stop ------------------------------------------------------------------------------------------------------


def better_each_round(run: FinetuneRun, number: int) -> int:
    return 4 + 2 * run.round + number % 2


def better_once(run: FinetuneRun, number: int) -> int:
    """Round 2 gains on half of the documents what it loses on the others."""
    return 4 + 2 * min(run.round, 1) + (run.round == 2) * (-1) ** (number // 2)


def test_rounds_go_on_while_each_is_surely_better(bench: Bench) -> None:
    result = bench.extraction(skill=better_each_round, generate={"rounds": 2, "early_stop": True})
    assert list(result.counts["rounds"]) == ["0", "1", "2"]
    assert not result.ends_rounds
    first, second = (each for each in result.findings if "surely better" in each)
    assert first.startswith("round 1 is surely better than round 0 on ft_eval: +0.")
    assert second.startswith("round 2 is surely better than round 1 on ft_eval: +0.")


def test_the_first_round_that_is_not_surely_better_is_the_last(bench: Bench) -> None:
    def no_better(run: FinetuneRun, number: int) -> int:
        return 6 + (run.round == 1 and number % 2) - (run.round == 1 and not number % 2)

    result = bench.extraction(skill=no_better, generate={"rounds": 2, "early_stop": True})
    assert list(result.counts["rounds"]) == ["0", "1"]
    assert result.ends_rounds
    assert {each.round for each in bench.runs} == {0, 1}
    (finding,) = [each for each in result.findings if "surely better" in each]
    assert finding.startswith("round 1 is not surely better than round 0 on ft_eval: ")
    assert finding.endswith("], n=8; early stop")


def test_without_early_stop_every_round_is_trained(bench: Bench) -> None:
    result = bench.extraction(skill=lambda run, number: 5, generate={"rounds": 2})
    assert list(result.counts["rounds"]) == ["0", "1", "2"]
    assert not result.ends_rounds


def test_rounds_that_are_trained_one_by_one_stop_at_the_same_one(bench: Bench) -> None:
    """As `all` does it, where each round is paid for only after the one before was worth it."""
    generate = {"rounds": 2, "early_stop": True}
    ends = []
    for last in range(3):
        result = bench.extraction(rounds=range(last + 1), skill=better_once, generate=generate)
        ends.append(result.ends_rounds)
    assert ends == [False, False, True]
    assert len(bench.trainer.trained) == 3
    alone = bench.extraction("x2", rounds=[2], skill=better_once, generate=generate)
    assert alone.findings[-1] == result.findings[-1]


def test_too_few_documents_decide_nothing(bench: Bench) -> None:
    result = bench.extraction(
        skill=lambda run, number: 5, generate={"rounds": 2, "early_stop": True}, finetune={"eval_fraction": 0.2}
    )
    assert list(result.counts["rounds"]) == ["0", "1", "2"]
    assert not result.ends_rounds
    assert [each[:40] for each in result.warnings] == [
        f"generate.early_stop cannot judge round {n}"[:40] for n in (1, 2)
    ]
    assert "there are 4 documents in ft_eval" in result.warnings[0]


def test_the_hold_out_is_never_read(bench: Bench) -> None:
    early_stop = {"rounds": 2, "early_stop": True}
    without = bench.extraction(skill=better_once, generate=early_stop)
    absurd = [LabelledLease(lease_id=each.lease_id, lease_doc="", labels="no JSON") for each in LEASES[0]]
    bench.lakehouse.overwrite(LEASE_DOCS_HOLDOUT, LEASE_DOCS_HOLDOUT.batches(absurd))
    for table in (FT_TRAINING, FT_EVAL):
        bench.lakehouse.overwrite(table, iter(()))
    for kept in bench.folder.glob("_finreg/models/*/task_metric.json"):
        kept.unlink()
    poisoned = bench.extraction("x2", skill=better_once, generate=early_stop)
    assert poisoned.counts == without.counts
    assert (poisoned.findings, poisoned.ends_rounds) == (without.findings, without.ends_rounds)
    assert LEASE_DOCS_TRAIN.name in bench.lakehouse.touched
    assert LEASE_DOCS_HOLDOUT.name not in bench.lakehouse.touched


# --- questions -------------------------------------------------------------------------------------------------------


def question(article: int, nth: int = 0, **changed: Any) -> QaRow:
    row = QaRow(
        row_id=f"row-{article:02}-{nth}",
        chunk_id=f"c{article}",
        chunk_ids=[f"c{article}"],
        document_id="crr",
        citation=f"CRR Article {article}",
        kind="threshold",
        sample=nth,
        context=f"CRR Article {article}\nA ratio of {article} %.",
        question=f"Which ratio does Article {article} set?",
        answer=f"{article} % [CRR Article {article}]",
        answerable=True,
        method="rules",
        prompt_version="rules-1",
        outputs_may_train=True,
        round=1,
        split="train",
        split_unit=f"Article {article}",
    )
    return replace(row, **changed)


def test_questions_are_one_sweep_over_rates_and_durations_with_flat_figures(empty: Bench) -> None:
    rows = [question(article, nth) for article in range(1, 9) for nth in range(2)]
    rows.append(question(1, 7, outputs_may_train=False))
    rows.append(question(99, split="validation"))
    empty.lakehouse.append(QA_DATASET, QA_DATASET.batches(rows))
    result = empty.questions(finetune=SWEEP | {"eval_fraction": 0.25})
    assert result.counts == {
        "rows": 16,
        "left_out": {"outputs_may_not_train": 1},
        "cut_rows": 0,
        "runs": 4,
        "failed_runs": 0,
        "eval_units": 2,
        "eval_rows": 4,
        "selected": "x1-2",
        "learning_rate": 1e-3,
        "epochs": 3.0,
        "lora_rank": 16,
        "eval_loss": 0.25,
        "perplexity": None,
        "token_accuracy": 0.75,
        "train_tokens": 100,
        "context_lengths": 0.0,
        "report": str(empty.folder / "_finreg/reports/sweep-x1.html"),
    }
    assert [(each.run_id, each.round, each.epochs) for each in empty.runs][:2] == [("x1-1", 0, 1), ("x1-2", 0, 3)]
    assert not empty.groups(FT_TRAINING) & empty.groups(FT_EVAL)
    assert "Article 99" not in empty.groups(FT_TRAINING) | empty.groups(FT_EVAL)
    assert result.findings == ["lr 0.001, 3ep: eval loss 0.250"]
    again = empty.questions("x2", finetune=SWEEP | {"eval_fraction": 0.25})
    report = {"report": str(empty.folder / "_finreg/reports/sweep-x2.html")}
    assert (again.counts, len(empty.trainer.trained)) == (result.counts | report, 4)


def test_questions_of_one_article_and_no_questions_are_told_apart(empty: Bench) -> None:
    assert "no rows to train on" in empty.questions(dry_run=True).warnings[0]
    with pytest.raises(NothingToDo, match="no rows to train on"):
        empty.questions()
    empty.lakehouse.append(QA_DATASET, QA_DATASET.batches([question(1), question(1, 1)]))
    with pytest.raises(NothingToDo, match=r"one unit \(Article 1\)"):
        empty.questions()


def test_rows_that_are_too_long_are_pointed_at_and_counted(empty: Bench) -> None:
    empty.trainer = QuickTrainer(changes={"left_out_rows": 3.0, "cut_rows": 2.0})
    empty.lakehouse.append(QA_DATASET, QA_DATASET.batches([question(1), question(2)]))
    result = empty.questions()
    cut, left_out = result.warnings
    assert cut.startswith("2 rows are longer than finetune.context_length (2048 tokens), and their prompts lost")
    assert left_out.startswith("3 rows are longer than finetune.context_length (2048 tokens), and they were left out")
    assert Path(cut.partition("gone: ")[2].split(" ")[0]).exists()
    assert (result.counts["left_out"], result.counts["cut_rows"]) == ({"too_long": 3}, 2)


# --- what a member is ------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(empty: Bench) -> Bench:
    """Two questions to each of twenty articles, of which two fifths become ft_eval."""
    rows = [question(article, nth) for article in range(1, 21) for nth in range(2)]
    empty.lakehouse.append(QA_DATASET, QA_DATASET.batches(rows))
    return empty


def test_ranks_are_swept_and_alpha_is_resolved(asking: Bench) -> None:
    result = asking.questions(finetune={"learning_rates": [1e-3], "lora": {"rank": [4, 8, 4]}})
    assert [each.params["lora"] for each in asking.trainer.trained] == [
        {"rank": 4, "alpha": 8, "dropout": 0.0},
        {"rank": 8, "alpha": 16, "dropout": 0.0},
    ]
    assert [each.metrics["lora_rank"] for each in asking.runs] == [4, 8]
    assert result.findings == ["lr 0.001, 1ep, rank 4: eval loss 0.500"]
    asking.questions("x2", finetune={"learning_rates": [1e-3], "lora": {"rank": 8, "alpha": 16}})
    assert len(asking.trainer.trained) == 2, "twice the rank is the same, said or not"
    asking.questions("x3", finetune={"learning_rates": [1e-3], "lora": {"rank": 8, "alpha": 8}})
    assert len(asking.trainer.trained) == 3


def test_every_weight_is_trained_without_an_adapter_so_ranks_are_nothing_to_it(asking: Bench) -> None:
    result = asking.questions(finetune={"method": "full", "lora": {"rank": [4, 8]}})
    (job,) = asking.trainer.trained
    assert "lora" not in job.params
    assert (result.counts["runs"], result.counts["lora_rank"]) == (1, None)


@pytest.mark.parametrize(
    ("duration", "figures", "epochs"),
    [
        ("2ep", {"duration_ep": 2}, 2.0),
        ("1_500ba", {"duration_ba": 1500}, 0.5),
        ("20000tok", {"duration_tok": 20000}, 0.5),
    ],
)
def test_a_duration_is_kept_as_it_was_asked_for_beside_the_epochs_that_it_came_to(
    asking: Bench, duration: str, figures: dict[str, float], epochs: float
) -> None:
    asking.questions(finetune={"duration": duration})
    (run,) = asking.runs
    assert {name: value for name, value in run.metrics.items() if name.startswith("duration")} == figures
    assert run.epochs == epochs
    asking.questions("x2", finetune={"duration": duration.replace("_", "")})
    assert len(asking.trainer.trained) == 1


def test_what_does_not_change_a_model_trains_nothing_anew(asking: Bench) -> None:
    for nth, changed in enumerate(
        (
            {},
            {"select_by": "token_accuracy"},
            {"select_by": "task_metric"},
            {"task_metric": "all"},
            {"register_alias": "champion"},
            {"processes": 2, "save_steps": 3, "gradient_checkpointing": True},
            {"eval_fraction": 0.39},
        )
    ):
        asking.questions(f"x{nth}", finetune={"learning_rates": [1e-3]} | changed)
    assert len(asking.trainer.trained) == 1
    asking.questions("y", finetune={"learning_rates": [1e-3], "batch_size": 2})
    assert len(asking.trainer.trained) == 2


def test_what_was_selected_and_registered_stays_so_until_a_sweep_has_selected_anew(asking: Bench) -> None:
    asking.questions()
    (first,) = asking.runs
    asking.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([replace(first, model_version="models:/m/1")]))

    class Interrupted(QuickTrainer):
        def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
            if job.params["learning_rate"] == 5e-4:
                raise KeyboardInterrupt
            return super().train(job, progress)

    asking.trainer = Interrupted()
    for nth, more in enumerate(
        ({"learning_rates": [1e-3, 5e-4]}, {"learning_rates": [1e-3, 5e-4], "task_metric": "all"})
    ):
        with pytest.raises(KeyboardInterrupt):
            asking.questions(f"x{nth}", finetune=more)
        before = next(each for each in asking.runs if each.run_id == first.run_id)
        assert (before.selected, before.state, before.model_version) == (True, "finished", "models:/m/1")
        assert before.model_uri == first.model_uri


def test_a_diverged_member_is_never_the_best(asking: Bench) -> None:
    class Diverging(QuickTrainer):
        def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
            done = super().train(job, progress)
            lost = {"eval_loss": math.nan, "token_accuracy": math.nan}
            return replace(done, metrics=done.metrics | lost) if job.params["learning_rate"] > 1e-3 else done

    asking.trainer = Diverging()
    for select_by in ("eval_loss", "token_accuracy"):
        result = asking.questions(finetune={"learning_rates": [1e-2, 1e-3], "select_by": select_by})
        assert result.counts["learning_rate"] == 1e-3
    (warning,) = asking.questions(finetune={"learning_rates": [1e-2]}).warnings
    assert "its training diverged" in warning


# --- the task metric of questions ------------------------------------------------------------------------------------


def worse_with_a_higher_rate(run: FinetuneRun) -> int:
    return 4 if run.learning_rate == 1e-3 else 12


def test_questions_are_answered_where_it_is_asked_for(asking: Bench) -> None:
    asking.questions()
    assert asking.answering == []
    assert not any(name.startswith("task_") for name in asking.runs[0].metrics)
    result = asking.questions("x2", right=lambda run: 12, finetune={"task_metric": "all"})
    assert len(asking.trainer.trained) == 1
    metrics = asking.runs[0].metrics
    assert metrics["task_rows"] == 16
    assert metrics["task_token_f1"] == metrics["task_citation_right"] == metrics["task_exact_match"] == 0.75
    assert metrics["task_token_f1_ci_low"] < 0.75 < metrics["task_token_f1_ci_high"]
    assert "task_abstention_right" not in metrics, "there was nothing to abstain on"
    assert result.counts["task_token_f1"] == 0.75
    assert result.findings == ["lr 0.001, 1ep: token F1 0.750 on the 16 rows of ft_eval, eval loss 0.500"]
    asked = [message for each in asking.answering for message in each.asked]
    held_back = {row.messages[-2].content for row in FT_EVAL.records(asking.lakehouse.read(FT_EVAL))}
    assert set(asked) == held_back
    assert all("A ratio of" in each for each in asked), "with context"


def test_a_question_to_abstain_on_has_a_score_of_its_own(asking: Bench) -> None:
    rows = [question(nth, 9, answer=ABSTENTION, answerable=False, kind="unanswerable") for nth in range(1, 21)]
    asking.lakehouse.append(QA_DATASET, QA_DATASET.batches(rows))
    asking.questions(finetune={"task_metric": "all"})
    metrics = asking.runs[0].metrics
    assert metrics["task_rows"] == 24
    assert (metrics["task_token_f1"], metrics["task_abstention_right"]) == (1, 0)


def test_the_best_by_answers_may_be_another_than_the_best_by_loss(asking: Bench) -> None:
    rates = {"learning_rates": [1e-3, 1e-4]}
    by_loss = asking.questions(right=worse_with_a_higher_rate, finetune=rates)
    by_answers = asking.questions("x2", right=worse_with_a_higher_rate, finetune=rates | {"select_by": "task_metric"})
    assert (by_loss.counts["learning_rate"], by_answers.counts["learning_rate"]) == (1e-3, 1e-4)
    assert len(asking.trainer.trained) == 2
    back = asking.questions("x3", finetune=rates)
    assert back.counts["learning_rate"] == 1e-3
    assert back.counts["task_token_f1"] == 0.25, "what is known already is told"
    assert len(asking.answering) == 2


def test_an_interrupted_measurement_of_questions_goes_on(asking: Bench) -> None:
    every = {"task_metric": "all"}
    with pytest.raises(KeyboardInterrupt):
        asking.questions(dies_after=10, finetune=every)
    asking.questions("x2", finetune=every)
    assert [len(each.asked) for each in asking.answering] == [10, 6]
    assert len(asking.trainer.trained) == 1
    assert asking.runs[0].metrics["task_token_f1"] == 1
    asking.questions("x3", finetune=every)
    asking.questions("x4", finetune=every, evaluate={"max_new_tokens": 20})
    assert [len(each.asked) for each in asking.answering] == [10, 6, 16], "shorter answers are other answers"


# --- losses of rows --------------------------------------------------------------------------------------------------


def test_the_losses_of_rows_are_kept_once_a_run(asking: Bench) -> None:
    asking.questions(finetune={"learning_rates": [1e-3, 1e-4]})
    trained = {row.row_id for row in FT_TRAINING.records(asking.lakehouse.read(FT_TRAINING))}

    def kept() -> list[RowLoss]:
        return list(FINETUNE_LOSSES.records(asking.lakehouse.read(FINETUNE_LOSSES)))

    first = kept()
    assert len(first) == 2 * 2 * len(trained)
    assert {(each.run_id, each.step, each.loss) for each in first if each.row_id == min(trained)} == {
        ("x1-1", 1, 0.5), ("x1-1", 2, 0.5), ("x1-2", 1, 1 / 1.1), ("x1-2", 2, 1 / 1.1)
    }  # fmt: skip
    result = asking.questions("x2", finetune={"learning_rates": [1e-3, 1e-4]})
    assert result.tables["finetune_losses"].rows == len(first)
    half = [each for each in first if each.step == 1]
    asking.lakehouse.overwrite(FINETUNE_LOSSES, FINETUNE_LOSSES.batches(half[:3]))
    asking.questions("x3", finetune={"learning_rates": [1e-3, 1e-4]})
    assert {each.run_id for each in kept()} == {"x1-1", "x1-2"}, "what is missing is kept again"


# --- the page of a sweep ---------------------------------------------------------------------------------------------


def test_a_sweep_has_a_page_which_the_tracked_parent_holds_too(asking: Bench) -> None:
    asking.trainer = QuickTrainer(fails_at=1e-2)
    result = asking.questions(
        right=worse_with_a_higher_rate,
        finetune={"learning_rates": [1e-2, 1e-3, 1e-4, 1e-5], "task_metric": "all"},
    )
    page = Path(result.counts["report"])
    assert (result.counts["runs"], result.counts["failed_runs"]) == (4, 1)
    text = page.read_text(encoding="utf-8")
    assert text == (page.parent / "latest-sweep.html").read_text(encoding="utf-8")
    assert "the loss of x1-1 is no number" in text
    assert "not defined" in text, "two of three members have the same token F1"
    (parent,) = [each for each in asking.tracked if each.info.run_name == "finetune"]
    artifacts = {each.path for each in asking.client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"sweep-x1.html", "sweep-x1.svg"}


def test_one_member_is_no_sweep(asking: Bench) -> None:
    assert "report" not in asking.questions().counts
    assert not (asking.folder / "_finreg/reports").exists()


# --- kills -----------------------------------------------------------------------------------------------------------

RATES = [1e-2, 1e-3, 1e-4, 1e-5]

KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_finetune import *
warnings.simplefilter("ignore")
folder, tokenizer = Path(sys.argv[1]), Path(sys.argv[4])
lakehouse = WatchedLakehouse(folder, "main", "euroreg")
bench = Bench(folder, sys.argv[2], sys.argv[3], tokenizer, lakehouse, QuickTrainer(dies_at=1e-3))
bench.questions("k1", finetune={{"learning_rates": RATES}})
"""


def kill_in_the_second_of_four(bench: Bench) -> None:
    path = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    arguments = [str(bench.folder), bench.uri, bench.experiment, str(bench.tokenizer)]
    done = subprocess.run([sys.executable, "-c", KILLED.format(path=path), *arguments], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    states = {each.info.run_name: each.info.status for each in bench.tracked}
    assert states == {"finetune": "RUNNING", "lr 0.01, 1ep": "FINISHED", "lr 0.001, 1ep": "RUNNING"}


def test_a_killed_sweep_goes_on_under_the_same_runs(asking: Bench) -> None:
    kill_in_the_second_of_four(asking)
    first = asking.folder / "_finreg/models/k1-1/result.json"
    before = first.stat().st_mtime_ns
    result = asking.questions("k2", finetune={"learning_rates": RATES})
    assert first.stat().st_mtime_ns == before
    assert [each.run_id for each in asking.trainer.trained] == ["k1-2", "k2-3", "k2-4"]
    assert [(each.run_id, each.state, each.sweep_id) for each in asking.runs] == [
        (run_id, "finished", "k2") for run_id in ("k1-1", "k1-2", "k2-3", "k2-4")
    ]
    assert result.counts["selected"] == "k1-1"
    runs = {each.info.run_name: each for each in asking.tracked}
    assert len(asking.tracked) == 5, "none was opened a second time"
    assert {each.info.status for each in asking.tracked} == {"FINISHED"}
    parents = {each.data.tags.get("mlflow.parentRunId") for name, each in runs.items() if name != "finetune"}
    assert parents == {runs["finetune"].info.run_id}


@pytest.mark.slow
def test_what_a_killed_sweep_left_open_is_ended_by_another(asking: Bench) -> None:
    kill_in_the_second_of_four(asking)
    asking.questions("k2", finetune={"learning_rates": [5e-4]})
    assert {(each.info.run_name, each.info.status) for each in asking.tracked} == {
        ("finetune", "KILLED"),
        ("lr 0.01, 1ep", "FINISHED"),
        ("lr 0.001, 1ep", "KILLED"),
        ("finetune", "FINISHED"),
        ("lr 0.0005, 1ep", "FINISHED"),
    }


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a small model."""
    pytest.importorskip("trl", reason="needs the extra 'train'")
    gguf = tiny_llama.write_gguf(tmp_path / "tiny.gguf")
    dequantise(gguf, tmp_path / "tiny")
    (tmp_path / "tiny/tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    return tmp_path / "tiny"


@pytest.mark.slow
def test_a_real_model_is_trained_and_measured_in_each_round(bench: Bench, tiny: Path) -> None:
    result = bench.for_real("x1", tiny)
    assert [each.state for each in bench.runs] == ["finished"] * 4
    assert all(each.metrics["task_documents"] == 4 for each in bench.runs)
    assert all(each.metrics["left_out_rows"] == 0 for each in bench.runs)
    first, second = (result.counts["rounds"][each] for each in "01")
    assert second["train_tokens"] > 1.5 * first["train_tokens"]
    losses = list(FINETUNE_LOSSES.records(bench.lakehouse.read(FINETUNE_LOSSES, where={"run_id": "x1-r1-2"})))
    (run,) = (each for each in bench.runs if each.run_id == "x1-r1-2")
    last = [each.loss for each in losses if each.step == run.metrics["steps"]]
    assert len(last) == run.metrics["rows"], "after the training every row has a loss"
    again = bench.for_real("x2", tiny)
    assert again.counts["rounds"] == result.counts["rounds"]
    assert len(bench.progress.notes) == 4


@pytest.mark.slow
def test_a_member_that_really_fails_does_not_end_the_sweep(bench: Bench, tiny: Path) -> None:
    """No machine has the memory for an adapter of that rank."""
    result = bench.for_real("x1", tiny, learning_rates=[1e-2], lora={"rank": [10**12, 8]})
    assert [(each.run_id, each.state) for each in bench.runs] == [
        ("x1-r0-1", "failed"),
        ("x1-r0-2", "finished"),
        ("x1-r1-1", "failed"),
        ("x1-r1-2", "finished"),
    ]
    assert [result.counts["rounds"][each]["failed_runs"] for each in "01"] == [1, 1]
    warning = result.warnings[0]
    assert warning.startswith("round 0, lr 0.01, 1ep, rank 1000000000000 failed: ")
    statuses = {each.info.run_name: each.info.status for each in bench.tracked}
    assert statuses["round 0, lr 0.01, 1ep, rank 1000000000000"] == "FAILED"
    assert statuses["round 0, finetune"] == "FINISHED"
    page = Path(result.counts["report"]).read_text(encoding="utf-8")
    assert "failed: why" in page

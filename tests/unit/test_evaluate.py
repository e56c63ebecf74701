"""The evaluation on real tables, a real cache and a real MLflow store; the models are code that really answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    EVALUATION_PREDICTIONS,
    FINETUNE_RUNS,
    FT_EVAL,
    FT_TRAINING,
    QA_DATASET,
    FinetuneRun,
    Message,
    Metric,
    Prediction,
    QaRow,
    Table,
    TrainingRow,
)
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.cache import RequestCache
from finreg_cli.reports.base import Report
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.evaluate import evaluate
from finreg_cli.tracking.mlflow_tracker import MlflowTracker

ARTICLES = 8


class Answering:
    """``tuned`` copies the context's second line and cites its first; ``base`` says one word. Neither has a memory."""

    def __init__(self, model: str, dies_after: int | None = None) -> None:
        self.model = model
        self.asked: list[str] = []
        self.closed = False
        self._dies_after = dies_after

    @property
    def identity(self) -> str:
        return f"{self.model}-weights"

    @property
    def holds_to_schema(self) -> bool:
        return False

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        assert schema is None, "questions are answered freely"
        for messages in prompts:
            if self._dies_after is not None and len(self.asked) == self._dies_after:
                raise KeyboardInterrupt
            user = messages[-1].content
            self.asked.append(user)
            context = user.removeprefix("Context:\n").split("\nPlease answer")[0]
            yield self._answer(*context.split("\n")) if context else ABSTENTION

    def _answer(self, citation: str, text: str) -> str:
        if self.model == "base":
            return "ratio"
        return ABSTENTION if text == "Nothing of it." else f"{text} [{citation}]"

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """Everything that the stage takes, over one folder."""

    folder: Path
    uri: str
    experiment: str
    lakehouse: EmbeddedLakehouse
    opened: list[Answering] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    progress: Silent = field(default_factory=Silent)

    def config(self, **section: Any) -> Config:
        raw = {
            "schema": "euroreg",
            "engine": {"warehouse": str(self.folder)},
            "generate": {"method": "rules", "validation_fraction": 0.3},
            "evaluate": section,
        }
        return Config.model_validate(raw)

    def evaluate(
        self, run_id: str = "e1", *, dry_run: bool = False, dies_after: int | None = None, **section: Any
    ) -> StageResult:
        config = self.config(**section)

        def open_answerer(model: str, finetune: FinetuneRun | None) -> Answering:
            self.opened.append(Answering(model, dies_after))
            return self.opened[-1]

        def write_report(report: Report) -> Path:
            self.reports.append(report)
            path = self.folder / f"{report.run_id}.html"
            path.write_text(report.run_id)
            return path

        tracker = MlflowTracker(self.uri, self.experiment, self.folder / "mlartifacts")
        cache = RequestCache(config.state / "requests.sqlite")
        try:
            run = Run(run_id, config, self.progress, dry_run)
            return evaluate(run, self.lakehouse, open_answerer, cache, tracker, write_report)
        finally:
            cache.close()

    def predictions(self, run_id: str = "e1") -> list[Prediction]:
        found = EVALUATION_PREDICTIONS.records(self.lakehouse.read(EVALUATION_PREDICTIONS, where={"run_id": run_id}))
        return list(found)

    def metrics(self, run_id: str = "e1") -> dict[tuple[str, str, str, str], Metric]:
        found = EVALUATION_METRICS.records(self.lakehouse.read(EVALUATION_METRICS, where={"run_id": run_id}))
        return {(each.model, each.context, each.slice, each.metric): each for each in found}

    def rows(self, *rows: QaRow) -> None:
        self.lakehouse.merge(QA_DATASET, QA_DATASET.batches(rows))

    def runs(self, *runs: FinetuneRun) -> None:
        self.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(runs))


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def empty(tmp_path: Path, mlflow_uri: str, request: pytest.FixtureRequest) -> Bench:
    return Bench(tmp_path, mlflow_uri, request.node.name, EmbeddedLakehouse(tmp_path, "main", "euroreg"))


@pytest.fixture
def bench(empty: Bench) -> Bench:
    """Eight articles with a threshold each, one of them with an unanswerable row too, and a selected run."""
    empty.rows(*(threshold(nth) for nth in range(1, ARTICLES + 1)), unanswerable(1))
    rows = [TrainingRow(messages=[Message("x", "user")], row_id=str(nth), group_key="u") for nth in range(5)]
    version = empty.lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches(rows))
    empty.runs(replace(finetune_run("f1"), training_version=version))
    return empty


def threshold(article: int, **changed: Any) -> QaRow:
    text, citation = f"Article {article} sets a ratio of {article} %.", f"CRR Article {article}"
    row = QaRow(
        row_id=f"row-{article:02}",
        chunk_id=f"c{article}",
        chunk_ids=[f"c{article}"],
        document_id="crr",
        citation=citation,
        kind="threshold",
        sample=0,
        context=f"{citation}\n{text}",
        question=f"Which ratio does Article {article} set?",
        answer=f"{text} [{citation}]",
        answerable=True,
        method="rules",
        prompt_version="rules-1",
        outputs_may_train=True,
        round=1,
        split="validation",
        split_unit=f"Article {article}",
    )
    return replace(row, **changed)


def unanswerable(article: int) -> QaRow:
    return threshold(
        article,
        row_id=f"row-{article:02}-u",
        kind="unanswerable",
        context=f"CRR Article {article}\nNothing of it.",
        question="Who sings?",
        answer=ABSTENTION,
        answerable=False,
    )


def finetune_run(run_id: str, **changed: Any) -> FinetuneRun:
    run = FinetuneRun(
        run_id=run_id,
        sweep_id=run_id,
        task="regulation_qa",
        round=0,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=1e-3,
        epochs=1.0,
        state="finished",
        metrics={"eval_loss": 0.05},
        selected=True,
        model_uri="models/f1/merged",
        model_version=None,
        training_table="ft_training",
        training_version=0,
    )
    return replace(run, **changed)


def test_every_answer_and_every_figure_is_written(bench: Bench) -> None:
    result = bench.evaluate()
    rows = ARTICLES + 1
    assert (result.counts["rows"], result.counts["answers"]) == (rows, rows * 4)
    assert bench.progress.done == rows * 4
    predictions = bench.predictions()
    assert len({(each.row_id, each.model, each.context) for each in predictions}) == len(predictions) == rows * 4
    assert result.tables["evaluation_predictions"].rows == rows * 4
    assert [each.closed for each in bench.opened] == [True, True]

    figures = bench.metrics()
    base, tuned = figures["base", "with", "all", "token_f1"], figures["tuned", "with", "all", "token_f1"]
    # "ratio" against the seven tokens of "Article 1 sets (a) ratio of 1 %": 2 * 1 / (1 + 7).
    assert base.value == pytest.approx(0.25)
    assert (tuned.value, tuned.ci_low, tuned.ci_high, tuned.n) == (1.0, 1.0, 1.0, ARTICLES)
    difference = figures["tuned-base", "with", "all", "token_f1"]
    assert (difference.value, difference.ci_low, difference.ci_high) == (0.75, 0.75, 0.75)
    assert (difference.dataset, difference.definition, difference.key) == ("qa_dataset:validation", "answerable", "all")
    assert figures["tuned", "with", "all", "citation_right"].value == 1
    assert figures["tuned", "without", "all", "token_f1"].value == 0
    assert figures["tuned", "without", "all", "false_abstention"].value == 1


def test_the_unanswerable_row_stands_apart(bench: Bench) -> None:
    bench.evaluate()
    figures = bench.metrics()
    assert figures["tuned", "with", "all", "token_f1"].n == ARTICLES, "it is no part of the text scores"
    abstention = figures["tuned", "with", "all", "abstention_right"]
    assert (abstention.value, abstention.n, abstention.ci_low, abstention.definition) == (1.0, 1, None, "unanswerable")
    assert figures["base", "with", "unanswerable", "abstention_right"].value == 0
    assert ("tuned", "with", "unanswerable", "token_f1") not in figures


def test_findings_claim_what_the_interval_supports_and_no_more(bench: Bench) -> None:
    findings = bench.evaluate().findings
    assert "with context: tuned does better: token F1 1.00 against 0.25, +0.75 [+0.75, +0.75], n=8" in findings
    assert "with context: nothing can be claimed on wrong abstentions (n=8), right abstentions (n=1)" in findings
    assert not any(line.startswith("without context: tuned does") for line in findings), "neither has a memory"


def test_without_context_is_the_same_message_with_an_empty_context(bench: Bench) -> None:
    bench.evaluate(models=["base"], context=["without"])
    assert bench.opened[0].asked[0] == (
        "Context:\n\nPlease answer the user question using the given context:\n\nWhich ratio does Article 1 set?"
    )


def test_a_killed_evaluation_goes_on_where_it_stopped(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.evaluate("e1", dies_after=5)
    assert bench.lakehouse.count(EVALUATION_PREDICTIONS) == 0
    assert bench.opened[0].closed
    result = bench.evaluate("e2")
    asked = sum(len(each.asked) for each in bench.opened)
    assert asked == result.counts["answers"], "nothing was asked twice"
    assert result.counts["from_cache"] == 5
    again = bench.evaluate("e3")
    assert again.counts["from_cache"] == again.counts["answers"]
    assert [each.prediction for each in bench.predictions("e2")] == [
        each.prediction for each in bench.predictions("e3")
    ]
    assert bench.lakehouse.count(EVALUATION_METRICS) == 2 * len(bench.metrics("e2")), "metrics are appended"


def test_another_answer_length_is_another_question_to_the_cache(bench: Bench) -> None:
    bench.evaluate("e1")
    assert bench.evaluate("e2", max_new_tokens=20).counts["from_cache"] == 0


def test_only_living_validation_rows_take_part_and_a_sample_is_the_same_every_time(bench: Bench) -> None:
    bench.rows(
        threshold(70, split="train", row_id="row-00a"), threshold(71, retired_at=datetime.now(UTC), row_id="row-00b")
    )
    bench.evaluate("e1")
    assert {each.row_id for each in bench.predictions("e1")} == {"row-01-u", *(f"row-0{nth}" for nth in range(1, 9))}
    for run_id, limit in (("e2", 3), ("e3", 3), ("e4", 5)):
        bench.evaluate(run_id, limit=limit)
    three, again, five = ({each.row_id for each in bench.predictions(run_id)} for run_id in ("e2", "e3", "e4"))
    assert len(three) == 3
    assert three == again < five


def test_the_tracked_run_has_the_figures_the_dataset_and_the_report(bench: Bench) -> None:
    bench.evaluate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow's dependencies deprecate of each other
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=bench.uri)
    experiment = client.get_experiment_by_name(bench.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["tuned/with/all/token_f1"] == 1
    assert run.data.metrics["tuned-base/with/all/token_f1/ci_low"] == 0.75
    assert run.data.tags["finreg.finetune_run_id"] == "f1"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("qa_dataset", f"v{bench.lakehouse.version(QA_DATASET)}")
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["e1.html"]


def test_the_report_gets_what_was_read_and_every_answer(bench: Bench) -> None:
    output = bench.config().state / "models" / "f1"
    output.mkdir(parents=True)
    (output / "metrics.jsonl").write_text('{"step": 1, "name": "eval_loss", "value": 0.5}\n')
    bench.evaluate()
    (report,) = bench.reports
    assert [(each.name, each.version, each.rows) for each in report.tables] == [
        ("qa_dataset", bench.lakehouse.version(QA_DATASET), ARTICLES + 1),
        ("ft_training", 0, 5),
    ]
    assert report.curve == [(1, "eval_loss", 0.5)]
    assert [each.row.row_id for each in report.answered] == sorted(each.row.row_id for each in report.answered)
    assert all(len(each.predictions) == 4 for each in report.answered)
    assert all(one.row_id == each.row.row_id for each in report.answered for one in each.predictions)


def test_the_last_selected_run_is_taken_or_the_one_that_is_named(bench: Bench) -> None:
    bench.runs(finetune_run("f3", selected=False), finetune_run("f2"), finetune_run("f9", state="failed"))
    assert bench.evaluate("e1").counts["finetune_run"] == "f2"
    assert bench.evaluate("e2", run="f3").counts["finetune_run"] == "f3"
    assert {each.finetune_run_id for each in bench.predictions("e2")} == {"f3"}


@pytest.mark.parametrize(("wanted", "problem"), [("f7", "is not in finetune_runs"), ("f9", "is failed, not finished")])
def test_a_run_that_cannot_be_evaluated_is_answered_with_those_that_can(
    bench: Bench, wanted: str, problem: str
) -> None:
    bench.runs(finetune_run("f3", selected=False), finetune_run("f9", state="failed"))
    with pytest.raises(ConfigError, match=f"evaluate.run: '{wanted}' {problem}") as caught:
        bench.evaluate(run=wanted)
    assert caught.value.remedy == "finished runs: f1, f3"


def test_without_a_run_only_the_base_can_be_evaluated(empty: Bench) -> None:
    empty.rows(threshold(1))
    with pytest.raises(NothingToDo, match="no selected run") as caught:
        empty.evaluate()
    assert "finreg finetune" in caught.value.remedy
    result = empty.evaluate(models=["base"])
    assert "finetune_run" not in result.counts
    assert {each.model for each in empty.predictions()} == {"base"}
    assert result.findings[0] == "with context: token F1 base 0.25, n=1"


@pytest.mark.parametrize("table", [FT_TRAINING, FT_EVAL])
def test_a_model_that_has_seen_a_validation_article_is_not_evaluated(bench: Bench, table: Table[TrainingRow]) -> None:
    """As after a resplit: the rows have moved, the model has not forgotten them."""
    seen = TrainingRow(messages=[Message("x", "user")], row_id="other row", group_key="Article 3")
    version = bench.lakehouse.overwrite(table, table.batches([seen]))
    if table is FT_TRAINING:
        bench.runs(replace(finetune_run("f1"), training_version=version))
    with pytest.raises(StageFailed, match="f1 has seen 1 of the 8 validation articles: Article 3") as caught:
        bench.evaluate()
    assert "finreg finetune" in caught.value.remedy
    assert not bench.opened
    bench.evaluate(models=["base"])


def test_no_rows_and_no_validation_rows_are_told_apart(empty: Bench) -> None:
    with pytest.raises(NothingToDo, match="no rows to evaluate") as caught:
        empty.evaluate()
    assert "finreg generate" in caught.value.remedy
    empty.rows(threshold(1, split="train"))
    with pytest.raises(NothingToDo, match=r"none of the 1 rows .*validation_fraction is 0\.3") as caught:
        empty.evaluate()
    assert "--resplit" in caught.value.remedy


def test_a_dry_run_plans_and_touches_nothing(bench: Bench) -> None:
    result = bench.evaluate(dry_run=True, limit=2)
    assert result.counts == {"rows": 2, "answers": 8, "finetune_run": "f1"}
    assert (bench.opened, bench.reports) == ([], [])
    assert not bench.lakehouse.exists(EVALUATION_PREDICTIONS)


def test_a_dry_run_before_anything_was_made_says_so(empty: Bench) -> None:
    (warning,) = empty.evaluate(dry_run=True).warnings
    assert "no rows to evaluate" in warning

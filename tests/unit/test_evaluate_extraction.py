"""The evaluation of extraction on real tables, files, a real cache and a real MLflow store; the models are code that
really reads its prompt, knows the labels of what it reads, and makes the mistakes that a test plants.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.documents.labelled import FileSource
from finreg_cli.domain.extraction import Labels, Schema, find, instruction
from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    EVALUATION_PREDICTIONS,
    FINETUNE_RUNS,
    FT_EVAL,
    FT_TRAINING,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    SYNTHESIS_ROUNDS,
    FinetuneRun,
    LabelledLease,
    Message,
    Metric,
    Prediction,
    SynthesisRound,
    Table,
    TrainingRow,
)
from finreg_cli.errors import BudgetReached, ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.cache import RequestCache
from finreg_cli.reports.base import ExtractionReport
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.evaluate_extraction import evaluate_extraction
from finreg_cli.tasks.structured_extraction import Reading
from finreg_cli.tracking.mlflow_tracker import MlflowTracker

SCHEMA = Schema.parse(
    {
        "type": "object",
        "title": "letting",
        "properties": {
            "tenant": {"type": "string", "format": "name"},
            "start": {"type": "string", "format": "date"},
            "use": {"type": "string"},
        },
    }
)
DOCUMENTS = 8
SILENT_ON_USE = (7, 8)
"""These documents do not say what the premises are for."""

HOLDOUT = LEASE_DOCS_HOLDOUT.name
PROSE = "I am sorry, I cannot find anything in this letting."


def letting(nth: int, **changed: Any) -> LabelledLease:
    labels: Labels = {
        "tenant": f"Tenant Number {nth}",
        "start": f"March {nth}, 2020",
        "use": f"an office of {nth} rooms",
    }
    said = f"This letting to {labels['tenant']} begins on {labels['start']}."
    if nth in SILENT_ON_USE:
        labels["use"] = None
    else:
        said += f" The premises are {labels['use']}."
    return replace(LabelledLease(lease_id=f"letting-{nth}", lease_doc=said, labels=SCHEMA.dumps(labels)), **changed)


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def window_in(prompt: str) -> str:
    return prompt.removeprefix(instruction(SCHEMA) + "\n")


Faults = Callable[[int, Labels], Labels | str]
"""What a model makes of the right labels of a document (by its number): other labels, or a reply that is none."""


def none_at_all(nth: int, labels: Labels) -> Labels:
    return labels


class Answering:
    """Finds what stands in its window, then makes its mistakes; may be unable to hold to a schema, or be stopped."""

    def __init__(self, identity: str, faults: Faults, holds_to_schema: bool, stops_after: int | None) -> None:
        self.identity = identity
        self.holds_to_schema = holds_to_schema
        self.asked: list[tuple[str, bool]] = []
        self.closed = False
        self._faults = faults
        self._stops_after = stops_after

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        assert schema is None or self.holds_to_schema
        for messages in prompts:
            if self._stops_after is not None and len(self.asked) == self._stops_after:
                raise BudgetReached("the next request would overshoot budget.requests") if schema else KeyboardInterrupt
            self.asked.append((messages[0].content, schema is not None))
            yield self._answer(window_in(messages[0].content), schema is not None)

    def _answer(self, window: str, constrained: bool) -> str:
        number = re.search(r"Tenant Number (\d+)", window)
        nth = int(number[1]) if number else 0
        right = json.loads(letting(nth).labels)
        found = self._faults(nth, {key: value if find(value, window) else None for key, value in right.items()})
        if isinstance(found, str):
            return SCHEMA.dumps({}) if constrained and found == PROSE else found
        return SCHEMA.dumps(found)

    def close(self) -> None:
        self.closed = True


def base_faults(nth: int, labels: Labels) -> Labels | str:
    """Only tenants, and from the fifth document on nothing that can be read, unless it is held to the schema."""
    return {**SCHEMA.empty(), "tenant": labels["tenant"]} if nth <= 4 else PROSE


def real_only_faults(nth: int, labels: Labels) -> Labels | str:
    """Never what the premises are for."""
    return {**labels, "use": None}


def with_synthetic_faults(nth: int, labels: Labels) -> Labels | str:
    """One wrong, one missing, one that is not there."""
    mistakes: dict[int, Labels] = {1: {"tenant": "Somebody Else"}, 2: {"start": None}, 7: {"use": "a shop"}}
    return labels | mistakes.get(nth, {})


MetricKey = tuple[str, int, str, str, str]
"""(model, round, definition, key, metric)."""


@dataclass
class Bench:
    """Everything that the stage takes, over one folder. ``faults`` are by model: base, generator, judge, a run's id."""

    folder: Path
    uri: str
    experiment: str
    lakehouse: EmbeddedLakehouse
    faults: dict[str, Faults] = field(default_factory=dict)
    free_only: set[str] = field(default_factory=set)
    stops_after: dict[str, int] = field(default_factory=dict)
    opened: list[tuple[str, str | None, Answering]] = field(default_factory=list)
    reports: list[ExtractionReport] = field(default_factory=list)
    progress: Silent = field(default_factory=Silent)

    def config(self, **section: Any) -> Config:
        endpoint = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "price": {"input": 2.0, "output": 10.0}}
        return Config.model_validate(
            {
                "task": "structured_extraction",
                "schema": "lettings",
                "engine": {"warehouse": str(self.folder)},
                "generate": {"method": "rules", "rounds": 2},
                "endpoints": {"generator": endpoint, "judge": endpoint | {"window_tokens": 64}},
                "evaluate": section,
            }
        )

    def evaluate(
        self, run_id: str = "e1", *, dry_run: bool = False, window_tokens: int = 200, **section: Any
    ) -> StageResult:
        config = self.config(**section)

        def open_answerer(role: str, of_run: FinetuneRun | None) -> Answering:
            model = of_run.run_id if role == "tuned" and of_run else role
            found = Answering(
                f"{model}-weights",
                self.faults.get(model, none_at_all),
                role not in self.free_only,
                self.stops_after.get(model),
            )
            self.opened.append((role, of_run.run_id if of_run else None, found))
            return found

        def write_report(report: ExtractionReport) -> Path:
            self.reports.append(report)
            path = self.folder / f"{report.run_id}.html"
            path.write_text(report.run_id)
            return path

        tracker = MlflowTracker(self.uri, self.experiment, self.folder / "mlartifacts")
        cache = RequestCache(config.state / "requests.sqlite")
        reading = Reading(SCHEMA, instruction(SCHEMA), words, window_tokens, 8)
        try:
            return evaluate_extraction(
                Run(run_id, config, self.progress, dry_run),
                self.lakehouse,
                open_answerer,
                cache,
                tracker,
                write_report,
                reading,
                FileSource(SCHEMA),
            )
        finally:
            cache.close()

    def predictions(self, run_id: str = "e1") -> list[Prediction]:
        found = EVALUATION_PREDICTIONS.records(self.lakehouse.read(EVALUATION_PREDICTIONS, where={"run_id": run_id}))
        return list(found)

    def metrics(self, run_id: str = "e1", dataset: str = HOLDOUT) -> dict[MetricKey, Metric]:
        where = {"run_id": run_id, "dataset": dataset}
        found = EVALUATION_METRICS.records(self.lakehouse.read(EVALUATION_METRICS, where=where))
        return {(each.model, each.round, each.definition, each.key, each.metric): each for each in found}

    def confusion(self, model: str, round_: int, definition: str, key: str = "all") -> tuple[float | None, ...]:
        found = self.metrics()
        return tuple(found[model, round_, definition, key, cell].value for cell in ("tp", "fp", "fn", "tn"))

    def runs(self, *runs: FinetuneRun) -> None:
        self.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(runs))

    def trained_on(self, table: Table[TrainingRow], *rows: TrainingRow) -> None:
        version = self.lakehouse.overwrite(table, table.batches(rows))
        if table is FT_TRAINING:
            self.runs(finetune_run("f1-r0", 0, training_version=version))

    def write_set(self, *leases: LabelledLease, name: str = "others") -> dict[str, str]:
        path = self.folder / f"{name}.jsonl"
        lines = [
            json.dumps({"lease_id": each.lease_id, "lease_doc": each.lease_doc, "labels": json.loads(each.labels)})
            for each in leases
        ]
        path.write_text("\n".join(lines) + "\n")
        return {"name": name, "path": str(path)}


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def empty(tmp_path: Path, mlflow_uri: str, request: pytest.FixtureRequest) -> Bench:
    return Bench(tmp_path, mlflow_uri, request.node.name, EmbeddedLakehouse(tmp_path, "main", "lettings"))


@pytest.fixture
def bench(empty: Bench) -> Bench:
    """Eight hold-out documents, and a selected run of round 0 and of round 1, trained on another family."""
    leases = [letting(nth) for nth in range(1, DOCUMENTS + 1)]
    empty.lakehouse.overwrite(LEASE_DOCS_HOLDOUT, LEASE_DOCS_HOLDOUT.batches(leases))
    empty.lakehouse.overwrite(LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN.batches([letting(21), letting(22)]))
    version = empty.lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches([training_row(21)]))
    empty.lakehouse.overwrite(FT_EVAL, FT_EVAL.batches([training_row(22)]))
    empty.runs(*(finetune_run(f"f1-r{round_}", round_, training_version=version) for round_ in (0, 1)))
    empty.faults = {"base": base_faults, "f1-r0": real_only_faults, "f1-r1": with_synthetic_faults}
    return empty


def training_row(nth: int, group_key: str | None = None) -> TrainingRow:
    lease = letting(nth)
    (row,) = Reading(SCHEMA, instruction(SCHEMA), words, 200, 8).training_rows(
        lease.lease_id, group_key or lease.lease_id, lease.lease_doc, SCHEMA.loads(lease.labels)
    )
    return row


def finetune_run(run_id: str, round_: int, **changed: Any) -> FinetuneRun:
    run = FinetuneRun(
        run_id=run_id,
        sweep_id=run_id.partition("-")[0],
        task="structured_extraction",
        round=round_,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=1e-3,
        epochs=1.0,
        state="finished",
        metrics={"eval_loss": 0.05, "task_f1_strict": 0.5},
        selected=True,
        model_uri=f"models/{run_id}/merged",
        model_version=None,
        training_table="ft_training",
        training_version=0,
    )
    return replace(run, **changed)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_both_graders_count_what_was_worked_out_by_hand(bench: Bench) -> None:
    """Eight tenants, eight dates, six uses and two documents without one: 22 values to find."""
    bench.evaluate()
    assert bench.confusion("tuned_constrained", 0, "strict") == (16, 0, 6, 2)
    assert bench.confusion("tuned_constrained", 1, "strict") == (20, 2, 2, 1), "a wrong value is too many and too few"
    assert bench.confusion("tuned_constrained", 1, "published") == (20, 2, 1, 1), "a wrong value is too many only"
    assert bench.confusion("tuned_constrained", 1, "strict", "use") == (6, 1, 0, 1)
    assert bench.confusion("base_constrained", 0, "strict") == (4, 0, 18, 2)
    figures = bench.metrics()
    assert figures["tuned_constrained", 1, "strict", "all", "f1"].value == pytest.approx(2 * 20 / (2 * 20 + 2 + 2))
    assert figures["tuned_constrained", 1, "published", "all", "f1"].value == pytest.approx(2 * 20 / (2 * 20 + 2 + 1))
    assert figures["tuned_constrained", 1, "published", "all", "recall"].value == pytest.approx(20 / 21)
    # Tenants 7 of 8 (one wrong), dates 7 of 8 (one missing), uses 6 of 6 (one spurious).
    assert figures["tuned_constrained", 1, "strict", "all", "macro_f1"].value == pytest.approx(
        (14 / 16 + 14 / 15 + 12 / 13) / 3
    )
    assert figures["base_constrained", 0, "strict", "start", "precision"].value is None, "no date was ever given"
    f1 = figures["tuned_constrained", 1, "strict", "all", "f1"]
    assert f1.ci_low is not None
    assert f1.ci_low < (f1.value or 0) <= (f1.ci_high or 0)
    assert (f1.n, f1.context, f1.slice, f1.dataset, f1.finetune_run_id) == (8, "with", "all", HOLDOUT, "f1-r1")
    assert figures["base", 0, "strict", "all", "f1"].finetune_run_id is None


def test_a_document_that_cannot_be_read_counts_as_all_null(bench: Bench) -> None:
    bench.evaluate()
    figures = bench.metrics()
    assert bench.confusion("base", 0, "strict") == (4, 0, 18, 2)
    invalid = figures["base", 0, "all", "all", "invalid_json"]
    assert (invalid.value, invalid.n) == (0.5, DOCUMENTS)
    assert figures["base_constrained", 0, "all", "all", "invalid_json"].value == 0
    by_row = {each.row_id: each for each in bench.predictions() if each.model == "base"}
    assert by_row["letting-5"].prediction == PROSE
    assert by_row["letting-5"].scores["invalid_replies"] == 1
    assert (by_row["letting-5"].scores["strict_fn"], by_row["letting-7"].scores["strict_tn"]) == (3, 1)
    assert json.loads(by_row["letting-4"].prediction) == {"tenant": "Tenant Number 4", "start": None, "use": None}
    assert by_row["letting-4"].reference == letting(4).labels


def test_a_constrained_reply_that_was_cut_off_is_told(bench: Bench) -> None:
    bench.faults["base"] = lambda nth, labels: '{"tenant": "Tenant Num' if nth == 2 else labels
    result = bench.evaluate(models=["base"], decoding=["constrained"], max_new_tokens=40)
    assert result.warnings == [
        "base_constrained on lease_docs_holdout: 1 of 8 replies were cut off at 40 tokens and count as unreadable; "
        "raise evaluate.max_new_tokens"
    ]
    assert bench.confusion("base_constrained", 0, "strict") == (19, 0, 3, 2)


def test_every_difference_is_paired_and_named(bench: Bench) -> None:
    bench.evaluate(models=["base", "tuned", "generator"])
    figures = bench.metrics()

    def difference(model: str, round_: int, definition: str = "strict") -> float:
        return figures[model, round_, definition, "all", "f1"].value or 0

    base, first, second = 8 / 26, 32 / 38, 40 / 44
    assert difference("tuned_constrained-base_constrained", 0) == pytest.approx(first - base)
    assert difference("tuned_constrained-base_constrained", 1) == pytest.approx(second - base)
    assert difference("tuned-base", 1) == pytest.approx(second - base)
    assert difference("tuned-base_constrained", 1) == pytest.approx(second - base)
    assert difference("tuned_constrained-generator", 1) == pytest.approx(second - 1)
    assert difference("tuned_constrained-previous_round", 1) == pytest.approx(second - first)
    assert difference("tuned_constrained-round_0", 1, "published") == pytest.approx(40 / 43 - first)
    assert figures["tuned_constrained-previous_round", 1, "strict", "all", "f1"].finetune_run_id == "f1-r1"
    assert ("tuned_constrained-previous_round", 0, "strict", "all", "f1") not in figures, "nothing was before round 0"
    assert {model for model, *_ in figures} >= {"generator", "tuned-previous_round", "tuned-round_0"}
    paired = figures["tuned_constrained-base_constrained", 1, "strict", "use", "recall"]
    assert (paired.value, paired.ci_low) == (1, 1), "every use is found by one and none by the other"


def test_findings_claim_what_the_interval_supports_and_no_more(bench: Bench) -> None:
    findings = bench.evaluate().findings
    (headline,) = [line for line in findings if "against base_constrained" in line and "strict" in line]
    assert headline.startswith("hold-out, strict F1: tuned_constrained round 1 0.91 [")
    assert "against base_constrained 0.31 [" in headline
    assert headline.endswith("n=8: tuned does better")
    (rounds,) = [line for line in findings if "against tuned_constrained round 0" in line and "strict" in line]
    assert rounds.endswith("no difference can be claimed"), "one wrong, one missing and one spurious outweigh the uses"
    assert len({line.split(":")[0] for line in findings}) == 2, "both definitions"


def test_counts_hold_the_headline_of_every_model(bench: Bench) -> None:
    result = bench.evaluate()
    assert result.counts["documents"] == {HOLDOUT: DOCUMENTS}
    assert result.counts["finetune_runs"] == {"0": "f1-r0", "1": "f1-r1"}
    assert result.counts["f1"][HOLDOUT]["strict"] == {
        "base_constrained": round(8 / 26, 4),
        "base": round(8 / 26, 4),
        "tuned_constrained/r0": round(32 / 38, 4),
        "tuned/r0": round(32 / 38, 4),
        "tuned_constrained/r1": round(40 / 44, 4),
        "tuned/r1": round(40 / 44, 4),
    }
    assert result.counts["invalid_json"][HOLDOUT]["base"] == 0.5
    assert result.counts["answers"] == bench.progress.done == DOCUMENTS * 6
    assert result.tables["evaluation_predictions"].rows == DOCUMENTS * 6
    assert all(answerer.closed for *_, answerer in bench.opened)


def test_a_long_document_is_read_in_windows_and_an_endpoint_at_its_own_size(bench: Bench) -> None:
    """Two windows of a local model; ``judge`` reads 64 tokens at a time, which is all of it."""
    filler = " ".join(f"Clause {nth} says nothing of note." for nth in range(5))
    lease = letting(1)
    long = replace(lease, lease_doc=lease.lease_doc.replace(". The", f". {filler} The"))
    bench.lakehouse.overwrite(LEASE_DOCS_HOLDOUT, LEASE_DOCS_HOLDOUT.batches([long]))
    bench.evaluate(models=["tuned", "judge"], run="f1-r0", decoding=["constrained"], window_tokens=32)
    scores = {each.model: each.scores for each in bench.predictions()}
    assert {model: each["windows"] for model, each in scores.items()} == {"tuned_constrained": 2, "judge": 1}
    assert (scores["judge"]["strict_tp"], scores["tuned_constrained"]["strict_tp"]) == (3, 2)


# --- who is evaluated ------------------------------------------------------------------------------------------------


def test_each_model_is_opened_once_and_the_base_is_that_of_the_runs(bench: Bench) -> None:
    bench.evaluate(models=["tuned", "base", "generator"])
    assert [(role, of_run) for role, of_run, _ in bench.opened] == [
        ("tuned", "f1-r0"),
        ("tuned", "f1-r1"),
        ("base", "f1-r1"),
        ("generator", None),
    ]
    *_, (_, _, generator) = bench.opened
    assert all(constrained for _, constrained in generator.asked), "an endpoint is only asked for structured output"


def test_the_last_selected_run_of_each_round_is_taken(bench: Bench) -> None:
    bench.runs(
        finetune_run("f2-r0", 0),
        finetune_run("f2-r1", 1),
        finetune_run("f2-r1-other", 1, selected=False),
        finetune_run("f9-r1", 1, task="regulation_qa"),
        finetune_run("f9-r0", 0, state="failed"),
    )
    assert bench.evaluate().counts["finetune_runs"] == {"0": "f2-r0", "1": "f2-r1"}
    assert [each.run_id for each in bench.reports[0].rounds] == ["f2-r0", "f2-r1"]
    assert [each.run.run_id for each in bench.reports[0].sweep] == ["f2-r0", "f2-r1", "f2-r1-other"]


def test_a_round_that_was_not_trained_again_is_left_out(bench: Bench) -> None:
    """As after an early stop: round 1 belongs to an earlier command than round 0."""
    bench.runs(finetune_run("f2-r0", 0))
    result = bench.evaluate()
    assert result.counts["finetune_runs"] == {"0": "f2-r0"}
    (warning,) = result.warnings
    assert "round 1 (f1-r1) was trained before round 0 was trained anew" in warning


def test_one_run_can_be_named(bench: Bench) -> None:
    bench.runs(finetune_run("f9-r0", 0, state="failed"))
    assert bench.evaluate(run="f1-r1").counts["finetune_runs"] == {"1": "f1-r1"}
    assert ("tuned_constrained-previous_round", 1, "strict", "all", "f1") not in bench.metrics()
    with pytest.raises(ConfigError, match=r"evaluate\.run: 'f9-r0' is failed, not finished") as caught:
        bench.evaluate(run="f9-r0")
    assert caught.value.remedy == "finished runs: f1-r0, f1-r1"


def test_without_a_run_only_the_others_can_be_evaluated(bench: Bench) -> None:
    bench.lakehouse.overwrite(FINETUNE_RUNS, [])
    with pytest.raises(NothingToDo, match="no selected run"):
        bench.evaluate()
    result = bench.evaluate(models=["base"], decoding=["constrained"])
    assert list(result.counts["f1"][HOLDOUT]["strict"]) == ["base_constrained"]
    assert result.findings[1].startswith("hold-out, strict F1: base_constrained 0.31 [")


def test_a_model_that_cannot_be_held_to_the_schema_answers_freely_only(bench: Bench) -> None:
    bench.free_only = {"base", "tuned"}
    result = bench.evaluate(run="f1-r1")
    assert {model for model, *_ in bench.metrics()} == {"base", "tuned", "tuned-base"}
    assert [warning.split(" is left out")[0] for warning in result.warnings] == [
        "base_constrained",
        "tuned_constrained/r1",
    ]
    assert any("tuned round 1" in line and line.endswith("tuned does better") for line in result.findings)
    with pytest.raises(StageFailed, match="no model left to evaluate") as caught:
        bench.evaluate("e2", decoding=["constrained"])
    assert "evaluate.decoding" in caught.value.remedy
    assert not bench.predictions("e2")


# --- resuming --------------------------------------------------------------------------------------------------------


def test_a_killed_evaluation_goes_on_where_it_stopped(bench: Bench) -> None:
    bench.stops_after = {"f1-r0": 3}
    with pytest.raises(KeyboardInterrupt):
        bench.evaluate("e1", decoding=["free"])
    assert bench.lakehouse.count(EVALUATION_PREDICTIONS) == 0
    bench.stops_after = {}
    result = bench.evaluate("e2", decoding=["free"])
    assert sum(len(answerer.asked) for *_, answerer in bench.opened) == result.counts["answers"], "none was asked twice"
    assert result.counts["from_cache"] == DOCUMENTS + 3
    again = bench.evaluate("e3", decoding=["free"])
    assert again.counts["from_cache"] == again.counts["answers"]
    assert bench.metrics("e2").keys() == bench.metrics("e3").keys()
    assert all(replace(each, run_id="e3") == bench.metrics("e3")[key] for key, each in bench.metrics("e2").items())


def test_a_reply_that_was_held_to_the_schema_is_not_taken_for_a_free_one(bench: Bench) -> None:
    bench.evaluate("e1", models=["base"], decoding=["constrained"])
    assert bench.evaluate("e2", models=["base"], decoding=["free"]).counts["from_cache"] == 0


def test_a_budget_that_is_reached_keeps_what_was_paid_for(bench: Bench) -> None:
    bench.stops_after = {"generator": 5}
    with pytest.raises(BudgetReached):
        bench.evaluate("e1", models=["generator"])
    bench.stops_after = {}
    assert bench.evaluate("e2", models=["generator"]).counts["from_cache"] == 5


# --- leaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [FT_TRAINING, FT_EVAL])
def test_a_model_that_has_seen_a_holdout_lease_or_its_child_is_not_evaluated(
    bench: Bench, table: Table[TrainingRow]
) -> None:
    bench.trained_on(table, training_row(31, group_key="letting-3"))
    with pytest.raises(StageFailed, match="f1-r0 has seen 1 of the 8 hold-out documents: letting-3") as caught:
        bench.evaluate()
    assert "finreg finetune" in caught.value.remedy
    assert not bench.opened
    bench.evaluate(models=["base"])


def test_a_holdout_text_that_was_trained_on_under_another_name_is_refused(bench: Bench) -> None:
    bench.trained_on(FT_TRAINING, training_row(4, group_key="quite-another"))
    with pytest.raises(StageFailed, match="trained on the text of 1 of the 8 documents of lease_docs_holdout: letting"):
        bench.evaluate()
    assert not bench.opened


def test_an_extra_document_among_those_for_training_is_named(bench: Bench) -> None:
    """The training document differs in its blanks alone."""
    spaced = letting(22).lease_doc.replace(" ", "\n")
    extra = bench.write_set(letting(40), letting(22, lease_id="other-name", lease_doc=spaced))
    with pytest.raises(StageFailed, match="f1-r0 was trained on the text of 1 of the 2 documents of others: other-nam"):
        bench.evaluate(extra_sets=[extra])
    assert not bench.opened
    assert bench.evaluate(models=["base"], extra_sets=[extra]).counts["documents"] == {HOLDOUT: 8, "others": 2}


# --- extra sets ------------------------------------------------------------------------------------------------------


def test_extra_sets_have_figures_of_their_own(bench: Bench) -> None:
    extra = bench.write_set(*(letting(nth) for nth in range(41, 44)))
    with (bench.folder / "others.jsonl").open("a") as lines:
        lines.write('{"lease_id": "x", "lease_doc": "text", "labels": {"tenant": "no other key"}}\n')
    result = bench.evaluate(extra_sets=[extra], limit=6)
    assert result.counts["documents"] == {HOLDOUT: 6, "others": 3}
    assert result.counts["unusable"] == {"others": 1}
    (warning,) = result.warnings
    assert warning.startswith("others: 1 documents are left out: ")
    assert "others.jsonl:4" in warning
    figures = bench.metrics(dataset="others")
    f1 = figures["tuned_constrained", 1, "strict", "all", "f1"]
    assert (f1.value, f1.ci_low, f1.n) == (1, None, 3), "three documents get no interval"
    assert figures["tuned_constrained-base_constrained", 1, "strict", "all", "f1"].value == 1
    (line,) = [each for each in result.findings if each.startswith("others, strict F1") and "base_constrained" in each]
    assert line.endswith("n=3: too few documents to claim a difference")
    assert result.counts["f1"]["others"]["published"]["tuned_constrained/r0"] == pytest.approx(12 / 15, abs=1e-4)


def test_an_extra_set_that_cannot_be_read_is_an_error_before_any_model_is_opened(bench: Bench, empty: Bench) -> None:
    broken = bench.folder / "broken.jsonl"
    broken.write_text("{}\n")
    twice = bench.write_set(letting(50))
    for extra_sets, problem in (
        ([{"name": "gone", "path": str(bench.folder / "gone.jsonl")}], "'gone': .*gone.jsonl"),
        ([{"name": "broken", "path": str(broken)}], "'broken' .*holds no usable document"),
        ([twice, twice], "two test sets of the name 'others'"),
        ([twice | {"name": HOLDOUT}], f"two test sets of the name '{HOLDOUT}'"),
    ):
        with pytest.raises(ConfigError, match=f"evaluate.extra_sets: .*{problem}") as caught:
            bench.evaluate(extra_sets=extra_sets, dry_run=True)
        assert caught.value.remedy
    assert not bench.opened


# --- what is read and written ----------------------------------------------------------------------------------------


def test_a_sample_of_the_holdout_is_the_same_every_time(bench: Bench) -> None:
    for run_id, limit in (("e1", 3), ("e2", 3), ("e3", 5)):
        bench.evaluate(run_id, models=["base"], limit=limit)
    three, again, five = ({each.row_id for each in bench.predictions(run_id)} for run_id in ("e1", "e2", "e3"))
    assert len(three) == 3
    assert three == again < five


def test_labels_of_another_schema_are_refused(bench: Bench) -> None:
    other = letting(1, labels=json.dumps({"tenant": "Tenant Number 1", "rent": "2"}))
    bench.lakehouse.overwrite(LEASE_DOCS_HOLDOUT, LEASE_DOCS_HOLDOUT.batches([other]))
    with pytest.raises(
        StageFailed, match=r"labels of letting-1 .* do not fit .*: the key 'start' is missing"
    ) as caught:
        bench.evaluate()
    assert "finreg ingest" in caught.value.remedy


def test_without_documents_there_is_nothing_to_do(empty: Bench) -> None:
    with pytest.raises(NothingToDo, match="no hold-out documents") as caught:
        empty.evaluate()
    assert "finreg ingest" in caught.value.remedy
    (warning,) = empty.evaluate(dry_run=True).warnings
    assert "no hold-out documents" in warning


def test_a_dry_run_counts_requests_and_tokens_and_what_an_endpoint_would_cost(bench: Bench) -> None:
    models = ["base", "tuned", "generator"]
    result = bench.evaluate(dry_run=True, models=models, decoding=["constrained"], limit=2, max_new_tokens=100)
    assert (bench.opened, bench.reports) == ([], [])
    assert not bench.lakehouse.exists(EVALUATION_PREDICTIONS)
    names = ["base_constrained", "tuned_constrained/r0", "tuned_constrained/r1", "generator"]
    assert result.counts["requests"] == dict.fromkeys(names, 2)
    tokens = result.counts["prompt_tokens"]["generator"]
    one = len(words(instruction(SCHEMA)))
    assert 2 * one < tokens < 2 * (one + 25)
    estimate = result.counts["at_most"]["generator"]
    assert (estimate["requests"], estimate["input_tokens"], estimate["output_tokens"]) == (2, tokens, 2 * 1024)
    assert estimate["money"] == pytest.approx((tokens * 2 + 2 * 1024 * 10) / 1e6)


def test_the_tracked_run_has_the_figures_the_dataset_and_the_report(bench: Bench) -> None:
    bench.evaluate(extra_sets=[bench.write_set(letting(40))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow's dependencies deprecate of each other
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=bench.uri)
    experiment = client.get_experiment_by_name(bench.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    tracked = run.data.metrics
    assert tracked["tuned_constrained/r1/strict/f1"] == pytest.approx(40 / 44)
    assert {"tuned_constrained/r1/strict/f1/ci_low", "base_constrained/published/macro_f1/ci_high"} <= tracked.keys()
    assert tracked["tuned_constrained-base_constrained/r1/strict/f1"] == pytest.approx(40 / 44 - 8 / 26)
    assert tracked["base/invalid_json"] == 0.5
    assert tracked["others/tuned_constrained/r1/strict/f1"] == 1
    assert run.data.tags["finreg.finetune_run_id.r1"] == "f1-r1"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == HOLDOUT
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["e1.html"]


def test_the_report_gets_all_that_it_shows(bench: Bench) -> None:
    spent = SynthesisRound(
        run_id="g1",
        round=1,
        method="llm",
        generated=4,
        kept=3,
        requests=10,
        cached=1,
        input_tokens=100,
        output_tokens=50,
        money=0.5,
    )
    later = replace(spent, run_id="g2", generated=1, kept=1, requests=3, money=0.25)
    unpriced = replace(spent, round=2, money=None)
    bench.lakehouse.append(SYNTHESIS_ROUNDS, SYNTHESIS_ROUNDS.batches([later, spent, unpriced]))
    bench.evaluate(extra_sets=[bench.write_set(letting(40))])
    (report,) = bench.reports
    assert report.datasets == {HOLDOUT: DOCUMENTS, "others": 1}
    assert [each.round for each in report.rounds] == [0, 1]
    first, second = report.spent
    assert (first.run_id, first.generated, first.kept, first.requests, first.money) == ("g2", 5, 4, 13, 0.75)
    assert second.money is None
    assert [(each.name, each.rows) for each in report.tables] == [
        (HOLDOUT, DOCUMENTS),
        ("lease_docs_train", 2),
        ("ft_training", 1),
        ("ft_training", 1),
    ]
    assert len(report.predictions) == (DOCUMENTS + 1) * 6
    assert {each.dataset for each in report.metrics} == {HOLDOUT, "others"}
    assert report.schema == SCHEMA

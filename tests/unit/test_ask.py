"""Asking on real tables and a real index; the models are code that really answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes import chunks
from fakes.progress import Silent
from finreg_cli.config import Config, ModelRole
from finreg_cli.domain.chat_format import ABSTENTION, prompt
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.records import FINETUNE_RUNS, SPLITTED_DOCUMENTS, Chunk, FinetuneRun, Message
from finreg_cli.errors import ConfigError, NothingToDo
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.retrieval.bm25 import Bm25Retriever
from finreg_cli.stages.ask import Asked, Cited, ask
from finreg_cli.stages.base import Run
from finreg_cli.stages.serving import ServedModel, calls, served_model
from finreg_cli.stages.tuned_runs import selected_runs

RATIO = "Institutions shall hold a ratio of 4,5 %."


def chunk(citation: str, text: str, version_date: str | None = None) -> Chunk:
    return chunks.chunk(
        citation,
        text,
        chunk_id=content_hash(citation, text),
        document_id=content_hash(version_date),
        work_id="32013R0575",
        version_date=version_date,
        path="crr.pdf",
        page_start=65,
        page_end=66,
    )


CHUNKS = [
    chunk("CRR Article 92", f"1. {RATIO}", "2013-06-26"),
    chunk("CRR Article 93", "Initial capital of an institution shall not fall.", "2013-06-26"),
]


def finished(run_id: str, **given: Any) -> FinetuneRun:
    return FinetuneRun(
        **{
            "run_id": run_id,
            "sweep_id": run_id[:4],
            "task": "regulation_qa",
            "round": 0,
            "trainer": "local",
            "base_model": "the-base",
            "method": "lora",
            "learning_rate": 1e-3,
            "epochs": 1.0,
            "state": "finished",
            "metrics": {},
            "selected": True,
            "model_uri": f"models/{run_id}/merged",
            "model_version": None,
            "training_table": "ft_training",
            "training_version": 0,
            **given,
        }
    )


class Answering:
    """Says what it was made with, and keeps what it was asked."""

    identity, holds_to_schema = "answering", False

    def __init__(self, says: str) -> None:
        self.says = says
        self.asked: list[Sequence[Message]] = []
        self.most_tokens = 0
        self.closed = False

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        self.asked += prompts
        self.most_tokens = max_tokens
        yield from (self.says for _ in prompts)

    def close(self) -> None:
        self.closed = True


class World:
    """A warehouse with models in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lakehouse = EmbeddedLakehouse(folder / "lake", "main", "euroreg")
        self.models = {role: Answering("?") for role in ("base", "tuned", "generator")}
        self.opened: list[tuple[str, str | None]] = []

    def config(self, **sections: Any) -> Config:
        engine = {"warehouse": str(self.folder / "lake")}
        return Config.model_validate({"engine": engine, "generate": {"method": "rules"}, **sections})

    def write(self, chunks: Sequence[Chunk] = CHUNKS, runs: Sequence[FinetuneRun] = ()) -> None:
        if chunks:
            self.lakehouse.merge(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches(chunks))
        if runs:
            self.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(runs))

    def ask(
        self, question: str, models: Sequence[ModelRole] = ("base", "tuned"), top: int = 1, **sections: Any
    ) -> Asked:
        def opening(role: str, run: FinetuneRun | None) -> Answering:
            self.opened.append((role, run.run_id if run else None))
            return self.models[role]

        run = Run("of-this-command", self.config(**sections), Silent())
        return ask(run, self.lakehouse, opening, Bm25Retriever(self.folder / "kept"), question, models, top)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write(runs=[finished("2026-1")])
    return made


# --- what is asked ---


def test_the_models_are_asked_as_the_evaluation_asks_them_one_after_another(world: World) -> None:
    asked = world.ask("What does Article 92 require?", ["tuned", "base", "tuned"])
    expected = prompt(f"CRR Article 92\n1. {RATIO}", "What does Article 92 require?")
    assert world.opened == [("tuned", "2026-1"), ("base", "2026-1")]
    for role in ("base", "tuned"):
        assert world.models[role].asked == [expected]
        assert world.models[role].most_tokens == 160
        assert world.models[role].closed
    assert [(each.model, each.name) for each in asked.answers] == [("tuned", "2026-1"), ("base", "the-base")]


def test_several_passages_are_joined_as_in_rows_of_several_articles(world: World) -> None:
    world.ask("What does Article 93 say of a ratio?", ["base"], top=5)
    (asked,) = world.models["base"].asked
    context = asked[-1].content.split("\nPlease answer")[0].removeprefix("Context:\n")
    assert context == f"CRR Article 93\n{CHUNKS[1].text}\n\nCRR Article 92\n{CHUNKS[0].text}"


def test_without_context_nothing_is_searched(tmp_path: Path) -> None:
    world = World(tmp_path)
    asked = world.ask("What is own funds?", ["base"], top=0)
    assert world.models["base"].asked == [prompt("", "What is own funds?")]
    assert asked.passages == []
    assert not (tmp_path / "kept").exists()


def test_a_chosen_run_is_asked(world: World) -> None:
    world.write(chunks=(), runs=[finished("2026-2"), finished("2026-3", selected=False)])
    world.ask("What is a ratio?")
    world.ask("What is a ratio?", evaluate={"run": "2026-3"})
    assert [run for _, run in world.opened] == ["2026-2", "2026-2", "2026-3", "2026-3"]


def test_only_what_is_in_force_is_found_and_a_new_version_at_once(world: World) -> None:
    assert world.ask("What is the ratio?", ["base"]).passages[0].chunk.text.endswith(RATIO)
    world.write([chunk("CRR Article 92", "1. Institutions shall hold a ratio of 5 %.", "2024-07-09")])
    (passage,) = world.ask("Which ratio of 4,5 % or of 5 %?", ["base"], top=9).passages
    assert "5 %" in passage.chunk.text
    assert "4,5 %" not in passage.chunk.text


# --- what is said of the answers ---


@pytest.mark.parametrize(
    ("says", "cited", "citation"),
    [
        ("4,5 %. [CRR Article 92]", Cited.found, "CRR Article 92"),
        ("4,5 %. [CRR Article 92(1)]", Cited.found, "CRR Article 92(1)"),
        ("4,5 %. [CRR Article 92(7)]", Cited.not_found, "CRR Article 92(7)"),
        ("4,5 %. [CRR Article 93]", Cited.not_found, "CRR Article 93"),
        ("4,5 %. [CRR Article 92; CRR Article 93]", Cited.not_found, "CRR Article 92; CRR Article 93"),
        ("4,5 %.", Cited.missing, None),
        ("", Cited.missing, None),
        (ABSTENTION, Cited.abstained, None),
        ("i don’t know [CRR Article 92]", Cited.abstained, "CRR Article 92"),
    ],
)
def test_a_citation_is_looked_for_among_the_passages(
    world: World, says: str, cited: Cited, citation: str | None
) -> None:
    world.models["base"].says = says
    (answer,) = world.ask("What does Article 92 require?", ["base"]).answers
    assert (answer.cited, answer.citation, answer.answer) == (cited, citation, says)


def test_without_passages_a_citation_is_never_called_found(world: World) -> None:
    world.models["base"].says = "4,5 %. [CRR Article 92]"
    (answer,) = world.ask("What does Article 92 require?", ["base"], top=0).answers
    assert answer.cited is Cited.unchecked
    assert "not checked" in answer.verdict


def test_all_of_it_is_json(world: World) -> None:
    world.models["base"].says = "4,5 %. [CRR Article 92]"
    told = json.loads(json.dumps(world.ask("What does Article 92 require?", ["base"]).as_json()))
    (passage,), (answer,) = told["passages"], told["answers"]
    assert (passage["citation"], passage["page_start"], passage["named"]) == ("CRR Article 92", 65, True)
    assert (answer["text"], answer["citation"], answer["citation_check"]) == ("4,5 %.", "CRR Article 92", "found")
    assert answer["abstains"] is False


def test_a_passage_says_where_it_stands_and_why_it_was_found(world: World) -> None:
    (named,) = world.ask("What does Article 92 require?", ["base"]).passages
    assert named.source == "CRR Article 92, crr.pdf pages 65-66 (named in the question)"
    (by_words,) = world.ask("Which ratio?", ["base"]).passages
    assert by_words.source.startswith("CRR Article 92, crr.pdf pages 65-66 (score ")


# --- what cannot be asked ---


def test_before_any_model_is_tuned_only_the_base_is_asked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write(runs=[finished("2026-1", state="failed", selected=False)])
    with pytest.raises(NothingToDo, match="no tuned model") as refused:
        world.ask("What does Article 92 require?")
    assert "finreg finetune" in refused.value.remedy
    assert "--model base" in refused.value.remedy
    assert world.opened == []
    world.ask("What does Article 92 require?", ["base"])
    assert world.opened == [("base", None)]


def test_what_is_missing_is_named_with_its_remedy(world: World, tmp_path: Path) -> None:
    empty = World(tmp_path / "empty")
    with pytest.raises(NothingToDo, match="no chunks") as refused:
        empty.ask("What is own funds?", ["base"])
    assert "finreg ingest" in refused.value.remedy
    with pytest.raises(NothingToDo, match="shares a word with the question 'zebra'"):
        world.ask("zebra", ["base"])
    with pytest.raises(ConfigError, match="no question"):
        world.ask("  ")
    with pytest.raises(ConfigError, match=r"endpoints\.judge is not configured"):
        world.ask("What is own funds?", ["judge"])
    with pytest.raises(ConfigError, match="'2026-9' is not in finetune_runs"):
        world.ask("What is own funds?", evaluate={"run": "2026-9"})
    with pytest.raises(ConfigError, match="structured_extraction") as refused_task:
        world.ask("What is own funds?", task="structured_extraction")
    assert "finreg extract" in refused_task.value.remedy
    assert world.opened == empty.opened == []


def test_an_endpoint_is_asked_by_its_name(world: World) -> None:
    endpoints = {"generator": {"model": "meta/llama", "base_url": "http://localhost/v1"}}
    (answer,) = world.ask("What is the ratio?", ["generator"], endpoints=endpoints).answers
    assert (answer.model, answer.name) == ("generator", "meta/llama")
    assert world.opened == [("generator", None)]


# --- which model is served, and how it is called ---


def test_the_last_selected_model_is_served_or_what_it_was_tuned_from(world: World) -> None:
    world.write(chunks=(), runs=[finished("2026-2"), finished("2026-3", selected=False)])
    tuned = served_model(world.config(), world.lakehouse, "tuned")
    assert (tuned.model, tuned.name) == ("models/2026-2/merged", "2026-2")
    base = served_model(world.config(), world.lakehouse, "base")
    assert (base.model, base.name) == ("the-base", "the-base")
    chosen = served_model(world.config(evaluate={"run": "2026-3"}), world.lakehouse, "tuned")
    assert chosen.name == "2026-3"


def test_of_the_rounds_of_one_command_the_last_is_served(world: World) -> None:
    rounds = [finished(f"2027-r{n}", sweep_id="2027", round=n, task="structured_extraction") for n in (1, 0)]
    world.write(chunks=(), runs=rounds)
    served = served_model(world.config(task="structured_extraction"), world.lakehouse, "tuned")
    assert served.name == "2027-r1"
    assert [each.role for each in served.example] == ["user"]


def test_without_a_tuned_model_the_base_of_the_configuration_is_served(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(NothingToDo, match="no tuned model to serve"):
        served_model(world.config(), world.lakehouse, "tuned")
    assert served_model(world.config(), world.lakehouse, "base").name == "smollm2-135m-instruct"


def test_a_token_from_the_environment_is_not_written_out() -> None:
    served = ServedModel("folder", "tuned-model", prompt("It's law.", 'What\'s "it"?'), 160)
    curl, snippet = calls("http://127.0.0.1:1/v1", "secret-token", "MY_TOKEN", served)
    assert "secret-token" not in curl + snippet
    assert '"$MY_TOKEN"' in curl
    assert 'os.environ["MY_TOKEN"]' in snippet


def test_the_tenth_round_comes_after_the_ninth() -> None:
    rounds = [finished(f"x-r{round_}-1", sweep_id="x", round=round_) for round_ in (10, 9, 2)]
    assert [each.round for each in selected_runs(rounds)] == [2, 9, 10]

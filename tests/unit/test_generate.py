"""The stage on a real lakehouse, with the chain over real HTTP: rows across articles, exports, and what is told."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.assignments import chunk
from fakes.openai_server import FakeOpenAI
from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.domain.records import (
    QA_DATASET,
    QA_DATASET_TRAIN,
    QA_DATASET_VAL,
    QA_REJECTED,
    SPLITTED_DOCUMENTS,
    Chunk,
)
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.chains import ChainWriter
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.generate import generate

FIRST, LAST = 1, 12


def article(number: int) -> Chunk:
    """Each refers to the next one, and to what lies outside; the last one to nothing."""
    references = [f"chunk-{number + 1}", "Directive 2013/36/EU Article 4"] if number < LAST else []
    return dataclasses.replace(chunk(number), heading_path=[f"Article {number} Own funds"], references=references)


@pytest.fixture
def lakehouse(tmp_path: Path) -> EmbeddedLakehouse:
    made = EmbeddedLakehouse(tmp_path / "lakehouse", "main", "euroreg")
    chunks = (article(number) for number in range(FIRST, LAST + 1))
    made.merge(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches(chunks))
    return made


class Recorder:
    """A tracker and its run, which keep what they are told."""

    id = "run"

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.runs: list[str] = []

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str], parent: object = None) -> Iterator[Recorder]:
        self.runs.append(name)
        yield self

    def params(self, values: Mapping[str, Any]) -> None:
        self.told |= values

    def metrics(self, values: Mapping[str, float]) -> None:
        self.told |= values

    def steps(self, values: Iterable[tuple[int, str, float]]) -> None: ...

    def input_table(self, name: str, location: str, version: int, rows: int, context: str) -> None:
        self.told[name] = rows

    def artifact(self, path: Path, folder: str = "") -> None: ...


def made(
    lakehouse: EmbeddedLakehouse,
    cache: RequestCache,
    server: FakeOpenAI,
    tmp_path: Path,
    *,
    resplit: bool = False,
    tracker: Recorder | None = None,
    endpoint: Mapping[str, Any] | None = None,
    **settings: Any,
) -> StageResult:
    config = Config.model_validate(
        {
            "engine": {"warehouse": tmp_path / "lakehouse"},
            "generate": {"method": "llm", "rows_per_chunk": 1, "kinds": {"cross_article": 1.0}, **settings},
            "endpoints": {"generator": {"model": "fake", "base_url": server.url, **(endpoint or {})}},
        }
    )
    writer = ChainWriter(config, cache, Budget(config.budget), {})
    return generate(Run("run", config, Silent()), lakehouse, writer, resplit, tracker)


def rows(lakehouse: EmbeddedLakehouse, table: Any) -> list[Any]:
    return list(table.records(lakehouse.read(table)))


@pytest.fixture
def repeatable() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(repeatable=True) as server:
        yield server


def test_a_row_across_articles_has_both_contexts_and_cites_both(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    result = made(lakehouse, cache, repeatable, tmp_path, validation_fraction=0)
    kept = {row.chunk_id: row for row in rows(lakehouse, QA_DATASET)}
    assert result.counts["by_kind"] == {"cross_article": LAST - 1}  # the last article refers to nothing
    row = kept["chunk-3"]
    assert row.chunk_ids == ["chunk-3", "chunk-4"]
    assert row.citation == "Sample Article 3; Sample Article 4"
    assert row.context == f"Sample Article 3\n{chunk(3).text}\n\nSample Article 4\n{chunk(4).text}"
    assert row.answer.endswith(" [Sample Article 3; Sample Article 4]")
    assert {row.split for row in kept.values()} == {"train"}


def test_a_row_that_would_stand_on_both_sides_is_rejected_before_anything_is_paid(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    made(lakehouse, cache, repeatable, tmp_path, validation_fraction=0.4)
    rejected = rows(lakehouse, QA_REJECTED)
    kept = rows(lakehouse, QA_DATASET)
    assert {row.reason.partition(":")[0] for row in rejected} == {"cross_split"}
    assert len(kept) + len(rejected) == LAST - 1
    assert 0 < len(kept) < LAST - 1
    for row in rejected:
        assert not any(f"{row.context}" in each.prompt for each in repeatable.requests)


def test_rows_that_other_split_settings_would_part_are_dropped_and_come_back_for_nothing(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    made(lakehouse, cache, repeatable, tmp_path, validation_fraction=0)
    asked = len(repeatable.requests)
    made(lakehouse, cache, repeatable, tmp_path, validation_fraction=0.4, resplit=True)
    parted = {row.row_id for row in rows(lakehouse, QA_REJECTED)}
    assert parted
    assert parted.isdisjoint(row.row_id for row in rows(lakehouse, QA_DATASET))
    made(lakehouse, cache, repeatable, tmp_path, validation_fraction=0, resplit=True)
    assert len(rows(lakehouse, QA_DATASET)) == LAST - 1
    assert rows(lakehouse, QA_REJECTED) == []
    assert len(repeatable.requests) == asked


def test_what_cannot_be_had_leaves_its_place_to_other_kinds(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    kinds = {"cross_article": 0.5, "fact": 0.5}
    made(lakehouse, cache, repeatable, tmp_path, kinds=kinds, validation_fraction=0)
    found = Counter(row.kind for row in rows(lakehouse, QA_DATASET))
    assert found["fact"] >= 1
    assert found["cross_article"] >= 1
    assert {row.kind for row in rows(lakehouse, QA_DATASET) if row.chunk_id == f"chunk-{LAST}"} <= {"fact"}


def test_what_was_used_is_told_per_endpoint_and_per_kept_row(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    recorder = Recorder()
    price = {"price": {"input": 1.0, "output": 2.0}}
    settings: dict[str, Any] = {"validation_fraction": 0, "tracker": recorder, "endpoint": price}
    counts = made(lakehouse, cache, repeatable, tmp_path, **settings).counts
    used = counts["usage"]["generator"]
    assert used["requests"] == len(repeatable.requests)
    assert 6 * counts["kept"] <= used["requests"] <= 7 * counts["kept"]
    assert counts["per_kept_row"] == {
        name: pytest.approx(used[name] / counts["kept"])
        for name in ("requests", "input_tokens", "output_tokens", "money")
    }
    assert recorder.told["kept"] == counts["kept"]
    assert recorder.told["generator_requests"] == used["requests"]
    assert recorder.told["per_kept_row_money"] == counts["per_kept_row"]["money"]
    assert recorder.told["splitted_documents"] == LAST
    made(lakehouse, cache, repeatable, tmp_path, **settings)
    assert recorder.runs == ["generate"]  # nothing was left to make


def test_rows_that_may_not_train_stay_out_of_the_training_export(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    kinds = {"fact": 1.0}
    terms = {"outputs_may_train": False}
    counts = made(lakehouse, cache, repeatable, tmp_path, kinds=kinds, endpoint=terms, validation_fraction=0.4).counts
    assert counts["not_for_training"] == counts["rows"] > 0
    assert counts["train"] > 0
    assert lakehouse.count(QA_DATASET_TRAIN) == 0
    assert lakehouse.count(QA_DATASET_VAL) == counts["validation"]


def test_an_estimate_says_what_is_likely_beside_the_ceiling(
    lakehouse: EmbeddedLakehouse, cache: RequestCache, repeatable: FakeOpenAI, tmp_path: Path
) -> None:
    config = Config.model_validate(
        {
            "engine": {"warehouse": tmp_path / "lakehouse"},
            "generate": {"method": "llm", "kinds": {"fact": 1.0}, "rows_per_chunk": 1},
            "endpoints": {"generator": {"model": "fake", "base_url": repeatable.url}},
        }
    )
    writer = ChainWriter(config, cache, Budget(config.budget), {})
    result = generate(Run("run", config, Silent(), dry_run=True), lakehouse, writer)
    ceiling, likely = result.counts["at_most"]["generator"], result.counts["expected"]["generator"]
    assert ceiling["requests"] == likely["requests"] == 7 * LAST
    assert likely["input_tokens"] < ceiling["input_tokens"]
    assert "ceiling" in result.findings[0]
    assert repeatable.requests == []

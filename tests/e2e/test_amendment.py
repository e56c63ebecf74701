"""The drill: a regulation is amended (two articles changed, one repealed, one new), as a user goes through it.

Which rows go, which come, which stay, and what it costs. ``pytest -s`` prints the table of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from fakes.openai_server import FakeOpenAI

DATA = Path(__file__).parents[2] / "data"
OLD = DATA / "regulations/sample-own-funds.pdf"
AMENDED = DATA / "regulations-amended/sample-own-funds.pdf"
OTHER = DATA / "regulations/sample-reporting-and-disclosure.pdf"

TOUCHED = {"Article 20", "Article 25"}
REPEALED, ADDED = "Article 13", "Article 12a"
REPLACED, SIDE_BY_SIDE = "the file is replaced", "both versions lie side by side"

CONFIG = """
source:
  path: docs
  short_names: {{32099R0001: Sample Own Funds Regulation}}
  work_ids: {{sample-own-funds: 32099R0001}}
ingest: {{tokenizer: "{tokenizer}", chunk_tokens: 400, chunk_overlap: 40, prune: true}}
"""
RULES = "generate: {method: rules, validation_fraction: 0.3}\n"
LLM = """
generate: {{method: llm, validation_fraction: 0.3, rows_per_chunk: 2, kinds: {{fact: 0.5, unanswerable: 0.5}}}}
endpoints:
  generator: {{model: writer, base_url: "{url}", max_concurrency: 4}}
"""

Finreg = Callable[..., subprocess.CompletedProcess[str]]


@dataclass
class Drill:
    """A project in which the old version stands; ``run`` is one command with its JSON."""

    finreg: Finreg
    folder: Path

    def run(self, *command: str) -> dict[str, Any]:
        result = self.finreg(*command, "-o", "json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def rows(self) -> dict[str, dict[str, Any]]:
        table = DeltaTable(self.folder / "lakehouse/main/euroreg/qa_dataset").to_pyarrow_table()
        return {row["row_id"]: row for row in table.to_pylist()}

    def chunks(self) -> list[dict[str, Any]]:
        return DeltaTable(self.folder / "lakehouse/main/euroreg/splitted_documents").to_pyarrow_table().to_pylist()

    def exported(self) -> int:
        tables = (self.folder / "lakehouse/main/euroreg" / name for name in ("qa_dataset_train", "qa_dataset_val"))
        return sum(DeltaTable(table).to_pyarrow_table().num_rows for table in tables)

    def amend(self, way: str) -> None:
        name = "sample-own-funds.pdf" if way == REPLACED else "sample-own-funds-2101.pdf"
        shutil.copy(AMENDED, self.folder / "docs" / name)

    def take_back(self, way: str) -> None:
        if way == REPLACED:
            shutil.copy(OLD, self.folder / "docs/sample-own-funds.pdf")
        else:
            (self.folder / "docs/sample-own-funds-2101.pdf").unlink()


@pytest.fixture
def drill(finreg: Finreg, tmp_path: Path, tokenizer_file: Path) -> Callable[[str], Drill]:
    def begin(method: str) -> Drill:
        (tmp_path / "finreg.yaml").write_text(CONFIG.format(tokenizer=tokenizer_file) + method)
        (tmp_path / "docs").mkdir()
        for file in (OLD, OTHER):
            shutil.copy(file, tmp_path / "docs")
        return Drill(finreg, tmp_path)

    return begin


def unit_of(row: dict[str, Any]) -> str:
    """``Article 20`` of the amended regulation; another one's with its work."""
    return row["split_unit"].removeprefix("32099R0001#")


def alive(rows: dict[str, dict[str, Any]]) -> set[str]:
    return {row_id for row_id, row in rows.items() if row["retired_at"] is None}


def test_by_rules(drill: Callable[[str], Drill]) -> None:
    amended_by_rules(drill(RULES), REPLACED)


@pytest.mark.slow
@pytest.mark.parametrize("way", [REPLACED, SIDE_BY_SIDE])
def test_by_rules_a_third_run_changes_nothing_and_an_amendment_can_be_taken_back(
    drill: Callable[[str], Drill], way: str
) -> None:
    project = drill(RULES)
    before, second, gone, come = amended_by_rules(project, way)

    versions = [project.run(stage)["tables"] for stage in ("ingest", "generate")]
    assert versions == [run["tables"] for run in second]

    project.take_back(way)
    project.run("ingest")
    back = project.run("generate")["counts"]
    assert (back["revived"], back["retired"], back["kept"]) == (len(gone), len(come), 0)
    assert alive(project.rows()) == alive(before)
    assert project.exported() == len(before)


def amended_by_rules(
    project: Drill, way: str
) -> tuple[dict[str, Any], tuple[dict[str, Any], dict[str, Any]], set[str], set[str]]:
    """The rows before, what `ingest` and `generate` said of the amendment, and the ids that went and that came."""
    first = project.run("ingest"), project.run("generate")
    before = project.rows()
    project.amend(way)
    second = project.run("ingest"), project.run("generate")
    after = project.rows()
    gone, come = judge(project, before, after)
    assert second[0]["counts"]["read"] == 1
    assert second[0]["counts"]["superseded"] == (way == SIDE_BY_SIDE)
    assert (second[1]["counts"]["retired"], second[1]["counts"]["kept"]) == (len(gone), len(come))
    print(table(f"rules, {way}", before, after, [run[1]["counts"] for run in (first, second)], None))
    return before, second, gone, come


@pytest.mark.slow
@pytest.mark.parametrize("way", [REPLACED, SIDE_BY_SIDE])
def test_by_a_model_only_changed_and_new_articles_are_paid_for(drill: Callable[[str], Drill], way: str) -> None:
    with FakeOpenAI() as server:
        project = drill(LLM.format(url=server.url))
        first = project.run("ingest"), project.run("generate")
        before, paid = project.rows(), len(server.requests)
        project.amend(way)
        second = project.run("ingest"), project.run("generate")
        after = project.rows()
        asked = [each.prompt for each in server.requests[paid:]]
        judge(project, before, after)
        cited = {f"Sample Own Funds Regulation {unit}" for unit in (*TOUCHED, ADDED)}
        assert asked
        assert [prompt[:200] for prompt in asked if not any(each in prompt for each in cited)] == []
        assert len(asked) < paid / 5
        print(table(f"model, {way}", before, after, [run[1]["counts"] for run in (first, second)], (paid, len(asked))))

        project.run("ingest")
        assert project.run("generate")["counts"]["kept"] == 0
        assert len(server.requests) == paid + len(asked)

        project.take_back(way)
        project.run("ingest")
        project.run("generate")
        assert len(server.requests) == paid + len(asked)  # what was paid for before comes back for nothing
        assert alive(project.rows()) == alive(before)


def judge(project: Drill, before: dict[str, Any], after: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Checks the rows that went, came and stayed, and returns the ids of the first two."""
    gone, come = alive(before) - alive(after), alive(after) - alive(before)
    assert {unit_of(before[each]) for each in gone} <= {*TOUCHED, REPEALED}
    assert {unit_of(after[each]) for each in come} <= {*TOUCHED, ADDED}
    assert REPEALED in {unit_of(before[each]) for each in gone}
    assert ADDED in {unit_of(after[each]) for each in come}
    assert {unit_of(before[each]) for each in gone} & TOUCHED
    # An untouched article keeps every row, with its id, its side of the split and its words.
    for each, row in before.items():
        if unit_of(row) not in {*TOUCHED, REPEALED}:
            assert after[each] == row
    newest = {chunk["chunk_id"] for chunk in project.chunks() if chunk["version_date"] or chunk["path"] == OTHER.name}
    assert all(set(after[each]["chunk_ids"]) <= newest for each in alive(after))
    assert project.exported() == len(alive(after))
    return gone, come


def table(
    title: str,
    before: dict[str, Any],
    after: dict[str, Any],
    counts: list[dict[str, Any]],
    requests: tuple[int, int] | None,
) -> str:
    """The drill in figures, by article."""
    gone, come = alive(before) - alive(after), alive(after) - alive(before)
    lines = [f"\n{title}", f"{'unit':14} {'went':>5} {'came':>5} {'stayed':>7}"]
    stayed = alive(before) & alive(after)
    for unit in sorted({*TOUCHED, REPEALED, ADDED}):
        figures = (sum(unit_of(after[each]) == unit for each in rows) for rows in (gone, come, stayed))
        lines.append("{:14} {:5} {:5} {:7}".format(unit, *figures))
    lines.append(f"{'all':14} {len(gone):5} {len(come):5} {len(stayed):7}")
    lines.append(f"rows {counts[0]['rows']} -> {counts[1]['rows']}")
    if requests:
        lines.append(f"requests: {requests[0]} at first, {requests[1]} for the amendment, none for a third run")
    return "\n".join(lines)

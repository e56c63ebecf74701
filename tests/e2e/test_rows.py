"""From the sample PDFs to rows, as a user runs it: in a subprocess, and judged by the tables that it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable

from fakes.openai_server import FakeOpenAI

SAMPLES = Path(__file__).parents[2] / "data/regulations"


@pytest.fixture
def project(tmp_path, tokenizer_file):
    """A configuration on the sample regulations."""

    def write(more: str = "generate: {method: rules, validation_fraction: 0.3}\n") -> Path:
        path = tmp_path / "finreg.yaml"
        path.write_text(
            f"source: {{path: {SAMPLES}}}\ningest: {{tokenizer: {tokenizer_file}, chunk_tokens: 400}}\n{more}"
        )
        return path

    write()
    return write


def rows(tmp_path: Path, table: str, version: int | None = None) -> list[dict]:
    return DeltaTable(tmp_path / "lakehouse/main/euroreg" / table, version=version).to_pyarrow_table().to_pylist()


def report(result: subprocess.CompletedProcess[str]) -> dict:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_rows_are_cited_split_by_article_and_exported(finreg, project, tmp_path):
    report(finreg("ingest", "-o", "json"))
    made = report(finreg("generate", "-o", "json"))
    qa = rows(tmp_path, "qa_dataset")
    assert made["counts"]["rows"] == len(qa) > 100

    sides: dict[str, set[str]] = {}
    for row in qa:
        sides.setdefault(row["split_unit"], set()).add(row["split"])
        assert row["context"].startswith(row["citation"].partition("(")[0].strip())
        assert row["answer"] == "I don't know." or row["answer"].endswith(f" [{row['citation']}]")
        assert row["method"] == "rules"
        assert row["model"] is None
    assert all(len(split) == 1 for split in sides.values())
    assert {side for split in sides.values() for side in split} == {"train", "validation"}
    assert max(Counter(row["kind"] for row in qa).values()) <= 0.4 * len(qa)

    exported = rows(tmp_path, "qa_dataset_train"), rows(tmp_path, "qa_dataset_val")
    assert [len(each) for each in exported] == [made["counts"]["train"], made["counts"]["validation"]]
    assert [message["role"] for message in exported[0][0]["messages"]] == ["system", "user", "assistant"]


def test_a_second_run_does_nothing_and_writes_nothing(finreg, project, tmp_path):
    first = [report(finreg(stage, "-o", "json")) for stage in ("ingest", "generate")]
    second = [report(finreg(stage, "-o", "json")) for stage in ("ingest", "generate")]
    assert second[0]["counts"]["read"] == 0
    assert second[1]["counts"]["kept"] == 0
    for before, after in zip(first, second, strict=True):
        assert before["tables"] == after["tables"]


def test_rows_of_a_document_that_is_gone_are_retired(finreg, project, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for path in SAMPLES.glob("*.pdf"):
        (docs / path.name).write_bytes(path.read_bytes())
    here = ("--set", "source.path=docs", "-o", "json")
    report(finreg("ingest", *here))
    before = report(finreg("generate", *here))["counts"]["rows"]
    (docs / "sample-own-funds.pdf").unlink()
    assert report(finreg("ingest", *here, "--set", "ingest.prune=true"))["counts"]["pruned"] == 1
    after = report(finreg("generate", *here))["counts"]
    assert 0 < after["retired"] == before + after["kept"] - after["rows"]
    assert sum(row["retired_at"] is not None for row in rows(tmp_path, "qa_dataset")) == after["retired"]
    assert len(rows(tmp_path, "qa_dataset_train")) == after["train"]


def test_other_split_settings_are_refused_until_the_rows_may_move(finreg, project, tmp_path):
    report(finreg("ingest", "-o", "json"))
    report(finreg("generate", "-o", "json"))
    wider = ("--set", "generate.validation_fraction=0.5", "-o", "json")
    refused = finreg("generate", *wider)
    assert refused.returncode == 2
    assert "--resplit" in json.loads(refused.stdout)["error"]["remedy"]
    validation = {row["row_id"] for row in rows(tmp_path, "qa_dataset") if row["split"] == "validation"}
    report(finreg("generate", *wider, "--resplit"))
    moved = {row["row_id"] for row in rows(tmp_path, "qa_dataset") if row["split"] == "validation"}
    assert validation < moved
    assert finreg("generate", *wider).returncode == 0


def test_both_engines_make_the_same_rows(finreg, project, tmp_path, sail):
    report(finreg("ingest", "-o", "json"))
    report(finreg("generate", "-o", "json"))
    embedded = {row["row_id"]: row for row in rows(tmp_path, "qa_dataset")}
    spark = ("--set", "engine.kind=spark", "--set", f"engine.remote={sail}", "--set", "engine.warehouse=other")
    report(finreg("ingest", *spark, "-o", "json"))
    report(finreg("generate", *spark, "-o", "json"))
    by_spark = DeltaTable(tmp_path / "other/main/euroreg/qa_dataset").to_pyarrow_table().to_pylist()
    assert {row["row_id"]: row for row in by_spark} == embedded
    shown = report(finreg("status", *spark, "-o", "json"))
    assert shown["tables"]["qa_dataset"]["rows"] == len(embedded)


LLM = """
generate: {{method: llm, validation_fraction: 0.3, rows_per_chunk: 1, limit: 12}}
endpoints:
  generator:
    {{model: writer, base_url: "{url}", api_key_env: TEST_KEY, max_concurrency: 4, price: {{input: 1, output: 2}}}}
"""
KEY = {"TEST_KEY": "sk-a-secret-that-goes-nowhere"}


def test_a_model_writes_rows_through_six_steps_and_a_second_run_pays_nothing(finreg, project, tmp_path):
    with FakeOpenAI() as server:
        project(LLM.format(url=server.url))
        report(finreg("ingest", "-o", "json"))
        planned = report(finreg("generate", "--dry-run", "-o", "json", environment=KEY))["counts"]
        assert planned["at_most"]["generator"]["requests"] >= 12 * 6 - 12
        assert not server.requests
        made = report(finreg("generate", "-o", "json", environment=KEY))["counts"]
        asked = len(server.requests)
        qa = rows(tmp_path, "qa_dataset")
        assert len(qa) == made["kept"] > 0
        for row in qa:
            drafts = ("initial_question", "question_judgement", "initial_answer", "answer_judgement", "reasoning")
            assert all(row[name] for name in drafts) or not row["answerable"]
            assert row["model"] == "writer"
        finreg("generate", "-o", "json", environment=KEY)
        assert len(server.requests) == asked
        assert {each.authorization for each in server.requests} == {f"Bearer {KEY['TEST_KEY']}"}
    everywhere = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY["TEST_KEY"].encode() not in everywhere


def test_an_endpoint_that_is_not_there_is_the_error_and_leaves_no_state(finreg, project, tmp_path):
    project(LLM.format(url="http://127.0.0.1:9/v1"))
    report(finreg("ingest", "-o", "json"))
    result = finreg("generate", "--set", "generate.limit=2", "-o", "json", environment=KEY)
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["class"] == "EndpointError"
    assert "127.0.0.1:9" in error["message"] + error["remedy"]
    tables = {path.name for path in (tmp_path / "lakehouse/main/euroreg").iterdir()}
    assert tables <= {"splitted_documents", "qa_rejected"}


@pytest.mark.slow  # test_llm_chains kills the runner itself
def test_a_killed_generation_goes_on_without_paying_twice(finreg, project, tmp_path):
    with FakeOpenAI(latency=0.1) as server:
        project(LLM.format(url=server.url))
        report(finreg("ingest", "-o", "json"))
        process = subprocess.Popen(
            [sys.executable, "-m", "finreg_cli", "generate", "-q"],
            cwd=tmp_path,
            env={**os.environ, **KEY},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            while len(server.requests) < 20:
                time.sleep(0.02)
                assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        report(finreg("generate", "-o", "json", environment=KEY))
        prompts = Counter(each.prompt for each in server.requests)
        doubled = sum(count - 1 for count in prompts.values())
        assert doubled <= 4  # no more than what was in flight at the kill


def test_the_budget_is_never_overshot_and_the_same_command_goes_on(finreg, project, tmp_path):
    with FakeOpenAI() as server:
        project(LLM.format(url=server.url))
        report(finreg("ingest", "-o", "json"))
        result = finreg("generate", "--set", "budget.requests=45", "-o", "json", environment=KEY)
        assert result.returncode == 4, result.stderr
        stopped = json.loads(result.stdout)
        assert stopped["status"] == "budget"
        assert "budget.requests" in stopped["error"]["message"] + stopped["error"]["remedy"]
        assert len(server.requests) <= 45
        kept = len(rows(tmp_path, "qa_dataset"))
        assert kept > 0
        assert stopped["counts"]["kept"] == kept  # what was paid for is told, also of a run that did not end well
        assert stopped["counts"]["usage"]["generator"]["requests"] == len(server.requests)
        rest = report(finreg("generate", "-o", "json", environment=KEY))["counts"]
        assert rest["rows"] == kept + rest["kept"] == len(rows(tmp_path, "qa_dataset"))

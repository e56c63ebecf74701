"""Structured extraction as a user runs it: the command in a subprocess, and what it left behind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import deltalake
import pytest

from fakes.openai_server import FakeOpenAI
from fakes.shapes import shape
from finreg_cli.domain.extraction import LEASE, find

SAMPLES = Path(__file__).parents[2] / "data/leases"
CONFIG = """
task: structured_extraction
schema: leases
source: {{path: {samples}/leases.jsonl}}
ingest: {{tokenizer: {tokenizer}, limit: {limit}, max_document_tokens: {longest}}}
generate: {{method: rules, rounds: {rounds}}}
"""


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        deltalake.DeltaTable(folder / f"lakehouse/main/leases/{table}").to_pyarrow_table().to_pylist()
    )
    return found


def configure(folder: Path, tokenizer: str | Path, *, limit: int, longest: int, rounds: int, more: str = "") -> None:
    text = CONFIG.format(samples=SAMPLES, tokenizer=tokenizer, limit=limit, longest=longest, rounds=rounds)
    (folder / "finreg.yaml").write_text(text + more)


def test_leases_become_two_halves_and_two_synthetic_rounds(finreg, golden, tmp_path, tokenizer_file):
    configure(tmp_path, tokenizer_file, limit=50, longest=20_000, rounds=2)
    reports = [
        json.loads(finreg(*command, "-o", "json").stdout)
        for command in (["ingest"], ["generate"], ["status", "--lineage"], ["finetune", "--dry-run"])
    ]
    assert [each["status"] for each in reports] == ["ok"] * 4, reports
    for each in reports:
        each.get("counts", {}).get("rounds", {}).pop("rejected", None)
    golden("json_leases", {each["stage"]: shape(each | {"warnings": []}) for each in reports})

    train, holdout = rows(tmp_path, "lease_docs_train"), rows(tmp_path, "lease_docs_holdout")
    assert (len(train), len(holdout)) == (50, 50)
    synthetic = rows(tmp_path, "lease_docs_train_synth")
    assert Counter(each["round"] for each in synthetic).keys() == {1, 2}
    assert len(synthetic) > 80, "most of the hundred must be kept"
    parents = {each["lease_id"]: each for each in train}
    for each in synthetic:
        labels, before = json.loads(each["labels"]), json.loads(parents[each["parent_lease_id"]]["labels"])
        assert list(labels) == list(LEASE.keys)
        assert labels != before
        assert all(find(value, each["lease_doc"]) for value in labels.values() if value is not None)

    versions = {name: each["version"] for report in reports[:2] for name, each in report["tables"].items()}
    again = [json.loads(finreg(stage, "-o", "json").stdout) for stage in ("ingest", "generate")]
    assert versions == {name: each["version"] for report in again for name, each in report["tables"].items()}


def test_another_schema_makes_another_task_with_no_code(finreg, tmp_path, tokenizer_file):
    invoices = [
        {
            "document": f"INVOICE No. {nth}\nFrom: Supplier {nth} Ltd\nDated {nth + 1} March 2021. Total: {nth * 110}.",
            "labels": {
                "number": nth,
                "supplier": f"Supplier {nth} Ltd",
                "dated": f"{nth + 1} March 2021",
                "paid": None,
            },
        }
        for nth in range(1, 21)
    ]
    (tmp_path / "invoices.jsonl").write_text("\n".join(map(json.dumps, invoices)))
    (tmp_path / "finreg.yaml").write_text(
        "task: structured_extraction\nschema: leases\nsource: {path: invoices.jsonl}\n"
        f"ingest: {{tokenizer: {tokenizer_file}}}\ngenerate: {{method: rules}}\n"
        "extraction: {schema: {type: object, title: invoice, properties: {number: {type: integer}, "
        "supplier: {type: string, format: name}, dated: {type: string, format: date}, paid: {type: boolean}}}}\n"
    )
    for stage in ("ingest", "generate"):
        result = finreg(stage)
        assert result.returncode == 0, result.stderr
    for each in rows(tmp_path, "lease_docs_train_synth"):
        labels = json.loads(each["labels"])
        assert list(labels) == ["number", "supplier", "dated", "paid"]
        assert isinstance(labels["number"], int)
        assert str(labels["number"]) in each["lease_doc"]


def test_an_endpoint_writes_judges_and_is_measured(finreg, tmp_path, tokenizer_file):
    """Requests are counted on the server: a second run sends none."""
    with FakeOpenAI() as server:
        endpoint = f"{{model: fake, base_url: {server.url}, max_tokens: 4096, price: {{input: 1, output: 2}}}}"
        configure(tmp_path, tokenizer_file, limit=4, longest=20_000, rounds=1)
        config = (tmp_path / "finreg.yaml").read_text().replace("method: rules", "method: llm")
        config += f"endpoints: {{generator: {endpoint}, judge: {endpoint}}}\nevaluate: {{models: [generator]}}\n"
        (tmp_path / "finreg.yaml").write_text(config)
        for stage in ("ingest", "generate", "evaluate"):
            result = finreg(stage, "-o", "json")
            assert result.returncode == 0, result.stderr
        sent = len(server.requests)
        for stage in ("generate", "evaluate"):
            assert finreg(stage).returncode == 0
        assert len(server.requests) == sent

    kept = [each for each in rows(tmp_path, "evaluated_synth_labels_and_leases") if each["reason"] is None]
    assert kept
    assert all(each["labels_judge"] and each["lease_judge"] and each["model"] == "fake" for each in kept)
    (spent, *_) = rows(tmp_path, "synthesis_rounds")
    assert spent["requests"] >= 4 * len(kept)
    assert spent["money"] > 0
    (strict,) = {
        each["value"]
        for each in rows(tmp_path, "evaluation_metrics")
        if (each["model"], each["key"], each["metric"], each["definition"]) == ("generator", "all", "f1", "strict")
    }
    assert 0 <= strict <= 1


@pytest.mark.slow
def test_the_rounds_with_a_real_model(finreg, golden, tmp_path):
    """``finreg all`` as the demo runs it, smaller: two models tuned, measured on both definitions, and used."""
    assert finreg("models", "pull").returncode == 0
    more = "finetune: {duration: 2ep, eval_fraction: 0.3, select_by: task_metric}\nevaluate: {limit: 6}\n"
    configure(tmp_path, "smollm2-135m-instruct", limit=10, longest=450, rounds=1, more=more)
    result = finreg("all", "-o", "json", timeout=2400)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [each["stage"] for each in report["stages"]] == ["ingest", "generate", "finetune", "evaluate"]

    runs = [each for each in rows(tmp_path, "finetune_runs") if each["selected"]]
    assert sorted(each["round"] for each in runs) == [0, 1]
    assert all("task_f1_strict" in dict(each["metrics"]) for each in runs)
    metrics = rows(tmp_path, "evaluation_metrics")
    f1 = {
        (each["model"], each["round"], each["definition"]): each["value"]
        for each in metrics
        if (each["metric"], each["key"]) == ("f1", "all")
    }
    for definition in ("published", "strict"):
        assert {("base_constrained", 0, definition), ("tuned_constrained", 1, definition)} <= f1.keys()
    assert f1["tuned_constrained", 1, "published"] > f1["base_constrained", 0, "published"]

    again = json.loads(finreg("all", "-o", "json", timeout=1200).stdout)
    assert again["status"] == "ok"
    assert [each["run_id"] for each in rows(tmp_path, "finetune_runs") if each["selected"]] == [
        each["run_id"] for each in runs
    ], "nothing is trained twice"

    (pdf, *_) = sorted((SAMPLES / "pdf").glob("*.pdf"))
    extracted = json.loads(finreg("extract", pdf, "-o", "json").stdout)
    (file,) = extracted["files"]
    assert list(file["values"]) == list(LEASE.keys)
    assert any(value["verbatim"] for value in file["values"].values())
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 nothing")
    both = finreg("extract", pdf, broken, "-o", "json")
    assert both.returncode == 1
    assert [bool(each.get("error")) for each in json.loads(both.stdout)["files"]] == [False, True]

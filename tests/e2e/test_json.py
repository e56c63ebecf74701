"""``-o json`` is a contract with scripts: its shape is golden, down to every key of every stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.shapes import shape

SAMPLES = Path(__file__).parents[2] / "data/regulations"


def test_the_json_of_ingest_generate_status_show_and_of_a_failure(finreg, golden, tmp_path, tokenizer_file):
    config = f"source: {{path: {SAMPLES}}}\ningest: {{tokenizer: {tokenizer_file}}}\n"
    (tmp_path / "finreg.yaml").write_text(config + "generate: {method: rules, validation_fraction: 0.3}\n")
    commands = [["evaluate"], ["ingest"], ["generate"], ["status", "--lineage"], ["show", "qa_dataset"]]
    commands.append(["all", "--dry-run"])
    reports = [json.loads(finreg(*command, "-o", "json").stdout) for command in commands]
    assert [each["status"] for each in reports] == ["failed", "ok", "ok", "ok", "ok", "ok"]
    for each in reports:  # counts by name of a kind or a reason are the documents', not the contract's
        for stage in each.get("stages", [each]):
            for name in ("by_kind", "to_make_by_kind", "rejected"):
                if name in stage.get("counts", {}):
                    stage["counts"][name] = {}
    golden("json", {" ".join(command): shape(each) for command, each in zip(commands, reports, strict=True)})


@pytest.mark.slow
def test_the_whole_pipeline_with_a_real_model(finreg, golden, tmp_path):
    """``finreg all`` as the demo runs it, smaller: a real model is pulled, tuned and measured."""
    assert finreg("models", "pull").returncode == 0
    (tmp_path / "finreg.yaml").write_text(
        f"source: {{path: {SAMPLES}}}\ningest: {{chunk_tokens: 160, chunk_overlap: 0}}\n"
        "generate: {method: rules, validation_fraction: 0.3}\n"
        "finetune: {max_rows: 24, save_steps: 2}\nevaluate: {limit: 4, max_new_tokens: 40}\n"
    )
    assert finreg("doctor").returncode == 0
    result = finreg("all", "-o", "json", timeout=1500)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [each["stage"] for each in report["stages"]] == ["ingest", "generate", "finetune", "evaluate"]
    assert len({each["run_id"] for each in report["stages"]}) == 1
    for stage in report["stages"]:
        for name in ("by_kind", "to_make_by_kind", "rejected", "left_out", "figures"):
            if name in stage["counts"]:
                stage["counts"][name] = {}
    golden("json_all", {each["stage"]: shape(each | {"warnings": []}) for each in report["stages"]})

    tuned = report["stages"][2]["counts"]
    log = tmp_path / "lakehouse/_finreg/models" / tuned["selected"] / "metrics.jsonl"
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [each["value"] for each in steps if each["name"] == "eval_loss"]
    assert losses[-1] < 0.7 * losses[0], "six steps on 24 rows must teach the form"
    html = Path(tmp_path, report["stages"][3]["counts"]["report"]).read_text()
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert (tmp_path / "mlflow.db").exists()

    again = json.loads(finreg("all", "-o", "json", timeout=1500).stdout)
    ingest, generate, finetune, evaluate = (each["counts"] for each in again["stages"])
    assert (ingest["read"], generate["kept"]) == (0, 0)
    assert finetune["selected"] == tuned["selected"]
    assert evaluate["from_cache"] == evaluate["answers"]

    resplit = finreg("generate", "--resplit", "--set", "generate.seed=8")
    assert resplit.returncode == 0, resplit.stderr
    refused = finreg("evaluate", "--set", "generate.seed=8", "--set", "evaluate.limit=null")
    assert refused.returncode == 1
    assert "validation articles" in refused.stderr

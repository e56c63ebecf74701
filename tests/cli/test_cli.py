"""The command as scripts see it: exit codes, the one JSON object, and errors that say what to do next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

RULES = "generate: {method: rules}\nsource: {path: docs}\n"
HEAVY = ("pydantic", "yaml", "pyarrow", "pandas", "numpy", "langchain", "langchain_core", "openai", "mlflow", "torch")
HEAVY += ("transformers", "deltalake", "pyspark", "pypdf", "pypdfium2", "tokenizers", "jinja2")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "finreg.yaml"
    path.write_text(RULES)
    return path


def only_json(result):
    """stdout must be one JSON object and nothing else."""
    return json.loads(result.stdout)


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; sys.argv = ['finreg', '--help']\n"
        "from finreg_cli.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "finetune" in result.stdout
    assert result.stderr.strip() == "[]"


def test_version(finreg):
    result = finreg("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("finreg 0.")


@pytest.mark.parametrize("stage", ["ingest", "generate", "finetune", "evaluate", "all"])
def test_a_missing_configuration_is_exit_2(finreg, stage):
    result = finreg(stage, "-c", "nowhere.yaml", "-o", "json")
    assert result.returncode == 2
    report = only_json(result)
    failed = report["stages"][-1] if stage == "all" else report
    assert report["status"] == failed["status"] == "failed"
    assert failed["error"]["class"] == "ConfigError"
    assert "nowhere.yaml" in failed["error"]["message"]
    assert "finreg init" in failed["error"]["remedy"]
    assert "Traceback" not in result.stderr


def test_method_left_out_is_exit_2_and_says_what_to_set(finreg, tmp_path):
    (tmp_path / "finreg.yaml").write_text("source: {path: docs}\n")
    result = finreg("generate")
    assert result.returncode == 2
    assert "missing key 'generate'" in result.stderr
    assert "generate.method: rules" in result.stderr


def test_a_usage_error_obeys_json(finreg):
    result = finreg("ingest", "--hlep", "-o", "json")
    assert result.returncode == 2
    assert only_json(result)["error"]["class"] == "UsageError"


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("ingest", "docs"),
        ("generate", "finreg ingest"),
        ("finetune", "finreg generate"),
        ("evaluate", "finreg generate"),
    ],
)
def test_nothing_to_do_it_on_is_exit_1_with_the_next_command(finreg, config, stage, names, tokenizer_file):
    result = finreg(stage, "--set", f"ingest.tokenizer={tokenizer_file}", "-o", "json")
    assert result.returncode == 1, result.stderr
    report = only_json(result)
    assert report["status"] == "failed"
    assert names in report["error"]["message"] + report["error"]["remedy"]


def test_an_unwritable_warehouse_is_exit_1(finreg, config, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    result = finreg("ingest", "--set", "engine.warehouse=file/below", "-o", "json")
    assert result.returncode == 1
    report = only_json(result)
    assert report["error"]["class"] == "WarehouseError"
    assert "file/below" in report["error"]["message"]
    assert "engine.warehouse" in report["error"]["remedy"]


def test_a_warehouse_in_use_names_its_holder_and_a_dead_one_is_taken_over(finreg, config, tmp_path, tokenizer_file):
    code = (
        "import sys, time; from pathlib import Path; from finreg_cli.lakehouse.lock import hold\n"
        "with hold(Path('lakehouse/_finreg'), 'finetune', 'r1'):\n    print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        result = finreg("ingest", "-o", "json")
        report = only_json(result)
        assert result.returncode == 1
        assert report["error"]["class"] == "WarehouseBusy"
        assert str(holder.pid) in report["error"]["message"]
        assert "finetune" in report["error"]["message"]
    finally:
        holder.kill()
        holder.communicate()
    report = only_json(finreg("ingest", "--set", f"ingest.tokenizer={tokenizer_file}", "-o", "json"))
    assert report["error"]["class"] == "NothingToDo"  # no documents, but the lock was free


def test_no_model_names_the_command_that_fetches_it(finreg, config, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.pdf").write_bytes(b"%PDF-1.4\n")
    result = finreg("ingest", "-o", "json", environment={"FINREG_CACHE": str(tmp_path / "cache")})
    assert result.returncode == 1
    report = only_json(result)
    assert report["error"]["class"] == "ModelMissing"
    assert "finreg models pull" in report["error"]["remedy"]


def test_a_dry_run_writes_nothing(finreg, config, tmp_path, tokenizer_file):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.pdf").write_bytes(b"%PDF-1.4\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = finreg("ingest", "--dry-run", "--set", f"ingest.tokenizer={tokenizer_file}", "-o", "json")
    assert result.returncode == 0, result.stderr
    assert only_json(result)["counts"]["files"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_remedy_for_a_missing_configuration_works(finreg, tmp_path):
    remedy = json.loads(finreg("status", "-c", "mine.yaml", "-o", "json").stdout)["error"]["remedy"]
    assert remedy == "finreg init mine.yaml"
    assert finreg("init", "mine.yaml").returncode == 0
    assert "missing key" not in finreg("status", "-c", "mine.yaml").stderr


def test_doctor_tells_a_warehouse_that_cannot_be_written(finreg, config, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    findings = only_json(finreg("doctor", "--set", "engine.warehouse=file", "-o", "json"))["findings"]
    assert "fatal" in {each["level"] for each in findings if each["subject"] == "warehouse"}


def test_init_writes_a_file_that_loads_and_never_overwrites(finreg, tmp_path):
    assert finreg("init").returncode == 0
    text = (tmp_path / "finreg.yaml").read_text()
    again = finreg("init")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert (tmp_path / "finreg.yaml").read_text() == text
    assert finreg("init", "-", "--for", "spark").stdout.count("kind: spark") == 1


def test_doctor_reports_every_finding_and_fails_on_a_fatal_one(finreg, config, tmp_path):
    cache = {"FINREG_CACHE": str(tmp_path / "cache")}
    result = finreg("doctor", "-o", "json", environment=cache)
    assert result.returncode == 1
    report = only_json(result)
    fatal = {each["subject"]: each["remedy"] for each in report["findings"] if each["level"] == "fatal"}
    assert {"source", "tokenizer", "base model"} <= fatal.keys()
    assert all(fatal.values())
    text = finreg("doctor", environment=cache)
    assert text.returncode == 1
    assert "finreg models pull" in text.stdout


def test_status_and_show_say_what_to_run_first(finreg, config):
    for arguments in (["status"], ["show", "qa_dataset"]):
        result = finreg(*arguments)
        assert result.returncode == 1
        assert "finreg" in result.stderr
    unknown = finreg("show", "qa_datset")
    assert unknown.returncode == 2
    assert "did you mean qa_dataset" in unknown.stderr


def test_a_terminated_command_ends_with_130_and_how_to_go_on(config, tmp_path):
    # A FIFO as configuration keeps the command where a signal finds it.
    os.mkfifo(tmp_path / "fifo.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "finreg_cli", "ingest", "-c", "fifo.yaml", "-o", "json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    opened = os.open(tmp_path / "fifo.yaml", os.O_WRONLY)  # blocks until the command reads
    time.sleep(0.2)
    process.terminate()
    stdout, stderr = process.communicate(timeout=60)
    os.close(opened)
    assert process.returncode == 130
    assert json.loads(stdout)["status"] == "interrupted"
    assert "go on with: finreg ingest -c fifo.yaml" in stderr


def test_resplit_is_refused_where_there_are_no_rows_to_move(finreg, tmp_path):
    (tmp_path / "finreg.yaml").write_text("task: structured_extraction\ngenerate: {method: rules}\n")
    refused = finreg("generate", "--resplit")
    assert refused.returncode == 2
    assert "--resplit moves question-answer rows" in refused.stderr


def test_what_is_no_number_is_null_in_json():
    code = """
import contextlib, math, typer
from finreg_cli.cli.ending import run_command
from finreg_cli.cli.options import Output

with contextlib.suppress(typer.Exit):
    run_command("x", lambda console: {"loss": math.nan, "of": [math.inf, (1.5, {"a": -math.inf})]}, Output.json)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said, parse_constant=pytest.fail) == {
        "stage": "x",
        "status": "ok",
        "loss": None,
        "of": [None, [1.5, {"a": None}]],
    }

"""`finreg serve` and `finreg ask` as a user runs them, on a model that `finreg finetune` tuned a moment before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from fakes import tiny_llama
from finreg_cli.domain.chat_format import prompt
from finreg_cli.domain.records import EVALUATION_PREDICTIONS, QA_DATASET
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.training import fetched
from finreg_cli.training.gguf_export import dequantise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals"),
]

SAMPLES = Path(__file__).parents[2] / "data/regulations"
MOST_TOKENS = 24
ANSWERS = 10


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the four stages have run, with a tiny model of random weights that was really tuned."""
    for needed in ("torch", "peft", "trl", "openai"):
        pytest.importorskip(needed, reason="the extras train and dev are not installed")
    folder = tmp_path_factory.mktemp("project")
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "tiny")
    (folder / "tiny/tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    config = {
        "source": {"path": str(SAMPLES)},
        "ingest": {"tokenizer": str(folder / "tiny/tokenizer.json"), "chunk_tokens": 400},
        "generate": {"method": "rules", "validation_fraction": 0.4},
        "finetune": {"base_model": str(folder / "tiny"), "max_rows": 8, "context_length": 1024},
        "evaluate": {"limit": ANSWERS, "max_new_tokens": MOST_TOKENS, "context": ["with"]},
    }
    (folder / "finreg.yaml").write_text(yaml.safe_dump(config))
    done = run(folder, "all", "-q")
    assert done.returncode == 0, done.stderr
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "finreg_cli", *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=900)


@contextmanager
def serving(folder: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command("serve", *arguments),
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(how)
    rest, errors = process.communicate(timeout=60)
    return process.returncode, rest, errors


def test_it_answers_as_the_evaluation_did_and_ends_with_ctrl_c(project: Path) -> None:
    lakehouse = EmbeddedLakehouse(project / "lakehouse", "main", "euroreg")
    rows = {row.row_id: row for row in QA_DATASET.records(lakehouse.read(QA_DATASET))}
    where = {"model": "tuned"}
    predictions = list(EVALUATION_PREDICTIONS.records(lakehouse.read(EVALUATION_PREDICTIONS, where=where)))
    assert len(predictions) == ANSWERS
    assert len({each.prediction for each in predictions}) > 1, "every answer is the same, so they tell nothing"
    with serving(project, "-o", "json") as process:
        assert process.stdout is not None
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        assert ready.keys() == {"url", "token", "model"}
        assert ready["model"] == predictions[0].finetune_run_id
        with httpx.Client(headers={"Authorization": f"Bearer {ready['token']}"}, timeout=120) as client:
            for each in predictions:
                row = rows[each.row_id]
                messages = [asdict(message) for message in prompt(row.context, row.question or "")]
                body = {"model": ready["model"], "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS}
                reply = client.post(f"{ready['url']}/chat/completions", json=body).json()
                assert reply["choices"][0]["message"]["content"] == each.prediction
        code, rest, errors = ended(process, signal.SIGINT)
    assert (code, rest) == (0, ""), errors
    assert "Traceback" not in errors
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{ready['url']}/models")


@pytest.mark.parametrize("variable", [None, "MY_TOKEN"])
def test_what_it_prints_works_when_pasted(project: Path, variable: str | None) -> None:
    arguments = ["--token-env", variable] if variable else []
    variables = {variable: "from-the-environment"} if variable else {}
    with serving(project, "--model", "base", *arguments, **variables) as process:
        assert process.stdout is not None
        printed = ""
        while "print(reply" not in printed:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            printed += line
        curl = next(line for line in printed.splitlines() if "curl" in line)
        lines = printed.splitlines()
        first = next(number for number, line in enumerate(lines) if line in ("import os", "from openai import OpenAI"))
        snippet = "\n".join(lines[first:])
        environment = {**os.environ, **variables}
        by_shell = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, env=environment, timeout=300)
        assert by_shell.returncode == 0, by_shell.stderr
        by_client = subprocess.run(
            [sys.executable, "-c", snippet], capture_output=True, text=True, env=environment, timeout=300
        )
        assert by_client.returncode == 0, by_client.stderr
        code, _, errors = ended(process, signal.SIGTERM)
    answer = json.loads(by_shell.stdout)["choices"][0]["message"]["content"]
    assert answer.strip()
    assert by_client.stdout.strip() == answer.strip()
    assert code == 0, errors
    if variable:
        assert variables[variable] not in printed + errors


def test_what_keeps_it_from_serving_is_one_object_and_an_exit_code(project: Path) -> None:
    for arguments, code, said in (
        (["--token-env", "NOT_SET_ANYWHERE"], 2, "NOT_SET_ANYWHERE"),
        (["--run", "never"], 2, "'never' is not in finetune_runs"),
        (["--set", "schema=empty"], 1, "no tuned model to serve"),
    ):
        done = run(project, "serve", "-o", "json", *arguments)
        assert done.returncode == code, done.stderr
        assert said in json.loads(done.stdout)["error"]["message"]


def test_a_question_is_answered_by_both_from_the_article_that_it_names(project: Path) -> None:
    done = run(project, "ask", "What does Article 5 require?", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["stage"], told["status"]) == ("ask", "ok")
    assert [each["model"] for each in told["answers"]] == ["base", "tuned"]
    (passage,) = told["passages"]
    assert passage["citation"].endswith("Article 5")
    assert passage["named"]
    shown = run(project, "ask", "What does Article 5 require?", "--model", "tuned", "-q")
    assert shown.returncode == 0, shown.stderr
    assert passage["citation"] in shown.stdout
    assert told["answers"][1]["answer"] in shown.stdout

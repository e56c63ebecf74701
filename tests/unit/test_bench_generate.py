"""The benchmark of generation runs and says what it claims; no test asserts a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a benchmark, and the fast suite has five minutes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
IN_FLIGHT, CHAINS, STEPS = 4, 8, 6


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    """What the benchmark prints and writes for a few chains, without peers."""
    figures = tmp_path_factory.mktemp("bench") / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "generate.py"), "--quick", "--rounds", "1", "--peers"]
    command += ["--in-flight", str(IN_FLIGHT), "--json", str(figures)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return output, json.loads(figures.read_text(encoding="utf-8"))


def test_every_client_sends_each_request_of_each_chain_once(measured):
    _, figures = measured
    runs = figures["runs"][str(IN_FLIGHT)]
    assert runs.keys() == {"finreg generate", "bare aiohttp", "bare httpx"}
    for (run,) in runs.values():
        assert run["requests"] == CHAINS * STEPS
        assert run["repeated"] == 0
        assert run["most_in_flight"] <= IN_FLIGHT


def test_ours_keeps_every_row(measured):
    _, figures = measured
    assert figures["runs"][str(IN_FLIGHT)]["finreg generate"][0]["rows"] == CHAINS


def test_the_printed_shares_are_requests_per_second_of_the_ideal(measured):
    output, figures = measured
    for name, (run,) in figures["runs"][str(IN_FLIGHT)].items():
        share = run["requests"] / run["seconds"] / (IN_FLIGHT / figures["latency"])
        assert share == pytest.approx(run["share"])
        assert re.search(rf"^  {name} +\d+ +{share:.2f} ", output, re.MULTILINE)
        # A request takes at least the latency, so nobody is faster than the ideal.
        assert share <= 1


@pytest.fixture
def server() -> Iterator[str]:
    command = [sys.executable, str(BENCHMARKS / "serve_openai.py"), "--latency", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait()
    process.stdout.close()


def _send(url: str, body: bytes | None, method: str) -> dict:
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method)) as response:
        return json.load(response)


def test_the_log_counts_what_was_paid_twice_and_forgets_when_told(server):
    log = f"{server.removesuffix('/v1')}/log"
    prompts = ['Its key is "question".', 'Its key is "question".', "Say anything."]
    for prompt in prompts:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
        content = _send(f"{server}/chat/completions", body, "POST")["choices"][0]["message"]["content"]
        assert ("question" in prompt) == content.startswith('{"question": ')
    counted = _send(log, None, "GET")
    assert (counted["requests"], counted["repeated"], counted["in_flight"]) == (3, 1, 0)
    _send(log, None, "DELETE")
    assert _send(log, None, "GET")["requests"] == 0


def test_a_schema_decides_the_keys_and_every_verdict_is_true(server):
    schema = {"properties": {"reasons": {"type": "string"}, "grounded": {"type": "boolean"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "AnyVerdict", "schema": schema}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Judge it."}], "response_format": wanted}
    reply = _send(f"{server}/chat/completions", json.dumps(body).encode(), "POST")
    verdict = json.loads(reply["choices"][0]["message"]["content"])
    assert verdict.keys() == {"reasons", "grounded"}
    assert verdict["grounded"] is True


def test_what_is_no_chat_request_is_refused(server):
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        _send(f"{server}/chat/completions", b'{"messages": 1}', "POST")
    refused.value.close()

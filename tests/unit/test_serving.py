"""Both servers as real processes, with a tiny model of random weights: answers, streams, errors, and their end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import tiny_llama
from finreg_cli.domain.chat_format import prompt
from finreg_cli.domain.records import Message
from finreg_cli.errors import ConfigError, StageFailed
from finreg_cli.training import fetched
from finreg_cli.training.answerer import answerer_for
from finreg_cli.training.gguf_export import METADATA, dequantise
from finreg_cli.training.serving import Served, serve

TOKEN = "of-this-test"
MOST_TOKENS = 24
PROMPTS = [prompt(f"CRR Article {n}\nown funds of {n} %", f"what shall an institution hold in {n}?") for n in range(4)]
RUNTIMES = ["llama.cpp", pytest.param("transformers", marks=pytest.mark.slow)]
"""Importing torch alone takes as long as all tests of the other."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model twice: as the export knows it, and without what it needs, so that transformers has to do."""
    parent = tmp_path_factory.mktemp("models")
    gguf = tiny_llama.write_gguf(parent / "tiny.gguf")
    exportable, other = parent / "exportable", parent / "other"
    dequantise(gguf, exportable)
    (exportable / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    shutil.copytree(exportable, other)
    (other / METADATA).unlink()
    return {"llama.cpp": exportable, "transformers": other}


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def served(folders: dict[str, Path], runtime: str) -> Iterator[Served]:
    if runtime == "transformers":
        pytest.importorskip("torch", reason="the extra train is not installed")
    with serve(folders[runtime], "tiny", None, TOKEN) as ready:
        yield ready


def post(served: Served, body: dict[str, Any] | bytes, token: str | None = TOKEN) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{served.url}/chat/completions", content=content, headers=headers, timeout=120)


def request_of(messages: list[Message], **settings: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [asdict(each) for each in messages], "max_tokens": MOST_TOKENS, **settings}


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


# --- answers ---


def test_it_answers_as_the_evaluation_does_one_after_another_and_all_at_once(
    served: Served, folders: dict[str, Path], runtime: str
) -> None:
    answerer = answerer_for(folders[runtime])
    expected = list(answerer.answers(PROMPTS, MOST_TOKENS))
    answerer.close()
    assert len(set(expected)) > 1, "every answer is the same, so they tell nothing"
    requests = [request_of(each, temperature=0) for each in PROMPTS]
    assert [text_of(post(served, each)) for each in requests] == expected
    with ThreadPoolExecutor(len(requests)) as pool:
        assert [text_of(each) for each in pool.map(lambda each: post(served, each), requests)] == expected


def test_who_names_no_temperature_gets_the_greedy_answer(served: Served) -> None:
    assert text_of(post(served, request_of(PROMPTS[0]))) == text_of(post(served, request_of(PROMPTS[0], temperature=0)))


def test_a_temperature_samples_and_a_seed_repeats_it(served: Served) -> None:
    sampled = {text_of(post(served, request_of(PROMPTS[0], temperature=1.5, seed=seed))) for seed in range(4)}
    assert len(sampled) > 1
    again = [text_of(post(served, request_of(PROMPTS[0], temperature=1.5, seed=7))) for _ in range(2)]
    assert again[0] == again[1]


def test_a_stream_is_the_answer_in_pieces(served: Served) -> None:
    whole = post(served, request_of(PROMPTS[1], temperature=0))
    body = request_of(PROMPTS[1], temperature=0, stream=True, stream_options={"include_usage": True})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.stream("POST", f"{served.url}/chat/completions", json=body, headers=headers, timeout=120) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    choices = [choice for event in events for choice in event["choices"]]
    assert "".join(each["delta"].get("content") or "" for each in choices) == text_of(whole)
    assert sum(bool(each["delta"].get("content")) for each in choices) > 1, "it came in one piece"
    assert choices[-1]["finish_reason"] == whole.json()["choices"][0]["finish_reason"]
    told = [event["usage"] for event in events if event.get("usage")]
    assert [each["completion_tokens"] for each in told] == [whole.json()["usage"]["completion_tokens"]]


def test_an_answer_that_is_cut_off_says_so(served: Served) -> None:
    cut = post(served, request_of(PROMPTS[1], temperature=0, max_tokens=3)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3


def test_the_openai_client_understands_it(served: Served) -> None:
    openai = pytest.importorskip("openai", reason="the OpenAI client (extra dev) is not installed")
    with openai.OpenAI(base_url=served.url, api_key=TOKEN, max_retries=0) as client:
        assert [each.id for each in client.models.list()] == ["tiny"]
        messages = [asdict(each) for each in PROMPTS[2]]
        asked = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS}
        reply = client.chat.completions.create(**asked)
        assert reply.choices[0].message.content == text_of(post(served, request_of(PROMPTS[2], temperature=0)))
        streamed = client.chat.completions.create(**asked, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices]
        assert "".join(pieces) == reply.choices[0].message.content
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**asked, "messages": [{"role": "user", "content": "own funds " * 2000}]})
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="guessed").models.list()


# --- what is refused, as OpenAI says it ---


@pytest.mark.parametrize("token", [None, "guessed", "of-this-tes", "\N{SNOWMAN}".encode().decode("latin-1")])
def test_nobody_without_the_token_is_answered(served: Served, token: str | None) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")} if token else {}
    for refused in (
        httpx.get(f"{served.url}/models", headers=headers),
        httpx.post(f"{served.url}/chat/completions", headers=headers, json=request_of(PROMPTS[0])),
    ):
        assert refused.status_code == 401, refused.text
        assert refused.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        {"model": "tiny"},
        {"messages": "text"},
        {"messages": [{"role": "user", "content": "own funds " * 2000}]},
    ],
    ids=["no json", "no object", "no messages", "messages are text", "longer than the context"],
)
def test_a_request_that_cannot_be_answered_is_refused_and_the_next_is_answered(served: Served, body: Any) -> None:
    refused = post(served, body)
    assert 400 <= refused.status_code <= 500, refused.text
    assert refused.json()["error"]["message"]
    assert post(served, request_of(PROMPTS[0], max_tokens=1)).status_code == 200


@pytest.mark.slow
def test_what_the_server_of_our_own_does_not_know_is_refused_by_name(folders: dict[str, Path]) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    with serve(folders["transformers"], "tiny", None, TOKEN) as served:
        for unknown in ({"n": 2}, {"tools": [{}]}, {"response_format": {"type": "json_object"}}):
            refused = post(served, request_of(PROMPTS[0], **unknown))
            assert refused.status_code == 400
            assert next(iter(unknown)) in refused.json()["error"]["message"]
        parts = [{"type": "text", "text": part} for part in ("own ", "funds")]
        whole = post(served, {"messages": [{"role": "user", "content": "own funds"}], "max_tokens": 4})
        in_parts = post(served, {"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 4})
        assert text_of(in_parts) == text_of(whole)
        elsewhere = httpx.get(f"{served.url}/elsewhere", headers={"Authorization": f"Bearer {TOKEN}"})
        assert elsewhere.status_code == 404
        assert elsewhere.json()["error"]["message"] == "Not Found"


# --- ports and ends ---


def test_a_port_is_used_as_named_and_free_again_afterwards(folders: dict[str, Path]) -> None:
    port = _free_port()
    for _ in range(2):  # the second time right behind the first, whose connections are still closing
        with serve(folders["llama.cpp"], "tiny", port, TOKEN) as served:
            assert served.url == f"http://127.0.0.1:{port}/v1"
            assert post(served, request_of(PROMPTS[0], max_tokens=1)).status_code == 200
    with pytest.raises(httpx.ConnectError):
        post(served, request_of(PROMPTS[0], max_tokens=1))


def test_a_port_that_is_taken_is_an_error_and_nothing_is_started(folders: dict[str, Path]) -> None:
    with serve(folders["llama.cpp"], "tiny", None, TOKEN) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        with (
            pytest.raises(ConfigError, match=f"--port {port} is taken") as refused,
            serve(folders["llama.cpp"], "second", port, TOKEN),
        ):
            pytest.fail("it served on a port that is taken")
        assert "free one" in refused.value.remedy
        assert post(first, request_of(PROMPTS[0], max_tokens=1)).status_code == 200


def test_a_model_that_cannot_be_loaded_says_why(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders["llama.cpp"], broken)
    (tmp_path / "broken-f16.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(StageFailed, match="broken cannot be served"), serve(broken, "tiny", None, TOKEN):
        pytest.fail("it served a broken model")


def test_a_server_that_dies_is_told(folders: dict[str, Path]) -> None:
    with serve(folders["llama.cpp"], "tiny", None, TOKEN) as served:
        os.kill(served.process.pid, signal.SIGKILL)
        with pytest.raises(StageFailed, match="ended with status -9"):
            served.wait()


PARENT = """
import sys
from pathlib import Path
from finreg_cli.training.serving import serve
with serve(Path(sys.argv[1]), "tiny", None, "of-this-test") as served:
    print(served.process.pid, served.url, flush=True)
    served.wait()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks a process up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_who_started_it_and_shows_its_token_to_nobody(
    folders: dict[str, Path], runtime: str, how: signal.Signals
) -> None:
    if runtime == "transformers":
        pytest.importorskip("torch", reason="the extra train is not installed")
    command = [sys.executable, "-c", PARENT, str(folders[runtime])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child, url = parent.stdout.readline().split()
        assert TOKEN not in Path(f"/proc/{child}/cmdline").read_text()
        assert TOKEN not in Path(f"/proc/{child}/environ").read_text()
        parent.send_signal(how)
    port = int(url.split(":")[2].split("/")[0])
    deadline = time.monotonic() + 60
    while _is_running(child) or not _is_free(port):
        assert time.monotonic() < deadline, "the server, or its port, outlived the process that started it"
        time.sleep(0.02)


def test_a_server_whose_starter_is_gone_before_it_is_ready_ends(folders: dict[str, Path]) -> None:
    gguf = folders["llama.cpp"].with_name("exportable-f16.gguf")
    settings = {"model": str(gguf), "key": TOKEN, "slots": 1, "context": 0}
    program = [sys.executable, "-m", "finreg_cli.llm.served_process"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

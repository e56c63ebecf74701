"""The provider embedded: a GGUF file served on loopback by a real process, with a tiny model of random weights."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from fakes.tiny_llama import CONTEXT, HEADS, KEY_HEADS, LAYERS, WIDTH, write_gguf
from finreg_cli.config import FETCHED_MODEL, Endpoint
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm import served
from finreg_cli.llm.endpoints import OpenAIEndpoint, check, probe
from finreg_cli.llm.gguf_header import GgufHeader, read_header
from finreg_cli.llm.served import ServedRoute, fingerprint, recorded_name
from finreg_cli.llm.transport import RequestFailed
from finreg_cli.training.fetched import locate

SCHEMA = {
    "type": "object",
    "properties": {"passed": {"type": "boolean"}, "count": {"type": "integer"}},
    "required": ["passed", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


def endpoint(model: Path, **settings: Any) -> Endpoint:
    given = {"max_tokens": 48, "max_concurrency": 2, "temperature": 0, **settings}
    return Endpoint(provider="embedded", model=str(model), **given)


def route(model: Path, **settings: Any) -> ServedRoute:
    return ServedRoute("generator", endpoint(model, **settings), {})


# --- serving ---


def test_doctor_proves_it_with_a_request(model: Path) -> None:
    assert f"answers as {model} (" in probe("generator", endpoint(model))


def test_replies_are_held_to_the_schema_several_at_a_time(model: Path) -> None:
    async def ask() -> list[str]:
        asked = OpenAIEndpoint("judge", endpoint(model))
        try:
            questions = [[{"role": "user", "content": f"Question {number}?"}] for number in range(5)]
            replies = await asyncio.gather(*(asked.complete(each, ("Verdict", SCHEMA)) for each in questions))
        finally:
            await asked.close()
        assert all(reply.input_tokens and reply.output_tokens for reply in replies)
        # A number may have more digits than there is room for; whatever else it says is in the schema.
        return [reply.text for reply in replies if reply.finish_reason == "stop"]

    texts = asyncio.run(ask())
    assert texts
    assert all(set(json.loads(text)) == {"passed", "count"} for text in texts)


def test_a_prompt_that_is_too_long_is_refused_and_the_next_one_is_answered(model: Path) -> None:
    async def ask() -> None:
        asked = OpenAIEndpoint("generator", endpoint(model))
        try:
            with pytest.raises(
                RequestFailed, match=rf"exceeds the available context size \({CONTEXT} tokens\)"
            ) as long:
                await asked.complete([{"role": "user", "content": "institution " * CONTEXT}], None)
            assert not long.value.transient
            assert not long.value.endpoint_wide
            assert (await asked.complete([{"role": "user", "content": "institution"}], None)).text
        finally:
            await asked.close()

    asyncio.run(ask())


def test_only_who_has_the_key_of_this_run_is_answered(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = OpenAIEndpoint("generator", endpoint(model))

    async def with_another_key() -> dict[str, str]:
        return {"Authorization": "Bearer guessed"}

    async def ask() -> None:
        monkeypatch.setattr(asked._route, "headers", with_another_key)
        try:
            with pytest.raises(RequestFailed, match="HTTP 401"):
                await asked.complete([{"role": "user", "content": "institution"}], None)
        finally:
            await asked.close()

    asyncio.run(ask())


# --- the process ends ---


def test_it_ends_with_the_route(model: Path) -> None:
    async def open_and_close() -> int | None:
        opened = route(model)
        await opened.open()
        assert opened._server.status is None
        await opened.close()
        return opened._server.status

    assert asyncio.run(open_and_close()) == 0


def test_a_server_that_died_is_told_and_ends_the_run(model: Path) -> None:
    async def ask() -> None:
        asked = OpenAIEndpoint("generator", endpoint(model))
        try:
            await asked.complete([{"role": "user", "content": "institution"}], None)
            assert isinstance(asked._route, ServedRoute)
            os.kill(asked._route._server.pid, signal.SIGKILL)
            asked._route._server.wait()
            with pytest.raises(EndpointError, match="its process has ended with status -9"):
                await asked.complete([{"role": "user", "content": "institution"}], None)
        finally:
            await asked.close()

    asyncio.run(ask())


PARENT = """
import asyncio, sys, time
from finreg_cli.config import Endpoint
from finreg_cli.llm.served import ServedRoute
route = ServedRoute("generator", Endpoint(provider="embedded", model=sys.argv[1], max_concurrency=1), {})
asyncio.run(route.open())
print(route._server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks a process up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_a_parent_that_is_killed(model: Path, how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(model)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _is_running(child)
        parent.send_signal(how)
    _await(lambda: not _is_running(child))


def _is_running(pid: int) -> bool:
    try:
        # A zombie has ended; who adopted it has not noticed yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


# --- what is refused ---


def test_a_model_of_the_fetched_ones_shape_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    """A copy, another quantisation, or one tuned from it: the header is the same."""
    architecture, layers, width, vocabulary = served.FETCHED_SHAPE
    writer = GGUFWriter(tmp_path / "big-and-clever.gguf", architecture)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_context_length(8192)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    writer.add_token_list([f"t{number}" for number in range(vocabulary)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    for role in ("generator", "judge"):
        with pytest.raises(ConfigError, match=rf"endpoints\.{role}\.model: .* is {FETCHED_MODEL}") as refused:
            check(role, endpoint(tmp_path / "big-and-clever.gguf"), {})
        assert "it wrote no usable pair" in refused.value.message
        assert "generate.method: rules" in refused.value.remedy


def test_the_fetched_model_itself_is_refused_in_a_renamed_copy(tmp_path: Path) -> None:
    fetched = locate()
    if fetched is None:
        pytest.skip("the model was not fetched (finreg models pull)")
    copy = tmp_path / "renamed.gguf"
    shutil.copyfile(fetched.gguf, copy)
    with pytest.raises(ConfigError, match=f"is {FETCHED_MODEL}"):
        check("generator", endpoint(copy), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.generator\.model: there is no file .*gone\.gguf"):
        check("generator", endpoint(tmp_path / "gone.gguf"), {})


ENDLESS = b"GGUF\x03\x00\x00\x00" + b"\xff" * 64
"""A header that says it goes on for exabytes."""


@pytest.mark.parametrize("content", [b"", b"GGUF", b"%PDF-1.7 and more than a header", ENDLESS])
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.gguf is no GGUF file that can be read"):
        check("generator", endpoint(tmp_path / "model.gguf"), {})


def test_a_file_that_is_cut_off_behind_its_header_is_refused_by_its_loader(tmp_path: Path, model: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    with pytest.raises(EndpointError, match=r"it cannot be loaded: error loading model: .* is corrupted"):
        probe("generator", endpoint(cut))


def test_too_little_memory_is_told_before_anything_is_loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 300 MiB of working memory and the logits, then room for three and a half prompts in half of what is left.
    header = read_header(model)
    prompt = CONTEXT * header.cache_bytes_per_token
    fixed = model.stat().st_size + 300 * 1024**2 + header.vocabulary * 512 * 4
    monkeypatch.setattr(served, "free_memory", lambda: fixed + 7 * prompt)
    with pytest.raises(ConfigError, match=r"with max_concurrency 4 needs .* GiB of memory") as refused:
        route(model, max_concurrency=4)
    assert refused.value.remedy == "set endpoints.generator.max_concurrency to 3"
    assert route(model, max_concurrency=3)._context == CONTEXT
    monkeypatch.setattr(served, "free_memory", lambda: 0)
    with pytest.raises(ConfigError, match=r"0\.0 GiB are free") as refused:
        route(model)
    assert refused.value.remedy == "take a smaller model"


# --- the header ---


def test_the_header_tells_what_the_writer_wrote(model: Path) -> None:
    header = read_header(model)
    assert header.shape[:3] == ("llama", LAYERS, WIDTH)
    assert header.trained_context == CONTEXT
    assert header.cache_bytes_per_token == 2 * LAYERS * KEY_HEADS * (WIDTH // HEADS) * 2
    assert header.vocabulary == len(header.metadata["tokenizer.ggml.tokens"])


def test_layers_may_differ_in_their_heads() -> None:
    keys = {"block_count": 3, "embedding_length": 64, "attention.head_count": [4, 4, 4]}
    keys |= {"attention.head_count_kv": [4, 0, 1], "attention.key_length": 32, "attention.value_length": 16}
    metadata = {"general.architecture": "some", **{f"some.{key}": value for key, value in keys.items()}}
    assert GgufHeader(metadata).cache_bytes_per_token == (4 + 0 + 1) * (32 + 16) * 2


@pytest.mark.parametrize(
    ("trained", "slots", "expected"),
    [(131_072, 1, 131_072), (131_072, 16, 8192), (2048, 16, 2048), (131_072, 4, 32_768)],
)
def test_requests_share_the_context_that_the_model_was_made_for(
    model: Path, monkeypatch: pytest.MonkeyPatch, trained: int, slots: int, expected: int
) -> None:
    monkeypatch.setattr(served, "free_memory", lambda: 1024**4)
    monkeypatch.setattr(GgufHeader, "trained_context", trained)
    assert route(model, max_concurrency=slots)._context == expected


# --- what is recorded of it ---


def test_another_file_has_another_fingerprint_and_a_copy_the_same(tmp_path: Path, model: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(model.read_bytes())
    assert fingerprint(str(copy)) == fingerprint(str(model))
    assert fingerprint(str(write_gguf(tmp_path / "other.gguf", seed=1))) != fingerprint(str(model))
    with pytest.raises(ConfigError, match="cannot be read"):
        fingerprint(str(tmp_path / "gone.gguf"))


def test_rows_record_the_name_of_a_file_and_not_where_it_lies(model: Path) -> None:
    assert recorded_name(endpoint(model)) == "tiny.gguf"
    assert recorded_name(Endpoint(model="meta/llama", base_url="http://localhost/v1")) == "meta/llama"

"""Endpoints over real HTTP: what is sent, how refusals are translated, what a probe finds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from fakes.answering import answering
from fakes.openai_server import FakeOpenAI
from finreg_cli.config import Endpoint
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.base import Reply
from finreg_cli.llm.endpoints import Dialect, OpenAIEndpoint, probe
from finreg_cli.llm.transport import RequestFailed

HELLO = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def endpoint(server: FakeOpenAI, **settings: Any) -> Endpoint:
    return Endpoint.model_validate({"model": "fake", "base_url": server.url, **settings})


def complete(configured: Endpoint, times: int = 1, **environment: str) -> Reply:
    """One request (after others whose failure is ignored), with an endpoint that is opened and closed for it."""

    async def run() -> Reply:
        opened = OpenAIEndpoint("generator", configured, environment)
        try:
            for _ in range(times - 1):
                with pytest.raises(RequestFailed):
                    await opened.complete([HELLO], ("Question", SCHEMA))
            return await opened.complete([HELLO], ("Question", SCHEMA))
        finally:
            await opened.close()

    return asyncio.run(run())


def failure(configured: Endpoint, **environment: str) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        complete(configured, **environment)
    return caught.value


def test_what_is_sent(server: FakeOpenAI) -> None:
    complete(endpoint(server, temperature=0.5, max_tokens=77, api_key_env="THE_KEY"), THE_KEY="secret-1")
    (request,) = server.requests
    assert request.authorization == "Bearer secret-1"
    assert request.parameters["temperature"] == 0.5
    assert request.parameters["max_tokens"] == 77
    assert request.parameters["response_format"]["json_schema"]["schema"] == SCHEMA


def test_temperature_null_is_not_sent(server: FakeOpenAI) -> None:
    complete(endpoint(server, temperature=None))
    assert "temperature" not in server.requests[0].parameters


def test_usage_is_what_the_endpoint_reports(server: FakeOpenAI) -> None:
    reply = complete(endpoint(server))
    assert (reply.input_tokens, reply.output_tokens) == (2, len(reply.text) // 4 + 1)
    assert reply.finish_reason == "stop"


def test_no_reported_usage_is_none() -> None:
    with FakeOpenAI(reports_usage=False) as server:
        reply = complete(endpoint(server))
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


def test_a_missing_key_is_a_configuration_error(server: FakeOpenAI) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.generator\.api_key_env names .* THE_KEY, which is not set"):
        probe("generator", endpoint(server, api_key_env="THE_KEY"), {})
    assert server.requests == []


@pytest.mark.parametrize(
    ("kind", "transient", "endpoint_wide", "maybe_charged"),
    [
        ("429", True, False, False),
        ("500", True, False, False),
        ("503", True, False, False),
        ("400", False, False, False),
        ("403", False, False, False),
        ("401", False, True, False),
        ("404", False, True, False),
        ("html", True, False, True),
        ("empty", True, False, True),
        ("null", True, False, True),
        ("half", True, False, True),
        ("not_json", True, False, True),
    ],
)
def test_each_failure_is_translated(
    server: FakeOpenAI, kind: str, transient: bool, endpoint_wide: bool, maybe_charged: bool
) -> None:
    server.fail(kind, message="says the server")
    failed = failure(endpoint(server))
    assert (failed.transient, failed.endpoint_wide, failed.maybe_charged) == (transient, endpoint_wide, maybe_charged)
    assert failed.message == f"HTTP {kind}: says the server" if kind.isdigit() else failed.message


def test_the_wait_that_the_endpoint_asks_for_is_read(server: FakeOpenAI) -> None:
    server.fail("429", retry_after=7)
    assert failure(endpoint(server)).retry_after == 7


def test_silence_ends_after_the_timeout(server: FakeOpenAI) -> None:
    server.fail("silence")
    failed = failure(endpoint(server, timeout=0.2))
    assert failed.message == "no reply within 0.2 s"
    assert failed.transient
    assert failed.maybe_charged


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failed = failure(Endpoint(model="fake", base_url=f"http://127.0.0.1:{port}/v1"))
    assert (failed.transient, failed.maybe_charged) == (True, False)
    assert failed.message.startswith("no connection")


def test_a_server_that_repeats_the_key_does_not_leak_it() -> None:
    with FakeOpenAI(key="right") as server:
        failed = failure(endpoint(server, api_key_env="THE_KEY"), THE_KEY="wrong-secret")
    assert failed.message == "HTTP 401: Incorrect API key provided: Bearer ***"


@pytest.mark.parametrize(
    ("settings", "gone", "instead"),
    [
        ({"json_schema": False}, "response_format", None),
        ({"unknown_parameters": ("temperature",)}, "temperature", None),
        ({"unknown_parameters": ("max_tokens",)}, "max_tokens", "max_completion_tokens"),
    ],
)
def test_an_unknown_parameter_is_learned(settings: dict[str, Any], gone: str, instead: str | None) -> None:
    with FakeOpenAI(**settings) as server:
        complete(endpoint(server), times=2)
        refused, served = server.requests
    assert gone in refused.parameters
    assert gone not in served.parameters
    assert instead is None or instead in served.parameters


@pytest.mark.parametrize(
    ("refusal", "corrected"),
    [
        ("Invalid value for max_tokens: the context length is 4096", Dialect("max_tokens")),
        ("temperature must be between 0 and 2", Dialect("max_tokens")),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            Dialect("max_completion_tokens"),
        ),
        (
            "Unsupported value: 'temperature' does not support 0.9 with this model.",
            Dialect("max_tokens", temperature=False),
        ),
        ("Invalid 'response_format': json_schema is not available", Dialect("max_tokens", json_schema=False)),
    ],
)
def test_only_a_refused_parameter_changes_the_dialect(refusal: str, corrected: Dialect) -> None:
    assert Dialect("max_tokens").corrected(refusal) == corrected


def test_a_probe_says_what_answers(server: FakeOpenAI) -> None:
    assert probe("judge", endpoint(server), {}) == f"{server.url} answers as fake (2 tokens)"
    assert server.requests[0].parameters["max_tokens"] == 16


def test_a_probe_learns_what_the_model_refuses() -> None:
    with FakeOpenAI(unknown_parameters=("temperature", "max_tokens")) as server:
        assert "answers" in probe("judge", endpoint(server), {})


def test_a_probe_of_a_wrong_model_lists_those_that_exist() -> None:
    with FakeOpenAI(models=["large-1", "small-1"]) as server, pytest.raises(EndpointError) as caught:
        probe("judge", endpoint(server), {})
    assert "endpoints.judge" in caught.value.message
    assert "The model `fake` does not exist" in caught.value.message
    assert caught.value.remedy == "set endpoints.judge.model: it has large-1, small-1"


def test_a_probe_with_a_wrong_key_shows_the_endpoints_message() -> None:
    with FakeOpenAI(key="right") as server, pytest.raises(EndpointError, match="Incorrect API key") as caught:
        probe("judge", endpoint(server, api_key_env="THE_KEY"), {"THE_KEY": "wrong"})
    assert "THE_KEY" in caught.value.remedy


# --- what replies look like ---


def replied(message: dict[str, Any], finish_reason: str = "stop", **more: Any) -> Reply:
    async def chat(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": message, "finish_reason": finish_reason}], **more})

    with answering(chat) as url:
        return complete(Endpoint(model="fake", base_url=url))


THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Let me think."}]}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain", "reasoning_content": "Let me think."}, "plain"),
        ({"content": [THOUGHT, {"type": "text", "text": "said"}]}, "said"),
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "said"}]}, "said"),
        ({"content": [{"type": "output_text", "text": "one, "}, "two"]}, "one, two"),
        ({"content": [THOUGHT]}, ""),
        ({"content": None, "reasoning_content": "Let me think for ever"}, ""),
        ({"content": None, "refusal": "I can't help with that."}, "I can't help with that."),
    ],
)
def test_only_what_is_said_is_the_reply(message: dict[str, Any], text: str) -> None:
    assert replied({"role": "assistant", **message}, "length") == Reply(text, finish_reason="length")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": "12"}])
def test_a_usage_that_says_nothing_is_none(usage: Any) -> None:
    reply = replied({"content": "text"}, usage=usage)
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


@pytest.mark.parametrize("body", [[], {"choices": [{}]}, {"choices": [{"message": {"content": {"a": 1}}}]}, "text", 7])
def test_what_is_no_chat_completion_is_tried_again(body: Any) -> None:
    async def chat(_: web.Request) -> web.Response:
        return web.json_response(body)

    with answering(chat) as url:
        failed = failure(Endpoint(model="fake", base_url=url))
    assert (failed.transient, failed.maybe_charged) == (True, True)
    assert failed.message.startswith("an unusable reply: it holds no message")


def test_an_error_with_status_200_is_told_in_its_own_words() -> None:
    async def chat(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "the upstream model is overloaded"}})

    with answering(chat) as url:
        assert failure(Endpoint(model="fake", base_url=url)).message.endswith("the upstream model is overloaded")


def test_parameters_are_unlearned_one_after_the_other() -> None:
    with FakeOpenAI(unknown_parameters=("temperature", "max_tokens"), json_schema=False) as server:
        complete(endpoint(server), times=4)
        assert len(server.requests) == 4
        assert set(server.requests[-1].parameters) == {"model", "max_completion_tokens"}


def test_refusals_that_arrive_together_teach_only_once() -> None:
    async def run() -> None:
        opened = OpenAIEndpoint("generator", endpoint(server), {})
        try:
            together = (opened.complete([HELLO], None) for _ in range(8))
            refusals = await asyncio.gather(*together, return_exceptions=True)
            assert all(isinstance(each, RequestFailed) and each.corrected for each in refusals)
            assert (await opened.complete([HELLO], None)).text
        finally:
            await opened.close()

    with FakeOpenAI(unknown_parameters=("max_tokens",), latency=0.05) as server:
        asyncio.run(run())

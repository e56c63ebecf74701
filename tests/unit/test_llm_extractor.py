"""An endpoint that extracts, over real HTTP: the order of its answers, the cache, the budget, and what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fakes.openai_server import FakeOpenAI
from finreg_cli import config
from finreg_cli.config import Endpoint
from finreg_cli.domain.extraction import LEASE, instruction, prompt_text
from finreg_cli.domain.progress import Advance
from finreg_cli.domain.records import Message
from finreg_cli.errors import BudgetReached, ConfigError, EndpointError
from finreg_cli.llm.base import Answerer, Usage
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.extractor import EndpointAnswerer
from finreg_cli.llm.runner import Retry
from finreg_cli.stages.answers import cached_answers

QUICK = Retry(attempts=3, first_delay=0.01, longest_delay=0.05)
SCHEMA = LEASE.json_schema()
MOST = 512


@pytest.fixture
def answerer_for(cache: RequestCache) -> Callable[..., EndpointAnswerer]:
    def make(
        server: FakeOpenAI,
        budget: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        usage: Usage | None = None,
        **settings: Any,
    ) -> EndpointAnswerer:
        endpoint = Endpoint.model_validate({"model": "fake", "base_url": server.url, **settings})
        limits = Budget(config.Budget.model_validate(budget or {}))
        return EndpointAnswerer("generator", endpoint, cache, limits, environment or {}, usage, QUICK)

    return make


def prompt(number: int) -> list[Message]:
    document = f"LEASE {number}\nLessor: Lessor {number}\nStart date: May {number}, 2012\n"
    return [Message(prompt_text(instruction(LEASE), document), "user")]


def prompts(count: int) -> list[list[Message]]:
    return [prompt(number) for number in range(1, count + 1)]


def lessors(answers: list[str]) -> list[str]:
    return [json.loads(answer)["lessor"] for answer in answers]


def about(number: int) -> Callable[[str], bool]:
    return lambda sent: f"LEASE {number}\n" in sent


def before_the_error(error: type[Exception], said: str, answers: Iterator[str]) -> list[str]:
    finished: list[str] = []
    with pytest.raises(error, match=said):
        finished.extend(answers)
    return finished


# --- what is asked and answered ---


def test_it_is_an_answerer(server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]) -> None:
    answerer: Answerer = answerer_for(server)
    assert answerer.holds_to_schema
    (answer,) = answerer.answers(prompts(1), MOST, SCHEMA)
    assert json.loads(answer) == LEASE.empty() | {"lessor": "Lessor 1", "start_date": "May 1, 2012"}
    answerer.close()


def test_answers_come_in_order_whatever_order_the_replies_have(answerer_for: Callable[..., EndpointAnswerer]) -> None:
    with FakeOpenAI(latency=0.02) as server:
        for number in (2, 3, 7):  # these come back late: they are tried again
            server.fail("503", when=about(number), times=2)
        answers = list(answerer_for(server, max_concurrency=4).answers(prompts(12), MOST, SCHEMA))
        answered = [each.prompt for each in server.requests if each.status == 200]
        assert 1 < server.most_in_flight <= 4
    assert lessors(answers) == [f"Lessor {number}" for number in range(1, 13)]
    assert answered != [each[0].content for each in prompts(12)]


def test_extraction_is_asked_for_without_chance_in_the_schema(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    list(answerer_for(server, temperature=0.9, max_tokens=700).answers(prompts(1), MOST, SCHEMA))
    (sent,) = server.requests
    assert sent.parameters["temperature"] == 0
    assert sent.parameters["max_tokens"] == 700
    assert sent.parameters["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sent.prompt == prompt(1)[0].content


def test_no_temperature_is_sent_where_none_is_configured_and_no_schema_where_none_is_given(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    list(answerer_for(server, temperature=None).answers(prompts(1), MOST))
    assert not {"temperature", "response_format"} & set(server.requests[0].parameters)


def test_the_roles_of_a_conversation_are_kept(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer], cache: RequestCache
) -> None:
    conversation = [Message("Be brief.", "system"), Message("1+1?", "user"), Message("2", "assistant")]
    list(answerer_for(server).answers([[*conversation, Message("And 2+2?", "user")]], MOST))
    assert server.requests[0].prompt == "Be brief.\n1+1?\n2\nAnd 2+2?"


def test_an_endpoint_without_json_schema_is_asked_without(answerer_for: Callable[..., EndpointAnswerer]) -> None:
    with FakeOpenAI(json_schema=False) as server:
        answers = list(answerer_for(server).answers(prompts(5), MOST, SCHEMA))
        assert lessors(answers) == [f"Lessor {number}" for number in range(1, 6)]
        assert [each.status for each in server.requests].count(400) == 1


@pytest.mark.parametrize(
    "changed", [{"model": "other"}, {"temperature": None}, {"max_tokens": 99}, {"base_url": "http://127.0.0.1:1/v1"}]
)
def test_what_decides_an_answer_is_in_the_identity(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer], changed: dict[str, Any]
) -> None:
    assert answerer_for(server).identity == answerer_for(server).identity != answerer_for(server, **changed).identity


def test_a_key_is_needed_where_one_is_configured_and_is_not_in_the_identity(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    with pytest.raises(ConfigError, match="THE_KEY"):
        answerer_for(server, api_key_env="THE_KEY")
    given = answerer_for(server, api_key_env="THE_KEY", environment={"THE_KEY": "sk-secret"})
    list(given.answers(prompts(1), MOST))
    assert server.requests[0].authorization == "Bearer sk-secret"
    assert "secret" not in given.identity


# --- what fails ---


def test_a_busy_endpoint_is_waited_for(server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]) -> None:
    server.fail("429", times=1, retry_after=0.03)
    assert lessors(list(answerer_for(server).answers(prompts(1), MOST, SCHEMA))) == ["Lessor 1"]
    first, second = (each.at for each in server.requests)
    assert second - first >= 0.03


def test_a_reply_that_is_no_json_is_the_models_answer(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    server.fail("prose", when=about(2))
    first, second, third = answerer_for(server).answers(prompts(3), MOST, SCHEMA)
    assert second == "I have looked at Article 92 and it is fine."
    assert lessors([first, third]) == ["Lessor 1", "Lessor 3"]


def test_a_prompt_that_the_endpoint_refuses_has_an_empty_answer(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    server.fail("400", message="flagged by the content filter", when=about(2))
    first, second, third = answerer_for(server).answers(prompts(3), MOST, SCHEMA)
    assert second == ""
    assert lessors([first, third]) == ["Lessor 1", "Lessor 3"]


def test_a_request_without_a_reply_is_no_answer_and_only_it_is_asked_again(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    server.fail("500", when=about(4), times=QUICK.attempts)
    answers = answerer_for(server).answers(prompts(10), MOST, SCHEMA)
    yielded = before_the_error(EndpointError, r"endpoints\.generator: 1 of 10 requests failed, .*HTTP 500", answers)
    assert lessors(yielded) == ["Lessor 1", "Lessor 2", "Lessor 3"]
    assert server.served == 9, "the others were asked, and are in the cache"
    again = list(answerer_for(server).answers(prompts(10), MOST, SCHEMA))
    assert lessors(again) == [f"Lessor {number}" for number in range(1, 11)]
    assert server.served == 10


def test_a_document_beyond_the_context_is_told_with_its_remedy(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    said = "This model's maximum context length is 4096 tokens, however you requested 9000"
    server.fail("400", message=said, when=about(2))
    answers = answerer_for(server).answers(prompts(3), MOST, SCHEMA)
    with pytest.raises(EndpointError, match="maximum context length is 4096") as caught:
        list(answers)
    assert "endpoints.generator.window_tokens" in caught.value.remedy


def test_a_dead_endpoint_ends_the_answers(server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]) -> None:
    with FakeOpenAI() as gone:
        answerer = answerer_for(gone)
    with pytest.raises(EndpointError, match=r"endpoints\.generator .*no connection"):
        list(answerer.answers(prompts(30), MOST, SCHEMA))


# --- cache, budget, usage ---


def test_a_second_run_sends_nothing(server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]) -> None:
    first = list(answerer_for(server).answers(prompts(5), MOST, SCHEMA))
    usage = Usage()
    assert list(answerer_for(server, usage=usage).answers(prompts(5), MOST, SCHEMA)) == first
    assert len(server.requests) == 5
    assert (usage.requests, usage.cached) == (0, 5)


def test_answers_that_nobody_waits_for_any_more_are_not_asked_for(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    answers = answerer_for(server, max_concurrency=2).answers(prompts(200), MOST, SCHEMA)
    assert lessors([next(answers)]) == ["Lessor 1"]
    answers.close()  # type: ignore[attr-defined]  # the port promises an iterator; a generator can be closed
    assert len(server.requests) < 20


def test_the_budget_is_never_overshot_and_what_was_paid_for_is_kept(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    answers = answerer_for(server, budget={"requests": 4}, max_concurrency=1).answers(prompts(9), MOST, SCHEMA)
    assert lessors(before_the_error(BudgetReached, r"budget\.requests is 4", answers)) == [
        f"Lessor {number}" for number in range(1, 5)
    ]
    assert len(server.requests) == 4
    assert len(list(answerer_for(server).answers(prompts(9), MOST, SCHEMA))) == 9
    assert len(server.requests) == 9


def test_money_is_counted_by_the_endpoints_price(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer]
) -> None:
    answerer = answerer_for(server, price={"input": 2.0, "output": 10.0})
    list(answerer.answers(prompts(3), MOST, SCHEMA))
    usage = answerer.usage
    assert usage.money == pytest.approx((usage.input_tokens * 2 + usage.output_tokens * 10) / 1e6)
    assert usage.input_tokens + usage.output_tokens == sum(each.tokens for each in server.requests)


def test_it_answers_for_the_evaluation_through_its_cache(
    server: FakeOpenAI, answerer_for: Callable[..., EndpointAnswerer], cache: RequestCache
) -> None:
    advance: Advance = lambda done: None  # noqa: E731 - the port is a bare function
    given = prompts(4)
    first, hits = cached_answers(answerer_for(server), given, MOST, cache, advance, SCHEMA)
    again, hits_again = cached_answers(answerer_for(server), given, MOST, cache, advance, SCHEMA)
    assert (first, hits, hits_again) == (again, 0, 4)
    assert len(server.requests) == 4

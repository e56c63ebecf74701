"""The figures of a dry run: a ceiling, and what is likely."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from langchain_core.messages import HumanMessage

from finreg_cli.config import Endpoint, Price
from finreg_cli.llm.base import Reply
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.estimating import USUAL_REPLY_TOKENS, Expectation, Planner, estimate, rough_counts
from finreg_cli.llm.runner import plain, request_key

ENDPOINT = Endpoint(model="m", base_url="http://localhost/v1", max_tokens=1000, price=Price(input=1, output=10))
SCHEMA = {"properties": {"reasons": {"type": "string"}, "question": {"type": "string"}, "passed": {"type": "boolean"}}}


def planner(cache: RequestCache, expectation: Expectation, endpoint: Endpoint = ENDPOINT) -> Planner:
    return Planner(endpoint, cache, expectation)


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_what_is_likely_is_counted_by_the_tokenizer_and_by_past_replies(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "requests.sqlite") as cache:
        planned = planner(cache, Expectation(words, lambda: 150.4))
        reply = asyncio.run(planned.ask([HumanMessage("one two three")], ("Verdict", SCHEMA), 0))
    assert planned.expected.requests == planned.usage.requests == 1
    assert planned.expected.input_tokens == 3 + 4
    assert planned.expected.output_tokens == 150
    assert planned.expected.money == (7 * 1 + 150 * 10) / 1e6
    assert planned.usage.output_tokens == 1000
    assert planned.usage.input_tokens > len("one two three")
    assert {key: len(value) for key, value in json.loads(reply.text).items() if isinstance(value, str)} == {
        "reasons": 500,
        "question": 500,
    }


def test_a_prompt_that_quotes_a_planned_reply_counts_it_as_long_as_replies_are(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "requests.sqlite") as cache:
        planned = planner(cache, Expectation(words, lambda: 100.0))
        first = asyncio.run(planned.ask([HumanMessage("draft one")], None, 0))
        before = planned.expected.input_tokens
        asyncio.run(planned.ask([HumanMessage(f"judge this: {first.text} please")], None, 0))
    assert planned.expected.input_tokens - before == 3 + 100 + 4


def test_without_past_replies_a_usual_length_is_taken_but_never_more_than_the_ceiling(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "requests.sqlite") as cache:
        for limit, expected in ((1000, USUAL_REPLY_TOKENS), (64, 64)):
            planned = planner(cache, Expectation(), ENDPOINT.model_copy(update={"max_tokens": limit, "price": None}))
            asyncio.run(planned.ask([HumanMessage("one two three")], None, 0))
            assert planned.expected.output_tokens == expected
            assert planned.expected.money is None
            assert planned.expected.input_tokens <= planned.usage.input_tokens


def test_a_cached_request_costs_nothing_in_either_figure(tmp_path: Path) -> None:
    messages = [HumanMessage("one two three")]
    with RequestCache(tmp_path / "requests.sqlite") as cache:
        cache.put(request_key(ENDPOINT, plain(messages), None, 0), Reply("four", 3, 1))
        planned = planner(cache, Expectation())
        assert asyncio.run(planned.ask(messages, None, 0)).text == "four"
    for usage in (planned.usage, planned.expected):
        assert (usage.requests, usage.cached, usage.input_tokens, usage.output_tokens, usage.money) == (0, 1, 0, 0, 0)


def test_the_basis_says_that_it_is_a_ceiling_and_where_the_length_of_replies_is_from(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "requests.sqlite") as cache:
        known = estimate({"generator": planner(cache, Expectation())}, Expectation(mean_reply=lambda: 87.6))
        unknown = estimate({}, Expectation())
    assert set(known.usage) == set(known.expected) == {"generator"}
    assert known.basis.startswith("expected are the prompts")
    assert "replies as long as those so far, 88 tokens" in known.basis
    assert f"replies of {USUAL_REPLY_TOKENS} tokens" in unknown.basis


def test_counting_without_a_tokenizer_is_near_what_tokenizers_count() -> None:
    assert rough_counts(["Institutions shall at all times hold own funds of 8 %.", ""]) == [14, 0]

"""Synthetic leases over real HTTP: what is written, checked, judged, paid for, and when it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fakes.commissions import commission, commissions, configuration
from fakes.leases import labelled
from fakes.openai_server import FakeOpenAI
from finreg_cli.domain.extraction import LEASE
from finreg_cli.domain.records import LabelledLease
from finreg_cli.errors import BudgetReached, ConfigError, EndpointError
from finreg_cli.llm.base import Commission, Synthesised
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.runner import Retry
from finreg_cli.llm.synthesis import SynthesisWriter
from finreg_cli.tasks.structured_extraction import document_problem, labels_problem

QUICK = Retry(attempts=3, first_delay=0.01, longest_delay=0.05)
TESTS = Path(__file__).parents[1]


@pytest.fixture
def writer_for(cache: RequestCache) -> Callable[..., SynthesisWriter]:
    def make(server: FakeOpenAI, environment: dict[str, str] | None = None, **settings: Any) -> SynthesisWriter:
        config = configuration(server.url, **settings)
        return SynthesisWriter(config, cache, Budget(config.budget), environment or {}, retry=QUICK)

    return make


def outcomes(writer: SynthesisWriter, given: Iterable[Commission]) -> dict[str, Synthesised]:
    return {made.lease.lease_id: made for made in writer.write(given)}


def asks_for_labels(prompt: str) -> bool:
    return "\nInvent the details " in prompt


def asks_for_a_document(prompt: str) -> bool:
    return "\nWrite another " in prompt


def asks_about_labels(prompt: str) -> bool:
    return "Judge the invented details" in prompt


def asks_about_the_document(prompt: str) -> bool:
    return "A colleague wrote this" in prompt


def a_judge(server: FakeOpenAI) -> dict[str, Any]:
    return {"model": "judge", "base_url": server.url}


# --- what is written ---


def test_a_document_says_exactly_its_new_labels(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    given = commissions(6)
    written = outcomes(writer_for(server), given)
    assert [written[each.blank.lease_id].reason for each in given] == [None] * 6
    for each in given:
        lease, parent = written[each.blank.lease_id].lease, each.parent
        assert lease.generated_labels is not None
        assert lease.generated_lease_doc is not None
        labels, old = LEASE.loads(lease.generated_labels), LEASE.loads(parent.labels)
        assert labels_problem(lease.generated_labels, LEASE) is None
        assert document_problem(labels, lease.generated_lease_doc) is None
        assert [key for key in labels if labels[key] is None] == [key for key in old if old[key] is None]
        assert labels["lessor"] != old["lessor"]
        assert str(old["lessor"]) not in lease.generated_lease_doc
        assert lease.generated_labels == LEASE.dumps(labels)
        assert (lease.parent_lease_id, lease.round, lease.method) == (parent.lease_id, 1, "llm")


def test_without_a_judge_nobody_is_asked_for_a_verdict(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    (made,) = writer_for(server).write(commissions(1))
    assert (made.labels_judge, made.lease_judge, made.judge_reasons) == (None, None, None)
    assert len(server.requests) == 2


def test_the_judge_judges_and_nothing_else(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    with FakeOpenAI() as judge:
        writer = writer_for(server, judge=a_judge(judge))
        (made,) = writer.write(commissions(1))
        assert (made.labels_judge, made.lease_judge, made.reason) == (True, True, None)
        assert set(json.loads(made.judge_reasons or "")) == {"labels_judge", "lease_judge"}
        assert [asks_about_labels(each.prompt) for each in judge.requests] == [True, False]
        assert [asks_about_the_document(each.prompt) for each in judge.requests] == [False, True]
    assert [asks_for_labels(each.prompt) for each in server.requests] == [True, False]
    assert {name: usage.requests for name, usage in writer.usage.items()} == {"generator": 2, "judge": 2}


def test_each_step_is_shown_what_it_needs(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    (given,) = commissions(1)
    (made,) = writer_for(server, judge=a_judge(server)).write([given])
    labels_prompt, document_prompt, labels_judgement, document_judgement = (each.prompt for each in server.requests)
    old, new = LEASE.loads(given.parent.labels), LEASE.loads(made.lease.generated_labels or "")
    assert all(f"- {field.name}: {field.description}" in labels_prompt for field in LEASE.fields)
    assert given.parent.lease_doc not in labels_prompt
    assert given.parent.lease_doc in document_prompt
    assert "Only its beginning is shown" not in document_prompt
    for key in LEASE.keys:
        if new[key] is not None:
            assert f"- {key}\n  example: {old[key]}\n  yours: {new[key]}\n" in document_prompt
            assert all(str(new[key]) in prompt for prompt in (labels_judgement, document_judgement))
            assert all(str(old[key]) in prompt for prompt in (labels_prompt, document_prompt, labels_judgement))
    assert made.lease.generated_lease_doc is not None
    assert made.lease.generated_lease_doc in document_judgement


def test_the_generator_is_told_the_keys_the_types_and_what_is_absent(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    labels = LEASE.empty() | {"lessor": "Orla Feldman", "start_date": "May 1, 2012"}
    parent = LabelledLease(lease_id="a", lease_doc="Orla Feldman lets from May 1, 2012.", labels=LEASE.dumps(labels))
    (made,) = writer_for(server).write([commission(parent)])
    assert made.reason is None
    told = server.requests[0].parameters["response_format"]["json_schema"]
    assert told["strict"] is True
    assert told["schema"]["required"] == list(LEASE.keys)
    assert told["schema"]["additionalProperties"] is False
    types = {key: each["type"] for key, each in told["schema"]["properties"].items()}
    assert types == dict.fromkeys(LEASE.keys, "null") | {"lessor": "string", "start_date": "string"}
    assert "response_format" not in server.requests[1].parameters, "a document is plain text"


def test_another_schema_is_another_task(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    schema = {
        "type": "object",
        "title": "invoice",
        "properties": {
            "seller name": {"type": "string", "format": "name", "description": "who is paid"},
            "total": {"type": "number"},
            "model_config": {"type": ["string", "null"]},
        },
    }
    labels = {"seller name": "Fern Supplies LLC", "total": 120, "model_config": None}
    parent = LabelledLease(
        lease_id="i", lease_doc="INVOICE\nFern Supplies LLC\nTotal: 120\n", labels=json.dumps(labels)
    )
    writer = writer_for(server, extraction={"schema": schema})
    (made,) = writer.write([commission(parent)])
    assert made.reason is None
    assert set(json.loads(made.lease.generated_labels or "")) == set(labels)
    told = server.requests[0].parameters["response_format"]["json_schema"]["schema"]
    assert [each["type"] for each in told["properties"].values()] == ["string", "number", "null"]
    assert "another invoice" in server.requests[0].prompt
    assert writer.prompt_version != writer_for(server).prompt_version


def test_two_children_of_one_parent_are_asked_for_apart(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    (parent,) = labelled(1)
    given = [commission(parent, sample=sample, round_=round_) for sample in (0, 1) for round_ in (1, 2)]
    written = outcomes(writer_for(server), given)
    assert len(written) == 4
    assert len(server.requests) == 2 * 4
    assert len({made.lease.generated_labels for made in written.values()}) == 4
    invented = [each.prompt for each in server.requests if asks_for_labels(each.prompt)]
    assert len(set(invented)) == 4, "other initials and another year keep a model from writing the same names"


def test_a_long_example_is_cut_to_the_endpoints_window_and_the_prompt_says_so(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    (parent,) = labelled(1)
    clauses = "\n".join(f"Clause {number}. The Tenant keeps the premises clean." for number in range(300))
    long = LabelledLease(
        lease_id=parent.lease_id, lease_doc=f"{parent.lease_doc}\n{clauses}\nThe end.", labels=parent.labels
    )
    (made,) = writer_for(server, window_tokens=1000).write([commission(long)])
    assert made.reason is None
    prompt = server.requests[1].prompt
    assert "Only its beginning is shown; your lease is a whole one" in prompt
    assert parent.lease_doc in prompt
    assert "Clause 9." in prompt
    assert "The end." not in prompt


def test_code_fences_and_thoughts_around_a_document_are_taken_off(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    labels = LEASE.empty() | {"lessor": "Elm Estates"}
    server.fail("say:" + json.dumps(labels), when=asks_for_labels)
    said = "<think>I begin.</think>\n```text\nElm Estates lets\nthe house.\n```"
    server.fail(f"say:{said}", when=asks_for_a_document)
    parent = LabelledLease(
        lease_id="a", lease_doc="Orla Feldman lets.", labels=LEASE.dumps(LEASE.empty() | {"lessor": "Orla Feldman"})
    )
    (made,) = writer_for(server).write([commission(parent)])
    assert made.lease.generated_lease_doc == "Elm Estates lets\nthe house."


# --- what is not kept, and what is not paid for ---


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"lessor": "Elm Estates"}, "labels: the key 'end_date' is missing"),
        (LEASE.empty() | {"lessor": "Elm", "rent": "5"}, "labels: the key 'rent' is not in the schema"),
        (LEASE.empty() | {"lessor": 5}, "labels: 'lessor' is 5, not a string or null"),
        (LEASE.empty() | {"lessor": " "}, "labels: 'lessor' is empty; a value that is not there is null"),
        (LEASE.empty(), "labels: every value is null"),
    ],
)
def test_labels_that_fail_the_check_end_the_row_before_a_document_is_paid_for(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter], labels: dict[str, Any], reason: str
) -> None:
    server.fail("say:" + json.dumps(labels), when=asks_for_labels)
    (made,) = writer_for(server, judge=a_judge(server)).write(commissions(1))
    assert (made.reason or "").startswith(reason)
    assert json.loads(made.lease.generated_labels or "") == labels, "the row keeps what failed"
    assert made.lease.generated_lease_doc is None
    assert len(server.requests) == 1


def test_labels_of_the_parent_are_not_new(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    (given,) = commissions(1)
    same = {key: value and f" {value.upper()}" for key, value in json.loads(given.parent.labels).items()}
    server.fail("say:" + json.dumps(same), when=asks_for_labels)
    (made,) = writer_for(server).write([given])
    assert made.reason == "labels: they repeat those of the parent"
    assert len(server.requests) == 1


def test_a_document_that_lacks_a_value_ends_the_row_before_the_judge_is_paid(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    server.fail("say:This lease is about nothing in particular.", when=asks_for_a_document)
    with FakeOpenAI() as judge:
        (made,) = writer_for(server, judge=a_judge(judge)).write(commissions(1))
        assert judge.requests == []
    assert (made.reason or "").startswith("document: lacks the value of ")
    assert "lessor" in (made.reason or "")
    assert made.lease.generated_lease_doc == "This lease is about nothing in particular."
    assert len(server.requests) == 2


def test_a_reply_without_labels_is_asked_for_once_more(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    server.fail("prose", when=asks_for_labels, times=1)
    (made,) = writer_for(server).write(commissions(1))
    assert made.reason is None
    assert len(server.requests) == 3
    assert 'Its keys are "end_date" (string) and "leased_space" (string)' in server.requests[1].prompt


def test_a_second_reply_without_labels_ends_the_row(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    server.fail("prose", when=asks_for_labels)
    (made,) = writer_for(server).write(commissions(1))
    assert made.reason == "unreadable_reply: it holds no JSON object"
    assert (made.lease.generated_labels, made.lease.generated_lease_doc) == (None, None)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("said", "reason"), [("", "it is empty"), ("<think>I begin", "it is empty")])
def test_an_empty_document_ends_the_row(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter], said: str, reason: str
) -> None:
    server.fail(f"say:{said}", when=asks_for_a_document)
    (made,) = writer_for(server).write(commissions(1))
    assert made.reason == f"unreadable_reply: {reason}"
    assert made.lease.generated_lease_doc is None


def test_a_document_that_was_cut_off_is_no_document(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    server.fail("cut", when=asks_for_a_document)
    (made,) = writer_for(server).write(commissions(1))
    assert made.reason == "unreadable_reply: it was cut off at the limit of max_tokens"
    assert made.lease.generated_lease_doc is None


# --- not checked is never passed ---


@pytest.mark.parametrize("asked", [asks_about_labels, asks_about_the_document])
@pytest.mark.parametrize(
    "said",
    [
        '{"reasons": "good", "passed": "true"}',
        '{"reasons": "bad", "passed": "false"}',
        '{"reasons": "good", "passed": 1}',
        '{"reasons": "good"}',
        "They passed.",
        '{"reasons": "a", "passed": true} {"reasons": "b", "passed": false}',
    ],
)
def test_a_verdict_that_cannot_be_read_ends_the_row(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter], asked: Callable[[str], bool], said: str
) -> None:
    with FakeOpenAI() as judge:
        judge.fail(f"say:{said}", when=asked)
        (made,) = writer_for(server, judge=a_judge(judge)).write(commissions(1))
        assert (made.reason or "").startswith("unreadable_verdict: ")
        assert made.lease_judge is None
        assert made.labels_judge is (None if asked is asks_about_labels else True)
        assert len(judge.requests) == (2 if asked is asks_about_labels else 3), "each verdict is asked for twice"


def test_what_the_judge_does_not_pass_has_its_reasons(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    with FakeOpenAI() as judge:
        judge.fail('say:{"reasons": "The lessor repeats.", "passed": false}', when=asks_about_labels, times=1)
        judge.fail('say:{"reasons": "Two tenants.", "passed": false}', when=asks_about_the_document)
        writer = writer_for(server, judge=a_judge(judge), max_concurrency=1)
        made = list(writer.write(commissions(2)))
    assert sorted(each.reason or "" for each in made) == [
        "judge_document: Two tenants.",
        "judge_labels: The lessor repeats.",
    ]
    verdicts = {each.reason: (each.labels_judge, each.lease_judge) for each in made}
    assert verdicts["judge_labels: The lessor repeats."] == (False, None)
    assert verdicts["judge_document: Two tenants."] == (True, False)
    refused = next(each for each in made if each.labels_judge)
    assert json.loads(refused.judge_reasons or "")["lease_judge"] == "Two tenants."


def test_a_judge_that_fails_for_one_row_ends_that_row_only(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    given = commissions(6)
    with FakeOpenAI() as judge:
        judge.fail("400", message="I will not judge this", times=1, when=asks_about_the_document)
        written = outcomes(writer_for(server, judge=a_judge(judge)), given)
    failed = [each for each in written.values() if each.reason is not None]
    assert [each.reason for each in failed] == ["endpoint: HTTP 400: I will not judge this"]
    assert (failed[0].labels_judge, failed[0].lease_judge) == (True, None)
    assert len(written) == 6


def test_a_dead_judge_ends_the_run_and_nothing_is_passed(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    with FakeOpenAI() as judge:
        url = judge.url
    made: list[Synthesised] = []
    writer = writer_for(server, judge={"model": "judge", "base_url": url})
    with pytest.raises(EndpointError, match=r"endpoints\.judge .*no connection"):
        made.extend(writer.write(commissions(20)))
    assert all(each.reason is not None for each in made)


# --- endpoints that differ, fail or want to wait ---


def test_an_endpoint_without_json_schema_is_asked_without(writer_for: Callable[..., SynthesisWriter]) -> None:
    with FakeOpenAI(json_schema=False) as server:
        written = outcomes(writer_for(server, judge=a_judge(server)), commissions(3))
        assert [made.reason for made in written.values()] == [None] * 3
        refused = [each for each in server.requests if each.status == 400]
        assert len(refused) == 2, "once for the generator, once for the judge"
        assert outcomes(writer_for(server, judge=a_judge(server)), commissions(3)) == written
        assert len(server.requests) == 2 + 4 * 3


def test_a_busy_endpoint_is_waited_for(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    server.fail("429", times=2, retry_after=0.03)
    (made,) = writer_for(server).write(commissions(1))
    assert made.reason is None
    first, second, third = (each.at for each in server.requests[:3])
    assert second - first >= 0.03
    assert third - second >= 0.03
    assert len(server.requests) == 4


def test_a_request_that_fails_for_good_ends_its_row(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    server.fail("400", message="flagged by the filter", when=asks_for_a_document, times=1)
    made = list(writer_for(server, max_concurrency=1).write(commissions(3)))
    assert sorted(str(each.reason) for each in made) == ["None", "None", "endpoint: HTTP 400: flagged by the filter"]


def test_a_mixture_of_failures_loses_no_commission(writer_for: Callable[..., SynthesisWriter]) -> None:
    given = commissions(20)
    with FakeOpenAI(fault_share=0.3, seed=3) as server:
        written = outcomes(writer_for(server, judge=a_judge(server)), given)
    assert set(written) == {each.blank.lease_id for each in given}
    kept = [made for made in written.values() if made.reason is None]
    assert len(kept) > 5
    assert all(made.labels_judge and made.lease_judge and made.lease.generated_lease_doc for made in kept)


def test_a_missing_key_is_told_before_anything_is_sent(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    with pytest.raises(ConfigError, match="THE_KEY"):
        writer_for(server, {}, api_key_env="THE_KEY")
    assert server.requests == []


# --- prompts of one's own ---


def test_a_prompt_may_be_replaced_and_is_another_version(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter], tmp_path: Path
) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    shipped = writer_for(server).prompt_version
    text = (
        "Mind the house style.\n<example_labels>\n{example_labels}\n</example_labels>\n"
        "Invent the details of another {title} as JSON."
    )
    (folder / "labels.md").write_text(text)
    writer = writer_for(server, generate={"prompts": str(folder)})
    assert writer.prompt_version != shipped
    (made,) = writer.write(commissions(1))
    assert made.reason is None
    assert server.requests[0].prompt.startswith("Mind the house style.")


# --- cache, budget, estimate ---


def test_a_second_run_sends_nothing(server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]) -> None:
    first = outcomes(writer_for(server, judge=a_judge(server)), commissions(5))
    sent = len(server.requests)
    again = writer_for(server, judge=a_judge(server))
    assert outcomes(again, commissions(5)) == first
    assert len(server.requests) == sent == 20
    assert {name: (each.requests, each.cached) for name, each in again.usage.items()} == {
        "generator": (0, 10),
        "judge": (0, 10),
    }


def test_after_kill_9_no_finished_request_is_paid_for_twice(tmp_path: Path) -> None:
    count, concurrency = 12, 3
    arguments = [str(tmp_path / "requests.sqlite"), str(count), str(concurrency)]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    with FakeOpenAI(latency=0.1) as server:
        command = [sys.executable, str(TESTS / "fakes" / "commissions.py"), server.url, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before = len(server.requests)
        assert 4 <= before < 2 * count
        again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
        expected = sorted(f"{each.blank.lease_id} None" for each in commissions(count))
        assert sorted(again.stdout.splitlines()) == expected
        assert again.stderr == ""
        assert 2 * count <= len(server.requests) <= 2 * count + concurrency


@pytest.mark.parametrize("limit", [0, 1, 7, 13])
def test_the_budget_of_requests_is_never_overshot(writer_for: Callable[..., SynthesisWriter], limit: int) -> None:
    with FakeOpenAI(latency=0.01) as server:
        writer = writer_for(server, budget={"requests": limit}, max_concurrency=3)
        finished: list[Synthesised] = []
        with pytest.raises(BudgetReached, match=rf"budget\.requests is {limit}"):
            finished.extend(writer.write(commissions(10)))
        assert len(server.requests) == limit
        assert all(made.reason is None for made in finished)
        assert len(outcomes(writer_for(server), commissions(10))) == 10
        assert len(server.requests) == 20


def test_the_estimate_is_an_upper_bound_and_sends_nothing(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    price = {"input": 1.0, "output": 1.0}
    writer = writer_for(server, price=price, judge={**a_judge(server), "price": price})
    estimate = writer.estimate(commissions(4)).usage
    assert server.requests == []
    assert {name: usage.requests for name, usage in estimate.items()} == {"generator": 8, "judge": 8}
    list(writer.write(commissions(4)))
    for name, used in writer.usage.items():
        assert used.requests == estimate[name].requests
        assert 0 < used.input_tokens <= estimate[name].input_tokens
        assert 0 < used.output_tokens <= estimate[name].output_tokens
        assert used.money is not None
        assert used.money <= (estimate[name].money or 0)
    remaining = writer.estimate(commissions(5)).usage
    assert {name: (usage.requests, usage.cached) for name, usage in remaining.items()} == {
        "generator": (2, 8),
        "judge": (2, 8),
    }


def test_the_estimate_goes_on_from_a_run_that_was_stopped(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter]
) -> None:
    with pytest.raises(BudgetReached):
        list(writer_for(server, budget={"requests": 1}).write(commissions(1)))
    estimate = writer_for(server, judge=a_judge(server)).estimate(commissions(1)).usage
    assert {name: (usage.requests, usage.cached) for name, usage in estimate.items()} == {
        "generator": (1, 1),
        "judge": (2, 0),
    }


# --- privacy ---


def test_a_tracing_variable_of_the_environment_sends_nothing_anywhere(
    server: FakeOpenAI, writer_for: Callable[..., SynthesisWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeOpenAI() as collector:
        for name, value in {
            "LANGSMITH_TRACING": "true",
            "LANGCHAIN_TRACING_V2": "true",
            "LANGSMITH_API_KEY": "lsv2_pt_x",
            "LANGSMITH_ENDPOINT": collector.url,
            "LANGCHAIN_ENDPOINT": collector.url,
        }.items():
            monkeypatch.setenv(name, value)
        list(writer_for(server).write(commissions(2)))
        assert collector.paths == []
    assert server.served == 4

"""The chain over real HTTP: what is written, kept, cached, retried, rejected, and when it stops."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

import finreg_cli
from fakes.assignments import assignment, assignments, chunk, configuration
from fakes.openai_server import FakeOpenAI
from finreg_cli.config import Kind
from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.questions import Questions
from finreg_cli.errors import BudgetReached, ConfigError, EndpointError
from finreg_cli.llm.base import Assignment, Written
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.cache import RequestCache
from finreg_cli.llm.chains import STEPS, ChainWriter
from finreg_cli.llm.runner import Retry

QUICK = Retry(attempts=3, first_delay=0.01, longest_delay=0.05)
FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def writer_for(cache: RequestCache) -> Callable[..., ChainWriter]:
    def make(server: FakeOpenAI, environment: dict[str, str] | None = None, **settings: Any) -> ChainWriter:
        config = configuration(server.url, **settings)
        return ChainWriter(config, cache, Budget(config.budget), environment or {}, retry=QUICK)

    return make


def outcomes(writer: ChainWriter, rows: Sequence[Assignment] | Iterator[Assignment]) -> dict[str, Written]:
    return {written.row.row_id: written for written in writer.write(rows)}


def finished_before(error: type[Exception], said: str, rows: Iterator[Written]) -> list[Written]:
    """What is yielded before an error that says so."""
    finished: list[Written] = []
    with pytest.raises(error, match=said):
        finished.extend(rows)
    return finished


# --- what is written ---


def test_a_row_keeps_every_text(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    given = assignment(5)
    (written,) = writer_for(server).write([given])
    assert (written.stage, written.reason) == (None, None)
    row = written.row
    sentence = chunk(5).text.split(". ")[0] + "."
    assert row.initial_question == row.question
    assert "Sample Article 5" in (row.question or "")
    assert json.loads(row.question_judgement or "")["acceptable"] is True
    assert row.initial_answer == sentence
    assert row.reasoning == f"The excerpt says: {sentence}"
    assert json.loads(row.answer_judgement or "")["grounded"] is True
    assert row.answer == f"{sentence} [Sample Article 5]"
    assert (row.row_id, row.context, row.kind, row.split) == (
        given.blank.row_id,
        given.blank.context,
        given.blank.kind,
        given.blank.split,
    )


def test_each_step_sees_what_the_steps_before_it_wrote(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    (written,) = writer_for(server).write([assignment(5)])
    row, prompts = written.row, [each.prompt for each in server.requests]
    assert len(prompts) == len(STEPS)
    assert all(row.context in prompt and "Sample Regulation No 1/2099" in prompt for prompt in prompts)
    for prompt, seen in zip(
        prompts[1:],
        [row.initial_question, row.question_judgement, row.question, row.reasoning, row.answer_judgement],
        strict=True,
    ):
        assert seen is not None
        assert seen in prompt


def test_an_unanswerable_row_ends_as_exactly_the_abstention(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    (written,) = writer_for(server).write([assignment(5, "unanswerable")])
    assert written.reason is None
    assert written.row.answer == ABSTENTION


@pytest.mark.parametrize("said", ["I don't know. The context is silent.", '"I do not know."', "I don\u2019t know"])
def test_an_abstention_is_recognised_however_it_is_worded(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], said: str
) -> None:
    server.fail("say:" + json.dumps({"answer": said}), when=lambda prompt: prompt.rstrip().endswith('"answer".'))
    answerable, unanswerable = (assignment(5, kind) for kind in ("requirement", "unanswerable"))
    written = outcomes(writer_for(server), [answerable, unanswerable])
    assert written[unanswerable.blank.row_id].row.answer == ABSTENTION
    assert written[answerable.blank.row_id].stage == "answer_improve"
    assert (written[answerable.blank.row_id].reason or "").startswith("abstained:")


def test_an_unanswerable_row_that_was_answered_is_dropped(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail('say:{"answer": "It is 8 %."}', when=lambda prompt: prompt.rstrip().endswith('"answer".'))
    (written,) = writer_for(server).write([assignment(5, "unanswerable")])
    assert (written.reason or "").startswith("answered:")


def test_a_citation_that_the_model_wrote_is_replaced(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail('say:{"answer": "It is 8 %. [Article 1]"}', when=lambda prompt: prompt.rstrip().endswith('"answer".'))
    (written,) = writer_for(server).write([assignment(5)])
    assert written.row.answer == "It is 8 %. [Sample Article 5]"


def test_the_judge_judges_and_nothing_else(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI() as judge:
        writer = writer_for(server, judge={"model": "judge", "base_url": judge.url})
        assert [each.reason for each in writer.write(assignments(3))] == [None] * 3
        assert (server.served, judge.served) == (12, 6)
    assert {name: usage.requests for name, usage in writer.usage.items()} == {"generator": 12, "judge": 6}


@pytest.mark.parametrize("settings", [{}, {"json_schema": False}])
def test_replies_are_structured_with_and_without_a_schema(
    settings: dict[str, Any], writer_for: Callable[..., ChainWriter]
) -> None:
    with FakeOpenAI(latency=0.01, **settings) as server:
        written = outcomes(writer_for(server), assignments(8))
        assert [each.reason for each in written.values()] == [None] * 8
        refused = [each for each in server.requests if each.status == 400]
        assert len(refused) == (0 if not settings else 1)


# --- verdicts and unreadable replies ---


@pytest.mark.parametrize(
    "broken", ["prose", 'say:{"reasons": "r", "grounded": "false"}', 'say:{"reasons": "r"}', "say:"]
)
def test_a_verdict_that_cannot_be_read_is_never_a_pass(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], broken: str
) -> None:
    server.fail(broken, when=lambda prompt: "strict examiner" in prompt and "Sample Article 2" in prompt)
    written = outcomes(writer_for(server), assignments(3))
    dropped = written.pop("chunk-2-requirement-0")
    assert dropped.stage == "answer_judgement"
    assert (dropped.reason or "").startswith("unreadable_verdict:")
    assert (dropped.row.answer_judgement, dropped.row.answer) == (None, None)
    assert dropped.row.initial_answer
    assert [each.reason for each in written.values()] == [None, None]


def test_one_repair_request_mends_a_reply(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    server.fail("prose", times=1)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.reason is None
    repair = server.requests[1].prompt
    assert "it holds no JSON object" in repair
    assert '"question"' in repair.splitlines()[-1]
    assert len(server.requests) == len(STEPS) + 1


@pytest.mark.parametrize(
    ("judge", "key", "stage"),
    [("strict editor", "acceptable", "question_improve"), ("strict examiner", "grounded", "answer_improve")],
)
def test_a_draft_judged_bad_that_comes_back_unchanged_is_dropped(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], judge: str, key: str, stage: str
) -> None:
    server.fail("say:" + json.dumps({"reasons": "the date is invented", key: False}), when=lambda p: judge in p)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.stage == stage
    assert (written.reason or "").startswith(f"not_{key}:")
    assert "the date is invented" in (written.reason or "")


@pytest.mark.parametrize(
    ("final", "stands"),
    [
        ("Under the Sample Article 5, what shall an institution do?", False),
        ("Under Sample Article 5, what may institutions do?", True),
    ],
)
def test_a_bad_draft_that_is_only_touched_up_came_back_unchanged(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], final: str, stands: bool
) -> None:
    draft = "Under Sample Article 5, what must institutions do?"
    server.fail("say:" + json.dumps({"question": draft}), when=lambda p: "Write one question of the kind" in p)
    server.fail('say:{"reasons": "wrong", "acceptable": false}', when=lambda prompt: "strict editor" in prompt)
    server.fail("say:" + json.dumps({"question": final}), when=lambda prompt: "An editor judged it" in prompt)
    (written,) = writer_for(server).write([assignment(5)])
    assert (written.reason is None) is stands
    assert stands or (written.reason or "").startswith("not_acceptable:")


def test_a_draft_judged_bad_and_mended_stands(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    server.fail('say:{"reasons": "incomplete", "grounded": false}', when=lambda prompt: "strict examiner" in prompt)
    server.fail('say:{"answer": "5 % at all times."}', when=lambda prompt: prompt.rstrip().endswith('"answer".'))
    (written,) = writer_for(server).write([assignment(5)])
    assert written.reason is None
    assert written.row.answer == "5 % at all times. [Sample Article 5]"


# --- questions that are there already ---

ASKED = "Which ratio must institutions hold under the sample act at all times?"


def everybody_asks(server: FakeOpenAI, question: str = ASKED) -> None:
    server.fail("say:" + json.dumps({"question": question}), when=lambda p: p.rstrip().endswith('"question".'))


def answers(server: FakeOpenAI) -> list[str]:
    return [each.prompt for each in server.requests if "Answer this question from the excerpt alone" in each.prompt]


@pytest.mark.parametrize(("split", "name"), [("train", "near_duplicate"), ("validation", "near_validation")])
def test_no_answer_is_paid_for_a_question_that_stands(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], split: str, name: str
) -> None:
    everybody_asks(server)
    questions = Questions()
    questions.add("there", ASKED.replace("Which", "What"), split)
    (written,) = writer_for(server).write([assignment(5)], questions)
    assert (written.stage, written.reason) == ("duplicate", f"{name}: there")
    assert written.row.question == ASKED
    assert len(server.requests) == 3


def test_of_rows_under_way_that_ask_the_same_one_is_answered(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    everybody_asks(server)
    questions = Questions()
    written = list(writer_for(server, max_concurrency=8).write(assignments(6), questions))
    (kept,) = [each.row.row_id for each in written if each.reason is None]
    assert [each.reason for each in written if each.reason] == [f"near_duplicate: {kept}"] * 5
    assert len(answers(server)) == 1
    assert questions.near(ASKED) == kept


def test_a_row_that_asks_the_same_goes_on_where_the_other_is_dropped(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    everybody_asks(server)
    server.fail('say:{"answer": "It is 77 %."}', when=lambda p: p.rstrip().endswith('"answer".'), times=1)
    written = list(writer_for(server, max_concurrency=8).write(assignments(3), Questions()))
    reasons = Counter((each.reason or "kept").partition(":")[0] for each in written)
    assert reasons == {"kept": 1, "numbers": 1, "near_duplicate": 1}
    assert len(answers(server)) == 2


def test_what_ends_a_run_ends_also_the_rows_that_wait_for_another(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    everybody_asks(server)
    writer = writer_for(server, budget={"requests": 10}, max_concurrency=8)
    finished_before(BudgetReached, "requests", writer.write(assignments(3), Questions()))
    assert len(server.requests) <= 10


def test_a_reply_that_looks_like_a_planned_text_is_no_pass(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail('say:{"answer": "xxxxxxxxxx"}', when=lambda prompt: prompt.rstrip().endswith('"answer".'))
    everybody_asks(server, "xxxxxxxxxx")
    (written,) = writer_for(server).write([assignment(5)])
    assert written.stage == "check"


# --- the final verdict ---


def is_final(prompt: str) -> bool:
    return "You are the last one to check them" in prompt


def improved(server: FakeOpenAI, answer: str = "Institutions hold 5 % at all times.") -> None:
    """From now on the answer comes back in other words than the draft's."""
    server.fail("say:" + json.dumps({"answer": answer}), when=lambda prompt: prompt.rstrip().endswith('"answer".'))


def final_prompts(server: FakeOpenAI) -> list[str]:
    return [each.prompt for each in server.requests if is_final(each.prompt)]


def test_what_was_judged_and_came_back_word_for_word_is_not_judged_again(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    written = outcomes(writer_for(server), [assignment(5), assignment(6, "unanswerable")])
    assert [each.reason for each in written.values()] == [None, None]
    assert final_prompts(server) == []
    assert len(server.requests) == 2 * len(STEPS)


def test_an_improved_answer_is_judged_against_the_source_and_the_verdict_kept(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    improved(server)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.reason is None
    (prompt,) = final_prompts(server)
    assert len(server.requests) == len(STEPS) + 1
    row = written.row
    assert all(each in prompt for each in (row.context, row.question or "?", row.answer or "?"))
    judged = json.loads(row.answer_judgement or "")
    assert judged["grounded"] is True  # of the draft
    assert judged["final"] == {
        "reasons": "It stands on its own and the excerpt decides it.",
        "question_stands_alone": True,
        "grounded": True,
        "answers_the_question": True,
    }


def test_an_improved_question_is_judged_too(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    question = "Which share of own funds does Sample Article 5 ask of institutions?"
    server.fail("say:" + json.dumps({"question": question}), when=lambda prompt: "An editor judged it" in prompt)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.reason is None
    assert [question in prompt for prompt in final_prompts(server)] == [True]


def test_the_judge_and_not_the_generator_has_the_last_word(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    improved(server)
    with FakeOpenAI() as judge:
        (written,) = writer_for(server, judge={"model": "judge", "base_url": judge.url}).write([assignment(5)])
        assert written.reason is None
        assert (len(final_prompts(server)), len(final_prompts(judge))) == (0, 1)


SOUND = {"reasons": "r", "question_stands_alone": True, "grounded": True, "answers_the_question": True}


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        ({**SOUND, "grounded": False}, "not_grounded"),
        ({**SOUND, "question_stands_alone": False}, "question_not_alone"),
        ({**SOUND, "answers_the_question": False}, "question_not_answered"),
        ({**SOUND, "grounded": "false"}, "unreadable_verdict"),
        ({**SOUND, "grounded": "true"}, "unreadable_verdict"),
        ({**SOUND, "grounded": 1}, "unreadable_verdict"),
        ({**SOUND, "grounded": None}, "unreadable_verdict"),
        ({"reasons": "r", "grounded": True}, "unreadable_verdict"),
        ({"reasons": "", **{key: True for key in SOUND if key != "reasons"}}, "unreadable_verdict"),
    ],
)
def test_what_is_not_clearly_passed_in_every_respect_is_rejected(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], verdict: dict[str, Any], reason: str
) -> None:
    improved(server)
    server.fail("say:" + json.dumps(verdict), when=is_final)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.stage == "groundedness"
    assert (written.reason or "").startswith(f"{reason}:")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("prose", "unreadable_verdict"),
        ("say:", "unreadable_verdict"),
        ("say:Grounded: 9/10, Article 92 supports it.", "unreadable_verdict"),
        ('say:{"grounded": true', "unreadable_verdict"),
        ("500", "endpoint"),
        ("html", "endpoint"),
        ("empty", "endpoint"),
        ("reset", "endpoint"),
    ],
)
def test_a_judge_who_says_nothing_usable_passes_nothing(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], kind: str, reason: str
) -> None:
    improved(server)
    server.fail(kind, when=lambda prompt: is_final(prompt) and "Sample Article 5" in prompt)
    written = outcomes(writer_for(server), [assignment(5), assignment(6)])
    dropped = written["chunk-5-requirement-0"]
    assert dropped.stage == "groundedness"
    assert (dropped.reason or "").startswith(f"{reason}:")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Institutions hold 77 % at all times.", "numbers"),
        ("Die Institute halten jederzeit 5 % des Gesamtrisikobetrags als Eigenmittel vor.", "language"),
        ("Institutions hold 5 % under Article 6(3).", "numbers"),
    ],
)
def test_a_row_that_fails_a_mechanical_filter_is_not_paid_a_verdict(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], answer: str, reason: str
) -> None:
    improved(server, answer)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.stage == "check"
    assert (written.reason or "").startswith(f"{reason}:")
    assert len(server.requests) == len(STEPS)


@pytest.mark.parametrize("said", ["NONE", "none."])
def test_where_the_excerpt_holds_nothing_of_the_kind_the_row_ends_after_one_request(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], said: str
) -> None:
    server.fail("say:" + json.dumps({"question": said}))
    (written,) = writer_for(server).write([assignment(5, "deadline")])
    assert written.stage == "question_draft"
    assert (written.reason or "").startswith("no_such_question:")
    assert len(server.requests) == 1


def test_a_question_that_fails_a_mechanical_filter_gets_no_answer(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail('say:{"question": "What does the text above say?"}', when=lambda prompt: '"question".' in prompt)
    (written,) = writer_for(server).write([assignment(5)])
    assert written.stage == "check"
    assert (written.reason or "").startswith("stands_alone:")
    assert len(server.requests) == 3


# --- failures ---


@pytest.mark.parametrize("kind", ["429", "500", "503", "html", "empty", "null", "half", "not_json", "silence"])
def test_a_transient_failure_is_tried_again(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], kind: str
) -> None:
    server.fail(kind, times=2)
    writer = writer_for(server, timeout=0.5 if kind == "silence" else 60)
    (written,) = writer.write([assignment(5)])
    assert written.reason is None
    assert writer.usage["generator"].requests == len(STEPS) + 2


@pytest.mark.parametrize("kind", ["html", "empty", "400", "500", "not_json", "prose"])
def test_one_bad_reply_touches_its_own_row_only(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], kind: str
) -> None:
    server.fail(kind, when=lambda prompt: "Sample Article 2\n" in prompt)
    written = outcomes(writer_for(server, max_concurrency=4), assignments(6))
    dropped = written.pop("chunk-2-requirement-0")
    assert dropped.stage == "question_draft"
    assert (dropped.reason or "").startswith("unreadable_reply:" if kind == "prose" else "endpoint:")
    assert [each.reason for each in written.values()] == [None] * 5


def test_with_random_faults_every_row_is_kept_or_has_its_reason(writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI(fault_share=0.3, seed=7) as server:
        written = outcomes(writer_for(server), assignments(20))
    assert set(written) == {each.blank.row_id for each in assignments(20)}
    kept = [each for each in written.values() if each.reason is None]
    assert all(each.row.answer for each in kept)
    assert all(each.stage and each.reason for each in written.values() if each not in kept)
    assert len(kept) > 10


def test_a_refused_key_ends_the_run_at_once_with_the_endpoints_message(writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI(key="right", latency=0.01) as server:
        writer = writer_for(server, {"THE_KEY": "wrong"}, api_key_env="THE_KEY")
        with pytest.raises(
            EndpointError, match=r"endpoints\.generator .*HTTP 401: Incorrect API key provided"
        ) as caught:
            list(writer.write(assignments(50)))
        assert "wrong" not in caught.value.message
        assert "THE_KEY" in caught.value.remedy
        assert len(server.requests) == 1


def test_a_wrong_model_ends_the_run_and_lists_the_others(writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI(models=["large-1"]) as server, pytest.raises(EndpointError, match="does not exist") as caught:
        list(writer_for(server).write(assignments(50)))
    assert "large-1" in caught.value.remedy


def test_an_endpoint_where_nothing_succeeds_ends_the_run(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail("500", message="out of memory")
    with pytest.raises(EndpointError, match="HTTP 500: out of memory"):
        list(writer_for(server).write(assignments(50)))
    assert len(server.requests) == 3 * QUICK.attempts


def test_an_endpoint_that_dies_later_ends_the_run_after_what_was_finished(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    server.fail("503", when=lambda prompt: server.served >= 30)
    rows = writer_for(server, max_concurrency=2).write(assignments(200))
    finished = finished_before(EndpointError, "HTTP 503", rows)
    assert any(written.reason is None for written in finished)
    assert len(server.requests) < 100


def test_a_missing_key_is_told_before_anything_is_sent(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    with pytest.raises(ConfigError, match="THE_KEY"):
        writer_for(server, {}, api_key_env="THE_KEY")
    assert server.requests == []


# --- limits, cache, budget ---


def test_no_more_requests_are_in_flight_than_allowed(writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI(latency=0.02) as server:
        assert len(outcomes(writer_for(server, max_concurrency=5), assignments(12))) == 12
        assert server.most_in_flight == 5


def test_assignments_are_taken_as_they_are_needed(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    taken = 0

    def endless() -> Iterator[Assignment]:
        nonlocal taken
        while True:
            taken += 1
            yield assignment(taken)

    rows = writer_for(server, max_concurrency=3).write(endless())
    for _ in range(10):
        assert next(rows).reason is None
    rows.close()
    assert taken <= 10 + 4 * 3


def test_a_second_run_sends_nothing(server: FakeOpenAI, writer_for: Callable[..., ChainWriter], tmp_path: Path) -> None:
    first = outcomes(writer_for(server), assignments(5))
    sent = len(server.requests)
    again = writer_for(server)
    assert outcomes(again, assignments(5)) == first
    assert len(server.requests) == sent
    usage = again.usage["generator"]
    assert (usage.requests, usage.cached, usage.input_tokens, usage.output_tokens) == (0, 30, 0, 0)


def test_replies_that_no_schema_was_sent_for_are_found_again(
    writer_for: Callable[..., ChainWriter],
) -> None:
    with FakeOpenAI(json_schema=False) as server:
        outcomes(writer_for(server), assignments(3))
        sent = len(server.requests)
        outcomes(writer_for(server), assignments(3))
        assert len(server.requests) == sent


def test_samples_are_asked_apart(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    written = outcomes(writer_for(server), [assignment(5, sample=sample) for sample in range(2)])
    assert server.served == 2 * len(STEPS)
    assert len({each.row.question for each in written.values()}) == 2


@pytest.mark.parametrize("changed", [{"temperature": 0.1}, {"model": "other"}, {"max_tokens": 99}])
def test_other_parameters_are_asked_anew(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], changed: dict[str, Any]
) -> None:
    outcomes(writer_for(server), assignments(1))
    outcomes(writer_for(server, **changed), assignments(1))
    assert server.served == 2 * len(STEPS)


def test_the_key_is_not_in_the_cache(writer_for: Callable[..., ChainWriter], tmp_path: Path) -> None:
    with FakeOpenAI(key="sk-very-secret") as server:
        outcomes(writer_for(server, {"THE_KEY": "sk-very-secret"}, api_key_env="THE_KEY"), assignments(2))
        assert server.requests[0].authorization == "Bearer sk-very-secret"
    files = list(tmp_path.iterdir())
    assert files
    assert not any(b"sk-very-secret" in file.read_bytes() for file in files)


def test_after_kill_9_no_finished_request_is_paid_for_twice(tmp_path: Path) -> None:
    rows, concurrency = 8, 4
    arguments = [str(tmp_path / "requests.sqlite"), str(rows), str(concurrency)]
    # Repeatable, because an answer that is asked for again and differs would need a verdict more.
    with FakeOpenAI(latency=0.05, repeatable=True) as server:
        command = [sys.executable, str(FAKES / "assignments.py"), server.url, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before = len(server.requests)
        assert 2 * len(STEPS) <= before < rows * len(STEPS)
        finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert sorted(finished.stdout.split("\n")) == sorted(
            ["", *(f"{each.blank.row_id} None" for each in assignments(rows))]
        )
        assert finished.stderr == ""
        needed = len({each.key for each in server.requests})
        assert needed >= rows * len(STEPS)
        assert len(server.requests) <= needed + concurrency


@pytest.mark.parametrize("limit", [0, 1, 25, 31])
def test_the_budget_of_requests_is_never_overshot(
    writer_for: Callable[..., ChainWriter], cache: RequestCache, limit: int
) -> None:
    with FakeOpenAI(latency=0.01) as server:
        rows = writer_for(server, budget={"requests": limit}, max_concurrency=4).write(assignments(10))
        finished = finished_before(BudgetReached, rf"budget\.requests is {limit}", rows)
        assert len(server.requests) == limit
        assert all(written.reason is None for written in finished)
        if limit >= 25:
            assert finished
        assert len(outcomes(writer_for(server), assignments(10))) == 10
        assert len(server.requests) == 10 * len(STEPS)


def test_failed_requests_count_in_the_budget(writer_for: Callable[..., ChainWriter]) -> None:
    with FakeOpenAI(fault_share=0.5, seed=1) as server:
        with pytest.raises(BudgetReached):
            list(writer_for(server, budget={"requests": 40}).write(assignments(20)))
        assert len(server.requests) == 40


@pytest.mark.parametrize("reports_usage", [True, False])
def test_the_budget_of_tokens_is_never_overshot(writer_for: Callable[..., ChainWriter], reports_usage: bool) -> None:
    with FakeOpenAI(latency=0.01, reports_usage=reports_usage) as server:
        writer = writer_for(server, budget={"tokens": 30_000}, max_tokens=200)
        with pytest.raises(BudgetReached, match=r"budget\.tokens is 30000"):
            list(writer.write(assignments(60)))
        usage = writer.usage["generator"]
        spent = sum(each.tokens for each in server.requests)
        assert 0 < spent <= usage.input_tokens + usage.output_tokens <= 30_000
        # What was not used was given back: far more was sent than reserving alone would have allowed.
        assert not reports_usage or len(server.requests) > 40


def test_money_is_counted_by_the_endpoints_price(server: FakeOpenAI, writer_for: Callable[..., ChainWriter]) -> None:
    writer = writer_for(server, price={"input": 2.0, "output": 10.0})
    list(writer.write(assignments(3)))
    usage = writer.usage["generator"]
    assert usage.money == pytest.approx((usage.input_tokens * 2 + usage.output_tokens * 10) / 1e6)
    assert usage.input_tokens + usage.output_tokens == sum(each.tokens for each in server.requests)


def test_the_estimate_is_an_upper_bound_and_sends_nothing(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter]
) -> None:
    price = {"input": 1.0, "output": 1.0}
    writer = writer_for(server, price=price, judge={"model": "judge", "base_url": server.url, "price": price})
    estimate = writer.estimate(assignments(4)).usage
    assert server.requests == []
    # With a final verdict on each row, which those that come back unchanged don't need.
    assert {name: usage.requests for name, usage in estimate.items()} == {"generator": 16, "judge": 12}
    list(writer.write(assignments(4)))
    assert {name: usage.requests for name, usage in writer.usage.items()} == {"generator": 16, "judge": 8}
    for name, used in writer.usage.items():
        assert 0 < used.input_tokens <= estimate[name].input_tokens
        assert 0 < used.output_tokens <= estimate[name].output_tokens
        assert used.money is not None
        assert used.money <= (estimate[name].money or 0)
    remaining = writer.estimate(assignments(5)).usage
    assert {name: (usage.requests, usage.cached) for name, usage in remaining.items()} == {
        "generator": (4, 16),
        "judge": (3, 8),
    }


# --- interruption and privacy ---


def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "requests.sqlite"), "200", "4"]
    with FakeOpenAI(latency=0.05) as server:
        command = [sys.executable, str(FAKES / "assignments.py"), server.url, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert process.returncode != 0
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "Unclosed" not in errors
        assert "never retrieved" not in errors


def test_a_tracing_variable_of_the_environment_sends_nothing_anywhere(
    server: FakeOpenAI, writer_for: Callable[..., ChainWriter], monkeypatch: pytest.MonkeyPatch
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
        list(writer_for(server).write(assignments(2)))
        assert collector.paths == []
    assert server.served == 2 * len(STEPS)


# --- from Python ---


@pytest.fixture
def llm(server: FakeOpenAI) -> Iterator[BaseChatModel]:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="fake", base_url=server.url, api_key=SecretStr("none"), max_retries=0)
    yield model
    model.root_client.close()


def test_any_langchain_model_writes_rows(server: FakeOpenAI, llm: BaseChatModel) -> None:
    server.fail("prose", when=lambda prompt: "Sample Article 2\n" in prompt)
    rows = finreg_cli.build_instruction_eval_dataset(
        [chunk(1), chunk(2), "Text without a citation, long enough to make a sentence."],
        llm,
        kinds=("requirement",),
        rows_per_chunk=1,
        regulation="Another Regulation",
    )
    assert [row["citation"] for row in rows] == ["Sample Article 1", "Sample Article 2", "Another Regulation"]
    assert rows[0]["answer"].endswith(" [Sample Article 1]")
    assert (rows[0]["stage"], rows[0]["reason"], rows[0]["model"]) == (None, None, "fake")
    assert rows[1]["stage"] == "question_draft"
    assert rows[1]["reason"].startswith("unreadable_reply:")
    assert rows[2]["answer"].endswith(" [Another Regulation]")
    again = finreg_cli.build_instruction_eval_dataset([chunk(3)], llm, kinds=("definition",), rows_per_chunk=1)
    assert [row["reason"] for row in again] == [None]


def test_from_python_the_same_filters_apply(server: FakeOpenAI, llm: BaseChatModel) -> None:
    question = "Which ratio must institutions hold under the sample act at all times?"
    server.fail(
        "say:" + json.dumps({"question": question}), when=lambda p: '"question".' in p and "Sample Article 3\n" not in p
    )
    server.fail(
        'say:{"answer": "It is 77 %."}', when=lambda p: "Sample Article 3\n" in p and p.rstrip().endswith('"answer".')
    )
    suspect = dataclasses.replace(chunk(4), suspect_instruction=True)
    rows = finreg_cli.build_instruction_eval_dataset(
        [chunk(1), chunk(2), chunk(3), suspect], llm, kinds=("requirement",), rows_per_chunk=1
    )
    reasons = [(row["stage"], (row["reason"] or "").partition(":")[0]) for row in rows]
    kept = (None, "")
    assert sorted(reasons[:2], key=str) == sorted([kept, ("duplicate", "near_duplicate")], key=str)
    assert reasons[2:] == [("check", "numbers"), ("check", "suspect_source")]


def test_from_python_rows_across_articles_are_made_of_chunks_that_refer_to_each_other(
    server: FakeOpenAI, llm: BaseChatModel
) -> None:
    referring = dataclasses.replace(chunk(1), references=["chunk-2", "Directive 2013/36/EU Article 4"])
    rows = finreg_cli.build_instruction_eval_dataset(
        [referring, chunk(2)], llm, kinds=("cross_article", "requirement"), rows_per_chunk=1, validation_fraction=0
    )
    assert [(row["kind"], row["chunk_ids"]) for row in rows] == [
        ("cross_article", ["chunk-1", "chunk-2"]),
        ("requirement", ["chunk-2"]),
    ]
    assert rows[0]["answer"].endswith(" [Sample Article 1; Sample Article 2]")


def test_from_python_kinds_go_to_the_chunks_that_hold_something_of_them(server: FakeOpenAI, llm: BaseChatModel) -> None:
    silent = dataclasses.replace(chunk(1), text="Institutions shall deduct the amount of the losses that they made.")
    kinds: list[Kind] = ["threshold", "requirement"]
    rows = finreg_cli.build_instruction_eval_dataset([silent, chunk(2)], llm, kinds=kinds, rows_per_chunk=2)
    assert [(row["chunk_id"], row["kind"], row["sample"]) for row in rows] == [
        ("chunk-1", "requirement", 0),
        ("chunk-1", "requirement", 1),
        ("chunk-2", "threshold", 0),
        ("chunk-2", "requirement", 0),
    ]
    unfit = finreg_cli.build_instruction_eval_dataset([silent], llm, kinds=["threshold"], rows_per_chunk=1)
    assert [row["kind"] for row in unfit] == ["threshold"]  # nothing disappears


def test_one_failing_call_costs_its_row_and_none_that_succeeds_is_an_error(
    server: FakeOpenAI, llm: BaseChatModel
) -> None:
    server.fail("500", when=lambda prompt: "Sample Article 2\n" in prompt)
    rows = finreg_cli.build_instruction_eval_dataset([chunk(1), chunk(2)], llm, kinds=("fact",), rows_per_chunk=1)
    assert [(row["reason"] or "").partition(":")[0] for row in rows] == ["", "endpoint"]
    with pytest.raises(EndpointError, match=r"answered no request: .*told to fail"):
        finreg_cli.build_instruction_eval_dataset([chunk(2)], llm, kinds=("fact",))


def test_a_language_that_cannot_be_checked_is_refused(llm: BaseChatModel) -> None:
    with pytest.raises(ConfigError, match="'Klingon'"):
        finreg_cli.build_instruction_eval_dataset([chunk(1)], llm, language="Klingon")


def test_the_command_line_does_not_wait_for_the_entry_point() -> None:
    code = "import sys, finreg_cli.cli; sys.exit(any(name.startswith('langchain') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

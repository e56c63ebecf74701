"""Replies are read strictly: not checked is never passed."""

from __future__ import annotations

import json

import pytest

from finreg_cli.domain.extraction import Schema
from finreg_cli.llm.structured import (
    Answer,
    AnswerVerdict,
    Question,
    ReasonedAnswer,
    Unreadable,
    Verdict,
    form,
    json_schema,
    keys,
    labels_form,
    read,
    read_object,
    read_text,
)

PASSED = '{"reasons": "all of it stands there", "grounded": true}'
FAILED = '{"reasons": "the date is invented", "grounded": false}'


@pytest.mark.parametrize(
    "reply",
    [
        PASSED,
        f"```json\n{PASSED}\n```",
        f"Here is my judgement:\n\n{PASSED}\nI hope that it helps.",
        f"<think>It could be {FAILED} but no.</think>\n{PASSED}",
        f"the opening tag was in the prompt, {FAILED}</think>{PASSED}",
        f"{PASSED}\n\n{PASSED}",
        '{"reasons": " all of it stands there ", "grounded": true, "confidence": 0.9}',
    ],
)
def test_the_object_is_found_in_what_models_write_around_it(reply: str) -> None:
    assert read(reply, AnswerVerdict) == AnswerVerdict(reasons="all of it stands there", grounded=True)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ('{"reasons": "r", "grounded": "false"}', '"grounded"'),
        ('{"reasons": "r", "grounded": "true"}', '"grounded"'),
        ('{"reasons": "r", "grounded": 1}', '"grounded"'),
        ('{"reasons": "r", "grounded": null}', '"grounded"'),
        ('{"reasons": "r"}', 'the key "grounded" is missing'),
        ('{"reasons": "", "grounded": true}', '"reasons": is empty'),
        ('{"grounded": true}', 'the key "reasons" is missing'),
        ("true", "no JSON object"),
        ("", "no JSON object"),
        ("Article 92 is not in the source", "no JSON object"),
        ("The answer is grounded: 9/10.", "no JSON object"),
        (f"{PASSED} or rather {FAILED}", "2 different JSON objects"),
        ('{"reasons": "r", "grounded": false, "grounded": true}', "twice"),
        ('{"reasons": "cut off, "grounded": true', "broken"),
        (f'{{"reasons": "it says {PASSED}", "grounded": false}}', "broken"),
        (f"<think>{PASSED}", "no JSON object"),
        (f"[{{}}, {PASSED[:-1]}", "broken"),
        ("{" * 5000, "broken"),
    ],
)
def test_what_is_no_clear_verdict_is_unreadable(reply: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        read(reply, AnswerVerdict)


def test_line_breaks_inside_of_strings_are_forgiven() -> None:
    assert read('{"answer": "one\ntwo"}', Answer).answer == "one\ntwo"


def test_thoughts_come_before_what_they_lead_to() -> None:
    assert list(ReasonedAnswer.model_fields) == ["reasoning", "answer"]
    assert list(AnswerVerdict.model_fields) == ["reasons", "grounded"]


def test_the_schema_keeps_to_what_strict_structured_output_knows() -> None:
    assert json_schema(AnswerVerdict) == {
        "type": "object",
        "properties": {"reasons": {"type": "string"}, "grounded": {"type": "boolean"}},
        "required": ["reasons", "grounded"],
        "additionalProperties": False,
    }
    assert "minLength" not in json.dumps(json_schema(Question))


def test_the_repair_request_names_keys_and_types() -> None:
    assert keys(AnswerVerdict) == '"reasons" (a string) and "grounded" (true or false)'


def test_a_form_of_an_output_reads_it() -> None:
    verdict = form(Verdict)
    assert verdict.schema == ("Verdict", json_schema(Verdict))
    assert verdict.is_verdict
    assert not form(Answer).is_verdict
    assert verdict.read('{"reasons": "r", "passed": false}') == Verdict(reasons="r", passed=False)
    with pytest.raises(Unreadable):
        verdict.read('{"reasons": "r", "passed": "false"}')


def test_the_form_of_labels_is_null_exactly_where_the_example_is() -> None:
    schema = Schema.parse({"type": "object", "properties": {"who": {"type": "string"}, "rent": {"type": "number"}}})
    wanted = labels_form(schema, absent=["rent"])
    name, definition = wanted.schema
    assert (name, definition["required"], definition["additionalProperties"]) == ("Labels", ["who", "rent"], False)
    assert definition["properties"] == {"who": {"type": "string"}, "rent": {"type": "null"}}
    assert wanted.keys == '"who" (string) and "rent" (null)'
    assert not wanted.is_verdict


@pytest.mark.parametrize(
    "reply", ['{"a": 1}', 'Here:\n```json\n{"a": 1}\n```', '<think>{"a": 2}</think>{"a": 1} {"a": 1}']
)
def test_an_object_is_read_whatever_its_keys(reply: str) -> None:
    assert read_object(reply) == {"a": 1}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("[1]", "no JSON object"),
        ('{"a": 1} {"a": 2}', "different"),
        ('{"a": 1, "a": 1}', "twice"),
        ('{"a": ', "broken"),
    ],
)
def test_what_is_no_single_object_is_unreadable(reply: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        read_object(reply)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (" A lease.\n", "A lease."),
        ("```\nA lease.\n```", "A lease."),
        ("<thinking>so</thinking>\nA lease with a ``` in it.", "A lease with a ``` in it."),
        ("```md\nOne.\n```\nand more", "```md\nOne.\n```\nand more"),
    ],
)
def test_a_text_is_read_without_what_models_write_around_it(reply: str, text: str) -> None:
    assert read_text(reply) == text


def test_a_text_of_nothing_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="it is empty"):
        read_text("```\n\n```")

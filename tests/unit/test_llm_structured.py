"""Replies are read strictly: not checked is never passed."""

from __future__ import annotations

import json

import pytest

from finreg_cli.llm.structured import (
    Answer,
    AnswerVerdict,
    Question,
    ReasonedAnswer,
    Unreadable,
    json_schema,
    keys,
    read,
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

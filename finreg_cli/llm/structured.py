"""Structured replies: what a reply must look like, and how it is read, strictly.

*Not checked is never passed*: a verdict counts only as the JSON value ``true`` or ``false`` of the one object in the
reply. The string "false", prose with a number in it, two objects that differ, or no object at all are unreadable.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


class Unreadable(Exception):
    """A reply does not hold the object that was asked for; the message says what is wrong with it."""


def _something(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.strip()


# The validator and not `min_length`: strict structured output knows no length keywords.
Text = Annotated[str, AfterValidator(_something)]


class Output(BaseModel):
    """The object that a step asks for. Thoughts stand before what they lead to, because models write in order."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Question(Output):
    question: Text


class QuestionVerdict(Output):
    reasons: Text
    acceptable: bool


class ReasonedAnswer(Output):
    reasoning: Text
    answer: Text


class AnswerVerdict(Output):
    reasons: Text
    grounded: bool


class Answer(Output):
    answer: Text


Read = TypeVar("Read", bound=Output)

_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
# Some chat templates write the opening tag into the prompt, so that the reply begins in the middle of the thoughts;
# a reply that was cut off has no closing tag.
_HEADLESS_THOUGHTS = re.compile(r"\A.*</(think|thinking)>", re.DOTALL | re.IGNORECASE)
_ENDLESS_THOUGHTS = re.compile(r"<(think|thinking)>.*\Z", re.DOTALL | re.IGNORECASE)


def read(text: str, output: type[Read]) -> Read:
    """The object in a reply, with or without thoughts, prose or a code fence around it.

    Raises:
        Unreadable: there is none, it does not fit, or there are several that differ.
    """
    for thoughts in (_THOUGHTS, _HEADLESS_THOUGHTS, _ENDLESS_THOUGHTS):
        text = thoughts.sub("", text)
    fitting: list[Read] = []
    problem = "it holds no JSON object"
    for candidate in _objects(text):
        try:
            found = output.model_validate(candidate)
        except ValidationError as error:
            problem = _explain(error)
            continue
        if found not in fitting:
            fitting.append(found)
    if len(fitting) > 1:
        raise Unreadable(f"it holds {len(fitting)} different JSON objects")
    if not fitting:
        raise Unreadable(problem)
    return fitting[0]


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text, in order.

    Raises:
        Unreadable: an opening brace begins no JSON. What stands inside of a broken object is no reply: a quoted verdict
            must not be taken for the verdict.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_without_repeated_keys, strict=False)
    found, position = [], text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"its JSON is broken: {error}") from error
        found.append(value)
        position = text.find("{", end)
    return found


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key is there twice: {keys}")
    return dict(pairs)


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f'the key "{key}" is missing' if problem["type"] == "missing" else f'"{key}": {message}')
    return "; ".join(problems)


@cache
def json_schema(output: type[Output]) -> dict[str, Any]:
    """The JSON schema in the subset that strict structured output knows: all keys required, no others."""
    properties = output.model_json_schema()["properties"]
    return {
        "type": "object",
        "properties": {key: {"type": each["type"]} for key, each in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def keys(output: type[Output]) -> str:
    """The keys as the repair request names them."""
    kinds = {str: "a string", bool: "true or false"}
    named = []
    for name, each in output.model_fields.items():
        annotation = each.annotation
        named.append(f'"{name}" ({kinds[annotation]})' if annotation in kinds else f'"{name}"')
    return " and ".join(named)

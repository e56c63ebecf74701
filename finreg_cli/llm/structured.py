"""Structured replies: what a reply must look like, and how it is read, strictly.

*Not checked is never passed*: a verdict counts only as the JSON value ``true`` or ``false`` of the one object in the
reply. The string "false", prose with a number in it, two objects that differ, or no object at all are unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from finreg_cli.domain.extraction import Schema


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


class FinalVerdict(Output):
    reasons: Text
    question_stands_alone: bool
    grounded: bool
    answers_the_question: bool


class Verdict(Output):
    reasons: Text
    passed: bool


Read = TypeVar("Read", bound=Output)
Value = TypeVar("Value")

NamedSchema = tuple[str, dict[str, Any]]
"""A JSON schema that an endpoint can be told, and its name."""


@dataclass(frozen=True)
class Form(Generic[Value]):
    """What a reply must be.

    Args:
        schema: what the endpoint is told, where it can be.
        keys: the keys as the repair request names them.
        read: takes the value out of the text; raises Unreadable.
        is_verdict: whether it decides about a row.
    """

    schema: NamedSchema
    keys: str
    read: Callable[[str], Value]
    is_verdict: bool


def form(output: type[Read]) -> Form[Read]:
    is_verdict = any(each.annotation is bool for each in output.model_fields.values())
    return Form((output.__name__, json_schema(output)), keys(output), partial(read, output=output), is_verdict)


def labels_form(schema: Schema, absent: Collection[str]) -> Form[dict[str, Any]]:
    """New labels: of the schema, but null exactly for the ``absent`` keys, so that an endpoint that is told the schema
    cannot depart from its example there.

    It is read as the object that it is, whatever its keys: whether they are right is a score, and the task's to say.
    """
    definition = schema.json_schema()
    definition["properties"] = {
        each.name: {"type": "null" if each.name in absent else each.type} for each in schema.fields
    }
    named = " and ".join(f'"{each.name}" ({"null" if each.name in absent else each.type})' for each in schema.fields)
    return Form(("Labels", definition), named, read_object, is_verdict=False)


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
    fitting: list[Read] = []
    problem = "it holds no JSON object"
    for candidate in _objects(without_thoughts(text)):
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


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object in a reply, whatever its keys; thoughts, prose and a code fence around it as in `read`.

    Raises:
        Unreadable: there is none, or there are several that differ.
    """
    found = _objects(without_thoughts(text))
    if not found:
        raise Unreadable("it holds no JSON object")
    if any(each != found[0] for each in found):
        raise Unreadable("it holds different JSON objects")
    return found[0]


_FENCED = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)


def read_text(text: str) -> str:
    """The text of a reply in plain words, without thoughts and without a code fence around all of it.

    Raises:
        Unreadable: nothing is left.
    """
    text = without_thoughts(text).strip()
    fenced = _FENCED.match(text)
    text = fenced.group(1).strip() if fenced else text
    if not text:
        raise Unreadable("it is empty")
    return text


def without_thoughts(text: str) -> str:
    for thoughts in (_THOUGHTS, _HEADLESS_THOUGHTS, _ENDLESS_THOUGHTS):
        text = thoughts.sub("", text)
    return text


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

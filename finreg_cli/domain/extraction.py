"""Structured extraction: the schema, the labels, and how a reply becomes labels, strictly.

Labels are flat: one scalar for each key of the schema, or None where the document does not say. They are written as
bare JSON with the keys in the schema's order, in training rows, in replies and in the tables.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

Scalar = str | int | float | bool
Value = Scalar | None
Labels = dict[str, Value]
"""Every key of the schema, in its order."""

ValueKind = Literal["date", "amount", "name", "text"]
"""How a value is compared, and how a synthetic one is made."""

_JSON_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}
_KINDS: dict[str, ValueKind] = {"date": "date", "amount": "amount", "name": "name", "text": "text"}


@dataclass(frozen=True)
class Field:
    """One key: what it means, its JSON type and the kind of its values."""

    name: str
    description: str = ""
    type: str = "string"
    kind: ValueKind = "text"


@dataclass(frozen=True)
class Schema:
    """What is to be found in a document; ``title`` names the document in the instruction."""

    fields: tuple[Field, ...]
    title: str = "document"

    @classmethod
    def parse(cls, schema: Mapping[str, Any]) -> Schema:
        """From a flat JSON schema: an object with string, integer, number and boolean properties.

        ``format`` (date, amount, name or text) says how values are compared; without it, a string is a text and a
        number an amount. A type may be a list with "null": every value may be null, stated or not.

        Raises:
            ValueError: it is no such schema; the message names what is wrong.
        """
        properties = schema.get("properties")
        if schema.get("type") != "object" or not isinstance(properties, Mapping) or not properties:
            raise ValueError("is no flat JSON schema: it needs 'type: object' and 'properties'")
        title = schema.get("title", "document")
        if not isinstance(title, str) or not title.strip():
            raise ValueError(f"has the title {title!r}, which is no text")
        return cls(tuple(_field(str(name), each) for name, each in properties.items()), title)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.fields)

    def json_schema(self) -> dict[str, Any]:
        """In the subset that strict structured output and grammars know: all keys required, each nullable."""
        return {
            "type": "object",
            "properties": {each.name: {"type": [each.type, "null"]} for each in self.fields},
            "required": list(self.keys),
            "additionalProperties": False,
        }

    def problems(self, labels: Mapping[str, Any]) -> list[str]:
        """What is wrong with labels: keys that are missing or unknown, values of another type; empty strings too."""
        found = [f"the key '{key}' is missing" for key in self.keys if key not in labels]
        found += [f"the key '{key}' is not in the schema" for key in labels if key not in self.keys]
        for each in self.fields:
            value = labels.get(each.name)
            if value is not None and not _fits(value, each.type):
                found.append(f"'{each.name}' is {value!r}, not a {each.type} or null")
            elif isinstance(value, str) and not value.strip():
                found.append(f"'{each.name}' is empty; a value that is not there is null")
        return found

    def empty(self) -> Labels:
        return dict.fromkeys(self.keys)

    def dumps(self, labels: Mapping[str, Value]) -> str:
        """The labels as they stand in a table and in a training row: bare JSON, keys in the schema's order."""
        return json.dumps({key: labels.get(key) for key in self.keys}, ensure_ascii=False)

    def loads(self, text: str) -> Labels:
        """The inverse of `dumps`; other keys are left out, missing ones are None."""
        found = json.loads(text)
        return {key: found.get(key) for key in self.keys}


def _field(name: str, definition: Any) -> Field:
    if not isinstance(definition, Mapping):
        raise ValueError(f"property '{name}' is {definition!r}, not a mapping")
    declared = definition.get("type", "string")
    types = [each for each in (declared if isinstance(declared, list) else [declared]) if each != "null"]
    if len(types) != 1 or types[0] not in _JSON_TYPES:
        raise ValueError(f"property '{name}' has the type {declared!r}; known: {', '.join(_JSON_TYPES)} (flat)")
    named = definition.get("format", "amount" if types[0] in ("integer", "number") else "text")
    if named not in _KINDS:
        raise ValueError(f"property '{name}' has the format {named!r}; known: {', '.join(_KINDS)}")
    return Field(name, str(definition.get("description", "")), types[0], _KINDS[named])


def _fits(value: Any, type_: str) -> bool:
    if type_ == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _JSON_TYPES[type_]) and (type_ == "boolean" or not isinstance(value, bool))


LEASE = Schema(
    (
        Field("end_date", "when the term ends", kind="date"),
        Field("leased_space", "the premises let"),
        Field("lessee", "the tenant", kind="name"),
        Field("lessor", "the landlord", kind="name"),
        Field("signing_date", "when the lease is made", kind="date"),
        Field("start_date", "when the term begins", kind="date"),
        Field("term_of_payment", "when rent is paid"),
        Field("designated_use", "permitted use"),
        Field("extension_period", "right to extend or renew"),
        Field("expiration_date_of_lease", "stated date of expiration", kind="date"),
    ),
    "lease",
)
"""The ten keys of the lease experiment."""


def instruction(schema: Schema) -> str:
    """What stands before the document, in training rows and in every request."""
    keys = "\n".join(f"- {each.name}{f': {each.description}' if each.description else ''}" for each in schema.fields)
    return (
        f"Find these details of the {schema.title} below. Answer with one JSON object with exactly these keys. "
        f"Copy each value as it stands, and write null where the {schema.title} does not say.\n{keys}\n"
    )


def prompt_text(instruction: str, document: str) -> str:
    """The user's message of a training row: the instruction, a newline, the document."""
    return f"{instruction}\n{document}"


# --- values in the document ------------------------------------------------------------------------------------------


@overload
def text_of(value: Scalar) -> str: ...
@overload
def text_of(value: None) -> None: ...
@overload
def text_of(value: Value) -> str | None: ...
def text_of(value: Value) -> str | None:
    """A value as it would stand in a document; None for null."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of a document."""

    start: int
    end: int


def find(value: Value, document: str) -> Span | None:
    """Where a value first stands in a document, word by word.

    Verbatim means the same characters: letter case counts, and a typographic quote, dash or ligature is not its plain
    cousin. Blanks and line breaks between words don't matter. A value does not stand within a longer word or number:
    ``Unit 1`` is not in ``Unit 12``, nor ``first`` in ``thirty-first``.
    """
    words = (text_of(value) or "").split()
    # Most values that a window lacks end here: a plain search is linear, whatever the value.
    if not words or " ".join(words) not in " ".join(document.split()):
        return None
    pattern = re.compile(r"\s++".join(map(re.escape, words)))
    for match in pattern.finditer(document):
        if not _within_word(document, match.start()) and not _within_word(document, match.end()):
            return Span(*match.span())
    return None


def _within_word(document: str, place: int) -> bool:
    """Digits or letters on both sides, or a hyphen that joins them: ``first`` is not in ``thirty-first``.

    Scripts without letter case write words without blanks, so they don't count.
    """
    before, after = document[place - 1 : place], document[place : place + 1]
    if before == "-":
        before = document[max(0, place - 2) : max(0, place - 1)]
    elif after == "-":
        after = document[place + 1 : place + 2]
    return (before.isdigit() and after.isdigit()) or (_is_cased(before) and _is_cased(after))


def _is_cased(letter: str) -> bool:
    return letter.lower() != letter.upper()


# --- replies ---------------------------------------------------------------------------------------------------------


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, without repeated keys; None where it is anything else."""
    try:
        value = json.loads(text, object_pairs_hook=_without_repeated_keys)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {_shortened(repeated)} is there twice")
    return found


class InvalidReply(Exception):
    """A reply does not hold the labels that were asked for; the message says what is wrong with it."""


def read_reply(text: str, schema: Schema) -> Labels:
    """The labels in a reply, with or without thoughts, prose or a code fence around the one JSON object.

    A key that is missing is null, one that the schema does not know is left out. A number where a string is wanted is
    taken as it is spelt, and a string that is exactly the JSON of the number or boolean that is wanted as that. An
    empty string is null, and so is the word "null", which models put into quotes; no other word for nothing is: "N/A"
    and "None" may stand in a document. The same labels twice are one. Anything else is invalid, never guessed.

    Raises:
        InvalidReply: there is no object or more than one, it is cut off, nested, in a list, or repeats a key, or a
            value is of another type or no Unicode text.
    """
    found: list[Labels] = []
    for candidate in _objects(text):
        labels = _labels(candidate, schema)
        if found and labels != found[0]:
            raise InvalidReply("it holds different JSON objects")
        found = [labels]
    if not found:
        raise InvalidReply("it holds no JSON object")
    return found[0]


class _Number(str):
    """A number as the reply spells it: ``8000.00`` is not to become ``8000.0``."""


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


# Not strict, because models write line breaks and tabs into strings as they are.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repeated_keys,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_no_json,
    strict=False,
)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a reply, in order.

    Raises:
        InvalidReply: an opening brace begins no JSON (what stands within a broken object is no reply), or an object
            stands in a list.
    """
    try:
        # A bare reply is taken as it is: the signs of thoughts or lists in its strings mean nothing.
        bare = _DECODER.decode(text)
    except (ValueError, RecursionError):
        yield from _objects_in_prose(_without_thoughts(text))
        return
    if not isinstance(bare, dict):
        raise InvalidReply("its JSON is no object")
    yield bare


def _objects_in_prose(text: str) -> Iterator[dict[str, Any]]:
    end = 0
    while (start := text.find("{", end)) >= 0:
        between = text[end:start]
        if between.count("[") > between.count("]"):
            raise InvalidReply("its object stands in a list")
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise InvalidReply(f"its JSON is broken: {error}") from error
        yield value


_THOUGHT_TAG = re.compile("<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)


def _without_thoughts(text: str) -> str:
    """A reply without ``<think> ... </think>``.

    Some chat templates write the opening tag into the prompt, so all before a closing tag without one is thought; where
    the closing tag is missing, the reply was cut off while thinking.
    """
    said: list[str] = []
    start: int | None = 0
    for tag in _THOUGHT_TAG.finditer(text):
        if not tag[1]:
            said += [text[start : tag.start()]] if start is not None else []
            start = None
        else:
            said = said if start is None else []
            start = tag.end()
    return "\n".join([*said, text[start:]] if start is not None else said)


def _labels(found: Mapping[str, Any], schema: Schema) -> Labels:
    for key, value in found.items():
        # Within a key that the schema does not know, too: the labels themselves could stand in it.
        if isinstance(value, dict | list):
            raise InvalidReply(f"{_shortened(key)} is nested")
    return {each.name: _scalar(each, found.get(each.name)) for each in schema.fields}


_INTEGER = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def _scalar(field: Field, given: Any) -> Value:
    """A flat value as one of the field's type."""
    if given is None or isinstance(given, bool):
        if given is None or field.type == "boolean":
            return given
    elif not isinstance(given, _Number) and given.strip().casefold() in ("", "null"):
        return None
    elif field.type == "string":
        return _unicode(field, str(given))
    elif field.type == "boolean":
        if given in ("true", "false") and not isinstance(given, _Number):
            return bool(given == "true")
    else:
        number = _number(given, whole=field.type == "integer")
        if number is not None:
            return number
    raise InvalidReply(f"'{field.name}' is {_shortened(given)}, which is no {field.type}")


def _number(text: str, whole: bool) -> int | float | None:
    """The number that a text is in JSON; None where it is none, or too large. ``12.0`` is the whole number 12."""
    try:
        if (integer := _INTEGER.fullmatch(text)) and (whole or "." not in text):
            return int(integer[1])
    except ValueError:  # Python reads no integers of more than 4,300 digits
        return None
    number = float(text) if _JSON_NUMBER.fullmatch(text) and not whole else math.inf
    return number if math.isfinite(number) else None


def _unicode(field: Field, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which no table can store
        raise InvalidReply(f"'{field.name}' is no Unicode text") from error
    return text


def _shortened(value: object, longest: int = 80) -> str:
    shown = ascii(str(value) if isinstance(value, str) else value)
    return shown if len(shown) <= longest else f"{shown[:longest]}..."

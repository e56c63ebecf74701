"""Structured extraction: the schema, the labels, and how a reply becomes labels, strictly.

Labels are flat: one scalar for each key of the schema, or None where the document does not say. They are written as
bare JSON with the keys in the schema's order, in training rows, in replies and in the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Value = str | int | float | bool | None
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
        Field("end_date", "the date, or the words for it, on which the lease term ends", kind="date"),
        Field("leased_space", "the premises that are let: address, unit, area"),
        Field("lessee", "the tenant", kind="name"),
        Field("lessor", "the landlord", kind="name"),
        Field("signing_date", "the date on which the lease is made", kind="date"),
        Field("start_date", "the date, or the words for it, on which the lease term begins", kind="date"),
        Field("term_of_payment", "when and how the rent is to be paid"),
        Field("designated_use", "what the premises may be used for"),
        Field("extension_period", "the right to extend or renew, and for how long"),
        Field("expiration_date_of_lease", "the date that the document calls the expiration of the lease", kind="date"),
    ),
    "lease",
)
"""The ten keys of the lease experiment."""


def instruction(schema: Schema) -> str:
    """What stands before the document, in training rows and in every request."""
    keys = "\n".join(f"- {each.name}{f': {each.description}' if each.description else ''}" for each in schema.fields)
    return (
        f"Find these details in the {schema.title} below. Answer with one JSON object that has exactly these keys. "
        f"Copy each value as it stands in the {schema.title}, and write null where it does not say.\n{keys}\n"
    )


def prompt_text(instruction: str, document: str) -> str:
    """The user's message of a training row: the instruction, a newline, the document."""
    return f"{instruction}\n{document}"


# --- values in the document ------------------------------------------------------------------------------------------


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
    """Where a value first stands in a document, word by word; blanks and line breaks between words don't matter."""
    words = (text_of(value) or "").split()
    if not words:
        return None
    found = re.search(r"\s+".join(map(re.escape, words)), document)
    return Span(*found.span()) if found else None


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
        raise ValueError(f"a key is there twice: {[key for key, _ in pairs]}")
    return found


class InvalidReply(Exception):
    """A reply does not hold the labels that were asked for; the message says what is wrong with it."""


def read_reply(text: str, schema: Schema) -> Labels:
    """The labels in a reply, with or without thoughts, prose or a code fence around the one JSON object.

    A key that is missing is null, one that the schema does not know is left out; a number where a string is wanted is
    taken as its text, and an empty string as null. Anything else is invalid, never guessed.

    Raises:
        InvalidReply: there is no object or more than one, it is cut off, nested, or repeats a key.
    """
    raise NotImplementedError

"""The forms in which other trainers take a conversation.

Each keeps every word and leaves out nothing: a model that another trainer tuned on any of them is prompted by finreg as
it was trained. A conversation is an optional system message, one of the user and one of the assistant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from finreg_cli.domain.records import Message

ROWS = "rows"
"""The name of the other form: a table's own columns, as they stand."""

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SHAREGPT_TURNS = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Form:
    """How a conversation is written: its columns, and what stands in them."""

    schema: pa.Schema
    of: Callable[[Sequence[Message]], dict[str, Any]]

    @property
    def is_flat(self) -> bool:
        """Whether each column is a text, so that a CSV file can hold it."""
        return all(pa.types.is_string(field.type) for field in self.schema)


def _turns(conversation: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": each.role, "content": each.content} for each in conversation]


def _messages(conversation: Sequence[Message]) -> dict[str, Any]:
    return {"messages": _turns(conversation)}


def _prompt_completion(conversation: Sequence[Message]) -> dict[str, Any]:
    return {"prompt": _turns(conversation[:-1]), "completion": _turns(conversation[-1:])}


def _alpaca(conversation: Sequence[Message]) -> dict[str, Any]:
    *system, user, answer = (each.content for each in conversation)
    instruction, given = (system[0], user) if system else (user, "")
    return {"instruction": instruction, "input": given, "output": answer}


def _sharegpt(conversation: Sequence[Message]) -> dict[str, Any]:
    return {"conversations": [{"from": _SHAREGPT_ROLES[each.role], "value": each.content} for each in conversation]}


FORMS: Mapping[str, Form] = {
    # OpenAI's fine-tuning API, TRL, Axolotl.
    "messages": Form(pa.schema([("messages", _TURNS)]), _messages),
    # TRL: of this form its SFT trainer takes the loss on the answer only, as finreg does.
    "prompt-completion": Form(pa.schema([("prompt", _TURNS), ("completion", _TURNS)]), _prompt_completion),
    # Stanford Alpaca, torchtune, LLaMA-Factory. What others call the system prompt is the instruction here.
    "alpaca": Form(pa.schema([(name, pa.string()) for name in ("instruction", "input", "output")]), _alpaca),
    # FastChat, LLaMA-Factory, Unsloth.
    "sharegpt": Form(pa.schema([("conversations", _SHAREGPT_TURNS)]), _sharegpt),
}

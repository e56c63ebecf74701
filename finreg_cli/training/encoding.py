"""A chat in tokens: what the model reads, which of it carries loss, and what is cut where it is too long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from finreg_cli.training.rows import SPLITS, Row, Unusable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that carries no loss, as PyTorch's cross entropy has it."""

LEAST_PROMPT_TOKENS = 64
"""A row that leaves its prompt less than this is left out: it would teach to answer what was not asked."""


@dataclass(frozen=True)
class Encoded:
    """A row in tokens; ``labels`` is `IGNORED` up to the completion, which ends with the end-of-turn token.

    ``cut_at`` is the place in ``input_ids`` where ``tokens_cut`` tokens of the prompt were taken out.
    """

    row_id: str
    input_ids: list[int]
    labels: list[int]
    tokens_cut: int = 0
    cut_at: int | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def completion_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class Chosen:
    """The encoded rows by split; ``left_out`` names those that do not fit into the context."""

    by_split: dict[str, list[Encoded]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    left_out: list[str] = field(default_factory=list)

    @property
    def cut(self) -> dict[str, int]:
        """How many tokens of its prompt a row lost, by its row_id."""
        return {row.row_id: row.tokens_cut for rows in self.by_split.values() for row in rows if row.tokens_cut}


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    """The chat as the model reads it, up to where its answer begins."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, row: Row) -> Encoded:
    """Renders the row with the model's chat template.

    Prompt and completion are tokenised apart, as they are when the model answers: first it reads the prompt, then it
    writes. What the template adds after the end of the turn is left out, because the model never writes it.

    Raises:
        Unusable: the tokenizer has no chat template, one that refuses the chat's roles, or one that renders the prompt
            otherwise once it is answered.
    """
    from jinja2 import TemplateError

    try:
        prompt = render_prompt(tokenizer, row.messages[:-1])
        whole = str(tokenizer.apply_chat_template(row.messages, tokenize=False))
    except (ValueError, TemplateError) as error:
        reason = str(error).splitlines()[0]
        raise Unusable(f"row {row.row_id}: the tokenizer cannot render its chat: {reason}") from error
    if not whole.startswith(prompt):
        raise Unusable(f"row {row.row_id}: the chat template renders its prompt differently once it is answered")
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    # An answer may quote the token itself, and a template may end a turn with another one.
    quoted = tokenizer(row.messages[-1]["content"], add_special_tokens=False)["input_ids"].count(end)
    if completion_ids.count(end) > quoted:
        completion_ids = completion_ids[: len(completion_ids) - completion_ids[::-1].index(end)]
    else:
        completion_ids = [*completion_ids, end]
    return Encoded(row.row_id, [*prompt_ids, *completion_ids], [IGNORED] * len(prompt_ids) + completion_ids)


def fit(row: Encoded, context_length: int, too_long: str) -> Encoded | None:
    """The row as it is trained on; None where it is left out.

    Where ``too_long`` is ``cut``, the completion is never cut: the prompt keeps its beginning (who asks, and how the
    answer shall be) and its end (the question, and what opens the answer), half of the room each, and loses tokens
    from its middle. That is where the context stands, so **a cut row may no longer hold the evidence of its answer**,
    and teaches the model to know by heart what it should read; hence it is named in ``result.json``. A row whose
    prompt would keep fewer than `LEAST_PROMPT_TOKENS` tokens is left out, as every longer row is where ``too_long``
    is ``leave_out``.
    """
    excess = len(row) - context_length
    if excess <= 0:
        return row
    prompt = len(row) - row.completion_tokens
    room = prompt - excess
    if too_long == "leave_out" or room < LEAST_PROMPT_TOKENS:
        return None
    begin = room // 2
    return replace(
        row,
        input_ids=row.input_ids[:begin] + row.input_ids[begin + excess :],
        labels=row.labels[:begin] + row.labels[begin + excess :],
        tokens_cut=excess,
        cut_at=begin,
    )


def encode_all(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], context_length: int, too_long: str) -> Chosen:
    """All rows as they are trained on, in their order.

    Raises:
        Unusable: as `encode` does.
    """
    chosen = Chosen()
    for row in rows:
        fitting = fit(encode(tokenizer, row), context_length, too_long)
        if fitting is None:
            chosen.left_out.append(row.row_id)
        else:
            chosen.by_split[row.split].append(fitting)
    return chosen

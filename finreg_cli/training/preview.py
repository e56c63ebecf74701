"""Rows as the trainer sees them: through its own encoding, cut and collator, and back into text.

What is shown is read from the collated tensors, so that a wrong mask cannot hide behind a right row.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import TrainingRow
from finreg_cli.errors import MissingExtra, ModelMissing, StageFailed
from finreg_cli.training.base_models import ModelRegistry, base_folder
from finreg_cli.training.batches import concatenate
from finreg_cli.training.encoding import IGNORED, LEAST_PROMPT_TOKENS, Encoded, encode, fit
from finreg_cli.training.rows import Row, Unusable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGIN, END = "⟦", "⟧"
"""Around the tokens that carry loss, where no colour can say it."""

CUT_BEGIN, CUT_END = "⟪", "⟫"

WORDS_OF_A_CUT = 5
"""Shown of its beginning and of its end; the whole stands in the JSON."""

_ROWS_A_BATCH = 4
_EDGE_BLANKS = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)
_VISIBLE = str.maketrans({" ": "␣", "\t": "⇥"})


@dataclass(frozen=True)
class Segment:
    """Tokens that stand together and are alike.

    Args:
        text: as the model reads it; of a cut, what it does not read.
        tokens: how many they are.
        carries_loss: whether the model is trained to write them.
        is_special: a token that the tokenizer knows as a sign of its own, such as the end of a turn.
        is_cut: taken out, because the row is longer than the context.
    """

    text: str
    tokens: int
    carries_loss: bool = False
    is_special: bool = False
    is_cut: bool = False


@dataclass(frozen=True)
class SeenRow:
    """One row behind the trainer's collator.

    Args:
        row_id, group_key: as in the table.
        segments: in the order of the tokens; empty where the row is left out.
        prompt_tokens, completion_tokens: those without and with loss, as far as they are trained on.
        end_of_turn: the text of the row's last token where it is the model's sign for the end of its turn, else None.
        learns_to_end: whether that token carries loss; a model that never learns it does not stop.
        left_out: why the trainer does not take the row at all, as a sentence; None where it does.
    """

    row_id: str
    group_key: str
    segments: list[Segment]
    prompt_tokens: int
    completion_tokens: int
    end_of_turn: str | None
    learns_to_end: bool
    left_out: str | None = None

    @property
    def tokens_cut(self) -> int:
        return sum(each.tokens for each in self.segments if each.is_cut)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"tokens_cut": self.tokens_cut}

    def shown(self) -> dict[str, Any]:
        """What is told of the row beside its text, for a person."""
        if self.left_out:
            return {"row_id": self.row_id, "group_key": self.group_key, "left out": self.left_out}
        return {
            "row_id": self.row_id,
            "group_key": self.group_key,
            "tokens": f"{self.prompt_tokens} prompt, {self.completion_tokens} completion (they carry loss)",
            "end of turn": self._said_of_the_end(),
            "cut": self._said_of_the_cut(),
        }

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces, each with whether it carries loss; marked, and with the blanks at its edges visible.

        Loss stands within `BEGIN` and `END`, a cut within `CUT_BEGIN` and `CUT_END`. A text that holds these signs
        itself is told apart in `as_json` only.
        """
        for carries_loss, together in groupby(self.segments, key=lambda each: each.carries_loss):
            text = "".join(map(_visible, together))
            yield (f"{BEGIN}{text}{END}" if carries_loss else text), carries_loss

    def _said_of_the_end(self) -> str:
        if self.end_of_turn is None:
            return "missing: the model does not learn to stop"
        return f"{self.end_of_turn}, {'carries' if self.learns_to_end else 'carries no'} loss"

    def _said_of_the_cut(self) -> str | None:
        before = 0
        for each in self.segments:
            if each.is_cut:
                return f"{each.tokens} tokens of the prompt, after its first {before}"
            before += each.tokens
        return None


def preview(
    base_model: str,
    rows: Iterable[TrainingRow],
    context_length: int,
    too_long: str,
    progress: Progress | None = None,
    registry: ModelRegistry | None = None,
) -> Iterator[SeenRow]:
    """The rows as `train` would see them with this base model, in their order.

    Args:
        base_model: as in the configuration; its tokenizer and chat template are used, its weights are not.
        rows: of ``ft_training`` or ``ft_eval``.
        context_length: ``finetune.context_length``, tokens.
        too_long: ``finetune.too_long``.
        progress: who watches while the base model is fetched.
        registry: where ``models:/...`` comes from.

    Raises:
        MissingExtra: the extra ``train`` is not installed.
        ModelMissing: the base model is not here and cannot be had, or has no tokenizer.
        ConfigError: ``base_model`` names no model.
        StageFailed: the chat template cannot render a row.
    """
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "train", "showing rows as the trainer sees them")
    tokenizer = _tokenizer(base_folder(base_model, progress, registry), base_model)
    return _seen(tokenizer, rows, context_length, too_long)


def _tokenizer(folder: str, base_model: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelMissing(
            f"finetune.base_model: the tokenizer of {base_model} in {folder} cannot be loaded: {reason}",
            "give a model with its tokenizer, as transformers saves both",
        ) from error
    return tokenizer


def _seen(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[TrainingRow], context_length: int, too_long: str
) -> Iterator[SeenRow]:
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_A_BATCH)):
        encoded = [_encoded(tokenizer, row) for row in some]
        fitting = [fit(each, context_length, too_long) for each in encoded]
        collated = iter(_through_the_collator([each for each in fitting if each is not None]))
        for row, whole, fitted in zip(some, encoded, fitting, strict=True):
            if fitted is None:
                yield _left_out(row, whole, context_length, too_long)
            else:
                yield _taken(tokenizer, row, whole, fitted, *next(collated))


def _encoded(tokenizer: PreTrainedTokenizerBase, row: TrainingRow) -> Encoded:
    try:
        return encode(tokenizer, Row(row.row_id, "train", [asdict(message) for message in row.messages]))
    except Unusable as error:
        raise StageFailed(str(error), "give a finetune.base_model with a chat template, an instruct model") from None


def _through_the_collator(rows: Sequence[Encoded]) -> list[tuple[list[int], list[int]]]:
    """(input_ids, labels) of each row, as they stand in the batch."""
    if not rows:
        return []
    batch = concatenate(rows)
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in rows]
    columns = (batch[name].flatten().tolist() for name in ("row_numbers", "input_ids", "labels"))
    for number, token, label in zip(*columns, strict=True):
        found[number][0].append(token)
        found[number][1].append(label)
    return found


def _left_out(row: TrainingRow, whole: Encoded, context_length: int, too_long: str) -> SeenRow:
    prompt, completion = len(whole) - whole.completion_tokens, whole.completion_tokens
    reason = f"{len(whole)} tokens ({prompt} prompt, {completion} completion), and finetune.context_length is "
    reason += f"{context_length}; "
    if too_long == "cut":
        reason += f"a cut would leave {max(0, context_length - completion)} of the prompt, and {LEAST_PROMPT_TOKENS} "
        reason += "are the least"
    else:
        reason += f"finetune.too_long is {too_long}"
    return SeenRow(row.row_id, row.group_key, [], 0, 0, None, False, reason)


def _taken(
    tokenizer: PreTrainedTokenizerBase,
    row: TrainingRow,
    whole: Encoded,
    fitted: Encoded,
    tokens: list[int],
    labels: list[int],
) -> SeenRow:
    carries = [label != IGNORED for label in labels]
    ends = tokens[-1] == tokenizer.eos_token_id
    return SeenRow(
        row_id=row.row_id,
        group_key=row.group_key,
        segments=list(_segments(tokenizer, tokens, carries, whole, fitted)),
        prompt_tokens=carries.count(False),
        completion_tokens=carries.count(True),
        end_of_turn=_text_of(tokenizer, tokens, len(tokens) - 1, len(tokens)) if ends else None,
        learns_to_end=ends and carries[-1],
    )


def _segments(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], carries: list[bool], whole: Encoded, fitted: Encoded
) -> Iterator[Segment]:
    special = set(tokenizer.all_special_ids)
    kinds = [(carries[place], token in special, place < (fitted.cut_at or 0)) for place, token in enumerate(tokens)]
    begin = 0
    for (carries_loss, is_special, _), group in groupby(kinds):
        end = begin + len(list(group))
        if begin == fitted.cut_at:
            yield _cut(tokenizer, whole, fitted.cut_at, fitted.tokens_cut)
        yield Segment(_text_of(tokenizer, tokens, begin, end), end - begin, carries_loss, is_special)
        begin = end


def _cut(tokenizer: PreTrainedTokenizerBase, whole: Encoded, begin: int, tokens: int) -> Segment:
    return Segment(_text_of(tokenizer, whole.input_ids, begin, begin + tokens), tokens, is_cut=True)


def _text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], begin: int, end: int) -> str:
    """The text of some tokens where they stand: alone, many a tokenizer would swallow the blank they begin with."""
    before, through = (_decoded(tokenizer, tokens[:until]) for until in (begin, end))
    if through.startswith(before):
        return through[len(before) :]
    return _decoded(tokenizer, tokens[begin:end])  # the border splits a character


def _decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _visible(segment: Segment) -> str:
    if segment.is_special:
        return segment.text
    if not segment.is_cut:
        return _EDGE_BLANKS.sub(lambda found: found.group().translate(_VISIBLE), segment.text)
    words = segment.text.split()
    if len(words) > 2 * WORDS_OF_A_CUT:
        words = [*words[:WORDS_OF_A_CUT], "...", *words[-WORDS_OF_A_CUT:]]
    return f"{CUT_BEGIN}{segment.tokens} tokens cut: {' '.join(words)}{CUT_END}"

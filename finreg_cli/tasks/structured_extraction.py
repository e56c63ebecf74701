"""The task: finding labelled values in documents, the part that both methods of synthesis and all stages share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finreg_cli.config import Config
from finreg_cli.domain import extraction
from finreg_cli.domain.extraction import LEASE, Labels, Schema, find, text_of
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.records import GeneratedLease, LabelledLease, Message, TrainingRow
from finreg_cli.domain.windows import TokenOffsets, Window, labels_of, windows

MAX_NEW_TOKENS = 512
"""Of a reply, where ``evaluate.max_new_tokens`` does not say: ten values, some of a long clause."""


@dataclass(frozen=True)
class Reading:
    """How documents are read, in training rows, evaluation and ``finreg extract`` alike.

    Args:
        schema: what is to be found.
        instruction: what stands before the document.
        offsets: the tokens of a text, by which windows are measured.
        window_tokens: the most tokens of a document that are read at a time.
        window_overlap: tokens that two windows share.
    """

    schema: Schema
    instruction: str
    offsets: TokenOffsets
    window_tokens: int
    window_overlap: int

    def windows(self, document: str, window_tokens: int | None = None) -> list[Window]:
        """The document in windows of at most ``window_tokens`` tokens, by default those of the configuration."""
        return windows(document, self.offsets, window_tokens or self.window_tokens, self.window_overlap)

    def prompt(self, window: Window) -> list[Message]:
        return [Message(extraction.prompt_text(self.instruction, window.text), "user")]

    def training_rows(self, lease_id: str, family: str, document: str, labels: Labels) -> Iterator[TrainingRow]:
        """A row for each window of a document, whose answer is what stands in that window."""
        for nth, window in enumerate(self.windows(document)):
            answer = self.schema.dumps(labels_of(window, document, labels, self.schema))
            yield TrainingRow(
                messages=[*self.prompt(window), Message(answer, "assistant")],
                row_id=content_hash(lease_id, nth, window.text, answer),
                group_key=family,
            )


def most_tokens(config: Config) -> int:
    """The most tokens of a local model's reply; an endpoint keeps to its own ``max_tokens``."""
    return config.evaluate.max_new_tokens or MAX_NEW_TOKENS


def schema_of(config: Config) -> Schema:
    """The configured schema, else the ten keys of a lease."""
    configured = config.extraction.schema_
    return LEASE if configured is None else Schema.parse(configured)


def reading(config: Config, offsets: TokenOffsets) -> Reading:
    schema = schema_of(config)
    return Reading(
        schema,
        config.extraction.instruction or extraction.instruction(schema),
        offsets,
        config.extraction.window_tokens,
        config.extraction.window_overlap,
    )


# --- synthesis -------------------------------------------------------------------------------------------------------


def blank_lease(
    parent: LabelledLease,
    round_: int,
    sample: int,
    *,
    method: str,
    model: str | None,
    prompt_version: str,
    outputs_may_train: bool,
) -> GeneratedLease:
    """A synthetic document with its id and origin, but without labels and text yet.

    The parent's text and labels are part of the id: of a parent that has changed, other children are made.
    """
    identity = (parent.lease_id, parent.lease_doc, parent.labels, method, prompt_version, model, round_, sample)
    return GeneratedLease(
        lease_id=content_hash(*identity),
        parent_lease_id=parent.lease_id,
        round=round_,
        generated_labels=None,
        generated_lease_doc=None,
        method=method,
        model=model,
        prompt_version=prompt_version,
        outputs_may_train=outputs_may_train,
    )


def labels_problem(labels_json: str, schema: Schema) -> str | None:
    """The mechanical score of the labels: why they are not every key, no more and no less; None where they are."""
    labels = extraction.parse_object(labels_json)
    if labels is None:
        return "labels: no JSON object"
    problems = schema.problems(labels)
    if not problems and not any(value is not None for value in labels.values()):
        problems = ["every value is null"]
    return f"labels: {'; '.join(problems)}" if problems else None


def document_problem(labels: Labels, document: str) -> str | None:
    """The mechanical score of the document: the values that do not stand in it; None where all do."""
    missing = [key for key, value in labels.items() if value is not None and find(value, document) is None]
    return f"document: lacks the value of {', '.join(missing)}" if missing else None


def leftover_problem(schema: Schema, labels: Labels, parent: Labels, document: str) -> str | None:
    """The parent's dates and names that the document still holds, though its own are others; None where it has none.

    Texts are not looked at: "monthly in advance" may stand in any document.
    """
    own = {text_of(value) for value in labels.values()}
    left = [
        each.name
        for each in schema.fields
        if each.kind in ("date", "name") and text_of(parent[each.name]) not in own and find(parent[each.name], document)
    ]
    return f"document: still holds the parent's {', '.join(left)}" if left else None

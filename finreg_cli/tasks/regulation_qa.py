"""The task: question-answer rows about regulations, the part that both methods of writing them share."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator

from finreg_cli.config import Generate, Kind
from finreg_cli.domain.chat_format import ABSTENTION, context_of, messages, with_citation
from finreg_cli.domain.identity import row_id
from finreg_cli.domain.legal_structure import split_unit
from finreg_cli.domain.records import Chunk, Message, QaRow
from finreg_cli.domain.splits import Split, split_of
from finreg_cli.tasks.rules import Proposal, propose

UNANSWERABLE = "unanswerable"
FIRST_ROUND = 1
UNIT_SEPARATOR = "#"
"""Between the work and the unit in ``split_unit``, because every act has an Article 4."""


def blank_row(
    chunk: Chunk,
    kind: Kind,
    sample: int,
    *,
    method: str,
    model: str | None,
    prompt_version: str,
    outputs_may_train: bool,
    seed: int,
    validation_fraction: float,
) -> QaRow:
    """A row with its id, context and split, but without question and answer yet.

    Args:
        chunk: the source of the row and its whole context.
        kind: the kind of question.
        sample: tells rows alike in everything else apart, from 0.
        method: ``rules`` or ``llm``.
        model: the generating model; None for rules.
        prompt_version: the version of the prompts, or the name of the rule.
        outputs_may_train: what the endpoint's terms allow; True for rules.
        seed: ``generate.seed``, which decides the split.
        validation_fraction: the share of legal units that goes to validation.
    """
    unit = split_unit(chunk)
    return QaRow(
        row_id=row_id([chunk.chunk_id], method, prompt_version, model, FIRST_ROUND, kind, sample),
        chunk_id=chunk.chunk_id,
        chunk_ids=[chunk.chunk_id],
        document_id=chunk.document_id,
        citation=chunk.citation,
        kind=kind,
        sample=sample,
        context=context_of(chunk),
        answerable=kind != UNANSWERABLE,
        method=method,
        model=model,
        prompt_version=prompt_version,
        outputs_may_train=outputs_may_train,
        round=FIRST_ROUND,
        split=split_of(seed, chunk.work_id, unit, validation_fraction),
        split_unit=f"{chunk.work_id}{UNIT_SEPARATOR}{unit}",
    )


def side_of(row: QaRow, seed: int, validation_fraction: float) -> Split:
    """The side of the split that a row stands on under these settings."""
    work_id, _, unit = row.split_unit.partition(UNIT_SEPARATOR)
    return split_of(seed, work_id, unit, validation_fraction)


def row_of(proposal: Proposal, blank: QaRow) -> QaRow:
    """The blank row, filled with what the rule proposes; the answer ends with its citation, the abstention does not."""
    answer = with_citation(proposal.answer, proposal.citation) if proposal.answerable else ABSTENTION
    return dataclasses.replace(
        blank,
        citation=proposal.citation,
        question=proposal.question,
        answer=answer,
        reasoning=proposal.reasoning,
        answerable=proposal.answerable,
    )


def rows_by_rules(chunk: Chunk, settings: Generate) -> Iterator[QaRow]:
    """Every row of the configured kinds that the rules propose, unchecked and unmixed, in the order of the text."""
    samples: Counter[tuple[str, str]] = Counter()
    for proposal in propose(chunk):
        sample = samples[proposal.kind, proposal.rule]
        samples[proposal.kind, proposal.rule] += 1
        if not settings.kinds.get(proposal.kind):
            continue
        blank = blank_row(
            chunk,
            proposal.kind,
            sample,
            method="rules",
            model=None,
            prompt_version=proposal.rule,
            outputs_may_train=True,
            seed=settings.seed,
            validation_fraction=settings.validation_fraction,
        )
        yield row_of(proposal, blank)


def blanks_for_model(
    chunk: Chunk, settings: Generate, model: str, prompt_version: str, outputs_may_train: bool
) -> Iterator[QaRow]:
    """A blank row of each configured kind; more than one of a kind only where the kinds are fewer than the rows."""
    kinds = sorted(kind for kind, share in settings.kinds.items() if share > 0)
    for sample in range(math.ceil(settings.rows_per_chunk / len(kinds))):
        for kind in kinds:
            yield blank_row(
                chunk,
                kind,
                sample,
                method="llm",
                model=model,
                prompt_version=prompt_version,
                outputs_may_train=outputs_may_train,
                seed=settings.seed,
                validation_fraction=settings.validation_fraction,
            )


def training_messages(row: QaRow) -> list[Message]:
    """The chat messages of a finished row.

    Raises:
        ValueError: the row has no question or no answer.
    """
    if row.question is None or row.answer is None:
        raise ValueError(f"row {row.row_id} has no question or no answer")
    return messages(row.context, row.question, row.answer)

"""The task: question-answer rows about regulations, the part that both methods of writing them share."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finreg_cli.config import Generate, Kind
from finreg_cli.domain.chat_format import ABSTENTION, CITATION_SEPARATOR, context_of, messages, with_citation
from finreg_cli.domain.fit import fits
from finreg_cli.domain.identity import row_id
from finreg_cli.domain.legal_structure import split_unit
from finreg_cli.domain.records import Chunk, Message, QaRow
from finreg_cli.domain.splits import Split, split_of
from finreg_cli.tasks.rules import Proposal, propose

UNANSWERABLE = "unanswerable"
CROSS_ARTICLE = "cross_article"
MOST_REFERENCED = 2
"""Chunks that a cross-article row joins with its own: so its context is at most three times ``ingest.chunk_tokens``."""

FIRST_ROUND = 1
UNIT_SEPARATOR = "#"
"""Between the work and the unit in ``split_unit``, because every act has an Article 4."""


@dataclass(frozen=True)
class Proposed:
    """A row that may be made: complete by rules, blank for a model.

    Args:
        row: with its id, context and split.
        source: what it is made from: a chunk, or several as one.
        refusal: why it can't stand whatever its words, as ``name: detail``.
    """

    row: QaRow
    source: Chunk
    refusal: str | None = None


def blank_row(
    chunks: Sequence[Chunk],
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
        chunks: the sources of the row and its whole context; the first decides the split.
        kind: the kind of question.
        sample: tells rows alike in everything else apart, from 0.
        method: ``rules`` or ``llm``.
        model: the generating model; None for rules.
        prompt_version: the version of the prompts, or the name of the rule.
        outputs_may_train: what the endpoint's terms allow; True for rules.
        seed: ``generate.seed``, which decides the split.
        validation_fraction: the share of legal units that goes to validation.
    """
    chunk, unit = chunks[0], split_unit(chunks[0])
    chunk_ids = [each.chunk_id for each in chunks]
    return QaRow(
        row_id=row_id(chunk_ids, method, prompt_version, model, FIRST_ROUND, kind, sample),
        chunk_id=chunk.chunk_id,
        chunk_ids=chunk_ids,
        document_id=chunk.document_id,
        citation=joined(chunks).citation,
        kind=kind,
        sample=sample,
        context="\n\n".join(map(context_of, chunks)),
        answerable=kind != UNANSWERABLE,
        method=method,
        model=model,
        prompt_version=prompt_version,
        outputs_may_train=outputs_may_train,
        round=FIRST_ROUND,
        split=split_of(seed, chunk.work_id, unit, validation_fraction),
        split_unit=f"{chunk.work_id}{UNIT_SEPARATOR}{unit}",
    )


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """What a row is made from as one chunk, for the filters and the prompts: suspect where one of them is.

    Its citation names each, "CRR Article 92(1); CRR Article 26(1)", and so does the bracket of the row's answer.
    """
    first = chunks[0]
    if len(chunks) == 1:
        return first
    return dataclasses.replace(
        first,
        citation=CITATION_SEPARATOR.join(each.citation for each in chunks),
        has_formula=any(each.has_formula for each in chunks),
        suspect_instruction=any(each.suspect_instruction for each in chunks),
        text="\n\n".join(each.text for each in chunks),
        token_count=sum(each.token_count for each in chunks),
    )


def across(chunk: Chunk, referenced: Sequence[Chunk]) -> list[Chunk]:
    """The chunks of a cross-article row: this one and the first that it refers to in other articles.

    Args:
        referenced: chunks that it refers to, in the order of the references.

    Returns:
        Nothing where there is none in another article.
    """
    own = split_unit(chunk)
    others = [each for each in referenced if split_unit(each) != own and not each.suspect_instruction]
    return [chunk, *others[:MOST_REFERENCED]] if others else []


def crosses_split(chunks: Sequence[Chunk], seed: int, validation_fraction: float) -> bool:
    """Whether some of the chunks stand on the training side and others on the validation side."""
    sides = {split_of(seed, each.work_id, split_unit(each), validation_fraction) for each in chunks}
    return len(sides) > 1


def side_of(row: QaRow, seed: int, validation_fraction: float) -> Split:
    """The side of the split that a row stands on under these settings; of a cross-article row, its first chunk's."""
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
            [chunk],
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
    chunk: Chunk,
    settings: Generate,
    model: str,
    prompt_version: str,
    outputs_may_train: bool,
    referenced: Sequence[Chunk] = (),
) -> Iterator[Proposed]:
    """A blank row of each configured kind that fits; more than one of a kind only where the kinds are fewer than the
    rows.

    Args:
        chunk: the source of all rows.
        settings: kinds, rows per chunk and split.
        model, prompt_version, outputs_may_train: as the rows record them.
        referenced: what the chunk refers to, which cross-article rows are made from, too; where that is nothing in
            another article, there is none of them.
    """
    kinds = wanted_kinds(settings)
    unfit = unfit_kinds(chunk, settings)
    crossing = across(chunk, referenced)
    for sample in range(math.ceil(settings.rows_per_chunk / len(kinds))):
        for kind in sorted(kinds - unfit):
            chunks = crossing if kind == CROSS_ARTICLE else [chunk]
            if chunks:
                yield propose_blank(chunks, kind, sample, settings, model, prompt_version, outputs_may_train)


def wanted_kinds(settings: Generate) -> set[Kind]:
    return {kind for kind, share in settings.kinds.items() if share > 0}


def unfit_kinds(chunk: Chunk, settings: Generate) -> set[Kind]:
    """The configured kinds of which the chunk holds nothing to ask for: no figure, no date, no term that is defined."""
    return {kind for kind in wanted_kinds(settings) if not fits(kind, chunk.text)}


def propose_blank(
    chunks: Sequence[Chunk],
    kind: Kind,
    sample: int,
    settings: Generate,
    model: str,
    prompt_version: str,
    outputs_may_train: bool,
) -> Proposed:
    """A blank row for a model; refused where its chunks stand on both sides of the split."""
    row = blank_row(
        chunks,
        kind,
        sample,
        method="llm",
        model=model,
        prompt_version=prompt_version,
        outputs_may_train=outputs_may_train,
        seed=settings.seed,
        validation_fraction=settings.validation_fraction,
    )
    crosses = crosses_split(chunks, settings.seed, settings.validation_fraction)
    return Proposed(row, joined(chunks), f"cross_split: {_CROSSES}" if crosses else None)


_CROSSES = "one part of the context is for training and another for validation"


def training_messages(row: QaRow) -> list[Message]:
    """The chat messages of a finished row.

    Raises:
        ValueError: the row has no question or no answer.
    """
    if row.question is None or row.answer is None:
        raise ValueError(f"row {row.row_id} has no question or no answer")
    return messages(row.context, row.question, row.answer)

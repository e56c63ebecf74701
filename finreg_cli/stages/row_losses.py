"""``finetune_losses`` for a person: the rows that a model learnt worst.

After training, a high loss on a row that the model was trained on mostly means that the row is wrong: it says what no
other row and no context supports.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain import extraction
from finreg_cli.domain.chat_format import question_of
from finreg_cli.domain.records import FINETUNE_LOSSES, FT_TRAINING, QA_DATASET, FinetuneRun, RowLoss, TrainingRow
from finreg_cli.lakehouse.base import Lakehouse, Where
from finreg_cli.tasks.structured_extraction import schema_of

HIGHEST = 5
FIRST_WORDS = 12


@dataclass(frozen=True, kw_only=True)
class LearntRow:
    """A row with its loss at one step of one run.

    Args:
        loss: the mean over the tokens of its answer, in nats.
        about: its citation, or the id of the labelled document that it is of.
        kind: of the question; None for documents.
        question: its first words; of a document, those of the part that the row shows.
        answer: the first words of what it teaches.
    """

    run_id: str
    step: int
    row_id: str
    loss: float
    about: str
    kind: str | None
    question: str
    answer: str


def highest_after_training(config: Config, lakehouse: Lakehouse, run: FinetuneRun) -> list[LearntRow]:
    """The `HIGHEST` rows of ``ft_training`` by their loss under the finished model, the highest first.

    Empty where the run recorded none: it was trained by an earlier version, or elsewhere.
    """
    last = max(_steps(lakehouse, run.run_id), default=None)
    if last is None:
        return []
    where: Where = {"run_id": run.run_id, "step": last}
    losses = FINETUNE_LOSSES.records(lakehouse.read(FINETUNE_LOSSES, where=where))
    found = heapq.nsmallest(HIGHEST, losses, key=by_loss)
    row_ids = {each.row_id for each in found}
    taught = _taught(lakehouse, run, row_ids)
    origins = _origins(lakehouse, row_ids) if config.task == "regulation_qa" else {}
    return [_learnt(config, each, taught.get(each.row_id), origins.get(each.row_id, {})) for each in found]


def _steps(lakehouse: Lakehouse, run_id: str) -> Iterator[int]:
    for batch in lakehouse.read(FINETUNE_LOSSES, ["step"], {"run_id": run_id}):
        yield from batch.column("step").to_pylist()


def by_loss(row: RowLoss) -> tuple[float, str]:
    """Sorts the highest loss first; one that is no number (nan) stands before all."""
    return -math.inf if math.isnan(row.loss) else -row.loss, row.row_id


def _taught(lakehouse: Lakehouse, run: FinetuneRun, row_ids: Collection[str]) -> dict[str, TrainingRow]:
    """The rows as they were when the model was trained on them."""
    where: Where = {"row_id": sorted(row_ids)}
    read = lakehouse.read(FT_TRAINING, where=where, version=run.training_version)
    return {each.row_id: each for each in FT_TRAINING.records(read)}


def _origins(lakehouse: Lakehouse, row_ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Kind and citation, also of rows that were retired since."""
    batches = lakehouse.read(QA_DATASET, ["row_id", "kind", "citation"], {"row_id": sorted(row_ids)})
    return {row["row_id"]: row for batch in batches for row in batch.to_pylist()}


def _learnt(config: Config, loss: RowLoss, row: TrainingRow | None, origin: Mapping[str, Any]) -> LearntRow:
    return LearntRow(
        run_id=loss.run_id,
        step=loss.step,
        row_id=loss.row_id,
        loss=loss.loss,
        about=origin.get("citation") or (row.group_key if row else ""),
        kind=origin.get("kind"),
        question=_first_words(_asked(config, row.messages[-2].content)) if row else "",
        answer=_first_words(row.messages[-1].content) if row else "",
    )


def _asked(config: Config, user: str) -> str:
    if config.task == "regulation_qa":
        return question_of(user)
    instruction = config.extraction.instruction or extraction.instruction(schema_of(config))
    return user.removeprefix(extraction.prompt_text(instruction, ""))


def _first_words(text: str) -> str:
    words = text.split()
    return " ".join(words[:FIRST_WORDS]) + (" ..." if len(words) > FIRST_WORDS else "")

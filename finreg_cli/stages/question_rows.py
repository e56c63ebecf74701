"""Which rows of ``qa_dataset`` may be trained on, and as what: retired, forbidden and rejected ones never."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain.legal_structure import split_unit
from finreg_cli.domain.quality import NearDuplicates
from finreg_cli.domain.records import QA_DATASET, SPLITTED_DOCUMENTS, Review, TrainingRow
from finreg_cli.domain.reviews import as_reviewed, edited_question, refusal
from finreg_cli.domain.splits import Split
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.reviews import reviews_in_force
from finreg_cli.stages.training_tasks import only_counted, sample
from finreg_cli.tasks import regulation_qa

NEAR_VALIDATION = "near_validation"
CROSSES_FT_EVAL = "crosses_ft_eval"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """The rows to train on: ``units`` by row_id, ``reviews`` in force, and how many others stay away, by reason."""

    units: dict[str, str]
    reviews: dict[str, Review]
    left_out: dict[str, int]


def choose(config: Config, lakehouse: Lakehouse) -> Choice:
    """A sample of ``finetune.max_rows`` of the rows on the training side that may be trained on.

    Each other row of that side is counted by the first of these reasons that holds: ``retired`` (its text is no longer
    in force), ``outputs_may_not_train`` (the terms of the endpoint that wrote it), those of `Reviewed.refusal`, and
    ``beyond_max_rows``.

    Raises:
        NothingToDo: no row is left.
        StageFailed: a review cannot be understood.
    """
    reviewed = Reviewed(lakehouse, config.finetune.require_review)
    reasons: Counter[str] = Counter()
    units: dict[str, str] = {}
    columns = ["row_id", "split_unit", "question", "retired_at", "outputs_may_train"]
    for batch in lakehouse.read(QA_DATASET, columns, where={"split": "train"}):
        for row in batch.to_pylist():
            reason = _origin_forbids(row) or reviewed.refusal(row["row_id"], row["question"])
            if reason:
                reasons[reason] += 1
            else:
                units[row["row_id"]] = row["split_unit"]
    chosen = sample(config, list(units))
    reasons["beyond_max_rows"] = len(units) - len(chosen)
    left_out = only_counted(reasons)
    if not chosen:
        raise _nothing_left(config, lakehouse, left_out)
    return Choice({row_id: unit for row_id, unit in units.items() if row_id in chosen}, reviewed.reviews, left_out)


def rows(lakehouse: Lakehouse, choice: Choice) -> Iterator[TrainingRow]:
    """The chosen rows as the trainer takes them: with the edits of their reviews."""
    for row in QA_DATASET.records(lakehouse.read(QA_DATASET, where={"split": "train", "retired_at": None})):
        if row.row_id in choice.units:
            messages = regulation_qa.training_messages(as_reviewed(row, choice.reviews.get(row.row_id)))
            yield TrainingRow(messages=messages, row_id=row.row_id, group_key=row.split_unit)


def without_crossing(lakehouse: Lakehouse, choice: Choice, held_back: Collection[str]) -> Choice:
    """The choice without rows on several articles of which ``ft_eval`` has some and ``ft_training`` others.

    Such a row would teach the text that is asked about in ``ft_eval``. They are counted as ``crosses_ft_eval``; a
    chunk that is not known any more counts as lying on the other side.

    Args:
        held_back: the units of ``ft_eval``.
    """
    several, units = _rows_on_several_chunks(lakehouse, choice)
    missing = {chunk_id for chunk_ids in several.values() for chunk_id in chunk_ids} - units.keys()
    units |= _units_of_chunks(lakehouse, missing)
    held = {chunk_id: unit in held_back for chunk_id, unit in units.items()}
    crossing = {
        row_id for row_id, chunk_ids in several.items() if len({held.get(chunk_id) for chunk_id in chunk_ids}) > 1
    }
    return Choice(
        {row_id: unit for row_id, unit in choice.units.items() if row_id not in crossing},
        choice.reviews,
        choice.left_out | ({CROSSES_FT_EVAL: len(crossing)} if crossing else {}),
    )


def _rows_on_several_chunks(lakehouse: Lakehouse, choice: Choice) -> tuple[dict[str, list[str]], dict[str, str]]:
    """row_id -> chunk_ids of the chosen rows on several chunks, and chunk_id -> unit of every row's first chunk."""
    several, units = {}, {}
    where = {"split": "train", "retired_at": None}
    for batch in lakehouse.read(QA_DATASET, ["row_id", "chunk_ids", "split_unit"], where):
        for row in batch.to_pylist():
            units[row["chunk_ids"][0]] = row["split_unit"]
            if len(row["chunk_ids"]) > 1 and row["row_id"] in choice.units:
                several[row["row_id"]] = row["chunk_ids"]
    return several, units


def _units_of_chunks(lakehouse: Lakehouse, chunk_ids: Collection[str]) -> dict[str, str]:
    if not chunk_ids:
        return {}
    chunks = SPLITTED_DOCUMENTS.records(lakehouse.read(SPLITTED_DOCUMENTS, where={"chunk_id": sorted(chunk_ids)}))
    return {each.chunk_id: f"{each.work_id}{regulation_qa.UNIT_SEPARATOR}{split_unit(each)}" for each in chunks}


def _origin_forbids(row: Row) -> str | None:
    if row["retired_at"] is not None:
        return "retired"
    return None if row["outputs_may_train"] else "outputs_may_not_train"  # unknown (null) is not allowed


def _nothing_left(config: Config, lakehouse: Lakehouse, left_out: dict[str, int]) -> NothingToDo:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    remedy = "run 'finreg generate' with the same configuration first; 'finreg status' shows what is there"
    if config.finetune.require_review and left_out:
        remedy = "accept or edit rows (their reviews go into qa_reviews), or set finetune.require_review to false"
    return NothingToDo(
        f"there are no rows to train on in {lakehouse.location(QA_DATASET)} (split train; left out: "
        f"{reasons or 'none'})",
        remedy,
    )


class Reviewed:
    """What the reviews in force say of the rows of one side.

    Args:
        lakehouse: with the tables ``qa_reviews`` and ``qa_dataset``.
        required: whether a training row needs a review that keeps it (``finetune.require_review``).
        side: of rows for validation only rejected ones are refused.

    Raises:
        StageFailed: a review cannot be understood.
    """

    def __init__(self, lakehouse: Lakehouse, required: bool, side: Split = "train") -> None:
        self.reviews = reviews_in_force(lakehouse)
        self._required = required and side == "train"
        edits = {row_id: edited_question(review) for row_id, review in self.reviews.items()}
        self._edits = {row_id: question for row_id, question in edits.items() if question and side == "train"}
        self._validation, self._edited_validation = NearDuplicates(), NearDuplicates()
        if self._edits:
            self._load_validation(lakehouse)

    def refusal(self, row_id: str, question: str) -> str | None:
        """Why the row must not be used, None where it may: the first that holds of these.

        ``rejected_in_review``; ``not_reviewed``, where a review is required; ``near_validation``, where an edit on
        either side has made its question nearly equal one that the model is measured with. `generate` compares all
        questions as they were written, so only edited ones are left to compare.
        """
        return refusal(self.reviews.get(row_id), self._required) or self._leak(row_id, question)

    def _leak(self, row_id: str, question: str) -> str | None:
        edited = self._edits.get(row_id)
        near = self._validation.near(edited) if edited else self._edited_validation.near(question)
        return NEAR_VALIDATION if near else None

    def _load_validation(self, lakehouse: Lakehouse) -> None:
        measured = {"split": "validation", "retired_at": None}
        for batch in lakehouse.read(QA_DATASET, ["row_id", "question"], where=measured):
            for row in batch.to_pylist():
                if not refusal(self.reviews.get(row["row_id"]), required=False):  # else it is not measured with
                    self._add(row["row_id"], row["question"])

    def _add(self, row_id: str, question: str) -> None:
        edited = self._edits.get(row_id)
        self._validation.add(row_id, edited or question)
        if edited:
            self._edited_validation.add(row_id, edited)

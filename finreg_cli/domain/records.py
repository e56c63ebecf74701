"""The one source of every table's schema: a record class per table, from which the Arrow schema is derived.

A field's Python type gives its Arrow type: ``str`` string, ``int`` int64, ``float`` double, ``bool`` bool,
``datetime`` timestamp in microseconds UTC, ``list[T]`` a list, ``dict[str, float]`` a map, another record a struct.
All columns are nullable, because the engines disagree on anything else.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

# Imported where it is used: the workers that read documents know records, but no Arrow, which takes 0.2 s to import.
if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1_000


@cache
def _scalars() -> dict[Any, pa.DataType]:
    import pyarrow as pa

    return {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        datetime: pa.timestamp("us", tz="UTC"),
    }


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    if hint in _scalars():
        return _scalars()[hint]
    if dataclasses.is_dataclass(hint):
        return pa.struct(_arrow_fields(typing.cast(type, hint)))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _arrow_type(inner)
    if origin is list:
        return pa.list_(_arrow_type(arguments[0]))
    if origin is dict:
        return pa.map_(_arrow_type(arguments[0]), _arrow_type(arguments[1]))
    raise TypeError(f"no Arrow type for {hint!r}")


def _arrow_fields(record: type) -> list[pa.Field]:
    import pyarrow as pa

    hints = typing.get_type_hints(record)
    return [pa.field(each.name, _arrow_type(hints[each.name])) for each in dataclasses.fields(record)]


@dataclass(frozen=True)
class Message:
    """One chat message. The order of the two fields is the original demo's, and part of the data contract."""

    content: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of one legal unit, at most ``ingest.chunk_tokens`` long.

    ``citation`` goes down to the paragraph or point, ``structure`` is the rung of the fallback ladder that found it,
    ``page_start`` and ``page_end`` count from 1, ``char_start`` and ``char_end`` are offsets into the document's text.
    """

    chunk_id: str
    document_id: str
    work_id: str
    version_date: str | None
    path: str
    file_sha256: str
    title: str
    citation: str
    heading_path: list[str]
    structure: str
    references: list[str]
    page_start: int
    page_end: int
    char_start: int
    char_end: int
    has_formula: bool
    suspect_instruction: bool
    text: str
    token_count: int


@dataclass(frozen=True, kw_only=True)
class QuarantinedFile:
    """A file that could not be read; ``engine`` is the one that said so, ``error_class`` one of the reader's."""

    run_id: str
    path: str
    file_sha256: str | None
    error_class: str
    message: str
    engine: str | None


@dataclass(frozen=True, kw_only=True)
class QaRow:
    """A question-answer row with everything that made it.

    ``method`` is ``rules`` or ``llm``; with rules there are no drafts and judgements, ``model`` is None and
    ``prompt_version`` names the rule.
    """

    row_id: str
    chunk_id: str
    chunk_ids: list[str]
    document_id: str
    citation: str
    kind: str
    sample: int
    context: str
    initial_question: str | None = None
    question_judgement: str | None = None
    question: str | None = None
    initial_answer: str | None = None
    answer_judgement: str | None = None
    answer: str | None = None
    reasoning: str | None = None
    answerable: bool
    method: str
    model: str | None = None
    prompt_version: str
    outputs_may_train: bool
    round: int
    split: str
    split_unit: str
    retired_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RejectedRow(QaRow):
    """A row as far as it got: ``stage`` is the step that dropped it, ``reason`` says why."""

    run_id: str
    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """What the split of ``qa_dataset`` was made with; the newest ``recorded_at`` is in force."""

    seed: int
    validation_fraction: float
    run_id: str
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class ChatExport:
    """The export that other trainers take: one column, as the original has it."""

    messages: list[Message]


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """A row as the trainer takes it; ``group_key`` (legal unit or lease family) stands on one side only."""

    messages: list[Message]
    row_id: str
    group_key: str


@dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """One member of a sweep. ``state`` is ``running``, ``finished`` or ``failed``; one member is ``selected``."""

    run_id: str
    sweep_id: str
    task: str
    round: int
    trainer: str
    base_model: str
    method: str
    learning_rate: float
    epochs: float
    state: str
    metrics: dict[str, float]
    selected: bool
    model_uri: str | None
    model_version: str | None
    training_table: str
    training_version: int


@dataclass(frozen=True, kw_only=True)
class RowLoss:
    """The mean loss of a row's completion tokens at ``step``: before the step's update; at the last step, after it.

    So the rows of the last step are those of the whole training set, as the finished model sees them.
    """

    run_id: str
    step: int
    row_id: str
    loss: float


@dataclass(frozen=True, kw_only=True)
class Review:
    """A person's word on a row: ``verdict`` is accepted, edited or rejected; a row's latest review is in force."""

    row_id: str
    reviewer: str
    verdict: str
    edited_question: str | None
    edited_answer: str | None
    comment: str | None
    reviewed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer of one model to one row (question or labelled document), with its score by each metric."""

    run_id: str
    finetune_run_id: str | None
    dataset: str
    round: int
    row_id: str
    model: str
    context: str
    prediction: str
    reference: str
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure with its 95 % interval; ``n`` counts the rows behind it.

    ``model`` is ``base``, ``tuned`` or an endpoint's name, and ``tuned-base`` for the paired difference;
    ``slice`` (the kind) and ``key`` are ``all`` for the whole.
    """

    run_id: str
    finetune_run_id: str | None
    dataset: str
    round: int
    model: str
    context: str
    slice: str
    key: str
    definition: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class LabelledLease:
    """A labelled document; ``labels`` is bare JSON with every key of the schema, null for what it does not say."""

    lease_id: str
    lease_doc: str
    labels: str


@dataclass(frozen=True, kw_only=True)
class GeneratedLease:
    """What a round made of a labelled document, its parent: new labels and a document with exactly those details.

    ``generated_lease_doc`` is None where the labels failed already, both are None where there was no usable reply.
    ``prompt_version`` is the version of the prompts, or names the rules.
    """

    lease_id: str
    parent_lease_id: str
    round: int
    generated_labels: str | None
    generated_lease_doc: str | None
    method: str
    model: str | None
    prompt_version: str
    outputs_may_train: bool


@dataclass(frozen=True, kw_only=True)
class EvaluatedLease(GeneratedLease):
    """A generated document with its two scores, "0" or "1", and the verdicts behind them.

    A score is "1" where the mechanical check passed and, where there is a judge, the judge's verdict too. A verdict
    that was not reached is None. ``reason`` says why the row was not kept; None where it was.
    """

    run_id: str
    eval_labels: str
    eval_leases: str
    labels_mechanical: bool | None
    labels_judge: bool | None
    lease_mechanical: bool | None
    lease_judge: bool | None
    judge_reasons: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class SyntheticLease:
    """A generated document that scored 1 and 1: what training reads."""

    lease_id: str
    parent_lease_id: str
    round: int
    lease_doc: str
    labels: str
    outputs_may_train: bool


@dataclass(frozen=True, kw_only=True)
class SynthesisRound:
    """What one run spent on one round; ``money`` is None where an endpoint has no price."""

    run_id: str
    round: int
    method: str
    generated: int
    kept: int
    requests: int
    cached: int
    input_tokens: int
    output_tokens: int
    money: float | None


Record = TypeVar("Record")


@dataclass(frozen=True)
class Table(Generic[Record]):
    """A table of the lakehouse: its name, the class of its rows and, where rows are merged, the key."""

    name: str
    record: type[Record]
    key: tuple[str, ...] = field(default=())

    @cached_property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(_arrow_fields(self.record))

    def warm_up(self) -> None:
        """Imports what `batches` will need. Arrow's first conversion alone imports pandas, where it is installed."""
        import pyarrow as pa

        pa.RecordBatch.from_pylist([{"text": [""]}])

    def batches(self, records: Iterable[Record], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The records as Arrow batches of at most ``rows`` rows; holds one batch at a time."""
        import pyarrow as pa

        pending: list[dict[str, Any]] = []
        for record in records:
            pending.append(_plain(record))
            if len(pending) == rows:
                yield pa.RecordBatch.from_pylist(pending, schema=self.schema)
                pending = []
        if pending:
            yield pa.RecordBatch.from_pylist(pending, schema=self.schema)

    def records(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Record]:
        """The inverse of `batches`; the batches must hold every column."""
        hints = typing.get_type_hints(self.record)
        for batch in batches:
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                yield self.record(**{name: _revive(value, hints[name]) for name, value in row.items()})


def _plain(record: Any) -> dict[str, Any]:
    row = dataclasses.asdict(record)
    # Arrow takes a map as pairs.
    return {name: list(value.items()) if isinstance(value, dict) else value for name, value in row.items()}


def _revive(value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is list and value is not None:
        (inner,) = typing.get_args(hint)
        if dataclasses.is_dataclass(inner):
            return [typing.cast(type, inner)(**item) for item in value]
    return value


SPLITTED_DOCUMENTS = Table("splitted_documents", Chunk, key=("document_id", "chunk_id"))
INGEST_QUARANTINE = Table("ingest_quarantine", QuarantinedFile, key=("path",))
QA_DATASET = Table("qa_dataset", QaRow, key=("row_id",))
QA_DATASET_TRAIN = Table("qa_dataset_train", ChatExport)
QA_DATASET_VAL = Table("qa_dataset_val", ChatExport)
QA_REJECTED = Table("qa_rejected", RejectedRow, key=("row_id",))
QA_SPLIT = Table("qa_split", SplitSettings)
QA_REVIEWS = Table("qa_reviews", Review)
FT_TRAINING = Table("ft_training", TrainingRow)
FT_EVAL = Table("ft_eval", TrainingRow)
FINETUNE_RUNS = Table("finetune_runs", FinetuneRun, key=("run_id",))
FINETUNE_LOSSES = Table("finetune_losses", RowLoss)
EVALUATION_PREDICTIONS = Table("evaluation_predictions", Prediction)
EVALUATION_METRICS = Table("evaluation_metrics", Metric)

LEASE_DOCS_TRAIN = Table("lease_docs_train", LabelledLease, key=("lease_id",))
LEASE_DOCS_HOLDOUT = Table("lease_docs_holdout", LabelledLease, key=("lease_id",))
GENERATED_LEASES = Table("generated_labels_and_leases", GeneratedLease, key=("lease_id",))
EVALUATED_LEASES = Table("evaluated_synth_labels_and_leases", EvaluatedLease, key=("lease_id",))
LEASE_DOCS_TRAIN_SYNTH = Table("lease_docs_train_synth", SyntheticLease, key=("lease_id",))
SYNTHESIS_ROUNDS = Table("synthesis_rounds", SynthesisRound)

TABLES: tuple[Table[Any], ...] = (
    SPLITTED_DOCUMENTS,
    INGEST_QUARANTINE,
    QA_DATASET,
    QA_DATASET_TRAIN,
    QA_DATASET_VAL,
    QA_REJECTED,
    QA_SPLIT,
    QA_REVIEWS,
    FT_TRAINING,
    FT_EVAL,
    FINETUNE_RUNS,
    FINETUNE_LOSSES,
    EVALUATION_PREDICTIONS,
    EVALUATION_METRICS,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_HOLDOUT,
    GENERATED_LEASES,
    EVALUATED_LEASES,
    LEASE_DOCS_TRAIN_SYNTH,
    SYNTHESIS_ROUNDS,
)

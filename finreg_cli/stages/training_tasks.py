"""What finetune trains on, and how it measures a trained model: a class for each task behind one port.

Neither sees what evaluate measures on: questions give rows of the training split only, extraction the labelled
documents of ``lease_docs_train`` and their synthetic children.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finreg_cli.config import Config
from finreg_cli.domain.extraction import Labels
from finreg_cli.domain.extraction_metrics import (
    ALL,
    DEFINITIONS,
    Counts,
    Definition,
    differences,
    grade_document,
    totals,
)
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.metrics import Figure
from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import (
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    FinetuneRun,
    LabelledLease,
    TrainingRow,
)
from finreg_cli.domain.splits import sampling_key, unit_fraction
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import ReplyCache
from finreg_cli.stages.base import distinct
from finreg_cli.stages.extraction import Extraction, extract
from finreg_cli.stages.tuned_runs import OpenAnswerer
from finreg_cli.tasks.structured_extraction import Reading, most_tokens

KEPT_IN = "task_metric.json"
"""Beside the model: what it answered, or found in the documents of ``ft_eval``."""


@dataclass(frozen=True)
class TrainingSet:
    """The rows of one sweep.

    Args:
        rows: yields them, anew at every call; they are streamed from the tables.
        count: how many there are.
        left_out: how many stay away, by reason.
        held_back: the groups (articles, lease families) whose rows become ``ft_eval``, each as a whole.
    """

    rows: Callable[[], Iterator[TrainingRow]]
    count: int
    left_out: dict[str, int]
    held_back: frozenset[str]


class TrainingTask(Protocol):
    """What finetune asks of a task."""

    @property
    def has_rounds(self) -> bool:
        """Whether a model is made for each synthetic round, or one only."""

    @property
    def rounds(self) -> Sequence[int]:
        """The rounds that the configuration asks for."""

    def training_set(self, round_: int) -> TrainingSet:
        """The rows of a round.

        Raises:
            NothingToDo: there are none, or none can be held back for ``ft_eval``.
        """

    def measured(self, model: FinetuneRun) -> dict[str, float] | None:
        """What `measure` found in an earlier run; None where it is still to be called."""

    def measure(self, model: FinetuneRun) -> dict[str, float]:
        """The task's own metrics of a finished model on ``ft_eval``, by name; empty where they are not asked for.

        Every name begins with ``task_``; `finreg_cli.domain.metrics.TASK_METRICS` names the one to select by.
        """

    def gain(self, later: FinetuneRun, earlier: FinetuneRun) -> Figure | None:
        """The task metric of one model minus another's, paired, on ``ft_eval``; None where the task has no rounds."""


def hold_back(config: Config, groups: Collection[str]) -> frozenset[str]:
    """``finetune.eval_fraction`` of the groups, at least one: chosen by a hash and not by position."""
    wanted = math.ceil(config.finetune.eval_fraction * len(groups))
    chosen = heapq.nsmallest(wanted, groups, key=lambda group: unit_fraction(config.generate.seed, "ft_eval", group))
    return frozenset(chosen)


def sample(config: Config, row_ids: Sequence[str]) -> set[str]:
    """``finetune.max_rows`` of the rows, the same at every run."""
    most = config.finetune.max_rows
    return set(row_ids if most is None else heapq.nsmallest(most, row_ids, key=sampling_key))


def only_counted(reasons: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if count}


# --- structured_extraction -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExtractionTraining:
    """Windows of labelled documents: round k adds the synthetic children of rounds 1 to k to the real ones.

    A family, a real document with all its children, stands on one side. The families of ``ft_eval`` are chosen among
    the real documents alone, so they are the same in every round, and models of two rounds can be compared on them.
    ``finetune.max_rows`` samples windows, real and synthetic alike, by the hash of their ids.

    Args:
        open_answerer: opens the model of a training run, as ``open_answerer("tuned", run)``.
        cache: of replies: a measurement that was killed goes on where it stopped.
    """

    config: Config
    lakehouse: Lakehouse
    reading: Reading
    open_answerer: OpenAnswerer
    cache: ReplyCache
    progress: Progress

    has_rounds = True

    @property
    def rounds(self) -> range:
        return range(self.config.generate.rounds + 1)

    def training_set(self, round_: int) -> TrainingSet:
        """The windows of a round; ``left_out`` counts documents, and rows where it says ``beyond_max_rows``."""
        families = self._families()
        held_back = hold_back(self.config, families)
        synthetic, reasons = self._usable(round_, families)
        groups = {row.row_id: row.group_key for row in self._rows(synthetic)}
        chosen = sample(self.config, list(groups))
        reasons["beyond_max_rows"] = len(groups) - len(chosen)
        in_eval = sum(groups[row_id] in held_back for row_id in chosen)
        if in_eval in (0, len(chosen)):
            side = "ft_eval" if in_eval == 0 else "ft_training"
            raise NothingToDo(
                f"none of the {len(chosen)} rows that finetune.max_rows leaves is of a family for {side}",
                "raise finetune.max_rows",
            )
        return TrainingSet(
            lambda: (row for row in self._rows(synthetic) if row.row_id in chosen),
            len(chosen),
            only_counted(reasons),
            held_back,
        )

    def measured(self, model: FinetuneRun) -> dict[str, float] | None:
        documents = self._eval_documents()
        kept = self._kept(model, documents)
        return None if kept is None else self._metrics(documents, kept)

    def measure(self, model: FinetuneRun) -> dict[str, float]:
        """Micro F1 by both definitions on the real documents of ``ft_eval``, and the share of unreadable replies."""
        documents = self._eval_documents()
        return self._metrics(documents, self._extractions(model, documents))

    def gain(self, later: FinetuneRun, earlier: FinetuneRun) -> Figure:
        """Strict micro F1, paired by document."""
        documents = self._eval_documents()
        graded, against = (
            self._graded(documents, self._extractions(model, documents), "strict") for model in (later, earlier)
        )
        found = differences(graded, against, self.reading.schema, self.config.generate.seed)
        return next(figure for key, metric, figure in found if (key, metric) == (ALL, "f1"))

    # --- rows ---

    def _families(self) -> set[str]:
        families = distinct(self.lakehouse, LEASE_DOCS_TRAIN, "lease_id")
        if len(families) < 2:
            raise NothingToDo(
                f"{len(families)} labelled documents to train on in {self.lakehouse.location(LEASE_DOCS_TRAIN)}, and "
                "one family at least must be held back for ft_eval",
                "run 'finreg ingest' with the same configuration first; 'finreg status' shows what is there",
            )
        return families

    def _usable(self, round_: int, families: Collection[str]) -> tuple[set[str], Counter[str]]:
        """The ids of the synthetic documents of rounds 1 to ``round_`` to train on, and why others stay away."""
        reasons: Counter[str] = Counter()
        usable: set[str] = set()
        rounds = range(1, round_ + 1)
        new = 0
        columns = ["lease_id", "parent_lease_id", "round", "outputs_may_train"]
        for batch in self.lakehouse.read(LEASE_DOCS_TRAIN_SYNTH, columns, where={"round": list(rounds)}):
            for row in batch.to_pylist():
                if row["parent_lease_id"] not in families:
                    reasons["orphans"] += 1
                elif not row["outputs_may_train"]:
                    reasons["outputs_may_not_train"] += 1
                else:
                    usable.add(row["lease_id"])
                    new += row["round"] == round_
        if round_ and not new:
            raise NothingToDo(
                f"there are no synthetic documents of round {round_} to train on in "
                f"{self.lakehouse.location(LEASE_DOCS_TRAIN_SYNTH)} (left out: {dict(reasons) or 'none'})",
                "run 'finreg generate' with the same configuration first; 'finreg status' shows what is there",
            )
        return usable, reasons

    def _rows(self, synthetic: Collection[str]) -> Iterator[TrainingRow]:
        for real in LEASE_DOCS_TRAIN.records(self.lakehouse.read(LEASE_DOCS_TRAIN)):
            labels = self._labels(real.labels)
            yield from self.reading.training_rows(real.lease_id, real.lease_id, real.lease_doc, labels)
        if not synthetic:
            return
        for child in LEASE_DOCS_TRAIN_SYNTH.records(self.lakehouse.read(LEASE_DOCS_TRAIN_SYNTH)):
            if child.lease_id in synthetic:
                labels = self._labels(child.labels)
                yield from self.reading.training_rows(child.lease_id, child.parent_lease_id, child.lease_doc, labels)

    def _labels(self, written: str) -> Labels:
        return self.reading.schema.loads(written)

    # --- measurement ---

    def _eval_documents(self) -> list[LabelledLease]:
        """The real documents of the families in ``ft_eval``, in the order of their ids."""
        held_back = hold_back(self.config, self._families())
        read = self.lakehouse.read(LEASE_DOCS_TRAIN, where={"lease_id": sorted(held_back)})
        return sorted(LEASE_DOCS_TRAIN.records(read), key=lambda each: each.lease_id)

    def _extractions(self, model: FinetuneRun, documents: Sequence[LabelledLease]) -> list[Extraction]:
        """What the model finds in each document: kept from an earlier run, or extracted and kept."""
        kept = self._kept(model, documents)
        if kept is not None:
            return kept
        with (
            self.progress.track(f"extracting with {model.run_id}", len(documents), "documents") as advance,
            closing(self.open_answerer("tuned", model)) as answerer,
        ):
            found, _ = extract(
                answerer,
                [each.lease_doc for each in documents],
                self.reading,
                "constrained" if answerer.holds_to_schema else "free",
                most_tokens(self.config),
                self.cache,
                advance,
            )
        self._keep(model, documents, found)
        return found

    def _metrics(self, documents: Sequence[LabelledLease], found: Sequence[Extraction]) -> dict[str, float]:
        replies = sum(len(each.replies) for each in found)
        metrics = {
            "task_documents": float(len(documents)),
            "task_invalid_json": sum(each.invalid for each in found) / replies,
        }
        for definition in DEFINITIONS:
            f1 = totals(self._graded(documents, found, definition), self.reading.schema)[ALL].f1
            if f1 is not None:  # it is where there was nothing to find, and nothing was found
                metrics[f"task_f1_{definition}"] = f1
        return metrics

    def _graded(
        self, documents: Sequence[LabelledLease], found: Sequence[Extraction], definition: Definition
    ) -> list[dict[str, Counts]]:
        return [
            grade_document(self.reading.schema, self._labels(document.labels), extraction.labels, definition)
            for document, extraction in zip(documents, found, strict=True)
        ]

    # --- what was measured before ---

    def _kept(self, model: FinetuneRun, documents: Sequence[LabelledLease]) -> list[Extraction] | None:
        """What an earlier run found in the same documents, read in the same way; None where there is no such file."""
        try:
            kept = json.loads(self._file(model).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if kept["identity"] != self._identity(documents):
            return None
        return [Extraction(**each) for each in kept["documents"].values()]

    def _keep(self, model: FinetuneRun, documents: Sequence[LabelledLease], found: Sequence[Extraction]) -> None:
        """Keeps what was found, and not its counts: those are the grader's, which may be another one tomorrow."""
        by_document = {document.lease_id: vars(each) for document, each in zip(documents, found, strict=True)}
        target = self._file(model)
        unfinished = target.with_suffix(".part")
        text = json.dumps({"identity": self._identity(documents), "documents": by_document}, indent=1)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(target)

    def _file(self, model: FinetuneRun) -> Path:
        return self.config.state / "models" / model.run_id / KEPT_IN

    def _identity(self, documents: Sequence[LabelledLease]) -> str:
        """Of everything but the model that decides what is found."""
        reading = self.reading
        read: list[Any] = [reading.instruction, reading.schema.json_schema(), self.config.ingest.tokenizer]
        read += [reading.window_tokens, reading.window_overlap, most_tokens(self.config)]
        return content_hash(read, [[each.lease_id, each.lease_doc] for each in documents])

"""What an evaluation of structured extraction reads, and which models read it; decided before any is opened."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finreg_cli.config import Config, Decoding, Endpoint, ModelRole
from finreg_cli.documents.base import LabelledSource
from finreg_cli.domain import extraction_claims as claims
from finreg_cli.domain.extraction import Schema, parse_object
from finreg_cli.domain.records import LEASE_DOCS_HOLDOUT, LEASE_DOCS_TRAIN, FinetuneRun, LabelledLease
from finreg_cli.domain.splits import sampling_key
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import Usage
from finreg_cli.llm.budget import cost
from finreg_cli.stages.base import StageResult
from finreg_cli.stages.ingest_labelled import labelled_leases
from finreg_cli.stages.tuned_runs import (
    groups_seen,
    named_run,
    no_selected_run,
    rows_seen,
    selected_by_round,
    task_runs,
)
from finreg_cli.tasks.structured_extraction import Reading

HOLDOUT = LEASE_DOCS_HOLDOUT.name
NAMED = 3
"""How many of several documents a message names."""


@dataclass(frozen=True)
class DocumentSet:
    """Labelled documents to be graded on; ``unusable`` says of each that is left out where it stands and why."""

    name: str
    leases: Sequence[LabelledLease]
    unusable: Sequence[str] = ()


@dataclass(frozen=True)
class Entrant:
    """A model that reads every document, once for each decoding; ``of_run`` gives a local one its weights."""

    role: ModelRole
    of_run: FinetuneRun | None
    decodings: Sequence[Decoding]
    window_tokens: int | None = None

    @property
    def tuned_run(self) -> FinetuneRun | None:
        return self.of_run if self.role == "tuned" else None

    def name(self, decoding: Decoding) -> str:
        """As the tables have it: an endpoint is only ever held to the schema, and goes by its role."""
        is_local = self.role in ("base", "tuned")
        return f"{self.role}_constrained" if is_local and decoding == "constrained" else self.role

    def label(self, decoding: Decoding) -> str:
        return claims.label(self.name(decoding), self.tuned_run.round if self.tuned_run else 0)


@dataclass(frozen=True)
class Plan:
    """What will be read and by whom, decided before any model is opened.

    ``sets`` begins with the hold-out, whose table was read at ``version``; ``runs`` are by round.
    """

    sets: Sequence[DocumentSet]
    version: int
    runs: Sequence[FinetuneRun]
    entrants: Sequence[Entrant]

    @property
    def holdout(self) -> DocumentSet:
        return self.sets[0]

    @property
    def last_run(self) -> FinetuneRun | None:
        return self.runs[-1] if self.runs else None


def plan_evaluation(
    config: Config, lakehouse: Lakehouse, reading: Reading, source: LabelledSource, result: StageResult
) -> Plan:
    """Reads the extra sets first, so that a wrong path shows in ``all --dry-run``, before there is any table.

    Raises:
        NothingToDo, StageFailed, ConfigError: see `evaluate_extraction.evaluate_extraction`.
    """
    extra_sets = list(_extra_sets(config, reading.schema, source, result))
    version = lakehouse.version(LEASE_DOCS_HOLDOUT)
    holdout = [] if version is None else _holdout(lakehouse, version, config.evaluate.limit)
    if version is None or not holdout:
        raise NothingToDo(
            f"there are no hold-out documents in {lakehouse.location(LEASE_DOCS_HOLDOUT)}",
            "run 'finreg ingest' with the same configuration first; ingest.holdout_fraction decides how many there are",
        )
    _refuse_other_labels(holdout, reading.schema)
    sets = [DocumentSet(HOLDOUT, holdout), *extra_sets]
    runs = _runs(config, lakehouse, result) if "tuned" in config.evaluate.models else []
    for each in runs:
        _refuse_what_it_has_seen(lakehouse, reading, each, sets)
    return Plan(sets, version, runs, list(_entrants(config, runs)))


def _holdout(lakehouse: Lakehouse, version: int, limit: int | None) -> list[LabelledLease]:
    """A sample of ``limit`` documents, the same at every run; no more than that are ever held."""
    leases = LEASE_DOCS_HOLDOUT.records(lakehouse.read(LEASE_DOCS_HOLDOUT, version=version))
    chosen = leases if limit is None else heapq.nsmallest(limit, leases, key=lambda each: sampling_key(each.lease_id))
    return sorted(chosen, key=lambda each: each.lease_id)


def _refuse_other_labels(leases: Iterable[LabelledLease], schema: Schema) -> None:
    """Labels of another schema would be graded as if the documents were silent."""
    for each in leases:
        problems = schema.problems(parse_object(each.labels) or {})
        if problems:
            raise StageFailed(
                f"the labels of {each.lease_id} in {HOLDOUT} do not fit the configured schema: {problems[0]}",
                "run 'finreg ingest' with the same configuration, so that the labels are read by this schema",
            )


def _extra_sets(config: Config, schema: Schema, source: LabelledSource, result: StageResult) -> Iterator[DocumentSet]:
    names = {HOLDOUT}
    for each in config.evaluate.extra_sets:
        if each.name in names:
            raise ConfigError(
                f"evaluate.extra_sets: there are two test sets of the name '{each.name}'", "give each its own name"
            )
        names.add(each.name)
        try:
            found = labelled_leases(source, each.path, each.labels, schema)
        except (NothingToDo, ConfigError) as error:
            remedy = "name a file or folder of labelled documents, or take the set out of evaluate.extra_sets"
            if isinstance(error, ConfigError):
                remedy = error.remedy
            raise ConfigError(f"evaluate.extra_sets: '{each.name}': {error.message}", remedy) from error
        unusable = [f"{one.path}: {one.message}" for one in found.unusable]
        if not found.leases:
            raise ConfigError(
                f"evaluate.extra_sets: '{each.name}' ({each.path}) holds no usable document: {_some(unusable)}",
                "mend the file, or take the set out of evaluate.extra_sets",
            )
        if unusable:
            result.warnings.append(f"{each.name}: {len(unusable)} documents are left out: {_some(unusable)}")
        yield DocumentSet(each.name, found.leases, unusable)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _runs(config: Config, lakehouse: Lakehouse, result: StageResult) -> list[FinetuneRun]:
    """``evaluate.run`` alone, or the last selected run of each synthetic round, by round.

    A round of an earlier command than the round before it was not trained again when that one was: the two no longer
    belong together, and it is left out.
    """
    runs = task_runs(config, lakehouse)
    if config.evaluate.run is not None:
        return [named_run(config.evaluate.run, runs)]
    by_round = selected_by_round(runs)
    if not by_round:
        raise no_selected_run(lakehouse)
    kept: list[FinetuneRun] = []
    for each in by_round:
        if kept and each.sweep_id < kept[-1].sweep_id:
            result.warnings.append(
                f"round {each.round} ({each.run_id}) was trained before round {kept[-1].round} was trained anew, "
                "and is left out; 'finreg finetune' trains all rounds"
            )
        else:
            kept.append(each)
    return kept


def _entrants(config: Config, runs: Sequence[FinetuneRun]) -> Iterator[Entrant]:
    decodings = list(dict.fromkeys(config.evaluate.decoding))
    for role in dict.fromkeys(config.evaluate.models):
        if role == "tuned":
            yield from (Entrant(role, run, decodings) for run in runs)
        elif role == "base":
            yield Entrant(role, runs[-1] if runs else None, decodings)
        else:
            yield Entrant(role, None, ["constrained"], _endpoint(config, role).window_tokens)


def _endpoint(config: Config, role: ModelRole) -> Endpoint:
    endpoint: Endpoint = getattr(config.endpoints, role)  # that it is there is checked with the configuration
    return endpoint


# --- what a model has seen -------------------------------------------------------------------------------------------


def _refuse_what_it_has_seen(
    lakehouse: Lakehouse, reading: Reading, finetune: FinetuneRun, sets: Sequence[DocumentSet]
) -> None:
    """A document may have changed sides since a model was trained, and an extra set may be what it was trained on."""
    holdout = sets[0].leases
    families = sorted({each.lease_id for each in holdout} & groups_seen(lakehouse, finetune))
    if families:
        raise StageFailed(
            f"{finetune.run_id} has seen {len(families)} of the {len(holdout)} hold-out documents: "
            f"{', '.join(families[:NAMED])}",
            "the documents were split anew since it was trained: run 'finreg finetune' with the same configuration",
        )
    seen = _TextsSeen(lakehouse, reading, finetune)
    for each in sets:
        trained_on = [lease.lease_id for lease in each.leases if lease.lease_doc in seen]
        if trained_on:
            raise StageFailed(
                f"{finetune.run_id} was trained on the text of {len(trained_on)} of the {len(each.leases)} documents "
                f"of {each.name}: {', '.join(trained_on[:NAMED])}",
                f"take them out of {'the source and run finreg ingest' if each.name == HOLDOUT else each.name}",
            )


class _TextsSeen:
    """The texts that a model was trained on, blanks aside, whatever they were called there.

    A document is one of them if it stands among the documents for training, or if each of its windows was a prompt.
    """

    def __init__(self, lakehouse: Lakehouse, reading: Reading, finetune: FinetuneRun) -> None:
        self._reading = reading
        self._prompts = {_plain(row["messages"][0]["content"]) for row in rows_seen(lakehouse, finetune, ["messages"])}
        self._documents = {
            _plain(text)
            for batch in lakehouse.read(LEASE_DOCS_TRAIN, ["lease_doc"])
            for text in batch.column("lease_doc").to_pylist()
        }

    def __contains__(self, document: str) -> bool:
        return _plain(document) in self._documents or all(
            _plain(self._reading.prompt(window)[0].content) in self._prompts
            for window in self._reading.windows(document)
        )


def _plain(text: str) -> str:
    return " ".join(text.split())


# --- before anything is spent ----------------------------------------------------------------------------------------


def estimate(config: Config, reading: Reading, plan: Plan) -> dict[str, Any]:
    """Requests and prompt tokens of each model (of all its decodings together); of an endpoint also the most it costs.

    Tokens are those of ``ingest.tokenizer``; what the cache holds already is not taken off.
    """
    counts: dict[str, Any] = {"requests": {}, "prompt_tokens": {}, "at_most": {}}
    for each in plan.entrants:
        prompts = [
            len(reading.offsets(reading.prompt(window)[0].content))
            for of in plan.sets
            for lease in of.leases
            for window in reading.windows(lease.lease_doc, each.window_tokens)
        ]
        for label in map(each.label, each.decodings):
            counts["requests"][label] = len(prompts)
            counts["prompt_tokens"][label] = sum(prompts)
        if each.role in ("generator", "judge"):
            counts["at_most"][each.role] = vars(_usage(_endpoint(config, each.role), prompts))
    return counts


def _usage(endpoint: Endpoint, prompts: Sequence[int]) -> Usage:
    input_tokens, output_tokens = sum(prompts), endpoint.max_tokens * len(prompts)
    money = cost(endpoint.price, input_tokens, output_tokens) if endpoint.price else None
    return Usage(requests=len(prompts), input_tokens=input_tokens, output_tokens=output_tokens, money=money)

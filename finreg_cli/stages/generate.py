"""generate: chunks become question-answer rows, by rules or by a language model, on one path.

Propose rows for every chunk, drop what cannot stand, choose by the mix, write what is new, check it, commit it as it
comes. Chunks are streamed twice (once to choose, once to write); held in memory are only ids and questions.

Only the newest version of each work takes part. Rows whose chunk is gone from it are retired, and come back with their
chunk; unchanged chunks keep their rows, so that an amended regulation costs no more than its amended articles.

Mechanical filters (`domain.quality`) and near-duplicates are applied here to the rows that the rules make. A model's
rows go through the same in the chain, which asks nobody about a row that fails them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import islice

from finreg_cli.config import Config
from finreg_cli.domain import quality
from finreg_cli.domain.mix import Candidate, select
from finreg_cli.domain.questions import Questions
from finreg_cli.domain.records import (
    QA_DATASET,
    QA_DATASET_TRAIN,
    QA_DATASET_VAL,
    QA_REJECTED,
    QA_SPLIT,
    SPLITTED_DOCUMENTS,
    ChatExport,
    Chunk,
    QaRow,
    RejectedRow,
    SplitSettings,
    Table,
)
from finreg_cli.domain.versions import is_repealed
from finreg_cli.errors import ConfigError, EndpointError, FinregError, NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse, Where
from finreg_cli.llm.base import Assignment, RowWriter, Usage, Written
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.recorded_versions import chunk_ids_in_force, chunks_in_force, where_in_force
from finreg_cli.stages.settled import Settled
from finreg_cli.tasks import regulation_qa
from finreg_cli.tasks.regulation_qa import Proposed
from finreg_cli.tracking.base import TrackedRun, Tracker

COMMIT_ROWS = 200
COMMIT_SECONDS = 30.0
IDS_AT_A_TIME = 500
CHUNKS_AT_A_TIME = 500
RULES_BANNER = "rows are made by rules from the legal structure, not by a language model (generate.method: rules)"


def generate(
    run: Run,
    lakehouse: Lakehouse,
    writer: RowWriter | None,
    resplit: bool = False,
    tracker: Tracker | None = None,
) -> StageResult:
    """Makes the rows of ``qa_dataset`` that are not there yet, and the two exports.

    Args:
        writer: the language model; None with ``generate.method: rules``.
        tracker: is told what the language model was used for.
        resplit: accept another seed or fraction than the table was split with, and move the rows.

    Raises:
        NothingToDo: there are no chunks, or no row could be kept.
        ConfigError: the split settings differ from the table's.
        BudgetReached, EndpointError: from the writer; what was finished is committed first.
    """
    config = run.config
    if not lakehouse.count(SPLITTED_DOCUMENTS):
        if run.dry_run:  # in `all --dry-run` they are still to be made
            return StageResult("generate", warnings=["there are no chunks yet, so nothing can be planned on them"])
        raise NothingToDo(
            f"there are no chunks in {lakehouse.location(SPLITTED_DOCUMENTS)}",
            "run 'finreg ingest' with the same configuration first",
        )
    settings = _guard_split(run, lakehouse, resplit)
    settled = Settled(config)
    plan = _plan(run, lakehouse, writer, settled)
    result = StageResult("generate", counts=plan.counts())
    if run.dry_run:
        if writer:
            estimate = writer.estimate(_assignments(config, lakehouse, writer, plan))
            result.counts["expected"] = _usage_counts(estimate.expected)
            result.counts["at_most"] = _usage_counts(estimate.usage)
            result.findings.append(estimate.basis)
        return result

    moved = settings is not None and lakehouse.exists(QA_DATASET)
    if settings and moved:
        _move_rows(lakehouse, settings)
        lakehouse.append(QA_SPLIT, QA_SPLIT.batches([settings]))
    retired, revived = _retire_and_revive(lakehouse)
    commits = _Commits(run.run_id, lakehouse, None if moved else settings)
    tracked = tracker.run("generate", _tags(run)) if tracker and writer and plan.wanted else nullcontext()
    try:
        with (
            tracked as tracking,
            _told_at_the_end(tracking, run, lakehouse, writer, commits),
            run.progress.track("generate", len(plan.wanted), "rows") as advance,
            closing(_produce(config, lakehouse, writer, plan)) as rows,
        ):
            for written in rows:
                commits.add(written)
                if written.row.row_id in plan.wanted:
                    advance(1)
    except FinregError as error:
        error.counts = result.counts
        raise
    finally:  # also after Ctrl-C, a dead endpoint or a spent budget: what is finished is kept
        commits.flush()
        if _exports_are_behind(lakehouse):
            _write_exports(lakehouse)
        result.counts |= {"kept": commits.kept, "rejected": dict(commits.reasons.most_common())}
        if writer:
            result.counts["usage"] = _usage_counts(writer.usage)
            result.counts["per_kept_row"] = _per_row(writer.usage, commits.kept)
    _forget_stale_rejects(config, lakehouse, commits)
    settled.save()
    if commits.kept:
        lakehouse.compact(QA_DATASET)
        lakehouse.compact(QA_REJECTED)

    result.counts |= {"retired": retired, "revived": revived, **_dataset_counts(lakehouse)}
    result.counts["not_for_training"] = lakehouse.count(QA_DATASET, {"retired_at": None, "outputs_may_train": False})
    if not result.counts["rows"]:
        if commits.endpoint_failure:
            generator = config.endpoints.generator
            where = f"{generator.model} at {generator.base_url or generator.provider}" if generator else ""
            raise EndpointError(
                f"no row could be written by {where}; {commits.endpoint_failure}",
                "check endpoints.generator, and endpoints.judge if there is one, with 'finreg doctor'",
            )
        reasons = ", ".join(f"{name} {count}" for name, count in commits.reasons.most_common())
        raise NothingToDo(
            f"no row could be kept of {len(plan.wanted)} wanted; reasons: {reasons or 'none was proposed'}",
            "'finreg show qa_rejected' shows each with its reason; check generate.kinds and the source documents",
        )
    result.warnings = _warnings(config, result)
    if config.generate.method == "rules":
        result.findings.append(RULES_BANNER)
    result.saw(lakehouse, QA_DATASET, QA_DATASET_TRAIN, QA_DATASET_VAL, QA_REJECTED)
    return result


# --- the plan: which rows are wanted ---------------------------------------------------------------------------------


@dataclass
class _Plan:
    """Which rows to make: ``wanted`` are new and chosen, ``refused`` have their reason already."""

    chunks: int = 0
    proposed: int = 0
    known: set[str] = field(default_factory=set)  # rows that stand in the table
    questions: Questions = field(default_factory=Questions)  # of what stands
    unfit: Counter[str] = field(default_factory=Counter)  # kinds of which chunks hold nothing to ask for
    wanted: set[str] = field(default_factory=set)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)  # row_id -> (step, reason)
    left_out: int = 0  # sound, but beyond the mix, rows_per_chunk or limit
    by_kind: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, object]:
        return {
            "chunks": self.chunks,
            "proposed": self.proposed,
            "refused": len(self.refused),
            **({"unfit_by_kind": dict(self.unfit.most_common())} if self.unfit else {}),
            "left_out_by_the_mix": self.left_out,
            "already_there": len(self.known),
            "to_make": len(self.wanted),
            "to_make_by_kind": dict(self.by_kind.most_common()),
        }


@dataclass(frozen=True)
class _Sketch:
    """What the choice needs to know of a proposed row; ``settled`` where its chunk had its choice in an earlier run."""

    candidate: Candidate
    split: str
    question: str | None
    settled: bool


def _plan(run: Run, lakehouse: Lakehouse, writer: RowWriter | None, settled: Settled) -> _Plan:
    config, plan = run.config, _Plan()
    _load_known(lakehouse, plan)
    sketches: list[_Sketch] = []
    with run.progress.track(
        "plan", lakehouse.count(SPLITTED_DOCUMENTS, where_in_force(lakehouse)), "chunks"
    ) as advance:
        for chunk, referenced in _sources(config, lakehouse):
            plan.chunks += 1
            proposed = list(_proposals(config, chunk, referenced, writer))
            if writer and proposed:
                plan.unfit.update(regulation_qa.unfit_kinds(chunk, config.generate))
            is_settled = settled.holds([each.row.row_id for each in proposed])
            plan.proposed += len(proposed)
            for each in proposed:
                row, reason = each.row, _refusal(config, each)
                if reason:
                    plan.refused[row.row_id] = ("check", reason)
                else:
                    candidate = Candidate(row.row_id, row.kind, row.chunk_id)
                    sketches.append(_Sketch(candidate, row.split, row.question, is_settled))
            advance(1)

    # Validation first: of two questions that nearly equal each other across the split, the training row goes.
    sketches.sort(key=lambda sketch: (sketch.split != "validation", sketch.candidate.row_id))
    standing = [sketch for sketch in sketches if not _refuse_duplicate(plan, sketch)]
    plan.wanted = _choose(config, lakehouse, plan, standing)
    chosen = plan.wanted | plan.known
    plan.left_out = sum(each.candidate.row_id not in chosen for each in standing)
    plan.by_kind = Counter(each.candidate.kind for each in standing if each.candidate.row_id in plan.wanted)
    return plan


def _choose(config: Config, lakehouse: Lakehouse, plan: _Plan, standing: list[_Sketch]) -> set[str]:
    """The rows to make: of a settled chunk none but those that were tried before, of the others by the mix."""
    tried = plan.known | _standing_reasons(lakehouse).keys()
    candidates = [each.candidate for each in standing if not each.settled or each.candidate.row_id in tried]
    kinds = {str(kind): share for kind, share in config.generate.kinds.items()}
    limit = config.generate.limit
    wanted = select(candidates, kinds, config.generate.rows_per_chunk, limit) - plan.known
    if limit is None:
        return wanted
    # What stands counts against the limit, also where the mix would choose others in its place now.
    room = max(0, limit - sum(each.row_id in plan.known for each in candidates))
    return set(sorted(wanted)[:room])


def _load_known(lakehouse: Lakehouse, plan: _Plan) -> None:
    """What stands, with the retired rows whose chunk is back."""
    present = chunk_ids_in_force(lakehouse)
    columns = ["row_id", "chunk_ids", "question", "split"]
    for batch in lakehouse.read(QA_DATASET, columns):
        for row in batch.to_pylist():
            if present.issuperset(row["chunk_ids"]):
                plan.known.add(row["row_id"])
                plan.questions.add(row["row_id"], row["question"], row["split"])


def _refuse_duplicate(plan: _Plan, sketch: _Sketch) -> bool:
    row_id = sketch.candidate.row_id
    if sketch.question is None or row_id in plan.known:
        return False
    reason = plan.questions.take(row_id, sketch.question, sketch.split)
    if reason:
        plan.refused[row_id] = ("duplicate", reason)
        return True
    return False


def _refusal(config: Config, proposed: Proposed) -> str | None:
    """Why a row can't stand, as far as it is there already."""
    if proposed.refusal:
        return proposed.refusal
    if proposed.row.question is None:
        return quality.check_blank(proposed.row, proposed.source)
    return quality.check(proposed.row, proposed.source, config.generate.language)


def _proposals(
    config: Config, chunk: Chunk, referenced: Sequence[Chunk], writer: RowWriter | None
) -> Iterator[Proposed]:
    """The rows a chunk could give: complete by rules, blank for a model; none where only "(deleted)" stands."""
    if is_repealed(chunk):
        return
    if writer is None:
        yield from (Proposed(row, chunk) for row in regulation_qa.rows_by_rules(chunk, config.generate))
    else:
        yield from regulation_qa.blanks_for_model(
            chunk, config.generate, writer.model, writer.prompt_version, writer.outputs_may_train, referenced
        )


def _sources(config: Config, lakehouse: Lakehouse) -> Iterator[tuple[Chunk, list[Chunk]]]:
    """The chunks in force, each with those of the same document that it refers to, where a row may need them."""
    chunks = chunks_in_force(lakehouse)
    if not config.generate.kinds.get("cross_article"):
        yield from ((chunk, []) for chunk in chunks)
        return
    while some := list(islice(chunks, CHUNKS_AT_A_TIME)):
        known = _referenced(lakehouse, some)
        for chunk in some:
            found = (known.get((chunk.document_id, reference)) for reference in chunk.references)
            yield chunk, [each for each in found if each is not None and not is_repealed(each)]


def _referenced(lakehouse: Lakehouse, chunks: Collection[Chunk]) -> dict[tuple[str, str], Chunk]:
    """(document_id, chunk_id) -> chunk: these, and what they refer to in their documents."""
    known = {(each.document_id, each.chunk_id): each for each in chunks}
    named = {(chunk.document_id, reference) for chunk in chunks for reference in chunk.references}
    # What lies outside of the document is named in words, "Directive 2013/36/EU Article 4".
    missing = {(document, reference) for document, reference in named - known.keys() if " " not in reference}
    documents = {document for document, _ in missing}
    for each in _chunks_by_id(lakehouse, {reference for _, reference in missing}, documents):
        known[each.document_id, each.chunk_id] = each
    return known


def _chunks_by_id(lakehouse: Lakehouse, chunk_ids: Iterable[str], documents: Collection[str]) -> Iterator[Chunk]:
    for ids in _slices(chunk_ids):
        where = {"chunk_id": ids, "document_id": sorted(documents)}
        yield from SPLITTED_DOCUMENTS.records(lakehouse.read(SPLITTED_DOCUMENTS, where=where))


def _slices(ids: Iterable[str]) -> Iterator[list[str]]:
    """The ids in order, as many at a time as a filter takes."""
    ordered = iter(sorted(ids))
    while some := list(islice(ordered, IDS_AT_A_TIME)):
        yield some


# --- the rows themselves ---------------------------------------------------------------------------------------------


def _produce(
    config: Config, lakehouse: Lakehouse, writer: RowWriter | None, plan: _Plan
) -> Generator[Written, None, None]:
    """Every wanted row and every refused one, with its reason."""
    is_done_here = writer is None or bool(plan.refused)
    for chunk, referenced in _sources(config, lakehouse) if is_done_here else ():
        for proposed in _proposals(config, chunk, referenced, writer):
            row = proposed.row
            if row.row_id in plan.refused:
                step, reason = plan.refused[row.row_id]
                yield Written(row, step, reason)
            elif row.row_id in plan.wanted and writer is None:
                yield Written(row)
    if writer is not None:
        yield from _by_model(config, lakehouse, writer, plan)


def _by_model(config: Config, lakehouse: Lakehouse, writer: RowWriter, plan: _Plan) -> Iterator[Written]:
    # Closed at once when this generator is, so that no request outlives an interrupt.
    with closing(writer.write(_assignments(config, lakehouse, writer, plan), plan.questions)) as finished:
        yield from finished


def _assignments(config: Config, lakehouse: Lakehouse, writer: RowWriter, plan: _Plan) -> Iterator[Assignment]:
    for chunk, referenced in _sources(config, lakehouse):
        for proposed in _proposals(config, chunk, referenced, writer):
            if proposed.row.row_id in plan.wanted:
                yield Assignment(proposed.row, proposed.source)


class _Commits:
    """Collects rows and commits them in batches, so that a killed run has lost at most one batch of free work."""

    def __init__(self, run_id: str, lakehouse: Lakehouse, split: SplitSettings | None) -> None:
        self.kept = 0
        self.reasons: Counter[str] = Counter()
        self.endpoint_failure: str | None = None
        self.kept_ids: set[str] = set()
        self.rejected_ids: set[str] = set()
        self._run_id, self._lakehouse, self._split = run_id, lakehouse, split
        self._standing = _standing_reasons(lakehouse)
        self._rows: list[QaRow] = []
        self._rejects: list[RejectedRow] = []
        self._flushed = time.monotonic()

    def add(self, written: Written) -> None:
        if written.reason:
            self.reasons[written.reason.partition(":")[0]] += 1
            self.rejected_ids.add(written.row.row_id)
            if written.reason.startswith("endpoint:"):
                self.endpoint_failure = written.reason
            if self._standing.get(written.row.row_id) != written.reason:
                self._rejects.append(_rejected(written, self._run_id))
        else:
            self.kept += 1
            self.kept_ids.add(written.row.row_id)
            self._rows.append(written.row)
        due = time.monotonic() - self._flushed > COMMIT_SECONDS
        if due or len(self._rows) + len(self._rejects) >= COMMIT_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows and self._split:  # before the first row, so that no row stands without what split it
            self._lakehouse.append(QA_SPLIT, QA_SPLIT.batches([self._split]))
            self._split = None
        if self._rows:
            self._lakehouse.merge(QA_DATASET, QA_DATASET.batches(self._rows))
        if self._rejects:
            self._lakehouse.merge(QA_REJECTED, QA_REJECTED.batches(self._rejects))
        self._rows, self._rejects, self._flushed = [], [], time.monotonic()


def _standing_reasons(lakehouse: Lakehouse) -> dict[str, str]:
    """row_id -> reason of what was rejected before, so that the same rejection is not written again."""
    batches = lakehouse.read(QA_REJECTED, ["row_id", "reason"])
    return {row["row_id"]: row["reason"] for batch in batches for row in batch.to_pylist()}


def _rejected(written: Written, run_id: str) -> RejectedRow:
    row = {each.name: getattr(written.row, each.name) for each in fields(QaRow)}
    return RejectedRow(**row, run_id=run_id, stage=written.stage or "", reason=written.reason or "")


# --- the tables around them ------------------------------------------------------------------------------------------


def _guard_split(run: Run, lakehouse: Lakehouse, resplit: bool) -> SplitSettings | None:
    """The settings to record, or None where the table has the same already."""
    wanted = run.config.generate
    recorded = max(QA_SPLIT.records(lakehouse.read(QA_SPLIT)), key=lambda each: each.recorded_at, default=None)
    if recorded and (recorded.seed, recorded.validation_fraction) == (wanted.seed, wanted.validation_fraction):
        return None
    if recorded and not resplit:
        raise ConfigError(
            f"qa_dataset was split with seed {recorded.seed} and validation_fraction {recorded.validation_fraction}, "
            f"and the configuration says {wanted.seed} and {wanted.validation_fraction}: rows would change sides",
            "restore generate.seed and generate.validation_fraction, or move the rows with 'finreg generate --resplit' "
            "(models trained before can then no longer be evaluated)",
        )
    return SplitSettings(
        seed=wanted.seed,
        validation_fraction=wanted.validation_fraction,
        run_id=run.run_id,
        recorded_at=datetime.now(UTC),
    )


def _move_rows(lakehouse: Lakehouse, settings: SplitSettings) -> None:
    """Puts every row on the side that the settings give it, in one commit; rows that would stand on both are dropped.

    Those are rejected as `cross_split` in the same run; their replies stay in the cache.
    """
    seed, fraction = settings.seed, settings.validation_fraction
    parted = _parted(lakehouse, seed, fraction)
    rows = (
        replace(row, split=regulation_qa.side_of(row, seed, fraction))
        for row in QA_DATASET.records(lakehouse.read(QA_DATASET))
        if row.row_id not in parted
    )
    lakehouse.overwrite(QA_DATASET, QA_DATASET.batches(rows))


def _parted(lakehouse: Lakehouse, seed: int, fraction: float) -> set[str]:
    """The rows across articles whose chunks would stand on both sides."""
    parted = set()
    for batch in lakehouse.read(QA_DATASET, ["row_id", "document_id", "chunk_ids"]):
        rows = [row for row in batch.to_pylist() if len(row["chunk_ids"]) > 1]
        wanted = {chunk_id for row in rows for chunk_id in row["chunk_ids"]}
        documents = {row["document_id"] for row in rows}
        chunks = {each.chunk_id: each for each in _chunks_by_id(lakehouse, wanted, documents)}
        for row in rows:
            joined = [chunks[each] for each in row["chunk_ids"] if each in chunks]
            if regulation_qa.crosses_split(joined, seed, fraction):
                parted.add(row["row_id"])
    return parted


def _retire_and_revive(lakehouse: Lakehouse) -> tuple[int, int]:
    """Marks the rows whose chunk is gone from the version in force, and takes the mark off those whose chunk is back.

    So nothing trains on a text that is no longer in force, and what was paid for is not paid for again.
    """
    present = chunk_ids_in_force(lakehouse)
    marks: dict[str, datetime | None] = {}
    now = datetime.now(UTC)
    for batch in lakehouse.read(QA_DATASET, ["row_id", "chunk_ids", "retired_at"]):
        for row in batch.to_pylist():
            stands = present.issuperset(row["chunk_ids"])
            if stands != (row["retired_at"] is None):
                marks[row["row_id"]] = None if stands else now
    if marks:
        rows = [replace(row, retired_at=marks[row.row_id]) for row in _rows_by_id(lakehouse, sorted(marks))]
        lakehouse.merge(QA_DATASET, QA_DATASET.batches(rows))
    retired = sum(mark is not None for mark in marks.values())
    return retired, len(marks) - retired


def _rows_by_id(lakehouse: Lakehouse, row_ids: list[str]) -> Iterator[QaRow]:
    for ids in _slices(row_ids):
        yield from QA_DATASET.records(lakehouse.read(QA_DATASET, where={"row_id": ids}))


def _forget_stale_rejects(config: Config, lakehouse: Lakehouse, commits: _Commits) -> None:
    """Keeps ``qa_rejected`` at the present state: out go rows that were kept, or whose chunk or rule is gone."""
    present = chunk_ids_in_force(lakehouse)
    stale: list[str] = []
    for batch in lakehouse.read(QA_REJECTED, ["row_id", "chunk_ids", "method"]):
        for row in batch.to_pylist():
            gone = not present.issuperset(row["chunk_ids"])
            superseded = (
                row["method"] == config.generate.method == "rules" and row["row_id"] not in commits.rejected_ids
            )
            if gone or superseded or row["row_id"] in commits.kept_ids:
                stale.append(row["row_id"])
    for ids in _slices(stale):
        lakehouse.overwrite(QA_REJECTED, [], where={"row_id": ids})


def _exports_are_behind(lakehouse: Lakehouse) -> bool:
    """Whether the dataset has changed since they were written, in this run or in one that was killed before."""
    changes = (commit.timestamp for commit in lakehouse.history(QA_DATASET) if commit.operation != "OPTIMIZE")
    changed = next(changes, None)
    if changed is None:
        return False
    written = [lakehouse.history(table) for table in (QA_DATASET_TRAIN, QA_DATASET_VAL)]
    return any(not commits or commits[0].timestamp < changed for commits in written)


def _write_exports(lakehouse: Lakehouse) -> None:
    """The rows in force as messages; in the training table only what may be trained on."""
    of_table: dict[Table[ChatExport], Where] = {
        QA_DATASET_TRAIN: {"split": "train", "outputs_may_train": True},
        QA_DATASET_VAL: {"split": "validation"},
    }
    for table, where in of_table.items():
        rows = QA_DATASET.records(lakehouse.read(QA_DATASET, where={**where, "retired_at": None}))
        lakehouse.overwrite(
            table, table.batches(ChatExport(messages=regulation_qa.training_messages(row)) for row in rows)
        )


def _dataset_counts(lakehouse: Lakehouse) -> dict[str, object]:
    kinds: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    forms, units = set(), set()
    for batch in lakehouse.read(QA_DATASET, ["kind", "split", "split_unit", "prompt_version"], {"retired_at": None}):
        for row in batch.to_pylist():
            kinds[row["kind"]] += 1
            splits[row["split"]] += 1
            forms.add(row["prompt_version"])
            units.add(row["split_unit"])
    return {
        "rows": sum(splits.values()),
        "train": splits["train"],
        "validation": splits["validation"],
        "by_kind": dict(kinds.most_common()),
        "articles": len(units),
        "forms": len(forms),
    }


def _usage_counts(usage: dict[str, Usage]) -> dict[str, dict[str, float | None]]:
    return {name: dict(vars(each)) for name, each in usage.items()}


def _per_row(usage: dict[str, Usage], kept: int) -> dict[str, float | None]:
    """What all endpoints together were used for, shared out over the rows that were kept; empty where none was.

    Money is None where an endpoint has no price.
    """
    if not kept:
        return {}
    money = [each.money for each in usage.values()]
    spent: dict[str, float | None] = {
        "requests": sum(each.requests for each in usage.values()),
        "input_tokens": sum(each.input_tokens for each in usage.values()),
        "output_tokens": sum(each.output_tokens for each in usage.values()),
        "money": None if None in money else sum(each for each in money if each is not None),
    }
    return {name: None if value is None else value / kept for name, value in spent.items()}


# --- what the tracker is told ----------------------------------------------------------------------------------------


def _tags(run: Run) -> dict[str, str]:
    return {"finreg.stage": "generate", "finreg.run_id": run.run_id, "finreg.task": run.config.task}


@contextmanager
def _told_at_the_end(
    tracked: TrackedRun | None, run: Run, lakehouse: Lakehouse, writer: RowWriter | None, commits: _Commits
) -> Iterator[None]:
    """Tells the tracker what rows are made with, and in the end, however it comes, what they have taken."""
    if tracked is None or writer is None:
        yield
        return
    settings = run.config.generate
    tracked.params(
        {
            "model": writer.model,
            "prompt_version": writer.prompt_version,
            "outputs_may_train": writer.outputs_may_train,
            **settings.model_dump(mode="json", include={"kinds", "audience", "language", "rows_per_chunk", "limit"}),
        }
    )
    version = lakehouse.version(SPLITTED_DOCUMENTS)
    if version is not None:
        location, rows = lakehouse.location(SPLITTED_DOCUMENTS), lakehouse.count(SPLITTED_DOCUMENTS)
        tracked.input_table(SPLITTED_DOCUMENTS.name, location, version, rows, "generation")
    try:
        yield
    except BaseException:
        with suppress(ConfigError, StageFailed):  # the tracker's own must not replace the error that is on its way
            tracked.metrics(_told(writer, commits))
        raise
    tracked.metrics(_told(writer, commits))


def _told(writer: RowWriter, commits: _Commits) -> dict[str, float]:
    """``generator_requests``, ``per_kept_row_money``, ...; what is not known is left out."""
    figures = {**_usage_counts(writer.usage), "per_kept_row": _per_row(writer.usage, commits.kept)}
    named = {f"{of}_{name}": value for of, each in figures.items() for name, value in each.items()}
    told = {name: float(value) for name, value in named.items() if value is not None}
    return {"kept": commits.kept, "rejected": commits.reasons.total(), **told}


def _warnings(config: Config, result: StageResult) -> list[str]:
    found = []
    for side in ("train", "validation"):
        if not result.counts[side]:
            found.append(
                f"the {side} side is empty: add documents, or set another generate.validation_fraction than "
                f"{config.generate.validation_fraction} and run 'finreg generate --resplit'"
            )
    missing = [kind for kind, share in config.generate.kinds.items() if share and kind not in result.counts["by_kind"]]
    if missing:
        found.append(f"no row of the kinds {', '.join(missing)} could be kept")
    left_out = result.counts["left_out_by_the_mix"]
    if left_out > result.counts["rows"] / 2:
        found.append(f"{left_out} sound rows are left out by generate.kinds, rows_per_chunk and limit")
    return found

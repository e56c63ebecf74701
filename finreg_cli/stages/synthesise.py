"""generate, for structured extraction: each round makes new labels of every labelled document, and a new document.

New labels like a real set but with other values -> a document that looks like the real one with exactly those details
-> two scores, 0 or 1 -> what scored 1 and 1 is appended to ``lease_docs_train_synth``. By rules or by a language model,
on one path. The hold-out is read for one purpose: a synthetic document that equals or nearly equals one is refused.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields

from finreg_cli.config import Config
from finreg_cli.domain.extraction import Schema, text_of
from finreg_cli.domain.near_documents import NearDocuments
from finreg_cli.domain.records import (
    EVALUATED_LEASES,
    GENERATED_LEASES,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    SYNTHESIS_ROUNDS,
    EvaluatedLease,
    GeneratedLease,
    LabelledLease,
    SynthesisRound,
    SyntheticLease,
)
from finreg_cli.errors import EndpointError, NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import Commission, DocumentWriter, Synthesised, Usage
from finreg_cli.stages.base import Run, StageResult, distinct
from finreg_cli.tasks import synthesis
from finreg_cli.tasks.structured_extraction import (
    blank_lease,
    document_problem,
    labels_problem,
    leftover_problem,
    schema_of,
)
from finreg_cli.tasks.synthesis import RULES_VERSION, ValuePool, pool_of

COMMIT_ROWS = 100
COMMIT_SECONDS = 30.0
FAILED_AT_ENDPOINT = "endpoint:"
"""How the reason of a row begins that may succeed in the next run."""
RULES_BANNER = "documents are made by rules from labelled ones, not by a language model (generate.method: rules)"


def synthesise(
    run: Run, lakehouse: Lakehouse, writer: DocumentWriter | None, rounds: Sequence[int] | None = None
) -> StageResult:
    """Makes what is not there yet of the synthetic rounds.

    Args:
        writer: the language model; None with ``generate.method: rules``.
        rounds: which to make, from 1; None for all that ``generate.rounds`` asks for.

    Raises:
        NothingToDo: there are no labelled documents, or no synthetic one could be kept.
        BudgetReached, EndpointError: from the writer; what was finished is committed first.
    """
    config = run.config
    result = StageResult("generate")
    if not lakehouse.count(LEASE_DOCS_TRAIN):
        if run.dry_run:  # in `all --dry-run` they are still to be read
            result.warnings.append("there are no labelled documents yet, so nothing can be planned on them")
            return result
        raise NothingToDo(
            f"there are no labelled documents in {lakehouse.location(LEASE_DOCS_TRAIN)}",
            "run 'finreg ingest' with the same configuration first",
        )
    wanted = rounds if rounds is not None else range(1, config.generate.rounds + 1)
    done = _done(lakehouse)
    result.counts = {"seeds": lakehouse.count(LEASE_DOCS_TRAIN), "already_there": len(done), "rounds": {}}
    if run.dry_run:
        for round_ in wanted:
            commissions = list(_commissions(config, lakehouse, writer, round_, done))
            result.counts["rounds"][str(round_)] = {"to_make": len(commissions)}
            if writer:
                estimate = writer.estimate(commissions)
                result.counts["rounds"][str(round_)] |= {
                    "expected": {name: vars(each) for name, each in estimate.expected.items()},
                    "at_most": {name: vars(each) for name, each in estimate.usage.items()},
                }
                result.findings[:] = [estimate.basis]
        return result

    check = _Check(config, lakehouse, judged=writer is not None and config.endpoints.judge is not None)
    for round_ in wanted:
        made = _make_round(run, lakehouse, writer, round_, done, check)
        result.counts["rounds"][str(round_)] = made.counts()
    result.counts["rows"] = lakehouse.count(LEASE_DOCS_TRAIN_SYNTH)
    if wanted and not result.counts["rows"]:
        raise _nothing_kept(config, check)
    if config.generate.method == "rules":
        result.findings.append(RULES_BANNER)
    elif config.endpoints.judge is None:
        result.findings.append("no endpoints.judge is configured: the mechanical scores decided alone")
    result.warnings += _warnings(result)
    result.saw(lakehouse, GENERATED_LEASES, EVALUATED_LEASES, LEASE_DOCS_TRAIN_SYNTH, SYNTHESIS_ROUNDS)
    return result


# --- a round ---------------------------------------------------------------------------------------------------------


@dataclass
class _Round:
    """What one round has made in this run."""

    number: int
    method: str
    wanted: int
    generated: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    spent: Usage = field(default_factory=Usage)

    def counts(self) -> dict[str, object]:
        found: dict[str, object] = {"to_make": self.wanted, "generated": self.generated, "kept": self.kept}
        if self.reasons:
            found["rejected"] = dict(self.reasons.most_common())
        if self.method == "llm":
            found["usage"] = dict(vars(self.spent))
        return found

    def record(self, run_id: str) -> SynthesisRound:
        return SynthesisRound(
            run_id=run_id,
            round=self.number,
            method=self.method,
            generated=self.generated,
            kept=self.kept,
            requests=self.spent.requests,
            cached=self.spent.cached,
            input_tokens=self.spent.input_tokens,
            output_tokens=self.spent.output_tokens,
            money=self.spent.money,
        )


def _make_round(
    run: Run, lakehouse: Lakehouse, writer: DocumentWriter | None, number: int, done: set[str], check: _Check
) -> _Round:
    wanted = sum(1 for _ in _commissions(run.config, lakehouse, writer, number, done))
    made = _Round(number, run.config.generate.method, wanted)
    if not wanted:
        return made
    before = _total(writer)
    commits = _Commits(lakehouse)
    try:
        with (
            run.progress.track(f"generate round {number}", wanted, "documents") as advance,
            closing(_produced(run.config, lakehouse, writer, number, done)) as produced,
        ):
            for commission, synthesised in produced:
                evaluated = check(run.run_id, commission.parent, synthesised)
                commits.add(synthesised.lease, evaluated)
                made.generated += 1
                made.kept += evaluated.reason is None
                if evaluated.reason:
                    made.reasons[evaluated.reason.partition(":")[0]] += 1
                advance(1)
    finally:  # also after Ctrl-C, a dead endpoint or a spent budget: what is finished is kept, what was spent is told
        commits.flush()
        made.spent = _difference(_total(writer), before)
        if made.generated or made.spent.requests:
            lakehouse.append(SYNTHESIS_ROUNDS, SYNTHESIS_ROUNDS.batches([made.record(run.run_id)]))
    for table in (GENERATED_LEASES, EVALUATED_LEASES, LEASE_DOCS_TRAIN_SYNTH):
        if lakehouse.exists(table):
            lakehouse.compact(table)
    return made


def _done(lakehouse: Lakehouse) -> set[str]:
    """What need not be made again: what training reads, and what was refused for good.

    A document that was kept but has left the training table (its parent had left or changed) is made again when its
    parent is back; the request cache has its replies.
    """
    done = distinct(lakehouse, LEASE_DOCS_TRAIN_SYNTH, "lease_id")
    for batch in lakehouse.read(EVALUATED_LEASES, ["lease_id", "reason"]):
        for row in batch.to_pylist():
            if row["reason"] and not row["reason"].startswith(FAILED_AT_ENDPOINT):
                done.add(row["lease_id"])
    return done


def _commissions(
    config: Config, lakehouse: Lakehouse, writer: DocumentWriter | None, round_: int, done: set[str]
) -> Iterator[Commission]:
    for parent in _training_leases(lakehouse):
        for sample in range(config.generate.documents_per_seed):
            blank = blank_lease(
                parent,
                round_,
                sample,
                method=config.generate.method,
                model=writer.model if writer else None,
                prompt_version=writer.prompt_version if writer else RULES_VERSION,
                outputs_may_train=writer.outputs_may_train if writer else True,
            )
            if blank.lease_id not in done:
                yield Commission(blank, parent)


def _training_leases(lakehouse: Lakehouse) -> Iterator[LabelledLease]:
    return LEASE_DOCS_TRAIN.records(lakehouse.read(LEASE_DOCS_TRAIN))


def _produced(
    config: Config, lakehouse: Lakehouse, writer: DocumentWriter | None, round_: int, done: set[str]
) -> Generator[tuple[Commission, Synthesised], None, None]:
    commissions = _commissions(config, lakehouse, writer, round_, done)
    if writer is None:
        schema = schema_of(config)
        pool = pool_of(_training_leases(lakehouse), schema)
        for commission in commissions:
            yield commission, _by_rules(commission, pool, schema, config.generate.seed)
        return
    in_flight: dict[str, Commission] = {}

    def noted() -> Iterator[Commission]:
        for commission in commissions:
            in_flight[commission.blank.lease_id] = commission
            yield commission

    # Closed at once when this generator is, so that no request outlives an interrupt.
    with closing(writer.write(noted())) as finished:
        for synthesised in finished:
            yield in_flight.pop(synthesised.lease.lease_id), synthesised


def _by_rules(commission: Commission, pool: ValuePool, schema: Schema, seed: int) -> Synthesised:
    lease, reason = synthesis.synthesise(commission.parent, commission.blank, pool, schema, seed)
    return Synthesised(lease, reason=reason)


def _total(writer: DocumentWriter | None) -> Usage:
    """What all endpoints together were used for; no money where there is none, or one without a price."""
    each = list(writer.usage.values()) if writer else []
    prices = [usage.money for usage in each]
    return Usage(
        requests=sum(usage.requests for usage in each),
        cached=sum(usage.cached for usage in each),
        input_tokens=sum(usage.input_tokens for usage in each),
        output_tokens=sum(usage.output_tokens for usage in each),
        money=None if not each or None in prices else sum(price for price in prices if price is not None),
    )


def _difference(after: Usage, before: Usage) -> Usage:
    return Usage(
        requests=after.requests - before.requests,
        cached=after.cached - before.cached,
        input_tokens=after.input_tokens - before.input_tokens,
        output_tokens=after.output_tokens - before.output_tokens,
        money=None if after.money is None or before.money is None else after.money - before.money,
    )


# --- the two scores --------------------------------------------------------------------------------------------------


class _Check:
    """Scores what was made, and refuses what stands already: in the hold-out, or among the documents for training.

    A score is 1 where the mechanical check passed and, where there is a judge, the judge said so: what was not checked
    has not passed.
    """

    def __init__(self, config: Config, lakehouse: Lakehouse, judged: bool) -> None:
        self.reasons: Counter[str] = Counter()
        self.endpoint_failure: str | None = None
        self._schema = schema_of(config)
        self._judged = judged
        self._holdout = NearDocuments(lease.lease_doc for lease in _training_leases(lakehouse))
        self._holdout_labels: dict[str, str] = {}
        self._standing: dict[str, str] = {}  # labels -> lease_id, of documents for training
        for lease in LEASE_DOCS_HOLDOUT.records(lakehouse.read(LEASE_DOCS_HOLDOUT)):
            self._holdout.add(lease.lease_id, lease.lease_doc)
            self._holdout_labels[self._values(lease.labels)] = lease.lease_id
        for table in (LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN_SYNTH):
            for batch in lakehouse.read(table, ["lease_id", "labels"]):
                for row in batch.to_pylist():
                    self._standing[self._values(row["labels"])] = row["lease_id"]

    def __call__(self, run_id: str, parent: LabelledLease, made: Synthesised) -> EvaluatedLease:
        lease = made.lease
        labels_problem_, lease_problem = self._mechanical(lease, parent)
        labels_pass = lease.generated_labels is not None and labels_problem_ is None
        lease_pass = lease.generated_lease_doc is not None and labels_pass and lease_problem is None
        reason = made.reason or labels_problem_ or lease_problem or self._unjudged(made)
        if reason is None:
            reason = self._repeats(lease)
        evaluated = EvaluatedLease(
            **{each.name: getattr(lease, each.name) for each in fields(GeneratedLease)},
            run_id=run_id,
            eval_labels=_score(labels_pass and (made.labels_judge is True or not self._judged)),
            eval_leases=_score(lease_pass and (made.lease_judge is True or not self._judged)),
            labels_mechanical=None if lease.generated_labels is None else labels_pass,
            labels_judge=made.labels_judge,
            lease_mechanical=None if lease.generated_lease_doc is None else lease_pass,
            lease_judge=made.lease_judge,
            judge_reasons=made.judge_reasons,
            reason=reason,
        )
        self._note(evaluated)
        return evaluated

    def _mechanical(self, lease: GeneratedLease, parent: LabelledLease) -> tuple[str | None, str | None]:
        """What is wrong with the labels, and with the document; a document is checked against sound labels only."""
        if lease.generated_labels is None:
            return "labels: none were made", None
        problem = labels_problem(lease.generated_labels, self._schema)
        if problem:
            return problem, None
        if lease.generated_lease_doc is None:
            return None, "document: none was made"
        labels, document = self._schema.loads(lease.generated_labels), lease.generated_lease_doc
        before = self._schema.loads(parent.labels)
        return None, document_problem(labels, document) or leftover_problem(self._schema, labels, before, document)

    def _unjudged(self, made: Synthesised) -> str | None:
        if self._judged and not (made.labels_judge is True and made.lease_judge is True):
            return "unjudged: the judge has not passed both"
        return None

    def _repeats(self, lease: GeneratedLease) -> str | None:
        """Why a sound document is refused nevertheless: it stands already, in the hold-out or for training."""
        values = self._values(lease.generated_labels or "{}")
        if values in self._holdout_labels:
            return f"equals_holdout: the labels are those of {self._holdout_labels[values]}"
        near = self._holdout.near(lease.generated_lease_doc or "")
        if near is not None:
            return f"near_holdout: the document nearly equals {near}"
        other = self._standing.get(values)
        if other is not None and other != lease.lease_id:
            return f"duplicate: the labels are those of {other}"
        self._standing[values] = lease.lease_id
        return None

    def _note(self, evaluated: EvaluatedLease) -> None:
        if evaluated.reason:
            self.reasons[evaluated.reason.partition(":")[0]] += 1
            if evaluated.reason.startswith(FAILED_AT_ENDPOINT):
                self.endpoint_failure = evaluated.reason

    def _values(self, labels: str) -> str:
        """Labels in one spelling: blanks and case aside."""
        found = self._schema.loads(labels)
        return json.dumps([" ".join((text_of(each) or "").split()).casefold() for each in found.values()])


def _score(passed: bool) -> str:
    return "1" if passed else "0"


class _Commits:
    """Commits in batches; the evaluated row last, because it is what says that a document is done."""

    def __init__(self, lakehouse: Lakehouse) -> None:
        self._lakehouse = lakehouse
        self._pending: list[tuple[GeneratedLease, EvaluatedLease]] = []
        self._flushed = time.monotonic()

    def add(self, lease: GeneratedLease, evaluated: EvaluatedLease) -> None:
        self._pending.append((lease, evaluated))
        if len(self._pending) >= COMMIT_ROWS or time.monotonic() - self._flushed > COMMIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            kept = [_synthetic(each) for _, each in self._pending if each.reason is None]
            self._lakehouse.merge(GENERATED_LEASES, GENERATED_LEASES.batches(lease for lease, _ in self._pending))
            if kept:
                self._lakehouse.merge(LEASE_DOCS_TRAIN_SYNTH, LEASE_DOCS_TRAIN_SYNTH.batches(kept))
            self._lakehouse.merge(EVALUATED_LEASES, EVALUATED_LEASES.batches(each for _, each in self._pending))
        self._pending, self._flushed = [], time.monotonic()


def _synthetic(lease: EvaluatedLease) -> SyntheticLease:
    return SyntheticLease(
        lease_id=lease.lease_id,
        parent_lease_id=lease.parent_lease_id,
        round=lease.round,
        lease_doc=lease.generated_lease_doc or "",
        labels=lease.generated_labels or "",
        outputs_may_train=lease.outputs_may_train,
    )


# --- how it ends -----------------------------------------------------------------------------------------------------


def _nothing_kept(config: Config, check: _Check) -> NothingToDo | EndpointError:
    if check.endpoint_failure:
        url = config.endpoints.generator.base_url if config.endpoints.generator else None
        return EndpointError(
            f"no document could be written, and {url} failed: {check.endpoint_failure}",
            "check endpoints.generator.base_url and the server behind it",
        )
    reasons = ", ".join(f"{name} {count}" for name, count in check.reasons.most_common())
    return NothingToDo(
        f"no synthetic document could be kept; reasons: {reasons or 'none was made in this run'}",
        "'finreg show evaluated_synth_labels_and_leases' shows each with its scores and its reason",
    )


def _warnings(result: StageResult) -> Iterable[str]:
    for round_, counts in result.counts["rounds"].items():
        if counts["generated"] and counts["kept"] * 2 < counts["generated"]:
            yield (
                f"round {round_}: {counts['kept']} of {counts['generated']} synthetic documents were kept; "
                "'finreg show evaluated_synth_labels_and_leases' shows why"
            )

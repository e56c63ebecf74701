"""The synthetic rounds on real tables; the language model is code that really writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fakes.leases import labelled
from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.domain.extraction import LEASE, find
from finreg_cli.domain.records import (
    EVALUATED_LEASES,
    GENERATED_LEASES,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    SYNTHESIS_ROUNDS,
    EvaluatedLease,
    LabelledLease,
    SyntheticLease,
    Table,
)
from finreg_cli.errors import EndpointError, NothingToDo
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.base import Commission, Estimate, Synthesised, Usage
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.synthesise import synthesise
from finreg_cli.tasks.synthesis import RULES_VERSION, pool_of
from finreg_cli.tasks.synthesis import synthesise as synthesise_by_rules

JUDGE = {"model": "judge", "base_url": "http://localhost:1/v1"}


@dataclass
class Writer:
    """Writes as the rules do, and counts a request for each document; ``mend`` changes what comes of a commission."""

    mend: Callable[[Synthesised, Commission], Synthesised] = lambda made, commission: made
    dies_after: int | None = None
    model: str = "writer"
    prompt_version: str = "v1"
    outputs_may_train: bool = True
    usage: dict[str, Usage] = field(default_factory=lambda: {"generator": Usage(money=0.0)})

    def estimate(self, commissions: Iterable[Commission]) -> Estimate:
        return Estimate({"generator": Usage(requests=2 * len(list(commissions)))})

    def write(self, commissions: Iterable[Commission]) -> Generator[Synthesised, None, None]:
        for commission in list(commissions):
            if self.dies_after is not None and self.usage["generator"].requests == self.dies_after:
                raise KeyboardInterrupt
            self.usage["generator"].requests += 1
            self.usage["generator"].money = (self.usage["generator"].money or 0.0) + 0.5
            pool = pool_of([commission.parent], LEASE)
            lease, reason = synthesise_by_rules(commission.parent, commission.blank, pool, LEASE, 7)
            yield self.mend(Synthesised(lease, True, True, "{}", reason), commission)


@dataclass
class Bench:
    folder: Path
    lakehouse: EmbeddedLakehouse

    def generate(
        self,
        writer: Writer | None = None,
        *,
        judged: bool = False,
        dry_run: bool = False,
        run_id: str = "g1",
        **keys: Any,
    ) -> StageResult:
        endpoints = {"generator": JUDGE} | ({"judge": JUDGE} if judged else {})
        raw = {
            "task": "structured_extraction",
            "engine": {"warehouse": str(self.folder)},
            "generate": {"method": "llm" if writer else "rules", **keys},
            **({"endpoints": endpoints} if writer else {}),
        }
        return synthesise(Run(run_id, Config.model_validate(raw), Silent(), dry_run), self.lakehouse, writer)

    def rows(self, table: Table[Any]) -> list[Any]:
        return list(table.records(self.lakehouse.read(table)))


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    lakehouse = EmbeddedLakehouse(tmp_path / "lakehouse", "main", "leases")
    leases = labelled(12)
    lakehouse.overwrite(LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN.batches(leases[:6]))
    lakehouse.overwrite(LEASE_DOCS_HOLDOUT, LEASE_DOCS_HOLDOUT.batches(leases[6:]))
    yield Bench(tmp_path / "lakehouse", lakehouse)
    lakehouse.close()


def parents(bench: Bench) -> dict[str, LabelledLease]:
    return {each.lease_id: each for each in bench.rows(LEASE_DOCS_TRAIN)}


def test_two_rounds_by_rules_give_a_document_of_each_parent_with_other_values(bench):
    result = bench.generate(rounds=2)
    rows: list[SyntheticLease] = bench.rows(LEASE_DOCS_TRAIN_SYNTH)
    assert {(each.parent_lease_id, each.round) for each in rows} == {
        (lease_id, round_) for lease_id in parents(bench) for round_ in (1, 2)
    }
    for row in rows:
        labels, before = json.loads(row.labels), json.loads(parents(bench)[row.parent_lease_id].labels)
        assert list(labels) == list(LEASE.keys)
        assert [key for key in labels if labels[key] is None] == [key for key in before if before[key] is None]
        assert all(find(value, row.lease_doc) for value in labels.values() if value is not None)
        assert labels["lessee"] != before["lessee"]
    evaluated: list[EvaluatedLease] = bench.rows(EVALUATED_LEASES)
    assert all((each.eval_labels, each.eval_leases, each.reason) == ("1", "1", None) for each in evaluated)
    assert all(each.prompt_version == RULES_VERSION and each.model is None for each in evaluated)
    assert result.counts["rounds"]["2"] == {"to_make": 6, "generated": 6, "kept": 6}
    assert {(each.round, each.kept, each.requests) for each in bench.rows(SYNTHESIS_ROUNDS)} == {(1, 6, 0), (2, 6, 0)}


def test_a_second_run_makes_nothing_and_commits_nothing(bench):
    bench.generate(rounds=1)
    versions = {table.name: bench.lakehouse.version(table) for table in (GENERATED_LEASES, LEASE_DOCS_TRAIN_SYNTH)}
    again = bench.generate(rounds=1, run_id="g2")
    assert again.counts["rounds"]["1"] == {"to_make": 0, "generated": 0, "kept": 0}
    assert versions == {
        table.name: bench.lakehouse.version(table) for table in (GENERATED_LEASES, LEASE_DOCS_TRAIN_SYNTH)
    }
    assert len(bench.rows(SYNTHESIS_ROUNDS)) == 1


def test_a_run_that_was_interrupted_keeps_what_it_paid_for_and_makes_the_rest(bench):
    with pytest.raises(KeyboardInterrupt):
        bench.generate(Writer(dies_after=4), rounds=1)
    assert len(bench.rows(LEASE_DOCS_TRAIN_SYNTH)) == 4
    (spent,) = bench.rows(SYNTHESIS_ROUNDS)
    assert (spent.requests, spent.money, spent.kept) == (4, 2.0, 4)
    bench.generate(writer := Writer(), rounds=1, run_id="g2")
    assert writer.usage["generator"].requests == 2
    assert len(bench.rows(LEASE_DOCS_TRAIN_SYNTH)) == 6


def change(**changes: Any) -> Callable[[Synthesised, Commission], Synthesised]:
    """Replaces fields of the lease, or the verdicts."""

    def mend(made: Synthesised, commission: Commission) -> Synthesised:
        of_lease = {name: value for name, value in changes.items() if name.startswith("generated_")}
        rest = {name: value for name, value in changes.items() if name not in of_lease}
        return dataclasses.replace(made, lease=dataclasses.replace(made.lease, **of_lease), **rest)

    return mend


@pytest.mark.parametrize(
    ("changes", "scores", "reason"),
    [
        ({"labels_judge": False}, ("0", "1"), "unjudged"),
        ({"lease_judge": None}, ("1", "0"), "unjudged"),
        ({"labels_judge": None, "lease_judge": None}, ("0", "0"), "unjudged"),
        ({"generated_labels": '{"lessee": "Alpha"}'}, ("0", "0"), "labels"),
        ({"generated_labels": "no JSON"}, ("0", "0"), "labels"),
        ({"generated_lease_doc": "This lease says nothing."}, ("1", "0"), "document"),
        ({"generated_lease_doc": None}, ("1", "0"), "document"),
        (
            {"reason": "unreadable_verdict: it holds no JSON object", "lease_judge": None},
            ("1", "0"),
            "unreadable_verdict",
        ),
    ],
)
def test_only_what_scores_one_and_one_is_kept(bench, changes, scores, reason):
    with pytest.raises(NothingToDo, match=reason):
        bench.generate(Writer(change(**changes)), judged=True, rounds=1)
    evaluated: list[EvaluatedLease] = bench.rows(EVALUATED_LEASES)
    assert {(each.eval_labels, each.eval_leases) for each in evaluated} == {scores}
    assert {str(each.reason).partition(":")[0] for each in evaluated} == {reason}
    assert bench.rows(LEASE_DOCS_TRAIN_SYNTH) == []


def test_without_a_judge_the_mechanical_scores_decide_and_say_so(bench):
    bench.generate(Writer(change(labels_judge=None, lease_judge=None)), rounds=1)
    evaluated: list[EvaluatedLease] = bench.rows(EVALUATED_LEASES)
    assert {(each.eval_labels, each.labels_mechanical, each.labels_judge) for each in evaluated} == {("1", True, None)}
    assert len(bench.rows(LEASE_DOCS_TRAIN_SYNTH)) == 6


def test_a_document_that_still_holds_its_parents_tenant_is_refused(bench):
    def forget(made: Synthesised, commission: Commission) -> Synthesised:
        tenant = json.loads(commission.parent.labels)["lessee"]
        document = f"{made.lease.generated_lease_doc}\nTenant in possession: {tenant}"
        return dataclasses.replace(made, lease=dataclasses.replace(made.lease, generated_lease_doc=document))

    with pytest.raises(NothingToDo, match="document 6"):
        bench.generate(Writer(forget), rounds=1)
    assert {each.reason for each in bench.rows(EVALUATED_LEASES)} == {"document: still holds the parent's lessee"}


def test_a_document_of_the_holdout_is_refused(bench):
    (secret, *_) = bench.rows(LEASE_DOCS_HOLDOUT)
    copied = change(generated_labels=secret.labels, generated_lease_doc=secret.lease_doc)
    with pytest.raises(NothingToDo, match="equals_holdout"):
        bench.generate(Writer(copied), rounds=1)


def test_a_document_with_the_values_of_another_is_refused(bench):
    lessee = next(iter(parents(bench).values()))
    copied = change(generated_labels=lessee.labels, generated_lease_doc=lessee.lease_doc)
    with pytest.raises(NothingToDo, match="duplicate"):
        bench.generate(Writer(copied), rounds=1)


def test_what_failed_at_the_endpoint_is_tried_again_and_what_was_refused_is_not(bench):
    with pytest.raises(EndpointError, match="HTTP 500"):
        bench.generate(Writer(change(generated_labels=None, generated_lease_doc=None, reason="endpoint: HTTP 500")))
    assert bench.generate(Writer(), run_id="g2").counts["rounds"]["1"]["to_make"] == 6
    bench.lakehouse.overwrite(LEASE_DOCS_TRAIN_SYNTH, [])
    with pytest.raises(NothingToDo):
        bench.generate(Writer(change(generated_labels="no JSON"), prompt_version="v2"), run_id="g3")
    with pytest.raises(NothingToDo, match="none was made"):
        bench.generate(Writer(prompt_version="v2"), run_id="g4")


def test_a_changed_parent_has_other_children(bench):
    bench.generate()
    (first, *others) = bench.rows(LEASE_DOCS_TRAIN)
    changed = dataclasses.replace(first, lease_doc=f"{first.lease_doc}\nAmended.")
    bench.lakehouse.overwrite(LEASE_DOCS_TRAIN, LEASE_DOCS_TRAIN.batches([changed, *others]))
    assert bench.generate(run_id="g2").counts["rounds"]["1"]["kept"] == 1


def test_a_dry_run_estimates_and_writes_nothing(bench):
    result = bench.generate(Writer(), dry_run=True, rounds=2, documents_per_seed=2)
    assert result.counts["rounds"]["2"]["to_make"] == 12
    assert result.counts["rounds"]["2"]["at_most"]["generator"]["requests"] == 24
    assert not bench.lakehouse.exists(GENERATED_LEASES)


def test_no_labelled_documents_is_told_with_its_remedy(tmp_path):
    lakehouse = EmbeddedLakehouse(tmp_path / "lakehouse", "main", "leases")
    with pytest.raises(NothingToDo, match="lease_docs_train") as raised:
        Bench(tmp_path / "lakehouse", lakehouse).generate()
    assert "finreg ingest" in raised.value.remedy
    lakehouse.close()

"""ingest of labelled documents, on real files and real Delta tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from fakes.leases import labelled
from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.documents.labelled import FileSource
from finreg_cli.domain.extraction import LEASE
from finreg_cli.domain.records import (
    INGEST_QUARANTINE,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    LabelledLease,
    QuarantinedFile,
    SyntheticLease,
    Table,
)
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed, WarehouseError
from finreg_cli.lakehouse.base import Where
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.ingest_labelled import ingest_labelled, labelled_leases

LEASES = labelled(12)
BOTH = (LEASE_DOCS_TRAIN, LEASE_DOCS_HOLDOUT)


def words(text: str) -> list[tuple[int, int]]:
    """Offsets of a tokenizer whose tokens are words, as far as their number goes."""
    return [(nth, nth) for nth, _ in enumerate(text.split())]


class Killed(Exception):
    """What ends the process in the test of a stopped run."""


class StoppingLakehouse(EmbeddedLakehouse):
    """A lakehouse whose process dies before its ``stop_before``-th commit, counted from 0."""

    stop_before = 1_000
    commits = 0

    def overwrite(self, table: Table[Any], batches: Iterable[pa.RecordBatch], where: Where | None = None) -> int:
        if self.commits == self.stop_before:
            raise Killed
        self.commits += 1
        return super().overwrite(table, batches, where)


class Project:
    """A file of labelled leases with a warehouse; `ingest` is one run of the stage."""

    def __init__(self, root: Path) -> None:
        self.source = root / "leases.jsonl"
        self.warehouse = root / "lakehouse"
        self.lakehouse = EmbeddedLakehouse(self.warehouse, "main", "leases")
        self.runs = 0

    def put(self, *leases: LabelledLease, sides: dict[str, str] | None = None, extra: Iterable[str] = ()) -> None:
        rows = [
            {
                "lease_id": lease.lease_id,
                "lease_doc": lease.lease_doc,
                "labels": json.loads(lease.labels),
                "split": (sides or {}).get(lease.lease_id),
            }
            for lease in leases
        ]
        self.source.write_text("\n".join([*map(json.dumps, rows), *extra]))

    def ingest(
        self, path: str | None = None, *, dry_run: bool = False, seed: int = 7, lakehouse: Any = None, **settings: Any
    ) -> StageResult:
        self.runs += 1
        config = Config.model_validate(
            {
                "task": "structured_extraction",
                "schema": "leases",
                "generate": {"method": "rules", "seed": seed},
                "engine": {"warehouse": self.warehouse},
                "source": {"path": path or str(self.source)},
                "ingest": settings,
            }
        )
        run = Run(f"run{self.runs}", config, Silent(), dry_run)
        return ingest_labelled(run, lakehouse or self.lakehouse, FileSource(LEASE, workers=1), LEASE, words)

    def rows(self, table: Table[Any]) -> dict[str, Any]:
        return {row.lease_id: row for row in table.records(self.lakehouse.read(table))}

    def ids(self) -> tuple[set[str], set[str]]:
        return set(self.rows(LEASE_DOCS_TRAIN)), set(self.rows(LEASE_DOCS_HOLDOUT))

    def versions(self) -> list[int | None]:
        return [self.lakehouse.version(table) for table in (*BOTH, LEASE_DOCS_TRAIN_SYNTH, INGEST_QUARANTINE)]

    def quarantine(self) -> dict[str, QuarantinedFile]:
        return {row.path: row for row in INGEST_QUARANTINE.records(self.lakehouse.read(INGEST_QUARANTINE))}

    def give_children(self, *parents: LabelledLease) -> None:
        rows = [
            SyntheticLease(
                lease_id=f"child of {parent.lease_id}",
                parent_lease_id=parent.lease_id,
                round=1,
                lease_doc=child.lease_doc,
                labels=child.labels,
                outputs_may_train=True,
            )
            for parent, child in zip(parents, labelled(len(parents), seed=99), strict=True)
        ]
        self.lakehouse.overwrite(LEASE_DOCS_TRAIN_SYNTH, LEASE_DOCS_TRAIN_SYNTH.batches(rows))

    def parents(self) -> set[str]:
        return {row.parent_lease_id for row in self.rows(LEASE_DOCS_TRAIN_SYNTH).values()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def by_side(train: Iterable[LabelledLease], holdout: Iterable[LabelledLease]) -> dict[str, str]:
    return {**{each.lease_id: "train" for each in train}, **{each.lease_id: "holdout" for each in holdout}}


def test_every_lease_is_on_one_side_and_a_second_run_changes_nothing(project: Project) -> None:
    project.put(*LEASES)
    first = project.ingest()
    train, holdout = project.ids()
    assert train
    assert holdout
    assert not train & holdout
    assert {**project.rows(LEASE_DOCS_TRAIN), **project.rows(LEASE_DOCS_HOLDOUT)} == {
        lease.lease_id: lease for lease in LEASES
    }
    assert first.counts["documents"] == 12
    assert (first.counts["train"], first.counts["holdout"]) == (len(train), len(holdout))
    assert first.counts["tokens"]["longest"] == max(len(lease.lease_doc.split()) for lease in LEASES)
    nulls = sum(json.loads(lease.labels)["extension_period"] is None for lease in LEASES)
    assert first.counts["nulls"]["extension_period"] == nulls
    assert first.tables["lease_docs_train"].rows == len(train)

    versions = project.versions()
    second = project.ingest()
    assert second.counts == first.counts
    assert project.versions() == versions


def test_a_lease_stays_on_its_side_whatever_else_comes(project: Project) -> None:
    project.put(*LEASES[:6])
    project.ingest()
    train, holdout = project.ids()
    project.put(*reversed(labelled(40)))
    result = project.ingest()
    assert result.counts["changed_sides"] == 0
    assert train <= project.ids()[0]
    assert holdout <= project.ids()[1]


def test_the_sources_own_side_beats_the_hash(project: Project) -> None:
    sides = by_side(LEASES[:10], LEASES[10:])
    project.put(*LEASES, sides=sides)
    project.ingest()
    train, holdout = project.ids()
    assert train == {lease.lease_id for lease in LEASES[:10]}
    assert holdout == {lease.lease_id for lease in LEASES[10:]}


def test_a_dry_run_counts_and_writes_nothing(project: Project) -> None:
    project.put(*LEASES, extra=["{"])
    planned = project.ingest(dry_run=True)
    assert not project.warehouse.exists()
    done = project.ingest()
    assert planned.counts == done.counts
    assert done.counts["quarantined"] == 1


def test_what_cannot_be_used_stands_in_quarantine_until_it_is_mended(project: Project) -> None:
    lacking = json.dumps({"lease_id": "lacking", "lease_doc": "A lease.", "labels": {"lessee": "", "rent": 5}})
    project.put(*LEASES, extra=["{", lacking])
    other = QuarantinedFile(
        run_id="r", path="crr.pdf", file_sha256="0", error_class="no_text", message="m", engine="pdfium"
    )
    project.lakehouse.append(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([other]))
    result = project.ingest()
    assert result.counts["quarantined"] == 2
    found = project.quarantine()
    assert set(found) == {"crr.pdf", "leases.jsonl:13", "leases.jsonl:14"}
    assert found["leases.jsonl:14"].error_class == "labels"
    assert "the key 'lessor' is missing" in found["leases.jsonl:14"].message
    assert "the key 'rent' is not in the schema" in found["leases.jsonl:14"].message
    assert any(warning.startswith("leases.jsonl:14: not used (labels)") for warning in result.warnings)

    versions = project.versions()
    project.ingest()
    assert project.versions() == versions
    assert project.quarantine()["leases.jsonl:13"].run_id == "run1"
    project.put(*LEASES)
    assert project.ingest().counts["quarantined"] == 0
    assert set(project.quarantine()) == {"crr.pdf"}


def test_many_warnings_are_summed_up(project: Project) -> None:
    project.put(*LEASES, extra=["{"] * 9)
    warnings = project.ingest().warnings
    assert len(warnings) == 6
    assert warnings[-1] == "4 more are not used: finreg show ingest_quarantine"


def test_on_bad_file_fail_keeps_the_others_and_fails(project: Project) -> None:
    project.put(*LEASES, extra=["{"])
    with pytest.raises(StageFailed, match=r"1 labelled documents cannot be used .* leases.jsonl:13") as caught:
        project.ingest(on_bad_file="fail")
    assert "on_bad_file=quarantine" in caught.value.remedy
    assert sum(map(len, project.ids())) == 12
    assert set(project.quarantine()) == {"leases.jsonl:13"}


def test_each_text_and_each_id_is_taken_once(project: Project) -> None:
    first = LEASES[0]
    respaced = replace(first, lease_id="again", lease_doc=first.lease_doc.replace(" ", "\n"))
    relabelled = replace(respaced, lease_id="other", labels=LEASES[1].labels)
    impostor = replace(LEASES[2], lease_id=first.lease_id)
    project.put(first, respaced, relabelled, impostor, LEASES[3])
    result = project.ingest(on_bad_file="quarantine")
    assert set.union(*project.ids()) == {first.lease_id, LEASES[3].lease_id}
    assert (result.counts["duplicates"], result.counts["quarantined"]) == (1, 2)
    found = {path: (row.error_class, row.message) for path, row in project.quarantine().items()}
    assert found == {
        "leases.jsonl:2": ("duplicate", "has the same text and labels as leases.jsonl:1"),
        "leases.jsonl:3": ("labels", "has the text of leases.jsonl:1, but other labels"),
        "leases.jsonl:4": ("labels", f"has the lease_id '{first.lease_id}' of leases.jsonl:1, but another text"),
    }
    project.put(first, respaced, LEASES[3])
    project.ingest(on_bad_file="fail")  # a repeated document is no bad one


def test_a_training_document_near_a_hold_out_one_is_refused(project: Project) -> None:
    held = LEASES[0]
    labels = json.loads(held.labels)
    draft_labels = {**labels, "lessee": "Quentin Marsh", "start_date": "May 2, 2031"}
    text = held.lease_doc.replace(labels["lessee"], "Quentin Marsh").replace(labels["start_date"], "May 2, 2031")
    draft = LabelledLease(lease_id="draft", lease_doc=text, labels=json.dumps(draft_labels))
    same_form = LEASES[3]  # the templates come in turn
    project.put(held, draft, same_form, sides=by_side([draft, same_form], [held]))
    result = project.ingest(on_bad_file="fail")
    assert project.ids() == ({same_form.lease_id}, {held.lease_id})
    assert result.counts["near_holdout"] == 1
    refused = project.quarantine()["leases.jsonl:2"]
    assert refused.error_class == "near_holdout"
    assert refused.message == f"nearly equals the hold-out document '{held.lease_id}' (leases.jsonl:1)"


def test_limit_and_length_leave_out_and_count(project: Project) -> None:
    long = replace(LEASES[0], lease_id="long", lease_doc=LEASES[0].lease_doc + " boilerplate" * 500)
    project.put(*LEASES[1:], long, sides=by_side([*LEASES[1:7], long], LEASES[7:]))
    result = project.ingest(limit=2, max_document_tokens=300)
    train, holdout = project.ids()
    assert (len(train), len(holdout)) == (2, 2)
    assert result.counts["left_out_too_long"] == 1
    assert result.counts["left_out_over_limit"] == 4 + 3
    project.put(*reversed(LEASES[1:]), long, sides=by_side([*LEASES[1:7], long], LEASES[7:]))
    project.ingest(limit=2, max_document_tokens=300)
    assert project.ids() == (train, holdout)
    project.ingest(limit=3, max_document_tokens=300)
    assert train < project.ids()[0]


def test_a_value_that_does_not_stand_in_its_document_is_kept_and_named(project: Project) -> None:
    labels = {**json.loads(LEASES[0].labels), "lessee": "the bakery's owner"}
    project.put(replace(LEASES[0], labels=json.dumps(labels)), *LEASES[1:])
    result = project.ingest()
    assert result.counts["values_not_in_document"] == 1
    assert result.counts["quarantined"] == 0
    assert "1 labelled values do not stand in their document word by word (leases.jsonl:1: lessee)" in result.warnings


def test_children_go_with_a_parent_that_changed_or_left_the_training_side(project: Project) -> None:
    stays, changes, leaves, moves = LEASES[:4]
    held = LEASES[4:8]
    sides = by_side(LEASES[:4], held)
    project.put(*LEASES[:8], sides=sides)
    project.ingest()
    project.give_children(stays, changes, leaves, moves)
    assert project.ingest().counts["synthetic_retired"] == 0
    changed = replace(changes, lease_doc=changes.lease_doc + " Signed twice.")
    project.put(stays, changed, moves, *held, sides={**sides, moves.lease_id: "holdout"})
    assert project.ingest(dry_run=True).counts["synthetic_retired"] == 3
    assert len(project.parents()) == 4
    result = project.ingest()
    assert result.counts["synthetic_retired"] == 3
    assert project.parents() == {stays.lease_id}
    assert result.tables["lease_docs_train_synth"].rows == 1
    assert result.counts["changed_sides"] == 1


def test_children_near_a_new_hold_out_document_go(project: Project) -> None:
    project.put(*LEASES[:8], sides=by_side(LEASES[:4], LEASES[4:8]))
    project.ingest()
    project.give_children(*LEASES[:4])
    twin = replace(labelled(1, seed=99)[0], lease_id="twin")
    project.put(*LEASES[:8], twin, sides={**by_side(LEASES[:4], LEASES[4:8]), "twin": "holdout"})
    result = project.ingest()
    assert result.counts["synthetic_retired"] == 1
    assert project.parents() == {lease.lease_id for lease in LEASES[1:4]}


@pytest.mark.parametrize("stop_before", range(5))
def test_a_stopped_run_leaves_no_lease_on_both_sides_and_the_next_one_finishes(
    project: Project, stop_before: int
) -> None:
    swap = {"train": "holdout", "holdout": "train"}
    sides = by_side(LEASES[:8], LEASES[8:])
    project.put(*LEASES, sides=sides)
    project.ingest()
    project.give_children(*LEASES[:8])
    # All but one on either side change places.
    swapped = {name: side if name == LEASES[0].lease_id else swap[side] for name, side in sides.items()}
    project.put(*LEASES, sides=swapped)
    stopping = StoppingLakehouse(project.warehouse, "main", "leases")
    stopping.stop_before = stop_before
    if stop_before < 4:  # children, training table, hold-out, training table
        with pytest.raises(Killed):
            project.ingest(lakehouse=stopping)
    else:
        project.ingest(lakehouse=stopping)
        assert stopping.commits == 4
    train, holdout = project.ids()
    assert not train & holdout
    assert not project.parents() & holdout
    project.ingest()
    expected = {name for name, side in swapped.items() if side == "train"}
    assert project.ids() == (expected, swapped.keys() - expected)
    assert project.parents() == {LEASES[0].lease_id}


def test_another_seed_moves_leases_and_says_so(project: Project) -> None:
    project.put(*labelled(40))
    project.ingest()
    before = project.ids()
    result = project.ingest(seed=8)
    after = project.ids()
    assert result.counts["changed_sides"] == len(before[0] & after[1]) + len(before[1] & after[0]) > 0
    assert any("changed sides" in warning for warning in result.warnings)


def test_an_empty_side_is_a_warning_and_no_document_at_all_an_error(project: Project) -> None:
    project.put(*LEASES, sides=by_side(LEASES, ()))
    result = project.ingest()
    assert any(warning.startswith("lease_docs_holdout is empty") for warning in result.warnings)
    assert result.tables["lease_docs_holdout"].rows == 0
    project.put(extra=["{"])
    with pytest.raises(NothingToDo, match=r"none of its 1 documents can be used\. leases.jsonl:1: not used \(parse\)"):
        project.ingest()
    assert len(project.ids()[0]) == 12  # a source that has gone bad does not empty the tables
    assert set(project.quarantine()) == {"leases.jsonl:1"}


def test_a_table_is_a_source(project: Project) -> None:
    mine = Table("my-leases", LabelledLease)
    rows = [*LEASES, replace(LEASES[0], lease_id="x", labels="[]"), replace(LEASES[0], lease_id="y", lease_doc=" ")]
    project.lakehouse.append(mine, mine.batches(rows))
    result = project.ingest("table:my-leases")
    assert sum(map(len, project.ids())) == 12
    assert result.counts["quarantined"] == 2
    assert {path: row.error_class for path, row in project.quarantine().items()} == {
        "my-leases:x": "labels",
        "my-leases:y": "empty",
    }


def test_tables_that_are_no_source_are_refused_with_the_reason(project: Project) -> None:
    with pytest.raises(ConfigError, match="finreg itself writes the table lease_docs_train"):
        project.ingest("table:lease_docs_train")
    with pytest.raises(ConfigError, match=r"'\.\./mine' is no table's name"):
        project.ingest("table:../mine")
    with pytest.raises(NothingToDo, match=r"table:mine: there is no table at .*mine"):
        project.ingest("table:mine")
    deltalake.write_deltalake(
        project.lakehouse.location(Table("mine", LabelledLease)), pa.table({"lease_id": ["a"], "contract": ["b"]})
    )
    with pytest.raises(WarehouseError, match="has no column lease_doc, labels") as caught:
        project.ingest("table:mine")
    assert "lease_id, lease_doc and labels" in caught.value.remedy


def test_a_further_test_set_is_checked_alike(project: Project) -> None:
    project.put(*LEASES[:3], LEASES[0], extra=["{"])
    found = labelled_leases(FileSource(LEASE), str(project.source), None, LEASE)
    assert found.leases == LEASES[:3]
    assert [each.error_class for each in found.unusable] == ["duplicate", "parse"]

"""The ingest stage on real files, real worker processes and a real Delta table."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import pdf_files
from finreg_cli.config import Config
from finreg_cli.documents.base import ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.pool import SupervisedReader
from finreg_cli.domain.progress import Advance
from finreg_cli.domain.records import INGEST_QUARANTINE, QA_DATASET, SPLITTED_DOCUMENTS, Chunk, QuarantinedFile
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages import ingest_memory
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.generate import generate
from finreg_cli.stages.ingest import ingest
from finreg_cli.stages.ingest_plan import find_files
from finreg_cli.stages.status import survey

ACT = pdf_files.act(4)
AMENDED = pdf_files.act(4, word="liquidity")
LATER = pdf_files.pages([[(pdf_files.BOLD, "REGULATION (EU) No 9/2099 OF THE COUNCIL of 4 April 2099")]])
OTHER = pdf_files.act(3, title="REGULATION (EU) No 8/2099")


class Recorder:
    """A `Progress` that counts the steps."""

    def __init__(self) -> None:
        self.steps = 0

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        def advance(steps: int) -> None:
            self.steps += steps

        yield advance

    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


class Project:
    """A source folder with a warehouse; `ingest` is one run of the stage, which notes the files it opened."""

    def __init__(self, root: Path, tokenizer: Path) -> None:
        self.source = root / "source"
        self.source.mkdir()
        self.warehouse = root / "lakehouse"
        self.tokenizer = tokenizer
        self.lakehouse = EmbeddedLakehouse(self.warehouse, "main", "euroreg")
        self.opened: list[str] = []
        self.runs = 0

    def put(self, **files: bytes) -> None:
        pdf_files.write(self.source, **files)

    def config(self, source: Path | str | None = None, **ingest_settings: Any) -> Config:
        return Config.model_validate(
            {
                "generate": {"method": "rules"},
                "engine": {"warehouse": self.warehouse},
                "source": {"path": str(source or self.source)},
                "ingest": {"tokenizer": str(self.tokenizer), "chunk_tokens": 500, **ingest_settings},
            }
        )

    def ingest(self, source: Path | str | None = None, *, dry_run: bool = False, **settings: Any) -> StageResult:
        self.runs += 1
        self.opened = []
        run = Run(f"run{self.runs}", self.config(source, **settings), Recorder(), dry_run)
        return ingest(run, self.lakehouse, self)

    def read(self, files: Sequence[SourceFile]) -> Iterator[ReadFile | UnreadableFile]:
        self.opened = sorted(file.path for file in files)
        yield from SupervisedReader(self.tokenizer, 500, 50, workers=1).read(files)

    def chunks(self) -> list[Chunk]:
        return list(SPLITTED_DOCUMENTS.records(self.lakehouse.read(SPLITTED_DOCUMENTS)))

    def text(self, path: str) -> str:
        return "\n".join(chunk.text for chunk in self.chunks() if chunk.path == path)

    def paths(self) -> set[str]:
        return {chunk.path for chunk in self.chunks()}

    def quarantine(self) -> dict[str, QuarantinedFile]:
        rows = INGEST_QUARANTINE.records(self.lakehouse.read(INGEST_QUARANTINE))
        return {row.path: row for row in rows}

    def keys_are_unique(self) -> bool:
        keys = [(chunk.document_id, chunk.chunk_id) for chunk in self.chunks()]
        return len(keys) == len(set(keys))


@pytest.fixture
def project(tmp_path: Path, tokenizer_file: Path) -> Project:
    return Project(tmp_path, tokenizer_file)


def test_a_first_run_reads_everything_and_a_second_nothing(project: Project) -> None:
    project.put(act=ACT, other=OTHER, broken=b"<html>")
    first = project.ingest()
    assert first.counts == {
        "files": 3,
        "read": 2,
        "unchanged": 0,
        "duplicates": 0,
        "refused": 0,
        "pruned": 0,
        "quarantined": 1,
        "superseded": 0,
        "pages": 2,
        "chunks": len(project.chunks()),
        "articles": 7,
    }
    assert first.tables["splitted_documents"].rows == first.counts["chunks"]
    assert project.quarantine()["broken.pdf"].error_class == "not_pdf"
    assert [warning for warning in first.warnings if warning.startswith("broken.pdf: not read (not_pdf)")]

    versions = project.lakehouse.version(SPLITTED_DOCUMENTS)
    second = project.ingest()
    assert project.opened == []
    assert (second.counts["read"], second.counts["unchanged"], second.counts["quarantined"]) == (0, 3, 1)
    assert second.warnings == first.warnings  # what is wrong stays visible
    assert project.lakehouse.version(SPLITTED_DOCUMENTS) == versions


def test_only_the_changed_file_is_read_again_and_its_chunks_are_replaced(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    before = {chunk.chunk_id for chunk in project.chunks() if chunk.path == "other.pdf"}
    project.put(act=AMENDED)
    project.ingest()
    assert project.opened == ["act.pdf"]
    assert "liquidity" in project.text("act.pdf")
    assert "capital" not in project.text("act.pdf")
    assert {chunk.chunk_id for chunk in project.chunks() if chunk.path == "other.pdf"} == before


def test_other_settings_read_every_file_again(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    for settings in ({"chunk_tokens": 100}, {"chunk_overlap": 0}, {"pdf_engine": "pypdf"}):
        project.ingest(**settings)
        assert project.opened == ["act.pdf", "other.pdf"]
    assert project.keys_are_unique()


def test_without_its_memory_or_its_table_everything_is_read_again(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    (memory,) = (project.warehouse / "_finreg").glob("ingest-*.json")
    memory.write_text("{ not json")
    project.ingest()
    assert project.opened == ["act.pdf"]
    project.lakehouse.overwrite(SPLITTED_DOCUMENTS, [])
    project.ingest()
    assert project.opened == ["act.pdf"]
    assert project.paths() == {"act.pdf"}


def test_a_file_that_reads_again_leaves_the_quarantine(project: Project) -> None:
    project.put(act=ACT, other=b"")
    assert project.ingest().counts["quarantined"] == 1
    project.put(other=OTHER)
    assert project.ingest().counts["quarantined"] == 0
    assert project.quarantine() == {}
    assert project.paths() == {"act.pdf", "other.pdf"}


def test_the_chunks_of_a_file_that_became_unreadable_stay_with_a_warning(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    kept = [chunk for chunk in project.chunks() if chunk.path == "act.pdf"]
    project.put(act=ACT[: len(ACT) // 2])
    result = project.ingest()
    assert [chunk for chunk in project.chunks() if chunk.path == "act.pdf"] == kept
    assert project.quarantine()["act.pdf"].error_class == "truncated"
    assert result.warnings[-1].endswith(f"its {len(kept)} chunks from before stay")


def test_on_bad_file_fail_names_the_file_and_keeps_what_was_read(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    project.put(bad=b"<html>")
    with pytest.raises(StageFailed, match=r"bad\.pdf cannot be read \(not_pdf\)") as caught:
        project.ingest(on_bad_file="fail")
    assert "on_bad_file=quarantine" in caught.value.remedy
    assert project.paths() == {"act.pdf"}
    assert set(project.quarantine()) == {"bad.pdf"}


def test_prune_drops_what_is_gone_from_the_source_and_without_it_all_stays(project: Project) -> None:
    project.put(act=ACT, other=OTHER, bad=b"")
    project.ingest()
    (project.source / "other.pdf").unlink()
    (project.source / "bad.pdf").unlink()
    result = project.ingest()
    assert project.paths() == {"act.pdf", "other.pdf"}
    assert "2 files are gone" in result.findings[0]
    assert project.ingest(prune=True).counts["pruned"] == 2
    assert project.paths() == {"act.pdf"}
    assert project.quarantine() == {}


def test_the_same_bytes_under_two_names_are_one_document(project: Project) -> None:
    project.put(act=ACT, copy=ACT)
    for _ in range(2):
        result = project.ingest()
        assert result.counts["duplicates"] == 1
        assert "copy.pdf: the same bytes as act.pdf, left out" in result.warnings
        assert project.paths() == {"act.pdf"}
        assert project.keys_are_unique()
    project.put(aaa=ACT)  # a later copy does not push out what the table holds
    project.ingest()
    assert project.opened == []
    assert project.paths() == {"act.pdf"}


def test_a_changed_file_leaves_nothing_of_its_old_text_when_it_equals_another(project: Project) -> None:
    project.put(first=ACT, second=OTHER)
    project.ingest()
    changed = pdf_files.act(word="collateral")
    project.put(a_new_copy=changed, first=changed, second=changed)
    result = project.ingest()
    assert project.opened == ["first.pdf"]  # the one that the table knew goes before the new copy
    assert project.paths() == {"first.pdf"}
    assert "collateral" in project.text("first.pdf")
    assert result.counts["duplicates"] == 2


def test_a_folder_that_cannot_be_looked_into_is_told_and_nothing_of_it_is_gone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.put(act=ACT)
    (project.source / "locked").mkdir()
    pdf_files.write(project.source / "locked", other=OTHER)
    project.ingest()
    (project.source / "act.pdf").unlink()
    project.put(third=pdf_files.act(word="collateral"))
    listed = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("locked"):  # whoever runs the tests as root may look into every folder
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", denied)
    result = project.ingest(prune=True)
    assert project.paths() == {"third.pdf", "locked/other.pdf"}
    assert result.counts["pruned"] == 1
    assert "locked: cannot be looked into (Permission denied); what the tables hold of it stays" in result.warnings


def test_two_prints_of_one_version_are_one_document(project: Project) -> None:
    """Other bytes, but the same work and version: the first by path is kept, in whatever order they are read."""
    project.put(first=ACT, second=AMENDED)
    result = project.ingest()
    assert project.paths() == {"first.pdf"}
    assert project.keys_are_unique()
    assert "second.pdf: the same work and version as first.pdf, left out" in result.warnings
    assert (result.counts["read"], result.counts["duplicates"]) == (1, 1)
    assert project.ingest().counts["duplicates"] == 1
    assert project.opened == []
    (project.source / "first.pdf").unlink()
    project.ingest()
    assert project.paths() == {"second.pdf"}


def test_a_print_that_gives_way_after_its_commit_is_not_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finreg_cli.stages.ingest._BUFFERED_CHUNKS", 1)
    longer = ACT + b"% another print of the same text\n%%EOF\n"  # the larger file is read, and here committed, first
    project.put(first=ACT, second=longer)
    result = project.ingest()
    assert project.paths() == {"first.pdf"}
    assert result.counts["chunks"] == len(project.chunks())


def test_a_renamed_file_moves_its_chunks(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    (project.source / "act.pdf").rename(project.source / "renamed.pdf")
    project.ingest()
    assert project.paths() == {"renamed.pdf"}
    assert project.keys_are_unique()


def test_two_versions_of_one_work_are_both_kept(project: Project) -> None:
    project.put(v1=ACT, v2=LATER)
    project.ingest()
    documents = {(chunk.path, chunk.work_id, chunk.version_date) for chunk in project.chunks()}
    assert documents == {("v1.pdf", "32099R0009", "2099-03-03"), ("v2.pdf", "32099R0009", "2099-04-04")}


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    result = project.ingest(dry_run=True)
    assert result.counts["read"] == 2
    assert result.findings == ["would read act.pdf (new)", "would read other.pdf (new)"]
    assert project.opened == []
    assert not project.warehouse.exists()


def test_no_source_and_no_chunk_say_so_with_the_next_step(project: Project) -> None:
    with pytest.raises(NothingToDo, match="holds no document") as caught:
        project.ingest()
    assert "--set source.path" in caught.value.remedy
    with pytest.raises(NothingToDo, match="no such file or folder"):
        project.ingest(project.source / "elsewhere")
    project.put(bad=b"")
    with pytest.raises(NothingToDo, match=r"none of its 1 files could be read.*empty"):
        project.ingest()
    assert set(project.quarantine()) == {"bad.pdf"}


def test_sources_are_a_file_a_folder_with_all_below_or_a_glob(project: Project) -> None:
    project.put(a=ACT, b=ACT)
    pdf_files.write(project.source / "deep/er", c=ACT)
    (project.source / "D.PDF").write_bytes(ACT)
    (project.source / "notes.doc").write_text("of no kind that is read")

    def found(pattern: Path) -> list[str]:
        return [file.path for file in find_files(str(pattern)).files]

    assert found(project.source) == ["D.PDF", "a.pdf", "b.pdf", "deep/er/c.pdf"]
    assert found(project.source / "a.pdf") == ["a.pdf"]
    assert found(project.source / "[ab].pdf") == ["a.pdf", "b.pdf"]
    assert found(project.source / "**/c.pdf") == ["deep/er/c.pdf"]
    assert found(project.source / "*/er/*.pdf") == ["deep/er/c.pdf"]


def test_links_that_lead_out_of_the_source_are_refused(project: Project, tmp_path: Path) -> None:
    outside = pdf_files.write(tmp_path / "outside", secret=OTHER)["secret"]
    project.put(act=ACT)
    (project.source / "out.pdf").symlink_to(outside)
    (project.source / "folder").symlink_to(outside.parent)
    (project.source / "within.pdf").symlink_to(project.source / "act.pdf")
    result = project.ingest()
    assert project.paths() == {"act.pdf"}
    assert result.counts["refused"] == 2
    assert "out.pdf: a link that leads out of the source or nowhere, not followed" in result.warnings
    assert [file.path for file in find_files(str(project.source / "**/*.pdf")).files] == ["act.pdf", "within.pdf"]


def test_what_was_read_before_a_stop_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put(act=ACT, other=OTHER)
    read: Callable[..., Iterator[ReadFile | UnreadableFile]] = project.read

    def stopped_after_one(files: Sequence[SourceFile]) -> Iterator[ReadFile | UnreadableFile]:
        yield next(read(files))
        raise KeyboardInterrupt

    monkeypatch.setattr(project, "read", stopped_after_one)
    with pytest.raises(KeyboardInterrupt):
        project.ingest()
    (kept,) = project.paths()
    monkeypatch.setattr(project, "read", read)
    project.ingest()
    assert project.opened == sorted({"act.pdf", "other.pdf"} - {kept})
    assert project.paths() == {"act.pdf", "other.pdf"}


def test_a_rerun_says_which_settings_made_it_read_the_files_again(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    result = project.ingest(chunk_tokens=100, chunk_overlap=0)
    reason = "ingest.chunk_tokens 500 -> 100, ingest.chunk_overlap 50 -> 0"
    assert result.findings == [f"2 read again ({reason}): act.pdf, other.pdf"]
    project.put(act=AMENDED)
    assert project.ingest(chunk_tokens=100, chunk_overlap=0).findings == ["1 read again (changed): act.pdf"]


def test_chunks_of_older_rules_are_replaced(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    rules = ingest_memory.RULES_VERSION
    monkeypatch.setattr(ingest_memory, "RULES_VERSION", rules + 1)
    result = project.ingest()
    assert project.opened == ["act.pdf", "other.pdf"]
    assert result.findings == [f"2 read again (the rules of extraction {rules} -> {rules + 1}): act.pdf, other.pdf"]
    assert project.keys_are_unique()
    assert len(project.lakehouse.history(SPLITTED_DOCUMENTS)) == 2  # both files in one commit
    project.ingest()
    assert project.opened == []


def test_an_unchanged_file_is_known_by_its_size_and_times_once_its_clock_has_moved_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was just written is hashed again, for the next change may fall into the same tick of the clock."""

    def digest() -> str | None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ingest_memory, "sha256", lambda path: "hashed")
            return ingest_memory.Memory(project.config()).digest(SourceFile("act.pdf", project.source / "act.pdf"))

    project.put(act=ACT)
    project.ingest()
    assert digest() == "hashed"
    later = time.time_ns() + 10 * ingest_memory.RACY_NANOSECONDS
    monkeypatch.setattr(time, "time_ns", lambda: later)
    project.ingest()
    assert project.opened == []
    assert digest() == hashlib.sha256(ACT).hexdigest()
    project.put(act=AMENDED)
    assert digest() == "hashed"


def test_a_table_that_others_wrote_to_is_read_and_not_remembered(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    project.lakehouse.overwrite(SPLITTED_DOCUMENTS, [], where={"path": "other.pdf"})
    project.ingest()
    assert project.opened == ["other.pdf"]
    assert project.paths() == {"act.pdf", "other.pdf"}


def test_what_is_gone_is_named(project: Project) -> None:
    project.put(act=ACT, other=OTHER)
    project.ingest()
    (project.source / "other.pdf").unlink()
    (finding,) = project.ingest().findings
    assert finding == "1 file is gone from the source: other.pdf; their chunks stay until ingest.prune: true drops them"
    assert project.ingest(prune=True).findings[0].endswith("other.pdf; their chunks are dropped (ingest.prune)")


def test_the_older_version_is_named_as_superseded(project: Project) -> None:
    project.put(v1=ACT, v2=LATER)
    result = project.ingest()
    assert result.counts["superseded"] == 1
    assert result.findings == [
        "v1.pdf (2099-03-03) is superseded by v2.pdf (2099-04-04), a newer version of 32099R0009"
    ]
    assert result.warnings == []
    assert project.ingest().findings == result.findings


def test_two_undated_files_of_one_name_are_warned_of(project: Project) -> None:
    report = pdf_files.pages([[(pdf_files.BOLD, "Report on capital"), (pdf_files.BODY, "It holds a few words.")]])
    pdf_files.write(project.source / "2098", report=report)
    pdf_files.write(project.source / "2099", report=report.replace(b"words", b"lines"))
    (warning,) = project.ingest().warnings
    assert warning.startswith("2098/report.pdf and 2099/report.pdf count as versions of one work (report)")


def test_a_corrected_print_under_another_name_replaces_one_that_is_gone_in_one_commit(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    (project.source / "act.pdf").unlink()
    project.put(corrected=AMENDED)
    commits = len(project.lakehouse.history(SPLITTED_DOCUMENTS))
    project.ingest()
    assert project.paths() == {"corrected.pdf"}
    assert len(project.lakehouse.history(SPLITTED_DOCUMENTS)) == commits + 1


DYING = """
import os, signal, sys
from finreg_cli import cli
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

moment, config = sys.argv[1:]
write = EmbeddedLakehouse.overwrite

def dying(*arguments, **settings):
    if moment == "after":
        write(*arguments, **settings)
    os.kill(os.getpid(), signal.SIGKILL)

EmbeddedLakehouse.overwrite = dying
sys.argv[:] = ["finreg", "ingest", "-c", config]
cli.main()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_a_commit_each_file_is_as_it_was_or_as_it_is(
    project: Project, tmp_path: Path, moment: str
) -> None:
    """The process dies without a word (no `finally` runs), right before or after the chunk table's commit."""
    project.put(act=ACT, other=OTHER)
    project.ingest()
    old = {chunk.chunk_id for chunk in project.chunks()}
    project.put(act=AMENDED, third=pdf_files.act(5, title="REGULATION (EU) No 7/2099"))
    config = tmp_path / "finreg.yaml"
    config.write_text(project.config().model_dump_json(by_alias=True, exclude_unset=True))
    command = [sys.executable, "-c", DYING, moment, str(config)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == -signal.SIGKILL
    if moment == "before":
        assert {chunk.chunk_id for chunk in project.chunks()} == old
    else:
        assert project.paths() == {"act.pdf", "other.pdf", "third.pdf"}
        assert "liquidity" in project.text("act.pdf")
    project.ingest()
    assert "liquidity" in project.text("act.pdf")
    assert "capital" not in project.text("act.pdf")
    assert project.paths() == {"act.pdf", "other.pdf", "third.pdf"}
    assert project.keys_are_unique()
    project.ingest()
    assert project.opened == []


def test_status_names_every_file_that_ingest_would_touch(project: Project) -> None:
    project.put(v1=ACT, v2=LATER, other=OTHER)
    project.ingest()
    assert [each for each in survey(project.config(), project.lakehouse).stale if "ingest" in each] == []
    project.put(v2=LATER + b"\n%", third=pdf_files.act(5, title="REGULATION (EU) No 7/2099"))
    (project.source / "other.pdf").unlink()
    found = survey(project.config(), project.lakehouse)
    assert found.stale[:3] == [
        "1 file is to be read again (changed): v2.pdf: finreg ingest",
        "1 file is not read yet: third.pdf: finreg ingest",
        "1 file is gone from the source: other.pdf: finreg ingest --set ingest.prune=true",
    ]
    assert [(each.path, each.version_date, each.in_force) for each in found.versions] == [
        ("other.pdf", "2099-03-03", True),
        ("v1.pdf", "2099-03-03", False),
        ("v2.pdf", "2099-04-04", True),
    ]
    (again,) = [each for each in survey(project.config(chunk_tokens=110), project.lakehouse).stale if "v1.pdf" in each]
    assert again.startswith("1 file is to be read again (ingest.chunk_tokens 500 -> 110")


def test_status_counts_rows_that_are_retired_and_rows_that_are_to_be(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    run = Run("g", project.config(), Recorder())
    made = generate(run, project.lakehouse, None).counts["rows"]
    project.put(act=AMENDED)
    project.ingest()
    stale = survey(project.config(), project.lakehouse).stale
    assert any(
        "rows of qa_dataset stand on chunks that are gone or superseded: finreg generate" in each for each in stale
    )
    retired = generate(run, project.lakehouse, None).counts["retired"]
    assert 0 < retired <= made
    assert survey(project.config(), project.lakehouse).retired == retired
    project.put(act=ACT)
    project.ingest()
    stale = survey(project.config(), project.lakehouse).stale
    assert f"{retired} retired rows stand on chunks that are back: finreg generate" in stale


def test_an_amendment_that_is_taken_back_revives_its_rows_and_nothing_changes_in_between(project: Project) -> None:
    project.put(act=ACT)
    project.ingest()
    run = Run("g", project.config(), Recorder())
    generate(run, project.lakehouse, None)
    project.put(act=AMENDED)
    project.ingest()
    amended = generate(run, project.lakehouse, None).counts
    version = project.lakehouse.version(QA_DATASET)
    generate(run, project.lakehouse, None)
    assert project.lakehouse.version(QA_DATASET) == version
    project.put(act=ACT)
    project.ingest()
    back = generate(run, project.lakehouse, None).counts
    assert amended["retired"] > 0
    assert (back["revived"], back["retired"], back["kept"]) == (amended["retired"], amended["kept"], 0)


def test_a_limit_counts_what_stands_when_an_article_is_amended(project: Project) -> None:
    project.put(act=pdf_files.act(12))
    project.ingest()
    limited = project.config().model_copy(
        update={"generate": project.config().generate.model_copy(update={"limit": 6})}
    )
    run = Run("g", limited, Recorder())
    first = generate(run, project.lakehouse, None).counts
    assert 0 < first["rows"] <= 6
    project.put(act=pdf_files.act(13))
    project.ingest()
    second = generate(run, project.lakehouse, None).counts
    assert second["rows"] <= 6
    assert second["kept"] <= second["retired"]


def test_warnings_of_the_reader_are_shown_with_the_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Callable[..., Iterator[ReadFile | UnreadableFile]] = project.read

    def with_warning(files: Sequence[SourceFile]) -> Iterator[ReadFile | UnreadableFile]:
        for outcome in read(files):
            assert isinstance(outcome, ReadFile)
            yield replace(outcome, warnings=["page 3 holds no text"])

    monkeypatch.setattr(project, "read", with_warning)
    project.put(act=ACT)
    assert project.ingest().warnings == ["act.pdf: page 3 holds no text"]


def test_fewer_commits_than_new_files(project: Project) -> None:
    project.put(
        **{f"act{number}": pdf_files.act(3, title=f"REGULATION (EU) No {number}/2099") for number in range(1, 6)}
    )
    project.ingest()
    assert len(project.paths()) == 5
    assert project.lakehouse.version(SPLITTED_DOCUMENTS) == 0

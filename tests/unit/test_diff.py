"""The diff command's work: on real files, a real reader and real tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import pdf_files
from fakes.progress import Silent
from finreg_cli.config import Config
from finreg_cli.documents.pool import SupervisedReader
from finreg_cli.domain.records import QA_DATASET
from finreg_cli.errors import ConfigError, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.base import Run
from finreg_cli.stages.diff import Difference, difference
from finreg_cli.stages.generate import generate
from finreg_cli.stages.ingest import ingest

OLD = pdf_files.act(4)
HEAD = [
    (pdf_files.BOLD, "REGULATION (EU) No 9/2099 OF THE COUNCIL"),
    (pdf_files.BOLD, "of 4 April 2099"),
]


def rule(number: int, share: int) -> list[tuple[str, str]]:
    return [
        (pdf_files.ITALIC, f"Article {number}"),
        (pdf_files.BOLD, f"Rule {number}"),
        (
            pdf_files.BODY,
            f"1. Institutions shall at all times hold capital of {share or number} % of what they have lent.",
        ),
        (pdf_files.BODY, f"2. They shall report it by {number} March."),
    ]


AMENDED = pdf_files.pages([[*HEAD, *rule(1, 1), *rule(2, share=7), *rule(4, 4), *rule(5, 5)]])
"""Of the four articles of `pdf_files.act` one is changed, one is gone, and one is new; the recital is gone as well."""


class Project:
    def __init__(self, root: Path, tokenizer: Path) -> None:
        self.root = root
        self.config = Config.model_validate(
            {
                "generate": {"method": "rules", "validation_fraction": 0.3},
                "engine": {"warehouse": root / "lakehouse"},
                "source": {"path": str(root / "source")},
                "ingest": {"tokenizer": str(tokenizer), "chunk_tokens": 60, "chunk_overlap": 0},
            }
        )
        self.lakehouse = EmbeddedLakehouse(root / "lakehouse", "main", "euroreg")
        self.reader = SupervisedReader(tokenizer, 60, 0, workers=1)
        self.run = Run("run", self.config, Silent())
        pdf_files.write(root / "source", act=OLD, amended=AMENDED)

    def ingest(self) -> None:
        ingest(self.run, self.lakehouse, self.reader)

    def diff(self, old: str, new: str | None = None, with_rows: bool = False) -> Difference:
        return difference(self.lakehouse, self.reader, old, new, with_rows)


@pytest.fixture
def project(tmp_path: Path, tokenizer_file: Path) -> Project:
    return Project(tmp_path, tokenizer_file)


# The second change is the date in the title.
COUNTS = {"added": 1, "changed": 2, "removed": 2, "renumbered": 0}


def test_two_files_without_any_table(project: Project) -> None:
    source = project.root / "source"
    found = project.diff(str(source / "act.pdf"), str(source / "amended.pdf"))
    assert found.counts().items() >= COUNTS.items()
    lines = list(found.lines())
    assert any(line.startswith("changed    Article 2 Rule 2") for line in lines)
    assert any("hold capital of [-2-]{+7+} % of" in line for line in lines)
    as_json = json.loads(json.dumps(found.as_json()))
    assert as_json["old"]["version_date"] == "2099-03-03"
    assert {each["unit"]: each["change"] for each in as_json["articles"]}["Article 5"] == "added"
    (changed,) = [each for each in as_json["articles"] if each["unit"] == "Article 2"]
    assert {"op": "replace", "old": "2", "new": "7"} in changed["words"]


def test_versions_of_the_table_by_all_their_names(project: Project) -> None:
    project.ingest()
    expected = project.diff("32099R0009").as_json()["articles"]
    assert expected
    first, second = project.diff("32099R0009").old, project.diff("32099R0009").new
    assert (first.version_date, second.version_date) == ("2099-03-03", "2099-04-04")
    for old, new in (
        ("act.pdf", "amended.pdf"),
        (first.document_id, second.document_id[:8]),
        ("32099R0009@2099-03-03", "32099R0009"),
        ("Regulation (EU) No 9/2099@2099-03-03", "Regulation (EU) No 9/2099@2099-04-04"),
        (str(project.root / "source/act.pdf"), "32099R0009@2099-04-04"),
    ):
        assert project.diff(old, new).as_json()["articles"] == expected, (old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nowhere.pdf", "act.pdf", "'nowhere.pdf' is no file, and names no version"),
        ("32099R0009@2001-01-01", "act.pdf", "names no version"),
        ("32099R0009@2099-03-03", None, "names only one version in splitted_documents"),
        ("EMIR", None, "names no work"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    project: Project, old: str, new: str | None, message: str
) -> None:
    project.ingest()
    with pytest.raises(ConfigError, match=message) as caught:
        project.diff(old, new)
    assert "32099R0009@2099-04-04, amended.pdf" in caught.value.remedy


def test_a_file_that_cannot_be_read_says_why(project: Project) -> None:
    broken = project.root / "broken.pdf"
    broken.write_bytes(b"<html>")
    with pytest.raises(StageFailed, match=r"broken\.pdf cannot be read \(not_pdf\)"):
        project.diff(str(broken), str(broken))


def test_rows_that_hang_on_what_changed(project: Project) -> None:
    (project.root / "source/amended.pdf").rename(project.root / "amended.pdf")
    project.ingest()
    generate(project.run, project.lakehouse, None)
    found = project.diff("act.pdf", str(project.root / "amended.pdf"), with_rows=True)
    assert found.rows
    announced = {row.row_id for row in found.rows if row.becomes == "retired"}
    assert {"Article 2", "Article 3"} <= {row.unit for row in found.rows} <= {"Article 2", "Article 3", "Recital 1"}
    (project.root / "amended.pdf").rename(project.root / "source/amended.pdf")
    project.ingest()
    generate(project.run, project.lakehouse, None)
    retired = {
        row.row_id for row in QA_DATASET.records(project.lakehouse.read(QA_DATASET)) if row.retired_at is not None
    }
    assert retired == announced
    assert found.counts()["rows_retired"] == len(retired) > 0


def test_files_of_two_works_are_compared_with_a_warning(project: Project) -> None:
    other = pdf_files.write(project.root, other=pdf_files.act(4, title="REGULATION (EU) No 8/2099"))["other"]
    found = project.diff(str(project.root / "source/act.pdf"), str(other), with_rows=True)
    assert "not versions of one work" in found.warnings[0]
    assert found.counts()["unchanged"] >= 4
    assert replace(found, rows=None).counts().keys() == {*COUNTS, "unchanged"}

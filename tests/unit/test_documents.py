"""Reading documents in supervised processes: real PDFs, real broken files, processes that really die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from fakes import pdf_files
from finreg_cli.documents import layout
from finreg_cli.documents.base import ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.layout import LINE_HYPHEN, Hyphens, Line
from finreg_cli.documents.pool import SupervisedReader
from finreg_cli.errors import ModelMissing, StageFailed

on_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="lists child processes by Linux's /proc")

Read = Callable[..., dict[str, ReadFile | UnreadableFile]]


def sources(paths: Iterable[Path]) -> list[SourceFile]:
    return [SourceFile(path.name, path) for path in paths]


@pytest.fixture
def read(tmp_path: Path, tokenizer_file: Path) -> Read:
    """Writes files, reads them, and gives the outcome of each by its name."""

    def run(files: dict[str, bytes], pdf_engine: str = "auto", **limits: float) -> dict[str, ReadFile | UnreadableFile]:
        paths = pdf_files.write(tmp_path, **files)
        reader = SupervisedReader(tokenizer_file, 500, 50, pdf_engine, **{"workers": 2, **limits})  # type: ignore[arg-type]  # by name
        return {outcome.path.removesuffix(".pdf"): outcome for outcome in reader.read(sources(paths.values()))}

    return run


@pytest.mark.parametrize("engine", ["pdfium", "pypdf"])
def test_both_engines_read_an_act_with_its_structure(read: Read, engine: str) -> None:
    outcome = read({"act": pdf_files.act(6)}, engine)["act"]
    assert isinstance(outcome, ReadFile)
    assert outcome.pages == 2
    assert [chunk.citation for chunk in outcome.chunks] == [
        "Regulation (EU) No 9/2099 preamble",
        "Regulation (EU) No 9/2099 recital (1)",
        "Regulation (EU) No 9/2099 preamble",
        *(f"Regulation (EU) No 9/2099 Article {number}" for number in range(1, 7)),
    ]
    assert outcome.chunks[-1].text.splitlines() == [
        "Article 6",
        "Rule 6",
        "1. Institutions shall at all times hold capital of 6 % of what they have lent.",
        "2. They shall report it by 6 March.",
    ]
    assert (outcome.chunks[-1].work_id, outcome.chunks[-1].version_date) == ("32099R0009", "2099-03-03")
    assert outcome.chunks[-1].page_start == 2
    assert not any("Official Sample" in chunk.text for chunk in outcome.chunks)


def test_each_broken_file_has_its_class_and_the_good_one_is_read(read: Read) -> None:
    good = pdf_files.act()
    outcomes = read(
        {
            "good": good,
            "zero": b"",
            "html": b"<!DOCTYPE html><title>404</title>",
            "cut": good[: len(good) // 2],
            "locked": pdf_files.pages([[(pdf_files.BODY, "secret")]], password="let me in"),
            "scan": pdf_files.scanned(),
            "garbled": b"%PDF-1.7\n" + bytes(range(256)) * 8 + b"\n%%EOF\n",
        }
    )
    assert isinstance(outcomes.pop("good"), ReadFile)
    found = {name: outcome.error_class for name, outcome in outcomes.items() if isinstance(outcome, UnreadableFile)}
    assert found == {
        "zero": "empty",
        "html": "not_pdf",
        "cut": "truncated",
        "locked": "encrypted",
        "scan": "no_text",
        "garbled": "parse",
    }


def test_junk_before_the_header_is_read_by_the_second_engine(read: Read) -> None:
    outcome = read({"mailed": b"X-Mail: gateway\r\n" * 120 + pdf_files.act()})["mailed"]
    assert isinstance(outcome, ReadFile)
    only_pdfium = read({"mailed": b"X-Mail: gateway\r\n" * 120 + pdf_files.act()}, "pdfium")["mailed"]
    assert isinstance(only_pdfium, UnreadableFile)
    assert only_pdfium.engine == "pdfium"


def test_a_file_that_vanishes_or_may_not_be_opened_is_that_files_error(tmp_path: Path, tokenizer_file: Path) -> None:
    paths = pdf_files.write(tmp_path, good=pdf_files.act())
    reader = SupervisedReader(tokenizer_file, 64, 8)
    outcomes = {each.path: each for each in reader.read(sources([tmp_path / "gone.pdf", paths["good"]]))}
    gone = outcomes["gone.pdf"]
    assert isinstance(gone, UnreadableFile)
    assert "No such file" in gone.message
    assert isinstance(outcomes["good.pdf"], ReadFile)


def test_a_file_over_its_time_is_killed_and_the_reader_goes_on(read: Read) -> None:
    outcomes = read(
        {"slow": pdf_files.act(), "slower": pdf_files.act(60)}, workers=1, seconds=0.0, seconds_per_page=0.0
    )
    for outcome in outcomes.values():
        assert isinstance(outcome, UnreadableFile)
        assert outcome.error_class == "timeout"
        assert outcome.message.startswith("pdfium: took longer")  # and pypdf had its try
        assert "pypdf: took longer" in outcome.message


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@on_linux
def test_a_worker_that_dies_is_replaced_and_its_file_tried_again(tmp_path: Path, tokenizer_file: Path) -> None:
    before = children(os.getpid())
    paths = pdf_files.write(tmp_path, **{f"act{number}": pdf_files.act(40) for number in range(4)})
    outcomes = SupervisedReader(tokenizer_file, 64, 8, workers=1).read(sources(paths.values()))
    found = [next(outcomes)]
    # The worker has finished one file; it dies in, or before, its next one.
    for worker in children(os.getpid()) - before:
        os.kill(worker, signal.SIGKILL)
    found += list(outcomes)
    assert len(found) == 4
    assert all(isinstance(outcome, ReadFile) for outcome in found)
    assert children(os.getpid()) == before


@on_linux
def test_no_worker_outlives_an_abandoned_reading(tmp_path: Path, tokenizer_file: Path) -> None:
    before = children(os.getpid())
    paths = pdf_files.write(tmp_path, **{f"act{number}": pdf_files.act(40) for number in range(6)})
    outcomes = SupervisedReader(tokenizer_file, 64, 8, workers=2).read(sources(paths.values()))
    next(outcomes)
    assert len(children(os.getpid()) - before) == 2
    outcomes.close()  # type: ignore[attr-defined]  # the port promises an iterator; this one is a generator
    assert children(os.getpid()) == before


INTERRUPTED = """
import sys
from pathlib import Path
from finreg_cli.documents.base import SourceFile
from finreg_cli.documents.pool import SupervisedReader

files = [SourceFile(path.name, path) for path in Path(sys.argv[2]).glob("*.pdf")]
for outcome in SupervisedReader(Path(sys.argv[1]), 64, 8, workers=2).read(files):
    print(outcome.path, flush=True)
"""


@on_linux
def test_ctrl_c_leaves_no_orphan(tmp_path: Path, tokenizer_file: Path) -> None:
    pdf_files.write(tmp_path, **{f"act{number}": pdf_files.act(60) for number in range(30)})
    command = [sys.executable, "-c", INTERRUPTED, str(tokenizer_file), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = children(process.pid)
        assert len(workers) == 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not any(map(is_alive, workers))


@on_linux
def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, tokenizer_file: Path) -> None:
    pdf_files.write(tmp_path, **{f"act{number}": pdf_files.act(60) for number in range(30)})
    command = [sys.executable, "-c", INTERRUPTED, str(tokenizer_file), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


@pytest.mark.slow
def test_a_file_that_makes_pdfium_abort_ends_only_its_worker(read: Read) -> None:
    outcomes = read({"endless": pdf_files.endless_form(), "good": pdf_files.act()})
    assert isinstance(outcomes["good"], ReadFile)
    endless = outcomes["endless"]
    assert isinstance(endless, UnreadableFile)
    assert endless.error_class == "crash"
    assert "SIGABRT" in endless.message


def test_the_reader_needs_its_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        SupervisedReader(tmp_path / "none.json", 64, 8)
    assert "finreg models pull" in caught.value.remedy


def test_a_worker_that_cannot_start_is_an_error_of_the_stage(
    tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = pdf_files.write(tmp_path, good=pdf_files.act())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StageFailed, match="does not start"):
        list(SupervisedReader(tokenizer_file, 64, 8).read(sources(paths.values())))


def printed(text: str, baseline: float = 400, page: int = 1, size: float = 10, **values: object) -> Line:
    return Line(
        **{  # type: ignore[arg-type]  # each test overrides some values by name
            "text": text,
            "page": page,
            "page_height": 842,
            "font": "Times",
            "size": size,
            "lead_size": size,
            "bold": False,
            "italic": False,
            "left": 60,
            "right": 300,
            "baseline": baseline,
            "end_baseline": baseline,
            **values,
        }
    )


def texts(*pages: list[Line]) -> list[str]:
    return [block.text for block in layout.blocks(pages)]


def test_hyphens_at_line_ends_go_by_the_documents_own_words() -> None:
    known = Hyphens(["risk-weighted exposures", "the requirement", "own funds and funds", "jump to default"])

    def resolve(left: str, right: str) -> str:
        return known.resolve(f"{left}{LINE_HYPHEN}{right}")

    assert resolve("risk", "weighted") == "risk-weighted"
    assert resolve("require", "ment") == "requirement"
    assert resolve("trans", "parency") == "transparency"
    assert resolve("non", "objection") == "non-objection"
    assert resolve("EBA", "RTS") == "EBA-RTS"
    assert resolve("on", "or off-balance sheet") == "on- or off-balance sheet"
    assert resolve("jump", "to-default") == "jump-to-default"


def test_running_heads_go_and_heads_of_articles_stay() -> None:
    def page(number: int) -> list[Line]:
        head, foot = printed(f"L 176/{number}", 800, number), printed(f"Page {number}", 30, number)
        return [
            head,
            printed(f"Article {number}", 780, number),
            printed(f"Text {number} of the law.", 400, number),
            foot,
        ]

    assert texts(*[page(number) for number in range(1, 4)]) == [
        text for number in range(1, 4) for text in (f"Article {number}", f"Text {number} of the law.")
    ]


def test_footnotes_go_and_small_print_without_a_mark_stays() -> None:
    body = [printed(f"Line {n} of the body of the law, long enough to count.", 700 - 12 * n) for n in range(8)]
    note = [printed("(", 60, size=8.4), printed("1) OJ L 250, 2.10.2003, p. 10.", 63, size=5.5)]
    table = [printed("Credit quality step 1 2 3", 300, size=8.4)]
    found = " ".join(texts(body + table + note))
    assert "Credit quality step" in found
    assert "OJ L 250" not in found


def test_lines_join_to_paragraphs_across_columns_and_pages() -> None:
    body = [printed(f"of a long text that goes on {n}", 700 - 12 * n) for n in range(10)]
    first = [printed("A sentence that begins", 100), printed("here and goes on", 88)]
    second = [printed("in the next column.", 700, left=320, right=420), printed("A new paragraph.", 660, left=320)]
    third = [printed("(a) a point;", 640, left=320), printed("(b) another point.", 628, left=330)]
    found = texts(body + first + second + third)
    assert "A sentence that begins here and goes on in the next column." in found
    assert found[-3:] == ["A new paragraph.", "(a) a point;", "(b) another point."]


def test_a_run_behind_a_superscript_joins_without_a_blank() -> None:
    body = [printed(f"of a long text that goes on {n}", 700 - 12 * n) for n in range(10)]
    runs = [printed("step-in risk3", 500, right=200.0, end_baseline=504), printed(". It is a risk.", 500, left=200.2)]
    assert texts([*body, *runs])[-1] == "step-in risk3. It is a risk."


def test_broken_formulas_are_flagged() -> None:
    blocks = layout.blocks([[printed("RW ¼ maxf0,12:5 · ðLGD · ELBEÞg;", 500), printed("Plain text.", 300)]])
    assert [block.formula for block in blocks] == [True, False]

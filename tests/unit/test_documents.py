"""Reading documents in supervised processes: real PDFs, real broken files, processes that really die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fakes import pdf_files
from finreg_cli.documents import line_codec, pool, text_checks, worker, worker_process
from finreg_cli.documents.base import ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.lines import Cell, Line
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
    assert len(outcomes) == 2
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
    for child in children(os.getpid()) - before:
        os.kill(child, signal.SIGKILL)
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


def test_pages_read_by_several_workers_give_what_one_reads(
    tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LARGE", 0)
    paths = pdf_files.write(tmp_path, act=pdf_files.act(420))

    def read_by(workers: int) -> ReadFile:
        (outcome,) = SupervisedReader(tokenizer_file, 128, 16, workers=workers).read(sources(paths.values()))
        assert isinstance(outcome, ReadFile)
        return outcome

    alone = read_by(1)
    assert alone.pages > worker.PART_PAGES
    assert read_by(2) == alone
    assert read_by(3) == alone


@on_linux
def test_a_helper_that_dies_costs_one_try_and_no_file(
    tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LARGE", 0)
    before = children(os.getpid())
    given = worker_process.WorkerProcess.begin

    def begin(self: worker_process.WorkerProcess[pool._Task], task: pool._Task, *rest: Any) -> None:
        given(self, task, *rest)
        if task.pages is not None:
            self._process.kill()

    monkeypatch.setattr(worker_process.WorkerProcess, "begin", begin)
    paths = pdf_files.write(tmp_path, act=pdf_files.act(420))
    (outcome,) = SupervisedReader(tokenizer_file, 128, 16, workers=2).read(sources(paths.values()))
    assert isinstance(outcome, ReadFile)  # by the second engine, alone
    assert outcome.chunks[-1].citation.endswith("Article 420")
    assert children(os.getpid()) == before


def test_lines_survive_their_way_between_processes() -> None:
    line = Line(
        "risk^3 \ud800", 1, 842, "Times", 10, 10, False, True, 60.1, 300.2, 400, 400, (Cell("a", 1, 2.5),), (4,)
    )
    assert line_codec.decode(line_codec.encode([[line], []])) == [[line], []]


def test_pages_without_text_are_warned_of(read: Read) -> None:
    empty: list[tuple[str, str]] = []
    outcome = read({"half": pdf_files.without_heads([[(pdf_files.BODY, "Own funds shall be held.")], empty, empty])})[
        "half"
    ]
    assert isinstance(outcome, ReadFile)
    assert outcome.warnings == ["2 of its 3 pages hold no text, probably scanned images: pages 2, 3"]


@pytest.mark.parametrize(
    "text",
    [
        "Τα ιδρύματα διατηρούν ίδια κεφάλαια που καλύπτουν τους κινδύνους. " * 12,  # noqa: RUF001  # Greek it is
        "Институциите разполагат със собствени средства за своите рискове. " * 12,
        "يجب على المؤسسات أن تحتفظ بأموال خاصة تغطي مخاطرها في جميع الأوقات. " * 12,
        "各机构应随时持有足以覆盖其风险的自有资金，并向主管机关报告。" * 12,  # noqa: RUF001  # Chinese it is
        "Wszystkie instytucje utrzymują fundusze własne, które pokrywają ryzyko udzielonych kredytów. " * 12,
        "Laitosten on aina pidettävä omia varoja, jotka kattavat niiden antamien lainojen riskit. " * 12,
        "AIRB SA-CCR CVA 0,35 % 1 250 % RWEA = K · 12,5 · EAD " * 4,
    ],
)
def test_text_in_any_language_is_text(text: str) -> None:
    text_checks.check({"Times": [text]}, "empty")


def test_letters_of_no_language_are_refused() -> None:
    words = "Institutions shall at all times hold own funds that cover the risks of what they have lent. " * 12
    shifted = "".join(chr((ord(letter) - 97 + 3) % 26 + 97) if letter.isalpha() else letter for letter in words.lower())
    for text in (shifted, "/g12/g7/g31 " * 90, words.encode().decode("utf-16-be")):
        with pytest.raises(ReadError) as caught:
            text_checks.check({"Times": [text], "Other": ["Page 1"]}, "empty")
        assert caught.value.error_class == "bad_encoding"

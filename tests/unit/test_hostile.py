"""Hostile files in the same folder as good ones, through the real command; and a seeded fuzzer through the pool."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from fakes import hostile_files, pdf_files
from fakes.hostile_files import Hostile
from finreg_cli.documents.base import ErrorClass, ReadFile, SourceFile, UnreadableFile
from finreg_cli.documents.pool import SupervisedReader

REAL = Path(__file__).parents[2] / "../shared/data/regulations"

on_linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="measures memory by Linux's /proc")

SLOW = frozenset(
    (
        "many-letters.pdf",
        "exponential-forms.pdf",
        "many-operators.pdf",
        "many-bombs.pdf",
        "nested-flate-bomb.pdf",
        "object-stream-bomb.pdf",
        "repeated-contents.pdf",
        "three-flate-bombs.pdf",
        "deep-outline.pdf",
        "many-attributes.html",
        "much.html",
        "one-long-line.txt",
    )
)
"""Files that take seconds, or hundreds of megabytes."""

Outcome = str
Ingest = Callable[[Path], "Ingested"]


@dataclass
class Ingested:
    """What `finreg ingest` made of a folder: its report, and of each file ``read`` or the class in the quarantine."""

    report: dict[str, Any]
    outcomes: dict[str, Outcome]
    most_memory: int
    """Bytes, of the command and all its workers together."""


@pytest.fixture
def ingest(tmp_path: Path, tokenizer_file: Path) -> Ingest:
    def run(folder: Path) -> Ingested:
        config = tmp_path / "finreg.json"  # JSON is YAML, too
        settings = {
            "engine": {"kind": "embedded", "warehouse": str(tmp_path / "lakehouse")},
            "source": {"path": str(folder)},
            "ingest": {"tokenizer": str(tokenizer_file), "chunk_tokens": 128, "chunk_overlap": 16},
            "generate": {"method": "rules"},
        }
        config.write_text(json.dumps(settings))
        command = [sys.executable, "-m", "finreg_cli", "ingest", "-c", str(config), "-o", "json"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            memory = _Memory(process.pid)
            report, errors = process.communicate(timeout=600)
            memory.stop()
        assert "Traceback" not in errors, errors
        assert process.returncode == 0, report
        return Ingested(json.loads(report), dict(_outcomes(tmp_path / "lakehouse")), memory.most)

    return run


def _outcomes(warehouse: Path) -> Iterator[tuple[str, Outcome]]:
    from deltalake import DeltaTable

    (tables,) = (path.parent for path in warehouse.glob("*/*/splitted_documents"))
    for row in DeltaTable(tables / "splitted_documents").to_pyarrow_table(columns=["path"]).to_pylist():
        yield row["path"], "read"
    if (tables / "ingest_quarantine").is_dir():
        for row in (
            DeltaTable(tables / "ingest_quarantine").to_pyarrow_table(columns=["path", "error_class"]).to_pylist()
        ):
            yield row["path"], row["error_class"]


class _Memory:
    """Samples the memory of a process and of all below it, until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(0.02):
            self.most = max(self.most, sum(map(_resident, _tree(self._pid))))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return  # it ended in between
    for child in children:
        yield from _tree(int(child))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def write(folder: Path, files: Sequence[Hostile]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).write_bytes(file.make())


def wrong(outcomes: dict[str, Outcome], files: Sequence[Hostile]) -> dict[str, tuple[Any, Sequence[Outcome]]]:
    """The files of which something else has become than what is right: name -> what, and what would be."""
    return {
        file.name: (outcomes.get(file.name), file.outcomes)
        for file in files
        if outcomes.get(file.name) not in file.outcomes
    }


def good_files(folder: Path) -> list[str]:
    names = [f"good{number}" for number in range(3)]
    titles = (f"REGULATION (EU) No {number + 1}/2099" for number in range(3))
    pdf_files.write(folder, **{name: pdf_files.act(6, title=title) for name, title in zip(names, titles, strict=True)})
    return [f"{name}.pdf" for name in names]


@on_linux
def test_hostile_files_go_to_quarantine_and_the_good_ones_are_read(tmp_path: Path, ingest: Ingest) -> None:
    folder = tmp_path / "source"
    files = [file for file in hostile_files.FILES if file.name not in SLOW]
    assert len(files) >= 60
    write(folder, files)
    good = good_files(folder)
    result = ingest(folder)
    assert not wrong(result.outcomes, files)
    assert all(result.outcomes.get(name) == "read" for name in good)
    assert result.report["counts"]["quarantined"] == sum(outcome != "read" for outcome in result.outcomes.values())
    assert result.most_memory < 3 * 1024**3


@pytest.mark.slow
@on_linux
def test_the_largest_and_slowest_hostile_files_go_to_quarantine(tmp_path: Path, ingest: Ingest) -> None:
    folder = tmp_path / "source"
    files = [file for file in hostile_files.FILES if file.name in SLOW]
    assert {file.name for file in files} == SLOW
    sizes = [(1 << 31) + (number << 24) for number in range(6)]
    bombs = [Hostile(f"bomb-{size}.pdf", partial(hostile_files.flate_bomb, size), ("limit",)) for size in sizes]
    write(folder, [*files, *bombs])
    good = good_files(folder)
    result = ingest(folder)
    assert not wrong(result.outcomes, [*files, *bombs])
    assert all(result.outcomes.get(name) == "read" for name in good)
    assert result.most_memory < 3 * 1024**3


@on_linux
def test_what_is_no_regular_file_or_has_an_odd_name_stops_nothing(tmp_path: Path, ingest: Ingest) -> None:
    folder, outside = tmp_path / "source", tmp_path / "outside"
    good = good_files(folder)
    pdf_files.write(outside, secret=pdf_files.act(title="REGULATION (EU) No 77/2099"))
    os.mkfifo(folder / "pipe.pdf")
    (folder / "folder.pdf").mkdir()
    (folder / "dangling.pdf").symlink_to(folder / "nowhere.pdf")
    (folder / "leads-out.pdf").symlink_to(outside / "secret.pdf")
    (folder / "leads-out-too").symlink_to(outside, target_is_directory=True)
    names = [b"new\nline.pdf", "\N{SCALES} act.pdf".encode(), b"not-utf8-\xff\xfe.pdf", b"-c x.pdf"]
    for number, name in enumerate(names):
        act = pdf_files.act(title=f"REGULATION (EU) No {20 + number}/2099")
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(act)
    result = ingest(folder)
    assert all(result.outcomes.pop(name) == "read" for name in good)
    assert list(result.outcomes.values()) == ["read"] * len(names)
    assert {"new\nline.pdf", "\N{SCALES} act.pdf", "-c x.pdf"} <= result.outcomes.keys()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_quarantined(tmp_path: Path, ingest: Ingest) -> None:
    folder = tmp_path / "source"
    good = good_files(folder)
    pdf_files.write(folder, locked=pdf_files.act(title="REGULATION (EU) No 77/2099"))["locked"].chmod(0)
    result = ingest(folder)
    assert result.outcomes == {"locked.pdf": "parse", **dict.fromkeys(good, "read")}


# --- The pool, with files that change, wait, or are mutations of a real one -------------------------------------------


def read_all(folder: Path, tokenizer: Path) -> dict[str, ReadFile | UnreadableFile]:
    files = [SourceFile(path.name, path) for path in sorted(folder.iterdir())]
    return {outcome.path: outcome for outcome in SupervisedReader(tokenizer, 128, 16).read(files)}


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(tmp_path: Path, tokenizer_file: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    outcome = read_all(tmp_path, tokenizer_file)["pipe.pdf"]
    assert isinstance(outcome, UnreadableFile)
    assert "no regular file" in outcome.message


def test_a_file_that_grows_and_vanishes_while_others_are_read_is_one_outcome_each(
    tmp_path: Path, tokenizer_file: Path
) -> None:
    paths = pdf_files.write(tmp_path, **{f"act{number}": pdf_files.act(30 + number) for number in range(4)})
    outcomes = SupervisedReader(tokenizer_file, 128, 16, workers=1).read(
        [SourceFile(path.name, path) for path in paths.values()]
    )
    first = next(outcomes)  # the largest, act3; act2 may be in work already
    with paths["act1"].open("ab") as file:
        file.write(b"\n% more\n" * 10_000)
    paths["act0"].unlink()
    found = {first.path: first, **{each.path: each for each in outcomes}}
    assert {name: isinstance(each, ReadFile) for name, each in found.items()} == {
        "act3.pdf": True,
        "act2.pdf": True,
        "act1.pdf": False,
        "act0.pdf": False,
    }
    assert getattr(found["act1.pdf"], "error_class", None) == "truncated"


@dataclass
class Fuzzer:
    """Makes mutations of a file: bits, bytes and pieces are changed, moved, cut out and repeated."""

    data: bytes
    chance: random.Random = field(default_factory=lambda: random.Random(20261122))

    def mutation(self) -> bytes:
        data = bytearray(self.data)
        for _ in range(self.chance.choice((1, 3, 10, 100))):
            self.chance.choice((self._flip, self._noise, self._cut, self._repeat, self._number, self._keyword))(data)
        return bytes(data)

    def _place(self, data: bytearray) -> int:
        return self.chance.randrange(max(1, len(data)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] ^= 1 << self.chance.randrange(8)

    def _noise(self, data: bytearray) -> None:
        start = self._place(data)
        data[start : start + 20] = self.chance.randbytes(20)

    def _cut(self, data: bytearray) -> None:
        start = self._place(data)
        del data[start : start + self.chance.randrange(200)]

    def _repeat(self, data: bytearray) -> None:
        start = self._place(data)
        data[start:start] = data[start : start + self.chance.randrange(500)] * self.chance.randrange(4)

    def _number(self, data: bytearray) -> None:
        """Another number in place of one digit: lengths, offsets, object numbers."""
        start = next((at for at in range(self._place(data), len(data)) if 48 <= data[at] <= 57), None)
        if start is not None:
            data[start : start + 1] = self.chance.choice((b"0", b"-1", b"9", b"99999999999", b"1e30", b"65536"))

    def _keyword(self, data: bytearray) -> None:
        known = (b"/Kids", b"/Parent", b"/Length", b"/Contents", b"/Font", b"endobj", b"stream")
        old, new = self.chance.sample(known, 2)
        start = data.find(old, self._place(data))
        if start >= 0:
            data[start : start + len(old)] = new


def fuzzed(folder: Path, seeds: Sequence[bytes], count: int) -> None:
    fuzzers = [Fuzzer(seed) for seed in seeds]
    for number in range(count):
        (folder / f"mutation{number:04}.pdf").write_bytes(fuzzers[number % len(fuzzers)].mutation())


def first_pages(path: Path, count: int) -> bytes:
    """The first pages of a real file, as a file."""
    import io

    import pypdf

    writer, target = pypdf.PdfWriter(), io.BytesIO()
    for page in pypdf.PdfReader(path).pages[:count]:
        writer.add_page(page)
    writer.write(target)
    return target.getvalue()


def check_all_accounted_for(outcomes: dict[str, ReadFile | UnreadableFile], count: int) -> Counter[str]:
    assert len(outcomes) == count
    classes = Counter(each.error_class if isinstance(each, UnreadableFile) else "read" for each in outcomes.values())
    assert classes.keys() <= {"read", *get_args(ErrorClass)}
    for each in outcomes.values():
        if isinstance(each, ReadFile):
            for chunk in each.chunks:
                chunk.text.encode()  # no half of a surrogate pair, which no table takes
                assert "\x00" not in chunk.text
    return classes


def test_mutations_of_a_file_are_read_or_classified(tmp_path: Path, tokenizer_file: Path) -> None:
    fuzzed(tmp_path, [pdf_files.act(12), hostile_files.build(hostile_files.one_page())], 30)
    classes = check_all_accounted_for(read_all(tmp_path, tokenizer_file), 30)
    assert len(classes) > 1  # some still read, some not: the mutations are neither nothing nor everything


@pytest.mark.slow
def test_a_thousand_mutations_are_read_or_classified(tmp_path: Path, tokenizer_file: Path) -> None:
    seeds = [pdf_files.act(12), pdf_files.locked(user="", owner="edit"), hostile_files.build(hostile_files.one_page())]
    if REAL.is_dir():
        seeds += [first_pages(path, 3) for path in sorted(REAL.glob("*.pdf"))]
    fuzzed(tmp_path, seeds, 1_000)
    classes = check_all_accounted_for(read_all(tmp_path, tokenizer_file), 1_000)
    assert classes["read"] > 100
    assert len(classes) > 3

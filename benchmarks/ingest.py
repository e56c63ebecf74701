"""What reading costs, ours beside others: `python benchmarks/ingest.py [--source FOLDER] [--pdf FILE] [--json FILE]`.

1. **From cold start to committed table**, whole processes in turns: `finreg ingest`, the original recipe (pypdf,
   LangChain's splitter with a Hugging Face tokenizer, Delta), synthetic-data-kit's ingest, and once each docling and
   the text layer of docling alone. The claim is the ratio of the medians.
2. **Steady state**: reading, structure and chunks of a warm process beside the bare text of every page by pdfium, in
   pages per second of processor time, so per core.
3. **Memory** of the whole process tree for 1, 10 and 100 copies of one file, each a document of its own.

The seconds belong to this machine at this hour. It ends with exit code 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as the workers have it, and a core is a core

import pypdfium2
import pypdfium2.raw as pdfium
import yaml
from alternate import alternate, median_ratio
from peers import PEERS, Peer, Unavailable, installed, run
from process_tree import can_measure, peak_bytes

from finreg_cli.config import FETCHED_MODEL
from finreg_cli.documents.reader import Settings, read_bytes
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.training.fetched import cache_folder

REPOSITORY = Path(__file__).parents[1]
REAL = REPOSITORY / "../shared/data/regulations"
SAMPLES = REPOSITORY / "data/regulations"
OURS = "finreg ingest"
TRIAL_SECONDS = 300  # for a peer to prove on a sample that it runs here
SLOW_SECONDS = 1200
COLD_GOAL, COLD_AIM = 5.0, 8.0
STEADY_GOAL, STEADY_AIM = 0.15, 0.2
MOST_GROWTH = 1.25
"""Of the peak from 10 copies to 100; from 1 to 10 the second worker comes in."""


@dataclass
class Figures:
    """All that was measured; seconds by command, pages by second of processor time, bytes by number of copies."""

    pdf: str
    pages: int
    cores: int
    load_at_start: float
    cold_seconds: dict[str, list[float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    steady: dict[str, list[float]] = field(default_factory=dict)
    memory_file: str = ""
    peak_bytes: dict[int, list[int]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file in a script
    pdf = (options.pdf or _largest(options.source)).resolve()
    many = (options.memory_pdf or _smallest(options.source)).resolve()
    figures = Figures(pdf.name, _pages(pdf), os.cpu_count() or 1, round(os.getloadavg()[0], 1), memory_file=many.name)
    print(f"{pdf.name}: {figures.pages} pages; {figures.cores} cores, load {figures.load_at_start} at the start\n")
    tokenizer = cache_folder() / "models" / FETCHED_MODEL / "tokenizer.json"
    if not tokenizer.is_file():
        raise SystemExit(f"no tokenizer at {tokenizer}: run 'finreg models pull' first")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # synthetic-data-kit makes folders where it stands
        if options.rounds:
            _measure_cold(figures, pdf, tokenizer, Path(folder), options)
            _print_cold(figures)
            _measure_steady(figures, pdf, tokenizer, options.rounds)
            _print_steady(figures)
        _measure_memory(figures, many, tokenizer, Path(folder), options)
        _print_memory(figures)
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = REAL if REAL.is_dir() else SAMPLES
    parser.add_argument("--source", type=Path, default=default, help="folder of PDFs, %(default)s by default")
    parser.add_argument("--pdf", type=Path, help="the file of parts 1 and 2; the source's largest by default")
    parser.add_argument("--memory-pdf", type=Path, help="the file of part 3; the source's smallest by default")
    parser.add_argument("--rounds", type=int, default=3, help="measured runs of each, 3 by default; 0: part 3 only")
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 10, 100], help="for part 3; none: leave it out")
    parser.add_argument("--peers", nargs="*", default=[peer.name for peer in PEERS], help="all by default")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.json:
        options.json = options.json.resolve()
    return options


def _largest(source: Path) -> Path:
    return max(source.glob("*.pdf"), key=lambda path: path.stat().st_size)


def _smallest(source: Path) -> Path:
    return min(source.glob("*.pdf"), key=lambda path: path.stat().st_size)


def _pages(pdf: Path) -> int:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return len(document)
    finally:
        document.close()


# --- From cold start to committed table ------------------------------------------------------------------------------


def _measure_cold(figures: Figures, pdf: Path, tokenizer: Path, folder: Path, options: argparse.Namespace) -> None:
    output = folder / "output"
    commands = {OURS: _finreg(pdf, folder, output)}
    try:
        _clear(output)
        run(commands[OURS], SLOW_SECONDS)
    except Unavailable as reason:
        raise SystemExit(f"{OURS} failed, there is nothing to compare: {reason}") from None
    slow: dict[str, list[str]] = {}
    for peer in (each for each in PEERS if each.name in options.peers):
        try:
            _clear(output)
            (slow if peer.slow else commands)[peer.name] = _proven(peer, pdf, tokenizer, output)
        except Unavailable as reason:
            figures.unavailable[peer.name] = str(reason)
    figures.cold_seconds = alternate(commands, options.rounds, before=lambda: _clear(output))
    for name, command in slow.items():
        _clear(output)
        start = time.perf_counter()
        try:
            run(command, SLOW_SECONDS)
        except Unavailable as reason:
            figures.unavailable[name] = str(reason)
        else:
            figures.cold_seconds[name] = [time.perf_counter() - start]


def _proven(peer: Peer, pdf: Path, tokenizer: Path, output: Path) -> list[str]:
    """The peer's command on ``pdf``, once it has been seen to read a sample.

    Raises:
        Unavailable: it cannot be installed, or fails on the sample.
    """
    environment = installed(peer, cache_folder() / "benchmarks")
    run(peer.command(environment, _smallest(SAMPLES), tokenizer, output), TRIAL_SECONDS)
    return peer.command(environment, pdf, tokenizer, output)


def _finreg(source: Path, folder: Path, output: Path) -> list[str]:
    config = folder / "finreg.yaml"
    settings = {
        "engine": {"kind": "embedded", "warehouse": str(output / "lakehouse")},
        "source": {"path": str(source)},
        "generate": {"method": "rules"},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [sys.executable, "-m", "finreg_cli", "ingest", "--config", str(config)]


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _print_cold(figures: Figures) -> None:
    ours = figures.cold_seconds[OURS]
    print(f"1. From cold start to the written result, {len(ours)} runs in turns, the slow peers once")
    for name, seconds in figures.cold_seconds.items():
        median = statistics.median(seconds)
        ratio = "" if name == OURS else f", ours is {median_ratio(seconds, ours):.1f} times as fast"
        print(f"  {name:18} median {median:7.2f} s, {figures.pages / median:6.1f} pages/s{ratio}")
    for name, reason in figures.unavailable.items():
        print(f"  {name:18} not measured: {reason}")
    original = figures.cold_seconds.get("original-recipe")
    if original:
        met = _met(median_ratio(original, ours) >= COLD_GOAL)
        print(f"  goal: at least {COLD_GOAL:g} times as fast as the original recipe (aim {COLD_AIM:g}): {met}")
    print()


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


# --- Steady state ----------------------------------------------------------------------------------------------------


def _measure_steady(figures: Figures, pdf: Path, tokenizer: Path, rounds: int) -> None:
    data = pdf.read_bytes()
    count_tokens = TokenCounter(tokenizer)
    settings = Settings(chunk_tokens=500, chunk_overlap=50, short_names={}, work_ids={})
    work: dict[str, Callable[[], object]] = {
        "pdfium's bare text": lambda: _bare_text(data),
        "finreg's chunks": lambda: read_bytes(data, pdf.name, "pdfium", settings, count_tokens),
    }
    figures.steady = {name: [] for name in work}
    for counts in [False] + [True] * rounds:
        for name, function in work.items():
            start = time.process_time()
            function()
            taken = time.process_time() - start
            if counts:
                figures.steady[name].append(figures.pages / taken)


def _bare_text(data: bytes) -> int:
    """The text of all pages by one call each, and nothing else: as fast as pdfium can be; returns its length."""
    document = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
    length = 0
    for index in range(pdfium.FPDF_GetPageCount(document)):
        page = pdfium.FPDF_LoadPage(document, index)
        text_page = pdfium.FPDFText_LoadPage(page)
        characters = pdfium.FPDFText_CountChars(text_page)
        buffer = (ctypes.c_ushort * (characters + 1))()
        length += pdfium.FPDFText_GetText(text_page, 0, characters, buffer)
        pdfium.FPDFText_ClosePage(text_page)
        pdfium.FPDF_ClosePage(page)
    pdfium.FPDF_CloseDocument(document)
    return length


def _print_steady(figures: Figures) -> None:
    print("2. Steady state, one warm process, by processor time")
    for name, speeds in figures.steady.items():
        print(f"  {name:18} median {statistics.median(speeds):6.0f} pages/s per core")
    ceiling, ours = figures.steady.values()
    ratio = median_ratio(ours, ceiling)
    print(f"  ratio {ratio:.3f}; goal: at least {STEADY_GOAL} (aim {STEADY_AIM}): {_met(ratio >= STEADY_GOAL)}\n")


# --- Memory ----------------------------------------------------------------------------------------------------------


def _measure_memory(figures: Figures, pdf: Path, tokenizer: Path, folder: Path, options: argparse.Namespace) -> None:
    if not can_measure():
        print("3. Memory: not measured, this kernel does not tell the children of a process\n")
        return
    source, output = folder / "copies", folder / "output"
    command = _finreg(source, folder, output)
    figures.peak_bytes = {copies: [] for copies in options.copies}
    for _ in range(max(1, options.rounds)):
        for copies in options.copies:
            _copy(pdf, source, copies)
            _clear(output)
            figures.peak_bytes[copies].append(peak_bytes(command))
            _check_all_were_read(command, copies)


def _copy(pdf: Path, folder: Path, copies: int) -> None:
    """Files that differ in name and in a comment behind their end, so that each is a document of its own."""
    _clear(folder)
    data = pdf.read_bytes()
    for number in range(copies):
        (folder / f"copy-{number:03}.pdf").write_bytes(data + b"\n%% copy %d\n" % number)


def _check_all_were_read(command: Sequence[str], copies: int) -> None:
    """A second run reads nothing, and counts what the first one has read."""
    report = subprocess.run([*command, "-o", "json"], check=True, capture_output=True, text=True).stdout
    counts = json.loads(report)["counts"]
    if counts["unchanged"] != copies:
        print(f"  of {copies} copies only {counts['unchanged']} were documents of their own: give another --memory-pdf")


def _print_memory(figures: Figures) -> None:
    if not figures.peak_bytes:
        return
    print(f"3. Peak memory of the whole process tree, copies of {figures.memory_file}")
    medians = {copies: statistics.median(peaks) for copies, peaks in figures.peak_bytes.items()}
    for copies, peak in medians.items():
        print(f"  {copies:4} {'copy  ' if copies == 1 else 'copies'} median {peak / 2**20:6.0f} MB")
    if len(medians) > 1:
        *_, before, last = medians.values()
        growth = last / before
        print(f"  last to last but one {growth:.2f}; goal: at most {MOST_GROWTH}: {_met(growth <= MOST_GROWTH)}")


if __name__ == "__main__":
    main()

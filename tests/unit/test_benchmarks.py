"""The benchmarks run and say what they claim; no test asserts a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finreg_cli.config import FETCHED_MODEL
from finreg_cli.training.fetched import cache_folder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_help_startup_prints_both_medians_and_their_ratio():
    command = [sys.executable, str(BENCHMARKS / "help_startup.py"), "1"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    medians = dict(re.findall(r"^  (bare Typer|finreg) +median +(\d+) ms", output, re.MULTILINE))
    assert medians.keys() == {"bare Typer", "finreg"}
    (ratio,) = re.findall(r"ratio of the medians (\d+\.\d\d)", output)
    # The printed milliseconds are rounded, so their ratio is close to the printed one, not equal.
    assert abs(float(ratio) - int(medians["finreg"]) / int(medians["bare Typer"])) < 0.05


@pytest.mark.slow
@pytest.mark.skipif(
    not (cache_folder() / "models" / FETCHED_MODEL / "tokenizer.json").is_file(),
    reason="no tokenizer: run 'finreg models pull'",
)
def test_ingest_prints_what_it_has_measured(tmp_path):
    figures_file = tmp_path / "figures.json"
    samples = BENCHMARKS.parent / "data/regulations"
    command = [sys.executable, str(BENCHMARKS / "ingest.py"), "--source", str(samples), "--rounds", "1", "--peers"]
    command += ["--copies", "1", "3", "--json", str(figures_file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    (cold,) = figures["cold_seconds"]["finreg ingest"]
    assert re.search(rf"finreg ingest +median +{cold:.2f} s", output)
    (ceiling,), (ours,) = figures["steady"].values()
    assert f"ratio {ours / ceiling:.3f}" in output
    # Every copy was a document of its own, else the figure would be of one document.
    assert "documents of their own" not in output
    assert len(figures["peak_bytes"]["3"]) == 1
    assert "MB" in output

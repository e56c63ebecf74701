"""The benchmarks run and say what they claim; no test asserts a time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_help_startup_prints_both_medians_and_their_ratio():
    command = [sys.executable, str(BENCHMARKS / "help_startup.py"), "1"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    medians = dict(re.findall(r"^  (bare Typer|finreg) +median +(\d+) ms", output, re.MULTILINE))
    assert medians.keys() == {"bare Typer", "finreg"}
    (ratio,) = re.findall(r"ratio of the medians (\d+\.\d\d)", output)
    # The printed milliseconds are rounded, so their ratio is close to the printed one, not equal.
    assert abs(float(ratio) - int(medians["finreg"]) / int(medians["bare Typer"])) < 0.05

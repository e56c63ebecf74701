"""What `finreg --help` costs beside the --help of a bare Typer program: `python benchmarks/help_startup.py [ROUNDS]`.

Both run as whole processes with this interpreter, in turns. The claim is the ratio of the medians (goal: at most 1.5);
the seconds belong to this machine at this hour.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from alternate import alternate, median_ratio

GOAL = 1.5
BARE_PROGRAM = '''
import typer

app = typer.Typer()


@app.command()
def first(name: str = "x") -> None:
    """The first command."""


@app.command()
def second(name: str = "x") -> None:
    """The second command."""


app()
'''


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE_PROGRAM, encoding="utf-8")
        commands = {
            "bare Typer": [sys.executable, str(bare), "--help"],
            "finreg": [sys.executable, "-m", "finreg_cli", "--help"],
        }
        seconds = alternate(commands, rounds)
    print(f"--help, {rounds} alternating runs of each")
    for name, taken in seconds.items():
        print(f"  {name:12} median {1000 * statistics.median(taken):6.0f} ms, fastest {1000 * min(taken):6.0f} ms")
    ratio = median_ratio(seconds["finreg"], seconds["bare Typer"])
    fastest = min(seconds["finreg"]) / min(seconds["bare Typer"])
    print(f"  ratio of the medians {ratio:.2f}, of the fastest {fastest:.2f}")
    print(f"  goal: at most {GOAL}, {'met' if ratio <= GOAL else 'missed'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)

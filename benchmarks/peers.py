"""The tools that ours is compared to: each in a virtual environment of its own, made when it is first asked for.

Their versions are pinned in ``peers/NAME.txt``. What cannot be installed or does not run here is reported, never a
failure: a machine may be offline, and docling fetches its models from a hub.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "peers"
INSTALL_SECONDS = 1800


class Unavailable(Exception):
    """A peer that does not run here; the message is the reason."""


@dataclass(frozen=True)
class Peer:
    """A tool: a program of its environment, and its arguments with {pdf}, {tokenizer} and {output} to fill in."""

    name: str
    program: str
    arguments: tuple[str, ...]
    slow: bool = False
    """One measured run must do: it takes minutes."""

    @property
    def requirements(self) -> Path:
        return FOLDER / f"{self.name}.txt"

    def command(self, environment: Path, pdf: Path, tokenizer: Path, output: Path) -> list[str]:
        filled = [each.format(pdf=pdf, tokenizer=tokenizer, output=output) for each in self.arguments]
        return [str(environment / "bin" / self.program), *filled]


PEERS = (
    Peer("original-recipe", "python", (str(FOLDER / "original_recipe.py"), "{pdf}", "{tokenizer}", "{output}")),
    Peer("synthetic-data-kit", "synthetic-data-kit", ("ingest", "{pdf}", "-o", "{output}")),
    Peer("docling", "python", (str(FOLDER / "docling_convert.py"), "{pdf}", "{output}"), slow=True),
    Peer("docling-parse", "python", (str(FOLDER / "docling_parse_lines.py"), "{pdf}", "{output}"), slow=True),
)


def installed(peer: Peer, cache: Path) -> Path:
    """The peer's environment below ``cache``, made if it is not there or if its versions have changed.

    Raises:
        Unavailable: it cannot be installed.
    """
    wanted = hashlib.sha256(peer.requirements.read_bytes()).hexdigest()
    environment = cache / peer.name
    made = environment / "made-for"
    if made.is_file() and made.read_text(encoding="utf-8") == wanted:
        return environment
    shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([sys.executable, "-m", "venv", str(environment)], INSTALL_SECONDS)
    run([*pip, "--requirement", str(peer.requirements)], INSTALL_SECONDS)
    # Written last: its existence says that the installation was completed.
    made.write_text(wanted, encoding="utf-8")
    return environment


def run(command: Sequence[str], seconds: float) -> None:
    """Runs a command that may fail, hang or leave children behind.

    Raises:
        Unavailable: it failed (its last two lines of output) or took longer than ``seconds``.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not finished after {seconds:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        raise Unavailable(textwrap.shorten(" ".join(lines[-2:]), 300) if lines else f"exit code {process.returncode}")

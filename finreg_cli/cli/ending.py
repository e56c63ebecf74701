"""How a command ends: what it prints, its JSON, and the exit code. The only place that ends the process."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from finreg_cli import errors
from finreg_cli.cli.options import Output

if TYPE_CHECKING:
    from finreg_cli.console import Console

OK, FAILED, USAGE, BUDGET, INTERRUPTED = 0, 1, 2, 4, 130


def run_command(
    name: str,
    body: Callable[[Console], dict[str, Any] | None],
    output: Output = Output.text,
    verbose: bool = False,
    quiet: bool = False,
) -> NoReturn:
    """Runs a command that is no stage; what its body returns is its JSON, None where it has printed that itself."""
    from finreg_cli.console import Console

    console = Console(quiet=quiet, verbose=verbose, json=output is Output.json)

    def report() -> dict[str, Any] | None:
        told = body(console)
        return None if told is None else {"stage": name, "status": "ok"} | told

    conduct(
        console,
        report,
        lambda status, error, _: {"stage": name, "status": status, "error": error},
    )


def conduct(
    console: Console,
    body: Callable[[], dict[str, Any] | None],
    failed: Callable[[str, dict[str, str], dict[str, Any]], dict[str, Any]],
) -> NoReturn:
    """Runs a command's body; prints its JSON (or that of its failure) where asked, and exits with the right code."""
    try:
        with _termination_as_interrupt():
            report = body()
        exit_code = OK if report is None or report["status"] == "ok" else FAILED
    except (KeyboardInterrupt, Exception) as raised:
        if isinstance(raised, KeyboardInterrupt):
            _ignore_interrupts()
        status, exit_code, error = _ending(raised)
        if console.verbose:
            console.traceback()
        console.error(error)
        described = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
        report = failed(status, described, error.counts)
    if console.json and report is not None:
        print(json.dumps(_finite(report), ensure_ascii=False, default=str))
    raise typer.Exit(exit_code)


def _finite(value: Any) -> Any:
    """The value with null for what is no number: JSON knows no NaN, which a model that diverged has as its loss."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _ending(raised: BaseException) -> tuple[str, int, errors.FinregError]:
    """The status, the exit code and the error that a person sees."""
    if isinstance(raised, KeyboardInterrupt):
        from finreg_cli.console import command_line

        return "interrupted", INTERRUPTED, errors.Interrupted(remedy=f"go on with: {command_line(sys.argv[1:])}")
    if isinstance(raised, errors.BudgetReached):
        return "budget", BUDGET, raised
    if isinstance(raised, errors.ConfigError):
        return "failed", USAGE, raised
    if isinstance(raised, errors.FinregError):
        return "failed", FAILED, raised
    # A fault of ours, or of a library that no edge translated.
    message = f"unexpected {type(raised).__name__}: {raised}"
    return "failed", FAILED, errors.FinregError(message, "run it again with -v for the traceback, and report it")


def _ignore_interrupts() -> None:
    """The command is ending already: another Ctrl-C must not change how it says so, or its exit code."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: with what was finished kept."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

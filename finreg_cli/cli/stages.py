"""The four stages, and all of them in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from finreg_cli.cli.app import app
from finreg_cli.cli.ending import conduct
from finreg_cli.cli.options import (
    DEFAULT_CONFIG,
    ConfigFile,
    DryRun,
    Output,
    OutputFormat,
    Overrides,
    Quiet,
    Resplit,
    Verbose,
)

if TYPE_CHECKING:
    from finreg_cli.console import Console
    from finreg_cli.stages.base import StageResult
    from finreg_cli.stages.pipeline import Start


@app.command()
def ingest(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Read the documents: regulations into cited chunks, labelled ones into a training and a hold-out half."""
    run_stages("ingest", config, overrides, output, dry_run, verbose, quiet)


@app.command()
def generate(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    dry_run: DryRun = False,
    resplit: Resplit = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Make checked rows: question-answer rows from the chunks, synthetic documents from the labelled ones."""
    run_stages("generate", config, overrides, output, dry_run, verbose, quiet, resplit)


@app.command()
def finetune(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Tune the base model on the training rows, a model for each synthetic round (finetune_runs)."""
    run_stages("finetune", config, overrides, output, dry_run, verbose, quiet)


@app.command()
def evaluate(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure base and tuned on the validation rows or the hold-out; write the HTML report."""
    run_stages("evaluate", config, overrides, output, dry_run, verbose, quiet)


@app.command("all")
def all_stages(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    dry_run: DryRun = False,
    resplit: Resplit = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run the four stages in order."""
    run_stages("all", config, overrides, output, dry_run, verbose, quiet, resplit)


def run_stages(
    command: str,
    config_file: Path,
    overrides: list[str] | None,
    output: Output,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    resplit: bool = False,
) -> NoReturn:
    from finreg_cli.console import Console

    console = Console(quiet=quiet, verbose=verbose, json=output is Output.json)
    report = _StageReport(command, console)

    def run() -> dict[str, Any]:
        from finreg_cli import config, wiring
        from finreg_cli.stages.pipeline import pipeline

        loaded = config.load(config_file, overrides or ())
        rounds = loaded.generate.rounds if loaded.generate.early_stop and not dry_run else None
        with wiring.open_services(loaded, command, console, dry_run=dry_run) as services:
            report.run_id = services.run_id
            start = report.timed(lambda stage, of_rounds: services.start(stage, resplit, of_rounds))
            for result in pipeline(command, start, rounds):
                note = " (dry run: nothing was written)" if dry_run else ""
                console.summary(f"{result.stage}{note}", report.seconds, result.counts, result.tables, result.findings)
        return report.as_json()

    conduct(console, run, report.failed)


class _StageReport:
    """Collects what ``-o json`` prints, for one stage or for ``all``."""

    def __init__(self, command: str, console: Console) -> None:
        self.run_id: str | None = None
        self.seconds = 0.0
        self._command, self._console = command, console
        self._stage = command
        self._finished: list[dict[str, Any]] = []
        self._started = time.monotonic()
        self._warned = 0

    def timed(self, start: Start) -> Start:
        """``start``, with every stage's time, counts and warnings noted."""

        def run(stage: str, rounds: Sequence[int] | None) -> StageResult:
            self._stage, self._started = stage, time.monotonic()
            self._console.rule(stage)
            result = start(stage, rounds)
            for warning in result.warnings:
                self._console.warn(warning)
            tables = {name: vars(state) for name, state in result.tables.items()}
            self._add("ok", result.counts, tables)
            return result

        return run

    def failed(self, status: str, error: dict[str, str], counts: dict[str, Any]) -> dict[str, Any]:
        self._add(status, counts, {}, error)
        if counts:
            self._console.summary(f"{self._stage} (not finished)", self.seconds, counts, {}, ())
        return self.as_json()

    def as_json(self) -> dict[str, Any]:
        if self._command != "all":
            return self._finished[-1]
        return {"stage": "all", "status": self._finished[-1]["status"], "stages": self._finished}

    def _add(
        self, status: str, counts: dict[str, Any], tables: dict[str, Any], error: dict[str, str] | None = None
    ) -> None:
        self.seconds = round(time.monotonic() - self._started, 2)
        self._finished.append(
            {
                "stage": self._stage,
                "status": status,
                "run_id": self.run_id,
                "seconds": self.seconds,
                "counts": counts,
                "tables": tables,
                "warnings": self._console.warnings[self._warned :],
                "error": error,
            }
        )
        self._warned = len(self._console.warnings)

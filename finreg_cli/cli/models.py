"""What a tuned model is used for: extraction from new documents."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finreg_cli import errors
from finreg_cli.cli.app import app
from finreg_cli.cli.ending import run_command
from finreg_cli.cli.options import DEFAULT_CONFIG, ConfigFile, Output, OutputFormat, Overrides, Quiet, Verbose

if TYPE_CHECKING:
    from finreg_cli.console import Console


class ExtractWith(StrEnum):
    tuned = "tuned"
    base = "base"
    generator = "generator"
    judge = "judge"


@app.command()
def extract(
    files: Annotated[list[Path], typer.Argument(help="PDF or text files.", metavar="FILE...")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    model: Annotated[ExtractWith, typer.Option("--model", help="Who reads them.")] = ExtractWith.tuned,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Also write the JSON into this file.", metavar="JSON")
    ] = None,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Extract the values of the schema from new documents, each with its place in the text."""

    def read(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring

        loaded = configuration.load(config, overrides or ())
        with wiring.open_services(loaded, "extract", console, writes_tables=False) as services:
            found = services.extract(files, model.value)
        for each in found:
            console.record(each.file, each.shown())
        report = {
            "status": "failed" if any(each.error for each in found) else "ok",
            "files": [each.as_json() for each in found],
        }
        if file is not None:
            _write_json(file, report["files"])
            console.print(f"wrote {file}")
        return report

    run_command("extract", read, output, verbose, quiet)


def _write_json(file: Path, value: Any) -> None:
    try:
        file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise errors.StageFailed(f"cannot write {file}: {error.strerror}", "name another file with -f") from None

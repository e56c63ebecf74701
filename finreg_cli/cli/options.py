"""The options that commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    text = "text"
    json = "json"


ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The YAML file.", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replaces one key; the value is YAML. Repeatable.", metavar="KEY.PATH=VALUE"),
]
OutputFormat = Annotated[
    Output, typer.Option("--output", "-o", help="json: exactly one JSON object on stdout.", show_default=True)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks and the libraries' own messages.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the result.")]
Resplit = Annotated[
    bool, typer.Option("--resplit", help="Accept another split seed or fraction than the table has; moves rows.")
]

DEFAULT_CONFIG = Path("finreg.yaml")

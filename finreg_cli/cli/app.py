"""The application that every command registers with, and its entry point."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from finreg_cli import __version__
from finreg_cli.cli.ending import USAGE

app = typer.Typer(
    name="finreg",
    help="From regulation PDFs to a cited, leak-free, honestly evaluated domain model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The small model that runs without a hub.", no_args_is_help=True)
app.add_typer(models_app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"finreg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point. Usage errors obey ``-o json`` too, which Typer alone would not."""
    arguments = sys.argv[1:]
    if not _wants_json(arguments):
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except Exception as error:
        message = getattr(error, "format_message", None)  # Typer brings its own copy of Click's exceptions
        if message is None:
            raise
        described = {"class": "UsageError", "message": message(), "remedy": "finreg --help"}
        print(f"error: {message()}", file=sys.stderr)
        print(json.dumps({"stage": arguments[0], "status": "failed", "error": described}, ensure_ascii=False))
        sys.exit(USAGE)


def _wants_json(arguments: list[str]) -> bool:
    following = [*arguments[1:], ""]
    return any(
        option in ("-ojson", "--output=json") or (option in ("-o", "--output") and value == "json")
        for option, value in zip(arguments, following, strict=True)
    )

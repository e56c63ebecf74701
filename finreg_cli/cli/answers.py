"""What a tuned model is used for: questions at the terminal, and a server for other programs."""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finreg_cli import errors
from finreg_cli.cli.app import app
from finreg_cli.cli.ending import run_command
from finreg_cli.cli.options import DEFAULT_CONFIG, ConfigFile, Output, OutputFormat, Overrides, Quiet, Verbose

if TYPE_CHECKING:
    from finreg_cli.config import ModelRole
    from finreg_cli.console import Console


class AskWith(StrEnum):
    base = "base"
    tuned = "tuned"
    generator = "generator"
    judge = "judge"


class ServeWhich(StrEnum):
    tuned = "tuned"
    base = "base"


@app.command()
def ask(
    question: Annotated[
        str, typer.Argument(help="In words; the provisions that it names are found first.", metavar="QUESTION")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    model: Annotated[
        list[AskWith] | None, typer.Option("--model", help="Who answers. Repeatable; left out: base and tuned.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, help="Passages in the context; the model was trained on one.")
    ] = 1,
    no_context: Annotated[bool, typer.Option("--no-context", help="Ask without any passage.")] = False,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Ask a question: base and tuned side by side, from the passage that is found, each citation checked."""

    def answer(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring

        loaded = configuration.load(config, overrides or ())
        roles: list[ModelRole] = [each.value for each in model or (AskWith.base, AskWith.tuned)]
        with wiring.open_services(loaded, "ask", console, writes_tables=False) as services:
            asked = services.ask(question, roles, 0 if no_context else top)
        for passage in asked.passages:
            console.print(f"from {passage.source}")
        console.side_by_side(
            [(f"{each.model} ({each.name})", each.answer, each.verdict, each.cited.style) for each in asked.answers]
        )
        return asked.as_json()

    run_command("ask", answer, output, verbose, quiet)


@app.command()
def serve(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    model: Annotated[ServeWhich, typer.Option("--model", help="What is served.")] = ServeWhich.tuned,
    run: Annotated[
        str | None, typer.Option("--run", help="Of which training run; left out: the last selected.", metavar="RUN_ID")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="On loopback; left out: a free one.")
    ] = None,
    token_env: Annotated[
        str | None,
        typer.Option(
            "--token-env", help="NAME of the variable that holds the token; left out: a fresh one.", metavar="NAME"
        ),
    ] = None,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Serve the tuned model as an OpenAI-compatible server on loopback, until Ctrl-C or SIGTERM."""

    def serve_until_interrupted(console: Console) -> dict[str, Any] | None:
        from finreg_cli import config as configuration
        from finreg_cli import wiring

        token = _token(token_env)
        loaded = configuration.load(config, [*(overrides or ()), *([f"evaluate.run={run}"] if run else [])])
        with wiring.open_services(loaded, "serve", console, writes_tables=False) as services:
            with services.serve(model.value, port, token, token_env) as (served, curl, snippet):
                if console.json:
                    print(json.dumps({"url": served.url, "token": token, "model": served.model}), flush=True)
                else:  # as it is: a line that was wrapped could not be pasted
                    said = f"the value of {token_env}" if token_env else token
                    typer.echo(f"model: {served.model}\nbase URL: {served.url}\ntoken: {said}\n")
                    typer.echo(f"from a shell:\n\n{curl}\n\nfrom Python (pip install openai):\n\n{snippet}\n")
                console.note("Ctrl-C ends it")
                with suppress(KeyboardInterrupt):  # the normal end of a server, by SIGTERM too
                    served.wait()
            console.note("stopped")
        return None

    run_command("serve", serve_until_interrupted, output, verbose, quiet)


def _token(variable: str | None) -> str:
    """The token of the variable, or a fresh one.

    Raises:
        ConfigError: the variable is not set, or holds no token.
    """
    if variable is None:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):  # a token that was pasted here is not repeated
        raise errors.ConfigError("--token-env takes the NAME of an environment variable", "--token-env FINREG_TOKEN")
    token = os.environ.get(variable, "")
    if not token or token.split() != [token]:
        raise errors.ConfigError(
            f"--token-env: the environment variable {variable} is not set, or holds blanks", f"export {variable}=TOKEN"
        )
    return token

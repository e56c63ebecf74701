"""What stands in the tables: status, rows, differences, exports."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finreg_cli.cli.app import app
from finreg_cli.cli.ending import run_command
from finreg_cli.cli.options import DEFAULT_CONFIG, ConfigFile, Output, OutputFormat, Overrides, Quiet, Verbose

if TYPE_CHECKING:
    from finreg_cli.config import Config
    from finreg_cli.console import Console

Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="Only such rows. Repeatable: all columns hold, any value of one.", metavar="COLUMN=VALUE"
    ),
]


class ExportFormat(StrEnum):
    rows = "rows"
    messages = "messages"
    prompt_completion = "prompt-completion"
    alpaca = "alpaca"
    sharegpt = "sharegpt"


class ExportSplit(StrEnum):
    train = "train"
    validation = "validation"


@app.command()
def status(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="Also the path PDF -> chunks -> rows -> run -> model -> evaluation.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Show the tables with rows and versions, and what is stale."""

    def look(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring
        from finreg_cli.stages.status import survey

        loaded = configuration.load(config, overrides or ())
        with wiring.open_lakehouse(loaded) as lakehouse:
            found = survey(loaded, lakehouse, with_lineage=lineage)
        columns = ("table", "rows", "version", "changed")
        console.table(columns, [(each.name, each.rows, each.version, each.changed) for each in found.tables])
        if found.versions:
            console.table(
                ("work", "version", "file", "chunks", "in force"),
                [
                    (each.work_id, each.version_date, each.path, each.chunks, "yes" if each.in_force else "no")
                    for each in found.versions
                ],
            )
        if found.retired:
            console.print(f"retired: {found.retired} rows whose text is no longer in force; nothing is trained on them")
        for line in found.stale:
            console.print(f"stale: {line}")
        if found.learnt_worst:
            console.print(
                f"highest loss after training {found.learnt_worst[0].run_id}; a wrong row is most likely among these:"
            )
            for each in found.learnt_worst:
                console.print(f"  {each.loss:.3f}  {each.row_id}  {each.about}{f' ({each.kind})' if each.kind else ''}")
                console.print(f"         {each.question}\n         -> {each.answer}")
            console.print("look: finreg show ft_training --mask --where row_id=ROW_ID")
        for line in found.lineage:
            console.print(line)
        tables = {each.name: {"rows": each.rows, "version": each.version} for each in found.tables}
        return {
            "tables": tables,
            "versions": [vars(each) for each in found.versions],
            "retired": found.retired,
            "stale": found.stale,
            "learnt_worst": [vars(each) for each in found.learnt_worst],
            **({"lineage": found.lineage} if lineage else {}),
        }

    run_command("status", look, output, verbose)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="A table's name, as 'finreg status' lists them.", metavar="TABLE")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many rows, spread over the table.")] = 5,
    where: Where = None,
    mask: Annotated[
        bool,
        typer.Option(
            "--mask",
            help="ft_training and ft_eval as the trainer sees them: ⟦tokens with loss⟧, the end of the turn, cuts.",
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Show rows of a table as a person reads them."""

    def look(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration

        loaded = configuration.load(config, overrides or ())
        show_rows = _as_trained_on if mask else _as_stored
        return {"table": table, "rows": show_rows(loaded, console, table, sample, where or ())}

    run_command("show", look, output, verbose)


def _as_stored(config: Config, console: Console, table: str, sample: int, where: Sequence[str]) -> list[Any]:
    from finreg_cli import wiring
    from finreg_cli.stages.status import sample_rows

    with wiring.open_lakehouse(config) as lakehouse:
        rows = sample_rows(lakehouse, table, sample, where)
    for number, row in enumerate(rows, start=1):
        console.record(f"{table}, {number} of {len(rows)}", row)
    return rows


def _as_trained_on(config: Config, console: Console, table: str, sample: int, where: Sequence[str]) -> list[Any]:
    from finreg_cli import wiring
    from finreg_cli.stages.status import sample_training_rows

    with wiring.open_services(config, "show", console, writes_tables=False) as services:
        seen = services.seen_rows(sample_training_rows(services.lakehouse, table, sample, where))
    for number, row in enumerate(seen, start=1):
        console.record(f"{table}, {number} of {len(seen)}", row.shown())
        if row.segments:
            console.marked("text", row.pieces())
    return [row.as_json() for row in seen]


@app.command()
def diff(
    old: Annotated[
        str,
        typer.Argument(
            help="A file, or a version in the tables: a document_id, a path, WORK@DATE or WORK (its newest).",
            metavar="OLD",
        ),
    ],
    new: Annotated[
        str | None, typer.Argument(help="The same; left out: the two newest versions of the work OLD.", metavar="[NEW]")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    rows: Annotated[bool, typer.Option("--rows", help="Also which rows of qa_dataset hang on what changed.")] = False,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
) -> None:
    """Compare two versions of a regulation, article by article."""

    def compare(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring
        from finreg_cli.stages.diff import difference

        loaded = configuration.load(config, overrides or ())
        with wiring.open_services(loaded, "diff", console, writes_tables=False) as services:
            found = difference(services.lakehouse, services.reader, old, new, rows)
        for warning in found.warnings:
            console.warn(warning)
        for line in found.lines():
            console.print(line)
        return found.as_json()

    run_command("diff", compare, output, verbose)


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="A table's name, as 'finreg status' lists them.", metavar="TABLE")],
    file: Annotated[Path, typer.Argument(help="Where to write it: .jsonl, .parquet or .csv.", metavar="FILE")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    form: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="rows: the table's own columns; the others: what trainers take. Left out: messages where the table "
            "holds rows to train on; rows for any other, for CSV and with --columns.",
        ),
    ] = None,
    split: Annotated[
        ExportSplit | None, typer.Option("--split", help="Left out: train for a trainer's format, both for rows.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Only these, in this order; with a trainer's --format they stand beside its own.",
            metavar="A,B",
        ),
    ] = None,
    where: Where = None,
    version: Annotated[
        int | None, typer.Option("--version", min=0, help="Of the table; left out: the latest.", metavar="N")
    ] = None,
    include_retired: Annotated[
        bool, typer.Option("--include-retired", help="Also rows whose text is no longer in force (rows only).")
    ] = False,
    include_not_trainable: Annotated[
        bool,
        typer.Option("--include-not-trainable", help="Also rows whose endpoint forbids training on its outputs."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    output: OutputFormat = Output.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a table as a file that other tools and trainers take, with its provenance beside it."""

    def write(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring
        from finreg_cli.stages.export import Selection
        from finreg_cli.stages.export import export as export_table

        selection = Selection(
            form=form.value if form else None,
            split=split.value if split else None,
            columns=[name.strip() for name in columns.split(",")] if columns else [],
            where=where or [],
            version=version,
            include_retired=include_retired,
            include_not_trainable=include_not_trainable,
        )
        loaded = configuration.load(config, overrides or ())
        with wiring.open_services(loaded, "export", console, writes_tables=False) as services:
            lakehouse = services.lakehouse
            made = export_table(loaded, lakehouse, table, file, selection, lambda: services.reading, console, force)
        for warning in made.warnings:
            console.warn(warning)
        for line in made.lines():
            console.print(line)
        return made.as_json()

    run_command("export", write, output, verbose, quiet)

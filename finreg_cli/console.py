"""What a person sees: progress, summaries, tables and error panels. Everything but the result goes to stderr."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from finreg_cli.domain.progress import Advance
from finreg_cli.errors import FinregError

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines of one piece of work, where there is no terminal."""


class Console:
    """Progress and messages of one command; implements `finreg_cli.domain.progress.Progress`.

    Args:
        quiet: only errors and the result.
        verbose: tracebacks too.
        json: stdout is kept for one JSON object; summaries are left out.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False, json: bool = False) -> None:
        self.quiet, self.verbose, self.json = quiet, verbose, json
        self.warnings: list[str] = []
        self._out = RichConsole(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._err = RichConsole(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        if self.quiet:
            yield lambda steps: None
        elif self._err.is_terminal:
            with self._bar(unit) as bar:
                task = bar.add_task(description, total=total)
                yield lambda steps: bar.advance(task, steps)
        else:
            line = _PlainProgress(self._err, description, total, unit)
            yield line.advance
            line.end()

    def _bar(self, unit: str) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._err,
        )

    def note(self, message: str) -> None:
        if not self.quiet:
            self._err.print(escape(message))

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        if not self.quiet:
            self._err.print(f"[yellow]warning:[/] {escape(message)}")

    def error(self, error: FinregError) -> None:
        body = escape(error.message)
        if error.remedy:
            body += f"\n\n[bold]next:[/] {escape(error.remedy)}"
        if self._err.is_terminal:
            self._err.print(Panel(body, title="error", border_style="red", expand=False))
        else:
            self._err.print(f"error: {error.message}", markup=False)
            if error.remedy:
                self._err.print(f"next: {error.remedy}", markup=False)

    def traceback(self) -> None:
        self._err.print_exception(show_locals=False)  # locals may hold a token

    def print(self, text: str = "") -> None:
        """A line of the result, to stdout; nothing where stdout is kept for JSON."""
        if not self.json:
            self._out.print(text, markup=False)

    def rule(self, title: str) -> None:
        if not self.quiet:
            self._err.rule(escape(title), align="left")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of the result, to stdout; numbers to the right."""
        if self.json:
            return
        table = RichTable(header_style="bold")
        for index, name in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(escape(_cell(cell)) for cell in row))
        self._out.print(table)

    def record(self, title: str, row: Mapping[str, Any]) -> None:
        """One row of a table as a person reads it: empty columns left out, long texts on lines of their own."""
        if self.json:
            return
        self._out.rule(escape(title), align="left")
        for name, value in row.items():
            text = _cell(value)
            if value in (None, "", []):
                continue
            separator = "\n" if "\n" in text or len(text) > 100 else " "
            self._out.print(f"[bold cyan]{name}:[/]{separator}{escape(text)}")

    def side_by_side(self, columns: Sequence[tuple[str, str, str, str]]) -> None:
        """Texts beside each other in a terminal, below each other elsewhere: (title, text, verdict, its style)."""
        if self.json:
            return
        if not self._out.is_terminal:
            for title, text, verdict, _ in columns:
                self._out.print(f"\n{title}:\n{text}\n-> {verdict}", markup=False)
            return
        table = RichTable(header_style="bold", expand=True, show_lines=True)
        for title, *_ in columns:
            table.add_column(escape(title), ratio=1, overflow="fold")
        table.add_row(*(escape(text) for _, text, _, _ in columns))
        table.add_row(*(f"[{style}]{escape(verdict)}[/]" for *_, verdict, style in columns))
        self._out.print(table)

    def marked(self, name: str, pieces: Iterable[tuple[str, bool]]) -> None:
        """A text in pieces, of which those that say True stand out by their colour, too."""
        if not self.json:
            styled = (Text(text, style="green" if stands_out else "") for text, stands_out in pieces)
            self._out.print(Text.assemble(Text(f"{name}:\n", style="bold cyan"), *styled))

    def summary(
        self,
        stage: str,
        seconds: float,
        counts: Mapping[str, Any],
        tables: Mapping[str, Any],
        findings: Sequence[str],
    ) -> None:
        if self.json:
            return
        self._out.print(f"[bold green]{stage}[/]: {seconds:.1f} s")
        for name, value in counts.items():
            if value not in (None, {}, []):
                self._out.print(f"  {name.replace('_', ' ')}: {escape(_cell(value))}")
        for finding in findings:
            self._out.print(f"  {escape(finding)}")
        if tables and not self.quiet:
            rows = [(name, state.rows, state.version) for name, state in tables.items()]
            self.table(("table", "rows", "version"), rows)


class _PlainProgress:
    """A start line, a line every `PLAIN_INTERVAL` seconds, an end line."""

    def __init__(self, console: RichConsole, description: str, total: int | None, unit: str) -> None:
        self._console, self._description, self._total, self._unit = console, description, total, unit
        self._done = 0
        self._started = self._said = time.monotonic()
        self._say("..." if total is None else f"{total} {unit}".rstrip())

    def advance(self, steps: int) -> None:
        self._done += steps
        if time.monotonic() - self._said >= PLAIN_INTERVAL:
            self._said = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            self._say(f"{self._done}{of} {self._unit}".rstrip())

    def end(self) -> None:
        done = f"{self._done} {self._unit}".rstrip() + ", " if self._done or self._total is not None else ""
        self._say(f"{done}{time.monotonic() - self._started:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._description}: {text}", markup=False)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "\n".join(f"- {_cell(item)}" for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items()) or "-"
    return str(value)


def command_line(arguments: Sequence[str]) -> str:
    """The command as a person can type it again."""
    return shlex.join(["finreg", *arguments])

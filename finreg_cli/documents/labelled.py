"""Labelled documents from files: JSONL, CSV, or a folder of PDF and text files with a file of labels.

A line, a row or a file that gives no labelled document is an outcome with its reason, and never ends the reading of
the others.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn

from finreg_cli.documents.base import LabelledDocument, SourceFile, UnreadableFile, UnusableDocument
from finreg_cli.documents.files import Source, search
from finreg_cli.documents.pool import PdfEngine, SupervisedTexts
from finreg_cli.domain.extraction import Schema, parse_object
from finreg_cli.domain.identity import content_hash
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed

_TABLES = (".jsonl", ".ndjson", ".csv")
_DOCUMENTS = (".pdf", ".txt", ".md")
_DOCUMENT_COLUMNS = ("lease_doc", "document", "text")
_LABEL_FILES = ("labels.jsonl", "labels.csv")
_MOST_CHARACTERS = 2**31 - 1  # of a CSV cell: the csv module's own limit of 128 KB is less than a long lease
_REMEDY = "name a JSONL or CSV file of labelled documents, or a folder of PDF and text files with their labels"


class FileSource:
    """Implements `finreg_cli.documents.base.LabelledSource`.

    JSONL and CSV have the columns ``lease_doc`` (or ``document``, or ``text``) and ``labels`` (an object, or its JSON
    text; in a CSV alternatively one column for each key, where an empty cell is null), and may have ``lease_id`` (else
    the document's content hash) and ``split``. A folder's file of labels names each ``file`` in place of its text;
    there the ``lease_id`` is by default the file's stem. Other columns are ignored.

    Args:
        schema: the keys and types of a CSV's cells.
        pdf_engine: ``auto`` is pdfium, and pypdf for files that it fails on.
        workers: processes that read PDFs at a time; default one per core.
    """

    def __init__(self, schema: Schema, pdf_engine: PdfEngine = "auto", workers: int | None = None) -> None:
        self._schema = schema
        self._pdfs = SupervisedTexts(pdf_engine, workers)

    def read(self, path: str, labels: str | None = None) -> Iterator[LabelledDocument | UnusableDocument]:
        """See `LabelledSource.read`.

        A folder's documents are all read before the first one is given, as the workers finish them in any order.
        """
        place = Path(path)
        if place.suffix.lower() not in _TABLES or place.is_dir():
            return self._from_folder(path, labels)
        if labels is not None:
            raise ConfigError(
                f"{path} holds the labels itself, and yet {labels} is named as the file of labels",
                "leave 'labels' out; it is for a folder of PDF and text files",
            )
        if not place.is_file():
            raise NothingToDo(f"{path}: there is no such file", _REMEDY)
        return self._from_table(place)

    def text(self, path: Path) -> str:
        """See `LabelledSource.text`; of a text file all characters, but for a byte order mark."""
        if not path.is_file():
            raise StageFailed(f"{path}: there is no such file", "name PDF or text files")
        text = self._texts([SourceFile(str(path), path.absolute())])[str(path)]
        if isinstance(text, UnusableDocument):
            raise StageFailed(f"{path} cannot be read ({text.error_class}): {text.message}", "mend or replace the file")
        return text

    # --- JSONL and CSV -----------------------------------------------------------------------------------------------

    def _from_table(self, path: Path) -> Iterator[LabelledDocument | UnusableDocument]:
        empty = True
        for row in self._rows(path, _DOCUMENT_COLUMNS):
            empty = False
            yield row if isinstance(row, UnusableDocument) else _labelled(row)
        if empty:
            raise NothingToDo(f"{path}: holds no labelled document", _REMEDY)

    def _rows(self, path: Path, wanted: Sequence[str]) -> Iterator[_Row | UnusableDocument]:
        """The rows of a JSONL or CSV file; ``wanted`` are columns of which a CSV must have one.

        Raises:
            ConfigError: it cannot be opened, is not in UTF-8, or is a CSV without the columns that are needed.
        """
        try:
            with path.open("rb") as file:
                begin = file.read(4)
            if begin[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in begin:
                raise ConfigError(f"{path} is no text in UTF-8: it begins with {begin!r}", "save it as UTF-8")
            yield from self._csv_rows(path, wanted) if path.suffix.lower() == ".csv" else _json_rows(path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", "check the path and its rights") from None

    def _csv_rows(self, path: Path, wanted: Sequence[str]) -> Iterator[_Row | UnusableDocument]:
        csv.field_size_limit(_MOST_CHARACTERS)
        # A byte that is not UTF-8 is carried along, for it is an error of its row alone.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = self._header(path, reader, wanted)
            while True:
                place = f"{path.name}:{reader.line_num + 1}"
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield UnusableDocument(place, "parse", f"is not valid CSV: {error}")
                    continue
                if any(cell.strip() for cell in cells):
                    yield self._csv_row(place, header, cells)

    def _header(self, path: Path, reader: Iterator[list[str]], wanted: Sequence[str]) -> list[str]:
        try:
            header = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise ConfigError(
                f"{path}: its first line is not valid CSV: {error}", "mend the line of column names"
            ) from None
        header = list(map(_printable, header))
        if not any(header):
            raise NothingToDo(f"{path}: has no line of column names", _REMEDY)
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise ConfigError(f"{path} has the column '{twice[0]}' twice", "give each column a name of its own")
        for needed in (wanted, ("labels", *self._schema.keys)):
            if not any(name in header for name in needed):
                raise ConfigError(
                    f"{path} has none of the columns {', '.join(needed)}; it has {', '.join(header)}",
                    "name the columns so in its first line",
                )
        return header

    def _csv_row(self, place: str, header: Sequence[str], cells: Sequence[str]) -> _Row | UnusableDocument:
        if len(cells) != len(header):
            return UnusableDocument(
                place, "parse", f"has {len(cells)} cells; the first line names {len(header)} columns"
            )
        values: dict[str, Any] = dict(zip(header, cells, strict=True))
        if not values.get("labels", "").strip():
            values["labels"] = {
                each.name: _cell_value(values[each.name], each.type)
                for each in self._schema.fields
                if each.name in values
            }
        return _checked(_Row(place, values))

    # --- A folder ----------------------------------------------------------------------------------------------------

    def _from_folder(self, path: str, labels: str | None) -> Iterator[LabelledDocument | UnusableDocument]:
        source = search(path, _DOCUMENTS)
        if source is None:
            raise NothingToDo(f"{path}: there is no such file or folder", _REMEDY)
        if not source.files and not source.refused:
            raise NothingToDo(f"{path}: holds no PDF or text file{_tables_in(source)}", _REMEDY)
        table = _label_file(source, labels)
        rows: dict[str, _Row] = {}
        for row in self._rows(table, ("file",)):
            problem = row if isinstance(row, UnusableDocument) else _keep(row, rows)
            if problem:
                yield problem
        texts = self._texts([file for file in source.files if file.path in rows])
        for file in source.files:
            yield _labelled_file(file.path, rows.pop(file.path, None), texts.get(file.path), table)
        for name in source.refused:
            rows.pop(name, None)
            yield UnusableDocument(_printable(name), "link", "is a link that leads out of the source, not followed")
        for name, row in rows.items():
            yield UnusableDocument(row.path, "labels", f"names the file {name}, which is not in {path}")

    def _texts(self, files: Sequence[SourceFile]) -> dict[str, str | UnusableDocument]:
        """The text of each file, or why it has none, by path."""
        texts: dict[str, str | UnusableDocument] = {}
        pdfs = []
        for file in files:
            if file.absolute.suffix.lower() == ".pdf":
                pdfs.append(file)
            else:
                texts[file.path] = _plain_text(file)
        for read in self._pdfs.read(pdfs):
            texts[read.path] = (
                UnusableDocument(read.path, read.error_class, read.message)
                if isinstance(read, UnreadableFile)
                else read.text
            )
        return texts


@dataclass(frozen=True)
class _Row:
    """A row of a JSONL or CSV file; ``path`` is the file with the line, from 1, on which it begins."""

    path: str
    values: dict[str, Any]


class _Unusable(Exception):
    """Why a row gives no labelled document; ``error_class`` is that of `UnusableDocument`."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class

    def at(self, path: str) -> UnusableDocument:
        return UnusableDocument(path, self.error_class, str(self))


# --- From a row to a labelled document -------------------------------------------------------------------------------


def _labelled(row: _Row) -> LabelledDocument | UnusableDocument:
    try:
        document = next((row.values[name] for name in _DOCUMENT_COLUMNS if row.values.get(name) is not None), None)
        if not isinstance(document, str):
            raise _Unusable("parse", f"its lease_doc (or document, text) is {_shown(document)}, not a text")
        if not document.strip():
            raise _Unusable("empty", "its document is empty")
        lease_id = _lease_id(row) or content_hash(document)
        return LabelledDocument(row.path, lease_id, document, _labels(row), _split(row))
    except _Unusable as problem:
        return problem.at(row.path)


def _labelled_file(
    path: str, row: _Row | None, text: str | UnusableDocument | None, table: Path
) -> LabelledDocument | UnusableDocument:
    if row is None or text is None:
        return UnusableDocument(_printable(path), "labels", f"has no row in {table.name}")
    if isinstance(text, UnusableDocument):
        return text
    try:
        return LabelledDocument(path, _lease_id(row) or PurePosixPath(path).stem, text, _labels(row), _split(row))
    except _Unusable as problem:
        return UnusableDocument(path, problem.error_class, f"{problem} ({row.path})")


def _lease_id(row: _Row) -> str | None:
    given = row.values.get("lease_id")
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise _Unusable("parse", f"its lease_id is {_shown(given)}, not a text")
    return str(given).strip()


def _labels(row: _Row) -> dict[str, Any]:
    given = row.values.get("labels")
    if isinstance(given, str):
        return _json_object(given, "labels", "its labels are")
    if not isinstance(given, dict):
        raise _Unusable("labels", f"its labels are {_shown(given)}, not a JSON object")
    return given


def _split(row: _Row) -> Literal["train", "holdout"] | None:
    given = row.values.get("split")
    named = given.strip().lower() if isinstance(given, str) else given
    if named == "train":
        return "train"
    if named == "holdout":
        return "holdout"
    if named is None or named == "":
        return None
    raise _Unusable("labels", f"its split is {_shown(given)}, neither train nor holdout")


def _cell_value(cell: str, type_: str) -> Any:
    """A cell by the type of its key; as text, where it is of another, for the schema to refuse."""
    text = cell.strip()
    if not text:
        return None
    if type_ == "string":
        return text
    try:
        return json.loads(text.lower())  # spreadsheets write TRUE and 1E5
    except ValueError:
        return text


# --- From bytes to rows and texts ------------------------------------------------------------------------------------


def _json_rows(path: Path) -> Iterator[_Row | UnusableDocument]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _json_row(f"{path.name}:{number}", line)


def _json_row(place: str, line: bytes) -> _Row | UnusableDocument:
    try:
        return _checked(_Row(place, _json_object(line.decode().strip(), "parse", "is")))
    except UnicodeDecodeError as error:
        return UnusableDocument(place, "bad_encoding", f"is not in UTF-8: byte {error.start + 1} of the line")
    except _Unusable as problem:
        return problem.at(place)


def _json_object(text: str, error_class: str, subject: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _Unusable(error_class, f"{subject} not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _Unusable(error_class, f"{subject} {_shown(value)}, not a JSON object")
    if parse_object(text) is None:
        raise _Unusable(error_class, f"{subject} a JSON object in which a key stands twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _checked(row: _Row) -> _Row | UnusableDocument:
    """The row, if all of it is Unicode text: neither a byte that was carried along nor half a character in JSON."""
    try:
        json.dumps(row.values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        return UnusableDocument(row.path, "bad_encoding", f"is not in UTF-8, or holds half a character: {found!r}")
    return row


def _plain_text(file: SourceFile) -> str | UnusableDocument:
    try:
        text = file.absolute.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return UnusableDocument(file.path, "parse", f"cannot be opened: {error.strerror}")
    except UnicodeDecodeError as error:
        return UnusableDocument(file.path, "bad_encoding", f"is no text in UTF-8: byte {error.start + 1}")
    if "\x00" in text:
        return UnusableDocument(file.path, "bad_encoding", "is no text in UTF-8: it holds NUL characters")
    return text if text.strip() else UnusableDocument(file.path, "empty", "holds no text")


# --- The file of labels ----------------------------------------------------------------------------------------------


def _label_file(source: Source, labels: str | None) -> Path:
    if labels is not None:
        return Path(labels)
    for name in _LABEL_FILES:
        if (source.root / name).is_file():
            return source.root / name
    raise ConfigError(
        f"{source.root} has no file of labels ({' or '.join(_LABEL_FILES)}){_tables_in(source)}",
        "give the labels of its documents: --set source.labels=FILE (JSONL or CSV with the column 'file')",
    )


def _tables_in(source: Source) -> str:
    """A hint, as one that names a folder may mean the file of labelled documents in it."""
    tables = sorted(path for path in source.root.iterdir() if path.suffix.lower() in _TABLES)
    return f"; there is {tables[0]}, which can be named itself" if tables else ""


def _keep(row: _Row, rows: dict[str, _Row]) -> UnusableDocument | None:
    """Adds the row under the file that it names; the outcome, where it names none or one that has its labels."""
    given = row.values.get("file")
    if not isinstance(given, str) or not given.strip():
        return UnusableDocument(row.path, "labels", f"its file is {_shown(given)}, not a path within the folder")
    name = PurePosixPath(given.strip().replace("\\", "/")).as_posix()
    if name in rows:
        return UnusableDocument(row.path, "labels", f"names the file {name}, as {rows[name].path} does")
    rows[name] = row
    return None


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = _printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _printable(text: str) -> str:
    """With half characters and foreign bytes of file names escaped, which neither a table nor a terminal takes."""
    return text.encode(errors="backslashreplace").decode()

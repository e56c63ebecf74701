"""Labelled documents from real files: JSONL, CSV, folders of PDF and text, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fakes import pdf_files
from fakes.leases import labelled
from finreg_cli.documents import layout
from finreg_cli.documents.base import LabelledDocument, UnusableDocument
from finreg_cli.documents.labelled import FileSource
from finreg_cli.documents.lines import LINE_HYPHEN, Line
from finreg_cli.domain.extraction import LEASE, Field, Schema, find
from finreg_cli.domain.identity import content_hash
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed

SCHEMA = Schema((Field("lessee"), Field("floors", type="integer"), Field("let", type="boolean")))
LABELS = {"lessee": "Tobias Wren", "floors": 2, "let": True}
TEXT = "Tobias Wren rents two floors."

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return run


@pytest.fixture
def shared() -> Path:
    folder = Path(__file__).parents[2] / "../shared"
    if not folder.is_dir():
        pytest.skip("the real leases are not beside this checkout")
    return folder


def read(path: Path | str, labels: Path | None = None, schema: Schema = SCHEMA) -> list[Any]:
    return list(FileSource(schema, workers=1).read(str(path), str(labels) if labels else None))


def line(**values: Any) -> str:
    return json.dumps({"lease_id": "a", "lease_doc": TEXT, "labels": LABELS, **values}, ensure_ascii=False) + "\n"


def unusable(outcomes: Iterable[Any]) -> dict[str, tuple[str, str]]:
    found = [outcome for outcome in outcomes if isinstance(outcome, UnusableDocument)]
    return {each.path: (each.error_class, each.message) for each in found}


# --- JSONL -----------------------------------------------------------------------------------------------------------


def test_jsonl_with_mark_windows_lines_and_blank_ones(write: Write) -> None:
    path = write("leases.jsonl", "\ufeff" + line(note="ignored").replace("\n", "\r\n") + "\r\n" + line(lease_id=7))
    assert read(path) == [
        LabelledDocument("leases.jsonl:1", "a", TEXT, LABELS),
        LabelledDocument("leases.jsonl:3", "7", TEXT, LABELS),
    ]


@pytest.mark.parametrize("column", ["lease_doc", "document", "text"])
def test_the_document_has_several_names_and_its_id_and_side_may_be_missing(write: Write, column: str) -> None:
    path = write("leases.jsonl", json.dumps({column: TEXT, "labels": json.dumps(LABELS)}))
    (document,) = read(path)
    assert (document.lease_id, document.document, document.labels) == (content_hash(TEXT), TEXT, LABELS)
    assert document.split is None


def test_the_side_that_a_line_names_is_kept(write: Write) -> None:
    path = write("leases.jsonl", line(split="train") + line(split="Holdout ") + line(split="") + line(split=None))
    assert [document.split for document in read(path)] == ["train", "holdout", None, None]


def test_a_separator_within_a_text_ends_no_line(write: Write) -> None:
    text = "one\u2028two\u0085three"
    (document,) = read(write("leases.jsonl", line(lease_doc=text)))
    assert document.document == text


@pytest.mark.parametrize(
    ("broken", "error_class", "said"),
    [
        ('{"lease_id": "b", "lease_doc": "cut', "parse", "is not valid JSON: Unterminated string"),
        ("[1, 2]", "parse", "is [1, 2], not a JSON object"),
        ('{"lease_id": "b", "lease_id": "c"}', "parse", "a key stands twice"),
        ('{"lease_doc": "x", "labels": {"floors": NaN}}', "parse", "NaN is no JSON"),
        (line(lease_doc=None), "parse", "its lease_doc (or document, text) is missing"),
        (line(lease_doc=["x"]), "parse", 'is ["x"], not a text'),
        (line(lease_doc=" \n"), "empty", "is empty"),
        (line(lease_id=[1]), "parse", "its lease_id is [1], not a text"),
        (line(labels=None), "labels", "its labels are missing, not a JSON object"),
        (line(labels="Tobias"), "labels", "its labels are not valid JSON"),
        (line(labels='{"let": 1, "let": 2}'), "labels", "a key stands twice"),
        (line(split="test"), "labels", 'its split is "test", neither train nor holdout'),
        ('{"lease_doc": "\\ud800", "labels": {}}', "bad_encoding", "half a character"),
        ("[" * 100_000, "parse", "is not valid JSON"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(write: Write, broken: str, error_class: str, said: str) -> None:
    path = write("leases.jsonl", line() + broken.strip() + "\n" + line(lease_id="z"))
    first, bad, last = read(path)
    assert (first.lease_id, last.lease_id) == ("a", "z")
    assert (bad.path, bad.error_class) == ("leases.jsonl:2", error_class)
    assert said in bad.message
    bad.message.encode()  # it goes to a table


def test_a_line_in_another_encoding_is_that_lines_error(write: Write) -> None:
    path = write("leases.jsonl", line(lease_doc="Café").encode("latin-1") + line().encode())
    bad, good = read(path)
    assert (bad.error_class, good.lease_id) == ("bad_encoding", "a")


def test_a_file_in_utf_16_is_refused_as_a_whole(write: Write) -> None:
    for name in ("leases.jsonl", "leases.csv"):
        with pytest.raises(ConfigError, match="no text in UTF-8"):
            read(write(name, line().encode("utf-16")))


def test_what_is_not_there_or_empty_is_nothing_to_do(write: Write, tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path / "none", write("a.jsonl", "\n \n"), write("b.csv", "")):
        with pytest.raises(NothingToDo):
            read(path)


def test_a_file_of_labelled_documents_takes_no_labels_file(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds the labels itself"):
        read(write("leases.jsonl", line()), tmp_path / "labels.csv")


def test_the_real_leases_are_read_whole(shared: Path) -> None:
    documents = read(shared / "data/leases/real_leases.jsonl", schema=LEASE)
    assert len(documents) == 6
    for document in documents:
        assert not LEASE.problems(document.labels)
        assert all(value is None or find(value, document.document) for value in document.labels.values())


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_with_a_column_for_each_key(write: Write) -> None:
    path = write(
        "leases.csv",
        "\ufefflease_id,lease_doc,lessee,floors,let,split\r\n"
        'a,"Tobias ""T"" Wren,\r\nfloor 2",Tobias Wren ,2,TRUE,holdout\r\n'
        "\r\n"
        "b,Nothing said,,,,\r\n"
        "c,Odd,Orla,many,maybe,train\r\n",
    )
    assert read(path) == [
        LabelledDocument("leases.csv:2", "a", 'Tobias "T" Wren,\r\nfloor 2', LABELS, "holdout"),
        LabelledDocument("leases.csv:5", "b", "Nothing said", dict.fromkeys(SCHEMA.keys)),
        LabelledDocument("leases.csv:6", "c", "Odd", {"lessee": "Orla", "floors": "many", "let": "maybe"}, "train"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_labels_as_json_and_any_usual_delimiter(write: Write, delimiter: str) -> None:
    labels = '"' + json.dumps(LABELS).replace('"', '""') + '"'
    path = write("leases.csv", f"text{delimiter}labels\n{TEXT}{delimiter}{labels}\n")
    assert [document.labels for document in read(path)] == [LABELS]


def test_a_cell_longer_than_the_csv_module_takes_by_itself(write: Write) -> None:
    (document,) = read(write("leases.csv", f"text,lessee\n{'x' * 200_000},y\n"))
    assert len(document.document) == 200_000


def test_broken_rows_of_a_csv_are_named_and_the_others_are_read(write: Write) -> None:
    path = write("leases.csv", b'text,lessee\nx,y,z\nCaf\xe9,y\n"a"b,y\nx\nwhole,y\n"never closed,y\nlost,y\n')
    outcomes = read(path)
    assert [each.document for each in outcomes if isinstance(each, LabelledDocument)] == ["whole"]
    found = unusable(outcomes)
    assert {place: error_class for place, (error_class, _) in found.items()} == {
        "leases.csv:2": "parse",
        "leases.csv:3": "bad_encoding",
        "leases.csv:4": "parse",
        "leases.csv:5": "parse",
        "leases.csv:7": "parse",
    }
    assert found["leases.csv:2"][1] == "has 3 cells; the first line names 2 columns"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("lease_id,lessee", "none of the columns lease_doc, document, text; it has lease_id, lessee"),
        ("text,tenant", "none of the columns labels, lessee, floors, let; it has text, tenant"),
        ("text,lessee,text", "has the column 'text' twice"),
    ],
)
def test_a_csv_without_the_columns_that_are_needed_is_refused(write: Write, header: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(write("leases.csv", f"{header}\na,b,c\n"))


# --- Folders ---------------------------------------------------------------------------------------------------------


def lease_pdf(*paragraphs: str) -> bytes:
    return pdf_files.pages([[(pdf_files.BODY, text) for text in paragraphs]])


def test_a_folder_with_labels_gives_its_documents_in_order(write: Write, tmp_path: Path) -> None:
    write("docs/b.pdf", lease_pdf("This lease is made between Orla Feldman", "and Tobias Wren for two floors."))
    write("docs/a.txt", "\ufeff" + TEXT)
    write("docs/sub/c.md", "# Lease\n\n" + TEXT)
    rows = [
        {"file": "sub\\c.md", "labels": LABELS, "split": "holdout"},
        {"file": "./a.txt", "labels": LABELS, "lease_id": "first"},
        {"file": "b.pdf", "labels": LABELS},
    ]
    write("docs/labels.jsonl", "\n".join(map(json.dumps, rows)))
    a, b, c = read(tmp_path / "docs")
    assert (a.path, a.lease_id, a.document) == ("a.txt", "first", TEXT)
    assert (b.path, b.lease_id) == ("b.pdf", "b")
    assert find("Orla Feldman and Tobias Wren", b.document)
    assert (c.path, c.lease_id, c.split) == ("sub/c.md", "c", "holdout")


def test_every_file_and_every_label_without_its_other_half_is_named(write: Write, tmp_path: Path) -> None:
    outside = write("outside.txt", "not to be read")
    write("docs/a.txt", TEXT)
    write("docs/alone.txt", TEXT)
    write("docs/latin.txt", "Café".encode("latin-1"))
    write("docs/wide.txt", "wide".encode("utf-16-le"))
    write("docs/blank.txt", "\n")
    write("docs/bad.pdf", b"<html>")
    (tmp_path / "docs/out.txt").symlink_to(outside)
    names = ["a.txt", "gone.txt", "latin.txt", "wide.txt", "blank.txt", "bad.pdf", "out.txt", "a.txt", ""]
    labels = write("elsewhere.csv", "file,lessee,floors,let\n" + "".join(f"{name},x,1,true\n" for name in names))
    outcomes = read(tmp_path / "docs", labels)
    assert [each.lease_id for each in outcomes if isinstance(each, LabelledDocument)] == ["a"]
    found = unusable(outcomes)
    assert {place: error_class for place, (error_class, _) in found.items()} == {
        "alone.txt": "labels",
        "latin.txt": "bad_encoding",
        "wide.txt": "bad_encoding",
        "blank.txt": "empty",
        "bad.pdf": "not_pdf",
        "out.txt": "link",
        "elsewhere.csv:3": "labels",
        "elsewhere.csv:9": "labels",
        "elsewhere.csv:10": "labels",
    }
    assert "names the file gone.txt" in found["elsewhere.csv:3"][1]
    assert found["elsewhere.csv:9"][1] == "names the file a.txt, as elsewhere.csv:2 does"


def test_a_glob_takes_only_its_files_and_the_labels_of_its_folder(write: Write, tmp_path: Path) -> None:
    write("docs/a.txt", TEXT)
    write("docs/b.md", TEXT)
    write("docs/labels.csv", "file,lessee\na.txt,x\n")
    assert [each.lease_id for each in read(tmp_path / "docs" / "*.txt")] == ["a"]


def test_a_folder_without_labels_says_what_to_do(write: Write, tmp_path: Path) -> None:
    write("docs/a.txt", TEXT)
    with pytest.raises(ConfigError, match=r"has no file of labels \(labels.jsonl or labels.csv\)") as caught:
        read(tmp_path / "docs")
    assert "source.labels" in caught.value.remedy
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "docs", tmp_path / "none.csv")


def test_a_folder_that_holds_the_file_that_was_meant_names_it(write: Write, tmp_path: Path) -> None:
    write("docs/leases.jsonl", line())
    with pytest.raises(NothingToDo, match=r"holds no PDF or text file; there is .*leases.jsonl, which can be named"):
        read(tmp_path / "docs")
    write("docs/README.md", "About the leases")
    with pytest.raises(ConfigError, match=r"no file of labels.*leases.jsonl, which can be named"):
        read(tmp_path / "docs")


@pytest.mark.slow
def test_a_pdf_that_ends_its_process_does_not_end_the_reading(write: Write, tmp_path: Path) -> None:
    write("docs/endless.pdf", pdf_files.endless_form())
    write("docs/good.pdf", lease_pdf(TEXT))
    write("docs/labels.csv", "file,lessee\nendless.pdf,x\ngood.pdf,x\n")
    endless, good = read(tmp_path / "docs")
    assert endless.error_class == "crash"
    assert find("Tobias Wren", good.document)


# --- The text of one file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["pdfium", "pypdf"])
def test_every_value_of_a_printed_lease_survives(write: Write, engine: Any) -> None:
    source = FileSource(LEASE, engine, workers=1)
    for lease in labelled(3):
        content = [[(pdf_files.BODY, row) for row in lease.lease_doc.splitlines() if row]] * 2
        text = source.text(write("lease.pdf", pdf_files.pages(content)))
        for value in LEASE.loads(lease.labels).values():
            assert value is None or find(value, text)
        first, second = text.split("\n\n")  # running heads stay too: a value may stand in one
        assert first.replace("L 9/1", "") == second.replace("L 9/2", "")


def test_the_text_of_a_text_file_is_its_characters(write: Write) -> None:
    source = FileSource(SCHEMA)
    assert source.text(write("lease.txt", "\ufeffOne\r\n\r\ntwo ")) == "One\r\n\r\ntwo "


def test_a_file_without_text_fails_with_its_reason(write: Write, tmp_path: Path) -> None:
    source = FileSource(SCHEMA, workers=1)
    with pytest.raises(StageFailed, match=r"scan.pdf cannot be read \(no_text\)"):
        source.text(write("scan.pdf", pdf_files.scanned()))
    with pytest.raises(StageFailed, match=r"word.docx cannot be read \(bad_encoding\)"):
        source.text(write("word.docx", b"PK\x03\x04\xff\xfe"))
    with pytest.raises(StageFailed, match="there is no such file"):
        source.text(tmp_path / "none.txt")


def test_words_broken_at_a_line_or_page_end_are_whole_again() -> None:
    def printed(text: str, page: int, baseline: float) -> Line:
        return Line(text, page, 842, "Times", 10, 10, False, False, 60, 300, baseline, baseline)

    pages = [
        [printed(f"the prem{LINE_HYPHEN}", 1, 400), printed("ises are let", 1, 388), printed("Rent: 5", 1, 376)],
        [],
        [printed(f"for an agree{LINE_HYPHEN}", 3, 20), printed("ment", 3, 8)],
    ]
    assert layout.text(pages) == "the premises are let\nRent: 5\n\nfor an agreement"

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from fakes.celex_server import CelexServer
from finreg_cli.documents import fetch as fetching
from finreg_cli.documents.fetch import Fetched, fetch, parse_celex
from finreg_cli.errors import ConfigError, StageFailed

CRR = "32013R0575"
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 2000 + b"\n%%EOF\n"
HTML = b"<html><body>" + b"<p>Institutions shall hold own funds.</p>" * 100 + b"</body></html>"
NAME = f"CELEX_{CRR}_EN.pdf"


@pytest.fixture
def office() -> Iterator[CelexServer]:
    documents = {
        (CRR, "eng", "application/pdf"): PDF,
        (CRR, "eng", "application/xhtml+xml"): HTML,
        (CRR, "deu", "application/pdf"): PDF + b"%%EOF",
    }
    with CelexServer(documents) as server:
        yield server


def get(office: CelexServer, folder: Path, **options: Any) -> Fetched:
    return fetch(CRR, folder, base_url=office.url, pause=0.0, timeout=10.0, **options)[0]


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} - {".sources.lock"}


def test_the_file_and_its_record(office: CelexServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = get(office, tmp_path / "new", on_progress=lambda done, total: seen.append((done, total)))
    assert (found.path, found.state) == (tmp_path / "new" / NAME, "new")
    assert found.path.read_bytes() == PDF
    assert seen[-1] == (len(PDF), len(PDF))
    assert names(tmp_path / "new") == {NAME, "sources.json"}
    record = json.loads((tmp_path / "new/sources.json").read_text())["files"][NAME]
    assert record == {
        "celex": CRR,
        "language": "EN",
        "format": "pdf",
        "url": f"{office.url}/resource/celex/{CRR}",
        "final_url": f"{office.url}/cellar/{CRR}/eng/application/pdf",
        "sha256": hashlib.sha256(PDF).hexdigest(),
        "bytes": len(PDF),
        "etag": record["etag"],
        "last_modified": None,
        "fetched_at": record["fetched_at"],
    }
    assert datetime.fromisoformat(record["fetched_at"]).tzinfo is not None


def test_both_formats_and_another_language(office: CelexServer, tmp_path: Path) -> None:
    both = fetch(f"celex:{CRR}", tmp_path, formats=("pdf", "html"), base_url=office.url)
    assert [each.path.name for each in both] == [NAME, f"CELEX_{CRR}_EN.html"]
    german = get(office, tmp_path, language="de")
    assert german.path.name == f"CELEX_{CRR}_DE.pdf"
    assert len(json.loads((tmp_path / "sources.json").read_text())["files"]) == 3


def test_a_second_fetch_asks_on_a_condition(office: CelexServer, tmp_path: Path) -> None:
    first = get(office, tmp_path)
    second = get(office, tmp_path)
    assert (second.state, second.sha256, second.fetched_at) == ("unchanged", first.sha256, first.fetched_at)
    assert [each.status for each in office.files_asked] == [200, 304]
    office.documents[CRR, "eng", "application/pdf"] = PDF.replace(b"1.7", b"1.6")
    assert get(office, tmp_path).state == "changed"
    assert (tmp_path / NAME).read_bytes().startswith(b"%PDF-1.6")


def test_a_file_that_was_damaged_since_is_fetched_whole(office: CelexServer, tmp_path: Path) -> None:
    get(office, tmp_path)
    (tmp_path / NAME).write_bytes(b"%PDF- damaged")
    assert get(office, tmp_path).state == "changed"
    assert (tmp_path / NAME).read_bytes() == PDF


@pytest.mark.parametrize("faults", [["cut"], ["cut", "cut", "cut"], ["202"], ["429", "503"], ["cut", "wrong_range"]])
def test_what_passes_is_overcome(office: CelexServer, tmp_path: Path, faults: list[str]) -> None:
    office.faults = list(faults)
    assert get(office, tmp_path).path.read_bytes() == PDF
    assert names(tmp_path) == {NAME, "sources.json"}
    assert office.faults == []


def test_a_broken_download_goes_on_where_it_stopped(office: CelexServer, tmp_path: Path) -> None:
    office.faults = ["cut"]
    get(office, tmp_path)
    first, second = office.files_asked
    assert "Range" not in first.headers
    assert (second.status, second.headers["Range"]) == (206, f"bytes={len(PDF) // 2}-")


def test_a_later_command_goes_on_too(office: CelexServer, tmp_path: Path) -> None:
    office.faults = ["cut", "404"]
    with pytest.raises(StageFailed, match="no such document"):
        get(office, tmp_path)
    assert NAME not in names(tmp_path)
    get(office, tmp_path)
    assert office.files_asked[-1].status == 206
    assert (tmp_path / NAME).read_bytes() == PDF


def test_a_server_without_ranges_starts_anew(office: CelexServer, tmp_path: Path) -> None:
    office.faults = ["cut", "no_range"]
    assert get(office, tmp_path).path.read_bytes() == PDF
    assert [each.status for each in office.files_asked] == [200, 200]


def test_a_document_that_changed_meanwhile_starts_anew(office: CelexServer, tmp_path: Path) -> None:
    office.faults = ["cut", "404"]
    with pytest.raises(StageFailed):
        get(office, tmp_path)
    changed = PDF.replace(b"1.7", b"1.4")
    office.documents[CRR, "eng", "application/pdf"] = changed
    assert get(office, tmp_path).path.read_bytes() == changed


@pytest.mark.parametrize(
    ("faults", "message", "remedy"),
    [
        (["404"], "no such document in EN as pdf", "--format html"),
        (["300"], "several files", "--format"),
        (["202"] * 9, "202 Accepted", "later"),
        (["503"] * 9, "status 503.*5 times", "later"),
        (["waf"], "no PDF: it begins with b'<html>", "--format"),
        (["plain"], "redirects to ftp://elsewhere.example", "later"),
        (["loop"], "more than 5 redirects", "later"),
    ],
)
def test_what_does_not_pass(office: CelexServer, tmp_path: Path, faults: list[str], message: str, remedy: str) -> None:
    office.faults = list(faults)
    with pytest.raises(StageFailed, match=message) as caught:
        get(office, tmp_path)
    assert remedy in caught.value.remedy
    assert NAME not in names(tmp_path)


def test_a_guard_page_is_no_document(office: CelexServer, tmp_path: Path) -> None:
    office.faults = ["waf"]
    with pytest.raises(StageFailed, match=r"guards the document \(it says 'awswaf'"):
        get(office, tmp_path, formats=("html",))


@pytest.mark.parametrize(
    ("format_", "body", "message"),
    [
        ("pdf", PDF[:-7], "without %%EOF"),
        ("pdf", b"", "empty"),
        ("html", HTML[:-14], "without </html>"),
        ("html", b"just words", "no HTML"),
    ],
)
def test_content_is_checked(office: CelexServer, tmp_path: Path, format_: Any, body: bytes, message: str) -> None:
    for key in office.documents:
        office.documents[key] = body
    with pytest.raises(StageFailed, match=message):
        get(office, tmp_path, formats=(format_,))
    assert names(tmp_path) == set()


def test_nobody_listens(tmp_path: Path) -> None:
    with CelexServer() as gone:
        pass
    with pytest.raises(StageFailed, match=r"connection failed.*5 times"):
        get(gone, tmp_path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("celex:32013R0575", "32013R0575"),
        (" CELEX:32013r0575 ", "32013R0575"),
        ("02013R0575-20240709", "02013R0575-20240709"),
        ("32013R0575R(02)", "32013R0575R(02)"),
        ("52021PC0664", "52021PC0664"),
    ],
)
def test_celex_numbers(text: str, number: str) -> None:
    assert parse_celex(text) == number


@pytest.mark.parametrize(
    "text", ["", "CRR", "2013/575", "../../etc/passwd", "32013R0575/..", "32013R0575 x", "3\uff12013R0575"]
)
def test_no_celex_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="no CELEX number"):
        parse_celex(text)


def test_a_consolidated_text_needs_its_date() -> None:
    with pytest.raises(ConfigError, match="without its date") as caught:
        parse_celex("celex:02013R0575")
    assert "celex:32013R0575" in caught.value.remedy


@pytest.mark.parametrize("url", ["http://publications.europa.eu", "ftp://127.0.0.1", "https://user:secret@host"])
def test_only_https(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="https only") as caught:
        fetch(CRR, tmp_path, base_url=url)
    assert "secret" not in caught.value.message


def test_an_unknown_language(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'XX' is no official language"):
        fetch(CRR, tmp_path, language="XX")


def test_redirects_stay_on_https() -> None:
    redirected = fetching._redirected
    assert redirected("https://a.eu/x", "http://a.eu/y?z") == "https://a.eu/y?z"
    assert redirected("https://a.eu/x", "/y") == "https://a.eu/y"
    for location in ("file:///etc/passwd", "http://127.0.0.1/x", "https://localhost/x"):
        with pytest.raises(StageFailed, match="redirects to"):
            redirected("https://a.eu/x", location)


def test_retry_after() -> None:
    seconds = fetching._retry_after
    assert seconds("7") == 7.0
    assert 50 < (seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=60))) or 0) <= 60
    assert seconds(None) is None
    assert seconds("soon") is None


def test_two_commands_do_not_mix(office: CelexServer, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".sources.lock"), pytest.raises(StageFailed, match="another finreg fetch"):
        get(office, tmp_path)


def test_a_foreign_manifest_is_kept(office: CelexServer, tmp_path: Path) -> None:
    (tmp_path / "sources.json").write_text("[]")
    with pytest.raises(StageFailed, match="is not the record"):
        get(office, tmp_path)
    assert (tmp_path / "sources.json").read_text() == "[]"


def test_a_folder_that_cannot_be(office: CelexServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageFailed, match="cannot write"):
        get(office, tmp_path / "file" / "below")


SCRIPT = """
import resource, signal, sys
from pathlib import Path
from finreg_cli.documents.fetch import fetch
from finreg_cli.errors import StageFailed

url, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
def stop(done, total):
    if not limit:
        raise KeyboardInterrupt
try:
    fetch("32013R0575", folder, base_url=url, on_progress=stop)
except StageFailed as error:
    print(error.message, "|", error.remedy)
"""


@pytest.mark.parametrize("limit", [0, 200_000], ids=["ctrl-c", "full"])
def test_what_stops_it_leaves_no_half_file(office: CelexServer, tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for a full disk; the interrupt comes with the first bytes."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), office.url, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("cannot write" in ended.stdout) == bool(limit)
    assert ("KeyboardInterrupt" in ended.stderr) == (not limit)
    assert NAME not in names(tmp_path)
    assert get(office, tmp_path).path.read_bytes() == PDF
    assert office.files_asked[-1].status == 206

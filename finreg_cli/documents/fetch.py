"""Official documents by their CELEX number, from the Publications Office of the European Union.

They come from its repository (Cellar), which is made for programs: one stable address a document, whose language and
format the request's headers choose. EUR-Lex shows the same documents to people, behind a guard that answers programs
with an empty "202 Accepted".

A download that breaks off goes on where it stopped, also in a later command; only a whole document, checked by its
size and its begin and end, gets its final name. Beside it ``sources.json`` records where it came from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx
from filelock import FileLock, Timeout

from finreg_cli.documents.html import gate_of
from finreg_cli.errors import ConfigError, StageFailed

Format = Literal["pdf", "html"]
State = Literal["new", "changed", "unchanged"]

PUBLICATIONS_OFFICE = "https://publications.europa.eu"
MANIFEST = "sources.json"
LANGUAGES = {
    "BG": "bul",
    "CS": "ces",
    "DA": "dan",
    "DE": "deu",
    "EL": "ell",
    "EN": "eng",
    "ES": "spa",
    "ET": "est",
    "FI": "fin",
    "FR": "fra",
    "GA": "gle",
    "HR": "hrv",
    "HU": "hun",
    "IT": "ita",
    "LT": "lit",
    "LV": "lav",
    "MT": "mlt",
    "NL": "nld",
    "PL": "pol",
    "PT": "por",
    "RO": "ron",
    "SK": "slk",
    "SL": "slv",
    "SV": "swe",
}
"""The official languages, as EUR-Lex and as the repository name them."""

_ACCEPT: dict[Format, str] = {
    "pdf": "application/pdf, application/pdf;type=pdfa2a, application/pdf;type=pdfa1a",
    "html": "application/xhtml+xml, text/html;q=0.9",
}
_CELEX = re.compile(
    r"(?:[1-9CE]\d{4}[A-Z]{1,2}\d{4}(?:\(\d{2}\))?(?:R\(\d{2}\))?"  # an act or preparatory document, a corrigendum
    r"|0\d{4}[A-Z]\d{4}(?:\(\d{2}\))?-\d{8}"  # a consolidated text, by its date
    r"|1\d{4}[A-Z](?:/[A-Z]{2,3})?)",  # a treaty
    re.ASCII,
)
_ATTEMPTS = 5  # without one new byte
_PAUSE = 1.0  # s before the second attempt, doubled before each further one
_LONGEST_PAUSE = 60.0  # s, whatever Retry-After says
_MOST_REDIRECTS = 5
_MOST_BYTES = 512 * 1024**2
_TRY_AGAIN = frozenset((202, 408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Fetched:
    """A document that was asked for. ``state`` compares it with what was there; the rest is its entry in the manifest.

    ``fetched_at`` is the UTC time at which these bytes were received, in ISO 8601; ``sha256`` and ``bytes`` are theirs.
    """

    path: Path
    state: State
    celex: str
    language: str
    format: Format
    url: str
    final_url: str
    sha256: str
    bytes: int
    etag: str | None
    last_modified: str | None
    fetched_at: str


def parse_celex(text: str) -> str:
    """The CELEX number in ``celex:32013R0575``, ``32013R0575`` or ``02013R0575-20240709``.

    Raises:
        ConfigError: it is none.
    """
    number = re.sub(r"^celex:", "", text.strip(), flags=re.IGNORECASE).upper()
    if _CELEX.fullmatch(number):
        return number
    if re.fullmatch(r"0\d{4}[A-Z]\d{4}", number):
        raise ConfigError(
            f"'{text}' names a consolidated text without its date",
            f"add the date, celex:{number}-YYYYMMDD, or fetch the act as published: celex:3{number[1:]}",
        )
    raise ConfigError(
        f"'{text}' is no CELEX number", "give one as EUR-Lex shows it, such as celex:32013R0575 (the CRR)"
    )


def fetch(
    celex: str,
    folder: Path,
    *,
    language: str = "EN",
    formats: Sequence[Format] = ("pdf",),
    base_url: str = PUBLICATIONS_OFFICE,
    timeout: float = 60.0,
    pause: float = _PAUSE,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Fetched]:
    """Brings a document's files in a folder up to date: ``CELEX_32013R0575_EN.pdf``.

    Args:
        celex: with or without ``celex:``; with a date for a consolidated text.
        folder: made where it is missing.
        language: one of `LANGUAGES`.
        formats: each becomes a file of its own.
        base_url: of the repository; plain ``http`` is for this machine only.
        timeout: s that the server may be silent.
        pause: s before the second attempt; each further one waits twice as long.
        on_progress: told bytes received and expected (None: unknown) of the present file.

    Raises:
        ConfigError: no CELEX number, language or address.
        StageFailed: it cannot be had, or is not what it should be, or cannot be written.
    """
    number, code = parse_celex(celex), _language_code(language)
    _check_address(base_url)
    url = f"{base_url.rstrip('/')}/resource/celex/{number}"
    fetched = []
    with _locked(folder), httpx.Client(timeout=timeout, follow_redirects=False) as client:
        for wanted in formats:
            request = _Request(
                number, language.upper(), wanted, url, {"Accept": _ACCEPT[wanted], "Accept-Language": code}
            )
            fetched.append(_Download(client, request, folder, pause, on_progress).run())
    return fetched


@dataclass(frozen=True)
class _Request:
    celex: str
    language: str
    format: Format
    url: str
    headers: dict[str, str]

    @property
    def name(self) -> str:
        return f"CELEX_{re.sub(r'[^0-9A-Za-z-]', '_', self.celex)}_{self.language}.{self.format}"


class _Interrupted(Exception):
    """The connection or the server failed in a way that may pass."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _Download:
    """One file: asked for as often as it is worth it, received into ``NAME.part``, checked, and given its name."""

    def __init__(
        self,
        client: httpx.Client,
        request: _Request,
        folder: Path,
        pause: float,
        on_progress: Callable[[int, int | None], None],
    ) -> None:
        self._client = client
        self._request = request
        self._folder = folder
        self._pause = pause
        self._on_progress = on_progress
        self._target = folder / request.name
        self._part = folder / f".{request.name}.part"
        self._part_of = folder / f".{request.name}.part.json"
        self._known = _entry(folder, request.name)

    def run(self) -> Fetched:
        attempt, before = 0, self._received()
        while True:
            try:
                response_url, headers = self._ask()
                break
            except _Interrupted as error:
                # As long as bytes arrive, it is worth going on.
                attempt = 1 if self._received() > before else attempt + 1
                before = self._received()
                if attempt >= _ATTEMPTS:
                    raise StageFailed(
                        f"{self._request.url}: {error}, {_ATTEMPTS} times",
                        "run the same command again later; it goes on where this one stopped",
                    ) from error
                wait = error.after if error.after is not None else self._pause * 2 ** (attempt - 1)
                time.sleep(min(wait, _LONGEST_PAUSE))
        if headers is None:
            return self._unchanged()
        return self._finished(response_url, headers)

    def _ask(self) -> tuple[str, httpx.Headers | None]:
        """Asks once and receives; the final address, and the headers or None where nothing has changed.

        Raises:
            _Interrupted: it may go better the next time.
        """
        headers = {**self._request.headers, "Accept-Encoding": "identity", "User-Agent": "finreg"}
        have, validator = self._resumable()
        if have and validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        elif self._is_intact():
            headers |= _conditions(self._known)
        try:
            with self._followed(headers) as response:
                return str(response.url), self._take(response, have if validator else 0)
        except httpx.TransportError as error:
            raise _Interrupted(f"the connection failed ({type(error).__name__}: {error})") from error

    @contextmanager
    def _followed(self, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The response, behind at most so many redirects, none of which leaves HTTPS."""
        url = self._request.url
        for _ in range(_MOST_REDIRECTS + 1):
            with self._client.stream("GET", url, headers=headers) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = _redirected(url, response.headers["Location"])
        raise StageFailed(f"{self._request.url}: more than {_MOST_REDIRECTS} redirects", "try again later")

    def _take(self, response: httpx.Response, have: int) -> httpx.Headers | None:
        status = response.status_code
        if status == 304 and self._is_intact():
            return None
        if status in _TRY_AGAIN:
            raise _Interrupted(_busy(status), _retry_after(response.headers.get("Retry-After")))
        if status == 416 or (status == 206 and not _continues(response, have)):
            self._forget_part()
            raise _Interrupted(f"the server sent another part than was asked for (status {status})", after=0.0)
        if status not in (200, 206):
            raise self._refused(status)
        total = _total(response)
        if total is not None and total > _MOST_BYTES:
            raise StageFailed(f"{self._request.url}: has {total} bytes, more than any act", "check the CELEX number")
        self._receive(response, have if status == 206 else 0, total)
        return response.headers

    def _receive(self, response: httpx.Response, have: int, total: int | None) -> None:
        with _writing(self._part):
            if not have:
                # What a later command needs to go on, before the first byte.
                self._part_of.write_text(json.dumps({"validator": _validator(response)}), encoding="utf-8")
            with self._part.open("r+b" if have else "wb") as file:
                file.seek(have)
                file.truncate()
                for block in response.iter_raw():  # in blocks of a size, what came before a break would be lost
                    file.write(block)
                    have += len(block)
                    self._on_progress(have, total)
                    if have > _MOST_BYTES:
                        raise StageFailed(f"{self._request.url}: does not end", "check the CELEX number")
                file.flush()
                os.fsync(file.fileno())
        if total is not None and have != total:
            if have > total:
                self._forget_part()
            raise _Interrupted(f"{have} of {total} bytes were received")

    def _refused(self, status: int) -> StageFailed:
        request = self._request
        if status in (404, 406, 410):
            other = "html" if request.format == "pdf" else "pdf"
            return StageFailed(
                f"{request.url}: there is no such document in {request.language} as {request.format} (status {status})",
                f"check the CELEX number on EUR-Lex, or ask for --format {other} or another --language",
            )
        if status == 300:
            return StageFailed(
                f"{request.url}: consists of several files as {request.format} (status 300)",
                "ask for the other --format, or download them from EUR-Lex into the source folder",
            )
        return StageFailed(f"{request.url}: refused with status {status}", "check the address, or try again later")

    # --- What is there already ---

    def _received(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _resumable(self) -> tuple[int, str | None]:
        """Bytes of an unfinished download, and what tells the server whether the rest still fits them."""
        have = self._received()
        try:
            validator: str | None = json.loads(self._part_of.read_text(encoding="utf-8"))["validator"]
            return have, validator if have else None
        except (OSError, ValueError, KeyError, TypeError):
            return have, None

    def _is_intact(self) -> bool:
        """Whether the file is there as the manifest describes it."""
        return (
            self._known is not None
            and self._target.is_file()
            and self._known.get("sha256") == _sha256(self._target)
            and self._known.get("url") == self._request.url
        )

    def _forget_part(self) -> None:
        self._part.unlink(missing_ok=True)
        self._part_of.unlink(missing_ok=True)

    # --- The end ---

    def _unchanged(self) -> Fetched:
        assert self._known is not None  # only then the request was conditional
        self._forget_part()
        return Fetched(path=self._target, state="unchanged", **self._known)

    def _finished(self, url: str, headers: httpx.Headers) -> Fetched:
        wrong = _wrong_content(self._part, self._request.format)
        if wrong:
            self._forget_part()
            raise StageFailed(
                f"{self._request.url}: {wrong}", "run the same command again later, or try the other --format"
            )
        digest, size = _sha256(self._part), self._received()
        same = self._target.is_file() and _sha256(self._target) == digest
        state: State = "unchanged" if same else "changed" if self._target.is_file() else "new"
        entry = {
            "celex": self._request.celex,
            "language": self._request.language,
            "format": self._request.format,
            "url": self._request.url,
            "final_url": url,
            "sha256": digest,
            "bytes": size,
            "etag": headers.get("ETag"),
            "last_modified": headers.get("Last-Modified"),
            "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with _writing(self._target):
            self._part.replace(self._target)
            self._part_of.unlink(missing_ok=True)
            _record(self._folder, self._request.name, entry)
        return Fetched(path=self._target, state=state, **entry)


# --- Addresses and answers -------------------------------------------------------------------------------------------

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def _language_code(language: str) -> str:
    code = LANGUAGES.get(language.upper())
    if code is None:
        raise ConfigError(f"'{language}' is no official language of the Union", f"give one of {', '.join(LANGUAGES)}")
    return code


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not secure or parts.username or parts.query:
        raise ConfigError(f"{parts.scheme}://{parts.hostname}: documents are fetched over https only", "use https://")


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads. The repository names its own addresses with ``http``; they are asked for over HTTPS.

    Raises:
        StageFailed: it leads off the web, or from it to this machine.
    """
    target = urlsplit(urljoin(url, location))
    here = urlsplit(url).hostname in _LOOPBACK
    if target.scheme not in ("http", "https") or (target.hostname in _LOOPBACK and not here):
        raise StageFailed(f"{url}: redirects to {target.scheme}://{target.hostname}", "try again later")
    if target.scheme == "http" and target.hostname not in _LOOPBACK:
        return urlunsplit(target._replace(scheme="https", netloc=target.hostname or ""))
    return urlunsplit(target)


def _busy(status: int) -> str:
    if status == 202:
        return 'it answers "202 Accepted" without the document: its guard against programs, or it is still made ready'
    return f"it is busy or out of order (status {status})"


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without its zone
        return None


_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def _continues(response: httpx.Response, have: int) -> bool:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and have > 0 and int(found.group(1)) == have


def _total(response: httpx.Response) -> int | None:
    """The length of the whole document in bytes, where the server says it."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code == 206 and found and found.group(3) != "*":
        return int(found.group(3))
    length = response.headers.get("Content-Length", "")
    return int(length) if response.status_code == 200 and length.isdigit() else None


def _validator(response: httpx.Response) -> str | None:
    """What ``If-Range`` may hold; a weak tag does not promise the same bytes."""
    etag = response.headers.get("ETag", "")
    last_modified: str | None = response.headers.get("Last-Modified")
    return etag if etag and not etag.startswith("W/") else last_modified


def _conditions(known: dict[str, Any] | None) -> dict[str, str]:
    if known and known.get("etag"):
        return {"If-None-Match": known["etag"]}
    if known and known.get("last_modified"):
        return {"If-Modified-Since": known["last_modified"]}
    return {}


def _wrong_content(path: Path, wanted: Format) -> str | None:
    """What is wrong with what was received, or None."""
    data = path.read_bytes()
    if not data:
        return "the answer is empty"
    if wanted == "pdf":
        if b"%PDF-" not in data[:1024]:
            return f"the answer is no PDF: it begins with {data[:12]!r}"
        return None if b"%%EOF" in data[-2048:] else "the PDF ends without %%EOF"
    text = data.decode("utf-8", "replace")
    if not re.search(r"<(?:!doctype html|html|txt_te)\b", text[:4096], re.IGNORECASE):
        return f"the answer is no HTML: it begins with {data[:12]!r}"
    shown = len(re.sub(r"<script\b.*?</script>|<[^>]*>", "", text, flags=re.DOTALL | re.IGNORECASE))
    gate = gate_of(text, shown)
    if gate:
        return f"the answer is a page that guards the document (it says {gate!r}), not the document"
    return None if re.search(r"</(?:html|body)\s*>", text[-4096:], re.IGNORECASE) else "the page ends without </html>"


# --- The folder ------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, for this process alone: two downloads into one file would mix."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".sources.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StageFailed(f"another finreg fetch is writing to {folder}", "wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Errors of the file system, as ours."""
    try:
        yield
    except OSError as error:
        remedy = (
            "free some space and run the same command again; it goes on where this one stopped"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "check the rights there, or name another folder: --to FOLDER"
        )
        raise StageFailed(f"cannot write {place}: {error.strerror or error}", remedy) from error


def _entry(folder: Path, name: str) -> dict[str, Any] | None:
    entry = _manifest(folder).get(name)
    expected = {each for each in Fetched.__dataclass_fields__ if each not in ("path", "state")}
    return entry if isinstance(entry, dict) and entry.keys() == expected else None


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailed(f"{path} is not the record that finreg fetch keeps", "move it away or mend it") from error
    return dict(files)


def _record(folder: Path, name: str, entry: dict[str, Any]) -> None:
    files = {**_manifest(folder), name: entry}
    partial = folder / f".{MANIFEST}.part"
    partial.write_text(json.dumps({"files": files}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

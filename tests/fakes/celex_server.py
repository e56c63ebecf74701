"""A real HTTP server on loopback in the manner of the Publications Office's repository, for the tests of `fetch`.

A document's address redirects to its file, which knows ranges, entity tags and conditions. ``faults`` are used up one
by one, each by one request for a file:

    ``cut``           sends half of what it announces, and closes the connection
    ``no_range``      ignores Range: sends the whole file with status 200
    ``wrong_range``   answers a Range with another one
    ``waf``           a page with a robot check, with status 200
    ``loop``          redirects to itself
    ``plain``         redirects to another host over http
    ``202``, ``429``, ``503``, ``404``, ``300``: that status (the first three with ``Retry-After: 0``)
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAF_PAGE = b"<html><body><script src='x.awswaf.com/challenge.js'></script>JavaScript is disabled</body></html>"


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    status: int


@dataclass
class CelexServer:
    """Serves ``documents``: (CELEX number, language code, media type) -> bytes; a context manager."""

    documents: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> CelexServer:
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def files_asked(self) -> list[Asked]:
        return [each for each in self.asked if each.path.startswith("/cellar/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: CelexServer

    def do_GET(self) -> None:
        if self.path.startswith("/resource/celex/"):
            self._redirect(self.path.removeprefix("/resource/celex/"))
        else:
            self._file()

    def _redirect(self, celex: str) -> None:
        accepted = [each.partition(";")[0].strip() for each in self.headers["Accept"].split(",")]
        language = self.headers["Accept-Language"]
        for media_type in accepted:
            if (celex, language, media_type) in self.server_state.documents:
                self._answer(303, headers={"Location": f"/cellar/{celex}/{language}/{media_type}"})
                return
        self._answer(404)

    def _file(self) -> None:
        _, _, celex, language, media_type = self.path.split("/", 4)
        body = self.server_state.documents[celex, language, media_type]
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Content-Type": media_type, "Accept-Ranges": "bytes"}
        fault = self.server_state.faults.pop(0) if self.server_state.faults else ""
        if self._fails(fault):
            return
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, headers=headers)
            return
        start = self._start(tag) if fault != "no_range" else 0
        if start and start >= len(body):
            self._answer(416, headers={"Content-Range": f"bytes */{len(body)}"})
            return
        if start:
            claimed = start + 1 if fault == "wrong_range" else start
            headers["Content-Range"] = f"bytes {claimed}-{len(body) - 1}/{len(body)}"
        self._answer(206 if start else 200, body[start:], headers, cut=fault == "cut")

    def _fails(self, fault: str) -> bool:
        if fault in ("202", "429", "503"):
            self._answer(int(fault), headers={"Retry-After": "0"})
        elif fault.isdigit():
            self._answer(int(fault))
        elif fault == "waf":
            self._answer(200, WAF_PAGE, {"Content-Type": "text/html"})
        elif fault == "loop":
            self.server_state.faults.insert(0, "loop")
            self._answer(302, headers={"Location": self.path})
        elif fault == "plain":
            self._answer(302, headers={"Location": "ftp://elsewhere.example/act.pdf"})
        else:
            return False
        return True

    def _start(self, tag: str) -> int:
        wanted = self.headers.get("Range", "")
        if not wanted or self.headers.get("If-Range") not in (None, tag):
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.server_state.asked.append(Asked(self.path, dict(self.headers), status))
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing: the tests read ``asked``."""

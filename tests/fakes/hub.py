"""A Hugging Face hub on loopback: repositories with commits, gated and private ones, and every file that is fetched."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_fake"


@dataclass
class Repository:
    """Files of each commit, and the commit that ``main`` points to."""

    gated: bool = False
    private: bool = False
    licence: str | None = None
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""

    def commit(self, files: dict[str, bytes]) -> str:
        """Makes the files the newest commit of ``main``; gives its hash."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name in sorted(files):
            digest.update(name.encode() + files[name])
        self.main = digest.hexdigest()
        self.commits[self.main] = files
        return self.main


class FakeHub:
    """Use as a context manager; ``url`` is what HF_ENDPOINT is set to. ``down`` makes it answer 503."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.fetched: list[str] = []
        self.down = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, with_body: bool) -> None:
                if hub.down:
                    return self._refuse(503, "", "Service Unavailable")
                parts = unquote(urlsplit(self.path).path).strip("/").split("/")
                if parts[:2] == ["api", "models"]:
                    return self._api("/".join(parts[2:4]), parts[4:])
                self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), with_body)
                return None

            def _api(self, name: str, rest: list[str]) -> None:
                found = self._readable(name, check_gate=rest == ["auth-check"])
                if found is None:
                    return None
                if rest == ["auth-check"]:
                    return self._json({})
                revision = rest[1] if len(rest) > 1 else "main"
                commit = found.main if revision == "main" else revision
                files = found.commits.get(commit)
                if files is None:
                    return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                if rest and rest[0] == "tree":
                    listed = [
                        {"type": "file", "path": path, "size": len(text), "oid": _oid(text)}
                        for path, text in files.items()
                    ]
                    return self._json(listed)
                siblings = [{"rfilename": path, "size": len(text)} for path, text in files.items()]
                card = {"license": found.licence} if found.licence else None
                about = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "cardData": card}
                return self._json({**about, "private": found.private, "gated": "manual" if found.gated else False})

            def _file(self, name: str, revision: str, path: str, with_body: bool) -> None:
                found = self._readable(name, check_gate=True)
                if found is None:
                    return
                commit = found.main if revision == "main" else revision
                text = found.commits.get(commit, {}).get(path)
                if text is None:
                    self._refuse(404, "EntryNotFound", "Entry not found")
                    return
                if with_body:
                    hub.fetched.append(path)
                headers = {"ETag": f'"{_oid(text)}"', "X-Repo-Commit": commit, "Content-Type": "text/plain"}
                self._send(200, headers, text, with_body)

            def _readable(self, name: str, check_gate: bool) -> Repository | None:
                found = hub.repositories.get(name)
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                if found is None or (found.private and not known):
                    # Who has no token is not told whether there is such a repository.
                    self._refuse(404 if known else 401, "RepoNotFound", "Repository not found")
                    return None
                if check_gate and found.gated and not known:
                    reason = f"Access to model {name} is restricted. You must have access to it and be authenticated."
                    self._refuse(401, "GatedRepo", reason)
                    return None
                return found

            def _json(self, value: Any) -> None:
                self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode(), True)

            def _refuse(self, status: int, code: str, message: str) -> None:
                headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
                self._send(status, headers, json.dumps({"error": message}).encode(), self.command == "GET")

            def _send(self, status: int, headers: dict[str, str], body: bytes, with_body: bool) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

        return Handler


def _oid(text: bytes) -> str:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()

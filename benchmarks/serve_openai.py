"""An OpenAI-compatible endpoint that is never the bottleneck: `python benchmarks/serve_openai.py [--latency SECONDS]`.

It answers every request a fixed time after it arrived, from what it is sent, in the way that the chain accepts: an
object with the keys that the schema (else the prompt) asks for. Texts are of usual length; every verdict is true, and
what is to be improved comes back unchanged, so that a chain takes its six requests and its row is kept (but not one of
the kind "unanswerable", which this server answers).

When it is ready it prints one line, ``{"url": "http://127.0.0.1:PORT/v1"}``. ``GET /log`` gives what it has served
since the last ``DELETE /log``. HTTP is parsed by hand, and only as far as clients of such endpoints need it: a request
costs about a tenth of a millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LATENCY = 0.2
MODEL = "bench"
CHARACTERS_PER_TOKEN = 4

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_REASONS = (
    "The draft stands on its own and names the act and the article that it is about. It asks for one thing only, and "
    "the excerpt decides it completely: the first paragraph states the rule, and nothing in the others limits "
    "it for the case that is asked about. Every term and every number in it is the excerpt's own."
)
_ASKED_KEYS = re.compile(r"Its keys? (?:is|are) (.*)")
_KEY = re.compile(r'"(\w+)"(\s*\([^)]*true or false[^)]*\))?')
_CONTEXT = re.compile(r"<context>\n(.*?)\n(.*?)\n</context>", re.DOTALL)
_QUESTION = re.compile(r"<question>\n(.*?)\n</question>", re.DOTALL)
_ANSWER = re.compile(r"<answer>\n(.*?)\n</answer>", re.DOTALL)
_KIND = re.compile(r'kind "(\w+)"')


@dataclass
class Log:
    """What was served; times are seconds of this process's clock."""

    requests: int = 0
    failed: int = 0
    repeated: int = 0
    """Requests equal to an earlier one: what a client has paid for twice."""
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first: float | None = None
    last: float | None = None
    per_second: Counter[int] = field(default_factory=Counter)
    bodies: set[int] = field(default_factory=set)
    processor_at_start: float = field(default_factory=time.process_time)

    def summary(self) -> dict[str, Any]:
        """As ``GET /log`` gives it; ``seconds`` is from the first request's arrival to the last reply."""
        seconds = 0.0 if self.first is None or self.last is None else self.last - self.first
        counted = ("requests", "failed", "repeated", "connections", "in_flight", "most_in_flight")
        since = 0.0 if self.first is None else time.monotonic() - self.first
        return {
            **{name: getattr(self, name) for name in (*counted, "input_tokens", "output_tokens")},
            "seconds": seconds,
            "seconds_since_first": since,
            "processor_seconds": time.process_time() - self.processor_at_start,
            "per_second": [self.per_second[second] for second in range(int(seconds) + 1)],
        }


class Service:
    """All connections of one server: makes the replies and keeps the log."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.log = Log()

    def respond(self, method: bytes, path: bytes, body: bytes) -> tuple[bytes, bool]:
        """The whole HTTP response, and whether it is a model's reply, which comes after the latency."""
        if path.endswith(b"/chat/completions") and method == b"POST":
            return self._completion(body), True
        if path.endswith(b"/models"):
            return _http(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]}), False
        if path == b"/log" and method == b"DELETE":
            self.log = Log()
            return _http(200, {}), False
        if path == b"/log":
            return _http(200, self.log.summary()), False
        return _http(404, {"error": {"message": f"there is no {path.decode(errors='replace')}"}}), False

    def _completion(self, body: bytes) -> bytes:
        now, log = time.monotonic(), self.log
        log.first = now if log.first is None else log.first
        log.in_flight += 1
        log.most_in_flight = max(log.most_in_flight, log.in_flight)
        fingerprint = hash(body)
        log.repeated += fingerprint in log.bodies
        log.bodies.add(fingerprint)
        try:
            asked = json.loads(body)
            prompt = _text(asked["messages"])
            text = reply(asked, prompt)
        except (ValueError, KeyError, TypeError) as error:
            log.failed += 1
            return _http(400, {"error": {"message": f"no chat request: {error!r}"}})
        input_tokens, output_tokens = (len(each) // CHARACTERS_PER_TOKEN + 1 for each in (prompt, text))
        log.input_tokens += input_tokens
        log.output_tokens += output_tokens
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        }
        whole = {"id": f"chatcmpl-{fingerprint:x}", "object": "chat.completion", "created": int(time.time())}
        return _http(200, {**whole, "model": asked.get("model", MODEL), "choices": [choice], "usage": usage})

    def answered(self, log: Log) -> None:
        """Notes in the log of its arrival that a reply has been sent."""
        log.requests += 1
        log.in_flight -= 1
        log.last = time.monotonic()
        log.per_second[int(log.last - (log.first or log.last))] += 1


class Connection(asyncio.Protocol):
    """One client's connection, kept alive; requests on it are answered in their order."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._waiting: dict[asyncio.TimerHandle, Log] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.log.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        for timer, log in self._waiting.items():
            timer.cancel()
            log.in_flight -= 1
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        response, is_reply = self._service.respond(method, path, body)
        closes = _CLOSE.search(head) is not None
        if not is_reply:
            self._write(response, closes)
            return
        log = self._service.log

        def answer() -> None:
            del self._waiting[timer]
            self._write(response, closes)
            self._service.answered(log)

        timer = self._loop.call_later(self._service.latency, answer)
        self._waiting[timer] = log

    def _write(self, response: bytes, closes: bool) -> None:
        self._transport.write(response)
        if closes:
            self._transport.close()


def _http(status: int, content: dict[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _text(messages: list[dict[str, Any]]) -> str:
    """All messages as one text; the content of one may be a list of parts."""
    contents = [message["content"] or "" for message in messages]
    return "\n".join(
        each if isinstance(each, str) else "\n".join(part.get("text", "") for part in each) for each in contents
    )


# --- what it says ----------------------------------------------------------------------------------------------------


def reply(asked: dict[str, Any], prompt: str) -> str:
    """The model's text: JSON with the keys asked for, plain words where none are."""
    wanted = _wanted(asked, prompt)
    if not wanted:
        return _REASONS
    citation, text = _excerpt(prompt)
    values: dict[str, str] = {
        "question": _inside(_QUESTION, prompt) or _question(prompt, citation),
        "answer": _inside(_ANSWER, prompt) or _first_sentences(text),
        "reasoning": f"The question is decided by the first sentences of {citation}: {_first_sentences(text)}",
    }
    return json.dumps({key: True if is_verdict else values.get(key, _REASONS) for key, is_verdict in wanted.items()})


def _wanted(asked: dict[str, Any], prompt: str) -> dict[str, bool]:
    """The keys of the object, and whether each is a verdict: from the schema, else from the prompt's words."""
    if "json_schema" in (asked.get("response_format") or {}):
        properties = asked["response_format"]["json_schema"]["schema"]["properties"]
        return {key: each.get("type") == "boolean" for key, each in properties.items()}
    named = _ASKED_KEYS.findall(prompt)
    return {key: bool(verdict) for key, verdict in _KEY.findall(named[-1])} if named else {}


def _excerpt(prompt: str) -> tuple[str, str]:
    """The citation and the text of the excerpt."""
    found = _CONTEXT.search(prompt)
    return (found[1], found[2]) if found else ("Article 1", prompt[:500])


def _inside(tag: re.Pattern[str], prompt: str) -> str | None:
    found = tag.search(prompt)
    return found[1] if found else None


def _question(prompt: str, citation: str) -> str:
    kind = _inside(_KIND, prompt) or "fact"
    return f"Which rule of the kind '{kind}' does {citation} lay down for the institutions that it covers?"


def _first_sentences(text: str) -> str:
    return ". ".join(text.split(". ")[:2]).rstrip(".") + "."


async def serve(port: int, latency: float) -> None:
    service = Service(latency)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds, %(default)s by default")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.latency))


if __name__ == "__main__":
    main()

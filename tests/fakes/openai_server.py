"""A real HTTP server that speaks OpenAI's chat completions, for the tests: on loopback, in this process or another.

It answers from what it is sent. To a question about an excerpt it copies a sentence of the excerpt into the keys that
the prompt asks for; of a labelled lease it makes other labels, and of those another lease; it passes what it is to
judge; and it extracts what stands behind its key ("Lessee: ...", "start_date: ..."). It logs every request, and can be
told to fail or to be slow.

    with FakeOpenAI(latency=0.05) as server: ...            # server.url ends with /v1
    with OtherProcess(log, "--latency", "0.05") as server:  # the same in a process of its own; read_log(log) tells all
    python -m tests.fakes.openai_server --port 0            # prints {"url": ...} as one line when it is ready
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web
from aiohttp.typedefs import Handler

VERDICTS = ("acceptable", "grounded", "passed")
KEYS = ("question", "reasons", "reasoning", "answer", *VERDICTS)
JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass
class Fault:
    """What to answer instead of a reply: for requests that ``when`` picks (of their prompt), ``times`` times.

    ``kind`` is one of these, where what stands behind the colon may be left out:

    - ``429``, ``500``, ``401:SECONDS`` ...: a status, with a Retry-After of so many seconds (or ``retry_after``);
    - ``html``, ``not_json``: status 200 and a page, or a body that is no JSON;
    - ``empty``, ``null``, ``null_content``: no choices, choices is null, the message's content is null;
    - ``half``, ``reset``: the connection ends within the body, or before a byte of the reply;
    - ``silence:SECONDS``: nothing for so long (an hour), and then the right reply;
    - ``text``: the right reply, but labelled ``text/plain``;
    - ``huge:BYTES``: the right reply with so much more text in it (a million bytes);
    - ``cut``: the right reply, but cut off at the limit of its tokens;
    - ``prose``, ``say:TEXT``: a reply of a text without JSON, or of that text.
    """

    kind: str
    when: Callable[[str], bool] = lambda prompt: True
    times: int | None = None
    retry_after: float | None = None
    message: str = "the server was told to fail"


RANDOM_FAULTS = ("429", "500", "503", "html", "empty", "half", "prose")
ALL_RANDOM_FAULTS = (
    *RANDOM_FAULTS,
    *("429:0.3", "503:0.2", "not_json", "null", "null_content", "reset", "text", "huge:100000", "cut", "silence"),
)


@dataclass
class Served:
    """A request as the server saw it; ``status`` is None until (unless) all of an answer was sent.

    ``number`` counts from 1, ``key`` is a hash of the body, ``in_flight`` counts this one, too. ``tokens`` are what the
    model computed (and charges for), whether or not the reply arrives.
    """

    path: str
    prompt: str
    parameters: dict[str, Any]
    authorization: str | None
    number: int = 0
    key: str = ""
    in_flight: int = 1
    fault: str | None = None
    status: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    at: float = field(default_factory=time.time)
    ended_at: float | None = None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class FakeOpenAI:
    """The server, on a thread of its own while the context is entered.

    Args:
        latency: seconds before every reply.
        key: the one key that is accepted; None accepts everybody.
        models: what ``/v1/models`` lists; only these are known. None knows every model.
        json_schema: whether ``response_format`` is understood; otherwise it is refused with status 400.
        reports_usage: whether replies carry token counts.
        unknown_parameters: refused with status 400, as OpenAI words it.
        fault_share: this share of the requests fails, each with one of ``random_faults``, by ``seed``.
        fault_span: only from this request to that one, counted from 1; None: from the first on, without an end.
        repeatable: the same prompt always gets the same reply; otherwise the next sentence of its excerpt.
        log: two JSON lines per request, when it was received and when it ended; see `read_log`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float = 0.0,
        key: str | None = None,
        models: list[str] | None = None,
        json_schema: bool = True,
        reports_usage: bool = True,
        unknown_parameters: tuple[str, ...] = (),
        fault_share: float = 0.0,
        random_faults: tuple[str, ...] = RANDOM_FAULTS,
        fault_span: tuple[int, int] | None = None,
        repeatable: bool = False,
        seed: int = 0,
        log: Path | None = None,
    ) -> None:
        self.latency = latency
        self.faults: list[Fault] = []
        self.requests: list[Served] = []
        self.paths: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""
        self._port = port
        self._key = key
        self._models = models
        self._json_schema = json_schema
        self._reports_usage = reports_usage
        self._unknown_parameters = unknown_parameters
        self._fault_share = fault_share
        self._random_faults = random_faults
        self._fault_span = fault_span
        self._repeatable = repeatable
        self._random = random.Random(seed)
        self._log_path = log
        self._log: TextIO | None = None
        self._seen: Counter[str] = Counter()

    # --- for the tests ---

    @property
    def served(self) -> int:
        """Chat requests that were answered with a reply."""
        return sum(each.status == 200 for each in self.requests)

    def fail(self, kind: str, **settings: Any) -> None:
        self.faults.append(Fault(kind, **settings))

    def __enter__(self) -> FakeOpenAI:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def start(self) -> None:
        if self._log_path is not None:
            self._log = self._log_path.open("a", encoding="utf-8", buffering=1)
        app = web.Application(client_max_size=16 * 2**20, middlewares=[self._note_path])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list_models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/v1"

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._log is not None:
            self._log.close()

    # --- HTTP ---

    @web.middleware
    async def _note_path(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.paths.append(request.path)
        return await handler(request)

    async def _list_models(self, request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model"} for name in self._models or []]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        sent = await request.read()
        body = json.loads(sent)
        prompt = "\n".join(str(message["content"]) for message in body["messages"])
        parameters = {name: value for name, value in body.items() if name != "messages"}
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        served = Served(request.path, prompt, parameters, request.headers.get("Authorization"))
        served.number, served.key = len(self.requests) + 1, hashlib.sha256(sent).hexdigest()[:16]
        served.in_flight = self.in_flight
        self.requests.append(served)
        self._write_log("received", served)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            response = await self._respond(request, body, prompt, served)
            if request.transport is not None and not request.transport.is_closing():
                await response.prepare(request)
                await response.write_eof()
                served.status = response.status
            return response
        finally:
            self.in_flight -= 1
            served.ended_at = time.time()
            self._write_log("ended", served)

    async def _respond(
        self, request: web.Request, body: dict[str, Any], prompt: str, served: Served
    ) -> web.StreamResponse:
        if self._key is not None and served.authorization != f"Bearer {self._key}":
            return _error(401, f"Incorrect API key provided: {served.authorization}")
        if self._models is not None and body["model"] not in self._models:
            return _error(404, f"The model `{body['model']}` does not exist")
        if "response_format" in body and not self._json_schema:
            return _error(400, "response_format of type json_schema is not supported by this model")
        for name in self._unknown_parameters:
            if name in body:
                return _error(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        fault = self._fault_for(prompt, served.number)
        if fault is None:
            return self._completion(body, self._answer(body, prompt), served)
        served.fault = fault.kind
        return await self._fail(fault, request, body, served)

    def _fault_for(self, prompt: str, number: int) -> Fault | None:
        for fault in self.faults:
            if (fault.times is None or fault.times > 0) and fault.when(prompt):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        first, last = self._fault_span or (1, number)
        if first <= number <= last and self._random.random() < self._fault_share:
            return Fault(self._random.choice(self._random_faults))
        return None

    async def _fail(
        self, fault: Fault, request: web.Request, body: dict[str, Any], served: Served
    ) -> web.StreamResponse:
        kind, _, detail = fault.kind.partition(":")
        if kind.isdigit():
            wait = float(detail) if detail else fault.retry_after
            return _error(int(kind), fault.message, {} if wait is None else {"Retry-After": f"{wait:g}"})
        if kind == "html":
            return web.Response(text="<html><body><h1>Bad gateway page</h1></body></html>", content_type="text/html")
        if kind == "reset":
            return await _break_off(request, b"")
        right = self._answer(body, served.prompt)
        if kind in ("not_json", "half", "empty", "null", "null_content"):
            whole = self._body(body, right, served)
            if kind == "not_json":
                return web.Response(text='{"choices": [', headers=JSON_HEADERS)
            if kind == "half":
                return await _break_off(request, json.dumps(whole).encode())
            if kind == "null_content":
                whole["choices"][0]["message"]["content"] = None
            else:
                whole["choices"] = [] if kind == "empty" else None
            return web.json_response(whole)
        if kind == "silence":
            self._body(body, right, served)  # computed, and charged, whether or not somebody waits for it
            await asyncio.sleep(float(detail or 3600))
        elif kind == "text":
            return web.Response(text=json.dumps(self._body(body, right, served)), content_type="text/plain")
        elif kind == "huge":
            right = _inflated(right, int(detail or 1_000_000))
        elif kind == "prose":
            right = "I have looked at Article 92 and it is fine."
        elif kind == "cut":
            return self._completion(body, right[: len(right) // 2], served, "length")
        elif kind == "say":
            right = detail
        else:
            raise ValueError(f"unknown fault {fault.kind!r}")
        return self._completion(body, right, served)

    def _completion(self, body: dict[str, Any], text: str, served: Served, finish_reason: str = "stop") -> web.Response:
        return web.json_response(self._body(body, text, served, finish_reason))

    def _body(self, body: dict[str, Any], text: str, served: Served, finish_reason: str = "stop") -> dict[str, Any]:
        served.prompt_tokens = sum(len(message["content"]) for message in body["messages"]) // 4 + 1
        served.completion_tokens = len(text) // 4 + 1
        usage = {"prompt_tokens": served.prompt_tokens, "completion_tokens": served.completion_tokens}
        usage["total_tokens"] = served.tokens
        choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
        whole = {"id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": body["model"]}
        return {**whole, "choices": [choice], **({"usage": usage} if self._reports_usage else {})}

    # --- what it answers ---

    def _answer(self, body: dict[str, Any], prompt: str) -> str:
        if "\nWrite another " in prompt:
            return _other_document(prompt)
        if "\nInvent the details " in prompt:
            self._seen[prompt] += 1
            return json.dumps(_other_labels(prompt, f"{prompt}{self._seen[prompt]}"), ensure_ascii=False)
        wanted, verdicts = _wanted_keys(body, prompt)
        if set(wanted) - {*KEYS, *verdicts} or prompt.startswith("Find these details "):
            return json.dumps(_extracted(prompt, wanted), ensure_ascii=False)
        if not wanted:
            return "ready"
        context = re.search(r"<context>\n(.*?)\n</context>", prompt, re.DOTALL)
        lines = context.group(1).splitlines() if context else ["nothing"]
        citation, text = lines[0], " ".join(lines[1:])
        sentences = [each for each in re.split(r"(?<=[.;])\s+", text) if len(each) > 20] or [text]
        chance = random.Random("\n".join(_first_request(body)))
        self._seen[prompt] += 1
        sentence = (
            chance.choice(sentences) if self._repeatable else sentences[(self._seen[prompt] - 1) % len(sentences)]
        )
        if context and "\n\n" in context.group(1):  # a row across articles takes something from each part
            parts = (part.split("\n", 1)[-1] for part in context.group(1).split("\n\n"))
            sentence = " ".join(re.split(r"(?<=[.;])\s+", part)[0] for part in parts)
        asked = re.search(r"<question>\n(.*?)\n</question>", prompt, re.DOTALL)
        unanswerable = 'kind "unanswerable"' in prompt or (asked is not None and "telephone number" in asked.group(1))
        about = " ".join(sentence.split()[:6]).rstrip(".,;")
        if self._repeatable:  # so that no two questions are near duplicates, and their order does not matter
            about += f" in the case of {' and '.join(chance.sample(_NAMES, 4))}"
        question = (
            f"What telephone number does {citation} give for questions about {about}?"
            if unanswerable
            else f"Under {citation}, what is laid down on {about}?"
        )
        values: dict[str, Any] = {
            "question": asked.group(1) if asked else question,
            **dict.fromkeys((*VERDICTS, *verdicts), True),
            "reasons": "It stands on its own and the excerpt decides it.",
            "reasoning": f"The excerpt says: {sentence}",
            "answer": "I don't know." if unanswerable else sentence,
        }
        return json.dumps({key: values[key] for key in wanted})

    def _write_log(self, event: str, served: Served) -> None:
        if self._log is not None:
            shown = {name: getattr(served, name) for name in LOGGED}
            self._log.write(json.dumps({"event": event, **shown}) + "\n")


LOGGED = ("number", "key", "at", "ended_at", "in_flight", "fault", "status", "prompt_tokens", "completion_tokens")


class OtherProcess:
    """`FakeOpenAI` in a process of its own, which ends with the context; ``url`` and ``log`` as there.

    Args:
        log: where it logs every request.
        arguments: of its command line.
    """

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        self.url = ""
        self._command = [sys.executable, __file__, "--log", str(log), *arguments]

    def __enter__(self) -> OtherProcess:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = json.loads(self._process.stdout.readline())["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


def read_log(path: Path) -> list[Served]:
    """Every request that a log tells of, in the order of their arrival, as far as it got."""
    by_number: dict[int, Served] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.endswith("}"):  # the last one may be half written
            logged = json.loads(line)
            known = {name: logged[name] for name in LOGGED}
            by_number[logged["number"]] = Served("/v1/chat/completions", "", {}, None, **known)
    return [by_number[number] for number in sorted(by_number)]


def _first_request(body: dict[str, Any]) -> list[str]:
    """The conversation up to the first reply: what a repair asks again is what was asked at first."""
    first = takewhile(lambda message: message["role"] != "assistant", body["messages"])
    return [str(message["content"]) for message in first]


def _inflated(reply: str, size: int) -> str:
    """The reply with so many bytes more in its last text."""
    padding = " and so on" * (size // len(" and so on"))
    whole = json.loads(reply)
    name = next(key for key in reversed(whole) if isinstance(whole[key], str))
    return json.dumps({**whole, name: whole[name] + padding})


async def _break_off(request: web.Request, body: bytes) -> web.StreamResponse:
    """Half of a reply, or not a byte of one, and then no connection any more."""
    response = web.StreamResponse(headers={**JSON_HEADERS, "Content-Length": str(len(body))})
    assert request.transport is not None
    if body:
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        request.transport.close()
    else:
        request.transport.abort()
    return response


def _between(prompt: str, tag: str) -> str:
    found = re.search(rf"<{tag}>\n(.*?)\n</{tag}>", prompt, re.DOTALL)
    if found is None:
        raise ValueError(f"the prompt shows no <{tag}>")
    return found.group(1)


def _other_labels(prompt: str, seed: str) -> dict[str, Any]:
    """The example's labels with other digits and other names; what has neither gets a word more."""
    example: dict[str, Any] = json.loads(_between(prompt, "example_labels"))
    return {key: _other(value, seed) for key, value in example.items()}


_NAMES = ("Alder", "Brook", "Cedar", "Dune", "Elm", "Fern", "Grove", "Heath", "Iris", "Juniper", "Kestrel", "Linden")
_KEPT = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"}
_KEPT |= {"December", "LLC", "Inc", "Corp", "Trust"}


def _other(value: Any, seed: str) -> Any:
    if not isinstance(value, str):
        return value
    chance = random.Random(f"{seed}{value}")

    def word(found: re.Match[str]) -> str:
        if found.group().isdigit():
            return "".join(chance.choice("123456789") for _ in found.group())
        return found.group() if found.group() in _KEPT else chance.choice(_NAMES)

    changed = re.sub(r"[0-9]+|[A-Z][a-z]+", word, value)
    return changed if changed != value else f"{value} of {chance.choice(_NAMES)}"


def _other_document(prompt: str) -> str:
    """The example with the new details in the place of the old ones; one that has no place there stands at the end."""
    document, details = _between(prompt, "example_document"), _between(prompt, "details")
    replaced = re.findall(r"^- (.*)\n  example: (.*)\n  yours: (.*)$", details, re.MULTILINE)
    new_by_old = {old: new for _, old, new in replaced}
    olds = "|".join(re.escape(each) for each in sorted(new_by_old, key=len, reverse=True))
    document = re.sub(olds, lambda found: new_by_old[found.group()], document)
    absent = [f"{key}: {new}" for key, _, new in replaced if new not in document]
    return "\n".join([document, *absent])


def _extracted(prompt: str, wanted: list[str]) -> dict[str, str | None]:
    """The rest of the line behind each key's name; None where no line has it."""
    instruction, _, document = prompt.partition("\n\n")
    found = {}
    for key in wanted or re.findall(r"^- (\w+)", instruction, re.MULTILINE):
        name = re.escape(key).replace("_", "[ _]")
        line = re.search(rf"^{name}: *(\S.*)$", document, re.MULTILINE | re.IGNORECASE)
        found[key] = line.group(1).strip() if line else None
    return found


def _wanted_keys(body: dict[str, Any], prompt: str) -> tuple[list[str], set[str]]:
    """From the schema where one was sent, else from the last line of the prompt; and those that are true or false."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema:
        verdicts = {name for name, each in schema["properties"].items() if each.get("type") == "boolean"}
        return list(schema["required"]), verdicts
    last = prompt.rstrip().splitlines()[-1]
    verdicts = set(re.findall(r'"(\w+)" \(true or false\)', last))
    names = {*KEYS, *verdicts}
    return sorted((key for key in names if f'"{key}"' in last), key=lambda key: last.index(f'"{key}"')), verdicts


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "fake"}}, status=status, headers=headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--key")
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--no-json-schema", action="store_true")
    parser.add_argument("--no-usage", action="store_true")
    parser.add_argument("--fault-share", type=float, default=0.0)
    parser.add_argument("--fault", nargs="*", default=RANDOM_FAULTS, metavar="KIND", help="see Fault")
    parser.add_argument("--fault-span", nargs=2, type=int, metavar=("FIRST", "LAST"), help="numbers of requests")
    parser.add_argument("--repeatable", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="two JSON lines per request")
    given = parser.parse_args()
    server = FakeOpenAI(
        port=given.port,
        latency=given.latency,
        key=given.key,
        models=given.models,
        json_schema=not given.no_json_schema,
        reports_usage=not given.no_usage,
        fault_share=given.fault_share,
        random_faults=tuple(given.fault),
        fault_span=tuple(given.fault_span) if given.fault_span else None,
        repeatable=given.repeatable,
        seed=given.seed,
        log=given.log,
    )
    with server:
        print(json.dumps({"url": server.url}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

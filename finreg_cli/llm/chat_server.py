"""The OpenAI chat interface over any function that writes an answer: ``/v1/models`` and ``/v1/chat/completions``.

For models that llama.cpp does not serve. Answers whole or as a stream of server-sent events, errors in OpenAI's form.
What it does not know (tools, several choices, JSON schemas) it refuses by name, and does not answer as if nobody had
asked for it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 8 * 1024**2
"""Bytes: more than any context holds."""


class _TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: str
    content: str | list[_TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """What is read of a request. Other keys that ask for something are refused, see `_UNSUPPORTED`."""

    model_config = ConfigDict(extra="allow")

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


_UNSUPPORTED = ("tools", "functions", "response_format", "logprobs", "stop", "logit_bias", "audio", "prediction")


@dataclass(frozen=True)
class Piece:
    """The next words of an answer, which may be none; the last piece says why it ends: ``stop`` or ``length``."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None = None


class RefusedError(ValueError):
    """The request cannot be answered as it is: a prompt longer than the context, say."""


Write = Callable[[ChatRequest, threading.Event], Iterator[Piece]]
"""Writes an answer piece by piece, and stops early once the event is set; raises `RefusedError`."""


def serve_chat(name: str, key: str, port: int, write: Write) -> str:
    """Serves one model on loopback, on a thread of its own, and gives the address.

    One answer is written at a time; other requests wait for their turn.

    Args:
        name: the model's.
        key: what every request must bring as its bearer token.
        port: 0 for a free one.
        write: called on a thread.

    Raises:
        RuntimeError: the port cannot be had.
    """
    server = _ChatServer(name, key, write)
    bound: Future[int] = Future()

    async def run() -> None:
        runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, _LOOPBACK, port)
            await site.start()
        except OSError as error:
            bound.set_exception(RuntimeError(f"port {port}: {error.strerror}"))
            return
        bound.set_result(runner.addresses[0][1])
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    return f"http://{_LOOPBACK}:{bound.result()}"


class _ChatServer:
    def __init__(self, name: str, key: str, write: Write) -> None:
        self._name = name
        self._key = key
        self._write = write
        self._writing = ThreadPoolExecutor(1)
        self._started = int(time.time())

    def application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[self._in_openai_form])
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._complete)
        return application

    @web.middleware
    async def _in_openai_form(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Who has no key learns nothing; whatever goes wrong is said as OpenAI says it."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            return _error(401, "Invalid API key", "authentication_error")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as refused:
            return _error(refused.status, refused.reason, "invalid_request_error")
        except RefusedError as refused:
            return _error(400, str(refused), "invalid_request_error")
        return response

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._name, "object": "model", "created": self._started, "owned_by": "finreg"}
        return web.json_response({"object": "list", "data": [model]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = _read(await request.text())
        head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": self._name}
        if asked.stream:
            return await self._stream(request, asked, head)
        text, last = "", None
        async for piece in self._pieces(asked):
            text, last = text + piece.text, piece
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": last.finish_reason if last else "stop"}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(last)})

    async def _stream(self, request: web.Request, asked: ChatRequest, head: dict[str, Any]) -> web.StreamResponse:
        head = {**head, "object": "chat.completion.chunk"}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        last = None
        async for piece in self._pieces(asked):
            if last is None:  # not before: until then a refusal can still have a status of its own
                await response.prepare(request)
                await _send(response, {**head, "choices": [_delta({"role": "assistant", "content": ""})]})
            last = piece
            if piece.text:
                await _send(response, {**head, "choices": [_delta({"content": piece.text})]})
        await _send(response, {**head, "choices": [_delta({}, last.finish_reason if last else "stop")]})
        if asked.stream_options and asked.stream_options.include_usage:
            await _send(response, {**head, "choices": [], "usage": _usage(last)})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _pieces(self, asked: ChatRequest) -> AsyncIterator[Piece]:
        """The pieces as they are written; writing stops when nobody waits for them any more."""
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        written: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()

        def write() -> None:
            ending: Exception | None = None
            try:
                for piece in self._write(asked, stopped):
                    loop.call_soon_threadsafe(written.put_nowait, piece)
            except Exception as error:
                ending = error
            loop.call_soon_threadsafe(written.put_nowait, ending)

        self._writing.submit(write)
        try:
            while isinstance(piece := await written.get(), Piece):
                yield piece
        finally:
            stopped.set()
        if piece is not None:
            raise piece


def _read(body: str) -> ChatRequest:
    try:
        asked = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    given = asked.model_extra or {}
    unsupported = [name for name in _UNSUPPORTED if given.get(name)] + (["n"] if given.get("n", 1) != 1 else [])
    if unsupported:
        raise RefusedError(f"{', '.join(unsupported)}: not supported by this server")
    return asked


def _delta(content: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": content, "finish_reason": finish_reason}


def _usage(last: Piece | None) -> dict[str, int]:
    prompt, completion = (last.prompt_tokens, last.completion_tokens) if last else (0, 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _error(status: int, message: str, kind: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())

"""A Databricks workspace on loopback: sign-in with tokens that expire, model serving, and the list of endpoints.

It checks every token: a personal one, or one that it gave to a service principal and that has not expired yet.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

PERSONAL_TOKEN = "dapi-fake"
CLIENT_ID, CLIENT_SECRET = "fake-client", "fake-secret"
ENDPOINTS: dict[str, str | None] = {
    "databricks-gpt-oss-120b": "llm/v1/chat",
    "databricks-llama-4-maverick": "llm/v1/chat",
    "our-own-model": None,
    "databricks-gte-large-en": "llm/v1/embeddings",
}
"""Name -> task; a custom model says none."""
FORBIDDEN = "databricks-claude-sonnet-4-6"
GATEWAY_MODEL = "system.ai.gpt-oss-120b"


@dataclass(frozen=True)
class Asked:
    path: str
    model: str
    token: str


class FakeWorkspace:
    """Use as a context manager; ``host`` is what DATABRICKS_HOST is set to.

    Args:
        token_seconds: the life of a service principal's token. The SDK renews a token 40 s before it expires.
    """

    def __init__(self, token_seconds: float = 3600) -> None:
        self.host = ""
        self.asked: list[Asked] = []
        self.signs_in = True
        self._token_seconds = token_seconds
        self._expiry: dict[str, float] = {}

    @property
    def tokens_given(self) -> list[str]:
        """In the order in which they were given to the service principal."""
        return list(self._expiry)

    def revoke(self) -> None:
        """No token that was given so far is accepted any more."""
        self._expiry = dict.fromkeys(self._expiry, 0.0)

    def __enter__(self) -> FakeWorkspace:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/databricks-config", self._describe)
        app.router.add_get("/oidc/.well-known/oauth-authorization-server", self._discover)
        app.router.add_post("/oidc/v1/token", self._give_token)
        app.router.add_get("/api/2.0/serving-endpoints", self._list_endpoints)
        app.router.add_post("/serving-endpoints/chat/completions", self._chat)
        app.router.add_post("/ai-gateway/mlflow/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _describe(self, _: web.Request) -> web.Response:
        return web.json_response({"workspace_id": "1234567890", "oidc_endpoint": f"{self.host}/oidc", "cloud": "AWS"})

    async def _discover(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "authorization_endpoint": f"{self.host}/oidc/v1/authorize",
                "token_endpoint": f"{self.host}/oidc/v1/token",
            }
        )

    async def _give_token(self, request: web.Request) -> web.Response:
        secret = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        form = await request.post()
        if not self.signs_in or request.headers.get("Authorization") != f"Basic {secret}":
            refusal = {"error": "invalid_client", "error_description": "Client authentication failed"}
            return web.json_response(refusal, status=401)
        if form["grant_type"] != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        token = f"oauth-{len(self._expiry)}"
        self._expiry[token] = time.monotonic() + self._token_seconds
        given = {"access_token": token, "token_type": "Bearer", "expires_in": int(self._token_seconds)}
        return web.json_response(given)

    def _token(self, request: web.Request) -> str | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        accepted = token == PERSONAL_TOKEN or self._expiry.get(token, 0.0) > time.monotonic()
        return token if accepted else None

    async def _list_endpoints(self, request: web.Request) -> web.Response:
        if self._token(request) is None:
            return _error(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type.")
        listed = [{"name": name, **({"task": task} if task else {})} for name, task in ENDPOINTS.items()]
        return web.json_response({"endpoints": listed})

    async def _chat(self, request: web.Request) -> web.Response:
        token = self._token(request)
        if token is None:
            return _error(403, "PERMISSION_DENIED", "Invalid access token.")
        body = await request.json()
        model = body["model"]
        self.asked.append(Asked(request.path, model, token))
        if model == FORBIDDEN:
            return _error(403, "PERMISSION_DENIED", f"User does not have permission to query {model}.")
        gateway = request.path.startswith("/ai-gateway")
        if model not in ({GATEWAY_MODEL} if gateway else ENDPOINTS):
            return _error(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{model}' does not exist.")
        return web.json_response(_completion(model))


def _completion(model: str) -> dict[str, Any]:
    """As gpt-oss answers there: the content is a list, its thoughts first."""
    content = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I say ready."}]},
        {"type": "text", "text": "ready"},
    ]
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error_code": code, "message": message}, status=status)

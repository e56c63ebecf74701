"""Endpoints: what is sent, what comes back, and what an endpoint can't do, learned as it says so."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from finreg_cli.config import Endpoint, Tls
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.base import Reply
from finreg_cli.llm.transport import RequestFailed, Transport, proxy_for, secret_headers, ssl_context, words_of

_OPENAI_HOST = "api.openai.com"
_ANY_URL = "https://endpoint"  # for checking the proxy of an endpoint whose address its provider will say

_SHOWN_MODELS = 20
_PROBE_TOKENS = 16

_log = logging.getLogger(__name__)


class Route(Protocol):
    """Where an endpoint is, and how it is told who asks: what differs between providers.

    It is opened, used and closed in one event loop.
    """

    async def open(self) -> str:
        """The base URL, without a slash at its end; starts what has to be started.

        Raises:
            ConfigError, EndpointError: there is nothing to be asked.
        """

    async def headers(self) -> Mapping[str, str]:
        """Of the next request: a token may have been renewed since the last one."""

    async def models(self) -> list[str] | None:
        """The names that exist; None where ``GET base/models`` says it."""

    def remedy(self, status: int) -> str | None:
        """What helps against a refusal with this HTTP status; None for the usual advice."""

    async def close(self) -> None: ...


class KeyedRoute:
    """A configured URL and a key from the environment: implements `Route` for ``provider: openai``.

    Raises:
        ConfigError: the variable that ``api_key_env`` names is not set.
    """

    def __init__(self, name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> None:
        key = api_key(name, endpoint, environment)
        self._url = (endpoint.base_url or "").rstrip("/")  # the configuration has refused an endpoint without one
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def open(self) -> str:
        return self._url

    async def headers(self) -> Mapping[str, str]:
        return self._headers

    async def models(self) -> list[str] | None:
        return None

    def remedy(self, status: int) -> str | None:
        return None

    async def close(self) -> None:
        """There is nothing to close."""


def route_for(name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> Route:
    """The way to an endpoint, by its provider.

    Raises:
        ConfigError: what the provider needs is not configured.
    """
    if endpoint.provider == "databricks":
        from finreg_cli.llm.databricks import DatabricksRoute

        return DatabricksRoute(name, endpoint, environment)
    if endpoint.provider == "embedded":
        from finreg_cli.llm.served import ServedRoute

        return ServedRoute(name, endpoint, environment)
    return KeyedRoute(name, endpoint, environment)


MOST_CORRECTIONS = 4
"""More parameters than these can't be unknown, and an endpoint that refuses on must not be asked for ever."""


@dataclass(frozen=True)
class Dialect:
    """What the endpoint understands, begun with a good guess and corrected by its own refusals (status 400, 422)."""

    token_limit: str
    json_schema: bool = True
    temperature: bool = True

    def corrected(self, refusal: str) -> Dialect:
        """The dialect after a refusal that names a parameter; the same one if it names none."""
        refusal = refusal.lower()
        if self.json_schema and any(
            name in refusal for name in ("response_format", "json_schema", "structured output", "guided")
        ):
            return replace(self, json_schema=False)
        # OpenAI's message for one names the other as what to use, so the configured one must be named too.
        other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[self.token_limit]
        if self.token_limit in refusal.replace(other, "") and _is_about_support(refusal):
            return replace(self, token_limit=other)
        if self.temperature and "temperature" in refusal and _is_about_support(refusal):
            return replace(self, temperature=False)
        return self


def _is_about_support(refusal: str) -> bool:
    words = (
        "unsupported",
        "not supported",
        "does not support",
        "only the default",
        "deprecated",
        "unknown",
        "unrecognized",
        "unexpected",
        "not permitted",
        "not allowed",
    )
    return any(word in refusal for word in (*words, "extra inputs", "extra fields"))


def check(name: str, endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> None:
    """Finds what is wrong with a configured endpoint before anything is sent or planned; nothing goes over the network.

    Raises:
        ConfigError: see `route_for`, `transport.secret_headers`, `transport.ssl_context` and `transport.proxy_for`.
    """
    route_for(name, endpoint, environment)
    secret_headers(name, endpoint, environment)
    if endpoint.tls != Tls():
        ssl_context(name, endpoint.tls)
    proxy_for(name, endpoint.proxy, endpoint.base_url or _ANY_URL, environment)


class OpenAIEndpoint:
    """An endpoint that speaks OpenAI's chat completions.

    Nothing is tried again here: the runner counts and pays for every request. It must be made, used and closed in one
    event loop.

    Args:
        name: ``generator`` or ``judge``, as in the configuration, for the messages.
        endpoint: its configuration.
        environment: where the names of variables in it are looked up.

    Raises:
        ConfigError: a variable is not set, or what the provider needs is not configured.
    """

    def __init__(self, name: str, endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> None:
        self.name = name
        self.url = ""
        self._endpoint = endpoint
        self._environment = environment
        self._route = route_for(name, endpoint, environment)
        self._transport: Transport | None = None
        self._opening = asyncio.Lock()
        self._dialect = Dialect("max_tokens")

    async def complete(self, messages: Sequence[Mapping[str, str]], schema: tuple[str, dict[str, Any]] | None) -> Reply:
        """Sends one request.

        Args:
            messages: the conversation, each with ``role`` and ``content``.
            schema: the name and the JSON schema that the reply should follow, where the endpoint can be told.

        Raises:
            RequestFailed: there was no usable reply.
            ConfigError, EndpointError: the provider could not be opened.
        """
        transport = await self.open()
        dialect = self._dialect
        body = {"model": self._endpoint.model, "messages": list(messages), **self._parameters(dialect, schema)}
        try:
            reply = await transport.post(f"{self.url}/chat/completions", await self._headers(), body)
        except RequestFailed as failed:
            if failed.status in (400, 422):
                self._learn(failed, dialect)
            raise
        try:
            return _reply(reply)
        except _Unusable as unusable:
            said = transport.clean(words_of(reply) or str(unusable))
            raise RequestFailed(f"an unusable reply: {said}", transient=True, maybe_charged=True) from unusable

    async def open(self) -> Transport:
        """Makes the connection ready, once; the first request does it, where nobody has before.

        Raises:
            ConfigError, EndpointError: the provider could not be opened.
        """
        if self._transport is None:
            async with self._opening:
                if self._transport is None:
                    self.url = await self._route.open()
                    if urlsplit(self.url).hostname == _OPENAI_HOST:
                        self._dialect = replace(self._dialect, token_limit="max_completion_tokens")
                    self._transport = Transport(self.name, self._endpoint, self.url, self._environment)
        return self._transport

    async def _headers(self) -> Mapping[str, str]:
        if isinstance(self._route, KeyedRoute):  # it waits for nothing, and most requests go this way
            return await self._route.headers()
        seconds = self._endpoint.timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._route.headers()
        except TimeoutError as error:
            raise RequestFailed(f"no token within {seconds:g} s", transient=True) from error

    def _parameters(self, dialect: Dialect, schema: tuple[str, dict[str, Any]] | None) -> dict[str, Any]:
        parameters: dict[str, Any] = {dialect.token_limit: self._endpoint.max_tokens}
        if self._endpoint.temperature is not None and dialect.temperature:
            parameters["temperature"] = self._endpoint.temperature
        if schema and dialect.json_schema:
            name, definition = schema
            parameters["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": definition, "strict": True},
            }
        return parameters

    def _learn(self, failed: RequestFailed, used: Dialect) -> None:
        corrected = used.corrected(failed.message)
        if corrected == used:
            return
        failed.transient = failed.corrected = True
        # Of several that were refused at once, only the first teaches: the others do not know what it has changed.
        if self._dialect == used:
            _log.debug("%s: %s; going on with %s", self.name, failed.message, corrected)
            self._dialect = corrected

    async def model_names(self) -> list[str]:
        """The models that the endpoint says it has; empty where it does not say."""
        try:
            transport = await self.open()
            names = await self._route.models()
            if names is None:
                listed = await transport.get(f"{self.url}/models", await self._headers())
                names = [str(each["id"]) for each in listed["data"]]
        except (RequestFailed, EndpointError, ConfigError, KeyError, TypeError) as error:
            # Only for a better message: without a list, the message does without it.
            _log.debug("%s lists no models: %s", self.name, error)
            return []
        return sorted(names)

    async def failure(self, failed: RequestFailed) -> EndpointError:
        """The error that ends a run: the endpoint's own words, and what to do."""
        message = f"endpoints.{self.name} ({self._endpoint.model} at {self.url}): {failed.message}"
        remedy = failed.remedy or (self._route.remedy(failed.status) if failed.status is not None else None)
        if failed.status == 404:
            names = await self.model_names()
            if names:
                more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
                listed = f"it has {', '.join(names[:_SHOWN_MODELS])}{more}"
                return EndpointError(message, f"set endpoints.{self.name}.model: {listed}")
            remedy = remedy or f"check endpoints.{self.name}.model and base_url, which goes up to and with /v1"
        if failed.status == 401:
            variable = self._endpoint.api_key_env
            key = f"put a valid key into the variable {variable}" if variable else ""
            remedy = remedy or key or f"set endpoints.{self.name}.api_key_env"
        usual = f"check endpoints.{self.name} with 'finreg doctor'; the same command goes on"
        return EndpointError(message, remedy or usual)

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()
        await self._route.close()


def api_key(name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> str | None:
    """The key from the environment; None where none is configured.

    Raises:
        ConfigError: the variable is not set or empty.
    """
    variable = endpoint.api_key_env
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"endpoints.{name}.api_key_env names the environment variable {variable}, which is not set",
            f"export {variable}=... , or leave api_key_env out for a server without keys",
        )
    return key


def probe(name: str, endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> str:
    """Proves an endpoint with one small request, for ``finreg doctor``; says in words what it found.

    Raises:
        ConfigError: a variable is not set, or what the provider needs is not configured.
        EndpointError: the endpoint refuses or is not there; for an unknown model the remedy lists those that exist.
    """
    return asyncio.run(_probe(name, endpoint.model_copy(update={"max_tokens": _PROBE_TOKENS}), environment))


async def _probe(name: str, configured: Endpoint, environment: Mapping[str, str]) -> str:
    endpoint = OpenAIEndpoint(name, configured, environment)
    corrections = 0
    try:
        while True:
            try:
                reply = await endpoint.complete([{"role": "user", "content": "Reply with the word: ready"}], None)
                break
            except RequestFailed as failed:
                corrections += 1
                if not failed.corrected or corrections > MOST_CORRECTIONS:
                    raise await endpoint.failure(failed) from failed
    finally:
        await endpoint.close()
    used = "it reports no usage" if reply.output_tokens is None else f"{reply.output_tokens} tokens"
    return f"{endpoint.url} answers as {configured.model} ({used})"


class _Unusable(Exception):
    """A reply that is JSON, but no chat completion."""


def _reply(body: Any) -> Reply:
    """A chat completion's text, without the parts that a reasoning model only thought.

    Raises:
        _Unusable: there is no message in it.
    """
    try:
        choice = body["choices"][0]
        content = choice["message"]["content"]
        finish_reason = choice.get("finish_reason")
        usage = body.get("usage") or {}
        text = _text(content) or str(choice["message"].get("refusal") or "")
        input_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Unusable(f"it holds no message ({type(error).__name__}: {error})") from error
    # A server that keeps no count reports zeros: no prompt has 0 tokens.
    if not (isinstance(input_tokens, int) and isinstance(output_tokens, int) and input_tokens > 0):
        input_tokens = output_tokens = None
    return Reply(
        text=text,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
    )


def _text(content: Any) -> str:
    """What is said: of a list of parts those of text, not those of reasoning; nothing of null (all went into thoughts).

    Raises:
        TypeError: it is neither text nor parts.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TypeError(f"its content is {type(content).__name__}")
    parts = [part if isinstance(part, str) else part["text"] for part in content if _is_said(part)]
    return "".join(parts)


def _is_said(part: Any) -> bool:
    return isinstance(part, str) or part.get("type") in ("text", "output_text")

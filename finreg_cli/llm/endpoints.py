"""Endpoints: one shared LangChain model for each, vendor errors translated, what it can't do learned as it says so."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from finreg_cli.config import Endpoint
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.base import Reply

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

OPENAI_URL = "https://api.openai.com/v1"

_NO_KEY = "none"
"""What is sent where no key is configured: the client wants one, local servers ignore it."""

_TRANSIENT = frozenset({408, 409, 425, 429})
_TO_THE_ENDPOINT = frozenset({401, 404, 405, 407})
_SHOWN_CHARACTERS = 400
_SHOWN_MODELS = 20
_PROBE_TOKENS = 16

_log = logging.getLogger(__name__)


class RequestFailed(Exception):
    """A request got no usable reply. Inside of this package only: the runner retries, drops the row or ends the run.

    Args:
        message: what the endpoint said.
        transient: whether the same request may succeed later.
        endpoint_wide: whether every other request must fail as this one did: a refused key, an unknown model.
        retry_after: seconds that the endpoint asked to wait.
        maybe_charged: whether the endpoint may have computed (and charged for) a reply that did not arrive.
        corrected: the endpoint does not know a parameter, which the next request will do without.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool,
        endpoint_wide: bool = False,
        retry_after: float | None = None,
        maybe_charged: bool = False,
        corrected: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.transient = transient
        self.endpoint_wide = endpoint_wide
        self.retry_after = retry_after
        self.maybe_charged = maybe_charged
        self.corrected = corrected


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
        "unknown",
        "unrecognized",
        "unexpected",
        "not permitted",
    )
    return any(word in refusal for word in (*words, "extra inputs", "extra fields"))


class OpenAIEndpoint:
    """Any OpenAI-compatible URL behind one LangChain ``ChatOpenAI`` and one pool of aiohttp connections.

    The vendor's own retries are off: the runner counts and pays for every request itself. It must be opened, used and
    closed in one event loop.

    Args:
        name: ``generator`` or ``judge``, as in the configuration, for the messages.
        endpoint: its configuration.
        environment: where ``api_key_env`` is looked up.

    Raises:
        ConfigError: the variable that ``api_key_env`` names is not set.
    """

    def __init__(self, name: str, endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> None:
        import openai
        from langchain_openai import ChatOpenAI
        from pydantic import SecretStr

        self.name = name
        self.url = base_url(endpoint)
        self._endpoint = endpoint
        self._key = api_key(name, endpoint, environment)
        official = urlsplit(self.url).hostname == urlsplit(OPENAI_URL).hostname
        self._dialect = Dialect("max_completion_tokens" if official else "max_tokens")
        self._model = ChatOpenAI(
            model=endpoint.model,
            base_url=self.url,
            api_key=SecretStr(self._key or _NO_KEY),
            timeout=endpoint.timeout,
            max_retries=0,
            # The client's own pool rescans every connection for each request; aiohttp's does not.
            http_async_client=openai.DefaultAioHttpClient(),
            use_responses_api=False,
        )

    async def complete(self, messages: Sequence[BaseMessage], schema: tuple[str, dict[str, Any]] | None) -> Reply:
        """Sends one request.

        Args:
            messages: the conversation.
            schema: the name and the JSON schema that the reply should follow, where the endpoint can be told.

        Raises:
            RequestFailed: there was no usable reply.
        """
        dialect = self._dialect
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                message = await self._model.ainvoke(list(messages), **self._parameters(dialect, schema))
        except Exception as error:
            # The one edge to the vendors: LangChain and the client raise what they like for a broken reply
            # (IndexError for no choices, ValueError for a page of HTML), and no reply may end the run.
            self._translate(error, dialect)
        return _reply(message)

    def _parameters(self, dialect: Dialect, schema: tuple[str, dict[str, Any]] | None) -> dict[str, Any]:
        # In the extra body, LangChain and the client pass on what they would rename or parse otherwise.
        extra: dict[str, Any] = {dialect.token_limit: self._endpoint.max_tokens}
        if schema and dialect.json_schema:
            name, definition = schema
            extra["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": definition, "strict": True},
            }
        parameters: dict[str, Any] = {"extra_body": extra}
        if self._endpoint.temperature is not None and dialect.temperature:
            parameters["temperature"] = self._endpoint.temperature
        return parameters

    def _translate(self, error: Exception, used: Dialect) -> NoReturn:
        import openai

        if isinstance(error, openai.APIStatusError):
            self._translate_status(error, used)
        root = _root(error)
        if isinstance(error, TimeoutError) or isinstance(root, TimeoutError):
            message = f"no reply within {self._endpoint.timeout:g} s"
        elif isinstance(error, openai.APIConnectionError):
            # The transport calls a refused connection a timeout, so only the root says what happened.
            message = self._clean(f"no connection: {root}")
        else:
            message = self._clean(f"an unusable reply: {type(error).__name__}: {error}")
        unsent = isinstance(root, ConnectionRefusedError | socket.gaierror)
        raise RequestFailed(message, transient=True, maybe_charged=not unsent) from error

    def _translate_status(self, error: Any, used: Dialect) -> NoReturn:
        status: int = error.status_code
        said = self._clean(_endpoints_words(error))
        message = f"HTTP {status}: {said}"
        if status in (400, 422):
            corrected = used.corrected(said)
            if corrected != used:
                _log.debug("%s: %s; going on with %s", self.name, message, corrected)
                self._dialect = corrected
                raise RequestFailed(message, transient=True, corrected=True) from error
        raise RequestFailed(
            message,
            transient=status in _TRANSIENT or status >= 500,
            endpoint_wide=status in _TO_THE_ENDPOINT,
            retry_after=_retry_after(error.response.headers),
        ) from error

    async def model_names(self) -> list[str]:
        """The models that the endpoint says it has; empty where it does not say."""
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return sorted([each.id async for each in self._model.root_async_client.models.list()])
        except Exception as error:  # only for a better message: without a list, the message does without it
            _log.debug("%s lists no models: %s", self.name, error)
            return []

    async def failure(self, failed: RequestFailed) -> EndpointError:
        """The error that ends a run: the endpoint's own words, and what to do."""
        message = f"endpoints.{self.name} ({self._endpoint.model} at {self.url}): {failed.message}"
        if failed.message.startswith("HTTP 401"):
            variable = self._endpoint.api_key_env
            return EndpointError(
                message,
                f"put a valid key into the variable {variable}"
                if variable
                else f"set endpoints.{self.name}.api_key_env",
            )
        if failed.message.startswith("HTTP 404"):
            names = await self.model_names()
            if names:
                more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
                listed = f"it has {', '.join(names[:_SHOWN_MODELS])}{more}"
                return EndpointError(message, f"set endpoints.{self.name}.model: {listed}")
            return EndpointError(
                message, f"check endpoints.{self.name}.model and base_url, which goes up to and with /v1"
            )
        return EndpointError(message, f"check endpoints.{self.name} with 'finreg doctor'; the same command goes on")

    async def close(self) -> None:
        await self._model.root_async_client.close()
        self._model.root_client.close()

    def _clean(self, text: str) -> str:
        """A foreign text for our messages: one line, not too long, without the key that some servers repeat."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def base_url(endpoint: Endpoint) -> str:
    return (endpoint.base_url or OPENAI_URL).rstrip("/")


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
        ConfigError: the key's variable is not set.
        EndpointError: the endpoint refuses or is not there; for an unknown model the remedy lists those that exist.
    """
    return asyncio.run(_probe(name, endpoint.model_copy(update={"max_tokens": _PROBE_TOKENS}), environment))


async def _probe(name: str, configured: Endpoint, environment: Mapping[str, str]) -> str:
    from langchain_core.messages import HumanMessage

    endpoint = OpenAIEndpoint(name, configured, environment)
    try:
        while True:
            try:
                reply = await endpoint.complete([HumanMessage("Reply with the word: ready")], None)
                break
            except RequestFailed as failed:
                if not failed.corrected:
                    raise await endpoint.failure(failed) from failed
    finally:
        await endpoint.close()
    used = "it reports no usage" if reply.output_tokens is None else f"{reply.output_tokens} tokens"
    return f"{endpoint.url} answers as {configured.model} ({used})"


def _reply(message: AIMessage) -> Reply:
    usage = message.usage_metadata
    # A server that keeps no count reports zeros: no prompt has 0 tokens.
    reported = usage is not None and usage["input_tokens"] > 0
    return Reply(
        text=str(message.text),
        input_tokens=usage["input_tokens"] if usage and reported else None,
        output_tokens=usage["output_tokens"] if usage and reported else None,
        finish_reason=message.response_metadata.get("finish_reason"),
    )


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _endpoints_words(error: Any) -> str:
    """The message inside of an error's body (OpenAI, vLLM, FastAPI), else the body itself."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error", "error_message"):
            if body.get(key):
                return str(body[key])
    return str(body or error.response.text or error.message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header asks for; None without one, or with a date, which needs a common clock."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if seconds >= 0 else None

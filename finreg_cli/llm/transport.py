"""HTTP to an endpoint: one pool of connections, TLS and proxies as configured, and each failure as `RequestFailed`.

aiohttp itself and no client above it: the usual ones cost a third of the requests per second, and each hides something
that must be told apart here (was it sent? may it have been paid for? does it concern every request?).
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

import orjson

from finreg_cli.config import Endpoint, Tls
from finreg_cli.errors import ConfigError

if TYPE_CHECKING:
    import aiohttp

_SECONDS_TO_CONNECT = 30.0
_LARGEST_LIST = 64 * 2**20
_LARGEST_ENVELOPE = 2**16
_BYTES_PER_TOKEN = 32
"""More than any tokenizer makes of one, with JSON's escapes."""

_SHOWN_CHARACTERS = 400
_TRANSIENT = frozenset({408, 409, 425, 429})
_THROTTLED = frozenset({429, 503, 529})
_TO_EVERY_REQUEST = frozenset({401, 402, 404, 405, 407})
_NEVER_AGAIN = ("insufficient_quota", "exceeded your current quota", "billing")
"""With status 429: not too many requests, but no more money."""
_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class RequestFailed(Exception):
    """A request got no usable reply. Inside of this package only: the runner retries, drops the row or ends the run.

    Args:
        message: what the endpoint said.
        transient: whether the same request may succeed later.
        endpoint_wide: whether every other request must fail as this one did: a refused key, an unknown model.
        throttled: whether the endpoint has too much to do (status 429, 503, 529).
        retry_after: seconds that the endpoint asked to wait.
        maybe_charged: whether the endpoint may have computed (and charged for) a reply that did not arrive.
        corrected: the endpoint does not know a parameter, which the next request will do without.
        status: the HTTP status, where there was a whole response.
        remedy: what helps against just this; None for the usual advice.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool,
        endpoint_wide: bool = False,
        throttled: bool = False,
        retry_after: float | None = None,
        maybe_charged: bool = False,
        corrected: bool = False,
        status: int | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.transient = transient
        self.endpoint_wide = endpoint_wide
        self.throttled = throttled
        self.retry_after = retry_after
        self.maybe_charged = maybe_charged
        self.corrected = corrected
        self.status = status
        self.remedy = remedy


class Transport:
    """Sends JSON and receives JSON. It must be made, used and closed in one event loop.

    Args:
        name: ``generator`` or ``judge``, as in the configuration, for the messages.
        endpoint: its configuration.
        url: where the endpoint is.
        environment: where proxies and ``headers_env`` are looked up.

    Raises:
        ConfigError: a variable is not set, a certificate can't be loaded, or the proxy is no proxy's address.
    """

    def __init__(self, name: str, endpoint: Endpoint, url: str, environment: Mapping[str, str]) -> None:
        import aiohttp

        self._name = name
        self._timeout = endpoint.timeout
        secret = secret_headers(name, endpoint, environment)
        self._secrets = set(secret.values())
        self._proxy = proxy_for(name, endpoint.proxy, url, environment)
        self._headers = {**endpoint.headers, **secret}
        if self._proxy is not None:
            self._secrets |= self._proxy.secrets
            if urlsplit(url).scheme == "http":  # otherwise they go with CONNECT
                self._headers |= self._proxy.headers
        self._is_tls = urlsplit(url).scheme == "https"
        self._largest_reply = _LARGEST_ENVELOPE + _BYTES_PER_TOKEN * endpoint.max_tokens
        self._session = aiohttp.ClientSession(
            # The limit in flight is the runner's; another one here would only hide requests from it.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=ssl_context(name, endpoint.tls) if self._is_tls else True, keepalive_timeout=60
            ),
            timeout=aiohttp.ClientTimeout(
                total=endpoint.timeout, sock_connect=min(endpoint.timeout, _SECONDS_TO_CONNECT)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Any:
        """The parsed body of a reply.

        Raises:
            RequestFailed: there was none.
        """
        return await self._request("POST", url, headers, orjson.dumps(body), self._largest_reply)

    async def get(self, url: str, headers: Mapping[str, str]) -> Any:
        """As `post`."""
        return await self._request("GET", url, headers, None, _LARGEST_LIST)

    async def close(self) -> None:
        await self._session.close()

    def clean(self, text: str, secrets: Iterable[str] = ()) -> str:
        """A foreign text for our messages: one line, not too long, without the secrets that some servers repeat."""
        for secret in {*self._secrets, *secrets}:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, largest: int
    ) -> Any:
        import aiohttp

        sent = {"Content-Type": "application/json", **headers, **self._headers}
        secrets = {value.removeprefix("Bearer ") for value in headers.values()}
        proxy, proxy_headers = (self._proxy.url, self._proxy.headers) if self._proxy is not None else (None, None)
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=sent,
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=proxy_headers,
            ) as response:
                content = await _whole(response, largest)
        except _TooLarge as error:
            message = f"an unusable reply: larger than {largest} bytes, which max_tokens does not allow"
            raise RequestFailed(message, transient=True, maybe_charged=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            self._translate(error, secrets)
        if response.status != 200:
            self._refuse(response, content, secrets)
        try:
            return orjson.loads(content)
        except ValueError as error:
            shown = self.clean(content[: 2 * _SHOWN_CHARACTERS].decode(errors="replace"), secrets)
            raise RequestFailed(
                f"an unusable reply, which is no JSON: {shown or 'it is empty'}", transient=True, maybe_charged=True
            ) from error

    def _refuse(self, response: aiohttp.ClientResponse, content: bytes, secrets: Iterable[str]) -> NoReturn:
        status = response.status
        if 300 <= status < 400:
            target = self.clean(response.headers.get("Location", "nowhere"), secrets)
            raise RequestFailed(
                f"HTTP {status}: it sends us on to {target}",
                transient=False,
                endpoint_wide=True,
                status=status,
                remedy=f"set endpoints.{self._name}.base_url to where the endpoint really is",
            )
        said = self.clean(_words(content) or response.reason or "no message", secrets)
        is_spent = status == 429 and any(words in said.lower() for words in _NEVER_AGAIN)
        raise RequestFailed(
            f"HTTP {status}: {said}",
            transient=(status in _TRANSIENT or status >= 500) and not is_spent,
            endpoint_wide=status in _TO_EVERY_REQUEST or is_spent,
            throttled=status in _THROTTLED and not is_spent,
            retry_after=retry_after(response.headers),
            status=status,
            remedy=self._proxy_remedy if status == 407 else None,
        )

    def _translate(self, error: Exception, secrets: Iterable[str]) -> NoReturn:
        """Tells the failures of a connection apart; see the headings of aiohttp's own tree of exceptions."""
        import aiohttp

        root = _root(error)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            status = error.status
            message = self.clean(f"the proxy {self._proxy_url} refuses: HTTP {status} {error.message}", secrets)
            # 403 and 407 are its last word; 502 to 504 say that it does not reach the endpoint now.
            wide = status < 500
            raise RequestFailed(
                message, transient=not wide, endpoint_wide=wide, remedy=self._proxy_remedy, status=None
            ) from error
        if (tls_problem := _tls_problem(error)) is not None:
            self._refuse_tls(tls_problem, error, secrets)
        if isinstance(error, TimeoutError):
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            what = "no connection" if connecting else "no reply"
            seconds = min(self._timeout, _SECONDS_TO_CONNECT) if connecting else self._timeout
            raise RequestFailed(f"{what} within {seconds:g} s", transient=True, maybe_charged=not connecting) from error
        if isinstance(error, aiohttp.InvalidURL):
            raise RequestFailed(
                f"{error} is no URL",
                transient=False,
                endpoint_wide=True,
                remedy=f"set endpoints.{self._name}.base_url to something like https://host/v1",
            ) from error
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            message = self.clean(f"no connection to the proxy {self._proxy_url}: {root}", secrets)
            raise RequestFailed(message, transient=True, remedy=self._proxy_remedy) from error
        unsent = isinstance(error, aiohttp.ClientConnectorError)
        what = "no connection" if unsent else "the connection broke"
        message = self.clean(f"{what}: {root or type(root).__name__}", secrets)
        # Under TLS 1.3 a client's certificate is refused after the handshake, and the refusal may be lost on the way.
        remedy = None
        if not unsent and self._is_tls:
            remedy = (
                f"look into the endpoint's log; where it asks clients for a certificate, set "
                f"endpoints.{self._name}.tls.client_cert to one that it accepts"
            )
        raise RequestFailed(message, transient=True, maybe_charged=not unsent, remedy=remedy) from error

    def _refuse_tls(self, root: ssl.SSLError, error: Exception, secrets: Iterable[str]) -> NoReturn:
        section = f"endpoints.{self._name}.tls"
        if isinstance(root, ssl.SSLCertVerificationError):
            message = f"its certificate is not trusted: {root.verify_message}"
            remedy = f"set {section}.ca_file to the PEM file of the authority that signed it"
            if root.verify_code in _OTHER_NAME:
                remedy = f"set endpoints.{self._name}.base_url to a name that the certificate holds"
        elif root.reason == "WRONG_VERSION_NUMBER":
            message = "no TLS connection: what answers there does not speak TLS"
            remedy = f"begin endpoints.{self._name}.base_url with http:// instead of https://"
        else:
            message = f"no TLS connection: {root.reason or root}"
            remedy = f"set {section}.client_cert (and client_key) to a certificate that the endpoint accepts"
        raise RequestFailed(self.clean(message, secrets), transient=False, endpoint_wide=True, remedy=remedy) from error

    @property
    def _proxy_url(self) -> str:
        return self._proxy.url if self._proxy is not None else "between here and there"

    @property
    def _proxy_remedy(self) -> str:
        origin = self._proxy.origin if self._proxy is not None else "the proxy"
        return f"check {origin}; a proxy's user and password go into HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"


class _TooLarge(Exception):
    """A body is longer than what was asked for can be; it is not read to its end."""


async def _whole(response: aiohttp.ClientResponse, largest: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > largest:
            response.close()
            raise _TooLarge
    return b"".join(parts)


# --- headers, TLS, proxies ---


def secret_headers(name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> dict[str, str]:
    """``headers_env`` with the values of its variables.

    Raises:
        ConfigError: a variable is not set, or its value can't stand in a header.
    """
    found = {}
    for header, variable in endpoint.headers_env.items():
        value = environment.get(variable, "").strip()
        if not value:
            raise ConfigError(
                f"endpoints.{name}.headers_env.{header} names the environment variable {variable}, which is not set",
                f"export {variable}=... , or leave the header out",
            )
        if not value.isprintable():
            raise ConfigError(
                f"endpoints.{name}.headers_env.{header}: the variable {variable} holds a line break or another "
                f"character that no header may hold",
                f"export {variable} again, in one line",
            )
        found[header] = value
    return found


def ssl_context(name: str, tls: Tls) -> ssl.SSLContext:
    """Whom to trust and who we are.

    Raises:
        ConfigError: a file is missing or is no certificate or key; the message names its key in the configuration.
    """
    section = f"endpoints.{name}.tls"
    for key in ("ca_file", "client_cert", "client_key"):
        path: Path | None = getattr(tls, key)
        if path is not None and not path.is_file():
            raise ConfigError(f"{section}.{key}: there is no file {path}", f"set {section}.{key} to a PEM file")
    if tls.client_key is not None and tls.client_cert is None:
        raise ConfigError(
            f"{section}.client_key is set, but client_cert is not", f"set {section}.client_cert to its certificate"
        )
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{section}.ca_file: {tls.ca_file} holds no certificate: {error}", "give a file in PEM format"
        ) from error
    if tls.client_cert is not None:
        try:
            # Without the callback, OpenSSL asks for the password of an encrypted key at the terminal.
            context.load_cert_chain(tls.client_cert, tls.client_key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{section}.client_cert: {tls.client_cert} with the key {tls.client_key or 'in it'} "
                f"cannot be loaded: {error}",
                "give the certificate and its own key in PEM format, the key without a password",
            ) from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Proxy:
    """``origin`` is where it was configured; ``headers`` hold what it is told of us."""

    url: str
    headers: dict[str, str]
    secrets: frozenset[str]
    origin: str


def proxy_for(name: str, configured: str | None, url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL: the configured one, else that of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY less NO_PROXY.

    What runs on this machine is never asked through a proxy of the environment.

    Raises:
        ConfigError: it is no ``http://HOST:PORT`` (or https), or the configuration holds its password.
    """
    origin = f"endpoints.{name}.proxy"
    if configured is None:
        configured, origin = _proxy_of_environment(url, environment)
        if configured is None:
            return None
    elif "@" in configured:
        raise ConfigError(
            f"{origin} holds a user and a password",
            "leave it out, and export HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT: a secret does not belong into a file",
        )
    if "://" not in configured:
        configured = f"http://{configured}"
    try:
        parts = urlsplit(configured)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = configured.rpartition("@")[2]
        raise ConfigError(f"{origin}: {shown} is no address of an HTTP proxy", f"set {origin} to http://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    headers, secrets = {}, set()
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {token}"
        secrets = {token, *([password] if password else [])}
    return Proxy(f"{parts.scheme}://{host}{f':{port}' if port else ''}", headers, frozenset(secrets), origin)


def _proxy_of_environment(url: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    # Lower case counts more, as everywhere.
    by_scheme = {
        key.lower().removesuffix("_proxy"): (value, key)
        for key, value in sorted(environment.items(), key=lambda item: item[0].islower())
        if key.lower().endswith("_proxy") and value
    }
    exceptions = {"no": by_scheme["no"][0]} if "no" in by_scheme else {}
    if _is_this_machine(host) or urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined] # not in typeshed
        host if parts.port is None else f"{host}:{parts.port}", exceptions
    ):
        return None, ""
    value, variable = by_scheme.get(parts.scheme) or by_scheme.get("all") or (None, "")
    return value, f"the variable {variable}"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# --- what an endpoint says ---


def _words(content: bytes) -> str:
    """The message inside of an error's body (OpenAI, vLLM, Databricks, FastAPI), else the body itself."""
    try:
        body = json.loads(content)
    except ValueError:
        return content[: 4 * _SHOWN_CHARACTERS].decode(errors="replace")
    return words_of(body) or str(body)


def words_of(body: Any) -> str:
    """The message of an error's parsed body; empty where there is none."""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    if isinstance(inner, dict):
        code = inner.get("code")
        said = str(inner.get("message") or inner)
        return f"{said} ({code})" if code == "insufficient_quota" else said
    for key in ("message", "detail", "error", "error_message"):
        if body.get(key):
            return str(body[key])
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a response asks to wait; None where it does not.

    A date is taken relative to the response's own ``Date``: the two clocks need not agree.
    """
    for name, unit in (("Retry-After-Ms", 1000.0), ("Retry-After", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    wanted = _date(headers.get("Retry-After"))
    if wanted is None:
        return None
    now = _date(headers.get("Date")) or datetime.now(UTC)
    return max(0.0, (wanted - now).total_seconds())


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _tls_problem(error: BaseException | None) -> ssl.SSLError | None:
    """The failure of TLS behind an error, as OpenSSL tells it; aiohttp's own around it does not know the reason."""
    problem = None
    while error is not None:
        if isinstance(error, ssl.SSLError):
            problem = error
        error = error.__cause__ or error.__context__
    return problem

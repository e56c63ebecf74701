"""HTTP to an endpoint: real TLS with an authority of our own, real proxies, and what is said when they refuse."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fakes.answering import answering, loop_on_a_thread
from fakes.openai_server import FakeOpenAI
from finreg_cli.config import Endpoint, Tls
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.endpoints import check, probe
from finreg_cli.llm.transport import RequestFailed, Transport, proxy_for, retry_after, ssl_context

HOST = "models.example"


# --- an authority, and what it signs ---


@dataclass
class Authority:
    folder: Path
    name: str

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed(self.name, self._key, None)
        self.file = self.folder / f"{self.name}-ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def signs(self, name: str, password: bytes | None = None) -> tuple[Path, Path]:
        """The files of a certificate for a host (and loopback) and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        certificate.write_bytes(self._signed(name, key, self._certificate).public_bytes(serialization.Encoding.PEM))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return certificate, key_file

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        authority_key = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False
            )
        )
        if issuer is None:
            builder = builder.add_extension(authority_key, critical=False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "strangers")


@dataclass
class Seen:
    """What the HTTPS server saw."""

    port: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0


@contextmanager
def https_server(authority: Authority, clients: Authority | None = None, name: str = HOST) -> Iterator[Seen]:
    """Answers each chat completion with ``ready``; with ``clients`` only those who have a certificate of it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.signs(name))
    if clients is not None:
        context.load_verify_locations(clients.file)
        context.verify_mode = ssl.CERT_REQUIRED
    seen = Seen()

    async def chat(request: web.Request) -> web.Response:
        seen.headers.append(dict(request.headers))
        message = {"role": "assistant", "content": "ready"}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}]})

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner

    with loop_on_a_thread() as loop:
        loop.set_exception_handler(lambda _, __: None)  # refused handshakes are what the tests want
        runner = asyncio.run_coroutine_threadsafe(start(), loop).result()
        seen.port = runner.addresses[0][1]
        try:
            yield seen
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()


@dataclass
class FakeProxy:
    """A proxy that tunnels (CONNECT) and forwards, each to ``target`` on loopback, whatever host was asked for."""

    target: int
    user: str | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split(" HTTP/", 1)[0])
        expected = base64.b64encode((self.user or "").encode()).decode()
        if self.user is not None and f"Proxy-Authorization: Basic {expected}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers.append(there)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            there.write(head.encode())
        await asyncio.gather(_pour(reader, there), _pour(there_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
    except ConnectionError:
        pass  # the other side has left, which is how these connections end
    writer.close()


@contextmanager
def proxy_to(port: int, user: str | None = None) -> Iterator[FakeProxy]:
    proxy = FakeProxy(port, user)
    with loop_on_a_thread() as loop:
        loop.set_exception_handler(lambda _, __: None)
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(proxy.serve, "127.0.0.1", 0), loop).result()
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def stop() -> None:
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for writer in proxy.writers:
                writer.close()
                with suppress(Exception):  # however it ended: only that no socket is left open counts
                    await writer.wait_closed()

        try:
            yield proxy
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()


def endpoint(port: int, host: str = "127.0.0.1", scheme: str = "https", **settings: Any) -> Endpoint:
    return Endpoint.model_validate({"model": "fake", "base_url": f"{scheme}://{host}:{port}/v1", **settings})


def refusal(configured: Endpoint, environment: dict[str, str] | None = None) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        probe("judge", configured, environment or {})
    return caught.value


# --- TLS ---


def test_an_authority_of_ones_own_is_trusted_where_it_is_configured(authority: Authority) -> None:
    with https_server(authority) as server:
        assert "answers as fake" in probe("judge", endpoint(server.port, tls={"ca_file": authority.file}), {})


def test_an_unknown_authority_is_refused_with_the_key_that_helps(authority: Authority, stranger: Authority) -> None:
    with https_server(authority) as server:
        for tls in ({}, {"ca_file": stranger.file}):
            error = refusal(endpoint(server.port, tls=tls))
            assert "its certificate is not trusted" in error.message
            assert error.remedy.startswith("set endpoints.judge.tls.ca_file to the PEM file")
    assert server.headers == []


def test_verification_is_only_left_out_where_it_is_said(stranger: Authority) -> None:
    with https_server(stranger) as server:
        assert "answers" in probe("judge", endpoint(server.port, tls={"verify": False}), {})


def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    with https_server(authority, name="other.example") as server:
        error = refusal(endpoint(server.port, host="localhost", tls={"ca_file": authority.file}))
    assert "its certificate is not trusted" in error.message
    assert error.remedy == "set endpoints.judge.base_url to a name that the certificate holds"


def test_a_client_certificate_is_shown(authority: Authority, stranger: Authority) -> None:
    certificate, key = authority.signs("us")
    foreign, foreign_key = stranger.signs("them")
    with https_server(authority, clients=authority) as server:
        tls = {"ca_file": authority.file, "client_cert": certificate, "client_key": key}
        assert "answers" in probe("judge", endpoint(server.port, tls=tls), {})
        for wrong in ({}, {"client_cert": foreign, "client_key": foreign_key}):
            error = refusal(endpoint(server.port, tls={"ca_file": authority.file, **wrong}))
            assert "no TLS connection" in error.message or "the connection broke" in error.message
            assert "set endpoints.judge.tls.client_cert" in error.remedy
    assert len(server.headers) == 1


def test_https_to_a_server_without_it_is_said() -> None:
    with FakeOpenAI() as server:
        error = refusal(endpoint(int(server.url.split(":")[2].split("/")[0])))
    assert "no TLS connection" in error.message
    assert error.remedy == "begin endpoints.judge.base_url with http:// instead of https://"


def test_wrong_files_are_configuration_errors(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.signs("us")
    _, locked = authority.signs("locked", password=b"secret")
    prose = tmp_path / "prose.pem"
    prose.write_text("no certificate")
    wrong: list[tuple[dict[str, Path], str]] = [
        ({"ca_file": tmp_path / "missing.pem"}, r"tls\.ca_file: there is no file .*missing\.pem"),
        ({"ca_file": prose}, r"tls\.ca_file: .*prose\.pem holds no certificate"),
        ({"client_cert": prose}, r"tls\.client_cert: .*prose\.pem .*cannot be loaded"),
        ({"client_cert": certificate, "client_key": locked}, r"cannot be loaded"),
        ({"client_key": key}, r"client_key is set, but client_cert is not"),
    ]
    for tls, said in wrong:
        with pytest.raises(ConfigError, match=said):
            check("judge", endpoint(1, tls=tls), {})


# --- proxies ---


def test_a_configured_proxy_forwards_http() -> None:
    with FakeOpenAI() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with proxy_to(port) as proxy:
            configured = endpoint(port, host=HOST, scheme="http", proxy=proxy.url)
            assert "answers" in probe("judge", configured, {})
    assert proxy.asked == [f"POST http://{HOST}:{port}/v1/chat/completions"]


@pytest.mark.parametrize("from_environment", [True, False])
def test_https_goes_through_a_tunnel_and_the_proxy_sees_no_key(authority: Authority, from_environment: bool) -> None:
    with https_server(authority) as server, proxy_to(server.port) as proxy:
        settings: dict[str, Any] = {"tls": {"ca_file": authority.file}, "api_key_env": "KEY"}
        environment = {"KEY": "sk-1"}
        if from_environment:
            environment["HTTPS_PROXY"] = proxy.url
        else:
            settings["proxy"] = proxy.url
        assert "answers" in probe("judge", endpoint(443, host=HOST, **settings), environment)
    assert proxy.asked == [f"CONNECT {HOST}:443"]
    assert server.headers[0]["Authorization"] == "Bearer sk-1"
    assert "Proxy-Authorization" not in server.headers[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_for_a_password_gets_it_and_nobody_else(authority: Authority, scheme: str) -> None:
    variable = f"{scheme}_proxy"
    with FakeOpenAI() as plain, https_server(authority) as tls:
        port = tls.port if scheme == "https" else int(plain.url.split(":")[2].split("/")[0])
        with proxy_to(port, user="me:p@ss/word") as proxy:
            configured = endpoint(port, host=HOST, scheme=scheme, tls={"ca_file": authority.file})
            address = proxy.url.removeprefix("http://")
            assert "answers" in probe("judge", configured, {variable: f"http://me:p%40ss%2Fword@{address}"})
            error = refusal(configured, {variable: f"http://me:wrong-secret@{address}"})
            assert "407" in error.message
            assert "wrong-secret" not in error.message + error.remedy
            assert variable in error.remedy


def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    error = refusal(endpoint(443, host=HOST, proxy=url))
    assert f"no connection to the proxy {url}" in error.message
    assert "endpoints.judge.proxy" in error.remedy


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:2"}, "http://q:2"),
        ("https://a.example/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://a.example/v1", {"ALL_PROXY": "p:1"}, "http://p:1"),
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.example,.example"}, None),
        ("https://a.example:8443/v1", {"HTTPS_PROXY": "http://p:1", "no_proxy": "a.example:8443"}, None),
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://localhost:8000/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.5:8000/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://[::1]:8000/v1", {"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_which_proxy_the_environment_asks_for(url: str, environment: dict[str, str], expected: str | None) -> None:
    found = proxy_for("judge", None, url, environment)
    assert (found.url if found else None) == expected


@pytest.mark.parametrize("proxy", ["socks5://p:1", "http://", "http://p:port"])
def test_what_is_no_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.judge\.proxy: .* is no address of an HTTP proxy"):
        proxy_for("judge", proxy, "https://a.example", {})


def test_a_password_in_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="holds a user and a password") as caught:
        proxy_for("judge", "http://me:hidden@p:1", "https://a.example", {})
    assert "hidden" not in caught.value.message + caught.value.remedy


# --- headers ---


def test_headers_are_sent_and_their_secrets_never_shown() -> None:
    with FakeOpenAI(key="right") as server:
        configured = Endpoint(
            model="fake", base_url=server.url, headers={"X-Team": "risk"}, headers_env={"Authorization": "TOKEN"}
        )
        assert "answers" in probe("judge", configured, {"TOKEN": "Bearer right"})
        error = refusal(configured, {"TOKEN": "Bearer wrong-secret"})
        assert "wrong-secret" not in error.message
        assert "***" in error.message


@pytest.mark.parametrize(("value", "said"), [("", "which is not set"), ("a\nb", "holds a line break")])
def test_a_header_whose_variable_is_wrong_is_a_configuration_error(value: str, said: str) -> None:
    configured = endpoint(1, headers_env={"X-Key": "THE_KEY"})
    with pytest.raises(ConfigError, match=rf"headers_env\.X-Key.* THE_KEY.*{said}"):
        check("judge", configured, {"THE_KEY": value})


# --- responses ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:30 GMT", "Date": "Wed, 21 Oct 2099 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_what_a_response_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def post(url: str) -> Any:
    async def run() -> Any:
        transport = Transport("judge", Endpoint(model="fake", base_url=url), url, {})
        try:
            return await transport.post(f"{url}/chat/completions", {}, {"model": "fake"})
        finally:
            await transport.close()

    return asyncio.run(run())


def test_a_redirect_is_not_followed_and_told() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "https://elsewhere.example/v1"})

    with answering(elsewhere) as url, pytest.raises(RequestFailed, match=r"on to https://elsewhere\.example") as caught:
        post(url)
    assert (caught.value.transient, caught.value.endpoint_wide) == (False, True)
    assert "base_url" in (caught.value.remedy or "")


def test_a_spent_quota_is_not_tried_again_though_it_is_a_429() -> None:
    async def spent(_: web.Request) -> web.Response:
        error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
        return web.json_response({"error": error}, status=429)

    with answering(spent) as url, pytest.raises(RequestFailed) as caught:
        post(url)
    assert (caught.value.transient, caught.value.endpoint_wide, caught.value.throttled) == (False, True, False)


def test_a_reply_that_is_longer_than_asked_for_is_not_read_to_its_end() -> None:
    sent = 0

    async def huge(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while sent < 2**30:
                await response.write(b"x" * 65536)
                sent += 65536
        return response

    with answering(huge) as url, pytest.raises(RequestFailed, match="larger than 98304 bytes"):
        post(url)
    assert sent < 2**26


def test_the_systems_authorities_are_trusted_by_default() -> None:
    context = ssl_context("judge", Tls())
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

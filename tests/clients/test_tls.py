"""Client certificates, the name in the handshake, and not verifying: what is wrong is said before or is an outcome."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from loadgen import Http, secret
from loadgen.clients.http import HttpClient
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.tls import tls_context
from loadgen.errors import RequestFailed, ScenarioError, UsageError
from tests.support.scripted import Scripted, client_of, ok, rows_of, scripted

CLIENT = "worker@load.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


class Files:
    """A client's certificate and key: each in a file, and both in one."""

    def __init__(self, folder: Path, cert: trustme.LeafCert) -> None:
        self.cert, self.key, self.both = folder / "client.pem", folder / "client.key", folder / "both.pem"
        self.key_text = cert.private_key_pem.bytes().decode()
        self.both_text = cert.private_key_and_cert_chain_pem.bytes().decode()
        self.cert.write_bytes(cert.cert_chain_pems[0].bytes())
        self.key.write_text(self.key_text)
        self.both.write_text(self.both_text)


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Files:
    return Files(tmp_path, authority.issue_cert(CLIENT))


@contextlib.asynccontextmanager
async def asking_for_certificates(authority: trustme.CA, *names: str) -> AsyncIterator[Scripted]:
    """A target that takes only clients with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names or ("localhost",)).configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted(ok(b"x"), tls=context) as server:
        yield server


@contextlib.contextmanager
def refusing_in_tls(authority: trustme.CA) -> Iterator[str]:
    """The same in a thread, and it says why it refuses: asyncio's servers close without the alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    refused: list[bool] = []

    def serve() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
            except ssl.SSLError:
                refused.append(True)
            with contextlib.suppress(OSError):
                tls.shutdown(socket.SHUT_WR)
                while tls.recv(4096):  # with data unread, closing is a reset, which takes the alert away
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        thread.join(60)
    assert refused


@contextlib.asynccontextmanager
async def client_with(http: Http, url: str, ca: Path | None) -> AsyncIterator[HttpClient]:
    async with client_of(url, network=network_of(http), tls=tls_context(ca, http)) as client:
        yield client


async def outcome_of(http: Http, url: str, ca: Path | None) -> tuple[str, str]:
    async with client_with(http, url, ca) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/")
        assert [row.outcome for row in rows_of(client)] == [failure.value.outcome]
        return failure.value.outcome, failure.value.detail


# -- versions and ciphers ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def speaking(authority: trustme.CA, low: ssl.TLSVersion, high: ssl.TLSVersion) -> AsyncIterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.minimum_version, context.maximum_version = low, high
    async with scripted(ok(b"x"), tls=context) as server:
        yield server


@pytest.mark.parametrize(
    ("http", "seen"),
    [
        (Http(), r"TLSv1\.3 with TLS_\w+"),
        (Http(tls_max="1.2"), r"TLSv1\.2 with [\w-]+"),
        (Http(tls_min="1.3"), r"TLSv1\.3 with TLS_\w+"),
        (Http(tls_max="1.2", ciphers="ECDHE+AES128"), r"TLSv1\.2 with \S*AES128\S*"),
    ],
)
async def test_versions_and_ciphers_are_chosen_and_seen(
    http: Http, seen: str, authority: trustme.CA, ca_file: Path
) -> None:
    notes: list[str] = []
    async with speaking(authority, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) as server:
        network = network_of(http, note=notes.append)
        async with client_of(server.url, network=network, tls=tls_context(ca_file, http)) as client:
            for _ in range(2):
                await client.get("/", expect=200)
                client._pool.close_idle()
    (note,) = notes  # once for both connections
    where = server.url.removeprefix("https://")
    assert re.fullmatch(rf"TLS: {where} used {seen}", note)


async def test_a_target_without_an_allowed_version_gets_no_request(authority: trustme.CA, ca_file: Path) -> None:
    async with speaking(authority, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2) as server:
        outcome, _ = await outcome_of(Http(tls_min="1.3"), server.url, ca_file)
        assert outcome in ("tls", "reset")  # asyncio's servers close without the alert
        assert not server.requests


@pytest.mark.parametrize(
    ("http", "message"),
    [
        (Http(tls_min="1"), "tls_min: invalid version '1'"),
        (Http(tls_max="TLSv1.2"), "tls_max: invalid version 'TLSv1.2'"),
        (Http(tls_min="1.3", tls_max="1.2"), 'tls_min: "1.3" is above tls_max, "1.2"'),
        (Http(ciphers="AES-9000"), "ciphers: OpenSSL has no cipher 'AES-9000'"),
        (Http(ciphers=7), "ciphers: OpenSSL has no cipher 7"),  # type: ignore[arg-type]
        (Http(tls_min="1.3", ciphers="ECDHE+AESGCM"), 'ciphers: TLS 1.3 has ciphers of its own, but tls_min="1.3"'),
    ],
)
def test_versions_and_ciphers_that_do_not_exist_are_errors_before_the_start(http: Http, message: str) -> None:
    ((found, hint),) = http.wrongs()
    assert found == message
    assert hint


# -- client certificates ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["two files", "one file", "key as text", "key as a path", "both as text"])
async def test_a_client_shows_its_certificate(
    how: str, authority: trustme.CA, ca_file: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.dsl.secret._values", {})
    value = {"key as text": files.key_text, "key as a path": str(files.key), "both as text": files.both_text}.get(how)
    monkeypatch.setenv("LOADGEN_SECRET_CLIENT_KEY", value or "")
    key = secret("client-key")
    http = {
        "two files": Http(cert=(files.cert, files.key)),
        "one file": Http(cert=files.both),
        "key as text": Http(cert=(files.cert, key)),
        "key as a path": Http(cert=(files.cert, key)),
        "both as text": Http(cert=key),
    }[how]

    async with asking_for_certificates(authority) as server, client_with(http, server.url, ca_file) as client:
        assert (await client.get("/", expect=200)).text == "x"
        assert (await client.get("/", expect=200)).text == "x"
        assert server.connections == 1


async def test_a_target_that_gets_no_certificate_refuses_in_tls(authority: trustme.CA, ca_file: Path) -> None:
    with refusing_in_tls(authority) as url:
        outcome, detail = await outcome_of(Http(), url, ca_file)
    assert outcome == "tls"
    assert "CERTIFICATE_REQUIRED" in detail.upper().replace(" ", "_")


async def test_a_target_refuses_a_certificate_of_another_authority(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other", trustme.CA().issue_cert(CLIENT))
    with refusing_in_tls(authority) as url:
        outcome, detail = await outcome_of(Http(cert=other.both), url, ca_file)
    assert outcome == "tls"
    assert "UNKNOWN_CA" in detail.upper().replace(" ", "_")


async def test_a_target_refuses_a_certificate_that_has_expired(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    old = Files(tmp_path / "old", authority.issue_cert(CLIENT, not_after=datetime.now(UTC) - timedelta(days=1)))
    with refusing_in_tls(authority) as url:
        outcome, detail = await outcome_of(Http(cert=old.both), url, ca_file)
    assert outcome == "tls"
    assert "EXPIRED" in detail.upper()


def test_a_certificate_that_is_missing_or_wrong_is_told_before_anything_starts(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.dsl.secret._values", {})
    other = trustme.CA().issue_cert(CLIENT).private_key_pem.bytes().decode()
    key = load_pem_private_key(files.key_text.encode(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass"))
    (tmp_path / "other.key").write_text(other)
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "garbage.pem").write_text("no PEM")
    monkeypatch.setenv("LOADGEN_SECRET_GARBAGE", "neither a path nor PEM: canary")
    monkeypatch.setenv("LOADGEN_SECRET_OTHER", other)
    wrong: list[tuple[Http, str]] = [
        (Http(cert=tmp_path / "missing.pem"), f"cannot read {tmp_path / 'missing.pem'}: No such file"),
        (Http(cert=(files.cert, tmp_path / "missing.key")), f"cannot read {tmp_path / 'missing.key'}: No such file"),
        (Http(cert=files.cert), "not a certificate and private key in PEM"),
        (Http(cert=tmp_path / "garbage.pem"), "not a certificate and private key in PEM"),
        (Http(cert=(files.cert, tmp_path / "garbage.pem")), "not a certificate and private key in PEM"),
        (Http(cert=(files.cert, tmp_path / "other.key")), "the private key does not belong to the certificate"),
        (Http(cert=(files.cert, secret("other"))), "the private key does not belong to the certificate"),
        (Http(cert=(files.cert, tmp_path / "locked.key")), "is encrypted"),
        (Http(cert=(files.cert, secret("garbage"))), 'cannot read secret("garbage")'),
    ]
    for http, message in wrong:
        with pytest.raises(UsageError) as raised:
            tls_context(None, http)
        told = f"{raised.value} {raised.value.hint}"
        assert message in told
        assert raised.value.hint
        assert "canary" not in told
        assert "PRIVATE KEY-----\n" not in told


def test_a_key_that_was_not_given_is_told_by_its_name(files: Files) -> None:
    with pytest.raises(ScenarioError, match='secret "no-such-key" is not set'):
        tls_context(None, Http(cert=(files.cert, secret("no-such-key"))))


# -- verifying and the name -------------------------------------------------------------------------


async def test_without_verifying_any_certificate_will_do_and_only_then(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("wrong.example").configure_cert(context)
    async with scripted(ok(b"x"), tls=context) as server:
        assert (await outcome_of(Http(), server.url, None))[0] == "tls"
        async with client_with(Http(verify=False), server.url, None) as client:
            await client.get("/", expect=200)


async def test_the_name_of_the_handshake_is_the_one_that_is_verified(authority: trustme.CA, ca_file: Path) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with scripted(ok(b"x"), tls=context) as server:
        assert (await outcome_of(Http(), server.url, ca_file))[0] == "tls"
        async with client_with(Http(sni="shop.example"), server.url, ca_file) as client:
            await client.get("/", expect=200)
            await client.get("/", headers={"Host": "virtual.example"}, expect=200)
        assert (await outcome_of(Http(sni="other.example"), server.url, ca_file))[0] == "tls"
        hosts = [request.header("host") for request in server.requests]
    assert asked == ["localhost", "shop.example", "other.example"]
    assert hosts == [server.url.removeprefix("https://"), "virtual.example"]


async def test_a_host_that_is_sent_elsewhere_keeps_its_name_in_header_and_handshake(
    authority: trustme.CA, ca_file: Path
) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with scripted(ok(b"x"), tls=context) as server:
        port = server.url.rpartition(":")[2]
        http = Http(resolve={f"shop.example:{port}": "127.0.0.1"})
        async with client_with(http, f"https://shop.example:{port}", ca_file) as client:
            await client.get("/", expect=200)
            client.headers["Host"] = "virtual.example"
            await client.get("/", expect=200)
        assert [request.header("host") for request in server.requests] == [f"shop.example:{port}", "virtual.example"]
    assert asked == ["shop.example"]

"""Through a proxy the target sees the same requests; what the proxy does is told from what the target does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from loadgen import Http, secret
from loadgen.clients.http import HttpClient
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.proxy import ProxyNetwork, network_of
from loadgen.clients.net.proxy_requests import Excepted, Forward
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.errors import RequestFailed, UsageError
from tests.support.badserver import refusing_url
from tests.support.proxy import proxy
from tests.support.scripted import Received, client_of, ok, rows_of, samples_of, scripted

LOGIN = "me:hunter2:x"
SOON = Timeouts(connect_ns=60_000_000)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names or ("localhost",)).configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def client_through(
    http: Http, url: str, *, ca: Path | None = None, notes: list[str] | None = None, **options: Any
) -> AsyncIterator[HttpClient]:
    """A client of one user as a plan with this `Http` has it."""
    network = network_of(http, (notes if notes is not None else []).append)
    forward = Forward.of(http)
    async with client_of(url, network=network, tls=tls_context(ca, http), forward=forward, **options) as client:
        yield client


async def outcome_of(http: Http, url: str, **options: Any) -> tuple[str, str]:
    async with client_through(http, url, **options) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/pay")
        (row,) = rows_of(client)
        assert row.outcome == failure.value.outcome
        assert len(client._pool) == 0
        return failure.value.outcome, failure.value.detail


# -- what is asked of it ----------------------------------------------------------------------------


async def test_http_is_forwarded_with_the_whole_url() -> None:
    async with scripted(ok(b"x")) as server, proxy() as seen:
        async with client_through(Http(proxy=seen.url), server.url) as client:
            client.headers["X-Mine"] = "1"
            assert (await client.get("/a?b=c", expect=200)).text == "x"
        (asked,) = seen.requests
        assert (asked.method, asked.target) == ("GET", f"{server.url}/a?b=c")
        assert asked.headers["host"] == server.url.removeprefix("http://")
        assert "proxy-authorization" not in asked.headers
        (request,) = server.requests
        assert (request.target, request.header("x-mine")) == ("/a?b=c", "1")


@pytest.mark.parametrize("call", ["get", "post", "headers", "params", "upload", "host"])
async def test_each_way_of_asking_is_forwarded_as_httpx_has_it(call: str) -> None:
    async def asked_by(client: Any) -> None:
        match call:
            case "get":
                await client.get("/a%20b")
            case "post":
                await client.post("/p", json={"a": 1})
            case "headers":
                await client.get("/h", headers={"X-A": "1"})
            case "params":
                await client.get("/s", params={"q": "é"})
            case "upload":
                await client.post("/u", content=iter([b"one", b"two"]) if ours else _pieces())
            case "host":
                await client.get("/h", headers={"Host": "virtual.example"})

    async def _pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    seen_by: list[list[tuple[str, str, str]]] = []
    for ours in (True, False):
        async with scripted(ok(b"x")) as server, proxy() as seen:
            if ours:
                async with client_through(Http(proxy=seen.url), server.url) as client:
                    await asked_by(client)
            else:
                async with httpx.AsyncClient(base_url=server.url, proxy=seen.url, trust_env=False) as stock:
                    await asked_by(stock)
            port = server.url.rpartition(":")[2]
            seen_by.append(
                [
                    (r.method, r.target.replace(port, "PORT"), r.headers["host"].replace(port, "PORT"))
                    for r in seen.requests
                ]
            )
            assert len(server.requests) == 1
    assert seen_by[0] == seen_by[1]


async def test_https_is_tunnelled_and_verified_as_the_target_s_own(authority: trustme.CA, ca_file: Path) -> None:
    async with scripted(ok(b"x"), tls=server_tls(authority)) as server, proxy() as seen:
        async with client_through(Http(proxy=seen.url), server.url, ca=ca_file) as client:
            for _ in range(3):
                assert (await client.get("/a", expect=200)).text == "x"
        (tunnel,) = seen.requests
        place = server.url.removeprefix("https://")
        assert (tunnel.method, tunnel.target, tunnel.headers["host"]) == ("CONNECT", place, place)
        assert seen.connections == server.connections == 1
        assert [request.target for request in server.requests] == ["/a"] * 3

    async with scripted(ok(b"x"), tls=server_tls(trustme.CA())) as server, proxy() as seen:
        outcome, detail = await outcome_of(Http(proxy=seen.url), server.url, ca=ca_file)
        assert outcome == "tls"
        assert f"through proxy {seen.url.removeprefix('http://')}" in detail


async def test_its_login_is_a_secret_and_nobody_else_gets_it(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_SECRET_PROXY_LOGIN", LOGIN)

    def moved(request: Received) -> bytes:
        if request.target == "/there":
            return ok(b"x")
        return ok(b"", f"Location: {elsewhere.url}/there", status="302 Found")

    async with scripted(ok(b"x")) as elsewhere, scripted(moved) as server, proxy(login=LOGIN) as seen:
        port = elsewhere.url.rpartition(":")[2]
        elsewhere.url = f"http://localhost:{port}"
        http = Http(proxy=seen.url, proxy_auth=secret("proxy-login"), no_proxy=["localhost"])
        async with client_through(http, server.url) as client:
            assert (await client.get("/moved", follow_redirects=True, expect=200)).text == "x"
            assert (await client.get("/there", auth=("a", "b"), expect=200)).text == "x"
            sent = [dict(sample.request.headers) for sample in samples_of(client)]
        assert len(seen.requests) == 2
        assert all(asked.headers["proxy-authorization"] for asked in seen.requests)
        for request in (*elsewhere.requests, *server.requests):
            assert request.header("proxy-authorization") is None
        assert all("proxy-authorization" not in headers for headers in sent)

    async with scripted(ok(b"x"), tls=server_tls(authority)) as server, proxy(login=LOGIN) as seen:
        http = Http(proxy=seen.url, proxy_auth=secret("proxy-login"))
        async with client_through(http, server.url, ca=ca_file) as client:
            await client.get("/", expect=200)
        assert server.requests[0].header("proxy-authorization") is None


@pytest.mark.parametrize("value", ["nobody", "me:pw\r\nX-Evil: 1", ""])
def test_a_login_that_is_none_is_told_without_its_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Given:
        name = "proxy-login"

        def reveal(self) -> str:
            return value

    with pytest.raises(UsageError, match="must be user:password") as raised:
        network_of(Http(proxy="http://127.0.0.1:1", proxy_auth=Given()))
    assert value == "" or value not in str(raised.value)


async def test_hosts_that_are_excepted_are_reached_without_it(authority: trustme.CA, ca_file: Path) -> None:
    async with scripted(ok(b"x")) as server, refusing_proxy() as http:
        async with client_through(http, server.url) as client:
            await client.get("/a", expect=200)
        assert server.requests[0].target == "/a"
    async with (
        scripted(ok(b"x"), tls=server_tls(authority)) as server,
        refusing_proxy() as http,
        client_through(http, server.url, ca=ca_file) as client,
    ):
        await client.get("/a", expect=200)


@contextlib.asynccontextmanager
async def refusing_proxy() -> AsyncIterator[Http]:
    with refusing_url() as url:
        yield Http(proxy=url, no_proxy=["127.0.0.0/8", "localhost"])


@pytest.mark.parametrize(
    ("host", "is_excepted"),
    [
        ("login.example", True),
        ("a.login.example", False),
        ("shop.example", True),
        ("www.shop.example", True),
        ("myshop.example", False),
        ("a.internal", True),
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("192.168.1.1", True),
        ("192.168.1.2", False),
        ("fd00::7", True),
        ("fe00::7", False),
        ("other.example", False),
    ],
)
def test_no_proxy_is_names_what_is_below_them_and_networks(host: str, is_excepted: bool) -> None:
    excepted = Excepted(("Login.example", ".shop.example", "*.internal", "10.0.0.0/8", "192.168.1.1", "fd00::/8"))
    assert (host in excepted) is is_excepted


# -- what it does wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "outcome", "detail"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "proxy 403", "refused the tunnel: 403 Forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy 502", "refused the tunnel: 502 Bad Gateway"),
        (b"HTTP/1.0 407\r\n\r\n", "proxy 407", "refused the tunnel: 407"),
        ([b"HTTP/1", b".1 504 Gateway ", b"Timeout\r\n", b"X: y\r\n\r", b"\n"], "proxy 504", "refused the tunnel"),
        (b"220 mail.example ESMTP ready\r\n", "proxy protocol", "does not speak HTTP: b'220 mail"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "proxy protocol", "does not speak HTTP"),
        (b"HTTP/1.1 2xx Fine\r\n\r\n", "proxy protocol", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-More: " + b"x" * 200_000, "proxy protocol", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n220 mail", "proxy protocol", "sent bytes right after it opened the tunnel"),
        ("close", "proxy reset", "closed the connection without an answer"),
    ],
    ids=["403", "502", "407", "in parts", "mail", "TLS", "no status", "endless", "too much", "close"],
)
async def test_what_a_proxy_says_instead_of_a_tunnel_is_its_own_outcome(says: Any, outcome: str, detail: str) -> None:
    async with proxy(says=says) as seen:
        found, said = await outcome_of(Http(proxy=seen.url), "https://shop.example")

    assert found == outcome
    assert detail in said
    assert seen.url.removeprefix("http://") in said
    assert seen.tunnels == ["shop.example:443"]


def judged(parts: list[bytes]) -> str:
    """What becomes of a tunnel for which the proxy says these, one write each, and then closes."""
    ours, theirs = socket.socketpair()

    class Direct(TcpNetwork):
        async def open_socket(self, host: str, port: int, opening: Opening) -> socket.socket:
            return ours

    async def say() -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_recv(theirs, 4096)
        with contextlib.suppress(OSError):  # we may have heard enough
            for part in parts:
                await loop.sock_sendall(theirs, part)
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)

    async def ask() -> str:
        network = ProxyNetwork(Http(proxy="http://127.0.0.1:1"), Direct())
        saying = asyncio.create_task(say())
        try:
            (await network._tunnel("shop.example", 443, Opening())).close()
        except RequestFailed as failure:
            return failure.outcome
        finally:
            await saying
        return "tunnel"

    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        return asyncio.run(ask())


ANSWERS = {
    b"HTTP/1.1 200 Connection established\r\n\r\n": "tunnel",
    b"HTTP/1.0 200 OK\r\nVia: 1.1 x\r\nX-Y: z\r\n\r\n": "tunnel",
    b"HTTP/1.1 204\r\n\r\n": "tunnel",
    b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n": "proxy 407",
    b"HTTP/1.1 200 OK\r\nX-Y": "proxy protocol",
    b"HTTP/2 200\r\n\r\n": "proxy protocol",
    b"": "proxy reset",
}


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 60), max_size=6))
def test_an_answer_means_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    parts = [answer[a:b] for a, b in pairwise(places) if a < b]
    assert judged(parts) == ANSWERS[answer]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
def test_whatever_a_proxy_says_is_a_tunnel_or_its_outcome(parts: list[bytes]) -> None:
    assert judged(parts).partition(" ")[0] in ("tunnel", "proxy")


async def test_a_proxy_that_hangs_is_a_time_out_and_the_run_says_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.net.proxy.SILENT_S", 0.0)
    notes: list[str] = []
    async with proxy(says="hang") as seen:
        found, _ = await outcome_of(Http(proxy=seen.url), "https://shop.example", timeouts=SOON, notes=notes)

    assert found == "timeout"
    assert notes == [f"proxy {seen.url.removeprefix('http://')} had not opened a tunnel when a request timed out"]


@pytest.mark.parametrize("url", ["http://shop.example", "https://shop.example"])
async def test_a_proxy_at_which_nobody_listens_is_not_the_target_s_refusal(url: str) -> None:
    with refusing_url() as nobody:
        assert (await outcome_of(Http(proxy=nobody), url))[0] == "proxy refused"


@pytest.mark.parametrize("url", ["http://shop.example", "https://shop.example"])
async def test_a_proxy_without_an_address_is_not_the_target_s_dns(url: str) -> None:
    assert (await outcome_of(Http(proxy="http://no-such-host.invalid:3128"), url))[0] == "proxy dns"


async def test_a_proxy_that_wants_a_login_says_407_of_a_forwarded_request_too() -> None:
    async with scripted(ok(b"x")) as server, proxy(login=LOGIN) as seen:
        async with client_through(Http(proxy=seen.url), server.url) as client:
            assert (await client.get("/")).status_code == 407
            assert [row.outcome for row in rows_of(client)] == ["http 407"]
        assert not server.requests


async def test_a_tunnel_that_is_given_up_leaves_no_socket_behind() -> None:
    async with proxy(says="hang") as seen:
        http = Http(proxy=seen.url)
        async with client_through(http, "https://shop.example") as client:
            asking = asyncio.ensure_future(client.get("/"))
            while not seen.requests:
                await asyncio.sleep(0.001)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled()
            assert rows_of(client) == []

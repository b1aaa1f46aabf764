"""Servers that refuse, reset, hang, lie or have no valid certificate, in the real Chromium of this machine.

Each gives the outcome that an HTTP request to it has, and the browser serves the next user.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import ClassVar

import pytest
import pytest_asyncio
import trustme

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace
from loadgen.clients.span_export.sender import SpanSender
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.exemplars import Exemplars
from loadgen.engine.tracing.client_spans import ClientSpan
from loadgen.errors import RequestFailed
from loadgen.find_chromium import find_chromium
from loadgen.units import NS_PER_S
from tests.dsl.test_browser import Visit
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.process,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not find_chromium(), reason="this machine has no Chromium"),
]

PAGE = b"<!doctype html><p>ok"
OK_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(PAGE),
    PAGE,
)


class Peer:
    """A server whose path says what it does: /reset, /half, /cut-chunks, /garbage, /empty, /hang; else a page."""

    seen: ClassVar[Counter[str]] = Counter()
    heads: ClassVar[list[str]] = []

    @staticmethod
    def serve(link: socket.socket) -> None:
        with link, suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := link.recv(65_536)):
                    return
                data += more
            path = data.split(b" ")[1].decode().partition("?")[0]
            Peer.seen[path] += 1
            Peer.heads.append(data.decode())
            if path == "/reset":
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            answers = {
                "/half": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5000\r\n\r\n" + PAGE,
                "/cut-chunks": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"14\r\n" + PAGE,
                "/garbage": b"HTTP/1.1 2\0 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
                "/empty": b"",
                "/503-empty": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                "/503": b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
            }
            if path == "/hang":
                link.recv(1)
                return
            link.sendall(answers.get(path, OK_PAGE))


@contextmanager
def peer(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    threading.Thread(target=one, args=(link,), daemon=True).start()

        def one(link: socket.socket) -> None:
            with suppress(OSError):
                Peer.serve(link if tls is None else tls.wrap_socket(link, server_side=True))

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class Kept(SpanSender):
    """Keeps the spans instead of sending them."""

    def __init__(self) -> None:
        super().__init__(None, {}, str, Random(3))  # type: ignore[arg-type]
        self.kept: list[ClientSpan] = []

    def put(self, spans: list[ClientSpan], left_out: int) -> None:
        self.kept += spans


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(kept: Kept) -> AsyncIterator[UserFactory]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with peer() as port, peer(context) as own:
        targets = {
            "": f"http://127.0.0.1:{port}",
            "gone": f"http://127.0.0.1:{free_port()}",
            "own": f"https://localhost:{own}",
        }
        ways = Ways(targets, browsers=1, trace=Trace(1.0, per="trace"), timeouts=Timeouts(total_ns=3 * NS_PER_S))
        made = UserFactory(ways, TcpNetwork(), None, seed=1, export=kept)
        yield made
        await made.worker_clients.close()


async def opened(factory: UserFactory, url: str) -> tuple[dict[tuple[str, str], int], str]:
    """Open a page, and return how often each (row, outcome) was recorded, and the outcome of the block."""
    visit = Visit(factory)
    outcome = "ok"
    try:
        async with visit.user.browser(url):
            pass
    except RequestFailed as failure:
        outcome = failure.outcome
    rows = {(row, result): len(of) for (row, result, metric), of in visit.values().items() if metric == "response"}
    return rows, outcome


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("/reset", "reset"),
        ("/empty", "reset"),
        ("/half", "protocol"),
        ("/cut-chunks", "protocol"),
        ("/garbage", "protocol"),
        ("/hang", "timeout"),
        ("gone", "refused"),
        ("own", "tls"),
    ],
)
async def test_a_bad_server_gives_the_outcome_that_http_has_and_the_next_page_opens(
    factory: UserFactory, url: str, outcome: str
) -> None:
    full = url if url.startswith("/") else factory.ways.targets[url] + "/"
    path = url if url.startswith("/") else "/"
    assert await opened(factory, full) == ({(f"page {path}", outcome): 1}, outcome)
    assert await opened(factory, "/good") == ({("page /good", "ok"): 1}, "ok")


async def test_pages_are_as_many_as_the_server_counts(factory: UserFactory) -> None:
    Peer.seen.clear()
    visit = Visit(factory)
    for n in range(3):
        async with visit.user.browser(f"/a/{n}", name="a") as page:
            await page.goto("/b")
    rows = {row: len(of) for (row, result, metric), of in visit.values().items() if metric == "response"}
    pages = {path: count for path, count in Peer.seen.items() if path != "/favicon.ico"}
    assert rows == {"a": 3, "page /b": 3}
    assert pages == {"/a/0": 1, "/a/1": 1, "/a/2": 1, "/b": 3}


async def test_an_error_without_a_body_has_its_status(factory: UserFactory) -> None:
    visit = Visit(factory)
    with pytest.raises(RequestFailed, match="http 503"):
        async with visit.user.browser("/503-empty"):
            raise AssertionError("Chromium shows a page of its own, so there is nothing to act on")
    visit.user._meter.settle()
    assert {(row, outcome) for row, outcome, _ in visit.values()} == {("page /503-empty", "http 503")}


async def test_a_failed_page_is_kept_with_the_headers_of_both_sides(factory: UserFactory) -> None:
    visit = Visit(factory)
    async with visit.user.browser("/503"):
        pass
    visit.user._meter.settle()
    drafts = visit.user._meter._drafts
    assert drafts is not None
    (failure,) = [one.failure for one in drafts]
    assert failure.sent.startswith("GET http://127.0.0.1:")
    assert "user-agent: " in failure.sent
    assert failure.received.startswith("HTTP 503\n")
    assert "retry-after: 7" in failure.received


async def test_pages_are_spans_of_ours_and_their_exemplars_lead_to_them(factory: UserFactory, kept: Kept) -> None:
    kept.kept.clear()
    Peer.heads.clear()
    visit = Visit(factory)
    visit.recorder.exemplars = Exemplars(probability=1.0)
    async with visit.user.browser("/first") as page:
        await page.goto("/second")
    visit.user._meter.settle()
    spans = visit.user._meter.spans
    visit.recorder.iteration(visit.recorder.journey_series("j"), 2, 2, None, None, "ok", False, 1, spans=spans)
    by_name = {one.name: one for one in kept.kept}
    assert {"page /first", "page /second", "j"} == set(by_name)
    first, second = by_name["page /first"], by_name["page /second"]
    assert first.trace == second.trace
    assert first.span != second.span
    assert first.request is not None
    assert (first.request.method, first.request.status) == ("GET", 200)
    heads = [head for head in Peer.heads if "favicon" not in head]
    assert len(heads) == 2
    assert all(f"traceparent: 00-{first.trace}-{first.span}-01" in head for head in heads)
    found = {one.request: (one.trace, one.span) for one in visit.recorder.flip(0, 1).exemplars if one.request}
    assert found == {one.name: (one.trace, one.span) for one in (first, second)}


async def test_a_user_that_shares_cookies_is_logged_in_in_the_browser_and_afterwards_in_http(
    factory: UserFactory,
) -> None:
    visit = Visit(factory)
    visit.user.http.cookies.set("session", "7", domain="127.0.0.1", path="/")
    Peer.heads.clear()
    async with visit.user.browser("/shared", share_cookies=True) as page:
        assert [one["name"] for one in await page.context.cookies()] == ["session"]
        await page.evaluate("document.cookie = 'cart=lamp; path=/'")
    await visit.user.http.get("/after")
    first, *_, last = [head for head in Peer.heads if "favicon" not in head]
    assert "session=7" in first
    (line,) = [line for line in last.split("\r\n") if line.lower().startswith("cookie: ")]
    assert set(line.partition(": ")[2].split("; ")) == {"session=7", "cart=lamp"}
    async with visit.user.browser("/apart") as page:
        assert await page.evaluate("document.cookie") == ""

"""Fetching a page from a real server: what answers badly, slowly or not at all ends in time, with the reason."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from loadgen.probes.metrics_page.exposition import BYTES_MOST
from loadgen.probes.metrics_page.scrape import Scraper
from loadgen.probes.running.http_fetch import Fetched, NotFetched, new_loop, time_limit_s
from loadgen.probes.settings import ProbeSpec
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply, vllm_page


def spec_of(url: str, **more: Any) -> ProbeSpec:
    return ProbeSpec(name="p", url=url, preset="vllm", **more)


def fetch(url: str, limit_s: float = 5.0, secret: str = "", permit: Any = None, **more: Any) -> Fetched:
    return fetch_each(url, 1, limit_s, secret, permit, **more)[0]


def fetch_each(
    url: str, count: int, limit_s: float = 5.0, secret: str = "", permit: Any = None, **more: Any
) -> list[Fetched]:
    async def run() -> list[Fetched]:
        scraper = Scraper(spec_of(url, **more), time.perf_counter_ns, secret, permit)
        try:
            return [await scraper.fetch(limit_s) for _ in range(count)]
        finally:
            await scraper.close()

    loop = new_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def test_pages_come_with_the_times_of_request_and_answer_on_one_connection() -> None:
    before_ns = time.perf_counter_ns()
    with metrics_server() as server:
        pages = fetch_each(server.url, 3)

    assert [page.body for page in pages] == [vllm_page(10).encode()] * 3
    times = [at for page in pages for at in (page.sent_ns, page.received_ns)]
    assert times == sorted(times)
    assert times[0] > before_ns
    assert server.connections == 1


def test_the_secret_is_sent_in_its_header_and_compression_is_not_asked_for() -> None:
    with metrics_server() as server:
        fetch(server.url, secret="Bearer canary", auth_secret="login", auth_header="X-Api-Key")

    (head,) = server.requests
    assert b"\r\nX-Api-Key: Bearer canary\r\n" in head
    assert b"\r\nAccept-Encoding: identity\r\n" in head
    assert b"Authorization" not in head


def redirect(server: MetricsServer) -> None:
    server.reply(page_reply("", "302 Found", "Location: http://127.0.0.1:1/\r\n"))


def half(server: MetricsServer) -> None:
    server.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nup 1\n")


def compressed(server: MetricsServer) -> None:
    server.reply(page_reply(gzip.compress(b"up 1\n"), headers="Content-Encoding: gzip\r\n"))


def endless(server: MetricsServer) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(b"a 1\n" * 100_000)

    server.answer = answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (redirect, "the server returned http 302, and redirects are not followed"),
        (lambda server: server.reply(page_reply("", "401 Unauthorized")), "the server returned http 401"),
        (lambda server: server.reply(page_reply("", "503 Busy")), "the server returned http 503"),
        (compressed, "the server sent a compressed page, which is not supported"),
        (endless, f"the page has more than {BYTES_MOST >> 20} MiB"),
        (half, "peer closed connection"),
        (lambda server: server.reply(b"SSH-2.0-OpenSSH_9.6\r\n"), "."),
        (lambda server: server.reply(b""), "disconnected"),
    ],
)
def test_a_server_that_answers_badly_gives_a_reason(answer: Callable[[MetricsServer], None], why: str) -> None:
    with metrics_server() as server:
        answer(server)
        with pytest.raises(NotFetched, match=why):
            fetch(server.url, limit_s=20)


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_never_completes_its_answer_costs_no_more_than_the_limit(how: str) -> None:
    with metrics_server() as server:
        getattr(server, how)()
        began_s = time.monotonic()
        with pytest.raises(NotFetched, match=r"no complete answer within 0\.3 s"):
            fetch(server.url, limit_s=0.3)

        assert time.monotonic() - began_s < 10


def test_a_look_up_that_hangs_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: may_end.wait(30))
    with pytest.raises(NotFetched, match="no complete answer"):
        fetch("http://metrics.example/metrics", limit_s=0.2)
    may_end.set()


def test_a_closed_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(NotFetched, match=f"no connection to 127.0.0.1:{port}"):
        fetch(f"http://127.0.0.1:{port}/metrics")


def test_a_connection_that_failed_is_replaced_by_a_new_one() -> None:
    async def run(server: MetricsServer) -> bytes:
        scraper = Scraper(spec_of(server.url), time.perf_counter_ns)
        server.hang()
        with pytest.raises(NotFetched):
            await scraper.fetch(0.1)
        server.say(lambda: "up 1\n")
        page = await scraper.fetch(5)
        await scraper.close()
        return page.body

    with metrics_server() as server:
        assert asyncio.run(run(server)) == b"up 1\n"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://168.63.129.16/"])
def test_metadata_services_are_never_connected_to(url: str) -> None:
    with pytest.raises(NotFetched, match=r"is not permitted: it has a (link-local|metadata) address"):
        fetch(url)


def test_a_name_that_resolves_to_a_metadata_service_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [row])

    with pytest.raises(NotFetched, match=r"metrics\.example is not permitted"):
        fetch("http://metrics.example/metrics")


def test_the_permission_is_asked_with_host_address_and_port() -> None:
    asked: list[tuple[str, str, int]] = []

    def permit(host: str, address: object, port: int) -> str:
        asked.append((host, str(address), port))
        return "no entry of the allow-list names it"

    with metrics_server() as server, pytest.raises(NotFetched, match="no entry of the allow-list"):
        fetch(server.url, permit=permit)

    assert asked == [("127.0.0.1", "127.0.0.1", server.port)]
    assert not server.connections


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    with metrics_server() as server:
        assert fetch(server.url).body


def test_the_limit_is_below_the_interval() -> None:
    assert [time_limit_s(ns) for ns in (200_000_000, 1_000_000_000, 60_000_000_000)] == [0.16, 0.8, 5.0]

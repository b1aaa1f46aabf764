"""A request that must not be sent twice does not go to a connection that the target has closed already.

The server runs in a thread: it answers, closes, and lets the client go on only then. The client's loop has had no turn
since, so only a look at the socket shows the close.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter_ns
from typing import Any

import httpx
import pytest

from loadgen.clients.httpx_api.transport import HttpxTransport
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.clients.protocol.hang_up import EpollHangUps, HangUps
from tests.support.scripted import client_of, rows_of

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TRIES = 20


class _Closing:
    """Answers one request on each connection. `closed` is set when the connection is closed after the answer."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answered = 0
        self.go = threading.Event()
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                data = b""
                while not data.endswith((b"\r\n\r\n", b"{}")):
                    if not (piece := connection.recv(65536)):
                        return
                    data += piece
                self.answered += 1
                connection.sendall(ANSWER)
                self.go.wait(10)
                self.go.clear()
            self.closed.set()

    def close_now(self) -> None:
        """Close the connection of the last answer, and return when it is closed. The client's loop stands still."""
        self.go.set()
        assert self.closed.wait(10)
        self.closed.clear()

    def end(self) -> None:
        self.go.set()
        with socket.create_connection(self._listener.getsockname()):  # without a request: the thread ends
            pass
        self._thread.join(10)
        self._listener.close()


@contextmanager
def _closing_server() -> Iterator[_Closing]:
    server = _Closing()
    try:
        yield server
    finally:
        server.end()


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_post_right_after_the_close_of_its_connection_goes_to_a_new_one(is_shared: bool) -> None:
    pool = SharedPool(2, TcpNetwork()) if is_shared else ConnectionPool(TcpNetwork())
    with _closing_server() as server:
        async with client_of(server.url, pool=pool) as client:
            for n in range(TRIES):
                method = "POST" if n % 2 else "PATCH"
                send = client.post("/", json={}) if n % 3 else client.request(method, "/", json={}, headers={"A": "b"})
                await send
                server.close_now()
            assert server.answered == TRIES
            assert pool.opened == TRIES
            assert {row.outcome for row in rows_of(client)} == {"ok"}
            assert pool.stale_retries == 0


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_post_of_httpx_right_after_the_close_of_its_connection_goes_to_a_new_one(is_shared: bool) -> None:
    pool = SharedPool(2, TcpNetwork()) if is_shared else ConnectionPool(TcpNetwork())
    with _closing_server() as server:
        async with client_of(server.url, pool=pool) as client:
            transport = HttpxTransport(client._meter, pool, server.url)
            async with httpx.AsyncClient(transport=transport, base_url=server.url) as stock:
                for _ in range(TRIES):
                    assert (await stock.post("/", json={})).text == "ok"
                    server.close_now()
            assert server.answered == TRIES


async def test_a_get_does_not_look_because_it_may_be_sent_again() -> None:
    with _closing_server() as server:
        async with client_of(server.url) as client:
            for _ in range(3):
                assert (await client.get("/", expect=200)).text == "ok"
                server.close_now()
            assert client._pool.stale_retries == 2


# -- a look, without a loop ------------------------------------------------------------------------


class _Transport:
    """A transport of which only the socket is asked for."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.sock


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """100 connections, each as (our socket, the target's)."""
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(100)]
        for pair in made:
            stack.enter_context(pair[0])
            stack.enter_context(pair[1])
        yield made


_Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture(params=[EpollHangUps, HangUps])
def hang_ups(request: pytest.FixtureRequest) -> HangUps:
    """Both kinds: with epoll, and for systems without it."""
    made: HangUps = request.param()
    return made


def _watch(hang_ups: HangUps, connection: object, sock: socket.socket | None) -> None:
    transport: Any = _Transport(sock)
    hang_ups.watch(connection, transport)


def test_of_many_connections_those_are_found_that_the_target_closed(hang_ups: HangUps, pairs: _Pairs) -> None:
    for n, (ours, _) in enumerate(pairs):
        _watch(hang_ups, n, ours)
    assert not any(hang_ups.has(n, perf_counter_ns()) for n in range(100))
    for n in range(0, 100, 3):
        pairs[n][1].close()
    assert [n for n in range(100) if hang_ups.has(n, perf_counter_ns())] == list(range(0, 100, 3))
    assert hang_ups.has(99, 0)  # a close is found by each later look, too
    hang_ups.forget(99)
    assert not hang_ups.has(99, perf_counter_ns())


def test_a_connection_with_the_number_of_a_closed_one_is_not_taken_for_it(hang_ups: HangUps) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    _watch(hang_ups, "old", ours)
    theirs.close()
    ours.close()  # as with TLS: the socket is closed before its connection is lost
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ours.fileno() == number
        _watch(hang_ups, "new", ours)
        hang_ups.forget("old")
        assert not hang_ups.has("new", perf_counter_ns())
        theirs.close()
        assert hang_ups.has("new", perf_counter_ns())


def test_a_transport_without_a_socket_is_never_hung_up(hang_ups: HangUps) -> None:
    _watch(hang_ups, "canned", None)
    assert not hang_ups.has("canned", perf_counter_ns())
    hang_ups.forget("canned")


def test_connections_share_a_look_that_came_after_their_last_bytes(pairs: _Pairs) -> None:
    hang_ups = EpollHangUps()
    (one, its_peer), (other, other_peer) = pairs[:2]
    _watch(hang_ups, "one", one)
    _watch(hang_ups, "other", other)
    read_ns = perf_counter_ns()
    its_peer.close()
    assert not hang_ups.has("other", read_ns)
    assert hang_ups.has("one", read_ns)  # without a look of its own
    other_peer.close()
    assert not hang_ups.has("other", read_ns)  # closed after the look
    assert hang_ups.has("other", perf_counter_ns())  # more bytes were read since, so it looks


def test_without_free_files_requests_are_sent_without_a_look(monkeypatch: pytest.MonkeyPatch, pairs: _Pairs) -> None:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(select, "epoll", refuse)
    hang_ups = EpollHangUps()
    _watch(hang_ups, "one", pairs[0][0])
    pairs[0][1].close()
    assert not hang_ups.has("one", perf_counter_ns())
    hang_ups.forget("one")

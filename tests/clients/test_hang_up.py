"""A request that must not be sent twice does not go to a connection that the target has closed already.

The server runs in a thread: it answers, closes, and lets the client go on only then. The client's loop has had no turn
since, so only a look at the socket shows the close.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from loadgen.clients.httpx_api.transport import HttpxTransport
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
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

"""The kernel's time of streams over TLS: the same times, requests, failures and ends as with the loop's own TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns

import pytest
import trustme

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_MS
from tests.clients.test_kernel_clock import END, FINISH, HEAD, Place, chunk, token

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received packets")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """A TLS server in a thread, which runs `work` on each connection."""

    def __init__(self, authority: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.maximum_version = version
        authority.issue_cert("localhost").configure_cert(self.context)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.peers: list[ssl.SSLSocket] = []
        self.port = self.listener.getsockname()[1]

    def peer(self) -> ssl.SSLSocket:
        """Accept a connection, and return it when its request is there."""
        plain, _ = self.listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self.context.wrap_socket(plain, server_side=True)
        self.peers.append(peer)
        peer.recv(65_536)
        return peer


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    made = Server(authority)
    yield made
    for peer in made.peers:
        peer.close()
    made.listener.close()


class Client:
    """A client of a model over TLS, with the kernel's clock."""

    def __init__(self, server: Server, authority: trustme.CA | None, answers: AnswerReads | None = None) -> None:
        self.reads = StreamReads()
        self.clock = KernelClock(self.reads, answers=answers)
        self.clock.start()
        context = ssl.create_default_context()
        if authority is not None:
            authority.configure_trust(context)
        meter = StreamMeter(Recorder())
        meter.begin("ask", warmup=False, pool_limited=False)
        self.notes: list[str] = []
        network = TcpNetwork(clock=self.clock, note=self.notes.append, answers=answers)
        self.pool = ConnectionPool(network, context, has_stamps=True)
        self.http = HttpClient(meter, self.pool, f"https://localhost:{server.port}")
        self.llm = LlmClient(self.http, Llm(model="m"), Place(), reads=self.reads)


@contextlib.asynccontextmanager
async def client_of(
    server: Server, authority: trustme.CA | None, answers: AnswerReads | None = None
) -> AsyncIterator[Client]:
    made = Client(server, authority, answers)
    try:
        yield made
    finally:
        made.pool.close()
        made.clock.close()
        await asyncio.sleep(0.01)


async def test_an_event_that_came_while_the_loop_was_blocked_has_its_own_time(
    server: Server, authority: trustme.CA
) -> None:
    go, sent = threading.Event(), []

    def serve() -> None:
        peer = server.peer()
        peer.sendall(HEAD)
        go.wait(30)
        before_ns = perf_counter_ns()
        peer.sendall(token("a"))
        sent.append((before_ns, perf_counter_ns()))
        time.sleep(0.1)
        peer.sendall(FINISH)

    async with client_of(server, authority) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        asked = asyncio.create_task(client.llm.chat("hello"))
        while not client.reads._open:  # until the head is there
            await asyncio.sleep(0.005)
        go.set()
        time.sleep(0.03)  # the loop is blocked
        reply = await asked
        await serving

    assert reply.reading is not None
    ((before_ns, after_ns),) = sent
    assert before_ns - NS_PER_MS < reply.reading.t_ns[0] < after_ns + NS_PER_MS
    health = client.reads.take(0, 0)
    assert health is not None
    assert (health.kernel_reads, health.loop_reads) == (1, 0)
    assert health.read_lag_max_us >= 20_000
    assert any(note.startswith("TLS: localhost") for note in client.notes)


async def test_a_plain_answer_that_came_while_the_loop_was_blocked_has_its_own_time(
    server: Server, authority: trustme.CA
) -> None:
    asked, go, sent, answers = threading.Event(), threading.Event(), threading.Event(), AnswerReads()

    def serve() -> None:
        peer = server.peer()
        asked.set()
        go.wait(30)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        sent.set()

    async with client_of(server, authority, answers) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        asking = asyncio.create_task(client.http.get("/", expect=200))
        while not asked.is_set():
            await asyncio.sleep(0.005)
        go.set()
        assert sent.wait(30)  # the loop is blocked
        read_ns = perf_counter_ns()
        reply = await asking
        await serving

    assert reply.text == "ok"
    health, _ = answers.take()
    assert (health.kernel_reads, health.loop_connections) == (1, 0)
    assert reply.done_ns < read_ns
    assert health.read_lag_max_us > 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_follow_each_other_on_one_connection_with_large_bodies(
    authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    server = Server(authority, version)
    body, answer = b"x" * 700_000, b"y" * 2_000_000

    def serve() -> None:
        plain, _ = server.listener.accept()
        peer = server.context.wrap_socket(plain, server_side=True)
        server.peers.append(peer)
        for _ in range(2):
            got = peer.recv(65_536)
            while got.partition(b"\r\n\r\n")[2] != body:
                got += peer.recv(65_536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    async with client_of(server, authority) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        for _ in range(2):
            reply = await client.http.post("/", content=body)
            assert (reply.status_code, len(reply.content)) == (200, len(answer))
        assert client.pool.opened == 1
        await serving
    server.listener.close()


async def test_the_end_of_an_answer_without_a_length_is_the_end_of_the_connection(
    server: Server, authority: trustme.CA
) -> None:
    def serve() -> None:
        peer = server.peer()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        with contextlib.suppress(OSError):
            peer.unwrap().close()

    async with client_of(server, authority) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        reply = await client.http.get("/")
        await serving
        assert reply.text == "all of it"
        assert len(client.pool) == 0


async def test_a_stream_that_breaks_within_tls_fails(server: Server, authority: trustme.CA) -> None:
    def serve() -> None:
        peer = server.peer()
        peer.sendall(HEAD + token("a"))
        time.sleep(0.05)
        peer.shutdown(socket.SHUT_RDWR)

    async with client_of(server, authority) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        with pytest.raises(RequestFailed) as failed:
            await asyncio.wait_for(client.llm.chat("hello"), 20)
        await serving
        assert failed.value.outcome in ("reset", "protocol", "tls")
        assert len(client.pool) == 0


async def test_a_certificate_of_an_unknown_authority_is_a_failure_of_tls(server: Server) -> None:
    def serve() -> None:
        with contextlib.suppress(OSError):
            server.peer()

    async with client_of(server, None) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        with pytest.raises(RequestFailed) as failed:
            await asyncio.wait_for(client.llm.chat("hello"), 20)
        await serving
        assert failed.value.outcome == "tls"
        assert "certificate" in failed.value.detail


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_target_that_speaks_no_tls_or_nothing_fails_in_the_handshake(is_silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65_536)
                if not is_silent:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        class Place:
            port = listener.getsockname()[1]

        async with client_of(Place(), None) as client:  # type: ignore[arg-type]
            serving = asyncio.create_task(asyncio.to_thread(serve))
            with pytest.raises(RequestFailed) as failed:
                await asyncio.wait_for(client.llm.chat("hello"), 20)
            await serving
            assert failed.value.outcome == ("reset" if is_silent else "tls")


async def test_many_small_and_large_events_arrive_whole(server: Server, authority: trustme.CA) -> None:
    texts = ["a" * size for size in (1, 100, 16_384, 40_000, 3, 70_000, 1)]

    def serve() -> None:
        peer = server.peer()
        peer.sendall(HEAD)
        for text in texts:
            peer.sendall(token(text))
        peer.sendall(chunk(b": comment\n\n") + FINISH.removesuffix(END))
        peer.sendall(END)

    async with client_of(server, authority) as client:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        reply = await client.llm.chat("hello")
        await serving
        assert reply.text == "".join(texts)
        assert list(reply.reading.t_ns) == sorted(reply.reading.t_ns) if reply.reading is not None else False


async def test_records_that_are_cut_at_any_byte_are_put_together(server: Server, authority: trustme.CA) -> None:
    def serve() -> None:
        peer = server.peer()
        peer.sendall(HEAD + token("oak"))
        peer.sendall(token(" lamp") + FINISH)

    def relay(listener: socket.socket) -> None:
        """Pass everything on, in pieces of 1 to 13 bytes to the client."""
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", server.port))
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_pass_on, args=(near, far), daemon=True)
        back.start()
        n = 0
        while data := far.recv(1 + n % 13):
            n += 1
            near.sendall(data)
            if not n % 20:
                time.sleep(0.001)
        near.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, server.port = server.port, listener.getsockname()[1]
        async with client_of(server, authority) as client:
            server.port = port
            threading.Thread(target=relay, args=(listener,), daemon=True).start()
            serving = asyncio.create_task(asyncio.to_thread(serve))
            reply = await client.llm.chat("hello")
            await serving
    assert reply.text == "oak lamp"


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_RDWR)

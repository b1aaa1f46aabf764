"""The kernel's time of each read of a stream: mapping, jumps of the system's time, and the transport that reads it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator
from time import perf_counter_ns
from typing import Any

import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.kernel_clock import KernelClock, kernel_clock
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.stamped_transport import StampedConnection, StampedTransport
from loadgen.clients.pool.connection_class_for_plan import connection_kind
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received packets")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def token(text: str) -> bytes:
    return chunk(b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode())


FINISH = chunk(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n') + END


class Clocks:
    """Two clocks that stand still: CLOCK_REALTIME is `ahead_ns` after `perf_counter_ns`."""

    def __init__(self) -> None:
        self.perf_ns, self.ahead_ns = 5 * NS_PER_S, 1_700_000_000 * NS_PER_S

    def perf(self) -> int:
        return self.perf_ns

    def real(self) -> int:
        return self.perf_ns + self.ahead_ns

    def stamp(self, ago_ns: int) -> list[tuple[int, int, bytes]]:
        """A stamp of a packet that arrived this long ago."""
        seconds, ns = divmod(self.real() - ago_ns, NS_PER_S)
        return [(socket.SOL_SOCKET, 37, struct.pack("@6l", seconds, ns, 0, 0, 0, 0))]


def clock_of(clocks: Clocks) -> KernelClock:
    return KernelClock(StreamReads(), clocks.perf, clocks.real)


# -- the mapping ------------------------------------------------------------------------------


def test_a_stamp_gives_the_arrival_on_our_clock_and_the_lag_of_the_read() -> None:
    clocks = Clocks()
    clock = clock_of(clocks)

    at_ns = clock.arrived_ns(clocks.stamp(3 * NS_PER_MS), clocks.perf_ns)

    assert at_ns == clocks.perf_ns - 3 * NS_PER_MS
    assert clock.reads.lag_ns == 3 * NS_PER_MS


def test_a_read_without_a_stamp_has_the_time_of_the_loop_and_no_lag() -> None:
    clocks = Clocks()
    clock = clock_of(clocks)

    assert clock.arrived_ns([], clocks.perf_ns) == clocks.perf_ns
    assert clock.reads.lag_ns == -1


def test_an_arrival_is_never_after_our_read_of_it() -> None:
    clocks = Clocks()
    clock = clock_of(clocks)

    assert clock.arrived_ns(clocks.stamp(-20 * NS_PER_US), clocks.perf_ns) == clocks.perf_ns
    assert clock.reads.lag_ns == 0


@pytest.mark.parametrize("jump_ns", [NS_PER_S, -NS_PER_S, 60 * NS_PER_US, -60 * NS_PER_US])
def test_after_a_jump_of_the_systems_time_the_loops_time_is_used_until_the_next_interval(jump_ns: int) -> None:
    clocks = Clocks()
    clock = clock_of(clocks)
    before = clocks.stamp(NS_PER_MS)

    clocks.ahead_ns += jump_ns

    assert clock.arrived_ns(before, clocks.perf_ns) == clocks.perf_ns
    assert clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns) == clocks.perf_ns
    assert (clock.reads.lag_ns, clock.jumps) == (-1, 1)
    clock.reads.take(0, 0)  # the interval ends
    assert clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns) == clocks.perf_ns - NS_PER_MS


def test_a_change_below_50_us_is_no_jump() -> None:
    clocks = Clocks()
    clock = clock_of(clocks)

    clocks.ahead_ns += 40 * NS_PER_US
    clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns)

    assert (clock.jumps, clock.reads.lag_ns >= 0) == (0, True)


def test_a_pause_between_the_readings_of_the_two_clocks_is_no_jump() -> None:
    clocks = Clocks()
    readings = iter([0, 0, 0, 0, 0, 0, 0, 0, 0, 5 * NS_PER_MS])  # nine of the first mapping, then a pause

    clock = KernelClock(StreamReads(), clocks.perf, lambda: clocks.real() + next(readings, 0))
    at_ns = clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns)

    assert (clock.jumps, at_ns) == (0, clocks.perf_ns - NS_PER_MS)


@linux
def test_linux_has_stamps_of_received_packets() -> None:
    assert kernel_clock(StreamReads()) is not None


# -- connections --------------------------------------------------------------------------------


@pytest.mark.parametrize("has_phases", [False, True])
@pytest.mark.parametrize("limit_bytes", [1_000, MAX_BODY_BYTES])
def test_each_class_of_connections_has_one_for_stamps(limit_bytes: int, has_phases: bool) -> None:
    plain = connection_kind(limit_bytes, has_phases=has_phases)
    stamped = connection_kind(limit_bytes, has_phases=has_phases, has_stamps=True)

    assert issubclass(stamped, StampedConnection)
    assert issubclass(stamped, plain)


class Place:
    def prompt_text(self, prompt: Any) -> str:
        return str(prompt)

    def waited_ns(self, now_ns: int) -> int | None:
        return None


class Asking:
    """A client of a model whose reads have the kernel's time, and a server that a test writes by hand."""

    def __init__(self, listener: socket.socket, *, has_clock: bool = True) -> None:
        self.reads = StreamReads()
        self.clock = KernelClock(self.reads) if has_clock else None
        if self.clock is not None:
            self.clock.start()
        self.meter = StreamMeter(Recorder())
        self.meter.begin("ask", warmup=False, pool_limited=False)
        self.pool = ConnectionPool(TcpNetwork(clock=self.clock), has_stamps=has_clock)
        self.http = HttpClient(self.meter, self.pool, f"http://127.0.0.1:{listener.getsockname()[1]}")
        self.llm = LlmClient(self.http, Llm(model="m"), Place(), reads=self.reads)
        self._listener = listener

    async def answering(self) -> socket.socket:
        """The server's side of the next connection, when the request is there."""
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(self._listener)
        peer.setblocking(False)
        await loop.sock_recv(peer, 65536)
        return peer


@contextlib.asynccontextmanager
async def asking(*, has_clock: bool = True) -> AsyncIterator[Asking]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        made = Asking(listener, has_clock=has_clock)
        try:
            yield made
        finally:
            made.pool.close()
            if made.clock is not None:
                made.clock.close()
            await asyncio.sleep(0)


async def turns() -> None:
    """Let the loop read what is there."""
    for _ in range(5):
        await asyncio.sleep(0.001)


@linux
async def test_events_that_came_while_the_loop_was_blocked_have_their_own_times() -> None:
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        with await made.answering() as peer:
            peer.send(HEAD)
            await turns()
            first_ns = perf_counter_ns()
            peer.send(token("a"))
            sent_ns = perf_counter_ns()
            while perf_counter_ns() < sent_ns + 8 * NS_PER_MS:
                pass  # the loop is blocked, and the event waits in the socket
            await turns()
            peer.send(FINISH)
            reply = await asked

    assert reply.reading is not None
    token_ns = reply.reading.t_ns[0]
    # The mapping of the clocks is exact to some microseconds; the loop's own time would be 8 ms later.
    assert first_ns - NS_PER_MS < token_ns < sent_ns + NS_PER_MS
    health = made.reads.take(0, 0)
    assert health is not None
    assert (health.kernel_reads, health.loop_reads) == (1, 0)
    assert health.read_lag_max_us >= 7_000


@linux
async def test_a_connection_without_the_clock_counts_reads_of_the_loop() -> None:
    async with asking(has_clock=False) as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        with await made.answering() as peer:
            peer.send(HEAD + token("a"))
            await turns()
            peer.send(token("b") + token("c") + FINISH)
            await asked

    health = made.reads.take(0, 0)
    assert health is not None
    assert (health.kernel_reads, health.loop_reads, health.events, health.shared_unknown) == (0, 2, 3, 1)


@linux
async def test_a_socket_that_refuses_stamps_is_read_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelClock, "wants_stamps", staticmethod(lambda sock: False))
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        with await made.answering() as peer:
            peer.send(HEAD + token("a") + FINISH)
            reply = await asked

    health = made.reads.take(0, 0)
    assert health is not None
    assert (reply.text, health.kernel_reads, health.loop_reads) == ("a", 0, 1)


@linux
async def test_a_connection_is_used_again_and_other_requests_have_the_time_of_the_loop() -> None:
    async with asking() as made:
        for _ in range(2):
            asked = asyncio.create_task(made.llm.chat("hello"))
            if not len(made.pool):
                peer = await made.answering()
            else:
                await asyncio.get_running_loop().sock_recv(peer, 65536)
            peer.send(HEAD + token("a") + FINISH)
            await asked
        posted = asyncio.create_task(made.http.get("/health", expect=200))
        await asyncio.get_running_loop().sock_recv(peer, 65536)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        reply = await posted
        peer.close()

        assert (reply.text, made.pool.opened) == ("ok", 1)


@linux
async def test_a_chunk_in_place_of_a_head_is_an_error_also_after_a_chunked_answer() -> None:
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        peer = await made.answering()
        peer.send(HEAD + token("a") + FINISH)
        await asked
        asked = asyncio.create_task(made.llm.chat("hello"))
        await asyncio.get_running_loop().sock_recv(peer, 65536)
        peer.send(token("b"))
        with pytest.raises(RequestFailed) as failed:
            await asyncio.wait_for(asked, 5)
        peer.close()

    assert failed.value.outcome == "protocol"


@linux
@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_stream_that_the_server_breaks_off_fails(is_reset: bool) -> None:
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        peer = await made.answering()
        peer.send(HEAD + token("a"))
        await turns()
        if is_reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(RequestFailed) as failed:
            await asked

    assert failed.value.outcome in ("reset", "protocol")
    assert len(made.pool) == 0
    health = made.reads.take(0, 0)
    assert health is not None
    assert health.streams == 1
    assert made.reads.take(0, 0) is None  # nothing is open, and nothing was read


@linux
async def test_a_stream_in_more_encodings_than_can_be_undone_does_not_stay_open_in_the_count() -> None:
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        peer = await made.answering()
        encoded = b"Content-Encoding: %b\r\n\r\n" % b", ".join([b"gzip"] * 20)
        peer.send(HEAD[:-2] + encoded + token("a") + FINISH)
        with pytest.raises(RequestFailed) as failed:
            await asked
        made.reads.take(0, 0)
        asked = asyncio.create_task(made.llm.chat("hello"))
        await asyncio.get_running_loop().sock_recv(peer, 65536)
        peer.send(HEAD + token("a") + FINISH)
        await asked
        peer.close()

    assert failed.value.outcome == "no stream"
    health = made.reads.take(0, 0)
    assert health is not None
    assert health.streams == 1


@linux
async def test_a_cancelled_stream_closes_its_connection() -> None:
    async with asking() as made:
        asked = asyncio.create_task(made.llm.chat("hello"))
        with await made.answering() as peer:
            peer.send(HEAD + token("a"))
            await turns()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await turns()
            assert await asyncio.get_running_loop().sock_recv(peer, 100) == b""


# -- the transport by itself ------------------------------------------------------------------


class Watching:
    """What a transport calls."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: Any) -> None:
        self.calls.append("made")

    def data_received_at(self, data: bytes, at_ns: int) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.calls.append("eof")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


def transport_of(sock: socket.socket) -> tuple[StampedTransport, Watching]:
    sock.setblocking(False)
    watching: Any = Watching()
    clock = KernelClock(StreamReads())
    return StampedTransport(asyncio.get_running_loop(), sock, watching, clock), watching


@linux
async def test_a_large_write_is_buffered_and_arrives_in_order() -> None:
    ours, theirs = socket.socketpair()
    transport, watching = transport_of(ours)
    theirs.setblocking(False)
    sent = bytes(range(256)) * 16_384  # 4 MiB

    transport.write(sent[: len(sent) // 2])
    transport.write(sent[len(sent) // 2 :])
    assert "pause" in watching.calls
    transport.close()
    got = b""
    while piece := await asyncio.get_running_loop().sock_recv(theirs, 1 << 20):
        got += piece

    assert got == sent
    assert watching.calls[-1] == "resume"
    assert (watching.lost, ours.fileno(), transport.get_write_buffer_size()) == ([None], -1, 0)
    theirs.close()


@linux
async def test_a_paused_transport_reads_nothing_until_it_is_resumed() -> None:
    ours, theirs = socket.socketpair()
    transport, watching = transport_of(ours)

    transport.pause_reading()
    theirs.send(b"abc")
    await turns()
    assert (watching.data, transport.is_reading()) == (b"", False)
    transport.resume_reading()
    await turns()

    assert watching.data == b"abc"
    transport.abort()
    await turns()
    theirs.close()


@linux
async def test_the_end_of_the_peer_closes_the_transport_once() -> None:
    ours, theirs = socket.socketpair()
    transport, watching = transport_of(ours)

    theirs.close()
    await turns()
    transport.abort()
    transport.close()
    transport.write(b"too late")
    await turns()

    assert (watching.calls, watching.lost, transport.is_closing()) == (["made", "eof"], [None], True)


@linux
async def test_a_failed_write_reports_its_error() -> None:
    ours, theirs = socket.socketpair()
    transport, watching = transport_of(ours)
    theirs.close()

    transport.write(b"x")
    await turns()

    assert watching.calls == ["made"]
    assert [type(error) for error in watching.lost] == [BrokenPipeError]

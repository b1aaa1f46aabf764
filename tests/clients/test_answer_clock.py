"""The kernel's time for all HTTP/1.1 answers: `Http(clock="kernel")`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.http import HttpClient
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.network import LOOP_NOTE, TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.recorder import Recorder
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.clients.test_kernel_clock import Clocks

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received packets")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"


class Asking:
    """A client whose answers have the kernel's time, and a server that a test writes by hand."""

    def __init__(self, url: str, *, limit_bytes: int, has_stamps: bool, uds: Path | None) -> None:
        self.answers, self.notes = AnswerReads(), list[str]()
        self.clock = KernelClock(StreamReads(), answers=self.answers) if has_stamps else None
        if self.clock is not None:
            self.clock.start()
        network = TcpNetwork(Http(uds=uds), clock=self.clock, answers=self.answers, note=self.notes.append)
        meter = PhasedMeter(Recorder())
        meter.begin("ask", warmup=False, pool_limited=False)
        self.pool = ConnectionPool(network, limit_bytes=limit_bytes, has_phases=True, has_stamps=has_stamps)
        self.http = HttpClient(meter, self.pool, url)

    def close(self) -> None:
        self.pool.close()
        if self.clock is not None:
            self.clock.close()


@contextlib.asynccontextmanager
async def asking(
    *, limit_bytes: int = MAX_BODY_BYTES, has_stamps: bool = True, uds: Path | None = None
) -> AsyncIterator[tuple[Asking, socket.socket]]:
    """Yield a client and the socket at which its server listens."""
    family = socket.AF_INET if uds is None else socket.AF_UNIX
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if uds is None else str(uds))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1] if uds is None else 80
        made = Asking(f"http://127.0.0.1:{port}", limit_bytes=limit_bytes, has_stamps=has_stamps, uds=uds)
        try:
            yield made, listener
        finally:
            made.close()
            await asyncio.sleep(0)


async def answered(made: Asking, listener: socket.socket, *pieces: bytes, blocked_ms: int = 0) -> tuple[Any, int]:
    """Send a GET, answer it in these pieces, and block the loop after each piece.

    Return the reply, and the time at which the loop was able to read the last piece.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.create_task(made.http.get("/", expect=200))
    peer, _ = await loop.sock_accept(listener)
    with peer:
        peer.setblocking(False)
        await loop.sock_recv(peer, 65536)
        for piece in pieces:
            peer.send(piece)
            sent_ns = free_ns = perf_counter_ns()
            while free_ns < sent_ns + blocked_ms * NS_PER_MS:  # the answer waits in the socket
                free_ns = perf_counter_ns()
            await asyncio.sleep(0.001)
        return await asked, free_ns


@linux
@pytest.mark.parametrize("limit_bytes", [1_000, MAX_BODY_BYTES])
@pytest.mark.parametrize("cut", [len(ANSWER), 5, 45])
async def test_an_answer_that_came_while_the_loop_was_blocked_has_its_own_time(limit_bytes: int, cut: int) -> None:
    async with asking(limit_bytes=limit_bytes) as (made, listener):
        pieces = [piece for piece in (ANSWER[:cut], ANSWER[cut:]) if piece]
        reply, free_ns = await answered(made, listener, *pieces, blocked_ms=20)

    assert reply.content == b"0123456789"
    assert reply.first_byte_ns <= reply.done_ns
    assert reply.sent_ns <= reply.first_byte_ns
    assert reply.done_ns < free_ns
    health, _ = made.answers.take()
    assert (health.kernel_reads, health.loop_reads, health.loop_connections) == (len(pieces), 0, 0)
    assert health.read_lag_max_us > 0
    assert made.notes == []


@linux
async def test_a_connection_to_a_unix_socket_counts_as_one_of_the_loop(tmp_path: Path) -> None:
    async with asking(uds=tmp_path / "s") as (made, listener):
        await answered(made, listener, ANSWER)

    health, p99_ns = made.answers.take()
    assert (health.kernel_reads, health.loop_connections, p99_ns) == (0, 1, None)
    assert made.notes == [LOOP_NOTE]


async def test_a_system_without_stamps_falls_back_to_the_loop_and_says_so_once() -> None:
    async with asking(has_stamps=False) as (made, listener):
        for _ in range(2):
            reply, _ = await answered(made, listener, ANSWER)
            made.pool.close_idle()

    assert reply.status_code == 200
    assert (made.answers.take()[0].loop_connections, made.notes) == (2, [LOOP_NOTE])


@linux
async def test_a_socket_that_refuses_stamps_is_read_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelClock, "wants_stamps", staticmethod(lambda sock: False))
    async with asking() as (made, listener):
        reply, _ = await answered(made, listener, ANSWER)

    assert (reply.status_code, made.answers.take()[0].loop_connections) == (200, 1)


# -- jumps ----------------------------------------------------------------------------------------


def test_a_step_of_the_clock_is_counted_once_and_reads_until_the_next_interval_are_the_loops() -> None:
    clocks, answers = Clocks(), AnswerReads()
    clock = KernelClock(StreamReads(), clocks.perf, clocks.real, answers)

    clocks.ahead_ns += NS_PER_S
    for _ in range(3):
        assert clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns) == clocks.perf_ns
    health, _ = answers.take()
    clock.arrived_ns(clocks.stamp(NS_PER_MS), clocks.perf_ns)
    later, p99_ns = answers.take()

    assert (health.kernel_reads, health.loop_reads, health.jumps) == (0, 3, 1)
    assert (later.kernel_reads, later.loop_reads, later.jumps, p99_ns) == (1, 0, 0, NS_PER_MS)


def test_a_step_between_two_reads_is_found_at_the_end_of_the_interval() -> None:
    clocks, answers = Clocks(), AnswerReads()
    KernelClock(StreamReads(), clocks.perf, clocks.real, answers)

    clocks.ahead_ns -= NS_PER_S

    assert answers.take()[0].jumps == 1


@given(
    lag_us=st.integers(0, 5_000),
    jump_us=st.integers(-10_000, 10_000).filter(lambda us: abs(us) >= 50),
    is_after=st.booleans(),
)
def test_after_a_step_no_time_is_further_from_the_truth_than_the_loops(
    lag_us: int, jump_us: int, is_after: bool
) -> None:
    clocks = Clocks()
    clock = KernelClock(StreamReads(), clocks.perf, clocks.real)
    before = clocks.stamp(lag_us * NS_PER_US)
    clocks.ahead_ns += jump_us * NS_PER_US
    stamp = clocks.stamp(lag_us * NS_PER_US) if is_after else before

    at_ns = clock.arrived_ns(stamp, clocks.perf_ns)

    true_ns = clocks.perf_ns - lag_us * NS_PER_US
    assert abs(at_ns - true_ns) <= lag_us * NS_PER_US

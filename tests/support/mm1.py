"""A real M/M/1 queue that speaks HTTP: one server, first come first served, exponential service times.

No CPU is burnt for the service: when a request has arrived, it is computed when a single server would have
finished it (Lindley: departure = max(arrival, departure before) + service), and it is answered then, by
absolute time. So an answer that is late by a timer's error does not delay those behind it, and many such servers
fit on one core. The time that a request spends here has, under Poisson arrivals of rate lambda, the
exponential distribution with rate mu - lambda: its p99 is ln(100) / (mu - lambda).

    python -m tests.support.mm1 RATE SERVERS SEED     prints a port a line, and serves until stdin ends
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter_ns
from typing import cast

import uvloop

from loadgen.engine.load.timer import new_alarm

__all__ = ["running_mm1"]

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_Waiting = tuple[int, int, "_Connection"]


class _Answers:
    """Gives each answer at its time. One timer for all servers."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._n = 0
        self._alarm = new_alarm(self._ring)

    def at(self, at_ns: int, connection: _Connection) -> None:
        self._n += 1
        heapq.heappush(self._waiting, (at_ns, self._n, connection))
        if self._waiting[0][1] == self._n:
            self._alarm.set(at_ns)

    def _ring(self) -> None:
        while self._waiting and self._waiting[0][0] <= perf_counter_ns():
            _, _, connection = heapq.heappop(self._waiting)
            connection.answer()
        if self._waiting:
            self._alarm.set(self._waiting[0][0])


class _Queue:
    """One server with its line."""

    def __init__(self, rate_per_s: float, seed: int) -> None:
        self._rate_per_ns = rate_per_s / 1e9
        self._random = random.Random(seed)
        self._free_ns = 0

    def departure_ns(self) -> int:
        """Of a request that arrives now."""
        self._free_ns = max(self._free_ns, perf_counter_ns()) + round(self._random.expovariate(self._rate_per_ns))
        return self._free_ns


class _Connection(asyncio.Protocol):
    def __init__(self, queue: _Queue, answers: _Answers) -> None:
        self._queue, self._answers = queue, answers
        self._transport: asyncio.WriteTransport | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            self._head = self._head[end + 4 :]
            self._answers.at(self._queue.departure_ns(), self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def answer(self) -> None:
        if self._transport is not None:
            self._transport.write(_ANSWER)


async def _serve(rate_per_s: float, servers: int, seed: int) -> None:
    loop = asyncio.get_running_loop()
    answers = _Answers()
    for n in range(servers):
        queue = _Queue(rate_per_s, seed * 1_000 + n)

        def connection(queue: _Queue = queue) -> _Connection:
            return _Connection(queue, answers)

        server = await loop.create_server(connection, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def running_mm1(rate_per_s: float, servers: int, seed: int) -> Iterator[list[str]]:
    """So many queues in a process of their own; their URLs. Gone when the block is left, or this process dies."""
    command = [sys.executable, "-m", "tests.support.mm1", str(rate_per_s), str(servers), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield [f"http://127.0.0.1:{int(process.stdout.readline())}" for _ in range(servers)]
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

"""CPU time of one message of a gRPC stream without sockets: `python -m bench.grpc_in_memory`.

It prints the µs of a message of 10 bytes that a journey reads with `async for`, if 1, 4, 50 and 200 messages arrive in
one read. Each is the least of 60 turns: a turn is short enough to run without an interruption on a busy machine. The
turns of a lone message contain one turn of the loop. To compare two versions, run it in both in turn.
"""

from __future__ import annotations

import asyncio
from time import thread_time_ns
from typing import Any, cast

import uvloop

from loadgen.clients.framing.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame
from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter

__all__: list[str] = []

TURNS, MESSAGES = 60, 1_000


class _Wire(asyncio.Transport):
    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return bool(self._connection.is_closed)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    close = abort


class _Network:
    connection: Any
    wire: _Wire | None = None

    async def connect(self, *arguments: Any) -> Any:
        self.connection = connection = arguments[4]()
        self.wire = wire = _Wire(connection)
        connection.connection_made(wire)
        connection.data_received(frame(SETTINGS, 0, 0))
        return wire, connection


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


async def _least_us(in_a_read: int) -> float:
    network, recorder = _Network(), Recorder()
    meter = Meter(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    client = HttpClient(meter, Http2Pool(cast("Any", network), prior=True), "http://shop.test")
    seen = 0

    async def read() -> None:
        nonlocal seen
        async for _ in GrpcChannel(client).unary_stream("/shop.v1.Cart/Watch")(b""):
            seen += 1

    reading = asyncio.ensure_future(read())
    while network.wire is None or network.wire.writes < 2:
        await asyncio.sleep(0)
    head = b"\x88" + _literal(b"content-type", b"application/grpc")
    network.connection.data_received(frame(HEADERS, END_HEADERS, 1, head))
    data = frame(DATA, 0, 1, framed(b"0123456789")) * in_a_read
    reads, costs, wanted = MESSAGES // in_a_read, [], 0
    for _ in range(TURNS):
        begun_ns = thread_time_ns()
        for _ in range(reads):
            network.connection.data_received(data)
            wanted += in_a_read
            while seen < wanted:
                await asyncio.sleep(0)
        costs.append((thread_time_ns() - begun_ns) / (reads * in_a_read) / 1_000)
        recorder.flip(0, 1)
    end = frame(HEADERS, END_HEADERS | END_STREAM, 1, _literal(b"grpc-status", b"0"))
    network.connection.data_received(end)
    await reading
    await client.close()
    return min(costs)


async def _main() -> None:
    print("messages in a read   µs a message")
    for in_a_read in (1, 4, 50, 200):
        print(f"{in_a_read:18}   {await _least_us(in_a_read):.2f}")


if __name__ == "__main__":
    uvloop.run(_main())

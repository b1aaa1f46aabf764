"""Measure gRPC calls beside grpc.aio: CPU of a unary call and of a message of a stream, `python -m bench grpc`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from statistics import median
from time import process_time
from typing import Any

import uvloop
from grpc import aio

from bench.report import Section, held
from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter

HOW = """\
A server of grpcio (`tests/support/grpc_server.py`) on core 1, the client on core 0, uvloop. Unary: 30 tasks on one \
connection, {calls:,} calls of 3 bytes in all. Streamed: one call, {messages:,} messages of 10 bytes. CPU is the \
process's, user and system; {turns} turns of each in alternation. *user.grpc* records each call and the gap before \
each message; *grpc.aio* records nothing."""
TASKS = 30


def measure(*, calls: int = 9_000, messages: int = 100_000, turns: int = 5) -> Section:
    cores = os.sched_getaffinity(0)
    try:
        with _server() as port:
            found = uvloop.run(_alternated(port, calls, messages, turns))
    finally:
        os.sched_setaffinity(0, cores)
    rows, medians = [], {}
    for name, what in found:
        values = found[name, what]
        medians[name, what] = median(values)
        rows.append([name, what, f"{min(values):.1f}", f"{median(values):.1f}", f"{max(values):.1f}"])
    unary = medians["user.grpc", "unary call"] / medians["grpc.aio", "unary call"]
    stream = medians["user.grpc", "message"] / medians["grpc.aio", "message"]
    verdict = (
        f"A unary call is {unary:.2f} of grpc.aio's, budget 0.7: {held(unary <= 0.7)}. A message is {stream:.2f}, "
        f"budget 1/3: {held(stream <= 1 / 3)}."
    )
    return Section(
        "gRPC", HOW.format(calls=calls, messages=messages, turns=turns), ["client", "of", "least", "median", "most"],
        rows, verdict,
    )  # fmt: skip


async def _alternated(port: int, calls: int, messages: int, turns: int) -> dict[tuple[str, str], list[float]]:
    os.sched_setaffinity(0, {0})
    found: dict[tuple[str, str], list[float]] = {}
    async with _ours(port) as (ours, recorder), aio.insecure_channel(f"127.0.0.1:{port}") as theirs:
        channels: dict[str, Any] = {"user.grpc": ours, "grpc.aio": theirs}
        for channel in channels.values():
            await _unary(channel, TASKS)  # opens connections, and fills caches
        for _ in range(turns):
            for name, channel in channels.items():
                for what, work, count in (("unary call", _unary, calls), ("message", _streamed, messages)):
                    begun_s = process_time()
                    await work(channel, count)
                    found.setdefault((name, what), []).append((process_time() - begun_s) / count * 1e6)
                recorder.flip(0, 1)
    return found


async def _unary(channel: Any, count: int) -> None:
    get = channel.unary_unary("/shop.v1.Cart/Get")

    async def some() -> None:
        for _ in range(count // TASKS):
            await get(b"abc")

    await asyncio.gather(*(some() for _ in range(TASKS)))


async def _streamed(channel: Any, count: int) -> None:
    async for _ in channel.unary_stream("/shop.v1.Cart/Watch")(b"%d,10" % count):
        pass


@asynccontextmanager
async def _ours(port: int) -> AsyncIterator[tuple[GrpcChannel, Recorder]]:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    client = HttpClient(meter, Http2Pool(TcpNetwork(), prior=True), f"http://127.0.0.1:{port}")
    yield GrpcChannel(client), recorder
    await client.close()


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


_SERVER = """
import asyncio, os
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
from tests.support.grpc_server import grpc_server

async def main():
    async with grpc_server() as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

"""Measure gRPC calls beside grpc.aio, k6 and ghz: CPU of a call and of a message, `python -m bench grpc`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import uvloop
from grpc import aio
from hpack import Encoder

from bench.children import python_server, timed
from bench.peers import peer
from bench.report import Section, held
from loadgen.clients.framing.http2_frames import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame
from loadgen.clients.framing.http2_state import greeting
from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import framed
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter

HERE = Path(__file__).parent
HOW = """\
A server of grpcio on core 1, the client on core 0, uvloop. Unary: 30 tasks on one connection, {calls:,} calls of 3 \
bytes in all. Message: one call, {messages:,} messages of 10 bytes, as fast as the server sends. Lone message: one \
call, {lone:,} messages of 10 bytes with at least 0.5 ms between them, so that each is a read of its own. CPU is the \
process's, user and system; {turns} turns of each in alternation. *user.grpc* records each call and the gap before \
each message; *grpc.aio* records nothing. *bare* makes the same call on uvloop, and awaits each read without parsing \
it: no client on this loop can cost less. *k6* and *ghz* run in their own processes on core 0 in each turn, with 30 \
users (ghz: on one connection); a run with few calls is subtracted, for their start."""
TASKS = 30
AT_MOST = 1.3
"""1/3 of grpc.aio was the first budget for lone messages. Their reads alone cost more (docs/decisions/158)."""
_STREAMS_OF_K6 = {"message": "Watch", "lone message": "Paced"}
_FEW = 300


def measure(
    *,
    calls: int = 6_000,
    messages: int = 30_000,
    lone: int = 1_500,
    turns: int = 5,
    beside: Sequence[str] = ("k6", "ghz"),
) -> Section:
    """beside: the other programs that are measured, if they are there."""
    cores = os.sched_getaffinity(0)
    work = {"unary call": calls, "message": messages, "lone message": lone}
    programs = {name: program for name in beside if (program := _program(name)) is not None}
    try:
        with python_server(_SERVER) as port:
            found = uvloop.run(_alternated(port, work, turns, programs))
    finally:
        os.sched_setaffinity(0, cores)
    rows, medians = [], {}
    for name, what in found:
        values = found[name, what]
        medians[name, what] = median(values)
        rows.append([name, what, f"{min(values):.1f}", f"{median(values):.1f}", f"{max(values):.1f}"])
    how = HOW.format(calls=calls, messages=messages, lone=lone, turns=turns)
    columns = ["client", "of", "CPU \N{MICRO SIGN}s: least", "median", "most"]
    return Section("gRPC", how, columns, rows, _verdict(medians, beside))


def _verdict(medians: dict[tuple[str, str], float], beside: Sequence[str]) -> str:
    def ratio(what: str, other: str) -> float:
        return medians["user.grpc", what] / medians[other, what]

    said = []
    for what, limit, shown in (("unary call", 0.7, "0.7"), ("message", 1 / 3, "1/3")):
        found = ratio(what, "grpc.aio")
        said.append(f"A {what} is {found:.2f} of grpc.aio's, budget {shown}: {held(found <= limit)}.")
    found = ratio("lone message", "bare")
    said.append(f"A lone message is {found:.2f} of its read alone (bare), budget {AT_MOST}: {held(found <= AT_MOST)}.")
    least = medians["bare", "lone message"] / medians["grpc.aio", "lone message"]
    said.append(f"It is {ratio('lone message', 'grpc.aio'):.2f} of grpc.aio's; the read alone is {least:.2f}.")
    for name in beside:
        if (name, "unary call") not in medians:
            said.append(f"{name} is not {'there' if name == 'k6' else 'on PATH'}, so it was not measured.")
            continue
        for what in ("unary call", "message", *(("lone message",) if name == "k6" else ())):
            found = ratio(what, name)
            said.append(f"A {what} is {found:.2f} of {name}'s, budget 1: {held(found <= 1)}.")
    return " ".join(said)


async def _alternated(
    port: int, work: dict[str, int], turns: int, programs: dict[str, str]
) -> dict[tuple[str, str], list[float]]:
    os.sched_setaffinity(0, {0})
    found: dict[tuple[str, str], list[float]] = {}
    calls: dict[str, Callable[[Any, int], Awaitable[None]]] = {
        "unary call": _unary, "message": _streamed, "lone message": _paced
    }  # fmt: skip
    async with _ours(port) as (ours, recorder), aio.insecure_channel(f"127.0.0.1:{port}") as theirs:
        channels: dict[str, Any] = {"user.grpc": ours, "grpc.aio": theirs}
        for channel in channels.values():
            await _unary(channel, TASKS)  # opens connections, and fills caches
        for _ in range(turns):
            for name, channel in channels.items():
                for what, count in work.items():
                    begun_s = process_time()
                    await calls[what](channel, count)
                    found.setdefault((name, what), []).append((process_time() - begun_s) / count * 1e6)
                recorder.flip(0, 1)
            found.setdefault(("bare", "lone message"), []).append(await _bare_us(port, work["lone message"]))
            for name, program in programs.items():
                cost = _k6_s if name == "k6" else _ghz_s
                for what in ("unary call", "message", *(("lone message",) if name == "k6" else ())):
                    cpu_s = [await asyncio.to_thread(cost, program, port, what, n) for n in (_FEW, work[what])]
                    found.setdefault((name, what), []).append((cpu_s[1] - cpu_s[0]) / (work[what] - _FEW) * 1e6)
    return found


async def _unary(channel: Any, count: int) -> None:
    get = channel.unary_unary("/shop.v1.Cart/Get")

    async def some() -> None:
        for _ in range(count // TASKS):
            await get(_piece(b"a"))

    await asyncio.gather(*(some() for _ in range(TASKS)))


async def _streamed(channel: Any, count: int) -> None:
    async for _ in channel.unary_stream("/shop.v1.Cart/Watch")(_piece(b"%d" % count)):
        pass


async def _paced(channel: Any, count: int) -> None:
    async for _ in channel.unary_stream("/shop.v1.Cart/Paced")(_piece(b"%d" % count)):
        pass


class _Bare(asyncio.Protocol):
    """Calls Paced with frames that were made before, and wakes its caller for each read."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.size = 0
        self.read: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": "/shop.v1.Cart/Paced", ":authority": "x"}
        head = Encoder().encode([*fields.items(), ("te", "trailers"), ("content-type", "application/grpc")])
        body = framed(_piece(b"%d" % self._count))
        call = frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, body)
        transport.write(greeting(1 << 30, 1 << 30, 1 << 16) + frame(SETTINGS, ACK, 0) + call)

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        if not self.read.done():
            self.read.set_result(None)


async def _bare_us(port: int, count: int) -> float:
    """Return the CPU time of being woken for a lone message, µs."""
    loop = asyncio.get_running_loop()
    begun_s = process_time()
    transport, bare = await loop.create_connection(lambda: _Bare(count), "127.0.0.1", port)
    while bare.size < count * len(frame(DATA, 0, 1, framed(_piece(b"abcdefgh")))):
        await bare.read
        bare.read = loop.create_future()
    cost_us = (process_time() - begun_s) / count * 1e6
    transport.close()
    return cost_us


def _piece(data: bytes) -> bytes:
    """Return the message Piece of grpc_cart.proto."""
    return b"\x0a" + bytes((len(data),)) + data


# -- other programs ---------------------------------------------------------------------------------


def _program(name: str) -> str | None:
    return peer(name) if name == "k6" else shutil.which(name)


def _k6_s(program: str, port: int, what: str, count: int) -> float:
    """Return the CPU time of a run of k6, s.

    Raises:
        RuntimeError: it failed, or a call did.
    """
    kind = ("--vus", f"{TASKS}", "--iterations", f"{count}")
    more: tuple[str, ...] = ()
    if method := _STREAMS_OF_K6.get(what):
        kind, more = ("--vus", "1", "--iterations", "1"), ("-e", f"COUNT={count}", "-e", f"METHOD={method}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [program, "run", "--quiet", "--no-usage-report", *kind, *more, "-e", f"TARGET=127.0.0.1:{port}"]
        ended = timed(*command, f"--summary-export={out}", str(HERE / "grpc_calls.js"))
        checks = json.loads(out.read_text())["metrics"]["checks"]
    if checks["fails"] or not checks["passes"]:
        raise RuntimeError(f"k6 failed:\n{ended.said}")
    return ended.cpu_s


def _ghz_s(program: str, port: int, what: str, count: int) -> float:
    """Return the CPU time of a run of ghz, s.

    Raises:
        RuntimeError: it failed, or a call did.
    """
    method, data, calls = "Get", b"a", count
    if what == "message":
        method, data, calls = "Watch", b"%d" % count, 1
    command = [program, "--insecure", "--proto", str(HERE / "grpc_cart.proto"), "--call", f"shop.v1.Cart.{method}"]
    command += ["-d", json.dumps({"data": b64encode(data).decode()}), "-n", f"{calls}", "-c", f"{min(calls, TASKS)}"]
    ended = timed(*command, "--connections", "1", "--format", "json", f"127.0.0.1:{port}")
    if json.loads(ended.said)["statusCodeDistribution"] != {"OK": calls}:
        raise RuntimeError(f"ghz failed:\n{ended.said}")
    return ended.cpu_s


@asynccontextmanager
async def _ours(port: int) -> AsyncIterator[tuple[GrpcChannel, Recorder]]:
    recorder = Recorder()
    meter = Meter(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    client = HttpClient(meter, Http2Pool(TcpNetwork(), prior=True), f"http://127.0.0.1:{port}")
    yield GrpcChannel(client), recorder
    await client.close()


_SERVER = """
import asyncio, grpc, os, re
from grpc import aio
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

async def get(request, context):
    return request

async def watch(request, context):
    for _ in range(int(re.findall(rb"[0-9]+", request)[0])):
        yield b"\\x0a\\x08abcdefgh"

async def paced(request, context):
    async for message in watch(request, context):
        yield message
        await asyncio.sleep(0.0005)

async def main():
    server = aio.server()
    handlers = {"Get": grpc.unary_unary_rpc_method_handler(get)}
    handlers |= {name: grpc.unary_stream_rpc_method_handler(fn) for name, fn in (("Watch", watch), ("Paced", paced))}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Cart", handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

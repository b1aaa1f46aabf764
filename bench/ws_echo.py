"""Measure WebSocket beside the library `websockets` and k6: CPU of a message that is sent and echoed,
`python -m bench ws`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import uvloop
from websockets.asyncio.client import connect

from bench.children import python_server, timed
from bench.peers import peer
from bench.report import Section, held
from loadgen.clients.framing.ws_frames import TEXT, masked_frame
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.ws_client.websocket import WebSocket, open_websocket
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter

HOW = """\
An echo server of `websockets` with uvloop on core 1, the client on core 0. {sockets} connections; on each, the next \
message of 23 bytes is sent when the echo of the last one is there; {echoes:,} echoes in all. CPU is the process's, \
user and system; {turns} turns of each in alternation. *user.ws* is `ws.ask`, which records each answer: by order, \
and by the id in both messages. *websockets* is `send` and `recv` with uvloop, without compression. *bare* sends the \
same bytes on uvloop and awaits what comes back, without reading it. *k6* counts its messages; a run with one echo a \
connection is subtracted."""
SOCKETS = 30
AT_MOST = 1.6
"""1/3 of `websockets` and 1/4 of k6 were the first budgets. The bytes alone cost more (docs/decisions/156)."""
MESSAGE = '{"id": 1, "op": "echo"}'
SCRIPT = Path(__file__).with_name("ws_echo.js")


def measure(*, echoes: int = 12_000, turns: int = 5) -> Section:
    cores = os.sched_getaffinity(0)
    found: dict[str, list[float]] = {name: [] for name in _RUNS}
    k6 = peer("k6")
    try:
        with python_server(_SERVER) as port:
            os.sched_setaffinity(0, {0})
            for turn in range(turns + 1):
                for name in _RUNS:
                    us = uvloop.run(_RUNS[name](port, echoes if turn else SOCKETS * 20)) * 1e6
                    if turn:
                        found[name].append(us)
                if turn and k6 is not None:
                    found.setdefault("k6", []).append(_k6(k6, port, echoes) * 1e6)
    finally:
        os.sched_setaffinity(0, cores)
    rows = [
        [name, f"{min(values):.1f}", f"{median(values):.1f}", f"{max(values):.1f}"] for name, values in found.items()
    ]

    def beside(name: str, other: str) -> float:
        """Compare turn by turn: the speed of a machine changes by more between turns than within one."""
        return median(a / b for a, b in zip(found[name], found[other], strict=True))

    ours = beside("user.ws", "bare")
    verdict = f"An echo is {ours:.2f} of the bytes alone (bare), budget {AT_MOST}: {held(ours <= AT_MOST)}."
    for name in ("websockets", "k6"):
        if name in found:
            verdict += (
                f" It is {beside('user.ws', name):.2f} of {name}'s; the bytes alone are {beside('bare', name):.2f}."
            )
    verdict += " Each is the median of the turns' ratios."
    return Section(
        "WebSocket", HOW.format(sockets=SOCKETS, echoes=echoes, turns=turns), ["client, µs", "least", "median", "most"],
        rows, verdict, ["k6"],
    )  # fmt: skip


async def _ours(port: int, echoes: int, reply_to: str = "next") -> float:
    async def some(ws: WebSocket) -> None:
        for _ in range(echoes // SOCKETS):
            await ws.ask(MESSAGE, reply_to=reply_to)

    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(_open(port)) for _ in range(SOCKETS)]
        begun = process_time()
        await asyncio.gather(*map(some, opened))
        return (process_time() - begun) / echoes


def _open(port: int) -> WebSocket:
    meter = Meter(Recorder())
    meter.begin("journey", warmup=False, pool_limited=False)
    http = HttpClient(meter, ConnectionPool(TcpNetwork()), f"http://127.0.0.1:{port}")
    return open_websocket(http, "/", name=None, subprotocols=(), headers=None, tags=None, timeout=None)


async def _by_id(port: int, echoes: int) -> float:
    return await _ours(port, echoes, "$.id")


async def _theirs(port: int, echoes: int) -> float:
    async def some(ws: Any) -> None:
        for _ in range(echoes // SOCKETS):
            await ws.send(MESSAGE)
            await ws.recv()

    async with AsyncExitStack() as stack:
        uri = f"ws://127.0.0.1:{port}/"
        opened = [await stack.enter_async_context(connect(uri, compression=None)) for _ in range(SOCKETS)]
        begun = process_time()
        await asyncio.gather(*map(some, opened))
        return (process_time() - begun) / echoes


class _Bare(asyncio.Protocol):
    """Sends a frame that was made before, and awaits whatever comes back."""

    def __init__(self) -> None:
        self.echo: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(_UPGRADE)

    def data_received(self, data: bytes) -> None:
        self.echo.set_result(data)


_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_FRAME = masked_frame(TEXT, MESSAGE.encode(), 0x01020304)


async def _bare(port: int, echoes: int) -> float:
    loop = asyncio.get_running_loop()

    async def some(one: _Bare) -> None:
        for _ in range(echoes // SOCKETS):
            one.echo = loop.create_future()
            one.transport.write(_FRAME)
            await one.echo

    opened = [(await loop.create_connection(_Bare, "127.0.0.1", port))[1] for _ in range(SOCKETS)]
    await asyncio.gather(*(one.echo for one in opened))
    begun = process_time()
    await asyncio.gather(*map(some, opened))
    used_s = process_time() - begun
    for one in opened:
        one.transport.close()
    return used_s / echoes


_RUNS = {"user.ws": _ours, "user.ws, by id": _by_id, "websockets": _theirs, "bare": _bare}


def _k6(program: str, port: int, echoes: int) -> float:
    def run(each: int) -> tuple[float, int]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out.json")
            command = [program, "run", "--quiet", "--no-usage-report", "--vus", f"{SOCKETS}"]
            command += ["--iterations", f"{SOCKETS}", "-e", f"TARGET=ws://127.0.0.1:{port}/", "-e", f"ECHOES={each}"]
            ended = timed(*command, f"--summary-export={out}", str(SCRIPT))
            return ended.cpu_s, int(json.loads(out.read_text())["metrics"]["echoes"]["count"])

    alone_s, first = run(1)
    cpu_s, count = run(echoes // SOCKETS)
    return (cpu_s - alone_s) / (count - first)


_SERVER = """
import asyncio, logging, os
import uvloop
from websockets.asyncio.server import serve
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

logging.disable()  # of clients that leave without a close

async def echo(ws):
    async for message in ws:
        await ws.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

uvloop.run(main())
"""

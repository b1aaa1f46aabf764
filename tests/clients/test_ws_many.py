"""A thousand open WebSockets of one worker: no message is lost, and the memory does not grow."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from time import monotonic

import psutil
import pytest
import uvloop

from loadgen.clients.ws_client.websocket import WebSocket
from tests.support.scripted import client_of
from tests.support.ws_servers import counters_of, opened

pytestmark = [pytest.mark.slow, pytest.mark.quiet]

SOCKETS = 1_000
SECONDS = float(os.environ.get("LOADGEN_WS_SECONDS", "120"))


@contextmanager
def _server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


_SERVER = """
import asyncio, sys
import uvloop
from websockets.asyncio.server import serve

counts = {"received": 0, "sent": 0, "open": 0, "most": 0}

async def talk(ws):
    counts["open"] += 1
    counts["most"] = max(counts["most"], counts["open"])
    async def push():
        while True:
            await asyncio.sleep(2)
            await ws.send('{"text": "news"}')
            counts["sent"] += 1
    pushing = asyncio.create_task(push())
    try:
        async for message in ws:
            counts["received"] += 1
            if message == "stop":
                pushing.cancel()
            await ws.send(message)
            counts["sent"] += 1
    finally:
        pushing.cancel()
        counts["open"] -= 1

async def main():
    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print(counts["received"], counts["sent"], counts["most"], flush=True)

uvloop.run(main())
"""


def test_a_thousand_open_sockets_lose_no_message_and_the_memory_is_flat() -> None:
    with _server() as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = int(server.stdout.readline())
        sent, received, sizes = uvloop.run(_all(port))
        server.stdin.write("\n")
        server.stdin.flush()
        theirs_received, theirs_sent, most = map(int, server.stdout.readline().split())
    print(
        f"{SECONDS:g} s: {sent:,} sent, {received:,} received, {most} open, RSS {[f'{size:.1f}' for size in sizes]} MB"
    )
    assert most == SOCKETS
    assert (sent, received) == (theirs_received, theirs_sent)
    assert sizes[-1] < sizes[0] * 1.05 + 2, "the memory grows"


async def _all(port: int) -> tuple[int, int, list[float]]:
    sizes: list[float] = []
    async with client_of(f"http://127.0.0.1:{port}") as client:
        client.meter.recorder.flip(0, 1)
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(opened(client)) for _ in range(SOCKETS)]
            until = monotonic() + SECONDS
            sent = received = 0
            tasks = [asyncio.create_task(_one(ws, until)) for ws in sockets]
            while monotonic() < until:
                await asyncio.sleep(SECONDS / 12)
                found = counters_of(client)  # the recorder gives away what it has, as in a run
                client.meter.recorder.rows.clear()  # type: ignore[attr-defined]
                client.meter.samples.clear()  # type: ignore[attr-defined]
                sent, received = sent + found["messages sent"], received + found["messages received"]
                sizes.append(psutil.Process().memory_info().rss / 1e6)
            await asyncio.gather(*tasks)
        found = counters_of(client)
        sent, received = sent + found.get("messages sent", 0), received + found.get("messages received", 0)
        assert "late answers" not in found
    return sent, received, sizes[2:]


async def _one(ws: WebSocket, until: float) -> None:
    """Ask once a second, read the news, and ping now and then."""
    n = 0
    while monotonic() < until:
        n += 1
        answer = await ws.ask({"id": n, "op": "echo"}, reply_to="$.id")
        assert answer.pick("$.id", int) == n
        async for message in ws.messages(within="1s"):
            assert message.text == '{"text": "news"}'
        if n % 10 == 0:
            await ws.ping()
    await ws.ask("stop", reply_to=lambda message: message.text if message.text == "stop" else None)

"""Send requests to the demo shop at random times, and write how long each took, until the standard input ends.

`python -m bench.probe_cost_client HOST PORT RATE FILE`: arrivals of a Poisson process of RATE/s, without regard to
answers. FILE gets two little-endian 64-bit numbers for each request: when it was sent (`perf_counter_ns`, one clock for
all processes of the machine), and the ns until its last byte; -1 if it failed.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from pathlib import Path
from random import Random
from time import perf_counter_ns
from typing import BinaryIO

ROW = struct.Struct("<qq")
FAILED = -1
_PATIENCE_S = 10.0
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Sends each request on a free connection, or on a new one."""

    def __init__(self, host: str, port: int, out: BinaryIO) -> None:
        self._host, self._port, self._out = host, port, out
        self._free: list[_Connection] = []
        self._running: set[asyncio.Task[None]] = set()

    async def send(self, rate: float, seed: int = 23) -> None:
        """Send for ever, half of the requests for a tenant's cheapest items and half for one item."""
        random, loop = Random(seed), asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s += random.expovariate(rate)
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            path = random.choice((f"/items?tenant={random.randint(1, 1_000)}", f"/items/{random.randint(1, 100_000)}"))
            task = asyncio.create_task(self._one(path))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, path: str) -> None:
        sent_ns = perf_counter_ns()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
                is_good = await self._ask(connection, path)
            took_ns = perf_counter_ns() - sent_ns if is_good else FAILED
            self._free.append(connection)
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError):
            took_ns = FAILED
        self._out.write(ROW.pack(sent_ns, took_ns))

    async def _ask(self, connection: _Connection, path: str) -> bool:
        reader, writer = connection
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        return head.startswith(b"http/1.1 200")


async def main(host: str, port: str, rate: str, file: str) -> None:
    with Path(file).open("wb") as out:
        sending = asyncio.create_task(Client(host, int(port), out).send(float(rate)))
        ended = asyncio.create_task(asyncio.to_thread(os.read, sys.stdin.fileno(), 1))
        while not sending.done() and not ended.done():
            await asyncio.wait((sending, ended), timeout=1, return_when=asyncio.FIRST_COMPLETED)
            out.flush()
        sending.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

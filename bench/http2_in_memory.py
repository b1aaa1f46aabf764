"""CPU time of one HTTP/2 request without sockets, TLS and journeys: `python -m bench.http2_in_memory`.

It prints µs for 20,000 GETs with the same path, and for 20,000 with a new path each, as the least of 6 turns. The
answers are those of nginx: 1 KiB, with literals that are added to the table. To compare two versions, run it in both in
turn.
"""

from __future__ import annotations

import asyncio
from itertools import count
from time import process_time
from typing import Any, cast

from loadgen.clients.protocol.connection_interface import Exchange
from loadgen.clients.protocol.http2 import Http2Connection
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel

__all__: list[str] = []

REQUESTS, TURNS = 20_000, 6
HEAD = b"Host: shop.test\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: loadgen\r\n\r\n"


class _Kept:
    def __init__(self) -> None:
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0


class _Wire(asyncio.Transport):
    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(index: int, value: bytes) -> bytes:
    return bytes((0x40 | index, len(value))) + value


BLOCK = b"\x88" + b"".join(
    (
        _literal(54, b"nginx/1.26.3"),
        _literal(33, b"Wed, 25 Nov 2026 00:00:00 GMT"),
        _literal(31, b"text/plain"),
        _literal(28, b"1024"),
    )
)


async def _least_us(is_new: bool) -> float:
    stack: list[Any] = []
    wheel = TimeoutWheel(lambda _, __: None)
    loop = asyncio.get_running_loop()
    connection = Http2Connection(loop, wheel, stack, lambda _: None, "shop.test:80", "http")
    connection.connection_made(_Wire())
    connection.data_received(_frame(4, 0, 0, b""))
    numbers, costs = count(), []
    for turn in range(TURNS):
        first = 2 * REQUESTS * turn + 1
        streams = range(first, first + 2 * REQUESTS, 2)
        answers = [_frame(1, 4, stream, BLOCK) + _frame(0, 1, stream, bytes(1024)) for stream in streams]
        paths = [b"/orders/%d" % next(numbers) if is_new else b"/1k" for _ in range(REQUESTS)]
        requests = [b"GET " + path + b" HTTP/1.1\r\n" + HEAD for path in paths]
        begun_s = process_time()
        for request, answer in zip(requests, answers, strict=True):
            if stack:
                stack.pop()
            waiter = connection.ask(request, cast("Exchange", _Kept()), NEVER_NS)
            connection.data_received(answer)
        costs.append((process_time() - begun_s) / REQUESTS * 1e6)
        waiter.result()
    return min(costs)


async def _main() -> None:
    for name, is_new in (("the same path", False), ("a new path each", True)):
        print(f"{name}: {await _least_us(is_new):.2f} µs of CPU a request")


if __name__ == "__main__":
    asyncio.run(_main())

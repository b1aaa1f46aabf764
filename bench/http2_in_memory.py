"""CPU time of one HTTP/2 request without sockets, TLS and journeys: `python -m bench.http2_in_memory`.

It prints the µs of a GET with the same path, of a GET with a new path each time, and of a POST after whose answer the
target ends the stream, as nginx does if it did not read the body. Each is the least of 100 turns of 300 requests: a
turn is short enough to run without an interruption on a busy machine. The answers are those of nginx: 1 KiB, with
literals that are added to the table. To compare two versions, run it in both in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from time import thread_time_ns
from typing import Any, cast

from loadgen.clients.protocol.connection_interface import Exchange
from loadgen.clients.protocol.http2 import Http2Connection
from loadgen.clients.protocol.timeouts import NEVER_NS, TimeoutWheel

__all__: list[str] = []

REQUESTS, TURNS = 300, 100
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


def _same_path() -> bytes:
    return b"GET /1k HTTP/1.1\r\n" + HEAD


def _new_path() -> bytes:
    return b"GET /orders/%d HTTP/1.1\r\n" % next(_numbers) + HEAD


def _post() -> bytes:
    return b"POST /json HTTP/1.1\r\nContent-Length: 30\r\n" + HEAD + bytes(30)


_numbers = count()


async def _least_us(request_of: Callable[[], bytes]) -> float:
    stack: list[Any] = []
    wheel = TimeoutWheel(lambda _, __: None)
    loop = asyncio.get_running_loop()
    connection = Http2Connection(loop, wheel, stack, lambda _: None, "shop.test:80", "http")
    connection.connection_made(_Wire())
    connection.data_received(_frame(4, 0, 0, b"") + _frame(8, 0, 0, (1 << 30).to_bytes(4, "big")))
    is_post = request_of is _post
    costs = []
    for turn in range(TURNS):
        first = 2 * REQUESTS * turn + 1
        streams = range(first, first + 2 * REQUESTS, 2)
        answers = [
            _frame(1, 4, stream, BLOCK) + _frame(0, 1, stream, bytes(1024)) + _frame(3, 0, stream, bytes(4)) * is_post
            for stream in streams
        ]
        requests = [request_of() for _ in streams]
        begun_ns = thread_time_ns()
        for request, answer in zip(requests, answers, strict=True):
            if stack:
                stack.pop()
            waiter = connection.ask(request, cast("Exchange", _Kept()), NEVER_NS)
            connection.data_received(answer)
        costs.append((thread_time_ns() - begun_ns) / REQUESTS / 1e3)
        waiter.result()
    return min(costs)


async def _main() -> None:
    for name, request_of in (("the same path", _same_path), ("a new path each", _new_path), ("POST", _post)):
        print(f"{name}: {await _least_us(request_of):.2f} µs of CPU a request")


if __name__ == "__main__":
    asyncio.run(_main())

"""Send HTTP/2 requests over TLS with uvloop and no HTTP client, and print the figures as JSON.

    taskset -c 0 python -m bench.http2_bare https://127.0.0.1:8443 ca.pem 8

It is the least that a client in Python on uvloop can pay for a request: the kernel, OpenSSL, uvloop, one call of Python
for a read and one write. It sends the blocks and bodies of the four requests of `bench/four_requests.py`, encoded
before the run. It reads the heads of an answer's frames and not more: nothing is checked but the status, parsed,
measured or recorded. The first two seconds do not count. nginx ends its TLS records with a frame, so no head is cut.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.attackers import USERS
from loadgen.clients.framing.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SETTINGS,
    frame,
    pack_frame_head,
    unpack_frame_head,
)
from loadgen.clients.framing.http2_state import greeting
from loadgen.clients.protocol.http2_heads import Encoder

__all__: list[str] = []

SKIPPED_S = 2
_OK = 0x88
"""The first byte of an answer's block: status 200."""
_BODY = b'{"sku":"sku-0001","quantity":2}'
_HEAD = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: loadgen\r\n\r\n"


class _Bare(asyncio.Protocol):
    """One connection with one request under way at a time."""

    answers = 0

    def __init__(self, host: str) -> None:
        encoder = Encoder(b"https")
        post = f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n"
        heads = [
            f"{line} HTTP/1.1\r\nHost: {host}\r\n{post if line.startswith('POST') else ''}{_HEAD}".encode()
            for line in ("GET /", "GET /json", "POST /json", "GET /1k")
        ]
        self._first = [encoder.block_of(head) for head in heads]  # these fill the table; later blocks refer to it
        self._blocks = [encoder.block_of(head) for head in heads]
        self._next_id = 1
        self._at = 0
        self._rest = 0
        """The bytes that are still to come of the frame that began in the read before."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write
        self._write(greeting(4 << 20, 1 << 30, 1 << 18) + frame(SETTINGS, ACK, 0))

    def data_received(self, data: bytes) -> None:
        at, size = self._rest, len(data)
        while at < size:
            high, low, kind, flags, _ = unpack_frame_head(data, at)
            if kind == HEADERS:
                if data[at + 9] != _OK:
                    raise RuntimeError(f"an answer without status 200: {data[at : at + 40]!r}")
            elif kind == SETTINGS and not flags & ACK:
                self._ask()
            if flags & END_STREAM and kind in (HEADERS, DATA):
                _Bare.answers += 1
                self._ask()
            at += 9 + (high << 8 | low)
        self._rest = at - size

    def _ask(self) -> None:
        at, number = self._at, self._next_id
        self._at, self._next_id = (at + 1) & 3, number + 2
        block = self._blocks[at] if number > 8 else self._first[at]
        size = len(block)
        if at == 2:
            head = pack_frame_head(size >> 8, size & 0xFF, HEADERS, END_HEADERS, number) + block
            self._write(head + frame(DATA, END_STREAM, number, _BODY))
        else:
            self._write(pack_frame_head(size >> 8, size & 0xFF, HEADERS, END_HEADERS | END_STREAM, number) + block)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def drive(url: str, ca: str, seconds: float) -> dict[str, float]:
    # For each read, uvloop allocates 256 KiB and cuts them to size. glibc asks the kernel for blocks above its limit
    # each time, which takes three system calls and most of the CPU. Freeing a larger block raises that limit.
    bytearray(1 << 20)
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    for _ in range(USERS):
        await loop.create_connection(lambda: _Bare(place.netloc), place.hostname or "", place.port or 443, ssl=context)
    await asyncio.sleep(SKIPPED_S)
    before_s, began_s, answers = _cpu_s(), perf_counter(), _Bare.answers
    await asyncio.sleep(seconds)
    used_s, took_s = _cpu_s() - before_s, perf_counter() - began_s
    return {"cpu_s": used_s, "requests": _Bare.answers - answers, "took_s": took_s, "requests_errors": 0}


if __name__ == "__main__":
    figures = uvloop.run(drive(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")

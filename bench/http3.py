"""Compare a GET over HTTP/3 with a bare loop on aioquic. Budget: 1.3 × the loop, wanted 1.1 ×."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any
from urllib.parse import urlsplit

import uvloop
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from bench.children import ATTACKER_CORE, TARGET_CORE
from bench.report import Section, held
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http3_pool import Http3Pool, http3_worker
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from tests.support.nginx import running_nginx

HOW = """\
GET /1k from nginx on core 1, the client on core 0, uvloop; {users} connections with one request at a time each, \
{requests:,} requests a turn, {turns} turns of each in alternation, in one process. CPU is the process's, user and \
system, without handshakes. *bare aioquic* is aioquic's own asyncio protocol with H3Connection and four headers; it \
records nothing. *loadgen* is `user.http.get` with a check of the status and a row for each request."""
USERS = 8
AT_MOST = 1.3

Get = Callable[[], Awaitable[None]]


def measure(*, requests: int = 4_000, turns: int = 7) -> Section:
    cores = os.sched_getaffinity(0)
    try:
        with running_nginx(cpus=[TARGET_CORE], log=False, http3=True) as nginx:
            assert nginx.ca is not None
            os.sched_setaffinity(0, {ATTACKER_CORE})
            found = uvloop.run(_alternated(nginx.http3_url, nginx.ca, requests, turns))
    finally:
        os.sched_setaffinity(0, cores)
    rows = [
        [name, f"{min(values):.0f}", f"{median(values):.0f}", f"{max(values):.0f}"] for name, values in found.items()
    ]
    # Ratios of neighbouring turns, because the machine may be busier in some turns than in others.
    ratio = median(ours / bare for ours, bare in zip(found["loadgen"], found["bare aioquic"], strict=True))
    return Section(
        "CPU per request of HTTP/3",
        HOW.format(users=USERS, requests=requests, turns=turns),
        ["", "CPU µs/request: least", "median", "most"],
        rows,
        f"loadgen / bare aioquic = {ratio:.3g} (median of the turns' ratios), budget {AT_MOST}: "
        f"{held(ratio <= AT_MOST)}.",
        ["nginx"],
    )


async def _alternated(url: str, ca: Path, requests: int, turns: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"loadgen": [], "bare aioquic": []}
    async with AsyncExitStack() as stack:
        recorder = Recorder()
        gets: dict[str, list[Get]] = {
            "loadgen": [await stack.enter_async_context(_ours(url, ca, recorder)) for _ in range(USERS)],
            "bare aioquic": [await stack.enter_async_context(_bare(url, ca)) for _ in range(USERS)],
        }
        for users in gets.values():
            await _turn(users, USERS * 50)  # handshakes, and caches
        for _ in range(turns):
            for name, users in gets.items():
                begun_s = process_time()
                await _turn(users, requests)
                found[name].append((process_time() - begun_s) / requests * 1e6)
            recorder.flip(0, 1)
    return found


async def _turn(users: list[Get], requests: int) -> None:
    async def loop(get: Get) -> None:
        for _ in range(requests // USERS):
            await get()

    await asyncio.gather(*map(loop, users))


@asynccontextmanager
async def _ours(url: str, ca: Path, recorder: Recorder) -> AsyncIterator[Get]:
    http = Http(http3="only")
    context = tls_context(ca, http)
    meter = Meter(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    client = HttpClient(meter, Http3Pool(TcpNetwork(http), context, http3_worker(http, context)), url)

    async def get() -> None:
        reply = await client.get("/1k", expect=200)
        assert len(reply.content) == 1024

    yield get
    await client.close()


@asynccontextmanager
async def _bare(url: str, ca: Path) -> AsyncIterator[Get]:
    place = urlsplit(url)
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
    configuration.load_verify_locations(str(ca))
    head = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", place.netloc.encode()),
        (b":path", b"/1k"),
    ]
    host, port = str(place.hostname), int(place.port or 443)
    async with connect(host, port, configuration=configuration, create_protocol=_Bare) as protocol:
        assert isinstance(protocol, _Bare)

        async def get() -> None:
            assert len(await protocol.get(head)) == 1024

        yield get


class _Bare(QuicConnectionProtocol):
    """The least that a client on aioquic's asyncio protocol does."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._h3 = H3Connection(self._quic)
        self._waiting: dict[int, tuple[asyncio.Future[bytes], list[bytes]]] = {}

    async def get(self, head: list[tuple[bytes, bytes]]) -> bytes:
        stream = self._quic.get_next_available_stream_id()
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[stream] = future, []
        self._h3.send_headers(stream, head, True)
        self.transmit()
        return await future

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._h3.handle_event(event):
            if not isinstance(found, HeadersReceived | DataReceived):
                continue
            future, pieces = self._waiting[found.stream_id]
            if isinstance(found, DataReceived):
                pieces.append(found.data)
            if found.stream_ended:
                del self._waiting[found.stream_id]
                future.set_result(b"".join(pieces))

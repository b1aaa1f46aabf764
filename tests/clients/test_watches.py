"""What is watched for objectives over sliding windows: whatever a request comes to, it begins once and ends once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import SharedPool
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.errors import IterationEnded
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import Metric, SeriesKey
from loadgen.units import NS_PER_MS
from tests.support.badserver import refusing_url
from tests.support.scripted import CLOSE, HANG, RESET, Answer, Received, Rows, client_of, ok, rows_of, scripted
from tests.support.turns import turns


class Watched:
    """A watch of all series at once."""

    metrics: frozenset[Metric] = frozenset()

    def __init__(self) -> None:
        self.open: Counter[int] = Counter()
        self.outcomes: list[str] = []
        self.gone_count = 0

    def of(self, key: SeriesKey) -> Watched | None:
        return self if key.kind == "request" else None

    def of_streams(self, key: SeriesKey) -> None:
        return None

    def saw(self, start_ns: int, custom: Sequence[CustomStats], trends: Mapping[str, Sequence[int]]) -> None: ...

    def take(self, now_ns: int) -> tuple[DueCounts, ...]:
        return ()

    def begun(self, at_ns: int, idle_ns: Callable[[int], int] | None = None) -> None:
        self.open[at_ns] += 1

    def ended(self, at_ns: int, response_ns: int, outcome: str) -> None:
        self._close(at_ns)
        self.outcomes.append(outcome)

    def timed(self, metric: Metric, at_ns: int, value_ns: int, outcome: str) -> None: ...

    def gone(self, at_ns: int) -> None:
        self._close(at_ns)
        self.gone_count += 1

    def _close(self, at_ns: int) -> None:
        assert self.open[at_ns] > 0, "ended what had not begun"
        self.open[at_ns] -= 1


class WatchedRows(Rows):
    def __init__(self) -> None:
        super().__init__()
        self.watched = Watched()
        self._watches = self.watched


def _answer(request: Received) -> Answer:
    match request.target:
        case "/moved":
            return ok(b"", "Location: /to", status="302 F")
        case "/onward":
            return ok(b"", "Location: /hang", status="302 F")
        case "/loop":
            return ok(b"", "Location: /loop", status="302 F")
        case "/nowhere":
            return ok(b"", "Location: ftp://x/", status="302 F")
        case "/stale":
            return [ok(b""), CLOSE]
        case "/reset":
            return RESET
        case "/hang":
            return HANG
        case "/half":
            return [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", HANG]
        case "/zipped":
            return ok(b"no gzip", "Content-Encoding: gzip")
        case "/private" if request.header("authorization") is None:
            return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 U")
        case _:
            return ok(b"{}", "X-Cache: hit")


async def _cancelled(call: Any) -> None:
    task = asyncio.ensure_future(call)
    await turns(1_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _stream(client: HttpClient, url: str, read: bool) -> None:
    async with client.stream("GET", url) as reply:
        if read:
            await reply.aread()


async def _twice(client: HttpClient, url: str) -> None:
    await client.get(url)
    await client.get(url)


CALLS: dict[str, tuple[Callable[[HttpClient], Any], list[str], int]] = {
    "a plain one": (lambda c: c.get("/"), ["ok"], 0),
    "a 404 expected": (lambda c: c.get("/", expect=404), ["expect status"], 0),
    "a redirect": (lambda c: c.get("/moved", follow_redirects=True), ["ok", "ok"], 0),
    "a loop": (lambda c: c.get("/loop", follow_redirects=True), ["ok"] * 20 + ["too many redirects"], 0),
    "a redirect to nowhere": (lambda c: c.get("/nowhere", follow_redirects=True), ["protocol"], 0),
    "a stale connection": (lambda c: _twice(c, "/stale"), ["ok", "ok"], 0),
    "a challenge": (lambda c: c.get("/private", auth=httpx.DigestAuth("u", "p")), ["ok", "ok"], 0),
    "a reset": (lambda c: c.get("/reset"), ["reset"], 0),
    "a time-out": (lambda c: c.get("/hang", timeout=0.03), ["timeout"], 0),
    "a time-out in the body": (lambda c: c.get("/half", timeout=0.03), ["timeout"], 0),
    "a broken body": (lambda c: _zipped(c), ["protocol"], 0),
    "a cancelled one": (lambda c: _cancelled(c.get("/hang")), [], 1),
    "one cancelled in the body": (lambda c: _cancelled(c.get("/half")), [], 1),
    "a hop cancelled": (lambda c: _cancelled(c.get("/onward", follow_redirects=True)), ["ok"], 1),
    "a stream": (lambda c: _stream(c, "/", read=True), ["ok"], 0),
    "a stream that is left": (lambda c: _stream(c, "/half", read=False), ["ok"], 0),
    "a stream that is cancelled": (lambda c: _cancelled(_stream(c, "/half", read=True)), [], 1),
    "a stream that is cancelled before": (lambda c: _cancelled(_stream(c, "/hang", read=True)), [], 1),
}


async def _zipped(client: HttpClient) -> None:
    _ = (await client.get("/zipped")).text


@pytest.mark.parametrize("pooling", ["kept", "shared"])
@pytest.mark.parametrize("tags", [(), ("x-cache",)])
@pytest.mark.parametrize("name", CALLS)
async def test_what_has_begun_ends_once(name: str, tags: tuple[str, ...], pooling: str) -> None:
    call, outcomes, gone = CALLS[name]
    rows = WatchedRows()
    pool = SharedPool(2, TcpNetwork()) if pooling == "shared" else None
    async with (
        scripted(_answer) as server,
        client_of(server.url, rows=rows, tags=tags, pool=pool) as client,
    ):
        with contextlib.suppress(IterationEnded):
            await call(client)
        rows_of(client)
        assert not +rows.watched.open
        assert rows.watched.outcomes == outcomes
        assert rows.watched.gone_count == gone
        if pool is not None:
            pool.close()


async def test_who_waits_for_a_shared_connection_is_watched_from_when_it_asked() -> None:
    rows = WatchedRows()
    pool = SharedPool(1, TcpNetwork())
    async with (
        scripted(_answer) as server,
        client_of(server.url, rows=rows, pool=pool, timeouts=Timeouts(total_ns=500 * NS_PER_MS)) as client,
    ):
        busy = asyncio.create_task(client.get("/hang"))
        await asyncio.sleep(0)
        waits = asyncio.create_task(client.get("/"))
        late = asyncio.create_task(client.get("/hang"))  # the connection may be free just before its own deadline
        while rows.watched.open.total() < 3:
            await asyncio.sleep(0)
        assert +rows.watched.open == rows.watched.open
        assert rows.watched.open.total() == 3
        waits.cancel()
        await asyncio.gather(busy, waits, late, return_exceptions=True)
        rows_of(client)
        assert not +rows.watched.open
        assert (rows.watched.outcomes, rows.watched.gone_count) == (["timeout", "timeout"], 1)
        pool.close()


async def test_a_refused_one_ends_and_an_opening_that_is_cancelled_is_gone() -> None:
    rows = WatchedRows()
    with refusing_url() as url:
        async with client_of(url, rows=rows) as client:
            with pytest.raises(IterationEnded):
                await client.get("/")
    assert rows.watched.outcomes == ["refused"]

    class Never(TcpNetwork):
        async def connect(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    async with client_of("http://x.test", rows=rows, network=Never()) as client:
        await _cancelled(client.get("/"))
    assert not +rows.watched.open
    assert rows.watched.gone_count == 1

"""Clients on httpx whose requests are rows, of one user without a journey: `user.httpx`, and `Plan(client="httpx")`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from loadgen.clients.httpx_api.rows import HttpxRows
from loadgen.clients.httpx_api.stock import StockHttpClient, StockPool
from loadgen.clients.httpx_api.transport import HttpxTransport, httpx_client
from loadgen.clients.net.network import Network, TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.engine.recording.user_meter import Meter, Sample
from tests.support.scripted import Row, Rows

__all__ = ["Measured", "measured", "stock_of"]


class _Keeping(Meter):
    def __init__(self, recorder: Rows) -> None:
        super().__init__(recorder)
        self.samples: list[Sample] = []

    def hold(self, sample: Sample) -> None:
        self.samples.append(sample)
        super().hold(sample)


@dataclass
class Measured:
    """The client, its meter and its connections."""

    client: httpx.AsyncClient
    meter: Meter
    recorder: Rows
    pool: ConnectionPool

    @property
    def rows(self) -> list[Row]:
        """What was recorded, after settling."""
        self.meter.settle()
        return self.recorder.rows

    @property
    def names(self) -> list[tuple[str | None, str]]:
        """Name and outcome of each."""
        return [(row.name, row.outcome) for row in self.rows]

    @property
    def samples(self) -> list[Any]:
        assert isinstance(self.meter, _Keeping)
        return self.meter.samples


@asynccontextmanager
async def measured(
    url: str,
    *,
    network: Network | None = None,
    pool: ConnectionPool | None = None,
    timeouts: Timeouts | None = None,
    targets: dict[str, str] | None = None,
    **more: Any,
) -> AsyncIterator[Measured]:
    rows = Rows()
    meter = _Keeping(rows)
    meter.begin("journey", warmup=False, pool_limited=False)
    if pool is None:  # an empty one is false
        pool = ConnectionPool(network or TcpNetwork(), None)
    transport = HttpxTransport(meter, pool, url, targets, **more)
    try:
        yield Measured(httpx_client(transport, url, timeouts or Timeouts()), meter, rows, pool)
    finally:
        pool.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def stock_of(
    url: str, timeouts: Timeouts | None = None, *, rows: Rows | None = None, **ways: Any
) -> AsyncIterator[StockHttpClient]:
    """`user.http` on the stock client; its rows are at `rows_of(client)`. ways: of HttpxRows."""
    meter = Meter(rows if rows is not None else Rows())
    meter.begin("journey", warmup=False, pool_limited=False)
    pool = StockPool(TcpNetwork(), None)
    requests = HttpxRows(meter, url, {}, is_judged=True, **ways)
    client = StockHttpClient(meter, pool, url, timeouts or Timeouts(), rows=requests)
    try:
        yield client
    finally:
        await pool.transport.aclose()

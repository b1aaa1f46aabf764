"""What the three services do with a request. Their times are drawn; nothing here computes for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Final

import httpx
from opentelemetry.trace import SpanKind, Tracer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.traced_shop.faults import Faults

if TYPE_CHECKING:
    from tests.support.traced_shop.database import StockDatabase

__all__ = ["catalog_routes", "shop_routes", "stock_routes"]

_ITEMS: Final = 1_000
_SMALL, _LARGE = range(2, 4), range(12, 16)
"""Items in a basket."""
_SPREAD: Final = 0.25
"""Sigma of the logarithm of a time."""


class _Work:
    """Takes time within a span."""

    def __init__(self, tracer: Tracer, random: Random) -> None:
        self._tracer, self._random = tracer, random

    async def sleep(self, ms: float) -> None:
        """Sleep for a time whose median is this one."""
        await asyncio.sleep(ms / 1e3 * self._random.lognormvariate(0, _SPREAD))

    async def span(self, name: str, ms: float) -> None:
        with self._tracer.start_as_current_span(name):
            await self.sleep(ms)

    async def statement(self, summary: str, text: str, ms: float, is_drawn: bool = True) -> None:
        """Do as a driver of a database does that is instrumented."""
        attributes = {"db.system.name": "postgresql", "db.query.summary": summary, "db.query.text": text}
        with self._tracer.start_as_current_span(summary, kind=SpanKind.CLIENT, attributes=attributes):
            await (self.sleep(ms) if is_drawn else asyncio.sleep(ms / 1e3))


def catalog_routes(tracer: Tracer, faults: Faults, random: Random) -> list[Route]:
    """Return the routes of catalog: what an item is."""
    work = _Work(tracer, random)

    async def item(request: Request) -> Response:
        await work.span("read cache", 2)
        return JSONResponse({"id": request.path_params["id"], "price": 100})

    async def items(request: Request) -> Response:
        await work.span("read cache", 3)
        return JSONResponse({"items": request.query_params["ids"].split(",")})

    return [Route("/items/{id:int}", item), Route("/items", items)]


def stock_routes(
    tracer: Tracer, faults: Faults, random: Random, version: str, database: StockDatabase | None = None
) -> list[Route]:
    """Return the routes of stock: how many of an item are there, and reservations. database: None to sleep instead."""
    work = _Work(tracer, random)
    pool = asyncio.Semaphore(faults.pool) if faults.pool else contextlib.nullcontext()

    async def reserve(request: Request) -> Response:
        item = (await request.json())["item"]
        if random.random() < faults.hang_share:
            await asyncio.sleep(faults.hang_ms / 1e3)
        is_slow = version == "2" and random.random() < faults.slow_version_share
        await work.span("check rules", 2 + (faults.slow_version_ms if is_slow else 0))
        if database is not None:
            await database.reserve(item)
            return JSONResponse({"reserved": item}, 201)
        async with pool:
            await work.statement(
                "SELECT item",
                f"SELECT n FROM item WHERE id = {item} AND tenant = 'canary-tenant'",
                faults.statement_ms or 5,
                is_drawn=not faults.statement_ms,
            )
        return JSONResponse({"reserved": item}, 201)

    async def levels(request: Request) -> Response:
        async with pool:
            await work.statement("SELECT item", f"SELECT n FROM item WHERE id IN ({request.query_params['ids']})", 8)
        return JSONResponse({"n": [7]})

    return [
        Route("/reserve", reserve, methods=["POST"]),
        Route("/levels", levels),
    ]


def shop_routes(
    tracer: Tracer, faults: Faults, random: Random, catalog: str, stock: Sequence[str], client: httpx.AsyncClient
) -> list[Route]:
    """Return the routes of shop, which is the front. catalog, stock: base URLs of its instances."""
    work = _Work(tracer, random)
    timeout_s = faults.timeout_ms / 1e3

    async def checkout(_: Request) -> Response:
        item = random.randrange(_ITEMS)
        await client.get(f"{catalog}/items/{item}")
        for _number in range(faults.tries):
            with contextlib.suppress(httpx.TimeoutException):
                url = f"{random.choice(stock)}/reserve"
                reply = await client.post(url, json={"item": item}, timeout=timeout_s)
                reply.raise_for_status()
                break
        else:
            return JSONResponse({"error": "stock does not answer"}, 504)
        await work.span("write receipt", 1)
        return JSONResponse({"order": item}, 201)

    async def basket(_: Request) -> Response:
        is_large = random.random() < faults.large_share
        ids = random.sample(range(_ITEMS), random.choice(_LARGE if is_large else _SMALL))
        text = ",".join(map(str, ids))
        await client.get(f"{catalog}/items", params={"ids": text})
        if is_large and faults.is_many_calls:
            for one in ids:
                await client.get(f"{random.choice(stock)}/levels", params={"ids": str(one)})
        else:
            await client.get(f"{random.choice(stock)}/levels", params={"ids": text})
        return JSONResponse({"items": len(ids)})

    async def browse(_: Request) -> Response:
        await client.get(f"{catalog}/items/{random.randrange(_ITEMS)}")
        await work.span("render", 2)
        return JSONResponse({})

    return [
        Route("/checkout", checkout, methods=["POST"]),
        Route("/basket", basket),
        Route("/browse", browse),
    ]

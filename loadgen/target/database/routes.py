"""The routes with a database: they read items, post a batch to the ledger, and do work of the two pools.

    GET /items?tenant=7     the 20 cheapest items of a tenant; with the index one of the fastest statements there is
    GET /items/{id}         one item by its primary key
    POST /ach               {"account": 3, "cents": 100}: adds to clearing-3; {} takes the accounts in turn
    POST /settle/{n}        one transaction of worker n of the pool settle, from 1 to 8
    POST /payout/{n}        one transaction of worker n of the pool payout

Items may be cached for a minute by caches in front of the shop; nothing else may be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import psycopg

from loadgen.target.database.connect import failed_answer
from loadgen.target.database.pool import PoolFull
from loadgen.target.database.schema import ITEM, ITEMS_OF_TENANT, POST_BATCH, TENANTS
from loadgen.target.database.settings import ITEMS, LEDGER_PAIRS, POOLS
from loadgen.target.database.shop_database import ShopDatabase
from loadgen.target.request_response import Answer, Request, json_answer, wrong

__all__ = ["CACHED", "DatabaseRoutes", "route_of"]

CACHED: Final = b"Cache-Control: public, max-age=60\r\n"
_NOT_STORED: Final = b"Cache-Control: no-store\r\n"
_MOST_DIGITS: Final = 9
Handler = Callable[[Request], Coroutine[Any, Any, Answer]]


class _Batch(msgspec.Struct):
    account: int = 0
    cents: int = 100


def route_of(path: str) -> str | None:
    """Return the pattern of a path with a database, such as "/items/{id}"; None for other paths of the shop."""
    if path in ("/items", "/ach"):
        return path
    if path.count("/") != 2:
        return None
    kind = path[1 : path.index("/", 1)]
    return "/items/{id}" if kind == "items" else f"/{kind}/{{n}}" if kind in POOLS else None


class DatabaseRoutes:
    """The handlers, by route pattern."""

    def __init__(self, database: ShopDatabase) -> None:
        self._database = database
        self._turn = count()
        self._handlers: Mapping[str, tuple[str, Handler]] = {
            "/items": ("GET", self._items),
            "/items/{id}": ("GET", self._item),
            "/ach": ("POST", self._ach),
            **{f"/{pool}/{{n}}": ("POST", self._work) for pool in POOLS},
        }

    async def handle(self, route: str, request: Request) -> Answer:
        """Return the answer to a request. A HEAD request gets that of GET; a failure of the database has a status."""
        method, handler = self._handlers[route]
        if request.method != method and not (request.method == "HEAD" and method == "GET"):
            allowed = "GET, HEAD" if method == "GET" else method
            return wrong(405, "no such method here", f"Allow: {allowed}\r\n".encode())
        try:
            return await handler(request)
        except PoolFull:
            return wrong(503, "too many requests wait for a connection")
        except psycopg.Error as error:
            return failed_answer(error)

    async def _items(self, request: Request) -> Answer:
        tenant = _number(parse_qs(request.query).get("tenant", ["1"])[0])
        if not 1 <= tenant <= TENANTS:
            return wrong(400, f"tenant must be a number from 1 to {TENANTS}")
        rows = await self._database.run(ITEMS_OF_TENANT, (tenant,))
        items = [{"id": one, "sku": sku, "price_cents": cents, "stock": stock} for one, sku, cents, stock in rows]
        return json_answer(200, {"tenant": tenant, "items": items}, CACHED)

    async def _item(self, request: Request) -> Answer:
        number = _number(request.path[len("/items/") :])
        if not 1 <= number <= ITEMS:
            return wrong(404, "no such item")
        ((one, tenant, sku, cents, stock),) = await self._database.run(ITEM, (number,))
        return json_answer(200, {"id": one, "tenant": tenant, "sku": sku, "price_cents": cents, "stock": stock}, CACHED)

    async def _ach(self, request: Request) -> Answer:
        try:
            batch = _read_batch(request.body or b"{}")
        except msgspec.MsgspecError as error:
            return wrong(400, str(error))
        account = batch.account or 1 + next(self._turn) % LEDGER_PAIRS
        if not 1 <= account <= LEDGER_PAIRS or abs(batch.cents) > 1_000_000:
            return wrong(400, f"account must be from 1 to {LEDGER_PAIRS}, and cents at most 1,000,000")
        await self._database.run(POST_BATCH, (batch.cents, f"clearing-{account}"))
        return json_answer(201, {"account": account, "cents": batch.cents}, _NOT_STORED)

    async def _work(self, request: Request) -> Answer:
        _, pool, text = request.path.split("/")
        number = _number(text)
        if not 1 <= number <= LEDGER_PAIRS:
            return wrong(404, f"no such worker: from 1 to {LEDGER_PAIRS}")
        await self._database.workers.work_once(pool, number)
        return json_answer(200, {"pool": pool, "worker": number}, _NOT_STORED)


def _number(text: str) -> int:
    """Return the number that a text is; 0 for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


_read_batch = msgspec.json.Decoder(_Batch).decode

"""The demo shop with a database: routes whose answers are ready later, and `/database`, which changes the faults.

A request of such a route has no latency drawn for it, and no fault of the plain shop: it takes as long as the pool and
the database take. `/stats` has this time in `served`.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Any, Final

import msgspec
import psycopg

from loadgen.errors import UsageError
from loadgen.target.config import TargetConfig
from loadgen.target.database.connect import failed_answer
from loadgen.target.database.routes import DatabaseRoutes, route_of
from loadgen.target.database.settings import ITEMS, LEDGER_PAIRS, POOLS, SCHEMA, pools_of
from loadgen.target.database.shop_database import ShopDatabase
from loadgen.target.database.spans import Spans
from loadgen.target.metrics_page import Sample
from loadgen.target.request_response import Answer, Request, answer, json_answer, wrong
from loadgen.target.server import Connection, Pending, Target

__all__ = ["DatabaseTarget"]

_LATE: Final = answer(500)
"""Stands for an answer that is not ready; it is never sent."""
_LATE_NS: Final = 1


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    settle: int | None = None
    payout: int | None = None
    missing_index: bool | None = None
    shared_lock: bool | None = None


class DatabaseTarget(Target):
    """A demo shop with a database."""

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        assert config.database is not None
        self.database = ShopDatabase(config.database)
        self._routes = DatabaseRoutes(self.database)
        self._spans = Spans(config.database.spans_url) if config.database.spans_url else None
        self.reads_traceparent = self._spans is not None
        self._late: tuple[str, Request] | None = None
        """The route and the request that `answer` has just seen, for `hold`, which is called next."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the database, create its schema, and open the port.

        Raises:
            PortBusy, UsageError: also if the database cannot be used.
        """
        await self.database.open()
        try:
            await super().start()
        except BaseException:
            await self.database.close()
            raise

    async def stop(self) -> None:
        """Close the port, cancel the requests that wait, and close all connections to the database."""
        await super().stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._spans is not None:
            await self._spans.close()
        await self.database.close()

    def reset(self) -> None:
        super().reset()
        self.database.clear()

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "database": self.database.as_json()}

    def notes(self) -> tuple[str, ...]:
        if not self.database.is_new:
            return (f"the database has the schema {SCHEMA} of an earlier demo shop, which is used again",)
        return (
            f"created in the database: the schema {SCHEMA} with the tables items ({ITEMS:,} rows) and ledger",
            f"to remove it: DROP SCHEMA {SCHEMA} CASCADE",
        )

    def samples(self) -> list[Sample]:
        return [*super().samples(), *self.database.samples()]

    def answer(self, request: Request, now_ns: int) -> tuple[str | None, Answer, int]:
        """Return what the plain shop returns; for a route with a database a placeholder that `hold` replaces later."""
        pattern = route_of(request.path)
        if pattern is None:
            if request.path != "/database":
                return super().answer(request, now_ns)
            self._late = ("", request)
            return None, _LATE, _LATE_NS
        route = f"{request.method} {pattern}"
        if self._first_ns is None:
            self._first_ns = now_ns
        self._stats.arrived(route)
        self._late = (pattern, request)
        return route, _LATE, _LATE_NS

    def hold(self, due_ns: int, connection: Connection, pending: Pending) -> None:
        late, self._late = self._late, None
        if late is None:
            super().hold(due_ns, connection, pending)
            return
        task = asyncio.create_task(self._finish(*late, due_ns - _LATE_NS, connection, pending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(
        self, pattern: str, request: Request, arrived_ns: int, connection: Connection, pending: Pending
    ) -> None:
        """Compute an answer, put it in the place of the placeholder, and let the connection write what is due."""
        try:
            made = await (self._handle(pattern, request) if pattern else self._change(request))
        except BaseException:
            connection.abort()  # otherwise the client would wait for ever
            raise
        tail = b"Connection: close\r\n\r\n" if connection.closes else b"\r\n"
        pending.status = made.status
        pending.data = made.head + tail + (b"" if request.method == "HEAD" else made.body)
        pending.wait_ns = perf_counter_ns() - arrived_ns
        pending.is_due = True
        connection.flush()

    async def _handle(self, pattern: str, request: Request) -> Answer:
        if self._spans is None:
            return await self._routes.handle(pattern, request)
        with self._spans.request(f"{request.method} {pattern}", request.traceparent):
            return await self._routes.handle(pattern, request)

    async def _change(self, request: Request) -> Answer:
        """Answer a request of `/database`, which is not counted: GET shows the faults, PUT changes them."""
        if request.method == "PUT":
            try:
                asked = msgspec.json.decode(request.body, type=_Change)
                counts = {name: count for name in POOLS if (count := getattr(asked, name)) is not None}
                if counts:
                    pools_of(",".join(f"{name}={count}" for name, count in counts.items()))
                await self.database.change(counts, asked.missing_index, asked.shared_lock)
            except msgspec.MsgspecError as error:
                return wrong(400, str(error))
            except UsageError:
                return wrong(400, f"a pool has 0 to {LEDGER_PAIRS} workers")
            except psycopg.Error as error:
                return failed_answer(error)
        elif request.method not in ("GET", "HEAD"):
            return wrong(405, "no such method here", b"Allow: GET, HEAD, PUT\r\n")
        workers = self.database.workers
        faults = {"missing_index": self.database.missing_index, "shared_lock": workers.shared_lock}
        return json_answer(200, {**workers.counts(), **faults})

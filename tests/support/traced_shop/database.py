"""A real PostgreSQL behind stock: the tables of the demo shop, a pool of its own, and a span for each statement.

The span is that of OpenTelemetry's instrumentation of a driver: its kind is CLIENT, and it begins when the pool has
given a connection. So a wait for the pool is time of stock itself, before the span.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from opentelemetry.trace import SpanKind, Tracer

from loadgen.target.database.connect import Connector, create_schema
from loadgen.target.database.pool import Pool
from loadgen.target.database.schema import ITEMS_OF_TENANT, TENANTS, Statement
from loadgen.target.database.settings import SCHEMA, DatabaseConfig
from tests.support.traced_shop.faults import Faults

__all__ = ["StockDatabase", "stock_database"]

_POOL: Final = 10
_SLEEP: Final = Statement(
    "SELECT item slowly",
    f"SELECT id, stock FROM {SCHEMA}.items, pg_sleep(%s) WHERE id = %s",
)


class StockDatabase:
    """The statements of stock."""

    def __init__(self, pool: Pool, tracer: Tracer, statement_ms: float) -> None:
        self._pool, self._tracer, self._statement_ms = pool, tracer, statement_ms

    async def reserve(self, item: int) -> None:
        """Run the one statement of a reservation: with `statement_ms` one that takes as long, else by the index."""
        if self._statement_ms:
            await self._run(_SLEEP, self._statement_ms / 1e3, 1 + item)
        else:
            await self._run(ITEMS_OF_TENANT, 1 + item % TENANTS)

    async def _run(self, statement: Statement, *values: Any) -> None:
        attributes = {
            "db.system.name": "postgresql",
            "db.namespace": "postgres",
            "db.query.summary": statement.summary,
            "db.query.text": statement.text,
        }
        async with self._pool.connection() as connection:
            with self._tracer.start_as_current_span(statement.summary, kind=SpanKind.CLIENT, attributes=attributes):
                await (await connection.execute(statement.text, values)).fetchall()


@asynccontextmanager
async def stock_database(faults: Faults, tracer: Tracer) -> AsyncIterator[StockDatabase]:
    """Open the database of an instance of stock, and close it. Both instances use the same schema."""
    connector = Connector(DatabaseConfig(url=faults.database))
    async with await connector.connect("stock") as connection:
        await create_schema(connection, missing_index=faults.missing_index)
    pool = Pool(faults.pool or _POOL, lambda: connector.connect("stock"))
    await pool.open()
    try:
        yield StockDatabase(pool, tracer, faults.statement_ms)
    finally:
        await pool.close()

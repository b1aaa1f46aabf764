"""The database as the shop's routes use it: statements by the pool of the shop, background pools, and all counts.

A statement's time begins when the pool has given a connection, so a wait for the pool is never in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Any

import psycopg

from loadgen.target.database.connect import Connector, cannot_connect, create_schema, set_index
from loadgen.target.database.pool import Pool
from loadgen.target.database.schema import Statement
from loadgen.target.database.settings import DatabaseConfig
from loadgen.target.database.spans import statement_span
from loadgen.target.database.waits import Waits
from loadgen.target.database.workers import Workers
from loadgen.target.metrics_page import Sample

__all__ = ["ShopDatabase"]


class ShopDatabase:
    """An open database.

    missing_index: whether the index of items on (tenant, price_cents) is missing. is_new: this shop has created the
    schema.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self._connector = Connector(config)
        self.pool = Pool(config.pool_size, lambda: self._connector.connect("web"))
        self.workers = Workers(self._connector, shared_lock=config.shared_lock)
        self.missing_index = config.missing_index
        self.is_new = False
        self._times: dict[str, Waits] = {}
        self._errors: dict[str, int] = {}

    async def open(self) -> None:
        """Create the schema, and open all connections.

        Raises:
            UsageError: the server cannot be reached, a right is missing, or the schema is not the shop's.
        """
        try:
            async with await self._connector.connect("web") as connection:
                self.is_new = await create_schema(connection, missing_index=self.missing_index)
            await self.pool.open()
        except psycopg.Error as error:
            await self.pool.close()
            raise cannot_connect(error) from error
        await self.workers.set(self.config.workers)

    async def close(self) -> None:
        """Stop the workers, and close all connections that no request uses."""
        await self.workers.stop()
        await self.pool.close()

    def clear(self) -> None:
        """Set all counts to 0."""
        self.pool.waits.clear()
        self.workers.clear()
        self._times, self._errors = {}, {}

    async def run(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        """Run a statement in a transaction of its own, and return its rows; [] for a statement without rows.

        Raises:
            PoolFull, psycopg.Error.
        """
        async with self.pool.connection() as connection:
            begun_ns = perf_counter_ns()
            try:
                with statement_span(statement):
                    cursor = await connection.execute(statement.text, values)
                    return await cursor.fetchall() if cursor.description else []
            except psycopg.Error:
                self._errors[statement.summary] = self._errors.get(statement.summary, 0) + 1
                raise
            finally:
                self._times.setdefault(statement.summary, Waits()).add(perf_counter_ns() - begun_ns)

    async def change(
        self, workers: Mapping[str, int], missing_index: bool | None = None, shared_lock: bool | None = None
    ) -> None:
        """Change the faults while the shop runs. missing_index, shared_lock: None leaves them as they are.

        Raises:
            psycopg.Error.
        """
        await self.workers.set(workers)
        if shared_lock is not None:
            self.workers.shared_lock = shared_lock
        if missing_index is not None:
            async with await self._connector.connect("web") as connection:
                await set_index(connection, missing=missing_index)
            self.missing_index = missing_index

    def as_json(self) -> dict[str, Any]:
        """Return the member `database` of `/stats`."""
        pool, workers = self.pool, self.workers
        return {
            "missing_index": self.missing_index,
            "shared_lock": workers.shared_lock,
            "pool": {
                "size": pool.size,
                "in_use": pool.in_use,
                "waiting": pool.waiting,
                "waited": pool.waits.above_0,
                "waits": pool.waits.as_json(),
            },
            "statements": {
                name: {"count": times.count, "errors": self._errors.get(name, 0), "times": times.as_json()}
                for name, times in self._times.items()
            },
            "workers": {
                name: {
                    "workers": count,
                    "in_transaction": workers.in_transaction[name],
                    "transactions": workers.transactions[name],
                    "errors": workers.errors[name],
                }
                for name, count in workers.counts().items()
            },
        }

    def samples(self) -> list[Sample]:
        """Return the samples of the page /metrics: (name, type, labels, value)."""
        web = {"pool": "web"}
        pool, workers = self.pool, self.workers
        found: list[Sample] = [
            ("shop_pool_size", "gauge", web, pool.size),
            *(("shop_pool_size", "gauge", {"pool": name}, count) for name, count in workers.counts().items()),
            ("shop_pool_in_use", "gauge", web, pool.in_use),
            *(("shop_pool_in_use", "gauge", {"pool": name}, now) for name, now in workers.in_transaction.items()),
            ("shop_pool_waiting", "gauge", web, pool.waiting),
            ("shop_pool_waits_total", "counter", web, pool.waits.above_0),
            ("shop_pool_wait_seconds_total", "counter", web, pool.waits.sum_ns / 1e9),
        ]
        for name, times in self._times.items():
            found.append(("shop_statements_total", "counter", {"statement": name}, times.count))
        for name, times in self._times.items():
            found.append(("shop_statement_seconds_total", "counter", {"statement": name}, times.sum_ns / 1e9))
        for name, done in workers.transactions.items():
            found.append(("shop_transactions_total", "counter", {"pool": name}, done))
        return found

"""The pools `settle` and `payout`, whose workers lock the same rows of the ledger.

    settle  BEGIN; UPDATE settlement-n; SELECT ...; works for 400 ms without a statement; COMMIT; pauses for 300 ms
    payout  BEGIN; UPDATE clearing-n; UPDATE settlement-n; COMMIT; pauses for 250 ms
    POST /ach                UPDATE clearing-n

Worker n of each pool uses pair n. So with one pool alone, no worker waits: each has rows of its own, and `payout`
holds a row of POST /ach for about a millisecond. With both pools, `payout` waits for `settle` while it holds
clearing-n, and POST /ach waits for `payout`. The root of the chain is `settle`, idle in transaction, and its last
statement is not the one that took the lock. A cycle is impossible: no worker takes clearing-n after settlement-n.

Without the shared lock, `payout` does not update settlement-n, so nobody waits.

The shop can run workers in the background. Or clients ask for one transaction each, by POST /settle/{n} and
POST /payout/{n}, and make the pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from loadgen.target.database.connect import Connector
from loadgen.target.database.schema import READ_LEDGER, UPDATE_CLEARING, UPDATE_SETTLEMENT, Statement
from loadgen.target.database.settings import LEDGER_PAIRS, POOLS
from loadgen.target.database.spans import statement_span

__all__ = ["PAYOUT_PAUSE_S", "SETTLE_HOLDS_S", "SETTLE_PAUSE_S", "Workers"]

SETTLE_HOLDS_S: Final = 0.4
SETTLE_PAUSE_S: Final = 0.3
PAYOUT_PAUSE_S: Final = 0.25
_PAUSES_S: Final = {"settle": SETTLE_PAUSE_S, "payout": PAYOUT_PAUSE_S}
_STAGGER_S: Final = 0.087
"""Worker n begins this time after worker n - 1; otherwise all workers of a pool would pause at the same time."""
_AFTER_ERROR_S: Final = 1.0


class _Place:
    """The connection of one worker whose transactions clients ask for; one transaction at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: AsyncConnection[Any] | None = None


class Workers:
    """The workers of both pools. in_transaction, transactions, errors: by pool. shared_lock: may be set at any time."""

    def __init__(self, connector: Connector, *, shared_lock: bool = True) -> None:
        self._connector = connector
        self.shared_lock = shared_lock
        self._tasks: dict[str, list[asyncio.Task[None]]] = {pool: [] for pool in POOLS}
        self._places = {pool: [_Place() for _ in range(LEDGER_PAIRS)] for pool in POOLS}
        self.in_transaction = dict.fromkeys(POOLS, 0)
        self.clear()

    def clear(self) -> None:
        """Set the counts of transactions and errors to 0."""
        self.transactions = dict.fromkeys(POOLS, 0)
        self.errors = dict.fromkeys(POOLS, 0)

    def counts(self) -> dict[str, int]:
        """Return the number of background workers by pool."""
        return {pool: len(tasks) for pool, tasks in self._tasks.items()}

    async def set(self, counts: Mapping[str, int]) -> None:
        """Start or stop background workers until each named pool has this number. A transaction that is stopped is
        rolled back. Idle connections of workers that clients asked for are closed.
        """
        for pool, count in counts.items():
            tasks = self._tasks[pool]
            for number in range(len(tasks), count):
                tasks.append(asyncio.create_task(self._work(pool, number + 1), name=f"{pool}-{number + 1}"))
            stopped, self._tasks[pool] = tasks[count:], tasks[:count]
            for task in stopped:
                task.cancel()
            for task in stopped:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            for place in self._places[pool]:
                if place.connection is not None and not place.lock.locked():
                    closed, place.connection = place.connection, None
                    await closed.close()

    async def work_once(self, pool: str, number: int) -> None:
        """Do one transaction of worker `number`, from 1 to 8, on a connection of its own, without the pause.

        A worker does one transaction at a time: a second call waits for the first one.

        Raises:
            psycopg.Error.
        """
        place = self._places[pool][number - 1]
        async with place.lock:
            try:
                if place.connection is None or place.connection.closed:
                    place.connection = await self._connector.connect(pool)
                await self._step(pool, place.connection, number)
            except psycopg.Error:
                self.errors[pool] += 1
                raise

    async def stop(self) -> None:
        """Stop the background workers, and close all connections. Call it when no request uses a worker any more."""
        await self.set(dict.fromkeys(POOLS, 0))

    async def _work(self, pool: str, number: int) -> None:
        """Repeat the transactions of one worker; after an error, with a new connection one second later."""
        await asyncio.sleep(number * _STAGGER_S)
        while True:
            try:
                async with await self._connector.connect(pool) as connection:
                    while True:
                        await self._step(pool, connection, number)
                        await asyncio.sleep(_PAUSES_S[pool])
            except psycopg.Error:
                self.errors[pool] += 1
                await asyncio.sleep(_AFTER_ERROR_S)

    async def _step(self, pool: str, connection: AsyncConnection[Any], number: int) -> None:
        with self._counted(pool):
            async with connection.transaction():
                if pool == "settle":
                    await _execute(connection, UPDATE_SETTLEMENT, 1, f"settlement-{number}")
                    await _execute(connection, READ_LEDGER)
                    await asyncio.sleep(SETTLE_HOLDS_S)
                else:
                    await _execute(connection, UPDATE_CLEARING, -1, f"clearing-{number}")
                    if self.shared_lock:
                        await _execute(connection, UPDATE_SETTLEMENT, -1, f"settlement-{number}")
        self.transactions[pool] += 1

    @contextlib.contextmanager
    def _counted(self, pool: str) -> Iterator[None]:
        self.in_transaction[pool] += 1
        try:
            yield
        finally:
            self.in_transaction[pool] -= 1


async def _execute(connection: AsyncConnection[Any], statement: Statement, *values: Any) -> None:
    with statement_span(statement):
        await connection.execute(statement.text, values or None)

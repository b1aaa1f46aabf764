"""The background pools `settle` and `payout`, whose workers lock the same rows of the ledger.

    settle  BEGIN; UPDATE settlement-n; SELECT ...; works for 400 ms without a statement; COMMIT; pauses for 300 ms
    payout  BEGIN; UPDATE clearing-n; UPDATE settlement-n; COMMIT; pauses for 100 ms
    POST /ach                UPDATE clearing-n

Worker n of each pool uses pair n. So with one pool alone, no worker waits: each has rows of its own, and `payout`
holds a row of POST /ach for about a millisecond. With both pools, `payout` waits for `settle` while it holds
clearing-n, and POST /ach waits for `payout`. The root of the chain is `settle`, idle in transaction, and its last
statement is not the one that took the lock. A cycle is impossible: no worker takes clearing-n after settlement-n.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from loadgen.target.database.connect import Connector
from loadgen.target.database.schema import READ_LEDGER, UPDATE_CLEARING, UPDATE_SETTLEMENT
from loadgen.target.database.settings import POOLS

__all__ = ["PAYOUT_PAUSE_S", "SETTLE_HOLDS_S", "SETTLE_PAUSE_S", "Workers"]

SETTLE_HOLDS_S: Final = 0.4
SETTLE_PAUSE_S: Final = 0.3
PAYOUT_PAUSE_S: Final = 0.1
_STAGGER_S: Final = 0.087
"""Worker n begins this time after worker n - 1; otherwise all workers of a pool would pause at the same time."""
_AFTER_ERROR_S: Final = 1.0


class Workers:
    """The workers of both pools. in_transaction, transactions, errors: by pool."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._tasks: dict[str, list[asyncio.Task[None]]] = {pool: [] for pool in POOLS}
        self.in_transaction = dict.fromkeys(POOLS, 0)
        self.clear()

    def clear(self) -> None:
        """Set the counts of transactions and errors to 0."""
        self.transactions = dict.fromkeys(POOLS, 0)
        self.errors = dict.fromkeys(POOLS, 0)

    def counts(self) -> dict[str, int]:
        """Return the number of workers by pool."""
        return {pool: len(tasks) for pool, tasks in self._tasks.items()}

    async def set(self, counts: Mapping[str, int]) -> None:
        """Start or stop workers until each named pool has this number. A transaction that is stopped is rolled back."""
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

    async def stop(self) -> None:
        await self.set(dict.fromkeys(POOLS, 0))

    async def _work(self, pool: str, number: int) -> None:
        """Repeat the transactions of one worker; after an error, with a new connection one second later."""
        step = self._settle if pool == "settle" else self._payout
        await asyncio.sleep(number * _STAGGER_S)
        while True:
            try:
                async with await self._connector.connect(pool) as connection:
                    while True:
                        await step(connection, number)
            except psycopg.Error:
                self.errors[pool] += 1
                await asyncio.sleep(_AFTER_ERROR_S)

    async def _settle(self, connection: AsyncConnection[Any], number: int) -> None:
        with self._counted("settle"):
            async with connection.transaction():
                await connection.execute(UPDATE_SETTLEMENT.text, (1, f"settlement-{number}"))
                await connection.execute(READ_LEDGER.text)
                await asyncio.sleep(SETTLE_HOLDS_S)
        self.transactions["settle"] += 1
        await asyncio.sleep(SETTLE_PAUSE_S)

    async def _payout(self, connection: AsyncConnection[Any], number: int) -> None:
        with self._counted("payout"):
            async with connection.transaction():
                await connection.execute(UPDATE_CLEARING.text, (-1, f"clearing-{number}"))
                await connection.execute(UPDATE_SETTLEMENT.text, (-1, f"settlement-{number}"))
        self.transactions["payout"] += 1
        await asyncio.sleep(PAYOUT_PAUSE_S)

    @contextlib.contextmanager
    def _counted(self, pool: str) -> Iterator[None]:
        self.in_transaction[pool] += 1
        try:
            yield
        finally:
            self.in_transaction[pool] -= 1

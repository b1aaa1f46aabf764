"""The pools `settle` and `payout`, whose workers lock the same rows of the ledger.

    settle  BEGIN; UPDATE settlement-n; SELECT ...; works for 400 ms without a statement; COMMIT; pauses 150 to 450 ms
    payout  BEGIN; UPDATE clearing-n; UPDATE settlement-n; COMMIT; pauses 125 to 375 ms
    POST /ach                UPDATE clearing-n

Worker n of each pool uses pair n. So with one pool alone, no worker waits: each has rows of its own, and `payout`
holds a row of POST /ach for about a millisecond. With both pools, `payout` waits for `settle` while it holds
clearing-n, and POST /ach waits for `payout`. The root of the chain is `settle`, idle in transaction, and its last
statement is not the one that took the lock. A cycle is impossible: no worker takes clearing-n after settlement-n.

Without the shared lock, `payout` does not update settlement-n, so no transaction waits for the other pool.

The shop can run workers in the background. Clients can also request single transactions, by POST /settle/{n} and
POST /payout/{n}, and make the pauses themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

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
_SPREAD: Final = (0.5, 1.5)
"""The range of a pause, as factors of its mean. Equal pauses let each payout meet the same moment of a settle."""
_AFTER_ERROR_S: Final = 1.0
_STOP_S: Final = 5.0
"""The longest time that a worker gets to finish its transaction; then the transaction is rolled back."""


class _Place:
    """The connection of one worker whose transactions clients ask for; one transaction at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: AsyncConnection[Any] | None = None


class _Worker(NamedTuple):
    """A background worker. It ends after its transaction once `stops` is set."""

    task: asyncio.Task[None]
    stops: asyncio.Event


class Workers:
    """The workers of both pools. in_transaction, transactions, errors: by pool. shared_lock: may be set at any time."""

    def __init__(self, connector: Connector, *, shared_lock: bool = True) -> None:
        self._connector = connector
        self.shared_lock = shared_lock
        self._working: dict[str, list[_Worker]] = {pool: [] for pool in POOLS}
        self._places = {pool: [_Place() for _ in range(LEDGER_PAIRS)] for pool in POOLS}
        self.in_transaction = dict.fromkeys(POOLS, 0)
        self.clear()

    def clear(self) -> None:
        """Set the counts of transactions and errors to 0."""
        self.transactions = dict.fromkeys(POOLS, 0)
        self.errors = dict.fromkeys(POOLS, 0)

    def counts(self) -> dict[str, int]:
        """Return the number of background workers by pool."""
        return {pool: len(working) for pool, working in self._working.items()}

    async def set(self, counts: Mapping[str, int]) -> None:
        """Start or stop background workers until each named pool has this number. Stopped workers finish their
        transactions first. Idle connections of workers that clients asked for are closed.
        """
        stopped: list[_Worker] = []
        for pool, count in counts.items():
            working = self._working[pool]
            for number in range(len(working), count):
                stops = asyncio.Event()
                work = self._work(pool, number + 1, stops)
                working.append(_Worker(asyncio.create_task(work, name=f"{pool}-{number + 1}"), stops))
            stopped += working[count:]
            self._working[pool] = working[:count]
        await _stop(stopped, _STOP_S)
        for pool in counts:
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
        """Stop the background workers at once, and close all connections. Call it when no request uses a worker any
        more. Transactions are rolled back.
        """
        stopped, self._working = [one for working in self._working.values() for one in working], {p: [] for p in POOLS}
        await _stop(stopped, 0.0)
        await self.set(dict.fromkeys(POOLS, 0))

    async def _work(self, pool: str, number: int, stops: asyncio.Event) -> None:
        """Repeat the transactions of one worker; after an error, with a new connection one second later."""
        drawn = random.Random(f"{pool}-{number}")  # noqa: S311 - pauses are no secret
        is_over = await _set_within(stops, number * _STAGGER_S)
        while not is_over:
            try:
                async with await self._connector.connect(pool) as connection:
                    while not is_over:
                        await self._step(pool, connection, number)
                        is_over = await _set_within(stops, _PAUSES_S[pool] * drawn.uniform(*_SPREAD))
            except psycopg.Error:
                self.errors[pool] += 1
                is_over = await _set_within(stops, _AFTER_ERROR_S)

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


async def _stop(workers: Sequence[_Worker], within_s: float) -> None:
    """Stop workers: after their transactions, or by cancelling those that need longer than this time."""
    for worker in workers:
        worker.stops.set()
    if workers:
        tasks = [worker.task for worker in workers]
        _, late = await asyncio.wait(tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _set_within(stops: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most for this time. Return whether it is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stops.wait(), seconds)
    return stops.is_set()


async def _execute(connection: AsyncConnection[Any], statement: Statement, *values: Any) -> None:
    with statement_span(statement):
        await connection.execute(statement.text, values or None)

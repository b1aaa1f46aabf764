"""The pool of the demo shop: order, counts, broken connections. Its connections are objects without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen.target.database.pool import Pool


class Fake:
    def __init__(self, number: int) -> None:
        self.number, self.closed = number, False

    async def close(self) -> None:
        self.closed = True


class Opening:
    """Opens numbered connections, and fails while `fails`."""

    def __init__(self) -> None:
        self.opened, self.fails = 0, False

    async def __call__(self) -> Any:
        if self.fails:
            raise ConnectionError
        self.opened += 1
        return Fake(self.opened)


async def _hold(pool: Pool, name: str, order: list[str], release: asyncio.Event) -> None:
    async with pool.connection():
        order.append(name)
        await release.wait()


async def test_requests_get_a_connection_in_the_order_in_which_they_came() -> None:
    pool, order, release = Pool(1, Opening()), list[str](), asyncio.Event()
    tasks = []
    for name in "abcd":
        tasks.append(asyncio.create_task(_hold(pool, name, order, release)))
        await asyncio.sleep(0)
    before = (pool.in_use, pool.waiting)
    release.set()
    await asyncio.gather(*tasks)

    assert order == list("abcd")
    assert before == (1, 3)
    assert (pool.in_use, pool.waiting) == (0, 0)
    assert (pool.waits.count, pool.waits.above_0) == (4, 3)


async def test_a_request_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    pool, order, release = Pool(1, Opening()), list[str](), asyncio.Event()
    first, second, third = (asyncio.create_task(_hold(pool, name, order, release)) for name in "abc")
    await asyncio.sleep(0.001)
    second.cancel()
    release.set()
    await asyncio.gather(first, third)

    assert order == ["a", "c"]
    assert pool.in_use == 0


async def test_a_connection_that_broke_is_opened_again() -> None:
    opening = Opening()
    pool = Pool(2, opening)
    await pool.open()
    async with pool.connection() as taken:
        await taken.close()
    async with pool.connection() as other, pool.connection() as fresh:
        assert {other.number, fresh.number} == {1, 3}  # type: ignore[attr-defined]
    assert opening.opened == 3


async def test_a_connection_that_cannot_be_opened_takes_no_place_for_ever() -> None:
    opening = Opening()
    pool = Pool(1, opening)
    opening.fails = True
    for _ in range(3):
        with pytest.raises(ConnectionError):
            async with pool.connection():
                raise AssertionError("never reached")
    opening.fails = False
    async with pool.connection():
        assert pool.in_use == 1
    assert pool.in_use == 0


async def test_closing_closes_all_free_connections() -> None:
    pool = Pool(3, Opening())
    await pool.open()
    taken = []
    async with pool.connection() as one:
        taken.append(one)
    await pool.close()

    assert taken[0].closed

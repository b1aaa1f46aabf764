"""The pauses of all users, beside the loop's own timers as the oracle, on a loop whose waits take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.users.pauses import EARLY_S, Pauses
from tests.support.jump_loop import in_no_time

Sleep = Callable[[float], Awaitable[None]]
ENDLESS = 3_600.0
USERS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 100)), min_size=1, max_size=30)
"""(When the user begins to think, for how long)."""


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def ends_of(users: list[tuple[float, float]], sleep: Sleep) -> list[float]:
    """Return when each user's pause ended."""
    began_s = now_s()

    async def user(begin_s: float, wait_s: float) -> float:
        await asyncio.sleep(begin_s)
        await sleep(wait_s)
        return now_s() - began_s

    return await asyncio.gather(*[user(*times) for times in users])


@given(USERS)
@in_no_time
async def test_each_pause_ends_when_a_timer_of_its_own_would_fire(users: list[tuple[float, float]]) -> None:
    pauses = Pauses(now_s)

    ended, expected = await ends_of(users, pauses.sleep), await ends_of(users, asyncio.sleep)

    for end_s, expected_s in zip(ended, expected, strict=True):
        assert expected_s - EARLY_S - 1e-6 <= end_s <= expected_s + 1e-6
    assert len(pauses) == 0


@given(USERS)
@in_no_time
async def test_pauses_end_in_the_order_of_their_times(users: list[tuple[float, float]]) -> None:
    pauses, ended = Pauses(now_s), list[int]()

    async def user(n: int) -> None:
        await pauses.sleep(users[n][1])
        ended.append(n)

    await asyncio.gather(*[user(n) for n in range(len(users))])

    assert ended == sorted(range(len(users)), key=lambda n: users[n][1])


@in_no_time
async def test_a_shorter_pause_does_not_wait_for_a_longer_one_before_it() -> None:
    assert await ends_of([(0, 100), (1, 2)], Pauses(now_s).sleep) == [100, 3]


@in_no_time
async def test_a_cancelled_pause_ends_at_once_and_keeps_no_other_from_its_end() -> None:
    pauses = Pauses(now_s)
    cancelled = asyncio.ensure_future(ends_of([(0, 5)], pauses.sleep))
    other = asyncio.ensure_future(ends_of([(0, 10)], pauses.sleep))
    await asyncio.sleep(1)

    cancelled.cancel()
    await asyncio.wait([cancelled])

    assert cancelled.cancelled()
    assert now_s() == 1
    assert await other == [10]


@in_no_time
async def test_users_that_often_give_up_a_long_pause_leave_no_memory_behind() -> None:
    pauses = Pauses(now_s)
    for _ in range(10_000):
        try:
            async with asyncio.timeout(0.01):
                await pauses.sleep(ENDLESS)
        except TimeoutError:
            pass
    assert len(pauses) <= 1_000


@in_no_time
async def test_many_short_pauses_beside_a_long_one_leave_no_timers_behind() -> None:
    timers, loop = list[asyncio.TimerHandle](), asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(*args: Any, **more: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*args, **more))
        return timers[-1]

    loop.call_later = noted  # type: ignore[method-assign,assignment]
    pauses = Pauses(now_s)
    long = asyncio.ensure_future(pauses.sleep(ENDLESS))

    for _ in range(100):
        await pauses.sleep(1)

    assert sum(not timer.cancelled() and timer.when() > now_s() for timer in timers) == 1
    long.cancel()


@in_no_time
async def test_no_pause_at_all_lets_others_run_once() -> None:
    pauses, turns = Pauses(now_s), list[str]()

    async def user(name: str) -> None:
        await pauses.sleep(0)
        turns.append(name)

    await asyncio.gather(user("first"), user("second"))

    assert turns == ["first", "second"]
    assert now_s() == 0


@in_no_time
async def test_closed_pauses_have_no_timer() -> None:
    pauses = Pauses(now_s)
    paused = pauses.sleep(ENDLESS)

    pauses.close()
    await asyncio.sleep(2 * ENDLESS)

    assert isinstance(paused, asyncio.Future)
    assert not paused.done()
    assert len(pauses) == 0

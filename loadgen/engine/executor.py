"""Drives a load: starts iterations when they are due (open), or keeps users going (closed, counted).

Each function returns when the last iteration of its share has been started, or
as soon as `stop` is set; what still runs is the drain's business. No function
here knows of regions or agents: a share says which arrivals and users are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

from loadgen.engine.clock import Clock, sleep_or_stop
from loadgen.engine.schedule import Block
from loadgen.engine.users import Arrival, Life, UserPool

__all__ = ["drive_arrivals", "drive_iterations", "drive_users"]

TURN = 16
"""After so many iterations a closed user lets the others run: a journey that awaits nothing must not starve them.
At each iteration it would cost a turn of the loop, measured as 2 µs a request of a four-request journey."""


async def drive_arrivals(
    blocks: Iterable[Block], clock: Clock, t0_ns: int, pool: UserPool, stop: asyncio.Event, warmup_ns: int
) -> None:
    """HOT, once an iteration: budget 3 µs (bench/drive.py).

    Waits for absolute times, so a late wake-up shifts one start and not the rate;
    all that is due is started in one tick, and nothing before it is due.
    """
    elapsed_ns = clock.elapsed_ns
    now_ns = elapsed_ns()
    for block in blocks:
        for due_ns, n, journey in zip(block.due_ns, block.n, block.journey, strict=True):
            if due_ns > now_ns:
                now_ns = elapsed_ns()
                if due_ns > now_ns:
                    await clock.sleep_until(due_ns)
                    now_ns = elapsed_ns()
                if stop.is_set():
                    return
            pool.arrive(Arrival(t0_ns + due_ns, n, journey, due_ns < warmup_ns))


async def drive_users(
    spans: Sequence[tuple[int, Sequence[tuple[int, int]]]],
    journey_of: Callable[[int, int], int],
    new_life: Callable[[], Life],
    clock: Clock,
    pool: UserPool,
    stop: asyncio.Event,
    warmup_ns: int,
) -> None:
    """Keep each of our users going for its spans of the profile.

    Args:
        spans: (global user index, when it is alive: start and end in ns of the run).
        journey_of: (user, its i-th iteration from 0) -> journey index.

    A user whose span is over finishes its iteration and leaves; its data row is its index.
    """

    async def live(user: int, alive: Sequence[tuple[int, int]]) -> None:
        slot = pool.join(new_life())
        done = 0
        try:
            for start_ns, end_ns in alive:
                await sleep_or_stop(clock, start_ns, stop)
                while not stop.is_set() and (now_ns := clock.elapsed_ns()) < end_ns:
                    arrival = Arrival(None, (user << 32) + done, journey_of(user, done), now_ns < warmup_ns, row=user)
                    await pool.begin(slot, arrival)
                    pool.end(slot, arrival)
                    done += 1
                    if not done % TURN:
                        await asyncio.sleep(0)
        finally:
            await pool.leave(slot)

    await _all([live(user, alive) for user, alive in spans])


async def drive_iterations(
    own: Iterator[tuple[int, int]],
    users: int,
    new_life: Callable[[], Life],
    clock: Clock,
    pool: UserPool,
    stop: asyncio.Event,
    warmup_ns: int,
) -> None:
    """Our `users` users share our iterations until none is left.

    Args:
        own: (global iteration index, journey index) of each of our iterations.
    """

    async def live() -> None:
        slot = pool.join(new_life())
        done = 0
        try:
            for n, journey in own:
                arrival = Arrival(None, n, journey, clock.elapsed_ns() < warmup_ns)
                await pool.begin(slot, arrival)
                pool.end(slot, arrival)
                if stop.is_set():
                    return
                done += 1
                if not done % TURN:
                    await asyncio.sleep(0)
        finally:
            await pool.leave(slot)

    await sleep_or_stop(clock, 0, stop)
    if not stop.is_set():
        await _all([live() for _ in range(users)])


async def _all(lives: Sequence[Coroutine[object, object, None]]) -> None:
    """All users' lives; one that is cut off ends alone."""
    await asyncio.gather(*lives, return_exceptions=True)

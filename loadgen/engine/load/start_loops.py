"""The loops that start iterations when they are due (open loads), or keep users iterating (closed and counted loads).

Each function returns when the last iteration of its share has been started, or as soon as `stop` is set. The drain then
waits for running iterations. The functions know nothing about regions or agents: a share decides which arrivals and
users belong to this worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from loadgen.engine.load.busy_wait import MOST_NS
from loadgen.engine.load.catch_up import REST_NS, CatchUp
from loadgen.engine.load.clock import TURN, Clock, sleep_or_stop
from loadgen.engine.load.pace import Pace, next_cycle
from loadgen.engine.load.schedule import Block
from loadgen.engine.load.user_count_changes import Crowd, Gate, woken_by
from loadgen.engine.load.user_iterations import Arrival, Life, UserPool

__all__ = ["Cursor", "drive_arrivals", "drive_iterations", "drive_users"]

ITERATIONS_A_TURN = 16
"""After this many iterations a closed user yields to the others, so that a journey without awaits cannot starve them.
Yielding at each iteration would cost a turn of the loop, measured as 2 µs a request of a four-request journey.
"""


INTERVAL_TURNS = 3
"""An arrival that is due exactly at the end of an interval waits at most this number of turns of the loop, so that it
counts in the next interval. The timers of the arrival and of the interval fire in one turn or in two, in any order.
"""


class Cursor:
    """The position of the start loop when it was cancelled."""

    __slots__ = ("is_through", "n")

    def __init__(self) -> None:
        self.is_through = False
        """True if all arrivals were started."""
        self.n: int | None = None
        """The first arrival that was not started; None if the loop had not begun, or has started all."""


async def drive_arrivals(
    blocks: Iterable[Block],
    clock: Clock,
    t0_ns: int,
    pool: UserPool,
    stop: asyncio.Event,
    warmup_ns: int,
    cursor: Cursor | None = None,
) -> None:
    """HOT, once an iteration: budget 3 µs (bench/drive.py). Start the arrivals of `blocks` when they are due.

    It returns when all are started or `stop` is set. It waits for absolute times, so a late wake-up delays one start
    and does not lower the rate. Arrivals that are due at the same time start together, and none starts before it is
    due. If the loop is far behind because of this machine, it starts late arrivals at most at twice the planned rate
    (`catch_up.py`).

    The loop waits only in `sleep_until` and between turns, so it can be cancelled at any time. `cursor` then has the
    first arrival that was not started, and the loop can be restarted from there with other due times.
    """
    elapsed_ns = clock.elapsed_ns
    upto_ns = -sys.maxsize  # arrivals due by then may start
    catch_up: CatchUp | None = None
    n = None
    is_at_once = False
    try:
        for block in blocks:
            for due_ns, n, journey in zip(block.due_ns, block.n, block.journey, strict=True):
                # The clock is read again only for an arrival that was not due at the last reading: a burst needs one
                # reading.
                while due_ns > upto_ns:
                    now_ns = elapsed_ns()
                    if catch_up is None:
                        catch_up = CatchUp(min(now_ns, due_ns))
                    if due_ns > now_ns:
                        # After a short wait the loop has little time left, and starts that share a turn cost less.
                        is_at_once = due_ns - now_ns > MOST_NS
                        await clock.sleep_until(due_ns)
                        catch_up.slept(due_ns)
                        for _ in range(INTERVAL_TURNS):
                            if t0_ns + due_ns < pool.interval_ends_ns:
                                break
                            await TURN
                        now_ns = elapsed_ns()
                    upto_ns = catch_up.release(now_ns)
                    # After each reading of the clock: a process that was frozen in `sleep_until` finds its lease over
                    # before it starts anything (`share_drive._Stop`).
                    if stop.is_set():
                        if cursor is not None:
                            cursor.n = n
                        return
                    if due_ns > upto_ns:
                        await clock.sleep_until(now_ns + REST_NS)
                pool.arrive(Arrival(t0_ns + due_ns, n, journey, due_ns < warmup_ns), is_at_once=is_at_once)
                is_at_once = False
        if cursor is not None:
            cursor.is_through = True
    except asyncio.CancelledError:
        if cursor is not None:
            cursor.n = n
        raise


async def drive_users(
    crowd: Crowd,
    journey_of: Callable[[int, int], int],
    new_life: Callable[[], Life],
    clock: Clock,
    pool: UserPool,
    stop: asyncio.Event,
    warmup_ns: int,
    pace: Pace | None = None,
) -> None:
    """Keep each user of the crowd iterating while the plan has it present.

    It returns when no user is present and none will be. A user whose time is over finishes its iteration, and leaves
    unless the plan has it present again later. Its data row is its index. If a changed plan brings back a user that has
    left, it returns as a new user with the same row.

    Args:
        journey_of: (user, number of its iteration from 0) -> journey index.
        pace: begin one iteration in each cycle; None: as fast as the target allows.
    """

    async def live(user: int) -> None:
        slot, stay = pool.join(new_life()), crowd.stay_of(user)
        stay.is_here = True
        due_ns = free_ns = -1  # begin of the cycle; time at which the iteration before ended
        try:
            while not stop.is_set():
                if (span := crowd.next_span(user, clock.elapsed_ns())) is None:
                    if not crowd.is_held:
                        return
                    await crowd.changes.until(clock, None)
                    continue
                stay.start_ns, stay.end_ns = span
                start_ns = stay.start_ns
                await crowd.changes.until(clock, start_ns)
                if clock.elapsed_ns() < start_ns:  # the plan has changed
                    continue
                if pace is not None:
                    # not from now on: a late begin is one, and belongs to its cycle
                    first_ns = pace.first_ns(user, max(start_ns, free_ns))
                    due_ns = stay.end_ns if first_ns is None else first_ns
                while not stop.is_set() and (now_ns := clock.elapsed_ns()) < stay.end_ns:
                    if now_ns < due_ns:
                        await crowd.changes.until(clock, min(due_ns, stay.end_ns))
                        continue
                    done = stay.done
                    # The same number as in `_drawn` and `_striped` (single_load_driver.py), which use its two halves.
                    arrival = Arrival(None, (user << 32) + done, journey_of(user, done), now_ns < warmup_ns, row=user)
                    stay.done = done + 1
                    await pool.begin(slot, arrival)
                    pool.end(slot, arrival)
                    if pace is not None:
                        # at least 1 ns after the cycle began, so that the same cycle is never taken twice
                        free_ns = max(due_ns + 1, clock.elapsed_ns())
                        due_ns, skipped = next_cycle(due_ns, pace.every_ns, free_ns)
                        if skipped:
                            pace.skipped(skipped)
                    if not stay.done % ITERATIONS_A_TURN:
                        await asyncio.sleep(0)
        finally:
            stay.is_here = False
            await pool.leave(slot)

    lives: dict[int, asyncio.Task[None]] = {}

    def left(user: int, life: asyncio.Task[None]) -> None:
        del lives[user]
        if not life.cancelled():
            life.exception()  # a user that fails ends alone
        is_wanted = not stop.is_set() and crowd.next_span(user, clock.elapsed_ns()) is not None
        if is_wanted or not lives:
            crowd.changes.wake()

    with woken_by(stop, crowd.changes):
        try:
            while not stop.is_set():
                changed = crowd.changes.next
                for user in crowd.wanted(clock.elapsed_ns(), lives):
                    lives[user] = asyncio.create_task(live(user))
                    lives[user].add_done_callback(partial(left, user))
                if not lives:
                    return
                await changed.wait()
            await asyncio.gather(*lives.values(), return_exceptions=True)
        finally:
            for life in lives.values():
                life.cancel()


async def drive_iterations(
    own: Iterator[tuple[int, int]],
    users: int,
    new_life: Callable[[], Life],
    clock: Clock,
    pool: UserPool,
    stop: asyncio.Event,
    warmup_ns: int,
    gate: Gate | None = None,
    most: int | None = None,
) -> None:
    """Run all iterations of `own` with `users` concurrent users, and return when none is left or `stop` is set.

    Args:
        own: (global iteration index, journey index) of each of this worker's iterations. Each one that is taken from
            the iterator is begun.
        gate: while it is shut, no iteration begins. Setting `stop` must also open it.
        most: most iterations of one user; None: no limit.
    """
    gate = gate or Gate()

    async def live() -> None:
        slot = pool.join(new_life())
        done = 0
        try:
            for n, journey in islice(own, most):
                arrival = Arrival(None, n, journey, clock.elapsed_ns() < warmup_ns)
                await pool.begin(slot, arrival)
                pool.end(slot, arrival)
                if gate.is_shut:
                    await gate.opened()
                if stop.is_set():
                    return
                done += 1
                if not done % ITERATIONS_A_TURN:
                    await asyncio.sleep(0)
        finally:
            await pool.leave(slot)

    await sleep_or_stop(clock, 0, stop)
    await gate.opened()
    if not stop.is_set():
        await _all([live() for _ in range(users)])


async def _all(lives: Sequence[Coroutine[object, object, None]]) -> None:
    """Run the coroutines of all users to their end. If one user is cut off, the others continue."""
    await asyncio.gather(*lives, return_exceptions=True)

"""The time-out wheel, by a clock that jumps: nothing early, nothing more than a tick late, nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.protocol.timeouts import NEVER_NS, Timeouts, TimeoutWheel, wheel_of
from loadgen.clients.request.prepare import timeouts_of

TICK_NS = 2**23
MS = 1_000_000


class JumpingTimers:
    """`call_later` and a clock; `jump` runs what is due in order."""

    def __init__(self) -> None:
        self.now_ns = 10**12
        self.timers: list[tuple[int, Callable[[], None]]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now_ns + round(delay_s * 1e9), callback))

    def jump(self, by_ns: int) -> None:
        end_ns = self.now_ns + by_ns
        while due := [timer for timer in self.timers if timer[0] <= end_ns]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now_ns = max(self.now_ns, first[0])
            first[1]()
        self.now_ns = end_ns


class Thing:
    def __init__(self, timers: JumpingTimers, wheel: TimeoutWheel) -> None:
        self.timers, self.wheel = timers, wheel
        self.deadline_ns = 0
        self.check_ns = NEVER_NS
        self.expired_ns: list[int] = []

    def start(self, timeout_ns: int) -> None:
        """As a connection does it."""
        self.deadline_ns = self.timers.now_ns + timeout_ns
        if self.deadline_ns < self.check_ns:
            self.wheel.watch(self)

    def end(self) -> None:
        self.deadline_ns = 0

    def expire(self) -> None:
        self.expired_ns.append(self.timers.now_ns)
        self.deadline_ns = 0


def _wheel() -> tuple[JumpingTimers, TimeoutWheel]:
    timers = JumpingTimers()
    return timers, TimeoutWheel(timers.call_later, lambda: timers.now_ns)


@given(st.lists(st.tuples(st.integers(0, 10_000 * MS), st.integers(0, 500 * MS)), min_size=1, max_size=20))
def test_each_fires_once_never_early_and_at_most_a_tick_late(starts: list[tuple[int, int]]) -> None:
    timers, wheel = _wheel()
    things: list[tuple[Thing, int]] = []
    for timeout_ns, wait_ns in starts:
        thing = Thing(timers, wheel)
        thing.start(timeout_ns)
        things.append((thing, thing.deadline_ns))
        timers.jump(wait_ns)
    timers.jump(20_000 * MS)
    for thing, deadline_ns in things:
        (at_ns,) = thing.expired_ns
        assert deadline_ns <= at_ns <= deadline_ns + TICK_NS + 1
    assert len(wheel) == 0
    assert not timers.timers


def test_a_busy_thing_is_looked_at_once_a_time_out_and_not_once_a_request() -> None:
    timers, wheel = _wheel()
    thing = Thing(timers, wheel)
    looked = 0
    watch = wheel.watch

    def count(it: Thing) -> None:
        nonlocal looked
        looked += 1
        watch(it)

    wheel.watch = count  # type: ignore[method-assign,assignment]
    for _ in range(10_000):
        thing.start(60_000 * MS)
        timers.jump(30 * MS)
        thing.end()
    assert thing.expired_ns == []
    assert looked <= 7


def test_a_shorter_time_out_after_a_longer_one_fires_in_time() -> None:
    timers, wheel = _wheel()
    thing = Thing(timers, wheel)
    thing.start(60_000 * MS)
    thing.end()
    thing.start(100 * MS)
    timers.jump(120 * MS)
    assert len(thing.expired_ns) == 1
    assert len(wheel) == 0


def test_what_is_forgotten_is_not_kept_and_never_fires() -> None:
    timers, wheel = _wheel()
    things = [Thing(timers, wheel) for _ in range(100)]
    for thing in things:
        thing.start(1000 * MS)
        wheel.forget(thing)
        wheel.forget(thing)
    assert len(wheel) == 0
    timers.jump(5000 * MS)
    assert all(thing.expired_ns == [] for thing in things)


def test_a_timer_that_fires_early_does_no_harm() -> None:
    timers, wheel = _wheel()
    thing = Thing(timers, wheel)
    thing.start(100 * MS)
    timers.now_ns += 100 * MS - 1
    wheel.turn()
    assert thing.expired_ns == []
    timers.jump(20 * MS)
    assert len(thing.expired_ns) == 1


def test_without_a_deadline_nothing_is_watched() -> None:
    timers, wheel = _wheel()
    thing = Thing(timers, wheel)
    thing.start(NEVER_NS)
    assert len(wheel) == 0
    thing.start(50 * MS)
    thing.start(NEVER_NS)  # on the same connection, the next request has none
    timers.jump(1000 * MS)
    assert thing.expired_ns == []


async def test_a_loop_has_one_wheel() -> None:
    loop = asyncio.get_running_loop()
    assert wheel_of(loop) is wheel_of(loop)


@pytest.mark.parametrize(
    ("value", "connect_ms", "total_ms"),
    [
        (5, 5000, 5000),
        (30.0, 10_000, 30_000),
        ("250ms", 250, 250),
        (httpx.Timeout(5.0, connect=2.0), 2000, 5000),
        ((1.0, 2.0, 3.0, 4.0), 1000, 2000),
        (httpx.USE_CLIENT_DEFAULT, 10_000, 60_000),
    ],
)
def test_what_a_call_says_about_time_outs(value: object, connect_ms: int, total_ms: int) -> None:
    assert timeouts_of({"timeout": value}, Timeouts()) == Timeouts(connect_ms * MS, total_ms * MS)


def test_none_is_no_time_out() -> None:
    assert timeouts_of({"timeout": None}, Timeouts()) == Timeouts(NEVER_NS, NEVER_NS)
    assert timeouts_of({}, Timeouts(1, 2)) == Timeouts(1, 2)

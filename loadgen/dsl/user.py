"""The user: what a journey's code holds in its hand.

One `User` is one simulated person: cookies, headers, connections and random
numbers are its own. In open loads it is a fresh person for each iteration (the
connections stay with the slot), in closed loads the same one for the whole load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Final

from loadgen.clients import HttpClient
from loadgen.dsl.outcome import is_bound, outcome_of
from loadgen.engine.meter import Meter
from loadgen.measure.series import OK
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["User"]


class User:
    """One simulated person within a journey.

    http: the HTTP client of this person: httpx's names and arguments, measured.
    shared: the JSON value that the plan's set-up returned, the same for all users of the fleet.
    """

    __slots__ = ("_idle_since_ns", "_n", "_random", "_seed", "_sleep", "http", "idle_ns", "meter", "shared")

    def __init__(
        self,
        http: HttpClient,
        meter: Meter,
        *,
        seed: int,
        shared: Any = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.http: Final = http
        self.meter: Final = meter
        self.shared = shared
        self.idle_ns = 0
        self._idle_since_ns = 0
        self._seed, self._n = seed, 0
        self._random: Random | None = None
        self._sleep = sleep

    def step(self, name: str) -> Step:
        """A named, timed part of the journey: `async with user.step("login"):`. Steps nest as `outer/inner`.

        Its response time is without think time; its outcome is the exception that left it, or the
        first `http` error of a request in it that no `expect` accepted.
        """
        return Step(self, name)

    def measure(self, name: str) -> Measure:
        """Time anything else that is awaited, as a request named `name`: `async with user.measure("sign"):`."""
        return Measure(self, name)

    async def think(self, low: float | str, high: float | str | None = None) -> None:
        """Pause as a person would: `think(2)`, `think("500ms")`, or uniformly `think(1, 3)`. Not response time.

        Seconds, or durations as text. The random number is the iteration's own, so a run can be repeated.
        """
        self.meter.settle()
        low_ns = parse_duration(low)
        wait_s = low_ns / NS_PER_S if high is None else self.random.uniform(low_ns, parse_duration(high)) / NS_PER_S
        self._idle_since_ns = perf_counter_ns()
        await self._sleep(wait_s)
        self.idle_ns += perf_counter_ns() - self._idle_since_ns
        self._idle_since_ns = 0

    @property
    def random(self) -> Random:
        """Random numbers of this iteration, seeded by (run seed, iteration): the same when it is run again."""
        if self._random is None:
            self._random = Random(self._seed * 0x9E3779B97F4A7C15 + self._n)  # noqa: S311  # no secret depends on it
        return self._random

    def idle_until(self, now_ns: int) -> int:
        """Think time of this iteration so far, with the think that is going on."""
        return self.idle_ns + (now_ns - self._idle_since_ns if self._idle_since_ns else 0)

    def begin(self, n: int) -> None:
        """The engine begins iteration `n` with this person."""
        self._n, self._random = n, None
        self.idle_ns = self._idle_since_ns = 0

    def __repr__(self) -> str:
        return f"<User in iteration {self._n} of {self.meter.journey or 'no journey'}, step {self.meter.step}>"


class Step:
    """HOT, twice a step. See `User.step`."""

    __slots__ = ("_entered_ns", "_failed", "_idle_ns", "_name", "_outer", "_user")

    def __init__(self, user: User, name: str) -> None:
        self._user, self._name = user, name

    async def __aenter__(self) -> None:
        user = self._user
        meter = user.meter
        self._outer, self._failed, self._idle_ns = meter.step, meter.failed, user.idle_ns
        meter.enter(self._name if meter.step is None else f"{meter.step}/{self._name}")
        self._entered_ns = perf_counter_ns()
        if (watch := meter.watch) is not None:
            watch.begun(self._entered_ns, self._idle)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now_ns = perf_counter_ns()
        user = self._user
        meter = user.meter
        meter.settle()
        if error is not None:
            outcome = outcome_of(error)
        elif meter.failed is not None and self._failed is None:
            outcome = meter.failed
        else:
            outcome = OK
        duration_ns = now_ns - self._entered_ns
        response_ns = duration_ns - (user.idle_until(now_ns) - self._idle_ns)
        is_censored = outcome is not OK and is_bound(outcome)
        meter.leave(self._outer, response_ns, duration_ns, outcome, is_censored, self._entered_ns)

    def _idle(self, now_ns: int) -> int:
        """Think time since the step was entered."""
        return self._user.idle_until(now_ns) - self._idle_ns


class Measure:
    """See `User.measure`. It is its own sample."""

    __slots__ = ("_name", "_user", "asked_ns", "done_ns", "first_byte_ns", "outcome", "sent_ns", "series", "size_bytes")

    def __init__(self, user: User, name: str) -> None:
        self._user, self._name = user, name

    async def __aenter__(self) -> None:
        self._user.meter.settle()
        self.series = self._user.meter.request(self._name)
        self.size_bytes = 0
        self.asked_ns = self.sent_ns = perf_counter_ns()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.first_byte_ns = self.done_ns = perf_counter_ns()
        if isinstance(error, asyncio.CancelledError):
            return  # cut off in flight: started, never finished
        self.outcome = OK if error is None else outcome_of(error)
        self._user.meter.hold(self)
        self._user.meter.settle()

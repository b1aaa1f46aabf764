"""Drives one share of a plan in this process: the same for a worker of a fleet and for a run in a test.

    drive = Drive(scenario, index=0, weights=[1.0], seed=7, emit=deltas.append)
    fin = await drive.run(perf_counter_ns() + 500_000_000)

Each interval a delta goes to `emit`; at the end come the totals that all deltas
must add up to. Nothing here knows of controllers, agents or the wire.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadgen.clients import ConnectionPool, HttpClient, TcpNetwork, Timeouts, tls_context
from loadgen.dsl.feed import open_feed
from loadgen.dsl.life import BoundJourney, JourneyLife
from loadgen.dsl.loader import Scenario
from loadgen.dsl.plan import Plan
from loadgen.dsl.user import User
from loadgen.engine.clock import MonotonicClock, sleep_or_stop, sleep_to
from loadgen.engine.executor import drive_arrivals, drive_iterations, drive_users
from loadgen.engine.meter import Meter
from loadgen.engine.raw import RAW_VARIABLE, RawFile
from loadgen.engine.recorder import Recorder
from loadgen.engine.schedule import due_times, own_iterations, own_spans
from loadgen.engine.selfcheck import SelfCheck
from loadgen.engine.share import RowIndex, Share
from loadgen.engine.users import Life, UserPool
from loadgen.measure.delta import Counters, Delta
from loadgen.profile import ArrivalProfile, UserProfile
from loadgen.units import NS_PER_S

__all__ = ["MAX_USERS", "Drive", "Totals"]

MAX_USERS = 10_000
"""Users of one worker where the plan sets no `max_users`."""
RUN_STEP = "(run set-up)"
"""Where the requests of a plan's set-up and tear-down are recorded; before T0 and after the end, so in no delta."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all deltas of a share add up to."""

    last_seq: int
    counters: Counters = field(default_factory=Counters)
    recorded: int = 0
    """Sum of all bucket counts."""
    start_skew_ns: int = 0
    """How long after T0 the load was really begun."""


class Drive:
    """One share of a plan, from T0 to the end of the drain. Made within a running loop.

    Args:
        index, weights: this worker's place among all workers of the fleet, and their shares.
        emit: gets each interval's delta; must not block. Agent, epoch and run are not filled in.
        shared: the value that the plan's set-up returned.
        region: names the raw file when the debug switch is on.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        index: int = 0,
        weights: Sequence[float] = (1.0,),
        seed: int = 0,
        interval_ns: int = NS_PER_S,
        emit: Callable[[Delta], None],
        shared: Any = None,
        region: str = "local",
    ) -> None:
        self.shared = shared
        self._plan = plan = scenario.plan
        self._seed, self._interval_ns, self._emit = seed, interval_ns, emit
        raw = os.environ.get(RAW_VARIABLE)
        self._recorder = Recorder(raw=RawFile(Path(raw), region) if raw else None)
        self._is_open = isinstance(plan.profile, ArrivalProfile)
        self._journeys = _bind(plan)
        self._ssl = tls_context(plan.ca)
        self._network = TcpNetwork()
        self._timeouts = Timeouts(connect_ns=plan.connect_timeout_ns, total_ns=plan.timeout_ns)
        self._profile = plan.profile
        self._share = Share.of(index, weights, plan.weights)
        series = [[self._recorder.journey_series(j.name, warmup) for j in self._journeys] for warmup in (False, True)]
        self._pool = UserPool(
            self._new_life,
            self._recorder,
            (series[0], series[1]),
            max_users=MAX_USERS if plan.max_users is None else max(1, len(self._share.owns_users(plan.max_users))),
            max_lateness_ns=plan.max_lateness_ns,
        )
        self._self_check = SelfCheck(scenario.path.parent, self._users)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._faults_said: set[str] = set()
        self._flipped_ns = 0
        self._last_seq = -1
        self._recorded = 0
        self._totals = Counters()

    # -- what a run needs before and after ------------------------------------------------------

    async def set_up(self) -> Any:
        """Run the plan's set-up once; its JSON value is for all users of the fleet. Raises what it raises."""
        return await self._once(self._plan.set_up)

    async def tear_down(self) -> None:
        """Run the plan's tear-down once."""
        await self._once(self._plan.tear_down)

    async def _once(self, fn: Callable[[User], Awaitable[Any]] | None) -> Any:
        if fn is None:
            return None
        user = self._new_user(Recorder())
        user.meter.begin(RUN_STEP, warmup=False, pool_limited=False)
        try:
            return await fn(user)
        finally:
            user.meter.settle()
            await user.http.close()

    # -- the run --------------------------------------------------------------------------------

    def stop(self, *, now: bool = False) -> None:
        """Start nothing more; with `now` also cut off what is in flight."""
        self._stop.set()
        if now:
            self._stop_now.set()

    async def run(self, t0_ns: int) -> Totals:
        """Drive the share from T0 (on `perf_counter_ns`), drain, and return what it all adds up to.

        Raises:
            Exception: whatever `emit` or the folding raised; the load is stopped at once then.
        """
        self._recorder.t0_ns = t0_ns
        gc.collect()
        gc.freeze()  # the scenario and the libraries live as long as the worker: not worth a look each time
        clock = MonotonicClock(t0_ns)
        self._self_check.start()
        intervals = asyncio.create_task(self._intervals(clock))
        intervals.add_done_callback(lambda _: self.stop(now=True))  # it ends by itself only when it failed
        try:
            driving = asyncio.create_task(self._drive(clock, t0_ns))
            await sleep_or_stop(clock, 0, self._stop)
            skew_ns = clock.elapsed_ns()
            await self._until_planned_end(clock, driving)
            await self._drain(driving)
        finally:
            intervals.cancel()
            await asyncio.wait([intervals])
            self._self_check.stop()
            await self._pool.close()
            clock.close()
        if not intervals.cancelled():
            intervals.result()
        self._flip(max(clock.elapsed_ns(), self._flipped_ns + 1))
        return Totals(self._last_seq, self._totals, self._recorded, skew_ns)

    async def _drive(self, clock: MonotonicClock, t0_ns: int) -> None:
        profile, share, pool, stop = self._profile, self._share, self._pool, self._stop
        warmup_ns = self._plan.warmup_ns
        if isinstance(profile, ArrivalProfile):
            await drive_arrivals(due_times(profile, share), clock, t0_ns, pool, stop, warmup_ns)
        elif isinstance(profile, UserProfile):
            spans = own_spans(profile, share)
            await drive_users(spans, share.journey_of, self._new_life, clock, pool, stop, warmup_ns)
        else:
            users = len(share.owns_users(profile.users))
            own = own_iterations(profile, share)
            await drive_iterations(own, users, self._new_life, clock, pool, stop, warmup_ns)

    async def _until_planned_end(self, clock: MonotonicClock, driving: asyncio.Task[None]) -> None:
        end_ns = self._profile.duration_ns
        if end_ns is not None:
            await sleep_or_stop(clock, end_ns, self._stop)
        else:
            stopped = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait([driving, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        if driving.done():
            driving.result()

    async def _drain(self, driving: asyncio.Task[None]) -> None:
        """Let what runs end; what waits may still start at the planned end, but not after a stop."""
        stopped = self._stop.is_set()
        self._stop.set()
        if stopped:
            self._pool.give_up_waiting()
        if isinstance(self._profile, ArrivalProfile):
            driving.cancel()
        drained = asyncio.ensure_future(self._pool.drained())
        now = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait([drained, now], timeout=self._plan.drain_ns / 1e9, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        now.cancel()
        self._pool.cut_off()
        await asyncio.wait([driving], timeout=1.0)
        driving.cancel()

    async def _intervals(self, clock: MonotonicClock) -> None:
        """Flip at the end of each interval. After a blocked loop one delta spans what was slept through."""
        while True:
            await sleep_to(clock, self._flipped_ns + self._interval_ns)
            self._flip(clock.elapsed_ns() // self._interval_ns * self._interval_ns)

    def _flip(self, end_ns: int) -> None:
        delta = self._recorder.flip(self._flipped_ns, end_ns, self._health)
        self._flipped_ns, self._last_seq = end_ns, delta.seq
        self._totals += delta.counters
        self._recorded += sum(stats.n for stats in delta.stats)
        self._emit(delta)

    def _health(self, lag_p99_ns: int | None, response_p99_ns: int) -> Any:
        return self._self_check.health(lag_p99_ns, response_p99_ns, self._recorder.take_notes())

    # -- users ----------------------------------------------------------------------------------

    def _new_user(self, recorder: Recorder) -> User:
        meter = Meter(recorder)
        pool = ConnectionPool(self._network, self._ssl)
        http = HttpClient(meter, pool, self._plan.target, self._timeouts)
        return User(http, meter, seed=self._seed, shared=self.shared)

    def _new_life(self) -> Life:
        user = self._new_user(self._recorder)
        return JourneyLife(user, self._journeys, fresh=self._is_open, report=self._say_fault)

    def _users(self) -> tuple[int, int, int]:
        return self._pool.users, self._pool.in_flight, self._pool.waiting

    def _say_fault(self, text: str) -> None:
        """Each fault of the scenario once, and no more than ten kinds."""
        if text not in self._faults_said and len(self._faults_said) < 10:
            self._faults_said.add(text)
            self._recorder.note(text)


def _bind(plan: Plan) -> list[BoundJourney]:
    """The plan's journeys with their rows: by the arrival's place among those that use the feed; if closed, by user."""
    bound: list[BoundJourney] = []
    for journey in plan.journeys:
        row: Callable[[int], Any] | None = None
        if journey.feed is not None:
            row = open_feed(journey.feed).row
            if not isinstance(plan.profile, UserProfile):
                readers = [i for i, other in enumerate(plan.journeys) if other.feed is journey.feed]
                row = _indexed(row, RowIndex(plan.weights, readers))
        bound.append(BoundJourney(journey.name, journey.fn, row, journey.set_up_fn, journey.tear_down_fn))
    return bound


def _indexed(row: Callable[[int], Any], index: RowIndex) -> Callable[[int], Any]:
    return lambda n: row(index(n))

"""Drives one share of a plan in this process: the same for a worker of a fleet and for a run in a test.

    drive = Drive(scenario, index=0, weights=[1.0], seed=7, emit=deltas.append)
    fin = await drive.run(perf_counter_ns() + 500_000_000)

Each interval a delta goes to `emit`; at the end come the totals that all deltas
must add up to. Each load of the plan is a `lane.py`; what they share (recorder,
people, self-check, drain) is here. Nothing here knows of controllers, agents or the wire.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from loadgen.allowlist import Address, AllowList, CapShare, share_of_cap
from loadgen.clients import Cap, Fence, generator_faults, network_of, tls_context
from loadgen.drive.load_drive import LaneDrive, bind
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.secret import secret_values
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import People
from loadgen.dsl.users.worker_counters import Tally
from loadgen.engine.health.selfcheck import SelfCheck
from loadgen.engine.load.clock import MonotonicClock, sleep_to
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.exemplars import kept_of_one
from loadgen.engine.recording.raw_values import RAW_VARIABLE, RawFile
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS
from loadgen.measure.deltas.load_counts import Ending, LoadCounts
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.profiles.profile import OpenProfile
from loadgen.profiles.stage import Stage
from loadgen.redact import Redactor
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["Drive", "Totals"]

RUN_STEP = "(run set-up)"
"""Where the requests of a plan's set-up and tear-down are recorded; before T0 and after the end, so in no delta."""
_GC_THRESHOLDS = (20_000, 50, 50)
"""Of the garbage collector while a load is driven. Python's own have it look through all users again and again while
thousands of them are made: for 6,400 at once 1.1 s of CPU and a pause of 257 ms, with these 0.17 s and 25 ms."""
_FOLD_NS = 50 * NS_PER_MS
"""For so long a fold lets others have their turns."""
_FAULTS_SAID = 20
"""Kinds of faults of the scenario that are told; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all deltas of a share add up to."""

    last_seq: int
    counters: Counters = field(default_factory=Counters)
    recorded: int = 0
    """Sum of all bucket counts."""
    start_skew_ns: int = 0
    """How long after T0 the load was really begun."""
    ending: Ending = Ending.UNSAID
    """Why the load ended. UNSAID is a fault of ours."""


class _Stop(asyncio.Event):
    """The end of all starts, with its reason. The first reason stays, and once set it is never unset.

    `is_set` also asks whether the lease is over, since a process that was frozen asks that first. A lease that has
    lapsed even for a moment ends the load for good: were it only looked at, a load could stop while everybody who
    looks later sees a lease that runs.
    """

    def __init__(self, is_over: Callable[[], bool] | None) -> None:
        super().__init__()
        self._is_over = is_over
        self.ending = Ending.UNSAID

    def is_set(self) -> bool:
        """HOT, once a wake-up of a drive."""
        if super().is_set():
            return True
        if self._is_over is None or not self._is_over():
            return False
        self.end(Ending.LEASE)
        return True

    def end(self, ending: Ending) -> None:
        """Set it. A lease that is over goes before `ending`."""
        if self.ending is Ending.UNSAID:
            is_lapsed = self._is_over is not None and self._is_over()
            self.ending = Ending.LEASE if is_lapsed else ending
        self.set()


class Drive:
    """One share of a plan, from T0 to the end of the drain. Made within a running loop.

    Args:
        index, weights: this agent's place among all agents of the fleet, and their shares.
        worker, workers: this worker's place among those of its agent.
        emit: gets each interval's delta; must not block. Agent, epoch and run are not filled in.
        shared: the value that the plan's set-up returned.
        region: of the agent; objectives may be about some regions only.
        marks: of each load, kept beyond this process: how many iterations of a counted one were begun.
        allow: what may be loaded; None: no list holds for the run.
        own: the places of the control plane, which are never targets.
        cap_per_s: requests/s of the whole fleet that the list admits to the plan's targets; None: as many as come.
        tell: gets who waits at which rendez-vous, each time that changed; `release` says who may go. None: this share
            is all there is, and its users meet among themselves.
        is_over: whether the lease is over, asked before each start. Once it is, nothing more is started.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        index: int = 0,
        weights: Sequence[float] = (1.0,),
        worker: int = 0,
        workers: int = 1,
        seed: int = 0,
        interval_ns: int = NS_PER_S,
        emit: Callable[[Delta], None],
        shared: Any = None,
        region: str = "local",
        marks: memoryview[int] | None = None,
        tell: Callable[[tuple[WaitingAt, ...]], None] | None = None,
        is_over: Callable[[], bool] | None = None,
        allow: AllowList | None = None,
        own: Iterable[tuple[Address, int]] = (),
        cap_per_s: float | None = None,
    ) -> None:
        self._plan = plan = scenario.plan
        self._interval_ns, self._emit = interval_ns, emit
        self._journeys = tuple(one.name for one in plan.journeys)
        self.redactor = Redactor(lambda: secret_values().values())
        """Takes the scenario's secrets out of what leaves the worker."""
        raw = os.environ.get(RAW_VARIABLE)
        objectives = plan.watched
        self._watches = Watches(objectives, self._journeys, interval_ns, region, self._in_flight)
        is_watching = any(one.window_ns for one in objectives)
        self._recorder = Recorder(
            raw=RawFile(Path(raw), region) if raw else None,
            watches=self._watches if is_watching else None,
            max_exemplars=min(kept_of_one(len(weights) * workers), MAX_EXEMPLARS // workers),
            redactor=self.redactor,
        )
        for metric in scenario.metrics:
            metric.bind(self._recorder)
        self._place = index, worker, workers
        self._cap: Cap | None = None
        self._cap_changes: list[tuple[int, tuple[float, ...]]] = []
        """(from when on, ns after T0, weights of the agents) of changes that the cap does not know of yet."""
        fence = Fence(allow, own)
        if allow is not None and any(entry.max_requests_per_s is not None for entry in allow.allow):
            self._cap = Cap(
                self._share_of_cap(tuple(weights)), cap_per_s, refuses=Tally.of(self._recorder).over_the_cap
            )
            fence = Fence(allow, own, admitted=self._cap.admit)
        network = network_of(plan.http, self._recorder.note, fence)
        self._points = Points(tell, self._recorder.note, self.redactor.known)
        self._people = People(
            plan.ways(),
            network,
            tls_context(plan.ca, plan.http),
            seed=seed,
            shared=shared,
            points=self._points,
            cap=self._cap,
        )
        self._lanes = [
            LaneDrive(
                lane,
                load,
                index=index,
                weights=weights,
                worker=worker,
                workers=workers,
                marks=marks,
                seed=seed,
                recorder=self._recorder,
                new_life=partial(
                    self._people.life,
                    self._recorder,
                    bind(plan, load),
                    fresh=isinstance(lane.profile, OpenProfile),
                    report=self._say_fault,
                    load=load,
                    tags=(("load", lane.name),) if lane.name else (),
                ),
                points=self._points,
                warmup_ns=plan.warmup_ns,
                max_lateness_ns=plan.max_lateness_ns,
            )
            for load, lane in enumerate(plan.lanes)
        ]
        self._self_check = SelfCheck(
            scenario.path.parent, self._users, own_faults=generator_faults, oldest_ns=self._oldest_ns
        )
        self._stop = _Stop(is_over)
        self._recorder.take_loads = self._take_loads
        self._stop_now = asyncio.Event()
        self._faults_said: set[str] = set()
        self._flipped_ns = 0
        self._last_seq = -1
        self._recorded = 0
        self._totals = Counters()

    # -- what a run needs before and after ------------------------------------------------------

    @property
    def shared(self) -> Any:
        """The value that the plan's set-up returned, for all users of the fleet."""
        return self._people.shared

    @shared.setter
    def shared(self, value: Any) -> None:
        self._people.shared = value

    async def set_up(self) -> Any:
        """Run the plan's set-up once; its JSON value is for all users of the fleet. Raises what it raises."""
        return await self._once(self._plan.set_up)

    async def tear_down(self) -> None:
        """Run the plan's tear-down once."""
        await self._once(self._plan.tear_down)

    async def _once(self, fn: Callable[[User], Awaitable[Any]] | None) -> Any:
        if fn is None:
            return None
        user = self._people.user(Recorder())
        user.meter.begin(RUN_STEP, warmup=False, pool_limited=False)
        try:
            return await fn(user)
        finally:
            user.meter.settle()
            await user.http.close()

    # -- the run --------------------------------------------------------------------------------

    def stop(self, *, now: bool = False, ending: Ending = Ending.STOPPED) -> None:
        """Start nothing more; with `now` also cut off what is in flight. The first `ending` stays."""
        self._stop.end(ending)
        self._points.end_all()
        if now:
            self._stop_now.set()

    def leave(self, at_ns: int) -> None:
        """What is due from `at_ns` after T0 on is for others; what was begun by then may end, as at the load's end."""
        for lane in self._lanes:
            lane.leave(at_ns)

    def release(self, load: int, point: str, upto: int, at_ns: int) -> None:
        """Who waits at the rendez-vous `point` of a load, up to the `upto`-th that came, goes on at `at_ns`."""
        self._points.release(load, point, upto, at_ns)

    def adjust(self, load: int, at_ns: int, stages: Sequence[Stage]) -> None:
        """From `at_ns` after T0 on, load `load` is these stages. Also before `run`; each once, in order.

        What comes when the load is over already is not followed, and that is said.
        """
        lane = self._lanes[load]
        if not lane.adjust(at_ns, stages):
            whose = f"load {lane.name}" if lane.name else "the load"
            self._recorder.note(f"a change of {whose} came after its end, and was not followed")

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> None:
        """From `at_ns` after T0 on, the agents have these weights; also before `run`, each once, in order.

        Args:
            number: of the change within the run, from 1.
            weights: one for each agent of that time, 0 for those that are lost; who joined later had 0.
        """
        for lane in self._lanes:
            lane.reassign(number, at_ns, weights)
        if self._cap is not None:
            self._cap_changes.append((at_ns, weights))
            if self._recorder.t0_ns:
                self._reshare_cap(self._cap)

    def _reshare_cap(self, cap: Cap) -> None:
        """The cap's shares change at the same instants as those of the load; T0 must be known."""
        for at_ns, weights in self._cap_changes:
            cap.reshare(self._share_of_cap(weights), self._recorder.t0_ns + at_ns)
        self._cap_changes.clear()

    def _share_of_cap(self, weights: Sequence[float]) -> Callable[[float], CapShare]:
        index, worker, workers = self._place
        return lambda per_s: share_of_cap(per_s, weights, index, worker, workers)

    @property
    def left_out(self) -> str:
        """What of the share cannot be taken over from another process, and why; empty where all of it can."""
        return "; ".join(dict.fromkeys(text for lane in self._lanes if (text := lane.left_out)))

    async def run(self, t0_ns: int, from_ns: int = 0, since_ns: int = 0) -> Totals:
        """Drive the share from T0 (on `perf_counter_ns`), drain, and return what it all adds up to.

        from_ns: from T0; above 0: another process drove it until then. What is due before is not ours.
        since_ns: from T0; above 0: the share is ours since then. What is due between then and `from_ns` is missed.

        Raises:
            Exception: whatever `emit` or the folding raised; the load is stopped at once then.
        """
        self._recorder.t0_ns = self._watches.t0_ns = t0_ns
        if self._cap is not None:
            self._reshare_cap(self._cap)
        self._flipped_ns = from_ns // self._interval_ns * self._interval_ns
        gc.collect()
        gc.freeze()  # the scenario and the libraries live as long as the worker: not worth a look each time
        thresholds = gc.get_threshold()
        gc.set_threshold(*_GC_THRESHOLDS)
        clock = MonotonicClock(t0_ns)
        self._self_check.start()
        intervals = asyncio.create_task(self._intervals(clock))
        intervals.add_done_callback(lambda _: self.stop(now=True))  # it ends by itself only when it failed
        try:
            loads = [asyncio.create_task(lane.run(t0_ns, self._stop, from_ns, since_ns)) for lane in self._lanes]
            driving: list[asyncio.Task[None]] = list(await asyncio.gather(*loads))
            ending = self._ending
            await self._drain(driving, is_stopped=ending in (Ending.STOPPED, Ending.TIME_LIMIT), clock=clock)
        finally:
            intervals.cancel()
            await asyncio.wait([intervals])
            self._self_check.stop()
            for lane in self._lanes:
                await lane.close()
            self._points.close()
            self._people.close()
            clock.close()
            gc.set_threshold(*thresholds)
        if not intervals.cancelled():
            intervals.result()
        self._recorder.failures.finish()
        self._flip(max(clock.elapsed_ns(), self._flipped_ns + 1))
        skew_ns = min(lane.start_skew_ns for lane in self._lanes)
        return Totals(self._last_seq, self._totals, self._recorded, skew_ns, ending)

    @property
    def _ending(self) -> Ending:
        """Why all loads ended."""
        endings = {lane.ending for lane in self._lanes}
        if Ending.UNSAID in endings:
            return Ending.UNSAID
        if Ending.STOPPED in endings:
            return self._stop.ending
        return Ending.LEFT if Ending.LEFT in endings else Ending.DONE

    def _take_loads(self) -> tuple[LoadCounts, ...]:
        return tuple(counts for lane in self._lanes if not (counts := lane.take_counts()).is_empty)

    async def _drain(self, driving: Sequence[asyncio.Task[None]], *, is_stopped: bool, clock: MonotonicClock) -> None:
        """Let what runs end; what waits may still start at the planned end, but not after a stop.

        is_stopped: iterations that were due by now and were not started are missed. Not after a lapsed lease:
            from some time on they are another agent's.
        """
        stopped = self._stop.is_set()
        self._stop.end(Ending.DONE)
        if is_stopped:
            for lane in self._lanes:
                await lane.give_up(clock.elapsed_ns())
        for lane, task in zip(self._lanes, driving, strict=True):
            if stopped:
                lane.pool.give_up_waiting()
            if lane.is_open:
                task.cancel()
        waits: list[asyncio.Future[Any]] = [
            asyncio.gather(*(lane.pool.drained() for lane in self._lanes)),
            asyncio.ensure_future(self._stop_now.wait()),
        ]
        await asyncio.wait(waits, timeout=self._plan.drain_ns / 1e9, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        for lane in self._lanes:
            lane.pool.cut_off()
        await asyncio.wait(driving, timeout=1.0)
        for task in driving:
            task.cancel()

    async def _intervals(self, clock: MonotonicClock) -> None:
        """Flip at the end of each interval. After a blocked loop one delta spans what was slept through."""
        while True:
            await sleep_to(clock, self._flipped_ns + self._interval_ns)
            await self._flip_beside(clock.elapsed_ns() // self._interval_ns * self._interval_ns)

    async def _flip_beside(self, end_ns: int) -> None:
        """In parts, between which answers are read and arrivals started. What has begun is ended, come what may.

        A loop that is blocked gets no further turns for it: else one fold would take as many blocks as it has parts.
        """
        began_ns = perf_counter_ns()
        self._self_check.begin_look()
        parts = self._recorder.flip_in_parts(self._flipped_ns, end_ns, self._health)
        stopped: asyncio.CancelledError | None = None
        while True:
            try:
                next(parts)
            except StopIteration as done:
                self._hand_over(done.value)
                break
            if stopped is None and perf_counter_ns() - began_ns < _FOLD_NS:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError as error:
                    stopped = error
        if stopped is not None:
            raise stopped

    def _flip(self, end_ns: int) -> None:
        self._hand_over(self._recorder.flip(self._flipped_ns, end_ns, self._health))

    def _hand_over(self, delta: Delta) -> None:
        self._flipped_ns, self._last_seq = delta.end_ns, delta.seq
        self._totals += delta.counters
        self._recorded += sum(stats.n for stats in delta.stats)
        self._emit(delta)

    # -- what the self-check and the watches ask --------------------------------------------------

    def _health(self, lag_p99_ns: int | None, response_p99_ns: int) -> Health:
        return self._self_check.health(lag_p99_ns, response_p99_ns, self._recorder.take_notes())

    def _users(self) -> tuple[int, int, int]:
        pools = [lane.pool for lane in self._lanes]
        return sum(p.users for p in pools), sum(p.in_flight for p in pools), sum(p.waiting for p in pools)

    def _in_flight(self, now_ns: int) -> Iterator[tuple[int, int, int]]:
        """(index in the plan's journeys, due or ready time, think so far) of what runs or waits and is measured."""
        for lane in self._lanes:
            index = [self._journeys.index(name) for name in lane.journeys]
            for journey, start_ns, idle_ns in lane.pool.in_flight_since(now_ns):
                yield index[journey], start_ns, idle_ns

    def _oldest_ns(self) -> int:
        now_ns = perf_counter_ns()
        starts = [lane.pool.oldest_ns() for lane in self._lanes]
        return max((now_ns - start_ns for start_ns in starts if start_ns is not None), default=0)

    def _say_fault(self, text: str) -> None:
        """Each fault of the scenario once, without secrets, and no more than 20 kinds."""
        text = self.redactor.text(text)
        if text not in self._faults_said and len(self._faults_said) < _FAULTS_SAID:
            self._faults_said.add(text)
            self._recorder.note(text)

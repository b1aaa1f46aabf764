"""Drives one share of a plan in this process, both in a worker of a fleet and in a test run.

    drive = Drive(scenario, index=0, weights=[1.0], seed=7, emit=deltas.append)
    fin = await drive.run(perf_counter_ns() + 500_000_000)

Each interval a delta goes to `emit`; at the end `run` returns the totals of all deltas. Each load of the plan is driven
by a `LaneDrive` (`single_load_driver.py`), and `interval_deltas.py` makes the deltas. This module has the parts that
the loads share: recorder, users, self-check and drain. It does not depend on controllers, agents or the wire format.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

from loadgen.allowlist import Address, AllowList, CapShare, share_of_cap
from loadgen.clients.browser.reachable import check_plan as check_browsers
from loadgen.clients.grpc_schema.reflected import Reflected
from loadgen.clients.llm.model_facts import ModelFacts
from loadgen.clients.net.kernel_clock import kernel_clock
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.outcomes import generator_faults
from loadgen.clients.request.rate_cap import Cap
from loadgen.clients.request.tracing import Names
from loadgen.drive.garbage_collection import seldom_collected
from loadgen.drive.interval_deltas import IntervalDeltas
from loadgen.drive.raw_value_debug_file import RAW_VARIABLE, RawFile
from loadgen.drive.single_load_driver import LaneDrive, bind
from loadgen.drive.trace_parts import FINISH_S, trace_parts
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.secret import secret_values
from loadgen.dsl.users.exception_to_outcome import fault_text
from loadgen.dsl.users.leveled_life import LevelTags
from loadgen.dsl.users.library_clients import WorkerClients
from loadgen.dsl.users.pauses import Pauses
from loadgen.dsl.users.user import User, UserLoad
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.engine.health.selfcheck import SelfCheck
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.load.busy_wait import BusyWait, measured_ns
from loadgen.engine.load.clock import MonotonicClock
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.exemplars import kept_of_one
from loadgen.engine.recording.kept_streams import KeepLimits, StreamKeeper
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.stream_series import goodputs_of
from loadgen.engine.recording.tagging import Tagging
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS
from loadgen.measure.deltas.load_counts import Ending, LoadCounts
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.objectives.exported_goodput import exported_limits
from loadgen.profiles.profile import OpenProfile
from loadgen.profiles.stage import Stage
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S

__all__ = ["Drive", "Totals"]

RUN_STEP = "(run set-up)"
"""Name of the step for requests of a plan's set-up and tear-down. They happen outside of the load, so no delta has
them."""
_FAULTS_SAID = 20
"""Most kinds of errors in the scenario that are reported."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of all deltas of a share."""

    last_seq: int
    counters: Counters = field(default_factory=Counters)
    recorded: int = 0
    """Sum of all bucket counts."""
    start_skew_ns: int = 0
    """Time from T0 until the load really began."""
    ending: Ending = Ending.UNSAID
    """Why the load ended. UNSAID means a bug."""


_CLOSE_S: Final = 2.0
"""How long the libraries' clients of a worker may take to close at the end of a run."""


class _Stop(asyncio.Event):
    """The event that ends all starts, with its reason. The first reason is kept, and the event is never cleared.

    `is_set` also checks the lease, because a process that was frozen calls it before anything else. A lease that
    lapsed even for a moment ends the load for good. Otherwise the load could stop, and a later check would find a
    renewed lease and no reason.
    """

    def __init__(self, is_over: Callable[[], bool] | None) -> None:
        super().__init__()
        self._is_over = is_over
        self._is_ended = False
        self.ending = Ending.UNSAID

    def set(self) -> None:
        """Let no more iterations start. Use `end`, which stores the reason too."""
        self._is_ended = True
        super().set()

    def is_set(self) -> bool:
        """Whether no more iterations may start, because of `end` or because the lease is over.

        HOT, once per wake-up of a drive.
        """
        if self._is_ended:
            return True
        if self._is_over is None or not self._is_over():
            return False
        self.end(Ending.LEASE)
        return True

    def end(self, ending: Ending) -> None:
        """Let no more iterations start, and store this reason, or LEASE if the lease is over.

        An earlier reason is kept.
        """
        if self.ending is Ending.UNSAID:
            is_lapsed = self._is_over is not None and self._is_over()
            self.ending = Ending.LEASE if is_lapsed else ending
        self.set()


class Drive:
    """Drives one share of a plan, from T0 to the end of the drain. Create it within a running loop.

    Args:
        index, weights: index of this agent in `weights`, and the relative shares of all agents.
        worker, workers: number of this worker, and how many the agent has.
        seed: seed of the run.
        interval_ns: length of an interval.
        emit: receives each interval's delta; must not block. Agent, epoch and run are not filled in.
        shared: the value that the plan's set-up returned.
        region: region of the agent; an objective may be limited to some regions.
        marks: progress memory, which survives this process: the started iterations of each counted load.
        allow: the allow-list; None: the run has none. also: that of the agent itself, which must admit all, too.
        own: addresses and ports of the control plane, which are never targets.
        cap_per_s: limit on the requests/s of the whole fleet; None: no limit.
        tell: receives the counts of users at each rendez-vous after each change; `release` then releases them. None:
            this is the only share, and its users meet without a controller.
        run: id of the run, for headers of plans with tracing.
        is_over: returns whether the lease is over, called before each start. Then nothing more is started.
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
        also: AllowList | None = None,
        own: Iterable[tuple[Address, int]] = (),
        cap_per_s: float | None = None,
        run: str = "",
    ) -> None:
        self._plan = plan = scenario.plan
        self._journeys = tuple(one.name for one in plan.journeys)
        self.redactor = Redactor(lambda: secret_values().values())
        """Removes the scenario's secrets from texts that leave the worker."""
        raw = os.environ.get(RAW_VARIABLE)
        objectives = plan.watched
        self._watches = Watches(
            objectives,
            self._journeys,
            interval_ns,
            region,
            self._in_flight,
            loads=[lane.name for lane in plan.lanes],
            constants=[lane.tags for lane in plan.lanes],
            tags=plan.tag_specs,
        )
        names = Names(plan.name, run, region, tuple(lane.name for lane in plan.lanes))
        self._place = index, worker, workers
        guard_of_spans = TargetGuard(allow, own, also=also)  # of its own: the cap on requests/s is not for spans
        self._traces = traces = trace_parts(
            plan.trace,
            objectives,
            names,
            self._part_of_load(weights),
            guard_of_spans,
            self.redactor.text,
            None if plan.ca is None else str(plan.ca),
        )
        is_watching = any(one.window_ns for one in objectives)
        self._recorder = Recorder(
            raw=RawFile(Path(raw), region) if raw else None,
            watches=self._watches if is_watching else None,
            max_exemplars=min(kept_of_one(len(weights) * workers), MAX_EXEMPLARS // workers),
            redactor=self.redactor,
            tagging=Tagging(plan.tag_specs, is_strict=True),
            sampling=traces.sampling,
        )
        if plan.llm is not None and plan.llm.keep_streams:
            limits = KeepLimits.of_one(len(weights) * workers, workers)
            self._recorder.keeper = StreamKeeper(plan.llm.keep_streams, seed, limits)
        self._recorder.warmup_ns = plan.warmup_ns
        self._recorder.goodputs = goodputs_of(objectives)
        if plan.llm is not None:
            self._recorder.exported_limits = exported_limits(objectives, plan.llm.conventions)
        self._recorder.watches_streams = any(one.window_ns and (one.is_of_streams or one.limits) for one in objectives)
        for metric in scenario.metrics:
            metric.bind(self._recorder)
        self._agents = len(weights)
        self._cap: Cap | None = None
        self._cap_changes: list[tuple[int, tuple[float, ...]]] = []
        """Share changes that the cap has not got yet: (time after T0, ns; weights of the agents)."""
        guard = TargetGuard(allow, own, also=also)
        if any(entry.max_requests_per_s is not None for one in guard.lists for entry in one.allow):
            self._cap = Cap(
                self._share_of_cap(tuple(weights)), cap_per_s, refuses=WorkerTally.of(self._recorder).over_the_cap
            )
            guard = TargetGuard(allow, own, also=also, admitted=self._cap.admit)
        self.guards = (guard, guard_of_spans)
        """The guard of the target's connections, and that of the receiver of spans."""
        self.note = self._recorder.note
        """Adds a sentence to the notes of the run."""
        self._busy_wait = BusyWait(measured_ns(workers) if plan.busy_wait else 0)
        self._points = Points(tell, self._recorder.note, self.redactor.known)

        reads = StreamReads() if plan.llm is not None else None
        answers = AnswerReads() if plan.http.clock == "kernel" else None
        clock = None if reads is None and answers is None else kernel_clock(reads or StreamReads(), answers)
        self._kernel_clock = clock
        self._pauses = Pauses()
        self._worker_clients = WorkerClients()
        self._reflected = Reflected()

        def new_factory(ways: Ways) -> UserFactory:
            network = network_of(ways.http, self._recorder.note, guard, clock, answers)
            context = tls_context(plan.ca, ways.http)
            if ways.browsers:
                check_browsers(ways.http, plan.ca is not None, network)
            return UserFactory(
                ways,
                network,
                context,
                seed=seed,
                shared=shared,
                sleep=self._pauses.sleep,
                points=self._points,
                cap=self._cap,
                reads=reads,
                has_stamps=clock is not None,
                names=names,
                adaptive=traces.adaptive,
                export=traces.export,
                worker_clients=self._worker_clients,
                reflected=self._reflected,
                raw=network,
                raw_tls=partial(tls_context, plan.ca, ways.http, is_http=False),
                http2_tls=partial(tls_context, plan.ca, replace(ways.http, http2=True)),
            )

        self._user_factory = new_factory(plan.ways())
        self._user_factories = [
            self._user_factory if lane.connections is None and lane.http is None else new_factory(plan.ways_of(lane))
            for lane in plan.lanes
        ]
        """By load. Loads without connections or HTTP settings of their own share one."""
        tags = [self._recorder.merged((), lane.series_tags) for lane in plan.lanes]
        levels = [
            LevelTags(times, self._recorder, own) if (times := lane.level_times) is not None else None
            for lane, own in zip(plan.lanes, tags, strict=True)
        ]
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
                    self._user_factories[load].life,
                    self._recorder,
                    bind(plan, load),
                    fresh=isinstance(lane.profile, OpenProfile),
                    report=self._say_fault,
                    load=load,
                    tags=tags[load],
                    facts=UserLoad(lane.name, lane.settings),
                    levels=levels[load],
                ),
                levels=levels[load],
                points=self._points,
                warmup_ns=plan.warmup_ns,
                max_lateness_ns=plan.max_lateness_ns,
                busy_wait=self._busy_wait,
                preconnect=self._user_factories[load].preconnects,
            )
            for load, lane in enumerate(plan.lanes)
        ]
        self._self_check = SelfCheck(
            scenario.path.parent,
            self._users,
            own_faults=generator_faults,
            oldest_ns=self._oldest_ns,
            left_ns=self._busy_wait.take_spent_ns,
            starved=self._busy_wait.adapt,
            reads=reads,
            answers=answers,
        )
        self._stop = _Stop(is_over)
        self._recorder.take_loads = self._take_loads
        self._stop_now = asyncio.Event()
        self._draining: dict[LaneDrive, asyncio.Task[None]] = {}
        """The drains of loads that have one of their own and have ended."""
        self._faults_said: set[str] = set()
        self._deltas = IntervalDeltas(self._recorder, self._self_check, interval_ns, emit, self._next_start_ns)

    # -- what a run needs before and after ------------------------------------------------------

    @property
    def shared(self) -> Any:
        """The value that the plan's set-up returned, for all users of the fleet."""
        return self._user_factory.shared

    @shared.setter
    def shared(self, value: Any) -> None:
        model: ModelFacts | None = None
        if self._plan.llm is not None and isinstance(value, dict):  # from `set_up`
            model = ModelFacts(self._plan.llm).updated(value["llm"])
            value = value["shared"]
            if model.warning:
                self._recorder.note(model.warning)
        value = self._reflected.unwrap(value)
        for factory in (self._user_factory, *self._user_factories):
            factory.shared = value
            factory.model = model or factory.model

    async def set_up(self) -> Any:
        """Run the plan's set-up once, and return its value (None without a set-up).

        With an AI model it also finds out about the model, and the value contains both, as well as the gRPC services
        that the set-up has reflected. It does not store the value in `shared`; the setter of `shared` reads it.

        Raises:
            Exception: whatever the scenario's set-up raised.
        """
        if self._plan.llm is None:
            return self._reflected.wrap(await self._once(self._plan.set_up))
        model: dict[str, Any] = await self._once(self._user_factory.find_model)
        return {"llm": model, "shared": self._reflected.wrap(await self._once(self._plan.set_up))}

    async def tear_down(self) -> None:
        """Run the plan's tear-down once, if it has one.

        Raises:
            Exception: whatever the scenario's tear-down raised.
        """
        await self._once(self._plan.tear_down)

    async def _close_worker_clients(self) -> None:
        try:
            await asyncio.wait_for(self._worker_clients.close(), _CLOSE_S)
        except TimeoutError:
            self._recorder.note(
                f'a client with scope="worker" did not close within {_CLOSE_S:g} s; check its aclose() or close()'
            )
        except Exception as error:  # noqa: BLE001  # the run's results do not depend on it
            self._recorder.note(
                f'closing a client with scope="worker" failed: {fault_text(error)}; check its aclose() or close()'
            )

    async def _once(self, fn: Callable[[User], Awaitable[Any]] | None) -> Any:
        if fn is None:
            return None
        # A recorder of its own, because these requests are no part of the load (see RUN_STEP).
        user = self._user_factory.user(Recorder())
        user._meter.begin(RUN_STEP, warmup=False, pool_limited=False)
        try:
            return await fn(user)
        finally:
            user._meter.settle()
            await user.http.close()

    # -- the run --------------------------------------------------------------------------------

    def stop(self, *, now: bool = False, ending: Ending = Ending.STOPPED) -> None:
        """Start no more iterations, with `ending` as the reason; with `now`, also interrupt those in flight.

        The reason of the first call is kept.
        """
        self._stop.end(ending)
        self._points.end_all()
        if now:
            self._stop_now.set()

    def leave(self, at_ns: int) -> None:
        """Leave arrivals and users from `at_ns` after T0 on to other agents.

        Iterations that have started by then may end.
        """
        for lane in self._lanes:
            lane.leave(at_ns)

    def release(self, load: int, point: str, upto: int, at_ns: int) -> None:
        """Let the first `upto` users that ever arrived at a rendez-vous continue at `at_ns` (`perf_counter_ns`)."""
        self._points.release(load, point, upto, at_ns)

    def adjust(self, load: int, at_ns: int, stages: Sequence[Stage]) -> None:
        """Replace the curve of load `load` (index in the plan) from `at_ns` after T0 on by these stages.

        It may be called before `run`. Each change must be passed once and in order. A change after the load's end is
        ignored and noted in the report.
        """
        lane = self._lanes[load]
        if not lane.adjust(at_ns, stages):
            whose = f"load {lane.name}" if lane.name else "the load"
            self._recorder.note(f"a change of {whose} arrived after its end, and had no effect")

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> None:
        """Split all loads, and the limit on requests/s, by new weights of the agents from `at_ns` after T0 on.

        It may be called before `run`. Each change must be passed once and in order.

        Args:
            number: number of the share change within the run, from 1.
            weights: weights by agent index; 0 for lost agents. A change from before later agents joined has none for
                them: their weight was 0.
        """
        weights = (*weights, *[0.0] * (self._agents - len(weights)))
        for lane in self._lanes:
            lane.reassign(number, at_ns, weights)
        if (adaptive := self._traces.adaptive) is not None and (trace := self._plan.trace) is not None:
            adaptive.per_s = None if trace.per_s is None else trace.per_s * self._part_of_load(weights)
        if self._cap is not None:
            self._cap_changes.append((at_ns, weights))
            if self._recorder.t0_ns:
                self._reshare_cap(self._cap)

    def _reshare_cap(self, cap: Cap) -> None:
        """Pass the stored share changes to the cap on requests/s, so that it changes with the load.

        T0 must be known.
        """
        for at_ns, weights in self._cap_changes:
            cap.reshare(self._share_of_cap(weights), self._recorder.t0_ns + at_ns)
        self._cap_changes.clear()

    def _part_of_load(self, weights: Sequence[float]) -> float:
        """Return this worker's part of the load, 0 to 1."""
        index, _, workers = self._place
        return weights[index] / (sum(weights) or 1.0) / workers

    def _share_of_cap(self, weights: Sequence[float]) -> Callable[[float], CapShare]:
        index, worker, workers = self._place
        return lambda per_s: share_of_cap(per_s, weights, index, worker, workers)

    @property
    def busy_wait_ns(self) -> int:
        """The longest busy wait, as measured when this drive was created; 0: it never waits busily."""
        return self._busy_wait.most_ns

    @property
    def left_out(self) -> str:
        """Text that names the part of this share that a replacement process cannot continue, and why; else empty."""
        return "; ".join(dict.fromkeys(text for lane in self._lanes if (text := lane.left_out)))

    async def run(self, t0_ns: int, from_ns: int = 0, since_ns: int = 0) -> Totals:
        """Drive the share from T0 to its end, wait for iterations in flight, and return the totals.

        Args:
            t0_ns: T0 on `perf_counter_ns`.
            from_ns: time after T0 from which this process drives, because another one drove the share before; 0 for
                the whole load.
            since_ns: time after T0 since which the share belongs to this process. Arrivals that were due between
                then and `from_ns` count as missed.

        Raises:
            Exception: whatever `emit` or the folding raised; the load is then stopped at once.
        """
        self._recorder.t0_ns = self._watches.t0_ns = t0_ns
        if self._cap is not None:
            self._reshare_cap(self._cap)
        self._deltas.begin(from_ns)
        with seldom_collected():
            clock = MonotonicClock(t0_ns)
            self._self_check.start()
            if self._kernel_clock is not None:
                self._kernel_clock.start()
            intervals = asyncio.create_task(self._deltas.run(clock))
            intervals.add_done_callback(lambda _: self.stop(now=True))  # the task only ends by itself when it failed
            try:
                loads = [asyncio.create_task(self._run_lane(lane, t0_ns, from_ns, since_ns)) for lane in self._lanes]
                driving: list[asyncio.Task[None]] = list(await asyncio.gather(*loads))
                ending = self._ending
                await self._drain(driving, is_stopped=ending in (Ending.STOPPED, Ending.TIME_LIMIT), clock=clock)
            finally:
                intervals.cancel()
                for draining in self._draining.values():
                    draining.cancel()
                # A delta that has begun is finished, so the last one below contains only newer values.
                await asyncio.wait([intervals])
                self._self_check.stop()
                for lane in self._lanes:
                    await lane.close()
                await self._close_worker_clients()
                self._points.close()
                self._pauses.close()
                for factory in {self._user_factory, *self._user_factories}:
                    factory.close()
                if self._kernel_clock is not None:
                    self._kernel_clock.close()
                clock.close()
        if not intervals.cancelled():
            intervals.result()
        self._recorder.failures.finish()
        if self._recorder.keeper is not None:
            self._recorder.keeper.finish()
        if self._traces.export is not None and (text := await asyncio.to_thread(self._traces.export.finish, FINISH_S)):
            self._recorder.note(text)
        self._deltas.finish(clock)
        skew_ns = min(lane.start_skew_ns for lane in self._lanes)
        return Totals(self._deltas.last_seq, self._deltas.totals, self._deltas.recorded, skew_ns, ending)

    @property
    def _ending(self) -> Ending:
        """Why the load as a whole ended, from the reasons of all loads; UNSAID if one of them has none."""
        endings = {lane.ending for lane in self._lanes}
        if Ending.UNSAID in endings:
            return Ending.UNSAID
        if Ending.STOPPED in endings:
            return self._stop.ending
        return Ending.LEFT if Ending.LEFT in endings else Ending.DONE

    def _take_loads(self) -> tuple[LoadCounts, ...]:
        return tuple(counts for lane in self._lanes if not (counts := lane.take_counts()).is_empty)

    async def _drain(self, driving: Sequence[asyncio.Task[None]], *, is_stopped: bool, clock: MonotonicClock) -> None:
        """Wait until iterations in flight have ended, for at most the plan's drain time; then interrupt the rest.

        At the planned end, waiting arrivals may still start; after a stop they may not.

        Args:
            is_stopped: count unstarted arrivals that were due by now as missed. False after a lapsed lease, because
                another agent may have taken them over.
        """
        # Read before `end`, which sets the event at the planned end, too.
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
        rest = [self._drain_lane(lane, self._plan.drain_ns) for lane in self._lanes if lane not in self._draining]
        await asyncio.gather(*self._draining.values(), *rest)
        await asyncio.wait(driving, timeout=1.0)
        for task in driving:
            task.cancel()

    async def _run_lane(self, lane: LaneDrive, t0_ns: int, from_ns: int, since_ns: int) -> asyncio.Task[None]:
        """Drive a load to its end, and return the task that drives it. If it has a drain of its own, that begins."""
        driving = await lane.run(t0_ns, self._stop, from_ns, since_ns)
        if lane.drain_ns is not None:
            self._draining[lane] = asyncio.create_task(self._drain_lane(lane, lane.drain_ns))
        return driving

    async def _drain_lane(self, lane: LaneDrive, drain_ns: int) -> None:
        """Wait until a load's iterations in flight have ended, for at most `drain_ns`; then interrupt the rest."""
        waits = [asyncio.ensure_future(lane.pool.drained()), asyncio.ensure_future(self._stop_now.wait())]
        try:
            await asyncio.wait(waits, timeout=drain_ns / 1e9, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        lane.pool.cut_off()

    # -- values for the self-check and the objectives -----------------------------------------------

    def _next_start_ns(self) -> int:
        """Return when the next arrival is due in any load, on `perf_counter_ns`; 0 if no start loop waits for one."""
        now_ns = perf_counter_ns()
        return min((at_ns for lane in self._lanes if (at_ns := lane.next_start_ns) > now_ns), default=0)

    def _users(self) -> tuple[int, int, int]:
        pools = [lane.pool for lane in self._lanes]
        return sum(p.users for p in pools), sum(p.in_flight for p in pools), sum(p.waiting for p in pools)

    def _in_flight(self, now_ns: int) -> Iterator[tuple[int, int, int]]:
        """Yield (place, start, think time so far) of each iteration that runs or waits.

        The place is the load's index times the number of journeys, plus the journey's index in the plan. The start is
        the due time, or in a closed load the real start, on `perf_counter_ns`.
        """
        for load, lane in enumerate(self._lanes):
            first = load * len(self._journeys)
            index = [first + self._journeys.index(name) for name in lane.journeys]
            for journey, start_ns, idle_ns in lane.pool.in_flight_since(now_ns):
                yield index[journey], start_ns, idle_ns

    def _oldest_ns(self) -> int:
        now_ns = perf_counter_ns()
        starts = [lane.pool.oldest_ns() for lane in self._lanes]
        return max((now_ns - start_ns for start_ns in starts if start_ns is not None), default=0)

    def _say_fault(self, text: str) -> None:
        """Add an error in the scenario to the notes for the operator, without secrets.

        Each text appears once, at most 20.
        """
        text = self.redactor.text(text)
        if text not in self._faults_said and len(self._faults_said) < _FAULTS_SAID:
            self._faults_said.add(text)
            self._recorder.note(text)

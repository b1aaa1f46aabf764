"""Runs journeys once for real and records every request, for `loadgen check`.

It uses the same users, client, steps and outcomes as a run, but with a single user, short think times and no waiting
at a rendez-vous. For a graph, as many sessions run as are needed to visit every node.

An iteration of an earlier run can be repeated: its journey, row, random numbers and traits follow from the run's seed,
the load and the number of the arrival alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter_ns
from typing import Any, ClassVar

from loadgen.clients.browser.reachable import check_plan as check_browsers
from loadgen.clients.caching import answered_without_request
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.target_guard import OPEN, TargetGuard
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.phased import PhasedMeter, phases_of
from loadgen.clients.ws_client.exchanged import Said
from loadgen.drive.single_load_driver import bind
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.secret import secret_values
from loadgen.dsl.users.exception_to_outcome import fault_text, outcome_of, where_of
from loadgen.dsl.users.leaked_tasks import find_origins
from loadgen.dsl.users.user import User, UserLoad
from loadgen.dsl.users.user_factory import UserFactory
from loadgen.dsl.users.user_runner import BoundJourney, JourneyLife
from loadgen.engine.load.rendezvous import Ended, Points
from loadgen.engine.load.share import RandomMix, Share
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.engine.recording.recorded_series import Place
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_series import goodputs_of
from loadgen.engine.recording.tagging import Tagging
from loadgen.errors import UsageError
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.deltas.series_key import OK, SKIPPED, Phase
from loadgen.profiles.profile import UserProfile
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S, format_count, quantity

__all__ = ["LONGEST_THINK_S", "Rehearsed", "Seen", "Stepped", "rehearse", "rehearse_arrival"]

LONGEST_THINK_S = 0.1
"""Longest think time in a rehearsal; longer ones are cut to it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that was sent. Times in ns."""

    step: str | None
    name: str
    status: int | None
    """None: no response came."""
    outcome: str
    response_ns: int
    """From the call in the journey to the last byte."""
    service_ns: int
    """From the first byte written to the last byte; 0 if nothing was written."""
    size_bytes: int
    phases_ns: Mapping[Phase, int]
    """The phases that the request had, in order, with their times."""
    asked_ns: int = 0
    """The call in the journey, `perf_counter_ns`."""
    events: StreamEvents | None = None
    """The events of a model's streamed answer; None for other answers."""
    messages: Sequence[Said] = ()
    """The first messages of a WebSocket, both ways, without secrets."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One outermost step after its end. Times in s."""

    name: str
    requests: int
    response_s: float
    thought_s: float
    """Think time in the step that a real user would have taken."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The result of one journey, or of the plan's set-up or tear-down, whose names are in brackets."""

    journey: str
    outcome: str
    detail: str
    """The text of an error in the scenario, with file and line."""
    requests: tuple[Seen, ...]
    response_ns: int
    """Without think time."""
    thought_s: float = 0.0
    """Think time that a real user would have taken."""
    rendezvous: tuple[tuple[str, int], ...] = ()
    """The rendez-vous where a real user would have waited, and how many users meet there."""
    failures: tuple[Failure, ...] = ()
    """The failures in full, without secrets."""
    row: Any = None
    steps: tuple[Stepped, ...] = ()
    path: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks that a run would show in its report, such as a tag whose value looks like an id."""
    """For a graph: the nodes that the session was to visit."""

    @property
    def title(self) -> str:
        """Return the journey's name; for a graph also the visited nodes: "shop: browse, buy"."""
        return f"{self.journey}: {', '.join(self.path)}" if self.path else self.journey

    @property
    def has_passed(self) -> bool:
        """Return whether the journey succeeded, or skipped its iteration by `user.skip`."""
        return self.outcome in (OK, SKIPPED)


async def rehearse(scenario: Scenario, guard: TargetGuard = OPEN) -> AsyncGenerator[Rehearsed, None]:
    """Run the plan's set-up, each of its journeys once, and its tear-down; yield each result.

    Targets with gRPC calls are asked for their health before the tear-down. A failed set-up ends the rehearsal; a
    failed journey does not. guard: decides which addresses are allowed.
    """
    plan = scenario.plan
    stage = _Stage(scenario, plan.seed or 0, guard)
    try:
        for fn, name in stage.set_ups(plan):
            done = await stage.once(fn, name)
            yield done
            if not done.has_passed:
                return
        seen: set[str] = set()
        for load, lane in enumerate(plan.lanes):
            for journey, bound in enumerate(bind(plan, load)):
                if bound.name not in seen:
                    seen.add(bound.name)
                    for path, one in _sessions(lane.journeys[journey], bound):
                        done = await stage.iterate(one, load, Arrival(None, 0, journey, False))
                        yield replace(done, path=path)
        if (health := await stage.grpc_health()) is not None:
            yield health
        if plan.tear_down is not None:
            yield await stage.once(plan.tear_down, "(tear-down)")
    finally:
        await stage.close()


async def rehearse_arrival(scenario: Scenario, seed: int, load: int, n: int) -> AsyncIterator[Rehearsed]:
    """Repeat iteration `n` of a load of a run with this seed, between the plan's set-up and tear-down.

    load: index of the load in the plan.

    Raises:
        UsageError: the plan has no such load or arrival.
    """
    plan = scenario.plan
    arrival = _arrival(scenario, seed, load, n)
    stage = _Stage(scenario, seed)
    try:
        for fn, name in stage.set_ups(plan):
            done = await stage.once(fn, name)
            yield done
            if not done.has_passed:
                return
        bound = bind(plan, load)[arrival.journey]
        yield await stage.iterate(bound, load, arrival)
        if plan.tear_down is not None:
            yield await stage.once(plan.tear_down, "(tear-down)")
    finally:
        await stage.close()


def _sessions(journey: Journey[Any], bound: BoundJourney) -> Iterator[tuple[tuple[str, ...], BoundJourney]]:
    """Yield (nodes, journey to run).

    A journey is run as it is, without nodes; a graph in as many sessions as visit all of its nodes.
    """
    if not isinstance(journey, Graph):
        yield (), bound
        return
    for path, walk in journey.covering():
        yield path, replace(bound, fn=walk.session)


def _arrival(scenario: Scenario, seed: int, load: int, n: int) -> Arrival:
    lanes = scenario.plan.lanes
    if not 0 <= load < len(lanes):
        raise UsageError(f"the plan has no load {load}", hint=f"choose one of its {len(lanes)} loads, counted from 0")
    lane = lanes[load]
    if isinstance(lane.profile, UserProfile):
        user, i = n >> 32, n & 0xFFFFFFFF
        if not 0 <= user < lane.profile.peak:
            raise UsageError(
                f"the load has no user {user}",
                hint=f"for a closed load, write USER.I, such as 12.3; its users are 0 to {int(lane.profile.peak) - 1}",
            )
        share = Share.of(0, [1.0], lane.weights)
        journey = RandomMix(seed, load, lane.weights).journey(n) if lane.random else share.journey_of(user, i)
        return Arrival(None, n, journey, False, row=user)
    if n >= 1 << 32:
        hint = f"this is an open load: write the number of an arrival, below {format_count(lane.profile.total())}"
        raise UsageError(f"the load has no user {n >> 32}", hint=hint)
    if not 0 <= n < lane.profile.total():
        raise UsageError(
            f"the load has no arrival {format_count(n)}",
            hint=f"write a number from 0 to {format_count(lane.profile.total() - 1)}",
        )
    if lane.random:
        return Arrival(None, n, RandomMix(seed, load, lane.weights).journey(n), False)
    order = Share.of(0, [1.0], lane.weights).journeys
    return Arrival(None, n, int(order[n % len(order)]), False)


class _SeeingMeter(PhasedMeter):
    """A meter that also records the requests and the outermost steps that end."""

    __slots__ = ("_before",)
    keeps_messages: ClassVar[bool] = True
    seen: ClassVar[list[Seen]] = []
    steps: ClassVar[list[Stepped]] = []
    waits_s: ClassVar[list[float]] = []

    def enter(self, name: str) -> Place:
        outer = super().enter(name)
        if outer.step is None:
            self._before = len(self.seen), len(self.waits_s)
        return outer

    def leave(
        self,
        outer: Place,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        if outer.step is None:
            seen, waits = self._before
            thought_s = sum(self.waits_s[waits:])
            self.steps.append(Stepped(self.step or "", len(self.seen) - seen, response_ns / NS_PER_S, thought_s))
        super().leave(outer, response_ns, duration_ns, outcome, censored, entered_ns)

    def settle(self) -> None:
        held: Any = self._held
        super().settle()
        if held is not None:
            key = held.series.key
            self.seen.append(
                Seen(
                    key.step,
                    key.request or "",
                    # The reply has the stored status, but this is what the target sent.
                    304 if getattr(held, "cache", "") == "revalidated" else getattr(held, "status_code", None),
                    held.outcome,
                    held.done_ns - held.asked_ns,
                    held.done_ns - held.sent_ns if held.sent_ns else 0,
                    held.size_bytes,
                    {**held.opening_ns, **dict(phases_of(held))} if hasattr(held, "opening_ns") else {},
                    held.asked_ns,
                    held.stream_events() if hasattr(held, "stream_events") else None,
                    getattr(held, "first_messages", ()),
                )
            )


class _Alone(Points):
    """Rendez-vous points that let the only user pass at once, and record where it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, int], None] = {}

    async def wait(self, load: int, name: str, users: int, timeout_s: float) -> Ended:
        self.seen[name, users] = None
        return "met"


def _notes_of_cache(recorder: Recorder) -> Iterator[str]:
    if count := answered_without_request(recorder):
        were = "was" if count == 1 else "were"
        yield f"the user's cache answered {quantity(count, 'more request')}, which {were} not sent"


class _Stage:
    """The users of one plan, with a recorder that keeps every request."""

    def __init__(self, scenario: Scenario, seed: int, guard: TargetGuard = OPEN) -> None:
        plan = scenario.plan
        network, context = network_of(plan.http, guard=guard), tls_context(plan.ca, plan.http)
        ways = plan.ways()
        if ways.browsers:
            check_browsers(ways.http, plan.ca is not None, network)
        ways = replace(ways, http=replace(ways.http, phases=True))
        self._tags, self._lanes, self._goodputs = plan.tag_specs, plan.lanes, goodputs_of(plan.watched)
        self._points = _Alone()
        self._user_factory = UserFactory(
            ways,
            network,
            context,
            seed=seed,
            sleep=self._sleep,
            wait=asyncio.sleep,
            points=self._points,
            raw=network,
            raw_tls=partial(tls_context, plan.ca, plan.http, is_http=False),
            http2_tls=partial(tls_context, plan.ca, replace(plan.http, http2=True)),
        )
        self._seen: list[Seen] = []
        self._steps: list[Stepped] = []
        self._waits_s: list[float] = []
        """Think times that a real user would have taken."""
        mine = {"seen": self._seen, "steps": self._steps, "waits_s": self._waits_s}
        self._user_factory.meter_class = type("Meter", (_SeeingMeter,), {"__slots__": (), **mine})
        self._redactor = Redactor(lambda: secret_values().values())

    def set_ups(self, plan: Plan) -> Iterator[tuple[Any, str]]:
        """Yield (function, title) of what a run does once before its load: about the AI model, then the set-up."""
        if plan.llm is not None:
            yield self._user_factory.find_model, "(model)"
        if plan.set_up is not None:
            yield plan.set_up, "(set-up)"

    def _take_seen(self) -> tuple[Seen, ...]:
        seen = tuple(
            replace(one, messages=[(at, way, self._redactor.text(text)) for at, way, text in one.messages])
            if one.messages
            else one
            for one in self._seen
        )
        self._seen.clear()
        return seen

    def _take_steps(self) -> tuple[Stepped, ...]:
        steps = tuple(self._steps)
        self._steps.clear()
        return steps

    async def iterate(self, bound: BoundJourney, load: int, arrival: Arrival) -> Rehearsed:
        """Run one iteration of a journey against the target, and return its result."""
        reports: list[str] = []
        recorder = Recorder(redactor=self._redactor, tagging=Tagging(self._tags, is_strict=True))
        recorder.goodputs = self._goodputs
        self._waits_s.clear()
        self._points.seen.clear()
        life: JourneyLife = self._user_factory.life(
            recorder,
            [bound],
            fresh=False,
            report=reports.append,
            load=load,
            facts=UserLoad(self._lanes[load].name, self._lanes[load].settings),
        )
        alone = Arrival(None, arrival.n, 0, False, row=arrival.row)
        find_origins()
        began_ns = perf_counter_ns()
        await life.iterate(alone, pool_limited=False)
        outcome, took_ns, idle_ns = life.outcome, life.ended_ns - (life.begun_ns or began_ns), life.idle_ns
        faults, notes = recorder.counters.script_faults, len(reports)
        await life.close()
        has_torn_down = not any(text.startswith("tear-down of ") for text in reports[notes:])
        if outcome == OK and (recorder.counters.script_faults > faults or not has_torn_down):
            outcome = "tear-down failed"
        recorder.failures.finish()
        row = None if bound.row is None else bound.row(arrival.n if bound.each else arrival.person)
        return Rehearsed(
            bound.name,
            outcome,
            "; ".join(reports),
            self._take_seen(),
            max(0, took_ns - idle_ns),
            sum(self._waits_s),
            tuple((self._redactor.known(name), users) for name, users in self._points.seen),
            recorder.failures.take(began_ns, perf_counter_ns()),
            row,
            self._take_steps(),
            notes=(*recorder.take_notes(), *_notes_of_cache(recorder)),
        )

    async def close(self) -> None:
        """Close what the users of this stage share: clients with `scope="worker"`, and the browser."""
        await self._user_factory.worker_clients.close()

    async def grpc_health(self) -> Rehearsed | None:
        """Ask each target with gRPC channels whether it is ready; return None if there is none."""
        targets = sorted(self._user_factory.grpc_targets)
        if not targets:
            return None
        from loadgen.clients.grpc_client.health import health_of  # imports grpcio, which few scenarios need

        found: dict[str, str] = {}

        async def ask(user: User) -> None:
            for target in targets:
                found[target or "the target"] = await health_of(user.grpc_channel(target))

        done = await self.once(ask, "(gRPC health)")
        done = replace(done, notes=tuple(f"{name}: {status or 'no health service'}" for name, status in found.items()))
        bad = [f"{name} reports {status}" for name, status in found.items() if status not in ("", "SERVING")]
        return replace(done, outcome="failed", detail="; ".join(bad)) if bad and done.has_passed else done

    async def once(self, fn: Any, name: str) -> Rehearsed:
        """Run the set-up or the tear-down of the plan and return its result."""
        self._waits_s.clear()
        recorder = Recorder(redactor=self._redactor)
        user = self._user_factory.user(recorder)
        user._meter.begin(name, warmup=False, pool_limited=False)
        began_ns = perf_counter_ns()
        outcome, detail = OK, ""
        try:
            value = await fn(user)
            if name == "(set-up)":
                self._user_factory.shared = value
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the scenario's code may raise anything
            outcome, detail = "failed", fault_text(error)
            of_error = outcome_of(error)
            user._meter.end_iteration(of_error, detail, where_of(error))
        finally:
            user._meter.settle()
            await user.http.close()
        now_ns = perf_counter_ns()
        recorder.failures.finish()
        failures = recorder.failures.take(began_ns, now_ns)
        took_ns = now_ns - began_ns - user._idle_ns
        return Rehearsed(name, outcome, detail, self._take_seen(), took_ns, sum(self._waits_s), failures=failures)

    async def _sleep(self, wait_s: float) -> None:
        self._waits_s.append(wait_s)
        await asyncio.sleep(min(wait_s, LONGEST_THINK_S))

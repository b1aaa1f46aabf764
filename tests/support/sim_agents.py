"""Up to 1,000 agents in one process: made-up response times on the honest wire.

    async with swarm(address, load_agent(keys), {"sim.1": "a", "sim.2": "b"}, arrivals_of(rate, seconds)) as sims:
        await sims.finished()
    assert sims.wrongs(run_folder) == []

Each has a real `Link` with CURVE of its own, the real `lifecycle` that decides and real `UnacknowledgedDeltas`. It has
no workers. How many iterations it reports is the plan's: each second its own due arrivals, by `Deal`, as real agents
compute them (`PlannedLoads`). What they took is drawn from a few patterns. So each knows exactly what it has recorded,
by epoch, for one byte a delta. They behave, until they are told to freeze, die, or start again.

1,000 need 10,000 file descriptors and 2,000 (idle) threads: each has a context of ZeroMQ to itself, as real ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
from array import array
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final
from unittest import mock

import numpy as np

from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.load_counts import Ending, FirstArrival, LoadCounts
from loadgen.measure.deltas.series_key import MISSED
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.profiles.edits import is_pause
from loadgen.profiles.profile import ArrivalProfile
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import decode, decode_with_answer, encode, with_beat
from loadgen.wire.curve_keys import AgentKeys
from loadgen.wire.messages import (
    BEATS_MINOR,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
    Adjust,
    BundleChunk,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    Reassign,
    SetUp,
    SetUpDone,
    StartAt,
    Stop,
    TearDown,
    TornDown,
    Welcome,
)
from loadgen_agent.delivery.unacknowledged import UnacknowledgedDeltas
from loadgen_agent.supervisor import link
from loadgen_agent.supervisor.heartbeat_times import HeartbeatTimes
from loadgen_agent.supervisor.lifecycle import (
    Agent,
    BundleHere,
    CloseBooks,
    Effect,
    EndWorkers,
    Event,
    Exit,
    Fetch,
    Forget,
    Phase,
    SendAgain,
    StartWorkers,
    Tell,
    TellWorkers,
    Tick,
    TickState,
    step,
)
from loadgen_agent.supervisor.link import Link
from tests.support.deltas import FakeAgent, Values, journey_key, request_key
from tests.support.plan_book import Accounts, accounts_of, plan_book
from tests.support.wire import until

__all__ = ["Book", "PlannedLoads", "SimAgent", "Swarm", "swarm"]

_TICK_S: Final = 0.1
_COUNTS: Final = 32
"""A delta has fewer iterations than this; where more are due, a second is told in several deltas."""
_VARIANTS: Final = 8
"""Patterns of each count."""
_PATTERNS: Final = _COUNTS * _VARIANTS
"""One byte says which."""


def _pattern(which: int, missed: int = 0) -> Delta:
    """A well-formed delta: a request and its journey, as ids 0 and 1, and missed iterations of the journey, as id 2."""
    chance = random.Random(which)
    values = [round(chance.lognormvariate(3, 1) * NS_PER_MS) for _ in range(which // _VARIANTS)]
    agent = FakeAgent("sim")
    agent.ids = {key: n for n, key in enumerate(_KEYS)}
    series: Values = dict.fromkeys(_KEYS[:2], values)
    return agent.delta({**series, _KEYS[2]: [_MISSED_NS] * missed} if missed else series)


_KEYS: Final = (request_key("GET /sim"), journey_key(), journey_key(outcome=MISSED))
_MISSED_NS: Final = NS_PER_MS
"""How late each missed iteration is counted to be."""
PATTERNS: Final = [_pattern(which) for which in range(_PATTERNS)]
"""`_VARIANTS` with no iteration, with one, ..."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """The load after so many of its changes."""

    schedule: Schedule
    deal: Deal
    end_ns: int | None
    """None: it is paused for an unknown time."""
    first: FirstArrival | None = None
    """Where the last change begins, if it is one of shares."""


class PlannedLoads:
    """What the plan and its changes give each agent. Computed once for all agents, as they all come to the same."""

    def __init__(self, profile: ArrivalProfile) -> None:
        self.profile = profile
        self._states: list[_Planned] = []
        self._told: list[Adjust | Reassign] = []
        self.wrong: list[str] = []
        """Changes that two agents got differently."""
        self.counts = lru_cache(maxsize=256)(self._counts)
        self.gained = lru_cache(maxsize=256)(self._gained)

    def begin(self, weights: Sequence[float]) -> None:
        if not self._states:
            schedule = self.profile.schedule()
            self._states.append(_Planned(schedule, Deal(Share.of(0, weights, (1.0,))), schedule.end_ns))

    def change(self, message: Adjust | Reassign) -> None:
        """Its number is that of the state that it makes."""
        number = message.number
        if number < len(self._states):
            if self._told[number - 1] != message:
                self.wrong.append(
                    f"change {number} is {message} for one agent and {self._told[number - 1]} for another"
                )
            return
        before = self._states[-1]
        self._told.append(message)
        if isinstance(message, Adjust):
            schedule = before.schedule.replaced(max(0, message.at_ns), message.stages)
            end_ns = None if is_pause(message.stages) else schedule.end_ns
            self._states.append(_Planned(schedule, before.deal, end_ns))
            return
        at = before.schedule.count_at(max(0, message.at_ns))
        deal = before.deal.changed(Change(message.generation, at, message.weights))
        first = FirstArrival(0, message.generation, at)
        self._states.append(replace(before, deal=deal, first=first))

    def __getitem__(self, number: int) -> _Planned:
        return self._states[number]

    @property
    def last(self) -> _Planned:
        return self._states[-1]

    @property
    def agents(self) -> int:
        deal = self.last.deal
        return max(len(deal.share.weights), *(len(change.weights) for change in deal.changes), 0)

    def _counts(self, number: int, first: int, end: int) -> Counts:
        """How many of the fleet's arrivals [first, end) each agent has after `number` changes: (agents,)."""
        found = np.zeros(self.agents, dtype=np.int64)
        for at in range(first, end, _WALKED):
            owners = self[number].deal.owners(np.arange(at, min(end, at + _WALKED)))
            found += np.bincount(owners, minlength=len(found))
        return found

    def _gained(self, number: int, end: int) -> Counts:
        """How many arrivals before `end` each agent takes over with the change `number`: (agents,)."""
        after = self[number]
        first = after.first.n if after.first is not None else end
        if end <= first:
            return np.zeros(self.agents, dtype=np.int64)
        n = np.arange(first, end)
        owners = after.deal.owners(n)
        return np.bincount(owners[owners != self[number - 1].deal.owners(n)], minlength=self.agents)


_WALKED: Final = 1 << 16


@dataclass(slots=True)
class Book:
    """What one epoch of one agent recorded."""

    patterns: bytearray = field(default_factory=bytearray)
    """Of each delta that it made, which pattern."""
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    """And when it ended, from T0."""
    missed: dict[int, int] = field(default_factory=dict)
    """By delta, where it is not 0."""
    durable: int = 0
    """How many of them it was told are durable."""
    has_died: bool = False
    """What was not acknowledged may be lost."""

    def totals(self, deltas: int | None = None) -> tuple[int, int]:
        """(started, missed) of all deltas, or of the first so many."""
        some = self.patterns if deltas is None else self.patterns[:deltas]
        missed = sum(count for at, count in self.missed.items() if at < len(some))
        return int((np.frombuffer(some, np.uint8) // _VARIANTS).sum()), missed


class SimAgent:
    """One of a swarm. `heard` counts messages by their type's name."""

    def __init__(self, swarm: Swarm, agent: str, region: str, keys: AgentKeys, address: str) -> None:
        self.id, self.region, self.address = agent, region, address
        self.books: dict[int, Book] = {}
        self.heard: Counter[str] = Counter()
        self.stopped_ns: int | None = None
        """When it stopped its load, whoever told it to; of `perf_counter_ns`."""
        self.stop_reason = ""
        self.gave_up = False
        """It stopped by itself, since it heard nothing of the controller for longer than its lease."""
        self.is_dead = False
        self.is_endless = False
        """It measures on, whoever tells it to stop, and never says its last word."""
        self.reports: Callable[[int], int] = lambda own: own
        """A planted fault: how many of so many due arrivals it says that it has started."""
        self.finishes_ns: int | None = None
        """A planted fault: it is done so long after T0, whatever the plan says."""
        self._swarm, self._keys = swarm, keys
        self._chance = random.Random(f"{swarm.seed}/{agent}")
        self._frozen_until_ns = 0
        self._deltas: deque[bytes] = deque(maxlen=50)
        """The last that were sent, as they were."""
        self._begin()

    def _begin(self) -> None:
        now_ns = perf_counter_ns()
        self._agent = Agent()
        self._unacknowledged: UnacknowledgedDeltas | None = None
        self._t0_ns: int | None = None
        self._lease_ns = 8 * NS_PER_S
        self._hello_ns: int | None = now_ns
        self._beats = HeartbeatTimes(now_ns - round(self._chance.random() * NS_PER_S))
        self._adjusted = self._index = 0
        self._told_ns = self._told_n = 0
        """Up to when it has told, from T0, and up to which arrival of the fleet."""
        self._missed = 0
        """To be told with the next delta."""
        self._firsts: list[FirstArrival] = []
        self._ends: deque[tuple[int, int]] = deque()
        """(seq, when it ends) of deltas on their way."""
        self._link = Link(self.address, self._keys, self.id, self._on_message, self._say_hello)
        self._serving = asyncio.create_task(self._link.serve())

    # -- what it can be told ------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        return self._agent.phase

    @property
    def has_load(self) -> bool:
        return self._agent.phase is Phase.RUNNING

    @property
    def has_begun(self) -> bool:
        """It has load, or has had it: the first may have finished before the last begins."""
        return self.has_load or any(book.patterns for book in self.books.values())

    @property
    def is_frozen(self) -> bool:
        return perf_counter_ns() < self._frozen_until_ns

    def freeze(self, seconds: float) -> None:
        """As by SIGSTOP: it does nothing and reads nothing; its sockets live on."""
        self._frozen_until_ns = perf_counter_ns() + round(seconds * NS_PER_S)
        self._serving.cancel()

    def repeat_itself(self) -> int:
        """Send old deltas again, the newest first, then as those of another epoch; how many messages that were."""
        again = list(reversed(self._deltas))
        others = [replace(delta, epoch=delta.epoch + 1) for data in again if isinstance(delta := decode(data), Delta)]
        return sum(self._link.send_encoded(data) for data in (*again, *map(encode, others)))

    async def die(self) -> None:
        """As by SIGKILL: no word, and what was not acknowledged is gone."""
        self.is_dead = True
        if self._agent.epoch in self.books:
            self.books[self._agent.epoch].has_died = True
        await self.close()

    async def restart(self) -> None:
        """Another process under the same name: a new epoch, and nothing of the old one."""
        if not self.is_dead:
            await self.die()
        self.is_dead, self._frozen_until_ns = False, 0
        self.gave_up, self.stopped_ns, self.stop_reason = False, None, ""
        self._begin()

    async def close(self) -> None:
        self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        await asyncio.to_thread(self._link.close)

    # -- what comes in ------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if self.is_dead:
            return
        self.heard[type(message).__name__] += 1
        now_ns = perf_counter_ns()
        match message:
            case Ack(run_id, epoch, seq, interval_ns):
                if self._unacknowledged is not None and run_id == self._agent.run_id:
                    self._unacknowledged.ack(epoch, seq, now_ns)
                    self._unacknowledged.ask(interval_ns)
                    book, ends = self.books[self._agent.epoch], self._ends
                    while ends and ends[0][0] <= self._unacknowledged.acked:
                        book.durable = bisect_right(book.ends_ns, ends.popleft()[1])
                    self._pump()
            case Welcome(minor=minor):
                self._beats.may_ride = minor >= BEATS_MINOR
                self._hello_ns, self._lease_ns = None, round(message.lease_s * NS_PER_S)
                self._event(message)
            case BundleChunk():
                pass
            case _:
                self._event(message)  # type: ignore[arg-type]

    def _event(self, event: Event) -> None:
        self._agent, effects = step(self._agent, event)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendAgain():
                self._link.measure_clock()
                if self._unacknowledged is not None:
                    self._unacknowledged.send_again()
                    self._pump()
            case Fetch():
                self._event(BundleHere(""))
            case StartWorkers(prepare):
                self._get_ready(prepare)
            case Tell(message):
                self._send(message)
            case TellWorkers(message):
                self._told(message)
            case CloseBooks(fin, reason):
                self._t0_ns = None
                if self._unacknowledged is not None:
                    self._unacknowledged.close(fin, reason)
                    self._pump()
            case EndWorkers():
                self._t0_ns = None
            case Forget():
                self._unacknowledged = self._t0_ns = None
            case Exit():
                self._swarm.exits += 1

    def _get_ready(self, prepare: Prepare) -> None:
        self._unacknowledged, self._t0_ns = UnacknowledgedDeltas(prepare.run_id, self.id, self._agent.epoch), None
        self._adjusted, self._index = 0, prepare.index
        self._told_ns = self._told_n = self._missed = 0
        self._firsts.clear()
        self._swarm.plan.begin(prepare.weights)
        self._ends.clear()
        self.books[self._agent.epoch] = Book()
        self._event(Ready(prepare.run_id, prepare.generation, prepare.bundle_sha256, self._link.clock.error_ns))

    def _told(self, message: object) -> None:
        run_id = self._agent.run_id
        match message:
            case StartAt():
                self._start(message)
            case Stop(reason=reason):
                self._stop(reason)
            case Adjust(number=number) | Reassign(number=number) if number == self._adjusted + 1:
                self._change(message)
            case SetUp():
                self._event(SetUpDone(run_id, b"null"))
            case TearDown():
                self._event(TornDown(run_id))

    def _start(self, start: StartAt) -> None:
        """Arrivals that are ours since some time before we begin are missed."""
        schedule = self._swarm.plan[self._adjusted].schedule
        self._told_ns = start.from_ns // NS_PER_S * NS_PER_S
        self._told_n = schedule.count_at(start.from_ns) if start.from_ns else 0
        if start.since_ns:
            self._missed += self._own(schedule.count_at(start.since_ns), self._told_n)
        self._t0_ns = self._link.clock.to_own_ns(start.t0_ns)

    def _change(self, message: Adjust | Reassign) -> None:
        """Arrivals that we take over, and that others have been told of already, are missed."""
        plan = self._swarm.plan
        plan.change(message)
        self._adjusted = message.number
        if (first := plan[self._adjusted].first) is not None and isinstance(message, Reassign):
            self._firsts.append(first)
            if self._t0_ns is not None:
                self._missed += self._of(plan.gained(self._adjusted, self._told_n))

    def _own(self, first: int, end: int) -> int:
        """Arrivals of ours among the fleet's [first, end)."""
        return self._of(self._swarm.plan.counts(self._adjusted, first, end)) if first < end else 0

    def _of(self, by_agent: Counts) -> int:
        return int(by_agent[self._index]) if self._index < len(by_agent) else 0

    def _stop(self, reason: str) -> None:
        if self.stopped_ns is None:
            self.stopped_ns, self.stop_reason = perf_counter_ns(), reason
        if not self.gave_up and self._t0_ns is not None and not self.is_endless:
            self._tell_until(max(self._told_ns + 1, perf_counter_ns() - self._t0_ns))
        self._finish(Ending.LEASE if self.gave_up else Ending.STOPPED)

    def _finish(self, ending: Ending) -> None:
        """Its deltas say it all: no iteration of theirs is open."""
        if self.is_endless:
            return
        assert self._unacknowledged is not None
        self._t0_ns = None
        book = self.books[self._agent.epoch]
        started, missed = book.totals()
        totals = _counters(started, missed)
        recorded, last = 2 * started + missed, len(book.patterns) - 1
        fin = Fin(self._agent.run_id, self._agent.epoch, last, totals, recorded, ending=ending)
        self._event(fin)

    # -- what time brings ---------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        if self.is_dead or now_ns < self._frozen_until_ns:
            return
        if self._frozen_until_ns:
            self._frozen_until_ns = 0
            self._serving = asyncio.create_task(self._link.serve())
            return
        if self._hello_ns is not None:
            if now_ns - self._hello_ns > NS_PER_S:
                self._say_hello()
            return
        self._link.ping()
        if self._beats.is_due(now_ns):
            self._beats.sent(now_ns)
            self._send(self._beat(now_ns))
        if self._agent.phase.has_load:
            if now_ns - self._link.acked_ns > self._lease_ns:
                self.gave_up = True
                self._swarm.gave_up.add(self.id)
                self._event(Tick(now_ns, TickState(self._link.acked_ns, self._link.heard_ns)))
            self._measure(now_ns)
        self._pump()

    def _beat(self, now_ns: int) -> Heartbeat:
        book, phase = self._unacknowledged, self._agent.phase.value
        sent, acked = (-1, -1) if book is None else (book.sent, book.acked)
        return Heartbeat(self._agent.run_id, phase, sent, acked, adjusted=self._adjusted, sent_ns=now_ns)

    def _send_kept(self, data: bytes, now_ns: int) -> bool:
        """As an agent does: the heartbeat travels within the delta."""
        if rides := self._beats.rides(now_ns):
            data = with_beat(data, self._beat(now_ns))
        if not self._link.send_encoded(data):
            return False
        asked_ns = 0 if self._unacknowledged is None else self._unacknowledged.asked_ns
        self._beats.delta_sent(now_ns, with_beat=rides, every_ns=asked_ns)
        return True

    def _measure(self, now_ns: int) -> None:
        """The delta of each second that is over by now."""
        while self._t0_ns is not None and self._unacknowledged is not None:
            end_ns = self._told_ns + NS_PER_S
            last_ns = self._swarm.plan[self._adjusted].end_ns if self.finishes_ns is None else self.finishes_ns
            is_last = last_ns is not None and end_ns >= last_ns and not self.is_endless
            if now_ns < self._t0_ns + end_ns:
                return
            if is_last:
                self._firsts.append(FirstArrival(0, 0, self._swarm.plan[self._adjusted].schedule.total()))
            self._tell_until(end_ns)
            if is_last:
                self._finish(Ending.DONE)

    def _tell_until(self, end_ns: int) -> None:
        """Arrivals of ours that are due by then, and have not been told, in one delta; in two halves where too many."""
        schedule = self._swarm.plan[self._adjusted].schedule
        n = max(self._told_n, min(schedule.count_at(end_ns), schedule.total()))
        own = self._own(self._told_n, n)
        if own >= _COUNTS and end_ns - self._told_ns > 1:
            self._tell_until((self._told_ns + end_ns) // 2)
            self._tell_until(end_ns)
            return
        self._told_n, own = n, min(self.reports(own), _COUNTS - 1)
        self._keep(own * _VARIANTS + self._chance.randrange(_VARIANTS), end_ns)

    def _keep(self, which: int, end_ns: int) -> None:
        assert self._unacknowledged is not None
        book, started, missed = self.books[self._agent.epoch], which // _VARIANTS, self._missed
        delta = replace(
            _pattern(which, missed) if missed else PATTERNS[which],
            new_series=_KEYS if not book.patterns else (),
            start_ns=self._told_ns,
            end_ns=end_ns,
            counters=_counters(started, missed),
            loads=(LoadCounts(0, started, missed),) if started or missed else (),
            first_arrivals=tuple(self._firsts),
            health=Health(cpu_share=0.1, fds=10, fd_limit=1000, loop_lag_p99_us=100),
        )
        if missed:
            book.missed[len(book.patterns)] = missed
        book.patterns.append(which)
        book.ends_ns.append(end_ns)
        self._told_ns, self._missed = end_ns, 0
        self._firsts.clear()
        self._unacknowledged.keep(delta)

    def _pump(self) -> None:
        if self._unacknowledged is None or self._hello_ns is not None:
            return
        now_ns = perf_counter_ns()
        while (data := self._unacknowledged.next_due(now_ns)) is not None and self._send_kept(data, now_ns):
            self._unacknowledged.was_sent(now_ns)
            self._note_sent(data, self._unacknowledged.sent)

    def _note_sent(self, data: bytes, seq: int) -> None:
        """Which seconds a seq stands for is only known when it is sent: until then they may be joined."""
        last_seq = self._ends[-1][0] if self._ends else -1
        if seq <= last_seq:
            return
        delta = decode(data)
        if isinstance(delta, Delta) and delta.seq > last_seq:
            self._deltas.append(data)
            self._ends.append((delta.seq, delta.end_ns))

    def _say_hello(self) -> None:
        if self.is_dead:
            return
        self._hello_ns = perf_counter_ns()
        epoch = self._agent.epoch
        hello = Hello(self.id, self.region, PROTOCOL_MAJOR, PROTOCOL_MINOR, os.getpid(), "sim", 1, epoch=epoch)
        self._send(hello)

    def _send(self, message: Message) -> None:
        if not self._frozen_until_ns:
            self._link.send(message)


def _counters(started: int, missed: int) -> Counters:
    """What a recorder would have counted, where nothing fails and each iteration makes one request."""
    return Counters(
        requests_started=started,
        requests_finished=started,
        iterations_due=started + missed,
        iterations_started=started,
        iterations_finished=started,
        iterations_missed=missed,
    )


class Swarm:
    """Agents by id. Use `swarm`."""

    def __init__(self, profile: ArrivalProfile, seed: int) -> None:
        self.plan, self.seed = PlannedLoads(profile), seed
        self.agents: dict[str, SimAgent] = {}
        self.exits = 0
        self.gave_up: set[str] = set()
        """Agents that stopped by themselves, in any of their processes."""

    def join(self, agent: str, region: str, keys: AgentKeys, address: str) -> SimAgent:
        self.agents[agent] = SimAgent(self, agent, region, keys, address)
        return self.agents[agent]

    async def all_are(self, holds: Callable[[SimAgent], object], within_s: float) -> None:
        """Wait until it holds for each that is not dead."""
        agents = self.agents.values()
        try:
            await until(lambda: all(holds(agent) for agent in agents if not agent.is_dead), within_s)
        except TimeoutError as error:
            others = {agent.id: agent.phase.value for agent in agents if not agent.is_dead and not holds(agent)}
            raise TimeoutError(f"not within {within_s:g} s: {others}") from error

    async def running(self, within_s: float = 60) -> None:
        await self.all_are(lambda agent: agent.has_begun, within_s)

    async def tick_for_ever(self) -> None:
        while True:
            now_ns = perf_counter_ns()
            for agent in list(self.agents.values()):
                agent.tick(now_ns)
            await asyncio.sleep(_TICK_S)

    def wrongs(self, folder: Path, *, names_doubles: bool = False) -> list[str]:
        """G1, G3, G5: the run's log and summary against what each epoch of each agent recorded, bucket by bucket; and
        against the plan.

        Of an epoch that died: at least what was acknowledged, at most what was recorded.
        names_doubles: see `PlanBook.wrongs`.
        """
        books = {(agent.id, epoch): book for agent in self.agents.values() for epoch, book in agent.books.items()}
        run = RunDir.open(folder)
        accounts = _accounts(run)
        summary: Any = run.read_summary()
        by_plan = plan_book(folder, self.plan.profile).wrongs(accounts, summary, names_doubles=names_doubles)
        return [*_wrongs(run, books), *self.plan.wrong, *self._not_counted(accounts), *by_plan]

    def doubles(self, folder: Path) -> int:
        """Arrivals that an agent has started although the plan gives them to a late joiner; see `PlanBook.wrongs`."""
        return plan_book(folder, self.plan.profile).doubles(_accounts(RunDir.open(folder)))

    def _not_counted(self, accounts: Accounts) -> Iterator[str]:
        """Iterations that an agent recorded as started or missed, beside those in the log."""
        for agent in self.agents.values():
            here, books = accounts.get(agent.id, Counters()), agent.books.values()
            recorded = np.array([(0, 0), *(book.totals() for book in books)]).sum(axis=0).tolist()
            durable = [book.totals(book.durable if book.has_died else None) for book in books]
            at_least = np.array([(0, 0), *durable]).sum(axis=0).tolist()
            in_log = here.iterations_started, here.iterations_missed
            for what, least, count, most in zip(("started", "missed"), at_least, in_log, recorded, strict=True):
                if not least <= count <= most:
                    yield f"{agent.id}: {count:,} {what} in the log, {least:,} to {most:,} recorded"


_MISSED_INDEX: Final = np.frombuffer(_pattern(0, 1).index, "<u4")
_SLOTS: Final = np.unique(np.concatenate([_MISSED_INDEX, *(np.frombuffer(delta.index, "<u4") for delta in PATTERNS)]))
"""All that any delta has."""


def _vector(index: bytes, count: bytes) -> Counts:
    """Counts over `_SLOTS`. Raises ValueError for a slot that no pattern has."""
    at, found = np.frombuffer(index, "<u4"), np.zeros(len(_SLOTS), dtype=np.int64)
    places = np.searchsorted(_SLOTS, at)
    if len(at) and (places.max() >= len(_SLOTS) or not np.array_equal(_SLOTS[places], at)):
        raise ValueError("a bucket that nobody filled")
    found[places] = np.frombuffer(count, "<u4")
    return found


_VECTORS: Final = np.stack([_vector(delta.index, delta.count) for delta in PATTERNS])


def _sum_of(book: Book, deltas: int) -> Counts:
    """What the book's first so many deltas have, over `_SLOTS`."""
    found: Counts = np.bincount(np.frombuffer(book.patterns[:deltas], np.uint8), minlength=_PATTERNS) @ _VECTORS
    found[np.searchsorted(_SLOTS, _MISSED_INDEX)] += sum(count for at, count in book.missed.items() if at < deltas)
    return found


def _accounts(run: RunDir) -> Accounts:
    return accounts_of(delta for record in run.records() if isinstance(delta := decode(record), Delta))


def _wrongs(run: RunDir, books: Mapping[tuple[str, int], Book]) -> Iterator[str]:
    logged: dict[tuple[str, int], Counts] = {}
    following: Counter[tuple[str, int]] = Counter()
    finished = 0
    for record in run.records():
        delta = decode(record)
        assert isinstance(delta, Delta)
        life = delta.agent, delta.epoch
        if delta.seq != following[life]:
            yield f"{delta.agent}, epoch {delta.epoch}: seq {delta.seq} where {following[life]} comes"
        following[life] += 1
        finished += delta.counters.requests_finished
        try:
            logged[life] = logged.get(life, 0) + _vector(delta.index, delta.count)
        except ValueError as error:
            yield f"{delta.agent}, epoch {delta.epoch}, seq {delta.seq}: {error}"
    nothing = np.zeros(len(_SLOTS), dtype=np.int64)
    for agent, epoch in sorted(logged.keys() - books.keys()):
        yield f"{agent}, epoch {epoch}: in the log, and nobody has recorded it"
    for (agent, epoch), book in sorted(books.items()):
        here, recorded = logged.get((agent, epoch), nothing), _sum_of(book, len(book.patterns))
        at_least = _sum_of(book, book.durable) if book.has_died else recorded
        if (here < at_least).any() or (here > recorded).any():
            yield (
                f"{agent}, epoch {epoch}: {here.sum():,} values in the log, {recorded.sum():,} recorded, "
                f"{at_least.sum():,} of them must be there; {(here < at_least).sum()} buckets have less,"
                f" {(here > recorded).sum()} more"
            )
    requests: Any = run.read_summary()["requests"]
    if requests["finished"] != finished:
        yield f"{requests['finished']:,} finished requests in the summary, {finished:,} in the log"


def _read(data: bytes) -> tuple[Message, int]:
    """What all are told alike is read once: the shares of 1,000 are 8 kB, and in reality they have 1,000 cores."""
    return _read_once(data) if len(data) > 1_000 else decode_with_answer(data)


_read_once: Final = lru_cache(maxsize=8)(decode_with_answer)


@contextlib.asynccontextmanager
async def swarm(
    address: str,
    keys: AgentKeys,
    agents: Mapping[str, str],
    profile: ArrivalProfile,
    *,
    seed: int = 0,
) -> AsyncIterator[Swarm]:
    """Agents that join at once; all closed when the block is left. More may `join`.

    Args:
        keys: one that may speak for all of them.
        agents: region by id.
        profile: the load of the run's plan.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sims = Swarm(profile, seed)
    ticking = asyncio.create_task(sims.tick_for_ever())
    reading = mock.patch.object(link, "decode_with_answer", _read)
    reading.start()
    try:
        for agent, region in agents.items():
            sims.join(agent, region, keys, address)
        yield sims
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        reading.stop()
        await asyncio.gather(*(agent.close() for agent in sims.agents.values() if not agent.is_dead))

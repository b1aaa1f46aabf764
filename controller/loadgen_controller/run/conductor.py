"""Conducts one run: the shell around `run.step` that performs its effects.

It owns the merge and the run folder; the socket and the agents are the
station's, which it shares with other runs. Messages come in through `intake.py`,
time through a tick of 50 ms, and both only ever step the run; what the step asks
for is done here. It runs on one asyncio loop; only the disk is
worked on in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import BugError, ExitCode, FleetError, StorageError
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir, new_run_id
from loadgen.sinks import Outputs, RunName, Sight
from loadgen.units import NS_PER_S, format_count
from loadgen.wire.messages import (
    COUNTED_MINOR,
    GUARDED_MINOR,
    PROTOCOL_MAJOR,
    SIGNED_MINOR,
    Bye,
    Heartbeat,
    Message,
    Prepare,
    SetUp,
    Steered,
    Stop,
    TearDown,
    Waiting,
)
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.core.adjustments import Adjustment, LoadChange, lanes_of
from loadgen_controller.core.event_replay import BEGUN, HAPPENED, begun, happened
from loadgen_controller.core.events import (
    Adjusted,
    AgentJoined,
    AgentLeaving,
    AgentLost,
    AgentRefused,
    AgentReturned,
    Effect,
    Event,
    FinReceived,
    Reason,
    Reassign,
    Resumed,
    SendPrepare,
    SendSetUp,
    SendStart,
    SendStop,
    SendTearDown,
    SetUpEnded,
    StopRequested,
    StorageFailed,
    TakeIn,
    Tick,
    WindUp,
)
from loadgen_controller.core.lifecycle import Phase, Run, step
from loadgen_controller.core.order import Order
from loadgen_controller.core.rejected_input import Troubles
from loadgen_controller.core.report_interval import Pacing
from loadgen_controller.core.run_record import RunRecord
from loadgen_controller.core.shares import assign, candidates, with_agent
from loadgen_controller.core.steering import as_rows
from loadgen_controller.judging.error_fuse import FuseWatch
from loadgen_controller.judging.plan_due import Basis
from loadgen_controller.judging.plan_watch import PlanWatch
from loadgen_controller.judging.slo_abort import Aborts
from loadgen_controller.judging.verdict import Verdict, too_many_script_faults
from loadgen_controller.planning.target_guard import places_of
from loadgen_controller.run.checkpointer import Checkpointer
from loadgen_controller.run.failure_files import FailureFolder
from loadgen_controller.run.finish import Sealed, facts_of, manifest, seal
from loadgen_controller.run.intake import Intake
from loadgen_controller.run.journal import Journal, Place
from loadgen_controller.run.load_control import LoadControl
from loadgen_controller.run.recovery import Restored, boot_id, forget_shared, keep_shared, row_of
from loadgen_controller.run.rendezvous_shell import Meeting
from loadgen_controller.run.roster import roster
from loadgen_controller.run.view import SteeringView, ViewState, title

__all__ = ["Conductor", "NoHosts", "Processes", "Result"]

log = logging.getLogger(__name__)

_TICK_S = 0.05
_GRACE_NS = 15 * NS_PER_S
"""For agents to find their way back to a controller that was started anew: they try each 5 s at the latest."""
_BYE_S = 0.1
"""How long the last messages may take to be with the kernel."""
_HANDOVER_S = 2.0
"""How long agent processes of ours may take to hear Bye and leave."""


@dataclass(frozen=True, slots=True)
class Result:
    """What `loadgen run` ends with."""

    exit_code: ExitCode
    summary: dict[str, object]
    """As in summary.json, also where that could not be written."""
    run_dir: Path
    verdict: Verdict


class Processes(Protocol):
    """Agent processes that this controller starts itself."""

    @property
    def expected(self) -> Mapping[str, str]:
        """Region by agent id."""

    def start(self, address: str, logs: Path) -> None: ...

    def exited(self) -> Mapping[str, str]:
        """Those that have ended since the last call, and how."""

    async def end(self, patience_s: float) -> None:
        """Returns when none runs any more: those that do not leave within `patience_s` are ended."""


class NoHosts:
    """Agents were started elsewhere."""

    expected: Mapping[str, str] = {}

    def start(self, address: str, logs: Path) -> None:
        pass

    def exited(self) -> Mapping[str, str]:
        return {}

    async def end(self, patience_s: float) -> None:
        pass


class Conductor:
    """One run, from its first agent to its sealed folder. Make it within the running loop.

    Raises:
        StorageError: no folder for the run.
    """

    def __init__(
        self,
        order: Order,
        hub: AgentHub,
        *,
        runs_dir: Path,
        processes: Processes | None = None,
        by: str = "",
        restored: Restored | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        """
        Args:
            by: who wants it, for the manifest.
            outputs: where its figures are told while it goes on.
            restored: the run as it stands in its folder, to be taken up; `order` is its own then.
        """
        self._order, self._hub = order, hub
        self._clock, self._fleet = hub.clock, hub.fleet
        self._processes: Processes = processes or NoHosts()
        self._by, self._restored = by, restored
        self._created_at = self._started_at = datetime.now(UTC)
        if restored is None:
            self._folder = RunDir.create(runs_dir, new_run_id(self._created_at, Path(order.scenario).stem))
            self._merge, self._record = Merge(order.spec.interval_ns), RunRecord(self._folder.run_id)
            self._merge.kept = []
        else:
            self._created_at, self._started_at = restored.created_at, restored.started_at
            self._folder, self._record = restored.folder, restored.record
            self._merge = Merge(order.spec.interval_ns)  # until the log is merged
        self._journal = Journal(self._folder, self._on_durable, self._on_storage_failing, self._on_storage_mended)
        self._troubles = Troubles(self._on_trouble, self._clock)
        self._failures = FailureFolder(self._folder.path / "failures", self._record.notice)
        self._intake = self._new_intake()
        self._checkpointer = self._new_keeper()
        if restored is None:
            self._run = Run.begin(order.terms(), self._clock())
            self._journal.event(BEGUN, **begun(self._run))
        else:
            self._run = restored.run
        spec = order.spec
        journeys = [journey.name for journey in spec.journeys]
        self._aborts = Aborts(spec.slos, journeys, spec.warmup_ns, spec.duration_ns)
        self._fuse = FuseWatch(order.has_fuse)
        self._pacing = Pacing(spec.interval_ns)
        self._plan_watch = PlanWatch(lanes_of(spec))
        known = () if restored is None else (restored.adjustments, restored.steered_loads)
        name = RunName(self.run_id, title(spec), order.placement)
        self._outputs = (outputs or Outputs()).of_run(name, self._sight, self._record.notice)
        self._load_control = LoadControl(self, self._record, self._fleet, self._journal, self._clock, *known)
        meetings = None if restored is None else restored.rendezvous
        self._meeting = Meeting(self, self._record, self._journal, self._clock, meetings)
        self._aborts.until(self.end_ns)
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        """What was raised while the station handed something in."""
        self._members: tuple[tuple[str, ...], frozenset[str]] = (), frozenset()
        """`run.members`, as they are and to look one up."""
        self._is_deaf = False
        """Nothing more is taken in: the folder is being sealed."""
        self._bug = ""

    def _new_intake(self) -> Intake:
        return Intake(
            self,
            self._order,
            self._record,
            self._fleet,
            self._merge,
            self._journal,
            self._troubles,
            self._clock,
            self._failures.write,
        )

    def _new_keeper(self, merged_end: int = 0) -> Checkpointer:
        state, settled = self._failures.state, self._failures.settled
        return Checkpointer(self._folder, self._merge, merged_end, extra=state, settled=settled)

    # -- for the command line -------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def run_dir(self) -> Path:
        return self._folder.path

    @property
    def started_at(self) -> datetime:
        """T0; before it is known, when the run was made."""
        return self._started_at

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What was asked of the load so far."""
        return self._load_control.adjustments.made

    @property
    def troubles(self) -> Mapping[str, int]:
        """What came in and was no use, by kind."""
        return self._troubles.counts

    async def conduct(self) -> Result:
        """The whole run. Ends with a result, whatever happens; only a cancellation passes through."""
        writing = asyncio.create_task(self._journal.serve(), name="journal")
        patience_s = 0.0
        try:
            try:
                if self._restored is None:
                    self._open()
                else:
                    await self._take_up(self._restored)
                self._checkpointer.begin()
                self._outputs.begin()
                await self._until_done(writing)
            except StorageError as error:
                self._on_storage_failed(error)
            except FleetError as error:
                self._tell_quietly(StopRequested(error.message, now=True, reason=Reason.TOO_FEW_AGENTS))
            except Exception as error:  # the last border: what was measured must be sealed all the same
                log.exception("the conductor failed")
                self._bug = error.message if isinstance(error, BugError) else f"{type(error).__name__}: {error}"
            writing.cancel()
            self._is_deaf = self._run.phase is not Phase.DONE  # else it would go on to merge while the folder is sealed
            result = await self._wind_up()
            patience_s = _HANDOVER_S
            return result
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._outputs.cancel()
            await self._checkpointer.end()
            self._hub.leave(self)
            await self._processes.end(patience_s)
            self._folder.close()

    def request_stop(self, reason: str, now: bool = False) -> None:
        """End the run early: let iterations finish, or with `now` cut them off. Safe to call again."""
        self._tell_quietly(StopRequested(reason, now))

    def kill(self, reason: str) -> None:
        """Nothing more is sent: agents end workers that do not stop within a moment. Safe to call again."""
        self._tell_quietly(StopRequested(reason, now=True, reason=Reason.KILLED))

    def adjust(self, wish: LoadChange) -> tuple[Adjustment, ...]:
        """Change the load as it goes on; what was made of the wish, for each load that it holds for.

        All agents are told in good time. Nothing is changed where it raises.

        Raises:
            UsageError: it makes no sense now.
            FleetError: an agent is too old to be told.
        """
        self._step(Tick(self._clock(), is_turn=False))
        return self._load_control.adjust(wish)

    @property
    def end_ns(self) -> int | None:
        """When the load ends, from T0, as things stand; None while that is not known."""
        return self._load_control.adjustments.end_ns

    def due_before(self, at_ns: int) -> int | None:
        """How many iterations are due before `at_ns` after T0 as things stand; None where a load is not open."""
        return self._load_control.adjustments.due_before(at_ns)

    def view(self) -> ViewState:
        run, books, driving = self._run, self._record, self._load_control
        shares = books.assignment.agents if books.assignment is not None else ()
        ours = ("", self.run_id)  # and not those that work for another run
        sharing = frozenset(shares)
        members = {m.id: m for m in self._fleet if m.id in sharing or self._hub.claimant(m.id) in ours}
        now_ns, ends = self._clock(), run.ends
        return ViewState(
            run_id=self.run_id,
            phase=run.phase,
            clock_ns=0 if run.t0_ns is None else now_ns - run.t0_ns,
            spec=driving.spec,
            merge=self._merge,
            agents=tuple(roster(run, members, shares, self._processes.expected, books.lost, now_ns)),
            agents_wanted=self._order.agents,
            is_embedded=self._order.placement == "embedded",
            run_dir=self._folder.path,
            notices=(*books.notices, *driving.changes),
            stop_reason=ends[-1].detail if ends else "",
            is_paused=driving.is_paused,
            steering=tuple(
                SteeringView(
                    steered.name,
                    steered.steering.executor,
                    steered.rate_per_s,
                    steered.why,
                    steered.trouble,
                    steered.is_over,
                )
                for steered in driving.steered_loads.steered_loads
            ),
            points=self._meeting.points(),
        )

    def _sight(self) -> Sight:
        """For live outputs."""
        run = self._run
        return Sight(
            merge=self._merge,
            live=[agent for agent in run.live if agent not in run.fins],
            clock_ns=None if run.t0_ns is None else self._clock() - run.t0_ns,
            started_ns=round(self._started_at.timestamp() * NS_PER_S),
        )

    def notice(self, text: str) -> None:
        """For the person who watches, once."""
        self._record.notice(text)

    # -- for the station --------------------------------------------------------------------------

    def take(self, agent: str, data: bytes, message: Message) -> None:
        if not self._is_deaf:
            self._intake.take(agent, data, message)

    def trouble(self, kind: str, text: str) -> None:
        self._troubles.add(kind, text)

    def bad(self, agent: str, kind: str, text: str) -> None:
        self._hub.bad(agent, kind, text)

    def decided(self, kind: str, text: str, **fields: object) -> None:
        self._journal.event(kind, **fields)
        self._record.notice(text)

    def fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._wake.set()

    # -- for the intake, and for what is driven ----------------------------------------------------

    @property
    def run(self) -> Run:
        return self._run

    @property
    def order(self) -> Order:
        return self._order

    def tell(self, event: Event) -> None:
        """Step the run and do what that asks for. Raises IllegalTransition."""
        if isinstance(event, AgentJoined) and self._is_unguarded(event.agent):
            return
        self._flush()
        self._step(Tick(self._clock(), is_turn=False))
        before = self._run
        self._step(event)
        if (self._run.vacant, self._run.arrived) != (before.vacant, before.arrived):
            self._wake.set()

    def _is_unguarded(self, agent: str) -> bool:
        """It is too old for the allow-list or the signature that holds for this run."""
        member = self._fleet.get(agent)
        if member is None:
            return False
        needed = [(GUARDED_MINOR, "allow-lists")] if self._order.allow is not None else []
        needed += [(SIGNED_MINOR, "signed runs")] if self._order.signature else []
        for minor, what in needed:
            if member.minor < minor:
                self._record.notice(
                    f"agent {agent} takes no part: it speaks protocol {PROTOCOL_MAJOR}.{member.minor}, and {what} came"
                    f" with {PROTOCOL_MAJOR}.{minor}; run the same version of loadgen on every agent"
                )
                return True
        return False

    def flush_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Whatever came in is merged."""
        if self._is_deaf:
            return
        try:
            self._intake.flush()
        except Exception as error:  # noqa: BLE001  the loop would only log it; the run ends with it
            self.fail(error)

    def send(self, identity: bytes, message: Message) -> bool:
        return self._hub.send(identity, message)

    def greeted(self, agent: str) -> None:
        """After a lost connection what was sent last may be lost too."""
        if self._run.phase is Phase.PREPARING and agent not in self._run.ready:
            self.say(agent, self._prepare_of(agent))

    def beating(self, agent: str, beat: Heartbeat) -> None:
        """Whatever it should have heard of and has not, it hears again. Agents ignore repetitions."""
        run, phase = self._run, beat.phase
        if phase in ("idle", "ready") and agent in run.joining:
            self.say(agent, self._prepare_of(agent))
        if not self._is_live(agent) or agent in run.joining or agent in run.arrived:
            return
        self._load_control.beating(agent, phase, beat.adjusted)
        if beat.leaves_ns > 0 and run.phase.has_load and not run.ends and agent in run.drivers:
            self.tell(AgentLeaving(agent, beat.leaves_ns))
        elif phase == "idle" and run.phase is Phase.PREPARING:
            self.say(agent, self._prepare_of(agent))
        elif phase == "stopping" and run.phase is Phase.RUNNING and not run.ends and agent in run.drivers:
            self.tell(AgentLeaving(agent))
        elif phase == "running" and (run.phase is Phase.FINISHING or (run.phase is Phase.DRAINING and run.ends)):
            text = run.ends[-1].detail if run.ends else "the run is over"
            self.say(agent, self._stop_of(text, run.phase is Phase.FINISHING))

    def _is_live(self, agent: str) -> bool:
        """As `agent in run.live`, which takes as long as there are agents: too long for each heartbeat of each."""
        if self._members[0] is not self._run.members:
            self._members = self._run.members, frozenset(self._run.members)
        return agent in self._members[1] and agent not in self._run.lost

    def is_back(self, agent: str) -> None:
        self._meeting.back(agent)
        self._record.notices.append(f"agent {agent} is back, as another process")

    def steered(self, agent: str, steered: Steered) -> None:
        self._load_control.steered(agent, steered)

    def waiting(self, agent: str, waiting: Waiting) -> None:
        self._meeting.report(agent, waiting)

    # -- the run ----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder.write_bundle(self._order.bundle)
        self.write_manifest()
        address = self._hub.address
        self._journal.event("listening", address=address, agents=self._order.agents)
        logs = self._folder.path / "agents"
        self._processes.start(address, logs)
        self._hub.enter(self)

    async def _take_up(self, restored: Restored) -> None:
        """Go on where the folder says that it stood: agents come back by themselves, with all that was not durable.

        While the log is merged their heartbeats are answered, so their leases last; what else they say they say again.
        """
        phase, away_s = self._run.phase.value, restored.away_s
        self._journal.event("taken up", phase=phase, away_s=round(away_s, 3), cut_bytes=self._folder.cut_bytes)
        self._record.notice(f"the controller was started anew; it was away for {away_s:.1f} s")
        self._is_deaf = True
        ours = [agent for agent, epoch in self._record.epochs.items() if self._is_of(agent, epoch)]
        self._hub.claim(self, ours)
        self._hub.enter(self)
        merged = await asyncio.to_thread(restored.merged)
        self._merge = merged.merge
        if merged.extra:
            self._failures.take_state(merged.extra)
        self._checkpointer = self._new_keeper(merged.merged_end)
        for agent, epoch in self._record.epochs.items():
            for one in (epoch, *(former.epoch for former in self._record.former.get(agent, ()))):
                self._record.durable[agent, one] = self._merge.next_seq(agent, one) - 1
        for agent, region, failures in merged.failures:
            self._failures.write(agent, region, failures)
        self._intake = self._new_intake()
        self._is_deaf = False
        now_ns = self._clock()
        self._step(Resumed(now_ns + _GRACE_NS))
        self._load_control.reassign_moved()
        self._step(Tick(now_ns))
        for agent in (*self._run.lost, *self._run.fins):
            self._meeting.gone(agent)
        if why := restored.hopeless:
            self.tell(StopRequested(why, now=self._run.t0_ns is None))

    def _is_of(self, agent: str, epoch: int) -> bool:
        member = self._fleet.get(agent)
        return member is not None and member.epoch == epoch

    async def _until_done(self, writing: asyncio.Task[None]) -> None:
        while self._run.phase is not Phase.DONE:
            self._hub.check()
            if self._failure is not None:
                raise self._failure
            self._checkpointer.check()
            if writing.done():
                writing.result()
                raise BugError("the journal ended before the run")
            self._tick()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)

    def _tick(self) -> None:
        now_ns = self._clock()
        self._step(Tick(now_ns))
        for agent, how in self._processes.exited().items():
            self._hub.lose(agent, how)
            if self._run.phase is Phase.WAITING:  # it will not come any more
                text = f"agent {agent} did not start: {how}"
                self.tell(StopRequested(text, now=True, reason=Reason.TOO_FEW_AGENTS))
        if self._run.phase.has_load and not self._load_control.steered_loads:  # a steered load asks for each interval
            self._pace(now_ns)
        if self._run.phase.has_load:
            self._meeting.tick(now_ns)
        if self._run.phase in (Phase.STARTING, Phase.RUNNING) and (why := too_many_script_faults(self._merge)):
            self.tell(StopRequested(why, reason=Reason.SCRIPT_FAULTS))
        run = self._run
        if run.phase is Phase.RUNNING and run.t0_ns is not None:
            done = run.merged | run.fins
            if why := self._aborts.check(self._merge, self._record.assignment, run.live, done, now_ns - run.t0_ns):
                self.tell(StopRequested(why, reason=Reason.SLO_BREACHED))
            if blown := self._fuse.check(self._merge, run.live, done, now_ns - run.t0_ns):
                self.tell(StopRequested(blown.text, now=True, reason=blown.reason))
            self._load_control.look(self._merge)
            self._load_control.let_in()
            if (assignment := self._record.assignment) is not None:
                live = frozenset(run.live) - done
                since_t0_ns = now_ns - run.t0_ns
                told = self._load_control.adjustments.told
                for text in self._plan_watch.look(self._merge, assignment, told, live, since_t0_ns):
                    self._journal.event("off plan", text=text)
                    self._record.notice(text)

    def _pace(self, now_ns: int) -> None:
        if why := self._pacing.look(now_ns, time.process_time_ns(), round(self._journal.late_s * NS_PER_S)):
            self._record.asked_ns = asked_ns = self._pacing.asked_ns
            interval_s = (asked_ns or self._load_control.spec.interval_ns) / NS_PER_S
            self._record.notice(f"agents are asked for one report each {interval_s:g} s: {why}")
            self._journal.event("interval asked", interval_s=interval_s, why=why)

    def _step(self, event: Event) -> None:
        before = self._run
        self._run, effects = step(before, event)
        if (line := happened(before, event, self._run)) is not None:
            self._journal.event(HAPPENED, **line)
        self._note(event)
        if self._run.phase is not before.phase:
            self._journal.event("phase", was=before.phase.value, phase=self._run.phase.value)
            self._wake.set()
        for end in self._run.ends[len(before.ends) :]:
            self._journal.event("end", end=end)
        for effect in effects:
            self._perform(effect)

    def _note(self, event: Event) -> None:
        match event:
            case AgentLost(agent, text) | AgentRefused(agent, text):
                self._record.lost[agent] = text
                if agent in self._run.lost:
                    self._record.notices.append(f"agent {agent} is lost: {text}")
                    self._meeting.gone(agent)
            case FinReceived(agent):
                self._meeting.gone(agent)
            case Adjusted(duration_ns):
                self._aborts.until(duration_ns)
            case SetUpEnded():
                keep_shared(self._folder, self._record.shared_json)
            case AgentJoined(agent, region) if region not in self._order.spec.regions:
                self._record.notice(f"agent {agent} takes no part: the plan has no load in {region}")
            case AgentReturned(agent):
                self._meeting.back(agent)
                self._record.lost.pop(agent, None)
                self._record.notices.append(f"agent {agent} is back")

    def _perform(self, effect: Effect) -> None:
        run_id = self.run_id
        match effect:
            case SendPrepare(agents):
                self._assign(agents)
                for agent in agents:
                    self.say(agent, self._prepare_of(agent))
            case SendSetUp(agent):
                self.say(agent, SetUp(run_id))
            case SendStart(agents, t0_ns):
                self._started_at = datetime.fromtimestamp(time.time() + (t0_ns - self._clock()) / NS_PER_S, UTC)
                for agent in agents:
                    self._load_control.say_start(agent, t0_ns)
            case TakeIn(agents, drivers):
                self._load_control.take_in(agents, drivers)
            case Reassign(agents, drivers, at_ns):
                self._load_control.reassign(agents, drivers, at_ns)
            case SendStop(agents, text, now):
                self._load_ends()
                for agent in agents:
                    self.say(agent, self._stop_of(text, now))
            case SendTearDown(agent):
                self.say(agent, TearDown(run_id, self._record.shared_json))
            case WindUp():
                self._wake.set()

    def _assign(self, agents: tuple[str, ...]) -> None:
        books = self._record
        self._hub.claim(self, agents)
        members = [member for member in self._fleet if member.id in agents]
        if books.assignment is not None:  # the run goes on already
            for member in members:
                if member.id not in books.assignment.agents:  # one that is back has its epoch once it has a share
                    books.assignment = with_agent(books.assignment, member.id, member.region)
                    books.begin_epoch(member.id, member.epoch)
        else:
            books.assignment = assign(self._order.spec.regions, candidates(members))
            books.epochs = {member.id: member.epoch for member in members}
        self.write_members()

    def write_members(self) -> None:
        """Who takes part, and in which epoch, has changed."""
        epochs = self._record.epochs
        rows = [row_of(one) for one in self._fleet if one.id in epochs]
        self._journal.event("assigned", agents=rows, epochs=epochs)
        self.write_manifest()

    def _load_ends(self) -> None:
        """A stop before the planned end: what would have been due after it is not missing."""
        run, duration_ns = self._run, self._run.duration_ns
        if run.t0_ns is None or self._record.load_ended_ns is not None or not run.ends:
            return
        ended_ns = max(0, self._clock() - run.t0_ns)
        if duration_ns is None or ended_ns < duration_ns:
            self._record.load_ended_ns = ended_ns
            self._journal.event("load ended", at_ns=ended_ns)

    def write_manifest(self, as_run: PlanSpec | None = None) -> None:
        """as_run: the plan as it was in the end, where it was changed while it ran."""
        made = manifest(self._order, self._record, self._fleet, self._created_at, boot=boot_id(), by=self._by)
        if as_run is not None:
            made["spec_as_run"] = msgspec.to_builtins(as_run, enc_hook=str)
        self._folder.write_manifest(made)

    # -- messages ---------------------------------------------------------------------------------

    def say(self, agent: str, message: Message) -> None:
        member = self._fleet.get(agent)
        if member is not None and member.identity and not self.send(member.identity, message):
            self._troubles.add("unsent", f"{type(message).__name__} to {agent}")  # its next heartbeat has it sent again

    def _prepare_of(self, agent: str) -> Prepare:
        order, assignment = self._order, self._record.assignment
        assert assignment is not None
        return replace(
            order.prepare(order.allow),
            run_id=self.run_id,
            generation=assignment.generation,
            index=assignment.index(agent),
            weights=assignment.weights,
            control_plane=places_of(self._hub.address),
        )

    def _stop_of(self, text: str, now: bool) -> Stop:
        is_killed = any(end.reason is Reason.KILLED for end in self._run.ends)
        return Stop(self.run_id, text, now, kill=now and is_killed)

    def _on_durable(self, places: Iterable[Place]) -> None:
        self._intake.on_durable(places)

    def _on_storage_failing(self, error: StorageError) -> None:
        """Before T0 there is nothing to lose. Then agents keep what is not acknowledged, and the load goes on."""
        if self._run.t0_ns is None:
            self._on_storage_failed(error)
            return
        text = f"{error.message}: nothing is acknowledged until that is over; the agents keep what they measure"
        log.warning("%s", text)
        self._record.notice(text)
        self._journal.event("storage failing", reason=error.message)

    def _on_storage_mended(self, failed_s: float) -> None:
        text = f"the run folder could not be written for {failed_s:.0f} s; all that waited for it is written now"
        log.warning("%s", text)
        self._record.notice(text)
        self._journal.event("storage mended", failed_s=round(failed_s, 3))

    def _on_storage_failed(self, error: StorageError) -> None:
        self._journal.has_failed = True
        self._tell_quietly(StorageFailed(f"{error.message} ({error.hint})" if error.hint else error.message))

    def _on_trouble(self, kind: str, text: str, count: int) -> None:
        log.warning("%s: %s", kind, text)
        self._journal.event("trouble", trouble=kind, text=text, count=count)

    def _tell_quietly(self, event: StopRequested | StorageFailed) -> None:
        """These two fit every phase."""
        self.tell(event)

    # -- the end ----------------------------------------------------------------------------------

    async def _wind_up(self) -> Result:
        """Stop what still runs, seal the folder, let everybody go."""
        if self._run.phase is not Phase.DONE:  # our own bug cut it short
            for agent in self._record.epochs:
                self.say(agent, Stop(self.run_id, "the controller failed", now=True))
        await self._journal.commit()
        summed = await self._checkpointer.finish()
        await asyncio.to_thread(self._failures.close)
        if self._failures.left_out:
            kept, more = format_count(self._failures.kept), format_count(self._failures.left_out)
            self._record.notice(f"{kept} failures are kept whole, {more} more of the same kinds are counted")
        now_ns = self._clock()
        duration_s = 0.0 if self._run.t0_ns is None else max(0, now_ns - self._run.t0_ns) / NS_PER_S
        self._meeting.end()
        if self._troubles.counts:
            self._journal.event("troubles", counts=dict(self._troubles.counts))
        order = replace(self._order, spec=self._load_control.spec)
        if order.spec != self._order.spec:
            with contextlib.suppress(StorageError):  # a chart has one line less
                self.write_manifest(as_run=order.spec)
        self._record.steering = as_rows(self._load_control.steered_loads)
        self._record.outputs = await self._outputs.end()
        sealed: Sealed = await asyncio.to_thread(
            seal,
            self._folder,
            facts_of(self._run, order, self._record, self._bug, self._basis()),
            self._merge,
            order,
            self._record,
            {member.id: member.pid for member in self._fleet},
            self._started_at,
            duration_s,
            summed,
        )
        forget_shared(self._folder)
        self._checkpointer.forget()
        await self._dismiss()
        verdict = sealed.verdict
        return Result(verdict.exit_code, sealed.summary, self._folder.path, verdict)

    def _basis(self) -> Basis:
        """What due iterations follow from: the plan as it was made, and all changes that agents got."""
        members = (self._fleet.get(agent) for agent in self._record.epochs)
        return Basis.of(
            lanes_of(self._order.spec),
            self._load_control.adjustments.told,
            is_stopped=self._record.load_ended_ns is not None,
            counting=[member.id for member in members if member is not None and member.minor >= COUNTED_MINOR],
        )

    async def _dismiss(self) -> None:
        leave = self._order.placement == "embedded"
        for agent in self._record.epochs:
            self.say(agent, Bye(self.run_id, leave))
        if leave:
            for member in self._fleet:
                self.say(member.id, Bye("", leave))  # for one that took no part, or gave up
        # A ROUTER that is closed at once drops what it has just taken, in spite of LINGER (measured: each time).
        await asyncio.sleep(_BYE_S)

"""Conducts one run: the shell around `core/lifecycle.py` that performs its effects.

The conductor owns the merge and the run folder. The socket and the agents belong to the
agent hub, which several runs share. Messages arrive through `agent_message_intake.py`, time through a
tick of 50 ms. Both become events of the run, and the conductor performs the effects of
each event. Everything runs on one asyncio loop, except work on the disk, which a thread
does.

Parts of a run have their own modules: load and share changes (`load_control.py`),
rendez-vous (`rendezvous_shell.py`), checks that may stop a run (`stop_checks.py`), the live
view (`view_builder.py`), and sealing (`finish.py`). Requests from operators arrive
through the package `control`, which calls `adjust`, `request_stop` and `kill`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.dsl.secret import secret_value, secret_values
from loadgen.errors import BugError, ExitCode, FleetError, StorageError
from loadgen.measure.deltas.kept_stream import kept_share_of
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.kept_stream_log import StreamLog
from loadgen.measure.run_folder.rundir import RunDir, new_run_id
from loadgen.notify.event import Event as Notification
from loadgen.notify.notifier import Notifier
from loadgen.probes.limits.watch import ProbeWatch
from loadgen.probes.running.run_probes import RunProbes
from loadgen.sinks.live_outputs import Outputs, Sight
from loadgen.sinks.snapshot import RunName
from loadgen.units import NS_PER_S, format_count
from loadgen.usable_cpus import usable_cpus
from loadgen.wire.messages import (
    COUNTED_MINOR,
    GUARDED_MINOR,
    LOADS_MINOR,
    OBJECTIVES_MINOR,
    PROTOCOL_MAJOR,
    SIGNED_MINOR,
    STEERED_MINOR,
    STREAMS_MINOR,
    Ack,
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
from loadgen_controller.core.heartbeat_replies import RepeatLoad, RepeatPrepare, RepeatStop, reactions
from loadgen_controller.core.lifecycle import Phase, Run, step
from loadgen_controller.core.load_change_messages import Adjustment, LoadChange, lanes_of
from loadgen_controller.core.registry import Member
from loadgen_controller.core.rejected_input_counter import RejectedInput
from loadgen_controller.core.report_interval import ReportInterval, busy_ns
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.core.shares import assign, candidates, with_agent
from loadgen_controller.core.steered_loads_state import as_rows
from loadgen_controller.judging.iterations_due_by_plan import Basis
from loadgen_controller.judging.verdict import Verdict
from loadgen_controller.notifying.run_events import agent_lost, ended, now, started
from loadgen_controller.planning.target_permission import places_of
from loadgen_controller.run.agent_message_intake import Intake
from loadgen_controller.run.checkpointer import Checkpointer
from loadgen_controller.run.delta_journal import Journal, Place
from loadgen_controller.run.failure_files import FailureFolder
from loadgen_controller.run.finish import Sealed, facts_of, manifest, seal
from loadgen_controller.run.load_control import LoadControl
from loadgen_controller.run.recovery import Restored, boot_id, forget_shared, keep_descriptors, keep_shared, row_of
from loadgen_controller.run.rendezvous_shell import RendezvousShell
from loadgen_controller.run.stop_checks import RunChecks
from loadgen_controller.run.view import ViewState, title
from loadgen_controller.run.view_builder import build_view

__all__ = ["Conductor", "NoHosts", "Processes", "Result"]

log = logging.getLogger(__name__)

_TICK_S = 0.05
_GRACE_NS = 15 * NS_PER_S
"""The time for agents to reconnect to a restarted controller; they try at least every 5 s."""
_BYE_S = 0.1
"""The time for the last messages to reach the kernel."""
_HANDOVER_S = 2.0
"""The time for local agent processes to receive Bye and exit."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run: exit code, summary, folder and verdict."""

    exit_code: ExitCode
    summary: dict[str, object]
    """The content of summary.json, even if the file could not be written."""
    run_dir: Path
    verdict: Verdict


class Processes(Protocol):
    """Agent processes that this controller starts itself."""

    @property
    def expected(self) -> Mapping[str, str]:
        """Return the region of each agent that `start` starts, by agent id."""

    def start(self, address: str, logs: Path) -> None:
        """Start all agents, which connect to `address`; their output goes to the folder `logs`."""

    def exited(self) -> Mapping[str, str]:
        """Return a text for each agent whose process has ended since the last call: how it ended."""

    async def end(self, patience_s: float) -> None:
        """Wait `patience_s` for the processes to exit, then end them; return when none runs any more."""


class NoHosts:
    """No processes, because agents are started elsewhere."""

    expected: Mapping[str, str] = {}

    def start(self, address: str, logs: Path) -> None:
        pass

    def exited(self) -> Mapping[str, str]:
        return {}

    async def end(self, patience_s: float) -> None:
        pass


class Conductor:
    """One run, from its first agent to its sealed folder. Create it within the running event loop.

    Raises:
        StorageError: the run folder cannot be created.
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
        notifier: Notifier | None = None,
    ) -> None:
        """Create the run folder, or continue a restored run.

        Args:
            processes: the local agent processes; None if agents are started elsewhere.
            by: the operator that starts the run, for the manifest.
            restored: the restored run to continue; then `order` is its order.
            outputs: the live outputs.
            notifier: sends notifications about the run.
        """
        self._order, self._hub = order, hub
        self._clock, self._fleet = hub.clock, hub.fleet
        self._processes: Processes = processes or NoHosts()
        self._by, self._restored, self._notifier = by, restored, notifier
        self._created_at = self._started_at = datetime.now(UTC)
        if restored is None:
            self._folder = RunDir.create(runs_dir, new_run_id(self._created_at, Path(order.scenario).stem))
            self._merge, self._record = Merge(order.spec.interval_ns), RunRecord(self._folder.run_id)
            self._merge.kept = []
        else:
            self._created_at, self._started_at = restored.created_at, restored.started_at
            self._folder, self._record = restored.folder, restored.record
            self._merge = Merge(order.spec.interval_ns)  # replaced when the log is merged
        self._journal = Journal(self._folder, self._on_durable, self._on_storage_failing, self._on_storage_mended)
        self._rejected_input = RejectedInput(self._on_trouble, self._clock)
        self._failures = FailureFolder(self._folder.path / "failures", self._record.notice)
        share = kept_share_of(order.spec.llm)
        self._streams = StreamLog(self._folder.path, share, self._record.notice)
        self._intake = self._new_intake()
        self._checkpointer = self._new_checkpointer()
        if restored is None:
            self._run = Run.begin(order.terms(), self._clock())
            self._journal.event(BEGUN, **begun(self._run))
        else:
            self._run = restored.run
        spec = order.spec
        self._checks = RunChecks(order)
        self._report_interval = ReportInterval(spec.interval_ns)
        known = () if restored is None else (restored.adjustments, restored.steered_loads)
        name = RunName(self.run_id, title(spec), order.placement)
        self._outputs = (outputs or Outputs()).of_run(name, self._sight, self._record.notice)
        self._probes = RunProbes(
            spec.probes,
            self._folder.path,
            clock=self._clock,
            notice=self._record.notice,
            secret_of=secret_value,
            allow=order.allow,
            watch=ProbeWatch(
                (one for one in spec.probes if one.at == "controller"),
                spec.probe_slos,
                spec.warmup_ns,
                spec.duration_ns,
            ),
        )
        self._load_control = LoadControl(self, self._record, self._fleet, self._journal, self._clock, *known)
        state = None if restored is None else restored.rendezvous
        self._rendezvous = RendezvousShell(self, self._record, self._journal, self._clock, state)
        self._checks.follow(self._load_control.spec, self.end_ns)
        self._probes.until(self.end_ns)
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        """An error that one of this run's methods raised when the agent hub called it."""
        self._members: tuple[tuple[str, ...], frozenset[str]] = (), frozenset()
        """`run.members`, and the same as a set for fast look-ups."""
        self._is_deaf = False
        """Whether messages are ignored: while a restored log is merged, and while the folder is sealed."""
        self._bug = ""
        """An internal error that ended the run; empty otherwise."""

    def _new_intake(self) -> Intake:
        return Intake(
            self,
            self._order,
            self._record,
            self._fleet,
            self._merge,
            self._journal,
            self._rejected_input,
            self._clock,
            self._failures.write,
            self._streams.write,
        )

    def _new_checkpointer(self, merged_end: int = 0) -> Checkpointer:
        def settled() -> None:
            self._failures.settled()
            self._streams.settled()

        return Checkpointer(self._folder, self._merge, merged_end, extra=self._failures.state, settled=settled)

    # -- control API ----------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return self._record.run_id

    @property
    def run_dir(self) -> Path:
        """Return the path of the run folder."""
        return self._folder.path

    @property
    def started_at(self) -> datetime:
        """Return T0 (the start of the load) by the wall clock; before T0 is fixed, when the run was created."""
        return self._started_at

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """Return the load changes of this run so far, in order."""
        return self._load_control.adjustments.made

    @property
    def rejected_input(self) -> Mapping[str, int]:
        """Return how many messages of agents were rejected, by kind of error."""
        return self._rejected_input.counts

    async def conduct(self) -> Result:
        """Conduct the whole run and return its result. Errors become part of the result; only a cancellation raises."""
        writing = asyncio.create_task(self._journal.serve(), name="journal")
        patience_s = 0.0
        try:
            try:
                if self._restored is None:
                    self._open()
                else:
                    await self._recover(self._restored)
                self._checkpointer.begin()
                self._outputs.begin()
                self._probes.begin(self._run.t0_ns)
                await self._until_done(writing)
            except StorageError as error:
                self._on_storage_failed(error)
            except FleetError as error:
                self.apply(StopRequested(error.message, now=True, reason=Reason.TOO_FEW_AGENTS))
            except Exception as error:  # caught here, because the measurements must be sealed in any case
                log.exception("the conductor failed")
                self._bug = error.message if isinstance(error, BugError) else f"{type(error).__name__}: {error}"
            writing.cancel()
            self._is_deaf = self._run.phase is not Phase.DONE  # after an error: no merging while the folder is sealed
            result = await self._wind_up()
            patience_s = _HANDOVER_S
            return result
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._outputs.cancel()
            self._probes.cancel()
            await self._checkpointer.end()
            self._hub.leave(self)
            await self._processes.end(patience_s)
            # Last, because journal and checkpointer write to the folder until they have ended.
            self._folder.close()

    def request_stop(self, reason: str, now: bool = False) -> None:
        """End the run early: let iterations finish, or with `now` cut them off. Repeated calls are harmless."""
        self.apply(StopRequested(reason, now))

    def kill(self, reason: str) -> None:
        """Stop all load at once, without drain and tear-down. Agents kill workers that do not stop promptly.

        Repeated calls are harmless.
        """
        self.apply(StopRequested(reason, now=True, reason=Reason.KILLED))

    def adjust(self, change: LoadChange) -> tuple[Adjustment, ...]:
        """Change the running load, and return one adjustment for each load concerned.

        The change takes effect at the same time on all agents. If it raises, nothing has changed.

        Raises:
            UsageError: the change is not possible now, or the allow-list does not permit it.
            FleetError: the protocol of an agent is too old for load changes.
        """
        self._step(Tick(self._clock(), is_turn=False))
        return self._load_control.adjust(change)

    @property
    def end_ns(self) -> int | None:
        """Return when the load ends, in ns after T0, with all load changes so far; None while that is unknown."""
        return self._load_control.adjustments.end_ns

    def due_before(self, at_ns: int) -> int | None:
        """Return how many iterations are due before `at_ns` after T0; None if a load is not open."""
        return self._load_control.adjustments.due_before(at_ns)

    def view(self, *, with_agents: bool = True) -> ViewState:
        """Return the state of the run for the live view. with_agents: with a row of each agent, which costs most."""
        return build_view(
            self._run,
            self._order,
            self._record,
            self._load_control,
            self._merge,
            self._rendezvous.points(),
            fleet=self._fleet,
            claimant=self._hub.claimant,
            expected=self._processes.expected,
            run_dir=self._folder.path,
            now_ns=self._clock(),
            of_probes=self._probes.judged,
            with_agents=with_agents,
        )

    def _sight(self) -> Sight:
        """Return the state of the run that live outputs, such as a metrics endpoint, may read."""
        run = self._run
        return Sight(
            merge=self._merge,
            live=[agent for agent in run.live if agent not in run.fins],
            clock_ns=None if run.t0_ns is None else self._clock() - run.t0_ns,
            started_ns=round(self._started_at.timestamp() * NS_PER_S),
        )

    def notice(self, text: str) -> None:
        """Show a notice to the operator; a text that was shown before is ignored."""
        self._record.notice(text)

    # -- for the agent hub ------------------------------------------------------------------------

    def receive(self, agent: str, data: bytes, message: Message) -> None:
        """Process an agent's message about this run.

        While a restarted run reads its log, messages are ignored; agents send them again.
        """
        if not self._is_deaf:
            self._intake.receive(agent, data, message)

    def report_rejected(self, kind: str, text: str) -> None:
        """Count and report a rejected message."""
        self._rejected_input.add(kind, text)

    def bad(self, agent: str, kind: str, text: str) -> None:
        """Report an invalid message of an agent to the hub, which may put the agent into quarantine."""
        self._hub.bad(agent, kind, text)

    def record_decision(self, kind: str, text: str, **fields: object) -> None:
        """Record a decision of the hub about agents in the journal, and show `text` to the operator."""
        self._journal.event(kind, **fields)
        self._record.notice(text)

    def fail(self, error: Exception) -> None:
        """End the run with this error at the next turn of its loop."""
        self._failure = self._failure or error
        self._wake.set()

    # -- for the intake, and for what is driven ----------------------------------------------------

    @property
    def run(self) -> Run:
        """Return the present state of the run's state machine."""
        return self._run

    @property
    def order(self) -> Order:
        """Return the order of the run, with the plan as it was before any load change."""
        return self._order

    def apply(self, event: Event) -> None:
        """Apply an event to the run's state machine, and perform its effects.

        Raises IllegalTransition if the event does not fit the phase. A stop and a storage failure fit every phase.
        """
        if isinstance(event, AgentJoined) and self._is_unguarded(event.agent):
            return
        # In the order of arrival: the deltas received before the event are merged before the phase can change.
        self._flush()
        self._step(Tick(self._clock(), is_turn=False))
        before = self._run
        self._step(event)
        if (self._run.vacant, self._run.arrived) != (before.vacant, before.arrived):
            self._wake.set()

    def _is_unguarded(self, agent: str) -> bool:
        """Return whether the agent's protocol is too old for this run's allow-list, signature or objectives.

        If so, a notice names the agent.
        """
        member = self._fleet.get(agent)
        if member is None:
            return False
        needed = [(GUARDED_MINOR, "allow-lists")] if self._order.allow is not None else []
        overrides = Overrides.from_json(self._order.overrides_json)
        needed += [(LOADS_MINOR, "runs with --load")] if overrides.loads else []
        needed += [(STEERED_MINOR, "replaced loads")] if overrides.steered is not None else []
        needed += [(SIGNED_MINOR, "signed runs")] if self._order.signature else []
        if not all(objective.is_plain for objective in self._order.spec.slos):
            needed.append((OBJECTIVES_MINOR, "the plan's objectives"))
        needed += [(STREAMS_MINOR, "plans with llm=")] if self._order.spec.llm is not None else []
        for minor, what in needed:
            if member.minor < minor:
                self._record.notice(
                    f"agent {agent} does not take part: it has protocol {PROTOCOL_MAJOR}.{member.minor}, and {what}"
                    f" need {PROTOCOL_MAJOR}.{minor}; run the same version of loadgen on every agent"
                )
                return True
        return False

    def flush_soon(self) -> None:
        """Merge the collected deltas in the next turn of the event loop, after all messages that have arrived."""
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Merge the collected deltas; an error in that ends the run."""
        if self._is_deaf:
            return
        try:
            self._intake.flush()
        except Exception as error:  # noqa: BLE001  the loop would only log the error; it must end the run
            self.fail(error)

    def send(self, identity: bytes, message: Message) -> bool:
        """Send a message to a connection; return False if it cannot be sent now."""
        return self._hub.send(identity, message)

    def acknowledge(self, member: Member, ack: Ack) -> None:
        """Send an acknowledgement to an agent, which also answers its newest heartbeat within a delta."""
        self._hub.acknowledge(member, ack)

    def on_hello(self, agent: str) -> None:
        """Send Prepare again to an agent that repeats its Hello and is not ready. The last message may be lost."""
        if self._run.phase is Phase.PREPARING and agent not in self._run.ready:
            self.send_to(agent, self._prepare_of(agent))

    def on_heartbeat(self, agent: str, beat: Heartbeat) -> None:
        """Process an agent's heartbeat: send again what the agent has missed, and move its share if it will leave."""
        for reaction in reactions(self._run, agent, beat, is_live=self._is_live(agent)):
            match reaction:
                case RepeatPrepare():
                    self.send_to(agent, self._prepare_of(agent))
                case RepeatLoad():
                    self._load_control.on_heartbeat(agent, beat.phase, beat.adjusted)
                case RepeatStop(text, now):
                    self.send_to(agent, self._stop_of(text, now))
                case AgentLeaving():
                    self.apply(reaction)

    def _is_live(self, agent: str) -> bool:
        """Return `agent in run.live` in constant time; `run.live` is too slow for each heartbeat of each agent."""
        if self._members[0] is not self._run.members:
            self._members = self._run.members, frozenset(self._run.members)
        return agent in self._members[1] and agent not in self._run.lost

    def has_returned(self, agent: str) -> None:
        """Show a notice that a lost agent has a share again in a new process; count its users at rendez-vous again."""
        self._rendezvous.back(agent)
        self._record.notices.append(f"agent {agent} has returned as a new process")

    def steered(self, agent: str, steered: Steered) -> None:
        """Process the answer of a steering executor, which runs in the agent and decides the rate of a load."""
        self._load_control.steered(agent, steered)

    def waiting(self, agent: str, waiting: Waiting) -> None:
        """Process an agent's counts of users that wait at rendez-vous."""
        self._rendezvous.report(agent, waiting)

    # -- the run ----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder.write_bundle(self._order.bundle)
        self.write_manifest()
        address = self._hub.address
        self._journal.event("listening", address=address, agents=self._order.agents)
        logs = self._folder.path / "agents"
        self._processes.start(address, logs)
        self._hub.enter(self)

    async def _recover(self, restored: Restored) -> None:
        """Continue a restored run: merge its log, and wait for its agents, which reconnect with unacknowledged deltas.

        While the log is merged, the hub answers heartbeats, so the agents' leases do not end. Other messages are
        ignored; the agents send them again.
        """
        phase, away_s = self._run.phase.value, restored.away_s
        self._journal.event("taken up", phase=phase, away_s=round(away_s, 3), cut_bytes=self._folder.cut_bytes)
        self._record.notice(f"the controller was restarted; it was away for {away_s:.1f} s")
        self._is_deaf = True
        own = [agent for agent, epoch in self._record.epochs.items() if self._has_epoch(agent, epoch)]
        self._hub.claim(self, own)
        self._hub.enter(self)
        merged = await asyncio.to_thread(restored.merged)
        self._merge = merged.merge
        if self._checks.needs_levels:
            self._checks.know_levels(await asyncio.to_thread(merged.ended_by_interval, self._folder))
        if merged.extra:
            self._failures.take_state(merged.extra)
        self._checkpointer = self._new_checkpointer(merged.merged_end)
        for agent, epoch in self._record.epochs.items():
            for one in (epoch, *(former.epoch for former in self._record.former.get(agent, ()))):
                self._record.durable[agent, one] = self._merge.next_seq(agent, one) - 1
        for agent, region, failures in merged.failures:
            self._failures.write(agent, region, failures)
        for region, delta in merged.streams:
            self._streams.write(delta.agent, region, delta)
        self._intake = self._new_intake()
        self._is_deaf = False
        if self._run.t0_ns is not None:
            self._expect(len(self._run.live))
        now_ns = self._clock()
        # Before the first tick, which must not end the phase for data that the agents could not send so far.
        self._step(Resumed(now_ns + _GRACE_NS))
        self._load_control.reassign_moved()
        self._step(Tick(now_ns))
        for agent in (*self._run.lost, *self._run.fins):
            self._rendezvous.gone(agent)
        if why := restored.hopeless:
            self.apply(StopRequested(why, now=self._run.t0_ns is None))

    def _has_epoch(self, agent: str, epoch: int) -> bool:
        """Return whether the agent's present process is the one with this epoch (number of its registration)."""
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
                raise BugError("the journal ended before the run", hint="please report this with the controller's log")
            self._tick()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)

    def _tick(self) -> None:
        now_ns = self._clock()
        self._step(Tick(now_ns))
        for agent, how in self._processes.exited().items():
            self._hub.lose(agent, how)
            if self._run.phase is Phase.WAITING:  # it cannot join any more
                text = f"agent {agent} did not start: {how}"
                self.apply(StopRequested(text, now=True, reason=Reason.TOO_FEW_AGENTS))
        if self._run.phase.has_load and not self._load_control.steered_loads:  # steered loads need every interval
            self._adapt_interval(now_ns)
        if self._run.phase.has_load:
            self._rendezvous.tick(now_ns)
        if (stop := self._checks.script_faults(self._run, self._merge)) is not None:
            self.apply(stop)
        run = self._run
        if run.phase is Phase.RUNNING and run.t0_ns is not None:
            self._tick_under_load(run, now_ns - run.t0_ns)

    def _tick_under_load(self, run: Run, clock_ns: int) -> None:
        """Check and steer the running load; clock_ns: the time after T0."""
        for stop in self._checks.stops(run, self._merge, self._record.assignment, clock_ns):
            self.apply(stop)
        if (stopped := self._checks.danger(self._probes.danger)) is not None:
            self.apply(stopped)
        self._load_control.observe(self._merge)
        self._load_control.start_joiners()
        if (assignment := self._record.assignment) is not None:
            changes = self._load_control.adjustments.told
            for text in self._checks.off_plan(run, self._merge, assignment, changes, clock_ns):
                self._journal.event("off plan", text=text)
                self._record.notice(text)

    def _adapt_interval(self, now_ns: int) -> None:
        """Request longer intervals from agents while the controller is too busy."""
        late_ns = round(self._journal.late_s * NS_PER_S)
        used_ns = busy_ns(time.thread_time_ns(), time.process_time_ns(), usable_cpus())
        self._ask_interval(self._report_interval.look(now_ns, used_ns, late_ns))

    def _expect(self, agents: int) -> None:
        """Request longer intervals before the reports of `agents` agents make the controller too busy."""
        if not self._load_control.steered_loads:  # they need every interval
            self._ask_interval(self._report_interval.expect(self._clock(), agents))

    def _ask_interval(self, why: str) -> None:
        """Use the present interval of `_report_interval` from now on; why: what changed it, empty if nothing did."""
        if why:
            self._record.asked_ns = asked_ns = self._report_interval.asked_ns
            interval_s = (asked_ns or self._load_control.spec.interval_ns) / NS_PER_S
            self._record.notice(f"agents now report every {interval_s:g} s: {why}")
            self._journal.event("interval asked", interval_s=interval_s, why=why)

    def _step(self, event: Event) -> None:
        """Apply one event to the state machine of the run, record it in the journal, and perform its effects."""
        before = self._run
        self._run, effects = step(before, event)
        # Recorded before the effects, which may raise further events: a replay needs the lines in this order.
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
        """Update the run record, notices and other parts of the run after the state machine has processed an event."""
        match event:
            case AgentLost(agent, text) | AgentRefused(agent, text):
                self._record.lost[agent] = text
                if agent in self._run.lost:
                    self._record.notices.append(f"agent {agent} is lost: {text}")
                    self._notify(lambda: agent_lost(*self._about(), agent, text, secret_values().values()))
                    self._rendezvous.gone(agent)
            case FinReceived(agent):
                self._rendezvous.gone(agent)
            case Adjusted(duration_ns):
                self._checks.follow(self._load_control.spec, duration_ns)
                self._probes.until(duration_ns)
            case SetUpEnded():
                keep_shared(self._folder, self._record.shared_json)
                keep_descriptors(self._folder, self._record.shared_json)
            case AgentJoined(agent, region) if region not in self._order.spec.regions:
                self._record.notice(f"agent {agent} does not take part: the plan has no load in {region}")
            case AgentReturned(agent):
                self._rendezvous.back(agent)
                self._record.lost.pop(agent, None)
                self._record.notices.append(f"agent {agent} has returned")

    def _perform(self, effect: Effect) -> None:
        run_id = self.run_id
        match effect:
            case SendPrepare(agents):
                self._assign(agents)
                for agent in agents:
                    self.send_to(agent, self._prepare_of(agent))
            case SendSetUp(agent):
                self.send_to(agent, SetUp(run_id))
            case SendStart(agents, t0_ns):
                self._started_at = datetime.fromtimestamp(time.time() + (t0_ns - self._clock()) / NS_PER_S, UTC)
                self._probes.start_at(t0_ns)
                self._expect(len(agents))
                for agent in agents:
                    self._load_control.send_start(agent, t0_ns)
                self.write_manifest()  # once more: it shows what the agents measured when they were prepared
                self._notify(lambda: started(*self._about(), len(agents), secret_values().values()))
            case TakeIn(agents, drivers):
                self._expect(len(drivers) + len(agents))
                self._load_control.take_in(agents, drivers)
            case Reassign(agents, drivers, at_ns):
                self._load_control.reassign(agents, drivers, at_ns)
            case SendStop(agents, text, now):
                self._load_ends()
                for agent in agents:
                    self.send_to(agent, self._stop_of(text, now))
            case SendTearDown(agent):
                self.send_to(agent, TearDown(run_id, self._record.shared_json))
            case WindUp():
                self._wake.set()

    def _assign(self, agents: tuple[str, ...]) -> None:
        """Claim the agents; assign the shares of a new run, or add late joiners, whose share follows later."""
        record = self._record
        self._hub.claim(self, agents)
        members = [member for member in self._fleet if member.id in agents]
        if record.assignment is not None:  # the agents are late joiners
            for member in members:
                if member.id not in record.assignment.agents:  # a returning agent gets its epoch with its share
                    record.assignment = with_agent(record.assignment, member.id, member.region)
                    record.begin_epoch(member.id, member.epoch)
        else:
            record.assignment = assign(self._order.spec.regions, candidates(members))
            record.epochs = {member.id: member.epoch for member in members}
        self.write_members()

    def write_members(self) -> None:
        """Record the members and their epochs in the journal and the manifest."""
        epochs = self._record.epochs
        rows = [row_of(one) for one in self._fleet if one.id in epochs]
        self._journal.event("assigned", agents=rows, epochs=epochs)
        self.write_manifest()

    def _load_ends(self) -> None:
        """Record when a stop ended the load early, so that arrivals due after that time do not count as missing."""
        run, duration_ns = self._run, self._run.duration_ns
        if run.t0_ns is None or self._record.load_ended_ns is not None or not run.ends:
            return
        ended_ns = max(0, self._clock() - run.t0_ns)
        if duration_ns is None or ended_ns < duration_ns:
            self._record.load_ended_ns = ended_ns
            self._journal.event("load ended", at_ns=ended_ns)

    def write_manifest(self, as_run: PlanSpec | None = None) -> None:
        """Write manifest.json. as_run: the plan with all load changes, at the end of a run that had some."""
        made = manifest(self._order, self._record, self._fleet, self._created_at, boot=boot_id(), by=self._by)
        if as_run is not None:
            made["spec_as_run"] = msgspec.to_builtins(as_run, enc_hook=str)
        self._folder.write_manifest(made)

    # -- messages ---------------------------------------------------------------------------------

    def send_to(self, agent: str, message: Message) -> None:
        """Send a message to an agent. A message that cannot be sent is counted."""
        member = self._fleet.get(agent)
        if member is not None and member.identity and not self.send(member.identity, message):
            # It is sent again after the agent's next heartbeat.
            self._rejected_input.add("unsent", f"{type(message).__name__} to {agent}")

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
        """React to a disk error. Before T0, it ends the run.

        Later the load goes on: agents keep the deltas that are not acknowledged.
        """
        if self._run.t0_ns is None:
            self._on_storage_failed(error)
            return
        text = f"{error.message}: the agents keep their measurements until the run folder can be written again"
        log.warning("%s", text)
        self._record.notice(text)
        self._journal.event("storage failing", reason=error.message)

    def _on_storage_mended(self, failed_s: float) -> None:
        text = f"the run folder could not be written for {failed_s:.0f} s; all waiting data is written now"
        log.warning("%s", text)
        self._record.notice(text)
        self._journal.event("storage mended", failed_s=round(failed_s, 3))

    def _on_storage_failed(self, error: StorageError) -> None:
        self._journal.has_failed = True
        self.apply(StorageFailed(f"{error.message} ({error.hint})" if error.hint else error.message))

    def _on_trouble(self, kind: str, text: str, count: int) -> None:
        log.warning("%s: %s", kind, text)
        self._journal.event("trouble", trouble=kind, text=text, count=count)

    # -- the end ----------------------------------------------------------------------------------

    async def _wind_up(self) -> Result:
        """Stop agents that still run, judge the run, complete its folder, and release all agents. Return the result."""
        if self._run.phase is not Phase.DONE:  # an internal error ended the run
            for agent in self._record.epochs:
                self.send_to(agent, Stop(self.run_id, "the controller failed", now=True))
        await self._journal.commit()
        # After the commit, because only sums of durable deltas are written.
        summed = await self._checkpointer.finish()
        await asyncio.to_thread(self._failures.close)
        await asyncio.to_thread(self._streams.close)
        if self._failures.left_out:
            kept, more = format_count(self._failures.kept), format_count(self._failures.left_out)
            self._record.notice(f"{kept} failures were written as files, {more} more were only counted")
        now_ns = self._clock()
        duration_s = 0.0 if self._run.t0_ns is None else max(0, now_ns - self._run.t0_ns) / NS_PER_S
        self._rendezvous.end()
        if self._rejected_input.counts:
            self._journal.event("troubles", counts=dict(self._rejected_input.counts))
        order = replace(self._order, spec=self._load_control.spec)
        if order.spec != self._order.spec:
            with contextlib.suppress(StorageError):  # without it, only a line in a chart is missing
                self.write_manifest(as_run=order.spec)
        self._record.steering = as_rows(self._load_control.steered_loads)
        self._record.outputs = await self._outputs.end()
        self._record.probes = await self._probes.end()
        # The live view queries the merge on this loop while a thread seals the run. A query first adds the counts that
        # wait, so one of two queries at once missed them: "38 in histograms, 39 counted". After `close` none wait.
        self._merge.close()
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
        # Not before the folder is sealed: a controller that restarts until then continues the run with these files.
        forget_shared(self._folder)
        self._checkpointer.forget()
        await self._dismiss()
        verdict = sealed.verdict
        ends = [(end.reason, end.detail) for end in self._run.ends]
        self._notify(lambda: ended(title(self._order.spec), sealed.summary, now(), ends, secret_values().values()))
        return Result(verdict.exit_code, sealed.summary, self._folder.path, verdict)

    def _about(self) -> tuple[str, str, str]:
        """Return title, run id and the present time, with which the events of notifications begin."""
        return title(self._order.spec), self.run_id, now()

    def _notify(self, event: Callable[[], Notification]) -> None:
        """Send a notification, if there are channels. A failure is logged, because it must never end a run."""
        if not self._notifier:
            return
        try:
            self._notifier.offer(event())
        except Exception:  # whatever fails there, the run continues
            log.exception("a notification could not be made; the run is not affected")

    def _basis(self) -> Basis:
        """Return the basis for counting due iterations: the original plan, and all changes that were sent to agents."""
        members = (self._fleet.get(agent) for agent in self._record.epochs)
        return Basis.of(
            lanes_of(self._order.spec),
            self._load_control.adjustments.told,
            is_stopped=self._record.load_ended_ns is not None,
            counting=[member.id for member in members if member is not None and member.minor >= COUNTED_MINOR],
        )

    async def _dismiss(self) -> None:
        """Send Bye, the end of the run, to all agents.

        Agents that this controller started on its own machine exit with it.
        """
        leave = self._order.placement == "embedded"
        for agent in self._record.epochs:
            self.send_to(agent, Bye(self.run_id, leave))
        if leave:
            for member in self._fleet:
                self.send_to(member.id, Bye("", leave))  # also agents that did not take part, or ended early
        # A ROUTER socket that is closed at once drops its last messages, in spite of LINGER (measured: every time).
        await asyncio.sleep(_BYE_S)

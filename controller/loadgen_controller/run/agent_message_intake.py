"""Checks the messages of agents about a run, and translates them into events of the run.

An invalid message never raises here. A message about another agent, or one that does
not fit the phase, is counted and dropped. Deltas are merged in groups and appended to the
journal. Deltas are acknowledged when the journal has made them durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Protocol

from loadgen.errors import IllegalTransition, LimitExceeded, WireError
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.deltas.limits import WORKERS_OF_AGENT
from loadgen.measure.deltas.rendezvous_counts import check_waiting
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration
from loadgen.wire.codec import encode
from loadgen.wire.messages import (
    CHUNK_BYTES,
    Ack,
    BundleChunk,
    BundleRequest,
    Delta,
    Fin,
    Heartbeat,
    Message,
    Ready,
    Refused,
    SetUpDone,
    Steered,
    TornDown,
    Waiting,
)
from loadgen_controller.core.events import (
    AgentReady,
    AgentRefused,
    Event,
    FinReceived,
    Merged,
    SetUpEnded,
    TearDownEnded,
)
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.registry import Fleet, Member
from loadgen_controller.core.rejected_input_counter import OVER_LIMIT, RejectedInput, plain
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.run.delta_admission import Admission
from loadgen_controller.run.delta_journal import Journal, Place

__all__ = ["Intake"]

_CLOCK_ERROR_NS = 100 * NS_PER_MS
"""Above this clock error, the agent's start is only roughly at T0, and the operator gets a notice."""
_AT_ONCE = 60
"""The most deltas that are merged together. With 20, the merge of each would cost a fifth more."""
_BYTES_AT_ONCE = 2 << 20
"""The size of waiting deltas at which they are merged immediately: 60 of the largest would take 360 MB."""
_SERIES_BYTES = 500
"""The memory that the name of a series takes."""
_AHEAD_NS = 5 * NS_PER_S
"""A delta that ends further in the future is invalid."""


class IntakePort(Protocol):
    """The methods of the run that the intake calls."""

    @property
    def run(self) -> Run: ...

    def apply(self, event: Event) -> None:
        """Apply an event to the run. Raises IllegalTransition if the event does not fit the phase."""

    def flush_soon(self) -> None:
        """Call `flush` after all messages that have arrived by now."""

    def send(self, identity: bytes, message: Message) -> bool:
        """Send a message to a connection; return False if it cannot be sent now."""

    def acknowledge(self, member: Member, ack: Ack) -> None:
        """Send an acknowledgement to an agent, which also answers its newest heartbeat within a delta."""

    def bad(self, agent: str, kind: str, text: str) -> None:
        """Report an invalid message of an agent, which counts towards its quarantine."""

    def on_heartbeat(self, agent: str, beat: Heartbeat) -> None:
        """Process a heartbeat: send again what the agent has missed."""

    def steered(self, agent: str, steered: Steered) -> None:
        """Process the answer of a steering executor, which runs in the agent and decides the rate of a load."""

    def waiting(self, agent: str, waiting: Waiting) -> None:
        """Process an agent's counts of users that wait at rendez-vous."""


class Intake:
    """Processes the messages about one run that the agent hub delivers."""

    def __init__(
        self,
        port: IntakePort,
        order: Order,
        record: RunRecord,
        fleet: Fleet,
        merge: Merge,
        journal: Journal,
        rejected_input: RejectedInput,
        clock: Callable[[], int],
        keep_failures: Callable[[str, str, Iterable[Failure]], None],
        keep_streams: Callable[[str, str, Delta], None],
    ) -> None:
        self._keep_failures, self._keep_streams = keep_failures, keep_streams
        self._unmerged: list[tuple[str, bytes, Delta]] = []
        """Deltas that arrived and are not merged yet: at most 60, for one turn of the event loop."""
        self._unmerged_bytes = 0
        self._admission = Admission(order.spec, merge, record.notice)
        self._regions: dict[str, str] = {}
        """The region of each agent that has sent a delta; a cache, because an assignment searches all its agents."""
        # Agents that started together get equal acknowledgements. The same object is encoded only once.
        self._ack_of = lru_cache(maxsize=16)(Ack)
        self._port, self._order, self._record, self._fleet = port, order, record, fleet
        self._merge, self._journal, self._rejected_input, self._clock = merge, journal, rejected_input, clock

    def receive(self, agent: str, data: bytes, message: Message) -> None:
        """HOT, once per message.

        Process one message of an agent about this run; `data` is the message before decoding.

        Deltas are collected, to be merged together. Other messages, except heartbeats, first merge the collected
        deltas, because they depend on all messages before them.
        """
        if not isinstance(message, (Delta, Heartbeat)):
            self.flush()
        try:
            self._dispatch(agent, data, message)
        except IllegalTransition:
            self._rejected_input.add(
                "unexpected", f"{type(message).__name__} from {agent} while {self._port.run.phase.value}"
            )
        except WireError as error:
            self._malformed(agent, error)

    def on_durable(self, places: Iterable[Place]) -> None:
        """Acknowledge to each agent the deltas up to its place in `places`, which the journal has stored safely."""
        for agent, epoch, seq in places:
            self._record.durable[agent, epoch] = seq
            self._acknowledge(agent, epoch)
            self._settle(agent)

    # -- members ------------------------------------------------------------------------------

    def _dispatch(self, agent: str, data: bytes, message: Message) -> None:
        match message:
            case BundleRequest():
                self._bundle(agent, message)
            case Heartbeat():
                if message.note:
                    self._record.notice(f"{agent}: {message.note}")
                self._port.on_heartbeat(agent, message)
            case Delta():
                self._delta(agent, data, message)
            case Waiting():
                self._waiting(agent, message)
            case Steered():
                self._admission.check_steered(message)
                self._port.steered(agent, message)
            case Fin():
                self._fin(agent, message)
            case Ready():
                self._ready(agent, message)
            case Refused():
                self._port.apply(AgentRefused(agent, plain(message.reason) or "it gave no reason", message.faults))
            # Set-up and tear-down run in the first live agent only.
            case SetUpDone() | TornDown() if agent not in self._port.run.live[:1]:
                self._rejected_input.add(
                    "unexpected", f"{type(message).__name__} from {agent}, although none was requested"
                )
            case SetUpDone():
                # Stored before the event, whose effects send the value to all agents.
                self._record.shared_json = message.value_json or b"null"
                self._port.apply(SetUpEnded(plain(message.error)))
            case TornDown():
                self._port.apply(TearDownEnded(plain(message.error)))
            case _:
                self._rejected_input.add("unexpected", f"{type(message).__name__} from {agent} is not about a run")

    def _bundle(self, agent: str, request: BundleRequest) -> None:
        """Send the agent the chunk of the bundle (packed scenario) that it requests.

        One chunk for each request lets the agent limit how many are in transit.
        """
        order = self._order
        if request.sha256 != order.bundle_sha256 or not 0 <= request.offset < len(order.bundle):
            self._rejected_input.add("malformed", f"{agent} requests a bundle that does not belong to this run")
            return
        data = order.bundle[request.offset : request.offset + CHUNK_BYTES]
        if (member := self._fleet.get(agent)) is not None:
            self._port.send(member.identity, BundleChunk(request.sha256, request.offset, data))

    def _ready(self, agent: str, ready: Ready) -> None:
        assignment = self._record.assignment
        is_joining = agent in self._port.run.joining  # the shares may have changed since its Prepare
        if assignment is None or (ready.generation != assignment.generation and not is_joining):
            self._rejected_input.add("other generation", f"Ready from {agent} for other shares")
            return
        if ready.bundle_sha256 != self._order.bundle_sha256:
            self._port.apply(AgentRefused(agent, "its bundle differs from the one that was sent"))
            return
        if self._record.clock_errors_ns.get(agent) != ready.clock_error_ns:
            self._journal.event("clock", agent=agent, error_ns=ready.clock_error_ns)
        self._record.clock_errors_ns[agent] = ready.clock_error_ns
        if ready.busy_wait_ns and self._record.busy_waits_ns.get(agent) != ready.busy_wait_ns:
            self._journal.event("busy wait", agent=agent, longest_ns=ready.busy_wait_ns)
            self._record.busy_waits_ns[agent] = ready.busy_wait_ns
        if ready.clock_error_ns > _CLOCK_ERROR_NS:
            error = format_duration(ready.clock_error_ns)
            self._record.notice(f"the clock of agent {agent} may differ from the controller's by {error}")
        self._port.apply(AgentReady(agent))

    def _waiting(self, agent: str, waiting: Waiting) -> None:
        run, member = self._port.run, self._fleet.get(agent)
        if member is None or self._record.epochs.get(agent) != member.epoch or not run.phase.has_load:
            self._rejected_input.add("unexpected", f"Waiting from {agent} while {run.phase.value}")
            return
        if waiting.worker >= WORKERS_OF_AGENT:
            raise LimitExceeded(
                "Waiting.worker",
                str(waiting.worker),
                f"{WORKERS_OF_AGENT - 1:,}, the last slot of a worker: run the same version of loadgen on every agent",
            )
        check_waiting(waiting.points)
        self._port.waiting(agent, waiting)

    # -- data ---------------------------------------------------------------------------------

    def _delta(self, agent: str, data: bytes, delta: Delta) -> None:
        self._unmerged.append((agent, data, delta))
        self._unmerged_bytes += len(delta.index) + len(data) + _SERIES_BYTES * len(delta.new_series)
        if len(self._unmerged) >= _AT_ONCE or self._unmerged_bytes > _BYTES_AT_ONCE:
            self.flush()
        elif len(self._unmerged) == 1:
            self._port.flush_soon()

    def flush(self) -> None:
        """Merge all deltas collected so far at once, which costs less than half as much as one by one."""
        unmerged, self._unmerged = self._unmerged, []
        self._unmerged_bytes = 0
        good: dict[str, tuple[str, bytes, Delta]] = {}
        new_series = 0
        for agent, data, delta in unmerged:
            new = len(delta.new_series)
            if agent in good or (new and new_series + new > self._admission.room):
                self._merge_some(good)  # the limits count all deltas before this one
                good, new_series = {}, 0
            if self._is_fit(agent, delta):
                region = self._region(agent)
                if (fitted := self._admission.fitted(region, delta)) is not delta:
                    data, delta = encode(fitted), fitted
                good[agent] = region, data, delta
                new_series += new
        self._merge_some(good)

    def _merge_some(self, good: dict[str, tuple[str, bytes, Delta]]) -> None:
        found = self._merge.accept_all([(region, delta) for region, _, delta in good.values()])
        for (agent, (_, data, delta)), accepted in zip(good.items(), found, strict=True):
            self._accepted(agent, data, delta, accepted)

    def _is_fit(self, agent: str, delta: Delta) -> bool:
        """Return whether the delta may be merged now. If not, it is counted and reported as rejected."""
        record, run = self._record, self._port.run
        if delta.agent != agent or not record.has_epoch(agent, delta.epoch) or record.assignment is None:
            self._rejected_input.add(
                "other agent", f"delta {delta.seq} of {delta.agent} in epoch {delta.epoch} from {agent}"
            )
        elif run.t0_ns is None or run.phase is Phase.DONE:
            self._rejected_input.add("unexpected", f"delta {delta.seq} from {agent} while {run.phase.value}")
        elif delta.end_ns > self._clock() - run.t0_ns + _AHEAD_NS:
            self._malformed(
                agent,
                WireError(
                    f"delta {delta.seq} ends in the future, at {delta.end_ns} ns: check the clock of that machine"
                ),
            )
        elif not self._journal.has_room:
            # Only counted: the agent keeps the delta and sends it again, and the disk error has its own notice.
            self._rejected_input.counts["no room on the disk"] += 1
        else:
            return self._is_within(agent, delta)
        return False

    def _is_within(self, agent: str, delta: Delta) -> bool:
        """Return whether the agent stays within its limits with this delta; report the delta otherwise."""
        try:
            self._admission.check(delta)
        except LimitExceeded as error:
            self._malformed(agent, error)
            return False
        return True

    def _region(self, agent: str) -> str:
        region = self._regions.get(agent)
        if region is None:
            assert self._record.assignment is not None
            region = self._regions[agent] = self._record.assignment.region(agent)
        return region

    def _accepted(self, agent: str, data: bytes, delta: Delta, accepted: Accepted | WireError) -> None:
        match accepted:
            case Accepted.MERGED:
                self._journal.append(data, (agent, delta.epoch, delta.seq))
                if delta.failures:
                    self._keep_failures(agent, self._region(agent), delta.failures)
                if delta.streams or delta.streams_left_out:
                    self._keep_streams(agent, self._region(agent), delta)
                for loss in delta.losses:
                    self._journal.event("worker lost", agent=agent, epoch=delta.epoch, loss=loss)
                    self._record.notice(f"{agent}: {loss}")
                for note in delta.health.notes:
                    self._record.notice(f"{agent}: {note}")
            case Accepted.DUPLICATE:  # the acknowledgement was lost, or is still in transit
                self._rejected_input.counts["duplicate"] += 1
                self._acknowledge(agent, delta.epoch)
            case Accepted.GAP:
                self._rejected_input.add(
                    "gap",
                    f"delta {delta.seq} from {agent} instead of {self._merge.next_seq(agent, delta.epoch)}",
                )
                self._acknowledge(agent, delta.epoch)
            case Accepted.OLD_EPOCH:
                self._rejected_input.add("old epoch", f"delta {delta.seq} from {agent}")
            case WireError():
                self._malformed(agent, accepted)

    def _malformed(self, agent: str, error: WireError) -> None:
        kind = OVER_LIMIT if isinstance(error, LimitExceeded) else "malformed"
        self._port.bad(agent, kind, f"from {agent}: {error}")

    def _acknowledge(self, agent: str, epoch: int) -> None:
        """Send the agent the sequence number of its last durable delta; it continues from there.

        The message also answers the agent's newest heartbeat within a delta.
        """
        member, seq = self._fleet.get(agent), self._record.durable.get((agent, epoch), -1)
        if (
            member is not None and member.epoch >= epoch
        ):  # a later process also sends the deltas that an earlier one left behind
            ack = self._ack_of(self._record.run_id, epoch, seq, self._record.asked_ns)
            self._port.acknowledge(member, ack)

    def _fin(self, agent: str, fin: Fin) -> None:
        if self._record.epochs.get(agent) != fin.epoch:
            self._rejected_input.add("other agent", f"Fin of epoch {fin.epoch} from {agent}")
            return
        known = self._record.fins.get(agent)
        if known is not None and known != fin:
            self._rejected_input.add("malformed", f"{agent} sent two different Fins")
            return
        if known is None or agent not in self._port.run.fins:  # agents repeat their Fin each second until the end
            # Applied before it is stored: if the phase does not permit it, this raises and nothing has changed.
            self._port.apply(FinReceived(agent, fin.reason))
        if known is None:
            self._record.fins[agent] = fin
            self._journal.event("fin", agent=agent, fin=fin)
            if fin.reason and not self._port.run.ends:
                self._record.notice(f"agent {agent} ended its load early: {plain(fin.reason)}")
        self._settle(agent)

    def _settle(self, agent: str) -> None:
        """Send the event Merged to the run if all deltas before the agent's Fin are stored safely."""
        fin = self._record.fins.get(agent)
        if (
            fin is not None
            and self._record.durable.get((agent, fin.epoch), -1) >= fin.last_seq
            and agent not in self._port.run.merged
        ):
            self._port.apply(Merged(agent))

"""The rendez-vous of one run: the shell around `core/rendezvous.py` that performs its effects.

It passes on the counts of workers, and which agents come and go. Complete groups are
released by message. Each release is also an event in the journal, so that a restarted
controller knows which groups have gone on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from loadgen.wire.messages import Message, ReleaseAt, Waiting
from loadgen_controller.core.lifecycle import Run
from loadgen_controller.core.rendezvous import (
    AgentBack,
    AgentGone,
    Differs,
    Event,
    Release,
    RendezvousState,
    Tick,
    WaitersReported,
    WorkerSlot,
    step,
)
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.run.delta_journal import Journal
from loadgen_controller.run.load_control import load_name
from loadgen_controller.run.view import PointView

__all__ = ["RendezvousShell"]


class RendezvousPort(Protocol):
    """The parts of the run that the rendez-vous need."""

    @property
    def run(self) -> Run: ...

    @property
    def order(self) -> Order: ...

    def send_to(self, agent: str, message: Message) -> None:
        """Send a message to an agent; never raises. A message that cannot be sent is counted."""


class RendezvousShell:
    """All rendez-vous of one run: where users wait, and the releases of complete groups."""

    def __init__(
        self,
        port: RendezvousPort,
        record: RunRecord,
        journal: Journal,
        clock: Callable[[], int],
        state: RendezvousState | None = None,
    ) -> None:
        """Create the part of a run that releases users at rendez-vous.

        state: what a restarted controller has restored; None for a new run.
        """
        self._port, self._record, self._journal, self._clock = port, record, journal, clock
        self._state = state or RendezvousState()

    def report(self, agent: str, waiting: Waiting) -> None:
        """Process a worker's report of its users that wait at rendez-vous, and release complete groups."""
        self._step(WaitersReported(WorkerSlot(agent, waiting.worker), waiting.life, waiting.points, self._clock()))

    def gone(self, agent: str) -> None:
        """Do not count the users of this agent any more, because it is lost or has ended."""
        self._step(AgentGone(agent))

    def back(self, agent: str) -> None:
        """Count the users of an agent again, because it returned."""
        self._step(AgentBack(agent, self._clock()))

    def tick(self, now_ns: int) -> None:
        """Send releases that workers have not confirmed again. Call it several times a second while there is load."""
        if self._state.points:
            self._step(Tick(now_ns))

    def points(self) -> tuple[PointView, ...]:
        """Return for the live view how many users wait at each rendez-vous."""
        return tuple(
            PointView(load_name(self._port.order.spec, load), name, point.waiting, point.users, point.groups)
            for (load, name), point in self._state.points.items()
        )

    def end(self) -> None:
        """Write the totals of each rendez-vous to the journal."""
        for (load, name), point in self._state.points.items():
            came = sum(queue.arrived for queue in point.queues.values())
            self._journal.event(
                "rendezvous in all",
                point=name,
                load=load_name(self._port.order.spec, load),
                groups=point.groups,
                met=point.met,
                came=came,
            )

    def _step(self, event: Event) -> None:
        self._state, effects = step(self._state, event)
        for effect in effects:
            match effect:
                case Release():
                    self._release(effect)
                case Differs((_, name), slot, users, other):
                    self._record.notice(
                        f'the rendez-vous "{name}" waits for {users} users, but on {slot.agent} for {other}: '
                        f"all groups have {users}"
                    )

    def _release(self, release: Release) -> None:
        load, name = release.key
        run, run_id = self._port.run, self._record.run_id
        for slot, life, upto in release.upto:
            self._port.send_to(slot.agent, ReleaseAt(run_id, slot.worker, life, load, name, upto, release.at_ns))
        if not release.again and run.t0_ns is not None:
            self._journal.event(
                "rendezvous",
                point=name,
                load=load_name(self._port.order.spec, load),
                group=release.group,
                users=release.users,
                at_ns=release.at_ns - run.t0_ns,
                agents=dict(release.counts),
                release=release,
            )

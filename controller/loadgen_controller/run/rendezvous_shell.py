"""The rendez-vous of one run: the shell around `rendezvous.step` that performs its effects.

What workers tell, and which of them come and go, is handed on; groups that it finds are let go by message, and
each is an event in the journal, so that a controller that is started anew knows which have gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from loadgen.wire.messages import Message, ReleaseAt, Waiting
from loadgen_controller.core.lifecycle import Run
from loadgen_controller.core.order import Order
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
from loadgen_controller.core.run_record import RunRecord
from loadgen_controller.run.journal import Journal
from loadgen_controller.run.load_control import load_name
from loadgen_controller.run.view import PointView

__all__ = ["Meeting"]


class RendezvousPort(Protocol):
    """What it needs of the run that it is about."""

    @property
    def run(self) -> Run: ...

    @property
    def order(self) -> Order: ...

    def say(self, agent: str, message: Message) -> None: ...


class Meeting:
    """Who waits where, and who goes on."""

    def __init__(
        self,
        desk: RendezvousPort,
        books: RunRecord,
        journal: Journal,
        clock: Callable[[], int],
        meetings: RendezvousState | None = None,
    ) -> None:
        """meetings: where a controller before this one had left them."""
        self._desk, self._record, self._journal, self._clock = desk, books, journal, clock
        self._meetings = meetings or RendezvousState()

    def told(self, agent: str, waiting: Waiting) -> None:
        self._step(WaitersReported(WorkerSlot(agent, waiting.worker), waiting.life, waiting.points, self._clock()))

    def gone(self, agent: str) -> None:
        """The agent is lost, or has ended: its users are not waited for."""
        self._step(AgentGone(agent))

    def back(self, agent: str) -> None:
        self._step(AgentBack(agent, self._clock()))

    def tick(self, now_ns: int) -> None:
        """Releases that were not heard are said again. Call it often while there is load."""
        if self._meetings.points:
            self._step(Tick(now_ns))

    def points(self) -> tuple[PointView, ...]:
        """Where users wait, for who watches."""
        return tuple(
            PointView(load_name(self._desk.order.spec, load), name, point.waiting, point.users, point.groups)
            for (load, name), point in self._meetings.points.items()
        )

    def end(self) -> None:
        """What each rendez-vous came to, into the journal."""
        for (load, name), point in self._meetings.points.items():
            came = sum(queue.arrived for queue in point.queues.values())
            self._journal.event(
                "rendezvous in all",
                point=name,
                load=load_name(self._desk.order.spec, load),
                groups=point.groups,
                met=point.met,
                came=came,
            )

    def _step(self, event: Event) -> None:
        self._meetings, effects = step(self._meetings, event)
        for effect in effects:
            match effect:
                case Release():
                    self._release(effect)
                case Differs((_, name), seat, users, other):
                    self._record.notice(
                        f'the rendez-vous "{name}" is of {users} users, and on {seat.agent} of {other}: '
                        f"groups are of {users}"
                    )

    def _release(self, release: Release) -> None:
        load, name = release.key
        run, run_id = self._desk.run, self._record.run_id
        for seat, life, upto in release.upto:
            self._desk.say(seat.agent, ReleaseAt(run_id, seat.worker, life, load, name, upto, release.at_ns))
        if not release.again and run.t0_ns is not None:
            self._journal.event(
                "rendezvous",
                point=name,
                load=load_name(self._desk.order.spec, load),
                group=release.group,
                users=release.users,
                at_ns=release.at_ns - run.t0_ns,
                agents=dict(release.counts),
                release=release,
            )

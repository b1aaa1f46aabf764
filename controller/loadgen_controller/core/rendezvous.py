"""Who meets whom, over the whole fleet, as a pure function: counts of workers in, releases out.

Users at a rendez-vous are interchangeable, so no user is known here: of each
worker only how many came and how many are gone, which both only grow, and up to
the how-manieth we let go. A message that is lost, late, or comes twice therefore
does no harm, and a release may be said as often as need be.

Nothing here reads a clock or sends; `meeting.py` does. Times are ns of the controller's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = [
    "AGAIN_NS",
    "LEAD_NS",
    "MOST_POINTS",
    "AgentBack",
    "AgentGone",
    "Differs",
    "Effect",
    "Event",
    "Point",
    "Queue",
    "Release",
    "RendezvousState",
    "Tick",
    "WaitersReported",
    "WorkerSlot",
    "met_before",
    "step",
]

LEAD_NS: Final = 200 * NS_PER_MS
"""From the decision to the instant at which the group goes on: must reach every worker before it."""
AGAIN_NS: Final = 1 * NS_PER_S
"""A release that a worker does not seem to have heard is said again."""
MOST_POINTS: Final = 1_000
"""Rendez-vous points of a run; further ones are ignored. One worker has at most 50 (`rendezvous_counts.py`)."""


@dataclass(frozen=True, slots=True, order=True)
class WorkerSlot:
    """A worker of the fleet."""

    agent: str
    worker: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One worker's users at one point.

    life: which process of those that had the worker's place.
    arrived, gone: as it told.
    upto: the users up to this one were let go; those of them that it has not told to be gone may not know it.
    at_ns, said_ns: when those go on, and when that was said last.
    """

    life: int
    arrived: int = 0
    gone: int = 0
    upto: int = 0
    at_ns: int = 0
    said_ns: int = 0

    @property
    def waiting(self) -> int:
        return max(0, self.arrived - max(self.gone, self.upto))

    @property
    def is_unheard(self) -> bool:
        return self.gone < self.upto


@dataclass(frozen=True, slots=True)
class Point:
    """A rendez-vous of one of the plan's loads.

    users: how many make a group; the first that was told.
    waiting: of all agents that are not gone.
    groups, met: how many groups were let go, and how many users with them.
    """

    users: int
    waiting: int = 0
    groups: int = 0
    met: int = 0
    queues: Mapping[WorkerSlot, Queue] = field(default_factory=dict)
    unheard: frozenset[WorkerSlot] = frozenset()
    differs: frozenset[int] = frozenset()
    """Other numbers of users that were told; said once each."""


Key = tuple[int, str]
"""Index of the load, and the name within it."""


@dataclass(frozen=True, slots=True)
class RendezvousState:
    """All rendez-vous of a run."""

    points: Mapping[Key, Point] = field(default_factory=dict)
    lives: Mapping[WorkerSlot, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    """Agents whose users do not count."""


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WaitersReported:
    """By a worker: everybody of it that waits anywhere, or has waited."""

    seat: WorkerSlot
    life: int
    points: tuple[WaitingAt, ...]
    now_ns: int


@dataclass(frozen=True, slots=True)
class AgentGone:
    agent: str


@dataclass(frozen=True, slots=True)
class AgentBack:
    """It was never gone; we only did not hear it."""

    agent: str
    now_ns: int


@dataclass(frozen=True, slots=True)
class Tick:
    now_ns: int


Event = WaitersReported | AgentGone | AgentBack | Tick


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """A group goes on.

    group: its number at this point, from 1. upto: of each worker that has members of it, its life and up to which of
    its users. counts: how many of the group's users each agent has. again: it was said before; nobody is let go by it
    who was not already.
    """

    key: Key
    group: int
    users: int
    at_ns: int
    upto: tuple[tuple[WorkerSlot, int, int], ...]
    counts: tuple[tuple[str, int], ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Differs:
    """A worker says that another number of users makes a group; the first that was told stands."""

    key: Key
    seat: WorkerSlot
    users: int
    other: int


Effect = Release | Differs
Moved = tuple[RendezvousState, tuple[Effect, ...]]


def step(meetings: RendezvousState, event: Event) -> Moved:
    """Everything that becomes of users at rendez-vous. No I/O, no clock.

    event     | what it does
    Told      | of an older process of the worker: ignored. Of a newer one: what the one before told is forgotten.
              | Then the counts rise to what is told (they never fall), and where enough wait, groups are released,
              | of those that were told first: the others' users, then as many of this worker as are missing.
              | Another number of users than was told first: Differs, once
    AgentGone | its users count no more, and nothing is said to it
    AgentBack | they count again, as the last of those that wait; where enough do, groups are released
    Tick      | releases of which a worker has not told for AGAIN_NS that its users are gone: again, to that worker

    At every point fewer than `users` wait after each event. Of a group its members may have left meanwhile (time-out,
    cut off): it is smaller then, and nobody else goes in their place.
    """
    match event:
        case WaitersReported():
            return _told(meetings, event)
        case AgentGone(agent) if agent in meetings.gone:
            return meetings, ()
        case AgentGone(agent):
            points = {key: _without(point, agent) for key, point in meetings.points.items()}
            return replace(meetings, points=points, gone=meetings.gone | {agent}), ()
        case AgentBack(agent, now_ns):
            return _back(meetings, agent, now_ns)
        case Tick(now_ns):
            return _again(meetings, now_ns)


def _told(meetings: RendezvousState, told: WaitersReported) -> Moved:
    seat, life = told.seat, told.life
    known = meetings.lives.get(seat, 0)
    if life < known:
        return meetings, ()
    points = dict(meetings.points)
    if life > known:
        points = {key: _forget(point, seat, meetings.gone) for key, point in points.items()}
        meetings = replace(meetings, lives={**meetings.lives, seat: life})
    effects: list[Effect] = []
    for one in told.points:
        key = (one.load, one.name)
        if key not in points and len(points) >= MOST_POINTS:
            continue
        point = points.get(key) or Point(one.users)
        if one.users != point.users and one.users not in point.differs:
            point = replace(point, differs=point.differs | {one.users})
            effects.append(Differs(key, seat, point.users, one.users))
        before = point.queues.get(seat, Queue(life))
        gone = max(before.gone, one.gone)
        queue = replace(before, arrived=max(before.arrived, one.arrived, gone), gone=gone)
        point = _with(point, seat, queue, meetings.gone)
        points[key], released = _release(key, point, (seat,), told.now_ns, meetings.gone)
        effects += released
    return replace(meetings, points=points), tuple(effects)


def _back(meetings: RendezvousState, agent: str, now_ns: int) -> Moved:
    if agent not in meetings.gone:
        return meetings, ()
    gone = meetings.gone - {agent}
    points: dict[Key, Point] = {}
    effects: list[Effect] = []
    for key, point in meetings.points.items():
        own = tuple(sorted(seat for seat in point.queues if seat.agent == agent))
        waiting = point.waiting + sum(point.queues[seat].waiting for seat in own)
        unheard = point.unheard | {seat for seat in own if point.queues[seat].is_unheard}
        points[key], released = _release(key, replace(point, waiting=waiting, unheard=unheard), own, now_ns, gone)
        effects += released
    return replace(meetings, points=points, gone=gone), tuple(effects)


def _again(meetings: RendezvousState, now_ns: int) -> Moved:
    changed: dict[Key, Point] = {}
    effects: list[Effect] = []
    for key, point in meetings.points.items():
        due = [s for s in sorted(point.unheard) if now_ns - point.queues[s].said_ns >= AGAIN_NS]
        if not due:
            continue
        queues = dict(point.queues)
        for seat in due:
            queue = queues[seat] = replace(queues[seat], said_ns=now_ns)
            upto = ((seat, queue.life, queue.upto),)
            effects.append(Release(key, point.groups, point.users, queue.at_ns, upto, again=True))
        changed[key] = replace(point, queues=queues)
    return (replace(meetings, points={**meetings.points, **changed}) if changed else meetings), tuple(effects)


def met_before(meetings: RendezvousState, release: Release) -> RendezvousState:
    """As it was after a release that a controller before this one has decided; each is told once, in order.

    Who waits is not known then: workers tell it again. That they were let go they may not have heard.
    """
    point = meetings.points.get(release.key) or Point(release.users)
    queues, lives = dict(point.queues), dict(meetings.lives)
    for seat, life, upto in release.upto:
        lives[seat] = max(life, lives.get(seat, 0))
        if life == lives[seat]:
            queues[seat] = Queue(life, arrived=upto, upto=upto, at_ns=release.at_ns)
    point = replace(
        point,
        groups=release.group,
        met=point.met + release.users,
        queues={seat: queue for seat, queue in queues.items() if queue.life == lives[seat]},
    )
    point = replace(point, unheard=frozenset(seat for seat, queue in point.queues.items() if queue.is_unheard))
    return replace(meetings, points={**meetings.points, release.key: point}, lives=lives)


# -- points ------------------------------------------------------------------------------------


def _with(point: Point, seat: WorkerSlot, queue: Queue, gone: frozenset[str]) -> Point:
    """With the worker's queue as it is now."""
    before = point.queues.get(seat)
    if before == queue:
        return point
    counts = seat.agent not in gone
    waiting = point.waiting + counts * (queue.waiting - (before.waiting if before is not None else 0))
    unheard = point.unheard | {seat} if counts and queue.is_unheard else point.unheard - {seat}
    return replace(point, queues={**point.queues, seat: queue}, waiting=waiting, unheard=unheard)


def _forget(point: Point, seat: WorkerSlot, gone: frozenset[str]) -> Point:
    """The worker's process is another one."""
    before = point.queues.get(seat)
    if before is None:
        return point
    queues = {other: queue for other, queue in point.queues.items() if other != seat}
    waiting = point.waiting - (0 if seat.agent in gone else before.waiting)
    return replace(point, queues=queues, waiting=waiting, unheard=point.unheard - {seat})


def _without(point: Point, agent: str) -> Point:
    own = {seat for seat in point.queues if seat.agent == agent}
    if not own:
        return point
    waiting = point.waiting - sum(point.queues[seat].waiting for seat in own)
    return replace(point, waiting=waiting, unheard=point.unheard - own)


def _release(
    key: Key, point: Point, last: tuple[WorkerSlot, ...], now_ns: int, gone: frozenset[str]
) -> tuple[Point, list[Effect]]:
    """All groups that are complete. `last`: whose users came last."""
    effects: list[Effect] = []
    while point.waiting >= point.users:
        queues = dict(point.queues)
        counts: dict[str, int] = {}
        upto: list[tuple[WorkerSlot, int, int]] = []
        missing = point.users
        # Before the last ones came there were too few, so all others go: nobody is overtaken.
        for seat in sorted(queues, key=lambda seat: (seat in last, seat)):
            queue = queues[seat]
            if seat.agent in gone or not (taken := min(queue.waiting, missing)):
                continue
            missing -= taken
            counts[seat.agent] = counts.get(seat.agent, 0) + taken
            end = max(queue.gone, queue.upto) + taken
            queues[seat] = replace(queue, upto=end, at_ns=now_ns + LEAD_NS, said_ns=now_ns)
            upto.append((seat, queue.life, end))
        point = replace(
            point,
            waiting=point.waiting - point.users,
            groups=point.groups + 1,
            met=point.met + point.users,
            queues=queues,
            unheard=point.unheard | {seat for seat, _, _ in upto},
        )
        at_ns = now_ns + LEAD_NS
        effects.append(Release(key, point.groups, point.users, at_ns, tuple(upto), tuple(sorted(counts.items()))))
    return point, effects

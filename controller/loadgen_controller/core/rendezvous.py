"""Decides over the whole fleet when users at a rendez-vous go on: counts from workers in, releases out.

Users at a rendez-vous are interchangeable, so only counts exist here. Each worker
reports two counters that only grow: users that arrived and users that left. A third
counter holds up to which user this worker's users were released. So a lost, late or
repeated message does no harm, and a release can be sent as often as necessary.

Pure: this module reads no clock and sends nothing; `run/rendezvous_shell.py` does.
Times are ns of the controller's clock.
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
"""The time from a release to the moment when its group goes on. The release must reach every worker before that."""
AGAIN_NS: Final = 1 * NS_PER_S
"""The time after which a release is sent again to a worker that has not confirmed it."""
MOST_POINTS: Final = 1_000
"""The most rendez-vous points of a run; more are ignored. One worker has at most 50 (`rendezvous_counts.py`)."""


@dataclass(frozen=True, slots=True, order=True)
class WorkerSlot:
    """A worker slot of an agent; a replaced worker keeps it."""

    agent: str
    worker: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One worker's users at one point.

    life: the number of the process in the worker slot.
    arrived, gone: the counters that the worker reported.
    upto: users up to this number are released. The worker has confirmed the release only for the first `gone` of them.
    at_ns, said_ns: when the last released users go on, and when their release was last sent.
    """

    life: int
    arrived: int = 0
    gone: int = 0
    upto: int = 0
    at_ns: int = 0
    said_ns: int = 0

    @property
    def waiting(self) -> int:
        """Return how many users of this worker wait at the point and were not released."""
        return max(0, self.arrived - max(self.gone, self.upto))

    @property
    def is_unheard(self) -> bool:
        """Return whether the worker has not yet confirmed that all its released users went on."""
        return self.gone < self.upto


@dataclass(frozen=True, slots=True)
class Point:
    """One rendez-vous of one load of the plan.

    users: the size of a group; the first size that a worker reported.
    waiting: the users that wait, on all agents that are not gone.
    groups, met: the number of released groups, and of the users in them.
    unheard: the worker slots that have not confirmed their last release.
    """

    users: int
    waiting: int = 0
    groups: int = 0
    met: int = 0
    queues: Mapping[WorkerSlot, Queue] = field(default_factory=dict)
    unheard: frozenset[WorkerSlot] = frozenset()
    differs: frozenset[int] = frozenset()
    """Other group sizes that workers reported; each is noted once."""


Key = tuple[int, str]
"""The index of the load, and the name of the rendez-vous within that load."""


@dataclass(frozen=True, slots=True)
class RendezvousState:
    """The state of all rendez-vous of a run.

    lives: for each worker slot, the number of the newest process that reported.
    """

    points: Mapping[Key, Point] = field(default_factory=dict)
    lives: Mapping[WorkerSlot, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    """Agents whose users do not count."""


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WaitersReported:
    """A worker reported its counters of all rendez-vous."""

    slot: WorkerSlot
    life: int
    points: tuple[WaitingAt, ...]
    now_ns: int


@dataclass(frozen=True, slots=True)
class AgentGone:
    """An agent was lost; its users do not count any more."""

    agent: str


@dataclass(frozen=True, slots=True)
class AgentBack:
    """A lost agent is heard again: only the connection was interrupted."""

    agent: str
    now_ns: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    now_ns: int


Event = WaitersReported | AgentGone | AgentBack | Tick


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """Send to workers that a group goes on.

    group: its number at this point, from 1.
    upto: for each worker with users in the group: slot, life, and the number up to which its users are released.
    counts: (agent, number of its users in the group).
    again: a repetition, which releases no additional user.
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
    """A worker reported another group size than the first worker; the first size, `users`, stays in force."""

    key: Key
    slot: WorkerSlot
    users: int
    other: int


Effect = Release | Differs
Moved = tuple[RendezvousState, tuple[Effect, ...]]


def step(state: RendezvousState, event: Event) -> Moved:
    """Return the new state and the effects of one event. No I/O, no clock.

    event           | effect
    WaitersReported | A report of an older process is ignored. A report of a newer process replaces the counts of the
                    | older one. Counts rise to the reported numbers and never fall. While enough users wait, groups are
                    | released: first the users of other workers, then as many of this worker's as are missing.
                    | Another group size than the first: Differs, once
    AgentGone       | its users do not count any more, and it receives no releases
    AgentBack       | its users count again, as the last ones that arrived; complete groups are released
    Tick            | a release that a worker has not confirmed for AGAIN_NS is sent to it again

    After each event fewer than `users` users wait at every point. Users of a group may have left in the meantime, by a
    time-out or because they were cut off. Then the group is smaller, and no other user takes their place.
    """
    match event:
        case WaitersReported():
            return _reported(state, event)
        case AgentGone(agent) if agent in state.gone:
            return state, ()
        case AgentGone(agent):
            points = {key: _without(point, agent) for key, point in state.points.items()}
            return replace(state, points=points, gone=state.gone | {agent}), ()
        case AgentBack(agent, now_ns):
            return _back(state, agent, now_ns)
        case Tick(now_ns):
            return _again(state, now_ns)


def _reported(state: RendezvousState, report: WaitersReported) -> Moved:
    slot, life = report.slot, report.life
    known = state.lives.get(slot, 0)
    if life < known:
        return state, ()
    points = dict(state.points)
    if life > known:
        points = {key: _forget(point, slot, state.gone) for key, point in points.items()}
        state = replace(state, lives={**state.lives, slot: life})
    effects: list[Effect] = []
    for one in report.points:
        key = (one.load, one.name)
        if key not in points and len(points) >= MOST_POINTS:
            continue
        point = points.get(key) or Point(one.users)
        if one.users != point.users and one.users not in point.differs:
            point = replace(point, differs=point.differs | {one.users})
            effects.append(Differs(key, slot, point.users, one.users))
        before = point.queues.get(slot, Queue(life))
        # Reports may arrive out of order, and an older one must not lower a counter. Users that left had arrived
        # before.
        gone = max(before.gone, one.gone)
        queue = replace(before, arrived=max(before.arrived, one.arrived, gone), gone=gone)
        point = _with(point, slot, queue, state.gone)
        points[key], released = _release(key, point, (slot,), report.now_ns, state.gone)
        effects += released
    return replace(state, points=points), tuple(effects)


def _back(state: RendezvousState, agent: str, now_ns: int) -> Moved:
    if agent not in state.gone:
        return state, ()
    gone = state.gone - {agent}
    points: dict[Key, Point] = {}
    effects: list[Effect] = []
    for key, point in state.points.items():
        own = tuple(sorted(slot for slot in point.queues if slot.agent == agent))
        waiting = point.waiting + sum(point.queues[slot].waiting for slot in own)
        unheard = point.unheard | {slot for slot in own if point.queues[slot].is_unheard}
        points[key], released = _release(key, replace(point, waiting=waiting, unheard=unheard), own, now_ns, gone)
        effects += released
    return replace(state, points=points, gone=gone), tuple(effects)


def _again(state: RendezvousState, now_ns: int) -> Moved:
    changed: dict[Key, Point] = {}
    effects: list[Effect] = []
    for key, point in state.points.items():
        due = [s for s in sorted(point.unheard) if now_ns - point.queues[s].said_ns >= AGAIN_NS]
        if not due:
            continue
        queues = dict(point.queues)
        for slot in due:
            queue = queues[slot] = replace(queues[slot], said_ns=now_ns)
            upto = ((slot, queue.life, queue.upto),)
            effects.append(Release(key, point.groups, point.users, queue.at_ns, upto, again=True))
        changed[key] = replace(point, queues=queues)
    return (replace(state, points={**state.points, **changed}) if changed else state), tuple(effects)


def met_before(state: RendezvousState, release: Release) -> RendezvousState:
    """Return the state with a release that an earlier controller process made.

    Call it once for each release, in order.

    The waiting users are unknown afterwards; workers report them again. Restored releases count as unconfirmed.
    """
    point = state.points.get(release.key) or Point(release.users)
    queues, lives = dict(point.queues), dict(state.lives)
    for slot, life, upto in release.upto:
        lives[slot] = max(life, lives.get(slot, 0))
        if life == lives[slot]:
            # At least the released users had arrived; the worker's next report raises the number.
            queues[slot] = Queue(life, arrived=upto, upto=upto, at_ns=release.at_ns)
    point = replace(
        point,
        groups=release.group,
        met=point.met + release.users,
        queues={slot: queue for slot, queue in queues.items() if queue.life == lives[slot]},
    )
    point = replace(point, unheard=frozenset(slot for slot, queue in point.queues.items() if queue.is_unheard))
    return replace(state, points={**state.points, release.key: point}, lives=lives)


# -- points ------------------------------------------------------------------------------------


def _with(point: Point, slot: WorkerSlot, queue: Queue, gone: frozenset[str]) -> Point:
    """Return the point with the new queue of one worker, and with the totals adapted."""
    before = point.queues.get(slot)
    if before == queue:
        return point
    counts = slot.agent not in gone
    waiting = point.waiting + counts * (queue.waiting - (before.waiting if before is not None else 0))
    unheard = point.unheard | {slot} if counts and queue.is_unheard else point.unheard - {slot}
    return replace(point, queues={**point.queues, slot: queue}, waiting=waiting, unheard=unheard)


def _forget(point: Point, slot: WorkerSlot, gone: frozenset[str]) -> Point:
    """Return the point without the counts of a worker whose process was replaced."""
    before = point.queues.get(slot)
    if before is None:
        return point
    queues = {other: queue for other, queue in point.queues.items() if other != slot}
    waiting = point.waiting - (0 if slot.agent in gone else before.waiting)
    return replace(point, queues=queues, waiting=waiting, unheard=point.unheard - {slot})


def _without(point: Point, agent: str) -> Point:
    """Return the point without the waiting users of `agent`. Its queues are kept in case it comes back."""
    own = {slot for slot in point.queues if slot.agent == agent}
    if not own:
        return point
    waiting = point.waiting - sum(point.queues[slot].waiting for slot in own)
    return replace(point, waiting=waiting, unheard=point.unheard - own)


def _release(
    key: Key, point: Point, last: tuple[WorkerSlot, ...], now_ns: int, gone: frozenset[str]
) -> tuple[Point, list[Effect]]:
    """Release every complete group of users; return the new point and one Release effect for each group.

    `last`: the worker slots whose users arrived last.
    """
    effects: list[Effect] = []
    while point.waiting >= point.users:
        queues = dict(point.queues)
        counts: dict[str, int] = {}
        upto: list[tuple[WorkerSlot, int, int]] = []
        missing = point.users
        # Without the last arrivals the group was incomplete, so it takes all other waiting users. None is overtaken.
        for slot in sorted(queues, key=lambda slot: (slot in last, slot)):
            queue = queues[slot]
            if slot.agent in gone or not (taken := min(queue.waiting, missing)):
                continue
            missing -= taken
            counts[slot.agent] = counts.get(slot.agent, 0) + taken
            # Users may also have left by a time-out, beyond the released ones; a release must not count those again.
            end = max(queue.gone, queue.upto) + taken
            queues[slot] = replace(queue, upto=end, at_ns=now_ns + LEAD_NS, said_ns=now_ns)
            upto.append((slot, queue.life, end))
        point = replace(
            point,
            waiting=point.waiting - point.users,
            groups=point.groups + 1,
            met=point.met + point.users,
            queues=queues,
            unheard=point.unheard | {slot for slot, _, _ in upto},
        )
        at_ns = now_ns + LEAD_NS
        effects.append(Release(key, point.groups, point.users, at_ns, tuple(upto), tuple(sorted(counts.items()))))
    return point, effects

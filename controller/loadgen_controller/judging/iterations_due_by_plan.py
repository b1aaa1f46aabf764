"""Computes how many iterations were due on each agent, from the plan and the changes in its journal. Pure.

An agent reports how its iterations ended. This module computes the totals that these reports must add up to:

    open loads      the arrivals that the rate curve and the shares give the agent
    counted loads   the agent's iterations
    closed loads    the agent's users over time

Shares are computed by the code that agents use (`loadgen.engine`), since that code defines an agent's part. The
total of the fleet is also computed a second way (`total_by_area`), from nothing but the area under the rate curve.

A load may have times of its own, as a replay or an executor of the scenario has. Agents do not send these times, so
only the total is known here. The agents report at which arrival each share change begins, and their reports must
agree.

Times are ns from T0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, sqrt
from typing import Final

import msgspec
import numpy as np

from loadgen.dsl.plans.spec import LaneSpec
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.profiles.edits import is_pause, replaced, value_at
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage, exact, length
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Adjust, Reassign
from loadgen_controller.core.shares import Assignment

__all__ = [
    "Basis",
    "Changed",
    "ClosedDue",
    "CountedDue",
    "LoadChange",
    "OpenDue",
    "PlannedLoad",
    "ShareChange",
    "changed",
    "dues_of",
    "total_by_area",
]

_WALKED: Final = 1 << 18
"""Arrivals that are assigned to agents at once: 1 ms for each share change, of which 0.1 ms do not depend on them."""
_KEPT_NS: Final = 30 * NS_PER_S
"""The length of the curve before a load change that is kept if there are more than `_FEW` load changes."""
_RECENT: Final = 16
"""Results of `by_agent` that are cached: agents report different intervals, up to some seconds apart."""
_FEW: Final = 100
"""Most load changes for which the whole curve of a load is kept."""


class LoadChange(msgspec.Struct, frozen=True, tag="load"):
    """From `at_ns` on, the load follows these stages."""

    load: int
    at_ns: int
    stages: tuple[Stage, ...]


class ShareChange(msgspec.Struct, frozen=True, tag="shares"):
    """From `at_ns` on, the agents have these weights."""

    number: int
    at_ns: int
    weights: tuple[float, ...]


Changed = LoadChange | ShareChange


class PlannedLoad(msgspec.Struct, frozen=True):
    """One load as it was planned."""

    name: str
    after_ns: int
    profile: Profile
    mix: tuple[float, ...]
    """Weights of its journeys; (1.0,) if journeys are drawn at random, since shares do not depend on them then."""
    stays: bool = False
    """Whether a lost agent's part of it stays with that agent."""

    @classmethod
    def of(cls, lane: LaneSpec) -> PlannedLoad:
        """Return those fields of a plan's load that this module needs."""
        mix = (1.0,) if lane.random else tuple(journey.weight for journey in lane.journeys)
        return cls(lane.name, lane.after_ns, lane.profile, mix, bool(lane.stays))


class Basis(msgspec.Struct, frozen=True):
    """The plan and its changes. Together with the assignment they define all due iterations."""

    loads: tuple[PlannedLoad, ...]
    changes: tuple[Changed, ...] = ()
    """In the order in which they were made; their times increase for each load and for the shares."""
    is_stopped: bool = False
    """Whether the load was stopped before its planned end; the stop reached each agent at a different time."""
    counting: tuple[str, ...] = ()
    """Agents with a protocol that counts by load and gives a reason for each end of a share."""

    @classmethod
    def of(
        cls,
        lanes: Sequence[LaneSpec],
        changes: Sequence[Adjust | Reassign],
        *,
        is_stopped: bool = False,
        counting: Sequence[str] = (),
    ) -> Basis:
        """Return the basis for counting due iterations, from the plan's loads and the changes as they were sent to
        agents.
        """
        return cls(
            loads=tuple(map(PlannedLoad.of, lanes)),
            changes=tuple(map(changed, changes)),
            is_stopped=is_stopped,
            counting=tuple(counting),
        )


def changed(one: Adjust | Reassign) -> Changed:
    """Return the change that a message to agents makes: a load change or a share change."""
    if isinstance(one, Adjust):
        return LoadChange(one.load, one.at_ns, one.stages)
    return ShareChange(one.generation, one.at_ns, one.weights)


class OpenDue:
    """The arrivals of one open load, by agent.

    Args:
        first_arrivals: only for a load with times of its own, as agents report it: for the number of each share
            change its first arrival, and for number 0 the total of arrivals.
    """

    def __init__(
        self, load: int, basis: Basis, assignment: Assignment, first_arrivals: Mapping[int, int] | None = None
    ) -> None:
        self.load, self.planned = load, basis.loads[load]
        profile, self._reported = self.planned.profile, first_arrivals or {}
        self.schedule: Schedule | None = profile.schedule() if isinstance(profile, ArrivalProfile) else None
        self._own_total = profile.count if isinstance(profile, TimedProfile) and not basis.is_stopped else None
        self._deal = Deal(Share.of(0, assignment.weights, self.planned.mix))
        self._agents = len(assignment.agents)
        self._walked, self._counts = 0, np.zeros(0, dtype=np.int64)
        self._recent: dict[int, np.ndarray] = {}
        self.is_known = True
        """Whether the first arrival of every share change is known."""
        self._changes = 0
        self._keeps_all = sum(isinstance(one, LoadChange) and one.load == load for one in basis.changes) <= _FEW
        for one in basis.changes:
            self.change(one)

    def change(self, one: Changed) -> None:
        """Apply a load change or share change to this load. Changes of other loads are ignored.

        Call it in the order of the changes.
        """
        at_ns = max(0, one.at_ns - self.planned.after_ns)
        if isinstance(one, LoadChange):
            if one.load != self.load:
                return
            self._changes += 1
            self._own_total = None
            if self.schedule is not None:
                since_ns = None if self._keeps_all and self._changes <= _FEW else at_ns - _KEPT_NS
                self.schedule = self.schedule.replaced(at_ns, one.stages, since_ns)
        elif not self.planned.stays:
            at = self.schedule.count_at(at_ns) if self.schedule is not None else self._reported.get(one.number)
            if at is None:
                self.is_known = False
                return
            self._deal = self._deal.changed(Change(one.number, at, one.weights))
            self._recent.clear()
            # The walk has counted arrivals beyond the change with their old owners, so it starts again.
            if at < self._walked:
                self._walked, self._counts = 0, np.zeros(0, dtype=np.int64)
            self._agents = max(self._agents, len(one.weights))

    @property
    def is_located(self) -> bool:
        """Return whether `count_at` is right for any time.

        Otherwise it is right from 30 s before the newest change on.
        """
        return self.schedule is not None and self._changes <= _FEW

    @property
    def total(self) -> int | None:
        """Return the number of arrivals of the load. None if only the agents know it and none has reported it."""
        if self.schedule is not None:
            return self.schedule.total()
        return self._reported.get(0) if self._own_total is None else self._own_total

    def count_at(self, t_ns: int) -> int:
        """Return how many arrivals of the whole fleet are due before `t_ns`. Call it only if `schedule` is not None."""
        assert self.schedule is not None
        return min(self.schedule.count_at(max(0, t_ns - self.planned.after_ns)), self.schedule.total())

    @property
    def is_walked(self) -> bool:
        """Return whether shares have changed.

        From then on, arrivals are assigned to agents one by one, which costs time.
        """
        return bool(self._deal.changes)

    @property
    def walked(self) -> int:
        """The number of arrivals that have been assigned so far, counted from the first."""
        return max(self._walked, self._deal.changes[0].at if self._deal.changes else 0)

    def is_near(self, n: int) -> bool:
        """Return whether `by_agent(n)` is cheap, because it need not start again at the first share change."""
        return not self.is_walked or n >= self._walked or n in self._recent or n <= self._deal.changes[0].at

    def by_agent(self, n: int) -> np.ndarray:
        """Return how many of the fleet's first `n` arrivals are each agent's: (agents,) int64, in the assignment's
        order.

        Cost: some µs before the first share change; after it, 60 ns for each new arrival and share change. A smaller
        `n` than in the last call starts again at the first share change (see `is_near`).
        """
        first = self._deal.changes[0].at if self._deal.changes else n
        if n <= first:
            return self._padded(self._deal.share.counts_below(n))
        if n in self._recent:
            return self._padded(self._recent[n])
        if not len(self._counts) or n < self._walked:
            self._walked, self._counts = first, self._padded(self._deal.share.counts_below(first))
        self._counts = self._padded(self._counts)
        while self._walked < n:
            until = min(n, self._walked + _WALKED)
            owners = self._deal.owners(np.arange(self._walked, until))
            self._counts = self._counts + np.bincount(owners, minlength=self._agents)
            self._walked = until
        self._recent[n] = self._counts
        while len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        return self._counts

    def by_agent_at(self, ns: Sequence[int], places: np.ndarray) -> np.ndarray:
        """Return for each of `ns` what `by_agent` returns, for the agents at `places` only: (len(ns), len(places)).

        Args:
            ns: numbers of arrivals, in rising order.
            places: indices of agents in the assignment, (agents,) int64.

        Cost: that of one call of `by_agent` with the last of `ns`, however many there are.
        """
        asked = np.array(ns, dtype=np.int64)
        found = np.zeros((len(asked), len(places)), dtype=np.int64)
        first = self._deal.changes[0].at if self._deal.changes else (ns[-1] if ns else 0)
        is_early = asked <= first
        for at in np.flatnonzero(is_early).tolist():
            found[at] = self._padded(self._deal.share.counts_below(ns[at]))[places]
        counts, walked = self._padded(self._deal.share.counts_below(first))[places], first
        while ns and walked < ns[-1]:
            until = min(ns[-1], walked + _WALKED)
            owners = self._deal.owners(np.arange(walked, until))
            within = np.flatnonzero(~is_early & (asked > walked) & (asked <= until))
            for column, place in enumerate(places.tolist()):
                own = walked + np.flatnonzero(owners == place)
                found[within, column] = counts[column] + np.searchsorted(own, asked[within])
                counts[column] += len(own)
            walked = until
        return found

    def _padded(self, counts: np.ndarray) -> np.ndarray:
        return np.concatenate((counts, np.zeros(self._agents - len(counts), dtype=np.int64)))


class CountedDue:
    """The iterations of one counted load, by agent."""

    def __init__(self, load: int, basis: Basis, assignment: Assignment) -> None:
        self.load, self.planned = load, basis.loads[load]
        profile = self.planned.profile
        assert isinstance(profile, IterationProfile)
        self._profile, self._assignment = profile, assignment

    @property
    def total(self) -> int:
        """Return the number of iterations of the whole fleet."""
        return self._profile.total()

    def by_agent(self) -> np.ndarray:
        """Return the number of iterations of each agent: (agents,) int64, in the assignment's order."""
        profile = self._profile
        share = Share.of(0, self._assignment.weights, self.planned.mix)
        users = np.bincount(share.user_owners(profile.users), minlength=len(self._assignment.agents))
        if profile.per_user:
            return users * profile.per_user
        found: np.ndarray = Share.of(0, users.tolist(), self.planned.mix).counts_below(profile.total())
        return found


class ClosedDue:
    """The users of one closed load, by agent and time."""

    def __init__(self, load: int, basis: Basis, assignment: Assignment) -> None:
        self.load, self.planned = load, basis.loads[load]
        profile = self.planned.profile
        assert isinstance(profile, UserProfile)
        self._stages: tuple[Stage, ...] = profile.stages
        deal = Deal(Share.of(0, assignment.weights, (1.0,)))
        for change in basis.changes:
            at_ns = max(0, change.at_ns - self.planned.after_ns)
            if isinstance(change, ShareChange):
                if not self.planned.stays:
                    deal = deal.changed(Change(change.number, at_ns, change.weights))
            elif change.load == load:
                self._stages = replaced(self._stages, at_ns, change.stages)
        self._deal, self._agents = deal, len(assignment.agents)
        self._owners: dict[tuple[int, int], np.ndarray] = {}
        """The agent of each user: (users,), by (number of share changes so far, number of users)."""

    @property
    def end_ns(self) -> int | None:
        """Return when the load ends, ns from T0; None while it is paused for an unknown time."""
        return None if is_pause(self._stages) else self.planned.after_ns + length(self._stages)

    def users_at(self, t_ns: int) -> np.ndarray:
        """Return how many users each agent should have at `t_ns`: (agents,) int64."""
        own_ns = t_ns - self.planned.after_ns
        level = ceil(value_at(self._stages, own_ns)) if own_ns >= 0 else 0
        if not level:
            return np.zeros(self._agents, dtype=np.int64)
        changes = sum(1 for change in self._deal.changes if change.at <= own_ns)
        most = 1 << (level - 1).bit_length()  # a power of 2, so that a growing load is assigned a few times only
        key = (changes, most)
        if key not in self._owners:
            self._owners[key] = self._deal.user_owners(most, own_ns)
        return np.bincount(self._owners[key][:level], minlength=self._agents)

    def edges_ns(self) -> list[int]:
        """Return the times at which the number of users may jump or begin to change, ns from T0, sorted."""
        found, at_ns = [self.planned.after_ns], self.planned.after_ns
        for stage in self._stages:
            at_ns += stage.duration_ns
            found += [at_ns - 1, at_ns]
        return sorted({*found, *(change.at + self.planned.after_ns for change in self._deal.changes)})


def dues_of(
    basis: Basis, assignment: Assignment, first_arrivals: Mapping[tuple[int, int], int]
) -> tuple[list[OpenDue], list[CountedDue], list[ClosedDue]]:
    """Return the loads of a plan in three lists: open loads, loads with a fixed number of iterations, closed loads.

    first_arrivals: by (load, number), see `OpenDue`.
    """
    opens: list[OpenDue] = []
    counted: list[CountedDue] = []
    closed: list[ClosedDue] = []
    for load, planned in enumerate(basis.loads):
        if isinstance(planned.profile, IterationProfile):
            counted.append(CountedDue(load, basis, assignment))
        elif isinstance(planned.profile, UserProfile):
            closed.append(ClosedDue(load, basis, assignment))
        else:
            firsts = {number: n for (one, number), n in first_arrivals.items() if one == load}
            opens.append(OpenDue(load, basis, assignment, firsts))
    return opens, counted, closed


# -- the second way -------------------------------------------------------------------------------


def total_by_area(planned: PlannedLoad, changes: Sequence[LoadChange]) -> tuple[int, int] | None:
    """Return the total arrivals of an open load, (at least, at most), from the area under its rate curve alone.

    Even spacing: arrival n is due when the area reaches n, so the total is the area, rounded up, and both bounds are
    equal. Random spacing: the bounds are 6 standard deviations around that. None: the load has no rate curve, or is
    paused for an unknown time.

    This uses neither the timeline nor the agents' shares, and only exact fractions.
    """
    profile = planned.profile
    if not isinstance(profile, ArrivalProfile):
        return None
    area, stages, from_ns = Fraction(0), profile.stages, planned.after_ns
    for change in changes:
        at_ns = max(change.at_ns, planned.after_ns)
        area += _area(stages, at_ns - from_ns)
        stages, from_ns = change.stages, at_ns
    if is_pause(stages):
        return None
    area += _area(stages, length(stages))
    if profile.spacing is None:
        return ceil(area), ceil(area)
    # Spacings with a gamma distribution have the squared coefficient of variation 1 / shape. The number of arrivals of
    # such a renewal process has about the variance area / shape. The 6 covers the small numbers, where this does not
    # hold.
    slack = ceil(6 * sqrt(float(area) / profile.spacing.shape)) + 6
    return max(0, ceil(area) - slack), ceil(area) + slack


def _area(stages: Sequence[Stage], until_ns: int) -> Fraction:
    """Return the area under the rate curve up to `until_ns`, in arrivals."""
    area = Fraction(0)
    for stage in stages:
        took_ns = min(stage.duration_ns, until_ns)
        if took_ns <= 0:
            break
        start, end = exact(stage.start), exact(stage.end)
        at_end = start + (end - start) * Fraction(took_ns, stage.duration_ns)
        area += (start + at_end) / 2 * Fraction(took_ns, NS_PER_S)
        until_ns -= took_ns
    return area

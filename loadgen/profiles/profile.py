"""Load profiles as values: due times of iterations, and numbers of users over time.

Everything here is arithmetic on frozen values. It reads no clock and awaits nothing, so controller, agents and tests
compute the same numbers.

Times are integer nanoseconds from the load's beginning, rates are iterations/s, levels are users. A profile is a
sequence of stages. If a stage begins with another value than the one before ended, the profile jumps and the later
value counts. Iterations and users are numbered from 0 over the whole fleet. `arrival_due_times.py` computes due times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil, floor, isfinite
from typing import ClassVar

import msgspec
import numpy as np

from loadgen.errors import ProfileError
from loadgen.profiles.arrival_due_times import Schedule, Timeline
from loadgen.profiles.describe import texts, time_text
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.spacing import Renewal, Spacing
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_RATE_PER_S, MAX_USERS, Stage, exact, highest, length

__all__ = ["ArrivalProfile", "IterationProfile", "OpenProfile", "Profile", "UserProfile", "spans_of"]


class ArrivalProfile(msgspec.Struct, frozen=True, dict=True, omit_defaults=True, tag_field="kind", tag="arrivals"):
    """An open load: iterations start at times that do not depend on how fast the target answers.

    Raises:
        ProfileError: a rate is negative, not finite or above MAX_RATE_PER_S; the duration is invalid; or all rates
            are 0.
    """

    stages: tuple[Stage, ...]
    spacing: Spacing | None = None
    """Random spacing of the arrivals; None spaces them evenly."""
    is_edited: bool = False
    """Whether the load was changed during a run (`edits.py`). Such a profile is not checked: it may have ended early,
    with no arrivals."""
    label: str = ""
    """Source of the load, if it says more than the stages: "replay of traffic.csv"."""
    digest: ClassVar[str] = ""
    """Empty, because the stages determine all arrival times."""

    def __post_init__(self) -> None:
        if not self.is_edited:
            _check(self.stages, "rate", "/s", MAX_RATE_PER_S)

    @property
    def duration_ns(self) -> int:
        """Duration of the load, in ns."""
        return length(self.stages)

    @property
    def peak(self) -> float:
        """The highest rate of the load, in iterations/s."""
        return highest(self.stages)

    def total(self) -> int:
        """Return the exact number of arrivals in the whole load. With random spacing it depends on the seed."""
        return self._schedule.total()

    def rate_at(self, t_ns: int) -> float:
        """Return the rate at `t_ns` after the load's beginning, in iterations/s; 0 before it and after the end."""
        return float(self._schedule.timeline.value_at(t_ns))

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """Return when arrivals n are due: when the area under the rate curve reaches their positions.

        Args:
            n: integers of any shape, each within 0 <= n < total().
        Returns:
            int64 ns of the same shape, rounded to the nearest ns; non-decreasing in n, each < duration_ns.
        Cost: 30 to 45 ns per value in blocks of 1,000; random spacing adds the cost of `Renewal`.
        """
        return self._schedule.due_ns(n)

    def schedule(self) -> Schedule:
        """Return the load's arrivals as a schedule, which agents drive and whose curve can be replaced."""
        return self._schedule

    def scaled_to(self, peak: float) -> ArrivalProfile:
        """Return a profile of the same shape whose highest rate is `peak`."""
        return msgspec.structs.replace(self, stages=_scaled(self.stages, peak, "rate"))

    def lasting(self, duration_ns: int) -> ArrivalProfile:
        """Return a profile of the same shape and rates that lasts exactly `duration_ns`."""
        return msgspec.structs.replace(self, stages=_stretched(self.stages, duration_ns))

    def describe(self) -> str:
        """Return the load in words: "arrivals, Poisson: ramp 0 to 200/s in 2m, hold 200/s for 10m"."""
        spaced = f", {self.spacing.describe()}" if self.spacing is not None else ""
        if self.label:
            much = f"{self.total():,} in {time_text(self.duration_ns)}, at most {self.peak:,.4g}/s"
            return f"arrivals{spaced}: {self.label}: {much}"
        return f"arrivals{spaced}: " + ", ".join(texts(self.stages, "/s"))

    @cached_property
    def _schedule(self) -> Schedule:
        by_chance = None if self.spacing is None else Renewal(self.spacing.shape, self.spacing.seed)
        return Schedule(Timeline(self.stages), by_chance)


class UserProfile(msgspec.Struct, frozen=True, dict=True, omit_defaults=True, tag_field="kind", tag="users"):
    """A closed load: a number of users over time, each iterating as fast as the target allows, or at a pace.

    User u is present while the level is above u. So in a ramp from 0 to 500 the first user starts at once and the 500th
    just before the end, and the users who came last leave first.

    Raises:
        ProfileError: a level is negative, not finite or above MAX_USERS; the duration is invalid; all levels are 0; or
            the pace is negative or above MAX_DURATION_NS.
    """

    stages: tuple[Stage, ...]
    is_edited: bool = False
    """Whether the load was changed during a run; such a profile is not checked."""
    label: str = ""
    """Source of the load, if it says more than the stages."""
    digest: str = ""
    """Digest of the levels of an executor in the scenario, see `digest_of_levels`; otherwise empty."""
    pace_ns: int = 0
    """Time from the start of a user's iteration to the start of its next; 0 starts the next when one has ended."""
    is_spread: bool = True
    """Whether paced users that come at the same moment are spread over the first cycle."""

    def __post_init__(self) -> None:
        if not 0 <= self.pace_ns <= MAX_DURATION_NS:
            raise ProfileError(f"a pace cannot be {self.pace_ns} ns", hint="use at most 366 days, or 0 for no pace")
        if not self.is_edited:
            _check(self.stages, "number of users", " users", MAX_USERS)

    @property
    def duration_ns(self) -> int:
        """Duration of the load, in ns."""
        return length(self.stages)

    @property
    def peak(self) -> int:
        """The most users at a time in the whole fleet."""
        return ceil(exact(highest(self.stages)))

    def level_at(self, t_ns: int) -> int:
        """Return the planned number of users at `t_ns` after the load's beginning; 0 before it and after the end."""
        return ceil(self._timeline.value_at(t_ns))

    def spans(self, user: int) -> tuple[tuple[int, int], ...]:
        """Return the times in which the fleet's user `user` is present: (start_ns, stop_ns), exact to the ns."""
        return tuple(spans_of(self.stages, user))

    def scaled_to(self, peak: float) -> UserProfile:
        """Return a profile of the same shape with at most `peak` users."""
        return msgspec.structs.replace(self, stages=_scaled(self.stages, peak, "number of users"))

    def lasting(self, duration_ns: int) -> UserProfile:
        """Return a profile of the same shape that lasts exactly `duration_ns`."""
        return msgspec.structs.replace(self, stages=_stretched(self.stages, duration_ns))

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self.stages)

    def describe(self) -> str:
        """Return the load in words: "users, each every 10s: ramp 0 to 500 in 1m, hold 500 for 5m"."""
        if self.label:
            return f"users: {self.label}: at most {self.peak:,} in {time_text(self.duration_ns)}"
        paced = f", each every {time_text(self.pace_ns)}" if self.pace_ns else ""
        return f"users{paced}: " + ", ".join(texts(self.stages, ""))


class IterationProfile(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="iterations"):
    """A counted load: a number of iterations, done by a number of users as fast as the target allows.

    Raises:
        ProfileError: the iterations or users are out of range, or `per_user` times the users is not `iterations`.
    """

    iterations: int
    users: int
    per_user: int = 0
    """Iterations of each user; 0: users share the iterations, and a free user takes the next one."""
    digest: ClassVar[str] = ""

    @classmethod
    def of_each(cls, per_user: int, users: int) -> IterationProfile:
        """Return a profile in which each of `users` users runs `per_user` iterations."""
        return cls(per_user * users, users, per_user)

    def __post_init__(self) -> None:
        if self.per_user and self.per_user * self.users != self.iterations:
            raise ProfileError(
                f"{self.per_user} by each of {self.users} users are not {self.iterations} iterations",
                hint="make the product of both equal to the iterations",
            )
        if not 0 < self.iterations <= 1 << 53:
            raise ProfileError(f"{self.iterations} iterations cannot be done", hint="use at least 1, at most 2^53")
        if not 0 < self.users <= MAX_USERS:
            raise ProfileError(f"{self.users} users cannot do iterations", hint=f"use 1 to {MAX_USERS:,} users")

    @property
    def duration_ns(self) -> None:
        """Always None, because the duration of a counted load depends on the target."""
        return

    @property
    def peak(self) -> int:
        """Number of users in the whole fleet."""
        return self.users

    def total(self) -> int:
        """Return the number of iterations of the whole fleet."""
        return self.iterations

    def scaled_to(self, peak: float) -> IterationProfile:
        """Return a profile with `peak` users and the same iterations, or the same iterations per user."""
        if not (isfinite(peak) and peak == int(peak)):
            raise ProfileError(f"invalid number of users {peak:g}", hint="use a whole number of at least 1")
        if self.per_user:
            return IterationProfile.of_each(self.per_user, int(peak))
        return IterationProfile(self.iterations, int(peak))

    def lasting(self, duration_ns: int) -> IterationProfile:
        """Raise ProfileError, because the duration of a counted load cannot be set."""
        raise ProfileError(
            f"a load of {self.iterations:,} iterations has no duration that could be set",
            hint="it ends when they are done; use arrivals() or users() for a load that lasts",
        )

    def describe(self) -> str:
        """Return the load in words: "iterations: 1,000 by 10 users" or "iterations: 5 by each of 10 users"."""
        if self.per_user:
            return f"iterations: {self.per_user:,} by each of {self.users:,} user{'s' * (self.users != 1)}"
        return f"iterations: {self.iterations:,} by {self.users:,} user{'s' * (self.users != 1)}"


def spans_of(stages: Iterable[Stage], user: int) -> Iterator[tuple[int, int]]:
    """Yield (start_ns, stop_ns) of each time in which user `user` is present in a curve of users, in order.

    Times are exact to the ns. The user is present while the level is above its number. The stop is not part of a span.
    Cost: 0.3 µs per stage, and 8 µs for a stage in which the user comes or goes.
    """
    span: tuple[int, int] | None = None
    for first_ns, stop_ns in _stage_spans(stages, user):
        if span is not None and span[1] == first_ns:
            span = (span[0], stop_ns)
            continue
        if span is not None:
            yield span
        span = (first_ns, stop_ns)
    if span is not None:
        yield span


def _stage_spans(stages: Iterable[Stage], user: int) -> Iterator[tuple[int, int]]:
    end_ns = 0
    for stage in stages:
        start_ns, end_ns = end_ns, end_ns + stage.duration_ns
        # Floats are enough here: a float above a whole number is also above it as an exact fraction.
        if start_ns == end_ns or (stage.start <= user and stage.end <= user):
            continue
        if stage.start > user and stage.end > user:
            yield start_ns, end_ns
            continue
        start, end = exact(stage.start), exact(stage.end)
        crossing_ns = start_ns + (user - start) / (end - start) * (end_ns - start_ns)
        # At the crossing the level equals the user's number, so the user is not present at this ns.
        first_ns, stop_ns = (floor(crossing_ns) + 1, end_ns) if end > start else (start_ns, ceil(crossing_ns))
        if first_ns < stop_ns:
            yield first_ns, stop_ns


OpenProfile = ArrivalProfile | TimedProfile
"""Profiles of open loads, whose arrivals have due times that do not depend on the target."""
Profile = OpenProfile | UserProfile | IterationProfile


# -- parts that arrivals and users share ----------------------------------------------------------


def _check(stages: Sequence[Stage], what: str, unit: str, most: float) -> None:
    for stage in stages:
        for value in (stage.start, stage.end):
            if not isfinite(value) or value < 0:
                raise ProfileError(f"a {what} cannot be {value:g}{unit}", hint="use a finite value of at least 0")
            if value > most:
                raise ProfileError(
                    f"a {what} of {value:g}{unit} exceeds the limit of {most:g}{unit}", hint="use a lower value"
                )
        if stage.duration_ns < 0:
            raise ProfileError(f"a stage cannot last {stage.duration_ns} ns", hint="use a duration of at least 0")
    duration_ns = length(stages)
    if duration_ns == 0:
        raise ProfileError("the load has no duration", hint='add a stage with a duration, as in .hold("1m")')
    if duration_ns > MAX_DURATION_NS:
        raise ProfileError("the load lasts more than 366 days", hint="use shorter stages")
    if highest(stages) == 0:
        raise ProfileError("the load has nothing to do: it is 0 all the time", hint="use a stage above 0")


def _edges(stages: Sequence[Stage]) -> list[int]:
    """Return the times in ns at which the stages begin, followed by the end of the last one."""
    edges = [0]
    for stage in stages:
        edges.append(edges[-1] + stage.duration_ns)
    return edges


def _scaled(stages: Sequence[Stage], peak: float, what: str) -> tuple[Stage, ...]:
    if not isfinite(peak) or peak <= 0:
        raise ProfileError(f"a load cannot be scaled to a {what} of {peak:g}", hint="use a finite value above 0")
    factor = exact(peak) / exact(highest(stages))
    return tuple(stage.times(factor) for stage in stages)


def _stretched(stages: Sequence[Stage], duration_ns: int) -> tuple[Stage, ...]:
    if duration_ns <= 0:
        raise ProfileError(f"a load cannot last {duration_ns} ns", hint="use a duration above 0")
    old = _edges(stages)
    new = [round(Fraction(edge * duration_ns, old[-1])) for edge in old]  # edges, not lengths, so the sum is exact
    return tuple(
        Stage(stage.start, stage.end, end - start) for stage, (start, end) in zip(stages, pairwise(new), strict=True)
    )

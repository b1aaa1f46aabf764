"""Load profiles as values: when which iteration is due, how many users there are.

Everything here is arithmetic on frozen values. No clock is read and nothing is
awaited, so that controller, agents and tests come to the same numbers.

Times are integer nanoseconds from the load's beginning, rates iterations/s,
levels users. A profile is a row of stages; where one ends and the next begins
elsewhere, it jumps, and the later value holds. Iterations and users are counted
from 0 over the whole fleet. The arithmetic of arrivals is `timeline.py`'s.
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
from loadgen.profiles.describe import texts, time_text
from loadgen.profiles.spacing import Renewal, Spacing
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_RATE_PER_S, MAX_USERS, Stage, exact, highest, length
from loadgen.profiles.steps import TimedProfile
from loadgen.profiles.timeline import Schedule, Timeline

__all__ = ["ArrivalProfile", "IterationProfile", "OpenProfile", "Profile", "UserProfile", "spans_of"]


class ArrivalProfile(msgspec.Struct, frozen=True, dict=True, omit_defaults=True, tag_field="kind", tag="arrivals"):
    """An open load: iterations start at times that do not depend on how fast the target answers.

    Raises:
        ProfileError: a rate that is negative, not finite or beyond MAX_RATE_PER_S; no duration; nothing to do.
    """

    stages: tuple[Stage, ...]
    spacing: Spacing | None = None
    """By chance; None: evenly."""
    is_edited: bool = False
    """It was changed while it ran (`edits.py`): it may have been over before it had anything to do."""
    label: str = ""
    """What it is, where that says more than its stages do: "replay of traffic.csv"."""
    digest: ClassVar[str] = ""
    """It has no times but what its stages say."""

    def __post_init__(self) -> None:
        if not self.is_edited:
            _check(self.stages, "rate", "/s", MAX_RATE_PER_S)

    @property
    def duration_ns(self) -> int:
        return length(self.stages)

    @property
    def peak(self) -> float:
        """The highest rate, iterations/s."""
        return highest(self.stages)

    def total(self) -> int:
        """How many iterations are due: the n with a due time before the end. Exact, by chance for its seed."""
        return self._schedule.total()

    def rate_at(self, t_ns: int) -> float:
        """Iterations/s at `t_ns`; 0 before the start and from the end on."""
        return float(self._schedule.timeline.value_at(t_ns))

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """When the n-th iterations are due: where the area under the rate curve exceeds n.

        Args:
            n: any shape, integers, each within 0 <= n < total().
        Returns:
            int64 ns of the same shape, rounded to the nearest ns; non-decreasing in n, each < duration_ns.
        Cost: 30 to 45 ns a value in blocks of 1,000; by chance, that of `Renewal` more.
        """
        return self._schedule.due_ns(n)

    def schedule(self) -> Schedule:
        """What agents drive: it can be changed from a time on."""
        return self._schedule

    def scaled_to(self, peak: float) -> ArrivalProfile:
        """The same shape, its highest rate being `peak`."""
        return msgspec.structs.replace(self, stages=_scaled(self.stages, peak, "rate"))

    def lasting(self, duration_ns: int) -> ArrivalProfile:
        """The same shape within exactly `duration_ns`, rates as they are."""
        return msgspec.structs.replace(self, stages=_stretched(self.stages, duration_ns))

    def describe(self) -> str:
        """ "arrivals: ramp 0 to 200/s in 2m, hold 200/s for 10m"; "arrivals, Poisson: hold 50/s for 10m"."""
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
    """A closed load: so many users at a time, each iterating as fast as the target lets it, or at a pace.

    User u is there while the level is above u; so a ramp from 0 to 500 has its first user at once
    and its 500th just before its end, and those who came last leave first.

    Raises:
        ProfileError: a level that is negative, not finite or beyond MAX_USERS; no duration; nothing to do; a pace
            that is negative or beyond MAX_DURATION_NS.
    """

    stages: tuple[Stage, ...]
    is_edited: bool = False
    """As of arrivals."""
    label: str = ""
    """What it is, where that says more than its stages do."""
    digest: str = ""
    """Of an executor that a user wrote, see `digest_of_levels`."""
    pace_ns: int = 0
    """Each user begins an iteration every so often; 0: as soon as the one before has ended."""
    is_spread: bool = True
    """Paced users that come at the same moment are spread over the first cycle."""

    def __post_init__(self) -> None:
        if not 0 <= self.pace_ns <= MAX_DURATION_NS:
            raise ProfileError(f"a pace cannot be {self.pace_ns} ns", hint="0 is none; at most 366 days")
        if not self.is_edited:
            _check(self.stages, "number of users", " users", MAX_USERS)

    @property
    def duration_ns(self) -> int:
        return length(self.stages)

    @property
    def peak(self) -> int:
        """The most users at a time, in the fleet."""
        return ceil(exact(highest(self.stages)))

    def level_at(self, t_ns: int) -> int:
        """Users that are there at `t_ns`; 0 before the start and from the end on."""
        return ceil(self._timeline.value_at(t_ns))

    def spans(self, user: int) -> tuple[tuple[int, int], ...]:
        """When global user `user` is there: (start_ns, stop_ns) in order, without the stop, exact to the ns."""
        return tuple(spans_of(self.stages, user))

    def scaled_to(self, peak: float) -> UserProfile:
        """The same shape, with `peak` users at its highest."""
        return msgspec.structs.replace(self, stages=_scaled(self.stages, peak, "number of users"))

    def lasting(self, duration_ns: int) -> UserProfile:
        """The same shape within exactly `duration_ns`."""
        return msgspec.structs.replace(self, stages=_stretched(self.stages, duration_ns))

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self.stages)

    def describe(self) -> str:
        """ "users: ramp 0 to 500 in 1m, hold 500 for 5m"; "users, each every 10s: hold 50 for 10m"."""
        if self.label:
            return f"users: {self.label}: at most {self.peak:,} in {time_text(self.duration_ns)}"
        paced = f", each every {time_text(self.pace_ns)}" if self.pace_ns else ""
        return f"users{paced}: " + ", ".join(texts(self.stages, ""))


class IterationProfile(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="iterations"):
    """A counted load: so many iterations, done by so many users as fast as the target lets them.

    Raises:
        ProfileError: no iterations, no users, too many of them, or `per_user` times the users is another number.
    """

    iterations: int
    users: int
    per_user: int = 0
    """How many each user does; 0: whoever is done with one takes the next."""
    digest: ClassVar[str] = ""

    @classmethod
    def of_each(cls, per_user: int, users: int) -> IterationProfile:
        """`per_user` iterations by each of `users` users."""
        return cls(per_user * users, users, per_user)

    def __post_init__(self) -> None:
        if self.per_user and self.per_user * self.users != self.iterations:
            raise ProfileError(f"{self.per_user} by each of {self.users} users are not {self.iterations} iterations")
        if not 0 < self.iterations <= 1 << 53:
            raise ProfileError(f"{self.iterations} iterations cannot be done", hint="at least 1")
        if not 0 < self.users <= MAX_USERS:
            raise ProfileError(f"{self.users} users cannot do iterations", hint=f"1 to {MAX_USERS:,}")

    @property
    def duration_ns(self) -> None:
        """Not known beforehand: the target decides."""
        return

    @property
    def peak(self) -> int:
        """Users at a time, in the fleet."""
        return self.users

    def total(self) -> int:
        return self.iterations

    def scaled_to(self, peak: float) -> IterationProfile:
        """As many iterations, or as many of each user, by `peak` users."""
        if not (isfinite(peak) and peak == int(peak)):
            raise ProfileError(f"{peak:g} is no number of users", hint="a whole number, at least 1")
        if self.per_user:
            return IterationProfile.of_each(self.per_user, int(peak))
        return IterationProfile(self.iterations, int(peak))

    def lasting(self, duration_ns: int) -> IterationProfile:
        raise ProfileError(
            f"a load of {self.iterations:,} iterations has no duration that could be set",
            hint="it ends when they are done; use arrivals() or users() for a load that lasts",
        )

    def describe(self) -> str:
        """ "iterations: 1,000 by 10 users"; "iterations: 5 by each of 10 users"."""
        if self.per_user:
            return f"iterations: {self.per_user:,} by each of {self.users:,} user{'s' * (self.users != 1)}"
        return f"iterations: {self.iterations:,} by {self.users:,} user{'s' * (self.users != 1)}"


def spans_of(stages: Iterable[Stage], user: int) -> Iterator[tuple[int, int]]:
    """When the level is above `user`: (start_ns, stop_ns) in order, without the stop, exact to the ns.

    Cost: 0.3 µs a stage, 8 µs one in which the user comes or goes.
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
        # What is above a whole number as a float is so as a fraction, too.
        if start_ns == end_ns or (stage.start <= user and stage.end <= user):
            continue
        if stage.start > user and stage.end > user:
            yield start_ns, end_ns
            continue
        start, end = exact(stage.start), exact(stage.end)
        crossing_ns = start_ns + (user - start) / (end - start) * (end_ns - start_ns)
        first_ns, stop_ns = (floor(crossing_ns) + 1, end_ns) if end > start else (start_ns, ceil(crossing_ns))
        if first_ns < stop_ns:
            yield first_ns, stop_ns


OpenProfile = ArrivalProfile | TimedProfile
"""Of a load whose arrivals are due at given times, whatever the target does."""
Profile = OpenProfile | UserProfile | IterationProfile


# -- what arrivals and users share ----------------------------------------------------------------


def _check(stages: Sequence[Stage], what: str, unit: str, most: float) -> None:
    for stage in stages:
        for value in (stage.start, stage.end):
            if not isfinite(value) or value < 0:
                raise ProfileError(f"a {what} cannot be {value:g}{unit}")
            if value > most:
                raise ProfileError(f"a {what} of {value:g}{unit} is beyond {most:g}{unit}")
        if stage.duration_ns < 0:
            raise ProfileError(f"a stage cannot last {stage.duration_ns} ns")
    duration_ns = length(stages)
    if duration_ns == 0:
        raise ProfileError("the load has no duration", hint='say how long, as in .hold("1m")')
    if duration_ns > MAX_DURATION_NS:
        raise ProfileError("the load lasts more than 366 days")
    if highest(stages) == 0:
        raise ProfileError("the load has nothing to do: it is 0 all the time")


def _edges(stages: Sequence[Stage]) -> list[int]:
    """Where the stages begin and end, ns: one more than there are stages."""
    edges = [0]
    for stage in stages:
        edges.append(edges[-1] + stage.duration_ns)
    return edges


def _scaled(stages: Sequence[Stage], peak: float, what: str) -> tuple[Stage, ...]:
    if not isfinite(peak) or peak <= 0:
        raise ProfileError(f"a load cannot be scaled to a {what} of {peak:g}", hint="above 0")
    factor = exact(peak) / exact(highest(stages))
    return tuple(stage.times(factor) for stage in stages)


def _stretched(stages: Sequence[Stage], duration_ns: int) -> tuple[Stage, ...]:
    if duration_ns <= 0:
        raise ProfileError(f"a load cannot last {duration_ns} ns", hint="above 0")
    old = _edges(stages)
    new = [round(Fraction(edge * duration_ns, old[-1])) for edge in old]  # edges, not lengths: the sum stays exact
    return tuple(
        Stage(stage.start, stage.end, end - start) for stage, (start, end) in zip(stages, pairwise(new), strict=True)
    )

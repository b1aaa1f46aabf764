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
from hashlib import sha256
from itertools import pairwise
from math import ceil, floor, inf, isfinite, nextafter
from typing import ClassVar

import msgspec
import numpy as np

from loadgen.errors import ProfileError
from loadgen.spacing import Renewal, Spacing
from loadgen.timeline import Schedule, Stage, Timeline, exact
from loadgen.units import NS_PER_S, format_duration

__all__ = [
    "MAX_BINS",
    "MAX_DURATION_NS",
    "MAX_RATE_PER_S",
    "MAX_USERS",
    "ArrivalProfile",
    "IterationProfile",
    "OpenProfile",
    "Profile",
    "Stage",
    "TimedProfile",
    "UserProfile",
    "digest_of",
    "digest_of_levels",
    "exact",
    "pieces_of",
    "spans_of",
]

MAX_RATE_PER_S = 1e8
MAX_DURATION_NS = 366 * 86_400 * NS_PER_S
MAX_USERS = 10_000_000
"""Beyond these a profile is a slip of the pen. They also keep n below 2^53 and times within int64."""
MAX_BINS = 600
"""What is told of the times of a `TimedProfile`: enough for any chart."""


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
        return sum(stage.duration_ns for stage in self.stages)

    @property
    def peak(self) -> float:
        """The highest rate, iterations/s."""
        return _peak(self.stages)

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
            much = f"{self.total():,} in {_time(self.duration_ns)}, at most {self.peak:,.4g}/s"
            return f"arrivals{spaced}: {self.label}: {much}"
        return f"arrivals{spaced}: " + ", ".join(_texts(self.stages, "/s"))

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
        return sum(stage.duration_ns for stage in self.stages)

    @property
    def peak(self) -> int:
        """The most users at a time, in the fleet."""
        return ceil(exact(_peak(self.stages)))

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
            return f"users: {self.label}: at most {self.peak:,} in {_time(self.duration_ns)}"
        paced = f", each every {_time(self.pace_ns)}" if self.pace_ns else ""
        return f"users{paced}: " + ", ".join(_texts(self.stages, ""))


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


class TimedProfile(msgspec.Struct, frozen=True, tag_field="kind", tag="timed"):
    """An open load whose arrivals have times of their own: recorded ones, or those of an executor that a user wrote.

    The times do not travel. Whoever has the scenario has them, too (`dsl/executor.py`); everybody else is told here how
    many there are, about when, and what to tell them by. They lie on a curve of speed: 2 plays them twice as fast.

    Raises:
        ProfileError: played so that it lasts too long, or not at all.
    """

    label: str
    """Whose times they are."""
    count: int
    recorded_ns: int
    """The end of the second in which the last one is, at speed 1."""
    bin_ns: int
    counts: tuple[int, ...]
    """Arrivals in each `bin_ns` at speed 1, at most MAX_BINS; the last bin ends at `recorded_ns`."""
    digest: str
    """See `digest_of`."""
    duration_ns: int
    """As it is played."""
    is_by_chance: bool = False
    """Another seed may give others: known of an executor only by asking it."""
    edited: tuple[Stage, ...] | None = None
    """The speeds, where they were changed while it ran (`edits.py`)."""

    def __post_init__(self) -> None:
        if self.edited is not None:
            return
        if not 0 < self.duration_ns <= MAX_DURATION_NS:
            raise ProfileError(f"a load cannot last {self.duration_ns} ns", hint="more than 0, and at most 366 days")
        if self.peak > MAX_RATE_PER_S:
            raise ProfileError(f"a rate of {self.peak:g}/s is beyond {MAX_RATE_PER_S:g}/s")

    @classmethod
    def of(cls, times_s: np.ndarray, label: str) -> TimedProfile:
        """Of (arrivals,) float64 seconds, non-decreasing, from 0; at least one.

        Bins last whole seconds: of less, the busiest one would say little of the rate.
        """
        seconds = int(times_s[-1]) + 1
        bin_s = -(-seconds // MAX_BINS)
        counts = np.bincount((times_s / bin_s).astype(np.int64), minlength=-(-seconds // bin_s))
        return cls(
            label=label,
            count=len(times_s),
            recorded_ns=seconds * NS_PER_S,
            bin_ns=bin_s * NS_PER_S,
            counts=tuple(counts.tolist()),
            digest=digest_of(times_s),
            duration_ns=seconds * NS_PER_S,
        )

    @property
    def speed(self) -> float:
        """How fast the times are played. Rounded up where it has to be, so that the last one is before the end."""
        speed = self.recorded_ns / self.duration_ns
        return speed if exact(speed) * self.duration_ns >= self.recorded_ns else nextafter(speed, inf)

    @property
    def speeds(self) -> tuple[Stage, ...]:
        """The curve that the times lie on: its area is the seconds of the recording."""
        if self.edited is not None:
            return self.edited
        return (Stage(self.speed, self.speed, self.duration_ns),)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """About how many arrivals/s there are, as it is played."""
        if self.edited is not None:
            return tuple(self._played(self.edited))
        ends_ns = [min((i + 1) * self.bin_ns, self.recorded_ns) for i in range(len(self.counts))]
        edges = [round(Fraction(edge * self.duration_ns, self.recorded_ns)) for edge in (0, *ends_ns)]
        return tuple(
            Stage(rate := count / (end - start) * NS_PER_S if end > start else 0.0, rate, end - start)
            for count, (start, end) in zip(self.counts, pairwise(edges), strict=True)
        )

    def _played(self, speeds: Iterable[Stage]) -> Iterator[Stage]:
        """Bin after bin, at these speeds, each of which holds; nothing after the last one."""
        recorded_ns = 0.0
        for one in speeds:
            left_ns = one.duration_ns
            while left_ns > 0:
                k = int(recorded_ns // self.bin_ns)
                if k >= len(self.counts) or not one.start:
                    yield Stage(0.0, 0.0, left_ns)
                    break
                bin_end_ns = min((k + 1) * self.bin_ns, self.recorded_ns)
                rate = self.counts[k] / (bin_end_ns - k * self.bin_ns) * NS_PER_S * one.start
                took_ns = min(left_ns, max(1, round((bin_end_ns - recorded_ns) / one.start)))
                yield Stage(rate, rate, took_ns)
                recorded_ns, left_ns = recorded_ns + took_ns * one.start, left_ns - took_ns

    @property
    def peak(self) -> float:
        """Iterations/s in the busiest bin."""
        return _peak(self.stages)

    def total(self) -> int:
        """How many iterations are due. Exact."""
        return self.count

    def rate_at(self, t_ns: int) -> float:
        """Iterations/s in the bin that `t_ns` is in; 0 before the start and from the end on."""
        for stage in self.stages:
            if 0 <= t_ns < stage.duration_ns:
                return stage.start
            t_ns -= stage.duration_ns
        return 0.0

    def scaled_to(self, peak: float) -> TimedProfile:
        """The same arrivals, so fast or slow that the busiest bin has `peak` arrivals/s."""
        if not isfinite(peak) or peak <= 0:
            raise ProfileError(f"a load cannot be scaled to a rate of {peak:g}", hint="above 0")
        return self.lasting(ceil(self.duration_ns * exact(self.peak) / exact(peak)))

    def lasting(self, duration_ns: int) -> TimedProfile:
        """The same arrivals within exactly `duration_ns`."""
        return msgspec.structs.replace(self, duration_ns=duration_ns)

    def describe(self) -> str:
        """ "arrivals: FlashSale: 1,200 in 2m, at most 60/s"."""
        speed = self.recorded_ns / self.duration_ns
        played = f", {speed:.4g} times as fast" if speed != 1 else ""
        much = f"{self.count:,} in {_time(self.duration_ns)}, at most {self.peak:,.4g}/s"
        return f"arrivals: {self.label}: {much}{played}"


def digest_of(times_s: np.ndarray) -> str:
    """How many times there are and a hash of them in ms: "1200:0f343b0931126a20".

    In ms, since two machines' logarithms may differ in the last bit, and then in the nanosecond that it rounds to.
    """
    ms = np.rint(times_s * 1_000).astype("<i8")
    return f"{len(times_s)}:{sha256(ms.tobytes()).hexdigest()[:16]}"


def digest_of_levels(levels: Sequence[tuple[int, int]]) -> str:
    """Of (ns, users): how many there are and a hash of them, as in `digest_of`."""
    ms = np.array([(round(at_ns / 1e6), users) for at_ns, users in levels], dtype="<i8")
    return f"{len(levels)}:{sha256(ms.tobytes()).hexdigest()[:16]}"


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
    duration_ns = sum(stage.duration_ns for stage in stages)
    if duration_ns == 0:
        raise ProfileError("the load has no duration", hint='say how long, as in .hold("1m")')
    if duration_ns > MAX_DURATION_NS:
        raise ProfileError("the load lasts more than 366 days")
    if _peak(stages) == 0:
        raise ProfileError("the load has nothing to do: it is 0 all the time")


def _peak(stages: Sequence[Stage]) -> float:
    return max((max(stage.start, stage.end) for stage in stages if stage.duration_ns), default=0.0)


def _edges(stages: Sequence[Stage]) -> list[int]:
    """Where the stages begin and end, ns: one more than there are stages."""
    edges = [0]
    for stage in stages:
        edges.append(edges[-1] + stage.duration_ns)
    return edges


def _scaled(stages: Sequence[Stage], peak: float, what: str) -> tuple[Stage, ...]:
    if not isfinite(peak) or peak <= 0:
        raise ProfileError(f"a load cannot be scaled to a {what} of {peak:g}", hint="above 0")
    factor = exact(peak) / exact(_peak(stages))
    return tuple(Stage(float(exact(s.start) * factor), float(exact(s.end) * factor), s.duration_ns) for s in stages)


def _stretched(stages: Sequence[Stage], duration_ns: int) -> tuple[Stage, ...]:
    if duration_ns <= 0:
        raise ProfileError(f"a load cannot last {duration_ns} ns", hint="above 0")
    old = _edges(stages)
    new = [round(Fraction(edge * duration_ns, old[-1])) for edge in old]  # edges, not lengths: the sum stays exact
    return tuple(
        Stage(stage.start, stage.end, end - start) for stage, (start, end) in zip(stages, pairwise(new), strict=True)
    )


_CURVE = 10
"""So many ramps one after the other are pieces of a curve; nobody reads them one by one."""


def _texts(stages: Sequence[Stage], unit: str) -> Iterator[str]:
    """Each stage in words; a staircase of three steps or more, and the pieces of a curve, as one."""
    i = 0
    while i < len(stages):
        stairs = _staircase(stages, i)
        pieces = _ramps(stages, i)
        stage = stages[i]
        if len(pieces) >= _CURVE:
            values = [value for piece in pieces for value in (piece.start, piece.end)]
            low, high = (_number(float(f"{value:.3g}"), unit) for value in (min(values), max(values)))
            took = _time(sum(piece.duration_ns for piece in pieces))
            yield f"curve between {low} and {high} for {took} ({len(pieces):,} pieces)"
            i += len(pieces)
            continue
        if stairs >= 3:
            first, last = _number(stage.start, unit), _number(stages[i + stairs - 1].start, unit)
            yield f"{stairs} steps {first} to {last}, each {_time(stage.duration_ns)}"
            i += stairs
            continue
        if stage.start == stage.end:
            if stage.duration_ns:
                yield f"hold {_number(stage.start, unit)} for {_time(stage.duration_ns)}"
        elif stage.duration_ns:
            yield f"ramp {_number(stage.start, '')} to {_number(stage.end, unit)} in {_time(stage.duration_ns)}"
        else:
            yield f"jump to {_number(stage.end, unit)}"
        i += 1


def pieces_of(stages: Sequence[Stage]) -> int:
    """How many of the stages are the first one to a person: all pieces of a curve are."""
    pieces = len(_ramps(stages, 0))
    return pieces if pieces >= _CURVE else min(1, len(stages))


def _staircase(stages: Sequence[Stage], i: int) -> int:
    """How many stages from `i` on are holds of one length at evenly spaced levels."""
    end = i
    while end < len(stages):
        stage = stages[end]
        if stage.start != stage.end or stage.duration_ns != stages[i].duration_ns:
            break
        rise = [exact(stages[k].start) - exact(stages[k - 1].start) for k in (i + 1, end) if i < k <= end]
        if rise and (rise[0] != rise[-1] or not rise[0]):
            break
        end += 1
    return end - i


def _ramps(stages: Sequence[Stage], i: int) -> Sequence[Stage]:
    """The ramps from `i` on, up to the next hold or jump. A curve is level at its top, where a piece may lie across."""
    last = i - 1
    for k in range(i, len(stages)):
        stage = stages[k]
        if stage.duration_ns and stage.start != stage.end:
            last = k
        elif k == i or abs(stage.duration_ns - stages[k - 1].duration_ns) > 1 or last < k - 1:
            break
    return stages[i : last + 1]


def _number(value: float, unit: str) -> str:
    return f"{value:,.10g}{unit if value or not unit else ''}"


def _time(ns: int) -> str:
    return format_duration(ns) if ns >= 60 * NS_PER_S or ns < NS_PER_S else f"{ns / NS_PER_S:g}s"

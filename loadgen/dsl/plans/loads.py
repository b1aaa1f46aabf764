"""The loads of a plan: one under `load=` and `mix=`, or several, each with its journeys and its own beginning.

    loads=[
        Load(browse, arrivals("50/s").hold("10m")),
        Load({browse: 3, buy: 1}, arrivals("200/s").hold("1m"), after="2m", name="spike"),
    ]

A `Load` is what a scenario says, and never raises; a `Lane` is what is driven, with
the command line's changes in it. Lanes count their arrivals, users and rows each
from 0. Rows of a feed that several lanes share are dealt lane by lane: those of a
lane stand behind all that the lanes before it take, so no row is used twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import isfinite
from typing import Any, Final, Literal

from loadgen.dsl.data.feed import Feed
from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.graphs.node import Node
from loadgen.dsl.journey import Journey
from loadgen.dsl.plans.arguments import Wrong, max_users_wrong, read_weights
from loadgen.dsl.plans.spec import SteeringSpec, highest_sum
from loadgen.dsl.source_location import here
from loadgen.engine.load.share import RowIndex
from loadgen.errors import Fault, ProfileError
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import exact
from loadgen.profiles.steps import TimedProfile
from loadgen.profiles.timeline import Positions, Schedule, Timeline
from loadgen.units import parse_duration

__all__ = [
    "MAX_LOADS",
    "Lane",
    "Load",
    "is_executor",
    "lane_of",
    "names_wrong",
    "read_mix",
    "rows_used",
    "scaled",
    "seed_of_load",
    "stretched",
]

MAX_LOADS: Final = 50
"""Loads of a plan: each has users and connections of its own in every worker."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One load as it is driven, with the overrides. A plan that has but one calls it ""."""

    name: str
    journeys: tuple[Journey[Any], ...]
    weights: tuple[float, ...]
    """Relative, one for each journey."""
    profile: Profile
    """Its times count from `after_ns`."""
    after_ns: int = 0
    """When it begins, from the start of the run."""
    max_users: int | None = None
    random: bool = False
    """The journeys of the mix are drawn, instead of taking turns."""
    steering: SteeringSpec | None = None
    """Its rate follows what is seen; the profile is what it begins with."""
    positions: Positions | None = field(default=None, compare=False)
    """Where arrivals lie, of a `TimedProfile`; None: as the profile says."""

    def schedule(self) -> Schedule:
        """When its arrivals are due, if it is open."""
        profile = self.profile
        if isinstance(profile, TimedProfile):
            return Schedule(Timeline(profile.speeds), self.positions)
        assert isinstance(profile, ArrivalProfile)
        return profile.schedule()

    @property
    def end_ns(self) -> int | None:
        """When its last arrival is due or its users stop; None where the target decides."""
        duration_ns = self.profile.duration_ns
        return None if duration_ns is None else self.after_ns + duration_ns


class Load:
    """One of several loads of a plan.

    Args:
        mix: a journey, or {journey: weight}.
        load: `arrivals(...)`, `users(...)` or `iterations(...)`.
        after: when it begins: "2m" after the start of the run.
        name: its rows in the results carry it, apart from those of other loads. Without one they are together.
        max_users: the most users at a time, if open. None: what the plan says.
    """

    def __init__(
        self,
        mix: Journey[Any] | Mapping[Journey[Any], float],
        load: Executor,
        *,
        after: str | float = 0,
        name: str = "",
        max_users: int | None = None,
    ) -> None:
        self.origin = here()
        given: object = name
        self.load, self.max_users = load, max_users
        self.name = given if isinstance(given, str) else ""
        self._wrong: list[Wrong] = []
        self.journeys, self.weights = read_mix(mix, self._wrong)
        self.after_ns = self._after(after)
        if not isinstance(given, str):
            self._wrong.append(Wrong("name", f"name: {given!r} is no name of a load", 'write name="spike"'))
        if not is_executor(load):
            self._wrong.append(Wrong("load", f"load: {load!r} is no load", 'write arrivals("50/s").hold("1m")'))
        self._wrong += max_users_wrong(max_users)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it and its executor; not its journeys' own faults."""
        own = tuple(self.origin.fault(wrong.message, wrong.hint) for wrong in self._wrong)
        return own + (self.load.faults if is_executor(self.load) else ())

    def lane(self, seed: int, max_users: int | None = None, *, random: bool = False) -> Lane:
        """As it was written. max_users: where it says none itself.

        Raises:
            ScenarioError: the executor has faults.
        """
        most = max_users if self.max_users is None else self.max_users
        return lane_of(
            self.load.lower(seed), self.name, self.journeys, self.weights, self.after_ns, most, random=random
        )

    def _after(self, after: object) -> int:
        try:
            if isinstance(after, bool) or not isinstance(after, str | int | float):
                raise ValueError(f'{after!r} is no duration; write "2m"')
            return parse_duration(after)
        except (ValueError, OverflowError) as error:
            hint = "a load begins with the run, or after it" if str(after).strip().startswith("-") else 'write "2m"'
            self._wrong.append(Wrong("after", f"after: {error}", hint))
            return 0

    def __repr__(self) -> str:
        return f"<load {self.name or self.load!r} at {self.origin}>"


def seed_of_load(seed: int, load: int) -> int:
    """What a load of several is lowered with: the run's seed for the first, and another for each of the others.

    With one seed for all, two loads of the same kind would have their arrivals at the same moments.
    """
    return (seed + load * 0x9E3779B97F4A7C15) % (1 << 64) if load else seed


# -- reading --------------------------------------------------------------------------------------


def is_executor(load: object) -> bool:
    return isinstance(load, Executor)


def lane_of(
    lowered: Lowered,
    name: str,
    journeys: tuple[Journey[Any], ...],
    weights: tuple[float, ...],
    after_ns: int = 0,
    max_users: int | None = None,
    *,
    random: bool = False,
) -> Lane:
    return Lane(
        name,
        journeys,
        weights,
        lowered.profile,
        after_ns,
        max_users,
        random,
        steering=lowered.steering,
        positions=lowered.positions,
    )


def read_mix(mix: object, wrong: list[Wrong]) -> tuple[tuple[Journey[Any], ...], tuple[float, ...]]:
    """Journeys and weights, in the order of the mix. A weight of 0 leaves its journey in, without load."""
    given: dict[Journey[Any], Any] = {}
    told = len(wrong)
    for one, weight in mix.items() if isinstance(mix, Mapping) else [(mix, 1.0)]:
        if isinstance(one, Journey):
            given[one] = weight
        else:
            name = one.name if isinstance(one, Node) else getattr(one, "__name__", repr(one))
            wrong.append(Wrong("mix", f"mix: {name} is no journey", _no_journey_hint(one, name)))
    if not given and len(wrong) > told:
        return (), ()
    wrong += names_wrong("mix", given)
    weights = read_weights("mix", "journey", [(one.name, weight) for one, weight in given.items()], wrong)
    return tuple(given), tuple(weights.get(one.name, 0.0) for one in given)


def names_wrong(argument: str, journeys: Iterable[Journey[Any]]) -> Iterable[Wrong]:
    """Two journeys with one name would be one row."""
    names = [one.name for one in journeys]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield Wrong(argument, f'{argument}: two journeys are named "{twice}"', 'give one of them @journey(name="...")')


def _no_journey_hint(one: object, name: str) -> str:
    if isinstance(one, str):
        return "name the function itself, without quotes"
    if isinstance(one, Node):
        return f"a node stands in a graph: graph({{{one.name}: {{leave: 1}}}}, state=...)"
    if one is None:
        return "write mix=checkout, or mix={checkout: 3, browse: 1}"
    return f"decorate it: @journey, above `async def {name}`" if callable(one) else "a function with @journey above it"


# -- what the command line changes ----------------------------------------------------------------


def scaled(lanes: Sequence[Lane], peak: float, peak_of: Literal["", "rate", "users"]) -> tuple[Lane, ...]:
    """All lanes of one kind scaled by one factor, so that their highest sum is `peak`; the others as they are.

    peak_of: which kind; "": the first lane's.

    Raises:
        ProfileError: no lane is of this kind, or the peak is none.
    """
    is_rate = peak_of == "rate" or (not peak_of and isinstance(lanes[0].profile, OpenProfile))
    chosen = [lane for lane in lanes if isinstance(lane.profile, OpenProfile) is is_rate]
    if any(lane.steering is not None for lane in chosen):
        raise ProfileError("the load is steered: its rate follows what is seen", hint="change upto= in the scenario")
    if not chosen:
        has = "users, and the rate follows the target" if is_rate else "arrivals, which have a rate"
        raise ProfileError(f"the load is said in {has}", hint="--users 50" if is_rate else "--rate 50/s")
    if len(lanes) == 1 or not (isfinite(peak) and peak > 0):
        return tuple(replace(lane, profile=lane.profile.scaled_to(peak)) for lane in lanes)
    factor = exact(peak) / exact(highest_sum((lane.after_ns, lane.profile) for lane in chosen))
    return tuple(replace(lane, profile=_times(lane.profile, factor)) if lane in chosen else lane for lane in lanes)


def _times(profile: Profile, factor: Fraction) -> Profile:
    if isinstance(profile, IterationProfile):
        return profile.scaled_to(max(1, round(profile.users * factor)))
    return profile.scaled_to(float(exact(max(max(s.start, s.end) for s in profile.stages if s.duration_ns)) * factor))


def stretched(lanes: Sequence[Lane], duration_ns: int) -> tuple[Lane, ...]:
    """All lanes and their beginnings stretched alike, so that the last one ends at `duration_ns`.

    Raises:
        ProfileError: a lane's end is not known, or nothing would be left of it.
    """
    ends_ns = [end_ns for lane in lanes if (end_ns := lane.end_ns) is not None]
    if len(ends_ns) < len(lanes) or duration_ns <= 0:
        # Only to be told why not.
        return tuple(replace(lane, profile=lane.profile.lasting(duration_ns)) for lane in lanes)
    factor = Fraction(duration_ns, max(ends_ns))
    moved: list[Lane] = []
    for lane, end_ns in zip(lanes, ends_ns, strict=True):
        after_ns = round(lane.after_ns * factor)
        moved.append(replace(lane, after_ns=after_ns, profile=lane.profile.lasting(round(end_ns * factor) - after_ns)))
    return tuple(moved)


# -- rows -----------------------------------------------------------------------------------------


def most_iterations(lane: Lane, profile: OpenProfile | IterationProfile) -> int:
    """How many iterations the lane has, or can have at most where its rate is decided while it runs.

    Args:
        profile: the lane's own.
    """
    return profile.total() if lane.steering is None else lane.steering.most(profile)


def rows_used(lane: Lane, feed: Feed[Any]) -> int | None:
    """How many rows of a feed a lane takes; None where a row is taken each iteration and the target sets their number.

    In closed loads a row is a person's, so it takes as many as users.
    """
    readers = [i for i, one in enumerate(lane.journeys) if one.feed is feed and lane.weights[i] > 0]
    if not readers:
        return 0
    if isinstance(lane.profile, UserProfile):
        each = any(lane.journeys[i].each == "iteration" for i in readers)
        return None if each else lane.profile.peak
    total = most_iterations(lane, lane.profile)
    if lane.random:  # which journey an arrival takes is not known beforehand, so each has a row
        return total
    return RowIndex(lane.weights, readers).below(total)

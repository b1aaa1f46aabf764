"""The loads of a plan: one from `load=` and `mix=`, or several, each with its own journeys and start.

    loads=[
        Load(browse, arrivals("50/s").hold("10m")),
        Load({browse: 3, buy: 1}, arrivals("200/s").hold("1m"), after="2m", name="spike"),
    ]

`Load` is the public class that a scenario creates; it never raises. `DrivenLoad` is the same
load as agents drive it, with the changes from the command line. Each load counts its
arrivals, users and rows from 0. When loads share a feed, each load gets its own block
of rows, in the order of the loads, so no row is used twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

from loadgen.clients.net.settings import Http
from loadgen.clients.pool.connection_policy import Connections
from loadgen.dsl.data.feed import Feed
from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.graphs.nodes_and_edges import Node
from loadgen.dsl.journey import Journey, Mix
from loadgen.dsl.plans.argument_validation import (
    Wrong,
    max_users_wrong,
    read_connections,
    read_duration,
    read_http,
    read_weights,
)
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.per_load import PerLoad, read_settings_of_load
from loadgen.dsl.plans.plan_tags import read_load_tags
from loadgen.dsl.plans.spec import SteeringSpec, highest_sum
from loadgen.dsl.source_location import here
from loadgen.dsl.tag import Tag
from loadgen.engine.load.share import RowIndex
from loadgen.errors import Fault, ProfileError
from loadgen.measure.deltas.series_key import LOAD_TAG, Tags
from loadgen.profiles.arrival_due_times import Positions, Schedule, Timeline
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.levels import LevelMark, LevelSpan, LevelTimes, spans_of_levels
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import exact
from loadgen.units import parse_duration

__all__ = [
    "MAX_LOADS",
    "OF_THE_PLAN",
    "DrivenLoad",
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
"""Maximum number of loads of a plan. Each load has its own users and connections in every worker."""
OF_THE_PLAN: Final = ("proxy", "no_proxy", "resolve", "uds", "clock")
"""Fields of `Http` that only a plan may set: the target guard checks the plan's."""


@dataclass(frozen=True, slots=True)
class DrivenLoad:
    """One load as agents drive it, with overrides applied. The only load of a plan has the name ""."""

    name: str
    journeys: tuple[Journey[Any], ...]
    weights: tuple[float, ...]
    """Relative weight of each journey, in the order of `journeys`."""
    profile: Profile
    """The load's curve. Its times count from `after_ns`."""
    after_ns: int = 0
    """Start of this load, in ns from the start of the run."""
    max_users: int | None = None
    random: bool = False
    """Draw the journey of each arrival at random, instead of in exact turns."""
    steering: SteeringSpec | None = None
    """For a steered load: what it is steered by. `profile` is then only its initial curve."""
    positions: Positions | None = field(default=None, compare=False)
    """Arrival positions of a `TimedProfile`; None: positions follow from the profile."""
    tags: Tags = ()
    """The constants of the scenario's `tags=`, sorted by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values of `per_load` settings by name."""
    drain_ns: int | None = None
    """How long iterations may continue after the end of this load; None: as the plan's, after the end of all loads."""
    connections: Connections | None = None
    http: Http | None = None
    """Settings that replace the plan's; None: the plan's."""
    levels: tuple[LevelMark, ...] = ()
    """Which stages of `profile` are levels, by which its results are split."""

    @property
    def level_spans(self) -> tuple[LevelSpan, ...]:
        """Return the levels of this load in order; their times count from `after_ns`."""
        if not self.levels or not isinstance(self.profile, ArrivalProfile | UserProfile):
            return ()
        return spans_of_levels(self.profile.stages, self.levels, is_rate=isinstance(self.profile, ArrivalProfile))

    @property
    def level_times(self) -> LevelTimes | None:
        """Return a new object that names the level of each time while the load runs; None for a load without levels."""
        if not self.levels or not isinstance(self.profile, ArrivalProfile | UserProfile):
            return None
        return LevelTimes(self.profile.stages, self.levels, is_rate=isinstance(self.profile, ArrivalProfile))

    @property
    def series_tags(self) -> Tags:
        """Return the tags of all series of this load: its name, if it has one, and its constants."""
        return (((LOAD_TAG, self.name),) if self.name else ()) + self.tags

    def schedule(self) -> Schedule:
        """Return the times at which this load's arrivals are due. Only open loads have a schedule."""
        profile = self.profile
        if isinstance(profile, TimedProfile):
            return Schedule(Timeline(profile.speeds), self.positions)
        assert isinstance(profile, ArrivalProfile)
        return profile.schedule()

    @property
    def end_ns(self) -> int | None:
        """Return when the load's curve ends, in ns from the start of the run.

        Returns None for counted iterations, because the target's speed decides when they end.
        """
        duration_ns = self.profile.duration_ns
        return None if duration_ns is None else self.after_ns + duration_ns


class Load:
    """One of several loads of a plan.

        Plan(target=..., loads=[Load(browse, arrivals("50/s").hold("10m")), Load(buy, users(20).hold("10m"),
        after="2m")])

    Args:
        mix: one journey, or {journey: weight} with relative weights.
        load: `arrivals(...)`, `users(...)`, `iterations(...)` or another executor.
        after: start of this load, as a duration after the start of the run: "2m".
        name: separates this load's rows from those of other loads in the results. Unnamed loads share their rows.
        max_users: maximum number of concurrent users of an open load. None: the plan's `max_users`.
        tags: constants for all rows of this load, {"phase": "spike"}; they need no declaration.
        params: values of `per_load` settings, {depth: 8}.
        drain: how long iterations may continue after the end of this load: "5s". None: the plan's `drain`, which begins
            when all loads have ended.
        connections, http: replace the plan's for the users of this load. Where connections go (`proxy`, `no_proxy`,
            `resolve`, `uds`) and the `clock` are set by the plan's `http` alone.
        slos: objectives that are judged for this load only. It needs a name.
    """

    def __init__(
        self,
        mix: Journey[Any] | Mix,
        load: Executor,
        *,
        after: str | float = 0,
        name: str = "",
        max_users: int | None = None,
        tags: Mapping[str, str] | Mapping[Tag, str] | Mapping[str | Tag, str] | None = None,
        params: Mapping[PerLoad[Any], Any] | None = None,
        drain: str | float | None = None,
        connections: Connections | str | None = None,
        http: Http | None = None,
        slos: Iterable[Slo] = (),
    ) -> None:
        self.origin = here()
        given: object = name
        self.load, self.max_users = load, max_users
        self.name = given if isinstance(given, str) else ""
        self._wrong: list[Wrong] = []
        self.journeys, self.weights = read_mix(mix, self._wrong)
        self.after_ns = self._after(after)
        self.tags = read_load_tags(tags, self._wrong)
        self.settings = read_settings_of_load(params, self._wrong)
        self.drain_ns = read_duration("drain", drain, self._wrong)
        self.connections = None if connections is None else read_connections(connections, self._wrong)
        self.http = None if http is None else self._http(http)
        self.slos = slos
        """As written; `read_load_slos` reads them."""
        if not isinstance(given, str):
            self._wrong.append(Wrong("name", f"name: {given!r} is not the name of a load", 'write name="spike"'))
        if not is_executor(load):
            self._wrong.append(Wrong("load", f"load: {load!r} is not a load", 'write arrivals("50/s").hold("1m")'))
        self._wrong += max_users_wrong(max_users)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors in this load's arguments and its executor. Errors of its journeys are not included."""
        own = tuple(self.origin.fault(wrong.message, wrong.hint) for wrong in self._wrong)
        return own + (self.load.faults if is_executor(self.load) else ())

    def lane(self, seed: int, max_users: int | None = None, *, random: bool = False) -> DrivenLoad:
        """Return this load as agents drive it, without overrides of the command line.

        Args:
            seed: the seed that the executor draws arrival times from.
            max_users: the plan's limit, used if this load sets none.
            random: draw journeys at random instead of in turns.

        Raises:
            ScenarioError: the executor has errors.
        """
        most = max_users if self.max_users is None else self.max_users
        lane = lane_of(
            self.load.lower(seed), self.name, self.journeys, self.weights, self.after_ns, most, random=random
        )
        return replace(
            lane,
            tags=self.tags,
            settings=self.settings,
            drain_ns=self.drain_ns,
            connections=self.connections,
            http=self.http,
        )

    def _http(self, http: object) -> Http:
        """Return the load's HTTP settings; errors are added to `_wrong`."""
        if isinstance(http, Http):
            usual = Http()
            for name in OF_THE_PLAN:
                if getattr(http, name) != getattr(usual, name):
                    why = "all loads have one clock" if name == "clock" else "the plan decides where connections go"
                    message = f"http: {name}= of a load is not supported: {why}"
                    self._wrong.append(Wrong("http", message, f"set it in Plan(http=Http({name}=...))"))
        return read_http(http, Path(self.origin.file).parent, self._wrong)

    def _after(self, after: object) -> int:
        try:
            if isinstance(after, bool) or not isinstance(after, str | int | float):
                raise ValueError(f"{after!r} is not a duration")
            return parse_duration(after)
        except (ValueError, OverflowError) as error:
            hint = (
                "write after=0 or more: a load cannot start before its run"
                if str(after).strip().startswith("-")
                else 'write "2m"'
            )
            self._wrong.append(Wrong("after", f"after: {error}", hint))
            return 0

    def __repr__(self) -> str:
        return f"<load {self.name or self.load!r} at {self.origin}>"


def seed_of_load(seed: int, load: int) -> int:
    """Return the seed of one load of a run: the run's own seed for load 0, a different one for each other load.

    With a single seed, two loads of the same kind would start their iterations at the same moments.
    """
    # Steps of 2^64 / golden ratio keep the seeds of any two loads far apart, also for neighbouring run seeds.
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
) -> DrivenLoad:
    return DrivenLoad(
        name,
        journeys,
        weights,
        lowered.profile,
        after_ns,
        max_users,
        random,
        steering=lowered.steering,
        positions=lowered.positions,
        levels=lowered.levels,
    )


def read_mix(mix: object, wrong: list[Wrong]) -> tuple[tuple[Journey[Any], ...], tuple[float, ...]]:
    """Return two tuples: the journeys of a plan's `mix`, in the given order, and the weight of each.

    A journey with weight 0 stays in the result and gets no load. Each invalid entry adds an error to `wrong`.
    """
    given: dict[Journey[Any], Any] = {}
    before = len(wrong)
    if isinstance(mix, list | tuple | set | frozenset):
        names = [one.name for one in mix if isinstance(one, Journey)]
        hint = f"write mix={{{', '.join(f'{name}: 1' for name in names)}}}" if names else _no_journey_hint(None, "")
        wrong.append(Wrong("mix", "mix: a mix has weights, so it is a mapping and not a list", hint))
        mix = {one: 1.0 for one in mix if isinstance(one, Journey)}
        if not mix:
            return (), ()
    for one, weight in mix.items() if isinstance(mix, Mapping) else [(mix, 1.0)]:
        if isinstance(one, Journey):
            given[one] = weight
        else:
            name = one.name if isinstance(one, Node) else getattr(one, "__name__", repr(one))
            wrong.append(Wrong("mix", f"mix: {name} is not a journey", _no_journey_hint(one, name)))
    if not given and len(wrong) > before:
        return (), ()
    wrong += names_wrong("mix", given)
    weights = read_weights("mix", "journey", [(one.name, weight) for one, weight in given.items()], wrong)
    return tuple(given), tuple(weights.get(one.name, 0.0) for one in given)


def names_wrong(argument: str, journeys: Iterable[Journey[Any]]) -> Iterable[Wrong]:
    """Yield an error for each name that two of the journeys share, because their results would be mixed in one row."""
    names = [one.name for one in journeys]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield Wrong(argument, f'{argument}: two journeys are named "{twice}"', 'give one of them @journey(name="...")')


def _no_journey_hint(one: object, name: str) -> str:
    if isinstance(one, str):
        return "write the function itself, without quotes"
    if isinstance(one, Node):
        return f"a node belongs in a graph; write graph({{{one.name}: {{leave: 1}}}}, state=...)"
    if one is None:
        return "write mix=checkout, or mix={checkout: 3, browse: 1}"
    return f"write @journey above `async def {name}`" if callable(one) else "use a function with @journey above it"


# -- what the command line changes ----------------------------------------------------------------


def scaled(lanes: Sequence[DrivenLoad], peak: float, peak_of: Literal["", "rate", "users"]) -> tuple[DrivenLoad, ...]:
    """Return the loads with one kind multiplied by a common factor, so that the highest sum of that kind is `peak`.

    Loads of the other kind are unchanged.

    Args:
        peak: iterations/s for open loads, or users for closed ones.
        peak_of: which kind to scale; "" means the kind of the first load.

    Raises:
        ProfileError: there is no load of this kind, one of them is steered, or the peak is not above 0.
    """
    is_rate = peak_of == "rate" or (not peak_of and isinstance(lanes[0].profile, OpenProfile))
    chosen = [lane for lane in lanes if isinstance(lane.profile, OpenProfile) is is_rate]
    if any(lane.steering is not None for lane in chosen):
        raise ProfileError(
            "cannot scale a steered load: its executor decides the rate", hint="change upto= in the scenario"
        )
    if any(lane.levels for lane in chosen):
        raise ProfileError("cannot scale a load with levels", hint="change its levels in the scenario")
    if not chosen:
        has = "users, and the rate follows the target" if is_rate else "arrivals, which have a rate"
        raise ProfileError(f"the load has {has}", hint="--users 50" if is_rate else "--rate 50/s")
    if len(lanes) == 1 or not (isfinite(peak) and peak > 0):
        return tuple(replace(lane, profile=lane.profile.scaled_to(peak)) for lane in lanes)
    factor = exact(peak) / exact(highest_sum((lane.after_ns, lane.profile) for lane in chosen))
    return tuple(replace(lane, profile=_times(lane.profile, factor)) if lane in chosen else lane for lane in lanes)


def _times(profile: Profile, factor: Fraction) -> Profile:
    if isinstance(profile, IterationProfile):
        return profile.scaled_to(max(1, round(profile.users * factor)))
    return profile.scaled_to(float(exact(max(max(s.start, s.end) for s in profile.stages if s.duration_ns)) * factor))


def stretched(lanes: Sequence[DrivenLoad], duration_ns: int) -> tuple[DrivenLoad, ...]:
    """Return the loads with curves and starts stretched by a common factor: the last load then ends at `duration_ns`.

    Raises:
        ProfileError: a load has no known end, or `duration_ns` is too short for it.
    """
    ends_ns = [end_ns for lane in lanes if (end_ns := lane.end_ns) is not None]
    if len(ends_ns) < len(lanes) or duration_ns <= 0:
        # `lasting` raises the error that explains why these loads cannot be stretched.
        return tuple(replace(lane, profile=lane.profile.lasting(duration_ns)) for lane in lanes)
    factor = Fraction(duration_ns, max(ends_ns))
    moved: list[DrivenLoad] = []
    for lane, end_ns in zip(lanes, ends_ns, strict=True):
        after_ns = round(lane.after_ns * factor)
        moved.append(replace(lane, after_ns=after_ns, profile=lane.profile.lasting(round(end_ns * factor) - after_ns)))
    return tuple(moved)


# -- rows -----------------------------------------------------------------------------------------


def most_iterations(lane: DrivenLoad, profile: OpenProfile | IterationProfile) -> int:
    """Return the number of iterations of a load; for a steered load, the largest possible number.

    Args:
        profile: the load's own profile.
    """
    return profile.total() if lane.steering is None else lane.steering.most(profile)


def rows_used(lane: DrivenLoad, feed: Feed[Any]) -> int | None:
    """Return how many rows of a feed a load uses at most; None if there is no limit.

    A closed load uses one row per user. If one of its journeys takes a row per iteration, there is no limit, because
    the target's speed decides the number of iterations.
    """
    readers = [i for i, one in enumerate(lane.journeys) if one.feed is feed and lane.weights[i] > 0]
    if not readers:
        return 0
    if isinstance(lane.profile, UserProfile):
        each = any(lane.journeys[i].each == "iteration" for i in readers)
        return None if each else lane.profile.peak
    total = most_iterations(lane, lane.profile)
    if lane.random:  # any arrival may draw a reader of the feed, so each arrival has a row
        return total
    return RowIndex(lane.weights, readers).below(total)

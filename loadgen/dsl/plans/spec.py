"""What of a plan travels: its declarative part, and what the command line changes of it.

A `PlanSpec` is all that a controller, a view or a manifest needs to know of a
plan, without any of the scenario's code. `Overrides` go to the agents, who apply
them to the same plan. Both are values, and go through JSON unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Literal, Self

import msgspec

from loadgen.measure.deltas.custom import MetricSpec
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.profile import IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import exact
from loadgen.units import NS_PER_S

__all__ = [
    "JourneySpec",
    "LaneSpec",
    "Overrides",
    "PlanSpec",
    "SteeringSpec",
    "TraceSpec",
    "highest_sum",
    "parse_regions",
]


class Overrides(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the command line changes of a plan. None and empty: as the plan says."""

    target: str | None = None
    """Instead of the plan's `target`, or of the one of its `targets` that paths without another go to."""
    targets: dict[str, str] = {}
    """Instead of the plan's targets of these names; other names are left out, with a warning."""
    peak: float | None = None
    """The load is scaled so that its highest rate or number of users is this."""
    peak_of: Literal["", "rate", "users"] = ""
    """What the peak was given as (`--rate` or `--users`); it must be what the load is about. Empty: whatever it is."""
    duration_s: float | None = None
    """The load's stages are stretched so that they last this long in all."""
    regions: dict[str, float | None] = {}
    """Instead of the plan's: name -> weight. None: the weight that the plan gives the region."""
    params: dict[str, str] = {}
    """`-P name=value`, for `param()`."""
    env: str = ""
    """The environment of `loadgen.toml` that was chosen with `--env`; its values are in the other fields."""
    env_params: dict[str, str] = {}
    """Its params. They serve several scenarios, so one that is not asked for is no fault."""
    allow: tuple[str, ...] = ()
    """Hosts that it allows to be loaded. For the command line; workers do not look at it."""
    seed: int | None = None
    """Of all chance, where the plan gives none: drawn for each run."""
    resolve: dict[str, tuple[str, ...]] = {}
    """`--resolve`: addresses of "shop.example" or "shop.example:443", beside the plan's."""
    labels: dict[str, str] = {}
    """`--label name=value`: over the plan's."""

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """
        Raises:
            ValueError: not the JSON of overrides.
        """
        return msgspec.json.decode(data or b"{}", type=cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def parse_regions(text: str) -> dict[str, float | None]:
    """The regions of `--regions`: "a,b" picks from the plan's, "a=1,b=2" replaces them.

    Raises:
        ValueError: an empty name, a weight that is no number, a region twice.
    """
    regions: dict[str, float | None] = {}
    for part in text.split(","):
        name, has_weight, weight = (piece.strip() for piece in part.partition("="))
        if not name:
            raise ValueError(f'"{text}" names no region; write "us-east-1,eu-west-1" or "us-east-1=2,eu-west-1=1"')
        if name in regions:
            raise ValueError(f'region "{name}" is there twice')
        try:
            regions[name] = float(weight) if has_weight else None
        except ValueError:
            raise ValueError(f'"{weight}" is no weight of region "{name}"; write {name}=2') from None
    return regions


class JourneySpec(msgspec.Struct, frozen=True, kw_only=True):
    """One journey of a plan."""

    name: str
    weight: float
    """Its part of the mix, 0 to 1; the weights of a plan sum to 1."""
    data: str | None = None
    """The file that its rows come from, "rows" where they stand in the scenario, or None."""
    visits: dict[str, float] = {}
    """Of a graph: how often a session visits each node, on average."""
    is_unique: bool = False
    """No row may be used twice, and there are as many as the plan needs."""


class SteeringSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller has to know of a load whose rate follows what is seen."""

    executor: str
    """In a few words: "hold p(99) < 300ms: 10/s to 1,000/s"."""
    objectives: tuple[Objective, ...]
    """What good and bad are counted by."""
    start_per_s: float
    upto_per_s: float

    def most(self, profile: Profile) -> int:
        """More iterations than that are never due: as if it went as far as it may all the time."""
        duration_ns = profile.duration_ns or 0
        return -(-int(self.upto_per_s * duration_ns) // NS_PER_S) + 1


def steered_objectives(loads: Iterable[SteeringSpec | None]) -> tuple[Objective, ...]:
    """All that loads are steered by, in their order. They have a window, so that agents count by it."""
    return tuple(
        msgspec.structs.replace(objective, window_ns=objective.window_ns or NS_PER_S)
        for steering in loads
        if steering is not None
        for objective in steering.objectives
    )


class LaneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One load of a plan: its own journeys, from its own beginning."""

    name: str
    """Empty where the plan gives it none."""
    load: str
    """In words."""
    journeys: tuple[JourneySpec, ...]
    """Weights of a lane sum to 1."""
    profile: Profile
    """Its times count from `after_ns`."""
    after_ns: int = 0
    max_users: int | None = None
    random: bool = False
    steering: SteeringSpec | None = None
    """Its rate follows what is seen; the profile is what it begins with."""

    @property
    def stays(self) -> str:
        """Why nobody else drives what a lost agent had of it; empty where others do."""
        if isinstance(self.profile, IterationProfile):
            return "which of its iterations were begun is not known"
        if isinstance(self.profile, UserProfile) and any(journey.is_unique for journey in self.journeys):
            return "the rows of its users must not be used again"
        return ""


class TraceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests carry a trace, and where it can be looked at."""

    sample: float
    """0 to 1, of iterations."""
    formats: tuple[str, ...] = ("w3c",)
    link: str = ""
    """With {trace_id} in it; or empty."""


class PlanSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The declarative part of a plan, for manifest, controller and view. Times in ns, rates in 1/s.

    Of a plan with several loads, `profile` and `load` are the first one's; the others are in `lanes`.
    """

    name: str
    scenario: str
    """The file's name."""
    doc: str
    """The first line of the scenario's docstring."""
    target: str
    load: str
    """In words: "arrivals: ramp 0 to 200/s in 2m, hold 200/s for 10m"."""
    profile: Profile
    journeys: tuple[JourneySpec, ...]
    """All of all loads."""
    slos: tuple[Objective, ...]
    regions: dict[str, float]
    """Name -> weight, relative; only those above 0."""
    duration_ns: int | None
    """Until the last load ends, without drain; None where the target decides (counted loads)."""
    total_arrivals: int | None
    """Iterations that will be due, of all loads; None where one of them is closed."""
    peak: float
    """The highest rate (open) or number of users, of all loads of the first one's kind together."""
    max_users: int | None
    max_lateness_ns: int | None
    warmup_ns: int
    drain_ns: int
    connect_timeout_ns: int
    timeout_ns: int
    seed: int | None
    """None: each run draws one."""
    interval_ns: int = NS_PER_S
    has_set_up: bool = False
    has_tear_down: bool = False
    params: dict[str, Any] = {}
    lanes: tuple[LaneSpec, ...] = ()
    """One for each load; empty in specs of before there were several."""
    targets: dict[str, str] = {}
    """By name; a single one has the name ""."""
    connections: str = "kept"
    """As in the plan: "kept", "fresh" or "shared:50"."""
    tags: tuple[str, ...] = ()
    """Response headers that series are split by, in lower case."""
    trace: TraceSpec | None = None
    warmup_is_found: bool = False
    """The warm-up is found after the run, from what was measured; `warmup_ns` is 0 then."""
    random: bool = False
    """The journeys of a mix are drawn, instead of taking turns."""
    metrics: tuple[MetricSpec, ...] = ()
    secrets: tuple[str, ...] = ()
    """Their names; the values never leave the agents."""
    environment: str = ""
    """Of `loadgen.toml`, where one was chosen."""
    owner: str = ""
    labels: dict[str, str] = {}
    """The plan's, and those of `--label` over them."""
    commit: str = ""
    """Of the scenario's folder, where git knows it: with "+" behind it where files in it were changed since."""
    http: dict[str, Any] = {}
    """Of the plan's `Http` what differs from the defaults; secrets by name."""
    client: str = "loadgen"
    """Or "httpx": the stock client."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures has to know of how they were measured."""

    @property
    def is_open(self) -> bool:
        """All its loads are open."""
        return all(isinstance(profile, OpenProfile) for _, profile in self._parts())

    def rate_at(self, t_ns: int) -> float:
        """Iterations/s that are due at `t_ns`, of all open loads together."""
        return sum(
            profile.rate_at(t_ns - after_ns) for after_ns, profile in self._parts() if isinstance(profile, OpenProfile)
        )

    def level_at(self, t_ns: int) -> int:
        """Users that are there at `t_ns`, of all closed loads and of counted ones, which have no known end."""
        return sum(
            (profile.users if t_ns >= after_ns else 0)
            if isinstance(profile, IterationProfile)
            else profile.level_at(t_ns - after_ns)
            for after_ns, profile in self._parts()
            if not isinstance(profile, OpenProfile)
        )

    def _parts(self) -> list[tuple[int, Profile]]:
        return [(lane.after_ns, lane.profile) for lane in self.lanes] or [(0, self.profile)]


def highest_sum(parts: Iterable[tuple[int, Profile]]) -> float:
    """The highest sum of loads that begin at (ns): rates if they are open, else users. Exact, as `exact` is.

    The sum is linear between the stages' edges, so it is highest just before or just after one of them.
    Cost: O(stages · loads); a curve has thousands of stages.
    """
    pieces: list[_Piece] = []  # from, to, value at either end
    for after_ns, profile in parts:
        if isinstance(profile, IterationProfile):
            pieces.append((after_ns, None, Fraction(profile.users), Fraction(profile.users)))
            continue
        for stage in profile.stages:
            if stage.duration_ns:
                end_ns = after_ns + stage.duration_ns
                pieces.append((after_ns, end_ns, exact(stage.start), exact(stage.end)))
                after_ns = end_ns
    edges = {edge for first, last, _, _ in pieces for edge in (first, last) if edge is not None}
    begins = sorted(pieces, key=lambda piece: piece[0])
    here: list[_Piece] = []
    i, most = 0, Fraction(0)
    for edge in sorted(edges):
        before = sum((_value(piece, edge) for piece in here), Fraction(0))
        here = [piece for piece in here if piece[1] is None or piece[1] > edge]
        while i < len(begins) and begins[i][0] == edge:
            here.append(begins[i])
            i += 1
        most = max(most, before, sum((_value(piece, edge) for piece in here), Fraction(0)))
    return float(most)


_Piece = tuple[int, int | None, Fraction, Fraction]


def _value(piece: _Piece, t_ns: int) -> Fraction:
    first, last, start, end = piece
    return start if last is None else start + (end - start) * Fraction(t_ns - first, last - first)

"""The serializable part of a plan, and the changes that the command line makes to it.

A `PlanSpec` holds everything that a controller, the page or a manifest needs to know
of a plan, without any scenario code. `Overrides` are sent to the agents, which apply
them to the same plan. Both are plain values and round-trip through JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Literal, Self

import msgspec

from loadgen.engine.recording.tagging import TagSpec
from loadgen.measure.deltas.custom import MetricSpec
from loadgen.measure.objectives.objective import Objective
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.probes.spec import ProbeSpec
from loadgen.profiles.levels import LevelMark, LevelSpan, spans_of_levels
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S

__all__ = [
    "JourneySpec",
    "LaneSpec",
    "Overrides",
    "PlanSpec",
    "SteeredLoad",
    "SteeringSpec",
    "TraceSpec",
    "highest_sum",
    "parse_regions",
]


class SteeredLoad(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A search or a constant rate in place of a plan's only load. None or empty: the value of the plan's own search."""

    word: Literal["search", "constant"]
    objectives: tuple[str, ...] = ()
    """As text: "p(99)<300ms". `loadgen/dsl/steered/objective_text.py` reads them."""
    start_per_s: float | None = None
    upto_per_s: float | None = None
    """The highest rate of a search, or the constant rate."""
    duration_s: float | None = None
    """The longest time of a search, or the time of a constant rate."""
    tolerance: float | None = None


class Overrides(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes that the command line makes to a plan. None or empty leaves the plan's value."""

    target: str | None = None
    """Replaces the plan's `target`, or in a plan with `targets`, the URL of the default one."""
    targets: dict[str, str] = {}
    """Replaces the URLs of the plan's targets by name. A name that the plan does not have causes a warning."""
    peak: float | None = None
    """Scale the load so that its highest rate (iterations/s) or number of users is this."""
    peak_of: Literal["", "rate", "users"] = ""
    """The option that gave `peak` (`--rate` or `--users`); it must fit the load's kind. Empty: any kind."""
    duration_s: float | None = None
    """Stretch the load's stages so that they last this long in total."""
    regions: dict[str, float | None] = {}
    """Replaces the plan's regions: name -> weight. None keeps the weight of the plan."""
    params: dict[str, str] = {}
    """`-P name=value`, the values that `param()` returns."""
    env: str = ""
    """The environment of `loadgen.toml` chosen with `--env`; its values are already in the other fields."""
    env_params: dict[str, str] = {}
    """The environment's params. An unused one is no error, because several scenarios share an environment."""
    allow: tuple[str, ...] = ()
    """Hosts that the environment allows as targets. Only the command line uses this, not the workers."""
    seed: int | None = None
    """Seed of the run, used if the plan sets none."""
    resolve: dict[str, tuple[str, ...]] = {}
    """`--resolve`: addresses for "shop.example" or "shop.example:443", added to the plan's."""
    labels: dict[str, str] = {}
    """`--label name=value`: added to the plan's labels, and wins over them."""
    loads: tuple[str, ...] = ()
    """`--load`: run only these loads of the plan, by name; empty: all."""
    steered: SteeredLoad | None = None
    """Replaces the load, and the objectives that would be judged: set by `loadgen capacity find`."""

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Return the overrides that were encoded by `to_json`; empty data gives no overrides.

        Raises:
            ValueError: `data` is not the JSON of overrides.
        """
        return msgspec.json.decode(data or b"{}", type=cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def parse_regions(text: str) -> dict[str, float | None]:
    """Return the value of `--regions`: "a,b" selects regions of the plan, "a=1,b=2" replaces them with new weights.

    Returns:
        Name -> weight; None where only a name is given.

    Raises:
        ValueError: an empty name, an invalid weight, or a region twice.
    """
    regions: dict[str, float | None] = {}
    for part in text.split(","):
        name, has_weight, weight = (piece.strip() for piece in part.partition("="))
        if not name:
            raise ValueError(
                f'"{text}" has an empty region name; write "us-east-1,eu-west-1" or "us-east-1=2,eu-west-1=1"'
            )
        if name in regions:
            raise ValueError(f'region "{name}" is given twice; remove one')
        try:
            regions[name] = float(weight) if has_weight else None
        except ValueError:
            raise ValueError(f'"{weight}" is not a valid weight for region "{name}"; write {name}=2') from None
    return regions


class JourneySpec(msgspec.Struct, frozen=True, kw_only=True):
    """One journey of a plan, without its code."""

    name: str
    weight: float
    """Its share of the mix, 0 to 1; the weights of a plan sum to 1."""
    data: str | None = None
    """The data file of its rows; "rows" if they are written in the scenario; None without data."""
    visits: dict[str, float] = {}
    """For a graph: mean number of visits of each node per session."""
    is_unique: bool = False
    """True if the feed is unique and reserves a row for each use, so no row may be used twice."""


class SteeringSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a steered load is steered: the part that the controller needs."""

    executor: str
    """A short description: "hold p(99) < 300ms: 10/s to 1,000/s"."""
    objectives: tuple[Objective, ...]
    """The objectives that classify iterations as good or bad."""
    start_per_s: float
    upto_per_s: float

    def most(self, profile: Profile) -> int:
        """Return the highest possible number of iterations: the highest allowed rate, as long as `profile` lasts."""
        duration_ns = profile.duration_ns or 0
        return -(-int(self.upto_per_s * duration_ns) // NS_PER_S) + 1


def steered_objectives(loads: Iterable[SteeringSpec | None]) -> tuple[Objective, ...]:
    """Return the objectives of all steered loads, in order. An entry of None is a load that is not steered.

    Each objective gets a window of 1 s if it has none, so that agents count it per interval.
    """
    return tuple(
        msgspec.structs.replace(objective, window_ns=objective.window_ns or NS_PER_S)
        for steering in loads
        if steering is not None
        for objective in steering.objectives
    )


class LaneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One load of a plan, with its own journeys and its own start."""

    name: str
    """Empty if the plan gives it no name."""
    load: str
    """The curve in words."""
    journeys: tuple[JourneySpec, ...]
    """The weights of one load sum to 1."""
    profile: Profile
    """The load's curve. Its times count from `after_ns`."""
    after_ns: int = 0
    max_users: int | None = None
    random: bool = False
    steering: SteeringSpec | None = None
    """For a steered load: what it is steered by. `profile` is then only its initial curve."""
    tags: dict[str, str] = {}
    """The load's constants, part of all its series."""
    settings: dict[str, Any] = {}
    """The load's values of `per_load` settings."""
    drain_ns: int | None = None
    connections: str = ""
    http: dict[str, Any] = {}
    """The load's own settings, as in `PlanSpec`; None or empty: the plan's."""
    levels: tuple[LevelMark, ...] = ()
    """Which stages of `profile` are levels."""

    @property
    def level_spans(self) -> tuple[LevelSpan, ...]:
        """Return the levels of this load in order; their times count from T0. () if the load was changed in its run."""
        if not self.levels or not isinstance(self.profile, ArrivalProfile | UserProfile) or self.profile.is_edited:
            return ()
        stages = (Stage(0.0, 0.0, self.after_ns), *self.profile.stages)
        marks = [msgspec.structs.replace(one, stage=one.stage + 1) for one in self.levels]
        return spans_of_levels(stages, marks, is_rate=isinstance(self.profile, ArrivalProfile))

    @property
    def stays(self) -> str:
        """Return the reason why other agents cannot take over a lost agent's share of this load; "" if they can."""
        if isinstance(self.profile, IterationProfile):
            return "it is unknown which of its iterations were started"
        if isinstance(self.profile, UserProfile) and any(journey.is_unique for journey in self.journeys):
            return "the rows of its users must not be used again"
        return ""


class TraceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which iterations are sampled, which trace headers they send, and where their traces can be viewed."""

    sample: float
    """Share of iterations that are sampled, 0 to 1; of calls, if `per` is "request"."""
    formats: tuple[str, ...] = ("w3c",)
    link: str = ""
    """URL of one trace, with {trace_id} in it; or empty."""
    per: str = "request"
    """The sampled unit: iteration, trace or request. Manifests from before there was a choice have none: each call."""
    baggage: tuple[str, ...] = ()
    per_s: float | None = None
    """Sampled iterations per second of the whole fleet; `sample` is then 0. None: `sample` is the share."""
    boost: float | None = None
    """Share while an objective is breached, 0 to 1; None: it does not change."""
    export: str = ""
    """Where agents send our own spans, "otlp:URL"; or empty."""
    export_secret: str = ""
    """Name of the secret that is sent to it; its value never leaves the agents."""
    server_timing: bool = False


class PlanSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The serializable part of a plan, for manifest, controller and page. Times in ns, rates in 1/s.

    In a plan with several loads, `profile` and `load` are those of the first; `lanes` has all of them.
    """

    name: str
    scenario: str
    """File name of the scenario."""
    doc: str
    """First line of the scenario's docstring."""
    target: str
    load: str
    """The first load in words: "arrivals: ramp 0 to 200/s in 2m, hold 200/s for 10m"."""
    profile: Profile
    journeys: tuple[JourneySpec, ...]
    """The journeys of all loads, each once."""
    slos: tuple[Objective, ...]
    regions: dict[str, float]
    """Name -> relative weight; only weights above 0."""
    duration_ns: int | None
    """From the start to the end of the last load, without drain; None if the target decides (counted iterations)."""
    total_arrivals: int | None
    """Number of iterations of all loads; None if one of them is closed."""
    peak: float
    """The highest rate (open) or number of users (closed) of all loads of the first one's kind together."""
    max_users: int | None
    max_lateness_ns: int | None
    warmup_ns: int
    drain_ns: int
    connect_timeout_ns: int
    timeout_ns: int
    seed: int | None
    """None: each run draws its own."""
    interval_ns: int = NS_PER_S
    has_set_up: bool = False
    has_tear_down: bool = False
    params: dict[str, Any] = {}
    lanes: tuple[LaneSpec, ...] = ()
    """One entry for each load; empty in specs written before plans could have several loads."""
    targets: dict[str, str] = {}
    """URL by name; a single target has the name ""."""
    connections: str = "kept"
    """The policy as in the plan: "kept", "fresh" or "shared:50"."""
    tags: tuple[str, ...] = ()
    """Response headers by which series are split, in lower case."""
    declared_tags: tuple[TagSpec, ...] = ()
    """All tags of the plan with their values or headers; those of `tags` are among them."""
    trace: TraceSpec | None = None
    warmup_is_found: bool = False
    """True if the warm-up is detected from the measurements after the run; `warmup_ns` is then 0."""
    random: bool = False
    """True if the journeys of a mix are drawn at random, instead of in exact turns."""
    metrics: tuple[MetricSpec, ...] = ()
    secrets: tuple[str, ...] = ()
    """Names of the secrets; their values never leave the agents."""
    environment: str = ""
    """The environment of `loadgen.toml` chosen with `--env`; empty without one."""
    owner: str = ""
    labels: dict[str, str] = {}
    """The plan's labels, updated with those of `--label`."""
    commit: str = ""
    """The git commit of the scenario's folder, "+" appended if it has uncommitted changes; empty without git."""
    http: dict[str, Any] = {}
    """The fields of the plan's `Http` that differ from the defaults; secrets only by name."""
    llm: dict[str, Any] | None = None
    """The fields of the plan's `Llm` that differ from the defaults; None: the plan asks no model."""
    client: str = "loadgen"
    """"loadgen", or "httpx" for the stock httpx client."""
    busy_wait: bool = True
    """Whether workers may turn their loop instead of sleeping for a very short time."""
    probes: tuple[ProbeSpec, ...] = ()
    """Pages of metrics that the controller reads during the run; secrets only by name."""
    probe_slos: tuple[ProbeObjective, ...] = ()
    """The objectives on rows of probes. Agents ignore them; the controller judges them from its journal of probes."""
    libraries_in_c: tuple[str, ...] = ()
    """The scenario's client libraries that open their connections in C; a run with an allow-list refuses them."""
    unchecked_libraries: tuple[str, ...] = ()
    """Those of them that such a run accepts, because the plan names them."""
    notes: tuple[str, ...] = ()
    """Notes on how the run was measured that a reader of its results should know."""
    needs_sure: bool = False
    """True if a verdict of an objective counts only if it is sure: `--sure`, or `objectives = "sure"` in `[policy]`."""

    @property
    def is_open(self) -> bool:
        """Return True if all loads are open."""
        return all(isinstance(profile, OpenProfile) for _, profile in self._parts())

    def rate_at(self, t_ns: int) -> float:
        """Return the planned rate of all open loads together, iterations/s, `t_ns` after the start of the run."""
        return sum(
            profile.rate_at(t_ns - after_ns) for after_ns, profile in self._parts() if isinstance(profile, OpenProfile)
        )

    def level_at(self, t_ns: int) -> int:
        """Return the planned number of users of all closed loads together, `t_ns` after the start of the run.

        A load of counted iterations has no known end, so its users count forever.
        """
        return sum(
            (profile.users if t_ns >= after_ns else 0)
            if isinstance(profile, IterationProfile)
            else profile.level_at(t_ns - after_ns)
            for after_ns, profile in self._parts()
            if not isinstance(profile, OpenProfile)
        )

    def steady_ns(self, start_ns: int, end_ns: int) -> int:
        """Return when the last ramp or jump of the load ended that ended in the first half of a stretch of time.

        The result is `start_ns` if nothing changed by then. Later changes are ignored, since too little would be left.
        Times in ns from T0.
        """
        middle_ns = (start_ns + end_ns) // 2
        changes = [change for part in self._parts() for change in _changes(*part) if start_ns < change <= middle_ns]
        return max(changes, default=start_ns)

    def _parts(self) -> list[tuple[int, Profile]]:
        return [(lane.after_ns, lane.profile) for lane in self.lanes] or [(0, self.profile)]


def _changes(after_ns: int, profile: Profile) -> Iterator[int]:
    """Yield the time from T0 at which each ramp and each jump of a load ended."""
    value = 0.0
    for stage in () if isinstance(profile, IterationProfile) else profile.stages:
        if stage.duration_ns and stage.start != value:
            yield after_ns
        after_ns += stage.duration_ns
        if stage.duration_ns and stage.start != stage.end:
            yield after_ns
        value = stage.end if stage.duration_ns else value
    yield after_ns


def highest_sum(parts: Iterable[tuple[int, Profile]]) -> float:
    """Return the highest sum of the given loads at any time: of rates for open loads, of users for closed ones.

    parts: (start in ns, profile) of each load. The calculation uses exact fractions. The sum is linear between the
    edges of stages, so its maximum is just before or just after an edge.

    Cost: O(stages · loads); a curve can have thousands of stages.
    """
    pieces: list[_Piece] = []  # start and end in ns, value at each
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

"""What a plan will do and need, before it is run: arithmetic on its spec, and on one trial of each journey.

Without a trial everything here follows from the plan alone, so the text can be
kept beside the scenario and compared when it changes. A trial adds requests,
users (Little's law) and how long an iteration takes; those are estimates of one
iteration each, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log, pi, sqrt
from statistics import NormalDist, fmean

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec
from loadgen.engine.load.share import RowIndex
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.steps import TimedProfile
from loadgen.units import NS_PER_S, format_count, format_duration, format_rate, format_ratio
from loadgen_controller.planning.rehearsal import Stepped

__all__ = [
    "REQUESTS_PER_AGENT",
    "USERS_PER_AGENT",
    "Forecast",
    "RowsOf",
    "Tried",
    "detectable",
    "forecast",
    "lines",
    "on_average",
]

REQUESTS_PER_AGENT = 10_000
"""Requests/s that an agent is counted on for: a sixth of what one core does at best (bench/RESULTS.md)."""
USERS_PER_AGENT = 10_000
RUN_DEVIATION = 0.02
"""Between runs of the same thing, of a percentile: 1 to 4 % on clouds; its own history tells it better."""
SIGMA = 0.5
"""Of the logarithm of response times, for what is not measured yet."""


@dataclass(frozen=True, slots=True)
class RowsOf:
    """A feed: which journey reads it first, rows that the run uses up, and rows there."""

    journey: str
    data: str
    needed: int
    there: int


@dataclass(frozen=True, slots=True)
class Tried:
    """One iteration of a journey, as it was tried; of a graph, a session as it is on average."""

    journey: str
    requests: float
    response_s: float
    think_s: float


def on_average(journey: str, visits: Mapping[str, float], think_s: float, steps: Iterable[Stepped]) -> Tried:
    """A session of a graph: its nodes as they were tried, each as often as a session visits it on average.

    Args:
        visits: a session, by node. think_s: of a session, on the edges.
        steps: the visits that were tried, at least one of each node.
    """
    tried: dict[str, list[Stepped]] = {}
    for step in steps:
        tried.setdefault(step.name, []).append(step)

    def mean(of: Callable[[Stepped], float]) -> float:
        return sum(count * fmean(map(of, tried[node])) for node, count in visits.items())

    return Tried(
        journey,
        mean(lambda step: step.requests),
        mean(lambda step: step.response_s),
        mean(lambda step: step.thought_s) + think_s,
    )


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a plan; None where they are not known. Rates in 1/s, times in s."""

    duration_s: float | None
    iterations: int | None
    by_journey: dict[str, int]
    """Iterations of each, exact; empty for closed loads."""
    by_region: dict[str, float]
    """Shares, 0 to 1."""
    peak_per_s: float | None
    """Iterations/s; of closed loads as estimated from the trial."""
    deviation: float = 0.0
    """Standard deviation of `iterations` from one seed to another."""
    requests: int | None = None
    peak_requests_per_s: float | None = None
    users: int | None = None
    agents: dict[str, int] = {}
    """By region: what its share of the peak needs."""
    visits: dict[str, dict[str, float]] = {}
    """By graph and node: how often a session visits it, on average."""


def forecast(spec: PlanSpec, tried: Sequence[Tried] = ()) -> Forecast:
    """`tried`: one iteration of each journey, or nothing. Of arrivals by chance whose seed is not known: on average."""
    lanes = tuple(_on_average(lane) for lane in spec.lanes) if spec.seed is None else spec.lanes
    known = {one.journey: one for one in tried}
    by_journey: dict[str, int] = {}
    for lane in lanes:
        for journey, count in _counts(lane):
            by_journey[journey] = by_journey.get(journey, 0) + count
    whole = all(journey.name in known for lane in lanes for journey in lane.journeys if journey.weight)
    peak, requests_per_s, users = (None, None, None) if not whole else _peaks(lanes, known)
    if peak is None and spec.is_open:
        peak = spec.peak
    if peak is None and all(_is_paced(lane) for lane in lanes):
        peak = sum(_paced_per_s(lane) for lane in lanes)
    total = sum(spec.regions.values())
    by_region = {region: weight / total for region, weight in spec.regions.items()}
    is_counted = len(by_journey) > 0
    return Forecast(
        duration_s=None if spec.duration_ns is None else spec.duration_ns / NS_PER_S,
        iterations=_iterations(lanes),
        deviation=_deviation(spec.lanes) if spec.seed is None else 0.0,
        by_journey=by_journey,
        by_region=by_region,
        peak_per_s=peak,
        requests=round(sum(n * known[name].requests for name, n in by_journey.items()))
        if whole and is_counted
        else None,
        peak_requests_per_s=requests_per_s,
        users=users,
        agents={region: _agents(share, requests_per_s, users) for region, share in by_region.items()},
        visits={journey.name: journey.visits for lane in lanes for journey in lane.journeys if journey.visits},
    )


def _on_average(lane: LaneSpec) -> LaneSpec:
    """Its curve with even spacings: as many arrivals as by chance on average."""
    if not isinstance(lane.profile, ArrivalProfile) or lane.profile.spacing is None:
        return lane
    return msgspec.structs.replace(lane, profile=msgspec.structs.replace(lane.profile, spacing=None))


def _deviation(lanes: Iterable[LaneSpec]) -> float:
    """Of the number of arrivals by chance: the variance of a renewal process is cv² times its mean, in the long run."""
    of_each = (
        lane.profile.spacing.cv**2 * float(lane.profile.schedule().timeline.area)
        for lane in lanes
        if isinstance(lane.profile, ArrivalProfile) and lane.profile.spacing is not None
    )
    return sqrt(sum(of_each))


def _iterations(lanes: Iterable[LaneSpec]) -> int | None:
    """Of all loads; None where one is closed."""
    known = [None if isinstance(lane.profile, UserProfile) else lane.profile.total() for lane in lanes]
    return None if None in known else sum(total or 0 for total in known)


def _counts(lane: LaneSpec) -> Iterator[tuple[str, int]]:
    """Iterations of each journey of an open or counted load."""
    if isinstance(lane.profile, UserProfile):
        return
    total = lane.profile.total()
    weights = [journey.weight for journey in lane.journeys]
    for i, journey in enumerate(lane.journeys):
        count = round(total * journey.weight) if lane.random else RowIndex(weights, [i]).below(total)
        yield journey.name, count


def _peaks(lanes: Sequence[LaneSpec], known: Mapping[str, Tried]) -> tuple[float, float, int]:
    """Iterations/s, requests/s and users at each lane's peak, added up: an upper bound where they peak apart."""
    rate = requests = 0.0
    users = 0
    for lane in lanes:
        mean_s = sum(j.weight * (known[j.name].response_s + known[j.name].think_s) for j in lane.journeys)
        of_one = sum(j.weight * known[j.name].requests for j in lane.journeys)
        if isinstance(lane.profile, OpenProfile):
            per_s, people = float(lane.profile.peak), ceil(float(lane.profile.peak) * mean_s)
        else:
            people = int(lane.profile.peak)
            per_s = people / mean_s if mean_s else 0.0
            if _is_paced(lane):
                per_s = min(per_s or inf, _paced_per_s(lane))
        rate, requests, users = rate + per_s, requests + per_s * of_one, users + people
    return rate, requests, users


def _is_paced(lane: LaneSpec) -> bool:
    return isinstance(lane.profile, UserProfile) and lane.profile.pace_ns > 0


def _paced_per_s(lane: LaneSpec) -> float:
    """Iterations/s at the peak of a paced load, if none overruns its cycle."""
    assert isinstance(lane.profile, UserProfile)
    return lane.profile.peak * NS_PER_S / lane.profile.pace_ns


def _agents(share: float, requests_per_s: float | None, users: int | None) -> int:
    by_requests = (requests_per_s or 0.0) * share / REQUESTS_PER_AGENT
    return max(1, ceil(by_requests), ceil((users or 0) * share / USERS_PER_AGENT))


def detectable(q: float, n: int, *, sigma: float = SIGMA, deviation: float = RUN_DEVIATION) -> float | None:
    """The least relative change of a percentile that two such runs tell apart, 80 % of the time at 5 % false alarms.

    Args:
        q: percent. n: values of a run. sigma: of the logarithm of the values. deviation: between runs, relative.
    Returns:
        E.g. 0.08 for 8 %; None where the run has fewer than 10 values beyond the percentile.
    Source: the delta method for a quantile of a lognormal, sd(log) = sqrt(q (1 - q) / n) / density, both deviations
        added as variances, times (1.96 + 0.84) sqrt(2). Values are taken as independent: autocorrelation widens it.
    """
    share = q / 100
    if n * (1 - share) < 10:
        return None
    z = NormalDist().inv_cdf(share)
    density = exp(-z * z / 2) / sqrt(2 * pi) / sigma
    within = sqrt(share * (1 - share) / n) / density
    return exp(2.8 * sqrt(2) * sqrt(within**2 + log(1 + deviation) ** 2)) - 1


def lines(spec: PlanSpec, found: Forecast, rows: Sequence[RowsOf], tried: Sequence[Tried] = ()) -> Iterator[str]:
    """As text, one fact a line, so that two plans can be compared line by line."""
    yield from _heading(spec)
    yield from _load(spec, found)
    for region, share in found.by_region.items():
        yield _line("region", f"{region}: {format_ratio(share)}, {found.agents[region]} agent(s)")
    for feed in rows:
        enough = "enough" if feed.there >= feed.needed else f"{format_count(feed.needed - feed.there)} MISSING"
        there = f"{format_count(feed.needed)} needed, {format_count(feed.there)} there"
        yield _line("rows", f"{feed.journey}: {feed.data}: {there}: {enough}")
    for slo in spec.slos:
        yield _line("objective", slo.text)
    yield from _detects(spec, found)
    for one in tried:
        yield _line(
            "tried",
            f"{one.journey}: {round(one.requests, 2):g} request(s)"
            f", response {format_duration(one.response_s * NS_PER_S)}"
            f", think {format_duration(one.think_s * NS_PER_S)}",
        )
    yield from _estimates(spec, found)


def _heading(spec: PlanSpec) -> Iterator[str]:
    yield _line("plan", f"{spec.scenario}:{spec.name}" + (f"  {spec.doc}" if spec.doc else ""))
    for name, url in (spec.targets or {"": spec.target}).items():
        yield _line("target", f"{name}: {url}" if name else url)
    if spec.owner:
        yield _line("owner", spec.owner)
    for name, text in spec.labels.items():
        yield _line("label", f"{name}: {text}")
    for name, value in spec.params.items():
        yield _line("param", f"{name} = {value}")
    for name in spec.secrets:
        yield _line("secret", name)
    for name, value in spec.http.items():
        yield _line("http", f"{name} = {value}")


def _load(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    for lane in spec.lanes:
        name = f"{lane.name}: " if lane.name else ""
        after = f" after {format_duration(lane.after_ns)}" if lane.after_ns else ""
        yield _line("load", f"{name}{lane.load}{after}")
        if _is_paced(lane):
            rate = format_rate(_paced_per_s(lane))
            yield _line("paced", f"{name}{rate} iterations at the peak, if none takes longer than its cycle")
        for journey in lane.journeys:
            drawn = ", drawn" if lane.random else ""
            yield _line("journey", f"{name}{journey.name}: {format_ratio(journey.weight)}{drawn}")
    for graph, visits in found.visits.items():
        for name, count in (*visits.items(), ("in all", sum(visits.values()))):
            yield _line("visits", f"{graph}: {name}: {count:.3g} a session")
    # How many arrive by chance follows from a seed that each run draws, unless the plan gives it.
    by_chance = [lane for lane in spec.lanes if _is_by_chance(lane.profile)]
    is_by_chance = spec.seed is None and bool(by_chance)
    unsure = [lane for lane in spec.lanes if lane.random or (is_by_chance and lane in by_chance)]
    for name, count in found.by_journey.items():
        about = "about " if any(journey.name == name for lane in unsure for journey in lane.journeys) else ""
        yield _line("iterations", f"{name}: {about}{format_count(count)}")
    if found.iterations is not None:
        about = "about " if is_by_chance else ""
        give = f", give or take {format_count(ceil(found.deviation))} from run to run" if found.deviation else ""
        yield _line("iterations", f"in all: {about}{format_count(found.iterations)}{give}")
    if found.duration_s is None:
        yield _line("duration", f"until the iterations are done, and up to {format_duration(spec.drain_ns)} to drain")
    else:
        drain = format_duration(spec.drain_ns)
        yield _line("duration", f"{format_duration(found.duration_s * NS_PER_S)}, and up to {drain} to drain")
    if spec.warmup_ns or spec.warmup_is_found:
        yield _line("warm-up", "found after the run" if spec.warmup_is_found else format_duration(spec.warmup_ns))


def _is_by_chance(profile: Profile) -> bool:
    if isinstance(profile, TimedProfile):
        return profile.is_by_chance
    return isinstance(profile, ArrivalProfile) and profile.spacing is not None


def _detects(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    of_journeys = [slo for slo in spec.slos if slo.q and slo.step is None and slo.request is None]
    for journey, n in found.by_journey.items():
        for q in sorted({slo.q for slo in of_journeys if slo.journey in (None, journey)} or {95.0}):
            change = detectable(q, n)
            said = "too few iterations for it" if change is None else f"a change of {format_ratio(change)} or more"
            yield _line("detects", f"{journey} p{q:g}: {said}")


def _estimates(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    if found.peak_requests_per_s is None:
        yield _line("estimate", "requests and users: not known without a trial")
        return
    if found.requests is not None:
        yield _line("estimate", f"{format_count(found.requests)} requests in all")
    yield _line("estimate", f"{format_rate(found.peak_requests_per_s)} requests at the peak")
    has_closed = any(not isinstance(lane.profile, OpenProfile) for lane in spec.lanes)
    law = "given" if has_closed else "Little's law: rate × (response + think)"
    yield _line("estimate", f"{format_count(found.users or 0)} users at the peak ({law})")
    if any(isinstance(lane.profile, IterationProfile | UserProfile) for lane in spec.lanes):
        per_s = format_rate(found.peak_per_s or 0.0)
        yield _line("estimate", f"{per_s} iterations (closed: the rate follows the target)")


def _line(word: str, text: str) -> str:
    return f"{word:<11}{text}"

"""Calculates what a plan will do and need before it runs, from its spec and from one trial of each journey.

Without a trial, everything here follows from the plan alone, so the text can be stored with the scenario and compared
when the plan changes. A trial adds requests, users (by Little's law) and the duration of an iteration. These figures
are estimates from a single iteration of each journey, and are labelled as estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log, pi, sqrt
from statistics import NormalDist, fmean

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, TraceSpec
from loadgen.engine.load.share import RowIndex
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.units import NS_PER_S, format_count, format_duration, format_rate, format_ratio, quantity
from loadgen_controller.planning.rehearsal import Stepped

__all__ = [
    "REQUESTS_PER_AGENT",
    "USERS_PER_AGENT",
    "Forecast",
    "RowsOf",
    "Tried",
    "detectable",
    "forecast",
    "line",
    "lines",
    "on_average",
]

REQUESTS_PER_AGENT = 10_000
"""Requests/s that one agent is planned to send: a sixth of the best result of one core (bench/RESULTS.md)."""
USERS_PER_AGENT = 10_000
"""Users that one agent is planned to run."""
RUN_DEVIATION = 0.02
"""Relative standard deviation of a percentile between runs of the same code: 1 to 4 % on clouds.

The history of a plan gives a better value.
"""
_UNKNOWN = "number not known beforehand"
"""Shown in place of a count if an executor decides the rate of the load during the run."""
_POINTS = 1_000
"""Points of the curve of a load at which its rate is compared with that of sampled iterations."""
SLOW_TRACES = 30
"""Fewest slow traces from which a cause is ranked: in a simulation, a fault of 30 ms on 3 % of requests is first in
93 % of draws of 30."""
SIGMA = 0.5
"""Standard deviation of the logarithm of response times, assumed while nothing has been measured."""


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of a feed: the journey that reads it, how many rows the run needs, and how many exist."""

    journey: str
    data: str
    needed: int
    there: int
    prompt_tokens: int | None = None
    """Tokens of all prompts of the run, from the rows; None if they have none, or the number of uses is unknown."""
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """The figures of one trial iteration of a journey; for a graph, of an average session."""

    journey: str
    requests: float
    response_s: float
    think_s: float


def on_average(journey: str, visits: Mapping[str, float], think_s: float, steps: Iterable[Stepped]) -> Tried:
    """Return the figures of one average session of a graph, from trial visits of its nodes.

    Args:
        visits: average number of visits of each node in a session.
        think_s: average think time on the edges of a session.
        steps: the trial visits, at least one of each node.
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
    """The forecast figures of a plan; None if unknown. Rates in 1/s, times in s."""

    duration_s: float | None
    iterations: int | None
    by_journey: dict[str, int]
    """Exact number of iterations by journey; empty for closed and for steered loads."""
    by_region: dict[str, float]
    """Share of each region, 0 to 1."""
    peak_per_s: float | None
    """Peak rate in iterations/s; for closed loads, estimated from the trial; for steered loads, the highest allowed."""
    deviation: float = 0.0
    """Standard deviation of `iterations` from one seed to another."""
    requests: int | None = None
    peak_requests_per_s: float | None = None
    users: int | None = None
    agents: dict[str, int] = {}
    """Agents that each region needs for its share of the peak."""
    visits: dict[str, dict[str, float]] = {}
    """By graph and node: average number of visits per session."""
    slow_traces: dict[str, float] = {}
    """By journey: the expected number of sampled iterations above its p99 (or the highest percentile of its objectives)
    after the warm-up; empty without `trace=` and for loads whose number of iterations is unknown."""


def forecast(spec: PlanSpec, tried: Sequence[Tried] = ()) -> Forecast:
    """Return what a run of the plan will do and need. tried: the trial of each journey; empty without a trial.

    For random arrivals with an unknown seed, the figures are averages, and `deviation` is their spread.
    """
    lanes = tuple(_on_average(lane) for lane in spec.lanes) if spec.seed is None else spec.lanes
    known = {one.journey: one for one in tried}
    by_journey: dict[str, int] = {}
    for lane in lanes:
        for journey, count in _counts(lane):
            by_journey[journey] = by_journey.get(journey, 0) + count
    whole = all(journey.name in known for lane in lanes for journey in lane.journeys if journey.weight)
    peak, requests_per_s, users = (None, None, None) if not whole else _peaks(lanes, known)
    if peak is None and spec.is_open:
        peak = sum(map(_open_peak, lanes)) if any(lane.steering for lane in lanes) else spec.peak
    if peak is None and all(_is_paced(lane) for lane in lanes):
        peak = sum(_paced_per_s(lane) for lane in lanes)
    total = sum(spec.regions.values())
    by_region = {region: weight / total for region, weight in spec.regions.items()}
    is_counted = len(by_journey) > 0 and not any(lane.steering for lane in lanes)
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
        slow_traces=_slow_traces(spec, by_journey),
    )


def _slow_traces(spec: PlanSpec, by_journey: Mapping[str, int]) -> dict[str, float]:
    if spec.trace is None or spec.trace.per == "request":
        return {}
    share = _sampled_share(spec, sum(by_journey.values()))
    return {
        journey: n * _measured_part(spec) * (1 - _highest_percentile(spec, journey) / 100) * share
        for journey, n in by_journey.items()
    }


def _sampled_share(spec: PlanSpec, iterations: int) -> float:
    """Return the expected share of iterations after the warm-up that are sampled, without a boost.

    With a rate it is that of the known curve of open loads; of other loads, as if their iterations were spread evenly.
    """
    trace = spec.trace
    if trace is None or trace.per_s is None:
        return 0.0 if trace is None else trace.sample
    duration_ns = spec.duration_ns
    if not duration_ns or not iterations:
        return 0.0
    if not spec.is_open:
        return min(1.0, trace.per_s * duration_ns / NS_PER_S / iterations)
    step_ns = (duration_ns - spec.warmup_ns) / _POINTS
    rates = [spec.rate_at(round(spec.warmup_ns + (point + 0.5) * step_ns)) for point in range(_POINTS)]
    return sum(min(rate, trace.per_s) for rate in rates) / (sum(rates) or 1.0)


def _measured_part(spec: PlanSpec) -> float:
    """Return the part of the load that is after the warm-up, 0 to 1."""
    return 1.0 if not spec.duration_ns else max(0.0, 1 - spec.warmup_ns / spec.duration_ns)


def _highest_percentile(spec: PlanSpec, journey: str) -> float:
    """Return the highest percentile of a journey's objectives that is above 90, in percent; 99 without any."""
    of_journey = [slo for slo in spec.slos if slo.kind_of_series == "journey" and slo.journey in (None, journey)]
    return max((slo.q for slo in of_journey if slo.kind == "percentile" and 90 < slo.q < 100), default=99.0)


def _on_average(lane: LaneSpec) -> LaneSpec:
    """Return the load with even instead of random spacings: it has as many arrivals as the random load on average."""
    if not isinstance(lane.profile, ArrivalProfile) or lane.profile.spacing is None:
        return lane
    return msgspec.structs.replace(lane, profile=msgspec.structs.replace(lane.profile, spacing=None))


def _deviation(lanes: Iterable[LaneSpec]) -> float:
    """Return the standard deviation of the number of random arrivals.

    In the long run, the variance of a renewal process is cv² times its mean.
    """
    of_each = (
        lane.profile.spacing.cv**2 * float(lane.profile.schedule().timeline.area)
        for lane in lanes
        if isinstance(lane.profile, ArrivalProfile) and lane.profile.spacing is not None
    )
    return sqrt(sum(of_each))


def _iterations(lanes: Iterable[LaneSpec]) -> int | None:
    """Return the iterations of all loads; None if one of them is closed or steered."""
    known = [None if isinstance(lane.profile, UserProfile) or lane.steering else lane.profile.total() for lane in lanes]
    return None if None in known else sum(total or 0 for total in known)


def _counts(lane: LaneSpec) -> Iterator[tuple[str, int]]:
    """Yield the iterations of each journey of an open load or one with a fixed number of iterations."""
    if isinstance(lane.profile, UserProfile) or lane.steering:
        return
    total = lane.profile.total()
    weights = [journey.weight for journey in lane.journeys]
    for i, journey in enumerate(lane.journeys):
        count = round(total * journey.weight) if lane.random else RowIndex(weights, [i]).below(total)
        yield journey.name, count


def _peaks(lanes: Sequence[LaneSpec], known: Mapping[str, Tried]) -> tuple[float, float, int]:
    """Return iterations/s, requests/s and users at the peak of each load, added up.

    That is an upper bound if the loads peak at different times.
    """
    rate = requests = 0.0
    users = 0
    for lane in lanes:
        mean_s = sum(j.weight * (known[j.name].response_s + known[j.name].think_s) for j in lane.journeys)
        of_one = sum(j.weight * known[j.name].requests for j in lane.journeys)
        if isinstance(lane.profile, OpenProfile):
            per_s = _open_peak(lane)
            lane_users = ceil(per_s * mean_s)
        else:
            lane_users = int(lane.profile.peak)
            per_s = lane_users / mean_s if mean_s else 0.0
            if _is_paced(lane):
                per_s = min(per_s or inf, _paced_per_s(lane))
        rate, requests, users = rate + per_s, requests + per_s * of_one, users + lane_users
    return rate, requests, users


def _open_peak(lane: LaneSpec) -> float:
    """Return the highest rate of an open load; of a steered load the highest one that its executor may choose."""
    return lane.steering.upto_per_s if lane.steering is not None else float(lane.profile.peak)


def _is_paced(lane: LaneSpec) -> bool:
    return isinstance(lane.profile, UserProfile) and lane.profile.pace_ns > 0


def _paced_per_s(lane: LaneSpec) -> float:
    """Return the iterations/s at the peak of a paced load, if no iteration takes longer than the pace."""
    assert isinstance(lane.profile, UserProfile)
    return lane.profile.peak * NS_PER_S / lane.profile.pace_ns


def _agents(share: float, requests_per_s: float | None, users: int | None) -> int:
    by_requests = (requests_per_s or 0.0) * share / REQUESTS_PER_AGENT
    return max(1, ceil(by_requests), ceil((users or 0) * share / USERS_PER_AGENT))


def detectable(q: float, n: int, *, sigma: float = SIGMA, deviation: float = RUN_DEVIATION) -> float | None:
    """Return the smallest relative change of a percentile that a comparison of two such runs detects.

    The comparison detects it with a probability of 80 %, at 5 % false alarms.

    Args:
        q: the percentile, in percent. n: number of values of a run.
        sigma: standard deviation of the logarithm of the values.
        deviation: relative standard deviation between runs.
    Returns:
        For example 0.08 for 8 %; None if a run has fewer than 10 values beyond the percentile.
    Source: the delta method for a quantile of a lognormal, sd(log) = sqrt(q (1 - q) / n) / density, both deviations
        added as variances, times (1.96 + 0.84) sqrt(2). Values are assumed to be independent; autocorrelation makes
        the detectable change larger.
    """
    share = q / 100
    if n * (1 - share) < 10:
        return None
    z = NormalDist().inv_cdf(share)
    density = exp(-z * z / 2) / sqrt(2 * pi) / sigma
    within = sqrt(share * (1 - share) / n) / density
    return exp(2.8 * sqrt(2) * sqrt(within**2 + log(1 + deviation) ** 2)) - 1


def lines(spec: PlanSpec, found: Forecast, rows: Sequence[RowsOf], tried: Sequence[Tried] = ()) -> Iterator[str]:
    """Yield the forecast as text, one fact per line, so that two plans can be compared line by line."""
    yield from _heading(spec)
    yield from _load(spec, found)
    for region, share in found.by_region.items():
        yield line("region", f"{region}: {format_ratio(share)}, {quantity(found.agents[region], 'agent')}")
    for feed in rows:
        enough = "enough" if feed.there >= feed.needed else f"{format_count(feed.needed - feed.there)} MISSING"
        there = f"{format_count(feed.needed)} needed, {format_count(feed.there)} available"
        yield line("rows", f"{feed.journey}: {feed.data}: {there}: {enough}")
        if feed.prompt_tokens is not None and feed.answer_tokens is not None:
            prompts, answers = format_count(feed.prompt_tokens), format_count(feed.answer_tokens)
            yield line("tokens", f"{feed.journey}: {prompts} in prompts and {answers} in answers, as in {feed.data}")
    for slo in spec.slos:
        yield line("objective", slo.text + _unusual(slo))
    for of_probe in spec.probe_slos:
        yield line("objective", of_probe.text)
    yield from _detects(spec, found)
    yield from _traces(spec, found)
    for one in tried:
        yield line(
            "tried",
            f"{one.journey}: {round(one.requests, 2):g} request{'' if one.requests == 1 else 's'}"
            f", response {format_duration(one.response_s * NS_PER_S)}"
            f", think {format_duration(one.think_s * NS_PER_S)}",
        )
        if (needed_ns := one.response_s * NS_PER_S) > spec.drain_ns:
            drain = format_duration(spec.drain_ns)
            text = f"{drain} is shorter than an iteration of {one.journey}: the end of the load cuts its last ones off"
            yield line("drain", f'{text}; write drain="{ceil(needed_ns / NS_PER_S)}s" or longer')
    yield from _estimates(spec, found)


def _unusual(slo: Objective) -> str:
    """Return in words what an objective in an unusual direction demands; "" for a usual one.

    Upper limits of times and scores, and lower limits of custom ratios are usual. Other values have no usual direction.
    """
    has_usual = slo.kind in ("percentile", "mean", "maximum", "error_ratio") and not slo.of and not slo.counts_tokens
    if has_usual and not slo.is_upper:
        what = "ratio of errors" if slo.kind == "error_ratio" else "time" if slo.unit_of_values else "score"
        return f"  (unusual: it fails if the {what} is at or below the limit)"
    if slo.kind == "ratio" and slo.is_upper:
        return "  (unusual: it fails if the ratio is at or above the limit)"
    return ""


def _heading(spec: PlanSpec) -> Iterator[str]:
    yield line("plan", f"{spec.scenario}:{spec.name}" + (f"  {spec.doc}" if spec.doc else ""))
    for name, url in (spec.targets or {"": spec.target}).items():
        yield line("target", f"{name}: {url}" if name else url)
    if spec.owner:
        yield line("owner", spec.owner)
    for name, text in spec.labels.items():
        yield line("label", f"{name}: {text}")
    for name, value in spec.params.items():
        yield line("param", f"{name} = {value}")
    for name in spec.secrets:
        yield line("secret", name)
    for name, value in spec.http.items():
        yield line("http", f"{name} = {value}")


def _load(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    for lane in spec.lanes:
        name = f"{lane.name}: " if lane.name else ""
        after = f" after {format_duration(lane.after_ns)}" if lane.after_ns else ""
        yield line("load", f"{name}{lane.load}{after}")
        if isinstance(lane.profile, TimedProfile) and lane.profile.gap_cv is not None:
            cv = lane.profile.gap_cv
            yield line("gaps", f"{name}coefficient of variation {cv:.2f} (1 for Poisson arrivals, 0 for even ones)")
        if _is_paced(lane):
            rate = format_rate(_paced_per_s(lane))
            yield line("paced", f"{name}{rate} iterations at the peak, if none takes longer than the pace")
        for journey in lane.journeys:
            drawn = ", drawn" if lane.random else ""
            yield line("journey", f"{name}{journey.name}: {format_ratio(journey.weight)}{drawn}")
    for graph, visits in found.visits.items():
        for name, count in (*visits.items(), ("in all", sum(visits.values()))):
            yield line("visits", f"{graph}: {name}: {count:.3g} a session")
    # The number of random arrivals follows from a seed that each run draws, unless the plan sets it.
    by_chance = [lane for lane in spec.lanes if _is_by_chance(lane.profile)]
    is_by_chance = spec.seed is None and bool(by_chance)
    unsure = [lane for lane in spec.lanes if lane.random or (is_by_chance and lane in by_chance)]
    for lane in spec.lanes:
        if lane.steering is not None:
            of = f"{lane.name}: " if lane.name else ""
            yield line("iterations", f"{of}up to {format_rate(lane.steering.upto_per_s)}; {_UNKNOWN}")
    for name, count in found.by_journey.items():
        about = "about " if any(journey.name == name for lane in unsure for journey in lane.journeys) else ""
        yield line("iterations", f"{name}: {about}{format_count(count)}")
    if found.iterations is not None:
        about = "about " if is_by_chance else ""
        give = f", give or take {format_count(ceil(found.deviation))} from run to run" if found.deviation else ""
        yield line("iterations", f"in all: {about}{format_count(found.iterations)}{give}")
    if found.duration_s is None:
        yield line("duration", f"until the iterations are done, and up to {format_duration(spec.drain_ns)} to drain")
    else:
        drain, most = format_duration(spec.drain_ns), "at most " if _is_steered(spec) else ""
        yield line("duration", f"{most}{format_duration(found.duration_s * NS_PER_S)}, and up to {drain} to drain")
    if spec.warmup_ns or spec.warmup_is_found:
        yield line("warm-up", "found after the run" if spec.warmup_is_found else format_duration(spec.warmup_ns))


def _is_steered(spec: PlanSpec) -> bool:
    return any(lane.steering is not None for lane in spec.lanes)


def _is_by_chance(profile: Profile) -> bool:
    if isinstance(profile, TimedProfile):
        return profile.is_by_chance
    return isinstance(profile, ArrivalProfile) and profile.spacing is not None


def _detects(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    of_journeys = [slo for slo in spec.slos if slo.q and slo.kind_of_series == "journey"]
    for journey, n in found.by_journey.items():
        for q in sorted({slo.q for slo in of_journeys if slo.journey in (None, journey)} or {95.0}):
            change = detectable(q, n)
            text = "too few iterations" if change is None else f"a change of {format_ratio(change)} or more"
            yield line("detects", f"{journey} p{q:g}: {text}")


def _traces(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    """Yield how many slow iterations the target's tracing will keep of each journey, and what to do about too few."""
    if spec.trace is None:
        return
    if spec.trace.per == "request":
        yield line("traces", 'calls are sampled one by one, so no iteration is whole; write per="iteration"')
    share = _sampled_share(spec, sum(found.by_journey.values()))
    for journey, n in found.slow_traces.items():
        most = n / share if share else 0.0
        text = f"about {format_count(round(n))} sampled iterations above p{_highest_percentile(spec, journey):g}"
        if spec.trace.boost is not None:
            text += f" (with the boost at most {format_count(round(max(n, most * spec.trace.boost)))})"
        text += f"; {SLOW_TRACES} are needed"
        if n < SLOW_TRACES:
            needed = _needed(spec.trace, n, most)
            text += f": write {needed} or more" if needed else ": the load is too small or too short"
        yield line("traces", f"{journey}: {text}")


def _needed(trace: TraceSpec, n: float, most: float) -> str:
    """Return the setting with which `SLOW_TRACES` slow iterations are sampled; "" if even all iterations are too few.

    n: sampled slow iterations with the present setting. most: all slow iterations.
    """
    if most * (1 + 1e-9) < SLOW_TRACES:
        return ""
    if trace.per_s is None or not n:
        return f'trace="{ceil(1000 * SLOW_TRACES / most - 1e-6) / 10:g}%"'
    return f'sample="{ceil(10 * trace.per_s * SLOW_TRACES / n - 1e-6) / 10:g}/s"'


def _estimates(spec: PlanSpec, found: Forecast) -> Iterator[str]:
    if found.peak_requests_per_s is None:
        yield line("estimate", "requests and users: unknown without a trial")
        return
    if found.requests is not None:
        yield line("estimate", f"{format_count(found.requests)} requests in all")
    upto = "up to " if _is_steered(spec) else ""
    if upto:
        yield line("estimate", f"requests: up to {format_rate(found.peak_requests_per_s)}; {_UNKNOWN}")
    else:
        yield line("estimate", f"{format_rate(found.peak_requests_per_s)} requests at the peak")
    has_closed = any(not isinstance(lane.profile, OpenProfile) for lane in spec.lanes)
    law = "given" if has_closed else "Little's law: rate × (response + think)"
    yield line("estimate", f"{upto}{format_count(found.users or 0)} users at the peak ({law})")
    if any(isinstance(lane.profile, IterationProfile | UserProfile) for lane in spec.lanes):
        per_s = format_rate(found.peak_per_s or 0.0)
        yield line("estimate", f"{per_s} iterations (closed: the rate follows the target)")


def line(word: str, text: str) -> str:
    """Return one line of the forecast: its first word in a column, and the fact."""
    return f"{word:<11}{text}"

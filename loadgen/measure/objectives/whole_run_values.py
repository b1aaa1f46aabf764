"""Judges objectives on any metric over a whole run: means, extremes, counts, custom metrics, tags, single outcomes.

Rules:

- In the metrics of `FAILED_VALUES`, a failed event is above every value of a percentile. A phase that a request did not
  have is not counted, and every text names both numbers.
- Goodput is the share of good ones among all offered requests to AI models: those that ended, and the iterations that
  were missed or cut off in journeys that ask models.
- A mean, maximum or minimum is of all that ended, failed ones with the time that they took. A time-out has only a lower
  bound, so the result is a bound, too: it decides if the bound alone decides, and otherwise it is inconclusive.
- Custom metrics cover what was recorded after the warm-up, in intervals of the agents' clock. All others cover what was
  due after it.
- If agents are missing, a limit is met or broken only if the missing part could not change that.

`p(q) < T` and `error_ratio() < r` without any of these are judged in `objective.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from msgspec.structs import replace

from loadgen.measure.deltas.custom import CHECK, CustomStats
from loadgen.measure.deltas.series_key import OK, OWN_LIMITS_TAG, TOKEN_NS, Metric, SeriesKey
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured
from loadgen.measure.objectives.terms import (
    ALL_CHECKS,
    FAILED_VALUES,
    LOST,
    Objective,
    SloResult,
    SloVerdict,
    exact,
    is_judged,
)
from loadgen.measure.objectives.words import OWN_LIMITS_WORDS, events_text, number_text, plain_number, value_text
from loadgen.units import NS_PER_S, NS_PER_US, format_count, format_duration, format_ratio

__all__ = ["NO_DATA", "Missing", "each_check", "evaluate_value", "groups", "own_limits_text"]

NO_DATA = "there are no data for it"
_MISSING = "data are missing"
_SHOWN_LIMITS = 4


@dataclass(frozen=True, slots=True)
class Missing:
    """The part of the load that was not reported.

    share: of the planned load, 0 to 1; 0 if the run is complete. None: unknown, so the missing part may be any number.
    """

    share: Fraction | None = Fraction(0)

    @property
    def is_nothing(self) -> bool:
        return self.share == 0

    def events(self, reported: int | Fraction) -> Fraction | None:
        """Return how many events are missing, estimated from those reported; None if that is unknown."""
        return None if self.share is None else reported * self.share / (1 - self.share)


@dataclass(frozen=True, slots=True)
class _Found:
    """The observed value of an objective, and its verdict.

    observed: in the result's unit; a text is a bound. detail: the same with its denominator, for people.
    """

    verdict: SloVerdict
    observed: float | str | None
    unit: str
    count: int
    detail: str = ""
    reason: str = ""
    good: int = 0
    of_count: int | None = None
    bounds: int = 0
    is_of_values: bool = False
    """The observed value is one of a metric's values, so the objective's limit is in ns."""
    margin_of: float | None = None
    """The observed value from which the margin follows, in the unit of the limit; None: no margin."""


def groups(objective: Objective, merge: Measured, planned: Sequence[str]) -> list[str | None]:
    """Return the journeys that an objective judges over the whole run; see `Objective.judged_journeys`."""
    counted = () if objective.of else _matching(objective, merge, None, objective.counting_metric)
    found = (key.journey for _, key in counted)
    return objective.judged_journeys(planned, found)


def each_check(objective: Objective, merge: Merge) -> list[Objective]:
    """Return the objectives that are judged by themselves: `checks()` becomes one for each check, others stay one."""
    if objective.of != ALL_CHECKS:
        return [objective]
    names = [name for name in merge.custom.names() if name.startswith(CHECK)]
    found = []
    for name in sorted(names):
        shown = name.removeprefix(CHECK).replace('"', "'")
        inside = objective.text.removeprefix("checks(")
        separator = "" if inside.startswith(")") else ", "
        text = f'checks("{shown}"{separator}{inside}'
        found.append(replace(objective, of=name, text=text))
    return found or [objective]


def evaluate_value(
    objective: Objective,
    merge: Measured,
    journey: str | None,
    missing: Missing,
    span_ns: tuple[int, int] | None,
    *,
    is_over: bool,
) -> SloResult:
    """Return the result of one objective over the whole run, for one journey.

    Args:
        missing: how much was not reported.
        span_ns: begin and end of the measured time, ns from T0; None: unknown.
        is_over: False while the run goes on: a count below its lower limit is then not broken yet.

    Raises:
        ValueError: a custom metric in a single interval.
    """
    if objective.of_kind is not None:
        if not isinstance(merge, Merge):
            raise ValueError(f"objective {objective.text} needs the merge of the whole run")
        found = _custom(objective, merge, missing, is_over=is_over)
    elif objective.of:
        found = _counted(objective, merge, missing, span_ns, is_over=is_over)
    elif objective.kind == "goodput":
        found = _goodput(objective, merge, journey, missing)
    elif objective.is_share:
        found = _share_of_events(objective, merge, journey, missing)
    else:
        found = _moment(objective, merge, journey, missing)
    limit = objective.limit / objective.unit_ns if found.is_of_values else objective.limit
    share = objective.is_share
    margin = None
    if found.margin_of is not None and limit:
        away = (limit - found.margin_of) / abs(limit)
        margin = round(away if objective.is_upper else -away, 4)
    used = objective.budget.used(found.count - found.good, found.count) if share and found.count else None
    return SloResult(
        objective=objective.text,
        journey=journey,
        observed=found.observed,
        unit=found.unit,
        count=found.count,
        good=found.good,
        verdict=found.verdict,
        step=objective.step,
        request=objective.request,
        region=objective.region,
        margin=margin,
        budget=None if used is None else round(used, 4),
        allowed=float(objective.budget.allowed) if share else 0.0,
        limit_ms=limit if found.unit == "ms" and found.is_of_values else None,
        reason=found.reason,
        detail=found.detail or found.reason or NO_DATA,
        limit=limit,
        of_count=found.of_count,
        bounds=found.bounds,
    )


# -- selecting ---------------------------------------------------------------------------------


def _matching(
    objective: Objective, merge: Measured, journey: str | None, metric: Metric
) -> Iterator[tuple[int, SeriesKey]]:
    """Yield (number, key) of the measured series of an objective, for one journey (None: any) and metric."""

    def test(region: str, key: SeriesKey) -> bool:
        return (
            key.metric == metric
            and not key.warmup
            and journey in (None, key.journey)
            and objective.region in (None, region)
            and objective.covers(key)
            and is_judged(key.outcome)
        )

    yield from merge.matching((objective, journey, metric), test)


@dataclass(frozen=True, slots=True)
class _Times:
    """The values of one metric of an objective: known ones, and lower bounds."""

    known: Histogram
    bounds: Histogram
    ok: Histogram
    """Those of `known` that ended ok."""
    ok_count: int = 0
    """All that ended ok, those above the range of the histogram too."""

    @property
    def count(self) -> int:
        return self.known.total + self.bounds.total


def _times(objective: Objective, merge: Measured, journey: str | None, metric: Metric) -> _Times:
    found = list(_matching(objective, merge, journey, metric))
    return _Times(
        merge.sum_of([n for n, key in found if not key.censored]),
        merge.sum_of([n for n, key in found if key.censored]),
        merge.sum_of([n for n, key in found if not key.censored and key.outcome == OK]),
        merge.count_of([n for n, key in found if key.outcome == OK]),
    )


def _outcomes(
    objective: Objective, merge: Measured, journey: str | None, metric: Metric | None = None
) -> dict[str, int]:
    """Return by outcome how many values of a metric there are; None: how many iterations, steps or requests ended."""
    counts: dict[str, int] = {}
    for number, key in _matching(objective, merge, journey, metric or objective.counting_metric):
        counts[key.outcome] = counts.get(key.outcome, 0) + merge.count_of((number,))
    return counts


# -- shares of iterations, steps and requests ----------------------------------------------------


def _share_of_events(objective: Objective, merge: Measured, journey: str | None, missing: Missing) -> _Found:
    outcomes = _outcomes(objective, merge, journey)
    total = sum(outcomes.values())
    if objective.kind == "error_ratio":
        wrong = total - outcomes.get(OK, 0) if objective.outcome is None else outcomes.get(objective.outcome, 0)
        what = "went wrong" if objective.outcome is None else f'ended with "{objective.outcome}"'
        return _ratio(objective, wrong, total, missing, f"{events_text(objective, total, None)} {what}")
    times = _times(objective, merge, journey, objective.metric)
    failed_in = FAILED_VALUES.get(objective.metric)
    if failed_in is not None:
        ended = outcomes if failed_in == objective.counting_metric else _outcomes(objective, merge, journey, failed_in)
        values, count = times.ok, times.ok_count + sum(ended.values()) - ended.get(OK, 0)
    else:
        values, count = times.known, times.count
    limit_us = int(objective.limit // NS_PER_US)
    within = values.count_at_most_us(limit_us)
    good = within if objective.is_upper else count - within
    of_count = total if count != total and not objective.is_of_parts else None
    observed = _percentile(objective, values, count, limit_us)
    value = observed * NS_PER_US / objective.unit_ns if isinstance(observed, int) else observed
    detail = ""
    if value is not None:
        shown = value_text(value, objective.unit_of_values)
        detail = f"p{objective.q:g} of {events_text(objective, count, of_count)}: {shown}"
    verdict, reason = _of_share(objective, count - good, count, missing)
    return _Found(
        verdict,
        value,
        objective.unit_of_values,
        count,
        detail,
        reason,
        good,
        of_count,
        count - values.total if failed_in is None else 0,
        is_of_values=True,
        margin_of=value if isinstance(value, float) else None,
    )


def _percentile(objective: Objective, values: Histogram, count: int, limit_us: int) -> int | str | None:
    """Return the percentile in µs of `count` events, of which those without a value are above every value.

    A text is a lower bound in the unit of the result. None if there are no events.
    """
    if not count:
        return None
    rank = max(1, ceil(exact(objective.q) * count / 100))
    if rank > values.total:
        worst_us = values.percentile_us(100) if values.total else 0
        return _bound_text(objective, max(worst_us, limit_us if objective.is_upper else 0) * NS_PER_US)
    us = values.value_at_rank_us(rank)
    if us > limit_us and values.count_at_most_us(limit_us) >= rank:
        return limit_us  # both are in one slot: the histogram cannot distinguish them
    return us


def _bound_text(objective: Objective, bound_ns: float) -> str:
    """Return a lower bound as text in the unit of the objective's values: "> 300.0" ms, "> 0.25"."""
    bound = bound_ns / objective.unit_ns
    return f"> {number_text(bound) if objective.metric != 'cls' else plain_number(bound)}"


def _goodput(objective: Objective, merge: Measured, journey: str | None, missing: Missing) -> _Found:
    """Judge goodput. A journey without a request to a model has no data, whatever became of its iterations."""
    outcomes = _outcomes(objective, merge, journey)
    if not outcomes:
        return _Found("inconclusive", None, "ratio", 0, reason=NO_DATA)
    lost = _lost(objective, merge, journey)
    offered = sum(outcomes.values()) + lost
    of = f"{events_text(objective, offered, None)} were good"
    if lost:
        of += f", {format_count(lost)} of these are iterations that were missed or cut off"
    of += own_limits_text(objective, merge, journey)
    return _ratio(objective, outcomes.get(OK, 0), offered, missing, of)


def _own_limits(objective: Objective, merge: Measured, journey: str | None) -> dict[str, tuple[int, int]]:
    """Return (good, all) requests by the limits of their own that they had; {} if none had any."""
    found: dict[str, tuple[int, int]] = {}
    for number, key in _matching(objective, merge, journey, objective.counting_metric):
        own = dict(key.tags).get(OWN_LIMITS_TAG)
        if own is not None:
            good, count = found.get(own, (0, 0))
            n = merge.count_of((number,))
            found[own] = good + n * (key.outcome == OK), count + n
    return found


def own_limits_text(objective: Objective, merge: Measured, journey: str | None, when: str = "") -> str:
    """Return how many requests were judged by limits of their own, and the share of good ones for the commonest.

    It continues the detail of a goodput. "" if no request had limits of its own. when: the time that is meant, as
    "in the whole run, ".
    """
    own = _own_limits(objective, merge, journey)
    if not own:
        return ""
    count = sum(n for _, n in own.values())
    common = sorted(own.items(), key=lambda one: (-one[1][1], one[0]))[:_SHOWN_LIMITS]
    parts = [f"{format_ratio(good / n)} of {format_count(n)} with {limits}" for limits, (good, n) in common]
    more = f", and {len(own) - len(parts)} more" if len(own) > len(parts) else ""
    return f"; {when}{format_count(count)} were judged by {OWN_LIMITS_WORDS} (slo=): {', '.join(parts)}{more}"


def _lost(objective: Objective, merge: Measured, journey: str | None) -> int:
    """Return how many iterations of a journey were missed or cut off; 0 for no journey."""

    def test(region: str, key: SeriesKey) -> bool:
        return (
            key.metric == "response"
            and key.outcome in LOST
            and not key.warmup
            and key.journey == journey
            and objective.region in (None, region)
            and objective.covers_lost(key)
        )

    return merge.count_of([number for number, _ in merge.matching((objective, journey, "lost"), test)])


def _ratio(objective: Objective, part: int, count: int, missing: Missing, of: str) -> _Found:
    """Judge the ratio `part` of `count`. of: the end of the sentence, after "0.12 % of "."""
    good = count - part if objective.is_upper else part
    verdict, reason = _of_share(objective, count - good, count, missing)
    share = part / count if count else None
    detail = f"{format_ratio(share)} of {of}" if share is not None else ""
    return _Found(verdict, share, "ratio", count, detail, reason, good, margin_of=share)


def _of_share(objective: Objective, bad: int, count: int, missing: Missing) -> tuple[SloVerdict, str]:
    """Return the verdict on a share of bad events, and why it is inconclusive.

    Unreported events are taken as good for a broken limit, and as bad for one that is met.
    """
    if not count:
        return "inconclusive", NO_DATA
    budget = objective.budget
    lost = missing.events(count)
    if lost is not None and not budget.is_kept(bad, count + lost):
        return "failed", ""
    if lost is not None and budget.is_kept(bad + lost, count + lost):
        return "passed", ""
    return "inconclusive", _MISSING


# -- means and extremes --------------------------------------------------------------------------


def _moment(objective: Objective, merge: Measured, journey: str | None, missing: Missing) -> _Found:
    times = _times(objective, merge, journey, objective.metric)
    unit = objective.unit_of_values
    if not times.count:
        return _Found("inconclusive", None, unit, 0, reason=NO_DATA, is_of_values=True)
    outcomes = _outcomes(objective, merge, journey)
    total = sum(outcomes.values())
    failed = times.count - times.ok_count if objective.is_of_streams else total - outcomes.get(OK, 0)
    of_count = total if total != times.count and not objective.is_of_parts else None
    low, high = _ends(objective, times)
    verdict, reason = _between(objective, low, high, times, missing)
    is_bound = low != high
    value = float(low) / objective.unit_ns
    observed: float | str = _bound_text(objective, float(low)) if is_bound else round(value, 3 if unit else 6)
    detail = f"{objective.kind} of {events_text(objective, times.count, of_count)}"
    if failed:
        detail += f", {format_count(failed)} of them failed"
    detail += f": {value_text(observed, unit)}"
    if times.bounds.total:
        one = times.bounds.total == 1
        detail += f"; {format_count(times.bounds.total)} {'has' if one else 'have'} only a lower bound"
    return _Found(
        verdict,
        observed,
        unit,
        times.count,
        detail,
        reason,
        times.count,
        of_count,
        times.bounds.total,
        is_of_values=True,
        margin_of=value if not is_bound else None,
    )


def _ends(objective: Objective, times: _Times) -> tuple[Fraction, Fraction | None]:
    """Return the lowest and the highest possible value in ns. None: unknown, since a lower bound may be any time."""
    known, bounds = times.known, times.bounds
    if objective.kind == "mean":
        low = Fraction(known.sum_ns + bounds.sum_ns, times.count)
        return low, None if bounds.total else low
    least = [ns for ns in (known.min_ns, bounds.min_ns) if ns is not None]
    most = [ns for ns in (known.max_ns, bounds.max_ns) if ns is not None]
    if objective.kind == "maximum":
        low = Fraction(max(most, default=0))
        return low, None if bounds.total else low
    high = None if known.min_ns is None else Fraction(known.min_ns)
    return Fraction(min(least, default=0)), high


def _between(
    objective: Objective, low: Fraction, high: Fraction | None, times: _Times, missing: Missing
) -> tuple[SloVerdict, str]:
    """Return the verdict on a mean or extreme between `low` and `high` ns (None: any time), and why it is inconclusive.

    A missing value may be any time from 0 on, so it lowers a mean to `low` * its reported share at most.
    """
    reason = "time-outs are only lower bounds"
    if not missing.is_nothing:
        reason = _MISSING
        if objective.kind == "mean":
            lost = missing.events(times.count)
            low = Fraction(0) if lost is None else low * times.count / (times.count + lost)
            high = None
        elif objective.kind == "maximum":
            high = None
        else:
            low = Fraction(0)
    is_low_met, is_high_met = objective.meets(low), high is not None and objective.meets(high)
    if objective.is_upper:
        if not is_low_met:
            return "failed", ""
        return ("passed", "") if is_high_met else ("inconclusive", reason)
    if is_low_met:
        return "passed", ""
    return ("failed", "") if high is not None and not is_high_met else ("inconclusive", reason)


# -- counts --------------------------------------------------------------------------------------


def _counted(
    objective: Objective, merge: Measured, missing: Missing, span_ns: tuple[int, int] | None, *, is_over: bool
) -> _Found:
    outcomes = _outcomes(objective, merge, objective.journey)
    events = count = sum(n for outcome, n in outcomes.items() if outcome not in LOST)
    if objective.counts_tokens:
        count = _tokens(objective, merge)
    nouns = objective.of.replace("_", " ")
    noun = nouns if count != 1 else nouns[:-1]
    if objective.kind == "total":
        text = f"{format_count(count)} {noun}"
        return _amount(objective, count, max(count, events), missing, nouns, text, is_over=is_over)
    seconds = Fraction(max(0, span_ns[1] - span_ns[0]), NS_PER_S) if span_ns is not None else Fraction(0)
    if not seconds:
        return _Found("inconclusive", None, "/s", count, reason=NO_DATA)
    length = format_duration(float(seconds) * NS_PER_S)
    value = Fraction(count) / seconds
    detail = f"{plain_number(float(value))}/s: {format_count(count)} {noun} in {length}"
    return _amount(objective, value, max(count, events), missing, "/s", detail, is_over=True)


def _tokens(objective: Objective, merge: Measured) -> int:
    """Return the number of tokens of all requests to models that ended ok."""
    found = _matching(objective, merge, objective.journey, objective.metric)
    return merge.sum_of([number for number, key in found if key.outcome == OK]).sum_ns // TOKEN_NS


def _amount(
    objective: Objective,
    value: int | Fraction,
    count: int,
    missing: Missing,
    unit: str,
    detail: str,
    *,
    is_over: bool,
) -> _Found:
    """Judge a sum that the missing part can only raise: by its share at most, since that is the best estimate."""
    if not count:
        return _Found("inconclusive", None, unit, 0, reason=NO_DATA)
    lost = missing.events(Fraction(value))
    is_met = objective.meets(Fraction(value))
    could_be_met = lost is None or objective.meets(value + lost)
    reason = _MISSING
    verdict: SloVerdict
    if not is_over and not objective.is_upper and not is_met:
        verdict, reason = "inconclusive", f"not reached yet: {detail}"
    elif missing.is_nothing:
        verdict = "passed" if is_met else "failed"
    elif objective.is_upper:
        is_kept = lost is not None and is_met and objective.meets(value + lost)
        verdict = "failed" if not is_met else "passed" if is_kept else "inconclusive"
    else:
        verdict = "passed" if is_met else "inconclusive" if could_be_met else "failed"
    shown = float(value)
    return _Found(
        verdict,
        round(shown, 6),
        unit,
        count,
        detail,
        reason if verdict == "inconclusive" else "",
        count,
        margin_of=shown,
    )


# -- custom metrics ------------------------------------------------------------------------------


def _custom(objective: Objective, merge: Merge, missing: Missing, *, is_over: bool) -> _Found:
    if objective.of_kind == "trend":
        return _trend(objective, merge, missing)
    stats = merge.custom.of(objective.of, objective.region or ALL, measured=True, matches=objective.has_tags)
    if stats is None or not stats.n:
        unit = "ratio" if objective.kind == "ratio" else objective.unit
        return _Found("inconclusive", None, unit, 0, reason=NO_DATA)
    if objective.kind == "ratio":
        what = "checks were ok" if objective.of.startswith(CHECK) else "values were true"
        return _ratio(objective, stats.total, stats.n, missing, f"{format_count(stats.n)} {what}")
    if objective.kind == "total":
        # A counter that was only ever raised by 0 has data.
        text = value_text(float(stats.total), objective.unit)
        return _amount(
            objective, stats.total, max(stats.total, stats.n), missing, objective.unit, text, is_over=is_over
        )
    return _gauge(objective, stats, missing)


def _gauge(objective: Objective, stats: CustomStats, missing: Missing) -> _Found:
    value = {"minimum": stats.low, "maximum": stats.high, "last": stats.last}[objective.kind]
    is_met = objective.meets(value)
    verdict: SloVerdict = "passed" if is_met else "failed"
    if not missing.is_nothing:
        # A missing value can only raise a maximum and lower a minimum; it can change a last value in any way.
        decides = {
            "maximum": not is_met if objective.is_upper else is_met,
            "minimum": is_met if objective.is_upper else not is_met,
        }
        if not decides.get(objective.kind, False):
            verdict = "inconclusive"
    detail = f"{objective.kind} of {format_count(stats.n)} values: {value_text(value, objective.unit)}"
    reason = _MISSING if verdict == "inconclusive" else ""
    return _Found(verdict, value, objective.unit, stats.n, detail, reason, stats.n, margin_of=value)


def _trend(objective: Objective, merge: Merge, missing: Missing) -> _Found:
    """Judge a trend. Its histogram counts steps of the resolution, 1 µs each."""

    def test(region: str, key: SeriesKey) -> bool:
        return objective.covers_trend(key) and not key.warmup and objective.region in (None, region)

    found = merge.matching((objective, "trend"), test)
    # A value above the range of the histogram is a lower bound.
    times = _Times(
        merge.sum_of([n for n, key in found if not key.censored]),
        merge.sum_of([n for n, key in found if key.censored]),
        Histogram(),
    )
    n, step = times.count, exact(objective.resolution)
    if not n:
        return _Found("inconclusive", None, objective.unit, 0, reason=NO_DATA)
    if objective.kind == "percentile":
        limit_us = int(exact(objective.limit) / step)
        within = times.known.count_at_most_us(limit_us)
        good = within if objective.is_upper else n - within
        at = _percentile(objective, times.known, n, limit_us)
        observed = float(f"{at * float(step):.6g}") if isinstance(at, int) else at
        verdict, reason = _of_share(objective, n - good, n, missing)
        if isinstance(observed, str):
            observed = f"> {plain_number(float(times.known.percentile_us(100) * step))}"
        text = value_text(observed if observed is not None else "", objective.unit)
        detail = f"p{objective.q:g} of {format_count(n)} values: {text}"
        known = observed if isinstance(observed, float) else None
        return _Found(verdict, observed, objective.unit, n, detail, reason, good, margin_of=known)
    low, high = _ends(objective, times)
    scale = step / NS_PER_US
    verdict, reason = _between(objective, low * scale, None if high is None else high * scale, times, missing)
    value = float(f"{float(low * scale):.9g}")
    is_bound = low != high
    shown = f"> {plain_number(value)}" if is_bound else value
    return _Found(
        verdict,
        shown,
        objective.unit,
        n,
        f"{objective.kind} of {format_count(n)} values: {value_text(shown, objective.unit)}",
        reason,
        n,
        bounds=times.bounds.total,
        margin_of=None if is_bound else value,
    )

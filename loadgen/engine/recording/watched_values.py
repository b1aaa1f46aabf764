"""Counts by interval for objectives over windows that need the values themselves. Pure.

These are means and extremes, metrics other than the response time, single outcomes, numbers of iterations or tokens,
iterations that a goodput counts as lost, and custom metrics. A row of counts means what
`loadgen.measure.objectives.windowed_values` describes. Iterations, steps and requests are counted by due interval,
custom metrics by the interval in which they were recorded.

Cost: 0.83 µs a value (process time of `value_rows` with 5,000 values under one objective, the least of 9, on a busy
machine), only in plans with such an objective.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import CUT_OFF, MISSED, OK, TIMEOUT, TOKEN_NS, Metric
from loadgen.measure.histograms.histogram import MAX_NS
from loadgen.measure.objectives.terms import FAILED_VALUES, LOST, Objective, exact

__all__ = ["Rule", "Value", "custom_row", "rule_of", "value_rows"]

Value = tuple[int, int, str]
"""When it began (`perf_counter_ns`), its value in ns, and its outcome."""

_BOUNDS: Final = (TIMEOUT, CUT_OFF, MISSED)
"""Outcomes whose times are only lower bounds."""
_OWN_FAILED: Final[tuple[Metric, ...]] = ("ttft", "ttft_due", "itl", "icl")
"""Metrics in whose percentiles the failed events are those with a value of the metric; in others, all failed ones."""
_NS_PER_STEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """An objective that needs values. index: its position in the plan's list. metric: the metric it judges."""

    index: int
    objective: Objective
    metric: Metric


def rule_of(index: int, objective: Objective) -> Rule | None:
    """Return the rule of an objective that needs values; None if counts of ok and failed ones are enough.

    A count of iterations needs them for their outcomes: missed and cut-off iterations did not end.
    """
    if objective.of_kind is not None or objective.of == "requests" or objective.kind == "goodput":
        return None
    if objective.kind in ("percentile", "error_ratio") and objective.metric == "response" and not objective.outcome:
        return None
    return Rule(index, objective, objective.metric)


def value_rows(
    journey: str, rules: Sequence[Rule], values: Mapping[Metric, Sequence[Value]], t0_ns: int, interval_ns: int
) -> Iterator[DueCounts]:
    """Yield the counts of one interval of values, by objective and due interval. Values before T0 are in the first."""
    for rule in rules:
        rows: dict[int, list[int]] = {}
        for at_ns, value_ns, outcome in _judged(rule, values):
            k = max(0, (at_ns - t0_ns) // interval_ns)
            row = rows.setdefault(k, [0, 0, 0, 0])
            for at, part in enumerate(_parts(rule.objective, value_ns, outcome)):
                row[at] += part
        for k, (good, bad, total, bounds) in rows.items():
            if not (good or bad or total or bounds):
                continue
            yield DueCounts(rule.index, journey, k, good, bad, 0, 0, total, bounds)


def _judged(rule: Rule, values: Mapping[Metric, Sequence[Value]]) -> Iterator[Value]:
    """Yield the values that an objective judges.

    For a percentile of a metric in `FAILED_VALUES` these are the ok values of the metric, and every failed event. Those
    of a request to a model are among its values of "response": the watch of its stream gets no others.
    """
    own = values.get(rule.metric, ())
    if rule.objective.kind in ("throughput", "total") and rule.objective.counts_tokens:
        yield from (one for one in own if one[2] == OK)
        yield from (one for one in values.get("response", ()) if one[2] != OK)
        return
    if rule.objective.kind != "percentile" or rule.metric not in FAILED_VALUES or rule.metric in _OWN_FAILED:
        yield from own
        return
    yield from (one for one in own if one[2] == OK)
    yield from (one for one in values.get("response", ()) if one[2] != OK)


def _parts(objective: Objective, value_ns: int, outcome: str) -> tuple[int, int, int, int]:
    """Return (good, bad, total in µs, bounds) of one event."""
    is_bound = outcome in _BOUNDS or value_ns > MAX_NS
    match objective.kind:
        case "percentile":
            failed = outcome != OK and (objective.metric in FAILED_VALUES or is_bound)
            is_good = not failed and value_ns <= objective.limit
            return int(is_good), int(not is_good), 0, 0
        case "error_ratio":
            is_bad = outcome == objective.outcome
            return int(not is_bad), int(is_bad), 0, 0
        case "goodput":  # of an iteration
            is_lost = int(outcome in LOST)
            return 0, is_lost, is_lost, 0
        case "throughput" | "total" if objective.counts_tokens:
            # The count of requests shows that there are data, even without a token.
            return value_ns // TOKEN_NS if outcome == OK else 0, 0, 1, 0
        case "throughput" | "total":
            return int(outcome not in LOST), 0, 0, 0
        case "mean":
            return 1, 0, (value_ns + 500) // 1_000, int(is_bound)
        case "maximum":
            is_good = objective.meets(value_ns) if objective.is_upper else True
            return int(is_good), int(not is_good), 0, int(is_bound and is_good)
        case _:  # minimum: a bound above the limit is above it, whatever the true time is
            is_good = objective.meets(value_ns)
            return int(is_good or is_bound), int(not is_good and not is_bound), 0, int(is_bound and not is_good)


# -- custom metrics ------------------------------------------------------------------------------


def custom_row(
    index: int, objective: Objective, k: int, custom: Sequence[CustomStats], trends: Mapping[str, Sequence[int]]
) -> DueCounts | None:
    """Return the counts of a custom metric in interval `k`; None if nothing was recorded for the objective.

    trends: values of trends in ns, of which 1 µs stands for the resolution.
    """
    if objective.of_kind == "trend":
        values = trends.get(objective.of)
        return DueCounts(index, "", k, *_of_trend(objective, values)) if values else None
    stats = next((one for one in custom if one.name == objective.of), None)
    if stats is None or not stats.n:
        return None
    match objective.kind:
        case "ratio":
            hits, rest = stats.total, stats.n - stats.total
            return DueCounts(index, "", k, *((rest, hits) if objective.is_upper else (hits, rest)))
        case "total":
            return DueCounts(index, "", k, stats.total)
        case "maximum":
            is_good = objective.meets(stats.high)
        case _:
            is_good = objective.meets(stats.low)
    return DueCounts(index, "", k, int(is_good), int(not is_good))


def _of_trend(objective: Objective, values: Sequence[int]) -> tuple[int, int, int, int, int, int]:
    """Return (good, bad, 0, 0, total in steps of the resolution, bounds) of the values of a trend."""
    n = len(values)
    steps = [(value + 500) // _NS_PER_STEP for value in values]
    bounds = sum(value > MAX_NS for value in values)
    if objective.kind == "mean":
        return n, 0, 0, 0, sum(steps), bounds
    step = exact(objective.resolution)
    if objective.kind == "percentile":
        limit = int(exact(objective.limit) / step)
        within = sum(one <= limit for one in steps)
        good = within if objective.is_upper else n - within
    else:
        good = sum(objective.meets(one * step) for one in steps)
    return good, n - good, 0, 0, 0, bounds if objective.kind == "maximum" else 0

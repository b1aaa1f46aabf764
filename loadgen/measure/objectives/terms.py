"""The words of an objective: what is judged, and the result. Plain values, stored in manifests and summaries.

An objective judges one of four things. *Times* of iterations, steps or requests, and scores of pages: a percentile,
mean, maximum, minimum or error ratio. *Counts* of iterations, requests or tokens: a total, or their number per second.
*Goodput*: the share of offered requests to AI models that kept several limits. *Custom metrics* of the scenario: `of`
names one. `evaluate` in `objective.py` judges all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, get_args

import msgspec

from loadgen.measure.deltas.custom import CustomKind
from loadgen.measure.deltas.series_key import (
    CLS_NS,
    CUT_OFF,
    GOODPUT_TAG,
    LOAD_TAG,
    MISSED,
    SKIPPED,
    STREAM_METRICS,
    STREAM_TIMES,
    TOKEN_METRICS,
    TOKEN_NS,
    UNTAGGED,
    Kind,
    Metric,
    SeriesKey,
)
from loadgen.measure.objectives.sliding import Budget
from loadgen.units import NS_PER_MS

__all__ = [
    "ALL_CHECKS",
    "FAILED_VALUES",
    "GOODPUT_LIMITS",
    "LOST",
    "SCRIPT",
    "Gap",
    "GoodputLimit",
    "Objective",
    "ObjectiveKind",
    "Operator",
    "SloResult",
    "SloVerdict",
    "TagSelector",
    "exact",
    "is_judged",
    "limits_text",
    "metrics_of_limits",
]

SloVerdict = Literal["passed", "failed", "inconclusive"]
ObjectiveKind = Literal[
    "percentile", "error_ratio", "mean", "maximum", "minimum", "throughput", "total", "ratio", "last", "goodput"
]
Operator = Literal["<", "<=", ">", ">="]

SCRIPT: Final = "script "
"""Outcomes with this prefix are faults of the scenario."""

ALL_CHECKS: Final = "check: *"
"""As `of`: each check of the scenario by itself."""

FAILED_VALUES: Final[Mapping[Metric, Metric]] = {
    **dict.fromkeys(("response", "duration", "ttfb", "lcp", "fcp", "cls"), "response"),
    **dict.fromkeys(("ttft", "ttfo", "tpot", "stall"), "ttft"),
    "ttft_due": "ttft_due",
    "itl": "itl",
    "icl": "icl",
}
"""The metrics in whose percentiles a failed event is above every value, and the metric that has a value of each failed
event. Each ended request to a model has one value of ttft. The events of itl are tokens, and those of icl are reads.
"""
GoodputLimit = Literal["ttft", "ttft_due", "ttfo", "tpot", "itl", "stall", "e2e"]
GOODPUT_LIMITS: Final[tuple[str, ...]] = get_args(GoodputLimit)
"""Metrics of a request that a goodput objective can limit. itl: the request's mean, which is its tpot."""
LOST: Final = (MISSED, CUT_OFF)
"""Outcomes of iterations that goodput counts as offered and not good, because they did not end."""


def is_judged(outcome: str) -> bool:
    """Return whether objectives count this outcome as good or bad.

    False for skipped iterations and for faults of the scenario's code.
    """
    return outcome != SKIPPED and not outcome.startswith(SCRIPT)


def limits_text(limits: Iterable[tuple[str, int]]) -> str:
    """Return a text that identifies limits of a request, given in ns: "ttft<=500ms,tpot<=50ms"."""
    return ",".join(f"{name}<={limit_ns / NS_PER_MS:.15g}ms" for name, limit_ns in limits)


def metrics_of_limits(names: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics that a run must be able to measure for limits of these names.

    The itl of one request is its mean, which a late read disturbs as little as tpot.
    """
    return tuple("tpot" if name == "itl" else name for name in names)


class TagSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Which values of one tag an objective covers. A request without the tag has the value "(none)"."""

    name: str
    values: tuple[str, ...]
    is_excluded: bool = False
    """True: all values except these."""

    def matches(self, tags: tuple[tuple[str, str], ...]) -> bool:
        """Return whether a series with these tags belongs to the objective."""
        value = next((value for name, value in tags if name == self.name), UNTAGGED)
        return (value in self.values) != self.is_excluded


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `slos=[...]`, as a value. `dsl/plans/objectives/slo.py` builds it; the manifest holds it as JSON."""

    kind: ObjectiveKind
    text: str
    """As the author of the plan wrote it: "p(95) < 300ms"."""
    limit: float
    """ns for times, or the ns that stand for a token or a score (`unit_ns`); a ratio from 0 to 1, a number per second,
    a count, or a value in the unit of a custom metric.
    """
    q: float = 0.0
    """Percent; 0 unless it is a percentile."""
    journey: str | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    """None: over all regions together."""
    window_ns: int = 0
    """Length of the sliding windows; 0: the objective covers the whole run."""
    abort: bool = False
    """True: the first window that breaks the objective stops the run."""

    metric: Metric = "response"
    """Of times and scores: the metric that is judged."""
    of: str = ""
    """The judged quantity, if it is not a time: "requests" or "iterations", or the name of a custom metric."""
    of_kind: CustomKind | None = None
    """The kind of the custom metric; None if `of` does not name one."""
    operator: Operator = "<"
    outcome: str | None = None
    """For an error ratio, the outcome that counts as an error. None: every outcome except ok."""
    tags: tuple[TagSelector, ...] = ()
    """Only series that all of these match."""
    load: str | None = None
    """Only this load of the plan."""
    unit: str = ""
    """The unit of a custom metric."""
    limits: tuple[tuple[str, int], ...] = ()
    """Each metric of a request that a goodput limits (`GOODPUT_LIMITS`), with its greatest good value in ns."""
    resolution: float = 0.0
    """The resolution of a trend, in its unit: 1 µs in its histogram stands for this."""
    begin_ns: int = 0
    end_ns: int | None = None
    """When the load `load` begins and ends, ns from T0; set by the plan. Nothing is judged outside."""
    journeys: tuple[str, ...] = ()
    """The journeys of the load `load`; set by the plan. Empty if the objective is not limited to a load."""

    @property
    def kind_of_series(self) -> Kind:
        """Return "request", "step", "journey" or "goodput": the kind of series that the objective judges."""
        if self.kind == "goodput":
            return "goodput"
        if self.is_of_streams or (self.of == "requests" and self.of_kind is None):
            return "request"
        return "request" if self.request else "step" if self.step else "journey"

    @property
    def is_of_streams(self) -> bool:
        """Return whether it judges a metric that only requests to AI models have. False for goodput."""
        return self.metric in STREAM_METRICS

    @property
    def judged_metrics(self) -> tuple[str, ...]:
        """Return the metrics that decide its verdict. A run that cannot measure one of them cannot judge it.

        The limit "e2e" of a goodput is the time to the last token. "e2e" has no verdict of its own, so it is never
        invalid. The result is empty for counts and custom metrics.
        """
        if self.kind == "goodput":
            return metrics_of_limits(name for name, _ in self.limits)
        return () if self.of else (self.metric,)

    @property
    def counting_metric(self) -> Metric:
        """Return the metric that has exactly one value for each ended iteration, step or request that it judges."""
        return "value" if self.kind == "goodput" else "ttft" if self.is_of_streams else "response"

    @property
    def has_many_values(self) -> bool:
        """Return whether a request has any number of its events: tokens, or reads."""
        return self.metric in ("itl", "icl") or (self.is_of_streams and bool(self.of))

    @property
    def is_of_parts(self) -> bool:
        """Return whether its values are of tokens, reads or messages: a request has any number of them."""
        return self.has_many_values or self.metric in ("message_gap", "answer", "message_age")

    @property
    def counts_tokens(self) -> bool:
        """Return whether its values are numbers of tokens."""
        return self.metric in TOKEN_METRICS

    @property
    def unit_ns(self) -> int:
        """Return one unit of its values in ns: 1 ms, or the time that stands for one token or for a score of 1."""
        return TOKEN_NS if self.counts_tokens else CLS_NS if self.metric == "cls" else NS_PER_MS

    @property
    def unit_of_values(self) -> str:
        """Return the unit of its values in results: "ms", "tokens", or "" for a score."""
        return "tokens" if self.counts_tokens else "" if self.metric == "cls" else "ms"

    @property
    def goodput_text(self) -> str:
        """Return the text that identifies the limits of a goodput, as in "ttft<=500ms,tpot<=50ms"."""
        return limits_text(self.limits)

    @property
    def is_steerable(self) -> bool:
        """Return whether a load can follow it: its bad events of one interval show how near its limit is."""
        if self.kind == "goodput" or (self.kind == "percentile" and self.metric in STREAM_TIMES):
            return not (self.tags or self.load) and (self.kind == "goodput") != self.is_upper
        return self.is_plain

    @property
    def is_plain(self) -> bool:
        """Return whether it limits response times or the ratio of all errors, of all series of a name.

        The batches of a run count its good and bad events. Others get intervals from `statistics/sure_values.py`.
        """
        return (
            self.kind in ("percentile", "error_ratio")
            and self.metric == "response"
            and self.operator == "<"
            and not (self.of or self.outcome or self.tags or self.load)
        )

    @property
    def is_share(self) -> bool:
        """Return whether it limits a share of events: then it has an error budget."""
        return self.kind in ("percentile", "error_ratio", "ratio", "goodput")

    @property
    def is_upper(self) -> bool:
        """Return whether the limit is an upper one: the observed value must stay below it."""
        return self.operator in ("<", "<=")

    @property
    def budget(self) -> Budget:
        """Return the error budget (the share of events that may be bad) that follows from limit or percentile.

        With a lower limit of a ratio, the events that it counts are the good ones. A percentile above a limit has
        values up to the limit as bad ones. An objective without a share has a budget of 0.
        """
        if self.kind == "percentile":
            share = exact(self.q) / 100
            return Budget(1 - share, is_strict=False) if self.is_upper else Budget(share, is_strict=True)
        if self.kind in ("error_ratio", "ratio", "goodput"):
            limit = exact(self.limit)
            return Budget(limit if self.is_upper else 1 - limit, is_strict=True)
        return Budget(Fraction(0), is_strict=False)

    def window_intervals(self, interval_ns: int) -> int:
        """Return the length of a window as a number of intervals of `interval_ns`, rounded up; at least 1."""
        return max(1, -(-self.window_ns // interval_ns))

    def judged_journeys(self, planned: Sequence[str], found: Iterable[str]) -> list[str | None]:
        """Return the journeys that the objective judges, each by itself; [None] if it judges all together.

        planned: the journeys of the plan, so that a journey without data gets a result, too. found: those with data.
        """
        if self.of or self.journey is not None:
            return [self.journey]
        names = (*((self.journeys or planned) if self.kind_of_series == "journey" else ()), *found)
        return list(dict.fromkeys(names)) or [None]

    def covers(self, key: SeriesKey, changing: Collection[str] = ()) -> bool:
        """Return whether a series of iterations, steps or requests belongs to the objective, whatever its metric.

        changing: names of tags whose values may still change; with some values of them the series would belong to it.
        """
        return (
            key.kind == self.kind_of_series
            and self.journey in (None, key.journey)
            and self.step in (None, key.step)
            and self.request in (None, key.request)
            and (self.load is None or (LOAD_TAG, self.load) in key.tags)
            and all(one.name in changing or one.matches(key.tags) for one in self.tags)
            and (self.kind != "goodput" or (GOODPUT_TAG, self.goodput_text) in key.tags)
        )

    def covers_lost(self, key: SeriesKey) -> bool:
        """Return whether lost iterations of a journey's series (`LOST`) are offered and not good: only for goodput."""
        return (
            self.kind == "goodput"
            and key.kind == "journey"
            and self.journey in (None, key.journey)
            and (self.load is None or (LOAD_TAG, self.load) in key.tags)
            and self.has_tags(key.tags)
        )

    def covers_trend(self, key: SeriesKey) -> bool:
        """Return whether a series belongs to the trend that the objective limits."""
        return key.kind == "trend" and key.request == self.of and self.has_tags(key.tags)

    def has_tags(self, tags: tuple[tuple[str, str], ...]) -> bool:
        """Return whether values with these tags belong to the objective."""
        return all(one.matches(tags) for one in self.tags)

    def meets(self, value: float | Fraction) -> bool:
        """Return whether a value is on the right side of the limit. Compared exactly; same unit as `limit`."""
        limit, value = exact(self.limit), exact(value) if isinstance(value, float) else Fraction(value)
        match self.operator:
            case "<":
                return value < limit
            case "<=":
                return value <= limit
            case ">":
                return value > limit
            case ">=":
                return value >= limit


class SloResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one objective for one journey."""

    objective: str
    journey: str | None
    observed: float | str | None
    """Over the whole run: the percentile in ms over all due iterations or requests, or the ratio; "> 300.0" if the
    percentile falls among the bad. Over windows: the share of the bad in the worst window, for percentiles too.
    """
    unit: str
    """"ms", "ratio", "/s", the counted thing, or the unit of a custom metric. Empty for a score."""
    count: int
    """All due iterations or requests, good and bad: in the run, or in the worst window."""
    good: int
    verdict: SloVerdict
    low: float | None = None
    """The ends of the confidence interval, if one is known."""
    high: float | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    margin: float | None = None
    """(limit - observed) / limit: negative if the objective is broken; None if observed is not a number."""
    budget: float | None = None
    """Used share of the error budget, of the run or of the worst window; above 1 the objective is broken."""
    allowed: float = 0.0
    """The error budget: the share of due iterations or requests that may be bad."""
    limit_ms: float | None = None
    """The time limit for a good one; None for an error ratio."""
    window_s: float | None = None
    """Length of the windows; None: the objective covers the whole run."""
    windows: int = 0
    """Full windows that have enough events to be judged, or are broken."""
    windows_failed: int = 0
    worst_window_s: float | None = None
    """Start of the worst window, from T0."""
    reason: str = ""
    """Why the verdict is inconclusive; empty otherwise."""
    bad_share_low: float | None = None
    """The ends of the 95 % interval of the share of bad events, 0 to 1; of the worst window, if there are windows.
    None: unknown, as while the run goes on.
    """
    bad_share_high: float | None = None
    sure: bool | None = None
    """Whether a 95 % interval lies wholly on the verdict's side of the limit; for a share of events, that of the bad
    share and `allowed`. True for a fact about the run. None: unknown. False if inconclusive.
    """
    unsure: str = ""
    """Why the verdict is not sure, of an objective with a `detail`."""
    detail: str = ""
    """The observed value with its denominator, as in "p95 of 9,812 of 10,000 requests that connected: 12.0 ms". Empty
    for objectives on response times and on the ratio of all errors.
    """
    limit: float | None = None
    """The limit in `unit`; None where `limit_ms` or `allowed` is the limit."""
    of_count: int | None = None
    """All events, if only some of them have the judged metric; None otherwise."""
    bounds: int = 0
    """Values that are only lower bounds, as those of time-outs are."""
    probe: str | None = None
    """The probe and the row of an objective on the target's side, such as "shopdb.connections"; else None."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time [start_ns, end_ns) from T0 of which an agent reported nothing."""

    start_ns: int
    end_ns: int
    region: str
    share: float
    """The agent's share of the whole load: 0 to 1."""
    region_share: float
    """The agent's share of its region's load."""


def exact(number: float) -> Fraction:
    """Return a number exactly as it is written: 99.9 is 999/10, and not the nearest float."""
    return Fraction(repr(float(number)))

"""The answer to "why are these requests slow": ranked paths with their figures, and `cause.json`.

`loadgen.analysis.slow_requests` computes it. Each line has two figures that answer different questions. *Added* is the
difference of mean own times, slow minus fast: the lines and the unexplained rest add up to the whole difference.
*Without* is a counterfactual: the share of requests above the threshold if this path were as fast as usual. Lines are
ranked by the second one, because a percentile is not a mean: a rare long pause can add most and change no percentile.

Times are ns, as float64 where they are means; shares are 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from loadgen.traces.missing import FoundRates
from loadgen.traces.model import Path, Value

__all__ = [
    "FORMAT",
    "AttributeLine",
    "Cause",
    "Causes",
    "FailedCohort",
    "Interval",
    "Kind",
    "Objective",
    "Pair",
    "PathLine",
    "cause_document",
]

FORMAT: Final = 1
Interval = tuple[float, float]
"""Both ends of a 95 % interval."""
Kind = Literal[
    "more calls",
    "slower calls",
    "retries",
    "own time before children",
    "own time between children",
    "between services",
    "pause",
    "between client and server",
    "our side",
]


@dataclass(frozen=True, slots=True)
class Objective:
    """The objective that was breached, or the percentile that is explained without one.

    name: for people, such as "checkout > add to cart". threshold_ns: None without an objective. share_over: the share
    of all requests of the run above the threshold, from its histogram; None: from the weights of the sample.
    median_ns: the median response time of the series from its histogram; None: from the sample. requests: their
    number in the series.
    """

    name: str = ""
    percentile: float = 0.99
    threshold_ns: int | None = None
    share_over: float | None = None
    median_ns: int | None = None
    requests: int | None = None

    @property
    def allowed_share(self) -> float:
        """Return the share of requests that may be above the threshold."""
        return 1 - self.percentile


@dataclass(frozen=True, slots=True)
class AttributeLine:
    """An attribute that slow traces have more often than fast ones. where: a service, `service: operation` for the
    status of a span, or "" for attributes of our own.

    value: None for a number; slow and fast are then medians, otherwise shares. together: attributes of the same traces.
    """

    where: str
    key: str
    value: Value | None
    slow: float
    fast: float
    n_slow: int
    n_fast: int
    q: float
    together: tuple[tuple[str, str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class PathLine:
    """A path and its added time. It is not ranked, so it is not named as a cause.

    added_interval_ns: the 95 % interval of added_ns.
    """

    path: Path
    added_ns: float
    added_interval_ns: Interval


@dataclass(frozen=True, slots=True)
class Cause:
    """One ranked line.

    share: added_ns as a part of the whole difference. without_share_over: the share of requests above the threshold if
    the path's own time were at most its median in fast traces; without_percentile_ns: the percentile then, at most.
    stays_first: the share of resamples in which this line is first. n_slow, n_fast: traces with the path.
    since_s: since when the path's mean own time is higher, in s from T0, within since_error_s; None: no change found.
    """

    path: Path
    kind: Kind
    added_ns: float
    added_interval_ns: Interval
    share: float
    more_calls_ns: float
    slower_calls_ns: float
    slow_calls: float
    fast_calls: float
    without_share_over: float
    without_share_interval: Interval
    without_percentile_ns: float
    stays_first: float
    n_slow: int
    n_fast: int
    attributes: tuple[AttributeLine, ...] = ()
    since_s: float | None = None
    since_error_s: float | None = None
    pauses: int = 0
    pause_ns: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two paths that must both become as fast as usual: much better than each one alone."""

    paths: tuple[Path, Path]
    without_share_over: float
    without_percentile_ns: float


@dataclass(frozen=True, slots=True)
class FailedCohort:
    """The failed requests of the compared series.

    traces: their number. outcomes: the number by outcome. added_ns: the mean response time of failed requests minus
    that of fast requests. paths: the paths with the largest added time.
    """

    traces: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    added_ns: float = 0.0
    paths: tuple[PathLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Causes:
    """The whole answer.

    candidates: lines in the order of their rank. is_ranked: false if the order is not reliable; `not_ranked` has the
    reason. is_refused: true if there are too few traces, or too many are missing (exit code 3).
    same_shape_ns, more_of_shape_ns: another split of difference_ns, by the shapes of traces (`shapes.py`).
    unexplained: all other paths, the largest first, the smallest in one line; with the candidates they add up to
    difference_ns. against: the name of the run whose requests take the place of the fast ones, "" within one run.
    """

    objective: Objective
    threshold_ns: int
    fast_ns: int
    share_over: float
    share_over_interval: Interval
    percentile_ns: float
    difference_ns: float
    difference_interval_ns: Interval
    n_slow: int
    n_fast: int
    candidates: tuple[Cause, ...]
    unexplained: tuple[PathLine, ...]
    not_ranked: str = ""
    is_refused: bool = False
    pairs: tuple[Pair, ...] = ()
    failed: FailedCohort = field(default_factory=lambda: FailedCohort(0))
    found: FoundRates | None = None
    is_corrected: bool = False
    repair: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    unique_keys: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    resamples: int = 0
    block_s: float = 0.0
    same_shape_ns: float = 0.0
    more_of_shape_ns: float = 0.0
    against: str = ""

    @property
    def is_ranked(self) -> bool:
        """Return whether the order of the candidates is reliable."""
        return not self.not_ranked

    @property
    def ranked(self) -> tuple[Cause, ...]:
        """Return the ranked lines; empty if the order is not reliable."""
        return self.candidates if self.is_ranked else ()


def cause_document(causes: Causes) -> dict[str, object]:
    """Return `cause.json`, format 1. Keys are only added in later versions.

    Names in it come from the target: whoever prints them must make them harmless (`loadgen.outside_text`).
    """
    found = causes.found
    return {
        "format": FORMAT,
        "objective": {
            "name": causes.objective.name,
            "percentile": causes.objective.percentile,
            "threshold_ns": causes.threshold_ns,
            "has_threshold": causes.objective.threshold_ns is not None,
            "share_over": causes.share_over,
            "share_over_interval": _interval(causes.share_over_interval),
            "percentile_ns": causes.percentile_ns,
            "requests": causes.objective.requests,
        },
        "against": causes.against,
        "difference_ns": causes.difference_ns,
        "difference_interval_ns": _interval(causes.difference_interval_ns),
        "same_shape_ns": causes.same_shape_ns,
        "more_of_shape_ns": causes.more_of_shape_ns,
        "fast_ns": causes.fast_ns,
        "n_slow": causes.n_slow,
        "n_fast": causes.n_fast,
        "ranked": [_cause(cause) for cause in causes.ranked],
        "not_ranked": None
        if causes.is_ranked
        else {
            "reason": causes.not_ranked,
            "is_refused": causes.is_refused,
            "candidates": [_cause(cause) for cause in causes.candidates],
        },
        "pairs": [
            {
                "paths": [list(path) for path in pair.paths],
                "without_share_over": pair.without_share_over,
                "without_percentile_ns": pair.without_percentile_ns,
            }
            for pair in causes.pairs
        ],
        "unexplained": [_path_line(line) for line in causes.unexplained],
        "failed": {
            "traces": causes.failed.traces,
            "outcomes": dict(causes.failed.outcomes),
            "added_ns": causes.failed.added_ns,
            "paths": [_path_line(line) for line in causes.failed.paths],
        },
        "found": None
        if found is None
        else {
            "asked": found.asked,
            "found": found.found,
            "slow": found.slow,
            "fast": found.fast,
            "slow_asked": found.slow_asked,
            "fast_asked": found.fast_asked,
            "p": found.p,
            "differ": found.differ,
            "is_corrected": causes.is_corrected,
        },
        "repair": dict(causes.repair),
        "left_out": dict(causes.left_out),
        "nearly_unique_keys": [{"where": where, "key": key} for where, key in causes.unique_keys],
        "resampling": {"seed": causes.seed, "resamples": causes.resamples, "block_s": causes.block_s},
    }


def _cause(cause: Cause) -> dict[str, object]:
    document: dict[str, object] = {
        "path": list(cause.path),
        "added_ns": cause.added_ns,
        "added_interval_ns": _interval(cause.added_interval_ns),
        "share": cause.share,
        "more_calls_ns": cause.more_calls_ns,
        "slower_calls_ns": cause.slower_calls_ns,
        "slow_calls": cause.slow_calls,
        "fast_calls": cause.fast_calls,
        "without_share_over": cause.without_share_over,
        "without_share_interval": _interval(cause.without_share_interval),
        "without_percentile_ns": cause.without_percentile_ns,
        "stays_first": cause.stays_first,
        "n_slow": cause.n_slow,
        "n_fast": cause.n_fast,
        "kind": cause.kind,
        "attributes": [
            {
                "where": line.where,
                "key": line.key,
                "value": line.value,
                "slow": line.slow,
                "fast": line.fast,
                "n_slow": line.n_slow,
                "n_fast": line.n_fast,
                "q": line.q,
                "together": [{"where": where, "key": key, "value": value} for where, key, value in line.together],
            }
            for line in cause.attributes
        ],
        "since_s": cause.since_s,
        "since_error_s": cause.since_error_s,
    }
    if cause.kind == "pause":
        document |= {"pauses": cause.pauses, "pause_ns": cause.pause_ns}
    return document


def _path_line(line: PathLine) -> dict[str, object]:
    return {
        "path": list(line.path),
        "added_ns": line.added_ns,
        "added_interval_ns": _interval(line.added_interval_ns),
    }


def _interval(interval: Interval) -> list[float | None]:
    """Return an interval for JSON, which has no infinity: an unknown end is null."""
    return [end if abs(end) != float("inf") else None for end in interval]

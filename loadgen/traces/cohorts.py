"""Splits the sampled requests of one series into a slow and a fast cohort, whose difference explains a percentile.

Slow requests took longer than the objective's threshold, by our response time. Fast ones took at most the median.
Requests between the two are in neither cohort, but they count for percentiles. Left out and counted are requests in
seconds in which the generator was unfit, requests that waited for our own connection pool, and incomplete traces.
Failed requests are a cohort of their own: a time-out is slow for another reason than a slow answer.

All regions are in the same cohorts, because the region may be the difference. Select one region before the call to
compare its requests with each other.

Times are ns. A weight is the number of requests that a sampled one stands for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Literal

import numpy as np
import numpy.typing as npt

from loadgen.traces.timed import Observed, Parted, SomeParted

__all__ = ["LEAST_SLOW", "Cohorts", "LeftOut", "Standing", "cohorts_of", "standing_of", "weighted_quantile"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LeftOut = Literal["unfit second", "waited for our pool", "incomplete trace"]
Standing = Literal["slow", "between", "fast"]

LEAST_SLOW: Final = 30
"""The least slow traces for a ranking. A fault of +30 ms on 3 % of requests is first in 93 % of draws of 30."""
_OK: Final = "ok"
_SLOW_WITHOUT_OBJECTIVE: Final = 0.95
_FAST: Final = 0.5


@dataclass(frozen=True, slots=True)
class Cohorts(Generic[SomeParted]):
    """The traces that are compared, in the order of their due times.

    threshold_ns: slow requests took longer than this. fast_ns: fast ones took at most this. weights: of `traces`, shape
    (n,). is_slow, is_fast: shape (n,). has_objective: false if the threshold is the 95th percentile of the sample.
    """

    traces: tuple[SomeParted, ...]
    weights: Floats
    is_slow: Bools
    is_fast: Bools
    threshold_ns: int
    fast_ns: int
    has_objective: bool
    failed: tuple[SomeParted, ...] = ()
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)

    @property
    def n_slow(self) -> int:
        """Return the number of slow traces."""
        return int(self.is_slow.sum())

    @property
    def n_fast(self) -> int:
        """Return the number of fast traces."""
        return int(self.is_fast.sum())

    @property
    def responses_ns(self) -> Floats:
        """Return the response times, shape (n,)."""
        return np.array([one.observed.response_ns for one in self.traces], dtype=np.float64)

    @property
    def due_s(self) -> Floats:
        """Return the due times in s from T0, shape (n,)."""
        return np.array([one.observed.at_s for one in self.traces], dtype=np.float64)


def cohorts_of(
    timed: Iterable[SomeParted],
    threshold_ns: int | None = None,
    *,
    fast_ns: int | None = None,
    factors: Mapping[str, float] | None = None,
) -> Cohorts[SomeParted]:
    """Split sampled requests into cohorts.

    Args:
        timed: requests of one series, in any order.
        threshold_ns: the objective's limit; None: the 95th percentile of the sample, which is slow itself.
        fast_ns: the median response time of the series; None: the weighted median of the sample.
        factors: a correction of the weight for each trace id, 1 for the others (`missing.py`).
    """
    left_out: Counter[LeftOut] = Counter()
    kept: list[SomeParted] = []
    failed: list[SomeParted] = []
    for one in timed:
        reason = _reason_to_leave_out(one)
        if reason:
            left_out[reason] += 1
        elif one.observed.outcome == _OK:
            kept.append(one)
        else:
            failed.append(one)
    kept.sort(key=_order)
    failed.sort(key=_order)
    by_trace = factors or {}
    kept = [_corrected(one, by_trace.get(one.observed.trace, 1.0)) for one in kept]
    weights = np.array([one.observed.weight for one in kept], dtype=np.float64)
    responses = np.array([one.observed.response_ns for one in kept], dtype=np.float64)
    limit, fast = limits_of(responses, weights, threshold_ns, fast_ns)
    is_slow = responses > limit
    return Cohorts(
        traces=tuple(kept),
        weights=weights,
        is_slow=is_slow,
        # The median is above a threshold that half of all requests exceed; no request is in both cohorts.
        is_fast=(responses <= fast) & ~is_slow,
        threshold_ns=limit,
        fast_ns=fast,
        has_objective=threshold_ns is not None,
        failed=tuple(failed),
        left_out=dict(left_out),
    )


def limits_of(responses: Floats, weights: Floats, threshold_ns: int | None, fast_ns: int | None) -> tuple[int, int]:
    """Return both limits of the cohorts: slow above the first, fast up to the second. Both 0 without requests."""
    if not len(responses):
        return threshold_ns or 0, fast_ns or 0
    # A request at the 95th percentile is slow, and times are whole ns.
    slow = (
        int(weighted_quantile(responses, weights, _SLOW_WITHOUT_OBJECTIVE)) - 1
        if threshold_ns is None
        else threshold_ns
    )
    fast = int(weighted_quantile(responses, weights, _FAST)) if fast_ns is None else fast_ns
    return slow, fast


def standing_of(observed: Observed, threshold_ns: int, fast_ns: int) -> Standing | None:
    """Return the cohort to which a request belongs, also if its trace was not found; None if it is in no comparison."""
    if observed.outcome != _OK or not observed.is_fit or observed.is_pool_limited:
        return None
    if observed.response_ns > threshold_ns:
        return "slow"
    return "fast" if observed.response_ns <= fast_ns else "between"


def weighted_quantile(values: npt.ArrayLike, weights: npt.ArrayLike, share: float) -> float:
    """Return the smallest value that covers at least `share` of the total weight.

    A value covers its own weight and the weights of all smaller values.

    values, weights: shape (n,), n > 0; weights above 0. share: 0 to 1.
    """
    array = np.asarray(values, dtype=np.float64)
    order = np.argsort(array, kind="stable")
    below = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    # Sums of weights such as 0.1 are not exact: without the factor, a rounding error selects the next value.
    at = int(np.searchsorted(below, share * below[-1] * (1 - 1e-12)))
    return float(array[order[min(at, len(array) - 1)]])


def _corrected(one: SomeParted, factor: float) -> SomeParted:
    return one if factor == 1.0 else one.with_weight(one.observed.weight * factor)


def _reason_to_leave_out(one: Parted) -> LeftOut | None:
    if not one.observed.is_fit:
        return "unfit second"
    if one.observed.is_pool_limited:
        return "waited for our pool"
    return None if one.is_complete else "incomplete trace"


def _order(one: Parted) -> tuple[float, str, str]:
    return one.observed.at_s, one.observed.trace, one.observed.span


def repaired_counts(timed: Sequence[Parted]) -> dict[str, int]:
    """Return how often each rule of repair was applied to these traces."""
    counts: Counter[str] = Counter()
    for one in timed:
        counts.update(one.repaired)
    return dict(counts)

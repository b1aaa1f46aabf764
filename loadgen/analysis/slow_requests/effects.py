"""The numbers behind a ranking: what each path adds, and what would be left without its excess, with resamples.

Two groups of traces are compared, slow with fast ones, or one run with another. The fast medians to which own times are
lowered come from all traces and stay the same in each resample; cohorts that follow the sample's median do not.

Cost (`python -m bench causes`): 20 ms for 1,000 resamples of 400 traces and 100 paths. A second timing takes 0.5 µs for
each changed span and each sibling of a span above it, for each of at most 30 paths. Only requests above the threshold
are timed again for the ranking, and those that a percentile depends on for its line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.resample import RESAMPLES, Blocks, block_draws
from loadgen.traces.cohorts import weighted_quantile
from loadgen.traces.compact_trace import CompactTrace
from loadgen.traces.model import Path
from loadgen.traces.own_times import OTHERS, Added, OwnTimes, added, weighted_means
from loadgen.traces.pauses import Pauses
from loadgen.traces.timed import OUR_SIDE, WIRE

__all__ = [
    "MOST_CANDIDATES",
    "Compared",
    "Resampled",
    "Without",
    "mean_difference",
    "percentile_of",
    "percentile_without",
    "resampled",
    "score_of",
    "without",
    "without_both",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_CANDIDATES: Final = 30
"""The most paths that are timed again: those that add most."""
_WITHOUT_SPANS: Final = (OUR_SIDE, WIRE, OTHERS)
_NUMBERS_AT_ONCE: Final = 500_000
"""The most numbers of a temporary array if there are many traces: 4 MB. About ten exist at once."""
_IN_ONE_PART: Final = 2_000_000
_TIMED_AT_ONCE: Final = 64
_TIE: Final = 1e-3
"""The weight of the time above the threshold beside the share above it: it decides only between equal shares."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two groups of traces. Arrays have shape (traces,).

    slow, fast: weights in each group, 0 outside of it. base: weights of all requests of the series that is explained.
    fast_share: None if the fast ones are fixed, otherwise the share of `base` up to which response times are fast: each
    resample then has its own limit.
    """

    traces: Sequence[CompactTrace]
    times: OwnTimes
    pauses: Sequence[Pauses]
    responses_ns: Floats
    base: Floats
    slow: Floats
    fast: Floats
    threshold_ns: int
    fast_share: float | None = None

    @property
    def is_over(self) -> Bools:
        """Return which requests of the explained series are above the threshold."""
        return (self.base > 0) & (self.responses_ns > self.threshold_ns)

    def added(self) -> Added:
        """Return what each path adds."""
        return added(self.times, self.slow, self.fast)


@dataclass(frozen=True, slots=True)
class Without:
    """The response times if one path at a time were as fast as usual.

    columns: indices of the paths in `Compared.times`, shape (k,). targets_ns: own times to which they are lowered.
    responses_ns: shape (k, traces); of requests that are at most at the threshold, as they were: see
    `percentile_without`.
    """

    columns: tuple[int, ...]
    targets_ns: Floats
    responses_ns: Floats


@dataclass(frozen=True, slots=True)
class Resampled:
    """The same figures from each resample: shape (times, paths), (times,), or (times, k) for the paths of `Without`.

    still_over: the part of the weight above the threshold that stays above it. score: still_over with ties broken; the
    path with the lowest score is first.
    """

    added_ns: Floats
    difference_ns: Floats
    share_over: Floats
    still_over: Floats
    score: Floats


def without(compared: Compared, columns: Sequence[int]) -> Without:
    """Time the traces above the threshold again, once for each of some paths."""
    targets = np.array([_usual(compared, column) for column in columns])
    rows = [
        _lowered(compared, {column: target}, compared.is_over) for column, target in zip(columns, targets, strict=True)
    ]
    responses = np.array(rows) if rows else np.zeros((0, len(compared.traces)))
    return Without(tuple(columns), targets, responses)


def without_both(compared: Compared, one: int, other: int) -> Floats:
    """Return the response times of requests above the threshold if two paths were as fast as usual, shape (traces,)."""
    return _lowered(compared, _both(compared, one, other), compared.is_over)


def percentile_without(compared: Compared, columns: Sequence[int], percentile: float) -> float:
    """Return a percentile of the response times if one path, or two, were as fast as usual.

    percentile: 0 to 1. Only the traces that the percentile depends on are timed again: no request becomes slower, so a
    request that was faster than the percentile stays below it.
    """
    targets = {column: _usual(compared, column) for column in columns}
    is_timed = compared.is_over
    responses = _lowered(compared, targets, is_timed)
    while True:
        found = percentile_of(responses, compared.base, percentile)
        open_ones = np.flatnonzero(~is_timed & (compared.base > 0) & (responses >= found))
        if not len(open_ones):
            return found
        slowest = open_ones[np.argsort(-responses[open_ones], kind="stable")[:_TIMED_AT_ONCE]]
        more = np.zeros(len(responses), dtype=np.bool_)
        more[slowest] = True
        responses[slowest] = _lowered(compared, targets, more)[slowest]
        is_timed = is_timed | more


def percentile_of(responses: Floats, weights: Floats, percentile: float) -> float:
    """Return a percentile (0 to 1) of the responses with a weight; 0 without any."""
    is_counted = weights > 0
    return weighted_quantile(responses[is_counted], weights[is_counted], percentile) if is_counted.any() else 0.0


def _both(compared: Compared, one: int, other: int) -> dict[int, float]:
    return {one: _usual(compared, one), other: _usual(compared, other)}


def _usual(compared: Compared, column: int) -> float:
    """Return the median own time of a path in fast traces, 0 where they do not have it."""
    is_fast = compared.fast > 0
    return weighted_quantile(compared.times.own_ns[is_fast, column], compared.fast[is_fast], 0.5)


def _lowered(compared: Compared, targets: dict[int, float], wanted: Bools) -> Floats:
    """Return the response times if the own time of some paths (columns) falls to targets.

    wanted: traces that may be timed again, shape (traces,). Others keep their time on paths of the target.
    """
    times = compared.times
    pauses = {one.instance.path: one for one in compared.pauses}
    saved = np.zeros(len(compared.traces))
    # Paths of the target are timed again together, because one may take over from the other.
    spans: dict[int, float] = {}
    for column, target in targets.items():
        path = times.paths[column]
        if path in pauses:
            saved += pauses[path].saved_ns
        elif path not in _WITHOUT_SPANS:
            spans[column] = target
        else:
            saved += np.maximum(times.own_ns[:, column] - target, 0)
    if spans:
        is_above = np.zeros(len(compared.traces), dtype=np.bool_)
        for column, target in spans.items():
            is_above |= times.own_ns[:, column] > target
        for n in np.flatnonzero(is_above & (compared.base > 0) & wanted).tolist():
            saved[n] += compared.traces[n].timeline.saved_by(_targets(compared, n, spans))
    return np.maximum(compared.responses_ns - saved, 0)


def _targets(compared: Compared, n: int, targets: dict[int, float]) -> dict[Path, tuple[int, int]]:
    """Return for one trace the own time of each path and its new one. A pause within it is not taken out twice."""
    found: dict[Path, tuple[int, int]] = {}
    for column, target in targets.items():
        path = compared.times.paths[column]
        time = compared.traces[n].paths.get(path)
        excess = int(compared.times.own_ns[n, column] - target)
        if time is not None and excess > 0:
            found[path] = time.own_ns, time.own_ns - excess
    return found


def resampled(compared: Compared, lowered: Without, blocks: Blocks, seed: int, times: int = RESAMPLES) -> Resampled:
    """Compute all figures from resamples of blocks of time; nan where a resample has no slow or no fast traces."""
    drawn = block_draws(blocks, seed, times=times)
    width = max(1, len(compared.traces))
    size = max(1, times if times * width <= _IN_ONE_PART else _NUMBERS_AT_ONCE // width)
    parts = [
        _part(compared, lowered, drawn[start : start + size][:, blocks.of_trace].astype(np.float64))
        for start in range(0, len(drawn), size)
    ]
    joined = [np.concatenate([part[k] for part in parts]) for k in range(5)]
    return Resampled(*joined)


def _part(compared: Compared, lowered: Without, drawn: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    slow = drawn * compared.slow
    fast = drawn * compared.fast if compared.fast_share is None else _fast_weights(compared, drawn, compared.fast_share)
    over = compared.responses_ns > compared.threshold_ns
    excess = np.maximum(compared.responses_ns - compared.threshold_ns, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = _means(slow, compared.times.own_ns) - _means(fast, compared.times.own_ns)
        difference = _means(slow, compared.responses_ns[:, None]) - _means(fast, compared.responses_ns[:, None])
        base = drawn * compared.base
        all_over = base @ over.astype(np.float64)
        share = all_over / base.sum(axis=1)
        still = base @ (lowered.responses_ns > compared.threshold_ns).T.astype(np.float64) / all_over[:, None]
        left = np.maximum(lowered.responses_ns - compared.threshold_ns, 0).T
        score = still + _TIE * (base @ left) / (base @ excess)[:, None]
    return means, difference[:, 0], share, still, score


def _means(weights: Floats, values: Floats) -> Floats:
    """Return the mean of each column for each row of weights, shape (rows, columns)."""
    means: Floats = (weights @ values) / weights.sum(axis=1, keepdims=True)
    return means


def _fast_weights(compared: Compared, drawn: Floats, share: float) -> Floats:
    """Return the weights of the fast traces of each resample: those up to the resample's own median."""
    order = np.argsort(compared.responses_ns, kind="stable")
    weights = drawn * compared.base
    below = np.cumsum(weights[:, order], axis=1)
    # The trace at the median is fast: the weights before it are below the share.
    before = below - weights[:, order]
    is_fast = np.empty(weights.shape, dtype=np.bool_)
    is_fast[:, order] = before < share * below[:, -1:] * (1 - 1e-12)
    chosen: Floats = weights * (is_fast & (compared.slow == 0))
    return chosen


def score_of(compared: Compared, lowered: Without) -> tuple[Floats, Floats]:
    """Return still_over and score (see `Resampled`) from all traces, shape (k,) each."""
    one = np.ones((1, len(compared.traces)))
    part = _part(compared, lowered, one)
    return part[3][0], part[4][0]


def mean_difference(compared: Compared) -> float:
    """Return the difference of the mean response times, ns."""
    both = [weighted_means(compared.responses_ns[:, None], weights)[0] for weights in (compared.slow, compared.fast)]
    return float(both[0] - both[1])

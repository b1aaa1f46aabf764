"""All figures of one comparison, each with its interval, and which paths are clear enough to be candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.proportion_interval import clopper_pearson
from loadgen.analysis.resample import Blocks, interval, intervals
from loadgen.analysis.slow_requests.effects import (
    MOST_CANDIDATES,
    Compared,
    Resampled,
    Without,
    mean_difference,
    resampled,
    score_of,
    without,
)
from loadgen.traces.causes import Interval, Objective, PathLine
from loadgen.traces.own_times import OTHERS, Added

__all__ = ["Figures"]

Floats = npt.NDArray[np.float64]

_LEAST_SHARE: Final = 0.02
_LEAST_OVER: Final = 0.05
_LEAST_TIMED: Final = 0.01
"""The least share of the difference for which traces are timed again. Most of a target's paths add nothing."""
_MOST_P: Final = 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one comparison. candidates: columns in the order of their score."""

    compared: Compared
    added: Added
    lowered: Without
    draws: Resampled
    blocks: Blocks
    still_over: Floats
    score: Floats

    @classmethod
    def of(cls, compared: Compared, blocks: Blocks, seed: int, resamples: int) -> Figures:
        figures = compared.added()
        least = max(_LEAST_TIMED * abs(mean_difference(compared)), 1.0)
        most = np.argsort(-figures.own_ns, kind="stable")[:MOST_CANDIDATES].tolist()
        columns = [n for n in most if figures.own_ns[n] >= least and compared.times.paths[n] != OTHERS]
        lowered = without(compared, columns)
        still, score = score_of(compared, lowered)
        return cls(
            compared, figures, lowered, resampled(compared, lowered, blocks, seed, resamples), blocks, still, score
        )

    def share_over(self, objective: Objective) -> tuple[float, Interval]:
        """Return the share of requests above the threshold, with its interval."""
        # Without an objective the threshold is the sample's own percentile, which the histogram does not have.
        if objective.share_over is None or objective.threshold_ns is None:
            base = self.compared.base
            share = float(base[self.compared.is_over].sum() / base.sum())
            low, high = interval(share, self.draws.share_over, self.blocks.count)
            return share, (max(0.0, low), min(1.0, high))
        if not objective.requests:
            return objective.share_over, (0.0, 1.0)
        return objective.share_over, clopper_pearson(
            round(objective.share_over * objective.requests), objective.requests
        )

    def line(self, column: int) -> PathLine:
        low, high = interval(float(self.added.own_ns[column]), self.draws.added_ns[:, column], self.blocks.count)
        return PathLine(self.compared.times.paths[column], float(self.added.own_ns[column]), (low, high))

    def difference(self) -> tuple[float, Interval]:
        whole = mean_difference(self.compared)
        return whole, interval(whole, self.draws.difference_ns, self.blocks.count)

    def clear(self, is_run_against_run: bool) -> list[int]:
        """Return the indices in `lowered` of the candidates, the best first."""
        columns = list(self.lowered.columns)
        if not columns:
            return []
        whole = mean_difference(self.compared)
        if is_run_against_run:
            is_clear = _holm(self.added.own_ns, self.draws.added_ns, self.blocks.count)[columns] <= _MOST_P
        else:
            low, _ = intervals(self.added.own_ns[columns], self.draws.added_ns[:, columns], self.blocks.count)
            # Pauses have been tested already (`pauses.py`), and a few long ones always have wide intervals.
            paths = {one.instance.path for one in self.compared.pauses}
            is_pause = np.array([self.compared.times.paths[column] in paths for column in columns])
            is_clear = (low > 0) | is_pause
        is_large = (self.added.own_ns[columns] >= _LEAST_SHARE * abs(whole)) | (self.still_over <= 1 - _LEAST_OVER)
        # Without requests above the threshold there is no score, and the added time decides.
        score = np.where(np.isfinite(self.score), self.score, 0.0)
        order = np.lexsort((-self.added.own_ns[columns], score))
        return [int(n) for n in order if is_clear[n] and is_large[n]]

    def stays_first(self, index: int, among: Sequence[int]) -> float:
        """Return the share of resamples in which one of the candidates (indices in `lowered`) is first."""
        scores = self.draws.score[:, list(among)]
        is_known = np.isfinite(scores).all(axis=1)
        if not is_known.any():
            return 0.0
        first = np.where(is_known, np.argmin(np.where(np.isfinite(scores), scores, np.inf), axis=1), -1)
        return float((first == list(among).index(index)).mean())


def _holm(values: Floats, draws: Floats, blocks: int) -> Floats:
    """Return the two-sided p of each value against 0, with Holm's correction; 1 where resamples do not vary."""
    rows = draws[np.isfinite(draws).all(axis=1)]
    if blocks < 3 or len(rows) < 2:
        return np.ones(len(values))
    spread = rows.std(axis=0) * np.sqrt(blocks / (blocks - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, np.abs(values) / spread, 0.0)
    p = 2 * special.stdtr(blocks - 1, -t)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted

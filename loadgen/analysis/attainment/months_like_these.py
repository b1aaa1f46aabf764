"""Context for a promise: how many months would keep it, with incidents like those of the last weeks.

This is a resampling of weeks. It is no interval of an attainment, because a closed window is a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.slices import Slices

__all__ = ["LEAST_WEEKS", "MonthsLikeThese", "months_like_these"]

LEAST_WEEKS: Final = 12
_WEEK_S: Final = 604_800
_WEEKS_A_MONTH: Final = 4
_DRAWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class MonthsLikeThese:
    """kept: the share of resampled months of four weeks that keep the target, 0 to 1. weeks: whole weeks observed."""

    kept: float
    weeks: int

    def text(self, target_text: str) -> str:
        """Return the sentence for a page. target_text: such as "99.9 %"."""
        return (
            f"with incidents like those of the last {self.weeks} weeks, about {round(self.kept * 10)} months in 10 "
            f"keep {target_text} (weeks drawn at random)"
        )


def months_like_these(units: Slices, target: object, *, end: float, seed: int = 1) -> MonthsLikeThese | None:
    """Return how many months would keep a target; None with fewer than 12 weeks that were observed as a whole.

    Args:
        units: slices in the units of the method (`counted`).
        end: the end of the last week, s since the epoch. Weeks are counted back from there.
        seed: of the draws; the same seed gives the same share.

    Raises:
        ValueError: the target is not above 0 and below 1.
    """
    allowed = float(1 - exact_share(target))
    if not len(units):
        return None
    past = units.take(units.start < end)
    number = np.floor((end - past.start) / _WEEK_S - 1e-9).astype(np.int64)
    count = int(number.max()) + 1 if len(number) else 0
    observed = np.bincount(number, weights=past.width - past.missing, minlength=count)
    bad = np.bincount(number, weights=past.bad, minlength=count)
    total = np.bincount(number, weights=past.total, minlength=count)
    is_whole = (observed >= _WEEK_S * (1 - 1e-9)) & (total > 0)
    weeks = int(is_whole.sum())
    if weeks < LEAST_WEEKS:
        return None
    drawn = np.random.default_rng(seed).integers(0, weeks, (_DRAWS, _WEEKS_A_MONTH))
    shares = bad[is_whole][drawn].sum(axis=1) / total[is_whole][drawn].sum(axis=1)
    return MonthsLikeThese(float((shares <= allowed * (1 + 1e-9)).mean()), weeks)

"""The confidence interval of a bad share: of how many due iterations or requests are bad, as the run's batches show it.

    share_interval([10, 14, 9, 12, 15], [1000] * 5)     # 0.0083 to 0.0169: 60 of 5,000 are bad, 1.2 %

Bad events come in groups: a slow second has many, and the next second resembles it. An interval for independent
events is then too narrow. This one divides the number of events by the *dispersion*: the variance of the counts of
bad events between batches, over the variance of independent (binomial) counts. So 3,000 events with a dispersion of 3
say as much as 1,000 independent events. The interval of Clopper and Pearson for that number is the result.

With 5 batches the dispersion itself is known only roughly, so Student's t with 4 degrees of freedom takes the place
of the normal quantile. Batches whose neighbours resemble each other differ less than the run varies; `rho` corrects
for that as in `batch_means.py`.

The interval cannot contain what the run has not seen. If errors come in bursts of which a run usually sees none, a run
without errors says too little, and its interval is too narrow. docs/how-often-wrong.md has the rates.

Sources: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of positive
counts estimated from survey data", Survey Methodology 24 (1998): the effective number with the ratio of t quantiles.
C. R. Blyth, "Approximate binomial confidence limits", JASA 81 (1986): the closed form of the ends (J. W. Pratt's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import acos, cos, sqrt
from statistics import NormalDist
from typing import Final

from loadgen.measure.statistics.mean_of_batches import BATCHES, correction

__all__ = ["BATCHES", "ShareInterval", "dispersion_of", "share_interval"]

FEW_INTERVALS: Final = 3.0
"""An interval is wider by this over the number of intervals. It keeps the stated error in runs of 20 s whose response
times resemble those of the second before by 90 %, with a spread of 20 %; without it, 3.6 % of sure verdicts are wrong.
"""


@dataclass(frozen=True, slots=True)
class ShareInterval:
    """The interval of a share, and the dispersion that it contains."""

    low: float
    """0 to 1."""
    high: float
    """0 to 1."""
    dispersion: float
    """Variance of the number of bad events over that of independent events; 1 or more."""


def share_interval(
    bad: Sequence[int],
    count: Sequence[int],
    *,
    level: float = 0.95,
    rho: float = 0.0,
    intervals: int | None = None,
    few: float = FEW_INTERVALS,
    least: float | None = None,
    dispersion: float | None = None,
    whole: tuple[int, int] | None = None,
) -> ShareInterval:
    """Return the confidence interval of the share of bad events, from the counts of consecutive batches.

    Without a bad event the interval begins at 0; if all are bad it ends at 1. Without events it is [0, 1]. With fewer
    than 5 batches and no `dispersion`, the events count as independent.

    Args:
        bad, count: bad events and all events of each batch, in order of time; the same number of each. Batches should
            be equally long. More than 5 are joined to 5.
        level: two-sided; each end is wrong with a probability of (1 - level) / 2.
        rho: correlation of neighbouring batches, 0 to below 1.
        intervals: number of intervals in which `rho` was estimated. An estimate from n of them makes the interval wider
            by `few` / n. None: `rho` is exact.
        least: the dispersion that similar events of the same batches have, such as slow ones; the result has at least
            this one. It also applies without bad events, from which no dispersion can be estimated.
        dispersion: a known dispersion, to be used in place of the batches'.
        whole: (bad, all) events of the whole run, if the batches are only a part of it. The interval is for these.

    Raises:
        ValueError: counts or arguments are out of range.

    Cost: 15 µs for 5 batches.
    """
    _check(bad, count, level, rho)
    wrong, n = whole if whole is not None else (sum(bad), sum(count))
    if not 0 <= wrong <= n:
        raise ValueError(f"{wrong} bad of {n} events: bad must be between 0 and the number of events")
    if not n:
        return ShareInterval(0.0, 1.0, 1.0)
    tail = (1 - level) / 2
    if dispersion is not None:
        spread, is_estimated = max(1.0, dispersion), False
    else:
        of_batches = dispersion_of(bad, count)
        known = [one for one in (of_batches, least) if one is not None]
        factor = correction(rho)
        if intervals is not None:
            factor *= (1 + few / max(1, intervals)) ** 2
        is_estimated = bool(known)
        spread = max(known, default=1.0) * (factor if is_estimated else 1.0)
    z = NormalDist().inv_cdf(1 - tail)
    widening = spread * (_t4(tail) / z) ** 2 if is_estimated else spread
    # A dispersion below 1 is chance: bad events do not avoid each other.
    effective = n / max(1.0, widening)
    seen = wrong / n * effective
    return ShareInterval(_low(seen, effective, tail, z), _high(seen, effective, tail, z), max(1.0, spread))


def dispersion_of(bad: Sequence[float], count: Sequence[float]) -> float | None:
    """Return the variance of the batches' numbers of bad events over that of independent events.

    The estimate has 4 degrees of freedom: in 95 % of runs it is 0.12 to 2.8 times the true dispersion. None if it
    cannot be estimated: fewer than 5 batches, no bad event, or only bad ones.

    Source: the ratio estimate of W. G. Cochran, "Sampling Techniques" (3rd ed.), ch. 3.12.
    """
    if len(bad) < BATCHES:
        return None
    wrong, n = sum(bad), sum(count)
    if not 0 < wrong < n:
        return None
    share = wrong / n
    pairs = list(zip(_joined(bad), _joined(count), strict=True))
    squares = sum((b - of * share) ** 2 for b, of in pairs)
    return BATCHES / (BATCHES - 1) * squares / (n * share * (1 - share))


def _joined(counts: Sequence[float]) -> list[float]:
    """Return the sums of `counts` in 5 groups of neighbours, as equal as possible."""
    sums = [0.0] * BATCHES
    for i, one in enumerate(counts):
        sums[i * BATCHES // len(counts)] += one
    return sums


def _check(bad: Sequence[int], count: Sequence[int], level: float, rho: float) -> None:
    if len(bad) != len(count):
        raise ValueError(f"{len(bad)} numbers of bad events and {len(count)} of all events: must be as many")
    if any(not 0 <= b <= of for b, of in zip(bad, count, strict=True)):
        raise ValueError("a batch has more bad events than events, or fewer than 0")
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}, but must be between 0 and 1")
    if not 0 <= rho < 1:
        raise ValueError(f"rho is {rho:g}, but must be at least 0 and below 1")


@lru_cache(maxsize=32)
def _t4(tail: float) -> float:
    """Return the quantile 1 - `tail` of Student's t with 4 degrees of freedom, exactly, for tails up to 0.5.

    Source: W. T. Shaw, "Sampling Student's T distribution", J. Computational Finance 9 (2006).
    """
    root = sqrt(4 * tail * (1 - tail))
    return 2 * sqrt(max(0.0, cos(acos(min(1.0, root)) / 3) / root - 1))


def _low(seen: float, n: float, tail: float, z: float) -> float:
    return 1 - _high(n - seen, n, tail, z) if seen > 0 else 0.0


def _high(seen: float, n: float, tail: float, z: float) -> float:
    """Return the upper end of the interval of Clopper and Pearson, for `seen` of `n` events; both may be fractions.

    With 95 % and 10 bad and 10 good events or more, the end is within 1 % of the exact one. With 2 good events, its
    distance from 1 is 8 % too small, and with 3 it is 3 % too small: it errs on the cautious side. With 1 it is exact.
    """
    good = n - seen
    if seen <= 0:
        return float(1 - tail ** (1 / n))
    if good <= 1:
        # The closed form fails here. For one good event this is exact; below, 1 is the cautious end.
        return float((1 - tail) ** (1 / n)) if good == 1 else 1.0
    one_more = seen + 1
    b = 81 * one_more * good - 9 * n - 8
    c = -3 * z * sqrt(max(0.0, 9 * one_more * good * (9 * n + 5 - z * z) + n + 1))
    d = 81 * one_more**2 - 9 * one_more * (2 + z * z) + 1
    return min(1.0, 1 / (1 + (one_more / good) ** 2 * ((b + c) / d) ** 3))

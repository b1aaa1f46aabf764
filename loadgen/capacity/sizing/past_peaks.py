"""Makes a forecast of past peaks by week; needs the extra `analysis`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import exp, expm1

import numpy as np

from loadgen.analysis.forecast.trend_forecast import forecast_trend
from loadgen.capacity.sizing.forecast import Forecast, Week
from loadgen.capacity.sizing.ranges import Range

__all__ = ["forecast_of"]


def forecast_of(past: Sequence[Week], horizon: int, name: str, *, seed: int = 1) -> Forecast:
    """Return the peaks of the `horizon` weeks after the last past week, by the trend of the logarithms.

    Args:
        past: rising, at least 8; only the points count.
        horizon: 1 to 104 weeks.
        name: of their source.

    Raises:
        ValueError: there are too few weeks, or the horizon is out of range.
    """
    monday = past[0].monday
    at = [(week.monday - monday).days // 7 for week in past]
    found = forecast_trend(at, np.log([week.peak.point for week in past]), horizon, seed=seed)
    ranges = [
        Range(exp(low), exp(middle), exp(high))
        for low, middle, high in zip(found.low.tolist(), found.middle.tolist(), found.high.tolist(), strict=True)
    ]
    weeks = tuple(Week(past[-1].monday + timedelta(days=7 * n), peak) for n, peak in enumerate(ranges, 1))
    season = " and the season of a year" if found.has_season else ""
    return Forecast(weeks, f"{name}: trend of {len(past)} weeks ({expm1(found.growth) * 100:+.2g} % a week){season}")

"""Lanes: the target's metrics over the time of a run, as charts below those of the response time. Pure.

Times are seconds from T0, the start of the load, so lanes are aligned with the charts. A missing value stays missing:
the page draws a gap. A page shows at most `LANES_MOST` lanes at first, those that changed most, and the user can show
the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite
from typing import Final

import msgspec
import numpy as np

__all__ = ["LANES_MOST", "POINTS_MOST", "Metric", "change_of", "check", "lanes_of"]

LANES_MOST: Final = 12
"""The most lanes that are shown at first."""
_DRAWN_MOST: Final = 48
"""The most lanes whose values are in the page."""
POINTS_MOST: Final = 720
"""The most points of a lane, as many as a chart has. Beyond it, a point is the highest value of its stretch of time."""
_MORE_POINTS: Final = 240
"""The most points of a lane that is not shown at first."""
_PARTS: Final = 10
_CHANGED_LEAST: Final = 0.01
"""If there are more lanes than are shown at first, those that changed less are not shown at first."""


class Metric(msgspec.Struct, frozen=True):
    """A metric of `metrics.json`."""

    name: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]
    unit: str = ""
    statistic: str = ""
    period_s: float = 0.0
    probe: str = ""
    key: str = ""
    """The row's name in settings and objectives, such as "connections"; "" without a probe."""
    error_s: float = 0.0
    """The most by which the times may be off."""


def check(metric: Metric) -> None:
    """Raise ValueError if a metric's times and values do not fit together."""
    if len(metric.at_s) != len(metric.values):
        times, values = len(metric.at_s), len(metric.values)
        raise ValueError(f'metric "{metric.name}" has {times} times and {values} values')
    if any(later <= earlier for earlier, later in pairwise(metric.at_s)):
        raise ValueError(f'the times of metric "{metric.name}" are not ascending')
    if not all(map(isfinite, (*metric.at_s, metric.period_s, metric.error_s))) or metric.period_s < 0:
        raise ValueError(f'metric "{metric.name}" has an invalid time')


def lanes_of(metrics: Sequence[Metric], named: Collection[str] = ()) -> dict[str, object]:
    """Return the lanes of a page.

    named: the rows in objectives and stop conditions, as "shopdb.connections"; they are always among the first lanes.

    The keys are `lanes` (those that are shown at first, in the order of the metrics), `more_lanes` (the others, with
    fewer points), `rest` (the names of metrics that the page does not have), and `empty` (the names of those without
    any value). A lane has `name`, `probe`, `statistic`, `unit`, `period_s`, `stretch_s`, `error_s`, `at_s` and
    `values`; a value is None in a gap.

    Cost: 30 ms per 100,000 points.
    """
    full = [metric for metric in metrics if any(value is not None for value in metric.values)]
    order, count = list(range(len(full))), LANES_MOST
    if len(full) > LANES_MOST:
        changes = [inf if f"{one.probe}.{one.key}" in named else change_of(one) for one in full]
        order.sort(key=lambda n: (-changes[n], n))
        count = min(LANES_MOST, sum(change >= _CHANGED_LEAST for change in changes)) or LANES_MOST
    first, more = sorted(order[:count]), sorted(order[count:_DRAWN_MOST])
    return {
        "lanes": [_lane(full[n], POINTS_MOST) for n in first],
        "more_lanes": [_lane(full[n], _MORE_POINTS) for n in more],
        "rest": [_title(full[n]) for n in sorted(order[_DRAWN_MOST:])],
        "empty": [_title(metric) for metric in metrics if metric not in full],
    }


def change_of(metric: Metric) -> float:
    """Return how much a metric changed: from 0, not at all, to 2, from a value to its negative.

    It is the difference between the highest and the lowest mean of ten equal parts of the time, divided by the largest
    absolute value. Noise between neighbouring points has little effect on it.
    """
    at_s, values = np.array(metric.at_s), np.array(metric.values, dtype=np.float64)  # None becomes NaN
    there = np.isfinite(values)
    if not there.any():
        return 0.0
    length_s = (at_s[-1] - at_s[0]) / _PARTS or 1.0
    part = np.minimum((at_s[there] - at_s[0]) / length_s, _PARTS - 1).astype(np.int64)
    counts = np.bincount(part, minlength=_PARTS)
    means = np.bincount(part, values[there], _PARTS)[counts > 0] / counts[counts > 0]
    largest = np.abs(values[there]).max()
    return float((means.max() - means.min()) / largest) if largest else 0.0


def _lane(metric: Metric, most: int) -> dict[str, object]:
    period_s = metric.period_s or min((b - a for a, b in pairwise(metric.at_s)), default=1.0)
    at_s, values, stretch_s = metric.at_s, metric.values, period_s
    if len(at_s) > most:
        stretch_s = period_s * -(-len(at_s) // most)
        at_s, values = zip(*_highest(metric.at_s, metric.values, stretch_s), strict=True)
    return {
        "name": metric.name,
        "probe": metric.probe,
        "statistic": metric.statistic,
        "unit": metric.unit,
        "period_s": period_s,
        "stretch_s": stretch_s,
        "error_s": metric.error_s,
        "at_s": [round(at, 3) for at in at_s],
        "values": list(values),
    }


def _highest(
    at_s: Sequence[float], values: Sequence[float | None], stretch_s: float
) -> Iterator[tuple[float, float | None]]:
    """Yield the start of each stretch of time that has points, and the highest value in it; None if all are missing."""
    n, highest, is_there = 0, -inf, False
    first_s = at_s[0]
    for at, value in zip(at_s, values, strict=True):
        here = int((at - first_s) / stretch_s + 1e-9)
        if here != n:
            yield first_s + n * stretch_s, highest if is_there else None
            n, highest, is_there = here, -inf, False
        if value is not None:
            highest, is_there = max(highest, value), True
    yield first_s + n * stretch_s, highest if is_there else None


def _title(metric: Metric) -> str:
    return f"{metric.name} ({metric.statistic})" if metric.statistic else metric.name

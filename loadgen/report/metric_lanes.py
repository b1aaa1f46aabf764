"""Read the target's metrics of a run, `metrics.json` in its folder, for the lanes below the charts.

A lane is one metric over the time of the run. Times are seconds from T0, the start of the
load, so lanes are aligned with the charts. A missing value stays missing: the page draws
a gap. A broken file gives a sentence instead of lanes, because a report must not fail
for a file that somebody added to the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["LANES_MOST", "NAME", "POINTS_MOST", "read_lanes"]

NAME: Final = "metrics.json"
LANES_MOST: Final = 12
POINTS_MOST: Final = 720
"""The most points of a lane, as many as a chart has. Beyond it, a point is the highest value of its stretch of time."""
_BYTES_MOST: Final = 16 << 20
_FORMAT: Final = 1


class _Metric(msgspec.Struct, frozen=True):
    name: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]
    unit: str = ""
    statistic: str = ""
    period_s: float = 0.0


class _File(msgspec.Struct, frozen=True):
    format: int
    metrics: tuple[_Metric, ...]
    source: str = ""


def read_lanes(folder: Path) -> dict[str, object]:
    """Return `metrics` of the report document; {} if the run has no metrics.

    The keys are `source`, `lanes` (the first `LANES_MOST` metrics that have values), `rest` (the names of the other
    ones with values), `empty` (the names of those without any value) and `fault` (a sentence if the file is invalid,
    else ""). A lane has `name`, `statistic`, `unit`, `period_s`, `stretch_s`, `at_s` and `values`; a value is None in a
    gap.

    Cost: 10 ms per 100,000 points.
    """
    path = folder / NAME
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _BYTES_MOST:
            raise ValueError(f"it has more than {_BYTES_MOST >> 20} MiB")
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if file.format > _FORMAT:
            raise ValueError(f"it has format {file.format}, and this loadgen reads formats up to {_FORMAT}")
        for metric in file.metrics:
            _check(metric)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        why = getattr(error, "strerror", None) or error
        fault = f"{NAME} is not shown: {why}. Fetch it again: loadgen runs metrics {folder.name} FILE"
        return {"source": "", "lanes": [], "rest": [], "empty": [], "fault": fault}
    full = [metric for metric in file.metrics if any(value is not None for value in metric.values)]
    return {
        "source": file.source,
        "lanes": [_lane(metric) for metric in full[:LANES_MOST]],
        "rest": [_title(metric) for metric in full[LANES_MOST:]],
        "empty": [_title(metric) for metric in file.metrics if metric not in full],
        "fault": "",
    }


def _check(metric: _Metric) -> None:
    """Raise ValueError if a metric's times and values do not fit together."""
    if len(metric.at_s) != len(metric.values):
        times, values = len(metric.at_s), len(metric.values)
        raise ValueError(f'metric "{metric.name}" has {times} times and {values} values')
    if any(later <= earlier for earlier, later in pairwise(metric.at_s)):
        raise ValueError(f'the times of metric "{metric.name}" are not ascending')
    if not all(map(isfinite, (*metric.at_s, metric.period_s))) or metric.period_s < 0:
        raise ValueError(f'metric "{metric.name}" has an invalid time')


def _lane(metric: _Metric) -> dict[str, object]:
    period_s = metric.period_s or min((b - a for a, b in pairwise(metric.at_s)), default=1.0)
    at_s, values, stretch_s = metric.at_s, metric.values, period_s
    if len(at_s) > POINTS_MOST:
        stretch_s = period_s * -(-len(at_s) // POINTS_MOST)
        at_s, values = zip(*_highest(metric.at_s, metric.values, stretch_s), strict=True)
    return {
        "name": metric.name,
        "statistic": metric.statistic,
        "unit": metric.unit,
        "period_s": period_s,
        "stretch_s": stretch_s,
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


def _title(metric: _Metric) -> str:
    return f"{metric.name} ({metric.statistic})" if metric.statistic else metric.name

"""The rate curve of a run: its requests by second."""

from __future__ import annotations

from datetime import datetime
from math import ceil

import numpy as np

from loadgen.capacity.scaling.rate_curve import MOST_SECONDS, RateCurve
from loadgen.errors import UsageError
from loadgen.report.run_as_dataframes import Run

__all__ = ["run_curve"]


def run_curve(run: Run, name: str, start: datetime | None = None) -> RateCurve:
    """Return the requests of a run by second, by the second in which they ended. A second without any has rate 0.

    Intervals longer than a second are spread evenly over their seconds.

    Raises:
        UsageError: the run has no requests, or lasts longer than a curve may.
    """
    counts: dict[float, int] = {}
    length_s = 1.0
    for row in run.windows(1.0, metric="response"):
        if row.kind == "request" and row.at_s >= 0:
            counts[row.at_s] = counts.get(row.at_s, 0) + row.count
            length_s = max(length_s, row.length_s)
    if not counts:
        raise UsageError(f"run {name} has no requests", hint="name a run with requests, or a CSV file with time,rate")
    seconds = ceil(max(counts) + length_s)
    if seconds > MOST_SECONDS:
        raise UsageError(f"run {name} is longer than {MOST_SECONDS // 86400} days", hint="give a part of it as CSV")
    rate = np.zeros(seconds)
    for at_s, count in counts.items():
        rate[int(at_s) : ceil(at_s + length_s)] += count / length_s
    return RateCurve(name, rate, length_s, start)

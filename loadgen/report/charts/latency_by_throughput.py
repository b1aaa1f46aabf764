"""Compute response time by throughput for a load that changes, to show where response times start to rise.

Time slots are grouped into levels by their finished requests/s, and the histograms of
a level are merged. Slots of the warm-up and slots with a missing or invalid agent are
left out, because their values do not describe the target.
"""

from __future__ import annotations

from typing import Final

from loadgen.measure.results.figures import PERCENTILES
from loadgen.report.charts.bulk_percentiles import lines_of
from loadgen.report.charts.time_slots import add_sums
from loadgen.report.charts.timeline_data import History

__all__ = ["curve_of"]

_LEVELS: Final = 12
_CHANGES: Final = 1.2
"""The least ratio of a plan's highest to its lowest level for which there is a curve."""
_SHOWN: Final = ("p50", "p95", "p99")


def curve_of(history: History, warmup_s: float = 0.0) -> list[dict[str, object]]:
    """Return `curve` of the report document, by rising rate; empty if the planned load is constant."""
    where = 0, history.count, history.span
    of, length_s = history.intervals, history.length_s
    requests, errors = of.counts("requests_finished", *where), of.counts("requests_errors", *where)
    planned = [rate or users or 0.0 for rate, users in zip(of.offered(*where), of.planned_users(*where), strict=True)]
    unfit = of.worst("unfit", *where)
    reported = of.worst("reported", *where)
    fit = [
        slot
        for slot in range(history.count)
        if requests[slot] and planned[slot] and not unfit[slot] and slot * length_s >= warmup_s and reported[slot]
    ]
    if not fit or max(planned[slot] for slot in fit) < _CHANGES * min(planned[slot] for slot in fit):
        return []
    highest = max(requests[slot] for slot in fit)
    levels: dict[int, list[int]] = {}
    for slot in fit:
        levels.setdefault(min(_LEVELS - 1, requests[slot] * _LEVELS // highest), []).append(slot)
    found: list[dict[str, object]] = []
    for _, slots in sorted(levels.items()):
        (line,) = lines_of(add_sums([history.requests_of(slot) for slot in slots]), 1)
        if line is not None:
            at: dict[str, object] = dict(zip(PERCENTILES, line.at, strict=True))
            rate_per_s = sum(requests[slot] for slot in slots) / (len(slots) * length_s)
            found.append(
                {"rate_per_s": round(rate_per_s, 3), "count": line.count}
                | {name: at[name] for name in _SHOWN}
                | {"errors": sum(errors[slot] for slot in slots)}
            )
    return found

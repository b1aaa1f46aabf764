"""The charts of a replay, and its series in buckets: rate and capacity, utilisation, backlog, instances, targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.capacity.scaling.plan import Scaled
from loadgen.studies.study import Drawing
from loadgen.studies.xy_chart import Axis, Line, Mark, Points, Rule, xy_chart

__all__ = ["drawings", "series_of"]

_BUCKETS: Final = 900
"""The most points of a line. A longer curve is drawn with the worst second of each bucket."""


def series_of(scaled: Scaled) -> dict[str, Any]:
    """Return the policy's replay of the recorded curve in at most 900 buckets, each with its worst second.

    `at_s` is the start of a bucket; rate, wanted, utilisation and backlog are maxima, ready and capacity minima.
    """
    replay, instances = scaled.drawn, scaled.plan.instances
    rate = scaled.cases[0].curve.rate
    starts = _starts(len(rate))
    ready = np.minimum.reduceat(replay.ready, starts)
    return {
        "at_s": starts.tolist(),
        "rate_per_s": _rounded(np.maximum.reduceat(rate, starts)),
        "capacity_per_s": _rounded(ready * instances.per_s),
        "wanted": np.maximum.reduceat(replay.wanted, starts).tolist(),
        "ready": ready.tolist(),
        "utilisation": _rounded(np.maximum.reduceat(replay.utilisation, starts), 5),
        "backlog": _rounded(np.maximum.reduceat(replay.backlog, starts)),
    }


def _starts(seconds: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, seconds, min(seconds, _BUCKETS), endpoint=False).astype(np.intp))


def _rounded(values: NDArray[np.float64], places: int = 3) -> list[float]:
    return [round(one, places) for one in values.tolist()]


def drawings(scaled: Scaled) -> Iterator[Drawing]:
    """Yield the charts of the policy in the recorded case, and those of the grid."""
    plan, series = scaled.plan, series_of(scaled)
    at = series["at_s"]
    axis = _time_axis(scaled)
    own, shown = scaled.own[0], plan.policy.shown_target

    def line(name: str, key: str, factor: float = 1.0) -> Line:
        return Line(name, [(x, y * factor) for x, y in zip(at, series[key], strict=True)])

    yield _drawing(
        f"Rate and capacity of the ready instances: {shown}",
        [line("arrivals/s", "rate_per_s"), line("capacity/s within the promise", "capacity_per_s")],
        axis,
        Axis("requests/s", low=0),
        f"Arrivals against the capacity of the ready instances, {len(plan.curve.rate):,} s. Where the arrivals are "
        f"above, there is overload: {own.overload_s:,} s. The worst second is {plan.moment(own.worst_at_s)}.",
    )
    target = (
        [] if plan.policy.target is None else [Rule("target", plan.policy.target * 100, is_horizontal=True, style=3)]
    )
    yield _drawing(
        "Utilisation of the ready instances",
        [
            line("utilisation", "utilisation", 100),
            Rule("at capacity", plan.instances.at * 100, is_horizontal=True),
            *target,
        ],
        axis,
        Axis("%", low=0, high=105),
        f"The highest utilisation of a second is {own.worst_utilisation * 100:.4g} %; at the capacity within the "
        f"promise it is {plan.instances.at * 100:.4g} %.",
    )
    if own.worst_backlog > 0:
        yield _drawing(
            "Requests that wait",
            [line("backlog", "backlog")],
            axis,
            Axis("requests", low=0),
            f"At most {own.worst_backlog:,.0f} requests wait at the end of a second.",
        )
    yield _drawing(
        "Instances",
        [line("wanted", "wanted"), line("ready", "ready")],
        axis,
        Axis("instances", low=0),
        f"{own.actions} actions, of which {own.flaps} take back the one before; at most {own.most_instances:,} "
        f"instances, {own.instance_hours:,.1f} instance hours.",
    )
    if len(scaled.rows) > 1:
        yield from _grid(scaled)


def _grid(scaled: Scaled) -> Iterator[Drawing]:
    best = scaled.best
    rule = [] if best is None else [Rule("cheapest that keeps the promise", best.target * 100)]
    marks: list[Mark] = [
        Line(case.name, [(row.target * 100, row.outcomes[number].overload_s) for row in scaled.rows])
        for number, case in enumerate(scaled.cases)
    ]
    yield _drawing(
        "Overload by target",
        [*marks, *rule],
        Axis("target, %"),
        Axis("seconds of overload", low=0),
        f"Seconds of overload of {len(scaled.rows)} targets in {len(scaled.cases)} cases; "
        f"{sum(row.keeps for row in scaled.rows)} targets keep the promise in all of them.",
    )
    hours = [(row.target * 100, row.instance_hours) for row in scaled.rows]
    yield _drawing(
        "Cost by target",
        [Line("instance hours", hours), Points("", hours, style=1), *rule],
        Axis("target, %"),
        Axis("instance hours", low=0),
        f"From {hours[0][1]:,.1f} hours at {hours[0][0]:.4g} % to {hours[-1][1]:,.1f} at {hours[-1][0]:.4g} %.",
    )


def _drawing(title: str, marks: Sequence[Mark], x: Axis, y: Axis, text: str) -> Drawing:
    return Drawing(title, xy_chart(title, marks, x=x, y=y), text)


def _time_axis(scaled: Scaled) -> Axis:
    curve = scaled.plan.curve
    seconds = len(curve.rate)
    apart = next((one for one in _APART if seconds / one <= 12), 86400 * 14)
    places = range(0, seconds + 1, apart)
    if curve.start is None:
        unit, size = ("h", 3600) if apart >= 3600 else ("min", 60) if apart >= 60 else ("s", 1)
        return Axis(f"time from the start, {unit}", places=tuple((at, f"{at / size:g}") for at in places))
    form = "%m-%d" if apart >= 86400 else "%H:%M" if apart >= 60 else "%H:%M:%S"
    zone = curve.start.strftime("%z")
    shown = tuple((at, (curve.start + timedelta(seconds=at)).strftime(form)) for at in places)
    return Axis(f"time ({zone[:3]}:{zone[3:]})", places=shown)


_APART: Final = (10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800)

"""Measures the cold start in a run, and turns it into a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.scaling.cold_start import (
    HOLD_LEAST,
    HOLD_S,
    WITHIN,
    MeanTime,
    Settled,
    mean_time,
    settled,
    warm_from,
)
from loadgen.capacity.coldstart.by_second import Seconds
from loadgen.capacity.coldstart.events import ScaleEvent
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Line, Mark, Rule, xy_chart

__all__ = ["LEAST_REQUESTS", "ColdStart", "cold_start_study", "cold_starts"]

LEAST_REQUESTS: Final = 200
"""Fewest requests of a window: p95 then has 10 of them above it."""
_DRAWN: Final = 1800
_TEXT_MOST: Final = 40
"""The most characters of an event in the table; JSON and CSV have all of them."""

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One event with what followed it. Times in s after the event, as lower and upper bounds; None: not known."""

    event: ScaleEvent
    end_s: int
    """The next event, or the end of the load."""
    first_good: Bounds | None
    new_instances: int
    settled: Settled
    before_ms: float | None
    """p95 of the 30 s before the event."""
    warm_ms: float | None
    warm_requests: int


def cold_starts(events: Sequence[ScaleEvent], seconds: Seconds, window_s: int, *, has_tag: bool) -> list[ColdStart]:
    """Return the cold start of each event. window_s: the length of the windows of p95."""
    p95 = seconds.rolling_p95_ms(window_s)
    ends = [*(int(one.at_s) for one in events[1:]), len(seconds)]
    return [
        _one(event, min(end, len(seconds)), seconds, p95, window_s, has_tag)
        for event, end in zip(events, ends, strict=True)
    ]


def _one(
    event: ScaleEvent, end_s: int, seconds: Seconds, p95: NDArray[np.float64], window_s: int, has_tag: bool
) -> ColdStart:
    at = int(event.at_s)
    before_ms = seconds.p95_ms(max(0, at - 30), at) if at > 0 else None
    first_good, count = _first_good(event, end_s, seconds) if has_tag else (None, 0)
    start = warm_from(at, end_s)
    if start is None:
        why = "the next event, or the end of the load, is less than 60 s after it"
        return ColdStart(event, end_s, first_good, count, Settled(None, None, False, why), before_ms, None, 0)
    warm_ms = seconds.p95_ms(start, end_s)
    if not warm_ms:
        why = "no requests in the warm part"
        return ColdStart(event, end_s, first_good, count, Settled(None, None, False, why), before_ms, None, 0)
    found = settled(p95, event.at_s, start, end_s, warm_ms, window_s=window_s, error_s=event.error_s)
    return ColdStart(event, end_s, first_good, count, found, before_ms, warm_ms, seconds.count(start, end_s))


def _first_good(event: ScaleEvent, end_s: int, seconds: Seconds) -> tuple[Bounds | None, int]:
    """Return when the first new instance answered well, and how many new ones did before the next event.

    An instance is new if its first good answer came after the event.
    """
    new = [
        second for second in seconds.first_good.values() if event.at_s - event.error_s <= second + 1 and second < end_s
    ]
    new = [second for second in new if second >= int(event.at_s - event.error_s)]
    if not new:
        return None, 0
    after = min(new) - event.at_s
    return (max(0.0, after - event.error_s), max(0.0, after + 1 + event.error_s)), len(new)


def cold_start_study(
    run_id: str, found: Sequence[ColdStart], seconds: Seconds, window_s: int, *, tag: str, invalid: str = ""
) -> Study:
    """Return the study of a run.

    tag: the one that names instances; "" if the run has none. invalid: why the generator was not fit to measure; "" if
    it was.
    """
    goods = mean_time([one.first_good for one in found if one.first_good is not None])
    warms = mean_time([one.settled.after_s for one in found if one.settled.after_s is not None])
    decided = warms is not None or goods is not None
    return Study(
        kind="capacity coldstart",
        title=run_id,
        headline=f"the generator was not fit to measure: {invalid}" if invalid else _headline(found, goods, warms),
        result="invalid" if invalid else "decided" if decided else "not decided",
        lines=tuple(_lines(found, warms, window_s, tag)),
        tables=(_table(found),),
        drawings=tuple(_drawings(found, seconds, window_s)),
        foot=_foot(goods, warms),
        facts=_facts(found, goods, warms, window_s, tag),
        rows=tuple(_row(one) for one in found),
        run_ids=(run_id,),
    )


def _headline(found: Sequence[ColdStart], goods: MeanTime | None, warms: MeanTime | None) -> str:
    parts = []
    if goods is not None:
        parts.append(f"first good answer of a new instance {_mean(goods)} after the scaling event")
    if warms is not None:
        parts.append(f"p95 within {WITHIN:.0%} of warm {_mean(warms)} after it")
    if not parts:
        return f"no cold start can be told from {_events(len(found))}: {found[0].settled.why}"
    return "; ".join(parts)


def _mean(time: MeanTime) -> str:
    what = "clock and windows only, one event" if time.is_single else f"95 %, {_events(time.count)}"
    return f"{time.mean_s:.3g} s ({time.low_s:.3g} to {time.high_s:.3g} s: {what})"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _lines(found: Sequence[ColdStart], warms: MeanTime | None, window_s: int, tag: str) -> Iterator[str]:
    if tag:
        yield (
            f"The tag {tag} identifies instances: an instance whose first good answer came after an event counts as "
            "an instance of this event."
        )
    else:
        yield (
            "No tag shows which answers come from a new instance, so p95 is that of the whole fleet, and the "
            "first good answer of a new instance is unknown. Add a tag that names the instance to the scenario, and "
            "give it as --instance-tag."
        )
    yield (
        f"p95 is of all requests that ended within {window_s} s, second by second. p95 is warm again when it is "
        f"at most {WITHIN:.0%} above the p95 of the last third before the next event, in "
        f"{HOLD_LEAST} of the next {HOLD_S} windows."
    )
    if warms is not None and warms.is_single:
        yield "This is a single event, so cold starts may differ by an unknown time. Scale several times within a run."
    unseen = sum(one.settled.after_s is not None and not one.settled.is_seen for one in found)
    if unseen:
        yield (
            f"After {_events(unseen)}, p95 never left the warm range: new instances did not slow the fleet, or took "
            "too little of the load to show. Their time counts as 0 s."
        )
    for one in found:
        if one.settled.why:
            yield f"{_at(one)}: not decided, {one.settled.why}."


def _at(one: ColdStart) -> str:
    return f"event at {one.event.at_s:.1f} s"


def _foot(goods: MeanTime | None, warms: MeanTime | None) -> tuple[str, ...]:
    longest = max((time.high_s for time in (goods, warms) if time is not None), default=None)
    if longest is None:
        return ()
    return (
        f"loadgen capacity scale --rate peak.csv --policy hpa.yaml --capacity 230/s --start {max(1, round(longest))}s",
    )


def _table(found: Sequence[ColdStart]) -> Table:
    rows = tuple(
        (
            f"{one.event.at_s:.1f} s",
            one.event.source or PLACEHOLDER,
            one.event.text if len(one.event.text) <= _TEXT_MOST else f"{one.event.text[:_TEXT_MOST]}…",
            _bounds(one.first_good),
            _bounds(one.settled.after_s),
            _ms(one.before_ms),
            _ms(one.settled.worst),
            _ms(one.warm_ms),
            f"{one.warm_requests:,}",
        )
        for one in found
    )
    head = ("at", "source", "event", "answer s", "warm s", "before ms", "worst ms", "warm ms", "requests")
    note = (
        "Answer: the first good answer of a new instance. Warm s: until p95 is warm again. Both are bounds after the "
        "event: its clock, the second of an answer, and the length of a window. Before, worst, warm ms: p95; requests: "
        "of the warm part."
    )
    return Table("Scaling events", head, rows, words=3, note=note)


def _bounds(bounds: Bounds | None) -> str:
    return PLACEHOLDER if bounds is None else f"{bounds[0]:.3g} to {bounds[1]:.3g}"


def _ms(value: float | None) -> str:
    return PLACEHOLDER if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _drawings(found: Sequence[ColdStart], seconds: Seconds, window_s: int) -> Iterator[Drawing]:
    p95 = seconds.rolling_p95_ms(window_s)
    step = -(-len(p95) // _DRAWN)
    points = [
        (float(second), float(part.max()))
        for second in range(0, len(p95), step)
        if len(part := p95[second : second + step][~np.isnan(p95[second : second + step])])
    ]
    marks: list[Mark] = [Line(f"p95 of {window_s} s, ms", points)]
    marks += [Rule("scaling event" if number == 0 else "", one.event.at_s, style=3) for number, one in enumerate(found)]
    marks += [
        Rule("warm again" if number == 0 else "", one.event.at_s + one.settled.after_s[1], style=4)
        for number, one in enumerate(one for one in found if one.settled.is_seen and one.settled.after_s)
        if one.settled.after_s is not None
    ]
    title = "p95 of the fleet around scaling events"
    warm = ", ".join(_ms(one.warm_ms) for one in found)
    yield Drawing(
        title,
        xy_chart(title, marks, x=Axis("s from the start of the load"), y=Axis("ms", low=0)),
        f"p95 by second with {_events(len(found))} of scaling; the warm level after each is {warm} ms.",
    )


def _facts(
    found: Sequence[ColdStart], goods: MeanTime | None, warms: MeanTime | None, window_s: int, tag: str
) -> dict[str, Any]:
    return {
        "events": [_row(one) for one in found],
        "first_good_answer": _mean_facts(goods),
        "p95_warm": _mean_facts(warms),
        "within": WITHIN,
        "hold_s": HOLD_S,
        "window_s": window_s,
        "instance_tag": tag or None,
        "p95_is_of": "the whole fleet",
    }


def _mean_facts(time: MeanTime | None) -> dict[str, Any] | None:
    if time is None:
        return None
    return {
        "count": time.count,
        "mean_s": time.mean_s,
        "low_s": time.low_s,
        "high_s": time.high_s,
        "interval": "clock and windows" if time.is_single else "95 %, Student",
    }


def _row(one: ColdStart) -> dict[str, str | float | int | bool | None]:
    good, warm = one.first_good, one.settled.after_s
    return {
        "at_s": one.event.at_s,
        "error_s": one.event.error_s,
        "source": one.event.source,
        "event": one.event.text,
        "marks": one.event.marks,
        "first_good_low_s": None if good is None else good[0],
        "first_good_high_s": None if good is None else good[1],
        "new_instances": one.new_instances,
        "p95_warm_low_s": None if warm is None else warm[0],
        "p95_warm_high_s": None if warm is None else warm[1],
        "left_the_warm_range": one.settled.is_seen,
        "p95_before_ms": one.before_ms,
        "p95_worst_ms": one.settled.worst,
        "p95_warm_ms": one.warm_ms,
        "warm_requests": one.warm_requests,
        "why_not": one.settled.why or None,
    }

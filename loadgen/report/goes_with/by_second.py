"""Makes the series of one objective by second from a run's deltas: share above the limit, p99, errors, and the load.

The share above the limit counts failed requests as above it. It is by due second if the objective has a window, because
agents count these by due time. Otherwise it is by the second in which the requests ended. Seconds without a request,
seconds of joined deltas and the warm-up are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.outcomes_by_due_interval import BAD, GOOD, DueTable
from loadgen.measure.deltas.series_key import LOAD_TAG, OK, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, Histogram, percentile, slot_of_us
from loadgen.measure.objectives.terms import is_judged
from loadgen.report.why_slow.choice import Chosen
from loadgen.units import NS_PER_US

__all__ = ["BySecond", "by_second"]

Floats = npt.NDArray[np.float64]
_PERCENTILE: Final = 99.0
_JOINED: Final = 1.5
"""A delta that is longer than this many intervals has no seconds."""
_MOST: Final = 400_000
"""Most intervals: 4 days of seconds."""


@dataclass(frozen=True, slots=True)
class BySecond:
    """Figures by interval from T0; shape (n,) each. above, errors: shares, NaN without requests. p99_ms: NaN without.

    is_fit: whether the generator was able to measure. due: due iterations per interval. is_by_due: whether `above` is
    by due second.
    """

    counts: Floats
    above: Floats
    errors: Floats
    p99_ms: Floats
    is_fit: npt.NDArray[np.bool_]
    due: Floats
    in_flight: Floats
    users: Floats
    is_by_due: bool


@dataclass(slots=True)
class _Interval:
    count: int = 0
    bad: int = 0
    errors: int = 0
    due: int = 0
    in_flight: int = 0
    users: int = 0
    is_fit: bool = True
    has_report: bool = False
    observed: Histogram = field(default_factory=Histogram)
    censored: Histogram = field(default_factory=Histogram)


def by_second(
    deltas: Iterable[tuple[str, Delta]], chosen: Chosen, interval_ns: int, *, objective: int | None = None
) -> BySecond:
    """Return the figures of the chosen requests.

    Args:
        deltas: (region, delta) in their order.
        objective: the index of a windowed objective in the plan, whose counts by due second are used.
    """
    limit = slot_of_us(chosen.limit_ns // NS_PER_US)
    found: dict[int, _Interval] = {}
    known: dict[tuple[str, int], list[SeriesKey]] = {}
    table = DueTable()
    for region, delta in deltas:
        keys = known.setdefault((delta.agent, delta.epoch), [])
        keys.extend(delta.new_series)
        first, length = divmod(delta.start_ns, interval_ns)[0], delta.end_ns - delta.start_ns
        if not 0 <= first < _MOST:
            continue
        one = found.setdefault(first, _Interval())
        one.has_report = True
        one.due += delta.counters.iterations_due
        one.in_flight += delta.health.in_flight
        one.users += delta.health.users
        one.is_fit &= not delta.health.unfit
        if length > _JOINED * interval_ns:
            for k in range(first, min(_MOST, first + round(length / interval_ns))):
                found.setdefault(k, _Interval()).is_fit = False
        if chosen.region in ("", region):
            _add(one, delta, keys, chosen, limit)
            if objective is not None:
                table.add(delta.agent, [row for row in delta.due if row.objective == objective and row.k < _MOST])
    n = max((k for k, one in found.items() if one.has_report), default=-1) + 1
    rows = [found.get(k, _Interval()) for k in range(n)]
    counts = np.array([one.count for one in rows], dtype=np.float64)
    bad = np.array([one.bad for one in rows], dtype=np.float64)
    due_good, due_bad = _by_due(table, objective, chosen, n)
    is_by_due = bool((due_good + due_bad).any())
    of = due_good + due_bad if is_by_due else counts
    return BySecond(
        counts=of,
        above=_share(due_bad if is_by_due else bad, of),
        errors=_share(np.array([one.errors for one in rows], dtype=np.float64), counts),
        p99_ms=np.array([_p99_ms(one) for one in rows]),
        is_fit=np.array([one.is_fit and one.has_report for one in rows], dtype=np.bool_),
        due=np.array([one.due for one in rows], dtype=np.float64),
        in_flight=np.array([one.in_flight for one in rows], dtype=np.float64),
        users=np.array([one.users for one in rows], dtype=np.float64),
        is_by_due=is_by_due,
    )


def _add(one: _Interval, delta: Delta, keys: list[SeriesKey], chosen: Chosen, limit: int) -> None:
    """Add the response times of the chosen series."""
    index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
    counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
    series, slots = np.divmod(index, SLOTS)
    for number in np.unique(series).tolist():
        key = keys[number]
        if not _covers(chosen, key):
            continue
        here = series == number
        total = int(counts[here].sum())
        one.count += total
        is_ok = key.outcome == OK
        one.errors += 0 if is_ok else total
        one.bad += int(counts[here & (slots > limit)].sum()) if is_ok else total
        (one.censored if key.censored else one.observed).add(slots[here], counts[here])


def _covers(chosen: Chosen, key: SeriesKey) -> bool:
    kind = "request" if chosen.request else "step" if chosen.step else "journey"
    return (
        key.metric == "response"
        and key.kind == kind
        and not key.warmup
        and is_judged(key.outcome)
        and chosen.journey in ("", key.journey)
        and chosen.step in ("", key.step)
        and chosen.request in ("", key.request)
        and (not chosen.load or (LOAD_TAG, chosen.load) in key.tags)
        and all(tag.matches(key.tags) for tag in chosen.tags)
    )


def _by_due(table: DueTable, objective: int | None, chosen: Chosen, n: int) -> tuple[Floats, Floats]:
    good, bad = np.zeros(n), np.zeros(n)
    if objective is not None:
        for journey in table.journeys(objective):
            if chosen.journey in ("", journey) or not journey:
                counts = table.counts(objective, journey, 0, n)
                good, bad = good + counts[GOOD], bad + counts[BAD]
    return good, bad


def _share(part: Floats, of: Floats) -> Floats:
    shares = np.full(len(of), np.nan)
    shares[of > 0] = part[of > 0] / of[of > 0]
    return shares


def _p99_ms(one: _Interval) -> float:
    value = percentile(one.observed, one.censored, _PERCENTILE)
    return float("nan") if value is None or value.ms <= 0 else value.ms

"""Judges objectives on any metric over sliding windows: means, extremes, counts, custom metrics, single outcomes.

The agents count for each objective and interval (`engine/recording/slo_windows.py`). Windows of iterations, steps and
requests are by due time, windows of custom metrics by the time of recording, and each text names which. `good` and
`bad` of a row mean:

    share (percentile, ratio)   within the objective, or not
    maximum, minimum            within the limit, or not; `bounds` of the good ones may be beyond it
    mean                        `good` values with the sum `total`, of which `bounds` are lower bounds
    throughput, total           what ended; of tokens and custom counters: the sum in `good`
    goodput                     `total` of the bad ones are iterations that were missed or cut off

An event that still runs is undecided: it may end in any way, so it can save a window, and not break one. A stream that
still runs may have any number of tokens, so it counts as `_TOKENS_TO_COME` undecided ones for objectives on tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.outcomes_by_due_interval import BAD, BOUNDS, GOOD, OVERDUE, TOTAL, UNDECIDED, DueTable
from loadgen.measure.objectives.sliding import slide, slide_each
from loadgen.measure.objectives.terms import Objective, SloResult, SloVerdict, exact
from loadgen.measure.objectives.words import events_text, number_text, plain_number, span_text, value_text
from loadgen.units import NS_PER_S, NS_PER_US, format_count, format_duration, format_ratio

__all__ = ["Stretch", "evaluate_windows", "has_requests", "oriented"]

Ints = npt.NDArray[np.int64]
_NO_DATA: Final = "there are no data for it"
_TOKENS_TO_COME: Final = 1_000_000
"""More tokens than the rest of an answer has: with fewer, a window could break before its long answers have ended."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The judged intervals of a run, and how much of it is known.

    first, end: numbers of the intervals [first, end). width: length of a window in intervals. missing: share of each
    interval's load that was not reported; None: nothing is missing.
    """

    first: int
    end: int
    width: int
    interval_ns: int
    missing: npt.NDArray[np.float64] | None
    is_complete: bool
    is_over: bool

    @property
    def length_ns(self) -> int:
        return self.width * self.interval_ns


@dataclass(frozen=True, slots=True)
class _Windows:
    """The verdicts of all full windows, and figures of the worst one.

    `is_met[i]`, `is_broken[i]`: neither is true if the window is not decided.
    """

    is_met: npt.NDArray[np.bool_]
    is_broken: npt.NDArray[np.bool_]
    is_judged: npt.NDArray[np.bool_]
    worst: int
    """The worst window; -1: none is judged."""
    count: int
    good: int
    observed: float | str | None
    bounds: int = 0


def oriented(counts: Ints, objective: Objective) -> Ints:
    """Return rows of GOOD, BAD, OVERDUE and UNDECIDED as the objective means them; agents count for upper limits.

    Those of checks, rates and goodput are as they mean them.
    """
    if objective.is_upper or not objective.is_share or objective.of or objective.kind == "goodput":
        return counts
    turned = counts.copy()
    turned[GOOD] = counts[BAD] + counts[OVERDUE]
    turned[BAD], turned[OVERDUE] = counts[GOOD], 0
    return turned


def evaluate_windows(
    objective: Objective, index: int, due: DueTable, journey: str | None, stretch: Stretch
) -> SloResult:
    """Return the result of one objective over all full windows, for one journey (None: all of them together)."""
    names = due.journeys(index) if objective.of and journey is None else [journey or ""]
    rows = sum((due.sums(index, name, stretch.first, stretch.end) for name in names), _no_rows(stretch))
    if objective.has_many_values:
        rows[UNDECIDED] *= _TOKENS_TO_COME
    if objective.kind == "goodput" and not has_requests(index, due, journey):
        rows[:] = 0
    full = rows.shape[1] - stretch.width + 1
    found = _judged(objective, rows, stretch) if full > 0 and rows.any() else None
    verdict, reason = _verdict(objective, found, full, stretch)
    unit, limit = _unit(objective), _limit(objective)
    share = objective.is_share
    is_time = unit == "ms" and not objective.of_kind
    return SloResult(
        objective=objective.text,
        journey=journey,
        observed=found.observed if found else None,
        unit="ratio" if share or objective.kind in ("maximum", "minimum") else unit,
        count=found.count if found else 0,
        good=found.good if found else 0,
        verdict=verdict,
        step=objective.step,
        request=objective.request,
        region=objective.region,
        budget=_used(objective, found) if share and found else None,
        allowed=float(objective.budget.allowed) if share else 0.0,
        limit_ms=limit if is_time else None,
        window_s=stretch.length_ns / NS_PER_S,
        windows=int(found.is_judged.sum()) if found else 0,
        windows_failed=int(found.is_broken.sum()) if found else 0,
        worst_window_s=_start_s(found, stretch),
        reason=reason,
        detail=_detail(objective, found, stretch) if found and found.worst >= 0 else reason or _NO_DATA,
        limit=limit,
        bounds=found.bounds if found else 0,
    )


def has_requests(index: int, due: DueTable, journey: str | None) -> bool:
    """Return whether a journey has asked models, so that its lost iterations belong to a goodput. index: of this one.

    Agents count lost iterations of all journeys, because an agent whose iterations were all missed cannot see which of
    them ask models.
    """
    sums = due.sums(index, journey or "", 0, due.end(index))
    return int(sums[:TOTAL].sum()) > int(sums[TOTAL].sum())


def _no_rows(stretch: Stretch) -> Ints:
    return np.zeros((6, max(0, stretch.end - stretch.first)), dtype=np.int64)


def _start_s(found: _Windows | None, stretch: Stretch) -> float | None:
    if found is None or found.worst < 0:
        return None
    return (stretch.first + found.worst) * stretch.interval_ns / NS_PER_S


def _used(objective: Objective, found: _Windows) -> float | None:
    budget = objective.budget
    if found.worst < 0:
        return None
    used = budget.used(found.count - found.good, max(found.count, budget.least))
    return None if used is None else round(used, 4)


def _unit(objective: Objective) -> str:
    if objective.kind in ("ratio", "error_ratio", "goodput"):
        return "ratio"
    if objective.kind == "throughput":
        return "/s"
    if objective.of_kind:
        return objective.unit
    return objective.of.replace("_", " ") or objective.unit_of_values


def _limit(objective: Objective) -> float:
    is_of_values = objective.kind in ("percentile", "mean", "maximum", "minimum") and not objective.of_kind
    return objective.limit / objective.unit_ns if is_of_values else objective.limit


def _verdict(objective: Objective, found: _Windows | None, full: int, stretch: Stretch) -> tuple[SloVerdict, str]:
    length = format_duration(stretch.length_ns)
    if found is not None and found.is_broken.any():
        return "failed", ""
    if full <= 0:
        if stretch.is_over:
            return "inconclusive", f"the run ended before the first window of {length} was full"
        return "inconclusive", f"the first window of {length} is not full yet"
    if found is None:
        return "inconclusive", _NO_DATA
    if not found.is_judged.any():
        least = format_count(objective.budget.least)
        return "inconclusive", f"too few samples: a window of {length} needs {least}"
    if not stretch.is_complete and not _is_surely_met(objective):
        return "inconclusive", "data are missing"
    undecided = found.is_judged & ~found.is_met
    if undecided.any():
        if not stretch.is_complete:
            return "inconclusive", "data are missing"
        if found.bounds:
            return "inconclusive", "time-outs are only lower bounds"
        return "inconclusive", "some events of its windows have not ended"
    return "passed", ""


def _is_surely_met(objective: Objective) -> bool:
    """Return whether missing data cannot break a window that is met: those could only add to a sum."""
    return objective.kind in ("throughput", "total") and not objective.is_upper


# -- each kind -----------------------------------------------------------------------------------


def _judged(objective: Objective, rows: Ints, stretch: Stretch) -> _Windows:
    if objective.kind in ("throughput", "total"):
        return _sums(objective, rows, stretch)
    if objective.kind == "mean":
        return _means(objective, rows, stretch)
    return _shares(objective, rows, stretch)


def _shares(objective: Objective, rows: Ints, stretch: Stretch) -> _Windows:
    """Judge percentiles, ratios, and extremes: of an extreme no value may be beyond the limit."""
    counts = oriented(rows[:TOTAL], objective)
    budget = objective.budget
    found = slide(counts, stretch.width, budget, stretch.missing)
    is_judged, is_broken = slide_each(counts, stretch.width, budget, stretch.missing)
    bounds = _slid(rows[BOUNDS], stretch.width)
    count = found.count
    if objective.has_many_values and found.first >= 0:
        count -= int(_slid(rows[UNDECIDED], stretch.width)[found.first])  # they only stand for tokens to come
    return _Windows(
        is_judged & ~is_broken & (bounds == 0),
        is_broken,
        is_judged,
        found.first,
        count,
        found.good,
        round(found.bad / count, 4) if count else None,
        int(bounds.max(initial=0)),
    )


def _means(objective: Objective, rows: Ints, stretch: Stretch) -> _Windows:
    n, total = _slid(rows[GOOD], stretch.width), _slid(rows[TOTAL], stretch.width)
    bounds, undecided = _slid(rows[BOUNDS], stretch.width), _slid(rows[UNDECIDED] + rows[OVERDUE], stretch.width)
    lost = _lost(n, stretch)
    # Of a trend, a µs is a step of its resolution. All other limits are in ns.
    scale = exact(objective.resolution) if objective.of_kind else Fraction(NS_PER_US)
    is_judged = n > 0
    is_known = (bounds == 0) & (undecided == 0) & (lost == 0)
    # Events that still run, or were not reported, may have taken no time at all.
    meets_least = _meets(objective, total, n + undecided + lost, scale)
    if objective.is_upper:
        is_broken, is_met = ~meets_least, is_known & meets_least
    else:
        is_broken, is_met = is_known & ~meets_least, meets_least
    means = total / np.maximum(n, 1)
    order = np.where(is_judged, means if objective.is_upper else -means, -np.inf)
    worst = int(np.argmax(order)) if is_judged.any() else -1
    shown: float | str | None = None
    if worst >= 0:
        value = float(means[worst]) * float(scale / (1 if objective.of_kind else objective.unit_ns))
        text = plain_number(value) if objective.of_kind else number_text(value)
        shown = f"> {text}" if bounds[worst] else round(value, 6)
    count = int(n[worst]) if worst >= 0 else 0
    return _Windows(
        is_met & is_judged, is_broken & is_judged, is_judged, worst, count, count, shown, int(bounds.max(initial=0))
    )


def _sums(objective: Objective, rows: Ints, stretch: Stretch) -> _Windows:
    """Judge counts. An empty window is judged, too: nothing came in it."""
    sums = _slid(rows[GOOD] + rows[BAD], stretch.width)
    undecided = _slid(rows[UNDECIDED] + rows[OVERDUE], stretch.width)
    per = Fraction(stretch.length_ns, NS_PER_S) if objective.kind == "throughput" else Fraction(1)
    one = np.ones(len(sums), dtype=np.int64)
    is_met = _meets(objective, sums, one, 1 / per)
    could_be = _meets(objective, sums + undecided + _lost(sums, stretch), one, 1 / per)
    if objective.is_upper:
        is_broken, is_met = ~is_met, is_met & could_be
    else:
        is_broken = ~could_be
    worst = int(np.argmax(sums) if objective.is_upper else np.argmin(sums))
    count = int(sums[worst])
    value = round(float(count / per), 6)
    return _Windows(is_met, is_broken, np.ones(len(sums), dtype=np.bool_), worst, count, count, value)


def _meets(objective: Objective, total: Ints, n: Ints, scale: Fraction) -> npt.NDArray[np.bool_]:
    """Return for each window whether `total` / `n` * `scale` is on the right side of the limit.

    Compared exactly: as floats, and once more as fractions where the float is too near to the limit.
    """
    limit = exact(objective.limit) / scale
    values = total / np.maximum(n, 1)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[objective.operator]
    found: npt.NDArray[np.bool_] = compare(values, float(limit))
    for at in np.flatnonzero(np.abs(values - float(limit)) <= 1e-9 * abs(float(limit))).tolist():
        found[at] = objective.meets(Fraction(int(total[at]), max(1, int(n[at]))) * scale)
    return found


def _slid(row: Ints, width: int) -> Ints:
    """Return the sums of all `width` consecutive elements: shape (n - width + 1,)."""
    total = np.concatenate(([0], np.cumsum(row)))
    found: Ints = total[width:] - total[:-width]
    return found


def _lost(reported: Ints, stretch: Stretch) -> Ints:
    """Return how many events of each window were not reported, estimated from those that were."""
    if stretch.missing is None:
        return np.zeros(len(reported), dtype=np.int64)
    total = np.concatenate(([0.0], np.cumsum(stretch.missing)))
    share = np.clip((total[stretch.width :] - total[: -stretch.width]) / stretch.width, 0.0, 1.0)
    share[share < 1e-12] = 0.0
    found = np.ceil(np.maximum(reported, share > 0) * share / np.maximum(1.0 - share, 1e-12))
    return np.minimum(found, 1 << 40).astype(np.int64)


# -- words ---------------------------------------------------------------------------------------


def _detail(objective: Objective, found: _Windows, stretch: Stretch) -> str:
    start_s = _start_s(found, stretch) or 0.0
    by = "recording" if objective.of_kind else "due"
    text = f"worst window {span_text(start_s, stretch.length_ns / NS_PER_S)} by {by} time: {_worst(objective, found)}"
    broken, judged = int(found.is_broken.sum()), int(found.is_judged.sum())
    if broken:
        text += f"; {format_count(broken)} of {format_count(judged)} windows broke it"
    return text


def _worst(objective: Objective, found: _Windows) -> str:
    bad = found.count - found.good
    events = f"{format_count(found.count)} values" if objective.of_kind else events_text(objective, found.count, None)
    if objective.is_share:
        needs = format_ratio(1 - float(objective.budget.allowed))
        more = "more than " if objective.budget.is_strict else ""
        return f"{format_ratio(found.good / max(1, found.count))} of {events} were good (needs {more}{needs})"
    if objective.kind in ("maximum", "minimum"):
        unit = _unit(objective)
        side = "at or above" if objective.is_upper else "at or below"
        return f"{format_count(bad)} of {events} {side} {value_text(_limit(objective), unit)}"
    shown = value_text(found.observed if found.observed is not None else "", _unit(objective))
    return f"mean {shown} of {events}" if objective.kind == "mean" else shown

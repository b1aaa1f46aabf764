"""Objectives and their evaluation: over a whole run, or over each sliding window of it.

`p(q) < T`: at least q % of the due iterations or requests ended `ok` within T. Those that failed,
timed out, were missed or cut off are bad, however fast they failed. `error_ratio() < r`: the share
of bad ones is below r. Each journey is judged by itself, never a pool of unlike things. Faults of
the script (`script ...`) and skipped iterations count as neither good nor bad: they do not depend on
the target, and many faults stop the run. Objectives on other metrics, on counts and on custom metrics
are judged in `whole_run_values.py` and `windowed_values.py`.

Over the whole run, T is compared by the histogram's slot that holds it, so within 0.1 %. In windows
the agents compare T exactly. For an interval without an agent's data, the agent's part counts as missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from loadgen.measure.deltas.series_key import OK, Kind
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured
from loadgen.measure.objectives.sliding import Budget, Sliding, slide
from loadgen.measure.objectives.terms import (
    SCRIPT,
    Gap,
    Objective,
    SloResult,
    SloVerdict,
    TagSelector,
    exact,
    is_judged,
)
from loadgen.measure.objectives.whole_run_values import Missing, each_check, evaluate_value, groups, own_limits_text
from loadgen.measure.objectives.windowed_values import Stretch, evaluate_windows, has_requests
from loadgen.measure.objectives.words import describe, number_text, span_text, time_text, unsure_text
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_count, format_duration

__all__ = [
    "SCRIPT",
    "Gap",
    "Objective",
    "SloResult",
    "SloVerdict",
    "TagSelector",
    "describe",
    "evaluate",
    "evaluate_all",
    "is_judged",
    "number_text",
    "span_text",
    "time_text",
    "unsure_text",
]


def evaluate_all(
    objectives: Sequence[Objective],
    merge: Measured,
    complete: bool = True,
    missing_share: float = 0.0,
    journeys: Sequence[str] = (),
    *,
    from_ns: int = 0,
    end_ns: int | None = None,
    gaps: Sequence[Gap] = (),
    is_over: bool = True,
) -> tuple[SloResult, ...]:
    """Evaluate all objectives of a plan, and return their results in the order of the plan; see `evaluate`."""
    return tuple(
        result
        for index, objective in enumerate(objectives)
        for result in evaluate(
            objective,
            merge,
            complete,
            missing_share,
            journeys,
            index=index,
            from_ns=from_ns,
            end_ns=end_ns,
            gaps=gaps,
            is_over=is_over,
        )
    )


def evaluate(
    objective: Objective,
    merge: Measured,
    complete: bool = True,
    missing_share: float = 0.0,
    journeys: Sequence[str] = (),
    *,
    index: int | None = None,
    from_ns: int = 0,
    end_ns: int | None = None,
    gaps: Sequence[Gap] = (),
    is_over: bool = True,
) -> tuple[SloResult, ...]:
    """Evaluate one objective, and return one result for each journey that it covers.

    Without data the verdict is inconclusive, never passed. If the run is incomplete, the verdict is failed only if the
    missing part, counted as good, could not have saved the objective; otherwise it is inconclusive. A window that is
    broken while the run goes on stays broken, except if overdue iterations end as skipped or as a fault of the script.

    Cost: 0.17 ms for a journey, over the run and over windows after an hour; 11 ms over windows after a day (timeit,
    least of 7, intervals of 1 s).

    Args:
        merge: the whole run, or one interval of it (only for objectives over the whole run).
        complete: whether all measurements of the run have arrived.
        missing_share: share of the planned load that was not measured, 0 to 1.
        journeys: those of the plan, so that a journey without any data gets a result too.
        index: position of the objective in the plan's `slos`; needed if it has a window.
        from_ns: end of the warm-up: windows begin with the first interval that is wholly after it.
        end_ns: end of the judged time: the end of the load, or in a running run the end of the newest interval that all
            agents reported. None: the end of the last interval with due counts.
        gaps: times without reports, if the run is incomplete.
        is_over: False while the run goes on; it only changes the reason's words.

    Raises:
        ValueError: the objective has windows, and its index is missing or `merge` is a single interval.
    """
    kind = objective.kind_of_series
    if objective.window_ns and (index is None or not isinstance(merge, Merge)):
        raise ValueError(f"objective {objective.text} has windows: pass the merge of the whole run, and its index")
    if not objective.is_plain:
        return _evaluate_values(
            objective, merge, complete, missing_share, journeys, index, from_ns, end_ns, gaps, is_over=is_over
        )
    if objective.window_ns:
        assert index is not None
        assert isinstance(merge, Merge)
        windows = _Windows(objective, index, merge, from_ns, end_ns, gaps, complete, is_over)
        return tuple(map(windows.result, objective.judged_journeys(journeys, merge.due.journeys(index))))
    region = objective.region or ALL
    found = [
        row.journey
        for row in merge.rows(kind, region)
        if objective.step in (None, row.step) and objective.request in (None, row.request)
    ]
    return tuple(
        _evaluate(objective, kind, journey, merge, complete, missing_share)
        for journey in objective.judged_journeys(journeys, found)
    )


def _evaluate_values(
    objective: Objective,
    merge: Measured,
    complete: bool,
    missing_share: float,
    journeys: Sequence[str],
    index: int | None,
    from_ns: int,
    end_ns: int | None,
    gaps: Sequence[Gap],
    *,
    is_over: bool,
) -> tuple[SloResult, ...]:
    """Evaluate an objective that is not plain: on another metric, a count, a custom metric, tags, or one load."""
    from_ns = max(from_ns, objective.begin_ns)
    if objective.end_ns is not None:
        end_ns = objective.end_ns if end_ns is None else min(end_ns, objective.end_ns)
    if objective.window_ns:
        assert isinstance(merge, Merge)
        assert index is not None
        length_ns = merge.interval_ns
        first = max(0, -(-from_ns // length_ns))
        # An interval in which the load ended is no full one: a count in it would be too small.
        is_count = objective.kind in ("throughput", "total")
        if end_ns is None:
            end = merge.due.end(index) - is_count
        else:
            end = max(first, end_ns // length_ns if is_count else -(-end_ns // length_ns))
        stretch = Stretch(
            first,
            end,
            objective.window_intervals(length_ns),
            length_ns,
            _missing_in(gaps, objective.region, first, end, length_ns),
            complete,
            is_over,
        )
        found = merge.due.journeys(index)
        if objective.kind == "goodput":
            found = [name for name in found if has_requests(index, merge.due, name)]
        names = objective.judged_journeys(journeys, found)
        results = tuple(evaluate_windows(objective, index, merge.due, name, stretch) for name in names)
        if objective.kind != "goodput":
            return results
        texts = [own_limits_text(objective, merge, name, "in the whole run, ") for name in names]
        return tuple(replace(one, detail=one.detail + text) for one, text in zip(results, texts, strict=True))
    span_ns = _span(merge, from_ns, end_ns)
    known = 0 <= missing_share < 1
    missing = Missing() if complete else Missing(Fraction(missing_share) if known and missing_share else None)
    parts = each_check(objective, merge) if isinstance(merge, Merge) else [objective]
    return tuple(
        evaluate_value(one, merge, journey, missing, span_ns, is_over=is_over)
        for one in parts
        for journey in groups(one, merge, journeys)
    )


def _span(merge: Measured, from_ns: int, end_ns: int | None) -> tuple[int, int] | None:
    """Return begin and end of the measured time, ns from T0. Without a known end it is that of the last delta."""
    if end_ns is None and isinstance(merge, Merge):
        stops = [stop_ns for agent in merge.agents() for epoch in merge.epochs(agent) for _, stop_ns in epoch.spans]
        end_ns = max(stops, default=None)
    return None if end_ns is None else (from_ns, end_ns)


# -- over the whole run ------------------------------------------------------------------------


def _evaluate(
    objective: Objective,
    kind: Kind,
    journey: str | None,
    merge: Measured,
    complete: bool,
    missing_share: float,
) -> SloResult:
    region = objective.region or ALL
    outcomes = merge.outcomes(kind, journey, objective.step, objective.request, region)
    count = sum(n for outcome, n in outcomes.items() if is_judged(outcome))
    observed: float | str | None
    margin: float | None = None
    if objective.kind == "error_ratio":
        good = outcomes.get(OK, 0)
        observed = (count - good) / count if count else None
    else:
        # An ok value above 1 h is censored at 1 h, so it is not selected here: it is later than any T.
        ok, _ = merge.select(kind, journey, objective.step, objective.request, outcome=OK, region=region)
        good = ok.count_at_most_us(_limit_us(objective))
        observed = _observed_ms(objective, ok, count)
    if isinstance(observed, float) and objective.limit > 0:
        limit = objective.limit / NS_PER_MS if objective.kind == "percentile" else objective.limit
        margin = round((limit - observed) / limit, 4)
    verdict = _verdict(objective.budget, count - good, count, complete, missing_share)
    return SloResult(
        objective=objective.text,
        journey=journey,
        observed=observed,
        unit="ratio" if objective.kind == "error_ratio" else "ms",
        count=count,
        good=good,
        verdict=verdict,
        step=objective.step,
        request=objective.request,
        region=objective.region,
        margin=margin,
        budget=_rounded(objective.budget.used(count - good, count)) if count else None,
        allowed=float(objective.budget.allowed),
        limit_ms=_limit_ms(objective),
        reason=("data are missing" if count else "there are no data for it") if verdict == "inconclusive" else "",
    )


def _verdict(budget: Budget, bad: int, count: int, complete: bool, missing_share: float) -> SloVerdict:
    if not count:
        return "inconclusive"
    if complete:
        return "passed" if budget.is_kept(bad, count) else "failed"
    if not 0 <= missing_share < 1:
        return "inconclusive"
    share = Fraction(missing_share)
    return "inconclusive" if budget.is_kept(bad, count + count * share / (1 - share)) else "failed"


def _observed_ms(objective: Objective, ok: Histogram, count: int) -> float | str | None:
    """Return the objective's percentile in ms: the shortest time within which q % of all due events ended ok.

    If fewer ended ok, return a lower bound as text, such as "> 300.0". None if nothing was due.

    ok: response times of events that ended ok. count: number of all due events (iterations or requests).
    """
    if not count:
        return None
    limit_us = _limit_us(objective)
    exact_rank = exact(objective.q) * count / 100
    rank = max(1, -(-exact_rank.numerator // exact_rank.denominator))
    if rank > ok.total:
        worst_us = ok.percentile_us(100) if ok.total else 0
        return f"> {number_text(max(worst_us, limit_us) / 1_000)}"
    us = ok.value_at_rank_us(rank)
    if us > limit_us and ok.count_at_most_us(limit_us) >= rank:
        us = limit_us  # both are in one slot: the histogram cannot distinguish them, and the objective is met
    return us / 1_000


def _limit_us(objective: Objective) -> int:
    return int(objective.limit // NS_PER_US)


def _limit_ms(objective: Objective) -> float | None:
    return objective.limit / NS_PER_MS if objective.kind == "percentile" else None


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


# -- over sliding windows ----------------------------------------------------------------------


class _Windows:
    """The evaluation of one objective over the windows of a run, for any journey."""

    def __init__(
        self,
        objective: Objective,
        index: int,
        merge: Merge,
        from_ns: int,
        end_ns: int | None,
        gaps: Sequence[Gap],
        complete: bool,
        is_over: bool,
    ) -> None:
        self._objective, self._index, self._due = objective, index, merge.due
        self._complete, self._is_over = complete, is_over
        self._length_ns = length_ns = merge.interval_ns
        self._width = objective.window_intervals(length_ns)
        self._first = max(0, -(-from_ns // length_ns))
        self._end = merge.due.end(index) if end_ns is None else -(-end_ns // length_ns)
        self._missing = _missing_in(gaps, objective.region, self._first, self._end, length_ns)

    def result(self, journey: str | None) -> SloResult:
        """Return the objective's result for one journey; None for an objective that is not limited to journeys."""
        objective, seconds = self._objective, self._length_ns / NS_PER_S
        counts = self._due.counts(self._index, journey or "", self._first, self._end)
        found = slide(counts, self._width, objective.budget, self._missing)
        share = found.bad / found.count if found.count else None
        verdict, reason = self._verdict(found)
        return SloResult(
            objective=objective.text,
            journey=journey,
            observed=_rounded(share),
            unit="ratio",
            count=found.count,
            good=found.good,
            verdict=verdict,
            step=objective.step,
            request=objective.request,
            region=objective.region,
            margin=None if found.first < 0 or found.budget is None else round(1 - found.budget, 4),
            budget=_rounded(found.budget),
            allowed=float(objective.budget.allowed),
            limit_ms=_limit_ms(objective),
            window_s=self._width * seconds,
            windows=found.judged,
            windows_failed=found.broken,
            worst_window_s=None if found.first < 0 else (self._first + found.first) * seconds,
            reason=reason,
        )

    def _verdict(self, found: Sliding) -> tuple[SloVerdict, str]:
        if found.broken:
            return "failed", ""
        length = format_duration(self._width * self._length_ns)
        if not found.full:
            if self._is_over:
                return "inconclusive", f"the run ended before the first window of {length} was full"
            return "inconclusive", f"the first window of {length} is not full yet"
        if not found.most:
            return "inconclusive", "there are no data for it"
        if not found.judged:
            least, most = format_count(self._objective.budget.least), format_count(found.most)
            return "inconclusive", f"too few samples: a window of {length} needs {least}, the fullest has {most}"
        return ("passed", "") if self._complete else ("inconclusive", "data are missing")


def _missing_in(
    gaps: Sequence[Gap], region: str | None, first: int, end: int, length_ns: int
) -> npt.NDArray[np.float64] | None:
    """Return for each interval of [first, end) the share of its load (0 to 1) that was not reported.

    None: there are no gaps in the region, or no interval. length_ns: of an interval.
    """
    gaps = [gap for gap in gaps if region in (None, gap.region)]
    if not gaps or end <= first:
        return None
    edges = np.arange(first, end + 1) * length_ns
    missing = np.zeros(end - first)
    for gap in gaps:
        share = gap.share if region is None else gap.region_share
        within = np.clip(edges, gap.start_ns, gap.end_ns)
        missing += (within[1:] - within[:-1]) * (share / length_ns)
    return missing

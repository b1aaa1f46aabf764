"""Objectives and their evaluation: over a whole run, or over each sliding window of it.

`p(q) < T`: at least q % of the due iterations or requests ended `ok` within T. Those that failed,
timed out, were missed or cut off are bad, however fast they failed. `error_ratio() < r`: the share
of bad ones is below r. Each journey is judged by itself, never a pool of unlike things. Faults of
the script (`script ...`) and skipped iterations count as neither good nor bad: they do not depend on
the target, and many faults stop the run.

Over the whole run, T is compared by the histogram's slot that holds it, so within 0.1 %. In windows
the agents compare T exactly. For an interval without an agent's data, the agent's part counts as missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.series_key import OK, SKIPPED, Kind
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured
from loadgen.measure.objectives.sliding import Budget, Sliding, slide
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_count, format_duration, format_ratio

__all__ = [
    "SCRIPT",
    "Gap",
    "Objective",
    "SloResult",
    "SloVerdict",
    "describe",
    "evaluate",
    "evaluate_all",
    "is_judged",
    "number_text",
    "span_text",
    "time_text",
    "unsure_text",
]

SloVerdict = Literal["passed", "failed", "inconclusive"]

SCRIPT: Final = "script "
"""Outcomes with this prefix are faults of the scenario."""


def is_judged(outcome: str) -> bool:
    """Return whether objectives count this outcome as good or bad.

    False for skipped iterations and for faults of the scenario's code.
    """
    return outcome != SKIPPED and not outcome.startswith(SCRIPT)


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `slos=[...]`, as a value. `dsl/plans/slo.py` builds it, and the manifest holds it as JSON."""

    kind: Literal["percentile", "error_ratio"]
    text: str
    """As the author of the plan wrote it: "p(95) < 300ms"."""
    limit: float
    """ns, or a ratio from 0 to 1."""
    q: float = 0.0
    """Percent; 0 for a ratio."""
    journey: str | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    """None: over all regions together."""
    load: str | None = None
    """Only this load of the plan."""
    window_ns: int = 0
    """Length of the sliding windows; 0: the objective covers the whole run."""
    abort: bool = False
    """True: the first window that breaks the objective stops the run."""

    @property
    def kind_of_series(self) -> Kind:
        """Return "request", "step" or "journey": the kind of series that the objective judges."""
        return "request" if self.request else "step" if self.step else "journey"

    @property
    def budget(self) -> Budget:
        """Return the error budget (the share of events that may be bad) that follows from limit or percentile."""
        if self.kind == "error_ratio":
            return Budget(_exact(self.limit), is_strict=True)
        return Budget(1 - _exact(self.q) / 100, is_strict=False)


class SloResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one objective for one journey."""

    objective: str
    journey: str | None
    observed: float | str | None
    """Over the whole run: the percentile in ms over all due iterations or requests, or the ratio; "> 300.0" if the
    percentile falls among the bad. Over windows: the share of the bad in the worst window, for percentiles too.
    """
    unit: Literal["ms", "ratio"]
    count: int
    """All due iterations or requests, good and bad: in the run, or in the worst window."""
    good: int
    verdict: SloVerdict
    low: float | None = None
    """The ends of the confidence interval, if one is known."""
    high: float | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    margin: float | None = None
    """(limit - observed) / limit: negative if the objective is broken; None if observed is not a number."""
    budget: float | None = None
    """Used share of the error budget, of the run or of the worst window; above 1 the objective is broken."""
    allowed: float = 0.0
    """The error budget: the share of due iterations or requests that may be bad."""
    limit_ms: float | None = None
    """The time limit for a good one; None for an error ratio."""
    window_s: float | None = None
    """Length of the windows; None: the objective covers the whole run."""
    windows: int = 0
    """Full windows that have enough events to be judged, or are broken."""
    windows_failed: int = 0
    worst_window_s: float | None = None
    """Start of the worst window, from T0."""
    reason: str = ""
    """Why the verdict is inconclusive; empty otherwise."""
    bad_share_low: float | None = None
    """The ends of the 95 % interval of the share of bad events, 0 to 1; of the worst window, if there are windows.
    None: unknown, as while the run goes on.
    """
    bad_share_high: float | None = None
    sure: bool | None = None
    """Whether that interval lies wholly on the verdict's side of `allowed`; None: unknown. False if inconclusive."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time [start_ns, end_ns) from T0 of which an agent reported nothing."""

    start_ns: int
    end_ns: int
    region: str
    share: float
    """The agent's share of the whole load: 0 to 1."""
    region_share: float
    """The agent's share of its region's load."""


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
    if objective.window_ns:
        if index is None or not isinstance(merge, Merge):
            raise ValueError(f"objective {objective.text} has windows: pass the merge of the whole run, and its index")
        windows = _Windows(objective, index, merge, from_ns, end_ns, gaps, complete, is_over)
        return tuple(map(windows.result, _wanted(objective, journeys, merge.due.journeys(index))))
    region = objective.region or ALL
    found = [
        row.journey
        for row in merge.rows(kind, region)
        if objective.step in (None, row.step) and objective.request in (None, row.request)
    ]
    return tuple(
        _evaluate(objective, kind, journey, merge, complete, missing_share)
        for journey in _wanted(objective, journeys, found)
    )


def _wanted(objective: Objective, planned: Sequence[str], found: Sequence[str]) -> list[str | None]:
    if objective.journey is not None:
        return [objective.journey]
    names = (*(planned if objective.kind_of_series == "journey" else ()), *found)
    return list(dict.fromkeys(names)) or [None]


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
    exact_rank = _exact(objective.q) * count / 100
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


def _exact(number: float) -> Fraction:
    # By way of the text, so that 99.9 is exactly 999/10 and not the nearest float.
    return Fraction(repr(float(number)))


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
        self._width = max(1, -(-objective.window_ns // length_ns))
        self._first = max(0, -(-from_ns // length_ns))
        self._end = merge.due.end(index) if end_ns is None else -(-end_ns // length_ns)
        self._missing = self._missing_in(gaps)

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

    def _missing_in(self, gaps: Sequence[Gap]) -> npt.NDArray[np.float64] | None:
        """Return for each judged interval the share of its load (0 to 1) that was not reported.

        None: there are no gaps in the objective's region, or no judged interval.
        """
        region, length_ns = self._objective.region, self._length_ns
        gaps = [gap for gap in gaps if region in (None, gap.region)]
        if not gaps or self._end <= self._first:
            return None
        edges = np.arange(self._first, self._end + 1) * length_ns
        missing = np.zeros(self._end - self._first)
        for gap in gaps:
            share = gap.share if region is None else gap.region_share
            within = np.clip(edges, gap.start_ns, gap.end_ns)
            missing += (within[1:] - within[:-1]) * (share / length_ns)
        return missing


# -- in words ----------------------------------------------------------------------------------


def describe(result: SloResult) -> str:
    """Return a result as the end of a sentence for reports, such as "observed 212.0 ms of 1,200 that were due".

    For an inconclusive result it is the reason.
    """
    if result.verdict == "inconclusive":
        return result.reason
    if result.window_s is None:
        return f"observed {_observed_text(result)} of {format_count(result.count)} that were due"
    if result.worst_window_s is None:
        return "no window has events"
    where = f"worst window {span_text(result.worst_window_s, result.window_s)}"
    bad = result.count - result.good
    if result.limit_ms is None:
        text = f"{where}: {format_ratio(bad / result.count)} of {format_count(result.count)} went wrong"
        text += f" (allowed: below {_percent(result.allowed)})"
    else:
        share, limit = format_ratio(result.good / result.count), format_duration(result.limit_ms * NS_PER_MS)
        text = f"{where}: {share} of {format_count(result.count)} ended ok within {limit}"
        text += f" (needs {_percent(1 - result.allowed)})"
    if result.windows_failed:
        text += f"; {format_count(result.windows_failed)} of {format_count(result.windows)} windows broke it"
    return text


def unsure_text(result: SloResult) -> str:
    """Return why the verdict of an objective is not sure, with the remedy, as the end of a sentence."""
    if result.bad_share_low is None or result.bad_share_high is None:
        return "not surely: the interval of its bad share is unknown"
    ends = f"{format_ratio(result.bad_share_low)} to {format_ratio(result.bad_share_high)}"
    return (
        f"not surely: with 95 % confidence {ends} are bad, and {_percent(result.allowed)} may be."
        " Run longer, or at a higher rate"
    )


def _observed_text(result: SloResult) -> str:
    if result.unit == "ratio" and isinstance(result.observed, float):
        return format_ratio(result.observed)
    if isinstance(result.observed, float):
        return format_duration(result.observed * NS_PER_MS)
    return f"{result.observed} {result.unit}"


def span_text(start_s: float, length_s: float) -> str:
    """Return a time span as a text such as "2:10 to 3:10", in minutes and seconds from T0."""
    return f"{time_text(start_s)} to {time_text(start_s + length_s)}"


def time_text(at_s: float) -> str:
    """Return a time from T0 as a text such as "2:10" or "1:02:10"; "0:02.5" with tenths if they are not 0."""
    tenths = round(at_s * 10)
    seconds, tenth = divmod(tenths, 10)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    text = f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
    return f"{text}.{tenth}" if tenth else text


def _percent(share: float) -> str:
    return f"{share * 100:.6g} %"


def number_text(ms: float) -> str:
    """Return a number of ms as text without exponent, with one to three decimals: "1234.5", "60000.0"."""
    return np.format_float_positional(round(ms, 3), trim="0")

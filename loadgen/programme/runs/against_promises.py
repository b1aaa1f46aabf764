"""The good share of a run for each promise whose journey it has, with the interval of the sample.

    for one in run_against(open_run("last"), slos.objectives):
        print(one.promise.name, one.text)

A promise is about all real requests of weeks, and a run is a sample under a load that we chose. So a run cannot
decide a promise: its words "kept" and "not kept" are about the requests of the run only, and its share is shown with
that of production. Its time counts from the due time, and production's clock starts at the server, so a test is
stricter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, nan
from typing import Any, Final

import numpy as np

from loadgen.analysis.attainment.sample import RunSample, interval_of_run
from loadgen.history.store.stored_run import SloCounts
from loadgen.measure.objectives.terms import Objective as TestObjective
from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.promises.from_scenario import as_expression
from loadgen.programme.promises.objectives import Method, Objective
from loadgen.programme.runs.sample_text import figure_text
from loadgen.programme.sources.run_counts import Counted, slices_of_run
from loadgen.report.run_as_dataframes import Run
from loadgen.units import NS_PER_S, quantity

__all__ = ["RunAgainst", "run_against", "slo_counts", "why_no_sample"]

_UNFIT: Final = {
    "incomplete": "data are missing",
    "interrupted": "it was interrupted",
    "error": "it ended with an error",
    "invalid": "the generator was not fit to measure",
}


@dataclass(frozen=True, slots=True)
class RunAgainst:
    """One promise and the sample of a run. sample: None if the run has none; `why` is then the reason.

    missing_s: the time for which an agent sent no counts.
    """

    promise: Objective
    sample: RunSample | None = None
    why: str = ""
    missing_s: int = 0

    @property
    def word(self) -> str:
        """Return "kept", "not kept", "undecided", "too short", "no traffic" or "not judged"."""
        return "not judged" if self.sample is None else self.sample.state

    @property
    def figure(self) -> str:
        """Return the share with its interval: "99.71 % (95 %: 99.63 to 99.78 %) of 30,000 requests"; "" without."""
        if self.sample is None or self.sample.ratio is None:
            return ""
        low, high = self.sample.low, self.sample.high
        interval = None if low is None or high is None else (low, high)
        return figure_text(self.sample.bad, self.sample.requests, interval, self.promise.target)

    @property
    def text(self) -> str:
        """Return the result as a sentence without a full stop."""
        if self.sample is None:
            return f"not judged: {self.why}"
        target = f"{(self.promise.target * 100).normalize():f} %"
        parts = [f"{self.word} under this load: {self.figure} against {target}" if self.figure else self.word]
        if self.word == "too short":
            parts.append("its seconds depend on each other for longer than a fifth of it: make the run longer")
        if self.missing_s:
            parts.append(f"{quantity(self.missing_s, 'second')} of an agent are missing")
        return "; ".join(parts)


def why_no_sample(promise: Objective) -> str:
    """Return why no run can be counted for a promise; "" if one can."""
    if promise.why_not_judged:
        return promise.why_not_judged
    if promise.method is not Method.OCCURRENCES:
        return f"it counts slices ({promise.method}), and a run counts requests"
    if promise.threshold is not None and promise.threshold.seconds is None:
        return f"its threshold {promise.threshold.text} is not a time"
    return ""


def run_against(run: Run, promises: Iterable[Objective]) -> tuple[RunAgainst, ...]:
    """Return the sample of a run for each promise whose journey it has, in their order.

    Raises:
        ValueError: the run has no summary, or its manifest is damaged.
        StorageError: a newer loadgen wrote a record of the run.
    Cost: 20 ms per 1,000 deltas.
    """
    ours = [one for one in promises if one.journey and one.journey in _journeys(run)]
    unfit = _why_unfit(run)
    reasons = {one.name: unfit or why_no_sample(one) for one in ours}
    wanted = [Counted(one.name, _as_test(one), one.journey) for one in ours if not reasons[one.name]]
    width = max(1, ceil(run.interval_s))
    counts = slices_of_run(run, wanted, width) if wanted else {}
    return tuple(
        RunAgainst(one, None, reasons[one.name]) if reasons[one.name] else _sampled(one, counts[one.name], width)
        for one in ours
    )


def slo_counts(found: Sequence[RunAgainst]) -> tuple[SloCounts, ...]:
    """Return the samples of a run as the history stores them."""
    return tuple(_stored(one, one.sample) for one in found if one.sample is not None)


def _stored(one: RunAgainst, sample: RunSample) -> SloCounts:
    seconds = None if one.promise.threshold is None else one.promise.threshold.seconds
    return SloCounts(
        slo=one.promise.name,
        journey=one.promise.journey,
        owner=one.promise.owner,
        target=float(one.promise.target),
        threshold_ms=nan if seconds is None else float(seconds * 1000),
        total=round(sample.requests),
        bad=round(sample.bad),
        state=sample.state,
        low=nan if sample.low is None else sample.low,
        high=nan if sample.high is None else sample.high,
    )


def _as_test(promise: Objective) -> TestObjective:
    """Return the promise as an objective of a load test; see `as_expression`."""
    seconds = None if promise.threshold is None else promise.threshold.seconds
    fields: dict[str, Any] = {"text": as_expression(promise), "journey": promise.journey}
    if seconds is None:
        return TestObjective(kind="error_ratio", limit=float(promise.budget), **fields)
    return TestObjective(kind="percentile", limit=float(seconds * NS_PER_S), q=float(promise.target * 100), **fields)


def _sampled(promise: Objective, slices: Sequence[Slice], width: int) -> RunAgainst:
    if not slices:
        return RunAgainst(promise, interval_of_run([0.0], [0.0], target=promise.target))
    first, last = slices[0].start, slices[-1].start
    good, total = np.zeros(((last - first) // width + 1, 2)).T
    for one in slices:  # a slice without requests is absent
        at = (one.start - first) // width
        good[at], total[at] = one.good, one.total
    missing_s = sum(one.missing_s for one in slices)
    return RunAgainst(promise, interval_of_run(good, total, target=promise.target), "", missing_s)


def _journeys(run: Run) -> frozenset[str]:
    try:
        return frozenset(one["name"] for one in run.manifest["spec"]["journeys"])
    except (KeyError, TypeError):
        raise ValueError(f"the manifest of the run {one_line(run.id, 100)} has no readable journeys") from None


def _why_unfit(run: Run) -> str:
    if run.summary is None:
        raise ValueError(f"the run {one_line(run.id, 100)} has no summary: it has not ended, or it was killed")
    result = "invalid" if run.summary.validity.verdict == "invalid" else run.summary.result
    return f"the run has no valid sample: {_UNFIT[result]}" if result in _UNFIT else ""

"""Counts of a run of our own, by slice, for an objective of its plan. A sample under a chosen load, not production.

A request counts in the second in which it ended. As in objectives, faults of the script and skipped iterations count
neither as good nor as bad, warm-up is left out, and a time is compared with the limit by its slot of the histogram,
which is within 0.1 % of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, slot_of_us
from loadgen.measure.objectives.terms import Objective, is_judged
from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import Slice
from loadgen.report.run_as_dataframes import Run
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = ["RUN_WIDTH_S", "Counted", "objectives_of", "run_slices", "slices_of_run", "why_not_counted"]

RUN_WIDTH_S: Final = 10
"""The width of a slice, s."""
_MOST_S: Final = 14 * 86_400


def why_not_counted(objective: Objective) -> str:
    """Return why an objective has no counts of good requests; "" if it has."""
    if not objective.is_plain or objective.kind not in ("percentile", "error_ratio"):
        return f"{one_line(objective.text, 120)} does not judge a share of all requests by their response time"
    return ""


def objectives_of(run: Run) -> tuple[Objective, ...]:
    """Return the objectives of the run's plan, in their order.

    Raises:
        ValueError: the manifest is damaged.
    """
    try:
        return msgspec.convert(run.manifest["spec"]["slos"], tuple[Objective, ...])
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise ValueError(f"the manifest of the run {one_line(run.id, 100)} has no readable objectives") from error


@dataclass(frozen=True, slots=True)
class Counted:
    """An objective to count in a run, for one of the journeys that it judges, under a name for its slices."""

    slo: str
    objective: Objective
    journey: str


def run_slices(run: Run, slo: str, objective: Objective, journey: str, width: int = RUN_WIDTH_S) -> list[Slice]:
    """Return the slices of a run for one journey of an objective; see `slices_of_run`.

    slo: the name for the slices. journey: one that the objective judges. width: s.
    """
    return slices_of_run(run, [Counted(slo, objective, journey)], width)[slo]


def slices_of_run(run: Run, wanted: Sequence[Counted], width: int = RUN_WIDTH_S) -> dict[str, list[Slice]]:
    """Return the slices of a run by name, sorted by Unix time; [] without a request. The log is read once.

    Seconds for which an agent that came before and after sent nothing are missing.

    Args:
        width: of a slice, s.
    Raises:
        ValueError: an objective has no such counts, or the run has no start time.
        StorageError: a newer loadgen wrote a record of the run.
    Cost: 20 ms per 1,000 deltas, and a little for each of `wanted`.
    """
    for why in (why_not_counted(one.objective) for one in wanted):
        if why:
            raise ValueError(why)
    begin = _start(run)
    sums = [_Sums(one) for one in wanted]
    keys: dict[tuple[str, int], list[SeriesKey]] = {}
    seen: dict[str, set[int]] = {}
    for region, delta in run.deltas():
        known = keys.setdefault((delta.agent, delta.epoch), [])
        known.extend(delta.new_series)
        second = delta.start_ns // NS_PER_S
        if not 0 <= second < _MOST_S:
            continue
        end = max(second + 1, -(-delta.end_ns // NS_PER_S))
        seen.setdefault(delta.agent, set()).update(range(second, min(end, second + 3_600)))
        index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
        count = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
        series, slots = np.divmod(index, SLOTS)
        at = (begin + second) // width * width
        for number in np.unique(series).tolist():
            of: NDArray[np.bool_] | None = None
            for one in sums:
                if one.wanted.objective.region not in (None, region) or not _is_of(known[number], one.wanted):
                    continue
                of = series == number if of is None else of
                one.add(at, known[number], slots[of], count[of])
    absent = _absent(seen, begin, width)
    return {one.wanted.slo: one.slices(run, width, absent) for one in sums}


class _Sums:
    """The counts of one objective by slice."""

    def __init__(self, wanted: Counted) -> None:
        objective = wanted.objective
        self.wanted = wanted
        self._limit = slot_of_us(int(objective.limit // NS_PER_US)) if objective.kind == "percentile" else SLOTS
        self._good: dict[int, int] = {}
        self._total: dict[int, int] = {}

    def add(self, at: int, key: SeriesKey, slots: NDArray[np.int64], count: NDArray[np.int64]) -> None:
        self._total[at] = self._total.get(at, 0) + int(count.sum())
        if key.outcome == OK and not key.censored:
            self._good[at] = self._good.get(at, 0) + int(count[slots <= self._limit].sum())

    def slices(self, run: Run, width: int, absent: Mapping[int, int]) -> list[Slice]:
        evidence = one_line(f"run {run.id}: {self.wanted.objective.text}, {self.wanted.journey}", 300)
        return [
            Slice(self.wanted.slo, at, width, self._good.get(at, 0), count, absent.get(at, 0), False, evidence)
            for at, count in sorted(self._total.items())
        ]


def _is_of(key: SeriesKey, wanted: Counted) -> bool:
    objective = wanted.objective
    return (
        key.kind == objective.kind_of_series
        and key.metric == "response"
        and key.journey == wanted.journey
        and key.step == objective.step
        and key.request == objective.request
        and not key.warmup
        and is_judged(key.outcome)
    )


def _absent(seen: Mapping[str, set[int]], begin: int, width: int) -> dict[int, int]:
    """Return for each slice the seconds that some agent did not report between its first and its last second."""
    lacking = {second for found in seen.values() for second in range(min(found), max(found) + 1) if second not in found}
    absent: dict[int, int] = {}
    for second in lacking:
        at = (begin + second) // width * width
        absent[at] = absent.get(at, 0) + 1
    return absent


def _start(run: Run) -> int:
    """Return the start of the load as Unix time in whole seconds."""
    text = "" if run.summary is None else run.summary.started_at
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise ValueError(f"the run {one_line(run.id, 100)} has no start time: it has no summary") from None

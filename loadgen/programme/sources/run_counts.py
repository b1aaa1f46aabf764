"""Counts of a run of our own, by slice, for an objective of its plan. A sample under a chosen load, not production.

A request counts in the second in which it ended. As in objectives, faults of the script and skipped iterations count
neither as good nor as bad, warm-up is left out, and a time is compared with the limit by its slot of the histogram,
which is within 0.1 % of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, slot_of_us
from loadgen.measure.objectives.terms import Objective, is_judged
from loadgen.outside_text import one_line
from loadgen.programme.slices import Slice
from loadgen.report.run_as_dataframes import Run
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = ["RUN_WIDTH_S", "objectives_of", "run_slices", "why_not_counted"]

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


def run_slices(run: Run, slo: str, objective: Objective, journey: str, width: int = RUN_WIDTH_S) -> list[Slice]:
    """Return the slices of a run for one journey of an objective, by Unix time.

    Seconds for which an agent that came before and after sent nothing are missing.

    Args:
        slo: the name for the slices. journey: one that the objective judges. width: s.
    Raises:
        ValueError: the objective has no such counts, or the run has no start time.
        StorageError: a newer loadgen wrote a record of the run.
    Cost: 20 ms per 1,000 deltas.
    """
    if why := why_not_counted(objective):
        raise ValueError(why)
    begin = _start(run)
    limit = slot_of_us(int(objective.limit // NS_PER_US)) if objective.kind == "percentile" else SLOTS
    keys: dict[tuple[str, int], list[SeriesKey]] = {}
    good: dict[int, int] = {}
    total: dict[int, int] = {}
    seen: dict[str, set[int]] = {}
    for region, delta in run.deltas():
        known = keys.setdefault((delta.agent, delta.epoch), [])
        known.extend(delta.new_series)
        second = delta.start_ns // NS_PER_S
        if not 0 <= second < _MOST_S:
            continue
        end = max(second + 1, -(-delta.end_ns // NS_PER_S))
        seen.setdefault(delta.agent, set()).update(range(second, min(end, second + 3_600)))
        if objective.region not in (None, region):
            continue
        index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
        count = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
        series, slots = np.divmod(index, SLOTS)
        at = (begin + second) // width * width
        for number in np.unique(series).tolist():
            key = known[number]
            if not _is_of(key, objective, journey):
                continue
            of = series == number
            total[at] = total.get(at, 0) + int(count[of].sum())
            if key.outcome == OK and not key.censored:
                good[at] = good.get(at, 0) + int(count[of & (slots <= limit)].sum())
    absent = _absent(seen, begin, width)
    evidence = one_line(f"run {run.id}: {objective.text}, {journey}", 300)
    return [
        Slice(slo, at, width, good.get(at, 0), count, absent.get(at, 0), False, evidence)
        for at, count in sorted(total.items())
    ]


def _is_of(key: SeriesKey, objective: Objective, journey: str) -> bool:
    return (
        key.kind == objective.kind_of_series
        and key.metric == "response"
        and key.journey == journey
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

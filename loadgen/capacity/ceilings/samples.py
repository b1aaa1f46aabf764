"""Joins what the probes of a run read with the achieved rate in the same time.

A counter's rate and a share belong to an interval, and so does the rate of iterations that is joined with it. A gauge
belongs to a moment: the rate of the probe's period before it is joined. Samples before the load, in the warm-up and
after the last iteration are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.outside_text import one_line
from loadgen.probes.journal import read_journal
from loadgen.probes.recorded import Recorded
from loadgen.report.run_as_dataframes import Run
from loadgen.units import NS_PER_S

__all__ = ["Samples", "joined", "samples_of_run", "together"]

Array = npt.NDArray[np.float64]

_STATISTICS = ("value", "rate", "share")
_TEXT_MOST = 120


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one resource, in the order of time."""

    name: str
    """PROBE.ROW, or the column of a file."""
    unit: str
    rates: Array
    """Iterations per second in the time of each sample."""
    uses: Array
    period_s: float | None
    """The usual time between two samples; None if it is unknown."""
    missing: int = 0
    """Samples within the load that have no value."""


def samples_of_run(run: Run) -> list[Samples]:
    """Return the samples of each row of the probes of a run, without histograms; [] without probes.

    Raises:
        StorageError: the deltas or the journal of the probes cannot be read.
    """
    times, totals = _finished(run)
    if len(times) < 2:
        return []
    begin = _warmup_s(run)
    return joined(Recorded(read_journal(run.path)).table(), times, totals, begin)


def together(runs: Sequence[Sequence[Samples]]) -> list[Samples]:
    """Return the samples of several runs of a target, put together for each resource. The longest period counts."""
    found: dict[tuple[str, str], list[Samples]] = {}
    for samples in runs:
        for one in samples:
            found.setdefault((one.name, one.unit), []).append(one)
    return [
        Samples(
            name=name,
            unit=unit,
            rates=np.concatenate([one.rates for one in parts]),
            uses=np.concatenate([one.uses for one in parts]),
            period_s=max((one.period_s for one in parts if one.period_s is not None), default=None),
            missing=sum(one.missing for one in parts),
        )
        for (name, unit), parts in found.items()
    ]


def joined(rows: Iterable[Mapping[str, Any]], times: Array, totals: Array, begin_s: float = 0.0) -> list[Samples]:
    """Return the samples of each row of `Recorded.table`.

    Args:
        times: s from T0, rising, shape (n,).
        totals: iterations that had finished at these times, shape (n,).
        begin_s: the end of the warm-up.
    """
    found: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    for row in rows:
        if row["statistic"] in _STATISTICS and row["metric"]:
            key = (str(row["probe"]), str(row["metric"]), str(row["unit"]))
            value = row["value"]
            found.setdefault(key, []).append(
                (float(row["at_s"]), float(row["length_s"]), float("nan") if value is None else float(value))
            )
    return [_one(key, points, times, totals, begin_s) for key, points in found.items()]


def _one(
    key: tuple[str, str, str], points: Sequence[tuple[float, float, float]], times: Array, totals: Array, begin_s: float
) -> Samples:
    at, length, value = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    order = np.argsort(at, kind="stable")
    at, length, value = at[order], length[order], value[order]
    gaps = np.diff(at)
    period = float(np.median(gaps)) if len(gaps) else None
    begin = np.where(length > 0, at, at - max(period or 1.0, 1.0))
    end = np.where(length > 0, at + length, at)
    inside = (begin >= max(begin_s, float(times[0]))) & (end <= float(times[-1])) & (end > begin)
    begin, end, value = begin[inside], end[inside], value[inside]
    rates = (np.interp(end, times, totals) - np.interp(begin, times, totals)) / (end - begin)
    known = np.isfinite(value)
    return Samples(
        name=one_line(f"{key[0]}.{key[1]}", _TEXT_MOST),
        unit=one_line(key[2], 20),
        rates=rates[known],
        uses=value[known],
        period_s=period,
        missing=int((~known).sum()),
    )


def _finished(run: Run) -> tuple[Array, Array]:
    """Return times in s from T0, and how many iterations of all agents had finished at each.

    The iterations of a delta are taken to finish evenly within it; a delta is one second, or longer if it was joined.
    """
    steps: dict[int, float] = {}
    # A piece of the curve from `start` to `end` rises by count / length each ns: add the slope, and remove it.
    for _, delta in run.deltas():
        length = delta.end_ns - delta.start_ns
        if length > 0 and delta.counters.iterations_finished:
            slope = delta.counters.iterations_finished / length
            steps[delta.start_ns] = steps.get(delta.start_ns, 0.0) + slope
            steps[delta.end_ns] = steps.get(delta.end_ns, 0.0) - slope
    places = np.array(sorted(steps), dtype=np.float64)
    if len(places) < 2:
        return np.zeros(0), np.zeros(0)
    slopes = np.cumsum([steps[int(place)] for place in places])[:-1]
    totals = np.concatenate([[0.0], np.cumsum(np.maximum(slopes, 0.0) * np.diff(places))])
    return places / NS_PER_S, totals


def _warmup_s(run: Run) -> float:
    warmup = None if run.summary is None else run.summary.warmup
    cut = warmup.cut_s if warmup is not None else None
    return float(cut) if cut is not None and isfinite(cut) else 0.0

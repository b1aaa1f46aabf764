"""Finds the series of the target that go with the slow requests of a stored run. It needs the extra `analysis`."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np

from loadgen.analysis.goes_with.answer import goes_with
from loadgen.analysis.goes_with.values import GoesWith, Judged, Load, Named, ProbeSeries
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.report.goes_with.by_second import BySecond, by_second
from loadgen.report.goes_with.file import GoesWithFile, Line, NotTested
from loadgen.report.goes_with.target_series import TargetSeries, target_series
from loadgen.report.report_parts import milliseconds
from loadgen.report.run_as_dataframes import Run
from loadgen.report.why_slow.choice import Chosen
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["goes_with_of_run"]

_SEED_BITS: Final = 0x7FFFFFFF


def goes_with_of_run(run: Run, chosen: Chosen) -> GoesWithFile | None:
    """Return the series of the target that go with the chosen requests; None if the run has no such series.

    A damaged `metrics.json` gives a result with the reason in `not_tested`.

    Raises:
        StorageError: the run's log cannot be read.
    """
    series, fault = target_series(run.path)
    if not series and not fault:
        return None
    interval_ns = round(run.interval_s * NS_PER_S)
    seconds = by_second(run.deltas(), chosen, interval_ns, objective=_windowed(run, chosen))
    seed = crc32(run.id.encode()) & _SEED_BITS
    if fault:
        return _file(run, chosen, seconds, GoesWith(not_tested=fault, seed=seed))
    found = goes_with(
        _judged(seconds, chosen, run.interval_s),
        seconds.is_fit & (np.arange(len(seconds.is_fit)) >= _warmup_s(run) / run.interval_s),
        _loads(seconds, run),
        [_probe_series(one) for one in series],
        step_s=run.interval_s,
        seed=seed,
    )
    return _file(run, chosen, seconds, found)


def _judged(seconds: BySecond, chosen: Chosen, step_s: float) -> list[Judged]:
    """Return the three series of the objective. Those by end are late by up to the response time, about the limit."""
    late_s = chosen.limit_ns / NS_PER_S
    share = f"the share above {milliseconds(chosen.limit_ns / NS_PER_MS)} ms"
    known = np.isfinite(seconds.p99_ms) & (seconds.p99_ms > 0)
    p99 = np.full(len(known), np.nan)
    p99[known] = np.log(seconds.p99_ms[known])
    return [
        Judged(share, seconds.above, seconds.counts, error_s=0.0 if seconds.is_by_due else late_s),
        Judged("p99", p99, seconds.counts, "ms", is_log=True, error_s=late_s),
        Judged("the error ratio", seconds.errors, seconds.counts, error_s=late_s),
    ]


def _loads(seconds: BySecond, run: Run) -> list[Load]:
    """Return the load that the plan decides first, then what follows from response times."""
    in_flight = Load("iterations in flight", seconds.in_flight, follows=True)
    if _is_open(run):
        return [Load("offered rate", seconds.due), in_flight]
    return [Load("users", seconds.users), Load("iteration rate", seconds.due, follows=True), in_flight]


def _is_open(run: Run) -> bool:
    try:
        spec = msgspec.convert(run.manifest.get("spec_as_run") or run.manifest.get("spec"), PlanSpec)
    except msgspec.ValidationError:
        return True
    return bool(spec.is_open)


def _windowed(run: Run, chosen: Chosen) -> int | None:
    """Return the index of the chosen objective if agents counted it by due second."""
    for index, one in enumerate(run.manifest.get("spec", {}).get("slos", ())):
        if chosen.text and one.get("text") == chosen.text and one.get("window_ns"):
            return index
    return None


def _warmup_s(run: Run) -> float:
    """Return the end of a warm-up that was found after the run; a planned one is marked in the deltas."""
    warmup = None if run.summary is None else run.summary.warmup
    return warmup.cut_s if warmup is not None and warmup.how == "found" and warmup.cut_s else 0.0


def _probe_series(one: TargetSeries) -> ProbeSeries:
    return ProbeSeries(
        title=one.title,
        at_s=one.at_s,
        values=one.values,
        period_s=one.period_s,
        unit=one.unit,
        host=one.host,
        error_s=one.error_s,
    )


def _file(run: Run, chosen: Chosen, seconds: BySecond, found: GoesWith) -> GoesWithFile:
    return GoesWithFile(
        run=run.id,
        objective=chosen.name,
        limit_ms=chosen.limit_ns / NS_PER_MS,
        by="due" if seconds.is_by_due else "end",
        step_s=run.interval_s,
        points=found.points,
        tested=found.tested,
        named=tuple(_line(one) for one in found.named),
        left_out=tuple(NotTested(title=one.title, host=one.host, why=one.why) for one in found.left_out),
        loads=found.loads,
        not_tested=found.not_tested,
        seed=found.seed,
    )


def _line(one: Named) -> Line:
    numbers: dict[str, Any] = {
        name: value if isfinite(value := getattr(one, name)) else None
        for name in ("low", "high", "judged_low", "judged_high")
    }
    same = {name: getattr(one, name) for name in Line.__struct_fields__ if name not in {*numbers, "comes_first"}}
    return Line(**same, **numbers, comes_first=one.comes_first)

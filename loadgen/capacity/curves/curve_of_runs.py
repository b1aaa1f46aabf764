"""Reads points of a curve from past runs: each run with a steady load is one, and each level of a run with levels.

The throughput of a run is the number of requests that ended ok within its measured window, per second of that window,
so requests that an overloaded target answered after the end of the load do not count. Each point is checked by
Little's law: N = X R of iterations in a run, of requests in a level. If the two sides differ, a note names the point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from loadgen.analysis.littles_law import LittlesLaw, littles_law
from loadgen.capacity.curves.points import Axis, MeasuredCurve, MeasuredPoint
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import LoadgenError, StorageError, UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.profiles.profile import ArrivalProfile, UserProfile
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.summary_reader import Level, Summary
from loadgen.units import NS_PER_S, parse_rate, quantity

__all__ = ["curve_of_runs"]

_FAILED: Final = 0.01
"""Above this share of failed requests, a level is not checked by Little's law: its times are those of ok requests."""
_LEAST_S: Final = 5.0
"""Shortest measured window of a run or level."""


@dataclass(frozen=True, slots=True)
class _Found:
    load: float
    unit: str
    throughput: float
    source: str
    law: LittlesLaw | None


def curve_of_runs(names: Sequence[str], runs_dir: Path, *, axis: Axis | None = None) -> MeasuredCurve:
    """Return the points of runs.

    Args:
        names: ids, beginnings of ids, "last", or folders.
        axis: what the load is; None: a rate for open loads, concurrency for users.

    Raises:
        UsageError: a run cannot be used, or the runs have different kinds of loads; an ExceptionGroup of several.
        StorageError: a run folder cannot be read.
    """
    faults: list[LoadgenError] = []
    points: list[tuple[str, _Found]] = []
    notes: list[str] = []
    names_of_plans: set[str] = set()
    for name in dict.fromkeys(names):
        try:
            run = open_run(find_run(name, runs_dir))
            found, left_out = _points_of(run)
        except LoadgenError as exc:
            faults.append(exc)
            continue
        notes += left_out
        points += [(run.id, one) for one in found]
        if run.summary is not None:
            names_of_plans.add(f"{run.summary.scenario}:{run.summary.plan}")
    units = {one.unit for _, one in points}
    if len(units) > 1:
        faults.append(
            UsageError(
                "some runs have a number of users, and others a rate: they are not points of one curve",
                hint="name runs with the same kind of load",
            )
        )
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup("some runs cannot be used", faults)
    ids = tuple(dict.fromkeys(run_id for run_id, _ in points))
    is_rate = units == {"/s"}
    return MeasuredCurve(
        title=f"{', '.join(sorted(names_of_plans)[:3])}, {quantity(len(ids), 'run')}",
        points=tuple(MeasuredPoint(one.load, one.throughput, one.source, run_id) for run_id, one in points),
        load_name="iterations/s" if is_rate else "users",
        throughput_name="requests/s",
        axis=axis or ("rate" if is_rate else "concurrency"),
        notes=(*notes, *_law_notes([one for _, one in points])),
        run_ids=ids,
    )


def _law_notes(found: Sequence[_Found]) -> Iterator[str]:
    """Return notes with the results of Little's law for all points."""
    checked = [one for one in found if one.law is not None]
    odd = [one for one in checked if one.law is not None and not one.law.agrees]
    if checked and not odd:
        yield f"Little's law, N = X R, holds in {quantity(len(checked), 'checked window')}: their numbers agree"
    for one in odd[:5]:
        law = one.law
        assert law is not None
        yield (
            f"Little's law does not hold in {one.source}: {law.in_system:.4g} in flight were measured, but rate times"
            f" mean time is {law.expected:.4g} ({law.off_by:+.1%}, allowed {law.tolerance:.1%}); its numbers disagree"
        )
    if len(odd) > 5:
        yield f"Little's law does not hold in {quantity(len(odd) - 5, 'further window')}"
    if unchecked := len(found) - len(checked):
        yield f"Little's law was not checked in {quantity(unchecked, 'window')}: times or numbers in flight are missing"


def _points_of(run: Run) -> tuple[list[_Found], list[str]]:
    """Return the points of one run, and notes about levels that were left out."""
    summary = run.summary
    if summary is None:
        raise UsageError(f"{run.id} has no summary: it has not ended, or it was killed", hint="leave it out")
    if summary.validity.verdict == "invalid" or summary.result in ("incomplete", "interrupted", "error", "invalid"):
        why = "; ".join((*summary.validity.reasons, *summary.reasons)) or summary.result
        raise UsageError(f"{run.id} cannot be a point of a curve: {why}", hint="leave it out, or run it again")
    if summary.levels:
        return _of_levels(run, summary)
    return [_of_steady_load(run, summary)], []


# -- levels ---------------------------------------------------------------------------------------------------------


def _of_levels(run: Run, summary: Summary) -> tuple[list[_Found], list[str]]:
    found, notes = [], []
    for n, level in enumerate(summary.levels):
        where = f"level {level.level} of {run.id}"
        if level.measured_s is None or level.achieved_per_s is None or level.measured_s < _LEAST_S:
            notes.append(f"{where} was left out: it was not held to its end, or it was too short")
        elif level.achieved_per_s <= 0:
            notes.append(f"{where} was left out: no request ended ok")
        else:
            law = _law_of_level(level, summary.levels[max(n - 1, 0) : n + 2])
            found.append(_Found(_level_value(level), level.unit, level.achieved_per_s, where, law))
    if not found:
        raise UsageError(f"{run.id} has no level that was held to its end", hint="leave it out, or run it again")
    return found, notes


def _level_value(level: Level) -> float:
    try:
        return parse_rate(level.level) if level.unit == "/s" else float(level.level.replace(",", "").split()[0])
    except (ValueError, IndexError):
        raise StorageError(
            f"cannot read the level {level.level!r} of a summary", hint="use the version of loadgen that made the run"
        ) from None


def _law_of_level(level: Level, neighbours: Sequence[Level]) -> LittlesLaw | None:
    mean_ms = None if level.response_ms is None else level.response_ms.mean
    of = level.requests.ok + level.requests.failed
    if level.in_flight is None or not isinstance(mean_ms, float | int) or not of or level.achieved_per_s is None:
        return None
    if level.requests.failed > _FAILED * of or level.in_flight.mean <= 0 or mean_ms <= 0:
        return None
    in_flight, intervals = level.in_flight.mean, level.in_flight.count
    if level.unit == "/s":
        error = (in_flight / intervals) ** 0.5  # that of a mean of Poisson numbers
    else:
        # Users of the next level begin at the end of the last interval, and their requests may count there.
        value = _level_value(level)
        error = max(abs(_level_value(one) - value) for one in neighbours) / (4 * intervals)
    return littles_law(in_flight, level.achieved_per_s, mean_ms / 1_000, standard_error=error)


# -- a steady load --------------------------------------------------------------------------------------------------


def _of_steady_load(run: Run, summary: Summary) -> _Found:
    spec = _spec_of(run)
    start_s = summary.warmup.cut_s if summary.warmup is not None else 0.0
    end_s = _load_end_s(run, spec, summary)
    load, unit = _steady_load(run, spec, start_s, end_s)
    seconds = _Seconds.of(run, start_s, end_s)
    if seconds.length_s < _LEAST_S:
        raise UsageError(
            f"{run.id} has a measured window of {seconds.length_s:.3g} s, but a point needs {_LEAST_S:g} s",
            hint="leave it out, or run it for longer",
        )
    if not seconds.ok:
        raise UsageError(f"{run.id} has no request that ended ok in its measured window", hint="leave it out")
    return _Found(load, unit, seconds.ok / seconds.length_s, run.id, seconds.law())


def _spec_of(run: Run) -> PlanSpec:
    try:
        return msgspec.convert(run.manifest.get("spec"), PlanSpec)
    except msgspec.ValidationError as exc:
        raise StorageError(
            f"cannot read the plan of {run.id}: {exc}", hint="use the version of loadgen that made the run"
        ) from exc


def _load_end_s(run: Run, spec: PlanSpec, summary: Summary) -> float:
    for event in reversed(run.events):
        if event.get("kind") == "facts" and isinstance(found := (event.get("facts") or {}).get("load_ns"), int):
            return found / NS_PER_S
    return spec.duration_ns / NS_PER_S if spec.duration_ns else summary.duration_s


def _steady_load(run: Run, spec: PlanSpec, start_s: float, end_s: float) -> tuple[float, str]:
    """Return the load and its unit, "/s" or "users"."""
    profile = spec.profile
    hint = "use runs with one constant load, or a plan with levels: users().levels([...])"
    if len(spec.lanes) > 1 or not isinstance(profile, ArrivalProfile | UserProfile):
        raise UsageError(f"{run.id} has several loads, or a load without a rate or users", hint=hint)
    at, values = 0.0, set()
    for stage in profile.stages:
        until = at + stage.duration_ns / NS_PER_S
        if min(until, end_s) - max(at, start_s) > 1e-6:
            values |= {stage.start, stage.end}
        at = until
    if len(values) != 1 or profile.is_edited:
        raise UsageError(f"{run.id} has a load that changes in its measured window", hint=hint)
    return float(values.pop()), "/s" if isinstance(profile, ArrivalProfile) else "users"


@dataclass(frozen=True, slots=True)
class _Seconds:
    """Counts and times of whole intervals within the measured window."""

    length_s: float
    ok: int
    iterations: int
    iteration_s: float
    """The sum of the response times of iterations."""
    in_system: np.ndarray
    """Iterations that ran or waited at the end of each interval, over all agents."""

    @classmethod
    def of(cls, run: Run, start_s: float, end_s: float) -> _Seconds:
        interval_s = run.interval_s
        first, last = -int(-start_s // interval_s), int((end_s + 1e-9) // interval_s)
        ok, iterations, iteration_s = 0, 0, 0.0
        for row in run.windows(outcomes=True):
            if not first <= round(row.at_s / interval_s) < last:
                continue
            if row.kind == "request" and row.outcome == "ok":
                ok += row.count
            elif row.kind == "journey" and row.outcome != "missed":
                iterations += row.count
                iteration_s += row.count * row.mean_ms / 1_000
        sums: dict[int, int] = {}
        for one in run.health():
            k = round(one.at_s / interval_s)
            if first <= k < last:
                sums[k] = sums.get(k, 0) + one.health.in_flight + one.health.waiting
        return cls((last - first) * interval_s, ok, iterations, iteration_s, np.array(list(sums.values()), dtype=float))

    def law(self) -> LittlesLaw | None:
        """Return the check by Little's law; None without iterations."""
        if not self.iterations or not self.iteration_s or len(self.in_system) < 2 or not self.in_system.any():
            return None
        error = float(self.in_system.std(ddof=1)) / len(self.in_system) ** 0.5
        mean_s = self.iteration_s / self.iterations
        return littles_law(float(self.in_system.mean()), self.iterations / self.length_s, mean_s, standard_error=error)

"""Finds reasons why the figures of a finished run are misleading: a load change by hand, or a warm-up left in."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, isnan, log
from statistics import fmean, stdev
from typing import Final

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.measure.statistics.batch_means import Batches
from loadgen.profiles.profile import IterationProfile
from loadgen.report.summary_reader import Summary

__all__ = ["faults_of"]

_FAR: Final = 6.0
_LEAST_INTERVALS: Final = 20
_FAR_LEAST: Final = log(1.1)
"""A first batch is an outlier if it differs from the others by 6 of their standard deviations and by 10 %."""


def faults_of(summary: Summary, spec: PlanSpec, batches: Batches) -> tuple[str, ...]:
    """Return why the figures of a finished run mislead, as texts; empty if neither reason holds.

    The load was changed during the run, or (constant loads only) some of the warm-up was left in.

    Args:
        summary: the summary of the run.
        spec: the plan with which the run was started.
        batches: the run in batches, without the known warm-up.
    """
    changes = [change.text for change in summary.adjustments if change.kind != "steer"]
    found = [f"its load was changed while it ran: {changes[0]}"] if changes else []
    if _is_level(spec, batches.start_ns):
        found += _left_in(batches)
    return tuple(found)


def _is_level(spec: PlanSpec, from_ns: int) -> bool:
    """Return whether the planned load is constant from `from_ns` (from T0) on.

    On a ramp, a warm-up that was left in cannot be distinguished from the ramp.
    """
    for after_ns, profile in [(lane.after_ns, lane.profile) for lane in spec.lanes] or [(0, spec.profile)]:
        if after_ns > from_ns:
            return False
        if isinstance(profile, IterationProfile):
            continue
        at_ns, levels = after_ns, set()
        for stage in profile.stages:
            at_ns += stage.duration_ns
            if stage.duration_ns and at_ns > from_ns:
                levels |= {stage.start, stage.end}
        if len(levels) != 1 or (spec.duration_ns is not None and at_ns < spec.duration_ns):
            return False
    return True


def _left_in(batches: Batches) -> Iterator[str]:
    """Yield a sentence for each journey whose first batch differs so much that its warm-up was probably left in.

    Nothing is yielded for a run of fewer than 20 intervals, and for a journey without iterations in one of its batches.
    """
    if batches.bins < _LEAST_INTERVALS:
        return
    for row in batches.rows("journey"):
        first, *rest = batches.levels(row)
        if any(map(isnan, (first, *rest))):
            continue  # a rare journey: its spread between batches is unknown
        away = first - fmean(rest)
        if abs(away) > max(_FAR_LEAST, _FAR * stdev(rest)):
            yield (
                f"warm-up was left in: {row.journey} was {'slower' if away > 0 else 'faster'} by a factor of"
                f" {exp(abs(away)):.2f} in its first {batches.length_s:.0f} s than afterwards"
            )

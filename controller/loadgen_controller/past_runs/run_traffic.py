"""Reads the traffic that a past run recorded, for `loadgen model check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.errors import UsageError
from loadgen.report.run_as_dataframes import Run
from loadgen.traffic.fidelity.of_run import RunTraffic
from loadgen.units import NS_PER_S

__all__ = ["lanes_of_run", "run_traffic"]


def lanes_of_run(run: Run, scenario: Path, plan_name: str | None) -> Sequence[DrivenLoad]:
    """Return the loads of a scenario as a run drove them: with its options, and with changes during the run.

    Raises:
        UsageError: the run is of another plan.
    """
    manifest = run.manifest
    overrides = msgspec.convert(manifest.get("overrides", {}), Overrides)
    spec = msgspec.convert(manifest.get("spec_as_run") or manifest.get("spec"), PlanSpec)
    lanes = load(scenario, plan_name, overrides).plan.lanes
    if [lane.name for lane in lanes] != [lane.name for lane in spec.lanes]:
        raise UsageError(
            f"{run.id} is not a run of {scenario} as it is now: its loads have other names",
            hint="name a run of this scenario, or run it again",
        )
    return [
        replace(lane, profile=driven.profile, after_ns=driven.after_ns)
        for lane, driven in zip(lanes, spec.lanes, strict=True)
    ]


def run_traffic(run: Run) -> RunTraffic:
    """Return the requests of a run by name and second, with those of its warm-up.

    Raises:
        StorageError: the run cannot be read.
    """
    requests, by_second = Counter[str](), Counter[int]()
    for row in run.windows():
        if row.kind == "request":
            requests[row.request] += row.count
            by_second[int(row.at_s)] += row.count
    curve = np.zeros(max(by_second, default=-1) + 1, np.int64)
    for second, count in by_second.items():
        curve[second] = count
    # Busy agents count in longer intervals, which hide what is shorter.
    longest_s = max((delta.end_ns - delta.start_ns) / NS_PER_S for _, delta in run.deltas()) if requests else 0.0
    summary = run.summary
    started = sum(requests.values()) if summary is None else summary.iterations.started
    return RunTraffic(int(run.manifest.get("seed", 0)), longest_s, requests, curve, started)

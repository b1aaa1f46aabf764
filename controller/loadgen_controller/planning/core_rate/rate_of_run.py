"""Reads from the last run of a scenario on this machine what rate one core drives.

The busiest interval of a worker counts, if the worker was fit to measure in it and used at least a fifth of a core.
Below that, the fixed costs of an interval hide the costs of its requests. Waits cost CPU time too, so a core that is
less than full drives more than its CPU time per request says: the result is a lower bound.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from loadgen.errors import LoadgenError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.run_folder.rundir import RunDir, list_runs
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from loadgen_controller.planning.core_rate.rate import CoreRate

__all__ = ["busiest", "rate_of_last_run"]

LEAST_CPU_SHARE: Final = 0.2
"""CPU time of an agent's workers as a share of one core, each; intervals with less do not count."""
_RUNS: Final = 20
"""Number of the newest runs among which the last one of the scenario is searched."""
_DELTAS: Final = 2_000
"""Number of deltas that are read of a run, from its start: some 0.3 s."""


def rate_of_last_run(runs_dir: Path, scenario: str) -> CoreRate | None:
    """Return what one core drove in the newest run of a scenario on this machine; None if no run shows it.

    scenario: the file as in the run's manifest. Runs with agents on other machines do not count. A run that cannot be
    read is skipped.
    """
    try:
        paths = list_runs(runs_dir)[:_RUNS]
    except LoadgenError:
        return None
    for path in paths:
        try:
            folder = RunDir(path)
            manifest = folder.read_manifest()
            if manifest.get("placement") != "embedded" or manifest.get("scenario") != scenario:
                continue
            cpu_us = None
            for record in islice(folder.records(), _DELTAS):
                delta = codec.decode(record)
                if isinstance(delta, Delta):
                    cpu_us = busiest(cpu_us, delta)
        except (LoadgenError, OSError, ValueError):
            continue
        return None if cpu_us is None else CoreRate(cpu_us[1], f"from run {path.name}", is_of_plan=True)
    return None


def busiest(before: tuple[float, float] | None, delta: Delta) -> tuple[float, float] | None:
    """Return (requests/s of a worker, CPU time per request in µs) of the busier one of two intervals.

    Args:
        before: the busiest interval so far; None for the first one.
        delta: a further interval.
    Returns:
        `before` if the further interval was not busier, was unfit, or used too little CPU.
    """
    parts = [one.health for one in delta.workers] or [delta.health]
    requests, seconds = delta.counters.requests_finished, (delta.end_ns - delta.start_ns) / NS_PER_S
    shares = [one.cpu_share for one in parts]
    is_whole = delta.health.intervals <= 1  # of joined intervals, only the largest share is known
    if not is_whole or delta.health.unfit or not requests or seconds <= 0 or min(shares) < LEAST_CPU_SHARE:
        return before
    found = requests / seconds / len(parts), sum(shares) * seconds / requests * 1e6
    return found if before is None or found[0] > before[0] else before

"""Calculates what rate one core of this machine drives, and how many workers a plan needs, for `loadgen plan`.

The CPU time of a request is measured now with plain GETs (`probe.py`), or is that of the last run of the scenario
(`rate_of_run.py`). Plain GETs are the cheapest requests, so a plan needs at least the workers that follow from
them: checks, bodies, TLS and the scenario's own code come on top. In a run, the core was not full, and a full core
spends less on each request (see `probe.RATE_PER_S`), so the workers that follow from a run are enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

import msgspec

from loadgen.drive.raw_value_debug_file import RAW_VARIABLE
from loadgen.engine.health.process_health import cpu_limit
from loadgen.engine.load.catch_up import CATCH_UP
from loadgen.errors import InvalidError
from loadgen.units import format_count, format_ratio, quantity
from loadgen.usable_cpus import usable_cpus
from loadgen_controller.planning.forecast import Forecast

__all__ = [
    "MEASURED",
    "USE",
    "USE_OF_FULL",
    "CoreRate",
    "Probed",
    "Workers",
    "core_facts",
    "core_lines",
    "is_too_much",
    "measure_core",
    "rate_of",
    "usable_cores",
    "workers_for",
]

USE: Final = 0.8
"""Share of a core up to which a worker is planned from the CPU time of a run. Above it, starts come late: a queue in
front of a core that is busy for more than four fifths of the time grows with every short disturbance."""
USE_OF_FULL: Final = USE / CATCH_UP
"""The same for the CPU time of a full core, on which a request is cheapest. A worker that was late for a moment catches
up at twice the planned rate, so it must be able to drive that. Measured on a core that needs 19 µs: on time at
20,000/s; at 25,000/s late for a second after each disturbance; at 30,000/s late in most seconds."""
MEASURED: Final = "measured now with plain GETs"
_DISTURBED_BELOW: Final = 0.85
"""A measurement that got less than this share of a core was disturbed by other processes."""
_DISTURBED_BY: Final = 2
"""Factor by which a disturbed measurement may overstate the CPU time of a request: 34 to 37 µs at half a core, 19 µs
at a whole one, on the same machine."""
_PROBE: Final = "loadgen_controller.planning.core_rate.probe"
_MORE_S: Final = 60.0
"""Time for a measurement to start and end, beside its length. It takes 1.5 s on an idle machine."""


class Probed(msgspec.Struct, frozen=True):
    """A measurement: its length, the CPU time of the driving process, and the requests that finished in it."""

    took_s: float
    cpu_s: float
    requests: int
    """Requests without an error."""
    errors: int


@dataclass(frozen=True, slots=True)
class CoreRate:
    """The rate that one core of this machine drives, and its source."""

    cpu_us: float
    """CPU time per request, in µs."""
    source: str
    """Where `cpu_us` comes from, such as "measured now with plain GETs"."""
    is_of_plan: bool = False
    """Whether requests of the plan's own scenario were measured, and not plain GETs."""
    had_share: float = 1.0
    """Share of a core that the measurement got; a low one means that other processes ran, and made it slower."""

    @property
    def requests_per_s(self) -> float:
        """Return the requests/s of an open load that one core drives in time."""
        return self.use / self.cpu_us * 1e6

    @property
    def use(self) -> float:
        """Return the share of what fills a core that `requests_per_s` is."""
        return USE if self.is_of_plan else USE_OF_FULL

    @property
    def is_disturbed(self) -> bool:
        """Return whether other processes used the core during the measurement."""
        return self.had_share < _DISTURBED_BELOW


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers, one a core, that a plan needs at its peak."""

    needed: int
    peak_per_s: float
    is_of_requests: bool
    """Whether `peak_per_s` counts requests; if not, requests are unknown and it counts iterations."""
    per_agent: int
    """Workers of the agent with the largest share: the value of `--workers` for a run on this machine."""


def rate_of(probed: Probed) -> CoreRate:
    """Return the rate of a core from a measurement.

    Raises:
        InvalidError: no request finished without error.
    """
    if not probed.requests or probed.errors:
        raise InvalidError(
            f"cannot measure a core: {format_count(probed.requests)} requests to 127.0.0.1 finished,"
            f" {format_count(probed.errors)} failed",
            hint="check that programs on this machine may connect to 127.0.0.1, or leave out --measure-core",
        )
    return CoreRate(probed.cpu_s / probed.requests * 1e6, MEASURED, had_share=min(1.0, probed.cpu_s / probed.took_s))


def measure_core(seconds: float = 2.0) -> CoreRate:
    """Measure what one core of this machine drives, with plain GETs of 1 KiB to a server on 127.0.0.1.

    It takes `seconds` and about 1.5 s for the start of the processes.

    Raises:
        InvalidError: the measurement failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != RAW_VARIABLE}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROBE, str(seconds)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=seconds + _MORE_S,
            env=environment,
        )
        probed = msgspec.json.decode(done.stdout, type=Probed)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        said = getattr(error, "stderr", None) or b""
        last = said.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise InvalidError(
            f"cannot measure a core: {last}",
            hint="free memory and processes of this machine, or leave out --measure-core",
        ) from error
    return rate_of(probed)


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1. A CPU limit of a container is rounded down."""
    allowed, limit = usable_cpus(), cpu_limit()
    return allowed if limit is None else max(1, min(allowed, int(limit)))


def workers_for(found: Forecast, core: CoreRate) -> Workers | None:
    """Return the workers that a plan needs at its peak; None if the peak is unknown.

    Without a trial, the peak is known in iterations only, and each counts as one request.
    """
    peak_per_s = found.peak_requests_per_s if found.peak_requests_per_s is not None else found.peak_per_s
    if peak_per_s is None:
        return None
    return Workers(
        needed=_workers(peak_per_s, core),
        peak_per_s=peak_per_s,
        is_of_requests=found.peak_requests_per_s is not None,
        per_agent=max((_workers(peak_per_s * share, core) for share in found.by_region.values()), default=1),
    )


def is_too_much(core: CoreRate, workers: Workers, cores: int) -> bool:
    """Return whether this machine surely has too few cores for a plan.

    A disturbed measurement may show twice the CPU time of a request, so even half of the workers must be too many.
    """
    return workers.needed > cores * (_DISTURBED_BY if core.is_disturbed else 1)


def _workers(per_s: float, core: CoreRate) -> int:
    return max(1, ceil(per_s / core.requests_per_s))


def core_lines(core: CoreRate, workers: Workers | None, cores: int) -> Iterator[tuple[str, str]]:
    """Yield the facts for the forecast, each as (first word, text). cores: cores of this machine."""
    rate = f"{format_count(round(float(f'{core.requests_per_s:.2g}')))} requests/s"  # it varies by some 10 %
    measured = f"{core.cpu_us:.0f} µs of CPU each, {core.source}"
    if core.is_disturbed:
        left = format_ratio(core.had_share)
        measured += f"; other processes left it {left} of a core, so a free core may drive twice as much"
    drives = f"at least {rate} of this scenario" if core.is_of_plan else f"{rate} of an open load"
    yield "core", f"drives {drives} on time, {core.use * 100:.0f} % of what fills it ({measured})"
    if workers is None:
        yield "workers", "unknown: without a trial, the rate of this load is not known"
        return
    count = format_count(workers.needed)
    if core.is_of_plan:
        needed = f"{count} {'is' if workers.needed == 1 else 'are'} enough"
    else:
        needed = f"at least {count} needed"
    of_what = "requests/s" if workers.is_of_requests else "iterations/s, if each iteration sends one request"
    peak = f"{format_count(ceil(workers.peak_per_s))} {of_what}"
    here = f"this machine has {quantity(cores, 'core')}"
    if workers.needed > cores and core.is_of_plan:
        advice = ". Fewer may be enough: find out with --measure-core"
    elif workers.needed > cores:
        advice = ": use agents on more machines (docs/distributed.md)"
    else:
        advice = f": run with --workers {workers.per_agent}" if workers.per_agent > 1 else ""
    yield "workers", f"{needed} at the peak of {peak}; {here}{advice}"


def core_facts(core: CoreRate | None, workers: Workers | None, cores: int) -> Mapping[str, object]:
    """Return the fields for `--json`; a figure that is unknown is null."""
    return {
        "core": None
        if core is None
        else {
            "requests_per_s": round(core.requests_per_s, 1),
            "cpu_us_per_request": round(core.cpu_us, 2),
            "source": core.source,
            "share_of_core": None if core.is_of_plan else round(core.had_share, 3),
        },
        "workers": None
        if workers is None
        else {
            "needed": workers.needed,
            "per_agent": workers.per_agent,
            "peak_per_s": workers.peak_per_s,
            "peak_of": "requests" if workers.is_of_requests else "iterations",
        },
        "cores": cores,
    }

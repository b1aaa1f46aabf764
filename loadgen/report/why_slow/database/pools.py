"""Clients that wait for a connection of PgBouncer in the time of slow requests. Pure.

A sample is of one moment. It belongs to the time of slow requests if one of the sampled slow requests was open then,
within the errors of both clocks. The other samples of the load are the comparison: the sample of traces does not have
every slow request, so some of them may be slow times, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadgen.probes.points import Point
from loadgen.report.why_slow.database.parts import PoolPart
from loadgen.report.why_slow.database.slow_times import SlowTimes
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["pool_of"]


def pool_of(
    probe: str, points: Mapping[str, Sequence[Point]], t0_ns: int, end_ns: int, slow: SlowTimes
) -> PoolPart | None:
    """Return what a probe of PgBouncer saw in the time of slow requests; None if no client waited then.

    Also None if clients waited more often in the rest of the load. points: those of the probe, by key of the row.
    """
    inside, outside = _split(points.get("cl_waiting", ()), t0_ns, end_ns, slow)
    waiting, others = _waiting(inside), _waiting(outside)
    if not waiting or waiting * len(outside) < others * len(inside):
        return None
    longest, _ = _split(points.get("maxwait", ()), t0_ns, end_ns, slow)
    times, other_times = _split(points.get("query_time", ()), t0_ns, end_ns, slow)
    error_ns = max(one.error_ns for one in inside)
    return PoolPart(
        probe=probe,
        most=max(one.value or 0.0 for one in inside),
        waiting=waiting,
        samples=len(inside),
        other_waiting=others,
        other_samples=len(outside),
        longest_s=max((one.value for one in longest if one.value is not None), default=None),
        query_ms=_mean_ms(times),
        other_query_ms=_mean_ms(other_times),
        error_ms=error_ns / NS_PER_MS + slow.error_s * 1e3,
    )


def _split(points: Sequence[Point], t0_ns: int, end_ns: int, slow: SlowTimes) -> tuple[list[Point], list[Point]]:
    """Return the known points of the load: those in the time of slow requests, and the others."""
    inside: list[Point] = []
    outside: list[Point] = []
    for one in points:
        if one.value is None or not t0_ns <= one.at_ns <= end_ns:
            continue
        begin_s = (one.at_ns - t0_ns) / NS_PER_S
        is_inside = slow.during(begin_s, begin_s + one.length_ns / NS_PER_S, one.error_ns / NS_PER_S)
        (inside if is_inside else outside).append(one)
    return inside, outside


def _waiting(points: Sequence[Point]) -> int:
    return sum(1 for one in points if one.value is not None and one.value > 0)


def _mean_ms(points: Sequence[Point]) -> float | None:
    """Return the mean of a share of s, weighted by its counts, in ms; None without counts."""
    counts = sum(one.count or 0.0 for one in points)
    total = sum((one.value or 0.0) * (one.count or 0.0) for one in points)
    return total / counts * 1e3 if counts > 0 else None

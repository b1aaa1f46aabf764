"""The floor of each distance: the one that chance alone makes between two samples of the same traffic and size.

A model that is fitted on sessions A and compared with sessions B differs from B even if it is perfect. There are three
reasons: A is a sample, so the fit is off; the simulation is a sample; and B is a sample. The distance between A and B
has only two of them, so a perfect model would often exceed it. Sessions that are drawn again from A, with replacement,
have all three: they are a simulation of the best possible fit, and their distance to B is the floor.

The floor is the largest of 60 such distances, and a model may have 1.25 times the floor. A perfect model exceeds this
in 0.1 to 0.5 % of the cases, for each row. With the 95 % quantile of 20 distances it would be 1 to 4 %, and a table of
17 rows would fail a perfect model in more than 1 of 20 cases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.compare import (
    Distances,
    bursts_distance,
    nrmse_of_active,
    session_distances,
)
from loadgen.traffic.fidelity.distances import ks, nrmse
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.time_summary import Times, TimeSummary, active_of, bursts_of, time_summary
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = ["SPLITS", "halved", "session_floors", "session_floors_of_all", "time_floors"]

SPLITS: Final = 60
_CACHED_SPLITS: Final = 20
"""Hit ratios of caches take half of the time, so `locality` has fewer distances."""
_OF_HALVES: Final = 2**-0.5


def halved(sessions: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of two random halves of sessions, each increasing; with an odd number, one is left out."""
    order = rng.permutation(sessions)
    half = sessions // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


def drawn(table: SessionTable, sessions: int, rng: np.random.Generator) -> SessionTable:
    """Return sessions that are drawn with replacement."""
    return table.chosen(np.sort(rng.integers(0, table.count, sessions)))


def shuffled(table: SessionTable, rng: np.random.Generator) -> SessionTable:
    """Return the sessions with each other's starts.

    Only `locality` depends on them. A session that was drawn twice would otherwise request its keys twice at one time,
    which is a hit in any cache.
    """
    shift = (rng.permutation(table.starts) - table.starts)[table.session]
    return replace(table, start=table.start + shift, end=table.end + shift)


def session_floors(table: SessionTable, rng: np.random.Generator, splits: int = SPLITS) -> Distances:
    """Return the floors for a model that is fitted on one half of the sessions and compared with the other half."""
    found = []
    for number in range(splits):
        a, b = (table.chosen(half) for half in halved(table.count, rng))
        found.append(_distances(drawn(a, a.count, rng), b, rng, has_caches=number < _CACHED_SPLITS))
    return largest(found)


def session_floors_of_all(
    table: SessionTable, sessions: int, rng: np.random.Generator, splits: int = SPLITS
) -> Distances:
    """Return the floors for two samples that are both drawn from this table. sessions: in each sample."""
    found = []
    for number in range(splits):
        one, other = (drawn(table, sessions, rng) for _ in range(2))
        found.append(_distances(one, other, rng, has_caches=number < _CACHED_SPLITS))
    return largest(found)


def _distances(one: SessionTable, other: SessionTable, rng: np.random.Generator, *, has_caches: bool) -> Distances:
    reference = summary_of(shuffled(other, rng), has_caches=has_caches)
    return session_distances(summary_of(shuffled(one, rng), reference, has_caches=has_caches), reference)


def time_floors(
    times: Times, rng: np.random.Generator, splits: int = SPLITS, *, expected: TimeSummary | None = None
) -> Distances:
    """Return the floors of the properties of times.

    Curves: sessions drawn again, against the log. Each session counts 0, 1, 2 ... times as in a Poisson process, so the
    total varies, too. Bunching: two random halves of the windows, because sessions that are drawn again bunch more than
    the log. Halves differ by sqrt(2) more than two logs of the whole length, so this factor is taken out.

    expected: the curves around which the sessions differ; default: those of `times`.
    """
    base = time_summary(times) if expected is None else expected
    bins = len(base.curve)
    at = np.minimum(times.starts // (base.bin_s * 1_000_000), bins - 1)
    bursts = bursts_of(times)
    found: list[Distances] = []
    for _ in range(splits):
        repeats = rng.poisson(1, len(times.starts))
        added = np.bincount(at, weights=(repeats - 1) * times.lengths, minlength=bins)
        distances: Distances = {
            "rate curve": nrmse(base.curve + added, base.curve) if base.total else None,
            "total": abs(float(added.sum())) / base.total if base.total else None,
            "concurrency": _of_active(times, repeats, base),
            "burstiness": None,
            "inter-arrival": None,
        }
        if bursts is not None and bursts.windows > 1:
            chosen = np.zeros(bursts.windows, bool)
            chosen[rng.permutation(bursts.windows)[: bursts.windows // 2]] = True
            a, b = bursts.of_windows(chosen), bursts.of_windows(~chosen)
            difference = bursts_distance(a.dispersions, a.variation, b.dispersions, b.variation)
            distances["burstiness"] = None if difference is None else difference * _OF_HALVES
            has_gaps = len(a.gap_us) > 0 and len(b.gap_us) > 0
            distances["inter-arrival"] = ks(a.gaps, b.gaps) * _OF_HALVES if has_gaps else None
        found.append(distances)
    return largest(found)


def _of_active(times: Times, repeats: NDArray[np.int64], base: TimeSummary) -> float:
    bins = len(base.active)
    added = active_of(times.repeated(repeats), base.bin_s, bins) - active_of(times, base.bin_s, bins)
    return nrmse_of_active(base.active + added, base.active)


def largest(found: Iterable[Distances]) -> Distances:
    """Return the largest distance of each property; None if none could be measured."""
    floors: Distances = {}
    for distances in found:
        for name, distance in distances.items():
            known = floors.get(name)
            floors[name] = distance if known is None else known if distance is None else max(known, distance)
    return floors

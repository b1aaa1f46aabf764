"""Runs made of numbers: response times by interval, through the same deltas and merges as those of a real run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt

import numpy as np

from loadgen.measure.deltas.delta import Counters, Delta, SeriesStats
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import slots_of_ns
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Row
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.batches_of_run import read_batches
from loadgen.units import NS_PER_S

__all__ = ["JOURNEY", "ROW", "ar1", "batches_of", "deltas_of", "quick_batches_of", "wilson"]

JOURNEY = SeriesKey("journey", "shop", None, None, OK, "response")
ROW = Row("journey", "shop")


def ar1(rng: np.random.Generator, length: int, phi: float, sd: float) -> np.ndarray:
    """A stationary AR(1) process, (length,), with this standard deviation."""
    innovations = rng.normal(0, sd * sqrt(1 - phi * phi), length)
    out = np.empty(length)
    out[0] = rng.normal(0, sd)
    for i in range(1, length):
        out[i] = phi * out[i - 1] + innovations[i]
    return out


def deltas_of(intervals_ns: Sequence[np.ndarray], interval_ns: int = NS_PER_S) -> Iterator[tuple[str, Delta]]:
    """One agent's deltas of one journey's response times, ns, by the interval in which they ended."""
    for k, ns in enumerate(intervals_ns):
        slots, counts = np.unique(slots_of_ns(ns), return_counts=True)
        stats = (SeriesStats(0, len(ns), int(ns.sum()), int(ns.min()), int(ns.max())),) if len(ns) else ()
        yield (
            "us",
            Delta(
                agent="a",
                epoch=1,
                seq=k,
                start_ns=k * interval_ns,
                end_ns=(k + 1) * interval_ns,
                new_series=() if k else (JOURNEY,),
                index=slots.astype("<u4").tobytes(),
                count=counts.astype("<u4").tobytes(),
                stats=stats,
                counters=Counters(iterations_due=len(ns), iterations_started=len(ns), iterations_finished=len(ns)),
            ),
        )


def batches_of(intervals_ns: Sequence[np.ndarray], interval_ns: int = NS_PER_S, *, start: int = 0) -> Batches:
    """The batches of such a run; the first `start` intervals are its warm-up."""
    ends = len(intervals_ns) * interval_ns
    return read_batches(deltas_of(intervals_ns, interval_ns), start * interval_ns, ends, interval_ns, recount=start > 0)


def quick_batches_of(intervals_ns: Sequence[np.ndarray], interval_ns: int = NS_PER_S) -> Batches:
    """The same response times in the same batches, without deltas and their checks, in a third of the time.

    For tables of many runs. The counters of iterations are empty, so only percentiles can be asked for.
    """
    batches = Batches(0, len(intervals_ns) * interval_ns, interval_ns)
    batches.add_cells(Merge(interval_ns), _cells_of(intervals_ns, interval_ns))
    return batches


def _cells_of(intervals_ns: Sequence[np.ndarray], interval_ns: int) -> Iterable[Cell]:
    names: Sequence[tuple[str, SeriesKey]] = (("us", JOURNEY),)
    for k, ns in enumerate(intervals_ns):
        if not len(ns):
            continue
        slots, counts = np.unique(slots_of_ns(ns), return_counts=True)
        sum_us, rest_ns = divmod(int(ns.sum()), 1_000)
        stats = Stats(*(np.array([one]) for one in (0, len(ns), sum_us, rest_ns, ns.min(), ns.max())))
        yield Cell(k * interval_ns, (k + 1) * interval_ns, {}, slots.astype(np.int64), counts, stats, names)
        names = ()


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share: of the coverage that a simulation found."""
    z = 1.96
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half

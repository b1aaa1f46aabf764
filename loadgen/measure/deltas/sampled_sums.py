"""Counts and sums of the response times of sampled and of other requests, by series.

The decision whether a request is sampled comes from random bits of its trace id. So the two groups differ only by
chance and by what tracing costs the target: a randomised experiment (`loadgen/analysis/slow_requests/tracing_cost.py`).

Both groups are sent, although the series itself has the sum of both: an agent's series can contain requests without a
decision, those of a worker of an older version or with a trace header of the scenario's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import COUNT, SAME_VERSION
from loadgen.measure.histograms.histogram import MAX_NS

__all__ = ["SampledSums", "add_sampled", "check_sampled"]


@dataclass(frozen=True, slots=True)
class SampledSums:
    """The ok requests of one series that ended in one interval, by whether they were sampled. Times are ns.

    series: the agent's id of the series of ok response times.
    """

    series: int
    sampled_n: int
    sampled_sum_ns: int
    others_n: int
    others_sum_ns: int


def add_sampled(rows: Iterable[SampledSums]) -> tuple[SampledSums, ...]:
    """Return the sums of each series over all rows, sorted by series."""
    found: dict[int, SampledSums] = {}
    for one in rows:
        had = found.get(one.series)
        if had is not None:
            one = SampledSums(
                one.series,
                had.sampled_n + one.sampled_n,
                had.sampled_sum_ns + one.sampled_sum_ns,
                had.others_n + one.others_n,
                had.others_sum_ns + one.others_sum_ns,
            )
        found[one.series] = one
    return tuple(found[series] for series in sorted(found))


def check_sampled(name: str, rows: Sequence[SampledSums], known: int) -> None:
    """Check the rows of one delta, and raise WireError if one is impossible.

    name: names the delta in the error message. known: number of the agent's series, with those that the delta adds.
    """
    before = -1
    for one in rows:
        if not before < one.series < known:
            raise WireError(f"{name} has sums of an unknown or repeated series {one.series}", hint=SAME_VERSION)
        before = one.series
        pairs = ((one.sampled_n, one.sampled_sum_ns), (one.others_n, one.others_sum_ns))
        if any(not (0 <= n <= COUNT and 0 <= sum_ns <= n * MAX_NS) for n, sum_ns in pairs):
            raise WireError(f"{name} has impossible sums of sampled requests: {one}", hint=SAME_VERSION)

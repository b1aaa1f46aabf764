"""Splits the difference between two cohorts of traces exactly by the shapes of their traces.

A shape is the set of paths of a trace, each with the class of its number of calls (R. Sambasivan et al., NSDI 2011;
tprof, L. Huang and T. Zhu, SoCC 2021). The split by shape is Kitagawa's (1955): what would differ if only the shares of
the shapes differed, and the rest. All sums are within 1e-9 of the whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import fsum
from typing import Final, TypeAlias

import msgspec

from loadgen.traces.model import Path
from loadgen.traces.timed import Parted

__all__ = [
    "CALL_CLASSES",
    "Difference",
    "Shape",
    "ShapeDifference",
    "call_class",
    "difference",
    "shape_of",
]

CALL_CLASSES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""The least number of calls of each class: 1, 2 to 4, 5 to 9, and so on."""

Shape: TypeAlias = frozenset[tuple[Path, int]]
"""The paths of a trace, each with the least number of calls of its class."""


class ShapeDifference(msgspec.Struct, frozen=True):
    """One shape in two cohorts. Shares are of the weight, 0 to 1. Means are None in a cohort without the shape.

    added_ns = same_shape_ns + more_of_shape_ns is its part of the whole difference. more_of_shape_ns counts from the
    mean of the two cohorts: it is above 0 if a shape slower than that is more frequent among the slow.
    """

    shape: Shape
    share_slow: float
    share_fast: float
    mean_slow_ns: float | None
    mean_fast_ns: float | None
    added_ns: float
    same_shape_ns: float
    more_of_shape_ns: float


class Difference(msgspec.Struct, frozen=True):
    """The difference between the mean responses of two cohorts, in ns, and its parts.

    whole_ns = slow_ns - fast_ns = the sum of added_ns over shapes = same_shape_ns + more_of_shape_ns.
    same_shape_ns: the part of traces that have the same shape but are slower. more_of_shape_ns: the part of shapes
    that are more frequent among slow traces. Parts by path: `own_times.added`.
    """

    slow_ns: float
    fast_ns: float
    whole_ns: float
    same_shape_ns: float
    more_of_shape_ns: float
    shapes: tuple[ShapeDifference, ...]


def call_class(calls: int) -> int:
    """Return the least number of calls of the class that a number of calls, at least 1, belongs to."""
    return CALL_CLASSES[bisect_right(CALL_CLASSES, calls) - 1]


def shape_of(timed: Parted) -> Shape:
    """Return the shape of a trace."""
    return frozenset([(path, call_class(time.calls)) for path, time in timed.paths.items()])


def difference(slow: Sequence[Parted], fast: Sequence[Parted]) -> Difference:
    """Return the exact split of the difference between the mean responses of two cohorts, the largest parts first.

    Raises:
        ValueError: a cohort is empty.
    """
    if not slow or not fast:
        raise ValueError("each of the two cohorts needs at least one trace")
    shapes = _by_shape(slow, fast)
    slow_ns, fast_ns = _mean_response(slow), _mean_response(fast)
    return Difference(
        slow_ns=slow_ns,
        fast_ns=fast_ns,
        whole_ns=slow_ns - fast_ns,
        same_shape_ns=fsum(shape.same_shape_ns for shape in shapes),
        more_of_shape_ns=fsum(shape.more_of_shape_ns for shape in shapes),
        shapes=shapes,
    )


def _mean_response(cohort: Sequence[Parted]) -> float:
    weight = fsum(trace.observed.weight for trace in cohort)
    return fsum(trace.observed.weight * trace.observed.response_ns for trace in cohort) / weight


def _by_shape(slow: Sequence[Parted], fast: Sequence[Parted]) -> tuple[ShapeDifference, ...]:
    of_slow, of_fast = _shape_means(slow), _shape_means(fast)
    middle = (_mean_response(slow) + _mean_response(fast)) / 2
    rows = []
    for shape in {**of_slow, **of_fast}:
        share_slow, mean_slow = of_slow.get(shape, (0.0, None))
        share_fast, mean_fast = of_fast.get(shape, (0.0, None))
        known = [mean for mean in (mean_slow, mean_fast) if mean is not None]
        more = (share_slow - share_fast) * (fsum(known) / len(known) - middle)
        same = 0.0
        if mean_slow is not None and mean_fast is not None:
            same = (share_slow + share_fast) / 2 * (mean_slow - mean_fast)
        rows.append(ShapeDifference(shape, share_slow, share_fast, mean_slow, mean_fast, same + more, same, more))
    return tuple(sorted(rows, key=lambda row: (-row.added_ns, sorted(row.shape))))


def _shape_means(cohort: Sequence[Parted]) -> dict[Shape, tuple[float, float]]:
    """Return by shape its share of the weight and the mean response in ns."""
    found: dict[Shape, list[tuple[float, int]]] = {}
    for trace in cohort:
        found.setdefault(shape_of(trace), []).append((trace.observed.weight, trace.observed.response_ns))
    total = fsum(trace.observed.weight for trace in cohort)
    means = {}
    for shape, rows in found.items():
        weight = fsum(weight for weight, _ in rows)
        means[shape] = weight / total, fsum(weight * response for weight, response in rows) / weight
    return means

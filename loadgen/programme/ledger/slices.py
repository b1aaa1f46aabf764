"""Slices: how many requests were good, and how many there were, in short stretches of time.

Slices are the rows of the ledger. Only counts are summed: a percentile or a ratio of a slice is never averaged. All
numbers are whole, so sums are exact and do not depend on their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ALL_KEPT_PPM", "DAY_S", "DEFAULT_WIDTH_S", "Slice", "Sum", "starts_between", "sum_of"]

DAY_S: Final = 86_400
DEFAULT_WIDTH_S: Final = 300
ALL_KEPT_PPM: Final = 1_000_000
"""The part of the requests that a source without sampling counts, in millionths."""
_COUNT_MOST: Final = 1 << 53
"""Larger counts are errors; they would not be exact as floats."""


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """The counts of one objective in [start, start + width).

    start: Unix time, s. width: s, > 0. total: all requests that were seen, good: those of them that were good.
    missing_s: the time in which requests may be missing from both counts: whole seconds, rounded up, from 0 to width.
    estimated: whether the counts were interpolated, sampled or extrapolated.
    evidence: how the counts were found, for people.
    bounds: the fewest and the most good requests that an interpolation allows. None: `good` itself; in an estimated
    slice any number from 0 to `total`, since nothing is known about its error.
    kept_ppm: the part of the requests that the source samples, in millionths; the counts are scaled up to all.

    Raises:
        ValueError: a number is out of its range.
    """

    slo: str
    start: int
    width: int
    good: int
    total: int
    missing_s: int = 0
    estimated: bool = False
    evidence: str = ""
    bounds: tuple[int, int] | None = None
    kept_ppm: int = ALL_KEPT_PPM

    def __post_init__(self) -> None:
        if self.width <= 0 or self.width > DAY_S:
            raise ValueError(f"the width {self.width} s is not from 1 s to a day")
        if not 0 <= self.good <= self.total <= _COUNT_MOST:
            raise ValueError(f"{self.good} good of {self.total} requests are not possible")
        if not 0 <= self.missing_s <= self.width:
            raise ValueError(f"{self.missing_s} s cannot be missing from {self.width} s")
        if not 0 < self.kept_ppm <= ALL_KEPT_PPM:
            raise ValueError(f"{self.kept_ppm} millionths are not a part of the requests")
        if not 0 <= self.low <= self.good <= self.high <= self.total:
            raise ValueError(f"{self.low} to {self.high} do not contain {self.good} good of {self.total} requests")
        if self.bounds == self._without_bounds:
            object.__setattr__(self, "bounds", None)  # equal slices must compare as equal

    @property
    def _without_bounds(self) -> tuple[int, int]:
        return (0, self.total) if self.estimated else (self.good, self.good)

    @property
    def low(self) -> int:
        """Return the fewest good requests that an interpolation allows."""
        return (self.bounds or self._without_bounds)[0]

    @property
    def high(self) -> int:
        """Return the most good requests that an interpolation allows."""
        return (self.bounds or self._without_bounds)[1]

    @property
    def end(self) -> int:
        """Return the first second after the slice."""
        return self.start + self.width

    @property
    def key(self) -> tuple[str, int, int]:
        """Return what identifies the slice: a later revision of it has the same key."""
        return self.slo, self.start, self.width

    @property
    def is_whole(self) -> bool:
        """Return whether nothing is missing."""
        return not self.missing_s


@dataclass(frozen=True, slots=True)
class Sum:
    """Counts over several slices; see `Slice`. seconds: the time that the slices cover, with missing time.

    estimated: the part of `total` that is in estimated slices.
    """

    good: int = 0
    total: int = 0
    seconds: int = 0
    missing_s: int = 0
    estimated: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            self.good + other.good,
            self.total + other.total,
            self.seconds + other.seconds,
            self.missing_s + other.missing_s,
            self.estimated + other.estimated,
        )

    @property
    def bad(self) -> int:
        """Return the number of requests that were seen and were not good."""
        return self.total - self.good


def sum_of(slices: Iterable[Slice]) -> Sum:
    """Return the sum of slices. The slices of a split have the same sum as the whole."""
    good = total = seconds = missing = estimated = 0
    for one in slices:
        good += one.good
        total += one.total
        seconds += one.width
        missing += one.missing_s
        estimated += one.total if one.estimated else 0
    return Sum(good, total, seconds, missing, estimated)


def starts_between(start: int, end: int, width: int) -> Iterator[int]:
    """Yield the starts of all slices that lie wholly in [start, end). Slices begin at multiples of their width."""
    yield from range(-(-start // width) * width, end - width + 1, width)

"""HdrHistogram counts as numpy arrays, with percentiles that respect censored values.

The layout is HdrHistogram's for 1 µs to 1 h with 3 significant digits: slots of 1 µs up to 2,048 µs,
then 1,024 slots for each doubling, so a slot is at most 0.1 % wide. The `hdrhistogram` package is
only used as the codec, and as the reference in tests: its `record_value` costs 600 to 1,800 ns a
value and silently drops values out of range. Its percentile costs 3.8 ms, cumsum and searchsorted 0.02 ms.

A *censored* value is a lower bound of the true time (time-out, missed, cut off). It must never be
ranked as if it were the true time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from hdrh.histogram import HdrHistogram

from loadgen.errors import BugError

__all__ = [
    "MAX_NS",
    "SLOTS",
    "Counts",
    "Histogram",
    "Value",
    "highest_us",
    "lowest_us",
    "mean_us",
    "percentile",
    "percentiles",
    "slot_of_us",
    "slots_of_ns",
]

Counts = np.ndarray[tuple[int], np.dtype[np.int64]]
"""A one-dimensional int64 array."""

_HALF_BITS: Final = 10
_HALF: Final = 1 << _HALF_BITS
_MAX_US: Final = 3_600_000_000
_DIGITS: Final = 3

MAX_NS: Final = _MAX_US * 1_000
"""The longest value that is recorded as such: 1 h. The recorder censors longer values at 1 h."""
SLOTS: Final = 23 * _HALF
"""Number of slots: `counts_len` of the package's histogram of the same range (a test checks that)."""


def slots_of_ns(values_ns: np.ndarray) -> Counts:
    """Return, for each time in ns, the number of the histogram slot that counts it. Times are rounded to µs, half up.

    Cost: about 10 ns a value.

    Raises:
        BugError: a value is below 0 or above MAX_NS, which the recorder never produces.
    """
    if not len(values_ns):
        return np.zeros(0, dtype=np.int64)
    us = (values_ns.astype(np.int64, copy=False) + 500) // 1_000
    if values_ns.min() < 0 or us.max() > _MAX_US:
        raise BugError(
            f"a measured time must be within 0 and {MAX_NS} ns: {values_ns.min()} to {values_ns.max()}",
            hint="please report this with the run folder",
        )
    # The exponent of the float is the bit length: exact below 2^53.
    bucket = np.frexp((us | (2 * _HALF - 1)).astype(np.float64))[1].astype(np.int64) - (_HALF_BITS + 1)
    slots: Counts = (bucket << _HALF_BITS) + (us >> bucket)
    return slots


def _tables() -> tuple[Counts, Counts]:
    slot = np.arange(SLOTS, dtype=np.int64)
    bucket = np.maximum((slot >> _HALF_BITS) - 1, 0)
    lowest = (slot - (bucket << _HALF_BITS)) << bucket
    return lowest, lowest + (1 << bucket) - 1


_LOWEST_US, _HIGHEST_US = _tables()

_Slot = TypeVar("_Slot", int, Counts)


def lowest_us(slot: _Slot) -> _Slot:
    """Return the lowest value of a slot, or of each slot of an array, µs."""
    return _at(_LOWEST_US, slot)


def highest_us(slot: _Slot) -> _Slot:
    """Return the highest value of a slot, or of each slot of an array, µs.

    A percentile is reported as the highest value of its slot, as HdrHistogram does it.
    """
    return _at(_HIGHEST_US, slot)


def slot_of_us(us: int) -> int:
    """Return the slot of a value in µs: -1 for a value below 0, and the last slot for one above the range."""
    return int(np.searchsorted(_LOWEST_US, us, side="right")) - 1


def _at(table: Counts, slot: _Slot) -> _Slot:
    return int(table[slot]) if isinstance(slot, int) else table[slot]


class Histogram:
    """Counts by slot, together with the exact sum, least and greatest value.

    The array ends at the highest slot in use (in steps of 1,024), so a series of short times is small. Percentiles cost
    one cumsum after a change, then 2 µs each.
    """

    __slots__ = ("_counts", "_cumulated", "max_ns", "min_ns", "sum_ns")

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(0, dtype=np.int64)
        self._cumulated: Counts | None = None
        self.sum_ns = 0
        self.min_ns: int | None = None
        """The least value; None while empty, and if only counts are known."""
        self.max_ns: int | None = None

    def __repr__(self) -> str:
        p50, p99 = self.percentile_us(50), self.percentile_us(99)
        return f"<Histogram of {self.total:,} values: p50 {p50} µs, p99 {p99} µs>"

    def __eq__(self, other: object) -> bool:
        """Return whether both histograms have equal counts in all slots; the other figures are ignored."""
        if not isinstance(other, Histogram):
            return NotImplemented
        return all(map(np.array_equal, self.sparse(), other.sparse()))

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of_ns(cls, values_ns: np.ndarray | list[int]) -> Histogram:
        """Return a new histogram of the given times in ns."""
        values = np.asarray(values_ns, dtype=np.int64)
        made = cls()
        if len(values):
            slots, counts = np.unique(slots_of_ns(values), return_counts=True)
            made.add(slots, counts)
            # Python integers, because 2.6 million values of an hour would overflow int64.
            made.note(sum(map(int, values)), int(values.min()), int(values.max()))
        return made

    def add(self, slots: np.ndarray, counts: np.ndarray) -> None:
        """Add `counts[i]` values to slot `slots[i]`, for each i. No slot may occur twice in one call.

        This does not update the exact sum, least and greatest value: call `note` for them.
        """
        if len(slots):
            self._grow(int(slots.max()) + 1)
            self._counts[slots] += counts
            self._cumulated = None

    def add_dense(self, first: int, counts: np.ndarray) -> None:
        """Add `counts` to the counts of consecutive slots, beginning with slot `first`."""
        self._grow(first + len(counts))
        self._counts[first : first + len(counts)] += counts
        self._cumulated = None

    def note(self, sum_ns: int, min_ns: int, max_ns: int) -> None:
        """Update the exact sum, least and greatest value, for values whose counts were added separately."""
        self.sum_ns += sum_ns
        self.min_ns = min_ns if self.min_ns is None else min(self.min_ns, min_ns)
        self.max_ns = max_ns if self.max_ns is None else max(self.max_ns, max_ns)

    def add_histogram(self, other: Histogram) -> None:
        """Add the counts of another histogram to this one, and update the exact sum, least and greatest value."""
        self.add_dense(0, other._counts)
        if other.min_ns is not None and other.max_ns is not None:
            self.note(other.sum_ns, other.min_ns, other.max_ns)

    @property
    def total(self) -> int:
        """Return the number of values in the histogram."""
        cumulated = self._cumulate()
        return int(cumulated[-1]) if len(cumulated) else 0

    def percentile_us(self, q: float) -> int:
        """Return the value at percentile `q` (0 to 100) in µs, by HdrHistogram's rank rule; 0 if it is empty."""
        total = self.total
        if not total:
            return 0
        slot = self._slot_at(_rank(q, total))
        return highest_us(slot) if q else lowest_us(slot)

    def value_at_rank_us(self, rank: int) -> int:
        """Return the `rank`-th smallest value in µs (1 .. total), rounded up to the highest value of its slot."""
        return highest_us(self._slot_at(rank))

    def count_at_most_us(self, us: int) -> int:
        """Return the number of values up to `us`, including all values in the slot of `us` (0.1 % of `us` wide)."""
        if us < 0 or not len(self._counts):
            return 0
        return int(self._cumulate()[min(slot_of_us(us), len(self._counts) - 1)])

    def sparse(self) -> tuple[Counts, Counts]:
        """Return (numbers of the slots that have values, ascending; the counts of these slots)."""
        slots = np.flatnonzero(self._counts)
        return slots, self._counts[slots]

    def encode(self) -> str:
        """Return the counts (values in µs) as text that any HdrHistogram tool reads: V2, compressed, base64."""
        package = HdrHistogram(1, _MAX_US, _DIGITS)
        slots, counts = self.sparse()
        if len(slots):
            # Written into the package's own array: its `record_value` costs 600 ns and more a value.
            np.frombuffer(package.counts, dtype=np.uint64)[slots] = counts
            package.set_internal_tacking_values(int(slots[0]), int(slots[-1]), int(counts.sum()))
        return str(package.encode().decode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Return a new histogram from the text that `encode` returned, or from any other HdrHistogram V2 text.

        If the text has another layout of slots, each of its values is taken as the lowest of its slot, as
        HdrHistogram's own `add` does.

        Raises:
            ValueError: the text is not an HdrHistogram, or it holds values beyond 1 h.
        """
        slots, counts = _decoded(text)
        made = cls()
        made.add(slots, counts)
        return made

    def _slot_at(self, rank: int) -> int:
        return int(np.searchsorted(self._cumulate(), rank))

    def _cumulate(self) -> Counts:
        if self._cumulated is None:
            self._cumulated = np.cumsum(self._counts)
        return self._cumulated

    def _grow(self, length: int) -> None:
        if length > len(self._counts):
            grown = np.zeros(-(-length // _HALF) * _HALF, dtype=np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown


def _rank(q: float, total: int) -> int:
    """Return the rank (1 .. total) of percentile `q` among `total` values.

    The computation has the same order of operations as the HdrHistogram package, so that rounding never differs from
    it.
    """
    return max(int((min(q, 100.0) * total / 100) + 0.5), 1)


def _decoded(text: str) -> tuple[Counts, Counts]:
    try:
        package = HdrHistogram.decode(text)
    except Exception as exc:  # base64, zlib, ctypes and the package each raise their own exceptions
        raise ValueError(f"not an HdrHistogram V2: {exc}") from exc
    counts = np.frombuffer(package.counts, dtype=np.uint64).astype(np.int64)
    slots = np.flatnonzero(counts)
    if package.counts_len != SLOTS or package.significant_figures != _DIGITS or package.unit_magnitude:
        values = [package.get_value_from_index(int(i)) for i in slots]
        if values and max(values) > _MAX_US:
            raise ValueError(f"it holds a value of {max(values)} µs, beyond the limit of 1 h")
        dense = np.zeros(SLOTS, dtype=np.int64)
        np.add.at(dense, slots_of_ns(np.array(values, dtype=np.int64) * 1_000), counts[slots])
        counts, slots = dense, np.flatnonzero(dense)
    return slots, counts[slots]


@dataclass(frozen=True, slots=True)
class Value:
    """A percentile or a mean in µs: a known number, or only a lower bound of it."""

    us: float
    is_bound: bool

    @property
    def ms(self) -> float:
        return self.us / 1_000

    def __str__(self) -> str:
        return f"> {self.ms:.6g} ms" if self.is_bound else f"{self.ms:.6g} ms"


def percentile(observed: Histogram, censored: Histogram | None, q: float) -> Value | None:
    """Return percentile `q` (0 to 100) of observed and censored values together; None if there are no values.

    If censored values (of which only a lower bound is known) decide, the result is marked as a bound; see
    `percentiles`.
    """
    return percentiles(observed, censored, (q,))[0]


def percentiles(observed: Histogram, censored: Histogram | None, qs: Sequence[float]) -> list[Value | None]:
    """Return percentiles `qs` (0 to 100) of observed and censored values together; all None without values.

    A censored value is known only as a lower bound. The rank of a percentile is looked up twice: with the censored
    values at their bounds and at infinity. If both results are in one slot, the percentile is known. Otherwise only a
    lower bound is returned, marked with `is_bound`: the lowest value of the slot found with the bounds.
    """
    if censored is None or not censored.total:
        return [Value(observed.percentile_us(q), False) if observed.total else None for q in qs]
    both = Histogram()
    both.add_histogram(observed)
    both.add_histogram(censored)
    return [_between(observed, both, q) for q in qs]


def _between(observed: Histogram, both: Histogram, q: float) -> Value:
    rank = _rank(q, both.total)
    low = both._slot_at(rank)
    if rank <= observed.total and observed._slot_at(rank) == low:
        return Value(highest_us(low) if q else lowest_us(low), False)
    bound_ns = (both.max_ns if q >= 100 else both.min_ns) or 0  # known exactly, so better than the edge of the slot
    return Value(max(lowest_us(low), bound_ns // 1_000), True)


def mean_us(observed: Histogram, censored: Histogram | None = None) -> Value | None:
    """Return the exact mean of observed and censored values in µs; None if there are no values.

    If any value is censored (only its lower bound is known), the result is marked as a lower bound.
    """
    bounds = censored.total if censored is not None else 0
    total = observed.total + bounds
    if not total:
        return None
    sum_ns = observed.sum_ns + (censored.sum_ns if censored is not None else 0)
    return Value(sum_ns / total / 1_000, bounds > 0)

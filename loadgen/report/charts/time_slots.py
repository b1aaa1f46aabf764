"""Store histograms over time in a bounded number of time slots. When there are too many, slots double in length.

A slot holds histogram counts, so a longer slot is the exact sum of shorter ones:
nothing is averaged, and only the resolution in time is lost.

A *key* is the number of one histogram; it has `width` buckets. An index combines
both: key * width + bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.histograms.histogram import MAX_NS, Counts
from loadgen.measure.histograms.sum_sparse_counts import sum_pairs
from loadgen.measure.run_folder.crc_record_file import pack, unpack

__all__ = ["NOTHING", "Ring", "Sums", "add_sums", "sums_of"]

_NONE: Final[Counts] = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sparse counts of several histograms, with the least and the greatest value of each.

    index: (n,) ascending, without repeats. counts: (n,) of the narrowest unsigned type that holds them.
    least_ns, most_ns: (n_keys,) int64 by key; MAX_NS and 0 for a key without values.
    """

    index: np.ndarray
    counts: np.ndarray
    least_ns: Counts
    most_ns: Counts

    @property
    def size_bytes(self) -> int:
        return self.index.nbytes + self.counts.nbytes + self.least_ns.nbytes + self.most_ns.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """Sums that no longer change, compressed to a fifth: the differences between successive indexes."""

    steps: bytes
    counts: bytes
    dtype: str
    least_ns: Counts
    most_ns: Counts

    @classmethod
    def of(cls, sums: Sums) -> _Packed:
        steps = np.diff(sums.index.astype(np.int64), prepend=0).astype("<u4")
        counts = sums.counts
        return cls(pack(steps.tobytes()), pack(counts.tobytes()), counts.dtype.str, sums.least_ns, sums.most_ns)

    @property
    def sums(self) -> Sums:
        index = np.cumsum(np.frombuffer(unpack(self.steps), dtype="<u4"), dtype=np.int64)
        return Sums(index, np.frombuffer(unpack(self.counts), dtype=self.dtype), self.least_ns, self.most_ns)

    @property
    def size_bytes(self) -> int:
        return len(self.steps) + len(self.counts) + self.least_ns.nbytes + self.most_ns.nbytes


NOTHING: Final = Sums(_NONE, _NONE, _NONE, _NONE)


def sums_of(index: Sequence[Counts], counts: Sequence[Counts], least_ns: Counts, most_ns: Counts) -> Sums:
    """Return the sums of several lists of (index, count) pairs; an index may occur more than once."""
    if not sum(map(len, index)):
        return NOTHING
    summed, totals = sum_pairs(index, counts)
    return Sums(_narrow(summed), _narrow(totals), least_ns, most_ns)


def add_sums(some: Sequence[Sums]) -> Sums:
    """Return the exact sum of several Sums; their order does not matter."""
    filled = [one for one in some if len(one.index)]
    if len(filled) <= 1:
        return filled[0] if filled else NOTHING
    keys = max(len(one.least_ns) for one in filled)
    least, most = np.full(keys, MAX_NS), np.zeros(keys, dtype=np.int64)
    for one in filled:
        known = len(one.least_ns)
        np.minimum(least[:known], one.least_ns, out=least[:known])
        np.maximum(most[:known], one.most_ns, out=most[:known])
    wide = [one.index.astype(np.int64) for one in filled]
    return sums_of(wide, [one.counts.astype(np.int64) for one in filled], least, most)


def _narrow(values: Counts) -> np.ndarray:
    return values.astype(np.min_scalar_type(int(values.max())))


class Ring:
    """The sums of all intervals, in at most `most` time slots of the same length.

    Newer intervals may still change: `put` replaces one, and `settle` marks it as final.
    Slots also become longer if the sums exceed `size_bytes`.
    """

    def __init__(self, most: int, size_bytes: int) -> None:
        self._most, self._most_bytes = most, size_bytes
        self.span = 1
        """Intervals in a slot."""
        self._settled: dict[int, _Packed] = {}
        """Final sums by slot."""
        self._fresh: dict[int, Sums] = {}
        """Sums of intervals that may still change, by interval."""
        self._bytes = 0
        """Size of `_settled`."""
        self._open: tuple[int, list[Sums]] = -1, []
        """The slot of the last `add` and its unpacked sums.

        The next `add` is mostly for the same slot, and packing is slow.
        """

    def __repr__(self) -> str:
        return f"<Ring of {self.count} slots of {self.span} intervals: {self.size_bytes:,} bytes>"

    @property
    def count(self) -> int:
        """The number of slots up to the last one with values."""
        last = max(self._fresh, default=-1) // self.span
        return max(last, self._open[0], max(self._settled, default=-1)) + 1

    @property
    def size_bytes(self) -> int:
        return self._bytes + sum(one.size_bytes for one in (*self._fresh.values(), *self._open[1]))

    def put(self, k: int, sums: Sums) -> bool:
        """Replace the sums of interval `k`. Return whether the slots became longer."""
        self._fresh[k] = sums
        return self._fit(k)

    def settle(self, k: int) -> bool:
        """Mark interval `k` as final. Return whether the slots became longer."""
        sums = self._fresh.pop(k, NOTHING)
        return self.add(k, sums)

    def add(self, k: int, sums: Sums) -> bool:
        """Add sums to interval `k`. Return whether the slots became longer."""
        if len(sums.index):
            if k // self.span != self._open[0]:
                self._close()
                self._open = k // self.span, []
            self._open[1].append(sums)
        return self._fit(k)

    def of(self, slot: int) -> Sums:
        first = slot * self.span
        fresh = [self._fresh[k] for k in range(first, first + self.span) if k in self._fresh]
        settled = self._settled.get(slot)
        added = self._open[1] if slot == self._open[0] else []
        return add_sums([*([settled.sums] if settled is not None else []), *added, *fresh])

    def all(self) -> Iterator[Sums]:
        return map(self.of, range(self.count))

    def _into(self, slot: int, sums: Sums) -> None:
        before = self._settled.get(slot)
        after = self._settled[slot] = _Packed.of(sums if before is None else add_sums((before.sums, sums)))
        self._bytes += after.size_bytes - (0 if before is None else before.size_bytes)

    def _close(self) -> None:
        slot, sums = self._open
        self._open = -1, []
        if sums:
            self._into(slot, add_sums(sums))

    def _fit(self, k: int) -> bool:
        span = self.span
        while k // self.span >= self._most or (self._bytes > self._most_bytes and len(self._settled) > 1):
            self._double()
        return self.span != span

    def _double(self) -> None:
        self._close()
        self.span *= 2
        settled, self._settled, self._bytes = self._settled, {}, 0
        for slot in sorted({slot // 2 for slot in settled}):
            both = [settled[half] for half in (2 * slot, 2 * slot + 1) if half in settled]
            made = self._settled[slot] = both[0] if len(both) == 1 else _Packed.of(add_sums([one.sums for one in both]))
            self._bytes += made.size_bytes

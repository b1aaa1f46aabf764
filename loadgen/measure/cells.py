"""What all agents measured in one interval, as one sum: a run of 1,000 agents in a thousandth of its deltas.

Deltas of one [start, end) can be added up without losing anything that is asked of a whole run after its end: buckets,
sums and counts by region and series. What is an agent's own (its spans, its fitness) is in the merge. An interval may
have several cells: what comes late is in a later one, and a sum of sums is the sum.

`merged.log` holds them while a run goes on: framed records (`framing.py`) of MessagePack under zstd. It is derived:
where it is missing, torn, or not as long as the checkpoint says, all is counted again from `deltas.log`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import StorageError
from loadgen.measure.framing import MAGIC_BYTES, framed, pack, read_framed, unpack
from loadgen.measure.histogram import SLOTS, Counts
from loadgen.measure.series import SeriesKey
from loadgen.measure.store import Stats

__all__ = ["CELLS_MAGIC", "Cell", "Part", "add_parts", "encode_cell", "read_cells", "sum_pairs"]

CELLS_MAGIC: Final = b"lgcells1"
_PAGE_BITS: Final = 7
_AT_ONCE: Final = 40_000
_PAGES: Final = SLOTS >> _PAGE_BITS
"""Of a series, without a rest."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one merged delta brought; series are numbers of the merge's catalogue."""

    region: str
    start_ns: int
    end_ns: int
    counters: tuple[int, ...]
    """In the order of COUNTER_NAMES."""
    index: Counts
    """(n_pairs,) series number * SLOTS + slot, no value twice."""
    counts: Counts
    stats: Stats

    @property
    def size_bytes(self) -> int:
        """Roughly: arrays and what is around them."""
        return 16 * len(self.index) + 48 * len(self.stats.n) + 1_500


@dataclass(frozen=True, slots=True)
class Cell:
    """The sum of all parts of [start_ns, end_ns).

    names: of series that no cell before it had; numbers count up over all cells of a file.
    counters: by region, in the order of COUNTER_NAMES.
    """

    start_ns: int
    end_ns: int
    counters: dict[str, list[int]]
    index: Counts
    counts: Counts
    stats: Stats
    names: Sequence[tuple[str, SeriesKey]] = ()


def add_parts(parts: Iterable[Part]) -> Iterator[Cell]:
    """The parts added up, by their intervals. Cost: about 20 µs a part of 40 series and 1,000 pairs."""
    by_interval: dict[tuple[int, int], list[Part]] = {}
    for part in parts:
        by_interval.setdefault((part.start_ns, part.end_ns), []).append(part)
    for (start_ns, end_ns), some in sorted(by_interval.items()):
        counters: dict[str, list[int]] = {}
        for part in some:
            before = counters.get(part.region)
            now = part.counters if before is None else map(int.__add__, before, part.counters)
            counters[part.region] = list(now)
        index, counts = sum_pairs([part.index for part in some], [part.counts for part in some])
        yield Cell(start_ns, end_ns, counters, index, counts, _sum_stats([part.stats for part in some]))


def sum_pairs(indices: Sequence[Counts], all_counts: Sequence[Counts]) -> tuple[Counts, Counts]:
    """Sorted index without repeats, and counts. No sort: pages of 128 slots are numbered, and counted in."""
    greatest = max((int(index.max()) for index in indices if len(index)), default=-1)
    is_used = np.zeros((greatest >> _PAGE_BITS) + 1, dtype=bool)
    for index in indices:
        is_used[index >> _PAGE_BITS] = True
    used = np.flatnonzero(is_used)
    place = np.cumsum(is_used) - 1
    sums = np.zeros(len(used) << _PAGE_BITS, dtype=np.int64)
    for index, counts in _portions(indices, all_counts):
        flat = (place[index >> _PAGE_BITS] << _PAGE_BITS) | (index & ((1 << _PAGE_BITS) - 1))
        np.add.at(sums, flat, counts)
    at = np.flatnonzero(sums)
    return (used[at >> _PAGE_BITS] << _PAGE_BITS) | (at & ((1 << _PAGE_BITS) - 1)), sums[at]


def _portions(indices: Sequence[Counts], all_counts: Sequence[Counts]) -> Iterator[tuple[Counts, Counts]]:
    """Together as many pairs at a time as fit the processor's cache."""
    first = waiting = 0
    for last, index in enumerate(indices, 1):
        waiting += len(index)
        if waiting > _AT_ONCE or last == len(indices):
            yield np.concatenate(indices[first:last]), np.concatenate(all_counts[first:last])
            first, waiting = last, 0


def _sum_stats(all_stats: Sequence[Stats]) -> Stats:
    series = np.concatenate([stats.series for stats in all_stats])
    own, at = np.unique(series, return_inverse=True)

    def added(name: str) -> Counts:
        sums = np.zeros(len(own), dtype=np.int64)
        np.add.at(sums, at, np.concatenate([getattr(stats, name) for stats in all_stats]))
        return sums

    least, most = np.full(len(own), np.iinfo(np.int64).max), np.zeros(len(own), dtype=np.int64)
    np.minimum.at(least, at, np.concatenate([stats.min_ns for stats in all_stats]))
    np.maximum.at(most, at, np.concatenate([stats.max_ns for stats in all_stats]))
    return Stats(own, added("n"), added("sum_us"), added("sum_rest_ns"), least, most)


# -- as bytes -------------------------------------------------------------------------------------


class _Record(msgspec.Struct, frozen=True, array_like=True):
    start_ns: int
    end_ns: int
    names: list[tuple[str, SeriesKey]]
    counters: dict[str, list[int]]
    steps: bytes
    """u64: the first of the index, and how far each is from the one before it."""
    counts: bytes
    stats: bytes
    """(6, n_series) int64, in the order of `Stats`."""


_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_cell(cell: Cell) -> bytes:
    """One record, framed."""
    steps = np.diff(cell.index, prepend=0).astype("<u8")
    stats = np.array([getattr(cell.stats, name) for name in Stats.__slots__], dtype="<i8")
    record = _Record(
        cell.start_ns,
        cell.end_ns,
        list(cell.names),
        cell.counters,
        steps.tobytes(),
        cell.counts.astype("<u8").tobytes(),
        stats.tobytes(),
    )
    return framed(pack(msgspec.msgpack.encode(record)))


def _decode(data: bytes) -> Cell:
    record = _decoder.decode(unpack(data))
    index = np.cumsum(np.frombuffer(record.steps, dtype="<u8")).astype(np.int64)
    counts = np.frombuffer(record.counts, dtype="<u8").astype(np.int64)
    stats = np.frombuffer(record.stats, dtype="<i8").astype(np.int64).reshape(len(Stats.__slots__), -1)
    return Cell(record.start_ns, record.end_ns, record.counters, index, counts, Stats(*stats), record.names)


def read_cells(path: Path, end: int) -> Iterator[Cell]:
    """All cells of the file, which must be sound up to offset `end`; what is behind it is not looked at.

    Raises:
        StorageError: it is not.
    """
    at = MAGIC_BYTES
    try:
        for payload in read_framed(path, CELLS_MAGIC):
            if at >= end:
                break
            at += len(framed(b"")) + len(payload)
            yield _decode(payload)
    except (OSError, ValueError, msgspec.MsgspecError) as exc:
        raise StorageError(f"cannot read {path}: {exc}") from exc
    if at != end:
        raise StorageError(f"cannot read {path}: it is sound up to {at} and not up to {end}")

"""What all agents measured in one interval, as one sum: a run of 1,000 agents in a thousandth of its deltas.

Deltas of one [start, end) can be added up without losing anything that is asked of a whole run after its end: buckets,
sums and counts by region and series. What is an agent's own (its spans, its fitness) is in the merge. An interval may
have several cells: what comes late is in a later one, and a sum of sums is the sum.

`merged.log` holds them while a run goes on: framed records (`framing.py`) of MessagePack under zstd. It is derived:
where it is missing, torn, or not as long as the checkpoint says, all is counted again from `deltas.log`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import StorageError
from loadgen.measure.deltas.series import SeriesKey
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.histograms.series_counts import Stats
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.run_folder.record_file import MAGIC_BYTES, framed, pack, read_framed, unpack

__all__ = ["CELLS_MAGIC", "Cell", "cell_of", "encode_cell", "read_cells"]

CELLS_MAGIC: Final = b"lgcells1"


@dataclass(frozen=True, slots=True)
class Cell:
    """The sum of deltas of [start_ns, end_ns).

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


def cell_of(made: Sum) -> Cell:
    """A closed sum as it is kept. About 4 ms for what 1,000 agents of 40 series say in a second."""
    return Cell(made.start_ns, made.end_ns, made.counters, *made.store.sparse())


# -- as bytes -------------------------------------------------------------------------------------


class _Record(msgspec.Struct, frozen=True, array_like=True):
    start_ns: int
    end_ns: int
    names: list[tuple[str, SeriesKey]]
    counters: dict[str, list[int]]
    steps: bytes
    """The first of the index, and how far each is from the one before it."""
    counts: bytes
    stats: bytes
    """(6, n_series) int64, in the order of `Stats`."""
    step_bytes: int = 8
    """Of one of `steps`, little endian."""
    count_bytes: int = 8


_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_cell(cell: Cell) -> bytes:
    """One record, framed."""
    steps = _narrow(np.diff(cell.index, prepend=0))
    counts = _narrow(cell.counts)
    stats = np.array([getattr(cell.stats, name) for name in Stats.__slots__], dtype="<i8")
    record = _Record(
        cell.start_ns,
        cell.end_ns,
        list(cell.names),
        cell.counters,
        steps.tobytes(),
        counts.tobytes(),
        stats.tobytes(),
        steps.itemsize,
        counts.itemsize,
    )
    return framed(pack(msgspec.msgpack.encode(record)))


def _narrow(values: Counts) -> np.ndarray:
    """In 2 or 4 bytes each where they fit: of 8 bytes each it is zstd that takes longest."""
    most = int(values.max()) if len(values) else 0
    return values.astype("<u2" if most < 1 << 16 else "<u4" if most < 1 << 32 else "<u8")


def _decode(data: bytes) -> Cell:
    record = _decoder.decode(unpack(data))
    index = np.cumsum(np.frombuffer(record.steps, dtype=f"<u{record.step_bytes}").astype(np.int64))
    counts = np.frombuffer(record.counts, dtype=f"<u{record.count_bytes}").astype(np.int64)
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

"""The measurements of all agents in one interval, stored as one sum (a *cell*).

A run of 1,000 agents has a thousand deltas for each cell. Deltas of one [start, end) can be added up
without losing anything that a query of the whole run needs: buckets, sums and counts by region and
series. Data of single agents (covered times, fitness) stay in the merge. An interval may have
several cells: late deltas go into a later cell, and queries add all cells up.

`merged.log` holds the cells while a run goes on: framed records (`crc_record_file.py`) of MessagePack
under zstd. The file is derived from `deltas.log`. If `merged.log` is missing, torn, or shorter than the
checkpoint says, everything is counted again from `deltas.log`.

Three functions exist twice, for deltas and for cells: `recounted` and `recounted_cells`, `found_cut` and
`found_cut_in_cells`, `write_hlog` and `write_hlog_of_cells`. Cells make the end of a long run of a large
fleet quick. Deltas are the only source if a run has no cells, or was copied to another machine. Both
give the same results, which tests/measure/test_cells.py checks. The twins share their computation (`Batches`,
`Levels.series`, `hlog._write`). Only the loops that read the source differ, because a delta numbers its series
by agent and epoch, and a cell by its file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import StorageError
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.run_folder.crc_record_file import MAGIC_BYTES, framed, pack, read_framed, unpack

__all__ = ["CELLS_MAGIC", "Cell", "cell_of", "encode_cell", "read_cells"]

CELLS_MAGIC: Final = b"lgcells1"
_HINT: Final = "delete the file: loadgen counts the run again from deltas.log"


@dataclass(frozen=True, slots=True)
class Cell:
    """The sum of deltas of [start_ns, end_ns).

    names: series that no earlier cell had; series are numbered over all cells of a file.
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
    """Return the closed sum of an interval as a cell, the form in which it is stored in the run's folder.

    Cost: about 4 ms for a second of 1,000 agents with 40 series.
    """
    return Cell(made.start_ns, made.end_ns, made.counters, *made.store.sparse())


# -- encoding -------------------------------------------------------------------------------------


class _Record(msgspec.Struct, frozen=True, array_like=True):
    start_ns: int
    end_ns: int
    names: list[tuple[str, SeriesKey]]
    counters: dict[str, list[int]]
    steps: bytes
    """The first value of the index, then the distance of each from the one before."""
    counts: bytes
    stats: bytes
    """(6, n_series) int64, in the order of `Stats`."""
    step_bytes: int = 8
    """Size of an element of `steps`, little endian."""
    count_bytes: int = 8


_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_cell(cell: Cell) -> bytes:
    """Return the cell as one record for the file of cells, with its length and CRC."""
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
    """Return the values as the smallest unsigned type (2, 4 or 8 bytes) that holds all of them.

    With 8 bytes each, the compression would take most of the time.
    """
    most = int(values.max()) if len(values) else 0
    return values.astype("<u2" if most < 1 << 16 else "<u4" if most < 1 << 32 else "<u8")


def _decode(data: bytes) -> Cell:
    record = _decoder.decode(unpack(data))
    index = np.cumsum(np.frombuffer(record.steps, dtype=f"<u{record.step_bytes}").astype(np.int64))
    counts = np.frombuffer(record.counts, dtype=f"<u{record.count_bytes}").astype(np.int64)
    stats = np.frombuffer(record.stats, dtype="<i8").astype(np.int64).reshape(len(Stats.__slots__), -1)
    return Cell(record.start_ns, record.end_ns, record.counters, index, counts, Stats(*stats), record.names)


def read_cells(path: Path, end: int) -> Iterator[Cell]:
    """Yield all cells of a file up to offset `end`, oldest first; later bytes are ignored.

    Raises:
        StorageError: the file cannot be read, or is damaged before `end`.
    """
    at = MAGIC_BYTES
    try:
        for payload in read_framed(path, CELLS_MAGIC):
            if at >= end:
                break
            at += len(framed(b"")) + len(payload)
            yield _decode(payload)
    except (OSError, ValueError, msgspec.MsgspecError) as exc:
        raise StorageError(f"cannot read {path}: {exc}", hint=_HINT) from exc
    if at != end:
        raise StorageError(f"cannot read {path}: it is damaged after {at} of {end} bytes", hint=_HINT)

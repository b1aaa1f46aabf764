"""The journal of probes, `probes.log` in the run folder: every sample, each record with its length and CRC.

The file has 8 bytes of magic, then records as in `deltas.log`; the payload of a record is JSON. The log ends at the
first torn or damaged record, which a restarted controller cuts off before it appends. Times are ns of the controller's
clock. The record `t0` has the start of the load on this clock. Each controller process begins with a record `begin`.

Series are written once, then named by their number, so a sample takes some 16 bytes per series.
The reasons are in docs/decisions/087-probe-samples-journal-and-clock-bound.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Final

import msgspec

from loadgen.measure.run_folder.crc_record_log import RecordLog, read_log, unreadable
from loadgen.probes.presets import Row
from loadgen.probes.selection import Series

__all__ = [
    "FORMAT",
    "NAME",
    "Begin",
    "Gap",
    "Journal",
    "NewRows",
    "NewSeries",
    "ProbeOfRun",
    "Record",
    "Sample",
    "Zero",
    "plain_value",
    "read_journal",
]

NAME: Final = "probes.log"
FORMAT: Final = 1
_MAGIC: Final = b"lgprobe1"
_RECORD_MOST: Final = 16 << 20


class ProbeOfRun(msgspec.Struct, frozen=True):
    """A probe of the run."""

    name: str
    url: str
    every_ns: int
    preset: str = ""
    expected: dict[str, str] = {}
    """The metric of each row that should be on the page, by key of the row."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first record of a controller process: its probes, in the order of their numbers."""

    format: int
    at: str
    """Wall-clock time, RFC 3339."""
    now_ns: int
    """The same time by the controller's clock."""
    probes: tuple[ProbeOfRun, ...]


class Zero(msgspec.Struct, frozen=True, tag="t0"):
    """T0, the start of the load."""

    t0_ns: int


class NewRows(msgspec.Struct, frozen=True, tag="rows"):
    """Rows that are on a probe's page from now on."""

    probe: int
    rows: tuple[Row, ...]


class NewSeries(msgspec.Struct, frozen=True, tag="series"):
    """Series that are on a probe's page from now on. first: number of the first one; it counts from 0 after `Begin`."""

    probe: int
    first: int
    series: tuple[Series, ...]


class Sample(msgspec.Struct, frozen=True, tag="sample"):
    """The values of one page: `values[n]` belongs to the series with the number `ids[n]`.

    sent_ns, received_ns: the times of the request and of the complete answer.
    """

    probe: int
    sent_ns: int
    received_ns: int
    ids: tuple[int, ...]
    values: tuple[float | None, ...]
    """None for NaN and infinity."""


class Gap(msgspec.Struct, frozen=True, tag="gap"):
    """A sample that is missing."""

    probe: int
    sent_ns: int
    received_ns: int
    why: str


Record = Begin | Zero | NewRows | NewSeries | Sample | Gap


def plain_value(value: float) -> float | None:
    """Return a value as the journal keeps it: None for NaN and infinity, which JSON does not have."""
    return value if isfinite(value) else None


class Journal:
    """The journal of a run, open for writing by one thread.

    Raises:
        StorageError: the file cannot be created, or is not a journal of probes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._log = RecordLog(self.path, _MAGIC)

    def append(self, *records: Record) -> None:
        """Write records. Written records survive the end of this process, and after `sync` a crash of the machine.

        Raises:
            StorageError: the records could not be written; the file ends with its last complete record.
        """
        self._log.append(*map(msgspec.json.encode, records))

    def sync(self) -> None:
        """Make the written records durable. Blocks some milliseconds."""
        self._log.sync()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._log.close()


def read_journal(folder: Path) -> Iterator[Record]:
    """Yield the records of a run's journal, up to the first damaged one; nothing if the run has no journal.

    Raises:
        StorageError: the journal cannot be read, or a newer loadgen wrote it.
    """
    path = folder / NAME
    for record in read_log(path, _MAGIC, msgspec.json.Decoder(Record), most=_RECORD_MOST):
        if isinstance(record, Begin) and record.format > FORMAT:
            raise unreadable(path, f"unknown format {record.format}")
        yield record

"""The journal of probes, `probes.log` in the run folder: every sample, each record with its length and CRC.

The file has 8 bytes of magic, then records as in `deltas.log`; the payload of a record is JSON. The log ends at the
first torn or damaged record, which a restarted controller cuts off before it appends. Times are ns of the controller's
clock. The record `t0` has the start of the load on this clock. Each controller process begins with a record `begin`.

Series are written once, then named by their number, so a sample takes some 16 bytes per series.

Format 2 has more kinds of records: notes, values with times of their server, times of servers, and longer periods. All
records of format 1 are valid records of format 2. loadgen of before reads a journal of format 2 not at all.
The reasons are in docs/decisions/087-probe-samples-journal-and-clock-bound.md and 120-probes-of-several-kinds.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.measure.run_folder.crc_record_file import HEAD_BYTES, read_framed
from loadgen.measure.run_folder.crc_record_log import RecordLog, read_log, unreadable
from loadgen.probes.reader import NOTE_BYTES, Note
from loadgen.probes.rows import Row, Series

__all__ = [
    "ADDED",
    "FORMAT",
    "NAME",
    "Begin",
    "Gap",
    "Journal",
    "NewRows",
    "NewSeries",
    "NoteRecord",
    "Period",
    "ProbeOfRun",
    "Record",
    "Sample",
    "ServerClock",
    "TimedRecord",
    "Zero",
    "damaged_bytes",
    "note_record",
    "plain_value",
    "read_journal",
]

NAME: Final = "probes.log"
ADDED: Final = "probes"
"""The folder of journals that were added to a run."""
FORMAT: Final = 2
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
    kind: str = "metrics"
    at: str = "controller"
    """"apart" for a probe that `loadgen probe run` reads."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first record of a controller process: its probes, in the order of their numbers."""

    format: int
    at: str
    """Wall-clock time, RFC 3339."""
    now_ns: int
    """The same time by the controller's clock."""
    probes: tuple[ProbeOfRun, ...]
    boot: str = ""
    """Identifies this start of the machine's kernel, whose processes have one clock. Empty if unknown."""
    wall_error_ns: int | None = None
    """The most by which the wall clock may be off, by the kernel's estimate; None if it is unknown."""


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


class Sample(msgspec.Struct, frozen=True, tag="sample", omit_defaults=True):
    """The values of one page: `values[n]` belongs to the series with the number `ids[n]`.

    sent_ns, received_ns: the times of the request and of the complete answer.
    """

    probe: int
    sent_ns: int
    received_ns: int
    ids: tuple[int, ...]
    values: tuple[float | None, ...]
    """None for NaN and infinity."""
    cost_ns: int | None = None
    """The time that the server worked; None if only the whole time of the call is known."""


class Gap(msgspec.Struct, frozen=True, tag="gap"):
    """A sample that is missing."""

    probe: int
    sent_ns: int
    received_ns: int
    why: str


class NoteRecord(msgspec.Struct, frozen=True, tag="note"):
    """A note. body: JSON; a body above `NOTE_BYTES` is replaced by {"left_out_bytes": its size}."""

    probe: int
    at_ns: int
    kind: str
    body: dict[str, Any]


class TimedRecord(msgspec.Struct, frozen=True, tag="timed"):
    """Values of one series with times of the server's clock: Unix time in ms. Repeated times are the same value."""

    probe: int
    id: int
    at_ms: tuple[int, ...]
    values: tuple[float | None, ...]
    group: str = ""


class ServerClock(msgspec.Struct, frozen=True, tag="clock"):
    """The server's own clock, which was read between two times of the probe's clock. See `reader.ServerTime`."""

    probe: int
    sent_ns: int
    received_ns: int
    at_ns: int
    resolution_ns: int = 1


class Period(msgspec.Struct, frozen=True, tag="period"):
    """The time between two samples from now on."""

    probe: int
    every_ns: int
    why: str


Record = Begin | Zero | NewRows | NewSeries | Sample | Gap | NoteRecord | TimedRecord | ServerClock | Period


def note_record(probe: int, note: Note) -> NoteRecord:
    """Return the record of a note, with a body that is JSON and not too large."""
    try:
        encoded = msgspec.json.encode(note.body)
    except (TypeError, ValueError, RecursionError) as error:
        return NoteRecord(probe, note.at_ns, note.kind, {"left_out_bytes": 0, "why": str(error)[:200]})
    if len(encoded) > NOTE_BYTES:
        return NoteRecord(probe, note.at_ns, note.kind, {"left_out_bytes": len(encoded)})
    return NoteRecord(probe, note.at_ns, note.kind, msgspec.json.decode(encoded))


def plain_value(value: float) -> float | None:
    """Return a value as the journal keeps it: None for NaN and infinity, which JSON does not have."""
    return value if isfinite(value) else None


class Journal:
    """The journal of a run, open for writing by one thread.

    Raises:
        StorageError: the file cannot be created, or is not a journal of probes.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.path = folder / name
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


def damaged_bytes(path: Path) -> int:
    """Return the number of bytes at the end of a readable journal that `read_journal` leaves out."""
    whole = sum(HEAD_BYTES + len(payload) for payload in read_framed(path, _MAGIC, most=_RECORD_MOST))
    return path.stat().st_size - len(_MAGIC) - whole


def read_journal(folder: Path, name: str = "") -> Iterator[Record]:
    """Yield the records of a run's journal, up to the first damaged one; nothing if the run has no journal.

    Then yield those of journals that `loadgen probe add` has added, on the same clock: `probes/NAME.log`.

    name: read only this file of the folder.

    Raises:
        StorageError: the journal cannot be read, or a newer loadgen wrote it.
    """
    if not name:
        yield from read_journal(folder, NAME)
        for added in sorted((folder / ADDED).glob("*.log")):
            yield from read_journal(added.parent, added.name)
        return
    path = folder / name
    for record in read_log(path, _MAGIC, msgspec.json.Decoder(Record), most=_RECORD_MOST):
        if isinstance(record, Begin) and record.format > FORMAT:
            raise unreadable(path, f"unknown format {record.format}")
        yield record

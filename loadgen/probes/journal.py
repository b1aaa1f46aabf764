"""The journal of probes, `probes.log` in the run folder: every sample, each record with its length and CRC.

The file has 8 bytes of magic, then records as in `deltas.log`; the payload of a record is JSON. The log ends at the
first torn or damaged record, which a restarted controller cuts off before it appends. Times are ns of the controller's
clock. The record `t0` has the start of the load on this clock. Each controller process begins with a record `begin`.

Series are written once, then named by their number, so a sample takes some 16 bytes per series.
The reasons are in docs/decisions/087-probe-samples-journal-and-clock-bound.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.run_folder.crc_record_file import HEAD_BYTES, framed, read_framed
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.probes.presets import Row
from loadgen.probes.selection import Series
from loadgen.secret_files import open_private

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
        self._fd = -1
        try:
            self._fd = open_private(self.path, os.O_RDWR | os.O_CREAT)
            size = os.fstat(self._fd).st_size
            self._end = len(_MAGIC) + sum(HEAD_BYTES + len(one) for one in read_framed(self.path, _MAGIC))
            if size < len(_MAGIC):
                os.ftruncate(self._fd, 0)
                os.write(self._fd, _MAGIC)
            os.ftruncate(self._fd, self._end)
        except ValueError as error:
            self.close()
            raise StorageError(
                f"cannot write {self.path}: {error}", hint="use the loadgen that wrote the file, or remove it"
            ) from None
        except OSError as error:
            self.close()
            raise storage_error(self.path, error) from error

    def append(self, *records: Record) -> None:
        """Write records. Written records survive the end of this process, and after `sync` a crash of the machine.

        Raises:
            StorageError: the records could not be written; the file ends with its last complete record.
        """
        data = b"".join(framed(msgspec.json.encode(record)) for record in records)
        try:
            view, at = memoryview(data), self._end
            while view:
                written = os.pwrite(self._fd, view, at)
                view, at = view[written:], at + written
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise storage_error(self.path, error) from error
        self._end += len(data)

    def sync(self) -> None:
        """Make the written records durable. Blocks some milliseconds."""
        with contextlib.suppress(OSError):
            getattr(os, "fdatasync", os.fsync)(self._fd)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_journal(folder: Path) -> Iterator[Record]:
    """Yield the records of a run's journal, up to the first damaged one; nothing if the run has no journal.

    Raises:
        StorageError: the journal cannot be read, or a newer loadgen wrote it.
    """
    path = folder / NAME
    decoder = msgspec.json.Decoder(Record)
    hint = "use the loadgen that made the run, or a newer one"
    try:
        for payload in read_framed(path, _MAGIC, most=_RECORD_MOST):
            record: Record = decoder.decode(payload)
            if isinstance(record, Begin) and record.format > FORMAT:
                raise StorageError(f"cannot read {path}: unknown format {record.format}", hint=hint)
            yield record
    except FileNotFoundError:
        return
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise StorageError(f"cannot read {path}: {error}", hint=hint) from None
    except OSError as error:
        raise storage_error(path, error, doing="read") from error

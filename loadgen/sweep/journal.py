"""The journal of a sweep, `runs.jsonl`: one line of JSON for each finished run.

A line is written in one piece and synced before the next run starts. A process that is killed, or a machine that
crashes, can leave a torn last line; it is cut off when the journal is opened again, and its run is made again. Damage
before the last line is an error, because the runs behind it would be lost silently.

    with open_journal(folder) as journal:      # locks it: one process conducts a sweep
        journal.records                        # what is stored
        journal.append(record)                 # durable when it returns
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from loadgen.atomic_files import sync_folder
from loadgen.errors import StorageError, UsageError

if TYPE_CHECKING:
    from loadgen.analysis.factors.order import Planned

__all__ = ["FILE", "Journal", "RunRecord", "check_records", "open_journal", "read_journal"]

FILE: Final = "runs.jsonl"
_MOST_BYTES: Final = 256 << 20
_HINT: Final = "restore the file from a copy, or start a new sweep; the run folders are intact"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One finished run of a sweep."""

    number: int
    """The position of the run in the order, from 1."""
    cell: int
    """Index in the cells of the design."""
    repeat: int
    block: int
    """The block in which the run was made. A repetition of an invalid run may belong to a later block."""
    attempt: int = 1
    """2: the repetition of an invalid run."""
    run_id: str = ""
    folder: str = ""
    """Run folder, relative to the folder of the sweep."""
    started_at: str = ""
    """RFC 3339, UTC."""
    result: str = ""
    """The verdict of the summary: "passed", "failed", "invalid" ..."""
    validity: str = ""
    """"valid", "suspect" or "invalid"."""
    is_fit: bool = True
    """Whether the run can be compared. One that cannot is repeated once."""
    is_control: bool = False
    """Whether the run checks for drift; it is an extra run of its cell."""
    values: Mapping[str, float | None] = field(default_factory=dict)
    """{response: value}; None if the run has no value that can be compared."""
    why: str = ""
    """Why values are missing; empty if none is."""
    took_s: float = 0.0
    """From the start of the command between runs to the end of the run."""


class Journal:
    """The journal of one sweep, open for appending. Use `open_journal`."""

    def __init__(self, fd: int, records: tuple[RunRecord, ...]) -> None:
        self._fd = fd
        self.records = records

    def append(self, record: RunRecord) -> None:
        """Store a record; it is durable when this returns.

        Raises:
            OSError: it cannot be written, such as on a full disk. The journal then ends as before, or with a torn line.
        """
        end = os.lseek(self._fd, 0, os.SEEK_END)
        line = msgspec.json.encode(record) + b"\n"
        try:
            written = 0
            while written < len(line):
                written += os.write(self._fd, line[written:])
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, end)
            raise
        self.records = (*self.records, record)


def check_records(folder: Path, records: Sequence[RunRecord], order: Sequence[Planned]) -> None:
    """Check that the records of a journal belong to the runs of a sweep.

    Raises:
        StorageError: one does not: the journal is that of another sweep, or was edited.
    """
    planned = {one.number: one for one in order}
    for line, record in enumerate(records, 1):
        one = planned.get(record.number)
        if (
            one is None
            or (record.cell, record.repeat, record.is_control) != (one.cell, one.repeat, one.is_control)
            or record.attempt not in (1, 2)
        ):
            raise StorageError(
                f"{folder / FILE}:{line}: run {record.number} is not as the sweep has planned it",
                hint="the journal is that of another sweep, or was edited; " + _HINT,
            )


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """Open the journal of a sweep for appending inside the `with` block, and lock it. A torn last line is cut off.

    Raises:
        UsageError: another process conducts this sweep.
        StorageError: the journal is damaged, or cannot be read or written.
    """
    path = folder / FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror or error}", hint="check its permissions") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process conducts the sweep in {folder}", hint="wait for it, or end it with Ctrl-C there"
            ) from None
        except OSError:  # a file system without locks
            pass
        records, sound = _parsed(path, path.read_bytes())
        os.ftruncate(fd, sound)
        os.fsync(fd)
        sync_folder(folder)
        yield Journal(fd, records)
    finally:
        os.close(fd)


def read_journal(folder: Path) -> tuple[RunRecord, ...]:
    """Return all whole records of the journal in a sweep's folder; none if there is no journal yet.

    Raises:
        StorageError: the journal is damaged, or cannot be read.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StorageError(f"{path} is larger than {_MOST_BYTES >> 20} MB", hint="it is not a file of loadgen")
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}", hint="check its permissions") from error
    return _parsed(path, data)[0]


def _parsed(path: Path, data: bytes) -> tuple[tuple[RunRecord, ...], int]:
    """Return the records, and the number of bytes up to the end of the last whole line."""
    records: list[RunRecord] = []
    seen: set[tuple[int, int]] = set()
    sound = 0
    lines = data.split(b"\n")
    for n, line in enumerate(lines[:-1], 1):
        try:
            record = msgspec.json.decode(line, type=RunRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if n == len(lines) - 1 and not lines[-1]:  # the disk kept the end of the line, but not its beginning
                break
            raise StorageError(f"{path}:{n}: this line is damaged: {error}", hint=_HINT) from error
        key = record.number, record.attempt
        if key in seen:
            raise StorageError(f"{path}:{n}: run {record.number} is in the journal twice", hint=_HINT)
        seen.add(key)
        records.append(record)
        sound += len(line) + 1
    return tuple(records), sound

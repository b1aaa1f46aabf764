"""Stores an agent's undelivered deltas on disk, so that they need no memory and survive the end of the process.

Each delta is written when it is measured and marked as dropped when it is acknowledged. So a folder holds exactly the
undelivered deltas. A restarted agent of the same name finds the folders of earlier processes (`leftovers`). Files are
not synced, so the spool survives the end of the process but not a crash of the machine.

    ROOT/AGENT/lock                      locked by the process that uses the folder
    ROOT/AGENT/RUN/EPOCH/000001.spool    records: magic, "kept" or "dropped", length, CRC of the payload; the payload

A full or broken disk is not an error: `put` returns None, and the delta stays in memory. An unreadable record is
skipped and counted as damaged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Final

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta
from loadgen.wire.codec import decode
from loadgen_agent.delivery.backlog import Place

__all__ = ["ROOM_BYTES", "Leftover", "Spool", "Spools", "default_root"]

log = logging.getLogger(__name__)

ROOM_BYTES: Final = 64 << 20
"""Disk space for one run."""
_SEGMENT_BYTES: Final = 4 << 20
_HEAD: Final = struct.Struct("<4scII")
_MAGIC: Final = b"LGsp"
_KEPT, _DROPPED = b"K", b"D"
_SAY_AGAIN_S: Final = 10.0
_OLD_S: Final = 7 * 86_400.0
"""Leftovers older than this are deleted."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Spool:
    """The spool of one run and epoch, used as a store by `Backlog`.

    Calls block, but write only to the page cache: about 20 µs per delta.
    """

    def __init__(self, folder: Path, room_bytes: int = ROOM_BYTES) -> None:
        """Make the folder of the spool.

        Raises:
            OSError: the folder does not exist and cannot be made.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._room_bytes = folder, room_bytes
        self._files: dict[int, int] = {}
        """Descriptor of each segment."""
        self._living: dict[int, int] = {}
        """Number of kept records in each segment."""
        # The end of a full segment, so that the first record begins a new one.
        self._newest, self._end, self._size_bytes = 0, _SEGMENT_BYTES, 0
        self._said_s = -_SAY_AGAIN_S

    @property
    def size_bytes(self) -> int:
        """Size in bytes of all records that were put and not dropped."""
        return self._size_bytes

    def put(self, data: bytes) -> Place | None:
        """Append a record, and return its position; None if the spool or the disk is full, or the disk fails."""
        record = _HEAD.pack(_MAGIC, _KEPT, len(data), zlib.crc32(data)) + data
        if self._size_bytes + len(record) > self._room_bytes:
            return None
        try:
            if self._end + len(record) > _SEGMENT_BYTES and self._end:
                self._begin_segment()
            fd, at = self._files[self._newest], self._end
            # A disk without space may take a part of the record. It is cut off, or the next process would find it
            # damaged.
            if os.pwrite(fd, record, at) != len(record):
                os.ftruncate(fd, at)
                raise OSError("no space left on device")
        except OSError as error:
            self._say(f"cannot write to the spool in {self._folder}: {error.strerror or error}")
            return None
        self._end += len(record)
        self._size_bytes += len(record)
        self._living[self._newest] += 1
        return self._newest, at, len(record)

    def get(self, place: Place) -> bytes | None:
        """Return the record at this position; None if it cannot be read or is damaged."""
        segment, at, length = place
        try:
            record = os.pread(self._files[segment], length, at)
        except OSError as error:
            self._say(f"cannot read the spool in {self._folder}: {error.strerror}")
            return None
        found = _payload(record)
        return found[0] if found is not None else None

    def drop(self, place: Place) -> None:
        """Mark the record at this position as dropped: delivered, or replaced by another.

        A file (segment) without other records is deleted.
        """
        segment, at, length = place
        self._size_bytes -= length
        self._living[segment] -= 1
        try:
            if self._living[segment]:
                # The CRC covers the payload only, so the record stays valid with another state.
                os.pwrite(self._files[segment], _DROPPED, at + len(_MAGIC))
            elif segment == self._newest:
                os.ftruncate(self._files[segment], 0)
                self._end = 0
            else:
                self._end_segment(segment)
        except OSError as error:
            self._say(f"cannot write to the spool in {self._folder}: {error.strerror}")

    def close(self) -> None:
        """Close the spool's files.

        Undelivered records stay for the next process; without any, the folder is removed.
        """
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()
        if not any(self._living.values()):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin_segment(self) -> None:
        number = self._newest + 1
        path = self._folder / f"{number:06d}.spool"
        self._files[number] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._newest and not self._living[self._newest]:
            self._end_segment(self._newest)
        self._newest, self._end, self._living[number] = number, 0, 0

    def _end_segment(self, segment: int) -> None:
        os.close(self._files.pop(segment))
        del self._living[segment]
        (self._folder / f"{segment:06d}.spool").unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        if monotonic() - self._said_s >= _SAY_AGAIN_S:
            self._said_s = monotonic()
            log.warning("%s", text)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Undelivered deltas of one run, left by an earlier process of this agent."""

    folder: Path
    run_id: str
    epoch: int
    deltas: tuple[Delta, ...]
    damaged: int
    """Number of records that cannot be read."""

    def remove(self) -> None:
        """Delete the folder of these deltas, because they are delivered."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Spools:
    """All spools of one agent name on this machine. Only one process at a time can open them.

    Args:
        root: folder for the spools of all agents of this machine.
    """

    def __init__(self, root: Path, agent: str) -> None:
        """Make and lock the folder of this agent's spools.

        Raises:
            OSError: the folder cannot be made, or another process has locked it.
        """
        self._folder = root / agent
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # The kernel releases this lock when the process ends, also after SIGKILL, so no stale lock can stay.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OSError(error.errno, f"another agent {agent} runs on this machine") from error

    def spool(self, run_id: str, epoch: int) -> Spool | None:
        """Make the spool of a run that begins; return None if its folder cannot be made, which is logged."""
        if not _NAME.fullmatch(run_id):
            return None
        try:
            return Spool(self._folder / run_id / str(epoch))
        except OSError as error:
            log.warning(
                "no spool in %s (%s): undelivered measurements are kept in memory only."
                " Make the folder writable, or pass --spool DIR",
                self._folder,
                error.strerror,
            )
            return None

    def leftovers(self) -> list[Leftover]:
        """Return the undelivered deltas that earlier processes of this agent left on the disk, oldest first.

        Folders that are empty or older than 7 days are removed.
        """
        found = []
        for folder in sorted(self._folder.glob("*/*"), key=_written_s):
            run_id, epoch = folder.parent.name, folder.name
            if not folder.is_dir() or not epoch.isdecimal():
                continue
            deltas, damaged = _read(folder, run_id, int(epoch))
            if (deltas or damaged) and time() - _written_s(folder) < _OLD_S:
                found.append(Leftover(folder, run_id, int(epoch), deltas, damaged))
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def close(self) -> None:
        """Unlock the folder, and remove the folders of runs that have nothing left."""
        os.close(self._lock)
        for folder in self._folder.glob("*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def default_root() -> Path:
    """Return the folder in which the agents of this user keep their spools."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "loadgen" / "spool"


def _written_s(folder: Path) -> float:
    """Return the time at which the folder's last file was made, in Unix seconds."""
    return folder.stat().st_mtime


def _payload(record: bytes) -> tuple[bytes, bytes, int] | None:
    """Return the first record's (payload, state, length in bytes); None if the record is damaged.

    The state is b"K" for a record that is kept and b"D" for one that was dropped.
    """
    if len(record) < _HEAD.size:
        return None
    magic, state, length, crc = _HEAD.unpack_from(record)
    data = record[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or len(data) != length or zlib.crc32(data) != crc:
        return None
    return data, state, _HEAD.size + length


def _records(data: bytes) -> Iterator[tuple[bytes, bytes] | None]:
    """Yield (payload, state) of each record in a spool file, or None for each damaged stretch.

    A record that is incomplete at the end is ignored: the process ended while it wrote it.
    """
    at = 0
    while at < len(data):
        found = _payload(data[at : at + _HEAD.size + _length(data, at)])
        if found is not None:
            yield found[0], found[1]
            at += found[2]
            continue
        behind = data.find(_MAGIC, at + 1)
        if behind < 0 and data.startswith(_MAGIC, at) and len(data) - at < _HEAD.size + _length(data, at):
            return
        yield None
        at = behind if behind > 0 else len(data)


def _length(data: bytes, at: int) -> int:
    if len(data) - at < _HEAD.size:
        return 0
    length: int = _HEAD.unpack_from(data, at)[2]
    return min(length, _SEGMENT_BYTES)


def _read(folder: Path, run_id: str, epoch: int) -> tuple[tuple[Delta, ...], int]:
    """Read a spool's folder: return its undelivered deltas by time, and the number of damaged records."""
    deltas: list[Delta] = []
    damaged = 0
    for path in sorted(folder.glob("*.spool")):
        try:
            data = path.read_bytes()
        except OSError:
            damaged += 1
            continue
        for record in _records(data):
            if record is None:
                damaged += 1
            elif record[1] == _KEPT:
                try:
                    message = decode(record[0])
                except WireError:
                    damaged += 1
                    continue
                if isinstance(message, Delta) and (message.run_id, message.epoch) == (run_id, epoch):
                    deltas.append(message)
    return tuple(_in_order(deltas)), damaged


def _in_order(deltas: list[Delta]) -> Iterator[Delta]:
    """Yield the deltas of a spool by time.

    If the process ended after it wrote a joint delta and before it dropped the parts, only the joint delta is yielded.
    """
    at_ns = -1
    # Of two records of the same time the one that was written later comes first: it has the final number.
    for _, delta in sorted(enumerate(deltas), key=lambda one: (one[1].start_ns, -one[1].end_ns, -one[0])):
        if delta.end_ns > at_ns or (delta.end_ns == delta.start_ns == at_ns):
            yield delta
            at_ns = delta.end_ns

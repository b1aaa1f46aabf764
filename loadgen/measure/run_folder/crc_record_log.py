"""Logs of JSON records in a run folder: they are appended to, and end at their first torn or damaged record.

A log is a file of `crc_record_file.py`. The payload of each record is JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.run_folder.crc_record_file import HEAD_BYTES, framed, read_framed
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import open_private

__all__ = ["RecordLog", "read_log", "unreadable"]

T = TypeVar("T")

_HINT: Final = "use the loadgen that made the run, or a newer one"


class RecordLog:
    """A log, open for writing by one thread. A torn record at its end is cut off first.

    Raises:
        StorageError: the file cannot be created, or is another file.
    """

    def __init__(self, path: Path, magic: bytes) -> None:
        self.path = path
        self._fd = -1
        try:
            self._fd = open_private(path, os.O_RDWR | os.O_CREAT)
            self._begin = self._end = len(magic)
            self._end += sum(HEAD_BYTES + len(payload) for payload in read_framed(path, magic))
            if self.is_empty:
                os.pwrite(self._fd, magic, 0)
            os.ftruncate(self._fd, self._end)
        except ValueError as error:
            self.close()
            raise StorageError(
                f"cannot write {path}: {error}", hint="use the loadgen that wrote the file, or remove it"
            ) from None
        except OSError as error:
            self.close()
            raise storage_error(path, error) from error

    @property
    def is_empty(self) -> bool:
        """Return whether the log has no record."""
        return self._end == self._begin

    def append(self, *payloads: bytes) -> None:
        """Write records. Written records survive the end of this process, and after `sync` a crash of the machine.

        Raises:
            StorageError: the records could not be written; the file ends with its last complete record.
        """
        rest, at = memoryview(b"".join(map(framed, payloads))), self._end
        try:
            while rest:
                written = os.pwrite(self._fd, rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise storage_error(self.path, error) from error
        self._end = at

    def sync(self) -> None:
        """Make the written records durable, if the disk can. Blocks some milliseconds; safe in any thread."""
        with suppress(OSError):
            getattr(os, "fdatasync", os.fsync)(self._fd)  # macOS has no fdatasync

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_log(path: Path, magic: bytes, decoder: msgspec.json.Decoder[T], *, most: int) -> Iterator[T]:
    """Yield the records of a log, up to the first damaged one; nothing if there is no file.

    most: largest size of a record, bytes.

    Raises:
        StorageError: the log cannot be read, or a newer loadgen wrote it.
    """
    try:
        for payload in read_framed(path, magic, most=most):
            yield decoder.decode(payload)
    except FileNotFoundError:
        return
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise unreadable(path, str(error)) from None
    except OSError as error:
        raise storage_error(path, error, doing="read") from error


def unreadable(path: Path, why: str) -> StorageError:
    """Return the error of a log that this loadgen cannot read."""
    return StorageError(f"cannot read {path}: {why}", hint=_HINT)

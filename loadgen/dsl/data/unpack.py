"""Unpacks the archive of a feed or recording, `rows.csv.gz` or `rows.jsonl.zst`, once for all processes of a machine.

The plain file lies in a private folder of the folder for temporary files (TMPDIR), under a name made of the archive's
hash. So the workers of an agent map the same pages, and a second run finds the file. Files that were not used for a day
are deleted when another archive is unpacked; a process that has mapped one keeps its pages.

An archive is not trusted: its size when unpacked is limited, and a cut or damaged one is an error with its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from loadgen.atomic_files import atomic_file
from loadgen.dsl.data.zstd_frames import is_whole
from loadgen.errors import Fault, ScenarioError
from loadgen.units import format_count

__all__ = ["SUFFIXES", "ArchiveFault", "is_archive", "limit_bytes", "plain_file", "unpacked"]

SUFFIXES: Final = (".gz", ".zst")
_PIECE_BYTES: Final = 1 << 20
_LEAST_LIMIT_BYTES: Final = 64 << 20
_MOST_LIMIT_BYTES: Final = 16 << 30
_MOST_RATIO: Final = 200
"""Tables of text shrink to a fifth up to a fiftieth; a bomb to a thousandth."""
_WINDOW_BYTES: Final = 1 << 27
"""The largest zstd window that is accepted, that of `zstd --long=27`: unpacking takes as much memory."""
_UNUSED_S: Final = 86_400.0


class ArchiveFault(Exception):
    """An archive cannot be used. message: what is wrong, without the file's name. hint: what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def is_archive(path: Path) -> bool:
    """Return whether the name of a file ends in .gz or .zst, in any case."""
    return path.suffix.lower() in SUFFIXES


def limit_bytes(packed_bytes: int) -> int:
    """Return how large the content of an archive of this size may be: 200 times as large, at least 64 MiB, at most
    16 GiB.
    """
    return min(_MOST_LIMIT_BYTES, max(_LEAST_LIMIT_BYTES, _MOST_RATIO * packed_bytes))


def plain_file(path: Path) -> Path:
    """Return the path itself, or for an archive the path of its plain file.

    Raises:
        ScenarioError: the archive cannot be used.
        OSError: the archive cannot be read.
    """
    try:
        return unpacked(path) if is_archive(path) else path
    except ArchiveFault as error:
        raise ScenarioError([Fault(str(path), 0, f"the archive {error.message}", error.hint)]) from None


def unpacked(path: Path) -> Path:
    """Return the plain file of an archive, after unpacking it if no process of this user has done so before.

    Raises:
        ArchiveFault: the archive is cut, damaged or too large, or there is no room for its content.
        OSError: the archive cannot be read.
    Cost: the hash of the archive (1 s for 1 GB), and once its unpacking.
    """
    with path.open("rb") as archive:
        name = hashlib.file_digest(archive, "blake2b").hexdigest()[:40]
    try:
        folder = _folder()
        plain = folder / name
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here, and then finds the file
            if not plain.exists():
                _delete_unused(folder)
                with atomic_file(plain, 0o600) as file:
                    _unpack(path, file)
            os.utime(plain)
    except _NoRoom as error:
        raise ArchiveFault(
            f"cannot be unpacked: {error}", f"free space in {tempfile.gettempdir()}, or set TMPDIR to another folder"
        ) from None
    return plain


def _unpack(path: Path, file: BinaryIO) -> None:
    limit = limit_bytes(path.stat().st_size)
    written = 0
    for piece in _pieces(path):
        written += len(piece)
        if written > limit:
            raise ArchiveFault(
                f"unpacks to more than {format_count(limit >> 20)} MiB, the limit for an archive of its size",
                "unpack it yourself, and name the plain file",
            )
        try:
            file.write(piece)
        except OSError as error:
            raise _NoRoom(error.strerror or str(error)) from error


class _NoRoom(OSError):
    """The plain file cannot be written."""


def _pieces(path: Path) -> Iterator[bytes]:
    opened: Callable[[Path], Iterator[bytes]] = _gzip_pieces if path.suffix.lower() == ".gz" else _zstd_pieces
    yield from opened(path)


def _gzip_pieces(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as archive:
            while piece := archive.read(_PIECE_BYTES):
                yield piece
    except EOFError:
        raise _cut() from None
    except gzip.BadGzipFile as error:
        what = "is not a gzip file" if "Not a gzipped" in str(error) else f"is damaged: {error}"
        raise ArchiveFault(what, _hint("gzip")) from None
    except zlib.error as error:
        raise ArchiveFault(f"is damaged: {error}", _hint("gzip")) from None


def _zstd_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as archive:
        whole = is_whole(archive)
        if whole is None:
            raise ArchiveFault("is not a zstd file", _hint("zstd"))
        if not whole:
            raise _cut()  # the library returns the beginning of a cut file without an error
        archive.seek(0)
        packer = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        try:
            with packer.stream_reader(archive, read_across_frames=True, closefd=False) as reader:
                while piece := reader.read(_PIECE_BYTES):
                    yield piece
        except zstandard.ZstdError as error:
            raise ArchiveFault(f"is damaged: {error}", _hint("zstd")) from None


def _cut() -> ArchiveFault:
    return ArchiveFault("ends too early", "copy the file again: its end is missing")


def _hint(program: str) -> str:
    return f"test it with: {program} -t, and pack it again"


def _folder() -> Path:
    """Return the private folder of plain files; create it if it does not exist.

    In a world-writable folder somebody else could have created it first; then a fresh folder is made instead.
    """
    base = Path(tempfile.gettempdir())
    folder = base / f"loadgen-feeds-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix="loadgen-feeds-"))
    except OSError as error:
        raise _NoRoom(error.strerror or str(error)) from error


def _delete_unused(folder: Path) -> None:
    oldest_s = time.time() - _UNUSED_S
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may have deleted it
            if path.stat().st_mtime < oldest_s:
                path.unlink()  # also a lock: two processes that unpack at once write the same file atomically

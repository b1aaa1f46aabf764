"""Bodies that are too large to hold: files of the scenario, and bytes that are made while they are sent.

    PHOTO = file("data/photo.jpg")               (dsl/payload.py makes them: a FileBody and a Blob)
    await user.http.put(url, content=PHOTO)
    await user.http.post("/upload", files={"photo": PHOTO})
    await user.http.put(part_url, content=blob("50MB", seed=1)[5_000_000:10_000_000])

Both know their length, are read in pieces of 64 KiB, can be sent any number of
times, also at once, and can be cut into parts without being read.

A blob's bytes follow from its seed and their place alone, by arithmetic of our
own, so they are the same on each machine and in each version. They do not repeat
and do not compress.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np

from loadgen.errors import UsageError
from loadgen.splitmix import GOLDEN, MASK, mixed_each
from loadgen.units import format_count

__all__ = ["PIECE_BYTES", "Blob", "FileBody", "Source", "SourceReader"]

PIECE_BYTES: Final = 64 * 1024
"""As httpx cuts files."""


class Source(ABC):
    """Bytes with a known length that are made or read piece by piece. Immutable."""

    __slots__ = ("_begin", "_size")

    _begin: int
    _size: int | None
    """Bytes from `_begin` on; None: to the end, whatever that is by then."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """
        Raises:
            UsageError: the file cannot be read.
        """

    @abstractmethod
    def reader(self) -> SourceReader:
        """A reader of its own position, as httpx's multipart takes it. Opens nothing before it is read."""

    @abstractmethod
    def _part(self, begin: int, size: int) -> Self:
        """The same source, of other bytes."""

    def __len__(self) -> int:
        return self.size_bytes

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, part: slice) -> Self:
        """A part of it, as a body of its own: `blob("50MB")[:5_000_000]`. Copies and reads nothing."""
        begin, end, step = part.indices(self.size_bytes)
        if step != 1:
            raise ValueError("a part of a body is of bytes in a row")
        return self._part(self._begin + begin, max(0, end - begin))

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes in pieces of at most 64 KiB."""
        reader = self.reader()
        try:
            while piece := reader.read(PIECE_BYTES):
                yield piece
        finally:
            reader.close()

    def __bytes__(self) -> bytes:
        return b"".join(self)


class SourceReader(ABC):
    """A position in a source; the part of `io.RawIOBase` that httpx uses."""

    def __init__(self, begin: int, size: int) -> None:
        self._begin, self._size, self._at = begin, size, 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left if negative; empty at the end, where what was opened is closed."""
        left = self._size - self._at
        count = left if size < 0 else min(size, left)
        data = self._bytes(self._begin + self._at, count) if count > 0 else b""
        self._at += len(data)
        if not data and size:
            self.close()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:  # noqa: B027  # there is nothing to close where nothing is opened
        """It may be read again: then it is opened again."""

    @abstractmethod
    def _bytes(self, begin: int, size: int) -> bytes: ...


# -- files ----------------------------------------------------------------------------------------


class FileBody(Source):
    """A file, or a part of one. Its length is that of when it is sent, not of when it was named."""

    __slots__ = ("path",)

    def __init__(self, path: Path, begin: int = 0, size: int | None = None) -> None:
        self.path = path
        self._begin, self._size = begin, size

    @property
    def name(self) -> str:
        """By which httpx finds the file name and the content type of a part of a form."""
        return str(self.path)

    @property
    def size_bytes(self) -> int:
        if self._size is not None:
            return self._size
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise _cannot_read(self.path, error) from error

    def reader(self) -> _FileReader:
        return _FileReader(self.path, self._begin, self.size_bytes)

    def _part(self, begin: int, size: int) -> Self:
        return type(self)(self.path, begin, size)

    def __repr__(self) -> str:
        return f"<file {self.path.name}>" if self._size is None else f"<{self._size} bytes of file {self.path.name}>"


class _FileReader(SourceReader):
    def __init__(self, path: Path, begin: int, size: int) -> None:
        super().__init__(begin, size)
        self._path = path
        self._file: BinaryIO | None = None

    @property
    def name(self) -> str:
        return str(self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _bytes(self, begin: int, size: int) -> bytes:
        try:
            if self._file is None:
                self._file = self._path.open("rb", buffering=0)
            if self._file.tell() != begin:
                self._file.seek(begin)
            return self._file.read(size)
        except OSError as error:
            raise _cannot_read(self._path, error) from error


def _cannot_read(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path.name} cannot be read: {error.strerror or error}",
        hint="call file(...) at the top of the scenario, so that the file travels to the agents",
    )


# -- made up --------------------------------------------------------------------------------------


class Blob(Source):
    """Pseudo-random bytes: SplitMix64 of (seed, word), little endian (Steele, Lea and Flood 2014).

    Cost: 0.4 ms a MB (`timeit` over its pieces, two-core virtual machine).
    """

    __slots__ = ("seed",)

    def __init__(self, size: int, seed: int = 0, begin: int = 0) -> None:
        self.seed = seed
        self._begin, self._size = begin, size

    @property
    def size_bytes(self) -> int:
        return self._size or 0

    def reader(self) -> _BlobReader:
        return _BlobReader(self.seed, self._begin, self.size_bytes)

    def _part(self, begin: int, size: int) -> Self:
        return type(self)(size, self.seed, begin)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Blob):
            return NotImplemented
        return (self.seed, self._begin, self._size) == (other.seed, other._begin, other._size)

    def __hash__(self) -> int:
        return hash((self.seed, self._begin, self._size))

    def __repr__(self) -> str:
        return f"<blob of {format_count(self.size_bytes)} bytes, seed {self.seed}>"


class _BlobReader(SourceReader):
    def __init__(self, seed: int, begin: int, size: int) -> None:
        super().__init__(begin, size)
        self._seed = np.uint64(seed & MASK)

    def _bytes(self, begin: int, size: int) -> bytes:
        first, last = begin // 8, (begin + size + 7) // 8
        z = np.arange(first + 1, last + 1, dtype=np.uint64)
        z *= np.uint64(GOLDEN)  # in place: a copy of 64 KiB for each step would cost as much again
        z += self._seed
        data = mixed_each(z).astype("<u8", copy=False).tobytes()
        skip = begin - first * 8
        return data[skip : skip + size] if skip or len(data) != size else data

"""Fetches a run's bundle from the controller in chunks, verifies it, and unpacks it into a private folder.

`Fetch` returns the requests to send and receives the chunks; it does no I/O itself.
No part of a bundle is written or imported before the sha256 of the whole is verified.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from loadgen.bundle import MAX_BYTES, unpack
from loadgen.errors import BundleError
from loadgen.units import NS_PER_S
from loadgen.wire.messages import CHUNK_BYTES, BundleChunk, BundleRequest

__all__ = ["AHEAD", "ASK_AGAIN_NS", "Cache", "Fetch"]

AHEAD = 10
"""Chunks in flight. Enough to fill a slow line; other messages wait behind at most these."""
ASK_AGAIN_NS = 2 * NS_PER_S
"""Time after which a chunk that did not arrive is requested again."""


class Fetch:
    """One bundle that is being fetched. Uses at most as much memory as the bundle's announced size.

    Every chunk has CHUNK_BYTES, except a shorter last one.
    """

    def __init__(self, sha256: str, size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Begin to fetch the bundle with this sha256 and size.

        Raises:
            BundleError: the size is 0 or above MAX_BYTES.
        """
        if not 0 < size_bytes <= MAX_BYTES:
            raise BundleError(
                f"the bundle has {size_bytes:,} bytes: it must have 1 to {MAX_BYTES:,}",
                hint="make the scenario's folder smaller, e.g. move large data files out of it",
            )
        self.sha256, self.size_bytes, self._chunk_bytes = sha256, size_bytes, chunk_bytes
        self._data = bytearray()
        """Grows with the chunks, so that announced bytes that are never sent cost no memory."""
        self._asked_ns: dict[int, int] = {}
        """Time of the last request for each chunk in flight, by offset."""
        self._next = 0
        """Offset of the first chunk that was never requested."""

    @property
    def data(self) -> bytes | None:
        """The whole bundle, whose sha256 is not checked yet; None until all chunks have arrived."""
        return None if self._next < self.size_bytes or self._asked_ns else bytes(self._data)

    def requests(self, now_ns: int) -> list[BundleRequest]:
        """Return the chunk requests to send to the controller now.

        These are new ones, so that AHEAD are in flight, and again those whose chunk is late.
        """
        late = [offset for offset, asked_ns in self._asked_ns.items() if now_ns - asked_ns > ASK_AGAIN_NS]
        while self._next < self.size_bytes and len(self._asked_ns) < AHEAD:
            self._asked_ns[self._next] = now_ns
            late.append(self._next)
            self._next += self._chunk_bytes
        for offset in late:
            self._asked_ns[offset] = now_ns
        return [BundleRequest(self.sha256, offset) for offset in late]

    def take(self, chunk: BundleChunk) -> None:
        """Add a chunk that the controller sent. A chunk that was not requested, or arrives twice, is ignored.

        Raises:
            BundleError: the chunk has a wrong length.
        """
        if chunk.sha256 != self.sha256 or chunk.offset not in self._asked_ns:
            return
        wanted = min(self._chunk_bytes, self.size_bytes - chunk.offset)
        if len(chunk.data) != wanted:
            raise BundleError(
                f"the controller sent a chunk of {len(chunk.data):,} bytes at offset {chunk.offset:,} of the bundle;"
                f" it must have {wanted:,}",
                hint="use the same version of loadgen on both sides",
            )
        end = chunk.offset + wanted
        if end > len(self._data):
            self._data.extend(bytes(end - len(self._data)))
        self._data[chunk.offset : end] = chunk.data
        del self._asked_ns[chunk.offset]


class Cache:
    """Unpacked bundles by sha256, in a temporary folder that lives as long as the agent."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def get(self, sha256: str) -> Path | None:
        """Return the folder of the unpacked bundle with this sha256; None if it is not in the cache."""
        place = self._place(sha256)
        return place if place is not None and place.is_dir() else None

    def put(self, sha256: str, data: bytes) -> Path:
        """Check the sha256 of a bundle, unpack it, and return its folder. Blocking.

        Raises:
            BundleError: the data do not match `sha256`, the archive is not safe, or the folder cannot be written.
        """
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="loadgen-agent-"))
            except OSError as exc:
                raise BundleError(
                    f"the agent cannot make a temporary folder for the bundle: {exc.strerror}."
                    " Free space, or set TMPDIR to a writable folder"
                ) from exc
        place = self._folder / sha256
        unpack(data, sha256, place)
        return place

    def clear(self) -> None:
        """Remove all unpacked bundles from the disk."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, sha256: str) -> Path | None:
        # The hash becomes a path, so it must not contain separators or dots.
        if self._folder is None or len(sha256) != 64 or not sha256.isalnum():
            return None
        return self._folder / sha256

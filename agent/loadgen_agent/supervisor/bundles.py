"""Getting a run's bundle from the controller: in chunks, verified as a whole, unpacked into a private folder.

`Fetch` says what to ask for and takes what comes; it neither sends nor waits.
Nothing of a bundle is written, let alone imported, before its sha256 is right.
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
"""Chunks asked for and not here yet: keeps a long line busy, and other messages wait for at most these."""
ASK_AGAIN_NS = 2 * NS_PER_S


class Fetch:
    """One bundle on its way. Needs as much memory as the bundle has bytes, whatever the controller sends.

    Every chunk has CHUNK_BYTES but the last one, which is shorter.
    """

    def __init__(self, sha256: str, size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        """
        Raises:
            BundleError: larger than any bundle may be.
        """
        if not 0 < size_bytes <= MAX_BYTES:
            raise BundleError(f"bundle of {size_bytes:,} bytes: the limit is {MAX_BYTES:,}")
        self.sha256, self.size_bytes, self._chunk_bytes = sha256, size_bytes, chunk_bytes
        self._data = bytearray()
        """Grows with the chunks: bytes that are announced and never sent cost nothing."""
        self._asked_ns: dict[int, int] = {}
        """When, by offset, of what was asked for and is not here yet."""
        self._next = 0
        """Offset of the first chunk that was never asked for."""

    @property
    def data(self) -> bytes | None:
        """The whole bundle, not verified; None until it is here."""
        return None if self._next < self.size_bytes or self._asked_ns else bytes(self._data)

    def requests(self, now_ns: int) -> list[BundleRequest]:
        """What to ask for now: new chunks within the credit, and those that took too long."""
        late = [offset for offset, asked_ns in self._asked_ns.items() if now_ns - asked_ns > ASK_AGAIN_NS]
        while self._next < self.size_bytes and len(self._asked_ns) < AHEAD:
            self._asked_ns[self._next] = now_ns
            late.append(self._next)
            self._next += self._chunk_bytes
        for offset in late:
            self._asked_ns[offset] = now_ns
        return [BundleRequest(self.sha256, offset) for offset in late]

    def take(self, chunk: BundleChunk) -> None:
        """What was not asked for, or comes twice, changes nothing.

        Raises:
            BundleError: the chunk has another length than was asked for.
        """
        if chunk.sha256 != self.sha256 or chunk.offset not in self._asked_ns:
            return
        wanted = min(self._chunk_bytes, self.size_bytes - chunk.offset)
        if len(chunk.data) != wanted:
            raise BundleError(
                f"the controller sent a chunk of {len(chunk.data):,} bytes at offset {chunk.offset:,} of the bundle;"
                f" it must have {wanted:,}"
            )
        end = chunk.offset + wanted
        if end > len(self._data):
            self._data.extend(bytes(end - len(self._data)))
        self._data[chunk.offset : end] = chunk.data
        del self._asked_ns[chunk.offset]


class Cache:
    """Unpacked bundles by sha256, in a folder that lives as long as the agent."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def get(self, sha256: str) -> Path | None:
        place = self._place(sha256)
        return place if place is not None and place.is_dir() else None

    def put(self, sha256: str, data: bytes) -> Path:
        """Verify and unpack. Blocking.

        Raises:
            BundleError: not what `sha256` says, not safe, or it cannot be written.
        """
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="loadgen-agent-"))
            except OSError as exc:
                raise BundleError(f"no place for a bundle: {exc.strerror}") from exc
        place = self._folder / sha256
        unpack(data, sha256, place)
        return place

    def clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, sha256: str) -> Path | None:
        if self._folder is None or len(sha256) != 64 or not sha256.isalnum():
            return None
        return self._folder / sha256

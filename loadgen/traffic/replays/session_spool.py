"""Keeps the rows of sessions in temporary files, and yields them sorted by start.

Each partition makes a sorted file of its own. Then the files are merged, so memory holds one partition at most.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Final, Self

from loadgen.traffic.replays.session_lines import Recorded

__all__ = ["SessionSpool"]

_HEAD: Final = Struct("<qqII")
"""start, length of time, calls, bytes of the text."""
_BUFFER_BYTES: Final = 1 << 16


class SessionSpool:
    """Sorted rows of sessions. Use it in a `with` block, which deletes the temporary files.

    The files have what the replay sends, and are in a private folder of TMPDIR.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="loadgen-replay-")
        self._files: list[Path] = []

    def file(self, name: str) -> Path:
        """Return the path of a further temporary file."""
        return Path(self._folder.name) / name

    def add(self, rows: Iterable[Recorded]) -> None:
        """Add the rows of a partition, in any order."""
        path = self.file(f"{len(self._files):02}")
        with path.open("wb", buffering=_BUFFER_BYTES) as file:
            for row in sorted(rows):
                file.write(_HEAD.pack(row.start_us, row.lasts_us, row.calls, len(row.steps)))
                file.write(row.steps)
        self._files.append(path)

    def __iter__(self) -> Iterator[Recorded]:
        """Yield all rows, sorted by start and then by text."""
        return heapq.merge(*(_read(path) for path in self._files))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


def _read(path: Path) -> Iterator[Recorded]:
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        while head := file.read(_HEAD.size):
            start_us, lasts_us, calls, size = _HEAD.unpack(head)
            yield Recorded(start_us, file.read(size), lasts_us, calls)

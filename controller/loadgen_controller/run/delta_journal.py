"""Makes deltas durable in groups, in a thread, and reports which of them may be acknowledged.

A delta is acknowledged only when it is on disk, so a delta that an agent has dropped is
never lost. One fdatasync serves all deltas of up to 100 ms.

If the disk is full or fails, writing is tried again every second. Until everything is
written, nothing is acknowledged, so the agents keep their deltas. When `ROOM_BYTES` wait,
new deltas are refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import RunDir

__all__ = ["AGAIN_S", "COMMIT_S", "ROOM_BYTES", "Journal"]

COMMIT_S = 0.1
"""The time over which deltas are collected. With 3 to 10 ms for fdatasync, acknowledgements stay well within their
limit of 200 ms."""
AGAIN_S = 1.0
"""The time between two attempts to write to a failing disk."""
ROOM_BYTES = 32 << 20
"""The most deltas that wait for a failing disk: some seconds of 1,000 agents."""

Place = tuple[str, int, int]
"""(agent, epoch, seq) of a delta."""


class Journal:
    """Writes the run folder's two logs, `deltas.log` and `events.jsonl`.

    Args:
        on_durable: called on the event loop with the last durable delta of each agent.
        on_failed: called on the event loop with the error when writing begins to fail.
        on_mended: called with the length of the failure in seconds, when everything is durable again.
    """

    def __init__(
        self,
        folder: RunDir,
        on_durable: Callable[[Iterable[Place]], None],
        on_failed: Callable[[StorageError], None],
        on_mended: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._folder, self._on_durable, self._on_failed, self._on_mended = folder, on_durable, on_failed, on_mended
        self._waiting: deque[tuple[int, int, float, Place]] = deque()
        """(ordinal, bytes, arrival time, place) of each delta that is not durable yet."""
        self._waiting_bytes = 0
        self._dirty = asyncio.Event()
        self._failing_since_s: float | None = None
        self.has_failed = False
        """Set by the conductor when the run ends because of the disk: nothing more is written."""

    @property
    def late_s(self) -> float:
        """Return for how many seconds the oldest delta has waited to be safe on disk; 0 if none waits."""
        return monotonic() - self._waiting[0][2] if self._waiting else 0.0

    @property
    def has_room(self) -> bool:
        """Return whether another delta may be appended.

        That is always so while the disk works. After a disk error, deltas wait in memory up to a limit.
        """
        return self._failing_since_s is None or self._waiting_bytes < ROOM_BYTES

    def append(self, payload: bytes, place: Place) -> None:
        """Append one undecoded delta to the log.

        place: its agent, epoch and sequence number, with which `on_durable` is called when it is on disk.
        """
        self._waiting.append((self._folder.append(payload), len(payload), monotonic(), place))
        self._waiting_bytes += len(payload)
        self._dirty.set()

    def event(self, kind: str, **fields: object) -> None:
        """Append one line to events.jsonl. It is safe on disk after the next `commit`."""
        self._folder.event(kind, **fields)
        self._dirty.set()

    async def serve(self) -> None:
        """Write appended data safely to disk, many appends at once, until cancelled."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COMMIT_S if self._failing_since_s is None else AGAIN_S)
            await self.commit()

    async def commit(self) -> None:
        """Write everything that was appended so far safely to disk.

        A disk error is reported by a callback, and the next commit tries again.
        """
        # Cleared before the write: data that is appended while the thread writes must set it again.
        self._dirty.clear()
        if self.has_failed:
            return
        try:
            durable = await asyncio.to_thread(self._folder.sync)
        except StorageError as error:
            # Otherwise `serve` would try again only after the next append, which may never come.
            self._dirty.set()
            if self._failing_since_s is None:
                self._failing_since_s = monotonic()
                self._on_failed(error)
            return
        newest: dict[tuple[str, int], Place] = {}
        while self._waiting and self._waiting[0][0] <= durable:
            _, size_bytes, _, place = self._waiting.popleft()
            self._waiting_bytes -= size_bytes
            newest[place[:2]] = place
        if self._failing_since_s is not None:
            failed_s, self._failing_since_s = monotonic() - self._failing_since_s, None
            self._on_mended(failed_s)
        if newest:
            self._on_durable(newest.values())

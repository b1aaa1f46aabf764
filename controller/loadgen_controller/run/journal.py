"""Makes deltas durable in groups, off the loop, and says which of them may be acknowledged.

A delta is acknowledged when it is on the disk and not before, so nothing that an
agent has let go of can be lost. One fdatasync serves all deltas of up to 100 ms.

A disk that is full or fails is tried again each second. Until it takes everything that
was taken in, nothing is acknowledged and so the agents keep what they have; and
beyond `ROOM_BYTES` nothing more is taken in.
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
"""With the 3 to 10 ms of fdatasync well within the 200 ms that an acknowledgement may take."""
AGAIN_S = 1.0
ROOM_BYTES = 32 << 20
"""Of deltas that wait for a disk that fails: some seconds of 1,000 agents."""

Place = tuple[str, int, int]
"""(agent, epoch, seq) of a delta."""


class Journal:
    """The run folder's two logs, written on by one task.

    Args:
        on_durable: gets the last durable delta of each agent; called on the loop.
        on_failed: gets the reason, when it begins to fail; called on the loop.
        on_mended: gets for how many seconds it failed, when all is durable again.
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
        """(ordinal, bytes, since when, place) of what is not durable yet."""
        self._waiting_bytes = 0
        self._dirty = asyncio.Event()
        self._failing_since_s: float | None = None
        self.has_failed = False
        """For good: nothing more is written. Whoever conducts the run says so."""

    @property
    def late_s(self) -> float:
        """For how long the oldest delta has waited to be durable."""
        return monotonic() - self._waiting[0][2] if self._waiting else 0.0

    @property
    def has_room(self) -> bool:
        """For one more delta. There is always room while the disk takes what comes."""
        return self._failing_since_s is None or self._waiting_bytes < ROOM_BYTES

    def append(self, payload: bytes, place: Place) -> None:
        """Take in one delta as it came over the wire; `on_durable` tells when it is safe."""
        self._waiting.append((self._folder.append(payload), len(payload), monotonic(), place))
        self._waiting_bytes += len(payload)
        self._dirty.set()

    def event(self, kind: str, **fields: object) -> None:
        """Take in one line of events.jsonl; durable with the next commit."""
        self._folder.event(kind, **fields)
        self._dirty.set()

    async def serve(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COMMIT_S if self._failing_since_s is None else AGAIN_S)
            await self.commit()

    async def commit(self) -> None:
        """Make durable what is there now."""
        self._dirty.clear()
        if self.has_failed:
            return
        try:
            durable = await asyncio.to_thread(self._folder.sync)
        except StorageError as error:
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

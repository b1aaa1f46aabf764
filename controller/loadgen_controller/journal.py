"""Makes deltas durable in groups, off the loop, and says which of them may be acknowledged.

A delta is acknowledged when it is on the disk and not before, so nothing that an
agent has let go of can be lost. One fdatasync serves all deltas of up to 100 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from loadgen.errors import StorageError
from loadgen.measure.rundir import RunDir

__all__ = ["COMMIT_S", "Journal"]

COMMIT_S = 0.1
"""With the 3 to 10 ms of fdatasync well within the 200 ms that an acknowledgement may take."""

Place = tuple[str, int, int]
"""(agent, epoch, seq) of a delta."""


class Journal:
    """The run folder's two logs, written on by one task. Nothing is written after a failure.

    Args:
        on_durable: gets the last durable delta of each agent; called on the loop.
        on_failed: gets the reason, once; called on the loop.
    """

    def __init__(
        self,
        folder: RunDir,
        on_durable: Callable[[Iterable[Place]], None],
        on_failed: Callable[[StorageError], None],
    ) -> None:
        self._folder, self._on_durable, self._on_failed = folder, on_durable, on_failed
        self._waiting: deque[tuple[int, Place]] = deque()
        self._dirty = asyncio.Event()
        self.has_failed = False

    def append(self, payload: bytes, place: Place) -> None:
        """Take in one delta as it came over the wire; `on_durable` tells when it is safe."""
        self._waiting.append((self._folder.append(payload), place))
        self._dirty.set()

    def event(self, kind: str, **fields: object) -> None:
        """Take in one line of events.jsonl; durable with the next commit."""
        self._folder.event(kind, **fields)
        self._dirty.set()

    async def serve(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COMMIT_S)
            await self.commit()

    async def commit(self) -> None:
        """Make durable what is there now."""
        self._dirty.clear()
        if self.has_failed:
            return
        try:
            durable = await asyncio.to_thread(self._folder.sync)
        except StorageError as error:
            self.has_failed = True
            self._on_failed(error)
            return
        newest: dict[tuple[str, int], Place] = {}
        while self._waiting and self._waiting[0][0] <= durable:
            _, place = self._waiting.popleft()
            newest[place[:2]] = place
        if newest:
            self._on_durable(newest.values())

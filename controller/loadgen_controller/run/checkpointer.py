"""Keeps what was merged, as it is merged: sums for the end of the run, and a place to go on from after a restart.

Every few thousand deltas, or each minute, the sums of the deltas since the last time (`interval_sum.py`) are
appended to `merged.log`, and all that the merge knows is written to `checkpoint`. Where sums are large, those of
intervals that are over are appended sooner. Both speak only of deltas that are
durable in `deltas.log` and are derived from it: whatever becomes of them, and if they are given up because the disk
refuses, everything is in the log still, and is read from there, which takes longer.

On the loop: 10 ms each time for 1,000 agents. The rest is done by a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.deltas.series import SeriesKey
from loadgen.measure.merging.checkpoint import Checkpoint, freeze, write_checkpoint
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import CELLS_MAGIC, Cell, cell_of, encode_cell, read_cells
from loadgen.measure.run_folder.rundir import RunDir, storage_error
from loadgen.secret_files import open_private

__all__ = ["Checkpointer", "Kept"]

_DELTAS = 8_000
"""They are merged again within 1 s on a restart."""
_BYTES = 8 << 20
"""Of sums that wait to be written: what 200 agents of 300 series say in a second is 20 MiB."""
_LONGEST_S = 60.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Kept:
    """All cells of a run that is over."""

    path: Path
    end: int

    def cells(self) -> Iterator[Cell]:
        """Raises StorageError where they cannot be read."""
        return read_cells(self.path, self.end)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is written at a time."""

    sums: list[Sum]
    names: list[tuple[str, SeriesKey]]
    checkpoint: Checkpoint


class Checkpointer:
    """Of one run. Make it, and call it, on the loop.

    Args:
        merge: what the run is merged into, with `kept`: all that the files do not hold. Without, nothing is kept.
        merged_end: offset in merged.log up to which it goes with `merge`; 0: there is no such file.
        extra: gives the controller's own state, for the checkpoint.
        settled: called by a thread before a checkpoint is written: waits for what `extra` speaks of.
    """

    def __init__(
        self,
        folder: RunDir,
        merge: Merge,
        merged_end: int = 0,
        *,
        extra: Callable[[], bytes] = lambda: b"",
        settled: Callable[[], None] = lambda: None,
        deltas: int = _DELTAS,
        longest_s: float = _LONGEST_S,
    ) -> None:
        self._folder, self._merge, self._extra, self._settled = folder, merge, extra, settled
        self._end = merged_end
        self._named = len(merge._catalogue.names) if merged_end else 0
        """Of how many series the file has the names."""
        self._deltas, self._longest_s = deltas, longest_s
        self._kept_s = monotonic()
        self._since = 0
        """How many deltas were added up since the last checkpoint."""
        self._is_given_up = merge.kept is None
        self._taken: _Taken | None = None
        """What waits to be durable."""
        self._serving: asyncio.Task[None] | None = None

    @property
    def is_due(self) -> bool:
        """A checkpoint."""
        waiting = 0 if self._is_given_up else self._merge.waiting
        if not waiting:
            return False
        return self._since + waiting >= self._deltas or monotonic() - self._kept_s >= self._longest_s

    @property
    def is_full(self) -> bool:
        """So much waits that it is to be written, without a checkpoint: that is the dear part."""
        return not self._is_given_up and sum(one.store.size_bytes for one in self._merge.kept or ()) >= _BYTES

    def begin(self) -> None:
        """Keep until `finish`, or `end`."""
        self._serving = asyncio.create_task(self._serve(), name="keeper")

    def check(self) -> None:
        """Raises what went wrong in here: that is a bug, a disk that refuses is not."""
        if self._serving is not None and self._serving.done() and not self._serving.cancelled():
            self._serving.result()

    async def end(self) -> None:
        """What is being written is written; nothing more is."""
        if self._serving is not None:
            self._serving.cancel()
            (error,) = await asyncio.gather(self._serving, return_exceptions=True)
            if isinstance(error, Exception):
                self._give_up()

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take what is due, and write what was taken as soon as it is durable."""
        if self._taken is None and ((is_due := self.is_due) or self.is_full):
            self._taken = self._take(is_due)
        if self._taken is not None and self._is_durable(self._taken):
            await self._write(self._taken)

    async def finish(self) -> Kept | None:
        """The last time. None: the deltas are to be read, since they are few, or since something was amiss."""
        await self.end()
        if self._is_given_up or not self._end:
            return None
        for _ in range(2):  # what was taken before, and what came since then
            self._taken = self._taken or self._take(False, to_the_end=True)
            if self._taken is None:
                break
            if not self._is_durable(self._taken):
                self._give_up()
                return None
            await self._write(self._taken)
        return None if self._is_given_up else Kept(self._folder.merged_path, self._end)

    def forget(self) -> None:
        """The run is sealed: its files are of no more use."""
        for path in (self._folder.checkpoint_path, self._folder.merged_path):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    # -- how ------------------------------------------------------------------------------------

    def _take(self, with_state: bool, to_the_end: bool = False) -> _Taken | None:
        """All that is there now, or only what is of intervals that are over."""
        if self._is_given_up:
            return None
        if with_state or to_the_end:
            self._merge.close()
        sums, names = self._merge.kept, self._merge._catalogue.names
        if not sums:
            return None
        state, extra = (freeze(self._merge), self._extra()) if with_state else (b"", b"")
        checkpoint = Checkpoint(self._folder.appended_end, 0, state, extra)
        taken = _Taken(sums, names[self._named :], checkpoint)
        self._merge.kept, self._named = [], len(names)
        self._since += sum(one.deltas for one in sums)
        if with_state:
            self._since, self._kept_s = 0, monotonic()
        return taken

    def _is_durable(self, taken: _Taken) -> bool:
        return self._folder.durable_end >= taken.checkpoint.deltas_end

    async def _write(self, taken: _Taken) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(self._written, taken))
        try:
            try:
                self._end = await asyncio.shield(writing)
            except asyncio.CancelledError:  # a thread cannot be stopped
                self._end, self._taken = await writing, None
                raise
            self._taken = None
        except StorageError:
            self._give_up()

    def _written(self, taken: _Taken) -> int:
        """The new end of merged.log."""
        path, end, names = self._folder.merged_path, self._end, taken.names
        try:
            flags = os.O_RDWR if end else os.O_RDWR | os.O_CREAT | os.O_TRUNC
            with os.fdopen(open_private(path, flags), "r+b") as file:
                end = end or file.write(CELLS_MAGIC)
                file.truncate(end)
                file.seek(end)
                for one in taken.sums:
                    end += file.write(encode_cell(replace(cell_of(one), names=names)))
                    one.is_free, names = True, []
        except OSError as exc:
            raise storage_error(path, exc) from exc
        if not taken.checkpoint.state:
            return end
        self._settled()
        write_checkpoint(self._folder.checkpoint_path, msgspec.structs.replace(taken.checkpoint, merged_end=end))
        return end

    def _give_up(self) -> None:
        self._is_given_up, self._merge.kept, self._taken = True, None, None
        self.forget()

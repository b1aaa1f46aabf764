"""Stores the merged counts while a run goes on, so that its end and a restart of the controller take less time.

Every few thousand deltas, or every minute, the sums of the deltas since the last time
(`interval_sum.py`) are appended to `merged.log`, and the whole state of the merge is
written to `checkpoint`. Large sums of complete intervals are appended sooner. Both files
are derived from deltas that are durable in `deltas.log`. If they are lost, or given up
because of a disk error, everything can be read from that log, which takes longer.

Cost on the event loop: 20 to 60 ms each time for 1,000 agents with 46 series, by the speed of the machine. A thread
does the rest.
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
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.checkpoint import Checkpoint, freeze, write_checkpoint
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import CELLS_MAGIC, Cell, cell_of, encode_cell, read_cells
from loadgen.measure.run_folder.rundir import RunDir, storage_error
from loadgen.secret_files import open_private

__all__ = ["Checkpointer", "Kept"]

_DELTAS = 8_000
"""Fewest deltas between two checkpoints; after a restart, merging them again takes less than 1 s."""
_AGENTS = 2_000
"""With more agents, there are as many times more deltas between two checkpoints, because each checkpoint has a state of
each agent. With 5,000 agents and 8,000 deltas, checkpoints took a tenth of a core."""
_BYTES = 8 << 20
"""The size of waiting sums at which they are written; 200 agents with 300 series add 20 MiB per second."""
_LONGEST_S = 60.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Kept:
    """The file with all cells of a finished run, and the offset at which it ends."""

    path: Path
    end: int

    def cells(self) -> Iterator[Cell]:
        """Read all cells (stored sums of deltas) of the file. Raises StorageError if the file cannot be read."""
        return read_cells(self.path, self.end)


@dataclass(frozen=True, slots=True)
class _Taken:
    """The data of one write: sums, names of new series, and a checkpoint, whose state may be empty."""

    sums: list[Sum]
    names: list[tuple[str, SeriesKey]]
    checkpoint: Checkpoint


class Checkpointer:
    """Writes the checkpoints and sums of one run. Create it and call it on the event loop.

    Args:
        merge: the run's merge. Its `kept` holds the sums that are not in the files; if it is None, nothing is written.
        merged_end: the offset in merged.log up to which the file belongs to `merge`; 0 if there is no file.
        extra: returns additional state of the controller for the checkpoint.
        settled: called in a thread before a checkpoint is written; it waits until the state of `extra` is on disk.
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
        """The number of series whose names are in the file."""
        self._deltas, self._longest_s = deltas, longest_s
        self._kept_s = monotonic()
        self._since = 0
        """The number of deltas since the last checkpoint."""
        self._is_given_up = merge.kept is None
        self._taken: _Taken | None = None
        """The data to write as soon as its deltas are durable."""
        self._serving: asyncio.Task[None] | None = None

    @property
    def is_due(self) -> bool:
        """Return whether it is time for a checkpoint, by the number of deltas or the time since the last one."""
        waiting = 0 if self._is_given_up else self._merge.waiting
        if not waiting:
            return False
        deltas = self._deltas * max(1.0, self._merge.agent_count / _AGENTS)
        return self._since + waiting >= deltas or monotonic() - self._kept_s >= self._longest_s

    @property
    def is_full(self) -> bool:
        """Return whether the waiting sums are so large that they must be written before the next checkpoint."""
        return not self._is_given_up and sum(one.store.size_bytes for one in self._merge.kept or ()) >= _BYTES

    def begin(self) -> None:
        """Start a task that writes sums and checkpoints whenever it is time, until `finish` or `end`."""
        self._serving = asyncio.create_task(self._serve(), name="keeper")

    def check(self) -> None:
        """Raise the error that ended the task, which is a bug. Disk errors do not end it."""
        if self._serving is not None and self._serving.done() and not self._serving.cancelled():
            self._serving.result()

    async def end(self) -> None:
        """Wait for the present write to end, and write nothing more."""
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
        """Collect the sums of merged deltas if it is time, and write collected ones whose deltas are safe on disk."""
        if self._taken is None and ((is_due := self.is_due) or self.is_full):
            self._taken = self._take(is_due)
        if self._taken is not None and self._is_durable(self._taken):
            await self._write(self._taken)

    async def finish(self) -> Kept | None:
        """Write all remaining sums at the end of the run, and return the file that then holds the whole run.

        Return None if the files do not hold the run: there were few deltas, or an error occurred. Then the caller must
        read the deltas from the log.
        """
        await self.end()
        if self._is_given_up or not self._end:
            return None
        for _ in range(2):  # the data collected before, and the sums since then
            self._taken = self._taken or self._take(False, to_the_end=True)
            if self._taken is None:
                break
            if not self._is_durable(self._taken):
                self._give_up()
                return None
            await self._write(self._taken)
        return None if self._is_given_up else Kept(self._folder.merged_path, self._end)

    def forget(self) -> None:
        """Delete the checkpoint and the file of sums, which a sealed run does not need."""
        for path in (self._folder.checkpoint_path, self._folder.merged_path):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    # -- writing ----------------------------------------------------------------------------------

    def _take(self, with_state: bool, to_the_end: bool = False) -> _Taken | None:
        """Return the sums of deltas since the last call, or None if there are none.

        Without `with_state` and `to_the_end` they cover only complete intervals. with_state: also store the state of
        the merge, for a restart.
        """
        if self._is_given_up:
            return None
        if with_state or to_the_end:
            self._merge.close()
        sums, names = self._merge.kept, self._merge._catalogue.names
        if not sums:
            return None
        # No await between the state and the end of the log: the state contains exactly the entries before that end.
        state, extra = (freeze(self._merge), self._extra()) if with_state else (b"", b"")
        checkpoint = Checkpoint(self._folder.appended_end, 0, state, extra)
        taken = _Taken(sums, names[self._named :], checkpoint)
        self._merge.kept, self._named = [], len(names)
        self._since += sum(one.deltas for one in sums)
        if with_state:
            self._since, self._kept_s = 0, monotonic()
        return taken

    def _is_durable(self, taken: _Taken) -> bool:
        # Otherwise a crash could leave a checkpoint with deltas that are not in deltas.log; recovery rejects it.
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
        """Append the sums to merged.log, and write the checkpoint if there is one; return the new end of merged.log.

        A thread calls this.
        """
        path, end, names = self._folder.merged_path, self._end, taken.names
        try:
            flags = os.O_RDWR if end else os.O_RDWR | os.O_CREAT | os.O_TRUNC
            with os.fdopen(open_private(path, flags), "r+b") as file:
                end = end or file.write(CELLS_MAGIC)
                # Removes what a write that failed or was interrupted has left behind `end`.
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
        """Delete both files and write no more; `deltas.log` still holds everything."""
        self._is_given_up, self._merge.kept, self._taken = True, None, None
        self.forget()

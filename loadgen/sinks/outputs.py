"""The outputs of a controller, and what one run tells them: each complete interval once, and all of it at the end.

On the loop that merges there is only the making of snapshots, a few series at a turn, and only where there are
outputs. What an output does with them is its thread's business (`feed.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Window
from loadgen.sinks.feed import Feed, Tally
from loadgen.sinks.snapshot import MAX_SERIES, RunName, Snapshot, SnapshotMaker
from loadgen.units import NS_PER_MS

__all__ = ["PATIENCE_S", "Outputs", "RunOutputs", "Sight"]

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""How long a run's end waits for outputs to take its last figures."""
_LOOK_S: Final = 0.1
_AT_ONCE: Final = 10
"""Intervals that became complete together; of more only the newest are told, which have the counts of all."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A run at one instant."""

    merge: Merge
    live: Collection[str]
    """Agents that still report."""
    clock_ns: int | None
    """Since T0; None: it has not begun."""
    started_ns: int
    """T0, Unix time."""


class Outputs:
    """All outputs of a controller. Several runs may tell them at once."""

    def __init__(self, feeds: Iterable[Feed] = ()) -> None:
        self.feeds = tuple(feeds)

    def __repr__(self) -> str:
        return f"<Outputs: {', '.join(f'{feed.sink.kind} {feed.sink.where}' for feed in self.feeds) or 'none'}>"

    def __bool__(self) -> bool:
        return bool(self.feeds)

    @property
    def has_stdout(self) -> bool:
        """One of them writes there, so nobody else should."""
        return any((feed.sink.kind, feed.sink.where) == ("ndjson", "-") for feed in self.feeds)

    def of_run(self, run: RunName, look: Callable[[], Sight], notice: Callable[[str], None]) -> RunOutputs:
        return RunOutputs(self.feeds, run, look, notice)

    async def linger(self, run_id: str, is_over: asyncio.Event, say: Callable[[str], None]) -> None:
        """Wait until whoever comes for the figures has the last ones of a run, or for `is_over`.

        For the end of a program; a run ends without. Nobody is waited for who never came, and for nobody longer than
        `Sink.awaits_s` says.
        """
        began_s, is_said = time.monotonic(), False
        while not is_over.is_set():
            waits_s = {feed.sink: feed.sink.awaits_s(run_id) for feed in self.feeds}
            left_s = max(waits_s.values(), default=0.0) - (time.monotonic() - began_s)
            if left_s <= 0:
                return
            if not is_said:
                where = ", ".join(sink.where for sink, one_s in waits_s.items() if one_s)
                say(f"waiting up to {left_s:.0f} s for the last scrape of {where}; Ctrl-C ends that")
                is_said = True
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), min(left_s, _LOOK_S))

    def close(self) -> None:
        for feed in self.feeds:
            feed.close()


class RunOutputs:
    """What one run tells its outputs.

    Args:
        look: the run as it is now; called on the loop.
        notice: for the person who watches; the same text may come again.
    """

    def __init__(
        self, feeds: Iterable[Feed], run: RunName, look: Callable[[], Sight], notice: Callable[[str], None]
    ) -> None:
        feeds = tuple(feeds)
        self._maker = SnapshotMaker(run, with_recent=any(feed.sink.wants_recent for feed in feeds))
        self._look, self._notice = look, notice
        self._tallies: list[tuple[Feed, Tally]] = [(feed, feed.tally(run.run_id)) for feed in feeds]
        self._told: int | None = None
        """The newest interval that was told."""
        self._told_ns = -NS_PER_MS
        """The end of what was told last."""
        self._failing: set[int] = set()
        self._serving: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Tell intervals from now on. Nothing is done where there is no output."""
        if self._tallies:
            self._serving = asyncio.create_task(self._serve(), name="outputs")

    async def tell(self) -> None:
        """What has become complete since the last call."""
        sight = self._look()
        if sight.clock_ns is not None:
            for window in self._complete(sight):
                await self._tell(sight, window)
        self._tell_troubles()

    async def cancel(self) -> None:
        """Tell nothing any more. Safe to call again, and after the end."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    async def end(self, patience_s: float = PATIENCE_S) -> list[dict[str, object]]:
        """Tell the whole run, wait for the outputs to take it, and say what became of all; once.

        Nothing may be merged meanwhile. Of a run that has not begun nothing is told.
        """
        if not self._tallies:
            return []
        trouble = await self._stopped()
        try:
            sight = self._look()
            if sight.clock_ns is not None:
                await self._tell(sight, None, is_final=True)
        except Exception as error:  # the last border: the run is to be sealed all the same
            log.exception("the last figures could not be told")
            trouble = _bug(error)
        until_s = time.monotonic() + patience_s
        for feed, _ in self._tallies:
            feed.try_until(until_s)
        await asyncio.to_thread(self._wait, until_s)
        for feed, tally in self._tallies:
            feed.give_up(tally, f"the last figures were not taken within {patience_s:g} s")
            feed.look(tally)
            tally.trouble = tally.trouble or trouble
            if not tally.sent and not tally.trouble:
                tally.trouble = "nobody has asked for the figures"
            if tally.trouble:
                told = f"{tally.sent} times" if tally.sent else "never"
                self._notice(
                    f"output {tally.kind} {tally.where}: told {told}, {tally.dropped} dropped; {tally.trouble}"
                )
        return [tally.row() for _, tally in self._tallies]

    def _wait(self, until_s: float) -> None:
        for feed, tally in self._tallies:
            feed.wait(tally, until_s)

    async def _stopped(self) -> str:
        """What went wrong while intervals were told; empty: nothing."""
        if self._serving is None:
            return ""
        self._serving.cancel()
        (outcome,) = await asyncio.gather(self._serving, return_exceptions=True)
        return _bug(outcome) if isinstance(outcome, Exception) else ""

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.tell()

    def _complete(self, sight: Sight) -> list[Window]:
        """Intervals that are complete and were not told, the oldest first."""
        newest = sight.merge.latest_window(sight.live or None, sight.clock_ns)
        if newest is None or (self._told is not None and newest.k <= self._told):
            return []
        first = newest.k if self._told is None else max(self._told + 1, newest.k - _AT_ONCE + 1)
        return [window for window in sight.merge.windows() if first <= window.k <= newest.k]

    async def _tell(self, sight: Sight, window: Window | None, *, is_final: bool = False) -> None:
        # The last interval is reported when all have finished, before it is over; and each time is later than the one
        # before, since Prometheus takes no other.
        clock_ns = sight.clock_ns or 0
        end_ns = clock_ns if window is None else min(window.end_ns, clock_ns)
        end_ns = self._told_ns = max(end_ns, self._told_ns + NS_PER_MS)
        made: Snapshot | None = None
        for made in self._maker.steps(sight.merge, window, sight.started_ns, end_ns, is_final=is_final):
            if made is None:
                await asyncio.sleep(0)
        assert made is not None
        for feed, tally in self._tallies:
            feed.offer(made, tally)
        if window is not None:
            self._told = window.k
        if self._maker.is_full:
            self._notice(f"outputs tell of {MAX_SERIES:,} series by their names; what is seen later is in (other)")

    def _tell_troubles(self) -> None:
        for n, (feed, tally) in enumerate(self._tallies):
            feed.look(tally)
            if tally.is_failing and n not in self._failing:
                self._failing.add(n)
                self._notice(f"output {tally.kind} {tally.where} does not get through: {tally.trouble}")
            elif not tally.is_failing and n in self._failing:
                self._failing.discard(n)
                self._notice(f"output {tally.kind} {tally.where} is back; {tally.dropped} dropped until now")


def _bug(error: Exception) -> str:
    return f"our bug: {type(error).__name__}: {error}"

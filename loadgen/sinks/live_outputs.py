"""The live outputs of a controller. Each run sends them a snapshot after each complete interval, and one at its end.

Only the creation of snapshots runs on the event loop that merges: a few series per turn,
and only if there are outputs. Each output processes snapshots in its own thread (`output_queue.py`).
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
from loadgen.sinks.output_queue import DeliveryCounts, Feed
from loadgen.sinks.snapshot import MAX_SERIES, RunName, Snapshot, SnapshotMaker
from loadgen.units import NS_PER_MS

__all__ = ["PATIENCE_S", "Outputs", "RunOutputs", "Sight"]

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""How long the end of a run waits until the outputs have delivered its last figures."""
_LOOK_S: Final = 0.1
_AT_ONCE: Final = 10
"""The most intervals that are sent together. If more became complete, only the newest are sent; counts are
cumulative, so these include the counts of all."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The state of a run at one moment, from which snapshots are made."""

    merge: Merge
    live: Collection[str]
    """Agents that still report."""
    clock_ns: int | None
    """The time after T0; None before T0."""
    started_ns: int
    """T0 as Unix time."""


class Outputs:
    """All outputs of a controller. Several runs may use them at the same time."""

    def __init__(self, feeds: Iterable[Feed] = ()) -> None:
        self.feeds = tuple(feeds)

    def __repr__(self) -> str:
        return f"<Outputs: {', '.join(f'{feed.sink.kind} {feed.sink.where}' for feed in self.feeds) or 'none'}>"

    def __bool__(self) -> bool:
        return bool(self.feeds)

    @property
    def has_stdout(self) -> bool:
        """Return True if an output writes to stdout, so that the terminal display must not."""
        return any((feed.sink.kind, feed.sink.where) == ("ndjson", "-") for feed in self.feeds)

    def of_run(self, run: RunName, look: Callable[[], Sight], notice: Callable[[str], None]) -> RunOutputs:
        """Return the outputs of one run. The arguments are described at `RunOutputs`."""
        return RunOutputs(self.feeds, run, look, notice)

    async def linger(self, run_id: str, is_over: asyncio.Event, say: Callable[[str], None]) -> None:
        """Wait until clients have fetched (scraped) the last figures of a run, or until `is_over` is set.

        Call it before the program exits; the end of a run does not need it. An output that was never scraped is not
        waited for, and no output longer than its `Sink.awaits_s`. say: called with a message before a wait.
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
        """Close all outputs. Snapshots that still wait are dropped."""
        for feed in self.feeds:
            feed.close()


class RunOutputs:
    """Sends the figures of one run to all outputs.

    Args:
        look: returns the current state of the run; called on the event loop.
        notice: called with each notice for the operator; the same text may be repeated.
    """

    def __init__(
        self, feeds: Iterable[Feed], run: RunName, look: Callable[[], Sight], notice: Callable[[str], None]
    ) -> None:
        feeds = tuple(feeds)
        self._maker = SnapshotMaker(run, with_recent=any(feed.sink.wants_recent for feed in feeds))
        self._look, self._notice = look, notice
        self._tallies: list[tuple[Feed, DeliveryCounts]] = [(feed, feed.tally(run.run_id)) for feed in feeds]
        self._sent_k: int | None = None
        """The newest interval that was sent."""
        self._sent_ns = -NS_PER_MS
        """The end of the last snapshot, in ns after T0."""
        self._failing: set[int] = set()
        self._serving: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start a task that regularly sends the figures of each complete interval of the run. Without outputs, do
        nothing.
        """
        if self._tallies:
            self._serving = asyncio.create_task(self._serve(), name="outputs")

    async def send(self) -> None:
        """Queue the figures of the intervals that have become complete since the last call, and pass a notice about
        each failing output to the operator.
        """
        sight = self._look()
        if sight.clock_ns is not None:
            for window in self._complete(sight):
                await self._send(sight, window)
        self._notice_troubles()

    async def cancel(self) -> None:
        """Stop the task of `begin`, so that no more figures are sent. Repeated calls, and calls after `end`, are
        harmless.
        """
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    async def end(self, patience_s: float = PATIENCE_S) -> list[dict[str, object]]:
        """Send the totals of the run, wait until the outputs have delivered them, and return one object of counts an
        output, for summary.json.

        Call it once, and merge no deltas meanwhile. A run that has not started sends nothing. patience_s: the longest
        wait.
        """
        if not self._tallies:
            return []
        trouble = await self._stopped()
        try:
            sight = self._look()
            if sight.clock_ns is not None:
                await self._send(sight, None, is_final=True)
        except Exception as error:  # caught here, because the run must be sealed in any case
            log.exception("the last figures could not be sent to the outputs")
            trouble = _bug(error)
        until_s = time.monotonic() + patience_s
        for feed, _ in self._tallies:
            feed.try_until(until_s)
        await asyncio.to_thread(self._wait, until_s)
        for feed, tally in self._tallies:
            feed.give_up(tally, f"the last figures were not delivered within {patience_s:g} s")
            feed.look(tally)
            tally.trouble = tally.trouble or trouble
            if not tally.sent and not tally.trouble:
                tally.trouble = "no client has requested the figures"
            if tally.trouble:
                sent = f"{tally.sent} times" if tally.sent else "never"
                self._notice(
                    f"output {tally.kind} {tally.where}: delivered {sent}, {tally.dropped} dropped; {tally.trouble}"
                )
        return [tally.row() for _, tally in self._tallies]

    def _wait(self, until_s: float) -> None:
        for feed, tally in self._tallies:
            feed.wait(tally, until_s)

    async def _stopped(self) -> str:
        """Stop the task of `begin`, and return the text of the error that had ended it before; "" if there was none."""
        if self._serving is None:
            return ""
        self._serving.cancel()
        (outcome,) = await asyncio.gather(self._serving, return_exceptions=True)
        return _bug(outcome) if isinstance(outcome, Exception) else ""

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.send()

    def _complete(self, sight: Sight) -> list[Window]:
        """Return the complete intervals that were not sent yet, the oldest first: at the first call only the newest
        one, later at most the newest `_AT_ONCE`.
        """
        newest = sight.merge.latest_window(sight.live or None, sight.clock_ns)
        if newest is None or (self._sent_k is not None and newest.k <= self._sent_k):
            return []
        first = newest.k if self._sent_k is None else max(self._sent_k + 1, newest.k - _AT_ONCE + 1)
        return [window for window in sight.merge.windows() if first <= window.k <= newest.k]

    async def _send(self, sight: Sight, window: Window | None, *, is_final: bool = False) -> None:
        # The last interval may be complete before its end, when all agents have finished. Times must increase strictly,
        # because Prometheus rejects others.
        clock_ns = sight.clock_ns or 0
        end_ns = clock_ns if window is None else min(window.end_ns, clock_ns)
        end_ns = self._sent_ns = max(end_ns, self._sent_ns + NS_PER_MS)
        made: Snapshot | None = None
        for made in self._maker.steps(sight.merge, window, sight.started_ns, end_ns, is_final=is_final):
            if made is None:
                await asyncio.sleep(0)
        assert made is not None
        for feed, tally in self._tallies:
            feed.offer(made, tally)
        if window is not None:
            self._sent_k = window.k
        if self._maker.is_full:
            self._notice(f"live outputs have more than {MAX_SERIES:,} series: new series are in (other)")

    def _notice_troubles(self) -> None:
        for n, (feed, tally) in enumerate(self._tallies):
            feed.look(tally)
            if tally.is_failing and n not in self._failing:
                self._failing.add(n)
                self._notice(f"output {tally.kind} {tally.where} fails: {tally.trouble}")
            elif not tally.is_failing and n in self._failing:
                self._failing.discard(n)
                self._notice(f"output {tally.kind} {tally.where} works again; {tally.dropped} dropped so far")


def _bug(error: Exception) -> str:
    return f"bug in loadgen, please report it: {type(error).__name__}: {error}"

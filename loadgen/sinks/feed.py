"""One output beside the run: a bounded queue and a thread, so that whoever offers never waits.

A snapshot that does not get through is dropped and counted. A point of a curve is lost by that and no count, since
counts are from the start of the run: the next one has them. The last one is tried until time is up.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Final

from loadgen.sinks.snapshot import Snapshot

__all__ = ["DEPTH", "Feed", "Sink", "Tally", "Undelivered"]

log = logging.getLogger(__name__)

DEPTH: Final = 8
"""Snapshots that may wait; beyond that the oldest is dropped."""
_AGAIN_S: Final = 0.25
"""Between two tries of the last snapshot."""


class Undelivered(Exception):
    """The other side did not take it, and why, in words without secrets. The next one may get through."""


class Sink(ABC):
    """Where figures go. Used by one thread only, but for `close`."""

    wants_recent = False
    """Figures of the interval by itself, beside the counts."""

    def __init__(self, kind: str, where: str) -> None:
        self.kind, self.where = kind, where
        """`where` is shown: it has no secrets in it."""

    def __repr__(self) -> str:
        return f"<{self.kind} output to {self.where}>"

    @abstractmethod
    def deliver(self, snapshot: Snapshot) -> None:
        """May block.

        Raises:
            Undelivered, OSError: it did not get through, or not all of it.
        """

    def taken(self, run_id: str) -> int | None:
        """How often somebody took the figures of a run, where that is not how often they were delivered."""
        return None

    def awaits_s(self, run_id: str) -> float:
        """For how long after the end of a run it makes sense to wait until somebody takes its last figures."""
        return 0.0

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open. By any thread, also while another delivers."""


@dataclass(slots=True)
class Tally:
    """What became of one run's snapshots at one output."""

    run_id: str
    kind: str
    where: str
    sent: int = 0
    dropped: int = 0
    trouble: str = ""
    """The last one that there was."""
    is_failing: bool = False
    """What was delivered last did not get through."""
    waiting: int = 0
    """Offered, and neither sent nor dropped yet."""
    is_closed: bool = False

    def row(self) -> dict[str, object]:
        """As in summary.json."""
        known: dict[str, object] = {"kind": self.kind, "where": self.where}
        return known | {"sent": self.sent, "dropped": self.dropped, "trouble": self.trouble or None}

    def drop(self, why: str, count: int = 1) -> None:
        self.dropped, self.waiting = self.dropped + count, self.waiting - count
        self.trouble, self.is_failing = why, True


class Feed:
    """Hands snapshots to a sink. All but the thread's own is called by one other thread, the loop's.

    Args:
        every_ns: snapshots of a run are at least so far apart; those between are left out, and not counted.
    """

    def __init__(self, sink: Sink, every_ns: int = 0) -> None:
        self.sink, self._every_ns = sink, every_ns
        self._queue: deque[tuple[Snapshot, Tally]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._told_ns: dict[str, int] = {}
        """By run, the end of the last snapshot that was not left out."""
        self._until_s = 0.0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Feed of {self.sink}: {len(self._queue)} wait>"

    def tally(self, run_id: str) -> Tally:
        return Tally(run_id, self.sink.kind, self.sink.where)

    def offer(self, snapshot: Snapshot, tally: Tally) -> None:
        """Never blocks: what is too much is dropped, the oldest first and the last of a run never."""
        if self._is_left_out(snapshot):
            return
        with self._changed:
            self._queue.append((snapshot, tally))
            tally.waiting += 1
            if len(self._queue) > DEPTH and (oldest := self._oldest()) is not None:
                _, whose = self._queue[oldest]
                del self._queue[oldest]
                whose.drop(f"it is too slow: {DEPTH} intervals waited")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"out-{self.sink.kind}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def try_until(self, until_s: float) -> None:
        """What is the last of a run is tried again until then, of `time.monotonic`."""
        self._until_s = max(self._until_s, until_s)

    def look(self, tally: Tally) -> Tally:
        """The tally, with what the sink itself knows."""
        if (taken := self.sink.taken(tally.run_id)) is not None:
            tally.sent = taken
        return tally

    def wait(self, tally: Tally, until_s: float) -> None:
        """Until nothing waits any more, or it is `until_s` of `time.monotonic`. Blocking; by any thread."""
        with self._changed:
            self._changed.wait_for(lambda: not tally.waiting, max(0.0, until_s - time.monotonic()))

    def give_up(self, tally: Tally, why: str) -> None:
        """What still waits or is under way is dropped. The tally does not change any more."""
        with self._changed:
            if tally.waiting:
                tally.drop(f"{why}: {tally.trouble}" if tally.trouble else why, tally.waiting)
            tally.is_closed = True
            mine = [one for one in self._queue if one[1] is tally]
            for one in mine:
                self._queue.remove(one)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()
        self.sink.close()

    def _is_left_out(self, snapshot: Snapshot) -> bool:
        run_id, end_ns = snapshot.run.run_id, snapshot.end_ns
        if snapshot.is_final:
            self._told_ns.pop(run_id, None)
            return False
        last_ns = self._told_ns.get(run_id)
        if last_ns is not None and end_ns - last_ns < self._every_ns:
            return True
        self._told_ns[run_id] = end_ns
        return False

    def _oldest(self) -> int | None:
        return next((n for n, (one, _) in enumerate(self._queue) if not one.is_final), None)

    # -- the thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed:
                    return
                snapshot, tally = self._queue.popleft()
            while (trouble := self._delivered(snapshot)) and snapshot.is_final and self._may_try(tally):
                tally.trouble = trouble
                time.sleep(_AGAIN_S)
            with self._changed:
                if tally.is_closed:
                    continue
                if trouble:
                    tally.drop(trouble)
                else:
                    tally.sent, tally.waiting, tally.is_failing = tally.sent + 1, tally.waiting - 1, False
                self._changed.notify_all()

    def _may_try(self, tally: Tally) -> bool:
        return not tally.is_closed and not self._is_closed and time.monotonic() + _AGAIN_S < self._until_s

    def _delivered(self, snapshot: Snapshot) -> str:
        """Why not; empty: it is."""
        try:
            self.sink.deliver(snapshot)
        except Undelivered as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:  # the last border: an output of ours that fails must not end the others, or the run
            log.exception("%r failed", self.sink)
            return f"our bug: {type(error).__name__}: {error}"
        return ""

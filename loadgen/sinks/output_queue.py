"""One live output with a bounded queue and a thread, so that the run never waits for it.

A snapshot that cannot be delivered is dropped and counted. That loses a point of a curve,
but no counts: counts are cumulative, so the next snapshot includes them. The last snapshot
of a run is tried again until its time is over.
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

__all__ = ["DEPTH", "DeliveryCounts", "Feed", "Sink", "Undelivered"]

log = logging.getLogger(__name__)

DEPTH: Final = 8
"""The most snapshots that wait; if there are more, the oldest is dropped."""
_AGAIN_S: Final = 0.25
"""The time between two attempts to deliver the last snapshot."""


class Undelivered(Exception):
    """The receiver did not accept a snapshot. The text gives the reason, without secrets; the next one may succeed.

    status: the HTTP status of the receiver's response; None without a response.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Sink(ABC):
    """A receiver of figures. Only one thread uses it, except for `close`."""

    wants_recent = False
    """Whether the sink also needs the figures of the interval alone (`Series.recent`)."""

    def __init__(self, kind: str, where: str) -> None:
        """Store what kind of output this is and where it sends. kind: as in `--out`. where: the receiver's address for
        messages; it must not contain secrets.
        """
        self.kind, self.where = kind, where

    def __repr__(self) -> str:
        return f"<{self.kind} output to {self.where}>"

    @abstractmethod
    def deliver(self, snapshot: Snapshot) -> None:
        """Send one snapshot of a run's figures to the receiver. The call may block.

        Raises:
            Undelivered, OSError: the snapshot was not delivered, or not completely.
        """

    def taken(self, run_id: str) -> int | None:
        """Return how often a client has fetched the figures of a run. None if this output sends figures itself, without
        being asked.
        """
        return None

    def awaits_s(self, run_id: str) -> float:
        """Return how many seconds the program should wait, after the end of a run, for a client to fetch its last
        figures; 0 for no wait.
        """
        return 0.0

    @abstractmethod
    def close(self) -> None:
        """Close connections and files of this output. Any thread may call it, also while another thread delivers."""


@dataclass(slots=True)
class DeliveryCounts:
    """The delivery counts of one run's snapshots at one output."""

    run_id: str
    kind: str
    where: str
    sent: int = 0
    dropped: int = 0
    trouble: str = ""
    """The last problem; empty if there was none."""
    is_failing: bool = False
    """Whether the last delivery failed."""
    waiting: int = 0
    """Snapshots that were offered, and are neither sent nor dropped yet."""
    is_closed: bool = False

    def row(self) -> dict[str, object]:
        """Return the counts of delivered and dropped snapshots of an output, as an object for summary.json."""
        known: dict[str, object] = {"kind": self.kind, "where": self.where}
        return known | {"sent": self.sent, "dropped": self.dropped, "trouble": self.trouble or None}

    def drop(self, why: str, count: int = 1) -> None:
        """Count `count` waiting snapshots as dropped, and store the reason `why`."""
        self.dropped, self.waiting = self.dropped + count, self.waiting - count
        self.trouble, self.is_failing = why, True


class Feed:
    """Delivers snapshots to a sink in a thread of its own. Only the event loop's thread calls its public methods.

    Args:
        every_ns: the minimum time between two snapshots of a run; snapshots in between are left out and not counted.
    """

    def __init__(self, sink: Sink, every_ns: int = 0) -> None:
        self.sink, self._every_ns = sink, every_ns
        self._queue: deque[tuple[Snapshot, DeliveryCounts]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._accepted_ns: dict[str, int] = {}
        """For each run: the end of the last snapshot that was not left out."""
        self._until_s = 0.0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Feed of {self.sink}: {len(self._queue)} wait>"

    def tally(self, run_id: str) -> DeliveryCounts:
        """Return a new Tally, which counts the deliveries of one run to this output."""
        return DeliveryCounts(run_id, self.sink.kind, self.sink.where)

    def offer(self, snapshot: Snapshot, tally: DeliveryCounts) -> None:
        """Add a snapshot to the queue of this output, without blocking. A full queue drops its oldest snapshot, but
        never the last one of a run.
        """
        if self._is_left_out(snapshot):
            return
        with self._changed:
            self._queue.append((snapshot, tally))
            tally.waiting += 1
            if len(self._queue) > DEPTH and (oldest := self._oldest()) is not None:
                _, its_tally = self._queue[oldest]
                del self._queue[oldest]
                its_tally.drop(f"the receiver is too slow: {DEPTH} intervals were waiting")
            if self._thread is None:
                # A daemon, so that a receiver that hangs cannot keep the process from ending.
                self._thread = threading.Thread(target=self._serve, name=f"out-{self.sink.kind}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def try_until(self, until_s: float) -> None:
        """Permit retries of the last snapshots of runs until `until_s` (`time.monotonic`), or longer if that was
        permitted before.
        """
        self._until_s = max(self._until_s, until_s)

    def look(self, tally: DeliveryCounts) -> DeliveryCounts:
        """Return the tally. If clients fetch the figures from this output, first set its number of deliveries to the
        number of fetches.
        """
        if (taken := self.sink.taken(tally.run_id)) is not None:
            tally.sent = taken
        return tally

    def wait(self, tally: DeliveryCounts, until_s: float) -> None:
        """Block until all snapshots of the tally are delivered or dropped, but at most until `until_s`
        (`time.monotonic`). Any thread may call it.
        """
        with self._changed:
            self._changed.wait_for(lambda: not tally.waiting, max(0.0, until_s - time.monotonic()))

    def give_up(self, tally: DeliveryCounts, why: str) -> None:
        """Drop the snapshots of one run that wait or are being delivered, for the reason `why`. The tally does not
        change any more.
        """
        with self._changed:
            if tally.waiting:
                tally.drop(f"{why}: {tally.trouble}" if tally.trouble else why, tally.waiting)
            tally.is_closed = True
            mine = [one for one in self._queue if one[1] is tally]
            for one in mine:
                self._queue.remove(one)

    def close(self) -> None:
        """Drop all waiting snapshots, end the delivering thread and close the output."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()
        self.sink.close()

    def _is_left_out(self, snapshot: Snapshot) -> bool:
        run_id, end_ns = snapshot.run.run_id, snapshot.end_ns
        if snapshot.is_final:
            self._accepted_ns.pop(run_id, None)
            return False
        last_ns = self._accepted_ns.get(run_id)
        if last_ns is not None and end_ns - last_ns < self._every_ns:
            return True
        self._accepted_ns[run_id] = end_ns
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
            # Without the lock: a receiver may hang, and `offer` takes the lock on the event loop.
            while (trouble := self._delivered(snapshot)) and snapshot.is_final and self._may_try(tally):
                tally.trouble = trouble
                time.sleep(_AGAIN_S)
            with self._changed:
                if tally.is_closed:
                    # `give_up` has counted this snapshot as dropped.
                    continue
                if trouble:
                    tally.drop(trouble)
                else:
                    tally.sent, tally.waiting, tally.is_failing = tally.sent + 1, tally.waiting - 1, False
                self._changed.notify_all()

    def _may_try(self, tally: DeliveryCounts) -> bool:
        return not tally.is_closed and not self._is_closed and time.monotonic() + _AGAIN_S < self._until_s

    def _delivered(self, snapshot: Snapshot) -> str:
        """Try to deliver a snapshot. Return "" if that succeeded, else the reason of the failure."""
        try:
            self.sink.deliver(snapshot)
        except Undelivered as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:  # caught here, because a bug in one output must not end the run
            log.exception("%r failed", self.sink)
            return f"bug in loadgen, please report it: {type(error).__name__}: {error}"
        return ""

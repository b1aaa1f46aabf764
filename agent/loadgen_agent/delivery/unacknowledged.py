"""Keeps the deltas of a run until the controller has stored them, and sends its Fin after the last one.

The protocol is Go-back-N. At most `WINDOW` deltas are in flight, and an acknowledgement covers everything up to its
number. If none arrives for a while, or after a new connection, all deltas from the first unacknowledged one are sent
again. The controller accepts deltas strictly in order, so each is merged exactly once.

A delta gets its final number when it is first sent, and does not change after that. Until then it is in the backlog
(`backlog.py`), which may join it with its neighbours to save memory.

This module does no I/O except through the spool. The clock is passed in (ns, monotonic), and the bytes to send are
returned. Numbers are given here, and the workers' own numbers are ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import msgspec

from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.load_counts import Ending
from loadgen.units import NS_PER_S
from loadgen.wire.codec import encode
from loadgen.wire.messages import Fin
from loadgen_agent.delivery.backlog import ROOM_BYTES, Backlog, DeltaStore, QueuedDelta

__all__ = ["FIN_AGAIN_NS", "STALLED_NS", "UNDER_WAY_BYTES", "WINDOW", "UnacknowledgedDeltas"]

WINDOW = 32
"""Most deltas in flight: more than 1 delta/s even with a round trip of 500 ms."""
UNDER_WAY_BYTES = 64 << 10
"""Most bytes in flight after the first delta: at 256 kbit/s a heartbeat behind them waits 2 s, less than a lease."""
STALLED_NS = 2 * NS_PER_S
"""Time without an acknowledgement after which deltas are sent again. It includes a round trip and a group commit."""
_MOST_STALLS = 2
"""After so many repeats in a row the wait is 8 s and no longer doubles, because a run waits for 30 s at its end."""
FIN_AGAIN_NS = 1 * NS_PER_S
"""Interval at which the Fin is repeated until the controller sends Bye."""


class UnacknowledgedDeltas:
    """The unacknowledged deltas and the Fin of one run of one agent."""

    def __init__(
        self, run_id: str, agent: str, epoch: int, store: DeltaStore | None = None, room_bytes: int = ROOM_BYTES
    ) -> None:
        self._run_id, self._agent, self._epoch, self._store = run_id, agent, epoch, store
        self._blank = Delta(agent, epoch, 0, 0, 0, run_id=run_id)
        self._backlog = Backlog(self._blank, store, room_bytes)
        self._kept: deque[QueuedDelta] = deque()
        """Numbered deltas without an acknowledgement; the first has seq `acked + 1`."""
        self._sent = 0
        """Number of deltas of `_kept` that are in flight."""
        self._progress_ns = 0
        """Time at which the first delta in flight was sent, or the last acknowledgement arrived."""
        self._stalls = 0
        """Number of repeats in a row without an acknowledgement. Each doubles the wait, up to 8 s. For leftovers the
        limit is 64 s, since this controller may not know their run."""
        self._totals = Counters()
        self._recorded = 0
        self._taken = 0
        """Number of the workers' deltas that were kept."""
        self._next = 0
        """Number that the next delta gets."""
        self.asked_ns = 0
        """The requested interval; 0 if each delta of the workers is sent."""
        self._fin: Fin | None = None
        self._fin_sent_ns: int | None = None
        self._is_left_over, self._window = False, WINDOW

    @classmethod
    def left_over(
        cls, run_id: str, agent: str, epoch: int, deltas: Sequence[Delta], note: str = ""
    ) -> UnacknowledgedDeltas:
        """Make the deltas from the spool of an earlier process. It has no Fin, because the end of that run is unknown.

        Sent deltas keep their numbers. Some numbers may be missing, because deltas were joined or cannot be read; empty
        deltas fill these gaps. Only one delta is in flight until the controller has acknowledged one, because this
        controller may not know the run.

        Args:
            note: a note that is added to the first delta.
        """
        book = cls(run_id, agent, epoch)
        book._is_left_over, book._window = True, 1
        if not deltas:
            return book
        book._next = deltas[0].seq
        for delta in deltas:
            book._fill(range(book._next, delta.seq), delta)
            if delta.seq < book._next:
                delta = replace(delta, seq=book._next)
            if note:
                noted = msgspec.structs.replace(delta.health, notes=(*delta.health.notes, note))
                delta, note = replace(delta, health=noted), ""
            book._kept.append(_queued_delta(delta))
            book._next += 1
        return book

    @property
    def last_seq(self) -> int:
        """Number of the newest delta; -1 if there is none.

        It decreases when deltas that were not sent yet are joined.
        """
        return self._next + len(self._backlog) - 1

    @property
    def acked(self) -> int:
        """Number of the newest delta that the controller has acknowledged; -1 if there is none."""
        return self._next - len(self._kept) - 1

    @property
    def sent(self) -> int:
        """Number of the newest delta that was sent; -1 if none was sent."""
        return self.acked + self._sent

    @property
    def place(self) -> tuple[str, int]:
        """The run's id and the agent's epoch, to which these deltas belong."""
        return self._run_id, self._epoch

    @property
    def is_empty(self) -> bool:
        """Whether the controller has acknowledged every delta."""
        return not self._unacked

    @property
    def is_closed(self) -> bool:
        """Whether the run has ended, so that no more deltas are accepted."""
        return self._fin is not None

    @property
    def is_handed_over(self) -> bool:
        """Whether the run has ended, every delta is acknowledged and the Fin was sent at least once."""
        return self._fin is not None and not self._unacked and self._fin_sent_ns is not None

    @property
    def unacked_bytes(self) -> int:
        """Size in bytes of all deltas that the controller has not acknowledged."""
        return sum(queued_delta.size_bytes for queued_delta in self._kept) + self._backlog.size_bytes

    @property
    def _unacked(self) -> int:
        return len(self._kept) + len(self._backlog)

    @property
    def _patience_ns(self) -> int:
        """Return the time without an acknowledgement after which deltas are sent again now."""
        return max(STALLED_NS << self._stalls, min(2 * self.asked_ns, STALLED_NS << _MOST_STALLS))

    def ask(self, interval_ns: int) -> None:
        """Set the interval in ns for which later deltas are joined to one.

        With 0 they are kept as the workers sent them. A controller that requests an interval is busy, so deltas are
        also repeated later, after two intervals but at most 8 s: with the repeated ones, a busy controller would fall
        further behind.
        """
        self.asked_ns = interval_ns
        self._backlog.ask(interval_ns if self._fin is None else 0)

    def keep(self, delta: Delta) -> None:
        """Store the next delta of the workers until it is acknowledged. A delta that arrives after `close` is dropped.

        Raises:
            WireError: the delta cannot be encoded, for example because it is too long.
        """
        if self._fin is not None:
            return
        health = msgspec.structs.replace(delta.health, unacked=self._unacked)
        self._backlog.append(
            replace(
                delta, run_id=self._run_id, agent=self._agent, epoch=self._epoch, seq=self.last_seq + 1, health=health
            )
        )
        self._taken += 1
        self._totals += delta.counters
        self._recorded += sum(stats.n for stats in delta.stats)

    def close(self, fin: Fin | None, reason: str) -> None:
        """End the run with its Fin, which is sent after the last delta.

        Args:
            fin: totals that the workers sent; None if they died. Then the totals are the sums of the kept deltas.
            reason: why the load ended early, or "".
        """
        if self._fin is not None:
            return
        self._backlog.ask(0)
        if fin is None:
            fin = Fin(self._run_id, self._epoch, self.last_seq, self._totals, self._recorded, 0, reason, Ending.DIED)
        elif fin.last_seq != self._taken - 1:
            lost = f"the worker sent {fin.last_seq + 1} deltas, {self._taken} arrived"
            reason = f"{reason}; {lost}" if reason else lost
        self._fin = replace(fin, run_id=self._run_id, epoch=self._epoch, reason=reason)

    def ack(self, epoch: int, seq: int, now_ns: int) -> None:
        """Remove all deltas up to number `seq`, which the controller has stored.

        Late or impossible numbers are ignored.
        """
        # The controller still expects numbers before the first one in this spool. Empty deltas fill the gap, since it
        # accepts nothing but the next number.
        if epoch == self._epoch and self._is_left_over and -1 <= seq < self.acked:
            kept, self._kept = self._kept, deque()
            self._fill(range(seq + 1, self._next - len(kept)), self._blank)
            self._kept += kept
            self._sent = 0
            return
        if epoch != self._epoch or not self.acked < seq < self._next:
            return
        self._window = WINDOW
        gone = seq - self.acked
        for _ in range(gone):
            queued_delta = self._kept.popleft()
            if self._store is not None and queued_delta.place is not None:
                self._store.drop(queued_delta.place)
        self._sent = max(0, self._sent - gone)
        self._progress_ns, self._stalls = now_ns, 0

    def send_again(self) -> None:
        """Mark unacknowledged deltas and the Fin to be sent again. A lost connection may have lost those in flight."""
        self._sent = self._stalls = 0
        self._fin_sent_ns = None

    def next_due(self, now_ns: int) -> bytes | None:
        """Return the encoded delta or Fin to send next, or None if nothing may be sent now.

        Call `was_sent` after sending it.
        """
        if self._sent and now_ns - self._progress_ns > self._patience_ns:
            self._sent, self._stalls = 0, min(self._stalls + 1, 5 if self._is_left_over else _MOST_STALLS)
        # A delta is numbered only when it can be sent next: until then the backlog may join it with its neighbours.
        if self._sent == len(self._kept) < WINDOW and self._backlog.is_ready:
            self._kept.append(self._backlog.take(self._next))
            self._next += 1
        if self._sent < min(len(self._kept), self._window):
            # The first delta goes whatever its size; otherwise one that is longer than the limit would never be sent.
            under_way = sum(queued_delta.size_bytes for queued_delta in islice(self._kept, self._sent + 1))
            return self._kept[self._sent].data if not self._sent or under_way <= UNDER_WAY_BYTES else None
        # The Fin goes after the last delta, so a controller that has it knows that no delta follows.
        if self._fin is None or self._sent < self._unacked:
            return None
        if self._fin_sent_ns is not None and now_ns - self._fin_sent_ns < FIN_AGAIN_NS:
            return None
        return encode(replace(self._fin, last_seq=self.last_seq))

    def _fill(self, seqs: Iterable[int], at: Delta) -> None:
        """Add an empty delta for each missing number. It covers no time and lies at the beginning of the delta `at`."""
        for seq in seqs:
            self._kept.append(_queued_delta(replace(self._blank, seq=seq, start_ns=at.start_ns, end_ns=at.start_ns)))
            self._next = max(self._next, seq + 1)

    def was_sent(self, now_ns: int) -> None:
        """Mark the message that `next_due` returned as sent at `now_ns`."""
        if self._sent < len(self._kept):
            if self._sent == 0:
                self._progress_ns = now_ns
            self._sent += 1
        else:
            self._fin_sent_ns = now_ns


def _queued_delta(delta: Delta) -> QueuedDelta:
    data = encode(delta)
    return QueuedDelta(data, delta.seq, delta.start_ns, delta.end_ns, len(data))

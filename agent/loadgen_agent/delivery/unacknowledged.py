"""Deltas kept until the controller has them for good, and the Fin that closes the book.

Go-back-N: at most `WINDOW` deltas are on their way; an acknowledgement covers
everything up to its number; when none comes for a while, or the connection is
new, everything from the first unacknowledged one is sent again. The controller
takes them strictly in order, so each is merged exactly once.

A delta gets its number when it is sent for the first time, and is the same from
then on. Until then it is in the backlog (`backlog.py`), which makes do with the room that there is.

Pure but for the spool: the clock is handed in (ns, monotonic), and what is due to be sent is
returned. A delta's seq is the book's own, so that one book can later hold the
sum of several workers.
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
from loadgen_agent.delivery.backlog import ROOM_BYTES, Backlog, Sheet, Shelf

__all__ = ["FIN_AGAIN_NS", "STALLED_NS", "UNDER_WAY_BYTES", "WINDOW", "Ledger"]

WINDOW = 32
"""Deltas under way at once: over 500 ms of round trip that is still more than 1 delta/s."""
UNDER_WAY_BYTES = 64 << 10
"""But for the first: over 256 kbit/s a heartbeat behind them waits for 2 s, and not for a lease."""
STALLED_NS = 2 * NS_PER_S
"""Without progress for so long, a group commit and a round trip included: send from the first unacknowledged again."""
FIN_AGAIN_NS = 1 * NS_PER_S


class Ledger:
    """The book of one run of one agent."""

    def __init__(
        self, run_id: str, agent: str, epoch: int, shelf: Shelf | None = None, room_bytes: int = ROOM_BYTES
    ) -> None:
        self._run_id, self._agent, self._epoch, self._shelf = run_id, agent, epoch, shelf
        self._blank = Delta(agent, epoch, 0, 0, 0, run_id=run_id)
        self._backlog = Backlog(self._blank, shelf, room_bytes)
        self._kept: deque[Sheet] = deque()
        """Numbered, seq `acked + 1` and on."""
        self._sent = 0
        """How many of `_kept` are under way."""
        self._progress_ns = 0
        """When the first of those under way was sent, or the last of them acknowledged."""
        self._stalls = 0
        """How often in a row nothing was acknowledged: each time it waits twice as long, up to 8 s; of what was left
        over up to 64 s, since this controller may not know that run."""
        self._totals = Counters()
        self._recorded = 0
        self._taken = 0
        """Of the workers' deltas."""
        self._next = 0
        """The number that is given next."""
        self._fin: Fin | None = None
        self._fin_sent_ns: int | None = None
        self._is_left_over, self._window = False, WINDOW

    @classmethod
    def left_over(cls, run_id: str, agent: str, epoch: int, deltas: Sequence[Delta], note: str = "") -> Ledger:
        """The book of an earlier process, from what its spool holds. It has no Fin: nobody knows what came after.

        What it had sent has the numbers that it was sent under. Of what it had not, some may be left out, since deltas
        were joined or cannot be read: empty ones take their places. One at a time is sent, until the controller
        has taken one: it may know nothing of that run.

        Args:
            note: goes with the first of them.
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
            book._kept.append(_sheet(delta))
            book._next += 1
        return book

    @property
    def last_seq(self) -> int:
        """Of all that were kept, as far as it stands now; -1 for none."""
        return self._next + len(self._backlog) - 1

    @property
    def acked(self) -> int:
        return self._next - len(self._kept) - 1

    @property
    def sent(self) -> int:
        return self.acked + self._sent

    @property
    def place(self) -> tuple[str, int]:
        """(run, epoch)"""
        return self._run_id, self._epoch

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left that is not acknowledged."""
        return not self._unacked

    @property
    def is_closed(self) -> bool:
        return self._fin is not None

    @property
    def is_handed_over(self) -> bool:
        """Closed, and every delta acknowledged. The Fin goes on being sent until the controller says Bye."""
        return self._fin is not None and not self._unacked and self._fin_sent_ns is not None

    @property
    def unacked_bytes(self) -> int:
        return sum(sheet.size_bytes for sheet in self._kept) + self._backlog.size_bytes

    @property
    def _unacked(self) -> int:
        return len(self._kept) + len(self._backlog)

    def ask(self, interval_ns: int) -> None:
        """From now on one delta for each interval of this length; 0: as they come."""
        self._backlog.ask(interval_ns if self._fin is None else 0)

    def keep(self, delta: Delta) -> None:
        """The next delta, as the worker made it. After the book is closed it is too late: dropped.

        Raises:
            WireError: it cannot be sent, however often one tries.
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
        """What everything must add up to.

        A worker that died left no totals of its own. Then they are those of its
        deltas, and the reason says that what it did since the last one is unknown.
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
        """Everything up to `seq` is durable. Late, repeated and impossible ones change nothing."""
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
            sheet = self._kept.popleft()
            if self._shelf is not None and sheet.place is not None:
                self._shelf.drop(sheet.place)
        self._sent = max(0, self._sent - gone)
        self._progress_ns, self._stalls = now_ns, 0

    def send_again(self) -> None:
        """The connection is new: what was under way may be lost."""
        self._sent = self._stalls = 0
        self._fin_sent_ns = None

    def next_due(self, now_ns: int) -> bytes | None:
        """What to send now; `was_sent` must be told if it could be. None: nothing, for now."""
        if self._sent and now_ns - self._progress_ns > STALLED_NS << self._stalls:
            self._sent, self._stalls = 0, min(self._stalls + 1, 5 if self._is_left_over else 2)
        if self._sent == len(self._kept) < WINDOW and self._backlog.is_ready:
            self._kept.append(self._backlog.take(self._next))
            self._next += 1
        if self._sent < min(len(self._kept), self._window):
            under_way = sum(sheet.size_bytes for sheet in islice(self._kept, self._sent + 1))
            return self._kept[self._sent].data if not self._sent or under_way <= UNDER_WAY_BYTES else None
        # The Fin after the last delta: a controller that has it knows that nothing else comes.
        if self._fin is None or self._sent < self._unacked:
            return None
        if self._fin_sent_ns is not None and now_ns - self._fin_sent_ns < FIN_AGAIN_NS:
            return None
        return encode(replace(self._fin, last_seq=self.last_seq))

    def _fill(self, seqs: Iterable[int], at: Delta) -> None:
        """Empty deltas of no time, at the beginning of `at`, for numbers that nothing stands for."""
        for seq in seqs:
            self._kept.append(_sheet(replace(self._blank, seq=seq, start_ns=at.start_ns, end_ns=at.start_ns)))
            self._next = max(self._next, seq + 1)

    def was_sent(self, now_ns: int) -> None:
        """What `next_due` returned is on its way."""
        if self._sent < len(self._kept):
            if self._sent == 0:
                self._progress_ns = now_ns
            self._sent += 1
        else:
            self._fin_sent_ns = now_ns


def _sheet(delta: Delta) -> Sheet:
    data = encode(delta)
    return Sheet(data, delta.seq, delta.start_ns, delta.end_ns, len(data))

"""All that an agent has measured, until the controller has it: the book of its run, and what earlier processes left.

What is due is sent as far as the line takes it, our own before what was left over. Beyond the memory, and beyond the
process, it is kept in a spool on the disk (`spool.py`) where there is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from loadgen.measure.deltas.delta import Delta
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Ack, Fin
from loadgen_agent.delivery.spool import Leftover, Spool, Spools
from loadgen_agent.delivery.unacknowledged import Ledger

__all__ = ["Delivery"]

log = logging.getLogger(__name__)

MAX_INTERVAL_NS: Final = 60 * NS_PER_S
"""For which a controller may ask one delta."""


class Delivery:
    """Of one agent."""

    def __init__(self, agent: str, root: Path | None) -> None:
        """root: where the spools are; None, or one that cannot be used: what is not delivered is kept in memory."""
        self._agent = agent
        self._spools = _spools(root, agent) if root is not None else None
        self._spool: Spool | None = None
        self._left = self._left_over()
        self.ledger: Ledger | None = None
        """Of the run that goes on."""

    @property
    def sent(self) -> int:
        """Number of the last delta that is under way; -1: none."""
        return self.ledger.sent if self.ledger is not None else -1

    @property
    def acked(self) -> int:
        return self.ledger.acked if self.ledger is not None else -1

    @property
    def unacked(self) -> int:
        """How many deltas of the run the controller does not have for good."""
        return self.ledger.last_seq - self.ledger.acked if self.ledger is not None else 0

    @property
    def owes_nothing(self) -> bool:
        """All of the run is handed over, or there is none."""
        return self.ledger is None or self.ledger.is_handed_over

    @property
    def has_left_over(self) -> bool:
        """Whether earlier processes left something that is not handed over yet."""
        return bool(self._left)

    def begin(self, run_id: str, epoch: int) -> None:
        """The book of a run."""
        if self._spools is not None:
            self._spool = self._spools.spool(run_id, epoch)
        self.ledger = Ledger(run_id, self._agent, epoch, self._spool)

    def keep(self, delta: Delta) -> None:
        """Raises WireError where it cannot be sent, however often one tries."""
        if self.ledger is not None:
            self.ledger.keep(delta)

    def end(self, fin: Fin | None, reason: str) -> None:
        """No more is measured in this run; see `Ledger.close`."""
        if self.ledger is not None:
            self.ledger.close(fin, reason)

    def forget(self) -> None:
        """The run is over for us. What its spool still holds is for the next process."""
        self.ledger = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def ack(self, ack: Ack) -> None:
        now_ns, place = time.perf_counter_ns(), (ack.run_id, ack.epoch)
        if self.ledger is not None and self.ledger.place == place:
            self.ledger.ack(ack.epoch, ack.seq, now_ns)
            self.ledger.ask(ack.interval_ns if 0 < ack.interval_ns <= MAX_INTERVAL_NS else 0)
        for left in [one for one in self._left if one[0].place == place]:
            left[0].ack(ack.epoch, ack.seq, now_ns)
            if left[0].is_empty:
                log.info("what an earlier process had left of %s is handed over", ack.run_id)
                left[1].remove()
                self._left.remove(left)

    def send_again(self) -> None:
        """The connection is new: what was under way may be lost."""
        for book in self._books():
            book.send_again()

    def pump(self, send: Callable[[bytes], bool]) -> None:
        """Hand what is due to `send`, as long as that takes it."""
        now_ns = time.perf_counter_ns()
        for book in self._books():
            while (data := book.next_due(now_ns)) is not None and send(data):
                book.was_sent(now_ns)

    def close(self) -> None:
        self.forget()
        if self._spools is not None:
            self._spools.close()

    def _books(self) -> Iterator[Ledger]:
        if self.ledger is not None:
            yield self.ledger
        for book, _ in self._left:
            yield book

    def _left_over(self) -> list[tuple[Ledger, Leftover]]:
        found = []
        for left in self._spools.leftovers() if self._spools is not None else ():
            note = ""
            if left.damaged:
                note = f"{left.damaged} records of its spool cannot be read: what they held is lost"
                log.error("%s: %s", left.folder, note)
            log.info("an earlier process of %s left %d deltas of %s", self._agent, len(left.deltas), left.run_id)
            if not left.deltas:
                left.remove()
                continue
            found.append((Ledger.left_over(left.run_id, self._agent, left.epoch, left.deltas, note), left))
        return found


def _spools(root: Path, agent: str) -> Spools | None:
    try:
        return Spools(root, agent)
    except OSError as error:
        log.warning("no spool in %s, what is not delivered is kept in memory: %s", root, error.strerror or error)
        return None

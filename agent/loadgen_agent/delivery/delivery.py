"""Delivers an agent's measurements: those of its present run, and leftovers of earlier processes.

It sends as much as the connection accepts, the present run first. Measurements that exceed the memory limit, or
outlive the process, are in a spool on disk (`spool.py`), if the agent has one.
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
from loadgen_agent.delivery.unacknowledged import UnacknowledgedDeltas

__all__ = ["Delivery"]

log = logging.getLogger(__name__)

MAX_INTERVAL_NS: Final = 60 * NS_PER_S
"""Longest interval that a controller may request for one delta."""


class Delivery:
    """All undelivered measurements of one agent."""

    def __init__(self, agent: str, root: Path | None) -> None:
        """Load the undelivered deltas of earlier processes of this agent from its spools, to deliver them too.

        Args:
            root: folder of the spools; None, or an unusable one, keeps undelivered measurements in memory only.
        """
        self._agent = agent
        self._spools = _spools(root, agent) if root is not None else None
        self._spool: Spool | None = None
        self._left = self._left_over()
        self.unacknowledged: UnacknowledgedDeltas | None = None
        """Unacknowledged deltas of the present run; None outside of runs."""

    @property
    def sent(self) -> int:
        """Number of the newest delta of the run that was sent to the controller; -1 if none was sent."""
        return self.unacknowledged.sent if self.unacknowledged is not None else -1

    @property
    def acked(self) -> int:
        """Number of the newest delta of the run that the controller has acknowledged; -1 if there is none."""
        return self.unacknowledged.acked if self.unacknowledged is not None else -1

    @property
    def unacked(self) -> int:
        """Number of deltas of the run that the controller has not stored yet."""
        return self.unacknowledged.last_seq - self.unacknowledged.acked if self.unacknowledged is not None else 0

    @property
    def owes_nothing(self) -> bool:
        """Whether the controller has acknowledged all deltas of the run and the Fin was sent.

        Also True outside of runs.
        """
        return self.unacknowledged is None or self.unacknowledged.is_handed_over

    @property
    def asked_ns(self) -> int:
        """The interval of deltas that the controller has asked for in this run, ns; 0 if it has asked for none."""
        return 0 if self.unacknowledged is None else self.unacknowledged.asked_ns

    @property
    def has_left_over(self) -> bool:
        """Whether deltas of earlier processes are still undelivered."""
        return bool(self._left)

    def begin(self, run_id: str, epoch: int) -> None:
        """Begin a run with no deltas yet, and with a spool of its own if the agent has spools."""
        if self._spools is not None:
            self._spool = self._spools.spool(run_id, epoch)
        self.unacknowledged = UnacknowledgedDeltas(run_id, self._agent, epoch, self._spool)

    def keep(self, delta: Delta) -> None:
        """Store a delta of the present run until the controller acknowledges it. Outside of runs it is dropped.

        Raises:
            WireError: the delta cannot be encoded, for example because it is too long.
        """
        if self.unacknowledged is not None:
            self.unacknowledged.keep(delta)

    def end(self, fin: Fin | None, reason: str) -> None:
        """End the measurements of this run: its Fin is sent after the last delta, and later deltas are dropped.

        `fin` is None if the workers died without one. `reason` says why the load ended early, or is empty.
        """
        if self.unacknowledged is not None:
            self.unacknowledged.close(fin, reason)

    def forget(self) -> None:
        """Drop the run with its deltas and Fin from memory.

        Undelivered deltas in its spool are left for the next process.
        """
        self.unacknowledged = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def ack(self, ack: Ack) -> None:
        """Remove the deltas that the controller has acknowledged, and use the interval of deltas that it requests."""
        now_ns, place = time.perf_counter_ns(), (ack.run_id, ack.epoch)
        if self.unacknowledged is not None and self.unacknowledged.place == place:
            self.unacknowledged.ack(ack.epoch, ack.seq, now_ns)
            self.unacknowledged.ask(ack.interval_ns if 0 < ack.interval_ns <= MAX_INTERVAL_NS else 0)
        for left in [one for one in self._left if one[0].place == place]:
            left[0].ack(ack.epoch, ack.seq, now_ns)
            if left[0].is_empty:
                log.info("all leftover measurements of run %s are delivered", ack.run_id)
                left[1].remove()
                self._left.remove(left)

    def send_again(self) -> None:
        """Mark all unacknowledged messages to be sent again, because a lost connection may have lost some."""
        for book in self._books():
            book.send_again()

    def pump(self, send: Callable[[bytes], bool]) -> None:
        """Pass the messages that may be sent now to `send`, until it returns False because its queue is full."""
        now_ns = time.perf_counter_ns()
        for book in self._books():
            while (data := book.next_due(now_ns)) is not None and send(data):
                book.was_sent(now_ns)

    def close(self) -> None:
        """Drop the run from memory and unlock the spools, because the agent ends."""
        self.forget()
        if self._spools is not None:
            self._spools.close()

    def _books(self) -> Iterator[UnacknowledgedDeltas]:
        if self.unacknowledged is not None:
            yield self.unacknowledged
        for book, _ in self._left:
            yield book

    def _left_over(self) -> list[tuple[UnacknowledgedDeltas, Leftover]]:
        found = []
        for left in self._spools.leftovers() if self._spools is not None else ():
            note = ""
            if left.damaged:
                note = f"{left.damaged} records of the agent's spool are damaged: their measurements are lost"
                log.error("%s: %s", left.folder, note)
            log.info("an earlier process of %s left %d deltas of %s", self._agent, len(left.deltas), left.run_id)
            if not left.deltas:
                left.remove()
                continue
            found.append(
                (UnacknowledgedDeltas.left_over(left.run_id, self._agent, left.epoch, left.deltas, note), left)
            )
        return found


def _spools(root: Path, agent: str) -> Spools | None:
    try:
        return Spools(root, agent)
    except OSError as error:
        log.warning(
            "no spool in %s (%s): undelivered measurements are kept in memory only."
            " Make the folder writable, or pass another one as --spool DIR",
            root,
            error.strerror or error,
        )
        return None

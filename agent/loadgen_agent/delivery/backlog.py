"""Stores deltas that were never sent, within a memory limit and without dropping any.

Deltas stay in memory while there is room (`ROOM_BYTES`). After that, an agent with a spool keeps them on disk only. If
the spool is full or missing, neighbouring deltas are joined (`loadgen.measure.deltas.join_successive_deltas`). A joined
delta keeps all counts but covers a longer time. The pair with the shortest joint time is joined first, and the oldest
of equal pairs, so time resolution decreases evenly. Only deltas that were never sent are joined, because the controller
may already have merged a sent one.

A busy controller may ask for a longer interval. Then deltas are joined up to the boundaries of that interval before
they are stored.

This module does no I/O except through the spool that is passed in.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Protocol

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode

__all__ = ["ROOM_BYTES", "Backlog", "DeltaStore", "Place", "QueuedDelta"]

log = logging.getLogger(__name__)

ROOM_BYTES: Final = 16 << 20
"""Memory for unsent deltas: half an hour of one delta of 9 kB per second."""

Place = tuple[int, int, int]
"""Position of a record in a store: segment, offset, length."""


class DeltaStore(Protocol):
    """A store for encoded deltas outside of memory (`spool.py`)."""

    def put(self, data: bytes) -> Place | None:
        """Store an encoded delta and return its position; None if there is no room or the write failed."""

    def get(self, place: Place) -> bytes | None:
        """Return the encoded delta at this position; None if it is damaged."""

    def drop(self, place: Place) -> None:
        """Delete the delta at this position, because it was delivered or replaced."""


@dataclass(slots=True)
class QueuedDelta:
    """One delta, encoded with a provisional `seq`; it gets its final number when it is sent."""

    data: bytes | None
    """The encoded delta; None when it is only in the store."""
    seq: int
    start_ns: int
    end_ns: int
    size_bytes: int
    new_series: tuple[SeriesKey, ...] = ()
    """Also kept in memory, because later deltas cannot be decoded without these series."""
    place: Place | None = None
    is_full: bool = False
    """It cannot be joined with the next one, because the result would be too long."""


class Backlog:
    """The queue of unsent deltas of one run of one agent. `append` adds the newest, `take` removes the oldest."""

    def __init__(self, blank: Delta, store: DeltaStore | None = None, room_bytes: int = ROOM_BYTES) -> None:
        """Make an empty queue.

        Args:
            blank: an empty delta of the run, agent and epoch.
            store: the spool; None to keep everything in memory.
            room_bytes: limit of the encoded deltas in memory.
        """
        self._blank = blank
        self._store, self._room_bytes = store, room_bytes
        self._queued_deltas: deque[QueuedDelta] = deque()
        self._in_memory_bytes = 0
        self._interval_ns = 0
        """Interval to which deltas are joined before they are stored; 0 stores them as they come."""
        self._open: Delta | None = None
        """The delta to which the next ones are being joined."""
        self._is_said = False

    def __len__(self) -> int:
        return len(self._queued_deltas) + (self._open is not None)

    @property
    def is_ready(self) -> bool:
        """Whether the queue has a delta that `take` can return."""
        return bool(self._queued_deltas)

    @property
    def size_bytes(self) -> int:
        """Size of all queued deltas in bytes, in memory or only in the store, without the one that is being joined."""
        return sum(queued_delta.size_bytes for queued_delta in self._queued_deltas)

    @property
    def in_memory_bytes(self) -> int:
        """Size in bytes of the encoded deltas that are in memory."""
        return self._in_memory_bytes

    def ask(self, interval_ns: int) -> None:
        """Set the interval up to whose boundaries later deltas are joined to one.

        With 0 deltas are no longer joined.
        """
        self._interval_ns = interval_ns
        if not interval_ns:
            self.flush()

    def append(self, delta: Delta) -> None:
        """Add the newest delta to the queue.

        Raises:
            WireError: the delta cannot be encoded, for example because it is too long.
        """
        if self._open is not None:
            joint = join(self._open, delta)
            if joint is None or _is_long(joint):
                self.flush()
            else:
                self._open, delta = None, joint
        if self._interval_ns and not self._is_whole(delta):
            self._open = delta
        else:
            self._put(delta)

    def flush(self) -> None:
        """End the joining of the newest delta and queue it, so that `take` can return it."""
        if self._open is not None:
            delta, self._open = self._open, None
            self._put(delta)

    def take(self, seq: int) -> QueuedDelta:
        """Remove and return the oldest delta, encoded with its final number `seq`. Call this only if `is_ready`."""
        # Its record stays in the store until the acknowledgement, so a process that is killed before leaves it behind.
        queued_delta = self._queued_deltas.popleft()
        if queued_delta.data is None and queued_delta.place is not None and self._store is not None:
            queued_delta.data = self._store.get(queued_delta.place)
        elif queued_delta.data is not None:
            self._in_memory_bytes -= len(queued_delta.data)
        delta = decode(queued_delta.data) if queued_delta.data is not None else None
        if not isinstance(delta, Delta):
            self._lose(queued_delta, seq)
        elif queued_delta.seq != seq:
            self._again(queued_delta, replace(delta, seq=seq))
        return queued_delta

    # -- room ---------------------------------------------------------------------------------------

    def _is_whole(self, delta: Delta) -> bool:
        """Whether the delta reaches a boundary of the requested interval, so that no later delta is joined to it.

        A tolerance of a quarter interval allows for inexact edges.
        """
        intervals = max(1, delta.health.counted[0])
        slack_ns = (delta.end_ns - delta.start_ns) // intervals // 4
        start, end = (delta.start_ns + slack_ns) // self._interval_ns, (delta.end_ns + slack_ns) // self._interval_ns
        return end > start

    def _put(self, delta: Delta) -> None:
        data = encode(delta)
        queued_delta = QueuedDelta(data, delta.seq, delta.start_ns, delta.end_ns, len(data), delta.new_series)
        self._queued_deltas.append(queued_delta)
        self._in_memory_bytes += len(data)
        if self._store is not None:
            queued_delta.place = self._store.put(data)
        self._make_room()

    def _make_room(self) -> None:
        if self._in_memory_bytes <= self._room_bytes:
            return
        for queued_delta in reversed(self._queued_deltas):  # newest first, because the oldest are sent next
            if queued_delta.data is not None and queued_delta.place is not None:
                self._in_memory_bytes -= len(queued_delta.data)
                queued_delta.data = None
                if self._in_memory_bytes <= self._room_bytes:
                    return
        while self._in_memory_bytes > self._room_bytes and self._join_two():
            pass

    def _join_two(self) -> bool:
        """Join two neighbouring deltas in memory to one, to save memory.

        Return False if no pair can be joined any more. It takes the pair that covers the shortest time.
        """
        queued_deltas = self._queued_deltas
        pairs = [
            (after.end_ns - queued_delta.start_ns, at)
            for at, (queued_delta, after) in enumerate(zip(queued_deltas, list(queued_deltas)[1:], strict=False))
            if not queued_delta.is_full and queued_delta.data is not None and after.data is not None
        ]
        if not pairs:
            if not self._is_said:
                self._is_said = True
                log.warning(
                    "unsent measurements take %d MiB of memory and cannot be joined further."
                    " Restore the connection to the controller, or give the agent a spool (--spool)",
                    self._in_memory_bytes >> 20,
                )
            return False
        _, at = min(pairs)
        first, second = queued_deltas[at], queued_deltas[at + 1]
        assert first.data is not None
        assert second.data is not None
        one, two = decode(first.data), decode(second.data)
        assert isinstance(one, Delta)
        assert isinstance(two, Delta)
        joint = join(one, two)
        data = None
        if joint is not None:
            try:
                data = encode(joint)
            except WireError:  # the joint is longer than a message may be
                data = None
        if joint is None or data is None:
            first.is_full = True
            return True
        self._in_memory_bytes += len(data) - len(first.data) - len(second.data)
        both = QueuedDelta(data, joint.seq, joint.start_ns, joint.end_ns, len(data), joint.new_series)
        both.is_full = second.is_full
        if self._store is not None:
            # Written before its parts are dropped. A process that is killed in between leaves both, and
            # `spool._in_order` leaves out the parts.
            both.place = self._store.put(data)
        for queued_delta in (first, second):
            self._drop(queued_delta)
        queued_deltas[at] = both
        del queued_deltas[at + 1]
        return True

    def _drop(self, queued_delta: QueuedDelta) -> None:
        if queued_delta.place is not None and self._store is not None:
            self._store.drop(queued_delta.place)
        queued_delta.place = None

    # -- on the way out -----------------------------------------------------------------------------

    def _again(self, queued_delta: QueuedDelta, delta: Delta) -> None:
        """Encode a queued delta again, because it gets another number after deltas before it were joined."""
        before = replace(queued_delta)
        queued_delta.data, queued_delta.seq, queued_delta.place = encode(delta), delta.seq, None
        if self._store is not None:
            # Written before the old record is dropped, so that one of them is on the disk at any time.
            queued_delta.place = self._store.put(queued_delta.data)
        self._drop(before)

    def _lose(self, queued_delta: QueuedDelta, seq: int) -> None:
        """Replace a damaged delta by an empty one with its number and a note about the loss.

        The empty delta covers no time.
        """
        span = f"{queued_delta.start_ns / NS_PER_S:.1f} s to {queued_delta.end_ns / NS_PER_S:.1f} s"
        note = f"the measurements from {span} are lost: their record in the spool is damaged"
        log.error("%s", note)
        stands_for_it = replace(
            self._blank,
            seq=seq,
            start_ns=queued_delta.start_ns,
            end_ns=queued_delta.start_ns,
            new_series=queued_delta.new_series,
            health=Health(notes=(note,)),
        )
        self._again(queued_delta, stands_for_it)


def _is_long(delta: Delta) -> bool:
    """Whether a delta is so large that no later delta may be joined to it, whatever interval was requested."""
    return len(delta.index) > 256 << 10

"""Deltas that were never sent, in as little room as they are given: none is ever dropped.

They stay in memory as long as there is room (`ROOM_BYTES`); then, where the agent has
a spool, on the disk alone; and where that is full or missing, neighbours are joined
(`loadgen.measure.deltas.join_deltas`): then it is known less exactly when things happened, and
still how often. The pair that makes the shortest joint comes first, the oldest of equals, so time gets
coarser evenly. Only what was never sent is joined: of what was, the controller may have merged a part.

When the controller asks for fewer deltas (D4), they are joined up to the
boundaries of that interval before they are taken in.

Pure but for the spool, which is handed in.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Protocol

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.join_deltas import join
from loadgen.measure.deltas.series import SeriesKey
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode

__all__ = ["ROOM_BYTES", "Backlog", "Place", "Sheet", "Shelf"]

log = logging.getLogger(__name__)

ROOM_BYTES: Final = 16 << 20
"""In memory: half an hour of deltas of 9 kB, one a second."""

Place = tuple[int, int, int]
"""Where a shelf has it."""


class Shelf(Protocol):
    """What keeps deltas outside of memory (`spool.py`)."""

    def put(self, data: bytes) -> Place | None:
        """None: there is no room, or it cannot be written."""

    def get(self, place: Place) -> bytes | None:
        """None: it is damaged."""

    def drop(self, place: Place) -> None:
        """It is not needed any more."""


@dataclass(slots=True)
class Sheet:
    """One delta, encoded under `seq`, which need not be the one that it will have."""

    data: bytes | None
    """None: on the shelf alone."""
    seq: int
    start_ns: int
    end_ns: int
    size_bytes: int
    new_series: tuple[SeriesKey, ...] = ()
    """Kept here, too: those behind it cannot be read without."""
    place: Place | None = None
    is_full: bool = False
    """It and the one behind it must stay two."""


class Backlog:
    """Of one run of one agent. `append` at one end, `take` at the other."""

    def __init__(self, blank: Delta, shelf: Shelf | None = None, room_bytes: int = ROOM_BYTES) -> None:
        """
        Args:
            blank: of the run, agent and epoch, with nothing in it.
        """
        self._blank = blank
        self._shelf, self._room_bytes = shelf, room_bytes
        self._sheets: deque[Sheet] = deque()
        self._in_memory_bytes = 0
        self._interval_ns = 0
        """To which deltas are joined before they are taken in; 0: as they come."""
        self._open: Delta | None = None
        """What is being joined."""
        self._is_said = False

    def __len__(self) -> int:
        return len(self._sheets) + (self._open is not None)

    @property
    def is_ready(self) -> bool:
        """Whether `take` has something."""
        return bool(self._sheets)

    @property
    def size_bytes(self) -> int:
        """On the shelf and in memory, without what is being joined."""
        return sum(sheet.size_bytes for sheet in self._sheets)

    @property
    def in_memory_bytes(self) -> int:
        return self._in_memory_bytes

    def ask(self, interval_ns: int) -> None:
        """From now on join deltas up to the boundaries of this interval; 0: none any more."""
        self._interval_ns = interval_ns
        if not interval_ns:
            self.flush()

    def append(self, delta: Delta) -> None:
        """
        Raises:
            WireError: it cannot be sent, however often one tries.
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
        """Nothing more is joined to what is being joined."""
        if self._open is not None:
            delta, self._open = self._open, None
            self._put(delta)

    def take(self, seq: int) -> Sheet:
        """The oldest, under the number that it has from now on. There must be one (`is_ready`)."""
        sheet = self._sheets.popleft()
        if sheet.data is None and sheet.place is not None and self._shelf is not None:
            sheet.data = self._shelf.get(sheet.place)
        elif sheet.data is not None:
            self._in_memory_bytes -= len(sheet.data)
        delta = decode(sheet.data) if sheet.data is not None else None
        if not isinstance(delta, Delta):
            self._lose(sheet, seq)
        elif sheet.seq != seq:
            self._again(sheet, replace(delta, seq=seq))
        return sheet

    # -- room ---------------------------------------------------------------------------------------

    def _is_whole(self, delta: Delta) -> bool:
        """It reaches up to a boundary; a quarter of an interval of slack for edges that are not exact."""
        intervals = max(1, delta.health.counted[0])
        slack_ns = (delta.end_ns - delta.start_ns) // intervals // 4
        start, end = (delta.start_ns + slack_ns) // self._interval_ns, (delta.end_ns + slack_ns) // self._interval_ns
        return end > start

    def _put(self, delta: Delta) -> None:
        data = encode(delta)
        sheet = Sheet(data, delta.seq, delta.start_ns, delta.end_ns, len(data), delta.new_series)
        self._sheets.append(sheet)
        self._in_memory_bytes += len(data)
        if self._shelf is not None:
            sheet.place = self._shelf.put(data)
        self._make_room()

    def _make_room(self) -> None:
        if self._in_memory_bytes <= self._room_bytes:
            return
        for sheet in reversed(self._sheets):  # what is sent last
            if sheet.data is not None and sheet.place is not None:
                self._in_memory_bytes -= len(sheet.data)
                sheet.data = None
                if self._in_memory_bytes <= self._room_bytes:
                    return
        while self._in_memory_bytes > self._room_bytes and self._join_two():
            pass

    def _join_two(self) -> bool:
        """Of those in memory; False: all must stay as they are."""
        sheets = self._sheets
        pairs = [
            (after.end_ns - sheet.start_ns, at)
            for at, (sheet, after) in enumerate(zip(sheets, list(sheets)[1:], strict=False))
            if not sheet.is_full and sheet.data is not None and after.data is not None
        ]
        if not pairs:
            if not self._is_said:
                self._is_said = True
                log.warning("what was measured takes %d MiB and cannot be joined", self._in_memory_bytes >> 20)
            return False
        _, at = min(pairs)
        first, second = sheets[at], sheets[at + 1]
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
            except WireError:  # longer than a message may be
                data = None
        if joint is None or data is None:
            first.is_full = True
            return True
        self._in_memory_bytes += len(data) - len(first.data) - len(second.data)
        both = Sheet(data, joint.seq, joint.start_ns, joint.end_ns, len(data), joint.new_series)
        both.is_full = second.is_full
        if self._shelf is not None:
            both.place = self._shelf.put(data)
        for sheet in (first, second):
            self._drop(sheet)
        sheets[at] = both
        del sheets[at + 1]
        return True

    def _drop(self, sheet: Sheet) -> None:
        if sheet.place is not None and self._shelf is not None:
            self._shelf.drop(sheet.place)
        sheet.place = None

    # -- on the way out -----------------------------------------------------------------------------

    def _again(self, sheet: Sheet, delta: Delta) -> None:
        """Its number has changed: those before it were joined."""
        before = replace(sheet)
        sheet.data, sheet.seq, sheet.place = encode(delta), delta.seq, None
        if self._shelf is not None:
            sheet.place = self._shelf.put(sheet.data)
        self._drop(before)

    def _lose(self, sheet: Sheet, seq: int) -> None:
        """What stands for a damaged one: its number, and the word that it is lost. It covers no time."""
        span = f"{sheet.start_ns / NS_PER_S:.1f} s to {sheet.end_ns / NS_PER_S:.1f} s"
        note = f"what was measured from {span} is lost: its record in the spool is damaged"
        log.error("%s", note)
        stands_for_it = replace(
            self._blank,
            seq=seq,
            start_ns=sheet.start_ns,
            end_ns=sheet.start_ns,
            new_series=sheet.new_series,
            health=Health(notes=(note,)),
        )
        self._again(sheet, stands_for_it)


def _is_long(delta: Delta) -> bool:
    """Too long to gather further, whatever was asked for."""
    return len(delta.index) > 256 << 10

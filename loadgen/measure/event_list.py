"""The events of one stream in little memory: 5 B for each event, 9 B once an event has a number of tokens.

An open stream keeps its events until its end, so their size limits the number of streams that an agent can hold open.
The list stores the gaps between events instead of their times, because a gap fits in four bytes. The few longer gaps
are in a dict.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

__all__ = ["MOST_TOKENS", "EventList"]

MOST_TOKENS: Final = (1 << 31) - 1
"""The largest number of tokens that fits in an entry. A larger number from a server is stored as this one."""
_BITS: Final = 32
"""Bits of a gap in ns, enough for 4.29 s."""


class EventList:
    """Three parallel lists: the time of each event in ns, its kind (`streams.KINDS`), and the tokens in it or -1.

    Times must not decrease; a time that does is replaced by the time before it.
    first_ns, last_ns: the times of the first and the last event; 0 without events.
    """

    __slots__ = ("_gaps", "_long", "_tokens", "first_ns", "kinds", "last_ns")

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.first_ns = self.last_ns = 0
        self._gaps = array("I")
        """For each event after the first, the time since the event before; 0 if `_long` has it."""
        self._long: dict[int, int] | None = None
        """Gaps that have more than `_BITS`, by their index. None: no gap is that long."""
        self._tokens: array[int] | None = None
        """None: all are -1."""

    @classmethod
    def of(cls, t_ns: Sequence[int], kinds: Sequence[int], tokens: Sequence[int]) -> EventList:
        """Return the events of three parallel lists."""
        found = cls()
        for event in zip(t_ns, kinds, tokens, strict=True):
            found.add(*event)
        return found

    def __len__(self) -> int:
        return len(self.kinds)

    def add(self, t_ns: int, kind: int, tokens: int) -> None:
        """HOT, once an event: budget 0.3 µs (bench/llm.py). Add an event."""
        kinds = self.kinds
        if kinds:
            gap_ns = t_ns - self.last_ns
            if gap_ns >> _BITS:  # true for a negative gap, too
                if self._long is None:
                    self._long = {}
                self._long[len(self._gaps)] = max(0, gap_ns)
                t_ns = max(t_ns, self.last_ns)
                gap_ns = 0
            self._gaps.append(gap_ns)
        else:
            self.first_ns = t_ns
        self.last_ns = t_ns
        kinds.append(kind)
        if tokens != -1 or self._tokens is not None:
            if self._tokens is None:
                self._tokens = array("i", (-1,)) * (len(kinds) - 1)
            self._tokens.append(tokens if tokens < MOST_TOKENS else MOST_TOKENS)

    @property
    def t_ns(self) -> list[int]:
        """Return the time of each event."""
        return list(accumulate(self.gaps_ns, initial=self.first_ns)) if self.kinds else []

    @property
    def gaps_ns(self) -> array[int]:
        """Return the time from each event to the next one."""
        if self._long is None:
            return self._gaps
        gaps = array("Q", self._gaps)
        for i, gap_ns in self._long.items():
            gaps[i] = gap_ns
        return gaps

    @property
    def tokens(self) -> array[int]:
        """Return the tokens of each event."""
        return array("i", (-1,)) * len(self.kinds) if self._tokens is None else self._tokens

"""The events of one stream in little memory: 5 B each, and 4 B more in streams with token counts before their end.

An open stream keeps its events until its end, so their size limits how many streams an agent can hold. Times are kept
as the gaps between events, because a gap fits in four bytes. The few that do not fit are kept apart.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

__all__ = ["MOST_TOKENS", "EventList"]

MOST_TOKENS: Final = (1 << 31) - 1
"""A server may send any number of tokens; this one still fits. Larger ones are kept as this."""
_BITS: Final = 32
"""Of a gap in ns: up to 4.29 s."""


class EventList:
    """Three parallel lists: the time of each event in ns, its kind (`streams.KINDS`), and the tokens in it or -1.

    Times must not decrease; one that does is kept as the time before it.
    first_ns, last_ns: the times of the first and the last event; 0 if there is none.
    """

    __slots__ = ("_gaps", "_long", "_tokens", "first_ns", "kinds", "last_ns")

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.first_ns = self.last_ns = 0
        self._gaps = array("I")
        """For each event after the first, the time since the event before; 0 if `_long` has it."""
        self._long: dict[int, int] | None = None
        """Gaps that have more than `_BITS`, by their index. None: there is none."""
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
            if gap_ns >> _BITS:  # also of a negative one
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

"""What came in and was no use: counted by kind, told at a bounded rate, and survived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from loadgen.outside_text import one_line
from loadgen.units import NS_PER_S

__all__ = ["OVER_LIMIT", "Troubles", "plain"]

OVER_LIMIT = "over a limit"
"""The kind of trouble that puts an agent into quarantine at once."""

_TOLD_EACH_NS = NS_PER_S
_MAX_TEXT = 500


def plain(text: str) -> str:
    """The text of a peer in one short line for a notice and a log."""
    return one_line(text[:_MAX_TEXT], _MAX_TEXT)


class Troubles:
    """Counts all; tells the first of a kind at once and later ones at most once a second, with how many."""

    def __init__(self, tell: Callable[[str, str, int], None], clock: Callable[[], int]) -> None:
        self.counts: Counter[str] = Counter()
        self._tell, self._clock = tell, clock
        self._told: dict[str, tuple[int, int]] = {}

    def add(self, kind: str, text: str) -> None:
        """`kind` is one of a few words of ours; `text` may quote the peer."""
        self.counts[kind] += 1
        now_ns = self._clock()
        told_ns, told = self._told.get(kind, (None, 0))
        if told_ns is None or now_ns - told_ns >= _TOLD_EACH_NS:
            self._told[kind] = now_ns, self.counts[kind]
            self._tell(kind, plain(text), self.counts[kind] - told)

"""Counts rejected input by kind, and reports it at a bounded rate.

Invalid messages from agents must neither stop the controller nor flood its log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from loadgen.outside_text import one_line
from loadgen.units import NS_PER_S

__all__ = ["OVER_LIMIT", "RejectedInput", "plain"]

OVER_LIMIT = "over a limit"
"""The kind of rejected input that puts an agent into quarantine at once."""

_REPORT_EACH_NS = NS_PER_S
_MAX_TEXT = 500


def plain(text: str) -> str:
    """Return text from a peer as one short line that is safe to print in a notice or a log."""
    return one_line(text[:_MAX_TEXT], _MAX_TEXT)


class RejectedInput:
    """Counts rejected input; reports the first of a kind at once, later ones at most once a second.

    report: called with the kind, the text and the number of rejections since the last report of that kind.
    clock: returns the time in ns.
    """

    def __init__(self, report: Callable[[str, str, int], None], clock: Callable[[], int]) -> None:
        self.counts: Counter[str] = Counter()
        self._report, self._clock = report, clock
        self._reported: dict[str, tuple[int, int]] = {}
        """For each kind: when it was last reported, and its count then."""

    def add(self, kind: str, text: str) -> None:
        """Count one rejected message, and report it unless its kind was reported within the last second.

        kind: one of a few fixed words. text: the reason; it may quote the peer.
        """
        self.counts[kind] += 1
        now_ns = self._clock()
        reported_ns, reported = self._reported.get(kind, (None, 0))
        if reported_ns is None or now_ns - reported_ns >= _REPORT_EACH_NS:
            self._reported[kind] = now_ns, self.counts[kind]
            self._report(kind, plain(text), self.counts[kind] - reported)

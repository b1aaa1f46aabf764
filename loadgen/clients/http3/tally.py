"""Counts of a worker's HTTP/3 connections: metrics of the report beside those that a scenario declares."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CustomKind, CustomStats

__all__ = ["EARLY", "FALLBACKS", "LOST", "Tally"]

LOST: Final = "h3: packets lost"
EARLY: Final = "h3: 0-RTT accepted"
FALLBACKS: Final = "h3: TCP used instead"


class _Count:
    """A counter or a rate of one worker; the recorder takes it once an interval."""

    __slots__ = ("_kind", "_n", "_name", "_total", "hits", "values")

    def __init__(self, name: str, kind: CustomKind) -> None:
        self._name, self._kind = name, kind
        self._n = self._total = 0
        self.values = self.hits = 0
        """The sums over the whole run; `take` does not reset them."""

    def add(self, values: int, hits: int) -> None:
        self._n += values
        self._total += hits
        self.values += values
        self.hits += hits

    def take(self) -> CustomStats | None:
        """Return the numbers since the last call; None if nothing was counted."""
        n, total = self._n, self._total
        self._n = self._total = 0
        return CustomStats(self._name, self._kind, n, total) if n else None


class Tally:
    """The HTTP/3 metrics of one worker.

    lost: sent packets that the target did not acknowledge in time, so their data was sent again. fallbacks: connections
    over TCP because the offered HTTP/3 did not work. early: the share of requests sent as 0-RTT that the target
    accepted as such; the others were sent again after the handshake.
    """

    __slots__ = ("__weakref__", "early", "fallbacks", "lost")

    def __init__(self) -> None:
        self.lost, self.fallbacks = _Count(LOST, "counter"), _Count(FALLBACKS, "counter")
        self.early = _Count(EARLY, "rate")

    @staticmethod
    def of(recorder: Recorder) -> Tally:
        """Return the metrics of the worker with this recorder."""
        found = _all.get(recorder)
        if found is None:
            found = _all[recorder] = Tally()
            recorder.customs += [found.lost, found.fallbacks, found.early]
        return found


_all: WeakKeyDictionary[Recorder, Tally] = WeakKeyDictionary()

"""Counters that all users of one worker share, beside the metrics that a scenario declares.

A recorder sends them with its deltas as custom metrics, so they are merged over the fleet exactly. A class of counters
is made once for each recorder, at its first use: `WsCounts.of(recorder)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Self, cast

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CustomKind, CustomStats

__all__ = ["MAX_OWN", "WorkerCounter", "WorkerCounters"]

MAX_OWN: Final = 28
"""Most counters of this kind that one worker has, apart from checks. The names of checks leave room for them."""


class WorkerCounter:
    """A custom metric that adds up values: a counter, or a rate, which is hits divided by tries. A `CustomSource`.

    n: the number of values; of a rate, of its tries. total: their sum; of a rate, its hits. Both are over the whole
    run, and `take` does not reset them.
    """

    __slots__ = ("_kind", "_name", "_taken_n", "_taken_total", "n", "total")

    def __init__(self, name: str, kind: CustomKind = "counter") -> None:
        self._name, self._kind = name, kind
        self.n = self.total = self._taken_n = self._taken_total = 0

    def add(self, n: int = 1, total: int = 1) -> None:
        """Count n values whose sum is `total`. With no argument: one more."""
        self.n += n
        self.total += total

    def take(self) -> CustomStats | None:
        """Return the values since the last call; None if nothing was counted."""
        n, total = self.n - self._taken_n, self.total - self._taken_total
        if not n:
            return None
        self._taken_n, self._taken_total = self.n, self.total
        return CustomStats(self._name, self._kind, n, total)


class WorkerCounters(ABC):
    """Base of a class of counters of one worker."""

    __slots__ = ()

    @abstractmethod
    def __init__(self, recorder: Recorder) -> None:
        """Create the counters and add them to `recorder.customs`."""

    @classmethod
    def of(cls, recorder: Recorder) -> Self:
        """Return the counters of the worker that has this recorder. The first call creates them."""
        found = recorder.of_worker.get(cls)
        if found is None:
            found = recorder.of_worker[cls] = cls(recorder)
        return cast("Self", found)

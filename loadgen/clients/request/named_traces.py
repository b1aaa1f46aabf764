"""Counts the answers that name a trace of the target's own, and those with an unreadable name."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CustomStats

__all__ = ["FOREIGN", "INVALID_NAMES", "NamedTraces"]

FOREIGN = "traces that the target began itself"
INVALID_NAMES = "unreadable trace ids in answers"


class _Count:
    """One counter; the recorder takes it once an interval."""

    __slots__ = ("_name", "n")

    def __init__(self, name: str) -> None:
        self._name, self.n = name, 0

    def take(self) -> CustomStats | None:
        """Return the number since the last call; None if it is 0."""
        n, self.n = self.n, 0
        return CustomStats(self._name, "counter", n, n) if n else None


class NamedTraces:
    """The two counters of one worker, over its sampled requests."""

    __slots__ = ("foreign", "invalid")

    def __init__(self, recorder: Recorder) -> None:
        self.foreign, self.invalid = _Count(FOREIGN), _Count(INVALID_NAMES)
        recorder.customs += [self.foreign, self.invalid]

    @staticmethod
    def of(recorder: Recorder) -> NamedTraces:
        """Return the counters of the worker with this recorder."""
        found = _all.get(recorder)
        if found is None:
            found = _all[recorder] = NamedTraces(recorder)
        return found


_all: WeakKeyDictionary[Recorder, NamedTraces] = WeakKeyDictionary()

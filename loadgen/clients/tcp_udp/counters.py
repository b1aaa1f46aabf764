"""Counters of one worker for answers that come too late, or that belong to no request."""

from __future__ import annotations

from typing import Final, Literal
from weakref import WeakKeyDictionary

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CustomStats

__all__ = ["Kind", "count_answer", "counted_answers"]

Kind = Literal["tcp: late answers", "tcp: unmatched messages", "udp: late answers", "udp: unmatched datagrams"]
"""The names of the counters. A counter exists from its first use on."""


class _Count:
    """A counter that is sent with the deltas of its recorder. total: of the whole run; `take` does not reset it."""

    __slots__ = ("_n", "_name", "total")

    def __init__(self, name: str) -> None:
        self._name, self._n, self.total = name, 0, 0

    def add(self) -> None:
        self._n += 1
        self.total += 1

    def take(self) -> CustomStats | None:
        if not self._n:
            return None
        taken = CustomStats(self._name, "counter", self._n, self._n)
        self._n = 0
        return taken


def count_answer(recorder: Recorder, kind: Kind) -> None:
    """Count one more answer of this kind, in the worker that has this recorder."""
    of_worker = _counts.setdefault(recorder, {})
    count = of_worker.get(kind)
    if count is None:
        count = of_worker[kind] = _Count(kind)
        recorder.customs.append(count)
    count.add()


def counted_answers(recorder: Recorder, kind: Kind) -> int:
    """Return how many answers of this kind the worker has counted in the whole run."""
    found = _counts.get(recorder, {}).get(kind)
    return 0 if found is None else found.total


_counts: Final[WeakKeyDictionary[Recorder, dict[Kind, _Count]]] = WeakKeyDictionary()

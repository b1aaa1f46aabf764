"""Counts the answers that name a trace of the target's own, and those with an unreadable name."""

from __future__ import annotations

from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters

__all__ = ["FOREIGN", "INVALID_NAMES", "NamedTraces"]

FOREIGN = "traces that the target began itself"
INVALID_NAMES = "unreadable trace ids in answers"


class NamedTraces(WorkerCounters):
    """The two counters of one worker, over its sampled requests."""

    __slots__ = ("foreign", "invalid")

    def __init__(self, recorder: Recorder) -> None:
        self.foreign, self.invalid = WorkerCounter(FOREIGN), WorkerCounter(INVALID_NAMES)
        recorder.customs += [self.foreign, self.invalid]

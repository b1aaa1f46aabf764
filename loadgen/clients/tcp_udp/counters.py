"""Counters of one worker for answers that come too late, or that belong to no request."""

from __future__ import annotations

from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters

__all__ = ["AnswerCounters"]


class AnswerCounters(WorkerCounters):
    """The counters of one worker, for the links of all its users."""

    __slots__ = ("tcp_late", "tcp_unmatched", "udp_late", "udp_unmatched")

    def __init__(self, recorder: Recorder) -> None:
        self.tcp_late = WorkerCounter("tcp: late answers")
        self.tcp_unmatched = WorkerCounter("tcp: unmatched messages")
        self.udp_late = WorkerCounter("udp: late answers")
        self.udp_unmatched = WorkerCounter("udp: unmatched datagrams")
        recorder.customs += [self.tcp_late, self.tcp_unmatched, self.udp_late, self.udp_unmatched]

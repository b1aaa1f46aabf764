"""Counts of a worker's HTTP/3 connections: metrics of the report beside those that a scenario declares."""

from __future__ import annotations

from typing import Final

from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters

__all__ = ["EARLY", "FALLBACKS", "LOST", "Tally"]

LOST: Final = "h3: packets lost"
EARLY: Final = "h3: 0-RTT accepted"
FALLBACKS: Final = "h3: TCP used instead"


class Tally(WorkerCounters):
    """The HTTP/3 metrics of one worker.

    lost: sent packets that the target did not acknowledge in time, so their data was sent again. fallbacks: connections
    over TCP because the offered HTTP/3 did not work. early: the share of requests sent as 0-RTT that the target
    accepted as such; the others were sent again after the handshake.
    """

    __slots__ = ("early", "fallbacks", "lost")

    def __init__(self, recorder: Recorder | None = None) -> None:
        """recorder: None for a pool that reports to no worker yet."""
        self.lost, self.fallbacks = WorkerCounter(LOST), WorkerCounter(FALLBACKS)
        self.early = WorkerCounter(EARLY, "rate")
        if recorder is not None:
            recorder.customs += [self.lost, self.fallbacks, self.early]

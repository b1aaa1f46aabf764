"""Notes and counts the requests that were sent again without a retry being counted."""

from __future__ import annotations

from typing import Final

from loadgen.clients.protocol.connection_interface import Unprocessed
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import WorkerCounter, WorkerCounters
from loadgen.errors import RequestFailed

__all__ = ["REFUSED_NOTE", "SENT_AGAIN", "STALE_NOTE", "SentAgain", "note_sent_again"]

STALE_NOTE: Final = "the target had closed kept connections: requests on them were sent again"
REFUSED_NOTE: Final = "the target refused requests unseen (HTTP/2: REFUSED_STREAM, GOAWAY): they were sent again"
SENT_AGAIN: Final = "sent again: kept connection was closed"


class SentAgain(WorkerCounters):
    """The counter of one worker: requests on kept connections that were closed before the first byte of an answer.

    The client cannot distinguish an idle connection that the target had just closed from a target that read the request
    and then failed. In the second case the target has received the request twice.
    """

    __slots__ = ("times",)

    def __init__(self, recorder: Recorder) -> None:
        self.times = WorkerCounter(SENT_AGAIN)
        recorder.customs.append(self.times)


def note_sent_again(recorder: Recorder, failure: RequestFailed) -> None:
    """Record that a request was sent again after `failure`."""
    if isinstance(failure, Unprocessed):
        recorder.note(REFUSED_NOTE)
        return
    recorder.note(STALE_NOTE)
    SentAgain.of(recorder).times.add()

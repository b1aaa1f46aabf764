"""One call of an AI model: what its reply must know of it, and the registration of its begin and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter_ns

from loadgen.clients.llm.worker import LlmWorker
from loadgen.clients.llm_apis.types import Api
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.stream_series import Goodput, RunningStream
from loadgen.measure.convention_metrics import RecordedConvention

__all__ = ["LlmCall"]


@dataclass(slots=True)
class LlmCall:
    """The data of one call that its reply needs.

    wants_stream: False if the request asks for a whole answer. wait_ns: the time from when the iteration was due to
    this call, without think time; None if it had no due time, or if this is not the first call of its iteration.
    first_token_ns, idle_ns, total_ns: limits (`Llm.first_token`, `idle`, `timeout`); None: no limit. reads_parts: true
    if the journey reads the answer with `parts()`.
    """

    api: Api
    wants_stream: bool = True
    wait_ns: int | None = None
    first_token_ns: int | None = None
    idle_ns: int | None = None
    total_ns: int = 0
    reads_parts: bool = False
    worker: LlmWorker = field(default_factory=LlmWorker)
    reads: StreamReads | None = None
    """Counts the reads of the worker's streams; None: nothing counts them."""
    conventions: tuple[RecordedConvention, ...] = ()
    """Other tools by whose definitions the figures are also recorded."""
    running: RunningStream | None = None
    """The running request, for objectives over windows; None if the plan has none of these."""
    own: Goodput | None = None
    """The limits of this request (`slo=`), which replace those of goodput objectives; None: it has none."""
    exact_tokens: int = 0
    """The number of output tokens that the answer must have (`exactly=True`); 0: any number."""
    cold: str = ""
    """Why the request is cold (`worker.py`); empty if it is not."""
    _is_under_way: bool = False

    def begin(self, now_ns: int) -> None:
        """Register that the request begins."""
        self._is_under_way = True
        self.cold = self.worker.begun(now_ns)

    def end(self) -> None:
        """Register that the request has ended. Further calls do nothing."""
        if self._is_under_way:
            self._is_under_way = False
            self.worker.ended(perf_counter_ns())

    def gone(self) -> None:
        """Register that the request was cancelled. Does nothing if its end is recorded."""
        if self.running is not None:
            self.running.gone()
            self.running = None

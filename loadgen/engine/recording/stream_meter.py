"""A meter that also records the stream metrics of requests to AI models, for plans that have an `Llm`.

A sample of such a request has `stream_times()`, its figures at its end, and `wait_ns`, the time from when it was due to
its call. `convention_figures()` has its figures by the definitions of other tools, if the plan records them.
"""

from __future__ import annotations

from typing import Any

from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.convention_metrics import values_ns
from loadgen.measure.deltas.series_key import OK, SKIPPED

__all__ = ["StreamMeter", "with_streams"]


class StreamMeter(Meter):
    """Records the stream metrics of the samples that it settles."""

    __slots__ = ()

    def settle(self) -> None:
        if not self._is_held:
            return
        held: Any = self._sample
        super().settle()
        figures = getattr(held, "stream_times", None)
        if figures is not None and held.outcome != SKIPPED:
            self.recorder.streams_of(held.series).ended(
                figures(), held.asked_ns, held.done_ns - held.asked_ns, held.outcome, held.wait_ns
            )
            more = getattr(held, "convention_figures", None)
            if more is not None and held.outcome == OK:
                for name, found in more():
                    for metric, values in values_ns(name, found):
                        self.recorder.trend_series(metric, warmup=held.series.key.warmup).ok[0].extend(values)


def with_streams(meter: type[Meter]) -> type[Meter]:
    """Return a class of meters that records stream metrics besides what `meter` records."""
    return StreamMeter if meter is Meter else type(f"Stream{meter.__name__}", (StreamMeter, meter), {"__slots__": ()})

"""A meter that also records the stream metrics of requests to AI models, for plans that have an `Llm`.

A sample of such a request has `stream_times()`, its figures at its end (None: it is no such request after all),
`wait_ns`, the time from when it was due to its call, and `own_limits`, those of its call. `take_running()` returns the
running request, for objectives over windows. `convention_figures()` has its figures by the definitions of other tools,
if the plan records them. `stream_events()` returns its events, to be kept; None: it is no stream.
"""

from __future__ import annotations

from typing import Any, ClassVar

from loadgen.engine.recording.user_meter import CountsTokens, Meter
from loadgen.measure.convention_metrics import good_metric, good_ns, values_ns
from loadgen.measure.deltas.series_key import OK, SKIPPED
from loadgen.measure.streams import StreamTimes

__all__ = ["StreamMeter", "with_streams"]


class StreamMeter(Meter):
    """Records the stream metrics of the samples that it settles."""

    __slots__ = ()
    times_streams: ClassVar[bool] = True

    def settle(self) -> None:
        if not self._is_held:
            return
        held: Any = self._sample
        super().settle()
        figures = getattr(held, "stream_times", None)
        times: StreamTimes | None = None if figures is None else figures()
        if times is None:
            return
        outcome = held.outcome
        is_hop = outcome == OK and times.ttft_ns < 0 and times.output_tokens <= 0  # a redirect: no model answered
        running = held.take_running() if self.recorder.watches_streams else None
        if outcome == SKIPPED or is_hop:
            if running is not None:
                running.void()
            return
        streams = self.recorder.streams_of(held.series)
        if running is not None:
            running.over(streams)
        streams.ended(times, held.asked_ns, held.done_ns - held.asked_ns, outcome, held.wait_ns, held.own_limits)
        keeper = self.recorder.keeper
        if keeper is not None and (times.ttft_ns > keeper.bar_ns or keeper.hash(self.load, self.n) < keeper.below):
            keeper.ended(held, times, self.load, self.n)
        if outcome == OK:
            for name, found in held.convention_figures():
                warmup = held.series.key.warmup
                for metric, values in values_ns(name, found):
                    self.recorder.trend_series(metric, warmup=warmup).ok[0].extend(values)
                if (limits := self.recorder.exported_limits.get(name)) is not None:
                    good = self.recorder.trend_series(good_metric(name), warmup=warmup)
                    good.ok[0].append(good_ns(name, found, limits))


def with_streams(meter: type[Meter], tokenizer: CountsTokens | None = None) -> type[Meter]:
    """Return a class of meters that records stream metrics besides what `meter` records.

    tokenizer: counts the tokens of answers without usage; None: nothing does.
    """
    if meter is Meter and tokenizer is None:
        return StreamMeter
    bases = (StreamMeter,) if meter is Meter else (StreamMeter, meter)
    return type(f"Stream{meter.__name__}", bases, {"__slots__": (), "tokenizer": tokenizer})

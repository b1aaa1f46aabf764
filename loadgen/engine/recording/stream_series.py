"""Records the metrics of requests to AI models: time to first token, gaps between tokens, numbers of tokens.

A request to a model is a row like any other (`recorder.py`). Besides, its row has one `StreamSeries` with the values of
each stream metric. Each ended request has exactly one value of `ttft`, under its outcome. A request that failed before
its first token has the time until then as a lower bound. So the number of `ttft` values is the number of requests to
models, good and bad.

The values of a stream that failed belong to the series of its outcome, and never to those of `ok`.

A `goodput` objective sets limits for the metrics of one request. For each such objective there is one value a request,
in the series of kind "goodput": its outcome is `ok` if the request kept all limits, `SLOW` if it broke one, and the
request's own outcome if that failed. The value is its number of output tokens, so the sum of the good ones is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgen.engine.recording.recorded_series import MAX_OUTCOMES, Watch
from loadgen.measure.deltas.series_key import (
    GOODPUT_TAG,
    OK,
    OTHER,
    SLOW,
    STREAM_METRICS,
    TIMEOUT,
    TOKEN_NS,
    SeriesKey,
    StreamMetric,
)
from loadgen.measure.streams import StreamTimes

__all__ = ["Goodput", "StreamSeries", "limits_text"]

Values = tuple[list[int], ...]
"""A list of values for each of `STREAM_METRICS`."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """The limits of one goodput objective: what a good request must keep.

    limits: by metric, the greatest good value in ns. text: identifies the limits; equal limits have equal texts.
    """

    text: str
    limits: Mapping[StreamMetric | str, int] = field(default_factory=dict)

    def keeps(self, times: StreamTimes, ttft_due_ns: int | None) -> bool:
        """Return whether a request that ended ok kept all limits.

        ttft counts from when the request was due, if that is known. A metric that the request does not have, such as
        tpot of a single token, breaks no limit.
        """
        for metric, limit_ns in self.limits.items():
            value = _value(times, metric, ttft_due_ns)
            if value is not None and value > limit_ns:
                return False
        return True


def _value(times: StreamTimes, metric: str, ttft_due_ns: int | None) -> int | None:
    match metric:
        case "ttft":
            return times.ttft_ns if ttft_due_ns is None else ttft_due_ns
        case "ttft_due":
            return ttft_due_ns
        case "ttfo":
            return times.ttfo_ns
        case "tpot":
            return times.tpot_ns
        case "itl":
            return times.tpot_ns
        case "stall":
            return times.stall_ns
        case _:
            return times.e2e_ns

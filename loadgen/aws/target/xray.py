"""Reads the target's X-Ray traces of a run, and compares where slow and typical traces spend their time.

X-Ray writes a trace id as "1-EPOCH-96BITS": our 32 hex digits with two dashes. Everything blocks.
Source: AWS, "GetTraceSummaries" (pages, at most 24 h a call), "BatchGetTraces" (at most 5 traces a call).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.target.trace_time_breakdown import parts_of, segments_of
from loadgen.errors import CloudError, UsageError

__all__ = ["SLICE", "Part", "Traced", "compared", "find", "parts", "slow_and_typical"]

SLICE: Final = timedelta(minutes=10)
"""Each request covers this much of the run, because X-Ray is slow to answer requests that cover hours."""
_AT_ONCE: Final = 5
_SLOW: Final = 0.05
"""The part of all traces that counts as slow."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A trace and its response time, from X-Ray's trace summary."""

    trace_id: str
    """32 hex digits."""
    response_s: float
    """Response time of the trace's first service, by its own clock."""


@dataclass(frozen=True, slots=True)
class Part:
    """The time of one span in slow and typical traces.

    slow_ms, typical_ms: mean over all slow or typical traces; a trace without the span counts as 0 ms.
    """

    span: str
    slow_ms: float
    typical_ms: float
    slow_traces: int
    """The number of slow traces that contain the span."""

    @property
    def more_ms(self) -> float:
        """The mean time that slow traces spend longer in this span than typical ones."""
        return self.slow_ms - self.typical_ms


def find(clients: Clients, region: str, t0: datetime, end: datetime, only: str, most: int) -> list[Traced]:
    """List at most `most` traces that began in [t0, end), in slices of 10 minutes from the oldest.

    Args:
        only: a filter expression of X-Ray; empty: all traces.

    Raises:
        CloudError, CredentialsError: a call to AWS fails.
        UsageError: the region does not exist, or the filter expression is invalid.
    """
    client, found = clients.client("xray", region), dict[str, Traced]()
    more = {"FilterExpression": only} if only else {}
    at = t0
    while at < end and len(found) < most:
        until = min(at + SLICE, end)
        asked = {"StartTime": at, "EndTime": until, "TimeRangeType": "TraceId", "Sampling": False, **more}
        for one in _summaries(client, region, asked):
            trace_id = str(one["Id"]).removeprefix("1-").replace("-", "")
            found[trace_id] = Traced(trace_id, float(one.get("ResponseTime") or one.get("Duration") or 0.0))
            if len(found) >= most:
                break
        at += SLICE
    return list(found.values())


def parts(clients: Clients, region: str, trace_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read traces and return, by trace id, the seconds spent in each span. Incomplete traces are left out.

    Raises:
        CloudError, CredentialsError: a call to AWS fails.
    """
    client, found = clients.client("xray", region), dict[str, dict[str, float]]()
    for begin in range(0, len(trace_ids), _AT_ONCE):
        asked = [f"1-{one[:8]}-{one[8:]}" for one in trace_ids[begin : begin + _AT_ONCE]]
        for trace in _traces(client, region, asked):
            segments = segments_of(str(one["Document"]) for one in trace.get("Segments", ()))
            if segments and not trace.get("LimitExceeded") and (split := parts_of(segments)):
                found[str(trace["Id"]).removeprefix("1-").replace("-", "")] = split
    return found


def slow_and_typical(traced: Sequence[Traced], most: int) -> tuple[list[Traced], list[Traced]]:
    """Choose the slowest 5 % of the traces, at most `most`, slowest first; and as many around the median.

    traced: at least 2 traces.
    """
    by_time = sorted(traced, key=lambda one: one.response_s)
    number = max(1, min(most, round(len(by_time) * _SLOW)))
    begin = (len(by_time) - number) // 2
    return by_time[: -number - 1 : -1], by_time[begin : begin + number]


def compared(slow: Sequence[Mapping[str, float]], typical: Sequence[Mapping[str, float]]) -> list[Part]:
    """Compare the spans of slow and typical traces; the span with the largest difference comes first.

    slow, typical: for each trace the seconds by span.
    """
    names = sorted({name for one in (*slow, *typical) for name in one})
    made = [
        Part(name, _mean_ms(slow, name), _mean_ms(typical, name), sum(name in one for one in slow)) for name in names
    ]
    return sorted(made, key=lambda part: -part.more_ms)


def _mean_ms(traces: Sequence[Mapping[str, float]], name: str) -> float:
    return 1e3 * sum(one.get(name, 0.0) for one in traces) / len(traces) if traces else 0.0


def _summaries(client: Any, region: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    doing = f"list traces in {region}"
    try:
        yield from _pages(client.get_trace_summaries, "TraceSummaries", doing, asked)
    except CloudError as error:
        if "FilterExpression" in asked and error.message.endswith("InvalidRequestException"):
            raise UsageError(
                f"cannot {doing}: X-Ray rejected the filter {asked['FilterExpression']!r}",
                hint="write an X-Ray filter expression, e.g. --filter 'service(\"shop\") AND responsetime > 0.1'",
            ) from error
        raise


def _traces(client: Any, region: str, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield from _pages(client.batch_get_traces, "Traces", f"read traces in {region}", {"TraceIds": list(ids)})


def _pages(call: Any, name: str, doing: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        with aws_errors(doing):
            page = call(**asked, **more)
        yield from page.get(name, ())
        if not page.get("NextToken"):
            return
        more = {"NextToken": str(page["NextToken"])}

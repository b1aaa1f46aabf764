"""Traces of the target over a run, from X-Ray: which there are, to which spans their time went, slow beside typical.

X-Ray names a trace "1-EPOCH-96BITS", which are the 32 digits of ours with two dashes. Everything blocks.
Source: AWS, "GetTraceSummaries" (pages, at most 24 h a call), "BatchGetTraces" (at most 5 traces a call).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.target.segments import parts_of, segments_of
from loadgen.errors import CloudError, UsageError

__all__ = ["SLICE", "Part", "Traced", "compared", "find", "parts", "slow_and_typical"]

SLICE: Final = timedelta(minutes=10)
"""So much of the run is asked for at once: a question over hours takes X-Ray long."""
_AT_ONCE: Final = 5
_SLOW: Final = 0.05
"""Of all traces, the slowest."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A trace, as its summary has it."""

    trace_id: str
    """32 hex digits."""
    response_s: float
    """Of the service that answered first, by its own clock."""


@dataclass(frozen=True, slots=True)
class Part:
    """One span. Mean ms a trace; a trace in which it is not counts with 0."""

    span: str
    slow_ms: float
    typical_ms: float
    slow_traces: int
    """Slow ones in which it is."""

    @property
    def more_ms(self) -> float:
        return self.slow_ms - self.typical_ms


def find(clients: Clients, region: str, t0: datetime, end: datetime, only: str, most: int) -> list[Traced]:
    """Traces that began in [t0, end), the oldest slice first; at most `most`.

    Args:
        only: a filter expression of X-Ray's; "" for all.

    Raises:
        CloudError, CredentialsError: AWS refuses, or is not there.
        UsageError: there is no such region, or X-Ray does not understand `only`.
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
    """Seconds by span, of each trace that X-Ray has whole; others are not there.

    Raises:
        CloudError, CredentialsError: AWS refuses, or is not there.
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
    """The slowest twentieth, at most `most`, slowest first; and as many from the middle of all. traced: at least 2."""
    by_time = sorted(traced, key=lambda one: one.response_s)
    number = max(1, min(most, round(len(by_time) * _SLOW)))
    begin = (len(by_time) - number) // 2
    return by_time[: -number - 1 : -1], by_time[begin : begin + number]


def compared(slow: Sequence[Mapping[str, float]], typical: Sequence[Mapping[str, float]]) -> list[Part]:
    """Spans of two sets of traces, each in s by span; those that make the difference first."""
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
                f"cannot {doing}: X-Ray does not understand {asked['FilterExpression']!r}",
                hint="as in --filter 'service(\"shop\") AND responsetime > 0.1'",
            ) from error
        raise


def _traces(client: Any, region: str, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield from _pages(client.batch_get_traces, "Traces", f"read traces in {region}", {"TraceIds": list(ids)})


def _pages(call: Any, name: str, doing: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        with told(doing):
            page = call(**asked, **more)
        yield from page.get(name, ())
        if not page.get("NextToken"):
            return
        more = {"NextToken": str(page["NextToken"])}

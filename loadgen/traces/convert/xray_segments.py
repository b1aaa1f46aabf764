"""X-Ray's segment documents, as BatchGetTraces returns them and as services send them.

A segment is the work of one service, and its subsegments are calls and parts within it. A segment that answered a call
has that call's subsegment as its parent. Segments that X-Ray itself inferred for services without tracing are left
out: they have the times of the call once more.

Times are s with a fraction, in floating point; they are read to the µs, which is what a double holds.

Source: AWS, "X-Ray segment documents".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.fields import WHOLE, decoded, parent_id, span_id, whole_ns
from loadgen.traces.convert.spans import SpanCollector, at
from loadgen.traces.model import MOST_SPANS, Kind, Status, Trace

__all__ = ["FORMAT", "collect_xray", "collect_xray_answer", "traces_of_xray"]

FORMAT: Final = "X-Ray segment"
_US: Final = 1_000
_DEEPEST: Final = 1_000
"""Levels of subsegments. X-Ray accepts at most 64 kB for a segment."""
_Object = dict[str, Any]


class _Segment(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    start_time: float | None = None
    end_time: float | None = None
    in_progress: bool | None = None
    inferred: bool | None = None
    namespace: str | None = None
    origin: str | None = None
    error: bool | None = None
    fault: bool | None = None
    throttle: bool | None = None
    http: _Object | None = None
    sql: _Object | None = None
    aws: _Object | None = None
    service: _Object | None = None
    annotations: _Object | None = None
    subsegments: list[_Segment] | None = None


class _Part(msgspec.Struct):
    Document: str | None = None


class _Trace(msgspec.Struct):
    Id: str | None = None
    Segments: list[_Part] | None = None
    LimitExceeded: bool | None = None
    """The trace is larger than 500 kB, and the answer has only some of its segments."""


class _Answer(msgspec.Struct):
    Traces: list[_Trace] | None = None


_DECODER: Final = msgspec.json.Decoder(_Segment)
_ANSWER: Final = msgspec.json.Decoder(_Answer)


def traces_of_xray(documents: Iterable[str | bytes], keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of segment documents in any order.

    keep: names or patterns of attributes beyond the usual ones; an annotation has its own name.

    Raises:
        TraceFormatError: a document is no segment, or has an invalid id or time.
    """
    found = SpanCollector(keep)
    collect_xray(documents, found)
    return found.traces()


def collect_xray_answer(data: bytes, into: SpanCollector) -> None:
    """Add the segments of an answer of BatchGetTraces, as `aws xray batch-get-traces` prints it.

    Raises:
        TraceFormatError: this is no such answer, or see `traces_of_xray`.
    """
    traces = decoded(_ANSWER, data, "answer of BatchGetTraces").Traces or ()
    collect_xray([part.Document for trace in traces for part in trace.Segments or () if part.Document], into)
    for trace in traces:
        if trace.LimitExceeded and (wanted := into.wanted(trace.Id)) is not None:
            into.cut(wanted)


def collect_xray(documents: Iterable[str | bytes], into: SpanCollector) -> None:
    """Add the segments and subsegments of documents.

    Raises:
        TraceFormatError: see `traces_of_xray`.
    """
    for number, document in enumerate(documents, 1):
        try:
            data = document.encode() if isinstance(document, str) else document
        except UnicodeError:
            raise TraceFormatError(f"{FORMAT} {number}: invalid text", hint=WHOLE) from None
        segment = decoded(_DECODER, data, f"{FORMAT} {number}")
        try:
            _collect(segment, into)
        except TraceFormatError as error:
            raise at(error, f"{FORMAT} {number}") from None


def _collect(segment: _Segment, into: SpanCollector) -> None:
    wanted = into.wanted(segment.trace_id)
    if wanted is None or segment.inferred:
        return
    is_segment = segment.type != "subsegment"
    # A subsegment that was sent on its own has the name of its call, and not that of the service.
    service = segment.name or "" if is_segment else ""
    process = list(_process(segment))
    waiting = [(segment, parent_id(segment.parent_id), is_segment, 0)]
    done = 0
    while waiting:
        one, parent, is_server, depth = waiting.pop()
        if done >= MOST_SPANS or depth > _DEEPEST:
            into.cut(wanted)
            continue
        done += 1
        id = span_id(one.id)
        _add(one, id, parent, service, is_server, process, wanted, into)
        waiting += [(each, id, False, depth + 1) for each in reversed(one.subsegments or ())]


def _add(
    one: _Segment,
    id: str,
    parent: str,
    service: str,
    is_server: bool,
    process: list[tuple[str, object]],
    trace: str,
    into: SpanCollector,
) -> None:
    if one.start_time is None:
        raise TraceFormatError("missing start_time: each segment must have one")
    kind: Kind = "server" if is_server else "client" if one.namespace or one.sql else "internal"
    status: Status = "error" if one.fault or one.error or one.throttle else "unset"
    into.add_flat(
        trace,
        id=id,
        parent=parent,
        service=service,
        name=_name(one, is_server),
        kind=kind,
        status=status,
        start_ns=_time_ns(one.start_time),
        end_ns=None if one.end_time is None or one.in_progress else _time_ns(one.end_time),
        tags=chain(process, _pairs(one, is_server)),
        resolution_ns=_US,
    )


def _time_ns(seconds: float) -> int:
    """Return a time in whole µs as ns. A double of today's times has steps of 0.24 µs."""
    return whole_ns(seconds * 1e6, 1) * _US


def _name(one: _Segment, is_server: bool) -> str:
    """Return "POST /checkout" for a segment of a request, because its name is that of the service."""
    request = _inner(one.http, "request")
    url, method = request.get("url"), request.get("method")
    if is_server and isinstance(url, str) and isinstance(method, str):
        return f"{method} {_path(url)}"
    return one.name or ""


def _path(url: str) -> str:
    """Return the path of a URL, "/" if the text is no URL."""
    try:
        path = urlsplit(url).path.split(" ")[0]
    except ValueError:
        return "/"
    return path if path.startswith("/") else "/"


def _inner(value: _Object | None, name: str) -> _Object:
    inner = (value or {}).get(name)
    return inner if isinstance(inner, dict) else {}


def _pairs(one: _Segment, is_server: bool) -> Iterator[tuple[str, object]]:
    """Yield what the document says in the names of the semantic conventions, then its annotations."""
    request, response = _inner(one.http, "request"), _inner(one.http, "response")
    yield "http.request.method", request.get("method")
    yield "http.response.status_code", response.get("status")
    yield "http.response.body.size", response.get("content_length")
    url = request.get("url")
    if isinstance(url, str):
        yield ("url.path", _path(url)) if is_server else ("url.full", url)
    if one.sql is not None:
        yield "db.system.name", one.sql.get("database_type")
        yield "db.query.text", one.sql.get("sanitized_query")
    if one.aws is not None:
        if one.namespace == "aws" and isinstance(operation := one.aws.get("operation"), str):
            yield "rpc.system", "aws-api"
            yield "rpc.service", one.name
            yield "rpc.method", operation
        yield "http.request.resend_count", one.aws.get("retries")
    yield from (one.annotations or {}).items()


def _process(segment: _Segment) -> Iterator[tuple[str, object]]:
    """Yield the attributes of the process, which its subsegments share, in the names of the semantic conventions."""
    yield "service.version", (segment.service or {}).get("version")
    yield "cloud.platform", segment.origin
    yield "service.instance.id", _inner(segment.aws, "ec2").get("instance_id")
    yield "cloud.availability_zone", _inner(segment.aws, "ec2").get("availability_zone")
    yield "container.id", _inner(segment.aws, "ecs").get("container_id")
    yield "k8s.pod.name", _inner(segment.aws, "eks").get("pod")

"""Jaeger's JSON: the answer of its query service, and the file that its page saves.

Times are whole µs. A parent is the first CHILD_OF reference of the same trace. Without one it is the first
FOLLOWS_FROM reference, as in Jaeger's own model; such a span is also linked to its parent and counts as a consumer,
because a parent does not wait for what follows from it.

Source: jaeger `model/json` (the types of the query service), `Span.ParentSpanID` of jaeger-idl.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.fields import AGAIN, decoded, kind_named, parent_id, span_id, trace_id, whole_ns
from loadgen.traces.convert.spans import MOST_LINKS, SpanCollector, at
from loadgen.traces.model import Kind, Status, Trace

__all__ = ["FORMAT", "collect_jaeger", "traces_of_jaeger"]

FORMAT: Final = "Jaeger JSON"
_US: Final = 1_000


class _Tag(msgspec.Struct, gc=False):
    key: str | None = None
    value: str | int | float | bool | None = None


class _Reference(msgspec.Struct, gc=False):
    refType: str | None = None
    traceID: str | None = None
    spanID: str | None = None


class _Process(msgspec.Struct, gc=False):
    serviceName: str | None = None
    tags: list[_Tag] | None = None


class _Span(msgspec.Struct, gc=False):
    traceID: str | None = None
    spanID: str | None = None
    parentSpanID: str | None = None
    operationName: str | None = None
    references: list[_Reference] | None = None
    startTime: int | float | None = None
    duration: int | float | None = None
    tags: list[_Tag] | None = None
    processID: str | None = None
    process: _Process | None = None


class _Trace(msgspec.Struct, gc=False):
    traceID: str | None = None
    spans: list[_Span] | None = None
    processes: dict[str, _Process] | None = None


class _Answer(msgspec.Struct, gc=False):
    data: list[_Trace] | None = None
    errors: list[object] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_LIST: Final = msgspec.json.Decoder(list[_Trace])
_ONE: Final = msgspec.json.Decoder(_Trace)


def traces_of_jaeger(data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of `{"data": [...]}`, of a list of traces, or of one trace.

    keep: names or patterns of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the document is not Jaeger's JSON, is Jaeger's answer with an error, or has an invalid id or
            time.
    """
    found = SpanCollector(keep)
    collect_jaeger(data, found)
    return found.traces()


def collect_jaeger(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one document.

    Raises:
        TraceFormatError: see `traces_of_jaeger`.
    """
    if data.lstrip().startswith(b"["):
        traces = decoded(_LIST, data, FORMAT)
    else:
        answer = decoded(_ANSWER, data, FORMAT)
        if not answer.data and answer.errors:
            raise TraceFormatError(f"{FORMAT}: this is an answer with an error and without traces", hint=AGAIN)
        traces = answer.data if answer.data is not None else [decoded(_ONE, data, FORMAT)]
    for number, trace in enumerate(traces, 1):
        processes = {id: _process(one, into) for id, one in (trace.processes or {}).items()}
        for n_span, span in enumerate(trace.spans or (), 1):
            try:
                _add(span, trace, processes, into)
            except TraceFormatError as error:
                raise at(error, f"{FORMAT}: trace {number}, span {n_span}") from None


_Known = tuple[str, dict[str, str | int | float | bool]]


def _process(process: _Process, into: SpanCollector) -> _Known:
    """Return the name of the service, and the attributes of its process."""
    return process.serviceName or "", into.attributes.kept(_pairs(process.tags))


def _add(span: _Span, trace: _Trace, processes: dict[str, _Known], into: SpanCollector) -> None:
    wanted = into.wanted(span.traceID or trace.traceID)
    if wanted is None:
        return
    kind: Kind = "internal"
    status: Status = "unset"
    for tag in span.tags or ():
        if tag.key == "span.kind" and isinstance(tag.value, str):
            kind = kind_named(tag.value)
        elif tag.key == "otel.status_code" and tag.value in ("OK", "ERROR"):
            status = "ok" if tag.value == "OK" else "error"
        elif tag.key == "error" and tag.value in (True, "true"):
            status = "error"
    parent, links, follows = _references(span, trace)
    if follows and kind == "internal":
        kind = "consumer"
    if span.process is not None:
        service, resource = _process(span.process, into)
    else:
        service, resource = processes.get(span.processID or "", ("", {}))
    if span.startTime is None:
        raise TraceFormatError("missing startTime: each span must have one")
    start_ns = whole_ns(span.startTime, _US)
    into.add_flat(
        wanted,
        id=span_id(span.spanID),
        parent=parent,
        service=service,
        name=span.operationName or "",
        kind=kind,
        status=status,
        start_ns=start_ns,
        end_ns=None if span.duration is None else whole_ns(start_ns + whole_ns(span.duration, _US), 1),
        tags=_pairs(span.tags),
        resource=resource,
        links=links,
        resolution_ns=_US,
    )


def _references(span: _Span, trace: _Trace) -> tuple[str, tuple[str, ...], bool]:
    """Return (id of the parent, ids of linked spans, whether the parent is one that this span follows from)."""
    own = trace_id(span.traceID or trace.traceID)
    parent, follows_from = parent_id(span.parentSpanID), ""
    links: list[str] = []
    for one in (span.references or ())[: MOST_LINKS + 1]:
        id = span_id(one.spanID)
        is_own = not one.traceID or trace_id(one.traceID) == own
        if is_own and one.refType == "CHILD_OF" and not parent:
            parent = id
        elif id != parent:
            links.append(id)
            if is_own and one.refType == "FOLLOWS_FROM":
                follows_from = follows_from or id
    return parent or follows_from, tuple(links), not parent and bool(follows_from)


def _pairs(tags: list[_Tag] | None) -> Iterator[tuple[str, object]]:
    return ((tag.key, tag.value) for tag in tags or () if tag.key)

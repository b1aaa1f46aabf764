"""OTLP as JSON: reads it, and writes the traces that are kept.

Read are the messages of the OpenTelemetry Collector's file exporter and of `ExportTraceServiceRequest`; Jaeger's answer
with them in `result`; Tempo's with `batches` or `trace`, whose ids are base64. A document is one object, or one object
a line, in which a trace may be spread over several lines.

Written is one line for each trace: a plain OTLP message, so that other tools can read it. It carries what OTLP has no
field for in attributes with names that begin with `loadgen.`.

Source: opentelemetry-proto, docs "OTLP/HTTP JSON Protobuf Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.attributes import operation_of
from loadgen.traces.convert.fields import (
    AGAIN,
    KINDS,
    WHOLE,
    checked_start,
    decoded,
    kind_named,
    nanoseconds,
    parent_id,
    span_id,
    trace_id,
)
from loadgen.traces.convert.redaction import clean_text
from loadgen.traces.convert.spans import MOST_LINKS, UNKNOWN_SERVICE, SpanCollector, at
from loadgen.traces.model import Kind, Span, Status, Trace, Value

__all__ = ["FORMAT", "IS_CUT", "RESOLUTION", "collect_otlp_json", "otlp_json_line", "trace_of_kept_line"]
__all__ += ["traces_of_otlp_json"]

FORMAT: Final = "OTLP JSON"
RESOLUTION: Final = "loadgen.resolution_ns"
"""The attribute of a written span with `Span.resolution_ns`, if it is not 1."""
IS_CUT: Final = "loadgen.is_cut"
"""The attribute of the scope of a written trace whose source returned only some of its spans."""
_T = TypeVar("_T")
_SCOPE: Final = "loadgen.traces"
_SERVICE: Final = "service.name"


class _Scalar(msgspec.Struct, gc=False):
    stringValue: str | None = None
    intValue: int | str | None = None
    doubleValue: float | str | None = None
    boolValue: bool | None = None


class _Array(msgspec.Struct, gc=False):
    values: list[_Scalar] | None = None


class _Any(_Scalar, gc=False):
    arrayValue: _Array | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str | None = None
    value: _Any | None = None


class _Link(msgspec.Struct, gc=False):
    spanId: str | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | str | None = None


class _Span(msgspec.Struct, gc=False):
    traceId: str | None = None
    spanId: str | None = None
    parentSpanId: str | None = None
    name: str | None = None
    kind: int | str | None = None
    startTimeUnixNano: int | str | None = None
    endTimeUnixNano: int | str | None = None
    attributes: msgspec.Raw = msgspec.Raw()
    links: list[_Link] | None = None
    status: _Status | None = None


class _Scope(msgspec.Struct, gc=False):
    attributes: list[_Pair] | None = None


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _Scope | None = None
    spans: list[_Span] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: msgspec.Raw = msgspec.Raw()


class _ResourceSpans(msgspec.Struct, gc=False):
    resource: _Resource | None = None
    scopeSpans: list[_ScopeSpans] | None = None
    instrumentationLibrarySpans: list[_ScopeSpans] | None = None


class _Spans(msgspec.Struct, gc=False):
    resourceSpans: list[_ResourceSpans] | None = None
    batches: list[_ResourceSpans] | None = None


class _Document(_Spans, gc=False):
    result: _Spans | None = None
    trace: _Spans | None = None
    status: Any = None
    """Of Tempo's answer: whether parts of the trace are missing."""


class _KeptSpan(msgspec.Struct, gc=False):
    traceId: str
    spanId: str
    startTimeUnixNano: int
    parentSpanId: str = ""
    name: str = ""
    kind: int = 0
    endTimeUnixNano: int | None = None
    attributes: msgspec.Raw = msgspec.Raw()
    links: list[_Link] | None = None
    status: _Status | None = None


class _KeptScope(msgspec.Struct, gc=False):
    scope: _Scope | None = None
    spans: list[_KeptSpan] = []


class _KeptGroup(msgspec.Struct, gc=False):
    resource: _Resource | None = None
    scopeSpans: list[_KeptScope] = []


class _KeptDocument(msgspec.Struct, gc=False):
    resourceSpans: list[_KeptGroup] = []


_DECODER: Final = msgspec.json.Decoder(_Document)
_KEPT_DECODER: Final = msgspec.json.Decoder(_KeptDocument, strict=False)
"""Reads numbers in quotes as numbers."""
_PAIRS: Final = msgspec.json.Decoder(list[_Pair] | None)
_NO_PAIRS: Final = (b"", b"null", b"[]")
_MOST_REMEMBERED: Final = 4_096
_LONGEST_REMEMBERED: Final = 2_048
"""Bytes of the JSON of attributes that is remembered. Spans repeat theirs."""
_ENCODER: Final = msgspec.json.Encoder()
_STATUS: Final[dict[int | str | None, Status]] = {
    1: "ok",
    2: "error",
    "STATUS_CODE_OK": "ok",
    "STATUS_CODE_ERROR": "error",
}
_PARTIAL: Final = ("PARTIAL", 1)
_CODES: Final[dict[Status, int]] = {"unset": 0, "ok": 1, "error": 2}
_NUMBERS: Final[dict[Kind, int]] = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


def traces_of_otlp_json(data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of an OTLP JSON document: one object, or one object a line.

    keep: names or patterns of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the document is no OTLP JSON, or has an invalid id or time.
    """
    found = SpanCollector(keep)
    try:
        collect_otlp_json(data, found)
    except TraceFormatError as whole:
        lines = [line for line in data.split(b"\n") if line.strip()]
        if len(lines) < 2 or not lines[0].rstrip().endswith(b"}"):
            raise
        found = SpanCollector(keep)
        for number, line in enumerate(lines, 1):
            try:
                collect_otlp_json(line, found)
            except TraceFormatError as error:
                # A document in several lines has its error in the first one, and it is no error of a line.
                raise (whole if number == 1 else at(error, f"line {number}")) from None
    return found.traces()


def collect_otlp_json(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one JSON object. HOT: once for each trace of a kept file; 0.4 ms for 40 spans (bench/traces.py).

    Raises:
        TraceFormatError: see `traces_of_otlp_json`.
    """
    document = decoded(_DECODER, data, FORMAT)
    number = 0
    is_partial = document.trace is not None and document.status in _PARTIAL
    for part in (document, document.result, document.trace):
        if part is None:
            continue
        for group in (*(part.resourceSpans or ()), *(part.batches or ())):
            service, resource = _process(group.resource, into)
            for scope in (*(group.scopeSpans or ()), *(group.instrumentationLibrarySpans or ())):
                is_cut = is_partial or (scope.scope is not None and _is_cut(scope.scope))
                for span in scope.spans or ():
                    number += 1
                    try:
                        _add(span, service, resource, is_cut, into)
                    except TraceFormatError as error:
                        raise at(error, f"{FORMAT}: span {number}") from None


def _process(resource: _Resource | None, into: SpanCollector) -> tuple[str, dict[str, Value]]:
    """Return the name of the service, and the attributes of its process."""
    if resource is None:
        return UNKNOWN_SERVICE, {}
    data = bytes(resource.attributes)
    if data in _NO_PAIRS:
        return UNKNOWN_SERVICE, {}
    known = into.attributes.processes.get(data)
    if known is None:
        pairs = _decoded_pairs(data)
        service = UNKNOWN_SERVICE
        for pair in pairs:
            if pair.key == _SERVICE and pair.value is not None and pair.value.stringValue:
                service = clean_text(pair.value.stringValue)
        known = service, into.attributes.kept(_pairs(pairs))
        _remember(into.attributes.processes, data, known)
    return known


def _add(span: _Span, service: str, resource: dict[str, Value], is_cut: bool, into: SpanCollector) -> None:
    trace = into.wanted(span.traceId)
    if trace is None:
        return
    kind = _kind(span.kind)
    attributes, resolution = _of_span(bytes(span.attributes), into)
    end_ns = nanoseconds(span.endTimeUnixNano)
    into.add(
        trace,
        Span(
            span_id(span.spanId),
            parent_id(span.parentSpanId),
            service,
            operation_of(span.name or "", kind, attributes),
            checked_start(nanoseconds(span.startTimeUnixNano)),
            end_ns or None,
            kind,
            _STATUS.get(span.status.code, "unset") if span.status is not None else "unset",
            attributes,
            resource,
            tuple(span_id(link.spanId) for link in span.links[:MOST_LINKS]) if span.links else (),
            resolution,
        ),
    )
    if is_cut:
        into.cut(trace)


def _of_span(data: bytes, into: SpanCollector) -> tuple[dict[str, Value], int]:
    """Return the attributes of a span to keep, and its resolution, ns. Equal ones are the same object."""
    if data in _NO_PAIRS:
        return {}, 1
    known = into.attributes.spans.get(data)
    if known is None:
        pairs = _decoded_pairs(data)
        known = into.attributes.kept(_pairs(pairs)), _resolution(pairs)
        _remember(into.attributes.spans, data, known)
    return known


def _decoded_pairs(data: bytes) -> list[_Pair]:
    """Return the attributes as pairs.

    Raises:
        TraceFormatError: they have values of wrong types.
    """
    try:
        return _PAIRS.decode(data) or []
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise TraceFormatError(f"invalid attributes: {error}", hint=WHOLE) from None


def _remember(known: dict[bytes, _T], data: bytes, value: _T) -> None:
    if len(data) <= _LONGEST_REMEMBERED:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[data] = value


def _kind(kind: int | str | None) -> Kind:
    if isinstance(kind, str):
        return kind_named(kind)
    return KINDS[kind] if kind is not None and 0 <= kind < len(KINDS) else "internal"


def _pairs(pairs: list[_Pair]) -> Iterator[tuple[str, object]]:
    for pair in pairs:
        if (value := pair.value) is not None and pair.key:
            if value.stringValue is not None:
                yield pair.key, value.stringValue
            else:
                yield pair.key, _plain(value)


def _plain(value: _Scalar) -> object:
    """Return the value of an attribute; None for bytes and maps."""
    if value.stringValue is not None:
        return value.stringValue
    if (number := value.intValue) is not None:
        if isinstance(number, int):
            return number
        digits = number.removeprefix("-")
        return int(number) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
    if value.boolValue is not None:
        return value.boolValue
    if value.doubleValue is not None:
        return value.doubleValue if isinstance(value.doubleValue, float) else None
    if isinstance(value, _Any) and value.arrayValue is not None:
        return [_plain(each) for each in value.arrayValue.values or ()]
    return None


def _resolution(pairs: list[_Pair]) -> int:
    """Return the resolution that `otlp_json_line` wrote, ns; 1 without."""
    for pair in pairs:
        if pair.key == RESOLUTION and pair.value is not None:
            found = _plain(pair.value)
            return found if isinstance(found, int) and 1 <= found <= 10**10 else 1
    return 1


def _is_cut(scope: _Scope) -> bool:
    return any(
        pair.key == IS_CUT and pair.value is not None and pair.value.boolValue is True
        for pair in scope.attributes or ()
    )


def otlp_json_line(trace: Trace) -> bytes:
    r"""Return a trace as one line of OTLP JSON, with its line end. `trace_of_kept_line` returns the same trace.

    The line has no other values than those of the trace, so all of them are cleaned already. A trace without spans
    becomes a line without spans. Spans of one service and process stand together, in their order.
    """
    groups: dict[tuple[str, int], list[Span]] = {}
    ordered: list[tuple[str, dict[str, Value], list[Span]]] = []
    for span in trace.spans:
        # Neighbours share one mapping with the attributes of their process, as readers return them.
        key = (span.service, id(span.resource))
        if ordered and key in groups and groups[key] is ordered[-1][2]:
            groups[key].append(span)
        else:
            groups[key] = [span]
            ordered.append((span.service, dict(span.resource), groups[key]))
    scope: dict[str, object] = {"name": _SCOPE}
    if trace.is_cut:
        scope["attributes"] = _written({IS_CUT: True})
    return (
        _ENCODER.encode(
            {
                "resourceSpans": [
                    {
                        "resource": {"attributes": _written({_SERVICE: service, **resource})},
                        "scopeSpans": [{"scope": scope, "spans": [_written_span(trace.id, span) for span in spans]}],
                    }
                    for service, resource, spans in ordered
                ]
            }
        )
        + b"\n"
    )


def _written_span(trace: str, span: Span) -> dict[str, object]:
    written: dict[str, object] = {"traceId": trace, "spanId": span.id}
    if span.parent:
        written["parentSpanId"] = span.parent
    written |= {"name": span.operation, "kind": _NUMBERS[span.kind], "startTimeUnixNano": str(span.start_ns)}
    if span.end_ns is not None:
        written["endTimeUnixNano"] = str(span.end_ns)
    if written_attributes := _written_of(span):
        written["attributes"] = written_attributes
    if span.links:
        written["links"] = [{"spanId": link} for link in span.links]
    if span.status != "unset":
        written["status"] = {"code": _CODES[span.status]}
    return written


_written_of_spans: dict[int, tuple[Mapping[str, Value], msgspec.Raw]] = {}


def _written_of(span: Span) -> msgspec.Raw | list[dict[str, object]]:
    """Return the written attributes of a span. Spans that share a mapping are written once."""
    attributes = span.attributes
    if span.resolution_ns != 1:
        return _written({**attributes, RESOLUTION: span.resolution_ns})
    if not attributes:
        return []
    known = _written_of_spans.get(id(attributes))
    if known is None:
        if len(_written_of_spans) >= _MOST_REMEMBERED:
            _written_of_spans.clear()
        # The mapping is held, so no other one can get its id.
        known = attributes, msgspec.Raw(_ENCODER.encode(_written(attributes)))
        _written_of_spans[id(attributes)] = known
    return known[1]


def _written(attributes: Mapping[str, Value]) -> list[dict[str, object]]:
    return [{"key": name, "value": _written_value(value)} for name, value in attributes.items()]


def _written_value(value: Value) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def trace_of_kept_line(line: bytes) -> Trace | None:
    """Return the trace of a line that `otlp_json_line` wrote, as it was; None if it has no spans.

    Its attributes are taken as they are: they were cleaned before they were written, and a user's `keep` may have
    allowed them. Only read lines of our own run folders with this function.

    Raises:
        TraceFormatError: the line was not written by `otlp_json_line`, or it is damaged.
    """
    document = decoded(_KEPT_DECODER, line, FORMAT)
    spans: list[Span] = []
    trace, is_cut = "", False
    for group in document.resourceSpans:
        service, resource = _kept_process(b"" if group.resource is None else bytes(group.resource.attributes))
        for scope in group.scopeSpans:
            is_cut = is_cut or (scope.scope is not None and _is_cut(scope.scope))
            for span in scope.spans:
                trace = trace or trace_id(span.traceId)
                spans.append(_kept_span(span, service, resource))
    return Trace(trace, tuple(spans), is_cut) if spans else None


def _kept_span(span: _KeptSpan, service: str, resource: dict[str, Value]) -> Span:
    """Return a span of a kept line. HOT: called for each span. Its ids and times were checked before they were kept."""
    attributes, resolution = _kept_attributes(bytes(span.attributes))
    end_ns = span.endTimeUnixNano
    if len(span.spanId) != 16 or span.startTimeUnixNano < 0 or (end_ns is not None and end_ns < 0):
        raise TraceFormatError("damaged line of a trace", hint=AGAIN)
    return Span(
        span.spanId,
        span.parentSpanId,
        service,
        span.name,
        span.startTimeUnixNano,
        end_ns,
        KINDS[span.kind] if 0 <= span.kind < len(KINDS) else "internal",
        _STATUS.get(span.status.code, "unset") if span.status is not None else "unset",
        attributes,
        resource,
        tuple([span_id(link.spanId) for link in span.links]) if span.links else (),
        resolution,
    )


_kept_of_spans: dict[bytes, tuple[dict[str, Value], int]] = {}
_kept_of_processes: dict[bytes, tuple[str, dict[str, Value]]] = {}
_EMPTY: Final[dict[str, Value]] = {}


def _kept_attributes(data: bytes) -> tuple[dict[str, Value], int]:
    """Return the attributes of a kept span, and its resolution, ns. Equal ones are the same object."""
    if data in _NO_PAIRS:
        return _EMPTY, 1
    known = _kept_of_spans.get(data)
    if known is None:
        attributes = dict(_kept(_decoded_pairs(data)))
        resolution = attributes.pop(RESOLUTION, 1)
        known = attributes, resolution if isinstance(resolution, int) and resolution > 0 else 1
        _remember(_kept_of_spans, data, known)
    return known


def _kept_process(data: bytes) -> tuple[str, dict[str, Value]]:
    """Return the service and the attributes of a kept process."""
    known = _kept_of_processes.get(data)
    if known is None:
        resource = dict(_kept([] if data in _NO_PAIRS else _decoded_pairs(data)))
        known = str(resource.pop(_SERVICE, UNKNOWN_SERVICE)), resource
        _remember(_kept_of_processes, data, known)
    return known


def _kept(pairs: list[_Pair]) -> Iterator[tuple[str, Value]]:
    for pair in pairs:
        value = _plain(pair.value) if pair.value is not None else None
        if pair.key and isinstance(value, str | int | float):
            yield pair.key, value

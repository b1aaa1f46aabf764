"""OTLP as protobuf: what exporters send over HTTP or gRPC, and what Tempo answers.

`ExportTraceServiceRequest`, `TracesData` and Tempo's `Trace` have the same bytes: field 1 is repeated ResourceSpans.

The messages are those of `opentelemetry-proto` from the extra `outputs`, imported at the first call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from loadgen.errors import TraceFormatError
from loadgen.extras import missing_package
from loadgen.traces.convert.attributes import operation_of
from loadgen.traces.convert.fields import KINDS, MOST_BYTES, WHOLE, checked_start, whole_ns
from loadgen.traces.convert.otlp_json import IS_CUT, RESOLUTION
from loadgen.traces.convert.redaction import clean_text
from loadgen.traces.convert.spans import MOST_LINKS, UNKNOWN_SERVICE, SpanCollector, at
from loadgen.traces.model import Kind, Span, Status, Trace, Value

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["FORMAT", "collect_otlp", "traces_of_otlp"]

FORMAT: Final = "OTLP protobuf"
_STATUS: Final[dict[int, Status]] = {1: "ok", 2: "error"}


def traces_of_otlp(data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of an OTLP message.

    keep: names or patterns of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the bytes are no such message, or it has an invalid id or time.
        UsageError: `opentelemetry-proto` is not installed.
    """
    found = SpanCollector(keep)
    collect_otlp(data, found)
    return found.traces()


def collect_otlp(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one message.

    Raises:
        TraceFormatError, UsageError: see `traces_of_otlp`.
    """
    request, decode_error = _messages()
    if len(data) > MOST_BYTES:
        raise TraceFormatError(
            f"{FORMAT}: the message has {len(data) >> 20} MiB, at most {MOST_BYTES >> 20} are allowed"
        )
    try:
        message = request.FromString(data)
    except decode_error:
        raise TraceFormatError(f"{FORMAT}: these bytes are no message with spans", hint=WHOLE) from None
    number = 0
    for group in message.resource_spans:
        service, resource = _process(group.resource.attributes, into)
        for scope in group.scope_spans:
            is_cut = any(pair.key == IS_CUT and pair.value.bool_value for pair in scope.scope.attributes)
            for span in scope.spans:
                number += 1
                try:
                    _add(span, service, resource, is_cut, into)
                except TraceFormatError as error:
                    raise at(error, f"{FORMAT}: span {number}") from None


@cache
def _messages() -> tuple[type[Any], type[Exception]]:
    """Return the message of a request, and the error of invalid bytes."""
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError:
        raise missing_package("reading OTLP protobuf", "opentelemetry-proto", "outputs") from None
    return ExportTraceServiceRequest, DecodeError


def _process(attributes: Sequence[Any], into: SpanCollector) -> tuple[str, dict[str, Value]]:
    service = UNKNOWN_SERVICE
    for pair in attributes:
        if pair.key == "service.name" and pair.value.string_value:
            service = clean_text(pair.value.string_value)
    return service, into.attributes.kept(_pairs(attributes))


def _add(span: Any, service: str, resource: dict[str, Value], is_cut: bool, into: SpanCollector) -> None:
    trace = into.wanted(span.trace_id.hex() if len(span.trace_id) == 16 else "")
    if trace is None:
        return
    id, parent = span.span_id, span.parent_span_id
    if len(id) != 8 or not any(id):
        raise TraceFormatError("missing or invalid span id: must be 8 bytes, and not all 0")
    if len(parent) not in (0, 8):
        raise TraceFormatError("invalid parent id: must be 8 bytes")
    kind: Kind = KINDS[span.kind] if 0 <= span.kind < len(KINDS) else "internal"
    attributes = into.attributes.kept(_pairs(span.attributes))
    into.add(
        trace,
        Span(
            id.hex(),
            parent.hex() if any(parent) else "",
            service,
            operation_of(span.name, kind, attributes),
            checked_start(whole_ns(span.start_time_unix_nano, 1)),
            whole_ns(span.end_time_unix_nano, 1) or None,
            kind,
            _STATUS.get(span.status.code, "unset"),
            attributes,
            resource,
            tuple(link.span_id.hex() for link in span.links[:MOST_LINKS] if len(link.span_id) == 8),
            _resolution(span.attributes),
        ),
    )
    if is_cut:
        into.cut(trace)


def _resolution(attributes: Sequence[Any]) -> int:
    for pair in attributes:
        if pair.key == RESOLUTION and 1 <= pair.value.int_value <= 10**10:
            return int(pair.value.int_value)
    return 1


def _pairs(attributes: Sequence[Any]) -> Iterator[tuple[str, object]]:
    return ((pair.key, _plain(pair.value)) for pair in attributes)


def _plain(value: Message) -> object:
    """Return the value of an attribute; None for bytes and maps."""
    name = value.WhichOneof("value")
    if name == "array_value":
        parts: Sequence[Any] = value.array_value.values  # type: ignore[attr-defined]  # the generated class is untyped
        return [_plain(part) if part.WhichOneof("value") != "array_value" else None for part in parts]
    return getattr(value, name) if name in ("string_value", "int_value", "double_value", "bool_value") else None

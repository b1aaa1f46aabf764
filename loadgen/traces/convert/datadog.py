"""Datadog's answer to `GET /api/v2/trace/{id}`: all spans of a trace.

Times are ns. Ids of spans are integers of 64 bits. `resource` is what other formats call the name of a span. Tags that
begin with `_` are taken out by Datadog, and attributes of the process are among the others.

Source: the models TraceResponse and APMTraceSpan of datadog-api-client 2.62. The interface is a preview.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.fields import AGAIN, decoded, kind_named, whole_ns
from loadgen.traces.convert.spans import SpanCollector, at
from loadgen.traces.model import Kind, Trace

__all__ = ["FORMAT", "collect_datadog", "traces_of_datadog"]

FORMAT: Final = "Datadog trace"
_SERVER_TYPES: Final = ("web", "server")
_CLIENT_TYPES: Final = ("http", "db", "sql", "cache", "redis", "memcached", "mongodb", "elasticsearch", "cassandra")


class _Span(msgspec.Struct, gc=False):
    traceID: int | str | None = None
    traceIDFull: str | None = None
    spanID: int | str | None = None
    parentID: int | str | None = None
    service: str | None = None
    name: str | None = None
    resource: str | None = None
    type: str | None = None
    startTime: int | None = None
    endTime: int | None = None
    duration: int | None = None
    error: int | bool | None = None
    meta: dict[str, str | None] | None = None
    metrics: dict[str, int | float | None] | None = None


class _Attributes(msgspec.Struct, gc=False):
    is_truncated: bool | None = None
    spans: list[_Span] | None = None


class _Data(msgspec.Struct, gc=False):
    id: str | None = None
    attributes: _Attributes | None = None


class _Answer(msgspec.Struct, gc=False):
    data: _Data | None = None
    errors: list[object] | None = None


_DECODER: Final = msgspec.json.Decoder(_Answer)


def traces_of_datadog(data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the trace of an answer, in a list; an empty list if it has no spans.

    keep: names or patterns of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the document is not Datadog's answer, is an answer with an error, or has an invalid id or
            time.
    """
    found = SpanCollector(keep)
    collect_datadog(data, found)
    return found.traces()


def collect_datadog(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one answer.

    Raises:
        TraceFormatError: see `traces_of_datadog`.
    """
    answer = decoded(_DECODER, data, FORMAT)
    if answer.data is None or answer.data.attributes is None:
        if answer.errors:
            raise TraceFormatError(f"{FORMAT}: this is an answer with an error", hint=AGAIN)
        raise TraceFormatError(f"{FORMAT}: missing data.attributes", hint=AGAIN)
    for number, span in enumerate(answer.data.attributes.spans or (), 1):
        try:
            _add(span, answer.data, bool(answer.data.attributes.is_truncated), into)
        except TraceFormatError as error:
            raise at(error, f"{FORMAT}: span {number}") from None


def _add(span: _Span, data: _Data, is_cut: bool, into: SpanCollector) -> None:
    wanted = into.wanted(span.traceIDFull or data.id or _hex(span.traceID))
    if wanted is None:
        return
    if span.startTime is None:
        raise TraceFormatError("missing startTime: each span must have one")
    start_ns = whole_ns(span.startTime, 1)
    if span.endTime is not None:
        end_ns: int | None = whole_ns(span.endTime, 1)
    else:
        end_ns = None if span.duration is None else whole_ns(start_ns + whole_ns(span.duration, 1), 1)
    if not (id := _hex(span.spanID)):
        raise TraceFormatError("missing or invalid spanID: must be an integer of 64 bits above 0")
    into.add_flat(
        wanted,
        id=id,
        parent=_hex(span.parentID),
        service=span.service or "",
        name=span.resource or span.name or "",
        kind=_kind(span),
        status="error" if span.error else "unset",
        start_ns=start_ns,
        end_ns=end_ns,
        tags=_pairs(span),
    )
    if is_cut:
        into.cut(wanted)


def _hex(number: int | str | None) -> str:
    """Return an id as 16 hex digits, "" for 0 and without one.

    Raises:
        TraceFormatError: not an integer of 64 bits.
    """
    if isinstance(number, str):
        if not (number.isascii() and number.isdecimal() and len(number) <= 20):
            if not number:
                return ""
            raise TraceFormatError("invalid id: must be an integer of 64 bits")
        number = int(number)
    if not number:
        return ""
    if not 0 < number < 1 << 64:
        raise TraceFormatError("invalid id: must be an integer of 64 bits")
    return f"{number:016x}"


def _kind(span: _Span) -> Kind:
    """Return the kind by the tag of Datadog's libraries, or else by the type of the span."""
    if (named := (span.meta or {}).get("span.kind")) is not None:
        return kind_named(named)
    if span.type in _SERVER_TYPES:
        return "server"
    return "client" if span.type in _CLIENT_TYPES else "internal"


def _pairs(span: _Span) -> Iterator[tuple[str, object]]:
    yield from (span.meta or {}).items()
    yield from (span.metrics or {}).items()

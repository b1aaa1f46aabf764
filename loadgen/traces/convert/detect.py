"""Finds out in which format traces are, and reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.datadog import collect_datadog
from loadgen.traces.convert.fields import decoded
from loadgen.traces.convert.jaeger_json import collect_jaeger
from loadgen.traces.convert.otlp_json import collect_otlp_json
from loadgen.traces.convert.otlp_protobuf import collect_otlp
from loadgen.traces.convert.spans import SpanCollector, at
from loadgen.traces.convert.xray_segments import collect_xray, collect_xray_answer
from loadgen.traces.convert.zipkin import collect_zipkin
from loadgen.traces.model import Trace

__all__ = ["collect", "collect_object", "is_object", "traces_of"]

_BOM: Final = b"\xef\xbb\xbf"
_KNOWN: Final = (
    "known formats: OTLP (JSON, one object a line, protobuf), JSON of Jaeger, Zipkin JSON version 2, "
    "segments of X-Ray, answers of Datadog"
)
_PROTOBUF_NAMES: Final = (".pb", ".bin", ".binpb", ".proto", ".protobuf", ".otlp")
_Unset = msgspec.UnsetType
_Collect = Callable[[bytes, SpanCollector], None]


class _Keys(msgspec.Struct):
    """The keys that tell the formats apart, with undecoded values."""

    resourceSpans: msgspec.Raw | _Unset = msgspec.UNSET
    batches: msgspec.Raw | _Unset = msgspec.UNSET
    result: msgspec.Raw | _Unset = msgspec.UNSET
    trace: msgspec.Raw | _Unset = msgspec.UNSET
    data: msgspec.Raw | _Unset = msgspec.UNSET
    Traces: msgspec.Raw | _Unset = msgspec.UNSET
    spans: msgspec.Raw | _Unset = msgspec.UNSET
    id: msgspec.Raw | _Unset = msgspec.UNSET
    traceId: msgspec.Raw | _Unset = msgspec.UNSET
    trace_id: msgspec.Raw | _Unset = msgspec.UNSET


_OBJECT: Final = msgspec.json.Decoder(_Keys)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXTS: Final = msgspec.json.Decoder(list[str])


def traces_of(name: str, data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of a document in any known format.

    name: of the file or answer; only its end is used, to recognize protobuf. data: not packed. keep: names or patterns
    of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the format is unknown, or the document is damaged or has an invalid id or time.
        UsageError: the document is protobuf, and `opentelemetry-proto` is not installed.
    """
    found = SpanCollector(keep)
    collect(name, data, found)
    return found.traces()


def collect(name: str, data: bytes, into: SpanCollector) -> None:
    """Add the spans of a document: of one object, or of one object a line.

    Raises:
        TraceFormatError, UsageError: see `traces_of`.
    """
    if _is_protobuf(name, data):
        collect_otlp(data, into)
        return
    end = data.find(b"\n")
    first = data[: end + 1]
    if not first.strip() or not data[end:].strip() or not is_object(first):
        collect_object(data, into)
        return
    for number, line in enumerate(_lines(data), 1):
        if line.strip():
            try:
                collect_object(line, into)
            except TraceFormatError as error:
                raise at(error, f"line {number}") from None


def _is_protobuf(name: str, data: bytes) -> bool:
    """Return whether a document is OTLP protobuf. Its first byte is that of a line end, so JSON may have it, too."""
    if name.lower().endswith(_PROTOBUF_NAMES):
        return True
    return data[:1] == b"\n" and not data.lstrip(b" \t\r\n").startswith((b"{", b"[", b"<")) and len(data) > 1


def _lines(data: bytes) -> Iterator[bytes]:
    begin = 0
    while (end := data.find(b"\n", begin)) >= 0:
        yield data[begin:end]
        begin = end + 1
    yield data[begin:]


def is_object(line: bytes) -> bool:
    """Return whether a line is a whole JSON object or list, so that a file has one object a line."""
    line = line.removeprefix(_BOM).strip()
    if not line.startswith((b"{", b"[")) or not line.endswith((b"}", b"]")):
        return False
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def collect_object(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one JSON object or list.

    Raises:
        TraceFormatError: see `traces_of`.
    """
    if data.startswith(b'{"resourceSpans"'):  # spares a second look at each line of a long file
        collect_otlp_json(data, into)
        return
    data = data.removeprefix(_BOM).strip()
    if data.startswith(b"{"):
        _of_object(data)(data, into)
    elif data.startswith(b"["):
        _of_list(data)(data, into)
    elif not data:
        raise TraceFormatError("the document is empty", hint=_KNOWN)
    elif data.startswith(b"<"):
        raise TraceFormatError("this is a page in HTML or XML, and no trace", hint=_KNOWN)
    else:
        raise TraceFormatError("unknown format of traces", hint=_KNOWN)


def _of_object(data: bytes) -> _Collect:
    """Return the reader of a JSON object."""
    keys = decoded(_OBJECT, data, "JSON")
    if isinstance(keys.data, msgspec.Raw):
        return collect_datadog if bytes(keys.data).startswith(b"{") else collect_jaeger
    if isinstance(keys.Traces, msgspec.Raw):
        return collect_xray_answer
    if isinstance(keys.trace_id, msgspec.Raw):
        return _collect_segment
    if isinstance(keys.traceId, msgspec.Raw) and isinstance(keys.id, msgspec.Raw):
        return _collect_zipkin_span
    if isinstance(keys.spans, msgspec.Raw):
        return collect_jaeger
    if any(isinstance(one, msgspec.Raw) for one in (keys.resourceSpans, keys.batches, keys.result, keys.trace)):
        return collect_otlp_json
    raise TraceFormatError("unknown format of traces: the JSON object has none of the expected keys", hint=_KNOWN)


def _of_list(data: bytes) -> _Collect:
    """Return the reader of a JSON list, by its first element."""
    parts = decoded(_LIST, data, "JSON")
    first = bytes(parts[0]) if parts else b"[]"
    if first.startswith(b"["):
        return collect_zipkin
    if first.startswith(b'"'):
        return _collect_segment_texts
    if not first.startswith(b"{"):
        raise TraceFormatError("unknown format of traces: the JSON list has no objects", hint=_KNOWN)
    reader = _of_object(first)
    if reader is _collect_zipkin_span:
        return collect_zipkin
    return collect_jaeger if reader is collect_jaeger else _collect_each


def _collect_each(data: bytes, into: SpanCollector) -> None:
    parts: list[msgspec.Raw] = decoded(_LIST, data, "JSON")
    for number, part in enumerate(parts, 1):
        one = bytes(part)
        if not one.startswith(b"{"):
            raise TraceFormatError(f"element {number} of the list is no object", hint=_KNOWN)
        try:
            _of_object(one)(one, into)
        except TraceFormatError as error:
            raise at(error, f"element {number} of the list") from None


def _collect_segment(data: bytes, into: SpanCollector) -> None:
    collect_xray([data], into)


def _collect_segment_texts(data: bytes, into: SpanCollector) -> None:
    documents: list[str] = decoded(_TEXTS, data, "JSON")
    collect_xray(documents, into)


def _collect_zipkin_span(data: bytes, into: SpanCollector) -> None:
    collect_zipkin(b"[%b]" % data, into)

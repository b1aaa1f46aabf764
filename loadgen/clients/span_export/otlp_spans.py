"""Encodes client spans as OTLP: `ExportTraceServiceRequest` of OpenTelemetry's protocol, version 1.

The bytes are written here instead of by `opentelemetry-proto`: agents do not have that package, and building its
messages takes 20 µs a span, most of it for attributes that nearly all spans share. Attributes of a method, a URL, a
journey are encoded once. tests/clients/test_span_export.py decodes the result with `opentelemetry-proto`.

Field numbers: opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import pack
from typing import Final

from loadgen.clients.span_export.client_span_names import error_type
from loadgen.engine.tracing.client_spans import ClientSpan, Request

__all__ = ["encoded", "rejected"]

_CLIENT, _INTERNAL = b"\x30\x03", b"\x30\x01"
"""Field 6, `kind`: SPAN_KIND_CLIENT, SPAN_KIND_INTERNAL."""
_ERROR: Final = b"\x7a\x02\x18\x02"
"""Field 15, `status`: STATUS_CODE_ERROR."""
_FLAGS: Final = b"\x85\x01\x01\x00\x00\x00"
"""Field 16, `flags`: sampled."""
_MAX_TEXT: Final = 1_024


def encoded(spans: Iterable[ClientSpan], resource: dict[str, str], epoch_ns: int) -> bytes:
    """Return the request that exports these spans.

    resource: the attributes of all; each journey adds `loadgen.journey`. epoch_ns: ns of the epoch at
    `perf_counter_ns` 0.
    """
    by_journey: dict[str, list[bytes]] = {}
    for span in spans:
        by_journey.setdefault(span.journey, []).append(_field(2, _span(span, epoch_ns)))
    scope = _field(1, _text(1, "loadgen"))
    made = []
    for journey, bodies in by_journey.items():
        whole = resource if not journey else {**resource, "loadgen.journey": journey}
        attributes = b"".join(_attribute(1, name, value) for name, value in whole.items() if value)
        made.append(_field(1, _field(1, attributes) + _field(2, scope + b"".join(bodies))))
    return b"".join(made)


def rejected(answer: bytes) -> int:
    """Return how many spans a receiver rejected, from its `ExportTraceServiceResponse`; 0 if it is unreadable.

    Only the first field of `partial_success` is read, and some receivers answer with JSON or nothing.
    """
    if len(answer) < 4 or answer[0] != 0x0A or answer[2] != 0x08:
        return 0
    value = shift = 0
    for byte in answer[3:13]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
    return 0


def _span(one: ClientSpan, epoch_ns: int) -> bytes:
    request = one.request
    parts = [
        b"\x0a\x10",
        bytes.fromhex(one.trace),
        b"\x12\x08",
        bytes.fromhex(one.span),
        _state(one.threshold),
        b"\x22\x08" + bytes.fromhex(one.parent) if one.parent else b"",
        _text(5, one.name),
        _INTERNAL if request is None else _CLIENT,
        pack("<BQBQ", 0x39, one.begun_ns + epoch_ns, 0x41, max(one.begun_ns, one.ended_ns) + epoch_ns),
        _step(one.step) if one.step else b"",
    ]
    if request is not None:
        parts.append(_of_request(request))
    for link in one.links:
        parts.append(b"\x6a\x1c\x0a\x10" + bytes.fromhex(link[:32]) + b"\x12\x08" + bytes.fromhex(link[33:49]))
    if wrong := error_type(one.outcome, 0 if request is None else request.status):
        parts += (_attribute(9, "error.type", wrong), _ERROR)
    parts.append(_FLAGS)
    return b"".join(parts)


@lru_cache(4_096)
def _of_request(request: Request) -> bytes:
    texts = {
        "http.request.method": request.method,
        "url.full": request.url,
        "server.address": request.host,
    }
    numbers = {"server.port": request.port, "http.response.status_code": request.status}
    made = [_attribute(9, name, value) for name, value in texts.items() if value]
    made += [_number(9, name, value) for name, value in numbers.items() if value]
    return b"".join(made)


@lru_cache(64)
def _state(threshold: str) -> bytes:
    return _text(3, f"ot=th:{threshold}") if threshold else b""


@lru_cache(1_024)
def _step(step: str) -> bytes:
    return _attribute(9, "loadgen.step", step)


@lru_cache(1_024)
def _text(field: int, text: str) -> bytes:
    return _field(field, text[:_MAX_TEXT].encode("utf-8", "replace"))


def _attribute(field: int, name: str, value: str) -> bytes:
    return _field(field, _text(1, name) + _field(2, _field(1, value[:_MAX_TEXT].encode("utf-8", "replace"))))


def _number(field: int, name: str, value: int) -> bytes:
    return _field(field, _text(1, name) + _field(2, b"\x18" + _varint(value)))


def _field(number: int, data: bytes) -> bytes:
    """Return a field with its length: strings, bytes and messages."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)

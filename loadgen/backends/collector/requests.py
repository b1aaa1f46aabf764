"""What the collector answers to a request. Pure: bytes in, bytes out.

POST /v1/traces                   OTLP, protobuf or JSON, plain or gzip
POST /v1/metrics, /v1/logs        accepted and dropped, with a warning in the answer
GET /api/v3/traces/{id}           a trace as Jaeger 2 returns it; 404 if it is not there
GET /, /health                    counts

Source: "OTLP Specification", OTLP/HTTP (statuses, partial success, which codes a client sends again).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgspec

from loadgen.backends.collector.otlp_parts import Malformed, Split, joined, split_json, split_protobuf
from loadgen.backends.collector.trace_ring import TraceRing
from loadgen.backends.limited_unpack import TooLarge, unpacked_whole
from loadgen.unpack import ArchiveDamaged

__all__ = ["PLAIN_BYTES", "Reply", "Request", "answer_to", "refusal"]

PLAIN_BYTES: Final = 64 << 20
"""The most bytes of a request after unpacking."""
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_TRACE: Final = re.compile(r"/api/v3/traces/([0-9A-Fa-f]{1,32})")
_DROPPED: Final = "loadgen trace collect keeps traces only; metrics and logs are dropped"


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request. headers: names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response."""

    status: int
    body: bytes = b""
    kind: str = _JSON
    allow: str = ""


def answer_to(request: Request, ring: TraceRing) -> Reply:
    """Answer a request, and store its spans."""
    path = request.path
    if path in ("/v1/traces", "/v1/metrics", "/v1/logs"):
        if request.method != "POST":
            return Reply(405, b"{}", allow="POST")
        return _received(request, ring)
    if request.method not in ("GET", "HEAD"):
        return Reply(405, b"{}", allow="GET, HEAD") if path in ("/", "/health") else _not_found("no such path")
    if path in ("/", "/health"):
        return Reply(200, msgspec.json.format(msgspec.json.encode(_health(ring)), indent=2) + b"\n")
    if (found := _TRACE.fullmatch(path)) is not None:
        return _trace(found[1].lower().zfill(32), ring)
    if path.startswith("/api/v3/traces/"):
        return _jaeger_error(400, "a trace id has up to 32 hex digits")
    return _not_found("no such path; the collector has /v1/traces, /api/v3/traces/{id} and /health")


def refusal(status: int, text: str) -> Reply:
    """Return the answer to a request that was not received whole."""
    return _jaeger_error(status, text)


def _received(request: Request, ring: TraceRing) -> Reply:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_PROTOBUF, _JSON):
        ring.counts.refused_requests += 1
        return _jaeger_error(415, f"send {_PROTOBUF} or {_JSON}")
    if request.path != "/v1/traces":
        return _accepted(kind, 0, _DROPPED)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        ring.counts.refused_requests += 1
        return _error(kind, 415, "send the body plain, or compressed with gzip")
    try:
        body = unpacked_whole(request.body, PLAIN_BYTES) if encoding == "gzip" else request.body
        split: Split = split_json(body) if kind == _JSON else split_protobuf(body)
    except ArchiveDamaged as error:
        ring.counts.refused_requests += 1
        return _error(kind, 413 if isinstance(error, TooLarge) else 400, f"the gzip body {error}")
    except Malformed as error:
        ring.counts.refused_requests += 1
        return _error(kind, 400, f"the body {error}")
    ring.counts.requests += 1
    ring.counts.rejected_spans += split.rejected
    dropped = ring.add(split.parts)
    reasons = []
    if split.rejected:
        reasons.append(f"{split.rejected} spans without valid ids")
    if dropped:
        reasons.append(f"{dropped} spans beyond the collector's memory; start it with a larger --memory")
    return _accepted(kind, split.rejected + dropped, "; ".join(reasons))


def _accepted(kind: str, rejected: int, text: str) -> Reply:
    """Return the answer of success, with the number of rejected spans and the reason, if there is one."""
    if kind == _JSON:
        partial = {"rejectedSpans": str(rejected), "errorMessage": text}
        return Reply(200, msgspec.json.encode({"partialSuccess": partial} if text else {}))
    if not text:
        return Reply(200, b"", _PROTOBUF)
    partial_success = (b"\x08" + _varint(rejected) if rejected else b"") + b"\x12" + _sized(text)
    return Reply(200, b"\x0a" + _varint(len(partial_success)) + partial_success, _PROTOBUF)


def _error(kind: str, status: int, text: str) -> Reply:
    """Return an error as `google.rpc.Status`: 1 the code, 2 the message. Its code is INVALID_ARGUMENT."""
    if kind == _JSON:
        return Reply(status, msgspec.json.encode({"code": 3, "message": text}))
    return Reply(status, b"\x08\x03\x12" + _sized(text), _PROTOBUF)


def _trace(trace_id: str, ring: TraceRing) -> Reply:
    found = ring.get(trace_id)
    if found is None:
        return _jaeger_error(404, "trace not found")
    parts, is_cut = found
    try:
        document = joined(parts)
    except Malformed as error:
        return _jaeger_error(500, f"the trace {error}")
    return Reply(200, b'{"result":' + document + (b',"isCut":true}' if is_cut else b"}"))


def _health(ring: TraceRing) -> dict[str, Any]:
    return {
        "status": "ok",
        "traces": len(ring),
        "bytes": ring.size,
        "most_traces": ring.most_traces,
        "most_bytes": ring.most_bytes,
        "dropped_spans": ring.counts.dropped_spans,
        "since_start": asdict(ring.counts),
    }


def _jaeger_error(status: int, text: str) -> Reply:
    return Reply(status, msgspec.json.encode({"error": {"httpCode": status, "message": text}}))


def _not_found(text: str) -> Reply:
    return _jaeger_error(404, text)


def _sized(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)

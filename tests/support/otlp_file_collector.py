"""A collector of traces in a thread: OTLP/HTTP in, one trace a line as OTLP JSON out, and it can lose some traces.

with otlp_file_collector() as collector:
    ...                                                    # services export to collector.url
    collector.write(tmp_path / "traces.jsonl")
    collector.write(tmp_path / "half.jsonl", keeps=lambda spans: ...)

It stands for tail samplers and full collectors, which lose slow traces. Where nothing is lost, use
`loadgen trace collect`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tests.support.in_thread import serving

__all__ = ["OtlpFileCollector", "otlp_file_collector"]

_IDS = ("traceId", "spanId", "parentSpanId")


class OtlpFileCollector:
    """What was received. Use `otlp_file_collector`."""

    def __init__(self) -> None:
        self.url = ""
        self._lock = threading.Lock()
        self._traces: dict[bytes, list[ResourceSpans]] = {}

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Store all spans by their trace; each span keeps its resource and scope."""
        with self._lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        one = ResourceSpans(resource=resource.resource, schema_url=resource.schema_url)
                        one.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url).spans.append(span)
                        self._traces.setdefault(span.trace_id, []).append(one)

    def traces(self) -> dict[str, tuple[Span, ...]]:
        """Return the spans received so far, by trace id."""
        with self._lock:
            return {
                trace.hex(): tuple(span for one in parts for scope in one.scope_spans for span in scope.spans)
                for trace, parts in self._traces.items()
            }

    def settled(self, timeout_s: float = 20) -> dict[str, tuple[Span, ...]]:
        """Return `traces`, once no span has come for a second."""
        until = time.monotonic() + timeout_s
        before, since = -1, time.monotonic()
        while time.monotonic() < until:
            n = sum(map(len, (traces := self.traces()).values()))
            if n != before:
                before, since = n, time.monotonic()
            elif time.monotonic() - since > 1:
                return traces
            time.sleep(0.1)
        raise AssertionError(f"spans still come after {timeout_s} s")

    def write(self, path: Path, keeps: Callable[[str, Sequence[Span]], bool] = lambda _trace, _spans: True) -> int:
        """Write one line a trace; return how many. keeps: is called with id and spans, and says which traces."""
        kept = [trace for trace, spans in self.traces().items() if keeps(trace, spans)]
        with path.open("w", encoding="utf-8") as file:
            for trace in kept:
                request = ExportTraceServiceRequest(resource_spans=_merged(self._traces[bytes.fromhex(trace)]))
                file.write(json.dumps(_otlp_json(request), separators=(",", ":")) + "\n")
        return len(kept)


def _merged(parts: Sequence[ResourceSpans]) -> list[ResourceSpans]:
    """Return one entry for each resource, with one for each scope in it."""
    found: dict[bytes, ResourceSpans] = {}
    for part in parts:
        resource = found.setdefault(
            part.resource.SerializeToString(deterministic=True),
            ResourceSpans(resource=part.resource, schema_url=part.schema_url),
        )
        for scope in part.scope_spans:
            same = next((one for one in resource.scope_spans if one.scope == scope.scope), None)
            if same is None:
                same = resource.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url)
            same.spans.extend(scope.spans)
    return list(found.values())


def _otlp_json(request: ExportTraceServiceRequest) -> Any:
    """Return the request in OTLP's JSON: as protobuf's, but for ids, which are hex digits, and kinds, numbers."""

    def mended(value: Any) -> Any:
        if isinstance(value, list):
            return [mended(one) for one in value]
        if isinstance(value, dict):
            return {
                name: b64decode(one).hex() if name in _IDS and isinstance(one, str) else mended(one)
                for name, one in value.items()
            }
        return value

    return mended(MessageToDict(request, use_integers_for_enums=True))


def _of_json(body: bytes) -> ExportTraceServiceRequest:
    """Return a request in OTLP's JSON, whose ids are hex digits; protobuf's own JSON has them in base 64."""

    def mended(found: dict[str, Any]) -> dict[str, Any]:
        ids = {name: b64encode(bytes.fromhex(found[name])).decode() for name in _IDS if name in found}
        return {**found, **ids}

    return ParseDict(json.loads(body, object_hook=mended), ExportTraceServiceRequest())


@contextlib.contextmanager
def otlp_file_collector() -> Iterator[OtlpFileCollector]:
    """Listen on a free loopback port until the block is left."""
    collector = OtlpFileCollector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            is_json = self.headers.get("Content-Type") == "application/json"
            collector.take(_of_json(body) if is_json else ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server) as collector.url:
        yield collector

"""One made trace as a document of each format: what a library for that format writes about the same spans."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = [
    "OLD",
    "T0_US",
    "MadeSpan",
    "as_datadog",
    "as_jaeger",
    "as_otlp",
    "as_otlp_protobuf",
    "as_xray",
    "as_zipkin",
    "shop_trace",
]

OLD = {
    "http.request.method": "http.method",
    "http.response.status_code": "http.status_code",
    "url.path": "http.target",
    "server.address": "net.peer.name",
    "server.port": "net.peer.port",
    "db.system.name": "db.system",
    "db.query.text": "db.statement",
    "db.namespace": "db.name",
    "deployment.environment.name": "deployment.environment",
}
"""Names of today's conventions, and the names before them."""
T0_US = 1_764_395_000_000_000


@dataclass(frozen=True)
class MadeSpan:
    """A span in the words of today's conventions. Times in µs from `T0_US`. duration_us: None without an end."""

    id: str
    parent: str
    service: str
    name: str
    start_us: int
    duration_us: int | None
    kind: str = "internal"
    is_error: bool = False
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    resource: Mapping[str, str | int] = field(default_factory=dict)


def shop_trace(trace: int = 1, *, n_queries: int = 2) -> tuple[str, list[MadeSpan]]:
    """Return (trace id, spans): a checkout that calls stock, which makes queries. With 4 + n_queries spans."""
    base = trace * 100_000
    ids = [f"{base + n:016x}" for n in range(1, 5 + n_queries)]
    shop: dict[str, str | int] = {
        "service.version": "1.4",
        "host.name": "node-a",
        "deployment.environment.name": "staging",
    }
    stock: dict[str, str | int] = {
        "service.version": "2.1",
        "host.name": "node-b",
        "k8s.pod.name": f"stock-{trace % 3}",
    }
    post: dict[str, str | int] = {"http.request.method": "POST", "http.response.status_code": 200}
    db: dict[str, str | int] = {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.query.text": "SELECT * FROM item WHERE tenant = 17",
        "server.address": "db",
        "server.port": 5432,
    }
    spans = [
        MadeSpan(
            ids[0],
            "00f067aa0ba902b7",
            "shop",
            "POST /checkout",
            0,
            400_000,
            "server",
            False,
            {**post, "http.route": "/checkout", "url.path": "/checkout"},
            shop,
        ),
        MadeSpan(ids[1], ids[0], "shop", "price", 1_000, 20_000, "internal", False, {}, shop),
        MadeSpan(
            ids[2],
            ids[0],
            "shop",
            "POST",
            22_000,
            300_000,
            "client",
            True,
            {**post, "server.address": "stock", "server.port": 8080, "http.response.status_code": 500},
            shop,
        ),
        MadeSpan(
            ids[3],
            ids[2],
            "stock",
            "POST /reserve",
            23_000,
            297_000,
            "server",
            True,
            {**post, "http.route": "/reserve", "url.path": "/reserve", "http.response.status_code": 500},
            stock,
        ),
    ]
    spans += [
        MadeSpan(ids[4 + n], ids[3], "stock", "SELECT item", 24_000 + 7_000 * n, 6_500, "client", False, db, stock)
        for n in range(n_queries)
    ]
    return f"692a8b38{trace:024x}", spans


def renamed(attributes: Mapping[str, str | int], names: Mapping[str, str]) -> dict[str, str | int]:
    """Return the attributes with the given older names."""
    return {names.get(name, name): value for name, value in attributes.items()}


def _otlp_attributes(attributes: Mapping[str, str | int]) -> list[object]:
    return [
        {"key": k, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for k, v in attributes.items()
    ]


def as_otlp(trace: str, spans: Sequence[MadeSpan], names: Mapping[str, str] = {}) -> dict[str, object]:
    """Return OTLP JSON with one entry for each service. names: older names to use."""
    groups: dict[str, list[MadeSpan]] = {}
    for span in spans:
        groups.setdefault(span.service, []).append(span)
    kinds = ("", "internal", "server", "client", "producer", "consumer")

    def one(s: MadeSpan) -> dict[str, object]:
        found: dict[str, object] = {
            "traceId": trace,
            "spanId": s.id,
            "parentSpanId": s.parent,
            "name": s.name,
            "kind": kinds.index(s.kind),
            "startTimeUnixNano": str((T0_US + s.start_us) * 1000),
            "attributes": _otlp_attributes(renamed(s.attributes, names)),
            "status": {"code": 2, "message": "went wrong"} if s.is_error else {},
        }
        if s.duration_us is not None:
            found["endTimeUnixNano"] = str((T0_US + s.start_us + s.duration_us) * 1000)
        return found

    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": _otlp_attributes({"service.name": service, **renamed(group[0].resource, names)})
                },
                "scopeSpans": [{"scope": {"name": "made"}, "spans": [one(span) for span in group]}],
            }
            for service, group in groups.items()
        ]
    }


def as_jaeger(trace: str, spans: Sequence[MadeSpan]) -> dict[str, object]:
    """Return the answer of Jaeger's query service, as the OTLP receiver of Jaeger stores such spans."""

    def tags(values: Mapping[str, str | int]) -> list[object]:
        return [{"key": k, "type": "int64" if isinstance(v, int) else "string", "value": v} for k, v in values.items()]

    processes = {span.service: span.resource for span in spans}
    return {
        "data": [
            {
                "traceID": trace,
                "spans": [
                    {
                        "traceID": trace,
                        "spanID": s.id,
                        "operationName": s.name,
                        "references": [{"refType": "CHILD_OF", "traceID": trace, "spanID": s.parent}]
                        if s.parent
                        else [],
                        "startTime": T0_US + s.start_us,
                        "duration": s.duration_us,
                        "tags": tags(
                            {
                                **s.attributes,
                                **({"span.kind": s.kind} if s.kind != "internal" else {}),
                                **({"otel.status_code": "ERROR"} if s.is_error else {}),
                            }
                        ),
                        "logs": [],
                        "processID": s.service,
                        "warnings": None,
                    }
                    for s in spans
                ],
                "processes": {
                    name: {"serviceName": name, "tags": tags(resource)} for name, resource in processes.items()
                },
            }
        ],
        "errors": None,
    }


def as_zipkin(trace: str, spans: Sequence[MadeSpan]) -> list[dict[str, object]]:
    """Return Zipkin's JSON, version 2, in which all tags are texts."""
    found = []
    for s in spans:
        one: dict[str, object] = {
            "traceId": trace,
            "id": s.id,
            "name": s.name,
            "timestamp": T0_US + s.start_us,
            "localEndpoint": {"serviceName": s.service},
            "tags": {
                **{k: str(v) for k, v in {**s.attributes, **s.resource}.items()},
                **({"error": "went wrong"} if s.is_error else {}),
            },
        }
        if s.parent:
            one["parentId"] = s.parent
        if s.duration_us is not None:
            one["duration"] = s.duration_us
        if s.kind != "internal":
            one["kind"] = s.kind.upper()
        found.append(one)
    return found


def as_datadog(trace: str, spans: Sequence[MadeSpan]) -> dict[str, object]:
    """Return the answer of Datadog's `GET /api/v2/trace/{id}`, by the model of datadog-api-client 2.62."""

    def one(s: MadeSpan) -> dict[str, object]:
        tags = {**s.attributes, **s.resource, "span.kind": s.kind}
        start_ns = (T0_US + s.start_us) * 1000
        return {
            "traceID": int(trace[16:], 16),
            "traceIDFull": trace,
            "spanID": int(s.id, 16),
            "parentID": int(s.parent or "0", 16),
            "service": s.service,
            "name": "web.request",
            "resource": s.name,
            "type": "web",
            "startTime": start_ns,
            "endTime": start_ns + (s.duration_us or 0) * 1000,
            "duration": (s.duration_us or 0) * 1000,
            "error": int(s.is_error),
            "meta": {k: v for k, v in tags.items() if isinstance(v, str)},
            "metrics": {k: float(v) for k, v in tags.items() if not isinstance(v, str)},
        }

    attributes = {"is_truncated": False, "spans": [one(s) for s in spans]}
    return {"data": {"id": trace, "type": "trace", "attributes": attributes}}


def as_xray(trace: str, spans: Sequence[MadeSpan]) -> list[str]:
    """Return X-Ray's segment documents: servers are segments, and all others are subsegments on their own."""

    def one(s: MadeSpan) -> dict[str, object]:
        a = s.attributes
        is_segment = s.kind == "server"
        found: dict[str, object] = {
            "trace_id": f"1-{trace[:8]}-{trace[8:]}",
            "id": s.id,
            "name": s.service if is_segment else s.name,
            "start_time": (T0_US + s.start_us) / 1e6,
            "fault": s.is_error,
        }
        if s.parent:
            found["parent_id"] = s.parent
        if s.duration_us is None:
            found["in_progress"] = True
        else:
            found["end_time"] = (T0_US + s.start_us + s.duration_us) / 1e6
        if not is_segment and s.kind == "client":
            found["namespace"] = "remote"
        if "http.request.method" in a:
            host = a.get("server.address", "shop")
            found["http"] = {
                "request": {"method": a["http.request.method"], "url": f"http://{host}{a.get('url.path', '/')}?q=1"},
                "response": {"status": a["http.response.status_code"]},
            }
        if "db.query.text" in a:
            found["sql"] = {"sanitized_query": a["db.query.text"], "database_type": a["db.system.name"]}
        if is_segment:
            found["service"] = {"version": s.resource["service.version"]}
        return found

    by_id = {s.id: one(s) for s in spans}
    top = []
    for s in spans:
        owner = by_id.get(s.parent)
        if owner is not None and s.kind != "server":
            found = owner.setdefault("subsegments", [])
            assert isinstance(found, list)
            found.append(by_id[s.id])
        else:
            top.append(by_id[s.id])
    return [json.dumps(each) for each in top]


def as_otlp_protobuf(trace: str, spans: Sequence[MadeSpan]) -> bytes:
    """Return the message that exporters send."""
    document = as_otlp(trace, spans)
    for group in document["resourceSpans"]:  # type: ignore[attr-defined]
        for span in group["scopeSpans"][0]["spans"]:
            for name in ("traceId", "spanId", "parentSpanId"):
                span[name] = b64encode(bytes.fromhex(span[name])).decode()
    request: bytes = ParseDict(document, ExportTraceServiceRequest()).SerializeToString()
    return request

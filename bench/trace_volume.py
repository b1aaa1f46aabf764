"""Measure `loadgen trace` with many traces: CPU time and the largest memory of the whole command, in a new process."""

from __future__ import annotations

from random import Random
from typing import Any

from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.traced_past_run import STARTED, MadeRequest

SPANS = 40
SLOW_CALLS = 41


def document_of(one: MadeRequest, spans: int = SPANS) -> dict[str, Any]:
    """Return a trace of so many spans as OTLP JSON, with up to 5 attributes a span.

    The slow ones wait for a statement of stock. Version 2.1 of stock makes them.
    """
    draw = Random(one.trace)
    is_slow = one.calls == SLOW_CALLS
    begin = round(STARTED.timestamp() * NS_PER_S) + one.at_ns + NS_PER_MS
    version = "2.1" if is_slow or draw.random() < 0.2 else "2.0"
    base = draw.getrandbits(48) << 16
    ids = [f"{base + n + 1:016x}" for n in range(spans)]
    end = begin + one.response_ns - 2 * NS_PER_MS
    post = {"http.request.method": "POST", "http.response.status_code": 200}
    served = {**post, "http.route": "/checkout", "url.path": "/checkout"}
    query = {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.query.text": f"SELECT * FROM item WHERE tenant = {draw.randrange(100)}",
        "server.address": "db",
        "server.port": 5432,
    }
    called = {**post, "server.address": "stock", "server.port": 8080}
    inner = begin + 11 * NS_PER_MS
    last = end - 8 * NS_PER_MS
    shop = [
        _span(one, ids[0], one.span, "POST", 2, begin, end, served),
        _span(one, ids[1], ids[0], "POST", 3, begin + 10 * NS_PER_MS, end - 5 * NS_PER_MS, called),
    ]
    stock = [_span(one, ids[2], ids[1], "POST", 2, inner, end - 6 * NS_PER_MS, {**served, "http.route": "/reserve"})]
    step = (last - inner) // (spans - 3)
    for n in range(spans - 3):
        at = inner + n * step
        took = step - draw.randrange(1 + step // 3)
        stock.append(_span(one, ids[3 + n], ids[2], f"SELECT item {'abcdef'[n % 6]}", 3, at, at + took, query))
    return {
        "resourceSpans": [
            _resource({"service.name": "shop", "service.version": "1.4", "host.name": "node-a"}, shop),
            _resource(
                {"service.name": "stock", "service.version": version, "k8s.pod.name": f"stock-{draw.randrange(3)}"},
                stock,
            ),
        ]
    }


def _span(
    one: MadeRequest, id_: str, parent: str, name: str, kind: int, begin: int, end: int, attributes: dict[str, Any]
) -> dict[str, Any]:
    return {
        "traceId": one.trace,
        "spanId": id_,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes),
        "status": {},
    }


def _resource(attributes: dict[str, Any], spans: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "resource": {"attributes": _attributes(attributes)},
        "scopeSpans": [{"scope": {"name": "made"}, "spans": spans}],
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]

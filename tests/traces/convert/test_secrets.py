"""A secret that is planted anywhere in a document is in no span and in no written line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.attributes import attribute_filter
from loadgen.traces.convert.detect import traces_of
from loadgen.traces.convert.otlp_json import otlp_json_line
from tests.support.trace_documents import as_datadog, as_jaeger, as_otlp, as_xray, as_zipkin, shop_trace
from tests.traces.convert.test_hostile import changed, places

TRACE, SPANS = shop_trace(n_queries=1)
SECRET = "hunter2"
FORMS = {
    "mail": f"{SECRET}@example.com",
    "card": "4111111111111111",
    "bearer": f"Bearer {SECRET}-long-token",
    "url": f"https://{SECRET}:{SECRET}@h/p?x={SECRET}#{SECRET}",
    "statement": f"SELECT a FROM t WHERE b = '{SECRET}' /* {SECRET} */",
    "token": f"token={SECRET}",
    "dsn": f"app:{SECRET}@tcp(db:3306)/shop",
}
"""Secrets in the forms that are recognized, also in attributes that are kept."""


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("messaging.destination.name", f"orders?token={SECRET}", "orders"),
        ("db.collection.name", f"users WHERE mail = '{SECRET}'", "users WHERE mail = ?"),
        ("db.collection.name", f"users WHERE mail = '{SECRET}", "users WHERE mail = ?"),
        ("db.sql.table", "public.users", "public.users"),
    ],
)
def test_names_of_queues_and_tables_lose_queries_and_literals(name: str, value: str, kept: str) -> None:
    assert list(attribute_filter(()).kept([(name, value)]).values()) == [kept]


def keyed(value: str, number: int = 100) -> list[dict[str, Any]]:
    """Attributes in which a secret without any form is at home: the first `number`."""
    names = (
        *("http.request.header.authorization", "http.response.header.set-cookie", "url.query", "http.query"),
        *("db.query.parameter.0", "exception.message", "exception.stacktrace", "baggage", "user.id", "enduser.id"),
        *("session.id", "client.address", "user_agent.original", "graphql.document", "process.command_args"),
        *("messaging.message.id", "rpc.grpc.request.metadata.x", "otel.status_description", "error.message", SECRET),
    )
    return [{"key": name, "value": {"stringValue": value}} for name in names[:number]]


def documents() -> dict[str, Any]:
    """Documents with everything that a format can carry and that is not read: events, messages, metadata."""
    otlp = copy.deepcopy(as_otlp(TRACE, SPANS))
    group: Any = otlp["resourceSpans"][0]  # type: ignore[index]
    group["schemaUrl"] = "x"
    group["resource"]["attributes"] += keyed("x", 3)
    group["scopeSpans"][0]["scope"] |= {"version": "x", "attributes": keyed("x", 3)}
    span = group["scopeSpans"][0]["spans"][0]
    span["attributes"] += keyed("x")
    span["attributes"].append({"key": "app.list", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}})
    span["attributes"].append({"key": "m", "value": {"kvlistValue": {"values": keyed("x", 3)}}})
    span |= {"traceState": "x", "status": {"code": 2, "message": "x"}, "flags": 1}
    span["events"] = [{"name": "x", "timeUnixNano": "1", "attributes": keyed("x", 3)}]
    span["links"] = [{"traceId": TRACE, "spanId": "1" * 16, "traceState": "x", "attributes": keyed("x", 3)}]
    jaeger: Any = copy.deepcopy(as_jaeger(TRACE, SPANS))
    jaeger["data"][0]["spans"][0] |= {
        "logs": [{"timestamp": 1, "fields": [{"key": "message", "type": "string", "value": "x"}]}],
        "warnings": ["x"],
    }
    jaeger["data"][0]["spans"][0]["tags"] += [{"key": "user.id", "type": "string", "value": "x"}]
    zipkin: Any = copy.deepcopy(as_zipkin(TRACE, SPANS))
    zipkin[0]["annotations"] = [{"timestamp": 1, "value": "x"}]
    zipkin[0]["tags"] |= {"user.id": "x", "error": "x", "otel.status_description": "x"}
    zipkin[0]["remoteEndpoint"] = {"serviceName": "x", "ipv4": "1.2.3.4"}
    datadog: Any = copy.deepcopy(as_datadog(TRACE, SPANS))
    datadog["data"]["attributes"]["spans"][0]["meta"] |= {"usr.id": "x", "error.message": "x", "http.useragent": "x"}
    xray: Any = [json.loads(one) for one in as_xray(TRACE, SPANS)]
    xray[0] |= {
        "user": "x",
        "annotations": {"user": "x"},
        "metadata": {"default": {"token": "x"}},
        "cause": {"exceptions": [{"message": "x", "type": "x"}]},
        "aws": {"account_id": "x", "request_id": "x", "ec2": {"instance_id": "x"}},
    }
    xray[0]["http"]["request"] |= {"client_ip": "x", "user_agent": "x"}
    return {"otlp": otlp, "jaeger": jaeger, "zipkin": zipkin, "datadog": datadog, "x-ray": xray}


DOCUMENTS = documents()
IDS = {
    *(
        "traceId",
        "spanId",
        "parentSpanId",
        "traceID",
        "spanID",
        "traceIDFull",
        "id",
        "parentId",
        "trace_id",
        "parent_id",
    ),
    *("startTimeUnixNano", "endTimeUnixNano"),
}


def texts(document: Any) -> list[tuple[Any, ...]]:
    found = []
    for way in places(document):
        at = document
        for key in way:
            at = at[key]
        if isinstance(at, str):
            found.append(way)
    return found


def written(data: bytes, keep: list[str]) -> str:
    """Everything that is left of a document: its spans, its lines, or its error."""
    try:
        traces = traces_of("file", data, keep)
    except TraceFormatError as error:
        return error.with_hint
    return repr(traces) + "".join(otlp_json_line(trace).decode() for trace in traces)


@pytest.mark.parametrize("form", DOCUMENTS)
@pytest.mark.parametrize("secret", FORMS)
def test_a_secret_with_a_known_form_is_nowhere_left(form: str, secret: str) -> None:
    document = DOCUMENTS[form]
    for way in texts(document):
        if way[-1] in IDS and secret == "card":
            continue  # its digits are a valid id
        left = written(json.dumps(changed(document, way, FORMS[secret])).encode(), ["app.*", "user"])
        assert SECRET not in left, way
        assert "4111111111111111" not in left, way


@pytest.mark.parametrize("form", DOCUMENTS)
def test_a_secret_without_a_form_is_left_only_in_names_and_values_of_the_list(form: str) -> None:
    document = DOCUMENTS[form]
    kept = set()
    for way in texts(document):
        if SECRET in written(json.dumps(changed(document, way, SECRET)).encode(), []):
            kept.add(way)
    assert {way[-1] for way in kept} <= NAMES_LEFT[form]


NAMES_LEFT: dict[str, set[object]] = {
    "otlp": {"name", "stringValue"},
    "jaeger": {"operationName", "serviceName", "value"},
    "zipkin": {
        *("name", "serviceName", "ipv4", "http.request.method", "http.response.status_code", "http.route", "url.path"),
        *("service.version", "host.name", "deployment.environment.name", "server.address", "server.port"),
        *("db.system.name", "db.namespace", "k8s.pod.name"),
    },
    "datadog": {
        *("resource", "service", "http.request.method", "http.route", "url.path", "service.version", "host.name"),
        *("deployment.environment.name", "server.address", "db.system.name", "db.namespace", "k8s.pod.name"),
    },
    "x-ray": {"name", "method", "url", "version", "database_type", "instance_id"},
}
"""The keys of values that are kept: names of spans and services, and the values of the allow-list. Nothing of events,
messages, headers, parameters, metadata, users and unknown keys."""


def test_no_attribute_outside_of_the_list_is_left_whatever_its_value() -> None:
    document = copy.deepcopy(as_otlp(TRACE, SPANS))
    group: Any = document["resourceSpans"][0]  # type: ignore[index]
    group["resource"]["attributes"] += keyed(SECRET)
    group["scopeSpans"][0]["spans"][0]["attributes"] += keyed(SECRET)
    data = json.dumps(document).encode()
    assert SECRET not in written(data, [])
    assert SECRET not in written(data, ["app.*", "http.*", "db.*", "url.*", "exception.*", "bag*", "rpc.*"])


def test_an_error_never_repeats_a_value() -> None:
    for form, document in DOCUMENTS.items():
        for way in texts(document):
            if way[-1] in IDS:
                assert SECRET not in written(json.dumps(changed(document, way, f"{SECRET} x")).encode(), []), form

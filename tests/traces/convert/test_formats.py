"""Each format of the same trace gives the same spans, as far as the format can carry them."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from loadgen.traces.convert.datadog import traces_of_datadog
from loadgen.traces.convert.detect import traces_of
from loadgen.traces.convert.jaeger_json import traces_of_jaeger
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.traces.convert.otlp_protobuf import traces_of_otlp
from loadgen.traces.convert.xray_segments import traces_of_xray
from loadgen.traces.convert.zipkin import traces_of_zipkin
from loadgen.traces.model import Span, Trace
from tests.support.trace_documents import (
    OLD,
    T0_US,
    MadeSpan,
    as_datadog,
    as_jaeger,
    as_otlp,
    as_otlp_protobuf,
    as_xray,
    as_zipkin,
    shop_trace,
)

TRACE, SPANS = shop_trace()


def expected(spans: list[MadeSpan], resolution_ns: int) -> Trace:
    """The made spans in the form of the model, written down without any reader."""
    routed = {"POST /checkout", "POST /reserve"}
    return Trace(
        TRACE,
        tuple(
            Span(
                id=one.id,
                parent=one.parent,
                service=one.service,
                operation=one.name if one.name not in routed else f"POST {one.attributes['http.route']}",
                start_ns=(T0_US + one.start_us) * 1_000,
                end_ns=None if one.duration_us is None else (T0_US + one.start_us + one.duration_us) * 1_000,
                kind=one.kind,  # type: ignore[arg-type]
                status="error" if one.is_error else "unset",
                attributes={
                    name: "SELECT * FROM item WHERE tenant = ?" if name == "db.query.text" else value
                    for name, value in one.attributes.items()
                },
                resource=one.resource,
                resolution_ns=resolution_ns,
            )
            for one in spans
        ),
    )


def dumped(document: object) -> bytes:
    return json.dumps(document).encode()


FORMATS: dict[str, tuple[Callable[[], list[Trace]], int]] = {
    "otlp json": (lambda: traces_of_otlp_json(dumped(as_otlp(TRACE, SPANS))), 1),
    "otlp json, old names": (lambda: traces_of_otlp_json(dumped(as_otlp(TRACE, SPANS, OLD))), 1),
    "otlp protobuf": (lambda: traces_of_otlp(as_otlp_protobuf(TRACE, SPANS)), 1),
    "jaeger": (lambda: traces_of_jaeger(dumped(as_jaeger(TRACE, SPANS))), 1_000),
    "zipkin": (lambda: traces_of_zipkin(dumped(as_zipkin(TRACE, SPANS))), 1_000),
    "datadog": (lambda: traces_of_datadog(dumped(as_datadog(TRACE, SPANS))), 1),
}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_of_one_trace_gives_the_same_spans(form: str) -> None:
    read, resolution_ns = FORMATS[form]
    assert read() == [expected(SPANS, resolution_ns)]


def test_segments_of_xray_give_the_same_spans_without_what_they_cannot_carry() -> None:
    def carried(span: Span) -> Span:
        names = ("http.request.method", "http.response.status_code", "url.path", "db.system.name", "db.query.text")
        return msgspec.structs.replace(
            span,
            attributes={
                name: value
                for name, value in span.attributes.items()
                if name in names and (name != "url.path" or span.kind == "server")
            },
            resource={"service.version": span.resource["service.version"]},
            resolution_ns=1_000,
        )

    [trace] = traces_of_xray(as_xray(TRACE, SPANS))
    [whole] = [expected(SPANS, 1)]
    assert sorted(map(carried, trace.spans), key=lambda s: s.id) == sorted(
        map(carried, whole.spans), key=lambda s: s.id
    )


def test_all_formats_are_recognized_by_their_content() -> None:
    documents: dict[str, bytes] = {
        "otlp": dumped(as_otlp(TRACE, SPANS)),
        "otlp, in several lines": json.dumps(as_otlp(TRACE, SPANS), indent=2).encode(),
        "otlp, with a byte order mark": b"\xef\xbb\xbf" + dumped(as_otlp(TRACE, SPANS)),
        "protobuf": as_otlp_protobuf(TRACE, SPANS),
        "tempo": dumped({"trace": as_otlp(TRACE, SPANS), "metrics": {}}),
        "tempo, version 1": dumped({"batches": as_otlp(TRACE, SPANS)["resourceSpans"]}),
        "jaeger 2": dumped({"result": as_otlp(TRACE, SPANS)}),
        "jaeger": dumped(as_jaeger(TRACE, SPANS)),
        "jaeger, one trace": dumped(as_jaeger(TRACE, SPANS)["data"][0]),  # type: ignore[index]
        "jaeger, list": dumped(as_jaeger(TRACE, SPANS)["data"]),
        "zipkin": dumped(as_zipkin(TRACE, SPANS)),
        "zipkin, traces": dumped([as_zipkin(TRACE, SPANS)]),
        "zipkin, a span a line": b"\n".join(map(dumped, as_zipkin(TRACE, SPANS))),
        "x-ray": dumped({"Traces": [{"Segments": [{"Id": "1", "Document": one} for one in as_xray(TRACE, SPANS)]}]}),
        "x-ray, list": dumped([json.loads(one) for one in as_xray(TRACE, SPANS)]),
        "x-ray, list of texts": dumped(as_xray(TRACE, SPANS)),
        "x-ray, a segment a line": "\n".join(as_xray(TRACE, SPANS)).encode(),
        "datadog": dumped(as_datadog(TRACE, SPANS)),
        "otlp, list": dumped([as_otlp(TRACE, SPANS[:3]), as_otlp(TRACE, SPANS[3:])]),
    }
    for name, data in documents.items():
        [trace] = traces_of("traces", data)
        assert trace.id == TRACE, name
        assert sorted(s.id for s in trace.spans) == sorted(s.id for s in SPANS), name


def test_a_trace_may_be_spread_over_lines_in_any_order() -> None:
    other, others = shop_trace(2)
    lines = [as_otlp(TRACE, SPANS[:2]), as_otlp(other, others), as_otlp(TRACE, SPANS[2:])]
    data = b"\n\n".join(map(dumped, lines)) + b"\n"
    for read in (traces_of_otlp_json, lambda data: traces_of("x.jsonl", data)):
        first, second = read(data)
        assert (first.id, len(first.spans)) == (TRACE, len(SPANS))
        assert (second.id, len(second.spans)) == (other, len(others))


def test_both_spans_of_a_shared_id_of_zipkin_are_returned() -> None:
    shared = {"traceId": "1", "id": "2", "parentId": "3", "timestamp": 10, "duration": 5, "name": "get"}
    client = {**shared, "kind": "CLIENT", "localEndpoint": {"serviceName": "shop"}}
    server = {**shared, "kind": "SERVER", "shared": True, "localEndpoint": {"serviceName": "stock"}}
    [trace] = traces_of_zipkin(dumped([client, server]))
    assert [(s.id, s.parent, s.kind, s.service) for s in trace.spans] == [
        (f"{2:016x}", f"{3:016x}", "client", "shop"),
        (f"{2:016x}", f"{3:016x}", "server", "stock"),
    ]


def test_a_span_that_follows_from_its_parent_in_jaeger_never_blocks_it() -> None:
    span = {
        "spanID": "b",
        "references": [{"refType": "FOLLOWS_FROM", "traceID": "a", "spanID": "a"}],
        "startTime": 1,
        "duration": 1,
    }
    [trace] = traces_of_jaeger(dumped({"data": [{"traceID": "a", "spans": [span], "processes": {}}]}))
    [one] = trace.spans
    assert (one.parent, one.kind, one.links) == (f"{10:016x}", "consumer", (f"{10:016x}",))


def test_spans_of_other_traces_are_links_in_jaeger() -> None:
    references = [
        {"refType": "CHILD_OF", "traceID": "f", "spanID": "e"},
        {"refType": "CHILD_OF", "traceID": "a", "spanID": "c"},
    ]
    span = {"traceID": "a", "spanID": "b", "references": references, "startTime": 1, "duration": 1}
    [trace] = traces_of_jaeger(dumped({"data": [{"spans": [span]}]}))
    [one] = trace.spans
    assert (one.parent, one.kind, one.links) == (f"{12:016x}", "internal", (f"{14:016x}",))


def test_a_truncated_trace_of_datadog_is_cut() -> None:
    document = as_datadog(TRACE, SPANS)
    document["data"]["attributes"]["is_truncated"] = True  # type: ignore[index]
    [trace] = traces_of_datadog(dumped(document))
    assert trace.is_cut


@pytest.mark.parametrize(("limited", "is_cut"), [(True, True), (False, False), (None, False)])
def test_a_saved_answer_of_xray_whose_trace_is_too_large_is_cut(limited: bool | None, is_cut: bool) -> None:
    segments = [{"Id": "1", "Document": one} for one in as_xray(TRACE, SPANS)]
    answer = {"Traces": [{"Id": f"1-{TRACE[:8]}-{TRACE[8:]}", "LimitExceeded": limited, "Segments": segments}]}

    [trace] = traces_of("x.json", dumped(answer))

    assert (len(trace.spans), trace.is_cut) == (len(SPANS), is_cut)


@pytest.mark.parametrize(("status", "is_cut"), [("PARTIAL", True), (1, True), ("COMPLETE", False), (None, False)])
def test_a_saved_answer_of_tempo_with_a_part_of_the_trace_is_cut(status: object, is_cut: bool) -> None:
    [trace] = traces_of("x.json", dumped({"trace": as_otlp(TRACE, SPANS), "metrics": {}, "status": status}))

    assert (len(trace.spans), trace.is_cut) == (len(SPANS), is_cut)


def test_calls_of_aws_services_in_xray_are_named_by_service_and_operation() -> None:
    call = {
        "id": "53995c3f42cd8ad8",
        "name": "DynamoDB",
        "start_time": 2.0,
        "end_time": 3.0,
        "namespace": "aws",
        "aws": {"operation": "GetItem", "table_name": "users", "retries": 2},
    }
    inferred = {
        "trace_id": "1-00000001-000000000000000000000001",
        "id": "aa",
        "name": "DynamoDB",
        "parent_id": "53995c3f42cd8ad8",
        "start_time": 2.0,
        "end_time": 3.0,
        "inferred": True,
    }
    segment = {**inferred, "id": "bb", "name": "shop", "parent_id": None, "inferred": False, "subsegments": [call]}
    [trace] = traces_of_xray([json.dumps(segment), json.dumps(inferred)])
    assert trace.id == "00000001000000000000000000000001"
    assert [(s.service, s.operation, s.kind) for s in trace.spans] == [
        ("shop", "shop", "server"),
        ("shop", "DynamoDB/GetItem", "client"),
    ]
    assert trace.spans[1].attributes["http.request.resend_count"] == 2


def test_ids_in_base64_are_read_as_tempos_json_has_them() -> None:
    document = as_otlp(TRACE, SPANS[:1])
    [span] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]  # type: ignore[index]
    span |= {"traceId": "W47/95gDgQPSabYzgT/GDA==", "spanId": "7uGbfsPBsXQ=", "parentSpanId": ""}
    [trace] = traces_of_otlp_json(dumped(document))
    assert (trace.id, trace.spans[0].id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")

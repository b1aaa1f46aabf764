"""Splitting OTLP requests by trace and joining them again: the same spans as OpenTelemetry's own messages have."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from loadgen.backends.collector.otlp_parts import Malformed, Part, joined, split_json, split_protobuf

TRACES = [bytes([n]) * 16 for n in (1, 2, 3)]


def request_of(spans: list[tuple[int, int, int]], **of_span: Any) -> ExportTraceServiceRequest:
    """A request with a span for each (resource, scope, trace), each with an id of its own."""
    request = ExportTraceServiceRequest()
    resources: dict[Any, Any] = {}
    for number, (resource, scope, trace) in enumerate(spans, 1):
        if resource not in resources:
            resources[resource] = request.resource_spans.add(schema_url=f"r{resource}")
            pair = resources[resource].resource.attributes.add(key="service.name")
            pair.value.string_value = f"service-{resource}"
        if (resource, scope) not in resources:
            resources[resource, scope] = resources[resource].scope_spans.add(schema_url=f"s{scope}")
            resources[resource, scope].scope.name = f"scope-{scope}"
        resources[resource, scope].spans.add(
            trace_id=TRACES[trace], span_id=number.to_bytes(8), name=f"span {number}", **of_span
        )
    return request


def as_json(message: Any) -> Any:
    """The official JSON of a message: protobuf's, but with ids in hex instead of base64, and numbers for enums."""
    return hexed(MessageToDict(message, use_integers_for_enums=True))


def hexed(value: Any) -> Any:
    if isinstance(value, list):
        return [hexed(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {key: base64.b64decode(one).hex() if key in ids else hexed(one) for key, one in value.items()}


def spans_by_trace(document: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                where = [
                    resource.get("resource"),
                    resource.get("schemaUrl"),
                    scope.get("scope"),
                    scope.get("schemaUrl"),
                ]
                found.setdefault(span["traceId"], []).append([*where, span])
    return found


def in_order(spans: list[Any]) -> list[Any]:
    return sorted(spans, key=lambda one: one[-1]["spanId"])


def by_trace(parts: list[Part]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.trace, []).append(part)
    return found


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2)), max_size=12), st.booleans())
def test_each_trace_gets_its_spans_with_their_resource_and_scope(spans: list[Any], as_text: bool) -> None:
    message = request_of(spans, kind=2, start_time_unix_nano=1, end_time_unix_nano=2**63 + 1)
    official = as_json(message)
    split = split_json(json.dumps(official).encode()) if as_text else split_protobuf(message.SerializeToString())

    assert split.rejected == 0
    assert sum(part.spans for part in split.parts) == len(spans)
    want = spans_by_trace(official)
    got = {trace: spans_by_trace(json.loads(joined(parts))) for trace, parts in by_trace(split.parts).items()}
    assert set(got) == set(want)
    for trace, found in got.items():
        assert set(found) == {trace}
        assert in_order(found[trace]) == in_order(want[trace])


def test_all_fields_of_a_span_become_the_official_json() -> None:
    message = request_of([(0, 0, 0)])
    message.resource_spans[0].resource.dropped_attributes_count = 3
    scope = message.resource_spans[0].scope_spans[0].scope
    scope.version = "1.2"
    scope.attributes.add(key="k").value.bool_value = True
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.trace_state, span.parent_span_id = "ot=th:8", b"\x07" * 8
    span.kind = Span.SPAN_KIND_CLIENT
    span.start_time_unix_nano, span.end_time_unix_nano, span.flags = 2**64 - 1, 7, 257
    span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count = 1, 2, 300
    span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "no"
    span.attributes.add(key="text").value.string_value = "ä\u2028"
    span.attributes.add(key="int").value.int_value = -5
    span.attributes.add(key="zero").value.int_value = 0
    span.attributes.add(key="least").value.int_value = -(2**63)
    span.attributes.add(key="double").value.double_value = 0.1
    span.attributes.add(key="nan").value.double_value = math.nan
    span.attributes.add(key="inf").value.double_value = -math.inf
    span.attributes.add(key="bytes").value.bytes_value = b"\xff\x00"
    span.attributes.add(key="list").value.array_value.values.add().string_value = "a"
    pair = span.attributes.add(key="map").value.kvlist_value.values.add(key="inner")
    pair.value.double_value = 2.5
    event = span.events.add(time_unix_nano=9, name="exception")
    event.attributes.add(key="e").value.string_value = "x"
    span.links.add(trace_id=TRACES[1], span_id=b"\x09" * 8, trace_state="a=b", flags=1)

    found = json.loads(joined(split_protobuf(message.SerializeToString()).parts))

    assert found == as_json(message)


def test_spans_without_valid_ids_are_rejected_and_the_others_stay() -> None:
    message = request_of([(0, 0, 0), (0, 0, 1), (0, 0, 1), (0, 0, 2), (0, 1, 2)])
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = bytes(16)
    spans[1].trace_id = b"\x01" * 8
    spans[2].span_id = b""

    for split in (split_protobuf(message.SerializeToString()), split_json(json.dumps(as_json(message)).encode())):
        assert split.rejected == 3
        assert [(part.trace, part.spans) for part in split.parts] == [(TRACES[2].hex(), 2)]


def test_ids_in_upper_case_are_the_same_ids() -> None:
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "AB" * 16, "spanId": "CD" * 8}]}]}]}
    assert split_json(json.dumps(document).encode()).parts[0].trace == "ab" * 16


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x07"]
)
def test_bytes_that_are_no_message_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed, match="not a valid OTLP message"):
        split_protobuf(data)


@given(st.binary(max_size=80))
def test_no_bytes_break_the_splitting(data: bytes) -> None:
    for split in (split_protobuf, split_json):
        try:
            document = joined(split(data).parts)
        except Malformed:
            continue
        assert isinstance(json.loads(document)["resourceSpans"], list)


@given(st.data())
def test_a_damaged_message_breaks_nothing(data: st.DataObject) -> None:
    message = request_of([(0, 0, 0), (1, 0, 1)], kind=1)
    whole = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        document = joined(split_protobuf(bytes(whole)).parts)
    except Malformed:
        return
    assert isinstance(json.loads(document)["resourceSpans"], list)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ("[]", "not OTLP JSON"),
        ('{"resourceSpans": 1}', "not OTLP JSON"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', "not OTLP JSON"),
        ('{"a":' * 5000, "not valid JSON"),
    ],
)
def test_a_text_that_is_no_otlp_is_malformed(text: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        split_json(text.encode())


def test_values_nested_too_deeply_are_malformed_and_not_an_overflow() -> None:
    message = request_of([(0, 0, 0)])
    value = message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(45):
        value = value.array_value.values.add()
    value.string_value = "x"
    parts = split_protobuf(message.SerializeToString()).parts
    with pytest.raises(Malformed, match="malformed span"):
        joined(parts)

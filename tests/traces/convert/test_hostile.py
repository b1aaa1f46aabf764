"""Documents that are damaged, hostile or no traces: a TraceFormatError with a place, or traces within the limits."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ExitCode, TraceFormatError
from loadgen.traces.convert import fields, spans
from loadgen.traces.convert.detect import traces_of
from loadgen.traces.convert.otlp_json import otlp_json_line, trace_of_kept_line, traces_of_otlp_json
from loadgen.traces.convert.spans import SpanCollector
from loadgen.traces.convert.zipkin import collect_zipkin
from loadgen.traces.model import MOST_ATTRIBUTES, MOST_TEXT, Trace
from tests.support.trace_documents import (
    as_datadog,
    as_jaeger,
    as_otlp,
    as_otlp_protobuf,
    as_xray,
    as_zipkin,
    shop_trace,
)

TRACE, SPANS = shop_trace()
DOCUMENTS: dict[str, Any] = {
    "otlp": as_otlp(TRACE, SPANS),
    "jaeger": as_jaeger(TRACE, SPANS),
    "zipkin": as_zipkin(TRACE, SPANS),
    "datadog": as_datadog(TRACE, SPANS),
    "x-ray": [json.loads(one) for one in as_xray(TRACE, SPANS)],
}
PROTOBUF = as_otlp_protobuf(TRACE, SPANS)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of a document."""
    yield way
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*way, key))


def changed(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at one place."""
    if not way:
        return value
    done = copy.deepcopy(document)
    at = done
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    return done


def is_in_bounds(traces: list[Trace]) -> bool:
    """Whether all traces keep the promises of the model, and can be written and read again."""
    for trace in traces:
        assert len(bytes.fromhex(trace.id)) == 16
        assert trace.id == trace.id.lower()
        assert trace.spans
        for span in trace.spans:
            assert len(bytes.fromhex(span.id)) == 8
            assert len(bytes.fromhex(span.parent)) in (0, 8)
            assert 0 <= span.start_ns < 1 << 63
            assert span.end_ns is None or 0 <= span.end_ns < 1 << 63
            assert 0 < len(span.service) <= MOST_TEXT
            assert 0 < len(span.operation) <= MOST_TEXT
            for attributes in (span.attributes, span.resource):
                assert len(attributes) <= MOST_ATTRIBUTES
                assert all(isinstance(one, str | int | float) for one in attributes.values())
        assert repr(trace_of_kept_line(otlp_json_line(trace))) == repr(trace)
    return True


def read(data: bytes, name: str = "file") -> bool:
    """Read a document like a file. False if an error has no message; no other error than TraceFormatError may arise."""
    try:
        return is_in_bounds(traces_of(name, data, keep=["app.*", "tenant"]))
    except TraceFormatError as error:
        return bool(error.message) and error.exit_code is ExitCode.USAGE


_hostile_numbers = st.sampled_from(
    [-1, 0, 1, 1 << 31, 1 << 63, 1 << 64, 1 << 200, -(1 << 63), 0.5, -0.0, 1e308, 1e-300]
)
_hostile_texts = st.sampled_from(["", "0", "-1", " 1", "1_0", "x", "\u0000", "\ud800", "١٢", "NaN", "1e3", "f" * 5_000])
_anything = st.recursive(
    st.none() | st.booleans() | _hostile_numbers | _hostile_texts | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("form", DOCUMENTS)
@given(data=st.data())
def test_a_document_with_wrong_values_gives_traces_or_an_error_of_format(form: str, data: st.DataObject) -> None:
    document = DOCUMENTS[form]
    for _ in range(data.draw(st.integers(1, 3))):
        document = changed(document, data.draw(st.sampled_from(list(places(document)))), data.draw(_anything))
    assert read(json.dumps(document).encode())


@pytest.mark.parametrize("form", DOCUMENTS)
@given(data=st.data())
def test_a_document_with_wrong_bytes_gives_traces_or_an_error_of_format(form: str, data: st.DataObject) -> None:
    text = bytearray(json.dumps(DOCUMENTS[form]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    assert read(bytes(text))
    assert read(bytes(text[: data.draw(st.integers(0, len(text)))]))


@given(data=st.data())
def test_protobuf_with_wrong_bytes_gives_traces_or_an_error_of_format(data: st.DataObject) -> None:
    text = bytearray(PROTOBUF)
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    assert read(bytes(text), "a.pb")
    assert read(bytes(text[: data.draw(st.integers(0, len(text)))]), "a.pb")


@given(st.binary(max_size=200))
def test_any_bytes_give_traces_or_an_error_of_format(data: bytes) -> None:
    assert read(data)
    assert read(data, "a.pb")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the document is empty"),
        (b" \n \n", "the document is empty"),
        (b"<html><body>502 Bad Gateway</body></html>", "page in HTML"),
        (b"hello", "unknown format"),
        (b"{}", "none of the expected keys"),
        (b'{"error": "not found"}', "none of the expected keys"),
        (b"[1]", "no objects"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [', "truncated"),
        (b'{"resourceSpans": {}}', r"Expected `array | null`, got `object` - at `\$.resourceSpans`"),
        (b'{"data": null, "errors": [{"code": 404}]}', "an answer with an error"),
        (b'{"data": {"x": 1}}', "missing data.attributes"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"resourceSpans": [{"a": ' + b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_documents_without_traces_are_errors_with_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(TraceFormatError, match=words.replace("|", r"\|")):
        traces_of("file", data)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("traceId", "", "OTLP JSON: span 1: missing or invalid trace id"),
        ("traceId", "0" * 32, "missing or invalid trace id"),
        ("traceId", "f" * 33, "missing or invalid trace id"),
        ("traceId", "zz", "missing or invalid trace id"),
        ("traceId", None, "missing or invalid trace id"),
        ("spanId", "", "missing or invalid span id"),
        ("spanId", "0" * 16, "missing or invalid span id"),
        ("spanId", "1 2 3 4 5 6 7 8 ", "invalid span id"),
        ("parentSpanId", "xyz", "invalid span id"),
        ("startTimeUnixNano", "0", "missing startTimeUnixNano"),
        ("startTimeUnixNano", None, "missing startTimeUnixNano"),
        ("startTimeUnixNano", "-1", "invalid time"),
        ("startTimeUnixNano", -1, "invalid time"),
        ("startTimeUnixNano", str(1 << 63), "invalid time"),
        ("startTimeUnixNano", "1_000", "invalid time"),
        ("startTimeUnixNano", "9" * 5_000, "invalid time"),
        ("startTimeUnixNano", 1.5, "Expected"),
        ("endTimeUnixNano", "NaN", "invalid time"),
        ("endTimeUnixNano", [], "Expected"),
        ("kind", {}, "Expected"),
        ("attributes", "x", "Expected"),
    ],
)
def test_wrong_fields_of_a_span_are_errors_with_its_place(field: str, value: object, words: str) -> None:
    document = copy.deepcopy(DOCUMENTS["otlp"])
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0][field] = value
    with pytest.raises(TraceFormatError, match=words):
        traces_of_otlp_json(json.dumps(document).encode())


def test_not_a_number_is_an_error_of_format_in_all_formats() -> None:
    for form, keys in (("jaeger", ("startTime", "duration")), ("zipkin", ("timestamp",)), ("x-ray", ("start_time",))):
        text = json.dumps(DOCUMENTS[form])
        for key in keys:
            for value in ("NaN", "-Infinity", "1e999", "-5", "1e30"):
                begin = text.index(f'"{key}": ') + len(key) + 4
                end = begin + text[begin:].index(",")
                with pytest.raises(TraceFormatError):
                    traces_of("file", (text[:begin] + value + text[end:]).encode())


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("ABCDEF0123456789ABCDEF0123456789", "abcdef0123456789abcdef0123456789"),
        ("ABCDEF0123456789", "0" * 16 + "abcdef0123456789"),
        ("a", "0" * 31 + "a"),
        ("1-5759e988-bd862e3fe1be46a994272793", "5759e988bd862e3fe1be46a994272793"),
    ],
)
def test_ids_of_traces_are_read_in_all_their_forms(id: str, expected: str) -> None:
    assert fields.trace_id(id) == expected


def test_an_end_that_is_missing_or_before_the_start_is_left_to_repair() -> None:
    document = copy.deepcopy(DOCUMENTS["otlp"])
    first, second, *_ = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    del first["endTimeUnixNano"]
    second["endTimeUnixNano"] = "5"
    [trace] = traces_of_otlp_json(json.dumps(document).encode())
    assert (trace.spans[0].end_ns, trace.spans[1].end_ns) == (None, 5)


def test_an_error_in_a_line_names_the_line() -> None:
    good = json.dumps(DOCUMENTS["otlp"])
    data = "\n".join([good, good, good.replace(TRACE, "x")]).encode()
    for reader in (traces_of_otlp_json, lambda data: traces_of("x.jsonl", data)):
        with pytest.raises(TraceFormatError, match=r"^line 3: OTLP JSON: span 1: missing or invalid trace id"):
            reader(data)


def test_a_truncated_last_line_names_the_line() -> None:
    good = json.dumps(DOCUMENTS["otlp"])
    with pytest.raises(TraceFormatError, match=r"line 2: OTLP JSON: invalid JSON: Input data was truncated"):
        traces_of("x.jsonl", f"{good}\n{good[:-30]}".encode())


def test_a_document_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MOST_BYTES", 1_000)
    with pytest.raises(TraceFormatError, match="at most 0 are allowed"):
        traces_of_otlp_json(json.dumps(DOCUMENTS["otlp"]).encode())


def test_a_trace_of_too_many_spans_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MOST_SPANS", 4)
    [trace] = traces_of_otlp_json(json.dumps(DOCUMENTS["otlp"]).encode())
    assert (len(trace.spans), trace.is_cut) == (4, True)


def test_too_many_spans_in_all_are_an_error() -> None:
    found = SpanCollector(most_spans=5)
    [trace] = traces_of_otlp_json(json.dumps(DOCUMENTS["otlp"]).encode())
    for number, span in enumerate(trace.spans[:5]):
        found.add(f"{number:032x}", span)
    with pytest.raises(TraceFormatError, match="too many spans"):
        found.add("5" * 32, trace.spans[5])


def test_only_wanted_traces_are_collected_also_by_half_of_their_id() -> None:
    short = {"traceId": "ABCDEF0123456789", "id": "1", "timestamp": 1, "name": "a"}
    other = {**short, "traceId": "ABCDEF0123456780"}
    found = SpanCollector(only=["00000000000000ffabcdef0123456789"])
    collect_zipkin(json.dumps([short, other]).encode(), found)
    assert [trace.id for trace in found.traces()] == ["00000000000000ffabcdef0123456789"]


def test_a_subsegment_within_a_thousand_others_cuts_the_trace() -> None:
    segment: dict[str, Any] = {"id": "1", "name": "a", "start_time": 1.0, "end_time": 2.0}
    for number in range(2, 400):
        segment = {"id": f"{number:x}", "name": "a", "start_time": 1.0, "end_time": 2.0, "subsegments": [segment]}
    assert read(json.dumps({**segment, "trace_id": TRACE}).encode())


@pytest.mark.slow
def test_100_mb_of_one_trace_are_read() -> None:
    number = 120_000
    one = json.dumps(
        {
            "traceId": TRACE,
            "spanId": "ID",
            "name": "GET /x",
            "kind": 3,
            "startTimeUnixNano": "1764395000000000000",
            "endTimeUnixNano": "1764395000000001000",
            "attributes": [{"key": f"app.{n}", "value": {"stringValue": "x" * 100}} for n in range(5)],
        }
    )
    body = ",".join(one.replace("ID", f"{n:016x}") for n in range(1, number + 1))
    data = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{body}]}}]}}]}}'.encode()
    assert len(data) > 90e6
    [trace] = traces_of_otlp_json(data)
    assert len(trace.spans) == number
    with pytest.raises(TraceFormatError):
        traces_of_otlp_json(data[:-10])

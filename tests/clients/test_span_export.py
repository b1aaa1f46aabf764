"""Our own spans of sampled iterations: what is sent, in which tree, and what a receiver that fails costs."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from time import perf_counter_ns, time_ns
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from loadgen.allowlist import AllowList, Entry
from loadgen.clients.net.target_guard import TargetGuard, place_of
from loadgen.clients.request.traced_meter import TracedMeter, with_traces
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.clients.span_export.client_span_names import error_type, request_of
from loadgen.clients.span_export.endpoint import Endpoint, endpoint_of, wrong_with
from loadgen.clients.span_export.guarded_post import GuardedPost
from loadgen.clients.span_export.otlp_spans import encoded, rejected
from loadgen.clients.span_export.sender import MAX_WAITING, SpanSender
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.client_spans import MAX_SPANS, ClientSpan, IterationTree, Request
from loadgen.engine.tracing.sampling import Sampling
from loadgen.measure.deltas.series_key import OK, SeriesKey
from tests.support.traced import Sampled

# -- the bytes -----------------------------------------------------------------------------------

HEX = "0123456789abcdef"
SPANS = st.builds(
    ClientSpan,
    trace=st.text(HEX, min_size=32, max_size=32),
    span=st.text(HEX, min_size=16, max_size=16),
    parent=st.just("") | st.text(HEX, min_size=16, max_size=16),
    name=st.text(max_size=40),
    begun_ns=st.integers(0, 2**40),
    ended_ns=st.integers(0, 2**40),
    outcome=st.sampled_from([OK, "timeout", "http 503"]),
    journey=st.sampled_from(["", "shop", "a\x1bb"]),
    step=st.sampled_from(["", "pay"]),
    threshold=st.sampled_from(["", "fd70a4"]),
    request=st.none()
    | st.builds(
        Request,
        method=st.sampled_from(["GET", "PUT"]),
        url=st.text(max_size=3_000),
        host=st.just("shop.example"),
        port=st.integers(0, 65_535),
        status=st.integers(0, 999),
    ),
    links=st.lists(st.builds(lambda a, b: f"{a}-{b}", st.just("a" * 32), st.just("b" * 16)), max_size=3).map(tuple),
)


def decoded(data: bytes) -> list[tuple[dict[str, str], Span]]:
    message = ExportTraceServiceRequest.FromString(data)
    return [
        ({one.key: one.value.string_value for one in part.resource.attributes}, span)
        for part in message.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


def attributes_of(span: Span) -> dict[str, object]:
    return {one.key: one.value.int_value or one.value.string_value for one in span.attributes}


@settings(max_examples=30)
@given(st.lists(SPANS, max_size=4))
def test_opentelemetry_reads_every_span_with_its_ids_times_and_attributes(spans: list[ClientSpan]) -> None:
    found = decoded(encoded(spans, {"service.name": "loadgen", "empty": ""}, 10**18))
    assert len(found) == len(spans)
    expected = [
        one for journey in dict.fromkeys(one.journey for one in spans) for one in spans if one.journey == journey
    ]
    for one, (resource, span) in zip(expected, found, strict=True):
        assert resource == {"service.name": "loadgen"} | ({"loadgen.journey": one.journey} if one.journey else {})
        assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (one.trace, one.span, one.parent)
        assert span.name == one.name
        assert span.start_time_unix_nano == 10**18 + one.begun_ns
        assert span.end_time_unix_nano == 10**18 + max(one.begun_ns, one.ended_ns)
        assert span.trace_state == (f"ot=th:{one.threshold}" if one.threshold else "")
        assert span.kind == (Span.SPAN_KIND_INTERNAL if one.request is None else Span.SPAN_KIND_CLIENT)
        assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [
            (link[:32], link[33:]) for link in one.links
        ]
        attributes = attributes_of(span)
        assert attributes.get("loadgen.step", "") == one.step
        assert (span.status.code == 2) is (one.outcome != OK) is ("error.type" in attributes)
        if one.request is not None:
            assert attributes["http.request.method"] == one.request.method
            assert attributes.get("url.full", "") == one.request.url[:1_024]
            assert attributes.get("server.port", 0) == one.request.port
            assert attributes.get("http.response.status_code", 0) == one.request.status


def test_the_error_type_is_the_status_of_a_failed_answer_and_else_the_outcome() -> None:
    assert [error_type(*one) for one in ((OK, 404), ("http 503", 503), ("expect json", 200), ("timeout", 0))] == [
        "",
        "503",
        "expect json",
        "timeout",
    ]


@given(st.integers(0, 2**62), st.text(max_size=20))
def test_rejected_spans_are_read_from_the_answer(count: int, text: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=text)
    assert rejected(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) in (count, 0)
    if count and len(text) < 100:
        assert rejected(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == count


@given(st.binary(max_size=30))
def test_any_answer_is_read_without_an_error(answer: bytes) -> None:
    assert rejected(answer) >= 0


# -- what a request's span contains ----------------------------------------------------------------


class Route:
    method, url = "GET", "https://user:pw@Shop.example:8443/a/b?token=abc#x"


class Answered:
    route, status_code = Route(), 200


def test_the_url_has_neither_query_nor_user_nor_password() -> None:
    found = request_of(Answered())
    assert found is not None
    assert found == ("GET", "https://Shop.example:8443/a/b", "shop.example", 8443, 200)


# -- the tree --------------------------------------------------------------------------------------


def request_span(trace: str, number: int, begun_ns: int) -> ClientSpan:
    asked = Request("GET", "http://a/", "a", 80, 200)
    return ClientSpan(trace, f"{number:016x}", "", "GET /", begun_ns, begun_ns + 5, OK, "shop", "", "c", asked)


def key_of(step: str | None) -> SeriesKey:
    return SeriesKey("step" if step else "journey", "shop", step, None, OK, "response")


def a_tree(trace: str = "") -> tuple[IterationTree, list[ClientSpan], list[int]]:
    found: list[ClientSpan] = []
    left_out: list[int] = []

    def put(spans: list[ClientSpan], more: int) -> None:
        found.extend(spans)
        left_out.append(more)

    return IterationTree(put, Random(1), trace), found, left_out


def test_in_one_trace_requests_lie_in_their_steps_and_steps_in_the_journey() -> None:
    tree, found, _ = a_tree("a" * 32)
    tree.request(request_span("a" * 32, 1, 10))
    tree.request(request_span("a" * 32, 2, 30))
    tree.step(key_of("pay/card"), 25, 40, OK)
    tree.request(request_span("a" * 32, 3, 45))
    tree.step(key_of("pay"), 20, 60, OK)
    assert not found
    tree.end(key_of(None), 0, 100, OK)
    by_name = {one.name if one.request is None else one.span[-1]: one for one in found}
    parents = {name: one.parent for name, one in by_name.items()}
    assert parents == {
        "1": by_name["shop"].span,
        "2": by_name["pay/card"].span,
        "pay/card": by_name["pay"].span,
        "3": by_name["pay"].span,
        "pay": by_name["shop"].span,
        "shop": "",
    }
    assert {one.trace for one in found} == {"a" * 32}


def test_with_a_trace_for_each_call_the_journey_s_trace_links_to_them_and_shares_their_decision() -> None:
    tree, found, _ = a_tree()
    first, second = f"{'1' * 18}abcdef{'2' * 8}", f"{'3' * 18}abcdef{'4' * 8}"
    tree.request(request_span(first, 1, 10))
    tree.request(request_span(second, 2, 30))
    tree.request(request_span(second, 3, 32))  # a hop of a redirect
    tree.step(key_of("pay"), 25, 40, OK)
    tree.end(key_of(None), 0, 100, "timeout")
    one, two, hop, step, journey = found
    assert (one.parent, two.parent, hop.parent) == ("", "", two.span)
    assert step.trace == journey.trace
    assert step.parent == journey.span
    assert journey.trace[18:24] == "abcdef"
    assert journey.trace not in (first, second)
    assert step.links == (f"{second}-{two.span}", f"{second}-{hop.span}")
    assert journey.links == (f"{first}-{one.span}",)
    assert journey.outcome == "timeout"


def test_an_iteration_of_more_spans_than_the_limit_counts_the_others_and_keeps_the_journey() -> None:
    tree, found, left_out = a_tree("a" * 32)
    for number in range(MAX_SPANS + 7):
        tree.request(request_span("a" * 32, number + 1, number))
    tree.end(key_of(None), 0, 1_000, OK)
    assert len(found) == MAX_SPANS + 1
    assert left_out == [7]
    assert found[-1].name == "shop"


def test_a_request_after_the_end_of_its_iteration_is_passed_on_at_once() -> None:
    tree, found, _ = a_tree("a" * 32)
    tree.request(request_span("a" * 32, 1, 1))
    tree.end(key_of(None), 0, 10, OK)
    tree.request(request_span("a" * 32, 2, 20))
    assert found[-1].parent == found[-2].span


# -- from the meter to the receiver ------------------------------------------------------------------


class Receiver(BaseHTTPRequestHandler):
    """Answers with the statuses that a test gives, then with 200."""

    statuses: ClassVar[list[int]] = []
    got: ClassVar[list[tuple[str, bytes]]] = []
    answer: ClassVar[bytes] = b""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.got.append((self.headers.get("Authorization", ""), gzip.decompress(data)))
        body = self.answer if status == 200 else b"no: TOKEN-17"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def receiver(*statuses: int, answer: bytes = b"") -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []
    kind = type("OneReceiver", (Receiver,), {"statuses": list(statuses), "got": got, "answer": answer})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def sender(url: str, guard: TargetGuard | None = None, redact: Callable[[str], str] = str) -> SpanSender:
    headers = {"Authorization": "Bearer TOKEN-17"}
    post = GuardedPost(endpoint_of(f"otlp:{url}"), guard or TargetGuard(), headers, ("Bearer TOKEN-17", "TOKEN-17"))
    return SpanSender(post, {"service.name": "loadgen"}, redact, Random(3))


def an_iteration(export: SpanSender, per: Any = "iteration", sample: float = 1.0) -> list[tuple[str, str]]:
    """Run one iteration of two requests, and return the ids that its headers had."""
    recorder = Recorder(sampling=Sampling(sample))
    meter = with_traces(Meter, Trace(sample, per=per), export)(recorder)
    assert isinstance(meter, TracedMeter)
    tracer = Tracer(Trace(sample, per=per), Random(5))
    meter.begin("shop", warmup=False, pool_limited=False)
    now_ns = perf_counter_ns()
    ids = []
    for name in ("GET /a", "GET /b"):
        sample_ = Sampled(meter, tracer, name, 1_000, asked_ns=now_ns)
        sample_.route = Route()  # type: ignore[attr-defined]
        ids.append((sample_.trace, sample_.span))
        meter.hold(sample_)
        meter.settle()
    recorder.iteration(recorder.journey_series("shop"), 2_000, 2_000, None, None, OK, False, now_ns, spans=meter.spans)
    return ids


@pytest.mark.parametrize("per", ["iteration", "trace", "request"])
def test_the_spans_that_arrive_have_the_ids_of_the_headers(per: str) -> None:
    with receiver() as (url, got):
        export = sender(url)
        ids = an_iteration(export, per)
        began_ns = time_ns()
        assert export.finish(5) == ""
    (header, data), *more = got
    assert not more
    assert header == "Bearer TOKEN-17"
    spans = [span for _, span in decoded(data)]
    requests = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert [(span.trace_id.hex(), span.span_id.hex()) for span in requests] == ids
    assert [span.name for span in spans] == ["GET /a", "GET /b"] + (["shop"] if per != "request" else [])
    assert all(abs(span.start_time_unix_nano - began_ns) < 60 * 10**9 for span in spans)
    assert export.sent == len(spans)


def test_what_is_not_sampled_is_not_exported() -> None:
    with receiver() as (url, got):
        export = sender(url)
        an_iteration(export, sample=0.0)
        assert export.finish(1) == ""
    assert not got


def test_urls_are_redacted_before_they_are_sent() -> None:
    with receiver() as (url, got):
        export = sender(url, redact=lambda text: text.replace("Shop", "****"))
        an_iteration(export)
        export.finish(5)
    (_, data), *_ = got
    assert attributes_of(decoded(data)[0][1])["url.full"] == "https://****.example:8443/a/b"
    assert b"token=" not in data


def test_a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_is_not() -> None:
    with receiver(503) as (url, got):
        export = sender(url)
        an_iteration(export)
        assert export.finish(5) == ""
        assert len(got) == 1
    with receiver(400) as (url, got):
        export = sender(url)
        an_iteration(export)
        assert export.finish(5) == "trace export: 3 of 3 of our spans dropped: http 400: no: ***"
        assert not got


def test_spans_that_the_receiver_rejects_are_counted() -> None:
    partial = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=2))
    with receiver(answer=partial.SerializeToString()) as (url, _):
        export = sender(url)
        an_iteration(export)
        assert export.finish(5) == "trace export: 2 of 3 of our spans dropped: the receiver rejected them"


def test_an_address_that_the_allow_list_does_not_admit_gets_nothing() -> None:
    allow = AllowList(allow=(Entry(host="10.0.0.0/8", owner="shop team", expires=date(2027, 1, 1)),))
    with receiver() as (url, got):
        export = sender(url, TargetGuard(allow, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)))
        an_iteration(export)
        assert "not allowed: " in export.finish(5)
        assert not got


def test_without_an_allow_list_the_control_plane_gets_nothing() -> None:
    with receiver() as (url, got):
        address, port = url.removeprefix("http://").split(":")
        export = sender(url, TargetGuard(own=[place_of(address, int(port))]))
        an_iteration(export)
        assert "control plane" in export.finish(5)
        assert not got


def test_a_full_queue_drops_spans_and_notes_it_at_powers_of_ten() -> None:
    export = sender("http://127.0.0.1:9")
    export._serve = lambda: None  # type: ignore[method-assign]  # nobody sends
    spans = [request_span("a" * 32, 1, 1)]
    export.put(spans * MAX_WAITING, 0)
    assert export.note() == ""
    export.put(spans * 5, 0)
    assert export.note() == f"trace export: 5 of our spans dropped so far: {MAX_WAITING:,} were waiting"
    export.put(spans * 4, 0)
    assert export.note() == ""
    export.put(spans, 0)
    assert export.note().startswith("trace export: 10 of our spans")
    assert len(export._waiting) == MAX_WAITING


def test_a_receiver_that_never_answers_does_not_delay_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        export = sender(f"http://127.0.0.1:{silent.getsockname()[1]}")
        an_iteration(export)
        text = export.finish(0.05)
    assert text == "trace export: 3 of 3 of our spans dropped: they were not sent within 0.05 s after the end"


# -- settings --------------------------------------------------------------------------------------


def test_a_base_url_gets_the_path_of_otlp() -> None:
    assert endpoint_of("otlp:https://otlp.example") == Endpoint(True, "otlp.example", 443, "/v1/traces")
    assert endpoint_of("otlp:http://[::1]:4318/x?a=1") == Endpoint(False, "::1", 4318, "/x?a=1")
    assert endpoint_of("otlp:http://[::1]:4318/x?a=1").shown == "http://[::1]:4318"


WRONG: Sequence[tuple[object, str]] = [
    ("http://a", 'must be "otlp:" and a URL'),
    (3, 'must be "otlp:" and a URL'),
    ("otlp:", "invalid URL"),
    ("otlp:ftp://a", "a URL with http or https"),
    ("otlp:http://a:0", "a URL with http or https"),
    ("otlp:http://a:99999", "invalid URL"),
    ("otlp:http://user:pw@a", "a user or password"),
    ("otlp:http://a/?api_key=17", '"api_key" in the URL is a secret'),
    ("otlp:http://a/#x", "a # has no meaning"),
    ("otlp:http://a/\r\nx: y", "printable ASCII"),
    ("otlp:http://a/é", "printable ASCII"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_an_invalid_receiver_is_an_error_with_a_hint(text: object, message: str) -> None:
    found = list(wrong_with(text))
    assert any(message in one for one, _ in found), found
    assert all(hint.startswith("write ") for _, hint in found)

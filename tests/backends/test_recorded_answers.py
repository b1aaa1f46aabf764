"""Each backend reads the answers that its vendor documents (tests/data/backends/README.md) as the same trace.

None of them was recorded from a real server.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from loadgen.backends.backend import Answer, Backend, BackendRefused, Found, Missing, Progress, Refused
from loadgen.backends.open_backend import open_backend
from loadgen.backends.settings import AuthHeader, TraceSource
from loadgen.traces.model import Span, Trace
from tests.support.trace_backend import Asked, Said, StandIn, stand_in

DATA = Path(__file__).parents[1] / "data" / "backends"
ID = "6a00000000000000000000000000a001"
OTHER = "6a00000000000000000000000000a002"
T0_S = 1_795_910_400
MS = 1_000_000
SECRETS = {"token": "Bearer canary-token", "key": "canary-key", "app": "canary-app"}


def recorded(name: str) -> bytes:
    return (DATA / name).read_bytes()


def opened(server: StandIn, kind: Any, **more: Any) -> Backend:
    source = TraceSource(name="t", backend=kind, url=server.url, **more)
    return open_backend(source, SECRETS, (T0_S, T0_S + 60), pause=lambda _: None, clock=lambda: 0.0)


def read(server: StandIn, kind: Any, *ids: str, **more: Any) -> dict[str, Answer]:
    backend = opened(server, kind, **more)
    try:
        return dict(backend.read(ids or (ID,)))
    finally:
        backend.close()


def trace_of(answer: Answer) -> Trace:
    assert isinstance(answer, Found), answer
    return answer.trace


def spans_of(answer: Answer) -> list[Span]:
    return sorted(trace_of(answer).spans, key=lambda one: (one.start_ns, one.kind))


def assert_the_trace(answer: Answer) -> None:
    """It is that of README.md, and nothing secret is left in it."""
    first, second = spans_of(answer)
    begin_ns = T0_S * 1_000 * MS
    assert trace_of(answer).id == ID
    assert (first.id, first.parent, first.service) == ("00000000000000a1", "", "shop")
    assert (second.id, second.parent, second.service) == ("00000000000000a2", "00000000000000a1", "stock")
    assert (first.start_ns - begin_ns, (first.end_ns or 0) - begin_ns) == (0, 120 * MS)
    assert (second.start_ns - begin_ns, (second.end_ns or 0) - begin_ns) == (20 * MS, 100 * MS)
    assert "POST /checkout" in first.operation
    assert "canary" not in repr(trace_of(answer))


def test_jaeger_is_asked_for_raw_traces() -> None:
    with stand_in(lambda _: Said(body=recorded("jaeger-trace.json"))) as server:
        auth = (AuthHeader("Authorization", "token"),)
        found = read(server, "jaeger", auth=auth)

    assert_the_trace(found[ID])
    assert server.paths == [f"/api/v3/traces/{ID}?raw_traces=true"]
    assert server.asked[0].headers["authorization"] == "Bearer canary-token"
    assert server.asked[0].headers["accept-encoding"] == "gzip"


def test_jaeger_answers_404_for_a_missing_trace() -> None:
    with stand_in(lambda _: Said(404, recorded("jaeger-missing.json"))) as server:
        assert read(server, "jaeger") == {ID: Missing()}


def test_a_stream_of_grpc_s_gateway_with_one_object_a_line_is_one_trace() -> None:
    first, second = json.loads(recorded("jaeger-trace.json"))["result"]["resourceSpans"]
    lines = [json.dumps({"result": {"resourceSpans": [one]}}) for one in (first, second)]
    with stand_in(lambda _: Said(body="\n".join(lines))) as server:
        assert_the_trace(read(server, "jaeger")[ID])


def test_a_compressed_answer_is_unpacked() -> None:
    body = gzip.compress(recorded("jaeger-trace.json"))
    with stand_in(lambda _: Said(body=body, headers={"Content-Encoding": "gzip"})) as server:
        assert_the_trace(read(server, "jaeger")[ID])


def tempo_answer(status: int | None = None) -> bytes:
    """A `TraceByIDResponse`: 1 trace, 2 metrics, 3 status, 4 message."""
    document = json.loads(recorded("jaeger-trace.json"))["result"]
    message = ParseDict(base64_ids(document), TracesData()).SerializeToString()
    size = bytes([len(message) & 127 | 128, len(message) >> 7])
    partial = b"" if status is None else bytes([0x18, status]) + b"\x22\x03cut"
    return b"\x0a" + size + message + b"\x12\x02\x08\x05" + partial


def base64_ids(value: Any) -> Any:
    """The document with its ids as protobuf's JSON has them, which differs from OTLP's."""
    import base64

    if isinstance(value, list):
        return [base64_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(one)).decode() if key in ids else base64_ids(one)
        for key, one in value.items()
    }


def test_tempo_is_asked_for_protobuf_with_the_window_of_the_run() -> None:
    with stand_in(lambda _: Said(body=tempo_answer(), kind="application/protobuf")) as server:
        found = read(server, "tempo", tenant="shop")

    assert_the_trace(found[ID])
    assert not trace_of(found[ID]).is_cut
    assert server.paths == [f"/api/v2/traces/{ID}?start={T0_S - 3600}&end={T0_S + 3660}"]
    assert server.asked[0].headers["x-scope-orgid"] == "shop"
    assert server.asked[0].headers["accept"] == "application/protobuf"


def test_tempo_s_protobuf_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.backends.read_spans.find_spec", lambda _: None)
    with stand_in(lambda _: Said(body=tempo_answer(), kind="application/protobuf")) as server:
        assert_the_trace(read(server, "tempo")[ID])


def test_a_partial_trace_of_tempo_is_cut() -> None:
    with stand_in(lambda _: Said(body=tempo_answer(1), kind="application/protobuf")) as server:
        assert trace_of(read(server, "tempo")[ID]).is_cut


def test_tempo_as_json_is_read_too() -> None:
    document = base64_ids(json.loads(recorded("jaeger-trace.json"))["result"])
    body = json.dumps({"trace": document, "metrics": {}, "status": "PARTIAL"})
    with stand_in(lambda _: Said(body=body)) as server:
        found = read(server, "tempo")

    assert_the_trace(found[ID])
    assert trace_of(found[ID]).is_cut


def test_tempo_without_any_block_of_the_trace_has_it_not() -> None:
    with stand_in(lambda _: Said(body=b"\x12\x02\x08\x05", kind="application/protobuf")) as server:
        assert read(server, "tempo") == {ID: Missing()}


def test_a_tempo_without_this_call_is_told_apart_from_a_missing_trace() -> None:
    with (
        stand_in(lambda _: Said(404, "404 page not found\n", kind="text/plain")) as server,
        pytest.raises(BackendRefused, match="has no /api/v2/traces") as caught,
    ):
        read(server, "tempo")
    assert "prefix /tempo" in caught.value.hint


@pytest.mark.parametrize("cut", [3, 40, 200])
def test_a_cut_message_of_tempo_is_refused(cut: int) -> None:
    with stand_in(lambda _: Said(body=tempo_answer()[:-cut], kind="application/protobuf")) as server:
        answer = read(server, "tempo")[ID]
    assert isinstance(answer, Refused)


def test_zipkin_returns_many_traces_in_one_call() -> None:
    with stand_in(lambda _: Said(body=recorded("zipkin-many.json"))) as server:
        found = read(server, "zipkin", ID, OTHER, "f" * 32)

    assert server.paths == [f"/api/v2/traceMany?traceIds={ID},{OTHER},{'f' * 32}"]
    assert len(trace_of(found[ID]).spans) == 3
    assert {one.id for one in trace_of(found[ID]).spans} == {"00000000000000a1", "00000000000000a2"}
    assert {one.resolution_ns for one in trace_of(found[ID]).spans} == {1_000}
    assert len(trace_of(found[OTHER]).spans) == 1
    assert found["f" * 32] == Missing()
    assert "canary" not in repr(found)


def test_zipkin_is_asked_for_one_trace_by_its_own_call() -> None:
    body = json.dumps(json.loads(recorded("zipkin-many.json"))[0])
    with stand_in(lambda _: Said(body=body)) as server:
        assert len(trace_of(read(server, "zipkin")[ID]).spans) == 3
    assert server.paths == [f"/api/v2/trace/{ID}"]


def test_one_bad_trace_of_zipkin_does_not_cost_the_others() -> None:
    good, bad = json.loads(recorded("zipkin-many.json"))
    bad[0]["id"] = "not an id"

    def answer(asked: Asked) -> Said:
        if "traceMany" in asked.path:
            return Said(body=json.dumps([good, bad]))
        return Said(body=json.dumps(good if ID in asked.path else bad))

    with stand_in(answer) as server:
        found = read(server, "zipkin", ID, OTHER)
    assert isinstance(found[ID], Found)
    assert isinstance(found[OTHER], Refused)


KEYS = (AuthHeader("DD-API-KEY", "key"), AuthHeader("DD-APPLICATION-KEY", "app"))


def test_datadog_returns_every_span_of_a_trace() -> None:
    with stand_in(lambda _: Said(body=recorded("datadog-trace.json"))) as server:
        found = read(server, "datadog", auth=KEYS)

    assert_the_trace(found[ID])
    assert server.paths == [f"/api/v2/trace/{ID}"]
    headers = server.asked[0].headers
    assert (headers["dd-api-key"], headers["dd-application-key"]) == ("canary-key", "canary-app")


def test_a_truncated_trace_of_datadog_is_cut() -> None:
    body = recorded("datadog-trace.json").replace(b'"is_truncated": false', b'"is_truncated": true')
    with stand_in(lambda _: Said(body=body)) as server:
        assert trace_of(read(server, "datadog", auth=KEYS)[ID]).is_cut


def test_an_organisation_without_datadog_s_look_up_gets_indexed_spans_and_is_told() -> None:
    def answer(asked: Asked) -> Said:
        if asked.method == "GET":
            return Said(404, '{"errors":["Not found"]}')
        body = recorded("datadog-search.json") if ID in asked.body.decode() else b'{"data":[],"meta":{}}'
        return Said(body=body)

    said: list[Progress] = []
    with stand_in(answer) as server:
        backend = opened(server, "datadog", auth=KEYS)
        found = dict(backend.read([ID, OTHER, "f" * 32, "e" * 32], said.append))
        backend.close()

    assert_the_trace(found[ID])
    assert trace_of(found[ID]).is_cut
    assert {one.resolution_ns for one in trace_of(found[ID]).spans} == {MS}
    assert [found[one] for one in (OTHER, "f" * 32, "e" * 32)] == [Missing()] * 3
    assert any("reading indexed spans instead" in one.note for one in said)
    searched = json.loads(next(one.body for one in server.asked if one.method == "POST"))
    assert searched["data"]["attributes"]["filter"] == {
        "query": f"trace_id:({ID} OR {0xA001})",
        "from": str((T0_S - 3600) * 1000),
        "to": str((T0_S + 3660) * 1000),
    }


def test_datadog_without_any_of_the_traces_has_them_not() -> None:
    def answer(asked: Asked) -> Said:
        return Said(404, "{}") if asked.method == "GET" else Said(body='{"data":[]}')

    with stand_in(answer) as server:
        assert set(read(server, "datadog", *(f"{n:032x}" for n in range(1, 6)), auth=KEYS).values()) == {Missing()}
    assert [one.method for one in server.asked].count("POST") == 1


def test_the_plan_of_calls_is_known_before() -> None:
    with stand_in(lambda _: Said()) as server:
        made: Callable[[Any], Backend] = lambda kind: opened(server, kind, auth=KEYS)  # noqa: E731
        assert str(made("datadog").plan(120)) == "120 traces, 2 min at 60 a minute"
        assert str(made("datadog").plan(20)) == "20 traces, 20 s at 60 a minute"
        assert str(made("zipkin").plan(120)) == "120 traces in 6 calls"
        assert str(made("jaeger").plan(1)) == "1 trace"
    assert server.asked == []

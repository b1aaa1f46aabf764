"""X-Ray read by id, both ways. Its answers are held against botocore's description of the service; none is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws.target.xray_spans import XrayBackend, otlp_of_documents, xray_id
from loadgen.backends.backend import Answer, BackendRefused, Found, Missing, Progress, Refused
from tests.aws.test_xray import IDS, Scripted, named, shop, traces
from tests.support.aws import REGION

DOCUMENT = (Path(__file__).parents[1] / "data" / "backends" / "xray-otel-span.json").read_text()
T0_S = 1_795_910_400.0
NONE: tuple[str, dict[str, Any]] = ("batch_get_traces", {"Traces": [], "UnprocessedTraceIds": []})
START: tuple[str, dict[str, Any]] = ("start_trace_retrieval", {"RetrievalToken": "token"})


def retrieved(*of: tuple[str, list[str]], status: str = "COMPLETE", **more: Any) -> tuple[str, dict[str, Any]]:
    found = [
        {"Id": named(trace_id), "Spans": [{"Id": "a" * 16, "Document": one} for one in documents]}
        for trace_id, documents in of
    ]
    return "list_retrieved_traces", {"RetrievalStatus": status, "TraceFormat": "OTEL", "Traces": found, **more}


def document(trace_id: str, **more: Any) -> str:
    return json.dumps(json.loads(DOCUMENT) | {"traceId": trace_id} | more)


def segments(trace_id: str) -> list[dict[str, Any]]:
    return [{**one, "trace_id": named(trace_id), "id": "00000000000000a1", "subsegments": []} for one in shop(0.1)]


class Paused:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


def opened(scripted: Scripted, paused: Paused | None = None) -> XrayBackend:
    at = paused or Paused()
    return XrayBackend(scripted, REGION, (T0_S, T0_S + 60), pause=at.pause, clock=at.clock)  # type: ignore[arg-type]


def read(scripted: Scripted, ids: list[str], paused: Paused | None = None) -> dict[str, Answer]:
    return dict(opened(scripted, paused).read(ids))


def calls(scripted: Scripted) -> list[str]:
    return [name for name, _ in scripted.asked]


def test_traces_are_read_in_fives_and_one_that_x_ray_cut_is_cut() -> None:
    cut = traces((IDS[5], segments(IDS[5])))
    cut[1]["Traces"][0]["LimitExceeded"] = True
    xray = Scripted(traces((IDS[0], segments(IDS[0])), NextToken="more"), NONE, cut)
    found = read(xray, IDS[:6])

    assert isinstance(found[IDS[0]], Found)
    assert [found[one] for one in IDS[1:5]] == [Missing()] * 4
    last = found[IDS[5]]
    assert isinstance(last, Found)
    assert last.is_cut
    assert [len(params["TraceIds"]) for _, params in xray.asked] == [5, 5, 1]
    assert xray.asked[0][1]["TraceIds"][0] == xray_id(IDS[0]) == named(IDS[0])


def test_ids_that_x_ray_did_not_process_are_refused() -> None:
    answer = traces((IDS[0], segments(IDS[0])))
    answer[1]["UnprocessedTraceIds"] = [named(IDS[1])]
    found = read(Scripted(answer), IDS[:2])
    assert found[IDS[1]] == Refused("X-Ray did not process this trace id")


def test_a_torn_segment_is_refused_and_the_others_are_read() -> None:
    torn = traces((IDS[0], segments(IDS[0])), (IDS[1], segments(IDS[1])))
    torn[1]["Traces"][0]["Segments"][0]["Document"] = "{"
    found = read(Scripted(torn), IDS[:2])
    assert isinstance(found[IDS[0]], Refused)
    assert isinstance(found[IDS[1]], Found)


def test_none_found_in_x_ray_s_own_store_means_that_transaction_search_is_tried() -> None:
    running = retrieved(status="RUNNING")
    first = retrieved((IDS[0], [document(IDS[0])]), NextToken="more")
    second = retrieved(
        (IDS[0], [document(IDS[0], spanId="b" * 16, parentSpanId="00000000000000a1")]), (IDS[1], [document(IDS[1])])
    )
    rest = retrieved((IDS[30], [document(IDS[30])]))
    xray = Scripted(*[NONE] * 4, START, running, running, first, second, START, rest)
    paused, said = Paused(), list[Progress]()
    found = dict(opened(xray, paused).read(IDS, said.append))

    answer = found[IDS[0]]
    assert isinstance(answer, Found)
    (one, other) = answer.trace.spans
    assert (one.service, one.operation, one.kind) == ("shop", "POST /checkout", "server")
    assert ((one.end_ns or 0) - one.start_ns, other.parent) == (120_000_000, "00000000000000a1")
    assert one.resource["service.version"] == "2.1"
    assert "canary" not in repr(found)
    assert isinstance(found[IDS[30]], Found)
    assert [found[one] for one in IDS[2:30]] == [Missing()] * 28
    assert calls(xray).count("StartTraceRetrieval") == 2
    asked = next(params for name, params in xray.asked if name == "StartTraceRetrieval")
    assert len(asked["TraceIds"]) == 20
    assert (asked["StartTime"].timestamp(), asked["EndTime"].timestamp()) == (T0_S - 3_600, T0_S + 3_660)
    assert paused.now_s == 2.0
    assert any(one.note == "X-Ray retrieves 20 traces" for one in said)


def test_the_way_that_found_traces_is_kept_for_later_rounds() -> None:
    xray = Scripted(NONE, START, retrieved((IDS[0], [document(IDS[0])])), START, retrieved())
    backend = opened(xray)
    assert isinstance(dict(backend.read([IDS[0]]))[IDS[0]], Found)
    assert dict(backend.read([IDS[1]])) == {IDS[1]: Missing()}
    assert calls(xray).count("BatchGetTraces") == 1

    other = Scripted(traces((IDS[0], segments(IDS[0]))), NONE)
    backend = opened(other)
    assert isinstance(dict(backend.read([IDS[0]]))[IDS[0]], Found)
    assert dict(backend.read([IDS[1]])) == {IDS[1]: Missing()}


@pytest.mark.parametrize("code", ["InvalidRequestException", "ResourceNotFoundException"])
def test_without_transaction_search_traces_that_are_not_there_are_missing(code: str) -> None:
    xray = Scripted(NONE, ("start_trace_retrieval", code))
    assert read(xray, IDS[:3]) == dict.fromkeys(IDS[:3], Missing())


@pytest.mark.parametrize(
    ("answers", "permission"),
    [
        ([("batch_get_traces", "AccessDeniedException")], "xray:BatchGetTraces"),
        ([NONE, ("start_trace_retrieval", "AccessDeniedException")], "xray:StartTraceRetrieval"),
        ([NONE, START, ("list_retrieved_traces", "AccessDeniedException")], "xray:ListRetrievedTraces"),
    ],
)
def test_a_missing_permission_is_named(answers: list[Any], permission: str) -> None:
    with pytest.raises(BackendRefused, match="AWS returned AccessDeniedException") as caught:
        read(Scripted(*answers), IDS[:1])
    assert permission in caught.value.hint


def test_throttling_ends_the_reading_with_its_hint() -> None:
    with pytest.raises(BackendRefused, match="ThrottledException") as caught:
        read(Scripted(("batch_get_traces", "ThrottledException")), IDS[:1])
    assert "wait a minute" in caught.value.hint


@pytest.mark.parametrize("status", ["FAILED", "TIMEOUT", "CANCELLED"])
def test_a_retrieval_that_ends_badly_refuses_its_traces(status: str) -> None:
    xray = Scripted(NONE, START, retrieved(status=status))
    assert read(xray, IDS[:2]) == dict.fromkeys(IDS[:2], Refused(f"X-Ray's retrieval ended with {status}"))


def test_a_retrieval_that_never_ends_is_cancelled() -> None:
    cancel: tuple[str, dict[str, Any]] = ("cancel_trace_retrieval", {})
    xray = Scripted(NONE, START, *[retrieved(status="RUNNING")] * 28, cancel)
    found = read(xray, IDS[:1])
    assert found == {IDS[0]: Refused("X-Ray's retrieval was not complete after 120 s")}
    assert calls(xray)[-1] == "CancelTraceRetrieval"


@pytest.mark.parametrize("bad", ["{", "5", '{"a":' * 5_000, '{"resourceSpans": [5]}'])
def test_a_document_that_is_no_span_is_refused(bad: str) -> None:
    xray = Scripted(NONE, START, retrieved((IDS[0], [bad])))
    assert isinstance(read(xray, IDS[:1])[IDS[0]], Refused)


def test_span_documents_are_read_in_all_three_forms() -> None:
    flat = json.loads(document(IDS[0]))
    pairs = [{"key": "http.route", "value": {"stringValue": "/checkout"}}]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    span = flat | {"attributes": pairs, "kind": 2, "status": {"code": 2}, "traceId": named(IDS[0])}
    del span["resource"]
    whole = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span | {"traceId": IDS[0]}]}]}]}
    for one in (flat, span | {"resource": resource}, whole):
        found = json.loads(otlp_of_documents([json.dumps(one)]))["resourceSpans"][0]
        names = [pair["value"] for pair in found["resource"]["attributes"] if pair["key"] == "service.name"]
        made = found["scopeSpans"][0]["spans"][0]
        assert names == [{"stringValue": "shop"}]
        assert (made["traceId"], made["kind"]) == (IDS[0], 2)
        assert {"key": "http.route", "value": {"stringValue": "/checkout"}} in made["attributes"]


def test_the_plan_of_calls_is_known_before() -> None:
    assert str(opened(Scripted()).plan(120)) == "120 traces in 24 calls"

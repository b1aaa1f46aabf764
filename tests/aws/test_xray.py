"""Traces of a run from X-Ray. Its answers are held against its own description; moto knows no times of traces."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from msgspec import structs

from loadgen.aws.account import boto_clients as aws
from loadgen.aws.target.xray import Traced, compared, find, parts, slow_and_typical
from loadgen.errors import CloudDenied, CloudError, ExitCode, UsageError
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire import codec
from tests.cli.test_commands import loadgen
from tests.support.aws import REGION, isolated
from tests.support.deltas import FakeAgent, request_key

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
T0 = datetime(2026, 11, 26, 14, 0, 20, tzinfo=UTC)
IDS = [f"{0x6A000000 + n:08x}" + f"{n:024x}" for n in range(40)]


def named(trace_id: str) -> str:
    """As X-Ray does."""
    return f"1-{trace_id[:8]}-{trace_id[8:]}"


class Scripted:
    """Clients whose X-Ray answers from what it is given, in order."""

    def __init__(self, *answers: tuple[str, dict[str, Any] | str]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.made = boto3.client("xray", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="y")
        self.stub = Stubber(self.made)
        for operation, answer in answers:
            if isinstance(answer, str):
                self.stub.add_client_error(operation, answer)
            else:
                self.stub.add_response(operation, answer)
        self.stub.activate()
        self.made.meta.events.register("provide-client-params.xray.*", self._on_call)

    def _on_call(self, params: dict[str, Any], model: Any, **_: object) -> None:
        self.asked.append((model.name, dict(params)))

    default_region = REGION

    def client(self, service: str, region: str) -> Any:
        assert (service, region) == ("xray", REGION)
        return self.made


def summaries(*of: tuple[str, float], **more: str) -> tuple[str, dict[str, Any]]:
    found = [{"Id": named(trace_id), "ResponseTime": seconds} for trace_id, seconds in of]
    return "get_trace_summaries", {"TraceSummaries": found, **more}


def traces(*of: tuple[str, list[dict[str, Any]]], **more: Any) -> tuple[str, dict[str, Any]]:
    found = [
        {"Id": named(trace_id), "Segments": [{"Id": one["id"], "Document": json.dumps(one)} for one in segments]}
        for trace_id, segments in of
    ]
    return "batch_get_traces", {"Traces": found, "UnprocessedTraceIds": [], **more}


def shop(query_s: float, own_s: float = 0.01) -> list[dict[str, Any]]:
    """The shop, and a query within it."""
    query = {"id": "q", "name": "query", "start_time": 100.0, "end_time": 100 + query_s}
    return [{"id": "s", "name": "shop", "start_time": 100.0, "end_time": 100 + query_s + own_s, "subsegments": [query]}]


def test_a_run_is_asked_for_in_slices_and_each_slice_page_by_page() -> None:
    xray = Scripted(summaries((IDS[0], 0.1), NextToken="more"), summaries((IDS[1], 0.2)), summaries((IDS[2], 0.3)))
    found = find(xray, REGION, T0, T0 + timedelta(minutes=15), 'service("shop")', 100)  # type: ignore[arg-type]
    assert found == [Traced(IDS[0], 0.1), Traced(IDS[1], 0.2), Traced(IDS[2], 0.3)]
    first, second, third = (params for _, params in xray.asked)
    assert (first["StartTime"], first["EndTime"]) == (T0, T0 + timedelta(minutes=10))
    assert second == first | {"NextToken": "more"}
    assert (third["StartTime"], third["EndTime"]) == (first["EndTime"], T0 + timedelta(minutes=15))
    assert {one["FilterExpression"] for one in (first, second, third)} == {'service("shop")'}


def test_no_more_traces_are_asked_for_than_are_wanted() -> None:
    xray = Scripted(summaries(*((one, 0.1) for one in IDS), NextToken="more"))
    assert len(find(xray, REGION, T0, T0 + timedelta(hours=5), "", 7)) == 7  # type: ignore[arg-type]
    assert "FilterExpression" not in xray.asked[0][1]


def test_traces_are_read_in_fives_over_pages_and_what_is_not_whole_is_not_there() -> None:
    torn = traces((IDS[2], shop(0.1)))
    torn[1]["Traces"][0]["Segments"][0]["Document"] = "{"
    cut = traces((IDS[3], shop(0.1)))
    cut[1]["Traces"][0]["LimitExceeded"] = True
    xray = Scripted(traces((IDS[0], shop(0.2)), NextToken="more"), torn, cut)
    found = parts(xray, REGION, IDS[:6])  # type: ignore[arg-type]
    assert list(found) == [IDS[0]]
    assert found[IDS[0]] == pytest.approx({"shop": 0.01, "shop: query": 0.2})
    assert [len(params["TraceIds"]) for _, params in xray.asked] == [5, 5, 1]
    assert xray.asked[0][1]["TraceIds"][0] == named(IDS[0])


def test_what_may_not_be_asked_is_an_error() -> None:
    with pytest.raises(CloudDenied, match=f"cannot list traces in {REGION}: AWS returned AccessDeniedException"):
        find(Scripted(("get_trace_summaries", "AccessDeniedException")), REGION, T0, T0 + timedelta(1), "", 9)  # type: ignore[arg-type]


def test_filter_that_x_ray_does_not_understand_is_a_fault_of_the_command() -> None:
    refused = ("get_trace_summaries", "InvalidRequestException")
    with pytest.raises(UsageError, match="X-Ray rejected the filter 'service='"):
        find(Scripted(refused), REGION, T0, T0 + timedelta(1), "service=", 9)  # type: ignore[arg-type]
    with pytest.raises(CloudError, match="AWS returned InvalidRequestException"):
        find(Scripted(refused), REGION, T0, T0 + timedelta(1), "", 9)  # type: ignore[arg-type]


def test_slow_are_the_slowest_twentieth_and_typical_as_many_from_the_middle() -> None:
    traced = [Traced(str(n), float(n)) for n in range(100, 0, -1)]
    slow, typical = slow_and_typical(traced, 50)
    assert [one.response_s for one in slow] == [100, 99, 98, 97, 96]
    assert [one.response_s for one in typical] == [48, 49, 50, 51, 52]
    assert len(slow_and_typical(traced, 2)[0]) == 2


def test_spans_that_make_the_difference_come_first_and_absent_ones_count_as_nothing() -> None:
    made = compared([{"shop": 0.1, "lock": 0.4}, {"shop": 0.1}], [{"shop": 0.1, "cache": 0.02}])
    assert [(one.span, round(one.slow_ms), round(one.typical_ms), one.slow_traces) for one in made] == [
        ("lock", 200, 0, 1),
        ("shop", 100, 100, 2),
        ("cache", 0, 20, 0),
    ]


# -- the command --------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One request of it was slow at the target, another one on its way, and of a third the trace was not kept."""
    isolated(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    path = Path(shutil.copytree(OLD, tmp_path / "runs" / "20261124-170312-browse-0001"))
    agent = str(json.loads((path / "manifest.json").read_text())["assignment"]["agents"][0])
    slow = Exemplar("browse", "", "GET /", "ok", "slowest", 0, 3, 10**9, 520_000_000, 0, IDS[39])
    others = (
        structs.replace(slow, trace=IDS[1], request="GET /[bold]\x1b[31m", response_ns=900_000_000),
        structs.replace(slow, trace="f" * 32, response_ns=990_000_000),
        structs.replace(slow, trace=IDS[2], warmup=True, response_ns=990_000_000),
    )
    delta = replace(FakeAgent(agent).delta({request_key(): [1]}), seq=99, exemplars=(slow, *others))
    folder = RunDir.open(path, writable=True)
    folder.append(codec.encode(delta))
    folder.sync()
    folder.close()
    return path


def test_command_says_where_the_time_of_slow_requests_went_and_keeps_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    response_s = {one: 0.020 + n / 1e4 for n, one in enumerate(IDS)} | {IDS[38]: 0.4, IDS[39]: 0.51}
    split = {IDS[38]: shop(0.39), IDS[39]: shop(0.5), IDS[1]: shop(0.005, 0.015)}
    read = [(one, split.get(one, shop(0.01))) for one in (IDS[39], IDS[38], IDS[19], IDS[20], IDS[1])]
    xray = Scripted(summaries(*response_s.items()), traces(*read))
    monkeypatch.setattr(aws, "Clients", lambda: xray)

    result = loadgen("runs", "traces", "last", "--runs-dir", run.parent)

    assert result.exit_code == 0, result.output
    xray.stub.assert_no_pending_responses()
    assert "slow: 2 of 40 traces, 400.0 to 510.0 ms at the target" in result.output
    told = json.loads((run / "traces.json").read_text())
    assert told["spans"] == [
        {"span": "shop: query", "slow_ms": 445.0, "typical_ms": 10.0, "slow_traces": 2},
        {"span": "shop", "slow_ms": 10.0, "typical_ms": 10.0, "slow_traces": 2},
    ]
    assert [(one["trace_id"], one["response_ms"], one["traced_ms"], one["longest"]) for one in told["requests"]] == [
        (IDS[1], 900, 20, "shop"),  # the target knows nothing of most of it
        (IDS[39], 520, 510, "shop: query"),
    ]
    assert "\x1b[31m" not in result.output
    assert "[bold]" in result.output


def test_too_few_traces_are_no_tail(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "Clients", lambda: Scripted(summaries((IDS[0], 0.1))))
    result = loadgen("runs", "traces", "last", "--runs-dir", run.parent)
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "has 1 traces of this run, but at least 20 are needed" in result.stderr
    assert 'formats=("xray",)' in result.stderr
    assert not (run / "traces.json").exists()


def test_traces_that_the_plan_did_not_ask_to_keep_are_of_others(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of the test end low but for their last digits, so a share of one percent has none of them."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest.setdefault("spec", {})["trace"] = {"sample": 0.01, "formats": ["xray"], "link": ""}
    (run / "manifest.json").write_text(json.dumps(manifest))
    ours = [f"{one[:18]}ffffffffffff{n:02x}" for n, one in enumerate(IDS[:21])]
    answer = summaries(*((one, 0.1) for one in (*IDS, *ours)))
    xray = Scripted(answer, traces())
    monkeypatch.setattr(aws, "Clients", lambda: xray)
    result = loadgen("runs", "traces", "last", "--runs-dir", run.parent)
    assert (result.exit_code, "slow: 1 of 21 traces" in result.output) == (0, True)


def test_where_x_ray_has_none_of_them_whole_it_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xray = Scripted(summaries(*((one, 0.1) for one in IDS)), traces())
    monkeypatch.setattr(aws, "Clients", lambda: xray)
    result = loadgen("runs", "traces", "last", "--runs-dir", run.parent)
    assert (result.exit_code, "2 of 40 traces, 0 of them complete" in result.output) == (0, True)


def test_all_that_is_wrong_is_said_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolated(monkeypatch, tmp_path)
    result = loadgen("runs", "traces", "none", "--runs-dir", tmp_path)
    assert result.exit_code == ExitCode.USAGE
    assert "the AWS region of the traces is unknown" in result.stderr
    assert "none" in result.stderr

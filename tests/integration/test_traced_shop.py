"""Real faults in three services with OpenTelemetry's SDK: `loadgen trace` ranks each of them first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from loadgen import open_run
from loadgen.backends.kept_traces import kept_traces
from tests.support.traced_shop.cases import FAULTS, KNOWN_FAULTS, THREE, KnownFault
from tests.support.traced_shop.traced_run import TracedRun, run_with_own_collector, traced_run

pytestmark = pytest.mark.quiet
REPEATED, ENOUGH = 10, 9


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedRun]:
    """One run with three kinds of requests, two of which have a fault: three tests need no more."""
    with run_with_own_collector(tmp_path_factory.mktemp("three"), THREE) as run:
        yield run


@pytest.mark.parametrize(("request_name", "fault"), [("checkout", "slow version"), ("basket", "many calls")])
def test_the_fault_of_a_request_is_ranked_first(three: TracedRun, request_name: str, fault: str) -> None:
    done, causes = three.cause("--request", request_name)
    assert done.exit_code == 0, done.out + done.err
    assert FAULTS[fault].wrong(causes) == "", done.out
    assert causes["found"]["found"] == causes["found"]["asked"]


def test_nothing_is_ranked_for_a_request_without_a_fault(three: TracedRun) -> None:
    done, causes = three.cause("--request", "browse")
    assert causes["ranked"] == [], done.out


def test_the_spans_of_the_target_have_our_span_as_the_parent_of_their_root(three: TracedRun) -> None:
    three.cause("--request", "checkout")
    ours = [kept.exemplar for kept in open_run(three.run.folder).exemplars]
    spans = {one.trace: one.span for one in ours if one.request}
    kept = list(kept_traces(three.run.folder))
    assert kept
    for trace in kept:
        ids = {span.id for span in trace.spans}
        assert [span.parent for span in trace.spans if span.parent not in ids] == [spans[trace.id]]


def test_no_file_of_the_run_has_the_literals_of_the_target_s_statements(three: TracedRun) -> None:
    three.cause("--request", "checkout")
    statements = [
        str(span.attributes.get("db.query.text", ""))
        for trace in kept_traces(three.run.folder)
        for span in trace.spans
        if span.service == "stock"
    ]
    assert any("tenant = ?" in one for one in statements)
    for path in three.run.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            text = zstandard.ZstdDecompressor().stream_reader(data).read() if path.suffix == ".zst" else data
            assert b"canary" not in text, path


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("fault", KNOWN_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_ranked_first_in_nine_of_ten_runs(fault: KnownFault, tmp_path: Path) -> None:
    wrong: list[str] = []
    for number in range(REPEATED):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, causes = traced_run(folder, fault.case, seed=number + 1).cause("--request", fault.case.request)
        if text := fault.wrong(causes):
            wrong.append(f"run {number + 1}: {text}\n{done.out}{done.err}")
        assert len(wrong) <= REPEATED - ENOUGH, "\n".join(wrong)

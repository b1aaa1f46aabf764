"""A run's folder opened in a notebook says what the run said, also when the run was ended by force."""

from __future__ import annotations

import shutil
from dataclasses import replace
from math import inf, isnan
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from loadgen.errors import StorageError, UsageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import Exemplar, Failure
from loadgen.measure.deltas.series_key import Phase
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report import run_as_dataframes
from loadgen.report.run_as_dataframes import Run, WindowRow, open_run
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.streams import stream_run

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
WITH_PHASES = OLD.with_name("20261125-phases-format-1")
FAILURE = Failure(
    "checkout", "pay", "POST /cart", "expect status", 0, 7, 1_000, 500, "got 500, expected 201", sent="POST"
)
EXEMPLAR = Exemplar("checkout", "browse", "GET /", "ok", "slowest", 0, 3, 2 * NS_PER_S, 5 * NS_PER_MS, 0, "a" * 32)


def folder_of(tmp_path: Path, deltas: list[Delta], interval_ns: int = NS_PER_S) -> RunDir:
    folder = RunDir.create(tmp_path / "runs", "20261124-170312-checkout-a1b2")
    folder.write_manifest(
        {
            "format": 1,
            "run_id": folder.run_id,
            "interval_ns": interval_ns,
            "agents": [{"id": "a", "region": "eu"}, {"id": "b", "region": "us"}],
            "assignment": {"agents": ["a", "b"], "regions": ["eu", "us"], "weights": [1, 1]},
        }
    )
    for delta in deltas:
        folder.append(codec.encode(delta))
    folder.event("listening", agents=2)
    folder.sync()
    folder.close()
    return folder


def ms(*values: float) -> list[int]:
    return [round(value * NS_PER_MS) for value in values]


def find(rows: list[WindowRow], **wanted: object) -> list[WindowRow]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def test_percentiles_of_a_window_are_those_of_all_values_of_the_fleet(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    a, b = FakeAgent("a"), FakeAgent("b")
    values = {(name, k): rng.integers(1, 10**9, 50).tolist() for name in "ab" for k in range(3)}
    deltas = [agent.delta({request_key(): values[agent.name, k]}) for k in range(3) for agent in (a, b)]
    run = open_run(folder_of(tmp_path, deltas).path)
    rows = list(run.windows())
    assert [(row.at_s, row.length_s, row.region, row.count) for row in rows] == [(k, 1.0, "*", 100) for k in range(3)]
    for k, row in enumerate(rows):
        both = Histogram.of_ns(values["a", k] + values["b", k])
        assert (row.p50_ms, row.p99_ms) == (both.percentile_us(50) / 1000, both.percentile_us(99) / 1000)
        assert row.max_ms == max(values["a", k] + values["b", k]) / 1e6
        assert row.mean_ms == pytest.approx(np.mean(values["a", k] + values["b", k]) / 1e6)
    assert {(row.region, row.count) for row in run.windows(regions=True)} == {("eu", 50), ("us", 50)}
    (whole,) = run.windows(3)
    everything = Histogram.of_ns([ns for some in values.values() for ns in some])
    assert (whole.count, whole.p90_ms) == (300, everything.percentile_us(90) / 1000)
    assert run.histograms["request checkout/browse GET /, ok, response"] == everything


def test_an_agent_that_reports_late_is_in_the_window_in_which_it_measured(tmp_path: Path) -> None:
    a, b = FakeAgent("a"), FakeAgent("b")
    deltas = [a.delta({request_key(): ms(1)}) for _ in range(40)] + [b.delta({request_key(): ms(2)}) for _ in range(40)]
    rows = list(open_run(folder_of(tmp_path, deltas).path).windows())
    assert [row.count for row in rows] == [2] * 40
    assert [row.at_s for row in rows] == list(range(40))


def test_a_percentile_among_those_that_were_cut_off_is_greater_than_anything(tmp_path: Path) -> None:
    values = {request_key(): ms(*[10] * 9), request_key(outcome="timeout", censored=True): ms(60_000)}
    run = open_run(folder_of(tmp_path, [FakeAgent("a").delta(values)]).path)
    (row,) = run.windows()
    assert (row.outcome, row.count, row.censored) == ("*", 10, 1)
    assert row.p50_ms == pytest.approx(10, rel=0.001)
    assert (row.p99_ms, row.max_ms) == (inf, inf)
    assert {(r.outcome, r.count, r.p50_ms == inf) for r in run.windows(outcomes=True)} == {
        ("ok", 9, False),
        ("timeout", 1, True),
    }


def test_tags_and_metrics_are_apart_when_asked_for(tmp_path: Path) -> None:
    hit = replace(request_key(), tags=(("load", "spike"), ("x-cache", "hit")))
    values = {request_key(): ms(1), hit: ms(2), replace(request_key(), metric="service"): ms(3)}
    run = open_run(folder_of(tmp_path, [FakeAgent("a").delta(values)]).path)
    assert [row.count for row in run.windows()] == [2]
    assert {(row.tags, row.count) for row in run.windows(tags=True)} == {("", 1), ("load=spike,x-cache=hit", 1)}
    assert {row.metric for row in run.windows(metric=None)} == {"response", "service"}
    with pytest.raises(UsageError, match="must be above 0"):
        list(run.windows(0))


def test_failures_and_exemplars_are_read_from_the_deltas_where_there_are_no_files(tmp_path: Path) -> None:
    deltas = [
        replace(FakeAgent("b").delta({}), exemplars=(EXEMPLAR,), failures=(FAILURE,)),
        replace(FakeAgent("a").delta({}), failures=(replace(FAILURE, n=8),)),
    ]
    run = open_run(folder_of(tmp_path, deltas).path)
    assert [(f.number, f.agent, f.region, f.failure.n) for f in run.failures] == [(1, "b", "us", 7), (2, "a", "eu", 8)]
    (kept,) = run.exemplars
    assert (kept.region, kept.agent, kept.exemplar) == ("us", "b", EXEMPLAR)


def test_a_file_of_failures_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [])
    folder.failures_path.mkdir()
    (folder.failures_path / "0001-x.json").write_text('{"format": 1, "num')
    with pytest.raises(StorageError, match=r"cannot read .*0001-x\.json"):
        _ = open_run(folder.path).failures


def test_a_run_that_was_ended_by_force_opens_up_to_its_last_whole_record(tmp_path: Path) -> None:
    agent = FakeAgent("a")
    folder = folder_of(tmp_path, [agent.delta({journey_key(): ms(1)}) for _ in range(3)])
    with folder.log_path.open("ab") as file:
        file.write(b"\x10\x00\x00\x00torn")
    with folder.events_path.open("ab") as file:
        file.write(b'{"kind": "to')
    run = open_run(folder.path)
    assert run.summary is None
    assert repr(run) == "<Run 20261124-170312-checkout-a1b2: not ended>"
    assert len(list(run.windows())) == 3
    assert [event["kind"] for event in run.events] == ["listening"]
    assert [(agent.id, agent.complete) for agent in run.agents] == [("a", False), ("b", False)]
    assert [row.at_s for row in run.health()] == [0, 1, 2]


def test_a_run_is_found_by_id_by_its_beginning_by_last_and_by_path(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [])
    for name in (folder.run_id, "20261124", "last", folder.path, str(folder.path)):
        assert open_run(name, runs_dir=tmp_path / "runs").path == folder.path
    with pytest.raises(UsageError, match="no run x"):
        open_run("x", runs_dir=tmp_path / "runs")


def test_a_run_of_the_first_format_is_readable() -> None:
    """Made by loadgen at 06dd7d5, before deltas brought exemplars, failures and what was due."""
    run = open_run(OLD)
    assert run.summary is not None
    assert run.summary.iterations.finished == 60
    assert sum(row.count for row in find(list(run.windows()), kind="journey")) == 60
    assert sum(row.count for row in find(list(run.windows()), kind="request")) == run.summary.requests.finished
    assert run.merge.counters().requests_finished == run.summary.requests.finished
    assert (run.failures, run.exemplars) == ((), ())
    assert {agent.region for agent in run.agents} == {"eu", "us"}
    assert run.manifest["scenario"] == "browse.py"
    assert run.events[0]["kind"] == "listening"


def test_windows_of_a_run_add_up_to_its_summary() -> None:
    run = open_run(OLD)
    assert run.summary is not None
    (row,) = find(list(run.windows(10)), kind="journey")
    (expected,) = [s for s in run.summary.series if (s.kind, s.region, s.outcome) == ("journey", "*", "*")]
    assert expected.response_ms is not None
    assert row.count == expected.count
    assert row.p95_ms == expected.response_ms.p95
    assert row.max_ms == pytest.approx(expected.response_ms.max, rel=0.001)  # exact here, the slot's edge there


def test_frames_have_a_column_for_each_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, object] = {}

    def from_records(records: list[list[object]], columns: list[str]) -> str:
        made.update(records=records, columns=columns)
        return "frame"

    fake = SimpleNamespace(DataFrame=SimpleNamespace(from_records=from_records))
    monkeypatch.setattr(run_as_dataframes, "import_module", lambda name: fake)
    assert Run(OLD).series == "frame"
    assert made["columns"] == list(WindowRow.__dataclass_fields__)
    assert isinstance(made["records"], list)
    assert len(made["records"][0]) == len(WindowRow.__dataclass_fields__)


def test_frames_without_pandas_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(run_as_dataframes, "import_module", missing)
    with pytest.raises(UsageError, match="pandas") as caught:
        _ = Run(OLD).series
    assert "run.windows()" in caught.value.hint


def test_frames_are_those_of_pandas_where_it_is_installed() -> None:
    pytest.importorskip("pandas")
    run = open_run(OLD)
    frame = run.series
    assert frame.query("kind == 'journey'")["count"].sum() == 60
    assert list(run.exemplar_frame().columns)[:3] == ["journey", "step", "request"]


def test_a_folder_that_is_copied_elsewhere_opens(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "copy")
    assert open_run(tmp_path / "copy").id == open_run(OLD).id


def test_a_run_with_phases_of_when_they_were_new_is_read_to_the_nanosecond() -> None:
    run = open_run(WITH_PHASES)
    assert run.summary is not None
    (first,) = [s for s in run.summary.series if (s.request, s.outcome, s.region) == ("first", "*", "*")]
    assert {phase: figures.count for phase, figures in (first.phases_ms or {}).items()} == {
        "dns": 2,
        "connect": 80,
        "send": 80,
        "wait": 80,
        "receive": 80,
    }
    sums = {
        metric: sum(part.sum_ns for part in run.merge.select("request", metric=metric)) for metric in get_args(Phase)
    }
    service_ns = sum(part.sum_ns for part in run.merge.select("request", metric="service"))
    assert sums["send"] + sums["wait"] + sums["receive"] == service_ns
    assert sum(row.count for row in run.windows(metric="connect")) == 80


def test_streams_of_a_window_are_one_row_for_each_outcome(tmp_path: Path) -> None:
    run = open_run(stream_run(tmp_path))
    rows = list(run.streams())

    assert {(row.outcome, row.count) for row in rows} == {("ok", 10), ("stream truncated", 2), ("timeout", 2)}
    ok = [row for row in rows if row.outcome == "ok"]
    assert [row.at_s for row in ok] == list(range(12))
    assert {(row.prompt_tokens, row.cached_tokens, row.output_tokens) for row in ok} == {(640, 160, 200)}
    assert sum(row.output_tokens for row in run.streams(window_s=4, regions=True) if row.outcome == "ok") == 2_400
    late = next(row for row in rows if row.outcome == "timeout")
    assert (late.ttft_p50_ms, isnan(late.itl_p50_ms), late.output_tokens) == (inf, True, 0)


def test_streams_as_a_frame_have_a_column_for_each_figure(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = open_run(stream_run(tmp_path)).stream_frame(window_s=12)

    assert list(frame.query("outcome == 'ok'").output_tokens_per_s) == [200.0]
    assert open_run(OLD).stream_frame().empty

"""Result files in the form of AIPerf and of vllm bench: each figure by that tool's definition, or missing."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen import goodput, p
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.errors import UsageError
from loadgen.measure.convention_metrics import RECORDABLE, convention_specs, good_ns, values_ns
from loadgen.measure.conventions import CONVENTIONS, Figures
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.objectives.exported_goodput import exported_limits
from loadgen.report.exports.aiperf import aiperf_csv, aiperf_json
from loadgen.report.exports.llm_stats import statistics
from loadgen.report.exports.vllm_bench import vllm_bench
from loadgen.report.from_run_folder import measured_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.summary_reader import Summary
from loadgen.units import NS_PER_MS
from loadgen_controller.cli import app
from tests.support.past_runs import past_run
from tests.support.streams import RUN_ID, answer, stream_run

ANSWERS = [answer(k, n).reads_ms for k in range(12) for n in range(5) for _ in range(2)]
LASTED_S = 12.5


def opened(folder: Path) -> tuple[Summary, Any]:
    run = open_run(folder)
    assert run.summary is not None
    return run.summary, measured_of(run, run.summary)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream_run(tmp_path_factory.mktemp("full"), conventions=("vllm", "aiperf"))


def test_statistics_are_those_of_the_values_themselves() -> None:
    values = np.random.default_rng(3).lognormal(3, 0.5, 5_000)
    histogram = Histogram.of_ns([round(ms * NS_PER_MS) for ms in values])

    found = statistics(histogram, (1.0, 50.0, 99.0))

    assert found is not None
    assert found["count"] == 5_000
    assert found["avg"] == pytest.approx(values.mean(), abs=1e-4)
    assert [found["min"], found["max"]] == pytest.approx([values.min(), values.max()], abs=1e-4)
    assert found["std"] == pytest.approx(values.std(), rel=1e-3)
    for q in (1, 50, 99):
        assert found[f"p{q}"] == pytest.approx(np.percentile(values, q, method="inverted_cdf"), rel=2e-3)
    assert statistics(Histogram(), (50.0,)) is None


def test_vllm_bench_has_its_own_times_if_the_run_recorded_them(full: Path) -> None:
    found = vllm_bench(*opened(full))

    ttft = np.array([reads[0] - 1 for reads in ANSWERS])  # vLLM's first token is the chunk with the role
    e2e = np.array([reads[-1] for reads in ANSWERS])
    tpot = (e2e - ttft) / 19
    gaps = np.array(
        [gap for reads in ANSWERS for gap in (1.0, *(b - a for a, b in pairwise(reads)), 0.0)]
    )  # also to the first token, and to the finish reason in the same read
    for name, values in (("ttft", ttft), ("e2el", e2e), ("tpot", tpot), ("itl", gaps)):
        assert found[f"mean_{name}_ms"] == pytest.approx(values.mean(), rel=1e-4), name
        assert found[f"std_{name}_ms"] == pytest.approx(values.std(), rel=2e-2), name
        assert found[f"median_{name}_ms"] == pytest.approx(np.percentile(values, 50, method="inverted_cdf"), rel=2e-3)
        assert found[f"p99_{name}_ms"] == pytest.approx(np.percentile(values, 99, method="inverted_cdf"), rel=2e-3)
    assert "null, because" not in str(found["convention_note"])


def test_vllm_bench_without_the_convention_has_counts_and_no_times(plain: Path) -> None:
    found = vllm_bench(*opened(plain))

    assert (found["completed"], found["failed"], found["duration"]) == (120, 16, LASTED_S)
    assert (found["total_input_tokens"], found["total_output_tokens"]) == (7_680, 2_400)
    assert found["request_throughput"] == pytest.approx(120 / LASTED_S)
    assert found["total_token_throughput"] == pytest.approx(10_080 / LASTED_S)
    assert {name for name, value in found.items() if value is None} == {
        "request_goodput",
        "max_output_tokens_per_s",
        "max_concurrent_requests",
        *(f"{what}_{name}_ms" for what in ("mean", "median", "std", "p99") for name in ("ttft", "tpot", "itl", "e2el")),
    }
    assert 'Llm(conventions=("vllm",))' in str(found["convention_note"])


def test_aiperf_has_one_mean_gap_of_each_request_and_not_our_pooled_gaps(full: Path) -> None:
    found = aiperf_json(*opened(full))
    itl = np.array([(reads[-1] - reads[0]) / 19 for reads in ANSWERS])

    shown: Any = found["inter_token_latency"]
    assert (shown["unit"], shown["count"]) == ("ms", 120)
    assert shown["avg"] == pytest.approx(itl.mean(), rel=1e-4)
    assert list(shown) == [
        *("unit", "count", "sum", "avg", "min", "max", "std"),
        *("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99"),
    ]
    latency: Any = found["request_latency"]
    assert latency["max"] == pytest.approx(max(reads[-1] for reads in ANSWERS))
    length: Any = found["output_sequence_length"]
    assert (length["unit"], length["avg"], length["sum"], length["p50"]) == ("tokens", 20, 2_400, 20)
    assert found["output_token_throughput"] == {"unit": "tokens/sec", "avg": 192.0}
    assert "goodput" not in found


def test_aiperf_without_the_convention_leaves_out_what_differs_and_says_so(plain: Path) -> None:
    found = aiperf_json(*opened(plain))

    assert not {"inter_token_latency", "inter_chunk_latency", "request_latency"} & set(found)
    ttft: Any = found["time_to_first_token"]
    assert ttft["avg"] == pytest.approx(np.mean([reads[0] for reads in ANSWERS]), rel=1e-4)
    note = str(found["convention_note"])
    assert "Missing, because the plan did not record this convention: inter_token_latency, inter_chunk_latency" in note
    assert "time_to_first_token and time_to_first_output_token are loadgen's own" in note


def test_goodput_is_the_rate_of_requests_that_kept_the_limits_by_the_tools_own_times(tmp_path: Path) -> None:
    limits = {"ttft": 150 * NS_PER_MS, "tpot": 10 * NS_PER_MS}
    found = opened(stream_run(tmp_path, conventions=("vllm", "aiperf"), exported={"vllm": limits, "aiperf": limits}))
    ttft, last = np.array([reads[0] for reads in ANSWERS]), np.array([reads[-1] for reads in ANSWERS])
    # vLLM's first token is the role, 1 ms earlier, and its TPOT begins there
    by_vllm = int(((ttft - 1 <= 150) & ((last - ttft + 1) / 19 <= 10)).sum())
    by_aiperf = int(((ttft <= 150) & ((last - ttft) / 19 <= 10)).sum())
    assert 0 < by_aiperf < by_vllm < 120

    bench, profile = vllm_bench(*found), aiperf_json(*found)

    assert bench["request_goodput"] == pytest.approx(by_vllm / LASTED_S, abs=1e-4)
    assert profile["goodput"] == {"unit": "requests/sec", "avg": pytest.approx(by_aiperf / LASTED_S, abs=1e-4)}
    assert profile["good_request_count"] == {"unit": "requests", "avg": by_aiperf}
    assert "limits of the first goodput objective" in str(bench["convention_note"])
    assert "limits of the first goodput objective" in str(profile["convention_note"])
    assert ["Good Request Count", f"{by_aiperf:.2f}"] in list(csv.reader(io.StringIO(aiperf_csv(*found))))


def test_goodput_is_0_if_no_request_kept_the_limits_and_null_without_them(tmp_path: Path, full: Path) -> None:
    none_good = {"vllm": {"e2e": 1}, "aiperf": {"e2e": 1}}
    found = opened(stream_run(tmp_path, conventions=("vllm", "aiperf"), exported=none_good))

    assert vllm_bench(*found)["request_goodput"] == 0
    assert aiperf_json(*found)["goodput"] == {"unit": "requests/sec", "avg": 0}
    assert vllm_bench(*opened(full))["request_goodput"] is None
    assert "request_goodput is null: it needs" in str(vllm_bench(*opened(full))["convention_note"])
    assert "goodput is missing: it needs" in str(aiperf_json(*opened(full))["convention_note"])


def test_what_a_tool_has_no_figure_for_is_good_for_vllm_and_not_for_aiperf() -> None:
    single: Figures = {"ttft_ms": 5.0, "itl_ms": [], "tpot_ms": 0.0, "e2e_ms": 5.5}
    limits = {"tpot": NS_PER_MS}

    assert (good_ns("vllm", single, limits), good_ns("aiperf", {**single, "tpot_ms": None}, limits)) == (1_000, 0)
    assert good_ns("aiperf", {**single, "itl_ms": [1.0]}, {"itl": NS_PER_MS}) == 1_000
    assert good_ns("aiperf", {**single, "itl_ms": [1.000001]}, {"itl": NS_PER_MS}) == 0


@pytest.mark.parametrize(
    ("slos", "expected"),
    [
        ((goodput(ttft="1s", tpot="50ms") > "95%",), {"vllm", "aiperf"}),
        ((goodput(ttfo="1s") > "95%",), {"aiperf"}),
        ((goodput(ttft="1s", stall="1s") > "95%",), set()),
        ((goodput(ttft_due="1s") > "95%",), set()),
        ((goodput(ttft="1s", request="chat") > "95%",), set()),
        ((goodput(ttft="1s", step="turn") > "95%", goodput(e2e="9s", window="1m") > "95%"), {"vllm", "aiperf"}),
        ((p(95, metric="ttft") < "1s",), set()),
    ],
)
def test_limits_are_those_of_the_first_goodput_of_all_requests(slos: tuple[Slo, ...], expected: set[str]) -> None:
    objectives = [slo.objective for slo in slos if slo.objective is not None]

    found = exported_limits(objectives, ("vllm", "sglang", "aiperf"))

    assert set(found) == expected
    specs = convention_specs(("vllm", "sglang", "aiperf"), found)
    assert {spec.name for spec in specs if spec.name.endswith(" good")} == {f"{name} good" for name in expected}


def test_aiperf_csv_has_two_parts_with_an_empty_line_between(full: Path) -> None:
    lines = list(csv.reader(io.StringIO(aiperf_csv(*opened(full)))))

    at = lines.index([])
    assert ",".join(lines[0]) == "Metric,avg,min,max,sum,p1,p5,p10,p25,p50,p75,p90,p95,p99,std"
    assert lines[at + 1] == ["Metric", "Value"]
    names = [line[0] for line in lines[1:at]]
    assert names == sorted(names)
    assert "Time to First Token (ms)" in names
    assert ["Request Count", "120.00"] in lines
    assert all(len(line) == len(lines[0]) for line in lines[:at])


def test_a_run_without_requests_to_models_has_no_such_file(tmp_path: Path) -> None:
    found = opened(past_run(tmp_path, seconds=12))

    for export in (aiperf_json, aiperf_csv, vllm_bench):
        with pytest.raises(UsageError, match="had no requests to AI models"):
            export(*found)


def test_the_command_writes_each_form(full: Path, tmp_path: Path) -> None:
    def run(*args: str) -> str:
        done = CliRunner().invoke(app, ["report", RUN_ID, "--runs-dir", str(full.parent), *args])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert json.loads(run("--format", "vllm-bench"))["completed"] == 120
    assert json.loads(run("--format", "aiperf"))["request_count"] == {"unit": "requests", "avg": 120}
    run("--format", "aiperf", "-o", str(tmp_path / "profile_export_aiperf.csv"))
    assert (tmp_path / "profile_export_aiperf.csv").read_text().startswith("Metric,avg,min,max,sum,p1")


def test_each_convention_of_another_tool_can_be_recorded_as_metrics_in_ms() -> None:
    assert set(RECORDABLE) == set(CONVENTIONS) - {"ours"}
    specs = convention_specs(("vllm", "aiperf", "vllm"))
    assert [spec.name for spec in specs][:5] == ["vllm ttft", "vllm itl", "vllm tpot", "vllm e2e", "aiperf ttft"]
    assert {(spec.kind, spec.unit, spec.resolution) for spec in specs} == {("trend", "ms", 0.001)}
    assert len(specs) == 9


def test_vllm_has_no_time_per_output_token_of_an_answer_of_one_token() -> None:
    found = dict(values_ns("vllm", {"ttft_ms": 5.0, "itl_ms": [], "tpot_ms": 0.0, "e2e_ms": 5.5}))

    assert found == {"vllm ttft": [5_000_000], "vllm e2e": [5_500_000]}

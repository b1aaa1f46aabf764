"""Our export in AIPerf's form has the keys, units and statistics of files that AIPerf 0.13.0 wrote."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from loadgen.report.exports.aiperf import aiperf_csv, aiperf_json
from tests.report.test_llm_exports import opened
from tests.support.streams import stream_run

DATA = Path(__file__).parents[1] / "data" / "llm"
OWN = {"convention", "convention_note"}
"""What only our file has: by whose definitions its figures are."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "aiperf_profile.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream_run(tmp_path_factory.mktemp("full"), conventions=("aiperf",))


def test_each_key_is_one_of_aiperf_with_the_same_unit_and_statistics(folder: Path, theirs: dict[str, Any]) -> None:
    ours = aiperf_json(*opened(folder))

    assert set(ours) - set(theirs) == OWN
    for tag in set(ours) - OWN:
        mine, one = ours[tag], theirs[tag]
        if not isinstance(mine, dict):
            assert type(mine) is type(one), tag
            continue
        assert mine["unit"] == one["unit"], tag
        assert set(mine) == set(one), f"the statistics of {tag}"
    assert ours["schema_version"] == theirs["schema_version"]


def test_the_metrics_that_dashboards_read_are_all_there(folder: Path) -> None:
    ours = aiperf_json(*opened(folder))

    assert set(ours) >= {
        *("time_to_first_token", "time_to_first_output_token", "inter_token_latency", "inter_chunk_latency"),
        *("request_latency", "output_token_throughput", "request_throughput", "total_token_throughput"),
        *("request_count", "error_request_count", "request_error_rate", "benchmark_duration"),
    }


def test_sums_of_counts_are_made_as_in_the_file_of_aiperf(folder: Path, theirs: dict[str, Any]) -> None:
    """12 requests, of which 6 failed with status 429; prompts of 20 tokens and answers of 8."""
    assert theirs["completed_request_count"]["avg"] == 12
    for found in (theirs, aiperf_json(*opened(folder))):
        value: dict[str, float] = {
            tag: one["avg"] for tag, one in found.items() if isinstance(one, dict) and "avg" in one
        }
        assert value["completed_request_count"] == value["request_count"] + value["error_request_count"]
        failed = value["error_request_count"] / value["completed_request_count"]
        assert value["request_error_rate"] == pytest.approx(100 * failed, rel=1e-4)
        lasted_s = value["request_count"] / value["request_throughput"]
        assert value["output_token_throughput"] == pytest.approx(value["total_osl"] / lasted_s, rel=1e-4)
        assert value["input_token_throughput"] == pytest.approx(value["total_isl"] / lasted_s, rel=1e-4)
        both = value["input_token_throughput"] + value["output_token_throughput"]
        assert value["total_token_throughput"] == pytest.approx(both, rel=1e-4)
        assert value["total_osl"] == value["request_count"] * value["output_sequence_length"]
        assert value["total_output_tokens"] == value["total_osl"], "no reasoning"


def test_the_csv_file_has_the_names_the_columns_and_the_decimals_of_aiperf(folder: Path) -> None:
    with (DATA / "aiperf_profile.csv").open(newline="") as file:
        theirs = list(csv.reader(file))
    ours = list(csv.reader(io.StringIO(aiperf_csv(*opened(folder)))))

    assert ours[0] == theirs[0]
    at_ours, at_theirs = ours.index([]), theirs.index([])
    for mine, others in ((ours[1:at_ours], theirs[1:at_theirs]), (ours[at_ours + 2 :], theirs[at_theirs + 2 :])):
        assert {row[0] for row in mine} <= {row[0] for row in others}
    assert ours[at_ours + 1] == theirs[at_theirs + 1] == ["Metric", "Value"]
    cells = [cell for row in (*theirs[1:], *ours[1:]) for cell in row[1:] if cell and cell != "Value"]
    assert all(re.fullmatch(r"-?\d+\.\d\d", cell) for cell in cells)

"""Lanes out of metrics.json: what is drawn, what is only named, and files that are no such file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.report.metric_lanes import LANES_MOST, POINTS_MOST, read_lanes


def metric(name: str, values: list[float | None], **more: Any) -> dict[str, Any]:
    at_s = [-20.0 + 60 * k for k in range(len(values))]
    return {"name": name, "statistic": "Average", "unit": "%", "period_s": 60, "at_s": at_s, "values": values} | more


def lanes(folder: Path, *metrics: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = {"format": 1, "source": "cloudwatch", "metrics": metrics} | more
    (folder / "metrics.json").write_text(json.dumps(document))
    return read_lanes(folder)


def test_a_run_without_metrics_has_none(tmp_path: Path) -> None:
    assert read_lanes(tmp_path) == {}


def test_a_lane_has_times_from_the_start_of_the_load_and_its_gaps(tmp_path: Path) -> None:
    made = lanes(tmp_path, metric("cpu", [10.0, None, 30.5]))

    assert made == {
        "source": "cloudwatch",
        "lanes": [
            {
                "name": "cpu",
                "statistic": "Average",
                "unit": "%",
                "period_s": 60.0,
                "stretch_s": 60.0,
                "at_s": [-20.0, 40.0, 100.0],
                "values": [10.0, None, 30.5],
            }
        ],
        "rest": [],
        "empty": [],
        "fault": "",
    }


def test_twelve_are_drawn_the_rest_is_named_and_those_without_a_value_apart(tmp_path: Path) -> None:
    made = lanes(tmp_path, metric("nothing", [None, None]), *(metric(f"m{i}", [1.0]) for i in range(LANES_MOST + 2)))

    assert [lane["name"] for lane in made["lanes"]] == [f"m{i}" for i in range(LANES_MOST)]
    assert made["rest"] == ["m12 (Average)", "m13 (Average)"]
    assert made["empty"] == ["nothing (Average)"]


def test_a_long_metric_keeps_its_highest_values_and_its_gaps(tmp_path: Path) -> None:
    values: list[float | None] = [1.0] * 7200
    values[3333] = 99.0
    values[7000:7100] = [None] * 100
    (lane,) = lanes(tmp_path, metric("cpu", values, period_s=1, at_s=[float(k) for k in range(7200)]))["lanes"]

    assert len(lane["values"]) == POINTS_MOST
    assert (lane["period_s"], lane["stretch_s"]) == (1, 10)
    assert lane["values"][333] == 99
    assert lane["at_s"][333] == 3330
    assert lane["values"][700:710] == [None] * 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Input data was truncated"),
        ('{"format": 1}', "missing required field `metrics`"),
        ('{"format": 2, "metrics": []}', "format 2"),
        (json.dumps({"format": 1, "metrics": [metric("cpu", [1.0], at_s=[])]}), "has 0 times and 1 values"),
        (json.dumps({"format": 1, "metrics": [metric("cpu", [1.0, 2.0], at_s=[5, 5])]}), "not ascending"),
        (json.dumps({"format": 1, "metrics": [metric("cpu", [1.0], period_s=-1)]}), "invalid time"),
    ],
)
def test_an_invalid_file_is_a_sentence_and_no_error(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "metrics.json").write_text(text)

    made = read_lanes(tmp_path)

    assert why in str(made["fault"])
    assert made["lanes"] == []

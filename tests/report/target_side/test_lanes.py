"""Lanes out of metrics.json: what is drawn, what is only named, and files that are no such file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loadgen.report.target_side.lanes import LANES_MOST, POINTS_MOST, Metric, change_of, lanes_of
from loadgen.report.target_side.metrics_file import read_lanes


def metric(name: str, values: Sequence[float | None], **more: Any) -> dict[str, Any]:
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
                "probe": "",
                "statistic": "Average",
                "unit": "%",
                "period_s": 60.0,
                "stretch_s": 60.0,
                "error_s": 0.0,
                "at_s": [-20.0, 40.0, 100.0],
                "values": [10.0, None, 30.5],
            }
        ],
        "more_lanes": [],
        "rest": [],
        "empty": [],
        "fault": "",
    }


def names(found: list[dict[str, Any]]) -> list[str]:
    return [lane["name"] for lane in found]


def test_twelve_are_shown_first_others_can_be_shown_and_very_many_are_only_named(tmp_path: Path) -> None:
    many = [metric(f"m{i}", [1.0]) for i in range(50)]
    made = lanes(tmp_path, metric("nothing", [None, None]), *many)

    assert names(made["lanes"]) == [f"m{i}" for i in range(LANES_MOST)]
    assert names(made["more_lanes"]) == [f"m{i}" for i in range(LANES_MOST, 48)]
    assert made["rest"] == ["m48 (Average)", "m49 (Average)"]
    assert made["empty"] == ["nothing (Average)"]


def test_of_many_those_that_changed_most_are_shown_first_in_the_order_of_the_file(tmp_path: Path) -> None:
    still = [metric(f"still{i}", [5.0] * 40) for i in range(20)]
    steps = [metric(f"step{i}", [100.0] * 20 + [100.0 + i] * 20) for i in range(1, 31)]
    made = lanes(tmp_path, *still, *steps)

    assert names(made["lanes"]) == [f"step{i}" for i in range(19, 31)]
    assert len(made["more_lanes"]) == 36


def test_lanes_that_did_not_change_are_not_shown_first_if_there_are_many(tmp_path: Path) -> None:
    still = [metric(f"still{i}", [5.0] * 40) for i in range(20)]
    made = lanes(tmp_path, *still, metric("step", [1.0] * 20 + [2.0] * 20))

    assert names(made["lanes"]) == ["step"]
    assert names(made["more_lanes"]) == [f"still{i}" for i in range(20)]


def test_a_row_that_an_objective_names_is_always_shown_first() -> None:
    steps = [Metric(f"step{i}", (0.0, 1.0), (1.0, 2.0)) for i in range(30)]
    named = Metric("connections", (0.0, 1.0), (5.0, 5.0), probe="shopdb", key="connections")
    made: dict[str, Any] = lanes_of([*steps, named], named={"shopdb.connections"})

    assert names(made["lanes"]) == [*(f"step{i}" for i in range(11)), "connections"]


def test_noise_changes_less_than_a_step_of_the_same_height() -> None:
    at_s = tuple(map(float, range(200)))
    noise = Metric("noise", at_s, tuple(1.0 + n % 2 for n in range(200)))
    step = Metric("step", at_s, tuple(1.0 + (n >= 100) for n in range(200)))

    assert change_of(step) == 0.5
    assert change_of(noise) < 0.01
    assert change_of(Metric("zero", (0.0, 1.0), (0.0, None))) == 0.0
    assert change_of(Metric("sign", (0.0, 1.0), (-3.0, 3.0))) == 2.0


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

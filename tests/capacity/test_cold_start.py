"""`loadgen capacity coldstart`: scaling events, the first good answer, and the time until p95 is warm."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.analysis.scaling.cold_start import mean_time, settled, warm_from
from loadgen.capacity.coldstart.events import scale_events
from loadgen.report.target_side.marks import Mark
from loadgen_controller import cli
from tests.support.scaled_run import RUN_ID, mark, scaled_run


def coldstart(runs: Path, *args: str) -> Result:
    words = ["capacity", "coldstart", RUN_ID, "--runs-dir", str(runs), *args]
    result = CliRunner().invoke(cli.app, words, env={"COLUMNS": "160"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    scaled_run(folder, tag="x-pod")
    return folder


def test_first_good_answer_and_warm_p95_are_found_within_their_bounds(runs: Path, tmp_path: Path) -> None:
    done = coldstart(
        runs, "--instance-tag", "x-pod", "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")
    )
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "c.json").read_text())["facts"]
    for event in facts["events"]:
        assert event["first_good_low_s"] <= 10 <= event["first_good_high_s"]
        assert event["p95_warm_low_s"] - 2 <= 35 <= event["p95_warm_high_s"] + 2
        assert event["new_instances"] == 1
    good, warm = facts["first_good_answer"], facts["p95_warm"]
    assert good["count"] == warm["count"] == 2
    assert good["low_s"] <= 10 <= good["high_s"]
    assert "2 events" in done.output
    assert b"<svg" in (tmp_path / "c.html").read_bytes()


def test_without_a_tag_p95_is_the_fleets_and_the_study_says_so(runs: Path, tmp_path: Path) -> None:
    done = coldstart(runs, "--csv", str(tmp_path / "c.csv"))
    assert done.exit_code == 0
    assert "No tag shows which answers come from a new instance" in " ".join(done.output.split())
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [row["first_good_low_s"] for row in rows] == ["", ""]
    assert len(rows) == 2


def test_run_without_events_is_refused_with_the_reason(tmp_path: Path) -> None:
    scaled_run(
        tmp_path,
        (5,),
        marks=[mark(100.0, "Pod shop-1: container shop restarted: OOMKilled, exit code 137")],
        seconds=10,
    )
    done = coldstart(tmp_path)
    assert done.exit_code == 2
    assert "no scaling event: 1 mark, none of them of a fleet that grew" in " ".join(done.output.split())
    assert "--at 2m" in done.output


def test_event_by_hand_needs_no_marks(tmp_path: Path) -> None:
    scaled_run(tmp_path, (40,), seconds=120, marks=())
    assert coldstart(tmp_path).exit_code == 2
    done = coldstart(tmp_path, "--at", "40s")
    assert done.exit_code == 0
    assert "This is a single event" in done.output


def test_load_that_is_too_small_for_p95_by_second_is_refused(tmp_path: Path) -> None:
    scaled_run(tmp_path, (30,), seconds=120, per_s=4)
    done = coldstart(tmp_path)
    assert done.exit_code == 2
    assert "fewer than 200 requests in 30 s" in " ".join(done.output.split())


def test_run_whose_generator_was_the_limit_is_not_valid(tmp_path: Path) -> None:
    folder = scaled_run(tmp_path, (40,), seconds=120)
    summary = json.loads((folder / "summary.json").read_text())
    summary["validity"] = {"verdict": "invalid", "reasons": ["lag p99 47 ms is above 35 ms"]}
    (folder / "summary.json").write_text(json.dumps(summary))
    done = coldstart(tmp_path)
    assert done.exit_code == 4
    assert "the generator was not fit to measure: lag p99 47 ms" in " ".join(done.output.split())


def test_event_shortly_before_the_end_is_not_decided(tmp_path: Path) -> None:
    scaled_run(tmp_path, (20,), seconds=50)
    done = coldstart(tmp_path)
    assert done.exit_code == 3
    assert "less than 60 s after it" in " ".join(done.output.split())


def test_missing_tag_and_wrong_time_are_errors(runs: Path) -> None:
    assert "no good answer with the tag x-host" in " ".join(coldstart(runs, "--instance-tag", "x-host").output.split())
    assert coldstart(runs, "--at", "soon").exit_code == 2


def test_marks_of_one_event_are_joined_and_those_of_shrinking_or_failed_ones_left_out() -> None:
    launch = "Launching a new EC2 instance: i-1"
    marks = [
        Mark(10.0, 1.0, name="web", title=launch, status="Successful"),
        Mark(12.0, 1.0, name="web", title=launch, status="Successful"),
        Mark(200.0, 1.0, name="web", title=launch, status="Failed"),
        Mark(300.0, 1.0, name="web", title="Terminating EC2 instance: i-1", status="Successful"),
        Mark(
            400.0, 1.0, name="web", title="Setting desired count to 3.", cause="monitor alarm TargetTracking-AlarmLow-1"
        ),
        Mark(
            500.0,
            1.0,
            name="web",
            title="Setting desired count to 9.",
            cause="monitor alarm TargetTracking-AlarmHigh-1",
        ),
        Mark(-5.0, 1.0, name="web", title=launch),
        Mark(
            600.0,
            probe="k",
            text="HorizontalPodAutoscaler web: SuccessfulRescale: New size: 5; reason: cpu above target",
        ),
        Mark(
            700.0,
            probe="k",
            text="HorizontalPodAutoscaler web: SuccessfulRescale: New size: 3; reason: All below target",
        ),
    ]
    assert [(one.at_s, one.marks) for one in scale_events(marks)] == [(10.0, 2), (500.0, 1), (600.0, 1)]


def test_p95_that_is_uneven_even_when_warm_is_not_decided() -> None:
    p95 = np.full(300, 100.0)
    p95[210::10] = 150.0
    found = settled(p95, 10.0, 200, 300, 100.0, window_s=1, error_s=0.0)
    assert found.after_s is None
    assert "even when warm" in found.why


def test_p95_that_never_rises_has_no_cold_start_to_see() -> None:
    found = settled(np.full(300, 100.0), 10.0, 200, 300, 100.0, window_s=1, error_s=0.0)
    assert found.after_s == (0.0, 0.0)
    assert not found.is_seen


def test_short_dip_below_the_limit_does_not_count_as_warm() -> None:
    p95 = np.full(300, 100.0)
    p95[20:60] = 200.0
    p95[40:45] = 100.0
    found = settled(p95, 10.0, 200, 300, 100.0, window_s=1, error_s=0.5)
    assert found.after_s == (48.5, 51.5)
    assert found.worst == 200.0


def test_warm_part_is_the_last_third_if_it_has_20_s() -> None:
    assert warm_from(100, 190) == 160
    assert warm_from(100, 150) is None


def test_interval_of_the_mean_is_students_and_covers_nineteen_of_twenty() -> None:
    assert mean_time([]) is None
    single = mean_time([(10.0, 12.0)])
    assert single is not None
    assert (single.low_s, single.high_s, single.is_single) == (10.0, 12.0, True)
    random, covered = np.random.default_rng(1), 0
    for _ in range(400):
        times = random.normal(30, 5, 4)
        found = mean_time([(time, time) for time in times])
        assert found is not None
        covered += found.low_s <= 30 <= found.high_s
    assert 0.92 <= covered / 400 <= 0.98

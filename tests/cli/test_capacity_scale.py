"""`loadgen capacity scale`: what it prints and writes, and its errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen.studies.read_study import open_study
from loadgen.yaml_file import parse_yaml
from loadgen_controller import cli
from tests.support.scaled_run import RUN_ID, scaled_run

HPA = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  minReplicas: 2
  maxReplicas: 60
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}
"""


def scale(*args: str, columns: int = 160) -> Result:
    result = CliRunner().invoke(cli.app, ["capacity", "scale", *args], env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with peak.csv, a ramp from 800/s to 2,000/s in 20 minutes, and hpa.yaml with a target of 80 %."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    rates = [800.0] * 30 + [800 + 60 * minute for minute in range(21)] + [2000.0] * 20
    times = [f"2026-07-20T{8 + minute // 60:02}:{minute % 60:02}:00+02:00" for minute in range(len(rates))]
    rows = "".join(f"{time},{rate}\n" for time, rate in zip(times, rates, strict=True))
    (tmp_path / "peak.csv").write_text("time,rate\n" + rows)
    (tmp_path / "hpa.yaml").write_text(HPA)
    return tmp_path


BASIC = ("--rate", "peak.csv", "--policy", "hpa.yaml", "--capacity", "100/s")


def test_result_goes_to_terminal_page_json_csv_seconds_and_policy(here: Path) -> None:
    files = {
        option: f"out{suffix}"
        for option, suffix in (
            ("--html", ".html"),
            ("--json", ".json"),
            ("--csv", ".csv"),
            ("--seconds", ".seconds.csv"),
            ("--write-policy", ".yaml"),
        )
    }
    done = scale(*BASIC, "--start", "60s", "--zones", "1", *(word for pair in files.items() for word in pair))
    assert done.exit_code == 0, done.output
    assert "the policy breaks the promise (80 % CPU: at most" in " ".join(done.output.split())
    study = open_study("out.json")
    best = study.facts["cheapest_target"]
    assert 0.6 <= best < 0.8
    assert study.facts["lag"]["total_s"] == 165
    assert study.facts["growth"]["ratio"] == pytest.approx(1 + 60 * 165 / 60 / 800, rel=1e-3)
    assert study.facts["starting_target"] == pytest.approx(0.85 / study.facts["growth"]["ratio"] / 1.1)
    rows = list(csv.DictReader((here / "out.csv").read_text().splitlines()))
    assert {row["case"] for row in rows} == {"recorded", "recorded x 1.5"}
    page = (here / "out.html").read_text()
    assert page.count('class="xy"') >= 5
    assert "2026-07-20T08:30" in page
    assert "+02:00" in page
    written = (here / "out.yaml").read_text()
    target = parse_yaml(written, "out.yaml")["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
    assert target == str(round(best * 100))
    assert f"# target {round(best * 100)} %: the cheapest" in written
    seconds = (here / "out.seconds.csv").read_text().splitlines()
    assert len(seconds) == 1 + 71 * 60
    assert seconds[1].startswith("0,800,")


def test_written_policy_keeps_the_promise_that_it_was_written_for(here: Path) -> None:
    assert scale(*BASIC, "--write-policy", "new.yaml").exit_code == 0
    done = scale("--rate", "peak.csv", "--policy", "new.yaml", "--capacity", "100/s")
    assert "the policy keeps the promise" in " ".join(done.output.split())


def test_policy_that_no_target_can_save_fails(here: Path) -> None:
    done = scale(*BASIC, "--max", "9", "--write-policy", "new.yaml")
    assert done.exit_code == 1
    assert "none of" in done.output
    assert "the policy reached its limit of 9 instances" in " ".join(done.output.split())
    assert not (here / "new.yaml").exists()


def test_run_gives_its_requests_by_second_as_the_curve(here: Path) -> None:
    scaled_run(here / "runs", (20,), seconds=40)
    done = scale("--rate", RUN_ID, "--policy", "hpa.yaml", "--capacity", "100/s", "--json", "out.json")
    assert done.exit_code == 0, done.output
    study = open_study("out.json")
    assert study.run_ids == (RUN_ID,)
    assert study.facts["curve"]["peak_per_s"] == 250
    assert study.facts["curve"]["start"].startswith("2026-11-24T17:03:12")


def test_capacity_comes_from_a_stored_study(here: Path) -> None:
    store = Store.open("history")
    found = {"capacity": {"low": 230.0, "point": 240.0, "high": 250.0, "is_extrapolated": False}}
    common = {"kind": "capacity find", "title": "t", "headline": "h"}
    store.add_study({**common, "result": "decided", "facts": found})
    store.add_study({**common, "result": "not decided", "facts": {"capacity": None}})
    done = scale(*BASIC[:4], "--capacity", "C-1", "--store", "history", "--json", "out.json")
    assert done.exit_code in (0, 1)
    assert open_study("out.json").facts["instance"]["per_s"] == 230
    assert [one.kind for one in Store.open("history").studies()][-1] == "capacity scale"
    assert "C-2 has no capacity" in scale(*BASIC[:4], "--capacity", "C-2", "--store", "history").output
    assert scale(*BASIC[:4], "--capacity", "C-9", "--store", "history").exit_code == 2


def test_all_errors_of_the_command_line_and_its_files_are_reported_at_once(here: Path) -> None:
    (here / "peak.csv").write_text("time,rate\n2026-07-20T08:00:00,5\n2026-07-20T08:00:00Z,-1\n")
    (here / "hpa.yaml").write_text(HPA.replace("maxReplicas: 60", "maxReplicas: many"))
    done = scale(*BASIC[:4], "--capacity", "0", "--start", "1.5s", "--targets", "0%,60%", "--min", "5", "--max", "2")
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    for part in (
        "--capacity: 0 is not a rate above 0", "--start: 1.5s is not a whole number of seconds", "--targets: ",
        "--max 2 is below --min 5", "peak.csv:2: ", "peak.csv:3: ", "hpa.yaml:spec.maxReplicas: ",
    ):  # fmt: skip
        assert part in text, (part, text)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("--write-policy", "new.tf"), "an HPA is written as YAML"),
        (("--html", "-"), "--html cannot write to stdout"),
        (("--utilization", "120%"), "--utilization"),
        (("--seconds", "none/s.csv"), "there is no folder"),
    ],
)
def test_invalid_options_are_errors(here: Path, args: tuple[str, ...], part: str) -> None:
    done = scale(*BASIC, *args)
    assert done.exit_code == 2
    assert part in done.output


def test_curve_without_requests_needs_the_least_instances(here: Path) -> None:
    (here / "peak.csv").write_text("time_s,rate\n" + "".join(f"{second},0\n" for second in range(100)))
    done = scale(*BASIC, "--start", "0s", "--delay", "0s", "--json", "out.json")
    assert done.exit_code == 0, done.output
    assert open_study("out.json").facts["cases"][0]["instance_hours"] == pytest.approx(200 / 3600)


def test_missing_files_are_errors(here: Path) -> None:
    assert "there is no file none.csv" in scale("--rate", "none.csv", *BASIC[2:]).output
    assert scale("--rate", "norun", *BASIC[2:]).exit_code == 2
    assert scale(*BASIC[:2], "--policy", "none.yaml", *BASIC[4:]).exit_code != 0


def test_step_scaling_is_replayed_without_a_grid(here: Path) -> None:
    steps = [
        {"PolicyName": "out", "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}]},
        {"MetricName": "CPUUtilization", "Threshold": 60, "ComparisonOperator": "GreaterThanThreshold"},
    ]
    (here / "asg.json").write_text(json.dumps(steps))
    done = scale("--rate", "peak.csv", "--policy", "asg.json", "--capacity", "100/s", "--min", "2", "--max", "90")
    assert done.exit_code in (0, 1), done.output
    assert "Targets" not in done.output


def test_hostile_names_steer_no_terminal(here: Path) -> None:
    (here / "hpa.yaml").write_text(
        HPA.replace("name: shop", r'name: "a\e[2Jb"').replace("name: cpu", r'name: "c\e[2Jd"')
    )
    (here / "peak.csv").write_text("time,rate\n\x1b[2Jnow,1\n\x1b]8;;x,2\n")
    assert "\x1b" not in scale(*BASIC).output


def test_outputs_cannot_replace_each_other_or_an_input(here: Path) -> None:
    done = scale(*BASIC, "--html", "same", "--seconds", "same", "--write-policy", "hpa.yaml")
    assert done.exit_code == 2
    assert "--seconds and --html both name same" in done.output
    assert "--policy and --write-policy both name hpa.yaml" in done.output
    assert (here / "hpa.yaml").read_text() == HPA

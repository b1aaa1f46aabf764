"""`loadgen plan --measure-core`: a short measurement for real, and what the command makes of a given one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import InvalidError
from loadgen_controller.cli import app
from loadgen_controller.commands import plan
from loadgen_controller.planning.core_rate import rate
from loadgen_controller.planning.core_rate.rate import MEASURED, CoreRate, measure_core
from tests.support.scenarios import write

SCENARIO = """
from loadgen import Plan, User, arrivals, journey


@journey
async def look(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:1", load=arrivals("200000/s").hold("5s"), mix=look)
"""


def loadgen(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(app, ["plan", str(write(folder, SCENARIO)), "--runs-dir", str(folder / "runs"), *args])


@pytest.fixture
def _core_of_20_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure_core", lambda seconds: CoreRate(20.0, MEASURED))
    monkeypatch.setattr(plan, "usable_cores", lambda: 1)


def test_a_measurement_gives_the_cpu_time_of_a_request() -> None:
    core = measure_core(0.8)
    assert 1 < core.cpu_us < 5_000, "from the fastest core to a very busy machine"
    assert 0 < core.had_share <= 1
    assert core.source == MEASURED


def test_the_server_of_a_measurement_ends_with_its_standard_input() -> None:
    command = [sys.executable, "-P", "-m", "loadgen_controller.planning.core_rate.probe_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert int(server.stdout.readline()) > 0
        server.stdin.close()
        assert server.wait(30) == 0


def test_a_measurement_that_fails_is_an_error_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_PROBE", "loadgen_controller.planning.missing")
    with pytest.raises(InvalidError, match=r"cannot measure a core: .*missing") as caught:
        measure_core(0.1)
    assert "--measure-core" in caught.value.hint


@pytest.mark.usefixtures("_core_of_20_us")
def test_a_plan_of_200_000_a_second_on_one_core_is_refused_with_the_cores_that_it_needs(tmp_path: Path) -> None:
    result = loadgen(tmp_path, "--no-trial", "--measure-core")
    assert result.exit_code == 2
    assert "workers    at least 10 needed at the peak of 200,000 iterations/s" in result.stdout
    assert "this machine has 1 core: use agents on more machines (docs/distributed.md)" in result.stdout
    assert "this plan needs 10 cores, and this machine has 1" in str(result.exception) + result.stderr
    assert "measuring for 2 s" in result.stderr
    assert "measuring" not in result.stdout


@pytest.mark.usefixtures("_core_of_20_us")
def test_a_plan_that_fits_on_the_core_is_not_refused(tmp_path: Path) -> None:
    result = loadgen(tmp_path, "--no-trial", "--measure-core", "--rate", "12000/s", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["core"]["requests_per_s"], found["workers"]["needed"], found["cores"]) == (20_000, 1, 1)


def test_without_a_trial_and_a_measurement_the_text_follows_from_the_plan_alone(tmp_path: Path) -> None:
    result = loadgen(tmp_path, "--no-trial")
    assert result.exit_code == 0
    assert not [line for line in result.stdout.splitlines() if line.startswith(("core", "workers"))]
    assert json.loads(loadgen(tmp_path, "--no-trial", "--json").stdout)["core"] is None


def test_without_a_run_the_trial_says_how_to_measure(tmp_path: Path) -> None:
    result = loadgen(tmp_path)
    assert (
        "core       unknown: no past run of this scenario shows it; add --measure-core, which takes 2 s"
        in result.stdout
    )

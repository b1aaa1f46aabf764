"""The pipelines of docs/ci are what a CI takes, and their commands do what they are there for, run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.report.run_as_dataframes import open_run
from tests.support.ci_runner import Runner
from tests.support.target import running_target

CI = Path(__file__).parents[2] / "docs" / "ci"
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/products/sku-0001", name="GET /products/{sku}", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("250/s").hold("1s"), mix={look: 1.0})
"""


def github() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((CI / "github-actions.yml").read_text())
    return found


def gitlab() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    return found


def test_pipelines_have_what_their_ci_asks_for() -> None:
    workflow, pipeline = github(), gitlab()
    assert workflow[True] == "pull_request"  # YAML 1.1 reads `on` so, and GitHub knows
    assert all(("uses" in step) != ("run" in step) for step in workflow["jobs"]["gate"]["steps"])
    assert {"stage", "script", "artifacts"} <= pipeline["gate"].keys()
    assert pipeline["gate"]["artifacts"]["reports"]["junit"] in pipeline["gate"]["script"][0]
    assert all(isinstance(line, str) for line in pipeline["gate"]["script"])


@pytest.mark.slow
def test_commands_of_gitlab_run_as_they_stand(tmp_path: Path) -> None:
    """First without a history, then with one of what was just measured, made known as if over ten runs."""
    job = gitlab()["gate"]
    lines, variables = list(job["script"]), job["variables"]
    _write_scenario(tmp_path / variables["SCENARIO"])
    with running_target() as target:
        given = {"LOADGEN_STORE": str(tmp_path / "store"), "TARGET": target.url}
        assert [run(line, tmp_path, variables | given) for line in lines] == [3]
        assert "there are no accepted runs" in (tmp_path / "gate.md").read_text()
        assert ElementTree.parse(tmp_path / "gate.xml").getroot()[0].get("failures") == "1"
        fill(tmp_path)
        assert run(lines[0], tmp_path, variables | given) in (0, 1, 3)
        assert "accepted runs" in (tmp_path / "gate.xml").read_text()
        assert "there are no accepted runs" not in (tmp_path / "gate.md").read_text()


@pytest.mark.slow
def test_the_action_of_github_judges_a_gate(tmp_path: Path) -> None:
    inputs = github()["jobs"]["gate"]["steps"][1]["with"]
    _write_scenario(tmp_path / inputs["scenario"])
    with running_target() as target:
        runner = Runner(tmp_path, **inputs | {"store": str(tmp_path / "store"), "target": target.url})
        done = runner.step("test")
        assert (done.returncode, runner.outputs["result"]) == (3, "inconclusive"), done.stderr
        assert "there are no accepted runs" in runner.files["GITHUB_STEP_SUMMARY"].read_text()
        runner.inputs["fail-on"] = "failed"
        assert runner.step("test").returncode == 0
        fill(tmp_path, tmp_path / "loadgen-ci/runs")
        assert runner.step("test").returncode in (0, 1, 4)
        assert "there are no accepted runs" not in (tmp_path / "loadgen-ci/comment.md").read_text()


def _write_scenario(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(SCENARIO)


def run(line: str, folder: Path, variables: dict[str, str]) -> int:
    """As the runner would: a shell, with this `loadgen` first on its path."""
    env = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", "-e", "-c", line], cwd=folder, env=env, check=False, timeout=120).returncode


def fill(folder: Path, runs: Path | None = None) -> None:
    store = Store.open(str(folder / "store"))
    run = accepted_of(open_run(next((runs or folder / "runs").iterdir())))
    for n in range(12):
        figures = tuple(replace(one, value_ms=one.value_ms * (1 + 0.01 * (n % 3))) for one in run.figures)
        store.add(replace(run, run_id=f"20261101-0000{n:02}-look-0001", figures=figures))

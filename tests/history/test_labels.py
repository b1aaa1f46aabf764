"""What a run is of: its labels and its commit, from the command line into the history."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen_controller.cli import app
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.git_commit import commit_of
from loadgen_controller.planning.scenario import load_scenario
from tests.support.run import loadgen
from tests.support.scenarios import write
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey


@journey
async def look(user: User) -> None:
    await user.http.get("/")


plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("20/s").hold("1s"),
    mix=look,
    labels={"service": "shop", "release": "none"},
)
"""


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=Ana", "-c", "user.email=ana@shop.example", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *args], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "load"
    folder.mkdir()
    git(tmp_path, "init", "-q")
    write(folder, SCENARIO)
    (tmp_path / "elsewhere.txt").write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return folder


def test_a_commit_is_known_by_its_whole_hash(repository: Path) -> None:
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD")


def test_changes_below_the_folder_are_marked_and_others_are_not(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    (repository.parent / "elsewhere.txt").write_text("2")
    (repository / "runs.log").write_text("untracked")
    assert commit_of(repository) == head

    write(repository, SCENARIO + "# changed\n")
    assert commit_of(repository) == f"{head}+"


def test_where_git_knows_nothing_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_of(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) == ""


def test_labels_of_the_command_line_are_over_those_of_the_plan(tmp_path: Path) -> None:
    file = str(write(tmp_path, SCENARIO))

    scenario = load_scenario(CollectedErrors(), file, labels=["release=1.4", "team=shop=two"], is_sending=False)

    assert scenario.plan.spec().labels == {"service": "shop", "release": "1.4", "team": "shop=two"}
    again = load_scenario(CollectedErrors(), file, base=scenario.plan.overrides, is_sending=False)
    assert again.plan.spec().labels == scenario.plan.spec().labels


def test_all_that_is_wrong_with_labels_is_told_at_once(tmp_path: Path) -> None:
    file = str(write(tmp_path, SCENARIO))
    labels = [part for text in ("release", "a b=1", "team=", "x=1", "x=2") for part in ("--label", text)]

    wrong = CliRunner().invoke(app, ["run", file, "--runs-dir", str(tmp_path / "runs"), *labels])

    assert wrong.exit_code == 2
    assert wrong.stderr.count("error: --label: ") == 4
    assert not (tmp_path / "runs").exists()


@pytest.mark.quiet
def test_labels_and_commit_of_a_real_run_come_into_the_history(tmp_path: Path, repository: Path) -> None:
    file = str(next(repository.glob("*.py")))
    runs_dir = tmp_path / "runs"
    with running_target("--no-latency") as target:
        done = loadgen("run", file, "--target", target.url, "--label", "release=1.4", "--quiet", runs_dir=runs_dir)
    spec = json.loads((done.folder / "manifest.json").read_text())["spec"]
    assert spec["labels"] == {"service": "shop", "release": "1.4"}
    assert spec["commit"] == git(repository, "rev-parse", "HEAD")

    from loadgen_controller.past_runs.read_run_for_history import accepted_in

    run = accepted_in("last", runs_dir)
    assert (run.labels, run.commit) == (spec["labels"], spec["commit"])
    assert {figure.name for figure in run.figures} == {"look", "look > GET /"}
    assert run.key.rate == "20/s"
    assert run.key.target == target.url.removeprefix("http://")
    assert run.achieved_rate == pytest.approx(20, rel=0.1)

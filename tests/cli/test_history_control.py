"""`loadgen history control --last`: what is judged against what, what is noted, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen_controller import cli
from tests.support.accepted import KEY, history
from tests.support.scenarios import browse_with

LEVELS = {"checkout": 100.0, "checkout > pay": 40.0}


def control(*args: str) -> Result:
    return CliRunner().invoke(cli.app, ["history", "control", *args], env={"COLUMNS": "160"})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """5 runs of 1.4 and 16 of 1.5, in `./history`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return filled(Store.open("history"), newest_ms=40.0)


def filled(store: Store, newest_ms: float) -> Store:
    runs = history(5, LEVELS | {"checkout > pay": 60.0}, sd=0.01, commit="a" * 40, labels={"release": "1.4"})
    pay = [40.0] * 13 + [newest_ms] * 3
    runs += history(
        16, LEVELS | {"checkout > pay": pay}, sd=0.01, first=5, seed=2, commit="b" * 40, labels={"release": "1.5"}
    )
    for run in runs:
        store.add(run)
    return store


def test_the_newest_runs_are_judged_by_those_of_their_release_and_the_verdict_is_noted(store: Store) -> None:
    said = control("--last")
    assert said.exit_code == 0, said.stderr
    assert said.stdout.startswith("A/A control: PASS: none of 2 names is slower.")
    assert "0 of 1 A/A controls failed" in said.stdout
    (event,) = store.events(CONTROL)
    assert event.run_ids == tuple(run.run_id for run in store.runs(KEY)[-3:])
    assert event.details["outcome"] == "PASS"
    assert event.details["key"] == KEY.hash()


def test_a_control_that_fails_is_noted_and_says_nothing_yet_of_the_gate(tmp_path: Path) -> None:
    store = filled(Store.open(str(tmp_path / "history")), newest_ms=46.0)
    said = control("--last", "--store", str(store))
    assert said.exit_code == 0
    assert "A/A control: FAIL" in said.stdout
    assert "checkout > pay" in said.stdout
    assert store.events(CONTROL)[0].details["outcome"] == "FAIL"


def test_when_the_gate_is_not_healthy_the_exit_code_says_so(store: Store) -> None:
    for _ in range(3):
        store.note(Event(CONTROL, "", "ci", ("other",), details={"outcome": "FAIL", "key": KEY.hash()}))
    said = control("--last")
    assert said.exit_code == 1
    assert "The gate is not healthy: 3 of 4" in said.stdout


def test_runs_are_a_control_only_once(store: Store) -> None:
    control("--last")
    again = control("--last")
    assert again.exit_code == 2
    assert "have already been a control" in again.stderr
    assert len(store.events(CONTROL)) == 1


def test_without_a_history_no_run_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = control(str(browse_with(tmp_path)), "--store", "none")
    assert said.exit_code == 3
    assert "none has none yet" in said.stderr
    assert not (tmp_path / "runs").exists()


def test_too_few_runs_of_the_release_are_no_control(store: Store) -> None:
    said = control("--last", "--runs", "7")
    assert said.exit_code == 2
    assert "the newest 16 runs have one commit and the same labels; a control of 7 needs 17" in said.stderr
    assert store.events(CONTROL) == []


def test_either_a_scenario_or_the_newest_runs_and_all_faults_at_once(store: Store) -> None:
    neither = control("--key", "abc", "--percentile", "p90")
    assert neither.exit_code == 2
    assert "name either a scenario or --last" in neither.stderr
    assert "--key needs --last" in neither.stderr
    assert '--percentile: unknown statistic "p90"' in neither.stderr
    assert "a scenario and --last exclude each other" in control("shop.py", "--last").stderr


def test_an_empty_store_says_how_to_begin(tmp_path: Path) -> None:
    said = control("--last", "--store", str(tmp_path / "none"))
    assert said.exit_code == 2
    assert "there are no accepted runs" in said.stderr

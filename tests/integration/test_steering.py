"""Steered loads over two agents, against a shop that serves four at a time for 50 ms each: 80/s, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.run import DATA, Finished, ends_with, loadgen
from tests.support.target import running_target

FILE = f"{DATA}/steered.py"
LIMIT_PER_S = 80.0


def steering(run: Finished) -> dict[str, Any]:
    (row,) = run.summary["steering"]
    found: dict[str, Any] = row
    return found


def events(run: Finished, kind: str) -> list[dict[str, Any]]:
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def all_that_was_due_was_started(run: Finished) -> bool:
    iterations = run.summary["iterations"]
    return bool(iterations["due"] == iterations["started"] + iterations["missed"])


@pytest.mark.quiet
def test_an_executor_of_the_scenarios_own_steers_the_whole_fleet(tmp_path: Path) -> None:
    with running_target("--slots", "4", "--latency", "50ms") as target:
        run = loadgen("run", f"{FILE}:stairs", "--target", target.url, "--quiet", runs_dir=tmp_path)
        served = target.stats()["requests"]

    found = steering(run)
    assert ends_with(run.exit_code, run.summary, 0), run.out
    assert found["executor"] == "Stairs: 10.0/s to 40.0/s"
    assert [event["rate_per_s"] for event in events(run, "steered")] == [20.0, 40.0, None]
    assert found["why"] == "up all stairs"
    assert found["text"] == "three stairs, and none broke"
    assert "three stairs, and none broke" in run.summary["reasons"]
    assert all_that_was_due_was_started(run)
    assert run.summary["iterations"]["due"] == run.summary["requests"]["finished"] == served
    assert run.summary["duration_s"] < 40  # of 60: it ended itself


TROUBLES = {
    "raises": "ZeroDivisionError: division by zero; the rate stays 10.0/s",
    "no number": "it returned the rate nan, which is not a finite number of at least 0; the rate stays 10.0/s",
    "negative": "it returned the rate -5.0, which is not a finite number of at least 0; the rate stays 10.0/s",
    "blocks": "no answer from Faulty: 10.0/s to 40.0/s for ",
}


def test_a_faulty_executor_leaves_the_rate_as_it_is_and_is_told(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen("run", f"{FILE}:faulty", "--target", target.url, "--quiet", runs_dir=tmp_path)

    assert ends_with(run.exit_code, run.summary, 0), run.out
    told = {row["load"]: row["trouble"] for row in run.summary["steering"]}
    for load, trouble in TROUBLES.items():
        assert trouble in told[load]
        assert any(f"load {load}" in note and trouble in note for note in run.summary["notes"])
    assert run.summary["iterations"]["due"] == 4 * 60
    assert not events(run, "steered")


def hold_ends_within_5_percent(runs_dir: Path) -> bool:
    with running_target("--slots", "4", "--latency", "50ms") as target:
        run = loadgen("run", f"{FILE}:held", "--target", target.url, "--quiet", runs_dir=runs_dir, timeout_s=200)
    assert ends_with(run.exit_code, run.summary, 0), run.out
    assert all_that_was_due_was_started(run)
    held = steering(run)["held_per_s"]
    assert held is not None, steering(run)
    return bool(abs(held / LIMIT_PER_S - 1) <= 0.05)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_hold_ends_within_5_percent_of_the_limit_in_9_of_10_runs(tmp_path: Path) -> None:
    near = sum(hold_ends_within_5_percent(tmp_path / str(n)) for n in range(10))

    assert near >= 9


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_search_ends_with_an_interval_that_has_the_limit_in_it(tmp_path: Path) -> None:
    with running_target("--slots", "4", "--latency", "50ms") as target:
        run = loadgen("run", f"{FILE}:searched", "--target", target.url, "--quiet", runs_dir=tmp_path, timeout_s=900)
    found = steering(run)

    assert ends_with(run.exit_code, run.summary, 0), run.out
    assert found["verdict"] == "found", found
    assert found["low"] <= LIMIT_PER_S <= found["high"]
    assert found["rate_per_s"] == pytest.approx(LIMIT_PER_S, rel=0.05)

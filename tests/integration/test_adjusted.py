"""A run whose load is changed from another terminal: real agents and workers, the target's own count as witness."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from tests.cli.test_commands import loadgen
from tests.integration.test_stopping import adds_up, end_of, wait_for
from tests.integration.test_workers import worker_pids
from tests.support.run import DATA, ends_with, run_folder, started
from tests.support.target import RunningTarget, running_target

LATE = 200
"""Arrivals of two seconds: a busy machine may be so late to hear."""
ADJUSTED = f"{DATA}/adjusted.py"
S = 1_000_000_000


def asked(runs: Path, *words: str) -> Result:
    result = loadgen(*words, "--runs-dir", runs)
    assert result.exit_code == 0, result.output
    return result


def changes(runs: Path) -> list[dict[str, Any]]:
    lines = (run_folder(runs) / "events.jsonl").read_text().splitlines()
    return [event["adjustment"] for event in map(json.loads, lines) if event["kind"] == "adjusted"]


def resumed(runs: Path) -> bool:
    """Another worker is there for one that was killed."""
    lines = (run_folder(runs) / "events.jsonl").read_text().splitlines()
    return any(e["kind"] == "worker lost" and e["loss"]["resumed_ns"] >= 0 for e in map(json.loads, lines))


def until(found: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def settled(target: RunningTarget) -> int:
    """What the target has counted, once that has not changed for half a second."""
    last = -1
    while (now := int(target.stats()["requests"])) != last:
        last = now
        time.sleep(0.5)
    return now


def test_a_run_is_paused_scaled_resumed_and_loses_no_arrival_though_a_worker_is_killed_meanwhile(
    tmp_path: Path,
) -> None:
    command = ("run", ADJUSTED, "--workers", "2")
    with running_target("--no-latency") as target, started(*command, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"\d, 2 of 2 agents reported")
        said = asked(tmp_path, "pause").output
        assert said.startswith(f"paused {run_folder(tmp_path).name} at 0:0")
        assert "arrivals were due" in said
        assert "no end until it is resumed" in said
        time.sleep(0.5)  # it holds 300 ms after it was asked for
        paused = settled(target)
        asked_for = int(re.search(r"([\d,]+) arrivals were due", said)[1].replace(",", ""))  # type: ignore[index]
        assert asked_for <= paused <= asked_for + LATE  # more only where an agent heard later than 300 ms
        assert loadgen("pause", "--runs-dir", tmp_path).exit_code == 2
        until(lambda: open_run(run_folder(tmp_path)).merge.counters().requests_finished == paused)  # all is told
        os.kill(worker_pids(tmp_path, "eu-west-1")[1], signal.SIGKILL)
        asked(tmp_path, "scale", "1.5")
        until(lambda: resumed(tmp_path), 40)
        time.sleep(1)  # beyond the planned end
        assert target.stats()["requests"] == paused
        assert "it ends at" in asked(tmp_path, "resume").output
        until(lambda: target.stats()["requests"] > paused + 50)
        asked(tmp_path, "scale", "--rate", "120/s")
        asked(tmp_path, "skip")
        code, out, summary = end_of(run, tmp_path)
        served = int(target.stats()["requests"])
    assert ends_with(code, summary, 0), out
    pause, _, resume, rate, skip = changes(tmp_path)
    # By hand: 100/s for 4 s and up to 200/s within 1 s; what is left is times 1.5 from the pause on, then times 0.8.
    first = Fraction(pause["at_ns"], S) * 100
    second = Fraction(rate["at_ns"] - resume["at_ns"], S) * 150
    third = Fraction(skip["at_ns"] - rate["at_ns"], S) * 120
    due = ceil(first + second + third + (120 + 240) // 2)
    assert served == summary["requests"]["started"] == summary["iterations"]["started"] == due
    assert adds_up(summary)
    assert ceil(first) == asked_for
    assert [row["kind"] for row in summary["adjustments"]] == ["pause", "scale", "resume", "scale", "skip"]
    (loss,) = [loss for agent in summary["agents"] for loss in agent["losses"]]
    assert pause["at_ns"] / S < loss["died_s"] < loss["resumed_s"] < resume["at_ns"] / S
    assert "The load was changed during the run: paused 0:0" in out
    assert {a["complete"] for a in summary["agents"]} == {True}
    assert not (run_folder(tmp_path) / "control.json").exists()
    slots: dict[str, Any] = document_of(open_run(run_folder(tmp_path)))["slots"]  # type: ignore[assignment]
    assert sum(slots["requests"]) == served
    assert abs(sum(slots["offered_per_s"]) * slots["length_s"] - due) < 60  # means of intervals within which it jumps


@pytest.mark.slow
def test_users_and_iterations_are_paused_too_and_the_level_follows(tmp_path: Path) -> None:
    with (
        running_target("--no-latency") as target,
        started("run", f"{ADJUSTED}:mixed", "--target", target.url, runs_dir=tmp_path) as run,
    ):
        until(lambda: target.stats()["requests"] > 100)
        said = asked(tmp_path, "pause").output
        assert "load people: paused" in said
        assert "load batch: paused" in said
        time.sleep(0.6)
        paused = settled(target)
        time.sleep(0.5)
        assert target.stats()["requests"] == paused
        assert "10 users" in asked(tmp_path, "scale", "--users", "10", "--load", "people").output
        asked(tmp_path, "resume")
        until(lambda: target.stats()["requests"] > paused + 300)
        asked(tmp_path, "stop")
        code, out, summary = end_of(run, tmp_path)
        served = int(target.stats()["requests"])
    assert ends_with(code, summary, 130), out
    assert any("stopped by loadgen stop" in reason for reason in summary["reasons"])
    assert served == summary["requests"]["finished"] == summary["requests"]["started"]
    assert adds_up(summary)
    batch = next(load for load in summary["loads"] if load["load"] == "batch")
    assert sum(row["count"] for row in batch["series"] if row["kind"] == "journey") <= 400
    assert {a["complete"] for a in summary["agents"]} == {True}


@pytest.mark.slow
def test_ctrl_c_ends_a_paused_run_and_all_of_it_is_there(tmp_path: Path) -> None:
    with (
        running_target("--no-latency") as target,
        started("run", f"{ADJUSTED}:long", "--target", target.url, runs_dir=tmp_path) as run,
    ):
        wait_for(run, r"\d, 2 of 2 agents reported")
        asked(tmp_path, "pause")
        wait_for(run, "paused")
        time.sleep(0.5)
        paused = settled(target)
        run.send_signal(signal.SIGINT)
        code, out, summary = end_of(run, tmp_path)
        served = int(target.stats()["requests"])
    assert ends_with(code, summary, 130), out
    assert served == summary["iterations"]["started"] == summary["iterations"]["finished"] == paused
    assert {a["complete"] for a in summary["agents"]} == {True}
    assert "and not resumed" in out

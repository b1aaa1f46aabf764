"""Whose fault is it? An overloaded worker makes a run invalid; a target that fails makes it failed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.support.quiet import in_a_quiet_moment, undisturbed
from tests.support.run import DATA, ends_with, loadgen
from tests.support.target import running_target

pytestmark = pytest.mark.quiet

OUTAGE = str(DATA / "outage.py")


@in_a_quiet_moment
def test_an_overloaded_worker_is_invalid_with_the_line_and_what_to_do(tmp_path: Path) -> None:
    with undisturbed(), running_target("--no-latency") as target:
        run = loadgen(
            "run", f"{DATA}/hog.py", "--target", target.url, "--duration", "4s", "-P", "hog=15", runs_dir=tmp_path
        )
    summary = run.summary
    assert (run.exit_code, summary["result"], summary["validity"]["verdict"]) == (4, "invalid", "invalid")
    cause, reason = summary["validity"]["reasons"]
    assert "hog.py:" in cause  # what to do: the line, since more agents would only block as often
    assert "(compute) held the event loop" in cause
    assert "make it await, or move it off the loop" in cause
    assert "was unfit to measure in" in reason
    assert "lag p99" in reason
    assert reason in summary["reasons"]
    assert "INVALID (exit code 4)" in run.out
    assert "unfit to measure: local: lag p99" in run.out  # at the second in which it first is true


@pytest.mark.slow
@in_a_quiet_moment
def test_a_target_that_dies_is_failed_and_not_invalid(tmp_path: Path) -> None:
    with undisturbed(), running_target("--no-latency") as target:
        threading.Timer(2.5, os.kill, (target.pid, signal.SIGKILL)).start()
        run = loadgen("run", OUTAGE, "--target", target.url, "--duration", "6s", "--quiet", runs_dir=tmp_path)
    summary = run.summary
    assert summary["validity"]["verdict"] != "invalid", summary["validity"]
    assert (run.exit_code, summary["result"]) == (1, "failed")
    assert any(reason.startswith("SLO ") for reason in summary["reasons"])
    assert run.row("request", outcome="refused")["count"] > 0


@in_a_quiet_moment
def test_a_target_that_is_frozen_is_failed_and_not_invalid(tmp_path: Path) -> None:
    with undisturbed(), running_target("--no-latency") as target:
        timer = threading.Timer(2.5, os.kill, (target.pid, signal.SIGSTOP))
        timer.start()
        try:
            run = loadgen(
                "run",
                OUTAGE,
                "--target",
                target.url,
                "--duration",
                "6s",
                "--quiet",
                runs_dir=tmp_path,
            )
        finally:
            timer.cancel()
            os.kill(target.pid, signal.SIGCONT)
    summary = run.summary
    assert summary["validity"]["verdict"] != "invalid", summary["validity"]
    assert (run.exit_code, summary["result"]) == (1, "failed")
    assert summary["iterations"]["cut_off"] + summary["requests"]["errors"] > 0


@in_a_quiet_moment
def test_the_same_plan_passes_on_a_target_that_is_well(tmp_path: Path) -> None:
    with undisturbed(), running_target("--no-latency") as target:
        run = loadgen("run", OUTAGE, "--target", target.url, "--duration", "2s", "--quiet", runs_dir=tmp_path)
    assert ends_with(run.exit_code, run.summary, 0), run.out

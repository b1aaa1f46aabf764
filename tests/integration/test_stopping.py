"""A run that is stopped, or loses an agent, keeps what it measured and says what is missing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadgen import open_run
from loadgen.measure.merging.merge import check_invariant
from tests.support.arrivals import arrivals
from tests.support.run import DATA, ends_with, loadgen, run_folder, started
from tests.support.scenarios import write
from tests.support.target import running_target

pytestmark = pytest.mark.quiet

LONG = ("run", f"{DATA}/slow_journeys.py", "--duration", "60s")


def wait_for(process: subprocess.Popen[str], pattern: str, within_s: float = 60) -> str:
    """Read on until a line matches."""
    assert process.stdout is not None
    deadline, seen = time.monotonic() + within_s, []
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        seen.append(line)
        if re.search(pattern, line):
            return line
    raise AssertionError(f"no {pattern!r} in:\n{''.join(seen)}")


def end_of(process: subprocess.Popen[str], runs: Path) -> tuple[int, str, dict[str, Any]]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, json.loads((run_folder(runs) / "summary.json").read_text())


def adds_up(summary: dict[str, Any]) -> bool:
    """Return whether each iteration that was due has one end, and each request one row.

    How iterations ended that were in flight when their worker died is unknown: they are in `losses`.
    """
    i = summary["iterations"]
    unknown = sum(loss["in_flight"] for agent in summary["agents"] for loss in agent["losses"])
    rows = [r for r in summary["series"] if r["kind"] == "request" and r["region"] == "*" and r["outcome"] != "*"]
    return bool(
        i["due"] == i["finished"] + i["missed"] + i["cut_off"] + unknown
        and sum(r["count"] for r in rows) == summary["requests"]["finished"]
    )


@pytest.mark.parametrize("stop", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_the_first_signal_drains_and_everything_is_kept(stop: signal.Signals, tmp_path: Path) -> None:
    with running_target("--no-latency") as target, started(*LONG, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"\d, 2 of 2 agents reported")
        run.send_signal(stop)
        code, out, summary = end_of(run, tmp_path)
        served = target.stats()["requests"]
    assert ends_with(code, summary, 130), out
    assert any(("Ctrl-C" if stop == signal.SIGINT else "SIGTERM") in reason for reason in summary["reasons"])
    assert summary["iterations"]["cut_off"] == 0
    assert adds_up(summary)
    assert summary["requests"]["finished"] == served > 0
    assert {a["complete"] for a in summary["agents"]} == {True}


def test_a_second_ctrl_c_stops_at_once_and_still_keeps_what_was_measured(tmp_path: Path) -> None:
    with running_target("--no-latency") as target, started(*LONG, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"\d, 2 of 2 agents reported")
        run.send_signal(signal.SIGINT)
        wait_for(run, "draining")
        run.send_signal(signal.SIGINT)
        code, out, summary = end_of(run, tmp_path)
    assert ends_with(code, summary, 130), out
    assert summary["iterations"]["cut_off"] > 0
    assert adds_up(summary)


@pytest.mark.parametrize(
    "quiet", [(), pytest.param(("--quiet",), marks=pytest.mark.slow)], ids=["with the view", "quiet"]
)
def test_a_run_whose_reader_leaves_goes_on_to_its_verdict(quiet: tuple[str, ...], tmp_path: Path) -> None:
    args = ("run", f"{DATA}/one_get.py", "--duration", "4s", "--rate", "20/s", *quiet)
    with running_target("--no-latency") as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        assert run.stdout is not None
        if not quiet:
            run.stdout.readline()
        run.stdout.close()
        code = run.wait(60)
    summary = json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert ends_with(code, summary, 0)
    assert summary["iterations"]["finished"] == summary["iterations"]["due"] == 80
    assert adds_up(summary)


def agent_pid(runs: Path, region: str) -> int:
    manifest = json.loads((run_folder(runs) / "manifest.json").read_text())
    return next(int(a["pid"]) for a in manifest["agents"] if a["region"] == region)


def test_a_killed_agent_makes_the_run_incomplete_with_its_name_and_the_missing_seconds(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/one_get.py", "--duration", "8s", "--rate", "50/s")
    with running_target("--no-latency") as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[3-9] ")
        os.kill(agent_pid(tmp_path, "eu-west-1"), signal.SIGKILL)
        code, out, summary = end_of(run, tmp_path)
        served = target.stats()["requests"]
    assert ends_with(code, summary, 3), out
    reason = next(r for r in summary["reasons"] if "eu-west-1" in r)
    assert re.search(r"\d(\.\d)? s", reason)
    lost = next(a for a in summary["agents"] if a["region"] == "eu-west-1")
    assert not lost["complete"]
    assert 0 < lost["missing_s"] < 5  # then the others had its share
    assert lost["requests"] >= 15  # what was acknowledged before it died is kept
    others = [a for a in summary["agents"] if a is not lost]
    assert all(a["complete"] for a in others)
    assert 280 < sum(a["requests"] for a in others) < 400  # theirs are 0.5 + 0.2 of 400, and what they took over
    assert summary["requests"]["finished"] <= served
    assert {s["verdict"] for s in summary["slos"]} == {"inconclusive"}


def test_a_run_that_is_to_end_with_an_agent_ends_with_it_and_lets_the_others_drain(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/one_get.py", "--duration", "60s", "--rate", "50/s", "--on-lost-agent", "abort")
    with running_target("--no-latency") as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[2-9] ")
        os.kill(agent_pid(tmp_path, "eu-west-1"), signal.SIGKILL)
        code, out, summary = end_of(run, tmp_path)
        served = target.stats()["requests"]
    assert ends_with(code, summary, 3), out
    assert any("eu-west-1" in reason and "was lost" in reason for reason in summary["reasons"]), summary["reasons"]
    assert summary["duration_s"] < 30
    assert 0 < summary["requests"]["finished"] <= served
    assert {a["complete"] for a in summary["agents"] if a["region"] != "eu-west-1"} == {True}


def is_gone(pid: int) -> bool:
    """It runs no more; whether somebody has read its exit status is not ours to prove."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_p12_a_killed_controller_leaves_no_agent_behind_and_all_that_it_acknowledged(tmp_path: Path) -> None:
    with running_target("--no-latency") as target, started(*LONG, "--target", target.url, runs_dir=tmp_path) as run:
        # By then the first of them are durable, and acknowledged.
        wait_for(run, r"^0:0[3-9] to 0:\d\d, 2 of 2 agents reported")
        pids = [agent_pid(tmp_path, region) for region in ("us-east-1", "eu-west-1")]
        run.kill()
        run.wait()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not all(map(is_gone, pids)):
            time.sleep(0.1)
    assert all(map(is_gone, pids))
    left = open_run(run_folder(tmp_path)).merge
    assert len(left.agents()) == 2
    assert left.counters().requests_finished > 0
    assert check_invariant(left) == []


STUBBORN = '''
"""Journeys that do not let themselves be stopped: one goes on asking, one blocks its loop now and then."""

import asyncio
import time

from loadgen import Plan, User, journey, users


@journey
async def stubborn(user: User) -> None:
    while True:
        try:
            await user.http.get("/on")
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            pass


@journey
async def polite(user: User) -> None:
    await user.http.get("/polite")
    await user.think(0.05, 0.1)


async def tear_down(user: User) -> None:
    await user.http.get("/torn-down")


plan = Plan(target="{url}", load=users(6).hold("60s"), mix={stubborn: 1, polite: 1}, tear_down=tear_down, drain="30s")
'''


def test_a_killed_run_sends_nothing_more_not_even_to_tear_down(tmp_path: Path) -> None:
    """G20. Journeys that resist their cancellation are ended with their process."""
    with arrivals() as target:
        path = write(tmp_path / "scenario", STUBBORN.replace("{url}", target.url))
        args = ("run", str(path), "--regions", "a=1,b=1")
        with started(*args, runs_dir=tmp_path / "runs") as run:
            wait_for(run, r"\d, 2 of 2 agents reported")
            done = loadgen("kill", "--runs-dir", str(tmp_path / "runs"), runs_dir=tmp_path / "runs")
            killed_s = time.perf_counter()
            assert done.exit_code == 0, done.err
            code, out, summary = end_of(run, tmp_path / "runs")
    late_s = max(target.at_s) - killed_s
    assert late_s < 10, f"the last request came {late_s:.2f} s after the kill"  # 0.65 s, and not 60
    assert target.lines == {"GET /on HTTP/1.1", "GET /polite HTTP/1.1"}
    assert any("killed by loadgen kill" in reason for reason in summary["reasons"]), out
    assert code in (3, 4, 130), out


def test_an_agent_that_is_told_to_leave_stops_within_a_second_and_hands_over(tmp_path: Path) -> None:
    """G20: SIGTERM to an agent. The other one goes on to the end."""
    args = ("run", f"{DATA}/slow_journeys.py", "--duration", "8s")
    with running_target("--no-latency") as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"\d, 2 of 2 agents reported")
        pid = agent_pid(tmp_path, "eu-west-1")
        os.kill(pid, signal.SIGTERM)
        code, out, summary = end_of(run, tmp_path)
    left = next(a for a in summary["agents"] if a["region"] == "eu-west-1")
    assert left["requests"] > 0
    assert any("SIGTERM" in reason for reason in summary["reasons"]), (code, out)
    assert adds_up(summary)
    assert is_gone(pid)

"""Rendez-vous over two agents of two workers each, by the target's own order of requests; and what comes of trouble."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_stopping import adds_up, agent_pid, end_of, wait_for
from tests.integration.test_workers import worker_pids
from tests.support.orderly import Orderly, orderly_target
from tests.support.run import DATA, ends_with, loadgen, run_folder, started
from tests.support.wire import until

FILE = f"{DATA}/rendezvous.py"


def nobody_went_before_a_group_was_there(target: Orderly, crowd: int) -> bool:
    """Each user was seen `/here` before it waited, and `/met` after."""
    here = met = 0
    for path in target.paths():
        here += path.startswith("/here")
        met += path.startswith("/met")
        if met > here // crowd * crowd:
            return False
    return True


def kinds(target: Orderly) -> Counter[str]:
    return Counter(path.split("/")[1] for path in target.paths())


def meetings(runs: Path) -> list[dict[str, Any]]:
    whole, _, _ = (run_folder(runs) / "events.jsonl").read_text().rpartition("\n")  # the last is being written
    lines = whole.splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "rendezvous"]


def counted(summary: dict[str, Any]) -> dict[str, int]:
    return {row["name"]: row["total"] for row in summary["custom"] if row["region"] == "*"}


async def more_meetings(runs: Path, where: Callable[[dict[str, Any]], bool], number: int) -> None:
    """Until so many more have met, of those that are meant; events become readable with each commit."""
    before = sum(map(where, meetings(runs)))
    await until(lambda: sum(map(where, meetings(runs))) >= before + number, 30)


def test_users_of_the_whole_fleet_meet_in_groups_and_nobody_goes_before_the_last_of_its_group_is_there(
    tmp_path: Path,
) -> None:
    with orderly_target() as target:
        run = loadgen("run", FILE, "--workers", "2", "--target", target.url, "--quiet", runs_dir=tmp_path)
    assert ends_with(run.exit_code, run.summary, 0), run.out
    assert kinds(target) == {"here": 60, "met": 60}
    assert nobody_went_before_a_group_was_there(target, 10)
    assert len({path for path in target.paths() if path.startswith("/met")}) == 4  # processes
    events = meetings(tmp_path)
    assert [(event["point"], event["group"], event["users"]) for event in events] == [
        ("sale opens", group, 10) for group in range(1, 7)
    ]
    assert [sum(event["agents"].values()) for event in events] == [10] * 6
    assert counted(run.summary) == {"rendezvous: met": 60}
    # Waiting is duration, and no response time: 200 ms pass at least from the last one's coming to the group's going.
    row = run.row("journey")
    assert row["response_ms"]["p50"] < 150


async def test_users_of_a_killed_worker_and_of_a_killed_agent_hold_up_nobody(tmp_path: Path) -> None:
    args = ("run", f"{FILE}:closed", "--workers", "2")
    with orderly_target() as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"rendezvous: met")
        os.kill(worker_pids(tmp_path, "us-east-1")[1], signal.SIGKILL)
        wait_for(run, r"another process goes on")
        await more_meetings(tmp_path, lambda event: len(event["agents"]) == 2, 3)
        os.kill(agent_pid(tmp_path, "eu-west-1"), signal.SIGKILL)
        wait_for(run, r"eu-west-1 is lost")
        await more_meetings(tmp_path, lambda event: event["agents"] == {"us-east-1": 10}, 2)
        run.send_signal(signal.SIGINT)
        code, out, summary = end_of(run, tmp_path)
    assert ends_with(code, summary, 3), out  # what the killed ones measured last is missing
    assert "timed out" not in str(counted(summary))
    assert {event["users"] for event in meetings(tmp_path)} == {10}
    assert nobody_went_before_a_group_was_there(target, 10)


@pytest.mark.slow
def test_ctrl_c_while_all_wait_lets_all_go_and_cuts_nobody_off(tmp_path: Path) -> None:
    args = ("run", f"{FILE}:closed", "--workers", "2", "-P", "crowd=21")
    with orderly_target() as target, started(*args, "--target", target.url, runs_dir=tmp_path) as run:
        wait_for(run, r"20 of 21 wait at sale opens")
        run.send_signal(signal.SIGINT)
        code, out, summary = end_of(run, tmp_path)
    assert ends_with(code, summary, 130), out
    assert kinds(target) == {"here": 20, "alone": 20}
    assert (summary["iterations"]["finished"], summary["iterations"]["cut_off"]) == (20, 0)
    assert adds_up(summary)
    assert summary["duration_s"] < 30
    assert meetings(tmp_path) == []


def test_who_has_waited_long_enough_goes_on_and_the_run_ends_by_itself(tmp_path: Path) -> None:
    args = ("run", f"{FILE}:closed", "--workers", "2", "--duration", "1s", "-P", "crowd=21", "-P", "timeout=300ms")
    with orderly_target() as target:
        run = loadgen(*args, "--target", target.url, "--quiet", runs_dir=tmp_path)
    assert ends_with(run.exit_code, run.summary, 0), run.out
    found = kinds(target)
    assert found["alone"] == found["here"] == run.summary["iterations"]["finished"] >= 20
    assert found["met"] == 0
    assert counted(run.summary)["rendezvous: timed out"] >= 20
    assert run.summary["iterations"]["cut_off"] == 0

"""Sweeps of real runs: a process killed with SIGKILL at several points, Ctrl-C, and a command between runs.

The runs take 1 s; what they find is judged elsewhere, on made-up values.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.sweep.journal import FILE, read_journal
from loadgen.sweep.plan import read_plan
from tests.support.run import Finished, loadgen, started
from tests.support.target import RunningTarget, running_target

pytestmark = [pytest.mark.slow, pytest.mark.process]

SCENARIO = """
from loadgen import Plan, User, arrivals, journey, param

calls = param("calls", int, default=1)

@journey
async def browse(user: User) -> None:
    for _ in range(calls):
        await user.http.get("/products/sku-0001", name="GET /products/{sku}", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("40/s").hold("1s"), mix=browse)
"""


@pytest.fixture(scope="module")
def target() -> Iterator[RunningTarget]:
    with running_target("--no-latency") as shop:
        yield shop


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(SCENARIO)
    return path


def command(scenario: Path, target: RunningTarget, *more: str) -> tuple[str, ...]:
    folder = str(scenario.parent / "out")
    options = ("-P", "calls=1,3", "--repeat", "2", "--seed", "7", "--target", target.url, "--yes", "-o", folder)
    return ("sweep", str(scenario), *options, *more)


def resumed(scenario: Path) -> Finished:
    return loadgen("sweep", "--resume", str(scenario.parent / "out"), runs_dir=scenario.parent)


def wait_for_records(folder: Path, number: int) -> None:
    """Wait until so many runs are stored."""
    for _ in range(1200):
        if (folder / FILE).exists() and (folder / FILE).read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"no {number} runs within 60 s")


def test_killed_sweep_goes_on_where_it_was_and_has_the_runs_of_its_order(scenario: Path, target: RunningTarget) -> None:
    folder = scenario.parent / "out"
    with started(*command(scenario, target), runs_dir=scenario.parent) as sweep:
        wait_for_records(folder, 0)
        time.sleep(1.5)  # within the first run
        sweep.send_signal(signal.SIGKILL)
    first = read_journal(folder)
    for number, pause_s in ((1, 0.4), (2, 0.0), (3, 2.0)):
        with started("sweep", "--resume", str(folder), runs_dir=scenario.parent) as sweep:
            wait_for_records(folder, number)
            time.sleep(pause_s)
            sweep.send_signal(signal.SIGKILL)
        assert read_journal(folder)[: len(first)] == first, "stored runs never change"
        first = read_journal(folder)

    done = resumed(scenario)

    plan, records = read_plan(folder), read_journal(folder)
    assert done.exit_code in (0, 3, 4), done.err
    assert [one.number for one in records if one.attempt == 1] == [1, 2, 3, 4]
    assert [one.cell for one in records if one.attempt == 1] == [one.cell for one in plan.order]
    assert all((folder / one.folder / "summary.json").is_file() for one in records)
    document = json.loads((folder / "result.json").read_text())
    assert document["kind"] == "sweep"


def test_ctrl_c_keeps_what_is_whole_and_names_the_command_that_resumes(scenario: Path, target: RunningTarget) -> None:
    folder = scenario.parent / "out"
    with started(*command(scenario, target), runs_dir=scenario.parent) as sweep:
        wait_for_records(folder, 1)
        time.sleep(0.5)
        sweep.send_signal(signal.SIGINT)
        output, _ = sweep.communicate(timeout=60)

    assert sweep.returncode == 130, output
    assert f"of 4 runs are stored in {folder}; continue with: loadgen sweep --resume {folder}" in output
    whole = read_journal(folder)
    assert resumed(scenario).exit_code in (0, 3, 4)
    assert read_journal(folder)[: len(whole)] == whole


def test_ctrl_c_during_the_command_between_ends_the_command(scenario: Path, target: RunningTarget) -> None:
    folder = scenario.parent / "out"
    script = scenario.parent / "slow.sh"
    script.write_text(f"#!/bin/sh\necho $$ > {scenario.parent / 'pid'}\nsleep 100\n")
    script.chmod(0o755)
    with started(*command(scenario, target, "--between", str(script)), runs_dir=scenario.parent) as sweep:
        for _ in range(1200):
            if (scenario.parent / "pid").exists() and (scenario.parent / "pid").read_text().strip():
                break
            time.sleep(0.05)
        sweep.send_signal(signal.SIGINT)
        output, _ = sweep.communicate(timeout=60)

    assert sweep.returncode == 130, output
    pid = (scenario.parent / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()
    assert read_journal(folder) == ()

"""`loadgen gate` whose runs are made at a controller: real processes, TLS and a token; the folders come here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_controller_service import Service
from tests.integration.test_controller_service import service as service  # the fixture
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("80/s").hold("1s"), mix=look, regions={"eu": 1}, drain="2s")
"""


@pytest.fixture
def gate(service: Service) -> Callable[..., subprocess.Popen[str]]:
    """Begins a gate at the controller, in a folder of its own."""
    here = service.folder / "here"
    here.mkdir()
    (here / "look.py").write_text(SCENARIO)

    def begin(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "loadgen_controller.cli", "gate", "look.py", "--percentile", "p50"]
        return subprocess.Popen(
            [*command, *options, *service.there],
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "LOADGEN_STORE": ""},
        )

    return begin


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with process:
        return process.stdout.read()


def runs_of(runs_dir: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in runs_dir.iterdir() if path.is_dir())


def manifests(runs_dir: Path) -> list[dict[str, Any]]:
    return [json.loads((path / "manifest.json").read_text()) for path in runs_of(runs_dir)]


def test_runs_are_made_there_and_judged_here_from_the_same_files(
    service: Service, gate: Callable[..., subprocess.Popen[str]]
) -> None:
    with running_target("--no-latency") as target:
        begun = gate("--target", target.url, "--runs", "2")
        text = said(begun)
        served = target.stats()["requests"]
    assert "2 runs of 1.00 s: 2.00 s of load, and the start of each run" in text
    assert "there are no accepted runs" in text or "INVALID" in text  # where the machine is too busy to measure
    assert begun.returncode in (3, 4), text
    there, here = service.folder / "runs", service.folder / "here" / "runs"
    assert sorted(one.name for one in here.iterdir()) == [path.name for path in runs_of(there)]
    for run in here.iterdir():
        for name in ("manifest.json", "summary.json", "deltas.log", "events.jsonl"):
            assert (run / name).read_bytes() == (there / run.name / name).read_bytes()
    assert [one["placement"] for one in manifests(here)] == ["fleet"] * len(manifests(here))
    finished = [json.loads((run / "summary.json").read_text())["requests"]["finished"] for run in here.iterdir()]
    assert sum(finished) == served


def test_sides_take_turns_there_with_one_seed_a_pair_on_the_same_agents(
    service: Service, gate: Callable[..., subprocess.Popen[str]]
) -> None:
    with running_target("--no-latency") as a, running_target("--no-latency") as b:
        text = said(gate("--ab", a.url, b.url, "--pairs", "2", "--seed", "7"))
        names = {a.url: "A", b.url: "B"}
        made = manifests(service.folder / "runs")
        assert a.stats()["requests"] > 0
        assert b.stats()["requests"] > 0
    if "INVALID" in text:  # the machine was too busy to measure; the pair that was begun is whole all the same
        assert len(made) in (2, 4)
    else:
        assert len(made) == 4, text
    order = "".join(names[one["spec"]["target"]] for one in made)
    assert order in ("ABBA"[: len(made)], "BAAB"[: len(made)])
    assert [one["seed"] for one in made] == [8, 8, 9, 9][: len(made)]
    assert len({tuple(agent["id"] for agent in one["agents"]) for one in made}) == 1
    assert "had different agents" not in text


def test_ctrl_c_stops_the_run_there_and_brings_what_it_measured(
    service: Service, gate: Callable[..., subprocess.Popen[str]]
) -> None:
    with running_target("--no-latency") as target:
        begun = gate("--target", target.url, "--runs", "3", "--duration", "60s")
        while not service.working():
            assert begun.poll() is None
        begun.send_signal(signal.SIGINT)
        text = said(begun)
    assert begun.returncode == 130, text
    assert "interrupted: nothing was judged; runs made so far: runs/" in text
    (run,) = (service.folder / "here" / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["result"] == "interrupted"
    assert not service.working()

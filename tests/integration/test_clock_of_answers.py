"""A run by the kernel's clock, from the plan to its files: who timed the answers is in all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.run import loadgen

SCENARIO = """
from loadgen import Http, Plan, User, arrivals, journey

@journey
async def one(user: User) -> None:
    await user.http.get("/1k", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("50/s").hold("3s"), mix=one, http=Http(HTTP))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received packets")
@pytest.mark.parametrize(("http", "clock"), [('clock="kernel"', "kernel"), ("", "loop")])
def test_a_run_names_the_clock_that_timed_its_answers(http: str, clock: str, tmp_path: Path) -> None:
    scenario = tmp_path / "one.py"
    scenario.write_text(SCENARIO.replace("Http(HTTP)", f"Http({http})"))

    with running_nginx(log=False) as nginx:
        run = loadgen("run", str(scenario), "--target", nginx.url, "--quiet", runs_dir=tmp_path / "runs")

    found = run.summary["clock"]
    assert (found["asked"], found["in_force"], found["loop_connections"], found["jumps"]) == (clock, clock, 0, 0)
    assert json.loads((run.folder / "manifest.json").read_text())["clock"] == clock
    is_kernels = clock == "kernel"
    assert (found["kernel_reads"] >= run.summary["requests"]["finished"] == 150) == is_kernels
    assert any(note.startswith("the kernel's clock timed the answers") for note in run.summary["notes"]) == is_kernels

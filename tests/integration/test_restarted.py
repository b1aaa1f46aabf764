"""An agent process that is killed and started again: what it had measured and not delivered is in the run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.test_stopping import adds_up, end_of, wait_for
from tests.support.nginx import running_nginx
from tests.support.run import DATA, loadgen, started

PLAN = """
from loadgen import Plan, User, arrivals, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/plain", expect=404)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("50/s").hold("14s"), mix=shop, regions={"a": 0.5, "b": 0.5})
"""


def agent(address: str, region: str, keys: Path, spool: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadgen_agent.cli", "--controller", address, "--region", region]
        + ["--keys", str(keys), "--id", f"{region}.1", "--workers", "1", "--spool", str(spool)]
    )


def test_a_killed_agent_that_is_started_again_delivers_what_it_had_measured(tmp_path: Path) -> None:
    """The controller stands still for 4 s; meanwhile the agent is killed with some 3 s undelivered."""
    scenario, keys, runs = tmp_path / "s.py", tmp_path / "keys", tmp_path / "runs"
    scenario.write_text(PLAN)
    for what in (("init",), ("agent", "a"), ("agent", "b")):
        loadgen("keys", *what, "--dir", str(keys), runs_dir=runs)
    agents: list[subprocess.Popen[bytes]] = []
    with running_nginx() as nginx:
        args = ("run", str(scenario), "--target", nginx.url, "--listen", "127.0.0.1:0", "--keys", str(keys), "--wait", "2")
        with started(*args, runs_dir=runs) as run:
            address = wait_for(run, r"listening on (\S+)")
            assert address

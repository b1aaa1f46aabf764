"""A worker that stands still for a moment: the target never gets a burst that no plan contains, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.test_stopping import end_of, wait_for
from tests.integration.test_workers import worker_pids
from tests.support.nginx import running_nginx
from tests.support.quiet import in_a_quiet_moment, undisturbed
from tests.support.run import started

pytestmark = pytest.mark.quiet

RATE = 1_000
SCENARIO = f"""
from loadgen import Plan, User, arrivals, journey

@journey
async def one(user: User) -> None:
    await user.http.get("/1k")

plan = Plan(target="http://127.0.0.1:1", load=arrivals("{RATE}/s").hold("6s"), mix=one, regions={{"a": 1}})
"""


@in_a_quiet_moment
def test_after_a_stop_of_a_worker_the_target_gets_twice_the_planned_rate_at_most_over_few_connections(
    tmp_path: Path,
) -> None:
    scenario, runs = tmp_path / "s.py", tmp_path / "runs"
    scenario.write_text(SCENARIO)
    args = ("run", str(scenario), "--target")
    with undisturbed(), running_nginx() as nginx, started(*args, nginx.url, runs_dir=runs) as run:
        wait_for(run, r"^0:02 ")
        pid = worker_pids(runs, "a")[0]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(pid, signal.SIGCONT)
        _, out, summary = end_of(run, runs)
        assert nginx.settled_count(6 * RATE) == 6 * RATE
        worst, opened = nginx.most_within(0.1) / (0.1 * RATE), nginx.connections()
    iterations = summary["iterations"]
    assert iterations["due"] == iterations["started"] == iterations["finished"] == 6 * RATE, out
    assert 1.5 < worst <= 2.3  # 2.04 by the plan; the log has whole ms, and a request may wait for a busy machine
    assert opened <= 60
    assert any("lag p99" in reason for reason in summary["reasons"])

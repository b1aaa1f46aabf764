"""A scenario that blocks its loop for longer than the lease: ended, replaced, and named in the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.run import loadgen

SCENARIO = """
import time
from loadgen import Plan, User, arrivals, journey

asked = 0


@journey
async def shop(user: User) -> None:
    global asked
    asked += 1  # loadgen: allow
    if asked == 40:
        time.sleep(60)  # loadgen: allow
    await user.http.get("/plain", expect=404)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("20/s").hold("14s"), mix=shop, drain="1s", regions={"a": 1})
"""


@pytest.mark.slow
@pytest.mark.fault("F3", "time.sleep(60)")
def test_a_line_that_blocks_for_longer_than_the_lease_is_named(tmp_path: Path) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text(SCENARIO)
    with running_nginx() as nginx:
        run = loadgen("run", str(scenario), "--target", nginx.url, "--quiet", runs_dir=tmp_path / "runs")
    reasons = " ".join(run.summary["reasons"])
    assert run.exit_code in (3, 4), run.out
    assert "s.py:13 (shop) blocked its loop for 8" in reasons
    assert "another process goes on with its share" in reasons
    (agent,) = run.summary["agents"]
    assert agent["complete"] is False
    assert 8 < agent["missing_s"] < 13

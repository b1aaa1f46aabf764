"""An agent process that is killed and started again: what it had measured and not delivered is in the run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.test_stopping import end_of, wait_for
from tests.support.chaos_proxy import chaos_proxy
from tests.support.nginx import running_nginx
from tests.support.ports import free_port
from tests.support.run import ends_with, loadgen, started

PLAN = """
from loadgen import Plan, User, arrivals, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/plain", expect=404)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("50/s").hold("16s"), mix=shop, regions={"a": 1, "b": 1})
"""


@pytest.mark.slow
@pytest.mark.fault("F1", "killed with 4 s undelivered, and started again")
def test_an_agent_that_is_killed_and_started_again_delivers_what_it_had_measured(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The network to it is cut for 4 s, and within them it is killed: without a spool those seconds would be lost."""
    scenario, keys, runs, spool = tmp_path / "s.py", tmp_path / "keys", tmp_path / "runs", tmp_path / "spool"
    scenario.write_text(PLAN)
    for made in (("init", str(keys)), ("agent", str(keys), "a", "b")):
        assert loadgen("keys", *made, runs_dir=tmp_path).exit_code == 0
    port = free_port()

    def agent(name: str, address: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "loadgen_agent.cli", "--controller", address, "--region", name, "--id", name]
        return subprocess.Popen(
            [*command, "--keys", str(keys / "copy-to" / name), "--workers", "1", "--spool", str(spool)],
            stderr=subprocess.DEVNULL,
        )

    direct = f"127.0.0.1:{port}"
    listen = ("--listen", direct, "--keys", str(keys), "--wait", "2")
    agents: list[subprocess.Popen[bytes]] = []
    try:
        with running_nginx() as nginx, chaos_proxy(direct) as net:
            agents += [agent("a", net.address), agent("b", direct)]
            with started("run", str(scenario), "--target", nginx.url, *listen, runs_dir=runs) as run:
                wait_for(run, r"^0:03 to |^0:00 to 0:0[3-9], ")
                net.swallow(up=True, down=True)
                time.sleep(4)
                agents[0].send_signal(signal.SIGKILL)
                agents[0].wait(60)
                assert list((spool / "a").rglob("*.spool"))
                agents.append(agent("a", direct))
                code, out, summary = end_of(run, runs)
            served = sum(nginx.counts().values())
    finally:
        for process in agents:
            process.terminate()
        for process in agents:
            process.wait(60)
    assert ends_with(code, summary, 3), out
    iterations = summary["iterations"]
    assert 0 <= iterations["due"] - iterations["finished"] <= 2, iterations  # in flight when it was killed
    (text,) = (one["missing"] for one in summary["agents"] if one["id"] == "a")
    began = re.search(r"no data from (\d+\.\d) s", text)
    assert began is not None, text
    assert float(began[1]) >= 6  # what was measured while it could not deliver is there
    record_property("seen", f"{served - summary['requests']['finished']} of {served} requests not told; {text}")
    # Of what it did, the target has seen no more than the interval that was not over when it was killed.
    assert 0 <= served - summary["requests"]["finished"] <= 25 * 1.5
    assert not list((spool / "a").rglob("*.spool"))

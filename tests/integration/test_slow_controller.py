"""A controller that stands still: for 5 s nothing changes, for 20 s the load ends by itself, and nothing is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from loadgen.wire.messages import Delta
from tests.integration.test_stopping import adds_up, end_of, wait_for
from tests.support.nginx import running_nginx
from tests.support.run import ends_with, run_folder, started

SCENARIO = """
from loadgen import Plan, User, arrivals, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/plain", expect=404)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("100/s").hold("{seconds}s"), mix=shop, regions={{"a": 1}})
"""


def scenario(tmp_path: Path, seconds: int) -> str:
    path = tmp_path / "s.py"
    path.write_text(SCENARIO.format(seconds=seconds))
    return str(path)


@pytest.mark.fault("F5", "for 5 s: the generator's lag")
@pytest.mark.slow
def test_a_controller_that_stands_still_for_5_s_does_not_slow_the_load(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    runs = tmp_path / "runs"
    with running_nginx() as nginx, started("run", scenario(tmp_path, 20), "--target", nginx.url, runs_dir=runs) as run:
        wait_for(run, r"^0:06 to |^0:00 to 0:0[6-9], ")
        run.send_signal(signal.SIGSTOP)
        time.sleep(5)
        run.send_signal(signal.SIGCONT)
        code, out, summary = end_of(run, runs)
        served = sum(nginx.counts().values())
    assert ends_with(code, summary, 0), out
    assert adds_up(summary)
    assert served == summary["requests"]["finished"] == 2_000
    assert {agent["complete"] for agent in summary["agents"]} == {True}
    lags_ms = {}
    for delta in map(decode, RunDir.open(run_folder(runs)).records()):
        if isinstance(delta, Delta) and delta.counters.iterations_started:
            lags_ms[delta.start_ns // 10**9] = delta.health.generator_lag_p99_us / 1_000
    frozen = [lags_ms[second] for second in range(7, 11)]
    others = [lag for second, lag in lags_ms.items() if second not in range(5, 13)]
    change_ms = median(frozen) - median(others)
    seen = f"lag p99, median of seconds: {median(others):.3f} ms, frozen {median(frozen):.3f} ms"
    print(f"\n{seen}")
    record_property("seen", seen)
    assert change_ms < 1


@pytest.mark.fault("F5", "for 20 s, real agent")
@pytest.mark.slow
def test_a_controller_that_stands_still_for_20_s_finds_its_agents_stopped_and_all_they_measured(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with running_nginx() as nginx, started("run", scenario(tmp_path, 60), "--target", nginx.url, runs_dir=runs) as run:
        wait_for(run, r"^0:03 to |^0:00 to 0:0[3-9], ")
        run.send_signal(signal.SIGSTOP)
        time.sleep(10)
        stopped = sum(nginx.counts().values())
        time.sleep(10)
        served = sum(nginx.counts().values())
        run.send_signal(signal.SIGCONT)
        code, out, summary = end_of(run, runs)
    assert stopped == served  # the lease of 8 s, and a second
    assert ends_with(code, summary, 3), out
    assert adds_up(summary)
    assert summary["requests"]["finished"] == served
    (agent,) = summary["agents"]
    assert "the controller was silent" in agent["missing"]
    assert not summary["requests"]["errors"]

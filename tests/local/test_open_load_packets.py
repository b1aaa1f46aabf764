"""When the requests of an open load leave, by the packets: none before its start is due, and late as the load says."""

from __future__ import annotations

import time
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest
import uvloop

from bench.worker import lag_us
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from tests.support.nginx import running_nginx
from tests.support.pcap import captured, exchanges
from tests.support.quiet import in_a_quiet_moment, undisturbed

pytestmark = [pytest.mark.process, pytest.mark.quiet]

RATE, SECONDS = 2_000, 3
SCENARIO = f"""
from loadgen import Plan, User, arrivals, journey

@journey
async def one(user: User) -> None:
    await user.http.get("/1k")

plan = Plan(target="http://127.0.0.1:1", load=arrivals("{RATE}/s").hold("{SECONDS}s"), mix=one)
"""
LEAD_NS = 1_200_000_000
"""More than the second before the load in which its connections are opened."""
WITHIN_US = 100
"""How far the packets' p99 may be from the generator lag's. A request leaves some 25 µs after its journey began."""


def wall_ns() -> int:
    """What to add to `perf_counter_ns` for the clock of the packets. The least of some readings was not interrupted."""
    return min(time.time_ns() - perf_counter_ns() for _ in range(100))


async def sent(path: Path, url: str) -> tuple[np.ndarray, float]:
    """Drive the plan; return when its requests were due, by the packets' clock, and the generator lag p99 in µs."""
    scenario, deltas = load(path, overrides=Overrides(target=url)), list[Delta]()
    t0_ns = perf_counter_ns() + LEAD_NS
    totals = await Drive(scenario, seed=1, emit=deltas.append).run(t0_ns)
    assert totals.counters.iterations_due == totals.counters.requests_finished == RATE * SECONDS
    due_ns = scenario.plan.lanes[0].schedule().due_ns(np.arange(RATE * SECONDS))
    return due_ns + t0_ns + wall_ns(), lag_us(deltas)["p99"]


@in_a_quiet_moment
def test_each_request_leaves_when_its_start_is_due_or_later_by_the_lag_that_is_reported(tmp_path: Path) -> None:
    scenario, capture = tmp_path / "open.py", tmp_path / "packets.pcap"
    scenario.write_text(SCENARIO)
    with undisturbed(), running_nginx(log=False) as nginx:
        port = int(nginx.url.rpartition(":")[2])
        with captured(port, capture):
            due_ns, lag_p99_us = uvloop.run(sent(scenario, nginx.url))
    left_ns = np.sort([one.sent_ns for one in exchanges(capture.read_bytes(), port) if one.target == "/1k"])
    assert len(left_ns) == len(due_ns)
    late_us = (left_ns - due_ns) / 1e3
    assert late_us.min() > 0
    assert abs(np.percentile(late_us, 99) - lag_p99_us) < WITHIN_US

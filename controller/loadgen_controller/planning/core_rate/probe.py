"""Drives plain GETs at more than a core can do, and prints the CPU time that they took as JSON.

    python -P -m loadgen_controller.planning.core_rate.probe 2

The argument is the length in seconds. The module is a program of its own, like a worker. In a command's process, the
command's objects would add to the work of the garbage collector, and a second scenario would be loaded beside the
user's. The server is a further process, so its CPU time does not count.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import msgspec
import uvloop

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.measure.deltas.delta import Delta
from loadgen.units import NS_PER_S

__all__ = ["main"]

RATE_PER_S: Final = 100_000
"""Above what a core drives, so that the core is full. At lower rates, waits cost CPU time, and the time of a request
says little about the limit: 48 µs at 15,000/s, 29 at 25,000/s, 20 at 60,000/s, 19 at 100,000/s (2 s each on
a virtual machine with two cores)."""
MAX_USERS: Final = 64
_INTERVALS: Final = 4
"""Number of intervals of the load. The first one does not count, because connections are opened in it."""
_LEAD_NS: Final = 200_000_000
_SERVER: Final = "loadgen_controller.planning.core_rate.probe_server"
_SCENARIO: Final = """\
from loadgen import Plan, User, arrivals, journey


@journey
async def get(user: User) -> None:
    await user.http.get("/")


plan = Plan(
    target="http://127.0.0.1:{port}",
    load=arrivals("{rate}/s").hold("{seconds}s"),
    mix=get,
    max_users={users},
    drain="0s",
)
"""


async def _drive(port: int, seconds: float) -> dict[str, float]:
    """Drive the load for `seconds`, and return the fields of `rate.Probed`, without the first interval."""
    with tempfile.TemporaryDirectory(prefix="loadgen-core-") as folder:
        path = Path(folder) / "one_get.py"
        path.write_text(_SCENARIO.format(port=port, rate=RATE_PER_S, seconds=seconds, users=MAX_USERS))
        scenario = load(path)
    began_s = 0.0
    began_ns = 0
    first: Delta | None = None

    def emit(delta: Delta) -> None:
        nonlocal began_ns, began_s, first
        if first is None:
            first, began_s, began_ns = delta, _cpu_s(), perf_counter_ns()

    share = Drive(scenario, seed=1, emit=emit, interval_ns=round(seconds * NS_PER_S / _INTERVALS))
    totals = await share.run(perf_counter_ns() + _LEAD_NS)
    assert first is not None
    found = totals.counters - first.counters
    cpu_s, took_s = _cpu_s() - began_s, (perf_counter_ns() - began_ns) / NS_PER_S
    return {
        "took_s": took_s,
        "cpu_s": cpu_s,
        "requests": found.requests_finished - found.requests_errors,
        "errors": found.requests_errors,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Start the server, drive the load, and print the result."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            found = uvloop.run(_drive(int(server.stdout.readline()), float(sys.argv[1])))
        finally:
            server.stdin.close()
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()

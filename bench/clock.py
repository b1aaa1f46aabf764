"""Compare the service times by the loop's clock and by the kernel's with those of captured packets.

Another process disturbs the client on its core. Both clocks are measured in alternation, each beside the packets of
its own run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from bench import attackers
from bench.attackers import HERE
from bench.children import ATTACKER_CORE, TARGET_CORE, run_python
from bench.machine import pinned
from bench.report import Section, held, skipped
from bench.turns import alternate
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.pcap import captured, exchanges

TITLE = "The kernel's clock beside the packets"
RATE = 2_000
CLOCKS = ("loop", "kernel")
BUDGETS_US = {"p50": 20, "p99": 30, "p99.9": 100}
WANTED_US = {"p50": 10, "p99": 15, "p99.9": 50}
CHEAP = 1.03
"""From this ratio of CPU time on, the kernel's clock is not the default (decision 148)."""
HOW = """\
One GET of 1 KiB at {rate:,}/s for {seconds:g} s a turn, {turns} turns of each clock in alternation: one worker on \
core {core}, nginx on core {target}. *bursts*: another process on the worker's core computes for 1 ms, sleeps for \
1 ms, and so on (`bench/bursts.py`). Both have the highest priority of usual programs (nice -20), where that is \
allowed, so that further programs on the machine disturb less. tcpdump captures each run on loopback. Figures are a \
percentile of our service times minus the same percentile of the packets' (first packet of the request to last packet \
of the answer): the median of the turns, and all turns in brackets. *CPU*: the journey of the first section and the \
GET of the second one, 64 users, nothing captured, {cpu_turns} turns of {cpu_seconds:g} s, ratios of medians."""
HEAD = ["", "clock", "p50", "p99", "p99.9"]


@dataclass(frozen=True, slots=True)
class Off:
    """Our service times minus the packets', µs, by percentile, and the number of requests."""

    us: dict[str, float]
    requests: int


def measure(*, seconds: float = 5, turns: int = 3, cpu_seconds: float = 3, cpu_turns: int = 5) -> Section:
    if sys.platform != "linux":
        return skipped(TITLE, "only Linux has the kernel's time of a read")
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        try:
            found = _beside_packets(nginx, seconds, turns)
        except pytest.skip.Exception as reason:  # tcpdump is missing, or may not capture
            return skipped(TITLE, str(reason))
        cpu = alternate(
            {
                f"{scenario} {clock}": attackers.loadgen(
                    HERE / f"{scenario}.py",
                    nginx.url,
                    cpu_seconds,
                    environment={"BENCH_CLOCK": clock, "BENCH_FIRST": "1"},
                )
                for scenario in ("four_requests", "one_get")
                for clock in CLOCKS
            },
            cpu_turns,
        )
    rows = [[name, clock, *(_cell(turns_of, q) for q in BUDGETS_US)] for (name, clock), turns_of in found.items()]
    ratios = []
    for scenario in ("four_requests", "one_get"):
        ratio = cpu.ratio(f"{scenario} kernel", f"{scenario} loop")
        ratios.append(f"{ratio:.3g} for `bench/{scenario}.py`")
    return Section(
        TITLE,
        HOW.format(
            rate=RATE,
            seconds=seconds,
            turns=turns,
            core=ATTACKER_CORE,
            target=TARGET_CORE,
            cpu_turns=cpu_turns,
            cpu_seconds=cpu_seconds,
        ),
        HEAD,
        rows,
        f"{_verdict(found['bursts', 'kernel'])} CPU per request by the kernel's clock / by the loop's: "
        f"{' and '.join(ratios)}; the kernel's clock would be the default up to {CHEAP:g}.",
        tools=["nginx"],
    )


def _beside_packets(nginx: RunningNginx, seconds: float, turns: int) -> dict[tuple[str, str], list[Off]]:
    """Return the differences to the packets of all turns, by (disturbance, clock)."""
    found: dict[tuple[str, str], list[Off]] = {}
    for name, disturbed in (("bursts", _bursts), ("calm", contextlib.nullcontext)):
        for _ in range(turns):
            for clock in CLOCKS:
                with disturbed():
                    off = _compared(nginx, clock, seconds)
                sys.stderr.write(f"  {name}, {clock}: {off.us}\n")
                found.setdefault((name, clock), []).append(off)
    return found


def _verdict(kernel: Sequence[Off]) -> str:
    texts = []
    for name, budget in BUDGETS_US.items():
        off_us = median(one.us[name] for one in kernel)
        texts.append(f"Kernel clock with bursts, {name}: {off_us:+.0f} µs, budget {budget}: {held(off_us <= budget)}.")
    wanted = ", ".join(f"{us:g}" for us in WANTED_US.values())
    return " ".join([*texts, f"The goals are {wanted} µs."])


def _cell(turns: Sequence[Off], name: str) -> str:
    values = [one.us[name] for one in turns]
    return f"{median(values):+.0f} µs ({', '.join(f'{value:+.0f}' for value in values)})"


def _compared(nginx: RunningNginx, clock: str, seconds: float) -> Off:
    """Run a worker with this clock, and return its service times minus those of the packets of the run."""
    port = int(nginx.url.rpartition(":")[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "packets.pcap")
        with captured(port, path):
            figures = run_python(
                "bench.worker",
                *(str(HERE / "one_get.py"), "--plan", "due", "--target", nginx.url),
                *("--rate", str(RATE), "--duration", str(seconds)),
                environment={"BENCH_CLOCK": clock, "BENCH_FIRST": "1"},
            )
        times = sorted(one.service_ns for one in exchanges(path.read_bytes(), port))
    if len(times) != figures["requests"] or figures["requests_errors"]:
        raise RuntimeError(f"{len(times)} exchanges in the packets, but {figures}")
    us = {}
    for name, ours_us in figures["service_us"].items():
        rank = max(0, int(float(name[1:]) / 100 * len(times) + 0.5) - 1)  # HdrHistogram's rule
        us[name] = round(ours_us - times[rank] / 1e3, 1)
    return Off(us, len(times))


@contextlib.contextmanager
def _bursts() -> Iterator[None]:
    """Disturb the worker's core while the context lasts."""
    process = subprocess.Popen(pinned(ATTACKER_CORE, sys.executable, "-m", "bench.bursts"))
    try:
        yield
    finally:
        process.kill()
        process.wait()

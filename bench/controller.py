"""Measure the cost of one real controller with a simulated fleet that uses the real protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import psutil

from bench.asker import Asker
from bench.children import ATTACKER_CORE, TARGET_CORE, next_line
from bench.machine import pinned
from bench.report import Section, held
from bench.swarm import REGIONS
from loadgen.units import NS_PER_S
from loadgen.wire.key_folder_changes import add_agent, init_keys
from tests.chaos.fleet import Conducted, end_family

__all__ = ["Fleet", "Seen", "conducted", "measure", "measure_large", "watch_fleet"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a controller may use for a fleet."""

    cpu_share: float
    """Of one core."""
    memory_bytes: int = 500 * MIB
    interval_s: float = 1.0
    """The longest interval between two reports that the controller may ask for."""

    def holds(self, seen: Seen) -> bool:
        """Return whether a run was complete and stayed within this budget."""
        asked = max((interval_s for _, interval_s in seen.swarm["asked_s"]), default=1.0)
        is_within = seen.cpu_share <= self.cpu_share and seen.rss_bytes <= self.memory_bytes
        return is_within and asked <= self.interval_s and not seen.wrong

    def __str__(self) -> str:
        return f"{self.cpu_share:.0%} of a core, {self.memory_bytes // MIB} MiB, a report per {self.interval_s:g} s"


BUDGETS = {(1_000, 20): Budget(0.25), (200, 150): Budget(0.60), (5_000, 20): Budget(1.0, 800 * MIB, 2.0)}
"""By (agents, request names)."""
SCENARIO = """
from loadgen import Plan, User, arrivals, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:1", load=arrivals("{rate}/s").hold("{seconds}s"), mix=shop, regions={regions})
"""
HOW = """\
`loadgen run --listen` on core {controller}, as it is: CURVE, durable journal, acknowledgements, a line with \
percentiles each second. `python -m bench.swarm` on core {swarm} is the fleet, in {regions} regions: each agent sends \
a delta a second with a heartbeat in its envelope, all at the same instant, on a connection of its own. *Series*: \
response and service time of each request name, the step's two and the journey's four, 50 requests of a name a second \
(20 where there are 150 names), log-normal around 9 ms. {seconds} s of load, the first {skip} s not counted. *CPU*: \
user and system time of the controller's process by wall time. *Acknowledged*: from an agent's first sending of a \
delta until it receives its acknowledgement; the group commit of 100 ms is in it. *Worst answer*: the longest that a \
question for the time waited, and the next one goes out 10 ms after the answer; the controller's loop was not later \
than that. *Interval asked for*: what a controller asks for that has too many agents for a delta a second, or that is \
busy for more than 80 % of the time; agents join what lies within. At the end every request that was sent has to be in \
the summary. The result says so if the fleet itself was the limit: it used more than {full:.0%} of its core, or its \
loop was more than {late_ms:.0f} ms late."""


@dataclass(frozen=True, slots=True)
class Fleet:
    agents: int
    names: int
    requests: int
    """Requests of each name per second and agent."""

    @property
    def series(self) -> int:
        return 2 * self.names + 6


@dataclass(frozen=True, slots=True)
class Seen:
    """The figures of a run with one fleet size."""

    fleet: Fleet
    cpu_share: float
    rss_bytes: int
    """The largest memory, sampled once a second."""
    worst_answer_ms: float
    swarm: dict[str, Any]
    starting_s: float
    """Time from the start of the fleet to T0."""
    sealing_s: float
    """Time from the planned end to the end of the controller's process."""
    wrong: str
    """What is missing or does not add up; empty if everything is complete."""

    @property
    def row(self) -> list[str]:
        swarm, fleet = self.swarm, self.fleet
        return [
            f"{fleet.agents:,}",
            f"{fleet.series}",
            f"{swarm['delta_bytes'] / 1000:.1f} kB",
            f"{self.cpu_share:.0%}",
            f"{self.rss_bytes / MIB:.0f} MiB",
            f"{swarm['sent_per_s']:,.0f} / {swarm['received_per_s']:,.0f}",
            f"{swarm['ack_ms']['p50']:.0f} ms",
            f"{swarm['ack_ms']['p99']:.0f} ms",
            f"{self.worst_answer_ms:.0f} ms",
            self.asked,
            f"{swarm['swarm_cpu']:.0%}",
        ]

    @property
    def fleet_limit(self) -> str:
        """A sentence if the simulated fleet was too slow, so that the figures do not show the controller's limit."""
        cpu_share, late_ms = self.swarm["swarm_cpu"], self.swarm["late_ms"]
        if cpu_share <= FULL_SHARE and late_ms <= LATE_MS:
            return ""
        how = f"it used {cpu_share:.0%} of its core, and its messages left up to {late_ms:,.0f} ms late"
        if self.cpu_share > FULL_SHARE:
            return f" Both the simulated fleet and the controller were at their limit: {how}."
        return f" The simulated fleet and not the controller was the limit: {how}."

    @property
    def asked(self) -> str:
        """The intervals that the controller asked for, with their times."""
        return (
            ", ".join(f"{interval_s:g} s from {at_s:.0f} s on" for at_s, interval_s in self.swarm["asked_s"]) or "1 s"
        )


HEAD = [
    "agents",
    "series each",
    "a delta",
    "CPU of a core",
    "memory",
    "messages/s in / out",
    "acknowledged: p50",
    "p99",
    "worst answer",
    "interval asked for",
    "CPU of the fleet",
]
FLEETS = (Fleet(1_000, 20, 50), Fleet(200, 150, 20))
LARGE_FLEETS = (Fleet(2_000, 20, 50), Fleet(5_000, 20, 50))
"""These are too large for a report per second on one core. They take minutes, so they have a section of their own."""
FULL_SHARE = 0.95
"""A program that uses more of its core was at its limit."""
LATE_MS = 500.0
"""A fleet whose loop was later than this was at its limit."""
REASONS = 3
"""The most reasons of an incomplete run in a verdict: each of 1,000 agents may have one."""


def measure_large(*, fleets: Sequence[Fleet] = LARGE_FLEETS, seconds: int = 35, skip: int = 15) -> Section:
    return measure(fleets=fleets, seconds=seconds, skip=skip, title="What a controller costs with thousands of agents")


def measure(
    *, fleets: Sequence[Fleet] = FLEETS, seconds: int = 35, skip: int = 15, title: str = "What a controller costs"
) -> Section:
    """Measure each fleet. A fleet whose load did not begin or did not end in time has a sentence instead of a row."""
    seen: list[Seen] = []
    verdicts = []
    for fleet in fleets:
        try:
            seen.append(watch_fleet(fleet, seconds, skip))
            verdicts.append(_verdict(seen[-1]))
        except (RuntimeError, AssertionError, psutil.NoSuchProcess) as error:
            verdicts.append(_failed(fleet, error))
    return Section(
        title,
        HOW.format(
            controller=ATTACKER_CORE,
            swarm=TARGET_CORE,
            regions=len(REGIONS),
            seconds=seconds,
            skip=skip,
            full=FULL_SHARE,
            late_ms=LATE_MS,
        ),
        HEAD,
        [one.row for one in seen],
        " ".join(verdicts),
    )


def _failed(fleet: Fleet, error: Exception) -> str:
    why = str(error).partition("\n")[0]
    return f"{fleet.agents:,} agents of {fleet.series} series: {why}; the budget is NOT HELD."


def _verdict(seen: Seen) -> str:
    fleet = seen.fleet
    budget = BUDGETS.get((fleet.agents, fleet.names))
    told = f"{fleet.agents:,} agents of {fleet.series} series: {seen.wrong or 'all requests are in the run'}"
    judged = "" if budget is None else f"; budget {budget}: {held(budget.holds(seen))}"
    return f"{told}{judged}.{seen.fleet_limit}"


def watch_fleet(fleet: Fleet, seconds: int, skip: int) -> Seen:
    with tempfile.TemporaryDirectory() as folder, conducted(Path(folder), fleet, seconds) as run:
        began_s = time.monotonic()
        with _swarm(run, fleet, seconds, skip) as swarm:
            t0_ns = _t0(swarm, run, 30 + fleet.agents / 50)
            starting_s = time.monotonic() - began_s
            asker = Asker(run.address, run.keys_of("asker"), t0_ns + skip * NS_PER_S, t0_ns + seconds * NS_PER_S)
            cpu_share, rss_bytes = _watched(run.controller.pid, t0_ns, seconds, skip)
            worst_ms = asker.worst_ms()
            code = _end(run, 40 + fleet.agents / 100)
            sealing_s = (perf_counter_ns() - t0_ns) / NS_PER_S - seconds
            figures = json.loads(next_line(swarm, 30, "no figures of the fleet"))
        return Seen(fleet, cpu_share, rss_bytes, worst_ms, figures, starting_s, sealing_s, _wrong(run, code, figures))


def _end(run: Conducted, within_s: float) -> int:
    try:
        return run.controller.wait(within_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the run did not end within {within_s:g} s after its load\n{run.output[-2000:]}") from None


def _wrong(run: Conducted, code: int, figures: dict[str, Any]) -> str:
    summary = run.summary()
    wrong = []
    if code != 0:
        reasons = [textwrap.shorten(reason, 120) for reason in summary["reasons"]]
        more = f" and {len(reasons) - REASONS:,} more reasons" if len(reasons) > REASONS else ""
        wrong.append(f"exit code {code}, {summary['result']}: {', '.join(reasons[:REASONS])}{more}")
    if summary["requests"]["finished"] != figures["requests"]:
        wrong.append(f"{summary['requests']['finished']:,} requests in the run, {figures['requests']:,} were sent")
    if figures["out_of_lease"]:
        wrong.append(f"{figures['out_of_lease']:,} agents out of their lease")
    return "; ".join(wrong)


@contextmanager
def conducted(folder: Path, fleet: Fleet, seconds: int, command: Sequence[str] = ()) -> Iterator[Conducted]:
    """Start the controller on its core. `command` is the program that runs it, such as a profiler."""
    scenario = folder / "shop.py"
    rate = fleet.agents * fleet.requests
    # The rate follows the number of agents, so each agent has the share that matches its reported iterations.
    regions = {region: len(range(n, fleet.agents, len(REGIONS))) for n, region in enumerate(REGIONS)}
    scenario.write_text(SCENARIO.format(rate=rate, seconds=seconds, regions=regions))
    init_keys(folder / "keys")
    for name in ("sim", "asker"):
        add_agent(folder / "keys", name)
    words = [*command, sys.executable, "-m", "loadgen_controller.cli", "run", str(scenario)]
    words += ["--listen", "127.0.0.1:0", "--keys", str(folder / "keys"), "--wait", str(fleet.agents)]
    words += ["--runs-dir", str(folder / "runs")]
    with (folder / "controller.out").open("wb") as out:
        process = subprocess.Popen(pinned(ATTACKER_CORE, *words), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    run = Conducted(folder, process, folder / "keys")
    try:
        run.address = run.wait_for(r"listening on \S+ for").split()[2]
        yield run
    finally:
        run.close()


@contextmanager
def _swarm(run: Conducted, fleet: Fleet, seconds: int, skip: int) -> Iterator[subprocess.Popen[bytes]]:
    words = ["-m", "bench.swarm", run.address, str(run.keys_of("sim")), "--agents", str(fleet.agents)]
    words += ["--names", str(fleet.names), "--requests", str(fleet.requests)]
    words += ["--seconds", str(seconds), "--skip", str(skip)]
    process = subprocess.Popen(pinned(TARGET_CORE, sys.executable, *words), stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        end_family(process)


def _t0(swarm: subprocess.Popen[bytes], run: Conducted, within_s: float) -> int:
    try:
        _, t0_ns = next_line(swarm, within_s, "the load did not begin").split()
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{run.output[-2000:]}") from error
    return int(t0_ns)


def _watched(pid: int, t0_ns: int, seconds: int, skip: int) -> tuple[float, int]:
    """Return (share of a core from second `skip` to the end, largest memory)."""
    process = psutil.Process(pid)
    _sleep_until(t0_ns + skip * NS_PER_S)
    before_s, before_ns, most = _cpu_s(process), perf_counter_ns(), 0
    for second in range(skip + 1, seconds + 1):
        _sleep_until(t0_ns + second * NS_PER_S)
        most = max(most, process.memory_info().rss)
    return (_cpu_s(process) - before_s) / ((perf_counter_ns() - before_ns) / NS_PER_S), most


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0, at_ns - perf_counter_ns()) / NS_PER_S)

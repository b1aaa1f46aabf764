"""Measure the cost of `loadgen run --ui`: the same run without a page, and with two open pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Section, held, spread
from bench.run_lines import EACH_SECOND, second_of
from tests.support.page_client import PageClient
from tests.support.run import run_folder
from tests.support.target import running_target

HOW = """\
`loadgen run` of {names} request names, {rate} iterations/s of one request each, 3 embedded agents, {seconds} s, \
against the demo shop without latencies; by turns without a page, and with `--ui` and two clients that take every \
change. *controller*: user and system time of its process for each second of the load but the first 5, by \
/proc. *lag*: the p99 of the journey's generator lag, from the summary. {turns} turns: least / median."""
_SCENARIO = """\
from loadgen import Plan, User, arrivals, journey


@journey
async def one_of_many(user: User) -> None:
    await user.http.get("/", name=f"GET /{{user.random.randrange({names})}}")


plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("{rate}/s").hold("{seconds}s"),
    mix=one_of_many,
    regions={{"us-east-1": 1, "eu-west-1": 1, "ap-south-1": 1}},
)
"""
_FROM_S = 5
"""The second by which all names have appeared."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Turn:
    cpu_ms: float
    """One value per second."""
    lag_ms: float


def measure(*, seconds: int = 40, names: int = 200, rate: int = 150, turns: int = 3) -> Section:
    without: list[_Turn] = []
    with_page: list[_Turn] = []
    with TemporaryDirectory() as folder, running_target("--no-latency") as target:
        scenario = Path(folder) / "many.py"
        scenario.write_text(_SCENARIO.format(names=names, rate=rate, seconds=seconds))
        for turn in range(turns):
            for found, options in ((without, []), (with_page, ["--ui"])):
                runs = Path(folder) / f"runs-{turn}-{len(options)}"
                found.append(_run(scenario, target.url, runs, options, seconds))
    rows = [
        [name, " / ".join(spread([one.cpu_ms for one in found])), " / ".join(spread([one.lag_ms for one in found], 2))]
        for name, found in (("without a page", without), ("with two pages", with_page))
    ]
    more_ms = min(one.cpu_ms for one in with_page) - min(one.cpu_ms for one in without)
    lag_ms = min(one.lag_ms for one in with_page) - min(one.lag_ms for one in without)
    return Section(
        "The live page",
        HOW.format(names=names, rate=rate, seconds=seconds, turns=turns),
        ["", "controller, ms of a core a second", "lag p99, ms"],
        rows,
        f"Budgets: the page within 5 % of a core: {more_ms / 10:.1f} %, {held(more_ms <= 50)}; the generators' lag p99"
        f" unchanged within 1 ms: {lag_ms:+.2f} ms, {held(lag_ms <= 1)}.",
    )


def _run(scenario: Path, target: str, runs: Path, options: list[str], seconds: int) -> _Turn:
    words = ["run", str(scenario), "--target", target, "--runs-dir", str(runs), *options]
    command = [sys.executable, "-m", "loadgen_controller.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=EACH_SECOND) as run:
        address, first, last, first_s, last_s = "", 0.0, 0.0, 0, 0
        assert run.stdout is not None
        pages: list[subprocess.Popen[bytes]] = []
        for line in run.stdout:
            if (found := re.search(r"page: (\S+)", line)) is not None:
                address = found[1]
                pages = [subprocess.Popen([sys.executable, "-m", "bench.live", address]) for _ in range(2)]
            if (at_s := second_of(line)) is not None:
                if at_s <= _FROM_S:
                    first, first_s = _cpu_s(run.pid), at_s
                elif at_s <= seconds - 2:
                    last, last_s = _cpu_s(run.pid), at_s
        for page in pages:
            page.wait()
    if last_s <= first_s:
        raise RuntimeError("the run printed no lines of seconds in which all agents had reported")
    summary = json.loads((run_folder(runs) / "summary.json").read_bytes())
    (journey,) = [s for s in summary["series"] if s["kind"] == "journey" and s["region"] == s["outcome"] == "*"]
    return _Turn((last - first) * 1e3 / (last_s - first_s), journey["generator_lag_ms"]["p99"])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


async def _watch(address: str) -> None:
    async with PageClient(address) as page:
        known = await page.history()
        async with page.listening(known["seq"]) as events:
            async for kind, _, _ in events:
                if kind == "again":
                    await page.history()


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1]))

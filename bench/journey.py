"""The first figure: CPU of the four-request journey beside wrk with the same four requests, in one run.

Budget of this stage: below 3 × wrk; of the design: 2.2 ×.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.children import ATTACKER_CORE, TARGET_CORE, run_python, run_wrk
from bench.report import Section, spread
from tests.support.nginx import running_nginx

HERE = Path(__file__).parent
BUDGET = 3.0
DESIGN_BUDGET = 2.2
HOW = """\
GET / (HTML), GET /json (parsed and checked), POST /json, GET /1k (length checked), in two steps; 64 users, closed, \
kept connections, {seconds:g} s a turn, {turns} turns of each in alternation. nginx (no access log) on core {target}, \
the attacker on core {attacker}. CPU is the attacker's user and system time by rusage: of wrk the whole process, of \
loadgen one worker process from T0 to the end of its drain, with recording and folding, without the start of Python. \
*wrk* sends the four requests from a Lua table and checks nothing; *client alone* is loadgen's HTTP client and \
recorder driven by 64 bare tasks; *journey* is `bench/four_requests.py` through users, steps and plan."""


def measure(*, seconds: float = 5, turns: int = 5) -> Section:
    wrk, client, journey = [], [], []
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        scenario = [str(HERE / "four_requests.py"), "--target", nginx.url, "--users", "64"]
        for _ in range(turns):
            wrk.append(run_wrk(nginx.url, seconds, "-s", str(HERE / "four_requests.lua")))
            client.append(_checked(run_python("bench.client", nginx.url, str(seconds))))
            journey.append(_checked(run_python("bench.worker", *scenario, "--duration", str(seconds))))
    base = _cpu_us(wrk)
    rows = [
        _row(name, figures, base) for name, figures in (("wrk", wrk), ("client alone", client), ("journey", journey))
    ]
    ratio = _median(_cpu_us(journey)) / _median(base)
    held = "held" if ratio <= BUDGET else "NOT HELD"
    return Section(
        "CPU per request of a scripted journey",
        HOW.format(seconds=seconds, turns=turns, target=TARGET_CORE, attacker=ATTACKER_CORE),
        ["", "CPU µs/request: least", "median", "× wrk, least", "× wrk, median", "requests/s, median"],
        rows,
        f"Journey / wrk = {ratio:.2f} (medians). Budget {BUDGET:g} for now: {held}; {DESIGN_BUDGET:g} in the end.",
    )


def _row(name: str, figures: list[dict[str, Any]], base: list[float]) -> list[str]:
    cpu = _cpu_us(figures)
    rate = _median([f["requests"] / f["took_s"] for f in figures])
    ratios = f"{min(cpu) / min(base):.2f}", f"{_median(cpu) / _median(base):.2f}"
    return [name, *spread(cpu, 2), *ratios, f"{rate:,.0f}"]


def _cpu_us(figures: list[dict[str, Any]]) -> list[float]:
    return [f["cpu_s"] / f["requests"] * 1e6 for f in figures]


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _checked(figures: dict[str, Any]) -> dict[str, Any]:
    if figures["requests_errors"] or figures.get("iterations_errors"):
        raise RuntimeError(f"a figure with errors is none: {figures}")
    return figures

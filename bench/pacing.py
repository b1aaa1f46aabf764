"""Measure the precision of arrival starts at 5,000/s. Budget: rate within 0.1 %, none early, lag p99 <= 2 ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.attackers import HERE
from bench.children import ATTACKER_CORE, TARGET_CORE, run_python
from bench.report import Section, held
from tests.support.nginx import running_nginx

JOURNEYS = {"nothing": [str(HERE / "nothing.py")], "one GET": [str(HERE / "one_get.py"), "--plan", "due"]}
HOW = """\
An open load of constant rate, {seconds:g} s, one worker on core {core}. *nothing*: a journey that does nothing, so \
the whole engine without HTTP; *one GET*: one request to nginx on core {target}. *Off plan* is the number of started \
iterations beside rate × time; *worst second* the largest deviation of the starts within one second. *Earliest* is the \
smallest generator lag: below 0 would be a start before it was due."""
HEAD = [
    "journey",
    "arrivals/s",
    "started",
    "off plan",
    "worst second",
    "earliest",
    "lag p50",
    "p99",
    "p99.9",
    "max",
    "CPU/iteration",
]


@dataclass(frozen=True, slots=True)
class Case:
    journey: str
    rate: int
    is_judged: bool = False


CASES = (
    Case("nothing", 500),
    Case("nothing", 5_000, is_judged=True),
    Case("nothing", 20_000),
    Case("one GET", 5_000, is_judged=True),
    Case("one GET", 20_000),
)
RATE_BUDGET = 0.001
LAG_BUDGET_US = 2_000


def measure(*, seconds: float = 15) -> Section:
    figures: dict[Case, dict[str, Any]] = {}
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        for case in CASES:
            where = [*JOURNEYS[case.journey], "--target", nginx.url]
            figures[case] = run_python("bench.worker", *where, "--rate", str(case.rate), "--duration", str(seconds))
    return Section(
        "Pacing",
        HOW.format(seconds=seconds, core=ATTACKER_CORE, target=TARGET_CORE),
        HEAD,
        [_row(case, seconds, of) for case, of in figures.items()],
        " ".join(verdict(case, seconds, of) for case, of in figures.items() if case.is_judged)
        + f" Budget: rate within {RATE_BUDGET:.1%}, none early, lag p99 at most {LAG_BUDGET_US / 1000:g} ms.",
        ["nginx"],
    )


def verdict(case: Case, seconds: float, of: dict[str, Any]) -> str:
    """Return the section. `of` are figures of `bench.worker`."""
    planned = round(case.rate * seconds)
    is_exact = abs(of["iterations"] / planned - 1) <= RATE_BUDGET
    lag = of["lag_us"]
    is_held = is_exact and lag["min"] >= 0 and lag["p99"] <= LAG_BUDGET_US
    return f"{case.journey} at {case.rate:,}/s: {held(is_held)}."


def _row(case: Case, seconds: float, of: dict[str, Any]) -> list[str]:
    lag = of["lag_us"]
    return [
        case.journey,
        f"{case.rate:,}",
        f"{of['iterations']:,}",
        f"{of['iterations'] - round(case.rate * seconds):+d}",
        f"{of['worst_second'] * 100:.2f} %",
        *(f"{lag[q]:,.0f} µs" for q in ("min", "p50", "p99", "p99.9", "max")),
        f"{of['cpu_s'] / of['iterations'] * 1e6:.1f} µs",
    ]

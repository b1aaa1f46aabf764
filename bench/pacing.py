"""How exactly arrivals start. Budget: rate within 0.1 %, none early, generator lag p99 at most 2 ms at 5,000/s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.children import ATTACKER_CORE, run_python
from bench.report import Section

SCENARIO = Path(__file__).with_name("nothing.py")
LAG_BUDGET_US = 2_000
HOW = """\
An open load of constant rate, {seconds:g} s, one worker on core {core}, with a journey that does nothing: the whole \
engine, no HTTP. *Off plan* is the number of started iterations beside rate × time; *worst second* the largest \
deviation of the starts within one second. *Earliest* is the smallest generator lag: below 0 would be a start before \
it was due."""


def measure(*, seconds: float = 20) -> Section:
    figures = {
        rate: run_python("bench.worker", str(SCENARIO), "--rate", str(rate), "--duration", str(seconds))
        for rate in (2_000, 5_000)
    }
    rows = [_row(rate, seconds, of) for rate, of in figures.items()]
    lag = figures[5_000]["lag_us"]
    exact = all(of["iterations"] == of["due"] == round(rate * seconds) for rate, of in figures.items())
    held = exact and lag["min"] >= 0 and lag["p99"] <= LAG_BUDGET_US
    return Section(
        "Pacing",
        HOW.format(seconds=seconds, core=ATTACKER_CORE),
        [
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
        ],
        rows,
        f"Budget (count exact, none early, lag p99 at most 2 ms at 5,000/s): {'held' if held else 'NOT HELD'}.",
    )


def _row(rate: int, seconds: float, of: dict[str, Any]) -> list[str]:
    lag = of["lag_us"]
    return [
        f"{rate:,}",
        f"{of['iterations']:,}",
        f"{of['iterations'] - round(rate * seconds):+d}",
        f"{of['worst_second'] * 100:.2f} %",
        *(f"{lag[q]:,.0f} µs" for q in ("min", "p50", "p99", "p99.9", "max")),
        f"{of['cpu_s'] / of['iterations'] * 1e6:.1f} µs",
    ]

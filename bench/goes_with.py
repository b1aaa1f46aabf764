"""Measure what it costs to find the series of the target that go with an objective.

Budget: 5 s of CPU for 200 series of 1,800 s.
"""

from __future__ import annotations

from time import process_time_ns
from typing import Final

import numpy as np

from bench.report import Section, held, spread
from loadgen.analysis.goes_with.answer import goes_with
from loadgen.analysis.goes_with.values import Judged, Load
from loadgen.units import NS_PER_MS
from tests.statistics.unrelated_series import all_kinds, series_of, shares

SERIES: Final = 200
BUDGET_MS: Final = 5_000.0
HOW: Final = """\
{series} unrelated series of 15 kinds (`tests/statistics/unrelated_series.py`) of {seconds} s, three series of the \
objective, a rate by chance: without and with gaps of 20 %. In this process, CPU time of all its threads."""


def measure(*, seconds: int = 1_800, series: int = SERIES, turns: int = 5) -> Section:
    chance = np.random.default_rng(1)
    rows = all_kinds(chance, series, seconds)
    counts = chance.poisson(100, seconds).astype(np.float64)
    judged = [Judged(title, shares(chance, 1, seconds)[0], counts) for title in ("share", "p99", "errors")]
    lines: list[list[str]] = []
    medians: list[float] = []
    for name, gaps in (("whole", 0.0), ("gaps of 20 %", 0.2)):
        given = series_of(np.where(chance.random(rows.shape) < gaps, np.nan, rows))
        took: list[float] = []
        for _ in range(turns):
            begun = process_time_ns()
            goes_with(judged, np.ones(seconds, dtype=np.bool_), [Load("offered rate", counts)], given)
            took.append((process_time_ns() - begun) / NS_PER_MS)
        medians.append(sorted(took)[turns // 2])
        lines.append([f"{series} series, {name}, ms", *spread(took)])
    return Section(
        "What goes together",
        HOW.format(series=series, seconds=seconds),
        ["", "least", "median"],
        lines,
        f"Budget: {BUDGET_MS:,.0f} ms: {held(max(medians) <= BUDGET_MS)}.",
    )

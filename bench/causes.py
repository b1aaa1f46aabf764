"""Measure what it costs to rank the paths that make requests slow, and the resamples alone.

Budget: 2 s of CPU for 400 traces, and 1 s for 1,000 resamples of 400 traces and 100 paths.
"""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time_ns
from typing import Final

import numpy as np

from bench.report import Section, held, spread
from loadgen.analysis.resample import RESAMPLES, blocks_of
from loadgen.analysis.slow_requests.answer import causes_of
from loadgen.analysis.slow_requests.effects import Compared, Without, resampled
from loadgen.traces.own_times import OwnTimes
from loadgen.units import NS_PER_MS
from tests.support.made_traces import Fault, made

TRACES: Final = 400
PATHS: Final = 100
FAULTS: Final[tuple[Fault, ...]] = ("slow version", "more calls", "pause")
HOW = """\
Timed traces of a simulated shop with a fault (`tests/support/made_traces.py`), some {traces} traces of 13 spans (33 \
with more calls), slow and fast ones; `causes_of` with 1,000 resamples: cohorts, pauses, timing again, intervals, \
attributes, beginning. *resamples*: {traces} traces, {paths} paths, 5 of them timed again before. In this process, CPU \
time of the thread."""
BUDGET_MS = 2_000.0
BUDGET_RESAMPLES_MS = 1_000.0


def measure(*, seconds: int = 440, resamples: int = RESAMPLES, turns: int = 5) -> Section:
    rows: list[list[str]] = []
    medians: list[float] = []
    for fault in FAULTS:
        run = made(fault, 1, seconds=seconds)
        took = _ms(lambda run=run: causes_of(run.timed, run.objective, asked=run.asked, resamples=resamples), turns)  # type: ignore[misc]
        medians.append(sorted(took)[turns // 2])
        rows.append([f"{fault}, {len(run.timed)} traces, ms", *spread(took)])
    took = _ms(_resampling(resamples), turns)
    is_fast = sorted(took)[turns // 2] <= BUDGET_RESAMPLES_MS
    rows.append([f"resamples of {TRACES} traces and {PATHS} paths, ms", *spread(took)])
    return Section(
        "Ranked causes",
        HOW.format(traces=TRACES, paths=PATHS),
        ["", "least", "median"],
        rows,
        f"Budget: {BUDGET_MS:,.0f} ms a run: {held(max(medians) <= BUDGET_MS)}. "
        f"Budget: {BUDGET_RESAMPLES_MS:,.0f} ms for the resamples: {held(is_fast)}.",
    )


def _resampling(resamples: int) -> Callable[[], object]:
    chance = np.random.default_rng(1)
    own = chance.lognormal(14, 1, (TRACES, PATHS))
    response, weights = own.sum(axis=1), chance.uniform(1, 9, TRACES)
    nothing = np.zeros_like(own)
    paths = tuple((f"s: {n}",) for n in range(PATHS))
    times = OwnTimes(paths, own, nothing, nothing, nothing, np.zeros(PATHS, dtype=np.bool_))
    limit = float(np.median(response))
    slow, fast = weights * (response > limit), weights * (response <= limit)
    compared = Compared((), times, (), response, weights, slow, fast, int(limit), fast_share=0.5)
    lowered = Without(tuple(range(5)), np.zeros(5), response - own[:, :5].T)
    blocks = blocks_of(np.arange(TRACES) * 1.5)
    return lambda: resampled(compared, lowered, blocks, 1, resamples)


def _ms(work: Callable[[], object], turns: int) -> list[float]:
    took = []
    for _ in range(turns):
        began = thread_time_ns()
        work()
        took.append((thread_time_ns() - began) / NS_PER_MS)
    return took

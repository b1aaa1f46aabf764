"""Finished searches and confirmations as values, for tests of what they say together."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from typing import Any

from loadgen.capacity.find.finished_runs import HeldRun, MeasuredRate, SearchEnd, SearchRun

__all__ = ["held_run", "search_run"]


def search_run(rate: float | None = 80.0, sd: float = 0.02, end: SearchEnd = "found", **changes: Any) -> SearchRun:
    """A search for p(99) < 300ms between 20/s and 400/s."""
    tested = tuple(
        MeasuredRate(at, 30.0, round(at * 30), 0 if at < 80 else 40, "p(99) < 300ms", figure, 300.0, is_time=True)
        for at, figure in ((40.0, 60.0), (76.0, 210.0), (84.0, 390.0), (120.0, None))
    )
    made = SearchRun(
        run_id="20261129-120000-shop-a1b2",
        folder="runs/20261129-120000-shop-a1b2",
        end=end,
        why="the knee of p(99) < 300ms is at 80.0/s",
        objectives=("p(99) < 300ms",),
        scenario="shop.py",
        plan="peak",
        target="http://shop.test",
        labels={"release": "1.4"},
        started_at="2026-11-29T12:00:00Z",
        duration_s=312.0,
        start_per_s=20.0,
        upto_per_s=400.0,
        rate_per_s=rate,
        low_per_s=None if rate is None else rate * exp(-1.645 * sd),
        high_per_s=None if rate is None else rate * exp(1.645 * sd),
        unfit_share=0.01,
        tested=tested,
    )
    return replace(made, **changes)


def held_run(is_confirmed: bool | None = True, **changes: Any) -> HeldRun:
    """A confirmation of 10 minutes at 76/s."""
    why = {
        True: "the objective was met at 76.0/s over the whole time",
        False: "the objective was not met at 76.0/s",
        None: "the confirmation is too short to judge the objective",
    }[is_confirmed]
    made = HeldRun(
        run_id="20261129-130000-shop-c3d4",
        folder="runs/20261129-130000-shop-c3d4",
        rate_per_s=76.0,
        seconds=600.0,
        is_confirmed=is_confirmed,
        why=why,
        observed=("p(99) < 300ms: 250 ms of 45600",),
    )
    return replace(made, **changes)

"""How often `loadgen capacity find` is wrong: searches on simulated queues, combined and judged as the command does.

The knee of each queue has a closed form, as in `search.py`. In the cells with conditions, each search has a queue of
its own whose knee differs from the true one by a normal deviation, as a target differs after each restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import exp
from typing import Final

import numpy as np

from loadgen.capacity.find.finished_runs import SearchEnd, SearchRun
from loadgen.capacity.find.found_capacity import FoundCapacity, judge_searches
from loadgen.dsl.executors.steering_executor import Finding
from tests.support.queues import Targeted, fixed, mm1
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.search import NEAR, SEARCHED, searched_finding
from tools.how_often_wrong.table import Table, share_text

__all__ = ["CELLS", "CombinedRates", "combined_rates", "judged_finding", "tables"]

REPEATS: Final = (1, 3)


@dataclass(frozen=True, slots=True)
class Cell:
    """A queue, and by how much its knee differs between searches (standard deviation of its logarithm)."""

    target: Callable[[], Targeted]
    between: float = 0.0


CELLS: Final[dict[str, Cell]] = {
    "D/D/4": Cell(lambda: fixed(4, 0.01, 0.1)),
    "M/M/1": Cell(SEARCHED["M/M/1"]),
    "M/M/4": Cell(SEARCHED["M/M/4"]),
    "M/G/1 hyperexponential, cv 1.5": Cell(SEARCHED["M/G/1 hyperexponential, cv 1.5"]),
    "M/M/1, conditions differ by 3 %": Cell(SEARCHED["M/M/1"], 0.03),
    "M/M/1, conditions differ by 10 %": Cell(SEARCHED["M/M/1"], 0.1),
}


@dataclass(frozen=True, slots=True)
class CombinedRates:
    """Error rates of the answers to one cell. All counts are of the answers that are "decided"."""

    name: str
    knee_per_s: float
    repeats: int
    trials: int
    decided: int
    near: int
    """Answers whose rate is within 5 % of the knee."""
    covers: int
    """90 % intervals that contain the knee."""
    safe: int
    """Answers whose lower end is at most the knee: a plan with it does not overload the target."""
    half_width: float
    """Median half-width of the interval, as a share."""


@cache
def _target(name: str) -> Targeted:
    return CELLS[name].target()


def judged_finding(finding: Finding, seconds: float, target: Targeted) -> SearchRun:
    """Return a simulated finding as a finished run."""
    end: SearchEnd = finding.verdict
    return SearchRun(
        run_id="",
        folder="",
        end=end,
        why=finding.text,
        objectives=(f"p(99) < {target.limit_s * 1000:g}ms",),
        scenario="",
        plan="",
        target=target.name,
        labels={},
        started_at="",
        duration_s=seconds,
        start_per_s=target.knee_per_s / 16,
        upto_per_s=target.knee_per_s * 4,
        rate_per_s=finding.rate_per_s,
        low_per_s=finding.low,
        high_per_s=finding.high,
        unfit_share=0.0,
    )


def _answered(asked: tuple[str, int, int]) -> FoundCapacity:
    """Return the answer of some searches. asked: the name of the cell, the number of searches, and a seed."""
    name, repeats, seed = asked
    cell, true = CELLS[name], _target(name)
    random = np.random.default_rng(seed)
    searches = []
    for n in range(repeats):
        target = true
        if cell.between:
            target = mm1(true.knee_per_s * exp(float(random.normal(0, cell.between))), true.limit_s)
        finding, seconds = searched_finding(target, seed * 100 + n)
        searches.append(judged_finding(finding, seconds, true))
    return judge_searches(searches, repeats, is_confirmation_wanted=False)


def combined_rates(name: str, repeats: int, trials: int, seed: int) -> CombinedRates:
    """Simulate `trials` answers of `repeats` searches each. Cost: 0.1 s (D/D/4) to 4 s a search."""
    knee = _target(name).knee_per_s
    answers = in_processes(_answered, [(name, repeats, seed + at) for at in range(trials)])
    found = [one.capacity for one in answers if one.capacity is not None]
    return CombinedRates(
        name=name,
        knee_per_s=knee,
        repeats=repeats,
        trials=trials,
        decided=len(found),
        near=sum(abs(one.rate_per_s / knee - 1) < NEAR for one in found),
        covers=sum(one.low_per_s <= knee <= one.high_per_s for one in found),
        safe=sum(one.low_per_s <= knee for one in found),
        half_width=float(np.median([one.half_width for one in found])) if found else float("nan"),
    )


def tables(trials: int, seed: int) -> list[Table]:
    """Return the table of `loadgen capacity find`. trials: answers a cell."""
    cells = [combined_rates(name, repeats, trials, seed) for name in CELLS for repeats in REPEATS]
    columns = (
        "queue",
        "knee",
        "searches an answer",
        "answers",
        "decided",
        "within 5 %",
        "interval has the knee",
        "lower end is below the knee",
        "median half-width",
    )
    rows = [
        (
            one.name,
            f"{one.knee_per_s:.3g}/s",
            str(one.repeats),
            str(one.trials),
            share_text(one.decided, one.trials),
            share_text(one.near, one.decided),
            share_text(one.covers, one.decided),
            share_text(one.safe, one.decided),
            f"{one.half_width * 100:.1f} %",
        )
        for one in cells
    ]
    text = (
        "An answer is that of `loadgen capacity find` from 1 or 3 searches for p(99) on simulated queues, without a"
        " confirmation. The goal is 17 of 20 within 5 % of the knee, and 16 of 20 intervals with the knee; where the"
        " conditions differ, only the second."
    )
    return [Table("`capacity find`", text, columns, rows)]

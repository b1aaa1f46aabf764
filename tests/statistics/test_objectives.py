"""How often a sure verdict of an objective is wrong, over many simulated runs; and whether the simulation is the code.

The tables of docs/how-often-wrong.md come from the same module.
"""

from __future__ import annotations

from math import exp, inf, log

import numpy as np
import pytest

from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.units import NS_PER_MS
from tests.support.simulated import batches_of
from tools.how_often_wrong.objectives import (
    GENERATORS,
    PARTS,
    Cell,
    SeriesOfRun,
    cells,
    interval_of,
    objectives_table,
    window_cells,
)

STATED = 0.025
SLACK = 0.01
"""The issue allows one point beyond the stated error."""


@pytest.mark.parametrize("name", ["independent", "AR .9", "M/M/1 at .8"])
@pytest.mark.parametrize("budget", [0.05, 0.01])
def test_simulated_intervals_are_as_long_as_those_of_real_runs_from_deltas(name: str, budget: float) -> None:
    """Single runs differ, since a real run knows its slowest values in buckets of 4 % only; on average they do not."""
    rng = np.random.default_rng(7)
    differences = []
    for _ in range(10):
        run, share = GENERATORS[name](rng, 20), budget * 0.8
        bad = run.bad(share)
        expected = interval_of(run, 20, share, budget)
        worst = np.sort(run.level)[len(run.level) - int(bad.sum()) - 1 :][:2]
        low, high = of_deltas(run, 20, float(worst.mean()) if bad.any() else 9.0, budget)
        assert low is not None
        assert high is not None
        differences.append(log((high - low) / (expected.high - expected.low)))
    assert abs(float(np.mean(differences))) < 0.08
    assert max(map(abs, differences)) < log(1.5)


def of_deltas(run: SeriesOfRun, seconds: int, limit: float, budget: float) -> tuple[float | None, float | None]:
    """The interval of the same run through deltas and merge. limit: logarithm of the time in units of 10 ms."""
    ns = (10 * NS_PER_MS * np.exp(run.level)).astype(np.int64)
    batches = batches_of([ns[run.second == k] for k in range(seconds)])
    limit_ns = float(round(10 * NS_PER_MS * exp(limit)))
    objective = Objective(kind="percentile", q=100 * (1 - budget), limit=limit_ns, text="p < limit")
    (result,) = with_intervals(evaluate(objective, batches), (objective,), batches)
    return result.bad_share_low, result.bad_share_high


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", GENERATORS)
def test_sure_verdicts_are_wrong_in_at_most_the_stated_part_of_runs_and_one_point(name: str) -> None:
    found = cells(2_000, 1, [name])
    beyond = [one for one in found if not one.is_beyond and max(one.wrong) > STATED + SLACK]
    assert not beyond, [(one.generator, one.seconds, one.budget, one.wrong) for one in beyond]
    if name == "AR .97":  # named as beyond the method: still wrong in few runs
        assert max(max(one.wrong) for one in found) < 0.06


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_verdicts_far_from_the_budget_are_sure_with_enough_requests() -> None:
    """15,000 independent requests: p95 at half of its budget and p99 at half of it."""
    found = {(one.seconds, one.budget): one for one in cells(500, 2, ["independent"])}
    half, beyond = PARTS.index(0.5), PARTS.index(1.2)
    assert found[300, 0.05].sure[half] > 0.99
    assert found[300, 0.01].sure[half] > 0.85
    assert found[300, 0.05].sure[beyond] > 0.8


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sound_target_rarely_breaks_windows_that_load_without_a_warning() -> None:
    found = {(one.count, one.part): one for one in window_cells(1_000, 1)}
    assert found[1_920, 0.5].failed < 0.01
    assert found[300, 0.5].failed > 0.2, "windows below the needed number do break by chance"
    assert max(one.sure_failed for one in found.values()) <= STATED + SLACK


def test_table_has_a_row_for_each_cell_and_marks_what_no_interval_can_hold() -> None:
    def cell(generator: str, groups: float) -> Cell:
        return Cell(generator, 20, 0.01, 2_000, (0.0,) * 5, (0.1,) * 5, (0.0, 0.0, 0.02, 0.01, 0.0), groups)

    table = objectives_table([cell("independent", inf), cell("bursts of 2 s", 0.2)])
    assert [row[0] for row in table.rows] == ["independent, 20 s, 1 %", "bursts of 2 s, 20 s, 1 % *"]
    assert table.rows[0][2] == "0.020 (0.003)"
    assert all(len(row) == len(table.columns) for row in table.rows)

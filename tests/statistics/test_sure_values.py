"""How often a sure verdict of an objective on any metric is wrong, over many simulated runs.

The tables of docs/how-often-wrong.md come from the same module. Some runs also go through deltas and merge.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest

from loadgen import mean, rate, throughput, trend
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.objectives.objective import evaluate
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, request_key
from tools.how_often_wrong.sure_values import (
    KINDS,
    PROCESSES,
    SHARES,
    Cell,
    Run,
    WindowCell,
    cells,
    ends_of,
    made,
    values_table,
    window_cells,
    windows_table,
)

STATED = 0.025
GET = request_key(step=None)
BASKET = SeriesKey("trend", "", None, "basket", OK, "value")


def most(trials: int) -> float:
    """The stated error and two standard errors of the simulation."""
    return STATED + 2 * sqrt(STATED * (1 - STATED) / trials)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_sure_verdicts_are_wrong_in_at_most_the_stated_part_of_runs_and_two_standard_errors(kind: str) -> None:
    trials = 1_000
    found = cells(trials, 3, [kind])
    assert len(found) == 3 * len(PROCESSES)
    wrong = [one for one in found if max(one.wrong_below, one.wrong_above) > most(trials) * trials]
    assert not wrong, wrong
    # Runs of 5 minutes decide nearly always far from the limit, unless the level changes slowly and strongly.
    assert min(one.sure_far for one in found if one.seconds == 300 and one.process != "AR .9, twice") > 0.7 * trials


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sound_target_surely_breaks_windows_of_means_and_rates_in_at_most_the_stated_part_of_runs() -> None:
    trials = 1_000
    found = window_cells(trials, 4)
    assert max(one.sure_failed for one in found) <= most(trials) * trials
    assert max(one.failed for one in found) > 0.9 * trials, "near the limit, windows do break by chance"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_interval_of_a_simulated_run_is_that_of_the_same_run_from_deltas(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    run = made(rng, kind, "AR .5", 60)
    _, expected = ends_of(kind, run)
    low, high = of_deltas(kind, run)
    assert low == pytest.approx(expected.low, rel=2e-3, abs=1e-4)
    assert high == pytest.approx(expected.high, rel=2e-3, abs=1e-4)


def of_deltas(kind: str, run: Run) -> tuple[float, float]:
    """The ends of the interval of a run through deltas and batches. A value of 1 is 100 ms, or 100 EUR."""
    slos: dict[str, Slo] = {
        "check": rate("hits").ratio() < 0.5,
        "ratio": rate("hits").ratio() < 0.5,
        "mean": mean(request="GET /") < "1h",
        "throughput": throughput("requests") > "1/s",
        "p95 of a trend": trend("basket", resolution=0.001).p(95) < bad_from(run),
    }
    objective = slos[kind].objective
    assert objective is not None
    batches, fake = Batches(0, run.seconds * NS_PER_S, objectives=[objective]), FakeAgent("a")
    for k in range(run.seconds):
        within = run.second == k
        values, custom = run.value[within], int(run.is_bad[within].sum())
        given: Any = {
            GET: (values * 100 * NS_PER_MS).astype(int).tolist(),
            BASKET: (values * 100 * 1_000_000).astype(int).tolist(),
        }
        hits = CustomStats("hits", "rate", len(values), custom)
        batches.accept("eu", replace(fake.delta(given), custom=(hits,)))
    found = evaluate(objective, batches, journeys=["checkout"], end_ns=run.seconds * NS_PER_S)
    (result,) = with_intervals(found, [objective], batches)
    if kind in SHARES:
        assert result.bad_share_low is not None
        assert result.bad_share_high is not None
        return result.bad_share_low, result.bad_share_high
    assert result.low is not None
    assert result.high is not None
    scale = 1 if kind == "throughput" else 100
    return result.low / scale, result.high / scale


def bad_from(run: Run) -> float:
    """A limit between the largest good and the smallest bad value, in EUR."""
    return float(100 * (run.value[~run.is_bad].max() + run.value[run.is_bad].min()) / 2)


def test_tables_have_a_row_for_each_cell() -> None:
    table = values_table([Cell("mean", "AR .9", 20, 1_000, 20, 10, 600)])
    assert table.rows == [("mean", "AR .9", "20 s", "0.020 (0.004)", "0.010 (0.003)", "0.600 (0.015)")]
    table = windows_table([WindowCell("mean", 0.98, 1_000, 500, 0)])
    assert table.rows == [("mean, 98 % of the limit", "0.500 (0.016)", "0.000 (0.000)")]

"""Counts of our own runs by slice: their sums are those of the run's objectives."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.programme.ledger.slices import sum_of
from loadgen.programme.sources.run_counts import objectives_of, run_slices, why_not_counted
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_MS
from tests.support.past_runs import past_run


def objective(**changes: object) -> Objective:
    fields = {"kind": "percentile", "text": "p(95) < 120ms", "limit": 120.0 * NS_PER_MS, "q": 95.0}
    return Objective(**(fields | changes))  # type: ignore[arg-type]


OBJECTIVES = [
    objective(),
    objective(step="pay"),
    objective(step="pay", request="POST /cart"),
    objective(kind="error_ratio", text="error_ratio() < 1%", limit=0.01, q=0.0),
]


@pytest.mark.parametrize("one", OBJECTIVES, ids=lambda one: f"{one.text} {one.step} {one.request}")
def test_the_sum_of_the_slices_of_a_run_is_what_its_objective_counted(tmp_path: Path, one: Objective) -> None:
    run = open_run(past_run(tmp_path, failing=0.02, seconds=40, per_s=20))
    (result,) = evaluate(one, run.merge)

    slices = run_slices(run, "checkout-fast", one, "checkout")

    found = sum_of(slices)
    assert (found.good, found.total) == (result.good, result.count)
    assert found.total > 0
    assert found.missing_s == 0
    assert slices[0].start % 10 == 0
    assert len(slices) == 5
    assert slices[0].evidence == f"run {run.id}: {one.text}, checkout"


def test_objectives_without_counts_of_good_requests_are_named() -> None:
    assert why_not_counted(objective()) == ""
    assert "does not judge a share of all requests" in why_not_counted(
        objective(kind="mean", text="mean() < 1s", q=0.0)
    )


def test_a_run_without_a_summary_has_no_start(tmp_path: Path) -> None:
    run = open_run(past_run(tmp_path, is_sealed=False))

    with pytest.raises(ValueError, match="has no start time: it has no summary"):
        run_slices(run, "a", objective(), "checkout")


def test_the_objectives_of_a_run_are_those_of_its_plan(tmp_path: Path) -> None:
    run = open_run(past_run(tmp_path, seconds=2, spec={"slos": tuple(OBJECTIVES)}))

    assert objectives_of(run) == tuple(OBJECTIVES)

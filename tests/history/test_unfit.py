"""Which runs can be neither judged nor a baseline."""

from __future__ import annotations

from math import nan
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.history.store.extract import unfit_of
from loadgen.history.store.unfit_reasons import faults_of
from tests.support.accepted import accepted
from tests.support.past_runs import spec_of

NAMES = {"checkout": 200.0}


def test_a_run_that_went_well_is_fit() -> None:
    assert unfit_of(accepted(NAMES)) == ()


def test_a_run_whose_objectives_failed_is_fit() -> None:
    assert unfit_of(accepted(NAMES, result="failed", reasons=("p95 is 200 ms, not below 100",))) == ()


@pytest.mark.parametrize("result", ["incomplete", "interrupted", "error", "invalid"])
def test_a_run_that_did_not_end_well_is_unfit_and_says_why(result: str) -> None:
    (why,) = unfit_of(accepted(NAMES, result=result, reasons=("agent a1 was lost",)))

    assert "agent a1 was lost" in why


def test_a_failed_run_of_an_unfit_generator_is_unfit() -> None:
    assert unfit_of(accepted(NAMES, result="failed", validity="invalid", reasons=("lag p99 80 ms",))) == (
        "the generator was not fit to measure: lag p99 80 ms",
    )


def test_a_rate_that_was_not_reached_makes_a_run_unfit() -> None:
    assert unfit_of(accepted(NAMES, planned_rate=200.0, achieved_rate=199.0)) == ()
    assert unfit_of(accepted(NAMES, planned_rate=200.0, achieved_rate=190.0)) == (
        "only 190.0 of 200.0 iterations/s were started, which is less than 99%",
    )


def test_a_rate_that_the_target_kept_down_does_not() -> None:
    assert unfit_of(accepted(NAMES, planned_rate=200.0, achieved_rate=190.0, limited_by="target")) == ()


def test_a_load_without_a_planned_rate_cannot_miss_it() -> None:
    assert unfit_of(accepted(NAMES, planned_rate=nan, achieved_rate=nan)) == ()


def test_what_else_was_found_is_said() -> None:
    assert unfit_of(accepted(NAMES, faults=("its first fifth is 30 % slower: warm-up left in",))) == (
        "its first fifth is 30 % slower: warm-up left in",
    )


def left_in(*levels: float) -> tuple[str, ...]:
    """Return the faults of a run at a constant rate whose only journey has these mean logarithms in its batches."""
    batches: Any = SimpleNamespace(
        bins=40,
        start_ns=0,
        length_s=8.0,
        rows=lambda kind: [SimpleNamespace(journey="look")],
        levels=lambda row: list(levels),
    )
    summary: Any = SimpleNamespace(adjustments=())
    return faults_of(summary, spec_of(10, 40), batches)


def test_a_first_batch_far_from_the_others_is_a_warm_up_that_was_left_in() -> None:
    assert left_in(9.0, 5.0, 5.01, 5.0, 5.02)[0].startswith("warm-up was left in: look was slower")
    assert left_in(5.0, 5.0, 5.01, 5.0, 5.02) == ()


@pytest.mark.parametrize("levels", [(nan, 5.0, 5.0, 5.0, 5.0), (9.0, 5.0, nan, 5.0, 5.0)])
def test_a_journey_without_iterations_in_one_of_its_batches_is_too_rare_to_be_judged(levels: tuple[float, ...]) -> None:
    """Such as pages in a few browsers: `loadgen compare` of such a run ended with an error of `statistics.stdev`."""
    assert left_in(*levels) == ()

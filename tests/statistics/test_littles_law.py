"""Little's law as a check: exact in a queue that is known, and what it calls a disagreement."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.littles_law import littles_law


def test_an_m_m_1_queue_obeys_the_law() -> None:
    mu, rate = 100.0, 80.0
    in_system, mean_s = rate / (mu - rate), 1 / (mu - rate)

    assert littles_law(in_system, rate, mean_s).off_by == pytest.approx(0)


def test_a_simulated_queue_agrees_and_lost_requests_are_noticed() -> None:
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(1 / 80, 200_000))
    begins = np.empty_like(arrivals)
    free = 0.0
    ends = np.empty_like(arrivals)
    for n, (at, service) in enumerate(zip(arrivals, rng.exponential(1 / 100, len(arrivals)), strict=True)):
        begins[n] = max(at, free)
        ends[n] = free = begins[n] + service
    length = arrivals[-1]
    in_system = float(np.clip(ends, None, length).sum() - arrivals.sum()) / length
    rate, mean_s = len(arrivals) / length, float((ends - arrivals).mean())

    assert littles_law(in_system, rate, mean_s).agrees
    assert not littles_law(in_system, 0.97 * rate, mean_s).agrees


@pytest.mark.parametrize(("in_system", "agrees"), [(10.19, True), (9.81, True), (10.21, False), (9.79, False)])
def test_2_percent_are_allowed(in_system: float, agrees: bool) -> None:
    assert littles_law(in_system, 100, 0.1).agrees is agrees


def test_two_standard_errors_of_a_sampled_number_are_allowed() -> None:
    assert littles_law(10.9, 100, 0.1, standard_error=0.5).agrees
    assert not littles_law(11.1, 100, 0.1, standard_error=0.5).agrees


@pytest.mark.parametrize("values", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan")), (float("inf"), 1, 1)])
def test_values_that_are_not_above_0_are_errors(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        littles_law(*values)

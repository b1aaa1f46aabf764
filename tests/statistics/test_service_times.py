"""The knees of M/G/1 queues, of which the error rates of search depend: closed forms and a long simulation."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from tests.support.service_times import (
    ServiceTimes,
    exponential,
    gamma,
    hyperexponential,
    lognormal,
    mg1_knee,
    mg1_slow_share,
    pareto,
    two_point,
)

LAWS = (exponential(), lognormal(1.5), hyperexponential(1.5), gamma(2), pareto(2.5), two_point(0.02, 10))


@pytest.mark.parametrize("rate", [30.0, 60.0, 90.0])
def test_the_slow_share_of_exponential_services_is_that_of_mm1(rate: float) -> None:
    """P(response > t) = exp(-(mu - lambda) t)."""
    assert mg1_slow_share(exponential(), 0.01, rate, 0.2) == pytest.approx(exp(-(100 - rate) * 0.2), rel=2e-3, abs=1e-6)


def test_the_knee_of_exponential_services_is_that_of_mm1() -> None:
    assert mg1_knee(exponential(), 0.01, 0.5, 0.01) == pytest.approx(100 - log(100) / 0.5, rel=3e-4)


def test_a_limit_below_the_services_themselves_has_no_knee() -> None:
    with pytest.raises(ValueError, match=r"more than 0\.01 of the service times are above the limit"):
        mg1_knee(exponential(), 0.01, 0.02, 0.01)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_law_draws_what_its_tail_promises(law: ServiceTimes) -> None:
    values = law.draw(np.random.default_rng(1), 100_000)
    at = np.array([0.1, 0.5, 1.0, 3.0, 8.0])

    assert values.mean() == pytest.approx(1, rel=0.05)
    assert np.allclose([(values > x).mean() for x in at], law.longer(at), atol=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_slow_share_is_that_of_a_long_simulation(law: ServiceTimes) -> None:
    """Lindley's recursion over 20 million arrivals, of which slow ones come in clusters: its own error is some 3 %."""
    random, rate, limit, count = np.random.default_rng(7), 75.0, 0.2, 20_000_000
    due = np.cumsum(random.exponential(1 / rate, count))
    ended = np.cumsum(law.draw(random, count) * 0.01)
    before = np.concatenate(([0.0], ended[:-1]))
    response = ended + np.maximum.accumulate(due - before) - due

    assert mg1_slow_share(law, 0.01, rate, limit) == pytest.approx(float((response > limit).mean()), rel=0.1)

"""Distributions: their quantiles by textbook, their faults, and that a seed is all that decides."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import exp, inf, log, nan, pi, sqrt
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.distributions import Distribution, empirical, exponential, fixed, lognormal, normal, uniform
from loadgen.errors import UsageError

DRAWS = 20_000


def drawn(one: Distribution, seed: int = 1, count: int = DRAWS) -> list[float]:
    random = Random(seed)
    return sorted(one.draw(random) for _ in range(count))


Z95 = 1.6448536269514722
"""The 95th percentile of the standard normal, from tables."""


@pytest.mark.parametrize(
    ("one", "median", "p95", "mean"),
    [
        (fixed(2.5), 2.5, 2.5, 2.5),
        (uniform(1, 3), 2, 2.9, 2),
        (exponential(3), 3 * log(2), 3 * log(20), 3),
        (lognormal(1.4, 0.8), exp(1.4), exp(1.4 + 0.8 * Z95), exp(1.4 + 0.32)),
        (normal(10, 2), 10, 10 + 2 * Z95, 10),
        (normal(0, 1), 0.6744897501960817, 1.959963984540054, sqrt(2 / pi)),  # half normal: truncated at 0
        (normal(-1, 1, low=None), -1, -1 + Z95, -1),
        (lognormal(0, 0.3) * 2, 2, 2 * exp(0.3 * Z95), 2 * exp(0.045)),
    ],
)
def test_draws_follow_the_distribution(one: Distribution, median: float, p95: float, mean: float) -> None:
    values = drawn(one)
    # 4 standard errors of a quantile's rank: sqrt(q (1 - q) / n) of 20,000.
    for q, wanted in ((0.5, median), (0.95, p95)):
        error = 4 * sqrt(q * (1 - q) / DRAWS)
        low, high = values[int((q - error) * DRAWS)], values[int((q + error) * DRAWS)]
        assert low <= wanted + 1e-9
        assert high >= wanted - 1e-9
    spread = sqrt(fmean((v - mean) ** 2 for v in values) / DRAWS)
    assert abs(fmean(values) - mean) <= 4 * spread + 1e-9
    assert one.mean == pytest.approx(mean, rel=1e-3)


def test_nothing_is_below_the_bound_of_a_normal_and_nothing_heaps_at_it() -> None:
    values = drawn(normal(1, 2, low=0))
    assert values[0] > 0
    assert len(set(values)) == len(values)


def test_empirical_draws_its_values_and_each_as_often() -> None:
    values = drawn(empirical(v for v in (1, 2, 2, 5)))
    assert set(values) == {1, 2, 5}
    assert values.count(2) / DRAWS == pytest.approx(0.5, abs=0.015)
    assert empirical([1, 2, 2, 5]).mean == 2.5
    assert repr(empirical(range(12_000))) == "empirical(12,000 values)"


@given(st.integers(0, 2**64), st.sampled_from([fixed(1), uniform(1, 2), exponential(1), lognormal(0, 1), normal(0, 1)]))
def test_a_draw_takes_one_number_whatever_it_is_drawn_from(seed: int, one: Distribution) -> None:
    ours, others = Random(seed), Random(seed)
    one.draw(ours)
    others.getrandbits(53)
    assert ours.getstate() == others.getstate()


def test_a_draw_is_the_quantile_at_the_generators_number() -> None:
    """By that a run can be repeated on any version of Python."""
    u = (Random(11).getrandbits(53) + 0.5) / 2**53
    assert uniform(0, 1).draw(Random(11)) == u
    assert lognormal(0, 1).draw(Random(11)) == exp(NormalDist().inv_cdf(u))


class Extreme(Random):
    """Gives the least or the greatest number there is."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def getrandbits(self, k: int, /) -> int:
        return self.bits


@pytest.mark.parametrize("bits", [0, 2**53 - 1])
@pytest.mark.parametrize(
    "one", [uniform(0, 1), exponential(1), lognormal(0, 1), normal(0, 1), normal(0, 1, None), empirical([1.0, 2, 3])]
)
def test_the_ends_of_the_generator_give_finite_numbers(one: Distribution, bits: int) -> None:
    assert abs(one.draw(Extreme(bits))) < 10_000


def test_values_are_frozen_and_compare_by_what_they_are() -> None:
    assert lognormal(1, 2) == lognormal(1, 2) != lognormal(1, 3)
    with pytest.raises(FrozenInstanceError):
        lognormal(1, 2).mu = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (uniform(3, 1), "uniform(3, 1) has its lower bound above its upper bound"),
        (exponential(0), "the mean must be above 0"),
        (exponential(-1), "the mean must be above 0"),
        (lognormal(1, -1), "sigma cannot be negative"),
        (lognormal(4_000, 1), "too large for a float"),
        (lognormal(nan, 1), "mu=nan is not a finite number"),
        (normal(1, -1), "sd cannot be negative"),
        (normal(0, 1, low=9), "almost no values above low=9"),
        (normal(0, inf), "sd=inf is not a finite number"),
        (empirical([]), "no values to draw from"),
        (empirical(3), "needs a list of numbers"),  # type: ignore[arg-type]
        (empirical([1, "2"]), "'2' is not a finite number"),  # type: ignore[list-item]
        (empirical([1, nan]), "nan is not a finite number"),
        (fixed("2s"), "x='2s' is not a finite number"),  # type: ignore[arg-type]
        (fixed(True), "x=True is not a finite number"),
        (uniform(1, 2) * inf, "cannot multiply a distribution by inf"),
        (uniform(3, 1) * 2, "has its lower bound above its upper bound"),
    ],
)
def test_what_is_wrong_is_a_fault_with_its_line_and_a_hint_and_drawing_raises_it(
    one: Distribution, message: str
) -> None:
    (fault,) = one.faults
    assert message in fault.message
    assert fault.file == __file__
    assert fault.hint
    with pytest.raises(UsageError, match=Path(__file__).name) as raised:
        one.draw(Random(1))
    assert raised.value.hint == fault.hint


def test_only_a_number_scales() -> None:
    bad: Any = "2"
    with pytest.raises(TypeError):
        uniform(1, 2) * bad
    assert (2 * uniform(1, 2)).draw(Random(1)) == 2 * uniform(1, 2).draw(Random(1))

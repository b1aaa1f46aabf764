"""Positions by chance: of the law that they are said to have, and the same everywhere and for ever."""

from __future__ import annotations

from fractions import Fraction
from math import exp, isnan, log, nan, sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadgen.errors import ProfileError
from loadgen.profiles.spacing import MAX_SHAPE, MIN_SHAPE, Renewal, Spacing, _exp, _log
from tests.support.examples import examples
from tests.support.laws import gamma_cdf, ks

GOLDEN_POISSON = [0.8344395394423678, 0.42390877028900276, 0.1606258943292267, 0.5619446860441677, 1.7799463999702851]
GOLDEN_GAMMA = [0.7123418502794809, 6.956867503404851e-06, 0.002502422037127694, 0.6738692316825547, 0.0902688744596496]
GOLDEN_FAR = [
    "0x1.cf4df9c96911cp-1",
    "0x1.ddf0991a0e83bp+3",
    "0x1.fbcc4c299d578p+11",
    "0x1.dcd7fc4d11d46p+29",
    "0x1.fffffff39d1cbp+52",
]

shapes = st.floats(-3, 6).map(lambda power: 10.0**power)
seeds = st.integers(-(2**70), 2**70)


def spacings(shape: float, seed: int, count: int) -> np.ndarray:
    return np.diff(Renewal(shape, seed).areas(np.arange(count + 1)))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**63])
@pytest.mark.parametrize("shape", [0.25, 0.5, 1.0, 1.5, 4.0, 50.0])
def test_spacings_have_the_gamma_law(shape: float, seed: int) -> None:
    found = spacings(shape, seed, 20_000)
    assert ks(found, lambda x: gamma_cdf(shape, x)) < 1.95
    assert found.mean() == pytest.approx(1, abs=4 / sqrt(20_000 * shape))


def test_spacings_of_shape_1_are_exponential() -> None:
    found = spacings(1.0, 3, 50_000)
    assert ks(found, lambda x: -np.expm1(-x)) < 1.95
    assert found.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("shape", "x", "wanted"),  # scipy.stats.gamma(shape, scale=1/shape).cdf(x), scipy 1.17.1
    [
        (0.25, 0.1, 0.43651791018386915),
        (0.25, 3.0, 0.8999365132844983),
        (1.0, 1.0, 0.6321205588285577),
        (4.0, 0.5, 0.14287653950145296),
        (50.0, 1.2, 0.9155933189063082),
    ],
)
def test_the_law_that_they_are_compared_with_is_scipys(shape: float, x: float, wanted: float) -> None:
    assert gamma_cdf(shape, np.array([x]))[0] == pytest.approx(wanted, abs=1e-12)


def test_a_wrong_law_is_told_from_the_right_one() -> None:
    found = spacings(1.0, 3, 20_000)
    assert ks(found, lambda x: gamma_cdf(1.1, x)) > 1.95
    assert ks(found * 1.05, lambda x: -np.expm1(-x)) > 1.95


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_neighbours_know_nothing_of_each_other_within_a_node_and_across_its_edge(shape: float) -> None:
    found = spacings(shape, 5, 16 * 8_000)
    for lag in (1, 2, 15, 16, 256):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 4 / sqrt(len(found))
    across = found[15::16], found[16::16]
    count = len(across[1])
    assert abs(np.corrcoef(across[0][:count], across[1][:count])[0, 1]) < 4 / sqrt(count)
    assert ks(across[0], lambda x: gamma_cdf(shape, x)) < 1.95


@pytest.mark.parametrize(
    ("shape", "seeds"),
    [(0.25, 100), *(pytest.param(shape, 200, marks=pytest.mark.slow) for shape in (0.25, 1.0, 4.0))],
)
def test_the_first_position_is_that_of_a_process_that_has_always_been_going_on(shape: float, seeds: int) -> None:
    first = np.array([float(Renewal(shape, seed).areas(np.array([0]))[0]) for seed in range(seeds)])
    # Cox: P(R <= x) = the integral of 1 - F up to x, and E R = (1 + CV²)/2.
    x = np.linspace(0, 60, 60_001)
    law = np.concatenate(([0.0], np.cumsum(1 - (gamma_cdf(shape, x)[1:] + gamma_cdf(shape, x)[:-1]) / 2) * 1e-3))
    assert ks(first, lambda at: np.interp(at, x, law)) < 1.95
    assert first.mean() == pytest.approx((1 + 1 / shape) / 2, rel=0.2)


@pytest.mark.parametrize(
    ("shape", "seeds"), [(0.25, 50), *(pytest.param(shape, 150, marks=pytest.mark.slow) for shape in (0.25, 4.0))]
)
def test_up_to_any_area_there_are_as_many_as_the_area_says_on_average(shape: float, seeds: int) -> None:
    for area in (0.5, 3.0, 100.0):
        counts = np.array([Renewal(shape, seed).count_below(area) for seed in range(seeds)])
        assert abs(counts.mean() - area) < 4 * counts.std() / sqrt(len(counts))


@pytest.mark.parametrize("seed", [0, 7])
def test_counts_of_a_poisson_process_have_their_mean_as_variance(seed: int) -> None:
    position = Renewal(1.0, seed).areas(np.arange(100_000))
    for width in (0.1, 1, 20):
        counts = np.bincount((position[position < 90_000] / width).astype(np.int64))
        assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * sqrt(2 / len(counts)))


def test_counts_of_gamma_arrivals_vary_by_cv_squared_over_long_stretches() -> None:
    position = Renewal(0.25, 7).areas(np.arange(200_000))
    counts = np.bincount((position[position < 190_000] / 100).astype(np.int64))
    assert counts.var() / counts.mean() == pytest.approx(4, rel=0.15)


@given(shapes, seeds, st.integers(0, 2**53 - 3_000), st.lists(st.integers(0, 2_999), max_size=20))
@settings(max_examples=examples(40), deadline=None)
def test_any_n_has_the_same_position_however_it_is_asked_for(
    shape: float, seed: int, first: int, picks: list[int]
) -> None:
    block = Renewal(shape, seed).areas(np.arange(first, first + 3_000))
    assert (np.diff(block) >= 0).all()
    process = Renewal(shape, seed)
    for pick in picks:
        assert process.areas(np.array([first + pick]))[0] == block[pick]
    assert process.areas(first + np.array(picks, dtype=np.int64)).tolist() == block[picks].tolist()


@given(shapes, seeds, st.floats(0, 1e15))
@example(1.0, 0, 0.0)
@settings(max_examples=examples(60), deadline=None)
def test_the_count_below_an_area_is_that_of_the_positions_below_it(shape: float, seed: int, area: float) -> None:
    process = Renewal(shape, seed)
    count = process.count_below(area)
    near = np.arange(max(0, count - 2), count + 2)
    assert (process.areas(near) < area).tolist() == (near < count).tolist()
    assert process.count_below(Fraction(area)) == count


def test_a_position_itself_is_not_below_it() -> None:
    process = Renewal(1.0, 7)
    assert [process.count_below(float(at)) for at in process.areas(np.arange(200))] == list(range(200))


def test_seven_is_seven_for_ever() -> None:
    """Who runs an old run again gets its arrivals, on any machine: these must never change."""
    assert spacings(1.0, 7, 5).tolist() == GOLDEN_POISSON
    assert spacings(0.25, 7, 5).tolist() == GOLDEN_GAMMA
    far = Renewal(4.0, 7).areas(np.array([0, 16, 4_096, 10**9, 2**53 - 1]))
    assert [float(at).hex() for at in far] == GOLDEN_FAR


def test_neighbouring_seeds_have_nothing_in_common() -> None:
    a, b = spacings(1.0, 7, 10_000), spacings(1.0, 8, 10_000)
    for lag in range(4):
        assert abs(np.corrcoef(a[lag:], b[: len(b) - lag])[0, 1]) < 0.04
        assert abs(np.corrcoef(b[lag:], a[: len(a) - lag])[0, 1]) < 0.04


def test_log_and_exp_are_those_of_the_library_to_the_last_places() -> None:
    x = np.concatenate(
        (np.random.default_rng(1).random(20_000), 2.0 ** -np.arange(1, 1_000), 1 - 2.0 ** -np.arange(1, 54))
    )
    wanted = np.array([log(one) for one in x])
    assert np.all(np.abs(_log(x) - wanted) <= 2 * np.spacing(np.abs(wanted)))
    y = -np.random.default_rng(2).random(20_000) * 700
    assert np.all(np.abs(_exp(y) / np.array([exp(one) for one in y]) - 1) < 5e-16)
    assert _exp(np.array([0.0, -1e9])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("shape", [0.0, -1.0, MIN_SHAPE / 2, MAX_SHAPE * 2, nan, float("inf")])
def test_a_burstiness_that_is_none_is_refused(shape: float) -> None:
    with pytest.raises(ProfileError, match="cannot have a burstiness") as caught:
        Spacing(shape)
    assert "0.001 to 1e+06" in str(caught.value.faults[0].hint)
    assert isnan(shape) or str(f"{shape:g}") in str(caught.value)


def test_a_spacing_says_what_it_is() -> None:
    assert [one.describe() for one in (Spacing(), Spacing(0.25), Spacing(3.0))] == [
        "Poisson",
        "gamma with CV 2",
        "gamma with CV 0.577",
    ]

"""Estimated counts: known answers of their intervals, verdicts that the error leaves open, and coverage."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, comb, floor, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from loadgen.analysis.attainment.attain import Judgement, attained, judge
from loadgen.analysis.attainment.estimates import bad_range, sampling_spread
from loadgen.analysis.attainment.shown import interval_text
from loadgen.analysis.attainment.slices import CountedBy, Slices, joined, slices_of

WINDOW = (0.0, 3000.0)


def made(good: float, total: float, slices: int = 10, **errors: object) -> Slices:
    """Return slices of 5 minutes with the same estimated counts."""
    return slices_of(300 * np.arange(slices), 300, good, total, estimated=True, **errors)  # type: ignore[arg-type]


def judged(slices: Slices, target: object = 0.99) -> Judgement:
    return judge(slices, target, window=WINDOW)


def test_counts_without_a_known_error_can_have_any_number_of_good_requests() -> None:
    found = judged(made(1000, 1000))

    assert (found.state, found.lower, found.upper) == ("undecided", 0.0, 1.0)
    assert (found.observed.unknown, found.observed.low, found.observed.high) == (10_000, 0.0, 1.0)
    assert (found.minutes_if_good, found.minutes_if_bad) == (None, None)


def test_an_unknown_error_of_few_requests_does_not_leave_a_promise_open() -> None:
    exact, vague = made(999, 1000, 9, low=999, high=999), slices_of([2700], 300, 5, 5, estimated=True)

    found = judged(joined((exact, vague)))

    assert (found.state, found.observed.unknown) == ("kept", 5)
    assert found.lower == pytest.approx(8991 / 9005)


@pytest.mark.parametrize(
    ("low", "high", "state"), [(990, 1000, "kept"), (989, 991, "undecided"), (980, 989, "not kept")]
)
def test_the_bounds_of_an_interpolation_decide_a_promise_or_leave_it_open(low: int, high: int, state: str) -> None:
    found = judged(made((low + high) // 2, 1000, low=low, high=high))

    assert found.state == state
    assert (found.observed.low, found.observed.high) == (low / 1000, high / 1000)
    assert found.observed.is_interpolated


def test_missing_time_adds_to_the_error_of_estimates() -> None:
    slices = made(995, 1000, 9, low=994, high=996)

    found = judged(slices)

    assert found.missing_s == 300
    assert found.lower == pytest.approx(0.8946)
    assert found.upper == pytest.approx(0.9964)
    assert found.observed.low == pytest.approx(0.994)


def test_exact_counts_have_no_interval() -> None:
    found = judged(slices_of(300 * np.arange(10), 300, 990, 1000))

    assert (found.state, found.observed.low, found.observed.high) == ("kept", 0.99, 0.99)
    assert not found.observed.is_interpolated


# -- sampling: the exact binomial interval ---------------------------------------------------------


def binomial_tail(most: int, of: int, share: float) -> float:
    """Return P(X <= most) of a binomial distribution, by its definition."""
    return sum(comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(most + 1))


@pytest.mark.parametrize(("seen", "kept"), [(0, 0.1), (0, 0.5), (3, 0.1), (12, 0.25), (40, 0.5), (7, 0.9)])
def test_the_interval_of_bad_requests_is_that_of_the_binomial_distribution(seen: int, kept: float) -> None:
    fewest, most = (float(one) for one in bad_range(seen / kept, kept))

    # Each number of bad requests within the interval explains the sample in more than 2.5 % of cases, and the next
    # one does not.
    assert binomial_tail(seen, floor(most), kept) >= 0.025 > binomial_tail(seen, floor(most) + 1, kept)
    if seen:
        at_least = [1 - binomial_tail(seen - 1, number, kept) for number in (ceil(fewest), ceil(fewest) - 1)]
        assert at_least[0] >= 0.025 > at_least[1]
    else:
        assert fewest == 0
        assert most == pytest.approx(log(0.025) / log(1 - kept))


def test_a_large_sample_has_the_normal_interval() -> None:
    fewest, most = bad_range(1e6, 0.1)
    half = 1.959963984540054 * np.sqrt(1e6 * 0.9 / 0.1)

    assert (most - 1e6) == pytest.approx(half, rel=5e-3)
    assert (1e6 - fewest) == pytest.approx(half, rel=5e-3)


def test_a_source_that_keeps_everything_has_a_point() -> None:
    fewest, most = bad_range([7.0, 0.0], 1.0)

    assert (list(fewest), list(most)) == ([7.0, 0.0], [7.0, 0.0])


def test_bad_requests_of_unequal_weight_have_the_interval_of_fay_and_feuer() -> None:
    """With a tiny part kept, the binomial distribution is Poisson's, for which they give chi-square quantiles."""
    kept, seen, total = 1e-7, np.array([3.0, 0.0, 8.0]), np.array([100.0, 200.0, 400.0])
    slices = slices_of(
        300 * np.arange(3),
        300,
        (total - seen) / kept,
        total / kept,
        estimated=True,
        low=(total - seen) / kept,
        kept=kept,
        high=(total - seen) / kept,
    )
    y, v, w = (seen / total).sum(), (seen / total**2).sum(), 1 / total.min()
    lower = v / (2 * y) * chi2.ppf(0.025, 2 * y**2 / v)
    upper = (v + w**2) / (2 * (y + w)) * chi2.ppf(0.975, 2 * (y + w) ** 2 / (v + w**2))

    smaller, larger = sampling_spread(slices, CountedBy.RATIO_TIMESLICES)

    assert smaller == pytest.approx(upper - y, rel=1e-5)
    assert larger == pytest.approx(y - lower, rel=1e-5)


def test_a_sample_of_two_parts_is_wider_than_one_of_the_larger_part() -> None:
    spreads = [
        sampling_spread(made(900, 1000, low=900, high=900, kept=kept), CountedBy.OCCURRENCES)
        for kept in (0.5, np.where(np.arange(10) < 5, 0.1, 0.5), 0.1)
    ]

    assert spreads[0] < spreads[1] < spreads[2]
    fewest, most = bad_range(1000.0, 0.1)
    assert spreads[2] == pytest.approx((float(most) - 1000, 1000 - float(fewest)))


def test_the_sampled_part_decides_whether_a_promise_is_open() -> None:
    # 90 bad of 10,000 allow 100. A tenth of them is a sample of 9, and 9 of 10 one of 81.
    vague, sure = (judged(made(991, 1000, low=991, high=991, kept=kept)) for kept in (0.1, 0.9))

    assert (vague.state, vague.observed.kept) == ("undecided", 0.1)
    assert sure.state == "kept"


def test_a_slice_of_a_sample_is_good_only_if_its_interval_is() -> None:
    # 20 of 1,000 are bad. The sample of a tenth has 2 of them, and 5 % may be bad.
    slices = made(980, 1000, low=980, high=980, kept=0.1)

    sure, open_ = (
        judge(slices, 0.5, window=WINDOW, method=CountedBy.TIMESLICES, slice_target=limit) for limit in (0.9, 0.95)
    )

    assert (sure.state, sure.observed.low, sure.observed.high) == ("kept", 1.0, 1.0)
    assert (open_.state, open_.observed.low, open_.observed.high) == ("undecided", 0.0, 1.0)


def test_an_interval_is_rounded_outward() -> None:
    assert interval_text(0.99409, 0.99571, target="0.995") == "99.40 to 99.58 %"
    assert interval_text(0.9941, 0.9958, target="0.995") == "99.41 to 99.58 %"
    assert interval_text(0.0, 1.0, target=0.9) == "0.0 to 100.0 %"


# -- coverage ---------------------------------------------------------------------------------------

CELLS = [
    # requests, bad share, kept part
    (20_000, 0.01, 0.1),
    (20_000, 0.001, 0.1),
    (5_000, 0.001, 0.1),
    (2_000, 0.1, 0.05),
    (20_000, 0.005, 0.5),
    (100_000, 0.0005, 0.01),
    (1_000, 0.5, 0.2),
]


def covered(cell: tuple[int, float, float], count: int, seed: int, method: CountedBy) -> float:
    """Return how often the interval of a sampled day contains its true attainment. Each request is kept by chance."""
    requests, share, kept = cell
    rng = np.random.default_rng(seed)
    slices, inside = 20, 0
    total = rng.multinomial(requests, np.full(slices, 1 / slices), count)
    # Bad requests come in clusters: half of the slices have none.
    bad = rng.binomial(total, np.where(np.arange(slices) % 2, 2 * share, 0.0).clip(max=1))
    seen_bad, seen_good = rng.binomial(bad, kept), rng.binomial(total - bad, kept)
    for n in range(count):
        scaled = np.round((seen_bad[n] + seen_good[n]) / kept)
        good = np.minimum(np.round(seen_good[n] / kept), scaled)
        one = slices_of(300 * np.arange(slices), 300, good, scaled, estimated=True, low=good, high=good, kept=kept)
        truth = attained(slices_of(one.start, 300, total[n] - bad[n], total[n]), method, 0.99).ratio
        found = attained(one, method, 0.99)
        assert found.low is not None
        assert found.high is not None
        assert truth is not None
        inside += found.low - 1e-9 <= truth <= found.high + 1e-9
    return inside / count


def test_the_interval_of_a_sample_contains_the_truth() -> None:
    assert covered(CELLS[0], 300, 1, CountedBy.OCCURRENCES) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("method", CountedBy)
def test_the_interval_of_a_sample_covers_at_least_94_percent(cell: tuple[int, float, float], method: CountedBy) -> None:
    assert covered(cell, 2000, 7, method) >= 0.94


@given(
    st.lists(st.floats(0.001, 10.0), min_size=1, max_size=200),
    st.floats(0.01, 5.0),
    st.floats(1.005, 1.2),
    st.floats(0, 1),
)
def test_counts_at_a_limit_moved_by_a_bucket_contain_the_true_count(
    values: list[float], limit: float, factor: float, within: float
) -> None:
    """The bounds of CloudWatch and Datadog: buckets of a relative width, with any interpolation within a bucket."""
    array = np.array(values)

    def interpolated(at: float) -> float:
        bucket = floor(log(at) / log(factor))
        low, high = factor**bucket, factor ** (bucket + 1)
        below, up_to = (array < low).sum(), (array < high).sum()
        return float(below + within * (up_to - below))

    # A little more than a bucket, as for the edges that binary numbers move.
    moved = factor * (1 + 1e-9)
    truth = int((array <= limit).sum())
    assert interpolated(limit / moved) <= truth <= interpolated(limit * moved) + (array == limit).sum()


def test_the_interval_of_a_promise_does_not_depend_on_how_the_window_is_cut() -> None:
    slices = made(990, 1000, low=985, high=995, kept=0.1)
    coarse = replace(slices.take(slice(0, 5)), good=slices.good[:5] * 2, total=slices.total[:5] * 2)
    coarse = replace(coarse, low=slices.low[:5] * 2, high=slices.high[:5] * 2)

    fine, rough = attained(slices), attained(coarse)

    assert fine.low == pytest.approx(rough.low)
    assert fine.high == pytest.approx(rough.high)

"""The hdrhistogram package is the oracle of the layout and of the rank rule; a sorted list that of censoring."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BugError
from loadgen.measure.histograms.histogram import (
    MAX_NS,
    SLOTS,
    Histogram,
    Value,
    highest_us,
    lowest_us,
    mean_us,
    percentile,
    percentiles,
    slots_of_ns,
)

ORACLE = HdrHistogram(1, 3_600_000_000, 3)
US = st.one_of(
    st.integers(0, 3_600_000_000),
    st.integers(0, 5_000),
    st.integers(0, 31).flatmap(lambda k: st.integers(max(0, 2**k - 2), min(3_600_000_000, 2**k + 2))),
)
VALUES_NS = st.lists(US.map(lambda us: us * 1_000), max_size=60)
Q = st.one_of(st.sampled_from([0.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0]), st.floats(0, 100))


def package_of(values_ns: list[int]) -> HdrHistogram:
    made = HdrHistogram(1, 3_600_000_000, 3)
    for ns in values_ns:
        assert made.record_value((ns + 500) // 1_000)
    return made


def test_layout_is_as_long_as_the_package_says() -> None:
    assert ORACLE.counts_len == SLOTS


@given(st.lists(US, min_size=1))
def test_slot_and_its_edges_are_those_of_the_package(values_us: list[int]) -> None:
    slots = slots_of_ns(np.array(values_us, dtype=np.int64) * 1_000)
    assert slots.tolist() == [ORACLE.get_counts_array_index(us) for us in values_us]
    assert lowest_us(slots).tolist() == [ORACLE.get_lowest_equivalent_value(us) for us in values_us]
    assert highest_us(slots).tolist() == [ORACLE.get_highest_equivalent_value(us) for us in values_us]


def test_every_slot_follows_the_one_before_without_a_gap() -> None:
    slots = np.arange(SLOTS)
    assert (lowest_us(slots[1:]) == highest_us(slots[:-1]) + 1).all()


def test_nanoseconds_are_rounded_half_up_not_cut() -> None:
    assert slots_of_ns(np.array([0, 499, 500, 1_499, 1_500])).tolist() == [0, 0, 1, 1, 2]


def test_longest_value_has_a_slot_and_longer_ones_are_refused() -> None:
    assert slots_of_ns(np.array([MAX_NS])).tolist() == [ORACLE.get_counts_array_index(3_600_000_000)]
    for impossible in (MAX_NS + 500, -1):
        with pytest.raises(BugError, match="must be within"):
            slots_of_ns(np.array([5, impossible]))


def test_no_values_have_no_slots() -> None:
    assert slots_of_ns(np.array([], dtype=np.int64)).tolist() == []


@given(VALUES_NS, Q)
def test_percentiles_are_those_of_the_package(values_ns: list[int], q: float) -> None:
    assert Histogram.of_ns(values_ns).percentile_us(q) == package_of(values_ns).get_value_at_percentile(q)


@given(st.lists(st.integers(1_000_000, MAX_NS), min_size=1, max_size=200), Q)
def test_percentile_is_within_a_thousandth_of_the_raw_value_of_the_same_rank(values_ns: list[int], q: float) -> None:
    rank = max(1, int(q * len(values_ns) / 100 + 0.5))
    raw_us = sorted(values_ns)[rank - 1] / 1_000
    assert abs(Histogram.of_ns(values_ns).percentile_us(q) - raw_us) <= max(1, raw_us / 1_000)


@given(VALUES_NS)
def test_encoding_is_byte_for_byte_that_of_the_package_and_comes_back(values_ns: list[int]) -> None:
    ours = Histogram.of_ns(values_ns)
    assert ours.encode() == package_of(values_ns).encode().decode()
    assert Histogram.decode(ours.encode()) == ours


@given(VALUES_NS, VALUES_NS)
def test_adding_histograms_is_recording_all_their_values(a: list[int], b: list[int]) -> None:
    added = Histogram.of_ns(a)
    added.add_histogram(Histogram.of_ns(b))
    both = Histogram.of_ns(a + b)
    assert added == both
    assert (added.total, added.sum_ns, added.min_ns, added.max_ns) == (
        len(a + b),
        sum(a + b),
        min(a + b, default=None),
        max(a + b, default=None),
    )


@given(VALUES_NS, US)
def test_count_at_most_is_exact_up_to_the_slot_of_the_limit(values_ns: list[int], us: int) -> None:
    slot = int(slots_of_ns(np.array([us * 1_000]))[0])
    expected = sum(int(s) <= slot for s in slots_of_ns(np.array(values_ns, dtype=np.int64)))
    assert Histogram.of_ns(values_ns).count_at_most_us(us) == expected


def test_percentile_is_cached_only_until_something_is_added() -> None:
    histogram = Histogram.of_ns([1_000_000])
    assert histogram.percentile_us(100) == 1_000
    histogram.add(slots_of_ns(np.array([2_000_000])), np.array([1]))
    assert (histogram.percentile_us(100), histogram.total) == (2_000, 2)


def test_histogram_of_another_layout_is_read() -> None:
    other = HdrHistogram(1, 1_000_000, 2)
    for us in (3, 700, 700, 123_456):
        other.record_value(us)
    ours = Histogram.decode(other.encode().decode())
    assert ours.total == 4
    assert ours.percentile_us(100) == pytest.approx(123_456, rel=0.01)


@pytest.mark.parametrize("text", ["", "HISTFAAA", "%%%", "aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxk"])
def test_what_is_no_histogram_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an HdrHistogram"):
        Histogram.decode(text)


# -- censoring ------------------------------------------------------------------------------


@given(VALUES_NS, VALUES_NS, Q, st.randoms(use_true_random=False))
def test_censored_percentile_never_contradicts_the_truth(observed, bounds, q, random) -> None:  # type: ignore[no-untyped-def]
    """Whatever the censored values really were, an exact answer is right and a bound is below the truth."""
    answer = percentile(Histogram.of_ns(observed), Histogram.of_ns(bounds), q)
    if not observed and not bounds:
        assert answer is None
        return
    assert answer is not None
    for _ in range(5):
        late = [ns + random.choice((1, 10**6, 10**9, 10**15)) for ns in bounds]
        rank = max(1, int(q * len(observed + late) / 100 + 0.5))
        truth_us = sorted(observed + late)[rank - 1] / 1_000
        if answer.is_bound:
            assert answer.us <= truth_us
        else:
            assert abs(answer.us - truth_us) <= max(1, truth_us / 1_000)


@given(VALUES_NS, VALUES_NS, Q)
def test_percentile_is_exact_when_the_rank_is_below_every_bound(fast, slow, q) -> None:  # type: ignore[no-untyped-def]
    """Censored values above the quantile cannot move it."""
    observed = [ns // 4 for ns in fast]
    bounds = [ns // 4 + MAX_NS // 2 for ns in slow]
    rank = max(1, int(q * len(observed + bounds) / 100 + 0.5))
    answer = percentile(Histogram.of_ns(observed), Histogram.of_ns(bounds), q)
    if answer is not None:
        assert answer.is_bound == (rank > len(observed))


def test_quantile_among_time_outs_is_shown_as_more_than_the_deadline() -> None:
    ok = Histogram.of_ns([1_000_000] * 90)
    timeouts = Histogram.of_ns([60_000_000_000] * 10)
    assert percentile(ok, timeouts, 90) == Value(1_000, False)
    p99 = percentile(ok, timeouts, 99)
    assert p99 is not None
    assert p99.is_bound
    assert p99.us == pytest.approx(60_000_000, rel=0.001)
    assert p99.us <= 60_000_000


def test_quick_failures_that_are_censored_hide_how_slow_the_rest_would_have_been() -> None:
    """Cut off after 1 ms, the truth may be anything: not even the median is known."""
    answer = percentile(Histogram.of_ns([5_000_000] * 50), Histogram.of_ns([1_000_000] * 51), 50)
    assert answer is not None
    assert answer.is_bound


def test_greatest_of_censored_values_is_bounded_by_the_exact_one() -> None:
    assert percentile(Histogram(), Histogram.of_ns([60_000_300_000]), 100) == Value(60_000_300, True)


def test_mean_is_exact_or_a_bound() -> None:
    ok, late = Histogram.of_ns([1_000_000, 2_000_500]), Histogram.of_ns([3_000_000])
    assert mean_us(ok) == Value(1_500.25, False)
    assert mean_us(ok, late) == Value(6_000_500 / 3_000, True)
    assert mean_us(Histogram(), Histogram()) is None


def test_many_percentiles_at_once_are_the_single_ones() -> None:
    ok, late = Histogram.of_ns([1_000_000 * n for n in range(1, 100)]), Histogram.of_ns([50_000_000] * 7)
    qs = (0, 50, 90, 95, 99, 100)
    assert percentiles(ok, late, qs) == [percentile(ok, late, q) for q in qs]

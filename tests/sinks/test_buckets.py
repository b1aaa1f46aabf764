"""Counts by bucket are exact: each edge is the end of an HdrHistogram slot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.histograms.histogram import MAX_NS, Histogram
from loadgen.sinks.buckets import BUCKETS, EDGES_S, EDGES_US, in_buckets


def test_each_edge_is_the_highest_value_of_its_slot_in_the_package_s_own_layout() -> None:
    package = HdrHistogram(1, 3_600_000_000, 3)

    assert [package.get_highest_equivalent_value(us) for us in EDGES_US] == list(EDGES_US)


def test_edges_ascend_and_reach_from_10_us_to_an_hour() -> None:
    assert list(EDGES_US) == sorted(set(EDGES_US))
    assert EDGES_US[0] == 10
    assert EDGES_US[-1] >= MAX_NS // 1_000
    assert len(EDGES_S) == BUCKETS - 1 == 68


def test_from_100_us_to_100_s_a_bucket_is_about_28_percent_wide_at_most() -> None:
    inner = [us for us in EDGES_US if 100 <= us <= 100_100_000]

    assert len(inner) == 61
    assert max(b / a for a, b in pairwise(inner)) < 1.285  # 1.6 / 1.25, and what rounding adds


@given(st.lists(st.integers(0, MAX_NS), max_size=60))
def test_as_many_values_are_below_an_edge_as_are_counted_below_it(values: list[int]) -> None:
    counts = in_buckets(Histogram.of_ns(values))

    us = [(value + 500) // 1_000 for value in values]
    assert np.cumsum(counts).tolist() == [sum(one <= edge for one in us) for edge in EDGES_US] + [len(values)]


def test_what_is_known_by_a_bound_only_is_above_every_edge() -> None:
    counts = in_buckets(Histogram.of_ns([1_000_000]), censored=3)

    assert counts[-1] == 3
    assert counts.sum() == 4

"""Blocks of time, how often they are drawn, and intervals from them."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.resample import blocks_of, interval, intervals, multiplicities


def test_long_run_has_blocks_of_30_seconds() -> None:
    blocks = blocks_of(np.arange(0, 900, 3.0))
    assert blocks.length_s == 30
    assert blocks.count == 30
    assert blocks.of_trace[:12].tolist() == [0] * 10 + [1] * 2


def test_short_run_has_twenty_blocks() -> None:
    blocks = blocks_of(np.linspace(5, 45, 400))
    assert blocks.length_s == 2
    assert blocks.count == pytest.approx(20, abs=1)


def test_blocks_are_never_shorter_than_a_second() -> None:
    assert blocks_of([0.0, 1.5, 3.0]).length_s == 1
    assert blocks_of([4.0, 4.0]).count == 1
    assert blocks_of([]).count == 0


def test_blocks_without_traces_do_not_count() -> None:
    blocks = blocks_of([0.0, 10.0, 890.0])
    assert blocks.count == 2
    assert blocks.of_trace.tolist() == [0, 0, 1]


def test_traces_of_a_block_are_drawn_together_and_each_resample_has_as_many_blocks() -> None:
    blocks = blocks_of(np.arange(0, 900, 10.0))
    drawn = multiplicities(blocks, 3, times=50)
    assert drawn.shape == (50, 90)
    for row in drawn:
        assert len({(block, times) for block, times in zip(blocks.of_trace, row, strict=True)}) == 30
    assert (drawn[:, ::3].sum(axis=1) == 30).all()


def test_same_seed_draws_the_same() -> None:
    blocks = blocks_of(np.arange(0, 900, 10.0))
    assert (multiplicities(blocks, 3, times=5) == multiplicities(blocks, 3, times=5)).all()
    assert (multiplicities(blocks, 3, times=5) != multiplicities(blocks, 4, times=5)).any()


def test_interval_contains_its_value_and_is_wider_with_fewer_blocks() -> None:
    draws = np.random.default_rng(1).normal(10, 1, 2_000)
    wide, narrow = interval(10.0, draws, 5), interval(10.0, draws, 100)
    assert wide[0] < narrow[0] < 10 < narrow[1] < wide[1]
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.984, rel=0.05)


def test_interval_is_unknown_with_one_block() -> None:
    assert interval(1.0, np.ones(100), 1) == (-np.inf, np.inf)


def test_resamples_without_a_cohort_are_left_out() -> None:
    rows = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 2.0]])
    low, high = intervals(np.array([2.0, 2.0]), rows, 100)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()

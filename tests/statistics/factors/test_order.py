"""Order of runs: random within blocks, reproducible, with control runs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.factors.design import full, latin
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.order import control_cell, run_order
from tests.statistics.sweep_rates import factors_of

DESIGN = full(factors_of(2, 3))


@given(repeats=st.integers(1, 6), seed=st.integers(0, 10**9), every=st.none() | st.integers(1, 9))
def test_each_block_is_one_whole_replicate_and_controls_come_every_n_runs(
    repeats: int, seed: int, every: int | None
) -> None:
    order = run_order(DESIGN, repeats, seed, control_every=every)
    assert [one.number for one in order] == list(range(1, len(order) + 1))
    real = [one for one in order if not one.is_control]
    assert Counter((one.block, one.cell) for one in real) == {
        (b, c): 1 for b in range(1, repeats + 1) for c in range(6)
    }
    assert all(one.block == one.repeat for one in real)
    assert [one.block for one in order] == sorted(one.block for one in order)
    if every is None:
        assert real == list(order)
    else:
        controls = [at for at, one in enumerate(order) if one.is_control]
        assert controls[0] == 0
        assert controls[-1] == len(order) - 1
        assert all(b - a - 1 == every for a, b in pairwise(controls[:-1]))
        assert [order[at].repeat for at in controls] == list(range(1, len(controls) + 1))
    assert order == run_order(DESIGN, repeats, seed, control_every=every)


def test_order_differs_between_seeds_and_between_blocks() -> None:
    orders = {tuple(one.cell for one in run_order(DESIGN, 3, seed)) for seed in range(20)}
    assert len(orders) == 20
    cells = [one.cell for one in run_order(DESIGN, 2, 1)]
    assert cells[:6] != cells[6:]


def test_every_cell_comes_first_about_equally_often() -> None:
    first = Counter(run_order(DESIGN, 1, seed)[0].cell for seed in range(600))
    assert set(first) == set(range(6))
    assert max(first.values()) < 150


@pytest.mark.parametrize(("blocks", "sizes"), [(1, [24]), (2, [12, 12]), (4, [6] * 4), (8, [3] * 8)])
def test_blocks_hold_several_replicates_or_parts_of_one(blocks: int, sizes: list[int]) -> None:
    order = run_order(DESIGN, 4, 1, blocks=blocks)
    assert list(Counter(one.block for one in order).values()) == sizes
    assert Counter((one.cell, one.repeat) for one in order) == {(c, r): 1 for c in range(6) for r in range(1, 5)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"repeats": 0}, "invalid number of repeats 0"),
        ({"repeats": 3, "blocks": 2}, "2 blocks do not divide 3 repeats of 6 cells evenly"),
        ({"repeats": 1, "blocks": 7}, "7 blocks do not divide"),
        ({"repeats": 1, "blocks": 0}, "0 blocks do not divide"),
        ({"repeats": 1, "control_every": 0}, "invalid control_every 0"),
    ],
)
def test_impossible_order_is_refused(arguments: dict[str, int], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        run_order(DESIGN, seed=1, **arguments)


def test_control_cell_is_the_reference_or_the_one_nearest_to_the_middle() -> None:
    assert control_cell(DESIGN) == 0
    design = latin([Factor("x", (), 0, 10), Factor("y", (), 0, 10)], 15, 2)
    away = [(float(x) - 5) ** 2 + (float(y) - 5) ** 2 for x, y in design.cells]
    assert away[control_cell(design)] == min(away)

"""Chance from a counter: SplitMix64's own numbers, one at a time and by the array."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgen.splitmix import GOLDEN, MASK, mixed, mixed_each

PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]
"""The first outputs of SplitMix64 for the seed 1234567, as other implementations test themselves by (Rosetta Code)."""


def test_the_numbers_are_those_of_other_implementations() -> None:
    assert [mixed(1234567 + (n + 1) * GOLDEN) for n in range(5)] == PUBLISHED


@given(st.lists(st.integers(0, MASK), max_size=20))
def test_an_array_has_the_same_numbers(values: list[int]) -> None:
    assert mixed_each(np.array(values, dtype=np.uint64)).tolist() == [mixed(value) for value in values]


@given(st.integers(-(2**80), 2**80))
def test_of_an_integer_the_lower_64_bits_count(value: int) -> None:
    assert mixed(value) == mixed(value & MASK)

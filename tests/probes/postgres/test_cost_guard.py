"""The cost guard: a part that takes more than 2 % of its period becomes rarer, and frequent again when it is cheap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres.cost_guard import CostGuard
from loadgen.units import NS_PER_MS as MS
from loadgen.units import NS_PER_S as S


def test_a_part_that_takes_more_than_two_percent_of_its_period_gets_twice_the_period() -> None:
    guard = CostGuard(10 * S)

    assert not guard.took(0, 200 * MS)
    assert guard.every_ns == 10 * S
    assert guard.took(0, 201 * MS)
    assert guard.every_ns == 20 * S
    assert not guard.is_due(17 * S)
    assert guard.is_due(18 * S)  # a tenth of the period early is fine


def test_a_part_that_is_cheap_again_gets_its_first_period_back() -> None:
    guard = CostGuard(S)
    for _ in range(3):
        guard.took(0, S)

    assert guard.every_ns == 8 * S
    for _ in range(5):
        guard.took(0, MS)
    assert guard.every_ns == S


def test_a_part_is_due_at_first() -> None:
    assert CostGuard(S).is_due(0)


@given(st.lists(st.integers(0, 600 * S), max_size=50))
def test_the_period_stays_within_its_bounds(costs_ns: list[int]) -> None:
    guard = CostGuard(S)
    for cost_ns in costs_ns:
        before = guard.every_ns
        assert guard.took(0, cost_ns) == (guard.every_ns > before)
        assert S <= guard.every_ns <= 64 * S

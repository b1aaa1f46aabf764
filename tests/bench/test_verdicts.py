"""What a section says of its figures."""

from __future__ import annotations

from typing import Any

import pytest

from bench import memory, pacing

KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("bytes_each", "says"),
    [
        (9 * KIB, "At most 9.0 KiB a user, budget 9 KiB: held."),
        (10 * KIB, "At most 10.0 KiB a user, budget 9 KiB: NOT HELD."),
    ],
)
def test_the_memory_of_a_user_is_what_came_with_all_of_them(bytes_each: int, says: str) -> None:
    assert memory.verdict({1000: (60 * MIB, 60 * MIB + 1000 * bytes_each)}) == says


def test_ten_thousand_users_are_judged_by_the_whole_process() -> None:
    within = memory.verdict({10_000: (60 * MIB, 200 * MIB)})
    beyond = memory.verdict({10_000: (60 * MIB, 201 * MIB)})

    assert "10,000 users in 200 MiB, budget 200 MiB: held." in within
    assert "10,000 users in 201 MiB, budget 200 MiB: NOT HELD." in beyond


def test_memory_that_was_not_measured_is_not_judged() -> None:
    assert memory.verdict({}) == ""


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({}, "held"),
        ({"iterations": 75_075}, "held"),
        ({"iterations": 75_076}, "NOT HELD"),
        ({"iterations": 74_900}, "NOT HELD"),
        ({"lag_us": {"min": -0.001, "p99": 100.0}}, "NOT HELD"),
        ({"lag_us": {"min": 20.0, "p99": 2000.0}}, "held"),
        ({"lag_us": {"min": 20.0, "p99": 2001.0}}, "NOT HELD"),
    ],
)
def test_pacing_is_held_by_rate_by_none_early_and_by_lag(figures: dict[str, Any], says: str) -> None:
    measured = {"iterations": 75_000, "lag_us": {"min": 20.0, "p99": 100.0}, **figures}

    assert pacing.verdict(pacing.Case("nothing", 5_000), 15, measured) == f"nothing at 5,000/s: {says}."

"""A/A controls: when the gate is said to be healthy, and when not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from scipy import stats

from loadgen.analysis.proportion_interval import clopper_pearson
from loadgen.history.gate.aa_test_health import Health, State, health_of
from loadgen.history.store.stored_run import Event


@pytest.mark.parametrize(("seen", "of"), [(0, 7), (1, 24), (5, 5), (3, 100), (0, 1)])
def test_the_interval_of_a_share_is_scipys_exact_one(seen: int, of: int) -> None:
    exact = stats.binomtest(seen, of).proportion_ci(0.95, method="exact")
    assert clopper_pearson(seen, of) == pytest.approx((exact.low, exact.high))


def test_of_nothing_a_share_may_be_anything() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("seen", "of", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_what_is_no_share_is_refused(seen: int, of: int, level: float) -> None:
    with pytest.raises(ValueError, match=r"not a proportion|level"):
        clopper_pearson(seen, of, level=level)


def test_one_failure_of_24_is_healthy_and_says_how_sure_that_is() -> None:
    health = of_outcomes(["PASS"] * 20 + ["FAIL"] + ["PASS"] * 3)
    assert health.state is State.HEALTHY
    assert health.said() == "the gate is healthy: 1 of 24 A/A controls failed, 0.11 to 21 %"


def test_a_gate_whose_controls_fail_far_more_often_than_promised_is_not() -> None:
    health = of_outcomes(["PASS"] * 16 + ["FAIL"] * 6)
    assert health.state is State.ILL
    assert "not healthy: 6 of 22" in health.said()


def test_three_failures_of_three_are_enough_to_know() -> None:
    assert of_outcomes(["FAIL"] * 3).state is State.ILL


def test_few_controls_say_nothing() -> None:
    assert of_outcomes(["PASS"] * 9).state is State.UNKNOWN
    assert "no A/A control" in of_outcomes([]).said()


def test_a_gate_that_can_mostly_not_tell_is_not_healthy() -> None:
    health = of_outcomes(["INCONCLUSIVE"] * 8 + ["PASS"] * 6)
    assert health.state is State.BLIND
    assert "8 of 14 A/A controls were inconclusive" in health.said()


def test_invalid_controls_do_not_count_and_are_counted_apart() -> None:
    health = of_outcomes(["PASS"] * 12 + ["INVALID"] * 3)
    assert (health.controls, health.invalid) == (12, 3)
    assert health.state is State.HEALTHY
    assert len(health.newest) == 15


def test_only_controls_count_and_those_of_the_key_that_is_asked_for() -> None:
    events = [control(1, "FAIL", "a"), control(2, "PASS", "b"), Event("verdict", at(3), details={"outcome": "FAIL"})]
    assert health_of(events).controls == 2
    assert health_of(events, "b").failed == 0


def test_the_newest_control_is_the_first_and_grows_old() -> None:
    health = of_outcomes(["PASS", "FAIL"])
    assert health.newest[0].details["outcome"] == "FAIL"
    assert not health.is_stale(datetime(2026, 11, 22, tzinfo=UTC))
    assert health.is_stale(datetime(2026, 12, 31, tzinfo=UTC))


def of_outcomes(outcomes: Sequence[str]) -> Health:
    """Oldest first."""
    return health_of([control(n + 1, outcome) for n, outcome in enumerate(outcomes)])


def control(day: int, outcome: str, key: str = "a") -> Event:
    return Event("control", at(day), "me", ("run",), details={"outcome": outcome, "key": key})


def at(day: int) -> str:
    return f"2026-11-{day:02d}T03:00:00Z"

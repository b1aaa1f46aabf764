"""What a change is worth: the known answer, its interval, and the claims that are refused."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.recommending.impact import (
    Elasticity,
    ImpactError,
    Span,
    failures_impact,
    impact_of,
    seconds_lost,
    total,
)

OURS = Elasticity(100, Span(-0.007, -0.011, -0.003), "own A/B test, 2026-05")
SLOWER = Span(86, 71, 102)
MONTE_CARLO = 45
"""Two standard errors of a quantile of 2.5 % of 10,000 draws, here."""


def test_the_known_answer_comes_out() -> None:
    found = impact_of(12.40, 41_200, SLOWER, OURS, "EUR")

    assert found.point == pytest.approx(3_075.5, abs=0.1)
    assert found.low == pytest.approx(1_303, abs=2)
    assert found.high == pytest.approx(4_998, abs=2)


def test_the_interval_does_not_hang_on_the_seed() -> None:
    ends = [
        (one.low, one.high) for seed in range(8) for one in [impact_of(12.40, 41_200, SLOWER, OURS, "EUR", seed=seed)]
    ]

    assert np.ptp([low for low, _ in ends]) < 3 * MONTE_CARLO
    assert np.mean([low for low, _ in ends]) == pytest.approx(1_303, abs=MONTE_CARLO)
    assert np.mean([high for _, high in ends]) == pytest.approx(4_998, abs=MONTE_CARLO)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert impact_of(1, 1_000, SLOWER, OURS, "EUR") == impact_of(1, 1_000, SLOWER, OURS, "EUR")


def test_an_effect_beyond_the_tested_range_is_clipped_and_said() -> None:
    tested = Elasticity(100, OURS.change, "own A/B test", tested_ms=50)

    found = impact_of(12.40, 41_200, SLOWER, tested, "EUR")

    assert found.point == pytest.approx(12.40 * 41_200 * 0.5 * 0.007)
    assert "tested up to 50 ms only" in found.said()
    within = impact_of(12.40, 41_200, SLOWER, Elasticity(100, OURS.change, "own", tested_ms=200), "EUR")
    assert within.notes == ()


def test_a_speed_up_smaller_than_its_interval_saves_nothing() -> None:
    found = impact_of(12.40, 41_200, Span(-5, -12, 3), OURS, "EUR")

    assert not found.is_known
    assert "may not exist" in found.said()


def test_a_certain_speed_up_is_worded_as_a_gain() -> None:
    assert "to be gained" in impact_of(12.40, 41_200, Span(-50, -60, -40), OURS, "EUR").said()


def test_a_published_elasticity_is_a_scenario() -> None:
    published = Elasticity(100, OURS.change, "Zalando", "published")

    assert (
        impact_of(12.40, 41_200, SLOWER, published, "EUR")
        .said()
        .startswith("if our customers behaved as in that study (Zalando)")
    )


def test_no_sentence_names_a_cause() -> None:
    for change in (SLOWER, Span(-5, -12, 3), Span(-50, -60, -40), Span(5, -1, 11)):
        said = impact_of(12.40, 41_200, change, OURS, "EUR").said()
        assert "because" not in said
        assert "lost" not in said


def test_journeys_of_the_same_purchase_are_not_added() -> None:
    cart = impact_of(12.40, 41_200, SLOWER, OURS, "EUR", purchase="order")
    pay = impact_of(12.40, 40_000, SLOWER, OURS, "EUR", purchase="order")
    refund = impact_of(3, 1_000, SLOWER, OURS, "EUR", purchase="refund")

    with pytest.raises(ImpactError, match="order would be counted twice"):
        total([cart, pay])
    with pytest.raises(ImpactError, match="only if each names its purchase"):
        total([cart, impact_of(1, 1, SLOWER, OURS, "EUR")])
    added = total([cart, refund])
    assert added.point == pytest.approx(cart.point + refund.point)
    assert added.low == pytest.approx(cart.low + refund.low)


def test_currencies_are_not_converted() -> None:
    one, other = (impact_of(1, 1_000, SLOWER, OURS, of, purchase=of) for of in ("EUR", "USD"))

    with pytest.raises(ImpactError, match="EUR and USD cannot be added"):
        total([one, other])


def test_a_scenario_is_not_added_to_a_measurement() -> None:
    published = Elasticity(100, OURS.change, "Zalando", "published")
    measured = impact_of(1, 1_000, SLOWER, OURS, "EUR", purchase="a")

    with pytest.raises(ImpactError, match="scenarios"):
        total([measured, impact_of(1, 1_000, SLOWER, published, "EUR", purchase="b")])
    with pytest.raises(ImpactError, match="no figure"):
        total([measured, impact_of(1, 1_000, Span(-5, -12, 3), OURS, "EUR", purchase="b")])
    with pytest.raises(ImpactError, match="nothing to add"):
        total([])


def test_failures_count_with_the_share_of_users_who_give_up() -> None:
    found = failures_impact(500, 12.40, Span(0.4, 0.2, 0.6), "EUR")

    assert (found.point, found.low, found.high) == pytest.approx((2_480, 1_240, 3_720))
    with pytest.raises(ValueError, match="must be 0 to 1"):
        failures_impact(500, 12.40, Span(0.4, 0.2, 1.6), "EUR")
    with pytest.raises(ValueError, match="0 or more"):
        failures_impact(-1, 12.40, Span(0.4, 0.2, 0.6), "EUR")


def test_without_a_value_there_are_seconds() -> None:
    assert seconds_lost(41_200, SLOWER).point == pytest.approx(3_543.2)


@pytest.mark.parametrize(("value", "volume"), [(0, 1), (-1, 1), (nan, 1), (inf, 1), (1, -1), (1, nan)])
def test_values_out_of_range_are_refused(value: float, volume: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        impact_of(value, volume, SLOWER, OURS, "EUR")


def test_descriptions_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="low <= point <= high"):
        Span(1, 2, 3)
    with pytest.raises(ValueError, match="above 0"):
        Elasticity(0, OURS.change, "own")
    with pytest.raises(ValueError, match="needs its source"):
        Elasticity(100, OURS.change, " ")
    with pytest.raises(ValueError, match="above 0"):
        Elasticity(100, OURS.change, "own", tested_ms=0)
    with pytest.raises(ValueError, match="too few"):
        impact_of(1, 1, SLOWER, OURS, "EUR", draws=10)
    with pytest.raises(ValueError, match="currency"):
        impact_of(1, 1, SLOWER, OURS, "")


@given(st.floats(0.01, 1e4), st.floats(0, 1e7), st.floats(1, 500), st.floats(0, 100))
def test_the_point_lies_within_its_interval(value: float, volume: float, slower: float, half: float) -> None:
    found = impact_of(value, volume, Span(slower, slower - half, slower + half), OURS, "EUR", draws=1_000)

    assert found.low <= found.point <= found.high

"""Burn rates: published factors, firing over a ledger, exhaustion, and the budget of slow-downs."""

from __future__ import annotations

from fractions import Fraction as F
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.attainment.slices import Slices, slices_of
from loadgen.analysis.burn.exhaustion import exhaustion, seconds_until_spent
from loadgen.analysis.burn.firing import burn_at, fires, too_fine
from loadgen.analysis.burn.low_traffic import detection_minutes, slowest_warning, wrong_alerts_a_month
from loadgen.analysis.burn.performance_budget import drift, measured, spent_by_decisions
from loadgen.analysis.burn.rules import (
    DATADOG_7D,
    DATADOG_90D,
    DAY_S,
    HOUR_S,
    SLOTH_7D,
    BurnRule,
    burn_of,
    cannot_fire,
    detection_s,
    largest_burn,
    pyrra_rules,
    rules_of_shares,
    rules_of_window,
    standard_rules,
)
from loadgen.programme.promises.checks import standard_factors

STANDARD = standard_rules(30 * DAY_S)


@pytest.mark.parametrize(
    ("rules", "factors"),
    [
        (STANDARD, ["14.4", "6", "3", "1"]),
        (standard_rules(28 * DAY_S), ["13.44", "5.6", "2.8", F(14, 15)]),
        (rules_of_shares(SLOTH_7D, 7 * DAY_S), ["13.44", "3.5", "1.4", "0.98"]),
        (rules_of_shares(DATADOG_7D, 7 * DAY_S), ["16.8", "5.6", "2.8"]),
        (rules_of_shares(DATADOG_90D, 90 * DAY_S), ["21.6", "10.8", "4.5"]),
        (pyrra_rules(28 * DAY_S), ["14", "7", "2", "1"]),
    ],
)
def test_factors_are_exactly_the_published_ones(rules: tuple[BurnRule, ...], factors: list[str | F]) -> None:
    assert [rule.factor for rule in rules] == [F(factor) for factor in factors]


@pytest.mark.parametrize(
    ("days", "factors"),
    [
        (90, ["43.2", "18", "9", "3"]),
        (28, ["13.44", "5.6", "2.8", F(14, 15)]),
        (27, ["13.44", "3.5", "1.4", "0.98"]),
        (7, ["13.44", "3.5", "1.4", "0.98"]),
        (3, ["13.44", "3.5", "1.4", "0.98"]),
        (1, ["13.44", "3.5"]),
        (0.25, []),
    ],
)
def test_short_windows_have_the_factors_of_sloth_that_fire_before_the_budget_is_gone(
    days: float, factors: list[str | F]
) -> None:
    assert [rule.factor for rule in rules_of_window(int(days * DAY_S))] == [F(factor) for factor in factors]


def test_checks_and_status_use_the_same_factors() -> None:
    for hours in (1, 6, 23, 24, 72, 168, 671, 672, 720, 2160):
        exact = [float(rule.factor) for rule in rules_of_window(hours * HOUR_S)]
        assert [float(one) for one in standard_factors(hours * HOUR_S)] == pytest.approx(exact, rel=1e-12)


def test_windows_are_the_published_ones() -> None:
    assert [(rule.long_s, rule.short_s) for rule in STANDARD] == [
        (3600, 300), (21_600, 1800), (86_400, 7200), (259_200, 21_600),
    ]  # fmt: skip
    assert [(rule.long_s, rule.short_s) for rule in pyrra_rules(28 * DAY_S)] == [
        (3600, 300), (21_600, 1800), (86_400, 7200), (345_600, 21_600),
    ]  # fmt: skip
    assert [(rule.long_s, rule.short_s) for rule in pyrra_rules(14 * DAY_S)] == [
        (1800, 120), (10_800, 900), (43_200, 3600), (172_800, 10_800),
    ]  # fmt: skip


def test_a_full_outage_at_three_nines_is_found_after_the_published_minutes() -> None:
    assert [(detection_s(rule, 0.999) or inf) / 60 for rule in STANDARD] == pytest.approx(
        [0.864, 2.16, 4.32, 4.32], abs=1e-12
    )
    assert detection_s(STANDARD[0], 0.999, 0.01) is None


def test_a_rule_above_the_largest_burn_cannot_fire() -> None:
    assert largest_burn(0.9) == 10
    assert cannot_fire(STANDARD, 0.9) == STANDARD[:1]
    assert detection_s(STANDARD[0], 0.9) is None
    assert cannot_fire(STANDARD, 0.999) == ()


def test_burn_is_the_bad_ratio_over_the_allowed_one() -> None:
    assert burn_of(1, 1000, 0.999) == 1.0
    assert burn_of(0, 0, 0.999) is None
    assert burn_of(5, 5, "0.9") == pytest.approx(10)


def minutes_of(bad: np.ndarray, rate: float = 60.0) -> Slices:
    return slices_of(60 * np.arange(len(bad)), 60, rate - bad, rate)


def test_a_rule_fires_at_the_computed_minute_and_stops_with_its_short_window() -> None:
    bad = np.zeros(400)
    bad[120:150] = 60  # a full outage of half an hour
    firing = np.flatnonzero(fires(minutes_of(bad), STANDARD[0], 0.999))
    assert firing[0] == 120  # .864 minutes: at the end of the first minute
    assert firing[-1] == 153  # five minutes after the last bad minute its window is clean
    assert len(firing) == 34


def test_a_burn_of_exactly_the_factor_fires() -> None:
    bad = np.full(60, 0.0144 * 6000)
    assert burn_at(minutes_of(bad, 6000), STANDARD[0], 0.999, 3600).is_firing
    assert not burn_at(minutes_of(bad * 0.999, 6000), STANDARD[0], 0.999, 3600).is_firing


def test_the_long_window_alone_does_not_fire() -> None:
    bad = np.zeros(120)
    bad[60:65] = 60
    found = burn_at(minutes_of(bad), STANDARD[0], 0.999, 90 * 60)
    assert found.long_burn is not None
    assert found.long_burn > 14.4
    assert (found.short_burn, found.is_firing, found.is_held_back) == (0.0, False, False)


def test_too_few_bad_events_hold_a_rule_back() -> None:
    bad = np.zeros(60)
    bad[59] = 1
    found = burn_at(minutes_of(bad, 1), STANDARD[0], 0.999, 3600)
    assert (found.is_firing, found.is_held_back, found.bad) == (False, True, 1.0)


def test_a_window_without_traffic_has_no_burn_and_does_not_fire() -> None:
    found = burn_at(slices_of([0], 60, 0, 0), STANDARD[0], 0.999, 60)
    assert (found.long_burn, found.short_burn, found.is_firing) == (None, None, False)


def test_slices_wider_than_the_short_window_are_refused() -> None:
    hourly = slices_of(HOUR_S * np.arange(72), HOUR_S, 99, 100)
    assert too_fine(STANDARD, hourly) == STANDARD[:2]
    with pytest.raises(ValueError, match="use rules with longer windows"):
        fires(hourly, STANDARD[0], 0.999)
    assert fires(hourly, STANDARD[3], 0.99).any()
    blind = burn_at(hourly, STANDARD[0], 0.99, 72 * HOUR_S)
    assert (blind.is_blind, blind.is_firing, blind.short_burn) == (True, False, None)


def test_a_ticket_needs_ten_bad_events_and_a_page_five() -> None:
    assert [rule.least_bad for rule in STANDARD] == [5, 5, 10, 10]
    assert [BurnRule(F(1), 600, 60, word).least_bad for word in ("Ticket", "page", "critical")] == [10, 5, 5]
    assert BurnRule(F(1), 600, 60, least_bad=1).least_bad == 1


def test_a_rule_names_the_time_that_was_not_observed() -> None:
    slices = minutes_of(np.zeros(30))
    assert burn_at(slices, STANDARD[0], 0.999, 1800).missing_s == 1800
    assert burn_at(slices, STANDARD[0], 0.999, 9000).missing_s == 3600
    assert burn_at(slices, STANDARD[0], 0.999, 9000).short_burn is None


def test_low_traffic_pages_wrongly_and_five_bad_events_prevent_it() -> None:
    pages = STANDARD[:2]
    assert wrong_alerts_a_month(pages, 0.999, 10, least_bad=1) == pytest.approx(3.3, abs=1.0)
    assert wrong_alerts_a_month(pages, 0.999, 100, least_bad=1) == pytest.approx(1.8, abs=0.7)
    assert wrong_alerts_a_month(pages, 0.999, 10) <= 0.1
    assert wrong_alerts_a_month(pages, 0.999, 100) <= 0.1


@pytest.mark.slow
def test_low_traffic_rates_over_many_months() -> None:
    pages, ticket = STANDARD[:2], STANDARD[3:]
    assert wrong_alerts_a_month(pages, 0.999, 10, least_bad=1, months=480) == pytest.approx(3.3, abs=0.5)
    assert wrong_alerts_a_month(pages, 0.999, 100, least_bad=1, months=480) == pytest.approx(1.8, abs=0.2)
    assert wrong_alerts_a_month(ticket, 0.999, 100, least_bad=5, months=480) == pytest.approx(2.4, abs=0.7)
    assert wrong_alerts_a_month(ticket, 0.999, 100, months=480) == pytest.approx(0.2, abs=0.25)
    assert all(wrong_alerts_a_month(pages, 0.999, rate, months=480) <= 0.1 for rate in (10, 100, 1000))


def test_five_bad_events_cost_minutes_of_detection() -> None:
    page = STANDARD[0]
    assert detection_minutes(page, 0.999, 10).mean == pytest.approx(33, rel=0.1)
    assert detection_minutes(page, 0.999, 10, least_bad=1).median == pytest.approx(4, rel=0.1)
    assert detection_minutes(page, 0.999, 100).mean == pytest.approx(3, rel=0.1)
    assert detection_minutes(page, 0.999, 100, least_bad=1).median == pytest.approx(1, rel=0.1)
    assert detection_minutes(page, 0.999, 1000) == detection_minutes(page, 0.999, 1000, least_bad=1)


def test_detection_agrees_with_a_simulation_of_arrivals() -> None:
    rng = np.random.default_rng(5)
    times = np.sort(rng.exponential(6, (20_000, 5)).cumsum(axis=1)[:, 4])
    found = detection_minutes(STANDARD[0], 0.999, 10)
    assert times.mean() == pytest.approx(found.mean, rel=0.02)
    assert float(np.median(times)) == pytest.approx(found.median, rel=0.02)


def test_a_page_that_comes_late_is_warned_about() -> None:
    assert slowest_warning(STANDARD, 0.999, 10) == (
        "at 10 requests/h a full outage pages after some 30 minutes instead of 6, because a page needs 5 bad events"
    )
    assert "no page can fire" in slowest_warning(STANDARD, 0.999, 0.5)
    assert slowest_warning(STANDARD, 0.999, 1000) == ""


def steady(days: int, burn: float, target: float = 0.999) -> Slices:
    allowed = 1 - target
    total = np.full(days * 288, 10_000.0)
    return slices_of(300 * np.arange(days * 288), 300, total * (1 - burn * allowed), total)


def test_bad_requests_leave_a_rolling_window_and_stay_in_a_calendar_window() -> None:
    rolling = seconds_until_spent(steady(30, 0.9), 0.999, 2.0, now=30 * DAY_S, rolling_s=30 * DAY_S)
    assert (rolling or 0) / DAY_S == pytest.approx(0.1 * 30 / 1.1, rel=1e-6)  # 2.727 d
    calendar = seconds_until_spent(steady(27, 1.0), 0.999, 2.0, now=27 * DAY_S, calendar=(0, 30 * DAY_S))
    assert (calendar or 0) / DAY_S == pytest.approx(1.5, rel=1e-6)


def test_a_burn_below_1_never_spends_a_rolling_budget() -> None:
    assert seconds_until_spent(steady(30, 0.5), 0.999, 0.99, now=30 * DAY_S, rolling_s=30 * DAY_S) is None
    assert seconds_until_spent(steady(30, 1.5), 0.999, 0.0, now=30 * DAY_S, rolling_s=30 * DAY_S) == 0.0


def test_exhaustion_is_a_range_of_two_recent_burns() -> None:
    slices = steady(30, 0.5)
    bad = slices.bad.copy()
    bad[-72:] *= 8  # the last 6 h burn 4, and the last 3 d (72 * 4 + 792 * 0.5) / 864
    found = exhaustion(
        slices_of(slices.start, 300, slices.total - bad, slices.total), 0.999, now=30 * DAY_S, rolling_s=30 * DAY_S
    )
    assert found.burn_6h == pytest.approx(4.0)
    assert found.burn_3d == pytest.approx(684 / 864)
    assert found.text == "in 4 days at the higher of the recent burns, not at the lower"
    assert exhaustion(steady(30, 0.5), 0.999, now=30 * DAY_S, rolling_s=30 * DAY_S).text == "not at this rate"
    assert exhaustion(steady(30, 1.1), 0.999, now=30 * DAY_S, rolling_s=30 * DAY_S).text == "spent"
    assert exhaustion(slices_of([0], 60, 0, 0), 0.999, now=60, rolling_s=DAY_S).text == "no traffic"


@given(st.floats(0, 0.99), st.floats(1.01, 50))
def test_a_rolling_window_lasts_as_its_net_burn_allows(before: float, burn: float) -> None:
    found = seconds_until_spent(steady(7, before), 0.999, burn, now=7 * DAY_S, rolling_s=7 * DAY_S)
    assert found == pytest.approx((1 - before) * 7 * DAY_S / (burn - before), rel=1e-4, abs=1)


def test_five_accepted_regressions_of_2_percent_overspend_a_budget_of_10_percent() -> None:
    assert spent_by_decisions([1.02] * 5).spent == pytest.approx(5 * log(1.02) / log(1.10))
    assert round(spent_by_decisions([1.02] * 5).spent, 3) == 1.039


def test_half_of_an_improvement_is_given_back() -> None:
    assert spent_by_decisions([1.1, 1 / 1.1]).spent == pytest.approx(0.5)


def test_drift_is_what_nobody_accepted() -> None:
    latest = measured(log(1.08), log(1.06), log(1.10))
    found = drift(latest, spent_by_decisions([1.02]))
    assert found.ratio == pytest.approx(1.08 / 1.02)
    assert found.is_certain
    assert not drift(latest, spent_by_decisions([1.07])).is_certain
    assert drift(measured(0.0, -0.01, 0.01), spent_by_decisions([1.1, 1 / 1.1])).ratio == pytest.approx(1.0)


def test_a_performance_budget_is_within_beyond_or_between() -> None:
    assert measured(log(1.05), log(1.02), log(1.08)).is_within
    assert measured(log(1.2), log(1.11), log(1.3)).is_beyond
    between = measured(log(1.1), log(1.05), log(1.15))
    assert (between.is_within, between.is_beyond) == (False, False)
    assert exp(between.spent * log(1.1)) == pytest.approx(1.1)


def test_invalid_values_are_named() -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        spent_by_decisions([1.0], limit=0)
    with pytest.raises(ValueError, match="finite ratio above 0"):
        spent_by_decisions([0.0])
    with pytest.raises(ValueError, match="short window"):
        BurnRule.of_share("0.02", 30 * DAY_S, HOUR_S, HOUR_S)
    with pytest.raises(ValueError, match="either rolling_s or calendar"):
        seconds_until_spent(steady(1, 0), 0.999, 1, now=DAY_S)

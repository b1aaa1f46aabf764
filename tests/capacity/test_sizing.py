"""Sizing: the formula, the loss of a zone, ranges of all inputs, prices, forecasts, and studies as a source."""

from __future__ import annotations

from datetime import date
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.capacity.sizing.capacity_source import capacity_of
from loadgen.capacity.sizing.estimate import Inputs, estimate
from loadgen.capacity.sizing.forecast import Forecast, Week, crossing, read_forecast, weeks_missing
from loadgen.capacity.sizing.need import all_whole_up, instances_needed, left_after_zone_loss, whole_up, with_zone_loss
from loadgen.capacity.sizing.prices import price_of
from loadgen.capacity.sizing.ranges import Range, parse_growth, parse_number, parse_range
from loadgen.capacity.sizing.size_study import Question, size_study
from loadgen.errors import ScenarioError, UsageError
from loadgen.studies.files import as_csv, as_json
from loadgen.studies.page import as_page
from loadgen.units import parse_rate

KNOWN = Inputs(Range.exact(2000.0), Range.exact(230.0), Range.exact(0.2), Range.exact(1.25), 3)
UNSURE = Inputs(
    Range(1800.0, 2000.0, 2400.0), Range(210.0, 230.0, 250.0), Range(0.1, 0.2, 0.3), Range.exact(1.25), 3,
    Range(0.16, 0.17, 0.19),
)  # fmt: skip


def test_the_known_example_needs_14_and_21_in_three_zones() -> None:
    found = estimate(KNOWN)
    assert (found.need, found.total, found.left) == (14, 21, 14)
    assert instances_needed(2000, 0.2, 1.25, 230) == 14
    assert with_zone_loss(14, 3) == 21
    assert left_after_zone_loss(15, 3) == 10  # need + 1 is not enough


@given(st.integers(1, 10_000), st.integers(2, 20))
def test_any_zone_may_be_lost_and_no_smaller_even_number_would_do(need: int, zones: int) -> None:
    total = with_zone_loss(need, zones)
    assert total % zones == 0
    assert left_after_zone_loss(total, zones) >= need
    assert left_after_zone_loss(total - zones, zones) < need


def test_rounding_of_floats_adds_no_instance() -> None:
    assert 100 * (1 + 0.1) / 110 > 1
    assert instances_needed(100, 0.1, 1.0, 110) == 1
    assert instances_needed(100, 0.1, 1.0, 109.99) == 2
    values = np.array([10.000000000000002, 10.0001, 9.9999999999999, 0.3])
    assert all_whole_up(values).tolist() == [whole_up(float(one)) for one in values] == [10, 11, 10, 1]


@given(st.floats(0.5, 1e7), st.floats(-0.9, 9), st.floats(1, 5), st.floats(0.5, 1e5))
def test_the_need_carries_the_peak_and_one_less_does_not(
    peak: float, growth: float, headroom: float, one: float
) -> None:
    need = instances_needed(peak, growth, headroom, one)
    wanted = peak * (1 + growth) * headroom
    assert need * one >= wanted * (1 - 2e-9)
    assert need == 1 or (need - 1) * one < wanted


def test_invalid_numbers_are_refused_by_the_formula() -> None:
    for bad in ((0, 0.2, 1.25, 230), (2000, -1, 1.25, 230), (2000, 0, 0.9, 230), (2000, 0, 1, 0)):
        with pytest.raises(ValueError, match="must be above 0"):
            instances_needed(*bad)
    with pytest.raises(ValueError, match="nothing is left"):
        with_zone_loss(14, 1)


def test_exact_inputs_have_an_exact_range() -> None:
    found = estimate(KNOWN)
    assert found.range == (21, 21, 21)
    assert (found.carries, found.moves) == (1.0, ())


def test_the_plan_takes_the_low_end_of_the_capacity_and_the_draws_all_inputs() -> None:
    found = estimate(UNSURE)
    assert found.need == ceil(2000 * 1.2 * 1.25 / 210) == 15
    assert found.total == 24
    low, middle, high = found.range
    assert low < middle == 21 < high
    assert found.carries > 0.99
    assert estimate(UNSURE) == found  # seeded


def test_the_input_that_moves_the_answer_most_is_first() -> None:
    found = estimate(UNSURE)
    assert [one.name for one in found.moves] == ["peak", "capacity", "growth"]
    peak = found.moves[0]
    assert peak.at_low == pytest.approx(1800 * 1.2 * 1.25 / 230)
    assert peak.at_high == pytest.approx(2400 * 1.2 * 1.25 / 230)
    assert (peak.low, peak.high) == (18, 24)


def test_draws_have_their_low_and_high_as_the_ends_of_95_percent() -> None:
    drawn = Range(1800.0, 2000.0, 2400.0).draws(np.random.default_rng(1).standard_normal(100_000))
    low, middle, high = np.quantile(drawn, (0.025, 0.5, 0.975))
    assert (low, middle, high) == pytest.approx((1800, 2000, 2400), rel=0.01)


def test_a_month_and_1000_requests_have_their_cost() -> None:
    inputs = Inputs(KNOWN.peak, KNOWN.capacity, KNOWN.growth, KNOWN.headroom, 3, Range.exact(0.17))
    cost = estimate(inputs).cost
    assert cost is not None
    assert cost.month.point == pytest.approx(21 * 0.17 * 730)
    assert cost.per_1000.point == pytest.approx(21 * 0.17 / (2400 * 3600) * 1000)
    assert (cost.is_at_peak, cost.rate) == (True, 2400)
    unsure = estimate(UNSURE).cost
    assert unsure is not None
    assert unsure.per_1000.low < unsure.per_1000.point < unsure.per_1000.high
    assert unsure.month == Range(24 * 0.16 * 730, 24 * 0.17 * 730, 24 * 0.19 * 730)


def test_a_dependency_that_ends_below_the_peak_caps_the_result() -> None:
    inputs = Inputs(KNOWN.peak, KNOWN.capacity, KNOWN.growth, KNOWN.headroom, 3, limits={
        "psp": Range.exact(300.0), "search": Range.exact(5000.0)
    })  # fmt: skip
    found = estimate(inputs)
    assert found.limit is not None
    assert (found.limit.name, found.limit.instances, found.limit.is_below_peak) == ("psp", 2, True)
    study = size_study(Question(inputs, "--capacity"))
    assert study.result == "failed"
    assert (
        study.headline
        == "no number of instances serves 2,400/s: psp serves at most 300/s, which 2 instances already serve"
    )


def test_a_range_is_one_number_or_two_or_three_and_takes_the_last_unit() -> None:
    assert parse_range("230/s", parse_rate) == Range.exact(230)
    assert parse_range("1800..2400/s", parse_rate) == Range(1800, 2100, 2400)
    assert parse_range("60..90..120/m", parse_rate) == Range(1, 1.5, 2)
    assert parse_range("60/m..2/s", parse_rate) == Range(1, 1.5, 2)
    assert parse_range("10..30%", parse_growth) == Range(0.1, 0.2, 0.3)
    assert parse_range("1.1..1.5", parse_number) == Range(1.1, 1.3, 1.5)


@pytest.mark.parametrize("text", ["", "..", "1..2..3..4", "1..", "3..2", "1..3..2", "x", "9" * 200])
def test_an_invalid_range_is_an_error_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid|must rise|too long"):
        parse_range(text, parse_rate)


def test_a_growth_of_20_without_a_unit_is_ambiguous() -> None:
    assert parse_growth("20%") == parse_growth("0.2") == 0.2
    assert parse_growth("-5%") == -0.05
    with pytest.raises(ValueError, match=r'"20" can mean 20 % or 20 times; write 20%, or 2000%'):
        parse_growth("20")


PRICES = (
    b'{"format": 1, "as_of": "2026-07-20", "source": "AWS price list, us-east-1", "usd_per_hour": {"c7i.large": 0.089}}'
)


def test_a_price_comes_from_the_list_of_its_region() -> None:
    price = price_of(PRICES, "prices.json", "c7i.large", "us-east-1", date(2026, 8, 1))
    assert (price.per_hour, price.currency, price.warnings) == (Range.exact(0.089), "USD", ())


def test_a_list_of_another_region_is_refused() -> None:
    with pytest.raises(UsageError, match="has prices of us-east-1, not of eu-west-1"):
        price_of(PRICES, "prices.json", "c7i.large", "eu-west-1", date(2026, 8, 1))
    with pytest.raises(UsageError, match="does not say to which region"):
        price_of(PRICES.replace(b"us-east-1", b"list"), "prices.json", "c7i.large", "eu-west-1", date(2026, 8, 1))


@pytest.mark.parametrize(
    ("today", "said"),
    [(date(2026, 10, 18), ""), (date(2026, 10, 19), "91 days old (2026-07-20)"), (date(2026, 7, 1), "in the future")],
)
def test_prices_older_than_90_days_are_reported(today: date, said: str) -> None:
    warnings = price_of(PRICES, "prices.json", "c7i.large", "", today).warnings
    assert bool(warnings) == bool(said)
    assert said in "".join(warnings)


@pytest.mark.parametrize("price", [b"0", b"-1", b'"x"', b"[]", b"[2, 1]", b"true", b"1e999"])
def test_a_price_that_is_not_above_0_is_refused(price: bytes) -> None:
    with pytest.raises(UsageError, match=r"invalid price of c7i.large|not a list of prices"):
        price_of(PRICES.replace(b"0.089", price), "prices.json", "c7i.large", "", date(2026, 8, 1))


FORECAST = "week,low,point,high\n2026-W30,1800/s,2000/s,2300/s\n2026-07-29,1850,2060,2400\n2026-W33,2000,2400,2900\n"


def test_a_forecast_has_weeks_as_names_or_dates_and_reports_missing_ones() -> None:
    weeks, has_ranges = read_forecast("\ufeff" + FORECAST, "peak.csv")
    assert has_ranges
    assert [week.name for week in weeks] == ["2026-W30", "2026-W31", "2026-W33"]
    assert weeks[1].peak == Range(1850, 2060, 2400)
    assert weeks_missing(weeks) == 1
    assert Forecast(weeks, "peak.csv").highest.name == "2026-W33"


def test_a_year_with_53_weeks_goes_on_to_week_1() -> None:
    weeks, _ = read_forecast("week,low,point,high\n2026-W53,1,2,3\n2027-W01,1,2,3\n", "peak.csv")
    assert weeks_missing(weeks) == 0


def test_all_errors_of_a_forecast_are_reported_with_their_lines() -> None:
    text = "week,low,point,high\n2026-W60,1,2,3\n2026-W31,3,2,1\n2026-W31,0,x,3\n2026-W30,1,2\n2026-W29,1,2,3\n"
    with pytest.raises(ScenarioError) as caught:
        read_forecast(text, "peak.csv")
    places = [(fault.line, fault.message.partition(" ")[0]) for fault in caught.value.faults]
    assert places == [(2, "invalid"), (3, "low,"), (4, "invalid"), (4, "the"), (5, "3"), (6, "2026-W29")]


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n", "week,point,low\n2026-W30,1,1\n", "week,low,point,high\n"])
def test_a_file_that_is_no_forecast_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="week, low, point"):
        read_forecast(text, "peak.csv")


@given(st.text('20W-16,.;"\n/s\x00', max_size=60))
def test_any_text_is_a_forecast_or_an_error(text: str) -> None:
    try:
        weeks, _ = read_forecast(f"week,point\n{text}", "peak.csv")
    except ScenarioError:
        return
    assert weeks


def _rising(start: float, by: float, count: int = 20) -> list[Week]:
    return [
        Week(date.fromordinal(date(2026, 7, 20).toordinal() + 7 * n), Range.exact(start + by * n)) for n in range(count)
    ]


def test_the_week_in_which_a_forecast_is_above_the_capacity_is_exact_for_exact_inputs() -> None:
    found = crossing(_rising(1000, 100), lambda one: one * 10, Range.exact(155.0), draws=100, seed=1)
    assert found.plan is not None
    assert found.plan.name == "2026-W36"  # 1,600 > 1,550
    assert found.earliest == found.middle == found.latest == found.plan
    assert found.share == 1


def test_the_week_is_a_range_where_inputs_are() -> None:
    found = crossing(_rising(1000, 100), lambda one: one * 10, Range(130.0, 155.0, 180.0), draws=4000, seed=1)
    assert found.plan is not None
    assert found.earliest is not None
    assert found.latest is not None
    assert found.plan.name == "2026-W34"
    assert (found.earliest.name, found.latest.name) == ("2026-W34", "2026-W39")
    never = crossing(_rising(1000, 1), lambda one: one * 10, Range.exact(155.0), draws=100, seed=1)
    assert (never.plan, never.latest, never.share) == (None, None, 0)


FACTS: dict[str, Any] = {"capacity": {"low": 210.0, "point": 230.0, "high": 250.0, "is_extrapolated": False}}


def test_the_capacity_of_a_study_has_its_interval() -> None:
    found = capacity_of("capacity find", "decided", FACTS, "C-12")
    assert (found.range, found.warnings) == (Range(210, 230, 250), ())
    wider = {"capacity": FACTS["capacity"] | {"level": 0.9}}
    assert capacity_of("capacity find", "decided", wider, "C-12").range == Range(210, 230, 250, 0.9)


def test_an_interval_of_90_percent_has_wider_draws() -> None:
    normal = np.random.default_rng(1).standard_normal(100_000)
    drawn = Range(210.0, 230.0, 250.0, 0.9).draws(normal)
    assert np.quantile(drawn, (0.05, 0.95)) == pytest.approx((210, 250), rel=0.01)


def test_a_search_that_is_not_enough_for_a_purchase_says_so() -> None:
    facts = FACTS | {"is_enough_for_a_purchase": False, "is_confirmed": False}
    one, other = capacity_of("capacity find", "decided", facts, "C-12").warnings
    assert "repeat it before you buy" in one
    assert "was not confirmed" in other


def test_the_peak_of_a_curve_is_a_capacity_with_a_warning() -> None:
    facts = {"axis": "concurrency", "peak_throughput": 1884.0, "peak_throughput_interval": [1769.0, 2052.0]}
    found = capacity_of("capacity fit", "decided", facts, "C-3")
    assert found.range == Range(1769, 1884, 2052)
    assert "which may miss an objective" in found.warnings[0]
    with pytest.raises(UsageError, match="no peak seen up to 64"):
        capacity_of(
            "capacity fit",
            "not decided",
            facts | {"peak_throughput": None, "why_no_peak": "no peak seen up to 64"},
            "C-3",
        )
    with pytest.raises(UsageError, match="depends on their number"):
        capacity_of("capacity fit", "decided", facts | {"axis": "instances"}, "C-3")
    with pytest.raises(UsageError, match="no interval above 0"):
        capacity_of("capacity fit", "decided", facts | {"peak_throughput_interval": [1769.0, None]}, "C-3")


def test_an_extrapolated_capacity_is_refused() -> None:
    for extrapolated in (True, None):
        facts = {"capacity": FACTS["capacity"] | {"is_extrapolated": extrapolated}}
        with pytest.raises(UsageError, match="extrapolated: the target was never loaded so high"):
            capacity_of("capacity fit", "decided", facts, "C-12")


@pytest.mark.parametrize("low", [None, 0, -1, "210", True, float("nan"), 260])
def test_a_capacity_without_an_interval_is_refused(low: object) -> None:
    with pytest.raises(UsageError, match="no interval above 0"):
        capacity_of("capacity find", "decided", {"capacity": FACTS["capacity"] | {"low": low}}, "C-12")


def test_a_study_without_a_capacity_or_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="C-12 has no capacity: its result is not decided"):
        capacity_of("capacity find", "not decided", {}, "C-12")
    with pytest.raises(UsageError, match="of kind sweep, which has no capacity"):
        capacity_of("sweep", "decided", FACTS, "C-12")


def test_one_zone_is_warned_about_and_no_zone_is_stated() -> None:
    one, none = (
        size_study(Question(Inputs(KNOWN.peak, KNOWN.capacity, zones=zones), "--capacity")) for zones in (1, None)
    )
    assert any(line.startswith("one zone: nothing is left") for line in one.lines)
    assert any(line.startswith("no --zones") for line in none.lines)
    assert one.headline == "9 instances for 2,000/s, without the loss of a zone"


def test_the_study_has_the_same_figures_in_all_forms() -> None:
    weeks, _ = read_forecast(FORECAST, "peak.csv")
    inputs = Inputs(weeks[2].peak, UNSURE.capacity, headroom=UNSURE.headroom, zones=3, price=UNSURE.price)
    study = size_study(Question(inputs, "C-12", Forecast(weeks, "<b>peak.csv"), 20))
    page, table = as_page(study).decode(), as_csv(study).decode()
    assert study.facts["instances"] == 24
    assert study.facts["crossing"]["plan"] == "2026-W33"
    assert "24 instances in 3 zones" in page
    assert "What moves the answer most" in page
    assert "Forecast against capacity" in page
    assert "<b>peak.csv" not in page
    assert "answer,instances,18,24,24,\r\n" in table
    assert b'"instances": 24' in as_json(study)

"""The share that is sampled follows a rate of the fleet, and rises while an objective is breached."""

from __future__ import annotations

from math import log2
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.tracing.breaches import Breaches
from loadgen.engine.tracing.share import AdaptiveShare, threshold_of
from loadgen.measure.deltas.sampling_counts import MIXED, SamplingCounts, added_up
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.objectives.terms import Objective

S = 1_000_000_000
KEY = SeriesKey("request", "shop", None, "GET /", OK, "response")


def interval(
    share: AdaptiveShare, decisions: int, random: Random, *, is_breached: bool = False, seconds: float = 1.0
) -> int:
    """Make decisions, end the interval, and return how many were sampled. The rows must have the same numbers."""
    sampled = 0
    for _ in range(decisions):
        threshold = share.draw()
        if random.getrandbits(24) >= threshold.rejected:
            share.count_sampled()
            sampled += 1
    rows = share.turn(round(seconds * S), is_breached=is_breached)
    assert sum(one.decisions for one in rows) == decisions
    assert sum(one.sampled for one in rows) == sampled
    return sampled


@settings(max_examples=50)
@given(st.floats(0, 1))
def test_a_threshold_rejects_as_many_ids_as_its_probability_says(share: float) -> None:
    found = threshold_of(share)
    assert found.probability == 1 - found.rejected / 2**24
    assert found.probability == pytest.approx(share, abs=2**-24)
    assert (found.probability > 0) is (share > 0)
    assert int(found.digits.replace("g", "f"), 16) == min(found.rejected, 2**24 - 1) or found.digits == "g"
    if found.digits != "g":
        assert found.text.ljust(6, "0") == found.digits


def test_after_some_intervals_a_worker_samples_its_part_of_the_rate() -> None:
    random, share = Random(1), AdaptiveShare(per_s=10.0)
    for _ in range(5):
        interval(share, 400, random)
    found = [interval(share, 400, random) for _ in range(50)]
    assert sum(found) / 50 == pytest.approx(10, abs=4 * (10 / 50) ** 0.5)


def test_a_fleet_of_unequal_workers_samples_the_rate_together() -> None:
    """Parts of 1, 2 and 5 of 8 of the load; intervals of 0.5 s. The load doubles in the middle."""
    random = Random(2)
    fleet = [(AdaptiveShare(per_s=20 * part / 8), part) for part in (1, 2, 5)]
    found = []
    for number in range(120):
        load = 300 if number < 60 else 600
        found.append(sum(interval(one, load * part // 16, random, seconds=0.5) for one, part in fleet))
    assert sum(found[20:]) / 50 == pytest.approx(20, rel=0.12)


def test_if_fewer_come_than_the_rate_all_are_sampled_from_the_first_one_on() -> None:
    random, share = Random(3), AdaptiveShare(per_s=20.0)
    assert [interval(share, 15, random) for _ in range(5)] == [15] * 5


def expected(share: AdaptiveShare, decisions: int) -> float:
    """Make decisions, end the interval, and return how many are sampled on average."""
    for _ in range(decisions):
        share.draw()
    return sum(one.decisions * (1 - one.rejected / 2**24) for one in share.turn(S, is_breached=False))


@pytest.mark.parametrize("decisions", [100, 1_000, 20_000])
def test_the_first_interval_samples_little_more_than_the_rate(decisions: int) -> None:
    found = expected(AdaptiveShare(per_s=20.0), decisions)
    assert 20 <= found <= 20 * (1 + log2(decisions / 20) / 2) + 1


def test_at_1000_decisions_a_second_the_first_interval_samples_76_for_a_rate_of_20() -> None:
    assert expected(AdaptiveShare(per_s=20.0), 1_000) == pytest.approx(76, abs=1.5)


@pytest.mark.parametrize("burst", [4, 64])
def test_a_sudden_burst_samples_little_more_than_the_rate(burst: int) -> None:
    share = AdaptiveShare(per_s=20.0)
    for _ in range(8):
        expected(share, 100)
    assert 20 <= expected(share, 100 * burst) <= 20 * (2 + log2(burst))


def test_a_worker_with_a_part_below_one_a_second_samples_sometimes() -> None:
    random, share = Random(6), AdaptiveShare(per_s=0.05)
    found = [interval(share, 10, random) for _ in range(2_000)]
    assert sum(found) == pytest.approx(100, rel=0.4)
    assert max(found) <= 3


def test_a_boost_is_the_least_share_while_an_objective_is_breached() -> None:
    share = AdaptiveShare(share=0.01, boost=0.2)
    assert share.now == threshold_of(0.01)
    share.turn(S, is_breached=True)
    assert share.now == threshold_of(0.2)
    share.turn(S, is_breached=False)
    assert share.now == threshold_of(0.01)


def test_a_boost_holds_against_a_rate_also_within_the_interval() -> None:
    random, share = Random(7), AdaptiveShare(per_s=1.0, boost=0.2)
    interval(share, 500, random)
    share.turn(S, is_breached=True)
    assert sum(interval(share, 500, random, is_breached=True) for _ in range(20)) == pytest.approx(2_000, rel=0.1)
    interval(share, 500, random)
    assert sum(interval(share, 500, random) for _ in range(50)) < 120


def test_a_new_part_of_the_load_changes_the_rate() -> None:
    random, share = Random(8), AdaptiveShare(per_s=10.0)
    for _ in range(5):
        interval(share, 400, random)
    share.per_s = 40.0
    interval(share, 400, random)
    assert sum(interval(share, 400, random) for _ in range(50)) / 50 == pytest.approx(40, rel=0.15)


def test_after_an_interval_without_decisions_a_worker_starts_again() -> None:
    random, share = Random(9), AdaptiveShare(per_s=5.0)
    for decisions in (0, 0, 0, 3, 3):
        assert interval(share, decisions, random) == decisions


# -- rows ----------------------------------------------------------------------------------------

ROWS = st.lists(
    st.integers(0, 2**24).flatmap(
        lambda rejected: st.integers(1, 50).flatmap(
            lambda n: st.integers(0, n).map(lambda sampled: SamplingCounts(rejected, n, sampled))
        )
    ),
    max_size=90,
)


@settings(max_examples=30)
@given(ROWS)
def test_rows_add_up_to_the_same_numbers_within_their_limit(rows: list[SamplingCounts]) -> None:
    found = added_up(rows)
    assert len(found) <= 64
    assert sum(one.decisions for one in found) == sum(one.decisions for one in rows)
    assert sum(one.sampled for one in found) == sum(one.sampled for one in rows)
    for one in found:
        if one.rejected != MIXED:
            assert one.decisions == sum(row.decisions for row in rows if row.rejected == one.rejected)


# -- breaches ------------------------------------------------------------------------------------


def objective(**changes: object) -> Objective:
    given = {"kind": "percentile", "text": "p(99) < 100", "limit": 100, "q": 99.0, "request": "GET /"} | changes
    return Objective(**given)  # type: ignore[arg-type]


def test_more_slow_ones_than_the_percentile_allows_are_a_breach() -> None:
    breaches = Breaches([objective()])
    assert not breaches.learn([(KEY, [50] * 990 + [200] * 10)])
    assert breaches.learn([(KEY, [50] * 90 + [200] * 10)])
    assert breaches.learn([(KEY, [50] * 100)])  # of the last 30 intervals together
    for _ in range(30):
        last = breaches.learn([(KEY, [50] * 100)])
    assert not last


def test_two_slow_ones_are_no_breach_of_a_percentile_and_one_is_of_a_maximum() -> None:
    assert not Breaches([objective()]).learn([(KEY, [50, 200, 200])])
    assert Breaches([objective()]).learn([(KEY, [200, 200, 200])])
    assert Breaches([objective(kind="maximum", q=0.0)]).learn([(KEY, [50, 200])])


def test_other_rows_other_regions_and_objectives_without_a_tail_are_not_looked_at() -> None:
    other = SeriesKey("request", "shop", None, "GET /x", OK, "response")
    assert not Breaches([objective()]).learn([(other, [200] * 10)])
    assert not Breaches([objective(region="eu")], "us").learn([(KEY, [200] * 10)])
    assert not Breaches([objective(q=50.0)]).learn([(KEY, [200] * 10)])
    assert Breaches([objective(region="eu")], "eu").learn([(KEY, [200] * 10)])


def test_a_long_series_is_judged_by_some_of_its_values() -> None:
    values = [200 if n % 20 == 0 else 50 for n in range(100_003)]
    Random(1).shuffle(values)
    assert Breaches([objective(q=90.0)]).learn([(KEY, values)]) is False
    assert Breaches([objective(q=99.0)]).learn([(KEY, values)]) is True

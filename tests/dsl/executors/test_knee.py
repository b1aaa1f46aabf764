"""What is known of the knee after some stays: known answers of queues, and what few or clustered results may say."""

from __future__ import annotations

from math import exp, log

import pytest

from loadgen.dsl.executors.knee_estimate import find_knee
from loadgen.dsl.executors.rate_results import Aim, RateTally, Stay
from loadgen.measure.objectives.steering_observation import RUNGS, Part
from tests.support.queues import Targeted, dm1, fixed, mm1

AIM = Aim("p(99) < 500ms", 0.01, 0.5)


def stay_at(target: Targeted, rate_per_s: float, seconds: int, seed: int = 1) -> Stay:
    queue = target.queue(seed)
    stay = Stay(rate_per_s)
    for k in range(seconds + 30):
        look = queue.look(rate_per_s)
        if k >= 30:
            stay = stay.plus(look.parts, 1.0)
    return stay


def tally(count: int, bad: int = 0, slower: tuple[int, ...] = (0,) * len(RUNGS)) -> RateTally:
    return RateTally(0, "shop").plus(count - bad, bad, slower)


def test_the_distance_is_that_of_the_percentile_from_the_limit() -> None:
    """Exponential responses of rate 20/s: p99 = ln(100) / 20 = 230 ms of 500 ms."""
    n = 1_000_000
    slower = tuple(round(n * (exp(-20 * rung * 0.5) - exp(-20 * 0.5))) for rung in RUNGS)

    assert tally(n, round(n * exp(-10)), slower).distance(AIM) == pytest.approx(log(log(100) / 20 / 0.5), abs=0.01)


def test_the_distance_is_0_where_just_what_is_allowed_was_bad() -> None:
    assert tally(1000, 10, (5,) * len(RUNGS)).distance(AIM) == pytest.approx(0, abs=0.05)
    assert tally(1000, 20).distance(AIM) > 0


def test_the_distance_of_an_error_ratio_is_that_of_the_share() -> None:
    aim = Aim("error_ratio() < 1%", 0.01, None)

    assert RateTally(0, "shop").plus(9_800, 200, ()).distance(aim) == pytest.approx(log(2), abs=0.01)


def test_a_percentile_needs_three_of_what_may_be_bad() -> None:
    assert AIM.least == pytest.approx(300)
    assert Aim("p(99.9) < 1s", 0.001, 1.0).least == pytest.approx(3000)


@pytest.mark.parametrize("target", [mm1(90, 0.5), dm1(90, 0.5)], ids=lambda one: one.name)
def test_long_stays_on_either_side_find_the_knee_of_a_queue(target: Targeted) -> None:
    stays = [stay_at(target, 90 * share, 1500) for share in (0.8, 0.9, 0.97, 1.02)]

    knee = find_knee(stays, [AIM])

    assert knee.rate(0.5) == pytest.approx(90, rel=0.03)
    assert knee.rate(0.05) < 90 < knee.rate(0.95)


def test_a_hard_limit_is_between_what_was_good_and_what_broke() -> None:
    target = fixed(4, 0.05, 0.5)
    stays = [stay_at(target, rate, 40) for rate in (60, 70, 78, 82)]

    knee = find_knee(stays, [AIM])

    assert 76 < knee.rate(0.05) < 80 < knee.rate(0.95) < 86


def test_short_windows_do_not_move_what_many_of_them_come_to() -> None:
    """Each of 15 s has its percentile far below that of all of them: that is no evidence of room."""
    target, rate = mm1(90, 0.5), 90.0
    queue = target.queue(3)
    stays = []
    for _ in range(100):
        stay = Stay(rate)
        for _ in range(15):
            stay = stay.plus(queue.look(rate).parts, 1.0)
        stays.append(stay)
    distances = [worst.distance(AIM) for stay in stays if (worst := stay.worst([AIM])) is not None]

    knee = find_knee([stay_at(target, 60, 15), *stays], [AIM])

    assert sum(distances) / len(distances) < -0.2
    assert knee.rate(0.05) < 90 < knee.rate(0.95)
    assert knee.rate(0.5) < 94


def test_few_results_say_little() -> None:
    few = find_knee([stay_at(mm1(90, 0.5), 80, 5)], [AIM])
    many = find_knee([stay_at(mm1(90, 0.5), 80, 500)], [AIM])

    assert log(few.rate(0.95) / few.rate(0.05)) > 1.2 * log(many.rate(0.95) / many.rate(0.05))


def test_the_worst_of_several_objectives_and_journeys_counts() -> None:
    aims = [AIM, Aim("error_ratio() < 1%", 0.01, None)]
    good = (0,) * len(RUNGS)
    stay = Stay(50.0).plus(
        [Part(0, "browse", 1000, 0, good), Part(0, "buy", 950, 50, good), Part(1, "browse", 995, 5)], 10.0
    )
    worst = stay.worst(aims)

    assert worst is not None
    assert (worst.objective, worst.journey) == (0, "buy")


def test_one_with_too_few_results_is_not_the_worst_beside_one_with_enough() -> None:
    stay = Stay(50.0).plus([Part(0, "browse", 1000, 0, (0,) * 12), Part(0, "seldom", 5, 1, (0,) * 12)], 10.0)
    worst = stay.worst([AIM])

    assert worst is not None
    assert worst.journey == "browse"


def test_a_stay_without_results_has_no_worst() -> None:
    assert Stay(5.0).worst([AIM]) is None

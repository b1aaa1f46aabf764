"""How hold and search move, look by look."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from loadgen.dsl.executors.rate_results import Aim
from loadgen.dsl.executors.rate_search import Climb, ClimbTerms, Phase, begin, step, window_s
from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part
from tests.support.queues import driven, fixed, mm1

AIM = Aim("p(99) < 500ms", 0.01, 0.5)
TERMS = ClimbTerms((AIM,), 10.0, 1000.0, 5.0, 0.15, 5.0, 0.99)
SEARCHED = ClimbTerms((AIM,), 10.0, 1000.0, 5.0, 0.5, 10.0, is_search=True)
QUICK = Aim("p(99) < 50ms", 0.01, 0.05)
FAST = (0,) * len(RUNGS)


def look(at_s: float, rate: float, bad_share: float = 0.0, **more: object) -> Look:
    count = round(rate)
    bad = round(count * bad_share)
    made = Look(at_s, at_s + 1, rate, count, count, parts=(Part(0, "shop", count - bad, bad, FAST),))
    return replace(made, **more)  # type: ignore[arg-type]


def after(climb: Climb, seconds: int, bad_share: float = 0.0, **more: object) -> Climb:
    """At whatever rate it asks for, at once."""
    for _ in range(seconds):
        climb = step(TERMS, climb, look(climb.now_s, climb.asked_per_s, bad_share, **more))
    return climb


def grown_to(rate: float) -> Climb:
    climb = begin(TERMS)
    while climb.asked_per_s < rate:
        climb = after(climb, 1)
    return climb


def test_it_grows_by_half_while_windows_are_good() -> None:
    climb = grown_to(30)

    assert climb.phase is Phase.GROWING
    assert climb.asked_per_s == pytest.approx(10 * 1.5**3)
    assert climb.best_per_s == pytest.approx(10 * 1.5**2)


def test_a_window_that_breaks_halves_the_rate_at_once() -> None:
    climb = after(grown_to(500), 1, bad_share=0.9)

    assert climb.phase is Phase.DRAINING
    assert climb.asked_per_s == pytest.approx(10 * 1.5**10 / 2)
    assert "backing off from 577/s: 519 of 577 missed p(99) < 500ms" in climb.why


def test_nothing_is_judged_before_the_backlog_is_gone() -> None:
    broken = after(grown_to(500), 1, bad_share=0.9)

    waiting = after(broken, 4, bad_share=0.5)
    cleared = after(waiting, 2)

    assert waiting.phase is Phase.DRAINING
    assert waiting.stays == broken.stays
    assert cleared.phase is Phase.TRACKING
    assert broken.asked_per_s < cleared.asked_per_s < 577


def test_a_backlog_that_does_not_go_halves_the_rate_again() -> None:
    broken = after(grown_to(500), 1, bad_share=0.9)

    later = after(broken, 60, bad_share=0.5)

    assert later.phase is Phase.DRAINING
    assert later.asked_per_s < broken.asked_per_s / 1.9


def test_looks_at_another_rate_are_not_judged() -> None:
    climb = begin(TERMS)

    for k in range(30):
        climb = step(TERMS, climb, look(k, 7.0, bad_share=1.0))
        climb = step(TERMS, climb, look(k, 10.0, bad_share=1.0, is_steady=False))

    assert climb.phase is Phase.GROWING
    assert climb.stay.length_s == 0


def test_an_unfit_generator_neither_raises_nor_teaches() -> None:
    climb = grown_to(30)

    blamed = after(climb, 4, bad_share=1.0, unfit=("lag p99 9 ms",))
    again = after(blamed, 1)

    assert (blamed.phase, blamed.asked_per_s, blamed.stays) == (climb.phase, climb.asked_per_s, climb.stays)
    assert blamed.note == "the generator is not valid for 4 s (at 30 s the rate falls): lag p99 9 ms"
    assert again.note == ""


def beside_a_generator(climb: Climb, seconds: int, most: float) -> Climb:
    """At whatever rate it asks for, with a generator that is fit up to `most` per second."""
    for _ in range(seconds):
        climb = after(climb, 1, unfit=("lag p99 9 ms",) if climb.asked_per_s > most else ())
    return climb


def test_a_busy_machine_is_waited_for_at_the_same_rate() -> None:
    climb = grown_to(300)

    busy = after(climb, 29, unfit=("lag p99 9 ms",))
    calm = after(busy, 10)

    assert busy.asked_per_s == climb.asked_per_s
    assert calm.asked_per_s == pytest.approx(climb.asked_per_s * 1.5)
    assert calm.ceiling_per_s == inf


def test_a_machine_that_is_busy_for_some_seconds_again_and_again_never_lowers_the_rate() -> None:
    climb = grown_to(300)

    for _ in range(20):
        climb = after(after(climb, 1), 20, unfit=("lag p99 9 ms",))

    assert climb.ceiling_per_s == inf
    assert climb.asked_per_s == pytest.approx(1000)


def test_a_generator_that_stays_unfit_is_asked_for_less() -> None:
    climb = grown_to(300)

    lower = after(climb, 30, unfit=("lag p99 9 ms",))

    assert lower.asked_per_s == pytest.approx(climb.asked_per_s * 0.8)
    assert "the generator was not valid at a higher rate (lag p99 9 ms)" in lower.why


def test_a_generator_that_stays_unfit_while_most_results_are_bad_is_asked_for_less_soon() -> None:
    climb = grown_to(300)

    assert after(climb, 4, bad_share=0.9, unfit=("lag p99 9 ms",)).asked_per_s == climb.asked_per_s
    lower = after(climb, 5, bad_share=0.9, unfit=("lag p99 9 ms",))

    assert lower.asked_per_s == pytest.approx(climb.asked_per_s * 0.8)


def test_a_rate_at_which_the_generator_was_unfit_is_tried_once_more_and_not_again() -> None:
    climb = grown_to(300)
    lower = after(climb, 30, unfit=("lag p99 9 ms",))

    again = lower
    while again.asked_per_s == lower.asked_per_s:
        again = beside_a_generator(again, 1, most=climb.asked_per_s - 1)
    later = beside_a_generator(again, 120, most=climb.asked_per_s - 1)

    assert again.asked_per_s == pytest.approx(climb.asked_per_s)
    assert later.asked_per_s == pytest.approx(lower.asked_per_s)
    assert later.is_topped


def test_a_machine_that_is_calm_again_lets_the_search_go_on() -> None:
    climb = grown_to(300)
    lower = after(climb, 30, unfit=("lag p99 9 ms",))

    later = after(lower, 60)

    assert later.asked_per_s == pytest.approx(1000)
    assert later.ceiling_per_s == inf


def test_nothing_is_learned_while_an_agent_is_missing() -> None:
    climb = grown_to(30)

    partly = after(climb, 30, reported=1, agents=2)

    assert (partly.asked_per_s, partly.stays) == (climb.asked_per_s, climb.stays)
    assert partly.note == "measurements are ignored while only 1 of 2 agents reported"


def test_what_is_never_met_ends() -> None:
    climb = begin(TERMS)
    climb = after(climb, 2000, bad_share=1.0)

    assert climb.phase is Phase.ENDED
    assert climb.best_per_s == 0
    assert climb.asked_per_s >= TERMS.floor_per_s


def test_what_is_missed_at_the_start_is_looked_for_below_it() -> None:
    target = mm1(5, 2.0)
    terms = ClimbTerms((Aim("p(99) < 2s", 0.01, 2.0),), 20.0, 1000.0, 5.0, 0.15, 5.0, 0.99)

    climb, _ = driven(terms, target.queue(1), 5000)

    assert climb.knee is not None
    assert climb.knee.rate(0.5) == pytest.approx(5, rel=0.15)


def test_what_is_always_met_stays_at_the_highest_rate() -> None:
    climb = after(begin(TERMS), 300)

    assert climb.asked_per_s == 1000
    assert climb.is_topped
    assert climb.worst_per_s == inf


def test_windows_are_as_long_as_the_percentile_and_the_limit_need() -> None:
    assert window_s(TERMS, 1000) == pytest.approx(20)  # 40 limits
    assert window_s(TERMS, 3) == pytest.approx(100)  # 300 results
    assert window_s(replace(TERMS, aims=(Aim("p(99) < 10ms", 0.01, 0.01),)), 1000) == 5  # the least


def test_a_target_that_loses_half_is_followed_down() -> None:
    terms = ClimbTerms((Aim("p(99) < 300ms", 0.01, 0.3),), 10.0, 1000.0, 5.0, 0.15, 5.0, 0.99)
    queue = fixed(4, 0.05, 0.3).queue(1)
    climb, _ = driven(terms, queue, 400)
    before = climb.asked_per_s
    queue.service_s = 0.1  # 40/s from now on

    for _ in range(600):
        climb = step(terms, climb, queue.look(climb.asked_per_s))

    assert before == pytest.approx(80, rel=0.05)
    assert climb.knee is not None
    assert climb.knee.rate(0.15) == pytest.approx(40, rel=0.1)


def test_every_look_leaves_a_rate_within_the_bounds() -> None:
    queue, climb = mm1(90, 0.5).queue(7), begin(TERMS)

    for k in range(600):
        climb = step(TERMS, climb, queue.look(climb.asked_per_s, ("lag",) if k % 7 == 0 else ()))
        assert TERMS.floor_per_s <= climb.asked_per_s <= TERMS.upto_per_s


def test_a_search_spends_a_third_of_its_windows_below_the_knee() -> None:
    """At a rate where the percentile is clearly lower: the difference shows how steeply it rises."""
    queue, climb = mm1(90, 0.5).queue(3), begin(SEARCHED)
    asked, windows = list[float](), 0

    for _ in range(1500):
        climb = step(SEARCHED, climb, queue.look(climb.asked_per_s))
        if climb.windows > windows:
            windows = climb.windows
            asked.append(climb.asked_per_s / climb.middle_per_s)

    lower = [share for share in asked if share < 0.95]
    assert len(lower) == pytest.approx(len(asked) / 3, abs=3)
    assert all(0.55 < share <= 0.93 for share in lower)


def test_a_long_search_keeps_all_results_in_few_stays() -> None:
    queue, climb, seen = mm1(90, 0.05).queue(3), begin(replace(SEARCHED, aims=(QUICK,))), 0.0

    for _ in range(4000):
        before = climb
        climb = step(replace(SEARCHED, aims=(QUICK,)), climb, queue.look(climb.asked_per_s))
        if climb.windows > before.windows:
            seen += sum(one.count for one in before.stay.tallies)

    kept = sum(one.count for stay in climb.stays for one in stay.tallies)
    assert len(climb.stays) <= 200
    assert kept >= 0.97 * seen

"""A rate curve as area over time: exact at its edges, and changed from a time on without an arrival lost or doubled."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.profiles.arrival_due_times import Listed, Schedule, Timeline
from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S

RATES = st.one_of(st.just(0.0), st.floats(0.1, 500.0).map(lambda rate: round(rate, 2)))
STAGES = st.lists(
    st.builds(Stage, RATES, RATES, st.integers(0, 20 * NS_PER_S)),
    min_size=1,
    max_size=6,
)
INSTANTS = st.integers(0, 60 * NS_PER_S)


def _all(schedule: Schedule) -> np.ndarray:
    return schedule.due_ns(np.arange(schedule.total()))


def _area(stages: list[Stage], t_ns: int) -> Fraction:
    """By the trapezoid rule, in fractions, from the definition."""
    area, at_ns = Fraction(0), 0
    for stage in stages:
        passed_ns = min(max(0, t_ns - at_ns), stage.duration_ns)
        if passed_ns:
            start, end = exact(stage.start), exact(stage.end)
            at_t = start + (end - start) * Fraction(passed_ns, stage.duration_ns)
            area += (start + at_t) / 2 * Fraction(passed_ns, NS_PER_S)
        at_ns += stage.duration_ns
    return area


@given(STAGES, INSTANTS)
def test_the_area_is_that_of_the_trapezoids(stages: list[Stage], t_ns: int) -> None:
    timeline = Timeline(stages)
    assert timeline.area_at(t_ns) == _area(stages, t_ns)
    assert timeline.area == _area(stages, timeline.end_ns)


@given(STAGES, INSTANTS)
def test_as_many_arrivals_are_due_before_a_time_as_the_area_says(stages: list[Stage], t_ns: int) -> None:
    schedule = Schedule(Timeline(stages))
    due = _all(schedule)
    assert schedule.total() == ceil(_area(stages, schedule.end_ns))
    # Due times are rounded to the ns, so one arrival may lie on the other side of the very instant.
    assert np.count_nonzero(due < t_ns - 1) <= schedule.count_at(t_ns) <= np.count_nonzero(due < t_ns + 1)


@given(STAGES)
def test_places_that_happen_to_be_whole_numbers_are_due_when_even_ones_are(stages: list[Stage]) -> None:
    timeline = Timeline(stages)
    even = Schedule(timeline)
    if not even.total():
        return
    n = np.arange(even.total())
    listed = Schedule(timeline, Listed(n.astype(np.float64)))
    assert listed.total() == even.total()
    places = timeline.when(n.astype(np.float64))
    # Where the curve rises from 0 a float's last bit is a long time: t = sqrt(2 area / slope).
    far = np.abs(places - even.due_ns(n)) > 2
    rate = np.array([float(timeline.value_at(int(t))) for t in even.due_ns(n)[far]])
    assert not np.count_nonzero(rate > 1)


@given(STAGES, INSTANTS, STAGES)
def test_a_change_leaves_what_was_due_before_it_and_moves_the_rest(
    stages: list[Stage], at_ns: int, then: list[Stage]
) -> None:
    before = Schedule(Timeline(stages))
    after = before.replaced(at_ns, then)
    kept = before.count_at(at_ns)
    n = np.arange(kept)
    assert np.abs(after.due_ns(n) - before.due_ns(n)).max(initial=0) <= 1
    rest = after.due_ns(np.arange(kept, after.total()))
    assert np.all(rest >= at_ns - 1)
    assert after.total() == ceil(_area(stages, at_ns) + _area(then, after.end_ns - at_ns))
    assert after.end_ns == at_ns + sum(stage.duration_ns for stage in then)


@given(STAGES, INSTANTS, STAGES, INSTANTS, STAGES, INSTANTS)
def test_what_is_over_can_be_let_go_without_a_difference(
    stages: list[Stage], at_ns: int, then: list[Stage], later_ns: int, last: list[Stage], since_ns: int
) -> None:
    later_ns, since_ns = at_ns + later_ns, min(since_ns, at_ns)
    whole = Schedule(Timeline(stages)).replaced(at_ns, then).replaced(later_ns, last)
    light = Schedule(Timeline(stages)).replaced(at_ns, then, since_ns).replaced(later_ns, last, since_ns)
    assert light.total() == whole.total()
    n = np.arange(whole.count_at(since_ns), whole.total())
    assert np.array_equal(light.due_ns(n), whole.due_ns(n))


def test_a_pause_in_the_middle_of_a_ramp_cuts_it_exactly() -> None:
    ramp = Stage(0, 10, 10 * NS_PER_S)
    cut_ns, pause = 3 * NS_PER_S + 1, Stage(0, 0, 5 * NS_PER_S)
    schedule = Schedule(Timeline([ramp])).replaced(cut_ns, [pause, Stage(3, 10, 7 * NS_PER_S)])
    assert schedule.timeline.area_at(cut_ns) == Fraction(cut_ns, NS_PER_S) ** 2 / 2
    assert schedule.timeline.value_at(cut_ns) == 0
    assert schedule.timeline.value_at(cut_ns - 1) == Fraction(3)
    due = _all(schedule)
    assert not np.count_nonzero((due >= cut_ns) & (due < cut_ns + pause.duration_ns))


def test_a_change_after_the_end_comes_after_a_time_of_nothing() -> None:
    schedule = Schedule(Timeline([Stage(2, 2, NS_PER_S)])).replaced(3 * NS_PER_S, [Stage(1, 1, 2 * NS_PER_S)])
    assert _all(schedule).tolist() == [0, NS_PER_S // 2, 3 * NS_PER_S, 4 * NS_PER_S]
    assert schedule.timeline.value_at(2 * NS_PER_S) == 0


def test_a_load_that_is_ended_has_no_arrivals_after_it() -> None:
    schedule = Schedule(Timeline([Stage(10, 10, 10 * NS_PER_S)])).replaced(2 * NS_PER_S, [])
    assert (schedule.total(), schedule.end_ns) == (20, 2 * NS_PER_S)
    assert Schedule(Timeline([Stage(0, 0, NS_PER_S)])).due_ns(np.arange(0)).tolist() == []


def test_recorded_times_play_at_the_speed_of_the_curve() -> None:
    times = Listed(np.array([0.0, 0.5, 0.5, 2.0, 9.0]))
    as_recorded = Schedule(Timeline([Stage(1, 1, 10 * NS_PER_S)]), times)
    assert _all(as_recorded).tolist() == [0, NS_PER_S // 2, NS_PER_S // 2, 2 * NS_PER_S, 9 * NS_PER_S]
    twice = Schedule(Timeline([Stage(2, 2, 5 * NS_PER_S)]), times)
    assert _all(twice).tolist() == [0, NS_PER_S // 4, NS_PER_S // 4, NS_PER_S, 9 * NS_PER_S // 2]
    paused = as_recorded.replaced(NS_PER_S, [Stage(0, 0, NS_PER_S), Stage(1, 1, 9 * NS_PER_S)])
    assert _all(paused).tolist() == [0, NS_PER_S // 2, NS_PER_S // 2, 3 * NS_PER_S, 10 * NS_PER_S]


@pytest.mark.parametrize("n", [-1, 20])
def test_an_arrival_that_there_is_not_is_refused(n: int) -> None:
    with pytest.raises(IndexError, match="from 0 to 19"):
        Schedule(Timeline([Stage(10, 10, 2 * NS_PER_S)])).due_ns(np.array([n]))


def test_a_curve_that_is_changed_each_second_for_20_minutes_is_as_if_written_so() -> None:
    seconds = 1_200
    rates = [float(100 + k % 7) for k in range(seconds)]
    written = Schedule(Timeline([Stage(rate, rate, NS_PER_S) for rate in rates]))
    steered = Schedule(Timeline([Stage(rates[0], rates[0], seconds * NS_PER_S)]))
    for second, rate in enumerate(rates):
        rest = [Stage(rate, rate, (seconds - second) * NS_PER_S)]
        steered = steered.replaced(second * NS_PER_S, rest, since_ns=(second - 600) * NS_PER_S)
    assert steered.total() == written.total() == sum(map(int, rates))
    n = np.arange(steered.count_at((seconds - 600) * NS_PER_S), steered.total())
    assert np.array_equal(steered.due_ns(n), written.due_ns(n))


def test_what_was_let_go_is_due_where_the_rest_begins() -> None:
    stages = [Stage(10, 10, NS_PER_S), Stage(5, 5, NS_PER_S)]
    light = Schedule(Timeline(stages)).replaced(3 * NS_PER_S, [Stage(1, 1, NS_PER_S)], since_ns=2 * NS_PER_S)
    assert light.due_ns(np.arange(16)).tolist() == [3 * NS_PER_S] * 16

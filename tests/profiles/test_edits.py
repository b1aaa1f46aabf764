"""Edits of a load that goes on: row by row of the table, and that what is left is kept to the last arrival."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.profiles.describe import Kind, stage_text
from loadgen.profiles.edits import PAUSE, Course, cut, is_pause, replaced, value_at
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, UserProfile
from loadgen.profiles.stage import Stage, exact, length

S = 1_000_000_000
HOLD, RAMP = Stage(100, 100, 10 * S), Stage(100, 300, 4 * S)
OPEN = Course.of(ArrivalProfile((Stage(0, 100, 2 * S), HOLD, RAMP)))


def area(stages: tuple[Stage, ...]) -> Fraction:
    return sum((Fraction(s.duration_ns, S) * (exact(s.start) + exact(s.end)) / 2 for s in stages), Fraction(0))


# -- the table ---------------------------------------------------------------------------------


def test_a_pause_holds_0_from_its_time_on_and_nobody_knows_until_when() -> None:
    paused = OPEN.paused(5 * S)
    assert paused.stages == (Stage(0, 100, 2 * S), Stage(100, 100, 3 * S), PAUSE)
    assert (paused.is_paused, paused.end_ns, is_pause(paused.stages)) == (True, None, True)


def test_a_resumed_load_goes_on_where_it_stood() -> None:
    resumed = OPEN.paused(5 * S).resumed(25 * S)
    held = Stage(0, 0, 20 * S)
    assert resumed.stages == (Stage(0, 100, 2 * S), Stage(100, 100, 3 * S), held, Stage(100, 100, 7 * S), RAMP)
    assert resumed.end_ns == 36 * S


def test_a_ramp_is_paused_on_its_way_and_goes_on_from_there() -> None:
    resumed = OPEN.paused(S).resumed(2 * S)
    assert resumed.stages[:3] == (Stage(0, 50, S), Stage(0, 0, S), Stage(50, 100, S))


def test_scaling_is_of_all_that_is_left_and_of_nothing_before() -> None:
    scaled = OPEN.scaled(7 * S, 1.5)
    assert scaled.stages == (
        Stage(0, 100, 2 * S),
        Stage(100, 100, 5 * S),
        Stage(150, 150, 5 * S),
        Stage(150, 450, 4 * S),
    )
    assert scaled.end_ns == 16 * S


def test_scaled_to_a_rate_the_present_rate_becomes_it() -> None:
    assert OPEN.scaled_to(S, 200).stages[1:3] == (Stage(200, 400, S), Stage(400, 400, 10 * S))


def test_what_is_scaled_while_it_is_paused_goes_on_scaled() -> None:
    scaled = OPEN.paused(7 * S).scaled_to(8 * S, 50)
    assert scaled.stages == OPEN.paused(7 * S).stages
    assert scaled.resumed(9 * S).stages[-2:] == (Stage(50, 50, 5 * S), Stage(50, 150, 4 * S))


def test_a_skipped_stage_is_over_and_the_next_one_begins() -> None:
    skipped = OPEN.skipped(3 * S)
    assert skipped.stages == (Stage(0, 100, 2 * S), Stage(100, 100, S), RAMP)
    assert skipped.end_ns == 7 * S
    assert OPEN.paused(3 * S).skipped(4 * S).waiting == (RAMP,)


def test_a_load_that_is_ended_is_over() -> None:
    ended = OPEN.ended(3 * S)
    assert (ended.stages, ended.end_ns) == ((Stage(0, 100, 2 * S), Stage(100, 100, S)), 3 * S)
    assert OPEN.paused(3 * S).ended(5 * S).end_ns == 5 * S


def test_what_steers_may_give_any_stages_for_the_rest() -> None:
    assert OPEN.replaced(2 * S, [Stage(7, 7, S)]).stages == (Stage(0, 100, 2 * S), Stage(7, 7, S))
    assert OPEN.paused(2 * S).replaced(3 * S, [Stage(7, 7, S)]).waiting == (Stage(7, 7, S),)


def test_levels_are_edited_as_rates_are() -> None:
    users = Course.of(UserProfile((Stage(0, 64, 2 * S), Stage(64, 64, 4 * S))))
    assert users.scaled_to(3 * S, 96).stages[-1] == Stage(96, 96, 3 * S)
    assert users.paused(3 * S).resumed(4 * S).end_ns == 7 * S


def test_a_counted_load_is_paused_and_resumed_and_its_end_is_never_known() -> None:
    counted = Course.of(IterationProfile(100, 4))
    assert counted.end_ns is None
    paused = counted.paused(2 * S)
    assert value_at(paused.stages, S) == 1
    assert value_at(paused.stages, 3 * S) == 0
    resumed = paused.resumed(5 * S)
    assert value_at(resumed.stages, 6 * S) == 1
    assert resumed.end_ns is None
    assert resumed.ended(7 * S).end_ns == 7 * S


def test_recorded_times_that_are_scaled_pass_faster_and_all_of_them_do() -> None:
    timed = Course.of(TimedProfile.of(np.arange(20) / 2.0, "log"))
    assert timed.stages == (Stage(1, 1, 10 * S),)
    faster = timed.scaled(4 * S, 3)
    assert faster.stages == (Stage(1, 1, 4 * S), Stage(3, 3, 2 * S))
    assert faster.paused(5 * S).resumed(7 * S).end_ns == 8 * S
    slower = timed.scaled(0, 1 / 7)
    assert area(slower.stages) >= 10


def test_a_load_that_begins_later_begins_as_much_later_as_it_was_paused() -> None:
    later = Course.of(ArrivalProfile((HOLD,)), begin_ns=60 * S)
    for resumed_s in (40, 90):
        resumed = later.paused(30 * S).resumed(resumed_s * S)
        moved_s = resumed_s - 30
        assert resumed.own()[-1] == HOLD
        assert length(resumed.own()[:-1]) == moved_s * S
        at_ns, rest = resumed.rest(resumed_s * S)
        assert at_ns == max(resumed_s, 60) * S
        assert at_ns + length(rest) == (60 + moved_s + 10) * S


# -- what is illegal ---------------------------------------------------------------------------

PEOPLE = Course((Stage(50, 50, 20 * S),), "users")
RECORDED = Course((Stage(1, 1, 200 * S),), "speed")

ILLEGAL: dict[str, tuple[Callable[[], Course], str]] = {
    "paused twice": (lambda: OPEN.paused(S).paused(2 * S), "paused already"),
    "resumed without a pause": (lambda: OPEN.resumed(S), "not paused"),
    "skipped in its last stage": (lambda: OPEN.skipped(13 * S), "last stage"),
    "skipped in the last one that waits": (lambda: OPEN.paused(13 * S).skipped(14 * S), "last stage"),
    "skipped before its beginning": (lambda: Course.of(ArrivalProfile((HOLD, RAMP)), 5 * S).skipped(S), "not begun"),
    "scaled to a rate at 0": (lambda: OPEN.scaled_to(0, 200), "at 0 now"),
    "scaled by 0": (lambda: OPEN.scaled(S, 0), "above 0"),
    "scaled by less than 0": (lambda: OPEN.scaled(S, -1), "above 0"),
    "scaled by nan": (lambda: OPEN.scaled(S, float("nan")), "above 0"),
    "scaled to inf": (lambda: OPEN.scaled_to(3 * S, float("inf")), "above 0"),
    "scaled beyond the highest rate": (lambda: OPEN.scaled(S, 1e7), "exceed the limit of 100,000,000/s"),
    "scaled by the largest float": (lambda: OPEN.scaled(S, 1e308), "by 1e+308"),
    "scaled to the largest float": (lambda: OPEN.scaled_to(3 * S, 1e308), "to 1e+308"),
    "scaled by a factor next to 0": (lambda: OPEN.scaled(S, 1e-308), "below 1e-06"),
    "scaled to a rate next to 0": (lambda: OPEN.scaled_to(3 * S, 5e-324), "below 1e-06"),
    "users scaled beyond the limit": (lambda: PEOPLE.scaled(S, 1e308), "the limit of 10,000,000 users"),
    "a recording slowed down beyond a year": (lambda: RECORDED.scaled(S, 4e-6), "longer than 366 days"),
    "a recording made faster than a million": (lambda: RECORDED.scaled(S, 1e308), "the limit of 1e+06x"),
    "scaled iterations": (lambda: Course.of(IterationProfile(9, 3)).scaled(S, 2), "fixed number of iterations"),
    "skipped iterations": (lambda: Course.of(IterationProfile(9, 3)).skipped(S), "fixed number of iterations"),
    "a pause after the end": (lambda: OPEN.paused(16 * S), "is over"),
    "a pause after it was ended": (lambda: OPEN.ended(3 * S).paused(3 * S), "is over"),
    "scaled after the end": (lambda: OPEN.scaled(20 * S, 2), "is over"),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_what_makes_no_sense_is_said(case: str) -> None:
    edit, says = ILLEGAL[case]
    with pytest.raises(UsageError) as caught:
        edit()
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_the_largest_factor_that_an_error_names_is_accepted_and_no_larger_one() -> None:
    course = Course((Stage(3, 3, 10 * S),), "rate")
    with pytest.raises(UsageError) as caught:
        course.scaled(S, 1e308)
    assert caught.value.hint == "the largest factor now is 33,333,300"
    assert course.scaled(S, 3.33333e7).value_at(2 * S) == pytest.approx(1e8, rel=1e-5)
    with pytest.raises(UsageError):
        course.scaled(S, 3.33334e7)


@given(st.floats(min_value=5e-324, max_value=1.7976931348623157e308), st.sampled_from(["rate", "users", "speed"]))
def test_every_finite_factor_is_applied_or_refused_with_a_reason(factor: float, kind: Kind) -> None:
    course = Course((Stage(0, 50, 10 * S), Stage(50, 50, 10 * S)), kind)
    for edit in (course.scaled, course.scaled_to):
        with contextlib.suppress(UsageError):
            assert edit(5 * S, factor).end_ns is not None


# -- properties --------------------------------------------------------------------------------

stage = st.builds(Stage, st.integers(0, 50), st.integers(0, 50), st.integers(1, 5 * S))
rows = st.lists(stage, min_size=1, max_size=5).map(tuple)


@given(rows, st.integers(0, 30 * S))
def test_what_is_cut_is_all_there(stages: tuple[Stage, ...], at_ns: int) -> None:
    before, after = cut(stages, at_ns)
    assert length(before) == min(at_ns, length(stages))
    assert length(before) + length(after) == length(stages)
    assert float(area(before) + area(after)) == pytest.approx(float(area(stages)), rel=1e-12)


@given(rows, st.integers(0, 30 * S), rows)
def test_what_is_replaced_is_as_it_was_before_and_as_given_after(
    stages: tuple[Stage, ...], at_ns: int, rest: tuple[Stage, ...]
) -> None:
    made = replaced(stages, at_ns, rest)
    assert length(made) == at_ns + length(rest)
    assert cut(made, at_ns)[1] == rest
    assert float(value_at(made, at_ns)) == rest[0].start


@given(rows, st.lists(st.tuples(st.integers(1, 3 * S), st.integers(1, 3 * S)), max_size=4))
def test_however_often_it_is_paused_as_much_is_done_and_as_much_later_is_the_end(
    stages: tuple[Stage, ...], pauses: list[tuple[int, int]]
) -> None:
    course = Course(stages, "rate")
    at_ns, paused_ns = 0, 0
    for going_ns, pause_ns in pauses:
        at_ns += going_ns
        if at_ns >= (course.end_ns or 0):
            break
        course = course.paused(at_ns).resumed(at_ns + pause_ns)
        at_ns, paused_ns = at_ns + pause_ns, paused_ns + pause_ns
    assert course.end_ns == length(stages) + paused_ns
    assert float(area(course.stages)) == pytest.approx(float(area(stages)), rel=1e-9)


def test_stages_are_said_as_people_write_them() -> None:
    assert stage_text(HOLD, "rate") == "hold 100/s for 10.0 s"
    assert stage_text(Stage(0, 50, 60 * S), "users") == "ramp 0 users to 50 users in 1m"

"""What is asked of a run that goes on: for which loads it holds, and what agents are told of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadgen.dsl.plans.spec import JourneySpec, LaneSpec, PlanSpec
from loadgen.errors import UsageError
from loadgen.profiles.edits import OPEN, PAUSE
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S as S
from loadgen_controller.core.load_change_messages import Adjustments, LoadChange, as_rows
from tests.controller.conftest import spec

HOLD = ArrivalProfile((Stage(100, 100, 10 * S), Stage(200, 200, 10 * S)))
PEOPLE = UserProfile((Stage(10, 10, 20 * S),))
COUNTED = IterationProfile(1000, 5)


def of(*lanes: tuple[str, Profile, int], is_unique: bool = False) -> tuple[PlanSpec, Adjustments]:
    journeys = (JourneySpec(name="shop", weight=1.0, is_unique=is_unique),)
    made = tuple(
        LaneSpec(name=name, load=profile.describe(), journeys=journeys, profile=profile, after_ns=after_ns)
        for name, profile, after_ns in lanes
    )
    plan = spec(lanes=made, profile=made[0].profile, duration_ns=20 * S)
    return plan, Adjustments.of(plan)


def test_of_a_plan_with_several_loads_all_are_paused_and_resumed_and_begin_as_much_later() -> None:
    plan, adjustments = of(("base", HOLD, 0), ("people", PEOPLE, 0), ("spike", HOLD, 60 * S), ("count", COUNTED, 0))
    paused = adjustments.requested(LoadChange("pause"), 5 * S, "r1")
    assert [(a.number, a.load, a.at_ns) for a in paused.adjusts] == [
        (1, 0, 5 * S),
        (2, 1, 5 * S),
        (3, 2, 60 * S),  # not before it begins
        (4, 3, 5 * S),
    ]
    assert paused.is_paused(6 * S)
    assert paused.end_ns is None
    resumed = paused.requested(LoadChange("resume"), 15 * S, "r1")
    assert not resumed.is_paused(16 * S)
    assert resumed.adjusts[4].stages == (Stage(100, 100, 5 * S), Stage(200, 200, 10 * S))
    assert resumed.adjusts[6].stages[0] == Stage(0, 0, 10 * S)
    assert resumed.adjusts[7].stages[0].start == OPEN.start
    assert resumed.in_force(plan).lanes[2].profile == ArrivalProfile(
        (Stage(0, 0, 10 * S), *HOLD.stages), is_edited=True
    )


def test_one_load_is_changed_by_its_name_and_the_others_are_not() -> None:
    plan, adjustments = of(("base", HOLD, 0), ("people", PEOPLE, 0))
    changed = adjustments.requested(LoadChange("scale", load="people", users=20), 5 * S, "r1")
    assert changed.courses[0] == adjustments.courses[0]
    assert changed.adjusts[0].stages == (Stage(20, 20, 15 * S),)
    assert changed.in_force(plan).lanes[1].profile.peak == 20
    assert not changed.requested(LoadChange("pause", load="people"), 6 * S, "r1").is_paused(7 * S)


def test_a_rate_goes_to_the_load_that_has_one() -> None:
    _, adjustments = of(("base", HOLD, 0), ("people", PEOPLE, 0))
    changed = adjustments.requested(LoadChange("scale", rate=50), 5 * S, "r1")
    assert [a.load for a in changed.adjusts] == [0]
    assert [a.load for a in adjustments.requested(LoadChange("scale", factor=2), 5 * S, "r1").adjusts] == [0, 1]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (LoadChange("scale", load="people", rate=5), "no rate"),
        (LoadChange("scale", load="base", users=5), "no number of users"),
        (LoadChange("skip"), "must name one of them"),
        (LoadChange("pause", load="nobody"), "no load nobody"),
        (LoadChange("scale", load="count", factor=2), "fixed number of iterations"),
        (LoadChange("resume"), "not paused"),
        (LoadChange("resume", load="base"), "not paused"),
    ],
)
def test_what_does_not_fit_the_loads_is_said(wish: LoadChange, says: str) -> None:
    _, adjustments = of(("base", HOLD, 0), ("people", PEOPLE, 0), ("count", COUNTED, 0))
    with pytest.raises(UsageError) as caught:
        adjustments.requested(wish, 5 * S, "r1")
    assert says in caught.value.message


def test_a_second_load_that_is_over_is_left_alone() -> None:
    _, adjustments = of(("base", HOLD, 0), ("short", ArrivalProfile((Stage(5, 5, S),)), 0))
    assert [a.load for a in adjustments.requested(LoadChange("pause"), 5 * S, "r1").adjusts] == [0]
    with pytest.raises(UsageError, match="is over"):
        adjustments.requested(LoadChange("pause", load="short"), 5 * S, "r1")
    with pytest.raises(UsageError, match="loads of the run are over"):
        adjustments.requested(LoadChange("pause"), 30 * S, "r1")


def test_a_load_that_uses_rows_up_gets_no_more_of_them_than_there_are() -> None:
    _, adjustments = of(("", HOLD, 0), is_unique=True)
    with pytest.raises(UsageError, match=r"rows for 3,000 iterations; this change needs 3,250"):
        adjustments.requested(LoadChange("scale", factor=1.1), 5 * S, "r1")
    assert adjustments.requested(LoadChange("scale", factor=0.5), 5 * S, "r1").adjusts
    paused = adjustments.requested(LoadChange("pause"), 5 * S, "r1")
    assert paused.requested(LoadChange("resume"), 50 * S, "r1").adjusts


def test_what_was_due_and_what_will_be_is_known_to_the_last_one() -> None:
    _, adjustments = of(("a", HOLD, 0), ("b", HOLD, 10 * S))
    assert adjustments.due_before(5 * S) == 500
    assert adjustments.due_before(1 << 60) == 6000
    paused = adjustments.requested(LoadChange("pause"), 15 * S, "r1")
    assert paused.due_before(15 * S) == paused.due_before(1 << 59) == 2000 + 500
    resumed = paused.requested(LoadChange("resume"), 100 * S, "r1").requested(
        LoadChange("scale", load="b", factor=2), 100 * S, "r1"
    )
    assert resumed.due_before(1 << 59) == 3000 + 500 + 2 * 2500


def test_what_happened_is_told_in_words_and_numbers() -> None:
    _, adjustments = of(("", HOLD, 0))
    for wish, at_ns in (
        (LoadChange("pause", by="ann"), 2 * S),
        (LoadChange("scale", factor=1.5), 3 * S),
        (LoadChange("resume"), 12 * S),
        (LoadChange("skip"), 13 * S),
        (LoadChange("scale", rate=90), 14 * S),
    ):
        adjustments = adjustments.requested(wish, at_ns, "r1")
    assert [one.text for one in adjustments.made] == [
        "paused, at 100/s",
        "scaled by 1.5, while it was paused",
        "resumed, at 150/s",
        "skipped what was left of a stage: hold 150/s for 7.00 s",
        "scaled to 90/s, from 300/s to 90/s",
    ]
    assert [one.number for one in adjustments.made] == [1, 0, 2, 3, 4]
    assert next(as_rows(adjustments.made)) == {
        "at_s": 2.0,
        "kind": "pause",
        "load": "",
        "was": "100/s",
        "now": "paused",
        "text": "paused, at 100/s",
        "by": "ann",
        "end_s": None,
    }


def test_recorded_times_are_shown_as_they_are_played_after_a_change() -> None:
    timed = TimedProfile.of(np.repeat(np.arange(10.0), 30), "log")  # 30/s
    plan, adjustments = of(("", timed, 0))
    changed = adjustments.requested(LoadChange("pause"), 2 * S, "r1").requested(
        LoadChange("scale", factor=2), 3 * S, "r1"
    )
    paused = changed.in_force(plan)
    assert paused.duration_ns is None
    assert [paused.rate_at(t * S) for t in (1, 30)] == pytest.approx([30, 0])
    resumed = changed.requested(LoadChange("resume"), 6 * S, "r1").in_force(plan)
    assert resumed.duration_ns == 10 * S
    assert [resumed.rate_at(t * S) for t in (1, 4, 7, 9, 11)] == pytest.approx([30, 0, 60, 60, 0])
    assert [one.text for one in changed.made] == ["paused, at 1x", "scaled by 2, while it was paused"]
    with pytest.raises(UsageError, match="no rate"):
        changed.requested(LoadChange("scale", rate=5), 3 * S, "r1")


def test_changes_hold_in_the_order_in_which_they_were_asked_for() -> None:
    _, adjustments = of(("", HOLD, 0))
    later = adjustments.requested(LoadChange("scale", factor=2), 5 * S, "r1")
    assert later.requested(LoadChange("pause"), 4 * S, "r1").adjusts[-1].at_ns == 5 * S


def test_who_steers_gives_any_stages_and_an_end() -> None:
    _, adjustments = of(("", HOLD, 0))
    steered = adjustments.replaced(0, (Stage(150, 150, S),), 5 * S, "r1", why="went up to 150/s")
    assert (steered.adjusts[0].stages, steered.made[0].text) == ((Stage(150, 150, S),), "went up to 150/s")
    ended = steered.replaced(0, (), 11 * S // 2, "r1", why="the knee is found")
    assert ended.adjusts[1].stages == ()
    assert ended.end_ns == 11 * S // 2
    assert replace(ended, made=()).adjusts == ended.adjusts


def test_a_pause_before_the_load_has_begun_is_one_from_its_beginning_on() -> None:
    _, adjustments = of(("", HOLD, 0))
    paused = adjustments.requested(LoadChange("pause"), 0, "r1")
    assert (paused.adjusts[0].at_ns, paused.adjusts[0].stages) == (0, (PAUSE,))
    assert paused.requested(LoadChange("resume"), 3 * S, "r1").adjusts[1].stages == HOLD.stages

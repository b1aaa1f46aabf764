"""Levels: which level a time of a load belongs to, before and after changes of the running load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from loadgen import arrivals, users
from loadgen.dsl.executors.standard import Arrivals, Users
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Deal
from loadgen.profiles.edits import PAUSE
from loadgen.profiles.levels import SETTLING, LevelMark, LevelTimes, held_spans, spans_of_levels
from loadgen.profiles.profile import ArrivalProfile, UserProfile
from loadgen.profiles.stage import Stage

S = 1_000_000_000


def times_of(load: Arrivals | Users) -> LevelTimes:
    lowered = load.lower(0)
    profile = lowered.profile
    assert isinstance(profile, ArrivalProfile | UserProfile)
    return LevelTimes(profile.stages, lowered.levels, is_rate=isinstance(load, Arrivals))


def test_each_time_belongs_to_the_level_of_its_stage_after_it_has_settled() -> None:
    times = times_of(users().levels([1, 8], each="10s", settle="2s"))
    assert [times.at(t) for t in (0, 2 * S - 1)] == [SETTLING] * 2
    assert [times.at(t) for t in (2 * S, 10 * S - 1)] == ["1"] * 2
    assert [times.at(t) for t in (10 * S, 12 * S - 1)] == [SETTLING] * 2
    assert [times.at(t) for t in (12 * S, 20 * S - 1)] == ["8"] * 2
    assert [times.at(t) for t in (-1, 20 * S)] == [""] * 2


def test_only_levels_that_lasted_to_their_end_were_held() -> None:
    lowered = users().levels([1, 8], each="10s", settle="2s").lower(0)
    assert isinstance(lowered.profile, UserProfile)
    spans = spans_of_levels(lowered.profile.stages, lowered.levels, is_rate=False)
    held = {at_s: [span.text for span in held_spans(spans, at_s * S)] for at_s in (5, 10, 19, 20)}
    assert held == {5: [], 10: ["1"], 19: ["1"], 20: ["1", "8"]}
    assert held_spans(spans, None) == spans


def test_a_ramp_before_the_levels_has_no_level() -> None:
    times = times_of(arrivals().ramp(to="2/s", over="5s").levels(["2/s", "30/m"], each="10s").hold("5s"))
    assert [times.at(t * S) for t in (0, 4, 5, 14, 15, 24, 25, 29)] == ["", "", "2/s", "2/s", "0.5/s", "0.5/s", "", ""]


def test_spans_have_the_time_that_counts() -> None:
    first, second = spans_of_levels(
        (Stage(0, 3, S), Stage(3, 3, 10 * S), Stage(6, 6, 10 * S)), [LevelMark(1, 0.25), LevelMark(2)], is_rate=False
    )
    assert (first.text, first.start_ns, first.settled_ns, first.end_ns) == ("3", S, 3_500_000_000, 11 * S)
    assert (second.text, second.start_ns, second.settled_ns, second.end_ns) == ("6", 11 * S, 11 * S, 21 * S)


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_agents_give_the_iterations_the_same_levels_as_one_agent_does(agents: int) -> None:
    load = arrivals().ramp(to="5/s", over="3s").levels(["5/s", "9/s", "20/s"], each="7s", settle="1500ms")
    profile, times = load.profile(), times_of(load)
    expected = [times.at(int(t)) for t in profile.due_ns(np.arange(profile.total()))]
    found: dict[int, str] = {}
    for index in range(agents):
        own = LevelTimes(profile.stages, load.lower(0).levels, is_rate=True)  # each agent computes its own
        own.t0_ns = 77 * S + index
        deal = Deal(Share.of(index, [1.0 + one for one in range(agents)], [1.0], 0, 1, None), None)
        for block in due_times(profile.schedule(), deal, None, from_n=0, until_n=None):
            for due_ns, n in zip(block.due_ns, block.n, strict=True):
                assert n not in found
                found[n] = own.at_clock(own.t0_ns + due_ns)
    assert [found[n] for n in sorted(found)] == expected
    assert {one: expected.count(one) for one in ("5/s", "9/s", "20/s")} == {"5/s": 28, "9/s": 50, "20/s": 110}


def test_a_pause_moves_the_levels_after_it_and_they_settle_anew() -> None:
    load = users().levels([1, 2, 4], each="10s", settle="2s")
    times = times_of(load)
    times.adjust(15 * S, [PAUSE])
    assert [times.at(t * S) for t in (14, 15, 60)] == ["2", SETTLING, SETTLING]
    times.adjust(60 * S, [Stage(2, 2, 5 * S), Stage(4, 4, 10 * S)])
    assert [times.at(t * S) for t in (14, 59, 60, 61, 62, 64)] == ["2", SETTLING, SETTLING, SETTLING, "2", "2"]
    assert [times.at(t * S) for t in (65, 66, 67, 74, 75)] == [SETTLING, SETTLING, "4", "4", ""]


def test_a_scaled_load_has_no_levels_any_more() -> None:
    load = users().levels([1, 2], each="10s", settle="2s")
    times = times_of(load)
    times.adjust(5 * S, [Stage(3, 3, 5 * S), Stage(6, 6, 10 * S)])
    assert [times.at(t * S) for t in (4, 5, 12, 19)] == ["1", SETTLING, SETTLING, SETTLING]


def test_a_skipped_stage_leaves_the_later_levels() -> None:
    times = times_of(users().levels([1, 2, 4], each="10s"))
    times.adjust(5 * S, [Stage(2, 2, 10 * S), Stage(4, 4, 10 * S)])
    assert [times.at(t * S) for t in (4, 5, 14, 15, 24, 25)] == ["1", "2", "2", "4", "4", ""]


def messages(load: Arrivals | Users) -> Sequence[str]:
    return [fault.message for fault in load.faults]


def test_wrong_levels_are_all_reported_at_once() -> None:
    value, settle, each = messages(users().levels([1, 0], each="0s", settle="x"))
    assert ("0 is not a level" in value, "x" in settle, "each= must be above 0" in each) == (True, True, True)
    assert "is empty" in messages(users().levels([], each="1m"))[0]
    assert "is not a list" in messages(arrivals().levels("1/s", each="1m"))[0]
    assert "-1/s" in messages(arrivals().levels(["-1/s"], each="1m"))[0]
    assert "number of users" in messages(users().levels(["two"], each="1m"))[0]  # type: ignore[list-item]
    assert "must be shorter than each=" in messages(users().levels([1], each="10s", settle="10s"))[0]
    assert "8 is given twice" in messages(users().levels([8, 1, 8], each="10s"))[0]
    assert "2/s is given twice" in messages(arrivals().levels([2], each="10s").levels(["120/m"], each="5s"))[0]
    assert "51 are more than 50" in messages(users().levels(range(1, 52), each="10s"))[0]


def test_a_sweep_that_may_stop_has_levels_that_rise() -> None:
    marked = users().levels([1, 2], each="1m", stop_when_saturated=True).levels([4], each="1m")
    assert [one.may_stop for one in marked.marks] == [True, True, False]
    assert "levels must rise" in messages(users().levels([1, 4, 2], each="1m", stop_when_saturated=True))[0]
    assert "must be True or False" in messages(arrivals().levels(["1/s"], each="1m", stop_when_saturated="yes"))[0]  # type: ignore[arg-type]
    assert not users().levels([4, 2], each="1m").faults

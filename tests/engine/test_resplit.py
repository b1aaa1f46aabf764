"""While agents join and leave, each arrival is of one generation and of one agent of it, at the formula's time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.errors import ProfileError
from loadgen.profiles.arrival_due_times import Listed, Schedule, Timeline
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from tests.support.examples import examples

S = 1_000_000_000
rates = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 33.3, 120.0])
stages = st.builds(Stage, rates, rates, st.integers(0, 20).map(lambda tenths: tenths * S // 10))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Of a curve with its stages, or of times of their own, played at some speed."""
    if draw(st.booleans()):
        try:
            return ArrivalProfile(tuple(draw(st.lists(stages, min_size=1, max_size=6)))).schedule()
        except ProfileError:
            return ArrivalProfile((Stage(1.0, 50.0, 5 * S),)).schedule()
    times = np.array(sorted(draw(st.lists(st.floats(0, 60), min_size=1, max_size=300))))
    profile = TimedProfile.of(times, "x").scaled_to(draw(st.sampled_from([0.5, 7.0, 300.0])))
    return Schedule(Timeline(profile.speeds), Listed(times))


@settings(max_examples=examples(150), deadline=None)
@given(
    schedule=schedules(),
    agents=st.sampled_from([1, 2, 3, 7]),
    weights=st.lists(st.integers(1, 5), min_size=8, max_size=8),
    mix=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    parts=st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted),
)
def test_no_arrival_is_lost_or_doubled_while_one_joins_and_one_leaves(
    schedule: Schedule, agents: int, weights: list[int], mix: list[int], parts: list[int]
) -> None:
    total = schedule.total()
    due_ns = schedule.due_ns(np.arange(total))
    joins_ns, leaves_ns = (schedule.end_ns * part // 100 for part in parts)
    started: list[tuple[int, int, int]] = []
    journeys = Share.of(0, [1.0], mix)
    whole, of_whole = journeys.block(0, total)
    for members, from_ns, until_ns in (
        (weights[:agents], 0, joins_ns),
        (weights[: agents + 1], joins_ns, leaves_ns),
        (weights[1 : agents + 1], leaves_ns, None),
    ):
        for index in range(len(members)):
            share = Share.of(index, members, mix)
            for block in due_times(schedule, share, from_ns=from_ns, until_ns=until_ns):
                assert all(from_ns <= due and (until_ns is None or due < until_ns) for due in block.due_ns)
                started += zip(block.n, block.due_ns, block.journey, strict=True)
    assert [n for n, _, _ in sorted(started)] == list(range(total))
    assert [due for _, due, _ in sorted(started)] == due_ns.tolist()
    assert [journey for _, _, journey in sorted(started)] == of_whole[np.argsort(whole)].tolist()


@settings(max_examples=examples(100), deadline=None)
@given(schedules(), st.sampled_from([1, 2, 3, 7]), st.lists(st.integers(1, 5), min_size=7, max_size=7))
def test_every_prefix_is_right_within_one_for_each_agent(schedule: Schedule, agents: int, weights: list[int]) -> None:
    total, members = schedule.total(), weights[:agents]
    k = np.arange(1, total + 1)
    for index, weight in enumerate(members):
        ours = np.zeros(total, dtype=np.int64)
        for block in due_times(schedule, Share.of(index, members, [1.0])):
            ours[block.n] = 1
        assert np.all(np.abs(np.cumsum(ours) - k * weight / sum(members)) < 1)

"""A fleet's schedule is the profile, dealt out: nothing twice, nothing lost, nothing out of order."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.schedule import BLOCK, Block, due_times, own_iterations
from loadgen.engine.load.share import Share, order
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from tests.support.examples import examples

S = NS_PER_S

rates = st.integers(0, 120).map(float)
profiles = (
    st.lists(st.builds(Stage, rates, rates, st.integers(0, 10 * S)), min_size=1, max_size=5)
    .filter(lambda parts: any(s.duration_ns and max(s.start, s.end) > 0 for s in parts))
    .map(lambda parts: ArrivalProfile(tuple(parts)))
)
fleets = st.lists(st.floats(0.05, 5), min_size=1, max_size=9)
mixes = st.lists(st.integers(1, 5).map(float), min_size=1, max_size=4)


@settings(max_examples=examples(60))
@given(profiles, fleets, mixes)
def test_the_schedules_of_all_agents_together_are_the_profile(
    profile: ArrivalProfile, fleet: list[float], mix: list[float]
) -> None:
    turns = order(mix)
    seen: dict[int, tuple[int, int]] = {}
    for index in range(len(fleet)):
        before_ns = 0
        for block in due_times(profile, Share.of(index, fleet, mix)):
            for due_ns, n, journey in zip(*block, strict=True):
                assert n not in seen
                assert before_ns <= due_ns < profile.duration_ns
                seen[n] = (due_ns, journey)
                before_ns = due_ns
    assert sorted(seen) == list(range(profile.total()))
    whole = profile.due_ns(np.arange(profile.total())).tolist()
    assert [seen[n][0] for n in range(len(seen))] == whole
    assert [seen[n][1] for n in range(len(seen))] == [int(turns[n % len(turns)]) for n in range(len(seen))]


@settings(max_examples=examples(60))
@given(profiles, fleets, mixes, st.integers(1, 4), st.integers(0, 50 * S))
def test_whoever_goes_on_from_a_time_has_exactly_what_is_due_from_then_on(
    profile: ArrivalProfile, fleet: list[float], mix: list[float], workers: int, from_ns: int
) -> None:
    for worker in range(workers):
        share = Share.of(0, fleet, mix, worker, workers)
        whole = [own for block in due_times(profile, share) for own in zip(*block, strict=True)]
        rest = [own for block in due_times(profile, share, from_ns=from_ns) for own in zip(*block, strict=True)]
        assert rest == [own for own in whole if own[0] >= from_ns]


def test_to_go_on_in_a_long_run_walks_through_nothing() -> None:
    profile = ArrivalProfile((Stage(1e6, 1e6, 300 * 86_400 * S),))
    first = next(due_times(profile, Share.of(0, [1, 1], [1], 1, 2), from_ns=200 * 86_400 * S))
    assert first.due_ns[0] == 200 * 86_400 * S + 2_000


def test_blocks_are_plain_lists_of_at_most_a_thousand() -> None:
    profile = ArrivalProfile((Stage(1000.0, 1000.0, 5 * S),))
    blocks = list(due_times(profile, Share.of(1, [1, 1], [1])))
    assert [len(block.n) for block in blocks] == [BLOCK, BLOCK, 500]
    assert all(type(value) is int for column in blocks[0] for value in column)


def test_a_long_run_is_not_computed_at_once() -> None:
    profile = ArrivalProfile((Stage(1e6, 1e6, 300 * 86_400 * S),))  # 2.6e13 arrivals
    first: Block = next(due_times(profile, Share.of(2, [1, 1, 1], [1])))
    assert first.n[:3] == [2, 5, 8]
    assert first.due_ns[:3] == [2_000, 5_000, 8_000]


def test_an_agent_without_weight_has_an_empty_schedule() -> None:
    profile = ArrivalProfile((Stage(100.0, 100.0, S),))
    assert list(due_times(profile, Share.of(1, [1, 0], [1]))) == []


@given(fleets, mixes, st.integers(1, 3000), st.integers(1, 50))
@settings(max_examples=examples(60))
def test_counted_iterations_are_each_done_once(fleet: list[float], mix: list[float], total: int, users: int) -> None:
    profile = IterationProfile(total, users)
    done = [own for index in range(len(fleet)) for own in own_iterations(profile, Share.of(index, fleet, mix))]
    turns = order(mix)
    assert sorted(done) == [(n, int(turns[n % len(turns)])) for n in range(total)]


def test_counted_iterations_are_given_out_as_they_are_asked_for() -> None:
    own = own_iterations(IterationProfile(10**15, 4), Share.of(0, [1, 1], [1]))
    assert list(islice(own, 3)) == [(0, 0), (2, 0), (4, 0)]


@given(fleets)
def test_the_users_of_all_agents_are_the_profiles_users(fleet: list[float]) -> None:
    profile = UserProfile((Stage(0.0, 20.0, S), Stage(20.0, 3.0, S)))
    owned = [user for index in range(len(fleet)) for user in Share.of(index, fleet, [1]).owns_users(profile.peak)]
    assert sorted(owned) == list(range(20))

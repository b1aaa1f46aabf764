"""After a change of the weights each arrival and each user is still somebody's, once, and as little moves as can."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal, moved
from tests.support.examples import examples

TOTAL = 3_000
mixes = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, list[float]]]]:
    """Weights, and what became of them: agents are lost, come back, and others join."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    first, at, changes = [float(w) for w in weights], 0, []
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.integers(0, 900))
        weights = [*weights, *draw(st.lists(st.integers(0, 5), max_size=1))]
        who = draw(st.integers(0, len(weights) - 1))
        weights[who] = draw(st.integers(0, 5))
        if not any(weights):
            weights[who] = 1
        changes.append((at, [float(w) for w in weights]))
    most = len(weights)
    return [*first, *[0.0] * (most - len(first))], changes


def deal_of(
    index: int,
    weights: list[float],
    changes: list[tuple[int, list[float]]],
    mix: list[int],
    worker: int = 0,
    workers: int = 1,
    max_users: int | None = None,
) -> Deal:
    deal = Deal(Share.of(index, weights, mix, worker, workers, max_users), max_users)
    for number, (at, now) in enumerate(changes, 1):
        deal = deal.changed(Change(number, at, tuple(now)))
    return deal


def numbers(deal: Deal, first: int = 0, total: int = TOTAL) -> list[int]:
    return [n for block, _ in deal.blocks(first, total, 100) for n in block.tolist()]


@settings(max_examples=examples(100), deadline=None)
@given(fleets(), mixes, st.integers(1, 3), st.sampled_from([None, 1, 4, 50]))
def test_each_arrival_is_of_exactly_one_worker_with_the_journey_that_it_always_had(
    fleet: tuple[list[float], list[tuple[int, list[float]]]], mix: list[int], workers: int, max_users: int | None
) -> None:
    weights, changes = fleet
    started: list[tuple[int, int]] = []
    for index in range(len(weights)):
        for worker in range(workers):
            for n, journey in deal_of(index, weights, changes, mix, worker, workers, max_users).blocks(0, TOTAL, 100):
                assert len(n)
                assert np.all(np.diff(n) > 0)
                started += zip(n.tolist(), journey.tolist(), strict=True)
    assert [n for n, _ in sorted(started)] == list(range(TOTAL))
    whole = Share.of(0, [1.0], mix)
    journeys = whole.journeys[np.arange(TOTAL) % len(whole.journeys)]
    assert [journey for _, journey in sorted(started)] == journeys.tolist()


@settings(max_examples=examples(100), deadline=None)
@given(fleets(), mixes, st.integers(0, TOTAL))
def test_who_begins_in_the_middle_comes_to_the_same_arrivals(
    fleet: tuple[list[float], list[tuple[int, list[float]]]], mix: list[int], first: int
) -> None:
    weights, changes = fleet
    for index in range(len(weights)):
        deal = deal_of(index, weights, changes, mix)
        assert numbers(deal, first) == [n for n in numbers(deal) if n >= first]


@settings(max_examples=examples(100), deadline=None)
@given(fleets(), mixes)
def test_only_who_is_to_have_less_gives_and_only_who_is_to_have_more_takes(
    fleet: tuple[list[float], list[tuple[int, list[float]]]], mix: list[int]
) -> None:
    weights, changes = fleet
    before = weights
    for k, (_, after) in enumerate(changes):
        for index in range(len(weights)):
            was = set(numbers(deal_of(index, weights, changes[:k], mix)))
            now = set(numbers(deal_of(index, weights, changes[: k + 1], mix)))
            part_before = (before + [0.0] * 9)[index] / sum(before)
            part_after = (after + [0.0] * 9)[index] / sum(after)
            assert now <= was or part_after > part_before
            assert was <= now or part_after < part_before
        before = after


def test_what_is_moved_is_moved_in_the_part_that_the_weights_say() -> None:
    weights, total = [3.0, 2.0, 4.0, 1.0], 100_000
    changes = [(10_000, [3.0, 2.0, 0.0, 1.0]), (40_000, [3.0, 2.0, 0.0, 0.0]), (60_000, [3.0, 2.0, 0.0, 0.0, 5.0])]
    for (begin, now), (end, _) in pairwise([*changes, (total, [])]):
        for index, weight in enumerate(now):
            deal = deal_of(index, [*weights, 0.0], changes, [3, 1])
            count = len(numbers(deal, begin, end))
            assert count == pytest.approx((end - begin) * weight / sum(now), abs=15)


def test_what_is_moved_has_the_mix_and_is_spread_over_the_workers() -> None:
    weights, changes = [1.0, 1.0, 1.0], [(3_000, [1.0, 0.0, 1.0])]
    found = [deal_of(0, weights, changes, [3, 1], worker, 4).blocks(3_000, 43_000, 1_000) for worker in range(4)]
    for blocks in found:
        journeys = np.concatenate([journey for _, journey in blocks])
        assert len(journeys) == pytest.approx(5_000, abs=10)
        assert np.mean(journeys == 1) == pytest.approx(0.25, abs=0.005)


@settings(max_examples=examples(100), deadline=None)
@given(fleets(), st.integers(1, 3), st.integers(1, 60))
def test_each_user_is_at_any_time_of_exactly_one_worker(
    fleet: tuple[list[float], list[tuple[int, list[float]]]], workers: int, users: int
) -> None:
    weights, changes = fleet
    tenures = [
        deal_of(index, weights, changes, [1], worker, workers).tenures(users)
        for index in range(len(weights))
        for worker in range(workers)
    ]
    for at in (0, *(at for at, _ in changes)):
        here = [
            user
            for own in tenures
            for user, times in own.items()
            if any(begin <= at and (end is None or at < end) for begin, end in times)
        ]
        assert sorted(here) == list(range(users))


def test_users_of_an_agent_that_is_not_lost_stay_where_they_are() -> None:
    weights, changes = [1.0, 1.0, 1.0], [(5_000, [1.0, 0.0, 1.0])]
    before = deal_of(0, weights, [], [1]).tenures(30)
    after = deal_of(0, weights, changes, [1]).tenures(30)
    assert all(after[user] == ((0, None),) for user in before)
    assert {begin for user in after.keys() - before.keys() for begin, _ in after[user]} == {5_000}
    lost = deal_of(1, weights, changes, [1]).tenures(30)
    assert all(times == ((0, 5_000),) for times in lost.values())


@settings(max_examples=examples(60), deadline=None)
@given(fleets(), st.integers(1, 40), st.integers(1, 3))
def test_a_cap_on_users_is_the_fleets_whoever_has_them(
    fleet: tuple[list[float], list[tuple[int, list[float]]]], max_users: int, workers: int
) -> None:
    weights, changes = fleet
    for k in range(len(changes) + 1):
        now = changes[k - 1][1] if k else weights
        most = [
            deal_of(index, weights, changes[:k], [1], worker, workers, max_users).most_users() or 0
            for index in range(len(weights))
            for worker in range(workers)
        ]
        assert sum(most) <= max(max_users, max_users + sum(w > 0 for w in now))
        for index, weight in enumerate((now + [0.0] * 9)[: len(weights)]):
            if weight and k:
                assert sum(most[index * workers : (index + 1) * workers]) >= 1


def test_a_change_that_changes_nothing_moves_nothing() -> None:
    owners = np.arange(99) % 3
    assert moved(np.arange(99), owners, [1.0, 1.0, 1.0], [0.1, 0.1, 0.1], 1).tolist() == owners.tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3), mixes)
def test_one_that_joins_sees_the_others_shares_as_they_do(weights: list[int], more: int, mix: list[int]) -> None:
    """It is told their weights with 0 for itself and for those that joined before it."""
    for index in range(len(weights)):
        own, seen = (Share.of(index, told, mix) for told in (weights, [*weights, *[0] * more]))
        assert numbers(Deal(own), 0, 500) == numbers(Deal(seen), 0, 500)
        assert own.owns_users(40) == seen.owns_users(40)

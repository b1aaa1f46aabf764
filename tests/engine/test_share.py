"""Exact shares: every arrival has one owner, and nobody is ever more than one off."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.share import MAX_PERIOD, RandomMix, RowIndex, Share, order, whole_weights
from tests.support.examples import examples

weights = st.one_of(
    st.lists(st.integers(1, 20).map(float), min_size=1, max_size=9),
    st.lists(st.integers(1, 100).map(lambda x: x / 100), min_size=1, max_size=9),
    st.lists(st.floats(0.01, 10), min_size=1, max_size=9),
    st.integers(1, 9).map(lambda m: [1.0 / m] * m),
)
mixes = st.one_of(
    st.lists(st.integers(1, 9).map(float), min_size=1, max_size=5),
    st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
)


def shares(agents: list[float], mix: list[float]) -> list[Share]:
    return [Share.of(i, agents, mix) for i in range(len(agents))]


def off_by(turns: np.ndarray, counts: tuple[int, ...]) -> float:
    """The most that any index is off its part after any number of turns."""
    so_far = np.cumsum(turns[:, None] == np.arange(len(counts)), axis=0)
    due = np.arange(1, len(turns) + 1)[:, None] * np.array(counts) / sum(counts)
    return float(np.abs(so_far - due).max())


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "whole"),
    [
        ((1.0,), (1,)),
        ((0.6, 0.4), (3, 2)),
        ((0.1, 0.2, 0.7), (1, 2, 7)),
        ((200, 100), (2, 1)),
        ((0.2, 0.2, 0.2, 0.4), (1, 1, 1, 2)),
        ((1 / 3, 1 / 3, 1 / 3), (1, 1, 1)),
        ((0.6 / 7, 0.6 / 7, 0.4), (3, 3, 14)),
        ((0.333, 0.667), (333, 667)),
        ((0, 1, 0), (0, 1, 0)),
    ],
)
def test_weights_become_the_smallest_whole_numbers(given_: tuple[float, ...], whole: tuple[int, ...]) -> None:
    assert whole_weights(given_) == (whole, False)


@pytest.mark.parametrize("m", [1, 2, 3, 7, 64, 997, 1000, 3001])
def test_equal_weights_are_exact_for_any_number(m: int) -> None:
    assert whole_weights([1 / m] * m) == ((1,) * m, False)
    assert order([0.37] * m).tolist() == list(range(m))


def test_weights_that_never_repeat_are_rounded_and_say_so() -> None:
    counts, is_rounded = whole_weights([3.14159265, 1])
    assert is_rounded
    assert sum(counts) <= MAX_PERIOD
    assert abs(counts[0] / sum(counts) - 3.14159265 / 4.14159265) < 1 / MAX_PERIOD
    assert Share.of(0, [3.14159265, 1], [1]).is_rounded
    assert not Share.of(0, [3, 1], [1]).is_rounded


def test_weights_of_any_size_and_number_are_shared_by() -> None:
    assert whole_weights([1e308, 1e308, 5e-324]) == ((500, 500, 1), True)
    assert whole_weights([1e-300, 3e-300]) == ((1, 3), False)
    measured = np.random.default_rng(1).random(5_000).tolist()
    counts, is_rounded = whole_weights(measured)
    assert is_rounded
    assert min(counts) == 1
    assert len(order(measured)) == sum(counts) < 10_000


def test_whoever_has_a_weight_has_a_turn() -> None:
    counts, is_rounded = whole_weights([1e-9, 1, 1])
    assert is_rounded
    assert counts[0] == 1


@pytest.mark.parametrize("bad", [(), (0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_weights_that_nothing_can_be_shared_by_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="invalid weights"):
        whole_weights(bad)


@given(weights)
def test_rounding_costs_nobody_more_than_a_thousandth_of_the_load(given_: list[float]) -> None:
    counts, is_rounded = whole_weights(given_)
    worst = max(abs(c / sum(counts) - w / sum(given_)) for c, w in zip(counts, given_, strict=True))
    assert worst <= (1e-3 if is_rounded else 1e-12)


# -- order ----------------------------------------------------------------------------------------


@given(weights)
def test_every_prefix_of_the_order_is_right_within_1_forwards_and_backwards(given_: list[float]) -> None:
    counts, _ = whole_weights(given_)
    turns = order(given_)
    assert len(turns) == sum(counts)
    assert off_by(np.tile(turns, 2), counts) < 1
    assert off_by(np.tile(turns[::-1], 2), counts) < 1


def test_the_order_keeps_to_the_bound_of_the_chairman_assignment() -> None:
    random = np.random.default_rng(3)
    for _ in range(100):
        m = int(random.integers(2, 10))
        given_ = random.integers(1, 30, m).tolist()
        counts, _ = whole_weights(given_)
        assert off_by(order(given_), counts) <= 1 - 1 / (2 * m - 2) + 1e-9


def test_the_order_of_three_to_one_spreads_the_one() -> None:
    assert sorted(order([3, 1]).tolist()) == [0, 0, 0, 1]
    assert order([3, 1]).tolist()[1:3].count(1) == 1


def test_who_has_no_weight_has_no_turn() -> None:
    assert order([0, 2, 0, 1]).tolist().count(0) == 0
    assert set(order([0, 5]).tolist()) == {1}


# -- shares ---------------------------------------------------------------------------------------


@given(weights, mixes, st.integers(0, 3000))
def test_the_shares_of_all_agents_are_all_arrivals_once_each(agents: list[float], mix: list[float], total: int) -> None:
    all_n, all_journeys = [], []
    for share in shares(agents, mix):
        n, journeys = share.block(0, share.count_below(total))
        assert (np.diff(n) > 0).all()
        assert not len(n) or n[-1] < total
        all_n.append(n)
        all_journeys.append(journeys)
    n = np.concatenate(all_n)
    by_n = np.argsort(n)
    assert n[by_n].tolist() == list(range(total))
    turns = order(mix)
    assert np.concatenate(all_journeys)[by_n].tolist() == turns[np.arange(total) % len(turns)].tolist()


@settings(max_examples=examples(40))
@given(weights, mixes)
def test_each_agent_has_its_part_of_every_journey_within_1_at_any_time(agents: list[float], mix: list[float]) -> None:
    total = 2500
    counts, _ = whole_weights(agents)
    journey_of = order(mix)[np.arange(total) % len(order(mix))]
    for share in shares(agents, mix):
        part = Fraction(counts[share.index], sum(counts))
        n, _ = share.block(0, share.count_below(total))
        is_own = np.zeros(total, dtype=bool)
        is_own[n] = True
        for journey in range(len(mix)):
            own = np.cumsum(is_own[journey_of == journey])
            due = np.arange(1, len(own) + 1) * float(part)
            assert not len(own) or np.abs(own - due).max() < 1


@given(weights, mixes, st.integers(0, 10**12), st.integers(0, 50))
def test_a_block_from_the_middle_is_part_of_the_whole(
    agents: list[float], mix: list[float], first: int, count: int
) -> None:
    share = Share.of(len(agents) - 1, agents, mix)
    n, journeys = share.block(first, count)
    assert len(n) == len(journeys) == count
    for k, at in enumerate(n.tolist()):
        assert share.count_below(at) == first + k
        assert share.count_below(at + 1) == first + k + 1


def test_an_agent_alone_has_everything() -> None:
    n, journeys = Share.of(0, [1.0], [3, 1]).block(0, 8)
    assert n.tolist() == list(range(8))
    assert journeys.tolist() == np.tile(order([3, 1]), 2).tolist()


def test_journeys_dealt_in_opposite_orders_keep_the_totals_even() -> None:
    for share in shares([1, 1], [1, 1]):
        assert max(abs(share.count_below(total) - total / 2) for total in range(200)) <= 1


def test_an_agent_without_weight_has_nothing() -> None:
    share = Share.of(1, [1, 0, 1], [1, 2])
    assert share.count_below(1_000_000) == 0
    assert [len(part) for part in share.block(0, 10)] == [0, 0]
    assert share.owns_users(1000) == ()


def test_a_journey_without_weight_never_comes() -> None:
    _, journeys = Share.of(0, [1, 1], [1, 0, 1]).block(0, 1000)
    assert set(journeys.tolist()) == {0, 2}


def test_an_index_that_is_not_there_is_refused() -> None:
    for index in (-1, 2):
        with pytest.raises(ValueError, match="must be at least 0 and below 2"):
            Share.of(index, [1, 1], [1])


# -- workers of an agent --------------------------------------------------------------------------

crews = st.integers(1, 5)


@settings(max_examples=examples(30))
@given(weights, mixes, st.integers(0, 2000), st.data())
def test_the_workers_of_all_agents_have_all_arrivals_once_each(
    agents: list[float], mix: list[float], total: int, data: st.DataObject
) -> None:
    """Each agent has as many workers as it likes: none needs to know of another's."""
    done: list[tuple[int, int]] = []
    for whole in shares(agents, mix):
        workers = data.draw(crews)
        dealt: list[tuple[int, int]] = []
        for worker in range(workers):
            share = Share.of(whole.index, agents, mix, worker, workers)
            n, journeys = share.block(0, share.count_below(total))
            assert (np.diff(n) > 0).all()
            dealt += zip(n.tolist(), journeys.tolist(), strict=True)
        n, journeys = whole.block(0, whole.count_below(total))
        assert sorted(dealt) == list(zip(n.tolist(), journeys.tolist(), strict=True))
        done += dealt
    assert sorted(n for n, _ in done) == list(range(total))


@settings(max_examples=examples(60))
@given(weights, mixes, crews)
def test_the_workers_of_an_agent_take_its_arrivals_of_each_journey_by_turns(
    agents: list[float], mix: list[float], workers: int
) -> None:
    whole = Share.of(0, agents, mix)
    n, journeys = whole.block(0, whole.count_below(2000))
    owner = np.zeros(len(n), dtype=np.int64)
    for worker in range(workers):
        share = Share.of(0, agents, mix, worker, workers)
        owner[np.isin(n, share.block(0, share.count_below(2000))[0])] = worker
    for journey in range(len(mix)):
        turns = owner[journeys == journey]
        once = range(workers) if journey % 2 == 0 else range(workers)[::-1]
        assert turns.tolist() == np.resize(list(once), len(turns)).tolist()


def test_a_worker_alone_has_the_share_of_its_agent() -> None:
    alone, whole = Share.of(1, [2, 1], [3, 1], 0, 1), Share.of(1, [2, 1], [3, 1])
    assert (alone.period, alone.own_n.tolist()) == (whole.period, whole.own_n.tolist())


def test_a_worker_that_is_not_there_is_refused() -> None:
    for worker in (-1, 2):
        with pytest.raises(ValueError, match="worker must be at least 0 and below 2"):
            Share.of(0, [1, 1], [1], worker, 2)


@given(weights, st.integers(0, 300), crews)
def test_every_user_of_an_agent_has_one_worker_and_they_have_as_many_within_1(
    agents: list[float], users: int, workers: int
) -> None:
    for whole in shares(agents, [1]):
        owned = [Share.of(whole.index, agents, [1], worker, workers).owns_users(users) for worker in range(workers)]
        assert sorted(user for own in owned for user in own) == list(whole.owns_users(users))
        assert max(map(len, owned)) - min(map(len, owned)) <= 1


@given(weights, mixes, crews, st.integers(1, 60))
def test_a_cap_on_users_holds_over_the_workers_and_none_without_a_user_has_an_arrival(
    agents: list[float], mix: list[float], workers: int, max_users: int
) -> None:
    for whole in shares(agents, mix):
        done: list[int] = []
        users = 0
        for worker in range(workers):
            share = Share.of(whole.index, agents, mix, worker, workers, max_users)
            most = share.most_users(max_users)
            n = share.block(0, share.count_below(300))[0].tolist()
            assert most or not n
            done, users = done + n, users + most
        assert sorted(done) == whole.block(0, whole.count_below(300))[0].tolist()
        assert users == max(1, len(whole.owns_users(max_users)))


@settings(max_examples=examples(60))
@given(weights, mixes, crews, st.integers(1, 40), st.integers(1, 500))
def test_iterations_of_a_counted_load_are_done_once_each_by_workers_with_users(
    agents: list[float], mix: list[float], workers: int, users: int, total: int
) -> None:
    done: list[int] = []
    for index in range(len(agents)):
        for worker in range(workers):
            share = Share.of(index, agents, mix, worker, workers)
            counted = share.for_iterations(users)
            n, _ = counted.block(0, counted.count_below(total))
            assert share.owns_users(users) or not len(n)
            done += n.tolist()
    assert sorted(done) == list(range(total))


def test_a_great_many_users_over_workers_cost_no_great_many_turns() -> None:
    """Weights of 5,001 and 5,000 users, beside a mix and agents that repeat only after long."""
    share = Share.of(0, [0.333, 0.667], [0.333, 0.667], 0, 2, 20_003)
    assert len(share.own_n) < 5_000_000
    other = Share.of(0, [0.333, 0.667], [0.333, 0.667], 1, 2, 20_003)
    whole = Share.of(0, [0.333, 0.667], [0.333, 0.667])
    assert share.count_below(10**9) + other.count_below(10**9) == whole.count_below(10**9)


# -- users and counted loads ----------------------------------------------------------------------


@given(weights, st.integers(0, 500))
def test_every_user_has_one_owner_and_each_agent_its_part_within_1(agents: list[float], users: int) -> None:
    counts, _ = whole_weights(agents)
    owned = [share.owns_users(users) for share in shares(agents, [1])]
    assert sorted(user for own in owned for user in own) == list(range(users))
    for own, count in zip(owned, counts, strict=True):
        assert abs(len(own) - users * count / sum(counts)) < 1


@given(weights, mixes, st.integers(1, 40), st.integers(1, 500))
def test_iterations_of_a_counted_load_all_fall_to_agents_with_users(
    agents: list[float], mix: list[float], users: int, total: int
) -> None:
    done = []
    for share in shares(agents, mix):
        counted = share.for_iterations(users)
        n, _ = counted.block(0, counted.count_below(total))
        assert share.owns_users(users) or not len(n)
        done += n.tolist()
    assert sorted(done) == list(range(total))


@given(mixes, st.integers(0, 100))
def test_a_closed_user_has_the_mix_over_time_and_the_fleet_has_it_at_any_time(mix: list[float], at: int) -> None:
    share = Share.of(0, [1, 1, 1], mix)
    period = len(share.journeys)
    counts = list(whole_weights(mix)[0])
    one_user = [share.journey_of(at, i) for i in range(period)]
    all_at_once = [share.journey_of(user, at) for user in range(period)]
    for journeys in (one_user, all_at_once):
        assert [journeys.count(j) for j in range(len(mix))] == counts


# -- rows -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9).map(float), min_size=1, max_size=5), st.data())
def test_the_readers_of_a_feed_use_it_up_row_by_row(mix: list[float], data: st.DataObject) -> None:
    readers = data.draw(st.sets(st.integers(0, len(mix) - 1), min_size=1))
    row_of = RowIndex(mix, readers)
    turns = order(mix)
    reading = [n for n in range(500) if int(turns[n % len(turns)]) in readers]
    assert [row_of(n) for n in reading] == list(range(len(reading)))
    assert row_of.below(500) == len(reading)


# -- a mix by chance ------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), load=st.integers(0, 5), cut=st.integers(0, 500))
def test_a_random_mix_draws_each_arrival_by_itself(seed: int, load: int, cut: int) -> None:
    mix = RandomMix(seed, load, [3, 1, 0])
    n = np.arange(500)
    whole = mix.journeys(n)
    parts = np.concatenate([mix.journeys(n[:cut]), mix.journeys(n[cut:])])
    assert np.array_equal(whole, parts)
    assert mix.journey(cut) == mix.journeys(np.array([cut]))[0]


def test_a_random_mix_has_its_weights_and_no_memory() -> None:
    drawn = RandomMix(7, 0, [3, 1, 0]).journeys(np.arange(100_000))
    counts = np.bincount(drawn, minlength=3)
    assert counts[2] == 0
    assert abs(counts[0] - 75_000) < 4 * (100_000 * 0.75 * 0.25) ** 0.5
    pairs = np.mean((drawn[1:] == 0) & (drawn[:-1] == 0))
    assert abs(pairs - 0.75**2) < 0.01


def test_other_seeds_and_loads_draw_otherwise() -> None:
    n = np.arange(1_000)
    first = RandomMix(7, 0, [1, 1]).journeys(n)
    assert not np.array_equal(first, RandomMix(8, 0, [1, 1]).journeys(n))
    assert not np.array_equal(first, RandomMix(7, 1, [1, 1]).journeys(n))

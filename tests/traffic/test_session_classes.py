"""Kinds of sessions: as many as there are, with their shares and chains."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.traffic.model.session_classes import SessionClasses, classes_of
from loadgen.traffic.sessions.session_sample import mixed
from loadgen.traffic.sessions.session_steps import SessionSteps, steps_of_table
from loadgen.traffic.sessions.session_table import joined
from tests.support.made_sessions import MarkovKinds, sessions_of, walks_of

MIX = (0.5, 0.25, 0.25)


def assigned(classes: SessionClasses, steps: SessionSteps) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return classes.assigned(steps, mixed(np.arange(steps.count, dtype=np.uint64)))


def shares_off(kinds: MarkovKinds, count: int, seed: int) -> tuple[int, float]:
    """The number of kinds found, and the largest difference of a share from that of the log's own sessions."""
    table, truth = kinds.sessions(count, seed)
    steps = steps_of_table(table)
    classes = classes_of(steps)
    found = np.bincount(assigned(classes, steps), minlength=len(kinds.mix)) / count
    real = np.sort(np.bincount(truth, minlength=len(kinds.mix)) / count)[::-1]
    return classes.count, float(np.abs(np.sort(found)[::-1][: len(real)] - real).max())


@pytest.mark.slow
def test_three_kinds_of_20_chains_are_found_in_19_of_20() -> None:
    found = [shares_off(MarkovKinds(MIX, seed=seed), 5_000, seed) for seed in range(20)]

    assert sum(kinds == 3 and off <= 0.015 for kinds, off in found) >= 19, found


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_sessions_of_one_chain_are_one_kind(seed: int) -> None:
    assert shares_off(MarkovKinds((1.0,), spread=0.5, seed=seed), 3_000, seed)[0] == 1


@pytest.mark.parametrize("count", [3_000, pytest.param(8_000, marks=pytest.mark.slow)])
def test_each_kind_is_found_again_with_its_share_and_its_chain(count: int) -> None:
    kinds = MarkovKinds(MIX)
    table, truth = kinds.sessions(count, 3)
    steps = steps_of_table(table)
    classes = classes_of(steps)
    found = assigned(classes, steps)

    assert classes.count == 3
    shares = (np.sort(np.bincount(kind, minlength=3)) / count for kind in (found, truth))
    assert np.abs(np.subtract(*shares)).max() <= 0.015
    for number in range(3):
        walks = walks_of(steps.chosen(found == number))
        kind = int(np.argmax(np.bincount(truth[found == number])))
        total = walks.moves.sum(1) + walks.leaves
        for state in np.flatnonzero(total >= 100):
            row = np.append(walks.moves[state, : kinds.states], walks.leaves[state]) / total[state]
            expected = kinds.rows[kind][state]
            bound = np.maximum(0.02, 4.5 * np.sqrt(expected * (1 - expected) / total[state]))
            assert (np.abs(row - expected) <= bound).all(), (number, state)


def test_kinds_without_a_common_state_are_told_apart() -> None:
    """One chain of all their states is as likely as a mixture, so the likelihood alone cannot tell."""
    (shop, _), (account, _) = (MarkovKinds((1.0,), states=4, spread=1, seed=n).sessions(700, n) for n in (1, 2))
    steps = steps_of_table(joined([shop.named(shop.state, 9), account.named(account.state + 4, 9)]))

    found = assigned(classes_of(steps), steps)

    assert found.tolist() in ([0] * 700 + [1] * 700, [1] * 700 + [0] * 700)


def test_quick_and_slow_sessions_of_one_chain_are_two_kinds() -> None:
    one = MarkovKinds((1.0,), seed=1)
    (quick, _), (slow, _) = one.sessions(1_500, 1, think=(0.5, 0.4)), one.sessions(1_500, 2, think=(2.5, 0.4))
    pairs = [
        [(int(table.state[n]), int(table.start[n])) for n in range(table.bounds[s], table.bounds[s + 1])]
        for table in (quick, slow)
        for s in range(table.count)
    ]
    several = np.array([len(pair) > 2 for pair in pairs])
    steps = steps_of_table(sessions_of(pairs, states=16))

    classes = classes_of(steps)

    assert classes.count == 2
    is_slow = np.arange(3_000) >= 1_500
    found = assigned(classes, steps)
    agree = (found == found[several & is_slow].max()) == is_slow
    assert max(agree[several].mean(), 1 - agree[several].mean()) > 0.95


def test_few_sessions_are_one_kind_and_one_can_be_asked_for() -> None:
    kinds = MarkovKinds(MIX)
    few, _ = kinds.sessions(90, 1)
    many, _ = kinds.sessions(1_000, 1)

    assert classes_of(steps_of_table(few)).count == 1
    assert classes_of(steps_of_table(many), most=1).count == 1


def test_a_kind_does_not_depend_on_chance() -> None:
    table, _ = MarkovKinds(MIX).sessions(800, 1)
    steps = steps_of_table(table)

    assert np.array_equal(assigned(classes_of(steps), steps), assigned(classes_of(steps), steps))


def test_a_fast_kind_that_shares_its_only_step_with_a_slow_one_splits_no_other_kind() -> None:
    # Kind 2 makes most steps from page to page, and makes them fast, so the usual pause of that step is none of kind 0.
    find, page, table, leave = range(4)
    rows = {
        0: {find: [0.3, 0.5, 0, 0.2], page: [0.3, 0.3, 0, 0.4]},
        1: {table: [0, 0.9, 0, 0.1], page: [0, 0, 0.6, 0.4]},
        2: {page: [0, 0.8, 0, 0.2]},
    }
    rng = np.random.default_rng(3)
    kinds = np.repeat([0, 1, 2], [3_600, 1_800, 1_200])
    starts, think = (find, table, page), ((0.9, 0.5), (0.9, 0.5), (-0.2, 0.4))
    sessions = []
    for kind in kinds.tolist():
        state, at, one = starts[kind], int(rng.uniform(0, 6e8)), []
        while state != leave:
            one.append((state, at))
            at += 20_000 + int(rng.lognormal(*think[kind]) * 1e6)
            state = int(rng.choice(4, p=rows[kind][state]))
        sessions.append(one)

    found = classes_of(steps_of_table(sessions_of(sessions, states=4)))

    assert found.count == 3
    assert np.sort(found.weights) == pytest.approx([1_200 / 6_600, 1_800 / 6_600, 3_600 / 6_600], abs=0.02)
    assert np.exp(np.ptp(found.tempo)) == pytest.approx(np.exp(1.1), rel=0.15)

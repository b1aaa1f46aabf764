"""Sessions as absorbing chains: figures against closed forms and sums, walks that cover every place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.graphs.markov_analysis import covering, longer_than, reached, visits

GRAPHS = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, n - 1), min_size=1, max_size=3, unique=True),
        st.lists(st.lists(st.integers(0, n - 1), max_size=4, unique=True), min_size=n, max_size=n),
        st.sets(st.integers(0, n - 1), min_size=1),
    )
)
"""Where sessions begin, where each place leads to, and where they may leave."""


def a_chain(seed: int, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Entry and hops, drawn; from each place a way out."""
    draw = np.random.default_rng(seed)
    rows = draw.dirichlet(np.full(places + 1, 0.7), size=places)
    rows[:, -1] += 0.05
    return draw.dirichlet(np.ones(places)), rows[:, :-1] / rows.sum(axis=1, keepdims=True)


def test_one_place_that_is_stayed_at_is_visited_as_a_geometric_law_says() -> None:
    entry, hops = np.array([1.0]), np.array([[0.75]])

    assert visits(entry, hops) == pytest.approx([4])
    assert longer_than(entry, hops, 10) == pytest.approx(0.75**10)


def test_a_gambler_is_ruined_as_long_as_the_closed_form_says() -> None:
    """A fair game for 10 chips, begun with 3: 3 · (10 - 3) rounds, and of each stake as many as Feller gives."""
    hops = np.zeros((9, 9))
    for i in range(8):
        hops[i, i + 1] = hops[i + 1, i] = 0.5
    entry = np.eye(9)[2]

    found = visits(entry, hops)

    assert found.sum() == pytest.approx(3 * 7)
    assert found == pytest.approx([2 * min(3, k) * (10 - max(3, k)) / 10 for k in range(1, 10)])


@pytest.mark.parametrize("seed", range(5))
def test_visits_are_the_sum_over_all_lengths(seed: int) -> None:
    entry, hops = a_chain(seed, 7)
    at, summed, lengths = entry, np.zeros(7), []
    for _ in range(3_000):
        summed += at
        lengths.append(at.sum())
        at = at @ hops

    assert visits(entry, hops) == pytest.approx(summed, rel=1e-9)
    assert [longer_than(entry, hops, most) for most in (1, 2, 30)] == pytest.approx([lengths[n] for n in (1, 2, 30)])


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=30))
def test_the_chain_that_is_counted_from_sessions_has_their_very_visits(sessions: list[list[int]]) -> None:
    """Flow in is flow out at each place, so counts solve the equations, whatever the sessions were like."""
    entry, counts = np.zeros(6), np.zeros((6, 7))
    for places in sessions:
        entry[places[0]] += 1 / len(sessions)
        for at, after in pairwise([*places, 6]):
            counts[at, after] += 1
    hops = counts[:, :-1] / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    assert visits(entry, hops) == pytest.approx(counts.sum(axis=1) / len(sessions))


@given(GRAPHS)
def test_walks_that_cover_are_walks_and_visit_all_that_can_be_reached(
    graph: tuple[list[int], list[list[int]], set[int]],
) -> None:
    begin, onward, exits = graph
    back: list[list[int]] = [[i for i, more in enumerate(onward) if j in more] for j in range(len(onward))]
    exits |= set(range(len(onward))) - reached(exits, back)  # from everywhere there is a way out

    walks = covering(begin, onward, exits)

    assert {place for walk in walks for place in walk} == reached(begin, onward)
    assert len(walks) <= len(onward)
    for walk in walks:
        assert walk[0] in begin
        assert walk[-1] in exits
        assert all(b in onward[a] for a, b in pairwise(walk))
        assert len(walk) <= len(onward) ** 2


def test_one_walk_covers_what_one_walk_can() -> None:
    ring = [[1], [2], [3], [0]]

    assert covering([0], ring, [2]) == [[0, 1, 2, 3, 0, 1, 2]]


def test_branches_that_never_meet_take_a_walk_each() -> None:
    fork: list[list[int]] = [[1, 2], [], []]

    assert covering([0], fork, [1, 2]) == [[0, 1], [0, 2]]

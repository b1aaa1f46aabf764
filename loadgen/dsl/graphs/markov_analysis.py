"""Calculates sessions as absorbing Markov chains: mean visits, length, and reachable places.

Places are numbered 0 to n - 1. `entry[i]` is the probability that a session starts at
place i, and `hops[i, j]` that it goes from i to j. The difference between a row's sum and 1 is
the probability to leave from there. This module is pure arithmetic: no journeys, no random numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

import numpy as np

__all__ = ["covering", "longer_than", "reached", "visits"]


def visits(entry: np.ndarray, hops: np.ndarray) -> np.ndarray:
    """Return the mean number of visits of each place (node of the graph) per session.

    Args:
        entry: (n,) float64, sums to 1.
        hops: (n, n) float64; every place that is entered must have a way out.
    Returns:
        (n,) float64: entry · N, with the fundamental matrix N = (I - hops)⁻¹, solved instead of inverted. All are
        infinite if the probabilities to leave are too small for floating point.
    Source: Kemeny and Snell, Finite Markov Chains, theorem 3.2.4.
    """
    try:
        solved: np.ndarray = np.linalg.solve(np.eye(len(entry)) - hops.T, entry)
    except np.linalg.LinAlgError:
        return np.full(len(entry), np.inf)
    return solved


def longer_than(entry: np.ndarray, hops: np.ndarray, most: int) -> float:
    """Return the probability, 0 to 1, that a session has more than `most` visits: entry · hops^most · 1.

    Cost: log2(most) matrix products.
    """
    return float((entry @ np.linalg.matrix_power(hops, most)).sum())


def reached(begin: Iterable[int], onward: Sequence[Collection[int]]) -> set[int]:
    """Return the numbers of all places that can be reached from the places `begin`, which are included.

    onward: for each place, the places to which it has an edge.
    """
    found, waiting = set(begin), deque(begin)
    while waiting:
        for place in onward[waiting.popleft()]:
            if place not in found:
                found.add(place)
                waiting.append(place)
    return found


def covering(begin: Sequence[int], onward: Sequence[Sequence[int]], exits: Collection[int]) -> list[list[int]]:
    """Return a few walks (lists of places) from one of `begin` to an exit, which together visit every reachable place.

    Each walk goes to the nearest unvisited place, and to the nearest exit when no unvisited place is reachable. The
    result is not always the shortest, which would be NP-hard, but has at most n walks.

    Args:
        exits: the places from which a session may leave; every place must lead to one.
    """
    left = reached(begin, onward)
    walks: list[list[int]] = []
    while left:
        walk = _nearest(begin, onward, left)
        left -= set(walk)
        while more := _nearest(onward[walk[-1]], onward, left):
            walk += more
            left -= set(more)
        if walk[-1] not in exits:
            walk += _nearest(onward[walk[-1]], onward, exits)
        walks.append(walk)
    return walks


def _nearest(begin: Iterable[int], onward: Sequence[Iterable[int]], wanted: Collection[int]) -> list[int]:
    """Return the shortest path from one of `begin` to one of `wanted`, both included; [] if there is none."""
    before: dict[int, int | None] = dict.fromkeys(begin)
    waiting = deque(before)
    while waiting:
        place = waiting.popleft()
        if place in wanted:
            way: list[int] = []
            at: int | None = place
            while at is not None:
                way.append(at)
                at = before[at]
            return way[::-1]
        for more in onward[place]:
            if more not in before:
                before[more] = place
                waiting.append(more)
    return []

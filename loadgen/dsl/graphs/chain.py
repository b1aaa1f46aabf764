"""Arithmetic of sessions as absorbing Markov chains: visits, length, and what can be reached. Places are 0 to n - 1.

`entry[i]` is the probability that a session begins at place i; `hops[i, j]` that it
goes from i to j. What is left of a row is the probability to leave from there.
Nothing here knows of journeys, and nothing draws a number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

import numpy as np

__all__ = ["covering", "longer_than", "reached", "visits"]


def visits(entry: np.ndarray, hops: np.ndarray) -> np.ndarray:
    """How often each place is visited in a session, on average.

    Args:
        entry: (n,) float64, sums to 1.
        hops: (n, n) float64; from every place that is entered there is a way out.
    Returns:
        (n,) float64: entry · N, with the fundamental matrix N = (I - hops)⁻¹, solved and not inverted. Infinity
        everywhere where the ways out are too unlikely for floating point to tell them from none.
    Source: Kemeny and Snell, Finite Markov Chains, theorem 3.2.4.
    """
    try:
        solved: np.ndarray = np.linalg.solve(np.eye(len(entry)) - hops.T, entry)
    except np.linalg.LinAlgError:
        return np.full(len(entry), np.inf)
    return solved


def longer_than(entry: np.ndarray, hops: np.ndarray, most: int) -> float:
    """The probability that a session has more than `most` visits: entry · hops^most · 1. Cost: log2(most) products."""
    return float((entry @ np.linalg.matrix_power(hops, most)).sum())


def reached(begin: Iterable[int], onward: Sequence[Collection[int]]) -> set[int]:
    """All places to which a way leads from `begin`, those included. onward[i]: where i leads to."""
    found, waiting = set(begin), deque(begin)
    while waiting:
        for place in onward[waiting.popleft()]:
            if place not in found:
                found.add(place)
                waiting.append(place)
    return found


def covering(begin: Sequence[int], onward: Sequence[Sequence[int]], exits: Collection[int]) -> list[list[int]]:
    """Walks from `begin` to an exit that together visit every place that can be reached; few, and short.

    Each goes to the nearest place that was not visited yet, and leaves by the nearest exit when none can be reached.
    That is not always the fewest steps (to find those is NP-hard), but never more than n walks.

    Args:
        exits: where a session may leave; one can be reached from everywhere.
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
    """The shortest way from one of `begin` to one of `wanted`, both included; empty where there is none."""
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

"""Counts the steps of sessions between request names: first and last requests, successors, and the pauses between them.

Each of the busiest names is a state. One more state, the last, has the requests of all other names. A session counts
with all its requests or not at all, so the numbers of each state balance: sessions that start there + moves to it =
moves from it + sessions that end there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.gap_bins import BINS, bin_of

__all__ = ["WalkCounter", "Walks"]


@dataclass(frozen=True)
class Walks:
    """Counts by state. Arrays have one entry, row or column for each state."""

    starts: NDArray[np.int64]
    moves: NDArray[np.int64]
    """moves[a, b]: how often b followed a."""
    leaves: NDArray[np.int64]
    gaps: NDArray[np.int64]
    """gaps[a, b]: pauses before b, in the bins of `gap_bins`. A pause begins when all earlier requests have ended."""
    requests: NDArray[np.int64]
    """All requests, including those of cut sessions."""
    with_query: NDArray[np.int64]
    """Requests with a query."""
    statuses: NDArray[np.int64]
    """statuses[a, s]: requests with the status s, 0 to 999."""

    @property
    def flow_is_exact(self) -> bool:
        """Whether as many sessions reach each state as leave it. False would be a bug."""
        return bool(np.array_equal(self.starts + self.moves.sum(0), self.moves.sum(1) + self.leaves))


class WalkCounter:
    """Counts the steps of sessions in the rows of all partitions."""

    def __init__(self, states: int) -> None:
        self._states = states
        self._starts = np.zeros(states, np.int64)
        self._leaves = np.zeros(states, np.int64)
        self._moves = np.zeros(states * states, np.int64)
        self._gaps = np.zeros(states * states * BINS, np.int64)
        self._requests = np.zeros(states, np.int64)
        self._with_query = np.zeros(states, np.int64)
        self._statuses = np.zeros(states * 1_000, np.int64)

    def add(
        self,
        state: NDArray[np.int64],
        start: NDArray[np.int64],
        latest: NDArray[np.int64],
        first: NDArray[np.int64],
        is_counted: NDArray[np.bool_],
    ) -> None:
        """Add rows that are sorted by user and start.

        latest: for each row, the latest end of the user's requests so far. first: the row where each session begins.
        is_counted: for each session, whether it counts.
        """
        states = self._states
        after = np.append(first[1:], len(state))
        kept, last = first[is_counted], after[is_counted] - 1
        self._starts += np.bincount(state[kept], minlength=states)
        self._leaves += np.bincount(state[last], minlength=states)
        is_followed = np.repeat(is_counted, after - first)
        is_followed[after - 1] = False
        before = np.flatnonzero(is_followed)
        move = state[before] * states + state[before + 1]
        self._moves += np.bincount(move, minlength=len(self._moves))
        gap = bin_of(start[before + 1] - latest[before])
        np.add.at(self._gaps, move * BINS + gap, 1)

    def add_requests(self, state: NDArray[np.int64], status: NDArray[np.int64], has_query: NDArray[np.bool_]) -> None:
        """Count the statuses and queries of all requests."""
        self._requests += np.bincount(state, minlength=self._states)
        self._with_query += np.bincount(state[has_query], minlength=self._states)
        self._statuses += np.bincount(state * 1_000 + status, minlength=len(self._statuses))

    def walks(self) -> Walks:
        """Return the counts."""
        states = self._states
        found = Walks(
            starts=self._starts,
            moves=self._moves.reshape(states, states),
            leaves=self._leaves,
            gaps=self._gaps.reshape(states, states, BINS),
            requests=self._requests,
            with_query=self._with_query,
            statuses=self._statuses.reshape(states, 1_000),
        )
        assert found.flow_is_exact
        return found

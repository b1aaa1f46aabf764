"""Counts requests by state: statuses, queries, server time, and the parts of actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.sessions.actions import main_of

__all__ = ["RequestCounter", "RequestCounts"]


@dataclass(frozen=True)
class RequestCounts:
    """Counts of all requests, including those of cut sessions. Arrays have one entry or row for each state."""

    requests: NDArray[np.int64]
    with_query: NDArray[np.int64]
    statuses: NDArray[np.int64]
    """statuses[a, s]: requests with the status s, 0 to 999."""
    actions: NDArray[np.int64]
    """Actions by the state of their main request."""
    children: NDArray[np.int64]
    """children[m, c]: requests c in actions whose main request is m."""

    took_us: NDArray[np.int64]
    """Sum of the durations, in µs; all 0 if the log has none."""

    @property
    def query_shares(self) -> list[float]:
        """Share of the requests that have a query, by state."""
        found: list[float] = (self.with_query / np.maximum(self.requests, 1)).tolist()
        return found


class RequestCounter:
    """Counts the requests of all partitions."""

    def __init__(self, states: int) -> None:
        self._states = states
        self._requests = np.zeros(states, np.int64)
        self._with_query = np.zeros(states, np.int64)
        self._statuses = np.zeros(states * 1_000, np.int64)
        self._actions = np.zeros(states, np.int64)
        self._children = np.zeros(states * states, np.int64)
        self._took_us = np.zeros(states, np.int64)

    def add(
        self,
        state: NDArray[np.int64],
        status: NDArray[np.int64],
        has_query: NDArray[np.bool_],
        is_main: NDArray[np.bool_],
    ) -> None:
        """Add requests that are sorted by user and start. is_main: the first one is a main request."""
        states = self._states
        self._requests += np.bincount(state, minlength=states)
        self._with_query += np.bincount(state[has_query], minlength=states)
        self._statuses += np.bincount(state * 1_000 + status, minlength=len(self._statuses))
        self._actions += np.bincount(state[is_main], minlength=states)
        child = np.flatnonzero(~is_main)
        pair = state[main_of(is_main)[child]] * states + state[child]
        self._children += np.bincount(pair, minlength=len(self._children))

    def add_times(self, state: NDArray[np.int64], took_s: NDArray[np.float32]) -> None:
        """Add durations; NaN if unknown. Sums of whole µs do not depend on the order of the lines."""
        took_us = np.rint(np.nan_to_num(took_s.astype(np.float64)) * 1e6)
        self._took_us += np.bincount(state, weights=took_us, minlength=self._states).astype(np.int64)

    def counts(self) -> RequestCounts:
        """Return the counts."""
        states = self._states
        return RequestCounts(
            self._requests,
            self._with_query,
            self._statuses.reshape(states, 1_000),
            self._actions,
            self._children.reshape(states, states),
            self._took_us,
        )

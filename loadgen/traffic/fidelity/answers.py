"""The answers of the target in a log: durations, statuses and bytes by name. Simulations draw from these answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.session_summary import SessionSummary
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = ["Answers", "answers_of", "median_durations"]


@dataclass(frozen=True)
class Answers:
    """Answers by state. states: the names; the last one is for all other requests.

    took_us: the median duration; 0 if the log has no durations. statuses, sizes: as in `SessionSummary`.
    """

    states: tuple[str, ...]
    took_us: NDArray[np.int64]
    statuses: NDArray[np.int64]
    sizes: NDArray[np.float64]

    def drawn(self, state: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a random status and size for each request, with the frequencies of its state."""
        status, size = np.zeros(len(state), np.int64), np.zeros(len(state), np.int64)
        for one in np.unique(state):
            here = np.flatnonzero(state == one)
            counts = self.statuses[one]
            if counts.any():
                below = np.cumsum(counts) / counts.sum()
                status[here] = np.searchsorted(below, rng.uniform(0, 1, len(here)), side="right")
            quantiles = self.sizes[one]
            if np.isfinite(quantiles[0]):
                grid = np.linspace(0, 1, len(quantiles))
                size[here] = np.rint(np.interp(rng.uniform(0, 1, len(here)), grid, quantiles)).astype(np.int64)
        return status, size


def answers_of(table: SessionTable, summary: SessionSummary, states: tuple[str, ...]) -> Answers:
    """Return the answers in a table. summary: of the table."""
    return Answers(states, median_durations(table), summary.statuses, summary.sizes)


def median_durations(table: SessionTable) -> NDArray[np.int64]:
    """Return the median duration of a request by state, in us; 0 for a state without requests."""
    order = np.lexsort((table.end - table.start, table.state))
    counts = np.bincount(table.state, minlength=table.states)
    middle = np.cumsum(counts) - counts + counts // 2
    there = counts > 0
    found = np.zeros(table.states, np.int64)
    found[there] = (table.end - table.start)[order][middle[there]]
    return found

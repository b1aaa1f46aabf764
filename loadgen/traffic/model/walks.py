"""Counts the steps of sessions between request names: first and last requests, successors, and the pauses between them.

Each of the busiest names is a state. One more state, the last, has the requests of all other names. A session counts
with all its actions or not at all, so the numbers of each state balance: sessions that start there + moves to it =
moves from it + sessions that end there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.model.gap_bins import BINS, bin_of
from loadgen.traffic.sessions.session_steps import SessionSteps

__all__ = ["WalkCounter", "Walks"]


@dataclass(frozen=True)
class Walks:
    """Counts by state. Arrays have one entry, row or column for each state."""

    starts: NDArray[np.int64]
    moves: NDArray[np.int64]
    """moves[a, b]: how often b followed a."""
    leaves: NDArray[np.int64]
    triples: NDArray[np.int64]
    """triples[i, j, l]: how often i was followed by j, and then by l. The last number of each axis is the outside."""
    gaps: NDArray[np.int64]
    """gaps[a, b]: pauses before b, in the bins of `gap_bins`. A pause begins when all earlier requests have ended."""

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return int(self.starts.sum())

    @property
    def visits(self) -> NDArray[np.int64]:
        """Actions by state."""
        found: NDArray[np.int64] = self.starts + self.moves.sum(0)
        return found

    @property
    def flow_is_exact(self) -> bool:
        """Whether as many sessions reach each state as leave it. False would be a bug."""
        return bool(np.array_equal(self.visits, self.moves.sum(1) + self.leaves))


class WalkCounter:
    """Counts the steps of sessions, which `add` gets in parts."""

    def __init__(self, states: int) -> None:
        self._states = states
        self._steps = np.zeros((states + 1) ** 2, np.int64)
        self._triples = np.zeros((states + 1) ** 3, np.int64)
        self._gaps = np.zeros(states * states * BINS, np.int64)

    def add(self, steps: SessionSteps) -> None:
        """Add sessions."""
        outside = self._states
        self._steps += np.bincount(steps.step, minlength=len(self._steps))
        is_last = np.zeros(len(steps.step), bool)
        is_last[steps.bounds[1:] - 1] = True
        at = np.flatnonzero(~is_last)
        triple = steps.step[at] * (outside + 1) + steps.step[at + 1] % (outside + 1)
        self._triples += np.bincount(triple, minlength=len(self._triples))
        is_between = steps.pause_us >= 0
        before, to = np.divmod(steps.step[is_between], outside + 1)
        place = (before * outside + to) * BINS + bin_of(steps.pause_us[is_between])
        np.add.at(self._gaps, place, 1)

    def walks(self) -> Walks:
        """Return the counts."""
        states = self._states
        steps = self._steps.reshape(states + 1, states + 1)
        found = Walks(
            starts=steps[states, :states],
            moves=steps[:states, :states],
            leaves=steps[:states, states],
            triples=self._triples.reshape(states + 1, states + 1, states + 1),
            gaps=self._gaps.reshape(states, states, BINS),
        )
        assert found.flow_is_exact
        return found

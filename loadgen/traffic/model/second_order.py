"""States whose next step depends on the step before: what follows a product page after a search differs from what
follows it after the cart.

Such a state is split: the visits that come from one other state become a state of their own. A split must explain the
sessions better than its parameters cost (BIC of its row), and differ from the usual row by at least 0.02 bit,
because smaller distances always pass in the table of fidelity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "SplitWalks", "split_walks", "splits_of"]

MOST_SPLITS: Final = 8
"""For one kind of sessions. A graph with more splits is hard to read."""
_LEAST_VISITS: Final = 100
_LEAST_BITS: Final = 0.02


@dataclass(frozen=True, order=True)
class Split:
    """The visits of a state that come from the state `before`; the number of states stands for the outside."""

    state: int
    before: int


@dataclass(frozen=True)
class SplitWalks:
    """Counts of steps with splits: the old states, and then one state for each split.

    base: by state, the old state. starts, moves, leaves: as in `Walks`.
    """

    splits: tuple[Split, ...]
    base: tuple[int, ...]
    starts: NDArray[np.int64]
    moves: NDArray[np.int64]
    leaves: NDArray[np.int64]

    @property
    def visits(self) -> NDArray[np.int64]:
        """Actions by state."""
        found: NDArray[np.int64] = self.starts + self.moves.sum(0)
        return found


def splits_of(triples: NDArray[np.int64], most: int = MOST_SPLITS) -> tuple[Split, ...]:
    """Return at most `most` splits, those that explain the sessions best, sorted.

    triples[i, j, l]: how often i was followed by j, and then by l. The last number of each axis is the outside.
    """
    states = len(triples) - 1
    found = []
    for state in range(states):
        rows = triples[:, state, :].astype(np.float64)
        usual = rows.sum(0)
        total = usual.sum()
        if total < 2 * _LEAST_VISITS:
            continue
        cost = (np.count_nonzero(usual) - 1) * log(total)
        for before in np.flatnonzero(rows.sum(1) >= _LEAST_VISITS):
            row, rest = rows[before], usual - rows[before]
            if rest.sum() >= _LEAST_VISITS and _bits(row, rest) >= _LEAST_BITS:
                gain = 2 * (_likelihood(row) + _likelihood(rest) - _likelihood(usual))
                if gain > cost:
                    found.append((gain, Split(state, int(before))))
    found.sort(key=lambda one: (-one[0], one[1]))
    return tuple(sorted(split for _, split in found[:most]))


def split_walks(triples: NDArray[np.int64], splits: Sequence[Split]) -> SplitWalks:
    """Return the counts of steps with these splits."""
    outside = len(triples) - 1
    size = outside + len(splits)
    place = np.tile(np.arange(outside), (outside + 1, 1))
    """place[i, j]: the new state of j after i."""
    for number, split in enumerate(splits):
        place[split.before, split.state] = outside + number
    starts, leaves = np.zeros(size, np.int64), np.zeros(size, np.int64)
    moves = np.zeros((size, size), np.int64)
    before, at, to = np.nonzero(triples[:, :outside, :])
    count = triples[before, at, to]
    here = place[before, at]
    np.add.at(starts, here[before == outside], count[before == outside])
    np.add.at(leaves, here[to == outside], count[to == outside])
    goes_on = to < outside
    np.add.at(moves, (here[goes_on], place[at[goes_on], to[goes_on]]), count[goes_on])
    base = (*range(outside), *(split.state for split in splits))
    return SplitWalks(tuple(splits), base, starts, moves, leaves)


def _likelihood(row: NDArray[np.float64]) -> float:
    seen = row[row > 0]
    return float((seen * np.log(seen / seen.sum())).sum())


def _bits(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the divergence of Jensen and Shannon between two rows of counts."""
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2
    sides = (float((side[side > 0] * np.log2(side[side > 0] / middle[side > 0])).sum()) for side in (p, q))
    return sum(sides) / 2

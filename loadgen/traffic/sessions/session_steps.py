"""Sessions as steps: to their first action, from action to action, and away from the last one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.sessions.session_table import SessionTable, places_of
from loadgen.traffic.sessions.sessions import latest_ends

__all__ = ["SessionSteps", "steps_of", "steps_of_table"]


@dataclass(frozen=True)
class SessionSteps:
    """The steps of sessions, one session after the other. A session with n actions has n + 1 steps.

    bounds: session s has the steps bounds[s] to bounds[s + 1] - 1.
    step: from * (states + 1) + to. Both are states of main requests, or `states`: the outside, from which a session
    comes and to which it goes.
    pause_us: from the end of everything before to the start of the main request; -1 for the first and the last step of
    a session.
    """

    states: int
    bounds: NDArray[np.int64]
    step: NDArray[np.int64]
    pause_us: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.bounds) - 1

    @property
    def different(self) -> int:
        """The number of different steps that are possible."""
        return (self.states + 1) ** 2

    @property
    def actions(self) -> NDArray[np.int64]:
        """By session: its actions."""
        return np.diff(self.bounds) - 1

    def chosen(self, sessions: NDArray[np.int64] | NDArray[np.bool_]) -> SessionSteps:
        """Return these sessions, in this order. sessions: numbers, or whether each is chosen."""
        bounds, at = places_of(self.bounds, np.arange(self.count)[sessions])
        return SessionSteps(self.states, bounds, self.step[at], self.pause_us[at])


def steps_of(
    state: NDArray[np.int64],
    start: NDArray[np.int64],
    latest: NDArray[np.int64],
    is_main: NDArray[np.bool_],
    first: NDArray[np.int64],
    states: int,
) -> SessionSteps:
    """Return the steps of sessions whose requests are sorted by user and start.

    latest: for each request, the latest end of its user's requests so far. first: the first request of each session,
    which is a main one.
    """
    main = np.flatnonzero(is_main)
    first_main = np.searchsorted(main, first)
    bounds = np.append(first_main, len(main)) + np.arange(len(first) + 1)
    size = int(bounds[-1])
    begins, ends = np.zeros(size, bool), np.zeros(size, bool)
    begins[bounds[:-1]], ends[bounds[1:] - 1] = True, True
    before, to = np.full(size, states), np.full(size, states)
    before[~begins], to[~ends] = state[main], state[main]
    is_later = np.ones(len(main), bool)
    is_later[first_main] = False
    later = main[is_later]
    pause = np.full(size, -1)
    pause[~begins & ~ends] = np.maximum(start[later] - latest[later - 1], 0)
    return SessionSteps(states, bounds, before * (states + 1) + to, pause)


def steps_of_table(table: SessionTable) -> SessionSteps:
    """Return the steps of the sessions of a table."""
    latest = latest_ends(table.session.astype(np.uint64), table.end)
    return steps_of(table.state, table.start, latest, table.is_main, table.bounds[:-1], table.states)

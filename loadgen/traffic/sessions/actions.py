"""Groups requests into actions: what a person does, with the requests that the page or the program then sends itself.

A page is followed within a second by requests of its own: redirects, data, images. A model that takes each of them for
a decision of a person sends them one after the other with pauses of milliseconds. So a request belongs to the action
before it if it starts less than `QUICK_US` after everything before it has ended, and if that is usual for these two
names. Names that follow each other quickly by chance remain actions of their own, and so do all requests of a log whose
users never pause: programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.sessions.session_table import SessionTable
from loadgen.traffic.sessions.sessions import latest_ends

__all__ = ["QUICK_US", "ActionRule", "action_rule", "main_of"]

QUICK_US: Final = 1_000_000
_USUAL: Final = 0.8
"""A pair of names is quick if at least this share of its pauses is."""
_LEAST_PAIRS: Final = 20
_LEAST_CHILD: Final = 0.05
"""A part occurs in at least this share of the actions of its main request; a rarer one is an action of its own."""
_PAUSING: Final = 0.1
"""People pause: there are actions only if this share of the sessions with two requests or more has a longer pause."""
_ROUNDS: Final = 5


@dataclass(frozen=True)
class ActionRule:
    """Which requests belong to the action before them. Both arrays have a row and a column for each state."""

    joins: NDArray[np.bool_]
    """joins[a, b]: a request b soon after a request a can be a part of a's action."""
    children: NDArray[np.bool_]
    """children[m, c]: a request c can be a part of an action whose main request is m."""

    @classmethod
    def none(cls, states: int) -> ActionRule:
        """Return the rule by which each request is an action of its own."""
        nothing = np.zeros((states, states), bool)
        return cls(nothing, nothing)

    def main_requests(
        self,
        state: NDArray[np.int64],
        start: NDArray[np.int64],
        latest: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Return whether each request is the main one of an action.

        latest: for each request, the latest end of its user's requests so far. first: the first request by session.
        """
        can_join = np.zeros(len(state), bool)
        can_join[1:] = self.joins[state[:-1], state[1:]] & (start[1:] - latest[:-1] < QUICK_US)
        can_join[first] = False
        is_main = ~can_join
        for _ in range(_ROUNDS):
            wrong = ~is_main & ~self.children[state[main_of(is_main)], state]
            if not wrong.any():
                return is_main
            # A wrong part begins an action, which changes the main request of those after it: only the first counts.
            action = np.cumsum(is_main)
            at = np.flatnonzero(wrong)
            is_main[at[np.unique(action[at], return_index=True)[1]]] = True
        is_main |= ~self.children[state[main_of(is_main)], state]
        return is_main

    def applied(self, table: SessionTable) -> SessionTable:
        """Return the table in these actions."""
        latest = latest_ends(table.session.astype(np.uint64), table.end)
        return table.in_actions(self.main_requests(table.state, table.start, latest, table.bounds[:-1]))


def main_of(is_main: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each request the index of the main request of its action. The first request is a main one."""
    found: NDArray[np.int64] = np.maximum.accumulate(np.where(is_main, np.arange(len(is_main)), 0))
    return found


def action_rule(table: SessionTable) -> ActionRule:
    """Return the rule that a sample of sessions shows. Its `is_main` is not used."""
    states = table.states
    size = states * states
    first = table.bounds[:-1]
    latest = latest_ends(table.session.astype(np.uint64), table.end)
    is_next = np.ones(len(table.state), bool)
    is_next[first] = False
    at = np.flatnonzero(is_next)
    pair = table.state[at - 1] * states + table.state[at]
    is_quick = table.start[at] - latest[at - 1] < QUICK_US
    if not _people_pause(table, at, is_quick):
        return ActionRule.none(states)
    count = np.bincount(pair, minlength=size)
    quick = np.bincount(pair[is_quick], minlength=size)
    joins = ((count >= _LEAST_PAIRS) & (quick >= _USUAL * count)).reshape(states, states)
    everything = ActionRule(joins, np.ones((states, states), bool))
    is_main = everything.main_requests(table.state, table.start, latest, first)
    return ActionRule(joins, _usual_children(table.state, is_main, states))


def _people_pause(table: SessionTable, at: NDArray[np.int64], is_quick: NDArray[np.bool_]) -> bool:
    session = table.session[at]
    several = len(np.unique(session))
    return len(np.unique(session[~is_quick])) >= _PAUSING * several > 0


def _usual_children(state: NDArray[np.int64], is_main: NDArray[np.bool_], states: int) -> NDArray[np.bool_]:
    size = states * states
    main = main_of(is_main)
    child = np.flatnonzero(~is_main)
    pair = state[main[child]] * states + state[child]
    # Each child counts once in an action, however often it occurs there.
    once = np.unique(main[child] * size + pair) % size
    in_actions = np.bincount(once, minlength=size).reshape(states, states)
    actions = np.bincount(state[is_main], minlength=states)
    usual: NDArray[np.bool_] = (in_actions > 0) & (in_actions >= _LEAST_CHILD * actions[:, None])
    return usual

"""Sessions with their requests, as arrays: the common form of logs, of simulated scenarios and of recorded runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_PATH", "SessionTable", "joined", "places_of"]

NO_PATH: Final = -1


@dataclass(frozen=True)
class SessionTable:
    """The requests of sessions, one session after the other.

    Sessions are sorted by their start, the requests of each by theirs. Arrays have one entry for each request, unless
    something else is written. An action is a main request, and the requests that follow it by themselves: its parts.
    """

    bounds: NDArray[np.int64]
    """Session s has the requests bounds[s] to bounds[s + 1] - 1; one entry more than there are sessions."""
    start: NDArray[np.int64]
    """µs since 1970, or since the beginning of a run."""
    end: NDArray[np.int64]
    """The same, of the end; equal to `start` where the log has no durations."""
    state: NDArray[np.int64]
    """The state of the request's name: below `states` - 1 for one of the busiest names, `states` - 1 for the others."""
    states: int
    is_main: NDArray[np.bool_]
    """Whether the request is the main one of an action."""
    path: NDArray[np.int64]
    """A number for each different path; `NO_PATH` if it is not known."""
    status: NDArray[np.int64]
    size: NDArray[np.int64]
    """Bytes sent."""
    is_whole: NDArray[np.bool_]
    """By session: whether it does not touch the ends of the log, where parts of it may be missing."""

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.bounds) - 1

    @property
    def session(self) -> NDArray[np.int64]:
        """The number of the session of each request, from 0."""
        return np.repeat(np.arange(self.count), np.diff(self.bounds))

    @property
    def starts(self) -> NDArray[np.int64]:
        """By session: the start of its first request."""
        return self.start[self.bounds[:-1]]

    def named(self, state: NDArray[np.int64], states: int) -> SessionTable:
        """Return the table with other states. state: of each request."""
        return replace(self, state=state, states=states)

    def in_actions(self, is_main: NDArray[np.bool_]) -> SessionTable:
        """Return the table with other actions. is_main: whether each request is the main one of an action."""
        return replace(self, is_main=is_main)

    def with_paths(self, is_kept: NDArray[np.bool_]) -> SessionTable:
        """Return the table with new numbers of paths, in the order in which they occur. The old numbers depend on the
        order of the log's lines.

        is_kept: by old number; the other paths are no longer known.
        """
        old, first, inverse = np.unique(self.path, return_index=True, return_inverse=True)
        number = np.empty(len(old), np.int64)
        number[np.argsort(first)] = np.arange(len(old))
        return replace(self, path=np.where(is_kept[old], number, NO_PATH)[inverse])

    def chosen(self, sessions: NDArray[np.int64]) -> SessionTable:
        """Return the table of these sessions, in this order. A session can be chosen more than once."""
        bounds, at = places_of(self.bounds, sessions)
        return SessionTable(
            bounds=bounds,
            start=self.start[at],
            end=self.end[at],
            state=self.state[at],
            states=self.states,
            is_main=self.is_main[at],
            path=self.path[at],
            status=self.status[at],
            size=self.size[at],
            is_whole=self.is_whole[sessions],
        )


def places_of(bounds: NDArray[np.int64], sessions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bounds of some sessions, one after the other, and the old place of each of their entries.

    bounds: of all sessions, as in `SessionTable`. sessions: numbers, in any order.
    """
    lengths = np.diff(bounds)[sessions]
    chosen = np.append(0, np.cumsum(lengths))
    # The k-th entry of a session is k places after its first one.
    return chosen, np.repeat(bounds[:-1][sessions] - chosen[:-1], lengths) + np.arange(chosen[-1])


def joined(tables: Sequence[SessionTable]) -> SessionTable:
    """Return one table of all sessions, in this order. There is at least one table, and all have the same states."""
    offsets = np.cumsum([0, *(len(one.state) for one in tables)])
    bounds = [one.bounds[:-1] + offset for one, offset in zip(tables, offsets[:-1], strict=True)]

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(one, name) for one in tables])

    return SessionTable(
        bounds=np.append(np.concatenate(bounds), offsets[-1]),
        states=tables[0].states,
        **{name: column(name) for name in ("start", "end", "state", "is_main", "path", "status", "size", "is_whole")},
    )

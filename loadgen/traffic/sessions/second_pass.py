"""The second pass over the rows: names with their users, and sessions.

A partition has all rows of its users, so each is sorted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.traffic.names.naming import Names
from loadgen.traffic.rows.rows import METHODS, Rows
from loadgen.traffic.sessions.session_arrivals import MOST_MINUTES
from loadgen.traffic.sessions.sessions import (
    SessionCut,
    first_of_sessions,
    latest_ends,
    shared_users,
    users_with_many_at_once,
)
from loadgen.units import quantity

__all__ = ["MOST_SECONDS", "NamesAndSessions", "SessionFigures", "SessionRule", "Visits", "visits_of"]

MOST_SECONDS: Final = MOST_MINUTES * 60
"""52 MB: longer logs have no counts by second."""
_OTHER_TIMEOUTS_S: Final = (600, 1_800, 3_600)
_SHARED_REQUESTS, _SHARED_WINDOW_US = 600, 600_000_000
"""A user that sends more than 1 request/s for 10 minutes is shared: a gateway of many persons, or a program."""


@dataclass(frozen=True)
class SessionRule:
    """The time-out of sessions, and the first and the last start of a request in the log, in µs.

    keeps_shared: whether the requests of shared users are sessions, too. most_at_once: a user with more requests in
    flight is shared.
    """

    timeout_us: int
    first_us: int
    last_us: int
    keeps_shared: bool = False
    most_at_once: int = 20


@dataclass(frozen=True)
class Visits:
    """The rows of a partition, sorted by user and start. name: index of the name before the budget, of each row."""

    rows: Rows
    name: NDArray[np.int64]
    user: NDArray[np.uint64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    latest: NDArray[np.int64]
    """The latest end of the user's requests up to this row."""
    sessions: SessionCut
    is_cut: NDArray[np.bool_]
    """By session: whether it begins or ends within the time-out of the log's ends, so that a part may be missing."""
    shared: NDArray[np.uint64]
    """The shared users. Their requests are in no session that counts."""
    is_shared: NDArray[np.bool_]
    """By session: whether it does not count, because its user is shared."""

    @property
    def user_index(self) -> NDArray[np.int64]:
        """A number for each row's user, from 0 in this partition."""
        is_new = np.append(True, self.user[1:] != self.user[:-1])
        return np.cumsum(is_new) - 1

    def users_of(self, key: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return the number of users by key. key: of each row, below `size`."""
        pairs = np.unique(self.user_index * size + key)
        return np.bincount(pairs % size, minlength=size)


def visits_of(rows: Rows, template_of: NDArray[np.int64], rule: SessionRule) -> Visits:
    """Return the rows of a partition in order, with their sessions. template_of: by number of the path."""
    name = template_of[rows["path"]] * len(METHODS) + rows["method"]
    order = np.lexsort((_tie_breaker(rows, name), rows["start"], rows["user"]))
    rows, name = rows[order], name[order]
    user, start = rows["user"].copy(), rows["start"].copy()
    end = start + np.rint(np.nan_to_num(rows["took"].astype(np.float64)) * 1e6).astype(np.int64)
    latest = latest_ends(user, end)
    sessions = first_of_sessions(user, start, latest, rule.timeout_us)
    is_cut: NDArray[np.bool_] = (start[sessions.first] - rule.first_us <= rule.timeout_us) | (
        rule.last_us - sessions.last_end <= rule.timeout_us
    )
    shared = np.union1d(
        shared_users(user, start, _SHARED_REQUESTS, _SHARED_WINDOW_US),
        users_with_many_at_once(user, start, end, rule.most_at_once),
    )
    is_shared = np.isin(user[sessions.first], shared[:0] if rule.keeps_shared else shared)
    return Visits(rows, name, user, start, end, latest, sessions, is_cut, shared, is_shared)


@dataclass(frozen=True)
class SessionFigures:
    """Figures of all sessions. Arrays have one entry a session, sorted by start, then length, then duration."""

    timeout_s: float
    users: int
    starts: NDArray[np.int64]
    """µs since 1970."""
    lengths: NDArray[np.int64]
    """Requests of each session."""
    durations: NDArray[np.int64]
    """From the first start to the last end, in µs."""
    cut: int
    """Sessions that begin or end within a time-out of the ends of the log, so that parts of them may be missing."""
    counts_by_timeout: dict[int, int]
    """Numbers of sessions with other time-outs, by time-out in s. They show how much the time-out matters."""
    first_names: tuple[int, ...]
    """Numbers of sessions by the name of their first request: one for each kept name, then one for `other`."""
    shared_users: int
    """Users with more than 1 request/s for 10 minutes, or with more than 20 requests in flight."""
    shared_requests: int
    requests_by_second: NDArray[np.int64]
    """Requests that start in each second, from that of the first session on; none if the log spans more than
    `MOST_SECONDS`."""

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.starts)


class NamesAndSessions:
    """Collects names and sessions from the partitions. templates: their number."""

    def __init__(self, templates: int, rule: SessionRule) -> None:
        self._rule = rule
        size = templates * len(METHODS)
        self.counts = np.zeros(size, np.int64)
        self.users_of_names = np.zeros(size, np.int64)
        self._first_counts = np.zeros(size, np.int64)
        self._users = self._cut = self._shared_users = self._shared_requests = 0
        self._by_timeout = dict.fromkeys(_OTHER_TIMEOUTS_S, 0)
        self._starts: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._durations: list[NDArray[np.int64]] = []
        self._begin_s = rule.first_us // 1_000_000
        span_s = rule.last_us // 1_000_000 + 1 - self._begin_s
        self._by_second = np.zeros(span_s if span_s <= MOST_SECONDS else 0, np.int64)

    def add(self, visits: Visits) -> None:
        """Add a partition."""
        size = len(self.counts)
        self.counts += np.bincount(visits.name, minlength=size)
        self._users += int(visits.user_index[-1]) + 1
        self.users_of_names += visits.users_of(visits.name, size)
        self._add_sessions(visits)
        self._shared_users += len(visits.shared)
        self._shared_requests += int(np.count_nonzero(np.isin(visits.user, visits.shared)))
        if len(self._by_second):
            counted = np.repeat(~visits.is_shared, visits.sessions.length)
            second = visits.start[counted] // 1_000_000 - self._begin_s
            self._by_second += np.bincount(second, minlength=len(self._by_second))

    def _add_sessions(self, visits: Visits) -> None:
        sessions = visits.sessions
        for timeout_s in self._by_timeout:
            cut = first_of_sessions(visits.user, visits.start, visits.latest, timeout_s * 1_000_000)
            is_shared = np.isin(visits.user[cut.first], np.unique(visits.user[sessions.first[visits.is_shared]]))
            self._by_timeout[timeout_s] += int(np.count_nonzero(~is_shared))
        counted = ~visits.is_shared
        first = sessions.first[counted]
        starts = visits.start[first]
        self._cut += int(np.count_nonzero(visits.is_cut & counted))
        self._first_counts += np.bincount(visits.name[first], minlength=len(self.counts))
        self._starts.append(starts)
        self._lengths.append(sessions.length[counted])
        self._durations.append(sessions.last_end[counted] - starts)

    def figures(self, names: Names) -> SessionFigures:
        """Return the figures of all partitions.

        Raises:
            UsageError: all requests are of shared users.
        """
        starts, lengths, durations = map(np.concatenate, (self._starts, self._lengths, self._durations))
        if not len(starts):
            raise UsageError(
                f"the logs show no sessions: {quantity(self._shared_users, 'user')} sent all of the "
                f"{quantity(self._shared_requests, 'request')}, more than 1 request/s for 10 minutes or more than 20 "
                "at once, as a proxy or a program does",
                hint="use logs with the addresses of the clients, name users with --by-user, or keep such users with "
                "--keep shared",
            )
        order = np.lexsort((durations, lengths, starts))
        first = np.bincount(names.index, weights=self._first_counts, minlength=len(names.kept) + 1)
        return SessionFigures(
            timeout_s=self._rule.timeout_us / 1e6,
            users=self._users,
            starts=starts[order],
            lengths=lengths[order],
            durations=durations[order],
            cut=self._cut,
            counts_by_timeout=self._by_timeout,
            first_names=tuple(int(count) for count in first),
            shared_users=self._shared_users,
            shared_requests=self._shared_requests,
            requests_by_second=self._by_second[int(starts.min()) // 1_000_000 - self._begin_s :],
        )


def _tie_breaker(rows: Rows, name: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number that sorts requests of one user with the same start. It does not depend on the order of lines."""
    high = np.left_shift(name.astype(np.uint64), np.uint64(43))
    middle = np.left_shift(rows["status"].astype(np.uint64), np.uint64(32))
    return np.bitwise_or(np.bitwise_or(high, middle), rows["size"].astype(np.uint64))

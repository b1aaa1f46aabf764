"""Splits the requests of each user into sessions. A silence that is longer than the time-out ends a session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SessionCut", "first_of_sessions", "latest_ends", "shared_users", "users_with_many_at_once"]

Times = NDArray[np.int64]


@dataclass(frozen=True)
class SessionCut:
    """The sessions in rows that are sorted by user and start. Each array has one entry a session.

    first: index of its first row. length: number of its rows. last_end: its latest end, in µs.
    """

    first: NDArray[np.int64]
    length: NDArray[np.int64]
    last_end: Times


def latest_ends(user: NDArray[np.uint64], end: Times) -> Times:
    """Return for each row the latest end of its user's requests up to this row. Rows are sorted by user and start."""
    count = len(user)
    if not count:
        return end
    order = np.argsort(end, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    # Ranks instead of times, so that the product with the group's number cannot overflow.
    group = np.cumsum(np.concatenate(([0], user[1:] != user[:-1])))
    highest: NDArray[np.int64] = np.maximum.accumulate(rank + group * count) - group * count
    return end[order[highest]]


def first_of_sessions(user: NDArray[np.uint64], start: Times, latest: Times, timeout_us: int) -> SessionCut:
    """Return the sessions: each begins at a user's first request, or after a silence of more than `timeout_us`.

    latest: from `latest_ends`. The silence counts from the latest end so far to the next start.
    """
    if not len(user):
        return SessionCut(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    is_first = np.ones(len(user), bool)
    is_first[1:] = (user[1:] != user[:-1]) | (start[1:] - latest[:-1] > timeout_us)
    first = np.flatnonzero(is_first)
    after = np.append(first[1:], len(user))
    return SessionCut(first, after - first, latest[after - 1])


def shared_users(user: NDArray[np.uint64], start: Times, requests: int, window_us: int) -> NDArray[np.uint64]:
    """Return the users that sent more than `requests` within a window, which are gateways or programs, not persons."""
    if len(user) <= requests:
        return user[:0]
    is_fast = (user[requests:] == user[:-requests]) & (start[requests:] - start[:-requests] <= window_us)
    return np.unique(user[requests:][is_fast])


def users_with_many_at_once(user: NDArray[np.uint64], start: Times, end: Times, most: int) -> NDArray[np.uint64]:
    """Return the users that had more than `most` requests in flight at once. Rows are sorted by user and start."""
    if len(user) <= most:
        return user[:0]
    # Requests in flight at once start within the longest duration of a request. Few users pass this cheap test.
    longest = int(np.max(end - start))
    is_close = (user[most:] == user[:-most]) & (start[most:] - start[:-most] < longest)
    is_candidate = np.isin(user, user[most:][is_close])
    user, start, end = user[is_candidate], start[is_candidate], end[is_candidate]
    count = len(user)
    time = np.concatenate((start, end))
    step = np.repeat(np.array([1, -1]), count)
    order = np.lexsort((step, time, np.concatenate((user, user))))  # at the same time, an end comes before a start
    # The steps of each user add up to 0, so the sum needs no new start for the next user. A request without a duration
    # ends before it starts, and is never in flight.
    in_flight = np.cumsum(step[order])
    return np.unique(np.concatenate((user, user))[order][in_flight > most])

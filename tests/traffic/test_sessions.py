"""Sessions by numpy are those of a plain loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.traffic.sessions.sessions import first_of_sessions, latest_ends, shared_users
from tests.support.examples import examples

requests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200), st.integers(0, 60)), max_size=60)


def by_loop(rows: list[tuple[int, int, int]], timeout: int) -> list[tuple[int, int, int, int]]:
    """(user, start, requests, latest end) of each session."""
    found: list[tuple[int, int, int, int]] = []
    latest: dict[int, int] = {}
    for user, start, took in rows:
        if user not in latest or start - latest[user] > timeout:
            found.append((user, start, 0, 0))
        latest[user] = max(latest.get(user, 0), start + took)
        known = found[-1]
        found[-1] = (user, known[1], known[2] + 1, latest[user])
    return found


@settings(max_examples=examples(1200), deadline=None)
@given(requests, st.integers(0, 50))
def test_sessions_are_those_of_a_loop(rows: list[tuple[int, int, int]], timeout: int) -> None:
    rows.sort()
    user = np.array([row[0] for row in rows], np.uint64)
    start = np.array([row[1] for row in rows], np.int64)
    end = start + np.array([row[2] for row in rows], np.int64)

    cut = first_of_sessions(user, start, latest_ends(user, end), timeout)

    columns = (user[cut.first], start[cut.first], cut.length, cut.last_end)
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert found == by_loop(rows, timeout)


def test_a_user_with_more_requests_than_allowed_in_a_window_is_shared() -> None:
    user = np.array([1] * 5 + [2] * 5, np.uint64)
    start = np.array([0, 1, 2, 3, 4, 0, 10, 20, 30, 40], np.int64)

    assert shared_users(user, start, 4, 4).tolist() == [1]
    assert shared_users(user, start, 4, 40).tolist() == [1, 2]
    assert shared_users(user, start, 4, 3).tolist() == []

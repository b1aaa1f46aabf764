"""Sessions of one sample: counts by state, wait, statement and application, and their average over time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

from loadgen.outside_text import one_line

__all__ = ["Agreement", "Session", "agreement", "groups_of", "session_of", "sessions_body", "wait_increase"]

_GROUPS_MOST: Final = 100
_NAME_MOST: Final = 80


@dataclass(frozen=True, slots=True)
class Session:
    """One session that is not idle. Times are s since 1970 by the server's clock; None if missing."""

    pid: int
    application: str
    state: str
    wait_type: str
    """The kind of event that it waits for, such as "Lock"; "" if it does not wait."""
    wait: str
    query_id: int
    """The id of its statement; 0 if the server has none."""
    xact_s: float | None
    query_s: float | None
    state_s: float | None
    query: str
    """Its statement, with values; of a session that is idle in a transaction, its last statement."""
    backend: str = "client backend"
    user: str = ""
    database: str = ""

    @property
    def waits_for_lock(self) -> bool:
        """Whether it waits for a lock of another session."""
        return self.wait_type == "Lock"


def session_of(row: Sequence[str | None]) -> Session:
    """Return the session of a row of `queries.sample`."""
    pid, application, state, wait_type, wait, query_id, xact, query_at, state_at, query, backend, user, database = row
    return Session(
        int(pid or 0),
        application or "",
        state or "",
        wait_type or "",
        wait or "",
        int(query_id or 0),
        _time(xact),
        _time(query_at),
        _time(state_at),
        query or "",
        backend or "",
        user or "",
        database or "",
    )


def groups_of(sessions: Iterable[Session]) -> Counter[tuple[str, str, int, str]]:
    """Return the number of client sessions by (state, wait, query id, application). The wait is such as "Lock:tuple".

    A session that is active without an event is on a CPU or ready to run; its wait is "".
    """
    found: Counter[tuple[str, str, int, str]] = Counter()
    for one in sessions:
        if one.backend in ("client backend", "parallel worker"):
            wait = f"{one.wait_type}:{one.wait}" if one.wait_type and one.state == "active" else ""
            found[one.state, wait, one.query_id, one_line(one.application, _NAME_MOST)] += 1
    return found


def sessions_body(sessions: Iterable[Session]) -> dict[str, Any]:
    """Return the groups as JSON, the largest first: [state, wait, query id as text, application, number]."""
    ordered = sorted(groups_of(sessions).items(), key=lambda item: (-item[1], item[0]))
    body: dict[str, Any] = {
        "groups": [[state, wait, str(query), app, n] for (state, wait, query, app), n in ordered[:_GROUPS_MOST]]
    }
    if left := sum(n for _, n in ordered[_GROUPS_MOST:]):
        body["left_out"] = left
    return body


def wait_increase(
    before: Mapping[tuple[str, str, int], int], after: Mapping[tuple[str, str, int], int]
) -> dict[tuple[str, str, int], int] | None:
    """Return the increase of the counters of pg_wait_sampling by (type, event, query id); None after a reset."""
    if any(after.get(key, 0) < count for key, count in before.items()):
        return None
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two measurements of the same thing: active sessions by sampling, and execution time per second."""

    average: float
    """The mean number of active sessions of all samples."""
    error: float
    """Half the 95 % interval of this mean, from the variation between samples."""
    by_time: float
    """Execution time of all statements divided by the time: the mean number of statements in execution."""

    @property
    def agrees(self) -> bool:
        """Whether the two differ by no more than the sampling error, and 5 % for planning, parsing and other work."""
        return abs(self.average - self.by_time) <= self.error + 0.05 * max(self.average, self.by_time) + 0.05


def agreement(active: Sequence[int], exec_ms: float, length_s: float) -> Agreement | None:
    """Compare numbers of active sessions, one a sample, with the execution time in the same interval.

    The error is that of the mean of 10 batches, because samples close together are alike. None with fewer than 20
    samples or without a length.
    """
    if len(active) < 20 or length_s <= 0:
        return None
    size = len(active) // 10
    means = [sum(active[n * size : (n + 1) * size]) / size for n in range(10)]
    mean = sum(active) / len(active)
    middle = sum(means) / 10
    error = 2.262 * sqrt(sum((one - middle) ** 2 for one in means) / 9 / 10)  # Student's t, 9 degrees of freedom
    return Agreement(mean, error, exec_ms / 1_000 / length_s)


def _time(text: str | None) -> float | None:
    return None if text is None else float(text)

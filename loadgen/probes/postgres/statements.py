"""Counters of statements: their increase between two readings, and the time that the load has added. Pure.

A statement is identified by user, database and the server's query id. pg_stat_statements counts only since its last
reset, forgets statements when it is full, and is empty after a crash of the server. So an increase may be unknown; it
is then left out and counted, never negative and never estimated.

Added time is the time during the load minus the time that the same statements took before it, at the same rate. The
interval in which the load begins or ends belongs to the load with its whole length. As the rate before the load is
subtracted over the same length, that does not distort the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from loadgen.units import NS_PER_S

__all__ = [
    "REST",
    "RESTARTED",
    "Added",
    "AddedTime",
    "Counters",
    "Increase",
    "Snapshot",
    "StatementKey",
    "added_time",
    "body_of",
    "increase",
    "of_body",
    "snapshot_of",
    "together",
]

_NAMED_MOST: Final = 200
"""The most statements of an interval that are stored by name; the others are one sum."""


class StatementKey(NamedTuple):
    """The identity of a statement: oids of user and database, and the query id of the server."""

    user: int
    database: int
    query: int


RESTARTED: Final = "the server was restarted"
"""Why an increase is unknown after a restart."""
REST: Final = StatementKey(0, 0, 0)
"""The sum of all statements that are not stored by name."""


class Counters(NamedTuple):
    """Counters of a statement since its first execution, or their increase. Differences of rates are not whole."""

    calls: float
    exec_ms: float
    """Execution time, without planning."""
    rows: float
    hits: float
    """Blocks found in the server's cache."""
    reads: float
    """Blocks read from outside the server's cache."""
    temp: float
    """Blocks of temporary files, written and read."""
    wal_bytes: float
    io_ms: float
    """Time of reads and writes of blocks; 0 if `track_io_timing` is off."""

    def plus(self, other: Counters, times: float = 1.0) -> Counters:
        """Return the sum with `times` other. With the default, whole numbers stay whole."""
        return Counters(*(mine + (its if times == 1.0 else times * its) for mine, its in zip(self, other, strict=True)))


_Parsed = tuple[StatementKey, float | None, Counters]
"""Key, start of the counting, and counters."""
NOTHING: Final = Counters(0, 0.0, 0, 0, 0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one time."""

    at_ns: int
    started_s: float
    """The server's start, s since 1970 by its clock."""
    reset_s: float
    """The last reset of all statistics of statements, s since 1970 by the server's clock."""
    evictions: int
    """The number of times that the server has removed its least used statements."""
    counters: Mapping[StatementKey, Counters]
    since_s: Mapping[StatementKey, float]
    """When the counting of a statement began; empty before PostgreSQL 17."""
    by_text: Mapping[str, _Parsed] = field(default_factory=dict, repr=False)
    """The parsed rows, by the text that the server sent."""


@dataclass(frozen=True, slots=True)
class Increase:
    """The increase of all counters in an interval."""

    from_ns: int
    to_ns: int
    by_statement: Mapping[StatementKey, Counters]
    why: str = ""
    """Why the whole increase is unknown; "" if it is known."""
    evicted: int = 0
    """The number of statements that the server has removed, at least; their time in the interval is unknown."""
    restarted: int = 0
    """The number of statements whose own counters began again from 0; their time in the interval is unknown."""


@dataclass(frozen=True, slots=True)
class Added:
    """The load's part of one statement."""

    key: StatementKey
    during: Counters
    """The increase during the load."""
    added: Counters
    """`during` minus the increase at the rate before the load. Values may be negative."""


@dataclass(frozen=True, slots=True)
class AddedTime:
    """The load's part of all statements, by added execution time. The last row may be `REST`."""

    rows: tuple[Added, ...]
    total: Added
    """The sum of all rows. Its key is `REST`."""
    baseline_s: float
    """The length of the intervals before the load; 0: nothing could be subtracted."""
    during_s: float
    unknown_s: float
    """The length of intervals within the load whose increase is unknown."""
    whys: tuple[str, ...] = ()
    evicted: int = 0
    restarted: int = 0


def snapshot_of(
    at_ns: int,
    rows: Iterable[Sequence[str | None]],
    info: Sequence[str | None],
    before: Snapshot | None = None,
) -> Snapshot:
    """Return the snapshot with the answers to `statement_counters` and `statement_info`.

    before: the snapshot before this one. Rows that are the same as there are not parsed again: in a server with
        thousands of statements, few are executed within 10 s.
    """
    known = before.by_text if before is not None else {}
    by_text: dict[str, _Parsed] = {}
    counters: dict[StatementKey, Counters] = {}
    since: dict[StatementKey, float] = {}
    for (text,) in rows:
        if text is None:
            continue
        parsed = known.get(text) or _parsed(text)
        by_text[text] = parsed
        key, since_s, counted = parsed
        counters[key] = counted
        if since_s is not None:
            since[key] = since_s
    evictions, reset_s, started_s = info[:3]
    return Snapshot(at_ns, float(started_s or 0), float(reset_s or 0), int(evictions or 0), counters, since, by_text)


def _parsed(text: str) -> _Parsed:
    user, database, query, since_s, calls, exec_ms, rows, hits, reads, temp, wal, io_ms = text.split(",")
    counted = Counters(
        int(calls), float(exec_ms), int(rows), int(hits), int(reads), int(temp), int(float(wal)), float(io_ms)
    )
    return StatementKey(int(user), int(database), int(query)), float(since_s) if since_s else None, counted


def increase(before: Snapshot, after: Snapshot) -> Increase:
    """Return the increase between two snapshots.

    A statement that is only in `after` was counted for the first time within the interval, so all of it is increase.
    """
    why = _why_unknown(before, after)
    if why:
        return Increase(before.at_ns, after.at_ns, {}, why)
    found: dict[StatementKey, Counters] = {}
    restarted = 0
    old, since = before.counters, before.since_s
    for key, now in after.counters.items():
        then = old.get(key)
        if then is None:
            found[key] = now
        elif (now is then or now == then) and after.since_s.get(key) == since.get(key):
            continue
        elif after.since_s.get(key) != since.get(key) or now.calls < then.calls or now.exec_ms < then.exec_ms - 1e-6:
            restarted += 1
        else:
            found[key] = Counters(*(max(0, a - b) for a, b in zip(now, then, strict=True)))
    evicted = sum(key not in after.counters for key in old)
    return Increase(before.at_ns, after.at_ns, found, "", evicted, restarted)


def together(first: Increase, second: Increase) -> Increase:
    """Return two known increases that follow one another as one."""
    sums = dict(first.by_statement)
    for key, counters in second.by_statement.items():
        sums[key] = sums[key].plus(counters) if key in sums else counters
    evicted, restarted = first.evicted + second.evicted, first.restarted + second.restarted
    return Increase(first.from_ns, second.to_ns, sums, "", evicted, restarted)


def _why_unknown(before: Snapshot, after: Snapshot) -> str:
    if after.started_s != before.started_s:
        return RESTARTED
    if after.reset_s != before.reset_s:
        return "the statistics of statements were reset"
    if after.evictions < before.evictions:
        return "the counters of pg_stat_statements fell"
    return ""


def added_time(increases: Iterable[Increase], t0_ns: int, end_ns: int) -> AddedTime:
    """Return what the load has added between T0 and its end, on the clock of the increases."""
    before: dict[StatementKey, Counters] = {}
    during: dict[StatementKey, Counters] = {}
    before_ns = during_ns = unknown_ns = evicted = restarted = 0
    whys: dict[str, None] = {}
    for one in increases:
        length = one.to_ns - one.from_ns
        is_before = one.to_ns <= t0_ns
        if one.from_ns >= end_ns or length <= 0:
            continue
        if one.why:
            if not is_before:
                unknown_ns += length
                whys[one.why] = None
            continue
        sums = before if is_before else during
        if is_before:
            before_ns += length
        else:
            during_ns += length
            evicted += one.evicted
            restarted += one.restarted
        for key, counters in one.by_statement.items():
            sums[key] = sums[key].plus(counters) if key in sums else counters
    times = during_ns / before_ns if before_ns else 0.0
    rows = []
    for key in during.keys() | before.keys():
        now = during.get(key, NOTHING)
        rows.append(Added(key, now, now.plus(before.get(key, NOTHING), -times)))
    rows.sort(key=lambda row: (row.key == REST, -row.added.exec_ms, row.key))
    total = Added(REST, _sum(row.during for row in rows), _sum(row.added for row in rows))
    return AddedTime(
        tuple(rows),
        total,
        before_ns / NS_PER_S,
        during_ns / NS_PER_S,
        unknown_ns / NS_PER_S,
        tuple(whys),
        evicted,
        restarted,
    )


def body_of(one: Increase, most: int = _NAMED_MOST) -> dict[str, Any]:
    """Return an increase as JSON: the `most` statements with the most time, and the sum of the others as `REST`."""
    by_time = sorted(one.by_statement.items(), key=lambda item: (-item[1].exec_ms, item[0]))
    named = by_time[:most]
    if others := by_time[most:]:
        named.append((REST, _sum(counters for _, counters in others)))
    body: dict[str, Any] = {
        "from_ns": one.from_ns,
        "to_ns": one.to_ns,
        # Query ids are texts: JavaScript would round them.
        "rows": [[key.user, key.database, str(key.query), *_rounded(counters)] for key, counters in named],
    }
    for name, value in (("why", one.why), ("evicted", one.evicted), ("restarted", one.restarted)):
        if value:
            body[name] = value
    return body


def of_body(body: Mapping[str, Any]) -> Increase:
    """Return the increase of a body that `body_of` has made.

    Raises:
        ValueError, KeyError, TypeError: it has another form.
    """
    rows = {StatementKey(int(u), int(d), int(q)): Counters(*counters) for u, d, q, *counters in body["rows"]}
    return Increase(
        int(body["from_ns"]),
        int(body["to_ns"]),
        rows,
        str(body.get("why", "")),
        int(body.get("evicted", 0)),
        int(body.get("restarted", 0)),
    )


def _rounded(counters: Counters) -> list[float]:
    return [round(value, 3) if isinstance(value, float) else value for value in counters]


def _sum(counters: Iterable[Counters]) -> Counters:
    total = NOTHING
    for one in counters:
        total = total.plus(one)
    return total

"""Joins the spans of a path with the statements of a PostgreSQL server, by fingerprint. Pure.

The server's counters are read every 10 s, so they cannot be split by slow and fast requests. What they show is the time
that the load has added to a statement, and its mean over all calls. From the mean alone nothing follows about the
slowest 1 % of calls, but from the sum: if all slow requests together waited longer for a statement than the server
executed it in all, the time is not in its execution. It is in a pool, in the network, or in the driver.

Intervals of counters belong to a time before or after a change only if they do so within their errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgen.outside_text import one_line
from loadgen.probes.postgres.fingerprint import fingerprint, join
from loadgen.probes.postgres.statements import Counters, Increase, StatementKey, of_body
from loadgen.probes.postgres.summary import NoteLike, StatementLine, StatementsSummary, statements_summary
from loadgen.report.why_slow.database.parts import StatementPart
from loadgen.report.why_slow.database.span_statements import DatabaseCall
from loadgen.traces.model import MOST_TEXT
from loadgen.units import NS_PER_S

__all__ = ["Change", "Matched", "ServerNotes", "error_ns_of", "same_beginning", "statement_of"]

POSTGRES: Final = frozenset(("postgresql", "other_sql", ""))
"""Systems whose spans are compared: PostgreSQL, and spans that do not name theirs."""
_TEXT_MOST: Final = 2_000
_CUT: Final = MOST_TEXT - 24
"""A statement of a span with so many characters may have been cut off."""
_WORDS_LEAST: Final = 6
_WORDS_LOST: Final = 3
"""The last words of a statement that was cut off are not compared."""
_ELSEWHERE: Final = 0.5
_PLAN_MOST: Final = 5
_CALLS_LEAST: Final = 0.5
"""Differences of rates are not whole; fewer calls are none."""


class ServerNotes:
    """The notes of one probe of PostgreSQL, with what they say about the load.

    t0_ns, end_ns: start and end of the load on the clock of the notes.
    """

    def __init__(self, name: str, notes: Iterable[NoteLike], t0_ns: int, end_ns: int) -> None:
        self.name, self.t0_ns, self.end_ns = name, t0_ns, end_ns
        self.notes = tuple(notes)
        self.summary: StatementsSummary = statements_summary(self.notes, t0_ns, end_ns)
        self.increases = tuple(_increases(self.notes))

    @property
    def has_texts(self) -> bool:
        """Return whether the texts of the statements with the most added time were read."""
        return any(line.text for line in self.summary.lines)


@dataclass(frozen=True, slots=True)
class Change:
    """What traces say about a path. since_s: when it became slower, from T0, ± error_s; None if it did not.

    waited_ms: what all slow requests together waited longer for it; None if unknown.
    """

    since_s: float | None = None
    error_s: float = 0.0
    waited_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """The statement of a path, and the server's statements that it stands for, the one with the most time first."""

    part: StatementPart
    keys: tuple[StatementKey, ...] = ()
    texts: tuple[str, ...] = field(default=())


def error_ns_of(note: NoteLike) -> int:
    """Return the most by which the time of a note may be off, ns; 0 if the note does not have it."""
    error = note.body.get("error_ns", 0)
    return round(error) if isinstance(error, int | float) and 0 <= error < 1e15 else 0


def statement_of(calls: Sequence[DatabaseCall], servers: Sequence[ServerNotes], change: Change) -> Matched | None:
    """Return the server's statement of a path's spans; None if no server can have it.

    If several servers have the statement, the one with the most calls is taken. Spans of other kinds of databases have
    no statement.
    """
    ours = [one for one in calls if one.system in POSTGRES]
    if not ours or not servers:
        return None
    found = [(server, how, lines) for server in servers for how, lines in (_lines_of(ours, server),) if lines]
    if found:
        server, how, lines = max(found, key=lambda one: sum(line.during.calls for line in one[2]))
        return _matched(server, how, lines, change)
    server = servers[0]
    text = one_line(ours[0].text or ours[0].summary, _TEXT_MOST)
    if len(servers) > 1 and not all(one.system == "postgresql" for one in ours):
        return None
    if server.has_texts:
        why = "the server's list of statements with the most added time does not have it"
    else:
        why = "the probe has read no texts of statements"
    return Matched(StatementPart(probe=", ".join(one.name for one in servers), text=text, why=why))


def same_beginning(cut: str, whole: str) -> bool:
    """Return whether a statement that was cut off is the beginning of another one, without values and comments."""
    words = fingerprint(cut).text.split(" ")[:-_WORDS_LOST]
    return len(words) >= _WORDS_LEAST and f"{fingerprint(whole).text} ".startswith(f"{' '.join(words)} ")


def _increases(notes: Iterable[NoteLike]) -> Iterable[Increase]:
    for note in notes:
        if note.kind == "statements" and "rows" in note.body:
            try:
                yield of_body(note.body)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue


def _lines_of(calls: Sequence[DatabaseCall], server: ServerNotes) -> tuple[str, list[StatementLine]]:
    """Return how the statements of a path were found on a server, and which; the strictest way that finds one."""
    known = {line.key: line for line in server.summary.lines if line.text}
    names = {call.namespace.partition("|")[0] for call in calls}
    by_way: dict[str, dict[StatementKey, StatementLine]] = {}
    for call in calls:
        how, keys = _keys_of(call, known)
        by_way.setdefault(how, {}).update((key, known[key]) for key in keys)
    for how in ("fingerprint", "beginning", "summary"):
        if lines := list(by_way.get(how, {}).values()):
            same_database = [line for line in lines if line.database in names]
            return how, sorted(same_database or lines, key=lambda line: (-line.during.exec_ms, line.key))
    return "", []


def _keys_of(call: DatabaseCall, known: Mapping[StatementKey, StatementLine]) -> tuple[str, list[StatementKey]]:
    if call.text:
        wanted = fingerprint(call.text).id
        # The probe has made the fingerprint of the whole text; the text itself may be cut.
        if keys := [key for key, line in known.items() if line.fingerprint == wanted]:
            return "fingerprint", keys
        if len(call.text) >= _CUT and (
            keys := [key for key, line in known.items() if same_beginning(call.text, line.text)]
        ):
            return "beginning", keys
    joined = join(call.text, call.summary, {key: line.text for key, line in known.items()})
    if joined.how == "summary" and call.text:
        return "", []  # the text is known, and no statement has its fingerprint
    return joined.how, list(joined.keys)


def _matched(server: ServerNotes, how: str, lines: Sequence[StatementLine], change: Change) -> Matched:
    first, times = lines[0], server.summary.times
    keys = tuple(line.key for line in lines)
    during, added = (_sum(counters) for counters in ([one.during for one in lines], [one.added for one in lines]))
    until_ms = since_ms = None
    if change.since_s is not None:
        at_ns = server.t0_ns + round(change.since_s * NS_PER_S)
        until_ms, since_ms = _means_around(server, keys, at_ns, round(change.error_s * NS_PER_S))
    is_whole = not (times.unknown_s or times.evicted or times.restarted)
    waited_ms = change.waited_ms
    planned = next((line for line in lines if line.findings or line.plan), first)
    part = StatementPart(
        probe=server.name,
        text=one_line(first.text, _TEXT_MOST),
        query_id=str(first.key.query),
        statements=len(lines),
        how=how,
        added_ms=added.exec_ms,
        share=sum(line.share for line in lines),
        calls=during.calls,
        exec_ms=during.exec_ms,
        mean_ms=_mean(during),
        mean_before_ms=_mean(during.plus(added, -1.0)) if times.baseline_s else None,
        mean_until_ms=until_ms,
        mean_since_ms=since_ms,
        waited_ms=waited_ms,
        is_elsewhere=is_whole and waited_ms is not None and during.exec_ms < _ELSEWHERE * waited_ms,
        unknown_s=times.unknown_s,
        plan=tuple(one_line(text, 300) for text in planned.findings[:_PLAN_MOST]),
        is_search=planned.is_search,
        why_no_plan=one_line(planned.why_no_plan, 300),
    )
    return Matched(part, keys, tuple(line.text for line in lines))


def _means_around(
    server: ServerNotes, keys: Iterable[StatementKey], at_ns: int, error_ns: int
) -> tuple[float | None, float | None]:
    """Return the mean time of a call within the load before and after a change; None without calls or intervals.

    error_ns: of the change. An interval that may contain the change is in neither.
    """
    errors = {note.at_ns: error_ns_of(note) for note in server.notes if note.kind == "statements"}
    wanted = set(keys)
    until, since = _sum(()), _sum(())
    for one in server.increases:
        off_ns = error_ns + errors.get(one.to_ns, 0)
        counters = _sum(found for key, found in one.by_statement.items() if key in wanted)
        if one.why or one.from_ns >= server.end_ns:
            continue
        if server.t0_ns <= one.from_ns and one.to_ns <= at_ns - off_ns:
            until = until.plus(counters)
        elif one.from_ns >= at_ns + off_ns:
            since = since.plus(counters)
    return _mean(until), _mean(since)


def _mean(counters: Counters) -> float | None:
    return max(0.0, counters.exec_ms) / counters.calls if counters.calls >= _CALLS_LEAST else None


def _sum(counters: Iterable[Counters]) -> Counters:
    total = Counters(0, 0.0, 0, 0, 0, 0, 0, 0.0)
    for one in counters:
        total = total.plus(one)
    return total

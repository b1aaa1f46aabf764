"""The facts about a database that page, report and terminal show: statements, lock chains, active sessions. Pure.

They are made from the notes of one probe, during the run or after it, and are stored in `metrics.json`. Everything is
bounded, so a server with thousands of statements or waiting sessions does not make a large page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from loadgen.outside_text import one_line
from loadgen.probes.journal import NoteRecord
from loadgen.probes.postgres.sessions import Agreement
from loadgen.probes.postgres.summary import (
    ChainLine,
    StatementLine,
    StatementsSummary,
    active_sessions,
    chain_lines,
    statements_summary,
)
from loadgen.probes.recorded import ProbeState, Recorded
from loadgen.probes.shown.lock_chains import ChainTree, Deadlock, deadlocks_of, seen_statements, worst_trees
from loadgen.units import NS_PER_S

__all__ = ["Chain", "DatabaseFacts", "OtherStatements", "Statement", "Wait", "databases_of", "facts_of"]

_STATEMENTS_MOST: Final = 20
_CHAINS_MOST: Final = 10
_WAITS_MOST: Final = 12
_FINDINGS_MOST: Final = 10
_TEXT_MOST: Final = 600
"""The most characters of a statement."""
_SENTENCE_MOST: Final = 300
_NAME_MOST: Final = 80


class Statement(msgspec.Struct, frozen=True):
    """A statement with the time that the load has added to it. Times are execution times, in ms."""

    query_id: str
    """The server's id, as text, because JavaScript would round it."""
    text: str
    """One line without values; "" if the text was not read."""
    calls: float
    """Calls during the load."""
    mean_ms: float
    added_ms: float
    share: float
    """The part of the added time of all statements."""
    user: str = ""
    database: str = ""
    plan: tuple[str, ...] = ()
    """The plan in words."""
    is_search: bool = False
    """Whether the plan is that of the search of an UPDATE or DELETE."""
    why_no_plan: str = ""


class OtherStatements(msgspec.Struct, frozen=True):
    """The sum of all statements that are not listed."""

    count: int
    """The number of these statements; the server may have had more, of which only the sum was stored."""
    calls: float
    added_ms: float
    share: float


class Chain(msgspec.Struct, frozen=True):
    """The lock chains of the run with one root application, one waiting application and one table."""

    root: str
    waiter: str
    relation: str
    waited: int
    """Waiting sessions, summed over all samples."""
    most: int
    """The most waiting sessions in one sample."""
    longest_s: float
    """The longest wait that was seen; its real end may be later."""
    first_s: float
    last_s: float
    root_state: str = ""
    text: str = ""
    """The chain as one sentence."""
    root_statements: tuple[str, ...] = ()
    waiter_statements: tuple[str, ...] = ()


class Wait(msgspec.Struct, frozen=True):
    """The mean number of active sessions that wait for one event; "" for those that do not wait."""

    event: str
    sessions: float


class DatabaseFacts(msgspec.Struct, frozen=True):
    """All that is shown of one database, from T0 to the end of the run. Times in s are from T0."""

    probe: str
    statements: tuple[Statement, ...] = ()
    others: OtherStatements | None = None
    baseline_s: float = 0.0
    """The length of the time before the load that was subtracted; 0: nothing was, so added time is the whole time."""
    during_s: float = 0.0
    """The length of the time whose statements are known."""
    unknown_s: float = 0.0
    """The length of intervals within the load whose statements are unknown."""
    why_unknown: tuple[str, ...] = ()
    evicted: int = 0
    """Statements that the server forgot; their time is unknown."""
    restarted: int = 0
    """Statements that the server counted again from 0; their time in that interval is unknown."""
    own_ms: float = 0.0
    """The execution time of the probe's own statements."""
    chains: tuple[Chain, ...] = ()
    trees: tuple[ChainTree, ...] = ()
    """The worst sample of each of the worst chains."""
    deadlocks: tuple[Deadlock, ...] = ()
    deadlock_count: int = 0
    """The deadlocks that the server counted. The probe sees only those that last until a sample."""
    samples: int = 0
    """The samples of sessions."""
    waits: tuple[Wait, ...] = ()
    by_time: float | None = None
    """The mean number of active sessions by the execution time of statements; None if it is unknown."""
    agrees: bool = True
    """Whether the two means of active sessions are equal within the error of sampling."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (
            self.statements or self.chains or self.deadlocks or self.deadlock_count or self.waits or self.evicted
        )


def databases_of(recorded: Recorded, end_s: float | None = None) -> list[DatabaseFacts]:
    """Return the facts about all databases of a run, without those that are empty; [] before T0 is known.

    end_s: the end of the run from T0; default: the last note or sample.
    """
    t0_ns = recorded.t0_ns
    if t0_ns is None:
        return []
    found = []
    for state in recorded.probes.values():
        if state.probe.kind == "postgres":
            last_ns = max((note.at_ns for note in state.notes), default=t0_ns)
            end_ns = last_ns if end_s is None else t0_ns + round(end_s * NS_PER_S)
            found.append(facts_of(state, t0_ns, end_ns))
    return [one for one in found if not one.is_empty]


def facts_of(state: ProbeState, t0_ns: int, end_ns: int) -> DatabaseFacts:
    """Return the facts about one database between T0 and the end of the run.

    Cost: 0.2 ms for each reading of 200 statements, and 20 µs for each sample of sessions.
    """
    notes = state.notes
    statements = statements_summary(notes, t0_ns, end_ns)
    times = statements.times
    samples = [point.at_ns for point in state.points.points.get("connections", ())]
    sessions = active_sessions(
        _whole_sessions(notes), samples, times.total.during.exec_ms if times.during_s else 0.0, t0_ns, end_ns
    )
    agreed: Agreement | None = sessions.agreement if times.during_s and not times.unknown_s else None
    counted = state.points.totals.get("deadlocks")
    deadlocks = deadlocks_of(notes, t0_ns, end_ns)
    seen = seen_statements(notes)
    listed = [one for one in statements.lines if one.during.calls or one.added.exec_ms][:_STATEMENTS_MOST]
    return DatabaseFacts(
        probe=state.probe.name,
        statements=tuple(_statement(one, seen.get(str(one.key.query), "")) for one in listed),
        others=_others(statements, listed),
        baseline_s=round(times.baseline_s, 3),
        during_s=round(times.during_s, 3),
        unknown_s=round(times.unknown_s, 3),
        why_unknown=tuple(_sentence(why) for why in times.whys[:5]),
        evicted=times.evicted,
        restarted=times.restarted,
        own_ms=round(statements.own_ms, 3),
        chains=tuple(_chain(one, t0_ns) for one in chain_lines(notes, t0_ns, end_ns)[:_CHAINS_MOST]),
        trees=worst_trees(notes, t0_ns, end_ns),
        deadlocks=deadlocks,
        deadlock_count=max(round(counted.increase) if counted else 0, 0),
        samples=sessions.samples,
        waits=tuple(
            Wait(one_line(event, _NAME_MOST), round(mean, 4))
            for event, mean in list(sessions.by_wait.items())[:_WAITS_MOST]
        ),
        by_time=None if agreed is None else round(agreed.by_time, 3),
        agrees=agreed is None or agreed.agrees,
    )


def _statement(line: StatementLine, seen: str) -> Statement:
    return Statement(
        query_id=str(line.key.query),
        text=one_line(line.text or seen, _TEXT_MOST),
        calls=round(line.during.calls, 3),
        mean_ms=round(line.mean_ms, 6),
        added_ms=round(line.added.exec_ms, 3),
        share=round(line.share, 6),
        user=one_line(line.user, _NAME_MOST),
        database=one_line(line.database, _NAME_MOST),
        plan=tuple(_sentence(text) for text in line.findings[:_FINDINGS_MOST]),
        is_search=line.is_search,
        why_no_plan=_sentence(line.why_no_plan),
    )


def _others(statements: StatementsSummary, listed: list[StatementLine]) -> OtherStatements | None:
    rest = [one for one in statements.lines if one not in listed]
    all_rest = [*rest, *([statements.rest] if statements.rest else [])]
    if not any(one.during.calls or one.added.exec_ms for one in all_rest):
        return None
    return OtherStatements(
        len(rest),
        round(sum(one.during.calls for one in all_rest), 3),
        round(sum(one.added.exec_ms for one in all_rest), 3),
        round(sum(one.share for one in all_rest), 6),
    )


def _chain(line: ChainLine, t0_ns: int) -> Chain:
    return Chain(
        root=one_line(line.root, _NAME_MOST),
        waiter=one_line(line.waiter, _NAME_MOST),
        relation=one_line(line.relation, _NAME_MOST),
        waited=line.waited,
        most=line.most,
        longest_s=round(line.longest_s, 3),
        first_s=round((line.first_ns - t0_ns) / NS_PER_S, 3),
        last_s=round((line.last_ns - t0_ns) / NS_PER_S, 3),
        root_state=one_line(line.root_state, _NAME_MOST),
        text=_sentence(line.text),
        root_statements=tuple(one_line(text, _TEXT_MOST) for text in line.root_statements),
        waiter_statements=tuple(one_line(text, _TEXT_MOST) for text in line.waiter_statements),
    )


def _sentence(text: str) -> str:
    return one_line(text, _SENTENCE_MOST)


def _whole_sessions(notes: Iterable[NoteRecord]) -> Iterator[NoteRecord]:
    """Yield the notes about sessions whose groups have the known form."""
    for note in notes:
        if note.kind == "sessions" and _is_whole(note.body):
            yield note


def _is_whole(body: Mapping[str, Any]) -> bool:
    groups = body.get("groups", ())
    return isinstance(groups, list) and all(
        isinstance(one, list) and len(one) == 5 and isinstance(one[4], int) for one in groups
    )

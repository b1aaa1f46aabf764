"""Reads a PostgreSQL server: sessions and state each time, locks when a session waits, statements every 10 s.

Everything is read over one connection of the probe's own, `loadgen-probe`, which is read-only and has short time
limits. The reader names once what the server lacks, with the line that gives it, and reads the rest. A failed part,
such as a missing right to read statements, never loses the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.probes.database_settings import DatabaseTable
from loadgen.probes.postgres import queries
from loadgen.probes.postgres.connect import answered, connect
from loadgen.probes.postgres.connection import Connection, Denied, Lost, psycopg_pq
from loadgen.probes.postgres.cost_guard import CostGuard
from loadgen.probes.postgres.explain import plan_body
from loadgen.probes.postgres.fingerprint import fingerprint, locked_table
from loadgen.probes.postgres.locks import StatementHistory, lock_graph_of, locks_body
from loadgen.probes.postgres.plans import why_not_explainable
from loadgen.probes.postgres.server_state import (
    Capabilities,
    ServerSample,
    capabilities_of,
    missing_of,
    rows_of,
    sample_of,
)
from loadgen.probes.postgres.sessions import Session, session_of, sessions_body, wait_increase
from loadgen.probes.postgres.statements import (
    RESTARTED,
    Increase,
    Snapshot,
    StatementKey,
    added_time,
    body_of,
    increase,
    snapshot_of,
    together,
)
from loadgen.probes.reader import Note, Reading, ServerTime, Tools
from loadgen.probes.spec import ProbeSpec
from loadgen.traces.convert.sql_text import statement_without_values
from loadgen.units import NS_PER_S, format_duration

__all__ = ["PLANS", "TEXTS", "PostgresReader", "open_reader"]

TEXTS: Final = 20
"""The statements whose texts are read after the load: those with the most added time."""
PLANS: Final = 5
"""The statements whose plans are read after the load."""
_STATEMENTS_EVERY_NS: Final = 10 * NS_PER_S
_BEFORE_EVERY_NS: Final = 2 * NS_PER_S
_BEFORE_MOST_NS: Final = 60 * NS_PER_S
"""Before the load, statements are read this often, for at most this long."""
_LOCKS_EVERY_NS: Final = NS_PER_S
_STATEMENTS_S: Final = 2.0
"""The time limit of one reading of all statements."""
_LAST_S: Final = 4.0
"""The time for all that is read after the load; the caller waits for 5 s."""
_TEXT_MOST: Final = 2_000
_TEXTS_MOST: Final = 30
_OWN_MOST: Final = 50
_OWN_SLACK: Final = 10
"""So many of the probe's own statements may be among those with the most time."""
_INCREASES_MOST: Final = 360


@lru_cache(maxsize=2_000)
def _redacted(text: str) -> str:
    return one_line(statement_without_values(text, "postgresql"))


def open_reader(spec: ProbeSpec, tools: Tools) -> PostgresReader:
    """Return the reader of a checked probe. It connects at its first `read`.

    Raises:
        UsageError: psycopg is not installed.
    """
    psycopg_pq()
    return PostgresReader(spec, tools)


class PostgresReader:
    """Reads one server; see `loadgen.probes.reader.Reader`."""

    def __init__(self, spec: ProbeSpec, tools: Tools) -> None:
        self._dsn, self._clock, self._permit = spec.own["dsn"], tools.clock, tools.permit
        password = spec.table(DatabaseTable).password
        self._password = tools.secret(password.secret) if password else ""
        self._t0 = tools.t0
        self._connection: Connection | None = None
        self._has: Capabilities | None = None
        self._shown: tuple[Any, ...] = ()
        """The contents of the last note about settings."""
        self._before: ServerSample | None = None
        self._history = StatementHistory()
        self._locks = CostGuard(_LOCKS_EVERY_NS)
        self._statements = CostGuard(_STATEMENTS_EVERY_NS)
        self._snapshot: Snapshot | None = None
        self._first_ns: int | None = None
        self._waits: dict[tuple[str, str, int], int] | None = None
        self._increases: list[Increase] = []
        self._notes: list[Note] = []
        self._remarks: list[str] = []
        """Notes and remarks of the present read, and of earlier reads that ended with an error."""
        self._seen_ids: dict[int, int] = {}
        """Samples in which a statement was active, by query id."""

    async def read(self, limit_s: float) -> Reading:
        """Read once, within `limit_s`.

        Raises:
            NotRead: the server did not answer in time, or rejected the connection.
        """
        async with answered(limit_s, self._drop):
            return await self._read(limit_s)

    async def last(self) -> tuple[Note, ...]:
        """Return the last counters of statements, then texts and plans of those with the most added time.

        Raises:
            NotRead: the server did not answer in time, or rejected the connection; the error has what was read.
        """
        notes: list[Note] = []
        async with answered(_LAST_S, self._drop, notes=notes):
            connection, has = await self._open(_LAST_S)
            if self._snapshot is not None:
                await self._read_statements(connection, has, notes)
                await self._read_texts(connection, has, notes)
        return tuple(notes)

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        self._drop()

    # -- each sample ------------------------------------------------------------------------------

    async def _read(self, limit_s: float) -> Reading:
        connection, has = await self._open(limit_s)
        notes = self._notes
        notes += self._settings_note(has)
        sent_ns = self._clock()
        sessions_rows, (row,) = await connection.query(queries.sample(has.version), limit_s)
        received_ns = self._clock()
        sample = sample_of(row, has)
        sessions = [session_of(one) for one in sessions_rows]
        at_ns = (sent_ns + received_ns) // 2
        notes += self._marks(sample, at_ns)
        self._before = sample
        self._history.add(sessions)
        if sessions:
            notes.append(Note(at_ns, "sessions", sessions_body(sessions)))
            for query_id in {one.query_id for one in sessions if one.state == "active" and one.query_id}:
                self._seen_ids[query_id] = self._seen_ids.get(query_id, 0) + 1
        cost_ns = round(sample.worked_s * NS_PER_S)
        network_ns = max(0, received_ns - sent_ns - cost_ns)
        cost_ns += await self._read_locks(connection, sessions, sample, network_ns, notes)
        if has.statements_schema and has.statements_max and self._are_statements_due():
            try:
                await self._read_statements(connection, has, notes)
            except Lost as error:
                self._drop()
                self._remark(f"statements were not read: {error}")
        remarks, self._notes, self._remarks = tuple(self._remarks), [], []
        return Reading(
            sent_ns,
            received_ns,
            rows_of(sample),
            sample.values,
            tuple(notes),
            server=ServerTime(sent_ns, received_ns, int(Decimal(row[0] or 0) * NS_PER_S), 1_000),
            remarks=remarks,
            cost_ns=cost_ns,
        )

    async def _open(self, limit_s: float) -> tuple[Connection, Capabilities]:
        """Return the connection and the server's capabilities; connect first if necessary."""
        if self._connection is not None and self._connection.is_open and self._has is not None:
            return self._connection, self._has
        try:
            self._connection = connection = await connect(
                self._dsn,
                self._password,
                port=5432,
                limit_s=limit_s,
                permit=self._permit,
                fixed={"options": queries.OPTIONS, "gssencmode": "disable"},
            )
        except Lost as error:
            if "unsupported startup parameter" in str(error):
                raise Lost('this is PgBouncer: write the address of the server itself, or kind = "pgbouncer"') from None
            raise
        ((row,),) = await connection.query(queries.capabilities(), limit_s)
        self._has = has = capabilities_of(row)
        if has.version < queries.OLDEST:
            raise Lost(f"the server's version is {has.version // 10_000}, but the oldest that a probe reads is 14")
        return connection, has

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _settings_note(self, has: Capabilities) -> Iterable[Note]:
        missing = missing_of(has)
        shown = (has, missing)
        if shown == self._shown:
            return
        self._shown = shown
        for what, line in missing:
            self._remark(f"{what}; what gives it: {line}")
        yield Note(
            self._clock(),
            "settings",
            {
                "version": f"{has.version // 10_000}.{has.version % 10_000}",
                "database": one_line(has.database, 80),
                "user": one_line(has.user, 80),
                "max_connections": has.max_connections,
                "reserved_connections": has.reserved,
                "shared_buffers": has.shared_buffers,
                "work_mem": has.work_mem,
                "track_io_timing": has.has_io_timing,
                "pg_stat_statements_max": has.statements_max,
                "track_activity_query_size": has.activity_query_size,
                "is_standby": has.is_standby,
                "missing": [{"what": what, "line": line} for what, line in missing],
            },
        )

    def _marks(self, sample: ServerSample, at_ns: int) -> Iterable[Note]:
        before = self._before
        if before is None:
            return
        if sample.started_s != before.started_s:
            yield Note(at_ns, "mark", {"text": RESTARTED, "key": f"start {sample.started_s}"})
            return
        for name, now, then in (
            ("checkpoint", sample.checkpoints, before.checkpoints),
            ("deadlock: the server ended a transaction", sample.deadlocks, before.deadlocks),
        ):
            if now > then:
                yield Note(at_ns, "mark", {"text": name if now == then + 1 else f"{name}, {now - then} times"})

    async def _read_locks(
        self,
        connection: Connection,
        sessions: Sequence[Session],
        sample: ServerSample,
        network_ns: int,
        notes: list[Note],
    ) -> int:
        """Read the waiting sessions and their blockers, if a session waits for a lock. Return the server's time, ns."""
        waiting = [one.pid for one in sessions if one.waits_for_lock]
        if not waiting or not self._locks.is_due(self._clock()):
            return 0
        began_ns = self._clock()
        try:
            (rows,) = await connection.query(queries.lock_graph(waiting), _STATEMENTS_S)
        except Denied as error:  # such as the statement timeout; the sample itself is there
            self._locks.took(self._clock(), self._clock() - began_ns)
            self._remark(f"locks were not read: {error}")
            return 0
        now_ns = self._clock()
        cost_ns = max(0, now_ns - began_ns - network_ns)
        if self._locks.took(now_ns, cost_ns):
            self._remark(
                f"reading locks took {format_duration(cost_ns)}, so they are read every"
                f" {format_duration(self._locks.every_ns)} now"
            )
        body = locks_body(lock_graph_of(rows), self._history, sample.now_s, _redacted, locked_table)
        if body is not None:
            body["error_ns"] = (now_ns - began_ns) // 2  # the chains were read at one time between request and answer
            notes.append(Note((began_ns + now_ns) // 2, "locks", body))
        return cost_ns

    def _are_statements_due(self) -> bool:
        """Whether the counters have to be read now: more often before the load, which may begin after a few seconds."""
        now_ns = self._clock()
        if self._first_ns is None:
            self._first_ns = now_ns
        t0_ns, snapshot = self._t0(), self._snapshot
        is_before = (t0_ns is None or now_ns < t0_ns) and now_ns - self._first_ns < _BEFORE_MOST_NS
        is_slow = self._statements.every_ns > _STATEMENTS_EVERY_NS
        if is_before and not is_slow and snapshot is not None and now_ns - snapshot.at_ns >= _BEFORE_EVERY_NS:
            return True
        return self._statements.is_due(now_ns)

    # -- statements -------------------------------------------------------------------------------

    async def _read_statements(self, connection: Connection, has: Capabilities, notes: list[Note]) -> None:
        """Read the counters of all statements, and add a note with their increase.

        Raises:
            Lost: the connection failed.
        """
        began_ns = self._clock()
        text = (
            f"{queries.statement_info(has.statements_schema)};"
            f"{queries.statement_counters(has.version, has.statements_schema)}"
        )
        try:
            (info,), rows = await connection.query(text, _STATEMENTS_S)
        except Denied as error:
            self._statements.took(self._clock(), 0)
            self._remark(f"statements were not read: {error}")
            return
        now_ns = self._clock()
        if self._statements.took(now_ns, now_ns - began_ns):
            self._remark(
                f"reading {len(rows):,} statements took {format_duration(now_ns - began_ns)}, so they are read every"
                f" {format_duration(self._statements.every_ns)} now"
            )
        snapshot = snapshot_of((began_ns + now_ns) // 2, rows, info, self._snapshot)
        if self._snapshot is not None:
            found = increase(self._snapshot, snapshot)
            self._keep(found)
            notes.append(Note(snapshot.at_ns, "statements", body_of(found)))
            if found.why and found.why != RESTARTED:  # the sample has made a mark of a restart
                notes.append(
                    Note(snapshot.at_ns, "mark", {"text": found.why, "key": f"{found.why} {snapshot.reset_s}"})
                )
            if found.evicted:
                self._remark(
                    f"pg_stat_statements was full and forgot statements, {found.evicted} in one interval: their time is"
                    " unknown; a larger pg_stat_statements.max keeps them"
                )
        self._snapshot = snapshot
        await self._read_wait_profile(connection, has, notes)

    def _keep(self, found: Increase) -> None:
        """Keep an increase for the order of statements at the end. Those of the load are added up."""
        kept, t0_ns = self._increases, self._t0()
        if kept and not kept[-1].why and not found.why and t0_ns is not None and kept[-1].from_ns >= t0_ns:
            kept[-1] = together(kept[-1], found)
        else:
            kept.append(found)
            if len(kept) > _INCREASES_MOST and not kept[0].why and not kept[1].why:
                kept[:2] = [together(kept[0], kept[1])]

    async def _read_wait_profile(self, connection: Connection, has: Capabilities, notes: list[Note]) -> None:
        """Add the samples that pg_wait_sampling has taken since the last time, if the server has it."""
        if not has.waits_schema:
            return
        try:
            (rows,) = await connection.query(queries.wait_profile(has.waits_schema), _STATEMENTS_S)
        except Denied as error:
            self._remark(f"the profile of waits was not read: {error}")
            return
        now = {(kind or "", event or "", int(query or 0)): int(count or 0) for kind, event, query, count in rows}
        before, self._waits = self._waits, now
        if before is not None and (found := wait_increase(before, now)):
            ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:100]
            profile = [[f"{kind}:{event}" if kind else "", str(query), n] for (kind, event, query), n in ordered]
            notes.append(Note(self._clock(), "sessions", {"profile": profile}))

    async def _read_texts(self, connection: Connection, has: Capabilities, notes: list[Note]) -> None:
        """Add the texts and plans of the statements with the most added time."""
        worst = self._worst()
        active = sorted(self._seen_ids, key=lambda one: -self._seen_ids[one])[:TEXTS]
        ids = dict.fromkeys((*(key.query for key in worst), *active))
        if not ids:
            return
        (rows,) = await connection.query(queries.statement_texts(has.statements_schema, ids), _STATEMENTS_S)
        own = {
            StatementKey(int(u or 0), int(d or 0), int(q or 0)) for u, d, q, _, _, _, is_own in rows if is_own == "t"
        }
        texts: dict[StatementKey, str] = {}
        listed = []
        for user_id, database_id, query_id, user, database, text, is_own in rows:
            if text is None or is_own == "t":
                continue
            key = StatementKey(int(user_id or 0), int(database_id or 0), int(query_id or 0))
            texts[key] = text
            listed.append(
                {
                    "user_id": key.user,
                    "database_id": key.database,
                    "query_id": str(key.query),
                    "user": one_line(user or "", 80),
                    "database": one_line(database or "", 80),
                    "text": _redacted(text)[:_TEXT_MOST],
                    "fingerprint": fingerprint(text).id,
                }
            )
        now_ns = self._clock()
        order = {key.query: n for n, key in enumerate(worst)}
        listed.sort(key=lambda one: order.get(int(str(one["query_id"])), len(order)))
        body = {"texts": listed[:_TEXTS_MOST], "own": [str(key.query) for key in sorted(own)][:_OWN_MOST]}
        notes.append(Note(now_ns, "statements", body))
        for key in [one for one in worst if one in texts and not why_not_explainable(texts[one])][:PLANS]:
            notes.append(await self._plan_note(connection, has, key, texts[key]))

    async def _plan_note(self, connection: Connection, has: Capabilities, key: StatementKey, text: str) -> Note:
        body = {"user_id": key.user, "database_id": key.database, "query_id": str(key.query)}
        if key.database != has.database_oid:
            return Note(self._clock(), "plan", body | {"why": "the statement is of another database than the probe"})
        return Note(self._clock(), "plan", body | await plan_body(connection, has, text))

    def _worst(self) -> list[StatementKey]:
        """Return the statements with the most added time, without those of the probe."""
        rows = added_time(self._increases, self._t0() or 0, self._clock() + NS_PER_S).rows
        return [row.key for row in rows if row.key.query and row.added.exec_ms > 0][: TEXTS + _OWN_SLACK]

    def _remark(self, text: str) -> None:
        self._remarks.append(text)

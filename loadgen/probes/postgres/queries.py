"""The statements that the probe sends, by version of the server. Pure.

Each begins with a comment, so that the server's own statistics show which time the probe took. Every answer is bounded
by a LIMIT, and every name is qualified, so no object of the database can take the place of one of the catalogue.
"""

# ruff: noqa: S608 - all parts are numbers, or quoted by `identifier` and `literal`; there are no parameters in the
# simple protocol.

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = [
    "MARK",
    "OLDEST",
    "OPTIONS",
    "SESSIONS_MOST",
    "STATEMENTS_MOST",
    "WAITERS_MOST",
    "all_statement_texts",
    "capabilities",
    "distinct_values",
    "identifier",
    "literal",
    "lock_graph",
    "sample",
    "statement_counters",
    "statement_info",
    "statement_texts",
    "table_sizes",
    "wait_profile",
]

MARK: Final = "/* loadgen-probe */ "
"""The beginning of each statement of the probe."""
OLDEST: Final = 140_000
"""The oldest supported version, as `server_version_num`: PostgreSQL 14 has the statement's id of a session."""
OPTIONS: Final = (
    "-c statement_timeout=2000 -c lock_timeout=100 -c default_transaction_read_only=on"
    " -c idle_in_transaction_session_timeout=10000 -c client_min_messages=error -c DateStyle=ISO"
    " -c extra_float_digits=1"
)
"""Settings of the probe's session, which the server applies before the first statement.

PgBouncer rejects a connection with such settings. That is intended: in its pool they would leak to other clients.
"""
SESSIONS_MOST: Final = 500
"""The most sessions that a sample lists; the others are only counted."""
STATEMENTS_MOST: Final = 20_000
"""The most entries of pg_stat_statements that are read."""
WAITERS_MOST: Final = 200
"""The most waiting sessions whose blockers are read."""
_QUERY_MOST: Final = 2_000


def capabilities() -> str:
    """Return the statement for what the server has: one row with version, settings, extensions and rights."""
    return f"""{MARK}SELECT current_setting('server_version_num'), current_setting('max_connections'),
 current_setting('superuser_reserved_connections'), current_setting('reserved_connections', true),
 current_setting('track_io_timing'), current_setting('compute_query_id'), current_setting('track_activity_query_size'),
 (SELECT nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
  WHERE extname = 'pg_stat_statements'),
 (SELECT nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
  WHERE extname = 'pg_wait_sampling'),
 (SELECT nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
  WHERE extname = 'hypopg'),
 pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
 current_database(), current_user,
 (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()),
 current_setting('pg_stat_statements.max', true), current_setting('pg_stat_statements.track', true),
 current_setting('work_mem'), current_setting('shared_buffers'), current_setting('track_activities'),
 (SELECT setting::bigint * 1024 FROM pg_catalog.pg_settings WHERE name = 'work_mem'),
 current_setting('hash_mem_multiplier'), pg_catalog.pg_is_in_recovery()"""


def sample(version: int) -> str:
    """Return the two statements of each sample: the sessions that are not idle, and one row with the server's state.

    version: `server_version_num` of the server.
    """
    checkpoints = (
        "(SELECT num_timed FROM pg_catalog.pg_stat_checkpointer), (SELECT num_requested FROM"
        " pg_catalog.pg_stat_checkpointer)"
        if version >= 170_000
        else "(SELECT checkpoints_timed FROM pg_catalog.pg_stat_bgwriter),"
        " (SELECT checkpoints_req FROM pg_catalog.pg_stat_bgwriter)"
    )
    return f"""{MARK}SELECT pid, application_name, state, wait_event_type, wait_event, query_id,
 extract(epoch FROM xact_start), extract(epoch FROM query_start), extract(epoch FROM state_change),
 left(query, {_QUERY_MOST}), backend_type, usename, datname
 FROM pg_catalog.pg_stat_activity
 WHERE pid <> pg_catalog.pg_backend_pid() AND (state <> 'idle' OR state IS NULL AND wait_event_type = 'Lock')
 ORDER BY wait_event_type = 'Lock' DESC NULLS LAST, xact_start NULLS LAST LIMIT {SESSIONS_MOST};
{MARK}SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM pg_catalog.pg_postmaster_start_time()),
 a.*, d.*, {checkpoints}, (SELECT extract(epoch FROM max(replay_lag)) FROM pg_catalog.pg_stat_replication),
 extract(epoch FROM clock_timestamp() - statement_timestamp())
 FROM (SELECT
  count(*) FILTER (WHERE backend_type = 'client backend' OR backend_type IS NULL AND datid IS NOT NULL),
  count(*) FILTER (WHERE backend_type = 'client backend' AND state = 'active'),
  count(*) FILTER (WHERE state = 'idle'),
  count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
  count(*) FILTER (WHERE state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '1 s'),
  count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock'),
  coalesce(max(age(backend_xmin)), 0),
  coalesce(extract(epoch FROM clock_timestamp() - min(xact_start) FILTER (WHERE backend_type = 'client backend')), 0),
  count(*) FILTER (WHERE backend_type = 'autovacuum worker')
  FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()) a,
 (SELECT xact_commit, xact_rollback, blks_hit, blks_read, temp_files, temp_bytes, deadlocks,
  extract(epoch FROM stats_reset)
  FROM pg_catalog.pg_stat_database WHERE datname = current_database()) d"""


def lock_graph(pids: Iterable[int], *, with_waitstart: bool = True) -> str:
    """Return the statements for the sessions that block these pids, and for the locks of all of them.

    pids: of sessions that wait for a lock. The blockers of others are not computed, because each computation stops
        every process that takes a lock for a moment.
    """
    listed = ",".join(str(int(pid)) for pid in sorted(set(pids))[:WAITERS_MOST])
    waiters = f"pg_catalog.unnest('{{{listed}}}'::int[]) AS waiter(pid)"
    blockers = f"SELECT pid, pg_catalog.pg_blocking_pids(pid) AS by FROM {waiters}"
    since = "extract(epoch FROM l.waitstart)" if with_waitstart else "NULL"
    return f"""{MARK}WITH w AS MATERIALIZED ({blockers}),
 p AS (SELECT pid FROM w UNION SELECT unnest(by) FROM w)
SELECT 'blocked', w.pid::text, array_to_string(w.by, ','), NULL, NULL, NULL, NULL, NULL FROM w
UNION ALL
SELECT 'lock', l.pid::text, l.locktype, l.mode, l.granted::text,
 CASE WHEN l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  THEN (SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')) END, {since}::text, NULL
 FROM pg_catalog.pg_locks l JOIN p ON p.pid = l.pid
 WHERE NOT l.granted OR l.locktype = 'tuple' OR l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock')
UNION ALL
SELECT 'session', a.pid::text, a.application_name, coalesce(a.state, ''), extract(epoch FROM a.state_change)::text,
 left(a.query, {_QUERY_MOST}), extract(epoch FROM a.xact_start)::text, a.query_id::text
 FROM pg_catalog.pg_stat_activity a JOIN p ON p.pid = a.pid
LIMIT {WAITERS_MOST * 40}"""


def statement_counters(version: int, schema: str) -> str:
    """Return the statement for the counters of all statements, without their texts: one text with commas for each.

    One column instead of twelve takes a third of the time here, and rows that have not changed are not parsed again.
    """
    io = "shared_blk_read_time + shared_blk_write_time" if version >= 170_000 else "blk_read_time + blk_write_time"
    since = "extract(epoch FROM stats_since)" if version >= 170_000 else "''"
    return f"""{MARK}SELECT concat_ws(',', userid, dbid, queryid, {since}, calls, total_exec_time, rows,
 shared_blks_hit, shared_blks_read, temp_blks_read + temp_blks_written, wal_bytes, {io})
 FROM {identifier(schema)}.pg_stat_statements(false) WHERE toplevel AND queryid IS NOT NULL LIMIT {STATEMENTS_MOST}"""


def statement_info(schema: str) -> str:
    """Return the statement for the number of evictions and the time of the last reset of pg_stat_statements."""
    return (
        f"{MARK}SELECT dealloc, extract(epoch FROM stats_reset),"
        " extract(epoch FROM pg_catalog.pg_postmaster_start_time()),"
        f" extract(epoch FROM clock_timestamp()) FROM {identifier(schema)}.pg_stat_statements_info"
    )


def statement_texts(schema: str, ids: Iterable[int]) -> str:
    """Return the statement for the texts of statements with these ids, and for the ids of the probe's own ones."""
    listed = ",".join(str(int(one)) for one in ids) or "0"
    table = f"{identifier(schema)}.pg_stat_statements(true)"
    return f"""{MARK}WITH s AS MATERIALIZED (SELECT userid, dbid, queryid, query, toplevel FROM {table})
SELECT s.userid, s.dbid, s.queryid, pg_catalog.pg_get_userbyid(s.userid),
 (SELECT datname FROM pg_catalog.pg_database WHERE oid = s.dbid),
 CASE WHEN s.queryid IN ({listed}) THEN left(s.query, 100000) END, s.query LIKE '/* loadgen-probe */%'
 FROM s WHERE s.toplevel AND (s.queryid IN ({listed}) OR s.query LIKE '/* loadgen-probe */%') LIMIT 1000"""


def all_statement_texts(schema: str) -> str:
    """Return the statement for the most frequent statements of the current database that may write to tables."""
    return f"""{MARK}SELECT queryid, left(query, 4000), calls FROM {identifier(schema)}.pg_stat_statements(true)
 WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
 AND query ~* '\\m(insert|update|delete|merge)\\M' ORDER BY calls DESC LIMIT 1000"""


def wait_profile(schema: str) -> str:
    """Return the statement for the counters of pg_wait_sampling: samples by wait event and statement."""
    return (
        f"{MARK}SELECT coalesce(event_type, ''), coalesce(event, ''), queryid, sum(count)"
        f" FROM {identifier(schema)}.pg_wait_sampling_get_profile() WHERE queryid <> 0 GROUP BY 1, 2, 3 LIMIT 5000"
    )


def table_sizes(names: Iterable[tuple[str, str]]) -> str:
    """Return the statement for rows and pages of tables, as the server estimates them. names: (schema, table)."""
    listed = ",".join(f"({literal(schema)},{literal(table)})" for schema, table in names)
    return f"""{MARK}SELECT n.nspname, c.relname, c.reltuples, c.relpages,
 pg_catalog.pg_table_size(c.oid) FROM pg_catalog.pg_class c
 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname, c.relname) IN ({listed}) LIMIT 1000"""


def distinct_values(names: Iterable[tuple[str, str]]) -> str:
    """Return the statement for the number of different values of each column. names: (schema, table)."""
    listed = ",".join(f"({literal(schema)},{literal(table)})" for schema, table in names)
    return f"""{MARK}SELECT s.schemaname, s.tablename, s.attname,
 CASE WHEN s.n_distinct >= 0 THEN s.n_distinct ELSE -s.n_distinct * greatest(c.reltuples, 0) END
 FROM pg_catalog.pg_stats s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
 WHERE (s.schemaname, s.tablename) IN ({listed}) LIMIT 5000"""


def identifier(name: str) -> str:
    """Return a name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a literal that is the same with every setting of the server."""
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

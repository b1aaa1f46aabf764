"""The rows of a PostgreSQL probe, and their values in each sample: connections, locks, cache, transactions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.probes.rows import Row, Series

__all__ = ["ROWS", "Capabilities", "ServerSample", "capabilities_of", "missing_of", "rows_of", "sample_of"]


def _gauge(key: str, title: str, *, unit: str = "", scale: float = 1.0) -> Row:
    return Row(key=key, title=title, kind="gauge", names=(key,), unit=unit, scale=scale)


def _counter(key: str, title: str, unit: str = "1/s") -> Row:
    return Row(key=key, title=title, kind="counter", names=(key,), unit=unit)


ROWS: Final[tuple[Row, ...]] = (
    _gauge("connections", "connections, of the server's limit", unit="%", scale=100),
    _gauge("active", "sessions active"),
    _gauge("lock_waits", "sessions waiting for a lock"),
    _gauge("idle_in_transaction", "sessions idle in a transaction"),
    _gauge("idle_in_transaction_1s", "sessions idle in a transaction for over 1 s"),
    _gauge("idle", "sessions idle"),
    _gauge("oldest_transaction", "age of the oldest transaction", unit="s"),
    _gauge("oldest_xmin", "transactions since the oldest snapshot"),
    _counter("commits", "commits"),
    _counter("rollbacks", "rollbacks"),
    Row(
        key="cache_hits",
        title="blocks found in the server's cache",
        kind="share",
        names=("blocks_hit",),
        of=("blocks_all",),
        unit="%",
        scale=100,
    ),
    _counter("blocks_read", "blocks read from outside the cache"),
    _counter("temp_files", "temporary files"),
    _counter("temp_bytes", "temporary files, bytes", "B/s"),
    _counter("deadlocks", "deadlocks"),
    _counter("checkpoints", "checkpoints"),
    _gauge("autovacuum", "autovacuum workers"),
    _gauge("replication_lag", "replication lag, the largest", unit="s"),
)
_START: Final = Series("", "start", "process_start_time_seconds")
_ROLE: Final = "GRANT pg_monitor TO"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Version, settings and extensions of a server. The schema of a missing extension is ""."""

    version: int
    """Such as 170005 for 17.5."""
    max_connections: int
    reserved: int
    """Connections that only superusers and reserved users get."""
    has_io_timing: bool
    has_query_ids: bool
    """Whether `compute_query_id` is not off."""
    activity_query_size: int
    statements_schema: str
    waits_schema: str
    hypopg_schema: str
    reads_all_stats: bool
    database: str
    user: str
    database_oid: int
    statements_max: int
    """The size of pg_stat_statements; 0 if the library is not loaded."""
    statements_track: str
    work_mem: str
    shared_buffers: str
    tracks_activities: bool
    work_mem_bytes: int
    hash_mem_multiplier: float
    is_standby: bool

    @property
    def limit(self) -> int:
        """Return the number of connections that ordinary users can have: above it, the server rejects them."""
        return max(1, self.max_connections - self.reserved)


@dataclass(frozen=True, slots=True)
class ServerSample:
    """The server's state at one time. Times are s since 1970 by its clock."""

    now_s: float
    started_s: float
    waiting_for_locks: int
    checkpoints: int
    deadlocks: int
    worked_s: float
    """The time that the server needed for this sample."""
    values: Mapping[Series, float]


def capabilities_of(row: Sequence[str | None]) -> Capabilities:
    """Return the answer to `queries.capabilities`."""
    version, most, superuser, reserved, io, ids, size, statements, waits, hypopg, reads_all, *more = row
    database, user, oid, statements_max, track, work_mem, buffers, activities, work_bytes, hash_mem, standby = more
    return Capabilities(
        version=int(version or 0),
        max_connections=int(most or 0),
        reserved=int(superuser or 0) + int(reserved or 0),
        has_io_timing=io == "on",
        has_query_ids=ids != "off",
        activity_query_size=_bytes(size),
        statements_schema=statements or "",
        waits_schema=waits or "",
        hypopg_schema=hypopg or "",
        reads_all_stats=reads_all == "t",
        database=database or "",
        user=user or "",
        database_oid=int(oid or 0),
        statements_max=int(statements_max or 0),
        statements_track=track or "",
        work_mem=work_mem or "",
        shared_buffers=buffers or "",
        tracks_activities=activities == "on",
        work_mem_bytes=int(work_bytes or 0),
        hash_mem_multiplier=float(hash_mem or 1),
        is_standby=standby == "t",
    )


def missing_of(has: Capabilities) -> tuple[tuple[str, str], ...]:
    """Return what the server lacks, as (what is not shown, the line that gives it)."""
    found = []
    if not has.statements_max:
        found.append(
            (
                "no statements: pg_stat_statements is not loaded",
                "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, a restart, then"
                " CREATE EXTENSION pg_stat_statements",
            )
        )
    elif not has.statements_schema:
        found.append(
            (
                f"no statements: the extension pg_stat_statements is not in the database {has.database}",
                "CREATE EXTENSION pg_stat_statements",
            )
        )
    elif has.statements_track == "none":
        found.append(
            (
                "no statements: the setting pg_stat_statements.track is 'none'",
                "ALTER SYSTEM SET pg_stat_statements.track = 'top'",
            )
        )
    if not has.reads_all_stats:
        found.append(
            ("statements and waits of other users are hidden", f'{_ROLE} "{has.user.replace(chr(34), chr(34) * 2)}"')
        )
    if not has.tracks_activities:
        found.append(("no sessions: track_activities is off", "ALTER SYSTEM SET track_activities = on"))
    if not has.has_query_ids:
        found.append(
            ("sessions have no statement: compute_query_id is off", "ALTER SYSTEM SET compute_query_id = 'auto'")
        )
    if not has.has_io_timing:
        found.append(("no time of reads and writes: track_io_timing is off", "ALTER SYSTEM SET track_io_timing = on"))
    return tuple(found)


def sample_of(row: Sequence[str | None], has: Capabilities) -> ServerSample:
    """Return the sample of the second answer to `queries.sample`.

    The start time changes also when the database's statistics are reset, because its counters begin again then.
    """
    (now, started, total, active, idle, in_xact, in_xact_1s, lock_waits, xmin, xact_s, vacuums, *more) = map(
        _number, row
    )
    commits, rollbacks, hits, reads, temp_files, temp_bytes, deadlocks, reset, timed, requested, lag, worked_s = more
    gauges = {
        "connections": total / has.limit,
        "active": active,
        "lock_waits": lock_waits,
        "idle_in_transaction": in_xact,
        "idle_in_transaction_1s": in_xact_1s,
        "idle": idle,
        "oldest_transaction": xact_s,
        "oldest_xmin": xmin,
        "commits": commits,
        "rollbacks": rollbacks,
        "blocks_read": reads,
        "temp_files": temp_files,
        "temp_bytes": temp_bytes,
        "deadlocks": deadlocks,
        "checkpoints": timed + requested,
        "autovacuum": vacuums,
    }
    values = {Series(key, "value", key): value for key, value in gauges.items()}
    values[Series("cache_hits", "value", "blocks_hit")] = hits
    values[Series("cache_hits", "of", "blocks_all")] = hits + reads
    if row[-2] is not None:
        values[Series("replication_lag", "value", "replication_lag")] = lag
    values[_START] = max(started, reset)
    return ServerSample(now, started, int(lock_waits), int(timed + requested), int(deadlocks), worked_s, values)


def rows_of(sample: ServerSample) -> tuple[Row, ...]:
    """Return the rows of a sample: a server without a standby has no replication lag."""
    keys = {series.row for series in sample.values}
    return tuple(row for row in ROWS if row.key in keys)


def _number(text: str | None) -> float:
    return 0.0 if text is None else float(text)


def _bytes(text: str | None) -> int:
    """Return a size such as "1kB" in bytes."""
    text = text or ""
    digits = "".join(filter(str.isdigit, text))
    scale = {"kB": 1024, "MB": 1 << 20, "GB": 1 << 30}.get(text.lstrip("0123456789"), 1)
    return int(digits or 0) * scale

"""The rows of a PgBouncer probe, and their values from `SHOW POOLS` and `SHOW STATS`. Pure.

A client waits if all connections of its pool to the server are in use. `maxwait` is the time for which the client at
the head of the queue has waited, so it falls back when that client gets a connection. Times are in µs in `SHOW STATS`,
and in whole s and µs in `SHOW POOLS`. Source: https://www.pgbouncer.org/usage.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.probes.rows import GAUGE_SERIES_MOST, Labels, Row, Series, labelled

__all__ = ["ROWS", "Table", "pool_rows", "settings_body", "values_of"]

Table = Sequence[Mapping[str, str | None]]
"""The answer to a SHOW command: its rows by column."""


def _gauge(key: str, title: str, *, unit: str = "", scale: float = 1.0) -> Row:
    return Row(key=key, title=title, kind="gauge", names=(key,), unit=unit, scale=scale)


def _counter(key: str, title: str, unit: str = "1/s", scale: float = 1.0) -> Row:
    return Row(key=key, title=title, kind="counter", names=(key,), unit=unit, scale=scale)


def _mean(key: str, title: str, of: str) -> Row:
    return Row(key=key, title=title, kind="share", names=(f"{key}_s",), of=(of,), unit="s")


_WAITING: Final = _gauge("cl_waiting", "clients waiting for a connection")
_MAX_WAIT: Final = _gauge("maxwait", "longest wait for a connection", unit="s")
ROWS: Final[tuple[Row, ...]] = (
    _WAITING,
    _MAX_WAIT,
    _gauge("cl_active", "clients with a connection, or idle"),
    _gauge("clients", "clients, of PgBouncer's limit", unit="%", scale=100),
    _gauge("sv_active", "connections to the server in use"),
    _gauge("sv_idle", "connections to the server not in use"),
    _counter("queries", "queries"),
    _counter("transactions", "transactions"),
    _mean("query_time", "mean time of a query", "queries"),
    _mean("wait_time", "mean wait of a transaction for a connection", "transactions"),
)
_OWN: Final = "pgbouncer"
"""The database of the console, whose pool is no pool of the application."""


def pool_rows(pools: Table) -> tuple[Row, ...]:
    """Return the rows of single pools, if there are several: waiting clients and longest wait of the first 8 pools."""
    found = _pools(pools)
    if len(found) < 2:
        return ()
    return tuple(labelled(row, _labels(pool)) for pool in found[:GAUGE_SERIES_MOST] for row in (_WAITING, _MAX_WAIT))


def values_of(pools: Table, stats: Table, max_clients: int) -> dict[Series, float]:
    """Return the values of all rows.

    max_clients: `max_client_conn`; 0 if it is unknown.
    """
    found = _pools(pools)
    gauges = {
        key: sum(_number(pool, key) for pool in found) for key in ("cl_waiting", "cl_active", "sv_active", "sv_idle")
    }
    gauges["maxwait"] = max(map(_wait_s, found), default=0.0)
    if max_clients:
        gauges["clients"] = (gauges["cl_active"] + gauges["cl_waiting"]) / max_clients
    values = {Series(key, "value", key): value for key, value in gauges.items()}
    counted = [row for row in stats if row.get("database") != _OWN]
    queries = sum(_number(row, "total_query_count") for row in counted)
    transactions = sum(_number(row, "total_xact_count") for row in counted)
    values[Series("queries", "value", "queries")] = queries
    values[Series("transactions", "value", "transactions")] = transactions
    for key, column, of, count in (
        ("query_time", "total_query_time", "queries", queries),
        ("wait_time", "total_wait_time", "transactions", transactions),
    ):
        values[Series(key, "value", f"{key}_s")] = sum(_number(row, column) for row in counted) / 1e6
        values[Series(key, "of", of)] = count
    if len(found) >= 2:
        for pool in found[:GAUGE_SERIES_MOST]:
            labels = _labels(pool)
            waiting, longest = labelled(_WAITING, labels), labelled(_MAX_WAIT, labels)
            values[Series(waiting.key, "value", "cl_waiting", labels)] = _number(pool, "cl_waiting")
            values[Series(longest.key, "value", "maxwait", labels)] = _wait_s(pool)
    return values


def settings_body(config: Table, pools: Table) -> dict[str, Any]:
    """Return the settings that limit pools, as JSON, and the pools with their modes."""
    values = {row.get("key") or "": row.get("value") or "" for row in config}
    names = ("pool_mode", "default_pool_size", "reserve_pool_size", "max_client_conn", "max_db_connections")
    body: dict[str, Any] = {name: one_line(values[name], 80) for name in names if name in values}
    body["pools"] = [
        dict(_labels(pool)) | {"mode": one_line(pool.get("pool_mode") or "", 40)} for pool in _pools(pools)[:50]
    ]
    return body


def _pools(pools: Table) -> list[Mapping[str, str | None]]:
    """Return the pools of the application, in the order of their names, which is the same in each sample."""
    return sorted(
        (pool for pool in pools if pool.get("database") != _OWN),
        key=lambda pool: (pool.get("database") or "", pool.get("user") or ""),
    )


def _labels(pool: Mapping[str, str | None]) -> Labels:
    return tuple((name, one_line(pool.get(name) or "", 80)) for name in ("database", "user"))


def _wait_s(pool: Mapping[str, str | None]) -> float:
    return _number(pool, "maxwait") + _number(pool, "maxwait_us") / 1e6


def _number(row: Mapping[str, str | None], column: str) -> float:
    """Return a number; 0 for a column that this version does not have."""
    try:
        return float(row.get(column) or 0)
    except ValueError:
        return 0.0

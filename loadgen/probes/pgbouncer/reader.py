"""Reads PgBouncer's console. It needs a user of `stats_users`; the pools of the application are never used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.outside_text import one_line
from loadgen.probes.database_settings import DatabaseTable
from loadgen.probes.pgbouncer.pools import ROWS, Table, pool_rows, settings_body, values_of
from loadgen.probes.postgres.connect import answered, connect
from loadgen.probes.postgres.connection import Connection, Lost, psycopg_pq
from loadgen.probes.reader import Note, Reading, Tools
from loadgen.probes.spec import ProbeSpec

__all__ = ["PgBouncerReader", "open_reader"]

_PORT: Final = 6432
_DATABASE: Final = "pgbouncer"
"""The database of the console."""


def open_reader(spec: ProbeSpec, tools: Tools) -> PgBouncerReader:
    """Return the reader of a checked probe. It connects at its first `read`.

    Raises:
        UsageError: psycopg is not installed.
    """
    psycopg_pq()
    return PgBouncerReader(spec, tools)


class PgBouncerReader:
    """Reads one PgBouncer; see `loadgen.probes.reader.Reader`."""

    def __init__(self, spec: ProbeSpec, tools: Tools) -> None:
        self._dsn, self._clock, self._permit = spec.own["dsn"], tools.clock, tools.permit
        password = spec.table(DatabaseTable).password
        self._password = tools.secret(password.secret) if password else ""
        self._connection: Connection | None = None
        self._config: Table = ()
        self._has_shown_settings = False

    async def read(self, limit_s: float) -> Reading:
        """Read once, within `limit_s`.

        Raises:
            NotRead: PgBouncer did not answer in time, or rejected the connection.
        """
        async with answered(limit_s, self._drop, shown=_with_hint):
            return await self._read(limit_s)

    async def last(self) -> tuple[Note, ...]:
        """Return nothing: all is read each time."""
        return ()

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        self._drop()

    async def _read(self, limit_s: float) -> Reading:
        if self._connection is None or not self._connection.is_open:
            fixed = {"dbname": _DATABASE, "gssencmode": "disable"}
            self._connection = await connect(
                self._dsn, self._password, port=_PORT, limit_s=limit_s, permit=self._permit, fixed=fixed
            )
            self._config = await self._connection.table("SHOW CONFIG", limit_s)
        sent_ns = self._clock()
        pools = await self._connection.table("SHOW POOLS", limit_s)
        stats = await self._connection.table("SHOW STATS", limit_s)
        received_ns = self._clock()
        if pools and "cl_waiting" not in pools[0]:
            raise Lost("this is not PgBouncer's console: write the address of PgBouncer")
        limits = (row.get("value") or "" for row in self._config if row.get("key") == "max_client_conn")
        values = values_of(pools, stats, next((int(one) for one in limits if one.isdecimal()), 0))
        rows = (*ROWS, *pool_rows(pools))
        return Reading(sent_ns, received_ns, rows, values, tuple(self._settings_note(pools)))

    def _settings_note(self, pools: Table) -> Iterable[Note]:
        if not self._has_shown_settings:
            self._has_shown_settings = True
            yield Note(self._clock(), "settings", settings_body(self._config, pools))

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _with_hint(why: str) -> str:
    text = one_line(why, 250)
    if "not allowed" in text or "no such user" in text:
        return f"{text}; what gives it: the user in stats_users of pgbouncer.ini"
    if 'database "pgbouncer" does not exist' in text:
        return "this is not PgBouncer's console: write the address of PgBouncer"
    return text

"""Real services with a real PostgreSQL, PgBouncer and their probes: waits for pools are not blamed on the database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.support.pgbouncer_server import running_pgbouncer
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.traced_shop.cases import FAULTS
from tests.support.traced_shop.traced_run import traced_run

pytestmark = [pytest.mark.slow, pytest.mark.quiet, pytest.mark.timeout(600)]
POOL = FAULTS["pool of two"]


def _prepare(server: PostgresServer) -> str:
    """Return the table of a probe of the server."""
    server.sql("CREATE ROLE perf LOGIN; GRANT pg_monitor, pg_read_all_data TO perf")
    server.sql("CREATE EXTENSION pg_stat_statements")
    return f'[probes.shopdb]\nkind = "postgres"\ndsn = "{server.dsn("postgres", "perf")}"\n'


def test_time_before_the_statement_of_a_pool_of_two_connections_is_not_the_database(tmp_path: Path) -> None:
    with running_postgres() as server:
        (tmp_path / "loadgen.toml").write_text(_prepare(server))
        faults = msgspec.structs.replace(POOL.case.faults, database=server.url())
        run = traced_run(tmp_path, replace(POOL.case, faults=faults))
    done, causes = run.cause()
    assert POOL.wrong(causes) == "", done.out + done.err
    first = causes["ranked"][0]
    assert first["statement"] is None
    assert first["below"]["is_unchanged"], first["below"]
    assert "this time is not in its database span stock: SELECT item slowly" in done.out
    assert causes["locks"] == []


def test_clients_that_wait_in_pgbouncer_coincide_with_slow_requests(tmp_path: Path) -> None:
    with running_postgres() as server, running_pgbouncer(server.port, pool_size=4, prepared=100) as bouncer:
        pool = f'[probes.pool]\nkind = "pgbouncer"\ndsn = "{bouncer.dsn("pgbouncer", "pgbouncer")}"\nevery = "200ms"\n'
        (tmp_path / "loadgen.toml").write_text(_prepare(server) + pool)
        faults = msgspec.structs.replace(POOL.case.faults, database=bouncer.url(), pool=0)
        run = traced_run(tmp_path, replace(POOL.case, faults=faults, rate=40))
    done, causes = run.cause()
    (pool_line,) = causes["pools"]
    assert pool_line["waiting"] > 0, done.out + done.err
    assert "the time of slow requests coincides with clients that wait for a connection in PgBouncer" in done.out
    lines = causes["ranked"] or causes["not_ranked"]["candidates"]
    (statement,) = [one["statement"] for one in lines if one["path"][-1] == "stock: SELECT item slowly"]
    # Each execution takes 52 ms at the server, for slow and fast requests alike.
    assert 50 < statement["mean_ms"] < 100

"""A probe of a real PgBouncer with a pool of two connections."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from loadgen.probes.pgbouncer.reader import open_reader
from loadgen.probes.reader import NotRead, Reading, Tools
from loadgen.probes.rows import Series
from loadgen.probes.spec import ProbeSpec
from tests.support.pgbouncer_server import PgBouncer, running_pgbouncer
from tests.support.postgres_readers import opened
from tests.support.postgres_server import PostgresServer, running_postgres

TOOLS = Tools(time.monotonic_ns, lambda _: None)


def spec_of(dsn: str) -> ProbeSpec:
    return ProbeSpec(name="pool", kind="pgbouncer", own={"dsn": dsn})


async def read_once(dsn: str) -> Reading:
    reader = open_reader(spec_of(dsn), TOOLS)
    try:
        return await reader.read(60)
    finally:
        await reader.close()


async def read_until_waiting(bouncer: PgBouncer, wanted: int) -> Reading:
    reader = open_reader(spec_of(bouncer.dsn("ignored", "pgbouncer")), TOOLS)
    try:
        for _ in range(400):
            reading = await reader.read(60)
            found = [reading.values[Series(key, "value", key)] for key in ("cl_waiting", "sv_active")]
            if found == [wanted, 2]:
                return reading
            await asyncio.sleep(0.02)
        raise AssertionError(f"{wanted} never waited for 2")
    finally:
        await reader.close()


def test_a_real_pool_of_two_has_three_of_five_clients_waiting() -> None:
    with running_postgres(libraries=()) as server, running_pgbouncer(server.port, pool_size=2) as bouncer:
        server.sql("CREATE TABLE gate (id int)")
        with psycopg.connect(server.dsn()) as holder, ThreadPoolExecutor(5) as pool_of_threads:
            holder.execute("LOCK gate")

            def wait() -> None:
                with psycopg.connect(bouncer.dsn(), autocommit=True, prepare_threshold=None) as one:
                    one.execute("SELECT * FROM gate")

            done = [pool_of_threads.submit(wait) for _ in range(5)]
            try:
                reading = asyncio.run(read_until_waiting(bouncer, 3))
            finally:
                holder.rollback()
            for one in done:
                one.result()
        check_wrong_addresses(server, bouncer)

    assert reading.values[Series("cl_waiting", "value", "cl_waiting")] == 3
    assert reading.values[Series("sv_active", "value", "sv_active")] == 2
    assert reading.values[Series("maxwait", "value", "maxwait")] > 0


def check_wrong_addresses(server: PostgresServer, bouncer: PgBouncer) -> None:
    """A probe of one kind at an address of the other, and a user without the right: each has a sentence with a hint."""
    with pytest.raises(NotRead, match="this is not PgBouncer's console"):
        asyncio.run(read_once(server.dsn("ignored")))
    with pytest.raises(NotRead, match="stats_users of pgbouncer"):
        asyncio.run(read_once(bouncer.dsn("ignored", "postgres")))

    async def postgres_probe() -> None:
        async with opened(bouncer.dsn("postgres", "postgres")) as reader:
            await reader.read(60)

    with pytest.raises(
        NotRead, match='this is PgBouncer: write the address of the server itself, or kind = "pgbouncer"'
    ):
        asyncio.run(postgres_probe())

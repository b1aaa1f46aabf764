"""One PostgreSQL server for each module of tests, and a database of its own for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import psycopg
import pytest

from loadgen.probes.postgres import advise, explain, queries, reader
from tests.support.postgres_server import PostgresServer, running_postgres

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A new database with all extensions of the probe, and a role `perf` with the rights that the docs name."""

    server: PostgresServer
    name: str

    def dsn(self, user: str = "perf", **more: str) -> str:
        return self.server.dsn(self.name, user, **more)

    def sql(self, text: str) -> str:
        return self.server.sql(text, self.name)

    def session(self, application: str = "shop") -> psycopg.Connection:
        """Open a session of the superuser that is in no transaction."""
        return psycopg.connect(self.dsn("postgres", application_name=application), autocommit=True)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres(libraries=("pg_stat_statements", "pg_wait_sampling")) as server:
        server.sql("CREATE ROLE perf LOGIN; GRANT pg_monitor, pg_read_all_data TO perf; CREATE ROLE nobody LOGIN")
        yield server


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give statements a minute: beside other tests on a busy machine, two seconds are not always enough."""
    monkeypatch.setattr(
        queries, "OPTIONS", queries.OPTIONS.replace("statement_timeout=2000", "statement_timeout=60000")
    )
    for name in ("_STATEMENTS_S", "_LAST_S"):
        monkeypatch.setattr(reader, name, 60.0)
    for module in (explain, advise):
        monkeypatch.setattr(module, "_LIMIT_S", 60.0)


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    name = f"shop{next(_numbers)}"
    postgres.sql(f"CREATE DATABASE {name}")
    made = Database(postgres, name)
    made.sql(
        "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_wait_sampling; CREATE EXTENSION hypopg;"
        " SELECT pg_stat_statements_reset()"
    )
    return made

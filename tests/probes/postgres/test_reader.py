"""The reader on a real PostgreSQL: samples, locks, statements, plans, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme

from loadgen.probes.postgres.reader import PostgresReader
from loadgen.probes.postgres.statements import added_time, of_body
from loadgen.probes.reader import NotRead, Reading
from loadgen.probes.rows import Series
from tests.probes.postgres.conftest import Database
from tests.support.postgres_readers import bodies, opened
from tests.support.postgres_server import PostgresServer, running_postgres


def value(reading: Reading, key: str) -> float:
    return reading.values[Series(key, "value", key)]


async def with_statements(reader: PostgresReader) -> Reading:
    """Read with the statements, which are else due only every 10 s; on a busy machine they may be too slow at first."""
    for _ in range(20):
        before = reader._snapshot
        reader._statements.due_ns = 0
        reading = await reader.read(60)
        if reader._snapshot is not before or any("permission" in remark for remark in reading.remarks):
            return reading
    raise AssertionError(f"statements were never read: {reading.remarks}")


async def settled(reader: PostgresReader, wanted: int, key: str = "lock_waits") -> Reading:
    """Read until so many sessions are in the state."""
    for _ in range(400):
        reader._locks.due_ns = 0
        reading = await reader.read(60)
        if value(reading, key) >= wanted and (key != "lock_waits" or _waiting(reading) >= wanted):
            return reading
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {wanted} of {key}")


@contextmanager
def waiting(database: Database, statement: str, n: int = 1, application: str = "payout") -> Iterator[None]:
    """Sessions that execute a statement, which waits for a lock of the caller; it must release the lock."""

    def execute() -> None:
        with database.session(application) as one:
            one.execute(statement.encode())

    with ThreadPoolExecutor(n) as pool:
        done = [pool.submit(execute) for _ in range(n)]
        yield
    for one in done:
        one.result()


def test_connections_are_a_share_of_the_limit_of_ordinary_users(database: Database) -> None:
    async def run() -> tuple[Reading, Reading]:
        async with opened(database.dsn()) as reader:
            before = await reader.read(60)
            with ExitStack() as stack:
                sessions = [stack.enter_context(database.session()) for _ in range(6)]
                sessions[0].execute("BEGIN; SELECT 1")
                return before, await settled(reader, 1, "idle_in_transaction")

    before, after = asyncio.run(run())
    (settings,) = bodies(before.notes, "settings")

    assert settings["max_connections"] - settings["reserved_connections"] == 57
    assert value(after, "connections") - value(before, "connections") == pytest.approx(6 / 57)
    assert (value(after, "idle"), value(after, "active")) == (5, 0)
    assert settings["missing"] == []
    assert before.remarks == ()
    assert {row.key for row in before.rows} == {series.row for series in before.values} - {""}


def test_the_root_of_a_chain_is_named_with_the_statement_that_took_the_lock(database: Database) -> None:
    database.sql("CREATE TABLE ledger (id int PRIMARY KEY, n int); INSERT INTO ledger VALUES (1, 1)")

    async def run() -> Any:
        async with opened(database.dsn()) as reader:
            with database.session("settle") as root:
                root.execute("BEGIN")
                root.execute("UPDATE ledger SET n = 4711 WHERE id = 1")
                await reader.read(60)
                root.execute("SELECT 1")
                with waiting(database, "UPDATE ledger SET n = 5 WHERE id = 1", n=3):
                    try:
                        reading = await settled(reader, 3)
                    finally:
                        root.execute("COMMIT")
            return bodies(reading.notes, "locks")[0]

    (tree,) = asyncio.run(run())["trees"]

    assert (tree["application"], tree["state"], tree["waiting"]) == ("settle", "idle in transaction", 3)
    assert tree["earlier"] == ["UPDATE ledger SET n = ? WHERE id = ?"]
    assert tree["statement"] == "SELECT ?"
    assert tree["holds"] == ["public.ledger (RowExclusiveLock)"]
    assert {one["relation"] for one in tree["waiters"]} == {"public.ledger"}
    assert {one["application"] for one in tree["waiters"]} == {"payout"}


@contextmanager
def deadlock(database: Database, timeout: str) -> Iterator[list[Future[Any]]]:
    """Two sessions in a deadlock, which the server resolves after `timeout`; at the end both are rolled back."""
    database.sql("CREATE TABLE ledger (id int PRIMARY KEY, n int); INSERT INTO ledger VALUES (1, 1), (2, 2)")
    with database.session("one") as one, database.session("two") as two, ThreadPoolExecutor(2) as pool:
        for session, row in ((one, 1), (two, 2)):
            session.execute(f"SET deadlock_timeout = '{timeout}'".encode())
            session.execute("BEGIN")
            session.execute(f"UPDATE ledger SET n = 0 WHERE id = {row}".encode())
        done = [
            pool.submit(session.execute, f"UPDATE ledger SET n = 0 WHERE id = {row}".encode())
            for session, row in ((one, 2), (two, 1))
        ]
        try:
            yield done
        finally:
            database.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'")
            wait(done)


def test_a_deadlock_is_shown_as_one_while_it_lasts(database: Database) -> None:
    async def run() -> Any:
        async with opened(database.dsn()) as reader:
            with deadlock(database, "600s"):
                return bodies((await settled(reader, 2)).notes, "locks")[0]

    locks = asyncio.run(run())
    (tree,) = locks["trees"]

    assert len(locks["deadlocks"]) == 1
    assert sorted(locks["deadlocks"][0]) == sorted((tree["pid"], tree["waiters"][0]["pid"]))
    assert {tree["application"], tree["waiters"][0]["application"]} == {"one", "two"}


def test_a_deadlock_that_the_server_ends_is_a_mark(database: Database) -> None:
    async def run() -> Any:
        async with opened(database.dsn()) as reader:
            await reader.read(60)
            with deadlock(database, "10ms") as done:
                await asyncio.to_thread(wait, done, return_when=FIRST_COMPLETED)
            for _ in range(600):  # the session counts its deadlock when its transaction ends
                if marks := bodies((await reader.read(60)).notes, "mark"):
                    return marks
                await asyncio.sleep(0.05)
            raise AssertionError("no mark")

    assert "deadlock: the server ended a transaction" in [mark["text"] for mark in asyncio.run(run())]


def test_the_statement_with_the_most_added_time_comes_first_with_its_plan_in_words(database: Database) -> None:
    database.sql(
        "CREATE TABLE item (id int PRIMARY KEY, tenant int, price int);"
        " INSERT INTO item SELECT i, i % 500, i FROM generate_series(1, 50000) i; ANALYZE item;"
        " SELECT pg_stat_statements_reset()"
    )

    t0: list[int] = []

    async def run() -> Any:
        async with opened(database.dsn(), t0=lambda: t0[0] if t0 else None) as reader:
            with database.session() as shop:
                await with_statements(reader)  # the first reading of statements
                for _ in range(30):
                    shop.execute("SELECT price FROM item WHERE id = 7 /* before the load, too */")
                first = await with_statements(reader)
                t0.append(time.monotonic_ns())
                for _ in range(20):
                    shop.execute("SELECT count(*) FROM item WHERE tenant = 7")
                    shop.execute("BEGIN; UPDATE item SET price = 1 WHERE id = 7; COMMIT")
                return first, await reader.last()

    first, notes = asyncio.run(run())
    found = bodies(notes, "statements")
    increases = [of_body(body) for body in (*bodies(first.notes, "statements"), found[0])]
    texts = {one["query_id"]: one for one in found[1]["texts"]}
    added = added_time(increases, increases[0].to_ns, increases[-1].to_ns)
    own = set(found[1]["own"])
    by_added = [row for row in added.rows if str(row.key.query) not in own]

    assert texts[str(by_added[0].key.query)]["text"] == "SELECT count(*) FROM item WHERE tenant = $1"
    assert by_added[0].during.calls == 20
    assert added.total.during.exec_ms == pytest.approx(sum(row.during.exec_ms for row in added.rows))
    plans = {body["query_id"]: body for body in bodies(notes, "plan")}
    worst = plans[str(by_added[0].key.query)]
    assert worst["findings"][0]["text"] == "full scan of 50,000 rows of item, to keep 100"
    assert worst["plan"]["Plans"][0]["Filter"] == "(item.tenant = $1)"
    (update,) = (one for one in texts.values() if one["text"].startswith("UPDATE"))
    search = plans[update["query_id"]]  # the probe may not write, so it explains how the row is found
    assert search["is_search"]
    assert search["plan"]["Node Type"] == "Index Scan"


def test_values_in_statements_are_never_in_a_note(database: Database) -> None:
    database.sql("CREATE TABLE card (id int, number text); INSERT INTO card VALUES (1, '')")

    async def run() -> str:
        async with opened(database.dsn()) as reader:
            with database.session("root") as root:
                await with_statements(reader)
                root.execute("BEGIN")
                root.execute("UPDATE card SET number = '4111-secret-1111'")
                root.execute("ALTER ROLE nobody PASSWORD 'hunter2-secret'")
                with waiting(database, "UPDATE card SET number = $$5500-secret$$"):
                    try:
                        reading = await settled(reader, 1)
                    finally:
                        root.execute("ROLLBACK")
                later = await with_statements(reader)
            return str((reading, later, await reader.last()))

    shown = asyncio.run(run())

    assert "secret" not in shown
    assert "UPDATE card SET number = ?" in shown


def test_a_reset_of_the_statistics_is_a_gap_and_never_a_negative_increase(database: Database) -> None:
    async def run() -> list[Reading]:
        async with opened(database.dsn()) as reader:
            with database.session() as shop:
                shop.execute("SELECT 1")
                readings = [await with_statements(reader)]
                for reset in (True, False):
                    if reset:
                        database.sql("SELECT pg_stat_statements_reset(), pg_stat_reset()")
                    shop.execute("SELECT 1, 2")
                    readings.append(await with_statements(reader))
            return readings

    readings = asyncio.run(run())
    (reset,), (after,) = (bodies(one.notes, "statements") for one in readings[1:])
    start = Series("", "start", "process_start_time_seconds")

    assert (reset["why"], reset["rows"]) == ("the statistics of statements were reset", [])
    assert [mark["text"] for mark in bodies(readings[1].notes, "mark")] == [reset["why"]]
    assert "why" not in after
    assert all(number >= 0 for row in after["rows"] for number in row[3:])
    assert readings[0].values[start] < readings[1].values[start] == readings[2].values[start]


def test_a_statement_that_was_reset_alone_is_unknown_and_the_others_are_not(database: Database) -> None:
    async def run() -> Any:
        async with opened(database.dsn()) as reader:
            with database.session() as shop:
                for _ in range(3):
                    shop.execute("SELECT 1 AS alone")
                await with_statements(reader)
                database.sql(
                    "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements"
                    " WHERE query LIKE 'SELECT $1 AS alone'"
                )
                for _ in range(5):
                    shop.execute("SELECT 1 AS alone")
                shop.execute("SELECT 1, 2")
                return bodies((await with_statements(reader)).notes, "statements")[0]

    body = asyncio.run(run())

    assert body["restarted"] == 1
    assert "why" not in body
    assert body["rows"]


def test_what_is_missing_is_named_with_the_line_that_gives_it(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE bare")

    async def run() -> Reading:
        async with opened(postgres.dsn("bare", "nobody")) as reader:
            return await reader.read(60)

    reading = asyncio.run(run())
    (settings,) = bodies(reading.notes, "settings")

    assert [(one["what"], one["line"]) for one in settings["missing"]] == [
        (
            "no statements: the extension pg_stat_statements is not in the database bare",
            "CREATE EXTENSION pg_stat_statements",
        ),
        ("statements and waits of other users are hidden", 'GRANT pg_monitor TO "nobody"'),
    ]
    assert reading.remarks[1].endswith('what gives it: GRANT pg_monitor TO "nobody"')
    assert value(reading, "connections") >= 0


def test_settings_and_missing_rights_are_shown_even_if_the_first_read_is_cut_off(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.sql("CREATE DATABASE cut_off")

    async def run() -> Reading:
        async with opened(postgres.dsn("cut_off", "nobody")) as reader:
            with monkeypatch.context() as patch:
                patch.setattr(reader, "_read_locks", _too_late)
                with pytest.raises(NotRead):
                    await reader.read(60)
            return await reader.read(60)

    reading = asyncio.run(run())

    assert len(bodies(reading.notes, "settings")) == 1
    assert any("GRANT pg_monitor" in text for text in reading.remarks)


def test_the_last_counters_are_kept_if_the_texts_do_not_arrive_in_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> NotRead:
        async with opened(database.dsn(), t0=time.monotonic_ns) as reader:
            await with_statements(reader)
            monkeypatch.setattr(reader, "_read_texts", _too_late)
            with pytest.raises(NotRead) as caught:
                await reader.last()
            return caught.value

    error = asyncio.run(run())
    assert "no complete answer within" in str(error)
    assert "statements" in [note.kind for note in error.notes]  # with those of sessions, if these came in time


async def _too_late(*_: object) -> int:
    raise TimeoutError


def test_without_the_right_to_read_the_extension_everything_else_is_read(database: Database) -> None:
    database.sql("REVOKE EXECUTE ON FUNCTION pg_stat_statements(boolean) FROM PUBLIC")

    async def run() -> Reading:
        async with opened(database.dsn("nobody")) as reader:
            return await reader.read(60)

    reading = asyncio.run(run())

    assert "statements were not read: permission denied for function pg_stat_statements" in reading.remarks
    assert value(reading, "connections") >= 0


def test_a_restarted_server_is_a_gap_then_a_mark_and_its_counters_start_again(database: Database) -> None:
    async def run() -> tuple[str, Reading]:
        async with opened(database.dsn()) as reader:
            await with_statements(reader)
            database.server.restart("fast")
            with pytest.raises(NotRead) as gap:
                await reader.read(60)
            return str(gap.value), await with_statements(reader)

    why, after = asyncio.run(run())

    assert "terminating connection" in why or "closed" in why
    assert "the server was restarted" in [mark["text"] for mark in bodies(after.notes, "mark")]
    assert bodies(after.notes, "statements")[0]["why"] == "the server was restarted"


def test_a_server_that_hangs_costs_no_more_than_the_limit_and_is_read_again_later(database: Database) -> None:
    server = database.server
    postmaster = int((server.folder / "data/postmaster.pid").read_text().split()[0])

    async def run() -> tuple[list[str], Reading]:
        async with opened(database.dsn()) as reader:
            await reader.read(60)
            backend = int(database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'loadgen-probe'"))
            whys = []
            try:
                for one in (postmaster, backend):
                    os.kill(one, signal.SIGSTOP)
                for _ in range(2):  # the first hangs in a statement, the second in the connection
                    with pytest.raises(NotRead) as gap:
                        await asyncio.wait_for(reader.read(0.3), 60)
                    whys.append(str(gap.value))
            finally:
                for one in (postmaster, backend):
                    os.kill(one, signal.SIGCONT)
            return whys, await reader.read(60)

    whys, after = asyncio.run(run())

    assert all("within 0.3 s" in why for why in whys)
    assert value(after, "connections") >= 0


def test_a_wrong_password_is_a_gap_without_the_password(postgres: PostgresServer) -> None:
    postgres.sql("CREATE ROLE locked LOGIN PASSWORD 'right'")
    conf = Path(postgres.folder / "data/pg_hba.conf")
    before = conf.read_text()
    conf.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + before)
    postgres.sql("SELECT pg_reload_conf()")

    async def run(secret: str) -> Reading:
        dsn = postgres.dsn("postgres", "locked")
        async with opened(dsn, secret, password={"secret": "shopdb-password"}) as reader:
            return await reader.read(60)

    try:
        with pytest.raises(NotRead) as wrong:
            asyncio.run(run("wrong-secret"))
        assert "password authentication failed" in str(wrong.value)
        assert "wrong-secret" not in str(wrong.value)
        assert value(asyncio.run(run("right")), "connections") >= 0
    finally:
        conf.write_text(before)
        postgres.sql("SELECT pg_reload_conf()")


def test_the_certificate_of_the_server_is_verified_if_the_dsn_asks_for_it(database: Database, tmp_path: Path) -> None:
    server, authority, other = database.server, trustme.CA(), trustme.CA()
    data = server.folder / "data"
    leaf = authority.issue_cert("127.0.0.1")
    (data / "server.crt").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    (data / "server.key").touch(mode=0o600)
    (data / "server.key").write_bytes(leaf.private_key_pem.bytes())
    owner = data.stat()
    for name in ("server.crt", "server.key"):
        os.chown(data / name, owner.st_uid, owner.st_gid)
    for name, ca in (("ca", authority), ("other", other)):
        ca.cert_pem.write_to_path(str(tmp_path / name))
    server.sql("ALTER SYSTEM SET ssl = on")
    server.sql("SELECT pg_reload_conf()")

    async def read(ca: str) -> Reading:
        dsn = database.dsn(sslmode="verify-full", sslrootcert=str(tmp_path / ca))
        async with opened(dsn) as reader:
            for _ in range(200):  # the server reads its new settings a moment later
                try:
                    return await reader.read(60)
                except NotRead as error:
                    if "does not support SSL" not in str(error):
                        raise
                    await asyncio.sleep(0.02)
            raise AssertionError("the server never had TLS")

    try:
        assert value(asyncio.run(read("ca")), "connections") >= 0
        with pytest.raises(NotRead, match="certificate verify failed"):
            asyncio.run(read("other"))
    finally:
        server.sql("ALTER SYSTEM RESET ssl")
        server.sql("SELECT pg_reload_conf()")


def test_a_refused_connection_and_an_unknown_database_are_gaps_with_their_reasons(postgres: PostgresServer) -> None:
    async def why(dsn: str) -> str:
        async with opened(dsn) as reader:
            with pytest.raises(NotRead) as gap:
                await reader.read(60)
            return str(gap.value)

    assert "refused" in asyncio.run(why("host=127.0.0.1 port=1 dbname=shop user=perf"))
    assert 'database "nowhere" does not exist' in asyncio.run(why(postgres.dsn("nowhere")))
    assert "metadata" in asyncio.run(why("host=169.254.169.254 dbname=shop user=perf"))


def test_the_probe_cannot_write_and_shows_itself_by_name(database: Database) -> None:
    database.sql("CREATE TABLE item (id int)")

    async def run() -> str:
        async with opened(database.dsn("postgres")) as reader:
            await reader.read(60)
            connection, _ = await reader._open(5)
            shown = database.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'loadgen-probe'")
            assert shown == "1"
            try:
                await connection.query("INSERT INTO item VALUES (1)", 5)
            except Exception as error:
                return str(error)
            return "written"

    assert asyncio.run(run()) == "cannot execute INSERT in a read-only transaction"


def test_of_five_thousand_statements_all_are_read_and_the_sum_is_kept(database: Database) -> None:
    _many_statements(database, 4_900)

    async def run() -> tuple[Any, Any]:
        async with opened(database.dsn()) as reader:
            await with_statements(reader)
            with database.session() as shop:
                _execute_many(shop, 4_900)
            reading = await with_statements(reader)
            return reader._snapshot, bodies(reading.notes, "statements")[0]

    snapshot, body = asyncio.run(run())
    rest = [row for row in body["rows"] if row[2] == "0"]

    assert len(snapshot.counters) > 4_800
    assert len(body["rows"]) == 201
    assert sum(row[3] for row in body["rows"]) >= 4_900
    assert rest[0][3] >= 4_600


def test_forgotten_statements_are_counted_and_told() -> None:
    with running_postgres(settings={"pg_stat_statements.max": "100"}) as server:
        server.sql("CREATE EXTENSION pg_stat_statements")
        database = Database(server, "postgres")

        async def run() -> Reading:
            async with opened(server.dsn()) as reader:
                with database.session() as shop:
                    _execute_many(shop, 90)
                    await with_statements(reader)
                    _execute_many(shop, 400, first=1_000)
                return await with_statements(reader)

        reading = asyncio.run(run())

    (body,) = bodies(reading.notes, "statements")
    assert body["evicted"] > 0
    assert any("forgot statements" in remark for remark in reading.remarks)


@pytest.mark.slow
def test_fifty_roots_are_named_with_their_table_and_statement_in_nearly_all_chains() -> None:
    with running_postgres(settings={"max_connections": "150"}) as server:
        server.sql(
            "CREATE TABLE ledger (id int PRIMARY KEY, n int); INSERT INTO ledger SELECT i FROM generate_series(1, 50) i"
        )
        database = Database(server, "postgres")

        async def run(n: int, reader: PostgresReader) -> bool:
            """Return whether root n is named with the statement that took the lock, which is not its last one."""
            with database.session(f"root-{n}") as root:
                root.execute(f"BEGIN; UPDATE ledger SET n = 1 WHERE id = {n}".encode())
                await reader.read(60)
                root.execute("SELECT 1")
                with waiting(database, f"UPDATE ledger SET n = 2 WHERE id = {n}", 1 + n % 3, f"waiter-{n}"):
                    try:
                        reading = await settled(reader, 1 + n % 3)
                    finally:
                        root.execute("COMMIT")
            (tree,) = bodies(reading.notes, "locks")[0]["trees"]
            return (
                tree["application"] == f"root-{n}"
                and tree["waiting"] == 1 + n % 3
                and tree["holds"] == ["public.ledger (RowExclusiveLock)"]
                and any("UPDATE ledger" in text for text in tree["earlier"])
            )

        async def run_all() -> int:
            async with opened(server.dsn()) as reader:
                return sum([await run(n, reader) for n in range(1, 51)])

        assert asyncio.run(run_all()) >= 48


def _waiting(reading: Reading) -> int:
    """Return the number of sessions that wait, by the note about locks, which is read after the sample."""
    trees = [tree for body in bodies(reading.notes, "locks") for tree in body["trees"]]
    return sum(tree["waiting"] + ("waits_for" in tree) for tree in trees)


def _many_statements(database: Database, n: int) -> None:
    with database.session() as one:
        _execute_many(one, n)


def _execute_many(session: psycopg.Connection, n: int, first: int = 0) -> None:
    """Execute n different statements: number k is the sum and difference of 14 ones, as its bits say."""
    for at in range(first, first + n, 500):
        numbers = range(at, min(at + 500, first + n))
        text = ";".join("SELECT 1" + "".join("-+"[k >> bit & 1] + "1" for bit in range(14)) for k in numbers)
        session.execute(text.encode())

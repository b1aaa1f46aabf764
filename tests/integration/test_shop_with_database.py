"""The demo shop on a real PostgreSQL: its schema, its routes, its faults, and the truth that it counts of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.otlp_file_collector import otlp_file_collector
from tests.support.pgbouncer_server import running_pgbouncer
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.target import RunningTarget, running_target
from tests.support.varnish_server import running_varnish

ACTIVITY = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop-{}'"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[RunningTarget]:
    """A shop that all tests share; each test leaves it without faults."""
    with running_target("--database", postgres.url(), "--pool-size", "4") as running:
        yield running


@pytest.fixture
def http(shop: RunningTarget) -> Iterator[httpx.Client]:
    shop.reset()
    with httpx.Client(base_url=shop.url, trust_env=False, timeout=60) as client:
        yield client


def _refused(*options: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "loadgen.target", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    return done.returncode, done.stderr


def _together(url: str, requests: int, ask: str, clients: int) -> list[int]:
    """Status codes of GET requests that several clients send at the same time."""

    def one(_: int) -> list[int]:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            return [client.get(ask).status_code for _ in range(requests)]

    with ThreadPoolExecutor(clients) as pool:
        return [status for found in pool.map(one, range(clients)) for status in found]


def test_the_rows_are_the_same_in_every_shop(postgres: PostgresServer, http: httpx.Client) -> None:
    assert http.get("/items/74074").json() == {
        "id": 74074,
        "tenant": 7,
        "sku": "item-074074",
        "price_cents": 592,
        "stock": 24,
    }
    items = http.get("/items", params={"tenant": 7}).json()["items"]
    assert len(items) == 20
    assert items == sorted(items, key=lambda one: one["price_cents"])
    assert postgres.sql("SELECT count(*), count(DISTINCT tenant) FROM loadgen_shop.items") == "100000|1000"


def test_wrong_requests_have_answers_of_their_own(http: httpx.Client) -> None:
    assert http.get("/items/0").status_code == http.get("/items/x").status_code == 404
    assert http.get("/items", params={"tenant": "1001"}).status_code == 400
    assert http.post("/ach", json={"account": 9}).status_code == http.post("/ach", content=b"{").status_code == 400
    assert http.delete("/ach").status_code == 405
    assert http.head("/items/3").headers["content-length"] == str(len(http.get("/items/3").content))
    assert http.put("/database", json={"settle": 9}).status_code == 400
    assert http.put("/database", json={"other": 1}).status_code == 400
    assert http.delete("/database").status_code == 405


def test_every_request_is_counted_and_every_statement_is_timed(shop: RunningTarget, http: httpx.Client) -> None:
    for number in range(1, 4):
        http.get(f"/items/{number}")
    http.post("/ach")
    http.get("/")
    http.get("/database")
    stats = shop.stats()

    assert stats["answers"] == {"GET /items/{id}": {"200": 3}, "POST /ach": {"201": 1}, "GET /": {"200": 1}}
    statements = stats["database"]["statements"]
    assert {name: one["count"] for name, one in statements.items()} == {"SELECT item": 3, "UPDATE ledger": 1}
    assert statements["SELECT item"]["times"]["sum_ns"] < stats["served"]["GET /items/{id}"]["sum_ns"]


def test_without_the_index_the_server_scans_the_table(postgres: PostgresServer, http: httpx.Client) -> None:
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'items'"
    http.get("/items", params={"tenant": 7})
    with_index = http.get("/items", params={"tenant": 7}).json()
    before = int(postgres.sql(scans))
    assert http.put("/database", json={"missing_index": True}).json()["missing_index"] is True
    without = http.get("/items", params={"tenant": 7}).json()
    plan = postgres.sql("EXPLAIN SELECT * FROM loadgen_shop.items WHERE tenant = 7")
    http.put("/database", json={"missing_index": False})

    assert without == with_index
    assert "Seq Scan on items" in plan
    # A session writes its counts into the shared statistics at most once a second, so wait for the fact.
    deadline = time.monotonic() + 30
    while int(postgres.sql(scans)) == before:
        http.get("/items/1")
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "items_tenant_price_cents" in postgres.sql("EXPLAIN SELECT * FROM loadgen_shop.items WHERE tenant = 7")


WAITERS = (
    "SELECT DISTINCT waiter.application_name || ' < ' || holder.application_name || ': ' || holder.state"
    " FROM pg_stat_activity AS waiter, unnest(pg_blocking_pids(waiter.pid)) AS pid"
    " JOIN pg_stat_activity AS holder USING (pid)"
)


class _Batches:
    """Posts batches of two accounts. seen: who waited for whom, as the server shows it. slowest_s: the slowest post."""

    def __init__(self, postgres: PostgresServer, http: httpx.Client) -> None:
        self._postgres, self._http = postgres, http
        self.seen: set[str] = set()
        self.slowest_s = 0.0

    def post_while(self, goes_on: Callable[[], bool], **workers: int) -> None:
        """Post with these background workers as long as `goes_on` returns True, and stop the workers."""
        self._http.put("/database", json=workers)
        with ThreadPoolExecutor(8) as pool:
            while goes_on():
                posts = [pool.submit(self._http.post, "/ach", json={"account": 1 + n % 2}) for n in range(8)]
                self.seen |= set(self._postgres.sql(WAITERS).splitlines())
                self.slowest_s = max(self.slowest_s, *(post.result().elapsed.total_seconds() for post in posts))
        self._http.put("/database", json=dict.fromkeys(workers, 0))


def test_only_both_pools_together_hold_up_a_batch(postgres: PostgresServer, http: httpx.Client) -> None:
    held_up = {"shop-payout < shop-settle: idle in transaction", "shop-web < shop-payout: active"}
    settle, payout, both = (_Batches(postgres, http) for _ in range(3))
    began_s = time.monotonic()
    settle.post_while(lambda: time.monotonic() < began_s + 0.8, settle=2)
    payout.post_while(lambda: time.monotonic() < began_s + 1.6, payout=2)
    both.post_while(lambda: not (held_up <= both.seen) and time.monotonic() < began_s + 60, settle=2, payout=2)

    assert not any("shop-settle" in one for one in settle.seen | payout.seen)
    assert held_up <= both.seen
    assert both.slowest_s > settle.slowest_s


def test_without_the_shared_lock_payout_does_not_wait_for_settle(postgres: PostgresServer, http: httpx.Client) -> None:
    assert http.put("/database", json={"shared_lock": False}).json()["shared_lock"] is False
    before = postgres.sql(_ENTRIES.format("settlement"))
    with ThreadPoolExecutor(1) as pool:
        settles = pool.submit(http.post, "/settle/2")
        _until(postgres, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", "1")
        assert http.post("/payout/2").status_code == 200
        is_first = not settles.done()
        assert settles.result().json() == {"pool": "settle", "worker": 2}
    http.put("/database", json={"shared_lock": True})

    assert is_first
    assert int(postgres.sql(_ENTRIES.format("settlement"))) == int(before) + 1
    assert http.get("/database").json()["shared_lock"] is True


_ENTRIES = "SELECT entries FROM loadgen_shop.ledger WHERE account = '{}-2'"


def _until(postgres: PostgresServer, sql: str, value: str) -> None:
    deadline = time.monotonic() + 30
    while postgres.sql(sql) != value:
        assert time.monotonic() < deadline, sql


def test_a_client_asks_for_one_transaction_of_a_worker(
    postgres: PostgresServer, shop: RunningTarget, http: httpx.Client
) -> None:
    clearing, settlement = (int(postgres.sql(_ENTRIES.format(kind))) for kind in ("clearing", "settlement"))
    # Two requests for one worker: the second waits for the first, on the same connection.
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(http.post, "/payout/2") for _ in range(2)]
        assert [one.result().json() for one in both] == [{"pool": "payout", "worker": 2}] * 2

    after = [int(postgres.sql(_ENTRIES.format(kind))) for kind in ("clearing", "settlement")]
    assert after == [clearing + 2, settlement + 2]
    workers = shop.stats()["database"]["workers"]["payout"]
    assert (workers["workers"], workers["transactions"]) == (0, 2)
    assert [http.post(path).status_code for path in ("/payout/0", "/payout/9", "/settle/x")] == [404] * 3
    assert http.get("/settle/1").status_code == 405


def test_sampled_requests_have_spans_of_their_statements(postgres: PostgresServer) -> None:
    trace, caller = "6b0bdc83d4011cd90993bf9f1ef1b38b", "00f067aa0ba902b7"
    with (
        otlp_file_collector() as collector,
        running_target("--database", postgres.url(), "--spans", collector.url) as traced,
        httpx.Client(base_url=traced.url, trust_env=False, timeout=60) as client,
    ):
        for flags, path in (("01", "/ach"), ("00", "/ach"), ("01", "/payout/3"), ("zz", "/ach")):
            client.post(path, headers={"traceparent": f"00-{trace}-{caller}-{flags}"})
        client.post("/ach")
        spans = collector.settled()[trace]

    names = {span.span_id: span.name for span in spans}
    found = sorted((names.get(span.parent_span_id, span.parent_span_id.hex()), span.name) for span in spans)
    assert found == [
        (caller, "POST /ach"),
        (caller, "POST /payout/{n}"),
        ("POST /ach", "UPDATE ledger"),
        ("POST /payout/{n}", "UPDATE clearing"),
        ("POST /payout/{n}", "UPDATE settlement"),
    ]
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


def test_stopped_workers_leave_no_connection(postgres: PostgresServer, http: httpx.Client) -> None:
    http.put("/database", json={"settle": 3, "payout": 1})
    deadline = time.monotonic() + 30
    while postgres.sql(ACTIVITY.format("settle")) != "3":
        assert time.monotonic() < deadline
    http.put("/database", json={"settle": 0, "payout": 0})
    while postgres.sql(ACTIVITY.format("settle")) != "0" or postgres.sql(ACTIVITY.format("payout")) != "0":
        assert time.monotonic() < deadline


def test_a_small_pool_makes_requests_wait_and_no_statement_slower(postgres: PostgresServer) -> None:
    with running_target("--database", postgres.url(), "--pool-size", "1", "--missing-index") as small:
        statuses = _together(small.url, 10, "/items?tenant=3", clients=8)
        database = small.stats()["database"]
        served = small.stats()["served"]["GET /items"]
        httpx.put(f"{small.url}/database", json={"missing_index": False})

    assert set(statuses) == {200}
    assert database["pool"]["waited"] > 40
    waits, times = database["pool"]["waits"], database["statements"]["SELECT items of tenant"]["times"]
    assert waits["sum_ns"] > 2 * times["sum_ns"]
    assert waits["sum_ns"] + times["sum_ns"] < served["sum_ns"]


def test_it_works_through_pgbouncer_which_hides_the_wait_from_the_pool(postgres: PostgresServer) -> None:
    with (
        running_pgbouncer(postgres.port, pool_size=2) as bouncer,
        running_target("--database", bouncer.url(), "--no-prepared-statements") as behind,
    ):
        assert set(_together(behind.url, 20, "/items?tenant=3", clients=8)) == {200}
        pools = [one for one in bouncer.show("POOLS") if one["user"] == "postgres"]
        assert int(postgres.sql(ACTIVITY.format("web"))) >= 1
        assert behind.stats()["database"]["pool"]["waited"] == 0

    assert sum(one["sv_active"] + one["sv_idle"] + one["sv_used"] for one in pools) <= 2


def test_varnish_stores_items_and_nothing_else(shop: RunningTarget, http: httpx.Client) -> None:
    with running_varnish(int(shop.url.rpartition(":")[2])) as varnish:
        for _ in range(5):
            assert httpx.get(f"{varnish.url}/items/5").status_code == 200
            assert httpx.post(f"{varnish.url}/ach").status_code == 201
        asked = shop.stats()["by_route"]
        varnish.empty()
        httpx.get(f"{varnish.url}/items/5")
        again = shop.stats()["by_route"]

    assert asked == {"GET /items/{id}": 1, "POST /ach": 5}
    assert again["GET /items/{id}"] == 2


def test_a_server_that_restarts_costs_answers_and_not_the_shop(postgres: PostgresServer, http: httpx.Client) -> None:
    postgres.restart()
    statuses = [http.get("/items/1").status_code for _ in range(12)]

    assert set(statuses) <= {200, 500, 503}
    assert statuses[-1] == 200


def test_a_schema_that_is_not_the_shops_is_left_alone(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE other")
    postgres.sql("CREATE SCHEMA loadgen_shop; CREATE TABLE loadgen_shop.items (mine text)", "other")

    code, said = _refused("--database", postgres.url("other"))

    assert code == 2
    assert "this version of the demo shop did not create" in said
    assert postgres.sql("SELECT count(*) FROM loadgen_shop.items", "other") == "0"


def test_missing_rights_and_unreachable_servers_are_a_sentence_each(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE empty")
    postgres.sql("CREATE ROLE guest LOGIN; REVOKE ALL ON DATABASE empty FROM public")
    postgres.sql("GRANT CONNECT ON DATABASE empty TO guest")

    code, said = _refused("--database", postgres.url("empty", "guest"))
    assert (code, "permission denied for database empty" in said) == (2, True), said
    code, said = _refused("--database", "postgresql://nobody@127.0.0.1:1/none")
    assert (code, "the database cannot be reached" in said) == (2, True), said
    assert "\\n" not in said  # libpq's message has several lines


def test_a_password_is_a_secret_and_never_shown(postgres: PostgresServer) -> None:
    code, said = _refused("--database", postgres.url(), "--database-secret", "shop-db")
    assert (code, "set LOADGEN_SECRET_SHOP_DB" in said) == (2, True)

    # This server asks nobody for a password, so that it was used shows only in what a wrong server would answer.
    code, said = _refused(
        "--database", "postgresql://x@127.0.0.1:1/x", "--database-secret", "shop-db", LOADGEN_SECRET_SHOP_DB="hunter2"
    )
    assert code == 2
    assert "hunter2" not in said


def test_a_stopped_shop_leaves_no_connection(postgres: PostgresServer) -> None:
    before = int(postgres.sql(ACTIVITY.format("web")))
    with running_target("--database", postgres.url(), "--pools", "settle=1") as stopped:
        os.kill(stopped.pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while int(postgres.sql(ACTIVITY.format("web"))) > before or postgres.sql(ACTIVITY.format("settle")) != "0":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_plain_shop_does_not_import_psycopg() -> None:
    code = "import sys, loadgen.target.server, loadgen.target.__main__; sys.exit('psycopg' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Index advice on a real PostgreSQL with hypopg: missing indexes are proposed, needless ones are not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest

from loadgen.probes.postgres import queries
from loadgen.probes.postgres.advice import Advice, Candidate, Trial, best_of, candidates_of
from loadgen.probes.postgres.advise import advise, advise_on
from loadgen.probes.postgres.connect import connect
from loadgen.probes.postgres.explain import NoPlan, explain, search_of
from loadgen.probes.postgres.plans import TableSize
from loadgen.probes.postgres.server_state import capabilities_of
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.reader import Tools
from tests.probes.postgres.conftest import Database
from tests.support.postgres_readers import spec_of
from tests.support.postgres_server import PostgresServer

SHOP = """
CREATE EXTENSION hypopg; CREATE EXTENSION pg_stat_statements;
CREATE TABLE item (id int PRIMARY KEY, tenant int, status int, name text, price int, created timestamptz, noise float);
INSERT INTO item SELECT i, i % 1000, i % 3, 'n' || i, i, now() - i * interval '1 s', random()
 FROM generate_series(1, 60000) i;
CREATE TABLE ord (id int PRIMARY KEY, item_id int, n int, parent int);
INSERT INTO ord SELECT i, (i * 7) % 60000, 1, i FROM generate_series(1, 60000) i;
CREATE TABLE "Account" (id int PRIMARY KEY, email text, active bool);
INSERT INTO "Account" SELECT i, 'U' || i, i % 2 = 0 FROM generate_series(1, 40000) i;
CREATE TABLE tiny (a int, b int); INSERT INTO tiny SELECT i, i FROM generate_series(1, 100) i;
ANALYZE
"""
MISSING = [
    ("tenant", "SELECT * FROM item WHERE tenant = $1"),
    ("tenant", "SELECT name FROM item WHERE status = $1 AND tenant = $2"),
    ("tenant", "SELECT * FROM item WHERE tenant = $1 ORDER BY price LIMIT $2"),
    ("tenant", "SELECT count(*) FROM item WHERE created > $2 AND tenant = $1"),
    ("name", "SELECT id FROM item WHERE name = $1"),
    ("item_id", "SELECT o.* FROM item i JOIN ord o ON o.item_id = i.id WHERE i.id = $1"),
    ("tenant", "UPDATE item SET price = $1 WHERE tenant = $2"),
    ("item_id", "DELETE FROM ord WHERE item_id = ANY($1)"),
    ("created", "SELECT * FROM item ORDER BY created DESC LIMIT $1"),
    ('LOWER("email")', 'SELECT * FROM "Account" WHERE lower(email) = $1'),
]
NOT_NEEDED = [
    "SELECT * FROM item WHERE id = $1",
    'SELECT * FROM "Account" WHERE id = $1 AND active = $2',
    "SELECT * FROM tiny WHERE a = $1",
    "SELECT sum(price) FROM item",
    'SELECT * FROM "Account" WHERE active = $1',
    "SELECT * FROM item WHERE name LIKE $1",
    "INSERT INTO ord (id, item_id, n) VALUES ($1, $2, $3)",
    "SELECT * FROM item ORDER BY noise",
    "SELECT count(*) FROM item i JOIN ord o ON o.id = i.id",
    "SELECT * FROM item WHERE status = $1",
]


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Database:
    postgres.sql("CREATE DATABASE advised")
    made = Database(postgres, "advised")
    made.sql(SHOP)
    return made


def advice_on(shop: Database, texts: Sequence[str], user: str = "perf") -> list[Advice]:
    async def run() -> list[Advice]:
        connection = await connect(shop.dsn(user), "", port=5432, limit_s=60, fixed={"options": queries.OPTIONS})
        try:
            ((row,),) = await connection.query(queries.capabilities(), 60)
            has = capabilities_of(row)
            found = [await advise_on(connection, has, 7, text, Counter(item=3)) for text in texts]
            assert await connection.query("SELECT count(*) FROM hypopg()", 60) == [[("0",)]]
            return found
        finally:
            connection.close()

    return asyncio.run(run())


def test_each_missing_index_is_proposed_with_the_right_leading_column(shop: Database) -> None:
    before = shop.sql(
        "SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'"
    )
    found = advice_on(shop, [text for _, text in MISSING])
    leading = [one.proposed.candidate.columns[0] if one.proposed else one.text for one in found]

    assert leading == [column for column, _ in MISSING]
    assert all(one.cost > 2 * one.proposed.cost for one in found if one.proposed)
    assert before == shop.sql(
        "SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'"
    )


def test_no_index_is_proposed_where_none_helps(shop: Database) -> None:
    assert [one.text for one in advice_on(shop, NOT_NEEDED) if one.proposed] == []


def test_advice_is_a_hypothesis_with_cost_rows_size_and_the_statements_that_write(shop: Database) -> None:
    (one,) = advice_on(shop, ["SELECT * FROM item WHERE tenant = $1 -- 4711"])

    assert one.text.startswith("the planner would use an index on (tenant) of item: cost 1,2")
    assert "for the generic plan; 60,000 rows; about 1." in one.text
    assert "MiB; 3 statements write to this table. A hypothesis:" in one.text
    assert one.statement == "SELECT * FROM item WHERE tenant = $1"


def test_an_index_with_unchanged_cost_would_not_be_used(shop: Database) -> None:
    (one,) = advice_on(shop, ['SELECT * FROM "Account" WHERE active = $1'])

    assert one.text == "an index on (active) of Account would not be used"


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("UPDATE item SET price = $1 WHERE tenant = $2", "SELECT item.ctid FROM item WHERE tenant = $1"),
        ("UPDATE item SET price = $1", "SELECT item.ctid FROM item"),
        (
            "DELETE FROM app.ord AS o WHERE o.id = $7 OR o.n = $7",
            "SELECT o.ctid FROM app.ord AS o WHERE o.id = $1 OR o.n = $1",
        ),
        (
            "UPDATE ord o SET n = $1 FROM item i WHERE i.id = o.item_id AND i.name = $2 RETURNING o.id",
            "SELECT o.ctid FROM ord AS o CROSS JOIN item AS i WHERE i.id = o.item_id AND i.name = $1",
        ),
        (
            "DELETE FROM ord USING item WHERE item.id = $3",
            "SELECT ord.ctid FROM ord CROSS JOIN item WHERE item.id = $1",
        ),
        ("WITH a AS (SELECT 1) UPDATE item SET price = 1", ""),
        ("INSERT INTO item (id) VALUES ($1)", ""),
        ("SELECT 1", ""),
        ('UPDATE "My Item" SET a = $1 WHERE "B" = $2', 'SELECT "My Item".ctid FROM "My Item" WHERE "B" = $1'),
        ("UPDATE ((", ""),
    ],
)
def test_the_search_of_a_statement_that_writes_finds_its_rows(text: str, search: str) -> None:
    assert search_of(text) == search


def test_a_statement_that_may_not_be_explained_has_the_reason_instead(shop: Database) -> None:
    (denied,) = advice_on(shop, ["SELECT * FROM item WHERE tenant = $1"], user="nobody")
    unknown, several = advice_on(shop, ["SELECT * FROM nowhere WHERE a = $1", "SELECT 1; DROP TABLE item"])

    assert denied.text.startswith("no plan: permission denied for table item: plans need")
    assert 'relation "nowhere" does not exist for the probe\'s user' in unknown.text
    assert several.text == "no plan: its text has a semicolon"
    assert shop.sql("SELECT count(*) FROM item") == "60000"


def test_advice_for_statements_of_a_run_counts_the_statements_that_write_to_the_table(shop: Database) -> None:
    with shop.session() as one:
        one.execute("SELECT pg_stat_statements_reset()")
        one.execute("SELECT * FROM item WHERE tenant = 5")
        one.execute("UPDATE item SET price = 1 WHERE id = 5")
        one.execute("DELETE FROM item WHERE id = -1")
    user, database, query = shop.sql(
        "SELECT userid, dbid, queryid FROM pg_stat_statements WHERE query LIKE 'SELECT * FROM item%'"
    ).split("|")
    key = StatementKey(int(user), int(database), int(query))
    tools = Tools(time.monotonic_ns, lambda _: None)

    found, other, gone = asyncio.run(
        advise(spec_of(shop.dsn()), tools, [key, key._replace(database=1), key._replace(query=5)])
    )

    assert found.writers == 2
    assert found.proposed is not None
    assert other.text == gone.text == "the server has forgotten the statement"


@pytest.mark.parametrize("version", [140_000, 150_000, 170_000])
def test_servers_before_16_explain_a_prepared_statement_and_the_plan_is_the_same(shop: Database, version: int) -> None:
    async def run() -> list[float]:
        connection = await connect(shop.dsn("perf", host="localhost"), "", port=5432, limit_s=60)
        try:
            texts = ("SELECT * FROM item WHERE tenant = $1 AND id > $2", "SELECT count(*) FROM item", "SELECT $1 + $2")
            found: list[float] = []
            for text in (*texts, *texts[:1]):  # the name of the prepared statement is free again
                with suppress(NoPlan):
                    found.append((await explain(connection, text, version)).plan["Total Cost"])
            assert await connection.query("SELECT count(*) FROM pg_prepared_statements", 60) == [[("0",)]]
            return found
        finally:
            connection.close()

    first, second, again = asyncio.run(run())

    assert first == again
    assert second > 0


def test_without_hypopg_the_line_that_gives_it_is_named(postgres: PostgresServer) -> None:
    (one,) = advice_on_bare(postgres)

    assert one.text == "no index can be tried: the extension hypopg is missing; what gives it: CREATE EXTENSION hypopg"


def advice_on_bare(postgres: PostgresServer) -> list[Advice]:
    async def run() -> list[Advice]:
        connection = await connect(postgres.dsn(), "", port=5432, limit_s=60)
        try:
            ((row,),) = await connection.query(queries.capabilities(), 60)
            return [await advise_on(connection, capabilities_of(row), 7, "SELECT 1", Counter())]
        finally:
            connection.close()

    return asyncio.run(run())


def test_of_candidates_that_help_alike_the_one_with_the_fewest_columns_is_proposed() -> None:
    wide, narrow = (Candidate("public", "item", names, (False,) * len(names)) for names in (("a", "b"), ("a",)))

    chosen = best_of(2_000, [Trial(wide, 8, "condition", 1), Trial(narrow, 40, "condition", 1)])

    assert chosen is not None
    assert chosen.candidate is narrow
    assert best_of(2_000, [Trial(narrow, 1_100, "condition", 1)]) is None
    assert best_of(2_000, [Trial(narrow, 900, "order", 1)]) is None
    assert best_of(20, [Trial(narrow, 1, "condition", 1)]) is None


def test_a_statement_has_at_most_five_candidates_and_hostile_names_stay_quoted() -> None:
    name = 'a"); DROP TABLE x; --'
    quoted = '"' + name.replace('"', '""') + '"'
    condition = " AND ".join(f"(t.{quoted} = $1)" if n == 0 else f"(t.c{n} > $1)" for n in range(9))
    plan = {"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "t", "Alias": "t", "Filter": f"({condition})"}

    found = candidates_of(plan, {("s", "t"): TableSize(1e6, 1, 1)})

    assert 1 <= len(found) <= 5
    assert found[0].definition == 'CREATE INDEX ON "s"."t" ("a""); DROP TABLE x; --", "c1")'


@pytest.mark.parametrize("text", ["", "((((", "a = ", "x" * 20_000, "(SubPlan 1)", "(t.a = (InitPlan 1).col1)"])
def test_conditions_that_cannot_be_parsed_make_no_candidates(text: str) -> None:
    plan = {"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "t", "Alias": "t", "Filter": text}

    assert len(candidates_of(plan, {("s", "t"): TableSize(1e6, 1, 1)})) <= 1

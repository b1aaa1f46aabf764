"""Texts of spans without persons, cards, credentials, queries and values of statements; names without ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.convert.attributes import AttributeFilter, operation_of
from loadgen.traces.convert.redaction import clean_name, clean_path, clean_statement, clean_text, clean_url
from loadgen.traces.model import MOST_ATTRIBUTES, MOST_TEXT, Kind


@pytest.mark.parametrize(
    ("statement", "system", "expected"),
    [
        ("SELECT * FROM t WHERE a = 'it''s mine' AND b=17", "postgresql", "SELECT * FROM t WHERE a = ? AND b=?"),
        ('select "id" from "order" where x = $1', "postgresql", 'select "id" from "order" where x = $1'),
        ('select id from t where x = "mine"', "mysql", "select id from t where x = ?"),
        ('select id from t where x = "mine"', "", "select id from t where x = ?"),
        ("SELECT a FROM t WHERE b IN (1, 2,3)", "", "SELECT a FROM t WHERE b IN (?)"),
        ("SELECT a FROM t WHERE b IN ($1, $2, $3)", "postgresql", "SELECT a FROM t WHERE b IN ($1)"),
        ("INSERT INTO t VALUES (1,'a'), (2,'b')", "", "INSERT INTO t VALUES (?)"),
        ("/* traceparent='00-ab' */ SELECT\n\t1", "", "SELECT ?"),
        ("SELECT 1 -- mine\n, a", "", "SELECT ? , a"),
        ("SELECT a # mine\nFROM t", "mysql", "SELECT a FROM t"),
        ("SELECT a#>>'{b}' FROM t", "postgresql", "SELECT a#>>? FROM t"),
        ("SELECT $x$mine$x$, t1.c2, 0xFF, 1.5, .5 FROM a_1", "postgresql", "SELECT ?, t1.c2, ? FROM a_1"),
        ("EXEC pay @p1=5, @p2=N'mine'", "microsoft.sql_server", "EXEC pay @p1=?, @p2=N?"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "", "WITH x AS (SELECT ?) SELECT * FROM x"),
        ("SELECT * FROM `t` WHERE `p` = 'open", "mysql", "SELECT * FROM `t` WHERE `p` = ?"),
        ("SET user:1 mine", "redis", "SET ?"),
        ("AUTH mine", "redis", "AUTH ?"),
        ("PING", "redis", "PING"),
        ('{"find": "users", "filter": {"name": "mine"}}', "mongodb", "?"),
        ("mine", "", "?"),
        ("SELECT * FROM t WHERE password = ?", "", "SELECT * FROM t WHERE password = ?"),
    ],
)
def test_statements_lose_their_values_and_comments(statement: str, system: str, expected: str) -> None:
    assert clean_statement(statement, system) == expected


@pytest.mark.parametrize(
    "statement",
    [
        r"SELECT 'it\'s', 'mine' FROM t",
        r"SELECT 'a\' , name, 'mine' FROM t",
        r"SELECT E'it\'s mine'",
        "SELECT /* a /* b */ mine */ 1",
        "SELECT 'mine",
        'SELECT "mine',
        "SELECT $$mine",
        "SELECT /* mine",
    ],
)
@pytest.mark.parametrize("system", ["", "mysql", "postgresql", "sqlite"])
def test_where_dialects_disagree_about_the_end_of_a_value_the_rest_is_removed(statement: str, system: str) -> None:
    assert "mine" not in clean_statement(statement, system)


@given(st.text(alphabet="xyz '\"\\/*-$#\n", max_size=40), st.sampled_from(["", "mysql", "postgresql"]))
def test_no_value_in_single_quotes_survives(value: str, system: str) -> None:
    literal = value.replace("\\", "").replace("'", "''")
    assert "MINE" not in clean_statement(f"SELECT a FROM t WHERE b = '{literal}MINE' AND c = 1", system)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail of bob.smith+x@mail.example.com today", "mail of <redacted> today"),
        ("bob%40example.com", "<redacted>"),
        ("card 4111 1111 1111 1111.", "card <redacted>."),
        ("4111111111111111", "<redacted>"),
        ("3782-822463-10005", "<redacted>"),
        ("1764395000123", "1764395000123"),
        ("20261124170312", "20261124170312"),
        ("20261124-170312", "20261124-170312"),
        ("see https://h/p?token=1&user=bob and", "see https://h/p and"),
        ("postgres://u:p@host/db", "postgres://****@host/db"),
        ("app:p@tcp(db:3306)/shop", "<redacted>@tcp(db:3306)/shop"),
        ("app:p-1$!@db", "<redacted>@db"),
        ("repo/shop:1.2@sha256:0a1b2c", "repo/shop:1.2@sha256:0a1b2c"),
        ("Bearer abcdef012345", "Bearer ****"),
        ("express@4.18.2", "express@4.18.2"),
        ("f47ac10b-5821-4372-9567-0e02b2c3d479", "f47ac10b-5821-4372-9567-0e02b2c3d479"),
    ],
)
def test_texts_lose_persons_cards_and_credentials(text: str, expected: str) -> None:
    assert clean_text(text) == expected


@pytest.mark.parametrize("place", [0, 1_000, 1_020, MOST_TEXT, 4 * MOST_TEXT - 10, 4 * MOST_TEXT])
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(place: int) -> None:
    for secret in ("bob.smith@example.com", "4111111111111111"):
        found = clean_text("x" * place + " " + secret)
        assert len(found) <= MOST_TEXT
        assert secret[:8] not in found


def test_urls_lose_user_query_fragment_and_path_parameters() -> None:
    assert clean_url("https://u:p@h:80/a/b?c=d#e") == "https://h:80/a/b"
    assert clean_path("/a;jsessionid=1?x") == "/a"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GET /items/42", "GET /items/{n}"),
        ("GET /items/42.json?token=a", "GET /items/{n}.json"),
        ("/users/550e8400-e29b-41d4-a716-446655440000/x", "/users/{n}/x"),
        ("/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/orders/{n}"),
        ("lease 0xdeadbeef01", "lease {n}"),
        ("worker-12", "worker-{n}"),
        ("step 3 of 7", "step {n} of {n}"),
        ("session: create", "session: create"),
        ("SELECT * FROM u WHERE name='bob' LIMIT 10", "SELECT * FROM u WHERE name=? LIMIT ?"),
        ("SELECT shop.item", "SELECT shop.item"),
        ("/v1/items/{id}", "/v1/items/{id}"),
        ("okey-dokey-0", "okey-dokey-0"),
        ("S3.GetObject", "S3.GetObject"),
        ("payment_methods_v2", "payment_methods_v2"),
        ("  ", "without a name"),
    ],
)
def test_ids_in_names_become_n(name: str, expected: str) -> None:
    assert clean_name(name) == expected


@given(st.text(max_size=80) | st.text(alphabet="aZ09/-_.:{}? '=@", max_size=60))
def test_a_cleaned_name_stays_as_it_is(name: str) -> None:
    once = clean_name(name)
    assert len(once) <= MOST_TEXT
    assert clean_name(once) == once


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("server", {"http.request.method": "GET", "http.route": "/items/{id}"}, "GET /items/{id}"),
        ("server", {"http.route": "/items/{id}"}, "/items/{id}"),
        ("internal", {"http.request.method": "GET", "http.route": "/items/{id}"}, "name"),
        ("client", {"rpc.service": "shop.Stock", "rpc.method": "Reserve"}, "shop.Stock/Reserve"),
        ("server", {"rpc.method": "shop.Stock/Reserve"}, "shop.Stock/Reserve"),
        ("client", {"db.query.summary": "SELECT item", "db.query.text": "SELECT ?"}, "SELECT item"),
        ("client", {"db.query.text": "SELECT a FROM shop.item i JOIN stock s ON s.i = i.i"}, "SELECT shop.item stock"),
        ("client", {"db.query.text": 'insert into "order" VALUES (?)'}, "INSERT order"),
        ("client", {"db.query.text": "UPDATE item SET a = ? WHERE b = ?"}, "UPDATE item"),
        ("client", {"db.query.text": "DELETE FROM `item`"}, "DELETE item"),
        ("client", {"db.query.text": "SELECT ?"}, "SELECT"),
        ("client", {"db.query.text": "COMMIT"}, "name"),
        ("client", {"db.query.text": "GET ?"}, "name"),
        ("client", {}, "name"),
    ],
)
def test_an_operation_is_route_method_summary_or_name(kind: Kind, attributes: dict[str, str], expected: str) -> None:
    assert operation_of("name", kind, attributes) == expected


def test_a_name_of_several_words_is_kept_beside_a_statement() -> None:
    assert operation_of("SELECT item", "client", {"db.query.text": "SELECT a FROM stock"}) == "SELECT item"


def test_long_texts_are_cleaned_without_being_remembered() -> None:
    for text in ("x" * 100_000, "SELECT '" + "x" * 100_000, "https://h/" + "x" * 100_000):
        for clean in (clean_text, clean_url, clean_path, clean_name, lambda text: clean_statement(text, "")):
            assert len(clean(text)) <= MOST_TEXT


def test_old_names_become_todays_and_todays_win() -> None:
    kept = AttributeFilter().kept
    assert kept([("http.status_code", "200"), ("http.flavor", "2.0"), ("net.transport", "ip_tcp")]) == {
        "http.response.status_code": 200,
        "network.protocol.version": "2",
        "network.transport": "tcp",
    }
    for pairs in (
        [("http.method", "GET"), ("http.request.method", "POST")],
        [("http.request.method", "POST"), ("http.method", "GET")],
    ):
        assert kept(pairs) == {"http.request.method": "POST"}
    assert kept([("db.statement", "SELECT \"a\" FROM t WHERE b='c'"), ("db.system", "postgresql")]) == {
        "db.query.text": 'SELECT "a" FROM t WHERE b=?',
        "db.system.name": "postgresql",
    }
    assert kept([("http.host", "stock:8080"), ("http.url", "http://a/b?c=d")]) == {
        "server.address": "stock",
        "url.full": "http://a/b",
    }


def test_other_attributes_are_dropped_unless_they_are_asked_for() -> None:
    pairs = [
        *[("tenant", "t1"), ("app.cart", 3), ("app.password", "x"), ("app.mail", "a@b.de"), ("other", 1)],
        *[("http.request.header.x-tenant", "t2"), ("exception.message", "no"), ("url.query", "a=b")],
    ]
    assert AttributeFilter().kept(pairs) == {}
    assert AttributeFilter(["tenant", "app.*"]).kept(pairs) == {
        "tenant": "t1",
        "app.cart": 3,
        "app.mail": "<redacted>",
    }
    everything = AttributeFilter(["*"]).kept(pairs)
    assert set(everything) == {"tenant", "app.cart", "app.mail", "other"}
    exact = ["http.request.header.x-tenant", "app.password"]
    assert AttributeFilter(exact).kept(pairs) == {"http.request.header.x-tenant": "t2", "app.password": "x"}


def test_values_are_bounded_and_of_plain_types() -> None:
    kept = AttributeFilter(["app.*"]).kept
    assert kept(
        [
            *[("app.nan", float("nan")), ("app.large", 1 << 70), ("app.map", {"a": 1}), ("app.none", None)],
            *[("app.list", ["a", 1, None, {"b": 2}]), ("app.long", "x" * 9_000), ("app.card", 4111111111111111)],
            *[("app.true", True), ("app.half", 0.5)],
        ]
    ) == {
        "app.list": "a, 1",
        "app.long": "x" * MOST_TEXT,
        "app.card": "<redacted>",
        "app.true": True,
        "app.half": 0.5,
    }
    assert len(kept((f"app.{n}", n) for n in range(1_000))) == MOST_ATTRIBUTES
    assert kept([("app." + "x" * 1_000, 1), ("app.bob@example.com", 1)]) == {}

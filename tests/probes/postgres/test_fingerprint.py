"""Fingerprints: a statement of a trace and that of the server's statistics are the same, others are not."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres import fingerprint as module
from loadgen.probes.postgres.fingerprint import fingerprint, join, locked_table, tables_written, traceparent_of
from loadgen.traces.convert.sql_text import statement_without_values

PAIRS = [
    # What the application sends, and what pg_stat_statements of PostgreSQL 17 has of it.
    ("SELECT * FROM item WHERE tenant = %s AND id = %s", "SELECT * FROM item WHERE tenant = $1 AND id = $2"),
    ("select name from Item where tenant=? limit 10", "select name from Item where tenant=$1 limit $2"),
    ("UPDATE stock SET n = n - 1 WHERE id = 7 -- hello", "UPDATE stock SET n = n - $1 WHERE id = $2"),
    ("INSERT INTO ord (a, b) VALUES (%s, %s), (%s, %s)", "INSERT INTO ord (a, b) VALUES ($1, $2), ($3, $4)"),
    ("SELECT a FROM t WHERE b IN (1,2,3) AND c IS NOT NULL", "SELECT a FROM t WHERE b IN ($1,$2) AND c IS NOT NULL"),
    ("SELECT a FROM t WHERE d = -5 AND e = true", "SELECT a FROM t WHERE d = $1 AND e = $2"),
    ("SELECT a FROM t WHERE b IN (1, 2)", "SELECT a FROM t WHERE b IN ($1 /*, ... */)"),  # PostgreSQL 18
    ("SELECT now() - interval '1 day', x::int", "SELECT now() - interval $1, x::int"),
    ('SELECT "Id", "name" FROM t WHERE id = ANY(%(ids)s)', 'SELECT "Id", name FROM t WHERE id = ANY($1)'),
    ("DELETE FROM public.t WHERE a=:id;", "DELETE FROM public.t WHERE a=$1"),
    ("SELECT a FROM t /* traceparent='00-1-2-01' */ WHERE f = 'x''y'", "SELECT a FROM t WHERE f = $1"),
]


@pytest.mark.parametrize(("sent", "kept"), PAIRS)
def test_a_statement_of_the_application_has_the_fingerprint_of_the_servers(sent: str, kept: str) -> None:
    assert fingerprint(sent).text == fingerprint(kept).text
    assert fingerprint(sent).id == fingerprint(kept).id
    assert fingerprint(sent).is_exact


@pytest.mark.parametrize(("sent", "kept"), PAIRS)
def test_a_redacted_statement_of_a_trace_has_the_same_fingerprint(sent: str, kept: str) -> None:
    assert fingerprint(statement_without_values(sent, "postgresql")).id == fingerprint(kept).id


@pytest.mark.parametrize(("sent", "kept"), PAIRS)
def test_without_sqlglot_ordinary_statements_have_the_same_fingerprint_and_it_is_marked(
    sent: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = fingerprint(kept)
    monkeypatch.setitem(sys.modules, "sqlglot.dialects.postgres", None)
    module._tokenizer.cache_clear()
    fingerprint.cache_clear()
    try:
        simple = fingerprint(sent)
    finally:
        monkeypatch.undo()
        module._tokenizer.cache_clear()
        fingerprint.cache_clear()

    assert (simple.id, simple.is_exact, exact.is_exact) == (exact.id, False, True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE c = 1"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b > 1"),
        ('SELECT "A" FROM t', "SELECT a FROM t"),
        ("SELECT a FROM t WHERE b IS NULL", "SELECT a FROM t WHERE b = NULL"),
        ("SELECT a - 1 FROM t", "SELECT 1 FROM t"),
    ],
)
def test_different_statements_have_different_fingerprints(one: str, other: str) -> None:
    assert fingerprint(one).id != fingerprint(other).id


@pytest.mark.parametrize(
    "value", ["'4111-secret'", "$$secret$$", "E'sec\\'ret'", "/* secret */ 1", "-- secret\n 1", "'open secret"]
)
def test_no_value_and_no_comment_is_in_a_fingerprint(value: str) -> None:
    assert "sec" not in fingerprint(f"SELECT a FROM t WHERE b = {value}").text


@given(st.text(max_size=200))
def test_any_text_has_a_fingerprint_that_is_the_same_again(text: str) -> None:
    assert fingerprint(text) == fingerprint(text)
    assert len(fingerprint(text).id) == 16


@given(st.lists(st.sampled_from(["1", "'x'", "NULL", "$1", "-3.5", "TRUE"]), min_size=1, max_size=9))
def test_lists_of_any_length_have_one_fingerprint(values: list[str]) -> None:
    assert fingerprint(f"SELECT a FROM t WHERE b IN ({', '.join(values)})").text == "SELECT a FROM t WHERE b IN ( ? )"


def test_a_span_is_joined_by_its_text_and_otherwise_by_its_summary() -> None:
    statements = {
        1: "SELECT a FROM item WHERE id = $1",
        2: "SELECT b FROM item WHERE id = $1",
        3: "UPDATE stock SET n = $1",
    }

    assert join("SELECT b FROM item WHERE id = 7", "SELECT item", statements).keys == (2,)
    assert join("SELECT c FROM item", "SELECT item", statements).keys == (1, 2)
    assert join("SELECT c FROM item", "SELECT item", statements).how == "summary"
    assert join("", "UPDATE stock", statements).keys == (3,)
    assert join("", "", statements).keys == ()
    assert join("SELECT 1", "", statements).how == ""


@pytest.mark.parametrize(
    ("text", "written", "locked"),
    [
        ("UPDATE ledger SET n = 1", ("ledger",), "ledger"),
        ("/* x */ update only app.Ledger set n = 1", ("app.ledger",), "app.ledger"),
        ("INSERT INTO a SELECT * FROM b ON CONFLICT DO UPDATE SET n = 1", ("a",), "a"),
        ("WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone", ("a", "b"), "a"),
        ('MERGE INTO "T 1" USING b ON b.id = a.id WHEN MATCHED THEN DELETE', ("T 1",), "T 1"),
        ("SELECT * FROM app.item i WHERE id = 1 FOR UPDATE", (), "app.item"),
        ("SELECT * FROM item FOR NO KEY UPDATE", (), "item"),
        ("SELECT * FROM item", (), ""),
        ("", (), ""),
    ],
)
def test_the_tables_that_a_statement_writes_and_locks(text: str, written: tuple[str, ...], locked: str) -> None:
    assert tables_written(text) == written
    assert locked_table(text) == locked


def test_the_traceparent_in_a_comment_is_found() -> None:
    one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert traceparent_of(f"SELECT 1 /*db_driver='psycopg',traceparent='{one}'*/") == one
    assert traceparent_of(f"SELECT 1 /*traceparent='{one[:40]}") == ""

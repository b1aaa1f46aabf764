"""GraphQL: the operation names the row, and `errors` in the answer are its failure."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.graphql import gql
from loadgen.errors import ExpectFailed, UsageError
from tests.support.examples import examples
from tests.support.scripted import client_of, ok, rows_of, scripted

PRODUCT = "query Product($sku: ID!) { product(sku: $sku) { price } }"


def says(answer: Any, status: str = "200 OK") -> bytes:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return ok(body, "Content-Type: application/json", status=status)


async def test_an_operation_names_its_row_and_its_data_can_be_picked() -> None:
    async with scripted(says({"data": {"product": {"price": 1.5}}})) as server, client_of(server.url) as client:
        reply = await client.post("/graphql", json=gql(PRODUCT, variables={"sku": "a"}))
        assert reply.pick("$.data.product.price", float) == 1.5
        await client.post("/graphql", json=gql(PRODUCT), name="mine", expect=200)
        await client.request("POST", "/graphql", json=gql(PRODUCT), headers={"X-A": "1"})
        assert [row.name for row in rows_of(client)] == ["gql Product", "mine", "gql Product"]
        assert {row.outcome for row in rows_of(client)} == {"ok"}
        sent = json.loads(server.requests[0].body)
        assert sent == {"query": PRODUCT, "operationName": "Product", "variables": {"sku": "a"}}
        assert server.requests[0].header("content-type") == "application/json"
        assert not client._meter.recorder.take_notes()


async def test_stock_httpx_sends_the_same() -> None:
    async with scripted(says({"data": {}})) as server, client_of(server.url) as client:
        operation = gql(PRODUCT, {"sku": "é", "n": 1.5})
        await client.post("/graphql", json=operation)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
            await stock.post("/graphql", json=operation)
        assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        (
            {"data": None, "errors": [{"message": "no such product", "path": ["cart", 0, "product"]}]},
            "gql errors",
            r"gql Product: no such product at cart\.0\.product$",
        ),
        ({"data": {"a": 1}, "errors": [{"message": "one"}, {"message": "two"}]}, "gql errors", r"one \(and 1 more\)$"),
        ({"errors": [{"extensions": {"code": 7}}]}, "gql errors", "code"),
        ({"errors": "all wrong"}, "gql errors", "all wrong"),
        ({"errors": ["plain"]}, "gql errors", "plain"),
        ({}, "gql no data", "neither data nor errors"),
        ({"errors": []}, "gql no data", "neither data nor errors"),
        ([], "gql no data", "neither data nor errors"),
        (b"<html>sorry</html>", "gql no data", "sorry"),
    ],
)
async def test_errors_and_no_data_are_failures_that_end_the_iteration(answer: Any, outcome: str, said: str) -> None:
    async with scripted(says(answer)) as server, client_of(server.url) as client:
        with pytest.raises(ExpectFailed, match=said) as failure:
            await client.post("/graphql", json=gql(PRODUCT))
        assert failure.value.outcome == outcome
        with pytest.raises(ExpectFailed):
            await client.post("/graphql", json=gql(PRODUCT), expect=200)
        assert [row.outcome for row in rows_of(client)] == [outcome, outcome]


async def test_errors_can_be_accepted() -> None:
    answer = {"data": {"a": 1}, "errors": [{"message": "partly"}]}
    async with scripted(says(answer)) as server, client_of(server.url) as client:
        reply = await client.post("/graphql", json=gql(PRODUCT, accept_errors=True))
        assert reply.pick("$.errors[0].message") == "partly"
        assert [row.outcome for row in rows_of(client)] == ["ok"]


async def test_no_errors_is_ok_also_as_null_or_an_empty_list() -> None:
    answers = [says({"data": None}), says({"data": {}, "errors": []}), says({"data": {}, "errors": None})]
    async with scripted(lambda request: answers.pop()) as server, client_of(server.url) as client:
        for _ in range(3):
            await client.post("/graphql", json=gql(PRODUCT))
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 3


async def test_an_http_error_is_an_http_error_unless_it_is_accepted() -> None:
    answer = says({"errors": [{"message": "bad"}]}, status="400 Bad")
    async with scripted(answer) as server, client_of(server.url) as client:
        reply = await client.post("/graphql", json=gql(PRODUCT))
        assert reply.status_code == 400
        with pytest.raises(ExpectFailed, match="bad"):
            await client.post("/graphql", json=gql(PRODUCT), accept={400})
        with pytest.raises(ExpectFailed, match="expect status"):
            await client.post("/graphql", json=gql(PRODUCT), expect=200)
        assert [row.outcome for row in rows_of(client)] == ["http 400", "gql errors", "expect status"]


async def test_a_nameless_operation_has_a_row_and_a_note() -> None:
    async with scripted(says({"data": {}})) as server, client_of(server.url) as client:
        await client.post("/graphql", json=gql("{ cart { total } }"))
        assert [row.name for row in rows_of(client)] == ["gql (anonymous)"]
        assert json.loads(server.requests[0].body) == {"query": "{ cart { total } }"}
        (note,) = client._meter.recorder.take_notes()
        assert "query Name" in note


async def test_a_stream_of_an_operation_has_its_name_and_is_not_judged() -> None:
    async with scripted(says({"errors": [{"message": "bad"}]})) as server, client_of(server.url) as client:
        async with client.stream("POST", "/graphql", json=gql(PRODUCT)) as reply:
            await reply.aread()
        assert [(row.name, row.outcome) for row in rows_of(client)] == [("gql Product", "ok")]


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("mutation CreateOrder { a }", "gql CreateOrder"),
        ("subscription S{a}", "gql S"),
        ("query\n  Q\n(\n$a: In = {b: 1}) @live { a }", "gql Q"),
        ("# query Comment {\nquery Real { a }", "gql Real"),
        ('query Q { a(s: "query X { } # \\" {") { b } }', "gql Q"),
        ('query Q { a(s: """block " query Y { \\""" { """) }', "gql Q"),
        ("fragment F on T { a } query Q { ...F }", "gql Q"),
        ("query Q { ...F } fragment F on T { query mutation { a } }", "gql Q"),
        ("query ($a: ID) { a }", "gql (anonymous)"),
        ("{ a }", "gql (anonymous)"),
        ("fragment F on T { a } { ...F }", "gql (anonymous)"),
    ],
)
def test_the_name_is_that_of_the_operation_whatever_stands_around_it(query: str, row: str) -> None:
    operation = gql(query)
    assert (operation.row, operation.fault) == (row, "")


def test_of_several_operations_one_is_chosen() -> None:
    both = "query A { a } query B { b }"
    assert gql(both, operation="B").row == "gql B"
    assert gql(both, operation="B")["operationName"] == "B"
    assert "choose one" in gql(both).fault
    assert 'unknown operation "C"; the query has A, B' in gql(both, operation="C").fault


async def test_what_is_no_operation_is_an_error_of_the_scenario_when_it_is_sent() -> None:
    async with scripted(says({"data": {}})) as server, client_of(server.url) as client:
        for wrong, said in (
            ("", "no operation"),
            ("fragment F on T { a }", "no operation"),
            ("query Q { a ", "braces"),
            ("query Q { a }}", "braces"),
            (7, "query=7 must be a string"),
        ):
            operation = gql(wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=said) as error:
                await client.post("/graphql", json=operation)
            assert "variables" in error.value.hint
        assert not server.requests
        assert not rows_of(client)


@given(st.text('{}()"#\\ \nquery mutation A$:', max_size=60))
@settings(max_examples=examples(300), deadline=None)
def test_no_text_makes_gql_raise(query: str) -> None:
    operation = gql(query)
    assert operation.fault or operation.row.startswith("gql ")

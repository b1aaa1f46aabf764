"""Lock chains: roots first, each waiting session once, deadlocks as such."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres.fingerprint import locked_table
from loadgen.probes.postgres.locks import (
    Holder,
    LockGraph,
    Node,
    StatementHistory,
    chains_of,
    lock_graph_of,
    locks_body,
)
from loadgen.probes.postgres.sessions import Session

NOTE_BYTES = 256 << 10  # of loadgen.probes.reader


def shape(node: Node) -> Any:
    return {node.pid: [shape(one) for one in node.waiters]} if node.waiters else node.pid


def pids(node: Node) -> Iterator[int]:
    yield node.pid
    for one in node.waiters:
        yield from pids(one)


def session(pid: int, query: str, xact_s: float = 1.0, query_s: float = 2.0, state: str = "active") -> Session:
    return Session(pid, "shop", state, "", "", 0, xact_s, query_s, query_s, query)


def body_of(graph: LockGraph, history: StatementHistory | None = None) -> dict[str, Any]:
    found = locks_body(graph, history or StatementHistory(), 100.0, lambda text: text, locked_table)
    assert found is not None
    return found


def test_a_chain_has_its_root_first() -> None:
    found = chains_of({2: [1], 3: [2], 4: [2]})

    assert [shape(tree) for tree in found.trees] == [{1: [{2: [3, 4]}]}]
    assert found.trees[0].count() == 3


def test_the_tree_with_the_most_waiters_comes_first() -> None:
    assert [tree.pid for tree in chains_of({2: [1], 4: [3], 5: [3]}).trees] == [3, 1]


def test_a_session_with_several_blockers_stands_below_the_one_that_does_not_wait() -> None:
    (tree,) = chains_of({2: [1], 3: [2, 1]}).trees

    assert shape(tree) == {1: [2, 3]}
    assert tree.waiters[1].also_blocked_by == (2,)


def test_a_deadlock_is_reported_as_one_with_those_who_wait_behind_it() -> None:
    found = chains_of({1: [2], 2: [1], 3: [2]})

    assert found.cycles == ((1, 2),)
    assert sorted(pids(found.trees[0])) == [1, 2, 3]


def test_a_deadlock_of_three_beside_a_chain_does_not_hide_the_chain() -> None:
    found = chains_of({1: [2], 2: [3], 3: [1], 5: [4]})

    assert found.cycles == ((1, 2, 3),)
    assert [sorted(pids(tree)) for tree in found.trees] == [[1, 2, 3], [4, 5]]


@given(st.dictionaries(st.integers(1, 40), st.lists(st.integers(1, 40), min_size=1, max_size=4), max_size=40))
def test_each_waiting_session_is_in_one_tree_once_in_any_graph(graph: dict[int, list[int]]) -> None:
    found = chains_of(graph)
    placed = [pid for tree in found.trees for pid in pids(tree)]

    assert len(placed) == len(set(placed))
    assert set(graph) - {pid for cycle in found.cycles for pid in cycle} <= set(placed)
    assert all(not graph.get(tree.pid) or any(tree.pid in cycle for cycle in found.cycles) for tree in found.trees)


def test_a_chain_of_a_thousand_sessions_needs_no_recursion_limit() -> None:
    found = chains_of({pid + 1: [pid] for pid in range(1, 1_000)})

    assert found.trees[0].count() == 999


def test_the_statements_of_the_root_since_its_transaction_began_are_kept() -> None:
    history = StatementHistory()
    history.add([session(1, "UPDATE ledger SET n = 1", query_s=1.0)])
    history.add([session(1, "SELECT 1", query_s=2.0, state="idle in transaction")])
    graph = LockGraph({2: (1,)}, {1: Holder(1, "settle", "idle in transaction", 98.0, 95.0, "SELECT 1")})

    (tree,) = body_of(graph, history)["trees"]

    assert tree["application"] == "settle"
    assert (tree["state"], tree["in_state_s"], tree["in_transaction_s"]) == ("idle in transaction", 2.0, 5.0)
    assert (tree["statement"], tree["earlier"]) == ("SELECT 1", ["UPDATE ledger SET n = 1"])


def test_statements_of_an_earlier_transaction_are_forgotten() -> None:
    history = StatementHistory()
    history.add([session(1, "UPDATE a SET n = 1", xact_s=1.0)])
    history.add([session(1, "SELECT 1", xact_s=2.0)])

    assert history.of(1) == ["SELECT 1"]


def test_of_many_statements_the_first_and_the_last_are_kept() -> None:
    history = StatementHistory()
    for n in range(50):
        history.add([session(1, f"UPDATE a SET n = {n}", query_s=n)])

    assert history.of(1)[0] == "UPDATE a SET n = 0"
    assert history.of(1)[-1] == "UPDATE a SET n = 49"
    assert len(history.of(1)) == 10


def test_the_table_of_a_row_lock_comes_from_the_lock_on_the_row_or_from_the_statement() -> None:
    rows = [
        ("blocked", "2", "1", None, None, None, None, None),
        ("blocked", "3", "1", None, None, None, None, None),
        ("lock", "2", "transactionid", "ShareLock", "false", None, "99.5", None),
        ("lock", "2", "tuple", "ExclusiveLock", "true", "public.ledger", None, None),
        ("lock", "3", "transactionid", "ShareLock", "false", None, "99.9", None),
        ("session", "3", "payout", "active", "99.9", "UPDATE ledger SET n = 2 WHERE id = 7", "99.8", "5"),
    ]
    first, second = body_of(lock_graph_of(rows))["trees"][0]["waiters"]

    assert (first["relation"], first["relation_from"], first["waits_s"]) == ("public.ledger", "lock", 0.5)
    assert (second["relation"], second["relation_from"], second["waits_for"]) == (
        "ledger",
        "statement",
        "transactionid",
    )
    assert second["query_id"] == "5"


def test_the_tables_on_which_the_root_holds_locks_are_shown() -> None:
    rows = [
        ("blocked", "2", "1", None, None, None, None, None),
        ("lock", "1", "relation", "RowExclusiveLock", "true", "public.ledger", None, None),
    ]
    assert body_of(lock_graph_of(rows))["trees"][0]["holds"] == ["public.ledger (RowExclusiveLock)"]


def test_a_prepared_transaction_has_no_session_and_is_named() -> None:
    (tree,) = body_of(lock_graph_of([("blocked", "2", "0", None, None, None, None, None)]))["trees"]

    assert tree["application"] == "a prepared transaction"


def test_without_a_waiting_session_there_is_no_note() -> None:
    assert locks_body(LockGraph({}, {}), StatementHistory(), 0.0, str, str) is None


def test_a_note_of_many_chains_with_long_and_hostile_texts_stays_within_its_limit() -> None:
    text = "UPDATE \x1b[31m " + "x" * 5_000
    holders = {pid: Holder(pid, "\u202e" * 500, "active", 1.0, 1.0, text) for pid in range(2_000)}
    body = body_of(LockGraph({pid + 1_000: (pid,) for pid in range(1_000)}, holders))

    assert len(json.dumps(body)) < NOTE_BYTES
    assert (body["all_trees"], body["all_waiting"]) == (1_000, 1_000)

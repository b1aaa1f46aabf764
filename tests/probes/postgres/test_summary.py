"""The summary of a run's notes: statements, lock chains over time, active sessions."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres.statements import Counters, Increase, StatementKey, body_of
from loadgen.probes.postgres.summary import active_sessions, chain_lines, statements_summary
from loadgen.probes.reader import Note
from loadgen.units import NS_PER_S as S

ITEM, CART, OWN = StatementKey(10, 5, -7), StatementKey(10, 5, 8), StatementKey(11, 5, 9)


def of(calls: int, exec_ms: float) -> Counters:
    return Counters(calls, exec_ms, calls, 0, 0, 0, 0, 0.0)


def statements(from_s: int, to_s: int, counters: dict[StatementKey, Counters]) -> Note:
    return Note(to_s * S, "statements", body_of(Increase(from_s * S, to_s * S, counters)))


def locks(at_s: int, *trees: dict[str, Any]) -> Note:
    return Note(at_s * S, "locks", {"trees": list(trees)})


def chain(waits_s: float, n: int = 1) -> dict[str, Any]:
    waiter = {"application": "payout", "relation": "ledger", "statement": "UPDATE ledger SET n = ?", "query_id": "7"}
    return {
        "application": "settle",
        "state": "idle in transaction",
        "statement": "SELECT ?",
        "earlier": ["UPDATE ledger SET n = ?"],
        "holds": ["ledger (RowExclusiveLock)"],
        "waiters": [waiter | {"waits_s": waits_s + k} for k in range(n)],
    }


def test_statements_come_with_text_plan_and_their_part_and_the_probes_own_ones_are_left_out() -> None:
    notes = [
        statements(0, 10, {CART: of(10, 100.0), OWN: of(1, 10.0)}),
        statements(10, 20, {CART: of(10, 150.0), ITEM: of(5, 150.0), OWN: of(1, 12.0)}),
        Note(
            21 * S,
            "statements",
            {
                "own": ["9"],
                "texts": [{"user_id": 10, "database_id": 5, "query_id": "-7", "text": "SELECT ?", "user": "shop"}],
            },
        ),
        Note(
            21 * S,
            "plan",
            {"user_id": 10, "database_id": 5, "query_id": "-7", "findings": [{"text": "full scan"}], "plan": {"a": 1}},
        ),
        Note(21 * S, "plan", {"user_id": 10, "database_id": 5, "query_id": "8", "why": "permission denied"}),
    ]
    found = statements_summary(notes, t0_ns=10 * S, end_ns=20 * S)
    first, second = found.lines

    assert (first.key, first.text, first.user, first.findings, first.plan) == (
        ITEM,
        "SELECT ?",
        "shop",
        ("full scan",),
        {"a": 1},
    )
    assert (first.added.exec_ms, first.share, first.mean_ms) == (150.0, 0.75, 30.0)
    assert (second.key, second.added.exec_ms, second.share, second.why_no_plan) == (
        CART,
        50.0,
        0.25,
        "permission denied",
    )
    assert found.own_ms == 12.0
    assert found.rest is None


def test_chains_of_a_run_are_added_up_by_applications_and_table() -> None:
    notes = [locks(1, chain(0.5)), locks(2, chain(1.5, n=3)), locks(3), locks(99, chain(9.0))]

    (line,) = chain_lines(notes, 0, 10 * S)

    assert (line.root, line.waiter, line.relation) == ("settle", "payout", "ledger")
    assert (line.waited, line.samples, line.most, line.longest_s) == (4, 2, 3, 3.5)
    assert (line.first_ns, line.last_ns) == (1 * S, 2 * S)
    assert line.root_statements == {"UPDATE ledger SET n = ?": 2, "SELECT ?": 2}
    assert line.root_holds == {"ledger (RowExclusiveLock)": 2}
    assert line.query_ids == {"7": 4}
    assert line.text == "payout is held up by settle, which is idle in transaction: locks of ledger"


def test_sessions_deeper_in_a_tree_are_held_up_by_the_root() -> None:
    tree = chain(1.0)
    tree["waiters"][0]["waiters"] = [{"application": "report", "relation": "ledger"}]

    assert [(line.root, line.waiter) for line in chain_lines([locks(1, tree)], 0, 2 * S)] == [
        ("settle", "payout"),
        ("settle", "report"),
    ]


def test_samples_without_a_session_count_for_the_mean() -> None:
    groups = [["active", "Lock:tuple", "7", "shop", 3], ["idle in transaction", "", "0", "shop", 9]]
    notes = [Note(n * S, "sessions", {"groups": groups}) for n in range(0, 40, 2)]
    notes.append(Note(1 * S, "sessions", {"profile": []}))

    found = active_sessions(notes, [n * S for n in range(40)], exec_ms=1.5 * 39_000, from_ns=0, to_ns=39 * S)

    assert (found.samples, found.by_wait) == (40, {"Lock:tuple": 1.5})
    assert found.agreement is not None
    assert found.agreement.agrees


def test_without_samples_there_is_no_mean() -> None:
    found = active_sessions([], [], 0.0, 0, S)

    assert (found.samples, found.by_wait, found.agreement) == (0, {}, None)


LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=3)
KEYS = st.sampled_from(
    ["rows", "texts", "own", "trees", "waiters", "user_id", "query_id", "database_id", "from_ns", "to_ns"]
)
NESTED = st.dictionaries(KEYS, LEAF | st.lists(st.dictionaries(KEYS, LEAF, max_size=4), max_size=2), max_size=5)


@given(st.sampled_from(["statements", "plan", "locks"]), NESTED)
def test_notes_of_any_form_are_left_out_and_never_hide_the_others(kind: str, body: dict[str, Any]) -> None:
    good = [statements(0, 10, {ITEM: of(5, 50.0)}), locks(5, chain(1.0))]
    notes = [Note(5 * S, kind, body), *good]

    assert any(line.key == ITEM for line in statements_summary(notes, 0, 10 * S).lines)
    assert any(line.root == "settle" for line in chain_lines(notes, 0, 10 * S))

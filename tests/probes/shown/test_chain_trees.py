"""Lock chains as trees: the worst sample of each chain, deadlocks by name, and notes of another form."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.journal import NoteRecord
from loadgen.probes.shown.lock_chains import deadlocks_of, worst_trees
from loadgen.units import NS_PER_S as S


def locks(at_s: float, *trees: dict[str, Any], **more: Any) -> NoteRecord:
    return NoteRecord(0, round(at_s * S), "locks", {"trees": list(trees), **more})


def waiter(pid: int, waits_s: float, *waiters: dict[str, Any]) -> dict[str, Any]:
    return {
        "pid": pid,
        "application": "payout",
        "state": "active",
        "waits_s": waits_s,
        "relation": "ledger",
        "statement": "UPDATE ledger SET n = ?",
        "waiters": list(waiters),
    }


def settle(*waiters: dict[str, Any]) -> dict[str, Any]:
    return {
        "pid": 1,
        "application": "settle",
        "state": "idle in transaction",
        "in_state_s": 0.4,
        "statement": "SELECT ?",
        "earlier": ["UPDATE ledger SET n = ?"],
        "holds": ["ledger (RowExclusiveLock)"],
        "waiters": list(waiters),
    }


def test_the_sample_with_the_most_waiting_sessions_is_shown_with_the_root_first() -> None:
    deep = settle(waiter(2, 0.3, waiter(3, 0.2)), waiter(4, 0.1))
    notes = [locks(11, settle(waiter(2, 9.0))), locks(12, deep), locks(13, settle(waiter(2, 0.1)))]

    (tree,) = worst_trees(notes, 10 * S, 20 * S)

    assert (tree.at_s, tree.waiting, tree.longest_s, tree.samples, tree.left_out) == (2.0, 3, 0.3, 3, 0)
    assert [(row.depth, row.pid) for row in tree.rows] == [(0, 1), (1, 2), (2, 3), (1, 4)]
    root = tree.rows[0]
    assert (root.application, root.state, root.in_state_s, root.statement) == (
        "settle",
        "idle in transaction",
        0.4,
        "SELECT ?",
    )
    assert (root.earlier, root.holds) == (("UPDATE ledger SET n = ?",), ("ledger (RowExclusiveLock)",))
    assert (tree.rows[1].waits_s, tree.rows[1].relation) == (0.3, "ledger")


def test_two_trees_of_one_sample_are_one_sample() -> None:
    notes = [locks(1, settle(waiter(2, 0.1)), settle(waiter(3, 0.1)))]

    assert [tree.samples for tree in worst_trees(notes, 0, 9 * S)] == [1]


def test_locks_before_the_load_and_after_the_run_are_not_shown() -> None:
    notes = [locks(5, settle(waiter(2, 1.0))), locks(25, settle(waiter(2, 1.0)))]

    assert worst_trees(notes, 10 * S, 20 * S) == ()


def test_sessions_beyond_the_most_rows_are_counted() -> None:
    (tree,) = worst_trees([locks(1, settle(*(waiter(n, 0.1) for n in range(2, 102))))], 0, 9 * S)

    assert (len(tree.rows), tree.waiting, tree.left_out) == (24, 100, 77)


def test_a_deadlock_that_two_samples_saw_is_named_once() -> None:
    stuck = settle(waiter(2, 0.5))
    notes = [locks(3, stuck, deadlocks=[[1, 2]]), locks(4, stuck, deadlocks=[[1, 2]])]

    (found,) = deadlocks_of(notes, 0, 9 * S)
    (tree,) = worst_trees(notes, 0, 9 * S)

    assert (found.at_s, found.sessions) == (3.0, ("settle (1)", "payout (2)"))
    assert found.statements == ("SELECT ?", "UPDATE ledger SET n = ?")
    assert all(row.in_deadlock for row in tree.rows)


def test_texts_cannot_change_the_line() -> None:
    rude = settle(waiter(2, 0.1)) | {"application": "a\x1b[31m\nb", "statement": "SELECT \u202e"}

    (tree,) = worst_trees([locks(1, rude)], 0, 9 * S)

    assert tree.rows[0].application == "a\\x1b[31m\\nb"
    assert tree.rows[0].statement == "SELECT \\u202e"


LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=3)
)
KEYS = st.sampled_from(["trees", "waiters", "pid", "deadlocks", "waits_s", "earlier", "holds", "waiting", "in_state_s"])
NODE = st.recursive(
    st.dictionaries(KEYS, LEAF, max_size=5),
    lambda inner: st.dictionaries(KEYS, LEAF | st.lists(inner | LEAF, max_size=3), max_size=5),
    max_leaves=12,
)


@given(st.lists(NODE, max_size=4))
def test_notes_of_another_form_are_left_out(bodies: list[dict[str, Any]]) -> None:
    notes = [NoteRecord(0, S, "locks", body) for body in bodies]

    for tree in worst_trees(notes, 0, 2 * S):
        assert len(tree.rows) <= 24
    deadlocks_of(notes, 0, 2 * S)

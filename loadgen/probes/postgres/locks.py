"""Chains of sessions that wait for each other's locks, as trees with the blocking session first. Pure.

The root of a chain is mostly idle in a transaction, and then its `query` is its last statement, not the one that took
the lock. So the statements of each transaction are kept, as they were seen once a second, and the tables on which
the root holds a lock are read. A statement that ran between two samples was not seen.

A session waits for a row as for the transaction that changed it, and the server does not show the table. The
first waiter has a lock on the row itself, which names the table; for the others it is taken from their statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.probes.postgres.sessions import Session

__all__ = ["Chains", "Holder", "LockGraph", "Node", "StatementHistory", "chains_of", "lock_graph_of", "locks_body"]

_STATEMENTS_MOST: Final = 10
_PIDS_MOST: Final = 2_000
_TEXT_MOST: Final = 300
_SEEN_MOST: Final = 2_000
_TREES_MOST: Final = 20
_NAME_MOST: Final = 80
_NODES_MOST: Final = 200
PREPARED: Final = 0
"""The pid that the server reports for a prepared transaction, which has no session."""


@dataclass(slots=True)
class Holder:
    """The known facts about a session in a chain. Times are s since 1970 by the server's clock."""

    pid: int
    application: str = ""
    state: str = ""
    state_s: float | None = None
    xact_s: float | None = None
    query: str = ""
    query_id: int = 0
    waits_for: str = ""
    """The kind of the lock that it waits for, such as "transactionid"; "" if it waits for none."""
    wait_s: float | None = None
    """Since when it waits."""
    relation: str = ""
    """The table of that lock; "" if the server does not show it."""
    holds: list[tuple[str, str]] = field(default_factory=list)
    """Tables and modes of its locks, without those of plain reads."""


@dataclass(slots=True)
class LockGraph:
    """The waiting sessions and their blockers at one time."""

    blockers: dict[int, tuple[int, ...]]
    """By waiting pid."""
    sessions: dict[int, Holder]


@dataclass(slots=True)
class Node:
    """A session in a tree, with the sessions that wait for it."""

    pid: int
    waiters: list[Node] = field(default_factory=list)
    also_blocked_by: tuple[int, ...] = ()

    def count(self) -> int:
        """Return the number of sessions that wait for this one, directly or not."""
        total, todo = 0, list(self.waiters)
        while todo:
            one = todo.pop()
            total += 1
            todo.extend(one.waiters)
        return total


@dataclass(frozen=True, slots=True)
class Chains:
    """All trees of one sample, the one with the most waiters first, and all deadlocks."""

    trees: tuple[Node, ...]
    cycles: tuple[tuple[int, ...], ...] = ()
    """Sessions that wait for each other in a circle. The server ends one of them after its `deadlock_timeout`."""


class StatementHistory:
    """The statements of each session since its transaction began, as they were seen."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float | None, dict[str, float]]] = {}

    def add(self, sessions: Iterable[Session]) -> None:
        """Add a sample. Sessions that are not in it are forgotten: they are idle or gone."""
        found: dict[int, tuple[float | None, dict[str, float]]] = {}
        for one in sessions:
            if one.xact_s is None or not one.query or len(found) >= _PIDS_MOST:
                continue
            xact_s, statements = self._seen.get(one.pid, (None, {}))
            if xact_s != one.xact_s:
                statements = {}
            text = one.query[:_SEEN_MOST]
            statements.setdefault(text, one.query_s or 0.0)
            if len(statements) > _STATEMENTS_MOST:
                # The first one is kept, because locks of a long transaction are mostly taken early.
                del statements[list(statements)[1]]
            found[one.pid] = (one.xact_s, statements)
        self._seen = found

    def of(self, pid: int) -> list[str]:
        """Return the statements of a session since its transaction began, the oldest first."""
        _, statements = self._seen.get(pid, (None, {}))
        return list(statements)


def lock_graph_of(rows: Iterable[Sequence[str | None]]) -> LockGraph:
    """Return the graph with the answer to `queries.lock_graph`."""
    blockers: dict[int, tuple[int, ...]] = {}
    sessions: dict[int, Holder] = {}
    for what, pid_text, first, second, third, fourth, fifth, query_id in rows:
        pid = int(pid_text or 0)
        one = sessions.setdefault(pid, Holder(pid))
        if what == "blocked":
            # A blocker may be named several times: by each process of a parallel query.
            found = dict.fromkeys(int(by) for by in (first or "").split(",") if by and int(by) != pid)
            if found:
                blockers[pid] = tuple(found)
        elif what == "lock":
            is_held, relation = third == "true", fourth or ""
            if first == "relation" and is_held and relation:
                one.holds.append((relation, second or ""))
            elif first == "tuple" and relation:
                one.relation = relation
            if not is_held:
                one.waits_for, one.relation = first or "", one.relation or relation
                one.wait_s = float(fifth) if fifth else None
        elif what == "session":
            one.application, one.state, one.query = first or "", second or "", fourth or ""
            one.query_id = int(query_id or 0)
            one.state_s = float(third) if third else None
            one.xact_s = float(fifth) if fifth else None
    return LockGraph(blockers, sessions)


def chains_of(blockers: Mapping[int, Sequence[int]]) -> Chains:
    """Return the trees of a graph. Each waiting session is in one tree, once.

    A session with several blockers stands below one that does not wait itself, if there is one. A cycle has no root:
    it is one of `cycles`, and the tree of its smallest pid has the sessions that wait for its members.
    """
    cycles = _cycles(blockers)
    in_cycle = {pid for cycle in cycles for pid in cycle}
    nodes = {pid: Node(pid) for pid in {*blockers, *(by for found in blockers.values() for by in found)}}
    roots = [pid for pid in nodes if not blockers.get(pid)]
    for cycle in cycles:
        roots.append(cycle[0])
        for pid in cycle[1:]:
            nodes[cycle[0]].waiters.append(nodes[pid])
    # Breadth first from the roots, so that each session gets the shortest way and no way runs in a circle.
    behind: dict[int, list[int]] = {}
    for pid, found in blockers.items():
        for by in found:
            behind.setdefault(by, []).append(pid)
    placed = {*roots, *in_cycle}
    queue = [*(root for root in roots if root not in in_cycle), *(pid for cycle in cycles for pid in cycle)]
    while queue:
        by = queue.pop(0)
        for pid in behind.get(by, ()):
            if pid not in placed:
                placed.add(pid)
                nodes[pid].also_blocked_by = tuple(other for other in blockers[pid] if other != by)
                nodes[by].waiters.append(nodes[pid])
                queue.append(pid)
    trees = sorted((nodes[pid] for pid in roots), key=lambda node: (-node.count(), node.pid))
    return Chains(tuple(tree for tree in trees if tree.waiters), cycles)


def locks_body(
    graph: LockGraph,
    history: StatementHistory,
    now_s: float,
    redact: Callable[[str], str],
    table_of: Callable[[str], str],
) -> dict[str, Any] | None:
    """Return the chains of a sample as JSON; None if no session waits for another one.

    now_s: the server's time. redact: returns a statement without its values. table_of: returns the table whose rows
    a statement locks, "" if it is unknown.
    """
    chains = chains_of(graph.blockers)
    if not chains.trees and not chains.cycles:
        return None
    budget = [_NODES_MOST]

    def node_body(node: Node, *, is_root: bool) -> dict[str, Any]:
        one = graph.sessions.get(node.pid) or Holder(node.pid)
        body: dict[str, Any] = {"pid": node.pid, "application": one_line(one.application, _NAME_MOST)}
        if node.pid == PREPARED:
            body["application"] = "a prepared transaction"
        if one.state:
            body["state"] = one.state
        if (state_s := _age(now_s, one.state_s)) is not None:
            body["in_state_s"] = state_s
        if (xact_s := _age(now_s, one.xact_s)) is not None:
            body["in_transaction_s"] = xact_s
        if one.query:
            body["statement"] = redact(one.query)[:_TEXT_MOST]
        if one.query_id:
            body["query_id"] = str(one.query_id)
        now = one.query[:_SEEN_MOST]
        if is_root and (earlier := [redact(text)[:_TEXT_MOST] for text in history.of(node.pid) if text != now]):
            body["earlier"] = list(dict.fromkeys(earlier))
        if node.pid in graph.blockers:
            body["waits_for"] = one.waits_for
            if (waits_s := _age(now_s, one.wait_s)) is not None:
                body["waits_s"] = waits_s
            if relation := one.relation or table_of(one.query):
                body["relation"] = one_line(relation, _NAME_MOST)
                body["relation_from"] = "lock" if one.relation else "statement"
        if is_root and one.holds:
            holds = dict.fromkeys(f"{table} ({mode})" for table, mode in one.holds)
            body["holds"] = [one_line(text, 2 * _NAME_MOST) for text in list(holds)[:_STATEMENTS_MOST]]
        if node.also_blocked_by:
            body["also_blocked_by"] = list(node.also_blocked_by)
        if node.waiters:
            body["waiting"] = node.count()
            body["waiters"] = []
            for waiter in node.waiters:
                if budget[0] <= 0:
                    break
                budget[0] -= 1
                body["waiters"].append(node_body(waiter, is_root=False))
        return body

    shown = chains.trees[:_TREES_MOST]
    body: dict[str, Any] = {"trees": [node_body(tree, is_root=True) for tree in shown]}
    total = sum(tree.count() for tree in chains.trees)
    if len(chains.trees) > len(shown) or total > _NODES_MOST:
        body["all_trees"], body["all_waiting"] = len(chains.trees), total
    if chains.cycles:
        body["deadlocks"] = [list(cycle) for cycle in chains.cycles]
    return body


def _age(now_s: float, then_s: float | None) -> float | None:
    return None if then_s is None else round(max(0.0, now_s - then_s), 3)


def _cycles(blockers: Mapping[int, Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the strongly connected components with more than one session, by Tarjan's algorithm, without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[tuple[int, ...]] = []
    for start in blockers:
        if start in index:
            continue
        work: list[tuple[int, int]] = [(start, 0)]
        while work:
            pid, at = work.pop()
            if at == 0:
                index[pid] = low[pid] = len(index)
                stack.append(pid)
                on_stack.add(pid)
            following = blockers.get(pid, ())
            if at < len(following):
                work.append((pid, at + 1))
                other = following[at]
                if other not in index:
                    work.append((other, 0))
                elif other in on_stack:
                    low[pid] = min(low[pid], index[other])
                continue
            if low[pid] == index[pid]:
                component = []
                while True:
                    member = stack.pop()
                    on_stack.discard(member)
                    component.append(member)
                    if member == pid:
                        break
                if len(component) > 1 or pid in following:
                    found.append(tuple(sorted(component)))
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[pid])
    return tuple(sorted(found))

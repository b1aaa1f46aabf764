"""Lock chains as trees, with the blocking session first: the worst sample of each of the worst chains. Pure.

The notes are those of the probe of PostgreSQL. Parts of another form, such as those of a newer version, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from loadgen.outside_text import one_line
from loadgen.probes.journal import NoteRecord
from loadgen.units import NS_PER_S

__all__ = ["ChainTree", "Deadlock", "TreeRow", "deadlocks_of", "seen_statements", "worst_trees"]

_TREES_MOST: Final = 3
_ROWS_MOST: Final = 24
"""The most sessions of a tree; the others are counted."""
_DEADLOCKS_MOST: Final = 10
_MEMBERS_MOST: Final = 8
_EARLIER_MOST: Final = 3
_TEXT_MOST: Final = 300
_NAME_MOST: Final = 80
_DEPTH_MOST: Final = 250


class TreeRow(msgspec.Struct, frozen=True):
    """A session of a tree. Rows follow each other as a tree is read: each session before those that wait for it."""

    depth: int
    """0 for the root."""
    pid: int
    application: str
    state: str = ""
    in_state_s: float | None = None
    waits_s: float | None = None
    """How long it has waited; None for the root."""
    relation: str = ""
    """The table of the lock that it waits for."""
    statement: str = ""
    """Its statement without values; of a session that is idle in a transaction, its last one."""
    earlier: tuple[str, ...] = ()
    """The statements of its transaction before that one, as they were seen once a second."""
    holds: tuple[str, ...] = ()
    """The tables on which the root holds locks, with the mode."""
    in_deadlock: bool = False


class ChainTree(msgspec.Struct, frozen=True):
    """One tree of one sample."""

    at_s: float
    """The time from T0."""
    waiting: int
    longest_s: float
    rows: tuple[TreeRow, ...]
    left_out: int = 0
    """Waiting sessions that have no row."""
    samples: int = 1
    """Samples with a tree of the same root application and table."""


class Deadlock(msgspec.Struct, frozen=True):
    """Sessions that wait for each other in a circle, as one sample saw them."""

    at_s: float
    sessions: tuple[str, ...]
    """Applications with their pids."""
    statements: tuple[str, ...] = ()


def worst_trees(notes: Iterable[NoteRecord], t0_ns: int, end_ns: int) -> tuple[ChainTree, ...]:
    """Return the worst tree for each pair of a root's application and a locked table, most waiting sessions first.

    Trees are compared by the number of waiting sessions, then by the longest wait.
    """
    worst: dict[tuple[str, str], tuple[tuple[int, float], int, Mapping[str, Any], Mapping[str, Any]]] = {}
    waited: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], set[int]] = {}
    for note in _locks(notes, t0_ns, end_ns):
        for tree in _nodes(note.body, "trees"):
            below = [node for depth, node in _walk(tree) if depth]
            if not below:
                continue
            first = _nodes(tree, "waiters")[0]
            key = (_text(tree, "application", _NAME_MOST), _text(first, "relation", _NAME_MOST))
            count = max(len(below), _whole(tree.get("waiting")))
            size = (count, max((_seconds(node.get("waits_s")) or 0.0 for node in below), default=0.0))
            waited[key] = waited.get(key, 0) + count
            samples.setdefault(key, set()).add(note.at_ns)
            if key not in worst or size > worst[key][0]:
                worst[key] = (size, note.at_ns, tree, note.body)
    order = sorted(worst, key=lambda key: (-waited[key], key))[:_TREES_MOST]
    return tuple(_tree_of(*worst[key], t0_ns, len(samples[key])) for key in order)


def deadlocks_of(notes: Iterable[NoteRecord], t0_ns: int, end_ns: int) -> tuple[Deadlock, ...]:
    """Return the first deadlocks that a sample saw, each once."""
    found: dict[tuple[int, ...], Deadlock] = {}
    for note in _locks(notes, t0_ns, end_ns):
        for cycle in _cycles(note.body):
            if cycle in found or len(found) >= _DEADLOCKS_MOST:
                continue
            nodes = {_whole(node.get("pid")): node for tree in _nodes(note.body, "trees") for _, node in _walk(tree)}
            members = [(pid, nodes.get(pid, {})) for pid in cycle[:_MEMBERS_MOST]]
            found[cycle] = Deadlock(
                round((note.at_ns - t0_ns) / NS_PER_S, 3),
                tuple(f"{_text(node, 'application', _NAME_MOST) or 'a session'} ({pid})" for pid, node in members),
                tuple(text for _, node in members if (text := _text(node, "statement", _TEXT_MOST))),
            )
    return tuple(found.values())


def seen_statements(notes: Iterable[NoteRecord]) -> dict[str, str]:
    """Return the statements of all sessions in trees by the server's query id, without values.

    During the run these are the only known texts, because the texts of statements are read after the load.
    """
    found: dict[str, str] = {}
    for note in notes:
        if note.kind == "locks":
            for tree in _nodes(note.body, "trees"):
                for _, node in _walk(tree):
                    query_id, text = node.get("query_id"), _text(node, "statement", _TEXT_MOST)
                    if isinstance(query_id, str) and text:
                        found.setdefault(query_id, text)
    return found


def _tree_of(
    size: tuple[int, float], at_ns: int, tree: Mapping[str, Any], body: Mapping[str, Any], t0_ns: int, samples: int
) -> ChainTree:
    stuck = {pid for cycle in _cycles(body) for pid in cycle}
    rows: list[TreeRow] = []
    for depth, node in _walk(tree):
        if len(rows) == _ROWS_MOST:
            break
        rows.append(_row(depth, node, _whole(node.get("pid")) in stuck))
    return ChainTree(
        round((at_ns - t0_ns) / NS_PER_S, 3), size[0], size[1], tuple(rows), max(0, size[0] + 1 - len(rows)), samples
    )


def _row(depth: int, node: Mapping[str, Any], in_deadlock: bool) -> TreeRow:
    return TreeRow(
        depth=depth,
        pid=_whole(node.get("pid")),
        application=_text(node, "application", _NAME_MOST),
        state=_text(node, "state", _NAME_MOST),
        in_state_s=_seconds(node.get("in_state_s")),
        waits_s=_seconds(node.get("waits_s")),
        relation=_text(node, "relation", _NAME_MOST),
        statement=_text(node, "statement", _TEXT_MOST),
        earlier=_texts(node, "earlier", _EARLIER_MOST, _TEXT_MOST),
        holds=_texts(node, "holds", _EARLIER_MOST, 2 * _NAME_MOST),
        in_deadlock=in_deadlock,
    )


def _locks(notes: Iterable[NoteRecord], t0_ns: int, end_ns: int) -> Iterator[NoteRecord]:
    return (note for note in notes if note.kind == "locks" and t0_ns <= note.at_ns <= end_ns)


def _walk(tree: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (depth, session) of a tree, each session before those that wait for it."""
    todo = [(0, tree)]
    while todo:
        depth, node = todo.pop()
        yield depth, node
        if depth < _DEPTH_MOST:
            todo += [(depth + 1, one) for one in reversed(_nodes(node, "waiters"))]


def _nodes(node: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = node.get(key, ())
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _cycles(body: Mapping[str, Any]) -> Iterator[tuple[int, ...]]:
    found = body.get("deadlocks", ())
    for one in found if isinstance(found, list) else ():
        if isinstance(one, list) and one and all(isinstance(pid, int) for pid in one):
            yield tuple(one)


def _text(node: Mapping[str, Any], key: str, most: int) -> str:
    return one_line(str(node.get(key, "")), most)


def _texts(node: Mapping[str, Any], key: str, count: int, most: int) -> tuple[str, ...]:
    values = node.get(key, ())
    return tuple(one_line(str(one), most) for one in values[:count]) if isinstance(values, list) else ()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None

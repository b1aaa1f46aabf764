"""Plans of PostgreSQL (`EXPLAIN (FORMAT JSON)`) in words. Pure.

A plan of a statement with `$1` is a generic plan: all numbers are the planner's estimates for an average value. Only
the way of execution is certain. With the real numbers of `auto_explain` (`log_analyze`), estimates
that are wrong, sorts on disk and lossy bitmaps are shown, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.traces.convert.sql_text import statement_without_values

__all__ = [
    "Finding",
    "PlanNode",
    "TableSize",
    "findings_of",
    "nodes_of",
    "plan_of",
    "pruned",
    "tables_of",
    "why_not_explainable",
]

_NODES_MOST: Final = 500
_DEPTH_MOST: Final = 100
_KEPT_NODES_MOST: Final = 200
_SCAN_ROWS: Final = 1_000
"""A full scan of fewer rows is not mentioned."""
_LOOPS: Final = 100
"""The inner side of a loop that runs less often is not mentioned."""
_WRONG_BY: Final = 10.0
"""Estimates that are wrong by a smaller factor are not mentioned."""
_BLOCK: Final = 8_192
_BITMAP_ENTRY: Final = 56
"""Bytes of one page in a bitmap of a scan: 40 of the entry and 16 of its hash table. Source: tidbitmap.c."""
_SORT_ROW: Final = 32
"""Bytes of a row in a sort besides its columns, at least."""
_VERBS: Final = frozenset(("select", "insert", "update", "delete", "merge", "values", "with", "table"))
_KEPT: Final = (
    *("Node Type", "Parent Relationship", "Join Type", "Strategy", "Operation", "Schema", "Relation Name", "Alias"),
    *("Index Name", "Startup Cost", "Total Cost", "Plan Rows", "Plan Width", "Actual Rows", "Actual Loops"),
    *("Actual Total Time", "Sort Method", "Sort Space Used", "Sort Space Type", "Hash Batches", "Exact Heap Blocks"),
    *("Lossy Heap Blocks", "Rows Removed by Filter", "Workers Planned"),
)
_CONDITIONS: Final = ("Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter")


@dataclass(frozen=True, slots=True)
class TableSize:
    """The size of a table, as the server estimates it."""

    rows: float
    """Below 0 if the table was never analyzed."""
    pages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One node of a plan."""

    values: Mapping[str, Any]
    depth: int
    loops: float
    """The estimated number of executions of the node in one execution of the statement."""

    @property
    def kind(self) -> str:
        """Return its type, such as "Seq Scan"."""
        return str(self.values.get("Node Type", ""))

    @property
    def table(self) -> tuple[str, str]:
        """Return schema and table of a scan; ("", "") for other nodes."""
        return str(self.values.get("Schema", "")), str(self.values.get("Relation Name", ""))

    def number(self, key: str) -> float:
        """Return a number of the node; 0 if it is missing or no number."""
        value = self.values.get(key, 0)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a plan."""

    kind: str
    """full scan, loop, spill, lossy, estimate."""
    text: str
    table: str = ""


def why_not_explainable(text: str) -> str:
    """Return why a statement of pg_stat_statements cannot be explained; "" if it can.

    A semicolon within the text could begin a second statement, so such a text is never sent to the server.
    """
    inner = text.rstrip().rstrip(";")
    word = statement_without_values(text, "postgresql").lstrip("( ").split(" ", 1)[0].lower()
    if word not in _VERBS:
        return "only SELECT, INSERT, UPDATE, DELETE and MERGE have plans"
    if ";" in inner:
        return "its text has a semicolon"
    if "\0" in text:
        return "its text is damaged"
    return ""


def plan_of(document: Any) -> Mapping[str, Any]:
    """Return the plan of the parsed answer to `EXPLAIN (FORMAT JSON)`.

    Raises:
        ValueError: the answer has another form.
    """
    if isinstance(document, Sequence) and document and isinstance(document[0], Mapping):
        document = document[0]
    plan = document.get("Plan") if isinstance(document, Mapping) else None
    if not isinstance(plan, Mapping):
        raise ValueError("the answer is not a plan")
    return plan


def nodes_of(plan: Mapping[str, Any]) -> list[PlanNode]:
    """Return the nodes of a plan, each before its children; at most 500."""
    found: list[PlanNode] = []
    todo: list[tuple[Mapping[str, Any], int, float]] = [(plan, 0, 1.0)]
    while todo and len(found) < _NODES_MOST:
        values, depth, loops = todo.pop()
        node = PlanNode(values, depth, loops)
        found.append(node)
        children = _children(values)
        outer = children[0] if children else None
        for at, child in reversed(list(enumerate(children))):
            times = loops
            is_inner = child.get("Parent Relationship") == "Inner" or at > 0
            if node.kind == "Nested Loop" and is_inner and outer is not None:
                rows = outer.get("Plan Rows", 1)
                times = loops * (float(rows) if isinstance(rows, int | float) else 1.0)
            if depth < _DEPTH_MOST:
                todo.append((child, depth + 1, times))
    return found


def tables_of(plan: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return (schema, table) of all scans, each once."""
    return tuple(dict.fromkeys(node.table for node in nodes_of(plan) if node.table[1]))


def findings_of(
    plan: Mapping[str, Any],
    sizes: Mapping[tuple[str, str], TableSize],
    *,
    work_mem: int = 4 << 20,
    hash_mem_multiplier: float = 2.0,
) -> tuple[Finding, ...]:
    """Return what is remarkable about a plan, the most expensive node first.

    sizes: by (schema, table). work_mem: bytes that a sort may use before it spills to disk.
    """
    found: list[tuple[float, Finding]] = []
    for node in nodes_of(plan):
        cost = node.number("Total Cost") * node.loops
        for finding in (
            *_scan(node, sizes),
            *_loop(node),
            *_spill(node, work_mem, hash_mem_multiplier),
            *_lossy(node, sizes, work_mem),
            *_estimate(node),
        ):
            found.append((cost, finding))
    found.sort(key=lambda item: -item[0])
    return tuple(dict.fromkeys(finding for _, finding in found))


def pruned(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan with the keys that are shown, and conditions without values; at most 200 nodes."""
    return _pruned(plan, 0, [_KEPT_NODES_MOST])


def _pruned(plan: Mapping[str, Any], depth: int, budget: list[int]) -> dict[str, Any]:
    """Return the node and its children. budget: the number of nodes that may still follow."""
    budget[0] -= 1
    kept = {key: _harmless(plan[key]) for key in _KEPT if key in plan}
    for key in _CONDITIONS:
        if isinstance(plan.get(key), str):
            kept[key] = _condition(plan[key])
    for key in ("Sort Key", "Group Key"):
        if isinstance(plan.get(key), list):
            kept[key] = [_condition(str(one)) for one in plan[key][:20]]
    if depth < _DEPTH_MOST and (children := _children(plan)):
        kept["Plans"] = [_pruned(child, depth + 1, budget) for child in children if budget[0] > 0]
    return kept


def _children(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    children = plan.get("Plans", ())
    return [one for one in children if isinstance(one, Mapping)] if isinstance(children, list) else []


def _harmless(value: Any) -> Any:
    return (
        one_line(value, 200)
        if isinstance(value, str)
        else value
        if isinstance(value, int | float)
        else str(value)[:200]
    )


def _condition(text: str) -> str:
    return one_line(statement_without_values(f"select {text}", "postgresql")[len("select ") :], 500)


def _name(node: PlanNode) -> str:
    schema, table = node.table
    return one_line(table if schema in ("", "public") else f"{schema}.{table}", 120)


def _scan(node: PlanNode, sizes: Mapping[tuple[str, str], TableSize]) -> Iterator[Finding]:
    if node.kind not in ("Seq Scan", "Parallel Seq Scan") or not node.table[1]:
        return
    size = sizes.get(node.table)
    rows = max(size.rows if size else 0.0, node.number("Plan Rows"))
    has_filter = "Filter" in node.values
    if rows * node.loops < _SCAN_ROWS:
        return
    text = f"full scan of {_about(rows)} rows of {_name(node)}"
    if node.loops >= 2:
        text += f", {_about(node.loops)} times"
    if has_filter:
        text += f", to keep {_about(node.number('Plan Rows'))}"
    yield Finding("full scan", text, _name(node))


def _loop(node: PlanNode) -> Iterator[Finding]:
    if (
        node.loops < _LOOPS
        or node.values.get("Parent Relationship") != "Inner"
        or node.kind in ("Materialize", "Memoize")
    ):
        return
    by = one_line(str(node.values.get("Index Name", "")), 120)
    what = f"{node.kind.lower()} of {_name(node)}{f' by {by}' if by else ''}" if node.table[1] else node.kind.lower()
    yield Finding("loop", f"a loop runs the {what} {_about(node.loops)} times", _name(node) if node.table[1] else "")


def _spill(node: PlanNode, work_mem: int, hash_mem_multiplier: float) -> Iterator[Finding]:
    if "Sort Space Type" in node.values or "Hash Batches" in node.values:  # real numbers
        if node.values.get("Sort Space Type") == "Disk":
            yield Finding("spill", f"sort on disk: {_size(node.number('Sort Space Used') * 1024)}")
        if (batches := node.number("Hash Batches")) > 1:
            yield Finding("spill", f"hash on disk: {int(batches)} batches")
        return
    size = node.number("Plan Rows") * (node.number("Plan Width") + _SORT_ROW)
    limit = work_mem * (hash_mem_multiplier if node.kind == "Hash" else 1.0)
    if node.kind in ("Sort", "Incremental Sort", "Hash") and size > limit:
        what = "hash" if node.kind == "Hash" else "sort"
        yield Finding(
            "spill",
            f"{what} of {_about(node.number('Plan Rows'))} rows, about {_size(size)}: more than the {_size(limit)} of"
            " work_mem, so it spills to disk",
        )


def _lossy(node: PlanNode, sizes: Mapping[tuple[str, str], TableSize], work_mem: int) -> Iterator[Finding]:
    if node.kind != "Bitmap Heap Scan":
        return
    if "Lossy Heap Blocks" in node.values:
        if (lossy := node.number("Lossy Heap Blocks")) > 0:
            yield Finding(
                "lossy",
                f"{_about(lossy)} pages of {_name(node)} are checked row by row: work_mem is too small",
                _name(node),
            )
        return
    size = sizes.get(node.table)
    pages = min(node.number("Plan Rows"), size.pages if size else 0)
    if pages * _BITMAP_ENTRY > work_mem:
        yield Finding(
            "lossy",
            f"the bitmap of {_about(pages)} pages of {_name(node)} does not fit into work_mem, so pages are checked row"
            " by row",
            _name(node),
        )


def _estimate(node: PlanNode) -> Iterator[Finding]:
    if "Actual Rows" not in node.values or node.number("Actual Loops") < 1:
        return
    planned, real = max(1.0, node.number("Plan Rows")), max(1.0, node.number("Actual Rows"))
    factor = max(planned / real, real / planned)
    if factor >= _WRONG_BY:
        where = f" of {_name(node)}" if node.table[1] else ""
        yield Finding(
            "estimate",
            f"{node.kind.lower()}{where}: {_about(planned)} rows were estimated, {_about(real)} came, off by a factor"
            f" of {factor:,.0f}",
            _name(node) if node.table[1] else "",
        )


def _about(number: float) -> str:
    return f"{number:,.0f}"


def _size(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB" if size >= 1 << 20 else f"{size / 1024:,.0f} KiB"

"""Index candidates of a plan, and the judgement of what the planner would do with them. Pure.

The columns come from the plan's own conditions: filters, joins and sorts. Advice is a hypothesis: the planner estimates
for an average value, which can mislead if values are skewed. Nothing is ever created.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from loadgen.outside_text import one_line
from loadgen.probes.postgres.plans import PlanNode, TableSize, nodes_of
from loadgen.probes.postgres.queries import identifier

__all__ = [
    "CANDIDATES_MOST",
    "Advice",
    "Candidate",
    "Trial",
    "Use",
    "best_of",
    "candidates_of",
    "statistics_wanted",
    "use_of",
]

CANDIDATES_MOST: Final = 5
"""The most candidates of a statement."""
_COLUMNS_MOST: Final = 3
_ROWS_LEAST: Final = 1_000
"""Tables with fewer rows get no index: a full scan of them is cheap."""
_GAIN: Final = 0.5
"""An index is proposed only if the cost becomes at most this part of the cost without it."""
_GAIN_OF_ORDER: Final = 0.1
"""The same for an index that only gives the order: the planner knows little about the pages that such a scan reads."""
_COST_LEAST: Final = 50.0
"""A cheaper statement gets no index. One page in sequence costs 1."""
_ALIKE: Final = 0.1
"""Of candidates whose savings differ by no more than this share, the one with the fewest columns is taken."""

Use = Literal["", "condition", "order"]
"""How a plan uses an index: not at all, to find rows, or only to read all rows in its order."""
Table = tuple[str, str]
"""Schema and name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that might help. A column may be an expression such as `lower("name")`."""

    schema: str
    table: str
    columns: tuple[str, ...]
    """Names, or expressions in SQL where `is_expression` is True."""
    is_expression: tuple[bool, ...]

    @property
    def definition(self) -> str:
        """Return the statement that would create the index. Only hypopg receives it, and simulates the index."""
        parts = (
            f"({one})" if is_expression else identifier(one)
            for one, is_expression in zip(self.columns, self.is_expression, strict=True)
        )
        return f"CREATE INDEX ON {identifier(self.schema)}.{identifier(self.table)} ({', '.join(parts)})"

    @property
    def text(self) -> str:
        """Return the index in words: `(tenant, id) of item`."""
        name = self.table if self.schema in ("", "public") else f"{self.schema}.{self.table}"
        return one_line(f"({', '.join(self.columns)}) of {name}", 300)


@dataclass(frozen=True, slots=True)
class Trial:
    """The planner's plan with one candidate."""

    candidate: Candidate
    cost: float
    """The cost of the whole statement, with the index."""
    use: Use
    size: int
    """Bytes that the index would have."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer for one statement. proposed: None if no candidate would help."""

    query_id: int
    statement: str
    """Without values."""
    cost: float
    proposed: Trial | None = None
    rows: float = 0.0
    """Of the table."""
    writers: int = 0
    """The number of statements that write to the table: each of them becomes slower."""
    tried: tuple[Trial, ...] = ()
    why: str = ""
    """Why there is no answer, such as a missing extension."""

    @property
    def text(self) -> str:
        """Return the advice as a hypothesis, or the reason for its absence."""
        if self.why:
            return self.why
        if self.proposed is not None:
            one = self.proposed
            statements = "1 statement writes" if self.writers == 1 else f"{self.writers:,} statements write"
            return (
                f"the planner would use an index on {one.candidate.text}:"
                f" cost {_cost(self.cost)} to {_cost(one.cost)} for the generic plan;"
                f" {self.rows:,.0f} rows; about {_size(one.size)}; {statements} to this table."
                " A hypothesis: values that are more frequent than the average can have another plan"
            )
        if self.tried:
            names = ", ".join(one.candidate.text for one in self.tried)
            is_used = any(one.use for one in self.tried)
            return f"an index on {names} {'would help little' if is_used else 'would not be used'}"
        return "no index was tried: the plan has no condition on a large table"


@dataclass(slots=True)
class _Wanted:
    """The columns of one table in the conditions of a plan."""

    equal: dict[str, bool] = field(default_factory=dict)
    """Columns and expressions that are compared with a value; whether each is an expression."""
    joined: dict[str, bool] = field(default_factory=dict)
    ranges: dict[str, bool] = field(default_factory=dict)
    sorted: list[str] = field(default_factory=list)


def candidates_of(
    plan: Mapping[str, Any],
    sizes: Mapping[Table, TableSize],
    distinct: Mapping[tuple[str, str, str], float] | None = None,
) -> tuple[Candidate, ...]:
    """Return at most five candidates for a plan that was made with VERBOSE, the most promising first.

    distinct: the number of different values by (schema, table, column), to order columns; unknown ones come last.
    """
    wanted = _wanted(plan)
    nodes = nodes_of(plan)
    scans = sorted(_poor_scans(nodes), key=lambda node: -node.number("Total Cost") * node.loops)
    tables = list(dict.fromkeys(node.table for node in scans))
    found: list[Candidate] = []
    for place in range(CANDIDATES_MOST):
        for table in tables:
            size = sizes.get(table)
            if size is None or 0 <= size.rows < _ROWS_LEAST or table not in wanted:
                continue
            choices = list(_choices(wanted[table], table, distinct or {}))
            if place < len(choices) and (one := _candidate(table, choices[place])) not in found:
                found.append(one)
    return tuple(found[:CANDIDATES_MOST])


def statistics_wanted(plan: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the tables whose statistics decide about the order of columns."""
    return tuple(dict.fromkeys(node.table for node in _poor_scans(nodes_of(plan))))


def use_of(plan: Mapping[str, Any], index: str) -> Use:
    """Return how a plan uses an index of this name."""
    found = [node for node in nodes_of(plan) if node.values.get("Index Name") == index]
    if not found:
        return ""
    return "condition" if any("Index Cond" in node.values for node in found) else "order"


def best_of(cost: float, trials: Iterable[Trial]) -> Trial | None:
    """Return the trial to propose, or None. cost: of the statement without an index."""
    gains: dict[Use, float] = {"condition": _GAIN, "order": _GAIN_OF_ORDER}
    good = [one for one in trials if cost >= _COST_LEAST and one.cost <= gains.get(one.use, -1.0) * cost]
    if not good:
        return None
    least = min(one.cost for one in good)
    alike = [one for one in good if one.cost - least <= _ALIKE * (cost - least)]
    return min(alike, key=lambda one: (len(one.candidate.columns), one.cost))


def _poor_scans(nodes: Iterable[PlanNode]) -> Iterator[PlanNode]:
    """Yield scans that read rows which they do not need: full scans, and index scans with a filter."""
    for node in nodes:
        is_scan = node.kind in ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")
        if is_scan and node.table[1] and (node.kind == "Seq Scan" or "Filter" in node.values):
            yield node


def _choices(
    wanted: _Wanted, table: Table, distinct: Mapping[tuple[str, str, str], float]
) -> Iterator[tuple[tuple[str, bool], ...]]:
    """Yield lists of (column, is expression) for one table, the most promising first."""

    def order(columns: Mapping[str, bool]) -> list[tuple[str, bool]]:
        return sorted(columns.items(), key=lambda item: -distinct.get((*table, item[0]), 0.0))

    equal = order(wanted.equal)[:_COLUMNS_MOST]
    joined, ranges = order(wanted.joined), list(wanted.ranges.items())
    sorts = [(one, False) for one in wanted.sorted[:_COLUMNS_MOST] if one not in wanted.equal]
    lists: list[list[tuple[str, bool]]] = [
        [*equal, *ranges[:1]] if equal and ranges else [],
        [*equal, *sorts] if equal and sorts else [],
        equal,
        [*joined[:1], *equal] if joined and equal else [],
        equal[:1],
        joined[:1],
        ranges[:1],
        sorts,
        joined[1:2],
        equal[1:2],
    ]
    seen: set[tuple[tuple[str, bool], ...]] = set()
    for one in lists:
        columns = tuple(dict.fromkeys(one))[:_COLUMNS_MOST]
        if columns and columns not in seen:
            seen.add(columns)
            yield columns


def _candidate(table: Table, columns: Sequence[tuple[str, bool]]) -> Candidate:
    return Candidate(*table, tuple(name for name, _ in columns), tuple(is_expression for _, is_expression in columns))


def _wanted(plan: Mapping[str, Any]) -> dict[Table, _Wanted]:
    """Return the columns in the conditions of a plan, by table."""
    nodes = nodes_of(plan)
    aliases: dict[str, Table] = {}
    for node in nodes:
        if node.table[1]:
            aliases.setdefault(str(node.values.get("Alias", node.table[1])), node.table)
    found: dict[Table, _Wanted] = {}
    for node in nodes:
        for key in ("Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter"):
            if isinstance(text := node.values.get(key), str):
                _add_condition(text, aliases, found)
        if node.kind in ("Sort", "Incremental Sort") and isinstance(keys := node.values.get("Sort Key"), list):
            _add_sort(keys, aliases, found)
    return found


def _add_condition(text: str, aliases: Mapping[str, Table], found: dict[Table, _Wanted]) -> None:
    from sqlglot import exp  # slow to import, and needed only for advice

    tree = _parsed(text)
    if tree is None:
        return
    for part in tree.flatten() if isinstance(tree, exp.And) else (tree,):
        one = part.unnest()
        if isinstance(one, exp.EQ):
            left, right = _target(one.this, aliases), _target(one.expression, aliases)
            if left and right:
                for table, column, is_expression in (left, right):
                    found.setdefault(table, _Wanted()).joined.setdefault(column, is_expression)
            elif side := left or right:
                found.setdefault(side[0], _Wanted()).equal.setdefault(side[1], side[2])
        elif isinstance(one, exp.In | exp.Is) and (side := _target(one.this, aliases)):
            found.setdefault(side[0], _Wanted()).equal.setdefault(side[1], side[2])
        elif isinstance(one, exp.GT | exp.GTE | exp.LT | exp.LTE):
            if side := _target(one.this, aliases) or _target(one.expression, aliases):
                found.setdefault(side[0], _Wanted()).ranges.setdefault(side[1], side[2])
        elif isinstance(one, exp.Column) and (side := _target(one, aliases)):  # a boolean column alone
            found.setdefault(side[0], _Wanted()).equal.setdefault(side[1], side[2])


def _add_sort(keys: Sequence[Any], aliases: Mapping[str, Table], found: dict[Table, _Wanted]) -> None:
    """Add a sort by plain columns of one table in one direction, which an index can replace."""
    columns: list[tuple[Table, str]] = []
    directions: set[bool] = set()
    for key in keys:
        text = str(key)
        is_down = text.endswith(" DESC")
        tree = _parsed(text.removesuffix(" DESC"))
        side = None if tree is None else _target(tree, aliases)
        if side is None or side[2]:
            return
        directions.add(is_down)
        columns.append((side[0], side[1]))
    if len({table for table, _ in columns}) == 1 and len(directions) == 1:
        wanted = found.setdefault(columns[0][0], _Wanted())
        wanted.sorted = wanted.sorted or [column for _, column in columns]


def _parsed(text: str) -> Any:
    """Return the syntax tree of a condition, or None if sqlglot cannot parse it."""
    from sqlglot import parse_one
    from sqlglot.errors import SqlglotError

    try:
        return parse_one(text[:10_000], read="postgres").unnest()
    except (SqlglotError, RecursionError, ValueError):
        return None


def _target(node: Any, aliases: Mapping[str, Table]) -> tuple[Table, str, bool] | None:
    """Return (table, column, False), or (table, expression, True) of a side of a comparison; None for a value."""
    from sqlglot import exp

    while isinstance(node, exp.Cast | exp.Paren):
        node = node.this
    if isinstance(node, exp.Column):
        table = aliases.get(node.table)
        return None if table is None else (table, node.name, False)
    if isinstance(node, exp.Func):
        columns = list(node.find_all(exp.Column))
        if len(columns) == 1 and (table := aliases.get(columns[0].table)) and not node.find(exp.Parameter):
            plain = node.copy()
            for column in plain.find_all(exp.Column):
                column.replace(exp.column(column.name, quoted=True))
            return table, plain.sql(dialect="postgres"), True
    return None


def _cost(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:,.1f}"


def _size(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB" if size >= 1 << 20 else f"{size / 1024:,.0f} KiB"

"""Asks the server for plans of statements with `$1`, and tries indexes that do not exist (hypopg). Changes nothing.

Each statement is explained in a read-only transaction that is rolled back, and never executed: no ANALYZE.

`EXPLAIN` needs the same rights as the statement, but a probe should not be able to write. So if the right to write is
missing, the search of an UPDATE or DELETE is explained: the SELECT that finds its rows.
"""

# ruff: noqa: S608 - all parts are numbers, quoted names, or a statement that the server has in its own statistics.

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from loadgen.outside_text import one_line
from loadgen.probes.postgres import queries
from loadgen.probes.postgres.connection import Connection, Denied
from loadgen.probes.postgres.plans import (
    TableSize,
    findings_of,
    plan_of,
    pruned,
    tables_of,
    why_not_explainable,
)
from loadgen.probes.postgres.server_state import Capabilities

__all__ = ["Explained", "NoPlan", "explain", "plan_body", "search_of", "table_sizes", "try_index"]

_LIMIT_S: Final = 3.0
_PARAMETER: Final = re.compile(r"\$(\d{1,5})")
_PREPARED: Final = "loadgen_probe_plan"
_GENERIC: Final = 160_000
"""From this version on, `EXPLAIN (GENERIC_PLAN)` exists."""
_DENIED: Final = "42501"
_NO_TABLE: Final = "42P01"


class NoPlan(Exception):
    """The statement has no plan. The text gives the reason, and what helps."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A generic plan, and the statement that it belongs to."""

    plan: Mapping[str, Any]
    text: str
    is_search: bool = False
    """Whether the plan is that of the search of an UPDATE or DELETE."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The plan with an index that does not exist."""

    plan: Mapping[str, Any]
    name: str
    """The name that the index has in the plan."""
    size: int
    """The size that the index would have, bytes, by hypopg's estimate."""


async def explain(connection: Connection, text: str, version: int, *, user: str = "") -> Explained:
    """Return the generic plan of a statement with `$1`, or of its search.

    version: `server_version_num`; servers before 16 prepare the statement. user: of the probe, for messages.

    Raises:
        NoPlan: the server cannot explain it, or the text is not one that is sent.
        Lost: the connection failed.
    """
    if why := why_not_explainable(text):
        raise NoPlan(why)
    text = text.rstrip().rstrip(";")
    try:
        await connection.query("BEGIN READ ONLY", _LIMIT_S)
        return Explained(await _explain(connection, text, version), text)
    except Denied as error:
        denied = error
    finally:
        await _roll_back(connection)
    search = search_of(text) if denied.code == _DENIED else ""
    if not search:
        raise NoPlan(_why(denied, user))
    try:
        await connection.query("BEGIN READ ONLY", _LIMIT_S)
        return Explained(await _explain(connection, search, version), search, is_search=True)
    except Denied as error:
        raise NoPlan(_why(error, user)) from None
    finally:
        await _roll_back(connection)


async def plan_body(connection: Connection, has: Capabilities, text: str) -> dict[str, Any]:
    """Return the body of a note with the plan of a statement in words, or with "why" there is no plan.

    Raises:
        Lost: the connection failed.
    """
    try:
        explained = await explain(connection, text, has.version, user=has.user)
    except NoPlan as error:
        return {"why": str(error)}
    plan = explained.plan
    sizes = await table_sizes(connection, tables_of(plan))
    work_mem = has.work_mem_bytes or 4 << 20
    found = findings_of(plan, sizes, work_mem=work_mem, hash_mem_multiplier=has.hash_mem_multiplier)
    return {
        "cost": plan.get("Total Cost"),
        "is_generic": True,
        "is_search": explained.is_search,
        "findings": [{"kind": one.kind, "text": one.text, "table": one.table} for one in found[:10]],
        "plan": pruned(plan),
    }


def search_of(text: str) -> str:
    """Return the SELECT that finds the rows of an UPDATE or DELETE; "" for other statements.

    Its parameters have new numbers, because the server rejects a statement in which a number is missing.
    """
    from sqlglot import exp, parse_one  # slow to import, and needed only without the right to write
    from sqlglot.errors import SqlglotError

    try:
        tree = parse_one(text, read="postgres")
        if not isinstance(tree, exp.Update | exp.Delete) or tree.args.get("with") or tree.args.get("with_"):
            return ""
        # A statement that writes needs the place of each row, which an index alone does not have.
        place = exp.column("ctid", table=exp.to_identifier(tree.this.alias_or_name))
        search = exp.select(place).from_(tree.this.copy())
        others = tree.args.get("from") or tree.args.get("from_")
        for other in [others.this] if others is not None else tree.args.get("using") or ():
            search = search.join(other.copy(), join_type="cross")
        if (where := tree.args.get("where")) is not None:
            search = search.where(where.this.copy())
        numbers: dict[str, int] = {}
        for one in search.find_all(exp.Parameter):
            number = numbers.setdefault(one.this.sql(), len(numbers) + 1)
            one.set("this", exp.Literal.number(number))
        return search.sql(dialect="postgres", comments=False)
    except (SqlglotError, RecursionError, ValueError, AttributeError):
        return ""


async def try_index(connection: Connection, schema: str, definition: str, text: str, version: int) -> Tried:
    """Return the plan of a statement as it would be with one more index, which is only simulated.

    schema: of the extension hypopg. definition: `CREATE INDEX ON ...`, made from quoted names.

    Raises:
        NoPlan: hypopg rejected the index, or there is no plan.
        Lost: the connection failed.
    """
    hypopg = queries.identifier(schema)
    try:
        await connection.query("BEGIN READ ONLY", _LIMIT_S)
        # Not from a list with LIMIT: the function must be called exactly once.
        ((found,),) = await connection.query(
            f"{queries.MARK}SELECT indexrelid, indexname"
            f" FROM {hypopg}.hypopg_create_index({queries.literal(definition)})",
            _LIMIT_S,
        )
        oid, name = int(found[0] or 0), found[1] or ""
        ((size,),) = await connection.query(f"{queries.MARK}SELECT {hypopg}.hypopg_relation_size({oid})", _LIMIT_S)
        plan = await _explain(connection, text.rstrip().rstrip(";"), version)
        return Tried(plan, name, int(size[0] or 0))
    except Denied as error:
        raise NoPlan(_why(error, "")) from None
    finally:
        await _roll_back(connection)
        if connection.is_open:
            with suppress(Denied):
                await connection.query(f"{queries.MARK}SELECT {hypopg}.hypopg_reset()", _LIMIT_S)


async def table_sizes(connection: Connection, tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str], TableSize]:
    """Return rows, pages and bytes of tables, by (schema, table)."""
    wanted = list(tables)[:100]
    if not wanted:
        return {}
    try:
        (rows,) = await connection.query(queries.table_sizes(wanted), _LIMIT_S)
    except Denied:
        return {}
    return {
        (schema or "", table or ""): TableSize(float(count or 0), int(pages or 0), int(size or 0))
        for schema, table, count, pages, size in rows
    }


async def _explain(connection: Connection, text: str, version: int) -> Mapping[str, Any]:
    if version >= _GENERIC:
        (rows,) = await connection.query(f"{queries.MARK}EXPLAIN (GENERIC_PLAN, VERBOSE, FORMAT JSON) {text}", _LIMIT_S)
    else:
        count = max((int(number) for number in _PARAMETER.findall(text)), default=0)
        values = f"({', '.join(['NULL'] * count)})" if count else ""
        await connection.query("SET LOCAL plan_cache_mode = force_generic_plan", _LIMIT_S)
        await connection.query(f"PREPARE {_PREPARED} AS {text}", _LIMIT_S)
        try:
            (rows,) = await connection.query(
                f"{queries.MARK}EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {_PREPARED}{values}", _LIMIT_S
            )
        finally:
            await _roll_back(connection)
            if connection.is_open:
                with suppress(Denied):
                    await connection.query(f"DEALLOCATE {_PREPARED}", _LIMIT_S)
    try:
        return plan_of(msgspec.json.decode((rows[0][0] or "").encode()))
    except (ValueError, IndexError):  # msgspec's DecodeError is a ValueError
        raise NoPlan("the server's answer is not a plan") from None


async def _roll_back(connection: Connection) -> None:
    if connection.is_open:
        with suppress(Denied):
            await connection.query("ROLLBACK", _LIMIT_S)


def _why(error: Denied, user: str) -> str:
    text = one_line(str(error), 200)
    if error.code == _DENIED:
        name = f' TO "{user}"' if user else ""
        return f"{text}: plans need the right to read the table, such as GRANT pg_read_all_data{name}"
    if error.code == _NO_TABLE:
        return f"{text} for the probe's user: set its search_path to that of the application"
    return text

"""Index advice on demand: tries candidates for the worst statements with hypopg. Nothing is ever created.

All of it runs in one session: hypopg keeps its indexes in the memory of the session, and each is removed at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from loadgen.outside_text import one_line
from loadgen.probes.database_settings import DatabaseTable
from loadgen.probes.postgres import queries
from loadgen.probes.postgres.advice import Advice, Trial, best_of, candidates_of, statistics_wanted, use_of
from loadgen.probes.postgres.connect import connect
from loadgen.probes.postgres.connection import Connection, Denied, Lost
from loadgen.probes.postgres.explain import NoPlan, explain, table_sizes, try_index
from loadgen.probes.postgres.fingerprint import tables_written
from loadgen.probes.postgres.server_state import Capabilities, capabilities_of
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.reader import NotRead, Tools
from loadgen.probes.spec import ProbeSpec
from loadgen.traces.convert.sql_text import statement_without_values

__all__ = ["STATEMENTS_MOST", "advise", "advise_on"]

STATEMENTS_MOST: Final = 5
"""The most statements that get advice."""
_LIMIT_S: Final = 3.0


async def advise(
    spec: ProbeSpec, tools: Tools, statements: Sequence[StatementKey], limit_s: float = 30.0
) -> tuple[Advice, ...]:
    """Return advice for statements that a probe has named, the worst first. Takes at most `limit_s`.

    Raises:
        NotRead: the server did not answer in time.
    """
    password = spec.table(DatabaseTable).password
    connection = None
    try:
        async with asyncio.timeout(limit_s):
            connection = await connect(
                spec.own["dsn"],
                tools.secret(password.secret) if password else "",
                port=5432,
                limit_s=min(limit_s, 5.0),
                permit=tools.permit,
                fixed={"options": queries.OPTIONS, "gssencmode": "disable"},
            )
            ((row,),) = await connection.query(queries.capabilities(), _LIMIT_S)
            has = capabilities_of(row)
            return await _advise(connection, has, statements[:STATEMENTS_MOST])
    except TimeoutError:
        raise NotRead(f"no advice within {limit_s:g} s") from None
    except (Lost, Denied) as error:
        raise NotRead(one_line(str(error), 300)) from None
    finally:
        if connection is not None:
            connection.close()


async def _advise(connection: Connection, has: Capabilities, statements: Sequence[StatementKey]) -> tuple[Advice, ...]:
    if not has.statements_schema:
        raise NotRead("the extension pg_stat_statements is missing: CREATE EXTENSION pg_stat_statements")
    ids = [key.query for key in statements]
    (rows,) = await connection.query(queries.statement_texts(has.statements_schema, ids), _LIMIT_S)
    texts = {(int(database or 0), int(query or 0)): text for _, database, query, _, _, text, _ in rows if text}
    (all_rows,) = await connection.query(queries.all_statement_texts(has.statements_schema), _LIMIT_S)
    writers = await asyncio.to_thread(_writers, [text or "" for _, text, _ in all_rows])
    found = []
    for key in statements:
        text = texts.get((key.database, key.query), "")
        if not text:
            found.append(Advice(key.query, "", 0.0, why="the server has forgotten the statement"))
        elif key.database != has.database_oid:
            found.append(Advice(key.query, "", 0.0, why="the statement is of another database than the probe"))
        else:
            found.append(await advise_on(connection, has, key.query, text, writers))
    return tuple(found)


async def advise_on(
    connection: Connection, has: Capabilities, query_id: int, text: str, writers: Counter[str]
) -> Advice:
    """Return advice for one statement with `$1`.

    writers: the number of statements that write to a table, by its name without schema.

    Raises:
        Lost: the connection failed.
    """
    statement = one_line(statement_without_values(text, "postgresql"), 500)
    if not has.hypopg_schema:
        why = "no index can be tried: the extension hypopg is missing; what gives it: CREATE EXTENSION hypopg"
        return Advice(query_id, statement, 0.0, why=why)
    try:
        explained = await explain(connection, text, has.version, user=has.user)
    except NoPlan as error:
        return Advice(query_id, statement, 0.0, why=f"no plan: {error}")
    plan, cost = explained.plan, float(explained.plan.get("Total Cost", 0))
    tables = statistics_wanted(plan)
    sizes = await table_sizes(connection, tables)
    distinct = await _distinct(connection, tables)
    trials = []
    for candidate in candidates_of(plan, sizes, distinct):
        try:
            tried = await try_index(connection, has.hypopg_schema, candidate.definition, explained.text, has.version)
        except NoPlan:
            continue
        after = float(tried.plan.get("Total Cost", cost))
        trials.append(Trial(candidate, after, use_of(tried.plan, tried.name), tried.size))
    best = best_of(cost, trials)
    if best is None:
        return Advice(query_id, statement, cost, tried=tuple(trials))
    table = best.candidate.schema, best.candidate.table
    rows = sizes[table].rows if table in sizes else 0.0
    return Advice(query_id, statement, cost, best, max(0.0, rows), writers[best.candidate.table], tuple(trials))


async def _distinct(connection: Connection, tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str, str], float]:
    """Return the number of different values by (schema, table, column), as far as the user may read it."""
    listed = list(tables)[:50]
    if not listed:
        return {}
    try:
        (rows,) = await connection.query(queries.distinct_values(listed), _LIMIT_S)
    except Denied:
        return {}
    return {(schema or "", table or "", column or ""): float(n or 0) for schema, table, column, n in rows}


def _writers(texts: Iterable[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts:
        found.update({name.rpartition(".")[2] for name in tables_written(text)})
    return found

"""Tables about the databases of a run, for the terminal and Markdown: statements, lock chains, active sessions. Pure.

A part without content has no table. All texts have been made harmless when they were stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from loadgen.probes.shown.database_facts import DatabaseFacts, Statement
from loadgen.probes.shown.lock_chains import ChainTree, TreeRow
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.short_texts import cut_at_end
from loadgen.units import format_count, quantity

__all__ = ["database_tables", "page_databases"]

_STATEMENTS_MOST = 10
"""The most statements of a terminal; the page has more."""
_STATEMENT = 120
"""The most characters of a statement in a table."""
_PLANS_MOST = 5


def database_tables(databases: Iterable[DatabaseFacts]) -> Iterator[Table]:
    """Yield the tables of each database: statements, lock chains, the worst trees, deadlocks, active sessions."""
    for one in databases:
        yield from (table for table in _tables(one) if table.rows)


def page_databases(databases: Iterable[DatabaseFacts]) -> list[dict[str, object]]:
    """Return `databases` of the report document: the facts, and sentences about them in `notes` and `sessions_note`."""
    return [
        {
            **msgspec.structs.asdict(one),
            "notes": _statement_notes(one),
            "sessions_note": _sessions_note(one, sum(wait.sessions for wait in one.waits)),
        }
        for one in databases
    ]


def _tables(one: DatabaseFacts) -> Iterator[Table]:
    yield Table(
        f"Database {one.probe}: statements by added time",
        ("statement", "calls", "mean ms", "added s", "share"),
        tuple(_statement_rows(one)),
        note="\n".join([*_statement_notes(one), *_plan_notes(one)]),
    )
    yield Table(
        f"Database {one.probe}: sessions that waited for locks",
        ("who waits for whom", "samples x sessions", "most", "longest s"),
        tuple(
            (chain.text, format_count(chain.waited), format_count(chain.most), _figure(chain.longest_s))
            for chain in one.chains
        ),
    )
    for tree in one.trees:
        yield _tree(one.probe, tree)
    yield Table(f"Database {one.probe}: deadlocks", ("", ""), tuple(_deadlock_rows(one)), words=2)
    total = sum(wait.sessions for wait in one.waits)
    yield Table(
        f"Database {one.probe}: active sessions by wait event",
        ("wait event", "mean", "share"),
        tuple(
            (
                wait.event or "no wait: on a CPU, or ready to run",
                _figure(wait.sessions),
                _percent(wait.sessions / total),
            )
            for wait in one.waits
        ),
        note=_sessions_note(one, total),
    )


# -- statements -----------------------------------------------------------------------------------


def _statement_rows(one: DatabaseFacts) -> Iterator[tuple[str, ...]]:
    for n, line in enumerate(one.statements[:_STATEMENTS_MOST], 1):
        yield (
            f"{n}. {cut_at_end(_text(line), _STATEMENT)}",
            format_count(round(line.calls)),
            _figure(line.mean_ms),
            _figure(line.added_ms / 1_000),
            _percent(line.share),
        )
    left = one.statements[_STATEMENTS_MOST:]
    others = one.others
    if left or others is not None:
        yield (
            "all others",
            format_count(round(sum(line.calls for line in left) + (others.calls if others else 0.0))),
            PLACEHOLDER,
            _figure((sum(line.added_ms for line in left) + (others.added_ms if others else 0.0)) / 1_000),
            _percent(sum(line.share for line in left) + (others.share if others else 0.0)),
        )


def _text(line: Statement) -> str:
    return line.text or f"statement {line.query_id}, text unknown"


def _statement_notes(one: DatabaseFacts) -> list[str]:
    """Return sentences about the added time of a database: what was subtracted, and what is unknown."""
    found = []
    if one.statements and one.baseline_s:
        found.append(
            f"Added: execution time during the load, minus that of the {_figure(one.baseline_s)} s before it at the"
            " same rate."
        )
    elif one.statements:
        found.append(
            "Statements were not read before the load, so nothing is subtracted: added time is the whole time."
        )
    if one.statements and not any(line.text for line in one.statements):
        found.append("Their texts and plans are read after the load, if the server answers in time.")
    if one.evicted:
        found.append(f"The server forgot {quantity(one.evicted, 'statement')}: their time is unknown.")
    if one.restarted:
        found.append(
            f"The server counted {quantity(one.restarted, 'statement')} again from 0: their time in that interval is"
            " unknown."
        )
    if one.unknown_s:
        why = f": {'; '.join(one.why_unknown)}" if one.why_unknown else ""
        found.append(f"The statements of {_figure(one.unknown_s)} s of the load are unknown{why}.")
    if one.own_ms and one.statements:
        found.append(f"The probe's own statements took {_figure(one.own_ms)} ms. They are not in the table.")
    return found


def _plan_notes(one: DatabaseFacts) -> Iterator[str]:
    for n, line in enumerate(one.statements[:_PLANS_MOST], 1):
        if line.plan:
            of = "plan of its search" if line.is_search else "plan"
            yield f"{n}, {of}: {'; '.join(line.plan)}."
        elif line.why_no_plan:
            yield f"{n}: no plan, because {line.why_no_plan}."


# -- locks ----------------------------------------------------------------------------------------


def _tree(probe: str, tree: ChainTree) -> Table:
    rows = [line for row in tree.rows for line in _session_lines(row)]
    note = f"Not listed: {quantity(tree.left_out, 'more waiting session')}." if tree.left_out else ""
    seen = f", one of {format_count(tree.samples)} such samples" if tree.samples > 1 else ""
    title = f"Database {probe}: lock chain at {_figure(tree.at_s)} s{seen}, {quantity(tree.waiting, 'session')} waiting"
    return Table(title, ("session, and those that wait for it", "waits s"), tuple(rows), note=note)


def _session_lines(row: TreeRow) -> Iterator[tuple[str, str]]:
    """Yield the line of a session, then its statements and locks, one step deeper."""
    deadlock = ", in a deadlock" if row.in_deadlock else ""
    since = f" for {_figure(row.in_state_s)} s" if row.depth == 0 and row.in_state_s is not None else ""
    state = f", {row.state}{since}" if row.state else ""
    table = f", for {row.relation}" if row.relation else ""
    pid = f" ({row.pid})" if row.pid else ""
    name = f"{'  ' * row.depth}{row.application or 'a session'}{pid}{state}{deadlock}{table}"
    yield name, PLACEHOLDER if row.waits_s is None else _figure(row.waits_s)
    inner = "  " * row.depth + "| "
    yield from ((f"{inner}before: {cut_at_end(text, _STATEMENT)}", "") for text in row.earlier)
    if row.statement:
        last = "last: " if row.state.startswith("idle") else ""
        yield f"{inner}{last}{cut_at_end(row.statement, _STATEMENT)}", ""
    yield from ((f"{inner}holds: {text}", "") for text in row.holds)


def _deadlock_rows(one: DatabaseFacts) -> Iterator[tuple[str, str]]:
    if one.deadlock_count:
        yield "counted by the server", format_count(one.deadlock_count)
    for found in one.deadlocks:
        statements = f": {'; '.join(cut_at_end(text, _STATEMENT) for text in found.statements)}"
        yield (
            f"seen at {_figure(found.at_s)} s",
            f"{' and '.join(found.sessions)}{statements if found.statements else ''}",
        )


# -- sessions -------------------------------------------------------------------------------------


def _sessions_note(one: DatabaseFacts, total: float) -> str:
    if one.by_time is None:
        return ""
    text = f"Mean of {format_count(one.samples)} samples: {_figure(total)}; by the execution time of statements:"
    text += f" {_figure(one.by_time)}."
    if one.agrees:
        return text
    return f"{text} They differ by more than the error of sampling: a session is also active while it plans and parses."


def _figure(value: float) -> str:
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if abs(share) < 0.995 else f"{100 * share:.0f} %"

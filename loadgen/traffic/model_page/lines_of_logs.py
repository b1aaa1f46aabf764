"""Sections about the lines of the logs: the accounting, what logs do not contain, and what the scenario leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.static_page import table_html
from loadgen.traffic.model.model_counts import MOST_STATES
from loadgen.traffic.model_page.facts import PageFacts, file_name
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.rows.accounting import Accounting
from loadgen.traffic.scenario.draft_edges import LEAST_EDGE_SHARE
from loadgen.units import format_count, format_ratio, format_share, quantity

__all__ = ["accounting_section", "left_out_section", "missing_sentences"]

_WRITES: Final = ("POST", "PUT", "PATCH")


def accounting_section(traffic: Traffic) -> Iterator[str]:
    """Yield where each line went."""
    accounting = traffic.accounting
    rows = [("taken", kind, n) for kind, n in sorted(accounting.taken_by_format.items()) if n]
    rows += [("excluded", reason, n) for reason, n in sorted(accounting.excluded.items())]
    rows += [("rejected", reason, n) for reason, n in sorted(accounting.rejected.items())]
    rows.append(("directives", "header lines, comments, blank lines", accounting.directives))
    cells = [(part, text, format_count(n), _share(n, accounting.read)) for part, text, n in rows]
    cells.append(
        ("read", quantity(len(traffic.files), "file"), format_count(accounting.read), _share(1, 1)),
    )
    yield table_html(Table("", ("lines", "which", "count", "share"), tuple(cells), words=2))
    parts = accounting.taken, accounting.excluded.total(), accounting.rejected.total(), accounting.directives
    yield (
        f"<p>{format_count(accounting.read)} read = {' + '.join(map(format_count, parts))} "
        f"(taken, excluded, rejected, directives).{'' if accounting.adds_up else ' This does not add up: a bug.'}</p>"
    )
    yield from _first_rejected(accounting)


def _first_rejected(accounting: Accounting) -> Iterator[str]:
    """Yield the first rejected line of each reason, with letters and digits masked."""
    examples = accounting.examples()
    firsts = [(reason, examples[reason][0]) for reason in sorted(accounting.rejected) if examples.get(reason)]
    if firsts:
        rows = tuple((reason, f"{file_name(one.file)}:{one.line}", one.outline) for reason, one in firsts)
        note = "The first rejected line of each reason, with letters as a or A and digits as 0."
        yield table_html(Table("", ("rejected", "place", "outline"), rows, words=3, note=note))


def missing_sentences(facts: PageFacts) -> list[str]:
    """Return sentences about what the logs cannot show."""
    traffic, requests = facts.traffic, facts.counts.requests
    writes = sum(name.count for name in traffic.names.kept if name.name.partition(" ")[0] in _WRITES)
    queries, taken = int(requests.with_query.sum()), max(1, int(requests.requests.sum()))
    found = [
        f"Bodies: {quantity(writes, 'request')} ({format_share(writes / taken)}) had a method with a body (POST, "
        "PUT, PATCH). The scenario sends none until you write them at its TODO comments.",
        f"Queries: {quantity(queries, 'request')} ({format_share(queries / taken)}) had a query. Names and values of "
        "queries are not kept, because they may be personal.",
        "Headers, cookies and tokens: values that a client takes from an earlier answer are unknown.",
        "Cached hits: requests that a browser or a CDN in front of this server answered have no line.",
        "Retries: a request that a client or proxy sent again is counted as a further request.",
        "Failures before the server: clients that could not connect, or gave up, have no line.",
        "Time zone of people: all times are UTC. The logs do not show the local time of the users.",
    ]
    if not traffic.has_fractions:
        found.append(
            "Fractions of seconds: all stamps are whole seconds, so each is taken as uniform within its second. Pauses "
            "below 2 s depend on this assumption."
        )
    return [*found, *traffic.limits]


def left_out_section(facts: PageFacts) -> Iterator[str]:
    """Yield what was excluded from the model, with numbers."""
    yield table_html(Table("", ("left out", "reason, and effect", "count", "share"), tuple(_left_out(facts)), words=2))


def _left_out(facts: PageFacts) -> Iterator[tuple[str, str, str, str]]:
    traffic, counts = facts.traffic, facts.counts
    accounting, sessions, names = traffic.accounting, traffic.sessions, traffic.names
    for reason, n in sorted(accounting.excluded.items()):
        yield "lines", reason, format_count(n), _share(n, accounting.read)
    for reason, n in sorted(accounting.rejected.items()):
        yield "lines", f"rejected: {reason}", format_count(n), _share(n, accounting.read)
    if sessions.shared_users:
        why = f"of {quantity(sessions.shared_users, 'user')} that are gateways or programs"
        yield (
            "requests",
            why,
            format_count(sessions.shared_requests),
            _share(sessions.shared_requests, accounting.taken),
        )
    beyond = sum(name.count for name in names.kept[MOST_STATES:])
    if beyond or names.other_count:
        n = beyond + names.other_count
        why = f"names without a node of their own ({format_count(names.rare_names)} of these names: too few users)"
        yield "requests", f"{why}; node {OTHER}", format_count(n), _share(n, accounting.taken)
    if sessions.cut:
        why = "begin or end near the ends of the log; " + (
            "they count for starts and requests, not for order, length and pauses"
            if counts.are_sessions_whole
            else "most sessions are cut, so they count like whole ones"
        )
        yield "sessions", why, format_count(sessions.cut), _share(sessions.cut, sessions.count)
    moves = sum(int(one.walks.moves.sum() + one.walks.leaves.sum()) for one in counts.classes)
    kept = sum(edge.count for graph in facts.draft.graphs for row in graph.edges.values() for edge in row)
    if moves > kept:
        why = f"successors of a node with less than {format_share(LEAST_EDGE_SHARE)}; others take their place"
        yield "steps", why, format_count(moves - kept), _share(moves - kept, moves)
    hidden = sum(one.hidden for one in counts.values.values())
    if hidden:
        n = sum(one.hidden_requests for one in counts.values.values())
        why = f"{quantity(hidden, 'value')} of parameters that may be personal or secret; other values take their place"
        yield "requests", why, format_count(n), _share(n, accounting.taken)
    rare = int(np.count_nonzero(counts.requests.with_query))
    if rare:
        n = int(counts.requests.with_query.sum())
        yield "queries", f"of {quantity(rare, 'name')}: sent without", format_count(n), _share(n, accounting.taken)


def _share(count: int, of: int) -> str:
    return format_ratio(count / of) if of else PLACEHOLDER

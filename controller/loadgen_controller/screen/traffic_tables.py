"""Tables of access logs for `loadgen model`: what they contain, and the names of the requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import numpy as np

from loadgen.report.report_parts import Table
from loadgen.report.short_texts import cut_in_middle
from loadgen.traffic.formats.json_lines import FIELDS
from loadgen.traffic.model.gap_bins import fitted
from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.scenario.draft import Draft
from loadgen.units import NS_PER_S, NS_PER_US, format_count, format_duration, format_share, quantity

__all__ = ["class_table", "content_table", "name_table"]

_STATUSES: Final = 6
_BUSIEST: Final = 2
_WIDEST_KIND, _WIDEST_NODE = 30, 20


def content_table(traffic: Traffic, *, by_user: bool) -> Table:
    """Return the table of lines, times, statuses, users and sessions.

    by_user: a user is the user field of the log, not the address and the agent.
    """
    accounting, sessions, names = traffic.accounting, traffic.sessions, traffic.names
    rows = [("lines read", format_count(accounting.read), quantity(len(traffic.files), "file"))]
    rows += [("taken", format_count(n), kind) for kind, n in sorted(accounting.taken_by_format.items()) if n]
    lines = accounting.read - accounting.directives
    rows += [
        ("excluded", format_count(n), f"{format_share(n / lines)}: {reason}")
        for reason, n in sorted(accounting.excluded.items())
    ]
    rows += [("rejected", format_count(n), reason) for reason, n in sorted(accounting.rejected.items())]
    if accounting.directives:
        rows.append(("directives", format_count(accounting.directives), "header lines, comments, blank lines"))
    rows.append(("time span", _span(traffic), f"{_utc(traffic.first_us)} to {_utc(traffic.last_us)} UTC"))
    rows.append(("durations", format_count(traffic.with_duration), _about_durations(traffic)))
    if traffic.mappings:
        mapping = traffic.mappings[min(traffic.mappings)]
        rows.append(("JSON members", format_count(len(mapping)), _members(mapping)))
    statuses = sorted(traffic.statuses.items(), key=lambda item: (-item[1], item[0]))[:_STATUSES]
    text = ", ".join(f"{status:03}: {format_count(count)}" for status, count in statuses)
    rows.append(("statuses", format_count(len(traffic.statuses)), text))
    rows.append(("users", format_count(sessions.users), "the user field" if by_user else "address and agent"))
    others = ", ".join(
        f"{format_count(count)} with {format_duration(seconds * NS_PER_S)}"
        for seconds, count in sessions.counts_by_timeout.items()
    )
    rows.append(("sessions", format_count(sessions.count), others))
    median, p95 = (int(value) for value in np.quantile(sessions.lengths, (0.5, 0.95), method="inverted_cdf"))
    rows.append(("requests per session", f"{sessions.lengths.mean():.2f}", f"mean; median {median}, p95 {p95}"))
    rows.append(("cut sessions", format_count(sessions.cut), "parts of them may be before or after the log"))
    if sessions.shared_users:
        count = format_count(sessions.shared_requests)
        place = "in no session" if traffic.exclusions.excludes("shared") else "also in sessions"
        rows.append(
            ("shared users", format_count(sessions.shared_users), f"many requests at once; {count} requests, {place}")
        )
    kept = f"{format_count(names.other_names)} more in {OTHER}; of few users: {format_count(names.rare_names)}"
    rows.append(("names", format_count(len(names.kept)), kept))
    return Table("", ("", "details", "count"), tuple((a, c, b) for a, b, c in rows), words=2)


def name_table(traffic: Traffic, top: int) -> Table:
    """Return the table of names, the busiest first. top: the most names; all others are one more row."""
    names, taken, firsts = traffic.names, traffic.accounting.taken, traffic.sessions.first_names
    cells = [
        (
            name.name,
            format_count(name.count),
            format_share(name.count / taken),
            format_count(name.users),
            format_count(n),
        )
        for name, n in zip(names.kept, firsts, strict=False)
    ][:top]
    rest = sum(name.count for name in names.kept[top:])
    if rest:
        label = quantity(len(names.kept) - top, "more name")
        cells.append((label, format_count(rest), format_share(rest / taken), "", format_count(sum(firsts[top:-1]))))
    if names.other_count:
        share = format_share(names.other_count / taken)
        cells.append((OTHER, format_count(names.other_count), share, "", format_count(firsts[-1])))
    columns = ("name", "requests", "share", "users", "first of a session")
    return Table("", columns, tuple(cells))


def class_table(counts: ModelCounts, draft: Draft) -> Table:
    """Return the table of the kinds of sessions: what tells them apart. actions: mean. pause: the median."""
    names, node_of = [*counts.states, OTHER], {node.of: node.name for node in draft.nodes}
    sessions = sum(len(one.starts) for one in counts.classes)
    cells = []
    for graph, one in zip(draft.graphs, counts.classes, strict=True):
        visits, pause = one.walks.visits, fitted(one.walks.gaps.sum((0, 1)))
        actions = max(1, int(visits.sum()))
        busiest = [int(at) for at in np.argsort(-visits, kind="stable")[:_BUSIEST] if visits[at]]
        cells.append(
            (
                cut_in_middle(graph.name, _WIDEST_KIND),
                ", ".join(
                    f"{cut_in_middle(node_of[names[at]], _WIDEST_NODE)} {format_share(visits[at] / actions)}"
                    for at in busiest
                ),
                format_share(len(one.starts) / sessions),
                f"{actions / max(1, one.walks.sessions):.2f}",
                "" if pause is None else format_duration(round(pause.median * NS_PER_S)),
            )
        )
    columns = ("kind of sessions", "busiest nodes", "share", "actions", "pause")
    return Table("", columns, tuple(cells), words=2)


def _about_durations(traffic: Traffic) -> str:
    if traffic.with_duration == traffic.accounting.taken:
        return "all requests have one"
    share = format_share(1 - traffic.with_duration / traffic.accounting.taken)
    return f"{share} have none: pauses after them include the response"


def _members(mapping: Mapping[str, str]) -> str:
    """Return from which members the times and the user are read, and which fields have no member."""
    found = ", ".join(f"{name}={mapping[name]}" for name in ("time", "took", "client", "agent") if name in mapping)
    missing = [name for name in FIELDS if name not in mapping and name not in ("request", "method", "url", "user")]
    return f"{found}; no {', '.join(missing)}" if missing else found


def _utc(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(traffic: Traffic) -> str:
    return format_duration((traffic.last_us - traffic.first_us) * NS_PER_US)

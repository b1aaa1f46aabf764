"""The steps from a log to a scenario: what each one did, and how often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.scenario.draft import Draft
from loadgen.traffic.sessions.actions import QUICK_US
from loadgen.traffic.sessions.session_arrivals import SessionArrivals
from loadgen.units import NS_PER_S, NS_PER_US, format_count, format_duration, format_share, quantity

__all__ = ["step_lines"]


def step_lines(traffic: Traffic, draft: Draft, arrivals: Sequence[SessionArrivals] | None) -> list[str]:
    """Return a line for each step. traffic: with a model. arrivals: as for the draft."""
    counts = traffic.model
    assert counts is not None
    steps = {
        "excluded": _excluded(traffic),
        "names": _names(traffic, counts),
        "sessions": _sessions(traffic, counts),
        "actions": _actions(counts),
        "kinds": f"{len(counts.classes)}, by the order and the tempo of actions",
        "splits": _splits(draft),
        "pauses": _pauses(draft),
        "starts": _starts(traffic, arrivals),
        "values": _values(counts),
    }
    width = max(map(len, steps))
    return [f"{step:{width}}  {text}" for step, text in steps.items()]


def _excluded(traffic: Traffic) -> str:
    accounting = traffic.accounting
    excluded = accounting.excluded.total()
    lines = excluded + accounting.taken
    return f"{format_count(excluded)} of {format_count(lines)} requests ({format_share(excluded / lines)})"


def _names(traffic: Traffic, counts: ModelCounts) -> str:
    share = format_share(int(counts.requests.requests[:-1].sum()) / max(1, int(counts.requests.requests.sum())))
    return (
        f"{len(counts.states)} of {quantity(len(traffic.names.kept), 'name')} are nodes, with {share} of the requests"
    )


def _sessions(traffic: Traffic, counts: ModelCounts) -> str:
    timeout = format_duration(round(traffic.sessions.timeout_s * NS_PER_S))
    whole = sum(one.walks.sessions for one in counts.classes)
    what = "whole" if counts.are_sessions_whole else "counted, cut ones too, because most are cut"
    count = format_count(traffic.sessions.count)
    return f"{format_count(whole)} of {count} are {what}; a silence of {timeout} ends a session"


def _actions(counts: ModelCounts) -> str:
    requests, actions = int(counts.requests.requests.sum()), int(counts.requests.actions.sum())
    within = format_duration(QUICK_US * NS_PER_US)
    parts = quantity(requests - actions, "part")
    return f"{parts} of actions: requests that start within {within} after the end of those before them"


def _splits(draft: Draft) -> str:
    if not draft.again:
        return "no node is split by the node before it"
    return f"{len(draft.again)}, by the node before: {', '.join(name for name, _ in draft.again)}"


def _pauses(draft: Draft) -> str:
    thinks = [edge.think for graph in draft.graphs for row in graph.edges.values() for edge in row if edge.to]
    own = [one for one in thinks if one is not None]
    lognormal = sum(one.function == "lognormal" for one in own)
    return (
        f"{quantity(len(thinks), 'edge')}: {lognormal} lognormal, {len(own) - lognormal} by quantiles, "
        f"{len(thinks) - len(own)} with the usual pause"
    )


def _starts(traffic: Traffic, arrivals: Sequence[SessionArrivals] | None) -> str:
    if arrivals is None:
        return f"a mean rate: {traffic.no_arrivals}"
    kinds = {"at random" if one.cv is None else "in bursts" if one.cv > 1 else "evenly" for one in arrivals}
    spacing = " and ".join(sorted(kinds))
    shown = ", ".join(f"{one.dispersion:.2f}" for one in arrivals)
    return f"{spacing} within each minute; dispersion {shown} (1: at random)"


def _values(counts: ModelCounts) -> str:
    shown = sum(values.shown_requests for values in counts.values.values())
    hidden = sum(values.hidden_requests for values in counts.values.values())
    if not shown + hidden:
        return "no name has parameters"
    files = quantity(len(counts.values), "name")
    share = format_share(hidden / (shown + hidden))
    ranks = int(np.sum([not values.shown for values in counts.values.values()]))
    made = f"; {ranks} with placeholders" if ranks else ""
    return f"{files} with parameters{made}; {share} of such requests have rare or private values, which are left out"

"""`traffic.json`: what was counted in logs, with sorted keys, so that git shows what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen.traffic.model.model_counts import ClassCounts, ModelCounts
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.scenario.draft import Draft, DraftGraph
from loadgen.traffic.scenario.options_json import options_json
from loadgen.traffic.scenario.write_scenario import content_hash, csv_text
from loadgen.traffic.sessions.session_arrivals import BIN_S, SessionArrivals, session_arrivals

__all__ = ["FORMAT", "traffic_json"]

FORMAT: Final = 1


def traffic_json(
    traffic: Traffic, arrivals: Sequence[SessionArrivals] | None, draft: Draft, options: LogOptions
) -> str:
    """Return the text of the file. The text has no addresses, agents, users or values of parameters."""
    counts = traffic.model
    assert counts is not None
    found = {
        "format": FORMAT,
        "inputs": list(traffic.files),
        "accounting": traffic.accounting.as_json(),
        "exclusions": traffic.exclusions.as_json(),
        "queries": {
            name: round(share, 6)
            for name, share in zip(counts.states, counts.requests.query_shares, strict=False)
            if share
        },
        "statuses": [
            {"name": name, "codes": {str(status): int(count) for status, count in enumerate(row) if count}}
            for name, row in zip(counts.states, counts.requests.statuses, strict=False)
        ],
        "server_time": [
            {"name": name, "s": int(took_us) / 1e6}
            for name, took_us in zip(counts.states, counts.requests.took_us, strict=False)
        ]
        if counts.requests.took_us.any()
        else [],
        "names": [{"raw": name.name, "name": name.name, "count": name.count} for name in traffic.names.kept],
        "states": list(counts.states),
        "nodes": {node.name: node.of for node in draft.nodes},
        "again": dict(draft.again),
        "choices": {one.variable: one.of for one in draft.choices},
        "files": {file.path: content_hash(csv_text(file)) for file in draft.data_files},
        "options": options_json(options),
        "actions": _actions(counts),
        "sessions": {
            "count": traffic.sessions.count,
            "timeout_s": traffic.sessions.timeout_s,
            "cut": traffic.sessions.cut,
            "are_whole": counts.are_sessions_whole,
            "shared": {
                "users": traffic.sessions.shared_users,
                "requests": traffic.sessions.shared_requests,
                "are_in_sessions": not traffic.exclusions.excludes("shared"),
            },
        },
        "classes": [
            _class(graph, one, sum(len(other.starts) for other in counts.classes))
            for graph, one in zip(draft.graphs, counts.classes, strict=True)
        ],
        "arrivals": None if arrivals is None else _arrivals(traffic, arrivals, draft),
        "fidelity": {"verdict": "not measured", "rows": []},
    }
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _actions(counts: ModelCounts) -> dict[str, list[dict[str, object]]]:
    """Return the parts of actions by name of the main request. mean: requests for each action."""
    names, requests = [*counts.states, OTHER], counts.requests
    return {
        names[at]: [
            {"name": names[child], "mean": int(requests.children[at, child]) / int(requests.actions[at])}
            for child in np.flatnonzero(requests.children[at])
        ]
        for at in np.flatnonzero(requests.children.any(1))
    }


def _class(graph: DraftGraph, one: ClassCounts, sessions: int) -> dict[str, object]:
    lengths, counted = one.lengths, max(1, int(one.lengths.sum()))
    return {
        "name": graph.name,
        "share": len(one.starts) / sessions,
        "sessions": len(one.starts),
        "starts": graph.starts,
        "edges": [
            {"from": node, "to": edge.to, "count": edge.count, "share": edge.count / total}
            for node, row in graph.edges.items()
            for total in [sum(edge.count for edge in row)]
            for edge in row
        ],
        "think": [
            {"from": node, "to": edge.to, "think": str(edge.think)}
            for node, row in graph.edges.items()
            for edge in row
            if edge.think
        ],
        "length": {"mean": int(one.walks.visits.sum()) / counted, "share_of_1": int(lengths[1]) / counted},
    }


def _arrivals(traffic: Traffic, arrivals: Sequence[SessionArrivals], draft: Draft) -> dict[str, object]:
    everything = session_arrivals(traffic.sessions.starts)
    return {
        **_counts(everything),
        "begin_s": everything.begin_s,
        "bin_s": BIN_S,
        "classes": {graph.name: _counts(one) for graph, one in zip(draft.graphs, arrivals, strict=True)},
    }


def _counts(arrivals: SessionArrivals) -> dict[str, object]:
    return {
        "counts": list(arrivals.counts),
        "dispersion": arrivals.dispersion,
        "dispersion_step_s": arrivals.step_s,
    }

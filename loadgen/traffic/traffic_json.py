"""`traffic.json`: what was counted in logs, with sorted keys, so that git shows what changed."""

from __future__ import annotations

import json
from typing import Final

from loadgen.traffic.draft import Draft
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.session_arrivals import BIN_S, SessionArrivals

__all__ = ["FORMAT", "traffic_json"]

FORMAT: Final = 1


def traffic_json(traffic: Traffic, arrivals: SessionArrivals | None, draft: Draft) -> str:
    """Return the text of the file. The text has no addresses, agents, users or values of parameters."""
    counts = traffic.model
    assert counts is not None
    edges = [
        {"from": node, "to": edge.to, "count": edge.count, "share": edge.count / total}
        for node, row in draft.edges.items()
        for total in [sum(edge.count for edge in row)]
        for edge in row
    ]
    thinks = [
        {"from": node, "to": edge.to, "think": str(edge.think)}
        for node, row in draft.edges.items()
        for edge in row
        if edge.think
    ]
    lengths = traffic.sessions.lengths
    found = {
        "format": FORMAT,
        "inputs": list(traffic.files),
        "accounting": traffic.accounting.as_json(),
        "statuses": [
            {"name": name, "codes": {str(status): int(count) for status, count in enumerate(row) if count}}
            for name, row in zip(counts.states, counts.walks.statuses, strict=False)
        ],
        "names": [{"raw": name.name, "name": name.name, "count": name.count} for name in traffic.names.kept],
        "sessions": {
            "count": traffic.sessions.count,
            "timeout_s": traffic.sessions.timeout_s,
            "cut": traffic.sessions.cut,
            "are_whole": counts.are_sessions_whole,
        },
        "classes": [
            {
                "name": "sessions",
                "share": 1.0,
                "starts": draft.starts,
                "edges": edges,
                "think": thinks,
                "length": {"mean": float(lengths.mean()), "share_of_1": float((lengths == 1).mean())},
            }
        ],
        "arrivals": None
        if arrivals is None
        else {
            "bin_s": BIN_S,
            "begin_s": arrivals.begin_s,
            "counts": list(arrivals.counts),
            "dispersion": arrivals.dispersion,
            "dispersion_step_s": arrivals.step_s,
        },
        "fidelity": {"verdict": "not measured", "rows": []},
    }
    return json.dumps(found, indent=1, sort_keys=True) + "\n"

"""Makes a draft of a scenario from the counts of logs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from loadgen.traffic.model.gap_bins import fitted
from loadgen.traffic.model.model_counts import ClassCounts, ModelCounts
from loadgen.traffic.model.second_order import split_walks, splits_of
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.scenario.class_names import class_names
from loadgen.traffic.scenario.draft import DataFile, Draft, DraftGraph, KnownNames
from loadgen.traffic.scenario.draft_calls import Calls, states_of
from loadgen.traffic.scenario.draft_edges import EdgeMaker, lognormal_of
from loadgen.traffic.sessions.session_arrivals import BIN_S, SessionArrivals, session_arrivals
from loadgen.units import format_count, format_share

__all__ = ["arrivals_of", "draft_of"]


def arrivals_of(traffic: Traffic) -> tuple[SessionArrivals, ...] | None:
    """Return when the sessions of each kind start; None if the log cannot show it."""
    if traffic.no_arrivals or traffic.model is None:
        return None
    starts = traffic.sessions.starts
    within = int(starts[0]), int(starts[-1])
    return tuple(session_arrivals(one.starts, within) for one in traffic.model.classes)


def draft_of(
    traffic: Traffic,
    arrivals: tuple[SessionArrivals, ...] | None,
    *,
    target: str,
    command: str,
    known: KnownNames | None = None,
) -> Draft:
    """Return the draft. arrivals: from `arrivals_of`. known: names of a scenario that is updated."""
    known = known or KnownNames()
    counts = traffic.model
    assert counts is not None
    states = states_of(counts, known.nodes)
    calls = Calls(counts, known.choices)
    nodes = tuple(calls.node(state) for state in states)
    whole_seconds = not traffic.has_fractions
    edges = EdgeMaker(states, whole_seconds=whole_seconds)
    names = class_names(counts, states)
    words, graphs, again = set[str](), list[DraftGraph](), dict[str, str]()
    for number, (name, one) in enumerate(zip(names, counts.classes, strict=True)):
        usual = fitted(one.walks.gaps.sum((0, 1)), whole_seconds=whole_seconds)
        load, load_note, word = _load(traffic, one, None if arrivals is None else arrivals[number], name)
        words |= {word} if usual is None else {word, "lognormal"}
        split = split_walks(one.walks.triples, splits_of(one.walks.triples) if counts.has_splits else ())
        made = edges.edges(one.walks, split, name if len(names) > 1 else "")
        again |= dict(made.again)
        graphs.append(
            DraftGraph(
                name=name,
                note=_note(counts, one),
                starts=made.starts,
                edges=made.edges,
                think=None if usual is None else lognormal_of(usual),
                load=load,
                load_note=load_note,
            )
        )
    return Draft(
        title=_title(traffic),
        command=command,
        target=target,
        nodes=nodes,
        graphs=tuple(graphs),
        again=tuple(sorted(again.items())),
        choices=calls.choices,
        files=(*edges.files, *(() if arrivals is None else (_arrivals_file(names, arrivals),))),
        words=tuple(sorted(edges.words | words)),
    )


def _note(counts: ModelCounts, one: ClassCounts) -> str:
    sessions = sum(len(other.starts) for other in counts.classes)
    mean = int(one.walks.visits.sum()) / max(1, one.walks.sessions)
    share = format_share(len(one.starts) / sessions)
    return f"{share} of the sessions, {mean:.2f} actions each on average"


def _load(traffic: Traffic, one: ClassCounts, arrivals: SessionArrivals | None, name: str) -> tuple[str, str, str]:
    """Return the load as Python text, a note, and the name from loadgen that it uses."""
    if arrivals is None:
        span_s = max(1.0, (traffic.last_us - traffic.first_us) / 1e6)
        rate = len(one.starts) / span_s
        text = (
            f"{rate:.3g}/s" if 0.1 <= rate < 1_000 else f"{rate:.0f}/s" if rate > 1 else f"{max(rate * 3600, 1):.3g}/h"
        )
        note = f"TODO(load): {traffic.no_arrivals}, so this is the mean rate of sessions"
        return f'arrivals("{text}").poisson().hold("10m")', note, "arrivals"
    spacing = "poisson()" if arrivals.cv is None else f"gamma(cv={arrivals.cv:.2f})"
    return f'replay("data/arrivals.csv", rate="{name}", counts=True).{spacing}', "", "replay"


def _arrivals_file(names: Sequence[str], arrivals: Sequence[SessionArrivals]) -> DataFile:
    begin_s = arrivals[0].begin_s
    rows = (
        (datetime.fromtimestamp(begin_s + n * BIN_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), *map(str, counts))
        for n, counts in enumerate(np.array([one.smoothed for one in arrivals]).T.tolist())
    )
    return DataFile("data/arrivals.csv", (("time", *names), *rows))


def _title(traffic: Traffic) -> str:
    begin, end = (
        datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
        for us in (traffic.first_us, traffic.last_us)
    )
    sessions, requests = format_count(traffic.sessions.count), format_count(traffic.accounting.taken)
    return f"Sessions from access logs, {begin} to {end} UTC: {sessions} sessions, {requests} requests."

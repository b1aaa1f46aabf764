"""Makes a draft of a scenario from the counts of logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from loadgen.dsl.data.quantile_file import quantile_columns
from loadgen.traffic.draft import Call, ChoiceFile, DataFile, Draft, DraftEdge, DraftNode, Expression, Pick
from loadgen.traffic.gap_bins import Think, fitted
from loadgen.traffic.model_counts import ModelCounts
from loadgen.traffic.naming import OTHER
from loadgen.traffic.node_names import node_names
from loadgen.traffic.path_segments import parameters_of
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.session_arrivals import BIN_S, SessionArrivals
from loadgen.traffic.walks import Walks
from loadgen.units import format_count, format_share, quantity

__all__ = ["LEAST_EDGE_SHARE", "draft_of", "edges_kept", "thinks_of"]

LEAST_EDGE_SHARE: Final = 0.005
"""Edges with a smaller share of all edges from their node are left out."""
_LEAST_STATUS_SHARE: Final = 0.01
_LEAST_TIMES: Final = 50
_LOGNORMAL: Final = 0.05
_WRITES: Final = ("POST", "PUT", "PATCH")


@dataclass(frozen=True)
class _State:
    """A state that becomes a node. at: its index in the walks."""

    at: int
    node: str
    name: str


def draft_of(traffic: Traffic, arrivals: SessionArrivals | None, *, target: str, command: str) -> Draft:
    """Return the draft. arrivals: None if the log cannot show when sessions start."""
    counts = traffic.model
    assert counts is not None
    states = _states(counts)
    paths = _Paths(counts)
    nodes = tuple(_node(state, counts, paths) for state in states)
    thinks = thinks_of(counts.walks, whole_seconds=not traffic.has_fractions)
    edges = _Edges(counts.walks, states, thinks)
    usual = fitted(counts.walks.gaps.sum((0, 1)), whole_seconds=not traffic.has_fractions)
    load, note, word = _load(traffic, arrivals)
    files = [edges.think_file] if edges.think_rows else []
    if arrivals is not None:
        files.append(_arrivals_file(arrivals))
    starts = counts.walks.starts
    return Draft(
        title=_title(traffic),
        command=command,
        target=target,
        nodes=nodes,
        starts={state.node: int(starts[state.at]) for state in states if starts[state.at]},
        edges=edges.by_node,
        think=None if usual is None else _lognormal(usual),
        load=load,
        load_note=note,
        choices=tuple(paths.choices[template] for template in sorted(paths.choices)),
        files=tuple(files),
        words=tuple(sorted(edges.words | {word} | ({"lognormal"} if usual is not None else set()))),
    )


class _Edges:
    """The edges of the draft, and the file of the times that are not lognormal."""

    def __init__(
        self, walks: Walks, states: list[_State], thinks: Mapping[tuple[int, int], tuple[Think, bool]]
    ) -> None:
        self._nodes = {state.at: state.node for state in states}
        self._thinks = thinks
        self.words: set[str] = set()
        self.think_rows: list[tuple[str, ...]] = []
        kept = edges_kept(walks, [state.at for state in states])
        self.by_node = {
            state.node: tuple(self._edge(state.at, to, count) for to, count in kept[state.at]) for state in states
        }

    @property
    def think_file(self) -> DataFile:
        return DataFile("data/think.csv", (quantile_columns(), *self.think_rows))

    def _edge(self, at: int, to: int, count: int) -> DraftEdge:
        found = self._thinks.get((at, to))
        if to < 0 or found is None:
            return DraftEdge(self._nodes.get(to, ""), count)
        think, is_pooled = found
        self.words.add("edge")
        if think.distance <= _LOGNORMAL:
            self.words.add("lognormal")
            return DraftEdge(self._nodes[to], count, _lognormal(think))
        self.words.add("quantiles")
        label = f"to {self._nodes[to]}" if is_pooled else f"{self._nodes[at]} to {self._nodes[to]}"
        row = (label, *(f"{value:.4g}" for value in think.quantiles))
        if row not in self.think_rows:
            self.think_rows.append(row)
        return DraftEdge(self._nodes[to], count, Expression("quantiles", ('"data/think.csv"', f'row="{label}"')))


def _states(counts: ModelCounts) -> list[_State]:
    """Return the states that sessions reach, in the order of the walks."""
    walks = counts.walks
    visits = walks.starts + walks.moves.sum(0)
    names = node_names(counts.states)
    found = [_State(at, names[name], name) for at, name in enumerate(counts.states) if visits[at]]
    if visits[-1]:
        found.append(_State(len(counts.states), OTHER, OTHER))
    return found


def edges_kept(walks: Walks, states: list[int]) -> dict[int, list[tuple[int, int]]]:
    """Return for each state what follows it, with counts, the most frequent first; -1 is the end of the session.

    Edges with less than `LEAST_EDGE_SHARE` of their row are left out. But each state keeps its most frequent edge, and
    the most frequent one to it, so that every state is reached and no session is trapped.
    """
    kept: dict[int, set[int]] = {}
    for at in states:
        row = {int(to): int(count) for to, count in enumerate(walks.moves[at]) if count}
        if walks.leaves[at]:
            row[-1] = int(walks.leaves[at])
        total = sum(row.values())
        kept[at] = {to for to, count in row.items() if count >= LEAST_EDGE_SHARE * total}
        if row:
            kept[at].add(max(row, key=lambda to: (row[to], -to)))
        if walks.leaves[at]:
            kept[at].add(-1)
    for at in states:
        if walks.moves[:, at].any() and not any(at in kept[before] for before in states if before != at):
            others = [(int(walks.moves[before, at]), -before) for before in states if before != at]
            if others and max(others)[0]:
                kept[-max(others)[1]].add(at)
    return {
        at: sorted(
            ((to, int(walks.leaves[at] if to < 0 else walks.moves[at, to])) for to in kept[at]),
            key=lambda edge: (-edge[1], edge[0] if edge[0] >= 0 else len(walks.starts)),
        )
        for at in states
    }


def thinks_of(walks: Walks, *, whole_seconds: bool) -> dict[tuple[int, int], tuple[Think, bool]]:
    """Return the times of the edges, and whether they are those of all edges to the next state: because the edge itself
    has too few. Edges to a state with too few times are left out; they have the usual time.
    """
    found = {}
    to_state = [fitted(walks.gaps[:, to].sum(0), whole_seconds=whole_seconds) for to in range(len(walks.starts))]
    for at, to in np.argwhere(walks.moves):
        own = fitted(walks.gaps[at, to], whole_seconds=whole_seconds)
        pooled = to_state[to]
        if own is not None and own.count >= _LEAST_TIMES:
            found[int(at), int(to)] = own, False
        elif pooled is not None and pooled.count >= _LEAST_TIMES:
            found[int(at), int(to)] = pooled, True
    return found


def _lognormal(think: Think) -> Expression:
    return Expression("lognormal", (f"{think.mu:.3f}", f"{think.sigma:.3f}"))


def _node(state: _State, counts: ModelCounts, paths: _Paths) -> DraftNode:
    walks = counts.walks
    requests = int(walks.requests[state.at])
    if state.name == OTHER:
        return _other(counts, requests, paths)
    method, _, template = state.name.partition(" ")
    notes = []
    if queries := int(walks.with_query[state.at]):
        notes.append(f"TODO(query): {format_share(queries / requests)} had a query, which this model does not keep")
    if method in _WRITES:
        notes.append("TODO(body): the log has no bodies")
    is_drawn = bool(parameters_of(template))
    path = paths.drawn(template) if is_drawn else (template,)
    call = Call(method, path, state.name if is_drawn else "", _expected(walks, state.at), tuple(notes))
    return DraftNode(state.node, (call,), f"{state.name}: {format_count(requests)} requests")


def _other(counts: ModelCounts, requests: int, paths: _Paths) -> DraftNode:
    """Return the node of all requests whose names are no nodes. It sends the paths of those that may be shown."""
    if not counts.other_paths:
        return DraftNode(OTHER, (), f"{format_count(requests)} requests of rare names: nothing is sent")
    rows = (("path", "hits"), *((path, str(hits)) for path, hits in counts.other_paths))
    paths.choices[""] = ChoiceFile(
        "OTHER",
        DataFile("data/other.csv", rows),
        "Only requests with GET. Names that too few users sent are not among them.",
    )
    call = Call("GET", (Pick("OTHER"),), OTHER)
    return DraftNode(OTHER, (call,), f"{format_count(requests)} requests of all other names")


def _expected(walks: Walks, at: int) -> tuple[int, ...]:
    shares = walks.statuses[at] / max(1, int(walks.requests[at]))
    return tuple(int(status) for status in np.flatnonzero(shares >= _LEAST_STATUS_SHARE) if status >= 100)


class _Paths:
    """The files that paths are drawn from, by template."""

    def __init__(self, counts: ModelCounts) -> None:
        self._values = counts.values
        self._names = node_names(f"GET {template}" for template in counts.values)
        self.choices: dict[str, ChoiceFile] = {}

    def drawn(self, template: str) -> tuple[str | Pick, ...]:
        """Return the path of a template with one pick. With one parameter, its value is drawn; with more, the whole
        path, because values that belong together must stay together.
        """
        if template not in self.choices:
            self.choices[template] = self._choice_file(template)
        pick = Pick(self.choices[template].variable)
        parameters = parameters_of(template)
        if len(parameters) > 1:
            return (pick,)
        segments = template.strip("/").split("/")
        at = parameters[0][0]
        before = "/" + "".join(f"{text}/" for text in segments[:at])
        after = segments[at].partition("}")[2] + "".join(f"/{text}" for text in segments[at + 1 :])
        return (before, pick, after) if after else (before, pick)

    def _choice_file(self, template: str) -> ChoiceFile:
        parameters, values = parameters_of(template), self._values[template]
        is_one = len(parameters) == 1
        stem = "_".join([self._names[f"GET {template}"], *(name for _, name in parameters)])
        if values.shown:
            rows = [(_value_of(path, template) if is_one else path, str(hits)) for path, hits in values.shown]
            note = ""
            if values.hidden_requests:
                share = values.hidden_requests / (values.hidden_requests + values.shown_requests)
                more = quantity(values.hidden, "more value")
                note = f"{more} with {format_share(share)} of the requests left out: too few users sent each"
        else:
            rows = [(_stand_in(template, rank), str(hits)) for rank, hits in enumerate(values.hidden_hits, 1)]
            note = "TODO(values): row n is a placeholder of the n-th most requested value; write values of your target"
        column = parameters[0][1] if is_one else "path"
        return ChoiceFile(stem.upper(), DataFile(f"data/{stem}.csv", ((column, "hits"), *rows)), note)


def _value_of(path: str, template: str) -> str:
    at = parameters_of(template)[0][0]
    suffix = template.strip("/").split("/")[at].partition("}")[2]
    return path.strip("/").split("/")[at].removesuffix(suffix)


def _stand_in(template: str, rank: int) -> str:
    """Return a made value, or with several parameters a made path: numbers for ids, else the parameter's name."""
    segments = template.strip("/").split("/")
    parameters = parameters_of(template)
    for at, name in parameters:
        value = str(rank) if name.startswith("id") else f"{name}-{rank}"
        if len(parameters) == 1:
            return value
        segments[at] = value + segments[at].partition("}")[2]
    return "/" + "/".join(segments)


def _load(traffic: Traffic, arrivals: SessionArrivals | None) -> tuple[str, str, str]:
    """Return the load as Python text, a note, and the name from loadgen that it uses."""
    sessions = traffic.sessions
    if arrivals is None:
        span_s = max(1.0, (traffic.last_us - traffic.first_us) / 1e6)
        rate = sessions.count / span_s
        text = (
            f"{rate:.3g}/s" if 0.1 <= rate < 1_000 else f"{rate:.0f}/s" if rate > 1 else f"{max(rate * 3600, 1):.3g}/h"
        )
        note = f"TODO(load): {traffic.no_arrivals}, so this is the mean rate of sessions"
        return f'arrivals("{text}").poisson().hold("10m")', note, "arrivals"
    spacing = "poisson()" if arrivals.cv is None else f"gamma(cv={arrivals.cv:.2f})"
    return f'replay("data/arrivals.csv", counts=True).{spacing}', "", "replay"


def _arrivals_file(arrivals: SessionArrivals) -> DataFile:
    rows = (
        (datetime.fromtimestamp(arrivals.begin_s + n * BIN_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), str(count))
        for n, count in enumerate(arrivals.counts)
    )
    return DataFile("data/arrivals.csv", (("time", "sessions"), *rows))


def _title(traffic: Traffic) -> str:
    begin, end = (
        datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
        for us in (traffic.first_us, traffic.last_us)
    )
    sessions, requests = format_count(traffic.sessions.count), format_count(traffic.accounting.taken)
    return f"Sessions from access logs, {begin} to {end} UTC: {sessions} sessions, {requests} requests."

"""Makes the requests of a draft: a call for each state, with the values that are drawn into its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.names.node_names import node_names
from loadgen.traffic.names.path_segments import parameters_of
from loadgen.traffic.scenario.draft import Call, Child, ChoiceFile, DataFile, DraftNode, Pick
from loadgen.units import format_count, format_share, quantity

__all__ = ["Calls", "ModelState", "states_of"]

_LEAST_STATUS_SHARE: Final = 0.01
_WRITES: Final = ("POST", "PUT", "PATCH")
_SHOWN: Final = 0.005
"""A mean number of requests is rounded to a whole one if it differs by less."""


@dataclass(frozen=True)
class ModelState:
    """A state that becomes a node. at: its index in the walks. name: of its requests."""

    at: int
    node: str
    name: str


def states_of(counts: ModelCounts, known: Mapping[str, str] | None = None) -> list[ModelState]:
    """Return the states that are the main request of an action, in the order of the walks.

    known: functions that exist already, by name of the requests.
    """
    visits = np.sum([one.walks.visits for one in counts.classes], axis=0)
    names = node_names(counts.states, known)
    found = [ModelState(at, names[name], name) for at, name in enumerate(counts.states) if visits[at]]
    if visits[-1]:
        found.append(ModelState(len(counts.states), OTHER, OTHER))
    return found


class Calls:
    """The requests of the states, and the files that their paths are drawn from."""

    def __init__(self, counts: ModelCounts, known: Mapping[str, str]) -> None:
        self._counts = counts
        self._paths = _Paths(counts, known)
        self._other: ChoiceFile | None = None

    @property
    def choices(self) -> tuple[ChoiceFile, ...]:
        """The files of all calls so far."""
        choices = self._paths.choices
        others = () if self._other is None else (self._other,)
        return (*others, *(choices[template] for template in sorted(choices)))

    def node(self, state: ModelState) -> DraftNode:
        """Return the node of a state: its request, and those that belong to the same action."""
        counts = self._counts.requests
        requests, actions = int(counts.requests[state.at]), int(counts.actions[state.at])
        call = self._call(state.at)
        children = []
        for at in np.flatnonzero(counts.children[state.at]):
            child = self._call(int(at))
            if child is not None:
                children.append(Child(child, _rounded(int(counts.children[state.at, at]) / actions)))
        doc = f"{state.name}: {format_count(requests)} requests"
        if requests > actions:
            doc += f", {format_count(requests - actions)} of them by other actions"
        if state.name == OTHER:
            doc = f"{format_count(requests)} requests of all other names"
            if call is None:
                doc = f"{format_count(requests)} requests of rare names: nothing is sent"
        calls = () if call is None else (call,)
        return DraftNode(state.node, state.name, calls, tuple(children), doc)

    def _call(self, at: int) -> Call | None:
        """Return the request of a state; None if no path of its requests may be shown."""
        counts = self._counts
        if at == len(counts.states):
            return self._call_of_others()
        name = counts.states[at]
        method, _, template = name.partition(" ")
        requests, notes = int(counts.requests.requests[at]), []
        if queries := int(counts.requests.with_query[at]):
            notes.append(f"TODO(query): {format_share(queries / requests)} had a query, which this model does not keep")
        if method in _WRITES:
            notes.append("TODO(body): the log has no bodies")
        is_drawn = bool(parameters_of(template))
        path = self._paths.drawn(template) if is_drawn else (template,)
        return Call(method, path, name if is_drawn else "", self._expected(at), tuple(notes))

    def _call_of_others(self) -> Call | None:
        """Return the request for all names without a node. It sends the paths of those that may be shown."""
        if not self._counts.other_paths:
            return None
        rows = (("path", "hits"), *((path, str(hits)) for path, hits in self._counts.other_paths))
        self._other = ChoiceFile(
            "OTHER",
            DataFile("data/other.csv", rows),
            OTHER,
            "Only requests with GET. Names that too few users sent are not among them.",
        )
        return Call("GET", (Pick("OTHER"),), OTHER)

    def _expected(self, at: int) -> tuple[int, ...]:
        counts = self._counts.requests
        shares = counts.statuses[at] / max(1, int(counts.requests[at]))
        return tuple(int(status) for status in np.flatnonzero(shares >= _LEAST_STATUS_SHARE) if status >= 100)


def _rounded(mean: float) -> float:
    return float(round(mean)) if abs(mean - round(mean)) < _SHOWN else round(mean, 3)


class _Paths:
    """The files that paths are drawn from, by template."""

    def __init__(self, counts: ModelCounts, known: Mapping[str, str]) -> None:
        self._values, self._known = counts.values, known
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
        if template in self._known:
            stem = self._known[template].lower()
        elif stem.upper() in self._known.values():
            stem += "_2"
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
        return ChoiceFile(stem.upper(), DataFile(f"data/{stem}.csv", ((column, "hits"), *rows)), template, note)


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

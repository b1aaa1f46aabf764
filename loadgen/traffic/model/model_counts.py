"""The third pass over the rows: it counts the parts of a scenario, for the names that were kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.model.request_counts import RequestCounter, RequestCounts
from loadgen.traffic.model.session_classes import SessionClasses, classes_of
from loadgen.traffic.model.walks import WalkCounter, Walks
from loadgen.traffic.names.naming import Names
from loadgen.traffic.names.path_table import PathTable
from loadgen.traffic.names.path_values import MOST_VALUES, PathValues, path_values
from loadgen.traffic.reading.log_options import ModelRules
from loadgen.traffic.rows.rows import HAS_QUERY
from loadgen.traffic.sessions.actions import ActionRule, action_rule
from loadgen.traffic.sessions.named_rows import NamedRows
from loadgen.traffic.sessions.second_pass import SessionFigures, Visits
from loadgen.traffic.sessions.session_sample import SampledSessions, hashes_of
from loadgen.traffic.sessions.session_steps import SessionSteps, steps_of, steps_of_table

__all__ = ["MOST_STATES", "ClassCounts", "ModelCounts", "count_model", "counts_of_sample"]

MOST_STATES: Final = 40
"""The busiest names are nodes of the graph, at most this number. One more node has all other names."""


@dataclass(frozen=True)
class ClassCounts:
    """Counts of the sessions of one kind."""

    walks: Walks
    starts: NDArray[np.int64]
    """When its sessions start, with those that are not in `walks`; sorted, µs since 1970."""
    lengths: NDArray[np.int64]
    """lengths[n]: sessions in `walks` with n actions, 0 to 1,000; the last one has all longer sessions, too."""


@dataclass(frozen=True)
class ModelCounts:
    """Counts of the steps of sessions and of the values in paths.

    states: the names of the states, the busiest first; the state after the last one is for all other requests.
    """

    states: tuple[str, ...]
    classes: tuple[ClassCounts, ...]
    """By kind, in the order of `kinds`."""
    requests: RequestCounts
    rule: ActionRule
    kinds: SessionClasses
    sample: SampledSessions
    """Sessions with their actions and states."""
    are_sessions_whole: bool
    """Whether the walks have only whole sessions. If most sessions may be cut, they have all sessions."""
    values: dict[str, PathValues]
    """Values of the parameters, by template."""
    are_paths_complete: bool
    has_splits: bool
    """Whether a state may be split by the state before it."""
    other_paths: tuple[tuple[str, int], ...]
    """Paths, with requests, of kept names that are not states. Only paths with GET that may be shown."""


class _ClassCounter:
    """Counts the sessions of one kind."""

    def __init__(self, states: int) -> None:
        self._walks = WalkCounter(states)
        self._starts: list[NDArray[np.int64]] = []
        self._lengths = np.zeros(1_001, np.int64)

    def add(self, starts: NDArray[np.int64], counted: SessionSteps) -> None:
        """Add sessions. starts: of all. counted: those that count."""
        self._starts.append(starts)
        if counted.count:
            self._walks.add(counted)
            self._lengths += np.bincount(np.minimum(counted.actions, 1_000), minlength=1_001)

    def counts(self) -> ClassCounts:
        return ClassCounts(self._walks.walks(), np.sort(np.concatenate(self._starts)), self._lengths)


def count_model(
    named: NamedRows, sessions: SessionFigures, sampled: SampledSessions, rules: ModelRules, least_users: int
) -> ModelCounts:
    """Return the counts of all rows.

    sessions, sampled: from the second pass. least_users: a value that fewer users sent is not shown.
    """
    names, paths, template_of = named.names, named.paths, named.template_of
    states = tuple(name.name for name in names.kept[:MOST_STATES])
    size = len(states) + 1
    state_of = np.minimum(names.index, len(states))
    are_whole = 2 * sessions.cut <= sessions.count
    table = sampled.table.named(state_of[sampled.table.state], size)
    actions = action_rule(table) if rules.has_actions else ActionRule.none(size)
    table = actions.applied(table)
    steps = steps_of_table(table)
    kinds = classes_of(steps.chosen(table.is_whole) if are_whole else steps, most=rules.classes)
    counters = [_ClassCounter(size) for _ in range(kinds.count)]
    requests = RequestCounter(size)
    hits, users = np.zeros(paths.size, np.int64), np.zeros(paths.size, np.int64)
    for visits in named.visits():
        state = state_of[visits.name]
        is_main = actions.main_requests(state, visits.start, visits.latest, visits.sessions.first)
        ordered = visits.rows
        requests.add(state, ordered["status"].astype(np.int64), (ordered["flags"] & HAS_QUERY) != 0, is_main)
        requests.add_times(state, ordered["took"])
        _add_sessions(counters, kinds, visits, state, is_main, are_whole=are_whole)
        path = ordered["path"].astype(np.int64)
        hits += np.bincount(path, minlength=paths.size)
        users += visits.users_of(path, paths.size)
    kept = sorted({name.name.partition(" ")[2] for name in names.kept})
    at = {named.templates.index(template): template for template in kept}
    values = path_values(paths.numbers, template_of, at, hits, users, least_users)
    others = _other_paths(names, values)
    is_kept = _kept_paths(paths, template_of, at, values, others)
    return ModelCounts(
        states=states,
        classes=tuple(counter.counts() for counter in counters),
        requests=requests.counts(),
        rule=actions,
        kinds=kinds,
        sample=SampledSessions(table.with_paths(is_kept), sampled.hashes, sampled.is_all),
        are_sessions_whole=are_whole,
        values=values,
        are_paths_complete=paths.is_complete,
        has_splits=rules.has_splits,
        other_paths=others,
    )


def _add_sessions(
    counters: list[_ClassCounter],
    kinds: SessionClasses,
    visits: Visits,
    state: NDArray[np.int64],
    is_main: NDArray[np.bool_],
    *,
    are_whole: bool,
) -> None:
    first = visits.sessions.first
    steps = steps_of(state, visits.start, visits.latest, is_main, first, kinds.states)
    kind = kinds.assigned(steps, hashes_of(visits))
    is_counted = ~visits.is_cut if are_whole else np.ones_like(visits.is_cut)
    for number, counter in enumerate(counters):
        is_mine = (kind == number) & ~visits.is_shared
        counter.add(visits.start[first[is_mine]], steps.chosen(is_mine & is_counted))


def counts_of_sample(model: ModelCounts, sessions: NDArray[np.int64], most_classes: int) -> ModelCounts:
    """Return the counts of a model that is made from some sessions of the sample only.

    Names, actions and values in paths stay those of all logs. sessions: their numbers in the sample, increasing.
    """
    table, hashes = model.sample.table.chosen(sessions), model.sample.hashes[sessions]
    steps = steps_of_table(table)
    is_counted = table.is_whole if model.are_sessions_whole else np.ones(table.count, bool)
    kinds = classes_of(steps.chosen(is_counted), most=most_classes)
    kind = kinds.assigned(steps, hashes)
    counters = [_ClassCounter(table.states) for _ in range(kinds.count)]
    for number, counter in enumerate(counters):
        is_mine = kind == number
        counter.add(table.starts[is_mine], steps.chosen(is_mine & is_counted))
    requests = RequestCounter(table.states)
    requests.add(table.state, table.status, np.zeros(len(table.state), bool), table.is_main)
    return replace(
        model,
        classes=tuple(counter.counts() for counter in counters),
        requests=requests.counts(),
        kinds=kinds,
        sample=SampledSessions(table, hashes, is_all=False),
    )


def _kept_paths(
    paths: PathTable,
    template_of: NDArray[np.int64],
    templates: Mapping[int, str],
    values: Mapping[str, PathValues],
    others: tuple[tuple[str, int], ...],
) -> NDArray[np.bool_]:
    """Return by number of a path whether the scenario can send it, or a placeholder of it."""
    of_kept_names = np.isin(template_of, np.array(sorted(templates), np.int64))
    has_values = [index for index, template in templates.items() if values.get(template) and values[template].shown]
    found: NDArray[np.bool_] = of_kept_names & ~np.isin(template_of, np.array(has_values, np.int64))
    shown = [path for template in templates.values() if template in values for path, _ in values[template].shown]
    for path in (*shown, *(path for path, _ in others)):
        if (number := paths.numbers.get(path.encode())) is not None:
            found[number] = True
    return found


def _other_paths(names: Names, values: dict[str, PathValues]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for name in names.kept[MOST_STATES:]:
        method, _, template = name.name.partition(" ")
        if method == "GET":
            found += values[template].shown if template in values else [(template, name.count)]
    return tuple(sorted(found, key=lambda row: (-row[1], row[0]))[:MOST_VALUES])

"""The third pass over the rows: it counts the parts of a scenario, for the names that were kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.actions import ActionRule, action_rule
from loadgen.traffic.naming import NameRules, Names
from loadgen.traffic.partitions import Partitions
from loadgen.traffic.path_table import PathTable
from loadgen.traffic.path_values import MOST_VALUES, PathValues, path_values
from loadgen.traffic.request_counts import RequestCounter, RequestCounts
from loadgen.traffic.rows import HAS_QUERY
from loadgen.traffic.second_pass import SessionFigures, SessionRule, Visits, visits_of
from loadgen.traffic.session_classes import SessionClasses, classes_of
from loadgen.traffic.session_sample import SampledSessions, hashes_of
from loadgen.traffic.session_steps import SessionSteps, steps_of, steps_of_table
from loadgen.traffic.walks import WalkCounter, Walks

__all__ = ["MOST_STATES", "ClassCounts", "ModelCounts", "ModelRules", "count_model"]

MOST_STATES: Final = 40
"""The busiest names are nodes of the graph, at most this number. One more node has all other names."""


@dataclass(frozen=True)
class ModelRules:
    """How a model is made.

    classes: the most kinds of sessions. has_actions: whether requests that follow a page by themselves belong to it.
    """

    classes: int = 6
    has_actions: bool = True


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
    partitions: Partitions,
    paths: PathTable,
    templates: list[str],
    template_of: NDArray[np.int64],
    names: Names,
    sessions: SessionFigures,
    sampled: SampledSessions,
    rule: SessionRule,
    name_rules: NameRules,
    rules: ModelRules,
) -> ModelCounts:
    """Return the counts of all partitions. sessions, sampled: from the second pass."""
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
    for rows in partitions:
        visits = visits_of(rows, template_of, rule)
        state = state_of[visits.name]
        is_main = actions.main_requests(state, visits.start, visits.latest, visits.sessions.first)
        ordered = visits.rows
        requests.add(state, ordered["status"].astype(np.int64), (ordered["flags"] & HAS_QUERY) != 0, is_main)
        _add_sessions(counters, kinds, visits, state, is_main, are_whole=are_whole)
        path = ordered["path"].astype(np.int64)
        hits += np.bincount(path, minlength=paths.size)
        users += visits.users_of(path, paths.size)
    kept = sorted({name.name.partition(" ")[2] for name in names.kept})
    at = {templates.index(template): template for template in kept}
    values = path_values(paths.numbers, template_of, at, hits, users, name_rules.least_users)
    return ModelCounts(
        states=states,
        classes=tuple(counter.counts() for counter in counters),
        requests=requests.counts(),
        rule=actions,
        kinds=kinds,
        sample=SampledSessions(table, sampled.hashes, sampled.is_all),
        are_sessions_whole=are_whole,
        values=values,
        are_paths_complete=paths.is_complete,
        other_paths=_other_paths(names, values),
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
        is_mine = kind == number
        counter.add(visits.start[first[is_mine]], steps.chosen(is_mine & is_counted))


def _other_paths(names: Names, values: dict[str, PathValues]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for name in names.kept[MOST_STATES:]:
        method, _, template = name.name.partition(" ")
        if method == "GET":
            found += values[template].shown if template in values else [(template, name.count)]
    return tuple(sorted(found, key=lambda row: (-row[1], row[0]))[:MOST_VALUES])

"""The third pass over the rows: it counts the parts of a scenario, for the names that were kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.naming import NameRules, Names
from loadgen.traffic.partitions import Partitions
from loadgen.traffic.path_table import PathTable
from loadgen.traffic.path_values import MOST_VALUES, PathValues, path_values
from loadgen.traffic.rows import HAS_QUERY
from loadgen.traffic.second_pass import SessionRule, visits_of
from loadgen.traffic.walks import WalkCounter, Walks

__all__ = ["MOST_STATES", "ModelCounts", "count_model"]

MOST_STATES: Final = 40
"""The busiest names are nodes of the graph, at most this number. One more node has all other names."""


@dataclass(frozen=True)
class ModelCounts:
    """Counts of the steps of sessions and of the values in paths.

    states: the names of the states, the busiest first; the state after the last one is for all other requests.
    """

    states: tuple[str, ...]
    walks: Walks
    are_sessions_whole: bool
    """Whether `walks` has only whole sessions. If most sessions may be cut, it has all sessions."""
    values: dict[str, PathValues]
    """Values of the parameters, by template."""
    are_paths_complete: bool
    other_paths: tuple[tuple[str, int], ...]
    """Paths, with requests, of kept names that are not states. Only paths with GET that may be shown."""


def count_model(
    partitions: Partitions,
    paths: PathTable,
    templates: list[str],
    template_of: NDArray[np.int64],
    names: Names,
    rule: SessionRule,
    rules: NameRules,
) -> ModelCounts:
    """Return the counts of all partitions."""
    states = tuple(name.name for name in names.kept[:MOST_STATES])
    state_of = np.minimum(names.index, len(states))
    whole, every = WalkCounter(len(states) + 1), WalkCounter(len(states) + 1)
    hits, users = np.zeros(paths.size, np.int64), np.zeros(paths.size, np.int64)
    sessions = cut = 0
    for rows in partitions:
        visits = visits_of(rows, template_of, rule)
        state = state_of[visits.name]
        first, is_cut = visits.sessions.first, visits.is_cut
        sessions, cut = sessions + len(first), cut + int(np.count_nonzero(is_cut))
        whole.add(state, visits.start, visits.latest, first, ~is_cut)
        every.add(state, visits.start, visits.latest, first, np.ones(len(first), bool))
        ordered = visits.rows
        status = ordered["status"].astype(np.int64)
        for counter in (whole, every):
            counter.add_requests(state, status, (ordered["flags"] & HAS_QUERY) != 0)
        path = ordered["path"].astype(np.int64)
        hits += np.bincount(path, minlength=paths.size)
        pairs = np.unique(visits.user_index * paths.size + path)
        users += np.bincount(pairs % paths.size, minlength=paths.size)
    are_whole = 2 * cut <= sessions
    kept = sorted({name.name.partition(" ")[2] for name in names.kept})
    at = {templates.index(template): template for template in kept}
    values = path_values(paths.numbers, template_of, at, hits, users, rules.least_users)
    return ModelCounts(
        states=states,
        walks=(whole if are_whole else every).walks(),
        are_sessions_whole=are_whole,
        values=values,
        are_paths_complete=paths.is_complete,
        other_paths=_other_paths(names, values),
    )


def _other_paths(names: Names, values: dict[str, PathValues]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for name in names.kept[MOST_STATES:]:
        method, _, template = name.name.partition(" ")
        if method == "GET":
            found += values[template].shown if template in values else [(template, name.count)]
    return tuple(sorted(found, key=lambda row: (-row[1], row[0]))[:MOST_VALUES])

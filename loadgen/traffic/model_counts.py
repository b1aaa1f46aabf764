"""The third pass over the rows: it counts the parts of a scenario, for the names that were kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.naming import NameRules, Names
from loadgen.traffic.path_table import PathTable
from loadgen.traffic.path_values import MOST_VALUES, PathValues, path_values
from loadgen.traffic.rows import HAS_QUERY, Rows
from loadgen.traffic.second_pass import SessionFigures, SessionRule, visits_of
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
    partitions: Iterable[Rows],
    paths: PathTable,
    templates: list[str],
    template_of: NDArray[np.int64],
    names: Names,
    sessions: SessionFigures,
    rule: SessionRule,
    rules: NameRules,
) -> ModelCounts:
    """Return the counts of all partitions. sessions: the figures of the second pass."""
    states = tuple(name.name for name in names.kept[:MOST_STATES])
    state_of = np.minimum(names.index, len(states))
    are_whole = 2 * sessions.cut <= sessions.count
    walks = WalkCounter(len(states) + 1)
    hits, users = np.zeros(paths.size, np.int64), np.zeros(paths.size, np.int64)
    for rows in partitions:
        visits = visits_of(rows, template_of, rule)
        state = state_of[visits.name]
        is_counted = ~(visits.is_shared | visits.is_cut) if are_whole else ~visits.is_shared
        walks.add(state, visits.start, visits.latest, visits.sessions.first, is_counted)
        ordered = visits.rows
        walks.add_requests(state, ordered["status"].astype(np.int64), (ordered["flags"] & HAS_QUERY) != 0)
        path = ordered["path"].astype(np.int64)
        hits += np.bincount(path, minlength=paths.size)
        users += visits.users_of(path, paths.size)
    kept = sorted({name.name.partition(" ")[2] for name in names.kept})
    at = {templates.index(template): template for template in kept}
    values = path_values(paths.numbers, template_of, at, hits, users, rules.least_users)
    return ModelCounts(
        states=states,
        walks=walks.walks(),
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
